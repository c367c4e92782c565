"""Section 7, for whoever follows live: what was written since a cursor, runs in brief, and the overview."""
import os
import random
import threading
import time

import pytest
from conftest import THOROUGH, script, wait_until

import runner


def begin(history, number, **more):
    """Write the row of a run that has begun; returns its id and the record."""
    record = runner._complete_record(dict({'script_path': '/job%d.py' % (number % 3), 'status': 'running',
                                           'metrics': {'start_time': runner.format_time(time.time())}}, **more))
    with runner._Writing(history) as connection:
        return runner._store_run(connection, record), record


def add_samples(history, run_id, times, after):
    """Write samples as the recorder does."""
    with runner._Writing(history) as connection:
        runner._store_samples(connection, run_id, [(t, 50.0, 10.0, 1, 3, 1, 0.0, 0.0) for t in times], after)


def end(history, run_id, record, status='success'):
    """Write the end of a run."""
    with runner._Writing(history) as connection:
        runner._store_run(connection, dict(record, status=status), run_id)


def ids(runs):
    """Return the ids of runs."""
    return [run['id'] for run in runs]


def test_changes_come_in_order_and_once(history):
    """A run is new, has samples, has ended; after that nothing is left to tell."""
    cursor = history.get_live_state()['cursor']
    run_id, record = begin(history, 1)
    add_samples(history, run_id, [0.1, 0.2], None)
    first = history.get_changes(cursor)
    assert (ids(first['new']), first['ended'], first['reset']) == ([run_id], [], False)
    assert [row[0] for row in first['samples'][run_id]] == [0.1, 0.2] and first['new'][0]['status'] == 'running'
    add_samples(history, run_id, [0.3], 0.2)
    end(history, run_id, record)
    second = history.get_changes(first['cursor'])
    assert (second['new'], ids(second['ended']), second['ended'][0]['status']) == ([], [run_id], 'success')
    assert [row[0] for row in second['samples'][run_id]] == [0.3]
    third = history.get_changes(second['cursor'])
    assert third == dict(third, new=[], ended=[], changed=[], samples={}, cursor=second['cursor'], more=False)


def test_a_run_stored_whole_is_new_and_ended(history):
    """save_execution tells both at once; storing it again tells that it changed."""
    cursor = history.get_change_cursor()
    correlation = runner.new_correlation_id()
    run_id = history.save_execution({}, 'a.py', 0, correlation_id=correlation)
    found = history.get_changes(cursor)
    assert (ids(found['new']), ids(found['ended']), found['changed']) == ([run_id], [run_id], [])
    assert history.save_execution({}, 'a.py', 1, correlation_id=correlation) == run_id
    again = history.get_changes(found['cursor'])
    assert (again['new'], again['ended'], ids(again['changed'])) == ([], [], [run_id])
    assert again['changed'][0]['status'] == 'failed'


def test_a_step_stops_where_it_is_told(history):
    """`until` and `limit` cut the way into parts that together are the whole."""
    start = history.get_change_cursor()
    runs = [history.save_execution({}, 'a.py', 0) for _ in range(7)]
    middle = history.get_change_cursor()
    runs += [history.save_execution({}, 'a.py', 0) for _ in range(3)]
    assert ids(history.get_changes(start, middle)['new']) == runs[:7]
    assert ids(history.get_changes(middle)['new']) == runs[7:]
    seen, cursor, more = [], start, True
    while more:
        part = history.get_changes(cursor, limit=3)
        seen, cursor, more = seen + ids(part['ended']), part['cursor'], part['more']
    assert seen == runs


def test_a_cursor_of_another_file_starts_anew(history, tmp_path):
    """A foreign cursor, one from the future and one too old are told apart from rubbish."""
    with runner.HistoryManager(str(tmp_path / 'other.db')) as other:
        assert history.get_changes(other.get_change_cursor())['reset']
    identity = history.get_change_cursor().split('-')[0]
    assert history.get_changes(identity + '-99')['reset']
    for rubbish in ('', 'x', identity + '-', identity + '-²', identity + '-' + '9' * 30):
        with pytest.raises(runner.UsageError):
            history.get_changes(rubbish)


def test_the_log_of_changes_is_bounded(history):
    """Old entries go, and a cursor from before them starts anew."""
    start = history.get_change_cursor()
    with runner._Writing(history) as connection:
        connection.executemany("INSERT INTO change (kind, execution_id) VALUES ('new', ?)", [(0,)] * 23000)
    with history.get_connection() as connection:
        assert connection.execute('SELECT count(*) FROM change').fetchone()[0] <= 21000
    assert history.get_changes(start)['reset']
    assert not history.get_changes(history.get_change_cursor())['reset']


def test_revisions_are_not_used_again(history):
    """A cursor stays behind what comes after it, also when every run was pruned in between."""
    history.save_execution({}, 'a.py', 0, start_time='2020-01-01T00:00:00.000000+00:00')
    cursor = history.get_change_cursor()
    history.cleanup_old_data(1)
    run_id = history.save_execution({}, 'a.py', 0)
    assert ids(history.get_changes(cursor)['new']) == [run_id]


def write_runs(history, writer, runs, expected):
    """Write runs with samples from a thread of its own, and note what a follower must see."""
    choose = random.Random(writer)
    for number in range(runs):
        run_id, record = begin(history, number)
        times, after = [], None
        for batch in range(choose.randrange(4)):
            more = [batch + 0.1 * n for n in range(1, choose.randrange(2, 6))]
            add_samples(history, run_id, more, after)
            times, after = times + more, more[-1]
        end(history, run_id, record)
        expected[run_id] = times


def test_followers_of_many_writers_miss_nothing(history):
    """Four writers at once, three followers at their own pace: each sees each start, sample and end exactly once."""
    history.pool_size = 8
    start, expected, done = history.get_live_state()['cursor'], {}, threading.Event()
    writers = [threading.Thread(target=write_runs, args=(history, n, 100 if THOROUGH else 15, expected)) for n in range(4)]
    seen = [{'new': [], 'ended': [], 'samples': []} for _ in range(3)]

    def follow(notes, number):
        cursor, choose = start, random.Random(number)
        while True:
            over = done.is_set()
            found = history.get_changes(cursor, limit=choose.choice((3, 50, 1000)))
            cursor = found['cursor']
            for kind in ('new', 'ended'):
                notes[kind] += ids(found[kind])
            notes['samples'] += [(run_id, row[0]) for run_id, rows in found['samples'].items() for row in rows]
            if over and not found['more']:
                return
            time.sleep(choose.random() * 0.01)

    followers = [threading.Thread(target=follow, args=(notes, n)) for n, notes in enumerate(seen)]
    for thread in writers + followers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in followers:
        thread.join()
    every_sample = sorted((run_id, t) for run_id, times in expected.items() for t in times)
    for notes in seen:
        assert sorted(notes['new']) == sorted(notes['ended']) == sorted(expected)
        assert sorted(notes['samples']) == every_sample


def test_a_real_run_is_followed(place):
    """What the recorder writes while a script runs reaches a follower, limits and all; each stored sample once."""
    with runner.HistoryManager(place.history) as history:
        cursor = history.get_live_state()['cursor']
        process = place.start('--timeout', '1m', '--max-memory', '2GiB', script('burn_cpu.py'), 1.5)
        wait_until(lambda: history.get_live_state()['running'], 'the running row')
        live = wait_until(lambda: [run for run in history.get_live_state()['running'] if run['samples']], 'its samples')[0]
        assert live['status'] == 'running' and len(live['samples'][0]) == len(runner.SAMPLE_FIELDS)
        process.communicate()
        found = history.get_changes(cursor)
        assert ids(found['new']) == ids(found['ended']) == [live['id']]
        assert [row[0] for row in found['samples'][live['id']]] == [row['elapsed_seconds'] for row in history.get_samples(live['id'])]
        assert history.get_execution(live['id'])['limits'] == {'timeout': 60.0, 'memory': float(2 << 30)}


def test_another_file_at_the_same_place_is_noticed(tmp_path):
    """A manager that is kept for long reads the file that stands there now."""
    path, other = str(tmp_path / 'history.db'), str(tmp_path / 'other.db')
    for name, count in ((path, 1), (other, 2)):
        with runner.HistoryManager(name) as manager:
            for _ in range(count):
                manager.save_execution({}, 'a.py', 0)
    with runner.HistoryManager(path) as manager:
        assert manager.refresh() is False and len(manager.get_execution_history()) == 1
        with manager.get_connection():                 # one that is lent out while the file changes is not kept either
            os.replace(other, path)
            assert manager.refresh() is True and manager.refresh() is False
        assert len(manager.get_execution_history()) == 2


def test_runs_are_found_by_what_they_are(history):
    """Script, status, host, label, time and condition choose together; pages hold each once."""
    for number in range(30):
        history.save_execution({'cpu_max': float(number)}, '/a.py' if number % 3 else '/b.py', number % 2, labels={'team': 't%d' % (number % 5)},
                               hostname='h%d' % (number % 4), start_time='2026-01-%02dT12:00:00.000000+00:00' % (number + 1))
    assert [run['cpu_max'] for run in history.find_runs()['executions']] == [float(n) for n in range(29, -1, -1)]
    found = history.find_runs(script_path='/a.py', status='failed', hostname='h1', label=('team', 't0'))
    assert [run['cpu_max'] for run in found['executions']] == [25.0, 5.0] and found['total'] == 2
    found = history.find_runs(since='2026-01-10T00:00:00+00:00', until='2026-01-20T00:00:00+00:00', where='cpu_max > 15')
    assert [run['cpu_max'] for run in found['executions']] == [18.0, 17.0, 16.0]
    pages = [history.find_runs(page, 7) for page in range(1, 6)]
    assert sorted(run['cpu_max'] for page in pages for run in page['executions']) == [float(n) for n in range(30)]
    assert pages[0]['pages'] == 5 and set(pages[0]['executions'][0]) == set(runner.SUMMARY_FIELDS)
    assert history.find_runs(label=('team', 't'))['total'] == history.find_runs(label=('team', 't0" or "')) ['total'] == 0
    assert history.get_hostnames() == ['h0', 'h1', 'h2', 'h3']
    with pytest.raises(runner.UsageError):
        history.find_runs(where='cpu_maxx > 1')


def test_the_overview_counts_and_keeps_the_order(history):
    """Scripts by their last start; runs oldest first; running ones are no failures."""
    for number in range(5):
        history.save_execution({'execution_time_seconds': float(number)}, '/a.py', int(number == 2), start_time='2026-01-0%dT00:00:00+00:00' % (number + 1))
    begin(history, 1, script_path='/b.py')
    first, second = history.get_overview(3)
    assert (first['script_path'], first['runs'], first['ended'], first['recent'][0]['status']) == ('/b.py', 1, 0, 'running')
    assert (second['runs'], second['ended'], second['succeeded']) == (5, 5, 4)
    assert [run['execution_time_seconds'] for run in second['recent']] == [2.0, 3.0, 4.0]


def test_the_last_good_run_is_one_before(history):
    """Same script, successful, started earlier."""
    times = ['2026-01-0%dT00:00:00+00:00' % day for day in (1, 2, 3, 4)]
    good, bad, judged, later = [history.save_execution({}, '/a.py', code, start_time=when) for code, when in zip((0, 1, 1, 0), times)]
    history.save_execution({}, '/b.py', 0, start_time='2026-01-03T00:00:00+00:00')
    assert [history.get_last_good(run) for run in (good, bad, judged, later, 999)] == [None, good, good, good, None]
