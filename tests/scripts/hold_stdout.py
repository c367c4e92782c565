"""Leave a daemonised child behind that holds stdout for SECONDS, and end at once; its pid goes to FILE."""
import os
import signal
import sys
import time

if os.fork() == 0:
    os.setsid()
    if len(sys.argv) > 3:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        with open(sys.argv[2], 'w') as file:
            file.write('%d\n' % os.getpid())
        time.sleep(float(sys.argv[1]))
        os.write(1, b'late\n')
    os._exit(0)
os.wait()
os.write(1, b'done\n')
