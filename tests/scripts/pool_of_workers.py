"""Burn CPU in a multiprocessing.Pool(2); print what getrusage says of all."""
import multiprocessing
import resource
import time


def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


if __name__ == '__main__':
    pool = multiprocessing.Pool(2)
    pool.map(work, [0.1] * 6, chunksize=1)
    pool.close()
    pool.join()
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    print('%.6f' % total)
