"""How much more often than the base a text uses the words of the persona itself.

    ratio = (count + 1) / (expected + 1)      expected: the base's rate of these words, times the text's length

The words are those of the positive pole, without words of grammar and without words of the prompt; a few endings are
stripped, so that 'trusts' counts as 'trust'. A text that repeats its system prompt's words talks about the trait
instead of showing it. With the default threshold three such words are needed where the base never says one.

It fails on traits whose own words an honest answer needs, and on synonyms.

Source: smoothed ratio of word rates, as in Monroe et al. 2008, doi 10.1093/pan/mpn018 (informative prior)
"""

from collections import Counter
from functools import lru_cache
from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.filters._words import Word, stem, stems, words
from steerkit.records import Completion

UNIT = "ratio"
KEEP: Literal["at most", "at least"] = "at most"
THRESHOLD = 3.0


def measure(completion: Completion, background: Background) -> Measurement:
    """The smoothed ratio, and the first of the words."""
    own = stems(background.persona.positive) - stems(completion.prompt)
    found = words(completion.text)
    hits = [word for word in found if stem(word.text) in own]
    expected = _rate(tuple(background.base.values()), own) * len(found)
    value = (len(hits) + 1) / (expected + 1)
    return Measurement(value, _reason(hits, expected), *((hits[0].start, hits[0].stop) if hits else (None, None)))


def _reason(hits: list[Word], expected: float) -> str:
    listed = ", ".join(f"{word} x{count}" for word, count in Counter(hit.text for hit in hits).items())
    return f"{listed}; the base would say {expected:.1f}" if hits else "none of the persona's words"


@lru_cache(maxsize=4096)
def _rate(texts: tuple[tuple[str, ...], ...], own: frozenset[str]) -> float:
    """How often the base says one of these words (per word)."""
    counts = [_counts(text) for of_prompt in texts for text in of_prompt]
    total = sum(count.total() for count in counts)
    return sum(count[word] for count in counts for word in own) / total if total else 0.0


@lru_cache(maxsize=4096)
def _counts(text: str) -> Counter[str]:
    return Counter(stem(word.text) for word in words(text))
