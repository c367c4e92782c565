"""Say "ready", then the name of each signal that comes; end with 0 after TERM, HUP or INT."""
import os
import signal
import sys
import time

names = ('SIGTERM', 'SIGHUP', 'SIGINT', 'SIGUSR1', 'SIGUSR2', 'SIGQUIT')


def heard(number, _):
    name = [n for n in names if getattr(signal, n) == number][0]
    os.write(1, name.encode() + b'\n')
    if name in ('SIGTERM', 'SIGHUP', 'SIGINT'):
        os._exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


for _name in names:
    signal.signal(getattr(signal, _name), heard)
os.write(1, b'ready\n')
while True:                     # a signal just before one long sleep would be heard only after it
    time.sleep(0.1)
