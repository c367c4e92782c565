"""Section 11, rules and memory: what fires, who is told, how often, across processes and while a script runs."""
import os
import subprocess
import sys
import time

import pytest
from conftest import PATIENCE, THOROUGH, Started, script
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from receivers import Receiver

import runner
from runner import AlertObservation, AlertPolicy, AlertState, step_alert

DAY = 86400.0
FAILED = {'status': 'failed', 'cause': 'exit', 'exit_code': 3}
GOOD = {'status': 'success', 'cause': 'exit', 'exit_code': 0}


class Clock(object):
    """A clock that goes only when it is told to."""

    def __init__(self, now=1700000000.0):
        self.now = now

    def __call__(self):
        return self.now


class Inbox(object):
    """A channel that keeps what it is sent."""
    name = 'inbox'

    def __init__(self):
        self.messages = []

    def send(self, message, timeout):
        self.messages.append(message)

    def describe(self):
        return 'a list'

    def secrets(self):
        return []

    @property
    def told(self):
        """[(state, names)] of what came."""
        return [(message['state'], [alert['name'] for alert in message['alerts']]) for message in self.messages]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def manager(history, clock):
    """A manager over an empty history, with an inbox as its only channel."""
    made = runner.AlertManager(history, notify_timeout=PATIENCE, clock=clock)
    made.channels['inbox'] = Inbox()
    yield made
    made.close()


def remember(history, count, path='job.py', status='success', **metrics):
    """Save runs of a script, one a minute until now."""
    for number in range(count):
        values = {name: value[number % len(value)] if isinstance(value, list) else value for name, value in metrics.items()}
        values.setdefault('exit_code', 0 if status == 'success' else 1)
        history.save_execution(values, path, status=status, cause='exit', start_time=runner.format_time(time.time() - 60.0 * (count - number)))


# -- the state machine ------------------------------------------------------------------------------------------------

class AlertMachine(RuleBasedStateMachine):
    """Any sequence of observations, silences and clock steps, against promises that are kept track of independently."""

    def __init__(self):
        super(AlertMachine, self).__init__()
        self.state = AlertState()
        self.now = 1.7e9
        self.policy = AlertPolicy(hold=0.0, throttle=300.0, repeat=900.0)
        self.told = {}              # fingerprint: when it was told last
        self.open_since = None      # a firing message was told that is not resolved yet
        self.true_since = None

    @rule(hold=st.sampled_from([0.0, 30.0]), throttle=st.sampled_from([0.0, 300.0]), repeat=st.sampled_from([None, 900.0]))
    @precondition(lambda self: self.true_since is None and not self.told)
    def choose_policy(self, hold, throttle, repeat):
        self.policy = AlertPolicy(hold, throttle, repeat)

    @rule(seconds=st.sampled_from([0.0, 1.0, 29.0, 31.0, 299.0, 301.0, 901.0, DAY]))
    def wait(self, seconds):
        self.now += seconds

    @rule(value=st.sampled_from([True, True, False, None]), mark=st.sampled_from('ab'), silenced=st.booleans())
    def observe(self, value, mark, silenced):
        before = self.state.to_dict()
        self.state, action, reason = step_alert(self.state, AlertObservation(value, mark, 'silenced' if silenced else None),
                                                self.now, self.policy)
        again = step_alert(AlertState(**before), AlertObservation(value, mark, 'silenced' if silenced else None), self.now, self.policy)
        assert (again[0].to_dict(), again[1:]) == (self.state.to_dict(), (action, reason)), 'the same arguments, the same answer'
        assert (reason is not None) == (action == 'suppress')
        if value is None:
            assert action is None and self.state.to_dict() == before
            return
        self.true_since = (self.now if self.true_since is None else self.true_since) if value else None
        held = value and self.now - self.true_since >= self.policy.hold
        window = self.policy.repeat if self.open_since is not None else self.policy.throttle
        due = mark not in self.told or self.now - self.told[mark] >= window
        if not value:
            assert action == ('resolve' if self.open_since is not None and not silenced else None)
            self.open_since = None if action else self.open_since
        elif not held:
            assert action is None and self.state.phase == 'pending'
        elif silenced or not due:
            assert action == 'suppress' and self.state.phase == ('silenced' if silenced else 'firing')
        else:
            assert action == 'tell' and self.state.phase == 'firing' and self.state.suppressed == 0
            self.told[mark] = self.now
            self.open_since = self.now

    @invariant()
    def remembers_whether_somebody_waits_for_the_end(self):
        assert self.state.is_open == (self.open_since is not None)
        assert self.state.phase in ('ok', 'pending', 'firing', 'silenced', 'resolved')
        assert len(self.state.told) <= 2 and AlertState(**self.state.to_dict()).to_dict() == self.state.to_dict()


TestAlertMachine = AlertMachine.TestCase
TestAlertMachine.settings = settings(max_examples=400 if THOROUGH else 40, stateful_step_count=40, deadline=None,
                                     suppress_health_check=list(HealthCheck) if sys.version_info >= (3, 7) else [])


def test_a_clock_that_was_set_back_silences_nobody_for_ever():
    """A message that seems to come from next year is no reason to keep quiet until then."""
    state, action, _ = step_alert(AlertState(), AlertObservation(True, 'a'), 2e9, AlertPolicy())
    assert action == 'tell'
    assert step_alert(state, AlertObservation(True, 'a'), 1e9, AlertPolicy())[1] == 'tell'


def test_a_storm_of_different_errors_is_cut_off():
    """Twenty different ones in a window, then no more until it is over."""
    state, told = AlertState(), 0
    for number in range(100):
        state, action, reason = step_alert(state, AlertObservation(True, 'error %d' % number), 1e9 + number, AlertPolicy())
        told += action == 'tell'
    assert told == 20 and 'different' in reason
    assert step_alert(state, AlertObservation(True, 'other'), 1e9 + 1000, AlertPolicy())[1] == 'tell'


# -- check_alerts -----------------------------------------------------------------------------------------------------

def test_check_alerts_returns_what_fires_and_tells_it_once(manager, clock):
    """Within throttle_seconds nobody is told again; afterwards the message says how often it was so meanwhile."""
    manager.add_alert('hot', 'cpu_max > 85 AND (memory_max_mb > 1024 OR status != \'success\')', ['inbox'], throttle_seconds=60)
    assert manager.check_alerts({'cpu_max': 80.0, 'memory_max_mb': 2000.0}) == []
    alert, = manager.check_alerts({'cpu_max': 91.2, 'memory_max_mb': 2000.0})
    assert (alert.name, alert.severity, alert.state, alert.channels) == ('hot', 'WARNING', 'firing', {'inbox': 'sent'})
    assert alert.explanation.startswith('cpu_max = 91.2 (%), memory_max_mb = 2000 (MiB)')
    for _ in range(3):
        clock.now += 15
        assert manager.check_alerts({'cpu_max': 95.0, 'memory_max_mb': 2000.0}) == []
    clock.now += 20
    assert len(manager.check_alerts({'cpu_max': 95.0, 'memory_max_mb': 2000.0})) == 1
    assert [m['alerts'][0]['earlier'] for m in manager.channels['inbox'].messages] == [0, 3]
    assert manager.check_alerts({'cpu_max': 10.0}) == []
    assert manager.channels['inbox'].told[-1] == ('resolved', ['hot'])


def test_without_a_history_a_manager_remembers_for_itself():
    """Also then the same is told once."""
    manager = runner.AlertManager()
    manager.channels['inbox'] = Inbox()
    manager.add_alert('hot', 'cpu_max > 85')
    assert [len(manager.check_alerts({'cpu_max': 90})) for _ in range(3)] == [1, 0, 0]
    manager.close()


def test_unknown_neither_fires_nor_resolves(manager):
    """A metric without a value says nothing."""
    manager.add_alert('hot', 'cpu_max > 85')
    manager.check_alerts({'cpu_max': 90.0})
    for values in ({}, {'cpu_max': None}, {'cpu_max': float('nan')}):
        assert manager.check_alerts(values) == []
    assert manager.channels['inbox'].told == [('firing', ['hot'])]


def test_rules_of_one_run_are_one_message(manager):
    """Each channel gets those that are for it; the worst severity is the message's."""
    manager.channels['other'] = Inbox()
    manager.add_alert('a', 'cpu_max > 1', ['inbox'], severity='info')
    manager.add_alert('b', 'cpu_max > 2', severity='critical')
    manager.check_alerts({'cpu_max': 5.0})
    assert manager.channels['inbox'].told == [('firing', ['a', 'b'])] and manager.channels['other'].told == [('firing', ['b'])]
    assert manager.channels['inbox'].messages[0]['severity'] == 'CRITICAL'


def test_a_failure_inhibits_what_is_about_speed(manager, history):
    """Both are on record, one is told; a failed run does not resolve the slow one."""
    manager.add_alert('slow', 'execution_time_seconds > 60')
    manager.add_alert('failed', "status != 'success'", severity='ERROR')
    manager.check_alerts(dict(GOOD, execution_time_seconds=99.0), 'job.py')
    manager.check_alerts(dict(FAILED, execution_time_seconds=99.0), 'job.py')
    manager.check_alerts(dict(FAILED, execution_time_seconds=1.0), 'job.py')
    assert manager.channels['inbox'].told == [('firing', ['slow']), ('firing', ['failed'])]
    assert [a['reason'] for a in runner.read_alerts(history) if a['name'] == 'slow'] == ["inhibited by 'failed'", None]
    manager.check_alerts(dict(GOOD, execution_time_seconds=1.0), 'job.py')
    assert manager.channels['inbox'].told[-1] == ('resolved', ['slow', 'failed'])


def test_another_error_is_another_message(manager):
    """The same rule, within the window: told by the error's fingerprint, whatever numbers are in it."""
    manager.add_alert('failed', "status != 'success'")

    def conclude(error):
        result = dict(FAILED, metrics={}, error_summary=error, correlation_id=error, warnings=[])
        manager.conclude(result, {'script_path': 'job.py'})
        return result['alerts'][0]['delivery']
    assert [conclude(e) for e in ('timeout after 31 s', 'timeout after 9 s', 'disk full', 'disk full')] == [
        'told', 'suppressed', 'told', 'suppressed']


def test_silences_end(manager, clock, history):
    """What fires meanwhile is on record and not told; if it still fires afterwards, it is."""
    manager.add_alert('hot', 'cpu_max > 85')
    end = manager.intelligence.silence('hot', 7200, 'maintenance token=abcdef')
    assert end == clock.now + 7200
    assert manager.intelligence.get_silences() == [
        {'rule': 'hot', 'end_time': runner.format_time(end), 'reason': 'maintenance token=[redacted]'}]
    assert manager.check_alerts({'cpu_max': 90.0}) == [] and manager.channels['inbox'].told == []
    assert 'silenced until' in runner.read_alerts(history)[0]['reason']
    clock.now += 7201
    assert len(manager.check_alerts({'cpu_max': 90.0})) == 1 and manager.intelligence.get_silences() == []
    manager.intelligence.silence('*', 60)
    clock.now += 30
    assert manager.check_alerts({'cpu_max': 10.0}) == [] and manager.channels['inbox'].told == [('firing', ['hot'])]
    assert manager.intelligence.unsilence('*') and not manager.intelligence.unsilence('*')
    manager.check_alerts({'cpu_max': 10.0})
    assert manager.channels['inbox'].told[-1] == ('resolved', ['hot'])
    for wrong in (0, -1, float('inf'), float('nan'), 1e15):
        with pytest.raises(runner.UsageError):
            manager.intelligence.silence('hot', wrong)


def test_what_is_on_record_is_redacted(manager, history):
    """A label that the settings file calls a secret, in the values that a rule looked at."""
    manager.redact_patterns = [runner.compile_secret('cust[0-9]+')]
    manager.add_alert('who', "label.who != 'nobody'")
    assert len(manager.check_alerts({'label.who': 'cust42'})) == 1
    assert runner.read_alerts(history)[0]['explanation'] == "label.who = '[redacted]'"
    assert 'cust42' not in str(manager.channels['inbox'].messages)


def test_a_rule_about_good_runs_is_no_failure(manager, history):
    """It does not make what is about speed not worth telling."""
    manager.add_alert('long', "status = 'success' AND execution_time_seconds > 5")
    manager.add_alert('large', 'memory_max_mb > 5')
    assert len(manager.check_alerts(dict(GOOD, execution_time_seconds=9.0, memory_max_mb=9.0))) == 2


def test_a_path_that_is_no_text_is_told(manager, history):
    """Bytes that no encoding knows: SQLite refused them, and nobody heard of it."""
    manager.add_alert('hot', 'cpu_max > 85')
    assert len(manager.check_alerts({'cpu_max': 90.0}, '/srv/caf\udce9.py')) == 1 and manager.warnings == []
    assert runner.read_alerts(history)[0]['script_path'] == '/srv/caf\\udce9.py'


def test_any_time_may_be_given_to_telling(manager):
    """Also three thousand years, which no wait of the system can take."""
    manager.notify_timeout = 1e11
    manager.add_alert('hot', 'cpu_max > 85')
    assert len(manager.check_alerts({'cpu_max': 90.0})) == 1 and manager.warnings == []


def test_a_title_is_one_line(manager):
    """Whatever separates lines in Unicode: a mail program refuses it in a subject."""
    manager.notify('a\u2028b\x85c\nd')
    assert manager.channels['inbox'].messages[0]['title'].startswith('TEST: a b c d')


def test_a_digest_sums_up(manager, clock):
    """Nothing is told at once; one message when the oldest is old enough, with how often and what was last."""
    manager.add_alert('noisy', 'cpu_max > 85', throttle_seconds=0, digest_seconds='1h')
    for number in range(5):
        manager.check_alerts({'cpu_max': 90.0 + number}, 'job.py')
        clock.now += 600
    assert manager.channels['inbox'].messages == []
    clock.now += 3600
    manager.check_alerts({}, 'job.py')
    manager.check_alerts({}, 'job.py')
    message, = manager.channels['inbox'].messages
    assert message['state'] == 'digest' and [a['name'] for a in message['alerts']] == ['noisy']
    assert 'job.py: 5 times' in message['alerts'][0]['explanation'] and '94' in message['alerts'][0]['explanation']


def test_repeat_and_no_resolved(manager, clock):
    """What goes on is told again after `repeat`; its end is not told when that is not wanted."""
    manager.add_alert('hot', 'cpu_max > 85', throttle_seconds=60, repeat_seconds='1h', recovery=False)
    told = []
    for _ in range(9):
        told.append(len(manager.check_alerts({'cpu_max': 90.0})))
        clock.now += 900
    assert told == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    manager.check_alerts({'cpu_max': 1.0})
    assert len(manager.channels['inbox'].messages) == 3


# -- rules that know the past -----------------------------------------------------------------------------------------

def judge(manager, values, path='job.py'):
    """Return the names of the rules that fire for one more run, whoever is told."""
    context = runner._RunContext(values, path, manager.history_manager)
    return [j.rule.name for j in manager._judge(context, manager.rules.values()) if j.value]


def test_consecutive_failures(manager, history):
    """Three in a row; an interrupted one counts neither way, a retry is no run of its own."""
    manager.add_alert('three', consecutive=3)
    manager.add_alert('twice 3', 'exit_code = 3', consecutive=2)
    remember(history, 1)
    remember(history, 1, status='failed', exit_code=3)
    assert judge(manager, FAILED) == ['twice 3']
    history.save_execution({}, 'job.py', -2, status='killed', cause='interrupted', start_time=runner.format_time(time.time() - 30))
    for attempt in (1, 2):
        history.save_execution({}, 'job.py', 1, status='failed', cause='exit', correlation_id='one run', attempt_number=attempt,
                               start_time=runner.format_time(time.time() - 20 + attempt))
    assert judge(manager, FAILED) == ['three'] and judge(manager, GOOD) == []
    assert judge(manager, dict(FAILED, cause='interrupted', exit_code=1)) == [] and judge(manager, FAILED, 'other.py') == []


def test_failure_rate(manager, history):
    """Over the last so many runs, or those of a window; with too few runs nothing is said."""
    manager.add_alert('runs', failure_rate={'above': '20%', 'runs': 10})
    manager.add_alert('window', failure_rate={'above': 0.5, 'window': '3m', 'min_runs': 2})
    assert judge(manager, FAILED) == []
    remember(history, 9)
    assert judge(manager, FAILED) == []
    remember(history, 2, status='failed')
    assert judge(manager, FAILED) == ['runs', 'window'] and judge(manager, GOOD) == []


def test_anomaly_against_its_own_past(manager, history):
    """Too long, too short; not for a failed run, not with too few good ones."""
    manager.add_alert('odd', anomaly={'metric': 'execution_time_seconds'})
    manager.add_alert('long', anomaly={'metric': 'execution_time_seconds', 'direction': 'above'})
    remember(history, 7, execution_time_seconds=[30.0, 31.0, 29.5, 30.2])
    assert judge(manager, dict(GOOD, execution_time_seconds=90.0)) == []
    remember(history, 20, execution_time_seconds=[30.0, 31.0, 29.5, 30.2])
    remember(history, 3, execution_time_seconds=500.0, status='failed')
    assert judge(manager, dict(GOOD, execution_time_seconds=90.0)) == ['odd', 'long']
    assert judge(manager, dict(GOOD, execution_time_seconds=2.0)) == ['odd']
    assert judge(manager, dict(GOOD, execution_time_seconds=30.7)) == []
    assert judge(manager, dict(FAILED, execution_time_seconds=90.0)) == []


def test_previous_and_baseline(manager, history):
    """`previous.` is the last good run, `baseline.` the pinned run, without one the median of good runs."""
    manager.add_alert('grew', 'memory_max_mb > 1.5 * previous.memory_max_mb')
    manager.add_alert('far', 'memory_max_mb > 2 * baseline.memory_max_mb')
    assert judge(manager, dict(GOOD, memory_max_mb=100.0)) == []
    remember(history, 5, memory_max_mb=[10.0, 11.0, 12.0, 11.0, 40.0])
    assert judge(manager, dict(GOOD, memory_max_mb=50.0)) == ['far']
    assert judge(manager, dict(GOOD, memory_max_mb=70.0)) == ['grew', 'far']
    remember(history, 1, status='failed', memory_max_mb=1000.0)
    assert judge(manager, dict(GOOD, memory_max_mb=70.0)) == ['grew', 'far']
    history.set_baseline(5)
    assert judge(manager, dict(GOOD, memory_max_mb=50.0)) == []


def test_a_history_that_cannot_be_read_resolves_nothing(manager, history, monkeypatch):
    """Then nobody knows that it is over."""
    def broken(*_, **__):
        raise runner.HistoryError('gone')
    manager.add_alert('three', consecutive=3)
    manager.add_alert('odd', anomaly='cpu_max')
    monkeypatch.setattr(history, 'get_execution_history', broken)
    monkeypatch.setattr(history, 'get_metric_series', broken)
    context = runner._RunContext(dict(GOOD, cpu_max=5.0), 'job.py', history)
    assert [j.value for j in manager._judge(context, list(manager.rules.values())[1:])] == [None]
    context = runner._RunContext(FAILED, 'job.py', history)
    assert [j.value for j in manager._judge(context, list(manager.rules.values())[:1])] == [None]


# -- while it runs ----------------------------------------------------------------------------------------------------

def rows(values, column=1, step=1.0):
    """Make rows of SAMPLE_FIELDS with one column set."""
    for number, value in enumerate(values):
        row = [number * step] + [None] * 7
        row[column] = value
        yield tuple(row)


@pytest.mark.parametrize('condition, hold, values, fires_at', [
    ('cpu_max > 90', 3, [95, 95, 95, 95, 95], 3),
    ('cpu_max > 90', 3, [95, 95, 50, 95, 95, 95, 95], 6),
    ('cpu_max < 10', 2, [50, 5, None, 5, 5], 3),
    ('cpu_max > 90', None, [10, 95, 10], 1),
    ('cpu_max < 10', None, [5, 5, 5], None),
    ('cpu_max > 5 AND cpu_max < 90', None, [50, 50], None),
    ("cpu_max > 5 AND status = 'failed'", None, [50, 50], None),
    ("cpu_max > 50 OR status = 'failed'", None, [10, 60], 1),
    ('execution_time_seconds >= 3', None, [0, 0, 0, 0, 0], 3)])
def test_when_a_rule_fires_on_the_samples(manager, condition, hold, values, fires_at):
    """`for` must hold without a break; without it a rule fires when it is certain, and in any case once."""
    manager.add_alert('live', condition, for_seconds=hold)
    live, found = manager.live(), []
    live._fire = lambda judgements, values: None
    for number, row in enumerate(rows(values)):
        before = len(live.fired)
        live.on_sample(row)
        found += [number] * (len(live.fired) - before)
    live.finish(time.monotonic() + PATIENCE)
    assert found == ([] if fires_at is None else [fires_at]) and live.warnings == []


@pytest.mark.parametrize('rule_of', [{'condition': 'memory_max_mb > 1 AND execution_time_seconds > 0.05'},
                                     {'condition': 'execution_time_seconds > 0.05', 'for_seconds': 0.1}])
def test_a_rule_is_told_while_the_script_runs(place, rule_of):
    """The script ends only when the message has come: nobody who waited for its end would see this."""
    came = os.path.join(place.folder, 'came')
    code = ('import os, sys, time\nend = time.time() + %r\nprint("begun", flush=True)\n'
            'while not os.path.exists(sys.argv[1]) and time.time() < end: time.sleep(0.01)\n'
            'sys.exit(0 if os.path.exists(sys.argv[1]) else 9)' % PATIENCE)
    path = place.write('wait.py', code)
    with Receiver(204, on_request=lambda request: place.write('came', '')) as server:
        manager = runner.AlertManager(notify_timeout=PATIENCE)
        manager.configure_webhook(server.url)
        manager.add_alert('live', **rule_of)
        job = runner.ScriptRunner(path, [came], history_db=place.history, labels={'team': 'data'})
        job.alert_manager = manager
        job.monitor_interval = 0.02
        result = job.run_script()
        job.history_manager.close()
        manager.close()
    assert result['status'] == 'success' and result['warnings'] == []
    assert [(a['name'], a['channels']) for a in result['alerts']] == [('live', {'webhook': 'sent'})]
    message, = [request.json for request in server.requests]
    assert message['run']['status'] == 'running' and message['run']['labels'] == {'team': 'data'}
    assert message['run']['execution_id'] == result['execution_id']
    assert place.rows('SELECT name, execution_id FROM alerts') == [{'name': 'live', 'execution_id': result['execution_id']}]


def test_no_program_is_started_while_the_script_runs(place):
    """It would be taken for the script's: the command of a rule that fires early gets its message after the script's end."""
    path = place.write('job.py', 'import time\ntime.sleep(0.5)\nopen("done", "w").close()')
    notify = place.write('notify.py', 'import os, sys\nopen("seen", "a").write("%s\\n" % os.path.exists("done"))')
    manager = runner.AlertManager(notify_timeout=PATIENCE)
    manager.configure_command([sys.executable, notify])
    manager.add_alert('live', 'execution_time_seconds > 0.05')
    here = os.getcwd()
    os.chdir(place.folder)
    try:
        job = runner.ScriptRunner(path, history_db=place.history)
        job.alert_manager, job.monitor_interval = manager, 0.02
        result = job.run_script()
    finally:
        os.chdir(here)
    job.history_manager.close()
    manager.close()
    assert result['alerts'][0]['channels'] == {'command': 'sent'} and result['warnings'] == []
    with open(os.path.join(place.folder, 'seen')) as file:
        assert file.read() == 'True\n'


def test_the_message_names_the_error(place):
    """What the analysis found out: kind, frame, root cause, advice."""
    path = place.write('job.py', 'def load():\n    raise ValueError("no order 7")\nload()')
    manager = make_manager()
    manager.add_alert('broken', "status != 'success'")
    result = run_with(place, manager, path)
    error = manager.channels['inbox'].messages[0]['error']
    assert error['fingerprint'] == result['error_analysis']['fingerprint'] == result['alerts'][0]['fingerprint']
    assert error['frame'].endswith('job.py:2 in load') and error['summary'] == 'ValueError: no order 7'
    assert 'job.py:2 in load' in runner.format_message(manager.channels['inbox'].messages[0])


# -- the pipeline -----------------------------------------------------------------------------------------------------

def run_with(place, manager, path, *arguments, **options):
    """Run a script with rules; returns the result."""
    job = runner.ScriptRunner(path, arguments, history_db=place.history, **options)
    job.alert_manager = manager
    result = job.run_script()
    if job.history_manager is not None:
        job.history_manager.close()
    manager.close()
    return result


def make_manager(**options):
    """A manager that asks the runner for its history, with an inbox."""
    made = runner.AlertManager(**dict({'notify_timeout': PATIENCE}, **options))
    made.channels['inbox'] = Inbox()
    return made


def test_the_message_carries_the_diagnosis(place):
    """What, where, the values against the rule, the error, the last lines (redacted), the last good run, a sparkline."""
    path = place.write('job.py', 'import sys\nprint("fine")\nif len(sys.argv) > 2:\n    print("token=" + sys.argv[2] + "\\n\\x1b[31mboom\\x1b[0m", file=sys.stderr)\n    sys.exit(3)')
    manager = make_manager()
    manager.add_alert('broken', "status != 'success' AND stderr_lines > 0", severity='ERROR')
    for _ in range(2):
        assert run_with(place, manager, path)['alerts'] == []
    result = run_with(place, manager, path, '--password', 's3cret-word', labels={'env': 'test'})
    alert, = result['alerts']
    assert (alert['name'], alert['severity'], alert['state'], alert['delivery'], alert['channels']) == (
        'broken', 'ERROR', 'firing', 'told', {'inbox': 'sent'})
    message, = manager.channels['inbox'].messages
    run = message['run']
    assert run['script_path'] == os.path.realpath(path) and run['script_args'] == ['--password', '[redacted]']
    assert (run['execution_id'], run['exit_code'], run['status'], run['labels']) == (result['execution_id'], 3, 'failed', {'env': 'test'})
    assert message['alerts'][0]['explanation'] == "status = 'failed', stderr_lines = 2"
    assert message['error']['summary'] == 'boom' and message['output_tail'] == ['token=[redacted]', 'boom']
    entry, = message['history']
    assert (entry['metric'], entry['value'], entry['last_good'], entry['last_good_run'], entry['values']) == (
        'stderr_lines', 2, 0, 2, [0, 0, 2]) and entry['sparkline'] == '▁▁█'
    text = runner.format_message(message)
    for words in ('ERROR: broken (job.py on ', 'exit code 3', 'boom', 'last good run (2): 0', '▁▁█', message['id']):
        assert words in text, words
    assert 's3cret-word' not in str(message)


def test_three_processes_tell_once_and_once_tomorrow(place):
    """Many failing runs at once in a window: one message. The same error tomorrow: one more. Its end: once."""
    driver = place.write('driver.py', (
        'import sys, time\nimport runner\nurl, db, script, status, count, shift = sys.argv[1:]\n'
        'manager = runner.AlertManager(notify_timeout=60, clock=lambda: time.time() + float(shift))\nmanager.configure_webhook(url)\n'
        'manager.add_alert("broken", "status != \'success\'", throttle_seconds=3600)\n'
        'for _ in range(int(count)):\n'
        '    job = runner.ScriptRunner(script, [status], history_db=db)\n    job.alert_manager = manager\n    result = job.run_script()\n'
        '    assert result["warnings"] == [] and len(result["alerts"]) == (status != "0" or _ == 0 and shift.endswith(".5")), result\n'))
    per_process = 20 if THOROUGH else 3

    def run(status, shift, processes, count):
        started = [Started([sys.executable, driver, server.url, place.history, script('exit_with.py'), str(status), str(count), str(shift)],
                           env=place.env, cwd=place.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                   for _ in range(processes)]
        place.started += started
        for process in started:
            out, err = process.communicate()
            assert process.returncode == 0, err.decode('utf-8', 'replace')
    with Receiver(200) as server:
        run(3, 0, 3, per_process)
        assert len(server.requests) == 1
        run(3, DAY, 1, 2)
        assert len(server.requests) == 2
        assert server.requests[1].json['alerts'][0]['earlier'] == 3 * per_process - 1
        run(0, DAY + 10.5, 1, 2)
        assert [request.json['state'] for request in server.requests] == ['firing', 'firing', 'resolved']
    counts = {row['delivery']: row['n'] for row in place.rows('SELECT delivery, count(*) AS n FROM alerts GROUP BY delivery')}
    assert counts == {'told': 3, 'suppressed': 3 * per_process - 1 + 1}
    assert place.rows("SELECT count(*) AS n FROM notifications WHERE state = 'sent'") == [{'n': 3}]


def test_a_script_that_cannot_be_started_is_told(place):
    """A cron job with a mistyped path; the API raises as ever."""
    manager = make_manager()
    manager.add_alert('broken', "status != 'success'")
    with pytest.raises(runner.LaunchError) as caught:
        run_with(place, manager, os.path.join(place.folder, 'missing.py'))
    manager.close()
    manager.history_manager.close()
    assert [a['name'] for a in caught.value.alerts] == ['broken']
    message, = manager.channels['inbox'].messages
    assert message['run']['cause'] == 'launch_error' and message['run']['script_path'].endswith('missing.py')


def test_the_last_attempt_is_judged(place):
    """A run that succeeds at the second attempt is no failure."""
    path = place.write('job.py', 'import os, sys\nsys.exit(int(os.environ["SCRIPT_RUNNER_ATTEMPT"]) < 2)')
    manager = make_manager()
    manager.add_alert('broken', "status != 'success'")
    job = runner.ScriptRunner(path, history_db=place.history)
    job.alert_manager, job.retry_config = manager, runner.RetryConfig(max_attempts=2, base_delay=0)
    result = job.run_script()
    job.history_manager.close()
    manager.close()
    assert result['attempt_number'] == 2 and result['alerts'] == [] and manager.channels['inbox'].messages == []


def test_trouble_with_the_memory_costs_a_warning(place):
    """A file that is no history: people are told all the same, the script's status is its own."""
    place.write('history.db', 'not a database, certainly not one of sixteen bytes')
    manager = make_manager()
    manager.add_alert('broken', "status != 'success'")
    result = run_with(place, manager, script('exit_with.py'), '3')
    assert result['returncode'] == 3 and manager.channels['inbox'].told == [('firing', ['broken'])]
    assert any(w.startswith('alerts: ') and 'told without knowing' in w for w in result['warnings'])


def test_no_history_still_tells(place):
    """enable_history=False: nothing is written, and somebody is told."""
    manager = make_manager()
    manager.add_alert('broken', "status != 'success'")
    result = run_with(place, manager, script('exit_with.py'), '3', enable_history=False)
    assert result['alerts'][0]['channels'] == {'inbox': 'sent'} and not os.path.exists(place.history)


def test_without_rules_nothing_is_loaded(place):
    """No rule: none of what telling needs is imported, before the script or after it."""
    code = ('import sys\nbefore = set(sys.modules)\nimport runner\nrunner.ScriptRunner(sys.argv[1], ["0"]).run_script()\n'
            'print(sorted({"requests", "smtplib", "email", "hashlib", "hmac", "http", "html", "apprise"} & (set(sys.modules) - before)))')
    path = place.write('check.py', code)
    assert place.bare(path, script('exit_with.py')).out.strip() == b'[]'


# -- what cannot be ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('rule_of, words', [
    ({'condition': 'cpu_maxx > 9'}, "no metric 'cpu_maxx'"), ({'condition': 'cpu_max > 9', 'channels': ['slak']}, "did you mean 'slack'"),
    ({'condition': 'cpu_max > 9', 'severity': 'eror'}, "did you mean 'ERROR'"), ({}, 'nothing to judge'),
    ({'condition': 'cpu_max > 9', 'anomaly': 'cpu_max'}, 'together'), ({'condition': 'cpu_max > 9', 'throttle_seconds': 'soon'}, 'duration'),
    ({'condition': "status = 'failed'", 'for': '30s'}, 'not known while'), ({'condition': 'cpu_max > 9', 'throtle': 5}, 'throttle_seconds'),
    ({'consecutive': 0}, 'at least 1'), ({'condition': 'cpu_max > previous.cpu_max', 'consecutive': 2}, 'previous.'), ({'consecutive': 2, 'for': '3s'}, 'condition alone'), ({'anomaly': {'metric': 'cpu_maxx'}}, 'cpu_max'),
    ({'anomaly': {'metric': 'cpu_max', 'direction': 'up'}}, 'above, below'), ({'anomaly': {'metrik': 'cpu_max'}}, "'metrik'"),
    ({'failure_rate': {'above': 2, 'runs': 5}}, 'share'), ({'failure_rate': {'above': '20%'}}, 'one of runs and window'),
    ({'condition': 'cpu_max > 9', 'channels': ['slack']}, 'no settings'), ({'condition': 'cpu_max > 9', 'inhibited_by': ['nobody']}, 'no alert'),
    ({'expect_every': '61 * * * *'}, 'minute'), ({'condition': 'cpu_max > 9', 'script': 'x.py'}, 'expect_every'), ({'expect_every': 0}, 'more than 0'), ({'expect_every': '1d', 'for': '5s'}, 'does not go with'),
    ({'expect_every': '1d', 'channels': ['slack']}, 'no settings'), ({'consecutive': 201}, 'at most 200'),
    ({'failure_rate': {'above': '20%', 'runs': 5, 'min_runs': 'x'}}, 'min_runs')])
def test_rules_that_cannot_be(rule_of, words):
    """Refused before anything starts, with a sentence that names the rule."""
    with pytest.raises(runner.UsageError) as caught:
        runner.AlertManager.from_settings([dict(rule_of, name='mine')])
    assert "alert 'mine'" in str(caught.value) and words in str(caught.value), caught.value


@pytest.mark.parametrize('notifications, words', [
    ({'slak': {}}, "did you mean 'slack'"), ({'slack': {'webhook_url': '${SLACK_WEBHOOK_URL}'}}, '${SLACK_WEBHOOK_URL} is not set'),
    ({'slack': {'url': 'https://x/y'}}, "'url' is not one of its settings"), ({'slack': {}}, 'webhook_url is missing'),
    ({'email': {'smtp_server': 'localhost', 'from': 'a@b', 'to': []}}, 'no address'), ({'command': 'rm -rf /'}, 'list of texts'),
    ({'email': {'smtp_server': 'localhost', 'from': 'a@b', 'to': 'c@d\u2028e'}}, 'control characters'),
    ({'webhook': {'url': 'ftp://x'}}, 'http')])
def test_channels_that_cannot_be(notifications, words):
    """The same for channels."""
    with pytest.raises(runner.UsageError) as caught:
        runner.AlertManager.from_settings([], notifications)
    assert words in str(caught.value), caught.value


def test_settings_make_a_manager(history):
    """Every key of a rule and of a channel, as a settings file has them."""
    manager = runner.AlertManager.from_settings(
        [{'name': 'a', 'condition': 'cpu_max > 85', 'severity': 'error', 'channels': ['email', 'stdout'], 'throttle_seconds': 60.0,
          'for': '30s', 'repeat': '4h', 'recovery': False, 'inhibited_by': ['b']},
         {'name': 'b', 'consecutive': 3, 'digest': '1d'}, {'name': 'c', 'failure_rate': {'above': '20%', 'window': '7d'}},
         {'name': 'd', 'anomaly': {'metric': 'memory_max_mb'}}, {'name': 'e', 'expect_every': '30 2 * * 1-5', 'script': '/srv/job.py'},
         {'name': 'f', 'condition': 'cpu_max > 85', 'for': 0, 'consecutive': 1}],
        {'email': {'smtp_server': 'localhost', 'smtp_port': 25, 'from': 'a@example.org', 'to': ['b@example.org'], 'username': '', 'password': '',
                   'use_tls': False}, 'slack': {'webhook_url': 'https://hooks.example.org/x'}, 'log': {'file': 'x.jsonl'},
         'webhook': {'url': 'https://example.org/x', 'headers': {'A': 'b'}, 'secret': 'c'}, 'command': {'command': ['logger']}}, history, '5s')
    assert list(manager.rules) == ['a', 'b', 'c', 'd', 'f'] and list(manager.expected) == ['e'] and manager.notify_timeout == 5.0
    assert sorted(manager.channels) == ['command', 'email', 'log', 'slack', 'stdout', 'webhook']
    assert manager._channels_of('a') == ['email', 'stdout'] and len(manager._channels_of('b')) == 6
    assert manager.rules['f'].hold is None and manager.rules['a'].hold == 30.0


# -- runs that did not happen -----------------------------------------------------------------------------------------

def test_a_schedule_is_learned_or_said_to_be_none():
    """Daily with a weekend; a script that somebody starts now and then has none."""
    workdays = [d * DAY for d in (0, 1, 2, 3, 4, 7, 8, 9, 10, 11)]
    assert runner.learn_schedule(workdays) == pytest.approx(3.3 * DAY)
    assert runner.learn_schedule([d * DAY for d in range(6)]) == 1.5 * DAY
    assert runner.learn_schedule([0, 5, 9000, 9100, 50000, 400000]) is None and runner.learn_schedule([0, DAY, 2 * DAY]) is None
    assert runner.learn_schedule([n * 5.0 for n in range(20)]) is None, 'somebody tries something out'


@pytest.mark.parametrize('text, now, last', [
    ('30 2 * * *', '2024-03-15 12:00', '2024-03-15 02:30'), ('30 2 * * *', '2024-03-15 02:29', '2024-03-14 02:30'),
    ('*/15 8-17 * * 1-5', '2024-03-16 09:00', '2024-03-15 17:45'), ('0 0 29 2 *', '2024-02-28 00:00', '2020-02-29 00:00'),
    ('0 0 1 * 1', '2024-03-06 00:00', '2024-03-04 00:00'), ('5,10 0 * jan,dec sun', '2024-03-15 12:00', '2024-01-28 00:10'),
    ('0 0 31 2 *', '2024-03-15 12:00', None), ('0 9 * * 7', '2024-03-15 12:00', '2024-03-10 09:00')])
def test_crontab_schedules(text, now, last):
    """The latest minute that was chosen, in local time."""
    moment = time.mktime(time.strptime(now, '%Y-%m-%d %H:%M'))
    found = runner.parse_cron(text).last_before(moment)
    assert (None if found is None else time.strftime('%Y-%m-%d %H:%M', time.localtime(found))) == last


@pytest.mark.parametrize('text', ['* * * *', '60 * * * *', '* 24 * * *', '* * 0 * *', '* * * 13 *', '* * * * 8', '5-1 * * * *', '*/0 * * * *',
                                  'x * * * *', '1- * * * *', ', * * * *'])
def test_crontab_schedules_that_cannot_be(text):
    """UsageError."""
    with pytest.raises(runner.UsageError):
        runner.parse_cron(text)


def test_missed_runs_are_told_once_and_resolved(manager, history, clock):
    """Overdue, told; overdue still, not told; started again, resolved."""
    now = clock.now = time.time()
    manager.expect_run('nightly', '1d', os.path.abspath('job.py'))
    for age in (3, 2):
        history.save_execution({}, 'job.py', 0, start_time=runner.format_time(now - age * DAY))
    verdict, = manager.check_missed(tell=True)
    assert verdict['overdue'] is True and verdict['overdue_seconds'] == pytest.approx(DAY, abs=60) and verdict['rule'] == 'nightly'
    manager.check_missed(tell=True)
    assert manager.channels['inbox'].told == [('firing', ['nightly'])]
    history.save_execution({}, 'job.py', 0, start_time=runner.format_time(now - 60))
    assert manager.check_missed(tell=True)[0]['overdue'] is False
    assert manager.channels['inbox'].told[1:] == [('resolved', ['nightly'])]
    manager.expect_run('never', '1h', '/srv/never-started.py')
    assert [v['overdue'] for v in manager.check_missed()] == [False, True]


def test_a_missed_run_is_told_by_channels_without_settings(manager, history, tmp_path, capfd):
    """stdout and log need none, also where no other rule names them."""
    manager.expect_run('nightly', '1d', '/srv/never-started.py', ['stdout'])
    assert manager.check_missed(tell=True)[0]['overdue'] is True
    assert capfd.readouterr().out.startswith('ERROR: nightly (never-started.py')


def test_each_rule_has_a_name_of_its_own(manager):
    """Also those of runs that are expected: the second took the place of the first."""
    manager.expect_run('nightly', '1d', '/srv/a.py')
    for again in (lambda: manager.expect_run('nightly', '1d', '/srv/b.py'), lambda: manager.add_alert('nightly', 'cpu_max > 5')):
        with pytest.raises(runner.UsageError, match='two of that name'):
            again()


# -- the command line -------------------------------------------------------------------------------------------------

def test_the_verb(place):
    """list, test, silence, unsilence, missed and deliver, as a user types them."""
    assert b'no history' in place.run('alerts', 'list').err
    assert place.run('--alert', "status != 'success'", '--alert', 'exit_code = 3', script('exit_with.py'), 3).status == 3
    finished = place.run('alerts', 'silence', 'exit_code = 3', '2h', '--reason', 'known')
    assert finished.status == 0 and b'tells nobody until' in finished.out
    finished = place.run('--alert', "status != 'success'", '--alert', 'exit_code = 3', script('exit_with.py'), 3)
    assert b'alert WARNING exit_code = 3' in finished.err and b'silenced until' in finished.err and finished.out == b''
    listed = place.run('alerts', 'list').out.decode('utf-8')
    assert listed.count('exit_with.py') == 4 and 'told' in listed and 'silence: exit_code = 3 until' in listed and '(known)' in listed
    assert b'"silences"' in place.run('alerts', 'list', '--json').out
    shown = place.run('show', '2')
    assert b'\nalerts\n' in shown.out and b'silenced until' in shown.out
    assert b'may tell again' in place.run('alerts', 'unsilence', 'exit_code = 3').out
    finished = place.run('alerts', 'test', 'stdout')
    assert finished.status == 0 and finished.out.startswith(b'TEST: ') and finished.out.endswith(b'stdout: sent\n')
    assert place.run('alerts', 'missed').status == 0
    assert place.run('alerts', 'missed', 'exit_with.py', '--expect-every', '0.001s').status == 1
    assert place.run('alerts', 'deliver').out == b'0 sent, 0 waiting\n'


@pytest.mark.parametrize('words', [
    ['--alert', 'cpu_maxx > 9', 'job.py'], ['--alert', 'cpu_max > 9', '--alert', 'cpu_max > 9', 'job.py'], ['alerts'], ['alerts', 'lst'],
    ['alerts', 'silence', 'x'], ['alerts', 'silence', 'x', 'soon'], ['alerts', 'test'], ['alerts', 'test', 'slack'], ['alerts', 'test', 'slak'],
    ['alerts', 'list', 'more'], ['--notify-timeout', '0', 'job.py']])
def test_usage_errors(place, words, monkeypatch, capfd):
    """Exit 2 with one sentence; nothing was started."""
    for name, value in place.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(place.folder)
    place.write('job.py', 'print("ran")')
    assert runner.main(words) == 2
    out, err = capfd.readouterr()
    assert out == '' and err.count('\n') == 1, err


# -- from a settings file ---------------------------------------------------------------------------------------------

CONFIG = """
alerts:
  - name: broken
    condition: status != 'success'
    severity: ERROR
    channels: [webhook]
notifications:
  webhook:
    url: ${HOOK_URL}
    secret: a-key-to-sign-with
notify_timeout: %s
"""


def test_a_settings_file_sets_up_rules_and_channels(place):
    """A failing run is told; `alerts test` sends one; the history does not hold where it went."""
    config = place.write('ci.yaml', CONFIG % '30s')
    with Receiver(204) as server:
        env = {'HOOK_URL': server.url}
        finished = place.run('--config', config, script('exit_with.py'), 3, env=env)
        assert finished.status == 3 and b'alert ERROR broken' in finished.err and b'-> webhook sent' in finished.err, finished
        finished = place.run('alerts', 'test', '--config', config, env=env)
        assert finished.status == 0 and finished.out == b'webhook: sent\n', finished
        assert place.run('--config', config, script('exit_with.py'), 0, env=env).status == 0
    assert [request.json['state'] for request in server.requests] == ['firing', 'test', 'resolved']
    assert all('X-Script-Runner-Signature' in request.headers for request in server.requests)
    with open(place.history, 'rb') as file:
        assert b'S3cr3tPathOfTheHook' not in file.read()


def test_the_exit_is_not_held_up_by_a_receiver_that_hangs(place):
    """It hangs until the test is over: a runner that waited for it would not come back. The next run sends the message."""
    config = place.write('ci.yaml', CONFIG % '1s')
    with Receiver('hang') as server:
        finished = place.run('--config', config, script('exit_with.py'), 3, env={'HOOK_URL': server.url})
        assert finished.status == 3 and b'next run' in finished.err and not server.released.is_set(), finished
    assert place.rows('SELECT state, channel FROM notifications') == [{'state': 'waiting', 'channel': 'webhook'}]


@pytest.mark.parametrize('change, words', [
    (('${HOOK_URL}', '${SLACK_WEBHOOK_URL}'), b'SLACK_WEBHOOK_URL'), (('[webhook]', '[slack]'), b"channel 'slack' has no settings"),
    (('[webhook]', '[webhok]'), b'webhok'), (('status !=', 'stattus !='), b"no metric 'stattus'"), (('url:', 'ulr:'), b"'ulr'")])
def test_a_settings_file_that_cannot_be(place, change, words):
    """Exit 2 with a sentence, and nothing was started."""
    config = place.write('ci.yaml', (CONFIG % '30s').replace(*change))
    job = place.write('job.py', 'print("ran")')
    finished = place.run('--config', config, job, env={'HOOK_URL': 'https://example.invalid/hook'})
    assert finished.status == 2 and finished.out == b'' and words in finished.err, finished
