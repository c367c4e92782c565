"""Wake at an interval for some seconds and print the CPU seconds that took: khz.py empty|PID INTERVAL SECONDS.

`empty` only waits, as the monitor does; with a PID a ProcessMonitor samples that process, and the number of its samples
and the CPU seconds of its thread are printed too.
"""
import sys
import time
from _thread import allocate_lock, start_new_thread

what, interval, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])


def wait_only(wake, done):
    started = time.monotonic()
    due = interval
    while True:
        now = time.monotonic() - started
        if now < due:
            if wake.acquire(True, due - now):
                break
            now = time.monotonic() - started
        if now >= due:
            due = interval * (int(now / interval + 1e-6) + 1)
    done.release()


if what == 'empty':
    wake, done = allocate_lock(), allocate_lock()
    wake.acquire()
    done.acquire()
    begun, before = time.monotonic(), time.process_time()
    start_new_thread(wait_only, (wake, done))
    time.sleep(seconds)
    used, took = time.process_time() - before, time.monotonic() - begun
    wake.release()
    done.acquire()
    print(used, took)
else:
    import runner
    monitor = runner.ProcessMonitor(int(what), interval)
    begun, before = time.monotonic(), time.process_time()
    monitor.start()
    time.sleep(seconds)
    used, took = time.process_time() - before, time.monotonic() - begun
    monitor.stop()
    if monitor.error is not None:
        raise monitor.error
    summary = monitor.get_summary()
    print(used, took, summary['monitor_samples'], summary['monitor_cpu_seconds'])
