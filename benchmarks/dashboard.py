"""Measure the dashboard: answers over a large history, and many live clients while many scripts run.

    python benchmarks/dashboard.py [--runs 100000] [--clients 200] [--live 20] [--seconds 30]

Needs the extra `dashboard`. Figures are printed, never judged; what a live client must see (each start, end and sample once, also
when it comes back with its cursor) is checked, and what is missed is counted.
"""
import argparse
import asyncio
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), HERE]

import records  # noqa: E402

import runner  # noqa: E402

BUSY = """import sys, time
end = time.time() + float(sys.argv[1])
while time.time() < end:
    print("tick", flush=True)
    time.sleep(0.2)
"""


def start(folder, *words):
    """Start `python -m runner WORDS` with a history in `folder`."""
    env = dict(os.environ, SCRIPT_RUNNER_HISTORY_DB=os.path.join(folder, 'history.db'), PYTHONPATH=os.path.dirname(HERE))
    return subprocess.Popen([sys.executable, '-m', 'runner'] + list(words), env=env, cwd=folder, stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def start_dashboard(folder):
    """Start the dashboard; returns (process, port)."""
    process = start(folder, 'dashboard', '--port', '0')
    process.stderr.readline()
    return process, int(re.search(rb'http://127\.0\.0\.1:(\d+)/', process.stderr.readline()).group(1))


def measure_answers(port, script):
    """Print the time of each answer, first and median of 15, in milliseconds."""
    connection = http.client.HTTPConnection('127.0.0.1', port)
    for name, path in (
            ('overview', '/api/scripts'), ('runs, first page', '/api/executions'),
            ('runs, page 1000', '/api/executions?page=1000'), ('runs, failed', '/api/executions?status=failed'),
            ('runs of a script', '/api/executions?script=' + script),
            ('runs of a host', '/api/executions?host=' + os.uname().nodename),
            ('runs, condition', '/api/executions?where=cpu_max%20%3E%20199'),
            ('trend of a script', '/api/trends?script=' + script),
            ('metrics for Prometheus', '/metrics'), ('stats', '/api/stats'), ('running', '/api/running')):
        took = []
        for _ in range(15):
            time.sleep(0.15)
            before = time.perf_counter()
            connection.request('GET', path)
            answer = connection.getresponse()
            size = len(answer.read())
            took.append((time.perf_counter() - before) * 1000)
            if answer.status != 200:
                raise SystemExit('%s: status %d' % (path, answer.status))
        print('%-24s max %7.1f ms   median %6.1f ms   %7.1f KiB' % (name, max(took), statistics.median(took), size / 1024))
    connection.close()


async def follow(port, seen, until):
    """Listen; every now and then hang up and come back with the cursor."""
    from websockets.asyncio.client import connect
    cursor = ''
    while time.monotonic() < until:
        async with connect('ws://127.0.0.1:%d/ws/metrics%s' % (port, cursor and '?cursor=' + cursor), compression=None,
                           max_size=None) as client:
            leave = min(until, time.monotonic() + 5 + len(seen['new']) % 7 + hash(cursor) % 5)
            while time.monotonic() < leave:
                try:
                    message = json.loads(await asyncio.wait_for(client.recv(), 1.0))
                except asyncio.TimeoutError:
                    continue
                if message['type'] == 'hello' and not cursor:
                    cursor = message['cursor']
                if message['type'] == 'delta':
                    cursor = message['cursor']
                    arrived = time.time()
                    for kind in ('new', 'ended'):
                        seen[kind] += [run['id'] for run in message[kind]]
                    seen['late'] += [arrived - runner._parse_time(run['end_time']) / 1e6 for run in message['ended']
                                     if run['end_time']]
                    seen['samples'] += [(int(run), row[0]) for run, rows in message['samples'].items() for row in rows]


def memory_of(pid):
    """Return the resident memory of a process in MiB."""
    with open('/proc/%d/status' % pid) as file:
        return int(re.search(r'VmRSS:\s+(\d+)', file.read()).group(1)) / 1024


async def follow_all(port, pid, clients, until, memory):
    """Run all clients, noting the server's memory each second."""
    async def watch():
        while time.monotonic() < until:
            memory.append(memory_of(pid))
            await asyncio.sleep(1)

    seen = [{'new': [], 'ended': [], 'samples': [], 'late': []} for _ in range(clients)]
    await asyncio.gather(watch(), *[follow(port, notes, until) for notes in seen])
    return seen


def measure_live(clients, live, seconds):
    """Print what was missed, what came twice, how late ends came, and the server's memory."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, 'busy.py'), 'w') as file:
            file.write(BUSY)
        with runner.HistoryManager(os.path.join(folder, 'history.db')) as history:
            history.get_scripts()
            server, port = start_dashboard(folder)
            memory, memory_before, running = [], memory_of(server.pid), []
            try:
                until = time.monotonic() + seconds + 8

                async def go():
                    followers = asyncio.ensure_future(follow_all(port, server.pid, clients, until, memory))
                    await asyncio.sleep(3)
                    end = time.monotonic() + seconds - 6
                    while time.monotonic() < end:
                        running[:] = [process for process in running if process.poll() is None]
                        if len(running) < live:
                            running.append(start(folder, '--quiet', 'busy.py', str(4 + len(running) % 5)))
                        await asyncio.sleep(0.05)
                    return await followers

                seen = asyncio.run(go())
            finally:
                for process in running + [server]:
                    process.terminate()
                    process.wait()
                    process.stderr.close()
            with history.get_connection() as connection:
                runs = sorted(row[0] for row in connection.execute('SELECT id FROM run'))
                samples = sorted(connection.execute('SELECT execution_id, elapsed_seconds FROM samples'))
        missed = sum(len(set(runs) - set(notes[kind])) for notes in seen for kind in ('new', 'ended'))
        missed_samples = sum(len(set(samples) - set(notes['samples'])) for notes in seen)
        twice = sum(len(notes[kind]) - len(set(notes[kind])) for notes in seen for kind in ('new', 'ended', 'samples'))
        late = sorted(value for notes in seen for value in notes['late'])
        print('%d clients, %d scripts at once, %d runs, %d samples: missed %d starts and ends, %d samples; %d came twice' % (
            clients, live, len(runs), len(samples), missed, missed_samples, twice))
        print('end of a run to its arrival: median %.0f ms, 99 %% within %.0f ms' % (
            statistics.median(late) * 1000, late[int(len(late) * 0.99)] * 1000))
        print('memory of the server: %.0f MiB before, %.0f after 10 s, %.0f at the end, %.0f at most' % (
            memory_before, memory[min(10, len(memory) - 1)], memory[-1], max(memory)))


def main():
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--runs', type=int, default=100000)
    parser.add_argument('--clients', type=int, default=200)
    parser.add_argument('--live', type=int, default=20)
    parser.add_argument('--seconds', type=int, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'history.db')
        records.fill(path, given.runs)
        with runner.HistoryManager(path) as history:
            script = history.get_scripts()[0]
        server, port = start_dashboard(folder)
        try:
            print('%d runs in the file' % given.runs)
            measure_answers(port, script)
        finally:
            server.terminate()
            server.wait()
            server.stderr.close()
    measure_live(given.clients, given.live, given.seconds)


if __name__ == '__main__':
    main()
