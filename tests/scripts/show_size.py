"""Print the window size now and after each SIGWINCH, until a key is read."""
import os
import signal
import sys
import time


def show(*_):
    os.write(1, b'size %d %d\n' % tuple(os.get_terminal_size(1)))


signal.signal(signal.SIGWINCH, show)
show()
while 'stop' not in sys.stdin.readline():
    time.sleep(0.01)
