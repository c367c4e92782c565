"""Section 9: what the end of a failed script's output says, and the name of the error."""
import json
import os
import re
import subprocess
import sys

import pytest
from conftest import PYPY, THOROUGH, Started, own_process_only, script

import runner

ANALYZER = runner.LogAnalyzer()

#: Lines as real programs write them, and the kind that each is.
TROUBLE = [
    ('MemoryError', 'memory'),
    ('numpy.core._exceptions._ArrayMemoryError: Unable to allocate 8.00 GiB for an array with shape (1073741824,)', 'memory'),
    ('OSError: [Errno 12] Cannot allocate memory', 'memory'),
    ('FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory', 'memory'),
    ('Exception in thread "main" java.lang.OutOfMemoryError: Java heap space', 'memory'),
    ('fatal error: runtime: out of memory', 'memory'),
    ('memory allocation of 17179869184 bytes failed', 'memory'),
    ("terminate called after throwing an instance of 'std::bad_alloc'", 'memory'),
    ('torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB', 'memory'),
    ('fatal: Out of memory, malloc failed (tried to allocate 1073741825 bytes)', 'memory'),
    ('job.sh: line 3: 12345 Killed                  python big.py', 'killed'),
    ('Out of memory: Killed process 4242 (python) total-vm:8388608kB', 'killed'),
    ('Killed', 'killed'),
    ('Segmentation fault (core dumped)', 'crash'),
    ('job.sh: line 1:    77 Aborted                 (core dumped) ./tool', 'crash'),
    ('Fatal Python error: Segmentation fault', 'crash'),
    ('*** stack smashing detected ***: terminated', 'crash'),
    ('panic: runtime error: index out of range [5] with length 3', 'panic'),
    ("thread 'main' panicked at src/main.rs:4:27:", 'panic'),
    ('fatal error: all goroutines are asleep - deadlock!', 'panic'),
    ("OSError: [Errno 28] No space left on device: 'out.bin'", 'disk'),
    ('cp: error writing /mnt/x: Disk quota exceeded', 'disk'),
    ('touch: cannot touch /x: Read-only file system', 'disk'),
    ('sqlite3.OperationalError: database or disk is full', 'disk'),
    ('Error: ENOSPC: no space left on device, write', 'disk'),
    ("OSError: [Errno 24] Too many open files: 'a.txt'", 'resources'),
    ("RuntimeError: can't start new thread", 'resources'),
    ('bash: fork: retry: Resource temporarily unavailable', 'resources'),
    ('ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1006)', 'tls'),
    ('curl: (60) SSL certificate problem: unable to get local issuer certificate', 'tls'),
    ('Get "https://x/": tls: failed to verify certificate: x509: certificate signed by unknown authority', 'tls'),
    ('javax.net.ssl.SSLHandshakeException: PKIX path building failed', 'tls'),
    ('Error: self-signed certificate in certificate chain', 'tls'),
    ('socket.gaierror: [Errno -2] Name or service not known', 'dns'),
    ('curl: (6) Could not resolve host: nowhere.invalid', 'dns'),
    ("fatal: unable to access 'https://git.invalid/': Could not resolve host: git.invalid", 'dns'),
    ('Error: getaddrinfo ENOTFOUND db.internal', 'dns'),
    ('dial tcp: lookup db on 10.0.0.2:53: no such host', 'dns'),
    ('psql: error: could not translate host name "db" to address: Name or service not known', 'dns'),
    ('requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: https://x/', 'rate_limit'),
    ('openai.RateLimitError: Error code: 429', 'rate_limit'),
    ('curl: (22) The requested URL returned error: 401', 'authentication'),
    ('urllib.error.HTTPError: HTTP Error 403: Forbidden', 'authentication'),
    ('psql: error: connection to server at "db", port 5432 failed: FATAL:  password authentication failed for user "joe"',
     'authentication'),
    ("ERROR 1045 (28000): Access denied for user 'joe'@'localhost' (using password: YES)", 'authentication'),
    ('git@github.com: Permission denied (publickey).', 'authentication'),
    ("fatal: could not read Username for 'https://github.com': terminal prompts disabled", 'authentication'),
    ('smtplib.SMTPAuthenticationError: (535, b\'5.7.8 Error\')', 'authentication'),
    ("PermissionError: [Errno 13] Permission denied: '/etc/shadow'", 'permission'),
    ('./run.sh: Permission denied', 'permission'),
    ('kill: (1) - Operation not permitted', 'permission'),
    ("Error: EACCES: permission denied, open '/x'", 'permission'),
    ('ERROR:  permission denied for table orders', 'permission'),
    ('TimeoutError: timed out', 'timeout'),
    ('asyncio.exceptions.TimeoutError', 'timeout'),
    ("subprocess.TimeoutExpired: Command '['sleep', '9']' timed out after 1 seconds", 'timeout'),
    ('curl: (28) Operation timed out after 5001 milliseconds with 0 bytes received', 'timeout'),
    ('ssh: connect to host db port 22: Connection timed out', 'timeout'),
    ('Error: connect ETIMEDOUT 10.0.0.1:443', 'timeout'),
    ('ERROR:  canceling statement due to statement timeout', 'timeout'),
    ('rpc error: code = DeadlineExceeded desc = context deadline exceeded', 'timeout'),
    ('java.net.SocketTimeoutException: Read timed out', 'timeout'),
    ('requests.exceptions.Timeout: no answer', 'timeout'),
    ('ConnectionRefusedError: [Errno 111] Connection refused', 'connection'),
    ('curl: (7) Failed to connect to localhost port 1 after 0 ms: Connection refused', 'connection'),
    ('Error: connect ECONNREFUSED 127.0.0.1:5432', 'connection'),
    ('Error: listen EADDRINUSE: address already in use :::8000', 'connection'),
    ('java.net.ConnectException: Connection refused (Connection refused)', 'connection'),
    ("ERROR 2002 (HY000): Can't connect to local MySQL server through socket '/run/mysqld.sock' (2)", 'connection'),
    ('fatal: the remote end hung up unexpectedly', 'connection'),
    ('BrokenPipeError: [Errno 32] Broken pipe', 'connection'),
    ('curl: (22) The requested URL returned error: 404', 'http'),
    ('requests.exceptions.HTTPError: 500 Server Error: Internal Server Error for url: http://x/', 'http'),
    ('sqlite3.OperationalError: database is locked', 'database'),
    ('Error: in prepare, no such table: orders', 'database'),
    ('ERROR:  relation "orders" does not exist', 'database'),
    ('psycopg2.errors.UniqueViolation: duplicate key value violates unique constraint "x"', 'database'),
    ("ERROR 1146 (42S02) at line 1: Table 'shop.orders' doesn't exist", 'database'),
    ('ORA-00942: table or view does not exist', 'database'),
    ("ModuleNotFoundError: No module named 'pandas'", 'import'),
    ("Error: Cannot find module './missing'", 'import'),
    ('/usr/bin/python3: No module named job', 'import'),
    ('./tool: error while loading shared libraries: libx.so.1: cannot open shared object file: No such file or directory', 'import'),
    ('Error: Could not find or load main class Main', 'import'),
    ('bash: line 1: frobnicate: command not found', 'command'),
    ('sh: 1: frobnicate: not found', 'command'),
    ("'frob' is not recognized as an internal or external command,", 'command'),
    ("FileNotFoundError: [Errno 2] No such file or directory: 'in.csv'", 'file'),
    ("Error: ENOENT: no such file or directory, open 'x'", 'file'),
    ("cat: x: Is a directory", 'file'),
    ('open /x: no such file or directory', 'file'),
    ('java.io.FileNotFoundException: x.txt', 'file'),
    ("UnicodeDecodeError: 'utf-8' codec can't decode byte 0xe9 in position 3: invalid continuation byte", 'encoding'),
    ('ERROR:  invalid byte sequence for encoding "UTF8": 0xe9', 'encoding'),
    ('SyntaxError: invalid syntax', 'syntax'),
    ("job.sh: line 2: syntax error near unexpected token `done'", 'syntax'),
    ('json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)', 'format'),
    ("KeyError: 'user'", 'key'),
    ('IndexError: list index out of range', 'index'),
    ("AttributeError: 'NoneType' object has no attribute 'x'", 'attribute'),
    ("TypeError: Cannot read properties of undefined (reading 'x')", 'attribute'),
    ("NameError: name 'x' is not defined", 'name'),
    ('job.sh: line 2: HOME2: unbound variable', 'name'),
    ("TypeError: unsupported operand type(s) for +: 'int' and 'str'", 'type'),
    ('ZeroDivisionError: division by zero', 'arithmetic'),
    ('RecursionError: maximum recursion depth exceeded', 'recursion'),
    ('AssertionError: 3 != 4', 'assertion'),
    ('tool: main.c:4: main: Assertion `x > 0\' failed.', 'assertion'),
    ("ValueError: invalid literal for int() with base 10: 'x'", 'value'),
    ('job.py: error: the following arguments are required: FILE', 'usage'),
    ("ls: invalid option -- '9'", 'usage'),
    ('fatal: not a git repository (or any of the parent directories): .git', 'git'),
    ('error: failed to push some refs to \'origin\'', 'git'),
    ("subprocess.CalledProcessError: Command '['false']' returned non-zero exit status 1.", 'subprocess'),
    ('make: *** [Makefile:3: all] Error 2', 'subprocess'),
    ('KeyboardInterrupt', 'interrupted'),
    ('job.py:3: DeprecationWarning: use y', 'deprecated'),
    ('Exception in thread "main" com.example.OrderException: bad', 'exception'),
    ('mypackage.errors.OrderError: nothing to do', 'exception'),
    ('2026-01-31 12:00:00,123 ERROR job: TimeoutError: no answer', 'timeout'),
]

#: Lines that only sound like it.
HARMLESS = [
    'Used 12 MB of memory; network ok; sql done', '0 errors', 'no timeout', 'retry succeeded after timeout=30 setting',
    'Errors: 0, warnings: 0', 'timeout: 30', 'Timeout: 30s', 'ReadTimeout: 5', 'connection established', 'Connection timeout set to 30 s',
    'memory usage: 12 MiB', 'Out of 12 items, 3 matched', 'files found: 12', 'all tests passed, none failed', 'killed 3 mosquitoes',
    'permission check ok', 'importing orders', 'database opened', 'disk usage at 40 %', 'no connection refused', 'never timed out.',
    '0 requests timed out', 'requests timed out: 0', 'without permission denied messages', 'Broken pipes: 0', 'syntax check passed',
    'INFO retrying after: Connection refused', '2026-01-31 12:00:00 DEBUG caught TimeoutError: no answer', 'test_timeout_error PASSED',
    'handles No such file or directory', 'if permission denied, ask the owner', 'error rate 0.1 %', 'encoding: utf-8', 'key: value',
    'value error margin 3 %', 'Keyboard ready', 'the panic room', 'A fatal flaw? none.', 'rate limit: 5000 per hour',
    'authenticated as joe', 'certificate valid until 2030', 'created a self-signed certificate', 'resolved host db to 10.0.0.1',
    'Segmentation done, 12 segments', 'exit status 0', 'process exited with code 0', 'returned 404 rows', 'wrote 429 lines', 'rows: 535 done',
    'user token refreshed', 'assertions: 12', 'import finished: 3 modules', 'command finished', 'recursion depth 12', 'division of labour',
    'index built', 'http://localhost:8000/errors', 'see errors.log', 'Traceback is off', 'checking ValueError handling', '', ' ', '\t',
    '|', '100%|##########| 5/5 [00:00<00:00]', 'name | error | count', '------+-------', 'retries: 0',
]


@pytest.mark.parametrize('line, kind', TROUBLE)
def test_trouble_is_recognised(line, kind):
    """A line as a real program writes it has its kind, also after other output, in colour and behind a carriage return."""
    assert ANALYZER.classify(line) == kind
    found = ANALYZER.analyze('working\n\x1b[31m%s\x1b[0m\r\ndone\n' % line)
    assert [(m['name'], m['line'], m['count']) for m in found['matches']] == [(kind, 2, 1)]
    known = runner.LogAnalyzer.KNOWN_PATTERNS[kind]
    assert (found['kind'], found['severity'], found['advice']) == (kind, known.severity, known.advice)


@pytest.mark.parametrize('line', HARMLESS)
def test_harmless_lines_match_nothing(line):
    """Prose that uses the same words, zeros, settings and denials are no trouble."""
    assert ANALYZER.classify(line) is None
    found = ANALYZER.analyze(line)
    assert (found['matches'], found['kind'], found['severity'], found['fingerprint'], found['advice']) == ([], None, None, None, None)


def test_the_table_is_sound():
    """Every kind is tried by a line, has a severity that exists, one sentence of advice, and a pattern that compiles."""
    assert len(TROUBLE) >= 60 and len(HARMLESS) >= 40
    assert {kind for _, kind in TROUBLE} == set(runner.LogAnalyzer.KNOWN_PATTERNS)
    for name, known in runner.LogAnalyzer.KNOWN_PATTERNS.items():
        assert known.name == name and known.severity in ('INFO', 'WARNING', 'ERROR', 'CRITICAL')
        assert known.advice.endswith('.') and '. ' not in known.advice
        assert re.compile(known.pattern)


@pytest.mark.parametrize('piece', ['a', ' ', '.', ': ', 'Error', 'connection to server ', 'Assertion ', '| ', "'", '"', '\r', '0', 'a.', '/',
                                   'a/', '-', ' +-', 'error self-signed ', 'no ', 'INFO', '\x1b[', 'password=', 'x\n', '  File "x", line 1, in f\n',
                                   'E' * 100 + '\n'])
def test_a_mebibyte_of_junk_finishes(piece):
    """No pattern backtracks without end, in one line or in many; the fingerprint of such a message neither."""
    text = piece * ((1 << 20) // len(piece))
    ANALYZER.analyze(text)
    ANALYZER.fingerprint({'type': 'ValueError', 'message': text[:500]})
    for known in runner.LogAnalyzer.KNOWN_PATTERNS.values():
        re.search(known.pattern, text[:100000 if THOROUGH else 10000])


# -- tracebacks --------------------------------------------------------------------------------------------

CODE = {
    'plain': 'def load(x):\n    raise ValueError("bad id %d" % x)\nload(7)\n',
    'in a library': 'import json\ndef load(x):\n    return json.loads(x)\nload("{")\n',
    'while handling': 'def load():\n    try:\n        {}["a"]\n    except KeyError:\n        int("x")\nload()\n',
    'caused by': 'def load():\n    try:\n        {}["a"]\n    except KeyError as e:\n        raise RuntimeError("no config") from e\nload()\n',
    'several lines': 'def load():\n    raise ValueError("first\\nsecond")\nload()\n',
    'no message': 'def load():\n    raise ValueError\nload()\n',
    'own class': 'class Trouble(Exception): pass\ndef load():\n    raise Trouble("own")\nload()\n',
    'syntax': 'x = = 1\n',
    'recursive': 'def load():\n    load()\nload()\n',
    'logged first': 'import traceback\ndef load():\n    try:\n        {}["a"]\n    except KeyError:\n        traceback.print_exc()\n'
                    '    int("x")\nload()\n',
}
EXPECTED = {
    'plain': ('ValueError', 'bad id 7', 'load', 2), 'in a library': (None, None, 'load', 3), 'while handling': ('ValueError', None, 'load', 5),
    'caused by': ('RuntimeError', 'no config', 'load', 5), 'several lines': ('ValueError', 'first', 'load', 2),
    'no message': ('ValueError', '', 'load', 2), 'own class': ('Trouble', 'own', 'load', 3), 'syntax': ('SyntaxError', None, None, 1),
    'recursive': ('RecursionError', None, 'load', 2), 'logged first': ('ValueError', None, 'load', 7),
}


def errors_of(tmp_path, code, **env):
    """Return what this interpreter writes to stderr when it runs some code from a file."""
    path = tmp_path / 'job.py'
    path.write_text(code)
    process = Started([sys.executable, str(path)], stderr=subprocess.PIPE, env=dict(os.environ, **env))
    return process.communicate()[1].decode('utf-8')


@pytest.mark.parametrize('name', sorted(CODE))
@pytest.mark.parametrize('env', [{}, {'FORCE_COLOR': '1', 'NO_COLOR': ''}])
def test_this_interpreters_tracebacks_are_read(tmp_path, name, env):
    """Type, message and the script's own last frame, in colour too (3.13)."""
    error = ANALYZER.analyze(errors_of(tmp_path, CODE[name], **env))['exception']
    kind, message, function, line = EXPECTED[name]
    assert error['file'].endswith('job.py') and not error['is_cut']
    assert (error['function'], error['line']) == (function, line)
    assert kind is None or error['type'] == kind
    assert message is None or error['message'] == message


@pytest.mark.parametrize('name', ['while handling', 'caused by'])
def test_the_root_of_a_chain_is_told(tmp_path, name):
    """The exception raised last counts; the first in the chain is its root."""
    error = ANALYZER.analyze(errors_of(tmp_path, CODE[name]))['exception']
    assert error['chain'] == name and (error['root_cause']['type'], error['root_cause']['line']) == ('KeyError', 3)
    assert ANALYZER.analyze(errors_of(tmp_path, CODE['logged first']))['exception']['root_cause'] is None


GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "/home/joe/job.py", line 20, in <module>
  |     main()
  |   File "/usr/lib/python3.11/asyncio/taskgroups.py", line 145, in __aexit__
  |     raise me from None
  | ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)
  | a note
  +-+---------------- 1 ----------------
    | ExceptionGroup: inner (2 sub-exceptions)
    +-+---------------- 1 ----------------
      | Traceback (most recent call last):
      |   File "/home/joe/job.py", line 4, in inner
      |     {}['a']
      | KeyError: 'a'
      |~
      | The above exception was the direct cause of the following exception:
      |~
      | Traceback (most recent call last):
      |   File "/home/joe/job.py", line 6, in inner
      |     raise ValueError('bad' % i
      |                      + 'x') from e
      | ValueError: bad 0
      | second line
      +---------------- 2 ----------------
      | TypeError: plain
      +------------------------------------
    +---------------- 2 ----------------
    | FileNotFoundError: [Errno 2] No such file or directory: '/x'
    +------------------------------------
""".replace('~', ' ')


def test_exception_groups_are_read_with_their_members():
    """The group counts, its members are told with their own causes; its kind is that of the first."""
    found = ANALYZER.analyze(GROUP)
    error = found['exception']
    assert (error['type'], error['function'], error['line']) == ('ExceptionGroup', '<module>', 20)
    inner, missing = error['members']
    assert (inner['type'], missing['type'], missing['message'][:9]) == ('ExceptionGroup', 'FileNotFoundError', '[Errno 2]')
    assert [(m['type'], m['message'], m['function']) for m in inner['members']] == [
        ('ValueError', 'bad 0', 'inner'), ('TypeError', 'plain', None)]
    assert inner['members'][0]['root_cause']['type'] == 'KeyError' and found['kind'] == 'value'
    assert found['fingerprint'] == ANALYZER.analyze(GROUP.replace('bad 0', 'bad 71').replace('line 6', 'line 9'))['fingerprint']
    assert found['fingerprint'] != ANALYZER.analyze(GROUP.replace('TypeError', 'OSError'))['fingerprint']
    after = ANALYZER.analyze(GROUP + 'Traceback (most recent call last):\n  File "job.py", line 1, in f\n    f()\nKeyError: 1\n')
    assert after['exception']['type'] == 'KeyError'


def test_source_that_looks_like_a_margin_is_source():
    """A line of source that begins with + or | does not end its traceback."""
    text = ('Traceback (most recent call last):\n  File "job.py", line 1, in f\n    raise ValueError("a"\n'
            '                     + b)\n    | c\nValueError: ab\n')
    assert ANALYZER.analyze(text)['summary'] == 'ValueError: ab'


@pytest.mark.parametrize('start', range(1, 6))
def test_a_traceback_without_its_beginning_is_read(start):
    """We keep the end of the output only: what is left of a traceback is read, and marked as cut."""
    whole = ('Traceback (most recent call last):\n  File "job.py", line 9, in <module>\n    main()\n'
             '  File "job.py", line 5, in main\n    int(x)\nValueError: bad\n')
    error = ANALYZER.analyze('\n'.join(whole.split('\n')[start:]))['exception']
    assert (error['type'], error['message'], error['is_cut']) == ('ValueError', 'bad', True)
    assert error['function'] == ('main' if start < 4 else None)
    assert ANALYZER.analyze(whole)['exception']['is_cut'] is False


def test_frames_of_libraries_are_not_the_scripts_own():
    """site-packages, the standard library and frozen modules are passed over; where nothing else is left, the last counts."""
    frames = ['/home/joe/lib/job.py', '/opt/venv/lib/python3.11/site-packages/requests/api.py', '/usr/lib/python3.9/json/__init__.py',
              '/usr/lib/pypy3.9/json/__init__.py', 'C:\\Python311\\Lib\\json\\decoder.py', '<frozen importlib._bootstrap>']
    text = 'Traceback (most recent call last):\n%sValueError: x\n'
    lines = ['  File "%s", line %d, in f%d\n    code\n' % (path, i, i) for i, path in enumerate(frames)]
    assert ANALYZER.analyze(text % ''.join(lines))['exception']['file'] == frames[0]
    assert ANALYZER.analyze(text % ''.join(lines[1:]))['exception']['function'] == 'f5'
    for own in ('<string>', '<stdin>', 'C:\\jobs\\job.py', 'job.py'):
        extra = '  File "%s", line 1, in own\n' % own
        assert ANALYZER.analyze(text % (lines[0] + extra + lines[2]))['exception']['function'] == 'own'


# -- the name of an error ----------------------------------------------------------------------------------

@pytest.mark.parametrize('one, other', [
    ('bad id 7', 'bad id 1200'), ('at 0x7f3a', 'at 0x11'), ("no 'a b'", "no 'c'"), ('read /tmp/x1/y', 'read /var/z'), ('id 3f2a91bc77 gone', 'id a0b1c2d3e4f5 gone'),
    ('job 6f9619ff-8b86-d011-b42d-00cf4fc964ff', 'job 11111111-2222-3333-4444-555555555555'), ('at 2026-01-31T12:00:00Z', 'at 2025-02-01 01:02:03.123+01:00'),
    ('took 1.5 s', 'took 12 s'), ('file "a.csv" is odd', 'file "b/c.csv" is odd'), ('load data/a.csv', 'load other/b.csv'),
    ('C:\\a\\b.txt is gone', 'C:\\c.txt is gone')])
def test_the_same_error_has_the_same_name(one, other):
    """Numbers, addresses, identifiers, paths, times and quoted values do not count, lines and files neither."""
    text = 'Traceback (most recent call last):\n  File "%s", line %d, in load\n    x\nValueError: %s\n'
    names = {ANALYZER.analyze(text % part)['fingerprint'] for part in (('a.py', 1, one), ('/b/a.py', 99, other))}
    assert len(names) == 1 and re.match(r'ValueError-[0-9a-f]{6}$', names.pop())


@pytest.mark.parametrize('change', [('ValueError', 'KeyError'), ('in load', 'in save'), ('bad', 'good')])
def test_another_error_has_another_name(change):
    """Type, message and function count."""
    text = 'Traceback (most recent call last):\n  File "a.py", line 1, in load\n    x\nValueError: bad id\n'
    assert ANALYZER.analyze(text)['fingerprint'] != ANALYZER.analyze(text.replace(*change))['fingerprint']


def test_names_that_the_code_spells_count():
    """Two missing modules are two errors; two missing keys in one function are one."""
    def name(kind, message):
        return ANALYZER.fingerprint({'type': kind, 'message': message, 'function': 'f'})
    assert name('ModuleNotFoundError', "No module named 'a'") != name('ModuleNotFoundError', "No module named 'b'")
    assert name('KeyError', "'a'") == name('KeyError', "'b'")
    assert name('asyncio.exceptions.TimeoutError', '') == name('TimeoutError', '')


def test_names_are_the_same_on_every_interpreter():
    """A name written down here is found by all: nothing of it comes from hash()."""
    assert ANALYZER.fingerprint({'type': 'ValueError', 'message': 'bad id 7', 'function': 'load'}) == 'ValueError-129160'
    assert ANALYZER.analyze('bash: frob: command not found')['fingerprint'] == 'command-879e2b'


def test_the_gravest_line_decides_without_an_exception():
    """A full disk counts more than the failure that follows from it; among equals the last."""
    found = ANALYZER.analyze('bash: a: command not found\ncp: x: No space left on device\nbash: b: command not found\n')
    assert (found['kind'], found['severity']) == ('disk', 'CRITICAL') and [m['line'] for m in found['matches']] == [1, 2, 3]
    assert ANALYZER.analyze('bash: a: command not found\ncat: b: No such file or directory\n')['kind'] == 'file'


def test_many_lines_are_bounded_and_lines_count_from_the_start():
    """32 KiB are looked at, equal lines are told once, twenty at most; numbers are those of the whole text."""
    text = 'x\n' * 100000 + 'ValueError: 1\n' * 5 + ''.join('KeyError: %d\n' % i for i in range(50))
    matches = ANALYZER.analyze(text)['matches']
    assert len(matches) == 20 and matches[-1]['line'] == 100055 and matches[-1]['text'] == 'KeyError: 49'
    assert [(m['line'], m['count']) for m in ANALYZER.analyze('ValueError: 1\n' * 5, first_line=11)['matches']] == [(15, 5)]


def test_secrets_are_redacted():
    """Those that look like one, and those that are given."""
    text = 'ValueError: cannot log in with token=abcdef as hunter2x\n'
    shown = json.dumps(ANALYZER.analyze(text, secrets=['hunter2x']))
    assert 'abcdef' not in shown and 'hunter2x' not in shown and '[redacted]' in shown


# -- in a run ----------------------------------------------------------------------------------------------

def test_a_failed_run_is_explained(place):
    """The result, the record and `show` tell kind, frame, cause, name, advice, and that it was seen before."""
    code = place.write('job.py', 'import sys\ndef load():\n    try:\n        {}[sys.argv[2]]\n    except KeyError as e:\n'
                                 '        raise RuntimeError("no order %s" % sys.argv[2]) from e\nload()\n')
    result = place.result(code, '--password', 'hunter2x')
    analysis = result['error_analysis']
    assert (analysis['kind'], analysis['stream'], analysis['exception']['function']) == ('key', 'stderr', 'load')
    assert result['error_summary'] == 'RuntimeError: no order [redacted]'
    place.run(code, '--password', 'another2x')
    first, second = place.rows()
    assert first['error_fingerprint'] == second['error_fingerprint'] == analysis['fingerprint'] and first['error_kind'] == 'key'
    assert first['error_frame'].endswith('job.py:6 in load') and first['error_cause'].startswith('KeyError: ')
    assert 'hunter2x' not in str(first) and 'another2x' not in str(second)
    text = place.run('show', 'last').out.decode()
    for part in ('key', 'job.py:6 in load', analysis['fingerprint'], '2 times since 20', 'last in run 1', analysis['advice'], 'KeyError'):
        assert part in text, part
    assert 'for the first time' not in text
    shown = json.loads(place.run('show', '1', '--json').out.decode())
    assert shown['error_history']['count'] == 2 and shown['error_history']['run_ids'] == [2, 1] and shown['error_advice'] == analysis['advice']
    listed = json.loads(place.run('history', '--json').out.decode())
    assert {run['error_fingerprint'] for run in listed} == {analysis['fingerprint']}


def test_stdout_is_looked_at_where_stderr_says_nothing(place):
    """Programs that complain on stdout are understood too; the line is counted from the start of the stream."""
    code = place.write('job.py', 'import sys\nprint("x\\n" * 100000 + "cp: a: No space left on device"); sys.stderr.write("bye\\n"); sys.exit(3)')
    result = place.result(code)
    analysis = result['error_analysis']
    assert (analysis['kind'], analysis['stream'], analysis['matches'][0]['line']) == ('disk', 'stdout', 100001)
    assert result['error_summary'] == 'bye'


def test_a_failure_without_a_word_is_no_known_error(place):
    """Nothing is claimed: no kind, no name, nothing in `show`."""
    result = place.result(script('exit_with.py'), 3)
    assert (result['error_analysis']['kind'], result['error_analysis']['fingerprint'], result['error_summary']) == (None, None, None)
    assert 'fingerprint' not in place.run('show', 'last').out.decode()


@pytest.mark.skipif(os.name != 'posix', reason='needs POSIX signals')
def test_a_time_limit_is_explained_by_what_was_said_before(place):
    """Runs that were ended are analysed as well."""
    code = place.write('job.py', 'import sys, time\nsys.stderr.write("ConnectionRefusedError: [Errno 111] Connection refused\\n"); '
                                 'sys.stderr.flush(); time.sleep(60)')
    result = place.result('--timeout', '0.7s', '--grace', '1s', code)
    assert (result['status'], result['error_analysis']['kind']) == ('timeout', 'connection')
    assert place.rows()[0]['error_fingerprint'].startswith('ConnectionRefusedError-')


def test_an_analysis_that_fails_harms_nothing(place, monkeypatch):
    """The run is recorded without it, and says so."""
    monkeypatch.setattr(runner.LogAnalyzer, 'analyze', lambda *_, **__: 1 // 0)
    result = runner.ScriptRunner(script('exit_with.py'), ['x'], history_db=place.history).run_script()
    assert result['status'] == 'failed' and result['error_analysis'] is None and result['error_summary'].startswith('ValueError')
    assert any('not analysed' in warning for warning in result['warnings'])


@own_process_only
@pytest.mark.skipif(PYPY, reason='loads re and zlib by itself')
@pytest.mark.parametrize('code, loaded', [('', '[]'), ('raise ValueError', "['re', 'zlib']")])
def test_a_success_does_not_pay_for_it(place, code, loaded):
    """Neither re nor zlib is imported by a run that went well; one that failed has both."""
    words = ('import sys\nbefore = set(sys.modules)\nimport runner\nrunner._main(sys.argv[1:], program=True)\n'
             'print(sorted({"re", "zlib"} & (set(sys.modules) - before)))')
    env = dict(place.env, PYTHONPATH=os.path.dirname(os.path.abspath(runner.__file__)))
    out = subprocess.check_output([sys.executable, '-S', '-c', words, '--quiet', place.write('job.py', code)], cwd=place.folder, env=env,
                                  stderr=subprocess.DEVNULL).decode()
    assert out.strip() == loaded and len(place.rows()) == 1
