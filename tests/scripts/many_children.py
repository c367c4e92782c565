"""Run COUNT children one after the other, each burning MILLISECONDS of CPU; print what getrusage says of all."""
import os
import resource
import sys
import time

for _ in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        end = time.process_time() + float(sys.argv[2]) / 1000.0
        while time.process_time() < end:
            pass
        os._exit(0)
    os.waitpid(pid, 0)
total = 0.0
for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
    used = resource.getrusage(who)
    total += used.ru_utime + used.ru_stime
print('%.6f' % total)
