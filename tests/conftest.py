"""What the tests share: a runner in a folder of its own, scripts with one property each, and asserts that name the promise."""
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

# Started in the background by a shell, or under nohup, we have these ignored, and so would every script have that is started here.
for _name in ('SIGINT', 'SIGQUIT', 'SIGHUP'):
    if hasattr(signal, _name) and signal.getsignal(getattr(signal, _name)) == signal.SIG_IGN:
        signal.signal(getattr(signal, _name), signal.default_int_handler if _name == 'SIGINT' else signal.SIG_DFL)

TESTS = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(TESTS, 'scripts')

# The portable suite: the modules that Windows lacks are blocked, here and in every process that is started.
PORTABLE = os.environ.get('RUNNER_TEST_PORTABLE') == '1'
BLOCKED = ('fcntl', 'pty', 'resource', 'termios')
if PORTABLE:
    import psutil  # noqa: F401 - it needs `resource` on Linux; what is blocked, is blocked for us
    for _name in BLOCKED:
        sys.modules[_name] = None
    os.environ['SCRIPT_RUNNER_SAMPLER'] = 'psutil'

#: Stands in the path for a module that is blocked; psutil, which needs `resource` on Linux, gets the real one.
BLOCKER = """
import sys
frame, wanted = sys._getframe(), False
while frame is not None:
    wanted = wanted or frame.f_globals.get('__name__', '').startswith('psutil')
    frame = frame.f_back
if not wanted:
    raise ImportError('blocked by the portable suite')
here = [p for p in sys.path if p.endswith('blockers')]
saved = sys.path[:]
sys.path[:] = [p for p in sys.path if p not in here]
del sys.modules[__name__]
real = __import__(%r)
sys.path[:] = saved
sys.modules[__name__] = real
"""

import runner  # noqa: E402

# Tolerances, in one place; wider where the machine is shared.
ON_CI = bool(os.environ.get('CI'))
#: Set by `make test`: the large versions of what other interpreters try on less (many seeds, many texts).
THOROUGH = os.environ.get('RUNNER_TEST_THOROUGH') == '1'
CPU_TOLERANCE = 0.03
PEAK_TOLERANCE = 0.05
PATIENCE = 60.0 if ON_CI else 30.0

LINUX = sys.platform.startswith('linux')
PYPY = sys.implementation.name == 'pypy'
linux_only = pytest.mark.skipif(not LINUX, reason='needs Linux')
own_process_only = pytest.mark.skipif(PORTABLE or not LINUX, reason='needs the runner as a process of its own (Linux, fcntl)')


def script(name):
    """Return the path of one of tests/scripts."""
    return os.path.join(SCRIPTS, name)


def child_environment(folder, **more):
    """Return an environment in which a started runner finds this module and writes only below `folder`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(('SCRIPT_RUNNER_', 'GITHUB_'))}
    env.update(HOME=str(folder), XDG_STATE_HOME=os.path.join(str(folder), 'state'), TMPDIR=str(folder),
               SCRIPT_RUNNER_HISTORY_DB=os.path.join(str(folder), 'history.db'), PYTHONIOENCODING='utf-8')
    paths = [os.path.dirname(os.path.abspath(runner.__file__))]
    if PORTABLE:
        env['SCRIPT_RUNNER_SAMPLER'] = 'psutil'
        blockers = os.path.join(str(folder), 'blockers')
        if not os.path.isdir(blockers):
            os.mkdir(blockers)
            for name in BLOCKED:
                with open(os.path.join(blockers, name + '.py'), 'w') as file:
                    file.write(BLOCKER % name)
        paths.insert(0, blockers)
    if 'site-packages' not in paths[-1] or PORTABLE:
        env['PYTHONPATH'] = os.pathsep.join(paths)
    env.update(more)
    return env


class Finished(object):
    """What came of a command: status, stdout and stderr as bytes."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return 'Finished(%r, %r, %r)' % (self.status, self.out[-2000:], self.err[-2000:])


class Started(subprocess.Popen):
    """A process of a test: nobody waits for it for ever."""

    def communicate(self, input=None, timeout=None):
        """As Popen's, with a limit."""
        return super(Started, self).communicate(input, timeout or PATIENCE)

    def wait(self, timeout=None):
        """As Popen's, with a limit."""
        return super(Started, self).wait(timeout or PATIENCE)

    def end(self):
        """Kill what still runs, and close its pipes."""
        if self.returncode is None:
            self.kill()
            super(Started, self).wait()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()


class Workplace(object):
    """A folder with a history of its own, in which runners are started as a user would."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.history = os.path.join(self.folder, 'history.db')
        self.env = child_environment(folder)
        self.started = []

    def start(self, *words, **options):
        """Start `python -m runner WORDS`; returns the Popen."""
        env = dict(self.env, **options.pop('env', {}))
        options.setdefault('cwd', self.folder)
        options.setdefault('stdout', subprocess.PIPE)
        options.setdefault('stderr', subprocess.PIPE)
        self.started.append(Started([sys.executable, '-m', 'runner'] + [str(word) for word in words], env=env, **options))
        return self.started[-1]

    def run(self, *words, **options):
        """Run `python -m runner WORDS` to its end."""
        given = options.pop('input', None)
        if given is not None:
            options['stdin'] = subprocess.PIPE
        else:
            options.setdefault('stdin', subprocess.DEVNULL)
        process = self.start(*words, **options)
        out, err = process.communicate(given, timeout=PATIENCE)
        return Finished(process.returncode, out or b'', err or b'')

    def bare(self, *words, **options):
        """Run the same words without the runner, as the truth to compare with."""
        given = options.pop('input', None)
        process = subprocess.Popen([sys.executable] + [str(word) for word in words], env=self.env, cwd=self.folder,
                                   stdin=subprocess.PIPE if given is not None else subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        out, err = process.communicate(given, timeout=PATIENCE)
        return Finished(process.returncode, out, err)

    def result(self, *words, **options):
        """Run with --json-output and return the result as a dict."""
        path = os.path.join(self.folder, 'result.json')
        if os.path.exists(path):
            os.unlink(path)
        finished = self.run('--json-output', path, *words, **options)
        assert os.path.exists(path), finished
        with open(path, 'rb') as file:
            return json.loads(file.read().decode('utf-8'))

    def rows(self, sql='SELECT * FROM executions ORDER BY id', values=()):
        """Return rows of the history as any SQLite tool would see them, as dicts."""
        connection = sqlite3.connect(self.history)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, values)]
        finally:
            connection.close()

    def write(self, name, text):
        """Write a file and return its path."""
        path = os.path.join(self.folder, name)
        with open(path, 'wb') as file:
            file.write(text if isinstance(text, bytes) else text.encode('utf-8'))
        return path


@pytest.fixture
def place(tmp_path):
    """A workplace in a fresh folder."""
    workplace = Workplace(tmp_path)
    yield workplace
    for process in workplace.started:
        process.end()


@pytest.fixture
def history(tmp_path):
    """An empty history, closed afterwards."""
    with runner.HistoryManager(str(tmp_path / 'history.db')) as manager:
        yield manager


def wait_until(condition, what):
    """Wait for something that another process does; fails naming it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError('waited %d s in vain: %s' % (PATIENCE, what))


def is_running(pid):
    """Tell whether a process runs; a zombie does not (PID 1 of a container may reap late)."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    if not LINUX:
        return True
    try:
        with open('/proc/%d/stat' % pid, 'rb') as file:
            return file.read().rsplit(b')', 1)[1].split()[0] not in (b'Z', b'X')
    except (OSError, IndexError):
        return False


def assert_tree_gone(pids):
    """Assert that nothing of a tree is alive."""
    assert [pid for pid in pids if is_running(pid)] == []


def read_pids(path, count):
    """Wait until `count` processes have written their pids into a file; return them."""
    def complete():
        try:
            with open(path) as file:
                pids = [int(line) for line in file.read().split('\n')[:-1]]
        except (OSError, ValueError):
            return None
        return pids if len(pids) >= count else None
    return wait_until(complete, '%d pids in %s' % (count, path))
