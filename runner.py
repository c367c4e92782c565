#!/usr/bin/env python3
"""Run any script exactly as if it were started bare, and on the side measure, remember and judge it.

    python -m runner script.py args...          # watch a run, remember it
    python -m runner history                    # what ran, newest first
    python -m runner show last                  # one run in full

    import runner
    result = runner.ScriptRunner('job.py').run_script()
    print(result['status'], result['metrics']['memory_max_mb'])

Contents, in the order of dependence (a section uses only those named in tests/test_layout.py):

     1. Vocabulary      errors, the metric registry, statuses and causes
     2. Small tools     durations, sizes, formatting, redaction, atomic writes
     3. Conditions      the one expression language of gates, alerts and history filters
     4. Watching        ProcessMonitor and its two samplers
     5. Launching       start a child, carry its output, limits, end its whole tree, say why it ended
     6. Retrying        RetryConfig: whether and when a failed run is tried again
     7. Remembering     HistoryManager over a pool of SQLite connections; schema, spool, recorder
     8. Trends          TrendAnalyzer and its kin: lists of numbers in, verdicts out; no database inside
     9. Logs            StructuredLogger: events as JSON lines; LogAnalyzer: what went wrong, and its name
    10. Gates           PerformanceGate, CICDIntegration, their reports; comparing two samples
    11. Alerts          rules over runs, and how people are told, once
    12. Settings        the YAML file: one table from which validation, schema and example come
    13. ScriptRunner    the pipeline of one run: launch, watch, remember
    14. Profiling       AdvancedProfiler: where time and memory go, by function and line; StressTest: what watching costs
    15. Reports         results as text, tables and JSON
    16. Command line    the only place that prints and exits

Importing this module is silent and cheap: no handler, no thread, no file, and nothing imported beyond
what a bare interpreter has already loaded. Everything else is imported on the path that needs it, because
whatever is loaded before the script is spawned delays the script.
"""
import errno
import os
import sys
import time
from _thread import allocate_lock, start_new_thread

try:
    import _signal  # the C half of signal: the enums of `signal` cost 3.5 ms of start-up
except ImportError:           # pragma: no cover - every interpreter we know has it
    import signal as _signal  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

__version__ = '8.0.0'

__all__ = [
    'RunnerError', 'UsageError', 'LaunchError', 'LockError', 'HistoryError', 'Metric', 'METRICS', 'STATUSES', 'CAUSES',
    'parse_duration', 'parse_size', 'format_duration', 'format_mib', 'sparkline', 'write_atomically', 'AtomicFile', 'redact',
    'redact_arguments',
    'ConditionError', 'parse_condition', 'Condition',
    'ProcSampler', 'PsutilSampler', 'SampleSeries', 'ProcessMonitor',
    'Limits', 'RetryStrategy', 'RetryConfig',
    'default_history_path', 'HistoryManager', 'SUMMARY_FIELDS', 'RetentionPlan', 'RetentionPolicy',
    'TrendAnalyzer', 'BaselineCalculator', 'MLAnomalyDetector', 'MetricsCorrelationAnalyzer', 'ResourceForecaster',
    'StructuredLogger', 'LogPattern', 'LogAnalyzer',
    'GATE_VERDICTS', 'RegressionRule', 'judge_regression', 'PerformanceGate', 'CICDIntegration', 'compare_samples',
    'AlertSeverity', 'Alert', 'AlertPolicy', 'AlertState', 'AlertObservation', 'step_alert', 'format_message',
    'format_message_html', 'EmailConfig', 'SlackConfig', 'WebhookConfig', 'sign_webhook', 'read_alerts', 'LIVE_METRICS',
    'AlertIntelligence', 'AlertManager', 'learn_schedule', 'judge_schedule', 'CronSchedule', 'parse_cron',
    'Setting', 'settings_table', 'Settings', 'settings_schema', 'settings_example',
    'ExecutionHook', 'ScriptRunner', 'stop_run',
    'parse_stacks', 'flame_graph', 'AdvancedProfiler', 'paired_interval', 'StressTest',
    'main',
]


# ======================================================================================================
# 1. Vocabulary
# ======================================================================================================

class RunnerError(Exception):
    """Root of every error that is ours to tell; `str()` is one sentence for the user.

    `exit_status` is what the command line exits with when it prints the sentence.
    """
    exit_status = 125


class UsageError(RunnerError):
    """A value, option or name that the user gave is wrong; nothing was started."""
    exit_status = 2


class LaunchError(RunnerError):
    """The script cannot be started: `exit_status` is 127 (not found) or 126 (found, cannot be run)."""

    def __init__(self, message, exit_status=127):
        # type: (str, int) -> None
        super(LaunchError, self).__init__(message)
        self.exit_status = exit_status


class LockError(RunnerError):
    """Another run holds the lock: exit status 75 (EX_TEMPFAIL of sysexits.h), so that a scheduler tries again later."""
    exit_status = 75


class HistoryError(RunnerError):
    """A history file cannot be used: missing, someone else's, newer than this program, or damaged."""
    exit_status = 2


class Metric(object):
    """One entry of the registry: what a number is called, its unit, which way is better, how it is obtained.

    `better` is 'lower', 'higher' or None. `source` is 'exact' (from the kernel or counted by us),
    'sampled' (may miss what happens between two looks) or 'exact lower bound'.
    `column` is the SQL type that history stores it in, None for what is derived from other columns.
    """
    __slots__ = ('name', 'unit', 'better', 'source', 'column', 'meaning')

    def __init__(self, name, unit, better, source, column, meaning):
        # type: (str, str, Optional[str], str, Optional[str], str) -> None
        self.name = name
        self.unit = unit
        self.better = better
        self.source = source
        self.column = column
        self.meaning = meaning

    def __repr__(self):
        return 'Metric(%r, %r)' % (self.name, self.unit)


#: Every metric by its name, in the order in which they are shown. History, reports and docs all read this.
METRICS = {}  # type: Dict[str, Metric]

for _row in (
        ('start_time', 'UTC', None, 'exact', 'INTEGER', 'when the script was spawned (ISO 8601, microseconds, wall clock)'),
        ('end_time', 'UTC', None, 'exact', 'INTEGER', 'when it ended (start_time plus the monotonic duration)'),
        ('execution_time_seconds', 's', 'lower', 'exact', 'REAL',
         'from the spawn to the exit event, on the monotonic clock'),
        ('user_time', 's', 'lower', 'exact', 'REAL',
         'CPU seconds in user mode: the script and every descendant that was waited for, orphans included '
         'on the command line (subreaper)'),
        ('system_time', 's', 'lower', 'exact', 'REAL', 'CPU seconds in the kernel, of the same processes'),
        ('cpu_max', '%', 'lower', 'sampled', 'REAL',
         'busiest sampling interval of the whole tree, percent of one core'),
        ('cpu_avg', '%', 'lower', 'exact', 'REAL', 'CPU seconds divided by wall seconds, percent of one core'),
        ('cpu_min', '%', None, 'sampled', 'REAL', 'quietest sampling interval, percent of one core'),
        ('memory_max_mb', 'MiB', 'lower', 'exact lower bound', 'REAL',
         'the greater of the largest sampled tree and the kernel\'s high-water mark of any one process'),
        ('memory_avg_mb', 'MiB', 'lower', 'sampled', 'REAL',
         'resident memory of the tree, averaged over time (a page shared by two processes counts twice)'),
        ('memory_min_mb', 'MiB', None, 'sampled', 'REAL', 'least resident memory of the tree at a sample'),
        ('context_switches', 'count', 'lower', 'exact', 'INTEGER', 'voluntary and involuntary'),
        ('page_faults', 'count', 'lower', 'exact', 'INTEGER', 'minor and major'),
        ('block_io_operations', 'count', 'lower', 'exact', 'INTEGER', 'block input and output operations'),
        ('io_read_mb', 'MiB', 'lower', 'exact', 'REAL',
         'read from the block layer (not from the page cache); sampled where the platform has no zombie to read'),
        ('io_write_mb', 'MiB', 'lower', 'exact', 'REAL', 'written towards the block layer'),
        ('num_threads', 'count', 'lower', 'sampled', 'INTEGER', 'most threads seen at once in the tree'),
        ('num_fds', 'count', 'lower', 'sampled', 'INTEGER', 'most open file descriptors seen at once in the tree'),
        ('num_processes', 'count', 'lower', 'sampled', 'INTEGER', 'most processes seen at once in the tree'),
        ('stdout_lines', 'lines', None, 'exact', 'INTEGER', 'lines written to stdout (an unfinished last line counts)'),
        ('stderr_lines', 'lines', 'lower', 'exact', 'INTEGER', 'lines written to stderr'),
        ('stdout_bytes', 'bytes', None, 'exact', 'INTEGER', 'bytes written to stdout'),
        ('stderr_bytes', 'bytes', 'lower', 'exact', 'INTEGER', 'bytes written to stderr'),
        ('exit_code', '', None, 'exact', 'INTEGER', 'the script\'s own status; negative: ended by that signal'),
        ('success', 'bool', 'higher', 'exact', None, 'whether the status of the run is success'),
        ('attempt_number', 'count', 'lower', 'exact', 'INTEGER', '1 for the first attempt'),
        ('timed_out', 'bool', 'lower', 'exact', 'INTEGER', 'whether a time limit ended the run'),
        ('monitor_samples', 'count', None, 'exact', 'INTEGER', 'how many samples were taken'),
        ('monitor_max_gap_seconds', 's', 'lower', 'exact', 'REAL',
         'longest stretch of the run without a sample'),
        ('monitor_cpu_seconds', 's', 'lower', 'exact', 'REAL', 'CPU seconds that the sampling itself used'),
):
    METRICS[_row[0]] = Metric(*_row)
del _row

#: What a run can be. `lost`: its runner died without writing an end.
STATUSES = ('running', 'success', 'failed', 'timeout', 'killed', 'lost')

#: Why it ended.
CAUSES = ('exit', 'signal', 'timeout', 'idle_timeout', 'memory_limit', 'cpu_limit', 'process_limit', 'output_limit',
          'out_of_memory', 'interrupted', 'launch_error')

#: The columns of one sample, in order; the first is seconds since the start.
SAMPLE_FIELDS = ('elapsed_seconds', 'cpu_percent', 'memory_mb', 'num_threads', 'num_fds', 'num_processes',
                 'io_read_mb', 'io_write_mb')

_MIB = 1024.0 * 1024.0
_LINUX = sys.platform.startswith('linux')
_WINDOWS = os.name == 'nt'

_SIGNAL_NAMES = {
    getattr(_signal, _name): _name
    for _name in ('SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGILL', 'SIGTRAP', 'SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGKILL', 'SIGUSR1',
                  'SIGSEGV', 'SIGUSR2', 'SIGPIPE', 'SIGALRM', 'SIGTERM', 'SIGCHLD', 'SIGCONT', 'SIGSTOP', 'SIGTSTP',
                  'SIGTTIN', 'SIGTTOU', 'SIGXCPU', 'SIGXFSZ', 'SIGVTALRM', 'SIGPROF', 'SIGWINCH', 'SIGSYS')
    if hasattr(_signal, _name)}  # type: Dict[int, str]


def signal_name(number):
    # type: (int) -> str
    """Name a signal as `kill -l` would.

    >>> signal_name(9), signal_name(64)
    ('SIGKILL', 'signal 64')
    """
    return _SIGNAL_NAMES.get(number, 'signal %d' % number)


# ======================================================================================================
# 2. Small tools
# ======================================================================================================

_DURATION_UNITS = (('w', 604800.0), ('d', 86400.0), ('h', 3600.0), ('m', 60.0), ('ms', 0.001), ('s', 1.0))
_SIZE_UNITS = {'': 1, 'b': 1, 'k': 1000, 'kb': 1000, 'kib': 1 << 10, 'm': 1000 ** 2, 'mb': 1000 ** 2, 'mib': 1 << 20,
               'g': 1000 ** 3, 'gb': 1000 ** 3, 'gib': 1 << 30, 't': 1000 ** 4, 'tb': 1000 ** 4, 'tib': 1 << 40}


def _split_number(text):
    # type: (str) -> Tuple[str, str]
    """Split the leading decimal number from the rest: '12.5ms' -> ('12.5', 'ms')."""
    end = 0
    while end < len(text) and text[end] in '0123456789.':
        end += 1
    return text[:end], text[end:]


def parse_duration(text):
    # type: (Any) -> float
    """Read a duration and return seconds: a plain number is seconds; units w d h m s ms, each once, largest first.

    Raises UsageError when it is not one. Zero is a duration; whether it makes sense is the caller's question.

    >>> parse_duration('1h30m'), parse_duration('250ms'), parse_duration(2)
    (5400.0, 0.25, 2.0)
    """
    wrong = UsageError('%r: not a duration; write for example 90, 1.5s, 5m or 1h30m' % (text,))
    if isinstance(text, (int, float)) and not isinstance(text, bool) and 0 <= text < float('inf'):
        return float(text)                     # str() of a small or large one has an exponent
    rest = str(text).strip().lower()
    number, unit = _split_number(rest)
    seconds, allowed = 0.0, list(_DURATION_UNITS)
    try:
        if number and not unit:
            return float(number)
        while rest:
            number, rest = _split_number(rest)
            while allowed and not _takes_unit(rest, allowed[0][0]):
                del allowed[0]
            if not allowed:
                raise wrong
            unit, factor = allowed.pop(0)
            seconds += float(number) * factor
            rest = rest[len(unit):]
    except ValueError:
        raise wrong
    if not number:
        raise wrong
    return seconds


def _takes_unit(rest, unit):
    # type: (str, str) -> bool
    """Tell whether `rest` starts with just this unit ('m' is not the start of 'ms')."""
    return rest.startswith(unit) and not rest[len(unit):len(unit) + 1].isalpha()


def parse_size(text):
    # type: (Any) -> int
    """Read a size and return bytes: 1024-based KiB MiB GiB TiB, 1000-based kB MB GB TB, a plain number is bytes.

    Raises UsageError when it is not one.

    >>> parse_size('500MiB'), parse_size('2GB'), parse_size(10)
    (524288000, 2000000000, 10)
    """
    number, unit = _split_number(str(text).strip())
    factor = _SIZE_UNITS.get(unit.strip().lower())
    try:
        if factor is None:
            raise ValueError
        return int(float(number) * factor)
    except (ValueError, OverflowError):
        raise UsageError('%r: not a size; write for example 500MiB, 2GiB or 1.5GB' % (text,))


def _read_positive_duration(text):
    # type: (str) -> float
    seconds = parse_duration(text)
    if not 0 < seconds < float('inf'):
        raise UsageError('%r: must be more than 0 seconds' % text)
    return seconds


def _read_size(text):
    # type: (str) -> int
    size = parse_size(text)
    if size <= 0:
        raise UsageError('%r: must be more than 0 bytes' % text)
    return size


def _read_count(text):
    # type: (str) -> int
    if not text.isdecimal() or len(text) > 18 or int(text) < 1:       # SQLite's numbers have 63 bits
        raise UsageError('%r: not a number of at least 1%s' % (text, ', of 18 digits at most' if len(text) > 18 else ''))
    return int(text)


def parse_share(text):
    # type: (Any) -> float
    """Read a share: '5%' and 0.05 are the same. Raises UsageError when it is not one, or negative.

    >>> parse_share('5%'), parse_share('0.5'), parse_share(0)
    (0.05, 0.5, 0.0)
    """
    words = str(text).strip()
    try:
        share = float(words[:-1]) / 100.0 if words.endswith('%') else float(words)
        if not 0 <= share < float('inf'):
            raise ValueError
        return share
    except ValueError:
        raise UsageError('%r: not a share; write for example 5%% or 0.05' % (text,))


def format_duration(seconds):
    # type: (Optional[float]) -> str
    """Write seconds for a person.

    >>> [format_duration(s) for s in (None, 0.0123, 12.34, 75, 7325, 200000)]
    ['unknown', '12 ms', '12.3 s', '1m 15s', '2h 2m', '2d 7h']
    """
    if seconds is None:
        return 'unknown'
    if seconds < 0.9995:
        return '%d ms' % round(seconds * 1000)
    if seconds < 59.95:
        return '%.1f s' % seconds
    whole = int(round(seconds))
    for big, small, size, part in (('d', 'h', 86400, 3600), ('h', 'm', 3600, 60)):
        if whole >= size:
            return '%d%s %d%s' % (whole // size, big, whole % size // part, small)
    return '%dm %ds' % (whole // 60, whole % 60)


def format_mib(mib):
    # type: (Optional[float]) -> str
    """Write a size given in MiB for a person.

    >>> [format_mib(x) for x in (None, 0.25, 9.14, 214.2, 3000)]
    ['unknown', '0.2 MiB', '9.1 MiB', '214 MiB', '2.9 GiB']
    """
    if mib is None:
        return 'unknown'
    if mib >= 1024:
        return '%.1f GiB' % (mib / 1024.0)
    return ('%.0f MiB' if mib >= 100 else '%.1f MiB') % mib


def sparkline(values, width=40):
    # type: (Sequence[Optional[float]], int) -> str
    """Draw numbers as a line of block characters, at most `width` wide; each shows the greatest of its share.

    >>> sparkline([0, 1, 2, 3])
    '▁▃▆█'
    """
    known = [v for v in values if v is not None]
    if not known:
        return ''
    if len(known) > width:
        edges = [i * len(known) // width for i in range(width + 1)]
        known = [max(known[a:b]) for a, b in zip(edges, edges[1:])]
    low, high = min(known), max(known)
    span = (high - low) or 1.0
    return ''.join('▁▂▃▄▅▆▇█'[int((v - low) / span * 7 + 0.5)] for v in known)


def suggest(word, words):
    # type: (str, Iterable[str]) -> str
    """Return "; did you mean 'x'?" for the nearest of `words`, or ''.

    >>> suggest('cpu_maxx', ['cpu_max', 'memory_max_mb'])
    "; did you mean 'cpu_max'?"
    """
    import difflib
    near = difflib.get_close_matches(word, list(words), 1, 0.6)
    return '; did you mean %r?' % near[0] if near else ''


def format_time(seconds):
    # type: (float) -> str
    """Write a wall-clock time as ISO 8601 in UTC with microseconds.

    >>> format_time(0.5)
    '1970-01-01T00:00:00.500000+00:00'
    """
    return _format_micros(int(round(seconds * 1000000)))


def _format_micros(micros):
    # type: (int) -> str
    whole, part = divmod(micros, 1000000)
    return '%04d-%02d-%02dT%02d:%02d:%02d.%06d+00:00' % (time.gmtime(whole)[:6] + (part,))


def _format_many_micros(times):
    # type: (Iterable[int]) -> List[str]
    """Do as `_format_micros` for each, a third of its time: a calendar day is worked out once."""
    days = {}  # type: Dict[int, str]
    texts = []
    for micros in times:
        whole, part = divmod(micros, 1000000)
        day, second = divmod(whole, 86400)
        if day not in days:
            days[day] = _format_micros(day * 86400000000)[:11]
        texts.append('%s%02d:%02d:%02d.%06d+00:00' % (days[day], second // 3600, second // 60 % 60, second % 60, part))
    return texts


def _parse_time(text):
    # type: (str) -> int
    """Read ISO 8601 and return microseconds since 1970; without an offset it is UTC. Raises UsageError.

    By hand: what the standard library reads dates with costs 6 ms of imports, at the end of every run.

    >>> _parse_time('1970-01-02T00:00:00.500000+00:00'), _parse_time('1970-01-01T02:00:00+02:00')
    (86400500000, 0)
    """
    try:
        date, clock = text[:10], text[11:].replace('Z', '')
        at = max(clock.find('+'), clock.find('-'))
        clock, offset = (clock, '') if at < 0 else (clock[:at], clock[at:])
        year, month, day = int(date[:4]), int(date[5:7]), int(date[8:])
        if date[4] + date[7] != '--' or not 1 <= month <= 12 or not 1 <= day <= _days_in(year, month):
            raise ValueError
        hours, minutes, seconds = (clock.split(':') + ['0', '0'])[:3]
        whole, _, part = seconds.partition('.')
        if int(hours or 0) > 23 or int(minutes) > 59 or int(whole) > 60:
            raise ValueError
        shift = int(offset[0] + '1') * (int(offset[1:3]) * 60 + int(offset[-2:])) if offset else 0
        total = ((_days_since_1970(year, month, day) * 24 + int(hours or 0)) * 60 + int(minutes) - shift) * 60 + int(whole)
        return total * 1000000 + int((part + '000000')[:6])
    except (ValueError, IndexError, TypeError):
        raise UsageError('%r: not a time; write for example 2026-01-31T12:00:00+00:00' % (text,))


def _days_in(year, month):
    # type: (int, int) -> int
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _days_since_1970(year, month, day):
    # type: (int, int, int) -> int
    """Count days in the Gregorian calendar (years begin in March here, so that the leap day comes last)."""
    year -= month <= 2
    era = year // 400
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    year_of_era = year - era * 400
    return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468


def new_correlation_id():
    # type: () -> str
    """Make a random UUID (RFC 4122, version 4) without the 7 ms that importing `uuid` costs."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = bytes(raw).hex()
    return _dashed(text)


def _dashed(text):
    # type: (str) -> str
    """Write 32 hexadecimal digits as a UUID."""
    return '-'.join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def write_atomically(path, data):
    # type: (str, bytes) -> None
    """Write a private file in one step: whoever reads `path` sees all of the old or all of the new content."""
    with AtomicFile(path) as file:
        file.write(data)


class AtomicFile(object):
    """A private binary file that appears under its name when the with block ends well, and not at all when it does not.

    A name that is there and no regular file (/dev/stdout, a FIFO) is written to as it is. Raises OSError.
    """
    __slots__ = ('path', '_temporary', '_file')

    def __init__(self, path):
        # type: (str) -> None
        self.path = path
        self._temporary = '%s.%d.%s.tmp' % (path, os.getpid(), os.urandom(4).hex())
        self._file = None  # type: Any

    def __enter__(self):
        # type: () -> Any
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            self._temporary = ''
            self._file = open(self.path, 'wb')
        else:
            self._file = os.fdopen(os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600), 'wb')
        return self._file

    def __exit__(self, kind, *_):
        # type: (Any, *Any) -> None
        try:
            self._file.close()
            if kind is None and self._temporary:
                os.replace(self._temporary, self.path)
                self._temporary = ''
        finally:
            if self._temporary:
                os.unlink(self._temporary)


_BINARY = getattr(os, 'O_BINARY', 0)       # Windows translates line ends without it


def make_private_folder(path):
    # type: (str) -> None
    """Create a folder (and its parents) with mode 0700; one that exists is left as it is."""
    if path and not os.path.isdir(path):
        make_private_folder(os.path.dirname(path))
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not os.path.isdir(path):
                raise


#: A text without any of these holds nothing that the patterns below would find; testing for them keeps `re` (5 ms)
#: off the path of a run whose output is harmless.
_SECRET_HINTS = ('pass', 'pwd', 'secret', 'token', 'key', 'auth', 'credential', '://', 'akia', 'asia', 'bearer', 'gh', 'xox',
                 'sk-', 'eyj', 'glpat', 'private', 'cookie', 'session', 'signature', 'sig=')
_SECRET_WORD = r'(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|auth(?:orization)?|credentials?|' \
               r'private[-_]?key|client[-_]?secret|cookie|session[-_]?id|signature|sig)'
_SECRET_NAME = r'(?:[A-Za-z0-9]+[-_.])*(?:[A-Za-z0-9]*%s)(?:[-_][A-Za-z0-9]+)*' % _SECRET_WORD
_SECRET_GAP = r'(?:\s|\x1b\[[0-9;]*m)*'    # loggers on a terminal colour the name and the value
_REDACTED = '[redacted]'
_patterns = []  # type: List[Any]


def _secret_patterns():
    # type: () -> List[Any]
    """Compile (pattern, replacement) pairs once; the first group is what stays."""
    if not _patterns:
        import re
        for text in (
                r'(-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)',
                r'([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@\'"]+(?=@)',                   # URL with credentials
                r'((?i:\b(?:bearer|basic)\s+))[A-Za-z0-9._~+/=-]{6,}',             # HTTP authorization
                r'((?i:(?<![A-Za-z0-9])%s["\']?%s(?:=|:)%s))'
                r'(?:"[^"\n]*"|\'[^\'\n]*\'|(?!\[redacted\])[^\s,;&"\'\x1b][^\s,;&"\']*)'
                % (_SECRET_NAME, _SECRET_GAP, _SECRET_GAP),
                r'((?i:(?<!\S)--?%s\s+))(?!-)(?:"[^"\n]*"|\'[^\'\n]*\'|[^\s"\']+)' % _SECRET_NAME,
                r'()\b(?:AKIA|ASIA)[0-9A-Z]{16}\b',                                # AWS access key
                r'()\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,})',
                r'()\bxox[abprs]-[A-Za-z0-9-]{10,}',                               # Slack
                r'()\bsk-[A-Za-z0-9_-]{16,}',                                      # OpenAI, Anthropic, Stripe
                r'()\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*',    # JSON web token
        ):
            _patterns.append(re.compile(text))
    return _patterns


def redact(text, more=()):
    # type: (str, Iterable[Any]) -> str
    """Replace what looks like a secret by '[redacted]': passwords, tokens, keys, URLs with credentials.

    `more` are patterns of `compile_secret`, for what only the user knows to be one; their whole match is replaced.

    >>> redact('curl https://joe:hunter2@example.org/?token=abc --password hunter2')
    'curl https://[redacted]@example.org/?token=[redacted] --password [redacted]'
    """
    for pattern in more:
        text = pattern.sub(_REDACTED, text)
    if not _may_hold_secret(text):
        return text
    for pattern in _secret_patterns():
        text = pattern.sub(r'\1' + _REDACTED, text)
    return text


def compile_secret(text):
    # type: (str) -> Any
    """Compile a regular expression for `redact`; raises UsageError when it is none, or matches the empty text.

    >>> redact('customer 123456 called', [compile_secret('[0-9]{6}')])
    'customer [redacted] called'
    """
    import re
    import warnings
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError('%r: not a regular expression: %s' % (text, error))
    if pattern.search('') is not None:
        raise UsageError('%r: matches the empty text, and so every place of every text' % text)
    return pattern


def redact_arguments(arguments, more=()):
    # type: (Sequence[str], Iterable[Any]) -> List[str]
    """Redact a list of arguments; the word after an option that names a secret is one too. `more` as in `redact`.

    >>> redact_arguments(['--password', 'x y', 'token=abc', 'plain'])
    ['--password', '[redacted]', 'token=[redacted]', 'plain']
    """
    safe, secret_next = [], False
    for argument in arguments:
        if secret_next and not argument.startswith('--'):
            safe.append(_REDACTED)
            secret_next = False
            continue
        safe.append(redact(argument, more))
        secret_next = _names_secret(argument)
    return safe


def secret_values(arguments):
    # type: (Sequence[str]) -> List[str]
    """Return the secrets that `redact_arguments` would hide, so that they can be found in the script's output too.

    Those shorter than four characters are left out: replacing them would spoil every text.

    >>> secret_values(['--password', 'hunter2', 'token=abcdef', 'plain'])
    ['hunter2', 'abcdef']
    """
    values, secret_next = [], False
    for argument in arguments:
        if secret_next and not argument.startswith('--'):
            values.append(argument)
            secret_next = False
            continue
        if _may_hold_secret(argument):
            for pattern in _secret_patterns():
                values += [m.group(0)[len(m.group(1)):].strip('"\'') for m in pattern.finditer(argument)]
        secret_next = _names_secret(argument)
    return [value for value in values if len(value) >= 4 and value != _REDACTED]


def strip_escapes(text):
    # type: (str) -> str
    """Remove the escape sequences with which programs colour a terminal (ECMA-48: CSI and OSC).

    >>> strip_escapes('\x1b[1;35mValueError\x1b[0m: no')
    'ValueError: no'
    """
    if '\x1b' not in text:
        return text
    import re
    return re.sub(r'\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])', '', text)


def _may_hold_secret(text):
    # type: (str) -> bool
    lower = text.lower()
    return any(hint in lower for hint in _SECRET_HINTS)


def _names_secret(argument):
    # type: (str) -> bool
    """Tell whether an argument is an option such as `--db-password`, whose value is the next word."""
    if not argument.startswith('-') or '=' in argument or not _may_hold_secret(argument):
        return False
    import re
    return re.match(r'(?i)--?%s\Z' % _SECRET_NAME, argument) is not None


def _json_text(value):
    # type: (Any) -> Optional[str]
    """Write JSON for a column; None for an empty value, so that the common case needs no `json`."""
    if not value:
        return None
    import json
    return _encodable(json.dumps(value, ensure_ascii=False, sort_keys=True))


def _encodable(text):
    # type: (str) -> str
    """Return a text that UTF-8 can hold: bytes of an argument or a path that are none (surrogates, PEP 383) are escaped.

    >>> print(_encodable('caf\\udce9'))
    caf\\udce9
    """
    return text.encode('utf-8', 'backslashreplace').decode('utf-8')


def _finite(value):
    # type: (Any) -> Any
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float('inf'), float('-inf'))):
        return None
    return value


def _json_line(value):
    # type: (Any) -> bytes
    """Write a value as one line of JSON; NaN and the infinities, which JSON lacks, become null."""
    import json
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False)
    return text.encode('utf-8', 'replace') + b'\n'


#: Levels of our own log, as in the standard library.
LEVELS = {'DEBUG': 10, 'INFO': 20, 'WARNING': 30, 'ERROR': 40, 'CRITICAL': 50}


def check_level(name, level):
    # type: (str, Any) -> str
    """Return a level in capitals; raises UsageError when there is no such level."""
    if str(level).upper() not in LEVELS:
        raise UsageError('%s=%r: no such level; valid: %s' % (name, level, ', '.join(LEVELS)))
    return str(level).upper()


def parse_env_file(text, name, environment):
    # type: (str, str, Dict[str, str]) -> Dict[str, str]
    """Read NAME=VALUE lines as dotenv files have them and return the variables.

    Blank lines and # comments are skipped, `export ` before a name is allowed. 'single quotes' keep everything; "double quotes"
    know \\n \\t \\" \\\\ \\$ and may run over several lines; without quotes a # after a space begins a comment. ${VAR} and
    ${VAR:-default} outside single quotes come from earlier lines, then from `environment`. Raises UsageError naming
    the line.

    >>> parse_env_file('export A=1 # one\\nB="${A} two"', '.env', {})
    {'A': '1', 'B': '1 two'}
    """
    found = {}  # type: Dict[str, str]
    lines, number = text.replace('\r\n', '\n').split('\n'), 0
    while number < len(lines):
        line, first = lines[number].strip(), number + 1
        number += 1
        if not line or line.startswith('#'):
            continue
        key, equals, value = line.partition('=')
        words = key.split()
        key = words[-1] if words and (len(words) == 1 or words[:-1] == ['export']) else ''
        if not equals or not key.replace('_', 'a').isalnum() or key[0].isdigit():
            # What stands there is not shown: it may be a secret, or a line of one.
            raise UsageError('%s, line %d: not NAME=VALUE; a name has letters, digits and _' % (name, first))
        value = value.strip()
        quote = value[:1]
        if quote in ('"', "'"):
            while not _closed(value, quote) and number < len(lines):
                value += '\n' + lines[number]
                number += 1
            if not _closed(value, quote):
                raise UsageError('%s, line %d: the quote with which %s begins is never closed' % (name, first, key))
            end = _closing(value, quote)
            rest = value[end + 1:].strip()
            if rest and not rest.startswith('#'):
                raise UsageError('%s, line %d: more after the closing quote of %s' % (name, first, key))
            value = value[1:end]
        else:
            value = value.split(' #')[0].rstrip()
        found[key] = value if quote == "'" else _fill_in(
            value, dict(environment, **found), quote == '"', '%s, line %d' % (name, first))
    return found


def _closing(value, quote):
    # type: (str, str) -> int
    """Return where the quote that begins a value ends, -1: nowhere."""
    at = 1
    while at < len(value):
        if value[at] == '\\' and quote == '"':
            at += 1
        elif value[at] == quote:
            return at
        at += 1
    return -1


def _closed(value, quote):
    # type: (str, str) -> bool
    return _closing(value, quote) > 0


def _fill_in(value, known, escapes, where):
    # type: (str, Mapping[str, str], bool, str) -> str
    """Replace ${VAR} and ${VAR:-default} and, with `escapes`, backslash escapes. Raises UsageError that begins with `where`."""
    result, at = [], 0
    while at < len(value):
        char = value[at]
        if char == '\\' and escapes and at + 1 < len(value):
            result.append({'n': '\n', 't': '\t', 'r': '\r'}.get(value[at + 1], value[at + 1]))
            at += 2
        elif value.startswith('${', at):
            end = value.find('}', at)
            if end < 0:
                raise UsageError('%s: ${ without }' % where)
            variable, has_default, default = value[at + 2:end].partition(':-')
            if variable not in known and not has_default:
                raise UsageError('%s: ${%s} is not set; set it, or write ${%s:-default}' % (where, variable, variable))
            result.append(known.get(variable) or default)
            at = end + 1
        else:
            result.append(char)
            at += 1
    return ''.join(result)


def _read_file(path):
    # type: (str) -> bytes
    """Read a small /proc file with three system calls; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)


def _write_all(descriptor, data):
    # type: (int, bytes) -> None
    """Write everything, also to a descriptor that somebody made non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view):]
        except BlockingIOError:
            import select
            select.select([], [descriptor], [])


def thin_samples(rows):
    # type: (Sequence[Tuple[Any, ...]]) -> List[Tuple[Any, ...]]
    """Keep of every eight rows those with the greatest and least cpu_percent [1] and memory_mb [2].

    >>> [row[0] for row in thin_samples([(t, 0, 5) for t in range(7)] + [(7, 9, 5)])]
    [0, 7]
    """
    kept = []  # type: List[Tuple[Any, ...]]
    for first in range(0, len(rows), 8):
        group = rows[first:first + 8]
        chosen = set()
        for column in (1, 2):
            known = [(row[column], i) for i, row in enumerate(group) if row[column] is not None] or [(0, 0)]
            chosen.add(max(known, key=lambda pair: pair[0])[1])
            chosen.add(min(known, key=lambda pair: pair[0])[1])
        kept += [group[i] for i in sorted(chosen)]
    return kept


def _stat_fields(data):
    # type: (bytes) -> List[bytes]
    """Split a /proc/PID/stat after the command, which may hold spaces and brackets; [0] is the state (proc(5))."""
    return data[data.rindex(b')') + 2:].split(None, 22)


def process_start(pid):
    # type: (int) -> Optional[int]
    """Return the kernel's start time of a process (ticks since boot): with the pid it is an identity. None: no such."""
    try:
        return int(_stat_fields(_read_file('/proc/%d/stat' % pid))[19])
    except (OSError, ValueError, IndexError):
        return None


def _is_alive(pid, start):
    # type: (int, int) -> bool
    """Tell whether this very process still runs; a zombie does not."""
    try:
        fields = _stat_fields(_read_file('/proc/%d/stat' % pid))
    except (OSError, ValueError):
        return False
    return int(fields[19]) == start and fields[0] not in (b'Z', b'X')


_libc_cache = []  # type: List[Any]


def _libc(name, *arguments):
    # type: (str, *Any) -> int
    """Call a C function whose arguments and result are ints or byte buffers; raises OSError when it returns -1.

    CPython's `_ctypes` alone loads in 0.3 ms, `ctypes` in 1.5: this runs while the script starts.
    """
    try:
        import _ctypes
        _load_libc()
        result = _ctypes.call_function(_ctypes.dlsym(_libc_cache[0], name), arguments)
    except (ImportError, AttributeError, IndexError):      # PyPy
        result = _libc_by_ctypes(name, arguments)
        if result == -1:
            import ctypes
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result
    if result == -1:
        raise OSError(errno.EINVAL, '%s failed' % name)
    return result


def _load_libc():
    # type: () -> None
    """Load what `_libc` needs, where that is fast: before a fork, so that the child has it."""
    try:
        import _ctypes
        if not _libc_cache:
            _libc_cache.append(_ctypes.dlopen(None, 0))  # type: ignore[arg-type]
    except (ImportError, AttributeError):
        pass


def _libc_by_ctypes(name, arguments):
    # type: (str, Sequence[Any]) -> int
    import ctypes
    library = ctypes.CDLL(None, use_errno=True)
    return getattr(library, name)(*arguments)


# ======================================================================================================
# 3. Conditions
# ======================================================================================================
#
# The text is read once into a program for a stack of values (reverse Polish notation, by Dijkstra's shunting yard), and what is
# written is checked on the way. Nothing here calls itself, so neither a hostile text nor a caller deep in its own stack
# can exhaust Python's; the bounds are those within which SQLite (from 3.7 on) compiles the same condition.

_CONDITION_LENGTH = 4000               # characters
_CONDITION_OPERANDS = 250              # names and literals; SQLite takes 999 parameters and 1,000 levels of expression
_CONDITION_DEPTH = 32                  # operators and parentheses that wait for their right side; SQLite stacks 100 symbols

_COMPARISONS = {
    '<': lambda a, b: a < b, '<=': lambda a, b: a <= b, '>': lambda a, b: a > b, '>=': lambda a, b: a >= b,
    '==': lambda a, b: a == b, '!=': lambda a, b: a != b}  # type: Dict[str, Callable[[Any, Any], bool]]
_ARITHMETIC = {
    '+': lambda a, b: a + b, '-': lambda a, b: a - b, '*': lambda a, b: a * b,
    '/': lambda a, b: a / b if b else None}  # type: Dict[str, Callable[[float, float], Optional[float]]]
_PRECEDENCE = {'(': 0, 'OR': 1, 'AND': 2, 'NOT': 3, '+': 5, '-': 5, '*': 6, '/': 6, 'negate': 7, 'plus': 7}
_PRECEDENCE.update(dict.fromkeys(_COMPARISONS, 4))
_SPELLINGS = {'=': '==', '<>': '!='}
_PREFIXES = {'(': '(', 'NOT': 'NOT', '-': 'negate', '+': 'plus'}

#: What a unit in a condition measures, and how many of each metric's unit one of it is.
_UNIT_FACTORS = {('duration', 's'): 1.0, ('size', 'MiB'): 1.0 / _MIB, ('size', 'bytes'): 1.0,
                 ('percentage', '%'): 1.0, ('percentage', None): 0.01}  # type: Dict[Tuple[str, Optional[str]], float]

_TEXT_NAMES = ('status', 'cause', 'script_path', 'hostname', 'git_branch', 'git_commit')
_VOCABULARIES = {'status': STATUSES, 'cause': CAUSES}
_KIND_WORDS = {'number': 'a number', 'text': 'a text', 'bool': 'true or false', 'time': 'a time'}


class ConditionError(UsageError):
    """A condition is not one; `text` is what was given, `column` (from 1) where it goes wrong."""

    def __init__(self, text, column, what, advice=''):
        # type: (str, int, str, str) -> None
        shown = text if len(text) <= 120 else text[:119] + '…'
        super(ConditionError, self).__init__('condition %r: %s (column %d)%s' % (shown, what, column, advice))
        self.text = text
        self.column = column


def parse_condition(text, extra_names=()):
    # type: (str, Iterable[str]) -> Condition
    """Read a condition; raises ConditionError, which says what is wrong and where.

    The grammar, loosest first (AND, OR, NOT, TRUE, FALSE in any case):

        condition  = all {OR all}                  all  = judgement {AND judgement}
        judgement  = NOT judgement | sum [(< | <= | > | >= | = | == | != | <>) sum]
        sum        = product {(+ | -) product}     product = factor {(* | /) factor}
        factor     = (+ | -) factor | number | 'text' | "text" | TRUE | FALSE | name | `name` | ( condition )

    `=` is `==`, `<>` is `!=`. A comparison does not follow another: write `a < b AND b < c`. A quote within a text is
    doubled; there are no escapes. Names are the METRICS, status, cause, script_path, hostname, git_branch, git_commit,
    `label.KEY` (a text; the key may hold letters, digits, `_`, `-`, `.`, any other stands in backquotes with its prefix),
    `baseline.METRIC`, `previous.METRIC` and `extra_names` (numbers without a unit, such as custom metrics).

    A number may carry a unit (ms s m h d w, 1h30m; B kB MB GB TB, KiB MiB GiB TiB, k M G T; %). It becomes the unit of what it is
    added to, compared with or divided by; another dimension is an error, and so are two metrics of different
    units. `m` is minutes, `M` a million bytes. A percentage is a plain number beside a metric in %, else, and always
    in a product, a hundredth.

    start_time and end_time are compared with ISO 8601 text, without an offset UTC.

    >>> condition = parse_condition("cpu_max > 85 AND (memory_max_mb >= 1GiB OR status != 'success')")
    >>> condition.evaluate({'cpu_max': 91.2, 'memory_max_mb': 1024.0}), condition.evaluate({'cpu_max': 91.2})
    (True, None)
    """
    return _ConditionParser(text, extra_names).parse()


class Condition(object):
    """A parsed condition, made by `parse_condition`; it never changes, and any thread may use it.

    `text` is what was written, `names` the frozenset of names it uses, `metrics` those of them that are METRICS (without
    those of `baseline.` and `previous.`).
    """
    __slots__ = ('text', 'names', 'metrics', '_program', '_loads')

    def __init__(self, text, program):
        # type: (str, Sequence[Tuple[str, Any]]) -> None
        self.text = text
        self._program = tuple(program)
        self._loads = _unique_loads(program)
        self.names = frozenset(name for name, _, _ in self._loads)
        self.metrics = frozenset(name for name in self.names if name in METRICS)

    def __str__(self):
        # type: () -> str
        return self.text

    def __repr__(self):
        # type: () -> str
        return 'parse_condition(%r)' % self.text

    def evaluate(self, values):
        # type: (Dict[str, Any]) -> Optional[bool]
        """Return True, False, or None for unknown; `values` maps names to values.

        A name that is missing, None, NaN or of the wrong type is unknown, and so is whatever depends on it, also a
        division by zero. The logic is Kleene's: FALSE AND unknown is false, TRUE OR unknown is true.

        >>> condition = parse_condition('success OR cpu_max > 5')
        >>> [condition.evaluate(values) for values in ({'success': True}, {'success': False}, {'cpu_max': 9})]
        [True, None, True]
        """
        stack = []  # type: List[Any]
        for operation, argument in self._program:
            if operation == 'push':
                stack.append(argument)
            elif operation == 'load':
                stack.append(_known_value(values.get(argument[0]), argument[1], argument[0]))
            elif operation in ('NOT', 'negate'):
                value = stack.pop()
                stack.append(None if value is None else not value if operation == 'NOT' else -value)
            else:
                right = stack.pop()
                stack[-1] = _combine(operation, stack[-1], right)
        return stack[0]

    def explain(self, values):
        # type: (Dict[str, Any]) -> str
        """Say what each name of the condition was, in the order of the text.

        >>> parse_condition('cpu_max > 85 AND memory_max_mb > 1024').explain({'cpu_max': 91.2})
        'cpu_max = 91.2 (%), memory_max_mb unknown'
        """
        return ', '.join(_explain_value(name, _known_value(values.get(name), kind, name), values.get(name), unit)
                         for name, kind, unit in self._loads)

    def to_sql(self, columns):
        # type: (Dict[str, Tuple[str, Sequence[Any]]]) -> Tuple[str, List[Any]]
        """Return (SQL expression, its parameters) with the meaning of `evaluate`: 1, 0 or NULL for unknown.

        `columns` maps each of `names` to (SQL expression, its parameters): a number, a text, 0 or 1, a time as
        microseconds since 1970. Nothing of the text becomes SQL; its literals are parameters.

        >>> parse_condition("status = 'failed' AND cpu_max > 10").to_sql({'status': ('status', []), 'cpu_max': ('cpu_max', [])})
        ('(status) = ? AND CAST(cpu_max AS REAL) > ?', ['failed', 10.0])
        """
        stack = []  # type: List[Tuple[str, int]]
        parameters = []  # type: List[Any]
        for operation, argument in self._program:
            if operation == 'push':
                parameters.append(int(argument) if isinstance(argument, bool) else argument)
                stack.append(('?', 9))
            elif operation == 'load':
                sql, more = columns[argument[0]]
                parameters += more
                stack.append(('CAST(%s AS REAL)' % sql if argument[1] == 'number' else '(%s)' % sql, 9))
            elif operation in ('NOT', 'negate'):
                level = _PRECEDENCE[operation]
                sign = 'NOT ' if operation == 'NOT' else '- '
                stack.append((sign + _enclosed(stack.pop(), level), level))
            else:
                level = _PRECEDENCE[operation]
                right = _enclosed(stack.pop(), level + 1)
                left = _enclosed(stack.pop(), level + (level == 4))
                stack.append(('%s %s %s' % (left, _SQL_SPELLINGS.get(operation, operation), right), level))
        return stack[0][0], parameters


_SQL_SPELLINGS = {'==': '=', '!=': '<>'}


def _enclosed(part, level):
    # type: (Tuple[str, int], int) -> str
    """Put an expression into parentheses if it binds less than `level`."""
    return part[0] if part[1] >= level else '(%s)' % part[0]


def _unique_loads(program):
    # type: (Sequence[Tuple[str, Any]]) -> List[Tuple[str, str, Optional[str]]]
    """Return (name, kind, unit) of each name, in the order of first use."""
    loads = []  # type: List[Tuple[str, str, Optional[str]]]
    for operation, argument in program:
        if operation == 'load' and argument not in loads:
            loads.append(argument)
    return loads


def _known_value(value, kind, name):
    # type: (Any, str, str) -> Any
    """Return a given value as its kind is computed with; None when it is unknown."""
    if value is None:
        return None
    try:
        if kind == 'number':
            number = float(value) if isinstance(value, (int, float)) else None
            return number if number == number else None
        if kind == 'bool':
            return bool(value) if isinstance(value, (bool, int, float)) and value == value else None
        if kind == 'time':
            return _parse_time(value) if isinstance(value, str) else None
    except (OverflowError, UsageError):
        return None
    if name.startswith('label.'):
        return str(value)                  # as history stores it
    return value if isinstance(value, str) else None


def _combine(operation, left, right):
    # type: (str, Any, Any) -> Any
    """Carry out one operation on two values of which either may be None."""
    if operation == 'AND':
        return False if left is False or right is False else None if left is None or right is None else True
    if operation == 'OR':
        return True if left is True or right is True else None if left is None or right is None else False
    if left is None or right is None:
        return None
    if operation in _COMPARISONS:
        return _COMPARISONS[operation](left, right)
    result = _ARITHMETIC[operation](left, right)
    return result if result == result else None


def _explain_value(name, known, given, unit):
    # type: (str, Any, Any, Optional[str]) -> str
    if known is None:
        return '%s unknown' % name
    if isinstance(known, bool):
        return '%s = %s' % (name, 'true' if known else 'false')
    if not isinstance(known, float):
        return '%s = %r' % (name, given)
    return '%s = %s%s' % (name, _plain_number(known), ' (%s)' % unit if unit else '')


def _plain_number(number):
    # type: (float) -> str
    """Write a number with six digits, or all of them before the point.

    >>> [_plain_number(x) for x in (91.2, 2.0, 0.123456789, 104857600.0)]
    ['91.2', '2', '0.123457', '104857600']
    """
    return '%.0f' % number if 1e6 <= abs(number) < 1e15 else '%.6g' % number


# -- reading the text ----------------------------------------------------------------------------------

class _Token(object):
    """A word of a condition. `kind` is number, text, bool, name, operator or end.

    `dimension` of a number with a unit is duration, size or percentage.
    """
    __slots__ = ('kind', 'value', 'column', 'shown', 'dimension')

    def __init__(self, kind, value, column, shown, dimension=None):
        # type: (str, Any, int, str, Optional[str]) -> None
        self.kind = kind
        self.value = value
        self.column = column
        self.shown = shown
        self.dimension = dimension


def _scan_condition(text):
    # type: (str) -> Iterable[_Token]
    """Cut a condition into its words, one by one, so that of two errors the first is told."""
    at = 0
    while at < len(text):
        char = text[at]
        if char.isspace():
            at += 1
            continue
        if char in '0123456789' or (char == '.' and text[at + 1:at + 2] in tuple('0123456789')):
            token, at = _scan_number(text, at)
        elif char in '\'"`':
            token, at = _scan_quoted(text, at)
        elif char.isalpha() or char == '_':
            token, at = _scan_word(text, at)
        else:
            token, at = _scan_operator(text, at)
        yield token
    yield _Token('end', None, len(text) + 1, 'the end')


def _scan_number(text, start):
    # type: (str, int) -> Tuple[_Token, int]
    """Read a number with its unit, which may stand after a space."""
    at = _skip_number(text, start)
    number, end = text[start:at], at
    after = at
    while text[after:after + 1] == ' ':
        after += 1
    if text[after:after + 1] == '%':
        end = after + 1
    elif after > at:
        end = after + len(_word_at(text, after))
        end = end if _is_unit(text[after:end]) else at
    else:
        end = at + len(_word_at(text, at))
    shown = text[start:end]
    try:
        value, dimension = _read_quantity(number, text[at:end].strip())
    except (UsageError, ValueError):
        raise ConditionError(text, start + 1, '%r is not a number with a unit' % shown,
                             '; units are ms s m h d w, kB MB GB, KiB MiB GiB, %')
    if value in (float('inf'), float('-inf')):
        raise ConditionError(text, start + 1, '%r is too large a number' % _short(shown))
    return _Token('number', value, start + 1, _short(shown), dimension), end


def _skip_number(text, at):
    # type: (str, int) -> int
    """Return where the decimal number that begins at `at` ends, exponent included."""
    at += len(_split_number(text[at:])[0])
    if text[at:at + 1] in ('e', 'E'):
        digits = at + 2 if text[at + 1:at + 2] in ('+', '-') else at + 1
        if text[digits:digits + 1] in tuple('0123456789'):
            at = digits
            while text[at:at + 1] in tuple('0123456789'):
                at += 1
    return at


def _word_at(text, at):
    # type: (str, int) -> str
    """Return the letters, digits, underscores and points from `at` on."""
    end = at
    while end < len(text) and (text[end].isalnum() or text[end] in '_.'):
        end += 1
    return text[at:end]


def _is_unit(word):
    # type: (str) -> bool
    return bool(word) and (word.lower() in _SIZE_UNITS or word.lower() in dict(_DURATION_UNITS))


def _read_quantity(number, unit):
    # type: (str, str) -> Tuple[float, Optional[str]]
    """Return (value, dimension) of a number and its unit, in seconds, bytes or percent; raises UsageError or ValueError.

    >>> _read_quantity('1', 'h30m'), _read_quantity('2', 'KiB'), _read_quantity('5', 'm'), _read_quantity('1e3', '')
    ((5400.0, 'duration'), (2048.0, 'size'), (300.0, 'duration'), (1000.0, None))
    """
    if not unit:
        return float(number), None
    if unit == '%':
        return float(number), 'percentage'
    if unit != 'm' and unit.lower() in _SIZE_UNITS:
        return float(number) * _SIZE_UNITS[unit.lower()], 'size'
    if unit in dict(_DURATION_UNITS):                              # also with an exponent, which parse_duration does not take
        return float(number) * dict(_DURATION_UNITS)[unit], 'duration'
    return parse_duration(number + unit), 'duration'


def _scan_quoted(text, start):
    # type: (str, int) -> Tuple[_Token, int]
    """Read a text in quotes, or a name in backquotes; a doubled quote stands for itself."""
    quote, at, parts = text[start], start + 1, []  # type: str, int, List[str]
    while True:
        end = text.find(quote, at)
        if end < 0:
            raise ConditionError(text, start + 1, 'the quote %s is never closed' % quote)
        parts.append(text[at:end])
        if text[end + 1:end + 2] != quote:
            break
        at = end + 2
    value = quote.join(parts)
    return _Token('name' if quote == '`' else 'text', value, start + 1, _short(value)), end + 1


def _scan_word(text, start):
    # type: (str, int) -> Tuple[_Token, int]
    """Read a name or one of AND OR NOT TRUE FALSE; the key of a label may hold hyphens."""
    word = _word_at(text, start)
    if word.startswith('label.'):
        while text[start + len(word):start + len(word) + 1] == '-' and _word_at(text, start + len(word) + 1):
            word += '-' + _word_at(text, start + len(word) + 1)
    upper = word.upper()
    if upper in ('AND', 'OR', 'NOT'):
        token = _Token('operator', upper, start + 1, word)
    elif upper in ('TRUE', 'FALSE'):
        token = _Token('bool', upper == 'TRUE', start + 1, word)
    else:
        token = _Token('name', word, start + 1, _short(word))
    return token, start + len(word)


def _scan_operator(text, start):
    # type: (str, int) -> Tuple[_Token, int]
    for length in (2, 1):
        shown = text[start:start + length]
        value = _SPELLINGS.get(shown, shown)
        if value in _PRECEDENCE or value == ')':
            return _Token('operator', value, start + 1, shown), start + length
    raise ConditionError(text, start + 1, '%r is not part of the language' % text[start],
                         '; write AND OR NOT, < <= > >= = !=, + - * /, parentheses')


def _short(text):
    # type: (str) -> str
    return text if len(text) <= 60 else text[:59] + '…'


# -- checking what is written --------------------------------------------------------------------------

class _Operand(object):
    """What is known of a part of a condition before it is evaluated.

    `kind` is number, text, bool or time; `unit` a metric's, None for plain numbers; `shown` the words if it is one
    name or literal, `column` where it begins. `waiting` lists (index in the program, token) of numbers that have not
    met their unit.
    """
    __slots__ = ('kind', 'unit', 'shown', 'column', 'waiting', 'literal', 'name')

    def __init__(self, kind, column, unit=None, shown='', waiting=(), literal=None, name=None):
        # type: (str, int, Optional[str], str, Sequence[Tuple[int, _Token]], Optional[int], Optional[str]) -> None
        self.kind = kind
        self.column = column
        self.unit = unit
        self.shown = shown
        self.waiting = list(waiting)
        self.literal = literal         # where in the program a text that stands alone is
        self.name = name               # a name that stands alone

    def describe(self):
        # type: () -> str
        return '%s%s' % ('%r is ' % self.shown if self.shown else '', _KIND_WORDS[self.kind])


class _ConditionParser(object):
    """Read one condition into a program; see the head of the section."""
    __slots__ = ('text', 'extra_names', 'program', 'operands', 'operators', 'count')

    def __init__(self, text, extra_names):
        # type: (str, Iterable[str]) -> None
        if not isinstance(text, str):
            raise ConditionError(str(text), 1, 'is %s, not a text' % type(text).__name__)
        self.text = text
        self.extra_names = frozenset(extra_names)
        self.program = []  # type: List[Tuple[str, Any]]
        self.operands = []  # type: List[_Operand]
        self.operators = []  # type: List[_Token]
        self.count = 0

    def parse(self):
        # type: () -> Condition
        """Return the condition."""
        if len(self.text) > _CONDITION_LENGTH:
            raise self._wrong(_CONDITION_LENGTH + 1, 'longer than %d characters' % _CONDITION_LENGTH)
        for at, char in enumerate(self.text):
            if '\ud800' <= char <= '\udfff':                       # a byte of argv that is no text; SQLite cannot take it
                raise self._wrong(at + 1, 'a byte that is no character')
        wants_value = True
        for token in _scan_condition(self.text):
            wants_value = self._take_value(token) if wants_value else self._take_operator(token)
        outcome = self.operands[0]
        if outcome.kind != 'bool':
            raise self._wrong(outcome.column, '%s, not a condition' % outcome.describe().replace('is a', 'is only a'),
                              '; compare it, for example %s' % _EXAMPLES[outcome.kind] % (outcome.name or 'it'))
        return Condition(self.text, self.program)

    def _wrong(self, column, what, advice=''):
        # type: (int, str, str) -> ConditionError
        return ConditionError(self.text, column, what, advice)

    def _take_value(self, token):
        # type: (_Token) -> bool
        """Take a token where a value is wanted; return whether one still is."""
        if token.kind not in ('operator', 'end'):
            self._push_operand(token)
            return False
        if token.value not in _PREFIXES:
            raise self._wrong(token.column, 'a value is missing before %s' % _quoted_token(token))
        if token.value == 'NOT' and self.operators and _PRECEDENCE[self.operators[-1].value] > 3:
            raise self._wrong(token.column, 'NOT binds less than %s' % self.operators[-1].shown,
                              '; put NOT and what it denies into parentheses')
        self._push_operator(_Token('operator', _PREFIXES[token.value], token.column, token.shown))
        return True

    def _take_operator(self, token):
        # type: (_Token) -> bool
        """Take a token where an operator is wanted; return whether a value is wanted next."""
        level = _PRECEDENCE.get(token.value, 0) if token.kind == 'operator' else 0
        if token.kind not in ('operator', 'end') or token.value in ('(', 'NOT'):
            raise self._wrong(token.column, 'an operator is missing before %s' % _quoted_token(token),
                              '; write AND, OR, a comparison or + - * /')
        while self.operators and _PRECEDENCE[self.operators[-1].value] >= max(level, 1):
            if level == 4 and _PRECEDENCE[self.operators[-1].value] == 4:
                raise self._wrong(token.column, 'a comparison after a comparison', '; write a < b AND b < c')
            self._reduce()
        if token.kind == 'operator' and token.value != ')':
            self._push_operator(token)
            return True
        if bool(self.operators) != (token.kind == 'operator'):
            lone = self.operators[-1] if self.operators else token
            raise self._wrong(lone.column, 'the %r has no partner' % lone.shown)
        if self.operators:
            self.operators.pop()
        return False

    def _push_operator(self, token):
        # type: (_Token) -> None
        if len(self.operators) >= _CONDITION_DEPTH:
            raise self._wrong(token.column, 'nested more than %d deep' % _CONDITION_DEPTH)
        self.operators.append(token)

    def _push_operand(self, token):
        # type: (_Token) -> None
        self.count += 1
        if self.count > _CONDITION_OPERANDS:
            raise self._wrong(token.column, 'more than %d names and values' % _CONDITION_OPERANDS)
        index = len(self.program)
        if token.kind == 'name':
            kind, unit = self._look_up(token)
            self.program.append(('load', (token.value, kind, unit)))
            self.operands.append(_Operand(kind, token.column, unit, token.shown, name=token.value))
            return
        self.program.append(('push', token.value))
        self.operands.append(_Operand(token.kind, token.column, None, token.shown,
                                      [(index, token)] if token.dimension else (), index if token.kind == 'text' else None))

    def _look_up(self, token):
        # type: (_Token) -> Tuple[str, Optional[str]]
        """Return (kind, unit) of a name."""
        prefix, _, rest = token.value.partition('.')
        if token.value in _TEXT_NAMES or (prefix == 'label' and rest):
            return 'text', None
        if prefix in ('baseline', 'previous') and rest:
            kind, unit = self._look_up_metric(token, rest)
            if prefix == 'baseline' and kind == 'time':
                raise self._wrong(token.column, 'a time has no baseline')
            return 'number' if prefix == 'baseline' else kind, unit
        return self._look_up_metric(token, token.value)

    def _look_up_metric(self, token, name):
        # type: (_Token, str) -> Tuple[str, Optional[str]]
        if name in METRICS:
            unit = METRICS[name].unit
            return {'bool': 'bool', 'UTC': 'time'}.get(unit, 'number'), unit if unit in ('s', 'MiB', 'bytes', '%') else None
        if name in self.extra_names:
            return 'number', None
        if name.lower() in STATUSES + CAUSES:
            raise self._wrong(token.column, 'no metric %r' % token.shown, "; a text stands in quotes: '%s'" % name.lower())
        if name in ('label.', 'baseline.', 'previous.'):
            raise self._wrong(token.column, 'nothing after %r' % name, '; write for example %s' % (
                'label.team' if name == 'label.' else name + 'cpu_max'))
        near = suggest(name.lower(), list(METRICS) + list(_TEXT_NAMES) + sorted(self.extra_names))
        raise self._wrong(token.column, 'no metric %r' % _short(name),
                          near + ' (python -m runner metrics lists them)' if near else '; python -m runner metrics lists them')

    def _reduce(self):
        # type: () -> None
        """Apply the operator on top to its operands."""
        operator = self.operators.pop()
        right = self.operands.pop()
        if operator.value in ('negate', 'plus', 'NOT'):
            kind = 'bool' if operator.value == 'NOT' else 'number'
            self._demand(kind, operator, right)
            outcome = _Operand(kind, operator.column, right.unit, waiting=right.waiting)
            if operator.value == 'plus':
                self.operands.append(outcome)
                return
        else:
            left = self.operands.pop()
            outcome = self._check_pair(operator, left, right)
        self.program.append((operator.value, None))
        self.operands.append(outcome)

    def _check_pair(self, operator, left, right):
        # type: (_Token, _Operand, _Operand) -> _Operand
        """Return what comes of two operands; raises ConditionError when they do not go together."""
        if operator.value in ('AND', 'OR'):
            self._demand('bool', operator, left, right)
            return _Operand('bool', left.column)
        if operator.value in _COMPARISONS:
            self._compare(operator, left, right)
            return _Operand('bool', left.column)
        self._demand('number', operator, left, right)
        outcome = _Operand('number', left.column)
        if operator.value in ('+', '-'):
            outcome.unit, outcome.waiting = self._common_unit(operator, left, right)
        else:
            outcome.unit, outcome.waiting = self._product_unit(operator, left, right)
        return outcome

    def _demand(self, kind, operator, *operands):
        # type: (str, _Token, *_Operand) -> None
        for operand in operands:
            if operand.kind != kind:
                raise self._wrong(operand.column, '%s, and %s takes %s' % (
                    operand.describe(), operator.shown.upper(), 'conditions' if kind == 'bool' else 'numbers'))

    def _compare(self, operator, left, right):
        # type: (_Token, _Operand, _Operand) -> None
        """Check that two sides can be compared, and bring literals to what they are compared with."""
        self._read_time(left, right)
        self._read_time(right, left)
        if {left.kind, right.kind} == {'number', 'bool'}:
            pass                                                   # true is 1, as in Python and SQL
        elif left.kind != right.kind:
            raise self._wrong(operator.column, '%s, but %s' % (left.describe(), right.describe()),
                              '; only things of one kind can be compared')
        self._check_vocabulary(operator, left, right)
        self._check_vocabulary(operator, right, left)
        _, waiting = self._common_unit(operator, left, right)
        for index, token in waiting:
            self._convert(index, token, None, 'what stands beside it')

    def _read_time(self, side, other):
        # type: (_Operand, _Operand) -> None
        """Turn a literal text that is compared with a time into one."""
        if other.kind == 'time' and side.kind == 'text' and side.literal is not None:
            try:
                self.program[side.literal] = ('push', _parse_time(self.program[side.literal][1]))
            except UsageError:
                raise self._wrong(side.column, '%r is not a time' % side.shown, '; write for example 2026-01-31T12:00:00+00:00')
            side.kind = 'time'

    def _check_vocabulary(self, operator, side, other):
        # type: (_Token, _Operand, _Operand) -> None
        """Refuse a status or cause that does not exist, and an order among them."""
        words = _VOCABULARIES.get(side.name or '')
        if words is None:
            return
        if operator.value not in ('==', '!='):
            raise self._wrong(operator.column, '%r has no order' % side.name, '; compare it by = or !=')
        if other.literal is not None and self.program[other.literal][1] not in words:
            raise self._wrong(other.column, 'no %s %r' % (side.name, other.shown), '%s (valid: %s)' % (
                suggest(other.shown.lower(), words), ', '.join(words)))

    def _common_unit(self, operator, left, right):
        # type: (_Token, _Operand, _Operand) -> Tuple[Optional[str], List[Tuple[int, _Token]]]
        """Return (unit, numbers that still wait for one) of what is added or compared."""
        if left.unit and right.unit and left.unit != right.unit:
            raise self._wrong(operator.column, '%s is in %s, %s in %s' % (
                left.shown or 'the left side', left.unit, right.shown or 'the right side', right.unit),
                '; only like can be added or compared')
        unit, waiting = left.unit or right.unit, left.waiting + right.waiting
        if unit is None:
            return None, waiting
        for index, token in waiting:
            self._convert(index, token, unit, 'what stands beside it')
        return unit, []

    def _product_unit(self, operator, left, right):
        # type: (_Token, _Operand, _Operand) -> Tuple[Optional[str], List[Tuple[int, _Token]]]
        """Return (unit, numbers that still wait for one) of a product or quotient."""
        for side in (left, right):
            for index, token in side.waiting:
                if token.dimension == 'percentage':
                    self._convert(index, token, None, '')
            side.waiting = [pair for pair in side.waiting if pair[1].dimension != 'percentage']
        plain = not right.unit and not right.waiting
        if plain or (operator.value == '*' and not left.unit and not left.waiting):
            one = left if plain else right
            return one.unit, one.waiting
        if operator.value == '/' and (left.unit or left.waiting):
            return self._ratio_unit(left, right), []
        for index, token in left.waiting + right.waiting:
            self._convert(index, token, '', 'what it multiplies' if operator.value == '*' else 'what it divides')
        if operator.value == '/':
            return '1/%s' % right.unit, []
        return '*'.join(sorted([left.unit or '', right.unit or ''])), []

    def _ratio_unit(self, left, right):
        # type: (_Operand, _Operand) -> Optional[str]
        """Return the unit of a quotient of two things that both have one; of like things it is a plain number."""
        unit = left.unit or right.unit or {'duration': 's', 'size': 'bytes'}[(left.waiting + right.waiting)[0][1].dimension or '']
        for index, token in left.waiting + right.waiting:
            self._convert(index, token, unit, 'the other side')
        left_unit, right_unit = left.unit or unit, right.unit or unit
        return None if left_unit == right_unit else '%s/%s' % (left_unit, right_unit)

    def _convert(self, index, token, unit, beside):
        # type: (int, _Token, Optional[str], str) -> None
        """Bring a literal number to the unit of what it stands beside."""
        factor = _UNIT_FACTORS.get((token.dimension or '', unit))
        if factor is None:
            what = 'is in %s' % unit if unit else 'is a plain number' if unit is None else 'has another unit or none'
            advice = '; for 10% more than x write 1.1 * x' if token.dimension == 'percentage' else '; write a plain number'
            raise self._wrong(token.column, '%r is a %s, but %s %s' % (token.shown, token.dimension, beside, what), advice)
        self.program[index] = ('push', token.value * factor)


_EXAMPLES = {'number': '%s > 5', 'text': "%s = 'main'", 'time': "%s > '2026-01-31'"}


def _quoted_token(token):
    # type: (_Token) -> str
    return token.shown if token.kind == 'end' else repr(token.shown)


# ======================================================================================================
# 4. Watching
# ======================================================================================================
#
# A sampler is anything with four methods, and the loop knows nothing else about the platform:
#
#     sample()     -> (cpu_seconds, memory_mb, num_threads, num_fds, num_processes, io_read_mb, io_write_mb) of
#                     the whole tree, or None when nothing of it is left; cpu_seconds counts from the first look
#     peak_mb()    -> the largest high-water mark of any one process, None where the platform has none
#     processes()  -> [(pid, start)], the identities of what is in the tree now
#     close()

_PAGE_MIB = (os.sysconf('SC_PAGE_SIZE') if hasattr(os, 'sysconf') else 4096) / _MIB
_TICK = 1.0 / (os.sysconf('SC_CLK_TCK') if hasattr(os, 'sysconf') else 100)


def _cpu_count():
    # type: () -> int
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


_CPUS = _cpu_count()


def _children_of(pid):
    # type: (int) -> List[int]
    """List the children of every thread of a process, without looking at the rest of the machine (proc(5))."""
    found = []  # type: List[int]
    try:
        threads = os.listdir('/proc/%d/task' % pid)
    except OSError:
        return found
    for thread in threads:
        try:
            found += map(int, _read_file('/proc/%d/task/%s/children' % (pid, thread)).split())
        except OSError:                        # that thread just ended; its children have moved to another
            continue
    return found


def _children_by_scan(pid):
    # type: (int) -> List[int]
    """List the children of a process where the kernel lacks `children` files (CONFIG_PROC_CHILDREN)."""
    found = []
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                if int(_stat_fields(_read_file('/proc/%s/stat' % name))[1]) == pid:
                    found.append(int(name))
            except (OSError, ValueError):
                continue
    return found


def _children_lister():
    # type: () -> Callable[[int], List[int]]
    has_files = os.path.exists('/proc/self/task/%d/children' % os.getpid())
    return _children_of if has_files else _children_by_scan


def _status_field(pid, name, thread=None):
    # type: (int, bytes, Optional[int]) -> Optional[bytes]
    """Return one field of /proc/PID/status (or of one of its threads), None where the process or the field is missing."""
    try:
        data = _read_file('/proc/%d/status' % pid if thread is None else '/proc/%d/task/%d/status' % (pid, thread))
    except OSError:
        return None
    at = data.find(b'\n' + name + b':')
    return data[at + len(name) + 2:data.find(b'\n', at + 1)].strip() if at >= 0 else None


def _read_io(path):
    # type: (str) -> Tuple[Optional[float], Optional[float]]
    """Return MiB read from and written to the block layer (/proc/PID/io: threads and waited-for children included)."""
    try:
        return _io_mib(_read_file(path))
    except (OSError, ValueError):
        return None, None


def _io_mib(data):
    # type: (bytes) -> Tuple[float, float]
    words = data.split()
    return int(words[9]) / _MIB, (int(words[11]) - int(words[13])) / _MIB


class _Watched(object):
    """One process of the tree: its open /proc files and what was last read of it."""
    __slots__ = ('pid', 'start', 'clock', 'stat_fd', 'io_fd', 'kin_fd', 'fd_path', 'threads', 'cpu', 'kin_cpu')

    def __init__(self, pid, keep_open):
        # type: (int, bool) -> None
        self.pid = pid
        self.clock = ((~pid) << 3) | 2       # the kernel's id for "CPU clock of that process" (posix-timers.h)
        self.stat_fd = os.open('/proc/%d/stat' % pid, os.O_RDONLY)
        self.io_fd = self.kin_fd = -1
        self.fd_path = '/proc/%d/fd' % pid
        self.threads = 1
        self.cpu = self.kin_cpu = 0.0
        try:
            self.start = int(_stat_fields(os.pread(self.stat_fd, 1024, 0))[19])
            if keep_open:
                self.io_fd = self._open('io')
                self.kin_fd = self._open('task/%d/children' % pid)
        except BaseException:
            self.close()
            raise

    def _open(self, name):
        # type: (str) -> int
        try:
            return os.open('/proc/%d/%s' % (self.pid, name), os.O_RDONLY)
        except OSError:              # another user's process, or a kernel without this file
            return -1

    def close(self):
        # type: () -> None
        for descriptor in (self.stat_fd, self.io_fd, self.kin_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self.stat_fd = self.io_fd = self.kin_fd = -1


class ProcSampler(object):
    """Sample a process tree through Linux's /proc at a cost that does not grow with the rest of the machine.

    Descriptors stay open and are read with pread at offset 0, so a look costs a few microseconds, and a pid that
    was given to somebody else can never be read by mistake. A search for new children happens only when
    the kernel's last pid (the last field of /proc/loadavg) has moved since the last search.

    `adopter` is a process whose children belong to the tree too: the command-line program, which is a subreaper,
    names itself, since orphans of the script become its children; `ignored` are pids that do not belong. `from_birth`:
    the CPU time that the process used before the first look counts (it was launched by us). Raises
    ProcessLookupError for a pid that does not exist.
    """
    SLOW_EVERY = 0.01       # seconds: descriptors and I/O are looked at no more often (they are half of what a sample costs)
    KEPT_OPEN = 64          # processes whose io and children files stay open; of the others only stat does
    MOST = 4096             # processes watched at most; a tree beyond is counted by its first ones

    def __init__(self, pid, adopter=None, from_birth=False, ignored=()):
        # type: (int, Optional[int], bool, Sequence[int]) -> None
        self.root = pid
        self._adopter = adopter
        self._watched = {}  # type: Dict[int, _Watched]
        self._list_children = _children_lister()
        self._ignored = set(ignored) | {os.getpid()} - {pid}
        self._loadavg = os.open('/proc/loadavg', os.O_RDONLY)
        self._last_born = b''
        self._fd_count_by_stat = os.stat('/proc/self/fd').st_size > 0       # kernels from 6.2 on
        self._cpu = 0.0
        self._io = [0.0, 0.0]
        self._slow_due = 0.0
        self._slow = (0, None, None)  # type: Tuple[int, Optional[float], Optional[float]]
        self._peak = None  # type: Optional[float]
        self.children_ended = self.frozen = False
        try:
            if not self._adopt(pid):
                raise ProcessLookupError(errno.ESRCH, 'no process %d' % pid)
        except BaseException:
            self.close()
            raise
        if not from_birth:
            self.sample()
            self._cpu = self._slow_due = 0.0

    def sample(self):
        # type: () -> Optional[Tuple[float, float, int, int, int, Optional[float], Optional[float]]]
        """Look at every process of the tree once; see the top of this section for what comes back."""
        born = os.pread(self._loadavg, 128, 0).rsplit(None, 1)[-1]
        if born != self._last_born:
            self._search()
            self._last_born = born
        now = time.monotonic()
        is_slow = now >= self._slow_due
        pages = threads = fds = count = 0
        fresh = ended = self._kin_gained = 0.0
        for pid, process in list(self._watched.items()):
            try:
                fields = _stat_fields(os.pread(process.stat_fd, 1024, 0))
                if fields[0] == b'X':
                    raise ProcessLookupError
            except OSError:                               # reaped since the last look
                if pid != self.root:                      # whose parent is not watched
                    ended += process.cpu + process.kin_cpu
                self._forget(process)
                continue
            fresh += self._cpu_since(process, fields)
            resident = int(fields[21])
            if not resident:                              # a zombie, or one that is ending and has given its memory back
                continue
            count += 1
            process.threads = int(fields[17])
            threads += process.threads
            pages += resident
            if is_slow:
                fds += self._count_fds(process)
        # A child that was waited for reappears in its parent's children time: count only what exceeds what we saw.
        kin = self._kin_gained - ended
        self.children_ended = ended > 0 or self._kin_gained > 0
        self._cpu += fresh + (kin if kin > 0 else 0.0)
        if not count:
            return None
        if is_slow:
            self._slow_due = now + self.SLOW_EVERY * 0.9
            self._slow = (fds,) + self._read_io()
        fds, read, written = self._slow
        return self._cpu, pages * _PAGE_MIB, threads, fds, count, read, written

    def peak_mb(self):
        # type: () -> Optional[float]
        """Read every process's high-water mark (VmHWM), which remembers what happened between two samples."""
        for pid in list(self._watched):
            value = _status_field(pid, b'VmHWM')
            if value is not None:
                self._peak = max(self._peak or 0.0, int(value.split()[0]) / 1024.0)
        return self._peak

    def processes(self):
        # type: () -> List[Tuple[int, int]]
        """Return (pid, start) of each process known since the last sample; may be called beside the sampling thread."""
        return [(process.pid, process.start) for process in list(self._watched.values())]

    def close(self):
        # type: () -> None
        """Close every descriptor; a closed sampler must not be asked again."""
        for process in list(self._watched.values()):
            self._forget(process)
        if self._loadavg >= 0:
            os.close(self._loadavg)
            self._loadavg = -1

    _kin_gained = 0.0

    def _search(self):
        # type: () -> None
        """Walk the tree downwards from every process known, adding what is new."""
        if self._adopter is not None:
            for pid in self._list_children(self._adopter):
                self._adopt(pid)
        queue = list(self._watched.values())
        while queue:
            process = queue.pop()
            for pid in self._children(process):
                child = self._adopt(pid)
                if child:
                    queue.append(child)

    def _children(self, process):
        # type: (_Watched) -> Iterable[int]
        if process.threads == 1 and process.kin_fd >= 0:
            try:
                data = os.pread(process.kin_fd, 65536, 0)
                if len(data) < 4096 and self._still_single(process):
                    return map(int, data.split())
            except OSError:
                return ()
        return self._list_children(process.pid)

    @staticmethod
    def _still_single(process):
        # type: (_Watched) -> bool
        """Tell whether the process has one thread now; a second one may have forked since the last sample."""
        try:
            process.threads = int(_stat_fields(os.pread(process.stat_fd, 1024, 0))[17])
        except OSError:
            return True
        return process.threads <= 1

    def _adopt(self, pid):
        # type: (int) -> Optional[_Watched]
        """Start to watch a process; None when it is known already, gone, or one too many."""
        if pid in self._watched or pid in self._ignored or self.frozen or len(self._watched) >= self.MOST:
            return None
        try:
            process = _Watched(pid, len(self._watched) < self.KEPT_OPEN)
        except (OSError, ValueError):
            return None
        self._watched[pid] = process
        return process

    def _forget(self, process):
        # type: (_Watched) -> None
        self._watched.pop(process.pid, None)
        process.close()

    def _cpu_since(self, process, fields):
        # type: (_Watched, List[bytes]) -> float
        """Return CPU seconds that the process itself used since its last reading; notes what its children added."""
        try:
            cpu = time.clock_gettime(process.clock)
        except OSError:
            cpu = (int(fields[11]) + int(fields[12])) * _TICK
        used, process.cpu = cpu - process.cpu, cpu
        if fields[13] != b'0' or fields[14] != b'0':
            kin = (int(fields[13]) + int(fields[14])) * _TICK
            self._kin_gained += kin - process.kin_cpu
            process.kin_cpu = kin
        return used

    def _count_fds(self, process):
        # type: (_Watched) -> int
        try:
            if self._fd_count_by_stat:
                return os.stat(process.fd_path).st_size
            return len(os.listdir(process.fd_path))
        except OSError:
            return 0

    def _read_io(self):
        # type: () -> Tuple[Optional[float], Optional[float]]
        """Sum the block I/O of the tree; it never falls, also when a process takes its share with it."""
        read = written = 0.0
        known = False
        for process in self._watched.values():
            try:
                data = os.pread(process.io_fd, 512, 0) if process.io_fd >= 0 else _read_file('/proc/%d/io' % process.pid)
                one = _io_mib(data)
            except (OSError, ValueError, IndexError):
                continue
            known = True
            read += one[0]
            written += one[1]
        if not known:
            return None, None
        self._io = [max(read, self._io[0]), max(written, self._io[1])]
        return self._io[0], self._io[1]


class PsutilSampler(object):
    """Sample a process tree with psutil: macOS, Windows, and the witness that ProcSampler is tested against.

    Raises ProcessLookupError for a pid that does not exist, ImportError without psutil.
    """

    def __init__(self, pid, adopter=None, from_birth=False, ignored=()):
        # type: (int, Optional[int], bool, Sequence[int]) -> None
        import psutil
        self._psutil = psutil
        self.root = pid
        self._adopter = adopter
        self._ignored = set(ignored) | {os.getpid()} - {pid}
        self._known = {}  # type: Dict[Tuple[int, float], Any]
        self._last = {}  # type: Dict[Tuple[int, float], float]
        self._gone_io = [0.0, 0.0]
        self._io = [0.0, 0.0]
        self._cpu = 0.0
        self._peak = None  # type: Optional[float]
        self.children_ended = self.frozen = False
        try:
            self._root = psutil.Process(pid)
        except psutil.NoSuchProcess:
            raise ProcessLookupError(errno.ESRCH, 'no process %d' % pid)
        if not from_birth:
            self.sample()
            self._cpu = 0.0

    def sample(self):
        # type: () -> Optional[Tuple[float, float, int, int, int, Optional[float], Optional[float]]]
        """Look at every process of the tree once; see the top of this section for what comes back."""
        self._search()
        self.children_ended = False
        memory = 0.0
        threads = fds = count = 0
        read = written = None  # type: Optional[float]
        for key, process in list(self._known.items()):
            try:
                with process.oneshot():
                    if process.status() == self._psutil.STATUS_ZOMBIE:
                        continue
                    times = process.cpu_times()
                    used = times.user + times.system
                    self._cpu += max(0.0, used - self._last.get(key, 0.0))
                    self._last[key] = used
                    info = process.memory_info()
                    if not info.rss:               # it is ending, and has given its memory back
                        continue
                    memory += info.rss / _MIB
                    self._peak = max(self._peak or 0.0, getattr(info, 'peak_wset', info.rss) / _MIB)
                    threads += process.num_threads()
                    fds += process.num_fds() if hasattr(process, 'num_fds') else process.num_handles()
                    count += 1
                    io = process.io_counters() if hasattr(process, 'io_counters') else None
                    if io is not None:
                        read = (read or 0.0) + io.read_bytes / _MIB
                        written = (written or 0.0) + io.write_bytes / _MIB
            except self._psutil.NoSuchProcess:
                del self._known[key]
                self.children_ended |= key[0] != self.root
            except self._psutil.AccessDenied:
                continue
        if not count:
            return None
        return self._cpu, memory, threads, fds, count, read, written

    def peak_mb(self):
        # type: () -> Optional[float]
        """Return the largest memory of one process seen (Windows: its true peak)."""
        return self._peak

    def processes(self):
        # type: () -> List[Tuple[int, int]]
        """Return (pid, start) of each process of the tree, start being the kernel's on Linux, else milliseconds."""
        self._search()
        found = []
        for (pid, created) in list(self._known):
            start = process_start(pid) if _LINUX else int(created * 1000)
            if start is not None:
                found.append((pid, start))
        return found

    def close(self):
        # type: () -> None
        """Forget everything; psutil holds no descriptors."""
        self._known.clear()

    def _search(self):
        # type: () -> None
        roots = [self._root] + list(self._known.values())
        if self._adopter is not None:
            roots.append(self._psutil.Process(self._adopter))
        for root in roots:
            try:
                family = [root] if root.pid != self._adopter else []
                for process in family + root.children(recursive=True):
                    if process.pid not in self._ignored and not self.frozen:
                        self._known.setdefault((process.pid, process.create_time()), process)
            except self._psutil.Error:
                continue


def choose_sampler():
    # type: () -> Callable[..., Any]
    """Return the class of the best sampler here; SCRIPT_RUNNER_SAMPLER=psutil (or proc) overrides."""
    wanted = os.environ.get('SCRIPT_RUNNER_SAMPLER', '')
    if wanted not in ('', 'proc', 'psutil'):
        raise UsageError('SCRIPT_RUNNER_SAMPLER=%r: no such sampler; valid: proc, psutil' % wanted)
    if wanted == 'psutil' or not (wanted or _LINUX and os.path.exists('/proc/self/stat')):
        return PsutilSampler
    return ProcSampler


class SampleSeries(object):
    """The samples of one run, bounded: when `limit` rows are reached, every eight become at most four.

    The rows with the highest and the lowest CPU and memory of each eight stay, so no extreme is ever lost.
    `generation` grows with each thinning: whoever stored earlier rows must store them again.
    """
    __slots__ = ('rows', 'limit', 'generation')

    def __init__(self, limit=1200):
        # type: (int) -> None
        self.rows = []  # type: List[Tuple[Any, ...]]
        self.limit = limit
        self.generation = 0

    def append(self, row):
        # type: (Tuple[Any, ...]) -> None
        """Add one row of SAMPLE_FIELDS."""
        if len(self.rows) >= self.limit:
            self.rows = thin_samples(self.rows)
            self.generation += 1
        self.rows.append(row)


if hasattr(time, 'thread_time'):
    _thread_time = time.thread_time
elif hasattr(time, 'CLOCK_THREAD_CPUTIME_ID'):
    def _thread_time():
        # type: () -> float
        return time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID)
else:                                        # Windows on 3.6: the whole process is the nearest there is
    _thread_time = time.process_time


class ProcessMonitor(object):
    """Watch a process and all its descendants at a constant interval, from a thread of its own.

        with ProcessMonitor(pid) as monitor:
            ...
        monitor.get_summary()['memory_max_mb']

    `pid` defaults to the current process; `interval` is in seconds (0.1 means ten samples a second; it is never
    stretched: a late sample does not move the next one). `samples` holds a bounded series of SAMPLE_FIELDS rows,
    `on_sample(row)` is called with each as it is taken. Raises ProcessLookupError at `start` for a pid that does not exist,
    ValueError for an interval that is not positive. `start` and `stop` belong to one thread; `get_summary` may be called
    from any, also while it runs.
    """
    EARLY_LOOK = 0.01       # seconds after the start: what a short script loads in its first moments is seen
    EARLY_PEAKS = (0.002, 0.004, 0.006, 0.008, 0.015, 0.03, 0.06)     # when a very short script's high-water mark is read
    PEAK_EVERY = 1.0        # seconds between later readings of the high-water marks

    def __init__(self, pid=None, interval=0.1, on_sample=None, adopter=None, from_birth=False, started=None, ignored=()):
        # type: (Optional[int], float, Optional[Callable[[Any], None]], Optional[int], bool, Optional[float], Sequence[int]) -> None
        if not interval > 0:
            raise ValueError('interval %r: not a time between samples; it must be more than 0 seconds' % (interval,))
        self.pid = os.getpid() if pid is None else pid
        self.interval = interval
        self.samples = SampleSeries()
        self.error = None  # type: Optional[BaseException]
        self._on_sample = on_sample
        self._adopter = adopter
        self._from_birth = from_birth
        self._ignored = ignored
        self._started = started
        self._sampler = None  # type: Any
        self._wake = allocate_lock()
        self._done = allocate_lock()
        self._running = False
        self._reset()

    def _reset(self):
        # type: () -> None
        self._count = 0
        self._last_look = 0.0          # all times are seconds since the start
        self._max_gap = 0.0
        self._end = None  # type: Optional[float]
        self._cpu_at = (0.0, 0.0)      # when, and how much CPU the tree had used, at the edge of the open interval
        self._cpu_total = 0.0
        self._cpu_range = None  # type: Optional[Tuple[float, float]]
        self._threads_before = 1
        self._memory = None  # type: Optional[Tuple[float, float]]
        self._memory_area = self._memory_span = self._memory_last = 0.0
        self._memory_at = None  # type: Optional[float]
        self._greatest = [0, 0, 0]     # threads, descriptors, processes
        self._io = (None, None)  # type: Tuple[Optional[float], Optional[float]]
        self._peak = None  # type: Optional[float]
        self._peak_at = 0.0
        self._own_cpu = 0.0

    def __enter__(self):
        # type: () -> ProcessMonitor
        return self.start()

    def __exit__(self, *_):
        # type: (*Any) -> None
        self.stop()

    def start(self):
        # type: () -> ProcessMonitor
        """Begin to watch; the first sample is taken at once, in the new thread."""
        self._reset()
        self._sampler = choose_sampler()(self.pid, adopter=self._adopter, from_birth=self._from_birth,
                                        ignored=self._ignored)
        if self._started is None:
            self._started = time.monotonic()
        self._wake.acquire(False)
        self._done.acquire(False)
        self._running = True
        try:
            start_new_thread(self._run, ())
        except RuntimeError:                       # no thread is to be had
            self._running = False
            self._sampler.close()
            raise
        return self

    def stop(self, ended=None):
        # type: (Optional[float]) -> None
        """Take a last look and stop; returns when the thread is through. `ended`: the monotonic time of the end."""
        if not self._running:
            return
        self._running = False
        self._wake.release()
        self._done.acquire()
        end = (ended or time.monotonic()) - (self._started or 0.0)
        self._end = end
        self._max_gap = max(self._max_gap, end - self._last_look)
        try:
            if ended is None:
                self._look_last(end)
        finally:
            self._sampler.close()

    def processes(self):
        # type: () -> List[Tuple[int, int]]
        """Return (pid, start) of every process of the tree that is known."""
        return self._sampler.processes() if self._sampler and self._running else []

    def look_at_peak(self):
        # type: () -> None
        """Read the high-water marks now; from any thread."""
        if self._running:
            peak = self._sampler.peak_mb()
            self._peak = max(peak or 0.0, self._peak or 0.0) or None

    def freeze(self, frozen):
        # type: (bool) -> None
        """While frozen, no process is taken into the tree: a helper that we start is no part of it."""
        if self._sampler is not None:
            self._sampler.frozen = frozen

    def monitor_loop(self):
        # type: () -> None
        """Sample until `stop`; this is what the thread runs."""
        started, interval, wake = self._started or 0.0, self.interval, self._wake
        now = time.monotonic() - started
        due = min(self.EARLY_LOOK, interval)
        early = [t for t in self.EARLY_PEAKS if t < interval and self._from_birth]
        self._look(now)
        while self._running:
            now = time.monotonic() - started
            until = min(due, early[0]) if early else due
            if now < until:
                if wake.acquire(True, until - now):
                    break
                now = time.monotonic() - started
            if early and now >= early[0]:
                del early[0]
                self._peak = self._sampler.peak_mb()
            if now >= due:
                self._look(now)
                due = interval * (int(now / interval + 1e-6) + 1)

    def get_summary(self):
        # type: () -> Dict[str, Any]
        """Return what was measured, by metric name; None where nothing is known.

        Without `stop` it is a snapshot. cpu_avg here is over the time watched.
        """
        elapsed = self._end if self._end is not None else (time.monotonic() - (self._started or 0.0))
        average = 100.0 * self._cpu_total / elapsed if elapsed > 0 and self._count else None
        low, high = self._cpu_range or (average, average)
        if average is not None and low is not None and high is not None:
            low, high = min(low, average), max(high, average)      # the whole run is an interval too
        memory = self._memory or (None, None)
        seen = self._count > 0
        return {
            'cpu_max': high, 'cpu_avg': average, 'cpu_min': low,
            'memory_max_mb': max(memory[1], self._peak or 0.0) if memory[1] is not None else self._peak,
            'memory_avg_mb': self._average_memory(), 'memory_min_mb': memory[0],
            'num_threads': self._greatest[0] if seen else None,
            'num_fds': self._greatest[1] if seen else None,
            'num_processes': self._greatest[2] if seen else None,
            'io_read_mb': self._io[0], 'io_write_mb': self._io[1],
            'monitor_samples': self._count,
            'monitor_max_gap_seconds': self._max_gap if self._end is not None else max(self._max_gap, elapsed - self._last_look),
            'monitor_cpu_seconds': self._own_cpu,
        }

    def close_interval(self, ended, cpu_seconds):
        # type: (float, float) -> None
        """Account for the stretch from the last sample to the end, now that the tree's exact CPU time is known."""
        self._cpu_total = max(cpu_seconds, 0.0)
        span = ended - self._cpu_at[0]
        if span >= self.interval / 2.0:
            self._note_cpu(100.0 * max(0.0, cpu_seconds - self._cpu_at[1]) / span, self._threads_before)

    def _run(self):
        # type: () -> None
        """Thread border: a failing sampler costs the samples, never the run."""
        before = _thread_time()
        try:
            self.monitor_loop()
        except Exception as error:
            self.error = error
        finally:
            self._own_cpu = _thread_time() - before
            self._done.release()

    def _look(self, now):
        # type: (float) -> None
        """Take one sample; `now` is seconds since the start."""
        reading = self._sampler.sample()
        if reading is None:
            return
        cpu, memory, threads, fds, processes, read, written = reading
        gap = now - self._last_look
        if gap > self._max_gap:
            self._max_gap = gap
        self._last_look = now
        self._count += 1
        self._cpu_total = cpu
        span = now - self._cpu_at[0]
        percent = None
        if span >= self.interval / 2.0:
            percent = self._note_cpu(100.0 * (cpu - self._cpu_at[1]) / span, threads)
            self._cpu_at = (now, cpu)
            self._threads_before = threads
        self._note_memory(now, memory)
        greatest = self._greatest
        if threads > greatest[0]:
            greatest[0] = threads
        if fds > greatest[1]:
            greatest[1] = fds
        if processes > greatest[2]:
            greatest[2] = processes
        self._io = (read, written)
        if now - self._peak_at >= self.PEAK_EVERY or self._count <= 2:
            self._peak_at = now
            self._peak = self._sampler.peak_mb()
        row = (now, percent, memory, threads, fds, processes, read, written)
        self.samples.append(row)
        if self._on_sample is not None:
            self._on_sample(row)

    def _look_last(self, end):
        # type: (float) -> None
        try:
            self._look(end)
            self._peak = self._sampler.peak_mb()
        except OSError as error:
            self.error = self.error or error

    def _note_cpu(self, percent, threads):
        # type: (float, int) -> float
        """Keep the extremes; a reading above what the threads can use is clock skew, and is capped."""
        most = _CPUS if self._sampler.children_ended else min(max(threads, self._threads_before), _CPUS)
        percent = min(percent, 100.0 * most)
        low, high = self._cpu_range or (percent, percent)
        self._cpu_range = (min(low, percent), max(high, percent))
        return percent

    def _note_memory(self, now, memory):
        # type: (float, float) -> None
        low, high = self._memory or (memory, memory)
        self._memory = (memory if memory < low else low, memory if memory > high else high)
        if self._memory_at is not None:
            span = now - self._memory_at
            self._memory_area += span * (memory + self._memory_last) / 2.0
            self._memory_span += span
        self._memory_at, self._memory_last = now, memory

    def _average_memory(self):
        # type: () -> Optional[float]
        if self._memory_span > 0:
            return self._memory_area / self._memory_span
        return self._memory[0] if self._memory else None


# ======================================================================================================
# 5. Launching
# ======================================================================================================
#
# One attempt is spawned, carried, watched and ended by an Attempt, which comes in two forms:
#
#     _OwnAttempt     the command-line program on Linux: the process is ours, so it takes the signals, adopts orphans
#                     (subreaper) and gives the script a terminal of its own
#     _GuestAttempt   inside somebody's process (the API), and on other platforms: no handler, no subreaper, no wait for
#                     any child but the script; any number of threads may each run one
#
# Both follow the same events: the script ended, a deadline passed, a signal came, the output is through.

_MARK = 'SCRIPT_RUNNER_CORRELATION_ID'
_CHUNK = 262144                  # bytes per read; 1 MiB reads were slower (they leave the cache)
_PIPE_BYTES = 1048576            # asked of the kernel for each pipe, so that a slow moment of ours does not stop the script
_LONGEST_WAIT = 3600.0           # seconds of one wait: beyond some 290 years (on Windows 49 days) the calls overflow
_PEEK_WITHIN, _PEEK_EVERY = 0.25, 0.001      # seconds after the start in which output makes us look at the peak, and how often
_KILL_AGAIN = 0.05               # seconds between rounds of KILL while something is left
_RESIGN_AFTER = 5.0              # seconds of KILL after which what cannot be killed (another user's, stuck in I/O) is left
_SETTLE = 0.25                   # seconds that helpers of the script (a pipeline, a resource tracker) get to follow it
_ESCALATE_WITHIN = 2.0           # a second Ctrl-C within so many seconds ends the script
_ENDING_SIGNALS = tuple(getattr(_signal, n) for n in ('SIGTERM', 'SIGHUP', 'SIGINT') if hasattr(_signal, n))
_PASSED_SIGNALS = tuple(getattr(_signal, n) for n in ('SIGQUIT', 'SIGUSR1', 'SIGUSR2') if hasattr(_signal, n))
_FOREIGN_SIGNALS = frozenset(getattr(_signal, n) for n in ('SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT')
                             if hasattr(_signal, n))
_SIGINT, _SIGTERM = _signal.SIGINT, _signal.SIGTERM
_SIGKILL = getattr(_signal, 'SIGKILL', _SIGTERM)
_P_ALL, _P_PID, _WNOHANG, _WSTOPPED, _WEXITED, _WNOWAIT = 0, 1, 1, 2, 4, 0x01000000       # linux/wait.h


class LaunchPlan(object):
    """What will be started, and how: everything that is decided before anything happens.

    `argv` is what is executed ([0] as the script will see it), `executable` the file, `script_path` the identity in
    history. Times are in seconds, None for no limit.
    """
    __slots__ = ('argv', 'executable', 'script_path', 'script_args', 'env', 'cwd', 'timeout', 'grace', 'interval',
                 'capture_bytes', 'correlation_id', 'attempt_number', 'python_version', 'limits', 'detach_ok',
                 'hang_stack', 'on_sample')
    if TYPE_CHECKING:
        argv = []  # type: List[str]
        executable = ''  # type: str
        script_path = ''  # type: str
        script_args = []  # type: List[str]
        env = {}  # type: Dict[str, str]
        cwd = None  # type: Optional[str]
        timeout = None  # type: Optional[float]
        grace = interval = 0.0
        capture_bytes = attempt_number = 0
        correlation_id = ''
        python_version = None  # type: Optional[str]
        limits = None  # type: Optional[Limits]
        detach_ok = hang_stack = False
        on_sample = None  # type: Optional[Callable[[Any], None]]

    def __init__(self, **values):
        # type: (**Any) -> None
        for name in self.__slots__:
            setattr(self, name, values.get(name))


def resolve_script(script, arguments=(), module=False, python=None, cwd=None):
    # type: (str, Sequence[str], bool, Optional[str], Optional[str]) -> LaunchPlan
    """Decide how a script is started; no shell is ever involved.

    .py, .pyw, .pyz files and folders with a __main__.py run with `python` (the current interpreter), .sh with bash,
    anything executable as itself; a word without a slash is looked up as a file in the current folder, then in PATH.
    `module` treats `script` as the name for `python -m`. `cwd` is where it will run: its path is then made absolute.
    Raises LaunchError when there is nothing that could be started.
    """
    interpreter = python or sys.executable
    if cwd and os.path.dirname(interpreter):
        interpreter = os.path.abspath(interpreter)
    plan = LaunchPlan(script_args=list(arguments))
    if module:
        head, plan.script_path = [interpreter, '-m', script], '-m ' + script
    else:
        path = _find_script(script)
        shown = os.path.abspath(path) if cwd else path
        plan.script_path = os.path.realpath(path)
        head = _command_for(path, shown, interpreter)
    executable = head[0] if os.path.dirname(head[0]) else _find_in_path(head[0])
    if executable is None:
        raise LaunchError('%s: no such program (looked in PATH)' % head[0])
    plan.executable = os.path.abspath(executable) if cwd else executable
    if head[0] == sys.executable:
        plan.python_version = '%d.%d.%d' % sys.version_info[:3]
    plan.argv = head + list(arguments)
    return plan


def _find_script(script):
    # type: (str) -> str
    """Return the path of a script: the file of that name, else for a bare word the program in PATH.

    A folder that cannot be run (docker/, terraform/) does not hide the program of its name.
    """
    if not script:
        raise UsageError("'': no script; write for example python -m runner job.py")
    if '\0' in script:
        raise LaunchError('%r: no such file (a path cannot hold a NUL)' % script)
    bare, exists = not os.path.dirname(script), os.path.exists(script)
    is_mere_folder = exists and os.path.isdir(script) and not os.path.exists(os.path.join(script, '__main__.py'))
    if exists and not (bare and is_mere_folder):
        return script
    found = _find_in_path(script) if bare else None
    if found is None and exists:
        return script
    if found is None:
        where = 'looked in the current folder and in PATH' if bare else 'looked in %s' % (os.path.dirname(script))
        raise LaunchError('%s: no such file (%s)%s' % (script, where, _near_files(script)))
    return found


def _near_files(script):
    # type: (str) -> str
    try:
        return suggest(os.path.basename(script), os.listdir(os.path.dirname(script) or '.'))
    except OSError:
        return ''


def _find_in_path(word):
    # type: (str) -> Optional[str]
    if _WINDOWS:
        import shutil
        return shutil.which(word)
    for folder in os.environ.get('PATH', os.defpath).split(os.pathsep):
        path = os.path.join(folder or '.', word)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _command_for(path, shown, interpreter):
    # type: (str, str, str) -> List[str]
    """Return the first words of the command that runs the file at `path`; `shown` is how the script sees its own name."""
    extension = os.path.splitext(path)[1].lower()
    if os.path.isdir(path):
        if os.path.exists(os.path.join(path, '__main__.py')):
            return [interpreter, shown]
        raise LaunchError('%s: is a folder; name the script in it (a folder needs a __main__.py to be run)' % path, 126)
    if extension in ('.py', '.pyw', '.pyz'):
        return [interpreter, shown]
    if extension == '.sh':
        return ['bash', shown]
    if not os.access(path, os.X_OK):
        raise LaunchError('%s: not executable, and neither .py nor .sh; chmod +x it, or name its interpreter before it'
                          % path, 126)
    return [shown if os.path.dirname(shown) else os.path.join('.', shown)]


class Tail(object):
    """Count the bytes and lines of a stream and keep the last `limit` bytes of it."""
    __slots__ = ('limit', 'size', '_newlines', '_last', '_chunks', '_kept')

    def __init__(self, limit):
        # type: (int) -> None
        self.limit = limit
        self.size = self._newlines = self._kept = 0
        self._last = b'\n'
        self._chunks = []  # type: List[Any]

    def add(self, data):
        # type: (bytes) -> None
        """Take the next bytes of the stream."""
        if not data:
            return
        self.size += len(data)
        self._newlines += data.count(b'\n')
        self._last = data[-1:]
        chunks = self._chunks
        if len(data) < 4096 and chunks and len(chunks[-1]) < 65536:
            if type(chunks[-1]) is bytes:
                chunks[-1] = bytearray(chunks[-1])       # many small writes must not become many small objects
            chunks[-1] += data
        else:
            chunks.append(data)
        self._kept += len(data)
        while chunks and self._kept - len(chunks[0]) >= self.limit:
            self._kept -= len(chunks.pop(0))

    @property
    def lines(self):
        # type: () -> int
        """Lines so far; one without its newline counts."""
        return self._newlines + (self._last != b'\n')

    @property
    def content(self):
        # type: () -> bytes
        """The last `limit` bytes."""
        joined = b''.join(self._chunks)
        return joined[-self.limit:] if self.limit else b''

    @property
    def text(self):
        # type: () -> str
        """The last `limit` bytes as text, undecodable bytes replaced."""
        return self.content.decode('utf-8', 'replace')


class _Stream(object):
    """One stream of the script: where it is read, where it goes, what is kept of it.

    `sink` is the descriptor to write to, or a function that takes bytes (b'' at the end), or None. `split`, where given, turns
    what was read into (what is kept, what is passed on). `on_data`, where given, is called before each part is passed on.
    """
    __slots__ = ('name', 'source', 'sink', 'tail', 'split', 'on_data', 'loss', 'is_done')

    def __init__(self, name, source, sink, tail):
        # type: (str, int, Any, Tail) -> None
        self.name = name
        self.source = source
        self.sink = sink
        self.tail = tail
        self.split = None  # type: Optional[Callable[[bytes], Tuple[bytes, bytes]]]
        self.on_data = None  # type: Optional[Callable[[], None]]
        self.loss = None  # type: Optional[str]         # what went wrong with it, in words
        self.is_done = False

    def carry(self):
        # type: () -> bool
        """Pass on what there is to read, which must be something; False at the end of the stream."""
        try:
            data = os.read(self.source, _CHUNK)
        except OSError:                        # EIO: the last user of a terminal left
            return False
        return self._pass_on(data) if data else False

    def _pass_on(self, data):
        # type: (bytes) -> bool
        """Count and keep, then write; False when the reader is gone or cannot be written to."""
        shown = data
        if self.on_data is not None:
            self.on_data()
        if self.loss is None:
            try:
                kept, shown = self.split(data) if self.split is not None else (data, data)
                self.tail.add(kept)
            except Exception as error:         # border: counting that fails costs the count, not the script's bytes
                self.loss, shown = 'was not counted to its end: %s' % error, data
        try:
            if isinstance(self.sink, int):
                _write_all(self.sink, shown)
            elif self.sink is not None:
                self.sink(shown)
        except Exception as error:             # border: a sink of the user's, a full disk
            if not isinstance(error, BrokenPipeError):
                self.loss = 'was cut short: %s' % error
            return False
        return True

    def end(self):
        # type: () -> None
        """Close the script's side: what it writes now fails as it would have without us."""
        os.close(self.source)
        if self.split is not None or callable(self.sink):
            self._pass_on(b'')                 # what was held back
        self.is_done = True


class _Pump(object):
    """Carry a stream from the script to its destination, in a thread of its own, so that a slow reader of one stream
    holds up neither the other, nor the samples, nor the history.

    When the reader of the sink goes away, the script's end is closed at once. `wake` is readable when what is there
    shall still be read, and nothing more be waited for.
    """

    def __init__(self, stream, wake, finished):
        # type: (_Stream, int, Callable[[], None]) -> None
        self._stream = stream
        self._wake = wake
        self._finished = finished

    def start(self):
        # type: () -> None
        """Begin to carry."""
        start_new_thread(self._run, ())

    def _run(self):
        # type: () -> None
        """Border of the thread: whatever breaks in the waiting, the bytes are still carried, in the plainest way."""
        try:
            carry = self._carry_plainly if _WINDOWS else self._carry
            try:
                carry()
            except Exception as error:
                self._stream.loss = 'was not counted to its end: %s' % error
                self._carry_plainly()
        finally:
            self._stream.end()
            self._finished()

    def _carry_plainly(self):
        # type: () -> None
        while self._stream.carry():
            pass

    def _carry(self):
        # type: () -> None
        import select
        poll, stream = select.poll(), self._stream
        poll.register(stream.source, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        if isinstance(stream.sink, int):
            poll.register(stream.sink, 0)               # reports only that its reader is gone
        patience = None  # type: Optional[int]
        while True:
            events = dict(poll.poll(patience))
            if self._wake in events:
                patience = 0
                poll.unregister(self._wake)
            elif not events:
                return
            if stream.source in events:
                if not stream.carry():
                    return
            elif stream.sink in events:
                return


def _make_pipe():
    # type: () -> Tuple[int, int]
    """Make a pipe as large as the kernel lets us (fcntl(2), F_SETPIPE_SZ)."""
    ends = os.pipe()
    if _LINUX:
        try:
            import fcntl
            fcntl.fcntl(ends[1], 1031, _PIPE_BYTES)
        except (ImportError, OSError):         # the user's share of pipe pages is used up: the default size works too
            pass
    return ends


def _peek_ended(idtype, number, flags, keep=True):
    # type: (int, int, int, bool) -> Optional[int]
    """Return the pid of a child that ended (or stopped, by `flags`), leaving it in place unless told otherwise; None: none yet.

    Raises ChildProcessError without such a child. waitid(2) with WNOWAIT leaves /proc/PID of a zombie readable.
    """
    flags |= _WNOWAIT if keep else 0
    if hasattr(os, 'waitid'):
        info = os.waitid(idtype, number, flags)
        return info.si_pid if info else None
    import ctypes  # PyPy
    buffer = ctypes.create_string_buffer(128)
    while True:
        try:
            _libc('waitid', idtype, number, buffer, flags)
            return int.from_bytes(buffer.raw[16:20], sys.byteorder) or None
        except OSError as error:
            if error.errno == errno.ECHILD:
                raise ChildProcessError(errno.ECHILD, 'no such child')
            if error.errno != errno.EINTR:
                raise


def _open_process(pid):
    # type: (int) -> Optional[int]
    """Return a descriptor of a process (pidfd_open(2)), None where this Python, the kernel (before 5.3) or a sandbox has none."""
    if not hasattr(os, 'pidfd_open') or not hasattr(_signal, 'pidfd_send_signal'):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return None
        raise


def send_signal(pid, start, number):
    # type: (int, Optional[int], int) -> bool
    """Send a signal to the process that has this pid and this start time, never to one that got its pid later."""
    try:
        descriptor = _open_process(pid)
        if descriptor is None:
            if not _LINUX or process_start(pid) == start:
                os.kill(pid, number)
                return True
            return False
        try:
            if process_start(pid) != start:
                return False
            _signal.pidfd_send_signal(descriptor, number)
            return True
        finally:
            os.close(descriptor)
    except OSError:                            # gone, or not ours to signal
        return False


def _walk_tree(root):
    # type: (int) -> List[Tuple[int, int]]
    """Return (pid, start) of every descendant of a process, parents first."""
    children_of = _children_lister()
    found, queue = [], [root]
    while queue:
        for pid in children_of(queue.pop(0)):
            start = process_start(pid)
            if start is not None:
                found.append((pid, start))
                queue.append(pid)
    return found


def _find_marked(correlation_id):
    # type: (str) -> List[Tuple[int, int]]
    """Return (pid, start) of every process whose environment carries our mark, also where it left the tree."""
    mark = ('%s=%s\0' % (_MARK, correlation_id)).encode()
    found = []
    own = os.getpid()
    for name in os.listdir('/proc'):
        if not name.isdigit() or int(name) == own:
            continue
        try:
            with open('/proc/%s/environ' % name, 'rb') as file:
                marked = mark in file.read() + b'\0'
        except OSError:
            continue
        start = process_start(int(name)) if marked else None
        if start is not None:
            found.append((int(name), start))
    return found


class Usage(object):
    """Resources that the kernel accounted to processes which were waited for; `add` sums, peaks stay peaks."""
    __slots__ = ('user', 'system', 'peak_kib', 'switches', 'faults', 'blocks', 'read_mb', 'written_mb')

    def __init__(self):
        # type: () -> None
        self.user = self.system = 0.0
        self.peak_kib = self.switches = self.faults = self.blocks = 0
        self.read_mb = self.written_mb = None  # type: Optional[float]

    def add(self, rusage, io):
        # type: (Any, Tuple[Optional[float], Optional[float]]) -> None
        """Add what wait4 returned for one process (its waited-for children are in it) and its /proc/PID/io."""
        self.user += rusage.ru_utime
        self.system += rusage.ru_stime
        self.peak_kib = max(self.peak_kib, rusage.ru_maxrss // (1 if sys.platform != 'darwin' else 1024))
        self.switches += rusage.ru_nvcsw + rusage.ru_nivcsw
        self.faults += rusage.ru_minflt + rusage.ru_majflt
        self.blocks += rusage.ru_inblock + rusage.ru_oublock
        if io[0] is not None and io[1] is not None:
            self.read_mb = (self.read_mb or 0.0) + io[0]
            self.written_mb = (self.written_mb or 0.0) + io[1]


def describe_hang(processes, patience=5.0, folder=None):
    # type: (Sequence[Tuple[int, int]], float, Optional[str]) -> str
    """Say what every thread of some processes is doing: state, where in the kernel it waits, which system call (proc(5)).

    Python processes are asked for their stacks too, without being stopped: by py-spy where it is installed, else on
    Python 3.14 and later by sys.remote_exec, which needs a private `folder` that stays until the processes are gone. All of it
    takes at most `patience` seconds.
    """
    lines, deadline = [], time.monotonic() + patience
    dumper = _find_in_path('py-spy')
    processes = processes[:200]
    commands = {pid: ' '.join(redact_arguments(_proc_text(pid, 'cmdline').split('\0'))).strip() or _proc_text(pid, 'comm')
                for pid, _ in processes}
    pythons = [process for process in processes if _is_python(commands[process[0]])]
    stacks = {} if dumper else _ask_for_stacks(pythons, folder, deadline)  # type: Dict[int, List[str]]
    for pid, start in processes:
        lines.append('process %d: %s' % (pid, commands[pid]))
        try:
            threads = sorted(map(int, os.listdir('/proc/%d/task' % pid)))
        except OSError:
            continue
        for thread in threads[:100]:
            state = (_status_field(pid, b'State', thread) or b'?').decode()
            lines.append('  thread %d (%s): %s, waits in %s, system call %s' % (
                thread, _proc_text(pid, 'task/%d/comm' % thread), state, _proc_text(pid, 'task/%d/wchan' % thread) or '-',
                _proc_text(pid, 'task/%d/syscall' % thread).split(' ')[0] or '?'))
        if (pid, start) in pythons:
            lines += ['  ' + line for line in (_dump_stacks(dumper, pid, deadline) if dumper else stacks[pid])]
    return redact('\n'.join(lines)) + '\n'


def _is_python(command):
    # type: (str) -> bool
    return command.split(' ')[0].rsplit('/', 1)[-1].startswith('python')


def _proc_text(pid, name):
    # type: (int, str) -> str
    try:
        return _read_file('/proc/%d/%s' % (pid, name)).decode('utf-8', 'replace').strip()
    except OSError:
        return ''


def _dump_stacks(dumper, pid, deadline):
    # type: (str, int, float) -> List[str]
    """Return the lines of `py-spy dump`, or why there are none."""
    import subprocess
    left = deadline - time.monotonic()
    if left <= 0:
        return ['(no time left for py-spy)']
    process = subprocess.Popen([dumper, 'dump', '--nonblocking', '--pid', str(pid)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        return process.communicate(timeout=left)[0].decode('utf-8', 'replace').splitlines()
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return ['(py-spy did not answer in time)']


#: What a Python process runs for us: its stacks go into a file, which has its name when it is complete. It is run in the
#: process's own __main__ (sys.remote_exec), so it sets no name there; whatever fails stays inside.
_STACKS_CODE = """try:
    import faulthandler, os
    with open(%(path)r + '.part', 'w') as file:
        faulthandler.dump_traceback(file, all_threads=True)
    os.rename(%(path)r + '.part', %(path)r)
except Exception:
    pass
"""
_ANSWER_WITHIN = 1.0             # seconds: a main thread that waits in the kernel answers only when it wakes, often never
_STACKS_BYTES = 262144           # of one process's answer


def _ask_for_stacks(processes, folder, deadline):
    # type: (Sequence[Tuple[int, int]], Optional[str], float) -> Dict[int, List[str]]
    """Return by pid the stacks that Python processes wrote when asked by sys.remote_exec (PEP 768), or why there are none.

    All are asked before the first is waited for. The requests stay in `folder`: a process that comes to them late, and finds
    its file gone, would complain on its stderr.
    """
    found, asked = {}, {}  # type: Dict[int, List[str]], Dict[int, str]
    for pid, start in processes:
        why_not = _why_not_asked(pid, start, folder, deadline)
        if why_not is None:
            asked[pid] = os.path.join(folder or '', 'stacks-%d' % pid)
            why_not = _ask_one(pid, asked[pid])
        found[pid] = ['(no Python stack: %s)' % (why_not or 'its main thread did not come to it in time')]
        if why_not is not None:
            asked.pop(pid, None)
    deadline = min(deadline, time.monotonic() + _ANSWER_WITHIN)
    while asked:
        for pid, path in list(asked.items()):
            if os.path.exists(path):
                del asked[pid]
                with open(path, 'rb') as file:
                    text = file.read(_STACKS_BYTES).decode('utf-8', 'replace')
                found[pid] = [line for line in text.splitlines() if '<script-runner>' not in line and str(folder) not in line]
        if time.monotonic() >= deadline:
            break
        time.sleep(0.01)
    return found


def _why_not_asked(pid, start, folder, deadline):
    # type: (int, int, Optional[str], float) -> Optional[str]
    """Say why sys.remote_exec is not tried on a process, None: it may be. Its memory is written to, so nothing is guessed."""
    if folder is None or not hasattr(sys, 'remote_exec'):
        return 'py-spy is not installed'
    version = _python_version_of(pid)
    if version != '%d.%d' % sys.version_info[:2]:
        return 'it runs Python %s, and only %d.%d can be asked from here' % ((version or '?',) + sys.version_info[:2])
    if process_start(pid) != start:
        return 'it has ended'
    return 'no time was left' if time.monotonic() >= deadline else None


def _python_version_of(pid):
    # type: (int) -> Optional[str]
    """Return '3.14' for a process that has python3.14 or libpython3.14.so mapped (proc(5), maps), else None."""
    try:
        with open('/proc/%d/maps' % pid, 'rb') as file:
            lines = file.read(1 << 22).splitlines()
    except OSError:
        return None
    for line in lines:
        name = os.fsdecode(line.rpartition(b'/')[2])
        for head in ('libpython', 'python'):
            major, _, minor = name[len(head):].partition('.')
            digits = minor[:len(minor) - len(minor.lstrip('0123456789'))]
            if name.startswith(head) and major.isdigit() and digits:
                return '%s.%s' % (major, digits)
    return None


def _ask_one(pid, path):
    # type: (int, str) -> Optional[str]
    """Border: leave a request to write stacks to `path`; returns what went wrong."""
    try:
        code = "exec(compile(%r, '<script-runner>', 'exec'), {})\n" % (_STACKS_CODE % {'path': path})
        write_atomically(path + '.py', code.encode('utf-8'))
        sys.remote_exec(pid, path + '.py')  # type: ignore[attr-defined]
    except Exception as error:
        return 'sys.remote_exec failed: %s' % (error or type(error).__name__)
    return None


#: (where it is mounted, what /proc/self/cgroup calls it, file of the memory limit, file that counts kills): v2, v1
_MEMORY_GROUP_FORMS = (('/sys/fs/cgroup', '', 'memory.max', 'memory.events'),
                       ('/sys/fs/cgroup/unified', '', 'memory.max', 'memory.events'),
                       ('/sys/fs/cgroup/memory', 'memory', 'memory.limit_in_bytes', 'memory.oom_control'))


def _own_memory_groups():
    # type: () -> List[Tuple[str, str, str]]
    """Return (folder, file of the limit, file that counts kills) of the control groups that may account our memory."""
    paths = {}
    for line in _proc_text(os.getpid(), 'cgroup').splitlines():
        _, controllers, path = line.split(':', 2)
        for name in controllers.split(','):
            paths[name] = path.rstrip('/')
    return [(mount + paths[name], limit_file, kill_file) for mount, name, limit_file, kill_file in _MEMORY_GROUP_FORMS
            if name in paths]


def _read_oom_kills(path):
    # type: (str) -> Optional[int]
    """Return the number after the word oom_kill in a file of the kernel, None where there is none."""
    try:
        words = _read_file(path).split()
        return int(words[words.index(b'oom_kill') + 1])
    except (OSError, ValueError, IndexError):
        return None


def count_oom_kills():
    # type: () -> Dict[str, int]
    """Return how often the kernel killed for want of memory, in our control groups (v1 and v2) and on the machine."""
    counts = {}
    for path in [os.path.join(folder, name) for folder, _, name in _own_memory_groups()] + ['/proc/vmstat']:
        count = _read_oom_kills(path)
        if count is not None:
            counts[path] = count
    return counts


class _MemoryGroup(object):
    """A control group of our own under ours, in which the kernel keeps a memory limit: no look can come too late.

    Only where one may be made without changing anybody else's: cgroup v2 with the memory controller passed on to children
    (a delegated group), or v1. Kernel documents: admin-guide/cgroup-v2.rst, admin-guide/cgroup-v1/memory.rst.
    """

    @classmethod
    def make(cls, limit):
        # type: (int) -> Optional[_MemoryGroup]
        """Return a new group with this limit in bytes, None where that cannot be had."""
        for parent, limit_file, kill_file in _own_memory_groups():
            if os.path.exists(os.path.join(parent, 'cgroup.procs')):
                try:
                    return cls(parent, limit, limit_file, kill_file)
                except OSError:
                    continue
        return None

    def __init__(self, parent, limit, limit_file, kill_file):
        # type: (str, int, str, str) -> None
        self.folder = os.path.join(parent, 'script-runner-%d-%s' % (os.getpid(), os.urandom(3).hex()))
        self._kill_file = os.path.join(self.folder, kill_file)
        os.mkdir(self.folder)
        try:
            self._write(limit_file, b'%d' % limit)
        except OSError:                          # the memory controller is not passed on
            os.rmdir(self.folder)
            raise

    def _write(self, name, data):
        # type: (str, bytes) -> None
        descriptor = os.open(os.path.join(self.folder, name), os.O_WRONLY)      # never created: a missing file is an answer
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def join(self):
        # type: () -> None
        """Put the calling process into the group; called between fork and exec."""
        try:
            self._write('cgroup.procs', b'0')
        except OSError:
            pass                                 # the watchdog watches all the same

    def kills(self):
        # type: () -> int
        """Return how many processes of the group the kernel has killed for want of memory."""
        return _read_oom_kills(self._kill_file) or 0

    def remove(self):
        # type: () -> None
        """Remove the group; one that is not empty (--detach-ok) stays."""
        try:
            os.rmdir(self.folder)
        except OSError:
            pass


class Limits(object):
    """What a run may use, without root: None means as much as it likes.

    `memory` bytes resident in the whole tree (sum over its processes), `cpu_time` CPU seconds of the tree, `processes` at
    once, `output` bytes on stdout and stderr together, `idle_timeout` seconds without output and without CPU time.
    """
    __slots__ = ('memory', 'cpu_time', 'processes', 'output', 'idle_timeout')

    def __init__(self, memory=None, cpu_time=None, processes=None, output=None, idle_timeout=None):
        # type: (Optional[int], Optional[float], Optional[int], Optional[int], Optional[float]) -> None
        for name, value in zip(self.__slots__, (memory, cpu_time, processes, output, idle_timeout)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
                raise UsageError('limit %s %r: must be a number of more than 0' % (name, value))
        self.memory = memory
        self.cpu_time = cpu_time
        self.processes = processes
        self.output = output
        self.idle_timeout = idle_timeout

    def __bool__(self):
        # type: () -> bool
        return any(getattr(self, name) is not None for name in self.__slots__)


class _Warden(object):
    """Compare what a run uses with its limits, on a clock of its own: the samples keep their interval.

    The next look comes after a quarter of the time in which memory would reach the limit at the rate at which it grew
    last, and never so late that the fastest growth a machine can do (FASTEST) passes the limit by more than a fifth.
    """
    LONGEST, SHORTEST = 0.05, 0.002         # seconds between two looks
    FASTEST = 3e9                           # bytes a second: faulting pages in costs about 1 s per 3 to 4 GB
    IDLE_SHARE = 0.005                      # of one core: less than this is no work
    WARN_AT = 0.8

    def __init__(self, limits, sampler, group, output_bytes, warnings):
        # type: (Limits, Any, Optional[_MemoryGroup], Callable[[], int], List[str]) -> None
        self._limits = limits
        self._group = group
        self._sampler = sampler
        self._output_bytes = output_bytes
        self._warnings = warnings
        self._warned = set()  # type: set
        self._memory_before = None  # type: Optional[Tuple[float, float]]
        now = time.monotonic()
        self._active = (now, 0.0, 0)        # when the run last did something; its CPU seconds and output bytes then
        self.next_look = now

    def look(self, now):
        # type: (float) -> Optional[Tuple[str, str]]
        """Return (cause, evidence) when a limit is passed, else None; `next_look` says when to come again."""
        reading = self._sampler.sample()
        if reading is None:
            self.next_look = now + self.LONGEST
            return None
        cpu, memory, count = reading[0], reading[1] * _MIB, reading[4]
        if self._group is not None and self._group.kills():
            return 'memory_limit', 'the kernel ended a process at %s' % format_mib((self._limits.memory or 0) / _MIB)
        written = self._output_bytes()
        self.next_look = now + self._pause(now, memory)
        limits = self._limits
        for cause, used, limit, show in (
                ('memory_limit', memory, limits.memory, lambda n: format_mib(n / _MIB)),
                ('process_limit', count, limits.processes, str),
                ('cpu_limit', cpu, limits.cpu_time, format_duration),
                ('output_limit', written, limits.output, lambda n: format_mib(n / _MIB))):
            if limit is None:
                continue
            if used > limit:
                return cause, '%s used of %s' % (show(used), show(limit))
            if used > limit * self.WARN_AT and cause not in self._warned:
                self._warned.add(cause)
                self._warnings.append('%s: %s of %s were used' % (cause.replace('_', ' '), show(used), show(limit)))
        return self._judge_idle(now, cpu, written)

    def _pause(self, now, memory):
        # type: (float, float) -> float
        pause = self.LONGEST
        if self._limits.memory is not None:
            pause = min(pause, max(0.0, 1.2 * self._limits.memory - memory) / self.FASTEST)
            if self._memory_before is not None and memory > self._memory_before[1]:
                rate = (memory - self._memory_before[1]) / max(now - self._memory_before[0], 1e-6)
                pause = min(pause, (self._limits.memory - memory) / rate / 4.0)
            self._memory_before = (now, memory)
        elif self._limits.idle_timeout is not None and self._limits.processes is None:
            pause = max(pause, min(1.0, self._limits.idle_timeout / 8.0))
        return max(pause, self.SHORTEST)

    def _judge_idle(self, now, cpu, written):
        # type: (float, float, int) -> Optional[Tuple[str, str]]
        since, cpu_then, written_then = self._active
        if self._limits.idle_timeout is None:
            return None
        if written != written_then or cpu - cpu_then > self.IDLE_SHARE * max(now - since, 0.1):
            self._active = (now, cpu, written)
        elif now - since > self._limits.idle_timeout:
            return 'idle_timeout', 'no output and no CPU time for %s' % format_duration(now - since)
        return None

    def close(self):
        # type: () -> None
        """Close the sampler."""
        self._sampler.close()


class Attempt(object):
    """One start of the script until nothing of it is left; the two forms differ in the steps marked "form".

        attempt.spawn()         the script runs; LaunchError when it cannot be started
        attempt.supervise()     returns when it, its output and its tree are through

    Afterwards `returncode` (negative: ended by that signal, None: unknown), `status`, `cause`, `evidence`, `usage`, the two
    `tails`, `monitor` and `warnings` tell what happened. `request_end` may be called from any thread, the rest not.
    """

    def __init__(self, plan, sinks=(None, None)):
        # type: (LaunchPlan, Tuple[Any, Any]) -> None
        self.plan = plan
        self.pid = 0
        self.started = self.started_wall = 0.0
        self.ended = None  # type: Optional[float]
        self.returncode = None  # type: Optional[int]
        self.cause = ''
        self.evidence = None  # type: Optional[str]
        self.usage = None  # type: Optional[Usage]
        self.tails = (Tail(plan.capture_bytes), Tail(plan.capture_bytes))
        self.monitor = None  # type: Optional[ProcessMonitor]
        self.warnings = []  # type: List[str]
        self.artefacts = {}  # type: Dict[str, str]      # texts that are kept with the run, by name
        self.floor_kib = 0              # what ru_maxrss shows at least, because fork copied it from us
        self._sinks = sinks
        self._streams = []  # type: List[_Stream]
        self._threadless = []  # type: List[_Stream]      # those of them that the caller's thread carries
        self.is_one_stream = False      # stdout and stderr are one terminal: what they wrote cannot be told apart
        self.quiet = None  # type: Optional[float]     # when the last orphan was collected
        self._pump_wake = (-1, -1)
        self._request = None  # type: Optional[Tuple[int, str]]
        self._ending = None  # type: Optional[str]
        self._warden = None  # type: Optional[_Warden]
        self._group = None  # type: Optional[_MemoryGroup]
        self._group_limit = ''
        self._oom_before = None  # type: Optional[Dict[str, int]]
        self._hang_folder = None  # type: Optional[str]
        self.live = None  # type: Any              # what draws on the terminal beside the script: has pause() and resume()
        self._deadline = None  # type: Optional[float]     # when the time limit strikes
        self._kill_at = None  # type: Optional[float]
        self._first_kill = None  # type: Optional[float]
        self._killed = []  # type: List[Tuple[int, int]]
        self._leftovers_told = False
        self._through_at = None  # type: Optional[float]    # when all output had ended, after the script had
        self._resigned = self._abandoned = False
        self._interrupted_at = None  # type: Optional[float]

    # -- what a user sees of it ----------------------------------------------------------------------

    @property
    def duration(self):
        # type: () -> float
        """Seconds from the spawn to the exit event, or until now."""
        return (self.ended if self.ended is not None else time.monotonic()) - self.started

    @property
    def status(self):
        # type: () -> str
        """The status of the run, derived from cause and return code."""
        return status_of(self.cause, self.returncode)

    @property
    def keyboard(self):
        # type: () -> int
        """The descriptor of a terminal whose settings say how the script reads keys (form: it may have one of its own)."""
        return 2

    def request_end(self, number=_SIGTERM, evidence='stop() was called'):
        # type: (int, str) -> None
        """Ask for the end of the whole tree: with `number`, and KILL after the grace; KILL means at once."""
        self._request = (number, evidence)
        self._notify()

    def supervise(self):
        # type: () -> None
        """Carry, watch and end the script; returns when nothing of it is left."""
        try:
            try:
                self._confirm_start()
                self._watch()
                self._set_limits()
                if self.plan.timeout is not None:
                    self._deadline = self.started + self.plan.timeout
                self._attend_events()
            except KeyboardInterrupt:
                self._interrupted_in_process()
        finally:
            self._finish()
        self._judge()
        self._release_group()

    # -- the events ----------------------------------------------------------------------------------

    def _attend_events(self):
        # type: () -> None
        """Attend to whatever happens until it is over."""
        while not self._is_over():
            self._next_event(self._patience())
            if self._threadless:
                self._carry_here()
            self._keep_deadlines(time.monotonic())

    def _patience(self):
        # type: () -> Optional[float]
        """Return the seconds until the next deadline; None: nothing but an event can happen."""
        times = [t for t in (self._deadline, self._kill_at) if t is not None]
        if self._threadless:
            times.append(time.monotonic() + 0.005)
        if self._warden is not None and self.ended is None and self._ending is None:
            times.append(self._warden.next_look)
        if self.ended is not None:
            times.append(time.monotonic() + self._leftover_look)
            if not self._leftovers_told:
                times.append(self._leftovers_due())
        return min(_LONGEST_WAIT, max(0.0, min(times) - time.monotonic())) if times else None

    _leftover_look = 60.0          # form: how often to look for leftovers when no event tells of their end

    def _keep_deadlines(self, now):
        # type: (float) -> None
        if self._request is not None:
            (number, evidence), self._request = self._request, None
            self._end_tree('interrupted', number, evidence)
        if self.ended is None and self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self._end_tree('timeout', _SIGTERM, 'time limit of %s' % format_duration(self.plan.timeout))
        if self._warden is not None and self.ended is None and self._ending is None and now >= self._warden.next_look:
            self._look_at_limits(self._warden, now)
        if self.ended is not None and not self._leftovers_told:
            self._attend_leftovers(now)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_round(now)

    def _look_at_limits(self, warden, now):
        # type: (_Warden, float) -> None
        """Border: a look that fails costs the look. Memory and processes are ended at once, the rest may clean up."""
        try:
            verdict = warden.look(now)
        except Exception as error:
            self.warnings.append('limits are not watched any more: %r' % error)
            self._warden = None
            return
        if verdict is not None:
            at_once = verdict[0] in ('memory_limit', 'process_limit')
            self._end_tree(verdict[0], _SIGKILL if at_once else _SIGTERM, verdict[1])
            if at_once:
                self._kill_round(now)

    def _attend_leftovers(self, now):
        # type: (float) -> None
        """End what the script left behind: at once what has let go of its output, after the grace what still holds it."""
        if self._ending is not None:              # they were told with the script, and have the rest of the grace
            self._leftovers_told = True
            return
        if now < self._leftovers_due():
            return
        holds_output = not self._output_is_through()
        if self.plan.detach_ok:                   # they may stay; what they still write is not waited for
            self._leftovers_told = True
            self._resign((), now)
            return
        left = [process for process in self._tree() if _is_alive(*process)]
        if not left and not holds_output:
            return
        self._leftovers_told = True
        names = ', '.join(str(pid) for pid, _ in left[:5]) + (', …' if len(left) > 5 else '')
        if left:
            self.warnings.append('ended %d process%s that the script left behind (pid %s)'
                                 % (len(left), '' if len(left) == 1 else 'es', names))
        self._tell(left, _SIGTERM)
        wait = min(1.0, self.plan.grace) if holds_output else self.plan.grace
        self._kill_at = min(self._kill_at or now + wait, now + wait)

    def _leftovers_due(self):
        # type: () -> float
        """Return when the script's leftovers are ended: a moment after the last of them let go of the output."""
        ended = self.ended or 0.0
        if not self._output_is_through():
            return ended + self.plan.grace
        if self._through_at is None:
            self._through_at = max(ended, time.monotonic())
        return self._through_at + min(_SETTLE, self.plan.grace)

    def _output_is_through(self):
        # type: () -> bool
        return all(stream.is_done for stream in self._streams)

    def _end_tree(self, cause, number, evidence):
        # type: (str, int, str) -> None
        """Begin to end everything: `number` now, KILL after the grace. The first cause is the cause."""
        now = time.monotonic()
        if self._ending is None:
            self._ending, self.evidence = cause, evidence
            if cause in ('timeout', 'idle_timeout') and _LINUX:
                self._keep_hang()
                now = time.monotonic()
        if number == _SIGKILL:
            self._kill_at = now
            return
        tree = self._tree()
        if self.plan.hang_stack and cause in ('timeout', 'idle_timeout'):
            self._tell([process for process in tree if process[0] == self.pid], _signal.SIGABRT)
            tree = [process for process in tree if process[0] != self.pid]
        self._tell(tree, number)
        if self._kill_at is None:
            self._kill_at = now + self.plan.grace

    def _keep_hang(self):
        # type: () -> None
        """Border: keep what every thread was doing, before anything is told to end; trouble with that delays no ending."""
        if self.monitor is not None:
            self.monitor.freeze(True)
        try:
            if hasattr(sys, 'remote_exec'):
                import tempfile
                self._hang_folder = tempfile.mkdtemp(prefix='script-runner-')
            self.artefacts['hang'] = describe_hang(self._tree(), folder=self._hang_folder)
        except Exception as error:
            self.warnings.append('what hung could not be found out: %r' % error)
        if self.monitor is not None:
            self.monitor.freeze(False)

    def _tell(self, processes, number):
        # type: (Sequence[Tuple[int, int]], int) -> None
        for pid, start in processes:
            send_signal(pid, start, number)
            if number != _SIGKILL and hasattr(_signal, 'SIGCONT'):
                send_signal(pid, start, _signal.SIGCONT)       # a stopped process hears TERM only when it goes on

    def _kill_round(self, now):
        # type: (float) -> None
        """Stop everything, so that nothing can fork away, then kill it; again until nothing is left."""
        self._first_kill = self._first_kill or now
        self._kill_at = now + _KILL_AGAIN
        halted = []  # type: List[Tuple[int, int]]
        for _ in range(100):
            fresh = [process for process in self._tree() if process not in halted]
            if not fresh:
                break
            for pid, start in fresh:
                send_signal(pid, start, getattr(_signal, 'SIGSTOP', _SIGKILL))
            halted += fresh
        for pid, start in halted:
            send_signal(pid, start, _SIGKILL)
        self._killed = _unique(self._killed + halted)
        if self.ended is not None and (not halted or now - self._first_kill > _RESIGN_AFTER):
            self._resign(halted, now)

    def _resign(self, left, now):
        # type: (Sequence[Tuple[int, int]], float) -> None
        """Read what the pipes still hold and go: what we cannot end, or do not know, may hold them for ever."""
        if self._resigned:                    # the reader of our own output stands still, and somebody wants an end
            self._abandoned = True
            return
        self._kill_at = now + _RESIGN_AFTER if self._ending is not None else None
        if left:
            self.warnings.append('could not end %d process(es): pid %s' % (len(left), ', '.join(str(p) for p, _ in left)))
        self._resigned = True
        if self._pump_wake[1] >= 0:
            os.write(self._pump_wake[1], b'!')

    def _is_over(self):
        # type: () -> bool
        if self.ended is None or not self._output_is_through():
            return self._abandoned
        return self._resigned or not self._anything_left()

    def _release_group(self):
        # type: () -> None
        if self._group is not None:
            self._group.remove()

    def _judge(self):
        # type: () -> None
        """Fix the cause, now that everything is known."""
        code = self.returncode
        if self._ending is not None:
            self.cause = self._ending
        elif self._was_interrupted(code):
            self.cause, self.evidence = 'interrupted', 'Ctrl-C on the terminal'
        elif self._group is not None and self._group.kills():
            self.cause = 'memory_limit'
            self.evidence = 'the kernel ended a process at %s' % self._group_limit
        elif code == -_SIGKILL and self._out_of_memory():
            self.cause = 'out_of_memory'
        elif code is not None and code < 0:
            self.cause, self.evidence = 'signal', signal_name(-code)
        else:
            self.cause = 'exit'
        for stream in self._streams:
            if stream.loss is not None:
                self.warnings.append('%s %s' % (stream.name, stream.loss))
        if self.monitor is not None and self.monitor.error is not None:
            self.warnings.append('sampling stopped early: %r' % self.monitor.error)

    def _out_of_memory(self):
        # type: () -> bool
        """Tell whether the kernel killed for want of memory while the script ran; says in `evidence` which counter moved."""
        if not _LINUX or self._oom_before is None:
            return False
        for path, count in count_oom_kills().items():
            if count > self._oom_before.get(path, count):
                self.evidence = 'killed by the kernel: %s went from %d to %d' % (path, self._oom_before[path], count)
                return True
        return False

    def _was_interrupted(self, code):
        # type: (Optional[int]) -> bool
        """Tell whether a Ctrl-C explains this end: it died of it, or failed within the grace after it."""
        if self._interrupted_at is None or code in (0, None):
            return False
        return code in (-_SIGINT, 128 + _SIGINT) or (self.ended or 0.0) - self._interrupted_at <= self.plan.grace

    def _interrupted_in_process(self):
        # type: () -> None
        raise

    def _watch(self):
        # type: () -> None
        """Begin to sample, now that the script's own program is known to run."""
        self._oom_before = count_oom_kills() if _LINUX else None
        try:
            self.monitor = ProcessMonitor(self.pid, self.plan.interval, self.plan.on_sample, self._adopter, ignored=self._ignored,
                                          from_birth=True, started=self.started)
            self.monitor.start()
        except Exception as error:              # border: a sampler that cannot start costs the samples, not the run
            self.monitor = None
            if not isinstance(error, ProcessLookupError):
                self.warnings.append('not sampled: %s' % (error,))

        if self.monitor is not None:
            for stream in self._streams:
                stream.on_data = self._peek

    def _peek(self):
        # type: () -> None
        """Border: look at the peak of a short script when it writes, which most do just before they end: the samples may all
        have come too early."""
        now = time.monotonic()
        if now - self.started > _PEEK_WITHIN:
            for stream in self._streams:
                stream.on_data = None
        elif now >= self._peek_due and self.monitor is not None:
            self._peek_due = now + _PEEK_EVERY
            try:
                self.monitor.look_at_peak()
            except Exception:
                pass

    _peek_due = 0.0

    def _set_limits(self):
        # type: () -> None
        if not self.plan.limits:
            return
        try:
            sampler = choose_sampler()(self.pid, adopter=self._adopter, from_birth=True, ignored=self._ignored)
        except ProcessLookupError:                # it has ended already
            return
        except Exception as error:                # border: as for the monitor
            self.warnings.append('limits are not watched: %s' % (error,))
            return
        self._warden = _Warden(self.plan.limits, sampler, self._group, lambda: sum(tail.size for tail in self.tails),
                               self.warnings)

    def _note_end(self, when, returncode):
        # type: (float, Optional[int]) -> None
        self.returncode = returncode
        self.ended = when
        if self.monitor is not None:
            self.monitor.stop(when)

    def _carry_output(self, sources, split=None):
        # type: (Sequence[int], Optional[Callable[[bytes], Tuple[bytes, bytes]]]) -> None
        """Begin to carry stdout and stderr from where they are read; a single source is both."""
        self._pump_wake = os.pipe()
        self._streams = [_Stream(*parts) for parts in zip(('stdout', 'stderr'), sources, self._sinks, self.tails)]
        self._streams[0].split = split
        for stream in self._streams:
            try:
                _Pump(stream, self._pump_wake[0], self._notify).start()
            except RuntimeError:                  # no thread is to be had
                self._threadless.append(stream)

    def _carry_here(self):
        # type: () -> None
        """Carry what is there to read of the streams that have no thread; a reader that stands still then delays everything."""
        import select
        for stream in list(self._threadless):
            while select.select([stream.source], [], [], 0)[0]:
                if not stream.carry():
                    stream.end()
                    self._threadless.remove(stream)
                    break
            else:
                if self._resigned:                # nothing more is waited for
                    stream.end()
                    self._threadless.remove(stream)

    def _finish(self):
        # type: () -> None
        if self.monitor is not None:
            self.monitor.stop(self.ended)
        if self._warden is not None:
            self._warden.close()
        for descriptor in self._pump_wake:
            if descriptor >= 0 and self._output_is_through():
                os.close(descriptor)
        self._pump_wake = (-1, -1)
        if self._hang_folder is not None:              # only now: while a process lives it may still look for its request
            import shutil
            shutil.rmtree(self._hang_folder, ignore_errors=True)

    # -- the steps in which the forms differ ----------------------------------------------------------

    _adopter = None  # type: Optional[int]       # whose children belong to the tree too
    _ignored = ()  # type: Sequence[int]          # those of them that do not

    def spawn(self):
        # type: () -> None
        """Start the script."""
        raise NotImplementedError

    def _confirm_start(self):
        # type: () -> None
        """Wait until the script's own program is running; raises LaunchError."""

    def _next_event(self, patience):
        # type: (Optional[float]) -> None
        """Wait for the next event, at most `patience` seconds, and attend to it."""
        raise NotImplementedError

    def _notify(self):
        # type: () -> None
        """Make `_next_event` return soon; from any thread."""
        raise NotImplementedError

    def _tree(self):
        # type: () -> List[Tuple[int, int]]
        """Return (pid, start) of all that belongs to the script and is alive."""
        raise NotImplementedError

    def _anything_left(self):
        # type: () -> bool
        """Tell whether a process of the script is left, after the script itself has ended."""
        raise NotImplementedError


def status_of(cause, returncode):
    # type: (str, Optional[int]) -> str
    """Return the status of a run that ended.

    >>> [status_of(*end) for end in (('exit', 0), ('exit', 3), ('signal', -11), ('signal', -9), ('timeout', 0))]
    ['success', 'failed', 'failed', 'killed', 'timeout']
    """
    if cause in ('timeout', 'idle_timeout'):
        return 'timeout'
    if cause == 'signal':
        return 'killed' if returncode is not None and -returncode in _FOREIGN_SIGNALS else 'failed'
    if cause == 'exit':
        return 'success' if returncode == 0 else 'failed'
    return 'failed' if cause == 'launch_error' else 'killed'


def _launch_error(plan, number):
    # type: (LaunchPlan, int) -> LaunchError
    """Say why the kernel would not start a program (errno of execve(2) or chdir(2))."""
    name = plan.executable or plan.argv[0]
    if plan.cwd and not os.path.isdir(plan.cwd):
        return LaunchError('%s: no such folder to run in' % plan.cwd, 126)
    if number == errno.ENOENT:
        if os.path.exists(name):
            return LaunchError('%s: its interpreter does not exist (look at its first line)' % name, 127)
        return LaunchError('%s: no such program' % name, 127)
    if number == errno.ENOEXEC:
        return LaunchError('%s: not a program; a script needs a first line such as #!/bin/sh' % name, 126)
    return LaunchError('%s: cannot be run: %s' % (name, os.strerror(number)), 126)


class _GuestAttempt(Attempt):
    """An attempt inside somebody's process: a waiter thread reports the end, the caller's thread keeps the deadlines."""
    _leftover_look = 0.02

    def __init__(self, plan, sinks=(None, None)):
        # type: (LaunchPlan, Tuple[Any, Any]) -> None
        super(_GuestAttempt, self).__init__(plan, sinks)
        self._bell = allocate_lock()
        self._bell.acquire()
        self._popen = None  # type: Any
        self._start = None  # type: Optional[int]

    def spawn(self):
        # type: () -> None
        """Start the script; raises LaunchError. subprocess does it, which is safe in a process with threads."""
        import subprocess
        plan = self.plan
        out = _make_pipe()
        try:
            err = _make_pipe()
        except OSError:
            for descriptor in out:
                os.close(descriptor)
            raise
        self.floor_kib = _own_peak_kib()
        self.started_wall, self.started = time.time(), time.monotonic()
        try:
            self._popen = subprocess.Popen(plan.argv, executable=plan.executable, env=plan.env, cwd=plan.cwd,
                                           stdout=out[1], stderr=err[1])
        except OSError as error:
            os.close(out[0])
            os.close(err[0])
            raise _launch_error(plan, error.errno or errno.ENOENT)
        finally:
            os.close(out[1])
            os.close(err[1])
        self.pid = self._popen.pid
        self._start = process_start(self.pid) if _LINUX else None
        self._carry_output((out[0], err[0]))
        try:
            start_new_thread(self._await_end, ())
        except RuntimeError:                       # no thread is to be had: `_next_event` asks
            self._is_waited_for = False

    def _await_end(self):
        # type: () -> None
        """Border of the thread: wait for the one child that is ours, read its last figures, reap it."""
        code, when = None, None  # type: Optional[int], Optional[float]
        try:
            if _LINUX:
                _peek_ended(_P_PID, self.pid, _WEXITED)
                when, io = time.monotonic(), _read_io('/proc/%d/io' % self.pid)
            else:
                io = (None, None)
            code, rusage = self._reap_script()
            if rusage is not None:
                self.usage = Usage()
                self.usage.add(rusage, io)
        except Exception as error:
            self.warnings.append('exit status unknown: waiting for pid %d failed (%s)' % (self.pid, error))
        self._popen.returncode = 0 if code is None else code        # subprocess must not wait for it again
        self._waited = (when or time.monotonic(), code)
        self._notify()

    _is_waited_for = True

    def _ask_for_end(self):
        # type: () -> None
        """Look whether the script has ended, where no thread waits for it."""
        time.sleep(0.005)
        if not _LINUX:
            if self._popen.poll() is not None:
                self._waited = (time.monotonic(), self._popen.returncode)
        elif _peek_ended(_P_PID, self.pid, _WEXITED | _WNOHANG) is not None:
            self._await_end()

    def _reap_script(self):
        # type: () -> Tuple[int, Any]
        """Wait for the script; returns (return code, rusage, None where the platform has no wait4 or no module resource)."""
        if not hasattr(os, 'wait4'):
            return self._popen.wait(), None
        try:
            import resource  # noqa: F401 - os.wait4 needs it, and has reaped the child when it finds it missing
        except ImportError:
            return _return_code(os.waitpid(self.pid, 0)[1]), None
        _, status, rusage = os.wait4(self.pid, 0)
        return _return_code(status), rusage

    _waited = None  # type: Optional[Tuple[float, Optional[int]]]

    def _next_event(self, patience):
        # type: (Optional[float]) -> None
        # Python misses a Ctrl-C that comes just before the wait begins: at most a second is waited at a time.
        if self._is_waited_for:
            self._bell.acquire(True, 1.0 if patience is None else min(patience, 1.0))
        elif self._waited is None:
            self._ask_for_end()
        if self._waited is not None and self.ended is None:
            self._note_end(*self._waited)

    def _notify(self):
        # type: () -> None
        try:
            self._bell.release()
        except RuntimeError:                     # it rings already
            pass

    def _interrupted_in_process(self):
        # type: () -> None
        """Ctrl-C came to the user's main thread: the terminal told the script too; end the rest, then let it rise."""
        number = getattr(sys.exc_info()[1], 'number', _SIGINT)        # of the command line: TERM and HUP rise as well
        if number == _SIGINT and hasattr(os, 'getpgrp') and _foreground_group() == os.getpgrp():
            self._told_group = os.getpgrp()
        sender = 'KeyboardInterrupt' if number == _SIGINT else signal_name(number)
        while True:
            try:
                self._end_tree('interrupted', number, sender)
                self._attend_events()
                break
            except KeyboardInterrupt:                # again: no more grace, but nothing is left behind
                number, sender = _SIGKILL, 'KeyboardInterrupt'
        raise

    _told_group = None  # type: Optional[int]       # the processes that the terminal has told of a Ctrl-C

    def _tell(self, processes, number):
        # type: (Sequence[Tuple[int, int]], int) -> None
        """A second Ctrl-C would break off what a script does at the first."""
        if number == _SIGINT and self._told_group is not None:
            processes = [process for process in processes if not _is_in_group(process[0], self._told_group)]
        super(_GuestAttempt, self)._tell(processes, number)

    def _tree(self):
        # type: () -> List[Tuple[int, int]]
        found = self.monitor.processes() if self.monitor is not None else []
        if _LINUX:
            if self.ended is None and self._start is not None:
                found = [(self.pid, self._start)] + _walk_tree(self.pid) + found
            found = found + _find_marked(self.plan.correlation_id) + self._killed       # a dying one has lost its environment
            return [process for process in _unique(found) if _is_alive(*process)]
        return _unique(found or ([(self.pid, 0)] if self.ended is None else []))

    def _anything_left(self):
        # type: () -> bool
        return not (self.plan.detach_ok and self._ending is None) and bool(self._tree())


def _foreground_group():
    # type: () -> Optional[int]
    """Return the process group to which the terminal sends what Ctrl-C makes, None without a terminal."""
    try:
        descriptor = os.open('/dev/tty', os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None
    try:
        return os.tcgetpgrp(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _is_in_group(pid, group):
    # type: (int, int) -> bool
    try:
        return os.getpgid(pid) == group
    except OSError:
        return False


def _unique(items):
    # type: (Iterable[Any]) -> List[Any]
    seen = set()  # type: set
    return [item for item in items if not (item in seen or seen.add(item))]  # type: ignore[func-returns-value]


def _own_peak_kib():
    # type: () -> int
    """Return our own high-water mark: what a child's ru_maxrss shows at least, since fork and vfork copy it."""
    value = _status_field(os.getpid(), b'VmHWM') if _LINUX else None
    return int(value.split()[0]) if value else 0


class _Inbox(object):
    """Signals of this process as a queue, with their senders: they are blocked, and fetched by sigtimedwait(2)."""

    def __init__(self, wanted):
        # type: (Iterable[int]) -> None
        # Asked of the kernel: PyPy's getsignal does not know what was there before it.
        ignored = int(_status_field(os.getpid(), b'SigIgn') or b'0', 16)
        if ignored & 1 << _signal.SIGCHLD - 1:                 # else the kernel would reap the script behind our back
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
            self.child_ignored = True
        else:
            self.child_ignored = False
        # What was ignored when we started (nohup) stays ignored, for us and for the script.
        self.signals = set(number for number in wanted if number == _signal.SIGCHLD or not ignored & 1 << number - 1)
        self.before = _signal.pthread_sigmask(_signal.SIG_BLOCK, self.signals)

    @staticmethod
    def is_possible():
        # type: () -> bool
        """Tell whether this platform has sigtimedwait."""
        return _LINUX and hasattr(_signal, 'pthread_sigmask') and (
            hasattr(_signal, 'sigtimedwait') or sys.implementation.name == 'pypy')

    def fetch(self, patience):
        # type: (Optional[float]) -> Optional[Tuple[int, int, int]]
        """Return (signal, si_code, sender's pid) of the next one; None when `patience` seconds passed without any."""
        if not hasattr(_signal, 'sigtimedwait'):
            return self._fetch_by_libc(patience)
        try:
            info = _signal.sigtimedwait(self.signals, 3600.0 if patience is None else patience)
        except InterruptedError:
            return None
        return (info.si_signo, info.si_code, info.si_pid) if info else None

    def _fetch_by_libc(self, patience):
        # type: (Optional[float]) -> Optional[Tuple[int, int, int]]
        """PyPy: signal sets are 1024 bits, siginfo 128 bytes, timespec two longs (sigtimedwait(2), 64 bit)."""
        import ctypes
        import struct
        mask = sum(1 << (number - 1) for number in self.signals)
        seconds = min(3600.0, 3600.0 if patience is None else patience)
        info = ctypes.create_string_buffer(128)
        limit = struct.pack('qq', int(seconds), int(seconds % 1 * 1e9))
        try:
            number = _libc('sigtimedwait', mask.to_bytes(128, 'little'), info, limit)
        except OSError:
            return None
        return number, struct.unpack_from('i', info.raw, 8)[0], struct.unpack_from('i', info.raw, 16)[0]


#: Those of descriptors 0 to 2 that were closed when the program started; the script gets them closed too.
_CLOSED_STREAMS = set()  # type: set

_SI_KERNEL = 0x80        # asm-generic/siginfo.h: the kernel sent it; for INT, QUIT and TSTP that means the terminal


def _has_controlling_terminal():
    # type: () -> bool
    try:
        os.close(os.open('/dev/tty', os.O_RDWR | os.O_NOCTTY))
        return True
    except OSError:
        return False


def _die_with_parent():
    # type: () -> None
    """Child side of a fork: ask for SIGKILL when the parent dies (prctl(2), PR_SET_PDEATHSIG); exec keeps that."""
    try:
        _libc('prctl', 1, _SIGKILL, 0, 0, 0)
    except (OSError, ImportError, AttributeError):
        pass                             # without it a script outlives a runner that is killed, as it would a shell


class _OwnAttempt(Attempt):
    """An attempt of the command-line program on Linux: the whole process serves it."""

    def __init__(self, plan, sinks=(1, 2)):
        # type: (LaunchPlan, Tuple[Any, Any]) -> None
        super(_OwnAttempt, self).__init__(plan, sinks)
        self._adopter = os.getpid()
        self._terminal = _Terminal.plan()
        self._leader = None  # type: Optional[_SessionLeader]
        wanted = _ENDING_SIGNALS + _PASSED_SIGNALS + (_signal.SIGCHLD, _signal.SIGCONT)
        if self._terminal is not None:
            wanted += self._terminal.signals
        self._inbox = _Inbox(wanted)
        self._report = -1
        self._childless = False
        self._escalated = 0
        self._start = 0

    @property
    def keyboard(self):
        # type: () -> int
        """The script's terminal where it has one of its own, else ours."""
        return self._terminal.keyboard if self._terminal is not None else 2

    def spawn(self):
        # type: () -> None
        """Fork and exec with nothing loaded that the script does not need; whether exec worked is asked later."""
        if self._terminal is not None:
            sources, targets = self._terminal.open()
            self.is_one_stream = self._terminal.is_shared
        else:
            out, err = _make_pipe(), _make_pipe()
            sources, targets = [out[0], err[0]], (None, out[1], err[1])
        _load_libc()
        if self.plan.limits is not None and self.plan.limits.memory is not None:
            self._group = _MemoryGroup.make(self.plan.limits.memory)
            self._group_limit = format_mib(self.plan.limits.memory / _MIB)
        self._own_group = self._terminal is None and not _has_controlling_terminal()
        self._report, report = os.pipe()
        self.floor_kib = int(_read_file('/proc/self/statm').split()[1]) * int(_PAGE_MIB * 1024)
        self.started_wall, self.started = time.time(), time.monotonic()
        try:
            if self._terminal is not None and self._terminal.is_full:
                self._leader = _SessionLeader(targets[1], [report] + [d for d in targets if d is not None],
                                              lambda: self._become_script(targets, report))
                self.pid = self._leader.script
                self._ignored = (self._leader.pid,)
            else:
                self.pid = os.fork()
                if self.pid == 0:
                    self._become_script(targets, report)
        except OSError as error:
            self._finish()
            raise _launch_error(self.plan, error.errno or errno.EAGAIN)
        os.close(report)
        for descriptor in set(targets):
            if descriptor is not None:
                os.close(descriptor)
        self._carry_output(sources, self._terminal.split if self._terminal is not None and self._terminal.is_full else None)

    def _become_script(self, targets, report):
        # type: (Sequence[Optional[int]], int) -> None
        """Child side of the fork: never returns."""
        try:
            if not self.plan.detach_ok:
                _die_with_parent()
            if self._group is not None:
                self._group.join()
            if self._own_group:          # a signal to our group comes to us, who pass it on: the script hears it once
                os.setpgid(0, 0)
            for number, descriptor in enumerate(targets):
                if descriptor is not None:
                    os.dup2(descriptor, number)
            for number in _CLOSED_STREAMS:
                os.close(number)
            for number in (_signal.SIGPIPE, _signal.SIGXFSZ):      # Python ignores them; the script starts as from a shell
                _signal.signal(number, _signal.SIG_DFL)
            if self._inbox.child_ignored:
                _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
            if self.plan.cwd:
                os.chdir(self.plan.cwd)
            _signal.pthread_sigmask(_signal.SIG_SETMASK, self._inbox.before)
            os.execve(self.plan.executable, self.plan.argv, self.plan.env)
        except OSError as error:
            os.write(report, b'%d' % (error.errno or errno.EINVAL))
        except BaseException:
            os.write(report, b'%d' % errno.EINVAL)
        finally:
            os._exit(127)

    def _confirm_start(self):
        # type: () -> None
        try:
            _libc('prctl', 36, 1, 0, 0, 0)      # PR_SET_CHILD_SUBREAPER: orphans of the script come to us
        except (OSError, ImportError, AttributeError) as error:
            self.warnings.append('orphans of the script are not adopted (prctl: %s)' % error)
        failure = os.read(self._report, 16)
        os.close(self._report)
        if failure:
            if self._leader is None:
                os.waitpid(self.pid, 0)
            self.ended = time.monotonic()
            self._release_group()
            raise _launch_error(self.plan, int(failure))
        self._start = process_start(self.pid) or 0
        import resource  # noqa: F401 - wait4 needs it: loaded now, while the script runs, not after its end
        if self._terminal is not None:
            self._terminal.begin(self._notify)

    def _next_event(self, patience):
        # type: (Optional[float]) -> None
        event = self._inbox.fetch(patience)
        if self._terminal is not None:
            for _ in range(self._terminal.take_ctrl_c()):
                self._attend_ctrl_c()
        if event is None:
            return
        number, code, sender = event
        if number == _signal.SIGCHLD:
            self._reap(time.monotonic())
        elif code == _SI_KERNEL and self._terminal is not None and self._terminal.press_key_of(number):
            return                               # the real terminal told us and not the script, which has one of its own
        elif number == _SIGINT and (code == _SI_KERNEL or self._ending is not None):
            self._attend_ctrl_c()
        elif number in _ENDING_SIGNALS:
            if self._ending is None or self.ended is not None:
                origin = 'the terminal' if code == _SI_KERNEL else 'pid %d' % sender
                self._end_tree('interrupted', number, '%s from %s' % (signal_name(number), origin))
        elif self._terminal is not None and number in self._terminal.signals:
            self._terminal.attend_signal(number, self._tell_script)
        else:
            if number == _signal.SIGCONT and self._terminal is not None:
                self._terminal.resume()
            if code != _SI_KERNEL:               # what the terminal sent, the script got as well
                self._tell_script(number)

    def _attend_ctrl_c(self):
        # type: () -> None
        """First Ctrl-C: the terminal told the script, we wait. Second within two seconds: TERM; third: KILL."""
        now = time.monotonic()
        again = self._interrupted_at is not None and now - self._interrupted_at <= _ESCALATE_WITHIN
        self._interrupted_at = now
        if again or self._ending is not None or self.ended is not None:     # of a script that is gone: its leftovers
            self._escalated += 1
            self._end_tree('interrupted', _SIGTERM if self._escalated == 1 else _SIGKILL, 'Ctrl-C, twice')

    def _tell_script(self, number):
        # type: (int) -> None
        if self.ended is None:
            send_signal(self.pid, self._start, number)

    def _reap(self, now):
        # type: (float) -> None
        """Collect every child that ended: the script, and the orphans that came to us."""
        while True:
            try:
                pid = _peek_ended(_P_ALL, 0, _WEXITED | _WNOHANG)
            except ChildProcessError:
                self._childless = True
                break
            if pid is None:
                break
            io = _read_io('/proc/%d/io' % pid)
            _, status, rusage = os.wait4(pid, 0)
            if pid == self.pid:
                self._note_usage(rusage, io)
                self._note_end(now, _return_code(status))
            elif self._leader is None or pid != self._leader.pid:
                self._note_usage(rusage, io)
                self.quiet = now
        if self._leader is not None and self.ended is None:
            self._hear_leader(self._leader)

    def _hear_leader(self, leader):
        # type: (_SessionLeader) -> None
        """Attend to what the session leader tells: the script ended, or was stopped."""
        news = leader.hear()
        if news is None:
            return
        if news == 'stopped':
            if self.live is not None:
                self.live.pause()
            self._terminal.suspend(self.pid)  # type: ignore[union-attr]
            if self.live is not None:
                self.live.resume()
            return
        io = _read_io('/proc/%d/io' % self.pid)          # it is a zombie until we say so
        status, rusage = leader.collect()
        self._note_usage(rusage, io)
        self._note_end(float(news), _return_code(status))

    def _note_usage(self, rusage, io):
        # type: (Any, Tuple[Optional[float], Optional[float]]) -> None
        if self.usage is None:
            self.usage = Usage()
        self.usage.add(rusage, io)

    def _notify(self):
        # type: () -> None
        os.kill(os.getpid(), _signal.SIGCHLD)

    def _tree(self):
        # type: () -> List[Tuple[int, int]]
        return [process for process in _walk_tree(os.getpid()) if process[0] not in self._ignored]

    def _anything_left(self):
        # type: () -> bool
        if not self._childless:
            self._reap(time.monotonic())
        if self.plan.detach_ok and self._ending is None:
            return False
        return bool(self._tree()) if self._leader is not None else not self._childless

    def _finish(self):
        # type: () -> None
        if self._terminal is not None:
            self._terminal.close()
        if self._leader is not None:
            self._leader.dismiss()
        super(_OwnAttempt, self)._finish()
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._inbox.before)


def _return_code(status):
    # type: (int) -> int
    """Return what subprocess calls the return code: the exit status, or minus the signal (wait(2))."""
    return -(status & 127) if status & 127 else status >> 8


class _SessionLeader(object):
    """A process between us and the script when the script has a terminal of its own, as a shell would be there.

    It leads the session, so the script can be stopped by Ctrl-Z (the kernel does not stop a group whose parents are all in
    other sessions), and the terminal does not hang up when the script ends before its children. It is a fork of us that
    waits: it reports the script's stops and its end, with the time, and what wait4 said.
    """

    def __init__(self, terminal, scripts_own, become_script):
        # type: (int, Sequence[int], Callable[[], None]) -> None
        self._news, news = os.pipe()
        orders, self._orders = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _die_with_parent()
                os.close(self._orders)
                self._lead(terminal, scripts_own, become_script, news, orders, parent)
            finally:
                os._exit(0)
        os.close(news)
        os.close(orders)
        self._rest = b''
        self.script = int(self._read_line())
        os.set_blocking(self._news, False)

    def hear(self):
        # type: () -> Optional[str]
        """Return 'stopped', or the monotonic time of the script's end; None when there is no news."""
        try:
            return self._read_line()
        except BlockingIOError:
            return None

    def collect(self):
        # type: () -> Tuple[int, Any]
        """Let the leader reap the script; returns (status, rusage)."""
        os.write(self._orders, b'reap\n')
        os.set_blocking(self._news, True)
        words = self._read_line().split()
        names = _Rusage.__slots__
        return int(words[0]), _Rusage(*[float(w) if n.endswith('time') else int(w) for n, w in zip(names, words[1:])])

    def dismiss(self):
        # type: () -> None
        """Let it go; its session ends with it."""
        for descriptor in (self._orders, self._news):
            os.close(descriptor)
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass

    def _read_line(self):
        # type: () -> str
        while b'\n' not in self._rest:
            data = os.read(self._news, 512)
            if not data:
                raise OSError(errno.EAGAIN, 'the session leader is gone')
            self._rest += data
        line, _, self._rest = self._rest.partition(b'\n')
        return line.decode()

    @staticmethod
    def _lead(terminal, scripts_own, become_script, news, orders, parent):
        # type: (int, Sequence[int], Callable[[], None], int, int, int) -> None
        """The leader's own life: start the script in the foreground of the session, tell what becomes of it, wait."""
        import fcntl
        import termios
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGTTOU})      # else tcsetpgrp from the background stops us
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            os.tcsetpgrp(terminal, os.getpid())
            become_script()
        for descriptor in {0, 1, 2}.union(scripts_own):      # held here, the script's output would never end
            os.close(descriptor)
        os.write(news, b'%d\n' % pid)
        while True:
            _peek_ended(_P_PID, pid, _WEXITED | _WSTOPPED)
            now = time.monotonic()
            state = _stat_fields(_read_file('/proc/%d/stat' % pid))[0]
            if state in (b'Z', b'X'):
                break
            if _peek_ended(_P_PID, pid, _WSTOPPED | _WNOHANG, keep=False) is not None:
                os.write(news, b'stopped\n')
                os.kill(parent, _signal.SIGCHLD)
        os.write(news, b'%r\n' % now)
        os.kill(parent, _signal.SIGCHLD)
        if os.read(orders, 16):
            _, status, usage = os.wait4(pid, 0)
            os.write(news, ' '.join([str(status)] + [repr(getattr(usage, n)) for n in _Rusage.__slots__]).encode() + b'\n')
            os.read(orders, 16)                  # until we are dismissed


class _Rusage(object):
    """The fields of getrusage(2) that are used, as they travel from the session leader."""
    __slots__ = ('ru_utime', 'ru_stime', 'ru_maxrss', 'ru_nvcsw', 'ru_nivcsw', 'ru_minflt', 'ru_majflt', 'ru_inblock',
                 'ru_oublock')

    def __init__(self, *values):
        # type: (*Any) -> None
        for name, value in zip(self.__slots__, values):
            setattr(self, name, value)


class _Terminal(object):
    """Give the script a terminal where bare it would have one, as sudo's use_pty does.

    `is_full`: stdin and stdout are terminals and we are in the foreground: the script gets a session on a pseudo-terminal,
    ours is raw, and what is typed goes through as bytes. Otherwise only those of stdout and stderr that are terminals
    are replaced, and the script stays in our session with the real terminal as its stdin.

    `is_shared`: stdout and stderr are the same terminal, so they are the same pseudo-terminal too: what is written to both
    stays in order, and programs that read keys from, or control jobs on, descriptor 2 (less, more, bash) find the real thing.
    What comes from it is counted as stdout; of stderr nothing is known.
    """

    @classmethod
    def plan(cls):
        # type: () -> Optional[_Terminal]
        """Return a terminal to be opened, or None when neither stdout nor stderr is one."""
        for terminal in list(cls._retired):
            terminal._let_go()
        output = os.isatty(1)
        if not output and not os.isatty(2):
            return None
        return cls(output and os.isatty(0) and cls._in_foreground(), output, os.isatty(2))

    def __init__(self, full, output, errors):
        # type: (bool, bool, bool) -> None
        import fcntl
        import termios
        self._fcntl, self._termios = fcntl, termios
        self.is_full = full
        self.is_shared = output and errors and os.fstat(1).st_rdev == os.fstat(2).st_rdev
        self.signals = (_signal.SIGWINCH,) + ((_signal.SIGTSTP,) if full else ())
        self._parts = (output, errors)
        self._masters = []  # type: List[Tuple[int, int]]       # ours, and the descriptor that it stands for
        self._outer = termios.tcgetattr(0) if full else None  # type: Any
        self._is_open = full
        self._is_raw = self._is_carrying = False
        self._held = b''
        self._lock = allocate_lock()
        self._ctrl_c = 0
        self._notify = None  # type: Any

    @staticmethod
    def _in_foreground():
        # type: () -> bool
        """Tell whether the terminal is ours to read and set; False where it controls another session."""
        try:
            return os.tcgetpgrp(0) == os.getpgrp()
        except OSError:
            return False

    def open(self):
        # type: () -> Tuple[List[int], Tuple[Optional[int], int, int]]
        """Return (what we read from: one descriptor or two, the script's descriptors 0 to 2; None: ours)."""
        out = self._open_one(1) if self._parts[0] else _make_pipe()
        if self.is_shared:
            err = out
        else:
            err = self._open_one(2) if self._parts[1] else _make_pipe()
        if self.is_full:
            self._set_raw()
        sources = [out[0]] if self.is_shared else [out[0], err[0]]
        return sources, (out[1] if self.is_full else None, out[1], err[1])

    def _open_one(self, like):
        # type: (int) -> Tuple[int, int]
        """Open a pseudo-terminal set like one of our descriptors."""
        termios = self._termios
        master, slave = os.openpty()
        settings = termios.tcgetattr(like)
        if not self.is_full:
            settings[1] &= ~termios.OPOST         # the real terminal turns LF into CR LF; once is enough
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        self._masters.append((os.dup(master), like))      # the pump closes its own when the stream ends
        self._copy_size(*self._masters[-1])
        return master, slave

    @property
    def keyboard(self):
        # type: () -> int
        """The descriptor whose settings the script makes: of its pseudo-terminal, or where its stdin is ours, of ours."""
        return self._masters[0][0] if self.is_full else 2

    def begin(self, notify):
        # type: (Callable[[], None]) -> None
        """Begin to carry what is typed."""
        self._notify = notify
        if self.is_full:
            self._is_carrying = True
            start_new_thread(self._carry_input, ())

    def close(self):
        # type: () -> None
        """Give the terminal back as it was."""
        with self._lock:
            self._restore()
            self._is_open = False
        self._retired.append(self)

    _retired = []  # type: List[_Terminal]      # closed, but somebody may still ask how it was set

    def _let_go(self):
        # type: () -> None
        """Close our ends, now that another attempt begins, unless the thread that carries what is typed has not gone yet."""
        if not self._is_carrying:
            self._retired.remove(self)
            for master, _ in self._masters:
                os.close(master)

    def split(self, data):
        # type: (bytes) -> Tuple[bytes, bytes]
        """Return (what the script wrote, what is shown) for bytes from the pseudo-terminal; b'' asks for the rest.

        While it puts CR before LF, exactly one CR before each LF is the terminal's, not the script's.
        """
        data, self._held = self._held + data, b''
        t = self._termios
        if self._output_flags() & (t.OPOST | t.ONLCR) != t.OPOST | t.ONLCR:
            return data, data
        if data.endswith(b'\r') and data != b'\r':
            data, self._held = data[:-1], b'\r'
        written = data.replace(b'\r\n', b'\n')
        return written, data if self._is_raw else written

    def _output_flags(self):
        # type: () -> int
        try:
            return self._termios.tcgetattr(self._masters[0][0])[1]
        except self._termios.error:
            return 0

    def _set_raw(self):
        # type: () -> None
        """Let every key through as a byte, and every byte to the screen as it is. In the background: never."""
        if self._is_raw or not self._in_foreground():
            return
        t = self._termios
        settings = list(self._outer)
        settings[0] &= ~(t.BRKINT | t.ICRNL | t.INLCR | t.IGNCR | t.INPCK | t.ISTRIP | t.IXON)
        settings[1] &= ~t.OPOST
        settings[3] &= ~(t.ECHO | t.ECHONL | t.ICANON | t.IEXTEN | t.ISIG)
        settings[6] = list(settings[6])
        settings[6][t.VMIN], settings[6][t.VTIME] = 1, 0
        t.tcsetattr(0, t.TCSADRAIN, settings)
        self._is_raw = True

    def _restore(self):
        # type: () -> None
        if not self._is_raw:
            return
        self._is_raw = False
        try:
            if self._in_foreground():
                self._termios.tcsetattr(0, self._termios.TCSADRAIN, self._outer)
        except self._termios.error:               # the terminal went away
            pass

    def _carry_input(self):
        # type: () -> None
        """Thread: pass on what is typed, counting the Ctrl-C that concern us as well."""
        try:
            self._carry_keys()
        finally:
            self._is_carrying = False

    def _carry_keys(self):
        # type: () -> None
        import select
        while self._is_open:
            try:
                readable = select.select([0], [], [], 0.2)[0]
                if not self._in_foreground():             # in the background reading would stop us
                    time.sleep(0.1)
                    continue
                if not self._is_raw:                      # a shell's fg sends no signal to a job that runs
                    self.resume()
                if not readable:
                    continue
                if not self._is_open:
                    return
                data = os.read(0, 4096)
                if not data:
                    return
                self._count_ctrl_c(data)                  # before the script can have died of it
                _write_all(self._masters[0][0], data)
            except (OSError, ValueError, self._termios.error):
                return

    def _count_ctrl_c(self, data):
        # type: (bytes) -> None
        """Note a Ctrl-C that becomes a signal for the script; an editor of lines (a prompt) takes it as a key."""
        t = self._termios
        settings = t.tcgetattr(self._masters[0][0])
        if settings[3] & t.ISIG and settings[3] & t.ICANON:
            keys = data.count(settings[6][t.VINTR])
            if keys:
                self._ctrl_c += keys
                self._notify()

    def take_ctrl_c(self):
        # type: () -> int
        """Return how often Ctrl-C was typed since the last call."""
        count, self._ctrl_c = self._ctrl_c, 0
        return count

    def press_key_of(self, number):
        # type: (int) -> bool
        """Pass a signal of the real terminal on as the key that made it; False where the script got the signal itself."""
        t = self._termios
        index = {_SIGINT: t.VINTR, _signal.SIGQUIT: t.VQUIT, _signal.SIGTSTP: t.VSUSP}.get(number)
        if not self.is_full or index is None:
            return False
        _write_all(self._masters[0][0], t.tcgetattr(self._masters[0][0])[6][index])
        return True

    def suspend(self, pid):
        # type: (int) -> None
        """The script was stopped: stop ourselves as the terminal would have; returns when somebody continues us."""
        if not self.is_full:
            return
        self._drain()
        with self._lock:
            self._restore()
        unblocked = {_signal.SIGTSTP}
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, unblocked)
        os.kill(0, _signal.SIGTSTP)                       # our whole group stops here
        _signal.pthread_sigmask(_signal.SIG_BLOCK, unblocked)
        self.resume()
        self._signal_foreground(_signal.SIGCONT, pid)

    def _drain(self):
        # type: () -> None
        """Give the pump a moment to show what the script wrote before it stopped."""
        for _ in range(40):
            waiting = self._fcntl.ioctl(self._masters[0][0], self._termios.FIONREAD, b'\0\0\0\0')
            time.sleep(0.005)
            if waiting == b'\0\0\0\0':
                return

    def resume(self):
        # type: () -> None
        """After a continue: take the terminal again if we are in the foreground."""
        if not self.is_full:
            return
        with self._lock:
            if self._is_open and not self._is_raw and self._in_foreground():
                self._outer = self._termios.tcgetattr(0)
                self._set_raw()
        self._copy_sizes()

    def attend_signal(self, number, tell_script):
        # type: (int, Callable[[int], None]) -> None
        """The window's size changed, or somebody asks us to stop."""
        if number != _signal.SIGWINCH:
            self._signal_foreground(number, 0)            # we follow when the script has stopped
        elif self._copy_sizes() and not self.is_full:
            tell_script(number)                           # the kernel told it before its terminal had the new size

    def _signal_foreground(self, number, otherwise):
        # type: (int, int) -> None
        try:
            os.killpg(os.tcgetpgrp(self._masters[0][0]) or otherwise, number)
        except OSError:
            pass

    def _copy_sizes(self):
        # type: () -> bool
        changed = [self._copy_size(master, like) for master, like in self._masters]
        return any(changed)

    def _copy_size(self, master, like):
        # type: (int, int) -> bool
        """Give a pseudo-terminal the size of the real one; tells whether it changed."""
        t, ioctl = self._termios, self._fcntl.ioctl
        try:
            size = ioctl(like, t.TIOCGWINSZ, b'\0' * 8)
            if ioctl(master, t.TIOCGWINSZ, b'\0' * 8) == size:
                return False
            ioctl(master, t.TIOCSWINSZ, size)
            return True
        except OSError:
            return False


# ======================================================================================================
# 6. Retrying
# ======================================================================================================

class RetryStrategy(object):
    """How the delay grows from attempt to attempt; the values are what RetryConfig and --retry-strategy take."""
    EXPONENTIAL = 'exponential'
    LINEAR = 'linear'
    FIBONACCI = 'fibonacci'
    EXPONENTIAL_JITTER = 'exponential_jitter'
    ALL = (EXPONENTIAL, LINEAR, FIBONACCI, EXPONENTIAL_JITTER)


class RetryConfig(object):
    """Whether, and when, a run that failed is tried again. The default is one attempt: nothing is retried unasked.

    Delays are seconds, `max_delay` bounds each, `max_total_time` all attempts and delays together. `retry_on` and `skip_on`
    hold exit codes (ints) and causes (texts of CAUSES); an empty `retry_on` means every failure, `skip_on` is stronger. An
    interruption (Ctrl-C, stop, kill) is never retried, nor is a script that cannot be started. `initial_delay` is another name
    of `base_delay`. Raises UsageError for a value that cannot be.
    """

    def __init__(self, strategy=RetryStrategy.EXPONENTIAL, max_attempts=1, base_delay=1.0, max_delay=60.0, multiplier=2.0,
                 max_total_time=None, retry_on=(), skip_on=(), initial_delay=None):
        # type: (str, int, float, float, float, Optional[float], Sequence[Any], Sequence[Any], Optional[float]) -> None
        if strategy not in RetryStrategy.ALL:
            raise UsageError('retry strategy %r: no such strategy%s; valid: %s' % (
                strategy, suggest(str(strategy), RetryStrategy.ALL), ', '.join(RetryStrategy.ALL)))
        if not isinstance(max_attempts, int) or max_attempts < 1:
            raise UsageError('max_attempts %r: must be a whole number of at least 1' % (max_attempts,))
        self.strategy = strategy
        self.max_attempts = max_attempts
        self.base_delay = _not_negative('base_delay', base_delay if initial_delay is None else initial_delay)
        self.max_delay = _not_negative('max_delay', max_delay)
        self.multiplier = _not_negative('multiplier', multiplier)
        self.max_total_time = None if max_total_time is None else _not_negative('max_total_time', max_total_time)
        self.retry_on = _check_reasons('retry_on ', retry_on)
        self.skip_on = _check_reasons('skip_on ', skip_on)

    def get_delay(self, attempt):
        # type: (int) -> float
        """Return the seconds to wait after attempt number `attempt` (from 1) failed.

        exponential: base_delay * multiplier ** (attempt - 1); linear: base_delay * attempt; fibonacci: base_delay times
        1, 1, 2, 3, 5, …; exponential_jitter: a random time between 0 and the exponential one ("full jitter": Brooker, 2015).

        >>> [RetryConfig('fibonacci').get_delay(n) for n in (1, 2, 3, 4, 5)]
        [1.0, 1.0, 2.0, 3.0, 5.0]
        """
        if self.strategy == RetryStrategy.LINEAR:
            delay = self.base_delay * attempt
        elif self.strategy == RetryStrategy.FIBONACCI:
            a, b = 1, 1
            for _ in range(min(attempt, 1000) - 1):
                a, b = b, a + b
            delay = self.base_delay * a
        else:
            try:
                delay = self.base_delay * self.multiplier ** (attempt - 1)
            except OverflowError:
                delay = self.max_delay
        delay = min(delay, self.max_delay)
        if self.strategy == RetryStrategy.EXPONENTIAL_JITTER:
            delay *= int.from_bytes(os.urandom(6), 'big') / float(1 << 48)
        return delay

    def should_retry(self, result, attempt, elapsed=0.0):
        # type: (Dict[str, Any], int, float) -> bool
        """Judge whether a result (status, cause, returncode) of attempt number `attempt` is tried again.

        `elapsed` is seconds since the first attempt began; the shortest next delay must fit into max_total_time.

        >>> RetryConfig(max_attempts=2, retry_on=[75]).should_retry({'status': 'failed', 'cause': 'exit', 'returncode': 75}, 1)
        True
        """
        reasons = (result['cause'], result['returncode'])
        if result['status'] == 'success' or attempt >= self.max_attempts or result['cause'] in ('interrupted', 'launch_error'):
            return False
        if any(reason in self.skip_on for reason in reasons):
            return False
        if self.retry_on and not any(reason in self.retry_on for reason in reasons):
            return False
        return self.max_total_time is None or elapsed < self.max_total_time


def _not_negative(name, value):
    # type: (str, Any) -> float
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float('inf'):
        raise UsageError('%s %r: must be a number of at least 0' % (name, value))
    return float(value)


def _check_reasons(name, reasons):
    # type: (str, Sequence[Any]) -> Tuple[Any, ...]
    if isinstance(reasons, (str, int)):
        raise UsageError('%s%r: must be a list of exit codes and causes' % (name, reasons))
    for reason in reasons:
        if isinstance(reason, int):
            if not -64 <= reason <= 255:
                raise UsageError('%s%r: not an exit code; valid: 0 to 255, or minus a signal' % (name, reason))
        elif reason not in CAUSES:
            raise UsageError('%s%r: neither an exit code nor a cause%s; causes: %s' % (
                name, reason, suggest(str(reason), CAUSES), ', '.join(CAUSES)))
    return tuple(reasons)


def parse_reasons(text):
    # type: (str) -> Tuple[Any, ...]
    """Read exit codes and causes separated by commas, as for --retry-on. Raises UsageError.

    >>> parse_reasons('75,timeout')
    (75, 'timeout')
    """
    words = [word.strip() for word in text.split(',')]
    return _check_reasons('', [int(word) if word[word.startswith('-'):].isdecimal() else word for word in words])


# ======================================================================================================
# 7. Remembering
# ======================================================================================================

_APPLICATION_ID = 0x53524E38           # 'SRN8', in the header of every file of ours (sqlite.org/fileformat.html, 1.3)
_TAIL_BYTES = 16384                    # of each stream, kept with the run
_WAIT_AT_END = 2.0                     # seconds that a run waits for its own last write; then the record is spooled
_LOST_AFTER = 86400.0                  # seconds without a write after which an unprovable running row is lost
_CHECKPOINT_BYTES = 1048576            # a write-ahead log beyond this is folded in while the next script runs

# Each entry brings a file from the version before to its own. The tables are compact, since most of a row repeats: who
# ran where is one `context`, a metric is a column. The views below show them under the names that are promised.
_MIGRATIONS = (
    """
CREATE TABLE script (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE
);
CREATE TABLE context (
    id INTEGER PRIMARY KEY,
    hostname TEXT, username TEXT, platform TEXT, python_version TEXT,
    git_commit TEXT, git_branch TEXT, working_dir TEXT
);
CREATE INDEX context_lookup ON context (git_commit, working_dir, hostname);
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    script_id INTEGER NOT NULL REFERENCES script (id),
    context_id INTEGER NOT NULL REFERENCES context (id),
    correlation BLOB NOT NULL,
    status TEXT NOT NULL,
    cause TEXT, evidence TEXT, pid INTEGER, runner TEXT,
    script_args TEXT, labels TEXT, warnings TEXT, error_summary TEXT, stdout_tail TEXT, stderr_tail TEXT,
    start_time INTEGER NOT NULL, end_time INTEGER, execution_time_seconds REAL,
    user_time REAL, system_time REAL, cpu_max REAL, cpu_avg REAL, cpu_min REAL,
    memory_max_mb REAL, memory_avg_mb REAL, memory_min_mb REAL,
    context_switches INTEGER, page_faults INTEGER, block_io_operations INTEGER, io_read_mb REAL, io_write_mb REAL,
    num_threads INTEGER, num_fds INTEGER, num_processes INTEGER,
    stdout_lines INTEGER, stderr_lines INTEGER, stdout_bytes INTEGER, stderr_bytes INTEGER,
    exit_code INTEGER, attempt_number INTEGER NOT NULL, timed_out INTEGER,
    monitor_samples INTEGER, monitor_max_gap_seconds REAL, monitor_cpu_seconds REAL
);
CREATE INDEX run_by_script ON run (script_id, start_time);
CREATE INDEX run_by_time ON run (start_time);
CREATE UNIQUE INDEX run_identity ON run (correlation, attempt_number);
CREATE INDEX run_unfinished ON run (id) WHERE status = 'running';
CREATE TABLE custom_metric (
    run_id INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (run_id, name)
) WITHOUT ROWID;
CREATE TABLE samples (
    execution_id INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    elapsed_seconds REAL NOT NULL,
    cpu_percent REAL, memory_mb REAL, num_threads INTEGER, num_fds INTEGER, num_processes INTEGER,
    io_read_mb REAL, io_write_mb REAL,
    PRIMARY KEY (execution_id, elapsed_seconds)
) WITHOUT ROWID;
""",
    """
CREATE TABLE artefacts (
    execution_id INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (execution_id, name)
) WITHOUT ROWID;
""",
    """
CREATE TABLE baseline (
    script_id INTEGER PRIMARY KEY REFERENCES script (id) ON DELETE CASCADE,
    execution_id INTEGER NOT NULL,
    set_time INTEGER NOT NULL,
    metrics TEXT NOT NULL
);
""",
    """
ALTER TABLE run ADD COLUMN error_kind TEXT;
ALTER TABLE run ADD COLUMN error_fingerprint TEXT;
ALTER TABLE run ADD COLUMN error_frame TEXT;
ALTER TABLE run ADD COLUMN error_cause TEXT;
CREATE INDEX run_by_error ON run (error_fingerprint, start_time) WHERE error_fingerprint IS NOT NULL;
""",
    """
CREATE TABLE judgement (
    execution_id INTEGER PRIMARY KEY REFERENCES run (id) ON DELETE CASCADE,
    verdict TEXT NOT NULL,
    judged_with INTEGER,
    gates TEXT NOT NULL
);
""",
    """
CREATE TABLE alerts (
    id INTEGER PRIMARY KEY,
    execution_id INTEGER REFERENCES run (id) ON DELETE CASCADE,
    alert_time TEXT NOT NULL,
    script_path TEXT NOT NULL, name TEXT NOT NULL, severity TEXT NOT NULL, state TEXT NOT NULL,
    condition TEXT, explanation TEXT, fingerprint TEXT,
    delivery TEXT NOT NULL, reason TEXT, channels TEXT, message_id TEXT
);
CREATE INDEX alerts_by_run ON alerts (execution_id);
CREATE INDEX alerts_for_digest ON alerts (name, alert_time) WHERE delivery = 'digest';
CREATE TABLE alert_state (
    script_path TEXT NOT NULL, rule TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (script_path, rule)
) WITHOUT ROWID;
CREATE TABLE alert_silence (
    rule TEXT PRIMARY KEY,
    start_time INTEGER NOT NULL, end_time INTEGER NOT NULL, reason TEXT
) WITHOUT ROWID;
CREATE TABLE notifications (
    message_id TEXT NOT NULL, channel TEXT NOT NULL,
    state TEXT NOT NULL, content TEXT NOT NULL,
    created_time INTEGER NOT NULL, next_time INTEGER NOT NULL, sent_time INTEGER,
    tries INTEGER NOT NULL, error TEXT, holder TEXT, lease_time INTEGER NOT NULL,
    PRIMARY KEY (message_id, channel)
) WITHOUT ROWID;
CREATE INDEX notifications_waiting ON notifications (next_time) WHERE state = 'waiting';
""",
    # `change` says in which order things came to be, for whoever follows live: writers take turns, so a greater revision
    # was committed later. It is a log of bounded length. `identity` tells this file from any that takes its place.
    # The indexes hold what lists and overviews ask for, so that these need not read the rows, which carry output.
    """
ALTER TABLE run ADD COLUMN limits TEXT;
DROP INDEX run_by_script;
DROP INDEX run_by_time;
CREATE INDEX run_by_script ON run (script_id, start_time, status, execution_time_seconds);
CREATE INDEX run_by_time ON run (start_time, status);
CREATE TABLE identity (value BLOB NOT NULL);
INSERT INTO identity VALUES (randomblob(8));
CREATE TABLE change (
    revision INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    execution_id INTEGER NOT NULL,
    after REAL, until REAL
);
CREATE TRIGGER run_begun AFTER INSERT ON run BEGIN
    INSERT INTO change (kind, execution_id) VALUES ('new', NEW.id); END;
CREATE TRIGGER run_stored AFTER INSERT ON run WHEN NEW.status <> 'running' BEGIN
    INSERT INTO change (kind, execution_id) VALUES ('ended', NEW.id); END;
CREATE TRIGGER run_updated AFTER UPDATE ON run BEGIN
    INSERT INTO change (kind, execution_id)
    VALUES (CASE WHEN OLD.status = 'running' AND NEW.status <> 'running' THEN 'ended' ELSE 'changed' END, NEW.id); END;
CREATE TRIGGER change_bounded AFTER INSERT ON change WHEN NEW.revision % 1000 = 0 BEGIN
    DELETE FROM change WHERE revision <= NEW.revision - 20000; END;
""",
)
_SCHEMA_VERSION = len(_MIGRATIONS)

_SQL_GOOD = " AND status = 'success' AND run.id NOT IN (SELECT execution_id FROM judgement WHERE verdict = 'fail')"
_SQL_TIME = "strftime('%%Y-%%m-%%dT%%H:%%M:%%S', %s / 1000000, 'unixepoch') || printf('.%%06d+00:00', %s %% 1000000)"


def _sql_time(column):
    # type: (str) -> str
    return _SQL_TIME % (column, column)


def _metric_expression(metric):
    # type: (Metric) -> str
    """Return the SQL that reads a metric from table run."""
    if metric.unit == 'UTC':
        return 'CASE WHEN %s IS NOT NULL THEN %s END' % (metric.name, _sql_time(metric.name))
    if metric.name == 'success':
        return "CASE WHEN status <> 'running' THEN status = 'success' END"
    return metric.name


def _statements(script):
    # type: (str) -> List[str]
    """Cut SQL into statements; that of a trigger ends with its END."""
    found, part = [], ''
    for line in script.split('\n'):
        part += line + '\n'
        if line.endswith(';') and ('CREATE TRIGGER' not in part or line.endswith('END;')):
            found.append(part)
            part = ''
    return found


def _view_statements():
    # type: () -> List[str]
    """Return the views over the compact tables: `executions` and `metrics`, as promised to any SQLite tool."""
    correlation = ("CASE typeof(correlation) WHEN 'blob' THEN lower(substr(hex(correlation), 1, 8) || '-' || "
                   "substr(hex(correlation), 9, 4) || '-' || substr(hex(correlation), 13, 4) || '-' || "
                   "substr(hex(correlation), 17, 4) || '-' || substr(hex(correlation), 21)) ELSE correlation END")
    executions = (
        "CREATE VIEW executions AS SELECT run.id AS id, script.path AS script_path, "
        "coalesce(script_args, '[]') AS script_args, %s AS start_time, %s AS end_time, execution_time_seconds, exit_code, "
        "%s AS success, status, cause, attempt_number, %s AS correlation_id, hostname, username, pid, git_commit, "
        "git_branch, python_version, platform, coalesce(labels, '{}') AS labels, stdout_tail, stderr_tail, evidence, "
        "error_summary, error_kind, error_fingerprint, error_frame, error_cause, coalesce(warnings, '[]') AS warnings, "
        "working_dir, timed_out, coalesce(limits, '{}') AS limits "
        "FROM run JOIN script ON script.id = script_id JOIN context ON context.id = context_id"
        % (_metric_expression(METRICS['start_time']), _metric_expression(METRICS['end_time']),
           _metric_expression(METRICS['success']), correlation))
    branches = ["SELECT id AS execution_id, '%s' AS metric_name, %s AS metric_value FROM run WHERE %s IS NOT NULL"
                % (m.name, _metric_expression(m), _metric_expression(m)) for m in METRICS.values()]
    branches.append('SELECT run_id, name, value FROM custom_metric')
    return [executions, 'CREATE VIEW metrics AS ' + ' UNION ALL '.join(branches)]


def default_history_path():
    # type: () -> str
    """Return where history is kept: SCRIPT_RUNNER_HISTORY_DB, else script-runner/history.db in the XDG state folder."""
    return os.environ.get('SCRIPT_RUNNER_HISTORY_DB') or os.path.join(_state_folder(), 'history.db')


def _state_folder():
    # type: () -> str
    base = os.environ.get('XDG_STATE_HOME', '')
    if not os.path.isabs(base):                    # the XDG specification: a relative path is to be ignored
        base = os.path.join(os.path.expanduser('~'), '.local', 'state')
    return os.path.join(base, 'script-runner')


class _Borrowed(object):
    """A connection of the pool for the length of a with block."""
    __slots__ = ('_manager', '_connection', '_mark')

    def __init__(self, manager):
        # type: (HistoryManager) -> None
        self._manager = manager
        self._connection = self._mark = None  # type: Any

    def __enter__(self):
        # type: () -> Any
        self._mark = self._manager._mark
        self._connection = self._manager._take()
        return self._connection

    def __exit__(self, kind, *_):
        # type: (Any, *Any) -> None
        if self._mark == self._manager._mark:
            self._manager._give_back(self._connection)
        else:
            self._connection.close()                 # another file stands there by now


class _Writing(object):
    """A write transaction for the length of a with block: BEGIN IMMEDIATE, then COMMIT, or ROLLBACK on an error.

    IMMEDIATE takes the write lock at once, so that waiting for it is up to the busy timeout; a transaction that begins
    by reading and writes later fails with SQLITE_BUSY at once when somebody wrote in between.
    """
    __slots__ = ('_borrowed', '_connection', '_path', '_timeout')

    def __init__(self, manager, patience=None):
        # type: (HistoryManager, Optional[float]) -> None
        self._borrowed = _Borrowed(manager)
        self._path = manager.db_path
        self._timeout = manager.timeout if patience is None else min(patience, manager.timeout)
        self._connection = None  # type: Any

    def _begin(self, deadline):
        # type: (float) -> None
        """Take the write lock, trying again every 1 to 4 ms by chance: SQLite's own waiting sleeps up to 100 ms at a time,
        and the unlucky wait for many such turns. One moment is a transaction of some 0.1 ms."""
        connection = self._connection
        connection.execute('PRAGMA busy_timeout = 0').fetchall()
        try:
            while True:
                try:
                    connection.execute('BEGIN IMMEDIATE')
                    return
                except _sqlite().OperationalError as error:
                    if 'locked' not in str(error) or time.monotonic() >= deadline:
                        raise
                time.sleep(0.001 + ord(os.urandom(1)) * 0.003 / 255)
        finally:
            connection.execute('PRAGMA busy_timeout = %d' % (self._timeout * 1000)).fetchall()

    def __enter__(self):
        # type: () -> Any
        self._connection = self._borrowed.__enter__()
        try:
            self._begin(time.monotonic() + self._timeout)
        except Exception as error:
            self._borrowed.__exit__(None, None, None)
            raise _history_error(self._path, error)
        return self._connection

    def __exit__(self, kind, error, *_):
        # type: (Any, Any, *Any) -> None
        try:
            if kind is None:
                self._connection.execute('COMMIT')
        except Exception as failure:
            self._roll_back()
            raise _history_error(self._path, failure)
        finally:
            if kind is not None:
                self._roll_back()
            self._borrowed.__exit__(None, None, None)
        if kind is not None and isinstance(error, (_sqlite().Error, OverflowError)):
            raise _history_error(self._path, error)

    def _roll_back(self):
        # type: () -> None
        if self._connection.in_transaction:
            try:
                self._connection.execute('ROLLBACK')
            except _sqlite().Error:
                pass


def _sqlite():
    # type: () -> Any
    """Return the sqlite3 module, or the C half of it, which has all we use and loads in 0.6 ms instead of 4."""
    try:
        import _sqlite3
        return _sqlite3
    except ImportError:
        import sqlite3
        return sqlite3


def _first(connection, sql, values=()):
    # type: (Any, str, Sequence[Any]) -> Any
    """Return the first row or None. All are fetched: where finalizers are late (PyPy) an unfinished SELECT forbids the COMMIT."""
    rows = connection.execute(sql, values).fetchall()
    return rows[0] if rows else None


def _history_error(path, error):
    # type: (str, BaseException) -> RunnerError
    """Say in one sentence what SQLite or the file system had against it; the one place that translates."""
    if isinstance(error, HistoryError):
        return error
    if isinstance(error, OverflowError):
        return UsageError('a number is too large for %s: whole numbers have at most 63 bits there' % path)
    text = str(error)
    for part, sentence in (
            ('locked', 'locked by another process; it was waited for'),
            ('not a database', 'not an SQLite file; name another with --history-db, or move it away'),
            ('malformed', 'damaged (%s); restore it, or move it away and start a new one' % text),
            ('full', 'the disk is full'),
            ('readonly', 'read-only'),
            ('unable to open', 'cannot be opened; is its folder there and writable?')):
        if part in text:
            return HistoryError('%s: %s' % (path, sentence))
    if isinstance(error, OSError):
        return HistoryError('%s: %s' % (path, error.strerror or text))
    name = getattr(error, 'sqlite_errorname', None)          # from Python 3.11 on
    return HistoryError('%s: %s%s' % (path, text, ' (%s)' % name if name else ''))


#: Held while a function is made known to SQLite: PyPy's sqlite3 fails when two threads do so for the first time at once.
_registering = allocate_lock()
#: Held while a history file is made: closing any descriptor of a file drops all locks that this process has on it (fcntl(2)),
#: also those of another thread's SQLite.
_creating = allocate_lock()


class HistoryManager(object):
    """Every run, in a local SQLite file that any tool can open: the views `executions` and `metrics`, table `samples`.

    `db_path` defaults to `default_history_path()`. Nothing is opened before the first use, then the file is created
    (private) if need be. Connections are kept for reuse, `pool_size` of them at most; any number of threads may use one
    manager at once. `timeout` is how many seconds a locked file is waited for. After a fork the child opens its own
    connections. Raises HistoryError, with a sentence, when the file cannot be used: also for someone else's
    SQLite file and for a schema newer than this program.
    """

    def __init__(self, db_path=None, pool_size=5, timeout=30.0):
        # type: (Optional[str], int, float) -> None
        self.db_path = os.path.abspath(db_path or default_history_path())
        self.pool_size = pool_size
        self.timeout = timeout
        self._idle = []  # type: List[Any]
        self._pid = os.getpid()
        self._inherited = []  # type: List[Any]
        self._lock = allocate_lock()
        self._copy = None  # type: Optional[str]
        self._mark = None  # type: Any

    def __enter__(self):
        # type: () -> HistoryManager
        return self

    def __exit__(self, *_):
        # type: (*Any) -> None
        self.close()

    def __del__(self):
        # type: () -> None
        if getattr(self, '_idle', None) and self._pid == os.getpid():
            self.close()

    # -- connections ---------------------------------------------------------------------------------

    def get_connection(self):
        # type: () -> _Borrowed
        """Return a context manager that lends a sqlite3.Connection (autocommit, rows as tuples)."""
        return _Borrowed(self)

    def close(self):
        # type: () -> None
        """Close the connections that are not lent out; the manager may be used again."""
        with self._lock:
            idle, self._idle = self._idle, []
            copy, self._copy = self._copy, None
        for connection in idle:
            connection.close()
        if copy is not None:
            import shutil
            shutil.rmtree(copy, ignore_errors=True)

    def refresh(self):
        # type: () -> bool
        """Forget open connections when another file stands at `db_path` since the last call; tell whether that was so.

        For those who keep a manager for long. A file that can only be read is forgotten at every change of it, since
        SQLite does not look whether such a file changes.
        """
        mark = _file_mark(self.db_path)
        if mark == self._mark:
            return False
        known, self._mark = self._mark, mark
        if known is not None:
            self.close()
        return known is not None

    def _take(self):
        # type: () -> Any
        with self._lock:
            if self._pid != os.getpid():           # a forked child must neither use nor close its parent's connections
                self._inherited += self._idle
                self._idle, self._pid = [], os.getpid()
            if self._idle:
                return self._idle.pop()
        return self._open()

    def _give_back(self, connection):
        # type: (Any) -> None
        if connection.in_transaction:
            connection.rollback()
        with self._lock:
            if len(self._idle) < self.pool_size and self._pid == os.getpid():
                self._idle.append(connection)
                return
        connection.close()

    def _open(self):
        # type: () -> Any
        """Open the file, creating or migrating it; one that may only be read is opened for reading."""
        sqlite3 = _sqlite()
        tries = 5
        while True:
            try:
                return self._open_for_writing()
            except (OSError, sqlite3.Error) as error:
                tries -= 1
                # Of several that make a file at once, SQLite lets one fail: it finds the log of another beside the still empty
                # file, and that is gone when it wants to delete it (SQLITE_IOERR_DELETE_NOENT).
                if tries and 'disk I/O error' in str(error):
                    time.sleep(0.01)
                    continue
                if _is_readable_only(self.db_path):
                    return self._open_for_reading()
                raise _history_error(self.db_path, error)

    def _open_for_writing(self):
        # type: () -> Any
        self._create_file()
        connection = self._connect(self.db_path)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _create_file(self):
        # type: () -> None
        with _creating:
            if not os.path.exists(self.db_path):
                make_private_folder(os.path.dirname(self.db_path))
                try:
                    os.close(os.open(self.db_path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
                except FileExistsError:
                    pass

    def _connect(self, target, uri=False):
        # type: (str, bool) -> Any
        connection = _sqlite().connect(target, timeout=self.timeout, isolation_level=None, check_same_thread=False, uri=uri)
        connection.execute('PRAGMA foreign_keys = ON')
        with _registering:
            connection.create_function('runner_label', 2, _label_in_json)
        return connection

    def _prepare(self, connection):
        # type: (Any) -> None
        """Bring the file to our schema; it is refused when it is not ours."""
        connection.execute('PRAGMA synchronous = NORMAL')      # with a WAL: a power cut may cost the last runs, never the file
        version = self._check_identity(connection)
        if version == _SCHEMA_VERSION:
            return
        if version == 0:
            connection.execute('PRAGMA auto_vacuum = INCREMENTAL')     # pages of pruned runs go back to the file system
        self._enter_wal(connection)
        connection.execute('BEGIN IMMEDIATE')
        try:
            version = self._check_identity(connection)                 # somebody else may have been faster
            if version < _SCHEMA_VERSION:
                self._migrate(connection, version)
            connection.execute('COMMIT')
        except BaseException:
            if connection.in_transaction:
                connection.execute('ROLLBACK')
            raise

    def _enter_wal(self, connection):
        # type: (Any) -> None
        """Switch the file to a write-ahead log; SQLite does not wait for a lock here, so we do."""
        give_up = time.monotonic() + self.timeout
        while True:
            try:
                connection.execute('PRAGMA journal_mode = WAL').fetchall()
                return
            except _sqlite().OperationalError as error:
                if 'locked' not in str(error) or time.monotonic() > give_up:
                    raise
                time.sleep(0.01)

    def _check_identity(self, connection):
        # type: (Any) -> int
        """Return the schema version of the file, 0 for an empty one; raises HistoryError when it is not ours."""
        application, version = self._read_identity(connection)
        tables = set()  # type: set
        if application != _APPLICATION_ID:             # look again in one snapshot: somebody may be creating it right now
            alone = not connection.in_transaction
            if alone:
                connection.execute('BEGIN')
            tables = set(row[0] for row in connection.execute('SELECT name FROM sqlite_master'))
            application, version = self._read_identity(connection)
            if alone:
                connection.execute('COMMIT')
        if application == _APPLICATION_ID:
            if version > _SCHEMA_VERSION:
                raise HistoryError('%s: written by a newer version (schema %d, this program knows %d); update '
                                   'python-script-runner' % (self.db_path, version, _SCHEMA_VERSION))
            return version
        if {'executions', 'metrics'} <= tables:
            raise HistoryError('%s: a history of python-script-runner 7, which this version does not write to; take it in with '
                               'python -m runner history import FILE, and name another with --history-db' % self.db_path)
        if tables or application or version:
            raise HistoryError('%s: an SQLite file of another program; name another with --history-db' % self.db_path)
        return 0

    @staticmethod
    def _read_identity(connection):
        # type: (Any) -> Tuple[int, int]
        return (_first(connection, 'PRAGMA application_id')[0], _first(connection, 'PRAGMA user_version')[0])

    @staticmethod
    def _migrate(connection, version):
        # type: (Any, int) -> None
        """Run every migration after `version`, inside the caller's transaction."""
        for script in _MIGRATIONS[version:]:
            for statement in _statements(script):
                connection.execute(statement)
        for name in ('executions', 'metrics'):
            connection.execute('DROP VIEW IF EXISTS ' + name)
        for statement in _view_statements():
            connection.execute(statement)
        connection.execute('PRAGMA application_id = %d' % _APPLICATION_ID)
        connection.execute('PRAGMA user_version = %d' % _SCHEMA_VERSION)

    def _open_for_reading(self):
        # type: () -> Any
        """Open a file in a folder that we may not write to: a WAL needs its -shm file, which cannot be made there."""
        path = self.db_path
        if os.path.exists(path + '-wal'):
            import shutil
            import tempfile
            with self._lock:
                self._copy = self._copy or tempfile.mkdtemp(prefix='script-runner-')
                folder = tempfile.mkdtemp(dir=self._copy)          # another connection may have an earlier copy open
            for suffix in ('', '-wal'):
                shutil.copy(path + suffix, os.path.join(folder, 'history.db' + suffix))
            path, mode = os.path.join(folder, 'history.db'), 'mode=rw'
        else:
            mode = 'mode=ro&immutable=1'
        try:
            connection = self._connect('file:%s?%s' % (_uri_quote(path), mode), uri=True)
            if self._check_identity(connection) != _SCHEMA_VERSION:
                connection.close()
                raise HistoryError('%s: read-only, and its schema is older than this program\'s' % self.db_path)
            return connection
        except _sqlite().Error as error:
            raise _history_error(self.db_path, error)

    # -- writing -------------------------------------------------------------------------------------

    def save_execution(self, metrics=None, script_path=None, exit_code=None, stdout=None, stderr=None, **more):
        # type: (Optional[Dict[str, Any]], Optional[str], Optional[int], Optional[str], Optional[str], **Any) -> int
        """Store one finished run and return its id; saving the same correlation_id and attempt again replaces it.

        `metrics` maps names to numbers; names outside METRICS are kept too, None is left out. `more` takes the columns of
        the view `executions`: status, cause, labels (a dict), script_args (a list), start_time (ISO text), … Secrets in
        texts are redacted. Raises UsageError for an unknown column, HistoryError when the file cannot be written.
        """
        record = dict(more, metrics=dict(metrics or {}))
        record['script_path'] = _canonical(script_path)
        if exit_code is not None:
            record['metrics']['exit_code'] = exit_code
        for name, text in (('stdout_tail', stdout), ('stderr_tail', stderr)):
            if text is not None:
                record[name] = text
        complete = _complete_record(record)
        with _Writing(self) as connection:
            return _store_run(connection, complete)

    def import_history(self, path, on_progress=None):
        # type: (str, Optional[Callable[[int], Any]]) -> Dict[str, Any]
        """Take in the runs of a history of python-script-runner 7, with their alerts; doing so again changes nothing.

        The file is only read. Returns {'imported', 'known' (runs that were there already), 'unreadable' (their numbers in that
        file: they have no time)}. Each run gets the label imported, and no host: a regression gate does not compare with it,
        since version 7 measured otherwise. `on_progress(runs so far)` is called now and then. Raises HistoryError for
        another file.
        """
        answer = {'imported': 0, 'known': 0, 'unreadable': []}  # type: Dict[str, Any]
        with _HistoryOf7(path) as old:
            while True:
                runs, unreadable = old.read_some()
                answer['unreadable'] += unreadable
                if not runs and not unreadable:
                    return answer
                with _Writing(self) as connection:
                    taken = sum(_take_in_run_of_7(connection, record, alerts) for record, alerts in runs)
                answer['imported'] += taken
                answer['known'] += len(runs) - taken
                if on_progress is not None:
                    on_progress(answer['imported'] + answer['known'])

    def cleanup_old_data(self, days, limit=None):
        # type: (float, Optional[int]) -> int
        """Delete runs that started more than `days` days ago, with all that belongs to them; return how many.

        Running ones stay; with `limit` at most so many go, the oldest first. Pages are given back to the file system.
        RetentionPolicy knows other rules, and archives.
        """
        if limit is None:
            return len(RetentionPolicy(max_age_days=days).apply(self).runs)
        rows = self._read("SELECT id FROM run WHERE start_time < ? AND status <> 'running' ORDER BY start_time LIMIT ?",
                          (_days_ago(days), limit))
        if rows:
            self._delete_runs([row[0] for row in rows], None)
            self._give_back_pages()
        return len(rows)

    def _delete_runs(self, ids, archive, on_progress=None):
        # type: (Sequence[int], Optional[_Archive], Optional[Callable[[int], Any]]) -> None
        """Delete runs that have ended, some hundred in each transaction so that no writer waits long."""
        for first in range(0, len(ids), 500):
            some = list(ids[first:first + 500])
            these = "id IN (%s) AND status <> 'running'" % ', '.join('?' * len(some))
            with _Writing(self) as connection:
                if archive is not None:
                    _read_runs(archive.append, connection, 'WHERE %s ORDER BY start_time, id' % these, some, True, True)
                connection.execute('DELETE FROM run WHERE ' + these, some)
            if on_progress is not None:
                on_progress(first + len(some))

    def _give_back_pages(self):
        # type: () -> None
        """Delete scripts and contexts that no run refers to, and return the space that is free to the file system."""
        connection = self._open()
        try:
            # A context has no index of the runs that refer to it (each run would pay for one), and the check of the foreign key
            # would look at all runs for each context. What is deleted here is known to be free.
            connection.execute('PRAGMA foreign_keys = OFF')
            connection.execute('BEGIN IMMEDIATE')
            connection.execute('DELETE FROM script WHERE id NOT IN '
                               '(SELECT script_id FROM run UNION SELECT script_id FROM baseline)')
            connection.execute('DELETE FROM context WHERE id NOT IN (SELECT context_id FROM run)')
            connection.execute('COMMIT')
            connection.executescript('PRAGMA incremental_vacuum')      # execute() would stop after the first page
            connection.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchall()
        except _sqlite().Error as error:
            raise _history_error(self.db_path, error)
        finally:
            connection.close()

    def count_older_than(self, days):
        # type: (float) -> int
        """Return how many runs `cleanup_old_data` would delete."""
        return self._read("SELECT count(*) FROM run WHERE start_time < ? AND status <> 'running'", (_days_ago(days),))[0][0]

    def set_baseline(self, run_id):
        # type: (int) -> None
        """Pin a run as what its script is compared with. Its metrics are copied: it may be pruned. Raises UsageError."""
        run = self.get_execution(run_id)
        if run is None or run['status'] != 'success':
            raise UsageError('run %d: %s; a baseline is a run that succeeded' % (
                run_id, 'there is none of that number' if run is None else 'its status is %s' % run['status']))
        with _Writing(self) as connection:
            connection.execute('INSERT OR REPLACE INTO baseline VALUES (?, ?, ?, ?)', (
                _script_id(connection, run['script_path']), run_id, int(time.time() * 1000000), _json_text(run['metrics'])))

    def get_baseline(self, script_path):
        # type: (str) -> Optional[Dict[str, Any]]
        """Return {'execution_id', 'set_time', 'metrics'} of the run that is pinned for a script, None without any."""
        rows = self._read('SELECT execution_id, set_time, metrics FROM baseline JOIN script ON script.id = script_id '
                          'WHERE path = ?', (_canonical(script_path),))
        if not rows:
            return None
        import json
        return {'execution_id': rows[0][0], 'set_time': _format_micros(rows[0][1]), 'metrics': json.loads(rows[0][2])}

    def clear_baseline(self, script_path):
        # type: (str) -> bool
        """Forget the run that is pinned for a script; returns whether there was one."""
        with _Writing(self) as connection:
            return connection.execute('DELETE FROM baseline WHERE script_id = (SELECT id FROM script WHERE path = ?)',
                                      (_canonical(script_path),)).rowcount > 0

    def save_judgement(self, run_ids, verdict, gates):
        # type: (Sequence[int], str, Sequence[Dict[str, Any]]) -> None
        """Keep what the gates said of runs that were judged together: `verdict` of all gates, `gates` with the last run.

        Waits no longer for the lock than a run waits for its own last write.
        """
        first = run_ids[0] if len(run_ids) > 1 else None
        rows = [(verdict, first, '[]', run_id) for run_id in run_ids[:-1]]
        rows.append((verdict, first, _json_text(gates) or '[]', run_ids[-1]))
        with _Writing(self, _WAIT_AT_END) as connection:
            connection.executemany('INSERT OR REPLACE INTO judgement SELECT id, ?, ?, ? FROM run WHERE id = ?', rows)

    def get_judgement(self, run_id):
        # type: (int) -> Optional[Dict[str, Any]]
        """Return {'verdict', 'judged_with', 'gates'} of a run, None when no gate judged it. `judged_with` is the first of the
        runs that were judged together; the gates stand with the last.
        """
        rows = self._read('SELECT verdict, judged_with, gates FROM judgement WHERE execution_id = ?', (run_id,))
        if not rows:
            return None
        import json
        return {'verdict': rows[0][0], 'judged_with': rows[0][1], 'gates': json.loads(rows[0][2])}

    def get_judged_together(self, first_id):
        # type: (int) -> Dict[int, int]
        """Return {run: first of the runs that it was judged together with} from a run on."""
        return dict(self._read('SELECT execution_id, judged_with FROM judgement WHERE execution_id >= ? '
                               'AND judged_with IS NOT NULL', (first_id,)))

    def tidy(self, on_lost=None):
        # type: (Optional[Callable[[int, str], Any]]) -> Tuple[int, int]
        """Do what an earlier run could not: mark rows whose runner is gone as lost, take in spooled records.

        `on_lost(run id, correlation id)` is called for each run of this boot whose runner died, unless it was to leave
        something behind.
        Returns (rows marked lost, records taken in).
        """
        return self._mark_lost(on_lost), self._take_in_spool()

    def _mark_lost(self, on_lost):
        # type: (Optional[Callable[[int, str], Any]]) -> int
        rows = self._read("SELECT run.id, runner, hostname, start_time, (SELECT max(elapsed_seconds) FROM samples WHERE "
                          "execution_id = run.id), correlation FROM run JOIN context ON context.id = context_id "
                          "WHERE status = 'running'")
        gone = [row for row in rows if _is_runner_gone(row[1], row[2], row[3] / 1e6, row[3] / 1e6 + (row[4] or 0.0))]
        if gone:
            with _Writing(self) as connection:
                for row in gone:
                    connection.execute(
                        "UPDATE run SET status = 'lost', runner = NULL, end_time = ?, (cpu_max, memory_max_mb, num_processes) = "
                        "(SELECT max(cpu_percent), max(memory_mb), max(num_processes) FROM samples WHERE execution_id = run.id) "
                        "WHERE id = ? AND status = 'running'",
                        (row[3] + int(row[4] * 1e6) if row[4] is not None else None, row[0]))
        here = ' '.join(_boot_and_namespace()) + ' '
        for row in gone:
            if on_lost is not None and (row[1] or '').startswith(here) and not row[1].endswith(_DETACHED):
                on_lost(row[0], _correlation_text(row[5]))
        return len(gone)

    def count_spooled(self):
        # type: () -> int
        """Return how many records wait to be taken in."""
        return len(self._spooled_records())

    def _spooled_records(self):
        # type: () -> List[Tuple[str, Dict[str, Any]]]
        """Return (file, record) of what waits for this database."""
        found = []
        for path in _spooled_files(self.db_path):
            try:
                with open(path, 'rb') as file:
                    import json
                    record = json.loads(file.read().decode('utf-8'))
            except (OSError, ValueError):          # being taken in by another process, or not ours
                continue
            if isinstance(record, dict) and record.get('database') == self.db_path:
                found.append((path, record))
        return found

    def _take_in_spool(self):
        # type: () -> int
        """Import the records that wait in a spool folder; a file is removed once it is stored."""
        count = 0
        for path, record in self._spooled_records():
            try:
                with _Writing(self) as connection:
                    run_id = _store_run(connection, record)
                    known = _first(connection, 'SELECT max(elapsed_seconds) FROM samples WHERE execution_id = ?', (run_id,))[0]
                    _store_samples(connection, run_id, record.get('samples', ()), known)
                os.unlink(path)
                count += 1
            except FileNotFoundError:              # another process took it in as well, into the same row
                continue
            except (KeyError, TypeError, AttributeError, UsageError):      # rubbish: left for whoever put it there
                continue
        return count

    # -- reading -------------------------------------------------------------------------------------

    def get_execution_history(self, script_path=None, limit=100, days=30, where=None):
        # type: (Optional[str], Optional[int], Optional[float], Any) -> List[Dict[str, Any]]
        """Return runs as dicts, newest first: the columns of `executions`, with `metrics` as a dict of what is known.

        `script_path` is any spelling of the script's path; None for `days` or `limit` means all. `where` is a Condition or
        its text: runs for which it is true. Raises UsageError for one that needs a baseline or a previous run.
        """
        clause, values = self._selection(script_path, days, where)
        return self._select_runs('WHERE %s ORDER BY start_time DESC, id DESC LIMIT ?' % clause,
                                 values + [-1 if limit is None else limit])

    def count_executions(self, script_path=None, days=None, where=None):
        # type: (Optional[str], Optional[float], Any) -> int
        """Return how many runs `get_execution_history` would return without a limit."""
        clause, values = self._selection(script_path, days, where)
        return self._read('SELECT count(*) FROM run WHERE ' + clause, values)[0][0]

    def get_execution(self, run_id):
        # type: (int) -> Optional[Dict[str, Any]]
        """Return one run as `get_execution_history` does, None when there is none of that id."""
        runs = self._select_runs('WHERE id = ?', [run_id])
        return runs[0] if runs else None

    def get_attempts(self, correlation_id):
        # type: (str) -> List[Dict[str, Any]]
        """Return the attempts of one run, first to last."""
        return self._select_runs('WHERE correlation = ? ORDER BY attempt_number', [_correlation_value(correlation_id)])

    def get_samples(self, run_id):
        # type: (int) -> List[Dict[str, Any]]
        """Return the samples of a run in order of time, as dicts of SAMPLE_FIELDS."""
        rows = self._read('SELECT %s FROM samples WHERE execution_id = ? ORDER BY elapsed_seconds'
                          % ', '.join(SAMPLE_FIELDS), (run_id,))
        return [dict(zip(SAMPLE_FIELDS, row)) for row in rows]

    def get_artefacts(self, run_id):
        # type: (int) -> Dict[str, str]
        """Return the texts that are kept with a run by name; 'hang' says what every thread did when a time limit struck."""
        return dict(self._read('SELECT name, content FROM artefacts WHERE execution_id = ? ORDER BY name', (run_id,)))

    def get_error_history(self, fingerprint, script_path=None):
        # type: (str, Optional[str]) -> Dict[str, Any]
        """Return {'count', 'first_time', 'run_ids'} of the runs that failed with this fingerprint.

        `first_time` is ISO text, None for never; `run_ids` holds the ten newest, newest first. Each attempt counts.
        """
        where, values = self._selection(script_path, None)
        where, values = 'error_fingerprint = ? AND ' + where, [fingerprint] + values
        count, first = self._read('SELECT count(*), min(start_time) FROM run WHERE ' + where, values)[0]
        newest = self._read('SELECT id FROM run WHERE %s ORDER BY start_time DESC, id DESC LIMIT 10' % where, values)
        return {'count': count, 'first_time': None if first is None else _format_micros(first),
                'run_ids': [row[0] for row in newest]}

    def get_metrics_for_script(self, script_path, metric_name, days=30):
        # type: (str, str, Optional[float]) -> List[Tuple[str, Any]]
        """Return [(start time as ISO text, value)] of one metric of a script, oldest first; runs without it are left out."""
        where, values = self._selection(script_path, days)
        metric = METRICS.get(metric_name)
        if metric is not None:
            value = _metric_expression(metric)
            rows = self._read('SELECT start_time, %s AS value FROM run WHERE %s AND value IS NOT NULL ORDER BY start_time, id'
                              % (value, where), values)
        else:
            rows = self._read('SELECT start_time, value FROM run JOIN custom_metric ON run_id = run.id WHERE %s AND name = ? '
                              'ORDER BY start_time, run.id' % where, values + [metric_name])
        return [(_format_micros(when), value) for when, value in rows]

    def get_metric_series(self, script_path, metric_name, days=None, limit=None, good_only=False, hostname=None,
                          python_version=None, before_id=None, where=None):
        # type: (Optional[str], str, Optional[float], Optional[int], bool, Optional[str], Optional[str], Optional[int], Any) -> List[Any]
        """Return [(run id, start time as ISO text, value, git_commit, status)] of one metric, oldest first.

        Runs that are running or lack the metric are left out. `limit` keeps the newest so many, `good_only` those
        with status success of which no gate failed, `before_id` those that began before that run; `script_path` None takes
        every script, `where` is as in `get_execution_history`. Raises UsageError for a metric that no run has ever had a
        name for, and an unknown run.
        """
        clause, values = self._selection(script_path, days, where)
        clause += _SQL_GOOD if good_only else " AND status <> 'running'"
        for column, wanted in (('hostname', hostname), ('python_version', python_version)):
            if wanted is not None:
                clause += ' AND context_id IN (SELECT id FROM context WHERE %s = ?)' % column
                values.append(wanted)
        if before_id is not None:
            moment = self._read('SELECT start_time FROM run WHERE id = ?', (before_id,))
            if not moment:
                raise UsageError('%r: no such run in %s' % (before_id, self.db_path))
            clause += ' AND (start_time < ? OR (start_time = ? AND id < ?))'
            values += [moment[0][0], moment[0][0], before_id]
        value, more = self._value_expression(metric_name)
        rows = self._read(
            'SELECT id, start_time, %s AS value, context_id, status FROM run WHERE %s AND value IS NOT NULL '
            'ORDER BY start_time DESC, id DESC LIMIT ?' % (value, clause), more + values + [-1 if limit is None else limit])[::-1]
        commits = dict(self._read('SELECT id, git_commit FROM context'))
        numbers = [row[2] for row in rows]
        if metric_name in METRICS and METRICS[metric_name].unit == 'UTC':
            numbers = _format_many_micros(numbers)
        return [(row[0], when, number, commits.get(row[3]), row[4])
                for row, when, number in zip(rows, _format_many_micros(row[1] for row in rows), numbers)]

    def get_metric_buckets(self, script_path, metric_name, bucket_seconds, days=None, where=None):
        # type: (Optional[str], str, float, Optional[float], Any) -> List[Dict[str, Any]]
        """Return [{start, count, avg, min, max}] of one metric by the time at which runs began, oldest first.

        A bucket begins at a whole multiple of `bucket_seconds` since 1970 (`start`, ISO text); one without a value is
        left out. Raises UsageError for a length below a millisecond and for an unknown metric.
        """
        if not 0.001 <= bucket_seconds <= 1e10:
            raise UsageError('bucket_seconds=%r: not between a millisecond and 300 years' % (bucket_seconds,))
        clause, values = self._selection(script_path, days, where)
        width = int(bucket_seconds * 1000000)
        value, more = self._value_expression(metric_name)
        rows = self._read(
            "SELECT (start_time - ((start_time %% %d) + %d) %% %d), count(value), avg(value), min(value), max(value) FROM "
            "(SELECT start_time, %s AS value FROM run WHERE %s AND status <> 'running' AND value IS NOT NULL) "
            'GROUP BY 1 ORDER BY 1' % (width, width, width, value, clause), more + values)
        return [dict(zip(('start', 'count', 'avg', 'min', 'max'), (_format_micros(row[0]),) + row[1:])) for row in rows]

    def get_metric_names(self):
        # type: () -> List[str]
        """Return every name a metric may have here: the registry's, then those that runs brought along, sorted."""
        return list(METRICS) + [row[0] for row in self._read('SELECT DISTINCT name FROM custom_metric ORDER BY name')
                                if row[0] not in METRICS]

    def get_aggregated_metrics(self, script_path=None, metric_name=None, days=30, where=None):
        # type: (Optional[str], Optional[str], Optional[float], Any) -> Dict[str, Dict[str, Any]]
        """Return {metric: {count, avg, min, max}} over runs that ended, computed by SQLite; one metric or all known ones."""
        clause, values = self._selection(script_path, days, where)
        names = [metric_name] if metric_name else [m.name for m in METRICS.values() if m.column and m.unit != 'UTC']
        if metric_name and metric_name not in METRICS:
            columns, more = [_CUSTOM_VALUE], [metric_name]
        else:
            columns, more = [_metric_expression(METRICS[name]) for name in names], []
        row = self._read("SELECT %s FROM (SELECT %s FROM run WHERE %s AND status <> 'running')" % (
            ', '.join('count(v{0}), avg(v{0}), min(v{0}), max(v{0})'.format(n) for n in range(len(names))),
            ', '.join('%s AS v%d' % (column, n) for n, column in enumerate(columns)), clause), more + values)[0]
        found = {name: dict(zip(('count', 'avg', 'min', 'max'), row[4 * n:])) for n, name in enumerate(names)}
        return {name: each for name, each in found.items() if each['count'] or metric_name}

    def get_executions_paginated(self, page=1, per_page=50, script_path=None, status=None, days=None, where=None):
        # type: (int, int, Optional[str], Optional[str], Optional[float], Any) -> Dict[str, Any]
        """Return {'executions', 'page', 'per_page', 'pages', 'total'}; pages count from 1, newest runs first."""
        if page < 1 or per_page < 1:
            raise UsageError('page %r of %r per page: pages count from 1, with at least 1 run each' % (page, per_page))
        clause, values = self._selection(script_path, days, where)
        if status is not None:
            clause, values = clause + ' AND status = ?', values + [status]
        total = self._read('SELECT count(*) FROM run WHERE ' + clause, values)[0][0]
        runs = self._select_runs('WHERE %s ORDER BY start_time DESC, id DESC LIMIT ? OFFSET ?' % clause,
                                 values + [per_page, (page - 1) * per_page])
        return {'executions': runs, 'page': page, 'per_page': per_page, 'total': total,
                'pages': (total + per_page - 1) // per_page}

    def export(self, target, format=None, script_path=None, days=None, where=None, samples=False, on_progress=None):
        # type: (Any, Optional[str], Optional[str], Optional[float], Any, bool, Optional[Callable[[int], Any]]) -> int
        """Write runs to a file, oldest first, as they were at one moment; return how many.

        `target` is a path, whose file is private and appears when it is complete, or a binary file. `format` is csv, json
        (one array), jsonl (a line for each run) or parquet (needs pyarrow); by default the path's ending says it. JSON has
        what `get_execution_history` returns, and `samples` as a list if asked for. A table has a column for each column of
        `executions`, each metric and each further metric of these runs (`metric.NAME` where a column has that name);
        arguments, labels and, but in Parquet, samples are JSON text; times in Parquet are timestamps. In CSV what is
        unknown is empty, and a NUL is U+FFFD, since many readers refuse one. Memory does not grow with the number of
        runs. `on_progress(runs so far)` is called now and then. Raises UsageError for a format that cannot be written,
        HistoryError, and OSError for the target.
        """
        writer = _export_writer(format or _format_of(target))
        if isinstance(target, str) and os.path.realpath(target) == os.path.realpath(self.db_path):
            raise UsageError('%s: is the history itself; name another file' % target)
        clause, values = self._selection(script_path, days, where)
        if isinstance(target, str):
            with AtomicFile(target) as file:
                return self._export_into(writer, file, clause, values, samples, on_progress)
        return self._export_into(writer, target, clause, values, samples, on_progress)

    def _export_into(self, writer, file, clause, values, samples, on_progress):
        # type: (Any, Any, str, Sequence[Any], bool, Optional[Callable[[int], Any]]) -> int
        count = 0

        def take(runs):
            # type: (Sequence[Dict[str, Any]]) -> None
            nonlocal count
            writer.write(runs)
            count += len(runs)
            if on_progress is not None:
                on_progress(count)

        with self.get_connection() as connection:
            try:
                connection.execute('BEGIN')                        # all of it from one moment
                custom = [row[0] for row in connection.execute(
                    'SELECT DISTINCT name FROM custom_metric WHERE run_id IN (SELECT id FROM run WHERE %s) ORDER BY name'
                    % clause, values)]
                writer.begin(file, custom, samples)
                _read_runs(take, connection, 'WHERE %s ORDER BY start_time, id' % clause, values, samples)
                writer.end()
            except _sqlite().Error as error:
                raise _history_error(self.db_path, error)
        return count

    def find_runs(self, page=1, per_page=50, script_path=None, status=None, hostname=None, label=None, since=None,
                  until=None, where=None):
        # type: (int, int, Any, Any, Any, Optional[Tuple[str, str]], Optional[str], Optional[str], Any) -> Dict[str, Any]
        """Return {'executions', 'page', 'per_page', 'pages', 'total'} as `get_executions_paginated`, of runs in brief.

        In brief: SUMMARY_FIELDS, without output and the lesser metrics. `script_path` is as recorded, `label` is (key, value),
        `since` and `until` are ISO times of the start, `where` is a condition. Raises UsageError for what is none.
        """
        if page < 1 or per_page < 1:
            raise UsageError('page %r of %r per page: pages count from 1, with at least 1 run each' % (page, per_page))
        chosen, values = self._selection(None, None, where)
        for clause, value in (('script_id = (SELECT id FROM script WHERE path = ?)', script_path), ('status = ?', status),
                              ('context_id IN (SELECT id FROM context WHERE hostname = ?)', hostname),
                              ('start_time >= ?', since and _parse_time(since)),
                              ('start_time < ?', until and _parse_time(until))):
            if value is not None:
                chosen, values = chosen + ' AND ' + clause, values + [value]
        if label is not None:
            chosen += ' AND instr(labels, ?)'         # as it is stored: one JSON object of texts
            values.append(_json_text({label[0]: label[1]})[1:-1])  # type: ignore[index]
        total = self._read('SELECT count(*) FROM run WHERE ' + chosen, values)[0][0]
        runs = self._select_summaries('WHERE run.id IN (SELECT id FROM run WHERE %s ORDER BY start_time DESC, id DESC LIMIT ? '
                                      'OFFSET ?) ORDER BY start_time DESC, run.id DESC' % chosen,
                                      values + [per_page, (page - 1) * per_page])
        return {'executions': runs, 'page': page, 'per_page': per_page, 'total': total,
                'pages': (total + per_page - 1) // per_page}

    def get_overview(self, recent=40):
        # type: (int) -> List[Dict[str, Any]]
        """Return one dict per script, that which ran last first: script_path, runs, ended, succeeded, and `recent`.

        `recent` lists its last runs, oldest first, as dicts of id, start_time, status and execution_time_seconds.
        """
        counts = self._read("SELECT script_id, path, count(*), sum(status <> 'running'), sum(status = 'success'), max(start_time)"
                            " FROM run JOIN script ON script.id = script_id GROUP BY script_id ORDER BY max(start_time) DESC")
        found = []
        for script_id, path, runs, ended, succeeded, _ in counts:
            rows = self._read('SELECT id, start_time, status, execution_time_seconds FROM run WHERE script_id = ? '
                              'ORDER BY start_time DESC, id DESC LIMIT ?', (script_id, recent))
            found.append({'script_path': path, 'runs': runs, 'ended': ended, 'succeeded': succeeded, 'recent': [
                {'id': row[0], 'start_time': _format_micros(row[1]), 'status': row[2], 'execution_time_seconds': row[3]}
                for row in reversed(rows)]})
        return found

    def get_last_good(self, run_id):
        # type: (int) -> Optional[int]
        """Return the id of the last successful run of the same script that started before this one, None without any."""
        rows = self._read("SELECT good.id FROM run JOIN run AS good ON good.script_id = run.script_id "
                          "WHERE run.id = ? AND good.status = 'success' AND good.start_time < run.start_time "
                          'ORDER BY good.start_time DESC, good.id DESC LIMIT 1', (run_id,))
        return rows[0][0] if rows else None

    def get_live_state(self, samples=120):
        # type: (int) -> Dict[str, Any]
        """Return {'cursor', 'running'}: the runs that have not ended, in brief, each with its last samples, and where to go on.

        `get_changes` with that cursor gives exactly what is written afterwards.
        """
        with _Snapshot(self) as connection:
            running = self._summaries_of(connection, "WHERE status = 'running' ORDER BY run.id", ())
            for run in running:
                rows = connection.execute('SELECT %s FROM samples WHERE execution_id = ? ORDER BY elapsed_seconds DESC LIMIT ?'
                                          % ', '.join(SAMPLE_FIELDS), (run['id'], samples)).fetchall()
                run['samples'] = [list(row) for row in reversed(rows)]
            return {'cursor': self._cursor_text(*self._position(connection)), 'running': running}

    def get_change_cursor(self):
        # type: () -> str
        """Return the cursor behind everything that has been written so far."""
        with _Snapshot(self) as connection:
            return self._cursor_text(*self._position(connection))

    def get_changes(self, cursor, until=None, limit=1000):
        # type: (str, Optional[str], int) -> Dict[str, Any]
        """Return what was written after a cursor (of `get_live_state` or of an earlier call), each thing once.

        A dict of `cursor` (where to go on), `new`, `ended` and `changed` (runs in brief, in order), `samples` (run id: rows
        of SAMPLE_FIELDS), `more` (whether to call again at once: at most `limit` changes are read) and `reset`: True
        when the cursor is of another file, or so old that the changes since are no longer known; then everything else is empty
        and one starts anew with `get_live_state`. `until` is a later cursor at which to stop.
        """
        with _Snapshot(self) as connection:
            identity, newest = self._position(connection)
            after = _read_cursor(cursor, identity)
            last = newest if until is None else min(newest, _read_cursor(until, identity, newest) or 0)
            oldest = _first(connection, 'SELECT min(revision) FROM change')[0] or 0
            if after is None or after > newest or after + 1 < oldest:
                return {'cursor': self._cursor_text(identity, newest), 'reset': True, 'more': False, 'new': [], 'ended': [],
                        'changed': [], 'samples': {}}
            rows = connection.execute('SELECT revision, kind, execution_id, after, until FROM change '
                                      'WHERE revision > ? AND revision <= ? ORDER BY revision LIMIT ?',
                                      (after, last, limit)).fetchall()
            found = self._changes_of(connection, rows)
            at = rows[-1][0] if len(rows) == limit else max(after, last)
            return dict(found, cursor=self._cursor_text(identity, at), reset=False, more=at < last)

    def _changes_of(self, connection, rows):
        # type: (Any, Sequence[Sequence[Any]]) -> Dict[str, Any]
        """Return what rows of table change stand for."""
        ids = {kind: list(dict.fromkeys(row[2] for row in rows if row[1] == kind)) for kind in ('new', 'ended', 'changed')}
        known = {}  # type: Dict[int, Dict[str, Any]]
        wanted = list(dict.fromkeys(ids['new'] + ids['ended'] + ids['changed']))
        for first in range(0, len(wanted), 500):
            part = wanted[first:first + 500]         # SQLite before 3.32 takes 999 parameters
            for run in self._summaries_of(connection, 'WHERE run.id IN (%s)' % ', '.join('?' * len(part)), part):
                known[run['id']] = run
        samples = {}  # type: Dict[int, List[List[Any]]]
        for _, kind, run_id, after, until in rows:
            if kind == 'samples':
                found = connection.execute('SELECT %s FROM samples WHERE execution_id = ? AND elapsed_seconds > ? AND '
                                           'elapsed_seconds <= ? ORDER BY elapsed_seconds' % ', '.join(SAMPLE_FIELDS),
                                           (run_id, after, until)).fetchall()
                samples.setdefault(run_id, []).extend(list(row) for row in found)
        result = {kind: [known[run_id] for run_id in ids[kind] if run_id in known] for kind in ids}  # type: Dict[str, Any]
        result['samples'] = samples
        return result

    @staticmethod
    def _position(connection):
        # type: (Any) -> Tuple[str, int]
        """Return which file this is, and the revision that was committed last."""
        return (bytes(_first(connection, 'SELECT value FROM identity')[0]).hex(),
                _first(connection, 'SELECT max(revision) FROM change')[0] or 0)

    @staticmethod
    def _cursor_text(identity, revision):
        # type: (str, int) -> str
        return '%s-%d' % (identity, revision)

    def get_hostnames(self):
        # type: () -> List[str]
        """Return every host that runs were recorded on, sorted."""
        return [row[0] for row in self._read('SELECT DISTINCT hostname FROM context WHERE hostname IS NOT NULL ORDER BY 1')]

    def get_scripts(self):
        # type: () -> List[str]
        """Return the path of every script in the history, sorted."""
        return [row[0] for row in self._read('SELECT path FROM script ORDER BY path')]

    def get_last_id(self, script_path=None):
        # type: (Optional[str]) -> Optional[int]
        """Return the id of the run that started last, None without any."""
        clause, values = self._selection(script_path, None)
        rows = self._read('SELECT id FROM run WHERE %s ORDER BY start_time DESC, id DESC LIMIT 1' % clause, values)
        return rows[0][0] if rows else None

    def get_database_stats(self):
        # type: () -> Dict[str, Any]
        """Return the path, size in bytes, schema version, counts of runs (also by status), scripts and samples, and times."""
        with _Snapshot(self) as connection:
            def one(sql):
                # type: (str) -> Any
                return _first(connection, sql)[0]
            first, last = one('SELECT min(start_time) FROM run'), one('SELECT max(start_time) FROM run')
            return {
                'db_path': self.db_path, 'size_bytes': one('PRAGMA page_count') * one('PRAGMA page_size'),
                'schema_version': one('PRAGMA user_version'), 'runs': one('SELECT count(*) FROM run'),
                'scripts': one('SELECT count(*) FROM script'), 'samples': one('SELECT count(*) FROM samples'),
                'by_status': dict(connection.execute('SELECT status, count(*) FROM run GROUP BY status')),
                'oldest': None if first is None else _format_micros(first),
                'newest': None if last is None else _format_micros(last)}

    def check_integrity(self):
        # type: () -> List[str]
        """Return what SQLite's quick_check finds wrong with the file; empty when it is sound."""
        rows = self._read('PRAGMA quick_check')
        return [] if rows == [('ok',)] else [row[0] for row in rows]

    def _read(self, sql, values=()):
        # type: (str, Sequence[Any]) -> List[Any]
        with self.get_connection() as connection:
            try:
                return connection.execute(sql, values).fetchall()
            except (_sqlite().Error, OverflowError) as error:
                raise _history_error(self.db_path, error)

    def _selection(self, script_path, days, where=None):
        # type: (Optional[str], Optional[float], Any) -> Tuple[str, List[Any]]
        """Return a WHERE clause over table run, and its values."""
        clause, values = ['1'], []  # type: List[str], List[Any]
        if script_path is not None:
            clause.append('script_id = (SELECT id FROM script WHERE path = ?)')
            values.append(_canonical(script_path))
        if days is not None:
            clause.append('start_time >= ?')
            values.append(_days_ago(days))
        if where is not None:
            condition = self._read_condition(where)
            sql, more = condition.to_sql({name: _condition_column(condition, name) for name in condition.names})
            clause.append('(%s)' % sql)
            values += more
        return ' AND '.join(clause), values

    def _read_condition(self, where):
        # type: (Any) -> Condition
        """Return a Condition; a name that is in no registry may be a metric that runs brought along."""
        if isinstance(where, Condition):
            return where
        try:
            return parse_condition(where)
        except ConditionError:
            return parse_condition(where, self.get_metric_names() if os.path.exists(self.db_path) else ())

    def _value_expression(self, metric_name):
        # type: (str) -> Tuple[str, List[Any]]
        """Return the SQL that reads a metric of table run, and its values; raises UsageError when there is no such metric."""
        if metric_name in METRICS:
            return metric_name if METRICS[metric_name].unit == 'UTC' else _metric_expression(METRICS[metric_name]), []
        names = self.get_metric_names()
        if metric_name not in names:
            raise UsageError('%r: no such metric%s (python -m runner metrics lists them)' % (
                metric_name, suggest(metric_name, names)))
        return _CUSTOM_VALUE, [metric_name]

    def _select_summaries(self, clause, values):
        # type: (str, Sequence[Any]) -> List[Dict[str, Any]]
        with _Snapshot(self) as connection:
            return self._summaries_of(connection, clause, values)

    @staticmethod
    def _summaries_of(connection, clause, values):
        # type: (Any, str, Sequence[Any]) -> List[Dict[str, Any]]
        """Return runs in brief; `clause` selects from run."""
        found = []
        for row in connection.execute('SELECT %s FROM run JOIN script ON script.id = script_id JOIN context ON context.id = '
                                      'context_id %s' % (', '.join(_SUMMARY_SQL[name] for name in SUMMARY_FIELDS), clause),
                                      values).fetchall():
            run = dict(zip(SUMMARY_FIELDS, row))
            for name in ('start_time', 'end_time'):
                run[name] = None if run[name] is None else _format_micros(run[name])
            for name, empty in (('script_args', '[]'), ('labels', '{}')):
                run[name] = _from_json(run[name] or empty)
            run['correlation_id'] = _correlation_text(run['correlation_id'])
            found.append(run)
        return found

    def _select_runs(self, clause, values):
        # type: (str, Sequence[Any]) -> List[Dict[str, Any]]
        """Return dicts of the runs that `clause` selects from table run, in its order."""
        with self.get_connection() as connection:
            try:
                runs = []  # type: List[Dict[str, Any]]
                _read_runs(runs.extend, connection, clause, values)
                return runs
            except (_sqlite().Error, OverflowError) as error:
                raise _history_error(self.db_path, error)


#: A metric that is not in the registry, of table run; its name is a parameter.
_CUSTOM_VALUE = "(SELECT value FROM custom_metric WHERE run_id = run.id AND name = ? AND typeof(value) IN ('real', 'integer'))"


def _condition_column(condition, name):
    # type: (Condition, str) -> Tuple[str, List[Any]]
    """Return the SQL over table run (and its values) of a name in a condition."""
    if name in METRICS:
        return name if METRICS[name].unit == 'UTC' else _metric_expression(METRICS[name]), []
    if name in ('status', 'cause'):
        return name, []
    if name == 'script_path':
        return '(SELECT path FROM script WHERE script.id = script_id)', []
    if name in _TEXT_NAMES:
        return '(SELECT %s FROM context WHERE context.id = context_id)' % name, []
    if name.startswith('label.'):
        return 'CASE WHEN labels IS NOT NULL THEN runner_label(labels, ?) END', [name[6:]]
    if name.startswith(('baseline.', 'previous.')):
        raise ConditionError(condition.text, condition.text.find(name) + 1, '%r is not known of a run in the history' % name,
                             '; compare the runs with each other, or write a number')
    return _CUSTOM_VALUE, [name]


def _label_in_json(labels, key):
    # type: (str, str) -> Optional[str]
    """Return one label of the JSON in column labels; SQLite calls this (its own JSON functions came after 3.6's)."""
    import json
    value = json.loads(labels).get(key)
    return None if value is None else str(value)


def _read_runs(take, connection, clause, values, samples=False, artefacts=False):
    # type: (Callable[[List[Dict[str, Any]]], Any], Any, str, Sequence[Any], bool, bool) -> None
    """Call `take` with the runs that `clause` selects from table run, in its order, some dicts at a time.

    No generator: one that is left half way keeps its SELECT open where finalizers are late (PyPy).
    """
    stored = [m.name for m in METRICS.values() if m.column]
    cursor = connection.execute('SELECT id, %s FROM run %s' % (', '.join(stored), clause), values)
    try:
        while True:
            picked = cursor.fetchmany(50 if samples else 500)      # a run may have 1,200 samples
            if not picked:
                return
            ids = [row[0] for row in picked]
            seen = _rows_of(connection, 'executions', 'id', ids)
            columns = [column[0] for column in seen.description]
            rows = {row[columns.index('id')]: dict(zip(columns, row)) for row in seen.fetchall()}
            custom = _grouped(_rows_of(connection, 'custom_metric', 'run_id', ids))
            runs = [_finish_run(rows[row[0]], dict(zip(stored, row[1:])), custom.get(row[0], ())) for row in picked
                    if row[0] in rows]                 # the others were pruned in between
            if samples:
                found = _grouped(_rows_of(connection, 'samples', 'execution_id', ids, 'ORDER BY execution_id, elapsed_seconds'))
                for run in runs:
                    run['samples'] = [dict(zip(SAMPLE_FIELDS, row)) for row in found.get(run['id'], ())]
            if artefacts:
                kept = _grouped(_rows_of(connection, 'artefacts', 'execution_id', ids))
                for run in runs:
                    run['artefacts'] = dict(kept.get(run['id'], ()))
            take(runs)
    finally:
        cursor.close()


def _rows_of(connection, table, column, ids, order=''):
    # type: (Any, str, str, Sequence[int], str) -> Any
    """Return a cursor over the rows of a table that belong to some runs."""
    return connection.execute('SELECT * FROM %s WHERE %s IN (%s) %s' % (table, column, ', '.join('?' * len(ids)), order), ids)


def _grouped(rows):
    # type: (Iterable[Sequence[Any]]) -> Dict[int, List[Any]]
    """Return {first column: [the others of its rows]}."""
    groups = {}  # type: Dict[int, List[Any]]
    for row in rows:
        groups.setdefault(row[0], []).append(row[1:])
    return groups


class _Snapshot(object):
    """One moment of the file for the length of a with block: what is read inside belongs together. Translates errors."""
    __slots__ = ('_borrowed', '_connection', '_path')

    def __init__(self, manager):
        # type: (HistoryManager) -> None
        self._borrowed = manager.get_connection()
        self._connection = None  # type: Any
        self._path = manager.db_path

    def __enter__(self):
        # type: () -> Any
        self._connection = self._borrowed.__enter__()
        self._connection.execute('BEGIN')
        return self._connection

    def __exit__(self, kind, error, *_):
        # type: (Any, Any, *Any) -> None
        self._borrowed.__exit__(kind)                # which rolls back what is still open
        if kind is not None and isinstance(error, (_sqlite().Error, OverflowError)):
            raise _history_error(self._path, error)


#: What a run in brief consists of.
SUMMARY_FIELDS = ('id', 'script_path', 'script_args', 'status', 'cause', 'evidence', 'error_summary', 'start_time', 'end_time',
                  'execution_time_seconds', 'exit_code', 'attempt_number', 'correlation_id', 'hostname', 'username', 'labels',
                  'cpu_avg', 'cpu_max', 'memory_max_mb')
_SUMMARY_SQL = dict({name: 'run.' + name for name in SUMMARY_FIELDS}, script_path='script.path', correlation_id='correlation',
                    hostname='hostname', username='username')


def _read_cursor(cursor, identity, default=None):
    # type: (str, str, Optional[int]) -> Optional[int]
    """Return the revision of a cursor of this file, else the default. Raises UsageError when it is no cursor."""
    name, dash, revision = cursor.rpartition('-')
    if not dash or not revision.isdecimal() or len(revision) > 18:
        raise UsageError('cursor %r: not one of ours; leave it out to start anew' % cursor)
    return int(revision) if name == identity else default


def _from_json(text):
    # type: (str) -> Any
    """Read a JSON column; the usual empty ones without importing json."""
    if text in ('[]', '{}'):
        return [] if text == '[]' else {}
    import json
    return json.loads(text)


def _finish_run(run, metrics, custom):
    # type: (Dict[str, Any], Dict[str, Any], Sequence[Tuple[str, Any]]) -> Dict[str, Any]
    """Turn JSON columns into values and attach the metrics that are known."""
    for name, empty in (('script_args', '[]'), ('labels', '{}'), ('warnings', '[]'), ('limits', '{}')):
        run[name] = _from_json(run[name] or empty)
    for name in ('success', 'timed_out'):
        run[name] = None if run[name] is None else bool(run[name])
        metrics[name] = run[name]
    metrics['start_time'], metrics['end_time'] = run['start_time'], run['end_time']
    known = [(name, metrics[name]) for name in METRICS if metrics.get(name) is not None]
    run['metrics'] = dict(known + list(custom))
    return run


def _uri_quote(path):
    # type: (str) -> str
    return path.replace('%', '%25').replace('?', '%3f').replace('#', '%23')


def _file_mark(path):
    # type: (str) -> Any
    """Return what changes when another file stands at a path, or when one that we can only read is written to."""
    mark = []  # type: List[Any]
    for name in (path, path + '-wal'):
        try:
            status = os.stat(name)
        except OSError:
            break
        mark += [status.st_dev, status.st_ino]
        if not _is_readable_only(path):
            break
        mark += [status.st_size, status.st_mtime_ns]
    return mark


def _is_readable_only(path):
    # type: (str) -> bool
    """Tell whether a file is there to be read in a folder (or a file system) that cannot be written to."""
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        return False
    return not os.access(os.path.dirname(path), os.W_OK) or not os.access(path, os.W_OK)


def _canonical(script_path):
    # type: (Optional[str]) -> str
    """Return the one spelling of a script's path that history uses; modules keep their '-m name'."""
    if not script_path:
        return '<unknown>'
    if script_path.startswith(('-m ', '<')):
        return _encodable(script_path)
    return _encodable(_real_path(script_path))


def _real_path(path):
    # type: (str) -> str
    """Return the one path of a file; the given one where the current folder was removed, or it holds a NUL and is no path."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path


def _correlation_value(text):
    # type: (str) -> Any
    """Return 16 bytes for a UUID (it is in an index of every run), other texts as they are."""
    try:
        raw = bytes.fromhex(text.replace('-', ''))
        return raw if len(raw) == 16 and len(text) == 36 else text
    except ValueError:
        return text


def _correlation_text(value):
    # type: (Any) -> str
    if isinstance(value, str):
        return value
    return _dashed(bytes(value).hex())


# What a record may hold beside its metrics; the first group is columns of `run`, the second of `context`.
_RUN_COLUMNS = ('status', 'cause', 'evidence', 'pid', 'runner', 'script_args', 'labels', 'warnings', 'error_summary',
                'error_kind', 'error_fingerprint', 'error_frame', 'error_cause', 'stdout_tail', 'stderr_tail', 'limits')
_CONTEXT_COLUMNS = ('hostname', 'username', 'platform', 'python_version', 'git_commit', 'git_branch', 'working_dir')
_RECORD_FIELDS = frozenset(_RUN_COLUMNS + _CONTEXT_COLUMNS + (
    'script_path', 'metrics', 'correlation_id', 'attempt_number', 'start_time', 'end_time', 'execution_time_seconds',
    'database', 'samples', 'artefacts', 'success', 'timed_out'))


def _complete_record(record, more=()):
    # type: (Dict[str, Any], Sequence[Any]) -> Dict[str, Any]
    """Return the record with everything that storing needs, secrets redacted; raises UsageError for an unknown field.

    `more` are patterns of `compile_secret`.
    """
    unknown = [name for name in record if name not in _RECORD_FIELDS]
    if unknown:
        raise UsageError('%r: not a column of a run%s; valid: %s' % (
            unknown[0], suggest(unknown[0], _RECORD_FIELDS), ', '.join(sorted(_RECORD_FIELDS))))
    full = dict(_host_facts(), **record)
    metrics = full['metrics'] = dict(record.get('metrics') or {})
    for name in ('start_time', 'end_time', 'execution_time_seconds', 'attempt_number', 'timed_out'):
        if record.get(name) is not None:
            metrics[name] = record[name]
    metrics['start_time'] = metrics.get('start_time') or format_time(time.time())
    metrics['attempt_number'] = metrics.get('attempt_number') or 1
    if not full.get('correlation_id'):
        full['correlation_id'] = new_correlation_id()
    if not full.get('status'):
        success = record.get('success', metrics.get('success', metrics.get('exit_code', 0) == 0))
        full['status'] = 'success' if success else 'failed'
    arguments = full.get('script_args') or ()
    secrets = secret_values(arguments)
    full['script_args'] = redact_arguments(arguments, more)
    full['labels'] = {key: redact(str(value), more) for key, value in (full.get('labels') or {}).items()}
    for name in ('stdout_tail', 'stderr_tail', 'error_summary', 'error_frame', 'error_cause'):
        if full.get(name):
            full[name] = _stored_text(full[name], secrets, more)
    full['artefacts'] = {name: _without_secrets(text, secrets, more) for name, text in (full.get('artefacts') or {}).items()}
    return full


def _without_secrets(text, secrets=(), more=()):
    # type: (str, Sequence[str], Sequence[Any]) -> str
    """Return a text that can be stored: encodable, redacted, also of the given secrets."""
    text = text.encode('utf-8', 'replace').decode('utf-8')
    for secret in secrets:
        text = text.replace(secret, _REDACTED)
    return redact(text, more)


def _stored_text(text, secrets=(), more=()):
    # type: (str, Sequence[str], Sequence[Any]) -> str
    """Return the end of a text as it is stored: redacted, at most _TAIL_BYTES long, cut at a line where one is near."""
    text = _without_secrets(text, secrets, more)
    if len(text) > _TAIL_BYTES:
        text = text[-_TAIL_BYTES:]
        at = text.find('\n')
        text = text[at + 1:] if 0 <= at < 1024 else text
    return text


def _store_run(connection, record, run_id=None):
    # type: (Any, Dict[str, Any], Optional[int]) -> int
    """Insert a complete record, or replace the row of the same run and attempt; inside the caller's transaction."""
    metrics = record['metrics']
    columns = {name: record.get(name) for name in _RUN_COLUMNS}  # type: Dict[str, Any]
    for name in ('script_args', 'labels', 'warnings', 'limits'):
        columns[name] = _json_text(columns[name])
    for metric in METRICS.values():
        if metric.column:
            columns[metric.name] = metrics.get(metric.name)
    for name in ('start_time', 'end_time'):
        columns[name] = None if columns[name] is None else _parse_time(columns[name])
    columns['correlation'] = _correlation_value(record['correlation_id'])
    columns['script_id'] = _script_id(connection, record['script_path'])
    columns = {name: _encodable(value) if isinstance(value, str) else value for name, value in columns.items()}
    facts = [record.get(name) for name in _CONTEXT_COLUMNS]
    columns['context_id'] = _context_id(connection, [_encodable(fact) if isinstance(fact, str) else fact for fact in facts])
    if run_id is None:
        row = _first(connection, 'SELECT id FROM run WHERE correlation = ? AND attempt_number = ?',
                     (columns['correlation'], columns['attempt_number']))
        run_id = row[0] if row else None
    names, values = list(columns), list(columns.values())
    if run_id is not None:
        changed = connection.execute('UPDATE run SET %s WHERE id = ?' % ', '.join(name + ' = ?' for name in names),
                                     values + [run_id]).rowcount
        if not changed:                                  # pruned while it ran
            run_id = None
    if run_id is None:
        run_id = connection.execute('INSERT INTO run (%s) VALUES (%s)' % (', '.join(names), ', '.join('?' * len(names))),
                                    values).lastrowid
    custom = [(run_id, name, value) for name, value in metrics.items()
              if name not in METRICS and isinstance(value, (int, float))]
    kept = [(run_id, name, text) for name, text in (record.get('artefacts') or {}).items()]
    if kept:
        connection.executemany('INSERT OR REPLACE INTO artefacts VALUES (?, ?, ?)', kept)
    if custom:
        connection.executemany('INSERT OR REPLACE INTO custom_metric VALUES (?, ?, ?)', custom)
    return run_id


def _store_samples(connection, run_id, rows, after=None):
    # type: (Any, int, Sequence[Sequence[Any]], Optional[float]) -> None
    """Store rows of SAMPLE_FIELDS; those later than `after` seconds are told to whoever follows live."""
    if rows and (after is None or rows[-1][0] > after):
        connection.execute("INSERT INTO change (kind, execution_id, after, until) VALUES ('samples', ?, ?, ?)",
                           (run_id, -1.0 if after is None else after, rows[-1][0]))
    connection.executemany('INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
                           [(run_id,) + tuple(row) for row in rows])


def _script_id(connection, path):
    # type: (Any, str) -> int
    path = _encodable(path)
    row = _first(connection, 'SELECT id FROM script WHERE path = ?', (path,))
    return row[0] if row else connection.execute('INSERT INTO script (path) VALUES (?)', (path,)).lastrowid


def _context_id(connection, values):
    # type: (Any, Sequence[Any]) -> int
    row = _first(connection, 'SELECT id FROM context WHERE ' + ' AND '.join(name + ' IS ?' for name in _CONTEXT_COLUMNS), values)
    if row:
        return row[0]
    return connection.execute('INSERT INTO context (%s) VALUES (?, ?, ?, ?, ?, ?, ?)' % ', '.join(_CONTEXT_COLUMNS),
                              values).lastrowid


# -- export ----------------------------------------------------------------------------------------------

#: Columns of a run in a table, before those of the metrics.
_RUN_FIELDS = ('id', 'script_path', 'script_args', 'status', 'cause', 'correlation_id', 'hostname', 'username', 'pid',
               'git_commit', 'git_branch', 'python_version', 'platform', 'labels', 'stdout_tail', 'stderr_tail', 'evidence',
               'error_summary', 'warnings', 'working_dir')


def _format_of(target):
    # type: (Any) -> str
    """Return the format that the ending of a path names."""
    name = os.path.basename(target) if isinstance(target, str) else ''
    ending = name.rpartition('.')[2].lower() if '.' in name else ''
    if not ending:
        raise UsageError('%s: which format? end the name in .%s, or give --format' % (target, ', .'.join(_EXPORT_WRITERS)))
    return {'ndjson': 'jsonl'}.get(ending, ending)


def _export_writer(format):
    # type: (str) -> Any
    if format not in _EXPORT_WRITERS:
        raise UsageError('%r: not a format of an export%s; valid: %s' % (
            format, suggest(format, _EXPORT_WRITERS), ', '.join(_EXPORT_WRITERS)))
    return _EXPORT_WRITERS[format]()


def _table_columns(custom):
    # type: (Sequence[str]) -> List[Tuple[str, str, Optional[str]]]
    """Return (column, name, kind) of a table of runs; kind is None for a field of the run, else the metric's type."""
    columns = [(name, name, None) for name in _RUN_FIELDS]  # type: List[Tuple[str, str, Optional[str]]]
    for metric in METRICS.values():
        columns.append((metric.name, metric.name, metric.unit if metric.unit in ('UTC', 'bool') else metric.column))
    taken = set(name for name, _, _ in columns) | {'samples'}
    return columns + [('metric.' + name if name in taken else name, name, 'REAL') for name in custom]


def _table_value(run, name, kind):
    # type: (Dict[str, Any], str, Optional[str]) -> Any
    """Return one cell; lists and dicts as JSON text."""
    value = run.get(name) if kind is None else run['metrics'].get(name)
    return _compact_json(value) if isinstance(value, (list, dict)) else value


def _compact_json(value):
    # type: (Any) -> str
    return _json_line(value).decode('utf-8')[:-1] if value else '{}' if isinstance(value, dict) else '[]'


class _JsonLinesExport(object):
    """One line for each run."""

    def begin(self, file, custom, samples):
        # type: (Any, Sequence[str], bool) -> None
        self.file = file

    def write(self, runs):
        # type: (Sequence[Dict[str, Any]]) -> None
        self.file.write(b''.join(map(_json_line, runs)))

    def end(self):
        # type: () -> None
        self.file.flush()


class _JsonExport(_JsonLinesExport):
    """One array, a line for each run."""

    def begin(self, file, custom, samples):
        # type: (Any, Sequence[str], bool) -> None
        self.file = file
        self.between = b'['

    def write(self, runs):
        # type: (Sequence[Dict[str, Any]]) -> None
        for run in runs:
            self.file.write(self.between + b'\n' + _json_line(run)[:-1])
            self.between = b','

    def end(self):
        # type: () -> None
        self.file.write(b'[]\n' if self.between == b'[' else b'\n]\n')
        self.file.flush()


class _CsvExport(object):
    """A header and a row for each run, as RFC 4180 has them."""

    def begin(self, file, custom, samples):
        # type: (Any, Sequence[str], bool) -> None
        import csv
        import io
        self.text = io.TextIOWrapper(file, 'utf-8', 'replace', newline='')
        self.rows = csv.writer(self.text)
        self.columns = _table_columns(custom) + ([('samples', 'samples', None)] if samples else [])
        self.rows.writerow([column for column, _, _ in self.columns])

    def write(self, runs):
        # type: (Sequence[Dict[str, Any]]) -> None
        for run in runs:
            metrics = run['metrics']
            self.rows.writerow([self._cell(run.get(name)) if kind is None else metrics.get(name) if kind != 'bool' else
                                self._cell(metrics.get(name)) for _, name, kind in self.columns])

    @staticmethod
    def _cell(value):
        # type: (Any) -> Any
        if isinstance(value, str):
            return value.replace('\0', '\ufffd')
        if isinstance(value, bool):
            return 'true' if value else 'false'
        return _compact_json(value) if isinstance(value, (list, dict)) else value

    def end(self):
        # type: () -> None
        self.text.flush()
        self.text.detach()


class _ParquetExport(object):
    """Columns with types, in row groups of some thousand runs; of a hundred when their samples come along."""
    ROWS = 5000

    def __init__(self):
        # type: () -> None
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise UsageError('parquet: needs pyarrow, which is not installed; pip install pyarrow, or export to .csv or .jsonl')
        self.pyarrow = pyarrow  # type: Any

    def begin(self, file, custom, samples):
        # type: (Any, Sequence[str], bool) -> None
        arrow = self.pyarrow
        types = {None: arrow.string(), 'UTC': arrow.timestamp('us', tz='UTC'), 'bool': arrow.bool_(), 'REAL': arrow.float64(),
                 'INTEGER': arrow.int64()}
        self.columns = _table_columns(custom)
        fields = [(column, arrow.int64() if column in ('id', 'pid') else types[kind]) for column, _, kind in self.columns]
        if samples:
            self.columns.append(('samples', 'samples', 'samples'))
            fields.append(('samples', arrow.list_(arrow.struct([
                (name, arrow.int64() if name.startswith('num_') else arrow.float64()) for name in SAMPLE_FIELDS]))))
        self.schema = arrow.schema(fields)
        self.writer = arrow.parquet.ParquetWriter(file, self.schema)
        self.rows = self.ROWS // 50 if samples else self.ROWS
        self.waiting = []  # type: List[Dict[str, Any]]

    def write(self, runs):
        # type: (Sequence[Dict[str, Any]]) -> None
        self.waiting += runs
        if len(self.waiting) >= self.rows:
            self._write_group()

    def _write_group(self):
        # type: () -> None
        arrays = [self.pyarrow.array([self._cell(run, name, kind) for run in self.waiting], field.type)
                  for (_, name, kind), field in zip(self.columns, self.schema)]
        self.writer.write_table(self.pyarrow.Table.from_arrays(arrays, schema=self.schema))
        self.waiting = []

    @staticmethod
    def _cell(run, name, kind):
        # type: (Dict[str, Any], str, Optional[str]) -> Any
        if kind == 'samples':
            return run['samples']
        value = _table_value(run, name, kind)
        return _parse_time(value) if kind == 'UTC' and value is not None else value

    def end(self):
        # type: () -> None
        if self.waiting:
            self._write_group()
        self.writer.close()


_EXPORT_WRITERS = {'csv': _CsvExport, 'json': _JsonExport, 'jsonl': _JsonLinesExport, 'parquet': _ParquetExport}  # type: Dict[str, Any]


# -- histories of version 7 ------------------------------------------------------------------------------

# How its metrics are called here. Its CPU percentages are no measure of ours: each process counts as 0 when it is first seen.
_METRICS_OF_7 = {'sample_count': 'monitor_samples', 'cpu_max': 'v7_cpu_max', 'cpu_avg': 'v7_cpu_avg', 'cpu_min': 'v7_cpu_min'}
_OTHERS_OF_7 = ('_before', '_after', '_delta', 'sampling_efficiency')      # of the runner itself, not of the script
_IDENTITY_OF_7 = ('id', 'script_path', 'script_args', 'start_time', 'end_time', 'created_at')
_ZONE = 900000000                      # microseconds; time zones differ by quarters of an hour


class _HistoryOf7(object):
    """The runs of a database of python-script-runner 7, some hundred at a time; a context manager."""

    def __init__(self, path):
        # type: (str) -> None
        self._path = os.path.abspath(path)
        self._connection = None  # type: Any
        self._rows = None  # type: Any

    def __enter__(self):
        # type: () -> _HistoryOf7
        if not os.path.isfile(self._path):
            raise HistoryError('%s: no such file' % self._path)
        sqlite3 = _sqlite()
        try:
            self._connection = sqlite3.connect('file:%s?mode=ro' % _uri_quote(self._path), timeout=30.0, uri=True)
            self._connection.text_factory = lambda data: data.decode('utf-8', 'replace')
            tables = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            names = set(row[0] for row in tables)
            if not {'executions', 'metrics'} <= names:
                raise HistoryError('%s: not a history of python-script-runner 7; only those are imported' % self._path)
            self._has_alerts = 'alerts' in names
            self._rows = self._connection.execute('SELECT * FROM executions ORDER BY id')
        except BaseException as error:
            self.__exit__()
            if isinstance(error, sqlite3.Error):
                raise _history_error(self._path, error)
            raise
        return self

    def __exit__(self, *_):
        # type: (*Any) -> None
        for thing in (self._rows, self._connection):
            if thing is not None:
                thing.close()

    def read_some(self):
        # type: () -> Tuple[List[Tuple[Dict[str, Any], List[Sequence[Any]]]], List[int]]
        """Return (complete record, alerts) of the next runs, and the numbers of those that cannot be placed in time."""
        try:
            names = [column[0] for column in self._rows.description]
            rows = [dict(zip(names, row)) for row in self._rows.fetchmany(500)]
            ids = [row['id'] for row in rows]
            metrics = self._of('execution_id, metric_name, metric_value FROM metrics', ids)
            alerts = self._of('execution_id, alert_name, severity, condition, triggered_at FROM alerts',
                              ids if self._has_alerts else [])
        except _sqlite().Error as error:
            raise _history_error(self._path, error)
        runs, unreadable = [], []
        for row in rows:
            try:
                record = _record_of_7(row, metrics.get(row['id'], ()), os.path.dirname(self._path))
            except UsageError:
                unreadable.append(row['id'])
            else:
                runs.append((_complete_record(record), alerts.get(row['id'], [])))
        return runs, unreadable

    def _of(self, what, ids):
        # type: (str, Sequence[int]) -> Dict[int, List[Any]]
        sql = 'SELECT %s WHERE execution_id IN (%s) ORDER BY id' % (what, ', '.join('?' * len(ids)))
        return _grouped(self._connection.execute(sql, ids).fetchall() if ids else [])


def _record_of_7(row, values, folder):
    # type: (Dict[str, Any], Iterable[Sequence[Any]], str) -> Dict[str, Any]
    """Return a run of version 7 as a record; a relative path is of the folder of its file, as it was by default."""
    import hashlib
    start, end = _times_of_7(row)
    metrics = {_METRICS_OF_7.get(name, name): value for name, value in values
               if _is_finite(value) and not str(name).endswith(_OTHERS_OF_7)}
    for name in ('execution_time_seconds', 'stdout_lines', 'stderr_lines'):
        if _is_finite(row.get(name)):
            metrics[name] = row[name]
    code = row.get('exit_code')
    if isinstance(code, int) and code != -1:       # -1 is what it wrote when it did not know
        metrics['exit_code'] = code
    code, timed_out = metrics.get('exit_code'), bool(row.get('timed_out'))
    identity = '\0'.join(str(row.get(name)) for name in _IDENTITY_OF_7)
    path = str(row.get('script_path') or '')
    return {
        'script_path': _canonical(os.path.join(folder, path) if path else None),
        'script_args': _arguments_of_7(row.get('script_args')),
        'start_time': _format_micros(start), 'end_time': _format_micros(end), 'metrics': metrics, 'timed_out': timed_out,
        'status': 'timeout' if timed_out else 'success' if row.get('success') else 'failed',
        'cause': 'timeout' if timed_out else None if code is None else 'signal' if code < 0 else 'exit',
        'evidence': _evidence_of_7(code, row.get('timeout_seconds') if timed_out else None),
        'attempt_number': row.get('attempt_number') or 1, 'labels': {'imported': 'python-script-runner 7'},
        'correlation_id': _dashed(hashlib.sha256(identity.encode('utf-8', 'replace')).hexdigest()[:32]),
        'hostname': None, 'username': None, 'platform': row.get('platform') or None,
        'python_version': str(row.get('python_version') or '').split(' ')[0] or None}


def _is_finite(value):
    # type: (Any) -> bool
    return isinstance(value, (int, float)) and value - value == 0


def _evidence_of_7(code, limit):
    # type: (Optional[int], Any) -> Optional[str]
    if _is_finite(limit):
        return 'time limit of %s' % format_duration(limit)
    return signal_name(-code) if code is not None and code < 0 else None


def _arguments_of_7(text):
    # type: (Any) -> List[str]
    import json
    try:
        words = json.loads(text)
    except (TypeError, ValueError):
        return []
    return [str(word) for word in words] if isinstance(words, list) else []


def _times_of_7(row):
    # type: (Dict[str, Any]) -> Tuple[int, int]
    """Return when a run began and ended, in microseconds since 1970. Raises UsageError when nothing tells.

    Version 7 wrote local time and not which. `created_at` is of the moment after the end and in UTC: the difference is the
    zone, whatever the zone of the machine is that imports it. Without it, it is this machine's.
    """
    saved = _time_or_none(row.get('created_at'))
    start, end = _time_or_none(row.get('start_time')), _time_or_none(row.get('end_time'))
    if start is None or end is None:
        if saved is None:
            raise UsageError('%r: not a time' % (row.get('start_time'),))
        seconds = row.get('execution_time_seconds')  # type: Any
        return saved - (int(seconds * 1e6) if _is_finite(seconds) else 0), saved
    shift = None  # type: Optional[int]
    if saved is not None:
        shift = (saved - end + _ZONE // 2) // _ZONE * _ZONE
        if abs(saved - end - shift) > 300000000 or abs(shift) > 64 * _ZONE:
            shift = None
    if shift is None:
        shift = int(time.mktime(time.gmtime(start // 1000000)[:8] + (-1,))) * 1000000 - start // 1000000 * 1000000
    return start + shift, end + shift


def _time_or_none(text):
    # type: (Any) -> Optional[int]
    try:
        return _parse_time(text)
    except UsageError:
        return None


def _take_in_run_of_7(connection, record, alerts):
    # type: (Any, Dict[str, Any], Iterable[Sequence[Any]]) -> bool
    """Store a run and its alerts, inside the caller's transaction; False when it is there."""
    if _first(connection, 'SELECT id FROM run WHERE correlation = ? AND attempt_number = ?',
              (_correlation_value(record['correlation_id']), record['metrics']['attempt_number'])):
        return False
    run_id = _store_run(connection, record)
    for name, severity, condition, moment in alerts:
        told = _time_or_none(moment)
        connection.execute(
            'INSERT INTO alerts (execution_id, alert_time, script_path, name, severity, state, condition, delivery) '
            "VALUES (?, ?, ?, ?, ?, 'firing', ?, 'told')",
            (run_id, record['end_time'] if told is None else _format_micros(told), record['script_path'], redact(str(name)),
             str(severity), redact(str(condition or ''))))
    return True


# -- retention -------------------------------------------------------------------------------------------

_THINNED_SAMPLES = 150                 # of a run, at most, once they are thinned


class _Archive(object):
    """A file of JSON lines, gzipped if its name ends in .gz, to which runs are added before they are deleted."""
    __slots__ = ('path', '_zipped')

    def __init__(self, path):
        # type: (str) -> None
        self.path = path
        self._zipped = path.lower().endswith('.gz')
        if os.path.exists(path):
            self._check()

    def _check(self):
        # type: () -> None
        """Refuse a file that is not an archive: what is added to it could not be read back."""
        if not os.path.isfile(self.path):
            raise UsageError('%s: not a regular file; name another for --archive' % self.path)
        with open(self.path, 'rb') as file:
            begin = file.read(2)
            file.seek(-min(1, os.path.getsize(self.path)), 2)
            last = file.read(1)
        if begin and begin[:1 + self._zipped] != (b'\x1f\x8b' if self._zipped else b'{'):
            raise UsageError('%s: there, and no archive of runs; name another for --archive' % self.path)
        if begin and not self._zipped and last != b'\n':
            raise UsageError('%s: its last line is unfinished; mend it, or name another for --archive' % self.path)

    def append(self, runs):
        # type: (Sequence[Dict[str, Any]]) -> None
        """Add runs; on return they are on the disk and were read back. Raises HistoryError; then nothing was added."""
        data = b''.join(map(_json_line, runs))
        if self._zipped:
            import gzip
            data = gzip.compress(data)                             # members may follow each other (RFC 1952)
        try:
            created = not os.path.exists(self.path)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY, 0o600)
            try:
                self._add(descriptor, data)
            finally:
                os.close(descriptor)
            if created:
                _sync_folder(os.path.dirname(os.path.abspath(self.path)))
        except OSError as error:
            raise HistoryError('%s: cannot be written (%s); what is not in it was not deleted' % (
                self.path, error.strerror or error))

    @staticmethod
    def _add(descriptor, data):
        # type: (int, bytes) -> None
        start = os.lseek(descriptor, 0, 2)
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
            os.lseek(descriptor, start, 0)
            if _read_back(descriptor, len(data)) != data:
                raise OSError(errno.EIO, 'what was read back differs')
        except BaseException:
            os.ftruncate(descriptor, start)
            raise


def _read_back(descriptor, length):
    # type: (int, int) -> bytes
    """Read so many bytes, fewer at the end of the file."""
    parts = []  # type: List[bytes]
    while length > 0:
        parts.append(os.read(descriptor, length))
        length -= len(parts[-1])
        if not parts[-1]:
            break
    return b''.join(parts)


def _sync_folder(folder):
    # type: (str) -> None
    """Bring the name of a file that was made to the disk; Windows does so by itself."""
    if not _WINDOWS:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class RetentionPlan(object):
    """What a RetentionPolicy deletes: `runs` is a list of dicts (id, script_path, start_time, reason), oldest first.

    `samples_deleted` and `samples_thinned` are ids of runs that stay without their samples, or with fewer.
    """
    __slots__ = ('runs', 'samples_deleted', 'samples_thinned')

    def __init__(self):
        # type: () -> None
        self.runs = []  # type: List[Dict[str, Any]]
        self.samples_deleted = []  # type: List[int]
        self.samples_thinned = []  # type: List[int]

    def reasons(self):
        # type: () -> Dict[str, int]
        """Return {reason: number of runs}."""
        counts = {}  # type: Dict[str, int]
        for run in self.runs:
            counts[run['reason']] = counts.get(run['reason'], 0) + 1
        return counts


class RetentionPolicy(object):
    """Which runs a history keeps. A run goes when any of the rules says so; one that is running always stays.

    `max_age_days`: since its start. `max_runs_per_script`: the newest stay (each attempt counts). `max_size_mb`: MiB of the
    file; the oldest go until it is small enough. `max_samples_age_days`: the samples of older runs go, the runs stay.
    `thin_samples_after_days`: of older runs at most 150 samples stay, the greatest and least CPU and memory among them.
    None: no such rule. Raises UsageError without any rule, and for a negative number.
    """
    __slots__ = ('max_age_days', 'max_runs_per_script', 'max_size_mb', 'max_samples_age_days', 'thin_samples_after_days')

    def __init__(self, max_age_days=None, max_runs_per_script=None, max_size_mb=None, max_samples_age_days=None,
                 thin_samples_after_days=None):
        # type: (Optional[float], Optional[int], Optional[float], Optional[float], Optional[float]) -> None
        self.max_age_days = max_age_days
        self.max_runs_per_script = max_runs_per_script
        self.max_size_mb = max_size_mb
        self.max_samples_age_days = max_samples_age_days
        self.thin_samples_after_days = thin_samples_after_days
        given = [(name, getattr(self, name)) for name in self.__slots__ if getattr(self, name) is not None]
        if not given:
            raise UsageError('a retention policy without a rule keeps everything; give one of ' + ', '.join(self.__slots__))
        for name, value in given:
            if not isinstance(value, (int, float)) or not 0 <= value < float('inf'):
                raise UsageError('%s=%r: not a number of at least 0' % (name, value))

    def plan(self, history):
        # type: (HistoryManager) -> RetentionPlan
        """Say what `apply` would delete, and why; what `max_size_mb` needs is estimated from the size of the rows."""
        rows = history._read("SELECT run.id, path, start_time FROM run JOIN script ON script.id = script_id "
                             "WHERE status <> 'running' ORDER BY start_time, run.id")
        reasons = {}  # type: Dict[int, str]
        self._by_count(rows, reasons)
        self._by_age(rows, reasons)
        if self.max_size_mb is not None:
            self._by_size(history, [row[0] for row in rows], reasons)
        plan = RetentionPlan()
        going = [row for row in rows if row[0] in reasons]
        plan.runs = [{'id': row[0], 'script_path': row[1], 'start_time': when, 'reason': reasons[row[0]]}
                     for row, when in zip(going, _format_many_micros(row[2] for row in going))]
        self._plan_samples(history, reasons, plan)
        return plan

    def _by_count(self, rows, reasons):
        # type: (Sequence[Tuple[int, str, int]], Dict[int, str]) -> None
        if self.max_runs_per_script is None:
            return
        counts = {}  # type: Dict[str, int]
        for run_id, path, _ in reversed(rows):
            counts[path] = counts.get(path, 0) + 1
            if counts[path] > self.max_runs_per_script:
                reasons[run_id] = 'not among the newest %d of its script' % self.max_runs_per_script

    def _by_age(self, rows, reasons):
        # type: (Sequence[Tuple[int, str, int]], Dict[int, str]) -> None
        if self.max_age_days is None:
            return
        cutoff = _days_ago(self.max_age_days)
        for run_id, _, started in rows:
            if started < cutoff:
                reasons[run_id] = 'older than ' + _age_text(self.max_age_days)

    def _by_size(self, history, ids, reasons):
        # type: (HistoryManager, Sequence[int], Dict[int, str]) -> None
        """Let the oldest go until the rest is estimated to fit: the pages in use, shared out by the length of the rows."""
        used, _ = _pages(history)
        weights = dict(history._read(_SQL_WEIGHTS))
        scale = used / float(sum(weights.values()) or 1)
        left = sum(weight for run_id, weight in weights.items() if run_id not in reasons) * scale
        for run_id in ids:
            if left <= (self.max_size_mb or 0) * _MIB:
                return
            if run_id not in reasons:
                reasons[run_id] = 'the file is larger than %g MiB' % (self.max_size_mb or 0)
                left -= weights.get(run_id, 0) * scale

    def _plan_samples(self, history, going, plan):
        # type: (HistoryManager, Dict[int, str], RetentionPlan) -> None
        sql = ('SELECT id FROM run WHERE start_time < ? AND status <> \'running\' AND '
               '(SELECT count(*) FROM samples WHERE execution_id = run.id) > ? ORDER BY start_time, id')
        if self.max_samples_age_days is not None:
            plan.samples_deleted = [row[0] for row in history._read(sql, (_days_ago(self.max_samples_age_days), 0))
                                    if row[0] not in going]
        if self.thin_samples_after_days is not None:
            gone = set(plan.samples_deleted)
            plan.samples_thinned = [row[0] for row in history._read(
                sql, (_days_ago(self.thin_samples_after_days), _THINNED_SAMPLES)) if row[0] not in going and row[0] not in gone]

    def apply(self, history, archive=None, on_progress=None):
        # type: (HistoryManager, Optional[str], Optional[Callable[[int], Any]]) -> RetentionPlan
        """Delete what the policy says, with all that belongs to it, and return what was deleted.

        `archive` names a file to which each run is added first, as a JSON line with its samples and artefacts (gzipped when the
        name ends in .gz); a run is deleted only when its line is on the disk and was read back. Space is given back to the
        file system. Writers wait for some hundred runs at most. `on_progress(runs so far)` is called now and then. Raises
        HistoryError when the archive or the history cannot be written.
        """
        store = _Archive(archive) if archive else None
        done = self.plan(history)
        self._delete(history, done, store, on_progress)
        while self.max_size_mb is not None and sum(_pages(history)) > self.max_size_mb * _MIB:
            more = self.plan(history)                              # the estimate was too low
            if not more.runs:
                break
            self._delete(history, more, store, on_progress)
            done.runs += more.runs
        return done

    def _delete(self, history, plan, archive, on_progress):
        # type: (HistoryManager, RetentionPlan, Optional[_Archive], Optional[Callable[[int], Any]]) -> None
        history._delete_runs([run['id'] for run in plan.runs], archive, on_progress)
        for first in range(0, len(plan.samples_deleted), 500):
            some = plan.samples_deleted[first:first + 500]
            with _Writing(history) as connection:
                connection.execute('DELETE FROM samples WHERE execution_id IN (%s)' % ', '.join('?' * len(some)), some)
        for run_id in plan.samples_thinned:
            _thin_stored_samples(history, run_id)
        history._give_back_pages()


#: About how many bytes each run takes, by id.
_SQL_WEIGHTS = """SELECT id, 300 + coalesce(length(stdout_tail), 0) + coalesce(length(stderr_tail), 0)
    + coalesce(length(script_args), 0) + coalesce(length(labels), 0) + coalesce(length(warnings), 0)
    + coalesce(length(error_summary), 0) + 60 * (SELECT count(*) FROM samples WHERE execution_id = run.id)
    + 30 * (SELECT count(*) FROM custom_metric WHERE run_id = run.id)
    + coalesce((SELECT sum(length(content)) FROM artefacts WHERE execution_id = run.id), 0) FROM run"""


def _age_text(days):
    # type: (float) -> str
    """Write an age for a person.

    >>> _age_text(90.0), _age_text(1), _age_text(1.5)
    ('90 days', '1 day', '1d 12h')
    """
    if days != int(days) or not days:
        return format_duration(days * 86400.0)
    return '%d day%s' % (days, '' if days == 1 else 's')


def _days_ago(days):
    # type: (float) -> int
    """Return microseconds since 1970; what is longer ago than an integer of SQLite can say is the earliest that it can."""
    return int(max(-9.2e18, (time.time() - days * 86400.0) * 1000000))


def _pages(history):
    # type: (HistoryManager) -> Tuple[int, int]
    """Return how many bytes of the file are in use, and how many are free."""
    with history.get_connection() as connection:
        count, free, size = [_first(connection, 'PRAGMA ' + name)[0] for name in ('page_count', 'freelist_count', 'page_size')]
    return (count - free) * size, free * size


def _thin_stored_samples(history, run_id):
    # type: (HistoryManager, int) -> None
    with _Writing(history) as connection:
        rows = connection.execute('SELECT %s FROM samples WHERE execution_id = ? ORDER BY elapsed_seconds'
                                  % ', '.join(SAMPLE_FIELDS), (run_id,)).fetchall()
        while len(rows) > _THINNED_SAMPLES:
            rows = thin_samples(rows)
        connection.execute('DELETE FROM samples WHERE execution_id = ?', (run_id,))
        _store_samples(connection, run_id, rows)


# -- facts about this machine and this checkout, each read without starting anything ---------------------

def _host_facts():
    # type: () -> Dict[str, Any]
    """Return hostname, username and platform."""
    if hasattr(os, 'uname'):
        system = os.uname()
        host, name = system.nodename, '%s-%s-%s' % (system.sysname, system.release, system.machine)
    else:
        import platform
        host, name = platform.node(), platform.platform()
    return {'hostname': host, 'username': _user_name(), 'platform': name}


def _user_name():
    # type: () -> Optional[str]
    try:
        import pwd
        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return os.environ.get('LOGNAME') or os.environ.get('USERNAME')


def find_git(folder):
    # type: (str) -> Tuple[Optional[str], Optional[str]]
    """Return (commit, branch) of the checkout that holds a folder, read from .git; None for what is not there.

    Linked worktrees and packed refs are understood (gitrepository-layout(5)); a detached HEAD has no branch.
    """
    git = _git_folder(os.path.abspath(folder))
    head = _first_line(os.path.join(git, 'HEAD')) if git else None
    if not git or not head:
        return None, None
    if not head.startswith('ref: '):
        return head, None
    ref = head[5:]
    branch = ref[len('refs/heads/'):] if ref.startswith('refs/heads/') else ref
    common = os.path.normpath(os.path.join(git, _first_line(os.path.join(git, 'commondir')) or '.'))
    commit = _first_line(os.path.join(git, ref)) or _first_line(os.path.join(common, ref)) or _packed_ref(common, ref)
    return commit, branch


def _git_folder(folder):
    # type: (str) -> Optional[str]
    while True:
        candidate = os.path.join(folder, '.git')
        if os.path.isdir(candidate):
            return candidate
        link = _first_line(candidate)
        if link and link.startswith('gitdir: '):
            return os.path.join(folder, link[8:])
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def _first_line(path):
    # type: (str) -> Optional[str]
    try:
        return _read_file(path).split(b'\n', 1)[0].strip().decode('utf-8', 'replace')
    except OSError:
        return None


def _packed_ref(git, ref):
    # type: (str, str) -> Optional[str]
    try:
        with open(os.path.join(git, 'packed-refs'), 'rb') as file:
            for line in file:
                commit, _, name = line.strip().partition(b' ')
                if name == ref.encode():
                    return commit.decode()
    except OSError:
        pass
    return None


def _boot_and_namespace():
    # type: () -> Tuple[str, str]
    """Return what tells this boot of this machine, and this pid namespace, from every other; '-' where unknown."""
    boot = _first_line('/proc/sys/kernel/random/boot_id') or '-'
    try:
        return boot, os.readlink('/proc/self/ns/pid').replace(' ', '')
    except OSError:
        return boot, '-'


_DETACHED = ' detached'                # ends the proof of a run with --detach-ok


def _runner_proof():
    # type: () -> str
    """Return what identifies this process for good: boot, pid namespace, pid, start time."""
    return '%s %s %d %s' % (_boot_and_namespace() + (os.getpid(), process_start(os.getpid()) if _LINUX else '-'))


def _is_runner_gone(proof, hostname, started, last_write):
    # type: (Optional[str], Optional[str], float, float) -> bool
    """Judge whether the runner of a `running` row has died; unprovable rows are given up after a day without a write."""
    stale = time.time() - last_write > _LOST_AFTER
    words = (proof or '').split()
    if len(words) < 4 or '-' in words[:4]:
        return stale
    boot, namespace = _boot_and_namespace()
    if words[0] != boot:
        here = hostname == _host_facts()['hostname']
        return stale or here and boot != '-' and started < time.time() - time.monotonic()     # this host has booted since
    if words[1] != namespace:
        return stale
    return not _is_alive(int(words[2]), int(words[3]))


# -- the spool: where a record waits that the database would not take --------------------------------------

def _spool_folders(db_path):
    # type: (str) -> List[str]
    import tempfile
    return [db_path + '.spool', os.path.join(_state_folder(), 'spool'), _spool_below(tempfile.gettempdir())]


def _spool_below(temporary):
    # type: (str) -> str
    user = str(os.getuid()) if hasattr(os, 'getuid') else 'me'
    return os.path.join(os.path.abspath(temporary), 'script-runner-%s' % user, 'spool')


def _spooled_files(db_path):
    # type: (str) -> List[str]
    """Return the files that may hold records of this database, in folders that are our own.

    Which folder for temporary files was writable at the time (`tempfile.gettempdir`) is not known any more: all are looked into.
    """
    folders = [db_path + '.spool', os.path.join(_state_folder(), 'spool')]
    for temporary in [os.environ.get(name) for name in ('TMPDIR', 'TEMP', 'TMP')] + ['/tmp', '/var/tmp', '/usr/tmp']:
        if temporary and _spool_below(temporary) not in folders:
            folders.append(_spool_below(temporary))
    found = []
    mark = _path_mark(db_path)
    for folder in folders:
        shared = folder != folders[0]              # with other databases: theirs are not even opened
        try:
            found += [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith('.jsonl')
                      and (name.startswith(mark) or not shared) and _is_ours(folder)]
        except OSError:
            continue
    return found


def _path_mark(path):
    # type: (str) -> str
    """Return the beginning of the names of this database's spooled records: a hash of its path (FNV-1a, 32 bits)."""
    value = 0x811C9DC5
    for byte in os.fsencode(path):
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return '%08x-' % value


def _is_ours(folder):
    # type: (str) -> bool
    """Tell whether a folder belongs to us and nobody else may write to it; a folder in /tmp may be a trap."""
    if _WINDOWS:
        return True
    status = os.lstat(folder)
    return status.st_uid == os.getuid() and status.st_mode & 0o170022 == 0o040000


def _spool(db_path, record):
    # type: (str, Dict[str, Any]) -> str
    """Keep a record as one JSON line for later; returns the file. Raises OSError when no folder can be written to."""
    import json
    line = json.dumps(dict(record, database=db_path), ensure_ascii=False).encode('utf-8', 'replace') + b'\n'
    name = '%s%s-%d.jsonl' % (_path_mark(db_path), record['correlation_id'].replace('/', '_'),
                              record['metrics'].get('attempt_number') or 1)
    failure = None  # type: Optional[OSError]
    for folder in _spool_folders(db_path):
        try:
            make_private_folder(folder)
            if not (_is_ours(folder) and _is_ours(os.path.dirname(folder)) or folder.startswith(db_path)):
                raise PermissionError(errno.EPERM, 'the folder belongs to somebody else', folder)
            path = os.path.join(folder, name)
            write_atomically(path, line)
            return path
        except OSError as error:
            failure = error
    raise failure or OSError(errno.ENOENT, 'no spool folder')


def _merged(first, final):
    # type: (Dict[str, Any], Dict[str, Any]) -> Dict[str, Any]
    """Return the record of a run's start with that of its end over it."""
    return dict(first, **dict(final, metrics=dict(first['metrics'], **final['metrics'])))


class _Recorder(object):
    """Write one attempt into history from a thread of its own: a `running` row at the start, samples every second,
    the final row at the end. Whatever fails here costs the record, never the run.

    `describe()` returns the record as it is at the start; it is called in the thread, since finding out who and where
    we are takes time that the script should not wait for. `series()` returns the SampleSeries, None before it exists.
    """
    EVERY = 1.0
    DELETE_AT_ONCE = 1000                # old runs; many runs share the work, so that none waits for it

    def __init__(self, manager, describe, series, on_lost=None, detached=False, redact_patterns=(), retention_days=None):
        # type: (HistoryManager, Callable[[], Dict[str, Any]], Callable[[], Any], Optional[Callable[[int, str], Any]], bool, Sequence[Any], Optional[float]) -> None
        self._patterns = redact_patterns
        self._retention_days = retention_days
        self._on_lost = on_lost
        self._mark = _DETACHED if detached else ''
        self.run_id = None  # type: Optional[int]
        self._manager = manager
        self._describe = describe
        self._series = series
        self._problem = None  # type: Optional[str]
        self._described = {}  # type: Dict[str, Any]
        self._final = None  # type: Optional[Dict[str, Any]]
        self._stored = False
        self._generation = self._written = 0
        self._last_sample = None  # type: Optional[float]
        self._wake = allocate_lock()
        self._wake.acquire()
        self._done = allocate_lock()
        self._done.acquire()

    def start(self):
        # type: () -> None
        """Begin; to be called as soon as the script runs."""
        try:
            start_new_thread(self._run, ())
        except RuntimeError as error:              # no thread is to be had: the record is spooled at the end
            self._problem = str(error)
            self._done.release()

    def finish(self, final):
        # type: (Dict[str, Any]) -> Optional[str]
        """Store the end of the run; returns None, or one sentence saying what was not recorded and where it went."""
        self._final = final
        self._wake.release()
        self._done.acquire(True, _WAIT_AT_END)
        if self._stored:
            return None
        problem = self._problem or '%s: locked by another process' % self._manager.db_path
        record = _complete_record(_merged(self._described or self._describe(), final), self._patterns)
        series = self._series()
        record['samples'] = series.rows if series is not None else []
        try:
            return 'history not written (%s); this run is kept in %s and taken in by the next' % (
                problem, _spool(self._manager.db_path, record))
        except OSError as error:
            return 'history not written (%s), and the record of this run is lost (%s)' % (problem, error)

    def _run(self):
        # type: () -> None
        """Thread border."""
        try:
            self._work()
        except Exception as error:
            self._problem = str(error) if isinstance(error, RunnerError) else repr(error)
        finally:
            self._done.release()

    def _work(self):
        # type: () -> None
        self._described = self._describe()
        begun = _complete_record(dict(self._described, status='running', runner=_runner_proof() + self._mark), self._patterns)
        try:
            with _Writing(self._manager) as connection:
                self.run_id = _store_run(connection, begun)
            self._tidy()
        except HistoryError as error:
            self._problem = str(error)          # it may be well again at the end
        while not self._wake.acquire(True, self.EVERY):
            if self.run_id is not None:
                self._write_samples_if_any()
        final = _complete_record(_merged(self._described, self._final or {}), self._patterns)
        with _Writing(self._manager) as connection:
            run_id = _store_run(connection, final, self.run_id)
            self._write_samples(connection, run_id)
        self.run_id = run_id
        self._stored = True

    def _tidy(self):
        # type: () -> None
        """Border: look after what earlier runs left, while ours is busy; trouble with theirs is not ours."""
        try:
            self._manager.tidy(self._on_lost)
            if self._retention_days is not None:
                self._manager.cleanup_old_data(self._retention_days, limit=self.DELETE_AT_ONCE)
            if os.path.getsize(self._manager.db_path + '-wal') > _CHECKPOINT_BYTES:
                with self._manager.get_connection() as connection:
                    connection.execute('PRAGMA wal_checkpoint(PASSIVE)').fetchall()
        except Exception:
            pass

    def _write_samples_if_any(self):
        # type: () -> None
        series = self._series()
        if series is None or (series.generation, len(series.rows)) == (self._generation, self._written):
            return
        try:
            with _Writing(self._manager) as connection:
                self._write_samples(connection, self.run_id or 0)
        except HistoryError as error:
            self._problem = str(error)

    def _write_samples(self, connection, run_id):
        # type: (Any, int) -> None
        """Add the rows since the last time; all anew after the series was thinned."""
        series = self._series()
        if series is None:
            return
        generation, rows = series.generation, series.rows
        count = len(rows)
        if generation != self._generation or run_id != self.run_id:
            connection.execute('DELETE FROM samples WHERE execution_id = ?', (run_id,))
            self._written = 0
            self._last_sample = self._last_sample if run_id == self.run_id else None
        _store_samples(connection, run_id, rows[self._written:count], self._last_sample)
        self._generation, self._written = generation, count
        self._last_sample = rows[count - 1][0] if count else None


# ======================================================================================================
# 8. Trends
# ======================================================================================================

_CLAIM = 0.0025           # a verdict is claimed when its p-value, for the whole series, is at most this
_MINIMUM_TREND = 5        # values below which nothing can be said: five in one order happen by chance in 1 of 60 series
_ODD_AMONG, _ODD_SHARE = 8, 0.05      # values that must be there, and share of their median by which one must differ, to be odd
_MINIMUM_STEP = 16        # shortest series in which a step can be told from chance by ranks
_SHORTEST_WINDOW = 24      # shorter ones cannot tell a step from neighbours that resemble each other
_LONGEST_WINDOWED = 1000  # values up to which windows are searched too; longer series show their steps without
_MINIMUM_BEFORE = 5       # runs before the window that detect_regression compares with
_EXACT_SLOPES = 300       # values up to which Theil-Sen takes every pair
_BLOCKS = 150             # medians of neighbours that longer series become
_MAD_TO_SIGMA = 1.482602218505602       # 1 / normal quantile of 3/4
_MAD_EFFICIENCY = 0.37    # values of a standard deviation that tell as much as one of a median absolute deviation
_MEAN_TO_SIGMA = 1.2533141373155003     # sqrt(pi / 2): mean absolute deviation -> sigma of a normal


def _known(values):
    # type: (Iterable[Any]) -> Tuple[List[int], List[float]]
    """Return (places, numbers) of the values that are known: None, NaN and infinities are gaps.

    So is what is beyond 1e150, whose square is no double; what is nearer to 0 than 1e-150 is 0. Raises UsageError for anything
    that is no number.
    """
    places, numbers = [], []
    for place, value in enumerate(values):
        if value is None:
            continue
        try:
            number = float(value)
        except OverflowError:           # an int beyond the doubles
            continue
        except (TypeError, ValueError):
            raise UsageError('value %d, %r: not a number; give numbers, None for unknown' % (place, value))
        if -1e150 < number < 1e150:
            places.append(place)
            numbers.append(number if number > 1e-150 or number < -1e-150 else 0.0)
    return places, numbers


def _mean(numbers):
    # type: (Sequence[float]) -> float
    import math
    return math.fsum(numbers) / len(numbers)


def _median(numbers):
    # type: (Iterable[float]) -> float
    """Return the middle of the sorted numbers, the mean of the two middle ones when their count is even.

    >>> _median([3, 1, 2]), _median([4, 1, 2, 3])
    (2, 2.5)
    """
    ordered = sorted(numbers)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else ordered[half - 1] + (ordered[half] - ordered[half - 1]) / 2.0


def _percentile(ordered, percent):
    # type: (Sequence[float], float) -> float
    """Interpolate between the two nearest of sorted numbers (Hyndman & Fan's type 7, numpy's default).

    >>> _percentile([1.0, 2.0, 4.0], 75)
    3.0
    """
    at = (len(ordered) - 1) * percent / 100.0
    low = min(int(at), len(ordered) - 1)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def _ranks(numbers):
    # type: (Sequence[float]) -> List[float]
    """Return ranks from 1; equal numbers share the mean of theirs.

    >>> _ranks([10.0, 30.0, 10.0, 20.0])
    [1.5, 4.0, 1.5, 3.0]
    """
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    ranks = [0.0] * len(numbers)
    start = 0
    while start < len(order):
        end, value = start + 1, numbers[order[start]]
        while end < len(order) and numbers[order[end]] == value:
            end += 1
        shared = (start + end + 1) / 2.0
        for place in order[start:end]:
            ranks[place] = shared
        start = end
    return ranks


def _robust_scale(numbers, center):
    # type: (Sequence[float], float) -> float
    """Estimate sigma from the median absolute deviation, and from the mean one where more than half are equal.

    0.0 only when all are equal, up to the rounding of doubles (Iglewicz & Hoaglin, "How to detect and handle outliers", 1993).
    """
    deviations = [abs(number - center) for number in numbers]
    scale = _median(deviations) * _MAD_TO_SIGMA
    if scale <= abs(center) * 1e-12:
        scale = _mean(deviations) * _MEAN_TO_SIGMA
    return scale if scale > abs(center) * 1e-12 else 0.0


def _incomplete_beta(a, b, x, y):
    # type: (float, float, float, float) -> float
    """Return the regularized incomplete beta function I_x(a, b), y being 1 - x (Lentz's continued fraction, DLMF 8.17.22)."""
    import math
    if x <= 0.0 or y <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _incomplete_beta(b, a, y, x)
    log_x = math.log(x) if x < 0.5 else math.log1p(-y)
    log_y = math.log(y) if y < 0.5 else math.log1p(-x)
    front = math.exp(a * log_x + b * log_y + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)) / a
    c, d = 1.0, 1.0 / (_away_from_zero(1.0 - (a + b) * x / (a + 1.0)))
    fraction = d
    for m in range(1, 10000):
        for term in (m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
                     -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))):
            d = 1.0 / _away_from_zero(1.0 + term * d)
            c = _away_from_zero(1.0 + term / c)
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return front * fraction


def _away_from_zero(number):
    # type: (float) -> float
    return number if abs(number) > 1e-300 else 1e-300


def _student_p(t, df):
    # type: (float, float) -> float
    """Return the two-sided p-value of Student's t with `df` degrees of freedom.

    >>> round(_student_p(2.2281388519649385, 10), 9)
    0.05
    """
    square = t * t
    if square == float('inf'):
        return 0.0
    return _incomplete_beta(df / 2.0, 0.5, df / (df + square), square / (df + square))


def _f_p(f, df1, df2):
    # type: (float, float, float) -> float
    """Return the upper p-value of Fisher's F."""
    return _incomplete_beta(df2 / 2.0, df1 / 2.0, df2 / (df2 + df1 * f), df1 * f / (df2 + df1 * f))


def _chi_square_p(x, df):
    # type: (float, float) -> float
    """Return the upper p-value of chi square (regularized incomplete gamma function, DLMF 8.7.1 and 8.9.2).

    >>> round(_chi_square_p(5.991464547107979, 2), 12)
    0.05
    """
    import math
    a, x = df / 2.0, x / 2.0
    if x <= 0.0:
        return 1.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1.0:
        term = total = 1.0 / a
        n = a
        while term > total * 1e-17:
            n += 1.0
            term *= x / n
            total += term
        return max(0.0, 1.0 - front * total)
    b = x + 1.0 - a
    c, d = 1e300, 1.0 / b
    fraction = d
    for i in range(1, 10000):
        term = -i * (i - a)
        b += 2.0
        d = 1.0 / _away_from_zero(term * d + b)
        c = _away_from_zero(b + term / c)
        fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return front * fraction


def _chi_square_quantile(p, df):
    # type: (float, float) -> float
    """Return the x whose upper p-value is `p`."""
    return _quantile(lambda x: _chi_square_p(x, df), p)


def _normal_p(z):
    # type: (float) -> float
    """Return the two-sided p-value of a standard normal."""
    import math
    return math.erfc(abs(z) / math.sqrt(2.0))


def _quantile(p_value, p):
    # type: (Callable[[float], float], float) -> float
    """Return where a falling p-value function reaches `p` (regula falsi on its logarithm, Illinois variant)."""
    import math

    def above(x):
        # type: (float) -> float
        return math.log(max(p_value(x), 1e-320) / p)

    low, high = 0.0, 1.0
    at_low, at_high = above(low), above(high)
    while at_high > 0.0 and high < 1e300:
        low, at_low = high, at_high
        high *= 2.0
        at_high = above(high)
    side = 0
    for _ in range(100):
        x = (low * at_high - high * at_low) / (at_high - at_low)
        at_x = above(x)
        if at_x > 0.0:
            low, at_low, at_high, side = x, at_x, at_high / 2.0 if side > 0 else at_high, 1
        else:
            high, at_high, at_low, side = x, at_x, at_low / 2.0 if side < 0 else at_low, -1
        if abs(at_x) < 1e-12 or high - low <= 1e-15 * high:
            break
    return x


def _fit_line(x, y):
    # type: (Sequence[float], Sequence[float]) -> Tuple[float, float, float, float, float]
    """Fit least squares through centred sums; returns slope, intercept, residual and total sum of squares, sum of squares of
    x."""
    import math
    mean_x, mean_y = _mean(x), _mean(y)
    dx = [value - mean_x for value in x]
    dy = [value - mean_y for value in y]
    sxx = math.fsum([d * d for d in dx])
    slope = math.fsum([a * b for a, b in zip(dx, dy)]) / sxx
    residual = math.fsum([(b - slope * a) ** 2 for a, b in zip(dx, dy)])
    return slope, mean_y - slope * mean_x, residual, math.fsum([d * d for d in dy]), sxx


def _block_medians(x, y):
    # type: (Sequence[float], Sequence[float]) -> Tuple[Sequence[float], Sequence[float]]
    """Put neighbours of a long series together: each block's middle x and median y. A short one stays as it is."""
    if len(y) <= _EXACT_SLOPES:
        return x, y
    edges = [i * len(y) // _BLOCKS for i in range(_BLOCKS + 1)]
    blocks = list(zip(edges, edges[1:]))
    return [(x[a] + x[b - 1]) / 2.0 for a, b in blocks], [_median(y[a:b]) for a, b in blocks]


def _theil_sen(x, y):
    # type: (Sequence[float], Sequence[float]) -> Tuple[float, float, float]
    """Return the median of the slopes of all pairs with its 95 % interval (Sen, JASA 63, 1968), as scipy.stats.theilslopes does.

    x must not be all the same.
    """
    import math
    slopes = []  # type: List[float]
    n = len(x)
    if all(b - a == 1.0 for a, b in zip(x, x[1:])):       # every run, as nearly always: half the time
        for gap in range(1, n):
            slopes += [(b - a) / gap for a, b in zip(y, y[gap:])]
    else:
        for i in range(n - 1):
            at, value = x[i], y[i]
            slopes += [(b - value) / (a - at) for a, b in zip(x[i + 1:], y[i + 1:]) if a != at]
    count = len(slopes)
    variance = n * (n - 1) * (2 * n + 5) - sum(k * (k - 1) * (2 * k + 5) for values in (x, y) for k in _repeats(values))
    spread = 1.959963984540054 * math.sqrt(max(variance, 0) / 18.0)
    low = max(int(round((count - spread) / 2.0)) - 1, 0)
    high = min(int(round((count + spread) / 2.0)), count - 1)
    first, lower, upper, last = _in_order(slopes, (low, (count - 1) // 2, count // 2, high))
    return lower + (upper - lower) / 2.0, first, last


def _in_order(values, places):
    # type: (List[float], Sequence[int]) -> List[float]
    """Return what would stand at these rising places if the values were sorted.

    Of many values only those in the range that a sample promises are sorted: a third of the time. The range is proved by
    counting.
    """
    count = len(values)
    if count > 4000:
        sample = sorted(values[::count // 1000])
        margin = 2 * int(len(sample) ** 0.5)
        low = sample[max(places[0] * len(sample) // count - margin, 0)]
        high = sample[min(places[-1] * len(sample) // count + margin, len(sample) - 1)]
        below = sum([value < low for value in values])
        inside = sorted([value for value in values if low <= value <= high])
        if below <= places[0] and places[-1] < below + len(inside):
            return [inside[place - below] for place in places]
    ordered = sorted(values)
    return [ordered[place] for place in places]


def _repeats(values):
    # type: (Sequence[float]) -> List[int]
    """Return how often each value that is there more than once is there."""
    counts = {}  # type: Dict[float, int]
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return [count for count in counts.values() if count > 1]


def _inflation(numbers, residuals):
    # type: (Sequence[float], Sequence[float]) -> float
    """Estimate by how much dependence between neighbours widens the variance of a mean: (1 + r) / (1 - r), never below 1.

    r, the correlation of neighbours, is the lesser of two estimates: that of the residuals, and that of the squared differences
    over two places and over one, which levels that the residuals still hold hardly touch (Chakar et al., Bernoulli 23, 2017).
    Both are too low in short series; 4 / n makes up for it.
    """
    square = sum([r * r for r in residuals])
    if square <= 0.0:
        return 1.0
    r = sum([a * b for a, b in zip(residuals, residuals[1:])]) / square
    n = len(numbers)
    near = sum([(a - b) ** 2 for a, b in zip(numbers, numbers[1:])]) / (n - 1)
    far = sum([(a - b) ** 2 for a, b in zip(numbers, numbers[2:])]) / (n - 2)
    r = min(r, far / near - 1.0 if near else 0.0) + 4.0 / n
    r = min(max(r, 0.0), 0.9)
    return (1.0 + r) / (1.0 - r)


def _trend_p(numbers):
    # type: (Sequence[float]) -> float
    """Return the two-sided p-value of a rank correlation with time, widened by the dependence between neighbours."""
    ranks = _ranks(numbers)
    n = len(ranks)
    middle = (n + 1) / 2.0
    total = sum([(r - middle) ** 2 for r in ranks])
    if not total:
        return 1.0
    sxx = n * (n * n - 1) / 12.0
    slope = sum([(i + 1 - middle) * (r - middle) for i, r in enumerate(ranks)]) / sxx
    explained = min(slope * slope * sxx / total, 1.0 - 1.0 / n ** 2)
    residuals = [r - middle - slope * (i + 1 - middle) for i, r in enumerate(ranks)]
    return _student_p(((n - 2) * explained / (1.0 - explained) / _inflation(ranks, residuals)) ** 0.5, n - 2)


def _best_step(numbers):
    # type: (Sequence[float]) -> Tuple[int, float]
    """Return (place, score) of the likeliest step: the greatest standardized difference of mean ranks before and after."""
    n = len(numbers)
    middle = (n + 1) / 2.0
    ranks = [r - middle for r in _ranks(numbers)]
    total = sum([r * r for r in ranks])
    if not total:
        return 0, 0.0
    best, place, carried, at_best, k = -1.0, 0, 0.0, 0.0, 0
    for r in ranks:
        carried += r
        k += 1
        if 2 < k < n - 2:
            explained = carried * carried / (k * (n - k))
            if explained > best:
                best, place, at_best = explained, k, carried
    explained = min(best * n / total, 1.0 - 1.0 / n)
    before, after = at_best / place, -at_best / (n - place)
    residuals = [r - before for r in ranks[:place]] + [r - after for r in ranks[place:]]
    return place, ((n - 2) * explained / (1.0 - explained) / _inflation(ranks, residuals)) ** 0.5


def _step_p(score, n):
    # type: (float, int) -> float
    """Return the probability that the best step of `n` independent values without one reaches this score.

    Student's p for a step at a given place, times how many places there are to choose from: fitted to the quantiles of up to two
    million simulated series of each of 16 lengths from 16 to 5000 (benchmarks/calibration.py --steps), right within 10 % at
    0.003. Ranks make it the same for every distribution.
    """
    import math
    return min(1.0, _student_p(score, n - 2) * math.exp(0.6408 + 0.2056 * score - 12.3537 / n) * n ** 0.3227)


def _find_steps(numbers):
    # type: (Sequence[float]) -> List[Tuple[int, float, float]]
    """Return (place, score, p) of every step: split at the best one, look in both parts, test again between the neighbours."""
    places = []  # type: List[int]
    waiting = [(0, len(numbers))]
    while waiting:
        start, end = waiting.pop()
        place, _, p = _tested_step(numbers, start, end)
        if p <= _CLAIM:
            places.append(place)
            waiting += [(start, place), (place, end)]
    return _tested_again(numbers, sorted(places))


def _tested_step(numbers, start, end):
    # type: (Sequence[float], int, int) -> Tuple[int, float, float]
    """Return the surest step of a stretch: of the whole, else of one of the windows in it.

    The whole has nine tenths of the permitted error, the windows share the rest. They are for a level that comes back: over
    the whole its two steps hide each other.
    """
    if end - start < _MINIMUM_STEP:
        return start, 0.0, 1.0
    place, score = _best_step(numbers[start:end])
    best = (start + place, score, min(1.0, _step_p(score, end - start) / 0.9))
    if best[2] <= _CLAIM or end - start > _LONGEST_WINDOWED:
        return best
    windows = _windows(start, end)
    for a, b in windows:
        place, score = _best_step(numbers[a:b])
        p = min(1.0, _step_p(score, b - a) * len(windows) / 0.1)
        if p < best[2]:
            best = (a + place, score, p)
    return best


def _windows(start, end):
    # type: (int, int) -> List[Tuple[int, int]]
    """Return stretches of two thirds, four ninths, … of a stretch, each overlapping the next by two thirds or more
    (as in seeded binary segmentation: Kovacs et al., Biometrika 110, 2023)."""
    windows = []
    length = (end - start) * 2 // 3
    while length >= _SHORTEST_WINDOW:
        room = end - start - length
        count = -(-3 * room // length)
        windows += [(start + room * i // count, start + room * i // count + length) for i in range(count + 1)]
        length = length * 2 // 3
    return windows


def _tested_again(numbers, places):
    # type: (Sequence[float], List[int]) -> List[Tuple[int, float, float]]
    """Put each step where it is likeliest between its neighbours, and drop the weakest until all are steps.

    A step that goes widens its neighbours' room, so all are tested again.
    """
    while places:
        found = []
        for i, place in enumerate(places):
            edges = [0] + places + [len(numbers)]
            moved, score, p = _tested_step(numbers, edges[i], edges[i + 2])
            places[i] = moved if p <= _CLAIM else place
            found.append((places[i], score, p))
        weakest = max(found, key=lambda step: step[2])
        if weakest[2] <= _CLAIM:
            return found
        del places[found.index(weakest)]
    return []


def _rank_sum_p(before, after):
    # type: (Sequence[float], Sequence[float]) -> float
    """Return the two-sided p-value of Wilcoxon's rank sum test (Mann & Whitney's U): exact, or an expansion where values
    repeat."""
    ranks = _ranks(list(before) + list(after))
    n, window = len(ranks), len(after)
    middle = (n + 1) / 2.0
    distance = abs(sum(ranks[n - window:]) - window * middle)
    u = int(window * (n - window) / 2.0 - distance + 0.25)
    if len(set(ranks)) == n and u * min(window, n - window) <= 20000:
        return min(1.0, 2 * _orders_up_to(u, window, n - window) / _orders(n, window))
    total = sum([(r - middle) ** 2 for r in ranks])
    return _rank_sum_tail(distance, total, n, window) if total else 1.0


def _orders(n, k):
    # type: (int, int) -> int
    """Count the ways to choose k of n.

    >>> _orders(12, 5)
    792
    """
    count = 1
    for i in range(1, min(k, n - k) + 1):
        count = count * (n + 1 - i) // i
    return count


def _orders_up_to(u, a, b):
    # type: (int, int, int) -> int
    """Count the orders of a and b values whose U is at most u (the Gaussian binomial's coefficients, one factor at a time).

    >>> _orders_up_to(0, 5, 7), _orders_up_to(35, 5, 7)
    (1, 792)
    """
    few, many = min(a, b), max(a, b)
    counts = [1] + [0] * u
    for i in range(1, few + 1):
        for s in range(u, many + i - 1, -1):
            counts[s] -= counts[s - many - i]
        for s in range(i, u + 1):
            counts[s] += counts[s - i]
    return sum(counts)


def _rank_sum_tail(distance, total, n, window):
    # type: (float, float, int, int) -> float
    """Expand the tail of a rank sum around the normal one (Edgeworth): a few ranks have lighter tails than a normal."""
    import math
    rest = n - window
    z = max(distance - 0.5, 0.0) / math.sqrt(total / (n - 1) * window * rest / n)
    kurtosis = -1.2 * (window * window + rest * rest + window * rest + n) / (window * rest * (n + 1.0))
    density = math.exp(-z * z / 2.0) / math.sqrt(2.0 * math.pi)
    least = 1 / _orders(n, window)      # of ints: the count may be beyond the doubles
    return min(1.0, max(_normal_p(z) + 2.0 * density * kurtosis / 24.0 * (z ** 3 - 3.0 * z), least))


def _change_pct(before, after):
    # type: (float, float) -> Optional[float]
    """Return the change in percent of the size of `before`; None from 0."""
    return (after - before) / abs(before) * 100.0 if before else None


class TrendAnalyzer(object):
    """What a series of numbers says: its trend, its odd values, its steps, and whether the last runs are worse.

    `values` is in every method a sequence in the order of time, oldest first. None, NaN and infinities are gaps: they are
    left out, and every `index` in an answer counts in the sequence as it was given. Raises UsageError for what is no number.
    Answers are plain dicts and lists, ready for JSON; what is not known is None and a `reason` says why. Too few values, or
    values that are all alike, are an answer and no error.

    A trend, a step or a regression is claimed when a series without one (independent values of any distribution) would show
    it in at most 0.25 % of the cases, per series and not per value; neighbours that resemble each other are allowed for.
    benchmarks/calibration.py measures it. Two populations in one series (two hosts) are noise to these tests as long as they
    are mixed; runs on one host followed by runs on another are a step. There is no state: any number of threads may share
    one.
    """

    def calculate_linear_regression(self, values, x=None, min_change_pct=2.0):
        # type: (Iterable[Any], Optional[Iterable[Any]], float) -> Dict[str, Any]
        """Fit a line by least squares and by Theil-Sen, and say whether there is a trend.

        Returns slope, intercept, r_squared, p_value (two-sided, of the slope), slope_low and slope_high (95 %), the robust
        slope with robust_intercept, robust_low and robust_high (95 %; above 300 values, of the medians of 150 blocks), n
        (values used), start and end (the robust line at both ends), change_pct (from start to end, None from 0), trend,
        trend_p_value and reason. `x` gives the places (0, 1, 2 … without it), for example days; slopes are per unit of x.

        trend is 'increasing' or 'decreasing' when a rank test, widened for dependent neighbours, has trend_p_value <= 0.0025
        and the line changes by at least `min_change_pct` percent of the median size of the values between its ends; 'stable'
        when not; 'unknown' below 5 values. With 5 to 9 values only a series that never turns and lies close to a line is a
        trend. Values that are all alike are 'stable'.

        >>> line = TrendAnalyzer().calculate_linear_regression([1.0, 1.2, 1.4, 1.6, 1.8, 2.0])
        >>> line['trend'], round(line['slope'], 6), round(line['change_pct'])
        ('increasing', 0.2, 100)
        """
        xs, ys = _known_pairs(values, x)
        result = dict.fromkeys(('slope', 'intercept', 'r_squared', 'p_value', 'slope_low', 'slope_high', 'robust_slope',
                                'robust_intercept', 'robust_low', 'robust_high', 'start', 'end', 'change_pct',
                                'trend_p_value', 'reason'))  # type: Dict[str, Any]
        result.update(n=len(ys), trend='unknown')
        if len(ys) < 2 or xs[0] == xs[-1]:
            result['reason'] = 'no line through %d values' % len(ys) if len(ys) < 2 else 'all values have the same x'
            return result
        _add_least_squares(result, xs, ys)
        block_x, block_y = _block_medians(xs, ys)
        _add_robust_line(result, xs, block_x, block_y)
        _judge_trend(result, block_y, min_change_pct)
        return result

    def calculate_percentiles(self, values, percentiles=(50, 90, 95, 99)):
        # type: (Iterable[Any], Sequence[float]) -> Dict[str, Any]
        """Return {'p50': …, 'p90': …, 'p95': …, 'p99': …}, interpolated between neighbours as numpy does; None without values.

        Raises UsageError for a percentile outside 0 to 100.

        >>> TrendAnalyzer().calculate_percentiles([1, 2, 3, 4], (50, 87.5))
        {'p50': 2.5, 'p87.5': 3.625}
        """
        ordered = sorted(_known(values)[1])
        for percent in percentiles:
            if not 0 <= percent <= 100:
                raise UsageError('percentile %r: must be from 0 to 100' % (percent,))
        return {'p%g' % percent: _percentile(ordered, percent) if ordered else None for percent in percentiles}

    def detect_anomalies(self, values, method='iqr', threshold=None):
        # type: (Iterable[Any], str, Optional[float]) -> List[Dict[str, Any]]
        """Return the values that lie far from the rest, on either side, as records of index, value, score and direction.

        'iqr': beyond the quartiles by more than 1.5 interquartile ranges (Tukey), score in such ranges. 'zscore': more than 3
        standard deviations from the mean (cannot happen in 10 values or fewer). 'mad': more than 3.5 robust deviations from
        the median (Iglewicz & Hoaglin). `threshold` replaces the number. Where more than half of the values are equal, so
        that the quartiles or the MAD say nothing, the mean absolute deviation is the measure. direction is 'high' or 'low'.
        Below 4 known values, and when all are alike, the list is empty. Raises UsageError for another method or a threshold
        that is not above 0.

        >>> TrendAnalyzer().detect_anomalies([10, 12, 11, 13, 12, 100, 11, 12])
        [{'index': 5, 'value': 100.0, 'score': 70.2, 'direction': 'high'}]
        """
        if method not in _ANOMALY_FENCES:
            raise UsageError('method %r: no such method%s; valid: %s' % (
                method, suggest(str(method), _ANOMALY_FENCES), ', '.join(_ANOMALY_FENCES)))
        fences, usual = _ANOMALY_FENCES[method]
        limit = usual if threshold is None else threshold
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0:
            raise UsageError('threshold %r: must be a number above 0' % (threshold,))
        places, numbers = _known(values)
        if len(numbers) < 4:
            return []
        low, high, scale = fences(numbers)
        found = []
        for place, number in zip(places, numbers):
            score = max(number - high, low - number) / scale if scale else 0.0
            if score > limit:
                found.append({'index': place, 'value': number, 'score': score,
                              'direction': 'high' if number > high else 'low'})
        return found

    def detect_regression(self, values, window_size=5, threshold_pct=10.0, better='lower'):
        # type: (Iterable[Any], int, float, Optional[str]) -> Dict[str, Any]
        """Compare the last `window_size` values with those before them.

        Returns verdict, before and after (medians), change_pct (None from 0), p_value, n_before, n_after, before_index (the
        first value compared with: the last step in what was before begins a new normal), threshold_pct, reason, needed (how
        many known values would be enough; None when there are). verdict is 'regression' or 'improvement' by `better`
        ('lower', 'higher'; with None any change is 'changed') when the medians differ by more than threshold_pct percent AND
        a rank sum test has p_value <= 0.0025; else 'stable', or 'unknown' when there are too few values for such a p. With
        fewer than 8 values before a window of 5 that takes two groups which lie apart by more than either is wide; p_value
        is then put at 0.0025. Raises UsageError for a window below 1 or a negative threshold.

        >>> slower = TrendAnalyzer().detect_regression(
        ...     [10.1, 10.3, 9.9, 10.0, 10.2, 9.8, 10.4, 10.2, 12.4, 12.1, 12.3, 12.6, 12.2])
        >>> slower['verdict'], round(slower['change_pct'])
        ('regression', 21)
        """
        _check_window(window_size, threshold_pct, better)
        places, numbers = _known(values)
        result = dict.fromkeys(
            ('before', 'after', 'change_pct', 'p_value', 'before_index', 'reason', 'needed'))  # type: Dict[str, Any]
        result.update(verdict='unknown', threshold_pct=threshold_pct, n_before=max(len(numbers) - window_size, 0),
                      n_after=min(window_size, len(numbers)))
        needed = _values_needed(window_size)
        if len(numbers) < needed:
            result.update(needed=needed, reason='%d values; a window of %d needs %d' % (len(numbers), window_size, needed))
            return result
        before, after = numbers[:-window_size], numbers[-window_size:]
        start = _last_level(before, needed - window_size)
        result.update(before_index=places[start], n_before=len(before) - start)
        _judge_regression(result, before[start:], after, better)
        return result

    def detect_change_points(self, values):
        # type: (Iterable[Any]) -> List[Dict[str, Any]]
        """Return every step in the level, in the order of time: records of index (first value of the new level), before and after
        (medians of the levels on both sides), change_pct (None from 0), score, p_value, n_before and n_after.

        The place where the mean ranks before and after differ most (Pettitt 1979, standardized) is a step when a series
        without one, as long as this, reaches its score in at most 0.25 % of the cases; the score is lessened by the dependence
        between neighbours. Then both parts are searched (binary segmentation), and at the end each step is tested again
        between its neighbours. Ranks make it deaf to single extreme values and independent of the distribution.
        Deterministic. Below 16 known values nothing can be claimed and the list is empty; nor is a level of fewer than 3
        values found.

        >>> steps = TrendAnalyzer().detect_change_points([1.0, 1.1, 0.9, 1.2] * 4 + [2.0, 2.1, 1.9, 2.2] * 4)
        >>> [(step['index'], round(step['change_pct'])) for step in steps]
        [(16, 95)]
        """
        places, numbers = _known(values)
        steps = _find_steps(numbers)
        edges = [0] + [place for place, _, _ in steps] + [len(numbers)]
        levels = [numbers[a:b] for a, b in zip(edges, edges[1:])]
        medians = [_median(level) for level in levels if level]
        return [{'index': places[place], 'before': medians[i], 'after': medians[i + 1],
                 'change_pct': _change_pct(medians[i], medians[i + 1]), 'score': score, 'p_value': p,
                 'n_before': len(levels[i]), 'n_after': len(levels[i + 1])} for i, (place, score, p) in enumerate(steps)]

    def analyze_metric_history(self, history_manager, script_path, metric_name, days=30, better='lower', window_size=5,
                               threshold_pct=10.0):
        # type: (Any, Optional[str], str, Optional[float], Optional[str], int, float) -> Dict[str, Any]
        """Put together what the history says about one metric of a script over the last `days` (None: all).

        `history_manager` gives get_metric_series(script_path, metric_name, days=days) -> [(run id, start time, value, git
        commit, status)]. Only successful runs are judged (a failed one ends early); metrics that tell of success itself are
        taken from all. Runs stand in the order of their ids: a clock that was set back does not reorder them.

        Returns script_path, metric, days, n (runs judged), n_excluded (not successful), n_unknown (no value), first and last
        (run records), median, percentiles, regression_line (calculate_linear_regression over runs), line_since_step (the same of
        the runs since the last change point, None without one), per_day (robust slope per
        day; None when the clock does not tell), anomalies, change_points, regression, and reasons: a list of sentences on
        what could not be judged. Each anomaly and change point also has run_id, start_time and git_commit of its run, a
        change point previous_commit as well; their indexes count in `runs`, the records of the runs judged. An anomaly is odd
        among the runs between the change points around it: what is usual now is not odd beside what was.
        """
        rows = sorted(history_manager.get_metric_series(script_path, metric_name, days=days), key=lambda row: row[0])
        everything = metric_name in _METRICS_OF_SUCCESS
        judged = [row for row in rows if everything or row[4] == 'success']
        return _analyze_runs(self, judged, {
            'script_path': script_path, 'metric': metric_name, 'days': days, 'n_excluded': len(rows) - len(judged),
        }, better, window_size, threshold_pct)


_METRICS_OF_SUCCESS = ('success', 'exit_code', 'timed_out', 'attempt_number')


def _known_pairs(values, x):
    # type: (Iterable[Any], Optional[Iterable[Any]]) -> Tuple[List[float], List[float]]
    """Return (x, y) of the pairs that are known, in the order of x."""
    places, numbers = _known(values)
    if x is None:
        return [float(place) for place in places], numbers
    values, x = list(values), list(x)
    if len(values) != len(x):
        raise UsageError('%d values, %d x: must be as many' % (len(values), len(x)))
    known_x = dict(zip(*_known(x)))
    pairs = [(known_x[place], number) for place, number in zip(places, numbers) if place in known_x]
    if any(a[0] > b[0] for a, b in zip(pairs, pairs[1:])):
        pairs.sort(key=lambda pair: pair[0])
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _add_least_squares(result, x, y):
    # type: (Dict[str, Any], Sequence[float], Sequence[float]) -> None
    slope, intercept, residual, total, sxx = _fit_line(x, y)
    df = len(y) - 2
    result.update(slope=slope, intercept=intercept)
    if total > 0.0:
        result['r_squared'] = max(0.0, 1.0 - residual / total)
    if df > 0 and total > 0.0:
        error = (residual / df / sxx) ** 0.5
        result['p_value'] = _student_p(slope / error, df) if error else 0.0
        reach = error * _student_quantile(0.05, df)
        result.update(slope_low=slope - reach, slope_high=slope + reach)


def _student_quantile(p, df):
    # type: (float, float) -> float
    """Return the t whose two-sided p-value is `p`."""
    return _quantile(lambda t: _student_p(t, df), p)


def _add_robust_line(result, x, block_x, block_y):
    # type: (Dict[str, Any], Sequence[float], Sequence[float], Sequence[float]) -> None
    slope, low, high = _theil_sen(block_x, block_y)
    intercept = _median(block_y) - slope * _median(block_x)
    start, end = intercept + slope * x[0], intercept + slope * x[-1]
    result.update(robust_slope=slope, robust_intercept=intercept, robust_low=low, robust_high=high, start=start, end=end,
                  change_pct=_change_pct(start, end))


def _judge_trend(result, numbers, min_change_pct):
    # type: (Dict[str, Any], Sequence[float], float) -> None
    """Fill in trend, trend_p_value and reason."""
    if result['n'] < _MINIMUM_TREND:
        result['reason'] = '%d values; %d are needed' % (result['n'], _MINIMUM_TREND)
        return
    if min(numbers) == max(numbers):
        result.update(trend='stable', reason='all %d values are alike: no spread at all' % result['n'])
        return
    p = result['trend_p_value'] = _trend_p(numbers) if len(numbers) >= 10 else _short_trend_p(numbers, result['p_value'])
    change = result['end'] - result['start']
    size = _median([abs(number) for number in numbers])
    result['trend'] = 'stable'
    if p > _CLAIM:
        result['reason'] = 'such a slope is found by chance as well (p = %.2g)' % p
    elif abs(change) <= size * min_change_pct / 100.0:
        result['reason'] = 'the change of %.2g %% is below %g %%' % (
            abs(change) / size * 100.0 if size else 0.0, min_change_pct)
    elif change:
        result['trend'] = 'increasing' if change > 0 else 'decreasing'


def _short_trend_p(numbers, p_of_line):
    # type: (Sequence[float], float) -> float
    """Below 10 values: chance orders n values in 2 of n! cases, and puts them near a line in few of those."""
    steps = [b - a for a, b in zip(numbers, numbers[1:])]
    if not (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
        return 1.0
    in_order = 2.0
    for i in range(2, len(numbers) + 1):
        in_order /= i
    return min(in_order, p_of_line)


def _quartile_fences(numbers):
    # type: (Sequence[float]) -> Tuple[float, float, float]
    """Return the quartiles and their distance; where that is 0, the median twice and a robust scale."""
    ordered = sorted(numbers)
    low, high = _percentile(ordered, 25), _percentile(ordered, 75)
    if high - low > abs(high) * 1e-12:
        return low, high, high - low
    middle = _median(ordered)
    return middle, middle, 2.0 * _robust_scale(ordered, middle)


def _mean_fences(numbers):
    # type: (Sequence[float]) -> Tuple[float, float, float]
    mean = _mean(numbers)
    sigma = _mean([(number - mean) ** 2 for number in numbers]) ** 0.5
    return mean, mean, sigma if sigma > abs(mean) * 1e-12 else 0.0


def _median_fences(numbers):
    # type: (Sequence[float]) -> Tuple[float, float, float]
    middle = _median(numbers)
    return middle, middle, _robust_scale(numbers, middle)


#: Method: what gives (low, high, scale), and how many scales beyond are usual.
_ANOMALY_FENCES = {'iqr': (_quartile_fences, 1.5), 'zscore': (_mean_fences, 3.0), 'mad': (_median_fences, 3.5)}


def _check_window(window_size, threshold_pct, better):
    # type: (Any, Any, Any) -> None
    if isinstance(window_size, bool) or not isinstance(window_size, int) or window_size < 1:
        raise UsageError('window_size %r: must be a whole number of at least 1' % (window_size,))
    if isinstance(threshold_pct, bool) or not isinstance(threshold_pct, (int, float)) or not threshold_pct >= 0:
        raise UsageError('threshold_pct %r: must be a number of at least 0' % (threshold_pct,))
    if better not in ('lower', 'higher', None):
        raise UsageError("better %r: must be 'lower', 'higher' or None" % (better,))


def _values_needed(window_size):
    # type: (int) -> int
    """Return how many values are needed so that two groups that do not overlap are a proof (p <= 0.0025, two-sided)."""
    before = _MINIMUM_BEFORE
    while window_size < 5 and 2.0 / _orders(before + window_size, window_size) > _CLAIM:
        before += 1
    return before + window_size


def _last_level(numbers, least):
    # type: (Sequence[float], int) -> int
    """Return where the last level begins, keeping at least `least` values."""
    steps = [place for place, _, _ in _find_steps(numbers) if place <= len(numbers) - max(least, 10)]
    return steps[-1] if steps else 0


def _judge_regression(result, before, after, better):
    # type: (Dict[str, Any], Sequence[float], Sequence[float], Optional[str]) -> None
    """Fill in verdict, medians, p_value and reason."""
    old, fresh = _median(before), _median(after)
    p = _rank_sum_p(before, after)
    if p > _CLAIM and _lie_apart(before, after):
        p = _CLAIM
    change = _change_pct(old, fresh)
    result.update(before=old, after=fresh, change_pct=change, p_value=p, verdict='stable')
    if p > _CLAIM:
        result['reason'] = 'such a difference is found by chance as well (p = %.2g)' % p
    elif change is not None and abs(change) <= result['threshold_pct'] or old == fresh:
        result['reason'] = 'the change of %.2g %% is not above %g %%' % (change or 0.0, result['threshold_pct'])
    elif better is None:
        result['verdict'] = 'changed'
    else:
        result['verdict'] = 'regression' if (fresh > old) == (better == 'lower') else 'improvement'


def _lie_apart(before, after):
    # type: (Sequence[float], Sequence[float]) -> bool
    """Tell whether two groups have a gap between them that is wider than either group."""
    gap = max(min(after) - max(before), min(before) - max(after))
    return gap > max(max(before) - min(before), max(after) - min(after))


def _analyze_runs(analyzer, rows, result, better, window_size, threshold_pct):
    # type: (TrendAnalyzer, List[Any], Dict[str, Any], Optional[str], int, float) -> Dict[str, Any]
    """Fill in the rest of analyze_metric_history's answer for rows of (run id, start time, value, git commit, status)."""
    known = set(_known([row[2] for row in rows])[0])
    runs = [row for i, row in enumerate(rows) if i in known]
    values = [float(row[2]) for row in runs]
    line = analyzer.calculate_linear_regression(values)
    steps = analyzer.detect_change_points(values)
    regression = analyzer.detect_regression(values, window_size, threshold_pct, better)
    for step in steps:
        step['previous_commit'] = runs[step['index'] - 1][3]
    odd = odd_within_levels(analyzer, values, [step['index'] for step in steps])
    for record in odd + steps:
        run = runs[record['index']]
        record.update(run_id=run[0], start_time=run[1], git_commit=run[3])
    reasons = ['trend: ' + line['reason']] if line['trend'] == 'unknown' else []
    if len(values) < 4:
        reasons.append('anomalies: %d values; 4 are needed' % len(values))
    if len(values) < _MINIMUM_STEP:
        reasons.append('change points: %d values; %d are needed' % (len(values), _MINIMUM_STEP))
    if regression['verdict'] == 'unknown':
        reasons.append('regression: ' + regression['reason'])
    result.update(
        n=len(values), n_unknown=len(rows) - len(values), first=_run_record(runs[0]) if runs else None,
        last=_run_record(runs[-1]) if runs else None, median=_median(values) if values else None,
        percentiles=analyzer.calculate_percentiles(values), regression_line=line,
        line_since_step=analyzer.calculate_linear_regression(values[steps[-1]['index']:]) if steps else None,
        per_day=_slope_per_day(runs, values), anomalies=odd, change_points=steps, regression=regression,
        reasons=reasons, runs=[_run_record(run) for run in runs])
    return result


def odd_within_levels(analyzer, values, places):
    # type: (TrendAnalyzer, Sequence[Any], Sequence[int]) -> List[Dict[str, Any]]
    """Return what detect_anomalies ('mad') finds between the steps at `places`: what is usual now is not odd beside what was.

    Nothing is odd among fewer than 8 values, nor within 5 % of the median: of 68.7 beside 68.8 nobody wants to hear.

    >>> odd_within_levels(TrendAnalyzer(), [1.0, 1.1, 0.9, 1.0, 1.1] * 4 + [5.0, 5.1, 4.9, 5.0, 5.1], [20])
    []
    >>> [odd['index'] for odd in odd_within_levels(TrendAnalyzer(), [68.8] * 8 + [68.7, 98.0], [])]
    [9]
    """
    edges = [0] + list(places) + [len(values)]
    found = []
    for first, end in zip(edges, edges[1:]):
        numbers = _known(values[first:end])[1]
        if len(numbers) < _ODD_AMONG:
            continue
        middle = _median(numbers)
        found += [dict(record, index=record['index'] + first) for record in analyzer.detect_anomalies(values[first:end], 'mad')
                  if abs(record['value'] - middle) > _ODD_SHARE * abs(middle)]
    return found


def _run_record(row):
    # type: (Sequence[Any]) -> Dict[str, Any]
    return {'run_id': row[0], 'start_time': row[1], 'value': float(row[2]), 'git_commit': row[3]}


def _slope_per_day(runs, values):
    # type: (List[Any], List[float]) -> Optional[float]
    """Return the robust slope over the wall clock, per day; None with fewer than 5 runs or when they span no time."""
    days = [_epoch(run[1]) / 86400.0 for run in runs if run[1] is not None]
    if len(days) < max(len(runs), _MINIMUM_TREND):
        return None
    pairs = sorted(zip(days, values))
    x, y = _block_medians([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    return _theil_sen(x, y)[0] if x[-1] > x[0] else None


def _epoch(moment):
    # type: (Any) -> float
    """Return seconds since 1970 of a number of seconds or an ISO 8601 text; raises UsageError."""
    if isinstance(moment, str):
        return _parse_time(moment) / 1e6
    return _known([moment])[1][0]


class BaselineCalculator(object):
    """What is usual for a metric: the median of good runs and a robust band around it.

    Records are dicts of runs as HistoryManager gives them: id, status, start_time (ISO 8601 or seconds since 1970) and the
    value, either under the metric's name, in `metrics`, or as `value`. Only runs with status 'success' teach; the run that is
    judged never does, nor does anything after it. `days` limits how old a run may be, `min_runs` is how few are no baseline,
    `band` the share of good runs that the band should hold (0.99). The band is never narrower than `min_band_pct` percent of
    the median on each side. Raises UsageError for values that cannot be.
    """

    def __init__(self, min_runs=5, days=None, band=0.99, min_band_pct=1.0):
        # type: (int, Optional[float], float, float) -> None
        if isinstance(min_runs, bool) or not isinstance(min_runs, int) or min_runs < 2:
            raise UsageError('min_runs %r: must be a whole number of at least 2' % (min_runs,))
        if not 0 < band < 1:
            raise UsageError('band %r: must be between 0 and 1' % (band,))
        self.min_runs = min_runs
        self.days = days
        self.band = band
        self.min_band_pct = min_band_pct

    def calculate(self, records, metric_name, judged=None, now=None):
        # type: (Iterable[Dict[str, Any]], str, Optional[Dict[str, Any]], Optional[float]) -> Dict[str, Any]
        """Learn from records and return metric, median, low, high, spread (robust sigma), n, run_ids, reason, needed.

        `judged` is the record of the run that will be judged: itself and runs with a greater id are left out. `days` count
        back from `now` (seconds since 1970; without it from the judged run, else from the newest record). With fewer than
        `min_runs` good runs everything but n is None and `reason` says so. The band widens with few runs by Student's t for
        one more run, as if there were 0.37 as many: by so much a robust sigma is less sure.

        >>> runs = [{'id': i, 'status': 'success', 'value': v} for i, v in enumerate([10.0, 11.0, 9.0, 10.0, 10.5, 9.5])]
        >>> baseline = BaselineCalculator().calculate(runs, 'execution_time_seconds')
        >>> baseline['median'], baseline['n'], baseline['low'] < 8.0 and 12.0 < baseline['high']
        (10.0, 6, True)
        """
        good = _good_records(records, metric_name, judged, self.days, now)
        values = [value for _, value in good]
        result = dict.fromkeys(('median', 'low', 'high', 'spread', 'reason', 'needed'))  # type: Dict[str, Any]
        result.update(metric=metric_name, n=len(values), run_ids=[record.get('id') for record, _ in good])
        if len(values) < self.min_runs:
            result.update(needed=self.min_runs, reason='%d good runs; %d are needed' % (len(values), self.min_runs))
            return result
        middle = _median(values)
        spread = _robust_scale(values, middle)
        n = len(values)
        reach = spread * _student_quantile(1.0 - self.band, _MAD_EFFICIENCY * (n - 1) + 0.6) * (1.0 + 1.5 / n) ** 0.5
        reach = max(reach, abs(middle) * self.min_band_pct / 100.0)
        result.update(median=middle, spread=spread, low=middle - reach, high=middle + reach)
        if not spread:
            result['reason'] = 'all %d values are alike: no spread at all' % n
        return result

    def judge(self, value, baseline):
        # type: (Optional[float], Dict[str, Any]) -> Dict[str, Any]
        """Say where a value lies: verdict 'within', 'above', 'below' or 'unknown', change_pct from the median, reason.

        >>> BaselineCalculator().judge(14.0, {'median': 10.0, 'low': 8.0, 'high': 12.0})
        {'verdict': 'above', 'change_pct': 40.0, 'reason': None}
        """
        known = _known([value])[1]
        if not known or baseline['median'] is None:
            return {'verdict': 'unknown', 'change_pct': None,
                    'reason': baseline.get('reason') if baseline['median'] is None else 'the run has no value'}
        number = known[0]
        verdict = 'above' if number > baseline['high'] else 'below' if number < baseline['low'] else 'within'
        return {'verdict': verdict, 'change_pct': _change_pct(baseline['median'], number), 'reason': None}


def _record_value(record, metric_name):
    # type: (Dict[str, Any], str) -> Any
    """Find the value of a metric in a record; None when it has none."""
    metrics = record.get('metrics') or {}
    for place, name in ((metrics, metric_name), (record, metric_name), (record, 'value')):
        if place.get(name) is not None:
            return place[name]
    return None


def _good_records(records, metric_name, judged, days, now):
    # type: (Iterable[Dict[str, Any]], str, Optional[Dict[str, Any]], Optional[float], Optional[float]) -> List[Tuple[Any, float]]
    """Return (record, value) of the successful runs before the judged one and within `days`."""
    records = list(records)
    if judged is not None and judged.get('id') is not None:
        records = [record for record in records if record.get('id') is None or record['id'] < judged['id']]
    records = [record for record in records if record is not judged]
    if days is not None:
        end = now
        if end is None and judged is not None and judged.get('start_time') is not None:
            end = _epoch(judged['start_time'])
        times = [_epoch(record['start_time']) if record.get('start_time') is not None else None for record in records]
        if end is None:
            end = max([moment for moment in times if moment is not None] or [0.0])
        records = [record for record, moment in zip(records, times) if moment is not None and moment >= end - days * 86400.0]
    good = [record for record in records if record.get('status') == 'success']
    places, values = _known([_record_value(record, metric_name) for record in good])
    return [(good[place], value) for place, value in zip(places, values)]


class MLAnomalyDetector(object):
    """Find runs that are odd in several metrics together, for example quick although they read much.

    The distance is Mahalanobis's on robustly scaled values: each metric is centred on its median and divided by its robust
    sigma, values beyond 3 are drawn in before correlations are taken, and the correlations are shrunk towards none as far as
    the number of runs asks for. A run is odd when such a distance has at most probability `p` (0.001) in as many runs, and
    when it is further out than heavy tails in the past explain. By simulation at most 0.2 % of usual runs are called odd when
    they are normal, up to 1 % when their tails are heavy; below 5 runs per metric only glaring ones are found. With
    scikit-learn installed an isolation forest gives a second opinion (`forest`). Not for several threads while `fit` runs.
    """

    def __init__(self, p=0.001, use_forest=True):
        # type: (float, bool) -> None
        if not 0 < p < 1:
            raise UsageError('p %r: must be between 0 and 1' % (p,))
        self.p = p
        self.use_forest = use_forest
        self.metrics = []     # type: List[str]
        self.constant = {}    # type: Dict[str, float]
        self.reason = 'not fitted'  # type: Optional[str]
        self.n = 0
        self.needed = None    # type: Optional[int]
        self._centers = {}    # type: Dict[str, float]
        self._scales = {}     # type: Dict[str, Tuple[float, float]]
        self._correlations = []  # type: List[List[float]]
        self._tail = (1.0, 1.0, 1.0)
        self._forest = None   # type: Any

    def fit(self, runs, metric_names=None):
        # type: (Iterable[Dict[str, Any]], Optional[Sequence[str]]) -> MLAnomalyDetector
        """Learn from good runs: dicts of metrics, or records with `metrics` in them. Returns itself.

        Without `metric_names` every numeric metric is taken that at least nine tenths of the runs have, except what tells of
        success and of the monitor itself. Metrics that are all alike go to `constant`. Runs that lack a metric are left out.
        Needs the greater of 10 and 3 runs per metric; with fewer `reason` is set, `needed` says how many, and `score` answers
        unknown.
        """
        rows = [run.get('metrics') or run for run in runs]
        names = _usable_metrics(rows) if metric_names is None else list(metric_names)
        columns = {name: _known([row.get(name) for row in rows]) for name in names}
        complete = set(range(len(rows)))
        for name in names:
            complete &= set(columns[name][0])
        table = {name: [value for place, value in zip(*columns[name]) if place in complete] for name in names}
        self._forest, self.n, self.reason, self.needed = None, len(complete), None, None
        self._centers = {name: _median(table[name]) for name in names if table[name]}
        self._scales = {name: _robust_scales(table[name], self._centers[name]) for name in self._centers}
        self.constant = {name: self._centers[name] for name in self._centers if not self._scales[name][0]}
        self.metrics = [name for name in names if name in self._centers and name not in self.constant]
        needed = max(10, 3 * len(self.metrics))
        if not self.metrics or self.n < needed:
            self.needed = needed if self.metrics or self.n < needed else None
            self.reason = '%d complete runs; %d are needed' % (self.n, needed) if self.needed else 'no metric varies'
            return self
        scaled = [[self._scaled(name, value) for value in table[name]] for name in self.metrics]
        self._correlations = _shrunk_correlations(scaled)
        self._tail = self._fit_tail(list(zip(*scaled)))
        if self.use_forest:
            self._forest = _isolation_forest([list(row) for row in zip(*scaled)])
        return self

    def score(self, run):
        # type: (Dict[str, Any]) -> Dict[str, Any]
        """Judge one run, which must not be among those learned from.

        Returns anomaly (True, False, or None: unknown), distance (squared), threshold, p_value, contributions (largest first:
        metric, share of the distance, deviation in robust sigmas, direction), changed_constants (metrics that never varied
        and now do), n, missing (metrics without a value), forest (None without scikit-learn, else anomaly and score, below 0
        is odd) and reason.
        """
        row = run.get('metrics') or run
        result = dict.fromkeys(('anomaly', 'distance', 'threshold', 'p_value', 'forest', 'reason'))  # type: Dict[str, Any]
        known = {name: number for name in self._centers for number in _known([row.get(name)])[1]}
        result.update(n=self.n, contributions=[], missing=[name for name in self.metrics if name not in known],
                      changed_constants=sorted(name for name in self.constant
                                               if name in known and known[name] != self.constant[name]))
        present = [i for i, name in enumerate(self.metrics) if name in known]
        if self.reason or not present:
            result['reason'] = self.reason or 'the run has none of the metrics'
            return result
        scaled = [self._scaled(self.metrics[i], known[self.metrics[i]]) for i in present]
        distance, shares = _mahalanobis([[self._correlations[i][j] for j in present] for i in present], scaled)
        result.update(distance=distance, threshold=self._threshold(len(present)), p_value=self._p_value(distance, len(present)))
        result['anomaly'] = result['p_value'] <= self.p
        result['contributions'] = sorted((
            {'metric': self.metrics[i], 'share': share, 'deviation': value, 'direction': 'high' if value > 0 else 'low'}
            for i, share, value in zip(present, shares, scaled)), key=lambda part: -part['share'])
        if self._forest is not None and not result['missing']:
            decision = float(self._forest.decision_function([scaled])[0])
            result['forest'] = {'anomaly': decision < 0, 'score': decision}
        return result

    def detect(self, runs, metric_names=None):
        # type: (Iterable[Dict[str, Any]], Optional[Sequence[str]]) -> List[Dict[str, Any]]
        """Learn from runs and return those among them that are odd: what `score` says of each, with its index.

        A few odd runs hardly move medians and robust sigmas, so none hides itself. Empty when there are too few: see `reason`.
        """
        runs = list(runs)
        if self.fit(runs, metric_names).reason is not None:
            return []
        verdicts = [self.score(run) for run in runs]
        return [dict(verdict, index=index) for index, verdict in enumerate(verdicts) if verdict['anomaly']]

    def _scaled(self, name, value):
        # type: (str, float) -> float
        """Return by how many robust sigmas of its side a value lies off the median."""
        off = value - self._centers[name]
        return off / self._scales[name][off > 0]

    def _p_value(self, distance, metrics):
        # type: (float, int) -> float
        """Hotelling's distribution for one more run, as if a robust estimate from n runs were an exact one from fewer.

        Before, the distance is drawn in along the past distances' tail where that is heavier than a normal's.
        """
        middle, usual, power = self._tail
        drawn = distance / middle * usual
        if drawn > usual:
            drawn = usual * (drawn / usual) ** (1.0 / power)
        n = max(self.n * _ROBUST_EFFICIENCY, metrics + 2.0)
        return _f_p(drawn * n * (n - metrics) / (metrics * (n - 1.0) * (n + 1.0)), metrics, n - metrics)

    def _threshold(self, metrics):
        # type: (int) -> float
        return _quantile(lambda distance: self._p_value(distance, metrics), self.p)

    def _fit_tail(self, rows):
        # type: (List[Tuple[float, ...]]) -> Tuple[float, float, float]
        """Return (middle, usual, power): the median of the past distances, at least that of chi square; chi square's; and how
        many times as steeply the past distances grow from there to their 95th percentile, at least 1.
        """
        import math
        lower = _cholesky(self._correlations)
        distances = sorted(sum([a * b for a, b in zip(row, _solve(lower, row))]) for row in rows)
        usual, usual_high = [_chi_square_quantile(p, len(self.metrics)) for p in (0.5, 0.05)]
        middle = max(_percentile(distances, 50), usual)
        power = math.log(max(_percentile(distances, 95) / middle, 1.0)) / math.log(usual_high / usual)
        return middle, usual, max(1.0, power)


_ROBUST_EFFICIENCY = 0.6  # runs of an exact estimate that tell as much as one run of a robust one; by simulation


def _robust_scales(numbers, center):
    # type: (Sequence[float], float) -> Tuple[float, float]
    """Return robust sigmas below and above the center, drawn together when there are few numbers; times are skewed."""
    both = _robust_scale(numbers, center)
    weight = len(numbers) / (len(numbers) + 20.0)
    below, above = [_median([abs(number - center) for number in side] or [0.0]) * _MAD_TO_SIGMA for side in (
        [number for number in numbers if number < center], [number for number in numbers if number > center])]
    if not both or not below or not above:
        return both, both
    return below ** weight * both ** (1.0 - weight), above ** weight * both ** (1.0 - weight)


def _usable_metrics(rows):
    # type: (Sequence[Dict[str, Any]]) -> List[str]
    counts = {}  # type: Dict[str, int]
    for row in rows:
        for name, value in row.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0:
                counts[name] = counts.get(name, 0) + 1
    return [name for name in counts if counts[name] >= 0.9 * len(rows) and name not in _METRICS_OF_SUCCESS
            and not name.startswith('monitor_') and name != 'id']


def _shrunk_correlations(columns):
    # type: (Sequence[Sequence[float]]) -> List[List[float]]
    """Return correlations of robustly scaled columns, values beyond 3 drawn in, shrunk towards 0 by their own
    uncertainty (Schaefer & Strimmer 2005, with the variance of a correlation of n normal pairs)."""
    drawn = [[max(-3.0, min(3.0, value)) for value in column] for column in columns]
    n, size = len(drawn[0]), len(drawn)
    matrix = [[1.0] * size for _ in range(size)]
    doubt = weight = 0.0
    for i in range(size):
        for j in range(i):
            r = _correlation(drawn[i], drawn[j]) or 0.0
            matrix[i][j] = matrix[j][i] = r
            doubt += (1.0 - r * r) ** 2 / (n - 1.0)
            weight += r * r
    keep = 1.0 - min(1.0, max(doubt / weight if weight else 1.0, 0.01))
    return [[matrix[i][j] * keep if i != j else 1.0 for j in range(size)] for i in range(size)]


def _cholesky(matrix):
    # type: (Sequence[Sequence[float]]) -> List[List[float]]
    """Return the lower triangle L with L times its transpose = matrix, which must be positive definite.

    >>> _cholesky([[4.0, 2.0], [2.0, 5.0]])
    [[2.0, 0.0], [1.0, 2.0]]
    """
    size = len(matrix)
    lower = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for j in range(i + 1):
            rest = matrix[i][j] - sum([lower[i][k] * lower[j][k] for k in range(j)])
            lower[i][j] = max(rest, 1e-12) ** 0.5 if i == j else rest / lower[j][j]
    return lower


def _solve(lower, vector):
    # type: (Sequence[Sequence[float]], Sequence[float]) -> List[float]
    """Solve L L' x = vector."""
    size = len(lower)
    x = list(vector)
    for i in range(size):
        x[i] = (x[i] - sum([lower[i][k] * x[k] for k in range(i)])) / lower[i][i]
    for i in reversed(range(size)):
        x[i] = (x[i] - sum([lower[k][i] * x[k] for k in range(i + 1, size)])) / lower[i][i]
    return x


def _mahalanobis(matrix, vector):
    # type: (Sequence[Sequence[float]], Sequence[float]) -> Tuple[float, List[float]]
    """Return the squared distance, and what share of it would go if each variable were left out."""
    lower = _cholesky(matrix)
    u = _solve(lower, vector)
    distance = sum([a * b for a, b in zip(u, vector)])
    size = len(lower)
    drops = []
    for i in range(size):
        unit = [0.0] * size
        unit[i] = 1.0
        drops.append(u[i] * u[i] / _solve(lower, unit)[i])
    total = sum(drops) or 1.0
    return distance, [drop / total for drop in drops]


def _isolation_forest(rows):
    # type: (List[List[float]]) -> Any
    """Fit scikit-learn's isolation forest, always with the same seed; None where it is not installed."""
    try:
        from sklearn.ensemble import IsolationForest  # type: ignore[import-not-found]
    except ImportError:
        return None
    return IsolationForest(random_state=0).fit(rows)


def _correlation(x, y):
    # type: (Sequence[float], Sequence[float]) -> Optional[float]
    """Return Pearson's r; None when either is constant."""
    import math
    mean_x, mean_y = _mean(x), _mean(y)
    dx, dy = [value - mean_x for value in x], [value - mean_y for value in y]
    sxx, syy = math.fsum([d * d for d in dx]), math.fsum([d * d for d in dy])
    if min(x) == max(x) or min(y) == max(y) or not sxx or not syy:
        return None
    return max(-1.0, min(1.0, math.fsum([a * b for a, b in zip(dx, dy)]) / (sxx ** 0.5 * syy ** 0.5)))


def _correlation_p(r, n):
    # type: (float, float) -> Optional[float]
    """Return the two-sided p-value of a correlation of n pairs; None below 3."""
    if n < 3:
        return None
    return _student_p(abs(r) * ((n - 2.0) / (1.0 - r * r)) ** 0.5, n - 2.0) if abs(r) < 1.0 else 0.0


class MetricsCorrelationAnalyzer(object):
    """Which metrics of a script go together, also with a delay of some runs.

    Series are lists of numbers of equal length in the order of time, None for unknown; pairs in which one is unknown are left
    out.
    """

    def pearson(self, x, y):
        # type: (Sequence[Any], Sequence[Any]) -> Dict[str, Any]
        """Return r, p_value (two-sided, Student's t), n and reason; r is None below 2 pairs or when one series is constant.

        >>> round(MetricsCorrelationAnalyzer().pearson([1, 2, 3, 4], [2, 4, 6, 8])['r'], 12)
        1.0
        """
        x, y = _known_pairs(y, x)
        return _correlation_record(x, y)

    def spearman(self, x, y):
        # type: (Sequence[Any], Sequence[Any]) -> Dict[str, Any]
        """As `pearson`, of the ranks: any relation that never turns.

        >>> round(MetricsCorrelationAnalyzer().spearman([1, 2, 3, 4], [1, 10, 100, 1000])['r'], 12)
        1.0
        """
        x, y = _known_pairs(y, x)
        return _correlation_record(_ranks(x), _ranks(y))

    def correlate(self, series, max_lag=0, alpha=0.01):
        # type: (Dict[str, Sequence[Any]], int, float) -> List[Dict[str, Any]]
        """Compare every pair of metrics at every lag up to `max_lag` runs and return records, the surest first.

        Each has first, second, lag (the first leads by so many runs), pearson, pearson_p, spearman, spearman_p, n,
        p_adjusted, significant and reason. p_adjusted is the rank correlation's p-value with n lessened where both series
        resemble their own past (Bartlett 1935), corrected for all comparisons of the call (Holm 1979); `significant` when at
        most `alpha`. With fewer than 5 pairs it is None. Raises UsageError for series of different lengths.
        """
        names = list(series)
        lengths = set(len(series[name]) for name in names)
        if len(lengths) > 1:
            raise UsageError('series of %s values: must be as many' % ', '.join(str(n) for n in sorted(lengths)))
        records = []
        for i, first in enumerate(names):
            for second in names[i + 1:]:
                for lag in range(-max_lag, max_lag + 1):
                    records.append(_lagged(first, second, series[first], series[second], lag))
        _correct_for_many(records, alpha)
        return sorted(records, key=lambda record: (
            record['p_adjusted'] is None, record['p_adjusted'] or 0.0, -abs(record['spearman'] or 0.0)))


def _correlation_record(x, y):
    # type: (Sequence[float], Sequence[float]) -> Dict[str, Any]
    n = len(x)
    r = _correlation(x, y) if n > 1 else None
    reason = None if r is not None else '%d pairs; 3 are needed' % n if n < 2 else 'a series is constant'
    return {'r': r, 'p_value': None if r is None else _correlation_p(r, n), 'n': n, 'reason': reason}


def _lagged(first, second, x, y, lag):
    # type: (str, str, Sequence[Any], Sequence[Any], int) -> Dict[str, Any]
    """Compare x with y `lag` runs later."""
    if lag < 0:
        first, second, x, y, lag = second, first, y, x, -lag
    pairs = _in_time(x, y, lag)
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    ranks_a, ranks_b = _ranks(a), _ranks(b)
    linear, ranked = _correlation_record(a, b), _correlation_record(ranks_a, ranks_b)
    record = {'first': first, 'second': second, 'lag': lag, 'pearson': linear['r'], 'pearson_p': linear['p_value'],
              'spearman': ranked['r'], 'spearman_p': ranked['p_value'], 'n': len(a), 'p_adjusted': None, 'significant': None,
              'reason': ranked['reason']}
    if len(a) < 5:
        record['reason'] = '%d pairs; 5 are needed' % len(a)
    elif ranked['r'] is not None:
        both = _own_past(ranks_a) * _own_past(ranks_b)
        record['p_adjusted'] = _correlation_p(ranked['r'], max(3.0, len(a) * (1.0 - both) / (1.0 + both)))
    return record


def _in_time(x, y, lag):
    # type: (Sequence[Any], Sequence[Any], int) -> List[Tuple[float, float]]
    """Return the pairs (x, y `lag` places later) of which both are known, in the order of time."""
    known_x, known_y = dict(zip(*_known(x))), dict(zip(*_known(y)))
    return [(known_x[i], known_y[i + lag]) for i in sorted(known_x) if i + lag in known_y]


def _own_past(numbers):
    # type: (Sequence[float]) -> float
    """Return the correlation of a series with itself one place later, at least 0 and at most 0.99."""
    r = _correlation(numbers[:-1], numbers[1:])
    return min(max(r or 0.0, 0.0), 0.99)


def _correct_for_many(records, alpha):
    # type: (List[Dict[str, Any]], float) -> None
    """Replace p_adjusted by Holm's: the smallest times the number of comparisons, and so on, never falling."""
    known = sorted((record for record in records if record['p_adjusted'] is not None), key=lambda record: record['p_adjusted'])
    highest = 0.0
    for i, record in enumerate(known):
        highest = max(highest, min(1.0, record['p_adjusted'] * (len(known) - i)))
        record.update(p_adjusted=highest, significant=highest <= alpha)


class ResourceForecaster(object):
    """What a series will be next, with intervals, and when it reaches a limit.

    `values` as in TrendAnalyzer: oldest first, None for gaps (they are left out). Forecasts count in runs. The last 500 known
    values are used.
    """
    METHODS = ('auto', 'linear', 'simple', 'holt', 'damped', 'seasonal')

    def forecast(self, values, horizon=10, method='auto', season=None, level=0.95):
        # type: (Iterable[Any], int, str, Optional[int], float) -> Dict[str, Any]
        """Return method, forecast, low and high (lists of `horizon` numbers), level, season, error (standard deviation of one
        step), n, reason.

        'linear' is the least-squares line; 'simple', 'holt' and 'damped' are exponential smoothing without a trend, with one,
        and with one that fades; 'seasonal' is Holt-Winters, additive, with `season` runs (searched for when None). 'auto'
        takes the smoothing whose one-step errors are smallest after a charge for its parameters (AICc). The intervals should
        hold the value in `level` of the cases (Hyndman, Koehler, Ord & Snyder 2008, chapter 6), as long as the future is like
        the past. Below 8 known values, or two seasons, the lists are None and `reason` says how many are needed. Raises
        UsageError for what cannot be.

        >>> ahead = ResourceForecaster().forecast([10.0, 12.0, 14.0, 16.0, 18.0, 20.0, 22.0, 24.0], 2, 'linear')
        >>> [round(value, 6) for value in ahead['forecast']]
        [26.0, 28.0]
        """
        _check_forecast(horizon, method, season, level)
        numbers = _known(values)[1][-500:]
        result = {'method': method, 'forecast': None, 'low': None, 'high': None, 'level': level, 'season': season, 'error': None,
                  'n': len(numbers), 'reason': None}  # type: Dict[str, Any]
        if method in ('auto', 'seasonal') and season is None:
            season = result['season'] = _find_season(numbers)
        needed = max(8, 2 * season + 5 if method == 'seasonal' and season else 0)
        if len(numbers) < needed:
            result['reason'] = '%d values; %d are needed' % (len(numbers), needed)
        elif method == 'seasonal' and not season:
            result['reason'] = 'no season found'
        elif method == 'linear':
            result.update(_forecast_line(numbers, horizon, level))
        else:
            result.update(_forecast_smooth(numbers, horizon, method, season, level))
        return result

    def limit_reached(self, values, limit, times=None):
        # type: (Iterable[Any], float, Optional[Sequence[Any]]) -> Dict[str, Any]
        """Say when a series that has a trend will reach a limit.

        `times` are seconds since 1970 or ISO 8601 texts, one per value; the answer is then in days after the last one.
        Without them it is in runs. Returns days (None: not in sight), low and high (from the 95 % interval of the slope; high
        None: perhaps never), unit ('days' or 'runs'), trend, reached (already: a limit is from above, unless the series came
        down to it) and sentence.

        >>> ResourceForecaster().limit_reached([10.0, 11.1, 11.9, 13.0, 14.1, 15.0, 15.9, 17.0, 18.1, 19.0, 20.0], 30)['sentence']
        'limit reached in about 10 runs'
        """
        known_limit = _known([limit])[1]
        if not known_limit:
            raise UsageError('limit %r: must be a finite number' % (limit,))
        values = list(values)
        moments = None if times is None else [None if moment is None else _epoch(moment) / 86400.0 for moment in times]
        line = TrendAnalyzer().calculate_linear_regression(values, moments)
        return _limit_answer(line, known_limit[0], _known_pairs(values, moments)[1], 'runs' if times is None else 'days')


def _check_forecast(horizon, method, season, level):
    # type: (Any, Any, Any, Any) -> None
    for name, value, least in (('horizon', horizon, 1), ('season', season, 2)):
        if name == 'season' and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError('%s %r: must be a whole number of at least %d' % (name, value, least))
    if method not in ResourceForecaster.METHODS:
        raise UsageError('method %r: no such method%s; valid: %s' % (
            method, suggest(str(method), ResourceForecaster.METHODS), ', '.join(ResourceForecaster.METHODS)))
    if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 < level < 1:
        raise UsageError('level %r: must be between 0 and 1' % (level,))


def _find_season(numbers):
    # type: (Sequence[float]) -> Optional[int]
    """Return the lag, at least 2, at which the detrended series resembles itself most; None when that is not much."""
    n = len(numbers)
    if n < 12:
        return None
    x = [float(i) for i in range(n)]
    slope, intercept, residual, _, _ = _fit_line(x, numbers)
    if residual <= 0.0:
        return None
    rest = [y - intercept - slope * i for i, y in enumerate(numbers)]
    likeness = [0.0]
    for lag in range(1, n // 3 + 1):
        likeness.append(sum([a * b for a, b in zip(rest, rest[lag:])]) / residual * n / (n - lag))
    likeness.append(0.0)
    peaks = [lag for lag in range(2, n // 3 + 1) if likeness[lag] > likeness[lag - 1] and likeness[lag] >= likeness[lag + 1]]
    strong = [lag for lag in peaks if likeness[lag] > max(0.4, 4.0 / n ** 0.5)]
    if not strong:
        return None
    best = max(likeness[lag] for lag in strong)
    return min(lag for lag in strong if likeness[lag] > 0.85 * best)


def _forecast_line(numbers, horizon, level):
    # type: (Sequence[float], int, float) -> Dict[str, Any]
    n = len(numbers)
    x = [float(i) for i in range(n)]
    slope, intercept, residual, _, sxx = _fit_line(x, numbers)
    sigma = (residual / (n - 2)) ** 0.5
    ahead = [float(n + step) for step in range(horizon)]
    factor = sigma * _student_quantile(1.0 - level, n - 2)
    reach = [factor * (1.0 + 1.0 / n + (at - (n - 1) / 2.0) ** 2 / sxx) ** 0.5 for at in ahead]
    return _band([intercept + slope * at for at in ahead], reach, sigma)


def _band(middle, reach, error):
    # type: (Sequence[float], Sequence[float], float) -> Dict[str, Any]
    return {'forecast': list(middle), 'low': [m - r for m, r in zip(middle, reach)],
            'high': [m + r for m, r in zip(middle, reach)], 'error': error}


#: Smoothing methods: the choices for alpha, beta, phi and gamma, and how many parameters AICc charges for.
_SMOOTHINGS = {
    'simple': ((0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9), (0.0,), (0.0,), (0.0,), 2),
    'holt': ((0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9), (0.005, 0.02, 0.1, 0.3), (1.0,), (0.0,), 4),
    'damped': ((0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9), (0.02, 0.1, 0.3), (0.8, 0.9, 0.97), (0.0,), 5),
    'seasonal': ((0.02, 0.1, 0.3, 0.6), (0.002, 0.05), (1.0, 0.9), (0.02, 0.1, 0.3), 5),
}


def _forecast_smooth(numbers, horizon, method, season, level):
    # type: (Sequence[float], int, str, Optional[int], float) -> Dict[str, Any]
    """Fit every method that is asked for over its choices and forecast with the best."""
    names = [method] if method != 'auto' else ['simple', 'holt', 'damped']
    if method == 'auto' and season and len(numbers) >= 2 * season + 5:
        names.append('seasonal')
    import math
    best = None  # type: Any
    n = len(numbers)
    for name in names:
        alphas, betas, phis, gammas, count = _SMOOTHINGS[name]
        period = (season or 0) if name == 'seasonal' else 0
        count += period
        error, choice = min((_smooth(numbers, (a, b, p, g), period)[0], (a, b, p, g))
                            for a in alphas for b in betas for p in phis for g in gammas)
        charge = n * math.log(max(error, 1e-300) / n) + 2.0 * count + 2.0 * count * (count + 1.0) / max(n - count - 1.0, 1.0)
        if best is None or charge < best[0]:
            best = (charge, name, choice, period, count)
    _, name, choice, period, count = best
    square, now, slope, seasons = _smooth(numbers, choice, period)
    sigma = (square / max(n - count, 1)) ** 0.5
    middle, spread = _ahead(now, slope, seasons, choice, period, horizon)
    factor = sigma * _student_quantile(1.0 - level, max(n - count, 1))
    return dict(_band(middle, [factor * s for s in spread], sigma), method=name, season=period or None)


def _smooth(numbers, choice, period):
    # type: (Sequence[float], Tuple[float, float, float, float], int) -> Tuple[float, float, float, List[float]]
    """Run exponential smoothing in its error-correction form; returns the sum of squared one-step errors and the last state."""
    alpha, beta, phi, gamma = choice
    level, slope, seasons = _first_state(numbers, phi, period)
    total, place = 0.0, 0
    for number in numbers:
        base = level + phi * slope
        if period:
            error = number - base - seasons[place]
            seasons[place] += gamma * error
            place = place + 1 if place + 1 < period else 0
        else:
            error = number - base
        total += error * error
        level = base + alpha * error
        slope = phi * slope + alpha * beta * error
    return total, level, slope, seasons[place:] + seasons[:place]


def _first_state(numbers, phi, period):
    # type: (Sequence[float], float, int) -> Tuple[float, float, List[float]]
    """Begin with a robust line through the first values; seasons are mean differences from the whole series' line."""
    if not period:
        start = numbers[:10]
        if not phi:
            return _median(start), 0.0, []
        slope = _theil_sen([float(i) for i in range(len(start))], start)[0]
        return _median([y - slope * i for i, y in enumerate(start)]) - slope, slope, []
    slope, intercept, _, _, _ = _fit_line([float(i) for i in range(len(numbers))], numbers)
    seasons = [_mean([y - intercept - slope * i for i, y in enumerate(numbers)][place::period]) for place in range(period)]
    return intercept - slope, slope, seasons


def _ahead(level, slope, seasons, choice, period, horizon):
    # type: (float, float, List[float], Tuple[float, float, float, float], int, int) -> Tuple[List[float], List[float]]
    """Return the next values, and each one's standard deviation in units of that of one step."""
    alpha, beta, phi, gamma = choice
    middle, spread = [], []
    variance, faded, power = 1.0, 0.0, 1.0
    for step in range(1, horizon + 1):
        power *= phi
        faded += power
        middle.append(level + slope * faded + (seasons[(step - 1) % period] if period else 0.0))
        spread.append(variance ** 0.5)
        weight = alpha + alpha * beta * faded + (gamma if period and step % period == 0 else 0.0)
        variance += weight * weight
    return middle, spread


def _limit_answer(line, limit, numbers, unit):
    # type: (Dict[str, Any], float, Sequence[float], str) -> Dict[str, Any]
    answer = {'days': None, 'low': None, 'high': None, 'unit': unit, 'trend': line['trend'],
              'reached': None}  # type: Dict[str, Any]
    if line['trend'] == 'unknown':
        return dict(answer, sentence='whether the limit will be reached is unknown: %s' % line['reason'])
    if line['trend'] == 'stable':
        return dict(answer, reached=_median(numbers) >= limit, sentence='no trend, so no date on which the limit is reached')
    rising = line['trend'] == 'increasing'
    answer['reached'] = line['end'] >= limit if rising else line['end'] <= limit < line['start']
    if answer['reached']:
        return dict(answer, days=0.0, low=0.0, high=0.0, sentence='limit reached already')
    days = (limit - line['end']) / line['robust_slope']
    if days < 0:
        return dict(answer, sentence='the trend leads away from the limit')
    slow, fast = sorted((abs(line['robust_low']), abs(line['robust_high'])))
    turns = (line['robust_low'] < 0) != (line['robust_high'] < 0) or not slow
    answer.update(days=days, low=days * abs(line['robust_slope']) / fast,
                  high=None if turns else days * abs(line['robust_slope']) / slow)
    return dict(answer, sentence='limit reached in about %s %s' % (_about(days), unit))


def _about(number):
    # type: (float) -> str
    """Write a number of days or runs with no more digits than a forecast has.

    >>> [_about(n) for n in (0.42, 3.14, 41.7, 1234.5)]
    ['0.4', '3', '42', '1200']
    """
    return '%.1f' % number if number < 1 else '%d' % round(number) if number < 100 else '%d' % float('%.2g' % number)


def compare_metrics(before, after, usual=None):
    # type: (Dict[str, Any], Dict[str, Any], Optional[Dict[str, Dict[str, Any]]]) -> List[Dict[str, Any]]
    """Compare the metrics of two runs and return a record of each that either has, in the order of METRICS.

    Each has name, before, after, change_pct (None from 0 or where one is unknown), verdict, usual_low and usual_high. `usual`
    maps names to baselines of BaselineCalculator. verdict is 'better' or 'worse' by the metric's direction, 'changed' where it
    has none, 'same' when both lie within what is usual or, where that is not known, differ by less than 1 %, '' when one is
    unknown.

    >>> [row['verdict'] for row in compare_metrics({'cpu_avg': 10.0, 'exit_code': 1}, {'cpu_avg': 12.0, 'exit_code': 0})]
    ['worse', 'changed']
    """
    names = [name for name in METRICS if METRICS[name].unit != 'UTC']
    names += sorted(name for name in set(before) | set(after) if name not in METRICS)
    rows = []
    for name in names:
        old, recent = before.get(name), after.get(name)
        if old is None and recent is None:
            continue
        band = (usual or {}).get(name) or {'low': None, 'high': None}
        row = {'name': name, 'before': old, 'after': recent, 'change_pct': None, 'verdict': '',
               'usual_low': band['low'], 'usual_high': band['high']}
        if old is not None and recent is not None:
            row['change_pct'] = _change_pct(old, recent)
            row['verdict'] = _comparison_verdict(name, old, recent, band)
        rows.append(row)
    return rows


def _comparison_verdict(name, old, recent, band):
    # type: (str, float, float, Dict[str, Any]) -> str
    if band['low'] is not None:
        is_same = all(band['low'] <= value <= band['high'] for value in (old, recent))
    else:
        is_same = abs(recent - old) < 0.01 * abs(old)
    better = METRICS[name].better if name in METRICS else None
    if is_same or old == recent:
        return 'same'
    return 'changed' if better is None else 'better' if (recent < old) == (better == 'lower') else 'worse'


def recommend_limit(values, margin=0.5, min_runs=10):
    # type: (Iterable[Any], float, int) -> Dict[str, Any]
    """Say how large a limit should be for what was used so far: the 95th percentile plus `margin`, and the greatest plus a tenth.

    Returns recommended (the greater of the two), p95, largest, n and reason; below `min_runs` values recommended is None.

    >>> recommend_limit([10.0] * 20)['recommended']
    15.0
    """
    ordered = sorted(_known(values)[1])
    result = {'recommended': None, 'p95': None, 'largest': None, 'n': len(ordered), 'reason': None}  # type: Dict[str, Any]
    if len(ordered) < min_runs:
        result['reason'] = '%d good run%s; %d are needed' % (len(ordered), '' if len(ordered) == 1 else 's', min_runs)
        return result
    high = _percentile(ordered, 95)
    result.update(p95=high, largest=ordered[-1], recommended=max(high * (1.0 + margin), ordered[-1] * 1.1))
    return result


def estimate_remaining(elapsed, durations, min_runs=3):
    # type: (float, Iterable[Any], int) -> Optional[Tuple[float, Optional[float]]]
    """Return (the usual duration, seconds left) of a run that has taken `elapsed` seconds, from how long earlier ones took.

    The usual duration is their median. What is left is the median over those that took longer than this one has so far, which
    is the more honest the more they differ; None when none did. None altogether below `min_runs` durations.

    >>> estimate_remaining(4.0, [10.0, 11.0, 12.0])
    (11.0, 7.0)
    >>> estimate_remaining(11.5, [10.0, 11.0, 12.0]), estimate_remaining(99.0, [10.0, 11.0, 12.0]), estimate_remaining(1.0, [2.0])
    ((11.0, 0.5), (11.0, None), None)
    """
    known = sorted(_known(durations)[1])
    if len(known) < min_runs:
        return None
    longer = [duration - elapsed for duration in known if duration > elapsed]
    return _percentile(known, 50), _percentile(longer, 50) if longer else None


# ======================================================================================================
# 9. Logs
# ======================================================================================================

class StructuredLogger(object):
    """Append events to a file as JSON lines: time, level, event, and whatever fields are given.

        log = StructuredLogger('runs.jsonl')
        log.info('import_done', rows=12)

    Lines of any number of threads and processes do not mix (each is one write to a file opened for appending). Secrets in
    texts are redacted. The file is created private; events below `level` are not written. `fields` go into every line.
    Raises UsageError for an unknown level; OSError when the file cannot be written.
    """

    def __init__(self, path, level='INFO', **fields):
        # type: (str, str, **Any) -> None
        self.path = path
        self.level = check_level('level', level)
        self.fields = fields
        self.redact_patterns = ()  # type: Sequence[Any]

    def log(self, level, event, **fields):
        # type: (str, str, **Any) -> None
        """Write one event at a level of LEVELS."""
        if LEVELS[check_level('level', level)] < LEVELS[self.level]:
            return
        import json
        record = {'time': format_time(time.time()), 'level': level.upper(), 'event': event}
        record.update(self.fields)
        record.update(fields)
        safe = {name: redact(value, self.redact_patterns) if isinstance(value, str) else value for name, value in record.items()}
        line = json.dumps(safe, ensure_ascii=False, default=str).encode('utf-8', 'replace') + b'\n'
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def debug(self, event, **fields):
        # type: (str, **Any) -> None
        """Write an event at level DEBUG."""
        self.log('DEBUG', event, **fields)

    def info(self, event, **fields):
        # type: (str, **Any) -> None
        """Write an event at level INFO."""
        self.log('INFO', event, **fields)

    def warning(self, event, **fields):
        # type: (str, **Any) -> None
        """Write an event at level WARNING."""
        self.log('WARNING', event, **fields)

    def error(self, event, **fields):
        # type: (str, **Any) -> None
        """Write an event at level ERROR."""
        self.log('ERROR', event, **fields)


class LogPattern(object):
    """One kind of trouble that LogAnalyzer knows.

    `exceptions` are the names of exceptions (of any language) that mean it, `phrases` regular expressions of what programs
    write; `severity` is one of INFO, WARNING, ERROR, CRITICAL; `advice` is one sentence. `pattern` is all of it as one
    regular expression.
    """
    __slots__ = ('name', 'severity', 'exceptions', 'phrases', 'advice')

    def __init__(self, name, severity, exceptions, phrases, advice):
        # type: (str, str, str, Sequence[str], str) -> None
        self.name = name
        self.severity = severity
        self.exceptions = tuple(exceptions.split())
        self.phrases = tuple(phrases)
        self.advice = advice

    def __repr__(self):
        return 'LogPattern(%r, %r)' % (self.name, self.severity)

    @property
    def pattern(self):
        # type: () -> str
        """The regular expression: an exception's name before a colon or at the end of the line, or a phrase."""
        parts = list(self.phrases)
        if self.exceptions:
            parts.insert(0, r'(?<![\w"\'`])(?:%s)(?=:\s|:?$)' % '|'.join(self.exceptions))
        return '|'.join(parts)


def _known_patterns():
    # type: () -> Dict[str, LogPattern]
    """Return the table of LogAnalyzer by name. The first that fits a line names it, so the specific stand before the general."""
    rows = (
        ('killed', 'CRITICAL', '', (
            r'^(?:.*: line \d+: +\d+ +)?Killed(?: {2,}|$)', '^signal: killed', r'died with <Signals\.SIG', r'\bOOMKilled\b',
            r'\boom-kill:', 'Out of memory: Kill', '[Tt]erminated by signal (?:9|SIGKILL)'),
         'Something outside ended it by SIGKILL, most often the kernel for want of memory: look at the peak, and at dmesg.'),
        ('memory', 'CRITICAL', 'MemoryError _ArrayMemoryError OutOfMemoryError OutOfMemoryException', (
            '[Cc]annot allocate memory', r'java\.lang\.OutOfMemoryError',
            '(?:heap|CUDA|runtime:|fatal:|ERROR:  ?|error:) ?[Oo]ut of memory', r'^[Oo]ut of memory\b', r'\bENOMEM\b',
            r'memory allocation of \d+ bytes failed', 'std::bad_alloc', r'Unable to allocate [\d.]+ [KMGT]iB',
            'virtual memory exhausted', 'oom: out of memory'),
         'It asked for more memory than there was: work in smaller pieces, or give it more.'),
        ('crash', 'CRITICAL', '', (
            'Segmentation fault', r'\bSIGSEGV\b', 'Bus error', 'Illegal instruction', r'\(core dumped\)', '^Aborted$',
            'Fatal Python error: ', 'stack smashing detected', 'double free or corruption', r'^free\(\): ',
            'A fatal error has been detected by the Java Runtime'),
         'Native code broke: run it again with PYTHONFAULTHANDLER=1 or under a debugger, and update the extension that crashed.'),
        ('panic', 'CRITICAL', '', (
            '^panic: ', '^fatal error: (?:all goroutines|concurrent map)', r"thread '[^']*' (?:\(\d+\) )?panicked at "),
         'A Go or Rust program hit a state that it holds impossible: the lines after this one say where.'),
        ('disk', 'CRITICAL', '', (
            'No space left on device', r'\bENOSPC\b', '[Dd]isk quota exceeded', r'\bEDQUOT\b', 'database or disk is full',
            'could not extend file', r'\b[Dd]isk full\b', 'There is not enough space on the disk', 'Read-only file system',
            r'\bEROFS\b', 'Input/output error'),
         'The file system is full, read-only or failing: see df -h, df -i and dmesg.'),
        ('resources', 'ERROR', '', (
            'Too many open files', r'\bEMFILE\b', r'\bENFILE\b', "can't start new thread",
            'unable to create (?:new )?native thread', 'fork: (?:retry: )?Resource temporarily unavailable',
            'Resource temporarily unavailable$', 'BlockingIOError: '),
         'A limit on files, threads or processes was reached: see ulimit -a, and close what is no longer used.'),
        ('tls', 'ERROR', 'SSLError SSLCertVerificationError SSLEOFError SSLHandshakeException SSLZeroReturnError', (
            'CERTIFICATE_VERIFY_FAILED', 'certificate verify failed', 'SSL certificate problem', 'x509: certificate',
            '[Uu]nable to get local issuer certificate', 'certificate has expired', 'CERT_HAS_EXPIRED',
            'DEPTH_ZERO_SELF_SIGNED_CERT', '(?:[Ee]rror|fail|verif).{0,100}self[- ]signed certificate',
            'tls: failed to', 'sslv3 alert handshake failure',
            'PKIX path building failed', r'curl: \((?:35|51|58|60)\)', 'server certificate verification failed',
            r'wrong version number \('),
         'The TLS handshake failed: check the clock, the CA bundle, and whether the certificate names this host.'),
        ('dns', 'ERROR', 'gaierror NameResolutionError UnknownHostException', (
            'Name or service not known', '[Tt]emporary failure in name resolution', '[Cc]ould not resolve (?:host|proxy)',
            'nodename nor servname provided', r'\bENOTFOUND\b', r'\bEAI_AGAIN\b', ': no such host',
            'could not translate host name', 'Unknown MySQL server host', 'No address associated with hostname',
            r'\bNXDOMAIN\b'),
         'A host name could not be resolved: check its spelling, /etc/resolv.conf and the network.'),
        ('rate_limit', 'WARNING', 'RateLimitError ThrottlingException TooManyRequests TooManyRequestsException', (
            '429 Too Many Requests', r'\b429 Client Error', 'HTTP Error 429', 'returned error: 429', 'status code:? 429',
            '[Rr]ate limit (?:was |has been )?(?:exceeded|reached)', r'\(ThrottlingException\)', r'\bRate exceeded\b',
            '[Tt]oo many requests[.:,]'),
         'The service asks for fewer requests: wait between them, and retry with a growing delay (--retry-strategy).'),
        ('authentication', 'ERROR', 'AuthenticationError AuthenticationException NoCredentialsError UnauthorizedError '
                                    'SMTPAuthenticationError InvalidCredentials', (
            r'\b401 (?:Unauthorized|Client Error)', r'\b403 (?:Forbidden|Client Error)', 'HTTP Error 40[13]',
            'returned error: 40[13]', 'password authentication failed', 'no password supplied', 'Access denied for user',
            '[Aa]uthentication failed', r'Permission denied \((?:publickey|password|keyboard)', 'could not read Username',
            '[Ii]nvalid credentials', 'Bad credentials', 'InvalidClientTokenId', r'\bExpiredToken', '[Tt]oken has expired',
            'Login failed for user', 'Unable to locate credentials', r'\b535[ -]5\.7\.\d', 'Host key verification failed',
            r'pg_hba\.conf'),
         'It was not let in: check user, password, token and key, and whether they have expired.'),
        ('permission', 'ERROR', 'PermissionError AccessDeniedException AccessDenied', (
            '[Pp]ermission denied', '[Oo]peration not permitted', r'\bEACCES\b', r'\bEPERM\b', 'Access is denied',
            r'\(AccessDenied\)', 'must be owner of'),
         'The user that runs it may not do this: check owner and mode of the file or object that is named.'),
        ('timeout', 'ERROR', 'TimeoutError TimeoutExpired ReadTimeoutError ConnectTimeoutError TimeoutException '
                             'SocketTimeoutException ServerTimeoutError', (
            r'\w\.(?:Read|Connect|Write|Pool)?Timeout(?=:\s|$)', r'\b(?:[Tt]imed out|TIMED OUT)(?=[.:,;)\]]|$)',
            r'[Tt]imed out (?:waiting|while|trying|after \d|with)', r'\bETIMEDOUT\b', r'\bESOCKETTIMEDOUT\b', 'i/o timeout',
            '[Dd]eadline exceeded', 'DEADLINE_EXCEEDED', '504 Gateway Time-?out', 'due to statement timeout',
            '[Ll]ock wait timeout exceeded', r'[Tt]imeout (?:of \d+ ?m?s )?exceeded', r'curl: \(28\)',
            r'[Tt]imeout (?:was reached|expired)\b', 'read timed out'),
         'Something did not answer in time: see whether it is up and how long it usually takes, before raising the limit.'),
        ('connection', 'ERROR', 'ConnectionError ConnectionRefusedError ConnectionResetError ConnectionAbortedError '
                                'BrokenPipeError NewConnectionError MaxRetryError ConnectException RemoteDisconnected '
                                'ConnectError IncompleteRead ProtocolError ClientConnectorError ServerDisconnectedError', (
            '[Cc]onnection refused', r'[Cc]onnection reset(?: by peer)?(?=[.:,;)\]]|$)', '[Nn]etwork is unreachable',
            '[Nn]o route to host', r'[Bb]roken pipe(?=[.:,;)\]]|$)', r'\bECONNREFUSED\b', r'\bECONNRESET\b', r'\bEPIPE\b',
            r'\bEHOSTUNREACH\b', r'\bENETUNREACH\b', '[Ff]ailed to connect to', 'socket hang up', '[Aa]ddress already in use',
            r'\bEADDRINUSE\b', 'Max retries exceeded with url', 'could not connect to server',
            '[Cc]onnection to server .{1,200} failed', '[Cc]onnection (?:was )?closed by (?:remote|peer)',
            'closed the connection unexpectedly', "Can't connect to (?:local )?(?:MySQL|server)",
            '50[23] (?:Bad Gateway|Service (?:Temporarily )?Unavailable)', 'remote end hung up unexpectedly',
            'MySQL server has gone away', 'Lost connection to MySQL', r'curl: \((?:7|52|56)\)', '[Cc]onnection aborted'),
         'The other side could not be reached or went away: check host, port, firewall, and whether the service runs.'),
        ('http', 'ERROR', 'HTTPError HTTPStatusError', (
            r'HTTP Error [45]\d\d', r'\b[45]\d\d (?:Client|Server) Error', r'returned error: [45]\d\d',
            '500 Internal Server Error', '404 Not Found$'),
         'The server answered with an error status: 4xx is the request (address, arguments), 5xx the server.'),
        ('encoding', 'ERROR', 'UnicodeDecodeError UnicodeEncodeError UnicodeError MalformedInputException '
                              'UnmappableCharacterException', (
            "codec can't (?:de|en)code", 'invalid byte sequence for encoding', 'stream did not contain valid UTF-8',
            'invalid utf-?8', '[Ii]nvalid UTF-8', 'Incorrect string value: '),
         'Bytes are not in the encoding that was expected: name it when opening, or set PYTHONUTF8=1.'),
        ('database', 'ERROR', 'OperationalError IntegrityError DatabaseError ProgrammingError InterfaceError SQLException '
                              'UndefinedTable UniqueViolation SQLIntegrityConstraintViolationException SQLSyntaxErrorException '
                              'DoesNotExist', (
            'database is locked', 'database disk image is malformed', 'file is not a database',
            r'(?:^|: )(?:ERROR|FATAL|PANIC):  \S', r'ERROR \d{4} \([0-9A-Z]{5}\)', 'no such (?:table|column): ',
            '[A-Z] constraint failed', 'duplicate key value violates', 'violates [a-z-]+ constraint',
            '[Dd]eadlock (?:detected|found)', r'\bSQLSTATE\[', r'\bORA-\d{5}\b', r'\bMongoServerError\b',
            'near "[^"]*": syntax error', r'(?:Parse|Runtime) error near line \d+', "Table '[^']*' doesn't exist",
            "Duplicate entry '[^']*' for key"),
         'The database refused a statement: the message names table, column or constraint; for a lock, see who holds it.'),
        ('import', 'ERROR', 'ModuleNotFoundError ImportError ClassNotFoundException NoClassDefFoundError', (
            r'No module named \S', "Cannot find (?:module|package) '", r'\bERR_MODULE_NOT_FOUND\b', r'\bMODULE_NOT_FOUND\b',
            'Could not find or load main class', 'error while loading shared libraries', 'cannot open shared object file',
            'cannot find package "', 'no required module provides package', 'unresolved import', r"Can't locate \S+ in @INC",
            'cannot load such file --', 'Library not loaded: '),
         'A module or library is missing: install it in the environment that runs this (--python), or mend its name.'),
        ('command', 'ERROR', '', (
            ': command not found', r'command not found: \S',
            r'^(?:/bin/)?(?:sh|dash|ash)?[^ ]*: (?:line )?\d+: \S+: not found$',
            'is not recognized as an internal or external command', '[Ee]xec format error', 'bad interpreter',
            r'\bspawn \S+ ENOENT', r'executable file not found in \$PATH'),
         'A program is not installed or not in PATH, which is shorter in cron and CI than in your shell.'),
        ('file', 'ERROR', 'FileNotFoundError FileExistsError IsADirectoryError NotADirectoryError FileNotFoundException '
                          'NoSuchFileException NoSuchKey', (
            'No such file or directory', r'\bENOENT\b', '[Cc]annot find the (?:file|path) specified', r'\bFile exists$',
            r'\bEEXIST\b', r'\bIs a directory$', r'\bNot a directory$', 'Directory not empty$', 'no such file or directory',
            r'\(NoSuchKey\)', '[Cc]annot stat ', r'did not match any files?\b', "pathspec '[^']*' did not match"),
         'A file is missing or in the way: check the path, and the folder that it is relative to.'),
        ('syntax', 'CRITICAL', 'SyntaxError IndentationError TabError', (
            'syntax error near unexpected token', 'syntax error:? unexpected', 'unexpected end of file$',
            r'\bUnexpected token\b', 'unexpected EOF while', 'syntax error at '),
         'The source cannot be read: see the line named, and whether this interpreter is as new as the code wants.'),
        ('format', 'ERROR', 'JSONDecodeError ScannerError ParserError ParseError JsonParseException BadZipFile '
                            'UnpicklingError TOMLDecodeError', (
            r'Expecting value: line \d', 'jq: (?:parse )?error', 'not in gzip format', 'Unexpected end of JSON input'),
         'Data is not in the format that was expected: look at its first bytes; an empty file or an error page is common.'),
        ('key', 'ERROR', 'KeyError', (), 'A key is missing: the data has another shape than the code expects.'),
        ('index', 'ERROR', 'IndexError ArrayIndexOutOfBoundsException StringIndexOutOfBoundsException '
                           'IndexOutOfBoundsException', (
            'index out of (?:range|bounds)',),
         'A list is shorter than the code expects: often it is empty.'),
        ('attribute', 'ERROR', 'AttributeError NullPointerException NoMethodError', (
            'Cannot read propert', 'nil pointer dereference', 'undefined method '),
         'An object is not what the code expects: often it is None, nil or null from an earlier step.'),
        ('name', 'ERROR', 'NameError UnboundLocalError ReferenceError', (
            r'\bunbound variable$',),
         'A name is used that was never set: a typing error, or a branch that was not taken.'),
        ('type', 'ERROR', 'TypeError ClassCastException', (), 'A value is of another type than the operation takes.'),
        ('arithmetic', 'ERROR', 'ZeroDivisionError OverflowError FloatingPointError ArithmeticException', (
            r'[Dd]ivision by (?:zero|0)\b', '[Dd]ivide by zero'),
         'A number is zero or too large: check the values that go into the calculation.'),
        ('recursion', 'ERROR', 'RecursionError StackOverflowError', (
            'maximum recursion depth exceeded', 'Maximum call stack size exceeded', r'\bhas overflowed its stack'),
         'A function calls itself without end, or the data is nested deeper than it can go.'),
        ('assertion', 'ERROR', 'AssertionError AssertionFailedError', (
            r'\b[Aa]ssertion .{1,200} failed', '^[Aa]ssertion failed', 'assertion failed: '),
         'The code checked an assumption of its own, and it does not hold: the message or the line says which.'),
        ('value', 'ERROR', 'ValueError NumberFormatException IllegalArgumentException ValidationError InvalidOperation', (
            'ParseIntError', r'strconv\.\w+: parsing'),
         'A value has the right type and a content that cannot be: check the input.'),
        ('usage', 'ERROR', 'ArgumentError UsageError', (
            'error: the following arguments are required', 'error: unrecognized arguments', r'error: argument \S',
            '[Ii]nvalid option(?: --|:)', '[Uu]nrecogni[sz]ed option', 'unknown (?:option|flag|shorthand flag)',
            'illegal option --', 'missing operand$'),
         'The command line is wrong: compare it with what --help of that program says.'),
        ('git', 'ERROR', '', (
            '^fatal: ', 'error: failed to push some refs', r'^CONFLICT \(', 'error: Your local changes',
            'not a git repository', '^error: pathspec '),
         'git refused: its message says what state it wants first.'),
        ('interrupted', 'INFO', 'KeyboardInterrupt InterruptedException CancelledError', (), 'Somebody ended it.'),
        ('subprocess', 'ERROR', 'CalledProcessError SubprocessError', (
            'returned non-zero exit status', r'^make(?:\[\d+\])?: \*\*\* ', r'\bnpm (?:ERR!|error)', '^exit status [1-9]',
            'process exited with (?:status|code) [1-9]', '^Command failed'),
         "A program that it started failed: the lines before this one are that program's."),
        ('deprecated', 'INFO', 'DeprecationWarning PendingDeprecationWarning FutureWarning', (),
         'It still works, and will not for ever.'),
        ('exception', 'ERROR', r'[A-Z]\w*(?:Error|Exception)', (
            '^Exception in thread ', '^Uncaught ', r'\bUnhandledPromiseRejection', '^Unhandled (?:exception|rejection)',
            '^Caused by: ', r'^error\[E\d{4}\]'),
         'The exception says what happened, the frame where.'),
    )
    return {row[0]: LogPattern(*row) for row in rows}


_ANALYSED = 32768              # characters from the end of a text that are looked at; 64 KiB of harmless lines cost 0.1 s
_LINE_LIMIT = 1000             # characters of a line that are looked at
_MOST_MATCHES = 20
_CHAINED = {'During handling of the above exception, another exception occurred:': 'while handling',
            'The above exception was the direct cause of the following exception:': 'caused by'}
#: Exceptions whose quoted words are names in the code, not data: they belong to what the error is.
_NAMED_IN_CODE = ('NameError', 'UnboundLocalError', 'AttributeError', 'ImportError', 'ModuleNotFoundError')
_tools = {}  # type: Dict[str, Any]


def _tool(name):
    # type: (str) -> Any
    """Return a compiled expression of the log analysis; all are made at the first use, which only a failed run has."""
    if not _tools:
        import re
        for key, text in (
                ('frame', r'\s*File "([^"]+)", line (\d+)(?:, in (.*))?$'),
                ('exception', r'([^\W\d][\w.<>]*)(?::(?: (.*))?)?$'),
                ('exception name', r'((?:[^\W\d]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|ExceptionGroup))(?::(?: (.*))?)?$'),
                ('margin', r'( *)([|+])(?: |$)'),
                ('member', r' *\+-(?:\+-)?-+ (?:\d+|\.\.\.) -+$'),
                ('library', r'(?i)[/\\](?:(?:site|dist)-packages|lib(?:64)?[/\\](?:python|pypy)[\d.]+|lib-python|'
                            r'Python\d*[/\\]lib)[/\\]|<(?!string>|stdin>)'),
                ('denial', r'(?i)\b(?:no|not|never|without|zero|0|if|when|unless|whether|avoids?|prevents?|ignor(?:e|es|ed|ing)|'
                           r'handle[sd]?|recovered from|in case of|instead of)(?:\s+\w+){0,2}\s+$'),
                ('nothing', r'\s*[:=]\s*(?:0|none|no|false|off|never)\s*(?:[,;.)]|$)'),
                ('harmless', r'(?:(?!ERROR|FATAL|CRITICAL|Error|Exception).){0,60}?\b(?:INFO|DEBUG|TRACE|PASSED)\b'),
                ('uuid', r'\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b'),
                ('time', r'\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?|'
                         r'\b\d\d:\d\d:\d\d(?:[.,]\d+)?'),
                ('quoted', r'(?<![\w\\])(?:\'[^\'\n]*\'|"[^"\n]*"|`[^`\n]*`)(?!\w)'),
                ('path', r'(?<![\w<])(?:[A-Za-z]:\\|\.{0,2}/|~/|[\w.-]+/(?=\w))[^\s:;,"\'()]+'),
                ('hex', r'\b0[xX][0-9a-fA-F]+\b|\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b'),
                ('number', r'\d+(?:\.\d+)*(?:[eE][+-]?\d+)?'),
        ):
            _tools[key] = re.compile(text)
        for known in LogAnalyzer.KNOWN_PATTERNS.values():
            _tools['known ' + known.name] = re.compile(known.pattern)
    return _tools[name]


class _TracebackReader(object):
    """Find Python's tracebacks, line by line: plain, chained, groups with their margin (PEP 654), syntax errors, and those
    whose beginning is cut off. `found` holds what each ended with, oldest first, as LogAnalyzer shows it."""

    def __init__(self):
        # type: () -> None
        self.found = []  # type: List[Dict[str, Any]]
        self._groups = []  # type: List[Tuple[int, Dict[str, Any]]]      # those whose members may follow, with their depth
        self._frames = None  # type: Optional[List[Tuple[str, int, Optional[str]]]]     # None: outside of a traceback
        self._is_cut = False
        self._depth = 0                        # of the traceback that is open
        self._chain = None  # type: Optional[str]
        self._open = None  # type: Optional[Dict[str, Any]]             # its message may follow on the next line

    def feed(self, number, line):
        # type: (int, str) -> bool
        """Take a line; True when it is part of a traceback and says nothing by itself: a frame, a line of source."""
        depth, text = self._split_margin(line)
        if self._groups and _tool('member').match(line):
            self._begin(False)
            return True
        frame = _tool('frame').match(text) if 'File "' in text else None
        if frame:
            if self._frames is None:
                self._begin(frame.group(3) is not None)       # a syntax error has no header, and no function
            self._frames.append((frame.group(1), int(frame.group(2)), frame.group(3)))  # type: ignore[union-attr]
            self._depth = depth
            return True
        if text.endswith('Traceback (most recent call last):'):
            self._begin(False)
            self._depth = depth
            return True
        if self._frames is not None and text[:1] == ' ':
            return True
        return self._end(number, depth, text)

    def _begin(self, is_cut):
        # type: (bool) -> None
        self._frames, self._is_cut = [], is_cut

    def _split_margin(self, line):
        # type: (str) -> Tuple[int, str]
        """Return (depth of the group, the rest of the line); source in a plain traceback may begin with the same characters."""
        is_source = self._frames and not self._depth and not line.endswith('(most recent call last):')
        margin = _tool('margin').match(line) if line[:1] == ' ' and not is_source else None
        return (len(margin.group(1)), line[margin.end():]) if margin else (0, line)

    def _end(self, number, depth, text):
        # type: (int, int, str) -> bool
        """Take a line that is not indented: in a traceback it is the exception, outside it may say what follows."""
        chained = _CHAINED.get(text.strip())
        if chained:
            self._chain, self._open = chained, None
            return True
        if self._frames is None:
            if self._open is not None and text.strip():
                self._open['message'], self._open = text.strip()[:500], None
            return False
        match = _tool('exception').match(text)
        if match:
            kind = match.group(1)
            if kind.startswith('__main__.'):                # 3.6 and PyPy write it, later ones do not
                kind = kind[len('__main__.'):]
            self._add(number, depth, kind, (match.group(2) or '').strip())
        if text.strip():                        # anything else ends it too: somebody wrote in between
            self._frames = None
        return False

    def _add(self, number, depth, kind, message):
        # type: (int, int, str, str) -> None
        path, line, function = self._own_frame()
        error = {'type': kind, 'message': message[:500], 'file': path, 'line': line, 'function': function, 'output_line': number,
                 'is_cut': self._is_cut, 'chain': self._chain, 'root_cause': None, 'members': []}  # type: Dict[str, Any]
        while self._groups and self._groups[-1][0] >= depth:
            self._groups.pop()
        siblings = self._groups[-1][1]['members'] if self._groups else self.found
        if self._chain is not None and siblings:
            before = siblings.pop()
            error['root_cause'] = before['root_cause'] or {
                name: before[name] for name in ('type', 'message', 'file', 'line', 'function')}
        siblings.append(error)
        if depth:
            self._groups.append((depth, error))
        self._chain, self._open = None, None if message else error

    def _own_frame(self):
        # type: () -> Tuple[Optional[str], Optional[int], Optional[str]]
        """Return the last frame that is the script's own; where none is, the last of all."""
        frames = self._frames or []
        own = [frame for frame in frames if not _tool('library').search(frame[0])] or frames
        return own[-1] if own else (None, None, None)


class LogAnalyzer(object):
    """Say what went wrong from the end of a script's output: kind, severity, the Python exception, a name that lasts.

        analysis = LogAnalyzer().analyze(result['stderr'])
        analysis['kind'], analysis['fingerprint'], analysis['advice']

    KNOWN_PATTERNS maps the name of each kind to its LogPattern, in the order in which they are tried.
    """
    KNOWN_PATTERNS = _known_patterns()

    def analyze(self, text, first_line=1, secrets=()):
        # type: (str, int, Sequence[str]) -> Dict[str, Any]
        """Return a dict about the end (32 KiB) of a text; everything in it is redacted, `secrets` are hidden too.

        `kind` (a name of KNOWN_PATTERNS), `severity`, `summary` (one line), `fingerprint` and `advice` are None where nothing
        is known. `matches` lists the last lines that were recognised, oldest first, each with name, severity, line, text,
        count (of equal lines) and advice; lines count from `first_line`. `exception` is None or the Python exception that was
        raised last (`output_line` says where): type, message, file, line and function of the script's own last frame,
        `root_cause` (the same five of the first in the chain), `chain` ('while handling', 'caused by'), `members` of a group,
        `is_cut` where the beginning of its traceback is missing.

        The exception decides; without one the last line of the greatest severity does. `severity` is the greatest of all.

        >>> found = LogAnalyzer().analyze('bash: line 1: frob: command not found')
        >>> found['kind'], found['severity'], found['fingerprint']
        ('command', 'ERROR', 'command-79d80b')
        """
        start = max(0, len(text) - _ANALYSED)
        first_line += text.count('\n', 0, start)
        safe = strip_escapes(self._safe(text[start:], secrets))
        lines = [line.rstrip('\r').rsplit('\r', 1)[-1][:_LINE_LIMIT] for line in safe.split('\n')]     # after a progress bar
        reader = _TracebackReader()
        matches = self._find(lines, first_line, reader)
        error = reader.found[-1] if reader.found else None
        deciding = self._deciding(matches)
        if error is None and deciding is not None:
            error = self._bare_exception(deciding)
        kind = deciding['name'] if deciding else None
        if error is not None:
            kind = self._kind_of(error)
        found = matches + ([{'severity': self.KNOWN_PATTERNS[kind].severity}] if kind else [])
        last = [line.strip() for line in lines if line.strip()][-1:]
        return {
            'kind': kind, 'severity': max((m['severity'] for m in found), key=LEVELS.__getitem__) if found else None,
            'summary': _shown(error) if error else deciding['text'] if deciding else last[0][:500] if last else None,
            'fingerprint': self.fingerprint(error) if error else self.fingerprint(
                {'type': kind, 'message': deciding['text']}) if deciding else None,
            'advice': self.KNOWN_PATTERNS[kind].advice if kind else None, 'exception': error, 'matches': matches}

    def classify(self, line):
        # type: (str) -> Optional[str]
        """Return the name of the pattern that a line fits, None for a harmless one.

        >>> LogAnalyzer().classify('cp: cannot create x: No space left on device'), LogAnalyzer().classify('0 errors')
        ('disk', None)
        """
        if _tool('harmless').match(line):
            return None
        for name in self.KNOWN_PATTERNS:
            match = _tool('known ' + name).search(line)
            if match and not (' ' in match.group() and self._is_denied(line, match)):
                return name
        return None

    def fingerprint(self, error):
        # type: (Dict[str, Any]) -> str
        """Return a short name of an error that is the same tomorrow, on another machine and interpreter: 'ValueError-3f2a91'.

        It is made of the type (without its module), the message, the function of the script's own frame, and the members of
        a group. Ignored are line numbers, files, the causes, and in the message all numbers, times, UUIDs, hexadecimal
        words, paths and quoted values; but names that the code spells (of NameError, AttributeError, ImportError) count.

        >>> LogAnalyzer().fingerprint({'type': 'ValueError', 'message': 'bad id 7', 'function': 'load'})
        'ValueError-129160'
        >>> LogAnalyzer().fingerprint({'type': 'ValueError', 'message': 'bad id 12', 'function': 'load'})
        'ValueError-129160'
        """
        import zlib
        name = error['type'].rsplit('.', 1)[-1]
        parts = [name, _lasting(name, error['message']), error.get('function') or '']
        parts += sorted(set(self.fingerprint(dict(member, function='')) for member in error.get('members') or ()))
        digest = zlib.crc32('\0'.join(parts).encode('utf-8', 'replace')) & 0xFFFFFF
        return '%s-%06x' % (''.join(c for c in name if c.isalnum() or c == '_')[:40], digest)

    def _kind_of(self, error):
        # type: (Dict[str, Any]) -> str
        """Return the kind of an exception; one that says little by itself has that of its first member, else of its cause."""
        kinds = [self.classify(_shown(error))]
        kinds += [self._kind_of(member) for member in error['members'][:1]]
        kinds += [self.classify(_shown(error['root_cause']))] if error['root_cause'] else []
        return ([kind for kind in kinds if kind and kind != 'exception'] + ['exception'])[0]

    @staticmethod
    def _safe(text, secrets):
        # type: (str, Sequence[str]) -> str
        for secret in secrets:
            text = text.replace(secret, _REDACTED)
        return redact(text)

    def _find(self, lines, first_line, reader):
        # type: (Sequence[str], int, _TracebackReader) -> List[Dict[str, Any]]
        """Return the lines that fit a pattern, the last of them; equal ones once, with their count."""
        names = {}  # type: Dict[str, Optional[str]]
        found = {}  # type: Dict[str, Dict[str, Any]]
        for number, line in enumerate(lines, first_line):
            if reader.feed(number, line) or not line.strip():
                continue
            line = line.strip(' \t|')
            if line not in names:
                names[line] = self.classify(line)
            name = names[line]
            if name is not None:
                known, before = self.KNOWN_PATTERNS[name], found.pop(line, None)
                found[line] = {'name': name, 'severity': known.severity, 'line': number, 'text': line[:500],
                               'count': before['count'] + 1 if before else 1, 'advice': known.advice}
        return list(found.values())[-_MOST_MATCHES:]

    @staticmethod
    def _is_denied(line, match):
        # type: (str, Any) -> bool
        """Tell whether the words around a phrase take it back: 'no connection refused', 'timed out: 0'."""
        before = line[max(0, match.start() - 60):match.start()]
        return bool(_tool('denial').search(before) or _tool('nothing').match(line, match.end()))

    @staticmethod
    def _deciding(matches):
        # type: (Sequence[Dict[str, Any]]) -> Optional[Dict[str, Any]]
        """Return the last match of the greatest severity."""
        best = None  # type: Optional[Dict[str, Any]]
        for match in matches:
            if best is None or LEVELS[match['severity']] >= LEVELS[best['severity']]:
                best = match
        return best

    @staticmethod
    def _bare_exception(match):
        # type: (Dict[str, Any]) -> Optional[Dict[str, Any]]
        """Return the exception of a line that is one by its name, all that is left of a traceback."""
        parts = _tool('exception name').match(match['text'])
        if not parts:
            return None
        return {'type': parts.group(1), 'message': (parts.group(2) or '').strip(), 'file': None, 'line': None, 'function': None,
                'output_line': match['line'], 'is_cut': True, 'chain': None, 'root_cause': None, 'members': []}


def _shown(error):
    # type: (Dict[str, Any]) -> str
    return '%s: %s' % (error['type'], error['message']) if error['message'] else error['type']


def _lasting(name, message):
    # type: (str, str) -> str
    """Return a message without what differs from run to run."""
    for kind in ('uuid', 'time', 'quoted', 'path', 'hex', 'number'):
        if kind == 'quoted' and name in _NAMED_IN_CODE:
            continue
        message = _tool(kind).sub('<%s>' % kind, message)
    return ' '.join(message.replace('sub-exceptions)', 'sub-exception)').split())[:300]


# ======================================================================================================
# 10. Gates
# ======================================================================================================

#: What a gate can say. Only `pass` is green; what `inconclusive` does is the user's to choose, `error` always fails.
GATE_VERDICTS = ('pass', 'fail', 'inconclusive', 'error')
_INCONCLUSIVE = ('warn', 'pass', 'fail')

_LEAST_RUNS = 10                       # with fewer good runs no judgement keeps the bound on false alarms
# A run is judged together with those just before it: the newest 2, 3, 6 and 9 are compared by rank with the older ones (Wilcoxon
# 1945, exact). The shares of orders in which the newest come out so high by chance add up to less than 1 %, whatever the
# distribution. They and the factors below were chosen by benchmarks/gates.py on noise of 2.66 %: normal, t3, spikes, two modes.
_RANK_SHARES = ((2, 0.0048), (3, 0.0031), (6, 0.0008), (9, 0.0008))
_LINE_SIGMAS, _LINE_DEFICIT = 4.0, 0.45        # three in a row above this line, and so few older ones as high (a share of theirs)
_JUMP_SIGMAS, _JUMP_SHARE = 8.0, 0.25          # one run alone: a spike is no regression, so only beyond this
_NOISY = 0.25                          # a robust deviation of more than this share of the median: not even a doubling is seen


class RegressionRule(object):
    """Compare a metric with the last good runs: the newest runs must not be worse than chance allows.

    `window` good runs at most are looked at, `min_runs` at least (10 is the least; from 20 on two runs in a row can be told
    from chance). A change of less than `min_change` (a share) never fails. `better` is 'lower' or 'higher', by default the
    metric's. `confirm` runs more are made before it fails. `same_host` False compares with runs on every host. Raises
    UsageError for a value that cannot be.
    """
    __slots__ = ('metric', 'window', 'min_runs', 'min_change', 'better', 'same_host', 'confirm')

    def __init__(self, metric, window=50, min_runs=20, min_change=0.02, better=None, same_host=True, confirm=0):
        # type: (str, int, int, Any, Optional[str], bool, int) -> None
        if metric not in METRICS:
            raise UsageError('regression: no metric %r%s (python -m runner metrics lists them)' % (
                metric, suggest(str(metric), METRICS)))
        better = better or METRICS[metric].better
        if better not in ('lower', 'higher') or METRICS[metric].unit in ('bool', 'UTC'):
            raise UsageError("regression: %r has no direction in which it gets worse%s" % (
                metric, "; give better: 'lower' or 'higher'" if METRICS[metric].unit not in ('bool', 'UTC') else ''))
        for name, value, least in (('min_runs', min_runs, _LEAST_RUNS), ('window', window, min_runs), ('confirm', confirm, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError('regression: %s=%r: must be a whole number of at least %d' % (name, value, least))
        self.metric = metric
        self.window = window
        self.min_runs = min_runs
        self.min_change = parse_share(min_change)
        self.better = better
        self.same_host = same_host
        self.confirm = confirm

    def __str__(self):
        # type: () -> str
        return 'regression of %s' % self.metric

    def judge(self, value, history):
        # type: (Optional[float], Sequence[float]) -> Dict[str, Any]
        """Judge one value against the good runs before it, oldest first, and return what `judge_regression` does."""
        return judge_regression(history[-self.window:], value, self.better, self.min_runs, self.min_change)


def _make_regression_rule(given):
    # type: (Dict[str, Any]) -> RegressionRule
    """Make a rule of a dict of its arguments; raises UsageError for one that there is not."""
    for key in given:
        if key not in RegressionRule.__slots__:
            raise UsageError('regression: %r is not one of its settings%s; valid: %s' % (
                key, suggest(str(key), RegressionRule.__slots__), ', '.join(RegressionRule.__slots__)))
    if 'metric' not in given:
        raise UsageError('regression: metric is missing; name what must not get worse')
    return RegressionRule(**given)


def judge_regression(history, value, better='lower', min_runs=20, min_change=0.02):
    # type: (Sequence[float], Optional[float], str, int, float) -> Dict[str, Any]
    """Judge whether a value, with those just before it, is worse than the older ones by more than chance.

    `history` are the values of good runs, oldest first. Returns a dict: `verdict` (pass, fail, inconclusive, error), `reason`,
    `value`, `baseline` (median of the older values), `change_pct` (of the newest that decided), `runs` (how many were compared
    with), `needed` (when inconclusive: how many good runs would be enough, or how many repeats). A false alarm on one judged run
    has a probability below 1 % with 10 values or more, under the noise of hosted machines (benchmarks/gates.py).

    >>> quiet = [10.0, 10.2, 9.9, 10.1] * 5
    >>> judge_regression(quiet, 10.1)['verdict'], judge_regression(quiet, 14.0)['verdict']
    ('pass', 'fail')
    >>> judge_regression(quiet + [11.0], 11.1)['reason']
    'the last 2 runs are worse than the 20 before: 11.05 against 10.05 (+10.0 %)'
    """
    past = [float(v) for v in history if _is_number(v)]
    answer = {'verdict': 'pass', 'reason': '', 'value': value, 'baseline': _median(past) if past else None, 'change_pct': None,
              'runs': len(past), 'needed': None}  # type: Dict[str, Any]
    if value is None or not _is_number(value):
        answer.update(verdict='error', reason='the run has no value')
        return answer
    if len(past) < max(min_runs, _LEAST_RUNS):
        answer.update(verdict='inconclusive', needed=max(min_runs, _LEAST_RUNS), reason='%d of %d good runs to compare with' % (
            len(past), max(min_runs, _LEAST_RUNS)))
        return answer
    sign = 1.0 if better == 'lower' else -1.0
    upward, newest = [sign * v for v in past], sign * value
    center = _median(upward)
    answer['change_pct'] = _change(center, newest, sign)
    found = _worse_in_a_row(upward, newest, min_change) or _jump(upward, newest, min_change)
    if found:
        count, older, recent = found
        who = 'this run is' if count == 1 else 'the last %d runs are' % count
        answer.update(verdict='fail', baseline=sign * older, change_pct=_change(older, recent, sign),
                      reason='%s worse than the %d before: %s' % (who, len(past) + 1 - count, _against(older, recent, sign)))
        return answer
    spread = _sigma(upward, center)
    if abs(center) > 0 and spread > _NOISY * abs(center):
        # The median of N values spreads by sqrt(pi / (2 N)) of one's deviation.
        needed = int(1.5708 * (spread / (_NOISY * abs(center))) ** 2) + 1
        answer.update(verdict='inconclusive', needed=needed, reason='too noisy: runs differ by %.0f %% around their median; '
                      'repeat %d would be enough' % (100 * spread / abs(center), needed))
        return answer
    answer['reason'] = '%d runs before: %s' % (len(past), _against(center, newest, sign))
    return answer


def _is_number(value):
    # type: (Any) -> bool
    """Tell whether something is a number that can be compared: no NaN, no infinity, no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _change(before, after, sign):
    # type: (float, float, float) -> Optional[float]
    """Return the change in percent of the metric itself; None from zero."""
    return None if before == 0 else 100.0 * sign * (after - before) / abs(before)


def _against(before, after, sign=1.0):
    # type: (float, float, float) -> str
    """Write what a value is beside the one it is compared with."""
    change = _change(before, after, sign)
    return '%s against %s%s' % (_plain_number(sign * after), _plain_number(sign * before),
                                '' if change is None else ' (%+.1f %%)' % change)


def _sigma(values, center):
    # type: (Sequence[float], float) -> float
    """Return a deviation that spikes do not widen: the median distance, as of a normal distribution."""
    return _MAD_TO_SIGMA * _median([abs(v - center) for v in values])


def _worse_in_a_row(past, value, min_change):
    # type: (List[float], float, float) -> Optional[Tuple[int, float, float]]
    """Return (how many in a row, median of the older, median of the newest) when the newest lie too high for chance."""
    for count, share in _RANK_SHARES:
        older, recent = past[:len(past) + 1 - count], past[len(past) + 1 - count:] + [value]
        if len(older) < 5:
            continue
        before, after = _median(older), _median(recent)
        if after - before < min_change * abs(before) or after <= before:
            continue
        deficit = sum(1 for new in recent for old in older if old >= new)
        line = before + max(_LINE_SIGMAS * _sigma(older, before), min_change * abs(before))
        if deficit <= _largest_deficit(len(older), count, share) or (
                count == 3 and min(recent) > line and deficit <= _LINE_DEFICIT * len(older)):
            return count, before, after
    return None


def _jump(past, value, min_change):
    # type: (List[float], float, float) -> Optional[Tuple[int, float, float]]
    """Return the same for one run that alone lies beyond what spikes reach; nothing can be said from all zeros."""
    center = _median(past)
    spread = _sigma(past, center)
    far = max(_JUMP_SIGMAS * spread, max(_JUMP_SHARE, min_change) * abs(center))
    return (1, center, value) if far > 0 and value > center + far else None


_EXACT_ORDERS = 5000000                # pairs times newest: counting them takes half a second
_deficits = {}  # type: Dict[Tuple[int, int, float], int]


def _largest_deficit(older, newest, share):
    # type: (int, int, float) -> int
    """Return up to how many pairs (older >= newer) are rarer than `share` when the order is chance; -1: none is that rare.

    >>> _largest_deficit(19, 2, 0.0048), _largest_deficit(8, 2, 0.0048)
    (0, -1)
    """
    key = (older, newest, share)
    if older * newest * newest > _EXACT_ORDERS:
        # Mann and Whitney (1947): with so many of both it is normal, of this mean and deviation.
        mean, deviation = older * newest / 2.0, (older * newest * (older + newest + 1) / 12.0) ** 0.5
        return max(-1, int(mean - 0.5 - deviation * _quantile(_normal_p, 2.0 * share)))
    if key not in _deficits:
        counts = rank_sum_counts(older, newest)
        total, sum_so_far, largest = float(sum(counts)), 0, -1
        for deficit, count in enumerate(counts):
            sum_so_far += count
            if sum_so_far / total > share:
                break
            largest = deficit
        _deficits[key] = largest
    return _deficits[key]


def rank_sum_counts(n, m):
    # type: (int, int) -> List[int]
    """Return in how many orders of n and m values exactly u of the n * m pairs stand one way, for u = 0, 1, …, n * m.

    The exact null distribution of the Mann-Whitney U: coefficients of the Gaussian binomial.

    >>> rank_sum_counts(2, 2)
    [1, 1, 2, 1, 1]
    """
    counts = [1] + [0] * (n * m)
    for i in range(1, m + 1):
        for u in range(n * m, n + i - 1, -1):
            counts[u] -= counts[u - n - i]
        for u in range(i, n * m + 1):
            counts[u] += counts[u - i]
    return counts


class PerformanceGate(object):
    """One thing that a run must meet: a condition that must be true, or a RegressionRule.

    `name` is what reports call it, the same from run to run. `on_inconclusive` is 'warn', 'pass' or 'fail'; None: as the
    CICDIntegration that it belongs to says.
    """
    __slots__ = ('name', 'condition', 'regression', 'on_inconclusive')

    def __init__(self, condition=None, regression=None, name=None, on_inconclusive=None):
        # type: (Optional[Condition], Optional[RegressionRule], Optional[str], Optional[str]) -> None
        self.condition = condition
        self.regression = regression
        self.name = name or str(condition or regression)
        self.on_inconclusive = check_inconclusive(on_inconclusive) if on_inconclusive is not None else None

    @property
    def needs_history(self):
        # type: () -> bool
        """Whether good runs are looked at."""
        return self.regression is not None or any(name.startswith('previous.') for name in self._names)

    @property
    def baselines(self):
        # type: () -> List[str]
        """The metrics whose baseline is looked at."""
        return sorted(name.partition('.')[2] for name in self._names if name.startswith('baseline.'))

    @property
    def _names(self):
        # type: () -> Iterable[str]
        return self.condition.names if self.condition is not None else ()

    def judge(self, values, history=None):
        # type: (Dict[str, Any], Optional[Callable[[str, bool], Sequence[float]]]) -> Dict[str, Any]
        """Judge a run and return a dict: name, condition, verdict, reason, metric, value, baseline, change_pct, runs, needed.

        `values` are its metrics and whatever else the condition names; `history(metric, same_host)` returns the values of the
        good runs before it, oldest first.
        """
        if self.regression is not None:
            metric = self.regression.metric
            past = history(metric, self.regression.same_host) if history is not None else []
            answer = self.regression.judge(values.get(metric), past)
            return dict(answer, name=self.name, condition=str(self.regression), metric=metric)
        verdict, reason, needed = self._judge_condition(values)
        condition = self.condition  # type: Any
        only = list(condition.metrics)[0] if len(condition.metrics) == 1 else None
        return {'name': self.name, 'condition': condition.text, 'verdict': verdict, 'reason': reason, 'metric': only,
                'value': values.get(only) if only else None, 'baseline': values.get('baseline.%s' % only) if only else None,
                'change_pct': None, 'runs': None, 'needed': needed}

    def _judge_condition(self, values):
        # type: (Dict[str, Any]) -> Tuple[str, str, Optional[int]]
        """Return (verdict, reason, good runs that would be enough): what is unknown of the run itself is an error, what is
        unknown of those before it is not yet known."""
        condition = self.condition  # type: Any
        outcome, explained = condition.evaluate(values), condition.explain(values)
        if outcome is not None:
            return ('pass' if outcome else 'fail'), explained, None
        missing = [name for name in sorted(condition.names) if values.get(name) is None]
        own = [name for name in missing if not name.startswith(('baseline.', 'previous.'))]
        if own or not missing:
            return 'error', 'cannot be judged: %s' % ('the run has no %s' % ', '.join(own) if own else explained), None
        return 'inconclusive', 'nothing to compare with yet: %s' % explained, 5 if missing[0].startswith('baseline.') else 1


def check_inconclusive(word):
    # type: (str) -> str
    """Return what an inconclusive gate shall do; raises UsageError when there is no such thing."""
    if word not in _INCONCLUSIVE:
        raise UsageError('on_inconclusive %r: not valid%s valid: %s' % (
            word, suggest(str(word), _INCONCLUSIVE) or ';', ', '.join(_INCONCLUSIVE)))
    return word


class CICDIntegration(object):
    """The gates of a run, the baseline that they compare with, and the reports of both.

        ci = CICDIntegration()
        ci.add_performance_gate('memory_max_mb', max_value='2GiB')
        ci.add_performance_gate(condition='execution_time_seconds < 1.1 * baseline.execution_time_seconds')
        passed, results = ci.check_gates(result['metrics'])

    A ScriptRunner judges its runs by its attribute `cicd_integration`. `on_inconclusive` says what a gate does that cannot tell
    yet: 'warn' and 'pass' let the run pass, 'fail' does not. An *error* never passes. `extra_names` are custom metrics.
    """

    def __init__(self, on_inconclusive='warn', extra_names=()):
        # type: (str, Iterable[str]) -> None
        self.on_inconclusive = check_inconclusive(on_inconclusive)
        self.gates = []  # type: List[PerformanceGate]
        self.baseline = None  # type: Optional[Dict[str, Dict[str, Any]]]
        self.extra_names = frozenset(extra_names)

    def add_performance_gate(self, metric_name=None, max_value=None, min_value=None, condition=None, regression=None, name=None,
                             on_inconclusive=None):
        # type: (Optional[str], Any, Any, Optional[str], Any, Optional[str], Optional[str]) -> PerformanceGate
        """Add a gate and return it: bounds of a metric (numbers, or texts with a unit), a condition, or a RegressionRule (or a
        dict of its arguments). Raises UsageError for a metric that does not exist and for anything that cannot be judged.
        """
        given = [word for word, value in (('metric_name', metric_name), ('condition', condition), ('regression', regression))
                 if value is not None]
        if len(given) != 1:
            raise UsageError('%s: a gate is one of metric_name with bounds, condition, regression' % (
                ' and '.join(given) or 'an empty gate'))
        if metric_name is None and (max_value is not None or min_value is not None):
            raise UsageError('gate %s: max_value and min_value go with metric_name' % (condition or 'regression'))
        if regression is not None:
            rule = _make_regression_rule(regression) if isinstance(regression, dict) else regression
            gate = PerformanceGate(None, rule, name, on_inconclusive)
        else:
            text = _bounds_text(metric_name, max_value, min_value) if metric_name is not None else condition
            gate = PerformanceGate(parse_condition(text, self.extra_names), None, name, on_inconclusive)  # type: ignore[arg-type]
        self.gates.append(gate)
        return gate

    def check_gates(self, metrics, history=None, history_problem=None):
        # type: (Dict[str, Any], Optional[Callable[[str, bool], Sequence[float]]], Optional[str]) -> Tuple[bool, List[Dict[str, Any]]]
        """Judge a run by all gates and return (passed, results), a dict for each gate in the order in which they were added.

        `metrics` are those of the result, and whatever else the conditions name; a baseline that was loaded is added to them.
        `history(metric, same_host)` returns values of good runs, oldest first, for regression gates; `history_problem` says why
        it could not be read, which makes an error of what depends on it. Nothing that could not be judged passes.
        """
        values = dict(metrics)
        for metric, entry in (self.baseline or {}).items():
            values['baseline.' + metric] = entry['value']
        results = []
        for gate in self.gates:
            result = gate.judge(values, history)
            if result['verdict'] == 'inconclusive' and history_problem is not None:
                result.update(verdict='error', reason='cannot be judged: %s' % history_problem)
            ignored = (gate.on_inconclusive or self.on_inconclusive) != 'fail'
            result['passed'] = result['verdict'] == 'pass' or (result['verdict'] == 'inconclusive' and ignored)
            results.append(result)
        if self.baseline:
            results += self.compare_with_baseline(metrics)
        return all(result['passed'] for result in results), results

    @property
    def is_empty(self):
        # type: () -> bool
        """Whether there is nothing to judge."""
        return not self.gates and not any(entry['tolerance'] is not None for entry in (self.baseline or {}).values())

    def load_baseline(self, path):
        # type: (str) -> Dict[str, Dict[str, Any]]
        """Read a baseline file and return {metric: {'value', 'tolerance'}}; conditions find its values as baseline.METRIC, and a
        metric with a tolerance is a gate of its own. Raises UsageError for a file that cannot be read or believed.
        """
        self.baseline = read_baseline(path, self.extra_names)
        return self.baseline

    def save_baseline(self, path, metrics):
        # type: (str, Dict[str, Any]) -> None
        """Write the metrics of a run to a file that can be committed: sorted, one metric a line, in one step. Tolerances of
        an existing file are kept. Raises OSError, and UsageError when what is there is no baseline.
        """
        kept = read_baseline(path, self.extra_names) if os.path.exists(path) else None
        write_atomically(path, baseline_text(metrics, kept, self.extra_names).encode('utf-8'))

    def compare_with_baseline(self, metrics):
        # type: (Dict[str, Any]) -> List[Dict[str, Any]]
        """Judge each metric of the baseline that has a tolerance, and return results as `check_gates` does."""
        return [_judge_against(metric, metrics.get(metric), entry['value'], entry['tolerance'])
                for metric, entry in sorted((self.baseline or {}).items()) if entry['tolerance'] is not None]

    def generate_junit_xml(self, result, path=None, redact_patterns=()):
        # type: (Dict[str, Any], Optional[str], Sequence[Any]) -> str
        """Return JUnit XML of a result with its gate_results, and write it to `path` when that is given."""
        return _written(junit_xml(result, redact_patterns), path)

    def generate_tap_output(self, result, path=None, redact_patterns=()):
        # type: (Dict[str, Any], Optional[str], Sequence[Any]) -> str
        """Return TAP 13 of a result with its gate_results, and write it to `path` when that is given."""
        return _written(tap_text(result, redact_patterns), path)


def _written(text, path):
    # type: (str, Optional[str]) -> str
    if path is not None:
        write_atomically(path, text.encode('utf-8'))
    return text


def _bounds_text(metric, most, least):
    # type: (str, Any, Any) -> str
    """Write the bounds of a metric as a condition."""
    parts = []
    for sign, name, bound in (('<=', 'max_value', most), ('>=', 'min_value', least)):
        if bound is None:
            continue
        words = repr(bound) if _is_number(bound) else bound
        if not isinstance(words, str) or not words.strip().lstrip('-')[:1].isdigit() or ' ' in words.strip():
            raise UsageError('gate %s: %s=%r: not a number; write for example 90 or 512MiB' % (metric, name, bound))
        parts.append('%s %s %s' % (metric, sign, words))
    if not parts:
        raise UsageError('gate %s: give max_value or min_value' % metric)
    return ' AND '.join(parts)


# -- baselines in a file ---------------------------------------------------------------------------------

_BASELINE_FORMAT = 'python-script-runner baseline 1'
#: What a baseline that is written judges by itself; the other values are there for conditions to name.
_TOLERANCES = {'execution_time_seconds': '25%', 'memory_max_mb': '10%'}


def baseline_text(metrics, kept=None, extra_names=()):
    # type: (Dict[str, Any], Optional[Dict[str, Dict[str, Any]]], Iterable[str]) -> str
    """Return a baseline file: JSON, metrics in order of their names, one a line so that a change shows as one.

    `kept` is a baseline whose tolerances stay.

    >>> print(baseline_text({'memory_max_mb': 20.5, 'exit_code': 0}).replace(_BASELINE_FORMAT, '…'))
    {
      "format": "…",
      "metrics": {
        "memory_max_mb": {"value": 20.5, "tolerance": "10%"}
      }
    }
    <BLANKLINE>
    """
    import json
    lines = []
    for metric in sorted(metrics):
        value = metrics[metric]
        if not _is_number(value) or not (metric in extra_names or _tells_of_the_script(metric)):
            continue
        entry = (kept or {}).get(metric)
        if entry is not None:
            tolerance = None if entry['tolerance'] is None else '%.6g%%' % (100 * entry['tolerance'])
        else:
            tolerance = None if kept else _TOLERANCES.get(metric)
        lines.append('    %s: {"value": %s, "tolerance": %s}' % (
            json.dumps(metric), json.dumps(float('%.6g' % value) if isinstance(value, float) else value), json.dumps(tolerance)))
    return '{\n  "format": %s,\n  "metrics": {\n%s\n  }\n}\n' % (json.dumps(_BASELINE_FORMAT), ',\n'.join(lines))


def _tells_of_the_script(metric):
    # type: (str) -> bool
    """Tell whether a metric has a better and a worse, and is the script's rather than that of our watching."""
    return metric in METRICS and METRICS[metric].better is not None and METRICS[metric].unit != 'bool' \
        and metric != 'attempt_number' and not metric.startswith('monitor_')


def read_baseline(path, extra_names=()):
    # type: (str, Iterable[str]) -> Dict[str, Dict[str, Any]]
    """Read a baseline file and return {metric: {'value', 'tolerance'}}; a tolerance is a share, None: not judged by itself.

    Raises UsageError for anything that could make a gate pass that should not.
    """
    import json
    try:
        with open(path, 'rb') as file:
            text = file.read(_BASELINE_BYTES).decode('utf-8')
    except OSError as error:
        raise UsageError('%s: baseline cannot be read: %s; --save-baseline writes one' % (path, error.strerror))
    except UnicodeDecodeError:
        raise UsageError('%s: no baseline: not UTF-8' % path)
    try:
        data = json.loads(text, object_pairs_hook=_pairs_once)
    except (ValueError, RecursionError) as error:
        raise UsageError('%s: no baseline: %s' % (path, error))
    if not isinstance(data, dict) or data.get('format') != _BASELINE_FORMAT:
        raise UsageError('%s: no baseline: its "format" is not %r; --save-baseline writes one' % (path, _BASELINE_FORMAT))
    unknown = sorted(set(data) - {'format', 'metrics'})
    if unknown:
        raise UsageError('%s: %r is not a key of a baseline; valid: format, metrics' % (path, unknown[0]))
    metrics = data.get('metrics')
    if not isinstance(metrics, dict) or not metrics:
        raise UsageError('%s: holds no metrics' % path)
    return {metric: _read_baseline_entry(path, metric, entry, extra_names) for metric, entry in metrics.items()}


_BASELINE_BYTES = 1048576


def _pairs_once(pairs):
    # type: (List[Tuple[str, Any]]) -> Dict[str, Any]
    """Refuse what JSON allows and nobody means: a key that stands twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError('%r stands twice' % next(name for name in names if names.count(name) > 1))
    return found


def _read_baseline_entry(path, metric, entry, extra_names):
    # type: (str, str, Any, Iterable[str]) -> Dict[str, Any]
    if metric not in METRICS and metric not in extra_names:
        raise UsageError('%s: no metric %r%s (python -m runner metrics lists them)' % (path, metric, suggest(metric, METRICS)))
    if not isinstance(entry, dict) or set(entry) - {'value', 'tolerance'} or 'value' not in entry:
        raise UsageError('%s: %s: must be {"value": number, "tolerance": "10%%" or null}' % (path, metric))
    value, tolerance = entry['value'], entry.get('tolerance')
    if not _is_number(value):
        raise UsageError('%s: %s: %r is not a number' % (path, metric, value))
    if tolerance is not None:
        try:
            tolerance = parse_share(tolerance)
        except UsageError as error:
            raise UsageError('%s: %s: tolerance %s' % (path, metric, error))
        if metric in METRICS and METRICS[metric].better is None:
            raise UsageError('%s: %s: has no direction in which it gets worse; its tolerance must be null' % (path, metric))
    return {'value': value, 'tolerance': tolerance}


def _judge_against(metric, value, baseline, tolerance):
    # type: (str, Any, float, float) -> Dict[str, Any]
    """Judge a metric against its value in the baseline."""
    higher = metric in METRICS and METRICS[metric].better == 'higher'
    limit = baseline - tolerance * abs(baseline) if higher else baseline + tolerance * abs(baseline)
    known = _is_number(value)
    verdict = 'error' if not known else 'pass' if (value >= limit if higher else value <= limit) else 'fail'
    reason = 'cannot be judged: the run has no %s' % metric
    if known:
        reason = '%s, %s allowed' % (_against(float(baseline), float(value)), _plain_number(limit))
    return {'name': 'baseline of %s' % metric, 'condition': '%s %s %s' % (metric, '>=' if higher else '<=', _plain_number(limit)),
            'verdict': verdict, 'passed': verdict == 'pass', 'reason': reason, 'metric': metric, 'value': value,
            'baseline': baseline, 'change_pct': _change(baseline, float(value), 1.0) if known else None, 'runs': None,
            'needed': None}


def aggregate_metrics(runs):
    # type: (Sequence[Dict[str, Any]]) -> Dict[str, Any]
    """Return the metrics of repeated runs as those of one: the least for memory (noise only adds to it), the median for
    other numbers; what is no number, or unknown in one of them, is that of the last run.

    >>> aggregate_metrics([{'memory_max_mb': 9.0, 'user_time': 1.0}, {'memory_max_mb': 8.0, 'user_time': 3.0}])
    {'memory_max_mb': 8.0, 'user_time': 2.0}
    """
    together = dict(runs[-1])
    for name in together:
        values = [run.get(name) for run in runs]
        if len(runs) < 2 or not all(_is_number(v) for v in values) or name == 'exit_code':
            continue
        numbers = [float(v) for v in values if v is not None]
        together[name] = min(numbers) if name.startswith('memory_') else _median(numbers)
    return together


# -- A/B -------------------------------------------------------------------------------------------------

_AB_METRICS = ('execution_time_seconds', 'user_time', 'system_time', 'memory_max_mb')
_AB_LEAST = 4                          # runs of each: with fewer, every order happens by chance too often for 95 %


def compare_samples(before, after, level=0.95):
    # type: (Sequence[float], Sequence[float], float) -> Dict[str, Any]
    """Compare two samples by ranks: how many times as large is the second?

    Returns a dict: `before`, `after` (medians), `ratio` (Hodges-Lehmann: the median of all quotients of one of each), `low` and
    `high` (its confidence interval, exact by the rank-sum distribution: Moses 1965), `verdict`: 'more', 'less' or 'same' (the
    interval holds 1), 'inconclusive' with fewer than four values of each or values that are not positive, then without one.

    >>> compare_samples([10.0, 10.1, 9.9, 10.2], [20.0, 20.3, 19.9, 20.2])['verdict']
    'more'
    """
    answer = dict.fromkeys(('before', 'after', 'ratio', 'low', 'high'))  # type: Dict[str, Any]
    answer.update((name, _median(values)) for name, values in (('before', before), ('after', after)) if values)
    answer['verdict'] = 'inconclusive'
    if not before or not after or not all(_is_number(value) and value > 0 for values in (before, after) for value in values):
        if before and after and max(before) == min(before) == max(after) == min(after) == 0:
            answer.update(ratio=1.0, low=1.0, high=1.0, verdict='same')
        return answer
    quotients = sorted(new / float(old) for new in after for old in before)
    answer['ratio'] = _median(quotients)
    outside = _largest_deficit(len(before), len(after), (1.0 - level) / 2.0)
    if min(len(before), len(after)) < _AB_LEAST or outside < 0:
        return answer
    low, high = quotients[outside], quotients[len(quotients) - 1 - outside]
    answer.update(low=low, high=high, verdict='more' if low > 1 else 'less' if high < 1 else 'same')
    return answer


def ab_sentence(entry, runs):
    # type: (Dict[str, Any], int) -> str
    """Say what `compare_samples` found, of B against A.

    >>> ab_sentence({'verdict': 'more', 'ratio': 2.0, 'low': 1.9, 'high': 2.1}, 10)
    '100.0 % more (90.0 to 110.0 %)'
    """
    if entry['verdict'] == 'inconclusive':
        known = min([runs] + [len(values) for values in entry.get('values', {}).values()])
        return 'unknown' if entry['before'] is None or entry['after'] is None else \
            'cannot tell: at least %d runs of each' % _AB_LEAST if runs < _AB_LEAST else \
            'cannot tell: unknown in %d of %d runs' % (runs - known, runs) if known < _AB_LEAST else \
            'cannot tell: too small to measure'
    if entry['verdict'] == 'same':
        return 'no difference found'
    low, high = sorted(abs(100.0 * (entry[name] - 1.0)) for name in ('low', 'high'))
    return '%.1f %% %s (%.1f to %.1f %%)' % (abs(100.0 * (entry['ratio'] - 1.0)), entry['verdict'], low, high)


def ab_order(runs):
    # type: (int) -> List[Tuple[str, str]]
    """Return the order of the rounds of an A/B comparison: each has both, and each goes first equally often.

    >>> ab_order(3)
    [('a', 'b'), ('b', 'a'), ('a', 'b')]
    """
    return [('a', 'b') if number % 2 == 0 else ('b', 'a') for number in range(runs)]


# -- reports ---------------------------------------------------------------------------------------------

_REPORT_TAIL = 65536                   # characters of output in a report
_ANNOTATIONS = 10                      # of one level and step that GitHub shows
_SUMMARY_METRICS = ('execution_time_seconds', 'user_time', 'system_time', 'memory_max_mb', 'cpu_max', 'num_processes')
_SUMMARY_BYTES = 1000000               # of a step's summary; GitHub refuses more than 1 MiB


def clean_text(text):
    # type: (str) -> str
    """Remove what XML, YAML and a reader cannot take: escape sequences, control characters, surrogates.

    >>> clean_text('a\\x1b[31mb\\x00\\r\\nc\\td')
    'ab\\nc\\td'
    """
    text = strip_escapes(text).replace('\r\n', '\n').replace('\r', '\n')
    return ''.join(c for c in text if c in '\n\t' or (' ' <= c < '\x7f') or '\xa0' <= c < '\ud800' or '\ue000' <= c < '\ufffe'
                   or c > '\uffff' and ord(c) & 0xFFFE != 0xFFFE)


def _one_line(text):
    # type: (str) -> str
    return ' '.join(clean_text(text).split())


def report_name(result):
    # type: (Dict[str, Any]) -> str
    """Return what reports call the script, the same in every checkout: its path from here when it lies below, else its name."""
    path = result.get('script_path') or 'script'
    if os.path.isabs(path):
        try:
            here = os.path.join(os.getcwd(), '')
        except OSError:                                # the script may have removed it
            here = path
        path = (path[len(here):] if path.startswith(here) else '').replace(os.sep, '/') or os.path.basename(path)
    return _one_line(path) or 'script'


def _report_tail(result, patterns):
    # type: (Dict[str, Any], Sequence[Any]) -> Dict[str, str]
    """Return the end of each stream as a report may show it."""
    return {name: clean_text(redact((result.get(name) or '')[-_REPORT_TAIL:], patterns)) for name in ('stdout', 'stderr')}


def _run_reason(result, patterns):
    # type: (Dict[str, Any], Sequence[Any]) -> str
    """Say in a line how a run ended that did not succeed."""
    parts = [str(result.get('status')), str(result.get('cause'))] + [str(result[name]) for name in ('evidence', 'error_summary')
                                                                      if result.get(name)]
    code = result.get('returncode')
    return _one_line(redact(': '.join(_unique_texts(parts)), patterns) + ('' if code is None else ' (exit status %d)' % code))


def _unique_texts(texts):
    # type: (Sequence[str]) -> List[str]
    kept = []  # type: List[str]
    for text in texts:
        if text not in kept:
            kept.append(text)
    return kept


def _seconds(result):
    # type: (Dict[str, Any]) -> str
    return '%.3f' % (result.get('metrics', {}).get('execution_time_seconds') or 0.0)


def junit_xml(result, redact_patterns=()):
    # type: (Dict[str, Any], Sequence[Any]) -> str
    """Return a result as JUnit XML: a test case for the run, one for each gate.

    A run that did not succeed and a gate that could not be judged are errors, a gate that failed is a failure, an inconclusive
    one is skipped (a failure where it does not pass). Names are the same from run to run. No character that XML 1.0 forbids.
    """
    from xml.sax.saxutils import escape, quoteattr
    name, gates = report_name(result), result.get('gate_results') or []
    tail = _report_tail(result, redact_patterns)
    cases = ['']
    if not result.get('success'):
        reason = _run_reason(result, redact_patterns)
        cases = ['      <error type=%s message=%s>%s</error>\n' % (
            quoteattr(str(result.get('cause'))), quoteattr(reason), escape(reason))]
    cases[0] += ''.join('      <system-%s>%s</system-%s>\n' % (short, escape(tail[stream]), short)
                        for short, stream in (('out', 'stdout'), ('err', 'stderr')) if tail[stream])
    for gate in gates:
        cases.append(_junit_gate(gate, redact_patterns))
    names = ['run'] + _distinct([_one_line(redact(gate['name'], redact_patterns)) for gate in gates])
    counts = {tag: sum('<%s ' % tag in case for case in cases) for tag in ('error', 'failure', 'skipped')}
    metrics = result.get('metrics') or {}
    lines = ['<?xml version="1.0" encoding="UTF-8"?>\n',
             '<testsuites tests="%d" failures="%d" errors="%d" time="%s">\n' % (
                 len(cases), counts['failure'], counts['error'], _seconds(result)),
             '  <testsuite name=%s tests="%d" failures="%d" errors="%d" skipped="%d" time="%s"%s>\n' % (
                 quoteattr(name), len(cases), counts['failure'], counts['error'], counts['skipped'], _seconds(result),
                 ' timestamp="%s"' % metrics['start_time'][:19] if metrics.get('start_time') else ''),
             '    <properties>\n']
    lines += ['      <property name="%s" value=%s/>\n' % (metric, quoteattr(_one_line(str(metrics[metric]))))
              for metric in METRICS if metrics.get(metric) is not None]
    lines.append('    </properties>\n')
    for number, (case, called) in enumerate(zip(cases, names)):
        lines.append('    <testcase classname=%s name=%s time="%s">\n%s    </testcase>\n' % (
            quoteattr(name), quoteattr(called), _seconds(result) if number == 0 else '0.000', case))
    return ''.join(lines) + '  </testsuite>\n</testsuites>\n'


def _junit_gate(gate, patterns):
    # type: (Dict[str, Any], Sequence[Any]) -> str
    from xml.sax.saxutils import escape, quoteattr
    if gate['verdict'] == 'pass':
        return ''
    tag = 'error' if gate['verdict'] == 'error' else 'skipped' if gate['passed'] else 'failure'
    reason = _one_line(redact('%s: %s' % (gate['condition'], gate['reason']), patterns))
    return '      <%s type=%s message=%s>%s</%s>\n' % (tag, quoteattr(gate['verdict']), quoteattr(reason), escape(reason), tag)


def _distinct(names):
    # type: (Sequence[str]) -> List[str]
    """Number names that occur again, so that none hides another.

    >>> _distinct(['a', 'b', 'a'])
    ['a', 'b', 'a (2)']
    """
    seen, found = {}, []  # type: Dict[str, int], List[str]
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else '%s (%d)' % (name, seen[name]))
    return found


def tap_text(result, redact_patterns=()):
    # type: (Dict[str, Any], Sequence[Any]) -> str
    """Return a result as TAP 13: a test point for the run, one for each gate, with YAML diagnostics.

    An inconclusive gate is skipped, where it passes.
    """
    gates = result.get('gate_results') or []
    lines = ['TAP version 13', '1..%d' % (len(gates) + 1)]
    lines += _tap_point(1, bool(result.get('success')), 'run %s' % report_name(result), '')
    lines += _tap_diagnostics([(key, result.get(key)) for key in ('status', 'cause', 'returncode', 'evidence', 'error_summary')],
                              redact_patterns)
    for number, gate in enumerate(gates, 2):
        skip = ' # SKIP inconclusive' if gate['verdict'] == 'inconclusive' and gate['passed'] else ''
        lines += _tap_point(number, gate['passed'], redact(gate['name'], redact_patterns), skip)
        lines += _tap_diagnostics([(key, gate[key]) for key in (
            'verdict', 'condition', 'reason', 'value', 'baseline', 'change_pct', 'needed')], redact_patterns)
    return '\n'.join(lines) + '\n'


def _tap_point(number, passed, name, directive):
    # type: (int, bool, str, str) -> List[str]
    """Return the line of a test point; a # in a name would begin a directive, and a number a test number."""
    words = _one_line(name).replace('\\', '\\\\').replace('#', '\\#')
    return ['%s %d - %s%s' % ('ok' if passed else 'not ok', number, words, directive)]


def _tap_diagnostics(pairs, patterns):
    # type: (Sequence[Tuple[str, Any]], Sequence[Any]) -> List[str]
    """Return a YAML block; JSON is YAML, once characters that YAML forbids are gone."""
    import json
    lines = ['  ---']
    for key, value in pairs:
        if value is not None:
            value = _one_line(redact(value, patterns)) if isinstance(value, str) else value
            lines.append('  %s: %s' % (key, json.dumps(value, ensure_ascii=False)))
    return lines + ['  ...']


def markdown_summary(result, redact_patterns=()):
    # type: (Dict[str, Any], Sequence[Any]) -> str
    """Return a result as Markdown: how it ended, the gates, the metrics that matter, the end of the output where it failed."""
    gates, metrics = result.get('gate_results') or [], result.get('metrics') or {}
    ended = 'succeeded' if result.get('success') else _run_reason(result, redact_patterns)
    lines = ['### %s: %s' % (_markdown(report_name(result)), _markdown(ended)), '']
    if gates:
        lines += ['| gate | verdict | why |', '| --- | --- | --- |']
        lines += ['| %s | %s | %s |' % (_markdown(redact(gate['name'], redact_patterns)), _shown_verdict(gate),
                                        _markdown(redact(gate['reason'], redact_patterns))) for gate in gates] + ['']
    shown = [metric for metric in _SUMMARY_METRICS if metrics.get(metric) is not None]
    if shown:
        lines += ['| metric | value |', '| --- | ---: |']
        lines += ['| %s | %s |' % (metric, _with_unit(metric, metrics[metric])) for metric in shown] + ['']
    tail = _report_tail(result, redact_patterns)
    text = (tail['stderr'] or tail['stdout'])[-4000:]
    if not result.get('success') and text:
        fence = '`' * max(3, _longest_run(text, '`') + 1)
        lines += ['<details><summary>end of the output</summary>', '', fence + 'text', text.rstrip('\n'), fence, '', '</details>',
                  '']
    return '\n'.join(lines)


def _shown_verdict(gate):
    # type: (Dict[str, Any]) -> str
    return '**%s**' % gate['verdict'] if not gate['passed'] else gate['verdict']


def _with_unit(metric, value):
    # type: (str, Any) -> str
    return ('%s %s' % (_plain_number(float(value)), METRICS[metric].unit.replace('count', ''))).strip()


def _longest_run(text, char):
    # type: (str, str) -> int
    """Return the length of the longest run of a character.

    >>> _longest_run('a``b`', '`')
    2
    """
    longest = length = 0
    for c in text:
        length = length + 1 if c == char else 0
        longest = max(longest, length)
    return longest


def _markdown(text):
    # type: (str) -> str
    """Write a text so that Markdown shows it as it is."""
    escaped = ''.join('\\' + c if c in '\\`*_{}[]<>#|!~' else '&amp;' if c == '&' else c for c in _one_line(text))
    return escaped.replace('@', '@\u200b')                  # a mention would send mail


def github_annotations(result, redact_patterns=()):
    # type: (Dict[str, Any], Sequence[Any]) -> List[str]
    """Return workflow commands that GitHub shows beside a job: errors for what failed, warnings for what cannot tell yet.

    At most ten of a level, which is what GitHub shows of a step; the tenth says how many more there are.
    """
    found = {'error': [], 'warning': []}  # type: Dict[str, List[Tuple[str, str]]]
    name = report_name(result)
    if not result.get('success'):
        found['error'].append((name, _run_reason(result, redact_patterns)))
    for gate in result.get('gate_results') or []:
        if gate['verdict'] != 'pass':
            found['warning' if gate['passed'] else 'error'].append((
                '%s: gate %s' % (name, gate['name']), '%s: %s' % (gate['verdict'], gate['reason'])))
    lines = []
    for level, entries in found.items():
        if len(entries) > _ANNOTATIONS:
            more = len(entries) - _ANNOTATIONS + 1
            entries = entries[:_ANNOTATIONS - 1] + [(name, 'and %d more' % more)]
        for title, text in entries:
            lines.append('::%s title=%s::%s' % (level, _github_escape(redact(title, redact_patterns), True),
                                                _github_escape(redact(text, redact_patterns), False)))
    return lines


def _github_escape(text, is_property):
    # type: (str, bool) -> str
    """Escape a text for a workflow command.

    >>> _github_escape('50 %: a, b', True)
    '50 %25%3A a%2C b'
    """
    text = _one_line(text).replace('%', '%25')
    return text.replace(':', '%3A').replace(',', '%2C') if is_property else text


def bencher_json(result):
    # type: (Dict[str, Any]) -> str
    """Return the metrics of a run in Bencher Metric Format; with repeats their range too. Of a run that failed: nothing."""
    import json
    measures = {}
    for metric, value, low, high in _benchmark_values(result):
        measures[metric] = {'value': value}
        if low != high:
            measures[metric].update(lower_value=low, upper_value=high)
    return json.dumps({report_name(result): measures} if measures else {}, ensure_ascii=False, indent=2, sort_keys=True) + '\n'


def benchmark_json(result):
    # type: (Dict[str, Any]) -> str
    """Return the metrics of a run for github-action-benchmark's `customSmallerIsBetter`. Of a run that failed: nothing."""
    import json
    entries = []
    for metric, value, low, high in _benchmark_values(result):
        entry = {'name': '%s: %s' % (report_name(result), metric), 'unit': METRICS[metric].unit or 'count', 'value': value}
        if low != high:
            entry['range'] = '%s to %s' % (_plain_number(low), _plain_number(high))
        entries.append(entry)
    return json.dumps(entries, ensure_ascii=False, indent=2, sort_keys=True) + '\n'


def _benchmark_values(result):
    # type: (Dict[str, Any]) -> List[Tuple[str, float, float, float]]
    """Return (metric, value, least, most) of the numbers of a run that are better when lower."""
    if not result.get('success'):
        return []
    runs = [repeat['metrics'] for repeat in result.get('repeats') or []] or [result['metrics']]
    together, found = aggregate_metrics(runs), []
    for metric in METRICS.values():
        values = [run.get(metric.name) for run in runs]
        if metric.better == 'lower' and _tells_of_the_script(metric.name) and None not in values:
            found.append((metric.name, together[metric.name], min(values), max(values)))
    return found


def overall_verdict(gates):
    # type: (Sequence[Dict[str, Any]]) -> str
    """Return the gravest of the verdicts: fail, error, inconclusive, pass.

    >>> overall_verdict([{'verdict': 'pass'}, {'verdict': 'inconclusive'}])
    'inconclusive'
    """
    verdicts = [gate['verdict'] for gate in gates]
    return next((verdict for verdict in ('fail', 'error', 'inconclusive') if verdict in verdicts), 'pass')


#: The reports of a run by the option that names their file.
REPORTS = {'junit_output': junit_xml, 'tap_output': tap_text, 'summary_output': markdown_summary,
           'bencher_output': lambda result, patterns=(): bencher_json(result),
           'benchmark_output': lambda result, patterns=(): benchmark_json(result)}  # type: Dict[str, Callable[..., str]]


# ======================================================================================================
# 11. Alerts
# ======================================================================================================
#
# A rule judges the values of a run. `step_alert` turns what is remembered of the rule, the judgement and the clock into what
# is remembered next and what is to be done, and nothing else decides whether somebody is told. What is to be told is first
# written into the database (table `notifications`), then sent by whoever holds its lease: so it is not lost when we are killed,
# and not sent by two.

class AlertSeverity(object):
    """How bad it is, from least to worst."""
    INFO = 'INFO'
    WARNING = 'WARNING'
    ERROR = 'ERROR'
    CRITICAL = 'CRITICAL'
    ALL = (INFO, WARNING, ERROR, CRITICAL)


def _check_severity(severity):
    # type: (Any) -> str
    name = str(severity).upper()
    if name not in AlertSeverity.ALL:
        raise UsageError('severity %r: no such severity%s; valid: %s' % (
            severity, suggest(name, AlertSeverity.ALL), ', '.join(AlertSeverity.ALL)))
    return name


class Alert(object):
    """What one rule had to say about one run, and what became of it.

    `state` is 'firing' or 'resolved', `explanation` the values against the rule. `delivery` is 'told' (somebody is to be told),
    'suppressed' (`reason` says why) or 'digest' (kept for the next digest). For one that is told, `channels` maps the names of
    channels to 'sent', 'waiting' (the next run sends it) or 'failed'. `earlier` counts how often it was suppressed since it
    was told last. `metrics` are the METRICS that the rule looks at.
    """
    __slots__ = ('name', 'severity', 'state', 'condition', 'explanation', 'fingerprint', 'delivery', 'reason', 'channels',
                 'earlier', 'metrics')
    if TYPE_CHECKING:
        name = severity = state = condition = explanation = fingerprint = delivery = ''  # type: str
        reason = None  # type: Optional[str]
        channels = {}  # type: Dict[str, str]
        earlier = 0
        metrics = ()  # type: Sequence[str]

    def __init__(self, **values):
        # type: (**Any) -> None
        for name in self.__slots__:
            setattr(self, name, values.get(name))

    def __repr__(self):
        # type: () -> str
        return 'Alert(%r, %s, %s, %s)' % (self.name, self.severity, self.state, self.delivery)

    def to_dict(self):
        # type: () -> Dict[str, Any]
        """Return the fields as a dict, as in result['alerts']."""
        return {name: getattr(self, name) for name in self.__slots__}


# -- the state machine: nothing but its arguments decides ---------------------------------------------------

class AlertPolicy(object):
    """How often one rule may speak; all times are seconds.

    `hold`: how long the condition must have been true without a break before it fires. `throttle`: the same thing (same
    fingerprint) is not told twice within it. `repeat`: one that goes on is told again after it (never before `throttle` is over).
    `recovery`: whether its end is told. `most`: how many different things are told within `throttle`.
    """
    __slots__ = ('hold', 'throttle', 'repeat', 'recovery', 'most')

    def __init__(self, hold=0.0, throttle=300.0, repeat=None, recovery=True, most=20):
        # type: (float, float, Optional[float], bool, int) -> None
        self.hold = hold
        self.throttle = throttle
        self.repeat = max(throttle, repeat or 0.0)
        self.recovery = recovery
        self.most = most


class AlertState(object):
    """What is remembered of one rule for one script; it is never changed, `step_alert` makes another.

    `phase` is 'ok', 'pending' (true, not yet for long enough), 'firing', 'silenced' (true, but nobody is to be told) or
    'resolved'. `since`: when the phase of being true began (seconds since 1970). `told`: {fingerprint: when it was told}, as
    far as it matters. `is_open`: somebody was told that it fires, and not yet that it ended. `suppressed`: how often it was not
    told since it was told last.
    """
    __slots__ = ('phase', 'since', 'told', 'is_open', 'suppressed')

    def __init__(self, phase='ok', since=0.0, told=(), is_open=False, suppressed=0):
        # type: (str, float, Any, bool, int) -> None
        self.phase = phase
        self.since = since
        self.told = dict(told)
        self.is_open = is_open
        self.suppressed = suppressed

    def replace(self, **changes):
        # type: (**Any) -> AlertState
        """Return a state that differs in these fields."""
        return AlertState(**dict(self.to_dict(), **changes))

    def to_dict(self):
        # type: () -> Dict[str, Any]
        """Return the fields as a dict that JSON can hold."""
        return {name: getattr(self, name) for name in self.__slots__}


class AlertObservation(object):
    """What a rule says now: `value` True, False or None (unknown); `fingerprint` tells one cause from another;
    `blocked` says why nobody is to be told now, None when nothing stands against it."""
    __slots__ = ('value', 'fingerprint', 'blocked')

    def __init__(self, value, fingerprint='', blocked=None):
        # type: (Optional[bool], str, Optional[str]) -> None
        self.value = value
        self.fingerprint = fingerprint
        self.blocked = blocked


def step_alert(state, observation, now, policy):
    # type: (AlertState, AlertObservation, float, AlertPolicy) -> Tuple[AlertState, Optional[str], Optional[str]]
    """Return (next state, action, reason): the action is 'tell', 'resolve', 'suppress' or None; only 'suppress' has a reason.

    An unknown value changes nothing. A clock that was set back does not make an old message recent for ever.

    >>> fires = AlertObservation(True)
    >>> state, action, _ = step_alert(AlertState(), fires, 1000.0, AlertPolicy())
    >>> action, step_alert(state, fires, 1001.0, AlertPolicy())[1:]
    ('tell', ('suppress', 'told 1.0 s ago; the same is told once in 5m 0s'))
    >>> step_alert(state, AlertObservation(False), 1002.0, AlertPolicy())[1]
    'resolve'
    """
    if observation.value is None:
        return state, None, None
    kept = {mark: when for mark, when in state.told.items() if abs(now - when) < policy.repeat}
    state = state.replace(told=kept)
    if not observation.value:
        return _step_down(state, observation, now, policy)
    since = state.since if state.phase in ('pending', 'firing', 'silenced') and state.since <= now else now
    if now - since < policy.hold:
        return state.replace(phase='pending', since=since), None, None
    blocked = observation.blocked
    state = state.replace(phase='silenced' if blocked else 'firing', since=since)
    blocked = blocked or _too_soon(state, observation.fingerprint, now, policy)
    if blocked:
        return state.replace(suppressed=state.suppressed + 1), 'suppress', blocked
    kept[observation.fingerprint] = now                # what was suppressed until now is told with it
    return state.replace(told=kept, is_open=True, suppressed=0), 'tell', None


def _too_soon(state, fingerprint, now, policy):
    # type: (AlertState, str, float, AlertPolicy) -> Optional[str]
    """Say why it is too soon to tell; None when it is not."""
    when = state.told.get(fingerprint)
    window = policy.repeat if state.is_open else policy.throttle
    if when is not None and abs(now - when) < window:
        return 'told %s ago; the same is told once in %s' % (format_duration(abs(now - when)), format_duration(window))
    if when is None and sum(abs(now - other) < policy.throttle for other in state.told.values()) >= policy.most:
        return '%d different ones were told within %s' % (policy.most, format_duration(policy.throttle))
    return None


def _step_down(state, observation, now, policy):
    # type: (AlertState, AlertObservation, float, AlertPolicy) -> Tuple[AlertState, Optional[str], Optional[str]]
    """The condition is false: whoever was told that it fires is told that it ended, once, and not during a silence."""
    if not state.is_open:
        quiet = state.phase in ('ok', 'resolved')
        return state if quiet else state.replace(phase='ok', since=now, suppressed=0), None, None
    if observation.blocked:
        return state.replace(phase='ok', since=now), None, None
    return (state.replace(phase='resolved', since=now, is_open=False, suppressed=0),
            'resolve' if policy.recovery else None, None)


# -- the message, and how it is written for whom --------------------------------------------------------------

_MESSAGE_RUN = ('script_path', 'script_args', 'hostname', 'execution_id', 'correlation_id', 'attempt_number', 'status', 'cause',
                'evidence', 'exit_code', 'start_time', 'execution_time_seconds', 'git_commit', 'git_branch', 'labels')
_TAIL_LINES = 15                       # of the script's output, in a message
_HISTORY_RUNS = 20                     # in a sparkline
_SEVERITY_COLOURS = {'INFO': '#2c6fbb', 'WARNING': '#b07d00', 'ERROR': '#b3261e', 'CRITICAL': '#7a0c0c'}


def _hide(value, secrets, more=()):
    # type: (Any, Sequence[str], Sequence[Any]) -> Any
    """Return a message (dicts, lists, texts) without secrets: those given, and what looks like one."""
    if isinstance(value, dict):
        return {key: _hide(item, secrets, more) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hide(item, secrets, more) for item in value]
    return _without_secrets(value, secrets, more) if isinstance(value, str) else value


def _shown_metric(name, value):
    # type: (str, Any) -> str
    """Write a value for a message: '97.1 %', '1.5 s', '214 MiB'."""
    if isinstance(value, float):
        value = '%.6g' % value
    unit = METRICS[name].unit if name in METRICS else ''
    return '%s %s' % (value, unit) if unit in ('s', '%', 'MiB', 'bytes') else str(value)


def _message_title(message):
    # type: (Dict[str, Any]) -> str
    """Return the one line that a subject has room for."""
    run = message['run']
    names = [alert['name'] for alert in message['alerts']]
    what = ', '.join(names[:3]) + (' and %d more' % (len(names) - 3) if len(names) > 3 else '')
    where = [os.path.basename(run['script_path'])] if run.get('script_path') else []
    where += ['on ' + run['hostname']] if run.get('hostname') else []
    state = {'firing': message['severity'], 'resolved': 'RESOLVED'}.get(message['state'], message['state'].upper())
    title = '%s: %s' % (state, what) + (' (%s)' % ' '.join(where) if where else '')
    return ''.join(' ' if _breaks_header(c) else c for c in title)[:180]


def _run_facts(message):
    # type: (Dict[str, Any]) -> List[Tuple[str, str]]
    """Return what is said of the run and its error, as pairs."""
    run, error = message['run'], message.get('error') or {}
    ended = ' '.join(str(x) for x in (run.get('status'), run.get('cause'), run.get('evidence')) if x)
    if run.get('exit_code') is not None:
        ended += ', exit code %s' % run['exit_code']
    if run.get('execution_time_seconds') is not None:
        ended += ', after %s' % format_duration(run['execution_time_seconds'])
    number = run.get('execution_id')
    facts = [
        ('script', ' '.join([run.get('script_path') or ''] + list(run.get('script_args') or ()))),
        ('ended' if run.get('status') != 'running' else 'state', ended.strip(', ')),
        ('error', ' '.join(str(x) for x in (error.get('summary'), error.get('kind') and '(%s)' % error['kind']) if x)),
        ('frame', error.get('frame') or ''), ('root cause', error.get('root_cause') or ''), ('advice', error.get('advice') or ''),
        ('run', '' if number is None else '%d%s' % (number, ', attempt %d' % run['attempt_number']
                                                    if run.get('attempt_number', 1) > 1 else '')),
        ('started', run.get('start_time') or ''), ('host', run.get('hostname') or ''),
        ('git', ' '.join(x for x in (run.get('git_commit'), run.get('git_branch')) if x)),
        ('labels', ', '.join('%s=%s' % pair for pair in sorted((run.get('labels') or {}).items()))),
        ('correlation', run.get('correlation_id') or '')]
    return [(name, value) for name, value in facts if value]


def _alert_lines(alert):
    # type: (Dict[str, Any]) -> List[str]
    """Return what is said of one rule."""
    lines = ['%s %s%s' % (alert['severity'] if alert['state'] == 'firing' else alert['state'].upper(), alert['name'],
                          '' if alert['condition'] in (None, '', alert['name']) else ': ' + alert['condition'])]
    lines += ['  ' + alert['explanation']] if alert['explanation'] else []
    if alert.get('earlier'):
        lines.append('  %d more time%s since it was told last' % (alert['earlier'], '' if alert['earlier'] == 1 else 's'))
    return lines


def _history_lines(message):
    # type: (Dict[str, Any]) -> List[str]
    lines = []
    for entry in message.get('history') or ():
        line = '%s %s' % (entry['metric'], _shown_metric(entry['metric'], entry['value']))
        if entry.get('last_good') is not None:
            line += ', last good run%s: %s' % (' (%d)' % entry['last_good_run'] if entry.get('last_good_run') else '',
                                               _shown_metric(entry['metric'], entry['last_good']))
        lines.append('%s  %s' % (line, entry['sparkline']) if entry.get('sparkline') else line)
    return lines


def format_message(message):
    # type: (Dict[str, Any]) -> str
    """Return a message (see WebhookConfig for its fields) as plain text."""
    lines = [message['title'], '']
    for alert in message['alerts']:
        lines += _alert_lines(alert)
    lines += [''] + ['%-12s%s' % fact for fact in _run_facts(message)]
    history, tail = _history_lines(message), message.get('output_tail') or []
    lines += [''] + history if history else []
    lines += ['', 'end of output'] + ['  ' + line for line in tail] if tail else []
    return '\n'.join(lines + ['', 'notification %s' % message['id'], ''])


def format_message_html(message):
    # type: (Dict[str, Any]) -> str
    """Return a message as HTML that mail programs show: inline styles, no image, nothing loaded from anywhere."""
    from html import escape
    colour = _SEVERITY_COLOURS[message['severity']] if message['state'] == 'firing' else '#2e7d32'
    parts = ['<!DOCTYPE html><html><head><meta charset="utf-8"><title>%s</title></head><body style="font-family:sans-serif">'
             '<h2 style="color:%s">%s</h2>' % (escape(message['title']), colour, escape(message['title']))]
    for alert in message['alerts']:
        parts.append('<p>%s</p>' % '<br>'.join(escape(line) for line in _alert_lines(alert)))
    parts.append('<table>%s</table>' % ''.join(
        '<tr><th align="left" valign="top" style="padding-right:1em">%s</th><td>%s</td></tr>' % (escape(name), escape(value))
        for name, value in _run_facts(message)))
    for title, lines in (('', _history_lines(message)), ('end of output', message.get('output_tail') or [])):
        if lines:
            parts.append('<p>%s</p><pre>%s</pre>' % (title, escape('\n'.join(lines))))
    return ''.join(parts + ['<p style="color:#666">notification %s</p></body></html>' % escape(message['id'])])


def _slack_blocks(message):
    # type: (Dict[str, Any]) -> Dict[str, Any]
    """Return a message as Slack's Block Kit: at most 150 characters in a header, 3,000 in a section, 50 blocks."""
    def plain(text):
        # type: (str) -> str
        return text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')

    def section(text):
        # type: (str) -> Dict[str, Any]
        return {'type': 'section', 'text': {'type': 'mrkdwn', 'text': text[:2990]}}

    def code(lines):
        # type: (Sequence[str]) -> Dict[str, Any]
        return section('```%s```' % plain('\n'.join(lines))[-2900:].replace('```', "'''"))

    blocks = [{'type': 'header', 'text': {'type': 'plain_text', 'text': message['title'][:150]}}]  # type: List[Dict[str, Any]]
    for alert in message['alerts'][:20]:
        lines = [plain(line) for line in _alert_lines(alert)]
        blocks.append(section('*%s*\n%s' % (lines[0], '\n'.join(lines[1:]))))
    blocks.append(section('\n'.join('*%s* %s' % (name, plain(value)) for name, value in _run_facts(message)) or ' '))
    for lines in (_history_lines(message), message.get('output_tail') or []):
        blocks += [code(lines)] if lines else []
    blocks.append({'type': 'context', 'elements': [{'type': 'plain_text', 'text': 'notification ' + message['id']}]})
    return {'text': plain(message['title']), 'blocks': blocks}


# -- channels: each has `name`, `secrets()`, `describe()` and `send(message, timeout)` ------------------------
#
# `send` returns when the other side has taken the message, and raises _DeliveryError when it has not, or when that is not known.

class _DeliveryError(Exception):
    """A message was not taken; `str()` says why, without a secret. `is_final`: trying again is of no use.
    `retry_after`: seconds that the other side asked for."""

    def __init__(self, text, is_final=False, retry_after=None):
        # type: (str, bool, Optional[float]) -> None
        super(_DeliveryError, self).__init__(text)
        self.is_final = is_final
        self.retry_after = retry_after


def _breaks_header(char):
    # type: (str) -> bool
    """Tell whether a character may not stand in a header: a control character, or one that Python takes for the end of a line."""
    return char < ' ' or char in '\x7f\x85\u2028\u2029'


def _reject_control(what, text):
    # type: (str, Any) -> str
    """Return a text that may stand in a header; raises UsageError, since a line break would begin another header."""
    if not isinstance(text, str) or not text.strip() or any(map(_breaks_header, text)):
        raise UsageError('%s: must be a text without control characters' % what)
    return text


def _check_url(what, url):
    # type: (str, Any) -> str
    """Return an http(s) URL; raises UsageError, which does not show the URL: it is a secret."""
    from urllib.parse import urlsplit
    try:
        parts = urlsplit(_reject_control(what, url))
        if parts.scheme in ('http', 'https') and parts.hostname and (parts.port is None or parts.port > 0):
            return url
    except ValueError:
        pass
    raise UsageError('%s: not an http:// or https:// address' % what)


def _looks_random(word):
    # type: (str) -> bool
    """Tell whether a word may be a secret by itself: hiding `services` or `production` wherever they stand would spoil every
    text.

    >>> [_looks_random(word) for word in ('XyZ12345', 'services', 'Production', 'T0')]
    [True, False, False, False]
    """
    return len(word) >= 8 and (any(c.isdigit() for c in word) or sum(c.isupper() for c in word) > 1)


def _url_secrets(url):
    # type: (str) -> List[str]
    """Return what of a URL lets in whoever knows it: all of it, its password, query, path, and parts of that.

    >>> _url_secrets('https://hooks.example.org/services/T0/B0/XyZ12345')
    ['https://hooks.example.org/services/T0/B0/XyZ12345', '/services/T0/B0/XyZ12345', 'XyZ12345']
    """
    from urllib.parse import urlsplit
    parts = urlsplit(url)
    found = [url] + [text for text in (parts.path, parts.password, parts.query) if text and len(text) >= 8]
    return found + [word for word in parts.path.split('/') if _looks_random(word)]


class EmailConfig(object):
    """Mail over SMTP, as text and HTML.

    `to_addresses` is a list, or one text with commas. `use_tls`: True for STARTTLS (implicit TLS on port 465), 'implicit',
    'starttls', or False for a server that you trust the way to. The certificate is checked, against `ca_file` where one is
    given; a server without STARTTLS is refused. The port defaults to 587, 465, or 25 without TLS. Without `username` nobody
    logs in. The Message-ID is made from the notification's id, so that a mail sent again is known for the same one.
    Raises UsageError for a value that cannot be: also for a password that would cross a network in the clear.
    """
    name = 'email'

    def __init__(self, smtp_server, smtp_port=None, from_address=None, to_addresses=(), username=None, password=None,
                 use_tls=True, ca_file=None):
        # type: (str, Optional[int], Optional[str], Any, Optional[str], Optional[str], Any, Optional[str]) -> None
        self.smtp_server = _reject_control('email: smtp_server', smtp_server)
        automatic = 'implicit' if smtp_port == 465 else 'starttls'
        self.tls = automatic if use_tls is True else None if use_tls is False else use_tls  # type: Optional[str]
        if use_tls not in (True, False, 'starttls', 'implicit'):
            raise UsageError("email: use_tls %r: must be true, false, 'starttls' or 'implicit'" % (use_tls,))
        self.smtp_port = {'starttls': 587, 'implicit': 465, None: 25}[self.tls] if smtp_port is None else smtp_port
        if isinstance(self.smtp_port, bool) or not isinstance(self.smtp_port, int) or not 0 < self.smtp_port < 65536:
            raise UsageError('email: smtp_port %r: must be a number from 1 to 65535' % (smtp_port,))
        given = to_addresses.split(',') if isinstance(to_addresses, str) else list(to_addresses or ())
        self.to_addresses = [self._check_address('to', address) for address in given]
        self.from_address = self._check_address('from', from_address)
        if not self.to_addresses:
            raise UsageError('email: no address to send to; give to: [team@example.org]')
        if (username is None) != (password is None):
            raise UsageError('email: username and password go together; %s is missing' % (
                'username' if username is None else 'password'))
        if password is not None and self.tls is None and smtp_server not in ('localhost', '127.0.0.1', '::1'):
            raise UsageError('email: the password would be sent in the clear to %s; set use_tls' % smtp_server)
        self.username, self.password = username, password
        if ca_file is not None and not os.path.isfile(ca_file):
            raise UsageError('email: ca_file %s: no such file' % ca_file)
        self.ca_file = ca_file

    def __repr__(self):
        # type: () -> str
        return 'EmailConfig(%s)' % self.describe()

    @staticmethod
    def _check_address(what, address):
        # type: (str, Any) -> str
        from email.utils import parseaddr
        text = _reject_control('email: ' + what, address).strip()
        if '@' not in parseaddr(text)[1]:
            raise UsageError('email: %s %r: not a mail address' % (what, text))
        return text

    def describe(self):
        # type: () -> str
        """Say where it goes, without a secret."""
        return 'to %s by %s:%d, %s' % (', '.join(self.to_addresses), self.smtp_server, self.smtp_port, self.tls or 'no TLS')

    def secrets(self):
        # type: () -> List[str]
        """Return what must appear nowhere."""
        return [self.password] if self.password else []

    def send(self, message, timeout):
        # type: (Dict[str, Any], float) -> None
        """Hand a message to the server; `timeout` is for the connection and for each answer. Raises DeliveryError."""
        import smtplib
        mail = self._compose(message)
        try:
            server = self._connect(timeout)
            try:
                if self.username is not None and self.password is not None:
                    server.login(self.username, self.password)
                server.send_message(mail)
                self._take_leave(server)
            finally:
                server.close()
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise _smtp_failure(error, self.tls)

    def _connect(self, timeout):
        # type: (float) -> Any
        import smtplib
        import ssl
        me = (_host_facts()['hostname'] or 'localhost').encode('ascii', 'replace').decode()    # else a name server is asked
        if self.tls is None:
            return smtplib.SMTP(self.smtp_server, self.smtp_port, me, timeout)
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.tls == 'implicit':
            return smtplib.SMTP_SSL(self.smtp_server, self.smtp_port, me, timeout=timeout, context=context)
        server = smtplib.SMTP(self.smtp_server, self.smtp_port, me, timeout)
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
        return server

    @staticmethod
    def _take_leave(server):
        # type: (Any) -> None
        """The mail is taken; a server that does not say goodbye must not have it sent again."""
        import smtplib
        try:
            server.sock.settimeout(1.0)
            server.quit()
        except (smtplib.SMTPException, OSError, AttributeError):
            pass

    def _compose(self, message):
        # type: (Dict[str, Any]) -> Any
        from email.message import EmailMessage
        from email.utils import formatdate
        mail = EmailMessage()
        mail['Subject'] = message['title']
        mail['From'], mail['To'] = self.from_address, ', '.join(self.to_addresses)
        mail['Date'] = formatdate()
        mail['Message-ID'] = '<%s@script-runner>' % message['id']
        mail['Auto-Submitted'] = 'auto-generated'              # RFC 3834: no out-of-office answers
        mail.set_content(format_message(message))
        mail.add_alternative(format_message_html(message), subtype='html')
        return mail


def _smtp_failure(error, tls):
    # type: (BaseException, Optional[str]) -> _DeliveryError
    """Say what a mail server, or the way to it, had against a message. Answers 4xx are for now, 5xx for good (RFC 5321)."""
    import smtplib
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        answers = list(error.recipients.values())
        return _DeliveryError('no recipient was accepted: %s' % _smtp_text(*answers[0]), all(code >= 500 for code, _ in answers))
    if isinstance(error, smtplib.SMTPResponseException):
        return _DeliveryError('the server answered %s' % _smtp_text(error.smtp_code, error.smtp_error), error.smtp_code >= 500)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return _DeliveryError('the server cannot do what is asked of it: %s' % error, True)
    if isinstance(error, smtplib.SMTPException):
        return _DeliveryError('the server cut the connection')
    return _network_failure(error)


def _smtp_text(code, answer):
    # type: (int, Any) -> str
    text = answer.decode('utf-8', 'replace') if isinstance(answer, bytes) else str(answer)
    return '%d %s' % (code, ' '.join(text.split())[:200])


def _network_failure(error):
    # type: (BaseException) -> _DeliveryError
    """Say what went wrong on the way; never by an exception's own text, which may hold the address."""
    import socket
    import ssl
    if isinstance(error, ssl.SSLError) or type(error).__name__ == 'CertificateError':
        why = getattr(error, 'verify_message', None) or getattr(error, 'reason', None) or type(error).__name__
        return _DeliveryError('TLS failed: %s' % str(why).lower().replace('_', ' '), 'erti' in type(error).__name__
                              or 'certificate' in str(why).lower())
    if isinstance(error, socket.timeout):
        return _DeliveryError('no answer in time')
    if isinstance(error, socket.gaierror):
        return _DeliveryError('the name of the server is not known')
    if isinstance(error, OSError) and error.errno:
        return _DeliveryError('the connection failed: %s' % os.strerror(error.errno))
    return _DeliveryError('the connection failed: %s' % type(error).__name__)


class SlackConfig(object):
    """A Slack incoming webhook; `webhook_url` is a secret and appears nowhere."""
    name = 'slack'

    def __init__(self, webhook_url, ca_file=None):
        # type: (str, Optional[str]) -> None
        self.webhook_url = _check_url('slack: webhook_url', webhook_url)
        self.ca_file = ca_file

    def __repr__(self):
        # type: () -> str
        return 'SlackConfig(%s)' % self.describe()

    def describe(self):
        # type: () -> str
        """Say where it goes, without a secret."""
        return 'an incoming webhook of %s' % _host_of(self.webhook_url)

    def secrets(self):
        # type: () -> List[str]
        """Return what must appear nowhere."""
        return _url_secrets(self.webhook_url)

    def send(self, message, timeout):
        # type: (Dict[str, Any], float) -> None
        """Post a message; Slack has no way to tell it that it is one it has seen, so its id stands in it."""
        _post_json(self.webhook_url, _slack_blocks(message), {}, message, timeout, self.ca_file)


class WebhookConfig(object):
    """A POST of JSON to an address of yours; any answer 2xx means that it was taken.

    The body:

        version        1
        id             of this notification, also in the header Idempotency-Key: one that comes again is the same one
        time           ISO 8601, UTC
        state          firing, resolved, digest or test
        severity       INFO, WARNING, ERROR or CRITICAL: the worst of its alerts
        title          one line
        alerts         [{name, severity, state, condition, explanation, earlier}], `earlier`: how often it was not told since
        run            {script_path, script_args, hostname, execution_id, correlation_id, attempt_number, status, cause, evidence,
                        exit_code, start_time, execution_time_seconds, git_commit, git_branch, labels}, as far as known
        error          {summary, kind, fingerprint, frame, root_cause, advice} or null; each null where it is not known
        history        [{metric, value, last_good, last_good_run, values, sparkline}]: the last runs, oldest first, then this one
        output_tail    the last lines of the script's output

    Secrets are redacted. With `secret` there are two more headers, X-Script-Runner-Timestamp (seconds since 1970) and
    X-Script-Runner-Signature: `sha256=` and the hexadecimal HMAC-SHA256, keyed with the secret, of timestamp, a dot and
    the body's bytes. Compare it in constant time, and refuse an old timestamp. `headers` are added as they are.
    Redirects are followed only on the same host, and only 307 and 308, since the others turn a POST into a GET.
    """
    name = 'webhook'

    def __init__(self, url, headers=None, secret=None, ca_file=None):
        # type: (str, Optional[Dict[str, str]], Optional[str], Optional[str]) -> None
        self.url = _check_url('webhook: url', url)
        self.headers = {}  # type: Dict[str, str]
        for key, value in (headers or {}).items():
            if not key or not all(c.isalnum() or c in '-_' for c in key):
                raise UsageError('webhook: headers: %r is not the name of a header' % (key,))
            self.headers[key] = _reject_control('webhook: header %s' % key, value)
        self.secret = None if secret is None else _reject_control('webhook: secret', secret)
        self.ca_file = ca_file

    def __repr__(self):
        # type: () -> str
        return 'WebhookConfig(%s)' % self.describe()

    def describe(self):
        # type: () -> str
        """Say where it goes, without a secret."""
        return 'an address of %s%s' % (_host_of(self.url), ', signed' if self.secret else '')

    def secrets(self):
        # type: () -> List[str]
        """Return what must appear nowhere."""
        words = [word for key, value in self.headers.items() for word in [value] + value.split()
                 if len(word) >= 8 and (_may_hold_secret(key) or _looks_random(word))]
        return _url_secrets(self.url) + words + ([self.secret] if self.secret else [])

    def send(self, message, timeout):
        # type: (Dict[str, Any], float) -> None
        """Post a message, signed if there is a secret."""
        _post_json(self.url, message, self.headers, message, timeout, self.ca_file, self.secret)


def _host_of(url):
    # type: (str) -> str
    from urllib.parse import urlsplit
    return urlsplit(url).hostname or '?'


def _post_json(url, content, headers, message, timeout, ca_file=None, secret=None):
    # type: (str, Any, Dict[str, str], Dict[str, Any], float, Optional[str], Optional[str]) -> None
    """POST once; raises _DeliveryError unless the answer is 2xx."""
    import json
    body = json.dumps(content, ensure_ascii=False, sort_keys=True).encode('utf-8', 'replace')
    full = {'Content-Type': 'application/json; charset=utf-8', 'User-Agent': 'python-script-runner/' + __version__,
            'Idempotency-Key': message['id']}
    full.update(headers)
    if secret is not None:
        full.update(sign_webhook(secret, body, int(time.time())))
    _post(url, body, full, timeout, ca_file)


def sign_webhook(secret, body, timestamp):
    # type: (str, bytes, int) -> Dict[str, str]
    """Return the headers that prove who sent a body, and when (seconds since 1970); see WebhookConfig.

    >>> sign_webhook('key', b'{}', 0)['X-Script-Runner-Signature'][:23]
    'sha256=7314351dd949aa7e'
    """
    import hashlib
    import hmac
    mark = hmac.new(secret.encode('utf-8'), b'%d.' % timestamp + body, hashlib.sha256).hexdigest()
    return {'X-Script-Runner-Timestamp': str(timestamp), 'X-Script-Runner-Signature': 'sha256=' + mark}


def _post(url, body, headers, timeout, ca_file, hops=3):
    # type: (str, bytes, Dict[str, str], float, Optional[str], int) -> None
    try:
        import requests
    except ImportError:
        raise _DeliveryError('the package requests is not installed; pip install requests', True)
    try:
        # The function as `auth` keeps a password of ~/.netrc from taking the place of the header Authorization.
        with requests.post(url, data=body, headers=headers, timeout=(timeout, timeout), allow_redirects=False, stream=True,
                           verify=ca_file or True, auth=lambda request: request) as answer:
            status, target, wait = answer.status_code, answer.headers.get('Location'), answer.headers.get('Retry-After')
    except requests.exceptions.Timeout:
        raise _DeliveryError('no answer in time')
    except requests.exceptions.SSLError as error:
        raise _DeliveryError('TLS failed: %s' % ('the certificate is not trusted' if 'certificate' in str(error).lower() else
                                                 'no secure connection'), 'certificate' in str(error).lower())
    except (requests.exceptions.RequestException, ValueError) as error:
        raise _DeliveryError('the connection failed or was cut (%s)' % type(error).__name__)
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        _post(_redirected(url, status, target, hops), body, headers, timeout, ca_file, hops - 1)
        return
    raise _DeliveryError('the server answered %d' % status, 400 <= status < 500 and status not in (408, 425, 429),
                         _read_retry_after(wait, time.time()))


def _redirected(url, status, target, hops):
    # type: (str, int, Optional[str], int) -> str
    """Return where a redirect leads; raises _DeliveryError when it may not be followed."""
    from urllib.parse import urljoin, urlsplit
    try:
        there = urljoin(url, target or '')
        here, parts = urlsplit(url), urlsplit(there)
        same = (here.scheme, here.hostname, here.port) == (parts.scheme, parts.hostname, parts.port)
    except ValueError:
        same = False
    if not target or not same or status not in (307, 308) or hops <= 0:
        raise _DeliveryError('the server answered %d, a redirect %s; give the final address' % (
            status, 'that is not followed' if same else 'to another host, which is not followed'), True)
    return there


def _read_retry_after(text, now):
    # type: (Optional[str], float) -> Optional[float]
    """Read a Retry-After header (RFC 9110: seconds, or a date) and return seconds; None when it says nothing.

    >>> _read_retry_after('120', 0), _read_retry_after('Thu, 01 Jan 1970 00:01:00 GMT', 0), _read_retry_after('soon', 0)
    (120.0, 60.0, None)
    """
    text = (text or '').strip()
    if text.isdecimal():
        return min(float(text), 86400.0)
    try:
        from email.utils import mktime_tz, parsedate_tz
        when = parsedate_tz(text)
        return None if when is None else float(min(max(0.0, mktime_tz(when) - now), 86400.0))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


class _CommandChannel(object):
    """A program of the user's: an argument list (no shell), which gets the message as JSON on its stdin and says by status 0
    that it took it."""
    name = 'command'

    def __init__(self, argv):
        # type: (Any) -> None
        if isinstance(argv, str) or not argv or not all(isinstance(word, str) and '\0' not in word for word in argv):
            raise UsageError('command: must be a list of texts, such as [notify-send, alert]; there is no shell')
        self.argv = list(argv)

    def describe(self):
        # type: () -> str
        return ' '.join(redact_arguments(self.argv))

    def secrets(self):
        # type: () -> List[str]
        return secret_values(self.argv)

    def send(self, message, timeout):
        # type: (Dict[str, Any], float) -> None
        import json
        import subprocess
        data = json.dumps(message, ensure_ascii=False).encode('utf-8', 'replace')
        try:
            process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       start_new_session=True)
        except (OSError, ValueError) as error:
            raise _DeliveryError('cannot be run: %s' % (getattr(error, 'strerror', None) or error), True)
        try:
            process.communicate(data, timeout=timeout)
        except subprocess.TimeoutExpired:
            self._end(process)
            raise _DeliveryError('not done in time')
        except OSError:
            self._end(process)
        if process.returncode != 0:
            raise _DeliveryError('ended with status %d' % process.returncode)

    @staticmethod
    def _end(process):
        # type: (Any) -> None
        """Kill the program and what it started, and close the pipe."""
        try:
            os.killpg(process.pid, _signal.SIGKILL)
        except (OSError, AttributeError):
            process.kill()
        process.stdin.close()
        process.wait()


class _AppriseChannel(object):
    """One of the services that the package Apprise knows, by URL."""
    name = 'apprise'

    def __init__(self, urls):
        # type: (Any) -> None
        self.urls = [_reject_control('apprise', url) for url in ([urls] if isinstance(urls, str) else list(urls or ()))]
        if not self.urls:
            raise UsageError('apprise: no address; give a list of Apprise URLs')

    def check_installed(self):
        # type: () -> None
        """Raise UsageError when the package is not there; told only where a rule needs it."""
        from importlib.util import find_spec
        if find_spec('apprise') is None:
            raise UsageError('apprise: the package is not installed; pip install apprise')

    def describe(self):
        # type: () -> str
        return '%d address%s: %s' % (len(self.urls), '' if len(self.urls) == 1 else 'es', ', '.join(
            url.split(':', 1)[0] for url in self.urls))

    def secrets(self):
        # type: () -> List[str]
        words = [part for url in self.urls for part in url.split('://', 1)[-1].replace('?', '/').replace('@', '/').split('/')]
        return self.urls + [word for word in words if _looks_random(word)]

    def send(self, message, timeout):
        # type: (Dict[str, Any], float) -> None
        import apprise  # type: ignore[import]
        service = apprise.Apprise()
        if [url for url in self.urls if not service.add(url)]:
            raise _DeliveryError('one of the addresses is none that Apprise knows', True)
        kind = {'INFO': 'info', 'WARNING': 'warning'}.get(message['severity'], 'failure')
        if not service.notify(body=format_message(message), title=message['title'], body_format='text',
                              notify_type='success' if message['state'] == 'resolved' else kind):
            raise _DeliveryError('a service did not take it')


class _StdoutChannel(object):
    """Our own stdout, after everything that the script wrote."""
    name = 'stdout'

    def describe(self):
        # type: () -> str
        return 'stdout of the runner, after the script\'s output'

    def secrets(self):
        # type: () -> List[str]
        return []

    def send(self, message, timeout):
        # type: (Dict[str, Any], float) -> None
        if sys.stdout is None:
            raise _DeliveryError('stdout is closed', True)
        try:
            encoding = getattr(sys.stdout, 'encoding', None) or 'utf-8'
            sys.stdout.write(format_message(message).encode(encoding, 'replace').decode(encoding))
            sys.stdout.flush()
        except (OSError, ValueError) as error:
            raise _DeliveryError('stdout: %s' % type(error).__name__, True)


class _LogChannel(object):
    """A file of JSON lines, or without one the logger 'runner' of the standard library."""
    name = 'log'

    def __init__(self, file=None):
        # type: (Optional[str]) -> None
        self.file = file

    def describe(self):
        # type: () -> str
        return self.file or "the logger 'runner'"

    def secrets(self):
        # type: () -> List[str]
        return []

    def send(self, message, timeout):
        # type: (Dict[str, Any], float) -> None
        if self.file is None:
            import logging
            logging.getLogger('runner').log(LEVELS[message['severity']], '%s', message['title'])
            return
        try:
            fields = {name: message[name] for name in ('id', 'state', 'severity', 'title', 'alerts', 'run', 'error')}
            StructuredLogger(self.file).log(message['severity'], 'alert', **fields)
        except OSError as error:
            raise _DeliveryError('%s: %s' % (self.file, error.strerror))


# -- delivery ---------------------------------------------------------------------------------------------------

_TRY_SECONDS = 5.0                     # one try, for the connection and for each answer
_TRIES = 4                             # within the bound
_SPOOL_SECONDS = 7 * 86400.0           # how long a message is worth being sent
_LONGEST_SILENCE = 100 * 366 * 86400.0
_LONGEST_TELLING = 86400.0             # one wait: beyond some 290 years (on Windows 49 days) the call overflows
_LEASE_SECONDS = 60.0                  # beyond the bound: whoever holds a notification may still be sending it


class _Outcome(object):
    """What became of a notification: `state` is 'sent', 'waiting' or 'failed'; `error` says why, without a secret;
    `delay`: seconds until the next try."""
    __slots__ = ('state', 'error', 'delay')

    def __init__(self, state, error=None, delay=0.0):
        # type: (str, Optional[str], float) -> None
        self.state = state
        self.error = error
        self.delay = delay


def _deliver(channel, message, deadline, secrets=(), tries=None):
    # type: (Any, Dict[str, Any], float, Sequence[str], Optional[int]) -> _Outcome
    """Send a message, trying again until it is taken, refused for good, or `deadline` (monotonic) comes. Border: a channel.

    The delays grow from a quarter of a second, each spread by chance over its upper half, so that those who failed together do
    not come again together; Retry-After is honoured, and where it is too long the message waits for a later run.
    """
    number = 0
    while True:
        number += 1
        try:
            channel.send(message, min(_TRY_SECONDS, max(0.1, deadline - time.monotonic())))
            return _Outcome('sent')
        except _DeliveryError as error:
            failure = error
        except Exception as error:
            failure = _DeliveryError('failed with %s' % type(error).__name__)
        text = _hide(str(failure), list(secrets))
        if failure.is_final:
            return _Outcome('failed', text)
        delay = failure.retry_after
        if delay is None:
            delay = 0.25 * 2 ** (number - 1) * (0.5 + 0.5 * ord(os.urandom(1)) / 255.0)
        if number >= (tries or _TRIES) or time.monotonic() + delay >= deadline:
            return _Outcome('waiting', text, failure.retry_after or 30.0)
        time.sleep(delay)


def _in_threads(works, deadline):
    # type: (Sequence[Callable[[], Any]], float) -> List[Tuple[bool, Any]]
    """Call each function in a thread of its own and return (is done, what it returned or the exception) for each.

    What is not done at `deadline` (monotonic) is left to itself: a thread of `_thread` holds up nobody's exit.
    """
    slots = [[False, None] for _ in works]  # type: List[List[Any]]
    locks = []

    def run(work, slot, lock):
        # type: (Callable[[], Any], List[Any], Any) -> None
        """Thread border."""
        try:
            slot[1] = work()
        except Exception as error:                     # thread border
            slot[1] = error
        finally:
            slot[0] = True
            lock.release()

    for work, slot in zip(works, slots):
        lock = allocate_lock()
        lock.acquire()
        locks.append(lock)
        try:
            start_new_thread(run, (work, slot, lock))
        except RuntimeError:                           # no thread is to be had: one after the other, each with its own timeouts
            run(work, slot, lock)
    for lock in locks:
        lock.acquire(True, min(_LONGEST_TELLING, max(0.0, deadline - time.monotonic())))
    return [(slot[0], slot[1]) for slot in slots]


# -- what is remembered, in the history database ------------------------------------------------------------------

class _AlertStore(object):
    """The tables alerts, alert_state, alert_silence and notifications; times are ISO text or microseconds in them, seconds
    here."""

    def __init__(self, history):
        # type: (HistoryManager) -> None
        self.history = history

    def writing(self):
        # type: () -> _Writing
        """Return a transaction; what is given a connection below is called within one."""
        return _Writing(self.history)

    def has_state(self, script_path):
        # type: (str) -> bool
        """Tell whether any rule ever fired for a script; where none did, what does not fire is nothing to write down."""
        return bool(self.history._read('SELECT 1 FROM alert_state WHERE script_path = ? LIMIT 1', (script_path,)))

    @staticmethod
    def load_state(connection, rule, script_path):
        # type: (Any, str, str) -> AlertState
        row = _first(connection, 'SELECT state FROM alert_state WHERE rule = ? AND script_path = ?', (rule, script_path))
        if row is None:
            return AlertState()
        import json
        return AlertState(**json.loads(row[0]))

    @staticmethod
    def save_state(connection, rule, script_path, state):
        # type: (Any, str, str, AlertState) -> None
        import json
        connection.execute('INSERT OR REPLACE INTO alert_state VALUES (?, ?, ?)',
                           (script_path, rule, json.dumps(state.to_dict(), sort_keys=True)))

    @staticmethod
    def read_silences(connection, now):
        # type: (Any, float) -> Dict[str, Tuple[float, str]]
        """Return {rule: (end, reason)} of the silences that hold now."""
        rows = connection.execute('SELECT rule, end_time, reason FROM alert_silence WHERE end_time > ?',
                                  (int(now * 1e6),)).fetchall()
        return {rule: (end / 1e6, reason or '') for rule, end, reason in rows}

    @staticmethod
    def add_alert(connection, alert, run_id, script_path, now, message_id):
        # type: (Any, Alert, Optional[int], str, float, Optional[str]) -> None
        connection.execute(
            'INSERT INTO alerts (execution_id, alert_time, script_path, name, severity, state, condition, explanation, '
            'fingerprint, delivery, reason, channels, message_id) '
            'VALUES ((SELECT id FROM run WHERE id = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
            (run_id, format_time(now), script_path, alert.name, alert.severity, alert.state, alert.condition, alert.explanation,
             alert.fingerprint, alert.delivery, alert.reason, ' '.join(alert.channels or ()) or None, message_id))

    @staticmethod
    def add_notification(connection, channel, message, now, holder, lease):
        # type: (Any, str, Dict[str, Any], float, str, float) -> None
        import json
        connection.execute('INSERT INTO notifications (message_id, channel, state, content, created_time, next_time, tries, '
                           "holder, lease_time) VALUES (?, ?, 'waiting', ?, ?, ?, 0, ?, ?)",
                           (message['id'], channel, json.dumps(message, ensure_ascii=False), int(now * 1e6), int(now * 1e6),
                            holder, int((now + lease) * 1e6)))
        old = int((now - 90 * 86400.0) * 1e6)          # what belongs to a run goes with it
        connection.execute("DELETE FROM notifications WHERE state <> 'waiting' AND created_time < ?", (old,))
        connection.execute('DELETE FROM alerts WHERE execution_id IS NULL AND alert_time < ?', (_format_micros(old),))

    def claim(self, channels, now, holder, lease, failed=False):
        # type: (Sequence[str], float, str, float, bool) -> List[Tuple[str, Dict[str, Any]]]
        """Take the notifications that wait for these channels and that nobody is sending; return [(channel, message)]."""
        where = "%s AND next_time <= ? AND lease_time <= ? AND channel IN (%s)" % (
            "state IN ('waiting', 'failed') AND content <> ''" if failed else "state = 'waiting'", ', '.join('?' * len(channels)))
        values = [int(now * 1e6)] * 2 + list(channels)
        if not self.history._read('SELECT 1 FROM notifications WHERE %s LIMIT 1' % where, values):
            return []
        import json
        with self.writing() as connection:
            rows = connection.execute('SELECT message_id, channel, content FROM notifications WHERE %s ORDER BY created_time '
                                      'LIMIT 50' % where, values).fetchall()
            connection.executemany("UPDATE notifications SET state = 'waiting', holder = ?, lease_time = ? "
                                   'WHERE message_id = ? AND channel = ?',
                                   [(holder, int((now + lease) * 1e6), row[0], row[1]) for row in rows])
        return [(channel, json.loads(content)) for _, channel, content in rows]

    def note_outcome(self, channel, message_id, holder, outcome, now):
        # type: (str, str, str, _Outcome, float) -> None
        """Write down what became of a notification that `holder` claimed; one that waits too long has failed."""
        with self.writing() as connection:
            row = _first(connection, 'SELECT created_time, tries FROM notifications WHERE message_id = ? AND channel = ? AND '
                         'holder = ?', (message_id, channel, holder))
            if row is None:                            # the lease ran out, and another took it over
                return
            is_old = outcome.state == 'waiting' and now - row[0] / 1e6 > _SPOOL_SECONDS
            state = 'failed' if is_old else outcome.state
            pause = max(outcome.delay, min(3600.0, 30.0 * 2 ** min(row[1], 10))) if state == 'waiting' else 0.0
            connection.execute(
                'UPDATE notifications SET state = ?, error = ?, tries = tries + 1, lease_time = 0, next_time = ?, sent_time = ?, '
                "content = CASE WHEN ? THEN '' ELSE content END WHERE message_id = ? AND channel = ?",
                (state, outcome.error, int((now + pause) * 1e6), int(now * 1e6) if state == 'sent' else None, state == 'sent',
                 message_id, channel))

    @staticmethod
    def take_digest(connection, rules, due):
        # type: (Any, Sequence[str], float) -> List[Tuple[Any, ...]]
        """Return (name, severity, state, condition, explanation, time, script) of what rules kept for their digest, when the
        oldest of it is from before `due` (seconds); it is then no longer kept."""
        marks = ', '.join('?' * len(rules))
        first = _first(connection, "SELECT min(alert_time) FROM alerts WHERE delivery = 'digest' AND name IN (%s)" % marks, rules)
        if first[0] is None or first[0] > format_time(due):
            return []
        kept = "delivery = 'digest' AND name IN (%s)" % marks
        rows = connection.execute('SELECT name, severity, state, condition, explanation, alert_time, script_path FROM alerts '
                                  'WHERE %s ORDER BY id' % kept, rules).fetchall()
        connection.execute("UPDATE alerts SET delivery = 'told', reason = 'in a digest' WHERE " + kept, rules)
        return rows


class _MemoryHistory(HistoryManager):
    """An empty history for as long as this object lives, for alerts without a file; its one connection serves one at a time."""

    def __init__(self):
        # type: () -> None
        super(_MemoryHistory, self).__init__(':memory:', timeout=1.0)
        self.db_path = ':memory:'
        self._turn = allocate_lock()
        self._only = None  # type: Any

    def _take(self):
        # type: () -> Any
        self._turn.acquire()
        try:
            if self._only is None:
                self._only = self._connect(':memory:')
                self._prepare(self._only)
            return self._only
        except BaseException:
            self._turn.release()
            raise

    def _give_back(self, connection):
        # type: (Any) -> None
        if connection.in_transaction:
            connection.rollback()
        self._turn.release()

    def close(self):
        # type: () -> None
        """Forget everything."""
        with self._turn:
            connection, self._only = self._only, None
        if connection is not None:
            connection.close()

    def __del__(self):
        # type: () -> None
        if getattr(self, '_only', None) is not None:
            self.close()


def read_alerts(history, run_id=None, limit=None):
    # type: (HistoryManager, Optional[int], Optional[int]) -> List[Dict[str, Any]]
    """Return what rules said, newest first (of one run: in order), as dicts: the columns of table `alerts`, and in `channels`
    for each channel {'state', 'error', 'sent_time'} of the message."""
    names = ('id', 'execution_id', 'alert_time', 'script_path', 'name', 'severity', 'state', 'condition', 'explanation',
             'fingerprint', 'delivery', 'reason', 'channels', 'message_id')
    where, values = ('WHERE execution_id = ? ORDER BY id', [run_id]) if run_id is not None else ('ORDER BY id DESC LIMIT ?', [
        -1 if limit is None else limit])
    found = []
    for row in history._read('SELECT %s FROM alerts %s' % (', '.join(names), where), values):
        alert = dict(zip(names, row))
        told = {channel: {'state': state, 'error': error, 'sent_time': sent and _format_micros(sent)}
                for channel, state, error, sent in history._read(
                    'SELECT channel, state, error, sent_time FROM notifications WHERE message_id = ?', (alert['message_id'],))}
        alert['channels'] = {name: told.get(name, {'state': 'unknown', 'error': None, 'sent_time': None})
                             for name in (alert['channels'] or '').split()}
        found.append(alert)
    return found


# -- rules: each form has `judge(context)` -> (True, False or None, explanation), `kind` and `metrics` ------------------

#: What a metric is while the script runs, by its column in SAMPLE_FIELDS. With `for` it is the value of the sample; without,
#: the greatest so far.
LIVE_METRICS = {'execution_time_seconds': 0, 'cpu_max': 1, 'memory_max_mb': 2, 'num_threads': 3, 'num_fds': 4, 'num_processes': 5,
                'io_read_mb': 6, 'io_write_mb': 7}

_FAILURE_NAMES = frozenset(('status', 'cause', 'success', 'exit_code', 'timed_out'))
_PAST_RUNS = 200                       # of the script's runs before this one, as far as rules look back


class _RunContext(object):
    """What rules judge: the values of a run, and the past of its script, which is read when it is first asked for.

    `values` maps names of conditions to values. Past runs are those that ended, the last attempt of each, newest first.
    `problem` says why the past could not be read.
    """

    def __init__(self, values, script_path='', history=None, correlation_id=None, run_id=None, kin=None):
        # type: (Dict[str, Any], str, Optional[HistoryManager], Optional[str], Optional[int], Optional[Dict[str, Any]]) -> None
        self.values = values
        self.script_path = _encodable(script_path)     # as history spells it
        self.history = history
        self.correlation_id = correlation_id
        self.run_id = run_id
        self.kin = {name: (kin or {}).get(name) for name in ('hostname', 'python_version')}
        self.problem = None  # type: Optional[str]
        self._past = None  # type: Optional[List[Dict[str, Any]]]
        self._good = {}  # type: Dict[str, List[Tuple[int, float]]]

    def past(self):
        # type: () -> List[Dict[str, Any]]
        """Return the runs before this one as HistoryManager gives them, one for each correlation id."""
        if self._past is None:
            runs, seen = [], {self.correlation_id}
            found = self.ask(lambda history: history.get_execution_history(self.script_path, limit=_PAST_RUNS, days=None))
            for run in found or ():
                if run['status'] != 'running' and run['correlation_id'] not in seen:
                    seen.add(run['correlation_id'])
                    runs.append(run)
            self._past = runs
        return self._past

    def ask(self, question):
        # type: (Callable[[HistoryManager], Any]) -> Any
        """Return the history's answer, None where there is none to ask, or when it cannot be read."""
        if self.history is None or not self.script_path:
            return None
        try:
            return question(self.history)
        except HistoryError as error:
            self.problem = str(error)
            return None

    def good(self, metric):
        # type: (str) -> List[Tuple[int, float]]
        """Return (run id, value) of a metric in the last good runs on this host with this Python, newest first."""
        if metric not in self._good:
            rows = self.ask(lambda history: history.get_metric_series(
                self.script_path, metric, limit=50, good_only=True, before_id=self.run_id, **self.kin))
            self._good[metric] = [(row[0], row[2]) for row in reversed(rows or [])]
        return self._good[metric]

    def values_at(self, number, names):
        # type: (int, Iterable[str]) -> Dict[str, Any]
        """Return the values of this run (0) or the one `number` before it; `previous.` and `baseline.` that `names` ask for are
        always those of this run."""
        values = dict(self.values if number == 0 else _values_of_run(self.past()[number - 1]))
        for name in names:
            prefix, _, metric = name.partition('.')
            if prefix == 'previous' and metric:
                values[name] = self.good(metric)[0][1] if self.good(metric) else None
            elif prefix == 'baseline' and metric:
                values[name] = self._baseline_of(metric)
        return values

    def _baseline_of(self, metric):
        # type: (str) -> Optional[float]
        """Return the metric of the pinned run; without one the median of the last good runs, None while these are too few."""
        pinned = self.ask(lambda history: history.get_baseline(self.script_path))
        if pinned:
            return pinned['metrics'].get(metric)
        records = [{'status': 'success', 'value': value} for _, value in self.good(metric)]
        return BaselineCalculator().calculate(records, metric)['median']


def _values_of_run(run):
    # type: (Dict[str, Any]) -> Dict[str, Any]
    """Return the values of a result or a recorded run by the names that conditions use."""
    values = dict(run.get('metrics') or {})
    for name in ('status', 'cause', 'script_path', 'hostname', 'git_branch', 'git_commit'):
        if run.get(name) is not None:
            values[name] = run[name]
    values.update(('label.' + key, value) for key, value in (run.get('labels') or {}).items())
    return values


class _ConditionRule(object):
    """A condition that is true, of the last `consecutive` runs in a row."""

    def __init__(self, condition, consecutive=1):
        # type: (Condition, int) -> None
        self.condition = condition
        self.consecutive = consecutive
        self.text = condition.text + (', %d runs in a row' % consecutive if consecutive > 1 else '')
        plain = set(name.partition('.')[2] if name.startswith(('previous.', 'baseline.')) else name for name in condition.names)
        self.metrics = [name for name in METRICS if name in plain and METRICS[name].unit not in ('bool', 'UTC', '')]
        of_failure = condition.names & _FAILURE_NAMES and _may_be_of_failure(condition)
        self.kind = 'failure' if of_failure else 'performance' if self.metrics else 'other'

    def judge(self, context):
        # type: (_RunContext) -> Tuple[Optional[bool], str]
        names = self.condition.names
        values = context.values_at(0, names)
        outcome = self.condition.evaluate(values)
        explanation = self.condition.explain(values)
        for number in range(1, self.consecutive):
            if outcome is not True:
                break
            outcome = number <= len(context.past()) and self.condition.evaluate(context.values_at(number, names))
        return outcome, explanation


def _may_be_of_failure(condition):
    # type: (Condition) -> bool
    """Tell whether a condition may be true of a run that did not succeed.

    >>> [_may_be_of_failure(parse_condition(text)) for text in ('exit_code = 3', "status = 'success' AND cpu_max > 5")]
    [True, False]
    """
    return any(condition.evaluate({'success': False, 'status': status}) is not False
               for status in STATUSES if status not in ('running', 'success'))


class _ConsecutiveRule(object):
    """So many runs in a row that did not succeed; interrupted ones count neither way."""
    kind = 'failure'
    metrics = ()  # type: Sequence[str]

    def __init__(self, count):
        # type: (int) -> None
        self.count = count
        self.text = '%d run%s in a row failed' % (count, '' if count == 1 else 's')

    def judge(self, context):
        # type: (_RunContext) -> Tuple[Optional[bool], str]
        if context.values.get('status') is None or context.values.get('cause') == 'interrupted':
            return None, ''
        failed = 0
        for values in [context.values] + [{'status': run['status'], 'cause': run['cause']} for run in context.past()]:
            if values['status'] == 'success':
                break
            failed += values.get('cause') != 'interrupted'
        return failed >= self.count, '%d in a row' % failed


class _FailureRateRule(object):
    """More than a share of the runs failed, of the last `runs` or those of the last `window` seconds."""
    kind = 'failure'
    metrics = ()  # type: Sequence[str]

    def __init__(self, above, runs=None, window=None, min_runs=5):
        # type: (float, Optional[int], Optional[float], int) -> None
        self.above = above
        self.runs = runs
        self.window = window
        self.min_runs = min_runs
        span = 'of the last ' + format_duration(window) if window is not None else '(the last %s)' % runs
        self.text = 'more than %.4g %% of the runs %s failed' % (above * 100.0, span)

    def judge(self, context):
        # type: (_RunContext) -> Tuple[Optional[bool], str]
        if context.values.get('status') is None or context.values.get('cause') == 'interrupted':
            return None, ''
        statuses = [context.values['status']] + self._past(context)
        if self.runs is not None:
            statuses = statuses[:self.runs]
        if len(statuses) < self.min_runs:
            return None, ''
        failed = sum(status != 'success' for status in statuses)
        return failed / float(len(statuses)) > self.above, '%d of %d runs failed' % (failed, len(statuses))

    def _past(self, context):
        # type: (_RunContext) -> List[str]
        """Return the statuses of the runs before this one; a window may hold more of them than other rules look at."""
        since = 0 if self.window is None else int((time.time() - self.window) * 1e6)
        rows = context.ask(lambda history: history._read(
            "SELECT status, max(attempt_number) FROM run WHERE script_id = (SELECT id FROM script WHERE path = ?) "
            "AND start_time >= ? AND status <> 'running' AND cause IS NOT 'interrupted' AND correlation IS NOT ? "
            'GROUP BY correlation '
            'ORDER BY max(start_time) DESC LIMIT ?',
            (_canonical(context.script_path), since, _correlation_value(context.correlation_id or '-'), self.runs or -1)))
        return [row[0] for row in rows or ()]


class _AnomalyRule(object):
    """A metric of a run that succeeded lies outside of what the script's own good runs were like."""
    kind = 'performance'

    def __init__(self, metric, direction='both', min_runs=8, band=0.995, min_change=0.1):
        # type: (str, str, int, float, float) -> None
        self.metric = metric
        self.metrics = (metric,)
        self.direction = direction
        self.settings = (min_runs, band, min_change)
        suffix = {'both': '', 'above': ' (too much)', 'below': ' (too little)'}[direction]
        self.text = '%s unlike its own past%s' % (metric, suffix)

    def judge(self, context):
        # type: (_RunContext) -> Tuple[Optional[bool], str]
        value = context.values.get(self.metric)
        if context.values.get('status', 'success') != 'success' or not isinstance(value, (int, float)) or value != value:
            return None, ''
        past = [x for _, x in context.good(self.metric)]
        usual = AlertIntelligence.adaptive_range(past, *self.settings)
        if usual is None:
            return None, ''
        found, low, high = [_shown_metric(self.metric, float(x)) for x in (value,) + usual]
        shown = '%s = %s, usually %s to %s (%d good runs)' % (self.metric, found, low, high, len(past))
        return (value > usual[1] and self.direction != 'below') or (value < usual[0] and self.direction != 'above'), shown


class _Rule(object):
    """One rule: what it judges (`form`), and who is told how often. `channels` None means all that are configured; `hold` is how
    long it must be true on the samples, None for a rule that is judged at the end."""
    __slots__ = ('name', 'form', 'severity', 'channels', 'policy', 'inhibited_by', 'digest', 'hold')

    def __init__(self, name, form, severity, channels, policy, inhibited_by=None, digest=None, hold=None):
        # type: (str, Any, str, Optional[Sequence[str]], AlertPolicy, Optional[Sequence[str]], Optional[float], Optional[float]) -> None
        self.name = name
        self.form = form
        self.severity = severity
        self.channels = channels
        self.policy = policy
        self.inhibited_by = inhibited_by
        self.digest = digest
        self.hold = hold


class _Judgement(object):
    """What a rule found in a run."""
    __slots__ = ('rule', 'value', 'explanation', 'fingerprint')

    def __init__(self, rule, value, explanation, fingerprint=''):
        # type: (_Rule, Optional[bool], str, str) -> None
        self.rule = rule
        self.value = value
        self.explanation = explanation
        self.fingerprint = fingerprint


class AlertIntelligence(object):
    """Who is told what: one message for the same thing in a window, across processes; silences; inhibition; digests.

    What it remembers is in the history database: `history_manager` (None: in memory, for as long as this object lives). `clock`
    returns seconds since 1970. Any thread may use it.
    """

    def __init__(self, history_manager=None, clock=time.time):
        # type: (Optional[HistoryManager], Callable[[], float]) -> None
        self.store = _AlertStore(history_manager or _MemoryHistory())
        self.clock = clock

    @staticmethod
    def fingerprint(text):
        # type: (Optional[str]) -> str
        """Return what tells one error from another: sixteen hexadecimal digits, the same for texts that differ in numbers only.

        >>> mark = AlertIntelligence.fingerprint
        >>> mark('timeout after 31 s') == mark('timeout after 7 s'), mark('disk full') == mark('no such host'), mark(None)
        (True, False, '')
        """
        if not text:
            return ''
        import hashlib
        shape = ''.join('#' if c in '0123456789' else c for c in text)
        while '##' in shape:
            shape = shape.replace('##', '#')
        return hashlib.sha256(shape.encode('utf-8', 'replace')).hexdigest()[:16]

    @staticmethod
    def adaptive_range(values, min_runs=8, band=0.995, min_change=0.1):
        # type: (Sequence[float], int, float, float) -> Optional[Tuple[float, float]]
        """Return (low, high) of what is usual, None with fewer than `min_runs` values: BaselineCalculator's robust band that
        should hold the share `band` of runs, never narrower than `min_change` of the median on each side.

        >>> low, high = AlertIntelligence.adaptive_range([10.0, 10.5, 9.5, 10.2, 9.8, 10.1, 9.9, 10.0, 50.0])
        >>> 5 < low < 9.5 and 10.5 < high < 15
        True
        """
        usual = BaselineCalculator(min_runs, band=band, min_band_pct=100.0 * min_change).calculate(
            [{'status': 'success', 'value': value} for value in values], 'value')
        return None if usual['median'] is None else (usual['low'], usual['high'])

    def silence(self, rule, seconds, reason=''):
        # type: (str, float, str) -> float
        """Let a rule ('*': every rule) tell nobody for so long; return when that ends, in seconds since 1970. Raises UsageError.

        What fires meanwhile is recorded as suppressed; if it still does at the first run afterwards, it is told then.
        """
        if not rule or not 0 < seconds <= _LONGEST_SILENCE:
            raise UsageError('silence %r for %r seconds: needs a rule and a time of more than 0 seconds, at most 100 years' % (
                rule, seconds))
        end = self.clock() + seconds
        with self.store.writing() as connection:
            connection.execute('INSERT OR REPLACE INTO alert_silence VALUES (?, ?, ?, ?)',
                               (rule, int(self.clock() * 1e6), int(end * 1e6), redact(reason) or None))
        return end

    def unsilence(self, rule):
        # type: (str) -> bool
        """End a silence; returns whether there was one."""
        with self.store.writing() as connection:
            return connection.execute('DELETE FROM alert_silence WHERE rule = ? AND end_time > ?',
                                      (rule, int(self.clock() * 1e6))).rowcount > 0

    def get_silences(self):
        # type: () -> List[Dict[str, Any]]
        """Return the silences that hold now: rule, end_time (ISO text), reason."""
        with self.store.history.get_connection() as connection:
            found = self.store.read_silences(connection, self.clock())
        return [{'rule': rule, 'end_time': format_time(end), 'reason': reason} for rule, (end, reason) in sorted(found.items())]

    @staticmethod
    def inhibitor(rule, judgements):
        # type: (_Rule, Sequence[_Judgement]) -> Optional[str]
        """Return the name of the rule that makes this one not worth telling: one named in its `inhibited_by`; without that,
        a failure that fires is stronger than anything about speed and size."""
        for other in judgements:
            if other.rule is rule or other.value is not True:
                continue
            by_kind = rule.inhibited_by is None and rule.form.kind == 'performance' and other.rule.form.kind == 'failure'
            if by_kind or other.rule.name in (rule.inhibited_by or ()):
                return other.rule.name
        return None

    def decide(self, connection, judgements, script_path):
        # type: (Any, Sequence[_Judgement], str) -> List[Alert]
        """Step every rule's state, within the caller's transaction, and return what there is to tell or to suppress."""
        now = self.clock()
        silences = self.store.read_silences(connection, now)
        alerts = []
        for judgement in judgements:
            rule = judgement.rule
            blocked = None  # type: Optional[str]
            for name in ('*', rule.name):
                if name in silences:
                    blocked = 'silenced until %s' % format_time(silences[name][0])[:19] + ' UTC'
            inhibitor = self.inhibitor(rule, judgements)
            if inhibitor is not None:
                blocked = 'inhibited by %r' % inhibitor
            state = self.store.load_state(connection, rule.name, script_path)
            after, action, reason = step_alert(state, AlertObservation(judgement.value, judgement.fingerprint, blocked), now,
                                               rule.policy)
            if after.to_dict() != state.to_dict():
                self.store.save_state(connection, rule.name, script_path, after)
            if action is not None:
                alerts.append(self._alert(judgement, action, reason, state.suppressed))
        return alerts

    @staticmethod
    def _alert(judgement, action, reason, suppressed):
        # type: (_Judgement, str, Optional[str], int) -> Alert
        rule = judgement.rule
        delivery = 'suppressed' if action == 'suppress' else 'told' if rule.digest is None else 'digest'
        return Alert(name=rule.name, severity=rule.severity, state='resolved' if action == 'resolve' else 'firing',
                     condition=rule.form.text, explanation=judgement.explanation, fingerprint=judgement.fingerprint,
                     delivery=delivery, reason=reason, channels={}, earlier=suppressed if action == 'tell' else 0,
                     metrics=list(rule.form.metrics))

    @staticmethod
    def digest(rows):
        # type: (Sequence[Tuple[Any, ...]]) -> List[Dict[str, Any]]
        """Sum up kept alerts (name, severity, state, condition, explanation, ISO time, script): one entry for each rule and
        script, with how often it fired, when last, and the last explanation."""
        found = {}  # type: Dict[Tuple[str, str], Dict[str, Any]]
        for name, severity, state, condition, explanation, when, script in rows:
            entry = found.setdefault((name, script), {'name': name, 'severity': severity, 'state': state, 'condition': condition,
                                                      'earlier': 0, 'times': 0})
            entry['times'] += state == 'firing'
            entry.update(state=state, severity=severity)
            entry['explanation'] = '%s: %d time%s, last at %s%s' % (
                os.path.basename(script), entry['times'], '' if entry['times'] == 1 else 's', when[:19],
                ' (%s)' % explanation if explanation else '')
        entries = list(found.values())
        for entry in entries:
            del entry['times']
        return entries


class _LiveAlerts(object):
    """Judge rules on every sample of a run; what fires is told while the script goes on.

    A rule with a hold sees each sample's own values, and fires once it was true for so long without a break. Any other sees the
    greatest so far, and fires as soon as it is certain: when it stays true whatever these may still grow to. Each fires once in a
    run, whatever the number of attempts. `fired` are the names of those, `alerts` and `warnings` what came of it.
    """

    def __init__(self, manager, rules):
        # type: (AlertManager, Sequence[_Rule]) -> None
        self.fired = set()  # type: set
        self.alerts = []  # type: List[Alert]
        self.warnings = []  # type: List[str]
        self.run = {}  # type: Dict[str, Any]
        self.samples = 0
        self._manager = manager
        self._rules = list(rules)
        self._context = _RunContext({})
        self._describe = None  # type: Optional[Callable[[], Dict[str, Any]]]
        self._run_id = None  # type: Optional[Callable[[], Optional[int]]]
        self._busy = []  # type: List[Any]
        self.reset()

    def reset(self):
        # type: () -> None
        """Another attempt is about to begin: what was seen of the last one counts no more. What it told is sent first, since a
        thread in the midst of something is no good companion of a fork."""
        self.finish(time.monotonic() + self._manager.notify_timeout)
        self._greatest = {}  # type: Dict[str, float]
        self._states = {}  # type: Dict[str, AlertState]

    def begin(self, describe, run_id):
        # type: (Callable[[], Dict[str, Any]], Optional[Callable[[], Optional[int]]]) -> None
        """An attempt has begun: `describe()` returns what is known of it (slowly, so it is called in a thread), `run_id()` its
        number once it is on record, None where it never will be. Messages that wait from earlier runs are sent meanwhile."""
        self._describe, self._run_id = describe, run_id
        try:
            self._in_thread(self._prepare)
        except RuntimeError as error:                  # no thread is to be had
            self.warnings.append('alerts: not judged by earlier runs while the script ran: %s' % error)

    def _prepare(self):
        # type: () -> None
        """Find out who and where we are, and what the conditions want to know of earlier runs; then send what waits."""
        run = self._describe() if self._describe is not None else {}
        run.update(_host_facts(), status='running')
        self.run = run
        context = _RunContext(_values_of_run(run), run.get('script_path', ''), self._manager.history_manager,
                              run.get('correlation_id'), kin=run)
        names = set(name for rule in self._rules for name in rule.form.condition.names)
        context.values = context.values_at(0, names)
        context.values.pop('status', None)             # known at the end only
        self._context = context
        self._manager.deliver_waiting(alongside=True)

    def on_sample(self, row):
        # type: (Sequence[Any]) -> None
        """Take one row of SAMPLE_FIELDS. Border: what fails here costs the rules, not the samples."""
        try:
            self._judge_sample(row)
        except Exception as error:
            self._rules = []
            self.warnings.append('alerts: not judged while the script ran: %r' % error)

    def _judge_sample(self, row):
        # type: (Sequence[Any]) -> None
        self.samples += 1
        now = {name: row[column] for name, column in LIVE_METRICS.items() if row[column] is not None}
        for name, value in now.items():
            self._greatest[name] = max(value, self._greatest.get(name, value))
        firing = []
        for rule in self._rules:
            if rule.name not in self.fired and self._is_due(rule, now, row[0]):
                firing.append(rule)
        if firing:
            self.fired.update(rule.name for rule in firing)
            values = dict(self._context.values, **self._greatest)
            found = [_Judgement(rule, True, rule.form.condition.explain(
                values if rule.hold is None else dict(values, **now))) for rule in firing]
            try:
                self._in_thread(lambda: self._fire(found, values))
            except RuntimeError:                       # no thread is to be had: rather no samples meanwhile than no message
                self._fire(found, values)

    def _is_due(self, rule, now, elapsed):
        # type: (_Rule, Dict[str, Any], float) -> bool
        condition = rule.form.condition
        if rule.hold is None:
            return _is_certain(condition, dict(self._context.values, **self._greatest))
        value = condition.evaluate(dict(self._context.values, **now))
        state, action, _ = step_alert(self._states.get(rule.name, AlertState()), AlertObservation(value), elapsed,
                                      AlertPolicy(hold=rule.hold, throttle=0.0))
        self._states[rule.name] = state
        return action == 'tell'

    def _fire(self, judgements, values):
        # type: (Sequence[_Judgement], Dict[str, Any]) -> None
        patience = time.monotonic() + 2.0              # the run may not be on record yet
        while (not self.run or self._run_id is not None and self._run_id() is None) and time.monotonic() < patience:
            time.sleep(0.005)
        run = dict(self.run, status='running', execution_id=self._run_id() if self._run_id is not None else None,
                   execution_time_seconds=values.get('execution_time_seconds'))
        context = self._context
        context.run_id = run['execution_id']
        self._manager._process(judgements, context, {'run': run, 'values': values},
                               time.monotonic() + self._manager.notify_timeout, self.alerts, self.warnings, alongside=True)

    def _in_thread(self, work):
        # type: (Callable[[], Any]) -> None
        lock = allocate_lock()
        lock.acquire()

        def run():
            # type: () -> None
            """Thread border."""
            try:
                work()
            except Exception as error:                 # thread border
                self.warnings.append('alerts: %s' % _plain_error(error))
            finally:
                lock.release()
        start_new_thread(run, ())
        self._busy.append(lock)

    def finish(self, deadline):
        # type: (float) -> None
        """Wait for what is being sent, until `deadline` (monotonic)."""
        for lock in self._busy:
            if lock.acquire(True, min(_LONGEST_TELLING, max(0.0, deadline - time.monotonic()))):
                lock.release()


def _is_certain(condition, values):
    # type: (Condition, Dict[str, Any]) -> bool
    """Tell whether a condition is true now and stays so however large the LIVE_METRICS in it become.

    >>> over, between = parse_condition('cpu_max > 5'), parse_condition('cpu_max > 5 AND cpu_max < 90')
    >>> [_is_certain(c, {'cpu_max': 20.0}) for c in (over, between)]
    [True, False]
    """
    if condition.evaluate(values) is not True:
        return False
    names = [name for name in condition.names if name in LIVE_METRICS]
    for mask in range(1, 1 << len(names)):
        grown = {name: float('inf') for number, name in enumerate(names) if mask >> number & 1}
        if condition.evaluate(dict(values, **grown)) is not True:
            return False
    return True


def _plain_error(error):
    # type: (BaseException) -> str
    """Return our own sentence; of any other exception only its kind, since its text may hold anything."""
    return str(error) if isinstance(error, RunnerError) else 'failed with %s' % type(error).__name__


#: What a rule of the settings file may say; the first group is what it judges, of which it has one (condition and consecutive
#: may go together).
RULE_KEYS = ('condition', 'consecutive', 'failure_rate', 'anomaly', 'expect_every',
             'name', 'severity', 'channels', 'throttle_seconds', 'for', 'repeat', 'recovery', 'inhibited_by', 'digest', 'script')

_CHANNEL_FORMS = {'email': EmailConfig, 'slack': SlackConfig, 'webhook': WebhookConfig, 'command': _CommandChannel,
                  'apprise': _AppriseChannel, 'stdout': _StdoutChannel, 'log': _LogChannel}  # type: Dict[str, Any]


class AlertManager(object):
    """Rules over runs, and the channels by which they are told.

        manager = AlertManager()
        manager.configure_slack(os.environ['SLACK_WEBHOOK_URL'])
        manager.add_alert('memory', 'memory_max_mb > 2GiB', ['slack'], severity='ERROR')
        runner = ScriptRunner('job.py')
        runner.alert_manager = manager

    A ScriptRunner with it judges the rules while the script runs and at its end; `check_alerts` judges them over values that
    you have. What was told when is remembered in `history_manager` (a runner sets its own when this is None and it keeps a
    history; without any it is remembered for as long as this object lives). `notify_timeout` is how many seconds telling may
    take; what is not sent by then, the next run sends. `clock` returns seconds since 1970. `channels` maps names to channels:
    an object of yours with `send(message, timeout)`, `describe()` and `secrets()` may be put in. `extra_names` are names of
    metrics of your own, `redact_patterns` patterns of `compile_secret` for messages. Any thread may use one manager once its
    rules are added.
    """

    def __init__(self, history_manager=None, notify_timeout=10.0, clock=time.time, extra_names=()):
        # type: (Optional[HistoryManager], float, Callable[[], float], Iterable[str]) -> None
        self.history_manager = history_manager
        self.notify_timeout = notify_timeout
        self.clock = clock
        self.extra_names = tuple(extra_names)
        self.redact_patterns = []  # type: List[Any]
        self.rules = {}  # type: Dict[str, _Rule]
        self.expected = {}  # type: Dict[str, Dict[str, Any]]
        self.channels = {}  # type: Dict[str, Any]
        self._intelligence = None  # type: Optional[AlertIntelligence]
        self._remembered_in = None  # type: Optional[HistoryManager]
        self._lock = allocate_lock()
        self.warnings = []  # type: List[str]
        self._holder = new_correlation_id()

    @classmethod
    def from_settings(cls, alerts, notifications=None, history_manager=None, notify_timeout=None):
        # type: (Sequence[Dict[str, Any]], Optional[Dict[str, Any]], Optional[HistoryManager], Optional[float]) -> AlertManager
        """Make a manager of what stands under `alerts` and `notifications` in a settings file.

        Raises UsageError, naming the rule or channel: for an unknown key, metric or channel, and a channel without settings.
        """
        manager = cls(history_manager, 10.0 if notify_timeout is None else parse_duration(notify_timeout))
        for name, values in (notifications or {}).items():
            manager._configure_from_settings(name, values)
        for number, record in enumerate(alerts or (), 1):
            manager.add_from_settings(number, record)
        manager.validate()
        return manager

    # -- rules ---------------------------------------------------------------------------------------------

    def add_alert(self, name, condition=None, channels=None, severity=AlertSeverity.WARNING, throttle_seconds=300.0,
                  for_seconds=None, repeat_seconds=None, consecutive=None, failure_rate=None, anomaly=None, inhibited_by=None,
                  recovery=True, digest_seconds=None):
        # type: (str, Any, Optional[Sequence[str]], str, Any, Any, Any, Optional[int], Any, Any, Optional[Sequence[str]], bool, Any) -> None
        """Add a rule that judges one thing:

        - `condition`: a text as `parse_condition` reads it; with `consecutive` it fires when that many runs in a row meet it.
          With `for_seconds` it is judged on the samples only, and must hold that long.
        - `consecutive` alone: so many runs in a row did not succeed.
        - `failure_rate`: {'above': 0.2, 'window': '7d' or 'runs': 20, 'min_runs': 5}: more than that share did not succeed.
        - `anomaly`: {'metric': …, 'direction': 'above' | 'below' | 'both', 'min_runs': 8, 'band': 0.995, 'min_change': 0.1}: a
          good run unlike the script's good runs before it.

        `channels`: names; None means all that are configured. The same is told once in `throttle_seconds`, what goes on again
        after `repeat_seconds`, its end once (`recovery`). While a rule of `inhibited_by` fires this one is suppressed; by
        default a failure suppresses what is about speed and size. With `digest_seconds` what fires is kept and told in one
        message each that long. Times are seconds, or texts such as '5m'. Raises UsageError.
        """
        self._check_name(name)
        try:
            form = self._make_form(condition, consecutive, failure_rate, anomaly)
            hold = None if for_seconds is None else _check_time('for', for_seconds)
            if hold is not None:
                self._check_live(form)
            times = [None if value is None else _check_time(what, value) for what, value in (
                ('repeat', repeat_seconds), ('digest', digest_seconds))]
            policy = AlertPolicy(0.0, _check_time('throttle_seconds', throttle_seconds), times[0], bool(recovery))
            rule = _Rule(name, form, _check_severity(severity), self._check_channels(channels), policy,
                         None if inhibited_by is None else _names(inhibited_by), times[1], hold)
        except UsageError as error:
            raise UsageError('alert %r: %s' % (name, error))
        self.rules[name] = rule

    def _check_name(self, name):
        # type: (Any) -> None
        if not isinstance(name, str) or not name.strip() or name == '*':
            raise UsageError('alert %r: a rule needs a name other than *' % (name,))
        if name in self.rules or name in self.expected:
            raise UsageError('alert %r: there are two of that name; each needs its own' % name)

    def parse_condition(self, text):
        # type: (str) -> Condition
        """Read a condition with the names that this manager knows; raises ConditionError."""
        return parse_condition(text, self.extra_names)

    def _make_form(self, condition, consecutive, failure_rate, anomaly):
        # type: (Any, Any, Any, Any) -> Any
        given = [what for what, value in (('condition', condition), ('failure_rate', failure_rate), ('anomaly', anomaly))
                 if value is not None]
        if len(given) > 1 or (not given and consecutive is None):
            raise UsageError('%s; a rule judges one of condition, consecutive, failure_rate, anomaly' % (
                ' and '.join(given) + ' together' if given else 'nothing to judge'))
        if consecutive is not None and (isinstance(consecutive, bool) or not isinstance(consecutive, int) or consecutive < 1
                                        or given and given != ['condition']):
            raise UsageError('consecutive %r: must be a whole number of at least 1, alone or beside a condition' % (consecutive,))
        if consecutive is not None and consecutive > _PAST_RUNS:
            raise UsageError('consecutive %d: at most %d runs are looked back' % (consecutive, _PAST_RUNS))
        if condition is not None:
            return _make_condition_rule(self.parse_condition(getattr(condition, 'text', condition)), consecutive or 1)
        if failure_rate is not None:
            return _make_failure_rate_rule(failure_rate)
        if anomaly is not None:
            return _make_anomaly_rule(anomaly, self.extra_names)
        return _ConsecutiveRule(consecutive or 1)

    @staticmethod
    def _check_live(form):
        # type: (Any) -> None
        """Raise UsageError unless the rule can be judged on samples."""
        if not isinstance(form, _ConditionRule) or form.consecutive > 1:
            raise UsageError('for: goes with a condition alone')
        late = [name for name in form.condition.names if not _is_live(name)]
        if late or not form.condition.names & set(LIVE_METRICS):
            what = '%s not known while the script runs' % (', '.join(sorted(late)) + (' is' if len(late) == 1 else ' are'))
            raise UsageError('for: %s; these are: %s' % (
                what if late else 'the condition has no metric that changes while the script runs', ', '.join(LIVE_METRICS)))

    def _check_channels(self, channels):
        # type: (Any) -> Optional[List[str]]
        if channels is None:
            return None
        names = _names(channels)
        for name in names:
            if name not in _CHANNEL_FORMS and name not in self.channels:
                known = list(_CHANNEL_FORMS) + list(self.channels)
                raise UsageError('no channel %r%s; valid: %s' % (name, suggest(name, known), ', '.join(_CHANNEL_FORMS)))
        return names

    def validate(self):
        # type: () -> None
        """Raise UsageError when a rule names a channel without settings, or a rule that there is not."""
        for rule in self.rules.values():
            self._configure_plain(rule.channels or ())
            self._check_configured(rule.name, rule.channels)
            for name in rule.inhibited_by or ():
                if name not in self.rules:
                    raise UsageError('alert %r: inhibited_by: no alert %r%s' % (rule.name, name, suggest(name, self.rules)))
        for name, expected in self.expected.items():
            self._check_configured(name, expected['channels'])

    def _configure_plain(self, names):
        # type: (Iterable[str]) -> None
        """Set up those of these channels that need no settings."""
        for name in names:
            if name in ('stdout', 'log') and name not in self.channels:
                self.channels[name] = _CHANNEL_FORMS[name]()

    def _check_configured(self, rule, channels):
        # type: (str, Optional[Sequence[str]]) -> None
        for name in channels or ():
            if name not in self.channels and name not in ('stdout', 'log'):
                raise UsageError('alert %r: channel %r has no settings; give them under notifications: %s' % (rule, name, name))
        if 'apprise' in self._channels_of(rule):
            self.channels['apprise'].check_installed()

    # -- channels ------------------------------------------------------------------------------------------

    def configure_email(self, smtp_server, *arguments, **settings):
        # type: (Any, *Any, **Any) -> EmailConfig
        """Set up mail: an EmailConfig, or what it is made of. Returns it; raises UsageError."""
        return self._configure('email', smtp_server, arguments, settings)

    def configure_slack(self, webhook_url, *arguments, **settings):
        # type: (Any, *Any, **Any) -> SlackConfig
        """Set up Slack: a SlackConfig, or what it is made of. Returns it; raises UsageError."""
        return self._configure('slack', webhook_url, arguments, settings)

    def configure_webhook(self, url, *arguments, **settings):
        # type: (Any, *Any, **Any) -> WebhookConfig
        """Set up a webhook: a WebhookConfig, or what it is made of. Returns it; raises UsageError."""
        return self._configure('webhook', url, arguments, settings)

    def configure_command(self, argv):
        # type: (Sequence[str]) -> None
        """Set up a program, an argument list, that gets each message as JSON on its stdin and says by status 0 that it took it.

        While a script runs nothing else is started: what fires meanwhile reaches the program after the script's end.
        """
        self._configure('command', argv, (), {})

    def configure_apprise(self, urls):
        # type: (Any) -> None
        """Set up the services of the package Apprise, by one or more of its URLs; `validate` looks whether it is installed."""
        self._configure('apprise', urls, (), {})

    def configure_log(self, file=None):
        # type: (Optional[str]) -> None
        """Set up a file of JSON lines; None: the logger 'runner' of the standard library."""
        self._configure('log', file, (), {})

    def _configure(self, name, first, arguments, settings):
        # type: (str, Any, Sequence[Any], Dict[str, Any]) -> Any
        form = _CHANNEL_FORMS[name]
        self.channels[name] = first if isinstance(first, form) else form(first, *arguments, **settings)
        return self.channels[name]

    def _configure_from_settings(self, name, values):
        # type: (str, Any) -> None
        if name not in _CHANNEL_FORMS:
            raise UsageError('notifications: no channel %r%s; valid: %s' % (
                name, suggest(str(name), _CHANNEL_FORMS), ', '.join(_CHANNEL_FORMS)))
        if name in ('command', 'apprise') and not isinstance(values, dict):
            values = {'command': values, 'urls': values}
        values = dict(values or {})
        for text in _all_texts(values):
            if text.startswith('${') and text.endswith('}'):
                raise UsageError('notifications: %s: the variable %s is not set' % (name, text))
        if name == 'command':
            self.configure_command(values.get('command'))  # type: ignore[arg-type]
        elif name == 'apprise':
            self.configure_apprise(values.get('urls'))
        else:
            renamed = {{'from': 'from_address', 'to': 'to_addresses'}.get(key, key): value for key, value in values.items()
                       if value != '' or key not in ('username', 'password')}
            try:
                self.channels[name] = _CHANNEL_FORMS[name](**renamed)
            except TypeError:
                raise UsageError('notifications: %s: %s' % (name, _wrong_keys(_CHANNEL_FORMS[name], renamed)))

    def add_from_settings(self, number, record):
        # type: (int, Dict[str, Any]) -> None
        """Add a rule as it stands in a settings file, the `number`th; raises UsageError."""
        if not isinstance(record, dict) or not record.get('name'):
            raise UsageError('alerts, entry %d: a rule is a mapping with a name' % number)
        values = dict(record)
        name = values.pop('name')
        for key in values:
            if key not in RULE_KEYS:
                raise UsageError('alert %r: %r is not a setting of alerts%s; valid: %s' % (
                    name, key, suggest(str(key), RULE_KEYS), ', '.join(RULE_KEYS)))
        script = values.pop('script', None)
        if 'expect_every' in values:
            every = values.pop('expect_every')
            others = [key for key in values if key not in ('channels', 'severity')]
            if others:
                raise UsageError('alert %r: %s does not go with expect_every' % (name, others[0]))
            self.expect_run(name, every, script, **values)
            return
        if script is not None:
            raise UsageError('alert %r: script goes with expect_every; other rules judge the run that they are given to' % name)
        renamed = {'for': 'for_seconds', 'repeat': 'repeat_seconds', 'digest': 'digest_seconds'}
        if values.get('for') == 0:                     # the default, said aloud
            del values['for']
        if values.get('consecutive') == 1 and 'condition' in values:
            del values['consecutive']
        self.add_alert(name, **{renamed.get(key, key): value for key, value in values.items()})

    def expect_run(self, name, every, script=None, channels=None, severity=AlertSeverity.ERROR):
        # type: (str, Any, Optional[str], Optional[Sequence[str]], str) -> None
        """Declare that a script (None: every script of the history that is asked about) starts at least this often: a duration
        such as '1d', or five fields as in a crontab, in local time. `check_missed` judges it. Raises UsageError."""
        self._check_name(name)
        try:
            is_cron = isinstance(every, str) and len(every.split()) == 5
            every = parse_cron(every) if is_cron else _check_time('expect_every', every)
            if every == 0.0:
                raise UsageError('expect_every 0: must be more than 0 seconds')
            self.expected[name] = {'every': every, 'script': script and _canonical(script), 'severity': _check_severity(severity),
                                   'channels': self._check_channels(channels)}
        except UsageError as error:
            raise UsageError('alert %r: %s' % (name, error))

    # -- judging -------------------------------------------------------------------------------------------

    @property
    def intelligence(self):
        # type: () -> AlertIntelligence
        """What was told to whom, in the history that `history_manager` is now."""
        history = self.history_manager
        with self._lock:
            if self._intelligence is None or self._remembered_in is not history:
                self.close()
                self._remembered_in = history
                if history is not None:                # our own wait for a lock is shorter
                    history = HistoryManager(history.db_path, 2, min(history.timeout, self.notify_timeout / 2.0))
                self._intelligence = AlertIntelligence(history, self.clock)
            return self._intelligence

    def close(self):
        # type: () -> None
        """Close the files that this manager opened; it may be used again."""
        if self._intelligence is not None:
            self._intelligence.store.history.close()

    def check_alerts(self, metrics, script_path=''):
        # type: (Dict[str, Any], str) -> List[Alert]
        """Judge every rule over values by name (or a result of `run_script`), tell whom it concerns, and return the alerts that
        fire and are told: not what was told a moment ago, is silenced or inhibited. Takes at most `notify_timeout` seconds.

        Raises UsageError as `validate`. What cannot be sent or remembered costs nothing but a line in `warnings`.
        """
        self.validate()
        values = _values_of_run(metrics) if isinstance(metrics.get('metrics'), dict) else dict(metrics)
        run = {'script_path': script_path} if script_path else {}
        context = _RunContext(values, script_path, self.history_manager)
        alerts = []  # type: List[Alert]
        self.warnings = []
        self._bounded(lambda deadline: self._process(self._judge(context, self.rules.values()), context,
                                                     {'run': run, 'values': values}, deadline, alerts, self.warnings),
                      self.warnings)
        return [alert for alert in alerts if alert.delivery != 'suppressed' and alert.state == 'firing']

    def live(self):
        # type: () -> _LiveAlerts
        """Return what judges, on the samples of one run, the rules that can be judged there."""
        return _LiveAlerts(self, [rule for rule in self.rules.values() if isinstance(rule.form, _ConditionRule)
                                  and rule.form.consecutive == 1 and rule.form.condition.names & set(LIVE_METRICS)])

    def conclude(self, result, run, live=None):
        # type: (Dict[str, Any], Dict[str, Any], Optional[_LiveAlerts]) -> None
        """Judge a run that ended and tell whom it concerns; fills `alerts` and `warnings` of the result. At most
        `notify_timeout`.

        `run` is what is known of it beside the result: script_path, script_args, hostname, git_commit, git_branch, labels.
        """
        alerts = [] if live is None else live.alerts
        warnings = [] if live is None else live.warnings
        self._bounded(lambda deadline: self._conclude(result, run, live, deadline, alerts, warnings), warnings)
        result['alerts'] = [alert.to_dict() for alert in list(alerts)]
        result['warnings'] += list(warnings)

    def _bounded(self, work, warnings):
        # type: (Callable[[float], Any], List[str]) -> None
        """Do something in a thread, and wait for it no longer than `notify_timeout`."""
        deadline = time.monotonic() + self.notify_timeout
        finished, outcome = _in_threads([lambda: work(deadline - min(0.5, self.notify_timeout / 10.0))], deadline)[0]
        if isinstance(outcome, Exception):
            warnings.append('alerts: %s' % _plain_error(outcome))
        elif not finished:
            warnings.append('alerts: not told within %s; what was not sent is sent by the next run' % format_duration(
                self.notify_timeout))

    def _conclude(self, result, run, live, deadline, alerts, warnings):
        # type: (Dict[str, Any], Dict[str, Any], Optional[_LiveAlerts], float, List[Alert], List[str]) -> None
        fired = set() if live is None else live.fired
        full = dict(run, **{name: result.get(name) for name in (
            'status', 'cause', 'evidence', 'execution_id', 'correlation_id', 'attempt_number')})
        full['metrics'] = result['metrics']
        context = _RunContext(_values_of_run(full), run.get('script_path', ''), self.history_manager, result['correlation_id'],
                              result.get('execution_id'), run)
        mark = (result.get('error_analysis') or {}).get('fingerprint')
        mark = mark or AlertIntelligence.fingerprint(result.get('error_summary'))
        rules = [rule for rule in self.rules.values() if rule.name not in fired and rule.hold is None]
        found = self._judge(context, rules, mark)
        if live is not None and live.samples:          # those that never held long enough
            found += [_Judgement(rule, False, '') for rule in self.rules.values()
                      if rule.hold is not None and rule.name not in fired]
        for name in ('exit_code', 'start_time', 'execution_time_seconds'):
            full[name] = result['metrics'].get(name)
        self._process(found, context, {'run': full, 'values': context.values, 'result': result}, deadline, alerts, warnings)
        if 'command' in self.channels:                 # what was to wait until nothing runs any more
            self.deliver_waiting(deadline, only=('command',), alerts=alerts)
        if live is not None:
            live.finish(min(deadline, time.monotonic() + 3.0) if not live.fired else deadline)

    def _judge(self, context, rules, fingerprint=''):
        # type: (_RunContext, Iterable[_Rule], str) -> List[_Judgement]
        found = []
        for rule in rules:
            value, explanation = rule.form.judge(context)
            if context.problem is not None and not value:          # not enough is known to say that it is not so
                value = None
            found.append(_Judgement(rule, value, explanation, fingerprint if rule.form.kind == 'failure' else ''))
        return found

    # -- telling -------------------------------------------------------------------------------------------

    def notify(self, title, channels=None, severity=AlertSeverity.INFO, state='test'):
        # type: (str, Optional[Sequence[str]], str, str) -> Dict[str, Dict[str, Any]]
        """Send one message of yours now, unthrottled, to channels (None: all that are configured); returns {channel: {'state':
        'sent', 'waiting' or 'failed', 'error'}}. One that waits is not kept: it is yours to send again. Takes at most
        `notify_timeout`. Raises UsageError for a channel that is not configured.
        """
        wanted = list(self.channels) if channels is None else self._check_channels(channels) or []
        self._configure_plain(wanted)
        for name in wanted:
            if name not in self.channels:
                raise UsageError('channel %r: has no settings; give them under notifications: %s' % (name, name))
        alert = Alert(name=title, severity=_check_severity(severity), state='firing', condition='', explanation='', earlier=0)
        message = self._message([alert], {'run': {'hostname': _host_facts()['hostname']}}, new_correlation_id(), state)
        deadline = time.monotonic() + self.notify_timeout
        secrets = self.secrets()

        def sender(channel):
            # type: (Any) -> Callable[[], Any]
            return lambda: _deliver(channel, message, deadline - 0.2, secrets)

        outcomes = _in_threads([sender(self.channels[name]) for name in wanted], deadline)
        late = _Outcome('waiting', 'no answer within %s' % format_duration(self.notify_timeout))
        told = [outcome if isinstance(outcome, _Outcome) else late for _, outcome in outcomes]
        return {name: {'state': outcome.state, 'error': outcome.error} for name, outcome in zip(wanted, told)}

    def secrets(self):
        # type: () -> List[str]
        """Return what must appear in no message and no record, the longest first: one may be a part of another."""
        found = set(secret for channel in self.channels.values() for secret in channel.secrets() if len(secret) >= 4)
        return sorted(found, key=len, reverse=True)

    def _channels_of(self, name):
        # type: (str) -> List[str]
        wanted = self.rules[name].channels if name in self.rules else self.expected[name]['channels']
        return list(self.channels) if wanted is None else [channel for channel in self.channels if channel in wanted]

    def _process(self, judgements, context, known, deadline, alerts, warnings, alongside=False):
        # type: (Sequence[_Judgement], _RunContext, Dict[str, Any], float, List[Alert], List[str], bool) -> None
        """Decide who is told what, write it down, then send. `alongside`: the script still runs, so no program is started."""
        base = self._base_message(judgements, context, known)
        intelligence = self.intelligence
        try:
            if not any(judgement.value or judgement.rule.digest for judgement in judgements) \
                    and not intelligence.store.has_state(context.script_path):
                return
            decided, sending = self._decide(intelligence, judgements, base, context, alongside)
        except HistoryError as error:
            warnings.append('alerts: %s; told without knowing what was told before' % error)
            intelligence = AlertIntelligence(None, self.clock)
            decided, sending = self._decide(intelligence, judgements, base, context, alongside)
        alerts.extend(decided)
        self._send(intelligence.store, sending, deadline, decided, warnings)

    def _decide(self, intelligence, judgements, base, context, alongside):
        # type: (AlertIntelligence, Sequence[_Judgement], Dict[str, Any], _RunContext, bool) -> Tuple[List[Alert], List[Tuple[str, Dict[str, Any]]]]
        with intelligence.store.writing() as connection:
            decided = intelligence.decide(connection, judgements, context.script_path)
            return decided, self._enqueue(connection, intelligence, decided, base, context, alongside)

    def _enqueue(self, connection, intelligence, decided, base, context, alongside):
        # type: (Any, AlertIntelligence, Sequence[Alert], Dict[str, Any], _RunContext, bool) -> List[Tuple[str, Dict[str, Any]]]
        """Write down alerts and the messages that tell of them, one for each channel; return those to be sent by us."""
        store, now, message_id = intelligence.store, self.clock(), new_correlation_id()
        told = [alert for alert in decided if alert.delivery == 'told']
        for alert in told:
            alert.channels = dict.fromkeys(self._channels_of(alert.name), 'waiting')
        for alert in decided:                          # what a label says may be a secret
            alert.condition, alert.explanation = _hide([alert.condition, alert.explanation], self.secrets(), self.redact_patterns)
        for alert in decided:
            store.add_alert(connection, alert, context.run_id, context.script_path, now, message_id if alert.channels else None)
        messages = [(name, self._message([alert for alert in told if name in alert.channels], base, message_id))
                    for name in self.channels if any(name in alert.channels for alert in told)]
        messages += self._digests(connection, intelligence, now, message_id)
        sending = []
        for name, message in messages:
            deferred = alongside and name == 'command'
            store.add_notification(connection, name, message, now, self._holder, 0.0 if deferred else self._lease())
            sending += [] if deferred else [(name, message)]
        return sending

    def _lease(self):
        # type: () -> float
        return self.notify_timeout + _LEASE_SECONDS

    def _digests(self, connection, intelligence, now, message_id):
        # type: (Any, AlertIntelligence, float, str) -> List[Tuple[str, Dict[str, Any]]]
        """Return the digests that are due, as (channel, message)."""
        found = []
        for rule in self.rules.values():
            if rule.digest is None:
                continue
            rows = intelligence.store.take_digest(connection, [rule.name], now - rule.digest)
            if rows:
                entries = [Alert(**entry) for entry in intelligence.digest(rows)]
                for name in self._channels_of(rule.name):
                    found.append((name, self._message(entries, {'run': {'hostname': _host_facts()['hostname']}},
                                                      new_correlation_id(), 'digest')))
        return found

    def _send(self, store, sending, deadline, decided, warnings, tries=None):
        # type: (_AlertStore, Sequence[Tuple[str, Dict[str, Any]]], float, Sequence[Alert], List[str], Optional[int]) -> None
        """Send messages that we hold the lease of, each channel in a thread of its own, and write down what became of them."""
        secrets = self.secrets()

        def sender(name):
            # type: (str) -> Callable[[], Any]
            messages = [message for channel, message in sending if channel == name]
            return lambda: self._send_by(name, messages, store, deadline, secrets, decided, warnings, tries)

        names = sorted(set(name for name, _ in sending))
        for name, (finished, outcome) in zip(names, _in_threads([sender(name) for name in names], deadline)):
            if isinstance(outcome, Exception):
                warnings.append('alerts: %s: %s' % (name, _plain_error(outcome)))
            elif not finished:
                warnings.append('alerts: %s: no answer in time; the next run sends it' % name)

    def _send_by(self, name, messages, store, deadline, secrets, decided, warnings, tries):
        # type: (str, Sequence[Dict[str, Any]], _AlertStore, float, Sequence[str], Sequence[Alert], List[str], Optional[int]) -> None
        """Send messages by one channel; after one that is not taken the others wait."""
        stuck = None  # type: Optional[_Outcome]
        for message in messages:
            outcome = stuck or _deliver(self.channels[name], message, deadline, secrets, tries)
            if outcome.state == 'waiting':
                stuck = outcome
            for alert in decided:
                if alert.channels and name in alert.channels:
                    alert.channels[name] = outcome.state
            self._note_outcome(store, name, message['id'], outcome, deadline)
            if outcome.state != 'sent':
                kept = outcome.state == 'waiting' and store.history.db_path != ':memory:'
                warnings.append('alerts: %s: %s%s' % (name, outcome.error, '; the next run sends it' if kept else '; not sent'))

    def _note_outcome(self, store, name, message_id, outcome, deadline):
        # type: (_AlertStore, str, str, _Outcome, float) -> None
        """Write down what became of a message, as long as there is time: one that is sent and not marked is sent again."""
        while True:
            try:
                store.note_outcome(name, message_id, self._holder, outcome, self.clock())
                return
            except HistoryError:
                if time.monotonic() >= deadline:
                    raise

    def deliver_waiting(self, deadline=None, only=None, failed=False, alongside=False, alerts=()):
        # type: (Optional[float], Optional[Sequence[str]], bool, bool, Sequence[Alert]) -> Dict[str, int]
        """Send what earlier runs could not, by the channels that are configured (or `only` those); returns how many were
        'sent', and how many are still 'waiting'. What another process is sending is left to it. `failed`: also what was refused
        for good. `alongside`: a script runs, so no program is started, and each message is tried once.
        """
        store = self.intelligence.store
        if deadline is None:
            deadline = time.monotonic() + self.notify_timeout
        names = [name for name in self.channels if (only is None or name in only) and not (alongside and name == 'command')]
        claimed = store.claim(names, self.clock(), self._holder, self._lease(), failed) if names else []
        warnings = []  # type: List[str]
        self._send(store, claimed, deadline, alerts, warnings, 1 if alongside else None)
        return {'sent': len(claimed) - len(warnings), 'waiting': len(warnings)}

    def _base_message(self, judgements, context, known):
        # type: (Sequence[_Judgement], _RunContext, Dict[str, Any]) -> Dict[str, Any]
        """Return what the message says of the run, whatever fires; secrets of its arguments are taken out of its output.
        Nothing is looked up when nothing fires."""
        run, result = dict(known['run']), known.get('result') or {}
        secrets = secret_values(run.get('script_args') or ())
        run['script_args'] = redact_arguments(run.get('script_args') or (), self.redact_patterns)
        run = {name: run[name] for name in _MESSAGE_RUN if run.get(name) is not None}
        base = {'run': run, 'secrets': secrets}  # type: Dict[str, Any]
        if any(judgement.value for judgement in judgements):
            names = [name for judgement in judgements if judgement.value for name in judgement.rule.form.metrics]
            base['history'] = [self._past_of(name, known['values'].get(name), context) for name in sorted(set(names))
                               if known['values'].get(name) is not None]
            if result.get('status') != 'success' and result:
                base['error'] = _error_of(result)
            base['output_tail'] = _last_lines(result.get('stderr'), secrets) or _last_lines(result.get('stdout'), secrets)
        return base

    @staticmethod
    def _past_of(name, value, context):
        # type: (str, Any, _RunContext) -> Dict[str, Any]
        good = context.good(name)[:1]
        series = [run['metrics'].get(name) for run in reversed(context.past()[:_HISTORY_RUNS])] + [value]
        series = [number for number in series if isinstance(number, (int, float)) and number == number]
        return {'metric': name, 'value': value, 'last_good': good[0][1] if good else None,
                'last_good_run': good[0][0] if good else None, 'values': series,
                'sparkline': sparkline(series) if len(series) > 1 else ''}

    def _message(self, alerts, base, message_id, state=None):
        # type: (Sequence[Alert], Dict[str, Any], str, Optional[str]) -> Dict[str, Any]
        """Return the message of some alerts; WebhookConfig documents its fields."""
        fields = ('name', 'severity', 'state', 'condition', 'explanation', 'earlier')
        firing = [alert for alert in alerts if alert.state == 'firing']
        worst = max(firing or alerts, key=lambda alert: AlertSeverity.ALL.index(alert.severity))
        message = {
            'version': 1, 'id': message_id, 'time': format_time(self.clock()), 'severity': worst.severity,
            'state': state or ('firing' if firing else 'resolved'), 'run': base['run'], 'error': base.get('error'),
            'alerts': [{name: getattr(alert, name) for name in fields} for alert in alerts],
            'history': base.get('history', []), 'output_tail': base.get('output_tail', [])}
        message['title'] = _message_title(message)
        return _hide(message, self.secrets() + list(base.get('secrets', ())), self.redact_patterns)

    # -- runs that did not happen --------------------------------------------------------------------------

    def check_missed(self, scripts=None, tell=False):
        # type: (Optional[Sequence[str]], bool) -> List[Dict[str, Any]]
        """Judge for each script of the history (or those given) whether it should have started by now.

        Returns dicts: script_path, rule (None where the schedule is learned), last_start (ISO text or None), every (in words),
        overdue (True, False, None for unknown) and overdue_seconds. The schedule is one that `expect_run` declared, else learned:
        see `learn_schedule`. With `tell`, what is overdue is told by the channels of its rule, once, and again when it is
        resolved. Raises HistoryError, and with `tell` UsageError as `validate`.
        """
        if tell:
            self.validate()
            self._configure_plain(name for rule in self.expected.values() for name in rule['channels'] or ())
        history, now = self.history_manager or HistoryManager(), self.clock()
        declared = [(name, rule) for name, rule in self.expected.items()]
        known = list(scripts) if scripts is not None else history.get_scripts()
        known += [rule['script'] for _, rule in declared if rule['script'] and scripts is None and rule['script'] not in known]
        verdicts = []
        for path in known:
            rules = [(name, rule['every']) for name, rule in declared if rule['script'] in (None, path)]
            starts = _start_times(history, path)
            verdicts += [dict(judge_schedule(starts, every, now), script_path=path, rule=name) for name, every in rules]
            verdicts += [] if rules else [dict(judge_schedule(starts, None, now), script_path=path, rule=None)]
        if tell:
            self._tell_missed(verdicts)
        return verdicts

    def _tell_missed(self, verdicts):
        # type: (Sequence[Dict[str, Any]]) -> None
        self.warnings = []
        for verdict in verdicts:
            if verdict['rule'] is None:
                continue
            declared = self.expected[verdict['rule']]
            form = _ScheduleRule(verdict)
            rule = _Rule(verdict['rule'], form, declared['severity'], declared['channels'], AlertPolicy(0.0, 86400.0), ())
            context = _RunContext({}, verdict['script_path'])
            self._process([_Judgement(rule, verdict['overdue'], form.explanation)], context,
                          {'run': {'script_path': verdict['script_path'], 'hostname': _host_facts()['hostname']}, 'values': {}},
                          time.monotonic() + self.notify_timeout, [], self.warnings)


class _ScheduleRule(object):
    """A script that should have started by now; judged by `judge_schedule`."""
    kind = 'failure'
    metrics = ()  # type: Sequence[str]

    def __init__(self, verdict):
        # type: (Dict[str, Any]) -> None
        self.text = 'expected every %s' % verdict['every']
        self.explanation = 'last start %s' % (verdict['last_start'] or 'unknown')
        if verdict['overdue_seconds'] is not None:
            self.explanation += ', overdue by %s' % format_duration(verdict['overdue_seconds'])


def _names(given):
    # type: (Any) -> List[str]
    """Return a list of names; one text is one name."""
    return [given] if isinstance(given, str) else [str(name) for name in given]


def _check_time(what, value):
    # type: (str, Any) -> float
    try:
        seconds = parse_duration(value)
    except UsageError as error:
        raise UsageError('%s: %s' % (what, error))
    if not 0 <= seconds < float('inf'):
        raise UsageError('%s %r: must be at least 0 seconds' % (what, value))
    return seconds


def _is_live(name):
    # type: (str) -> bool
    """Tell whether a name of a condition is known while the script runs."""
    return name in LIVE_METRICS or name.startswith(('label.', 'baseline.', 'previous.')) or name in (
        'script_path', 'hostname', 'git_branch', 'git_commit', 'attempt_number', 'start_time')


def _make_condition_rule(condition, consecutive):
    # type: (Condition, int) -> _ConditionRule
    if consecutive > 1 and any(name.startswith('previous.') for name in condition.names):
        raise UsageError('consecutive: does not go with previous., which is another run for each of them')
    return _ConditionRule(condition, consecutive)


def _take_keys(what, given, defaults):
    # type: (str, Any, Dict[str, Any]) -> Dict[str, Any]
    """Return a mapping with its defaults filled in; raises UsageError for another key."""
    if not isinstance(given, dict):
        raise UsageError('%s: must be a mapping of %s' % (what, ', '.join(defaults)))
    for key in given:
        if key not in defaults:
            raise UsageError('%s: %r is not one of its settings%s; valid: %s' % (
                what, key, suggest(str(key), defaults), ', '.join(defaults)))
    return dict(defaults, **given)


def _check_share(what, value):
    # type: (str, Any) -> float
    """Read a share: 0.2 or '20%'."""
    try:
        share = float(value[:-1]) / 100.0 if isinstance(value, str) and value.endswith('%') else float(value)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 <= share < 1:
        raise UsageError('%s %r: must be a share of less than 1, such as 0.2 or 20%%' % (what, value))
    return share


def _check_whole(what, value, least):
    # type: (str, Any, int) -> int
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError('%s %r: must be a whole number of at least %d' % (what, value, least))
    return value


def _make_failure_rate_rule(given):
    # type: (Any) -> _FailureRateRule
    values = _take_keys('failure_rate', given, {'above': None, 'runs': None, 'window': None, 'min_runs': 5})
    if values['above'] is None or (values['runs'] is None) == (values['window'] is None):
        raise UsageError('failure_rate: needs above, and one of runs and window')
    window = None if values['window'] is None else _check_time('window', values['window'])
    runs = None if values['runs'] is None else _check_whole('runs', values['runs'], 1)
    least = _check_whole('min_runs', values['min_runs'], 1)
    return _FailureRateRule(_check_share('above', values['above']), runs, window, min(least, runs or least))


def _make_anomaly_rule(given, extra_names):
    # type: (Any, Sequence[str]) -> _AnomalyRule
    values = _take_keys('anomaly', {'metric': given} if isinstance(given, str) else given, {
        'metric': None, 'direction': 'both', 'min_runs': 8, 'band': 0.995, 'min_change': 0.1})
    metric = values['metric']
    if metric not in extra_names and (metric not in METRICS or METRICS[metric].unit in ('UTC', 'bool', '')):
        raise UsageError('anomaly: no metric %r to compare%s (python -m runner metrics lists them)' % (
            metric, suggest(str(metric), METRICS)))
    if values['direction'] not in ('above', 'below', 'both'):
        raise UsageError('anomaly: direction %r: must be above, below or both' % (values['direction'],))
    return _AnomalyRule(metric, values['direction'], _check_whole('min_runs', values['min_runs'], 2),
                        _check_share('band', values['band']), _check_share('min_change', values['min_change']))


def _all_texts(value):
    # type: (Any) -> List[str]
    """Return the texts in nested dicts and lists."""
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [text for item in items for text in _all_texts(item)]


def _wrong_keys(form, given):
    # type: (Any, Dict[str, Any]) -> str
    """Say which settings of a channel are wrong; its constructor is where they are listed."""
    code = form.__init__.__code__
    known = code.co_varnames[1:code.co_argcount]
    shown = [{'from_address': 'from', 'to_addresses': 'to'}.get(name, name) for name in known]
    wrong = [key for key in given if key not in known]
    if wrong:
        return '%r is not one of its settings%s; valid: %s' % (wrong[0], suggest(str(wrong[0]), shown), ', '.join(shown))
    return '%s is missing' % shown[0]


def _error_of(result):
    # type: (Dict[str, Any]) -> Dict[str, Any]
    """Return what a message says of an error: the summary, and what LogAnalyzer found out, None where it found nothing."""
    analysis = result.get('error_analysis') or {}
    exception = analysis.get('exception') or {}
    root = exception.get('root_cause') or {}
    where = '%s:%s' % (exception['file'], exception['line']) if exception.get('file') and exception.get('line') else None
    if where and exception.get('function'):
        where += ' in ' + exception['function']
    cause = ': '.join(str(part) for part in (root.get('type'), root.get('message')) if part) or None
    return {'summary': result.get('error_summary'), 'kind': analysis.get('kind'), 'fingerprint': analysis.get('fingerprint'),
            'frame': where, 'root_cause': cause if cause != result.get('error_summary') else None,
            'advice': analysis.get('advice')}


def _last_lines(text, secrets):
    # type: (Optional[str], Sequence[str]) -> List[str]
    """Return the last lines of an output as a message may show them: no secrets, no control characters."""
    lines = strip_escapes(_stored_text((text or '')[-4 * _TAIL_BYTES:], secrets)).splitlines()
    lines = [''.join(c for c in line if c >= ' ' or c == '\t')[:500] for line in lines if line.strip()]
    return lines[-_TAIL_LINES:]


# -- schedules ----------------------------------------------------------------------------------------------------

def _start_times(history, script_path, limit=50):
    # type: (HistoryManager, str, int) -> List[float]
    """Return when the last runs of a script started, oldest first, in seconds since 1970; retries are no runs of their own."""
    rows = history._read('SELECT min(start_time) FROM run WHERE script_id = (SELECT id FROM script WHERE path = ?) '
                         'GROUP BY correlation ORDER BY 1 DESC LIMIT ?', (_canonical(script_path), limit))
    return [row[0] / 1e6 for row in reversed(rows)]


def learn_schedule(starts):
    # type: (Sequence[float]) -> Optional[float]
    """Return how many seconds after its last start a script is overdue, learned from start times (oldest first); None: no
    schedule.

    It takes four gaps of a minute or more, and half of them within a quarter of the median, else nobody can say. The limit is
    one and a half median gaps, and a tenth more than the longest seen, so that a weekend is no alarm once one was seen.

    >>> learn_schedule([0, 3600, 7200, 10800, 14400]), learn_schedule([0, 10, 3600, 3700, 90000])
    (5400.0, None)
    """
    gaps = sorted(b - a for a, b in zip(starts, starts[1:]))
    if len(gaps) < 4:
        return None
    median = _median(gaps)
    near = sum(abs(gap - median) <= 0.25 * median for gap in gaps)
    return max(1.5 * median, 1.1 * gaps[-1]) if median >= 60.0 and near * 2 >= len(gaps) else None


def judge_schedule(starts, every, now):
    # type: (Sequence[float], Any, float) -> Dict[str, Any]
    """Judge start times (oldest first) at `now`: `every` is seconds, a schedule from `parse_cron`, or None to learn it.

    Returns every (in words), last_start (ISO text or None), overdue (None for unknown) and overdue_seconds. For a crontab the
    run that was due last is overdue a minute after; a declared script that never started is overdue.

    >>> verdict = judge_schedule([0.0], 3600.0, 5000.0)
    >>> verdict['overdue'], verdict['overdue_seconds'], verdict['every']
    (True, 1400.0, '1h 0m')
    """
    last = starts[-1] if starts else None
    verdict = {'last_start': None if last is None else format_time(last), 'overdue': None, 'overdue_seconds': None,
               'every': 'unknown'}  # type: Dict[str, Any]
    if isinstance(every, CronSchedule):
        verdict['every'] = every.text
        due = every.last_before(now - 60.0)
        limit = None if due is None else due
        late = limit is not None and (last is None or last < limit - 60.0)
    else:
        allowed = learn_schedule(starts) if every is None else every
        if allowed is None:
            return verdict
        verdict['every'] = format_duration(allowed) + (' at most (learned)' if every is None else '')
        limit = None if last is None else last + allowed
        late = limit is None or now > limit
    verdict['overdue'] = late
    if late and limit is not None:
        verdict['overdue_seconds'] = now - limit
    return verdict


class CronSchedule(object):
    """Minutes of local time as five crontab fields choose them, made by `parse_cron`; `text` is what was written."""
    __slots__ = ('text', '_fields', '_any_day')

    def __init__(self, text, fields, any_day):
        # type: (str, Sequence[frozenset], bool) -> None
        self.text = text
        self._fields = fields
        self._any_day = any_day

    def last_before(self, moment):
        # type: (float) -> Optional[float]
        """Return the latest chosen minute up to `moment` (seconds since 1970), None without any in four years and a day."""
        minutes, hours = self._fields[:2]
        day = time.localtime(moment)
        for back in range(4 * 366):
            noon = time.localtime(time.mktime((day.tm_year, day.tm_mon, day.tm_mday - back, 12, 0, 0, 0, 0, -1)))
            if not self._has_day(noon):
                continue
            for hour in sorted(hours, reverse=True):
                for minute in sorted(minutes, reverse=True):
                    when = time.mktime((noon.tm_year, noon.tm_mon, noon.tm_mday, hour, minute, 0, 0, 0, -1))
                    if when <= moment:
                        return when
        return None

    def _has_day(self, day):
        # type: (Any) -> bool
        """As cron does: when both the day of the month and that of the week are given, either will do."""
        by_month, by_week = day.tm_mday in self._fields[2], (day.tm_wday + 1) % 7 in self._fields[4]
        return day.tm_mon in self._fields[3] and (by_month and by_week if self._any_day else by_month or by_week)


_CRON_FIELDS = (('minute', 0, 59, ()), ('hour', 0, 23, ()), ('day', 1, 31, ()),
                ('month', 1, 12, ('', 'jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec')),
                ('weekday', 0, 7, ('sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat')))  # type: Any


def parse_cron(text):
    # type: (str) -> CronSchedule
    """Read the five fields of a crontab(5) line: minute hour day month weekday, with * lists ranges steps and names. Raises
    UsageError.

    >>> time.localtime(parse_cron('30 2 * * mon-fri').last_before(1700000000.0))[3:5]
    (2, 30)
    """
    words = text.split()
    if len(words) != 5:
        raise UsageError('%r: not a schedule; write five fields such as 30 2 * * 1-5' % text)
    fields = []
    for word, (what, least, most, names) in zip(words, _CRON_FIELDS):
        chosen = set()  # type: set
        for part in word.lower().split(','):
            span, _, step = part.partition('/')
            low, dash, high = (str(least), '-', str(most)) if span == '*' else span.partition('-')
            ends = [names.index(end) if end in names and end else int(end) if end.isdecimal() else -1
                    for end in (low, high if dash else str(most) if step else low)]
            if not least <= ends[0] <= ends[1] <= most or (step and (not step.isdecimal() or int(step) < 1)):
                raise UsageError('%r: %r is no %s; valid: %d to %d' % (text, part, what, least, most))
            chosen.update(range(ends[0], ends[1] + 1, int(step or 1)))
        fields.append(frozenset(number % 7 for number in chosen) if what == 'weekday' else frozenset(chosen))
    return CronSchedule(text, fields, words[2].startswith('*') or words[4].startswith('*'))


# ======================================================================================================
# 12. Settings
# ======================================================================================================

_SETTINGS_BYTES = 1048576              # more than any settings file; /dev/zero as a settings file must not hang us

_CHANNELS = ('email', 'slack', 'webhook', 'stdout', 'log', 'command', 'apprise')
_SEVERITIES = ('INFO', 'WARNING', 'ERROR', 'CRITICAL')


class Setting(object):
    """One key of the settings file: its form (what may stand there), its meaning, and what holds when it is not given.

    `default` and `example` are written as in the file. `option` names the option of a run that the value stands in for,
    `convert` turns it into that option's value. A `secret` value is never shown; `shown` is False for what the example
    mentions without switching it on.
    """
    __slots__ = ('name', 'form', 'meaning', 'default', 'example', 'option', 'convert', 'required', 'secret', 'shown')

    def __init__(self, name, form, meaning, default=None, example=None, option=None, convert=None, required=False,
                 secret=False, shown=True):
        # type: (str, Any, str, Optional[str], Any, Optional[str], Optional[Callable[[Any], Any]], bool, bool, bool) -> None
        self.name = name
        self.form = form
        self.meaning = meaning
        self.default = default
        self.example = example
        self.option = option
        self.convert = convert
        self.required = required
        self.secret = secret
        self.shown = shown


class _Form(object):
    """What may stand at a key. `read` returns the value or tells the reader what is wrong; `schema` is JSON Schema of it."""
    what = ''

    def read(self, node, reader, where):
        # type: (Any, _SettingsReader, _Where) -> Any
        """Return the value of a YAML node, None after telling the reader of a problem."""
        raise NotImplementedError

    def schema(self):
        # type: () -> Dict[str, Any]
        """Return JSON Schema (draft 7) for what is valid here."""
        raise NotImplementedError

    def kind_of(self, node, where):
        # type: (Any, _Where) -> str
        """Say what stands there instead; not the value itself where it may be a secret."""
        if node.id != 'scalar':
            return {'mapping': 'a mapping of keys', 'sequence': 'a list'}[node.id]
        kind = _YAML_KINDS.get(node.tag, 'value')
        if where.is_secret and node.value:
            return 'a ' + kind
        return 'the %s %s' % (kind, redact(node.value)[:60]) if node.value else 'nothing'


#: YAML 1.1's types of a plain scalar, in our words.
_YAML_KINDS = {'tag:yaml.org,2002:str': 'text', 'tag:yaml.org,2002:int': 'number', 'tag:yaml.org,2002:float': 'number',
               'tag:yaml.org,2002:bool': 'boolean', 'tag:yaml.org,2002:null': 'value', 'tag:yaml.org,2002:timestamp': 'date'}


class _Scalar(_Form):
    """A single value. `kinds` are the YAML types that may stand there; `convert` gets a text, number or boolean of such a
    type and returns the value, or raises UsageError with a sentence about it.
    """

    def __init__(self, what, kinds, convert, schema):
        # type: (str, Sequence[str], Callable[[Any], Any], Dict[str, Any]) -> None
        self.what = what
        self.kinds = kinds
        self._convert = convert
        self._schema = schema

    def read(self, node, reader, where):
        # type: (Any, _SettingsReader, _Where) -> Any
        if node.id != 'scalar':
            return reader.tell(node, where, '%s where %s is due' % (self.kind_of(node, where), self.what))
        text = node.value
        if '${' in text:
            try:
                text = reader.expand(text)
            except UsageError as error:
                return reader.tell(node, where, str(error))
        try:
            return self._convert(self._typed(text, node))
        except UsageError as error:
            sentence = str(error).strip()
            if where.is_secret and text:
                sentence = sentence.replace(repr(text), 'the value').replace(text, '…')
            if where.is_secret:
                sentence = sentence.replace(node.tag, 'this')
            return reader.tell(node, where, redact(sentence))

    def schema(self):
        # type: () -> Dict[str, Any]
        if self._schema.get('type') == 'string' and 'enum' not in self._schema:
            return self._schema
        return {'anyOf': [self._schema, {'type': 'string', 'pattern': r'\$\{'}]}

    def _typed(self, text, node):
        # type: (str, Any) -> Any
        """Return the text, number or boolean that stands there, variables filled in. Raises UsageError."""
        kind = _YAML_KINDS.get(node.tag)
        if kind is None:
            raise UsageError('tags such as %s are not read; write a plain value' % node.tag)
        if '${' in node.value:
            kind = 'text' if 'text' in self.kinds else self.kinds[0]
        else:
            _refuse_traps(node, kind, self.kinds == ('text',))
        if kind == 'text' and self.kinds == ('number',) and node.style is None:
            kind = 'number'                                 # YAML 1.1 takes 1e3 for a text
        if kind == 'number' and 'text' in self.kinds and ('number' in self.kinds or text.lstrip('-').isdecimal()):
            return text
        if kind not in self.kinds:
            raise UsageError('%s is a %s where %s is due%s' % (
                repr(text) if kind == 'text' else text, kind, self.what,
                "; write '%s' in quotes" % text if self.kinds == ('text',) else ''))
        return self._number(text) if kind == 'number' else self._boolean(text) if kind == 'boolean' else text

    def _number(self, text):
        # type: (str) -> Any
        try:
            value = float(text)
        except ValueError:
            raise UsageError('%r is not %s' % (text, self.what))
        return int(text) if text.lstrip('+-').isdecimal() else value

    def _boolean(self, text):
        # type: (str) -> bool
        if text.lower() not in ('true', 'false'):
            raise UsageError('%r is not true or false' % text)
        return text.lower() == 'true'


def _refuse_traps(node, kind, wants_text):
    # type: (Any, str, bool) -> None
    """Raise UsageError for a plain scalar that YAML 1.1 reads as something that few people mean."""
    text = node.value
    if node.style is not None:
        return
    quoted = "'%s' in quotes" % text
    if kind == 'value':
        raise UsageError('no value; give one, or leave the key out')
    if kind == 'date':
        raise UsageError('YAML reads %s as a date; write %s' % (text, quoted))
    if kind == 'boolean' and text.lower() not in ('true', 'false'):
        means = 'true' if text.lower() in ('yes', 'on') else 'false'
        raise UsageError('YAML reads %s as the boolean %s; write %s' % (text, means, quoted if wants_text else means))
    if kind != 'number':
        return
    import yaml
    plain = text.lstrip('+-')
    if plain.lower() in ('.inf', '.nan'):
        raise UsageError('%s: not a number that anything can be compared with' % text)
    if '_' in text or ':' in text or (len(plain) > 1 and plain[0] == '0' and plain[1] not in '.eE'):
        is_int = node.tag.endswith('int')
        try:
            constructor = yaml.constructor.SafeConstructor()
            value = constructor.construct_yaml_int(node) if is_int else constructor.construct_yaml_float(node)
        except ValueError:                                # 09 begins like an octal number
            raise UsageError('%s: not a number; write it without leading zeros' % text)
        raise UsageError('YAML reads %s as the number %s; write %s, or %s if it is a text' % (text, value, value, quoted))


class _Group(_Form):
    """A mapping with fixed keys. `check` gets the values and raises UsageError when they do not go together."""
    what = 'a mapping of keys'

    def __init__(self, settings, check=None, schema=None):
        # type: (Sequence[Setting], Optional[Callable[[Dict[str, Any]], Any]], Optional[Dict[str, Any]]) -> None
        self.settings = settings
        self._by_name = {setting.name: setting for setting in settings}
        self._check = check
        self._more_schema = schema or {}

    def read(self, node, reader, where):
        # type: (Any, _SettingsReader, _Where) -> Any
        if node.id != 'mapping':
            return reader.tell(node, where, '%s where keys are due; valid: %s' % (
                self.kind_of(node, where), ', '.join(self._by_name)))
        values, sound = {}, True  # type: Dict[str, Any], bool
        for key, child in reader.pairs(node, where):
            setting = self._by_name.get(key.value)
            if setting is None:
                sound = False
                reader.tell(key, None, '%r is not a setting of %s%s' % (key.value, where.owner, self._hint(key.value, reader)))
                continue
            before = len(reader.problems)
            value = setting.form.read(child, reader, where.at(setting.name, setting.secret))
            sound = sound and len(reader.problems) == before
            if len(reader.problems) == before:
                values[setting.name] = value
                reader.lines[where.path + (setting.name,)] = key.start_mark.line + 1
        missing = [setting.name for setting in self.settings if setting.required and setting.name not in values]
        if sound and missing:
            return reader.tell(node, where, '%r is missing' % missing[0])
        if sound and self._check is not None:
            try:
                self._check(values)
            except UsageError as error:
                return reader.tell(node, where, redact(str(error)))
        return values

    def _hint(self, name, reader):
        # type: (str, _SettingsReader) -> str
        """Return where else the name is valid, or which one is near, and what is valid here."""
        if name == '<<':
            return ': merge keys are not read; write the keys out'
        near = suggest(name, self._by_name)
        homes = [] if near else reader.homes_of(name)
        if homes:
            return '; it belongs %s' % ' or '.join(homes)
        return '%s valid: %s' % (near or ';', ', '.join(self._by_name))

    def schema(self):
        # type: () -> Dict[str, Any]
        properties = {}
        for setting in self.settings:
            meaning = setting.meaning + ('' if setting.default is None else ' (default: %s)' % setting.default)
            properties[setting.name] = dict(setting.form.schema(), description=meaning)
        result = {'type': 'object', 'additionalProperties': False, 'properties': properties}  # type: Dict[str, Any]
        required = [setting.name for setting in self.settings if setting.required]
        if required:
            result['required'] = required
        result.update(self._more_schema)
        return result


class _Entries(_Form):
    """A list of one form; `or_one` lets a single value stand for a list of one."""

    def __init__(self, form, or_one=False):
        # type: (_Form, bool) -> None
        self.form = form
        self.what = 'a list'
        self._or_one = or_one

    def read(self, node, reader, where):
        # type: (Any, _SettingsReader, _Where) -> Any
        if node.id == 'sequence':
            return [self.form.read(child, reader, where.entry(number)) for number, child in enumerate(node.value, 1)]
        if self._or_one and node.id == 'scalar':
            value = self.form.read(node, reader, where)
            return None if value is None else [value]
        return reader.tell(node, where, "%s where a list is due; begin each entry with '- '" % self.kind_of(node, where))

    def schema(self):
        # type: () -> Dict[str, Any]
        entries = {'type': 'array', 'items': self.form.schema()}
        return {'anyOf': [self.form.schema(), entries]} if self._or_one else entries


class _Names(_Form):
    """A mapping of names that the user chooses to values of one form."""
    what = 'a mapping of names to values'

    def __init__(self, form, pattern):
        # type: (_Form, str) -> None
        self.form = form
        self._pattern = pattern

    def read(self, node, reader, where):
        # type: (Any, _SettingsReader, _Where) -> Any
        import re
        if node.id != 'mapping':
            return reader.tell(node, where, '%s where NAME: value is due' % self.kind_of(node, where))
        values = {}
        for key, child in reader.pairs(node, where):
            if not re.match(self._pattern + r'\Z', key.value):
                reader.tell(key, where, '%r: not a name that can stand here' % key.value)
                continue
            values[key.value] = self.form.read(child, reader, where.at(key.value, where.is_secret))
        return values

    def schema(self):
        # type: () -> Dict[str, Any]
        scalar = {'type': ['string', 'integer']} if self.form is _forms()['text'] else self.form.schema()
        return {'type': 'object', 'patternProperties': {'^%s$' % self._pattern: scalar}, 'additionalProperties': False}


class _Where(object):
    """The place of a value in the file, in words: 'alerts, entry 2, condition'."""
    __slots__ = ('path', 'is_secret')

    def __init__(self, path=(), secret=False):
        # type: (Tuple[Any, ...], bool) -> None
        self.path = path
        self.is_secret = secret

    def at(self, name, secret):
        # type: (str, bool) -> _Where
        """Return the place of a key of this mapping."""
        return _Where(self.path + (name,), secret)

    def entry(self, number):
        # type: (int) -> _Where
        """Return the place of an entry of this list; they count from 1."""
        return _Where(self.path + (number,), self.is_secret)

    @property
    def owner(self):
        # type: () -> str
        """The mapping that a key belongs to, as the user calls it."""
        names = [part for part in self.path if not isinstance(part, int)]
        return '.'.join(names) if names else 'this file'

    def __str__(self):
        # type: () -> str
        words = ''
        for part in self.path:
            if isinstance(part, int):
                words += ', entry %d' % part
            else:
                words += ('' if not words else '.' if words[-1].isalpha() else ', ') + part
        return words


class _SettingsReader(object):
    """Reads one file against a form and collects what is wrong with it, so that all of it is told at once."""

    def __init__(self, name, environment):
        # type: (str, Mapping[str, str]) -> None
        self.name = name
        self.environment = environment
        self.problems = []  # type: List[Tuple[int, str]]
        self.lines = {}  # type: Dict[Tuple[Any, ...], int]

    def tell(self, node, where, sentence):
        # type: (Any, Optional[_Where], str) -> None
        """Note a problem with a node."""
        place = str(where) if where is not None else ''
        line = node.start_mark.line + 1
        self.problems.append((line, '%s, line %d: %s%s' % (self.name, line, place + ': ' if place else '', sentence)))

    def pairs(self, node, where):
        # type: (Any, _Where) -> List[Tuple[Any, Any]]
        """Return (key node, value node) of a mapping, each key once."""
        seen, found = {}, []  # type: Dict[str, int], List[Tuple[Any, Any]]
        for key, child in node.value:
            if key.id != 'scalar':
                self.tell(key, where, 'a key must be a plain word')
            elif key.value in seen:
                self.tell(key, where, '%r stands here a second time; the first is in line %d' % (key.value, seen[key.value]))
            else:
                seen[key.value] = key.start_mark.line + 1
                found.append((key, child))
        return found

    def expand(self, text):
        # type: (str) -> str
        """Fill in ${NAME} and ${NAME:-default}; $${ is a ${ that stays. Raises UsageError."""
        import re
        parts = re.split(r'\$\$\{', text)
        try:
            return '${'.join(_fill_in(part, self.environment, False, '') for part in parts)
        except UsageError as error:
            raise UsageError(str(error)[2:])                # the place is told with it

    @staticmethod
    def homes_of(name):
        # type: (str) -> List[str]
        """Return where a setting of that name belongs, in words."""
        found = []  # type: List[str]
        for path, _ in walk_settings():
            if path[-1] == name:
                above = '.'.join(part for part in path[:-1] if part != '[]')
                found.append('under ' + above if above else 'at the top level')
        return found


_forms_cache = {}  # type: Dict[str, _Form]


def _forms():
    # type: () -> Dict[str, _Form]
    """Make the forms of single values; only a settings file needs them."""
    if not _forms_cache:
        text, number, quantity = ('text',), ('number',), ('text', 'number')
        for name, what, kinds, convert, schema in (
                ('text', 'a text', text, _whole_text, {'type': 'string'}),
                ('words', 'a text', text, _filled_text, {'type': 'string', 'minLength': 1}),
                ('path', 'a path', text, _filled_text, {'type': 'string', 'minLength': 1}),
                ('url', 'a URL', text, _read_url, {'type': 'string', 'pattern': r'^https?://|\$\{'}),
                ('boolean', 'true or false', ('boolean',), bool, {'type': 'boolean'}),
                ('count', 'a whole number of at least 1', number, _whole_number, {'type': 'integer', 'minimum': 1}),
                ('confirmations', 'a whole number', number, lambda n: _whole_number(n, 0), {'type': 'integer', 'minimum': 0}),
                ('port', 'a port', number, _read_port, {'type': 'integer', 'minimum': 1, 'maximum': 65535}),
                ('factor', 'a number', number, lambda n: _not_negative('', n), {'type': 'number', 'minimum': 0}),
                ('share', 'a share such as 5%', quantity, parse_share, {'type': ['string', 'number'], 'minimum': 0}),
                ('duration', 'a duration', quantity, parse_duration, {'type': ['string', 'number'], 'minimum': 0}),
                ('time', 'a duration', quantity, _read_positive_duration, {'type': ['string', 'number'], 'minimum': 0}),
                ('size', 'a size', quantity, _read_size, {'type': ['string', 'integer'], 'minimum': 1}),
                ('limit', 'a number, with a unit if you like', quantity, str, {'type': ['string', 'number']}),
                ('reason', 'an exit code or a cause', quantity, _read_reason, {'type': ['string', 'integer']}),
                ('metric', 'a metric', text, _read_metric, {'type': 'string', 'enum': list(METRICS)}),
                ('condition', 'a condition', text, lambda t: parse_condition(t).text, {'type': 'string', 'minLength': 1}),
                ('pattern', 'a regular expression', text, compile_secret, {'type': 'string', 'format': 'regex'}),
                ('strategy', 'a strategy', text, lambda t: _one_of(t, RetryStrategy.ALL), {'enum': list(RetryStrategy.ALL)}),
                ('severity', 'a severity', text, lambda t: _one_of(t, _SEVERITIES), {'enum': list(_SEVERITIES)}),
                ('direction', 'a direction', text, lambda t: _one_of(t, ('lower', 'higher')), {'enum': ['lower', 'higher']}),
                ('side', 'a direction', text, lambda t: _one_of(t, ('above', 'below', 'both')), {
                    'enum': ['above', 'below', 'both']}),
                ('channel', 'a channel', text, lambda t: _one_of(t, _CHANNELS), {'enum': list(_CHANNELS)}),
                ('inconclusive', 'what to do', text, lambda t: _one_of(t, _INCONCLUSIVE), {'enum': list(_INCONCLUSIVE)})):
            _forms_cache[name] = _Scalar(what, kinds, convert, schema)
    return _forms_cache


def _whole_text(text):
    # type: (str) -> str
    if '\0' in text:
        raise UsageError('%r: holds a NUL character' % text)
    return text


def _filled_text(text):
    # type: (str) -> str
    if not text.strip():
        raise UsageError('%r: empty' % text)
    return _whole_text(text)


def _read_url(text):
    # type: (str) -> str
    if not text.startswith(('http://', 'https://')) or len(text) < 9 or any(c <= ' ' for c in text):
        raise UsageError('%r: not a URL; it begins with https:// or http://' % text)
    return text


def _whole_number(number, least=1):
    # type: (Any, int) -> int
    if not isinstance(number, int) or number < least:
        raise UsageError('%r: not a whole number of at least %d' % (number, least))
    return number


def _read_port(number):
    # type: (Any) -> int
    if not isinstance(number, int) or not 1 <= number <= 65535:
        raise UsageError('%r: not a port; ports are 1 to 65535' % (number,))
    return number


def _read_reason(text):
    # type: (str) -> Any
    reasons = parse_reasons(text)
    if len(reasons) != 1:
        raise UsageError('%r: one exit code or cause an entry' % text)
    return reasons[0]


def _read_metric(text):
    # type: (str) -> str
    if text not in METRICS:
        raise UsageError('no metric %r%s (python -m runner metrics lists them)' % (text, suggest(text, METRICS)))
    return text


def _one_of(text, words):
    # type: (str, Sequence[str]) -> str
    if text not in words:
        raise UsageError('%r is not valid%s valid: %s' % (text, suggest(text, words) or ';', ', '.join(words)))
    return text


_table_cache = []  # type: List[_Group]


def settings_table():
    # type: () -> Any
    """Return the one table of settings, a tree: validation, the JSON schema and the example are all read from it.

    Made when first asked for: a run without a settings file does not pay for it.
    """
    if not _table_cache:
        _table_cache.append(_make_table())
    return _table_cache[0]


def _make_table():
    # type: () -> _Group
    f = _forms()
    variables = _Names(f['text'], r'[A-Za-z_][A-Za-z0-9_]*')
    return _Group((
        Setting('timeout', f['time'], 'end the script after this long; exit status 124', 'no limit', '30m', 'timeout'),
        Setting('grace', f['duration'], 'time between TERM and KILL when the script is ended', '10s', '10s', 'grace'),
        Setting('idle_timeout', f['time'], 'end the script after so long without output and CPU time; exit status 124',
                'no limit', '10m', 'idle_timeout'),
        Setting('python', f['path'], 'interpreter for .py scripts and -m', 'the one that runs the runner', 'python3', 'python',
                shown=False),
        Setting('cwd', f['path'], 'run the script in this folder', 'the current one', '/srv/jobs', 'cwd', shown=False),
        Setting('env', variables, 'variables for the script; stronger than env_file', None, {'PYTHONUNBUFFERED': "'1'"},
                'env', lambda pairs: list(pairs.items()), secret=True),
        Setting('env_file', _Entries(f['path'], True), 'dotenv files with variables for the script', None, ['.env'], 'env_file',
                shown=False),
        Setting('labels', _Names(f['text'], r'[^=\s\0]+'), 'labels that are kept with the run', None, {'team': 'data'}, 'label',
                lambda pairs: list(pairs.items())),
        Setting('lock', f['words'], 'only one run at a time holds this lock; another exits 75', None, 'nightly-import', 'lock',
                shown=False),
        Setting('lock_wait', f['duration'], 'how long to wait for the lock', '0s', '1m', 'lock_wait'),
        Setting('detach_ok', f['boolean'], 'let processes live on that the script leaves behind', 'false', 'false', 'detach_ok'),
        Setting('hang_stack', f['boolean'], 'at a time limit a Python script prints its stacks', 'false', 'false', 'hang_stack'),
        Setting('log_file', f['path'], 'append events as JSON lines', None, 'runs.jsonl', 'log_file', shown=False),
        Setting('quiet', f['boolean'], 'no summary line; losses are still told', 'false', 'false', 'quiet'),
        Setting('live', f['boolean'], 'on a terminal, show a line while the script runs', 'false', 'false', 'live'),
        Setting('verbose', f['boolean'], 'show every metric at the end', 'false', 'false', 'verbose'),
        Setting('limits', _limits_group(f), 'what the script may use; over it, the whole tree is ended'),
        Setting('retry', _retry_group(f), 'whether and when a failed run is tried again; nothing is retried unasked'),
        Setting('monitoring', _Group((
            Setting('interval', f['time'], 'time between two samples', '0.1s', '100ms', 'monitor_interval'),)),
            'how the script is watched'),
        Setting('history', _Group((
            Setting('enabled', f['boolean'], 'false keeps no record', 'true', 'true', 'no_history', lambda yes: not yes),
            Setting('db', f['path'], 'the file in which runs are recorded', 'in the XDG state folder', 'history.db', 'history_db',
                    shown=False),
            Setting('retention_days', f['count'], 'after a run, delete runs that started longer ago', 'keep all', '365'))),
            'where and for how long runs are remembered'),
        Setting('performance_gates', _Entries(_gate_group(f)), 'what a run must meet; exit status 123 when it does not', None, [
            {'name': 'memory', 'metric_name': 'memory_max_mb', 'max_value': '2GiB', 'min_value': '0', 'on_inconclusive': 'warn'},
            {'condition': 'execution_time_seconds < 30m AND stderr_lines < 1000'},
            {'regression': {'metric': 'execution_time_seconds', 'window': '50', 'min_runs': '20', 'min_change': '2%',
                            'better': 'lower', 'same_host': 'true', 'confirm': '0'}}]),
        Setting('baseline', f['path'], 'a file of values that conditions call baseline.METRIC; made by save_baseline',
                'the run that is pinned, else the median of the last good runs', 'baseline.json', 'baseline', shown=False),
        Setting('save_baseline', f['path'], 'write the values of a run that succeeded and met its gates', None, 'baseline.json',
                'save_baseline', shown=False),
        Setting('repeat', f['count'], 'run the script so often, and judge the runs together', '1', '1', 'repeat'),
        Setting('confirm', f['confirmations'], 'before a gate fails, run again up to so often', '0', '0', 'confirm'),
        Setting('on_inconclusive', f['inconclusive'], 'what a gate that cannot tell yet does: warn (exit 0), pass, fail (123)',
                'warn', 'warn', 'on_inconclusive'),
        Setting('reports', _Group(tuple(
            Setting(name, f['path'], meaning, None, example, name) for name, meaning, example in (
                ('junit_output', 'JUnit XML', 'junit.xml'), ('tap_output', 'TAP 13', 'gates.tap'),
                ('summary_output', 'Markdown', 'summary.md'), ('bencher_output', 'Bencher Metric Format', 'bencher.json'),
                ('benchmark_output', 'JSON for github-action-benchmark', 'benchmark.json'),
                ('json_output', 'the result as JSON', 'result.json')))), 'files that are written after the run', shown=False),
        Setting('alerts', _Entries(_alert_group(f)), 'rules that tell somebody about a run', None, [
            {'name': 'too much memory', 'condition': 'memory_max_mb > 4GiB', 'severity': 'WARNING', 'channels': ['stdout'],
             'throttle_seconds': '300', 'repeat': '4h', 'recovery': 'true', 'inhibited_by': ['broken']},
            {'name': 'stuck', 'condition': 'cpu_max < 1', 'for': '5m', 'channels': ['stdout']},
            {'name': 'broken', 'consecutive': '3', 'severity': 'CRITICAL', 'channels': ['stdout']},
            {'name': 'flaky', 'failure_rate': {'above': '20%', 'window': '7d', 'min_runs': '5'}, 'digest': '1d',
             'channels': ['stdout']},
            {'name': 'failing', 'failure_rate': {'above': '50%', 'runs': '10'}, 'channels': ['stdout']},
            {'name': 'slow', 'anomaly': {'metric': 'execution_time_seconds', 'direction': 'above', 'min_runs': '8',
                                         'band': '0.995', 'min_change': '10%'}, 'channels': ['stdout']},
            {'name': 'missed', 'expect_every': "'0 3 * * *'", 'script': 'job.py', 'channels': ['stdout']}]),
        Setting('notifications', _notifications_group(f), 'how the channels of the alerts reach you', secret=True),
        Setting('notify_timeout', f['time'], 'how long telling may take after a run', '10s', '10s', 'notify_timeout'),
        Setting('redact', _Entries(f['pattern']), 'regular expressions of what is stored and told as [redacted], beside '
                'passwords, tokens and keys', None, ["'customer-[0-9]{6}'"])))


def _limits_group(f):
    # type: (Dict[str, _Form]) -> _Group
    return _Group((
        Setting('max_memory', f['size'], 'resident memory of the whole tree', 'no limit', '4GiB', 'max_memory'),
        Setting('max_cpu_time', f['time'], 'CPU time of the whole tree', 'no limit', '1h', 'max_cpu_time'),
        Setting('max_processes', f['count'], 'processes at once', 'no limit', '200', 'max_processes'),
        Setting('max_output', f['size'], 'bytes written to stdout and stderr', 'no limit', '100MiB', 'max_output')))


def _retry_group(f):
    # type: (Dict[str, _Form]) -> _Group
    reasons = _Entries(f['reason'], True)
    return _Group((
        Setting('max_attempts', f['count'], 'attempts in all; 1 means no retry', '1', '1', 'retry', lambda n: n - 1),
        Setting('strategy', f['strategy'], 'how the delay grows: ' + ', '.join(RetryStrategy.ALL), 'exponential', 'exponential',
                'retry_strategy'),
        Setting('base_delay', f['duration'], 'delay before the second attempt', '1s', '1s', 'retry_delay'),
        Setting('max_delay', f['duration'], 'longest delay', '1m', '1m', 'retry_max_delay'),
        Setting('multiplier', f['factor'], 'by which an exponential delay grows', '2', '2'),
        Setting('max_total_time', f['time'], 'no attempt begins after this', 'no limit', '1h'),
        Setting('retry_on', reasons, 'try again only after these exit codes and causes', 'every failure', ['75', 'timeout'],
                'retry_on', tuple),
        Setting('skip_on', reasons, 'never try again after these', None, ['memory_limit'], 'skip_on', tuple)))


def _gate_group(f):
    # type: (Dict[str, _Form]) -> _Group
    regression = _Group((
        Setting('metric', f['metric'], 'the metric that must not get worse', required=True),
        Setting('window', f['count'], 'so many last good runs are compared with', '50'),
        Setting('min_runs', f['count'], 'with fewer good runs the verdict is inconclusive; at least 10', '20'),
        Setting('min_change', f['share'], 'a smaller change never fails', '2%'),
        Setting('better', f['direction'], 'lower or higher', 'the metric says'),
        Setting('same_host', f['boolean'], 'false compares with runs on every host, for CI machines whose names change', 'true'),
        Setting('confirm', f['confirmations'], 'before this gate fails, run again up to so often', '0')))
    return _Group((
        Setting('name', f['words'], 'what reports call the gate', 'its condition'),
        Setting('metric_name', f['metric'], 'the metric that max_value and min_value bound'),
        Setting('max_value', f['limit'], 'the metric may be at most this; units are converted (2GiB, 5m)'),
        Setting('min_value', f['limit'], 'the metric must be at least this'),
        Setting('condition', f['condition'], 'a condition that must be true'),
        Setting('regression', regression, 'compare with the last good runs of the same script, host and Python'),
        Setting('on_inconclusive', f['inconclusive'], 'as the setting of that name, for this gate')),
        _check_gate, {'oneOf': [{'required': ['metric_name']}, {'required': ['condition']}, {'required': ['regression']}]})


def _alert_group(f):
    # type: (Dict[str, _Form]) -> _Group
    rate = _Group((
        Setting('above', f['share'], 'the share of runs that failed, above which it fires', required=True),
        Setting('runs', f['count'], 'of the last so many runs'),
        Setting('window', f['time'], 'of the runs of the last so long'),
        Setting('min_runs', f['count'], 'with fewer runs nothing is said', '5')))
    anomaly = _Group((
        Setting('metric', f['metric'], 'the metric that is compared with the last good runs', required=True),
        Setting('direction', f['side'], 'above, below or both', 'both'),
        Setting('min_runs', f['count'], 'with fewer good runs nothing is said', '8'),
        Setting('band', f['share'], 'the share of good runs that is usual', '0.995'),
        Setting('min_change', f['share'], 'a smaller change is none', '10%')))
    return _Group((
        Setting('name', f['words'], 'what the alert is called', required=True),
        Setting('condition', f['condition'], 'the alert fires when this is true'),
        Setting('severity', f['severity'], ', '.join(_SEVERITIES), 'WARNING'),
        Setting('channels', _Entries(f['channel'], True), 'who is told: ' + ', '.join(_CHANNELS), 'all that are configured'),
        Setting('throttle_seconds', f['duration'], 'the same is told once in this time', '300'),
        Setting('for', f['duration'], 'the condition must be true on the samples for so long', '0s'),
        Setting('consecutive', f['count'], 'so many runs in a row meet the condition; without one: failed', '1'),
        Setting('failure_rate', rate, 'the alert fires when too many runs failed'),
        Setting('anomaly', anomaly, 'the alert fires when a good run is unlike the good runs before it'),
        Setting('expect_every', f['words'], "for `alerts missed`: a script starts so often (1d, or as a crontab's 0 3 * * *)"),
        Setting('script', f['path'], 'which script expect_every is about', 'every script'),
        Setting('repeat', f['time'], 'what goes on is told again after this', 'throttle_seconds'),
        Setting('recovery', f['boolean'], 'tell the end, too', 'true'),
        Setting('inhibited_by', _Entries(f['words'], True), 'alerts that, when they fire, make this one not worth telling',
                'failures, for alerts about speed and size'),
        Setting('digest', f['time'], 'do not tell at once; sum up what fired once in this time')),
        _check_alert, {'anyOf': [{'required': [name]} for name in _ALERT_KINDS]})


_ALERT_KINDS = ('condition', 'consecutive', 'failure_rate', 'anomaly', 'expect_every')


def _check_alert(values):
    # type: (Dict[str, Any]) -> None
    """Raise UsageError when the keys of an alert do not make one alert that can be judged."""
    if not any(name in values for name in _ALERT_KINDS):
        raise UsageError('nothing to judge; an alert has one of %s' % ', '.join(_ALERT_KINDS))
    AlertManager().add_from_settings(1, values)


def _notifications_group(f):
    # type: (Dict[str, _Form]) -> _Group
    address = f['words']
    return _Group((
        Setting('email', _Group((
            Setting('smtp_server', f['words'], 'name or address of the mail server', None, 'localhost', required=True),
            Setting('smtp_port', f['port'], 'its port', '587 with TLS, else 25', '587'),
            Setting('from', address, 'sender', None, 'runner@example.org', required=True),
            Setting('to', _Entries(address, True), 'recipients', None, ['team@example.org'], required=True),
            Setting('username', f['text'], 'for servers that ask for it', None, "'${SMTP_USER:-}'"),
            Setting('password', f['text'], 'its password', None, "'${SMTP_PASSWORD:-}'", secret=True),
            Setting('use_tls', f['boolean'], 'STARTTLS before anything is said, implicit TLS on port 465', 'true', 'true'),
            Setting('ca_file', f['path'], 'certificates to trust, in place of the usual', None, '/etc/ssl/own.pem',
                    shown=False))), 'mail', secret=True),
        Setting('slack', _Group((
            Setting('webhook_url', f['url'], 'an incoming webhook', None,
                    '${SLACK_WEBHOOK_URL:-https://slack.invalid/hook}', required=True, secret=True),)), 'a Slack channel',
                secret=True),
        Setting('webhook', _Group((
            Setting('url', f['url'], 'gets the alert as JSON', None, '${WEBHOOK_URL:-https://example.invalid/alerts}',
                    required=True, secret=True),
            Setting('headers', _Names(f['text'], r'[A-Za-z0-9-]+'), 'more headers of the request', None,
                    {'Authorization': "'Bearer ${WEBHOOK_TOKEN:-none}'"}, secret=True),
            Setting('secret', f['text'], 'sign each message with this', None, "'${WEBHOOK_SECRET:-none}'", secret=True),
            Setting('ca_file', f['path'], 'certificates to trust, in place of the usual', None, '/etc/ssl/own.pem',
                    shown=False))), 'any HTTP endpoint', secret=True),
        Setting('command', _Group((
            Setting('command', _Entries(f['text']), 'a program and its arguments; it reads the alert as JSON on stdin', None,
                    ['logger', '-t', 'runner'], required=True),)), 'a program of yours'),
        Setting('log', _Group((
            Setting('file', f['path'], 'append alerts as JSON lines', None, 'alerts.jsonl', required=True),)), 'a file'),
        Setting('apprise', _Group((
            Setting('urls', _Entries(f['text'], True), 'where Apprise sends', None, ["'${APPRISE_URL:-json://localhost}'"],
                    required=True, secret=True),)), 'whatever Apprise reaches', secret=True)))


def _check_gate(values):
    # type: (Dict[str, Any]) -> None
    """Raise UsageError when the keys of a gate do not make one gate."""
    bounds = [name for name in ('max_value', 'min_value') if name in values]
    if bounds and 'metric_name' not in values:
        raise UsageError('%s belongs to metric_name' % bounds[0])
    CICDIntegration().add_performance_gate(**values)


def walk_settings(group=None, path=()):
    # type: (Any, Tuple[str, ...]) -> List[Tuple[Tuple[str, ...], Setting]]
    """Return (path, Setting) of every key of the table, parents first; '[]' in a path stands for the entries of a list."""
    found = []  # type: List[Tuple[Tuple[str, ...], Setting]]
    for setting in (group or settings_table()).settings:
        here = path + (setting.name,)
        found.append((here, setting))
        form = setting.form
        if isinstance(form, _Entries) and isinstance(form.form, _Group):
            form, here = form.form, here + ('[]',)
        if isinstance(form, _Group):
            found += walk_settings(form, here)
    return found


class Settings(object):
    """What a settings file says, valid as a whole: `Settings.load(path)`.

    `values` is what stands in the file, read (durations are seconds, sizes bytes), as nested dicts; `options` the same as values
    of the options of a run. `gates` and `alerts` are lists of dicts, `notifications` a dict by channel, `redact` compiled
    patterns, `retention_days` a number or None, `notify_timeout` seconds or None.
    """
    __slots__ = ('path', 'values', 'options', 'lines')

    def __init__(self, path, values, lines):
        # type: (str, Dict[str, Any], Dict[Tuple[Any, ...], int]) -> None
        self.path = path
        self.values = values
        self.lines = lines
        self.options = {}  # type: Dict[str, Any]
        self._collect(settings_table(), values)

    @classmethod
    def load(cls, path, environment=None):
        # type: (str, Optional[Mapping[str, str]]) -> Settings
        """Read a YAML file; `environment` (default: os.environ) fills in ${NAME} and ${NAME:-default}.

        Raises UsageError, a line for everything that is wrong, each naming file, line and key.
        """
        name = os.fspath(path)
        reader = _SettingsReader(name, os.environ if environment is None else environment)
        values = settings_table().read(_compose(name, _read_settings_file(name)), reader, _Where())
        if reader.problems:
            raise UsageError('\n'.join(text for _, text in sorted(reader.problems, key=lambda problem: problem[0])))
        return cls(name, values, reader.lines)

    @property
    def gates(self):
        # type: () -> List[Dict[str, Any]]
        """The entries of performance_gates."""
        return self.values.get('performance_gates', [])

    @property
    def alerts(self):
        # type: () -> List[Dict[str, Any]]
        """The entries of alerts."""
        return self.values.get('alerts', [])

    @property
    def notifications(self):
        # type: () -> Dict[str, Dict[str, Any]]
        """The channels that are configured, by name."""
        return self.values.get('notifications', {})

    @property
    def notify_timeout(self):
        # type: () -> Optional[float]
        """Seconds that telling may take."""
        return self.values.get('notify_timeout')

    @property
    def redact(self):
        # type: () -> List[Any]
        """Compiled patterns of what is redacted beside the usual."""
        return self.values.get('redact', [])

    @property
    def retention_days(self):
        # type: () -> Optional[int]
        """Days after which runs are deleted."""
        return self.values.get('history', {}).get('retention_days')

    def _collect(self, group, values):
        # type: (_Group, Dict[str, Any]) -> None
        """Note the options that the values of a group stand in for."""
        for setting in group.settings:
            value = values.get(setting.name)
            if value is None:
                continue
            if setting.option is not None:
                self.options[setting.option] = setting.convert(value) if setting.convert else value
            elif isinstance(setting.form, _Group):
                self._collect(setting.form, value)


def retry_config_of(options, settings=None):
    # type: (Mapping[str, Any], Optional[Settings]) -> Optional[RetryConfig]
    """Return what the options of a run, and a settings file below them, ask for; None where nothing is retried.

    Raises UsageError for options that say how to retry, but not that.
    """
    full = dict(settings.options if settings is not None else {}, **options)
    if 'retry' not in full:
        how = [name for name in ('retry_strategy', 'retry_delay', 'retry_max_delay', 'retry_on', 'skip_on') if name in options]
        if how:
            raise UsageError('--%s: says how to retry, but not that; add --retry N' % how[0].replace('_', '-'))
        return None
    more = settings.values.get('retry', {}) if settings is not None else {}
    return RetryConfig(full.get('retry_strategy', RetryStrategy.EXPONENTIAL), max_attempts=full['retry'] + 1,
                       base_delay=full.get('retry_delay', 1.0), max_delay=full.get('retry_max_delay', 60.0),
                       multiplier=more.get('multiplier', 2.0), max_total_time=more.get('max_total_time'),
                       retry_on=full.get('retry_on', ()), skip_on=full.get('skip_on', ()))


def alerts_of(options, settings=None, anyway=False):
    # type: (Mapping[str, Any], Optional[Settings], bool) -> Optional[AlertManager]
    """Return the rules that the options of a run, and a settings file below them, ask for, with the channels of that file.

    None without any rule, so that they cost nothing, unless it is wanted `anyway`. Raises UsageError.
    """
    entries = settings.alerts if settings is not None else []
    if not entries and not options.get('alert') and not anyway:
        return None
    timeout = options.get('notify_timeout', settings.notify_timeout if settings is not None else None)
    manager = AlertManager.from_settings(entries, settings.notifications if settings is not None else None, None, timeout)
    for condition in options.get('alert', ()):
        manager.add_alert(condition.text, condition)
    manager.validate()
    return manager


def gates_of(options, settings=None):
    # type: (Mapping[str, Any], Optional[Settings]) -> Optional[CICDIntegration]
    """Return the gates that the options of a run, and a settings file below them, ask for; None without any.

    Reads the baseline. Raises UsageError for whatever could not be judged.
    """
    full = dict(settings.options if settings is not None else {}, **options)
    entries = list(settings.gates) if settings is not None else []
    entries += [{'condition': text} for text in options.get('gate', ())]
    entries += [{'regression': {'metric': metric}} for metric in options.get('regression', ())]
    if not entries and full.get('baseline') is None:
        return None
    integration = CICDIntegration(full.get('on_inconclusive', 'warn'))
    for entry in entries:
        integration.add_performance_gate(**entry)
    if full.get('baseline') is not None:
        known = integration.load_baseline(full['baseline'])
        for gate in integration.gates:
            missing = [metric for metric in gate.baselines if metric not in known]
            if missing:
                raise UsageError('%s: has no %s, which gate %r compares with' % (full['baseline'], missing[0], gate.name))
    return integration


def _read_settings_file(path):
    # type: (str) -> str
    try:
        with open(path, 'rb') as file:
            data = file.read(_SETTINGS_BYTES + 1)
    except OSError as error:
        raise UsageError('%s: settings cannot be read: %s' % (path, error.strerror or error))
    if len(data) > _SETTINGS_BYTES:
        raise UsageError('%s: larger than %s; this is no settings file' % (path, format_mib(_SETTINGS_BYTES / _MIB)))
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = data.count(b'\n', 0, error.start) + 1
        raise UsageError('%s, line %d: not UTF-8; save the file in that encoding' % (path, line))


def _compose(name, text):
    # type: (str, str) -> Any
    """Return the root node of the one YAML document in a text; raises UsageError. Nothing is constructed from tags."""
    try:
        import yaml
    except ImportError:
        raise UsageError('%s: settings files need PyYAML, which is not installed; pip install PyYAML' % name)
    loader = root = None  # type: Any
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_node() if loader.check_node() else None
        if loader.check_node():
            line = loader.peek_event().start_mark.line + 1
            raise UsageError('%s, line %d: a second document begins; settings are one document' % (name, line))
    except yaml.YAMLError as error:
        raise UsageError(_yaml_sentence(name, text, error))
    except RecursionError:
        raise UsageError('%s: nested too deeply for settings' % name)
    finally:
        if loader is not None:
            loader.dispose()
    if root is None or (root.id == 'scalar' and not root.value):
        raise UsageError('%s: holds no settings; python -m runner config example shows some' % name)
    return root


def _yaml_sentence(name, text, error):
    # type: (str, str, Any) -> str
    """Turn PyYAML's error into one sentence of ours."""
    mark = getattr(error, 'problem_mark', None) or getattr(error, 'context_mark', None)
    line = ', line %d' % (mark.line + 1) if mark is not None else ''
    problem = getattr(error, 'problem', None) or getattr(error, 'reason', None) or str(error)
    if hasattr(error, 'position'):                          # of a character that YAML does not allow
        line = ', line %d' % (text.count('\n', 0, error.position) + 1)
    if problem.startswith('found undefined alias'):         # whose name may be a password
        return '%s%s: not YAML: found undefined alias; a text that begins with * stands in quotes' % (name, line)
    if "'\\t'" in problem:
        return '%s%s: a tab; YAML is indented by spaces' % (name, line)
    return '%s%s: not YAML: %s' % (name, line, ' '.join(part for part in (getattr(error, 'context', None), problem) if part))


def settings_schema():
    # type: () -> Dict[str, Any]
    """Return JSON Schema (draft 7) of the settings file, as editors use it to complete and to check."""
    schema = {'$schema': 'http://json-schema.org/draft-07/schema#', 'title': 'Settings of python-script-runner'}
    schema.update(settings_table().schema())
    return schema


def settings_example():
    # type: () -> str
    """Return a settings file in which every key stands with its meaning; what would reach beyond the run is commented out."""
    lines = ['# Settings of python-script-runner: python -m runner --config config.yaml job.py',
             '# Every key is optional. A flag is stronger than the environment, that than this file.',
             '# ${NAME} and ${NAME:-default} come from the environment; $${ stays ${. Paths are relative to where you are.',
             '# python -m runner config check FILE examines a file, config schema prints a JSON schema for editors.', '']
    for setting in settings_table().settings:
        lines += _example_of(setting, setting.example, '', set()) + ['']
    return '\n'.join(lines)


def _example_of(setting, example, indent, told):
    # type: (Setting, Any, str, set) -> List[str]
    """Return the lines of one key; meanings of keys in `told` were given before."""
    lines = []
    if setting not in told:
        told.add(setting)
        meaning = setting.meaning[0].upper() + setting.meaning[1:]
        lines.append('%s# %s.%s' % (indent, meaning, '' if setting.default is None else ' Default: %s.' % setting.default))
    body = _example_body(setting, example, indent, told)
    return lines + (body if setting.shown else [indent + '#' + line[len(indent):] for line in body])


def _example_body(setting, example, indent, told):
    # type: (Setting, Any, str, set) -> List[str]
    form = setting.form
    if isinstance(form, _Group):
        lines = [indent + setting.name + ':']
        for inner in form.settings:
            chosen = example.get(inner.name) if example is not None else inner.example
            if chosen is not None or isinstance(inner.form, _Group) and example is None:
                lines += _example_of(inner, chosen, indent + '  ', told)
        return lines
    if isinstance(form, _Entries) and isinstance(form.form, _Group):
        lines = [indent + setting.name + ':']
        for entry in example:
            part = []  # type: List[str]
            for inner in form.form.settings:
                if inner.name in entry:
                    part += _example_of(inner, entry[inner.name], indent + '    ', told)
            first = next(number for number, line in enumerate(part) if not line.lstrip().startswith('#'))
            part[first] = part[first][:len(indent) + 2] + '- ' + part[first][len(indent) + 4:]
            lines += part
        return lines
    if isinstance(example, dict):
        return [indent + setting.name + ':'] + ['%s  %s: %s' % (indent, name, value) for name, value in example.items()]
    if isinstance(example, list):
        return ['%s%s: [%s]' % (indent, setting.name, ', '.join(example))]
    return ['%s%s: %s' % (indent, setting.name, example)]


# ======================================================================================================
# 13. ScriptRunner
# ======================================================================================================

class ExecutionHook(object):
    """Code of the user's around a run: subclass it, or give any object with these two methods, in ScriptRunner.hooks.

    A hook that raises harms nothing: the exception is told in the result's `warnings`. `pre` runs before the script starts and
    delays it, `post` after its end was recorded. Both run in the thread that called `run_script`.
    """

    def pre(self, plan):
        # type: (Dict[str, Any]) -> None
        """Called before each attempt with what `get_execution_plan` returns, plus correlation_id and attempt_number."""

    def post(self, result):
        # type: (Dict[str, Any]) -> None
        """Called after the last attempt with the result, which may be added to."""


class ScriptRunner(object):
    """Run a script, watched and remembered.

        result = ScriptRunner('job.py', ['--fast'], timeout=300).run_script()
        result['status'], result['metrics']['memory_max_mb'], result['stdout']

    `script_path` may be a .py or .sh file, any executable, or with `module=True` a name for `python -m`. `timeout` and `grace`
    are seconds (numbers or texts such as '5m'), `env_vars` are added to the environment, `labels` are kept with the run.
    The script's output is captured (its last `capture_bytes` per stream), and passed on to sys.stdout and sys.stderr only with
    `stream_output`. `history_db` names the history file; `enable_history=False` keeps no record.

    The constructor touches nothing: it starts no thread, and opens no file but `config_file` and what that names. Raises
    UsageError for a value that cannot be.
    One object runs one script at a time; different objects may run in any number of threads. `monitor_interval` (seconds)
    may be set before a run, `retry_config` to a RetryConfig, `hooks` to ExecutionHooks; `history_manager` is made at the first
    run. `limits` is a Limits; `detach_ok` lets what the script leaves behind live on; `lock` names a lock that only one run
    holds at a time, waited for `lock_wait` seconds; `log_file` gets events as JSON lines from `log_level` on. `hang_stack`
    makes a Python script print the stacks of its threads (faulthandler) at a time limit; it sets PYTHONFAULTHANDLER for the
    script and ends it by SIGABRT instead of SIGTERM. `retry_count` and `retry_delay` are ignored.

    `alert_manager` may be set to an AlertManager, whose rules are judged while the script runs and at its end (the last
    attempt, of the last run); telling may take its `notify_timeout` after the end.

    `config_file` names a settings file (or is a Settings), which is read at once: it gives every value that no argument gives.
    `redact_patterns` are patterns of `compile_secret` for what this run stores and logs.

    `cicd_integration` judges the run: the result has `gate_results` and `gates_passed` (None without gates). `repeat` runs are
    judged together (the least memory, the median of the rest; `repeats` lists them), and before a gate fails, up to
    `confirm` more are made, each of which may acquit. The result is that of the last run.
    """

    def __init__(self, script_path, script_args=None, timeout=None, log_level='INFO', config_file=None, history_db=None,
                 enable_history=True, working_dir=None, env_vars=None, stream_output=False, log_file=None, grace=None,
                 module=False, python=None, labels=None, capture_bytes=1048576, limits=None, detach_ok=False, lock=None,
                 lock_wait=None, hang_stack=False, cicd_integration=None, repeat=None, confirm=None):
        # type: (str, Optional[Sequence[str]], Any, str, Any, Optional[str], bool, Optional[str], Optional[Dict[str, str]], bool, Optional[str], Any, bool, Optional[str], Optional[Dict[str, str]], int, Optional[Limits], bool, Optional[str], Optional[float], bool, Optional[CICDIntegration], Optional[int], Optional[int]) -> None
        self.settings = None  # type: Optional[Settings]
        if config_file is not None:
            self.settings = config_file if isinstance(config_file, Settings) else Settings.load(config_file)
        given = self.settings.options if self.settings is not None else {}  # type: Dict[str, Any]
        self.script_path = os.fspath(script_path)
        if isinstance(script_args, (str, bytes)):
            raise UsageError('script_args %r: one text; give a list of words' % (script_args,))
        if not isinstance(limits or Limits(), Limits):
            raise UsageError('limits %r: must be a Limits' % (limits,))
        _passable('script', self.script_path)
        self.script_args = [os.fspath(a) if hasattr(a, '__fspath__') else str(a) for a in script_args or ()]
        self.timeout = given.get('timeout') if timeout is None else _positive('timeout', parse_duration(timeout))
        self.grace = given.get('grace', 10.0) if grace is None else parse_duration(grace)
        self.log_level = check_level('log_level', log_level)
        self.history_db = history_db
        if history_db is None and not os.environ.get('SCRIPT_RUNNER_HISTORY_DB'):      # which is stronger than the file
            self.history_db = given.get('history_db')
        self.enable_history = enable_history and not given.get('no_history')
        self.working_dir = given.get('cwd') if working_dir is None else working_dir
        for argument in self.script_args:
            _passable('argument', argument)
        self.env_vars = dict(read_variables(given.get('env_file', ()), given.get('env', ())), **(env_vars or {}))
        for name, value in self.env_vars.items():
            if not isinstance(name, str) or not name or '=' in name:
                raise UsageError('environment variable %r: not a name; one has at least a letter, and no =' % (name,))
            _passable('environment variable', name)
            _passable('value of environment variable', value, name)
        self.stream_output = stream_output
        self.log_file = given.get('log_file') if log_file is None else log_file
        self.module = module
        self.python = given.get('python') if python is None else python
        self.labels = dict(given.get('label', ()), **(labels or {}))
        if not isinstance(capture_bytes, int) or capture_bytes < 0:
            raise UsageError('capture_bytes %r: must be a number of bytes, 0 or more' % (capture_bytes,))
        self.capture_bytes = capture_bytes
        self.limits = _limits_over(limits or Limits(), given)
        self.detach_ok = detach_ok or given.get('detach_ok', False)
        self.lock = given.get('lock') if lock is None else lock
        self.lock_wait = given.get('lock_wait', 0.0) if lock_wait is None else parse_duration(lock_wait)
        self.hang_stack = hang_stack or given.get('hang_stack', False)
        self.monitor_interval = given.get('monitor_interval', 0.1)
        self.retry_config = retry_config_of({}, self.settings)
        self.redact_patterns = list(self.settings.redact) if self.settings is not None else []
        self.cicd_integration = cicd_integration
        if cicd_integration is None and self.settings is not None:
            self.cicd_integration = gates_of({}, self.settings)
        self.alert_manager = alerts_of({}, self.settings) if self.settings is not None else None  # type: Optional[AlertManager]
        self.repeat = given.get('repeat', 1) if repeat is None else repeat
        self.confirm = given.get('confirm', 0) if confirm is None else confirm
        self.hooks = []  # type: List[Any]
        self.retry_count = self.retry_delay = 0
        self.history_manager = None  # type: Optional[HistoryManager]
        self.metrics = {}  # type: Dict[str, Any]
        self._attempt = None  # type: Optional[Attempt]
        self._attempt_form = _GuestAttempt  # type: Callable[..., Attempt]
        self._sinks = None  # type: Any
        self._on_retry = None  # type: Optional[Callable[[Dict[str, Any], float], None]]
        self._on_repeat = None  # type: Optional[Callable[[str], None]]
        self._plan = None  # type: Optional[LaunchPlan]
        self._live = None  # type: Optional[_LiveAlerts]
        self._live_line = None  # type: Any            # what draws on the terminal while an attempt runs: begin(attempt), end()
        self._is_stopped = False
        self._pause = allocate_lock()
        self._warnings = []  # type: List[str]
        self._system_before = {}  # type: Dict[str, float]

    def run_script(self, retry_on_failure=False):
        # type: (bool) -> Dict[str, Any]
        """Run the script to its end and return the result as a dict; `metrics` has every name of METRICS.

        With `retry_config` set, a failed attempt is tried again as it says; `retry_on_failure` alone means three attempts. The
        result is that of the last attempt, `attempts` lists all. `timeout` and limits hold for each attempt.

        Raises LaunchError when the script cannot be started (that is recorded too), UsageError for a bad setting,
        LockError when another run holds `lock`, KeyboardInterrupt when that came while waiting: the script's whole tree is
        ended first.
        """
        self._check_gates()
        config = self.retry_config or RetryConfig(max_attempts=3 if retry_on_failure else 1)
        self._is_stopped = False
        self._pause.acquire(False)
        self._plan, self._live = None, self._begin_alerts()
        try:
            with _RunLock(self.lock, self.lock_wait):
                result = self._run_judged(config)
        except LaunchError as error:
            self._alert_launch_error(error)
            raise
        self._conclude_alerts(result)
        for hook in self.hooks:
            self._guarded('post hook', hook, 'post', result)
        result['warnings'] += self._warnings
        return result

    def _check_gates(self):
        # type: () -> None
        """Raise UsageError for gates that could not be judged after the run."""
        for name, value, least in (('repeat', self.repeat, 1), ('confirm', self.confirm, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError('%s=%r: must be a whole number of at least %d' % (name, value, least))
        if self.cicd_integration is None or self.enable_history:
            return
        known = self.cicd_integration.baseline or {}
        for gate in self.cicd_integration.gates:
            if gate.needs_history or any(metric not in known for metric in gate.baselines):
                raise UsageError('gate %r: compares with earlier runs, and no history is kept; leave --no-history out%s' % (
                    gate.name, ', or name a --baseline' if gate.baselines else ''))

    def _run_judged(self, config):
        # type: (RetryConfig) -> Dict[str, Any]
        """Run as often as `repeat` says and judge the runs together; before a gate fails, run again as `confirm` says."""
        results = []  # type: List[Dict[str, Any]]
        for number in range(1, self.repeat + 1):
            if number > 1 and self._on_repeat is not None:
                self._on_repeat('run %d of %d' % (number, self.repeat))
            results.append(self._run_attempts(config, new_correlation_id()))
            if not results[-1]['success'] or self._is_stopped:
                break
        result = results[-1]
        integration = self.cicd_integration
        if self.repeat > 1:
            result['repeats'] = [{'execution_id': r['execution_id'], 'metrics': r['metrics']} for r in results]
        if integration is None or integration.is_empty:
            return result
        self._judge(integration, results[-1:] if not result['success'] else results, results)
        extra = max([self.confirm] + [gate.regression.confirm for gate in integration.gates if gate.regression is not None])
        for number in range(1, extra + 1):
            failed = [gate for gate in result['gate_results'] if gate['verdict'] == 'fail']
            if result['gates_passed'] or not failed or not result['success'] or self._is_stopped:
                break
            if self._on_repeat is not None:
                self._on_repeat(redact('gate %s failed (%s); run %d of %d to confirm it' % (
                    failed[0]['name'], failed[0]['reason'], number, extra), self.redact_patterns))
            result = self._run_attempts(config, new_correlation_id())
            result['confirmations'] = number
            results.append(result)
            self._judge(integration, [result], results)
        self._keep_judgement(results)
        return result

    def _judge(self, integration, judged, results):
        # type: (CICDIntegration, Sequence[Dict[str, Any]], Sequence[Dict[str, Any]]) -> None
        """Judge runs together and put what comes of it into the last; `results` are all of this call, none of which is compared
        with."""
        plan, result, problem = self._plan, results[-1], None  # type: Any, Dict[str, Any], Optional[str]
        record = dict(_host_facts(), **_first_record(plan, self.labels, None, 0.0))
        record.update(status=result['status'], cause=result['cause'], metrics=aggregate_metrics([r['metrics'] for r in judged]))
        try:
            past = _Past(self._history(), record, results[0]['execution_id'], integration)
            values = gate_values(record, integration, past)
            result['gates_passed'], result['gate_results'] = integration.check_gates(values, past.values)
        except HistoryError as error:
            problem = 'the history cannot be read (%s)' % error
            values = gate_values(record, integration, None)
            result['gates_passed'], result['gate_results'] = integration.check_gates(values, None, problem)
        self._tell('info' if result['gates_passed'] else 'warning', 'judged', correlation_id=result['correlation_id'],
                   passed=result['gates_passed'], gates=[(gate['name'], gate['verdict']) for gate in result['gate_results']])

    def _keep_judgement(self, results):
        # type: (Sequence[Dict[str, Any]]) -> None
        """Keep the verdict with the runs: those that failed are not compared with later."""
        manager, ids = self._history(), [r['execution_id'] for r in results if r['execution_id'] is not None]
        if manager is None:
            return
        if len(ids) < len(results) and not results[-1]['gates_passed']:
            results[-1]['warnings'].append('the verdict of the gates is not recorded: the run is not yet in the history')
        if not ids:
            return
        gates = [dict(gate, **{name: redact(gate[name], self.redact_patterns) for name in ('name', 'condition', 'reason')})
                 for gate in results[-1]['gate_results']]
        try:
            manager.save_judgement(ids, overall_verdict(gates), gates)
        except HistoryError as error:
            results[-1]['warnings'].append('the verdict of the gates is not recorded (%s)' % error)

    def _run_attempts(self, config, correlation_id):
        # type: (RetryConfig, str) -> Dict[str, Any]
        """Try until it succeeds, or the configuration says that it is enough."""
        began, number, attempts = time.monotonic(), 1, []  # type: float, int, List[Dict[str, Any]]
        while True:
            result = self._run_attempt(correlation_id, number)
            shown = ('attempt_number', 'execution_id', 'status', 'cause', 'returncode')
            attempts.append(dict([(name, result[name]) for name in shown],
                                 execution_time_seconds=result['metrics']['execution_time_seconds']))
            result['attempts'] = attempts
            result['total_seconds'] = time.monotonic() - began
            delay = config.get_delay(number)
            if self._is_stopped or not config.should_retry(result, number, result['total_seconds'] + delay):
                return result
            self._tell('warning', 'retry', attempt_number=number, delay=delay, correlation_id=correlation_id,
                       status=result['status'], cause=result['cause'])
            if self._on_retry is not None:
                self._on_retry(result, delay)
            if self._is_told_to_stop_within(delay):
                return result
            number += 1

    def _run_attempt(self, correlation_id, number):
        # type: (str, int) -> Dict[str, Any]
        self._warnings = [] if number == 1 else self._warnings
        try:
            plan = self._plan = self._make_plan(correlation_id, number)
            for hook in self.hooks:
                self._guarded('pre hook', hook, 'pre', dict(self._describe_plan(plan), correlation_id=correlation_id,
                                                            attempt_number=number))
            attempt = self._attempt_form(plan, self._sinks or self._default_sinks())
            self._attempt = attempt
            attempt.spawn()
        except LaunchError as error:
            self._record_launch_error(correlation_id, number, error)
            raise
        except OSError as error:                            # out of descriptors, for example
            raise RunnerError('%s: not started: %s' % (self.script_path, error.strerror or error))
        if self._is_stopped:                                # between the last look and the spawn
            attempt.request_end(_SIGTERM)
        recorder = self._start_recorder(attempt)
        if self._live is not None:
            self._live.begin(lambda: _first_record(plan, self.labels, attempt.pid, attempt.started_wall),
                             (lambda: recorder.run_id) if recorder is not None else None)
        try:
            if self._live_line is not None:
                self._live_line.begin(attempt)
            self._tell('info', 'started', script=plan.script_path, pid=attempt.pid, correlation_id=correlation_id,
                       attempt_number=number)
            attempt.supervise()
        except LaunchError as error:
            self._finish_record(recorder, attempt, _launch_error_record(error))
            raise
        except KeyboardInterrupt:
            attempt._judge()
            self._finish_record(recorder, attempt, _final_record(attempt, analyze_failure(attempt)))
            raise
        finally:
            self._attempt = None
            if self._live_line is not None:
                self._live_line.end()
        return self._conclude(attempt, recorder)

    def _is_told_to_stop_within(self, delay):
        # type: (float) -> bool
        """Wait so many seconds; True when stop() or kill() was called in the meantime."""
        until = time.monotonic() + delay
        while True:
            left = until - time.monotonic()
            if self._pause.acquire(True, max(0.0, min(left, _LONGEST_WAIT))):
                return True
            if left <= _LONGEST_WAIT:
                return False

    def _guarded(self, what, hook, method, argument):
        # type: (str, Any, str, Any) -> None
        """Border: a hook of the user's may do what it likes to itself."""
        try:
            getattr(hook, method)(argument)
        except (Exception, SystemExit) as error:
            self._warnings.append('%s failed: %r' % (what, error))

    def stop(self):
        # type: () -> None
        """End the script that runs now and everything it started: TERM, after the grace KILL; from any thread."""
        self._end(_SIGTERM, 'stop() was called')

    def kill(self):
        # type: () -> None
        """End the script that runs now and everything it started at once, without a chance to clean up; from any thread."""
        self._end(_SIGKILL, 'kill() was called')

    def _end(self, number, evidence):
        # type: (int, str) -> None
        """End the attempt that runs, and let no other begin."""
        attempt, self._is_stopped = self._attempt, True
        if attempt is not None:
            attempt.request_end(number, evidence)
        try:
            self._pause.release()
        except RuntimeError:                                # nobody waits
            pass

    def validate_script(self):
        # type: () -> bool
        """Return True when the script could be started; raises LaunchError saying why not."""
        self._make_plan(new_correlation_id(), 1)
        return True

    def get_execution_plan(self):
        # type: () -> Dict[str, Any]
        """Return what `run_script` would do, without doing it: command, folder, limits, where it would be recorded."""
        self._check_gates()
        return self._describe_plan(self._make_plan(new_correlation_id(), 1))

    def _describe_plan(self, plan):
        # type: (LaunchPlan) -> Dict[str, Any]
        return {'command': redact_arguments(plan.argv, self.redact_patterns), 'executable': plan.executable,
                'script_path': plan.script_path,
                'working_dir': plan.cwd or _current_folder(), 'environment': sorted(self.env_vars), 'timeout': plan.timeout,
                'grace': plan.grace, 'monitor_interval': plan.interval, 'labels': self.labels, 'lock': self.lock,
                'limits': {name: getattr(self.limits, name) for name in Limits.__slots__},
                'alerts': {} if self.alert_manager is None else {
                    rule.name: rule.form.text for rule in self.alert_manager.rules.values()},
                'gates': [gate.name for gate in self.cicd_integration.gates] if self.cicd_integration is not None else [],
                'history_db': os.path.abspath(self.history_db or default_history_path()) if self.enable_history else None}

    def collect_system_metrics_start(self):
        # type: () -> Dict[str, float]
        """Note the state of the whole machine now and return it: memory in MiB, load, CPU seconds busy since boot."""
        self._system_before = _system_state()
        return dict(self._system_before)

    def collect_system_metrics_end(self):
        # type: () -> Dict[str, float]
        """Return the state of the machine now, with `system_cpu_percent` (of all cores) since the last start call."""
        now, before = _system_state(), self._system_before
        span = now['monotonic_seconds'] - before.get('monotonic_seconds', now['monotonic_seconds'])
        if span > 0:
            busy = now['cpu_busy_seconds'] - before['cpu_busy_seconds']
            now['system_cpu_percent'] = max(0.0, min(100.0, 100.0 * busy / span / (os.cpu_count() or 1)))
        return now

    def _make_plan(self, correlation_id, number):
        # type: (str, int) -> LaunchPlan
        cwd = None
        if self.working_dir is not None:
            cwd = os.path.abspath(self.working_dir)
            if not os.path.isdir(cwd):
                raise UsageError('%s: no such folder to run in' % self.working_dir)
        plan = resolve_script(self.script_path, self.script_args, self.module, self.python, cwd)
        plan.cwd = cwd
        plan.env = dict(os.environ, **self.env_vars)
        plan.env.update(SCRIPT_RUNNER_ACTIVE='1', SCRIPT_RUNNER_ATTEMPT=str(number), SCRIPT_RUNNER_CORRELATION_ID=correlation_id)
        plan.timeout, plan.grace = self.timeout, self.grace
        plan.limits, plan.detach_ok, plan.hang_stack = self.limits, self.detach_ok, self.hang_stack
        if self.hang_stack:
            plan.env['PYTHONFAULTHANDLER'] = '1'
        plan.interval = min(_LONGEST_WAIT, _positive('monitor_interval', self.monitor_interval))
        plan.capture_bytes = self.capture_bytes
        plan.correlation_id, plan.attempt_number = correlation_id, number
        if self.alert_manager is not None:
            self.alert_manager.validate()
        if self._live is not None:
            self._live.reset()
            plan.on_sample = self._live.on_sample
        return plan

    def _default_sinks(self):
        # type: () -> Tuple[Any, Any]
        if not self.stream_output:
            return None, None
        return _stream_writer(sys.stdout), _stream_writer(sys.stderr)

    def _history(self):
        # type: () -> Optional[HistoryManager]
        if self.enable_history and self.history_manager is None:
            self.history_manager = HistoryManager(self.history_db)
        return self.history_manager if self.enable_history else None

    def _start_recorder(self, attempt):
        # type: (Attempt) -> Optional[_Recorder]
        manager = self._history()
        if manager is None:
            return None
        labels = self.labels

        def series():
            # type: () -> Optional[SampleSeries]
            return attempt.monitor.samples if attempt.monitor is not None else None

        recorder = _Recorder(manager, lambda: _first_record(attempt.plan, labels, attempt.pid, attempt.started_wall), series,
                             lambda run_id, correlation: _end_lost(run_id, correlation, attempt.warnings.append),
                             self.detach_ok, self.redact_patterns + self._channel_patterns(),
                             self.settings.retention_days if self.settings else None)
        try:
            recorder.start()
        except Exception as error:               # border: no thread to be had, for one; the script runs already
            attempt.warnings.append('history not written: %r' % error)
            return None
        return recorder

    def _record_launch_error(self, correlation_id, number, error):
        # type: (str, int, LaunchError) -> None
        """Keep a run that never began, so that a cron job with a mistyped path is seen in the history."""
        plan = LaunchPlan(correlation_id=correlation_id, attempt_number=number, script_args=self.script_args,
                          script_path='-m ' + self.script_path if self.module else _real_path(self.script_path),
                          cwd=self.working_dir)
        attempt = Attempt(plan)
        manager = self._history()
        if manager is not None:
            attempt.started_wall, attempt.started = time.time(), time.monotonic()
            attempt.ended = attempt.started
            recorder = _Recorder(manager, lambda: _first_record(plan, self.labels, None, attempt.started_wall), lambda: None,
                                 redact_patterns=self.redact_patterns)
            recorder.start()
            self._finish_record(recorder, attempt, _launch_error_record(error))
            error.execution_id = recorder.run_id  # type: ignore[attr-defined]
            error.correlation_id = correlation_id  # type: ignore[attr-defined]
            error.attempt_number = number  # type: ignore[attr-defined]

    def _finish_record(self, recorder, attempt, final):
        # type: (Optional[_Recorder], Attempt, Dict[str, Any]) -> None
        if recorder is None:
            return
        try:
            problem = recorder.finish(final)
        except Exception as error:               # border: the script's status comes back without a record too
            problem = 'history not written, and the record of this run is lost (%r)' % error
        if problem is not None:
            attempt.warnings.append(problem)

    def _conclude(self, attempt, recorder):
        # type: (Attempt, Optional[_Recorder]) -> Dict[str, Any]
        """Turn what happened into the result, and the result into the final record."""
        analysis = analyze_failure(attempt)
        final = _final_record(attempt, analysis)
        self.metrics = final['metrics']
        self._finish_record(recorder, attempt, final)
        out, err = attempt.tails
        result = {
            'stdout': out.text, 'stderr': err.text, 'returncode': attempt.returncode,
            'success': attempt.status == 'success', 'status': attempt.status, 'cause': attempt.cause,
            'evidence': attempt.evidence, 'correlation_id': attempt.plan.correlation_id,
            'attempt_number': attempt.plan.attempt_number, 'stdout_lines': out.lines,
            'stderr_lines': self.metrics['stderr_lines'],
            'error_summary': final['error_summary'], 'error_analysis': analysis, 'metrics': self.metrics,
            'execution_id': recorder.run_id if recorder is not None else None,
            'script_path': attempt.plan.script_path, 'gate_results': [], 'gates_passed': None, 'alerts': [],
            'warnings': attempt.warnings, 'artefacts': attempt.artefacts,
        }  # type: Dict[str, Any]
        told = ('correlation_id', 'attempt_number', 'status', 'cause', 'evidence', 'returncode', 'execution_id', 'metrics')
        self._tell('info' if result['success'] else 'warning', 'ended', script=attempt.plan.script_path,
                   **{name: result[name] for name in told})
        return result

    def _begin_alerts(self):
        # type: () -> Optional[_LiveAlerts]
        """Return what judges the rules while the script runs; None without any rule."""
        manager = self.alert_manager
        if manager is None or not manager.rules:
            return None
        if manager.history_manager is None:
            manager.history_manager = self._history()
        manager.redact_patterns = self.redact_patterns
        return manager.live()

    def _channel_patterns(self):
        # type: () -> List[Any]
        """Return patterns of what lets in to the channels of the alerts: it is redacted in what is stored, whoever wrote it."""
        if self.alert_manager is None or not self.alert_manager.channels:
            return []
        import re
        return [re.compile(re.escape(secret)) for secret in self.alert_manager.secrets()]

    def _conclude_alerts(self, result):
        # type: (Dict[str, Any]) -> None
        """Border: judge the rules and tell people; whatever goes wrong with that is a warning."""
        manager, live, plan = self.alert_manager, self._live, self._plan
        if manager is None or live is None:
            return
        try:
            run = dict(_host_facts(), **_first_record(plan, self.labels, None, 0.0)) if plan is not None else _host_facts()
            run.setdefault('script_path', '-m ' + self.script_path if self.module else _real_path(self.script_path))
            run.setdefault('script_args', self.script_args)
            run.pop('metrics', None)
            manager.conclude(result, run, live)
        except KeyboardInterrupt:
            if self._attempt_form is _GuestAttempt:
                raise
            result['warnings'].append('alerts: interrupted; what was not sent is sent by the next run')
        except Exception as error:
            result['warnings'].append('alerts: failed with %s' % type(error).__name__)
        self._live = None

    def _alert_launch_error(self, error):
        # type: (LaunchError) -> None
        """Tell also of a script that could not be started; `error` gets `alerts` and `warnings`."""
        result = {'status': 'failed', 'success': False, 'cause': 'launch_error', 'evidence': str(error), 'warnings': [],
                  'error_summary': str(error), 'correlation_id': getattr(error, 'correlation_id', None),
                  'attempt_number': getattr(error, 'attempt_number', 1), 'alerts': [],
                  'execution_id': getattr(error, 'execution_id', None), 'stdout': '', 'stderr': '',
                  'metrics': dict(dict.fromkeys(METRICS), exit_code=error.exit_status, success=False)}  # type: Dict[str, Any]
        self._conclude_alerts(result)
        error.alerts, error.warnings = result['alerts'], result['warnings']  # type: ignore[attr-defined]

    def _tell(self, level, event, **fields):
        # type: (str, str, **Any) -> None
        """Border: write an event to `log_file`, and to the logger 'runner' where the process uses logging at all."""
        if self.log_file is not None:
            try:
                logger = StructuredLogger(self.log_file, self.log_level)
                logger.redact_patterns = self.redact_patterns
                getattr(logger, level)(event, **fields)
            except Exception as error:
                self._warnings.append('%s: log not written: %s' % (self.log_file, error))
                self.log_file = None
        if LEVELS[level.upper()] >= LEVELS[self.log_level] and 'logging' in sys.modules:
            import logging
            log = logging.getLogger('runner')
            if not log.handlers:
                log.addHandler(logging.NullHandler())
            log.log(LEVELS[level.upper()], '%s %s', event, fields.get('script') or fields.get('correlation_id'))


def run_ab(make_a, make_b, runs=10, on_run=None):
    # type: (Callable[[], ScriptRunner], Callable[[], ScriptRunner], int, Optional[Callable[[int, int], Any]]) -> Dict[str, Any]
    """Run two scripts in turn, in an order that favours neither, and compare their time, CPU time and memory.

    `make_a` and `make_b` return a ScriptRunner for each run; `on_run(done, total)` is called after each. Returns a dict: `runs`,
    `metrics` (for each what `compare_samples` returns, `metric`, `values` and a `sentence`), `verdict`, `sentence` of the time.
    Raises RunnerError when a run does not succeed: what fails early looks fast.
    """
    if runs < 1:
        raise UsageError('runs=%r: must be a whole number of at least 1' % (runs,))
    values = {'a': [], 'b': []}  # type: Dict[str, List[Dict[str, Any]]]
    order = [which for round_of_both in ab_order(runs) for which in round_of_both]
    for done, which in enumerate(order, 1):
        result = (make_a if which == 'a' else make_b)().run_script()
        if not result['success']:
            raise RunnerError('ab: %s did not succeed (%s, exit status %s%s); runs that fail cannot be compared' % (
                which.upper(), result['cause'], result['returncode'],
                ': ' + redact(result['error_summary']) if result['error_summary'] else ''))
        values[which].append(result['metrics'])
        if on_run is not None:
            on_run(done, len(order))
    metrics = []
    for metric in _AB_METRICS:
        samples = [[run[metric] for run in values[which] if run[metric] is not None] for which in ('a', 'b')]
        entry = dict(compare_samples(samples[0], samples[1]), metric=metric, values={'a': samples[0], 'b': samples[1]})
        entry['sentence'] = ab_sentence(entry, runs)
        metrics.append(entry)
    time_entry = metrics[0]
    return {'runs': runs, 'metrics': metrics, 'verdict': time_entry['verdict'], 'sentence': 'B, time: ' + time_entry['sentence']}


class _Past(object):
    """What the gates of a run compare with: the run that is pinned for its script, and the good runs before it."""

    def __init__(self, manager, record, before_id, integration=None):
        # type: (Optional[HistoryManager], Dict[str, Any], Optional[int], Optional[CICDIntegration]) -> None
        self._manager = manager
        self._record = record
        self._before_id = before_id
        self._window = max([200] + [gate.regression.window for gate in (integration.gates if integration is not None else ())
                                    if gate.regression is not None])
        self._pinned = None  # type: Optional[Dict[str, Any]]
        if manager is not None:
            self._pinned = manager.get_baseline(record['script_path'])

    def values(self, metric, same_host=True, limit=None):
        # type: (str, bool, Optional[int]) -> List[float]
        """Return the metric in good runs of the same script, host and Python before this one, oldest first.

        At most `limit` (None: as many as a gate looks at). Runs that were judged together are one value, as they then were. With
        a pinned run, only those from it on: pinning a run tells that its level is the one that is meant.
        """
        if self._manager is None:
            return []
        wanted = limit or self._window
        asked = wanted + 1                             # the oldest of what is read may be a part of what was judged together
        while True:
            groups, is_all = self._groups(metric, same_host, asked)
            if is_all or len(groups) > wanted:
                break
            asked *= 4
        return [aggregate_metrics([{metric: value} for value in group])[metric] for _, group in sorted(groups.items())][-wanted:]

    def _groups(self, metric, same_host, limit):
        # type: (str, bool, int) -> Tuple[Dict[int, List[float]], bool]
        """Return ({first of the runs judged together: their values} of the last `limit` good runs, whether these are all)."""
        manager = self._manager  # type: Any
        rows = manager.get_metric_series(
            self._record['script_path'], metric, limit=limit, good_only=True, before_id=self._before_id,
            hostname=self._record['hostname'] if same_host else None, python_version=self._record['python_version'])
        first = self._pinned['execution_id'] if self._pinned is not None else 0
        known = [row for row in rows if row[0] >= first]
        together = manager.get_judged_together(known[0][0]) if known else {}
        groups = {}  # type: Dict[int, List[float]]
        for row in known:
            groups.setdefault(together.get(row[0], row[0]), []).append(row[2])
        return groups, len(known) < limit

    def baseline(self, metric):
        # type: (str) -> Optional[float]
        """Return the metric of the pinned run, else the median of the last good runs; None while these are too few.

        This is where the values of `baseline.METRIC` come from when no file gives them.
        """
        if self._pinned is not None:
            return self._pinned['metrics'].get(metric)
        records = [{'id': number, 'status': 'success', 'value': value}
                   for number, value in enumerate(self.values(metric, limit=50))]
        return BaselineCalculator().calculate(records, metric)['median']

    def previous(self, metric):
        # type: (str) -> Any
        """Return the metric of the last good run."""
        values = self.values(metric, limit=1)
        return values[0] if values else None


def gate_values(record, integration, past):
    # type: (Dict[str, Any], CICDIntegration, Optional[_Past]) -> Dict[str, Any]
    """Return what the conditions of gates may name about a run: its metrics and facts, and what they compare with."""
    values = dict(record['metrics'])
    values.update((name, record.get(name)) for name in _TEXT_NAMES)
    values.update(('label.' + key, value) for key, value in (record.get('labels') or {}).items())
    if past is None:
        return values
    for gate in integration.gates:
        for name in gate.condition.names if gate.condition is not None else ():
            prefix, _, metric = name.partition('.')
            if prefix == 'previous':
                values[name] = past.previous(metric)
            elif prefix == 'baseline' and metric not in (integration.baseline or {}):
                values[name] = past.baseline(metric)
    return values


class _RunLock(object):
    """Hold a lock of the operating system while a run goes on; it ends with its holder, however that ends.

    The file stays: removing it would let two holders lock two files of one name. It holds pid and time of the holder.
    """

    def __init__(self, name, wait):
        # type: (Optional[str], float) -> None
        if name is not None and (not name or not name.replace('-', 'a').replace('_', 'a').replace('.', 'a').isalnum()):
            raise UsageError('lock %r: a name may hold letters, digits, dot, dash and underscore' % name)
        self._name = name
        self._wait = wait
        self._descriptor = -1

    def __enter__(self):
        # type: () -> _RunLock
        if self._name is None:
            return self
        try:
            import fcntl
        except ImportError:
            raise UsageError('lock %r: this platform has no flock' % self._name)
        folder = os.path.join(_state_folder(), 'locks')
        path = os.path.join(folder, self._name + '.lock')
        try:
            make_private_folder(folder)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise RunnerError('lock %s: %s cannot be opened: %s' % (self._name, path, error.strerror))
        deadline = time.monotonic() + self._wait
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= deadline:
                    self._refuse()
                time.sleep(min(0.05, max(0.0, deadline - time.monotonic())))
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b'%d %d\n' % (os.getpid(), int(time.time())), 0)
        except OSError:                              # a full disk: the lock is held, only by whom is not told
            pass
        return self

    def _refuse(self):
        # type: () -> None
        words = os.pread(self._descriptor, 100, 0).split()
        self.__exit__()
        holder = ''
        if len(words) == 2:
            holder = ' by pid %d for %s' % (int(words[0]), format_duration(max(0.0, time.time() - int(words[1]))))
        raise LockError('lock %s: held%s; this run does not start' % (self._name, holder))

    def __exit__(self, *_):
        # type: (*Any) -> None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _end_lost(run_id, correlation_id, tell):
    # type: (int, str, Callable[[str], Any]) -> None
    """End what a run left whose runner was killed: its processes carry the run's correlation id in their environment."""
    if not _LINUX:
        return
    left = _find_marked(correlation_id)
    for pid, start in left:
        send_signal(pid, start, _SIGTERM)
    deadline = time.monotonic() + 1.0
    while any(_is_alive(*process) for process in left) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid, start in left:
        send_signal(pid, start, _SIGKILL)
    if left:
        tell('ended %d process%s of run %d, whose runner was killed' % (len(left), '' if len(left) == 1 else 'es', run_id))


def stop_run(run, force=False):
    # type: (Dict[str, Any], bool) -> None
    """Ask the script of a running run of this machine to end (SIGTERM), or end it (`force`: SIGKILL); its runner ends the rest.

    `run` is one of HistoryManager's. The process is hit only when it carries the run's correlation id. Raises UsageError
    when there is none to be found: the run has ended, or it is on another machine.
    """
    if run['status'] != 'running':
        raise UsageError('run %d: it has ended (%s); only a running one can be stopped' % (run['id'], run['status']))
    if not _LINUX:
        raise UsageError('run %d: stopping it needs Linux, where a process can be told by its environment' % run['id'])
    for pid, start in _find_marked(run['correlation_id']):
        if pid == run['pid'] and send_signal(pid, start, _SIGKILL if force else _SIGTERM):
            return
    raise UsageError('run %d: its process (%s on %s) is not to be found or not ours to stop' % (
        run['id'], run['pid'], run['hostname']))


def _passable(what, text, shown=None):
    # type: (str, Any, Any) -> None
    """Refuse what the kernel cannot hand to a program: what is no text, a NUL, a character that the encoding lacks."""
    try:
        raw = os.fsencode(text)
    except (TypeError, UnicodeEncodeError) as error:
        raise UsageError('%s %r: cannot be passed to a program: %s' % (
            what, shown or text, getattr(error, 'reason', 'it is no text')))
    if b'\0' in raw:
        raise UsageError('%s %r: cannot be passed to a program: it holds a NUL' % (what, shown or text))


def read_variables(files, pairs):
    # type: (Iterable[str], Iterable[Tuple[str, str]]) -> Dict[str, str]
    """Return the variables that dotenv files set, later ones being stronger, and then (name, value) pairs.

    Raises UsageError for a file that cannot be read.
    """
    variables = {}  # type: Dict[str, str]
    for path in files:
        try:
            with open(path, encoding='utf-8-sig') as file:         # editors of Windows begin a file with a mark
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError('%s: cannot be read: %s' % (path, error))
        variables.update(parse_env_file(text, path, dict(os.environ, **variables)))
    variables.update(pairs)
    return variables


def _limits_over(limits, options):
    # type: (Limits, Dict[str, Any]) -> Limits
    """Return limits with those that are None taken from the options of a run."""
    if not options:
        return limits
    names = ('max_memory', 'max_cpu_time', 'max_processes', 'max_output', 'idle_timeout')
    return Limits(*[options.get(option) if getattr(limits, name) is None else getattr(limits, name)
                    for name, option in zip(Limits.__slots__, names)])


def _positive(name, value):
    # type: (str, Any) -> float
    if not isinstance(value, (int, float)) or not 0 < value < float('inf'):
        raise UsageError('%s %r: must be more than 0 seconds' % (name, value))
    return float(value)


def _stream_writer(stream):
    # type: (Any) -> Callable[[bytes], None]
    """Return a function that writes bytes to a text stream, also to one that somebody put in place of sys.stdout.

    Where that takes text only, a character that comes in two parts waits for its second; b'' ends that.
    """
    import codecs
    decoder = codecs.getincrementaldecoder('utf-8')('replace')

    def write(data):
        # type: (bytes) -> None
        stream.flush()                               # what the user's code printed before
        binary = getattr(stream, 'buffer', None)
        if binary is not None:
            binary.write(data)
        else:
            stream.write(decoder.decode(data, not data))
        stream.flush()
    return write


def _current_folder():
    # type: () -> Optional[str]
    """Return the current folder, None where it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


def _first_record(plan, labels, pid, started):
    # type: (LaunchPlan, Dict[str, str], Optional[int], float) -> Dict[str, Any]
    """Return what is known of a run when it starts."""
    folder = plan.cwd or _current_folder()
    checkout = os.path.dirname(plan.script_path) if os.path.isabs(plan.script_path) else folder
    commit, branch = find_git(checkout) if checkout else (None, None)
    return {'script_path': plan.script_path, 'script_args': plan.script_args, 'labels': labels, 'pid': pid,
            'correlation_id': plan.correlation_id, 'git_commit': commit, 'git_branch': branch, 'working_dir': folder,
            'python_version': plan.python_version, 'limits': _limits_of(plan),
            'metrics': {'start_time': format_time(started), 'attempt_number': plan.attempt_number}}


def _limits_of(plan):
    # type: (LaunchPlan) -> Dict[str, float]
    """Return the limits that a run has, by name: seconds, bytes, counts."""
    known = [('timeout', plan.timeout)]
    if plan.limits is not None:
        known += [(name, getattr(plan.limits, name)) for name in Limits.__slots__]
    return {name: value for name, value in known if value is not None}


def analyze_failure(attempt):
    # type: (Attempt) -> Optional[Dict[str, Any]]
    """Return what the output says of a failure, as LogAnalyzer does, with `stream`: stderr, or stdout where that says nothing.

    None for a success, which shall not pay for it, and where the analysis itself fails.
    """
    if attempt.status == 'success':
        return None
    analysis = None  # type: Optional[Dict[str, Any]]
    try:
        secrets = secret_values(attempt.plan.script_args)
        for name, tail in list(zip(('stdout', 'stderr'), attempt.tails))[::-1]:
            text = tail.content[-_ANALYSED:].decode('utf-8', 'replace')
            found = LogAnalyzer().analyze(text, tail.lines - text.count('\n') + text.endswith('\n'), secrets)
            if analysis is None or found['kind'] is not None and analysis['kind'] is None:
                analysis = dict(found, stream=name)
    except Exception as error:                  # border: what is said about a failure must not become one
        attempt.warnings.append('the failure was not analysed: %r' % error)
        return None
    return analysis


def _final_record(attempt, analysis=None):
    # type: (Attempt, Optional[Dict[str, Any]]) -> Dict[str, Any]
    """Return what is known of a run when it ended."""
    status = attempt.status
    out, err = (tail.content[-_TAIL_BYTES * 2:].decode('utf-8', 'replace') for tail in attempt.tails)
    record = {'status': status, 'cause': attempt.cause, 'evidence': attempt.evidence, 'warnings': attempt.warnings,
              'artefacts': attempt.artefacts,
              'metrics': _measure_safely(attempt), 'stdout_tail': out, 'stderr_tail': err, 'error_summary': None}
    if status != 'success':
        record['error_summary'] = summarize_error(out if attempt.is_one_stream else err)
        record.update(_explain_failure(analysis))
    return record


def _launch_error_record(error):
    # type: (LaunchError) -> Dict[str, Any]
    return {'status': 'failed', 'cause': 'launch_error', 'evidence': str(error), 'error_summary': str(error),
            'end_time': format_time(time.time()), 'metrics': {'exit_code': error.exit_status}}


def _explain_failure(analysis):
    # type: (Optional[Dict[str, Any]]) -> Dict[str, Any]
    """Return the fields of a record that come from the analysis of a failure."""
    if analysis is None:
        return {}
    error = analysis['exception']
    fields = {'error_kind': analysis['kind'], 'error_fingerprint': analysis['fingerprint']}
    if error is not None:
        fields.update(error_summary=analysis['summary'], error_frame=_frame_text(error))
        if error['root_cause'] is not None:
            root = error['root_cause']
            fields['error_cause'] = '%s: %s (%s)' % (root['type'], root['message'], _frame_text(root))
    return fields


def _frame_text(error):
    # type: (Dict[str, Any]) -> Optional[str]
    """Write where an exception was raised: 'job.py:3 in load'."""
    if error['file'] is None:
        return None
    where = '%s:%s' % (error['file'], error['line'])
    return '%s in %s' % (where, error['function']) if error['function'] else where


def summarize_error(text):
    # type: (str) -> Optional[str]
    """Return the last line that says something, which for a Python traceback is the exception; None without any.

    >>> summarize_error('Traceback (most recent call last):\\n  File "x"\\nValueError: no\\n\\n')
    'ValueError: no'
    """
    for line in reversed(strip_escapes(text).splitlines()):
        if line.strip():
            return line.strip()[:500]
    return None


def measure(attempt):
    # type: (Attempt) -> Dict[str, Any]
    """Return every metric of an attempt that ended; None where nothing is known."""
    metrics = dict.fromkeys(METRICS)  # type: Dict[str, Any]
    duration, usage, monitor = attempt.duration, attempt.usage, attempt.monitor
    if monitor is not None:
        if usage is not None and attempt.quiet is None:
            monitor.close_interval(duration, usage.user + usage.system)
        metrics.update(monitor.get_summary())
    if usage is not None:
        # What orphans used after the script's end belongs to the longer time in which they used it.
        span = max(duration, (attempt.quiet or 0.0) - attempt.started)
        average = 100.0 * (usage.user + usage.system) / span if span > 0 else 0.0
        metrics.update(user_time=usage.user, system_time=usage.system, cpu_avg=average, context_switches=usage.switches,
                       page_faults=usage.faults, block_io_operations=usage.blocks)
        for name, choose in (('cpu_max', max), ('cpu_min', min)):
            metrics[name] = average if metrics[name] is None else choose(metrics[name], average)
        if usage.read_mb is not None:
            # Who deletes what another has just written has that counted against him (proc(5), cancelled_write_bytes).
            metrics.update(io_read_mb=usage.read_mb, io_write_mb=max(0.0, usage.written_mb or 0.0))
        # fork copies our resident size into the child's ru_maxrss, so only what exceeds it is known to be the script's.
        if usage.peak_kib > attempt.floor_kib + 1024:
            metrics['memory_max_mb'] = max(usage.peak_kib / 1024.0, metrics['memory_max_mb'] or 0.0)
    out, err = attempt.tails
    metrics.update(
        start_time=format_time(attempt.started_wall), end_time=format_time(attempt.started_wall + duration),
        execution_time_seconds=duration, stdout_lines=out.lines, stderr_lines=err.lines, stdout_bytes=out.size,
        stderr_bytes=err.size, exit_code=attempt.returncode, success=attempt.status == 'success',
        attempt_number=attempt.plan.attempt_number, timed_out=attempt.cause in ('timeout', 'idle_timeout'))
    if attempt.is_one_stream:
        metrics.update(stderr_lines=None, stderr_bytes=None)
    return metrics


def _measure_safely(attempt):
    # type: (Attempt) -> Dict[str, Any]
    """Border: numbers that cannot be had cost the numbers, not the script's status."""
    try:
        return measure(attempt)
    except Exception as error:
        attempt.warnings.append('not measured: %r' % error)
        return dict(dict.fromkeys(METRICS), start_time=format_time(attempt.started_wall), exit_code=attempt.returncode,
                    execution_time_seconds=attempt.duration, success=attempt.status == 'success',
                    attempt_number=attempt.plan.attempt_number, timed_out=attempt.cause in ('timeout', 'idle_timeout'))


def _system_state():
    # type: () -> Dict[str, float]
    """Return the machine's memory (MiB), load and CPU seconds spent busy, from /proc or psutil."""
    state = {'monotonic_seconds': time.monotonic()}
    try:
        state['load_1m'] = os.getloadavg()[0]
    except (OSError, AttributeError):
        pass
    if _LINUX:
        words = _read_file('/proc/stat').split(b'\n', 1)[0].split()[1:9]
        ticks = [int(word) for word in words]
        state['cpu_busy_seconds'] = (sum(ticks) - ticks[3] - ticks[4]) * _TICK
        lines = dict(line.split(b':', 1) for line in _read_file('/proc/meminfo').splitlines() if b':' in line)
        state['memory_total_mb'] = int(lines[b'MemTotal'].split()[0]) / 1024.0
        state['memory_available_mb'] = int(lines[b'MemAvailable'].split()[0]) / 1024.0
    else:
        import psutil
        times, memory = psutil.cpu_times(), psutil.virtual_memory()
        state['cpu_busy_seconds'] = sum(times) - times.idle
        state['memory_total_mb'], state['memory_available_mb'] = memory.total / _MIB, memory.available / _MIB
    return state


# ======================================================================================================
# 14. Profiling
# ======================================================================================================

# -- what is watched from within the script's interpreter ------------------------------------------------

# Stands as sitecustomize.py in a folder of its own, first in PYTHONPATH: the interpreter then runs the script by its own
# machinery, so that argv, __main__, __file__, sys.path, tracebacks, exit status and what multiprocessing spawns are as without
# us. It puts PYTHONPATH back at once and imports whatever real sitecustomize it hides. Everything it needs is imported before
# the script's folder is in sys.path, since a random.py may lie there. %s is the line of settings.
_PROFILE_SITE = '''
%s

def begin():
    import atexit, os, sys, time
    sys.path[:] = [entry for entry in sys.path if entry != FOLDER]
    if PYTHONPATH is None:
        os.environ.pop('PYTHONPATH', None)
    else:
        os.environ['PYTHONPATH'] = PYTHONPATH
    hidden()
    pid, found, stops, forks, drops = os.getpid(), {'notes': []}, [], [], []

    def end():
        if os.getpid() != pid:
            return
        for stop in stops:
            try:
                stop()
            except Exception as error:
                found['notes'].append('%%s: %%r' %% (stop.__name__, error))
        try:
            with open(OUT + '.part', 'w', encoding='ascii') as file:
                file.write(ascii(found))
            os.replace(OUT + '.part', OUT)
        except OSError:
            pass

    if hasattr(os, 'register_at_fork'):
        os.register_at_fork(before=lambda: [call() for call in forks],
                            after_in_child=lambda: [drop() for drop in drops])
    atexit.register(end)
    for start in (MEMORY, CPU):
        if start:
            try:
                globals()[start](found, stops, forks, drops)
            except Exception as error:
                found['notes'].append('%%s did not start: %%r' %% (start, error))


def hidden():
    import importlib.util, sys
    from importlib.machinery import PathFinder
    spec = PathFinder.find_spec('sitecustomize', sys.path)
    if spec is not None:
        sys.modules['sitecustomize'] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


def cprofile(found, stops, forks, drops):
    import _lsprof
    profile = _lsprof.Profiler()

    def key(code):
        return code if isinstance(code, str) else (code.co_name, code.co_filename, code.co_firstlineno)

    def end_cprofile():
        profile.disable()
        entries = [entry for entry in profile.getstats() if getattr(entry.code, 'co_filename', '') != __file__]
        entries = sorted(entries, key=lambda entry: -entry.totaltime)[:3000]
        found['calls'] = [(key(entry.code), entry.callcount, entry.inlinetime, entry.totaltime,
                           [(key(call.code), call.totaltime) for call in entry.calls or ()]) for entry in entries]

    stops.insert(0, end_cprofile)
    drops.append(profile.disable)
    profile.enable(subcalls=True, builtins=True)


def pyinstrument(found, stops, forks, drops):
    from pyinstrument import Profiler
    profile = Profiler(interval=0.001, async_mode='disabled')

    def end_pyinstrument():
        stacks = {}
        for stack, seconds in profile.stop().frame_records:
            names = tuple(tuple(name.split('\\0')[:3]) for name in stack if '<thread>' not in name)
            stacks[names] = stacks.get(names, 0.0) + seconds
        found['stacks'] = sorted(stacks.items(), key=lambda item: -item[1])[:20000]

    stops.insert(0, end_pyinstrument)
    profile.start()


def memray(found, stops, forks, drops):
    import memray
    tracker = memray.Tracker(OUT + '.memray', file_format=memray.FileFormat.AGGREGATED_ALLOCATIONS)

    def end_memray():
        tracker.__exit__(None, None, None)

    tracker.__enter__()
    stops.append(end_memray)


def tracemalloc(found, stops, forks, drops):
    import _thread, os, time
    import tracemalloc
    from _tracemalloc import _get_traces
    from functools import partial
    wake, begun, best = _thread.allocate_lock(), _thread.allocate_lock(), [1 << 20]
    wake.acquire()
    begun.acquire()

    def take(size):
        lines = {}
        for trace in _get_traces():
            place = trace[2][0]
            kept = lines.setdefault(place, [0, 0])
            kept[0] += trace[1]
            kept[1] += 1
        lines = sorted(lines.items(), key=lambda item: -item[1][0])[:200]
        found['lines'] = [(place[0], place[1], kept[0], kept[1]) for place, kept in lines if place[0] != __file__]
        found['lines_at'] = best[0] = size

    # From 3.12 on cProfile takes the calls of all threads for those of one (sys.monitoring). So this thread begins before it, and
    # calls nothing while it waits: iterators do, which is no call to it.
    def look():
        rest, sizes = 0, iter(tracemalloc.get_traced_memory, None)
        waits = iter(partial(wake.acquire, True, 0.01), True)
        begun.release()
        for _ in waits:
            rest -= 1
            for size, _ in sizes:
                break
            if rest < 0 and size > 1.05 * best[0]:
                began = time.perf_counter()
                take(size)
                rest = int(2000.0 * (time.perf_counter() - began))

    def let_go():
        # From 3.12 on a fork beside a second thread is warned of; after the first fork only the end is looked at.
        forks[:] = []
        tasks = '/proc/self/task'
        before = len(os.listdir(tasks)) if os.path.isdir(tasks) else 0
        wake.release()
        deadline = time.perf_counter() + 0.05
        while before and len(os.listdir(tasks)) >= before and time.perf_counter() < deadline:
            time.sleep(0.001)
        found['notes'].append('memory by line was followed until the first fork of the script, then at its end')

    def end_tracemalloc():
        if forks:
            wake.release()
        size, peak = tracemalloc.get_traced_memory()
        if size > best[0]:
            take(size)
        found['traced_peak'] = peak
        tracemalloc.stop()

    tracemalloc.start()
    forks.append(let_go)
    stops.append(end_tracemalloc)
    drops.append(tracemalloc.stop)
    _thread.start_new_thread(look, ())
    begun.acquire()


begin()
'''

#: Says what an interpreter is and which profilers it can import; its folder must not decide that.
_PROFILE_PROBE = '''
import sys
del sys.path[0]
from importlib.util import find_spec
def has(name):
    try:
        return find_spec(name) is not None
    except ImportError:
        return False
print(repr({'version': sys.version_info[:2], 'name': sys.implementation.name, 'found': [name for name in (
    'profiling.sampling', 'pyinstrument', 'memray', '_lsprof', '_tracemalloc') if has(name)]}))
'''

#: Reads memray's file in the interpreter that has memray, and prints the lines at the moment of the peak.
_MEMRAY_READER = '''
import sys
del sys.path[0]
import memray
lines, total = {}, 0
for record in memray.FileReader(sys.argv[1]).get_high_watermark_allocation_records(merge_threads=True):
    total += record.size
    for _, path, line in record.stack_trace(max_stacks=1)[:1]:
        kept = lines.setdefault((path, line), [0, 0])
        kept[0] += record.size
        kept[1] += record.n_allocations
lines = sorted(lines.items(), key=lambda item: -item[1][0])[:200]
lines = [(place[0], place[1], kept[0], kept[1]) for place, kept in lines]
print(ascii({'lines': lines, 'lines_at': total, 'traced_peak': total}))
'''

_PROFILE_KEPT = 50                 # functions, and lines, that are kept with a run
_PROFILE_STACKS = 32768            # characters of stacks that are kept with it
_PROFILE_PATIENCE = 10.0           # seconds for a profiler to write down what it found


# The costs were measured by benchmarks/profilers.py: loops of calls, of small and large allocations, of numbers, and JSON.

class _ProfileTool(object):
    """One way of profiling, filled in below: where it works (`suits(probe)`), what it costs, what it counts.

    `attach` is the command that looks at a process from outside, None for what works within the script's interpreter.
    """
    def __init__(self, name, suits, clock, cost, attach=None):
        # type: (str, Callable[[Dict[str, Any]], bool], str, str, Any) -> None
        self.name = name
        self.suits = suits
        self.clock = clock
        self.cost = cost
        self.attach = attach


def _may_trace():
    # type: () -> bool
    """Tell whether this system lets a process read another one of the same user (Linux: Yama; macOS: root only)."""
    if getattr(os, 'geteuid', lambda: 0)() == 0:
        return True
    return _LINUX and (_contents('/proc/sys/kernel/yama/ptrace_scope') or b'0').strip() == b'0'


def _contents(path):
    # type: (str) -> bytes
    """Return what a file of a profiler holds, nothing when it is not there."""
    try:
        with open(path, 'rb') as file:
            return file.read()
    except OSError:
        return b''


_CPU_TOOLS = (
    _ProfileTool('profiling.sampling', lambda probe: 'profiling.sampling' in probe['found'] and _may_trace(), 'running',
                 'it looks from outside 1,000 times a second and does not stop the script (its documentation: next to no '
                 'cost)',
                 lambda python, pid, out: [python, '-P', '-m', 'profiling.sampling', 'attach', '-r', '1000', '-a', '--mode',
                                           'cpu', '--collapsed', '-o', out, str(pid)]),
    _ProfileTool('py-spy', lambda probe: _find_in_path('py-spy') is not None and probe['name'] == 'cpython' and _may_trace(),
                 'running', 'it looks from outside 200 times a second and does not stop the script (measured: 1.0 to 1.1 '
                 'times as long)',
                 lambda python, pid, out: [_find_in_path('py-spy'), 'record', '--nonblocking', '--format', 'raw', '--function',
                                           '--full-filenames', '--rate', '200', '-o', out, '--pid', str(pid)]),
    _ProfileTool('pyinstrument', lambda probe: 'pyinstrument' in probe['found'], 'wall',
                 'it looks from within at most 1,000 times a second (measured: 1.0 to 3.4 times as long, most with short calls)'),
    _ProfileTool('cProfile', lambda probe: '_lsprof' in probe['found'], 'wall',
                 'it notes every call (measured: 1.0 to 3.3 times as long, most with short calls)'),
)
_MEMORY_TOOLS = (
    _ProfileTool('memray', lambda probe: 'memray' in probe['found'], '',
                 'it notes every allocation (measured: 1.0 to 2.6 times as long, most with short calls)'),
    _ProfileTool('tracemalloc', lambda probe: '_tracemalloc' in probe['found'] and probe['name'] == 'cpython', '',
                 'it notes every allocation (measured: 1.0 to 16 times as long, most with small objects, numbers among them)'),
)


def _probe_interpreter(python):
    # type: (str) -> Dict[str, Any]
    """Ask an interpreter for its version and profilers; raises LaunchError when it does not answer."""
    import ast
    import subprocess
    try:
        out = subprocess.check_output([python, '-c', _PROFILE_PROBE], stdin=subprocess.DEVNULL)
        return ast.literal_eval(out.decode('utf-8'))
    except (OSError, subprocess.CalledProcessError, ValueError, SyntaxError) as error:
        raise LaunchError('%s: not a Python that answers: %s' % (python, error), 126)


def _choose_tool(what, tools, probe, wanted, barred=()):
    # type: (str, Sequence[_ProfileTool], Dict[str, Any], Optional[str], Sequence[str]) -> Optional[_ProfileTool]
    """Return the first tool that is at hand, the wanted one, or None; raises UsageError where the wanted one is not."""
    names = [tool.name for tool in tools]
    if wanted == 'none':
        return None
    if wanted is not None and wanted not in names:
        raise UsageError('%s %r: no such profiler%s (valid: %s, none)' % (what, wanted, suggest(wanted, names), ', '.join(names)))
    for tool in tools:
        if wanted in (None, tool.name) and tool.suits(probe) and tool.name not in barred:
            return tool
    if wanted is not None:
        raise UsageError('%s %r: cannot be used here: it is not installed for the script\'s Python, may not read another '
                         'process, or excludes the other profiler; valid: %s, none' % (what, wanted, ', '.join(names)))
    return None


class _ProfiledAttempt(_GuestAttempt):
    """An attempt that is profiled. Its run stands beside the script's own in the history: it says nothing about what is usual."""

    def __init__(self, plan, sinks, session):
        # type: (LaunchPlan, Tuple[Any, Any], _ProfileSession) -> None
        super(_ProfiledAttempt, self).__init__(plan, sinks)
        self._session = session
        plan.script_path += ' (profiled)'

    def spawn(self):
        # type: () -> None
        """Start the script, and what looks at it from outside."""
        super(_ProfiledAttempt, self).spawn()
        self._session.attach(self.pid)

    def supervise(self):
        # type: () -> None
        """As any attempt; at the end the profile is put among what is kept with the run."""
        try:
            super(_ProfiledAttempt, self).supervise()
        finally:
            self._session.detach()
        try:
            self._session.read(self.duration)
            self.artefacts.update(self._session.artefacts())
        except Exception as error:               # border: the script's status comes back without its profile too
            self.warnings.append('no profile: %r' % error)


class _ProfileSession(object):
    """The tools of one profiled run, their files, and what they found. A with block makes and removes the files."""

    def __init__(self, python, cpu, memory):
        # type: (str, Optional[_ProfileTool], Optional[_ProfileTool]) -> None
        self.python = python
        self.cpu = cpu
        self.memory = memory
        self.stacks = {}  # type: Dict[Tuple[Any, ...], float]
        self.profile = {}  # type: Dict[str, Any]
        self._folder = ''
        self._sampler = None  # type: Any

    def __enter__(self):
        # type: () -> _ProfileSession
        import tempfile
        self._folder = os.path.realpath(tempfile.mkdtemp(prefix='script-runner-profile-'))
        return self

    def __exit__(self, *_):
        # type: (*Any) -> None
        import shutil
        self.detach()
        shutil.rmtree(self._folder, ignore_errors=True)

    def environment(self, before):
        # type: (Optional[str]) -> Dict[str, str]
        """Write what the script's interpreter shall begin with; return the variables for that. `before`: its PYTHONPATH."""
        within = [tool.name.lower() if tool is not None and tool.attach is None else None for tool in (self.cpu, self.memory)]
        if within == [None, None]:
            return {}
        settings = 'FOLDER, OUT, PYTHONPATH, CPU, MEMORY = ' + ascii(
            (self._folder, os.path.join(self._folder, 'found'), before, within[0], within[1]))
        with open(os.path.join(self._folder, 'sitecustomize.py'), 'w', encoding='ascii') as file:
            file.write(_PROFILE_SITE % settings)
        return {'PYTHONPATH': self._folder + (os.pathsep + before if before else '')}

    def attach(self, pid):
        # type: (int) -> None
        """Start what looks from outside; that it cannot be started is told in the notes."""
        import subprocess
        self.profile = {'notes': []}
        for name in ('found', 'stacks'):
            if os.path.exists(os.path.join(self._folder, name)):
                os.unlink(os.path.join(self._folder, name))
        if self.cpu is None or self.cpu.attach is None:
            return
        with open(os.path.join(self._folder, 'said'), 'wb') as said:
            try:
                self._sampler = subprocess.Popen(self.cpu.attach(self.python, pid, os.path.join(self._folder, 'stacks')),
                                                 stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            except OSError as error:
                self.profile['notes'].append('%s did not start: %s' % (self.cpu.name, error))

    def detach(self):
        # type: () -> None
        """Wait until it has written what it saw; end it when that takes too long."""
        import subprocess
        sampler, self._sampler = self._sampler, None
        if sampler is None:
            return
        try:
            sampler.wait(_PROFILE_PATIENCE)
        except subprocess.TimeoutExpired:
            sampler.kill()
            sampler.wait()
            self.profile['notes'].append('%s did not come to an end and was ended' % (self.cpu.name if self.cpu else 'it'))

    def read(self, duration):
        # type: (float) -> None
        """Turn the files into the profile."""
        import ast
        found = {}  # type: Dict[str, Any]
        raw = _contents(os.path.join(self._folder, 'found'))
        if raw:
            found = ast.literal_eval(raw.decode('ascii'))
        elif os.path.exists(os.path.join(self._folder, 'sitecustomize.py')):
            self.profile['notes'].append('the script left without its interpreter\'s farewell (os._exit, exec, a signal), so '
                                         'what was noted within it is lost')
        self.profile['notes'] += found.get('notes', ())
        functions = self._read_cpu(found, duration)
        if self.memory is not None and self.memory.name == 'memray' and found:
            found.update(self._read_memray())
        self.profile.update(functions=functions[:_PROFILE_KEPT], lines=_lines_by_memory(found.get('lines', ())),
                            lines_at_mb=_mib_or_none(found.get('lines_at')),
                            traced_peak_mb=_mib_or_none(found.get('traced_peak')),
                            seconds=duration, cpu_tool=self.cpu.name if self.cpu else None,
                            memory_tool=self.memory.name if self.memory else None, clock=self.cpu.clock if self.cpu else None)

    def _read_cpu(self, found, duration):
        # type: (Dict[str, Any], float) -> List[Dict[str, Any]]
        """Fill `stacks` and return the functions, the most expensive first."""
        if self.cpu is not None and self.memory is not None:
            self.profile['notes'].append('times include what noting the memory cost (%s); --memory none leaves it out'
                                         % self.memory.name)
        if 'calls' in found:
            self.stacks = stacks_of_calls(found['calls'])
            return functions_of_calls(found['calls'])
        self.stacks = {}
        if self.cpu is not None and self.cpu.attach is not None:
            text = _contents(os.path.join(self._folder, 'stacks'))
            self.stacks = parse_stacks(text.decode('utf-8', 'replace'), 1.0 / (1000 if self.cpu.name != 'py-spy' else 200))
            if not self.stacks:
                said = _contents(os.path.join(self._folder, 'said')).decode('utf-8', 'replace').strip()
                self.profile['notes'].append('%s saw nothing: the script was too short, or it said: %s' % (
                    self.cpu.name, said.splitlines()[-1] if said else 'nothing'))
        for names, seconds in found.get('stacks', ()):
            key = tuple((name[0], name[1] if len(name) > 1 else '', _line_number(name[2] if len(name) > 2 else ''))
                        for name in names)
            self.stacks[key] = self.stacks.get(key, 0.0) + seconds
        ours = os.path.join(self._folder, 'sitecustomize.py')
        self.stacks = {stack: seconds for stack, seconds in self.stacks.items() if all(frame[1] != ours for frame in stack)}
        return functions_of_stacks(self.stacks)

    def _read_memray(self):
        # type: () -> Dict[str, Any]
        import ast
        import subprocess
        path = os.path.join(self._folder, 'found.memray')
        try:
            out = subprocess.check_output([self.python, '-c', _MEMRAY_READER, path], stdin=subprocess.DEVNULL,
                                          stderr=subprocess.DEVNULL)
            return ast.literal_eval(out.decode('ascii'))
        except (OSError, subprocess.CalledProcessError, ValueError, SyntaxError) as error:
            self.profile['notes'].append('what memray wrote cannot be read: %s' % error)
            return {}

    def artefacts(self):
        # type: () -> Dict[str, str]
        """Return what is kept with the run: the profile as JSON, and the heaviest stacks in the collapsed form."""
        import json
        kept, size = [], 0
        for stack, seconds in sorted(self.stacks.items(), key=lambda item: -item[1]):
            line = '%s %d' % (';'.join(frame_text(frame).replace(';', ',') for frame in stack), round(seconds * 1e6))
            size += len(line) + 1
            if size > _PROFILE_STACKS:
                break
            kept.append(line)
        texts = {'profile': json.dumps(self.profile, sort_keys=True)}
        if kept:
            texts['profile_stacks'] = '\n'.join(kept)          # microseconds; what flamegraph.pl, speedscope and inferno read
        return texts


def _mib_or_none(size):
    # type: (Optional[int]) -> Optional[float]
    return None if size is None else size / _MIB


def _line_number(text):
    # type: (str) -> Optional[int]
    return int(text) if text.isdigit() else None


def _lines_by_memory(rows):
    # type: (Iterable[Tuple[str, int, int, int]]) -> List[Dict[str, Any]]
    """Return lines with what they hold in MiB, the most first, each with its text where the file can be read."""
    import linecache
    lines = []
    for path, number, size, blocks in list(rows)[:_PROFILE_KEPT]:
        lines.append({'file': path, 'line': number, 'size_mb': size / _MIB, 'blocks': blocks,
                      'text': redact(linecache.getline(path, number).strip()[:100])})
    linecache.clearcache()
    return lines


# A frame is (function, file, line of its definition or None).

def frame_text(frame):
    # type: (Tuple[str, str, Optional[int]]) -> str
    """Write a frame as 'function (file:line)'.

    >>> frame_text(('main', '/srv/job.py', 3)), frame_text(('<built-in method sum>', '', None))
    ('main (/srv/job.py:3)', '<built-in method sum>')
    """
    name, path, line = frame
    return name if not path else '%s (%s%s)' % (name, path, '' if line is None else ':%d' % line)


def parse_stacks(text, seconds):
    # type: (str, float) -> Dict[Tuple[Any, ...], float]
    """Read collapsed stacks, `root;…;leaf count` in each line, as py-spy and profiling.sampling write them.

    `seconds` is what one count stands for. Returns {stack: seconds}, a stack being a tuple of frames, root first. Lines of
    another form are left out.

    >>> parse_stacks('<module> (a.py:1);f (a.py:2) 3', 0.01)
    {(('<module>', 'a.py', 1), ('f', 'a.py', 2)): 0.03}
    >>> list(parse_stacks('tid:7;a.py:<module>:9;a.py:f:2 1', 1.0))
    [(('<module>', 'a.py', None), ('f', 'a.py', None))]
    """
    stacks = {}  # type: Dict[Tuple[Any, ...], float]
    for line in text.splitlines():
        names, _, count = line.rpartition(' ')
        frames = tuple(_parse_frame(name) for name in names.split(';')
                       if name.strip() and not name.startswith(('tid:', 'thread (')))
        if frames and count.isdigit():
            stacks[frames] = stacks.get(frames, 0.0) + int(count) * seconds
    return stacks


def _parse_frame(text):
    # type: (str) -> Tuple[str, str, Optional[int]]
    """Read 'function (file:line)' or 'file:function:line'; the latter's line is where it was, not where it begins."""
    if text.endswith(')') and ' (' in text:
        name, _, place = text[:-1].rpartition(' (')
        path, _, line = place.rpartition(':')
        return (name, path, int(line)) if line.isdigit() else (name, place, None)
    path, _, rest = text.partition(':')
    name, _, line = rest.rpartition(':')
    return (name, path, None) if line.isdigit() and name else (text, '', None)


def functions_of_stacks(stacks):
    # type: (Dict[Tuple[Any, ...], float]) -> List[Dict[str, Any]]
    """Add up stacks by function: `own` seconds at their top, `cumulative` seconds anywhere in them, once for each stack.

    Returns dicts of function, file, line, own, cumulative, calls (None: unknown), share (of all own time), most own time first.

    >>> f, g = ('f', 'a.py', 1), ('g', 'a.py', 5)
    >>> [(r['function'], r['own'], r['cumulative']) for r in functions_of_stacks({(f,): 1.0, (f, g, g): 2.0})]
    [('g', 2.0, 2.0), ('f', 1.0, 3.0)]
    """
    own, cumulative = {}, {}  # type: Dict[Any, float], Dict[Any, float]
    for stack, seconds in stacks.items():
        own[stack[-1]] = own.get(stack[-1], 0.0) + seconds
        for frame in set(stack):
            cumulative[frame] = cumulative.get(frame, 0.0) + seconds
    return _ranked([(frame, own.get(frame, 0.0), cumulative[frame], None) for frame in cumulative])


def _ranked(rows):
    # type: (Iterable[Tuple[Any, float, float, Optional[int]]]) -> List[Dict[str, Any]]
    rows = sorted(rows, key=lambda row: (-row[1], -row[2], row[0][:2]))
    total = sum(row[1] for row in rows) or 1.0
    return [{'function': frame[0], 'file': frame[1], 'line': frame[2], 'own': own, 'cumulative': cumulative, 'calls': calls,
             'share': own / total} for frame, own, cumulative, calls in rows]


def _call_frame(key):
    # type: (Any) -> Tuple[str, str, Optional[int]]
    return (key, '', None) if isinstance(key, str) else tuple(key)  # type: ignore[return-value]


def _own_calls(calls):
    # type: (Iterable[Any]) -> List[Any]
    """Leave out the end of the profiling itself."""
    return [call for call in calls if not (isinstance(call[0], str) and '_lsprof.Profiler' in call[0])]


def functions_of_calls(calls):
    # type: (Iterable[Any]) -> List[Dict[str, Any]]
    """Do as `functions_of_stacks` for what cProfile noted: (key, calls, own, cumulative, [(key of a callee, seconds)]).

    >>> functions_of_calls([(('f', 'a.py', 1), 7, 1.0, 3.0, [])])[0]['calls']
    7
    """
    return _ranked([(_call_frame(key), own, cumulative, count) for key, count, own, cumulative, _ in _own_calls(calls)])


def stacks_of_calls(calls, least=0.001):
    # type: (Iterable[Any], float) -> Dict[Tuple[Any, ...], float]
    """Work out likely stacks of what cProfile noted, which knows who called whom, but not from where that was called.

    The time of a function is shared among its callers as their calls took. Branches below `least` of all time are cut, and
    recursion ends at the first repetition.

    >>> main, f = ('main', 'a.py', 1), ('f', 'a.py', 5)
    >>> stacks = stacks_of_calls([(main, 1, 1.0, 3.0, [(f, 2.0)]), (f, 1, 2.0, 2.0, [])])
    >>> sorted(stacks.values())
    [1.0, 2.0]
    """
    table = {call[0]: call for call in _own_calls(calls)}
    called = set(callee for call in table.values() for callee, _ in call[4] if callee != call[0])
    smallest = least * (sum(call[2] for call in table.values()) or 1.0)
    stacks = {}  # type: Dict[Tuple[Any, ...], float]
    waiting = [((key,), call[3]) for key, call in table.items() if key not in called]  # type: List[Tuple[Tuple[Any, ...], float]]
    while waiting:
        stack, seconds = waiting.pop()
        call = table[stack[-1]]
        share = min(1.0, seconds / call[3]) if call[3] > 0 else 0.0
        rest = seconds
        for callee, spent in call[4] if len(stack) < 100 else ():
            if callee in table and callee not in stack and spent * share >= smallest:
                waiting.append((stack + (callee,), spent * share))
                rest -= spent * share
        if rest > smallest / 10:
            frames = tuple(_call_frame(key) for key in stack)
            stacks[frames] = stacks.get(frames, 0.0) + rest
    return stacks


# -- flame graph -----------------------------------------------------------------------------------------

_FLAME_WIDTH = 1200
_FLAME_ROW = 18

_FLAME_SCRIPT = '''
var all = [].slice.call(document.querySelectorAll('g[data-x]'));
function zoom(x, w, level) {
  all.forEach(function (g) {
    var gx = +g.dataset.x, gw = +g.dataset.w, left = Math.max(gx, x), right = Math.min(gx + gw, x + w);
    g.style.display = right - left > w / 2000 ? '' : 'none';
    var box = g.querySelector('rect'), text = g.querySelector('text'), width = (right - left) / w * WIDTH;
    box.setAttribute('x', (left - x) / w * WIDTH);
    box.setAttribute('width', Math.max(0.5, width - 0.5));
    text.setAttribute('x', (left - x) / w * WIDTH + 3);
    var room = Math.floor((width - 6) / 6.6), name = g.dataset.name;
    text.textContent = room < 3 ? '' : name.length <= room ? name : name.slice(0, room - 1) + '\\u2026';
  });
}
all.forEach(function (g) { g.addEventListener('click', function () { zoom(+g.dataset.x, +g.dataset.w); }); });
'''


def _escape_markup(text):
    # type: (str) -> str
    """Make a text harmless in HTML and XML, also one with characters that XML does not have.

    >>> _escape_markup('<a href="x">&' + chr(7))
    '&lt;a href=&quot;x&quot;&gt;&amp;\\ufffd'
    """
    text = ''.join(char if char in '\t\n' or ' ' <= char < '\ud800' or '\ue000' <= char < '\ufffe' or char > '\uffff'
                   else '\ufffd' for char in text)
    for char, name in (('&', '&amp;'), ('<', '&lt;'), ('>', '&gt;'), ('"', '&quot;'), ("'", '&#39;')):
        text = text.replace(char, name)
    return text


def _flame_boxes(stacks, least):
    # type: (Dict[Tuple[Any, ...], float], float) -> List[Tuple[int, float, float, Any]]
    """Return (depth, start, length, frame) of each box, in seconds; equal callers side by side are one box."""
    boxes = []
    waiting = [(0, 0.0, list(stacks.items()))]  # type: List[Tuple[int, float, List[Any]]]
    while waiting:
        depth, start, items = waiting.pop()
        groups = {}  # type: Dict[Any, List[Any]]
        for stack, seconds in items:
            if len(stack) > depth:
                groups.setdefault(stack[depth], []).append((stack, seconds))
        for frame in sorted(groups, key=frame_text):
            length = sum(seconds for _, seconds in groups[frame])
            if length >= least:
                boxes.append((depth, start, length, frame))
                waiting.append((depth + 1, start, groups[frame]))
            start += length
    return boxes


def flame_graph(stacks, title, html=True):
    # type: (Dict[Tuple[Any, ...], float], str, bool) -> str
    """Draw {stack: seconds} as a flame graph, root at the top: a self-contained SVG, or a page in which a click zooms.

    Width is time, the order from left to right is that of the names and says nothing. Boxes below a thousandth are left out.
    Nothing is loaded from anywhere; every name is escaped. Raises ValueError without any stack.
    """
    total = sum(stacks.values())
    if not total > 0:
        raise ValueError('no stacks to draw')
    boxes = _flame_boxes(stacks, total / 1000.0)
    height = (max(box[0] for box in boxes) + 1) * _FLAME_ROW + 30
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="monospace" font-size="11" role="img">'
             % (_FLAME_WIDTH, height),
             '<title>%s</title><rect width="100%%" height="100%%" fill="#fff"/>' % _escape_markup(title),
             '<text x="3" y="15" font-size="13" fill="#222">%s</text>' % _escape_markup(title)]
    parts += [_flame_box(box, total) for box in boxes]
    svg = '\n'.join(parts + ['</svg>'])
    if not html:
        return '<?xml version="1.0" encoding="UTF-8"?>\n%s\n' % svg
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>%s</title>'
            '<style>body{margin:1em;font-family:sans-serif;background:#fff;color:#222}svg{width:100%%}g{cursor:pointer}</style></head>\n'
            '<body><p>Width is time; a click on a box widens it. <button type="button" onclick="zoom(0,1)">All</button></p>\n%s\n'
            '<script>%s</script></body></html>\n' % (
                _escape_markup(title), svg, _FLAME_SCRIPT.replace('WIDTH', str(_FLAME_WIDTH))))


def _flame_box(box, total):
    # type: (Tuple[int, float, float, Any], float) -> str
    import zlib
    depth, start, length, frame = box
    x, width, y = start / total * _FLAME_WIDTH, length / total * _FLAME_WIDTH, depth * _FLAME_ROW + 24
    name, room = frame[0], int((width - 6) / 6.6)
    shown = '' if room < 3 else name if len(name) <= room else name[:room - 1] + '\u2026'
    hue = zlib.crc32(frame_text(frame).encode('utf-8', 'replace')) % 50
    return ('<g data-x="%.6f" data-w="%.6f" data-name="%s"><title>%s: %s, %.1f %%</title>'
            '<rect x="%.2f" y="%d" width="%.2f" height="%d" fill="hsl(%d,85%%,72%%)" rx="1"/>'
            '<text x="%.2f" y="%d" fill="#222">%s</text></g>' % (
                start / total, length / total, _escape_markup(name), _escape_markup(frame_text(frame)), format_duration(length),
                100.0 * length / total, x, y, max(0.5, width - 0.5), _FLAME_ROW - 1, hue, x + 3, y + 12, _escape_markup(shown)))


class AdvancedProfiler(object):
    """Find where a Python script spends its time and its memory, with the best profiler that is at hand.

        profile = AdvancedProfiler('job.py', ['--fast']).profile_cpu_and_memory()
        profile['functions'][0]['function'], profile['lines'][0]['size_mb']

    `cpu` names the profiler of functions: profiling.sampling (in Python from 3.15 on), py-spy, pyinstrument, cProfile; `memory`
    that of lines: memray, tracemalloc; 'none' is none, None the first that can be used, in this order. `options` are those of
    ScriptRunner. Raises UsageError for a profiler that cannot be used and for a script that is none of Python's.

    The script runs by its interpreter's own machinery: argv, __main__, sys.path, exit status, tracebacks, multiprocessing are as
    without a profiler. What cannot be kept: it is slower, modules of the profiler stand in sys.modules, its output goes through
    pipes, and until its first fork a thread of tracemalloc's looks at the memory. Its children are not profiled. A profiled run
    is recorded as a script of its own, named 'job.py (profiled)', so that it teaches nothing about what is usual.
    """

    def __init__(self, script_path, script_args=None, cpu=None, memory=None, **options):
        # type: (str, Optional[Sequence[str]], Optional[str], Optional[str], **Any) -> None
        self.runner = ScriptRunner(script_path, script_args, **options)
        self.cpu = cpu
        self.memory = memory
        self.stacks = {}  # type: Dict[Tuple[Any, ...], float]

    def choose_tools(self):
        # type: () -> Tuple[Optional[str], Optional[str]]
        """Return the names of the profilers that would be used, of functions and of lines; None: none."""
        _, cpu, memory = self._choose()
        return cpu.name if cpu else None, memory.name if memory else None

    def profile_cpu_and_memory(self):
        # type: () -> Dict[str, Any]
        """Run the script once under the profilers and return a dict. It is also kept with the run, as artefact `profile`.

        `functions` (function, file, line, own and cumulative seconds, calls or None, share), most own time first; `lines` (file,
        line, size_mb, blocks, text) at a moment when `lines_at_mb` were allocated of `traced_peak_mb` at the peak; `clock`:
        'running' counts time on a CPU, 'wall' waiting too; `io` (from the run's metrics); `slowdown` (seconds, usual_seconds of
        good runs without a profiler or None, ratio or None, known: what is known of the tools); `notes` (what went wrong or is
        lost); `result` of the run. `stacks` of this object is then {stack: seconds}, for `flame_graph`.
        """
        python, cpu, memory = self._choose()
        if cpu is None and memory is None:
            raise UsageError('profile: no profiler to use; leave --cpu or --memory out')
        runner = self.runner
        own_variables, own_form = runner.env_vars, runner._attempt_form
        with _ProfileSession(python, cpu, memory) as session:
            before = own_variables.get('PYTHONPATH', os.environ.get('PYTHONPATH'))
            runner.env_vars = dict(own_variables, **session.environment(before))
            runner._attempt_form = lambda plan, sinks: _ProfiledAttempt(plan, sinks, session)
            try:
                result = runner.run_script()
            finally:
                runner.env_vars, runner._attempt_form = own_variables, own_form
            self.stacks = session.stacks
        profile = dict(session.profile, result=result, io=_io_summary(result['metrics']))
        profile['slowdown'] = self._slowdown(result, [tool for tool in (cpu, memory) if tool is not None])
        return profile

    def _choose(self):
        # type: () -> Tuple[str, Optional[_ProfileTool], Optional[_ProfileTool]]
        plan = resolve_script(self.runner.script_path, (), self.runner.module, self.runner.python)
        if plan.argv[0] != (self.runner.python or sys.executable):
            raise UsageError('%s: not a Python script by its name (.py); only those can be profiled' % self.runner.script_path)
        probe = _probe_interpreter(plan.executable)
        # memray and the profilers within the interpreter hook into the same place of it, and only one can have that.
        barred = [tool.name for tool in _CPU_TOOLS if tool.attach is None] if self.memory == 'memray' else []
        cpu = _choose_tool('cpu', _CPU_TOOLS, probe, self.cpu, barred)
        barred = ['memray'] if cpu is not None and cpu.attach is None else []
        return plan.executable, cpu, _choose_tool('memory', _MEMORY_TOOLS, probe, self.memory, barred)

    def _slowdown(self, result, tools):
        # type: (Dict[str, Any], Sequence[_ProfileTool]) -> Dict[str, Any]
        """Say how slow the run was: against good runs of the same script without a profiler, else what is known of the tools."""
        seconds, usual = result['metrics']['execution_time_seconds'], None
        history = self.runner.history_manager
        if history is not None and result['success']:
            try:
                rows = history.get_metric_series(result['script_path'].replace(' (profiled)', ''), 'execution_time_seconds',
                                                 limit=20, good_only=True)
            except RunnerError:
                rows = []
            times = sorted(row[2] for row in rows)
            usual = times[len(times) // 2] if times else None
        return {'seconds': seconds, 'usual_seconds': usual, 'ratio': seconds / usual if usual else None,
                'known': {tool.name: tool.cost for tool in tools}}


def _io_summary(metrics):
    # type: (Dict[str, Any]) -> Dict[str, Any]
    names = ('io_read_mb', 'io_write_mb', 'block_io_operations', 'stdout_bytes', 'stderr_bytes', 'num_fds', 'page_faults',
             'context_switches')
    return {name: metrics[name] for name in names}


# -- what watching costs ---------------------------------------------------------------------------------

def paired_interval(values, level=0.95):
    # type: (Sequence[float], float) -> Dict[str, Any]
    """Return the median of values with a confidence interval that assumes nothing of their distribution (sign test).

    Keys: value, low, high, level (what the interval really has, at least `level`). With fewer than 6 values the ends are
    None, since even the extremes do not reach 95 %.

    >>> paired_interval([1, 2, 3, 4, 5, 6])
    {'value': 3.5, 'low': 1, 'high': 6, 'level': 0.96875}
    """
    ordered, n = sorted(values), len(values)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2.0
    outside, tail, share = -1, 0.0, 0.5 ** n
    for k in range(n // 2):
        if 2.0 * (tail + share) > 1.0 - level:
            break
        tail += share
        outside, share = k, share * (n - k) / (k + 1)
    if outside < 0:
        return {'value': middle, 'low': None, 'high': None, 'level': None}
    return {'value': middle, 'low': ordered[outside], 'high': ordered[n - 1 - outside], 'level': 1.0 - 2.0 * tail}


def overhead_sentence(ratio, difference):
    # type: (Dict[str, Any], Dict[str, Any]) -> str
    """Say what watching costs, from intervals of `paired_interval`: of the quotients and of the differences in seconds.

    >>> overhead_sentence({'value': 1.2, 'low': 1.1, 'high': 1.3}, {'value': 0.02, 'low': 0.01, 'high': 0.03})
    'watching costs 20 ms a run (10 to 30 ms): 1.20 times the bare time (1.10 to 1.30)'
    """
    if difference['low'] is None:
        return 'cannot tell what watching costs: at least 6 rounds are needed'
    low, high = 1000.0 * difference['low'], 1000.0 * difference['high']
    if difference['low'] <= 0 <= difference['high']:
        return 'no cost of watching found: it is between %.0f and %.0f ms a run' % (low, high)
    return 'watching %s %.0f ms a run (%.0f to %.0f ms): %.2f times the bare time (%.2f to %.2f)' % (
        'costs' if difference['value'] > 0 else 'seems to save', 1000.0 * abs(difference['value']), min(abs(low), abs(high)),
        max(abs(low), abs(high)), ratio['value'], ratio['low'], ratio['high'])


class StressTest(object):
    """Measure what watching costs a script of yours, on this machine, now.

        StressTest('job.py').measure_overhead(10)['sentence']

    `python -m runner` is measured as a whole, from outside, against the bare script, both by the same means. Runs are recorded in
    a history that goes away; yours is not touched. `options` (timeout, python, working_dir, env_vars) are those of ScriptRunner.
    """

    def __init__(self, script_path, script_args=None, **options):
        # type: (str, Optional[Sequence[str]], **Any) -> None
        self.script_path = script_path
        self.script_args = list(script_args or ())
        self.module = options.pop('module', False)
        self.options = dict(options, enable_history=False)
        self.options['env_vars'] = dict(self._where_we_are(), **(options.get('env_vars') or {}))
        self._bare()                                        # wrong options are told at once

    @staticmethod
    def _where_we_are():
        # type: () -> Dict[str, str]
        """Return the variables with which a Python finds this module, last in its path; both sides get them."""
        here = os.path.dirname(os.path.abspath(__file__))
        given = [entry for entry in os.environ.get('PYTHONPATH', '').split(os.pathsep) if entry]
        if here in given or os.path.basename(here) == 'site-packages':
            return {}
        return {'PYTHONPATH': os.pathsep.join(given + [here])}

    def _bare(self):
        # type: () -> ScriptRunner
        return ScriptRunner(self.script_path, self.script_args, module=self.module, **self.options)

    def _watched(self, folder, *more):
        # type: (str, *str) -> ScriptRunner
        words = ['--quiet', '--history-db', os.path.join(folder, 'history.db')] + list(more)
        words += ['-m'] if self.module else ['--']
        options = dict(self.options, python=sys.executable)
        if self.options.get('python'):
            words[:0] = ['--python', self.options['python']]
        return ScriptRunner('runner', words + [self.script_path] + self.script_args, module=True, **options)

    def measure_overhead(self, runs=10, on_run=None):
        # type: (int, Optional[Callable[[int, int], Any]]) -> Dict[str, Any]
        """Run the script bare and watched in turn, `runs` times each, in an order that favours neither; return a dict.

        `runs`, `metrics`: for time (`execution_time_seconds`), CPU (`cpu_seconds`) and memory (`memory_max_mb`) the medians
        `bare` and `watched`, and `ratio` and `difference` within each round as `paired_interval` gives them; `sentence` of the
        time. `on_run(done, total)` is called after each. Raises RunnerError when the script does not succeed: what fails early
        looks fast.
        """
        with _ScratchFolder() as folder:
            for run in (self._bare(), self._watched(folder)):          # byte code, page cache, a history that is there
                run.run_script()
            try:
                found = run_ab(self._bare, lambda: self._watched(folder), runs, on_run)
            except LaunchError:
                raise
            except RunnerError as error:
                raise RunnerError('overhead: ' + str(error).replace('ab: A ', 'the bare script ').replace(
                    'ab: B ', 'the watched script '))
        values = {entry['metric']: entry['values'] for entry in found['metrics']}
        values['cpu_seconds'] = {side: [a + b for a, b in zip(values['user_time'][side], values['system_time'][side])]
                                 for side in ('a', 'b')}
        metrics = {name: _overhead_of(values[name]['a'], values[name]['b'])
                   for name in ('execution_time_seconds', 'cpu_seconds', 'memory_max_mb')}
        entry = metrics['execution_time_seconds']
        return {'runs': runs, 'metrics': metrics, 'sentence': overhead_sentence(entry['ratio'], entry['difference'])}

    def measure_sampling(self, seconds=0.5):
        # type: (float) -> Dict[str, Any]
        """Sample this process as often as can be for some seconds; return how often that was.

        `samples_per_second` of all SAMPLE_FIELDS, `values_per_second`, `microseconds_per_sample` of CPU time, and
        `share_at_10_hz`: the share of one core that ten samples a second would take.
        """
        monitor = ProcessMonitor(os.getpid(), 1e-6)
        began = time.monotonic()
        monitor.start()
        time.sleep(seconds)
        monitor.stop()
        took = time.monotonic() - began
        summary = monitor.get_summary()
        count, cpu = summary['monitor_samples'], summary['monitor_cpu_seconds']
        each = cpu / count if count and cpu is not None else None
        return {'seconds': took, 'samples': count, 'samples_per_second': count / took,
                'values_per_second': count * len(SAMPLE_FIELDS) / took,
                'microseconds_per_sample': None if each is None else 1e6 * each,
                'share_at_10_hz': None if each is None else 10.0 * each}

    def run_parallel(self, count=8):
        # type: (int) -> Dict[str, Any]
        """Start the watched script `count` times at once, all into one new history, and wait for all.

        Returns `runs`, `recorded` (rows of ended runs in the file, counted with plain SQLite), `succeeded`, and of the delay
        that watching added to each (its whole time less the script's own, in seconds) `delay_median`, `delay_p99`, `delay_max`.
        """
        with _ScratchFolder() as folder:
            runners = [self._watched(folder, '--json-output', os.path.join(folder, '%d.json' % number))
                       for number in range(count)]
            outcomes = _run_at_once(runners)
            recorded = _count_ended(os.path.join(folder, 'history.db'))
            told = [_delay_of(outcome, os.path.join(folder, '%d.json' % number))
                    for number, outcome in enumerate(outcomes) if outcome is not None]
        delays = sorted(delay for delay in told if delay is not None)
        return {'runs': count, 'recorded': recorded, 'succeeded': sum(bool(r and r['success']) for r in outcomes),
                'delay_median': delays[len(delays) // 2] if delays else None,
                'delay_p99': delays[min(len(delays) - 1, int(0.99 * len(delays)))] if delays else None,
                'delay_max': delays[-1] if delays else None}


class _ScratchFolder(object):
    """A private folder for the length of a with block."""

    def __enter__(self):
        # type: () -> str
        import tempfile
        self._path = tempfile.mkdtemp(prefix='script-runner-stress-')
        return self._path

    def __exit__(self, *_):
        # type: (*Any) -> None
        import shutil
        shutil.rmtree(self._path, ignore_errors=True)


def _overhead_of(bare, watched):
    # type: (Sequence[float], Sequence[float]) -> Dict[str, Any]
    """Compare round by round, so that what else the machine does meanwhile hits both alike."""
    pairs = list(zip(bare, watched))
    entry = {'bare': paired_interval(bare)['value'], 'watched': paired_interval(watched)['value'], 'ratio': None,
             'difference': paired_interval([b - a for a, b in pairs])}
    if min(bare) > 0:
        entry['ratio'] = paired_interval([b / a for a, b in pairs])
    return entry


def _run_at_once(runners):
    # type: (Sequence[ScriptRunner]) -> List[Optional[Dict[str, Any]]]
    """Run each in a thread of its own, all at once; None for one that could not be run."""
    import threading
    results = [None] * len(runners)  # type: List[Optional[Dict[str, Any]]]

    def work(number):
        # type: (int) -> None
        try:
            results[number] = runners[number].run_script()
        except RunnerError:
            pass
    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(runners))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def _count_ended(path):
    # type: (str) -> int
    """Count runs that are recorded as ended, as any SQLite tool would."""
    import sqlite3
    if not os.path.exists(path):
        return 0
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT count(*) FROM executions WHERE status <> 'running'").fetchone()[0]
    finally:
        connection.close()


def _delay_of(outcome, path):
    # type: (Dict[str, Any], str) -> Optional[float]
    """Return the whole time of a watched run less the script's own, from the result that it wrote."""
    import json
    try:
        with open(path, encoding='utf-8') as file:
            inner = json.load(file)['metrics']['execution_time_seconds']
    except (OSError, ValueError, KeyError):
        return None
    return outcome['metrics']['execution_time_seconds'] - inner


# ======================================================================================================
# 15. Reports
# ======================================================================================================

_EXIT_GATE, _EXIT_TIMEOUT, _EXIT_SIGNAL = 123, 124, 128


def exit_status_of(result):
    # type: (Dict[str, Any]) -> int
    """Return what a command that ran the script exits with, as a shell would show it; 124 after a time limit, 123 when the
    script ended well and a gate does not let it pass.

    >>> exit_status_of({'status': 'killed', 'returncode': -9}), exit_status_of({'status': 'timeout', 'returncode': 0})
    (137, 124)
    """
    if result['status'] == 'timeout':
        return _EXIT_TIMEOUT
    code = result['returncode']
    if code is None:
        return RunnerError.exit_status
    if code == 0 and result.get('gates_passed') is False:
        return _EXIT_GATE
    return _EXIT_SIGNAL - code if code < 0 else code


def summary_line(result):
    # type: (Dict[str, Any]) -> str
    """Return the one line that ends a run."""
    metrics = result['metrics']
    parts = ['%s in %s' % (_verdict(result), format_duration(metrics['execution_time_seconds']))]
    if metrics['user_time'] is not None:
        parts.append('cpu ' + format_duration(metrics['user_time'] + metrics['system_time']))
    if metrics['memory_max_mb'] is not None:
        parts.append('peak ' + format_mib(metrics['memory_max_mb']))
    if result['attempt_number'] > 1:
        parts.append('attempt %d, %s in all' % (result['attempt_number'], format_duration(result['total_seconds'])))
    count = metrics['num_processes']
    if count is not None:
        parts.append('%d process%s' % (count, '' if count == 1 else 'es'))
    if result.get('gates_passed') is not None:
        parts.append(_gates_in_short(result['gate_results']))
    if result['execution_id'] is not None:
        parts.append('run %d' % result['execution_id'])
    return ' · '.join(parts)


def _gates_in_short(gates):
    # type: (Sequence[Dict[str, Any]]) -> str
    """Count the verdicts of gates in words.

    >>> _gates_in_short([{'verdict': 'pass'}, {'verdict': 'fail'}]), _gates_in_short([{'verdict': 'pass'}])
    ('gates: 1 fail, 1 pass', '1 gate passed')
    """
    verdicts = [gate['verdict'] for gate in gates]
    found = [(verdict, verdicts.count(verdict)) for verdict in reversed(GATE_VERDICTS) if verdict in verdicts]
    if [verdict for verdict, _ in found] == ['pass']:
        return '%d gate%s passed' % (found[0][1], '' if found[0][1] == 1 else 's')
    return 'gates: ' + ', '.join('%d %s' % (count, verdict) for verdict, count in found)


def format_gates(gates):
    # type: (Sequence[Dict[str, Any]]) -> str
    """Return a table of what gates said."""
    rows = [['gate', 'verdict', 'why']]
    for gate in gates:
        fails = gate['verdict'] == 'inconclusive' and not gate['passed']
        rows.append([_printable(gate['name']), gate['verdict'] + (' (fails)' if fails else ''), _printable(gate['reason'])])
    return format_table(rows)


def format_ab(comparison):
    # type: (Dict[str, Any]) -> str
    """Return a table of an A/B comparison: medians, and how many times as much B takes as A, with its confidence interval."""
    rows = [['metric', 'A', 'B', 'B / A', '95 % interval', 'verdict']]
    for entry in comparison['metrics']:
        metric = METRICS[entry['metric']]
        interval = '-' if entry['low'] is None else '%.3f to %.3f' % (entry['low'], entry['high'])
        rows.append([metric.name, format_value(metric, entry['before']), format_value(metric, entry['after']),
                     '-' if entry['ratio'] is None else '%.3f' % entry['ratio'], interval, entry['sentence']])
    return format_table(rows, right=(1, 2, 3, 4))


def format_live(elapsed, samples, estimate, columns):
    # type: (float, Sequence[Sequence[Any]], Optional[Tuple[float, Optional[float]]], int) -> str
    """Return the line that is shown while a run goes on: as many of its parts, the most important first, as `columns` hold.

    `samples` are the newest rows of SAMPLE_FIELDS, `estimate` is what `estimate_remaining` returned.

    >>> format_live(12.0, [(0.1, 97.0, 213.6)], (33.0, 21.0), 100)
    'runner: 12.0 s · 36 % of the usual 33.0 s, about 21.0 s left · cpu 97 % ▁ · 214 MiB'
    >>> format_live(12.0, [(0.1, 97.0, 213.6)], (33.0, 21.0), 30), format_live(1.0, [], None, 9)
    ('runner: 12.0 s · cpu 97 % ▁', '1.0 s')
    >>> format_live(12.0, [], (10.0, None), 80)
    'runner: 12.0 s · longer than ever (usually 10.0 s)'
    """
    told = '' if estimate is None else (
        ' · longer than ever (usually %s)' % format_duration(estimate[0]) if estimate[1] is None else
        ' · %.0f %% of the usual %s, about %s left' % (100.0 * elapsed / max(estimate[0], elapsed, 1e-9),
                                                      format_duration(estimate[0]), format_duration(estimate[1])))
    cpu = [row[1] for row in samples if row[1] is not None]
    memory = [row[2] for row in samples if row[2] is not None]
    parts = [told, ' · cpu %.0f %%' % cpu[-1] if cpu else '', ' ' + sparkline(cpu, 12) if cpu else '',
             ' · ' + format_mib(memory[-1]) if memory else '']
    line, space = 'runner: ' + format_duration(elapsed), columns
    if len(line) > space:
        return line[len('runner: '):][:max(0, space)]
    for part in parts:
        line += part if len(line) + len(part) <= space else ''
    return line


def _short_path(path, width=40):
    # type: (str, int) -> str
    """Shorten a path at its beginning.

    >>> _short_path('/usr/lib/python3.11/json/decoder.py', 20)
    '.../json/decoder.py'
    """
    if len(path) <= width:
        return path
    words = path.replace('\\', '/').split('/')
    kept = words[-1]
    for word in reversed(words[:-1]):
        if len(word) + len(kept) + 5 > width:
            break
        kept = word + '/' + kept
    return '.../' + kept


def format_profile(profile, count=10):
    # type: (Dict[str, Any], int) -> str
    """Return a profile for a terminal: functions by their own and by cumulative time, lines by memory, I/O, what it cost."""
    parts = []
    if profile['cpu_tool'] is not None:
        clock = 'on a CPU' if profile['clock'] == 'running' else 'wall clock'
        for name, title in (('own', 'own time'), ('cumulative', 'cumulative time')):
            rows = [row for row in sorted(profile['functions'], key=lambda row: -row[name]) if row[name] >= 0.0005][:count]
            if rows:
                parts.append('functions by %s (%s, %s)\n%s' % (title, profile['cpu_tool'], clock, _format_functions(rows)))
    if profile['memory_tool'] is not None and profile['lines']:
        rows = [['memory', 'blocks', 'line', '']] + [
            [format_mib(line['size_mb']), str(line['blocks']), '%s:%d' % (_short_path(line['file']), line['line']),
             line['text'][:50]]
            for number, line in enumerate(profile['lines'][:count]) if number == 0 or line['size_mb'] >= 0.05]
        parts.append('lines by memory (%s, when %s were allocated; the peak was %s)\n%s' % (
            profile['memory_tool'], format_mib(profile['lines_at_mb']), format_mib(profile['traced_peak_mb']),
            format_table(rows, right=(0, 1))))
    if profile.get('io') is not None:
        parts.append('I/O\n' + ', '.join('%s %s' % (name, brief_value(name, value)) for name, value in profile['io'].items()))
    if profile.get('slowdown') is not None:
        parts.append(_slowdown_text(profile['slowdown']))
    return '\n\n'.join(parts + ['note: ' + note for note in profile['notes']])


def _format_functions(rows):
    # type: (Sequence[Dict[str, Any]]) -> str
    table = [['own', 'share', 'cumulative', 'calls', 'function']]
    for row in rows:
        place = '' if not row['file'] else ' (%s%s)' % (_short_path(row['file']), ':%d' % row['line'] if row['line'] else '')
        table.append([format_duration(row['own']), '%.1f %%' % (100.0 * row['share']), format_duration(row['cumulative']),
                      '-' if row['calls'] is None else str(row['calls']), row['function'] + place])
    return format_table(table, right=(0, 1, 2, 3))


def _slowdown_text(slowdown):
    # type: (Dict[str, Any]) -> str
    known = '; '.join('%s: %s' % pair for pair in sorted(slowdown['known'].items()))
    if slowdown['ratio'] is None:
        return 'took %s with the profiler; without it, unknown (no good run in the history). %s' % (
            format_duration(slowdown['seconds']), known)
    return 'took %s with the profiler, %.1f times the usual %s without. %s' % (
        format_duration(slowdown['seconds']), slowdown['ratio'], format_duration(slowdown['usual_seconds']), known)


def format_overhead(overhead):
    # type: (Dict[str, Any]) -> str
    """Return what `StressTest.measure_overhead` found as a table and a sentence; sampling and parallel runs where measured."""
    rows = [['', 'bare', 'watched', 'difference', '95 % interval', 'ratio', '95 % interval']]
    for name, unit, factor in (('execution_time_seconds', 'ms', 1000.0), ('cpu_seconds', 'ms', 1000.0),
                               ('memory_max_mb', 'MiB', 1.0)):
        entry = overhead['metrics'][name]
        rows.append([name, '%.1f %s' % (factor * entry['bare'], unit), '%.1f %s' % (factor * entry['watched'], unit),
                     '%+.1f %s' % (factor * entry['difference']['value'], unit), _interval(entry['difference'], '%+.1f', factor),
                     '-' if entry['ratio'] is None else '%.3f' % entry['ratio']['value'], _interval(entry['ratio'], '%.3f')])
    parts = [format_table(rows, right=(1, 2, 3, 4, 5, 6)), overhead['sentence']]
    sampling, parallel = overhead.get('sampling'), overhead.get('parallel')
    if sampling is not None:
        parts.append('sampling: %.0f samples a second at most, %s values; at 10 a second %s of a core' % (
            sampling['samples_per_second'], format(int(sampling['values_per_second']), ','),
            'an unknown share' if sampling['share_at_10_hz'] is None else '%.3f %%' % (100.0 * sampling['share_at_10_hz'])))
    if parallel is not None:
        parts.append('%d runs at once: %d succeeded, %d recorded; added to each: median %s, p99 %s' % (
            parallel['runs'], parallel['succeeded'], parallel['recorded'], format_duration(parallel['delay_median']),
            format_duration(parallel['delay_p99'])))
    return '\n\n'.join(parts)


def _interval(entry, form, factor=1.0):
    # type: (Optional[Dict[str, Any]], str, float) -> str
    if entry is None or entry['low'] is None:
        return '-'
    return '%s to %s' % (form % (factor * entry['low']), form % (factor * entry['high']))


def _verdict(run):
    # type: (Dict[str, Any]) -> str
    """Say in a few words how a result or a recorded run ended."""
    status, cause, evidence = run['status'], run['cause'], run.get('evidence')
    code = run['returncode'] if 'returncode' in run else run['exit_code']
    if status == 'success':
        return 'ok'
    if status == 'timeout':
        return 'timed out (%s)' % evidence if evidence else 'timed out'
    if status == 'killed' and cause not in ('signal', 'interrupted'):
        return 'ended: %s (%s)' % (cause.replace('_', ' '), evidence)
    if cause == 'exit':
        return 'failed (exit %s)' % code
    if cause == 'signal':
        return ('killed by ' if status == 'killed' else 'crashed with ') + str(evidence)
    if cause == 'interrupted':
        return 'interrupted (%s)' % evidence
    return status if not evidence else '%s (%s)' % (status, evidence)


def format_value(metric, value):
    # type: (Metric, Any) -> str
    """Write the value of a metric with its unit."""
    if value is None:
        return '-'
    if metric.unit == 's':
        return '%.6g s' % value
    if metric.unit == 'MiB':
        return '%.2f MiB' % value
    if metric.unit == '%':
        return '%.1f %%' % value
    if metric.unit == 'bool':
        return 'yes' if value else 'no'
    return '%s %s' % (value, metric.unit) if metric.unit in ('bytes', 'lines') else str(value)


def format_table(rows, right=()):
    # type: (Sequence[Sequence[str]], Iterable[int]) -> str
    """Lay out rows of texts in columns; the columns numbered in `right` are aligned to the right, the last is not padded."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) if i in right else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        lines.append('  '.join(cells).rstrip())
    return '\n'.join(lines)


def _local_time(text):
    # type: (Optional[str]) -> str
    if not text:
        return '-'
    return time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(_parse_time(text) // 1000000))


def format_history(runs):
    # type: (Sequence[Dict[str, Any]]) -> str
    """Return a table of runs, one line each."""
    rows = [['run', 'started', 'status', 'duration', 'cpu', 'peak', 'exit', 'script']]
    for run in runs:
        metrics = run['metrics']
        cpu = metrics.get('cpu_avg')
        rows.append([str(run['id']), _local_time(run['start_time']), run['status'],
                     format_duration(run['execution_time_seconds']) if run['execution_time_seconds'] is not None else '-',
                     '-' if cpu is None else '%.0f %%' % cpu,
                     format_mib(metrics['memory_max_mb']) if 'memory_max_mb' in metrics else '-',
                     '-' if run['exit_code'] is None else str(run['exit_code']), _printable(_command_of(run))])
    return format_table(rows, right=(0, 3, 4, 5, 6))


def _command_of(run):
    # type: (Dict[str, Any]) -> str
    return ' '.join([run['script_path']] + [_quoted(word) for word in run['script_args']])


def _quoted(word):
    # type: (str) -> str
    return word if word and not set(word) & set(' \t\n\'"\\$`!*?()[]{}|&;<>~#') else "'%s'" % word.replace("'", "'\\''")


def _printable(text):
    # type: (str) -> str
    """Make control characters visible: a script's output must not steer the terminal of whoever looks at its record."""
    return ''.join(c if c >= ' ' and c != '\x7f' and not '\x80' <= c < '\xa0' or c == '\t' else '\\x%02x' % ord(c) for c in text)


def format_retention(plan, dry_run):
    # type: (RetentionPlan, bool) -> str
    """Say how many runs a retention policy deletes, and how many for which reason when there are several."""
    count = len(plan.runs)
    line = '%s %d run%s' % ('would delete' if dry_run else 'deleted', count, '' if count == 1 else 's')
    reasons = plan.reasons()
    if not reasons or (len(reasons) == 1 and not dry_run):
        return line
    return line + ''.join('\n  %d: %s' % (number, reason) for reason, number in sorted(reasons.items()))


def format_run(run, samples, attempts, artefacts, advice=None, sightings=None, judgement=None):
    # type: (Dict[str, Any], Sequence[Dict[str, Any]], Sequence[Dict[str, Any]], Dict[str, str], Optional[str], Any, Any) -> str
    """Return everything that is known of a run, for a terminal; `sightings` is what `get_error_history` says of its error,
    `judgement` what `get_judgement` says.
    """
    lines = ['run %d: %s' % (run['id'], _verdict(run)), '']
    facts = [('script', _command_of(run)), ('started', '%s  (%s)' % (_local_time(run['start_time']), run['start_time'])),
             ('ended', _local_time(run['end_time'])), ('cause', run['cause']), ('evidence', run['evidence']),
             ('error', run['error_summary']), ('kind of error', run['error_kind']), ('frame', run['error_frame']),
             ('root cause', run['error_cause']),
             ('fingerprint', run['error_fingerprint']), ('seen', sightings and _format_sightings(run['id'], sightings)),
             ('advice', advice), ('limits', ', '.join('%s=%.6g' % pair for pair in sorted(run['limits'].items()))),
             ('labels', ', '.join('%s=%s' % pair for pair in sorted(run['labels'].items()))),
             ('host', ', '.join(what % run[name] for what, name in (
                 ('%s', 'hostname'), ('user %s', 'username'), ('%s', 'platform')) if run[name])),
             ('python', run['python_version']), ('folder', run['working_dir']),
             ('git', ' '.join(x for x in (run['git_commit'], run['git_branch']) if x)),
             ('correlation', run['correlation_id'])]
    facts += [('warning', warning) for warning in run['warnings']]
    lines += [format_table([[name, _printable(str(value))] for name, value in facts if value])]
    if len(attempts) > 1:
        lines += ['', 'attempts'] + ['  %d: run %d, %s' % (a['attempt_number'], a['id'], _verdict(a)) for a in attempts]
    if judgement is not None:
        together = '' if judgement['judged_with'] is None else ', judged together with run %d' % judgement['judged_with']
        lines += ['', 'gates: %s%s' % (judgement['verdict'], together)]
        lines += [format_gates(judgement['gates'])] if judgement['gates'] else []
    lines += ['', format_metrics_of(run['metrics'])]
    lines += _sample_lines(samples)
    for name in ('stdout', 'stderr'):
        tail = run[name + '_tail']
        if tail:
            lines += ['', 'end of %s' % name] + ['  ' + _printable(line) for line in tail.splitlines()[-20:]]
    for name, text in artefacts.items():
        if name == 'profile_stacks':
            text = '%d stacks; show --json prints them' % len(text.splitlines())
        shown = _kept_profile(text) if name == 'profile' else text
        lines += ['', name] + ['  ' + _printable(line) for line in shown.splitlines()]
    return '\n'.join(lines)


def _kept_profile(text):
    # type: (str) -> str
    """Return a profile that was kept with a run in readable form; as it is, where redaction made it unreadable."""
    import json
    try:
        return format_profile(json.loads(text))
    except (ValueError, KeyError, TypeError):
        return text


def _format_sightings(run_id, sightings):
    # type: (int, Dict[str, Any]) -> str
    """Say how often an error was seen, this run included, and when last in another.

    >>> _format_sightings(7, {'count': 1, 'first_time': '2026-01-31T12:00:00.000000+00:00', 'run_ids': [7]})
    'for the first time'
    """
    others = [number for number in sightings['run_ids'] if number != run_id]
    if not others:
        return 'for the first time'
    return '%d times since %s, last in run %d' % (sightings['count'], _local_time(sightings['first_time']), others[0])


def format_metrics_of(metrics):
    # type: (Dict[str, Any]) -> str
    """Return the metrics of a run with their source, in registry order, then the script's own."""
    rows = [['metric', 'value', 'source']]
    rows += [[m.name, format_value(m, metrics[m.name]), m.source] for m in METRICS.values() if metrics.get(m.name) is not None]
    rows += [[name, str(value), 'reported'] for name, value in metrics.items() if name not in METRICS]
    return format_table(rows, right=(1,))


def _sample_lines(samples):
    # type: (Sequence[Dict[str, Any]]) -> List[str]
    lines = []
    for name, title in (('cpu_percent', 'cpu'), ('memory_mb', 'memory')):
        values = [sample[name] for sample in samples if sample[name] is not None]
        if len(values) > 1:
            lines.append('%-8s%s  %.1f to %.1f %s' % (title, sparkline(values), min(values), max(values),
                                                       '%' if title == 'cpu' else 'MiB'))
    return [''] + lines if lines else []


def alert_line(alert):
    # type: (Dict[str, Any]) -> str
    """Say in one line what a rule said, and who was told, of an entry of result['alerts'] or of `read_alerts`.

    >>> alert_line({'name': 'memory', 'severity': 'ERROR', 'state': 'firing', 'condition': 'memory_max_mb > 9', 'reason': None,
    ...             'explanation': 'memory_max_mb = 12 (MiB)', 'delivery': 'told', 'channels': {'slack': 'sent'}})
    'ERROR memory: memory_max_mb > 9 (memory_max_mb = 12 (MiB)) -> slack sent'
    """
    what = alert['severity'] if alert['state'] == 'firing' else alert['state'].upper()
    words = [alert['condition']] if alert['condition'] and alert['condition'] != alert['name'] else []
    if alert['explanation']:
        words.append('(%s)' % alert['explanation'] if words else alert['explanation'])
    return _printable('%s %s%s%s' % (what, alert['name'], ': ' + ' '.join(words) if words else '', _delivery_words(alert)))


def _delivery_words(alert):
    # type: (Dict[str, Any]) -> str
    """Say who was told, or why nobody."""
    if alert['delivery'] == 'suppressed':
        return ' -> not told: %s' % alert['reason']
    if alert['delivery'] == 'digest':
        return ' -> kept for the digest'
    states = sorted((name, state if isinstance(state, str) else state['state']) for name, state in alert['channels'].items())
    return ' -> ' + ', '.join('%s %s' % pair for pair in states) if states else ''


def format_alerts(alerts, silences):
    # type: (Sequence[Dict[str, Any]], Sequence[Dict[str, Any]]) -> str
    """Return what rules said, one line each, and the silences that hold."""
    rows = [['when', 'run', 'script', 'alert']]
    for alert in alerts:
        rows.append([_local_time(alert['alert_time']), '-' if alert['execution_id'] is None else str(alert['execution_id']),
                     _printable(os.path.basename(alert['script_path']) or '-'), alert_line(alert)])
    lines = [format_table(rows, right=(1,)) if alerts else 'no alerts']
    for silence in silences:
        reason = ' (%s)' % silence['reason'] if silence['reason'] else ''
        lines.append(_printable('silence: %s until %s%s' % (silence['rule'], _local_time(silence['end_time']), reason)))
    return '\n'.join(lines)


def format_missed(verdicts):
    # type: (Sequence[Dict[str, Any]]) -> str
    """Return which scripts should have started by now."""
    rows = [['', 'script', 'last start', 'expected every', 'rule']]
    for verdict in verdicts:
        late = {True: 'OVERDUE', False: 'ok', None: '-'}[verdict['overdue']]
        every = verdict['every'] if verdict['overdue'] is not None else 'no regular schedule'
        if verdict['overdue_seconds'] is not None:
            every += ', overdue by ' + format_duration(verdict['overdue_seconds'])
        rows.append([late, _printable(verdict['script_path']), _local_time(verdict['last_start']), every,
                     _printable(verdict['rule'] or '-')])
    return format_table(rows) if verdicts else 'no scripts'


def format_metrics():
    # type: () -> str
    """Return the registry of metrics as a table."""
    rows = [['metric', 'unit', 'better', 'source', 'meaning']]
    rows += [[m.name, m.unit or '-', m.better or '-', m.source, m.meaning] for m in METRICS.values()]
    return format_table(rows)


# -- what the history says ------------------------------------------------------------------------------

def metric_of(name):
    # type: (str) -> Metric
    """Return the entry of METRICS; one without a unit for a name that a script reported itself."""
    return METRICS.get(name) or Metric(name, '', None, 'reported', None, '')


def brief_value(name, value):
    # type: (str, Any) -> str
    """Write a value of a metric for a sentence: three digits, its unit.

    >>> brief_value('execution_time_seconds', 1.0234), brief_value('memory_max_mb', 3000), brief_value('page_faults', None)
    ('1.02 s', '2.9 GiB', '-')
    """
    unit = metric_of(name).unit
    if value is None:
        return '-'
    if unit == 's':
        return '%.3g s' % value if 0.1 <= abs(value) < 60 else format_duration(value) if value >= 0 else '%.3g s' % value
    if unit == 'MiB':
        return format_mib(value) if value >= 0 else '%.3g MiB' % value
    if unit == '%':
        return '%.3g %%' % value
    number = '%.0f' % value if value == int(value) or abs(value) >= 1000 else '%.4g' % value
    return '%s %s' % (number, unit) if unit in ('bytes', 'lines') else number


def _range_text(name, low, high):
    # type: (str, float, float) -> str
    return '%s to %s' % (brief_value(name, low), brief_value(name, high))


def percent_text(change):
    # type: (Optional[float]) -> str
    """Write a change in percent with its sign.

    >>> percent_text(8.26), percent_text(-50.0), percent_text(250.0), percent_text(None)
    ('+8.3 %', '-50 %', '+250 %', 'from 0')
    """
    if change is None:
        return 'from 0'
    return ('%+.0f %%' if abs(change) >= 20 else '%+.1f %%') % change


def draw_plot(values, width=64, height=8, marks=None):
    # type: (Sequence[float], int, int, Optional[Dict[int, str]]) -> List[str]
    """Draw numbers as rows of a small plot, oldest to the left; a column shows the least to the greatest of its share.

    `marks` maps indexes to one character that is put below their column.

    >>> draw_plot([1.0, 2.0], width=2, height=2, marks={1: '^'})
    ['│ •', '│• ', '└──', '  ^']
    """
    columns = min(width, len(values))
    edges = [i * len(values) // columns for i in range(columns + 1)]
    low, span = min(values), (max(values) - min(values)) or 1.0
    shares = [[int((v - low) / span * (height - 1) + 0.5) for v in values[a:b]] for a, b in zip(edges, edges[1:])]
    lines = []
    for row in range(height - 1, -1, -1):
        lines.append('│' + ''.join('•' if min(share) <= row <= max(share) else ' ' for share in shares))
    lines.append('└' + '─' * columns)
    if marks:
        under = [' '] * columns
        for index, mark in sorted(marks.items()):
            under[max(i for i, edge in enumerate(edges[:-1]) if edge <= index)] = mark
        lines.append((' ' + ''.join(under)).rstrip())
    return lines


def format_trend(analysis, values, forecast):
    # type: (Dict[str, Any], Sequence[float], Dict[str, Any]) -> str
    """Return what analyze_metric_history found, as a plot and sentences."""
    name = analysis['metric']
    lines = [_trend_heading(analysis)]
    if len(values) > 1:
        marks = dict([(odd['index'], '!') for odd in analysis['anomalies']] +
                     [(step['index'], '^') for step in analysis['change_points']])
        plotted = draw_plot(values, marks=marks)
        labels = {0: brief_value(name, max(values)), 7: brief_value(name, min(values))}
        lines += [''] + ['%10s %s' % (labels.get(i, ''), line) for i, line in enumerate(plotted)]
        told = [text for mark, text in (('^', '^ a step'), ('!', '! an odd run')) if mark in marks.values()]
        lines += ['%10s  %s' % ('', ', '.join(told))] if told else []
    lines.append('')
    lines += trend_sentences(analysis)
    if forecast['forecast']:
        lines.append('next: about %s (%s in %d %% of the cases)' % (
            brief_value(name, forecast['forecast'][0]), _range_text(name, forecast['low'][0], forecast['high'][0]),
            forecast['level'] * 100))
    lines += ['not judged: ' + reason for reason in analysis['reasons']]
    return '\n'.join(lines)


def _trend_heading(analysis):
    # type: (Dict[str, Any]) -> str
    count = analysis['n']
    heading = '%s of %s: %d run%s' % (analysis['metric'], analysis['script_path'], count, '' if count == 1 else 's')
    if count:
        heading += ', %s to %s' % tuple(_local_time(analysis[which]['start_time'])[:16] for which in ('first', 'last'))
    if analysis['n_excluded']:
        heading += ' (%d that did not succeed left out)' % analysis['n_excluded']
    return _printable(heading)


def trend_sentences(analysis):
    # type: (Dict[str, Any]) -> List[str]
    """Say what was found, the weightiest first."""
    name, regression = analysis['metric'], analysis['regression']
    lines = ['step at run %d (%s%s): %s to %s, %s' % (
        step['run_id'], _local_time(step['start_time'])[:16], _commit_text(step), brief_value(name, step['before']),
        brief_value(name, step['after']), percent_text(step['change_pct'])) for step in analysis['change_points']]
    lines += _line_sentence(analysis)
    if regression['verdict'] in ('regression', 'improvement', 'changed'):
        lines.append('%s: the last %d runs are at %s, before that %s (%s, p = %.2g)' % (
            regression['verdict'], regression['n_after'], brief_value(name, regression['after']),
            brief_value(name, regression['before']), percent_text(regression['change_pct']), regression['p_value']))
    odd = analysis['anomalies']
    if odd:
        lines.append('odd: ' + ', '.join('run %d (%s, %s)' % (record['run_id'], brief_value(name, record['value']),
                                                              record['direction']) for record in odd[-5:])
                     + (', and %d before' % (len(odd) - 5) if len(odd) > 5 else ''))
    return lines


def _line_sentence(analysis):
    # type: (Dict[str, Any]) -> List[str]
    """Say whether there is a trend since the last step: a line through steps tells of values that never were."""
    name, steps = analysis['metric'], analysis['change_points']
    line, since = (analysis['line_since_step'], ' since then') if steps else (analysis['regression_line'], '')
    if line['trend'] == 'unknown':
        return []
    if line['trend'] == 'stable':
        middle = steps[-1]['after'] if steps else analysis['median']
        return ['no trend%s: %s in the middle; %s' % (since, brief_value(name, middle), line['reason'])]
    return ['%s%s: from %s to %s over %d runs (%s, p = %.2g)' % (
        line['trend'], since, brief_value(name, line['start']), brief_value(name, line['end']), line['n'],
        percent_text(line['change_pct']), line['trend_p_value'])]


def _commit_text(record):
    # type: (Dict[str, Any]) -> str
    """Say between which commits a step lies, where that is known."""
    before, commit = record.get('previous_commit'), record.get('git_commit')
    if not commit:
        return ''
    return ', commit %s' % commit[:10] if not before or before == commit else ', commit %s after %s' % (commit[:10], before[:10])


def format_comparison(comparison):
    # type: (Dict[str, Any]) -> str
    """Return what `compare` found, metric by metric."""
    before, after = comparison['before'], comparison['after']
    lines = ['%-6s run %d  %s  %s%s' % (what, run['id'], _local_time(run['start_time']), _printable(_command_of(run)),
                                        '  commit %s' % run['git_commit'][:10] if run['git_commit'] else '')
             for what, run in (('before', before), ('after', after))]
    lines += comparison['notes']
    rows = [['metric', 'before', 'after', 'change', '', 'usual']]
    for row in comparison['metrics']:
        name = row['name']
        usual = '' if row['usual_low'] is None else _range_text(name, row['usual_low'], row['usual_high'])
        rows.append([name, brief_value(name, row['before']), brief_value(name, row['after']),
                     '-' if row['before'] is None or row['after'] is None else percent_text(row['change_pct'])
                     if row['before'] != row['after'] else '=', row['verdict'], usual])
    return '\n'.join(lines + ['', format_table(rows, right=(1, 2, 3))])


def format_anomalies(found):
    # type: (Sequence[Dict[str, Any]]) -> str
    """Return the odd runs of `anomalies`, one line each."""
    rows = [['run', 'started', 'what', 'value', 'usual', 'script']]
    for record in found:
        name = record['metric']
        usual = '-' if record['low'] is None else _range_text(name, record['low'], record['high'])
        what = '%s %s' % (name, record['direction']) if record['direction'] else name
        rows.append([str(record['run_id']), _local_time(record['start_time']), what, record['text'], usual,
                     _printable(record['script_path'])])
    return format_table(rows, right=(0,))


def format_forecast(answer):
    # type: (Dict[str, Any]) -> str
    """Return what `forecast` found, in sentences."""
    name, ahead = answer['metric'], answer['forecast']
    lines = ['%s of %s, %d good runs' % (name, _printable(answer['script_path']), ahead['n'])]
    if ahead['forecast'] is None:
        lines.append('no forecast: %s' % ahead['reason'])
    else:
        for place in sorted({0, len(ahead['forecast']) - 1}):
            lines.append('in %d run%s: about %s (%s in %d %% of the cases; %s)' % (
                place + 1, '' if place == 0 else 's', brief_value(name, ahead['forecast'][place]),
                _range_text(name, ahead['low'][place], ahead['high'][place]), ahead['level'] * 100, ahead['method']))
    if answer['limit'] is not None:
        lines.append('%s: %s' % (brief_value(name, answer['limit']['value']), answer['limit']['sentence']))
    return '\n'.join(lines)


def format_correlations(records):
    # type: (Sequence[Dict[str, Any]]) -> str
    """Return one sentence for each pair that goes together."""
    lines = []
    for record in records:
        lead = ' %d run%s later' % (record['lag'], '' if record['lag'] == 1 else 's') if record['lag'] else ''
        lines.append('%s %s with %s%s (rank correlation %.2f, corrected p = %.2g, %d runs)' % (
            record['second'], 'rises' if record['spearman'] > 0 else 'falls', record['first'], lead, record['spearman'],
            record['p_adjusted'], record['n']))
    return '\n'.join(lines)


def format_advice(script, advice):
    # type: (str, Sequence[Dict[str, Any]]) -> str
    """Return one sentence for each limit of `advise`."""
    lines = [_printable(script)]
    for record in advice:
        name = record['metric']
        if record['recommended'] is None:
            lines.append('  %s: %s' % (record['limit'], record['reason']))
            continue
        lines.append('  %s %s: 95 %% of the last %d good runs stayed within %s, the greatest was %s' % (
            record['limit'], record['text'], record['n'], brief_value(name, record['p95']), brief_value(name, record['largest'])))
    return '\n'.join(lines)


_EMBEDDED = '<script type="application/json" id="embedded">null</script>'


def report_page(page, data):
    # type: (str, Any) -> str
    """Return the dashboard's page with data in it: one file that shows it without a server and talks to nobody.

    `page` is the text of the dashboard's index.html. A policy in the file allows its own scripts and styles and nothing else.
    """
    import base64
    import hashlib
    import re
    policy = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'"
    for tag in ('script', 'style'):
        found = re.findall('<%s>(.*?)</%s>' % (tag, tag), page, re.S)
        digests = [base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode() for text in found]
        policy += '; %s-src %s' % (tag, ' '.join("'sha256-%s'" % digest for digest in digests))
    text = to_json(data).encode('utf-8', 'replace').decode('utf-8')
    text = text.replace('&', '\\u0026').replace('<', '\\u003c').replace('\u2028', '\\u2028').replace('\u2029', '\\u2029')
    head = '<meta charset="utf-8">'
    return page.replace(head, '%s\n<meta http-equiv="Content-Security-Policy" content="%s">' % (head, policy), 1).replace(
        _EMBEDDED, _EMBEDDED.replace('null', text), 1)


def to_json(value):
    # type: (Any) -> str
    """Return JSON, indented, with numbers that JSON has no word for (NaN, infinities) as null."""
    import json
    return json.dumps(_finite(value), ensure_ascii=False, indent=2, default=str)


# ======================================================================================================
# 16. Command line
# ======================================================================================================

_USAGE = """usage: python -m runner [options] [--] script.py [args...]     run a script, watched and remembered
       python -m runner [options] -m MODULE [args...]
       python -m runner VERB ...                             look at what was recorded

"""


class _Option(object):
    """One option: how it is written, read, explained. `read` is None for a switch; `many` collects a list."""
    __slots__ = ('flag', 'name', 'metavar', 'read', 'help', 'many', 'everywhere', 'env')

    def __init__(self, flag, metavar, read, help, many=False, everywhere=False, env=True):
        # type: (str, Optional[str], Optional[Callable[[str], Any]], str, bool, bool, bool) -> None
        self.flag = flag
        self.name = flag.lstrip('-').replace('-', '_')
        self.metavar = metavar
        self.read = read
        self.help = help
        self.many = many
        self.everywhere = everywhere
        self.env = env and not many


def _read_whole(text):
    # type: (str) -> int
    if not text.isdecimal():
        raise UsageError('%r: not a whole number' % text)
    return int(text)


def _read_condition(text):
    # type: (str) -> str
    return parse_condition(text).text


def _read_gated_metric(text):
    # type: (str) -> str
    return RegressionRule(text).metric


def _read_pair(text):
    # type: (str) -> Tuple[str, str]
    key, equals, value = text.partition('=')
    if not equals or not key or '\0' in text:
        raise UsageError('%r: not a NAME=VALUE' % text)
    return key, value


def _read_listening_port(text):
    # type: (str) -> int
    if not text.isdecimal() or int(text) > 65535:
        raise UsageError('%r: not a port; 0 to 65535' % text)
    return int(text)


_OPTIONS = (
    _Option('--timeout', 'D', _read_positive_duration, 'end the script after this long (90, 1.5s, 5m, 1h30m); exit status 124'),
    _Option('--grace', 'D', parse_duration, 'time between TERM and KILL when the script is ended (default 10s)'),
    _Option('--idle-timeout', 'D', _read_positive_duration, 'end the script after so long without output and CPU time; 124'),
    _Option('--max-memory', 'SIZE', _read_size, 'end the whole tree at once when it uses more memory (500MiB, 2GiB)'),
    _Option('--max-cpu-time', 'D', _read_positive_duration, 'end the script when its tree has used so much CPU time'),
    _Option('--max-processes', 'N', _read_count, 'end the whole tree at once when it has more processes'),
    _Option('--max-output', 'SIZE', _read_size, 'end the script when it has written more'),
    _Option('--detach-ok', None, None, 'let processes live on that the script leaves behind, and the script when we are killed'),
    _Option('--hang-stack', None, None, 'at a time limit a Python script prints its stacks (by SIGABRT, not TERM)'),
    _Option('--retry', 'N', _read_count, 'try a failed run up to N more times'),
    _Option('--retry-strategy', 'S', str, 'how the delay grows: %s (default exponential)' % ', '.join(RetryStrategy.ALL)),
    _Option('--retry-delay', 'D', parse_duration, 'delay before the second attempt (default 1s)'),
    _Option('--retry-max-delay', 'D', parse_duration, 'longest delay (default 1m)'),
    _Option('--retry-on', 'CODES', parse_reasons, 'try again only after these exit codes and causes: 75,timeout'),
    _Option('--skip-on', 'CODES', parse_reasons, 'never try again after these'),
    _Option('--lock', 'NAME', str, 'only one run at a time holds this lock; another exits 75'),
    _Option('--lock-wait', 'D', parse_duration, 'how long to wait for the lock (default 0)'),
    _Option('--log-file', 'FILE', str, 'append events as JSON lines'),
    _Option('--alert', 'CONDITION', parse_condition, 'tell when this is true, by every channel that is configured (repeatable)',
            many=True),
    _Option('--notify-timeout', 'D', _read_positive_duration, 'how long telling may delay the exit (default 10s)'),
    _Option('--env-file', 'FILE', str, 'set variables for the script from a dotenv file (repeatable)', many=True),
    _Option('--monitor-interval', 'D', _read_positive_duration, 'time between two samples (default 0.1)'),
    _Option('--config', 'FILE', str, 'read settings from a YAML file (config.example.yaml explains each)', everywhere=True),
    _Option('--history-db', 'FILE', str, 'where runs are recorded', everywhere=True),
    _Option('--no-history', None, None, 'keep no record of this run'),
    _Option('--label', 'K=V', _read_pair, 'keep a label with the run (repeatable)', many=True),
    _Option('--gate', 'CONDITION', _read_condition, "what must be true of the run, else 123: 'memory_max_mb < 2GiB' (repeatable)",
            many=True),
    _Option('--regression', 'METRIC', _read_gated_metric, 'the metric must not be worse than in the last good runs (repeatable)',
            many=True),
    _Option('--baseline', 'FILE', str, 'judge by a file of values with tolerances; gates call them baseline.METRIC'),
    _Option('--save-baseline', 'FILE', str, 'write that file from a run that succeeded and met its gates'),
    _Option('--repeat', 'N', _read_count, 'run N times and judge the runs together (least memory, median time)'),
    _Option('--confirm', 'N', _read_whole, 'before a gate fails, run again up to N times; one that passes acquits (default 0)'),
    _Option('--on-inconclusive', 'WHAT', check_inconclusive, 'what a gate does that cannot tell yet: warn (default), pass, fail'),
    _Option('--junit-output', 'FILE', str, 'write JUnit XML'),
    _Option('--tap-output', 'FILE', str, 'write TAP 13'),
    _Option('--summary-output', 'FILE', str, 'write Markdown'),
    _Option('--bencher-output', 'FILE', str, 'write the metrics in Bencher Metric Format'),
    _Option('--benchmark-output', 'FILE', str, 'write the metrics for github-action-benchmark (customSmallerIsBetter)'),
    _Option('--json-output', 'FILE', str, 'write the result as JSON'),
    _Option('--env', 'K=V', _read_pair, 'set a variable for the script (repeatable)', many=True),
    _Option('--cwd', 'DIR', str, 'run the script in this folder (other paths stay relative to yours)', env=False),
    _Option('--python', 'EXE', str, 'interpreter for .py scripts and -m (default: the one that runs this)'),
    _Option('--dry-run', None, None, 'show what would be run, and run nothing', env=False),
    _Option('--quiet', None, None, 'no summary line; losses are still told', everywhere=True),
    _Option('--live', None, None, 'on a terminal, show a line while the script runs: time, CPU, memory, how much is left'),
    _Option('--verbose', None, None, 'show every metric at the end', everywhere=True),
)
_BY_FLAG = {option.flag: option for option in _OPTIONS}


class _Words(object):
    """The words of a command line, cut up: options before the first other word, what that word is, and the rest."""
    __slots__ = ('options', 'verb', 'script', 'module', 'rest', 'shown')

    def __init__(self):
        # type: () -> None
        self.options = {}  # type: Dict[str, Any]
        self.verb = self.script = self.shown = None  # type: Optional[str]
        self.module = False
        self.rest = []  # type: List[str]


def parse_command_line(words, verbs=True):
    # type: (Sequence[str], bool) -> _Words
    """Cut a command line at its script: every word after the script is the script's, untouched.

    Written by hand since argparse costs 6 ms before the script starts, and eats a '--'. Raises UsageError.
    """
    found, rest = _Words(), list(words)
    while rest:
        word = rest.pop(0)
        if word == '--':
            verbs = False
            break
        if word == '-m':
            found.module = True
            if not rest:
                raise UsageError('-m: no module; write for example python -m runner -m package.module')
            break
        if word in ('--help', '-h', '--version'):
            found.shown = word
            return found
        if not word.startswith('-') or word == '-':
            rest.insert(0, word)
            break
        _take_option(found.options, word, rest)
    if rest and verbs and not found.module and rest[0] in _VERBS:
        found.verb = rest.pop(0)
        if found.verb == 'run':
            return _parse_run_verb(found, rest)
    elif rest:
        found.script = rest.pop(0)
    found.rest = rest
    return found


def _parse_run_verb(found, rest):
    # type: (_Words, List[str]) -> _Words
    """`run` is the verb that is implied: more options may follow, and then a script, whatever its name."""
    more = parse_command_line(rest, verbs=False)
    for name, value in more.options.items():
        found.options[name] = found.options.get(name, []) + value if isinstance(value, list) else value
    more.options = found.options
    return more


def _take_option(options, word, rest):
    # type: (Dict[str, Any], str, List[str]) -> None
    """Read one option and, where it has one, its value."""
    flag, equals, value = word.partition('=')
    option = _BY_FLAG.get(flag)
    if option is None:
        raise UsageError('%s: no such option%s (python -m runner --help lists them)' % (flag, suggest(flag, _BY_FLAG)))
    if option.read is None:
        if equals:
            raise UsageError('%s: this option takes no value' % word)
        options[option.name] = True
        return
    if not equals:
        if not rest:
            raise UsageError('%s: its value is missing; write %s %s' % (flag, flag, option.metavar))
        value = rest.pop(0)
    value = _read_option(option, value, flag)
    if option.many:
        options.setdefault(option.name, []).append(value)
    else:
        options[option.name] = value


def _read_option(option, text, origin):
    # type: (_Option, str, str) -> Any
    try:
        return option.read(text) if option.read else text.lower() not in ('', '0', 'false', 'no', 'off')
    except UsageError as error:
        raise UsageError('%s %s' % (origin, error))


def _settings(options, verb=False):
    # type: (Dict[str, Any], bool) -> Dict[str, Any]
    """Fill in from the environment (SCRIPT_RUNNER_TIMEOUT, …) what no flag gave."""
    full = dict(options)
    given = {name: value for name, value in os.environ.items() if name.startswith('SCRIPT_RUNNER_') and value}
    for option in _OPTIONS if given else ():          # asking for each costs a tenth of a millisecond before the script starts
        name = 'SCRIPT_RUNNER_' + option.name.upper()
        if option.env and option.name not in full and name in given and (option.everywhere or not verb):
            full[option.name] = _read_option(option, given[name], name)
    return full


_PLAIN = {'·': '-', '…': '...', '•': '*', '│': '|', '└': '+', '─': '-', '→': '->', 'µ': 'u',
          '▁': '_', '▂': '.', '▃': ',', '▄': '-', '▅': '~', '▆': '=', '▇': '+', '█': '#'}


def _drawn_plainly(text, encoding):
    # type: (str, str) -> str
    """Replace the signs we draw with by ASCII ones where an encoding lacks them."""
    try:
        ''.join(_PLAIN).encode(encoding)
        return text
    except (UnicodeError, LookupError):
        return ''.join(_PLAIN.get(char, char) for char in text)


def _settings_of_verb(options):
    # type: (Dict[str, Any]) -> Dict[str, Any]
    """Fill in from the environment and then from a settings file what a verb may be told there."""
    full = _settings(options, verb=True)
    if 'config' in full:
        file = Settings.load(full['config']).options
        full = dict([(o.name, file[o.name]) for o in _OPTIONS if o.everywhere and o.name in file], **full)
    return full


def _say(text):
    # type: (str) -> None
    """Write our own words to stderr, whatever its encoding; that nobody listens is no trouble of the script's."""
    encoding = getattr(sys.stderr, 'encoding', None) or 'utf-8'
    lines = _drawn_plainly(text, encoding).split('\n')
    data = ''.join('runner: %s\n' % line for line in lines).encode(encoding, 'backslashreplace')
    try:
        _write_all(2, data)
    except OSError:
        pass


def _print(text):
    # type: (str) -> None
    """Write the answer of a verb to stdout."""
    if sys.stdout is None:
        return
    encoding = getattr(sys.stdout, 'encoding', None) or 'utf-8'
    sys.stdout.write((_drawn_plainly(text, encoding) + '\n').encode(encoding, 'replace').decode(encoding))


def _run_command(words, program):
    # type: (_Words, bool) -> int
    """Run a script as told; `program`: this process exists for nothing else, so it may take signals and adopt orphans."""
    options = _settings(words.options)
    settings = Settings.load(options['config']) if 'config' in options else None
    script = words.script
    if script is None:
        raise UsageError('no script given; write python -m runner job.py (python -m runner --help)')
    runner = ScriptRunner(
        script, words.rest, timeout=options.get('timeout'), grace=options.get('grace'), module=words.module,
        history_db=options.get('history_db'), enable_history=not options.get('no_history'), working_dir=options.get('cwd'),
        env_vars=read_variables(options.get('env_file', ()), options.get('env', ())), python=options.get('python'),
        labels=dict(options.get('label', ())),
        limits=Limits(options.get('max_memory'), options.get('max_cpu_time'), options.get('max_processes'),
                      options.get('max_output'), options.get('idle_timeout')),
        detach_ok=options.get('detach_ok', False), hang_stack=options.get('hang_stack', False), lock=options.get('lock'),
        lock_wait=options.get('lock_wait'), log_file=options.get('log_file'), config_file=settings,
        cicd_integration=gates_of(options, settings), repeat=options.get('repeat'), confirm=options.get('confirm'))
    runner.monitor_interval = options.get('monitor_interval', runner.monitor_interval)
    runner.detach_ok = options.get('detach_ok', runner.detach_ok)     # "false" in the environment is stronger than the file
    runner.hang_stack = options.get('hang_stack', runner.hang_stack)
    runner.enable_history = not options.get('no_history', not runner.enable_history)
    runner.retry_config = retry_config_of(options, settings)
    runner.alert_manager = alerts_of(options, settings)
    if settings is not None:
        options = dict(settings.options, **options)
    _check_outputs(options)
    if options.get('dry_run'):
        _print(to_json(runner.get_execution_plan()))
        return 0
    runner._sinks = (1, 2)
    if options.get('live') and _LiveLine.is_possible():
        runner._live_line = _LiveLine(runner)
        runner._sinks = runner._live_line.sinks()
    if program and _can_own_process():
        sys.setswitchinterval(0.0005)              # the end of the script must not wait 5 ms for another thread of ours
        runner._attempt_form = _OwnAttempt
        _KEPT.append(runner)
    if not options.get('quiet'):
        runner._on_retry = lambda failed, delay: _say('attempt %d %s; trying again in %s' % (
            failed['attempt_number'], _verdict(failed), format_duration(delay)))
        runner._on_repeat = _say
    try:
        result = runner.run_script()
    except LaunchError as error:
        _write_reports(_result_of_no_run(runner, error), options, runner)
        _report_alerts(getattr(error, 'alerts', ()), getattr(error, 'warnings', ()), options)
        raise
    _write_reports(result, options, runner)
    _report_run(result, options, runner.redact_patterns)
    return exit_status_of(result)


#: What lives until the process ends. Closing the last connection to a history would fold its log into the file, which takes a
#: millisecond that the user waits for; a later start does it while its own script runs.
_KEPT = []  # type: List[ScriptRunner]


def _check_outputs(options):
    # type: (Dict[str, Any]) -> None
    """Refuse, before anything starts, reports that could not be written, and a baseline over something that is none."""
    for name in sorted(REPORTS) + ['save_baseline']:
        path = options.get(name)
        if path is None:
            continue
        folder = os.path.dirname(path) or os.curdir
        if not os.path.isdir(folder) or os.path.isdir(path):
            raise UsageError('--%s %s: %s' % (name.replace('_', '-'), path, 'no such folder' if not os.path.isdir(folder) else
                                              'is a folder'))
    if options.get('save_baseline') is not None and os.path.exists(options['save_baseline']):
        read_baseline(options['save_baseline'])


class _ScreenState(object):
    """What a script has done to the terminal, read from its bytes: may a line of ours be drawn where the cursor is now?

    Only at the start of a line, in plain colours, with nothing below: not while a full-screen program has the alternate screen,
    and after the cursor was moved about only when as many lines as the window has came since, which brings it to the bottom.
    Control sequences: ECMA-48, and xterm's ctlseqs.
    """
    _LONGEST = 4096                     # bytes of an unfinished sequence that are waited for

    def __init__(self):
        # type: () -> None
        import re
        self._sequence = re.compile(rb'\x1b(?:\[([0-?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|'
                                    rb'[ -/]+[0-~]|([0-OQ-WYZ\\`-~]))')
        self._begun = re.compile(rb'\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)\Z')
        self._unfinished = b''
        self._at_start = self._is_plain = True
        self._is_alternate = self._has_region = False
        self._lines_due = 0

    @property
    def is_free(self):
        # type: () -> bool
        """Tell whether a line may be drawn."""
        return (self._at_start and self._is_plain and not self._lines_due and not self._unfinished
                and not self._is_alternate and not self._has_region)

    def begin_line(self):
        # type: () -> None
        """Note that somebody else has brought the cursor to the start of a line."""
        self._at_start = True

    def feed(self, data, rows, newline=b'\n'):
        # type: (bytes, int, bytes) -> None
        """Take the next bytes that went to a window of `rows`; a line ends with `newline` there."""
        if not self._unfinished and b'\x1b' not in data:
            self._feed_text(data, newline)
            return
        data, at = self._unfinished + data, 0
        for found in self._sequence.finditer(data):
            self._feed_text(data[at:found.start()], newline)
            at = found.end()
            if found.group(2):
                self._feed_control(found.group(1), found.group(2), rows)
            elif found.group(3) in (b'8', b'D', b'E', b'M', b'c') and not self._is_alternate:      # restored, moved, reset
                self._lines_due = rows
        begun = self._begun.search(data, max(at, len(data) - self._LONGEST))
        self._unfinished = begun.group() if begun else b''
        self._feed_text(data[at:len(data) - len(self._unfinished)], newline)

    def _feed_text(self, text, newline):
        # type: (bytes, bytes) -> None
        if text and not self._is_alternate:
            self._at_start = text.endswith(newline)
            if self._lines_due:
                self._lines_due = max(0, self._lines_due - text.count(b'\n'))

    def _feed_control(self, values, final, rows):
        # type: (bytes, bytes, int) -> None
        if final in b'hl' and values.startswith(b'?') and {b'1049', b'1047', b'47'}.intersection(values[1:].split(b';')):
            self._is_alternate = final == b'h'
        elif final == b'm':
            words = values.split(b';')
            self._is_plain = words[-1] in (b'', b'0', b'22', b'27', b'39', b'49') and b'38' not in words and b'48' not in words
        elif final == b'r':
            self._has_region = bool(values)
            self._lines_due = rows
        elif final not in b'hlmJKnctq' and not self._is_alternate:
            self._lines_due = rows


class _LiveLine(object):
    """One line on the terminal while the script runs, never among its own.

    The script's bytes go to the terminal through `sinks`, which take the line away before them and put it back in the same
    moment, unless more follow so quickly that it would only flicker; then it comes back with its next turn. Its words change at
    most four times a second. The cursor rests at its first column, so that clearing from there takes it away whole, also when a
    narrower window has broken it in two.
    """
    AFTER, EVERY, CALM = 0.5, 0.25, 0.05          # seconds until it first appears, between its turns, of silence to put it back
    PATIENCE = 2.0                                # seconds to wait for a terminal that takes no bytes
    CLEAR = b'\r\x1b[J'
    SAMPLES = 120                                 # in the curve

    @staticmethod
    def is_possible():
        # type: () -> bool
        """Tell whether stderr is a terminal on which a line can be taken away again."""
        return not _WINDOWS and os.isatty(2) and os.environ.get('TERM', 'dumb') != 'dumb'

    def __init__(self, runner):
        # type: (ScriptRunner) -> None
        self._runner = runner
        self._attempt = None  # type: Optional[Attempt]
        self._durations = None  # type: Optional[List[float]]
        self._screen = _ScreenState()
        self._lock = allocate_lock()              # of the terminal, and of what follows
        self._line = b''
        self._is_shown = self._is_paused = False
        self._written = 0.0                       # when the script last wrote
        self._wake, self._done = allocate_lock(), allocate_lock()
        locale = os.environ.get('LC_ALL') or os.environ.get('LC_CTYPE') or os.environ.get('LANG') or ''
        # Terminals of these languages draw our signs two columns wide: they get ASCII.
        self._encoding = 'ascii' if locale[:2] in ('zh', 'ja', 'ko') else getattr(sys.stderr, 'encoding', None) or 'ascii'

    def sinks(self):
        # type: () -> Tuple[Any, Any]
        """Return where stdout and stderr of the script go: through us where that is a terminal."""
        return self._sink_of(1), self._sink_of(2)

    def _sink_of(self, descriptor):
        # type: (int) -> Any
        return (lambda data: self._write(descriptor, data)) if os.isatty(descriptor) else descriptor

    def _write(self, descriptor, data):
        # type: (int, bytes) -> None
        """Write bytes of the script, the line being away; called by the threads that carry them."""
        with self._lock:
            was_shown, now = self._is_shown, time.monotonic()
            self._clear()
            _write_all(descriptor, data)
            is_calm, self._written = now - self._written >= self.CALM, now
            try:
                self._screen.feed(data, self._size()[1], self._newline())
                if was_shown and is_calm and self._is_ours():
                    self._draw()
            except Exception:                     # border: what is not understood costs the line, not the script's bytes
                self._line = b''

    def _newline(self):
        # type: () -> bytes
        """Return what ends a line: after a bare LF on a raw terminal the cursor is not at the left."""
        attempt = self._attempt
        return b'\r\n' if attempt is not None and attempt.keyboard != 2 else b'\n'

    def begin(self, attempt):
        # type: (Attempt) -> None
        """Show it from now on, but not for a run that is over in a moment."""
        self._attempt = attempt
        attempt.live = self
        self._is_paused = False
        self._wake.acquire(False)
        self._done.acquire(False)
        try:
            start_new_thread(self._run, ())
        except RuntimeError:                      # no thread is to be had: no line
            self._done.release()

    def end(self):
        # type: () -> None
        """Take it away for good."""
        if self._attempt is None:
            return
        self._wake.release()
        self._done.acquire(True, self.PATIENCE)
        self.pause()
        self._attempt = None

    def pause(self):
        # type: () -> None
        """Take it away until `resume`; a terminal that takes no bytes is not waited for."""
        self._is_paused = True
        if self._lock.acquire(True, self.PATIENCE):
            self._clear()
            self._lock.release()

    def resume(self):
        # type: () -> None
        """Let it come back after a stop: a shell had the terminal meanwhile, and has begun a line."""
        self._screen.begin_line()
        self._is_paused = False

    def _run(self):
        # type: () -> None
        """Border of the thread: a line that cannot be drawn is left out."""
        try:
            pause = self.AFTER
            while not self._wake.acquire(True, pause):
                self._take_turn()
                pause = self.EVERY
        except Exception as error:
            if self._attempt is not None:
                self._attempt.warnings.append('no live line any more: %r' % error)
        finally:
            self._done.release()

    def _take_turn(self):
        # type: () -> None
        attempt = self._attempt
        if attempt is None:
            return
        if self._durations is None:
            self._durations = self._usual_durations(attempt)
        line = self._compose(attempt)
        with self._lock:
            self._line = line
            if self._is_ours():
                self._draw()
            else:
                self._clear()

    def _usual_durations(self, attempt):
        # type: (Attempt) -> List[float]
        """Border: without the history there is no estimate."""
        try:
            manager = self._runner.history_manager
            return _good_values(manager.get_metric_series(
                attempt.plan.script_path, 'execution_time_seconds', limit=_USUAL_RUNS, good_only=True)) if manager else []
        except Exception:
            return []

    def _compose(self, attempt):
        # type: (Attempt) -> bytes
        samples = attempt.monitor.samples.rows[-self.SAMPLES:] if attempt.monitor is not None else []
        estimate = estimate_remaining(attempt.duration, self._durations or ())
        text = format_live(attempt.duration, samples, estimate, self._size()[0] - 1)
        return _drawn_plainly(text, self._encoding).encode(self._encoding, 'replace')

    @staticmethod
    def _size():
        # type: () -> Tuple[int, int]
        """Return (columns, rows) of the window; a terminal that does not know says 0."""
        try:
            columns, rows = os.get_terminal_size(2)
        except (OSError, ValueError):
            columns, rows = 0, 0
        return columns or 80, rows or 24

    def _is_ours(self):
        # type: () -> bool
        """Tell whether the terminal shows lines: we are in the foreground, and no program reads keys or a password."""
        try:
            if os.tcgetpgrp(2) != os.getpgrp():
                return False
        except OSError:                           # it controls another session, or none: nobody else's foreground
            pass
        try:
            import termios
        except ImportError:                       # nothing is known of the keys
            return True
        wanted = termios.ICANON | termios.ECHO
        attempt = self._attempt
        return attempt is not None and termios.tcgetattr(attempt.keyboard)[3] & wanted == wanted

    def _draw(self):
        # type: () -> None
        """Draw it anew, if it may be seen; the lock is held. What the terminal says to that is no trouble of the script's."""
        if self._line and not self._is_paused and self._screen.is_free:
            try:
                _write_all(2, self.CLEAR + self._line + b'\r')
                self._is_shown = True
            except OSError:
                pass

    def _clear(self):
        # type: () -> None
        """Take it away; the lock is held."""
        if self._is_shown:
            self._is_shown = False
            try:
                _write_all(2, self.CLEAR)
            except OSError:
                pass


def _result_of_no_run(runner, error):
    # type: (ScriptRunner, LaunchError) -> Dict[str, Any]
    """Return what reports need to know of a script that could not be started: no gate could be judged."""
    gates = [] if runner.cicd_integration is None else [
        {'name': gate.name, 'condition': str(gate.condition or gate.regression), 'verdict': 'error', 'passed': False,
         'reason': 'cannot be judged: the script did not start', 'metric': None, 'value': None, 'baseline': None,
         'change_pct': None, 'runs': None, 'needed': None}
        for gate in runner.cicd_integration.gates]
    return {'script_path': _real_path(runner.script_path), 'success': False, 'status': 'failed', 'cause': 'launch_error',
            'evidence': str(error), 'error_summary': None, 'returncode': error.exit_status, 'metrics': {}, 'gate_results': gates,
            'stdout': '', 'stderr': ''}


def _write_reports(result, options, runner):
    # type: (Dict[str, Any], Dict[str, Any], ScriptRunner) -> None
    """Write the reports that were asked for, whatever became of the script; one that cannot be written is told."""
    patterns = runner.redact_patterns
    for name, write in REPORTS.items():
        if options.get(name) is not None:
            _write_output(options[name], write, result, patterns, name)
    baseline = options.get('save_baseline')
    if baseline is not None and result['success'] and result['gates_passed'] is not False:
        runs = [repeat['metrics'] for repeat in result.get('repeats') or []] or [result['metrics']]
        try:
            (runner.cicd_integration or CICDIntegration()).save_baseline(baseline, aggregate_metrics(runs))
        except (OSError, UsageError) as error:
            _say('%s: baseline not written: %s' % (baseline, error))
    elif baseline is not None:
        _say('%s: baseline not written: the run did not succeed and meet its gates' % baseline)
    # A run inside a run reports to the outer one.
    if os.environ.get('GITHUB_ACTIONS') == 'true' and not os.environ.get('SCRIPT_RUNNER_ACTIVE') and (
            result['gate_results'] or not result['success']):
        _tell_github(result, patterns)


def _write_output(path, write, result, patterns, name):
    # type: (str, Callable[..., str], Dict[str, Any], Sequence[Any], str) -> None
    """Border: a report that cannot be made costs the report, not the script's status."""
    try:
        write_atomically(path, write(result, patterns).encode('utf-8', 'replace'))
    except Exception as error:
        why = getattr(error, 'strerror', None) or type(error).__name__
        _say('%s: %s not written: %s' % (path, name.replace('_output', ' report'), why))


def _tell_github(result, patterns):
    # type: (Dict[str, Any], Sequence[Any]) -> None
    """Show the outcome beside the job: workflow commands on stderr, which GitHub reads like stdout, and the step's summary."""
    for line in github_annotations(result, patterns):
        try:
            _write_all(2, line.encode('utf-8', 'replace') + b'\n')
        except OSError:
            pass
    path = os.environ.get('GITHUB_STEP_SUMMARY')
    if path:
        try:
            with open(path, 'ab') as file:
                file.write(markdown_summary(result, patterns).encode('utf-8', 'replace')[:_SUMMARY_BYTES] + b'\n')
        except OSError as error:
            _say('%s: summary not written: %s' % (path, error.strerror))


def _can_own_process():
    # type: () -> bool
    if not _Inbox.is_possible():
        return False
    try:
        import fcntl  # noqa: F401
        return True
    except ImportError:
        return False


def _report_alerts(alerts, warnings, options):
    # type: (Iterable[Dict[str, Any]], Iterable[str], Dict[str, Any]) -> None
    for warning in warnings:
        _say(warning)
    if not options.get('quiet'):
        for alert in alerts:
            _say('alert ' + alert_line(alert))


def _report_run(result, options, patterns):
    # type: (Dict[str, Any], Dict[str, Any], Sequence[Any]) -> None
    _report_alerts(result['alerts'], result['warnings'], options)
    if options.get('verbose'):
        _say(format_metrics_of(result['metrics']))
    if options.get('json_output'):
        try:
            write_atomically(options['json_output'], to_json(result).encode('utf-8', 'replace'))
        except OSError as error:
            _say('%s: result not written: %s' % (options['json_output'], error.strerror))
    for gate in result['gate_results']:
        if gate['verdict'] != 'pass' or options.get('verbose'):
            name, reason = [_printable(redact(gate[key], patterns)) for key in ('name', 'reason')]      # not `pass: …`
            _say('gate %s: %s: %s' % (name, gate['verdict'], reason))
    if not options.get('quiet'):
        _say(summary_line(result))


def _manager_for_reading(options):
    # type: (Dict[str, Any]) -> HistoryManager
    """Return the history that a verb shall read; raises HistoryError when there is none."""
    manager = HistoryManager(options.get('history_db'))
    if not os.path.exists(manager.db_path) and not manager.count_spooled():
        raise HistoryError('%s: no history yet; run a script with python -m runner job.py, or name another file with '
                           '--history-db' % manager.db_path)
    if not _is_readable_only(manager.db_path):
        manager.tidy(lambda run_id, correlation: _end_lost(run_id, correlation, _say))
    return manager


def _script_in_history(manager, script):
    # type: (HistoryManager, str) -> str
    """Return the recorded path of a script named by the user; raises UsageError with the nearest ones."""
    known = manager.get_scripts()
    for candidate in (_canonical(script), '-m ' + script):
        if candidate in known:
            return candidate
    same_name = [path for path in known if os.path.basename(path) == script]
    if len(same_name) == 1:
        return same_name[0]
    raise UsageError('%s: no run of it in the history%s' % (script, suggest(os.path.basename(script), [
        os.path.basename(path) for path in known])))


def _find_run(manager, word):
    # type: (HistoryManager, str) -> Dict[str, Any]
    """Return the run that a user names by its number or as 'last'."""
    if word == 'last':
        number = manager.get_last_id()
        if number is None:
            raise UsageError('last: there is no run in %s' % manager.db_path)
    elif word.isdecimal():
        number = int(word) if len(word) <= 18 else 0    # SQLite's numbers have 63 bits
    else:
        raise UsageError("%r: not a run; give its number, or 'last'" % word)
    run = manager.get_execution(number)
    if run is None:
        raise UsageError('%s: no such run in %s (python -m runner history lists them)' % (word, manager.db_path))
    return run


def _import_history(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    """Take in a history of version 7: `history import FILE`."""
    if arguments.script != 'import' or arguments.file is None or arguments.since is not None or arguments.where is not None:
        raise UsageError('history %s: write python -m runner history import FILE for a history of version 7, or history [SCRIPT] '
                         'to list runs (a script of that name is ./import)' % ' '.join(
                             word for word in (arguments.script, arguments.file) if word))
    with HistoryManager(options.get('history_db')) as manager, _Progress('runs taken in') as progress:
        answer = manager.import_history(arguments.file, progress.tell)
        answer['history_db'] = manager.db_path
    if arguments.json:
        _print(to_json(answer))
    elif not options.get('quiet'):
        _print('%s taken in, %d there already: %s' % (_counted(answer['imported'], 'run'), answer['known'], answer['history_db']))
    if answer['unreadable']:
        _say('%s: %s without a time, left out: %s' % (arguments.file, _counted(len(answer['unreadable']), 'run'), ', '.join(
            str(number) for number in answer['unreadable'][:10]) + (', ...' if len(answer['unreadable']) > 10 else '')))
    return 0


def _history_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    if arguments.script == 'import' or arguments.file is not None:
        return _import_history(arguments, options)
    with _manager_for_reading(options) as manager:
        script = _script_in_history(manager, arguments.script) if arguments.script else None
        runs = manager.get_execution_history(script, limit=arguments.limit, days=_days_of(arguments), where=arguments.where)
    _print(to_json(runs) if arguments.json else format_history(runs) if runs else 'no runs')
    return 0


def _show_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    with _manager_for_reading(options) as manager:
        run = _find_run(manager, arguments.run)
        samples = manager.get_samples(run['id'])
        attempts = manager.get_attempts(run['correlation_id'])
        artefacts = manager.get_artefacts(run['id'])
        judgement = manager.get_judgement(run['id'])
        alerts = read_alerts(manager, run['id'])
        fingerprint = run['error_fingerprint']
        sightings = manager.get_error_history(fingerprint, run['script_path']) if fingerprint else None
    known = LogAnalyzer.KNOWN_PATTERNS.get(run['error_kind'])
    if arguments.json:
        _print(to_json(dict(run, samples=samples, attempts=[a['id'] for a in attempts], artefacts=artefacts,
                            error_advice=known and known.advice, error_history=sightings, judgement=judgement,
                            alerts=alerts)))
    else:
        _print(format_run(run, samples, attempts, artefacts, known.advice if known else None, sightings,
                          judgement))
        if alerts:
            _print('\nalerts\n' + '\n'.join('  ' + alert_line(alert) for alert in alerts))
    return 0


def _alerts_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    """Carry out one action; each takes the words that its usage names."""
    action, words = arguments.action, arguments.words
    usage, least, most, carry_out = _ALERT_ACTIONS[action]
    if not least <= len(words) <= most:
        raise UsageError('alerts %s: write python -m runner alerts %s' % (' '.join([action] + words), usage))
    return carry_out(words, arguments, options)


def _alerts_list(words, arguments, options):
    # type: (List[str], Any, Dict[str, Any]) -> int
    with _manager_for_reading(options) as history:
        alerts, silences = read_alerts(history, limit=arguments.limit), AlertIntelligence(history).get_silences()
    _print(to_json({'alerts': alerts, 'silences': silences}) if arguments.json else format_alerts(alerts, silences))
    return 0


def _alerts_test(words, arguments, options):
    # type: (List[str], Any, Dict[str, Any]) -> int
    manager = _manager_of_alerts(options)
    if not words and not manager.channels:
        raise UsageError('alerts test: no channel is configured; name stdout or log, or give a settings file with notifications')
    outcomes = manager.notify('test of the alerts of python-script-runner', words or None)
    lines = ['%s: %s%s' % (name, outcome['state'] if outcome['state'] == 'sent' else 'not sent',
                           ' (%s)' % outcome['error'] if outcome['error'] else '') for name, outcome in outcomes.items()]
    _print(to_json(outcomes) if arguments.json else '\n'.join(lines))
    return 0 if all(outcome['state'] == 'sent' for outcome in outcomes.values()) else 1


def _alerts_missed(words, arguments, options):
    # type: (List[str], Any, Dict[str, Any]) -> int
    manager = _manager_of_alerts(options)
    with _manager_for_reading(options) as history:
        manager.history_manager = history
        scripts = [_script_in_history(history, word) for word in words] or None
        if arguments.expect_every is not None:
            manager.expected.clear()
            manager.expect_run('--expect-every', arguments.expect_every)
        verdicts = manager.check_missed(scripts, tell=arguments.tell)
        manager.close()
    for warning in manager.warnings:
        _say(warning)
    _print(to_json(verdicts) if arguments.json else format_missed(verdicts))
    return 1 if any(verdict['overdue'] for verdict in verdicts) else 0


def _alerts_silence(words, arguments, options):
    # type: (List[str], Any, Dict[str, Any]) -> int
    seconds = _read_positive_duration(words[1])
    with HistoryManager(options.get('history_db')) as history:
        end = AlertIntelligence(history).silence(words[0], seconds, arguments.reason)
    if not options.get('quiet'):
        _print('%s tells nobody until %s' % (_printable(words[0]), _local_time(format_time(end))))
    return 0


def _alerts_unsilence(words, arguments, options):
    # type: (List[str], Any, Dict[str, Any]) -> int
    with HistoryManager(options.get('history_db')) as history:
        ended = AlertIntelligence(history).unsilence(words[0])
    if not options.get('quiet'):
        _print('%s: %s' % (_printable(words[0]), 'may tell again' if ended else 'was not silenced'))
    return 0


def _alerts_deliver(words, arguments, options):
    # type: (List[str], Any, Dict[str, Any]) -> int
    manager = _manager_of_alerts(options)
    with HistoryManager(options.get('history_db')) as history:
        manager.history_manager = history
        counts = manager.deliver_waiting(failed=arguments.failed)
        manager.close()
    _print(to_json(counts) if arguments.json else '%d sent, %d waiting' % (counts['sent'], counts['waiting']))
    return 0 if not counts['waiting'] else 1


def _manager_of_alerts(options):
    # type: (Dict[str, Any]) -> AlertManager
    """Return the rules and channels of the settings file, if one is given."""
    settings = Settings.load(options['config']) if 'config' in options else None
    return alerts_of(options, settings, anyway=True) or AlertManager()


# What `alerts` does: how it is written, the fewest and the most words after the action, and what carries it out.
_ALERT_ACTIONS = {
    'list': ('list [--limit N]', 0, 0, _alerts_list),
    'test': ('test [CHANNEL...]', 0, 99, _alerts_test),
    'missed': ('missed [SCRIPT...] [--expect-every 1d] [--tell]', 0, 99, _alerts_missed),
    'silence': ('silence RULE 2h [--reason TEXT]', 2, 2, _alerts_silence),
    'unsilence': ('unsilence RULE', 1, 1, _alerts_unsilence),
    'deliver': ('deliver [--failed]', 0, 0, _alerts_deliver)}  # type: Dict[str, Tuple[str, int, int, Any]]


def _metrics_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    if arguments.json:
        _print(to_json(describe_metrics()))
    else:
        _print(format_metrics())
    return 0


def _export_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    target = arguments.file  # type: Any
    if target == '-':
        if arguments.format is None:
            raise UsageError('-: which format? give --format %s' % '|'.join(_EXPORT_WRITERS))
        target = getattr(sys.stdout, 'buffer', None)
        if target is None:
            raise UsageError('-: stdout takes no bytes here; name a file')
    with _manager_for_reading(options) as manager:
        script = _script_in_history(manager, arguments.script) if arguments.script else None
        with _Progress('runs written') as progress:
            try:
                count = manager.export(target, arguments.format, script, _days_of(arguments), arguments.where,
                                       arguments.samples, progress.tell)
            except BrokenPipeError:                    # `| head` has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                return 0
            except OSError as error:
                raise UsageError('%s: cannot be written: %s' % (arguments.file, error.strerror or error))
    if not options.get('quiet') and arguments.file != '-':
        _say('%s: %s' % (arguments.file, _counted(count, 'run')))
    return 0


class _Progress(object):
    """Say how far a work has come on a line of its own, when it takes more than two seconds and stderr is a terminal."""
    AFTER, EVERY = 2.0, 0.2

    def __init__(self, what):
        # type: (str) -> None
        self._what = what
        self._next = time.monotonic() + self.AFTER if sys.stderr is not None and sys.stderr.isatty() else float('inf')
        self._shown = False

    def __enter__(self):
        # type: () -> _Progress
        return self

    def __exit__(self, *_):
        # type: (*Any) -> None
        if self._shown:
            sys.stderr.write('\r\x1b[K')
            sys.stderr.flush()

    def tell(self, count):
        # type: (int) -> None
        """Show a count, if it is time to."""
        now = time.monotonic()
        if now >= self._next:
            self._next, self._shown = now + self.EVERY, True
            sys.stderr.write('\rrunner: %s %s' % (format(count, ','), self._what))
            sys.stderr.flush()


def _counted(count, what):
    # type: (int, str) -> str
    return '%d %s%s' % (count, what, '' if count == 1 else 's')


def _prune_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    if arguments.older_than is None and arguments.keep is None and arguments.max_size is None:
        raise UsageError('prune: what to delete? give --older-than 90d, --keep 100 (runs of each script) or --max-size 500MiB')
    policy = RetentionPolicy(
        max_age_days=None if arguments.older_than is None else arguments.older_than / 86400.0, max_runs_per_script=arguments.keep,
        max_size_mb=None if arguments.max_size is None else arguments.max_size / _MIB)
    with _manager_for_reading(options) as manager:
        with _Progress('runs deleted') as progress:
            plan = policy.plan(manager) if arguments.dry_run else policy.apply(manager, arguments.archive, progress.tell)
        size = manager.get_database_stats()['size_bytes']
    if arguments.json:
        _print(to_json({'dry_run': arguments.dry_run, 'runs': plan.runs, 'archive': arguments.archive, 'size_bytes': size}))
    elif not options.get('quiet'):
        _print(format_retention(plan, arguments.dry_run))
    if arguments.max_size is not None and not arguments.dry_run and size > arguments.max_size:
        _say('%s is still %s: nothing more can be deleted' % (manager.db_path, format_mib(size / _MIB)))
    return 0


def _check_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    """Judge a recorded run. Words are conditions, but for the last where it names a run."""
    words = list(arguments.conditions)
    number = words.pop() if words and (words[-1] == 'last' or words[-1].isdecimal()) else 'last'
    asked = {'gate': [_read_condition(word) for word in words], 'regression': arguments.regression or ()}  # type: Dict[str, Any]
    asked.update((name, value) for name, value in vars(arguments).items()
                 if name in ('baseline', 'on_inconclusive') and value is not None)
    integration = gates_of(asked, Settings.load(options['config']) if 'config' in options else None)
    if integration is None or integration.is_empty:
        raise UsageError("check: nothing to judge; write python -m runner check 'cpu_max < 90' last")
    with _manager_for_reading(options) as manager:
        run = _find_run(manager, number)
        past = _Past(manager, run, run['id'], integration)
        passed, gates = integration.check_gates(gate_values(run, integration, past), past.values)
    if arguments.json:
        _print(to_json({'run': run['id'], 'status': run['status'], 'passed': passed and bool(run['success']),
                        'gate_results': gates}))
    else:
        _print('run %d: %s\n%s' % (run['id'], _verdict(run), format_gates(gates)))
    return 0 if passed and run['success'] else _EXIT_GATE


def _ab_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    import shlex
    commands = []
    for text in (arguments.before, arguments.after):
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UsageError('ab: %r: %s' % (text, error))
        if not words:
            raise UsageError("ab: an empty command; write python -m runner ab 'python old.py' 'python new.py'")
        commands.append(words)

    def make(words):
        # type: (List[str]) -> ScriptRunner
        return ScriptRunner(words[0], words[1:], timeout=arguments.timeout, history_db=options.get('history_db'),
                            enable_history=arguments.record)
    told = (lambda done, total: _say('%d of %d runs' % (done, total))) if options.get('verbose') else None
    comparison = run_ab(lambda: make(commands[0]), lambda: make(commands[1]), arguments.runs, told)
    if arguments.json:
        _print(to_json(dict(comparison, a=arguments.before, b=arguments.after)))
    else:
        _print('A: %s\nB: %s\n\n%s\n\n%s' % (_printable(arguments.before), _printable(arguments.after), format_ab(comparison),
                                           comparison['sentence']))
    return 0


def _overhead_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    test = StressTest(arguments.script, arguments.args, module=arguments.module, timeout=arguments.timeout,
                      python=arguments.python)
    told = (lambda done, total: _say('%d of %d runs' % (done, total))) if options.get('verbose') else None
    overhead = test.measure_overhead(arguments.runs, told)
    overhead['sampling'] = test.measure_sampling()
    if arguments.parallel:
        overhead['parallel'] = test.run_parallel(arguments.parallel)
    _print(to_json(overhead) if arguments.json else format_overhead(overhead))
    return 0


def _profile_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    """Profile a script. stdout is the script's and the report goes to stderr; with --json it is the other way round."""
    flame = arguments.flame
    if flame is not None and not flame.endswith(('.html', '.svg')):
        raise UsageError('--flame %s: what kind of file? name it .html or .svg' % flame)
    if flame is not None and not os.path.isdir(os.path.dirname(os.path.abspath(flame))):
        raise UsageError('--flame %s: no such folder' % flame)
    profiler = AdvancedProfiler(
        arguments.script, arguments.args, arguments.cpu, arguments.memory, module=arguments.module, timeout=arguments.timeout,
        python=arguments.python, history_db=options.get('history_db'), enable_history=not arguments.no_history)
    profiler.runner._sinks = (2, 2) if arguments.json else (1, 2)
    profile = profiler.profile_cpu_and_memory()
    result = profile['result']
    if arguments.json:
        _print(to_json(profile))
    elif not options.get('quiet'):
        _say(format_profile(profile))
    if flame is not None:
        _write_flame(flame, profiler.stacks, '%s, %s' % (result['script_path'], profile['cpu_tool']))
    _report_run(result, options, profiler.runner.redact_patterns)
    return exit_status_of(result)


def _write_flame(path, stacks, title):
    # type: (str, Dict[Any, float], str) -> None
    try:
        write_atomically(path, flame_graph(stacks, title, path.endswith('.html')).encode('utf-8', 'replace'))
    except (OSError, ValueError) as error:
        _say('%s: flame graph not written: %s' % (path, getattr(error, 'strerror', None) or error))


def _config_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    if arguments.action != 'check':
        _print(to_json(settings_schema()) if arguments.action == 'schema' else settings_example().rstrip('\n'))
        return 0
    files = arguments.file or [options[name] for name in ('config',) if name in options]
    if not files:
        raise UsageError('config check: no file; write python -m runner config check FILE')
    for file in files:
        settings = Settings.load(file)
        alerts_of({}, settings, anyway=True)
        if not options.get('quiet'):
            _print('%s: valid; it sets %s' % (file, ', '.join(settings.values)))
    return 0


def _doctor_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    rows = [(name, answer, fine) for check in (_examine_platform, _examine_start, _examine_watching, _examine_history)
            for name, answer, fine in check(options)]
    if arguments.json:
        _print(to_json([{'check': name, 'answer': answer, 'ok': fine} for name, answer, fine in rows]))
    else:
        _print(format_table([['ok' if fine else 'LOOK', name, answer] for name, answer, fine in rows]))
    return 0 if all(fine for _, _, fine in rows) else 1


def _examine_platform(options):
    # type: (Dict[str, Any]) -> List[Tuple[str, str, bool]]
    found = [('version', 'runner %s, %s %s' % (__version__, sys.implementation.name, sys.version.split()[0]), True),
             ('platform', _host_facts()['platform'], True)]
    for name, need in (('psutil', 'needed where there is no /proc'), ('yaml', 'needed for settings files'),
                       ('requests', 'needed for Slack and webhooks')):
        try:
            module = __import__(name)
            found.append((name, 'version %s' % getattr(module, '__version__', '?'), True))
        except ImportError:
            found.append((name, 'not installed (%s); pip install %s' % (need, {'yaml': 'PyYAML'}.get(name, name)),
                          name != 'psutil' or _LINUX))
    return found


def _examine_start(options):
    # type: (Dict[str, Any]) -> List[Tuple[str, str, bool]]
    """Is the byte code of this module kept? Without it each start compiles the module anew, which costs some 200 ms."""
    import importlib.util
    source = os.path.abspath(__file__)
    try:
        cached = source if source.endswith('.pyc') else importlib.util.cache_from_source(source)
        kept = _is_current_byte_code(cached, source)
    except (OSError, NotImplementedError):
        cached, kept = '', False
    if kept:
        return [('byte code', cached, True)]
    unset = ('unset PYTHONDONTWRITEBYTECODE and start once' if sys.dont_write_bytecode else
             'let somebody start it who may write there')
    return [('byte code', 'not kept beside %s, so that every start takes some 200 ms longer; %s, or: %s -m compileall -q %s' % (
        source, unset, os.path.basename(sys.executable or 'python'), source), False)]


def _is_current_byte_code(cached, source):
    # type: (str, str) -> bool
    """Is the file what the import system would take (PEP 552)? Flags of 0 mean: by the source's time and size. Raises OSError."""
    with open(cached, 'rb') as file:
        head = file.read(16)
    if sys.version_info < (3, 7):
        head = head[:4] + b'\0\0\0\0' + head[4:12]
    if cached == source or head[4:8] != b'\0\0\0\0':
        return True
    stat = os.stat(source)
    return head[8:16] == b''.join((int(number) & 0xFFFFFFFF).to_bytes(4, 'little') for number in (stat.st_mtime, stat.st_size))


def _examine_watching(options):
    # type: (Dict[str, Any]) -> List[Tuple[str, str, bool]]
    sampler_class = choose_sampler()
    sampler = sampler_class(os.getpid())
    sampler.SLOW_EVERY = 0.0                # every sample with all its parts, as at ten a second
    costs = []
    for _ in range(200):
        before = time.perf_counter()
        sampler.sample()
        costs.append(time.perf_counter() - before)
    sampler.close()
    found = [('sampler', '%s, %.1f µs per sample of this process (median of 200)' % (
        sampler_class.__name__, sorted(costs)[100] * 1e6), True)]
    if _LINUX:
        task = '/proc/self/task/%d/children' % os.getpid()
        found.append(('children', 'listed by the kernel' if os.path.exists(task) else 'found by scanning /proc (slower)', True))
        found.append(('own process', 'signals, orphans and terminal are taken over' if _can_own_process() else
                      'not possible here: the script is run as a guest', True))
        group = _MemoryGroup.make(1 << 30)
        found.append(('memory limit', 'kept by the kernel (control group) and a watchdog' if group else
                      'kept by a watchdog (no control group may be made here)', True))
        if group is not None:
            group.remove()
        try:
            _libc('prctl', 37, b'\0' * 8, 0, 0, 0)          # PR_GET_CHILD_SUBREAPER: can it be called?
            found.append(('subreaper', 'orphans of a script are adopted and counted', True))
        except (OSError, ImportError, AttributeError) as error:
            found.append(('subreaper', 'not available (%s): orphans are not counted' % error, False))
    return found


def _examine_history(options):
    # type: (Dict[str, Any]) -> List[Tuple[str, str, bool]]
    manager = HistoryManager(options.get('history_db'))
    waiting = manager.count_spooled()
    found = [('spool', '%d record(s) waiting' % waiting if waiting else 'empty', not waiting)]
    if not os.path.exists(manager.db_path):
        return [('history', '%s: none yet' % manager.db_path, True)] + found
    try:
        stats = manager.get_database_stats()
        trouble = manager.check_integrity()
        manager.close()
    except RunnerError as error:
        return [('history', str(error), False)] + found
    return [('history', '%s: %d runs, %s, schema %d%s' % (
        manager.db_path, stats['runs'], format_mib(stats['size_bytes'] / _MIB), stats['schema_version'],
        ', read-only' if _is_readable_only(manager.db_path) else ''), True),
        ('integrity', '; '.join(trouble) or 'sound', not trouble)] + found


#: What is judged where no metric is named: the numbers in which one direction is better, without the run's fate and our own.
_JUDGED_METRICS = tuple(m.name for m in METRICS.values() if m.better and m.column and not m.name.startswith('monitor_')
                        and m.name not in ('timed_out', 'attempt_number', 'stderr_bytes'))
_USUAL_RUNS = 200                       # how many good runs tell what is usual


def _metric_in_history(manager, name, script):
    # type: (HistoryManager, str, str) -> str
    """Return a metric that has numbers: one of METRICS, or one that the script reported; raises UsageError."""
    if name in METRICS and METRICS[name].unit != 'UTC':
        return name
    if name not in METRICS and manager.get_metric_series(script, name, limit=1):
        return name
    known = [m.name for m in METRICS.values() if m.unit != 'UTC']
    raise UsageError('%r: %s%s (python -m runner metrics lists them)' % (
        name, 'a time, not a number' if name in METRICS else 'no such metric', suggest(name, known)))


def _script_or_last(manager, script):
    # type: (HistoryManager, Optional[str]) -> str
    """Return the recorded path of the script that is named, else of the last run."""
    if script:
        return _script_in_history(manager, script)
    number = manager.get_last_id()
    run = manager.get_execution(number) if number is not None else None
    if run is None:
        raise UsageError('no run in %s yet; run a script with python -m runner job.py' % manager.db_path)
    return run['script_path']


def _days_of(arguments):
    # type: (Any) -> Optional[float]
    return arguments.since / 86400.0 if arguments.since is not None else None


def _good_runs(manager, script, limit, days):
    # type: (HistoryManager, str, int, Optional[float]) -> List[Dict[str, Any]]
    """Return those of the last `limit` runs that succeeded, oldest first."""
    return [run for run in manager.get_execution_history(script, limit, days) if run['status'] == 'success'][::-1]


def _good_values(rows):
    # type: (Iterable[Sequence[Any]]) -> List[float]
    return [float(row[2]) for row in rows]


def _trend_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    with _manager_for_reading(options) as manager:
        script = _script_or_last(manager, arguments.script)
        name = _metric_in_history(manager, arguments.metric, script)
        analysis = TrendAnalyzer().analyze_metric_history(manager, script, name, _days_of(arguments), metric_of(name).better)
    values = [run['value'] for run in analysis['runs']]
    forecast = ResourceForecaster().forecast(values, 10)
    if arguments.json:
        _print(to_json(dict(analysis, forecast=forecast)))
    else:
        _print(format_trend(analysis, values, forecast))
    return 0


def _forecast_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    with _manager_for_reading(options) as manager:
        script = _script_or_last(manager, arguments.script)
        name = _metric_in_history(manager, arguments.metric, script)
        rows = manager.get_metric_series(script, name, days=_days_of(arguments), good_only=True)
    values = _good_values(rows)
    answer = {'script_path': script, 'metric': name, 'forecast': ResourceForecaster().forecast(values, arguments.runs),
              'limit': None}  # type: Dict[str, Any]
    if arguments.reach is not None:
        limit = _read_of_metric(name, arguments.reach)
        answer['limit'] = dict(ResourceForecaster().limit_reached(values, limit, [row[1] for row in rows]), value=limit)
    _print(to_json(answer) if arguments.json else format_forecast(answer))
    return 0


def _read_of_metric(name, text):
    # type: (str, str) -> float
    """Read a value in the unit of a metric: 5m for seconds, 2GiB for MiB, a plain number for the rest."""
    unit = metric_of(name).unit
    try:
        if unit == 's':
            return parse_duration(text)
        if unit in ('MiB', 'bytes') and not text.replace('.', '').isdecimal():
            return parse_size(text) / (_MIB if unit == 'MiB' else 1.0)
        return float(text.rstrip('% ') if unit == '%' else text)
    except ValueError:
        raise UsageError('%r: not a value of %s; write a number%s' % (text, name, ' of ' + unit if unit else ''))


def _anomalies_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    with _manager_for_reading(options) as manager:
        scripts = [_script_in_history(manager, arguments.script)] if arguments.script else manager.get_scripts()
        found = [record for script in scripts for record in find_odd_runs(manager, script, _days_of(arguments))]
    found.sort(key=lambda record: -record['run_id'])
    _print(to_json(found) if arguments.json else format_anomalies(found) if found else 'no odd run')
    return 0


def find_odd_runs(manager, script, days):
    # type: (HistoryManager, str, Optional[float]) -> List[Dict[str, Any]]
    """Return a record of each odd value among the last good runs of a script, and of runs that are odd only as a whole."""
    analyzer, runs = TrendAnalyzer(), _good_runs(manager, script, _USUAL_RUNS, days)
    found = []
    for name in _JUDGED_METRICS:
        values = [run['metrics'].get(name) for run in runs]
        steps = [step['index'] for step in analyzer.detect_change_points(values)]
        for odd in odd_within_levels(analyzer, values, steps):
            level = _level_around(values, steps, odd['index'])
            found.append(_odd_record(runs[odd['index']], name, odd['direction'], brief_value(name, odd['value']), level))
    alone = set(record['run_id'] for record in found)
    for odd in MLAnomalyDetector().detect([run['metrics'] for run in runs], _JUDGED_METRICS):
        run = runs[odd['index']]
        if run['id'] not in alone and odd['contributions']:
            parts = ', '.join('%s %s' % (part['metric'], part['direction']) for part in odd['contributions'][:3])
            found.append(_odd_record(run, 'together', None, parts, ()))
    return found


def _level_around(values, steps, index):
    # type: (Sequence[Any], Sequence[int], int) -> List[Any]
    """Return the values between the steps around a place, without the one that stands there."""
    first = max([0] + [step for step in steps if step <= index])
    end = min([len(values)] + [step for step in steps if step > index])
    return list(values[first:index]) + list(values[index + 1:end])


def _odd_record(run, name, direction, text, rest):
    # type: (Dict[str, Any], str, Optional[str], str, Sequence[float]) -> Dict[str, Any]
    usual = TrendAnalyzer().calculate_percentiles(rest, (5, 95))
    return {'run_id': run['id'], 'start_time': run['start_time'], 'script_path': run['script_path'], 'metric': name,
            'direction': direction, 'value': run['metrics'].get(name), 'text': text, 'low': usual['p5'], 'high': usual['p95']}


def _compare_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    with _manager_for_reading(options) as manager:
        before, after = (_find_run(manager, word) for word in (arguments.before, arguments.after))
        comparison = compare_runs(manager, before, after)
    if arguments.json:
        _print(to_json(comparison))
    else:
        _print(format_comparison(comparison))
    return 0


_COMPARED = ('id', 'script_path', 'script_args', 'start_time', 'status', 'git_commit', 'hostname', 'python_version')


def compare_runs(manager, before, after):
    # type: (HistoryManager, Dict[str, Any], Dict[str, Any]) -> Dict[str, Any]
    """Compare two runs of a history; returns before and after in brief, notes (sentences on what else differs), and metrics
    as `compare_metrics` gives them, judged by what was usual before both."""
    usual = find_usual(manager, after['script_path'], min(before['id'], after['id']))
    notes = ['note: %s differs: %s, %s' % (what, _printable(str(before[key])), _printable(str(after[key])))
             for what, key in (('the script', 'script_path'), ('the host', 'hostname'), ('the Python', 'python_version'),
                               ('the status', 'status')) if before[key] != after[key]]
    if before['script_args'] != after['script_args']:
        notes.append('note: the arguments differ')
    brief = [{name: run[name] for name in _COMPARED} for run in (before, after)]
    return {'before': brief[0], 'after': brief[1], 'notes': notes,
            'metrics': compare_metrics(before['metrics'], after['metrics'], usual)}


def find_usual(manager, script, before_id):
    # type: (HistoryManager, str, int) -> Dict[str, Dict[str, Any]]
    """Return the baseline of each judged metric, learned from the good runs before a run."""
    calculator, usual = BaselineCalculator(min_runs=10), {}
    for name in _JUDGED_METRICS:
        rows = manager.get_metric_series(script, name, limit=_USUAL_RUNS, good_only=True, before_id=before_id)
        usual[name] = calculator.calculate([{'id': row[0], 'status': row[4], 'value': row[2]} for row in rows], name)
    return usual


def _baseline_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    with _manager_for_reading(options) as manager:
        if arguments.action == 'set':
            if arguments.target is None:
                raise UsageError("baseline set: which run? give its number, or 'last'")
            run = _find_run(manager, arguments.target)
            manager.set_baseline(run['id'])
            script = run['script_path']
        else:
            script = _script_or_last(manager, arguments.target)
        had_one = arguments.action == 'clear' and manager.clear_baseline(script)
        baseline = manager.get_baseline(script)
    if arguments.json:
        _print(to_json(baseline))
    elif arguments.action == 'clear':
        _print('%s: %s' % (_printable(script), 'its baseline is forgotten' if had_one else 'had no baseline'))
    elif baseline is None:
        _print('%s: no run is pinned; python -m runner baseline set RUN pins one' % _printable(script))
    else:
        _print('%s: run %d is its baseline since %s' % (
            _printable(script), baseline['execution_id'], _local_time(baseline['set_time'])))
        if arguments.action == 'show':
            _print(format_metrics_of(baseline['metrics']))
    return 0


def _correlate_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    with _manager_for_reading(options) as manager:
        script = _script_or_last(manager, arguments.script)
        runs = _good_runs(manager, script, 1000, _days_of(arguments))
    names = [name for name in METRICS if name in _JUDGED_METRICS] + sorted(
        set(name for run in runs for name in run['metrics'] if name not in METRICS))
    series = {name: [run['metrics'].get(name) for run in runs] for name in names}  # type: Dict[str, Sequence[Any]]
    records = MetricsCorrelationAnalyzer().correlate(series, arguments.lag)
    if arguments.json:
        _print(to_json(records))
        return 0
    sure = [record for record in records if record['significant']]
    _print('%s: %d good runs' % (_printable(script), len(runs)))
    _print(format_correlations(sure) if sure else 'nothing goes together for sure' if len(runs) >= 5 else
           '5 good runs are needed')
    return 0


#: (the option it is for, metric, margin, how it is written)
_ADVISED = (('--timeout', 'execution_time_seconds', 0.5), ('--max-memory', 'memory_max_mb', 0.25), ('CPUs', 'cpu_max', 0.0))


def _advise_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    with _manager_for_reading(options) as manager:
        scripts = [_script_in_history(manager, arguments.script)] if arguments.script else manager.get_scripts()
        advice = [(script, _advise(manager, script)) for script in scripts]
    if arguments.json:
        _print(to_json([{'script_path': script, 'advice': records} for script, records in advice]))
    else:
        _print('\n'.join(format_advice(script, records) for script, records in advice) or 'no runs')
    return 0


def _advise(manager, script):
    # type: (HistoryManager, str) -> List[Dict[str, Any]]
    records = []
    for limit, name, margin in _ADVISED:
        rows = manager.get_metric_series(script, name, limit=_USUAL_RUNS, good_only=True)
        record = recommend_limit(_good_values(rows), margin)
        record.update(limit=limit, metric=name, text=None)
        if limit == 'CPUs':                        # a tenth on top would give every script with one thread a second core
            record['recommended'] = record['largest']
        if record['recommended'] is not None:
            record['text'] = _round_up(limit, record['recommended'])
        records.append(record)
    return records


def _round_up(limit, value):
    # type: (str, float) -> str
    """Write a recommended value as it is typed, rounded up to two digits.

    >>> _round_up('--timeout', 71.2), _round_up('--timeout', 0.4), _round_up('--max-memory', 300.1), _round_up('CPUs', 163.0)
    ('72s', '1s', '310MiB', '2')
    """
    if limit == 'CPUs':
        return '%d' % max(1, -int(-value // 100))
    step = 10 ** max(0, len('%d' % value) - 2)
    rounded = -int(-value // step) * step
    return '%dMiB' % rounded if limit == '--max-memory' else '%ds' % rounded


#: What completes a value, by the option or by how the value is called in the help: a kind of path, or words.
_COMPLETED = {'FILE': 'files', 'SCRIPT': 'files', 'DIR': 'folders', 'EXE': 'programs', 'RUN': ('last',), 'METRIC': tuple(METRICS),
              '--retry-strategy': RetryStrategy.ALL, '--on-inconclusive': _INCONCLUSIVE}  # type: Dict[str, Any]


def _completed_options(verb):
    # type: (str) -> List[Tuple[str, str, Any]]
    """Return (flag, help, what completes its value) of every option of a run (verb '') or a verb; None: it takes no value."""
    found = []
    for names, keywords in _VERBS[verb].arguments if verb else ():
        if names[0].startswith('-'):
            is_switch = keywords.get('action') == 'store_true'
            found.append((names[0], keywords['help'], None if is_switch else _completed_value(keywords)))
    if verb and _VERBS[verb].json:
        found.append(('--json', 'print JSON', None))
    for option in _OPTIONS:
        if option.everywhere or not verb:
            words = _COMPLETED.get(option.flag, _COMPLETED.get(option.metavar or '', ''))
            found.append((option.flag, option.help, None if option.read is None else words))
    if not verb:
        found.append(('--version', 'print the version', None))
    return found + [('--help', 'print help', None)]


def _completed_value(keywords):
    # type: (Dict[str, Any]) -> Any
    """Return what completes an argument of a verb: words, a kind of path, or '' where nothing is known."""
    return keywords.get('choices') or _COMPLETED.get(keywords.get('metavar') or '', '')


def _completed_words(verb):
    # type: (str) -> Tuple[Tuple[str, ...], bool]
    """Return (words that may stand in a verb's arguments, whether files may)."""
    values = []  # type: List[Any]
    for names, keywords in _VERBS[verb].arguments:
        if not names[0].startswith('-'):
            forms = (keywords.get('metavar') or '').split('|')            # RUN|SCRIPT: either
            values += [_completed_value(keywords)] if 'choices' in keywords else [_COMPLETED.get(form, '') for form in forms]
    return tuple(word for value in values if isinstance(value, tuple) for word in value), 'files' in values


def _value_takers(verb):
    # type: (str) -> Dict[Any, List[str]]
    """Return the flags that take a value, by what completes it."""
    takers = {}  # type: Dict[Any, List[str]]
    for flag, _, value in _completed_options(verb):
        if value is not None:
            takers.setdefault(value, []).append(flag)
    return takers


def _bash_completion():
    # type: () -> str
    """Return the completion for bash; also for 3.2, which has no compopt."""
    cases, words = [], []
    for verb in [''] + [name for name in _VERBS if name != 'run']:
        for value, flags in _value_takers(verb).items():
            kind = ' '.join(value) if isinstance(value, tuple) else {'files': '@files', 'folders': '@folders',
                                                                    'programs': '@programs', '': '@nothing'}[value]
            cases.append('        %s) kind=%s ;;' % ('|'.join("'%s %s'" % (verb, flag) for flag in flags), "'%s'" % kind))
        offered, files = _completed_words(verb) if verb else (tuple(_VERBS), True)
        words.append("        '%s') options='%s' words='%s' files=%s ;;" % (
            verb, ' '.join(flag for flag, _, _ in _completed_options(verb)) + ('' if verb else ' -m'), ' '.join(offered),
            'yes' if files else ''))
    return _BASH % {'cases': '\n'.join(cases), 'words': '\n'.join(words), 'verbs': '|'.join(v for v in _VERBS if v != 'run')}


_BASH = r"""# bash completion of python-script-runner; made by: python -m runner completion bash
_python_script_runner_kind() {          # $1: verb and option; sets kind, empty for one without a value
    kind=
    case $1 in
%(cases)s
    esac
}

_python_script_runner_offer() {         # $1: words, or @files, @folders, @programs, @nothing
    local reply
    case $1 in
        @files) return ;;                # readline's own, which also quotes them
        @folders) compopt -o dirnames 2>/dev/null; return ;;
        @programs) reply=$(compgen -c -- "$cur") ;;
        @nothing) reply= ;;
        *) reply=$(compgen -W "$1" -- "$cur") ;;
    esac
    compopt +o default +o bashdefault 2>/dev/null
    local IFS=$'\n'
    # shellcheck disable=SC2206 # one word a line; no mapfile in bash 3.2
    COMPREPLY=($reply)
}

_python_script_runner() {
    local cur=${COMP_WORDS[COMP_CWORD]} verb='' run='' word kind options words files i=1
    COMPREPLY=()
    while ((i < COMP_CWORD)); do
        word=${COMP_WORDS[i]}
        ((++i))
        case $word in
            --|-m) return ;;
            -*)
                _python_script_runner_kind "$verb $word"
                if [ -z "$kind" ]; then continue; fi
                if [ "${COMP_WORDS[i]-}" = = ]; then      # bash cuts --option=value in three
                    if ((i == COMP_CWORD)); then cur=''; fi
                    ((++i))
                fi
                if ((i >= COMP_CWORD)); then _python_script_runner_offer "$kind"; return; fi
                ((++i)) ;;
            run) if [ -z "$verb$run" ]; then run=yes; elif [ -z "$verb" ]; then return; fi ;;
            %(verbs)s)
                if [ -n "$run" ]; then return; fi          # a script of that name
                verb=${verb:-$word} ;;
            *) if [ -z "$verb" ]; then return; fi ;;       # the script: what follows is its own
        esac
    done
    case $verb in
%(words)s
    esac
    case $cur in
        -*) _python_script_runner_offer "$options" ;;
        *)
            if [ -n "$run" ]; then words=''; fi
            if [ -n "$files" ]; then
                local reply IFS=$'\n'
                reply=$(IFS=' '; compgen -W "$words" -- "$cur"; compgen -f -- "$cur")
                # shellcheck disable=SC2206
                COMPREPLY=($reply)
                compopt -o filenames 2>/dev/null
            else
                _python_script_runner_offer "$words"
            fi ;;
    esac
    return 0
}

complete -o bashdefault -o default -F _python_script_runner python-script-runner
"""


def _zsh_quoted(text):
    # type: (str) -> str
    """Write a text inside a specification of _arguments, within single quotes."""
    for sign in '\\[]:':
        text = text.replace(sign, '\\' + sign)
    return text.replace("'", "'\\''")


def _zsh_options(verb):
    # type: (str) -> str
    """Return the options as specifications of _arguments, one a line."""
    repeatable = set(option.flag for option in _OPTIONS if option.many)
    kinds = {'files': '_files', 'folders': '_files -/', 'programs': '_command_names -e', '': ' '}
    specs = []
    for flag, text, value in _completed_options(verb):
        action = '' if value is None else ':value:' + ('(%s)' % ' '.join(value) if isinstance(value, tuple) else kinds[value])
        specs.append("'%s%s%s[%s]%s'" % ('*' if flag in repeatable else '', flag, '' if value is None else '=', _zsh_quoted(text),
                                         action))
    return ' \\\n            '.join(specs)


def _zsh_completion():
    # type: () -> str
    """Return the completion for zsh: for a file in $fpath, or to be sourced."""
    cases = []
    for verb in _VERBS:
        if verb == 'run':
            continue
        words, files = _completed_words(verb)
        offered = ['(%s)' % ' '.join(words)] if words else []
        action = '_files' if files and not words else offered[0] if words else ' '
        if files and words:
            action = '_alternative "words:word:%s" "files:file:_files"' % offered[0]
        cases.append("        %s) _arguments -S \\\n            %s \\\n            '*:argument:%s' ;;" % (
            verb, _zsh_options(verb), action))
    verbs = '\n'.join("        '%s:%s'" % (name, _zsh_quoted(verb.help)) for name, verb in _VERBS.items())
    return _ZSH % {'options': _zsh_options(''), 'verbs': verbs, 'cases': '\n'.join(cases)}


_ZSH = r"""#compdef python-script-runner
# zsh completion of python-script-runner; made by: python -m runner completion zsh
_python_script_runner() {
    local curcontext=$curcontext state line
    typeset -A opt_args
    local -a verbs
    verbs=(
%(verbs)s
    )
    _arguments -C -S -A '-*' \
            %(options)s \
            '-m[run a module]:module: ' \
            '1: :->first' \
            '*:: :->rest'
    case $state in
        first) _describe -t verbs verb verbs; _files; return ;;
        rest) ;;
        *) return ;;
    esac
    case $words[1] in
%(cases)s
        *) _files ;;
    esac
}

if [ "$funcstack[1]" = _python_script_runner ]; then
    _python_script_runner "$@"
else
    compdef _python_script_runner python-script-runner
fi
"""


def _fish_completion():
    # type: () -> str
    """Return the completion for fish."""
    def quoted(text):
        # type: (str) -> str
        return "'%s'" % text.replace('\\', '\\\\').replace("'", "\\'")

    lines = []
    for verb in [''] + [name for name in _VERBS if name != 'run']:
        head = "complete -c python-script-runner -n 'test (__python_script_runner_at) = %s'" % (verb or 'start')
        words, files = _completed_words(verb) if verb else ((), True)
        if not files:
            lines.append(head + ' -f')
        lines += ['%s -a %s' % (head, quoted(word)) for word in words]
        if not verb:
            lines += ['%s -a %s -d %s' % (head, name, quoted(_VERBS[name].help)) for name in _VERBS]
        for flag, text, value in _completed_options(verb):
            kinds = {'files': ' -r -F', 'folders': " -x -a '(__fish_complete_directories)'",
                     'programs': " -x -a '(__fish_complete_command)'", '': ' -x'}
            more = '' if value is None else " -x -a '%s'" % ' '.join(value) if isinstance(value, tuple) else kinds[value]
            lines.append('%s -l %s%s -d %s' % (head, flag[2:], more, quoted(text)))
    takers = sorted(set(flag for verb in [''] + list(_VERBS) for flags in _value_takers(verb).values() for flag in flags))
    return _FISH % {'takers': ' '.join(takers), 'verbs': ' '.join(v for v in _VERBS if v != 'run'), 'lines': '\n'.join(lines)}


_FISH = r"""# fish completion of python-script-runner; made by: python -m runner completion fish
function __python_script_runner_at   # the verb, 'script' behind a script, else 'start'
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        set -l word $words[1]
        set -e words[1]
        switch $word
            case %(takers)s
                set -e words[1]
            case -- -m
                echo script
                return
            case '-*' run
            case %(verbs)s
                echo $word
                return
            case '*'
                echo script
                return
        end
    end
    echo start
end

%(lines)s
"""
_COMPLETIONS = {'bash': _bash_completion, 'zsh': _zsh_completion, 'fish': _fish_completion}


def _completion_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    _print(_COMPLETIONS[arguments.shell]().rstrip('\n'))
    return 0


def _dashboard_folder():
    # type: () -> str
    """Return where the dashboard's files are: beside the installed module under a name of its own, else in the checkout."""
    here = os.path.dirname(os.path.abspath(__file__))
    for name in ('script_runner_dashboard', 'dashboard'):
        if os.path.isfile(os.path.join(here, name, 'frontend', 'index.html')):
            return os.path.join(here, name)
    raise RunnerError('dashboard: its files are missing beside %s; install python-script-runner anew' % __file__)


def _report_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    with _manager_for_reading(options) as manager:
        run = _find_run(manager, arguments.run)
        data = describe_run(manager, run)
        good = manager.get_last_good(run['id'])
        reference = manager.get_execution(good) if good is not None else None
        if reference is not None:
            data['comparison'] = compare_runs(manager, reference, run)
    with open(os.path.join(_dashboard_folder(), 'frontend', 'index.html'), encoding='utf-8') as file:
        page = file.read()
    target = arguments.output or 'run-%d.html' % run['id']
    try:
        write_atomically(target, report_page(page, data).encode('utf-8'))
    except OSError as error:
        raise UsageError('%s: cannot be written: %s' % (target, error.strerror))
    if not options.get('quiet'):
        _print(target)
    return 0


_ATTEMPT_FIELDS = ('id', 'attempt_number', 'status', 'cause', 'execution_time_seconds')


def describe_run(manager, run):
    # type: (HistoryManager, Dict[str, Any]) -> Dict[str, Any]
    """Return what the page of a run shows: run (with attempts, artefacts, alerts, error_advice, error_history), samples
    (fields, rows), metrics (the registry), comparison (None: with what?), version, written."""
    known, fingerprint = LogAnalyzer.KNOWN_PATTERNS.get(run['error_kind']), run['error_fingerprint']
    run = dict(run, error_advice=known.advice if known else None,
               error_history=manager.get_error_history(fingerprint, run['script_path']) if fingerprint else None)
    run = dict(run, alerts=read_alerts(manager, run['id']), artefacts=manager.get_artefacts(run['id']),
               last_good=manager.get_last_good(run['id']), attempts=[
                   {name: attempt[name] for name in _ATTEMPT_FIELDS} for attempt in manager.get_attempts(run['correlation_id'])])
    rows = [[row[name] for name in SAMPLE_FIELDS] for row in manager.get_samples(run['id'])]
    return {'run': run, 'samples': {'fields': SAMPLE_FIELDS, 'rows': rows}, 'metrics': describe_metrics(), 'comparison': None,
            'version': __version__, 'written': format_time(time.time())}


def describe_metrics():
    # type: () -> List[Dict[str, Any]]
    """Return the registry of metrics as dicts of name, unit, better, source and meaning."""
    return [{name: getattr(m, name) for name in ('name', 'unit', 'better', 'source', 'meaning')} for m in METRICS.values()]


def _load_dashboard():
    # type: () -> Any
    """Import the dashboard's server from its file: a folder `dashboard` of the user's must not be taken for it."""
    if sys.version_info < (3, 9):
        raise UsageError('dashboard: this is Python %s; it needs 3.9 or newer (the history is the same for all)'
                         % sys.version.split()[0])
    for name in ('fastapi', 'uvicorn', 'websockets'):
        try:
            __import__(name)
        except ImportError:
            raise UsageError("dashboard: %s is not installed; pip install 'python-script-runner[dashboard]' "
                             "(in a checkout: pip install '.[dashboard]')" % name)
    import importlib.util
    sys.modules.setdefault('runner', sys.modules[__name__])        # the one that runs, not a second copy
    path = os.path.join(_dashboard_folder(), 'backend', 'app.py')
    spec = importlib.util.spec_from_file_location('script_runner_dashboard_app', path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def _dashboard_verb(arguments, options):
    # type: (Any, Dict[str, Any]) -> int
    return _load_dashboard().serve(options.get('history_db'), arguments.host, arguments.port, arguments.allow_actions, _say)


class _Verb(object):
    """One verb: what --help says of it, what carries it out, and its arguments as (names, keywords) of argparse's add_argument.

    `json` gives it --json as well. A `type` among the keywords may raise UsageError. With `runs_script` its options end at a
    script, whose words are all its own.
    """
    __slots__ = ('help', 'carry_out', 'arguments', 'json', 'runs_script')

    def __init__(self, help, carry_out, arguments=(), json=True, runs_script=False):
        # type: (str, Any, Sequence[Tuple[Tuple[str, ...], Dict[str, Any]]], bool, bool) -> None
        self.help = help
        self.carry_out = carry_out
        self.arguments = arguments
        self.json = json
        self.runs_script = runs_script


def _argument(*names, **keywords):
    # type: (*str, **Any) -> Tuple[Tuple[str, ...], Dict[str, Any]]
    return names, keywords


_RUN_ARGUMENT = _argument('run', metavar='RUN', help="the number of a run, or 'last'")
_RUN_SCRIPT_ARGUMENT = _argument('script', metavar='SCRIPT', help='the script, or -m MODULE')
_RUN_WORDS_ARGUMENT = _argument('args', nargs='*', default=[], metavar='ARGS', help='its words: options end at the script')
_SCRIPT_ARGUMENT = _argument('script', nargs='?', metavar='SCRIPT', help='only runs of this script')
_METRIC_ARGUMENT = _argument('metric', metavar='METRIC', help='a metric (python -m runner metrics lists them)')
_SINCE_ARGUMENT = _argument('--since', metavar='D', type=_read_positive_duration, help='only runs of the last 7d, 12h, …')
_WHERE_ARGUMENT = _argument('--where', metavar='CONDITION', help="only runs such as 'success = false AND memory_max_mb > 500MiB'")

_VERBS = {
    'run': _Verb('run a script (this is what happens without a verb)', None),
    'history': _Verb('list recorded runs, newest first', _history_verb, (
        _argument('script', nargs='?', metavar='SCRIPT|import', help='only runs of this script; import: take in a file'),
        _argument('file', nargs='?', metavar='FILE', help='of import: a history of version 7, such as script_runner_history.db'),
        _SINCE_ARGUMENT, _WHERE_ARGUMENT,
        _argument('--limit', metavar='N', type=_read_count, default=20, help='at most N runs (default 20)'))),
    'show': _Verb('show one run in full', _show_verb, (_RUN_ARGUMENT,)),
    'trend': _Verb('say how a metric of a script developed: trend, steps, odd runs, what comes next', _trend_verb, (
        _METRIC_ARGUMENT, _SCRIPT_ARGUMENT, _SINCE_ARGUMENT)),
    'anomalies': _Verb('list runs that were odd in one metric, or in several together', _anomalies_verb, (
        _SCRIPT_ARGUMENT, _SINCE_ARGUMENT)),
    'compare': _Verb('compare two runs, metric by metric', _compare_verb, (
        _argument('before', metavar='RUN', help="the number of a run, or 'last'"),
        _argument('after', metavar='RUN', help='the run that is compared with it'))),
    'baseline': _Verb('pin a good run as what its script is compared with (set RUN), show it, clear it', _baseline_verb, (
        _argument('action', choices=('set', 'show', 'clear'), metavar='set|show|clear', help='what to do'),
        _argument('target', nargs='?', metavar='RUN|SCRIPT', help="of set: a run, or 'last'; of the others: a script"))),
    'correlate': _Verb('say which metrics of a script go together', _correlate_verb, (
        _SCRIPT_ARGUMENT, _SINCE_ARGUMENT,
        _argument('--lag', metavar='N', type=_read_count, default=0, help='also with a delay of up to N runs'))),
    'forecast': _Verb('say what a metric of a script will be, and when it reaches a value', _forecast_verb, (
        _METRIC_ARGUMENT, _SCRIPT_ARGUMENT, _SINCE_ARGUMENT,
        _argument('--runs', metavar='N', type=_read_count, default=10, help='how many runs ahead (default 10)'),
        _argument('--reach', metavar='VALUE', help='also say when it reaches this: 5m, 2GiB, 90'))),
    'advise': _Verb('recommend a timeout, a memory limit and CPUs from the last good runs', _advise_verb, (_SCRIPT_ARGUMENT,)),
    'metrics': _Verb('list every metric, with unit, source and meaning', _metrics_verb),
    'export': _Verb('write runs to a file: CSV, JSON, JSON lines or Parquet', _export_verb, (
        _argument('file', metavar='FILE', help="named .csv, .json, .jsonl or .parquet; '-' is stdout, with --format"),
        _SCRIPT_ARGUMENT, _SINCE_ARGUMENT, _WHERE_ARGUMENT,
        _argument('--samples', action='store_true', help='with the samples of each run'),
        _argument('--format', metavar='F', help='csv, json, jsonl or parquet (default: what the name says)')), json=False),
    'alerts': _Verb('list alerts, test channels, find missed runs, silence rules, send what waits', _alerts_verb, (
        _argument('action', metavar='ACTION', choices=list(_ALERT_ACTIONS),
                  help='; '.join(action[0].replace('%', '%%') for action in _ALERT_ACTIONS.values())),
        _argument('words', nargs='*', metavar='WORD', help='what the action is about'),
        _argument('--limit', metavar='N', type=_read_count, default=20, help='list: at most N (default 20)'),
        _argument('--expect-every', metavar='WHEN', help="missed: a duration such as 1d, or a crontab's '0 3 * * *'"),
        _argument('--tell', action='store_true', help='missed: tell by the channels of the rules'),
        _argument('--reason', metavar='TEXT', default='', help='silence: why'),
        _argument('--failed', action='store_true', help='deliver: also what was refused for good'))),
    'prune': _Verb('delete old runs', _prune_verb, (
        _argument('--older-than', metavar='D', type=_read_positive_duration,
                  help='delete runs that started longer ago than 90d, …'),
        _argument('--keep', metavar='N', type=_read_count, help='keep the newest N runs of each script'),
        _argument('--max-size', metavar='S', type=_read_size, help='delete the oldest runs until the file has at most 500MiB, …'),
        _argument('--archive', metavar='FILE', help='add the runs to FILE first, as JSON lines (gzipped: name it .gz)'),
        _argument('--dry-run', action='store_true', help='only say how many, and why'))),
    'check': _Verb('judge a recorded run by conditions; exit status 123 when it does not meet them', _check_verb, (
        _argument('conditions', nargs='*', metavar="'CONDITION' or RUN", help="what must be true; last: a run, or 'last'"),
        _argument('--regression', metavar='METRIC', action='append', type=_read_gated_metric,
                  help='the metric must not be worse than in the good runs before (repeatable)'),
        _argument('--baseline', metavar='FILE', help='judge by a file of values with tolerances'),
        _argument('--on-inconclusive', metavar='WHAT', type=check_inconclusive, help='warn (default), pass or fail'))),
    'ab': _Verb('run two commands in turn and say which is faster or smaller, and how sure that is', _ab_verb, (
        _argument('before', metavar="'COMMAND A'", help='words as for a shell, which is not used'),
        _argument('after', metavar="'COMMAND B'", help='what is compared with it'),
        _argument('--runs', metavar='N', type=_read_count, default=10, help='runs of each (default 10)'),
        _argument('--timeout', metavar='D', type=_read_positive_duration, help='end a run after this long'),
        _argument('--record', action='store_true', help='keep the runs in the history'))),
    'overhead': _Verb('say what watching costs a script: bare and watched in turn', _overhead_verb, (
        _argument('--runs', metavar='N', type=_read_count, default=10, help='runs of each (default 10)'),
        _argument('--parallel', metavar='N', type=_read_count, help='then also N at once, into one history'),
        _argument('--timeout', metavar='D', type=_read_positive_duration, help='end a run after this long'),
        _argument('--python', metavar='EXE', help='interpreter for .py scripts and -m'),
        _RUN_SCRIPT_ARGUMENT, _RUN_WORDS_ARGUMENT), runs_script=True),
    'profile': _Verb('run a Python script and say which functions take time and which lines memory', _profile_verb, (
        _argument('--cpu', metavar='TOOL', help='%s or none (default: the first at hand)' % ', '.join(
            t.name for t in _CPU_TOOLS)),
        _argument('--memory', metavar='TOOL', help='%s or none (default: the first at hand)' % ', '.join(
            t.name for t in _MEMORY_TOOLS)),
        _argument('--flame', metavar='FILE', help='write a flame graph: .html or .svg'),
        _argument('--timeout', metavar='D', type=_read_positive_duration, help='end the run after this long'),
        _argument('--python', metavar='EXE', help='interpreter for .py scripts and -m'),
        _argument('--no-history', action='store_true', help='keep no record of this run'),
        _RUN_SCRIPT_ARGUMENT, _RUN_WORDS_ARGUMENT), runs_script=True),
    'config': _Verb('check a settings file; or print its JSON schema, or an example with every key', _config_verb, (
        _argument('action', choices=('check', 'schema', 'example'), metavar='check|schema|example', help='what to do'),
        _argument('file', nargs='*', metavar='FILE', help='the settings files to check')), json=False),
    'report': _Verb('write one run as an HTML file that needs nothing else, to attach to a ticket', _report_verb, (
        _RUN_ARGUMENT, _argument('-o', '--output', metavar='FILE', help='default: run-N.html in this folder')), json=False),
    'dashboard': _Verb('show every run in a browser, live', _dashboard_verb, (
        _argument('--host', metavar='NAME', default='127.0.0.1',
                  help='address to listen on (default 127.0.0.1); any that others can reach needs a token, which is printed'),
        _argument('--port', metavar='N', type=_read_listening_port, default=8000, help='default 8000; 0: any that is free'),
        _argument('--allow-actions', action='store_true', help='let the page stop runs and silence alerts, with a token')),
        json=False),
    'doctor': _Verb('examine this machine and the history', _doctor_verb),
    'completion': _Verb('print the completion of verbs, options and files for a shell', _completion_verb, (
        _argument('shell', choices=tuple(_COMPLETIONS), metavar='|'.join(_COMPLETIONS), help='which shell'),), json=False),
}  # type: Dict[str, _Verb]


def _argument_type(read):
    # type: (Callable[[str], Any]) -> Callable[[str], Any]
    """Let argparse report our sentence."""
    def convert(text):
        # type: (str) -> Any
        import argparse
        try:
            return read(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error))
    return convert


def build_verb_parser(verb):
    # type: (str) -> Any
    """Return the argparse parser of one verb; an error of its user raises UsageError."""
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message):
            # type: (str) -> Any
            raise UsageError('%s: %s (python -m runner %s --help)' % (verb, message, verb))

    parser = Parser(prog='python -m runner ' + verb, description=_VERBS[verb].help + '.', allow_abbrev=False)
    for names, keywords in _VERBS[verb].arguments:
        if 'type' in keywords:
            keywords = dict(keywords, type=_argument_type(keywords['type']))
        parser.add_argument(*names, **keywords)
    if _VERBS[verb].json:
        parser.add_argument('--json', action='store_true', help='print JSON')
    for option in _OPTIONS:
        if option.everywhere and option.read is None:
            parser.add_argument(option.flag, action='store_true', default=argparse.SUPPRESS, help=option.help)
        elif option.everywhere:
            parser.add_argument(option.flag, metavar=option.metavar, type=_argument_type(option.read or str),
                                default=argparse.SUPPRESS, help=option.help)
    return parser


def _cut_at_script(verb, words):
    # type: (str, Sequence[str]) -> Tuple[List[str], List[str]]
    """Cut the words of a verb before its script, or the -m or -- before that."""
    with_value = set(name for names, keywords in _VERBS[verb].arguments for name in names
                     if name.startswith('-') and 'action' not in keywords)
    with_value.update(option.flag for option in _OPTIONS if option.everywhere and option.read is not None)
    at = 0
    while at < len(words) and words[at].startswith('-') and words[at] not in ('-', '-m', '--'):
        at += 2 if words[at] in with_value else 1
    return list(words[:at]), list(words[at:])


class _Ended(KeyboardInterrupt):
    """A signal that asks this process to end."""

    def __init__(self, number):
        # type: (int) -> None
        super(_Ended, self).__init__()
        self.number = number


def _rise_when_told_to_end():
    # type: () -> None
    """Let TERM and HUP rise as Ctrl-C does, for verbs that run scripts as a guest: these are ended first, and files put away."""
    def rise(number, _):
        # type: (int, Any) -> None
        raise _Ended(number)

    for number in _ENDING_SIGNALS:
        if number != _SIGINT and _signal.getsignal(number) == _signal.SIG_DFL:          # what is ignored (nohup) stays so
            _signal.signal(number, rise)


def _verb_command(words, program):
    # type: (_Words, bool) -> int
    verb = words.verb or ''
    if program and (verb == 'ab' or _VERBS[verb].runs_script):
        _rise_when_told_to_end()
    for option in _OPTIONS:
        if option.name in words.options and not option.everywhere:
            raise UsageError('%s: an option of a run, not of %r' % (option.flag, verb))
    own, of_script = _cut_at_script(verb, words.rest) if _VERBS[verb].runs_script else (words.rest, [])
    module = of_script[:1] == ['-m']
    of_script = of_script[1:] if of_script[:1] in (['-m'], ['--']) else of_script
    arguments = build_verb_parser(verb).parse_args(own + (['--'] + of_script[:1] if of_script else []))
    if _VERBS[verb].runs_script:
        arguments.module, arguments.args = module, of_script[1:]
    options = dict(words.options)
    options.update((option.name, getattr(arguments, option.name)) for option in _OPTIONS
                   if option.everywhere and hasattr(arguments, option.name))
    return _VERBS[verb].carry_out(arguments, _settings_of_verb(options))


def help_text():
    # type: () -> str
    """Return what --help prints."""
    options = [['  %s%s' % (o.flag, ' ' + o.metavar if o.metavar else ''), o.help] for o in _OPTIONS]
    options += [['  --version', 'print the version'], ['  --help', 'print this']]
    verbs = [['  ' + name, verb.help] for name, verb in _VERBS.items()]
    return '%soptions (each also as SCRIPT_RUNNER_TIMEOUT, … in the environment, unless repeatable):\n%s\n\nverbs:\n%s\n' % (
        _USAGE, format_table(options), format_table(verbs))


def main(argv=None):
    # type: (Optional[Sequence[str]]) -> int
    """Run the command line with the given words (default: sys.argv[1:]) and return the exit status.

    Called from other code it behaves as a guest: no signal handler, no subreaper. Errors that are the user's to mend are
    printed as one sentence on stderr; anything else rises.
    """
    return _main(sys.argv[1:] if argv is None else argv, program=False)


def _main(argv, program):
    # type: (Sequence[str], bool) -> int
    try:
        words = parse_command_line(argv)
        if words.shown == '--version':
            _print('python-script-runner %s' % __version__)
        elif words.shown:
            _print(help_text())
        elif words.verb:
            return _verb_command(words, program)
        else:
            return _run_command(words, program)
        return 0
    except RunnerError as error:
        _say(str(error))
        return error.exit_status
    except BrokenPipeError:                        # python -m runner history | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _EXIT_SIGNAL + 13


def console_main():
    # type: () -> None
    """Be the program: what `python -m runner` and the console script call. Never returns."""
    _forget_start_folder()
    _fill_standard_streams()
    try:
        status = _main(sys.argv[1:], program=True)
    except KeyboardInterrupt as error:
        status = _EXIT_SIGNAL + getattr(error, 'number', _SIGINT)
    except SystemExit as stop:                     # argparse after --help
        status = stop.code if isinstance(stop.code, int) else 0
    except BaseException:
        import traceback
        traceback.print_exc()
        status = RunnerError.exit_status
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):                  # nobody reads any more
        pass
    os._exit(status)                               # no time is spent on taking down an interpreter that did its work


def _fill_standard_streams():
    # type: () -> None
    """Put /dev/null where one of descriptors 0 to 2 is closed, so that no pipe of ours lands there; the script gets it closed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            _CLOSED_STREAMS.add(number)
            os.dup2(os.open(os.devnull, os.O_RDWR), number)


def _forget_start_folder():
    # type: () -> None
    """Drop the sys.path entry that -m added: a json.py beside the user's script is none of our business."""
    if __name__ == '__main__' and __spec__ is not None and not getattr(sys.flags, 'safe_path', False) \
            and not sys.flags.isolated and sys.path:
        del sys.path[0]


if __name__ == '__main__':
    console_main()
