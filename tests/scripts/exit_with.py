"""End with a status, or by a signal when the word is a signal's name."""
import os
import signal
import sys

word = sys.argv[1]
if word.startswith('SIG'):
    number = getattr(signal, word)
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pause()
sys.exit(int(word))
