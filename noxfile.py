"""The steps of the Makefile for those who use nox: `nox -l` lists them, `nox -s tests-3.6` runs one.

The tests run against the built wheel, from a copy outside the checkout (.ci/wheel_suite.py), as in `make interpreters`.
nox looks for interpreters on PATH; those of pyenv are there after
`pyenv global 3.13 3.12 …`. `make interpreters` finds them by itself.
"""
import os
import shutil

import nox

nox.options.default_venv_backend = 'venv'   # virtualenv has dropped the oldest of these
nox.options.sessions = ['tests', 'lint', 'types', 'vermin']

INTERPRETERS = ['3.6', '3.7', '3.8', '3.9', '3.10', '3.11', '3.12', '3.13', 'pypy3']
# Where nothing else would find it, and where `make wheel` does not clear it away under a running session.
WHEELS = os.path.join('.nox', 'wheels')


def _isolate(session):
    """Keep what the caller has on his path out of the session."""
    session.env.update(PYTHONPATH=None, PYTHONHOME=None, PYTHONDONTWRITEBYTECODE=None)


@nox.session(venv_backend='venv')
def wheel(session):
    """Build the wheel into .nox/wheels; Python 3.6 could not build it for itself."""
    _isolate(session)
    session.install('-r', 'requirements-dev.txt')
    for folder in ('build', WHEELS):
        shutil.rmtree(folder, ignore_errors=True)
    session.run('python', '-W', 'ignore:setup.py install is deprecated', 'setup.py', '--quiet', 'bdist_wheel',
                '--dist-dir', WHEELS)


@nox.session(python=INTERPRETERS, venv_backend='venv', requires=['wheel'])
def tests(session):
    """Run every test against the wheel."""
    _isolate(session)
    built = [os.path.join(WHEELS, name) for name in os.listdir(WHEELS)]
    if session.python == '3.6':
        session.install('pip==21.3.1')      # its own does not know current wheel tags; this is the last for 3.6
    session.install('-r', 'requirements-pypy3.txt' if session.python == 'pypy3' else 'requirements-dev.txt')
    session.install('--no-deps', '--force-reinstall', *built)
    session.run('python', os.path.join('.ci', 'wheel_suite.py'), *session.posargs)


@nox.session(venv_backend='venv')
def lint(session):
    """Check with ruff."""
    _isolate(session)
    session.install('-e', '.[lint]')
    session.run('ruff', 'check', '.')


@nox.session(venv_backend='venv')
def types(session):
    """Check the type comments with mypy."""
    _isolate(session)
    session.install('-e', '.[lint]')
    session.run('mypy')


@nox.session(venv_backend='venv')
def vermin(session):
    """Prove that runner.py needs nothing newer than Python 3.6."""
    _isolate(session)
    session.install('-e', '.[lint]')
    session.run('vermin', '-t=3.6-', '--violations', '--no-tips', 'runner.py')
