"""Write "started" and the pid to FILE.started, then wait until FILE exists."""
import os
import sys
import time

with open(sys.argv[1] + '.started', 'w') as file:
    file.write('%d\n' % os.getpid())
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
