"""Section 5, on the command line: the script runs as it would bare, and its end comes back as it was."""
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import (
    CPU_TOLERANCE,
    LINUX,
    PEAK_TOLERANCE,
    PORTABLE,
    PYPY,
    THOROUGH,
    Started,
    assert_tree_gone,
    is_running,
    linux_only,
    own_process_only,
    read_pids,
    script,
    wait_until,
)

import runner

posix_only = pytest.mark.skipif(os.name != 'posix', reason='needs POSIX signals and forks')


# -- the same as bare --------------------------------------------------------------------------------------

@pytest.mark.parametrize('words', [
    ['--timeout', '5', '-m', '--', '--help', ''],
    ['a b', 'ü ö', '*', '$HOME', "it's", '"'],
    ['--', '--json-output', 'x'],
])
def test_words_after_the_script_are_the_scripts(place, words):
    """Arguments that look like ours, spaces, unicode and shell characters arrive untouched."""
    finished = place.run(script('show_start.py'), *words)
    assert json.loads(finished.out.decode())['argv'][1:] == words


@pytest.mark.parametrize('status', [0, 1, 2, 42, 255])
def test_exit_statuses_come_back(place, status):
    """The script's status is ours."""
    assert place.run(script('exit_with.py'), status).status == status
    row = place.rows()[0]
    assert (row['exit_code'], row['success'], row['cause']) == (status, int(status == 0), 'exit')


@posix_only
@pytest.mark.parametrize('name, status', [('SIGKILL', 'killed'), ('SIGTERM', 'killed'), ('SIGSEGV', 'failed'), ('SIGABRT', 'failed')])
def test_death_by_a_signal_shows_as_in_a_shell(place, name, status):
    """128 + n, and the record names the signal."""
    number = getattr(signal, name)
    result = place.result(script('exit_with.py'), name)
    assert place.run(script('exit_with.py'), name).status == 128 + number
    assert (result['returncode'], result['cause'], result['evidence'], result['status']) == (-number, 'signal', name, status)


def test_the_start_is_that_of_a_bare_script(place):
    """Same folder, same sys.path[0], same environment plus three, same signal mask, same descriptors."""
    bare = json.loads(place.bare(script('show_start.py')).out.decode())
    ours = json.loads(place.run(script('show_start.py')).out.decode())
    added = {name for name in ours['env'] if name not in bare['env']}
    assert added == {'SCRIPT_RUNNER_ACTIVE', 'SCRIPT_RUNNER_ATTEMPT', 'SCRIPT_RUNNER_CORRELATION_ID'}
    assert all(ours['env'][name] == value for name, value in bare['env'].items())
    for what in ('argv', 'cwd', 'mask', 'hup', 'path0', 'tty', 'fds'):
        assert ours[what] == bare[what], what


def test_a_relative_path_in_a_folder_with_spaces(place):
    """The path is used as given, also with spaces and letters beyond ASCII; history holds one absolute spelling."""
    folder = os.path.join(place.folder, 'my scripts ü')
    os.mkdir(folder)
    place.write(os.path.join('my scripts ü', 'job.py'), 'import sys; print(sys.argv[0])')
    relative = os.path.join('my scripts ü', 'job.py')
    assert place.run(relative).out.decode().strip() == relative
    place.run(os.path.join('.', 'my scripts ü', '..', 'my scripts ü', 'job.py'))
    assert {row['script_path'] for row in place.rows()} == {os.path.realpath(os.path.join(folder, 'job.py'))}


def test_stdin_is_the_scripts(place):
    """It is read to its end by the script, by nobody else."""
    data = os.urandom(300000)
    assert place.run(script('echo_stdin.py'), input=data).out == data


def test_bytes_pass_unchanged(place):
    """Output that is no UTF-8, with NUL and without a last newline, arrives byte for byte and is counted."""
    finished = place.run('--quiet', script('latin1_output.py'))
    assert finished.out == b'caf\xe9\n\x00\xff\xfe no end' and finished.err == b'\xe9rreur\n'
    row = place.rows("SELECT metric_name, metric_value FROM metrics WHERE metric_name LIKE 'std%'")
    assert {r['metric_name']: r['metric_value'] for r in row} == {
        'stdout_lines': 2, 'stdout_bytes': len(finished.out), 'stderr_lines': 1, 'stderr_bytes': 7}


def test_no_output_at_all(place):
    """Zero is zero."""
    result = place.result(script('exit_with.py'), 0)
    assert result['metrics']['stdout_lines'] == 0 and result['metrics']['stdout_bytes'] == 0 and result['stdout'] == ''


def test_much_output_passes_in_bounded_memory(place):
    """64 MiB arrive whole; the result keeps the last MiB."""
    size = 64 << 20
    process = place.start('--json-output', 'r.json', script('flood_stdout.py'), size, stderr=subprocess.DEVNULL)
    seen = 0
    while True:
        data = process.stdout.read(1 << 20)
        if not data:
            break
        seen += len(data)
    assert process.wait() == 0 and seen == size
    process.stdout.close()
    with open(os.path.join(place.folder, 'r.json')) as file:
        result = json.load(file)
    assert result['metrics']['stdout_bytes'] == size and len(result['stdout']) == 1 << 20
    assert result['metrics']['stdout_lines'] == size // 64


def test_a_script_that_closes_its_stdout_goes_on(place):
    """End of output is not the end of the script."""
    finished = place.run(script('close_stdout.py'))
    assert finished.status == 7 and finished.out == b'before\n'


@posix_only
def test_a_reader_that_leaves_is_felt_by_the_script(place):
    """`| head -1`: the script dies of SIGPIPE, as bare."""
    process = place.start(sys.executable, '-c', 'import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)\nwhile 1: print("y" * 100)')
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 128 + signal.SIGPIPE
    process.stderr.close()


def test_unbuffered_output_comes_at_once(place):
    """What the script flushes is passed on while it still runs."""
    process = place.start(sys.executable, '-c', 'import time; print("now", flush=True); time.sleep(60)')
    assert process.stdout.readline().strip() == b'now'
    process.terminate()
    process.communicate()


@pytest.mark.skipif(os.name != 'posix', reason='needs bash')
def test_shell_scripts_and_executables(place):
    """.sh runs with bash, a file with a first line as itself, a bare word from PATH, a module with -m."""
    place.write('job.sh', 'echo "${BASH_VERSION:+bash} $1"')
    assert place.run('job.sh', 'x').out == b'bash x\n'
    path = place.write('tool', '#!/bin/sh\necho tool $#\n')
    os.chmod(path, 0o755)
    assert place.run('tool', 'a', 'b').out == b'tool 2\n'
    assert place.run('./tool').out == b'tool 0\n'
    assert place.run('echo', 'hello').out == b'hello\n'
    place.write('mod.py', 'import sys; print(__name__, sys.argv[1:])')
    assert place.run('-m', 'mod', '-m', 'y').out.decode().split()[0] == '__main__'
    assert place.rows()[-1]['script_path'] == '-m mod'


def test_a_folder_with_a_main_module_runs(place):
    """As `python folder` does."""
    os.mkdir(os.path.join(place.folder, 'pkg'))
    place.write(os.path.join('pkg', '__main__.py'), 'print("main")')
    assert place.run('pkg').out.strip() == b'main'


def test_another_interpreter(place):
    """--python names it."""
    finished = place.run('--python', sys.executable, script('exit_with.py'), 4)
    assert finished.status == 4
    assert place.run('--python', 'no-such-python', script('exit_with.py'), 4).status == 127


def test_cwd_changes_the_scripts_folder_only(place):
    """The script's path and the result's path stay relative to ours."""
    os.mkdir(os.path.join(place.folder, 'there'))
    place.write('where.py', 'import os, sys; print(os.getcwd(), os.path.isabs(sys.argv[0]))')
    finished = place.run('--cwd', 'there', '--json-output', 'r.json', 'where.py')
    assert finished.out.decode().split() == [os.path.realpath(os.path.join(place.folder, 'there')), 'True']
    assert os.path.exists(os.path.join(place.folder, 'r.json'))
    assert place.run('--cwd', 'nowhere', 'where.py').status == 2


@posix_only
def test_a_relative_interpreter_is_of_our_folder_with_cwd_too(place):
    """As every other path on the command line."""
    os.mkdir(os.path.join(place.folder, 'there'))
    os.symlink(sys.executable, os.path.join(place.folder, 'my-python'))
    finished = place.run('--cwd', 'there', '--python', './my-python', place.write('where.py', 'import os; print(os.getcwd())'))
    assert finished.status == 0 and finished.out.decode().strip().endswith('there'), finished


@posix_only
def test_a_folder_does_not_hide_the_program_of_its_name(place):
    """terraform/ beside which one runs terraform."""
    os.mkdir(os.path.join(place.folder, 'echo'))
    assert place.run('echo', 'hello').out == b'hello\n'


@linux_only
@pytest.mark.parametrize('number', ['ENOSYS', 'EPERM'])
def test_signals_arrive_where_the_kernel_has_no_pidfd(number, monkeypatch):
    """Kernels before 5.3, and sandboxes that do not know the call; a process that got the pid later is not hit there either."""
    import errno

    def refuse(pid, flags=0):
        raise OSError(getattr(errno, number), 'refused')
    monkeypatch.setattr(os, 'pidfd_open', refuse, raising=False)
    process = Started([sys.executable, '-c', 'import time; time.sleep(600)'])
    try:
        start = runner.process_start(process.pid)
        assert not runner.send_signal(process.pid, start + 1, signal.SIGTERM)
        assert runner.send_signal(process.pid, start, signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
    finally:
        process.end()


# -- what cannot be started --------------------------------------------------------------------------------

def test_a_missing_script_is_127_in_one_sentence(place):
    """The sentence names it and the nearest file; the history keeps it."""
    place.write('report.py', '')
    finished = place.run('reprot.py')
    assert finished.status == 127 and finished.out == b''
    text = finished.err.decode()
    assert text.startswith('runner: reprot.py: no such file') and "did you mean 'report.py'?" in text and text.count('\n') == 1
    row = place.rows()[0]
    assert (row['cause'], row['status'], row['exit_code']) == ('launch_error', 'failed', 127)


@posix_only
@pytest.mark.skipif(PYPY, reason='PyPy itself does not start in a folder that is gone')
def test_a_missing_script_in_a_folder_that_was_removed(place):
    """One sentence, too."""
    folder = os.path.join(place.folder, 'gone')
    os.mkdir(folder)
    command = 'rmdir "$1"; exec "$0" -m runner nosuch.py'
    process = Started(['bash', '-c', command, sys.executable, folder], cwd=folder, env=place.env, stdout=subprocess.PIPE,
                      stderr=subprocess.PIPE)
    out, err = process.communicate()
    assert process.returncode == 127 and out == b'' and err.count(b'runner: nosuch.py: no such file') == 1 and b'Traceback' not in err, err
    assert place.rows()[0]['cause'] == 'launch_error'


@posix_only
@pytest.mark.parametrize('name, content, mode, word', [
    ('data.txt', 'x', 0o644, 'not executable'),
    ('garbage', '\x00\x01\x02', 0o755, 'not a program'),
    ('odd', '#!/no/such/interpreter\n', 0o755, 'interpreter does not exist'),
])
def test_what_cannot_be_run_is_said(place, name, content, mode, word):
    """126 for a file that is there and cannot be run (127 where its interpreter is not), one sentence, on the record."""
    os.chmod(place.write(name, content), mode)
    finished = place.run('./' + name)
    assert finished.status == (127 if 'interpreter' in word else 126)
    assert word in finished.err.decode() and finished.err.count(b'\n') == 1
    assert place.rows()[0]['cause'] == 'launch_error'


def test_a_folder_is_no_script(place):
    """126, and what would be right."""
    os.mkdir(os.path.join(place.folder, 'src'))
    finished = place.run('./src')
    assert finished.status == 126 and b'is a folder' in finished.err


# -- endings -----------------------------------------------------------------------------------------------

@posix_only
def test_a_timeout_ends_the_whole_tree_in_time(place):
    """14 processes three deep, half in sessions of their own, a third deaf to TERM: all gone soon after timeout and grace."""
    pids = os.path.join(place.folder, 'pids')
    before = time.monotonic()
    process = place.start('--timeout', '1.5s', '--grace', '0.5s', script('spawn_tree.py'), 2, 3, pids)
    tree = read_pids(pids, 15)
    process.communicate()
    assert process.returncode == 124 and time.monotonic() - before < 20
    assert_tree_gone(tree)
    row = place.rows()[0]
    assert (row['status'], row['cause'], row['timed_out']) == ('timeout', 'timeout', 1)


@posix_only
@pytest.mark.parametrize('name', ['SIGTERM', 'SIGHUP', 'SIGINT'])
def test_a_signal_from_outside_is_passed_on_once(place, name):
    """The script's own handler runs, once; its status and output come back; the record says interrupted."""
    if PORTABLE:
        pytest.skip('needs the runner as a process of its own (Linux, fcntl)')
    process = place.start(script('tell_signals.py'), 5)
    assert process.stdout.readline() == b'ready\n'
    process.send_signal(getattr(signal, name))
    out, err = process.communicate()
    assert (out, process.returncode) == (name.encode() + b'\n', 5), err
    row = place.rows()[0]
    assert (row['cause'], row['status']) == ('interrupted', 'killed') and name in row['evidence']


@own_process_only
@pytest.mark.parametrize('name', ['SIGTERM', 'SIGHUP', 'SIGINT'])
def test_a_script_that_dies_of_the_signal_gives_128_plus_n(place, name):
    """Without a handler the signal is the end."""
    process = place.start(sys.executable, '-c', 'import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL); '
                                                'print(1, flush=True); time.sleep(60)')
    process.stdout.readline()
    process.send_signal(getattr(signal, name))
    process.communicate()
    assert process.returncode == 128 + getattr(signal, name)


@own_process_only
def test_signals_that_ask_for_something_reach_the_script(place):
    """USR1, USR2 and QUIT are passed on and end nothing."""
    process = place.start(script('tell_signals.py'))
    assert process.stdout.readline() == b'ready\n'
    for name in ('SIGUSR1', 'SIGUSR2', 'SIGQUIT'):
        process.send_signal(getattr(signal, name))
        assert process.stdout.readline().decode().strip() == name
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 0


@own_process_only
def test_what_was_ignored_stays_ignored(place):
    """nohup: SIGHUP ends neither us nor the script."""
    process = place.start(script('wait_for_file.py'), 'go', preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_until(lambda: os.path.exists(os.path.join(place.folder, 'go.started')), 'the script')
    process.send_signal(signal.SIGHUP)
    place.write('go', '')
    process.communicate()
    assert process.returncode == 0
    row = place.rows()[0]
    assert row['cause'] == 'exit'


@posix_only
def test_a_leftover_that_holds_stdout_delays_by_the_grace_only(place):
    """The runner returns at the grace, the leftover is ended, and the result says so."""
    pid_file = os.path.join(place.folder, 'pid')
    before = time.monotonic()
    result = place.result('--grace', '0.5s', script('hold_stdout.py'), 600, pid_file)
    assert time.monotonic() - before < 20
    assert result['status'] == 'success' and result['stdout'] == 'done\n'
    assert any('left behind' in warning for warning in result['warnings'])
    assert_tree_gone(read_pids(pid_file, 1))


@posix_only
def test_a_leftover_that_finishes_in_time_is_left_to_finish(place):
    """Within the grace a background child may still write."""
    result = place.result('--grace', '20s', script('hold_stdout.py'), 0.3, os.path.join(place.folder, 'pid'))
    assert result['stdout'] == 'done\nlate\n' and result['warnings'] == []


@own_process_only
def test_children_get_the_whole_grace_to_clean_up(place):
    """TERM ends the script at once; its child, which still cleans up, is not cut short before the grace is over."""
    place.write('job.sh', 'sh -c \'trap "sleep 1.7; echo cleaned; exit" TERM; echo ready; while :; do sleep 0.1; done\' & wait')
    process = place.start('--grace', '20s', 'job.sh')
    assert process.stdout.readline() == b'ready\n'
    process.terminate()
    out, err = process.communicate()
    assert (out, process.returncode) == (b'cleaned\n', 143), err


@posix_only
def test_a_fork_loop_is_ended(place):
    """A process that forks for ever cannot outrun the end."""
    pids = os.path.join(place.folder, 'pids')
    code = ('import os, time\nwhile 1:\n  if os.fork() == 0:\n    fd = os.open(%r, os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n'
            '    os.write(fd, b"%%d\\n" %% os.getpid()); os.setsid(); time.sleep(600)\n  time.sleep(0.01)' % pids)
    process = place.start('--timeout', '0.7s', '--grace', '0.2s', sys.executable, '-c', code)
    process.communicate()
    assert process.returncode == 124
    assert_tree_gone(read_pids(pids, 1))


# -- true numbers ------------------------------------------------------------------------------------------

def cpu_of(result):
    """Return CPU seconds of a result."""
    return result['metrics']['user_time'] + result['metrics']['system_time']


@linux_only
@pytest.mark.skipif(PORTABLE, reason='resource is blocked, which the scripts use as their witness')
@pytest.mark.parametrize('words', [['many_children.py', 200, 5], ['pool_of_workers.py']])
def test_cpu_of_children_counts(place, words):
    """200 children of 5 ms each, a Pool of workers: within 3 % of what getrusage says inside."""
    result = place.result(script(words[0]), *words[1:])
    truth = float(result['stdout'])
    assert abs(cpu_of(result) - truth) <= max(CPU_TOLERANCE * truth, 0.04)      # 0.04 s: the interpreter's own end, after it printed
    assert cpu_of(result) >= truth * (1 - CPU_TOLERANCE)


@own_process_only
@pytest.mark.parametrize('waits', [True, False])
def test_cpu_of_an_orphan_counts(place, waits):
    """A grandchild that lost its parent comes home to us, whether the script waits for it or ends before."""
    path = os.path.join(place.folder, 'used')
    result = place.result(script('orphan_burner.py'), 0.5, path, *(['wait'] if waits else []))
    with open(path) as file:
        truth = float(file.read())
    own = 0.25                                         # what the script itself needs, at most
    assert truth * (1 - CPU_TOLERANCE) <= cpu_of(result) <= truth * (1 + CPU_TOLERANCE) + own
    assert result['metrics']['num_processes'] >= 1


@linux_only
@pytest.mark.skipif(PORTABLE, reason='psutil reads no high-water marks on Linux')
@pytest.mark.parametrize('where', [[], ['child']])
def test_a_short_peak_is_seen(place, where):
    """120 MiB for 20 ms, by the script or by its child: the kernel's mark has it."""
    result = place.result('--monitor-interval', '5s', script('hold_memory.py'), 120, 0.02, 0.05, *where)
    peak = result['metrics']['memory_max_mb']
    small = place.result(script('hold_memory.py'), 0, 0.05, 0.05, *where)['metrics']['memory_max_mb']
    assert 120 <= peak <= (120 + small) * (1 + PEAK_TOLERANCE) + 2


@own_process_only
@pytest.mark.skipif(PYPY, reason='PyPy is larger than the runner whose size hides the kernel\'s mark')
def test_what_is_taken_just_before_the_output_is_seen(place):
    """Less than our own size, after the last early look, before the first sample: the output makes us look."""
    code = 'import time; time.sleep(0.1); block = b"x" * (5 << 20); print(len(block), flush=True); time.sleep(0.05)'
    small = place.result('--monitor-interval', '5s', sys.executable, '-c', code.replace('5 << 20', '0'))['metrics']['memory_max_mb']
    assert place.result('--monitor-interval', '5s', sys.executable, '-c', code)['metrics']['memory_max_mb'] > small + 4


@linux_only
def test_a_busy_thread_is_one_core(place):
    """No reading above 101, and the average between the extremes."""
    metrics = place.result(script('burn_cpu.py'), 0.8)['metrics']
    assert metrics['cpu_max'] <= 101 and metrics['cpu_min'] <= metrics['cpu_avg'] <= metrics['cpu_max']
    assert metrics['cpu_avg'] > 30 and metrics['monitor_samples'] >= 5
    assert metrics['memory_min_mb'] > 0                  # what is ending has given its memory back: no sample


def test_every_metric_has_its_key(place):
    """Also for the shortest run, every name of the registry is in the result."""
    result = place.result(script('exit_with.py'), 0)
    assert list(result['metrics']) and set(result['metrics']) == set(runner.METRICS)
    if sys.platform.startswith('linux'):
        for name in ('cpu_min', 'cpu_avg', 'cpu_max', 'user_time', 'page_faults', 'context_switches', 'block_io_operations'):
            assert result['metrics'][name] is not None, name


@linux_only
def test_block_writes_are_counted(place):
    """8 MiB that were synced to disk were written."""
    code = 'import os\nfd = os.open("big", os.O_WRONLY | os.O_CREAT)\nos.write(fd, os.urandom(8 << 20)); os.fsync(fd)'
    metrics = place.result(sys.executable, '-c', code)['metrics']
    if metrics['io_write_mb'] is None:
        pytest.skip('this kernel has no /proc/PID/io')
    assert 7.9 <= metrics['io_write_mb'] < 12


@own_process_only
@pytest.mark.parametrize('name', ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGUSR1'])
def test_a_signal_to_the_group_is_heard_once(place, name):
    """timeout(1), CI agents and service managers signal the whole group; the script's handler runs once, as bare."""
    process = place.start(script('tell_signals.py'), preexec_fn=os.setsid)
    assert process.stdout.readline() == b'ready\n'
    os.killpg(process.pid, getattr(signal, name))
    if name == 'SIGUSR1':
        assert process.stdout.readline() == b'SIGUSR1\n'
        process.terminate()
        assert process.communicate()[0] == b'SIGTERM\n'
    else:
        assert process.communicate()[0] == name.encode() + b'\n'


@own_process_only
def test_the_script_dies_with_its_killed_runner(place):
    """kill -9 of the runner: the kernel ends the script."""
    process = place.start(script('wait_for_file.py'), 'go')
    pid, = read_pids(os.path.join(place.folder, 'go.started'), 1)
    process.kill()
    process.communicate()
    wait_until(lambda: not is_running(pid), 'the end of the script')


@own_process_only
def test_cpu_of_a_leftover_keeps_percentages_sane(place):
    """A child that burns on after a script of a few milliseconds does not make 1,900 percent of it."""
    code = ('import os\nif os.fork() == 0:\n  os.close(1); os.close(2)\n  while 1: pass\n')
    metrics = place.result('--grace', '0.3s', sys.executable, '-c', code)['metrics']
    assert metrics['cpu_max'] <= 100.0 * (os.cpu_count() or 1) + 1


@own_process_only
def test_no_end_is_too_fast(place):
    """Scripts that end at once, one after the other: every status comes back, every run is recorded."""
    count = 60 if THOROUGH else 20
    for _ in range(count):
        assert place.run('--quiet', 'true').status == 0
    assert len(place.rows()) == count


# -- limits ------------------------------------------------------------------------------------------------

@linux_only
def test_memory_without_end_is_stopped_in_time(place):
    """200 MiB allowed: ended at once, before 260 MiB were resident, and said so; a timeout or retry has no part in it."""
    code = ('import mmap\nblocks = []\nwhile True:\n    b = mmap.mmap(-1, 8 << 20)\n    for i in range(0, 8 << 20, 4096): b[i] = 1\n'
            '    blocks.append(b)\n')
    result = place.result('--max-memory', '200MiB', sys.executable, '-c', code)
    assert (result['cause'], result['status'], result['returncode']) == ('memory_limit', 'killed', -signal.SIGKILL)
    assert '200 MiB' in result['evidence']
    assert result['metrics']['memory_max_mb'] is None or result['metrics']['memory_max_mb'] < 260
    assert place.run('--max-memory', '200MiB', sys.executable, '-c', code).status == 137


@linux_only
def test_a_script_near_its_memory_limit_is_warned_of(place):
    """Over 80 % of the limit, held for many looks until it ends by itself: the result says so, once; below: nothing."""
    small = place.result('--max-memory', '500MiB', script('hold_memory.py'), 1, 0.2, 0)
    large = place.result('--max-memory', '500MiB', script('hold_memory.py'), 415, 1, 0)
    assert small['warnings'] == [] and large['success']
    assert len(large['warnings']) == 1 and large['warnings'][0].startswith('memory limit: ') and '500 MiB' in large['warnings'][0]


@posix_only
@pytest.mark.parametrize('words, code, cause', [
    (['--max-cpu-time', '0.5s'], 'while True: pass', 'cpu_limit'),
    (['--max-output', '1MiB'], 'while True: print("x" * 1000)', 'output_limit'),
    (['--max-processes', '5'], 'import os, time\nfor _ in range(20):\n  if os.fork() == 0: time.sleep(60)\n  time.sleep(0.02)\n'
                               'time.sleep(60)', 'process_limit'),
])
def test_limits_end_the_script_and_say_why(place, words, code, cause):
    """The cause names the limit, the evidence what was used of it."""
    result = place.result(*(words + ['--grace', '2s', sys.executable, '-c', code]))
    assert result['cause'] == cause and result['status'] == 'killed' and ' used of ' in result['evidence']
    assert place.rows()[0]['cause'] == cause


@posix_only
def test_an_idle_script_is_ended(place):
    """No output and no CPU for so long is a timeout; one that works or talks is not idle."""
    finished = place.run('--idle-timeout', '0.5s', '--grace', '1s', sys.executable, '-c', 'import time; print("x", flush=True); time.sleep(60)')
    assert finished.status == 124 and finished.out == b'x\n' and b'no output and no CPU time' in finished.err
    assert place.rows()[0]['cause'] == 'idle_timeout'
    busy = 'import time\nend = time.time() + 1.2\nwhile time.time() < end: pass'
    assert place.run('--idle-timeout', '0.5s', sys.executable, '-c', busy).status == 0
    talks = 'import time\nfor i in range(12): print(i, flush=True); time.sleep(0.1)'
    assert place.run('--idle-timeout', '0.5s', sys.executable, '-c', talks).status == 0


def test_limits_that_are_not_reached_cost_nothing(place):
    """Status and bytes are as without; no warning."""
    result = place.result('--max-memory', '4GiB', '--max-cpu-time', '1h', '--max-processes', '1000', '--max-output', '1GiB',
                          '--idle-timeout', '1h', script('exit_with.py'), 3)
    assert result['returncode'] == 3 and result['warnings'] == []


@pytest.mark.parametrize('words', [['--max-memory', '0'], ['--max-memory', 'much'], ['--max-processes', '0'], ['--max-output', '-1'],
                                   ['--idle-timeout', '0'], ['--max-cpu-time', 'x']])
def test_limits_that_cannot_be_are_refused(place, words):
    """Exit 2, naming the value."""
    finished = place.run(*(words + [script('exit_with.py'), '0']))
    assert finished.status == 2 and repr(words[1]) in finished.err.decode()


@own_process_only
def test_detached_children_may_live_on(place):
    """--detach-ok: the leftover is neither ended nor waited for beyond the grace."""
    pid_file = os.path.join(place.folder, 'pid')
    finished = place.run('--detach-ok', '--grace', '0.3s', script('hold_stdout.py'), 600, pid_file)
    pid, = read_pids(pid_file, 1)
    try:
        assert finished.status == 0 and finished.out == b'done\n' and is_running(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


# -- evidence ----------------------------------------------------------------------------------------------

@linux_only
def test_a_hang_leaves_evidence(place):
    """What every thread was doing when the time limit struck is kept with the run and shown."""
    code = 'import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\ntime.sleep(60)'
    result = place.result('--timeout', '0.6s', sys.executable, '-c', code)
    assert result['artefacts']['hang'].count('thread ') >= 2 and 'sleeping' in result['artefacts']['hang']
    assert place.rows('SELECT content FROM artefacts')[0]['content'] == result['artefacts']['hang']
    assert b'sleeping' in place.run('show', 'last').out


@linux_only
def test_a_secret_of_several_words_is_not_in_the_evidence():
    """Each argument is judged as one, also those of what the script started."""
    process = Started([sys.executable, '-c', 'import time; time.sleep(600)', '--password', 'hunter2 and more', 'plain words'])
    try:
        text = wait_until(lambda: [t for t in [runner.describe_hang([(process.pid, runner.process_start(process.pid))])] if 'plain' in t],
                          'the command')[0]
        assert '--password [redacted] plain words' in text and 'more' not in text
    finally:
        process.end()


@linux_only
def test_py_spy_is_asked_where_it_is_installed(place):
    """Its answer is part of the evidence, and it is no part of the script's tree; a hanging one delays by seconds only."""
    tool = place.write('py-spy', '#!/bin/sh\necho "stack of $4"\nexec sleep 0.3\n')
    os.chmod(tool, 0o755)
    path = place.folder + os.pathsep + os.environ['PATH']
    result = place.result('--timeout', '0.5s', '--monitor-interval', '0.02', sys.executable, '-c', 'import time; time.sleep(60)',
                          env={'PATH': path})
    assert 'stack of ' in result['artefacts']['hang'] and result['metrics']['num_processes'] == 1


#: Stands for a process of Python 3.14: it runs what it is asked to between two steps of its main thread, in its __main__.
ASKABLE = """
import os, sys, threading, time
def innermost():
    while True:
        if %r and os.path.exists('ask-%%d' %% os.getpid()):
            with open('ask-%%d' %% os.getpid()) as file:
                path = file.read()
            with open(path) as file:
                exec(file.read(), sys.modules['__main__'].__dict__)
            os.unlink('ask-%%d' %% os.getpid())
            print(sorted(name for name in dir(sys.modules['__main__']) if name in ('os', 'faulthandler', 'file')), flush=True)
        time.sleep(0.01)
if sys.argv[1:]:
    os.fork()
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
innermost()
"""


@pytest.fixture
def remote_exec(place, monkeypatch):
    """Stand in for sys.remote_exec of Python 3.14: it returns at once; the process runs the file later, or never."""
    asked = []

    def leave(pid, path):
        asked.append((pid, path))
        place.write('ask-%d.part' % pid, path)
        os.rename(os.path.join(place.folder, 'ask-%d.part' % pid), os.path.join(place.folder, 'ask-%d' % pid))
    monkeypatch.setattr(sys, 'remote_exec', leave, raising=False)
    monkeypatch.setenv('TMPDIR', place.folder)
    monkeypatch.setattr('tempfile.tempdir', None)
    monkeypatch.setenv('PATH', os.path.dirname(sys.executable) + os.pathsep + '/usr/bin:/bin')
    return asked


def hang(place, code, *words):
    """Run code that hangs into its time limit, inside this process."""
    return runner.ScriptRunner(place.write('job.py', code), words, timeout=0.7, grace=2.0, history_db=place.history,
                               working_dir=place.folder).run_script()


def python_is_told():
    """Tell whether a process of this interpreter has its version in the names of its files, as 3.14 has."""
    return LINUX and runner._python_version_of(os.getpid()) == '%d.%d' % sys.version_info[:2]


@pytest.mark.skipif(PYPY or not python_is_told(), reason='needs a CPython that is called python3.x')
def test_python_3_14_is_asked_for_its_stacks(place, remote_exec):
    """Every Python process of the tree is asked, its threads are told, our own frames are not; nothing stays behind."""
    result = hang(place, ASKABLE % True, 'fork')
    text = result['artefacts']['hang']
    assert len(remote_exec) == 2 and text.count(' in innermost') == 2 and text.count('hread 0x') >= 4, text
    assert 'script-runner' not in text and 'no Python stack' not in text and result['warnings'] == []
    assert "['os']" in result['stdout'] and 'file' not in result['stdout'] and result['stderr'] == ''
    assert [name for name in os.listdir(place.folder) if name.startswith('script-runner-')] == []


@pytest.mark.skipif(PYPY or not python_is_told(), reason='needs a CPython that is called python3.x')
def test_a_process_that_does_not_answer_delays_by_little_and_is_told_of(place, remote_exec, monkeypatch):
    """One line says why there is no stack; a request that is found late still finds its file."""
    monkeypatch.setattr(runner, '_ANSWER_WITHIN', 0.1)
    late = ('import os, signal, sys, time\ndef look(*_):\n    with open("ask-%d" % os.getpid()) as file: path = file.read()\n'
            '    print(os.path.exists(path)); sys.exit(3)\nsignal.signal(signal.SIGTERM, look)\nwhile True: time.sleep(0.01)\n')
    result = hang(place, late)
    assert len(remote_exec) == 1 and 'did not come to it in time' in result['artefacts']['hang']
    assert (result['stdout'], result['returncode']) == ('True\n', 3)
    assert [name for name in os.listdir(place.folder) if name.startswith('script-runner-')] == []


@linux_only
@pytest.mark.parametrize('trouble, told', [('fails', 'sys.remote_exec failed: not permitted'), ('other', 'can be asked from here'),
                                           ('late', 'no time was left')])
def test_no_process_is_asked_that_may_not_be(place, remote_exec, monkeypatch, trouble, told):
    """Another version, no permission, no time: nothing is written to it, and the reason is told."""
    def refuse(pid, path):
        raise PermissionError('not permitted')
    processes = [(os.getpid(), runner.process_start(os.getpid()))]
    monkeypatch.setattr(runner, '_is_python', lambda command: True)
    monkeypatch.setattr(runner, '_python_version_of', lambda pid: '2.7' if trouble == 'other' else '%d.%d' % sys.version_info[:2])
    if trouble == 'fails':
        monkeypatch.setattr(sys, 'remote_exec', refuse)
    text = runner.describe_hang(processes, 0.0 if trouble == 'late' else 5.0, place.folder)
    assert told in text and remote_exec == []
    assert 'py-spy is not installed' in runner.describe_hang(processes)


@linux_only
def test_evidence_holds_no_secret(place):
    """What py-spy prints of a command line is redacted as all that is stored, also the bare value."""
    tool = place.write('py-spy', '#!/bin/sh\ncat /proc/$4/cmdline | tr "\\0" " "; echo; echo "frame of hunter2x"\n')
    os.chmod(tool, 0o755)
    place.write('job.py', 'import time; time.sleep(60)')
    place.run('--timeout', '0.5s', 'job.py', '--password', 'hunter2x', env={'PATH': place.folder + os.pathsep + os.environ['PATH']})
    kept = place.rows('SELECT content FROM artefacts')[0]['content']
    assert 'frame of [redacted]' in kept and 'hunter2x' not in kept


@posix_only
def test_a_hanging_python_script_prints_its_stacks_when_asked(place):
    """--hang-stack: faulthandler's stacks are on stderr and in the record; without it the environment is the script's own."""
    code = place.write('stuck.py', 'import time\ndef innermost():\n    time.sleep(60)\ninnermost()\n')
    result = place.result('--timeout', '1s', '--grace', '5s', '--hang-stack', code)
    assert result['status'] == 'timeout' and 'in innermost' in result['stderr'] and result['returncode'] == -signal.SIGABRT
    out = place.run(script('show_start.py')).out
    assert 'PYTHONFAULTHANDLER' not in json.loads(out.decode())['env']


@own_process_only
def test_an_oom_kill_is_told_from_any_kill(place):
    """In a memory control group that is too small the kernel kills; cause and evidence say so."""
    group = '/sys/fs/cgroup/memory/runner-test-%d' % os.getpid()
    try:
        os.mkdir(group)
        with open(group + '/memory.limit_in_bytes', 'w') as file:
            file.write('400M')
    except OSError:
        pytest.skip('needs a memory control group (v1) that may be made')
    try:
        def enter():
            with open(group + '/cgroup.procs', 'w') as file:
                file.write('0')
        place.write('eat.py', 'b = []\nwhile True: b.append(bytearray(1 << 20))')
        process = place.start('--json-output', 'r.json', 'eat.py', preexec_fn=enter)
        process.communicate()
        with open(os.path.join(place.folder, 'r.json')) as file:
            result = json.load(file)
        assert process.returncode == 137
        assert (result['cause'], result['status']) == ('out_of_memory', 'killed') and 'oom' in result['evidence']
    finally:
        wait_until(lambda: open_and_close(group + '/cgroup.procs') == '', 'the control group to be empty')
        os.rmdir(group)


def open_and_close(path):
    """Return the content of a file."""
    with open(path) as file:
        return file.read()


@own_process_only
def test_the_kernel_keeps_the_memory_limit_where_it_can(place):
    """With a control group a jump far over the limit is ended as well, as memory_limit, and the group is gone afterwards."""
    group = runner._MemoryGroup.make(1 << 30)
    if group is None:
        pytest.skip('needs a memory control group that may be made')
    group.remove()
    assert not os.path.exists(group.folder)
    before = os.listdir(os.path.dirname(group.folder))
    code = 'import mmap\nb = mmap.mmap(-1, 1 << 30)\nfor i in range(0, 1 << 30, 4096): b[i] = 1'
    result = place.result('--max-memory', '100MiB', '--monitor-interval', '5s', sys.executable, '-c', code)
    assert (result['cause'], result['status']) == ('memory_limit', 'killed') and result['evidence']
    left = [name for name in os.listdir(os.path.dirname(group.folder)) if name.startswith('script-runner-') and name not in before]
    assert [name for name in left if not is_running(int(name.split('-')[2]))] == []      # another suite's runs may be under way


def test_a_group_without_a_memory_controller_is_left(tmp_path):
    """Where the limit cannot be written, no folder stays and the next form is tried."""
    with pytest.raises(OSError):
        runner._MemoryGroup(str(tmp_path), 1, 'memory.max', 'memory.events')
    assert os.listdir(str(tmp_path)) == []


# -- fault injection ---------------------------------------------------------------------------------------

@own_process_only
@pytest.mark.parametrize('what, fault', [
    ('sampler', 'runner.ProcSampler.sample = fail'),
    ('sampler at its start', 'runner.ProcSampler.__init__ = fail'),
    ('history thread', 'runner._Recorder._work = fail'),
    ('history thread at its start', 'runner._Recorder.start = fail'),
    ('record', 'runner._complete_record = fail'),
    ('place of the run', 'runner.find_git = fail'),
    ('measuring', 'runner.measure = fail'),
    ('limits', 'runner._Warden.look = fail'),
    ('counting', 'runner.Tail.add = fail'),
    ('pump thread', 'runner._Pump._carry = fail'),
    ('subreaper', 'runner._libc = fail'),
])
def test_a_part_that_fails_harms_neither_bytes_nor_status(place, what, fault):
    """Each fails in the middle of a run: the script's output and status are whole, and the result says what was lost."""
    if PYPY and what == 'subreaper':
        pytest.skip('PyPy has no other way to wait')
    code = ('import json, sys, runner\ndef fail(*_, **__): raise OSError(5, "planted")\n%s\n'
            'status = runner._main(sys.argv[1:], program=True)\nsys.exit(status)' % fault)
    env = dict(place.env, PYTHONPATH=os.path.dirname(os.path.abspath(runner.__file__)))
    process = Started([sys.executable, '-c', code, '--max-memory', '8GiB', '--json-output', 'r.json', script('flood_stdout.py'),
                                '300000'], cwd=place.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate()
    assert process.returncode == 0 and len(out) == 300000, err
    with open(os.path.join(place.folder, 'r.json')) as file:
        result = json.load(file)
    assert result['success'] and 'planted' in ' '.join(result['warnings']), result['warnings']


@own_process_only
@pytest.mark.skipif(PYPY, reason='PyPy itself does not start in a folder that is gone')
def test_a_folder_that_was_removed_harms_nobody(place):
    """A script may be started from a folder that is gone: its status and output come back as bare."""
    gone = os.path.join(place.folder, 'gone')
    os.mkdir(gone)
    path = place.write('job.py', 'print("ran"); raise SystemExit(6)')
    finished = place.run(path, cwd=gone, preexec_fn=lambda: os.rmdir(gone))
    assert (finished.status, finished.out) == (6, b'ran\n'), finished
    row, = place.rows()
    assert (row['exit_code'], row['working_dir'], row['script_path']) == (6, None, os.path.realpath(path))


@own_process_only
def test_a_large_tree_is_gone_in_time(place):
    """62 processes, half in their own sessions, a third deaf to TERM: back 2.5 s after a limit of 1 s with a grace of 0.5 s."""
    pids = os.path.join(place.folder, 'pids')
    result = place.result('--timeout', '2s', '--grace', '0.5s', script('spawn_tree.py'), 2, 5, pids)
    tree = read_pids(pids, 40)
    assert result['status'] == 'timeout' and result['metrics']['num_processes'] >= 60
    assert_tree_gone(tree)


# -- where we get no more resources ------------------------------------------------------------------------

#: Runs the command line in a process in which no thread can be started.
THREADLESS = ('import os, sys, runner\ndef refuse(*_): raise RuntimeError("can\'t start new thread")\nrunner.start_new_thread = refuse\n'
              'os._exit(runner._main(sys.argv[1:], program=True))')


@posix_only
@pytest.mark.parametrize('words', [[script('exit_with.py'), '3'], ['--timeout', '0.5s', '--grace', '0.2s', script('wait_for_file.py'), 'never']])
def test_a_run_without_threads_is_a_run(place, words):
    """No thread is to be had: bytes, status and time limit are as ever, the record is kept for the next run."""
    env = dict(place.env, PYTHONPATH=os.path.dirname(os.path.abspath(runner.__file__)))
    process = Started([sys.executable, '-c', THREADLESS] + words, cwd=place.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate()
    assert process.returncode == (124 if '--timeout' in words else 3), err
    assert out == place.bare(*words).out if '--timeout' not in words else True
    assert b'not sampled' in err and b'taken in by the next' in err and b'Traceback' not in err
    place.run('history')
    assert [row['status'] for row in place.rows()] == ['timeout' if '--timeout' in words else 'failed']


def test_a_guest_without_threads_carries_all_bytes(tmp_path, monkeypatch):
    """In the API too: 3 MiB come through, the status is right."""
    def refuse(*_):
        raise RuntimeError("can't start new thread")
    monkeypatch.setattr(runner, 'start_new_thread', refuse)
    result = runner.ScriptRunner(sys.executable, ['-c', 'import sys; sys.stdout.write("x" * 3145728); sys.exit(4)'], enable_history=False,
                                 capture_bytes=4 << 20).run_script()
    assert (result['returncode'], len(result['stdout'])) == (4, 3145728)


@own_process_only
def test_too_few_descriptors_are_told(place):
    """Where not even the pipes can be made: one sentence, 125."""
    import resource
    process = place.start(script('exit_with.py'), 0, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6)))
    _, err = process.communicate()
    assert process.returncode == 125 and err.count(b'\n') == 1 and b'not started: Too many open files' in err, err
