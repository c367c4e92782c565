"""Section 10: gates, what they compare with, their reports; and comparing two commands."""
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import noise
import pytest
from conftest import PORTABLE, THOROUGH, Finished, own_process_only, script

import runner

QUIET = [10.0, 10.2, 9.9, 10.1] * 5
XSD = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data', 'junit-10.xsd')


def gate(**words):
    """Return a CICDIntegration with one gate."""
    integration = runner.CICDIntegration()
    integration.add_performance_gate(**words)
    return integration


def verdict(integration, metrics, history=None):
    """Return (passed, verdict) of the only gate."""
    passed, results = integration.check_gates(metrics, history)
    assert len(results) == 1
    return passed, results[0]['verdict']


def remember(place, code, values, metric='execution_time_seconds', **more):
    """Keep good runs of a script with these values of a metric, as if it had run on this host and Python."""
    with runner.HistoryManager(place.history) as history:
        context = {'python_version': '%d.%d.%d' % sys.version_info[:3]}
        context.update(more)
        return [history.save_execution({metric: value}, code, 0, **context) for value in values]


# -- gates ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('words, metrics, expected', [
    ({'condition': 'cpu_max < 90'}, {'cpu_max': 50.0}, (True, 'pass')),
    ({'condition': 'cpu_max < 90'}, {'cpu_max': 95.0}, (False, 'fail')),
    ({'condition': 'cpu_max < 90'}, {'cpu_max': None}, (False, 'error')),
    ({'condition': 'cpu_max < 90'}, {}, (False, 'error')),
    ({'condition': 'cpu_max < 90'}, {'cpu_max': float('nan')}, (False, 'error')),
    ({'metric_name': 'memory_max_mb', 'max_value': '1GiB'}, {'memory_max_mb': 1024.0}, (True, 'pass')),
    ({'metric_name': 'memory_max_mb', 'max_value': '1GiB'}, {'memory_max_mb': 1024.1}, (False, 'fail')),
    ({'metric_name': 'stdout_lines', 'min_value': 5, 'max_value': 6}, {'stdout_lines': 4}, (False, 'fail')),
    ({'metric_name': 'stdout_lines', 'min_value': 5, 'max_value': 6}, {'stdout_lines': 6}, (True, 'pass')),
    ({'metric_name': 'cpu_max', 'max_value': 0}, {'cpu_max': 0.0}, (True, 'pass')),
    ({'condition': 'cpu_max < 1.1 * baseline.cpu_max'}, {'cpu_max': 5.0}, (True, 'inconclusive')),
    ({'condition': 'cpu_max < 1.1 * baseline.cpu_max'}, {'cpu_max': None}, (False, 'error')),
    ({'condition': 'cpu_max < 1.1 * previous.cpu_max'}, {'cpu_max': 5.0, 'previous.cpu_max': 1.0}, (False, 'fail')),
    ({'condition': 'cpu_max / num_threads < 5'}, {'cpu_max': 5.0, 'num_threads': 0}, (False, 'error')),
    ({'regression': {'metric': 'cpu_max'}}, {'cpu_max': 5.0}, (True, 'inconclusive')),
    ({'condition': 'cpu_max < 9 * baseline.cpu_max', 'on_inconclusive': 'fail'}, {'cpu_max': 5.0}, (False, 'inconclusive')),
])
def test_a_gate_passes_only_what_is_known_to_be_true(words, metrics, expected):
    """What the run lacks is an error, what earlier runs lack is inconclusive."""
    assert verdict(gate(**words), metrics) == expected


@pytest.mark.parametrize('words, sentence', [
    ({'condition': 'cpu_maxx < 90'}, "no metric 'cpu_maxx'"),
    ({'metric_name': 'cpu_maxx', 'max_value': 5}, "did you mean 'cpu_max'?"),
    ({'metric_name': 'cpu_max'}, 'give max_value or min_value'),
    ({'metric_name': 'cpu_max', 'max_value': float('nan')}, 'max_value=nan: not a number'),
    ({'metric_name': 'cpu_max', 'max_value': True}, 'max_value=True: not a number'),
    ({'metric_name': 'cpu_max', 'max_value': '5 OR 1=1'}, 'not a number'),
    ({'metric_name': 'cpu_max', 'max_value': '5m'}, 'duration'),
    ({}, 'an empty gate'),
    ({'metric_name': 'cpu_max', 'max_value': 5, 'condition': 'cpu_max < 5'}, 'metric_name and condition'),
    ({'condition': 'success', 'max_value': 5}, 'go with metric_name'),
    ({'regression': {'metric': 'cpu_max'}, 'min_value': 5}, 'go with metric_name'),
    ({'regression': {'metric': 'cpu_maxx'}}, "did you mean 'cpu_max'?"),
    ({'regression': {'metric': 'cpu_max', 'windw': 50}}, "did you mean 'window'?"), ({'regression': {}}, 'metric is missing'),
    ({'regression': {'metric': 'cpu_min'}}, 'no direction'),
    ({'regression': {'metric': 'success', 'better': 'higher'}}, 'no direction'),
    ({'regression': {'metric': 'cpu_max', 'min_runs': 9}}, 'min_runs=9: must be a whole number of at least 10'),
    ({'regression': {'metric': 'cpu_max', 'window': 19}}, 'window=19: must be a whole number of at least 20'),
    ({'regression': {'metric': 'cpu_max', 'min_change': '-5%'}}, 'not a share'),
    ({'condition': 'cpu_max < 5', 'on_inconclusive': 'ignore'}, "on_inconclusive 'ignore': not valid; valid: warn, pass, fail"),
])
def test_a_gate_that_could_not_be_judged_is_refused(words, sentence):
    """When it is made, naming what would be right."""
    with pytest.raises(runner.UsageError) as caught:
        gate(**words)
    assert sentence in str(caught.value)


def test_custom_metrics_can_be_gated():
    """By the names that are announced."""
    integration = runner.CICDIntegration(extra_names=['rows'])
    integration.add_performance_gate('rows', min_value=10)
    assert verdict(integration, {'rows': 9}) == (False, 'fail')


def test_a_history_that_cannot_be_read_is_an_error():
    """For what depends on it, and for nothing else."""
    integration = gate(regression={'metric': 'cpu_max'})
    integration.add_performance_gate('cpu_max', max_value=9)
    passed, results = integration.check_gates({'cpu_max': 5.0}, None, 'disk on fire')
    assert not passed and [result['verdict'] for result in results] == ['error', 'pass'] and 'on fire' in results[0]['reason']


# -- regressions ----------------------------------------------------------------------------------------

def test_counts_of_orders_are_exact():
    """The distribution of the rank sum, against counting all orders."""
    for n, m in ((1, 1), (4, 2), (5, 3), (3, 6)):
        counts = [0] * (n * m + 1)
        for places in itertools.combinations(range(n + m), m):
            others = [place for place in range(n + m) if place not in places]
            counts[sum(other > place for place in places for other in others)] += 1
        assert runner.rank_sum_counts(n, m) == counts


@pytest.mark.parametrize('history, value, better, expected', [
    (QUIET, 10.1, 'lower', 'pass'),
    (QUIET, 14.0, 'lower', 'fail'),                    # one run, far beyond
    (QUIET, 12.0, 'lower', 'pass'),                    # one run may be a spike,
    (QUIET + [12.0], 12.0, 'lower', 'fail'),           # two in a row are none
    (QUIET, 6.0, 'lower', 'pass'),
    (QUIET, 6.0, 'higher', 'fail'),
    (QUIET + [8.0], 8.0, 'higher', 'fail'),
    (QUIET + [12.0], 12.0, 'higher', 'pass'),
    (QUIET[:19], 99.0, 'lower', 'inconclusive'),
    (QUIET, None, 'lower', 'error'),
    (QUIET, float('nan'), 'lower', 'error'),
    ([20.0] * 30, 20.0, 'lower', 'pass'),              # no spread at all
    ([20.0] * 30, 20.1, 'lower', 'pass'),
    ([20.0] * 30 + [20.1], 20.1, 'lower', 'pass'),     # below the least change
    ([20.0] * 30 + [21.0], 21.0, 'lower', 'fail'),
    ([0.0] * 30, 1.0, 'lower', 'pass'),                # one line on stderr is no regression,
    ([0.0] * 30 + [1.0], 1.0, 'lower', 'fail'),        # two in a row are
    ([0.0] * 30, 0.0, 'lower', 'pass'),
    ([1.0, 3.0] * 15, 3.1, 'lower', 'inconclusive'),   # too noisy for anything but
    ([1.0, 3.0] * 15, 30.0, 'lower', 'fail'),          # a catastrophe
    ([-5.0] * 20, -4.0, 'lower', 'pass'),
    ([-5.0] * 20 + [-4.0], -4.0, 'lower', 'fail'),
    ([None, float('nan')] * 30 + QUIET, 10.0, 'lower', 'pass'),
])
def test_what_a_regression_is(history, value, better, expected):
    """Newest runs that lie too high for chance; never a verdict from too little."""
    assert runner.judge_regression(history, value, better)['verdict'] == expected


def test_inconclusive_says_what_would_be_enough():
    """So many good runs, or so many repeats."""
    few = runner.judge_regression(QUIET[:12], 10.0)
    assert (few['needed'], few['reason']) == (20, '12 of 20 good runs to compare with')
    noisy = runner.judge_regression([1.0, 3.0] * 15, 2.0)
    assert noisy['needed'] > 1 and 'repeat %d would be enough' % noisy['needed'] in noisy['reason']
    dice = random.Random(3)

    def median_of_repeats():
        return sorted(2 + dice.choice((-1, 1)) * dice.random() for _ in range(noisy['needed']))[noisy['needed'] // 2]
    quieter = runner.judge_regression([median_of_repeats() for _ in range(30)], median_of_repeats())
    assert quieter['verdict'] == 'pass'


@pytest.mark.parametrize('shape', sorted(noise.SHAPES))
def test_noise_is_no_alarm(shape):
    """The negative control: at most 1 % of judged runs fail, with 20 and with 10 good runs behind (a binomial margin aside)."""
    dice, tries = random.Random(shape), 3000 if THOROUGH else 300
    for behind in (20, 10):
        alarms = sum(runner.judge_regression(noise.series(dice, noise.SHAPES[shape], behind), noise.series(
            dice, noise.SHAPES[shape], 1)[0], min_runs=10)['verdict'] == 'fail' for _ in range(tries))
        assert alarms <= tries * 0.01 + 3 * (tries * 0.01 * 0.99) ** 0.5


@pytest.mark.parametrize('shape', sorted(noise.SHAPES))
@pytest.mark.parametrize('change, within, share', [(0.10, 3, 0.95), (0.05, 10, 0.80)])
def test_a_change_is_caught(shape, change, within, share):
    """The positive control: +10 % within 3 runs, +5 % within 10 (a binomial margin aside)."""
    dice, tries = random.Random(shape), 600 if THOROUGH else 60
    caught = sum(noise.is_caught(runner.judge_regression, dice, noise.SHAPES[shape], 20, change, within) for _ in range(tries))
    assert caught >= tries * share - 3 * (tries * share * (1 - share)) ** 0.5


# -- baselines in a file --------------------------------------------------------------------------------

def test_a_baseline_is_a_file_for_a_repository(tmp_path):
    """Sorted, a metric a line, tolerances kept when it is written anew."""
    path = str(tmp_path / 'baseline.json')
    integration = runner.CICDIntegration()
    integration.save_baseline(path, {'memory_max_mb': 20.123456789, 'execution_time_seconds': 1.5, 'cpu_max': None, 'exit_code': 0,
                                     'success': True, 'monitor_samples': 5})
    text = (tmp_path / 'baseline.json').read_text()
    assert text.splitlines()[3:5] == ['    "execution_time_seconds": {"value": 1.5, "tolerance": "25%"},',
                                      '    "memory_max_mb": {"value": 20.1235, "tolerance": "10%"}']
    assert integration.load_baseline(path) == {'execution_time_seconds': {'value': 1.5, 'tolerance': 0.25},
                                               'memory_max_mb': {'value': 20.1235, 'tolerance': 0.1}}
    (tmp_path / 'baseline.json').write_text(text.replace('"25%"', 'null').replace('"10%"', '"0.5%"'))
    integration.save_baseline(path, {'memory_max_mb': 21.0, 'execution_time_seconds': 1.6, 'user_time': 1.0})
    assert integration.load_baseline(path) == {
        'execution_time_seconds': {'value': 1.6, 'tolerance': None}, 'memory_max_mb': {'value': 21.0, 'tolerance': 0.005},
        'user_time': {'value': 1.0, 'tolerance': None}}
    passed, results = integration.check_gates({'memory_max_mb': 21.2, 'execution_time_seconds': 9.0})
    assert not passed and [result['name'] for result in results] == ['baseline of memory_max_mb']
    assert integration.check_gates({'memory_max_mb': 21.1})[0] and integration.check_gates({'memory_max_mb': 1.0})[0]
    assert integration.check_gates({'memory_max_mb': None})[1][0]['verdict'] == 'error'


GOOD_FORMAT = '{"format": "python-script-runner baseline 1", "metrics": %s}'


@pytest.mark.parametrize('text, sentence', [
    ('', 'no baseline'), ('{', 'no baseline'), ('[]', 'its "format" is not'), ('{"metrics": {}}', 'its "format" is not'),
    ('[' * 100000, 'no baseline'),
    (GOOD_FORMAT % '{}', 'holds no metrics'), (GOOD_FORMAT % '[]', 'holds no metrics'),
    (GOOD_FORMAT % '{"cpu_maxx": {"value": 1}}', "no metric 'cpu_maxx'; did you mean 'cpu_max'?"),
    (GOOD_FORMAT % '{"cpu_max": 5}', 'must be {"value": number, "tolerance": "10%" or null}'),
    (GOOD_FORMAT % '{"cpu_max": {"value": 5, "tolerence": 1}}', 'must be {"value"'),
    (GOOD_FORMAT % '{"cpu_max": {"value": "5"}}', "'5' is not a number"),
    (GOOD_FORMAT % '{"cpu_max": {"value": NaN}}', 'nan is not a number'),
    (GOOD_FORMAT % '{"cpu_max": {"value": true}}', 'True is not a number'),
    (GOOD_FORMAT % ('{"cpu_max": {"value": 1%s}}' % ('0' * 400)), 'is not a number'),
    (GOOD_FORMAT % '{"cpu_max": {"value": 5, "tolerance": "lots"}}', "tolerance 'lots': not a share"),
    (GOOD_FORMAT % '{"cpu_min": {"value": 5, "tolerance": "5%"}}', 'has no direction'),
    (GOOD_FORMAT % '{"cpu_max": {"value": 5}, "cpu_max": {"value": 9}}', "'cpu_max' stands twice"),
    ('{"format": "python-script-runner baseline 1", "metrics": {"cpu_max": {"value": 5}}, "x": 1}', "'x' is not a key"),
])
def test_a_baseline_that_cannot_be_believed_is_refused(tmp_path, text, sentence):
    """Naming the file and what is wrong."""
    path = tmp_path / 'baseline.json'
    path.write_text(text)
    with pytest.raises(runner.UsageError) as caught:
        runner.read_baseline(str(path))
    assert sentence in str(caught.value) and str(path) in str(caught.value)


def test_repeats_are_judged_together():
    """The least memory, the median of the rest, the last of what is no number."""
    runs = [{'memory_max_mb': m, 'user_time': t, 'exit_code': 0, 'cpu_max': c, 'success': True}
            for m, t, c in ((9.0, 1.0, 5.0), (8.0, 9.0, None), (10.0, 2.0, 7.0))]
    assert runner.aggregate_metrics(runs) == {'memory_max_mb': 8.0, 'user_time': 2.0, 'exit_code': 0, 'cpu_max': 7.0, 'success': True}
    assert runner.aggregate_metrics(runs[:1]) == runs[0]


# -- on the command line --------------------------------------------------------------------------------

@pytest.fixture
def quick(place, monkeypatch, capfd):
    """A workplace whose runners are called, not started: a process less for each."""
    monkeypatch.chdir(place.folder)
    for name in ('HOME', 'XDG_STATE_HOME', 'TMPDIR', 'SCRIPT_RUNNER_HISTORY_DB'):
        monkeypatch.setenv(name, place.env[name])

    def run(*words):
        capfd.readouterr()
        status = runner.main([str(word) for word in words])
        return Finished(status, *[text.encode('utf-8') for text in capfd.readouterr()])
    place.run = run
    return place


@pytest.mark.parametrize('options, status', [
    (['--gate', 'stdout_lines = 0'], 0), (['--gate', 'stdout_lines > 0'], 123), (['--gate', 'stderr_bytes < 5', '--gate', 'exit_code > 0'], 123),
    (['--gate', 'label.team = "data"', '--label', 'team=data'], 0), (['--gate', 'label.team = "data"'], 123),
    (['--gate', "status = 'success' AND hostname != ''"], 0),
    (['--gate', 'execution_time_seconds < 2 * previous.execution_time_seconds'], 0), (['--gate', 'execution_time_seconds < 2 * previous.execution_time_seconds', '--on-inconclusive', 'fail'], 123),
    (['--regression', 'execution_time_seconds'], 0), (['--regression', 'execution_time_seconds', '--on-inconclusive', 'fail'], 123),
])
def test_gates_decide_the_exit_status(quick, options, status):
    """123 when one does not pass; every verdict that is not pass is told."""
    finished = quick.run(*options + [script('exit_with.py'), 0])
    assert finished.status == status, finished
    assert (b'runner: gate ' in finished.err) == (status == 123 or b'inconclusive' in finished.err)


@pytest.mark.parametrize('options', [
    ['--gate', 'cpu_maxx < 90'], ['--gate', 'cpu_max'], ['--regression', 'cpu_maxx'], ['--baseline', 'missing.json'],
    ['--baseline', 'bad.json'], ['--save-baseline', 'bad.json'], ['--baseline', 'few.json', '--gate', 'cpu_avg < baseline.cpu_avg'],
    ['--no-history', '--regression', 'cpu_max'], ['--no-history', '--gate', 'cpu_max < previous.cpu_max'],
    ['--no-history', '--gate', 'cpu_max < baseline.cpu_max'], ['--repeat', '0'], ['--confirm', '-1'], ['--on-inconclusive', 'maybe'],
    ['--junit-output', 'no/such/folder.xml'], ['--tap-output', '.'], ['--save-baseline', 'no/such/b.json'],
    ['--config', 'gates.yaml'],
])
def test_what_cannot_be_judged_stops_the_run_before_it_starts(quick, options):
    """Exit status 2, nothing started, nothing recorded."""
    quick.write('bad.json', '{}')
    quick.write('few.json', GOOD_FORMAT % '{"cpu_max": {"value": 5}}')
    quick.write('gates.yaml', 'performance_gates:\n  - condition: cpu_maxx < 5\n')
    code = quick.write('touch.py', 'open("touched", "w").close()')
    finished = quick.run(*options + [code])
    assert finished.status == 2 and finished.err.startswith(b'runner: '), finished
    assert not os.path.exists(os.path.join(quick.folder, 'touched')) and not os.path.exists(quick.history)


def test_the_scripts_own_failure_stays_its_own(quick):
    """Script failed and gate failed: the script's status, both in the report; a gate is judged of a failed run too."""
    finished = quick.run('--gate', 'stdout_lines > 5', '--gate', 'exit_code = 3', '--junit-output', 'j.xml', script('exit_with.py'), 3)
    assert finished.status == 3 and b'gates: 1 fail, 1 pass' in finished.err
    suite = xml.etree.ElementTree.parse(os.path.join(quick.folder, 'j.xml')).getroot().find('testsuite')
    assert [[child.tag for child in case] for case in suite.findall('testcase')] == [['error'], ['failure'], []]


def test_a_metric_that_the_run_did_not_produce_is_never_green(quick):
    """A metric that is None at the end: verdict error, 123."""
    code = quick.write('job.py', 'pass')
    with runner.HistoryManager(quick.history) as history:
        history.save_execution({'cpu_max': 1.0}, code, 0)
    assert quick.run('check', 'memory_max_mb < 5', 'last').status == 123
    assert b'the run has no memory_max_mb' in quick.run('check', 'memory_max_mb < 5').out


def test_a_run_is_compared_with_the_good_runs_before_it(quick):
    """Of the same script, host and Python; neither failed ones, nor those that a gate failed, nor another host's."""
    code = quick.write('job.py', 'pass')
    remember(quick, code, [100.0 + n % 3 for n in range(19)])
    remember(quick, code, [0.001] * 30, hostname='elsewhere')
    remember(quick, quick.write('other.py', ''), [0.001] * 30)
    with runner.HistoryManager(quick.history) as history:
        history.save_execution({'execution_time_seconds': 0.001}, code, 1)
    run = ['--regression', 'execution_time_seconds', code]
    assert b'19 of 20 good runs' in quick.run(*run).err
    # The run just made is good, and twenty are enough; it was a fast one.
    finished = quick.run('--verbose', *run)
    assert finished.status == 0 and b'20 runs before' in finished.err


def test_runs_that_a_gate_failed_are_not_compared_with(quick):
    """Slow runs that were failed leave the level where it was; the verdict stays with them and show prints it."""
    code = quick.write('job.py', 'pass')
    remember(quick, code, [0.001 + n % 3 / 10000.0 for n in range(20)])
    for _ in range(3):
        finished = quick.run('--regression', 'execution_time_seconds', code)
        assert finished.status == 123 and b'worse than the 20 before' in finished.err, finished
    shown = quick.run('show', 'last').out.decode()
    assert 'gates: fail' in shown and 'regression of execution_time_seconds  fail' in shown
    assert json.loads(quick.run('show', 'last', '--json').out.decode())['judgement']['verdict'] == 'fail'


def test_a_history_that_is_broken_is_never_green(quick):
    """What compares with earlier runs is an error, 123; what does not is judged; the loss of the verdict is told."""
    quick.write('bad.db', 'this is no database at all, and longer than a header of SQLite, which has 100 bytes ' * 2)
    code = quick.write('job.py', 'pass')
    finished = quick.run('--history-db', 'bad.db', '--regression', 'execution_time_seconds', code)
    assert finished.status == 123 and b'error: cannot be judged: the history cannot be read' in finished.err
    assert b'the verdict of the gates is not recorded' in finished.err
    assert quick.run('--history-db', 'bad.db', '--gate', 'stdout_lines = 0', code).status == 0


def test_a_pinned_run_accepts_a_level(quick):
    """Only runs from it on are compared with; baseline.METRIC is its value."""
    code = quick.write('job.py', 'pass')
    remember(quick, code, [0.001 + n % 3 / 10000.0 for n in range(20)])
    run = ['--regression', 'execution_time_seconds', '--gate', 'execution_time_seconds < 5 * baseline.execution_time_seconds', code]
    assert quick.run(*run).err.count(b'fail: ') == 2
    assert quick.run('baseline', 'set', 'last').status == 0
    finished = quick.run(*run)
    assert finished.status == 0 and b' of 20 good runs' in finished.err and b'1 pass' in finished.err, finished


def test_repeats_and_confirmations(quick):
    """Repeats are one value; a gate fails when all confirmations fail, and one that passes acquits."""
    code = quick.write('job.py', 'import os\npath = "count"\nn = int(open(path).read()) if os.path.exists(path) else 0\n'
                                 'open(path, "w").write(str(n + 1))\nprint("x\\n" * n, end="")')
    result = quick.result('--repeat', '3', '--gate', 'stdout_lines = 1', code)
    assert result['gates_passed'] and [repeat['metrics']['stdout_lines'] for repeat in result['repeats']] == [0, 1, 2]
    finished = quick.run('--confirm', '2', '--gate', 'stdout_lines > 4', code)           # 3, 4, 5: the last acquits
    assert finished.status == 0 and finished.err.count(b'to confirm it') == 2
    finished = quick.run('--confirm', '1', '--gate', 'stdout_lines < 1', code)
    assert finished.status == 123 and len(quick.rows()) == 8
    verdicts = quick.rows('SELECT verdict, judged_with FROM judgement ORDER BY execution_id')
    assert [tuple(row.values()) for row in verdicts] == [('pass', 1)] * 3 + [('pass', 4)] * 3 + [('fail', 7)] * 2
    with runner.HistoryManager(quick.history) as history:
        run = history.get_execution(6)
        assert runner._Past(history, dict(run, python_version=None), None).values('stdout_lines') == [1.0, 4.0]


def test_repeats_do_not_make_a_history_too_short(place):
    """Twelve repeats are one value each time; thirty such values are found, also where a gate looks at 300."""
    ids = remember(place, 'job.py', [float(n // 12) for n in range(360)])
    wide = gate(regression={'metric': 'execution_time_seconds', 'window': 300})
    with runner.HistoryManager(place.history) as history:
        for first in range(0, 360, 12):
            history.save_judgement(ids[first:first + 12], 'pass', [])
        run = dict(history.get_execution(ids[-1]), python_version=None)
        past = runner._Past(history, run, None)
        assert past.values('execution_time_seconds', limit=20) == [float(n) for n in range(10, 30)]
        assert past.values('execution_time_seconds') == [float(n) for n in range(30)]
        assert past.previous('execution_time_seconds') == 29.0
        ids += [history.save_execution({'execution_time_seconds': 5.0}, 'job.py', 0) for _ in range(250)]
        assert len(runner._Past(history, run, None, wide).values('execution_time_seconds')) == 280


def test_a_repeat_that_fails_ends_the_repeats(quick):
    """The script's failure is the outcome."""
    finished = quick.run('--repeat', '3', '--gate', 'stdout_lines = 0', script('exit_with.py'), 7)
    assert finished.status == 7 and len(quick.rows()) == 1


def test_a_baseline_goes_from_run_to_run(quick):
    """Saved from a good run, judged by later; not written from one that failed or was not let pass."""
    code = script('exit_with.py')
    assert quick.run('--save-baseline', 'b.json', code, 0).status == 0
    path = os.path.join(quick.folder, 'b.json')
    before = runner.read_baseline(path)
    assert before['memory_max_mb']['tolerance'] == 0.1
    assert quick.run('--baseline', 'b.json', '--gate', 'memory_max_mb < 2 * baseline.memory_max_mb', '--no-history', code, 0).status in (0, 123)
    quick.write('b.json', GOOD_FORMAT % '{"memory_max_mb": {"value": 0.001, "tolerance": "5%"}}')
    finished = quick.run('--baseline', 'b.json', '--save-baseline', 'b.json', code, 0)
    assert finished.status == 123 and b'baseline not written' in finished.err
    assert quick.run('--save-baseline', 'b.json', code, 5).status == 5
    assert runner.read_baseline(path)['memory_max_mb']['value'] == 0.001


def test_check_judges_a_recorded_run(quick):
    """By number or the last; conditions or the settings file; a run that failed is never green."""
    code = quick.write('job.py', 'import sys\nsys.exit(int(sys.argv[1]))')
    quick.run(code, 0)
    quick.run(code, 1)
    assert quick.run('check', 'exit_code = 0', 'cpu_avg >= 0', 1).status == 0
    assert quick.run('check', 'exit_code = 1', 2).status == 123
    assert quick.run('check', 'exit_code = 1', 'cpu_avg < 0', 1).status == 123
    answer = json.loads(quick.run('check', 'exit_code = 0', '1', '--json').out.decode())
    assert answer['passed'] and answer['gate_results'][0]['verdict'] == 'pass' and answer['run'] == 1
    quick.write('ci.yaml', 'performance_gates: [{metric_name: stdout_lines, max_value: 0}]\n')
    assert quick.run('check', '1', '--config', 'ci.yaml').status == 0
    quick.write('b.json', GOOD_FORMAT % '{"cpu_max": {"value": 5, "tolerance": null}}')
    for words in (['check', 'cpu_maxx < 5', '1'], ['check', '1'], ['check', 'cpu_max < 5', '99'], ['check', '--baseline', 'b.json'],
                  ['check', 'cpu_max < 5', '9' * 30], ['history', '--limit', '9' * 30]):
        assert quick.run(*words).status == 2, words


# -- A/B ------------------------------------------------------------------------------------------------

def test_the_order_favours_neither():
    """Each round has both, each goes first equally often."""
    order = runner.ab_order(10)
    assert all(set(both) == {'a', 'b'} for both in order) and [both[0] for both in order].count('a') == 5


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """95 % of simulated comparisons, also with heavy tails; a true difference is found."""
    tries = 2000 if THOROUGH else 200
    for shape in (noise.normal, noise.student3, noise.spikes):
        dice, held = random.Random(7), 0
        for _ in range(tries):
            answer = runner.compare_samples(noise.series(dice, shape, 10), noise.series(dice, shape, 10, 120.0))
            held += answer['low'] <= 1.2 <= answer['high']
            assert answer['verdict'] == 'more' and abs(answer['ratio'] - 1.2) < 0.1
        assert held >= tries * 0.95 - 3 * (tries * 0.95 * 0.05) ** 0.5


@pytest.mark.parametrize('before, after, expected', [
    ([1.0] * 3, [2.0] * 3, 'inconclusive'), ([], [], 'inconclusive'), ([0.0] * 9, [0.0] * 9, 'same'), ([0.0] * 9, [1.0] * 9, 'inconclusive'), ([5.0] * 8 + [float('nan')], [5.0] * 9, 'inconclusive'),
    ([5.0] * 9, [5.0] * 9, 'same'), ([5.0] * 9, [4.0] * 9, 'less'), ([5.0, 6.0] * 5, [6.0, 5.0] * 5, 'same')])
def test_small_and_odd_samples(before, after, expected):
    """Nothing is said from too little."""
    assert runner.compare_samples(before, after)['verdict'] == expected


def test_many_runs_are_compared_in_a_moment():
    """Orders of large samples are not counted: the normal distribution gives the same."""
    for size, expected in ((100, 4197), (1000, 474689)):           # n * n / 2 - z * deviation - 1/2, by hand
        assert abs(runner._largest_deficit(size, size, 0.025) - expected) <= 2
    values = [100.0 + n / 100.0 for n in range(300)]
    answer = runner.compare_samples(values, [1.1 * value for value in values])
    assert answer['verdict'] == 'more' and answer['low'] < 1.1 < answer['high']


@pytest.mark.skipif(PORTABLE, reason='psutil\'s sampler sees nothing of a script of 10 ms')
def test_two_commands_are_compared(quick):
    """A large and a small one; as JSON too; one that fails is no candidate; nothing is recorded unasked."""
    large, small = quick.write('large.py', 'import time; x = b"x" * (90 << 20); time.sleep(0.15)'), quick.write('small one.py', 'import time; time.sleep(0.04)')
    commands = ['%s %s' % (sys.executable, large), '%s "%s"' % (sys.executable, small)]
    finished = quick.run('ab', '--runs', '4', *commands)
    memory = [line for line in finished.out.decode().split('\n') if line.startswith('memory_max_mb')][0]
    assert finished.status == 0 and b'B, time: ' in finished.out and ' less (' in memory and not os.path.exists(quick.history)
    answer = json.loads(quick.run('ab', '--runs', '4', '--json', '--record', *commands).out.decode())
    memory = answer['metrics'][3]
    assert (memory['metric'], memory['verdict'], len(memory['values']['a'])) == ('memory_max_mb', 'less', 4) and len(quick.rows()) == 8
    finished = quick.run('ab', '--runs', '2', commands[0], '%s -c "import sys; sys.exit(3)"' % sys.executable)
    assert finished.status == 125 and b'B did not succeed (exit, exit status 3)' in finished.err
    finished = quick.run('ab', '--runs', '2', commands[0], '%s -c "import sys; sys.exit(\'token=abcdef\')"' % sys.executable)
    assert finished.status == 125 and b'token=[redacted]' in finished.err and b'abcdef' not in finished.err
    for words in (['""', 'x'], ["'", 'x'], ['', 'x'], ['x']):
        assert quick.run('ab', *words).status == 2, words


# -- reports --------------------------------------------------------------------------------------------

NASTY = 'a & b < c > "d" \' ]]> \x1b[31mred\x1b[0m \x00\x01\x08\x0b\x1f\x7f\x85\x9f \ud800 \ufffe \U0001f600 ::error:: %0A # not ok\r\n...\n---\n```\n'


def nasty_result(**changes):
    """Return a result in which everything is as bad as it gets."""
    def judged(verdict, passed, name):
        return {'name': name, 'condition': name, 'verdict': verdict, 'passed': passed, 'reason': NASTY, 'metric': None, 'value': float('1e300'),
                'baseline': None, 'change_pct': None, 'runs': None, 'needed': 3}
    result = {'script_path': '/x/%s.py' % NASTY.replace('/', ''), 'success': False, 'status': 'failed', 'cause': 'exit', 'evidence': NASTY,
              'error_summary': NASTY, 'returncode': 1, 'stdout': NASTY * 9, 'stderr': NASTY, 'metrics': dict.fromkeys(runner.METRICS),
              'gate_results': [judged('pass', True, 'a'), judged('fail', False, NASTY), judged('inconclusive', True, NASTY),
                               judged('inconclusive', False, 'strict # TODO'), judged('error', False, '1 - \\')]}
    result['metrics'].update(execution_time_seconds=12345.6789, start_time='2026-01-31T12:00:00.000000+00:00', cpu_max=5.0)
    return dict(result, **changes)


def test_junit_is_valid_whatever_the_script_wrote():
    """By the strict schema, by a reader of JUnit, by a parser; counts are right, names stay the same."""
    text = runner.junit_xml(nasty_result())
    assert text == runner.junit_xml(nasty_result())
    root = xml.etree.ElementTree.fromstring(text.encode('utf-8'))
    suite = root.find('testsuite')
    assert [suite.get(name) for name in ('tests', 'failures', 'errors', 'skipped')] == ['6', '2', '2', '1']
    cases = suite.findall('testcase')
    assert [case[0].tag if len(case) else None for case in cases] == ['error', None, 'failure', 'skipped', 'failure', 'error']
    assert len({(case.get('classname'), case.get('name')) for case in cases}) == 6
    assert '\U0001f600' in cases[0].find('system-out').text and '[31m' not in text and '\x85' not in text
    if sys.version_info >= (3, 9):
        xmlschema, junitparser = pytest.importorskip('xmlschema'), pytest.importorskip('junitparser')
        xmlschema.XMLSchema(XSD).validate(text)
        read = junitparser.JUnitXml.fromstring(text.encode('utf-8'))
        assert (read.tests, read.failures, read.errors) == (6, 2, 2)


def test_tap_is_valid_whatever_the_script_wrote(tmp_path):
    """By a grammar as strict as the specification, by prove and tap-parser where they are installed, the YAML by PyYAML."""
    import yaml
    lines = runner.tap_text(nasty_result()).split('\n')
    assert lines[:2] == ['TAP version 13', '1..6'] and lines.pop() == ''
    points, blocks, block = [], [], None
    for line in lines[2:]:
        if line == '  ---':
            block = []
        elif line == '  ...':
            blocks.append(yaml.safe_load('\n'.join(block)))
            block = None
        elif block is not None:
            block.append(line[2:])
        else:
            points.append(line)
    assert [point.split(' - ')[0] for point in points] == ['not ok 1', 'ok 2', 'not ok 3', 'ok 4', 'not ok 5', 'not ok 6']
    assert points[3].endswith(' # SKIP inconclusive') and points[4].endswith('strict \\# TODO')
    assert [block.get('verdict') for block in blocks[1:]] == ['pass', 'fail', 'inconclusive', 'inconclusive', 'error']
    path = tmp_path / 'f.tap'
    for result, status in ((nasty_result(), 1), (nasty_result(success=True, gate_results=[]), 0)):
        path.write_bytes(runner.tap_text(result).encode('utf-8'))
        if shutil.which('prove'):
            assert bool(subprocess.call(['prove', '-Q', '-e', 'cat', str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)) == bool(status)
        if shutil.which('tap-parser'):
            out = subprocess.Popen(['tap-parser', '-t', '--strict', str(path)], stdout=subprocess.PIPE).communicate()[0]
            assert b'Non-TAP data' not in out


def test_markdown_and_annotations_are_escaped():
    """A table stays a table, a fence a fence; no command of the workflow can be smuggled in; at most ten of a level."""
    text = runner.markdown_summary(nasty_result())
    rows = [line for line in text.split('\n') if '| **fail** |' in line]
    assert len(rows) == 1 and rows[0].count('|') - rows[0].count('\\|') == 4
    assert '\n````text\n' in text and text.count('\n````\n') == 1
    result = nasty_result()
    result['gate_results'] *= 9
    lines = runner.github_annotations(result)
    for level in ('error', 'warning'):
        found = [line for line in lines if line.startswith('::%s title=' % level)]
        assert len(found) == (10 if level == 'error' else 9)
        assert all('\n' not in line and '\r' not in line and line.count('::') >= 2 for line in found)
    assert lines[9].endswith('::and 19 more') and '%250A' in lines[1]
    assert runner.github_annotations(nasty_result(success=True, gate_results=[])) == []


def test_benchmarks_are_written_of_good_runs_only(tmp_path):
    """Bencher Metric Format and github-action-benchmark: numbers that are better when lower, with the range of repeats."""
    metrics = dict.fromkeys(runner.METRICS)
    metrics.update(execution_time_seconds=2.0, memory_max_mb=9.0, cpu_min=5.0, success=True)
    result = nasty_result(success=True, script_path='job.py', metrics=metrics, repeats=[
        {'metrics': dict(metrics, execution_time_seconds=value)} for value in (1.0, 2.0, 4.0)])
    assert json.loads(runner.bencher_json(result)) == {'job.py': {
        'execution_time_seconds': {'value': 2.0, 'lower_value': 1.0, 'upper_value': 4.0}, 'memory_max_mb': {'value': 9.0}}}
    assert json.loads(runner.benchmark_json(result)) == [
        {'name': 'job.py: execution_time_seconds', 'unit': 's', 'value': 2.0, 'range': '1 to 4'},
        {'name': 'job.py: memory_max_mb', 'unit': 'MiB', 'value': 9.0}]
    failed = nasty_result()
    assert (json.loads(runner.bencher_json(failed)), json.loads(runner.benchmark_json(failed))) == ({}, [])


ALL_REPORTS = ['--junit-output', 'j.xml', '--tap-output', 't.tap', '--summary-output', 's.md', '--bencher-output', 'b.json',
               '--benchmark-output', 'g.json']


@own_process_only
@pytest.mark.parametrize('words, status, errors', [
    ([script('exit_with.py'), 0], 0, 0), ([script('exit_with.py'), 3], 3, 1), (['--timeout', '0.3', '-m', 'this_module.is_missing'], 1, 1),
    (['--timeout', '0.2', 'sleeper.py'], 124, 1), (['missing.py'], 127, 1), (['crash.py'], 134, 1), (['flood.py'], 0, 0)])
def test_reports_are_written_whatever_became_of_the_script(place, words, status, errors):
    """Crash, time limit, no such script, 10 MB of output, LANG=C: every report parses."""
    place.write('sleeper.py', 'import time\ntime.sleep(60)')
    place.write('crash.py', 'import os\nos.abort()')
    place.write('flood.py', 'import sys\nsys.stdout.buffer.write(b"\\xff\\x00<&\\xf0\\x9f\\x98\\x80\\x1b[1m]]>\\r\\n" * 500000)')
    finished = place.run(*ALL_REPORTS + ['--gate', 'stderr_lines < 9000', '--quiet'] + words, env={'LANG': 'C', 'LC_ALL': 'C'})
    assert finished.status == status, finished

    def read(name):
        with open(os.path.join(place.folder, name), 'rb') as file:
            return file.read().decode('utf-8')
    root = xml.etree.ElementTree.fromstring(read('j.xml').encode('utf-8'))
    assert [int(root.get(name)) for name in ('tests', 'failures')] == [2, 0] and int(root.get('errors')) >= errors
    assert ('not ok 1' in read('t.tap')) == bool(errors) and '###' in read('s.md')
    assert bool(json.loads(read('b.json'))) == (not errors) and isinstance(json.loads(read('g.json')), list)
    assert len(read('j.xml')) < 400000 and not [name for name in os.listdir(place.folder) if name.endswith('.tmp')]


@pytest.mark.skipif(os.name != 'posix', reason='a folder that is somebody\'s current one cannot be removed there')
def test_a_script_may_remove_the_folder_that_it_runs_in(place):
    """Its status comes back, the report that can be written is, and the other is told."""
    gone, report = os.path.join(place.folder, 'gone'), os.path.join(place.folder, 'j.xml')
    os.mkdir(gone)
    code = place.write('remove.py', 'import os, sys\nos.rmdir(os.getcwd())\nsys.exit(3)')
    finished = place.run('--junit-output', report, '--tap-output', 't.tap', code, cwd=gone, env={'GITHUB_ACTIONS': 'true'})
    assert finished.status == 3 and b'::error title=remove.py::' in finished.err, finished
    with open(report, 'rb') as file:
        assert b't.tap: tap report not written' in finished.err and b'name="remove.py"' in file.read()


@own_process_only
def test_github_is_told(place):
    """Annotations on stderr and the step's summary; a run inside a run leaves that to the outer one."""
    env = {'GITHUB_ACTIONS': 'true', 'GITHUB_STEP_SUMMARY': os.path.join(place.folder, 'summary.md')}
    finished = place.run('--gate', 'stdout_lines > 5', '--regression', 'cpu_max', script('exit_with.py'), 0, env=env)
    assert b'\n::error title=' in b'\n' + finished.err and b'::warning title=' in finished.err and finished.out == b''
    with open(env['GITHUB_STEP_SUMMARY'], encoding='utf-8') as file:
        assert '| **fail** |' in file.read()
    finished = place.run('--gate', 'stdout_lines > 5', script('exit_with.py'), 0, env=dict(env, SCRIPT_RUNNER_ACTIVE='1'))
    assert b'::error' not in finished.err and finished.status == 123


@own_process_only
def test_reports_are_redacted(place):
    """Secrets in the output, and what the settings file calls one."""
    place.write('ci.yaml', "redact: ['cust[0-9]+']\n")
    code = place.write('leak.py', 'import sys\nprint("token=abcdef cust42")\nsys.exit("password: hunter2 cust43")')
    place.run('--config', 'ci.yaml', *ALL_REPORTS + [code])
    for name in ALL_REPORTS[1::2]:
        with open(os.path.join(place.folder, name), encoding='utf-8') as file:
            text = file.read()
        assert not any(secret in text for secret in ('abcdef', 'hunter2', 'cust42', 'cust43')), name


def test_names_of_gates_are_redacted():
    """The condition is the name, and may hold what the settings file calls a secret."""
    integration = gate(condition="label.who != 'cust42'")
    result = {'script_path': 'x.py', 'success': True, 'metrics': {}, 'gate_results': integration.check_gates({'label.who': 'cust42'})[1]}
    for write in runner.REPORTS.values():
        assert 'cust42' not in write(result, [runner.compile_secret('cust[0-9]+')])


def test_what_is_said_of_gates_is_redacted(quick):
    """On stderr, which a CI keeps, as in the reports."""
    config = quick.write('ci.yaml', "redact: ['cust[0-9]+']\n")
    finished = quick.run('--config', config, '--label', 'who=cust42', '--gate', "label.who = 'nobody'", '--confirm', '1', script('exit_with.py'), 0)
    assert finished.status == 123 and finished.err.count(b'[redacted]') == 2 and b'cust42' not in finished.err


def test_the_api_judges_and_reports(tmp_path):
    """cicd_integration of a ScriptRunner; the methods write what they return."""
    run = runner.ScriptRunner(script('exit_with.py'), ['0'], history_db=str(tmp_path / 'h.db'))
    run.cicd_integration = gate(metric_name='stdout_lines', max_value=0)
    run.cicd_integration.add_performance_gate(condition='exit_code = 1')
    result = run.run_script()
    run.history_manager.close()
    assert result['gates_passed'] is False and [gate['verdict'] for gate in result['gate_results']] == ['pass', 'fail']
    for make, name in ((run.cicd_integration.generate_junit_xml, 'j.xml'), (run.cicd_integration.generate_tap_output, 't.tap')):
        text = make(result, str(tmp_path / name))
        assert (tmp_path / name).read_text(encoding='utf-8') == text
    assert runner.ScriptRunner(script('exit_with.py'), ['0'], enable_history=False).run_script()['gates_passed'] is None


@pytest.mark.parametrize('options', [{'repeat': 0}, {'confirm': -1}, {'repeat': 1.5}])
def test_counts_that_cannot_be_are_refused(options):
    """Before anything starts."""
    with pytest.raises(runner.UsageError):
        runner.ScriptRunner(script('exit_with.py'), ['0'], enable_history=False, **options).run_script()
