"""Section 6: retries, as a function of results and as a user sees them."""
import os
import signal
import sys
import threading
import time

import pytest
from conftest import own_process_only, read_pids, script, wait_until

import runner

FAILED = {'status': 'failed', 'cause': 'exit', 'returncode': 1}
SUCCEED_AT = ('import os, sys\nn = int(os.environ["SCRIPT_RUNNER_ATTEMPT"])\nprint("attempt", n)\n'
              'sys.exit(0 if n >= int(sys.argv[1]) else int(sys.argv[2]))')


@pytest.mark.parametrize('strategy, delays', [
    ('exponential', [1, 2, 4, 8, 10]), ('linear', [1, 2, 3, 4, 5]), ('fibonacci', [1, 1, 2, 3, 5])])
def test_delays_grow_as_named(strategy, delays):
    """Each bounded by max_delay."""
    config = runner.RetryConfig(strategy, max_attempts=9, base_delay=1, max_delay=10)
    assert [config.get_delay(n) for n in range(1, 6)] == delays
    assert config.get_delay(5000) == 10


def test_jitter_spreads_over_the_whole_delay():
    """Between 0 and the exponential delay, not all alike."""
    config = runner.RetryConfig('exponential_jitter', base_delay=8)
    delays = [config.get_delay(1) for _ in range(200)]
    assert 0 <= min(delays) < 2 and 6 < max(delays) <= 8


@pytest.mark.parametrize('result, again', [
    (FAILED, True),
    (dict(FAILED, status='success', returncode=0), False),
    (dict(FAILED, returncode=2), False),
    (dict(FAILED, cause='timeout', status='timeout'), True),
    (dict(FAILED, cause='interrupted', status='killed'), False),
    (dict(FAILED, cause='memory_limit', status='killed'), False),
    (dict(FAILED, cause='launch_error'), False),
])
def test_what_is_tried_again(result, again):
    """retry_on and skip_on name exit codes and causes; an interruption is never retried."""
    config = runner.RetryConfig(max_attempts=3, skip_on=[2, 'memory_limit'])
    assert config.should_retry(result, 1) is again
    assert not config.should_retry(result, 3)
    assert not runner.RetryConfig().should_retry(result, 1)


def test_total_time_bounds_the_attempts():
    """No attempt begins after max_total_time."""
    config = runner.RetryConfig(max_attempts=9, max_total_time=10)
    assert config.should_retry(FAILED, 1, 9.9) and not config.should_retry(FAILED, 1, 10.0)


@pytest.mark.parametrize('options', [{'strategy': 'exponental'}, {'max_attempts': 0}, {'max_attempts': 1.5}, {'base_delay': -1},
                                     {'retry_on': ['timeoutt']}, {'skip_on': [300]}, {'max_delay': float('nan')}, {'retry_on': 75},
                                     {'skip_on': 'timeout'}])
def test_values_that_cannot_be_are_refused(options):
    """UsageError, with the nearest valid name where there is one."""
    with pytest.raises(runner.UsageError) as caught:
        runner.RetryConfig(**options)
    for value in ('exponential', 'timeout'):
        if value[:-2] in str(options):
            assert repr(value) in str(caught.value)


def test_each_attempt_is_a_row_under_one_correlation_id(place):
    """The last attempt is the result; show lists all; the summary says how many."""
    code = place.write('flaky.py', SUCCEED_AT)
    result = place.result('--retry', '4', '--retry-delay', '0.01', code, 3, 75)
    assert (result['status'], result['attempt_number'], result['stdout']) == ('success', 3, 'attempt 3\n')
    assert [a['returncode'] for a in result['attempts']] == [75, 75, 0]
    rows = place.rows()
    assert [row['attempt_number'] for row in rows] == [1, 2, 3] and len({row['correlation_id'] for row in rows}) == 1
    assert b'1: run 1, failed (exit 75)' in place.run('show', 'last').out
    finished = place.run('--retry', '4', '--retry-delay', '0.01', code, 2, 75)
    assert b'attempt 1 failed (exit 75); trying again' in finished.err and b'attempt 2' in finished.err
    assert finished.out == b'attempt 1\nattempt 2\n'


@pytest.mark.parametrize('words, attempts, status', [
    ([], 1, 75),
    (['--retry', '1'], 2, 75),
    (['--retry', '5', '--retry-on', '1,timeout'], 1, 75),
    (['--retry', '2', '--retry-on', '75'], 3, 75),
    (['--retry', '5', '--skip-on', '75'], 1, 75),
])
def test_retries_happen_as_asked(place, words, attempts, status):
    """Never unasked; --retry N means N more."""
    code = place.write('flaky.py', SUCCEED_AT)
    if words:
        words = words + ['--retry-delay', '0.01']
    assert place.run(*(words + [code, 99, 75])).status == status
    assert len(place.rows()) == attempts


def test_a_timeout_holds_for_each_attempt(place):
    """Two attempts of which each is ended."""
    finished = place.run('--retry', '1', '--retry-delay', '0', '--timeout', '0.3s', '--grace', '1s', '--retry-on', 'timeout',
                         sys.executable, '-c', 'import time; time.sleep(60)')
    assert finished.status == 124 and [row['cause'] for row in place.rows()] == ['timeout', 'timeout']


@pytest.mark.parametrize('words, part', [
    (['--retry', 'x'], "'x'"), (['--retry', '0'], "'0'"), (['--retry-delay', '1s'], '--retry N'),
    (['--retry', '1', '--retry-on', 'timout'], "--retry-on 'timout': neither an exit code nor a cause; did you mean 'timeout'"),
    (['--retry', '1', '--retry-on', '--5'], "--retry-on '--5': neither an exit code nor a cause"),
    (['--retry', '1', '--retry-strategy', 'fibonaci'], "did you mean 'fibonacci'")])
def test_bad_values_are_named(place, words, part):
    """Exit 2, and nothing was started."""
    finished = place.run(*(words + [script('exit_with.py'), '0']))
    assert finished.status == 2 and part in finished.err.decode() and not os.path.exists(place.history)


def test_an_attempt_that_cannot_be_started_does_not_replace_the_one_before(place):
    """A script that goes away between two attempts: both are rows, each with its own end."""
    path = place.write('once.py', 'import os, sys; os.unlink(sys.argv[0]); sys.exit(7)')
    finished = place.run('--retry', '2', '--retry-delay', '0', path)
    assert finished.status == 127 and b'once.py: no such file' in finished.err
    assert [(row['attempt_number'], row['cause'], row['exit_code']) for row in place.rows()] == [(1, 'exit', 7), (2, 'launch_error', 127)]


def test_the_api_retries_three_times_when_told(tmp_path):
    """retry_on_failure alone means three attempts; a config is stronger."""
    code = tmp_path / 'flaky.py'
    code.write_text(SUCCEED_AT)
    job = runner.ScriptRunner(str(code), ['99', '1'], enable_history=False)
    job.retry_config = runner.RetryConfig(max_attempts=2, base_delay=0)
    assert len(job.run_script(retry_on_failure=True)['attempts']) == 2
    assert len(job.run_script()['attempts']) == 2


def test_stop_ends_the_waiting_too(tmp_path):
    """kill() while a delay runs: no further attempt, and at once."""
    code = tmp_path / 'flaky.py'
    code.write_text(SUCCEED_AT)
    job = runner.ScriptRunner(str(code), ['99', '1'], enable_history=False)
    job.retry_config = runner.RetryConfig(max_attempts=5, base_delay=600, max_delay=600)
    results = []
    told = threading.Event()
    job._on_retry = lambda *_: told.set()
    thread = threading.Thread(target=lambda: results.append(job.run_script()))
    thread.start()
    assert told.wait(30)
    job.kill()
    thread.join(30)
    assert len(results) == 1 and len(results[0]['attempts']) == 1


@own_process_only
def test_nothing_is_retried_after_an_interruption(place):
    """SIGINT from outside ends it for good."""
    process = place.start('--retry', '5', '--retry-delay', '0', script('tell_signals.py'), 9)
    assert process.stdout.readline() == b'ready\n'
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 9 and len(place.rows()) == 1


# -- around a run ------------------------------------------------------------------------------------------

def test_hooks_run_and_may_fail(tmp_path):
    """pre sees the plan, post the result; one that raises is told in the warnings."""
    seen = []

    class Hook(runner.ExecutionHook):
        def pre(self, plan):
            seen.append(plan['attempt_number'])

        def post(self, result):
            seen.append(result['status'])
            raise RuntimeError('planted')
    job = runner.ScriptRunner(script('exit_with.py'), ['0'], enable_history=False)
    job.hooks.append(Hook())
    result = job.run_script()
    assert seen == [1, 'success'] and result['success'] and 'planted' in result['warnings'][0]
    job.hooks = [object()]
    result = job.run_script()
    assert result['success'] and [warning.partition(':')[0] for warning in result['warnings']] == ['pre hook failed', 'post hook failed']


def test_the_log_file_holds_json_lines(place):
    """One line an event, secrets redacted, private; a file that cannot be written costs a warning."""
    import json
    place.run('--log-file', 'log.jsonl', '--retry', '1', '--retry-delay', '0', script('exit_with.py'), 3)
    with open(os.path.join(place.folder, 'log.jsonl')) as file:
        events = [json.loads(line) for line in file]
    assert [e['event'] for e in events] == ['started', 'ended', 'retry', 'started', 'ended']
    assert events[1]['returncode'] == 3 and events[1]['metrics']['exit_code'] == 3 and events[0]['level'] == 'INFO'
    finished = place.run('--log-file', os.path.join('no', 'log'), script('exit_with.py'), 3)
    assert finished.status == 3 and b'log not written' in finished.err


def test_the_logger_redacts_and_filters(tmp_path):
    """Levels below the least are not written; an unknown one is refused."""
    log = runner.StructuredLogger(str(tmp_path / 'l'), 'WARNING', job='x')
    log.info('no')
    log.error('yes', text='password=hunter2')
    content = (tmp_path / 'l').read_text()
    assert content.count('\n') == 1 and 'hunter2' not in content and '"job": "x"' in content
    with pytest.raises(runner.UsageError):
        log.log('LOUD', 'x')


@pytest.mark.parametrize('text, variables', [
    ('A=1\n\n# c\nexport B = two # c\r\nC="x # y\\n\\"q\\" \\$z" # c\n', {'A': '1', 'B': 'two', 'C': 'x # y\n"q" $z'}),
    ("A='${X} \\n'\nB=${X}-${Y:-d}\nC=\"${B}!\"\n", {'A': '${X} \\n', 'B': 'x-d', 'C': 'x-d!'}),
    ('A="one\ntwo"\nB=', {'A': 'one\ntwo', 'B': ''}),
])
def test_env_files_are_read_as_dotenv(text, variables):
    """Quotes, export, comments, escapes, ${VAR}, values over several lines."""
    assert runner.parse_env_file(text, '.env', {'X': 'x'}) == variables


@pytest.mark.parametrize('text, part', [
    ('A=1\nB 2\n', '.env, line 2'), ('1A=x', 'line 1: not NAME=VALUE'), ('A="x', 'never closed'), ('A="x" y', 'after the closing quote'),
    ('A=${NO}', '${NO} is not set'), ('A=${X', '${ without }'), ('A B=1', 'line 1: not NAME=VALUE'),
    ('A="s3cr3t', 'A begins'), ('A="x" s3cr3t', 'quote of A'), ('API KEY=s3cr3t', 'not NAME=VALUE'), ('s3cr3t/+', 'not NAME=VALUE')])
def test_bad_lines_of_env_files_are_named(text, part):
    """File, line, and what is wrong."""
    with pytest.raises(runner.UsageError) as caught:
        runner.parse_env_file(text, '.env', {'X': 'x'})
    assert part in str(caught.value) and 's3cr3t' not in str(caught.value)


def test_env_file_on_the_command_line(place):
    """--env is stronger than --env-file; a missing file is exit 2."""
    place.write('vars', 'A=1\nB=2\n')
    code = 'import os; print(os.environ["A"], os.environ["B"])'
    assert place.run('--env', 'B=3', '--env-file', 'vars', sys.executable, '-c', code).out.split() == [b'1', b'3']
    place.write('marked', b'\xef\xbb\xbfA=4\r\nB=5\r\n')
    assert place.run('--env-file', 'marked', sys.executable, '-c', code).out.split() == [b'4', b'5']
    place.write('nul', b'A=x\0y\n')
    finished = place.run('--env-file', 'nul', sys.executable, '-c', code)
    assert finished.status == 2 and b"environment variable 'A'" in finished.err and b'x' not in finished.err.split(b"'A'")[1][:1]
    assert place.run('--env-file', 'none', sys.executable, '-c', code).status == 2


@pytest.mark.skipif(os.name != 'posix', reason='needs flock')
def test_a_lock_admits_one_run(place):
    """The second exits 75 and names the holder; after the holder's death the lock is free, however it died."""
    pytest.importorskip('fcntl')
    process = place.start('--lock', 'nightly', script('wait_for_file.py'), 'go')
    read_pids(os.path.join(place.folder, 'go.started'), 1)
    finished = place.run('--lock', 'nightly', script('exit_with.py'), 0)
    assert finished.status == 75 and ('pid %d' % process.pid).encode() in finished.err and finished.err.count(b'\n') == 1
    assert place.run('--lock', 'other', script('exit_with.py'), 0).status == 0
    waiting = place.start('--lock', 'nightly', '--lock-wait', '30s', script('exit_with.py'), 4)
    time.sleep(0.2)
    process.kill()
    process.communicate()
    place.write('go', '')
    waiting.communicate()
    assert waiting.returncode == 4
    assert place.run('--lock', 'a/b', script('exit_with.py'), 0).status == 2


@own_process_only
def test_a_lock_is_held_on_a_full_disk_too(place):
    """What is not written is who holds it; the script runs."""
    import resource
    finished = place.run('--no-history', '--lock', 'nightly', script('exit_with.py'), 4,
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert finished.status == 4 and b'Traceback' not in finished.err, finished


def test_wait_until_is_not_vain():
    """The helper of these tests fails when nothing comes."""
    with pytest.raises(AssertionError):
        import conftest
        patience, conftest.PATIENCE = conftest.PATIENCE, 0.05
        try:
            wait_until(lambda: False, 'nothing')
        finally:
            conftest.PATIENCE = patience
