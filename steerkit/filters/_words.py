"""Words of a text and where they stand, and the parts of it that tokens stand for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from steerkit.health import Stretch
from steerkit.records import Completion

IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{IDEOGRAPH}]|[^\W_{IDEOGRAPH}]+(?:['’][^\W_{IDEOGRAPH}]+)*")  # noqa: RUF001
"""Letters and digits with apostrophes inside; every ideograph is a word, because no space parts them."""
NUMBER = "#"
"""What every number counts as."""
GRAMMAR = frozenset(
    [
        "a",
        "an",
        "the",
        "and",
        "or",
        "but",
        "nor",
        "of",
        "to",
        "in",
        "on",
        "at",
        "by",
        "for",
        "from",
        "with",
        "over",
        "than",
        "as",
        "when",
        "while",
        "even",
        "that",
        "which",
        "who",
        "whose",
        "whom",
        "this",
        "these",
        "those",
        "is",
        "are",
        "be",
        "been",
        "being",
        "was",
        "were",
        "has",
        "have",
        "had",
        "do",
        "does",
        "did",
        "not",
        "no",
        "own",
        "their",
        "his",
        "her",
        "its",
        "they",
        "them",
        "he",
        "she",
        "it",
        "person",
        "someone",
        "people",
        "somebody",
        "other",
        "others",
        "else",
        "everyone",
        "whoever",
        "mean",
        "means",
        "rather",
        "without",
        "within",
        "what",
        "more",
        "most",
        "less",
        "least",
        "all",
        "any",
        "each",
        "every",
        "some",
        "such",
        "only",
        "very",
        "much",
        "many",
    ]
)
"""Words that say nothing of what a text is about."""
Shingles = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Word:
    """A word in lower case, every number being '#', and where it stands (characters)."""

    text: str
    start: int
    stop: int


@lru_cache(maxsize=4096)
def words(text: str) -> tuple[Word, ...]:
    """The words of a text in order; punctuation is none, so that a list's numbers hide no loop."""
    return tuple(
        Word(NUMBER if (found := match.group()).isdigit() else found.casefold(), match.start(), match.end())
        for match in WORD.finditer(text)
    )


@lru_cache(maxsize=4096)
def stem(word: str) -> str:
    """A word without its commonest English ending."""
    for ending in ("ings", "ing", "ied", "ies", "ed", "es", "s", "ly", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


@lru_cache(maxsize=4096)
def stems(text: str) -> frozenset[str]:
    """The stems of a text's words, without words of grammar."""
    return frozenset(stem(word.text) for word in words(text) if word.text not in GRAMMAR)


@lru_cache(maxsize=4096)
def shingles(text: str, size: int = 4) -> Shingles:
    """Every run of `size` words; of a shorter text the text itself, of one without words nothing."""
    found = [word.text for word in words(text)]
    if len(found) < size:
        return frozenset([tuple(found)] if found else [])
    return frozenset(zip(*(found[offset:] for offset in range(size)), strict=False))


def share_in(text: str, other: str) -> float:
    """The share of a text's runs of four words that another holds too (fraction); 0 for a text without words."""
    mine = shingles(text)
    return len(mine & shingles(other)) / len(mine) if mine else 0.0


def of_words(found: Sequence[Word], stretch: Stretch) -> tuple[int | None, int | None]:
    """Where a stretch of words begins and ends in the text (characters); None where it holds no word."""
    inside = found[stretch.start : stretch.stop]
    return (inside[0].start, inside[-1].stop) if inside else (None, None)


def of_tokens(completion: Completion, stretch: Stretch) -> tuple[int | None, int | None]:
    """Where a stretch of tokens begins and ends in the text (characters); None where the pieces are not known.

    The end token has no piece and no characters.
    """
    if completion.pieces is None:
        return None, None
    length = len(completion.text)
    start = len("".join(completion.pieces[: stretch.start]))
    return min(start, length), min(start + len("".join(completion.pieces[stretch.start : stretch.stop])), length)
