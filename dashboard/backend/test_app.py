"""The dashboard: who may ask, what is answered, what is sent live, and the page in a real browser."""
import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from urllib.parse import quote

import pytest

if sys.version_info < (3, 9):
    pytest.skip('the dashboard needs Python 3.9', allow_module_level=True)
for _name in ('fastapi', 'uvicorn', 'websockets'):
    pytest.importorskip(_name, reason="%s is not installed: pip install '.[dashboard]'" % _name)

import app as dashboard  # noqa: E402
from websockets.exceptions import InvalidStatus  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

runner = dashboard.runner
PATIENCE = 30.0
TOKEN = 'a-token-of-the-tests'
HOSTILE = '/srv/<img src=x onerror=alert(1)>"\'&.py'


class Served(object):
    """A dashboard that listens on a port of its own, in a thread."""

    def __init__(self, db_path, **options):
        self.app = dashboard.create_app(str(db_path), **options)
        self._listener = dashboard.bind('127.0.0.1', 0)
        self.port = self._listener.getsockname()[1]
        self._server = dashboard.make_server(self.app, 'critical')
        self._thread = threading.Thread(target=self._server.run, kwargs={'sockets': [self._listener]})
        self._thread.start()
        wait_until(lambda: self._server.started, 'the server')

    def stop(self):
        """End the server and close its connections to the history."""
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        self._listener.close()
        self.app.state.history.manager.close()

    def ask(self, path, method='GET', body=None, **headers):
        """Return (status, headers, body as text)."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {name.replace('_', '-'): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode('utf-8')
        finally:
            connection.close()

    def get(self, path, status=200, **headers):
        """Return JSON; fails when the status is another."""
        found, _, text = self.ask(path, **headers)
        assert found == status, (found, text)
        return json.loads(text)

    def live(self, cursor='', **options):
        """Open the WebSocket."""
        return connect('ws://127.0.0.1:%d/ws/metrics%s' % (self.port, '?cursor=' + cursor if cursor else ''), **options)


def wait_until(condition, what):
    """Wait for what another thread or process does."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError('waited in vain: ' + what)


def read(client, kind=None):
    """Return the next message, or the next of a kind."""
    while True:
        message = json.loads(client.recv(timeout=PATIENCE))
        if kind is None or message['type'] == kind:
            return message


def save(history, code=0, path='/srv/job.py', **more):
    """Save a run."""
    metrics = dict({'execution_time_seconds': 1.5, 'cpu_avg': 50.0, 'memory_max_mb': 100.0}, **more.pop('metrics', {}))
    return history.save_execution(metrics, path, code, **more)


@pytest.fixture
def history(tmp_path):
    """An empty history."""
    with runner.HistoryManager(str(tmp_path / 'history.db')) as manager:
        manager.get_scripts()
        yield manager


@pytest.fixture
def served(history):
    """A dashboard of it."""
    found = Served(history.db_path)
    yield found
    found.stop()


@pytest.fixture
def place(tmp_path):
    """(environment, started processes): runners that write into the same history; all are ended."""
    env = {name: value for name, value in os.environ.items() if not name.startswith('SCRIPT_RUNNER_')}
    env.update(SCRIPT_RUNNER_HISTORY_DB=str(tmp_path / 'history.db'), HOME=str(tmp_path), PYTHONPATH=dashboard.HOME,
               XDG_STATE_HOME=str(tmp_path / 'state'))
    started = []

    def start(*words, **options):
        options.setdefault('stdout', subprocess.DEVNULL)
        options.setdefault('stderr', subprocess.PIPE)
        started.append(subprocess.Popen([sys.executable, '-m', 'runner'] + [str(word) for word in words], env=env,
                                        cwd=options.pop('cwd', str(tmp_path)), stdin=subprocess.DEVNULL, **options))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(PATIENCE)
        finally:
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


# -- who may ask -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('headers, status', [
    ({}, 200), ({'Host': 'localhost:1'}, 200), ({'Host': '[::1]:8000'}, 200), ({'Host': 'evil.example'}, 421),
    ({'Host': '127.0.0.1.evil.example'}, 421), ({'Host': 'a b'}, 421), ({'Host': ''}, 421), ({'Host': 'localhost:1@evil.example'}, 421),
    ({'Origin': 'http://evil.example'}, 403), ({'Origin': 'null'}, 403), ({'Origin': 'http://['}, 403), ({'Origin': 'http://localhost:1'}, 403),
    ({'Host': 'localhost:1', 'Origin': 'http://localhost:1'}, 200), ({'Sec_Fetch_Site': 'cross-site'}, 403),
    ({'Sec_Fetch_Site': 'same-site'}, 403), ({'Sec_Fetch_Site': 'same-origin'}, 200)])
def test_host_and_origin_are_checked(served, headers, status):
    """A name that is not ours (DNS rebinding) and a foreign page get nothing; the answer is a sentence, with our headers."""
    found, answered, text = served.ask('/api/scripts', **headers)
    assert found == status
    assert answered['X-Content-Type-Options'] == 'nosniff' and "default-src 'none'" in answered['Content-Security-Policy']
    assert status == 200 or set(json.loads(text)) == {'error', 'hint'}


@pytest.mark.parametrize('headers', [{'Origin': 'http://evil.example'}, {'Host': 'evil.example'}])
def test_a_websocket_is_checked_too(served, headers):
    """A foreign page cannot listen."""
    with pytest.raises(InvalidStatus) as refused:
        with socket.create_connection(('127.0.0.1', served.port)) as link:
            if 'Host' in headers:
                connect('ws://evil.example/ws/metrics', sock=link)
            else:
                connect('ws://127.0.0.1:%d/ws/metrics' % served.port, sock=link, origin=headers['Origin'])
    assert refused.value.response.status_code == 403


def judge(token, here='192.0.2.7', path='/api/scripts', **headers):
    """Return the status that a request from outside gets, None: it is let through."""
    guard = dashboard.Guard(None, '', ['127.0.0.1'], token)
    headers = dict({'host': here}, **{name.replace('_', '-'): value for name, value in headers.items()})
    refused = guard.judge({'type': 'http', 'server': (here, 80), 'path': path}, headers)
    return refused and refused[0]


def test_an_address_that_others_reach_needs_the_token():
    """Without one nobody is let in; the page itself holds no data and may be read."""
    for token in (TOKEN, None):
        assert judge(token) == judge(token, authorization='Bearer wrong') == judge(token, authorization='Bearer ') == 401
        assert judge(token, path='/metrics') == judge(token, path='/openapi.json') == 401
        assert judge(token, path='/') is None
    assert judge(TOKEN, authorization='Bearer ' + TOKEN) is None
    offered = 'script-runner, bearer.' + base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip('=')
    assert judge(TOKEN, sec_websocket_protocol=offered) is None and judge(TOKEN, sec_websocket_protocol='bearer.x') == 401
    assert judge(TOKEN, here='::ffff:192.0.2.7', host='192.0.2.7') == 401
    assert judge(TOKEN, here='::ffff:192.0.2.7', host='192.0.2.7', authorization='Bearer ' + TOKEN) is None
    assert judge(None, here='::ffff:127.0.0.1', host='localhost') is None
    assert judge(None, here='127.0.0.1') is None and judge(None, here='::1', host='[::1]:8000') is None


def test_actions_are_off_until_allowed(served, history):
    """Read-only: a stop is refused, with the flag that would allow it; no other method changes anything."""
    run_id = save(history)
    status, _, text = served.ask('/api/executions/%d/stop' % run_id, 'POST', '{}', Content_Type='application/json', Authorization='Bearer x')
    assert status == 403 and '--allow-actions' in text
    assert served.ask('/api/executions/%d' % run_id, 'DELETE')[0] == 405


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='stopping needs Linux')
def test_a_running_run_is_stopped_with_token_and_header(history, place, tmp_path):
    """Each of the two is needed; then the script gets SIGTERM, and the row says so."""
    served = Served(history.db_path, token=TOKEN, allow_actions=True)
    try:
        (tmp_path / 'wait.py').write_text('import time; print("up", flush=True); time.sleep(60)')
        process = place('wait.py', stdout=subprocess.PIPE)
        assert process.stdout.readline() == b'up\n'
        run = wait_until(lambda: served.get('/api/running')['running'], 'the running row')[0]
        path, good = '/api/executions/%d/stop' % run['id'], {'Authorization': 'Bearer ' + TOKEN, 'X_Script_Runner_Action': '1'}
        for missing in good:
            some = {name: value for name, value in good.items() if name != missing}
            assert served.ask(path, 'POST', '{}', Content_Type='application/json', **some)[0] in (401, 403)
        assert process.poll() is None
        assert served.ask(path, 'POST', '{"force": false}', Content_Type='application/json', **good)[0] == 200
        process.wait(PATIENCE)
        stopped = served.get('/api/executions/%d' % run['id'])
        assert (stopped['status'], stopped['cause']) == ('killed', 'signal') and 'SIGTERM' in stopped['evidence']
        assert 'has ended' in served.ask(path, 'POST', '{}', Content_Type='application/json', **good)[2]
    finally:
        served.stop()


# -- what is answered --------------------------------------------------------------------------------------------

def test_runs_are_listed_filtered_and_exported(served, history):
    """The list and its exports choose by the same words."""
    for number in range(12):
        save(history, number % 2, labels={'team': 'ü'} if number < 4 else {}, metrics={'cpu_max': float(number)}, hostname='h%d' % (number % 3),
             error_summary='=1+1' if number == 1 else None)
    assert served.get('/api/executions?per_page=5')['pages'] == 3
    assert served.get('/api/executions?status=failed&label=team%3D%C3%BC')['total'] == 2
    assert served.get('/api/executions?where=cpu_max%20%3E%209')['total'] == 2
    assert served.get('/api/executions?script=job.py&since=1h&host=h1')['total'] == 4
    status, headers, text = served.ask('/api/executions/export?status=failed&format=csv')
    assert status == 200 and headers['Content-Type'].startswith('text/csv') and 'attachment' in headers['Content-Disposition']
    assert len(text.splitlines()) == 7 and ",'=1+1," in text
    assert [run['status'] for run in served.get('/api/executions/export?status=failed&format=json')] == ['failed'] * 6
    assert served.get('/api/executions/export?status=lost&format=json') == []


def test_an_export_has_each_run_once(served, history, monkeypatch):
    """Also while others start, which moves the pages."""
    manager, ids = served.app.state.history.manager, [save(history) for _ in range(5)]
    find = manager.find_runs

    def find_and_run(*words, **more):
        found = find(*words, **more)
        save(history)
        return found
    monkeypatch.setattr(dashboard, 'MAX_PER_PAGE', 2)
    monkeypatch.setattr(manager, 'find_runs', find_and_run)
    assert [run['id'] for run in served.get('/api/executions/export?format=json')] == ids[::-1]


def test_a_run_is_told_in_full(served, history):
    """Metrics, attempts, artefacts, samples, output and the last good run, which it can be compared with."""
    good = save(history, start_time='2026-01-01T00:00:00+00:00')
    run_id = save(history, 3, path='/srv/job.py', stdout='out', stderr='err', artefacts={'hang': 'stack'}, metrics={'cpu_avg': 75.0, 'rows': float('nan')})
    run = served.get('/api/executions/%d' % run_id)
    assert (run['last_good'], run['artefacts'], run['attempts'][0]['id'], run['metrics']['rows']) == (good, {'hang': 'stack'}, run_id, None)
    assert served.get('/api/executions/%d/output' % run_id) == {'stdout': 'out', 'stderr': 'err'}
    assert served.get('/api/executions/%d/samples' % run_id) == {'fields': list(runner.SAMPLE_FIELDS), 'rows': []}
    compared = {row['name']: row for row in served.get('/api/compare?run=%d&reference=%d' % (run_id, good))['metrics']}
    assert (compared['cpu_avg']['change_pct'], compared['cpu_avg']['verdict']) == (50.0, 'worse')


def test_trends_are_those_of_the_library(served, history):
    """A step in the level is told with its commits; the overview and /api/anomalies name what is odd."""
    for number in range(40):
        level = 10.0 if number < 25 else 14.0
        save(history, metrics={'execution_time_seconds': 50.0 if number == 39 else level + number % 3 * 0.1, 'cpu_avg': 1.0 + number % 7},
             git_commit='%040d' % (number >= 25))
    found = served.get('/api/trends?script=/srv/job.py&metric=execution_time_seconds')
    assert [(step['index'], step['git_commit'][-1], step['previous_commit'][-1]) for step in found['change_points']] == [(25, '1', '0')]
    assert 39 in [odd['index'] for odd in found['anomalies']] and found['sentences'] and found['unit'] == 's'
    assert found['usual']['since'] == 25 and 13 < found['usual']['low'] < found['usual']['high'] < 16
    assert 'usually' in served.get('/api/scripts')[0]['oddity']
    assert 40 in [odd['run_id'] for odd in served.get('/api/anomalies')]
    assert "no such metric" in served.get('/api/trends?script=/srv/job.py&metric=no_such', 400)['error']


def test_alerts_and_silences_are_shown(served, history):
    """What rules said of a run stands with it and in the list; a silence is listed."""
    run_id = save(history, 1)
    manager = runner.AlertManager(history)
    manager.add_alert('failed <b>', "status = 'failed'", ['log'], severity='ERROR')
    manager.check_alerts(dict(history.get_execution(run_id)['metrics'], status='failed'))
    runner.AlertIntelligence(history).silence('noisy', 3600, 'known')
    found = served.get('/api/alerts')
    assert [(alert['name'], alert['severity']) for alert in found['alerts']] == [('failed <b>', 'ERROR')]
    assert [(silence['rule'], silence['reason']) for silence in found['silences']] == [('noisy', 'known')]
    assert served.get('/api/executions/%d' % run_id)['alerts'] == []


def test_a_rule_is_silenced_and_told_again(history):
    """With the token and the header; a time that is none is a sentence."""
    served = Served(history.db_path, token=TOKEN, allow_actions=True)
    try:
        good = {'Authorization': 'Bearer ' + TOKEN, 'X_Script_Runner_Action': '1', 'Content_Type': 'application/json'}
        body = '{"rule": "noisy", "duration": "2h", "reason": "known"}'
        assert served.ask('/api/silences', 'POST', body, Content_Type='application/json')[0] == 401
        assert served.ask('/api/silences', 'POST', body, **good)[0] == 200
        assert served.get('/api/alerts')['silences'][0]['rule'] == 'noisy'
        assert served.ask('/api/silences', 'POST', body.replace('2h', 'soon'), **good)[0] == 400
        assert served.ask('/api/silences/end', 'POST', '{"rule": "noisy"}', **good)[0] == 200
        assert served.get('/api/alerts')['silences'] == []
    finally:
        served.stop()


@pytest.mark.parametrize('path, status', [
    ('/api/executions/99', 404), ('/api/executions/0', 422), ('/api/executions/9999999999999999999999', 422), ('/api/executions/x', 422),
    ('/api/nothing', 404), ('/api/executions?script=/etc/passwd', 404), ('/api/executions?status=odd', 400), ('/api/executions?label=x', 400),
    ('/api/executions?since=soon', 400), ('/api/executions?where=cpu_maxx%20%3E%201', 400), ('/api/executions?per_page=100000', 422),
    ('/api/trends?script=/etc/passwd', 404), ('/api/trends?script=/srv/job.py&metric=start_time', 400), ('/api/trends', 422),
    ('/api/executions?script=%00', 404), ('/api/executions/export?format=xls', 422), ('/..%2f..%2fetc/passwd', 404),
    ('/api/compare?run=1&reference=99', 404), ('/api/executions?since=inf', 400), ('/api/executions?where=%00', 400)])
def test_every_error_is_an_error_and_a_hint(served, history, path, status):
    """Whatever is asked wrongly."""
    save(history)
    assert set(served.get(path, status)) == {'error', 'hint'}


def test_no_path_of_a_client_is_looked_at(served, history, tmp_path, monkeypatch):
    """A script is looked up among those recorded: a link to one is not followed."""
    (tmp_path / 'job.py').write_text('')
    save(history, path=str(tmp_path / 'job.py'))
    os.symlink(str(tmp_path / 'job.py'), str(tmp_path / 'link.py'))
    assert served.get('/api/executions?script=%s' % (tmp_path / 'job.py'))['total'] == 1
    served.get('/api/executions?script=%s' % (tmp_path / 'link.py'), 404)


def test_the_openapi_document_names_every_route(served):
    """Each with a summary, and the form of its errors."""
    document = served.get('/openapi.json')
    for path in ('health', 'scripts', 'executions', 'executions/{run_id}', 'executions/{run_id}/samples', 'executions/{run_id}/output', 'metrics',
                 'trends', 'anomalies', 'compare', 'alerts', 'stats'):
        operation = document['paths']['/api/' + path]['get']
        assert operation['summary'] and operation['responses']['422']['content']['application/json']['schema']['$ref'].endswith('/Error')


def test_costly_answers_are_kept_for_two_seconds(served, history, monkeypatch):
    """The overview is computed once for many who ask, and anew afterwards."""
    assert dashboard.CACHE_TTL_SECONDS == 2
    save(history)
    assert len(served.get('/api/scripts')) == 1
    save(history, path='/srv/second.py')
    assert len(served.get('/api/scripts')) == 1
    monkeypatch.setattr(dashboard, 'CACHE_TTL_SECONDS', 0)
    assert len(served.get('/api/scripts')) == 2


def test_metrics_for_prometheus(served, history):
    """Base units, one label, hostile names escaped, a bounded number of series; promtool has nothing to say."""
    save(history, path=HOSTILE + '\n\\')
    save(history, 1)
    for number in range(dashboard.MAX_SCRIPTS_IN_METRICS + 3):
        save(history, path='/srv/many/%d.py' % number)
    status, headers, text = served.ask('/metrics')
    assert status == 200 and headers['Content-Type'].startswith('text/plain; version=0.0.4')
    for line in text.splitlines():
        assert line.startswith(('# HELP ', '# TYPE ')) or re.match(r'[a-z_]+(\{[a-z]+="(\\.|[^"\\])*"\})? [-+0-9.e]+$', line), line
    assert 'script_runner_scripts_without_series 5.0' in text and 'script_runner_runs{status="failed"} 1.0' in text
    assert len(text.splitlines()) < 6 * dashboard.MAX_SCRIPTS_IN_METRICS
    if shutil.which('promtool'):
        checked = subprocess.run(['promtool', 'check', 'metrics'], input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert (checked.returncode, checked.stdout) == (0, b'')


# -- a history that is unwell --------------------------------------------------------------------------------------

def corrupt(path):
    """Overwrite the middle of a file."""
    with open(path, 'r+b') as file:
        file.seek(4096)
        file.write(b'\xff' * 65536)


def unwell(path, kind):
    """Put a file that is not a sound history of ours at `path`."""
    if kind == 'absent':
        return
    if kind == 'foreign':
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute('CREATE TABLE other (x)')
        return
    with runner.HistoryManager(path) as manager:
        for _ in range(200):
            save(manager, stdout='x' * 500)
    if kind == 'corrupt':
        corrupt(path)
    elif kind == 'rubbish':
        with open(path, 'wb') as file:
            file.write(b'not a database at all' * 100)
    else:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute('PRAGMA user_version = 99')


@pytest.mark.parametrize('kind, words', [('absent', 'no history yet'), ('newer', 'newer version'), ('corrupt', 'damaged'), ('foreign', 'another program'),
                                         ('rubbish', 'not an SQLite file')])
def test_an_unwell_history_is_a_sentence(tmp_path, kind, words):
    """Never a traceback: REST, /metrics, the health check and the WebSocket say what is wrong; nothing is created."""
    path = str(tmp_path / 'history.db')
    unwell(path, kind)
    served = Served(path)
    try:
        for route in ('health', 'scripts', 'executions', 'executions/1', 'running'):
            assert words in served.get('/api/' + route, 503)['error'], route
        assert served.ask('/metrics')[0] == 503 and served.ask('/')[0] == 200
        with served.live() as client:
            assert words in read(client)['error']
        with served.live('0011223344556677-1') as client:
            assert words in read(client, 'problem')['error']
        assert kind != 'absent' or not os.path.exists(path)
    finally:
        served.stop()


def test_an_empty_file_has_no_runs(tmp_path):
    """A file of 0 bytes becomes a history."""
    (tmp_path / 'history.db').write_bytes(b'')
    served = Served(tmp_path / 'history.db')
    try:
        assert served.get('/api/health')['runs'] == 0 and served.get('/api/scripts') == []
    finally:
        served.stop()


def test_a_locked_history_is_a_sentence(served, history, monkeypatch):
    """An exclusive lock of somebody else is waited for a moment, then told; when it is gone, all is well."""
    save(history)
    served.app.state.history.manager.timeout = 0.2
    history.close()
    with contextlib.closing(sqlite3.connect(history.db_path, isolation_level=None)) as other:
        other.execute('PRAGMA locking_mode = EXCLUSIVE')
        other.execute('BEGIN EXCLUSIVE')
        assert 'locked' in served.get('/api/executions', 503)['error']
        other.execute('ROLLBACK')
    assert served.get('/api/executions')['total'] == 1


def test_a_replaced_history_is_read_anew(served, history, tmp_path):
    """Another file at the same place: REST shows it, and who listens is greeted anew."""
    save(history)
    with served.live() as client:
        before = read(client, 'hello')['cursor']
        assert served.get('/api/executions')['total'] == 1
        with runner.HistoryManager(str(tmp_path / 'other.db')) as other:
            save(other)
            save(other)
        history.close()
        for suffix in ('-wal', '-shm'):
            if os.path.exists(history.db_path + suffix):
                os.unlink(history.db_path + suffix)
        os.replace(str(tmp_path / 'other.db'), history.db_path)
        assert read(client, 'hello')['cursor'] != before
        assert served.get('/api/executions')['total'] == 2


# -- live ----------------------------------------------------------------------------------------------------------

def test_hello_comes_first_and_deltas_follow(served, history):
    """At once hello with a cursor and what runs; then what is written, within a second of it."""
    with served.live() as client:
        hello = read(client)
        assert (hello['type'], hello['running'], bool(hello['cursor'])) == ('hello', [], True)
        written = time.monotonic()
        run_id = save(history)
        delta = read(client)
        assert time.monotonic() - written < PATIENCE
        assert delta['type'] == 'delta' and [run['id'] for run in delta['new']] == [run['id'] for run in delta['ended']] == [run_id]


def test_a_client_that_comes_back_misses_nothing(served, history):
    """With its cursor it gets what was written meanwhile, once, and not what it had."""
    with served.live() as client:
        read(client)
        first = save(history)
        cursor = read(client)['cursor']
    missed = [save(history) for _ in range(5)]
    with served.live(cursor) as client:
        hello = read(client)
        assert (hello['cursor'], hello['resumed']) == (cursor, True)
        seen = []
        while len(seen) < 5:
            seen += [run['id'] for run in read(client)['ended']]
        assert seen == missed and first not in seen
    for foreign in ('0011223344556677-5', 'rubbish', cursor.split('-')[0] + '-99999'):
        with served.live(foreign) as client:
            message = read(client, 'hello')
            while message.get('resumed'):
                message = read(client, 'hello')
            assert message['cursor'].split('-')[0] == cursor.split('-')[0]


def test_a_greeting_that_is_ahead_waits_for_the_rest(served, history):
    """What is written between the look at the file and the greeting is neither told twice nor waited for in a circle."""
    feed = served.app.state.feed
    real = feed._read_hello
    feed._read_hello = lambda: (save(history), save(history), real())[2]
    with served.live() as client, served.live() as other:
        read(client, 'hello')
        feed._read_hello = real
        run_id = save(history)
        assert [run['id'] for run in read(client, 'delta')['ended']] == [run_id]
        read(other, 'hello')
        assert served.get('/api/executions')['total'] == run_id


def test_many_clients_share_one_reading(served, history, monkeypatch):
    """Thirty listeners cost a few readings of the file, not thirty each."""
    counted = []
    real = runner.HistoryManager.get_changes
    monkeypatch.setattr(runner.HistoryManager, 'get_changes', lambda *words: counted.append(1) or real(*words))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(served.live()) for _ in range(30)]
        for client in clients:
            read(client, 'hello')
        run_id = save(history)
        assert [read(client)['ended'][0]['id'] for client in clients] == [run_id] * 30
    assert len(counted) <= 5
    wait_until(lambda: served.app.state.feed.clients == 0, 'the clients to be forgotten')


def test_a_client_that_does_not_read_is_dropped(served, history, monkeypatch):
    """Nothing is kept for it for ever, and the others go on."""
    feed = served.app.state.feed
    real = feed._read_step

    def read_much(at, head):
        text, cursor = real(at, head)
        return text + ' ' * 900000, cursor

    monkeypatch.setattr(feed, '_read_step', read_much)
    monkeypatch.setattr(dashboard, 'SEND_TIMEOUT_SECONDS', 0.3)
    monkeypatch.setattr(dashboard, 'POLL_SECONDS', 0.02)
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.connect(('127.0.0.1', served.port))
    with link, served.live() as other:
        link.sendall(('GET /ws/metrics HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n' % served.port).encode())
        wait_until(lambda: feed.clients == 2, 'both clients')
        read(other, 'hello')
        last = None
        while feed.clients == 2:
            last = save(history)
            assert read(other, 'delta')['ended'][-1]['id'] == last
        assert last is not None and feed.clients == 1
        last = save(history)
        assert read(other, 'delta')['ended'][-1]['id'] == last


def test_a_closed_client_is_noticed(served, history):
    """Without a write, too."""
    with served.live() as client:
        read(client)
        assert served.app.state.feed.clients == 1
        client.close()
        wait_until(lambda: served.app.state.feed.clients == 0, 'the end to be noticed')


# -- the page ------------------------------------------------------------------------------------------------------

def test_the_page_is_strict_with_itself(served):
    """Its scripts and styles are allowed by hash; it has no handler in its markup, no way to turn text into markup, no address."""
    status, headers, page = served.ask('/')
    policy = headers['Content-Security-Policy']
    assert status == 200 and 'unsafe' not in policy and "connect-src 'self'" in policy
    for tag in ('script', 'style'):
        text, = re.findall('<%s>(.*?)</%s>' % (tag, tag), page, re.S)
        assert "'sha256-%s'" % base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert not re.search(r'innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc|javascript:', page)
    assert not re.search(r'<[^>]+\son\w+\s*=', page) and not re.search(r'<[^>]+\sstyle\s*=', page.split('<script>')[0])
    assert set(re.findall(r'https?://[^\s"\'`<>$]+', page)) <= {'http://www.w3.org/2000/svg'}


def test_the_verb_serves_from_any_folder(place, tmp_path, history):
    """Also from one with its own `dashboard` and `fastapi`; it says where, and ends at SIGTERM."""
    (tmp_path / 'own' / 'dashboard').mkdir(parents=True)
    for name in ('dashboard/__init__.py', 'dashboard/app.py', 'fastapi.py', 'app.py'):
        (tmp_path / 'own' / name).write_text('raise SystemExit("the wrong one")')
    save(history)
    process = place('dashboard', '--port', 0, cwd=str(tmp_path / 'own'))
    lines = [process.stderr.readline().decode() for _ in range(2)]
    port = int(re.search(r'http://127\.0\.0\.1:(\d+)/', lines[1]).group(1))
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request('GET', '/api/health')
        assert json.loads(connection.getresponse().read())['runs'] == 1
    second = place('dashboard', '--port', port)
    assert second.wait(PATIENCE) == 2 and b'choose another with --port' in second.stderr.read()
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) in (0, -signal.SIGTERM, 143)


def test_without_the_extra_the_verb_says_what_to_install(tmp_path):
    """Exit status 2 and the command."""
    for name in ('fastapi', 'uvicorn', 'websockets'):
        code = 'import sys; sys.modules[%r] = None; import runner; sys.exit(runner.main(["dashboard"]))' % name
        done = subprocess.run([sys.executable, '-c', code], stderr=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=dashboard.HOME),
                              cwd=str(tmp_path), timeout=PATIENCE)
        assert done.returncode == 2 and name.encode() in done.stderr and b'pip install' in done.stderr


def test_importing_runner_imports_no_server(tmp_path):
    """fastapi and uvicorn are loaded by the verb alone."""
    code = 'import sys, runner; runner.HistoryManager("x.db").get_overview(); sys.exit(bool({"fastapi", "uvicorn"} & set(sys.modules)))'
    assert subprocess.run([sys.executable, '-c', code], env=dict(os.environ, PYTHONPATH=dashboard.HOME), cwd=str(tmp_path)).returncode == 0


# -- in a browser ----------------------------------------------------------------------------------------------------

@pytest.fixture
def browser():
    """A headless Chromium."""
    playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed: pip install playwright')
    path = next((found for found in map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome')) if found), None)
    if path is None:
        pytest.skip('no Chromium found: apt-get install chromium')
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=path, args=['--no-sandbox'])
        yield found
        found.close()


def visit(page, served, route):
    """Go to a route and wait until it is drawn."""
    page.goto('http://127.0.0.1:%d/%s' % (served.port, route))
    page.wait_for_selector('main[data-ready="%s"]' % route.replace('"', '\\"'))
    assert not page.query_selector('[data-failed]'), page.inner_text('main')


def test_the_pages_in_a_browser(browser, served, history, place, tmp_path):
    """A run appears while it runs, grows, ends and is listed; every page is drawn; the console is silent; nobody else is asked."""
    for number in range(30):
        save(history, int(number == 20), path=HOSTILE, stdout='<b>bold</b>', metrics={'execution_time_seconds': 5.0 + number % 3},
             labels={'<i>': '</script>'}, error_summary='<u>no</u>' if number == 20 else None)
    (tmp_path / 'busy.py').write_text('import time\nend = time.time() + 2.5\nwhile time.time() < end: pass\n')
    page = browser.new_page(viewport={'width': 1200, 'height': 800})
    trouble, asked = [], set()
    page.on('console', lambda message: trouble.append(message.text) if message.type in ('error', 'warning') else None)
    page.on('pageerror', lambda error: trouble.append(str(error)))
    page.on('request', lambda request: asked.add(request.url.split('/')[2]) if request.url.startswith('http') else None)
    page.on('dialog', lambda dialog: trouble.append('dialog'))
    page.set_default_timeout(PATIENCE * 1000)
    visit(page, served, '#/')
    assert HOSTILE.rsplit('/', 1)[1] in page.inner_text('main')
    process = place('--quiet', 'busy.py')
    page.wait_for_selector('.card:has-text("busy.py") polyline')
    points = page.get_attribute('.card polyline', 'points')
    page.wait_for_function('was => document.querySelector(".card polyline")?.getAttribute("points") !== was', arg=points)
    assert process.wait(PATIENCE) == 0
    page.wait_for_function('() => !document.querySelector(".card")')
    page.keyboard.press('g')
    page.keyboard.press('r')
    page.wait_for_selector('tr:has-text("busy.py") [data-status=success]')
    page.keyboard.press('j')
    page.keyboard.press('Enter')
    page.wait_for_selector('main[data-ready^="#/run/"] .chart svg')
    assert 'execution_time_seconds' in page.inner_text('main')
    page.go_back()
    page.wait_for_selector('main[data-ready="#/runs"]')
    for route in ('#/runs?status=failed', '#/run/21', '#/trends', '#/trends?script=' + quote(HOSTILE, safe=''), '#/alerts', '#/'):
        visit(page, served, route)
    visit(page, served, '#/run/21')
    assert '<b>bold</b>' in page.inner_text('main') and '<u>no</u>' in page.inner_text('main')
    assert page.evaluate('document.querySelectorAll("main img, main b > b, main u, main i").length') == 0
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    assert trouble == [] and asked == {'127.0.0.1:%d' % served.port}
    page.close()


def test_a_report_in_a_browser(browser, history, tmp_path):
    """The file opens without a server, says nothing on the console and asks nobody."""
    run_id = save(history, 1, path=HOSTILE, stdout='</script><img src=x onerror=alert(1)>')
    with open(dashboard.PAGE, encoding='utf-8') as file:
        text = runner.report_page(file.read(), runner.describe_run(history, history.get_execution(run_id)))
    (tmp_path / 'run.html').write_text(text, encoding='utf-8')
    page = browser.new_page()
    trouble, asked = [], []
    page.on('console', lambda message: trouble.append(message.text))
    page.on('pageerror', lambda error: trouble.append(str(error)))
    page.on('request', lambda request: asked.append(request.url))
    page.goto('file://%s' % (tmp_path / 'run.html'))
    page.wait_for_selector('main[data-ready=report]')
    assert '</script><img src=x onerror=alert(1)>' in page.inner_text('main')
    assert trouble == [] and [url for url in asked if not url.startswith(('file:', 'data:'))] == []
    page.close()
