#!/usr/bin/env python3
"""Measure what the targets of this project speak of, and print one Markdown table; `make bench` calls it.

    python benchmarks/run.py                    # everything, under five minutes
    python benchmarks/run.py startup output     # some
    python benchmarks/run.py --quick            # everything, roughly, under a minute
    python benchmarks/run.py --rounds 100 startup

Contestants take turns within one run (A B A B …), so that what else the machine does hits both alike; a ratio or difference is
taken within each round, and the median of the rounds is shown with its quartiles. Figures are printed, never judged: the
exit status is 1 only when a benchmark itself crashed. Needs Python 3.8, Linux, `sleep` and `cat`. The runner that is
measured is the one that the interpreter running this finds, else the one of this checkout.
"""
import argparse
import importlib.util
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1024.0 * 1024.0

# Ours to choose, not the caller's: settings of the runner, and whatever would make every start compile runner.py anew.
for _name in [name for name in os.environ if name.startswith('SCRIPT_RUNNER_')] + ['PYTHONDONTWRITEBYTECODE']:
    os.environ.pop(_name, None)
sys.dont_write_bytecode = False
if importlib.util.find_spec('runner') is None:
    sys.path.insert(1, os.path.dirname(HERE))
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, (os.path.dirname(HERE), os.environ.get('PYTHONPATH'))))

import calibration  # noqa: E402
import records  # noqa: E402

import runner  # noqa: E402

# ======================================================================================================
# Tools
# ======================================================================================================

class Lab(object):
    """What a benchmark works with: how often, how long, and a folder that goes away."""

    def __init__(self, folder, rounds, quick):
        self.folder = folder
        self.quick = quick
        self._rounds = rounds
        self._histories = {}

    def rounds(self, usual, quick):
        """Return the numbers of the rounds to measure: --rounds, else what is usual for this benchmark."""
        return range(self._rounds or (quick if self.quick else usual))

    def path(self, name):
        return os.path.join(self.folder, name)

    def history(self, count):
        """Return the path of a history with so many runs; made once. Who adds runs to it adds few."""
        if count not in self._histories:
            path = self.path('history-%d.db' % count)
            # A process of its own: this one must stay small, since what it starts shows its size as least peak memory.
            subprocess.run([sys.executable, os.path.join(HERE, 'records.py'), path, str(count)], check=True)
            self._histories[count] = path
        return self._histories[count]

    @property
    def many(self):
        """How many runs a long history has."""
        return 20000 if self.quick else 100000


def script(name):
    return os.path.join(HERE, 'scripts', name)


def bare(name, *arguments):
    return [sys.executable, script(name)] + [str(argument) for argument in arguments]


def watched(name, *arguments, options=()):
    return [sys.executable, '-m', 'runner'] + list(options) + [script(name)] + [str(argument) for argument in arguments]


class Ended(object):
    """How a process ended: wall seconds, its own CPU seconds."""

    def __init__(self, wall, cpu):
        self.wall = wall
        self.cpu = cpu


def spawn(command, stdin=os.devnull, stdout=os.devnull, history=None):
    """Start a command, stderr to /dev/null; stdin and stdout are paths or descriptors. Return its pid."""
    actions = []
    for target, source, flags in ((0, stdin, os.O_RDONLY), (1, stdout, os.O_WRONLY), (2, os.devnull, os.O_WRONLY)):
        if isinstance(source, int):
            actions.append((os.POSIX_SPAWN_DUP2, source, target))
        else:
            actions.append((os.POSIX_SPAWN_OPEN, target, source, flags, 0))
    env = dict(os.environ, SCRIPT_RUNNER_HISTORY_DB=history) if history else os.environ
    return os.posix_spawn(command[0], command, env, file_actions=actions)


def collect(pid, began):
    """Wait for a process that was started at `began` (perf_counter); it must succeed."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    ended = time.perf_counter()
    try:
        cpu = time.clock_gettime(((~pid) << 3) | 2)     # Linux: the CPU clock of that process alone, also of a zombie
    except OSError:
        cpu = None
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError('a contestant failed with wait status %d' % status)
    return Ended(ended - began, cpu)


def run(command, **streams):
    """Run a command to its end."""
    began = time.perf_counter()
    return collect(spawn(command, **streams), began)


#: ru_maxrss of a process begins with what its parent holds when it is spawned (exec keeps the mark), so a small one must spawn.
LAUNCHER = """import os, sys
_, status, usage = os.wait4(os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ), 0)
with open(sys.argv[1], 'w') as file:
    file.write('%r' % (usage.ru_maxrss / 1024.0))
sys.exit(1 if status else 0)
"""


def launched(command, path):
    """Return the words that run a command and write its peak in MiB to `path` (8 MiB are seen at least)."""
    return [sys.executable, '-I', '-S', '-c', LAUNCHER, path] + command


def run_into_pipe(command, **streams):
    """Run a command that writes less than a pipe holds; nobody else has to be woken to read it."""
    reader, writer = os.pipe()
    try:
        return run(command, stdout=writer, **streams)
    finally:
        os.close(reader)
        os.close(writer)


class Idle(object):
    """So many processes that do nothing, for the length of a with block."""

    def __init__(self, count):
        self._count = count
        self._pids = []

    def __enter__(self):
        sleep = which('sleep')
        try:
            for _ in range(self._count):
                self._pids.append(spawn([sleep, '3600']))
        except BaseException:
            self.__exit__()
            raise
        if self._pids:
            time.sleep(0.3)                              # let their starts be over
        return self._pids

    def __exit__(self, *_):
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self._pids:
            os.waitpid(pid, 0)
        self._pids = []


def which(name):
    path = shutil.which(name)
    if path is None:
        raise RuntimeError('needs %s in PATH' % name)
    return path


def result_of(lab, name, *arguments):
    """Run a script under the runner and return the metrics of its result."""
    path = lab.path('result.json')
    run(watched(name, *arguments, options=['--json-output', path]), history=lab.history(200))
    with open(path) as file:
        return json.load(file)['metrics']


def spread(values, form='%.2f', unit=''):
    """Return the median with the quartiles, as text."""
    values = sorted(values)
    if len(values) < 2:
        return form % values[0] + unit
    low, middle, high = statistics.quantiles(values, n=4, method='inclusive')
    return '%s%s (%s … %s)' % (form % middle, unit, form % low, form % high)


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * percent / 100.0))]


# ======================================================================================================
# Benchmarks: each returns rows of (what, target, measured, how)
# ======================================================================================================

def startup(lab):
    history, alone, ours = lab.history(200), [], []
    contestants = ((bare('hi.py'), alone), (watched('hi.py'), ours))
    for command, _ in contestants:
        run_into_pipe(command, history=history)          # byte code and page cache
    for _ in lab.rounds(80, 20):
        for command, walls in contestants:
            walls.append(run_into_pipe(command, history=history).wall)
    return [('`print("hi")`, wall, × bare python', '≤ 3.5',
             '%s: %.1f ms for %.1f' % (spread([b / a for a, b in zip(alone, ours)], unit=' ×'), 1e3 * statistics.median(ours),
                                       1e3 * statistics.median(alone)),
             'posix_spawn to exit, history of 200 runs, stdout a pipe, stderr /dev/null; %d rounds' % len(ours))]


def sample(lab):
    def per_sample(sampler, count):
        began = time.perf_counter()
        for _ in range(count):
            sampler.sample()
        return 1e6 * (time.perf_counter() - began) / count

    counts, times = (0, 400), {0: [], 400: []}
    with Idle(1) as (pid,):
        sampler = runner.choose_sampler()(pid)
        sampler.SLOW_EVERY = 0.0                  # every sample with all its parts, as at ten a second
        try:
            per_sample(sampler, 1000)
            for _ in lab.rounds(7, 3):
                for count in counts:
                    with Idle(count):
                        times[count] += [per_sample(sampler, 1000) for _ in range(5)]
        finally:
            sampler.close()
    how = '%s.sample(), %d batches of 1,000, wall' % (type(sampler).__name__, len(times[0]))
    return [('one sample of a one-process tree', '≤ 15 µs', spread(times[0], '%.1f', ' µs'), how),
            ('… with 400 idle processes beside', '≤ 15 µs', spread(times[400], '%.1f', ' µs'), how)]


def supervisor(lab):
    history = lab.history(200)
    short, long = (1.0, 4.0) if lab.quick else (4.0, 12.0)
    shares = {0: [], 400: []}
    run(watched('nap.py', 0), history=history)
    for _ in lab.rounds(3, 1):
        for count in (0, 400):
            with Idle(count):
                began = time.perf_counter()
                # Side by side: both sleep nearly all the time, and the clock of a process counts nobody else's work.
                pids = [spawn(watched('nap.py', seconds), history=history) for seconds in (short, long)]
                first, second = [collect(pid, began) for pid in pids]
            if first.cpu is None or second.cpu is None:
                raise RuntimeError('no CPU clock of another process here')
            shares[count].append(100.0 * (second.cpu - first.cpu) / (long - short))
    how = 'CPU clock of the runner at its end, run of %g s less one of %g s; history on; %d rounds' % (
        long, short, len(shares[0]))
    return [('supervisor at 10 Hz, % of one core, start-up aside', '≤ 0.3 %', spread(shares[0], unit=' %'), how),
            ('… with 400 idle processes beside', '≤ 0.3 %', spread(shares[400], unit=' %'), how)]


def khz(lab):
    def measure(what, interval, seconds):
        words = subprocess.run([sys.executable, os.path.join(HERE, 'khz.py'), str(what), str(interval), str(seconds)],
                               check=True, stdout=subprocess.PIPE).stdout.split()
        return [float(word) for word in words]

    values, shares, empty, rates = [], [], [], []
    seconds = 1.0 if lab.quick else 2.5
    with Idle(1) as (pid,):
        for _ in lab.rounds(5, 3):
            _, _, samples, cpu = measure(pid, 1e-6, 0.5)
            values.append(1e6 * cpu / samples / len(runner.SAMPLE_FIELDS))
            used, took = measure('empty', 0.001, seconds)
            empty.append(100.0 * used / took)
            used, took, samples, _ = measure(pid, 0.001, seconds)
            shares.append(100.0 * used / took)
            rates.append(samples / took)
    return [('one metric value', '≤ 2 µs', spread(values, unit=' µs'),
             'ProcessMonitor back to back for 0.5 s: CPU of its thread / samples / %d fields' % len(runner.SAMPLE_FIELDS)),
            ('monitor at 1 kHz, points of a core above an empty loop', '≤ 2',
             '%s: %.1f %% for %.1f' % (spread([b - a for a, b in zip(empty, shares)], unit=' points'), statistics.median(shares),
                                       statistics.median(empty)),
             'each alone in a process, %g s, %.0f samples/s; the empty loop waits for a lock likewise' % (
                 seconds, statistics.median(rates)))]


def duration(lab):
    alone, ours = [], []
    result_of(lab, 'short.py')
    run(bare('short.py'))
    for _ in lab.rounds(21, 7):
        alone.append(run(bare('short.py')).wall)
        ours.append(result_of(lab, 'short.py')['execution_time_seconds'])
    return [('`execution_time_seconds` less the bare wall', 'within 2 ms',
             spread([1e3 * (b - a) for a, b in zip(alone, ours)], '%+.2f', ' ms'),
             'script of %.0f ms; bare: posix_spawn to exit; %d rounds' % (1e3 * statistics.median(alone), len(ours)))]


def output(lab):
    size = 512
    history, cat = lab.history(200), which('cat')

    def into_cat(command):
        reader, writer = os.pipe()
        began = time.perf_counter()
        first = spawn(command, stdout=writer, history=history)
        second = spawn([cat], stdin=reader)
        os.close(reader)
        os.close(writer)
        ended = collect(first, began)
        ended.wall = collect(second, began).wall
        return ended

    path = lab.path('flow')
    ours = watched('flood.py', size, path, options=['--quiet'])
    forms = {'cat': lambda: into_cat(bare('flood.py', size, path)), 'instead': lambda: run(ours, history=history),
             'before': lambda: into_cat(ours)}
    # A pair on one CPU hands its pipe over some 8 times faster than a pair on two CPUs that fall idle in between. Which of
    # the two happens is the scheduler's mood, and cat's small pipe suffers far more: left free, the ratio says little.
    everywhere = os.sched_getaffinity(0)
    places = {'one': {min(everywhere)}, 'free': everywhere}
    keys = [(place, name) for place in places for name in forms]
    walls, flows, peaks = {key: [] for key in keys}, {key: [] for key in keys}, []
    largest = lab.path('peak')
    try:
        for number in range(1 + len(lab.rounds(9, 3))):
            for place, name in keys:
                os.sched_setaffinity(0, places[place])   # the contestants inherit it
                ended = forms[name]()
                if number:                               # the first round warms up
                    walls[place, name].append(ended.wall)
                    flows[place, name].append(told(path))
            run(launched(ours, largest), history=history)
            peaks.append(told(largest))
    finally:
        os.sched_setaffinity(0, everywhere)

    def ratio(times, place, name):
        alone, with_us = times[place, 'cat'], times[place, name]
        return '%s: %.0f ms for %.0f' % (spread([a / b for a, b in zip(alone, with_us)], unit=' ×'),
                                         1e3 * statistics.median(with_us), 1e3 * statistics.median(alone))

    how = 'time that the script takes for its writes, lines of 128 bytes, %d rounds' % len(flows[keys[0]])
    return [('%d MiB of output, throughput × `script | cat`, all on one CPU' % size, '≥ 0.9 ×', ratio(flows, 'one', 'instead'),
             'the runner in the place of cat, both write to /dev/null; ' + how),
            ('… on any CPU', '≥ 0.9 ×', ratio(flows, 'free', 'instead'),
             'the same; depends on where the scheduler puts cat (%.0f … %.0f ms), do not rely on it' % (
                 1e3 * min(flows['free', 'cat']), 1e3 * max(flows['free', 'cat']))),
            ('… `runner script | cat`, all on one CPU', '—', ratio(flows, 'one', 'before'),
             'the runner between script and cat: one process and one copy more'),
            ('… wall, start-up included, all on one CPU', '—', ratio(walls, 'one', 'instead'), 'the first form'),
            ('… peak memory of the runner', '≤ 40 MiB', spread(peaks, '%.1f', ' MiB'), 'ru_maxrss')]


def record(lab):
    counts = (0, lab.many)
    with runner.HistoryManager(lab.path('empty.db')) as manager, manager.get_connection() as connection:
        connection.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchall()
    empty, full = os.path.getsize(lab.path('empty.db')), os.path.getsize(lab.history(lab.many))
    paths = {0: lab.path('empty.db'), lab.many: lab.path('record.db')}
    shutil.copy(lab.history(lab.many), paths[lab.many])
    times = {count: [] for count in counts}
    managers = {count: runner.HistoryManager(paths[count]) for count in counts}
    try:
        for number in range(10 + len(lab.rounds(1000, 300))):
            for count in counts:
                new = records.make_run(time.time())
                began = time.perf_counter()
                managers[count].save_execution(**new)
                if number >= 10:
                    times[count].append(1e3 * (time.perf_counter() - began))
    finally:
        for manager in managers.values():
            manager.close()
    rows = [('record a run, %s runs in the file' % format(count, ','), '≤ 1 ms',
             '%s, p99 %.2f' % (spread(times[count], unit=' ms'), percentile(times[count], 99)),
             'save_execution with all metrics, connection open, %d in turns' % len(times[count])) for count in counts]
    return rows + [('… bytes per run without samples', '≤ 1 KB', '%.0f bytes' % ((full - empty) / float(lab.many)),
                    'file of %s runs less an empty one, indexes included' % format(lab.many, ','))]


def writers(lab):
    processes, each = 32, 10
    path = lab.path('writers.db')
    shutil.copy(lab.history(200), path)
    worst, middle, longest, lost = [], [], [], 0
    for _ in lab.rounds(7, 2):
        before = count_runs(path)
        crowd = []
        reader, gate = os.pipe()
        try:
            for number in range(processes):
                command = [sys.executable, os.path.join(HERE, 'writer.py'), path, str(each), lab.path('scratch-%d.db' % number)]
                crowd.append(subprocess.Popen(command, stdin=reader, stdout=subprocess.PIPE, universal_newlines=True))
            for process in crowd:
                process.stdout.readline()
        finally:
            os.close(reader)
            os.close(gate)
        times = [float(line) for process in crowd for line in process.communicate()[0].split()]
        if any(process.returncode for process in crowd):
            raise RuntimeError('a writer failed')
        worst.append(1e3 * percentile(times, 99))
        middle.append(1e3 * statistics.median(times))
        longest.append(1e3 * max(times))
        lost += processes * each - (count_runs(path) - before)
    return [('%d writers at once, p99 of one save' % processes, '≤ 100 ms, nothing lost',
             '%s, %s lost' % (spread(worst, '%.0f', ' ms'), lost or 'nothing'),
             '%d × %d save_execution, modules loaded and file open; median save %.2f ms, longest %.0f; %d rounds' % (
                 processes, each, statistics.median(middle), max(longest), len(worst)))]


def count_runs(path):
    with runner.HistoryManager(path) as manager:
        return manager.get_database_stats()['runs']


def history_verbs(lab):
    history, version, listing = lab.history(lab.many), [], []
    contestants = (([sys.executable, '-m', 'runner', '--version'], version),
                   ([sys.executable, '-m', 'runner', 'history', '--limit', '20'], listing))
    for command, _ in contestants:
        run(command, history=history)
    for _ in lab.rounds(25, 7):
        for command, walls in contestants:
            walls.append(run(command, history=history).wall)
    return [('`history --limit 20` of %s runs, wall, × `--version`' % format(lab.many, ','), '—',
             '%s: %.1f ms for %.1f' % (spread([b / a for a, b in zip(version, listing)], unit=' ×'),
                                       1e3 * statistics.median(listing), 1e3 * statistics.median(version)),
             'posix_spawn to exit, %d rounds' % len(listing))]


def queries(lab):
    path = lab.history(lab.many)
    rows = []
    out = subprocess.run([sys.executable, os.path.join(HERE, 'queries.py'), path, str(len(lab.rounds(15, 5))), lab.folder],
                         check=True, stdout=subprocess.PIPE).stdout
    for what, target, unit, how, times in json.loads(out.decode('utf-8')):
        rows.append(('%s, %s runs in the file' % (what, format(lab.many, ',')), target, spread(times, '%.1f', unit), how))
    return rows


def peak(lab):
    ratios = []
    for _ in lab.rounds(7, 5):
        found = result_of(lab, 'peak.py', lab.path('truth'))['memory_max_mb']
        ratios.append(found / told(lab.path('truth')))
    right = sum(abs(ratio - 1.0) <= 0.05 for ratio in ratios)
    return [('300 MiB held for 50 ms: runs with the right peak', 'all',
             '%d of %d: %s' % (right, len(ratios), spread(ratios, '%.3f', ' ×')),
             'memory_max_mb within 5 % of the VmHWM that the script read of itself')]


def children(lab):
    ratios = []
    for _ in lab.rounds(5, 2):
        found = result_of(lab, 'children.py', lab.path('truth'))
        ratios.append((found['user_time'] + found['system_time']) / told(lab.path('truth')))
    return [('CPU of 200 children of 5 ms, × truth', 'exact', spread(ratios, '%.3f', ' ×'),
             'user_time + system_time / getrusage in the script, children waited for; %d rounds' % len(ratios))]


def trends(lab):
    analyzer, rows = runner.TrendAnalyzer(), []
    for name, n, target in (('calculate_linear_regression', 10000, '≤ 10 ms'), ('calculate_linear_regression', 200, '≤ 5 ms'),
                            ('detect_change_points', 200, '≤ 5 ms'), ('detect_regression', 200, '≤ 5 ms')):
        values, times = calibration.normal(random.Random(n), n), []
        for _ in lab.rounds(50, 15):
            began = time.perf_counter()
            getattr(analyzer, name)(values)
            times.append(1e3 * (time.perf_counter() - began))
        rows.append(('%s of %s values' % (name, format(n, ',')), target, spread(times, unit=' ms'),
                     'normal noise, %d times' % len(times)))
    return rows


def false_claims(lab):
    seeds, rows = lab.rounds(200, 50), []
    for noise in calibration.NOISES:
        shares = []
        for n in (30, 60, 200):
            verdicts = [calibration.judge((noise, n, seed)) for seed in seeds]
            shares.append('/'.join('%.1f' % (100.0 * sum(column) / len(seeds)) for column in zip(*verdicts)))
        rows.append(('claimed of stationary series, %s' % noise, '≤ 3 %' if noise.startswith('AR(1)') else '≤ 1 %',
                     '%s %%' % ', '.join(shares),
                     'trend/step/regression, of %d series each of 30, 60, 200 values; benchmarks/calibration.py has the whole '
                     'table' % len(seeds)))
    return rows


def told(path):
    """Return the number that a script wrote to a file."""
    with open(path) as file:
        return float(file.read())


BENCHMARKS = {
    'startup': startup, 'sample': sample, 'supervisor': supervisor, 'khz': khz, 'duration': duration, 'output': output,
    'record': record, 'writers': writers, 'history-verbs': history_verbs, 'queries': queries, 'peak': peak, 'children': children,
    'trends': trends, 'false-claims': false_claims}


# ======================================================================================================
# The table
# ======================================================================================================

def machine_line(before):
    import sqlite3
    return '%s %s %s, %d CPUs, %s %s, SQLite %s, runner %s (%s), load %.1f before and %.1f after, %s' % (
        platform.system(), platform.release(), platform.machine(), os.cpu_count() or 1, platform.python_implementation(),
        platform.python_version(), sqlite3.sqlite_version, runner.__version__, runner.__file__, before, os.getloadavg()[0],
        time.strftime('%Y-%m-%d %H:%M:%S %z'))


def print_row(*cells):
    print('| %s |' % ' | '.join(cell.replace('|', '\\|') for cell in cells), flush=True)


def read_options(parser, known, what):
    """Return the options of this call; names that are not known, and no rounds, end it with a sentence."""
    options = parser.parse_args()
    for name in options.names:
        if name not in known:
            parser.error('%s: no such %s; there are %s' % (name, what, ', '.join(known)))
    if options.rounds is not None and options.rounds < 1:
        parser.error('--rounds %d: at least 1' % options.rounds)
    return options


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('names', nargs='*', metavar='NAME', help='what to measure (default: all): ' + ', '.join(BENCHMARKS))
    parser.add_argument('--rounds', type=int, metavar='N', help='rounds of every benchmark (default: each its own number)')
    parser.add_argument('--quick', action='store_true', help='fewer rounds, shorter runs, a smaller history; under a minute')
    options = read_options(parser, BENCHMARKS, 'benchmark')
    crashed = False
    before = os.getloadavg()[0]
    folder = tempfile.mkdtemp(prefix='script-runner-bench-')
    try:
        lab = Lab(folder, options.rounds, options.quick)
        print_row('what', 'target', 'measured: median (quartiles)', 'how')
        print_row(*['---'] * 4)
        for name in options.names or BENCHMARKS:
            began = time.monotonic()
            try:
                for what, target, measured, how in BENCHMARKS[name](lab):
                    print_row(what, target, measured, how)
            except Exception as error:
                crashed = True
                traceback.print_exc()
                print_row('[%s]' % name, '', 'crashed: %s' % error, '')
            if sys.stderr.isatty():
                sys.stderr.write('[%s took %.1f s]\n' % (name, time.monotonic() - began))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print('\n%s. %s' % (machine_line(before), 'What else the machine does makes single figures noisy; the ratios less so.'))
    return 1 if crashed else 0


if __name__ == '__main__':
    sys.exit(main())
