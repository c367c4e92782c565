"""What leaves the house: the wheel, the release script, the action's shell steps, the image's first process, the hooks."""
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import LINUX, PORTABLE, TESTS, THOROUGH, Started, is_running, read_pids, wait_until

import runner

CHECKOUT = os.path.dirname(TESTS)
pytestmark = [pytest.mark.skipif(not os.path.exists(os.path.join(CHECKOUT, 'release.sh')), reason='needs the checkout'),
              pytest.mark.skipif(PORTABLE or os.name == 'nt', reason='needs a Unix shell')]
thorough_only = pytest.mark.skipif(not THOROUGH, reason='one interpreter is enough (RUNNER_TEST_THOROUGH=1)')


def call(words, folder, env=None, status=0):
    """Run a command; returns what it wrote to stdout and stderr together."""
    process = Started(words, cwd=str(folder), env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        out = process.communicate()[0].decode('utf-8', 'replace')
    finally:
        process.end()
    assert process.returncode == status, out
    return out


def write_program(path, text):
    """Write an executable shell script."""
    with open(str(path), 'w') as file:
        file.write('#!/bin/sh\n' + text)
    os.chmod(str(path), 0o755)


@pytest.fixture
def repository(tmp_path):
    """A committed copy of what would be released, in a repository of its own, with stand-ins for make and twine."""
    folder = tmp_path / 'repository'
    shutil.copytree(CHECKOUT, str(folder), ignore=shutil.ignore_patterns('.*cache', '.venv*', '.git', '.nox', '__pycache__', 'build', 'dist', '*.egg-info', 'node_modules'))
    programs = tmp_path / 'programs'
    programs.mkdir()
    write_program(programs / 'make', 'echo make "$@"\n')
    # There is no twine among what the tests need; that it is called is seen, what it says is its own affair.
    write_program(programs / 'python', 'case "$*" in *twine*) echo twine "$@" ;; *) exec \'%s\' "$@" ;; esac\n' % sys.executable)
    env = {name: value for name, value in os.environ.items() if not name.startswith('GIT_')}
    env.update(PATH='%s:%s' % (programs, env['PATH']), BIN=str(programs), HOME=str(tmp_path), TMPDIR=str(tmp_path), GIT_CONFIG_NOSYSTEM='1')
    for who in ('AUTHOR', 'COMMITTER'):
        env['GIT_%s_NAME' % who], env['GIT_%s_EMAIL' % who] = 'somebody', 'somebody@example.org'
    log = folder / 'CHANGELOG.md'
    log.write_text(re.sub(r'^## \[(%s)\] - .*$' % re.escape(runner.__version__), r'## [\1] - 2026-01-31', log.read_text(encoding='utf-8'), flags=re.M), encoding='utf-8')
    for words in (['init', '-q'], ['add', '-A'], ['commit', '-q', '-m', 'Everything']):
        call(['git'] + words, folder, env)
    return folder, env


@thorough_only
def test_the_release_script_builds_the_same_wheel_twice_and_tags(repository):
    """--dry-run leaves no trace; without it there is a tag, a wheel that holds exactly what it shall, and nothing published."""
    folder, env = repository
    version = runner.__version__
    out = call(['./release.sh', '--dry-run'], folder, env)
    assert 'the wheel is reproducible' in out and 'would tag v%s' % version in out and 'make test lint types vermin' in out
    assert 'twine' in out and call(['git', 'tag'], folder, env) == '' and not (folder / 'dist').exists()
    assert call(['git', 'status', '--porcelain'], folder, env) == ''
    out = call(['./release.sh'], folder, env)
    assert call(['git', 'tag'], folder, env) == 'v%s\n' % version and 'not published' in out
    built = sorted(os.listdir(str(folder / 'dist')))
    assert built == ['python_script_runner-%s-py3-none-any.whl' % version, 'python_script_runner-%s.tar.gz' % version]
    assert 'the tag v%s exists' % version in call(['./release.sh'], folder, env, 1)


@thorough_only
@pytest.mark.parametrize('trouble, told', [
    ('dirty', 'the tree is dirty'), ('undated', "no line '## [%s] - YYYY-MM-DD'" % runner.__version__), ('tagged', 'exists'),
    ('two', 'one of them'), ('typo', 'no such option')])
def test_the_release_script_refuses(repository, trouble, told):
    """Before anything is tested or built; a dry run tells the trouble as well."""
    folder, env = repository
    words = {'two': ['--dry-run', '--publish'], 'typo': ['--publsh']}.get(trouble, [])
    if trouble == 'dirty':
        (folder / 'more.py').write_text('')
    elif trouble == 'undated':
        (folder / 'CHANGELOG.md').write_text('## [%s] - Unreleased\n' % runner.__version__)
        call(['git', 'commit', '-q', '-a', '-m', 'x'], folder, env)
    elif trouble == 'tagged':
        call(['git', 'tag', 'v' + runner.__version__], folder, env)
    out = call(['./release.sh'] + words, folder, env, 2 if words else 1)
    assert told in out and 'make test' not in out
    assert not (folder / 'dist').exists()


@thorough_only
def test_publishing_is_pushing_the_tag(repository, tmp_path):
    """Only with --publish, and only the tag."""
    folder, env = repository
    call(['git', 'init', '-q', '--bare', str(tmp_path / 'origin')], tmp_path, env)
    call(['git', 'remote', 'add', 'origin', str(tmp_path / 'origin')], folder, env)
    call(['./release.sh', '--publish'], folder, env)
    assert call(['git', 'for-each-ref', '--format=%(refname)'], tmp_path / 'origin', env) == 'refs/tags/v%s\n' % runner.__version__


@thorough_only
def test_a_wheel_with_more_or_less_is_refused(repository):
    """The check of the contents can fail."""
    import zipfile
    folder, env = repository
    for name, add, lack in (('more.whl', 'tests.py', None), ('less.whl', None, 'runner.py')):
        with zipfile.ZipFile(str(folder / name), 'w') as wheel:
            dashboard = ['script_runner_dashboard/backend/app.py', 'script_runner_dashboard/frontend/index.html']
            for item in ['runner.py'] + dashboard + ['x-1.dist-info/' + n for n in ('METADATA', 'RECORD', 'WHEEL', 'entry_points.txt', 'top_level.txt', 'licenses/LICENSE')]:
                if item != lack:
                    wheel.writestr(item, 'Requires-Python: >=3.6\nName: python-script-runner\n')
            if add:
                wheel.writestr(add, '')
        out = call([sys.executable, '.ci/check_distribution.py', name], folder, env, 1)
        assert out == '%s: %s\n' % (name, 'tests.py must not be in the wheel' if add else 'runner.py is missing')


@thorough_only
def test_the_wheel_works_where_nothing_else_is(repository, tmp_path):
    """Installed without its dependencies into a fresh environment: the command and the module say their version and run a script."""
    folder, env = repository
    call(['.ci/build_distribution', str(tmp_path / 'dist')], folder, env)
    wheel, = [str(p) for p in (tmp_path / 'dist').iterdir() if p.suffix == '.whl']
    call([sys.executable, '-m', 'venv', str(tmp_path / 'venv')], tmp_path)
    python = str(tmp_path / 'venv' / 'bin' / 'python')
    env = {name: value for name, value in env.items() if name != 'PYTHONPATH'}
    call([python, '-m', 'pip', '--disable-pip-version-check', 'install', '-q', '--no-deps', '--no-index', wheel], tmp_path, env)
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    (elsewhere / 'job.py').write_text('print("fine")')
    for command in ([python, '-m', 'runner'], [str(tmp_path / 'venv' / 'bin' / 'python-script-runner')]):
        assert call(command + ['--version'], elsewhere, env) == 'python-script-runner %s\n' % runner.__version__
        assert 'fine\nrunner: ok' in call(command + ['--history-db', str(tmp_path / 'h.db'), 'job.py'], elsewhere, env)


def action_steps():
    """Return the shell steps of action.yml: {id: (environment, text)}."""
    yaml = pytest.importorskip('yaml')
    with open(os.path.join(CHECKOUT, 'action.yml'), encoding='utf-8') as file:
        steps = yaml.safe_load(file)['runs']['steps']
    return {step['id']: (step['env'], step['run']) for step in steps if 'run' in step}


def test_the_action_never_puts_an_input_into_shell_text():
    """Inputs are read from the environment; nothing is evaluated."""
    for environment, text in action_steps().values():
        assert '${{' not in text and not re.search(r'\beval\b|bash -c|sh -c', text)
        assert all(name.startswith('INPUT_') == ('inputs.' in value) for name, value in environment.items())


def run_step(place, text, **inputs):
    """Execute the action's step as GitHub does (bash with -e and pipefail); returns (finished, outputs)."""
    names = [name for name, value in action_steps()['run'][0].items()]
    env = dict(place.env, **dict.fromkeys(names, ''))
    env.update(INPUT_PYTHON=sys.executable, SCRIPT_RUNNER_PROGRAM=os.path.join(place.folder, 'program'), SCRIPT_RUNNER_FOLDER=place.folder,
               GITHUB_OUTPUT=os.path.join(place.folder, 'outputs'), GITHUB_STEP_SUMMARY=os.path.join(place.folder, 'summary'), GITHUB_ACTIONS='true')
    env.update(inputs)
    write_program(env['SCRIPT_RUNNER_PROGRAM'], "exec '%s' -m runner \"$@\"\n" % sys.executable)
    process = Started(['bash', '--noprofile', '--norc', '-eo', 'pipefail', place.write('step.sh', text)], cwd=place.folder, env=env,
                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate()
    with open(env['GITHUB_OUTPUT']) as file:
        outputs = dict(line.rstrip('\n').split('=', 1) for line in file)
    return process.returncode, out.decode(), err.decode(), outputs


HOSTILE = '$(touch hacked); `touch hacked` "quoted" \'x\' *'


def test_the_action_leaves_the_jobs_variables_to_the_script(place):
    """Whatever a job calls its own; of ours nothing arrives."""
    place.write('job.py', 'import os; print(os.environ["FOLDER"], os.environ["PROGRAM"], "SCRIPT_RUNNER_FOLDER" in os.environ)')
    status, out, err, _ = run_step(place, action_steps()['run'][1], INPUT_SCRIPT='job.py', FOLDER='mine', PROGRAM='too')
    assert (status, out) == (0, 'mine too False\n'), err


def test_the_action_runs_a_script_with_gates(place):
    """Arguments arrive as they are, a gate that holds is told in the step summary, the result is an output."""
    place.write('job.py', 'import os, sys; print(sys.argv[1:], [n for n in os.environ if n.startswith("INPUT_")])')
    status, out, err, outputs = run_step(place, action_steps()['run'][1], INPUT_SCRIPT='job.py', INPUT_ARGS='--one\r\n' + HOSTILE + '\n\n--gate\n',
                                         INPUT_GATES='exit_code == 0\nexecution_time_seconds < 1h')
    assert status == 0, err
    assert out == repr(['--one', HOSTILE, '--gate']) + ' []\n' and not os.path.exists(os.path.join(place.folder, 'hacked'))
    assert outputs == {'exit-status': '0', 'result': os.path.join(place.folder, 'result.json')}
    with open(os.path.join(place.folder, 'summary'), encoding='utf-8') as file:
        assert '| exit\\_code == 0 | pass |' in file.read()


@pytest.mark.parametrize('inputs, wanted', [
    ({'INPUT_GATES': 'exit_code == 1'}, '123'), ({'INPUT_GATES': 'exit_cod == 1'}, '2'), ({'INPUT_ARGS': '7'}, '7'),
    ({'INPUT_SCRIPT': '--dry-run'}, '127'), ({'INPUT_CONFIG': 'nowhere.yaml'}, '2')])
def test_the_action_ends_as_the_run_does(place, inputs, wanted):
    """The step's status is the run's, also as an output; a script's name is never an option."""
    place.write('job.py', 'import sys; sys.exit(int((sys.argv[1:] or [0])[0]))')
    status, _, err, outputs = run_step(place, action_steps()['run'][1], **dict({'INPUT_SCRIPT': 'job.py'}, **inputs))
    assert (str(status), outputs['exit-status']) == (wanted, wanted), err


def test_the_hook_checks_settings(place):
    """`config check` takes the files that pre-commit hands over, and fails for one that is wrong."""
    yaml = pytest.importorskip('yaml')
    with open(os.path.join(CHECKOUT, '.pre-commit-hooks.yaml'), encoding='utf-8') as file:
        hook, = yaml.safe_load(file)
    assert hook['entry'].split()[0] == 'python-script-runner'
    assert re.search(hook['files'], 'ci/script-runner.yaml') and not re.search(hook['files'], 'other.yaml')
    good, bad = place.write('a.yaml', 'retry: {max_attempts: 2}\n'), place.write('b.yaml', 'retri: {}\n')
    words = hook['entry'].split()[1:]
    assert place.run(*(words + [good, good])).status == 0
    finished = place.run(*(words + [good, bad]))
    assert finished.status == 2 and b'b.yaml' in finished.err


def test_the_image_takes_all_that_is_built_and_no_more():
    """What the Dockerfile copies is let through by .dockerignore, and exists."""
    with open(os.path.join(CHECKOUT, 'Dockerfile')) as file:
        text = file.read()
    with open(os.path.join(CHECKOUT, '.dockerignore')) as file:
        allowed = set(line[1:] for line in file.read().split('\n') if line.startswith('!'))
    copied = re.findall(r'\S+', ' '.join(re.findall(r'^COPY (.*) \./\S*$', text, re.M)))
    assert set(name.split('/')[0] for name in allowed) == set(copied) and all(os.path.exists(os.path.join(CHECKOUT, name)) for name in allowed)
    assert re.search(r'^USER \d+$', text, re.M) and 'ENTRYPOINT ["python-script-runner"]' in text


@thorough_only
def test_what_the_image_is_built_from_makes_the_wheel(repository, tmp_path):
    """The files that .dockerignore lets through are enough: the wheel is the one that is released."""
    folder, env = repository
    source = tmp_path / 'source'
    with open(os.path.join(CHECKOUT, '.dockerignore')) as file:
        for name in [line[1:].strip() for line in file if line.startswith('!')]:
            target = source / name
            os.makedirs(str(target.parent), exist_ok=True)
            shutil.copy(str(folder / name), str(target))
    call([sys.executable, '-W', 'ignore', 'setup.py', '--quiet', 'bdist_wheel'], source, env)
    wheel, = os.listdir(str(source / 'dist'))
    assert 'holds what it shall' in call([sys.executable, '.ci/check_distribution.py', str(source / 'dist' / wheel)], folder, env)


@pytest.fixture
def first_process(place):
    """Start the runner as process 1 of a pid namespace, as in a container; returns (the Popen, its pid out here)."""
    head = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child']
    if not LINUX or shutil.which('unshare') is None or subprocess.call(head + ['true'], stderr=subprocess.DEVNULL):
        pytest.skip('needs unshare, and the right to make a pid namespace')

    def start(*words):
        process = Started(head + [sys.executable, '-m', 'runner'] + [str(w) for w in words], cwd=place.folder, env=place.env,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        place.started.append(process)
        children = '/proc/%d/task/%d/children' % (process.pid, process.pid)

        def child():
            with open(children) as file:
                return [int(word) for word in file.read().split()]
        return process, wait_until(child, 'process 1')[0]
    return start


@pytest.mark.parametrize('number, wanted', [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_as_process_1_it_ends_its_tree_on_a_signal(first_process, place, number, wanted):
    """The kernel drops signals that process 1 does not take; docker stop sends TERM, and waits ten seconds for KILL."""
    path = place.write('job.py', (
        'import os, subprocess, sys, time\n'
        'subprocess.Popen([sys.executable, "-c", "import os, time; os.setsid(); open(\'deaf\', \'w\').close(); time.sleep(600)"])\n'
        'while not os.path.exists("deaf"): time.sleep(0.01)\n'
        'file = open("pids", "w"); file.write("%d\\n" % os.getpid()); file.close()\nwhile True: time.sleep(0.05)\n'))
    process, pid = first_process('--grace', '2s', path)
    assert read_pids(os.path.join(place.folder, 'pids'), 1)[0] != 1
    os.kill(pid, number)
    _, err = process.communicate()
    assert not is_running(pid) and b'SIG%s from' % signal.Signals(number).name[3:].encode() in err, err
    assert process.returncode == wanted and place.rows()[0]['cause'] == 'interrupted'


def test_as_process_1_it_reaps_orphans_and_passes_the_status_on(first_process, place):
    """What was forked twice is waited for, so it is counted, and the status is the script's own."""
    path = place.write('job.py', (
        'import os, sys, time\nif os.fork() == 0:\n    if os.fork() == 0:\n        while time.process_time() < 0.1: pass\n'
        '    os._exit(0)\nos.wait()\nsys.exit(5)\n'))
    process, _ = first_process(path)
    _, err = process.communicate()
    assert process.returncode == 5, err
    values = place.rows("SELECT SUM(metric_value) AS cpu FROM metrics WHERE metric_name IN ('user_time', 'system_time')")
    assert values[0]['cpu'] >= 0.1
