"""Section 13: the library interface."""
import logging
import os
import subprocess
import sys
import threading
import time

import pytest
from conftest import PORTABLE, Started, assert_tree_gone, linux_only, own_process_only, read_pids, script, wait_until

import runner

RESULT_KEYS = ('stdout stderr returncode success status cause correlation_id attempt_number stdout_lines stderr_lines '
               'error_summary metrics execution_id attempts gate_results alerts warnings').split()


@pytest.fixture
def run(tmp_path):
    """Return a function that makes a ScriptRunner with a history of its own."""
    def make(path, *words, **options):
        options.setdefault('history_db', str(tmp_path / 'history.db'))
        return runner.ScriptRunner(path, list(words), **options)
    return make


def test_the_result_has_its_promised_shape(run, capfd):
    """Captured, not echoed; every key there; the run is recorded."""
    result = run(script('latin1_output.py')).run_script()
    assert [key for key in RESULT_KEYS if key not in result] == []
    assert result['stdout'] == 'caf\ufffd\n\x00\ufffd\ufffd no end' and result['stdout_lines'] == 2
    assert (result['returncode'], result['success'], result['status'], result['cause']) == (0, True, 'success', 'exit')
    assert set(result['metrics']) == set(runner.METRICS) and result['execution_id'] == 1
    assert len(result['attempts']) == 1 and result['attempts'][0]['execution_id'] == 1
    assert capfd.readouterr() == ('', '')


def test_output_is_passed_on_when_asked(run, capsys):
    """stream_output writes to sys.stdout and sys.stderr, also where something stands in their place."""
    run(script('exit_with.py'), 'x', stream_output=True).run_script()
    run(script('echo_stdin.py'), stream_output=True)
    out, err = capsys.readouterr()
    assert 'ValueError' in err and out == ''


def test_output_is_passed_on_behind_what_was_printed_before(tmp_path):
    """Also where sys.stdout is a pipe, whose text waits in a buffer."""
    job = tmp_path / 'job.py'
    job.write_text('print("script")')
    code = ('import runner, sys\nprint("before")\nrunner.ScriptRunner(sys.argv[1], enable_history=False, stream_output=True).run_script()\n'
            'print("after")')
    env = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.abspath(runner.__file__)))
    env.pop('PYTHONUNBUFFERED', None)
    out = subprocess.check_output([sys.executable, '-c', code, str(job)], env=env)
    assert out.split() == [b'before', b'script', b'after']


def test_a_character_that_comes_in_two_parts_is_one(run, tmp_path, monkeypatch):
    """Where something that takes only text stands in place of sys.stdout (a notebook)."""
    import io
    job = tmp_path / 'job.py'
    job.write_text('import os, time\nos.write(1, b"caf\\xc3")\ntime.sleep(0.2)\nos.write(1, b"\\xa9 \\xc3")')
    monkeypatch.setattr(sys, 'stdout', io.StringIO())
    run(str(job), stream_output=True, enable_history=False).run_script()
    assert sys.stdout.getvalue() == 'caf\xe9 \ufffd'


def test_output_that_is_not_kept_is_counted_all_the_same(run):
    """capture_bytes=0."""
    result = run(script('latin1_output.py'), capture_bytes=0, enable_history=False).run_script()
    assert (result['stdout'], result['stdout_lines'], result['warnings']) == ('', 2, [])


def test_nothing_less_than_nothing_is_written():
    """The kernel counts against a script what it deletes of another's fresh file."""
    attempt = runner.Attempt(runner.LaunchPlan(capture_bytes=0, attempt_number=1))
    attempt.usage, attempt.ended = runner.Usage(), 1.0
    attempt.usage.read_mb, attempt.usage.written_mb = 2.0, -0.5
    metrics = runner.measure(attempt)
    assert (metrics['io_read_mb'], metrics['io_write_mb']) == (2.0, 0.0)


def test_a_failing_script_says_why(run):
    """error_summary is the exception's line."""
    result = run(script('exit_with.py'), 'x').run_script()
    assert result['status'] == 'failed' and result['returncode'] == 1 and not result['success']
    assert result['error_summary'].startswith('ValueError')


@pytest.mark.skipif(os.name != 'posix' or PORTABLE, reason='needs flock')
def test_a_lock_is_waited_for_as_long_as_a_text_says(run, monkeypatch, tmp_path):
    """As `timeout` and `grace`."""
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path))
    assert run(script('exit_with.py'), '0', lock='nightly', lock_wait='5s').run_script()['success']


def test_no_run_at_all_compares_nothing():
    """UsageError, as on the command line."""
    with pytest.raises(runner.UsageError):
        runner.run_ab(None, None, 0)


def test_a_run_without_descriptors_leaves_none_open(run, monkeypatch):
    """Who is short of them does not lose more with each run that cannot begin."""
    import errno
    make, made = os.pipe, []

    def make_one():
        if made:
            raise OSError(errno.EMFILE, 'Too many open files')
        made.extend(make())
        return tuple(made)
    monkeypatch.setattr(os, 'pipe', make_one)
    with pytest.raises(runner.RunnerError) as caught:
        run(script('exit_with.py'), '0', enable_history=False).run_script()
    assert 'Too many open files' in str(caught.value) and len(made) == 2
    for descriptor in made:
        with pytest.raises(OSError):
            os.fstat(descriptor)


def test_a_missing_script_raises(run, tmp_path):
    """RunnerError, with the sentence of the command line."""
    with pytest.raises(runner.RunnerError) as caught:
        run(str(tmp_path / 'none.py')).run_script()
    assert 'none.py' in str(caught.value) and caught.value.exit_status == 127
    with pytest.raises(runner.LaunchError):
        run(str(tmp_path / 'none.py')).validate_script()


@pytest.mark.parametrize('options', [{'timeout': 0}, {'timeout': -1}, {'timeout': 'abc'}, {'log_level': 'LOUD'},
                                     {'config_file': 'x.yaml'}, {'grace': 'x'}, {'grace': float('nan')}, {'capture_bytes': -1},
                                     {'capture_bytes': 'x'}, {'env_vars': {'A': 'a\0b'}}, {'env_vars': {'A=B': 'x'}},
                                     {'env_vars': {'': 'x'}}, {'env_vars': {'A': 3}}, {'limits': {'memory': 1}}])
def test_values_that_cannot_be_are_refused(run, options):
    """UsageError at construction, naming the value."""
    with pytest.raises(runner.UsageError):
        run('job.py', **options)


@pytest.mark.parametrize('script_path, words', [('job.py', '--fast'), ('a\0b.py', [])])
def test_words_that_are_one_text_and_names_that_are_none_are_refused(script_path, words):
    """'--fast' is not six words of one letter."""
    with pytest.raises(runner.UsageError):
        runner.ScriptRunner(script_path, words)


@pytest.mark.parametrize('word', ['a\0b', '\ud800'])
def test_words_that_no_program_can_be_given_are_refused(run, word):
    """UsageError at construction, naming the word."""
    with pytest.raises(runner.UsageError) as caught:
        run('job.py', word)
    assert repr(word) in str(caught.value)


@pytest.mark.parametrize('options', [{'timeout': 1e300}, {'timeout': 1e10, 'grace': 1e300}, {'timeout': '99999999999d'}])
def test_the_longest_limits_are_limits_too(run, options):
    """What is longer than the platform can wait for is waited for in parts."""
    job = run(script('exit_with.py'), '3', **options)
    job.monitor_interval = 1e300
    result = job.run_script()
    assert (result['returncode'], result['warnings']) == (3, [])


@own_process_only
def test_the_longest_limits_of_the_command_line(place):
    """Also where the process is ours."""
    words = ['--timeout', '99999999999d', '--monitor-interval', '99999999999d', '--timeout', '0.00001d']
    assert place.run(*(words + [script('exit_with.py'), '3'])).status == 3


@linux_only
def test_arguments_and_paths_that_are_no_text_are_recorded(run, tmp_path):
    """Bytes that are no UTF-8 reach the script as they are, and the history in a readable form."""
    path = os.path.join(os.fsencode(str(tmp_path)), b'caf\xe9.py')
    with open(path, 'wb') as file:
        file.write(b'import os, sys; print(os.fsencode(sys.argv[1]))')
    job = run(os.fsdecode(path), os.fsdecode(b'\xff'))
    result = job.run_script()
    assert result['stdout'] == "b'\\xff'\n" and result['warnings'] == []
    row, = job.history_manager.get_execution_history(os.fsdecode(path))
    assert row['script_path'].endswith('caf\\udce9.py') and row['script_args'] == [os.fsdecode(b'\xff')]


@own_process_only
def test_a_script_whose_name_is_no_text_is_shown(place):
    """history and show print it in a readable form, as a table and as JSON."""
    place.write(os.fsdecode(b'caf\xe9.py'), 'raise ValueError')
    assert place.run(os.fsdecode(b'./caf\xe9.py'), os.fsdecode(b'\xff')).status == 1
    for words in (['history'], ['history', '--json'], ['show', 'last'], ['show', 'last', '--json'], ['history', os.fsdecode(b'caf\xe9.py')]):
        finished = place.run(*words)
        assert finished.status == 0 and b'caf' in finished.out, finished
    assert place.rows()[0]['error_kind'] == 'value'


@pytest.mark.parametrize('error', [SystemExit(4), ValueError('planted')])
def test_a_hook_that_ends_the_process_harms_nothing(run, error):
    """sys.exit() in a hook is its failure, not the run's."""
    class Hook(runner.ExecutionHook):
        def pre(self, plan):
            raise error
        post = pre
    job = run(script('exit_with.py'), '0')
    job.hooks = [Hook()]
    result = job.run_script()
    assert result['success'] and [warning.split(':')[0] for warning in result['warnings']] == [
        'pre hook failed', 'post hook failed'] and repr(error) in result['warnings'][0]


def test_the_environment_and_folder_are_set_for_the_script_only(run, tmp_path):
    """env_vars and working_dir reach the script; this process keeps its own."""
    before = os.getcwd(), dict(os.environ)
    code = tmp_path / 'where.py'
    code.write_text('import os; print(os.getcwd(), os.environ["MINE"], os.environ["SCRIPT_RUNNER_ATTEMPT"])')
    (tmp_path / 'there').mkdir()
    result = run(str(code), env_vars={'MINE': 'yes'}, working_dir=str(tmp_path / 'there')).run_script()
    assert result['stdout'].split() == [os.path.realpath(str(tmp_path / 'there')), 'yes', '1']
    assert (os.getcwd(), dict(os.environ)) == before


def test_without_history_nothing_is_written(run, tmp_path):
    """enable_history=False leaves no file and no id."""
    result = run(script('exit_with.py'), '0', enable_history=False).run_script()
    assert result['execution_id'] is None and os.listdir(str(tmp_path)) == []


def test_the_plan_is_told_without_doing_it(run, tmp_path):
    """Command (redacted), folder and limits."""
    plan = run(script('exit_with.py'), '--token', 'abc', timeout='5m').get_execution_plan()
    assert plan['command'] == [sys.executable, script('exit_with.py'), '--token', '[redacted]'] and plan['timeout'] == 300
    assert os.listdir(str(tmp_path)) == []


def test_a_timeout_ends_the_script(run):
    """status and cause say timeout; the metric does too."""
    result = run(script('tell_signals.py'), timeout=1.0, grace=5).run_script()
    assert (result['status'], result['cause'], result['metrics']['timed_out']) == ('timeout', 'timeout', True)
    assert result['returncode'] == 0 and result['stdout'] == 'ready\nSIGTERM\n'


@pytest.mark.parametrize('verb', ['stop', 'kill'])
def test_stop_and_kill_end_the_tree_from_another_thread(run, tmp_path, verb):
    """Also children that left the session and ignore TERM; the object can run again after."""
    pids = str(tmp_path / 'pids')
    job = run(script('spawn_tree.py'), '2', '2', pids, grace=0.5)
    results = []
    thread = threading.Thread(target=lambda: results.append(job.run_script()))
    thread.start()
    tree = read_pids(pids, 7)
    getattr(job, verb)()
    thread.join()
    assert_tree_gone(tree)
    assert (results[0]['cause'], results[0]['status']) == ('interrupted', 'killed') and verb in results[0]['evidence']
    again = run(script('exit_with.py'), '0')
    assert again.run_script()['success'] and again.run_script()['success']


@linux_only
def test_a_child_that_left_the_tree_is_found_by_its_mark(run, tmp_path):
    """In a library nobody adopts orphans: the correlation id in the environment finds them at the end."""
    pids = str(tmp_path / 'pids')
    result = run(script('spawn_tree.py'), '2', '2', pids, 'leave', grace=0.5).run_script()
    tree = read_pids(pids, 7)
    assert_tree_gone(tree)
    assert any('left behind' in warning for warning in result['warnings'])


def test_eight_threads_run_at_once(run):
    """Each gets its own script's output, numbers and row."""
    results = {}

    def work(i):
        results[i] = run('-c' if False else script('burn_cpu.py'), '0.05', labels={'i': str(i)}).run_script()
    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(r['success'] for r in results.values())
    assert len({r['execution_id'] for r in results.values()}) == 8
    assert len({r['correlation_id'] for r in results.values()}) == 8


def test_other_children_of_the_process_are_left_alone(run):
    """The status of the user's own child is still there after a run."""
    other = Started([sys.executable, '-c', 'raise SystemExit(9)'])
    wait_until(lambda: True, '')
    assert run(script('exit_with.py'), '0').run_script()['success']
    assert other.wait() == 9


def open_files():
    """Return what the descriptors of this process are."""
    names = []
    for number in os.listdir('/proc/self/fd'):
        try:
            names.append(os.readlink('/proc/self/fd/' + number))
        except OSError:
            pass
    return names


@linux_only
def test_a_run_does_not_change_the_process(run):
    """No signal handler, no subreaper, no descriptor left, no thread left."""
    import signal
    run(script('exit_with.py'), '0').run_script()
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
    time.sleep(0.05)
    fds, threads = open_files(), len(os.listdir('/proc/self/task'))
    job = run(script('exit_with.py'), '0')
    job.run_script()
    job.history_manager.close()
    wait_until(lambda: len(os.listdir('/proc/self/task')) <= threads, 'our threads to end')
    assert [name for name in open_files() if name not in fds] == []
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)] == handlers


@linux_only
@pytest.mark.skipif(PORTABLE, reason='psutil reads no high-water marks on Linux')
def test_a_second_run_is_not_polluted_by_the_first(run):
    """A large script, then a small one: each has its own peak, although this process is not small either."""
    large = run(script('hold_memory.py'), '200', '0.3', '0.1').run_script()['metrics']['memory_max_mb']
    small = run(script('hold_memory.py'), '1', '0.3', '0.1').run_script()['metrics']['memory_max_mb']
    assert large > 200 and small < 100


@linux_only
def test_the_peak_of_a_small_script_is_not_the_size_of_its_parent(run):
    """fork copies our size into the child's ru_maxrss; what is told is below it."""
    ballast = bytearray(150 << 20)
    for i in range(0, len(ballast), 4096):
        ballast[i] = 1
    peak = run(script('hold_memory.py'), '1', '0.3', '0.05').run_script()['metrics']['memory_max_mb']
    assert peak is not None and peak < 100
    del ballast


@own_process_only
def test_ctrl_c_in_the_users_process_ends_the_tree_and_rises(tmp_path):
    """KeyboardInterrupt: the script is ended, the row says interrupted, the exception reaches the caller."""
    import signal
    pids = str(tmp_path / 'pids')
    code = ('import sys, runner\ntry:\n    runner.ScriptRunner(sys.argv[1], ["1", "2", sys.argv[2]], history_db=sys.argv[3], grace=0.5).run_script()\n'
            'except KeyboardInterrupt:\n    print("rose")')
    env = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.abspath(runner.__file__)))
    process = Started([sys.executable, '-c', code, script('spawn_tree.py'), pids, str(tmp_path / 'h.db')],
                               stdout=subprocess.PIPE, env=env)
    tree = read_pids(pids, 3)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    assert out.strip() == b'rose'
    assert_tree_gone(tree)
    with runner.HistoryManager(str(tmp_path / 'h.db')) as manager:
        assert manager.get_execution(1)['cause'] == 'interrupted'


@own_process_only
def test_a_second_ctrl_c_in_the_users_process_leaves_nothing_behind(tmp_path):
    """It is not waited for the rest of the grace; a script that will not end is killed."""
    import signal
    job, pids = tmp_path / 'job.py', str(tmp_path / 'pids')
    job.write_text('import os, signal, sys, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n'
                   'with open(sys.argv[1], "w") as f:\n    f.write("%d\\n" % os.getpid())\ntime.sleep(600)')
    code = ('import sys, runner\nrunner._GuestAttempt._end_tree, end = lambda *a: (end(*a), print("told", flush=True)), '
            'runner._GuestAttempt._end_tree\ntry:\n    runner.ScriptRunner(sys.argv[1], sys.argv[2:], enable_history=False, '
            'grace=600).run_script()\nexcept KeyboardInterrupt:\n    print("rose")')
    env = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.abspath(runner.__file__)))
    process = Started([sys.executable, '-c', code, str(job), pids], stdout=subprocess.PIPE, env=env)
    tree = read_pids(pids, 1)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == b'told\n'
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    assert out.split() == [b'told', b'rose']
    assert_tree_gone(tree)


def test_importing_is_silent_and_light():
    """No handler, no thread, and none of the heavy modules."""
    code = ('import sys\nbefore = set(sys.modules)\nimport runner\nnew = set(sys.modules) - before\n'
            'heavy = {"psutil", "requests", "yaml", "sqlite3", "_sqlite3", "subprocess", "logging", "argparse", "json", "re", "threading", '
            '"typing", "datetime", "uuid", "ctypes", "_ctypes"} & new\nprint(sorted(heavy))\n')
    env = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.abspath(runner.__file__)))
    out = subprocess.check_output([sys.executable, '-S', '-c', code], env=env).decode()
    assert out.strip() == '[]'


def test_the_logger_hears_of_a_run(run, caplog):
    """Where the process uses logging, 'runner' tells of start and end; log_level limits it."""
    with caplog.at_level(logging.INFO, logger='runner'):
        run(script('exit_with.py'), '0').run_script()
        assert 'started' in caplog.text
        caplog.clear()
        run(script('exit_with.py'), '0', log_level='ERROR').run_script()
        assert caplog.text == ''


def test_the_machine_is_measured_around_a_run(run):
    """System metrics: memory, and CPU between start and end."""
    job = run(script('burn_cpu.py'), '0.3')
    before = job.collect_system_metrics_start()
    job.run_script()
    after = job.collect_system_metrics_end()
    assert before['memory_total_mb'] > 100 and 0 < after['system_cpu_percent'] <= 100


@linux_only
def test_samples_of_a_run_are_in_its_history(run):
    """Written while it runs, bounded, with elapsed times inside the run."""
    job = run(script('hold_memory.py'), '20', '0.3', '0.1')
    job.monitor_interval = 0.02
    result = job.run_script()
    samples = job.history_manager.get_samples(result['execution_id'])
    assert len(samples) == result['metrics']['monitor_samples'] > 10
    assert samples[-1]['elapsed_seconds'] <= result['metrics']['execution_time_seconds']
    assert max(s['memory_mb'] for s in samples) > 20
