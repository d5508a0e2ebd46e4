"""Whether words go round in circles: the smallest share of distinct word trigrams in windows of 12 to 48 words.

A loop of r rounds has a share of about 1/r in the window that it fills, whatever its period; a share of the commonest
n-gram, by contrast, falls with the period and misses all but the shortest loops. Numbers count as one and the same word
and punctuation as none, so the numbers of a list hide no loop, and counting is one.

It fails on loops in which every round changes a word or two (`compression` sees some), and on refrains of a poem or a
song, which are loops and healthy.

Source: distinct-n: Li et al. 1510.03055; repetition in sampled text: Holtzman et al. 1904.09751
"""

from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.filters._words import of_words, words
from steerkit.health import most_repetitive
from steerkit.records import Completion

UNIT = "fraction"
KEEP: Literal["at most", "at least"] = "at least"
THRESHOLD = 0.66


def measure(completion: Completion, background: Background) -> Measurement:
    """The share of distinct trigrams in the most repetitive window, and where that is."""
    found = words(completion.text)
    worst = most_repetitive([word.text for word in found])
    reason = f"{worst.value:.0%} of the trigrams of {worst.stop - worst.start} words are distinct"
    return Measurement(worst.value, reason, *of_words(found, worst))
