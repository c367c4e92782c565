"""Leave an orphan that burns SECONDS of CPU and writes what it used to FILE."""
import os
import sys
import time

from burn_cpu import burn

if os.fork() == 0:
    if os.fork() == 0:
        burn(float(sys.argv[1]))
        with open(sys.argv[2] + '.part', 'w') as file:
            file.write('%.6f' % time.process_time())
        os.rename(sys.argv[2] + '.part', sys.argv[2])
        os._exit(0)
    os._exit(0)
os.wait()
if len(sys.argv) > 3:
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.01)
