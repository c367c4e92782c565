"""What the README and the guide show works as it is written."""
import ast
import os
import re
import shlex
import sqlite3
import subprocess
import sys

import pytest
from conftest import TESTS, own_process_only

import runner

ROOT = os.path.dirname(TESTS)
README = os.path.join(ROOT, 'README.md')
DOCS = os.path.join(ROOT, 'docs')
pytestmark = pytest.mark.skipif(not os.path.exists(README), reason='needs the checkout, for its README.md')

#: Not begun here: they run until somebody ends them, need what is not here, or are tested elsewhere as a whole.
ELSEWHERE = ('python -m runner dashboard', 'python -m runner -m nbconvert')


def pages():
    """Return the README and the pages of docs/ that are written by hand."""
    found = [README] if os.path.exists(README) else []
    for folder, _, names in sorted(os.walk(DOCS)):
        found += [os.path.join(folder, name) for name in sorted(names) if name.endswith('.md')]
    return [path for path in found if 'Made by docs/generate.py' not in text_of(path)]


def text_of(path):
    """Return a page."""
    with open(path, encoding='utf-8') as file:
        return file.read()


def blocks(path):
    """Return the indented blocks of a page."""
    return [re.sub(r'^    ', '', block, flags=re.M)
            for block in re.findall(r'(?:^    .*\n(?:\n(?=    ))?)+', text_of(path), re.M)]


def commands(path):
    """Return (line, exit status) of every `python -m runner …` line that can be run as it stands.

    A comment `exit status N` says that it is another than 0. Lines with brackets or dots are synopses.
    """
    found = []
    for block in blocks(path):
        for whole in block.splitlines():
            line = whole.split(' #')[0].split('      ')[0].strip()
            if line.startswith('$ '):
                line = line[2:]
            if not line.startswith('python -m runner ') or line.startswith(ELSEWHERE):
                continue
            status = re.search(r'# exit status (\d+)', whole)
            if '[' not in line and '|' not in line and '...' not in line and not re.search(r'\b[A-Z]+\b$', line):
                found.append((line, int(status.group(1)) if status else 0))
    return found


@pytest.fixture
def furnished(place, monkeypatch, tmp_path):
    """A folder with all that the pages speak of: scripts, settings, a history, one of version 7."""
    for name in ('job.py', 'nightly.py', 'migrate.py', 'agent.py'):
        job = place.write(name, 'import time; print("fine", flush=True); time.sleep(0.02)')    # long enough for a look at its memory
    place.write('hang.py', 'import time; time.sleep(60)')
    place.write('.env', 'A=1\n')
    place.write('ci.yaml', 'timeout: 5m\n')
    for name in ('alerts.yaml', 'gates.yaml'):
        place.write(name, text_of(os.path.join(ROOT, 'examples', name)))
    connection = sqlite3.connect(os.path.join(place.folder, 'script_runner_history.db'))
    connection.executescript(text_of(os.path.join(TESTS, 'data', 'version-7.sql')))
    connection.close()
    with runner.HistoryManager(place.history) as history:
        for number in range(60):                  # the pages speak of runs 57 and 58
            for name in ('job.py', 'nightly.py')[:1 + (number < 20)]:
                history.save_execution({'execution_time_seconds': 1.0 + number % 7 / 100.0, 'memory_max_mb': 100.0 + number},
                                       os.path.join(os.path.dirname(job), name), 0)
    for name, value in place.env.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in os.environ if name not in place.env]:
        monkeypatch.delenv(name)
    monkeypatch.setenv('PATH', os.path.dirname(sys.executable) + os.pathsep + os.environ.get('PATH', ''))
    monkeypatch.chdir(place.folder)
    return place


def for_pages(holds):
    """Parametrise a test with the pages for which `holds` finds something."""
    found = [path for path in pages() if holds(path)]
    return pytest.mark.parametrize('path', found, ids=[os.path.relpath(path, ROOT) for path in found])


@own_process_only
@for_pages(commands)
def test_commands_work(furnished, capfd, path):
    """Each ends with the status that the page says, in one process for a page: main() is what the program calls."""
    for line, status in commands(path):
        got = runner.main(shlex.split(line)[3:])
        shown = capfd.readouterr()
        slow = line.split()[3] == 'doctor' or '--baseline' in line and got == 123      # what a busy machine may say
        assert got == status or slow, (line, got, shown)


def test_the_guide_shows_commands():
    """The tests around this look at something."""
    assert sum(len(commands(path)) for path in pages()) >= 100
    assert sum(len(examples(path)) for path in pages()) >= 10 and sum(len(settings(path)) for path in pages()) >= 3


def examples(path):
    """Return the blocks of a page that are Python."""
    return [block for block in blocks(path) if block.startswith('import ')]


def settings(path):
    """Return the blocks of a page that are a settings file."""
    keys = '|'.join(sorted({words[0] for words, _ in runner.walk_settings()}))
    return [block for block in blocks(path) if re.match(r'(%s):[ \n]' % keys, block)]


@for_pages(examples)
def test_the_python_of_the_pages_works(furnished, capfd, path):
    """Each block that begins with an import runs by itself."""
    for block in examples(path):
        exec(compile(block, path, 'exec'), {'__name__': 'page', 'pid': os.getpid(), 'work': int})
    assert 'Traceback' not in capfd.readouterr().err


@for_pages(settings)
def test_the_settings_of_the_pages_are_valid(tmp_path, monkeypatch, path):
    """Each block that begins with a key of the settings file is one."""
    monkeypatch.setenv('SLACK_WEBHOOK_URL', 'https://hooks.example.org/x')
    for block in settings(path):
        page = tmp_path / 'page.yaml'
        page.write_text(block, encoding='utf-8')
        runner.Settings.load(str(page))


def test_links_lead_somewhere():
    """Relative links of the pages, and their anchors, exist."""
    for path in pages():
        for target in re.findall(r'\]\(([^)#:\s]*)(#[^)\s]*)?\)', text_of(path)):
            other = os.path.normpath(os.path.join(os.path.dirname(path), target[0])) if target[0] else path
            assert os.path.exists(other), (path, target)
            if target[1]:
                heads = [re.sub(r'[^\w -]', '', head).lower().replace(' ', '-') for head in
                         re.findall(r'^#+ (.*)$', text_of(other), re.M)]
                assert target[1][1:] in heads, (path, target, heads)


def test_every_page_can_be_reached():
    """From the README through the index."""
    index = text_of(os.path.join(DOCS, 'index.md'))
    assert 'docs/index.md' in text_of(README)
    for folder, _, names in os.walk(DOCS):
        for name in names:
            if name.endswith('.md') and name != 'index.md':
                link = os.path.relpath(os.path.join(folder, name), DOCS).replace(os.sep, '/')
                assert '(%s)' % link in index, link


def test_the_reference_pages_are_fresh():
    """cli.md, metrics.md and history.md are what docs/generate.py makes of the code now."""
    out = subprocess.check_output([sys.executable, os.path.join(DOCS, 'generate.py'), '--check'])
    assert out == b''


def test_the_pages_name_only_real_options():
    """Every flag that a page writes after `runner` exists, and the README names each verb."""
    readme = text_of(README)
    for verb in runner._VERBS:
        assert verb == 'run' or 'runner %s' % verb in readme, verb
    known = set(runner._BY_FLAG) | {'--json', '--help', '--fast', '--password'}
    known.update(name for verb in runner._VERBS.values() for names, _ in verb.arguments for name in names)
    assert set(re.findall(r'(?<![\w-])--[a-z][a-z-]+', readme)) <= known
    for path in pages():
        for line, _ in commands(path):
            assert set(re.findall(r'(?<![\w-])--[a-z][a-z-]+', line)) <= known | {'--execute', '--to'}, line


# -- troubleshooting ---------------------------------------------------------------------------------------

def sentences():
    """Return the texts of runner.py: warnings of a run, what _say tells, and errors other than of usage."""
    def text(node):
        if isinstance(node, ast.BinOp):
            return text(node.left)
        value = getattr(node, 'value', getattr(node, 's', None))
        return value if isinstance(value, str) else None

    found = []
    with open(runner.__file__, encoding='utf-8') as file:
        tree = ast.parse(file.read())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, 'id', getattr(node.func, 'attr', ''))
            owner = getattr(node.func, 'value', None)
            warns = name == 'append' and 'warnings' in getattr(owner, 'attr', getattr(owner, 'id', ''))
            if warns or name in ('HistoryError', 'LaunchError', 'LockError', 'RunnerError'):
                if text(node.args[0]):
                    found.append(text(node.args[0]))
    return found


def fixed_parts(sentence):
    """Return the parts of a sentence that stay whatever is put in, those of a word or two left out."""
    parts = [part.strip(' :,.)') for part in re.split(r"%(?:\([a-z]+\))?[-0-9.]*[rsdgf]|[;('…\\]", sentence)]
    return [part for part in parts if len(part) > 8]


def test_every_warning_is_explained():
    """Each sentence that a run or a verb may tell, but for plain usage, stands on the page, with what to do."""
    page = text_of(os.path.join(DOCS, 'troubleshooting.md'))
    found = sentences()
    assert len(found) >= 40
    assert [sentence for sentence in found if fixed_parts(sentence) and fixed_parts(sentence)[0] not in page] == []


def test_what_is_explained_can_be_said():
    """No sentence on the page is one that the code no longer has."""
    with open(runner.__file__, encoding='utf-8') as file:
        code = re.sub(r"'\n\s+'", '', file.read())
    page = text_of(os.path.join(DOCS, 'troubleshooting.md'))
    quoted = [text for cell in re.findall(r'^\| (`.*?) \|', page, re.M) for text in re.findall(r'`([^`]+)`', cell)]
    assert len(quoted) >= 70
    assert [part for text in quoted for part in fixed_parts(text) if part not in code] == []
