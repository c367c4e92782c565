"""Save runs as soon as stdin ends and print the seconds that each took: writer.py HISTORY COUNT SCRATCH.

What a first save loads is loaded before, by saving to the file SCRATCH: 32 processes that all import modules on a few
cores would measure the cores. The history is open before, too.
"""
import sys
import time

import records

import runner

manager = runner.HistoryManager(sys.argv[1])
runs = [records.make_run(time.time()) for _ in range(int(sys.argv[2]))]
with runner.HistoryManager(sys.argv[3]) as scratch:
    scratch.save_execution(**runs[0])
with manager.get_connection() as connection:
    connection.execute('SELECT count(*) FROM run').fetchall()
print('ready', flush=True)
sys.stdin.read()
for run in runs:
    begun = time.perf_counter()
    manager.save_execution(**run)
    print(time.perf_counter() - begun)
