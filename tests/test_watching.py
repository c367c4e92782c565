"""Section 4: the monitor and its samplers, against witnesses."""
import os
import subprocess
import sys
import threading
import time

import pytest
from conftest import LINUX, PORTABLE, PYPY, linux_only, script, wait_until

import runner

psutil = pytest.importorskip('psutil')


@pytest.fixture
def child():
    """Start scripts that are ended with the test."""
    started = []

    def start(*words):
        process = subprocess.Popen([sys.executable] + [str(w) for w in words], stdout=subprocess.PIPE)
        started.append(process)
        return process
    yield start
    for process in started:
        process.kill()
        process.stdout.close()
        process.wait()


def sleeper(child, code='import time; print(1, flush=True); time.sleep(60)'):
    """Start a process and wait until it is through with its start."""
    process = child('-c', code)
    process.stdout.readline()
    return process


@linux_only
def test_both_samplers_agree(child):
    """Memory, threads, descriptors, processes and CPU of a tree are the same through /proc and through psutil."""
    code = ('import os, time, threading\n'
            'threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n'
            'block = bytearray(30 << 20)\nfor i in range(0, len(block), 4096): block[i] = 1\n'
            'pid = os.fork()\nprint(1, flush=True) if pid else None\ntime.sleep(60)')
    process = sleeper(child, code)
    time.sleep(0.1)
    ours, theirs = runner.ProcSampler(process.pid, from_birth=True), runner.PsutilSampler(process.pid, from_birth=True)
    try:
        a, b = ours.sample(), theirs.sample()
    finally:
        ours.close()
        theirs.close()
    assert abs(a[0] - b[0]) < 0.05                       # psutil reads ticks
    assert abs(a[1] - b[1]) < 2.0
    assert a[2:5] == b[2:5] and a[4] == 2
    if a[5] is not None and b[5] is not None:
        assert abs(a[5] - b[5]) < 64.0                   # psutil counts I/O of the process, /proc/PID/io with children


@pytest.mark.parametrize('interval', [0.02, 0.1])
def test_samples_keep_their_interval(child, interval):
    """The interval is constant: about duration / interval samples, at multiples of it."""
    process = sleeper(child)
    with runner.ProcessMonitor(process.pid, interval) as monitor:
        time.sleep(0.6)
    summary = monitor.get_summary()
    assert 0.6 / interval * 0.5 <= summary['monitor_samples'] <= 0.6 / interval + 4
    assert summary['monitor_max_gap_seconds'] < 0.6


def test_the_current_process_can_be_watched():
    """Without a pid it is this process; burning CPU shows."""
    with runner.ProcessMonitor(interval=0.02) as monitor:
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
    summary = monitor.get_summary()
    assert summary['cpu_avg'] > 20 and summary['memory_max_mb'] > 5
    assert summary['cpu_min'] <= summary['cpu_avg'] <= summary['cpu_max']
    assert summary['num_processes'] >= 1 and summary['num_threads'] >= 2


def test_memory_of_an_idle_process_matches_psutil(child):
    """The witness reads the same resident size from outside."""
    process = sleeper(child)
    with runner.ProcessMonitor(process.pid, 0.05) as monitor:
        time.sleep(0.2)
    truth = psutil.Process(process.pid).memory_info().rss / 1048576.0
    assert abs(monitor.get_summary()['memory_avg_mb'] - truth) < max(1.0, 0.05 * truth)


@linux_only
@pytest.mark.skipif(PORTABLE, reason='psutil reads no high-water marks on Linux')
def test_a_spike_between_samples_is_seen(child):
    """The kernel's high-water mark remembers 80 MiB that were freed before the first sample."""
    process = sleeper(child, 'import time\nb = bytearray(80 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\n'
                             'del b\nprint(1, flush=True)\ntime.sleep(60)')
    with runner.ProcessMonitor(process.pid, 0.05) as monitor:
        time.sleep(0.1)
    assert monitor.get_summary()['memory_max_mb'] > 80


def test_new_children_are_found(child):
    """A child that is born while its parent is watched counts, and so does its own child."""
    process = child('-c', 'import subprocess, sys, time\ntime.sleep(0.2)\n'
                          'subprocess.call([sys.executable, "-c", "import subprocess, sys; subprocess.call([sys.executable, '
                          '\'-c\', \'import time; time.sleep(60)\'])"])')
    with runner.ProcessMonitor(process.pid, 0.02) as monitor:
        wait_until(lambda: (monitor.get_summary()['num_processes'] or 0) >= 3, 'three processes')
        tree = monitor.processes()
    assert len(tree) >= 3 and process.pid in [pid for pid, _ in tree]
    for pid, _ in tree:
        if pid != process.pid:
            psutil.Process(pid).kill()


@linux_only
def test_children_of_other_threads_are_found(child):
    """A child belongs to the thread that forked it; all threads are asked."""
    process = sleeper(child, 'import subprocess, sys, threading, time\n'
                             't = threading.Thread(target=subprocess.call, args=([sys.executable, "-c", "import time; time.sleep(60)"],))\n'
                             't.daemon = True\nt.start()\nprint(1, flush=True)\ntime.sleep(60)')
    with runner.ProcessMonitor(process.pid, 0.02) as monitor:
        wait_until(lambda: monitor.get_summary()['num_processes'] == 2, 'the child of the second thread')
        tree = monitor.processes()
    for pid, _ in tree:
        if pid != process.pid:
            psutil.Process(pid).kill()


def test_a_pid_that_does_not_exist_is_refused():
    """start() raises ProcessLookupError."""
    process = subprocess.Popen([sys.executable, '-c', ''])
    process.wait()
    with pytest.raises(ProcessLookupError):
        runner.ProcessMonitor(process.pid).start()


@pytest.mark.parametrize('interval', [0, -1, float('nan')])
def test_an_interval_that_is_none_is_refused(interval):
    """ValueError, naming the value."""
    with pytest.raises(ValueError):
        runner.ProcessMonitor(interval=interval)


def test_the_process_may_end_while_it_is_watched(child):
    """Its numbers stay, nothing raises."""
    process = child(script('burn_cpu.py'), '0.2')
    with runner.ProcessMonitor(process.pid, 0.02) as monitor:
        process.wait()
        time.sleep(0.1)
    summary = monitor.get_summary()
    assert monitor.error is None and summary['memory_max_mb'] > 1 and summary['cpu_max'] > 10


@linux_only
@pytest.mark.skipif(PORTABLE, reason='psutil opens its files anew')
def test_no_descriptor_stays_open(child):
    """After stop every /proc descriptor is closed, also those of processes that ended before."""
    process = child('-c', 'import subprocess, sys, time\ntime.sleep(0.1)\n'
                          'for _ in range(5): subprocess.call([sys.executable, "-c", "import time; time.sleep(0.05)"])\n')
    before = set(os.listdir('/proc/self/fd'))
    with runner.ProcessMonitor(process.pid, 0.01):
        process.wait()
    assert set(os.listdir('/proc/self/fd')) <= before


def test_a_failing_sampler_costs_the_samples_only(monkeypatch):
    """An exception inside the loop is kept in `error`; stop() still returns."""
    class Broken(object):
        def __init__(self, *_, **__):
            pass

        def sample(self):
            raise RuntimeError('planted')

        def close(self):
            pass
    monkeypatch.setattr(runner, 'choose_sampler', lambda: Broken)
    monitor = runner.ProcessMonitor(interval=0.01).start()
    wait_until(lambda: monitor.error is not None, 'the planted error')
    monitor.stop(time.monotonic())
    assert 'planted' in str(monitor.error)


def test_an_unknown_sampler_is_refused(monkeypatch):
    """SCRIPT_RUNNER_SAMPLER names proc or psutil."""
    monkeypatch.setenv('SCRIPT_RUNNER_SAMPLER', 'magic')
    with pytest.raises(runner.UsageError) as caught:
        runner.choose_sampler()
    assert 'magic' in str(caught.value) and 'psutil' in str(caught.value)


def test_samples_reach_the_callback(child):
    """on_sample gets each row; the series holds the same rows."""
    rows = []
    process = sleeper(child)
    with runner.ProcessMonitor(process.pid, 0.02, on_sample=rows.append) as monitor:
        wait_until(lambda: len(rows) > 3, 'samples')
    assert rows == monitor.samples.rows and len(rows[0]) == len(runner.SAMPLE_FIELDS)


def test_long_series_are_thinned_and_keep_their_extremes():
    """Bounded rows; the highest and lowest CPU and memory survive every thinning."""
    series = runner.SampleSeries(limit=100)
    for i in range(5000):
        cpu, memory = 50.0 + i % 7, 100.0 + i % 11
        if i == 1234:
            cpu, memory = 399.0, 9.0
        if i == 4000:
            cpu, memory = 0.25, 5000.0
        series.append((i * 0.1, cpu, memory, 1, 1, 1, None, None))
    rows = series.rows
    assert len(rows) <= 100 and series.generation > 0
    assert max(r[1] for r in rows) == 399.0 and min(r[1] for r in rows) == 0.25
    assert max(r[2] for r in rows) == 5000.0 and min(r[2] for r in rows) == 9.0
    assert [r[0] for r in rows] == sorted(r[0] for r in rows)


@pytest.mark.skipif(PYPY or PORTABLE or not LINUX, reason='counts the system calls of ProcSampler')
def test_a_sample_does_not_look_at_other_processes(monkeypatch, child):
    """While no process is born, a sample lists no directory at all."""
    process = sleeper(child)
    sampler = runner.ProcSampler(process.pid)
    listed = []
    monkeypatch.setattr(runner.os, 'listdir', lambda path: listed.append(path) or [])
    monkeypatch.setattr(sampler, '_fd_count_by_stat', True)
    try:
        sampler.sample()
        before = len(listed)
        born = os.pread(sampler._loadavg, 128, 0)
        sampler.sample()
        if os.pread(sampler._loadavg, 128, 0).split()[-1] == born.split()[-1] == sampler._last_born:
            assert len(listed) == before
    finally:
        sampler.close()


def test_monitors_run_side_by_side(child):
    """Eight monitors of eight processes do not disturb each other."""
    processes = [sleeper(child) for _ in range(8)]
    summaries = {}

    def watch(process):
        with runner.ProcessMonitor(process.pid, 0.02) as monitor:
            time.sleep(0.2)
        summaries[process.pid] = monitor.get_summary()
    threads = [threading.Thread(target=watch, args=(p,)) for p in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(summaries) == 8 and all(s['num_processes'] == 1 for s in summaries.values())
