"""Section 14: profiles of scripts that run as bare, flame graphs, and what watching costs."""
import ast
import fractions
import json
import os
import pstats
import signal
import stat
import sys
import xml.etree.ElementTree

import conftest
import pytest

import runner

WORK = '''
import sys

def burn(n):
    total = 0
    for number in range(n):
        total += step(number)
    return total

def step(number):
    return number % 7

def hold():
    return bytearray(8 << 20)              # this line

def main():
    kept = hold()
    for _ in range(3):
        burn(20000)
    return kept

kept = main()
print('out', sys.argv[1:])
sys.exit(3)
'''

#: Prints what a script can see of how it was started; then multiprocessing starts it anew, and it fails.
MIRROR = '''
import json, multiprocessing, os, sys
names = sorted(name for name in globals() if name != 'names')

def double(number):
    return 2 * number

if __name__ == '__main__':
    print(sys.argv, __name__, __file__, sys.path[0], __spec__, os.environ.get('PYTHONPATH'), names, json.loads('[1]'))
    print(os.path.exists('/proc/self') and len(os.listdir('/proc/self/fd')))
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        print(pool.map(double, [1, 2]))

    def boom():
        raise ValueError('to see the traceback')
    boom()
'''

needs_cprofile = pytest.mark.skipif(conftest.PYPY, reason='tracemalloc and the times of PyPy differ')


def profiled(place, *words, **options):
    """Run the verb with the tools that every CPython has; what stands in PATH shall not decide the test."""
    return place.run('profile', '--cpu', 'cProfile', *words, **options)


def stand_in(place, text):
    """Put a program named py-spy into PATH, which gets PATH's place before everything else."""
    path = place.write('py-spy', '#!%s\n%s' % (sys.executable, text))
    os.chmod(path, stat.S_IRWXU)
    place.env['PATH'] = place.folder + os.pathsep + place.env['PATH']


PY_SPY = '''
import os, sys, time
words = sys.argv[1:]
assert words[:2] == ['record', '--nonblocking'], words
pid = int(words[words.index('--pid') + 1])
with open(words[words.index('-o') + 1], 'w') as file:
    file.write('<module> (work.py:1);main (work.py:18);burn (work.py:4) 30\\n<module> (work.py:1);main (work.py:18) 10\\nrubbish\\n')
'''

SAMPLING = '''
import sys
words = sys.argv[1:]
assert words[0] == 'attach' and words[words.index('--mode') + 1] == 'cpu' and '--collapsed' in words, words
int(words[-1])
with open(words[words.index('-o') + 1], 'w') as file:
    file.write('tid:1;work.py:<module>:24;work.py:burn:6 70\\ntid:1;work.py:<module>:24;work.py:burn:7 30\\n')
'''


@needs_cprofile
def test_a_profile_names_the_functions_and_the_line_that_holds_the_memory(place):
    """The profile tells functions as cProfile itself does, and the line whose memory is held; the script's words are its own."""
    work = place.write('work.py', WORK)
    finished = profiled(place, '--memory', 'tracemalloc', '--json', work, '--json', 'a')
    assert finished.status == 3
    profile = json.loads(finished.out.decode('utf-8'))
    assert finished.err.splitlines()[0] == b"out ['--json', 'a']"          # with --json stdout is the report's
    place.bare('-m', 'cProfile', '-o', 'witness', work)
    witness = pstats.Stats(os.path.join(place.folder, 'witness')).stats
    expected = {key[2]: entry[1] for key, entry in witness.items() if key[0].endswith('work.py')}
    found = {row['function']: row['calls'] for row in profile['functions'] if row['file'].endswith('work.py')}
    assert {name: found[name] for name in ('main', 'burn', 'step')} == {name: expected[name] for name in ('main', 'burn', 'step')}
    assert [row['function'] for row in profile['functions'] if row['file'].endswith('work.py')][0] in ('burn', 'step')
    top = profile['lines'][0]
    assert 'this line' in top['text'] and top['size_mb'] == pytest.approx(8.0, rel=0.01)
    assert profile['traced_peak_mb'] >= profile['lines_at_mb'] >= 8.0


@needs_cprofile
def test_a_profile_is_kept_with_its_run_which_is_no_run_of_the_script(place):
    """The readable summary is what `show` prints of the run; the script's own history has no profiled run."""
    work = place.write('work.py', WORK.replace('sys.exit(3)', ''))
    place.run('--quiet', work)
    finished = profiled(place, '--memory', 'tracemalloc', '--flame', 'flame.html', work)
    assert finished.status == 0 and finished.out == b"out []\n"
    assert b'functions by own time (cProfile, wall clock)' in finished.err
    assert b'times the usual' in finished.err                                   # than the one good run without a profiler
    assert [row['script_path'] for row in place.rows()] == [os.path.realpath(work), os.path.realpath(work) + ' (profiled)']
    shown = place.run('show', 'last').out.decode('utf-8')
    assert 'lines by memory (tracemalloc' in shown and 'burn (' in shown
    kept = json.loads(place.run('show', 'last', '--json').out.decode('utf-8'))['artefacts']
    stacks = [line.rsplit(' ', 1) for line in kept['profile_stacks'].splitlines()]
    assert any('burn (' in stack and int(micros) > 0 for stack, micros in stacks)
    with open(os.path.join(place.folder, 'flame.html'), encoding='utf-8') as file:
        assert 'burn (' in file.read()


@needs_cprofile
@pytest.mark.skipif(sys.version_info < (3, 7), reason='the second look at multiprocessing takes too long there')
def test_a_profiled_script_sees_what_it_sees_bare(place):
    """argv, globals, path, environment, descriptors, traceback, status and multiprocessing are the same; a json.py harms nobody."""
    place.write('_lsprof.py', 'raise RuntimeError("not for the profiler")')
    place.write('tracemalloc.py', 'raise RuntimeError("not for the profiler")')
    mirror = place.write('mirror.py', MIRROR)
    bare = place.bare(mirror, 'a', '--memory')
    finished = profiled(place, '--quiet', '--memory', 'tracemalloc', '--', mirror, 'a', '--memory')
    assert (finished.status, finished.out) == (bare.status, bare.out)
    assert bare.status == 1 and b'boom' in bare.err
    assert finished.err == bare.err


def test_a_sitecustomize_that_is_hidden_runs_all_the_same(place):
    """The user's own sitecustomize is imported, once, and PYTHONPATH is the user's again, also in children."""
    place.write('sitecustomize.py', 'import os\nos.environ["SEEN"] = os.environ.get("SEEN", "") + "x"')
    script = place.write('tell.py', 'import os, sitecustomize\nprint(os.environ["SEEN"], os.environ["PYTHONPATH"], sitecustomize.__file__)')
    path = os.pathsep.join([place.folder] + place.env.get('PYTHONPATH', '').split(os.pathsep)).rstrip(os.pathsep)
    finished = profiled(place, '--quiet', '--memory', 'none', script, env={'PYTHONPATH': path, 'SEEN': ''})
    # Twice: once for the runner itself, once for the script.
    assert finished.out.decode('utf-8').split() == ['xx', path, os.path.join(place.folder, 'sitecustomize.py')], finished


def test_a_script_that_leaves_at_once_has_no_profile_and_is_told_so(place):
    """os._exit leaves no time to write a profile: the status comes back, and a note says what is lost."""
    script = place.write('leave.py', 'import os\nos._exit(5)')
    finished = profiled(place, '--memory', 'none', script)
    assert finished.status == 5
    assert b'note: the script left without' in finished.err


def test_py_spy_is_preferred_and_read(place):
    """With py-spy at hand the script runs without anything in its interpreter, and the stacks are added up."""
    if not runner._may_trace() or conftest.PYPY:
        pytest.skip('needs to be allowed to look at other processes')
    stand_in(place, PY_SPY)
    work = place.write('work.py', WORK)
    finished = place.run('profile', '--memory', 'none', '--json', '--no-history', work)
    assert finished.status == 3
    profile = json.loads(finished.out.decode('utf-8'))
    assert profile['cpu_tool'] == 'py-spy' and profile['clock'] == 'running' and profile['notes'] == []
    rows = {row['function']: (row['own'], row['cumulative']) for row in profile['functions']}
    assert rows == {'burn': (0.15, 0.15), 'main': (0.05, 0.2), '<module>': (0.0, 0.2)}


def test_a_profiler_that_fails_costs_the_profile_only(place):
    """What py-spy says when it fails is a note; the script's status and output are there."""
    if not runner._may_trace() or conftest.PYPY:
        pytest.skip('needs to be allowed to look at other processes')
    stand_in(place, 'import sys\nsys.stderr.write("Error: no permission\\n")\nsys.exit(1)')
    finished = place.run('profile', '--memory', 'none', '--flame', 'f.svg', place.write('work.py', WORK))
    assert finished.status == 3 and finished.out == b'out []\n'
    assert b'py-spy saw nothing: the script was too short, or it said: Error: no permission' in finished.err
    assert b'flame graph not written: no stacks to draw' in finished.err


@pytest.mark.skipif(sys.version_info < (3, 11) or conftest.PYPY, reason='its command line has -P, from 3.11 on')
def test_the_sampling_profiler_of_python_3_15_is_preferred_and_read(place):
    """A stand-in with its documented command line and output: it is found, called and read. (No 3.15 was there to try.)"""
    if not runner._may_trace():
        pytest.skip('needs to be allowed to look at other processes')
    os.makedirs(os.path.join(place.folder, 'lib', 'profiling', 'sampling'))
    place.write('lib/profiling/__init__.py', '')
    place.write('lib/profiling/sampling/__init__.py', '')
    place.write('lib/profiling/sampling/__main__.py', SAMPLING)
    path = os.path.join(place.folder, 'lib') + os.pathsep + place.env.get('PYTHONPATH', '')
    finished = place.run('profile', '--memory', 'none', '--json', place.write('work.py', WORK), env={'PYTHONPATH': path})
    profile = json.loads(finished.out.decode('utf-8'))
    assert profile['cpu_tool'] == 'profiling.sampling' and profile['notes'] == []
    assert [(row['function'], row['own']) for row in profile['functions']] == [('burn', pytest.approx(0.1)), ('<module>', 0.0)]


@pytest.mark.parametrize('words, sentence', [
    (('--cpu', 'cprofil', 'work.py'), "cpu 'cprofil': no such profiler; did you mean 'cProfile'?"),
    (('--cpu', 'none', '--memory', 'none', 'work.py'), 'no profiler to use'),
    (('--flame', 'x.png', 'work.py'), 'what kind of file'),
    (('--flame', 'no/x.svg', 'work.py'), 'no such folder'),
    (('work.sh',), 'not a Python script'),
    (('gone.py',), 'no such file'),
    ((), 'SCRIPT'),
])
def test_what_cannot_be_profiled_is_refused_before_it_starts(place, capfd, monkeypatch, words, sentence):
    """One sentence each, and nothing runs."""
    monkeypatch.chdir(place.folder)
    place.write('work.py', 'open("ran", "w")')
    place.write('work.sh', 'touch ran')
    assert runner.main(['profile'] + list(words)) in (2, 127)
    assert sentence in capfd.readouterr().err
    assert not os.path.exists('ran')


def test_options_end_at_the_script():
    """Options of the verb stand before the script, each with its value; everything after it is the script's."""
    cut = runner._cut_at_script
    assert cut('profile', ['--cpu', 'none', '--quiet', 'a.py', '--cpu', 'x']) == (['--cpu', 'none', '--quiet'], ['a.py', '--cpu', 'x'])
    assert cut('overhead', ['--runs=3', '--config', 'f', '-m', 'mod', '-x']) == (['--runs=3', '--config', 'f'], ['-m', 'mod', '-x'])
    assert cut('overhead', ['--', '--odd']) == ([], ['--', '--odd'])


def test_a_flame_graph_is_escaped_and_loads_nothing():
    """The SVG is well-formed whatever functions are called; the widths of a level are the shares; no address but the namespace."""
    odd = ('<lambda> & "x"\x07\ud800', '/tmp/<script>.py', 3)
    main, leaf = ('main', 'a.py', 1), ('leaf', 'a.py', 2)
    stacks = {(main, odd): 3.0, (main, leaf): 1.0, (main, leaf, leaf): 4.0}
    text = runner.flame_graph(stacks, '<b>title</b>', html=False)
    root = xml.etree.ElementTree.fromstring(text.encode('utf-8'))
    boxes = {}
    for group in root.iter('{http://www.w3.org/2000/svg}g'):
        boxes.setdefault(group.get('data-name'), []).append(float(group.get('data-w')))
    assert boxes == {'main': [1.0], '<lambda> & "x"\ufffd\ufffd': [0.375], 'leaf': [0.625, 0.5]}
    page = runner.flame_graph(stacks, '<b>title</b>')
    assert page.count('http') == 1 and '<b>' not in page and '<lambda>' not in page
    with pytest.raises(ValueError):
        runner.flame_graph({}, 'nothing')


def test_likely_stacks_of_calls_keep_all_time():
    """What cProfile noted becomes stacks whose sum is the time of the roots, recursion and two callers included."""
    main, a, b, c = [(name, 'x.py', line) for line, name in enumerate('mabc')]
    calls = [(main, 1, 1.0, 10.0, [(a, 4.0), (b, 5.0)]), (a, 1, 1.0, 4.0, [(c, 3.0)]), (b, 2, 2.0, 5.0, [(c, 3.0), (b, 1.0)]),
             (c, 9, 6.0, 6.0, [])]
    stacks = runner.stacks_of_calls(calls)
    assert sum(stacks.values()) == pytest.approx(10.0)
    assert stacks[(main, a, c)] == pytest.approx(3.0)
    assert stacks[(main, b, c)] == pytest.approx(3.0)


def test_what_is_kept_with_a_run_is_bounded():
    """However many stacks there are, the artefacts stay small, and the heaviest are kept."""
    session = runner._ProfileSession(sys.executable, None, None)
    session.stacks = {((str(number) * 50, 'a.py', number),): float(number) for number in range(5000)}
    session.profile = {'functions': runner.functions_of_stacks(session.stacks)[:runner._PROFILE_KEPT], 'notes': []}
    kept = session.artefacts()
    assert sum(len(text) for text in kept.values()) < 100000
    assert kept['profile_stacks'].startswith('4999')


def test_an_artefact_that_redaction_broke_is_shown_as_it_is():
    """`show` never fails on a kept profile."""
    assert runner._kept_profile('{"functions": [redacted]') == '{"functions": [redacted]'


def binomial(n, k):
    """Return n over k."""
    value = fractions.Fraction(1)
    for number in range(k):
        value = value * (n - number) / (number + 1)
    return value


@pytest.mark.parametrize('n', [1, 2, 5, 6, 7, 10, 11, 20, 41])
def test_the_interval_of_a_median_is_the_widest_cut_that_keeps_95_percent(n):
    """The ranks agree with exact binomial sums."""
    answer = runner.paired_interval(range(n))
    cuts = [k for k in range(n // 2) if 2 * sum(binomial(n, i) for i in range(k + 1)) / 2 ** n <= fractions.Fraction(5, 100)]
    if not cuts:
        assert (answer['low'], answer['level']) == (None, None)
    else:
        k = cuts[-1]
        assert (answer['low'], answer['high']) == (k, n - 1 - k)
        assert answer['level'] == pytest.approx(float(1 - 2 * sum(binomial(n, i) for i in range(k + 1)) / 2 ** n))
    assert answer['value'] == (n - 1) / 2.0


@pytest.mark.parametrize('extra, words', [(0.1, 'watching costs 100 ms a run'), (-0.5, 'seems to save 500 ms'), (0.0, 'no cost of watching found')])
def test_overhead_says_what_was_planted(monkeypatch, place, extra, words):
    """The difference within each round is found although the rounds themselves drift a lot, and said in a sentence."""
    bare = [1.0 + number for number in range(8)]
    noise = [0.001 * (-1) ** number for number in range(8)]

    def run_ab(make_a, make_b, runs, on_run):
        sides = {'a': bare, 'b': [value + extra + part for value, part in zip(bare, noise)]}
        return {'metrics': [{'metric': name, 'values': sides} for name in runner._AB_METRICS]}
    monkeypatch.setattr(runner, 'run_ab', run_ab)
    answer = runner.StressTest(place.write('hi.py', '')).measure_overhead(8)
    assert words in answer['sentence']
    assert answer['metrics']['cpu_seconds']['difference']['value'] == pytest.approx(2 * extra, abs=0.002)


@pytest.mark.skipif(conftest.PORTABLE, reason='threads that import a blocked module at the same time meet it half made')
def test_overhead_on_the_command_line(place):
    """Bare and watched both run, in turn, by the same means; the user's history is not touched; words go to the script."""
    script = place.write('count.py', 'import os, sys\nwith open("runs", "a") as f: f.write("%s %s\\n" % ('
                                     'sys.argv[1], os.environ["SCRIPT_RUNNER_ATTEMPT"]))')
    finished = place.run('overhead', '--runs', '1', '--parallel', '2', '--json', script, '--runs')
    answer = json.loads(finished.out.decode('utf-8'))
    assert finished.status == 0 and answer['runs'] == 1 and 'at least 6 rounds' in answer['sentence']
    with open(os.path.join(place.folder, 'runs')) as file:
        assert file.read() == '--runs 1\n' * 6                   # two to warm up, two in turn, two at once
    assert answer['metrics']['execution_time_seconds']['bare'] > 0
    assert answer['sampling']['samples'] > 0
    assert (answer['parallel']['recorded'], answer['parallel']['succeeded']) == (2, 2)
    assert answer['parallel']['delay_p99'] > 0
    assert not os.path.exists(place.history)
    assert 'recorded' in runner.format_overhead(answer)


def test_overhead_of_a_script_that_fails_is_refused(place):
    """What fails early looks fast."""
    finished = place.run('overhead', '--runs', '1', place.write('fail.py', 'raise SystemExit(4)'))
    assert finished.status == 125 and b'overhead: the bare script did not succeed (exit, exit status 4)' in finished.err


def test_a_profile_that_cannot_be_written_costs_the_profile_only(place):
    """Nothing of it is seen on the script's stderr."""
    path = place.write('job.py', 'import os, sys\nos.mkdir(os.path.join(os.path.dirname(sys.modules["sitecustomize"].__file__), "found.part"))\n'
                                 'sys.exit(3)')
    finished = place.run('profile', '--cpu', 'cProfile', '--memory', 'none', '--no-history', path)
    assert finished.status == 3 and b'Traceback' not in finished.err and b'Errno' not in finished.err, finished
    assert b'is lost' in finished.err


@conftest.own_process_only
@pytest.mark.parametrize('words', [['profile', '--memory', 'none', '--no-history'], ['ab', '--runs', '1']])
def test_what_a_verb_runs_does_not_outlive_it(place, words):
    """TERM ends the script too, and puts the files away; the exit status tells of it."""
    path = place.write('job.py', 'import os, sys, time\nwith open("pids", "a") as f:\n    f.write("%d\\n" % os.getpid())\ntime.sleep(600)')
    process = place.start(*(words + ([path] if words[0] == 'profile' else ['%s %s' % (sys.executable, path)] * 2)))
    tree = conftest.read_pids(os.path.join(place.folder, 'pids'), 1)
    process.terminate()
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    conftest.assert_tree_gone(tree)
    assert [name for name in os.listdir(place.folder) if name.startswith('script-runner-')] == []


def test_the_bootstrap_is_python_of_3_6():
    """What runs in the script's interpreter parses as the oldest that is promised."""
    text = runner._PROFILE_SITE % 'FOLDER = 1'
    tree = ast.parse(text, feature_version=(3, 6)) if sys.version_info >= (3, 8) else ast.parse(text)
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert sorted(tool.name.lower() for tool in runner._CPU_TOOLS + runner._MEMORY_TOOLS if tool.attach is None) == sorted(
        name for name in names if name not in ('begin', 'hidden'))
