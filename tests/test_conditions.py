"""Section 3: the language of gates, alerts and history filters."""
import ast
import operator
import random
import sqlite3
import subprocess
import sys

import pytest
from conftest import THOROUGH
from hypothesis import example, given, settings
from hypothesis import strategies as st

import runner

MANY = settings(max_examples=2000 if THOROUGH else 200, deadline=None, database=None)


def value_of(text, **values):
    """Return what a condition says of values; a dot in a name is written `__`."""
    return runner.parse_condition(text).evaluate({name.replace('__', '.'): value for name, value in values.items()})


def error_of(text, extra_names=()):
    """Return the ConditionError of a text that is none."""
    with pytest.raises(runner.ConditionError) as caught:
        runner.parse_condition(text, extra_names)
    assert caught.value.text == text and 1 <= caught.value.column <= len(text) + 1
    assert '(column %d)' % caught.value.column in str(caught.value) and '\n' not in str(caught.value)
    return caught.value


# -- what is true ------------------------------------------------------------------------------------------

def test_both_spellings_mean_the_same():
    """The words of SQL and of Python, `=` and `==`, `<>` and `!=`, any case."""
    values = {'cpu_max': 91.0, 'memory_max_mb': 2000.0, 'success': False, 'status': 'failed'}
    for text in ('cpu_max > 85 AND memory_max_mb > 1024', 'cpu_max > 85 and memory_max_mb > 1024', 'success = FALSE',
                 'success == False', 'not success', 'NOT success', "status <> 'success'", 'status != "success"',
                 "cpu_max > 85 AND (memory_max_mb > 1GiB OR status != 'success')", '`cpu_max`>85'):
        assert runner.parse_condition(text).evaluate(values) is True, text


@pytest.mark.parametrize('text, expected', [
    ('1 + 2 * 3 = 7', True), ('(1 + 2) * 3 = 9', True), ('10 - 3 - 2 = 5', True), ('12 / 3 / 2 = 2', True),
    ('-2 * -3 = 6', True), ('- 2 + 3 = 1', True), ('+5 = 5', True), ('7 / 2 = 3.5', True), ('1e3 = 1000', True), ('.5 = 5e-1', True),
    ('true OR false AND false', True), ('(true OR false) AND false', False), ('NOT false AND false', False),
    ('NOT 1 > 2', True), ('NOT (true AND true)', False), ('(1 < 2) = true', True), ("'a''b' = \"a'b\"", True), ("'a' < 'b'", True)])
def test_precedence_is_pythons(text, expected):
    """OR binds least, then AND, NOT, comparisons, sums, products, signs; equals are taken from the left."""
    assert runner.parse_condition(text).evaluate({}) is expected


@pytest.mark.parametrize('text, expected', [
    ('cpu_max > 5', None), ('NOT cpu_max > 5', None), ('cpu_max > 5 AND success', False), ('success AND cpu_max > 5', False),
    ('cpu_max > 5 OR timed_out', True), ('timed_out OR cpu_max > 5', True), ('cpu_max > 5 AND timed_out', None),
    ('cpu_max > 5 OR success', None), ('cpu_avg > 5', None), ('1 / num_fds > 0', None), ('0 / num_fds = 0', None),
    ('cpu_max = cpu_max', None), ('cpu_max != cpu_max', None), ("git_branch != 'main'", None), ("label.x = 'y'", None),
    ('cpu_max + 1 > 0', None), ('user_time - user_time = 0', None), ('user_time * num_fds = 0', None), ('exit_code > 1', None)])
def test_unknown_stays_unknown(text, expected):
    """None, NaN, a missing name, a wrong type, 0 as divisor, inf - inf: unknown, unless the rest decides."""
    values = {'cpu_max': None, 'cpu_avg': float('nan'), 'success': False, 'timed_out': True, 'num_fds': 0,
              'user_time': float('inf'), 'exit_code': 'seven', 'git_branch': 5}
    assert runner.parse_condition(text).evaluate(values) is expected


@pytest.mark.parametrize('text, value', [
    ('memory_max_mb = 10GiB', 10240), ('memory_max_mb = 512 KiB', 0.5), ('memory_max_mb = 1048576B', 1), ('memory_max_mb = 512M', 488.28125),
    ('stdout_bytes = 10kB', 10000), ('execution_time_seconds = 1h30m', 5400), ('execution_time_seconds = 250ms', 0.25),
    ('execution_time_seconds = 1m + 5', 65), ('execution_time_seconds = 2 * 1m', 120), ('cpu_max = 10%', 10), ('cpu_max = 10 % + 1', 11),
    ('exit_code = 50%', 0.5), ('2 * memory_max_mb = 1GiB', 512), ('memory_max_mb / 100MiB = 2', 200), ('10% * memory_max_mb = 1GiB', 10240),
    ('-execution_time_seconds = -1m', 60), ('1h / execution_time_seconds = 2', 1800), ('5 m = execution_time_seconds', 300),
    ('num_fds * 1s = 1m - 0 * execution_time_seconds', 60)])
def test_a_number_takes_the_unit_of_what_it_meets(text, value):
    """Sizes become MiB or bytes, durations seconds, percentages plain beside a percentage and else hundredths."""
    names = runner.parse_condition(text).names
    assert runner.parse_condition(text).evaluate(dict.fromkeys(names, value)) is True


def test_a_share_of_the_baseline():
    """Prefix names have their metric's unit; a quotient of like things is a plain number."""
    values = {'memory_max_mb': 115.0, 'baseline__memory_max_mb': 100.0, 'cpu_max': 91.0, 'baseline__cpu_max': 80.0}
    assert value_of('memory_max_mb > baseline.memory_max_mb * 110%', **values) is True
    assert value_of('(memory_max_mb - baseline.memory_max_mb) / baseline.memory_max_mb > 10%', **values) is True
    assert value_of('cpu_max - baseline.cpu_max > 10%', **values) is True
    assert value_of('previous.success AND baseline.success > 0.9', previous__success=True, baseline__success=0.95) is True


def test_times_are_compared_with_iso_text():
    """As moments, not letter by letter: another offset is the same moment."""
    start = '2026-03-01T12:00:00.000000+00:00'
    assert value_of("start_time = '2026-03-01T13:00:00+01:00'", start_time=start) is True
    assert value_of("'2026-03-01' < start_time AND start_time < '2026-03-02'", start_time=start) is True
    assert value_of("start_time < end_time", start_time=start, end_time='rubbish') is None


def test_labels_and_extra_names():
    """Any key of a label is a text; names of the caller's are numbers."""
    assert value_of("label.team-name = 'data'", **{'label.team-name': 'data'}) is True
    assert runner.parse_condition("`label.a key` = '3'").evaluate({'label.a key': 3}) is True
    assert runner.parse_condition('`p95-latency` > 2 * rows', ['p95-latency', 'rows']).evaluate({'p95-latency': 5, 'rows': 2}) is True
    assert 'rows' in str(error_of('rowz > 5', ['rows']))


def test_a_condition_tells_its_names():
    """Names, metrics, text, and what each name was."""
    text = "cpu_max > 85 AND baseline.cpu_avg > 1 OR label.x = 'y' OR NOT success OR stdout_bytes > 1"
    condition = runner.parse_condition(text)
    assert (str(condition), condition.text) == (text, text)
    assert condition.names == {'cpu_max', 'baseline.cpu_avg', 'label.x', 'success', 'stdout_bytes'}
    assert condition.metrics == {'cpu_max', 'success', 'stdout_bytes'}
    assert condition.explain({'cpu_max': 91.2, 'label.x': 'z', 'success': True, 'stdout_bytes': 104857600}) == (
        "cpu_max = 91.2 (%), baseline.cpu_avg unknown, label.x = 'z', success = true, stdout_bytes = 104857600 (bytes)")


# -- what is refused ---------------------------------------------------------------------------------------

@pytest.mark.parametrize('text, column, part', [
    ('cpu_maxx < 90', 1, "no metric 'cpu_maxx' (column 1); did you mean 'cpu_max'? (python -m runner metrics lists them)"),
    ('CPU_MAX < 90', 1, "did you mean 'cpu_max'"), ('label. = 1', 1, 'label.team'), ('baseline.start_time > 1', 1, 'no baseline'),
    ('success AND baseline.foo > 1', 13, "no metric 'foo'"), ('status = failed', 10, "in quotes: 'failed'"),
    ("status = 'sucess'", 10, "did you mean 'success'"), ("'timeot' != cause", 1, "did you mean 'timeout'"), ("status > 'failed'", 8, 'no order'),
    ('memory_max_mb < 5m', 17, 'in MiB'), ('cpu_max < 5MiB', 11, 'in %'), ('num_threads > 5m', 15, 'plain number'),
    ('execution_time_seconds > baseline.execution_time_seconds + 10%', 60, '1.1 * x'), ('stdout_bytes > memory_max_mb', 14, 'bytes'),
    ('io_read_mb / execution_time_seconds > 5MiB', 39, 'MiB/s'), ('user_time * 5s > 3', 13, 'multiplies'), ('2 / 5s > 1', 5, 'divides'),
    ("cpu_max = 'x'", 9, 'is a number'), ('cpu_max AND success', 1, 'AND takes conditions'), ('NOT cpu_max', 5, 'NOT takes conditions'),
    ("hostname + 'x' = 'y'", 1, '+ takes numbers'), ('-success = 1', 2, '- takes numbers'), ('start_time > 5', 12, 'a time'),
    ("start_time > '2026-02-30'", 14, 'not a time'), ("start_time > 'yesterday'", 14, 'not a time'), ('cpu_max', 1, 'compare it'),
    ("'x'", 1, 'compare it'), ('start_time', 1, 'compare it'), ('1 < cpu_max < 5', 13, 'a < b AND b < c'), ('cpu_max != 3 == success', 14, 'a < b'),
    ('cpu_max > (5', 11, "'(' has no partner"), ('cpu_max > 5)', 12, "')' has no partner"), ('()', 2, 'value is missing'),
    ('', 1, 'before the end'), ('  ', 3, 'before the end'), ('cpu_max >', 10, 'before the end'), ('cpu_max > 5 cpu_min', 13, 'operator is missing'),
    ('cpu_max 5', 9, 'operator is missing'), ('success AND', 12, 'before the end'), ('AND success', 1, 'value is missing'), ('cpu_max > > 5', 11, "'>'"),
    ('success = NOT timed_out', 11, 'parentheses'), ('success NOT timed_out', 9, 'operator is missing'), ('cpu_max > 5parsecs', 11, 'units are'),
    ('cpu_max > 1.2.3', 11, 'units are'), ('cpu_max > 1e999', 11, 'too large'), ("git_branch = 'abc", 14, 'never closed'), ('cpu_max % 5 > 3', 9, "'%'"),
    ('cpu_max ; 5', 9, "';'"), ('__import__("os").system("x")', 1, 'no metric'), ("status = 'a\udc80'", 12, 'no character')])
def test_what_is_wrong_is_said_with_its_column(text, column, part):
    """One sentence: the condition, what is wrong, where, what would be right."""
    error = error_of(text)
    assert (error.column, error.exit_status) == (column, 2)
    assert part in str(error)


@pytest.fixture(scope='module')
def database():
    """An empty database in memory."""
    connection = sqlite3.connect(':memory:')
    yield connection
    connection.close()


def test_the_bounds(database):
    """Ten thousand of anything are refused with a column, not a crash; what is within the bounds is not."""
    for text in ('(' * 10000 + 'success' + ')' * 10000, 'NOT ' * 900 + 'success', '-' * 3000 + '1 = 1', 'NOT ' * 10000 + 'success',
                 '((-' * 1000 + '1', 'success' + ' AND success' * 300, '1' + '+1' * 1900 + ' = 1', 'x' * 5000):
        error_of(text)
    deep = '(' * 30 + 'success' + ')' * 30
    assert runner.parse_condition(deep).evaluate({'success': True}) is True
    long = 'success' + ' AND success' * 249
    assert runner.parse_condition(long).evaluate({'success': True}) is True
    for text in (deep, long, '1' + '+1' * 248 + ' = 249', 'NOT (1 = 1 OR ' * 6 + '1 < 2 + 3 * -(1 + 2 * (3))' + ')' * 6):
        sql, parameters = runner.parse_condition(text).to_sql({'success': ('1', [])})
        assert database.execute('SELECT ' + sql, parameters).fetchone()[0] in (0, 1)


def test_a_caller_deep_in_its_stack_may_parse_and_evaluate():
    """Nothing in here calls itself, so the deepest condition needs no more stack than the flattest."""
    text = 'NOT (success OR ' * 8 + 'cpu_max > -(1 + 2)' + ')' * 8

    def down(left):
        if left:
            return down(left - 1)
        condition = runner.parse_condition(text)
        with pytest.raises(runner.ConditionError):
            runner.parse_condition('(' * 3000)
        return condition.evaluate({'success': False, 'cpu_max': 1}), condition.to_sql({'success': ('1', []), 'cpu_max': ('1', [])})

    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    assert down(sys.getrecursionlimit() - depth - 60)[0] is not None


def test_parsing_loads_no_module():
    """A gate is parsed before the script is spawned: it must not cost an import."""
    code = ('import sys, runner; before = set(sys.modules)\n'
            'c = runner.parse_condition("cpu_max > 85 AND (memory_max_mb > 1GiB OR status != \'failed\') AND execution_time_seconds < 1h")\n'
            'c.evaluate({"cpu_max": 3}), c.explain({"cpu_max": 3})\n'
            'print(sorted(set(sys.modules) - before))')
    out = subprocess.check_output([sys.executable, '-c', code], cwd=runner.__file__.rpartition('runner.py')[0] or '.')
    assert out.decode().strip() == '[]'


GOOD = ["cpu_max > 85 AND (memory_max_mb > 1GiB OR status != 'success')", 'success = false AND NOT timed_out', '-1.5e3 * (cpu_avg / 10%) <= 1h / 5m',
        "label.team-name = 'it''s' OR `label.x y` <> label.z", 'previous.cpu_max + 10% < baseline.cpu_max', "start_time >= '2026-01-31T12:00:00+00:00'",
        'execution_time_seconds > 1h30m OR io_read_mb / user_time > 5', "cause == 'timeout' or git_branch < \"m\" AND true"]
PIECES = ['(', ')', ' AND ', ' or ', 'NOT ', '<', '=', '!=', '<>', '+', '-', '*', '/', '%', "'", '"', '`', '.', '5', '1e9', '5m', '1GiB', 'cpu_max',
          'status', 'label.', 'baseline.', 'true', ' ', '\x00', 'é', '２', '²', '\U0001f600', '\ud800', '\n', '__class__', '{}', '%s', ';', '9' * 400]


def parsed_or_refused(text):
    """Parse; a condition also evaluates and becomes SQL."""
    try:
        condition = runner.parse_condition(text)
    except runner.ConditionError as error:
        assert 1 <= error.column <= len(text) + 1 and str(error)
        return False
    condition.evaluate({'cpu_max': 5, 'success': True, 'status': 'failed', 'start_time': '2026-01-31'})
    condition.explain({'cpu_max': 5})
    sql, parameters = condition.to_sql({name: ('x', []) for name in condition.names})
    assert sql.count('?') == len(parameters) and "'" not in sql
    return True


def test_mutated_texts_are_parsed_or_refused(monkeypatch):
    """Good conditions with pieces put in, taken out and doubled."""
    monkeypatch.setattr(runner, 'suggest', lambda word, words: '')       # a millisecond each
    choose = random.Random(4)
    good = 0
    for _ in range(100000 if THOROUGH else 3000):
        text = choose.choice(GOOD)
        for _ in range(choose.randrange(1, 4)):
            at = choose.randrange(len(text) + 1)
            end = at + choose.choice((0, 0, 1, 2, 8))
            text = text[:at] + choose.choice(PIECES + [text[at:at + 6]]) + text[end:]
        good += parsed_or_refused(text)
    assert good > 20


@MANY
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=20).map(''.join)))
@example('9' * 3000)
@example('1' + 'h' * 3000)
def test_random_texts_are_parsed_or_refused(text):
    """Any text at all."""
    parsed_or_refused(text)


# -- one meaning in two places -----------------------------------------------------------------------------

NUMBERS = ('page_faults', 'context_switches', 'exit_code', 'num_fds')       # without a unit: any mixture is allowed
FLOATS = st.one_of(st.none(), st.sampled_from([0.0, 1.0, -1.0, 2.5, 1e308, float('inf'), float('-inf'), float('nan')]), st.integers(-5, 5),
                   st.floats(allow_nan=True, allow_infinity=True))


def numbers(inner):
    """Return a strategy of texts that are numbers."""
    return st.one_of(st.tuples(inner, st.sampled_from('+-*/'), inner).map(lambda t: '(%s) %s (%s)' % t), inner.map('- ({})'.format),
                     st.tuples(inner, st.sampled_from('+-*/'), st.sampled_from(NUMBERS)).map(' '.join))


NUMBER_TEXTS = st.recursive(st.one_of(st.sampled_from(NUMBERS), st.integers(0, 9).map(str), st.just('1e200'), st.just('0')), numbers, max_leaves=5)
COMPARISON_TEXTS = st.one_of(
    st.tuples(NUMBER_TEXTS, st.sampled_from(['<', '<=', '>', '>=', '=', '!=']), NUMBER_TEXTS).map(' '.join),
    st.tuples(st.just('status'), st.sampled_from(['=', '<>']), st.sampled_from(["'failed'", "'success'"])).map(' '.join),
    st.tuples(st.just('git_branch'), st.sampled_from(['=', '<>', '<', '>=']), st.sampled_from(["'main'", "'ü'", "''"])).map(' '.join),
    st.sampled_from(['success', 'timed_out', 'true', 'false', 'success = 1', 'success = timed_out']))
CONDITION_TEXTS = st.recursive(COMPARISON_TEXTS, lambda inner: st.one_of(
    st.tuples(inner, st.sampled_from(['AND', 'OR']), inner).map(' '.join), inner.map('NOT {}'.format),
    st.tuples(inner, st.sampled_from(['AND', 'OR', '=', '!=']), inner).map(lambda t: '(%s) %s (%s)' % t)), max_leaves=8)
VALUES = st.fixed_dictionaries(dict(
    dict.fromkeys(NUMBERS, FLOATS), success=st.sampled_from([None, True, False]), timed_out=st.sampled_from([None, True, False]),
    status=st.sampled_from([None, 'failed', 'success']), git_branch=st.sampled_from([None, 'main', 'ü', '', 'n', '\U0001f600'])))


@MANY
@given(text=CONDITION_TEXTS, values=VALUES)
@example(text='(page_faults = 5) < exit_code', values={'page_faults': 5, 'exit_code': 2})
@example(text='page_faults / exit_code = 2.5', values={'page_faults': 5, 'exit_code': 2})
@example(text='NOT page_faults / 0 = 1 OR 1 > 2', values={'page_faults': 5})
@example(text='- page_faults - - 1 = 3', values={'page_faults': -2})
def test_sqlite_means_what_we_mean(database, text, values):
    """True, false and unknown are 1, 0 and NULL, for any condition over any values."""
    try:
        condition = runner.parse_condition(text)
    except runner.ConditionError as error:
        assert 'binds less' in str(error) or 'after a comparison' in str(error) or 'deep' in str(error), error
        return
    sql, parameters = condition.to_sql({name: ('?', [values.get(name)]) for name in condition.names})
    answer = database.execute('SELECT ' + sql, parameters).fetchone()[0]
    assert {None: None, 0: False, 1: True}[answer] is condition.evaluate(values), (sql, parameters)


PYTHON = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Lt: operator.lt, ast.Gt: operator.gt, ast.Eq: operator.eq,
          ast.LtE: operator.le, ast.GtE: operator.ge, ast.NotEq: operator.ne}


def by_python(node, values):
    """Evaluate what Python's own parser made of the text: another reader of the same grammar."""
    if isinstance(node, ast.BoolOp):
        parts = [by_python(part, values) for part in node.values]
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if isinstance(node, ast.UnaryOp):
        value = by_python(node.operand, values)
        return not value if isinstance(node.op, ast.Not) else -value
    if isinstance(node, ast.BinOp):
        return PYTHON[type(node.op)](by_python(node.left, values), by_python(node.right, values))
    if isinstance(node, ast.Compare):
        return PYTHON[type(node.ops[0])](by_python(node.left, values), by_python(node.comparators[0], values))
    return values[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)


@MANY
@given(st.lists(st.tuples(st.sampled_from(['', 'not ', 'not not ']), st.sampled_from(['', '- ', '(', '']), st.sampled_from(NUMBERS),
                          st.sampled_from([' + 2 * page_faults', ' - 3 - context_switches', ' * 2 + 1', '']), st.sampled_from(['<', '>', '==', '!=', '<=', '>=']),
                          st.sampled_from(['1 - - exit_code', 'num_fds * - 2', '3'])), min_size=1, max_size=5),
       st.lists(st.sampled_from([' and ', ' or ', ' and not ']), min_size=5, max_size=5),
       st.fixed_dictionaries({name: st.integers(-4, 4) for name in NUMBERS}))
def test_python_reads_the_same(parts, words, values):
    """With every value known, a condition in Python's spelling says what Python's parser takes it for."""
    text = ''
    for number, (denial, sign, name, more, comparison, right) in enumerate(parts):
        left = '(%s%s)' % (name, more) if sign == '(' else sign + name + more
        text += (words[number] if number else '') + '%s%s %s %s' % (denial, left, comparison, right)
    assert runner.parse_condition(text).evaluate(values) is by_python(ast.parse(text, mode='eval').body, values)
