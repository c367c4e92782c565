"""Print as JSON how this process was started."""
import json
import os
import signal
import sys

mask = []
if hasattr(signal, 'pthread_sigmask'):
    mask = sorted(int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, []))
print(json.dumps({
    'argv': sys.argv, 'cwd': os.getcwd(), 'mask': mask,
    'hup': str(signal.getsignal(signal.SIGHUP)) if hasattr(signal, 'SIGHUP') else '',
    'env': dict(os.environ),
    'tty': [os.isatty(n) for n in (0, 1, 2)], 'pgrp_is_own': os.getpgrp() == os.getpid(),
    'path0': sys.path[0], 'fds': sorted(int(n) for n in os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else [],
}, sort_keys=True))
