"""Spawn a tree: WIDTH children in each of DEPTH levels; every second one leads a session, every third ignores TERM.

Each process adds its pid to FILE once it is ready; all sleep until they are ended. With a fourth word the root
ends at once and leaves the rest behind.
"""
import os
import signal
import sys
import time


def note(path):
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b'%d\n' % os.getpid())
    os.close(descriptor)


def grow(width, depth, path, number=0):
    if depth:
        for i in range(width):
            if os.fork() == 0:
                number = number * width + i + 1
                if number % 2:
                    os.setsid()
                if number % 3 == 0:
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                grow(width, depth - 1, path, number)
                os._exit(0)
    note(path)
    if number or len(sys.argv) < 5:
        time.sleep(600)


if __name__ == '__main__':
    grow(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
