"""Hold 300 MiB for 50 ms at a random moment; write this process's true peak (MiB) to the file named."""
import random
import sys
import time

moment = random.uniform(0.05, 0.6)
time.sleep(moment)
held = b'x' * (300 << 20)
time.sleep(0.05)
del held
time.sleep(0.65 - moment)
with open('/proc/self/status') as status, open(sys.argv[1], 'w') as file:
    for line in status:
        if line.startswith('VmHWM:'):
            file.write('%r' % (int(line.split()[1]) / 1024.0))
