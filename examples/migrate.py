"""A migration that may be stopped: python -m runner --lock migrate --timeout 30m --grace 1m migrate.py app.db

It runs in one transaction. TERM (a time limit, a deploy that is taken back) rolls it back and exits with 75, try again later.
"""
import signal
import sqlite3
import sys

STEPS = [
    'CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, customer TEXT, total REAL)',
    'CREATE INDEX IF NOT EXISTS orders_by_customer ON orders (customer)',
]


class Stopped(Exception):
    """TERM came."""


def stop(number, frame):
    """Leave the step that runs; the transaction is rolled back by whoever catches this."""
    raise Stopped()


def migrate(path):
    """Bring the database to version 2; returns the exit status."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        if connection.execute('PRAGMA user_version').fetchone()[0] >= 2:
            print('nothing to do')
            return 0
        connection.execute('BEGIN IMMEDIATE')
        for step in STEPS:
            connection.execute(step)
        connection.execute('PRAGMA user_version = 2')
        connection.execute('COMMIT')
    except Stopped:
        if connection.in_transaction:
            connection.execute('ROLLBACK')
        print('rolled back', file=sys.stderr)
        return 75
    finally:
        connection.close()
    print('migrated')
    return 0


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, stop)
    sys.exit(migrate(sys.argv[1] if len(sys.argv) > 1 else 'app.db'))
