"""Sleep and work a bit, some 0.3 s in all."""
import time

time.sleep(0.28)
sum(number * number for number in range(200000))
