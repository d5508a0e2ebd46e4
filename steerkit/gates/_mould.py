"""Whether answers to different prompts are of one mould, which gates 3 and 4 ask of their students."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from steerkit.gates._result import Result, hypothesis
from steerkit.health import shared
from steerkit.metrics import ArmMetrics


@runtime_checkable
class Thresholds(Protocol):
    """From where on answers are of one mould."""

    @property
    def alike(self) -> float:
        """Word trigrams that they share (fraction)."""
        ...

    @property
    def alike_growth(self) -> float:
        """The same over the base's (ratio)."""
        ...


def converging(students: Sequence[tuple[str, ArmMetrics]], base: ArmMetrics, config: Thresholds) -> Result:
    """The hypothesis "answers converge" of the named student whose answers have most in common."""
    name = "answers converge"
    step = "read the texts (steerkit report); collect on more prompts, or keep texts by trait and not by form alone"
    found = [(who, _alike(student)) for who, student in students]
    read = [(who, value) for who, value in found if value is not None]
    usual = _alike(base)
    if usual is None or not read:
        return hypothesis(name, None, None, config.alike, "no student wrote, or the base did not", "let them write")
    worst, value = max(read, key=lambda each: each[1])
    detail = f"{worst}: answers to different prompts share {value:.1%} of their trigrams, the base's {usual:.1%}"
    seen = value >= config.alike and value >= config.alike_growth * usual
    return hypothesis(name, seen, value, config.alike, detail, step)


def _alike(arm: ArmMetrics) -> float | None:
    return shared([(text.prompt_id, text.text) for text in arm.arm.texts])
