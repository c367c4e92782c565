"""What the README shows works as it is written."""
import os
import re
import shlex
import subprocess
import sys

import pytest
from conftest import TESTS, own_process_only

import runner

README = os.path.join(os.path.dirname(TESTS), 'README.md')
pytestmark = pytest.mark.skipif(not os.path.exists(README), reason='needs the checkout, for its README.md')


def blocks():
    """Return the indented blocks of the README."""
    with open(README, encoding='utf-8') as file:
        text = file.read()
    return [re.sub(r'^    ', '', block, flags=re.M) for block in re.findall(r'(?:^    .*\n(?:\n(?=    ))?)+', text, re.M)]


def commands():
    """Return every `python -m runner …` line that can be run as it stands, comments cut off."""
    found = []
    for block in blocks():
        for line in block.splitlines():
            line = line.split(' #')[0].split('      ')[0].strip()
            if line.startswith('$ '):
                line = line[2:]
            if line.startswith('python -m runner ') and '[' not in line and '|' not in line and '...' not in line:
                found.append(line)
    return found


@own_process_only
def test_commands_of_the_readme_work(place):
    """Each is run in a folder with a job.py, its history, a .env and a ci.yaml; none is a usage error."""
    job = place.write('job.py', 'print("fine")')
    place.write('ci.yaml', 'timeout: 5m\n')
    place.write('.env', 'A=1\n')
    with runner.HistoryManager(place.history) as history:
        for number in range(60):                  # the README speaks of runs 57 and 58
            history.save_execution({'execution_time_seconds': 1.0 + number % 7 / 100.0, 'memory_max_mb': 100.0 + number}, job, 0)
    lines = commands()
    assert len(lines) >= 10
    for line in lines:
        finished = place.run(*shlex.split(line)[3:])
        may_judge = line.split()[3] == 'doctor' or '--baseline' in line and finished.status == 123     # a busy machine is slow
        assert finished.status == 0 or may_judge, (line, finished)


def test_the_python_of_the_readme_works(place):
    """The API example runs."""
    example = [block for block in blocks() if block.startswith('import runner')]
    assert len(example) == 1
    place.write('job.py', 'print("fine")')
    code = place.write('example.py', 'import os\npid = os.getpid()\ndef work(): pass\n' + example[0])
    env = dict(place.env, PYTHONPATH=os.path.dirname(os.path.abspath(runner.__file__)))
    out = subprocess.check_output([sys.executable, code], cwd=place.folder, env=env).decode()
    assert out.startswith('success ') and 'fine' in out


def test_the_reference_pages_are_fresh():
    """cli.md, metrics.md and history.md are what docs/generate.py makes of the code now."""
    out = subprocess.check_output([sys.executable, os.path.join(os.path.dirname(TESTS), 'docs', 'generate.py'), '--check'])
    assert out == b''


def test_the_readme_names_every_verb_and_only_real_options():
    """Verbs and flags in the README exist."""
    with open(README, encoding='utf-8') as file:
        text = file.read()
    for verb in runner._VERBS:
        assert verb == 'run' or 'runner %s' % verb in text, verb
    known = set(runner._BY_FLAG) | {'--json', '--help', '--fast', '--password'}
    known.update(name for verb in runner._VERBS.values() for names, _ in verb.arguments for name in names)
    assert set(re.findall(r'(?<![\w-])--[a-z][a-z-]+', text)) <= known
