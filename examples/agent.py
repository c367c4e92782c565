"""An agent that decides what to run next, and gives every tool limits: python -m runner --timeout 10m agent.py

Each tool call is a run of its own in the history, with the task as a label.
"""
import sys

import runner

LIMITS = runner.Limits(memory=1 << 30, processes=50, output=10 << 20)


def call_tool(task, *words):
    """Run one tool and return (what it said, how it ended); nothing of it is alive afterwards."""
    tool = runner.ScriptRunner(words[0], words[1:], timeout='30s', grace='2s', limits=LIMITS, labels={'task': task})
    result = tool.run_script()
    return result['stdout'].strip(), result['status'] if result['success'] else '%s (%s)' % (result['status'], result['cause'])


def main(task):
    """Ask, look at the answer, and try something else when it was no good."""
    said, ended = call_tool(task, sys.executable, '-c', 'raise SystemExit("no index yet")')
    print('search:', ended)
    if ended != 'success':
        said, ended = call_tool(task, sys.executable, '-c', 'print("3 files")')
        print('scan:', said, '-', ended)
    return 0 if ended == 'success' else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else 'demo'))
