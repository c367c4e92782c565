#!/usr/bin/env python3
"""Measure this runner and other tools side by side; print a Markdown table and write it, with a plot, to benchmarks/results/.

    python benchmarks/peers.py                  # everything, some thirteen minutes
    python benchmarks/peers.py --quick          # roughly, some two minutes; 64 MiB of output instead of 512
    python benchmarks/peers.py startup peak     # some
    python benchmarks/peers.py --no-results     # only print

Each tool comes from the package index into an environment of its own under .venvs/peers, made here at the first call;
/usr/bin/time is the package `time` of the system. All of them, and the bare script, take turns in every round (A B C … A B C …),
so that what else the machine does hits all alike; ratios and differences are taken within a round, and the median is shown with
its quartiles. What a tool says is read from its own output. "–" stands where it cannot do a case, with a footnote. Figures are
printed, never judged. Needs Linux.
"""
import argparse
import gzip
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import run as bench

ROOT = os.path.dirname(bench.HERE)
PEERS = os.path.join(ROOT, '.venvs', 'peers')


class Unable(Exception):
    """A tool cannot do a case; the text is the footnote."""


# ======================================================================================================
# The tools: how each is called to look ten times a second, and what its own output says
# ======================================================================================================

class Tool(object):
    """What stands between a script and its measurement. `told` reads {'seconds', 'cpu', 'peak'} after a run; a key that the
    tool has nothing for is in `lacks`, with the reason."""
    name = package = ''
    carries_output = True
    lacks = {}

    def __init__(self, folder):
        self.folder = os.path.join(folder, self.name.replace('/', '_') or 'bare')
        os.mkdir(self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def program(self, name):
        return os.path.join(PEERS, self.package.partition('=')[0], 'bin', name)

    def prepare(self):
        """Install the tool where it is missing; return its version."""
        home = os.path.join(PEERS, self.package.partition('=')[0])
        if not os.path.exists(os.path.join(home, '.made')):
            shutil.rmtree(home, ignore_errors=True)
            subprocess.run([sys.executable, '-m', 'venv', home], check=True)
            subprocess.run([os.path.join(home, 'bin', 'python'), '-m', 'pip', '--disable-pip-version-check', '--quiet', 'install',
                            self.package], check=True)
            open(os.path.join(home, '.made'), 'w').close()
        name = self.package.partition('=')[0]
        text = subprocess.run([os.path.join(home, 'bin', 'python'), '-m', 'pip', '--disable-pip-version-check', 'show', name],
                              check=True, stdout=subprocess.PIPE, text=True).stdout
        return re.search(r'^Version: (.+)$', text, re.M).group(1)

    def clean(self):
        """Forget the run before."""
        for name in os.listdir(self.folder):
            if not name.startswith('kept'):
                os.unlink(self.path(name))

    def read(self, name):
        with open(self.path(name), encoding='utf-8', errors='replace') as file:
            return file.read()


class Bare(Tool):
    name = ''

    def prepare(self):
        return ''

    def command(self, words):
        return [sys.executable] + words


class Ours(Tool):
    name = 'this runner'

    def prepare(self):
        return bench.runner.__version__

    def command(self, words):
        return [sys.executable, '-m', 'runner', '--quiet', '--json-output', self.path('result.json')] + words

    def told(self):
        metrics = json.loads(self.read('result.json'))['metrics']
        return {'seconds': metrics['execution_time_seconds'], 'cpu': metrics['user_time'] + metrics['system_time'],
                'peak': metrics['memory_max_mb']}


class ConDuct(Tool):
    name = package = 'con-duct'

    def command(self, words):
        return [self.program('con-duct'), 'run', '-l', 'NONE', '-p', self.path('log_'), '--s-i', '0.1', '--r-i', '1.0',
                sys.executable] + words

    def told(self):
        summary = json.loads(self.read('log_info.json'))['execution_summary']
        return {'seconds': summary['wall_clock_time'], 'cpu': summary['average_pcpu'] * summary['wall_clock_time'] / 100.0,
                'peak': summary['peak_rss'] / bench.MIB}


class PsRecord(Tool):
    name = package = 'psrecord'
    carries_output = False

    def command(self, words):
        return [self.program('psrecord'), ' '.join(shlex.quote(word) for word in [sys.executable] + words), '--interval', '0.1',
                '--include-children', '--log', self.path('log')]

    def told(self):
        rows = [[float(word) for word in line.split()] for line in self.read('log').splitlines()
                if line.strip() and line[:1] != '#']
        finished = re.search(r'\(([0-9.]+) seconds\)', self.read('stdout'))
        cpu = sum(row[1] * (row[0] - before[0]) for before, row in zip([[0.0]] + rows, rows)) / 100.0
        return {'seconds': float(finished.group(1)) if finished else None, 'cpu': cpu,
                'peak': max([row[2] for row in rows] or [0.0])}


class MemoryProfiler(Tool):
    name = package = 'memory-profiler'
    carries_output = False
    lacks = {'cpu': 'memory-profiler measures memory only',
             'seconds': 'memory-profiler has no duration, only times of its samples'}

    def command(self, words):
        return [self.program('mprof'), 'run', '-C', '-T', '0.1', '--nopython', '-o', self.path('log'), sys.executable] + words

    def told(self):
        lines = [line.split() for line in self.read('log').splitlines() if line.startswith('MEM ')]
        return {'peak': max([float(words[1]) for words in lines] or [0.0])}


class ScriptRunner7(Tool):
    name = 'python-script-runner 7.5.0'
    package = 'python-script-runner==7.5.0'

    def command(self, words):
        return [self.program('python-script-runner'), '--monitor-interval', '0.1', '--history-db', self.path('kept.db'),
                '--json-output', self.path('result.json')] + words

    def told(self):
        with gzip.open(self.path('result.json.gz'), 'rt', encoding='utf-8') as file:
            metrics = json.load(file)
        return {'seconds': metrics['execution_time_seconds'],
                'cpu': metrics['user_time_seconds'] + metrics['system_time_seconds'], 'peak': metrics['memory_max_mb']}


class GnuTime(Tool):
    name = '/usr/bin/time'
    carries_output = False

    def prepare(self):
        if not os.path.exists('/usr/bin/time'):
            raise Unable('/usr/bin/time is not installed (apt-get install time)')
        out = subprocess.run(['/usr/bin/time', '--version'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True)
        return (re.findall(r'\d+\.\d+[.\d]*', out.stdout) or [''])[0]

    def command(self, words):
        return ['/usr/bin/time', '-f', '%e %U %S %M', '-o', self.path('log'), sys.executable] + words

    def told(self):
        seconds, user, system, peak = [float(word) for word in self.read('log').split()]
        return {'seconds': seconds, 'cpu': user + system, 'peak': peak / 1024.0}


TOOLS = (Bare, Ours, GnuTime, ConDuct, PsRecord, MemoryProfiler, ScriptRunner7)


class Run(object):
    """One run from outside: wall seconds, CPU seconds of the tool and all that it waited for."""

    def __init__(self, wall, cpu):
        self.wall = wall
        self.cpu = cpu


class Stage(object):
    """The tools that are there, the place where they work, and the footnotes that come together."""

    def __init__(self, lab):
        self.lab = lab
        self.tools, self.versions, self.notes = [], {}, []
        for kind in TOOLS:
            tool = kind(lab.folder)
            try:
                self.versions[tool.name] = tool.prepare()
                self.tools.append(tool)
            except (Unable, subprocess.CalledProcessError) as error:
                self.footnote('%s: %s' % (tool.name, error))

    def mark(self, text):
        """Return the mark of a footnote."""
        if text not in self.notes:
            self.notes.append(text)
        return '[%d]' % (self.notes.index(text) + 1)

    def footnote(self, text):
        """Return what stands in the place of a figure that a tool does not have."""
        return '– ' + self.mark(text)

    def start(self, tool, words):
        tool.clean()
        open(tool.path('stdout'), 'w').close()
        return bench.spawn(tool.command(words), stdout=tool.path('stdout'), history=self.lab.history(200))

    def finish(self, pid, began, tool):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        ended = time.perf_counter()
        _, status, usage = os.wait4(pid, 0)
        if status:
            raise RuntimeError('%s ended with wait status %d' % (tool.name or 'the bare script', status))
        return Run(ended - began, usage.ru_utime + usage.ru_stime)

    def run(self, tool, words):
        began = time.perf_counter()
        return self.finish(self.start(tool, words), began, tool)

    def rounds(self, usual, quick):
        """Go through the tools, once to warm up and then as often as told: yields (round, tool), round 0 being no measurement."""
        for number in [0] + [n + 1 for n in self.lab.rounds(usual, quick)]:
            for tool in self.tools:
                yield number, tool


def spread(values, form='%.2f'):
    """Return median and quartiles as a short text."""
    values = sorted(values)
    if len(values) < 2:
        return form % values[0]
    low, middle, high = statistics.quantiles(values, n=4, method='inclusive')
    return '%s (%s–%s)' % (form % middle, form % low, form % high)


# ======================================================================================================
# Cases: each returns (title, {tool: text}, {tool: number for the plot}, unit)
# ======================================================================================================

def startup(stage):
    walls = {}
    words = [bench.script('hi.py')]
    for number, tool in stage.rounds(25, 7):
        wall = stage.run(tool, words).wall
        if number:
            walls.setdefault(tool.name, []).append(wall)
    ratios = {name: [b / a for a, b in zip(walls[''], values)] for name, values in walls.items()}
    cells = {name: spread(values) for name, values in ratios.items()}
    cells[''] = '1 (%.0f ms)' % (1e3 * statistics.median(walls['']))
    return [('`print("hi")`: wall, × bare', cells, {name: statistics.median(values) for name, values in ratios.items()}, '×')]


def supervisor(stage):
    rows = []
    short, long = (1.0, 4.0) if stage.lab.quick else (2.0, 8.0)
    for idle, title in ((0, 'supervisor at 10 Hz: % of one core'), (400, '… with 400 idle processes beside it')):
        shares = {}
        with bench.Idle(idle):
            for number, tool in stage.rounds(5, 2):
                if number == 0 or tool.name in ('', '/usr/bin/time'):
                    continue
                used = [stage.run(tool, [bench.script('nap.py'), str(seconds)]).cpu for seconds in (short, long)]
                shares.setdefault(tool.name, []).append(100.0 * (used[1] - used[0]) / (long - short))
        cells = {name: spread(values) for name, values in shares.items()}
        cells.update({'': '0', '/usr/bin/time': stage.footnote(
            '/usr/bin/time does not look while the script runs, and so costs nothing then')})
        if ScriptRunner7.name in cells:
            cells[ScriptRunner7.name] += ' ' + stage.mark(
                'python-script-runner 7.5.0 looks ever less often while nothing changes, down to once a second')
        rows.append((title, cells, {name: statistics.median(values) for name, values in shares.items()}, '%'))
    return rows


def told_case(stage, words, key, usual, quick, truth_of):
    """Run a script that writes the truth to a file; return {tool: [what the tool says / truth]}, and why a tool says nothing."""
    found, unable = {}, {}
    for number, tool in stage.rounds(usual, quick):
        truth = stage.lab.path('truth')
        if tool.name == '' or key in tool.lacks or number == 0:
            if key in tool.lacks:
                unable[tool.name] = tool.lacks[key]
            continue
        stage.run(tool, words + [truth])
        found.setdefault(tool.name, []).append(tool.told()[key] / truth_of(truth))
    return found, unable


def peak(stage):
    found, unable = told_case(stage, [bench.script('peak.py')], 'peak', 15, 5, bench.told)
    right = {name: sum(abs(ratio - 1.0) <= 0.05 for ratio in ratios) for name, ratios in found.items()}
    cells = {name: '%d of %d' % (right[name], len(ratios)) for name, ratios in found.items()}
    cells.update({name: stage.footnote(text) for name, text in unable.items()}, **{'': '(truth)'})
    if ScriptRunner7.name in cells:
        cells[ScriptRunner7.name] += ' ' + stage.mark(
            'python-script-runner 7.5.0: its `memory_max_mb`, which its report shows; it also stores a `max_memory_mb` that it '
            'has from the kernel')
    shares = {name: 100.0 * right[name] / len(ratios) for name, ratios in found.items()}
    return [('300 MiB held for 50 ms: runs with the right peak (within 5 %)', cells, shares, '%')]


def children(stage):
    rows = []
    for name, title in (('children.py', 'CPU of 200 children of 5 ms: told / true'),
                        ('pool.py', 'CPU of a Pool of two: told / true')):
        found, unable = told_case(stage, [bench.script(name)], 'cpu', 5, 2, bench.told)
        cells = {tool: spread(ratios) for tool, ratios in found.items()}
        cells.update({tool: stage.footnote(text) for tool, text in unable.items()}, **{'': '1 (truth)'})
        rows.append((title, cells, {tool: statistics.median(ratios) for tool, ratios in found.items()}, '×'))
    for _, cells, _, _ in rows:
        for name in ('con-duct', 'psrecord'):
            if name in cells:
                cells[name] += ' ' + stage.mark('no CPU seconds there; its percentages times its time were taken')
    return rows


def duration(stage):
    walls, told, unable = [], {}, {}
    for number, tool in stage.rounds(15, 5):
        if tool.lacks.get('seconds'):
            unable[tool.name] = tool.lacks['seconds']
            continue
        wall = stage.run(tool, [bench.script('short.py')]).wall
        if number == 0:
            continue
        if tool.name == '':
            walls.append(wall)
            continue
        said = tool.told()['seconds']
        if said is not None:
            told.setdefault(tool.name, []).append(1e3 * (said - walls[-1]))
    cells = {name: spread(values, '%+.1f') for name, values in told.items()}
    cells.update({name: stage.footnote(text) for name, text in unable.items()})
    cells[''] = '0 (%.0f ms)' % (1e3 * statistics.median(walls))
    return [('duration told less the bare wall, ms', cells, {name: statistics.median(v) for name, v in told.items()}, 'ms')]


def output(stage):
    size = 64 if stage.lab.quick else 512
    truth, largest, cat = stage.lab.path('flow'), stage.lab.path('peak'), bench.which('cat')
    words = [bench.script('flood.py'), str(size), truth]
    flows, peaks = {}, {}
    for number, tool in stage.rounds(3, 2):
        if tool.name and not tool.carries_output:
            continue
        tool.clean()
        began = time.perf_counter()
        if tool.name == '':
            reader, writer = os.pipe()
            pid = bench.spawn(bench.launched(tool.command(words), largest), stdout=writer)
            other = bench.spawn([cat], stdin=reader)
            os.close(reader)
            os.close(writer)
            os.waitpid(other, 0)
        else:
            pid = bench.spawn(bench.launched(tool.command(words), largest), history=stage.lab.history(200))
        stage.finish(pid, began, tool)
        if number:
            flows.setdefault(tool.name, []).append(bench.told(truth))
            peaks.setdefault(tool.name, []).append(bench.told(largest))
        tool.clean()
    ratios = {name: [a / b for a, b in zip(flows[''], values)] for name, values in flows.items()}
    cells = {name: spread(values) for name, values in ratios.items()}
    sizes = {name: '%.0f' % statistics.median(values) for name, values in peaks.items()}
    cells[''] = '1 (%.0f ms)' % (1e3 * statistics.median(flows['']))
    if 'con-duct' in cells:
        cells['con-duct'] += ' ' + stage.mark(
            'con-duct lets the script write into a file and reads that; nothing holds the script up')
    sizes[''] = '(%s)' % sizes['']
    for tool in stage.tools:
        if tool.name and not tool.carries_output:
            cells[tool.name] = sizes[tool.name] = stage.footnote(
                '%s lets the script write past it: nothing of the output is counted or kept' % tool.name)
    return [('%d MiB of output: throughput, × `script \\| cat`' % size, cells,
             {name: statistics.median(values) for name, values in ratios.items()}, '×'),
            ('… peak memory of the tool, MiB', sizes, {name: statistics.median(values) for name, values in peaks.items()}, 'MiB')]


CASES = {'startup': startup, 'supervisor': supervisor, 'peak': peak, 'children': children, 'duration': duration, 'output': output}


# ======================================================================================================
# Table and plot
# ======================================================================================================

def table(stage, rows):
    """Return the Markdown table with its footnotes."""
    names = [tool.name for tool in stage.tools]
    heads = ['bare script' if not name else name if name.endswith(stage.versions[name])
             else ('%s %s' % (name, stage.versions[name])).strip() for name in names]
    lines = ['| | %s |' % ' | '.join(heads), '|---|%s' % ('---|' * len(names))]
    lines += ['| %s | %s |' % (title, ' | '.join(cells.get(name, '–') for name in names)) for title, cells, _, _ in rows]
    return '\n'.join(lines) + '\n\n' + '\n'.join('%d. %s.' % (number, text) for number, text in enumerate(stage.notes, 1)) + '\n'


def plot(stage, rows, caption):
    """Return an SVG: a panel for each case, in it a bar for each tool, of the medians; each panel has its own scale."""
    names = [tool.name for tool in stage.tools if tool.name]
    panel, width = 34 + 16 * len(names), 760
    height = 40 + panel * len(rows)
    escape = bench.runner._escape_markup
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11" role="img">' % (
        width, height), '<title>%s</title><rect width="100%%" height="100%%" fill="#fff"/>' % escape(caption),
        '<text x="8" y="18" font-size="10" fill="#444">%s</text>' % escape(caption)]
    for index, (title, _, numbers, unit) in enumerate(rows):
        top = 40 + index * panel
        parts.append('<text x="8" y="%d" font-weight="bold" fill="#222">%s</text>' % (
            top, escape(title.replace('`', '').replace('\\|', '|'))))
        largest = max([abs(numbers[name]) for name in names if name in numbers] or [1.0]) or 1.0
        for line, name in enumerate(names):
            y = top + 8 + 16 * line
            parts.append('<text x="190" y="%d" text-anchor="end" fill="#222">%s</text>' % (y + 10, escape(name)))
            if name not in numbers:
                parts.append('<text x="198" y="%d" fill="#666">–</text>' % (y + 10))
                continue
            length = max(1.0, 460.0 * abs(numbers[name]) / largest)
            parts.append('<rect x="196" y="%d" width="%.1f" height="12" fill="%s"/>'
                         '<text x="%.1f" y="%d" fill="#222">%.4g %s</text>' % (
                y, length, '#1f6f5c' if name == Ours.name else '#9aa5b1', 202 + length, y + 10, numbers[name], escape(unit)))
    return '\n'.join(parts + ['</svg>', ''])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('names', nargs='*', metavar='NAME', help='what to measure (default: all): ' + ', '.join(CASES))
    parser.add_argument('--rounds', type=int, metavar='N', help='rounds of every case (default: each its own number)')
    parser.add_argument('--quick', action='store_true', help='fewer rounds, shorter runs, less output')
    parser.add_argument('--no-results', action='store_true', help='write nothing to benchmarks/results')
    options = bench.read_options(parser, CASES, 'case')
    before = os.getloadavg()[0]
    folder = tempfile.mkdtemp(prefix='script-runner-peers-')
    rows, failed = [], False
    try:
        stage = Stage(bench.Lab(folder, options.rounds, options.quick))
        for name in options.names or CASES:
            began = time.monotonic()
            try:
                rows += CASES[name](stage)
            except Exception as error:
                failed = True
                bench.traceback.print_exc()
                rows.append(('[%s] crashed: %s' % (name, error), {}, {}, ''))
            sys.stderr.write('[%s took %.0f s]\n' % (name, time.monotonic() - began))
        words = [word for word in sys.argv[1:] if word != '--no-results']
        text = '%s\n%s. Medians (quartiles). Command: `%s`\n' % (table(stage, rows), bench.machine_line(before), ' '.join(
            ['python benchmarks/peers.py'] + words))
        print(text)
        if not options.no_results:
            place = os.path.join(bench.HERE, 'results')
            os.makedirs(place, exist_ok=True)
            name = os.path.join(place, 'peers-' + time.strftime('%Y-%m-%d'))
            with open(name + '.md', 'w', encoding='utf-8') as file:
                file.write('# Against other tools\n\n' + text)
            with open(name + '.svg', 'w', encoding='utf-8') as file:
                file.write(plot(stage, rows, 'medians, %s; %s, %d CPUs' % (
                    time.strftime('%Y-%m-%d'), bench.platform.machine(), os.cpu_count() or 1)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
