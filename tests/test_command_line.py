"""Sections 15 and 16: what a user types, and what comes back."""
import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import LINUX, PYPY, Started, assert_tree_gone, own_process_only, read_pids, script, wait_until

import runner

# -- cutting up the command line ---------------------------------------------------------------------------

@pytest.mark.parametrize('words, verb, name, rest', [
    (['job.py', '--timeout', '5'], None, 'job.py', ['--timeout', '5']),
    (['--timeout', '5', 'job.py', '--', 'x'], None, 'job.py', ['--', 'x']),
    (['--timeout=5', '--', 'history'], None, 'history', []),
    (['--', '-x.py', '-y'], None, '-x.py', ['-y']),
    (['./history'], None, './history', []),
    (['history', '--json'], 'history', None, ['--json']),
    (['--history-db', 'h.db', 'show', 'last'], 'show', None, ['last']),
    (['run', '--quiet', 'history', 'a'], None, 'history', ['a']),
    (['run', 'run'], None, 'run', []),
    (['-', 'x'], None, '-', ['x']),
])
def test_words_are_cut_at_the_script(words, verb, name, rest):
    """Options end at the script; a verb is one only where it is the first word."""
    found = runner.parse_command_line(words)
    assert (found.verb, found.script, found.rest) == (verb, name, rest)


def test_options_are_read_in_both_spellings():
    """`--x=1`, `--x 1`, repeatable ones collect, the last of the others wins."""
    found = runner.parse_command_line(['--timeout=1m', '--timeout', '2m', '--label', 'a=1', '--label=b=2', 'run', '--label', 'c=',
                                       '--quiet', '-m', 'mod', '-m'])
    assert found.options == {'timeout': 120.0, 'label': [('a', '1'), ('b', '2'), ('c', '')], 'quiet': True}
    assert found.module and found.script == 'mod' and found.rest == ['-m']


@pytest.mark.parametrize('words, parts', [
    (['--timout', '5', 'job.py'], ["--timout: no such option", "did you mean '--timeout'?"]),
    (['--time', '5', 'job.py'], ['--time: no such option']),
    (['--timeout'], ['--timeout: its value is missing']),
    (['--timeout', '-1', 'job.py'], ["--timeout '-1'", 'not a duration']),
    (['--timeout', 'abc', 'job.py'], ["--timeout 'abc'", '1h30m']),
    (['--timeout', '0', 'job.py'], ["--timeout '0'", 'more than 0']),
    (['--timeout', '1h1h', 'job.py'], ["--timeout '1h1h'"]),
    (['--timeout=', 'job.py'], ["--timeout ''"]),
    (['--monitor-interval', '0', 'job.py'], ["--monitor-interval '0'"]),
    (['--quiet=yes', 'job.py'], ['takes no value']),
    (['--label', 'x', 'job.py'], ["--label 'x'", 'NAME=VALUE']),
    ([], ['no script given']),
    (['run'], ['no script given']),
    (['-m'], ['-m: no module']),
    ([''], ['no script']),
    (['--timeout', '5', 'history'], ["--timeout: an option of a run, not of 'history'"]),
    (['history', '--limit', '0'], ["'0'"]),
    (['history', '--frobnicate'], ['--frobnicate']),
    (['show'], ['RUN']),
    (['prune'], ['--older-than']),
    (['prune', '--older-than', 'x'], ["'x'", 'not a duration']),
])
def test_bad_input_is_one_sentence_and_exit_2(place, words, parts):
    """It names what was given and what would be right; nothing was started."""
    finished = place.run(*words)
    text = finished.err.decode()
    assert finished.status == 2 and finished.out == b'' and text.count('\n') == 1 and text.startswith('runner: '), finished
    for part in parts:
        assert part in text
    assert not os.path.exists(place.history)


def test_a_value_from_the_environment_is_named(place):
    """A bad SCRIPT_RUNNER_TIMEOUT is an error that names the variable; a good one works, a flag is stronger."""
    finished = place.run(script('exit_with.py'), 0, env={'SCRIPT_RUNNER_TIMEOUT': 'soon'})
    assert finished.status == 2 and b'SCRIPT_RUNNER_TIMEOUT' in finished.err
    code = 'import time; time.sleep(3)'
    assert place.run(sys.executable, '-c', code, env={'SCRIPT_RUNNER_TIMEOUT': '0.3', 'SCRIPT_RUNNER_GRACE': '1'}).status == 124
    assert place.run('--timeout', '60', script('exit_with.py'), 0, env={'SCRIPT_RUNNER_TIMEOUT': '0.001'}).status == 0


def test_help_and_version(place):
    """Both go to stdout and end with 0; every option and verb is in the help."""
    assert place.run('--version').out.decode().strip() == 'python-script-runner ' + runner.__version__
    text = place.run('--help').out.decode()
    for option in runner._OPTIONS:
        assert option.flag in text
    for verb in runner._VERBS:
        assert '\n  %s ' % verb in text
        finished = place.run(verb, '--help')
        assert finished.status == 0 and b'--' in finished.out


# -- the verbs ---------------------------------------------------------------------------------------------

@pytest.fixture
def filled(place):
    """A workplace with three runs of two scripts."""
    place.write('good.py', 'print("fine")')
    place.write('bad.py', 'import sys; print("\\x1b[31mred"); sys.stderr.write("ValueError: no\\n"); sys.exit(3)')
    place.run('--label', 'team=data', 'good.py', 'a b', '--token', 's3cret')
    place.run('bad.py')
    place.run('good.py')
    return place


def test_history_lists_runs(filled):
    """A table, newest first; by script, by name; JSON."""
    lines = filled.run('history').out.decode().splitlines()
    assert lines[0].split()[:3] == ['run', 'started', 'status'] and [line.split()[0] for line in lines[1:]] == ['3', '2', '1']
    assert "'a b'" in lines[3] and 's3cret' not in lines[3]
    assert len(filled.run('history', 'bad.py').out.splitlines()) == 2
    assert len(filled.run('history', '--limit', '1').out.splitlines()) == 2
    assert len(filled.run('history', '--since', '1h').out.splitlines()) == 4
    runs = json.loads(filled.run('history', '--json', 'good.py').out.decode())
    assert [run['id'] for run in runs] == [3, 1] and runs[1]['labels'] == {'team': 'data'}


def test_show_tells_a_run_in_full(filled):
    """Metrics with source, cause, tail; control characters of the script do not reach the terminal."""
    text = filled.run('show', 2).out.decode()
    assert 'failed (exit 3)' in text and 'ValueError: no' in text and 'exact' in text and '\x1b' not in text and '\\x1b[31mred' in text
    last = json.loads(filled.run('show', 'last', '--json').out.decode())
    assert last['id'] == 3 and last['metrics']['success'] is True and isinstance(last['samples'], list)


@pytest.mark.parametrize('words, part', [
    (['show', '99'], 'no such run'), (['show', 'first'], 'not a run'), (['show', '9' * 30], 'no such run'),
    (['history', '--limit', '9' * 30], '18 digits at most'), (['history', 'god.py'], "did you mean 'good.py'?")])
def test_verbs_name_what_they_do_not_find(filled, words, part):
    """Exit 2 and one sentence."""
    finished = filled.run(*words)
    assert finished.status == 2 and part in finished.err.decode() and finished.err.count(b'\n') == 1


def test_verbs_without_a_history_say_so(place):
    """No empty file is made by looking."""
    finished = place.run('history')
    assert finished.status == 2 and b'no history yet' in finished.err and not os.path.exists(place.history)


def test_options_stand_before_and_after_a_verb(filled):
    """--history-db on either side."""
    for words in (['--history-db', filled.history, 'history'], ['history', '--history-db', filled.history]):
        assert len(filled.run(*words, env={'SCRIPT_RUNNER_HISTORY_DB': 'nowhere.db'}).out.splitlines()) == 4


def test_metrics_lists_the_registry(place):
    """Every name, with unit and source."""
    text = place.run('metrics').out.decode()
    assert all(name in text for name in runner.METRICS)
    assert [m['name'] for m in json.loads(place.run('metrics', '--json').out.decode())] == list(runner.METRICS)


def test_prune_deletes_old_runs(filled):
    """--dry-run counts, the real thing deletes."""
    assert filled.run('prune', '--older-than', '1d').out.decode().strip() == 'deleted 0 runs'
    assert filled.run('prune', '--older-than', '1ms', '--dry-run').out.decode() == 'would delete 3 runs\n  3: older than 1 ms\n'
    assert len(filled.rows()) == 3
    assert filled.run('prune', '--older-than', '1ms').out.decode().strip() == 'deleted 3 runs'
    assert filled.rows() == []


def test_doctor_examines_machine_and_history(filled):
    """It names sampler and history, and fails where something needs a look."""
    finished = filled.run('doctor')
    assert b'sampler' in finished.out and filled.history.encode() in finished.out
    assert finished.status == 0 or b'LOOK' in finished.out
    os.mkdir(filled.history + '.spool', 0o700)
    filled.write(os.path.join('history.db.spool', 'x.jsonl'), json.dumps({'database': filled.history}))
    checks = json.loads(filled.run('doctor', '--json').out.decode())
    assert [c['ok'] for c in checks if c['check'] == 'spool'] == [False]


def test_doctor_says_when_each_start_compiles_anew(place):
    """Byte code that may not be kept is told, with what to do; kept byte code that is older than the source is none."""
    copy = os.path.join(place.folder, 'runner.py')
    shutil.copy(runner.__file__, copy)

    def byte_code(**env):
        finished = subprocess.Popen([sys.executable, '-m', 'runner', 'doctor', '--json'], cwd=place.folder, stdout=subprocess.PIPE,
                                    env=dict({k: v for k, v in place.env.items() if k != 'PYTHONDONTWRITEBYTECODE'}, **env))
        row, = [row for row in json.loads(finished.communicate()[0].decode()) if row['check'] == 'byte code']
        return row['ok'], row['answer']

    fine, answer = byte_code(PYTHONDONTWRITEBYTECODE='1')
    assert not fine and 'unset PYTHONDONTWRITEBYTECODE' in answer and 'runner.py' in answer
    fine, answer = byte_code()
    assert fine and answer.endswith('.pyc')
    os.utime(copy, (1000000000, 1000000000))
    assert not byte_code(PYTHONDONTWRITEBYTECODE='1')[0]


# -- our own words -----------------------------------------------------------------------------------------

def test_the_summary_is_one_line_on_stderr(filled):
    """stdout belongs to the script; --quiet takes the line away, --verbose adds the metrics."""
    finished = filled.run('good.py')
    assert finished.out == b'fine' + os.linesep.encode()
    line = finished.err.decode()
    assert line.startswith('runner: ok in ') and line.endswith('run 4\n') and line.count('\n') == 1
    assert filled.run('--quiet', 'good.py').err == b''
    assert b'execution_time_seconds' in filled.run('--verbose', 'good.py').err


@pytest.mark.skipif(not LINUX, reason='needs POSIX locales')
def test_a_plain_locale_gets_plain_characters(filled):
    """LANG=C: no byte beyond ASCII, and no exception."""
    finished = filled.run('good.py', env={'LC_ALL': 'C', 'LANG': 'C', 'PYTHONIOENCODING': 'ascii', 'PYTHONUTF8': '0',
                                          'PYTHONCOERCECLOCALE': '0'})
    assert finished.status == 0 and finished.err.startswith(b'runner: ok in') and all(c < 128 for c in finished.err)
    assert filled.run('history', env={'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii', 'PYTHONUTF8': '0',
                                      'PYTHONCOERCECLOCALE': '0'}).status == 0


def test_json_output_is_the_result(place):
    """Numbers that JSON lacks are null; a file that cannot be written costs a line, not the status."""
    result = place.result('--label', 'a=b', script('exit_with.py'), 3)
    assert result['returncode'] == 3 and result['metrics']['exit_code'] == 3 and result['attempts'][0]['returncode'] == 3
    finished = place.run('--json-output', os.path.join('no', 'such', 'r.json'), script('exit_with.py'), 3)
    assert finished.status == 3 and b'result not written' in finished.err
    assert json.loads(runner.to_json({'x': float('nan'), 'y': [float('inf')]})) == {'x': None, 'y': [None]}


def test_env_and_label_reach_script_and_record(place):
    """--env sets a variable for the script only."""
    out = place.run('--env', 'MINE=a=b', '--label', 'x=1', script('show_start.py')).out
    assert json.loads(out.decode())['env']['MINE'] == 'a=b'
    assert json.loads(place.rows()[0]['labels']) == {'x': '1'}


def test_dry_run_runs_nothing(place):
    """The plan is printed as JSON, nothing is started or recorded."""
    place.write('job.py', 'open("ran", "w")')
    plan = json.loads(place.run('--dry-run', '--timeout', '5m', 'job.py', 'x').out.decode())
    assert plan['command'][1:] == ['job.py', 'x'] and plan['timeout'] == 300
    assert os.listdir(place.folder) == ['job.py'] or sorted(os.listdir(place.folder)) == ['blockers', 'job.py']


def test_no_history_leaves_no_file(place):
    """--no-history."""
    finished = place.run('--no-history', script('exit_with.py'), 0)
    assert finished.status == 0 and b'run ' not in finished.err.replace(b'runner', b'') and not os.path.exists(place.history)


def test_a_reader_of_a_verb_may_leave(filled):
    """history | head: no traceback."""
    process = filled.start('metrics')
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    process.wait()
    assert b'Traceback' not in err


# -- as a program ------------------------------------------------------------------------------------------

def test_a_hostile_folder_harms_nobody(place):
    """Files named like modules we use, beside the script, are not imported by us."""
    names = ['json', 'sqlite3', '_sqlite3', 'select', 'psutil', 'fcntl', 'termios', 'argparse', 're', 'subprocess', 'signal',
             'calendar', 'datetime', 'ctypes', '_ctypes', 'traceback', 'tempfile', 'shutil', 'difflib', 'resource', 'pwd']
    for name in names:
        place.write(name + '.py', 'raise RuntimeError("hostile")')
    place.write('nothing.py', '')
    if place.bare('-m', 'nothing').status != 0:          # this interpreter (PyPy) imports some of them itself, before any module of ours
        for name in names:
            os.unlink(os.path.join(place.folder, name + '.py'))
            place.write(name + '.py', 'raise RuntimeError("hostile")')
            if place.bare('-m', 'nothing').status != 0:
                os.unlink(os.path.join(place.folder, name + '.py'))
    place.write('job', '#!/bin/sh\necho fine\nexit 3\n')
    os.chmod(os.path.join(place.folder, 'job'), 0o755)
    finished = place.run('--json-output', 'r.json', './job', '--password', 'x')
    assert finished.status == 3 and finished.out == b'fine\n' and b'hostile' not in finished.err and b'run 1' in finished.err, finished
    assert place.run('history').status == 0 and place.run('doctor').status in (0, 1)


@own_process_only
@pytest.mark.skipif(PYPY, reason='a list of CPython\'s modules')
def test_nothing_needless_is_imported_before_the_spawn(place):
    """At the fork only what a bare interpreter has, and what the spawn itself needs, is loaded."""
    code = ('import sys, os\nbefore = set(sys.modules)\nimport runner\nreal = os.fork\n'
            'def fork():\n    sys.stderr.write(" ".join(sorted(set(sys.modules) - before)) + "\\n")\n    sys.stderr.flush()\n    return real()\n'
            'os.fork = fork\nos._exit(runner._main(sys.argv[1:], program=True))')
    env = dict(place.env, PYTHONPATH=os.path.dirname(os.path.abspath(runner.__file__)))
    for words in ([], ['--timeout', '50', '--label', 'a=b', '--history-db', place.history]):
        process = Started([sys.executable, '-S', '-c', code] + words + [script('exit_with.py'), '0'], cwd=place.folder, env=env,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        _, err = process.communicate()
        loaded = set(err.decode().splitlines()[0].split())
        assert process.returncode == 0 and loaded <= {'runner', '_signal', 'fcntl', 'time', 'errno', '_thread', '_ctypes'}, loaded


def test_main_is_a_guest_when_called_from_code(place, capfd, monkeypatch):
    """main() returns the status, installs nothing, and prints the summary."""
    for name, value in place.env.items():
        monkeypatch.setenv(name, value)
    assert runner.main([script('exit_with.py'), '7']) == 7
    assert 'failed (exit 7)' in capfd.readouterr().err
    assert runner.main(['--nonsense']) == 2


@own_process_only
def test_a_runner_in_a_runner(place):
    """The inner one's script is in the outer one's tree; both are recorded, both statuses are right."""
    finished = place.run(sys.executable, '-m', 'runner', script('exit_with.py'), 5)
    assert finished.status == 5 and finished.err.count(b'runner: failed (exit 5)') == 2
    assert len(place.rows()) == 2


@own_process_only
def test_a_killed_runner_leaves_a_readable_history(place):
    """kill -9 of the runner while its script runs."""
    pids = os.path.join(place.folder, 'pids')
    process = place.start(script('spawn_tree.py'), 1, 1, pids)
    tree = read_pids(pids, 2)
    wait_until(lambda: os.path.exists(place.history), 'the history')
    process.kill()
    process.communicate()
    for pid in tree:
        try:
            os.kill(pid, 9)
        except OSError:
            pass
    assert place.run('history').status == 0
    assert_tree_gone(tree)


@pytest.mark.parametrize('stream', [0, 1, 2])
@pytest.mark.skipif(os.name != 'posix', reason='needs descriptors')
def test_a_closed_standard_stream(place, stream):
    """stdin, stdout or stderr closed by whoever started us: the script's status still comes back."""
    process = place.start(script('exit_with.py'), 4, preexec_fn=lambda: os.close(stream), stdin=subprocess.DEVNULL)
    process.communicate()
    assert process.returncode == 4
    assert place.rows()[0]['exit_code'] == 4
