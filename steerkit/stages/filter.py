"""Decide which texts are kept: every check says something of every text; no model is needed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite

import msgspec

from steerkit.errors import UsageError, unknown
from steerkit.filters import Background, Measurement
from steerkit.personas import Persona
from steerkit.plugins import Filter, load_filters
from steerkit.records import Completion, FilterDecision
from steerkit.spec import Gate2Spec

LAST = "near_copy"
"""The check that sees what every other one keeps, so it speaks after them."""
GATHERED = ("probe", "collected")
"""Roles of the texts that are written to be kept."""
SIGNS = {"at most": "<=", "at least": ">="}
ASSIGNMENT = re.compile(r"\s*(?P<name>[^\s<>=]+)\s*(?P<sign><=|>=|=)\s*(?P<value>[^\s<>=]+)\s*")


def parse(texts: Iterable[str]) -> dict[str, str]:
    """Check to threshold, from texts like 'perplexity=80', 'perplexity<=80' or 'loops>=0.5'.

    Raises UsageError for a text of another form, an unknown check, one set twice, and the wrong direction.
    """
    filters, given = load_filters(), dict[str, str]()
    for text in texts:
        name, sign, value = _parts(text)
        _check_direction(text, name, sign, value, filters)
        if name in given:
            raise UsageError(f"a threshold must be set once, but {name} got {given[name]} and {value}; leave one out")
        given[name] = value
    return given


def _parts(text: str) -> tuple[str, str, str]:
    match = ASSIGNMENT.fullmatch(text)
    if match is None:
        raise UsageError(f"a threshold must look like perplexity=80 or loops>=0.5, but got {text!r}")
    return match["name"], match["sign"], match["value"]


def _check_direction(text: str, name: str, sign: str, value: str, filters: Mapping[str, Filter]) -> None:
    if name not in filters:
        raise unknown("filter", name, filters)
    keep = filters[name].KEEP
    if sign not in ("=", SIGNS[keep]):
        raise UsageError(
            f"{name} keeps texts of {keep} its threshold, but got {text!r}; write {name}{SIGNS[keep]}{value}"
        )


def thresholds(given: Mapping[str, str]) -> dict[str, float]:
    """Every check's threshold by name: its own default unless it is given.

    Raises UsageError for an unknown check and for a value that is not a finite number.
    """
    filters = load_filters()
    for name in given:
        if name not in filters:
            raise unknown("filter", name, filters)
    return {
        name: _number(name, given[name], check) if name in given else check.THRESHOLD for name, check in filters.items()
    }


def _number(name: str, text: str, check: Filter) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise UsageError(
            f"the threshold of {name} must be a finite number ({check.UNIT}), but got {text!r}; its default is "
            f"{check.THRESHOLD:g}, and a number that no text reaches switches it off"
        )
    return value


def decide(
    completions: Sequence[Completion],
    background: Background,
    thresholds: Mapping[str, float],
    *,
    run: str,
    unit: str,
    filter_id: str,
) -> list[FilterDecision]:
    """Every check's decision on every completion, in their order, checks by name; `thresholds` says which checks.

    A text of role 'base' is compared with the other base texts of its prompt. `near_copy` sees the completions written
    to be kept that every other check keeps, so far; what `background.kept` holds comes before them.
    """
    filters = {name: check for name, check in load_filters().items() if name in thresholds}
    kept, decisions = list(background.kept), list[FilterDecision]()
    for completion in completions:
        behind = replace(background, base=_others(completion, background.base), kept=tuple(kept))
        made = [
            _decision(
                completion, name, check, check.measure(completion, behind), thresholds[name], run, unit, filter_id
            )
            for name, check in filters.items()
        ]
        if completion.role in GATHERED and all(decision.keep for decision in made if decision.name != LAST):
            kept.append(completion)
        decisions += made
    return decisions


def _others(completion: Completion, base: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    """The base's texts without the completion itself, if it is one of them; an equal text of another seed stays."""
    texts = list(base.get(completion.prompt_id, ()))
    if completion.role != "base" or completion.text not in texts:
        return base
    texts.remove(completion.text)
    return {**base, completion.prompt_id: tuple(texts)}


def _decision(
    completion: Completion,
    name: str,
    check: Filter,
    seen: Measurement,
    threshold: float,
    run: str,
    unit: str,
    filter_id: str,
) -> FilterDecision:
    keep = seen.value <= threshold if check.KEEP == "at most" else seen.value >= threshold
    return FilterDecision(
        run_id=run,
        unit_id=unit,
        filter_id=filter_id,
        completion_id=completion.completion_id,
        name=name,
        value=seen.value,
        threshold=threshold,
        direction=check.KEEP,
        keep=keep and isfinite(seen.value),
        reason=seen.reason,
        start=seen.start,
        stop=seen.stop,
    )


def behind(texts: Sequence[Completion], spec: Gate2Spec) -> Background:
    """What a run's checks may know beside each text: its persona, its cap, and what the base said to each prompt."""
    base: dict[str, tuple[str, ...]] = {}
    for text in texts:
        if text.role == "base":
            base[text.prompt_id] = (*base.get(text.prompt_id, ()), text.text)
    return Background(msgspec.convert(spec.persona_pair, Persona), base, (), spec.texts.length)
