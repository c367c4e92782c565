"""Run the tests against the installed wheel, never against the checkout; called by the environment's own interpreter.

    VENV/bin/python .ci/wheel_suite.py [words for pytest]

The tests are copied into a temporary folder first: where runner.py lies beside them, `import runner` would find
that file and the wheel would be proved by something else. Runs on everything that runner.py runs on.
"""
import os
import shutil
import subprocess
import sys
import tempfile

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# pyproject.toml for pytest's settings, benchmarks for the noise that tests/test_trends.py shares with them; the rest is what is
# collected.
NEEDED = ('pyproject.toml', 'test_script.py', 'tests', 'benchmarks')


def copy_tests(folder):
    """Copy what the tests need into `folder`; a missing tests/ is left out, as pytest then says."""
    for name in NEEDED:
        source, target = os.path.join(CHECKOUT, name), os.path.join(folder, name)
        if os.path.isdir(source):
            shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__', '.*'))
        elif os.path.exists(source):
            shutil.copy(source, target)


def check_origin(folder, env):
    """Exit with a sentence unless a process started in `folder` imports the installed module."""
    out = subprocess.check_output([sys.executable, '-c', 'import runner; print(runner.__file__)'], cwd=folder, env=env)
    path = os.path.realpath(out.decode().strip())
    print('runner under test: %s' % path)
    if os.path.basename(os.path.dirname(path)) != 'site-packages':
        sys.exit('wheel_suite: %s: not an installed module; install the wheel into this environment first' % path)


def main(words):
    """Copy, check, run; returns pytest's exit status."""
    env = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'PYTHONHOME')}
    # Two suites share this machine, or it is a shared one: the tests widen their tolerances.
    env.setdefault('CI', '1')
    folder = tempfile.mkdtemp(prefix='wheel_suite_')
    try:
        copy_tests(folder)
        check_origin(folder, env)
        sys.stdout.flush()
        # Without words what was copied, not the testpaths of the checkout.
        tests = words or [name for name in NEEDED if name.startswith('test')]
        command = [sys.executable, '-m', 'pytest', '-ra', '-o', 'cache_dir=' + os.path.join(folder, '.cache')] + tests
        status = subprocess.call(command, cwd=folder, env=env)
        if status == 1:                            # some failed, beside other suites on the same cores: they get a second try
            print('once more, what failed')
            sys.stdout.flush()
            status = subprocess.call(command + ['--lf'], cwd=folder, env=env)
        return status
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
