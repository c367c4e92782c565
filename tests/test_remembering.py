"""Section 7: the history file, whatever happens to it."""
import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import pytest
from conftest import LINUX, ON_CI, Started, assert_tree_gone, linux_only, own_process_only, read_pids, script, wait_until

import runner

posix_only = pytest.mark.skipif(os.name != 'posix', reason='needs POSIX permissions and signals')


def save(history, **more):
    """Save a run with defaults."""
    metrics = dict({'execution_time_seconds': 1.5, 'cpu_max': 50.0, 'exit_code': 0}, **more.pop('metrics', {}))
    return history.save_execution(metrics, more.pop('script_path', 'job.py'), **more)


# -- what is kept ------------------------------------------------------------------------------------------

def test_a_saved_run_comes_back(history):
    """Columns, metrics, labels and arguments survive; text outside our encoding does too."""
    run_id = save(history, exit_code=3, stdout='out ü\n', stderr='err', labels={'team': 'ü'}, script_args=['a b'],
                  metrics={'rows': 12.5, 'nothing': None})
    run = history.get_execution(run_id)
    assert run['script_path'] == os.path.realpath('job.py')
    assert (run['exit_code'], run['status'], run['success']) == (3, 'failed', False)
    assert (run['stdout_tail'], run['stderr_tail'], run['labels'], run['script_args']) == ('out ü\n', 'err', {'team': 'ü'}, ['a b'])
    assert run['metrics']['cpu_max'] == 50.0 and run['metrics']['rows'] == 12.5 and 'nothing' not in run['metrics']
    assert 'memory_max_mb' not in run['metrics']


def test_the_file_opens_with_any_sqlite_tool(history):
    """executions, metrics and samples have the promised columns; a metric without a value has no row."""
    run_id = save(history, metrics={'rows': 7})
    connection = sqlite3.connect(history.db_path)
    try:
        columns = [row[1] for row in connection.execute('PRAGMA table_info(executions)')]
        for name in ('id script_path script_args start_time end_time execution_time_seconds exit_code success status cause '
                     'attempt_number correlation_id hostname username pid git_commit git_branch python_version platform labels '
                     'stdout_tail stderr_tail').split():
            assert name in columns
        assert [row[1] for row in connection.execute('PRAGMA table_info(metrics)')] == ['execution_id', 'metric_name', 'metric_value']
        assert [row[1] for row in connection.execute('PRAGMA table_info(samples)')][1:] == list(runner.SAMPLE_FIELDS)
        stored = dict(connection.execute('SELECT metric_name, metric_value FROM metrics WHERE execution_id = ?', (run_id,)))
        assert stored['cpu_max'] == 50.0 and stored['rows'] == 7 and 'memory_max_mb' not in stored and stored['success'] == 1
        start, = connection.execute('SELECT start_time FROM executions').fetchone()
        assert start == stored['start_time'] and start.endswith('+00:00') and len(start) == 32
        assert connection.execute('PRAGMA journal_mode').fetchone()[0] == 'wal'
        assert connection.execute('PRAGMA user_version').fetchone()[0] == runner._SCHEMA_VERSION
        assert connection.execute('PRAGMA application_id').fetchone()[0] == 0x53524E38
    finally:
        connection.close()


def test_every_registered_metric_is_stored(place):
    """What the result knows, the file knows: same names, same values."""
    result = place.result(script('burn_cpu.py'), 0.2)
    known = {name: value for name, value in result['metrics'].items() if value is not None}
    stored = {row['metric_name']: row['metric_value'] for row in place.rows('SELECT * FROM metrics')}
    assert stored == known
    assert place.rows('SELECT count(*) AS n FROM samples')[0]['n'] == result['metrics']['monitor_samples']


def test_runs_are_listed_newest_first(history):
    """By start, not by id; limits, days and script are respected."""
    for day in (3, 1, 2, 50):
        save(history, start_time=runner.format_time(time.time() - day * 86400), script_path='a.py' if day != 2 else 'b.py',
             metrics={'cpu_max': day})
    assert [r['metrics']['cpu_max'] for r in history.get_execution_history()] == [1, 2, 3]
    assert [r['metrics']['cpu_max'] for r in history.get_execution_history(days=None)] == [1, 2, 3, 50]
    assert [r['metrics']['cpu_max'] for r in history.get_execution_history('a.py', limit=1)] == [1]
    assert [v for _, v in history.get_metrics_for_script('a.py', 'cpu_max')] == [3, 1]
    assert history.get_metrics_for_script('a.py', 'no_such') == []


def test_aggregates_pages_and_statistics(history):
    """Computed over what ended; pages cover everything once."""
    for i in range(25):
        save(history, metrics={'cpu_max': float(i), 'rows': i})
    assert history.get_aggregated_metrics('job.py', 'cpu_max') == {'cpu_max': {'count': 25, 'avg': 12.0, 'min': 0.0, 'max': 24.0}}
    assert history.get_aggregated_metrics(metric_name='rows')['rows']['max'] == 24
    assert 'execution_time_seconds' in history.get_aggregated_metrics()
    pages = [history.get_executions_paginated(page, 10) for page in (1, 2, 3)]
    assert [len(p['executions']) for p in pages] == [10, 10, 5] and pages[0]['pages'] == 3 and pages[0]['total'] == 25
    assert len({r['id'] for p in pages for r in p['executions']}) == 25
    with pytest.raises(runner.UsageError):
        history.get_executions_paginated(0)
    stats = history.get_database_stats()
    assert (stats['runs'], stats['scripts'], stats['by_status']) == (25, 1, {'success': 25})


def test_an_unknown_column_is_refused(history):
    """A mistyped keyword is no silent loss."""
    with pytest.raises(runner.UsageError) as caught:
        history.save_execution({}, 'job.py', labls={'a': 1})
    assert 'labls' in str(caught.value) and "'labels'" in str(caught.value)


def test_old_runs_are_deleted_with_all_that_is_theirs(history):
    """Rows, samples, scripts and contexts of pruned runs are gone, and the file shrinks."""
    old = runner.format_time(time.time() - 100 * 86400)
    for i in range(300):
        save(history, script_path='old%d.py' % (i % 7), start_time=old, stdout='x' * 2000, metrics={'rows': i})
    kept = save(history)
    before = os.path.getsize(history.db_path)
    assert history.count_older_than(90) == 300
    assert history.cleanup_old_data(90) == 300
    assert [r['id'] for r in history.get_execution_history(days=None)] == [kept]
    with history.get_connection() as connection:
        for table in ('custom_metric', 'samples'):
            assert connection.execute('SELECT count(*) FROM ' + table).fetchone()[0] == 0
        assert connection.execute('SELECT count(*) FROM script').fetchone()[0] == 1
    history.close()
    assert os.path.getsize(history.db_path) < before / 2


def test_secrets_are_stored_redacted_and_returned_whole(place):
    """Arguments and tails in the file are redacted; the bytes and the result are not."""
    code = place.write('leak.py', 'import sys; print("token=abc123def", sys.argv[2])')
    result = place.result(code, '--password', 'hunter2', 'AKIAIOSFODNN7EXAMPLE', 'https://joe:pw12@host/x')
    assert 'abc123def' in result['stdout'] and 'hunter2' in result['stdout']
    with open(place.history, 'rb') as file:
        data = file.read()
    if os.path.exists(place.history + '-wal'):
        with open(place.history + '-wal', 'rb') as file:
            data += file.read()
    for secret in (b'hunter2', b'abc123def', b'AKIAIOSFODNN7EXAMPLE', b'pw12'):
        assert secret not in data
    assert '[redacted]' in place.rows()[0]['script_args']


def test_two_spellings_are_one_script(place):
    """Through a symbolic link, a detour and from another folder."""
    path = place.write('job.py', '')
    os.mkdir(os.path.join(place.folder, 'sub'))
    place.run('job.py')
    place.run(os.path.join('sub', '..', 'job.py'))
    place.run(os.path.join('..', 'job.py'), cwd=os.path.join(place.folder, 'sub'))
    if hasattr(os, 'symlink') and os.name == 'posix':
        os.symlink(path, os.path.join(place.folder, 'link.py'))
        place.run('link.py')
    assert {row['script_path'] for row in place.rows()} == {os.path.realpath(path)}


def test_git_is_read_from_the_scripts_checkout(tmp_path):
    """Commit and branch from loose and packed refs, a detached HEAD, a worktree; nothing outside a checkout."""
    repo = tmp_path / 'repo'
    if shutil.which('git') is None:
        pytest.skip('git is not installed')

    def git(*words):
        env = dict(os.environ, GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_SYSTEM=os.devnull)
        return subprocess.check_output(('git', '-c', 'user.name=x', '-c', 'user.email=x@x') + words, cwd=str(repo), env=env,
                                       stderr=subprocess.DEVNULL).decode().strip()
    repo.mkdir()
    (repo / 'deep').mkdir()
    git('init', '-q')
    git('checkout', '-q', '-b', 'feature/x')
    git('commit', '-q', '--allow-empty', '-m', 'one')
    commit = git('rev-parse', 'HEAD')
    assert runner.find_git(str(repo / 'deep')) == (commit, 'feature/x')
    git('pack-refs', '--all')
    assert runner.find_git(str(repo)) == (commit, 'feature/x')
    git('worktree', 'add', '-q', '-b', 'other', str(tmp_path / 'tree'))
    assert runner.find_git(str(tmp_path / 'tree')) == (commit, 'other')
    git('checkout', '-q', '--detach')
    assert runner.find_git(str(repo)) == (commit, None)
    (tmp_path / 'plain').mkdir()
    assert runner.find_git(str(tmp_path / 'plain')) == (None, None)


@posix_only
def test_what_we_create_is_private_and_what_was_there_is_left(tmp_path):
    """0700 and 0600 for ours; a folder of the user's keeps its mode."""
    old = tmp_path / 'old'
    old.mkdir(mode=0o755)
    with runner.HistoryManager(str(old / 'new' / 'h.db')) as manager:
        save(manager)
        files = os.listdir(str(old / 'new'))
        assert all(stat.S_IMODE(os.stat(str(old / 'new' / f)).st_mode) == 0o600 for f in files)
    assert stat.S_IMODE(os.stat(str(old / 'new')).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(str(old)).st_mode) == 0o755


def test_a_manager_alone_touches_nothing(tmp_path):
    """Neither constructor opens or creates anything."""
    runner.HistoryManager(str(tmp_path / 'x' / 'h.db'))
    runner.ScriptRunner('job.py', history_db=str(tmp_path / 'x' / 'h.db'))
    assert os.listdir(str(tmp_path)) == []


# -- many at once ------------------------------------------------------------------------------------------

def test_threads_share_a_manager(history):
    """16 threads save 20 runs each through five connections."""
    errors = []

    def work():
        try:
            for _ in range(20):
                save(history)
        except Exception as error:
            errors.append(error)
    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and history.get_database_stats()['runs'] == 320
    assert len(history._idle) <= history.pool_size


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_a_forked_child_uses_connections_of_its_own(history):
    """Parent and child both write after the fork, and the file stays sound."""
    save(history)
    pid = os.fork()
    if pid == 0:
        try:
            save(history)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    save(history)
    assert history.get_database_stats()['runs'] == 3 and history.check_integrity() == []


def test_what_sqlite_loses_while_several_make_a_file_is_tried_again(tmp_path, monkeypatch):
    """SQLITE_IOERR_DELETE_NOENT of a file that others make right now passes; a disk that stays broken is told."""
    real, failures = runner.HistoryManager._prepare, [2]

    def prepare(self, connection):
        failures[0] -= 1
        if failures[0] >= 0:
            raise sqlite3.OperationalError('disk I/O error')
        real(self, connection)

    monkeypatch.setattr(runner.HistoryManager, '_prepare', prepare)
    with runner.HistoryManager(str(tmp_path / 'a.db')) as history:
        history.save_execution({'execution_time_seconds': 1.0}, '/x/job.py', 0)
        assert history.count_executions() == 1
    failures[0] = 1000
    with pytest.raises(runner.HistoryError) as caught, runner.HistoryManager(str(tmp_path / 'b.db')) as history:
        history.count_executions()
    assert 'b.db: disk I/O error' in str(caught.value)


def test_32_runners_write_into_one_file(place):
    """32 rows, no error, also when all of them find no file yet."""
    processes = [place.start('--quiet', script('exit_with.py'), 0) for _ in range(32)]
    ends = [process.communicate() + (process.returncode,) for process in processes]
    assert [end for end in ends if end[2] or end[1] and not (ON_CI and b'taken in by the next' in end[1])] == []
    place.run('history')                     # on a busy machine one may not have got its turn within its two seconds
    assert len(place.rows()) == 32 and all(row['status'] == 'success' for row in place.rows())


@posix_only
def test_killed_runners_lose_no_finished_run(place):
    """kill -9 at random moments: the file stays sound, finished runs are there, interrupted ones become lost."""
    chance = random.Random(1)
    finished = 0
    for _ in range(12 if ON_CI else 50):
        process = place.start(script('exit_with.py'), 0)
        time.sleep(chance.random() * 0.15)
        process.kill()
        _, err = process.communicate()
        finished += b'runner: ok' in err
    assert place.run(script('exit_with.py'), 0).status == 0
    place.run('history')
    with runner.HistoryManager(place.history) as manager:
        assert manager.check_integrity() == []
    statuses = [row['status'] for row in place.rows()]
    assert set(statuses) <= {'success', 'lost'} and statuses.count('success') >= finished + 1


@linux_only
@posix_only
def test_a_run_whose_runner_died_becomes_lost(place):
    """With the samples that were written; a running one of a living runner stays running."""
    process = place.start('--monitor-interval', '0.05', script('wait_for_file.py'), 'go')
    def has_samples():
        try:
            return place.rows('SELECT count(*) AS n FROM samples JOIN executions ON id = execution_id')[0]['n'] > 5
        except sqlite3.OperationalError:              # the file is just being made
            return False
    wait_until(has_samples, 'a running row with samples')
    assert place.rows()[0]['status'] == 'running'
    place.run('history')
    assert place.rows()[0]['status'] == 'running'
    process.kill()
    place.write('go', '')
    process.communicate()
    place.run('history')
    row = place.rows()[0]
    assert row['status'] == 'lost' and row['end_time'] is not None
    memory = place.rows("SELECT metric_value AS v FROM metrics WHERE metric_name = 'memory_max_mb'")
    assert memory and memory[0]['v'] > 1


@pytest.mark.parametrize('proof, hostname, age, gone', [
    ('BOOT NS 1 START', 'HOST', 0, False),                 # this very process, see below
    ('BOOT NS 999999999 5', 'HOST', 0, True),              # no such pid here
    ('BOOT other 999999999 5', 'HOST', 0, False),          # another pid namespace: cannot be known
    ('other NS 999999999 5', 'elsewhere', 0, False),       # another machine: cannot be known
    ('other NS 999999999 5', 'elsewhere', 90000, True),    # ... until a day has passed without a write
    ('other NS 5 5', 'HOST', 1e9, True),                   # this machine has booted since
    (None, 'HOST', 0, False),
])
@linux_only
def test_a_runner_is_gone_only_when_that_is_proven(proof, hostname, age, gone):
    """Boot, namespace, pid and start time decide; a day without a write decides the rest."""
    boot, namespace = runner._boot_and_namespace()
    if proof:
        proof = proof.replace('BOOT', boot).replace('NS', namespace).replace(' 1 START', ' %d %s' % (
            os.getpid(), runner.process_start(os.getpid())))
    when = time.time() - age
    assert runner._is_runner_gone(proof, hostname.replace('HOST', os.uname().nodename), when, when) is gone


def test_a_file_is_not_opened_while_it_is_being_made(tmp_path, monkeypatch):
    """Closing the descriptor that made it would drop the locks that another thread's SQLite has by then (fcntl(2))."""
    path, threads, came_too_early = str(tmp_path / 'history.db'), [], []
    make = os.open

    def make_slowly(name, *more):
        descriptor = make(name, *more)
        if name == path and not threads:
            threads.append(threading.Thread(target=lambda: runner.HistoryManager(path).get_scripts()))
            threads[0].start()
            threads[0].join(0.3)
            came_too_early.append(not threads[0].is_alive())
        return descriptor
    monkeypatch.setattr(os, 'open', make_slowly)
    with runner.HistoryManager(path) as history:
        assert history.get_scripts() == []
    threads[0].join(30)
    assert came_too_early == [False]


def test_each_connection_reads_a_copy_of_its_own(history):
    """Where only a copy can be read (a log in a folder that is not ours), a later one does not overwrite what is being read."""
    save(history)
    with runner.HistoryManager(history.db_path) as reader:
        connections = [reader._open_for_reading() for _ in range(2)]
        files = [connection.execute('PRAGMA database_list').fetchone()[2] for connection in connections]
        assert len(set(files)) == 2
        for connection in connections:
            assert connection.execute('SELECT count(*) FROM executions').fetchone() == (1,)
            connection.close()
    assert [path for path in files if os.path.exists(path)] == []


@pytest.mark.parametrize('days', [1e9, 1e300, float('inf')])
def test_the_longest_time_ago_is_all_of_it(history, days):
    """Also what no integer of SQLite can say."""
    save(history)
    assert len(history.get_execution_history(days=days)) == 1
    assert history.count_older_than(days) == history.cleanup_old_data(days, limit=5) == 0


@pytest.mark.parametrize('call', [
    lambda history: history.get_execution(1 << 63), lambda history: history.get_executions_paginated(page=1 << 70),
    lambda history: history.find_runs(page=1 << 70), lambda history: history.set_baseline(1 << 63),
    lambda history: save(history, metrics={'rows': 1 << 63})])
def test_a_number_that_sqlite_does_not_have_is_refused(history, call):
    """With a sentence, and nothing is left half done."""
    with pytest.raises(runner.UsageError) as caught:
        call(history)
    assert 'too large' in str(caught.value)
    assert save(history) == 1


def test_a_script_whose_name_is_no_path_has_no_runs(history):
    """A NUL is in no path."""
    assert history.get_execution_history('a\0b.py') == []


# -- what can be wrong with the file -----------------------------------------------------------------------

def spooled(place):
    """Return the spooled files below the workplace."""
    return [os.path.join(folder, name) for folder, _, names in os.walk(place.folder) for name in names if name.endswith('.jsonl')]


def assert_script_unharmed(place, finished, *parts):
    """The script's bytes and status came back, one line says what was not recorded and where it went."""
    assert finished.status == 3 and finished.out == b'done\n', finished
    lines = finished.err.decode().splitlines()
    assert len(lines) == 2 and 'history not written' in lines[0] and lines[1].startswith('runner: failed (exit 3)'), finished
    for part in parts:
        assert part in lines[0]


@pytest.fixture
def job(place):
    """A script with output and a status."""
    return place.write('job.py', 'print("done"); raise SystemExit(3)')


def test_a_text_file_in_its_place(place, job):
    """It is not touched; the record waits beside it and arrives when the file is gone."""
    place.write('history.db', 'this is not a database, but somebody may need it\n' * 50)
    assert_script_unharmed(place, place.run(job), 'not an SQLite file', '.jsonl')
    with open(place.history) as file:
        assert file.read().startswith('this is not')
    assert place.run('history').status == 2
    os.unlink(place.history)
    assert place.run(job).status == 3
    assert len(place.rows()) == 2 and spooled(place) == []
    assert [row['exit_code'] for row in place.rows()] == [3, 3]


def test_somebody_elses_database(place, job):
    """It is not written to; a sentence says whose it is."""
    connection = sqlite3.connect(place.history)
    connection.execute('CREATE TABLE theirs (x)')
    connection.commit()
    connection.close()
    with open(place.history, 'rb') as file:
        before = file.read()
    assert_script_unharmed(place, place.run(job), 'another program')
    with open(place.history, 'rb') as file:
        assert file.read() == before


def test_a_history_of_version_7_says_so(place, job):
    """The public 7.x has tables of the same names."""
    connection = sqlite3.connect(place.history)
    connection.execute('CREATE TABLE executions (id INTEGER PRIMARY KEY)')
    connection.execute('CREATE TABLE metrics (id INTEGER PRIMARY KEY)')
    connection.commit()
    connection.close()
    assert_script_unharmed(place, place.run(job), 'python-script-runner 7')
    finished = place.run('history')
    assert finished.status == 2 and b'python-script-runner 7' in finished.err


def test_a_newer_schema_is_refused(place, job):
    """A newer file is not written to, and the sentence says what helps."""
    place.run(job)
    connection = sqlite3.connect(place.history)
    connection.execute('PRAGMA user_version = 99')
    connection.commit()
    connection.close()
    assert_script_unharmed(place, place.run(job), 'newer version')
    assert place.run('show', 'last').status == 2
    connection = sqlite3.connect(place.history)
    connection.execute('PRAGMA user_version = %d' % runner._SCHEMA_VERSION)
    connection.commit()
    connection.close()
    place.run('history')
    assert len(place.rows()) == 2


def test_a_folder_that_cannot_be_made(place, job):
    """A file stands where a folder should be: the record waits in the state folder."""
    place.write('blocked', '')
    finished = place.run('--history-db', os.path.join('blocked', 'h.db'), job)
    assert_script_unharmed(place, finished, 'blocked')
    assert len(spooled(place)) == 1 and os.path.join('state', 'script-runner', 'spool') in spooled(place)[0]
    os.unlink(os.path.join(place.folder, 'blocked'))
    assert place.run('--history-db', os.path.join('blocked', 'h.db'), job).status == 3
    place.history = os.path.join(place.folder, 'blocked', 'h.db')
    assert len(place.rows()) == 2 and spooled(place) == []


def test_a_locked_file_costs_two_seconds_at_most(place, job):
    """Another process holds the write lock: the status comes back, the record is spooled and arrives later."""
    place.run(job)
    connection = sqlite3.connect(place.history, isolation_level=None)
    connection.execute('BEGIN EXCLUSIVE')
    before = time.monotonic()
    finished = place.run(job)
    assert time.monotonic() - before < 15
    connection.execute('ROLLBACK')
    connection.close()
    assert_script_unharmed(place, finished, 'locked')
    assert len(spooled(place)) == 1
    place.run('history')
    assert len(place.rows()) == 2 and spooled(place) == []


def test_a_lock_that_ends_in_time_costs_nothing(place):
    """The file is free again before the script ends: nothing is spooled."""
    place.run(script('exit_with.py'), 0)
    connection = sqlite3.connect(place.history, isolation_level=None)
    connection.execute('BEGIN EXCLUSIVE')
    process = place.start(script('wait_for_file.py'), 'go')
    wait_until(lambda: os.path.exists(os.path.join(place.folder, 'go.started')), 'the script')
    connection.execute('ROLLBACK')
    connection.close()
    place.write('go', '')
    _, err = process.communicate()
    assert err.count(b'\n') == 1 and len(place.rows()) == 2


def mounted(place, options):
    """Mount a small tmpfs at `disk`; skips where that is not allowed."""
    disk = os.path.join(place.folder, 'disk')
    os.mkdir(disk)
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', disk], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode if shutil.which('mount') else 1
    if done != 0:
        pytest.skip('needs the right to mount a tmpfs')
    return disk


@linux_only
def test_a_full_disk(place, job):
    """SQLITE_FULL costs the record only; it waits on another disk and arrives when there is room."""
    disk = mounted(place, 'size=1m')
    try:
        place.history = os.path.join(disk, 'h.db')
        place.run('--history-db', place.history, script('exit_with.py'), 0)
        ballast = os.open(os.path.join(disk, 'ballast'), os.O_WRONLY | os.O_CREAT)
        try:
            while True:
                os.write(ballast, b'x' * 1024)
        except OSError:
            os.close(ballast)
        assert_script_unharmed(place, place.run('--history-db', place.history, job), 'full')
        os.unlink(os.path.join(disk, 'ballast'))
        place.run('history', '--history-db', place.history)
        assert [row['exit_code'] for row in place.rows()] == [0, 3]
        place.history = None
    finally:
        subprocess.call(['umount', disk])


@linux_only
def test_a_read_only_file_system(place, job):
    """Runs are spooled; verbs still read the file, with and without a write-ahead log beside it."""
    disk = mounted(place, 'size=2m')
    try:
        path = os.path.join(disk, 'h.db')
        place.run('--history-db', path, script('exit_with.py'), 0)
        subprocess.check_call(['mount', '-o', 'remount,ro', disk])
        assert_script_unharmed(place, place.run('--history-db', path, job), '.jsonl')
        finished = place.run('history', '--history-db', path)
        assert finished.status == 0 and b'exit_with.py' in finished.out
        subprocess.check_call(['mount', '-o', 'remount,rw', disk])
        with runner.HistoryManager(path) as manager:
            with manager.get_connection() as connection:
                connection.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchall()
        for suffix in ('-wal', '-shm'):
            if os.path.exists(path + suffix):
                os.unlink(path + suffix)
        subprocess.check_call(['mount', '-o', 'remount,ro', disk])
        assert b'exit_with.py' in place.run('history', '--history-db', path).out
    finally:
        subprocess.call(['umount', disk])


def test_nothing_writable_is_one_line_and_no_harm(place, job, monkeypatch):
    """Without any place for the record, one line says that it is lost."""
    blocked = os.path.join(place.write('file', ''), 'x')
    monkeypatch.setattr(runner, '_spool_folders', lambda _: [blocked])
    result = runner.ScriptRunner(job, history_db=blocked).run_script()
    assert result['returncode'] == 3 and result['stdout'] == 'done\n' and result['execution_id'] is None
    assert len(result['warnings']) == 1 and 'is lost' in result['warnings'][0]


def test_a_damaged_spool_file_harms_nobody(place, job):
    """Rubbish in the spool is left where it is."""
    place.run(job)
    os.mkdir(place.history + '.spool', 0o700)
    place.write(os.path.join('history.db.spool', 'x.jsonl'), b'{"database": \xff')
    place.write(os.path.join('history.db.spool', 'y.jsonl'), json.dumps({'database': place.history, 'metrics': {}}))
    assert place.run(job).status == 3
    assert place.run('history').status == 0
    assert len(place.rows()) == 2


def test_a_spooled_record_is_taken_in_once(place, job):
    """Two starts at once, or a second copy of the file, make no second row."""
    place.write('history.db', 'x' * 100)
    place.run(job)
    waiting = spooled(place)[0]
    with open(waiting, 'rb') as file:
        content = file.read()
    os.unlink(place.history)
    place.run('history', '--history-db', place.history)
    place.run(job)
    with open(waiting, 'wb') as file:
        file.write(content)
    os.chmod(os.path.dirname(waiting), 0o700)
    place.run('history')
    assert len(place.rows()) == 2 and not os.path.exists(waiting)


def test_a_record_is_found_whichever_folder_for_temporary_files_it_went_to(history, tmp_path, monkeypatch):
    """$TMPDIR may be unset, or full at the time: the record then went to another, and is taken in from there."""
    import tempfile
    monkeypatch.delenv('TMPDIR', raising=False)
    monkeypatch.setenv('TEMP', str(tmp_path))
    monkeypatch.setattr(tempfile, 'tempdir', None)
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'file'))
    for name in ('file', 'history.db.spool'):
        (tmp_path / name).write_text('no folder')
    path = runner._spool(history.db_path, runner._complete_record({'script_path': 'job.py', 'status': 'failed'}))
    assert os.path.dirname(os.path.dirname(os.path.dirname(path))) == str(tmp_path)
    assert history.count_spooled() == 1
    assert history.tidy() == (0, 1) and not os.path.exists(path) and history.get_execution(1)['status'] == 'failed'


@posix_only
def test_a_spool_folder_of_somebody_else_is_not_trusted(tmp_path, monkeypatch):
    """A folder that others may write to is neither read nor used."""
    trap = tmp_path / 'trap'
    trap.mkdir()
    os.chmod(str(trap), 0o777)
    assert not runner._is_ours(str(trap))
    os.chmod(str(trap), 0o700)
    assert runner._is_ours(str(trap))
    link = tmp_path / 'link'
    link.symlink_to(trap)
    assert not runner._is_ours(str(link))


@own_process_only
def test_a_failing_recorder_harms_nobody(place, job):
    """An exception in the history thread costs the record; status and bytes are unharmed."""
    code = ('import sys, runner\n'
            'def fail(*_): raise RuntimeError("planted")\n'
            'runner._store_run = fail\n'
            'sys.exit(runner._main(sys.argv[1:], program=True))')
    env = dict(place.env, PYTHONPATH=os.path.dirname(os.path.abspath(runner.__file__)))
    process = Started([sys.executable, '-c', code, job], cwd=place.folder, env=env, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    out, err = process.communicate()
    assert process.returncode == 3 and out == b'done\n' and b'planted' in err and b'kept in' in err


def test_size_per_run_and_flat_cost(history):
    """A run without samples takes at most 1 KB of the file."""
    for i in range(2000):
        save(history, script_path='job%d.py' % (i % 5), correlation_id=runner.new_correlation_id(), stdout='ok\n', pid=i,
             cause='exit', metrics=dict((m.name, 123456.789) for m in runner.METRICS.values() if m.column == 'REAL'))
    stats = history.get_database_stats()
    assert stats['size_bytes'] / 2000 <= 1024


def test_migration_is_complete(history):
    """A file at version 0 becomes one of today; statements of one migration run in one transaction."""
    save(history)
    with history.get_connection() as connection:
        assert connection.execute('PRAGMA user_version').fetchone()[0] == runner._SCHEMA_VERSION
        assert connection.execute('PRAGMA foreign_keys').fetchone()[0] == 1
        assert connection.execute('PRAGMA foreign_key_check').fetchall() == []


if LINUX:
    assert signal.SIGKILL


@pytest.mark.parametrize('version', range(1, runner._SCHEMA_VERSION))
def test_older_files_are_brought_forward(tmp_path, version):
    """A file of every older version opens, keeps its runs, and takes new ones."""
    path = str(tmp_path / 'old.db')
    connection = sqlite3.connect(path)
    for migration in runner._MIGRATIONS[:version]:
        connection.executescript(migration)
    connection.execute("INSERT INTO script VALUES (1, '/old.py')")
    connection.execute('INSERT INTO context (id) VALUES (1)')
    connection.execute("INSERT INTO run (script_id, context_id, correlation, status, start_time, attempt_number, exit_code) "
                       "VALUES (1, 1, x'00', 'success', 1000000, 1, 0)")
    connection.execute('PRAGMA application_id = %d' % runner._APPLICATION_ID)
    connection.execute('PRAGMA user_version = %d' % version)
    connection.commit()
    connection.close()
    with runner.HistoryManager(path) as manager:
        run_id = save(manager, artefacts={'hang': 'x'})
        assert manager.get_artefacts(run_id) == {'hang': 'x'}
        failed = save(manager, status='failed', error_kind='key', error_fingerprint='KeyError-000001', error_frame='job.py:1 in f')
        assert manager.get_execution(failed)['error_frame'] == 'job.py:1 in f'
        assert manager.get_error_history('KeyError-000001')['run_ids'] == [failed]
        assert [r['script_path'] for r in manager.get_execution_history(days=None)][-1] == '/old.py'
        assert manager.get_database_stats()['schema_version'] == runner._SCHEMA_VERSION


def test_sightings_of_an_error_are_counted_by_an_index(history):
    """By fingerprint, of one script or all: count, first time, the newest ten; none is none."""
    runs = [save(history, script_path='job%d.py' % (i % 2), correlation_id=runner.new_correlation_id(), status='failed',
                 error_fingerprint='KeyError-000001', start_time='2026-01-%02dT00:00:00+00:00' % (30 - i)) for i in range(24)]
    save(history, correlation_id=runner.new_correlation_id())
    found = history.get_error_history('KeyError-000001')
    assert (found['count'], found['run_ids'], found['first_time'][:10]) == (24, runs[:10], '2026-01-07')
    assert history.get_error_history('KeyError-000001', 'job1.py')['run_ids'] == runs[1:20:2]
    assert history.get_error_history('KeyError-000002') == {'count': 0, 'first_time': None, 'run_ids': []}
    with history.get_connection() as connection:
        plan = connection.execute("EXPLAIN QUERY PLAN SELECT count(*) FROM run WHERE error_fingerprint = 'x'").fetchall()
    assert 'run_by_error' in str(plan)


@own_process_only
def test_what_a_killed_runner_left_is_ended_by_the_next(place):
    """kill -9 of the runner: the script dies at once, its children by the next start, which says so."""
    pids = os.path.join(place.folder, 'pids')
    process = place.start(script('spawn_tree.py'), 2, 2, pids)
    tree = read_pids(pids, 7)
    wait_until(lambda: os.path.exists(place.history) and is_recorded(place), 'the running row')
    process.kill()
    process.communicate()
    finished = place.run('history')
    assert b'whose runner was killed' in finished.err, finished
    assert_tree_gone(tree)


def is_recorded(place):
    """Tell whether the file has a row."""
    try:
        return bool(place.rows())
    except sqlite3.OperationalError:
        return False


# -- baselines ---------------------------------------------------------------------------------------------

def test_a_pinned_baseline_outlives_its_run(history):
    """Its metrics are kept when the run is pruned; another replaces it; cleared, it is gone."""
    first = history.save_execution({'cpu_max': 10.0, 'start_time': '2020-01-01T00:00:00+00:00'}, 'a.py', 0)
    second = history.save_execution({'cpu_max': 20.0}, 'b.py', 0)
    assert history.get_baseline('a.py') is None
    history.set_baseline(first)
    history.set_baseline(second)
    assert history.cleanup_old_data(30) == 1 and history.get_execution(first) is None
    kept = history.get_baseline(os.path.join('.', 'a.py'))
    assert (kept['execution_id'], kept['metrics']['cpu_max']) == (first, 10.0)
    assert history.clear_baseline('a.py') and not history.clear_baseline('a.py') and history.get_baseline('a.py') is None
    assert history.get_baseline('b.py')['metrics']['cpu_max'] == 20.0


def test_only_a_run_that_succeeded_becomes_a_baseline(history):
    """A failed or a missing one is refused with its reason."""
    failed = history.save_execution({}, 'a.py', 3)
    for number, reason in ((failed, 'its status is failed'), (99, 'there is none of that number')):
        with pytest.raises(runner.UsageError) as caught:
            history.set_baseline(number)
        assert 'run %d' % number in str(caught.value) and reason in str(caught.value)
