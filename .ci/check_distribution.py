"""Fail unless a wheel holds exactly what it shall, and a source distribution what it needs; called with both by release.sh.

    python .ci/check_distribution.py dist/*.whl dist/*.tar.gz
"""
import re
import sys
import tarfile
import zipfile

#: Everything in the wheel; DIST is python_script_runner-VERSION. Newer setuptools put the licence into a folder of its own.
WHEEL = ['runner.py', 'DIST.dist-info/METADATA', 'DIST.dist-info/RECORD', 'DIST.dist-info/WHEEL',
         'DIST.dist-info/entry_points.txt', 'DIST.dist-info/top_level.txt', 'DIST.dist-info/licenses/LICENSE']
#: What nobody could build or test it without.
SOURCE = ['runner.py', 'pyproject.toml', 'setup.py', 'README.md', 'CHANGELOG.md', 'LICENSE', 'Makefile', 'requirements.txt',
          'requirements-dev.txt', 'test_script.py', 'tests/conftest.py', 'tests/test_layout.py', 'tests/scripts/exit_with.py',
          'docs/generate.py', 'docs/cli.md', '.ci/run', 'config.example.yaml']
#: What must not travel: made here, or of this checkout.
UNWANTED = re.compile(r'(^|/)(__pycache__|\.venvs?|\.git|\.nox|build|dist|node_modules|\.coverage|\.pytest_cache)(/|$)'
                      r'|\.py[cod]$|\.db$')


def wheel_troubles(path):
    """Return what is wrong with the contents of a wheel, a sentence each."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        metadata = wheel.read([n for n in names if n.endswith('.dist-info/METADATA')][0]).decode('utf-8')
    head = [n for n in names if n.endswith('.dist-info/METADATA')][0].split('.dist-info')[0]
    found = sorted(n.replace(head, 'DIST').replace('info/LICENSE', 'info/licenses/LICENSE') for n in names)
    troubles = ['%s: %s must not be in the wheel' % (path, n) for n in found if n not in WHEEL]
    troubles += ['%s: %s is missing' % (path, n) for n in WHEEL if n not in found]
    for line in ('Requires-Python: >=3.6', 'Name: python-script-runner'):
        if line not in metadata.split('\n'):
            troubles.append('%s: its METADATA lacks %r' % (path, line))
    return troubles


def source_troubles(path):
    """Return what is wrong with the contents of a source distribution, a sentence each."""
    with tarfile.open(path) as archive:
        names = [member.name.partition('/')[2] for member in archive.getmembers() if member.isfile()]
    return (['%s: %s is missing' % (path, n) for n in SOURCE if n not in names]
            + ['%s: %s must not travel' % (path, n) for n in names if UNWANTED.search(n)])


def main(paths):
    """Print what is wrong; returns the exit status."""
    troubles = [trouble for path in paths for trouble in (wheel_troubles if path.endswith('.whl') else source_troubles)(path)]
    print('\n'.join(troubles or ['%s: holds what it shall' % path for path in paths]))
    return 1 if troubles or not paths else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
