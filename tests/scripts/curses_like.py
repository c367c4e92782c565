"""A full-screen program in small: takes the terminal raw, reports each key, ends at q, sets the terminal right."""
import os
import sys
import termios
import tty

before = termios.tcgetattr(0)
tty.setraw(0)
os.write(1, b'\x1b[?1049hready %d\r\n' % (sys.stdin.isatty() + sys.stdout.isatty() + sys.stderr.isatty()))
while True:
    key = os.read(0, 1)
    os.write(1, b'key %d\r\n' % key[0])
    if key in (b'q', b''):
        break
termios.tcsetattr(0, termios.TCSADRAIN, before)
os.write(1, b'\x1b[?1049lbye\n')
