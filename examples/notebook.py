"""Cells of a notebook (Jupyter, VS Code and Spyder know the marks `# %%`)."""
# %% What does this cell cost?
import runner

with runner.ProcessMonitor() as monitor:
    table = [[row * column for column in range(300)] for row in range(300)]
cost = monitor.get_summary()
print('%.1f MiB at most' % cost['memory_max_mb'])

# %% Keep it, under a name of our own, with a number of our own
with runner.HistoryManager() as history:
    number = history.save_execution(dict(cost, rows=len(table)), script_path='<notebook: table>', exit_code=0)
print('kept as run', number)

# %% Look back
with runner.HistoryManager() as history:
    for when, rows in history.get_metrics_for_script('<notebook: table>', 'rows'):
        print(when, rows)
