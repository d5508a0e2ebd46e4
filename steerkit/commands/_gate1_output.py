"""Gate 1 on a terminal: progress on stderr while it runs, then a table a person can read in 100 columns on stdout."""

import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import fill
from types import TracebackType
from typing import Any

import click

from steerkit.commands._output import echo_json, table

WIDTH = 100
MARKS = {"met": "+", "not met": "-", "observed": "!", "not observed": ".", "not measured": "?"}


class Narrator:
    """One line per finished unit of work on stderr, with the time left; on a terminal the line renews itself."""

    def __init__(self, store: Path, as_json: bool) -> None:
        self._start = time.monotonic()
        self._done = 0
        self._fresh_seconds: list[float] = []
        self._live = sys.stderr.isatty()

    def __enter__(self) -> "Narrator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and self._done:
            click.echo(err=True)

    def say(self, text: str) -> None:
        """A line of its own."""
        click.echo(text, err=True)

    def step(self, step: Any, seconds: float) -> None:
        """A finished step, what it showed, and how long the rest will take."""
        self._done += 1
        if step.fresh:
            self._fresh_seconds.append(seconds)
        line = f"[{self._done:>2}/{step.total}] {step.stage} {step.name}: {seconds:.1f} s{self._left(step.total)}"
        seen = step.headline
        if self._live and not seen:
            click.echo(f"\r\x1b[2K{line}", nl=False, err=True)
        else:
            click.echo(("\r\x1b[2K" if self._live else "") + f"{line}{'; ' + seen if seen else ''}", err=True)

    def _left(self, total: int) -> str:
        if not self._fresh_seconds or self._done >= total:
            return ""
        seconds = sum(self._fresh_seconds) / len(self._fresh_seconds) * (total - self._done)
        return f", about {seconds:.0f} s left"


def show(document: Mapping[str, Any], as_json: bool) -> None:
    """The document as JSON, or as the table a person reads."""
    if as_json:
        echo_json(document)
        return
    for line in _lines(document):
        click.echo(line)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield _filled(
        f"Gate 1: {document['verdict']}   {document['method']} on {document['model']}, trait {document['trait']}"
    )
    yield _filled(document["summary"])
    yield ""
    yield _arms(document)
    yield ""
    yield "Criteria (+ met, - not met, ? not measured)"
    for said in document["criteria"]:
        yield from _said(said, advise=said["status"] != "met")
    yield ""
    yield "Known ways to fail (! observed, . not observed, ? not measured)"
    for said in sorted(document["hypotheses"], key=lambda h: "!?.".index(MARKS[h["status"]])):
        yield from _said(said, advise=said["status"] == "observed")
    yield ""
    yield f"picture  {document['pictures'][0] if document['pictures'] else 'none'}"
    yield f"store    {document['store']}   (steerkit sql \"FROM pareto WHERE run_id = '{document['run_id']}'\")"
    yield f"run      {document['run_id']}, {document['seconds']:.0f} s of work"


def _arms(document: Mapping[str, Any]) -> str:
    """One line per arm; nulls are summed up, one line per kind and dose."""
    target = document["target"]
    columns = ["arm", "dose", "strength", f"d{target} [95%]", "coherence", "coh cost", "largest other", "front"]
    rows = [_row(arm, target) for arm in document["arms"] if arm["kind"] in ("base", "steered", "prompt")]
    rows += [_null_row(kind, dose, group) for (kind, dose), group in _nulls(document["arms"]).items()]
    return table(columns, rows, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))


def _row(arm: Mapping[str, Any], target: str) -> list[str]:
    if arm["kind"] == "base":
        return ["base", "0", "", f"{_number(arm['target_nats'])} nats", "1", "", "", ""]
    shift = f"{_number(arm['d_target'])} [{_number(arm['d_target_low'])}, {_number(arm['d_target_high'])}]"
    name = "prompt" if arm["kind"] == "prompt" else "steered"
    dose, strength = ("", "") if name == "prompt" else (f"{arm['dose']:+g}", f"{arm['strength']:.2f}")
    chance = arm["front_probability"]
    return [
        name,
        dose,
        strength,
        shift,
        _number(arm["coherence"], sign=""),
        _number(arm["coh_cost"], sign=""),
        _largest_other(arm["shifts"], target),
        "" if chance is None else f"{chance:.0%}",
    ]


def _largest_other(shifts: Mapping[str, float | None], target: str) -> str:
    moved = {name: shift for name, shift in shifts.items() if name != target and shift is not None}
    if not moved:
        return ""
    name = max(moved, key=lambda key: abs(moved[key] or 0.0))
    return f"{name} {_number(moved[name])}"


def _nulls(arms: list[Mapping[str, Any]]) -> dict[tuple[str, float], list[Mapping[str, Any]]]:
    groups: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for arm in arms:
        if arm["kind"] in ("random", "shuffled"):
            groups.setdefault((arm["kind"], arm["dose"]), []).append(arm)
    return groups


def _null_row(kind: str, dose: float, group: list[Mapping[str, Any]]) -> list[str]:
    shifts = [arm["d_target"] for arm in group if arm["d_target"] is not None]
    coherence = [arm["coherence"] for arm in group if arm["coherence"] is not None]
    moved = f"{_number(min(shifts))} to {_number(max(shifts))}" if shifts else "-"
    kept = f"{min(coherence):.2f} to {max(coherence):.2f}" if coherence else "-"
    return [f"{kind} x{len(group)}", f"{dose:+g}", "", moved, kept, "", "", ""]


def _said(said: Mapping[str, Any], advise: bool) -> Iterator[str]:
    value = "" if said["value"] is None else f" ({_number(said['value'])})"
    yield _filled(f"{MARKS[said['status']]} {said['name']}{value}: {said['detail']}", indent=2)
    if advise and said["next_step"]:
        yield _filled(f"next: {said['next_step']}", first="    ", indent=6)


def _filled(text: str, first: str = "", indent: int = 0) -> str:
    return fill(text, WIDTH, initial_indent=first, subsequent_indent=" " * indent)


def _number(value: float | None, sign: str = "+") -> str:
    return "-" if value is None else f"{value:{sign}.2f}"
