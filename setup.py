"""Build with `python setup.py bdist_wheel` or pip; everything but the licence is said in pyproject.toml."""
import sys

import setuptools

# The first that reads [project]. An older one would silently build a distribution called UNKNOWN.
OLDEST = 61

if int(setuptools.__version__.split('.')[0]) < OLDEST:
    sys.exit('setup.py: setuptools %s cannot read pyproject.toml; %d or newer can (pip install -U setuptools wheel). '
             'On Python 3.6, which has none, install a wheel that was built on a newer Python.'
             % (setuptools.__version__, OLDEST))

# Why here: see `dynamic` in pyproject.toml.
setuptools.setup(license='MIT')
