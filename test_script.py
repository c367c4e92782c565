#!/usr/bin/env python3
"""A small, repeatable workload: primes, a matrix product, some memory, a file written and read.

    python test_script.py [SIZE]        # SIZE 1 (the default) is about a second on a current core

The same SIZE always does the same work, so two runs can be compared: the overhead of watching a script is
measured with this one. pytest collects this file too; its tests use a SIZE that takes milliseconds.
"""
import os
import sys
import tempfile

# What SIZE 1 stands for. The matrix grows with the cube root of SIZE, because its product costs n ** 3.
PRIMES_BELOW = 12000000
MATRIX_ORDER = 300
MEMORY_BYTES = 48 * 1024 * 1024
FILE_BYTES = 8 * 1024 * 1024
PAGE = 4096


def count_primes(limit):
    """Return how many primes are below `limit`, by the sieve of Eratosthenes."""
    if limit < 3:
        return 0
    is_prime = bytearray(b'\x01') * limit
    is_prime[0:2] = b'\x00\x00'
    for number in range(2, int(limit ** 0.5) + 1):
        if is_prime[number]:
            multiples = len(range(number * number, limit, number))
            is_prime[number * number::number] = bytes(multiples)
    return sum(is_prime)


def make_matrix(order, seed):
    """Return a square matrix of small whole numbers that depends on nothing but its arguments."""
    return [[(seed + 31 * row + 17 * column) % 10 for column in range(order)] for row in range(order)]


def multiply(left, right):
    """Return the product of two matrices given as lists of rows."""
    columns = list(zip(*right))
    return [[sum(a * b for a, b in zip(row, column)) for column in columns] for row in left]


def trace(matrix):
    """Return the sum of the diagonal."""
    return sum(row[index] for index, row in enumerate(matrix))


def hold_memory(size):
    """Allocate `size` bytes and touch every page, else the kernel would not count them; returns the block."""
    block = bytearray(size)
    for position in range(0, size, PAGE):
        block[position] = 1
    return block


def copy_through_file(size):
    """Write `size` bytes to a temporary file and read them back; returns how many came back unchanged."""
    chunk = bytes(range(256)) * (PAGE // 256)
    same = 0
    handle, path = tempfile.mkstemp(prefix='test_script_')
    try:
        with os.fdopen(handle, 'wb') as out:
            for _ in range(size // PAGE):
                out.write(chunk)
        with open(path, 'rb') as back:
            for piece in iter(lambda: back.read(PAGE), b''):
                same += len(piece) if piece == chunk else 0
    finally:
        os.unlink(path)
    return same


def run_workload(size):
    """Do the whole workload and return what it found, as a dict of whole numbers."""
    block = hold_memory(int(MEMORY_BYTES * min(size, 4)))
    order = max(2, int(round(MATRIX_ORDER * size ** (1.0 / 3))))
    found = {
        'primes': count_primes(int(PRIMES_BELOW * size)),
        'order': order,
        'trace': trace(multiply(make_matrix(order, 1), make_matrix(order, 2))),
        'copied': copy_through_file(int(FILE_BYTES * size) // PAGE * PAGE),
        'pages': sum(block[::PAGE]),
    }
    return found


def main(words):
    """Run with the words of the command line; returns the exit status."""
    try:
        size = float(words[0]) if words else 1.0
    except ValueError:
        size = 0.0
    if len(words) > 1 or not 0.0 < size <= 1000.0:
        sys.stderr.write('test_script.py: %r: not a size; give one number above 0 and at most 1000\n' % ' '.join(words))
        return 2
    found = run_workload(size)
    print('primes below %d: %d' % (int(PRIMES_BELOW * size), found['primes']))
    print('trace of a product of order %d: %d' % (found['order'], found['trace']))
    print('memory: %d pages touched' % found['pages'])
    print('file: %d bytes written and read' % found['copied'])
    return 0


def test_primes_agree_with_the_known_counts():
    """The sieve finds the counts that every table of primes gives."""
    assert [count_primes(limit) for limit in (0, 2, 3, 10, 100, 10000)] == [0, 0, 1, 4, 25, 1229]


def test_a_product_agrees_with_one_done_by_hand():
    """The matrix product is rows by columns, in this order."""
    assert multiply([[1, 2], [3, 4]], [[5, 6], [7, 8]]) == [[19, 22], [43, 50]]


def test_the_identity_changes_nothing():
    """A product with the identity is the matrix itself."""
    matrix = make_matrix(7, 3)
    identity = [[int(row == column) for column in range(7)] for row in range(7)]
    assert multiply(matrix, identity) == matrix == multiply(identity, matrix)


def test_what_is_written_is_read_back(monkeypatch, tmp_path):
    """Every byte of the temporary file comes back, and the file is gone afterwards."""
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    assert copy_through_file(16 * PAGE) == 16 * PAGE
    assert os.listdir(str(tmp_path)) == []


def test_the_same_size_does_the_same_work():
    """Two workloads of one size find the same numbers, and they are not empty."""
    found = run_workload(0.002)
    assert found == run_workload(0.002)
    assert found['primes'] == count_primes(int(PRIMES_BELOW * 0.002)) > 0
    assert min(found.values()) > 0


def test_a_wrong_size_is_a_usage_error(capsys):
    """A word that is no number, and a size of zero, exit with 2 and one sentence."""
    assert [main([word]) for word in ('much', '0', 'nan')] == [2, 2, 2]
    assert capsys.readouterr().err.count('\n') == 3


def test_the_report_names_every_part(capsys):
    """The script prints one line for each part of its work."""
    assert main(['0.002']) == 0
    assert [line.split(':')[0].split()[0] for line in capsys.readouterr().out.splitlines()] == [
        'primes', 'trace', 'memory', 'file']


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
