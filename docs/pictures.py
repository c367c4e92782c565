#!/usr/bin/env python3
"""Make the pictures of the README from real runs: images/terminal.svg, and images/dashboard.png where there is a Chromium.

    python docs/pictures.py
"""
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from xml.sax.saxutils import escape

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGES = os.path.join(HERE, 'images')

SCRIPTS = {
    'job.py': '''import random, sys, time
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2
for step in range(steps):
    data = [bytearray(1 << 20) for _ in range(12 + random.randrange(3) + 8 * step)]
    sum(n * n for n in range(600000 + random.randrange(60000)))
    time.sleep(0.05)
print('120 orders loaded')
''',
    'load.py': 'import json\n\ndef load(text):\n    return json.loads(text)["order"]\n\nload(\'{"id": 7}\')\n',
    'hang.py': 'import time\nprint("waiting for the server", flush=True)\ntime.sleep(60)\n',
}
#: What is shown, each line as it is typed; the status is not looked at.
SHOWN = ('job.py', '--timeout 0.5 --grace 1 hang.py', 'history --limit 4', 'show last | head')


class Place(object):
    """A folder of scripts with a history of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.env = dict(os.environ, SCRIPT_RUNNER_HISTORY_DB=os.path.join(folder, 'history.db'), PYTHONPATH=os.path.dirname(HERE),
                        NO_COLOR='1')
        for name, text in SCRIPTS.items():
            with open(os.path.join(folder, name), 'w') as file:
                file.write(text)

    def run(self, words):
        """Return what a terminal shows of `python -m runner WORDS`: both streams, in order."""
        finished = subprocess.run([sys.executable, '-m', 'runner'] + words.split(), cwd=self.folder, env=self.env,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        return finished.stdout.decode('utf-8', 'replace')


def terminal(place):
    """Write the picture of a terminal."""
    lines = []
    for words in SHOWN:
        command, _, head = words.partition(' | ')
        shown = place.run(command).rstrip('\n').replace(place.folder, '/home/me').split('\n')
        lines += ['$ python -m runner ' + command] + (shown[:10] + ['…'] if head else shown) + ['']
    lines.pop()
    width, height = 30 + int(7.3 * max(len(line) for line in lines)), 34 + 17 * len(lines)
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" font-family="ui-monospace, Menlo, Consolas, '
             '\'DejaVu Sans Mono\', monospace" font-size="12" role="img">' % (width, height, width),
             '<title>python -m runner in a terminal</title><rect width="100%" height="100%" rx="6" fill="#14181d"/>']
    for number, line in enumerate(lines):
        odd = re.search(r'^ *\d+  .*(timeout|failed)|^runner: (?!ok)', line)
        colour = '#ffffff' if line.startswith('$') else '#e0736b' if odd else \
            '#7fc7a8' if line.startswith('runner:') else '#c5ccd3'
        parts.append('<text x="14" y="%d" fill="%s" xml:space="preserve">%s</text>' % (28 + 17 * number, colour, escape(line)))
    with open(os.path.join(IMAGES, 'terminal.svg'), 'w', encoding='utf-8') as file:
        file.write('\n'.join(parts + ['</svg>', '']))


def free_port():
    """Return a port of the loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def dashboard(place, browser):
    """Write the picture of the dashboard's page of a run, with a script running beside it."""
    port = free_port()
    base = 'http://127.0.0.1:%d' % port
    server = subprocess.Popen([sys.executable, '-m', 'runner', 'dashboard', '--port', str(port)], cwd=place.folder, env=place.env,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    running = subprocess.Popen([sys.executable, '-m', 'runner', 'job.py', '60'], cwd=place.folder, env=place.env,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(base + '/api/health', timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        time.sleep(3)
        subprocess.run([browser, '--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--window-size=1200,620',
                        '--virtual-time-budget=4000', '--user-data-dir=' + os.path.join(place.folder, 'browser'),
                        '--screenshot=' + os.path.join(IMAGES, 'dashboard.png'), base + '/'], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    finally:
        for process in (running, server):
            process.terminate()
            process.wait()


def main():
    os.makedirs(IMAGES, exist_ok=True)
    folder = tempfile.mkdtemp(prefix='script-runner-pictures-')
    try:
        place = Place(folder)
        for _ in range(9):
            place.run('--quiet job.py')
        place.run('--quiet load.py')
        terminal(place)
        browser = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
        if browser is None:
            sys.stderr.write('no Chromium in PATH: images/dashboard.png stays as it is\n')
        else:
            for number in range(8):
                place.run('--quiet job.py %d' % (2 + number % 3 // 2))
            dashboard(place, browser)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    main()
