"""The dashboard's server: REST, a live WebSocket and Prometheus text over the history that runner.py writes.

    python -m runner dashboard                                  # from any folder
    cd dashboard/backend && python -m uvicorn app:app --port 8000

It holds no SQL and no statistics: everything is asked of runner's public API. What it adds is who may ask (Guard),
what is sent while runs go on (Feed), and in which form (the routes of `create_app`).
"""
import asyncio
import base64
import csv
import hashlib
import hmac
import importlib.util
import io
import ipaddress
import json
import os
import re
import socket
import sqlite3
import sys
import threading
import time
from typing import Any, Optional
from urllib.parse import urlsplit

from fastapi import Body, Depends, FastAPI, HTTPException, Path, Query, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

HERE = os.path.dirname(os.path.abspath(__file__))
HOME = os.path.dirname(os.path.dirname(HERE))
PAGE = os.path.join(os.path.dirname(HERE), 'frontend', 'index.html')


def _import_runner():
    """Return the runner module that this file belongs to: two folders up, in a checkout as where it is installed."""
    if 'runner' not in sys.modules:
        found = importlib.util.find_spec('runner')
        own = os.path.join(HOME, 'runner.py')
        if os.path.exists(own) and (found is None or os.path.realpath(found.origin or '') != os.path.realpath(own)):
            sys.path.insert(0, HOME)
            try:
                return importlib.import_module('runner')
            finally:
                sys.path.remove(HOME)
    return importlib.import_module('runner')


runner = _import_runner()

#: How long an answer that is costly to compute is given again.
CACHE_TTL_SECONDS = 2
CACHE_ENTRIES = 256
#: How often the file is asked whether somebody wrote.
POLL_SECONDS = 0.25
#: How long until what could not be read is tried again, when nobody has written meanwhile.
RETRY_SECONDS = 2.0
#: A client that does not take a message within this time is dropped.
SEND_TIMEOUT_SECONDS = 5.0
MAX_CLIENTS = 1000
#: How long a locked file is waited for.
LOCK_TIMEOUT_SECONDS = 2.0
#: How often runs are looked through for those whose runner died.
TIDY_SECONDS = 30.0
MAX_PER_PAGE = 500
MAX_EXPORT = 10000
#: Scripts that /metrics names; a label per script must not grow without end.
MAX_SCRIPTS_IN_METRICS = 200
#: Runs that one chart of a trend holds, and scripts that are searched for odd runs when none is named.
MAX_POINTS = 2000
MAX_SCRIPTS_FOR_ANOMALIES = 20
LARGEST_ID = 2 ** 63 - 1
LOOPBACK_NAMES = ('127.0.0.1', 'localhost', '::1')
SUBPROTOCOL = 'script-runner'
TOKEN_SUBPROTOCOL = 'bearer.'


# -- the file -------------------------------------------------------------------------------------------------

class History(object):
    """The history that is shown. It may be absent, replaced or unwell at any moment, which is a HistoryError each time."""

    def __init__(self, db_path=None):
        self.manager = runner.HistoryManager(db_path, timeout=LOCK_TIMEOUT_SECONDS)
        self._tidied = 0.0
        self._lock = threading.Lock()
        self._answers = {}

    def open(self):
        """Return the manager; raises HistoryError when there is no file, and never makes one."""
        if not os.path.exists(self.manager.db_path):
            self.manager.refresh()
            raise runner.HistoryError('%s: no history yet; run a script with python -m runner job.py' % self.manager.db_path)
        if self.manager.refresh():
            self._answers.clear()
        self._tidy()
        return self.manager

    def _tidy(self):
        """As the history verb: a run whose runner was killed must not seem to run for ever."""
        now = time.monotonic()
        if now - self._tidied < TIDY_SECONDS or not os.access(self.manager.db_path, os.W_OK):
            return
        self._tidied = now
        try:
            self.manager.tidy()
        except (runner.RunnerError, sqlite3.Error):
            pass                                   # what is asked for now will meet the same trouble, and tell it

    def cached(self, key, compute):
        """Return compute(manager), or its answer of at most CACHE_TTL_SECONDS ago; a key is computed by one thread at a time."""
        manager = self.open()
        with self._lock:
            entry = self._answers.get(key)
            if entry is None:
                while len(self._answers) >= CACHE_ENTRIES:
                    self._answers.pop(next(iter(self._answers)))
                entry = self._answers[key] = [threading.Lock(), None, None]
        with entry[0]:
            if entry[1] is None or time.monotonic() - entry[1] > CACHE_TTL_SECONDS:
                entry[2] = compute(manager)
                entry[1] = time.monotonic()
            return entry[2]

    def known_script(self, script):
        """Return a script's path when runs of it are recorded; raises UsageError else. Nothing a client says becomes a path."""
        known = self.open().get_scripts()
        if script in known:
            return script
        same_name = [path for path in known if path.rsplit('/', 1)[-1] == script]
        if len(same_name) == 1:
            return same_name[0]
        raise NotFound('%s: no run of it in the history; GET /api/scripts lists those there are' % script[:200])

    def run(self, run_id):
        """Return a run in full; raises NotFound."""
        run = self.open().get_execution(run_id)
        if run is None:
            raise NotFound('run %d: there is none; it may have been pruned' % run_id)
        return run


class NotFound(runner.RunnerError):
    """What was asked for is not in the history."""


def error_body(text):
    """Split one of runner's sentences, `what: is wrong; what would be right`, into error and hint."""
    error, semicolon, hint = text.rpartition('; ')
    return {'error': error if semicolon else text, 'hint': hint if semicolon else ''}


# -- who may ask ----------------------------------------------------------------------------------------------

def is_loopback(name):
    """Tell whether an address is only reachable from this machine; None, a socket file, is."""
    if name is None or name == 'localhost':
        return True
    try:
        address = ipaddress.ip_address(name.split('%')[0])
    except ValueError:
        return False
    return (getattr(address, 'ipv4_mapped', None) or address).is_loopback


def host_name(header):
    """Return the host of a Host header without its port, '' when it is none.

    >>> host_name('[::1]:8000'), host_name('LOCALHOST:1'), host_name('a b')
    ('::1', 'localhost', '')
    """
    match = re.match(r'(?:\[([0-9a-f:.%]+)\]|([a-z0-9._-]+))(?::\d+)?$', header.lower())
    return (match.group(1) or match.group(2)) if match else ''


def origin_host(origin):
    """Return host and port of an Origin header, None when it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


class Guard(object):
    """Stands before every route: Host and Origin, the token where one is needed, and the headers of every answer."""

    def __init__(self, app, policy, hosts, token):
        self.app, self.token = app, token
        self.hosts = set(LOOPBACK_NAMES) | {host.lower() for host in hosts}
        self.headers = [(name.encode(), value.encode()) for name, value in (
            ('Content-Security-Policy', policy), ('X-Content-Type-Options', 'nosniff'), ('X-Frame-Options', 'DENY'),
            ('Referrer-Policy', 'no-referrer'), ('Cross-Origin-Resource-Policy', 'same-origin'), ('Cache-Control', 'no-store'))]

    async def __call__(self, scope, receive, send):
        if scope['type'] not in ('http', 'websocket'):
            await self.app(scope, receive, send)
            return
        headers = {name.decode('latin-1').lower(): value.decode('latin-1') for name, value in scope['headers']}
        refusal = self.judge(scope, headers)
        if refusal is not None:
            await self.refuse(scope, receive, send, *refusal)
            return

        async def send_with_headers(message):
            if message['type'] == 'http.response.start':
                message = dict(message, headers=list(message.get('headers', ())) + self.headers)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope['type'] == 'http' else send)

    def judge(self, scope, headers):
        """Return None, or (status, sentence) of why this request is refused."""
        here = (scope.get('server') or (None,))[0]
        if here is not None and here.startswith('::ffff:'):        # IPv4 on a socket for both
            here = here[len('::ffff:'):]
        host = host_name(headers.get('host', ''))
        if host not in self.hosts and host != here:
            return 421, ('%r: not a name of this dashboard (a page elsewhere may try to read it); use the address that it '
                         'printed, or bind that name with --host' % headers.get('host', '')[:100])
        origin = headers.get('origin')
        if origin is not None and origin_host(origin) != headers['host'].lower():
            return 403, 'origin %r: another site may not read this dashboard; open it at its own address' % origin[:100]
        is_page = scope['path'] == '/' and scope['type'] == 'http'
        if headers.get('sec-fetch-site') in ('cross-site', 'same-site') and not is_page:
            return 403, 'a request from another site: it may not read this dashboard; open it at its own address'
        if not is_page and not is_loopback(here) and not has_token(headers, self.token):
            return 401, ('a token is needed from outside this machine; send Authorization: Bearer TOKEN, or open the address '
                         'that the dashboard printed')
        return None

    async def refuse(self, scope, receive, send, status, sentence):
        """Answer with an error; a WebSocket is closed before it is accepted, which its client sees as HTTP 403."""
        if scope['type'] == 'websocket':
            await receive()
            await send({'type': 'websocket.close', 'code': 1008, 'reason': sentence[:120]})
            return
        more = {'WWW-Authenticate': 'Bearer'} if status == 401 else {}
        response = Answer(error_body(sentence), status, headers=more)
        response.raw_headers.extend(self.headers)
        await response(scope, receive, send)


def has_token(headers, token):
    """Tell whether a request carries the token: Authorization, or for a browser's WebSocket a subprotocol."""
    if not token:
        return False
    given = []
    scheme, _, value = headers.get('authorization', '').partition(' ')
    if scheme.lower() == 'bearer':
        given.append(value.strip().encode('latin-1'))
    for word in headers.get('sec-websocket-protocol', '').split(','):
        word = word.strip()
        if word.startswith(TOKEN_SUBPROTOCOL):
            word = word[len(TOKEN_SUBPROTOCOL):]
            try:
                given.append(base64.urlsafe_b64decode(word + '=' * (-len(word) % 4)))
            except ValueError:
                continue
    return any(hmac.compare_digest(value, token.encode('utf-8')) for value in given)


def content_security_policy(page):
    """Return the policy for our page: only its own scripts and styles, by hash, and only this server to talk to."""
    hashes = {tag: ["'sha256-%s'" % base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode()
                    for text in re.findall(r'<%s>(.*?)</%s>' % (tag, tag), page, re.S)] for tag in ('script', 'style')}
    return ("default-src 'none'; script-src %s; style-src %s; connect-src 'self'; img-src data:; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'" % (' '.join(hashes['script']), ' '.join(hashes['style'])))


# -- what is sent while runs go on ----------------------------------------------------------------------------

class Feed(object):
    """Follows the history for every client at once.

    One task asks the file for its newest cursor; each client walks from its own cursor to that one, at its own pace, so
    nothing is kept for a slow one: its next step is merely longer. Steps that many clients take are read once.
    """

    def __init__(self, history):
        self.history = history
        self.clients = 0
        self.head = None
        self.problem = None
        self._moved = None
        self._task = None
        self._steps = {}

    async def serve(self, send, cursor):
        """Send hello and then every delta, for ever; `send` takes a text. Raises what send raises."""
        self.clients += 1
        try:
            if self._task is None or self._task.done():
                self._moved = asyncio.Event()
                await self._look()
                self._task = asyncio.ensure_future(self._follow())
            await self._walk(send, cursor)
        finally:
            self.clients -= 1

    async def _follow(self):
        while self.clients:
            await asyncio.sleep(POLL_SECONDS)
            await self._look()

    async def _look(self):
        """Find out how far the file has come; wakes the clients when it has, and when trouble comes or goes."""
        try:
            found = await asyncio.to_thread(lambda: self.history.open().get_change_cursor()), None
        except (runner.RunnerError, sqlite3.Error, OSError) as error:
            found = self.head, error_body(str(error))
        if found != (self.head, self.problem):
            self.head, self.problem = found
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()

    async def _walk(self, send, at):
        """Send until the client is gone: hello, then what is new, and what is wrong while something is."""
        told, greeted = None, False
        while True:
            moved, problem, wait = self._moved, self.problem, None
            if problem is None:
                try:
                    at, greeted = await (self._step(send, at) if greeted else self._greet(send, at))
                    told = None
                except (runner.RunnerError, sqlite3.Error, OSError) as error:
                    problem, wait = error_body(str(error)), RETRY_SECONDS
            if problem is not None:
                greeted = False                    # when all is well again, hello says so
                if problem != told:
                    told = problem
                    await send(compact(dict(problem, type='problem')))
            elif not greeted or self._is_behind(at):
                continue
            try:
                await asyncio.wait_for(moved.wait(), wait)
            except (asyncio.TimeoutError, TimeoutError):
                pass

    async def _greet(self, send, at):
        """Send hello; returns as `_step`: a client goes on at its own cursor if it came with one, else at that of hello."""
        rest, cursor = await self._shared(('hello', self.head), self._read_hello)
        start = at if at is not None else cursor
        await send(compact({'type': 'hello', 'cursor': start, 'resumed': at is not None})[:-1] + rest)
        return (cursor, True) if at is None else await self._step(send, at)

    def _is_behind(self, at):
        """Tell whether the head is further than a cursor; that of a hello may be further than the head, which follows."""
        identity, _, revision = at.rpartition('-')
        head_identity, _, head_revision = self.head.rpartition('-')
        return identity != head_identity or int(revision) < int(head_revision)

    async def _step(self, send, at):
        """Send what lies between a client's cursor and the head, or its first part.

        Returns (the new cursor, True), or (None, False) when it has to be greeted anew: its cursor is of another file, too
        old, or none at all.
        """
        head = self.head
        try:
            text, cursor = await self._shared((at, head), lambda: self._read_step(at, head))
        except runner.UsageError:
            return None, False
        if text:
            await send(text)
        return cursor, cursor is not None

    async def _shared(self, key, read):
        """Return what `read` gives, in a thread; clients that ask for the same at once or later get the same."""
        if key not in self._steps:
            while len(self._steps) >= 32:
                self._steps.pop(next(iter(self._steps)))
            self._steps[key] = asyncio.ensure_future(asyncio.to_thread(read))
        try:
            return await asyncio.shield(self._steps[key])
        except Exception:
            self._steps.pop(key, None)             # a border: what failed once is read anew
            raise

    def _read_hello(self):
        state = self.history.open().get_live_state()
        rest = {'running': state['running'], 'sample_fields': runner.SAMPLE_FIELDS}
        return ',' + compact(rest)[1:], state['cursor']

    def _read_step(self, at, head):
        changes = self.history.open().get_changes(at, head)
        if changes['reset']:
            return '', None
        kinds = ('new', 'samples', 'ended', 'changed')
        text = compact(dict({kind: changes[kind] for kind in kinds}, type='delta', cursor=changes['cursor']))
        return text if any(changes[kind] for kind in kinds) else '', changes['cursor']


def compact(value):
    """Return JSON without spaces; numbers that JSON has no word for are null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(',', ':'))
    except ValueError:
        return compact(json.loads(runner.to_json(value)))


# -- in which form --------------------------------------------------------------------------------------------

class Answer(JSONResponse):
    """JSON; text that UTF-8 cannot hold is replaced, since a script may write anything."""

    def render(self, content):
        return compact(content).encode('utf-8', 'replace')


class Error(BaseModel):
    """What went wrong, and what would be right."""
    error: str
    hint: str


ERRORS = {status: {'model': Error} for status in (400, 401, 403, 404, 421, 422, 503)}


def csv_text(rows, header=False):
    """Return runs in brief as CSV; a text that a spreadsheet would take for a formula gets an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    if header:
        writer.writerow(runner.SUMMARY_FIELDS)
    for row in rows:
        cells = []
        for name in runner.SUMMARY_FIELDS:
            value = row[name]
            if isinstance(value, (list, dict)):
                value = json.dumps(value, ensure_ascii=False)
            if isinstance(value, str) and value[:1] in ('=', '+', '-', '@', '\t', '\r'):
                value = "'" + value
            cells.append(value)
        writer.writerow(cells)
    return out.getvalue().encode('utf-8', 'replace')


def _label_value(text):
    return str(text).replace('\\', '\\\\').replace('"', '\\"').replace('\n', '\\n').encode('utf-8', 'replace').decode()


def prometheus_text(stats, overview, newest):
    """Return the exposition text: gauges in base units, one label, at most MAX_SCRIPTS_IN_METRICS scripts."""
    lines = []

    def gauge(name, meaning, values):
        lines.append('# HELP script_runner_%s %s' % (name, meaning))
        lines.append('# TYPE script_runner_%s gauge' % name)
        for label, value in values:
            if value is not None:
                lines.append('script_runner_%s%s %s' % (name, '{%s="%s"}' % (label[0], _label_value(label[1])) if label else '',
                                                        repr(float(value))))

    gauge('history_up', 'Whether the history can be read.', [(None, 1)])
    gauge('history_size_bytes', 'Size of the history file.', [(None, stats['size_bytes'])])
    gauge('runs', 'Runs in the history by status.', [(('status', s), stats['by_status'].get(s, 0)) for s in runner.STATUSES])
    gauge('scripts', 'Scripts in the history.', [(None, stats['scripts'])])
    gauge('scripts_without_series', 'Scripts that have no series of their own here, since there are too many.',
          [(None, len(overview) - len(newest))])
    ended = [(row['script_path'], run) for row, run in newest if run is not None]
    gauge('last_run_duration_seconds', 'Duration of the last run that ended.',
          [(('script', script), run['execution_time_seconds']) for script, run in ended])
    gauge('last_run_start_timestamp_seconds', 'When the last run that ended was started.',
          [(('script', script), timestamp(run['start_time'])) for script, run in ended])
    gauge('last_run_success', 'Whether the last run that ended succeeded.',
          [(('script', script), run['status'] == 'success') for script, run in ended])
    gauge('script_runs', 'Runs of a script in the history.', [(('script', row['script_path']), row['runs']) for row, _ in newest])
    gauge('script_succeeded_runs', 'Successful runs of a script in the history.',
          [(('script', row['script_path']), row['succeeded']) for row, _ in newest])
    return '\n'.join(lines) + '\n'


def timestamp(text):
    """Return an ISO time of ours as seconds since 1970."""
    import datetime
    return datetime.datetime.fromisoformat(text).timestamp()


def read_page():
    """Return the page; it lies beside this file, in a checkout as in the wheel."""
    with open(PAGE, encoding='utf-8') as file:
        return file.read()


def read_label(text):
    """Read the filter KEY=VALUE."""
    if text is None:
        return None
    key, equals, value = text.partition('=')
    if not equals or not key:
        raise runner.UsageError('label %r: not a KEY=VALUE; write for example label=team=data' % text[:100])
    return key, value


class Filter(object):
    """The query parameters that choose runs, the same for the list and its export."""

    def __init__(
            self,
            script: Optional[str] = Query(None, max_length=4096, description='path, or its last part where that is unique'),
            status: Optional[str] = Query(None, description='one of %s' % ', '.join(runner.STATUSES)),
            label: Optional[str] = Query(None, max_length=1000, description='KEY=VALUE'),
            host: Optional[str] = Query(None, max_length=255),
            since: Optional[str] = Query(None, max_length=40, description='ISO time of the start, or an age: 7d, 12h'),
            until: Optional[str] = Query(None, max_length=40, description='ISO time or age'),
            where: Optional[str] = Query(None, max_length=1000, description="a condition: cpu_max > 85 AND status != 'success'")):
        self.given = {'script_path': script, 'status': status, 'label': label, 'hostname': host, 'since': since, 'until': until,
                      'where': where}

    def find(self, history, page, per_page):
        """Return a page of runs in brief."""
        given = dict(self.given, label=read_label(self.given['label']))
        if given['status'] is not None and given['status'] not in runner.STATUSES:
            raise runner.UsageError('status %r: not one of a run; valid: %s' % (given['status'][:50], ', '.join(runner.STATUSES)))
        if given['script_path'] is not None:
            given['script_path'] = history.known_script(given['script_path'])
        for name in ('since', 'until'):
            if given[name] is not None:
                given[name] = read_time(name, given[name])
        return history.open().find_runs(page, per_page, **given)


def read_time(name, text):
    """Return an ISO time from one, or from an age such as 7d."""
    import datetime
    try:
        when = datetime.datetime.fromisoformat(text.strip().replace('Z', '+00:00').replace(' ', '+'))
        if when.tzinfo is None:
            when = when.astimezone()
        return runner.format_time(when.timestamp())
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return runner.format_time(time.time() - runner.parse_duration(text))
    except (runner.RunnerError, ValueError, OverflowError, OSError):
        raise runner.UsageError('%s %r: not a time; write 2026-01-31, 2026-01-31T12:00 or an age: 7d, 12h' % (name, text[:40]))


CHOSEN = Depends(Filter)
RunId = Path(ge=1, le=LARGEST_ID, description='the number of a run')


def create_app(db_path=None, host='127.0.0.1', token=None, allow_actions=False):
    """Return the ASGI application for one history.

    `token` is what requests from outside this machine, and actions, must carry; None: the environment's
    SCRIPT_RUNNER_DASHBOARD_TOKEN, and where that is unset nobody can.
    """
    token = token or os.environ.get('SCRIPT_RUNNER_DASHBOARD_TOKEN') or None
    history = History(db_path)
    feed = Feed(history)
    page = read_page()
    app = FastAPI(title='python-script-runner', version=runner.__version__, docs_url=None, redoc_url=None,
                  default_response_class=Answer, responses=ERRORS,
                  description='Runs, their metrics, trends and alerts. Every error is {"error", "hint"}.')
    app.state.history, app.state.feed, app.state.token = history, feed, token
    _add_error_handlers(app)
    _add_page(app, page)
    _add_reading(app, history, allow_actions)
    _add_alerts(app, history)
    _add_metrics(app, history)
    _add_actions(app, history, token, allow_actions)
    _add_live(app, feed)
    app.add_middleware(Guard, policy=content_security_policy(page), hosts=[host], token=token)
    return app


def _add_error_handlers(app):
    def answer(status, text):
        return Answer(error_body(text), status)

    @app.exception_handler(StarletteHTTPException)
    async def on_http(request, error):
        if error.status_code == 404 and error.detail == 'Not Found':
            return answer(404, '%s: nothing is served there; /openapi.json lists what is' % request.url.path[:200])
        if isinstance(error.detail, str):
            return Answer(error_body(error.detail), error.status_code, headers=getattr(error, 'headers', None))
        return Answer(error.detail, error.status_code)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request, error):
        first = error.errors()[0]
        where = '.'.join(str(part) for part in first['loc'][1:]) or str(first['loc'][0])
        return answer(422, '%s: %s; /openapi.json says what is valid' % (where, first['msg']))

    @app.exception_handler(NotFound)
    async def on_missing(request, error):
        return answer(404, str(error))

    @app.exception_handler(runner.UsageError)
    async def on_usage(request, error):
        return answer(400, str(error))

    @app.exception_handler(runner.RunnerError)
    async def on_runner(request, error):
        return answer(503, str(error))

    @app.exception_handler(sqlite3.Error)
    async def on_sqlite(request, error):
        return answer(503, 'the history cannot be read (%s); python -m runner doctor examines it' % error)

    @app.exception_handler(Exception)
    async def on_bug(request, error):
        return answer(500, 'the dashboard failed (%s); its log on stderr says where' % type(error).__name__)


def _add_page(app, page):
    @app.get('/', include_in_schema=False)
    def show_page():
        return Response(page, media_type='text/html; charset=utf-8')


def _add_reading(app, history, allow_actions):
    @app.get('/api/health', tags=['state'], summary='Whether the history can be read')
    def health():
        stats = history.cached('stats', lambda manager: manager.get_database_stats())
        return dict(stats, ok=True, version=runner.__version__, actions=allow_actions)

    @app.get('/api/stats', tags=['state'], summary='Counts, size and times of the history')
    def stats():
        return dict(history.cached('stats', lambda manager: manager.get_database_stats()),
                    hostnames=history.open().get_hostnames())

    @app.get('/api/scripts', tags=['runs'], summary='Every script: its last runs, counts, and what is odd about the last')
    def scripts():
        return history.cached('overview', lambda manager: [dict(row, oddity=oddity_of(row)) for row in manager.get_overview()])

    @app.get('/api/running', tags=['runs'], summary='What runs now, with its last samples, and the cursor for /ws/metrics')
    def running():
        return dict(history.open().get_live_state(), sample_fields=runner.SAMPLE_FIELDS)

    @app.get('/api/executions', tags=['runs'], summary='Runs in brief, newest first')
    def executions(chosen: Filter = CHOSEN, page: int = Query(1, ge=1, le=10 ** 6),
                   per_page: int = Query(50, ge=1, le=MAX_PER_PAGE)):
        return chosen.find(history, page, per_page)

    @app.get('/api/executions/export', tags=['runs'], summary='The same runs as a file, at most %d' % MAX_EXPORT,
             response_class=StreamingResponse)
    def export(chosen: Filter = CHOSEN, format: str = Query('csv', pattern='^(csv|json)$')):
        if chosen.given['until'] is None:                  # what starts meanwhile would move the pages, and runs stand twice
            chosen.given['until'] = runner.format_time(time.time())
        first = chosen.find(history, 1, MAX_PER_PAGE)      # what is wrong is told before the file begins
        pages = _export_pages(chosen, history, first)
        parts = (csv_text(runs, number == 0) for number, runs in enumerate(pages)) if format == 'csv' else _json_parts(pages)
        return StreamingResponse(parts, media_type='text/csv; charset=utf-8' if format == 'csv' else 'application/json',
                                 headers={'Content-Disposition': 'attachment; filename="runs.%s"' % format})

    @app.get('/api/executions/{run_id}', tags=['runs'], summary='One run in full, with its attempts and artefacts')
    def execution(run_id: int = RunId):
        return runner.describe_run(history.open(), history.run(run_id))['run']

    @app.get('/api/executions/{run_id}/samples', tags=['runs'], summary='The samples of a run, in order of time')
    def samples(run_id: int = RunId):
        history.run(run_id)
        rows = history.open().get_samples(run_id)
        return {'fields': runner.SAMPLE_FIELDS, 'rows': [[row[name] for name in runner.SAMPLE_FIELDS] for row in rows]}

    @app.get('/api/executions/{run_id}/output', tags=['runs'], summary='The end of what a run wrote')
    def output(run_id: int = RunId):
        run = history.run(run_id)
        return {'stdout': run['stdout_tail'], 'stderr': run['stderr_tail']}

    @app.get('/api/metrics', tags=['metrics'], summary='Every metric: unit, which way is better, source, meaning')
    def metrics():
        return runner.describe_metrics()


    @app.get('/api/trends', tags=['judged'], summary='A metric of a script across runs: what is usual, odd, changed, and next')
    def trends(script: str = Query(max_length=4096), metric: str = Query('execution_time_seconds', max_length=200),
               days: float = Query(30, gt=0, le=36500)):
        script, name = history.known_script(script), known_metric(metric)
        return history.cached(('trend', script, name, days), lambda manager: describe_trend(manager, script, name, days))

    @app.get('/api/anomalies', tags=['judged'], summary='Odd runs of a script, or of the scripts that ran last')
    def anomalies(script: Optional[str] = Query(None, max_length=4096), days: float = Query(30, gt=0, le=36500)):
        scripts = [history.known_script(script)] if script is not None else [
            row['script_path'] for row in history.open().get_overview(1)[:MAX_SCRIPTS_FOR_ANOMALIES]]
        found = [record for path in scripts for record in history.cached(
            ('odd', path, days), lambda manager, path=path: runner.find_odd_runs(manager, path, days))]
        return sorted(found, key=lambda record: -record['run_id'])

    @app.get('/api/compare', tags=['judged'], summary='The metrics of a run beside those of another')
    def compare(run: int = Query(ge=1, le=LARGEST_ID), reference: int = Query(ge=1, le=LARGEST_ID)):
        return history.cached(('compare', reference, run), lambda manager: runner.compare_runs(
            manager, history.run(reference), history.run(run)))


def _add_alerts(app, history):
    @app.get('/api/alerts', tags=['judged'], summary='What rules said, newest first, and the silences that hold')
    def alerts(limit: int = Query(200, ge=1, le=MAX_PER_PAGE)):
        manager = history.open()
        return {'alerts': runner.read_alerts(manager, limit=limit), 'silences': runner.AlertIntelligence(manager).get_silences()}


def known_metric(name):
    """Return the name of a metric with numbers; one that is in no registry is one that scripts reported themselves."""
    if name in runner.METRICS and runner.METRICS[name].unit == 'UTC':
        raise runner.UsageError('metric %r: a time, not a number; GET /api/metrics lists those there are' % name)
    return name


def describe_trend(manager, script, name, days):
    """Return what analyze_metric_history found, for a chart of at most MAX_POINTS runs: the newest."""
    metric = runner.metric_of(name)
    found = runner.TrendAnalyzer().analyze_metric_history(manager, script, name, days, metric.better)
    sentences = runner.trend_sentences(found)
    runs = found['runs']
    level = found['change_points'][-1]['index'] if found['change_points'] else 0
    usual = runner.BaselineCalculator().calculate(
        [dict(run, id=run['run_id'], status='success') for run in runs[level:]], name)
    forecast = runner.ResourceForecaster().forecast([run['value'] for run in runs[level:]], 10)
    first = max(0, len(runs) - MAX_POINTS)
    for kind in ('anomalies', 'change_points'):
        found[kind] = [dict(record, index=record['index'] - first) for record in found[kind] if record['index'] >= first]
    return dict(found, runs=runs[first:], omitted=first, unit=metric.unit, better=metric.better, sentences=sentences,
                usual={'low': usual['low'], 'high': usual['high'], 'median': usual['median'], 'since': max(0, level - first)},
                forecast=forecast)


def oddity_of(row):
    """Say in a few words what is worth a look about the last runs of a script; None when nothing is."""
    ended = [run for run in row['recent'] if run['status'] != 'running']
    failed = 0
    while failed < len(ended) and ended[-1 - failed]['status'] != 'success':
        failed += 1
    if failed > 1:
        return '%d in a row without success' % failed
    good = [run for run in ended if run['status'] == 'success' and run['execution_time_seconds'] is not None]
    values = [run['execution_time_seconds'] for run in good]
    odd = runner.TrendAnalyzer().detect_anomalies(values, 'mad')
    if not failed and odd and odd[-1]['index'] == len(values) - 1:
        usual = runner.TrendAnalyzer().calculate_percentiles(values[:-1], (50,))['p50']
        return 'took %s, usually %s' % tuple(runner.brief_value('execution_time_seconds', v) for v in (values[-1], usual))
    steps = runner.TrendAnalyzer().detect_change_points(values)
    if steps:
        return '%s since run %d' % (runner.percent_text(steps[-1]['change_pct']), good[steps[-1]['index']]['id'])
    return None


def _export_pages(chosen, history, first):
    found, number, count = first, 1, 0
    while found['executions']:
        yield found['executions'][:MAX_EXPORT - count]
        count += len(found['executions'])
        number += 1
        if number > found['pages'] or count >= MAX_EXPORT:
            return
        found = chosen.find(history, number, MAX_PER_PAGE)


def _json_parts(pages):
    separator = b'['
    for runs in pages:
        for run in runs:
            yield separator + compact(run).encode('utf-8', 'replace')
            separator = b',\n'
    yield b'[]' if separator == b'[' else b']\n'


def _add_metrics(app, history):
    def compute(manager):
        overview = manager.get_overview(2)
        newest = [(row, next((run for run in reversed(row['recent']) if run['status'] != 'running'), None))
                  for row in overview[:MAX_SCRIPTS_IN_METRICS]]
        return prometheus_text(manager.get_database_stats(), overview, newest)

    @app.get('/metrics', tags=['metrics'], summary='For Prometheus', response_class=PlainTextResponse)
    def exposition():
        return PlainTextResponse(history.cached('metrics', compute), media_type='text/plain; version=0.0.4; charset=utf-8')


def _add_actions(app, history, token, allow_actions):
    def check(request):
        """Raise unless actions are on and the request has the token and a header that no other site can have a browser send."""
        if not allow_actions:
            raise HTTPException(403, 'actions are off; start the dashboard with --allow-actions')
        if not has_token(request.headers, token):
            raise HTTPException(401, 'an action needs the token; send Authorization: Bearer TOKEN, as printed at the start',
                                {'WWW-Authenticate': 'Bearer'})
        if request.headers.get('x-script-runner-action') != '1':
            raise HTTPException(403, 'an action needs the header X-Script-Runner-Action: 1; send it')

    @app.post('/api/executions/{run_id}/stop', tags=['actions'], summary='Ask a running run to end, or end it by force')
    def stop(request: Request, run_id: int = RunId, force: bool = Body(False, embed=True)):
        check(request)
        runner.stop_run(history.run(run_id), force)
        return {'stopping': run_id, 'force': force}

    @app.post('/api/silences', tags=['actions'], summary='Let a rule tell nobody for so long')
    def silence(request: Request, rule: str = Body(max_length=200), duration: str = Body(max_length=40, examples=['2h']),
                reason: str = Body('', max_length=500)):
        check(request)
        end = runner.AlertIntelligence(history.open()).silence(rule, runner.parse_duration(duration), reason)
        return {'rule': rule, 'end_time': runner.format_time(end)}

    @app.post('/api/silences/end', tags=['actions'], summary='Let a rule tell again')
    def unsilence(request: Request, rule: str = Body(max_length=200, embed=True)):
        check(request)
        return {'rule': rule, 'ended': runner.AlertIntelligence(history.open()).unsilence(rule)}


def _add_live(app, feed):
    @app.websocket('/ws/metrics')
    async def live(client: WebSocket):
        if feed.clients >= MAX_CLIENTS:
            await client.close(1013, 'too many clients')
            return
        offered = client.headers.get('sec-websocket-protocol', '')
        await client.accept(SUBPROTOCOL if SUBPROTOCOL in [word.strip() for word in offered.split(',')] else None)

        async def send(text):
            await asyncio.wait_for(client.send_text(text), SEND_TIMEOUT_SECONDS)

        sending = asyncio.ensure_future(feed.serve(send, client.query_params.get('cursor') or None))
        listening = asyncio.ensure_future(_until_closed(client))
        try:
            await asyncio.wait((sending, listening), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, listening):
                task.cancel()
            outcome = (await asyncio.gather(sending, listening, return_exceptions=True))[0]
            if isinstance(outcome, (asyncio.TimeoutError, TimeoutError)):
                await _drop(client)


async def _until_closed(client):
    """Return when the client is gone; what it says is not for us."""
    try:
        while (await client.receive())['type'] != 'websocket.disconnect':
            pass
    except (WebSocketDisconnect, RuntimeError):
        pass


async def _drop(client):
    """End a client that does not read: a farewell, which it may not read either."""
    try:
        await asyncio.wait_for(client.close(1013, 'too slow'), 1.0)
    except (asyncio.TimeoutError, TimeoutError, RuntimeError, OSError):
        pass


# -- as a program ---------------------------------------------------------------------------------------------

def bind(host, port):
    """Return a listening socket; raises UsageError with a sentence."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise runner.UsageError('--host %s: %s; name an address of this machine' % (host, error.strerror))
    try:
        if os.name == 'posix':
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, 'TCP_USER_TIMEOUT'):    # what a client does not take is not kept longer; connections inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(4000 * SEND_TIMEOUT_SECONDS))
        listener.bind(address)
        listener.listen(256)
        return listener
    except OSError as error:
        listener.close()
        raise runner.UsageError('%s port %d: %s; choose another with --port (0: any that is free)' % (host, port, error.strerror))


def make_server(app, log_level='warning'):
    """Return the uvicorn server, not yet running.

    Its WebSocket is the one that waits for slow clients and stands on today's `websockets`; older uvicorn prefers another.
    """
    import uvicorn
    name = 'websockets-sansio' if 'websockets-sansio' in uvicorn.config.WS_PROTOCOLS else 'auto'
    return uvicorn.Server(uvicorn.Config(
        app, ws=name, log_level=log_level, access_log=False, server_header=False, ws_per_message_deflate=False,
        timeout_graceful_shutdown=2, proxy_headers=False, ws_max_size=65536, lifespan='off'))


def serve(db_path, host, port, allow_actions, tell):
    """Serve until interrupted; `tell` takes the sentences that say where. Returns an exit status."""
    listener = bind(host, port)
    address = listener.getsockname()[0]
    token = os.environ.get('SCRIPT_RUNNER_DASHBOARD_TOKEN') or None
    needs_token = allow_actions or not is_loopback(address)
    if token is None and needs_token:
        import secrets
        token = secrets.token_urlsafe(24)
    is_everywhere = address in ('0.0.0.0', '::')
    app = create_app(db_path, socket.gethostname() if is_everywhere else host, token, allow_actions)
    shown = socket.gethostname() if is_everywhere else host if ':' not in host else '[%s]' % host
    url = 'http://%s:%d/' % (shown, listener.getsockname()[1])
    tell('dashboard of %s' % app.state.history.manager.db_path)
    tell('open %s%s (Ctrl-C ends it)' % (url, '#token=' + token if needs_token else ''))
    try:
        make_server(app).run(sockets=[listener])
    finally:
        listener.close()
    return 0


app = create_app()  # type: Any
