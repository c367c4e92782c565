"""Write bytes that are no UTF-8, and a last line without its end."""
import os

os.write(1, b'caf\xe9\n\x00\xff\xfe no end')
os.write(2, b'\xe9rreur\n')
