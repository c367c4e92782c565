"""Print "tick 1", "tick 2", ... twenty times a second, for ever."""
import itertools
import time

for number in itertools.count(1):
    print('tick', number, flush=True)
    time.sleep(0.05)
