"""Close stdout and stderr early, and go on."""
import os
import sys
import time

os.write(1, b'before\n')
os.close(1)
os.close(2)
time.sleep(0.2)
sys.stdout = None
os._exit(7)
