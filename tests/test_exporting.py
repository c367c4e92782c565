"""Section 7: what leaves the history, as a file or for good."""
import csv
import gzip
import io
import json
import os
import sqlite3
import stat
import subprocess
import sys
import time

import pytest
from conftest import own_process_only, script

import runner

DAY = 86400.0
HARD_TEXT = 'a "quoted", line\r\nnext\rone\n\ttab ü \U0001f600 \u2028 \x00 end;'


def save(history, days_ago=0.0, **more):
    """Save a run that began so many days ago."""
    metrics = dict({'execution_time_seconds': 1.5, 'cpu_max': 50.0, 'exit_code': 0}, **more.pop('metrics', {}))
    return history.save_execution(metrics, more.pop('script_path', 'job.py'), start_time=runner.format_time(time.time() - days_ago * DAY),
                                  **more)


def with_samples(history, run_id, count):
    """Give a run samples, with one spike and one dip in each of CPU and memory."""
    rows = [(t * 0.1, 50.0, 100.0, 1, 5, 1, 0.0, 0.0) for t in range(count)]
    for at, cpu, memory in ((count // 3, 99.0, 100.0), (count // 2, 1.0, 100.0), (count // 4, 50.0, 900.0), (count // 5, 50.0, 3.0)):
        rows[at] = (rows[at][0], cpu, memory) + rows[at][3:]
    with runner._Writing(history) as connection:
        runner._store_samples(connection, run_id, rows)
    return rows


@pytest.fixture
def filled(history):
    """Some runs that differ."""
    save(history, 3, status='failed', exit_code=1, metrics={'memory_max_mb': 600.0, 'rows': 7}, labels={'team': 'data', 'a b': "it's"}, git_branch='main',
         hostname='alpha')
    save(history, 2, metrics={'memory_max_mb': 100.0, 'rows': 9}, labels={'team': 'web'}, hostname='beta', script_path='other.py')
    save(history, 1, status='timeout', cause='timeout', metrics={'memory_max_mb': 700.0, 'timed_out': True}, stdout=HARD_TEXT)
    save(history, 0, metrics={'p95-latency': 0.25}, git_branch='dev')
    return history


# -- conditions over the history ---------------------------------------------------------------------------

@pytest.mark.parametrize('where, expected', [
    ('success = false AND memory_max_mb > 500MiB', [3, 1]), ("label.team = 'data'", [1]), ("label.team != 'data'", [2]),
    ("`label.a b` = 'it''s'", [1]), ("git_branch = 'main' OR hostname = 'beta'", [2, 1]), ('rows >= 7', [2, 1]), ('rows >= 7 AND memory_max_mb < 0.5GiB AND success', [2]), ('`p95-latency` < 1', [4]),
    ('timed_out', [3]), ("cause = 'timeout'", [3]), ('NOT success', [3, 1]), ('memory_max_mb > 0 OR NOT memory_max_mb > 0', [3, 2, 1]),
    ("start_time > '2001-01-01' AND exit_code = 1", [1]), ('exit_code = 0 AND 1 / exit_code > 0', []), ("label.team = '\"'", [])])
def test_history_is_filtered_by_a_condition(filled, where, expected):
    """Runs for which it is true; one of which it is unknown is not among them."""
    assert [run['id'] for run in filled.get_execution_history(where=where)] == expected
    assert filled.count_executions(where=where) == len(expected)
    assert [run['id'] for run in filled.get_executions_paginated(per_page=2, where=where)['executions']] == expected[:2]


def test_a_path_is_compared_as_it_is_stored(filled):
    """script_path is the canonical one."""
    where = "script_path = '%s'" % os.path.realpath('other.py').replace("'", "''")
    assert [run['id'] for run in filled.get_execution_history(where=where)] == [2]


def test_a_condition_agrees_with_its_own_judgement(filled):
    """SQLite selects the runs of which `evaluate` is true, for the metrics of each run."""
    for text in ('cpu_max > 10 AND NOT memory_max_mb > 650', 'success', 'timed_out OR success', 'memory_max_mb / cpu_max > 2'):
        condition = runner.parse_condition(text)
        expected = [run['id'] for run in filled.get_execution_history() if condition.evaluate(dict(run, **run['metrics'])) is True]
        assert [run['id'] for run in filled.get_execution_history(where=condition)] == expected, text


def test_what_no_single_run_knows_is_refused(filled):
    """A baseline or the run before, an unknown name: a sentence with the column."""
    for where, column in (('cpu_max > 1 AND cpu_max > 2 * baseline.cpu_max', 31), ('previous.success', 1), ('rowz > 5', 1)):
        with pytest.raises(runner.ConditionError) as caught:
            filled.get_execution_history(where=where)
        assert caught.value.column == column
    assert "did you mean 'rows'" in str(caught.value)


def test_history_where_on_the_command_line(place):
    """--where filters; a mistake is one sentence with exit status 2."""
    place.run(script('exit_with.py'), 3)
    place.run(script('exit_with.py'), 0)
    found = json.loads(place.run('history', '--where', 'success = false and exit_code == 3', '--json').out.decode())
    assert [run['exit_code'] for run in found] == [3]
    finished = place.run('history', '--where', 'cpu_maxx < 90')
    assert (finished.status, finished.out) == (2, b'')
    assert finished.err.decode() == ("runner: condition 'cpu_maxx < 90': no metric 'cpu_maxx' (column 1); did you mean 'cpu_max'? "
                                     '(python -m runner metrics lists them)\n')


# -- series and buckets ------------------------------------------------------------------------------------

def test_a_series_has_what_trends_need(history):
    """Id, time, value, commit and status, oldest first, with each filter."""
    for number in range(6):
        save(history, 6 - number, metrics={'cpu_max': None if number == 2 else float(number), 'rows': number}, git_commit='c%d' % number,
             status='failed' if number == 3 else 'success', hostname='h%d' % (number % 2), python_version='3.%d' % number)
    save(history, 0, metrics={'cpu_max': 99.0}, status='running')
    series = history.get_metric_series('job.py', 'cpu_max')
    assert [(row[0], row[2], row[3], row[4]) for row in series] == [
        (1, 0.0, 'c0', 'success'), (2, 1.0, 'c1', 'success'), (4, 3.0, 'c3', 'failed'), (5, 4.0, 'c4', 'success'), (6, 5.0, 'c5', 'success')]
    assert [row[1] for row in series] == [history.get_execution(row[0])['start_time'] for row in series]

    def ids(**options):
        return [row[0] for row in history.get_metric_series('job.py', 'cpu_max', **options)]

    assert ids(limit=2) == [5, 6] and ids(good_only=True) == [1, 2, 5, 6] and ids(hostname='h1') == [2, 4, 6]
    assert ids(python_version='3.4') == [5] and ids(before_id=5) == [1, 2, 4] and ids(days=2.5) == [5, 6] and ids(where='cpu_max > 3') == [5, 6]
    assert [row[2] for row in history.get_metric_series(None, 'rows')] == [0, 1, 2, 3, 4, 5]
    assert history.get_metric_series('nowhere.py', 'cpu_max') == []
    for wrong in ({'metric_name': 'cpu_maxx'}, {'metric_name': 'cpu_max', 'before_id': 77}):
        with pytest.raises(runner.UsageError):
            history.get_metric_series('job.py', **wrong)


def test_times_are_written_alike():
    """The fast way of writing many times gives the text of the plain one, also before 1970 and at the ends of days."""
    moments = [0, -1, 86399999999, 86400000000, 1700000000123456, -86400000001, 253402300799999999]
    assert runner._format_many_micros(moments) == [runner._format_micros(moment) for moment in moments]


def test_buckets_add_up(history):
    """Each value is in the bucket of its start; counts and means are those of the values."""
    for number in range(48):
        history.save_execution({'cpu_max': float(number)}, 'job.py', start_time=runner.format_time(1700000000 + number * 1800))
    buckets = history.get_metric_buckets('job.py', 'cpu_max', 3600)
    witness = {}
    for number in range(48):
        witness.setdefault((1700000000 + number * 1800) // 3600 * 3600, []).append(float(number))
    assert buckets == [{'start': runner.format_time(start), 'count': len(values), 'avg': sum(values) / len(values), 'min': min(values),
                        'max': max(values)} for start, values in sorted(witness.items())]
    with pytest.raises(runner.UsageError):
        history.get_metric_buckets('job.py', 'cpu_max', 0)


def test_a_page_costs_as_many_queries_as_one_run(filled):
    """However many runs a page has, the file is asked three times."""
    def statements(limit):
        seen = []
        with filled.get_connection() as connection:
            connection.set_trace_callback(lambda sql: seen.append(sql))
        filled.get_execution_history(limit=limit, days=None)
        with filled.get_connection() as connection:
            connection.set_trace_callback(None)
        return len([sql for sql in seen if sql.lstrip().startswith('SELECT')])

    assert statements(1) == statements(4) == 3


# -- export ------------------------------------------------------------------------------------------------

def test_csv_comes_back(filled, tmp_path):
    """Quotes, line ends and any character survive csv.reader; unknown is empty; a NUL, which readers refuse, is replaced."""
    path = str(tmp_path / 'runs.csv')
    with_samples(filled, 3, 12)
    assert filled.export(path, samples=True) == 4
    with open(path, encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['id'] for row in rows] == ['1', '2', '3', '4']
    assert rows[2]['stdout_tail'] == HARD_TEXT.replace('\0', '\ufffd')
    assert (rows[0]['success'], rows[0]['memory_max_mb'], rows[0]['rows'], rows[3]['rows']) == ('false', '600.0', '7.0', '')
    assert json.loads(rows[0]['labels']) == {'team': 'data', 'a b': "it's"} and rows[3]['p95-latency'] == '0.25'
    assert [sample['memory_mb'] for sample in json.loads(rows[2]['samples'])].count(900.0) == 1
    assert rows[1]['start_time'] == filled.get_execution(2)['start_time']
    assert set(runner.METRICS) <= set(rows[0])


def test_a_metric_named_like_a_column_has_a_column_of_its_own(history, tmp_path):
    """Neither hides the other."""
    save(history, metrics={'hostname': 5.0, 'samples': 6.0}, hostname='alpha')
    history.export(str(tmp_path / 'runs.csv'))
    with open(str(tmp_path / 'runs.csv')) as file:
        row = list(csv.DictReader(file))[0]
    assert (row['hostname'], row['metric.hostname'], row['metric.samples']) == ('alpha', '5.0', '6.0')


@pytest.mark.parametrize('count', [0, 1, 3])
def test_json_is_one_array_and_jsonl_is_lines(history, tmp_path, count):
    """Both hold what get_execution_history returns, oldest first; infinities are null; nothing at all is an empty array."""
    for number in range(count):
        save(history, 9 - number, stdout=HARD_TEXT, metrics={'cpu_max': float('inf')})
    expected = json.loads(json.dumps(history.get_execution_history(days=None)).replace('Infinity', 'null'))[::-1]
    for ending, read in (('json', json.loads), ('jsonl', lambda text: [json.loads(line) for line in text.split('\n')[:-1]]),
                         ('ndjson', lambda text: [json.loads(line) for line in text.split('\n')[:-1]])):
        path = str(tmp_path / ('runs.' + ending))
        assert history.export(path) == count
        with open(path, 'rb') as file:
            assert read(file.read().decode('utf-8')) == expected


def test_an_export_is_filtered(filled, tmp_path):
    """By script, age and condition."""
    path = str(tmp_path / 'runs.jsonl')
    for options, expected in (({'script_path': 'other.py'}, 1), ({'days': 1.5}, 2), ({'where': 'success = false'}, 2), ({}, 4)):
        assert filled.export(path, **options) == expected


def test_an_export_is_whole_and_private_or_not_there(filled, tmp_path):
    """The file replaces an older one in one step; a failure half way leaves the older one and nothing beside it."""
    path = str(tmp_path / 'runs.json')
    with open(path, 'w') as file:
        file.write('old')
    before = sorted(os.listdir(str(tmp_path)))

    def fail(count):
        raise RuntimeError('half way')

    with pytest.raises(RuntimeError):
        filled.export(path, on_progress=fail)
    with open(path) as file:
        assert file.read() == 'old'
    assert sorted(os.listdir(str(tmp_path))) == before
    filled.export(path)
    assert sorted(os.listdir(str(tmp_path))) == before
    if os.name == 'posix':
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_an_export_is_of_one_moment(filled, tmp_path, monkeypatch):
    """A run that is recorded while the file is written is not in it, and no column is missing for it."""
    begin = runner._CsvExport.begin

    def late(self, *words):
        with runner.HistoryManager(filled.db_path) as other:
            save(other, metrics={'late': 1.0})
        begin(self, *words)

    monkeypatch.setattr(runner._CsvExport, 'begin', late)
    assert filled.export(str(tmp_path / 'runs.csv')) == 4
    assert filled.count_executions() == 5


@pytest.mark.skipif(os.name != 'posix', reason='needs a FIFO')
def test_an_atomic_file_never_replaces_what_is_no_file(tmp_path):
    """A device or FIFO is written to."""
    path = str(tmp_path / 'pipe')
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    runner.write_atomically(path, b'through')
    assert os.read(reader, 100) == b'through' and stat.S_ISFIFO(os.stat(path).st_mode)
    os.close(reader)


def test_a_format_that_cannot_be_written_is_refused(filled, tmp_path, monkeypatch):
    """An unknown ending, none, and Parquet without pyarrow; no file is left."""
    for name, part in (('runs.xlsx', 'valid: csv'), ('runs', 'which format'), ('runs.jsn', "did you mean 'json")):
        with pytest.raises(runner.UsageError) as caught:
            filled.export(str(tmp_path / name))
        assert part in str(caught.value)
    with pytest.raises(runner.UsageError) as caught:
        filled.export(filled.db_path, 'csv')
    assert 'the history itself' in str(caught.value)
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    with pytest.raises(runner.UsageError) as caught:
        filled.export(str(tmp_path / 'runs.parquet'))
    assert 'pip install pyarrow' in str(caught.value) and not [name for name in os.listdir(str(tmp_path)) if name.startswith('runs')]


def test_parquet_comes_back(filled, tmp_path, monkeypatch):
    """Types, nulls, times and samples, over several row groups."""
    parquet = pytest.importorskip('pyarrow.parquet')
    monkeypatch.setattr(runner._ParquetExport, 'ROWS', 50)
    with_samples(filled, 3, 12)
    path = str(tmp_path / 'runs.parquet')
    assert filled.export(path, samples=True) == 4
    rows = parquet.read_table(path).to_pylist()
    for row, run in zip(rows, filled.get_execution_history()[::-1]):
        assert runner.format_time(row['start_time'].timestamp()) == run['start_time']
        assert (row['success'], row['stdout_tail'], row['id']) == (run['success'], run['stdout_tail'], run['id'])
        assert {name: row[name] for name in ('memory_max_mb', 'rows', 'exit_code', 'p95-latency')} == {
            name: run['metrics'].get(name) for name in ('memory_max_mb', 'rows', 'exit_code', 'p95-latency')}
        assert row['samples'] == filled.get_samples(run['id'])


def test_the_export_verb(place):
    """To a file, to stdout, filtered, refused."""
    for code in (0, 3):
        place.run(script('exit_with.py'), code)
    finished = place.run('export', 'runs.csv', '--samples')
    assert (finished.status, finished.out, finished.err) == (0, b'', b'runner: runs.csv: 2 runs\n')
    with open(os.path.join(place.folder, 'runs.csv')) as file:
        assert [row['exit_code'] for row in csv.DictReader(file)] == ['0', '3']
    finished = place.run('export', '-', 'exit_with.py', '--format', 'jsonl', '--where', 'NOT success', '--since', '1d')
    assert finished.status == 0 and finished.err == b'' and json.loads(finished.out.decode())['exit_code'] == 3
    for words, part in ((['-'], '--format'), (['runs.txt'], 'txt'), (['nowhere/runs.csv'], 'nowhere/runs.csv'), (['runs.csv', '--where', '5'], 'column 1'),
                        (['runs.csv', 'no.py'], 'no.py')):
        finished = place.run('export', *words)
        assert finished.status == 2 and part in finished.err.decode() and finished.err.count(b'\n') == 1, finished


@own_process_only
@pytest.mark.parametrize('format', ['csv', 'json', 'jsonl'])
def test_a_reader_that_leaves_early_is_no_error(place, format):
    """`export - | head` ends quietly."""
    with runner.HistoryManager(place.history) as history:
        with runner._Writing(history) as connection:
            for _ in range(200):
                runner._store_run(connection, runner._complete_record({'script_path': '/job.py', 'stdout_tail': 'x' * 5000}))
    process = place.start('export', '-', '--format', format)
    process.stdout.read(10)
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (0, b'')


def test_progress_is_told_on_a_terminal_only(monkeypatch):
    """Nothing before two seconds, nothing without a terminal; the line is cleared at the end."""
    class Stream(io.StringIO):
        terminal = True

        def isatty(self):
            return self.terminal

    clock = [100.0]
    monkeypatch.setattr(runner.time, 'monotonic', lambda: clock[0])
    for terminal, expected in ((True, '\rrunner: 5,000 runs written\r\x1b[K'), (False, '')):
        stream = Stream()
        stream.terminal = terminal
        monkeypatch.setattr(runner.sys, 'stderr', stream)
        with runner._Progress('runs written') as progress:
            for moment, count in ((101.9, 10), (102.1, 5000), (102.2, 6000)):
                clock[0] = moment
                progress.tell(count)
        clock[0] = 100.0
        assert stream.getvalue() == expected


# -- retention ---------------------------------------------------------------------------------------------

def orphans(path):
    """Return what in a file belongs to nothing."""
    connection = sqlite3.connect(path)
    try:
        found = connection.execute('PRAGMA foreign_key_check').fetchall()
        for table, column in (('samples', 'execution_id'), ('custom_metric', 'run_id'), ('artefacts', 'execution_id')):
            found += connection.execute('SELECT * FROM %s WHERE %s NOT IN (SELECT id FROM run)' % (table, column)).fetchall()
        for table in ('script', 'context'):
            found += connection.execute('SELECT * FROM {0} WHERE id NOT IN (SELECT {0}_id FROM run)'.format(table)).fetchall()
        return found + [row for row in connection.execute('PRAGMA quick_check') if row != ('ok',)]
    finally:
        connection.close()


def test_a_policy_by_age_and_count(history):
    """The plan says which and why, deletes nothing, and is what apply does; a running run stays."""
    for number in range(8):
        save(history, 100 - 10 * number, script_path='a.py' if number % 2 else 'b.py', metrics={'rows': 1}, hostname='h%d' % number)
    running = save(history, 200, status='running')
    with_samples(history, 1, 20)
    policy = runner.RetentionPolicy(max_age_days=75, max_runs_per_script=2)
    plan = policy.plan(history)
    assert [(run['id'], run['reason']) for run in plan.runs] == [
        (1, 'older than 75 days'), (2, 'older than 75 days'), (3, 'older than 75 days'), (4, 'not among the newest 2 of its script')]
    assert plan.runs[0]['script_path'] == os.path.realpath('b.py') and plan.runs[0]['start_time'] == history.get_execution(1)['start_time']
    assert len(history.get_execution_history(days=None)) == 9
    assert policy.apply(history).runs == plan.runs
    assert sorted(run['id'] for run in history.get_execution_history(days=None)) == [5, 6, 7, 8, running]
    assert policy.apply(history).runs == []
    history.close()
    assert orphans(history.db_path) == []


def test_a_policy_by_size(history):
    """The oldest go, the file is then small enough, and not much smaller than it had to be."""
    for number in range(600):
        save(history, 600 - number, stdout='%d ' % number * 500)
    before = runner._pages(history)
    limit = sum(before) / runner._MIB / 2
    gone = runner.RetentionPolicy(max_size_mb=limit).apply(history).runs
    assert [run['id'] for run in gone] == list(range(1, len(gone) + 1))
    history.close()
    assert 0.8 * limit <= os.path.getsize(history.db_path) / runner._MIB <= limit
    assert orphans(history.db_path) == []
    assert len(runner.RetentionPolicy(max_size_mb=0).apply(history).runs) == 600 - len(gone)       # does not go on for ever


def test_samples_of_old_runs_are_thinned_and_deleted(history):
    """Extremes stay when they are thinned, others' samples stay as they are, and a second time changes nothing."""
    old, older, new = save(history, 50), save(history, 100), save(history, 1)
    rows = {run_id: with_samples(history, run_id, 1000) for run_id in (old, older, new)}
    policy = runner.RetentionPolicy(thin_samples_after_days=30, max_samples_age_days=90)
    done = policy.apply(history)
    assert (done.runs, done.samples_thinned, done.samples_deleted) == ([], [old], [older])
    assert len(history.get_samples(new)) == 1000 and history.get_samples(older) == []
    kept = history.get_samples(old)
    assert len(kept) <= 150
    for column, name in ((1, 'cpu_percent'), (2, 'memory_mb')):
        assert {max(s[name] for s in kept), min(s[name] for s in kept)} == {max(r[column] for r in rows[old]), min(r[column] for r in rows[old])}
    again = policy.apply(history)
    assert (again.samples_thinned, again.samples_deleted) == ([], [])
    assert len(history.get_execution_history(days=None)) == 3


@pytest.mark.parametrize('name', ['old.jsonl', 'old.jsonl.gz'])
def test_what_is_deleted_is_in_the_archive_first(filled, tmp_path, name):
    """Each run is a line with its samples; a second time adds to the file; the file is private."""
    path = str(tmp_path / name)
    rows = with_samples(filled, 1, 9)
    expected = [filled.get_execution(number) for number in (1, 2, 3)]
    runner.RetentionPolicy(max_age_days=1.5).apply(filled, archive=path)
    runner.RetentionPolicy(max_age_days=0.5).apply(filled, archive=path)
    with (gzip.open if name.endswith('.gz') else open)(path, 'rb') as file:
        lines = [json.loads(line) for line in file.read().decode('utf-8').split('\n')[:-1]]
    assert [line['id'] for line in lines] == [1, 2, 3] == [run['id'] for run in expected]
    assert [tuple(sample[field] for field in runner.SAMPLE_FIELDS) for sample in lines[0]['samples']] == rows
    for line, run in zip(lines, expected):
        assert {key: line[key] for key in run} == run and line['artefacts'] == {}
    if os.name == 'posix':
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_without_an_archive_nothing_is_deleted(filled, tmp_path, monkeypatch):
    """One that cannot be written, reads back differently, or is another file: an error, every run there, the file as it was."""
    policy = runner.RetentionPolicy(max_age_days=0.5)
    path = str(tmp_path / 'old.jsonl')
    with pytest.raises(runner.HistoryError):
        policy.apply(filled, archive=str(tmp_path / 'nowhere' / 'old.jsonl'))
    for content in (b'hello\n', b'{"id": 1}\n{"id"'):
        with open(path, 'wb') as file:
            file.write(content)
        with pytest.raises(runner.UsageError):
            policy.apply(filled, archive=path)
    with open(path, 'wb') as file:
        file.write(b'{"id": 0}\n')
    monkeypatch.setattr(runner, '_write_all', lambda descriptor, data: os.write(descriptor, data[:-20]))
    with pytest.raises(runner.HistoryError) as caught:
        policy.apply(filled, archive=path)
    assert 'not deleted' in str(caught.value)
    with open(path, 'rb') as file:
        assert file.read() == b'{"id": 0}\n'
    assert filled.count_executions() == 4


def test_a_context_is_deleted_without_looking_at_every_run(history):
    """Beside two thousand runs that stay, two hundred contexts that go cost few steps of SQLite's machine."""
    with runner._Writing(history) as connection:
        for number in range(2200):
            runner._store_run(connection, runner._complete_record({
                'script_path': '/a.py', 'git_commit': 'c%d' % min(number, 200), 'start_time': '2001-01-01' if number < 200 else None}))
    history.close()
    thousands, connect = [], history._connect

    def counted(*words, **options):
        connection = connect(*words, **options)
        connection.set_progress_handler(lambda: thousands.append(1), 1000)
        return connection

    history._connect = counted
    assert history.cleanup_old_data(1) == 200
    history.close()
    assert orphans(history.db_path) == []
    assert len(thousands) < 500                    # looking at 2,000 runs for each of them takes 1,200


def test_a_policy_needs_a_rule_and_numbers():
    """A policy without a rule, or with a negative one, is a mistake."""
    for wrong in ({}, {'max_age_days': -1}, {'max_size_mb': float('nan')}, {'max_runs_per_script': 'many'}):
        with pytest.raises(runner.UsageError):
            runner.RetentionPolicy(**wrong)


def test_the_prune_verb(place):
    """Each rule, their reasons, the archive; without a rule it is a usage error."""
    for code in (0, 3, 4):
        place.run(script('exit_with.py'), code)
    assert place.run('prune').status == 2 and place.run('prune', '--archive', 'x').status == 2
    assert place.run('prune', '--keep', 2, '--dry-run').out.decode() == 'would delete 1 run\n  1: not among the newest 2 of its script\n'
    told = json.loads(place.run('prune', '--keep', 2, '--older-than', '1d', '--dry-run', '--json').out.decode())
    assert [run['id'] for run in told['runs']] == [1] and told['dry_run'] is True
    assert len(place.rows()) == 3
    assert place.run('prune', '--keep', 2, '--archive', 'old.jsonl').out == b'deleted 1 run\n'
    with open(os.path.join(place.folder, 'old.jsonl')) as file:
        assert json.loads(file.read())['exit_code'] == 0
    finished = place.run('prune', '--max-size', '1KiB')
    assert finished.out == b'deleted 2 runs\n' and 'nothing more' in finished.err.decode() and place.rows() == []


def test_memory_stays_bounded_while_exporting(tmp_path):
    """Ten times the runs do not take ten times the memory."""
    code = ('import os, resource, sys, runner\n'
            'history = runner.HistoryManager(sys.argv[1])\n'
            'with runner._Writing(history) as connection:\n'
            '    for n in range(int(sys.argv[2])):\n'
            '        runner._store_run(connection, runner._complete_record({"script_path": "/a.py", "stdout_tail": "x" * 8000}))\n'
            'history.export(os.devnull, "json")\n'
            'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n')
    pytest.importorskip('resource')
    peaks = [int(subprocess.check_output([sys.executable, '-c', code, str(tmp_path / ('%d.db' % count)), str(count)],
                                         cwd=os.path.dirname(os.path.abspath(runner.__file__)))) for count in (600, 3000)]
    assert peaks[1] < peaks[0] + 10 * 1024, peaks                   # KiB; the runs alone are 23 MiB
