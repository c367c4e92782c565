"""Copy stdin to stdout to its end, as bytes."""
import shutil
import sys

shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)
