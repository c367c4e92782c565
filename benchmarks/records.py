"""Runs as a history holds them: every metric known, a line of output, no samples. Shared by the benchmarks that write."""
import random
import sys
import time

import runner

_CHOOSE = random.Random(8)
_SCRIPTS = ['/srv/jobs/job_%02d.py' % n for n in range(20)]
_COMMITS = ['%040x' % _CHOOSE.getrandbits(160) for _ in range(5)]


def make_run(started):
    """Return the keyword arguments of save_execution for one run that began at `started` (seconds since 1970)."""
    metrics = {}
    for metric in runner.METRICS.values():
        if metric.column == 'REAL':
            metrics[metric.name] = _CHOOSE.uniform(0.0, 200.0)
        elif metric.column == 'INTEGER':
            metrics[metric.name] = _CHOOSE.randrange(1, 5000)
    metrics.update(start_time=runner.format_time(started), end_time=runner.format_time(started + 2.5),
                   execution_time_seconds=2.5, exit_code=0, attempt_number=1, timed_out=False)
    return {
        'metrics': metrics, 'script_path': _CHOOSE.choice(_SCRIPTS), 'script_args': ['--day', 'monday'], 'stdout': 'hi\n',
        'status': 'success', 'cause': 'exit', 'pid': _CHOOSE.randrange(2, 4000000), 'git_branch': 'main',
        'git_commit': _CHOOSE.choice(_COMMITS), 'working_dir': '/srv/jobs', 'python_version': '3.11.7'}


def fill(db_path, count):
    """Put `count` runs of the last 25 days into a history, in one transaction, by the runner's own functions."""
    first = time.time() - 25 * 86400.0
    with runner.HistoryManager(db_path) as manager:
        with runner._Writing(manager) as connection:
            for number in range(count):
                run = make_run(first + number * 25 * 86400.0 / count)
                run['stdout_tail'] = run.pop('stdout')
                runner._store_run(connection, runner._complete_record(run))
        with manager.get_connection() as connection:
            connection.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchall()


if __name__ == '__main__':
    fill(sys.argv[1], int(sys.argv[2]))
