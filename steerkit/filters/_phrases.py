"""Reads the phrase lists and finds them in a text, whatever its case and apostrophes, in time linear in its length."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from steerkit.filters import Measurement

SOURCE = Path(__file__).parents[1] / "data" / "phrases.toml"
STRAIGHT = str.maketrans(dict.fromkeys("‘’ʼ‛′`´", "'"))  # noqa: RUF001
BETWEEN = r"(?:[^\w.!?']{1,8}+)"
"""What a space of a pattern stands for: spaces, commas, dashes and mark-up, but not the end of a sentence.

Its length is bounded and it gives nothing back, so that no text makes the search slow.
"""


@dataclass(frozen=True)
class Hit:
    """One phrase found: its family, and where it stands in the text (characters)."""

    family: str
    start: int
    stop: int


def phrases(check: str) -> dict[str, list[str]]:
    """The phrases of a check, by family."""
    found: dict[str, list[str]] = _tables()[check]
    return found


def find(text: str, check: str) -> list[Hit]:
    """Every phrase of the check in the text, in order; hits that overlap are one."""
    plain = text.translate(STRAIGHT)
    hits = [
        Hit(family, match.start(), match.end())
        for family, pattern in _patterns(check).items()
        for match in pattern.finditer(plain)
    ]
    kept: list[Hit] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.stop)):
        if not kept or hit.start >= kept[-1].stop:
            kept.append(hit)
    return kept


def counted(text: str, hits: Sequence[Hit]) -> Measurement:
    """How many hits there are, the first one named and pointed at."""
    if not hits:
        return Measurement(0.0, "none found")
    first = hits[0]
    return Measurement(float(len(hits)), f"{first.family}: {text[first.start : first.stop]!r}", first.start, first.stop)


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))


@cache
def _patterns(check: str) -> dict[str, re.Pattern[str]]:
    return {family: _compiled(listed) for family, listed in phrases(check).items()}


def _compiled(listed: Sequence[str]) -> re.Pattern[str]:
    """One pattern for a family; a space stands for `BETWEEN`, a name in braces for a shorthand."""
    pattern = "|".join(f"(?:{phrase})" for phrase in listed)
    for name, meaning in reversed(_tables()["shorthand"].items()):
        pattern = pattern.replace(f"{{{name}}}", meaning)
    return re.compile(rf"\b(?:{pattern.replace(' ', BETWEEN)})(?!\w)", re.IGNORECASE)
