"""What a gate said, in lines of at most 100 columns."""

from collections.abc import Iterator, Mapping
from textwrap import fill
from typing import Any

WIDTH = 100
MARKS = {"met": "+", "not met": "-", "observed": "!", "not observed": ".", "not measured": "?"}


def verdict_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Every criterion, then every known way to fail, the observed ones first, each with what to do next."""
    yield "Criteria (+ met, - not met, ? not measured)"
    for said in document["criteria"]:
        yield from _said(said, advise=said["status"] != "met")
    yield ""
    yield "Known ways to fail (! observed, . not observed, ? not measured)"
    for said in sorted(document["hypotheses"], key=lambda h: "!?.".index(MARKS[h["status"]])):
        yield from _said(said, advise=said["status"] == "observed")


def _said(said: Mapping[str, Any], advise: bool) -> Iterator[str]:
    value = "" if said["value"] is None else f" ({number(said['value'])})"
    yield filled(f"{MARKS[said['status']]} {said['name']}{value}: {said['detail']}", indent=2)
    if advise and said["next_step"]:
        yield filled(f"next: {said['next_step']}", first="    ", indent=6)


def filled(text: str, first: str = "", indent: int = 0) -> str:
    """The text in lines of at most 100 columns."""
    return fill(text, WIDTH, initial_indent=first, subsequent_indent=" " * indent)


def number(value: float | None, sign: str = "+") -> str:
    """Two decimals; a dash for what was not measured."""
    return "-" if value is None else f"{value:{sign}.2f}"
