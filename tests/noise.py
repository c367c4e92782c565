"""Noise as machines of hosted CI have it, in shares of the level: deviation 2.66 % each, in different shapes.

A one-sided spike and two modes are what shared machines show; t with 3 degrees of freedom has heavy tails on both sides.
"""
import math

#: Coefficient of variation of identical jobs on hosted runners, as it has been published.
DEVIATION = 0.0266


def normal(random):
    """Draw from the bell curve."""
    return random.gauss(0, DEVIATION)


def student3(random):
    """Draw from Student's t with 3 degrees of freedom, scaled to the deviation."""
    chi = sum(random.gauss(0, 1) ** 2 for _ in range(3))
    return random.gauss(0, 1) / math.sqrt(chi / 3) * DEVIATION / math.sqrt(3)


def spikes(random):
    """One run in twenty is late by an exponential time; the others differ by 1 %."""
    mean = math.sqrt((DEVIATION ** 2 - 0.01 ** 2) / (2 * 0.05 - 0.05 ** 2))
    return random.gauss(0, 0.01) + (random.expovariate(1 / mean) if random.random() < 0.05 else 0)


def even_spikes(random):
    """One run in twenty is late by the same 12 %; the others differ by 0.6 %."""
    height = math.sqrt((DEVIATION ** 2 - 0.006 ** 2) / (0.05 * 0.95))
    return random.gauss(0, 0.006) + (height if random.random() < 0.05 else 0)


def wild_tenth(random):
    """One run in ten has five times the deviation of the others."""
    return random.gauss(0, DEVIATION / math.sqrt(3.4)) * (5 if random.random() < 0.1 else 1)


def _two_modes(random, share, distance):
    width = math.sqrt(DEVIATION ** 2 * (1 - share * (1 - share) * distance ** 2))
    return random.gauss(0, width) + (distance * DEVIATION if random.random() < share else 0)


def two_modes(random):
    """Three in ten runs meet a machine that is 5.3 % slower."""
    return _two_modes(random, 0.3, 2.0)


def half_and_half(random):
    """Every other run meets a machine that is 5.1 % slower."""
    return _two_modes(random, 0.5, 1.9)


def rare_mode(random):
    """One run in ten meets a machine that is 8.5 % slower."""
    return _two_modes(random, 0.1, 3.2)


SHAPES = {'normal': normal, 't, 3 degrees': student3, 'spikes': spikes, 'even spikes': even_spikes, 'wild tenth': wild_tenth,
          'two modes': two_modes, 'half and half': half_and_half, 'rare mode': rare_mode}


def series(random, shape, length, level=100.0):
    """Return values of a steady script."""
    return [level * (1 + shape(random)) for _ in range(length)]


def is_caught(judge, random, shape, behind, change, within):
    """Tell whether a change of level is failed within so many runs; each that passed is a good run for the next."""
    history = series(random, shape, behind)
    for value in series(random, shape, within, 100.0 * (1 + change)):
        if judge(history, value)['verdict'] == 'fail':
            return True
        history.append(value)
    return False
