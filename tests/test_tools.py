"""Section 2: small tools."""
import doctest
import os
import stat

import pytest

import runner


def test_examples_in_docstrings_are_true():
    """Every doctest in runner.py passes."""
    failed, tried = doctest.testmod(runner)
    assert tried > 10 and failed == 0


@pytest.mark.parametrize('text, seconds', [
    ('90', 90), ('1.5', 1.5), ('1.5s', 1.5), ('5m', 300), ('1h30m', 5400), ('2d', 172800), ('250ms', 0.25), ('1m500ms', 60.5),
    (' 10S ', 10), (3, 3), (0.5, 0.5), ('0', 0), ('1w', 604800)])
def test_durations_are_read(text, seconds):
    """A plain number is seconds; units add up."""
    assert runner.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize('text', ['', 'abc', '-1', '1h1h', '5x', '1m1h', 'h', '1..5s', '1 h 5', '²', None, '1e3', '5sm'])
def test_what_is_no_duration_is_refused_by_name(text):
    """The sentence names what was given and shows what would be right."""
    with pytest.raises(runner.UsageError) as caught:
        runner.parse_duration(text)
    assert repr(text) in str(caught.value) and '1h30m' in str(caught.value)


@pytest.mark.parametrize('text, size', [('500MiB', 500 << 20), ('2GiB', 2 << 30), ('1.5GB', 1500000000), ('100k', 100000),
                                        ('12', 12), ('1 MiB', 1 << 20)])
def test_sizes_are_read(text, size):
    """Binary and decimal units are told apart."""
    assert runner.parse_size(text) == size


@pytest.mark.parametrize('text', ['', '-5MiB', 'MiB', '5XiB', '5m5', '9' * 400])
def test_what_is_no_size_is_refused(text):
    """The sentence names what was given."""
    with pytest.raises(runner.UsageError) as caught:
        runner.parse_size(text)
    assert repr(text) in str(caught.value)


SECRETS = [
    ('--password hunter2', 'hunter2'),
    ('--password=hunter2', 'hunter2'),
    ('--db-password hunter2 --fast', 'hunter2'),
    ('token=abcdef', 'abcdef'),
    ('API_KEY: abcdef', 'abcdef'),
    ('{"client_secret": "a b c"}', 'a b c'),
    ('aws AKIAIOSFODNN7EXAMPLE here', 'AKIAIOSFODNN7EXAMPLE'),
    ('AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG', 'wJalrXUtnFEMI'),
    ('postgres://joe:hunter2@db/prod', 'hunter2'),
    ('Authorization: Bearer abc.def-ghi', 'abc.def-ghi'),
    ('ghp_abcdefghijklmnopqrstuvwxyz0123456789', 'abcdefghijkl'),
    ('xoxb-123456789012-abcdef', '123456789012'),
    ('sk-abcdefghijklmnopqrstuv', 'abcdefghijkl'),
    ('-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----', 'MIIabc'),
    ('\x1b[36mtoken\x1b[0m=\x1b[35mabcdef\x1b[0m', 'abcdef'),                      # as structlog and jq colour them
    ('\x1b[34;1m"token"\x1b[0m\x1b[1;39m:\x1b[0m \x1b[0;32m"a b c"\x1b[0m', 'a b c'),
    ('eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc_def', 'eyJzdWIi'),
]


@pytest.mark.parametrize('text, secret', SECRETS)
def test_secrets_are_redacted(text, secret):
    """What looks like a secret is gone, and a second pass changes nothing."""
    safe = runner.redact(text)
    assert secret not in safe and '[redacted]' in safe
    assert runner.redact(safe) == safe


@pytest.mark.parametrize('text', ['hello world', 'passed 12 tests', 'monkey business', 'keyboard', 'the tokenizer ran',
                                  'http://example.org/path', '/home/joe/secret-santa.txt', 'authors: Joe'])
def test_harmless_text_is_left_alone(text):
    """Words that only resemble a secret's name stay."""
    assert runner.redact(text) == text


def test_arguments_after_a_secret_option_are_redacted():
    """A value in the next word is a secret too, spaces and all."""
    assert runner.redact_arguments(['--api-key', 'a b', '--user', 'joe', '-v']) == ['--api-key', '[redacted]', '--user', 'joe', '-v']


def test_atomic_write_is_private_and_leaves_no_rest(tmp_path):
    """The file is 0600, replaced in one step, and no temporary file stays."""
    path = str(tmp_path / 'file')
    runner.write_atomically(path, b'one')
    runner.write_atomically(path, b'two')
    with open(path, 'rb') as file:
        assert file.read() == b'two'
    assert os.listdir(str(tmp_path)) == ['file']
    if os.name == 'posix':
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_times_survive_a_round_trip():
    """What is written as ISO 8601 is read back to the microsecond, also before 1970 and on leap days."""
    for micros in (0, -1, 951782400123456, 1709164800000001, 4102444799999999, -62135596800000000 + 86400000000):
        assert runner._parse_time(runner._format_micros(micros)) == micros


@pytest.mark.parametrize('text', ['', 'yesterday', '2026', '2026-01-01Tnoon', '2026-01-01T25:00', '2026-01-01T12:60:00', None])
def test_what_is_no_time_is_refused(text):
    """The sentence shows what a time looks like."""
    with pytest.raises(runner.UsageError):
        runner._parse_time(text)


def test_correlation_ids_are_uuids():
    """RFC 4122, version 4, no two alike."""
    import uuid
    ids = {runner.new_correlation_id() for _ in range(100)}
    assert len(ids) == 100 and all(str(uuid.UUID(i)) == i and uuid.UUID(i).version == 4 for i in ids)
