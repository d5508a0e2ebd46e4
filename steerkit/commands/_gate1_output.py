"""Gate 1 on a terminal: a table a person can read in 100 columns."""

import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from steerkit.commands._output import echo_document, table
from steerkit.commands._verdicts import WIDTH, filled, number, verdict_lines


def show(document: Mapping[str, Any], as_json: bool) -> None:
    """The document as JSON, or as the table a person reads."""
    echo_document(document, _lines, as_json)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield filled(
        f"Gate 1: {document['verdict']}   {document['method']} on {document['model']}, trait {document['trait']}"
    )
    yield filled(document["summary"])
    yield ""
    yield _arms(document)
    yield from _resolution(document)
    yield ""
    yield from verdict_lines(document)
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


def _resolution(document: Mapping[str, Any]) -> Iterator[str]:
    """The smallest shift the vignettes resolve, at the operating dose or the strongest; nothing for an older run."""
    steered = [arm for arm in document["arms"] if arm["kind"] == "steered" and arm["resolution"] is not None]
    if not steered:
        return
    wanted = document["operating_dose"] or max(arm["dose"] for arm in steered)
    arm = min(steered, key=lambda each: abs(each["dose"] - wanted))
    smallest, flip = (number(arm[name], sign="") for name in ("resolution", "flip_nats"))
    said = f"smallest shift of {document['target']} these vignettes resolve at dose {arm['dose']:+g}: {smallest} nats"
    yield filled(f"{said}; one vignette flipping is {flip}")


def _row(arm: Mapping[str, Any], target: str) -> list[str]:
    if arm["kind"] == "base":
        return ["base", "0", "", f"{number(arm['target_nats'])} nats", "1", "", "", ""]
    shift = f"{number(arm['d_target'])} [{number(arm['d_target_low'])}, {number(arm['d_target_high'])}]"
    name = "prompt" if arm["kind"] == "prompt" else "steered"
    dose, strength = ("", "") if name == "prompt" else (f"{arm['dose']:+g}", f"{arm['strength']:.2f}")
    chance = arm["front_probability"]
    return [
        name,
        dose,
        strength,
        shift,
        number(arm["coherence"], sign=""),
        number(arm["coh_cost"], sign=""),
        _largest_other(arm["shifts"], target),
        "" if chance is None else f"{chance:.0%}",
    ]


def _largest_other(shifts: Mapping[str, float | None], target: str) -> str:
    moved = {name: shift for name, shift in shifts.items() if name != target and shift is not None}
    if not moved:
        return ""
    name = max(moved, key=lambda key: abs(moved[key] or 0.0))
    return f"{name} {number(moved[name])}"


def _nulls(arms: list[Mapping[str, Any]]) -> dict[tuple[str, float], list[Mapping[str, Any]]]:
    groups: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for arm in arms:
        if arm["kind"] in ("random", "shuffled"):
            groups.setdefault((arm["kind"], arm["dose"]), []).append(arm)
    return groups


def _null_row(kind: str, dose: float, group: list[Mapping[str, Any]]) -> list[str]:
    shifts = [arm["d_target"] for arm in group if arm["d_target"] is not None]
    coherence = [arm["coherence"] for arm in group if arm["coherence"] is not None]
    moved = f"{number(min(shifts))} to {number(max(shifts))}" if shifts else "-"
    kept = f"{min(coherence):.2f} to {max(coherence):.2f}" if coherence else "-"
    return [f"{kind} x{len(group)}", f"{dose:+g}", "", moved, kept, "", "", ""]
