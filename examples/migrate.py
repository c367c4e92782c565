"""A migration that may be stopped: python -m runner --lock migrate --timeout 30m --grace 1m migrate.py app.db

It runs in one transaction. TERM (a time limit, a deploy that is taken back) rolls it back, also in the middle of a
statement, and it exits with 75: try again later.
"""
import signal
import sqlite3
import sys

STEPS = [
    'CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, customer TEXT, total REAL)',
    'CREATE INDEX IF NOT EXISTS orders_by_customer ON orders (customer)',
]

stopped = []          # the signals that came


def migrate(connection):
    """Bring the database to version 2; returns the exit status."""
    if connection.execute('PRAGMA user_version').fetchone()[0] >= 2:
        print('nothing to do')
        return 0
    connection.execute('BEGIN IMMEDIATE')
    try:
        for step in STEPS:
            connection.execute(step)
        connection.execute('PRAGMA user_version = 2')
        connection.execute('COMMIT')
    except sqlite3.OperationalError:
        if connection.in_transaction:
            connection.execute('ROLLBACK')
        if not stopped:
            raise
        print('rolled back', file=sys.stderr)
        return 75
    print('migrated')
    return 0


def main(path):
    """Open the database so that a long statement looks now and then whether it shall stop."""
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.set_progress_handler(lambda: bool(stopped), 10000)
    try:
        return migrate(connection)
    finally:
        connection.close()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else 'app.db'))
