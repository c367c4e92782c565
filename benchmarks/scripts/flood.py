"""Write so many MiB to stdout, in lines of 128 bytes, 64 KiB at a time; write the seconds it took to the file named."""
import os
import sys
import time

block = memoryview((b'x' * 127 + b'\n') * 512)
began = time.monotonic()
for _ in range(int(sys.argv[1]) * 16):
    rest = block
    while rest:
        rest = rest[os.write(1, rest):]
seconds = time.monotonic() - began
with open(sys.argv[2], 'w') as file:
    file.write('%r' % seconds)
