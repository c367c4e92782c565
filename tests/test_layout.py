"""The map of runner.py stays true: contents page, banners, layering, and the shape that is promised."""
import ast
import os
import re
import sys

import pytest

import runner

# Section: (title, sections it may use), as in the design.
SECTIONS = {
    1: ('Vocabulary', set()),
    2: ('Small tools', {1}),
    3: ('Conditions', {1, 2}),
    4: ('Watching', {1, 2}),
    5: ('Launching', {1, 2, 4}),
    6: ('Retrying', {1, 2}),
    7: ('Remembering', {1, 2, 3}),
    8: ('Trends', {1, 2}),
    9: ('Logs', {1, 2}),
    10: ('Gates', {1, 2, 3, 8}),
    11: ('Alerts', {1, 2, 3, 7, 8, 9}),
    12: ('Settings', {1, 2, 3, 5, 6, 7, 10, 11}),
    13: ('ScriptRunner', set(range(1, 13))),
    14: ('Profiling', {1, 2, 4, 5, 13}),
    15: ('Reports', {1, 2, 8, 10}),
    16: ('Command line', set(range(1, 16))),
}

SOURCE_PATH = os.path.abspath(runner.__file__)
with open(SOURCE_PATH, 'rb') as _file:
    SOURCE = _file.read().decode('utf-8')
TREE = ast.parse(SOURCE)
BANNER = re.compile(r'^# ={90,}\n# (\d+)\. (.+)\n# ={90,}$', re.M)


#: (line, number, title) of each banner.
BANNERS = [(SOURCE.count('\n', 0, m.start()) + 2, int(m.group(1)), m.group(2)) for m in BANNER.finditer(SOURCE)]


def section_of(line):
    """Return the number of the section that holds a line; 0 before the first."""
    number = 0
    for start, candidate, _ in BANNERS:
        if start <= line:
            number = candidate
    return number


def top_level_names():
    """Return {name: (section, line)} of everything defined at the top of the module."""
    names = {}
    for node in ast.walk(TREE):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node in TREE.body:
            names.setdefault(node.name, (section_of(node.lineno), node.lineno))
        if isinstance(node, ast.Assign) and node in TREE.body:
            for target in node.targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        names.setdefault(name.id, (section_of(node.lineno), node.lineno))
    return names


def test_banners_match_the_table():
    """Each section has a banner, in order, with the title of the table."""
    assert [(number, title) for _, number, title in BANNERS] == [(n, SECTIONS[n][0]) for n in sorted(SECTIONS)]


def test_contents_page_matches_the_banners():
    """The module docstring lists the same sections."""
    listed = re.findall(r'^ {4,5}(\d+)\. ([A-Z][A-Za-z ]+?)(?: {2,}|$)', runner.__doc__, re.M)
    assert [(int(n), t) for n, t in listed] == [(n, SECTIONS[n][0]) for n in sorted(SECTIONS)]


def test_no_section_uses_one_it_may_not():
    """A name of another section is used only where the layering allows it."""
    names = top_level_names()
    wrong = []
    for node in ast.walk(TREE):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
            here, there = section_of(node.lineno), names[node.id][0]
            if here and there and here != there and there not in SECTIONS[here][1]:
                wrong.append('%s (section %d) used in section %d, line %d' % (node.id, there, here, node.lineno))
    assert wrong == []


def test_all_is_complete_and_in_file_order():
    """__all__ names every public thing that has a docstring, in the order of the file."""
    names = top_level_names()
    assert [name for name in runner.__all__ if name not in names] == []
    lines = [names[name][1] for name in runner.__all__]
    assert lines == sorted(lines)


def test_every_public_name_has_a_docstring():
    """Public functions, classes and methods say what they do."""
    missing = []
    for node in TREE.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith('_'):
            missing += [node.name] if not ast.get_docstring(node) else []
            if isinstance(node, ast.ClassDef):
                missing += ['%s.%s' % (node.name, item.name) for item in node.body
                            if isinstance(item, ast.FunctionDef) and not item.name.startswith('_') and not ast.get_docstring(item)]
    assert missing == []


def test_printing_and_exiting_happen_in_the_command_line_only():
    """No other section writes to stdout or leaves the process (a forked child that never became the script apart)."""
    calls = [(node.lineno, ast.dump(node.func)) for node in ast.walk(TREE) if isinstance(node, ast.Call)]
    wrong = [line for line, func in calls if ("id='print'" in func or "attr='exit'" in func) and section_of(line) != 16]
    assert wrong == []


def test_broad_handlers_stand_at_named_borders():
    """`except Exception` is only found where its line or its function's docstring calls it a border."""
    wrong = []
    for function in ast.walk(TREE):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name) and node.type.id == 'Exception':
                text = SOURCE.split('\n')[node.lineno - 1] + (ast.get_docstring(function) or '')
                reraised = any(isinstance(item, ast.Raise) for item in ast.walk(node))
                if not reraised and 'border' not in text.lower():
                    wrong.append('%s, line %d' % (function.name, node.lineno))
    assert wrong == []


def test_no_syntax_newer_than_3_6():
    """The source parses as 3.6 (checked by real interpreters in CI, here by the grammar's own switch)."""
    if sys.version_info < (3, 8):
        pytest.skip('feature_version needs Python 3.8')
    ast.parse(SOURCE, feature_version=(3, 6))


def test_version_is_in_one_place():
    """The version is written once, in runner.py."""
    assert len(re.findall(r"^__version__ = '\d+\.\d+\.\d+'$", SOURCE, re.M)) == 1
