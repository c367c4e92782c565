"""Section 11, channels and delivery: what is sent, to servers that answer as real ones do, and never twice, never nowhere."""
import asyncio
import hashlib
import hmac
import json
import os
import re
import ssl
import sys
import threading
import warnings
from email import message_from_bytes, policy

import pytest
from conftest import PATIENCE, THOROUGH, is_running, read_pids, wait_until
from receivers import Receiver, make_certificate

import runner

SECRET = 'S3cr3tPathOfTheHook'
FAILING = {'status': 'failed', 'cause': 'exit', 'exit_code': 3, 'cpu_max': 97.0}
DAY = 86400.0


class Clock(object):
    """A clock that goes only when it is told to."""

    def __init__(self, now=1700000000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """A clock of the test's."""
    return Clock()


@pytest.fixture
def make(history, clock):
    """Make managers over one history and one clock, with a rule that fires on FAILING."""
    made = []

    def make_manager(webhook=None, timeout=PATIENCE, **settings):
        manager = runner.AlertManager(history, notify_timeout=timeout, clock=clock)
        if webhook is not None:
            manager.configure_webhook(getattr(webhook, 'url', webhook), **settings)
        manager.add_alert('broken', "status != 'success'", severity='ERROR')
        made.append(manager)
        return manager
    yield make_manager
    for manager in made:
        manager.close()


def states(history):
    """Return the states of all notifications."""
    return sorted(row[0] for row in history._read('SELECT state FROM notifications'))


# -- HTTP -----------------------------------------------------------------------------------------------------------

def test_a_webhook_gets_a_signed_message_with_the_documented_fields(make, history):
    """The signature is checked as a receiver would, over the bytes that came."""
    with Receiver(204) as server:
        manager = make(server, secret='shared-secret', headers={'Authorization': 'Bearer tok-12345678'})
        fired, = manager.check_alerts(FAILING, 'job.py')
    request, = server.requests
    assert fired.channels == {'webhook': 'sent'} and states(history) == ['sent']
    assert request.headers['Authorization'] == 'Bearer tok-12345678' and 'json' in request.headers['Content-Type']
    signed = request.headers['X-Script-Runner-Timestamp'].encode() + b'.' + request.body
    assert request.headers['X-Script-Runner-Signature'] == 'sha256=' + hmac.new(
        b'shared-secret', signed, hashlib.sha256).hexdigest()
    body = request.json
    assert body['id'] == request.headers['Idempotency-Key'] and body['version'] == 1
    assert set(body) == {'version', 'id', 'time', 'state', 'severity', 'title', 'alerts', 'run', 'error', 'history', 'output_tail'}
    for field in body:
        assert re.search('\n +%s ' % field, runner.WebhookConfig.__doc__), 'the docstring says nothing of %s' % field
    assert body['state'] == 'firing' and body['severity'] == 'ERROR' and body['run']['script_path'] == 'job.py'
    assert [a['name'] for a in body['alerts']] == ['broken'] and body['alerts'][0]['explanation'] == "status = 'failed'"


@pytest.mark.parametrize('answers', [(500, 200), ((429, {'Retry-After': '0'}), 204), ('cut', 200), (408, 200), (503, 500, 202)])
def test_what_may_pass_is_tried_again_with_the_same_key(make, history, answers):
    """500, 429, 408, a cut connection: at once, and the receiver can tell that it is the same notification."""
    with Receiver(*answers) as server:
        fired, = make(server).check_alerts(FAILING)
    assert fired.channels == {'webhook': 'sent'} and states(history) == ['sent']
    assert len(server.requests) == len(answers) and len(server.ids) == 1


@pytest.mark.parametrize('status', [400, 401, 403, 404, 410])
def test_what_is_refused_is_not_tried_again(make, history, clock, status):
    """Other 4xx are for good; the message stays, and `failed` sends it when that is mended."""
    with Receiver(status, 200) as server:
        manager = make(server)
        fired, = manager.check_alerts(FAILING)
        assert fired.channels == {'webhook': 'failed'} and len(server.requests) == 1
        assert manager.warnings == ['alerts: webhook: the server answered %d; not sent' % status]
        clock.now += DAY
        assert manager.deliver_waiting() == {'sent': 0, 'waiting': 0} and len(server.requests) == 1
        assert manager.deliver_waiting(failed=True) == {'sent': 1, 'waiting': 0}
    assert len(server.requests) == 2 and len(server.ids) == 1 and states(history) == ['sent']


def test_a_long_retry_after_is_honoured_by_later_runs(make, history, clock):
    """It does not fit into the bound, so the message waits, and nobody asks before it is time."""
    with Receiver((429, {'Retry-After': '3600'}), 200) as server:
        manager = make(server, timeout=5.0)
        fired, = manager.check_alerts(FAILING)
        assert fired.channels == {'webhook': 'waiting'} and states(history) == ['waiting']
        clock.now += 3500
        assert make(server).deliver_waiting() == {'sent': 0, 'waiting': 0} and len(server.requests) == 1
        clock.now += 200
        assert make(server).deliver_waiting() == {'sent': 1, 'waiting': 0}
        assert make(server).deliver_waiting() == {'sent': 0, 'waiting': 0}
    assert len(server.requests) == 2 and len(server.ids) == 1 and states(history) == ['sent']


def test_a_server_that_hangs_is_left_at_the_bound(make, history, clock):
    """It answers only when the test is through with its asserts: whoever waits for it never gets there."""
    with Receiver('hang') as server:
        manager = make(server, timeout=1.0)
        fired, = manager.check_alerts(FAILING)
        assert server.came.wait(PATIENCE) and fired.channels == {'webhook': 'waiting'} and 'next run' in manager.warnings[0]
        wait_until(lambda: history._read('SELECT tries FROM notifications') == [(1,)], 'the end of the try')
        clock.now += 1
        assert make(server, timeout=0.6).deliver_waiting() == {'sent': 0, 'waiting': 0}, 'the lease is still held, or it is too soon'
        server.answers = [200]
        clock.now += DAY
        assert make(server).deliver_waiting() == {'sent': 1, 'waiting': 0}
        assert len(server.ids) == 1
    assert states(history) == ['sent']


def test_nobody_there_means_that_the_next_run_delivers(make, history, clock, monkeypatch):
    """Connection refused: the message survives the process, and then is sent once."""
    monkeypatch.setattr(runner, '_TRIES', 2)
    with Receiver() as server:
        url = server.url
    fired, = make(url, timeout=5.0).check_alerts(FAILING)
    assert fired.channels == {'webhook': 'waiting'}
    clock.now += DAY
    with Receiver(200) as server:
        manager = make(server)
        assert manager.deliver_waiting() == {'sent': 1, 'waiting': 0}
        assert manager.deliver_waiting() == {'sent': 0, 'waiting': 0}
    assert len(server.requests) == 1 and server.requests[0].json['alerts'][0]['name'] == 'broken'


def test_a_waiting_message_is_sent_by_exactly_one(make, history, clock):
    """Many deliver at once: each message comes once."""
    with Receiver((503, {'Retry-After': '60'})) as busy:
        manager = make(busy, timeout=5.0)
        for number in range(4):
            manager.check_alerts(FAILING, 'job%d.py' % number)
    assert states(history) == ['waiting'] * 4
    clock.now += DAY
    with Receiver(200) as server:
        senders = [make(server) for _ in range(16 if THOROUGH else 6)]
        start, counts = threading.Barrier(len(senders)), []

        def send(sender):
            start.wait(PATIENCE)
            counts.append(sender.deliver_waiting()['sent'])
        threads = [threading.Thread(target=send, args=(sender,)) for sender in senders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert sum(counts) == 4 and len(counts) == len(senders) and len(server.requests) == len(server.ids) == 4


def test_a_sender_that_died_is_replaced_when_its_lease_is_over(make, history, clock):
    """Between the claim and the answer nobody else sends; afterwards somebody does."""
    with Receiver(200) as server:
        manager = make(server)
        store = manager.intelligence.store
        with store.writing() as connection:
            message = manager._message([runner.Alert(name='x', severity='INFO', state='firing')], {'run': {}}, 'id-1')
            store.add_notification(connection, 'webhook', message, clock.now, 'somebody who was killed', 70.0)
        assert manager.deliver_waiting() == {'sent': 0, 'waiting': 0}
        clock.now += 71
        assert manager.deliver_waiting() == {'sent': 1, 'waiting': 0}
        store.note_outcome('webhook', 'id-1', 'somebody who was killed', runner._Outcome('waiting'), clock.now)
    assert len(server.requests) == 1 and states(history) == ['sent']


def test_what_was_sent_is_marked_though_the_file_is_locked_for_a_moment(make, history, monkeypatch):
    """Else it would be sent again."""
    with Receiver(200) as server:
        manager = make(server)
        store, failures = manager.intelligence.store, [1, 1]
        note = store.note_outcome

        def locked_twice(*arguments):
            if failures:
                failures.pop()
                raise runner.HistoryError('locked')
            note(*arguments)
        monkeypatch.setattr(store, 'note_outcome', locked_twice)
        manager.check_alerts(FAILING)
    assert states(history) == ['sent'] and manager.warnings == []


def test_a_message_that_nobody_takes_for_a_week_has_failed(make, history, clock):
    """It is tried ever less often, then given up, and that is on record."""
    with Receiver((500, {'Retry-After': '60'})) as server:
        manager = make(server, timeout=5.0)
        manager.check_alerts(FAILING)
        tried = len(server.requests)
        clock.now += 6 * DAY
        manager.check_alerts(FAILING, 'other.py')
        assert states(history) == ['waiting', 'waiting']
        clock.now += 2 * DAY
        manager.deliver_waiting()
        assert states(history) == ['failed', 'waiting'] and len(server.requests) > tried
        assert runner.read_alerts(history)[-1]['channels']['webhook'] == {
            'state': 'failed', 'error': 'the server answered 500', 'sent_time': None}


def test_redirects_do_not_carry_secrets_to_another_host(make, history):
    """Another host, and what turns a POST into a GET, is refused; the same host is followed."""
    with Receiver(200) as other, Receiver((307, {'Location': 'set below'}), 200) as server:
        server.answers[0] = (307, {'Location': other.url})
        fired, = make(server, headers={'Authorization': 'Bearer tok-12345678'}).check_alerts(FAILING, 'a.py')
        assert fired.channels == {'webhook': 'failed'} and other.requests == [] and len(server.requests) == 1
        server.answers = [(302, {'Location': '/elsewhere'})]
        fired, = make(server).check_alerts(FAILING, 'b.py')
        assert fired.channels == {'webhook': 'failed'} and len(server.requests) == 2
        server.answers = [(308, {'Location': '/elsewhere'}), 200]
        fired, = make(server).check_alerts(FAILING, 'c.py')
        assert fired.channels == {'webhook': 'sent'} and [r.path for r in server.requests][-2:] == ['/hooks/' + SECRET, '/elsewhere']
        server.answers = [(307, {'Location': '/round'})]
        fired, = make(server).check_alerts(FAILING, 'd.py')
        assert fired.channels == {'webhook': 'failed'} and len(server.requests) == 8


def test_slack_gets_blocks_within_its_limits(make):
    """Header 150 characters, sections 3,000, at most 50 blocks, markup of the script's own made harmless."""
    with Receiver(200) as server:
        manager = make()
        manager.configure_slack(server.url)
        for number in range(60):
            manager.add_alert('rule %d <!channel> & %s' % (number, 'x' * 200), 'cpu_max > %d' % number, inhibited_by=[])
        assert len(manager.check_alerts(FAILING, 'job.py')) == 61
    body = server.requests[0].json
    assert body['blocks'][0]['type'] == 'header' and len(body['blocks'][0]['text']['text']) <= 150 and len(body['blocks']) <= 50
    texts = [block['text']['text'] for block in body['blocks'] if block['type'] == 'section']
    assert all(0 < len(text) <= 3000 for text in texts) and '<!' not in ''.join(texts + [body['text']])
    assert '&lt;!channel&gt; &amp;' in ''.join(texts)


# -- secrets ----------------------------------------------------------------------------------------------------------

def test_secrets_of_channels_appear_nowhere(place, monkeypatch):
    """The script itself prints them, one server answers with an error: not in messages, result, records, log, database."""
    monkeypatch.setattr(runner, '_TRIES', 1)
    with Receiver(200) as good, Receiver(403) as bad:
        secrets = [SECRET, 'tok-12345678', 'mail-passw0rd', 'shared-signing-key', 'argument-secret']
        manager = runner.AlertManager(notify_timeout=PATIENCE)
        manager.configure_webhook(good.url, headers={'X-Custom': 'tok-12345678'}, secret='shared-signing-key')
        manager.configure_slack(bad.url)
        mail = manager.configure_email('127.0.0.1', 1, 'a@example.org', 'b@example.org', 'user', 'mail-passw0rd', use_tls=False)
        manager.configure_log(os.path.join(place.folder, 'alerts.jsonl'))
        manager.add_alert('broken', "status != 'success'")
        script = place.write('leak.py', 'import sys\nprint("\\n".join(sys.argv[1:] + [%r]), file=sys.stderr)\nsys.exit(1)' % good.url)
        job = runner.ScriptRunner(script, ['--password', 'argument-secret'] + secrets[:4], history_db=place.history)
        job.alert_manager = manager
        result = job.run_script()
        job.history_manager.close()
        manager.close()
    assert result['alerts'][0]['channels'] == {'webhook': 'sent', 'slack': 'failed', 'email': 'waiting', 'log': 'sent'}
    told = [json.dumps([request.json for request in good.requests + bad.requests]), repr(mail), repr(manager.channels),
            json.dumps(result['alerts']), json.dumps(result['warnings']), json.dumps(place.rows('SELECT * FROM alerts')),
            json.dumps(place.rows('SELECT * FROM notifications'))]
    with open(os.path.join(place.folder, 'alerts.jsonl')) as file:
        told.append(file.read())
    for text in told:
        assert [secret for secret in secrets if secret in text] == [], text
    for suffix in ('', '-wal'):
        if os.path.exists(place.history + suffix):
            with open(place.history + suffix, 'rb') as file:
                data = file.read()
            assert [secret for secret in secrets if secret.encode() in data] == [], suffix
    assert 'redacted' in told[0] and len(result['warnings']) == 2


# -- mail -------------------------------------------------------------------------------------------------------------

class Mailbox(object):
    """What an SMTP server took, by its envelope."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return '250 taken'


@pytest.fixture(scope='module')
def certificate(tmp_path_factory):
    """A certificate of localhost that nobody else trusts."""
    return make_certificate(tmp_path_factory.mktemp('certificate'))


@pytest.fixture
def mail_server(request):
    """Start SMTP servers: mail_server(tls='starttls' | 'implicit' | None, password=None) -> (mailbox, port)."""
    smtp = pytest.importorskip('aiosmtpd.smtp')
    started = []

    def start(tls=None, password=None, certificate=None):
        mailbox, context, options = Mailbox(), None, {}
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
        if tls == 'starttls':
            options.update(tls_context=context, require_starttls=True)
        if password:
            def authenticate(server, session, envelope, mechanism, data):
                return smtp.AuthResult(success=data.login == b'user' and data.password == password.encode(), handled=False)
            options.update(authenticator=authenticate, auth_required=True, auth_require_tls=tls == 'starttls')
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(loop.create_server(lambda: smtp.SMTP(mailbox, loop=loop, **options), '127.0.0.1', 0,
                                                            ssl=context if tls == 'implicit' else None))
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        started.append((loop, server, thread))
        return mailbox, server.sockets[0].getsockname()[1]
    yield start
    for loop, server, thread in started:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


mail_warnings = pytest.mark.filterwarnings('ignore')


@mail_warnings
@pytest.mark.parametrize('tls, password', [('starttls', 'right'), ('implicit', None), (None, None), (None, 'right')])
def test_mail_arrives_as_text_and_html(make, mail_server, certificate, tls, password):
    """By STARTTLS with AUTH, by implicit TLS, without either; the certificate is checked against our own CA file."""
    mailbox, port = mail_server(tls, password, certificate)
    manager = make()
    manager.configure_email('127.0.0.1', port, 'Runner <runner@example.org>', ['a@example.org', 'b@example.org'],
                            'user' if password else None, password, use_tls=tls or False, ca_file=certificate[0])
    fired, = manager.check_alerts(dict(FAILING, hostname='h<1>'), '/srv/jöb.py')
    assert fired.channels == {'email': 'sent'}, manager.warnings
    mail, = mailbox.mails
    assert mail['Subject'] == 'ERROR: broken (jöb.py)' and mail['To'] == 'a@example.org, b@example.org'
    assert mail['Message-ID'].endswith('@script-runner>') and mail['Auto-Submitted'] == 'auto-generated'
    text, html = mail.get_body(('plain',)).get_content(), mail.get_body(('html',)).get_content()
    assert "status = 'failed'" in text and '/srv/jöb.py' in text and mail['Message-ID'][1:37] in text
    assert '/srv/jöb.py' in html and 'status = &#x27;failed&#x27;' in html and 'http' not in html


@mail_warnings
@pytest.mark.parametrize('settings, password, word', [
    ({'use_tls': 'starttls', 'ca_file': None}, None, 'TLS failed'),
    ({'use_tls': 'starttls'}, 'another', '535'),
    ({'use_tls': 'implicit', 'ca_file': None}, None, 'TLS failed')])
def test_mail_is_refused_for_good(make, mail_server, certificate, history, settings, password, word):
    """A certificate that nobody vouches for, a wrong password: nothing is sent, and it is not tried again and again."""
    mailbox, port = mail_server(settings['use_tls'], password and 'right', certificate)
    manager = make()
    manager.configure_email('127.0.0.1', port, 'a@example.org', 'b@example.org', password and 'user', password,
                            **dict({'ca_file': certificate[0]}, **settings))
    fired, = manager.check_alerts(FAILING)
    assert mailbox.mails == [] and fired.channels == {'email': 'failed'} and word in manager.warnings[0], manager.warnings


@mail_warnings
def test_a_server_without_starttls_gets_nothing(make, mail_server):
    """Somebody on the way might have taken the offer out."""
    mailbox, port = mail_server()
    manager = make()
    manager.configure_email('127.0.0.1', port, 'a@example.org', 'b@example.org')
    assert manager.check_alerts(FAILING)[0].channels == {'email': 'failed'} and mailbox.mails == []


@mail_warnings
def test_a_rule_cannot_add_headers(make, mail_server):
    """A line break in a name, or in what a script is called, begins no header."""
    mailbox, port = mail_server()
    manager = make()
    manager.configure_email('127.0.0.1', port, 'a@example.org', 'b@example.org', use_tls=False)
    manager.add_alert('x\r\nBcc: evil@example.org', 'cpu_max > 1', inhibited_by=[])
    assert len(manager.check_alerts(FAILING, 'job\r\nBcc: evil@example.org')) == 2
    mail, = mailbox.mails
    assert mail['Bcc'] is None and 'Bcc: evil' in mail['Subject'].replace('  ', ' ')
    for wrong in ('a@example.org\nBcc: x@example.org', 'nobody', ''):
        with pytest.raises(runner.UsageError):
            runner.EmailConfig('localhost', from_address=wrong, to_addresses='b@example.org')


# -- programs, files, Apprise -----------------------------------------------------------------------------------------

def test_a_command_gets_json_on_stdin_and_no_shell(make, tmp_path, history):
    """Its arguments come as they are; a status other than 0 means: not taken, the next run tries again."""
    target = str(tmp_path / 'out.json')
    code = 'import sys; open(sys.argv[1], "wb").write(sys.stdin.buffer.read()); sys.exit(int(sys.argv[3]))'
    manager = make()
    manager.configure_command([sys.executable, '-c', code, target, '$(touch x); `id`', '0'])
    fired, = manager.check_alerts(FAILING, 'job.py')
    assert fired.channels == {'command': 'sent'}, manager.warnings
    with open(target, 'rb') as file:
        assert json.loads(file.read().decode('utf-8'))['alerts'][0]['name'] == 'broken'
    manager.notify_timeout = 0.5
    manager.configure_command([sys.executable, '-c', code, target, '', '75'])
    assert manager.check_alerts(FAILING, 'other.py')[0].channels == {'command': 'waiting'}
    manager.configure_command(['no-such-program-anywhere'])
    assert manager.check_alerts(FAILING, 'third.py')[0].channels == {'command': 'failed'}
    assert manager.channels['command'].describe() == 'no-such-program-anywhere'
    with pytest.raises(runner.UsageError):
        manager.configure_command('rm -rf /')


def test_a_command_that_hangs_is_ended(make, tmp_path):
    """With what it started; it writes its pid first."""
    pids = str(tmp_path / 'pids')
    manager = make(timeout=1.0)
    manager.configure_command([sys.executable, '-c', 'import os, sys, time\nwith open(sys.argv[1], "a") as f: f.write("%d\\n" % os.getpid())\ntime.sleep(600)', pids])
    fired, = manager.check_alerts(FAILING)
    assert fired.channels == {'command': 'waiting'}
    pid, = read_pids(pids, 1)[:1]
    wait_until(lambda: not is_running(pid), 'the end of the command')


def test_the_log_channel_writes_json_lines(make, tmp_path):
    """One line for each message, at its severity."""
    manager = make()
    manager.configure_log(str(tmp_path / 'alerts.jsonl'))
    manager.check_alerts(FAILING, 'job.py')
    with open(str(tmp_path / 'alerts.jsonl')) as file:
        line = json.loads(file.read())
    assert line['level'] == 'ERROR' and line['event'] == 'alert' and line['alerts'][0]['name'] == 'broken'


def test_apprise_reaches_what_it_knows(make):
    """Any of its URLs, here JSON to a server of ours; its URL is a secret."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        pytest.importorskip('apprise')
    with Receiver(200) as server:
        manager = make()
        manager.configure_apprise(['json://127.0.0.1:%d/long-secret-path' % server.server_address[1]])
        assert manager.secrets()[0].endswith('/long-secret-path')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            assert manager.check_alerts(FAILING)[0].channels == {'apprise': 'sent'}, manager.warnings
    assert 'broken' in server.requests[0].json['message'] and 'long-secret-path' not in manager.channels['apprise'].describe()


def test_a_channel_of_ones_own(make):
    """Any object with send, describe and secrets; what it raises costs a warning and shows no text of the exception."""
    class Broken(object):
        name = 'own'

        def secrets(self):
            return []

        def describe(self):
            return 'nowhere'

        def send(self, message, timeout):
            raise RuntimeError('password=hunter2')
    manager = make(timeout=1.0)
    manager.channels['own'] = Broken()
    assert manager.check_alerts(FAILING)[0].channels == {'own': 'waiting'}
    assert manager.warnings == ['alerts: own: failed with RuntimeError; the next run sends it']


def test_notify_tests_channels(make):
    """One message, unthrottled; what came of it is told by channel."""
    with Receiver(200, 404) as server:
        manager = make(server)
        assert manager.notify('is anybody there?') == {'webhook': {'state': 'sent', 'error': None}}
        assert manager.notify('again', ['webhook']) == {'webhook': {'state': 'failed', 'error': 'the server answered 404'}}
        assert server.requests[0].json['state'] == 'test'
        for wrong in ('slack', 'slak'):
            with pytest.raises(runner.UsageError):
                manager.notify('x', [wrong])


@pytest.mark.parametrize('make_one', [
    lambda: runner.SlackConfig('hooks.slack.com/services/x'), lambda: runner.SlackConfig(''), lambda: runner.WebhookConfig('ftp://x/y'),
    lambda: runner.WebhookConfig('http://x/y\r\nHost: z'), lambda: runner.WebhookConfig('http://x:99999/'),
    lambda: runner.WebhookConfig('https://x/', headers={'A b': 'c'}), lambda: runner.WebhookConfig('https://x/', headers={'A': 'b\nC: d'}),
    lambda: runner.EmailConfig('mail.example.org', from_address='a@b', to_addresses=[]),
    lambda: runner.EmailConfig('mail.example.org', from_address='a@b', to_addresses='c@d', username='u'),
    lambda: runner.EmailConfig('mail.example.org', from_address='a@b', to_addresses='c@d', use_tls=None),
    lambda: runner.EmailConfig('mail.example.org', from_address='a@b', to_addresses='c@d', use_tls='ssl'),
    lambda: runner.EmailConfig('mail.example.org', 0, from_address='a@b', to_addresses='c@d'),
    lambda: runner.EmailConfig('mail.example.org', from_address='a@b', to_addresses='c@d', ca_file='/no/such'),
    lambda: runner.EmailConfig('mail.example.org', from_address='a@b', to_addresses='c@d', username='u', password='p', use_tls=False)])
def test_settings_of_channels_that_cannot_be(make_one):
    """One sentence each, without the secret; a password in the clear over a network is one of them."""
    with pytest.raises(runner.UsageError) as caught:
        make_one()
    assert 'services' not in str(caught.value) and '\n' not in str(caught.value)
