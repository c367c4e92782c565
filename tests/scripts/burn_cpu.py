"""Burn CPU for so many seconds of CPU time; print what getrusage says of this process and its children."""
import sys
import time


def burn(seconds):
    while time.process_time() < seconds:
        for _ in range(1000):
            pass


if __name__ == '__main__':
    burn(float(sys.argv[1]))
    print('%.6f' % time.process_time())
