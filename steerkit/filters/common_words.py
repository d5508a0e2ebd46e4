"""Whether a text stays in the base's language: the smallest share of the base's commonest words in 16 words in a row.

The 100 commonest words of the base's own texts (mostly grammar) and the prompt's words make up more than half of any
healthy text, in any language. Where a model slides into another language, into invented words or into lists of numbers,
they vanish, while perplexity may stay low: the next piece of a foreign word is easy to predict.

It fails on healthy lists of names and on quotations, and on word salad with good grammar. Without base texts nothing is
known of the language, and every text passes.

Source: stop words as a filter of web text: Gopher 2112.11446 (appendix A.1)
"""

from collections import Counter
from functools import lru_cache
from itertools import chain
from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.filters._words import NUMBER, of_words, words
from steerkit.health import highest_mean
from steerkit.records import Completion

UNIT = "fraction"
KEEP: Literal["at most", "at least"] = "at least"
THRESHOLD = 0.2
WIDTH = 16
"""Words in the window."""
COMMON = 100
"""How many of the base's words count as common."""


def measure(completion: Completion, background: Background) -> Measurement:
    """The share of common words in the window that has fewest, and where it is."""
    common = _commonest(tuple(background.base.values()))
    found = words(completion.text)
    known = common | {word.text for word in words(completion.prompt)}
    worst = highest_mean([float(word.text not in known) for word in found], WIDTH)
    if worst is None or not common:
        return Measurement(1.0, "no words" if worst is None else "no base texts to know the language from")
    value = 1 - worst.value
    return Measurement(value, f"{value:.0%} of {worst.stop - worst.start} words are common", *of_words(found, worst))


@lru_cache(maxsize=4096)
def _commonest(texts: tuple[tuple[str, ...], ...]) -> frozenset[str]:
    counts = Counter[str]()
    for text in chain.from_iterable(texts):
        counts.update(_counts(text))
    return frozenset(word for word, _ in counts.most_common(COMMON))


@lru_cache(maxsize=4096)
def _counts(text: str) -> Counter[str]:
    return Counter(word.text for word in words(text) if word.text != NUMBER)
