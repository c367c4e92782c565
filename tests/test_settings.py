"""Section 12: the settings file: one table, from which validation, the schema and the example come."""
import json
import os
import re
import sqlite3

import pytest
from conftest import TESTS, own_process_only, script

import runner

EXAMPLE = os.path.join(os.path.dirname(TESTS), 'config.example.yaml')
#: Options that are no setting: they name the file itself, or make sense for one call only.
NO_SETTINGS = {'config', 'dry_run'}
#: Options that stand as entries of a list in the file.
AS_ENTRIES = {'gate', 'regression', 'alert'}


def load(tmp_path, text, **environment):
    """Load a text as settings file `ci.yaml`."""
    path = tmp_path / 'ci.yaml'
    path.write_bytes(text if isinstance(text, bytes) else text.encode('utf-8'))
    return runner.Settings.load(str(path), environment)


def problems(tmp_path, text, **environment):
    """Return the lines that are told about a text, without the folder."""
    with pytest.raises(runner.UsageError) as caught:
        load(tmp_path, text, **environment)
    return str(caught.value).replace(str(tmp_path) + os.sep, '').split('\n')


@pytest.mark.parametrize('text, sentence', [
    ('alerts:\n  - name: a\n    treshold: 3\n',
     "ci.yaml, line 3: 'treshold' is not a setting of alerts; valid: name, condition, severity, channels, "
     'throttle_seconds, for, consecutive'),
    ('\nlables: {a: b}\n', "ci.yaml, line 2: 'lables' is not a setting of this file; did you mean 'labels'? valid: timeout, "),
    ('max_memory: 4GiB', "ci.yaml, line 1: 'max_memory' is not a setting of this file; it belongs under limits"),
    ('timeout: 5m\ngrace: 1s\ntimeout: 6m\n', "ci.yaml, line 3: 'timeout' stands here a second time; the first is in line 1"),
    ('env: [a]', 'ci.yaml, line 1: env: a list where NAME: value is due'),
    ('limits: 5', 'ci.yaml, line 1: limits: the number 5 where keys are due; valid: max_memory, '),
    ('redact: x', "ci.yaml, line 1: redact: the text x where a list is due; begin each entry with '- '"),
    ('limits: {max_memory: "' + '9' * 400 + '"}', 'not a size'),
    ('timeout: {a: b}', 'ci.yaml, line 1: timeout: a mapping of keys where a duration is due'),
    ('timeout: soon', "ci.yaml, line 1: timeout: 'soon': not a duration; write for example 90"),
    ('timeout: 0', "ci.yaml, line 1: timeout: '0': must be more than 0 seconds"),
    ('limits:\n  max_memory: 4XB', "ci.yaml, line 2: limits.max_memory: '4XB': not a size"),
    ('repeat: 1.5', 'ci.yaml, line 1: repeat: 1.5: not a whole number of at least 1'),
    ('repeat: 0', 'ci.yaml, line 1: repeat: 0: not a whole number of at least 1'),
    ("detach_ok: 'true'", "ci.yaml, line 1: detach_ok: 'true' is a text where true or false is due"),
    ('timeout:', 'ci.yaml, line 1: timeout: no value; give one, or leave the key out'),
    ('retry: {strategy: exponental}', "ci.yaml, line 1: retry.strategy: 'exponental' is not valid; did you mean 'exponential'?"),
    ('retry: {retry_on: [75, timeuot]}', "ci.yaml, line 1: retry.retry_on, entry 2: 'timeuot': neither an exit code nor a cause"),
    ('performance_gates: [{metric_name: cpu_maxx, max_value: 5}]',
     "ci.yaml, line 1: performance_gates, entry 1, metric_name: no metric 'cpu_maxx'; did you mean 'cpu_max'?"),
    ('performance_gates: [{metric_name: cpu_max}]', 'performance_gates, entry 1: gate cpu_max: give max_value or min_value'),
    ('performance_gates: [{condition: cpu_max < 5, max_value: 5}]', 'max_value belongs to metric_name'),
    ('performance_gates: [{name: a}]', 'an empty gate: a gate is one of metric_name with bounds, condition, regression'),
    ('performance_gates:\n  - condition: cpu_maxx < 5',
     "ci.yaml, line 2: performance_gates, entry 1, condition: condition 'cpu_maxx < 5': no metric 'cpu_maxx' (column 1)"),
    ('performance_gates: [{regression: {metric: cpu_max, min_runs: 5}}]', 'min_runs=5: must be a whole number of at least 10'),
    ('performance_gates: [{metric_name: memory_max_mb, max_value: 5m}]', "'5m' is a duration"),
    ('alerts: [{name: a, condition: cpu_max}]', "'cpu_max' is only a number, not a condition"),
    ('alerts: [{name: y}]', "ci.yaml, line 1: alerts, entry 1: nothing to judge; an alert has one of condition, "),
    ('notifications: {slack: {webhook_url: hooks.slack.com}}', 'not a URL; it begins with https:// or http://'),
    ('notifications: {email: {smtp_server: a, from: b, to: c, smtp_port: 70000}}', '70000: not a port; ports are 1 to 65535'),
    ("redact: ['(']", "ci.yaml, line 1: redact, entry 1: '(': not a regular expression"),
    ("redact: ['a*']", "ci.yaml, line 1: redact, entry 1: 'a*': matches the empty text"),
    ('? [a]\n: b', 'ci.yaml, line 1: a key must be a plain word'),
    ('<<: {timeout: 5}', "ci.yaml, line 1: '<<' is not a setting of this file: merge keys are not read"),
    ('lock: !!python/object/apply:os.system [x]', 'ci.yaml, line 1: lock: a list where a text is due'),
    ('lock: !!python/name:os.system x', 'ci.yaml, line 1: lock: tags such as tag:yaml.org,2002:python/name:os.system'),
    # What YAML 1.1 reads as something that few people mean.
    ('labels: {debug: no}', "ci.yaml, line 1: labels.debug: YAML reads no as the boolean false; write 'no' in quotes"),
    ('quiet: on', 'ci.yaml, line 1: quiet: YAML reads on as the boolean true; write true'),
    ('labels: {version: 1.10}', "labels.version: 1.10 is a number where a text is due; write '1.10' in quotes"),
    ('labels: {day: 2026-01-31}', "labels.day: YAML reads 2026-01-31 as a date; write '2026-01-31' in quotes"),
    ('labels: {a: true}', "labels.a: true is a boolean where a text is due; write 'true' in quotes"),
    ('limits: {max_processes: 1_000}', 'limits.max_processes: YAML reads 1_000 as the number 1000; write 1000'),
    ('grace: 010', 'grace: YAML reads 010 as the number 8; write 8'),
    ('idle_timeout: 1:30', 'idle_timeout: YAML reads 1:30 as the number 90; write 90'),
    ('retry: {multiplier: .inf}', 'retry.multiplier: .inf: not a number'),
    # The file as a whole.
    ('', 'ci.yaml: holds no settings'),
    ('# nothing\n', 'ci.yaml: holds no settings'),
    ('timeout: 5\n---\ngrace: 5\n', 'ci.yaml, line 2: a second document begins; settings are one document'),
    ('limits:\n\tmax_memory: 5', 'ci.yaml, line 2: a tab; YAML is indented by spaces'),
    ('- timeout: 5', 'ci.yaml, line 1: a list where keys are due; valid: timeout, '),
    ('a: [', 'ci.yaml, line 1: not YAML: '),
    ('a: *x', 'ci.yaml, line 1: not YAML: found undefined alias; a text that begins with * stands in quotes'),
    ('timeout: 5\na: \x01', 'ci.yaml, line 2: not YAML: special characters are not allowed'),
    (b'timeout: 5\ngrace: \xff', 'ci.yaml, line 2: not UTF-8'),
    ('[' * 5000, 'ci.yaml: nested too deeply for settings'),
])
def test_what_is_wrong_is_told_with_its_line(tmp_path, text, sentence):
    """One sentence: file, line, key, what is wrong, what would be right."""
    told = problems(tmp_path, text)
    assert sentence in told[0] and told[0].startswith('ci.yaml')


def test_everything_that_is_wrong_is_told_at_once(tmp_path):
    """One line each, in the order of the file."""
    told = problems(tmp_path, 'timeout: no\nrepeat: x\nredact: 1\ntimeout: 5\n')
    assert [line.split(':')[0] for line in told] == ['ci.yaml, line %d' % n for n in (1, 2, 3, 4)]


def test_variables_come_from_the_environment(tmp_path):
    """With defaults; escaped ones stay; keys are never filled in."""
    settings = load(tmp_path, 'timeout: ${T}\nrepeat: ${N:-3}\nquiet: ${Q:-true}\nlabels: {a: "$${x} ${T}", "b${T}": c}\n', T='5m')
    assert settings.values == {'timeout': 300, 'repeat': 3, 'quiet': True, 'labels': {'a': '${x} 5m', 'b${T}': 'c'}}


@pytest.mark.parametrize('text, sentence', [
    ('timeout: ${T}', 'ci.yaml, line 1: timeout: ${T} is not set; set it, or write ${T:-default}'),
    ('timeout: ${T', 'ci.yaml, line 1: timeout: ${ without }'),
    ('timeout: ${A}', "ci.yaml, line 1: timeout: 'abc': not a duration"),
    ('repeat: ${A}', "ci.yaml, line 1: repeat: 'abc' is not a whole number"),
    ('quiet: ${A}', "ci.yaml, line 1: quiet: 'abc' is not true or false"),
    ('notifications: {slack: {webhook_url: "${T}"}}', 'notifications.slack.webhook_url: ${T} is not set'),
])
def test_variables_that_cannot_be_used_are_told(tmp_path, text, sentence):
    """Unset ones, and values that do not fit."""
    assert problems(tmp_path, text, A='abc')[0].startswith(sentence) or sentence in problems(tmp_path, text, A='abc')[0]


def test_secret_values_are_never_shown(tmp_path):
    """Neither one from the environment nor one that stands in the file."""
    told = problems(tmp_path, 'notifications:\n  slack: {webhook_url: "${HOOK}"}\n  email: {smtp_server: a, from: b, to: c, '
                              'password: 12.75}\n  webhook: {url: "https://x.y", headers: {a: 7.5}}\n', HOOK='s3cr3t')
    told += problems(tmp_path, 'env: {API_KEY: 7.25}')
    assert len(told) == 4
    assert not any(secret in line for line in told for secret in ('s3cr3t', '12.75', '7.5', '7.25'))


@pytest.mark.parametrize('text', [
    'notifications: {slack: https://hooks.slack.com/services/T0/B0/s3cr3t}', 'notifications: https://hooks.slack.com/T0/s3cr3t',
    'notifications: {webhook: {url: "https://x.y", headers: Bearer s3cr3t}}', 'notifications: {apprise: json://u:s3cr3t@host}',
    'env: API_KEY=s3cr3t', 'notifications: {slack: {webhook_url: *s3cr3t}}', 'notifications: {slack: {webhook_url: !s3cr3t x}}'])
def test_a_secret_in_the_place_of_keys_is_not_shown(tmp_path, text):
    """One level too high is where many write it first."""
    told, = problems(tmp_path, text)
    assert 's3cr3t' not in told


def test_numbers_and_texts_are_read_as_they_are_meant(tmp_path):
    """Durations are seconds, sizes bytes, shares fractions, whole numbers may be labels."""
    settings = load(tmp_path, """
timeout: 90
grace: 1m30s
limits: {max_memory: 2GiB, max_output: 1000}
labels: {build: 8080, on: 'yes'}
env_file: .env
retry: {max_attempts: 3, multiplier: 1e1, retry_on: [75, timeout], skip_on: 2}
history: {enabled: false}
redact: ['customer-[0-9]+']
performance_gates:
  - {regression: {metric: cpu_max, min_change: 5%}}
  - {metric_name: memory_max_mb, max_value: 2GiB}
""")
    assert settings.options == {
        'timeout': 90, 'grace': 90, 'max_memory': 2 << 30, 'max_output': 1000, 'label': [('build', '8080'), ('on', 'yes')],
        'env_file': ['.env'], 'retry': 2, 'retry_on': (75, 'timeout'), 'skip_on': (2,), 'no_history': True}
    assert settings.gates == [{'regression': {'metric': 'cpu_max', 'min_change': 0.05}},
                              {'metric_name': 'memory_max_mb', 'max_value': '2GiB'}]
    assert [pattern.pattern for pattern in settings.redact] == ['customer-[0-9]+']
    assert runner.retry_config_of({}, settings).multiplier == 10
    assert settings.lines[('retry', 'multiplier')] == 7 and settings.lines[('performance_gates', 2, 'max_value')] == 12


def test_every_option_of_a_run_is_a_setting():
    """Under one of the table's keys, or it is named here; and no setting stands for an option that does not exist."""
    settings = {setting.option for _, setting in runner.walk_settings() if setting.option}
    options = {option.name for option in runner._OPTIONS}
    assert options - settings == NO_SETTINGS | (AS_ENTRIES & options)
    assert settings <= options


def test_the_example_is_generated_from_the_table_and_complete():
    """config.example.yaml is what `config example` prints; every key of the table stands in it with its meaning."""
    text = runner.settings_example()
    if os.path.exists(EXAMPLE):
        with open(EXAMPLE, encoding='utf-8') as file:
            assert file.read() == text, 'stale: python -m runner config example > config.example.yaml'
    for path, setting in runner.walk_settings():
        assert any(line.lstrip(' #-').startswith(path[-1] + ':') for line in text.splitlines()), path
        assert setting.meaning[1:] in text, path


def test_the_example_is_valid_also_with_everything_switched_on(tmp_path):
    """As it stands with an empty environment, and without the # before keys."""
    text = runner.settings_example()
    load(tmp_path, text)
    switched_on = re.sub(r'(?m)^( *)#( *(?:[a-z_]+:|# ))', r'\1\2', text)
    settings = load(tmp_path, switched_on)
    given = {setting.option for _, setting in runner.walk_settings() if setting.option}
    assert set(settings.options) == given and settings.options['junit_output'] == 'junit.xml'


@own_process_only
def test_a_run_obeys_the_example(place):
    """The file as it is delivered; what it says shows in the plan and in the record."""
    config = place.write('config.yaml', runner.settings_example())
    plan = json.loads(place.run('--config', config, '--dry-run', script('exit_with.py'), 0).out.decode())
    assert (plan['timeout'], plan['limits']['memory'], plan['labels']) == (1800, 4 << 30, {'team': 'data'})
    code = place.write('show.py', 'import os\nprint(os.environ["PYTHONUNBUFFERED"], "customer-123456")')
    assert place.run('--config', config, code).out == b'1 customer-123456\n'
    assert place.rows()[0]['stdout_tail'] == '1 [redacted]\n' and json.loads(place.rows()[0]['labels']) == {'team': 'data'}


def test_a_flag_is_stronger_than_the_environment_and_that_than_the_file(place):
    """For each value by itself."""
    config = place.write('ci.yaml', 'timeout: 1s\ngrace: 1s\nlimits: {max_processes: 1, max_memory: 1GiB}\nlabels: {a: f, b: f}\n')
    env = {'SCRIPT_RUNNER_CONFIG': config, 'SCRIPT_RUNNER_GRACE': '2s', 'SCRIPT_RUNNER_TIMEOUT': '2s'}
    plan = json.loads(place.run('--timeout', '3s', '--max-processes', 3, '--label', 'b=c', '--dry-run', script('exit_with.py'),
                                env=env).out.decode())
    assert (plan['timeout'], plan['grace'], plan['labels']) == (3, 2, {'a': 'f', 'b': 'c'})
    assert (plan['limits']['processes'], plan['limits']['memory']) == (3, 1 << 30)
    place.write('ci.yaml', 'history: {enabled: false}\n')
    for value, is_kept in (('0', True), ('1', False)):
        env = {'SCRIPT_RUNNER_CONFIG': config, 'SCRIPT_RUNNER_NO_HISTORY': value}
        plan = json.loads(place.run('--dry-run', script('exit_with.py'), env=env).out.decode())
        assert (plan['history_db'] is not None) == is_kept


def test_variables_of_the_file_are_weaker_than_those_of_flags(place):
    """env_file < env of the file < --env-file < --env."""
    place.write('a.env', 'A=1\nB=1\nC=1\nD=1\n')
    place.write('b.env', 'C=3\nD=3\n')
    config = place.write('ci.yaml', 'env_file: a.env\nenv: {B: 2, C: 2, D: 2}\n')
    code = place.write('show.py', 'import os\nprint([os.environ[name] for name in "ABCD"])')
    assert place.run('--config', config, '--env-file', 'b.env', '--env', 'D=4', code).out == b"['1', '2', '3', '4']\n"


def test_the_api_reads_a_settings_file(place, monkeypatch):
    """An argument is stronger than the file; retries, interval and history come from it."""
    monkeypatch.delenv('SCRIPT_RUNNER_HISTORY_DB', raising=False)
    config = place.write('ci.yaml', 'timeout: 60\ngrace: 3\nretry: {max_attempts: 2, base_delay: 0}\nmonitoring: {interval: 50ms}\n'
                                    'history: {db: "%s"}\n' % place.history.replace('\\', '/'))
    run = runner.ScriptRunner(script('exit_with.py'), ['7'], config_file=config, grace=5)
    assert (run.timeout, run.grace, run.monitor_interval) == (60, 5, 0.05)
    result = run.run_script()
    run.history_manager.close()
    assert result['returncode'] == 7 and len(result['attempts']) == 2 and len(place.rows()) == 2


@pytest.mark.parametrize('option', ['missing.yaml', 'bad.yaml'])
def test_settings_that_cannot_be_used_stop_the_run_before_it_starts(place, option):
    """Exit status 2, one line, nothing started, nothing recorded."""
    place.write('bad.yaml', 'tiemout: 5\n')
    code = place.write('touch.py', 'open("touched", "w").close()')
    finished = place.run('--config', option, code)
    assert finished.status == 2 and finished.err.count(b'\n') == 1 and option.encode() in finished.err
    assert not os.path.exists(os.path.join(place.folder, 'touched')) and not os.path.exists(place.history)


def test_verbs_read_the_history_of_the_file(place):
    """Before and after the verb; a flag is stronger."""
    config = place.write('ci.yaml', 'history: {db: other.db}\n')
    env = {'SCRIPT_RUNNER_HISTORY_DB': ''}
    assert place.run('--config', config, script('exit_with.py'), 0, env=env).status == 0
    assert place.run('history', '--config', config, env=env).out.count(b'exit_with.py') == 1
    finished = place.run('--config', config, '--history-db', 'none.db', 'history', env=env)
    assert finished.status == 2 and b'none.db' in finished.err


def test_patterns_of_one_run_do_not_reach_another(place):
    """Arguments, labels and tails are redacted as the file says, in that run only; the result is whole."""
    config = place.write('ci.yaml', "redact: ['cust[0-9]+']\n")
    code = place.write('echo.py', 'import sys\nprint(sys.argv[1])\nsys.exit("bad cust99")')
    first = runner.ScriptRunner(code, ['cust42'], config_file=config, history_db=place.history, labels={'for': 'cust1'},
                                log_file=os.path.join(place.folder, 'log'))
    assert first.get_execution_plan()['command'][-1] == '[redacted]'
    assert first.run_script()['stdout'] == 'cust42\n'
    second = runner.ScriptRunner(code, ['cust42'], history_db=place.history)
    second.run_script()
    for run in (first, second):
        run.history_manager.close()
    rows = place.rows()
    assert [row['stdout_tail'] for row in rows] == ['[redacted]\n', 'cust42\n']
    assert (rows[0]['script_args'], rows[0]['labels']) == ('["[redacted]"]', '{"for": "[redacted]"}')
    assert rows[0]['error_summary'] == 'bad [redacted]' and rows[1]['script_args'] == '["cust42"]'


def test_old_runs_are_deleted_as_the_file_says(place):
    """By the next run, and no others."""
    with runner.HistoryManager(place.history) as history:
        for year in ('2020', '2021'):
            history.save_execution(script_path='old.py', start_time=year + '-01-01T00:00:00+00:00')
        history.save_execution(script_path='recent.py')
    config = place.write('ci.yaml', 'history: {retention_days: 30}\n')
    place.run('--config', config, script('exit_with.py'), 0)
    assert [os.path.basename(row['script_path']) for row in place.rows()] == ['recent.py', 'exit_with.py']


def test_config_check_and_schema(place):
    """check tells what is wrong; the schema names every key and refuses others."""
    good, bad = place.write('good.yaml', 'timeout: 5m\n'), place.write('bad.yaml', 'timeout: 5m\ngrase: 1\n')
    assert place.run('config', 'check', good).status == 0
    finished = place.run('config', 'check', bad)
    assert finished.status == 2 and b"line 2: 'grase' is not a setting of this file; did you mean 'grace'?" in finished.err
    assert place.run('config', 'check').status == 2
    schema = json.loads(place.run('config', 'schema').out.decode())
    assert schema['additionalProperties'] is False and 'json-schema' in schema['$schema']
    assert set(schema['properties']) == {path[0] for path, _ in runner.walk_settings() if len(path) == 1}
    regression = schema['properties']['performance_gates']['items']['properties']['regression']
    assert regression['required'] == ['metric'] and 'cpu_max' in str(regression['properties']['metric'])


def test_a_run_without_a_file_computes_nothing_of_this(place):
    """No table, no YAML."""
    code = place.write('run.py', 'import runner, sys\nrunner.ScriptRunner(%r, ["0"], history_db=%r).run_script()\n'
                                 'print("yaml" in sys.modules, runner._table_cache, runner._forms_cache)'
                       % (script('exit_with.py'), place.history))
    assert place.bare(code).out == b'False [] {}\n'


def test_a_huge_file_is_refused():
    """/dev/zero as a settings file does not hang."""
    if not os.path.exists('/dev/zero'):
        pytest.skip('needs /dev/zero')
    with pytest.raises(runner.UsageError, match='larger than 1.0 MiB'):
        runner.Settings.load('/dev/zero')


def test_limits_of_a_deletion(tmp_path):
    """At most so many, the oldest first."""
    path = str(tmp_path / 'history.db')
    with runner.HistoryManager(path) as history:
        for day in range(1, 6):
            history.save_execution(script_path='a.py', start_time='2020-01-0%dT00:00:00+00:00' % day)
        assert history.cleanup_old_data(1, limit=2) == 2
    connection = sqlite3.connect(path)
    assert connection.execute('SELECT min(start_time), count(*) FROM executions').fetchall() == [
        ('2020-01-03T00:00:00.000000+00:00', 3)]
    connection.close()
