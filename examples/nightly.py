"""A nightly job of the crontab and the systemd unit: counts the words of what it is given."""
import collections
import sys


def count_words(lines):
    """Return how often each word occurs."""
    words = collections.Counter()
    for line in lines:
        words.update(line.lower().split())
    return words


if __name__ == '__main__':
    if len(sys.argv) > 1:
        with open(sys.argv[1]) as text:
            found = count_words(text)
    else:
        found = count_words(['the quick brown fox jumps over the lazy dog'] * 1000)
    for word, number in found.most_common(3):
        print('%-10s %d' % (word, number))
