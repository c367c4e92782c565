"""Section 16, completion: what a shell offers after Tab, asked of the shells themselves."""
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import PORTABLE, Started

import runner

NEEDED = {'bash': ['bash', '--norc', '--noprofile'], 'zsh': ['zsh', '-f'], 'fish': ['fish', '--no-config']}
pytestmark = pytest.mark.skipif(PORTABLE or os.name == 'nt', reason='needs a Unix shell')

#: What is typed, what must be offered, what must not be. bash cuts words at `=`, as its COMP_WORDBREAKS says.
CASES = [
    ('hist', ['history'], ['show', 'hist.py']),
    ('', ['history', 'show', 'completion', 'job.py', 'folder'], ['--timeout']),
    ('--ti', ['--timeout'], ['--idle-timeout']),
    ('--timeout 5m --no', ['--no-history'], []),
    ('--retry-strategy lin', ['linear'], ['exponential']),
    ('--cwd fol', ['folder'], ['job.py']),
    ('show --', ['--json', '--history-db'], ['--timeout', '--since']),
    ('--quiet history --si', ['--since'], []),
    ('history jo', ['job.py'], []),
    ('trend cpu_', ['cpu_max', 'cpu_avg'], ['memory_max_mb']),
    ('baseline s', ['set', 'show'], ['clear']),
    ('baseline set la', ['last'], []),
    ('completion z', ['zsh'], ['bash']),
    ('job.py --ti', [], ['--timeout']),
    ('run hist', [], ['history']),
    ('-- --ti', [], ['--timeout']),
    ('-m json --ti', [], ['--timeout']),
]


@pytest.fixture
def shell(place):
    """Return a function (name of a shell, code) -> what the code printed, in a folder with a script and a folder."""
    place.write('job.py', '')
    place.write('hist.txt', '')
    os.mkdir(os.path.join(place.folder, 'folder'))
    for name in NEEDED:
        place.write('completion.' + name, runner._COMPLETIONS[name]())

    def ask(name, code):
        if shutil.which(name) is None:
            pytest.skip('%s is not installed' % name)
        process = Started(NEEDED[name] + ['-c', code], cwd=place.folder, env=place.env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate()
        assert err == b'', err
        return out.decode()
    return ask


def judge(offered, wanted, unwanted, case):
    """Assert what is and what is not among the words that were offered."""
    assert set(wanted) <= offered and not set(unwanted) & offered, (case, sorted(offered))


def test_bash_completes(shell):
    """The function that `complete -F` registered is called as readline calls it, with COMP_WORDS and COMP_CWORD."""
    code = ['source completion.bash', 'compopt() { :; }        # outside of a completion it is an error',
            'complete -p python-script-runner | grep -q -- "-F _python_script_runner" || echo not registered']
    cases = CASES + [('--retry-strategy = fi', ['fibonacci'], []), ('--history-db = jo', [], ['job.py'])]
    for typed, _, _ in cases:
        words = ['python-script-runner'] + re.split(' ', typed)
        code.append("COMP_WORDS=(%s); COMP_CWORD=%d; _python_script_runner python-script-runner; printf '%%s\\n' '>>>' \"${COMPREPLY[@]}\"" % (
            ' '.join("'%s'" % word for word in words), len(words) - 1))
    answers = shell('bash', '\n'.join(code)).split('>>>\n')[1:]
    assert len(answers) == len(cases)
    for (typed, wanted, unwanted), answer in zip(cases, answers):
        if typed != '--cwd fol':                      # readline's own part: compopt -o dirnames
            judge(set(answer.split('\n')), wanted if wanted != ['job.py'] else [], unwanted, typed)


def test_bash_completes_for_real(place, shell):
    """In an interactive bash, with the Tab key."""
    test_terminal = pytest.importorskip('test_terminal')
    shell('bash', ':')
    one = test_terminal.Screen(['bash', '--norc', '--noprofile', '-i'],
                               dict(place.env, TERM='dumb', PS1='PROMPT> ', HISTFILE='', INPUTRC=os.devnull), place.folder)
    try:
        one.expect(b'PROMPT> ')
        one.type(b'source completion.bash; python-script-runner() { echo "got <$*>"; }\n')
        one.expect(b'PROMPT> ')
        for typed, got in (('--retry-strategy lin\thisto\t', 'got <--retry-strategy linear history'), ('--cwd fo\tjo\t-x', 'got <--cwd folder/'),
                           ('--json-output=jo\t', 'got <--json-output=job.py'), ('show la\t', 'got <show last')):
            one.type(('python-script-runner %s\n' % typed).encode())
            one.expect(got.rstrip('>').rstrip().encode())
            one.expect(b'PROMPT> ')
        one.type(b'exit\n')
        one.finish()
    finally:
        one.close()


def test_fish_completes(shell):
    """`complete -C` answers as the Tab key does."""
    code = 'source completion.fish\n' + '\n'.join("echo '>>>'; complete -C 'python-script-runner %s'" % typed for typed, _, _ in CASES)
    answers = shell('fish', code).split('>>>\n')[1:]
    assert len(answers) == len(CASES)
    for (typed, wanted, unwanted), answer in zip(CASES, answers):
        offered = set(line.split('\t')[0].rstrip('/') for line in answer.split('\n'))
        judge(offered, wanted, [word for word in unwanted if typed not in ('', 'hist', 'run hist')], typed)


ZSH = r'''
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1= ; unsetopt zle_bracketed_paste 2>/dev/null; autoload -Uz compinit; compinit -u -D; source ./completion.zsh
 compadd() { local -a found; builtin compadd -O found "$@"; print -rl -- $found >> offered; builtin compadd "$@"; }
 zstyle ":completion:*" list-prompt ""; setopt no_beep no_list_ambiguous; bindkey "^I" complete-word; rm -f offered
 tell() { print -rl -- ${(z)BUFFER} >> offered; }; zle -N tell; bindkey "^X" tell
 zle-line-init() { print -n re""ady }; zle -N zle-line-init'
zpty -r shell line '*ready*'
print -rn -- '' > offered
zpty -w -n shell $'python-script-runner %s\t\C-x'
zpty -w -n shell $'\C-a\C-k : do''ne; print fini''shed\n'
zpty -r shell line '*finished*'
zpty -d shell
cat offered
'''


@pytest.mark.parametrize('case', [case for case in CASES if case[0] in (
    'hist', '--ti', '--retry-strategy lin', 'show --', 'trend cpu_', 'baseline s', 'job.py --ti', '--quiet history --si')],
    ids=lambda case: case[0])
def test_zsh_completes(shell, case):
    """In a zsh of its own, with the Tab key; compadd tells what is offered."""
    typed, wanted, unwanted = case
    offered = set(word.rstrip('=') for word in shell('zsh', ZSH % typed).split('\n'))
    judge(offered, wanted, [word for word in unwanted if typed != 'hist'], typed)


def test_every_verb_and_option_is_in_every_script():
    """The scripts are made from the tables; an option takes a value in all verbs or in none, which fish's relies on."""
    takers, switches = set(), set()
    for verb in [''] + list(runner._VERBS):
        for flag, _, value in runner._completed_options(verb):
            (switches if value is None else takers).add(flag)
    assert not takers & switches
    for name, make in runner._COMPLETIONS.items():
        text = make()
        for option in runner._OPTIONS:
            assert (option.flag if name != 'fish' else '-l ' + option.flag[2:]) in text
        for verb in runner._VERBS:
            assert re.search(r'\b%s\b' % verb, text)


def test_the_verb_prints_it(place):
    """`python -m runner completion bash`; an unknown shell is a usage error that names those there are."""
    finished = place.run('completion', 'bash')
    assert finished.status == 0 and finished.out.decode() == runner._bash_completion().rstrip('\n') + '\n'
    finished = place.run('completion', 'tcsh')
    assert finished.status == 2 and b"'bash'" in finished.err and sys.executable.encode() not in finished.err
