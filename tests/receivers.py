"""Receivers of notifications for tests: an HTTP server that answers as it is told, and certificates of our own."""
import http.server
import json
import os
import shutil
import socketserver
import subprocess
import threading

import pytest

from conftest import PATIENCE


class Request(object):
    """One request as it came."""

    def __init__(self, path, headers, body):
        self.path, self.headers, self.body = path, headers, body

    @property
    def json(self):
        """The body as JSON."""
        return json.loads(self.body.decode('utf-8'))


class Receiver(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """An HTTP server on loopback. `answers` are given one after the other, the last for ever: a status, (status, headers),
    'hang' (until `release()`), 'cut' (the connection is closed without an answer). `on_request` is called with each."""
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *answers, **options):
        http.server.HTTPServer.__init__(self, ('127.0.0.1', 0), _Handler)
        self.answers = list(answers) or [200]
        self.requests = []
        self.on_request = options.get('on_request')
        self.lock = threading.Lock()
        self.came = threading.Event()
        self.released = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.daemon = True

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.release()
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, request, client_address):
        """A client that went away is what some tests are about."""

    @property
    def url(self):
        """Where it listens, with a path that is a secret."""
        return 'http://127.0.0.1:%d/hooks/S3cr3tPathOfTheHook' % self.server_address[1]

    def release(self):
        """Let what hangs go on."""
        self.released.set()

    def take(self, request):
        """Keep a request; return how it is to be answered."""
        with self.lock:
            self.requests.append(request)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.came.set()
        if self.on_request is not None:
            self.on_request(request)
        return answer

    @property
    def ids(self):
        """The ids of the notifications that came, each once, in order."""
        found = []
        for request in self.requests:
            if request.headers['Idempotency-Key'] not in found:
                found.append(request.headers['Idempotency-Key'])
        return found


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        answer = self.server.take(Request(self.path, self.headers, body))
        if answer == 'cut':
            self.close_connection = True
            return
        if answer == 'hang':
            self.server.released.wait(PATIENCE)
            self.close_connection = True
            return
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def log_message(self, *_):
        pass


def make_certificate(folder):
    """Make a certificate for localhost with openssl; returns (certificate, key) as paths."""
    if shutil.which('openssl') is None:
        pytest.skip('needs openssl to make a certificate')
    certificate, key = os.path.join(str(folder), 'cert.pem'), os.path.join(str(folder), 'key.pem')
    made = subprocess.Popen(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost',
                             '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', certificate],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = made.communicate(timeout=PATIENCE)
    if made.returncode != 0:
        pytest.skip('openssl makes no certificate with a subjectAltName: %s' % out.decode('utf-8', 'replace')[-200:])
    return certificate, key
