"""Whether characters repeat: the largest zlib compression ratio over windows of 160 characters.

It sees what `loops` cannot: loops within a word or without spaces, of punctuation or emoji, and templates in which each
round changes a word.

It fails on languages and scripts in which healthy text compresses otherwise: several bytes per character compress more.
Text shorter than the window compresses less than the same text in a longer one.

Source: gzip ratio as a measure of repetition: Whisper 2212.04356 (section 4.5, threshold 2.4 on whole segments)
"""

from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.health import most_compressible
from steerkit.records import Completion

UNIT = "ratio"
KEEP: Literal["at most", "at least"] = "at most"
THRESHOLD = 1.7


def measure(completion: Completion, background: Background) -> Measurement:
    """The ratio of the window that compresses most, and where it is."""
    worst = most_compressible(completion.text)
    reason = f"{worst.stop - worst.start} characters compress {worst.value:.2f} times"
    return Measurement(worst.value, reason, worst.start, worst.stop)
