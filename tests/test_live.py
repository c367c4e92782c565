"""Section 16, --live: one line on the terminal while a script runs, never among the script's own."""
import os
import re
import sys

import pytest
from conftest import LINUX, PORTABLE, THOROUGH, script
from test_terminal import Screen

import runner

needs_terminal = pytest.mark.skipif(PORTABLE or not LINUX, reason='needs pseudo-terminals, and the runner as a process of its own')
#: What waits longest for turns of the line is tried on one interpreter.
thorough_only = pytest.mark.skipif(not THOROUGH, reason='one interpreter is enough (RUNNER_TEST_THOROUGH=1)')
CLEAR = b'\r\x1b[J'
#: The line, as it is drawn; what follows a last clearing is the summary.
DRAWN = re.compile(rb'\r\x1b\[J(runner: (?!ok in)[^\r\n\x1b]*)\r')


@pytest.fixture
def screen(place):
    """Start `python -m runner --live WORDS` in a terminal."""
    opened = []

    def start(*words, **options):
        env = dict(dict(place.env, TERM='xterm'), **options.pop('env', {}))
        command = options.pop('command', [sys.executable, '-m', 'runner', '--live']) + [str(word) for word in words]
        opened.append(Screen(command, env, place.folder, **options))
        return opened[-1]
    yield start
    for one in opened:
        one.close()


class Page(object):
    """What a terminal shows: rows of text; knows CR, LF and the clearing from the cursor on."""

    def __init__(self):
        self.rows, self.row, self.column = [''], 0, 0

    def show(self, text):
        """Show a text; every piece of it that is printed must find its place empty."""
        for piece in re.findall(r'\x1b\[J|\r|\n|[^\r\n\x1b]+', text):
            if piece == '\r':
                self.column = 0
            elif piece == '\n':
                self.row += 1
                self.rows += [''] * (self.row + 1 - len(self.rows))
            elif piece == '\x1b[J':
                del self.rows[self.row + 1:]
                self.rows[self.row] = self.rows[self.row][:self.column]
            else:
                assert self.rows[self.row][self.column:] == '', (piece, self.rows[self.row])
                self.rows[self.row] += piece
                self.column += len(piece)
        return self


TALKER = r'''
import sys, time
for i in range(8):
    print('line %d \u6f22\u5b57' % i, flush=True)
    time.sleep(0.08)
sys.stderr.write('to stderr\n')
sys.stdout.write('no newline yet'); sys.stdout.flush()
time.sleep(0.4)
print(', and now', flush=True)
input()
print('bye')
'''


@needs_terminal
def test_the_line_is_never_among_the_scripts_own(screen, place):
    """What is left without it are the bytes of the script; it is only drawn on an empty row, vanishes, and is not recorded."""
    path = place.write('talk.py', TALKER)
    one = screen(path)
    one.expect(b', and now\r\n')
    while not DRAWN.search(one.seen):
        one.read_some(0.1)
    one.type(b'x\n')
    status, seen = one.finish()
    bare = screen(path, command=[sys.executable])
    bare.type(b'x\n')
    bare.expect(b', and now\r\n')
    assert status == 0 and DRAWN.search(seen)
    assert bare.finish()[0] == 0
    rest = DRAWN.sub(b'', seen).replace(CLEAR, b'')
    assert re.sub(b'runner: ok in .*\r\n', b'', rest) == b'x\r\nbye\r\n'
    assert Page().show(seen.decode('utf-8')).rows[:2] == ['x', 'bye'] and len(Page().show(seen.decode('utf-8')).rows) == 4
    row = place.rows('SELECT stdout_tail, stderr_tail FROM executions')[0]
    assert 'runner:' not in row['stdout_tail'] and row['stdout_tail'].endswith('bye\n') and not row['stderr_tail']


@needs_terminal
@thorough_only
def test_all_bytes_of_a_script_arrive_in_order_around_the_line(screen, place):
    """From the first byte to the last, the line taken out; while a line of the script is unfinished, ours is away."""
    path = place.write('talk.py', TALKER.replace('input()', ''))
    one = screen('--quiet', path)
    _, seen = one.finish()
    bare = screen(path, command=[sys.executable])
    assert DRAWN.sub(b'', seen).replace(CLEAR, b'') == bare.finish()[1]
    assert len(DRAWN.findall(seen)) >= 1
    Page().show(seen.decode('utf-8'))
    assert b'no newline yet, and now' in seen


@needs_terminal
@thorough_only
def test_its_words_change_at_most_four_times_a_second(screen, place):
    """However fast the script writes."""
    path = place.write('talk.py', 'import time\nfor i in range(120):\n    print(i, flush=True)\n    time.sleep(0.01)\n')
    one = screen('--quiet', path)
    _, seen = one.finish()
    duration = place.rows('SELECT execution_time_seconds AS d FROM executions')[0]['d']
    drawn = DRAWN.findall(seen)
    assert 1 <= len(set(drawn)) <= duration / 0.25 + 1
    assert len(drawn) <= 2 * (duration / 0.25 + 1), 'not put back between writes that follow at once'


@needs_terminal
def test_it_tells_share_and_end_from_the_good_runs(screen, place):
    """The median of the successes of this script counts; failures and other scripts do not."""
    path = place.write('wait.py', 'input()')
    with runner.HistoryManager(place.history) as history:
        for seconds in (90.0, 100.0, 120.0):
            history.save_execution({'execution_time_seconds': seconds}, path, 0)
            history.save_execution({'execution_time_seconds': 1.0}, path, 1)
            history.save_execution({'execution_time_seconds': 1.0}, place.write('other.py', ''), 0)
    one = screen(path, columns=100)
    one.expect(b'% of the usual 1m 40s, about 1m ')
    one.expect(b' MiB')
    one.type(b'\n')
    assert one.finish()[0] == 0


@needs_terminal
@thorough_only
def test_a_narrow_window_gets_a_short_line_also_after_a_resize(screen, place):
    """The line is never as wide as the window, so that it cannot run into a second row."""
    one = screen(place.write('wait.py', 'input()'), columns=100)
    one.expect(b' MiB')
    one.resize(24, 22)
    one.expect(CLEAR + b'runner: ')
    while not re.search(rb'\r\x1b\[Jrunner: [^\r]{1,13}\r', one.seen):
        assert one.read_some(0.1)
    one.resize(24, 9)
    while not re.search(rb'\r\x1b\[J[0-9.]+ m?s\r', one.seen):
        assert one.read_some(0.1)
    one.type(b'\n')
    assert one.finish()[0] == 0


@needs_terminal
def test_full_screen_programs_and_passwords_suspend_it(screen, place):
    """No byte of ours while a program has the keys, or the alternate screen."""
    path = place.write('secret.py', (
        'import sys, termios, time\nprint("first", flush=True)\ninput()\n'
        's = termios.tcgetattr(0)\ns[3] &= ~termios.ECHO\ntermios.tcsetattr(0, termios.TCSANOW, s)\nprint("silent", flush=True)\n'
        'time.sleep(0.7)\nprint("\\x1b[?1049h\\x1b[Hfull", flush=True)\n'
        'time.sleep(0.2)\ns[3] |= termios.ECHO\ntermios.tcsetattr(0, termios.TCSANOW, s)\ntime.sleep(0.5)\nprint("\\x1b[?1049lleft", flush=True)\ninput()\n'))
    one = screen('--quiet', path)
    one.expect(CLEAR + b'runner: ')
    one.type(b'\n')
    one.expect(b'silent\r\n')
    while b'\x1b[?1049lleft\r\n' not in one.seen:
        assert one.read_some(0.1)
    silent, full = one.seen.split(b'\x1b[?1049l')[0].split(b'\x1b[?1049h')
    assert b'runner:' not in silent and b'runner:' not in full
    one.expect(b'\x1b[?1049lleft\r\n')
    one.expect(CLEAR + b'runner: ')
    one.type(b'\n')
    assert one.finish()[0] == 0

    one = screen('--quiet', script('curses_like.py'))
    one.expect(b'ready 3')
    one.read_some(0.8)
    assert b'runner:' not in one.seen
    one.type(b'q')
    assert one.finish()[0] == 0 and one.settings() == one.before


@needs_terminal
def test_ctrl_z_takes_it_away_before_the_prompt(place):
    """What the shell writes after a stop stands on a clean row; fg brings the line back."""
    path = place.write('wait.py', 'input()')
    shell = Screen(['bash', '--norc', '--noprofile', '-i'], dict(place.env, TERM='xterm', PS1='PROMPT> ', HISTFILE=''), place.folder)
    try:
        shell.expect(b'PROMPT> ')
        shell.type(('%s -m runner --quiet --live %s\n' % (sys.executable, path)).encode())
        shell.expect(CLEAR + b'runner: ')
        shell.type(b'\x1a')
        while b'Stopped' not in shell.seen:
            assert shell.read_some(0.1)
        before = shell.seen[:shell.seen.index(b'Stopped')]
        assert before.rindex(CLEAR) > (before.rindex(b'runner:') if b'runner:' in before else -1)
        shell.expect(b'PROMPT> ')
        shell.type(b'fg\n')
        shell.expect(CLEAR + b'runner: ')
        shell.type(b'\n')
        shell.expect(b'PROMPT> ')
        shell.type(b'exit\n')
        shell.finish()
    finally:
        shell.close()


@needs_terminal
@pytest.mark.parametrize('why', ['not asked for', 'stderr is a file', 'TERM is dumb', 'background'])
def test_without_a_reason_there_is_none(screen, place, why):
    """It is drawn when asked for, on a terminal that can take it away, in the foreground."""
    if why in ('stderr is a file', 'background') and not THOROUGH:
        pytest.skip('one interpreter is enough')
    path = place.write('wait.py', 'import time\nprint("one", flush=True)\ntime.sleep(0.7)\n')
    words = ['-m', 'runner', '--quiet'] + (['--live'] if why != 'not asked for' else []) + [path]
    with open(os.path.join(place.folder, 'err'), 'w+b') as err:
        if why == 'background':
            one = screen(command=['bash', '-m', '-c', '%s %s & wait 2>/dev/null' % (sys.executable, ' '.join(words))])
        else:
            one = screen(*words, command=[sys.executable], stderr=err if why == 'stderr is a file' else None,
                         env={'TERM': 'dumb'} if why == 'TERM is dumb' else {})
        status, seen = one.finish()
        err.seek(0)
        assert status == 0 and b'one' in seen and b'runner: ' not in seen + err.read() and b'\x1b' not in seen


@pytest.mark.parametrize('written, free', [
    (b'', True), (b'text', False), (b'text\n', True), (b'50 %\r', False), (b'text\n\x1b[0m', True), (b'\x1b[31mred\n', False),
    (b'\x1b[31mred\x1b[0m\n', True), (b'\x1b[1;38;5;0mx\n', False), (b'\x1b[31mred\x1b[39m\n', True), (b'a\n\x1b]0;title\x07', True),
    (b'a\n\x1b]8;;http://x\x1b\\', True), (b'\x1b[?1049h', False), (b'a\n\x1b[?1049hxx\x1b[5;5H\x1b[?1049l', True),
    (b'a\n\x1b[2Aup\n', False), (b'\x1b[2Aup\n' + b'\n' * 8, False), (b'\x1b[2Aup\n' + b'\n' * 9, True), (b'a\n\x1b[', False),
    (b'a\n\x1b[1;9r' + b'\n' * 99, False), (b'\x1b[?25l\x1b[?25h\x1b[K\n', True), (b'\x1b[?1047;25h\n', False), (b'\xff\xfe\n', True),
    (b'\x1b\\\n', True), (b'\x1bM' + b'\n' * 3, False), (b'\x1bc' + b'\n' * 10, True)])
def test_where_a_line_may_be_drawn(written, free):
    """Only at the start of a line, in plain colours, with nothing below; however the bytes are cut."""
    for size in (1, 2, 3, 1000):
        state = runner._ScreenState()
        for at in range(0, len(written), size):
            state.feed(written[at:at + size], 10)
        assert state.is_free is free, size


def test_a_line_ends_at_the_left(place):
    """From a raw terminal a bare LF leaves the cursor where it is."""
    state = runner._ScreenState()
    state.feed(b'a\n', 10, b'\r\n')
    assert not state.is_free
    state.feed(b'a\r\n', 10, b'\r\n')
    assert state.is_free


def test_the_line_fits_every_width():
    """As many parts as there is room for; no width is exceeded."""
    samples = [(i / 10.0, 100.0 + i, 20.0 + i) for i in range(50)]
    lines = [runner.format_live(75.0, samples, (100.0, 25.0), columns) for columns in range(120)]
    assert all(len(line) <= columns for columns, line in enumerate(lines))
    assert lines[119] == 'runner: 1m 15s · 75 % of the usual 1m 40s, about 25.0 s left · cpu 149 % ▁▂▂▃▃▄▅▅▆▇▇█ · 69.0 MiB'
    assert lines[0] == '' and lines[13] == '1m 15s' and lines[14] == 'runner: 1m 15s'


def test_what_is_left_is_told_by_those_that_took_longer():
    """Half of the runs take 10 s, half 100 s: after 20 s it is one of the long ones."""
    durations = [10.0, 11.0, 12.0, 100.0, 101.0, 102.0]
    assert runner.estimate_remaining(1.0, durations) == (56.0, 55.0)
    assert runner.estimate_remaining(20.0, durations) == (56.0, 81.0)
    assert runner.estimate_remaining(103.0, durations) == (56.0, None)
    assert runner.estimate_remaining(1.0, [None, float('nan'), 2.0, 3.0]) is None
    assert runner.estimate_remaining(1.0, []) is None
