#!/usr/bin/env python3
"""Measure how much longer scripts take under each profiler that `python -m runner profile` can use; prints a Markdown table.

    python benchmarks/profilers.py [PYTHON]

PYTHON is an interpreter in which pyinstrument and memray are installed (default: the one that runs this); py-spy is looked for in
PATH. What is not installed gets no column. Each script times itself, so that starting and reading the profile do not count.
Rounds go through all profilers in turn; medians of five.
"""
import os
import statistics
import subprocess
import sys
import tempfile

import runner

SCRIPTS = {
    'short calls': 'def f(x):\n    return x\nfor i in range(1000000):\n    f(i)\n',
    'small objects': 'for j in range(20):\n    x = [[i] for i in range(50000)]\n',
    'large objects': 'for j in range(200):\n    x = b"x" * (8 << 20)\n',
    'numbers': 'n = 0\nfor i in range(3000000):\n    n += 1 if i % 3 else 2\n',
    'JSON': 'import json\nd = {"a%d" % i: [i, str(i), {"k": i}] for i in range(2000)}\n'
            'for j in range(40):\n    json.loads(json.dumps(d))\n',
}
FORMS = [('bare', None, None)] + [(tool.name, tool.name, 'none') for tool in runner._CPU_TOOLS] + [
    (tool.name, 'none', tool.name) for tool in runner._MEMORY_TOOLS]
ROUNDS = 5


def seconds(python, path, cpu, memory):
    """Return what the script says it took."""
    if cpu is None:
        out = subprocess.check_output([python, path])
    else:
        profiler = runner.AdvancedProfiler(path, cpu=cpu, memory=memory, python=python, enable_history=False)
        out = profiler.profile_cpu_and_memory()['result']['stdout']
    return float(out)


def main():
    python = sys.argv[1] if len(sys.argv) > 1 else sys.executable
    forms = []
    for form in FORMS:
        try:
            if form[1] is not None:
                runner.AdvancedProfiler(__file__, cpu=form[1], memory=form[2], python=python).choose_tools()
            forms.append(form)
        except runner.UsageError:
            pass
    print('| script | %s |' % ' | '.join('%s, × bare' % form[0] for form in forms[1:]))
    print('|%s' % ('---|' * len(forms)))
    with tempfile.TemporaryDirectory() as folder:
        for name, text in SCRIPTS.items():
            path = os.path.join(folder, 'work.py')
            with open(path, 'w') as file:
                file.write('import time\nbegan = time.perf_counter()\n%sprint(time.perf_counter() - began)\n' % text)
            times = {form[0]: [] for form in forms}
            for _ in range(ROUNDS):
                for form in forms:
                    times[form[0]].append(seconds(python, path, *form[1:]))
            ratios = [statistics.median(t / b for t, b in zip(times[form[0]], times['bare'])) for form in forms[1:]]
            print('| %s | %s |' % (name, ' | '.join('%.2f' % ratio for ratio in ratios)), flush=True)


if __name__ == '__main__':
    main()
