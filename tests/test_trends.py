"""Series of numbers become verdicts: trends, odd values, steps, regressions, baselines, correlations, forecasts.

numpy and scipy are the witnesses where they are installed; noise comes from seeds, so that every run sees the same.
"""
import itertools
import json
import math
import os
import random
import sys
import warnings

import conftest
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runner

sys.path.insert(0, os.path.join(os.path.dirname(conftest.TESTS), 'benchmarks'))

ANALYZER = runner.TrendAnalyzer()
#: How closely we agree with numpy and scipy.
RELATIVE = 1e-9
NAN, INFINITY = float('nan'), float('inf')
EXAMPLES = 60 if conftest.THOROUGH else 15

#: NIST StRD, Norris: (y, x), certified to 15 digits.
NORRIS = [
    (0.1, 0.2), (338.8, 337.4), (118.1, 118.2), (888.0, 884.6), (9.2, 10.1), (228.1, 226.5), (668.5, 666.3), (998.5, 996.3),
    (449.1, 448.6), (778.9, 777.0), (559.2, 558.2), (0.3, 0.4), (0.1, 0.6), (778.1, 775.5), (668.8, 666.9), (339.3, 338.0),
    (448.9, 447.5), (10.8, 11.6), (557.7, 556.0), (228.3, 228.1), (998.0, 995.8), (888.8, 887.6), (119.6, 120.2), (0.3, 0.3),
    (0.6, 0.3), (557.6, 556.8), (339.3, 339.1), (888.0, 887.2), (998.5, 999.0), (778.9, 779.0), (10.2, 11.1), (117.6, 118.3),
    (228.9, 229.2), (668.4, 669.1), (449.2, 448.9), (0.2, 0.5)]


def normal(seed, n, mean=10.0, sigma=1.0):
    """Return reproducible noise."""
    rng = random.Random(seed)
    return [rng.gauss(mean, sigma) for _ in range(n)]


def stepped(seed, size, place, n=50, mean=10.0):
    """Return noise of size 1 with a step planted."""
    return [value + (size if i >= place else 0.0) for i, value in enumerate(normal(seed, n, mean))]


def close(ours, theirs, scale=0.0):
    """Tell whether two numbers agree to RELATIVE; `scale` is the size of what they were computed from."""
    return math.isclose(ours, theirs, rel_tol=RELATIVE, abs_tol=RELATIVE * abs(scale) + 1e-300)


def oracle(name):
    """Return numpy or scipy.stats, or skip."""
    return pytest.importorskip(name, reason='the oracle is installed on CPython 3.11 and later only')


def series(least=3, most=60):
    """Make series of doubles that vary."""
    number = st.integers(-10 ** 6, 10 ** 6).map(lambda whole: whole / 1000.0)
    return st.lists(number, min_size=least, max_size=most).filter(lambda values: len(set(values)) > 1)


def pairs(least=3, most=60):
    """Make two series of equal length that vary."""
    number = st.integers(-10 ** 6, 10 ** 6).map(lambda whole: whole / 1000.0)
    return st.lists(st.tuples(number, number), min_size=least, max_size=most).filter(
        lambda rows: all(len(set(column)) > 1 for column in zip(*rows)))


# ------------------------------------------------------------------------------------------------------
# Agreement with others
# ------------------------------------------------------------------------------------------------------

def test_norris_to_the_digits_that_doubles_allow():
    """The least squares line through NIST's Norris data has the certified coefficients."""
    line = ANALYZER.calculate_linear_regression([y for y, _ in NORRIS], [x for _, x in NORRIS])
    assert math.isclose(line['slope'], 1.00211681802045, rel_tol=1e-14)
    assert math.isclose(line['intercept'], -0.262323073774029, rel_tol=1e-12)
    assert math.isclose(line['r_squared'], 0.999993745883712, rel_tol=1e-14)


@settings(max_examples=EXAMPLES, deadline=None)
@given(pairs())
def test_least_squares_agrees_with_scipy(rows):
    """Slope, intercept, r squared, p-value and interval are those of scipy.stats.linregress."""
    stats = oracle('scipy.stats')
    y, x = zip(*rows)
    ours, theirs = ANALYZER.calculate_linear_regression(y, x), stats.linregress(x, y)
    reach = theirs.stderr * stats.t.isf(0.025, len(y) - 2)
    size = max(abs(value) for value in y)
    steep = size / max(abs(value) for value in x)
    assert close(ours['slope'], theirs.slope, steep)
    assert close(ours['intercept'], theirs.intercept, size)
    assert close(ours['r_squared'], theirs.rvalue ** 2, 1.0)
    if theirs.rvalue ** 2 < 0.999:      # beyond, scipy's own 1 - r ** 2 has lost the digits
        assert close(ours['p_value'], theirs.pvalue, 1e-6)
        assert close(ours['slope_low'], theirs.slope - reach, abs(theirs.slope) + reach)
        assert close(ours['slope_high'], theirs.slope + reach, abs(theirs.slope) + reach)


@settings(max_examples=EXAMPLES, deadline=None)
@given(pairs())
def test_theil_sen_agrees_with_scipy(rows):
    """The robust slope and its interval are those of scipy.stats.theilslopes."""
    stats = oracle('scipy.stats')
    y, x = zip(*sorted(rows, key=lambda row: row[1]))
    ours = ANALYZER.calculate_linear_regression(y, x)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')     # nearly all values repeated in both: scipy has no interval, and says so
        theirs = stats.theilslopes(y, x)
    assert close(ours['robust_slope'], theirs[0])
    if not math.isnan(theirs[2]):
        assert close(ours['robust_low'], theirs[2]) and close(ours['robust_high'], theirs[3])


def test_theil_sen_of_many_pairs_sorts_only_the_middle_and_agrees():
    """At 300 values the median of 44,850 slopes is still the exact one."""
    stats = oracle('scipy.stats')
    values = normal(1, 300)
    ours, theirs = ANALYZER.calculate_linear_regression(values), stats.theilslopes(values)
    assert all(close(a, b) for a, b in zip([ours['robust_slope'], ours['robust_low'], ours['robust_high']],
                                           [theirs[0], theirs[2], theirs[3]]))


@settings(max_examples=EXAMPLES, deadline=None)
@given(series(1, 80), st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_percentiles_agree_with_numpy(values, percents):
    """Percentiles are numpy's default ones."""
    numpy = oracle('numpy')
    ours = ANALYZER.calculate_percentiles(values, percents)
    for percent in percents:
        assert close(ours['p%g' % percent], numpy.percentile(values, percent), max(abs(v) for v in values)) or (
            '%g' % percent != repr(percent))     # two percentiles may share the six digits of their name


@settings(max_examples=EXAMPLES, deadline=None)
@given(pairs(4))
def test_correlations_agree_with_scipy(rows):
    """Pearson's and Spearman's r and p-values are those of scipy."""
    stats = oracle('scipy.stats')
    x, y = zip(*rows)
    analyzer = runner.MetricsCorrelationAnalyzer()
    for ours, theirs in ((analyzer.pearson(x, y), stats.pearsonr(x, y)), (analyzer.spearman(x, y), stats.spearmanr(x, y))):
        assert close(ours['r'], theirs[0], 1.0)
        if abs(theirs[0]) < 0.999:
            assert close(ours['p_value'], theirs[1], 1e-6)


@settings(max_examples=EXAMPLES * 3, deadline=None)
@given(st.floats(0.001, 40), st.integers(1, 10000))     # nearer to 0 scipy itself has lost the digits
def test_student_p_agrees_with_scipy(t, df):
    """The two-sided p-value of Student's t has nine digits far into the tail."""
    stats = oracle('scipy.stats')
    assert close(runner._student_p(t, df), 2.0 * stats.t.sf(abs(t), df))


@settings(max_examples=EXAMPLES * 3, deadline=None)
@given(st.floats(0, 500), st.integers(1, 200))
def test_chi_square_p_agrees_with_scipy(x, df):
    """The upper p-value of chi square has nine digits."""
    stats = oracle('scipy.stats')
    assert close(runner._chi_square_p(x, df), stats.chi2.sf(x, df))


@pytest.mark.parametrize('p', [0.5, 0.05, 0.001])
def test_quantiles_undo_p_values(p):
    """A quantile's p-value is the one that was asked for."""
    for df in (1, 2, 7, 100):
        assert math.isclose(runner._student_p(runner._student_quantile(p, df), df), p, rel_tol=1e-9)
        assert math.isclose(runner._chi_square_p(runner._chi_square_quantile(p, df), df), p, rel_tol=1e-9)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.permutations(list(range(20))), st.integers(1, 19))
def test_rank_sums_are_exact(order, window):
    """Without repeated values the rank sum's p-value is scipy's exact one."""
    stats = oracle('scipy.stats')
    before, after = order[:-window], order[-window:]
    assert close(runner._rank_sum_p(before, after), stats.mannwhitneyu(before, after, method='exact').pvalue)


def test_rank_sums_are_exact_by_counting():
    """All orders of seven values, counted one by one, give the same p-values."""
    sums = [sum(chosen) for chosen in itertools.combinations(range(7), 3)]
    for chosen in itertools.combinations(range(7), 3):
        rest = [value for value in range(7) if value not in chosen]
        further = sum(abs(other - 9) >= abs(sum(chosen) - 9) for other in sums) / float(len(sums))
        assert math.isclose(runner._rank_sum_p(rest, chosen), further)


def test_rank_sums_with_repeated_values_come_near_the_exact_ones():
    """The expansion around the normal tail is within a fifth of the exact tail where verdicts are made."""
    for n, distance in ((40, 71.5), (200, 370.5)):
        exact = 2.0 * runner._orders_up_to(int(5 * (n - 5) / 2.0 - distance), 5, n - 5) / runner._orders(n, 5)
        near = runner._rank_sum_tail(distance, n * (n * n - 1) / 12.0, n, 5)
        assert 0.0005 < exact < 0.01 and 0.8 < near / exact < 1.25


# ------------------------------------------------------------------------------------------------------
# Trends
# ------------------------------------------------------------------------------------------------------

def test_a_doubling_of_milliseconds_is_a_trend():
    """From 1 ms to 2 ms is a trend, whatever the unit."""
    values = [1.0 + i / 30.0 + noise for i, noise in enumerate(normal(2, 31, 0.0, 0.05))]
    for factor in (1e-3, 1.0, 1e9):
        line = ANALYZER.calculate_linear_regression([value * factor for value in values])
        assert line['trend'] == 'increasing' and 80 < line['change_pct'] < 120
    assert ANALYZER.calculate_linear_regression(values[::-1])['trend'] == 'decreasing'


def test_a_sure_but_tiny_change_is_no_trend():
    """From 1000.00 to 1000.18 is certain and does not matter."""
    line = ANALYZER.calculate_linear_regression([1000.0 + 0.18 * i / 29.0 for i in range(30)])
    assert line['trend'] == 'stable' and line['trend_p_value'] < 1e-6 and 'below 2 %' in line['reason']
    assert ANALYZER.calculate_linear_regression([1000.0 + 0.18 * i / 29.0 for i in range(30)], min_change_pct=0.01)['trend'] == 'increasing'


def test_one_wild_value_makes_no_trend():
    """A single run of an hour at the end bends the least squares line and not the verdict."""
    line = ANALYZER.calculate_linear_regression(normal(3, 40) + [3600.0])
    assert line['trend'] == 'stable' and line['slope'] > 5.0 and abs(line['robust_slope']) < 0.1


@pytest.mark.parametrize('values, trend, reason', [
    ([], 'unknown', 'no line through 0 values'),
    ([5.0], 'unknown', 'no line through 1 values'),
    ([5.0, 6.0], 'unknown', '2 values; 5 are needed'),
    ([5.0, 6.0, None, 7.0, NAN, 8.0, INFINITY], 'unknown', '4 values; 5 are needed'),
    ([5.0] * 30, 'stable', 'all 30 values are alike: no spread at all'),
    ([1.0, 2.0, 3.0, 4.0, 5.0], 'increasing', None),
    ([5.0, 4.0, 3.0, 2.0, 1.0], 'decreasing', None),
])
def test_few_or_equal_values_have_a_documented_answer(values, trend, reason):
    """Too little is unknown with the number that would be enough; a constant is stable and said to have no spread."""
    line = ANALYZER.calculate_linear_regression(values)
    assert (line['trend'], line['reason']) == (trend, reason)


def test_gaps_keep_their_place_in_time():
    """A slope over a series with gaps is per place, not per known value."""
    line = ANALYZER.calculate_linear_regression([0.0, None, 2.0, NAN, 4.0, 5.0, 6.0])
    assert math.isclose(line['slope'], 1.0) and line['n'] == 5


def test_unordered_clocks_are_put_in_order():
    """Values given with their times may come in any order."""
    times = list(range(20))
    random.Random(4).shuffle(times)
    line = ANALYZER.calculate_linear_regression([10.0 + t for t in times], times)
    assert line['trend'] == 'increasing' and math.isclose(line['robust_slope'], 1.0)
    assert ANALYZER.calculate_linear_regression([1, 2, 3, 4, 5, 6], [7] * 6)['reason'] == 'all values have the same x'


def test_what_is_no_number_is_refused():
    """A text among the values, or as many x as do not fit, is the caller's error."""
    with pytest.raises(runner.UsageError, match="value 1, 'x': not a number"):
        ANALYZER.calculate_linear_regression([1.0, 'x'])
    with pytest.raises(runner.UsageError, match='3 values, 2 x'):
        ANALYZER.calculate_linear_regression([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(runner.UsageError, match='percentile 101'):
        ANALYZER.calculate_percentiles([1.0], (101,))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(), st.integers(), st.booleans(), st.sampled_from([0.0, 1.0, 1e308, -1e308, 5e-324]))))
def test_any_numbers_have_an_answer(values):
    """Whatever the numbers, every method answers with JSON and raises nothing."""
    forecaster = runner.ResourceForecaster()
    answers = [ANALYZER.calculate_linear_regression(values), ANALYZER.calculate_percentiles(values), ANALYZER.detect_change_points(values),
               ANALYZER.detect_regression(values), forecaster.forecast(values, 3), forecaster.forecast(values, 3, 'linear'),
               forecaster.limit_reached(values, 10.0), runner.MetricsCorrelationAnalyzer().pearson(values, values[::-1])]
    answers += [ANALYZER.detect_anomalies(values, method) for method in ('iqr', 'zscore', 'mad')]
    json.dumps(answers, allow_nan=False)
    assert answers[0]['trend'] != 'stable' or answers[0]['n'] >= 5


# ------------------------------------------------------------------------------------------------------
# Odd values
# ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('method', ['iqr', 'zscore', 'mad'])
def test_both_sides_are_odd(method):
    """Too short and too little count as too long and too much do."""
    values = normal(5, 40)
    values[7], values[20] = 30.0, -10.0
    found = {record['index']: record for record in ANALYZER.detect_anomalies(values, method)}
    assert found[7]['direction'] == 'high' and found[20]['direction'] == 'low'
    assert found[7]['value'] == 30.0 and found[7]['score'] > 3
    assert len(found) <= 4


@pytest.mark.parametrize('method', ['iqr', 'mad'])
def test_a_spread_of_zero_is_no_blindness(method):
    """When more than half of the values are equal, one far off is odd and a second usual level is not."""
    found = ANALYZER.detect_anomalies([10.0] * 20 + [100.0] + [10.0] * 5, method)
    assert [record['index'] for record in found] == [20]
    assert ANALYZER.detect_anomalies([10.0] * 20 + [11.0] * 13, method) == []
    assert ANALYZER.detect_anomalies([0.1 + 0.2] * 10 + [0.3] * 3, method) == []


def test_odd_values_of_few_or_equal_ones_are_none():
    """Below four values, and without any spread, nothing is odd; gaps do not shift the index."""
    for method in ('iqr', 'zscore', 'mad'):
        assert ANALYZER.detect_anomalies([1.0, 2.0, 99.0], method) == []
        assert ANALYZER.detect_anomalies([7.0] * 30, method) == []
    assert [r['index'] for r in ANALYZER.detect_anomalies([None, NAN] + [10.0, 11.0, 10.5, 9.5, 9.0] * 3 + [None, 90.0])] == [18]


def test_thresholds_and_methods_are_checked():
    """Another threshold changes the verdict, a wrong one or an unknown method is refused with the nearest name."""
    values = [10, 12, 11, 13, 12, 100, 11, 12]
    assert ANALYZER.detect_anomalies(values, 'zscore') == []
    assert [r['index'] for r in ANALYZER.detect_anomalies(values, 'zscore', 2.0)] == [5]
    with pytest.raises(runner.UsageError, match="did you mean 'zscore'"):
        ANALYZER.detect_anomalies(values, 'z-score')
    with pytest.raises(runner.UsageError, match='threshold 0'):
        ANALYZER.detect_anomalies(values, threshold=0)


# ------------------------------------------------------------------------------------------------------
# Calibration: the negative and the positive control. benchmarks/calibration.py has the whole table.
# ------------------------------------------------------------------------------------------------------

def claims(noise, n, seeds):
    """Count the series of which each verdict is claimed."""
    import calibration
    verdicts = [calibration.judge((noise, n, seed)) for seed in seeds]
    return [sum(column) for column in zip(*verdicts)]


@pytest.mark.parametrize('noise, permitted', [
    ('normal', 0.01), ('log-normal', 0.01), ('t, 3 degrees', 0.01), ('bimodal', 0.01), ('rounded', 0.01), ('AR(1), 0.3', 0.03)])
def test_stationary_series_are_left_alone(noise, permitted):
    """Of series in which nothing happens, next to none has a trend, a step or a regression."""
    n, count = (60, 150) if conftest.THOROUGH else (30, 30)
    chance = 2.0 * math.sqrt(permitted * count)      # so few series may hold some more than a thousand would
    assert max(claims(noise, n, range(count))) <= permitted * count + chance


@pytest.mark.parametrize('size, place, share, placed', [(3.0, 25, 0.98, 0.95), (3.0, 10, 0.95, 0.9), (1.5, 25, 0.8, 0.6)])
def test_planted_steps_are_found_where_they_are(size, place, share, placed):
    """A step of 3 sigma in 50 runs is found in 98 % and placed within 2 runs in 95 %, one of 1.5 sigma in 80 %."""
    count = 300 if conftest.THOROUGH else 60
    found = [ANALYZER.detect_change_points(stepped(seed, size, place)) for seed in range(count)]
    assert sum(bool(steps) for steps in found) >= share * count
    assert sum(any(abs(step['index'] - place) <= 2 for step in steps) for steps in found) >= placed * count


def test_planted_trends_and_regressions_are_found():
    """A rise of 4 sigma over 50 runs is a trend, five last runs 4 sigma up a regression."""
    trends = [ANALYZER.calculate_linear_regression([v + 4.0 * i / 49 for i, v in enumerate(normal(seed, 50))]) for seed in range(40)]
    assert sum(line['trend'] == 'increasing' for line in trends) >= 39
    worse = [ANALYZER.detect_regression(stepped(seed, 4.0, 45)) for seed in range(40)]
    assert sum(verdict['verdict'] == 'regression' for verdict in worse) >= 39


# ------------------------------------------------------------------------------------------------------
# Steps
# ------------------------------------------------------------------------------------------------------

def test_a_step_says_what_changed():
    """A change point names the first run of the new level, both levels and how sure it is."""
    step, = ANALYZER.detect_change_points(stepped(1, 6.0, 30, 60))
    assert step['index'] == 30 and step['n_before'] == 30 and step['n_after'] == 30
    assert abs(step['before'] - 10.0) < 0.6 and abs(step['after'] - 16.0) < 0.6 and 50 < step['change_pct'] < 70
    assert 0 < step['p_value'] < 1e-6 and step['score'] > 5


def test_several_steps_in_one_series():
    """Stairs are found step by step, and a level that comes back has two steps."""
    stairs = [value + 4.0 * (i // 25) for i, value in enumerate(normal(2, 100))]
    assert [abs(step['index'] - place) <= 2 for step, place in zip(ANALYZER.detect_change_points(stairs), (25, 50, 75))] == [True] * 3
    right = 0
    for seed in range(40):
        found = ANALYZER.detect_change_points([value + (3.0 if 20 <= i < 40 else 0.0) for i, value in enumerate(normal(seed, 60))])
        right += len(found) == 2 and abs(found[0]['index'] - 20) <= 2 and abs(found[1]['index'] - 40) <= 2
    assert right >= 36


def test_steps_count_in_the_given_series_and_never_vary():
    """Gaps do not shift the place, and the same series has the same answer."""
    values = stepped(4, 5.0, 25)
    gaps = [None, NAN] + values[:10] + [None] + values[10:]
    assert [step['index'] for step in ANALYZER.detect_change_points(gaps)] == [28]
    assert ANALYZER.detect_change_points(gaps) == ANALYZER.detect_change_points(list(gaps))


def test_a_step_needs_sixteen_values():
    """Below that even a perfect step may be chance, and nothing is claimed."""
    assert ANALYZER.detect_change_points([1.0] * 7 + [2.0] * 8) == []
    assert [step['index'] for step in ANALYZER.detect_change_points([1.0] * 8 + [2.0] * 8)] == [8]
    assert ANALYZER.detect_change_points([3.0] * 100) == []
    assert ANALYZER.detect_change_points([]) == []


def test_single_wild_values_and_mixed_hosts_are_no_step():
    """Outliers and two hosts in turn are noise; first one host and then the other is a step."""
    wild = normal(6, 60)
    for i in (11, 12, 44):
        wild[i] = 500.0
    assert ANALYZER.detect_change_points(wild) == []
    hosts = [value + 8.0 * (i % 2) for i, value in enumerate(normal(7, 60))]
    assert ANALYZER.detect_change_points(hosts) == []
    assert len(ANALYZER.detect_change_points(hosts[::2] + hosts[1::2])) == 1


# ------------------------------------------------------------------------------------------------------
# Regressions
# ------------------------------------------------------------------------------------------------------

def test_a_regression_has_a_direction():
    """Worse and better depend on which way is better."""
    slower = stepped(1, 5.0, 35, 40)
    assert ANALYZER.detect_regression(slower)['verdict'] == 'regression'
    assert ANALYZER.detect_regression(slower, better='higher')['verdict'] == 'improvement'
    assert ANALYZER.detect_regression(slower, better=None)['verdict'] == 'changed'
    verdict = ANALYZER.detect_regression([20.0 - value for value in slower])
    assert verdict['verdict'] == 'improvement' and verdict['change_pct'] < -30 and verdict['p_value'] < 0.0025


def test_a_regression_must_be_large_and_sure():
    """A sure change below the threshold is none, nor is a large one that chance explains."""
    sure = [100.0 + i % 3 for i in range(40)] + [105.0, 106.0, 105.5, 106.5, 105.2]
    verdict = ANALYZER.detect_regression(sure)
    assert verdict['verdict'] == 'stable' and 'not above 10 %' in verdict['reason'] and verdict['p_value'] < 0.0025
    assert ANALYZER.detect_regression(sure, threshold_pct=2.0)['verdict'] == 'regression'
    unsure = normal(9, 40, 10.0, 6.0) + [12.0, 9.0, 15.0, 11.5, 13.0]
    verdict = ANALYZER.detect_regression(unsure)
    assert verdict['verdict'] == 'stable' and verdict['change_pct'] > 10 and 'by chance' in verdict['reason']


def test_a_regression_is_seen_against_the_last_level():
    """After a speed-up the old slow runs are no excuse."""
    values = normal(1, 60, 20.0, 0.5) + normal(2, 30, 10.0, 0.5) + normal(3, 5, 14.0, 0.5)
    verdict = ANALYZER.detect_regression(values)
    assert verdict['verdict'] == 'regression' and abs(verdict['before_index'] - 60) <= 2 and abs(verdict['before'] - 10) < 0.5


@pytest.mark.parametrize('count, window, needed', [(0, 5, 10), (9, 5, 10), (16, 3, 18), (100, 1, 800), (12, 8, 13)])
def test_too_few_runs_for_a_regression_say_how_many_are_needed(count, window, needed):
    """Unknown comes with the number that would be enough."""
    verdict = ANALYZER.detect_regression(normal(1, count), window)
    assert (verdict['verdict'], verdict['needed']) == ('unknown', needed)
    assert ANALYZER.detect_regression(normal(1, needed), window)['verdict'] != 'unknown'


def test_ten_runs_are_enough_for_a_glaring_regression():
    """Five and five that lie further apart than either is wide are a regression; five and five that merely do not overlap are not."""
    assert ANALYZER.detect_regression([10.0, 10.1, 9.9, 10.2, 9.8, 15.0, 15.1, 14.9, 15.2, 14.8])['verdict'] == 'regression'
    assert ANALYZER.detect_regression([10.0, 12.0, 9.0, 11.0, 9.8, 13.0, 15.1, 14.9, 12.5, 14.8])['verdict'] == 'stable'
    assert ANALYZER.detect_regression([0.0] * 10 + [5.0] * 5)['verdict'] == 'regression'     # from 0 every change is large
    assert ANALYZER.detect_regression([3.0] * 15)['verdict'] == 'stable'


def test_long_windows_and_many_zeros_have_answers():
    """Counts beyond the doubles, and a usual level of 0, are no obstacle."""
    values = normal(1, 2000)
    assert ANALYZER.detect_regression(values, 900)['verdict'] == 'stable'
    assert ANALYZER.detect_regression(values[:1000] + [value + 5.0 for value in values[1000:]], 1000)['verdict'] == 'regression'
    assert ANALYZER.detect_regression([1.0] * 1000 + [2.0] * 1000, 1000)['p_value'] < 1e-9
    assert ANALYZER.calculate_linear_regression([0.0] * 30 + [float(i) for i in range(12)])['trend'] == 'stable'


@pytest.mark.parametrize('options, words', [
    ({'window_size': 0}, 'window_size 0'), ({'window_size': 2.5}, 'window_size 2.5'), ({'threshold_pct': -1}, 'threshold_pct -1'),
    ({'better': 'smaller'}, "better 'smaller'")])
def test_wrong_options_of_a_regression_are_refused(options, words):
    """Each error names what was given."""
    with pytest.raises(runner.UsageError, match=words):
        ANALYZER.detect_regression([1.0] * 20, **options)


# ------------------------------------------------------------------------------------------------------
# The history of a metric
# ------------------------------------------------------------------------------------------------------

class History(object):
    """Stands in for a HistoryManager: it keeps what it was asked for."""

    def __init__(self, rows):
        self.rows, self.asked = rows, None

    def get_metric_series(self, script_path, metric_name, days=None):
        self.asked = (script_path, metric_name, days)
        return self.rows


def rows_of(values, status='success'):
    """Return rows as get_metric_series gives them, one run a day, one commit a week."""
    return [(100 + i, runner.format_time(86400.0 * i), value, 'commit-%d' % (i // 7), status) for i, value in enumerate(values)]


def test_a_metric_history_names_run_and_commit_of_each_finding():
    """Steps and odd values carry the run, its time and its commit; a step the commit before as well."""
    values = stepped(1, 6.0, 28, 56)
    values[10] = 40.0
    history = History(rows_of(values))
    answer = ANALYZER.analyze_metric_history(history, 'job.py', 'execution_time_seconds', 60)
    assert history.asked == ('job.py', 'execution_time_seconds', 60)
    step, = answer['change_points']
    assert (step['run_id'], step['git_commit'], step['previous_commit']) == (128, 'commit-4', 'commit-3')
    assert step['start_time'] == runner.format_time(86400.0 * 28)
    assert 110 in [record['run_id'] for record in answer['anomalies']]
    assert answer['n'] == 56 and answer['reasons'] == [] and answer['last']['run_id'] == 155
    assert math.isclose(answer['per_day'], answer['regression_line']['robust_slope'], rel_tol=1e-6)
    json.dumps(answer, allow_nan=False)


def test_a_metric_history_learns_nothing_from_failed_runs():
    """A failed run ends early; it is left out, except from a metric that is about failing."""
    rows = rows_of(normal(1, 20)) + [(200 + i, None, 0.01, None, 'failed') for i in range(9)] + [(300, None, None, None, 'success')]
    answer = ANALYZER.analyze_metric_history(History(rows), 'job.py', 'execution_time_seconds')
    assert (answer['n'], answer['n_excluded'], answer['n_unknown']) == (20, 9, 1)
    assert ANALYZER.analyze_metric_history(History(rows), 'job.py', 'exit_code')['n'] == 29


def test_an_empty_metric_history_says_what_is_missing():
    """Nothing known is unknown, in words, not stable."""
    answer = ANALYZER.analyze_metric_history(History([]), 'job.py', 'cpu_max')
    assert answer['regression_line']['trend'] == 'unknown' and answer['regression']['verdict'] == 'unknown'
    assert len(answer['reasons']) == 4 and answer['first'] is None and answer['median'] is None


def test_a_clock_that_was_set_back_does_not_reorder_runs():
    """Runs stand in the order of their ids, and the slope per day in that of the clock."""
    rows = rows_of([10.0 + i for i in range(12)])
    rows[5] = (105, runner.format_time(0.5), 15.0, None, 'success')
    answer = ANALYZER.analyze_metric_history(History(rows[::-1]), 'job.py', 'cpu_max')
    assert answer['regression_line']['trend'] == 'increasing' and answer['first']['run_id'] == 100
    assert answer['per_day'] > 0.5


# ------------------------------------------------------------------------------------------------------
# Baselines
# ------------------------------------------------------------------------------------------------------

def record(number, value, status='success', day=None):
    """Return a run as the history gives it."""
    return {'id': number, 'status': status, 'metrics': {'cpu_max': value}, 'start_time': runner.format_time(86400.0 * (day or number))}


def test_a_baseline_learns_from_good_earlier_runs_only():
    """Failed runs, the judged run and those after it teach nothing."""
    runs = [record(i, 10.0 + i % 3) for i in range(1, 10)] + [record(10, 500.0, 'failed'), record(11, 900.0), record(12, 900.0)]
    baseline = runner.BaselineCalculator().calculate(runs, 'cpu_max', judged=runs[10])
    assert baseline['run_ids'] == list(range(1, 10)) and baseline['median'] == 11.0
    assert runner.BaselineCalculator().judge(900.0, baseline)['verdict'] == 'above'
    assert runner.BaselineCalculator().judge(1.0, baseline)['verdict'] == 'below'
    assert runner.BaselineCalculator().judge(11.5, baseline)['verdict'] == 'within'


def test_a_baseline_has_a_window_of_time():
    """`days` counts back from the judged run, from now, else from the newest."""
    runs = [record(i, float(i)) for i in range(1, 31)]
    calculator = runner.BaselineCalculator(days=7)
    assert calculator.calculate(runs, 'cpu_max')['run_ids'] == list(range(23, 31))
    assert calculator.calculate(runs, 'cpu_max', judged=runs[20])['run_ids'] == list(range(14, 21))
    assert calculator.calculate(runs, 'cpu_max', now=86400.0 * 33)['run_ids'] == list(range(26, 31))


def test_a_baseline_of_few_runs_is_unknown():
    """Below the least number there is no band, and a judgement says why."""
    calculator = runner.BaselineCalculator(min_runs=5)
    baseline = calculator.calculate([record(i, 1.0) for i in range(4)] + [record(9, None)], 'cpu_max')
    assert baseline['median'] is None and baseline['needed'] == 5
    assert calculator.judge(1.0, baseline) == {'verdict': 'unknown', 'change_pct': None, 'reason': '4 good runs; 5 are needed'}
    constant = calculator.calculate([record(i, 3.0) for i in range(9)], 'cpu_max')
    assert constant['spread'] == 0.0 and 'no spread' in constant['reason'] and calculator.judge(4.0, constant)['verdict'] == 'above'
    assert calculator.judge(None, constant)['verdict'] == 'unknown'


def test_a_band_holds_what_it_promises():
    """The next run of normal noise is outside a 99 % band in about 1 % of the cases, also after few runs."""
    count = 1000 if conftest.THOROUGH else 200
    for n in (6, 20):
        outside = 0
        for seed in range(count):
            values = normal(seed, n + 1)
            baseline = runner.BaselineCalculator().calculate(
                [{'id': i, 'status': 'success', 'value': value} for i, value in enumerate(values[:n])], 'value')
            outside += not baseline['low'] <= values[n] <= baseline['high']
        assert outside <= 0.03 * count


def test_a_band_is_not_pulled_by_one_wild_run():
    """An outlier among the good runs hardly widens the band."""
    values = normal(1, 20)
    spans = []
    for last in (10.0, 1000.0):
        baseline = runner.BaselineCalculator().calculate(
            [{'id': i, 'status': 'success', 'value': value} for i, value in enumerate(values + [last])], 'value')
        spans.append(baseline['high'] - baseline['low'])
    assert spans[1] < 1.3 * spans[0]


@pytest.mark.parametrize('options', [{'min_runs': 1}, {'min_runs': 2.5}, {'band': 1.0}, {'band': 0}])
def test_a_baseline_that_cannot_be_is_refused(options):
    """Wrong numbers are errors."""
    with pytest.raises(runner.UsageError):
        runner.BaselineCalculator(**options)


# ------------------------------------------------------------------------------------------------------
# Several metrics together
# ------------------------------------------------------------------------------------------------------

def related_runs(seed, n):
    """Return runs whose CPU and duration go together, memory apart, one metric constant."""
    rng = random.Random(seed)
    runs = []
    for _ in range(n):
        work = rng.gauss(100.0, 10.0)
        runs.append({'execution_time_seconds': work + rng.gauss(0, 1), 'user_time': 0.8 * work + rng.gauss(0, 1),
                     'memory_max_mb': rng.gauss(200.0, 5.0), 'num_processes': 3, 'monitor_samples': n})
    return runs


def test_an_odd_combination_is_found_though_each_metric_is_usual():
    """A long run with little CPU time stands out, and the two metrics are named."""
    detector = runner.MLAnomalyDetector(use_forest=False).fit(related_runs(1, 60))
    odd = {'execution_time_seconds': 115.0, 'user_time': 68.0, 'memory_max_mb': 200.0, 'num_processes': 3}
    verdict = detector.score(odd)
    assert verdict['anomaly'] is True and verdict['distance'] > verdict['threshold']
    assert set(part['metric'] for part in verdict['contributions'][:2]) == {'execution_time_seconds', 'user_time'}
    assert verdict['contributions'][0]['share'] + verdict['contributions'][1]['share'] > 0.9
    assert all(abs(part['deviation']) < 2.5 for part in verdict['contributions'])
    usual = detector.score(dict(odd, user_time=92.0))
    assert usual['anomaly'] is False and usual['p_value'] > 0.01
    json.dumps([verdict, usual], allow_nan=False)


def test_usual_runs_are_left_alone():
    """Of fresh runs like the past ones next to none is odd, also when there were few."""
    for n in (12, 40, 150):
        odd = sum(runner.MLAnomalyDetector(use_forest=False).fit(related_runs(seed, n)).score(run)['anomaly']
                  for seed in range(10) for run in related_runs(1000 + seed, 10))
        assert odd <= 1


def test_odd_runs_among_those_learned_from_are_found():
    """`detect` names them by their place."""
    runs = related_runs(3, 60)
    runs[17] = dict(runs[17], execution_time_seconds=180.0)
    runs[40] = dict(runs[40], memory_max_mb=20.0)
    found = runner.MLAnomalyDetector(use_forest=False).detect(runs)
    assert [verdict['index'] for verdict in found] == [17, 40]
    assert found[1]['contributions'][0]['metric'] == 'memory_max_mb' and found[1]['contributions'][0]['direction'] == 'low'


def test_missing_and_constant_metrics_are_told():
    """A run is judged by the metrics it has; one that never varied and now does is named."""
    detector = runner.MLAnomalyDetector(use_forest=False).fit([{'metrics': run} for run in related_runs(1, 40)])
    assert detector.constant == {'num_processes': 3.0} and 'monitor_samples' not in detector.metrics
    verdict = detector.score({'metrics': {'execution_time_seconds': 300.0, 'user_time': None, 'num_processes': 9}})
    assert verdict['anomaly'] is True and verdict['missing'] == ['user_time', 'memory_max_mb']
    assert verdict['changed_constants'] == ['num_processes']


def test_too_few_runs_are_unknown():
    """Neither odd nor usual is said without enough runs, metrics or values."""
    detector = runner.MLAnomalyDetector(use_forest=False)
    assert detector.score({'cpu_max': 1.0})['reason'] == 'not fitted'
    assert detector.fit(related_runs(1, 9)).score(related_runs(2, 1)[0])['anomaly'] is None
    assert detector.needed == 10 and detector.reason == '9 complete runs; 10 are needed'
    assert detector.fit([{'cpu_max': 1.0}] * 30).reason == 'no metric varies'
    assert detector.fit([]).score({})['anomaly'] is None
    assert detector.fit(related_runs(1, 40)).score({})['reason'] == 'the run has none of the metrics'


def test_the_forest_is_a_second_opinion():
    """With scikit-learn installed an isolation forest judges as well."""
    pytest.importorskip('sklearn', reason='scikit-learn is an optional second opinion')
    detector = runner.MLAnomalyDetector().fit(related_runs(1, 80))
    far = detector.score({'execution_time_seconds': 300.0, 'user_time': 5.0, 'memory_max_mb': 900.0})
    assert far['forest']['anomaly'] is True and far['forest']['score'] < 0
    assert detector.score({'execution_time_seconds': 100.0, 'user_time': 80.0, 'memory_max_mb': 200.0})['forest']['anomaly'] is False


# ------------------------------------------------------------------------------------------------------
# Correlations
# ------------------------------------------------------------------------------------------------------

def test_metrics_that_go_together_are_found_among_many():
    """One true relation among fifteen pairs is significant, and chance is not."""
    metrics = {'m%d' % i: normal(100 + i, 60) for i in range(5)}
    metrics['follows'] = [2.0 * value + noise for value, noise in zip(metrics['m0'], normal(7, 60))]
    records = runner.MetricsCorrelationAnalyzer().correlate(metrics)
    assert len(records) == 15
    assert [(r['first'], r['second']) for r in records if r['significant']] == [('m0', 'follows')]
    assert records[0]['second'] == 'follows' and records[0]['p_adjusted'] >= records[0]['spearman_p']


def test_a_lag_is_found_with_its_leader():
    """What follows two runs later is found at lag 2, the leader first, whichever is named first."""
    lead = normal(1, 80)
    follow = [0.0, 0.0] + lead[:-2]
    for names in (('lead', 'follow'), ('follow', 'lead')):
        metrics = {name: {'lead': lead, 'follow': follow}[name] for name in names}
        best = runner.MetricsCorrelationAnalyzer().correlate(metrics, max_lag=3)[0]
        assert (best['first'], best['second'], best['lag']) == ('lead', 'follow', 2) and best['significant']


def test_many_comparisons_are_corrected_as_holm_does():
    """The smallest p counts as often as there are comparisons, the next once less, and none is below the one before."""
    records = [{'p_adjusted': p} for p in (0.01, 0.04, 0.03, 0.005, None)]
    runner._correct_for_many(records, 0.03)
    assert [r['p_adjusted'] for r in records] == pytest.approx([0.03, 0.06, 0.06, 0.02, None])
    assert [r.get('significant') for r in records] == [True, False, False, True, None]


def test_series_that_drift_are_not_related_by_drifting():
    """Two independent random walks have a high r and are not called significant as two independent noises would be."""
    significant = 0
    for seed in range(20):
        walks = []
        for part in (0, 1):
            level, walk = 0.0, []
            for step in normal(2 * seed + part, 60, 0.0):
                level += step
                walk.append(level)
            walks.append(walk)
        significant += bool(runner.MetricsCorrelationAnalyzer().correlate({'a': walks[0], 'b': walks[1]})[0]['significant'])
    assert significant <= 3


def test_correlations_of_little_are_unknown():
    """Constants, gaps and few pairs have no r, and a reason; unequal lengths are refused."""
    analyzer = runner.MetricsCorrelationAnalyzer()
    assert analyzer.pearson([1, 1, 1], [1, 2, 3]) == {'r': None, 'p_value': None, 'n': 3, 'reason': 'a series is constant'}
    assert analyzer.pearson([1, None], [1, 2])['reason'] == '1 pairs; 3 are needed'
    few = analyzer.correlate({'a': [1, 2, None, 4, 3], 'b': [1, 2, 3, 4, 5]})[0]
    assert few['p_adjusted'] is None and few['significant'] is None and few['reason'] == '4 pairs; 5 are needed'
    assert analyzer.correlate({}) == [] and analyzer.correlate({'a': [1, 2]}) == []
    with pytest.raises(runner.UsageError, match='series of 2, 3 values'):
        analyzer.correlate({'a': [1, 2], 'b': [1, 2, 3]})


# ------------------------------------------------------------------------------------------------------
# Forecasts
# ------------------------------------------------------------------------------------------------------

def test_a_season_is_found_and_continued():
    """A weekly pattern goes on, and the forecast knows that it is one."""
    week = [10.0, 12.0, 15.0, 14.0, 11.0, 5.0, 4.0]
    values = [week[i % 7] + noise for i, noise in enumerate(normal(1, 70, 0.0, 0.3))]
    ahead = runner.ResourceForecaster().forecast(values, 14)
    assert ahead['method'] == 'seasonal' and ahead['season'] == 7
    assert all(abs(value - week[i % 7]) < 1.0 for i, value in enumerate(ahead['forecast']))
    assert all(low < week[i % 7] < high for i, (low, high) in enumerate(zip(ahead['low'], ahead['high'])))


@pytest.mark.parametrize('method', ['linear', 'holt', 'auto'])
def test_a_straight_line_goes_on(method):
    """What rose steadily is forecast to rise on."""
    ahead = runner.ResourceForecaster().forecast([5.0 + 2.0 * i + noise for i, noise in enumerate(normal(3, 60, 0.0, 0.5))], 5, method)
    assert all(abs(value - (5.0 + 2.0 * (60 + i))) < 2.0 for i, value in enumerate(ahead['forecast']))


@pytest.mark.parametrize('method', ['linear', 'simple', 'holt', 'damped', 'auto'])
def test_intervals_hold_what_they_promise(method):
    """Of 95 % intervals over noise nine tenths or more hold the next value, and none is absurdly wide."""
    count = 100 if conftest.THOROUGH else 25
    inside = width = 0
    for seed in range(count):
        values = normal(seed, 43)
        ahead = runner.ResourceForecaster().forecast(values[:40], 3, method)
        inside += sum(low <= value <= high for low, value, high in zip(ahead['low'], values[40:], ahead['high']))
        width += ahead['high'][0] - ahead['low'][0]
    assert inside >= 0.88 * 3 * count and width / count < 7.0


def test_a_forecast_of_little_is_unknown():
    """Too few values, or a season that is not there, give no numbers and a reason."""
    forecaster = runner.ResourceForecaster()
    assert forecaster.forecast([1.0, 2.0])['reason'] == '2 values; 8 are needed' and forecaster.forecast([])['forecast'] is None
    assert forecaster.forecast([1.0] * 30, method='seasonal')['reason'] == 'no season found'
    assert forecaster.forecast([1.0] * 12, method='seasonal', season=7)['reason'] == '12 values; 19 are needed'
    constant = forecaster.forecast([4.0] * 20, 2)
    assert constant['forecast'] == [4.0, 4.0] and constant['low'] == [4.0, 4.0]


@pytest.mark.parametrize('options, words', [
    ({'horizon': 0}, 'horizon 0'), ({'season': 1}, 'season 1'), ({'level': 1.0}, 'level 1.0'), ({'method': 'holtz'}, "did you mean 'holt'")])
def test_a_forecast_that_cannot_be_is_refused(options, words):
    """Each error names what was given."""
    with pytest.raises(runner.UsageError, match=words):
        runner.ResourceForecaster().forecast([1.0] * 20, **options)


def test_a_limit_is_reached_in_about_some_days():
    """A disk that fills by 2 a day reaches its limit when arithmetic says, on any clock."""
    values = [100.0 + i + noise for i, noise in enumerate(normal(1, 40, 0.0, 0.3))]
    answer = runner.ResourceForecaster().limit_reached(values, 200.0, [43200.0 * i for i in range(40)])
    assert abs(answer['days'] - 30.5) < 1.0 and answer['low'] < answer['days'] < answer['high']
    assert answer['sentence'] == 'limit reached in about %d days' % round(answer['days'])
    iso = runner.ResourceForecaster().limit_reached(values, 200.0, [runner.format_time(43200.0 * i) for i in range(40)])
    assert math.isclose(iso['days'], answer['days'], rel_tol=1e-6)
    falling = runner.ResourceForecaster().limit_reached([-value for value in values], -200.0)
    assert abs(falling['days'] - 61) < 2.0 and falling['unit'] == 'runs'


def test_a_limit_out_of_sight_has_no_date():
    """Without a trend, away from the limit, beyond it already, or with too few values there is no such number of days."""
    forecaster = runner.ResourceForecaster()
    rising = [10.0 + i for i in range(20)]
    assert forecaster.limit_reached(normal(1, 30), 1000.0)['days'] is None
    assert forecaster.limit_reached(rising, 5.0)['sentence'] == 'limit reached already'
    assert forecaster.limit_reached([-value for value in rising], 5.0)['sentence'] == 'the trend leads away from the limit'
    assert forecaster.limit_reached(rising[:3], 50.0)['sentence'].startswith('whether the limit will be reached is unknown: 3 values')
    with pytest.raises(runner.UsageError, match='limit nan'):
        forecaster.limit_reached(rising, NAN)
