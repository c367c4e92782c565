"""Say ready; at Ctrl-C clean up with some output and end with 7; with a word, ignore Ctrl-C for ever."""
import signal
import sys
import time

if len(sys.argv) > 1:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
try:
    print('ready', flush=True)
    while True:                 # a signal just before one long sleep would be heard only after it
        time.sleep(0.1)
except KeyboardInterrupt:
    print('cleaned up', flush=True)
    sys.exit(7)
