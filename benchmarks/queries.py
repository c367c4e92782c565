"""Time questions to a history, in a process of their own; prints JSON: [[what, target, unit, how, [times]], …].

    python benchmarks/queries.py HISTORY ROUNDS FOLDER
"""
import json
import os
import resource
import sys
import time

import runner

path, rounds, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
history = runner.HistoryManager(path)
script = history.get_scripts()[0]
table = []


def measure(what, how, ask, target='≤ 100 ms', times=rounds):
    """Add a row: milliseconds of each call."""
    ask()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        found.append(1e3 * (time.perf_counter() - began))
    table.append([what, target, ' ms', how, found])


WHERE = 'success = false AND memory_max_mb > 500MiB'
measure('the newest 20', 'get_execution_history(limit=20)', lambda: history.get_execution_history(limit=20))
measure('all that fulfil a condition that none does', 'get_execution_history(where=%r)' % WHERE,
        lambda: history.get_execution_history(limit=20, where=WHERE))
measure('count of a condition over metrics, times and contexts', "count_executions(where=…)", lambda: history.count_executions(
    where="memory_max_mb > 1.1 * memory_avg_mb AND start_time > '2020-01-01' AND git_branch = 'main'"))
measure('page 1,000 of 50 each', 'get_executions_paginated', lambda: history.get_executions_paginated(1000, 50))
measure('one metric, the last 200 good runs of a script', 'get_metric_series(limit=200, good_only=True)',
        lambda: history.get_metric_series(script, 'cpu_max', limit=200, good_only=True))
measure('one metric, the last 10,000 of all scripts', 'get_metric_series(None, limit=10000)',
        lambda: history.get_metric_series(None, 'cpu_max', limit=10000))
measure('one metric of all runs in buckets of an hour', 'get_metric_buckets',
        lambda: history.get_metric_buckets(None, 'cpu_max', 3600))
measure('mean, least and greatest of one metric of all runs', 'get_aggregated_metrics',
        lambda: history.get_aggregated_metrics(metric_name='cpu_max', days=None))
measure('… of every metric of one script', 'get_aggregated_metrics',
        lambda: history.get_aggregated_metrics(script, days=None))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
measure('export of all to CSV', 'HistoryManager.export', lambda: history.export(os.path.join(folder, 'runs.csv')), '—', 1)
table[-1][3] += ', peak memory +%.0f MiB' % ((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024.0)
history.close()
print(json.dumps(table))
