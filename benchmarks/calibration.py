#!/usr/bin/env python3
"""Measure how often trend, step and regression are claimed of series that have none, and found in series that have one.

    python benchmarks/calibration.py                      # the table: 1,000 series per cell, about two minutes on two cores
    python benchmarks/calibration.py --seeds 100          # roughly
    python benchmarks/calibration.py --otava PYTHON       # apache-otava's change points beside ours; PYTHON has it installed
    python benchmarks/calibration.py --steps              # the quantiles behind runner._step_p; that PYTHON needs numpy

Every series has its own seed, so the table is the same on every machine. The noise has size 1 around 0: a change of any size is
large in percent there, and what holds the claims down is their significance alone. Figures are printed, never judged.
"""
import argparse
import importlib.util
import json
import math
import multiprocessing
import os
import random
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
if importlib.util.find_spec('runner') is None:
    sys.path.insert(1, os.path.dirname(HERE))

LENGTHS = (30, 60, 200, 500)
CLAIMS = ('trend', 'step', 'regression')


def normal(rng, n):
    return [rng.gauss(0.0, 1.0) for _ in range(n)]


def log_normal(rng, n):
    return [math.exp(rng.gauss(0.0, 1.0)) for _ in range(n)]


def heavy_tailed(rng, n):
    """Return Student's t with 3 degrees of freedom."""
    return [rng.gauss(0.0, 1.0) / math.sqrt(sum(rng.gauss(0.0, 1.0) ** 2 for _ in range(3)) / 3.0) for _ in range(n)]


def bimodal(rng, n):
    """Return two hosts in turn by chance, eight sigmas apart."""
    return [rng.gauss(8.0 if rng.random() < 0.4 else 0.0, 1.0) for _ in range(n)]


def rounded(rng, n):
    """Return few different values, as a count of megabytes has."""
    return [float(round(rng.gauss(20.0, 1.0))) for _ in range(n)]


def dependent(rng, n):
    """Return AR(1) with 0.3, after fifty values to forget how it began."""
    value, values = 0.0, []
    for _ in range(n + 50):
        value = 0.3 * value + rng.gauss(0.0, math.sqrt(1.0 - 0.09))
        values.append(value)
    return values[50:]


NOISES = {'normal': normal, 'log-normal': log_normal, 't, 3 degrees': heavy_tailed, 'bimodal': bimodal, 'rounded': rounded,
          'AR(1), 0.3': dependent}

#: What is planted: length, and (first place, last place + 1, sigmas) of each change.
PLANTED = {
    'step of 3 sigma at 25 of 50': (50, [(25, 50, 3.0)]),
    'step of 3 sigma at 10 of 50': (50, [(10, 50, 3.0)]),
    'step of 3 sigma at 40 of 50': (50, [(40, 50, 3.0)]),
    'step of 1.5 sigma at 25 of 50': (50, [(25, 50, 1.5)]),
    'step of 1.5 sigma at 15 of 50': (50, [(15, 50, 1.5)]),
    '3 sigma up at 20, down at 40 of 60': (60, [(20, 40, 3.0)]),
    '2 sigma up at 80, down at 120 of 200': (200, [(80, 120, 2.0)]),
    'stairs of 3 sigma at 25, 50, 75 of 100': (100, [(25, 100, 3.0), (50, 100, 3.0), (75, 100, 3.0)]),
    'AR(1), step of 3 sigma at 25 of 50': (50, [(25, 50, 3.0)]),
}


def planted_series(name, seed):
    n, changes = PLANTED[name]
    values = (dependent if name.startswith('AR(1)') else normal)(random.Random(seed), n)
    for start, end, size in changes:
        for i in range(start, end):
            values[i] += size
    return values


def planted_places(name):
    n, changes = PLANTED[name]
    return sorted(set(place for start, end, _ in changes for place in (start, end) if place < n))


def judge(task):
    """Return which of CLAIMS are made of one series."""
    import runner
    noise, n, seed = task
    values = NOISES[noise](random.Random(seed * 1000 + n), n)
    analyzer = runner.TrendAnalyzer()
    return (analyzer.calculate_linear_regression(values)['trend'] in ('increasing', 'decreasing'),
            bool(analyzer.detect_change_points(values)),
            analyzer.detect_regression(values)['verdict'] in ('regression', 'improvement'))


def find(task):
    """Return (found any, each place within 2 and no other) for one planted series."""
    import runner
    places = [step['index'] for step in runner.TrendAnalyzer().detect_change_points(planted_series(*task))]
    return bool(places), placed(places, planted_places(task[0]))


def placed(places, truth):
    return len(places) == len(truth) and all(abs(a - b) <= 2 for a, b in zip(places, truth))


OTAVA = '''
import json, sys
from otava.analysis import compute_change_points
for line in sys.stdin:
    found = compute_change_points(json.loads(line), window_len=50, max_pvalue=0.001)
    points = found[0] if isinstance(found, tuple) else found
    print(json.dumps([int(point.index) for point in points]), flush=True)
'''


def otava_points(python, serieses):
    """Return the change points of many series, by apache-otava at its defaults."""
    text = '\n'.join(json.dumps(values) for values in serieses)
    done = subprocess.run([python, '-c', OTAVA], input=text, stdout=subprocess.PIPE, check=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def percent(flags):
    return '%.1f %%' % (100.0 * sum(flags) / len(flags))


def print_row(*cells):
    print('| %s |' % ' | '.join(cells), flush=True)


def stationary(pool, seeds, otava):
    head = ['%s, n = %d' % (claim, n) for claim in CLAIMS + (('otava',) if otava else ()) for n in LENGTHS]
    print_row('claimed of stationary series', *head)
    print_row(*['---'] * (len(head) + 1))
    for noise in NOISES:
        verdicts = {n: pool.map(judge, [(noise, n, seed) for seed in range(seeds)], 10) for n in LENGTHS}
        cells = [percent([verdict[i] for verdict in verdicts[n]]) for i in range(len(CLAIMS)) for n in LENGTHS]
        if otava:
            cells += [percent([bool(points) for points in otava_points(
                otava, [NOISES[noise](random.Random(seed * 1000 + n), n) for seed in range(min(seeds, 200))])]) for n in LENGTHS]
        print_row(noise, *cells)


def planted(pool, seeds, otava):
    print()
    head = ['found', 'all placed within 2, no other'] + (['otava found', 'otava placed'] if otava else [])
    print_row('planted', *head)
    print_row(*['---'] * (len(head) + 1))
    for name in PLANTED:
        found = pool.map(find, [(name, seed) for seed in range(seeds)], 10)
        cells = [percent([any_found for any_found, _ in found]), percent([right for _, right in found])]
        if otava:
            points = otava_points(otava, [planted_series(name, seed) for seed in range(min(seeds, 200))])
            cells += [percent([bool(p) for p in points]), percent([placed(p, planted_places(name)) for p in points])]
        print_row(name, *cells)


def times():
    import runner
    analyzer = runner.TrendAnalyzer()
    print()
    print_row('time, median of 15', *['n = %d' % n for n in (200, 10000)])
    print_row('---', '---', '---')
    for name in ('calculate_linear_regression', 'detect_change_points', 'detect_regression'):
        cells = []
        for n in (200, 10000):
            values, walls = normal(random.Random(n), n), []
            for _ in range(15):
                began = time.perf_counter()
                getattr(analyzer, name)(values)
                walls.append(1e3 * (time.perf_counter() - began))
            cells.append('%.1f ms' % sorted(walls)[7])
        print_row(name, *cells)


QUANTILES = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.003, 0.001, 0.0005, 0.0002, 0.0001)


def step_scores(task):
    """Return quantiles of runner._best_step's score of series without a step; the same in numpy, for millions of series."""
    import numpy
    n, series = task
    rng, scores, chunk = numpy.random.default_rng(1000 + n), [], max(200, 1000000 // n)
    for _ in range(max(1, series // chunk)):
        order = rng.random((chunk, n)).argsort(1).argsort(1) - (n - 1) / 2.0     # ranks less their mean
        total = n * (n * n - 1) / 12.0
        carried = order.cumsum(1)[:, :-1]
        k = numpy.arange(1, n)
        explained = carried ** 2 * n / (k * (n - k)) / total
        explained[:, :2] = explained[:, n - 3:] = 0.0
        best = explained.argmax(1)
        rows = numpy.arange(chunk)
        share = numpy.minimum(explained[rows, best], 1.0 - 1.0 / n)
        at = carried[rows, best][:, None]
        place = (best + 1)[:, None]
        rest = order - numpy.where(numpy.arange(n) < place, at / place, -at / (n - place))
        r = (rest[:, 1:] * rest[:, :-1]).sum(1) / (rest ** 2).sum(1)
        near, far = ((order[:, 1:] - order[:, :-1]) ** 2).mean(1), ((order[:, 2:] - order[:, :-2]) ** 2).mean(1)
        r = numpy.clip(numpy.minimum(r, far / near - 1.0) + 4.0 / n, 0.0, 0.9)
        scores.append(((n - 2) * share / (1.0 - share) * (1.0 - r) / (1.0 + r)) ** 0.5)
    return n, numpy.quantile(numpy.concatenate(scores), [1.0 - q for q in QUANTILES])


def steps(pool, series):
    """Print the quantiles beside what runner._step_p makes of them: 1.00 is a perfect fit."""
    import runner
    print_row('n', *['%g' % q for q in QUANTILES])
    print_row(*['---'] * (len(QUANTILES) + 1))
    tasks = [(n, min(series, 60000000 // n)) for n in (16, 18, 20, 25, 30, 40, 50, 70, 100, 150, 200, 300, 500, 1000, 2000, 5000)]
    for n, scores in pool.imap(step_scores, tasks):
        print_row(str(n), *['%.2f (%.2f)' % (score, runner._step_p(score, n) / q) for q, score in zip(QUANTILES, scores)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--seeds', type=int, default=1000, metavar='N',
                        help='series per cell (default 1000; otava gets at most 200)')
    parser.add_argument('--processes', type=int, default=2, metavar='N', help='at once (default 2)')
    parser.add_argument('--otava', metavar='PYTHON', help='an interpreter that has apache-otava 0.8, measured beside')
    parser.add_argument('--steps', action='store_true',
                        help='simulate the quantiles that runner._step_p was fitted to, with numpy')
    options = parser.parse_args()
    with multiprocessing.Pool(options.processes) as pool:
        if options.steps:
            steps(pool, 2000 * options.seeds)
        else:
            stationary(pool, options.seeds, options.otava)
            planted(pool, options.seeds, options.otava)
            times()


if __name__ == '__main__':
    main()
