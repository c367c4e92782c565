#!/usr/bin/env python3
"""How often the regression gate cries wolf, and how soon it sees a change, under the noise of tests/noise.py.

    python benchmarks/gates.py [TRIES] [SEED]

A false alarm is `fail` on one judged run of an unchanged script. TRIES (default 4000) histories for each figure of false
alarms, a quarter of that for each of the others.
"""
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), 'tests'), os.path.dirname(HERE)]

import noise  # noqa: E402

import runner  # noqa: E402


def judge(history, value):
    """As the gate does by default, with as few as ten runs behind."""
    return runner.judge_regression(history, value, min_runs=10)


def false_alarms(dice, shape, behind, tries):
    """Return percent."""
    bad = 0
    for _ in range(tries):
        history = noise.series(dice, shape, behind + 1)
        bad += judge(history[:-1], history[-1])['verdict'] == 'fail'
    return 100.0 * bad / tries


def caught(dice, shape, behind, change, within, tries):
    """Return percent."""
    return 100.0 * sum(noise.is_caught(judge, dice, shape, behind, change, within) for _ in range(tries)) / tries


def main(words):
    """Print a table in Markdown."""
    tries, dice = int(words[0]) if words else 4000, random.Random(int(words[1]) if len(words) > 1 else 1)
    print('| noise | false alarms | +10 % within 3 runs | +5 % within 10 runs | false alarms with 10 runs |')
    print('|---|---|---|---|---|')
    for name, shape in noise.SHAPES.items():
        print('| %s | %.2f %% | %.1f %% | %.1f %% | %.2f %% |' % (
            name, false_alarms(dice, shape, 20, tries), caught(dice, shape, 20, 0.10, 3, tries // 4),
            caught(dice, shape, 20, 0.05, 10, tries // 4), false_alarms(dice, shape, 10, tries)), flush=True)


if __name__ == '__main__':
    main(sys.argv[1:])
