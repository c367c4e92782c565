#!/usr/bin/env python3
"""Write the reference pages that are made from the code: cli.md, settings.md, metrics.md, history.md.

    python docs/generate.py            # write them beside this file
    python docs/generate.py --check    # write nothing; exit 1 naming the pages that are stale
"""
import os
import sqlite3
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import runner  # noqa: E402

MADE = '<!-- Made by docs/generate.py from runner.py; edit that, then run it. -->\n\n'


def table(head, rows):
    """Return a Markdown table; bars in cells are escaped."""
    lines = [head, ['---'] * len(head)] + [[str(cell).replace('|', '\\|') for cell in row] for row in rows]
    return '\n'.join('| %s |' % ' | '.join(line) for line in lines) + '\n'


def spelled(option):
    """Return how an option is written, in backquotes."""
    return '`%s%s`' % (option.flag, ' ' + option.metavar if option.metavar else '')


def verb_usage(name, verb):
    """Return the words of one verb, as a user types them."""
    words = []
    for names, keywords in verb.arguments:
        if names[0].startswith('-'):
            value = keywords.get('metavar')
            words.append(('%s%s' if keywords.get('required') else '[%s%s]') % (names[0], ' ' + value if value else ''))
        else:
            word = keywords.get('metavar') or names[0].upper()
            words.append({'?': '[%s]', '*': '[%s...]', '+': '%s...'}.get(keywords.get('nargs'), '%s') % word)
    return ' '.join(['python -m runner', name] + words + (['[--json]'] if verb.json else []))


def cli_page():
    """Return the page of the command line."""
    parts = [MADE, '# Command line\n\n    python -m runner [options] [--] script.py [args...]\n'
             '    python -m runner [options] -m MODULE [args...]\n    python -m runner VERB ...\n\n'
             'Options end at the script; every word after it is the script\'s. Each option that is not repeatable is also '
             'read from the environment: `SCRIPT_RUNNER_TIMEOUT=5m` is `--timeout 5m`. A flag is stronger than it.\n\n'
             '## Options of a run\n\n',
             table(['option', 'environment', 'meaning'],
                   [[spelled(o), '`SCRIPT_RUNNER_%s`' % o.name.upper() if o.env else '', o.help] for o in runner._OPTIONS]),
             '\n## Verbs\n\n%s are accepted before and after a verb.\n' % ', '.join(
                 spelled(o) for o in runner._OPTIONS if o.everywhere)]
    for name, verb in runner._VERBS.items():
        if verb.carry_out is None:
            continue
        parts.append('\n### %s\n\n    %s\n\n%s.\n' % (name, verb_usage(name, verb), verb.help[:1].upper() + verb.help[1:]))
        rows = [['`%s`' % (names[0] if names[0].startswith('-') else keywords.get('metavar') or names[0].upper()),
                 keywords.get('help', '')] for names, keywords in verb.arguments]
        if rows:
            parts.append('\n' + table(['argument', 'meaning'], rows))
    return ''.join(parts)


def metrics_page():
    """Return the page of the registry."""
    rows = [['`%s`' % m.name, m.unit or '', m.better or '', m.source, m.meaning] for m in runner.METRICS.values()]
    return ''.join([MADE, '# Metrics\n\n`better` says which way is an improvement. A metric whose value is not known is empty '
                    '(`None`), never 0.\n\n', table(['name', 'unit', 'better', 'source', 'meaning'], rows)])


def history_page():
    """Return the page of the schema: every table and view of an empty history with its columns."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'history.db')
        with runner.HistoryManager(path) as manager:
            manager.get_scripts()
        connection = sqlite3.connect(path)
        try:
            names = connection.execute("SELECT type, name FROM sqlite_master WHERE type IN ('view', 'table') "
                                       "AND name NOT LIKE 'sqlite_%' ORDER BY type DESC, name").fetchall()
            parts = [MADE, '# The history file\n\nAn SQLite file (schema version %d, application id %#x). The views are what is '
                     'promised; the tables beneath may change with the schema version.\n' % (
                         runner._SCHEMA_VERSION, runner._APPLICATION_ID)]
            for kind, name in names:
                columns = connection.execute('SELECT * FROM %s LIMIT 0' % name).description
                parts.append('\n## %s %s\n\n%s\n' % (kind, name, ', '.join('`%s`' % column[0] for column in columns)))
        finally:
            connection.close()
    return ''.join(parts)


def settings_page():
    """Return the page of the settings file: every key of the table."""
    rows = []
    for path, setting in runner.walk_settings():
        name = '.'.join(path).replace('.[]', '[]')
        what = getattr(setting.form, 'what', '')
        rows.append(['`%s`%s' % (name, ' (required)' if setting.required else ''), what, setting.default or '', setting.meaning,
                     '`--%s`' % setting.option.replace('_', '-') if setting.option else ''])
    return ('# Settings\n\n' + MADE + 'Keys of the YAML file that `--config` names. `[]` stands for the entries of a list.\n\n'
            + table(['key', 'holds', 'default', 'meaning', 'option'], rows))


PAGES = {'cli.md': cli_page, 'settings.md': settings_page, 'metrics.md': metrics_page, 'history.md': history_page}


def stale_pages():
    """Return the names of the pages that are not what the code says."""
    stale = []
    for name, make in PAGES.items():
        try:
            with open(os.path.join(HERE, name), encoding='utf-8') as file:
                fresh = file.read() == make()
        except OSError:
            fresh = False
        if not fresh:
            stale.append(name)
    return stale


def main(words):
    """Write or check; returns the exit status."""
    if words == ['--check']:
        stale = stale_pages()
        if stale:
            print('stale: %s; run python docs/generate.py' % ', '.join(stale))
        return 1 if stale else 0
    for name, make in PAGES.items():
        with open(os.path.join(HERE, name), 'w', encoding='utf-8') as file:
            file.write(make())
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
