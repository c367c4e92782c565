"""The files of examples/ do what they say: each is run, or read by the rules of who reads it."""
import configparser
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys

import pytest
from conftest import TESTS, own_process_only, wait_until

import runner

EXAMPLES = os.path.join(os.path.dirname(TESTS), 'examples')
pytestmark = [pytest.mark.skipif(not os.path.isdir(EXAMPLES), reason='needs the checkout, for its examples'), own_process_only]


def text_of(name):
    """Return an example."""
    with open(os.path.join(EXAMPLES, name), encoding='utf-8') as file:
        return file.read()


@pytest.fixture
def jobs(place):
    """The folder /srv/jobs of the examples."""
    for name in os.listdir(EXAMPLES):
        if name.endswith(('.py', '.yaml')):
            place.write(name, text_of(name))
    place.write('job.py', 'print("fine")')
    return place


def run_words(place, words, **options):
    """Run the words of an example, which begin with a Python and -m runner."""
    assert re.match(r'\S*python3? -m runner ', words), words
    return place.run(*shlex.split(words)[3:], **options)


def test_every_example_is_looked_at():
    """Who adds a file adds a test."""
    known = {'crontab', 'nightly.py', 'nightly.service', 'nightly.timer', 'alerts.yaml', 'gates.yaml', 'github.yml', 'gitlab-ci.yml',
             'Jenkinsfile', 'agent.py', 'migrate.py', 'notebook.py'}
    assert {name for name in os.listdir(EXAMPLES) if name != '__pycache__'} == known


def test_the_lines_of_the_crontab(jobs):
    """Five fields that our own reader of schedules takes, and a command that a shell runs."""
    lines = [line for line in text_of('crontab').splitlines() if line and not line.startswith(('#', 'SCRIPT_RUNNER_'))]
    assert len(lines) == 3
    for line in lines:
        fields = line.split(None, 5)
        runner.parse_cron(' '.join(fields[:5]))
        command = fields[5].replace('/srv/jobs', shlex.quote(jobs.folder)).replace('python3', shlex.quote(sys.executable))
        assert '%' not in command                  # cron reads it as the end of the line
        finished = subprocess.Popen(['/bin/sh', '-c', command], env=jobs.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = finished.communicate()
        assert finished.returncode == 0, (command, out, err)
    nightly, = jobs.rows()
    assert nightly['script_path'] == os.path.join(os.path.realpath(jobs.folder), 'nightly.py') and 'the' in nightly['stdout_tail']


def test_the_units_of_systemd(jobs):
    """The service starts a command that runs, and waits longer than the grace."""
    unit = configparser.RawConfigParser()
    unit.optionxform = str
    unit.read(os.path.join(EXAMPLES, 'nightly.service'), encoding='utf-8')
    service = unit['Service']
    assert run_words(jobs, service['ExecStart']).status == 0
    grace = re.search(r'--grace (\S+)', service['ExecStart']).group(1)
    assert float(service['TimeoutStopSec']) > runner.parse_duration(grace)
    timer = configparser.RawConfigParser()
    timer.read(os.path.join(EXAMPLES, 'nightly.timer'), encoding='utf-8')
    assert re.match(r'\*-\*-\* \d\d:\d\d:\d\d$', timer['Timer']['OnCalendar'])


@pytest.mark.parametrize('name', ['github.yml', 'gitlab-ci.yml', 'Jenkinsfile'])
def test_the_command_of_a_ci_server(jobs, name):
    """It runs, and writes the JUnit file that the server is told to read."""
    text = text_of(name)
    command, = re.findall(r'(python -m runner .*?)"?$', text, re.M)
    finished = run_words(jobs, command)
    assert finished.status == 0, finished
    assert os.path.exists(os.path.join(jobs.folder, 'junit.xml')) and text.count('junit.xml') >= 1 + (name != 'github.yml')
    assert os.path.exists(os.path.join(jobs.folder, 'ci-history.db')) and (name == 'Jenkinsfile' or text.count('ci-history.db') == 2)


def test_the_ci_files_are_yaml():
    """What runs is where the server looks for it (`make workflows` checks them against the servers' own schemas)."""
    yaml = pytest.importorskip('yaml')
    github, gitlab = [yaml.safe_load(text_of(name)) for name in ('github.yml', 'gitlab-ci.yml')]
    assert 'python -m runner' in github['jobs']['watched']['steps'][-1]['run'] and github['permissions'] == {'contents': 'read'}
    assert 'python -m runner' in gitlab['watched']['script'][0] and gitlab['watched']['artifacts']['when'] == 'always'


def test_the_rules_of_alerts(jobs):
    """The file is valid; the second failure in a row is told."""
    for status in (1, 1):
        assert jobs.run('--config', 'alerts.yaml', 'sh', '-c', 'exit 1').status == status
    assert 'broken' in text_of_file(jobs, 'alerts.jsonl')
    assert jobs.run('--config', 'alerts.yaml', 'alerts', 'test', 'log').status == 0


def text_of_file(place, name):
    """Return a file of the folder, empty without one."""
    try:
        with open(os.path.join(place.folder, name), encoding='utf-8') as file:
            return file.read()
    except OSError:
        return ''


def test_the_gates(jobs):
    """A good run passes, with a warning for want of history; one that says something on stderr does not."""
    finished = jobs.run('--config', 'gates.yaml', 'job.py')
    assert finished.status == 0 and b'inconclusive' in finished.err, finished
    assert os.path.exists(os.path.join(jobs.folder, 'summary.md'))
    assert jobs.run('--config', 'gates.yaml', 'sh', '-c', 'echo oh >&2').status == 123


def test_the_agent_survives_its_tools(jobs):
    """A tool fails, the next one works; each call is a run with the task as a label."""
    finished = jobs.run('--timeout', '1m', 'agent.py', '42')
    assert finished.status == 0 and finished.out == b'search: failed (exit)\nscan: 3 files - success\n', finished
    assert jobs.run('history', '--where', "label.task = '42'", '--json').out.count(b'"correlation_id"') == 2


def test_the_migration_runs_once(jobs):
    """The second time there is nothing to do."""
    words = ['--lock', 'migrate', 'migrate.py', 'app.db']
    assert [jobs.run(*words).out for _ in range(2)] == [b'migrated\n', b'nothing to do\n']


def test_the_migration_rolls_back_when_it_is_stopped(jobs):
    """TERM in the middle of a statement that would never end: 75, and the database is as before."""
    endless = "'WITH RECURSIVE n(i) AS (SELECT begun() UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n',"
    slow = text_of('migrate.py').replace('STEPS = [', 'STEPS = [\n    "CREATE TABLE half (id)",\n    ' + endless)
    slow = slow.replace('    try:\n        return', "    connection.create_function('begun', 0, lambda: open('begun', 'w').close() or 1)\n"
                                                    '    try:\n        return')
    jobs.write('slow.py', slow)
    process = jobs.start('--grace', '20s', 'slow.py', 'app.db')
    wait_until(lambda: os.path.exists(os.path.join(jobs.folder, 'begun')), 'the step')
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert process.returncode == 75 and b'rolled back' in err, (process.returncode, out, err)
    assert jobs.run('migrate.py', 'app.db').out == b'migrated\n'
    connection = sqlite3.connect(os.path.join(jobs.folder, 'app.db'))
    assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall() == []
    connection.close()


def test_the_cells_of_the_notebook(jobs):
    """They run one after the other in one namespace, as in a notebook."""
    assert text_of('notebook.py').count('# %%') == 4             # the docstring names it, too
    out = jobs.bare(os.path.join(jobs.folder, 'notebook.py')).out
    assert b'kept as run 1' in out and out.rstrip().endswith(b'300.0')
