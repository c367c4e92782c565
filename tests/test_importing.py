"""Section 7: histories of python-script-runner 7 are taken in."""
import json
import os
import shutil
import sqlite3

import pytest
from conftest import TESTS

import runner

DUMP = os.path.join(TESTS, 'data', 'version-7.sql')


@pytest.fixture
def old(tmp_path):
    """The path of a database of version 7, in a folder of its own."""
    folder = tmp_path / 'old'
    folder.mkdir()
    path = str(folder / 'script_runner_history.db')
    with open(DUMP, encoding='utf-8') as file:
        change(path, file.read())
    return path


def change(path, sql):
    """Run statements on a database."""
    connection = sqlite3.connect(path)
    try:
        connection.executescript(sql)
    finally:
        connection.close()


def all_runs(history):
    """Return every run, oldest first, without regard to days."""
    return history.get_execution_history(days=None, limit=None)[::-1]


def test_runs_come_over_with_what_version_7_knew(history, old):
    """Path, arguments, status, times and metrics; the metrics that are no measure of ours keep a name of their own."""
    assert history.import_history(old) == {'imported': 5, 'known': 0, 'unreadable': []}
    failed, good, hung, far, saved = sorted(all_runs(history), key=lambda run: run['id'])
    folder = os.path.realpath(os.path.dirname(old))
    assert failed['script_path'] == os.path.join(folder, 'job.py') and failed['script_args'] == ['3']
    assert [(run['status'], run['cause'], run['exit_code']) for run in (failed, good, hung, far, saved)] == [
        ('failed', 'exit', 3), ('success', 'exit', 0), ('timeout', 'timeout', None), ('timeout', 'timeout', None),
        ('failed', 'signal', -9)]
    assert good['metrics']['memory_max_mb'] > 1 and good['metrics']['execution_time_seconds'] == 0.1115
    assert good['python_version'] == '3.11.7' and good['hostname'] is None and good['labels'] == {'imported': 'python-script-runner 7'}
    assert 'cpu_max' not in good['metrics'] and good['metrics']['v7_cpu_max'] == 0.0 and good['metrics']['user_time_seconds'] > 0
    assert not [name for name in good['metrics'] if name.endswith(('_before', '_after', '_delta'))]
    assert hung['evidence'] == 'time limit of 1.0 s' and hung['timed_out']
    assert saved['metrics']['rows_loaded'] == 1234 and saved['attempt_number'] == 2 and saved['evidence'] == 'SIGKILL'
    assert saved['script_path'] == '/srv/etl.py' and saved['script_args'] == ['--token', '[redacted]']


def test_the_time_zone_is_worked_out(history, old):
    """Runs that were made in UTC and in New York a second after each other are a second apart."""
    history.import_history(old)
    assert [history.get_execution(number)['start_time'] for number in (3, 4)] == [
        '2026-11-25T03:51:14.871178+00:00', '2026-11-25T03:51:16.131739+00:00']


def test_without_the_moment_of_saving_the_zone_is_this_machines(history, old, monkeypatch):
    """Older files have no created_at."""
    import time
    if not hasattr(time, 'tzset'):
        pytest.skip('needs time.tzset')
    monkeypatch.setenv('TZ', 'Asia/Kolkata')
    time.tzset()
    try:
        change(old, 'UPDATE executions SET created_at = NULL')
        history.import_history(old)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert history.get_execution(3)['start_time'] == '2026-11-24T22:21:14.871178+00:00'


def test_a_run_without_a_time_is_left_out_and_named(history, old):
    """It cannot be placed; a run that only has the moment of saving ends then."""
    change(old, "UPDATE executions SET start_time = '', end_time = ''; UPDATE executions SET created_at = 'x' WHERE id = 2")
    assert history.import_history(old) == {'imported': 4, 'known': 0, 'unreadable': [2]}
    assert all_runs(history)[-1]['end_time'].endswith('.000000+00:00')


def test_importing_again_changes_nothing(history, old, tmp_path):
    """Not from the same file, not from a copy of it that lies elsewhere; new runs are added."""
    history.import_history(old)
    before = json.dumps(all_runs(history), sort_keys=True)
    copy = str(tmp_path / 'copy.db')
    shutil.copy(old, copy)
    for path in (old, copy):
        assert history.import_history(path) == {'imported': 0, 'known': 5, 'unreadable': []}
    assert json.dumps(all_runs(history), sort_keys=True) == before
    change(old, "INSERT INTO executions SELECT 9, script_path, script_args, start_time, end_time, execution_time_seconds, exit_code, "
                "success, attempt_number, timeout_seconds, timed_out, stdout_lines, stderr_lines, python_version, platform, created_at "
                "FROM executions WHERE id = 2")
    assert history.import_history(old)['imported'] == 1


def test_nothing_without_its_run_comes_over(history, old):
    """Metrics and alerts of runs that version 7 deleted are no orphans here; alerts of the others are kept."""
    change(old, "INSERT INTO metrics (execution_id, metric_name, metric_value) VALUES (77, 'lost', 1); "
                "INSERT INTO alerts (execution_id, alert_name, severity, condition) VALUES (77, 'lost', 'ERROR', 'cpu_max > 1')")
    history.import_history(old)
    assert 'lost' not in history.get_metric_names()
    alert, = runner.read_alerts(history)
    assert (alert['name'], alert['severity'], alert['condition'], alert['execution_id']) == ('slow', 'WARNING', 'cpu_max > 85', 4)
    with history.get_connection() as connection:
        assert connection.execute('PRAGMA foreign_key_check').fetchall() == []


def test_the_old_file_is_only_read(history, old):
    """Its bytes stay, and nothing is put beside it."""
    with open(old, 'rb') as file:
        before = file.read()
    history.import_history(old)
    with open(old, 'rb') as file:
        assert file.read() == before
    assert os.listdir(os.path.dirname(old)) == ['script_runner_history.db']


def test_rubbish_in_a_column_does_not_stop_the_import(history, old):
    """SQLite columns take any type: what is no number is unknown."""
    change(old, "UPDATE executions SET execution_time_seconds = 'soon', script_args = '{', python_version = NULL, exit_code = 'x'; "
                "UPDATE metrics SET metric_value = 9e999 WHERE metric_name = 'memory_max_mb'")
    assert history.import_history(old)['imported'] == 5
    run = history.get_execution(2)
    assert run['script_args'] == [] and run['exit_code'] is None and 'memory_max_mb' not in run['metrics']


@pytest.mark.parametrize('name, reason', [('missing.db', 'no such file'), ('history.db', 'not a history of python-script-runner 7'),
                                          ('text', 'not an SQLite file')])
def test_another_file_is_refused(history, tmp_path, name, reason):
    """With a sentence that says what it is."""
    history.get_scripts()
    (tmp_path / 'text').write_bytes(b'no database at all' * 100)
    with pytest.raises(runner.HistoryError) as caught:
        history.import_history(str(tmp_path / name))
    assert reason in str(caught.value) and name in str(caught.value)


def test_the_verb_says_what_came(old, tmp_path, capfd):
    """It tells how many runs came and what could not; a verb that is pointed at the old file says how to take it in."""
    change(old, "UPDATE executions SET start_time = '', created_at = '' WHERE id = 2")
    fresh = ['--history-db', str(tmp_path / 'fresh.db')]
    assert runner.main(fresh + ['history', 'import', old]) == 0
    captured = capfd.readouterr()
    assert captured.out.startswith('4 runs taken in, 0 there already: ') and '1 run without a time, left out: 2' in captured.err
    assert runner.main(['--history-db', old, 'history']) == 2
    assert 'history import FILE' in capfd.readouterr().err
    for words in (['history', 'import'], ['history', 'job.py', old], ['history', 'import', old, '--since', '1d']):
        assert runner.main(fresh + words) == 2
        assert './import' in capfd.readouterr().err
