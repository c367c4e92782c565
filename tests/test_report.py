"""`report`: one run as one file that needs nothing else and talks to nobody."""
import base64
import hashlib
import json
import os
import re

from conftest import script

import runner


def page_of(place, *words):
    """Run `report`, return the file's text."""
    finished = place.run('report', 'last', '-o', 'run.html', *words)
    assert finished.status == 0, finished
    with open(os.path.join(place.folder, 'run.html'), encoding='utf-8') as file:
        return file.read()


def embedded(page):
    """Return the data in a page."""
    return json.loads(re.search(r'<script type="application/json" id="embedded">(.*?)</script>', page, re.S).group(1))


def test_a_report_holds_the_run(place):
    """Metrics, samples, output and the last good run are in the file, which is private and named on stdout."""
    place.run(script('burn_cpu.py'), 0.3)
    place.run('--label', 'team=</script><b>', script('burn_cpu.py'), 0.3)
    page = page_of(place)
    data = embedded(page)
    assert data['run']['id'] == 2 and data['run']['labels'] == {'team': '</script><b>'}
    assert data['samples']['fields'] == list(runner.SAMPLE_FIELDS) and len(data['samples']['rows'][0]) == len(runner.SAMPLE_FIELDS)
    assert data['comparison']['before']['id'] == 1 and data['run']['metrics']['cpu_avg'] > 0
    assert '</script><b>' not in page
    assert os.name != 'posix' or os.stat(os.path.join(place.folder, 'run.html')).st_mode & 0o077 == 0


def test_a_report_may_run_only_its_own_scripts(place):
    """The policy in the file allows exactly the scripts and styles that it has, by hash, and no address."""
    place.run(script('exit_with.py'), 3)
    page = page_of(place)
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page).group(1)
    assert "default-src 'none'" in policy and 'http' not in policy and 'unsafe' not in policy
    for tag in ('script', 'style'):
        texts = re.findall('<%s>(.*?)</%s>' % (tag, tag), page, re.S)
        assert len(texts) == 1
        digest = base64.b64encode(hashlib.sha256(texts[0].encode('utf-8')).digest()).decode()
        assert "%s-src 'sha256-%s'" % (tag, digest) in policy
    assert page.index('Content-Security-Policy') < page.index('<style>')


def test_text_of_a_run_cannot_end_the_data():
    """Whatever a run wrote, the page's data stays data."""
    nasty = {'a': '</script><script>alert(1)</script><!-- \u2028 & \ud800', 'b': float('nan')}
    page = runner.report_page('<meta charset="utf-8"><style>x</style><script type="application/json" id="embedded">null</script>'
                              '<script>y</script>', nasty)
    assert page.count('<script>') == 1 and '<!--' not in page
    assert embedded(page) == {'a': nasty['a'].replace('\ud800', '?'), 'b': None}


def test_a_report_that_cannot_be_written_is_an_error(place):
    """A folder that is not there, and a run that is not there, are sentences."""
    place.run(script('exit_with.py'), 0)
    finished = place.run('report', 'last', '-o', 'no/such/run.html')
    assert finished.status == 2 and b'no/such/run.html' in finished.err
    assert place.run('report', '99').status == 2
