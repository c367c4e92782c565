"""Sections 8, 15 and 16 together: what the verbs answer from a history whose truth is known."""
import json
import random

import pytest

import runner


def fill(history, count=50, step=30, script_path='job.py', **more):
    """Record runs of one second with 3 % noise, half as long again from run `step` on, where the commit changes."""
    noise = random.Random(7)
    for number in range(count):
        seconds = (1.0 if number < step else 1.5) * (1 + noise.gauss(0, 0.03))
        memory = 100.0 * (1 + noise.gauss(0, 0.02))
        metrics = {'execution_time_seconds': seconds, 'cpu_avg': 90.0 + noise.gauss(0, 1), 'memory_max_mb': memory,
                   'page_faults': int(memory * 256), 'cpu_max': 163.0, 'rows': 10 * number,
                   'start_time': '2026-01-%02dT%02d:00:00+00:00' % (1 + number // 24, number % 24)}
        history.save_execution(metrics, script_path, 0, git_commit='aaaa' * 10 if number < step else 'bbbb' * 10,
                               **dict({'hostname': 'here', 'python_version': '3.11.7'}, **more))


@pytest.fixture
def answers(place):
    """Ask a verb; returns its output as text, or as JSON with json=True."""
    def ask(*words, **options):
        wants_json = options.pop('json', False)
        finished = place.run(*(words + (('--json',) if wants_json else ())), **options)
        assert finished.status == 0, finished
        text = finished.out.decode('utf-8')
        return json.loads(text) if wants_json else text
    with runner.HistoryManager(place.history) as history:
        fill(history, script_path=place.write('job.py', ''))
        history.save_execution({'execution_time_seconds': 0.1}, place.folder + '/job.py', 1)
    return ask


def test_trend_finds_the_step_and_its_commit(answers):
    """The run and the commit at which it became slower are named, in the plot, the sentence and in JSON."""
    text = answers('trend', 'execution_time_seconds', 'job.py')
    assert 'execution_time_seconds of' in text and '50 runs' in text and '1 that did not succeed left out' in text
    assert 'commit bbbbbbbbbb after aaaaaaaaaa' in text and '^ a step' in text and text.count('│') == 8
    assert 'no trend since then: 1.49 s in the middle; ' in text
    assert 'next: about 1.5' in text
    found = answers('trend', 'execution_time_seconds', json=True)
    assert [abs(step['run_id'] - 31) <= 1 for step in found['change_points']] == [True]
    assert found['forecast']['low'][0] < 1.5 < found['forecast']['high'][0]
    assert len(found['runs']) == found['n'] == 50
    assert len(found['anomalies']) <= 2                  # the level after the step is not odd


def test_a_trend_of_a_steady_metric_is_none(answers):
    """Memory did not change: no step, no trend, said so."""
    text = answers('trend', 'memory_max_mb')
    assert 'no trend: ' in text and 'step at run' not in text


def test_a_trend_of_a_reported_metric_works(answers):
    """What a script reported itself has a trend as well."""
    assert answers('trend', 'rows', json=True)['regression_line']['trend'] == 'increasing'


@pytest.mark.parametrize('words, parts', [
    (['trend', 'cpu_maxx'], ["'cpu_maxx'", "did you mean 'cpu_max'?"]),
    (['trend', 'start_time'], ["'start_time'", 'a time, not a number']),
    (['trend', 'cpu_max', 'jib.py'], ['jib.py', "did you mean 'job.py'?"]),
    (['compare', '1', '999'], ['999', 'no such run']),
    (['compare', '1', 'x'], ["'x'", "'last'"]),
    (['baseline', 'set'], ['which run?']),
    (['baseline', 'put'], ['put']),
    (['baseline', 'set', '51'], ['run 51', 'failed', 'succeeded']),
    (['forecast', 'memory_max_mb', '--reach', 'much'], ["'much'"]),
    (['correlate', '--lag', '-1'], ["'-1'"]),
])
def test_bad_questions_are_one_sentence(answers, place, words, parts):
    """Exit 2, what was given, and the nearest names."""
    finished = place.run(*words)
    text = finished.err.decode()
    assert finished.status == 2 and finished.out == b'' and text.count('\n') == 1, finished
    for part in parts:
        assert part in text


def test_few_runs_are_no_verdict(place):
    """Two runs: every question has an answer that says what is missing, never a silent 'stable'."""
    with runner.HistoryManager(place.history) as history:
        fill(history, 2, script_path=place.folder + '/few.py')
    assert 'unknown' in json.dumps(json.loads(place.run('trend', 'cpu_avg', '--json').out.decode())['regression_line'])
    for words, part in ((['trend', 'cpu_avg'], b'not judged: trend'), (['anomalies'], b'no odd run'), (['correlate'], b'5 good runs'),
                        (['forecast', 'cpu_avg'], b'no forecast: 2 values; 8'), (['advise'], b'2 good runs; 10 are needed'),
                        (['compare', '1', '2'], b'before run 1')):
        finished = place.run(*words)
        assert finished.status == 0 and part in finished.out, (words, finished)


def test_an_empty_history_is_told(place):
    """A history without a run answers exit 2 where a script is needed."""
    with runner.HistoryManager(place.history) as history:
        history.get_scripts()
    assert place.run('trend', 'cpu_max').status == 2 and place.run('anomalies').out == b'no odd run\n'


def test_anomalies_names_the_odd_run_and_what_is_usual(answers, place):
    """A run that took three times the memory stands in the list; so does one that is odd only in the combination."""
    with runner.HistoryManager(place.history) as history:
        odd = history.save_execution({'execution_time_seconds': 1.5, 'cpu_avg': 90.0, 'memory_max_mb': 300.0, 'page_faults': 25600,
                                      'cpu_max': 163.0}, place.folder + '/job.py', 0)
    found = [record for record in answers('anomalies', json=True) if record['run_id'] == odd]
    assert [(record['metric'], record['direction']) for record in found] == [('memory_max_mb', 'high')]
    assert found[0]['low'] < 100 < found[0]['high'] < 120
    assert 'memory_max_mb high' in answers('anomalies', 'job.py')


def test_a_little_is_not_odd(place):
    """Nobody is told of a tenth of a MiB, nor of the fourth run that differs from three."""
    values = [68.8] * 8 + [68.7]
    with runner.HistoryManager(place.history) as history:
        for value in values:
            history.save_execution({'memory_max_mb': value}, place.folder + '/job.py', 0)
        for value in (10.0, 10.0, 10.0, 50.0):
            history.save_execution({'memory_max_mb': value}, place.folder + '/new.py', 0)
    assert place.run('anomalies').out == b'no odd run\n'


def test_compare_tells_better_from_worse(answers):
    """Each metric by its own direction, against what is usual for the script, commit to commit."""
    rows = {row['name']: row for row in answers('compare', '20', '45', json=True)['metrics']}
    assert rows['execution_time_seconds']['verdict'] == 'worse' and 40 < rows['execution_time_seconds']['change_pct'] < 65
    assert rows['memory_max_mb']['verdict'] == 'same' and rows['memory_max_mb']['usual_low'] < 100 < rows['memory_max_mb']['usual_high']
    assert {row['name']: row['verdict'] for row in answers('compare', '45', '20', json=True)['metrics']}['execution_time_seconds'] == 'better'
    text = answers('compare', '20', 'last')
    assert 'note: the status differs: success, failed' in text and 'commit aaaaaaaaaa' in text


def test_a_baseline_is_pinned_shown_and_cleared(answers):
    """set by run, show and clear by script, the last run's script without one."""
    assert 'no run is pinned' in answers('baseline', 'show')
    assert 'run 40 is its baseline' in answers('baseline', 'set', '40')
    assert 'memory_max_mb' in answers('baseline', 'show', 'job.py')
    assert answers('baseline', 'show', json=True)['execution_id'] == 40
    assert 'forgotten' in answers('baseline', 'clear') and 'had no baseline' in answers('baseline', 'clear')


def test_correlate_finds_what_goes_together(answers):
    """page_faults were made from memory_max_mb; cpu_avg from nothing."""
    text = answers('correlate')
    assert 'page_faults rises with memory_max_mb' in text and 'cpu_avg' not in text


def test_forecast_tells_when_a_limit_is_reached(answers):
    """rows grows by 10 a run, 24 runs a day: 970 is two days after 490."""
    text = answers('forecast', 'rows', '--reach', '970')
    assert '970: limit reached in about 2 days' in text
    assert 'no date' in answers('forecast', 'memory_max_mb', '--reach', '1GiB')


def test_advice_is_above_what_was_used(answers):
    """A timeout, a memory limit and CPUs that fit the last good runs, each typed as the option takes it."""
    advice = {record['limit']: record for record in answers('advise', 'job.py', json=True)[0]['advice']}
    assert runner.parse_duration(advice['--timeout']['text']) > 1.5 and runner.parse_size(advice['--max-memory']['text']) > 105 << 20
    assert advice['CPUs']['text'] == '2'
    assert '--timeout 3s: 95 % of the last 50 good runs' in answers('advise')


def test_drawings_are_plain_where_the_encoding_is(answers):
    """LANG=C: the plot is drawn in ASCII."""
    text = answers('trend', 'cpu_avg', env={'PYTHONIOENCODING': 'ascii', 'LC_ALL': 'C', 'PYTHONUTF8': '0'})
    assert '?' not in text and text.count('|') == 8 and '*' in text


def test_a_plot_keeps_the_extremes_of_a_long_series():
    """A column shows the least to the greatest of its share."""
    values = [1.0] * 1000
    values[500] = 9.0
    lines = runner.draw_plot(values, width=10, height=4, marks={500: '!', 0: '^'})
    assert lines[0] == '│     •    ' and lines[3] == '│' + '•' * 10 and lines[-1] == ' ^    !'
    assert runner.draw_plot([5.0], height=3)[2] == '│•'


@pytest.mark.parametrize('old, recent, verdict', [(None, 1.0, ''), (0, 5, 'worse'), (0, 0, 'same'), (100.0, 100.5, 'same'), (100.0, 98.0, 'better')])
def test_edges_of_a_comparison(old, recent, verdict):
    """Unknown is no verdict, from 0 there is no percentage, less than 1 % is the same."""
    row, = runner.compare_metrics({'page_faults': old}, {'page_faults': recent})
    assert row['verdict'] == verdict and (row['change_pct'] is None) == (not old)
