"""One file per check of a text: what it measures, which side of its threshold is kept, and why a text was dropped.

A check sees one completion and what stands behind it, and says a number; it decides nothing. Every check says something
of every completion, so that any threshold can be changed afterwards without a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from steerkit.personas import Persona
from steerkit.records import Completion


@dataclass(frozen=True)
class Background:
    """What a check may know beside the completion itself.

    `base`: by prompt id, what the untouched model said to the same prompt, sampled in the same way. `kept`: completions
    that every other check keeps, in the order they were written, before this one. `length`: the cap (tokens).
    """

    persona: Persona
    base: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kept: tuple[Completion, ...] = ()
    length: int = 80


@dataclass(frozen=True)
class Measurement:
    """What a check saw: a number in its own unit, a few words, and where in the text (characters) it points to."""

    value: float
    reason: str
    start: int | None = None
    stop: int | None = None
