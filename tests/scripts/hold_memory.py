"""Hold MIB of memory for SECONDS, after a pause, in this process or (third word: child) in a child."""
import mmap
import os
import sys
import time


def hold(mib, seconds):
    block = mmap.mmap(-1, max(1, mib * 1024 * 1024))      # pages of our own: no allocator in between
    for i in range(0, len(block), 4096):
        block[i] = 1
    time.sleep(seconds)


if __name__ == '__main__':
    mib, seconds, pause = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    time.sleep(pause)
    if sys.argv[4:] == ['child']:
        pid = os.fork()
        if pid == 0:
            hold(mib, seconds)
            os._exit(0)
        os.waitpid(pid, 0)
    else:
        hold(mib, seconds)
    time.sleep(pause)
