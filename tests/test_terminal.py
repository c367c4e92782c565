"""Section 5 in a real pseudo-terminal: what a person sees who types `python -m runner script.py`."""
import os
import select
import signal
import struct
import subprocess
import sys
import time

import pytest
from conftest import LINUX, PATIENCE, PORTABLE, is_running, read_pids, script, wait_until

pytestmark = pytest.mark.skipif(PORTABLE or not LINUX, reason='needs pseudo-terminals, and the runner as a process of its own')
if LINUX and not PORTABLE:
    import fcntl
    import termios


class Screen(object):
    """A terminal with a program in it."""

    def __init__(self, words, env, cwd, stdin=None, stderr=None, rows=24, columns=80):
        self.master, slave = os.openpty()
        self.resize(rows, columns)
        self.slave = slave
        self.before = termios.tcgetattr(slave)

        def lead():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        self.process = subprocess.Popen(words, env=env, cwd=cwd, stdin=slave if stdin is None else stdin, stdout=slave,
                                        stderr=slave if stderr is None else stderr, preexec_fn=lead)
        self.seen = b''

    def resize(self, rows, columns):
        """Give the window another size."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def type(self, data):
        """Press keys."""
        os.write(self.master, data)

    def read_some(self, seconds):
        """Take what is there within `seconds`; False at the end."""
        if select.select([self.master], [], [], seconds)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return False
            self.seen += data
            return bool(data)
        return True

    def expect(self, text):
        """Read until a text has been seen; everything up to it is then forgotten."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline and self.read_some(0.1), 'never saw %r, but %r' % (text, self.seen[-3000:])
        self.seen = self.seen[self.seen.index(text) + len(text):]

    def finish(self):
        """Wait for the end; returns (status, everything seen)."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.seen[-3000:]
            self.read_some(0.05)
        while select.select([self.master], [], [], 0.05)[0] and self.read_some(0.05):
            pass
        return self.process.returncode, self.seen

    def close(self):
        """End what still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def settings(self):
        """Return how the terminal is set now."""
        return termios.tcgetattr(self.slave)


@pytest.fixture
def screen(place):
    """Start `python -m runner WORDS` (or bare=True: the words themselves) in a terminal."""
    opened = []

    def start(*words, **options):
        bare = options.pop('bare', False)
        env = dict(place.env, TERM='xterm', **options.pop('env', {}))
        command = list(words) if bare else [sys.executable, '-m', 'runner'] + [str(w) for w in words]
        opened.append(Screen(command, env, place.folder, **options))
        return opened[-1]
    yield start
    for one in opened:
        one.close()


def test_runs_one_after_another_leave_no_terminals_open(screen, place):
    """What is closed with the next run does not add up; the session leader is a fork of us and shows what we hold."""
    code = 'import os, time; print("holds", len(os.listdir("/proc/%d/fd" % os.getppid()))); time.sleep(0.3)'
    _, seen = screen('--quiet', '--no-history', '--repeat', '4', sys.executable, '-c', code).finish()
    counts = [int(word) for word in seen.replace(b'holds', b'').split() if word.isdigit()]
    assert len(counts) == 4 and counts[3] <= counts[1], seen


@pytest.mark.parametrize('words', [['-c', 'import runner, sys; runner.ScriptRunner(sys.argv[1], enable_history=False, stream_output=True).run_script()'],
                                   ['-m', 'runner', 'profile', '--no-history']])
def test_a_script_of_a_guest_hears_a_ctrl_c_once(screen, place, words):
    """From the terminal; a second one from us would break off what it does at the first."""
    job = place.write('job.py', 'import signal, time\nheard = []\nsignal.signal(signal.SIGINT, lambda *_: heard.append(1))\n'
                                'print("ready", flush=True)\nwhile not heard:\n    time.sleep(0.01)\ntime.sleep(0.3)\n'
                                'print("heard", len(heard), flush=True)')
    one = screen(*([sys.executable] + words + [job]), bare=True)
    one.expect(b'ready')
    one.type(b'\x03')
    one.expect(b'heard ')
    assert one.finish()[1].startswith(b'1\r\n')


def test_a_script_in_a_terminal_sees_a_terminal(screen, place):
    """All three streams, and the same bytes as bare."""
    code = 'import os, sys; print([os.isatty(n) for n in (0, 1, 2)], os.get_terminal_size()); print("b\\tc"); sys.stdout.flush(); os.write(2, b"err\\n")'
    one = screen('--quiet', sys.executable, '-c', code, rows=33, columns=101)
    two = screen(sys.executable, '-c', code, bare=True, rows=33, columns=101)
    ours, bare = one.finish(), two.finish()
    assert ours == bare and b'[True, True, True]' in ours[1] and b'columns=101, lines=33' in ours[1]
    row = place.rows("SELECT metric_value AS v FROM metrics WHERE metric_name = 'stdout_bytes'")[0]
    assert row['v'] == len(bare[1].replace(b'\r\n', b'\n'))


def test_many_lines_arrive_in_order_without_staircase(screen):
    """20,000 lines, byte for byte as bare."""
    code = 'for i in range(20000): print(i)'
    ours, bare = screen('--quiet', sys.executable, '-c', code), screen(sys.executable, '-c', code, bare=True)
    assert ours.finish() == bare.finish()


@pytest.mark.parametrize('end', ['exit', 'ctrl_c', 'term', 'kill_script', 'missing', 'timeout', 'raw'])
def test_the_terminal_is_restored_after_every_end(screen, place, end):
    """Whatever ends the run, the terminal is set as before."""
    pid_file = os.path.join(place.folder, 'pid')
    code = ('import os, sys, time\nf = open(%r, "w"); f.write("%%d\\n" %% os.getpid()); f.close(); print("ready", flush=True)\n'
            'while %r: time.sleep(0.1)' % (pid_file, end != 'exit'))       # one long sleep may miss a signal just before it
    words = [sys.executable, '-c', code]
    if end == 'missing':
        words = ['nowhere.py']
    elif end == 'timeout':
        words = ['--timeout', '1s', '--grace', '1s'] + words
    elif end == 'raw':
        words = [sys.executable, '-c', 'import tty; tty.setraw(0); print("ready", flush=True)']
    one = screen(*words)
    if end != 'missing':
        one.expect(b'ready')
    if end == 'ctrl_c':
        one.type(b'\x03')
    elif end == 'term':
        one.process.terminate()
    elif end == 'kill_script':
        os.kill(read_pids(pid_file, 1)[0], signal.SIGKILL)
    status, _ = one.finish()
    assert one.settings() == one.before
    assert status == {'exit': 0, 'ctrl_c': 130, 'term': 143, 'kill_script': 137, 'missing': 127, 'timeout': 124, 'raw': 0}[end] \
        or end == 'ctrl_c' and sys.version_info < (3, 8) and status == 1


def test_a_full_screen_program_works(screen):
    """It gets each key as it is pressed, Ctrl-C and Ctrl-Z as bytes, and the terminal is right afterwards."""
    one = screen('--quiet', script('curses_like.py'))
    one.expect(b'ready 3')
    for key, shown in ((b'a', b'key 97'), (b'\x03', b'key 3'), (b'\x1a', b'key 26'), (b'\r', b'key 13')):
        one.type(key)
        one.expect(shown)
    one.type(b'q')
    one.expect(b'bye')
    assert one.finish()[0] == 0 and one.settings() == one.before


def test_the_window_size_follows(screen):
    """A resize reaches the script as SIGWINCH with the new size."""
    one = screen('--quiet', script('show_size.py'), rows=24, columns=80)
    one.expect(b'size 80 24')
    one.resize(40, 120)
    one.expect(b'size 120 40')
    one.type(b'stop\n')
    assert one.finish()[0] == 0, one.seen


def test_ctrl_c_is_the_scripts_to_handle(screen, place):
    """Its clean-up runs, its output is kept, its status comes back; the record says interrupted."""
    one = screen('--quiet', script('catch_ctrl_c.py'))
    one.expect(b'ready')
    one.type(b'\x03')
    one.expect(b'cleaned up')
    assert one.finish()[0] == 7
    row = place.rows()[0]
    assert (row['cause'], row['exit_code']) == ('interrupted', 7) and 'cleaned up' in row['stdout_tail']


def test_two_ctrl_c_end_a_deaf_script(screen):
    """The first is the script's to ignore, a second within two seconds is not."""
    one = screen('--quiet', '--grace', '1s', script('catch_ctrl_c.py'), 'deaf')
    one.expect(b'ready')
    one.type(b'\x03')
    time.sleep(0.2)
    assert one.process.poll() is None
    one.type(b'\x03')
    assert one.finish()[0] == 143


@pytest.mark.parametrize('streams', ['stdin', 'stderr', 'stdout'])
def test_each_stream_is_replaced_for_itself(screen, place, streams):
    """A stream that is no terminal stays none, the others stay terminals."""
    code = 'import os, sys; r = [os.isatty(n) for n in (0, 1, 2)]; open("r", "w").write(str(r)); print("out"); sys.stderr.write("err\\n")'
    with open(os.devnull, 'r+b') as null:
        if streams == 'stdout':
            one = screen('-c', '%s -m runner --quiet %s -c \'%s\' > out' % (sys.executable, sys.executable, code.replace('\\n', '\\\\n')),
                         bare=True) if False else screen(sys.executable, '-c', (
                             'import subprocess, sys; sys.exit(subprocess.call([sys.executable, "-m", "runner", "--quiet", sys.executable, '
                             '"-c", sys.argv[1]], stdout=open("out", "wb")))'), code, bare=True)
        else:
            one = screen('--quiet', '--grace', '1h', sys.executable, '-c', code, **{streams: null})
        status, _ = one.finish()
    assert status == 0 and one.settings() == one.before, one.seen
    with open(os.path.join(place.folder, 'r')) as file:
        assert file.read() == str([streams != 'stdin', streams != 'stdout', streams != 'stderr'])


@pytest.fixture
def shell(screen):
    """An interactive bash with job control in a terminal."""
    one = screen('bash', '--norc', '--noprofile', '-i', bare=True, env={'PS1': 'PROMPT> ', 'HISTFILE': ''})
    one.expect(b'PROMPT> ')
    return one


def start_ticking(shell, more=''):
    """Type a command that runs a ticking script through the runner; wait for its third tick."""
    shell.type(('%s -m runner --quiet %s %s\n' % (sys.executable, script('tick.py'), more)).encode())
    shell.expect(b'tick 3')


def end_and_leave(shell):
    """Ctrl-C, which must give the prompt back, then exit."""
    shell.type(b'\x03')
    shell.expect(b'PROMPT> ')
    shell.type(b'exit\n')
    shell.finish()


def test_ctrl_z_and_fg(shell):
    """Ctrl-Z gives the prompt back and stops the script; fg continues it."""
    start_ticking(shell)
    shell.type(b'\x1a')
    shell.expect(b'Stopped')
    shell.expect(b'PROMPT> ')
    shell.seen = b''
    time.sleep(0.4)
    shell.read_some(0.05)
    assert b'tick' not in shell.seen
    shell.type(b'fg\n')
    shell.expect(b'tick ')
    end_and_leave(shell)


def test_in_the_background_the_terminal_is_left_alone(shell, place):
    """`runner script &`: the shell keeps its terminal, the output appears, the job ends."""
    code = place.write('slow.py', 'import os, sys, time\nprint("began", flush=True)\ntime.sleep(0.5)\nprint(sys.stdout.isatty(), "ended", flush=True)\n')
    shell.type(('%s -m runner --quiet %s &\n' % (sys.executable, code)).encode())
    shell.expect(b'began')
    shell.type(b'echo al""ive\n')
    shell.expect(b'alive')
    shell.expect(b'True ended')
    shell.type(b'wait; echo status $?\n')
    shell.expect(b'status 0')
    shell.type(b'exit\n')
    shell.finish()


def test_bg_continues_without_the_terminal(shell, place):
    """Ctrl-Z, bg: the script goes on while the shell has the terminal."""
    code = place.write('slow.py', 'import time\nprint("began", flush=True)\ntime.sleep(1)\nopen("ended", "w").close()\nprint("ended", flush=True)\n')
    shell.type(('%s -m runner --quiet %s\n' % (sys.executable, code)).encode())
    shell.expect(b'began')
    shell.type(b'\x1a')
    shell.expect(b'PROMPT> ')
    shell.type(b'bg\n')
    shell.expect(b'PROMPT> ')
    shell.type(b'echo al""ive\n')
    shell.expect(b'alive')
    wait_until(lambda: os.path.exists(os.path.join(place.folder, 'ended')), 'the script in the background')
    shell.type(b'exit\n')
    shell.finish()


def test_a_closing_terminal_ends_the_script(screen, place):
    """SIGHUP: the script hears of it, nothing is left, the record says interrupted."""
    one = screen('--grace', '1s', script('wait_for_file.py'), 'go')
    started = os.path.join(place.folder, 'go.started')
    pid, = read_pids(started, 1)
    os.kill(one.process.pid, signal.SIGHUP)
    one.process.wait()
    assert not is_running(pid) and one.process.returncode == 129
    assert place.rows()[0]['cause'] == 'interrupted'


@pytest.mark.parametrize('program, keys, wanted', [
    (['less', 'text'], b'Gq', b'line 500'),
    ([sys.executable, '-i', '-q', '-c', ''], b'6*7\nexit()\n', b'42'),
])
def test_real_programs(screen, place, program, keys, wanted):
    """less and an interactive Python work through the runner."""
    place.write('text', ''.join('line %d\n' % i for i in range(1, 501)))
    try:
        subprocess.call([program[0], '--version'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        pytest.skip('%s is not installed' % program[0])
    one = screen('--quiet', *program)
    one.expect(b'line 1' if program[0] == 'less' else b'>>> ')
    one.type(keys)
    one.expect(wanted)
    assert one.finish()[0] == 0 and one.settings() == one.before


def test_ctrl_z_without_the_terminal_as_stdin(shell):
    """stdin from elsewhere: Ctrl-Z stops runner and script alike, fg continues both."""
    start_ticking(shell, '< /dev/null')
    shell.type(b'\x1a')
    shell.expect(b'Stopped')
    shell.expect(b'PROMPT> ')
    shell.type(b'fg\n')
    shell.expect(b'tick ')
    end_and_leave(shell)


def test_ctrl_z_handlers_run_as_bare(shell, place):
    """A program that cleans its screen at SIGTSTP and then stops itself does both before the prompt, and goes on after fg."""
    code = place.write('screen.py', (
        'import os, signal, time\n'
        'def stop(*_):\n    os.write(1, b"CLEAN\\n")\n    signal.signal(signal.SIGTSTP, signal.SIG_DFL)\n    os.kill(0, signal.SIGTSTP)\n'
        '    os.write(1, b"RESUMED\\n")\n'
        'signal.signal(signal.SIGTSTP, stop)\nos.write(1, b"ready\\n")\n'
        'for _ in range(600): time.sleep(0.1)\n'))
    shell.type(('%s -m runner --quiet %s\n' % (sys.executable, code)).encode())
    shell.expect(b'ready')
    shell.type(b'\x1a')
    shell.expect(b'CLEAN')
    shell.expect(b'Stopped')
    shell.expect(b'PROMPT> ')
    assert b'RESUMED' not in shell.seen
    shell.type(b'fg\n')
    shell.expect(b'RESUMED')
    end_and_leave(shell)


def test_ctrl_c_after_bg_and_fg(shell):
    """fg of a job that already runs sends it no signal; keys reach it all the same."""
    start_ticking(shell)
    shell.type(b'\x1a')
    shell.expect(b'PROMPT> ')
    shell.type(b'bg\n')
    shell.expect(b'tick ')
    shell.type(b'fg\n')
    shell.expect(b'runner --quiet')
    time.sleep(0.5)
    end_and_leave(shell)


def test_a_shell_in_a_runner_has_job_control(screen):
    """bash -i through the runner controls its jobs; Ctrl-Z stops the job and not the shell."""
    one = screen('--quiet', 'bash', '--norc', '--noprofile', '-i', env={'PS1': 'INNER> ', 'HISTFILE': ''})
    one.expect(b'INNER> ')
    assert b'job control' not in one.seen
    one.type(b'sleep 100\n')
    one.expect(b'sleep 100')
    time.sleep(0.3)
    one.type(b'\x1a')
    one.expect(b'Stopped')
    one.expect(b'INNER> ')
    one.type(b'kill %1; exit 6\n')
    time.sleep(0.2)
    one.type(b'exit 6\n')
    assert one.finish()[0] == 6


def test_a_prompt_survives_many_ctrl_c(screen):
    """Two Ctrl-C at the prompt of an interactive Python are two KeyboardInterrupts, as bare."""
    one = screen('--quiet', sys.executable, '-i', '-q', '-c', '', env={'PYTHON_BASIC_REPL': '1'})
    one.expect(b'>>> ')
    for _ in range(3):
        deadline = time.monotonic() + PATIENCE
        while b'KeyboardInterrupt' not in one.seen:       # bare, Python misses some that come just after the prompt
            assert time.monotonic() < deadline and one.process.poll() is None, one.seen
            one.type(b'\x03')
            for _ in range(10):
                one.read_some(0.05)
        one.expect(b'>>> ')
    one.type(b'import os; os._exit(3)\n')
    assert one.finish()[0] == 3


def test_output_of_a_background_child_is_kept(screen, place):
    """What a script leaves behind may write to the terminal within the grace."""
    place.write('late.sh', '(sleep 0.4; echo late done) & echo main done\n')
    _, seen = screen('--quiet', 'late.sh').finish()
    assert b'main done' in seen and b'late done' in seen


def test_stdout_and_stderr_keep_their_order(screen):
    """200 alternating writes to both, byte for byte as bare."""
    code = 'import os\nfor i in range(200): os.write(1 + i % 2, b"%d\\n" % i)'
    ours, bare = screen('--quiet', sys.executable, '-c', code), screen(sys.executable, '-c', code, bare=True)
    assert ours.finish() == bare.finish()


def test_raw_output_is_not_touched(screen):
    """A program that switches output processing off gets its line feeds through as they are."""
    code = 'import os, tty; tty.setraw(0); os.write(1, b"one\\ntwo\\r\\nthree\\n")'
    ours, bare = screen('--quiet', sys.executable, '-c', code), screen(sys.executable, '-c', code, bare=True)
    assert ours.finish()[1] == bare.finish()[1] == b'one\ntwo\r\nthree\n'


def test_a_resize_without_the_terminal_as_stdin(screen, place):
    """The script sees the new size, not the one before."""
    code = place.write('size.py', 'import os, signal, time\n'
                                  'def show(*_): os.write(1, b"size %d %d\\n" % tuple(os.get_terminal_size(1)))\n'
                                  'signal.signal(signal.SIGWINCH, show)\nshow()\nfor _ in range(100): time.sleep(0.1)\n')
    with open(os.devnull, 'rb') as null:
        one = screen('--quiet', code, stdin=null, rows=24, columns=80)
        one.expect(b'size 80 24')
        one.resize(40, 120)
        one.expect(b'size 120 40')
    one.process.terminate()
    one.finish()


def test_an_error_on_the_terminal_is_summarised(screen, place):
    """stdout and stderr are one stream there: it is counted as stdout, and the error is found in it."""
    screen(script('exit_with.py'), 'x').finish()
    row = place.rows()[0]
    assert row['error_summary'].startswith('ValueError') and 'Traceback' in row['stdout_tail'] and '\r' not in row['stdout_tail']
    names = [r['metric_name'] for r in place.rows('SELECT metric_name FROM metrics')]
    assert 'stdout_lines' in names and 'stderr_lines' not in names
    values = [r['metric_value'] for r in place.rows("SELECT * FROM metrics WHERE metric_name = 'num_processes'")]
    assert values in ([1], [])                     # on a busy machine it may be over before the first look
