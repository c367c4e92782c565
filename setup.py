"""Build with `python setup.py bdist_wheel` or pip; everything but the licence and the dashboard is said in pyproject.toml."""
import os
import sys

import setuptools
from setuptools.command.build_py import build_py

# The first that reads [project]. An older one would silently build a distribution called UNKNOWN.
OLDEST = 61

if int(setuptools.__version__.split('.')[0]) < OLDEST:
    sys.exit('setup.py: setuptools %s cannot read pyproject.toml; %d or newer can (pip install -U setuptools wheel). '
             'On Python 3.6, which has none, install a wheel that was built on a newer Python.'
             % (setuptools.__version__, OLDEST))

DASHBOARD = (os.path.join('backend', 'app.py'), os.path.join('frontend', 'index.html'))


class BuildWithDashboard(build_py):
    """Put the dashboard's files beside runner.py, in a folder whose name no other distribution has.

    Not as a package in pyproject.toml: one that lies in a folder of another name would turn an editable install, which is
    one line in a .pth file, into an import hook, which costs every start of that interpreter some milliseconds.
    """

    def run(self):
        """Build what pyproject.toml names, then copy."""
        build_py.run(self)
        if not getattr(self, 'editable_mode', False):
            for source, target in self._dashboard():
                self.mkpath(os.path.dirname(target))
                self.copy_file(source, target)

    def _dashboard(self):
        return [(os.path.join('dashboard', name), os.path.join(self.build_lib, 'script_runner_dashboard', name))
                for name in DASHBOARD]

    def get_outputs(self, include_bytecode=True):
        """List the copies too, so that an uninstall takes them along."""
        return build_py.get_outputs(self, include_bytecode) + [target for _, target in self._dashboard()]

    def get_source_files(self):
        """Put them into a source distribution."""
        return build_py.get_source_files(self) + [source for source, _ in self._dashboard()]


# Why the licence is here: see `dynamic` in pyproject.toml.
setuptools.setup(license='MIT', cmdclass={'build_py': BuildWithDashboard})
