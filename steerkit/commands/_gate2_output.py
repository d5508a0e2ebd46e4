"""Gate 2 on a terminal: a table a person can read in 100 columns."""

from collections.abc import Iterator, Mapping
from typing import Any

from steerkit.commands._output import echo_document, table
from steerkit.commands._verdicts import WIDTH, filled, number, verdict_lines


def show(document: Mapping[str, Any], as_json: bool) -> None:
    """The document as JSON, or as the tables a person reads."""
    echo_document(document, _lines, as_json)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield filled(
        f"Gate 2: {document['verdict']}   {document['method']} on {document['model']}, trait {document['trait']}"
    )
    yield filled(document["summary"])
    yield ""
    yield _doses(document)
    yield ""
    yield _groups(document)
    yield ""
    yield _checks(document)
    yield ""
    yield from verdict_lines(document)
    yield ""
    if document["verdict"] != "PASS":
        yield filled(f"next     {document['next_step']}", indent=9)
    yield f"read     steerkit borderline {document['run_id']}; steerkit label {document['run_id']}"
    yield f"picture  {document['pictures'][0] if document['pictures'] else 'none'}"
    yield f"store    {document['store']}   (steerkit show drop_reasons --param run={document['run_id']})"
    yield f"run      {document['run_id']} from gate 1's {document['parent_run']}, {document['seconds']:.0f} s of work"


def _doses(document: Mapping[str, Any]) -> str:
    """One line per dose."""
    columns = ["dose", "strength", "made", "kept", "survival [95%]", "perplexity", "distinct", "KL", "gain"]
    rows = [
        [
            f"{row['dose']:g}{' *' if row['dose'] == document['chosen_dose'] else ''}",
            f"{row['strength']:.2f}",
            str(row["made"]),
            str(row["kept"]),
            f"{row['survival']:.0%} [{row['survival_low']:.0%}, {row['survival_high']:.0%}]",
            number(row["median_perplexity"], sign=""),
            number(row["median_distinct"], sign=""),
            number(row["mean_kl"], sign=""),
            f"{row['mean_gain']:+.3f}" if row["mean_gain"] is not None else "-",
        ]
        for row in document["doses"]
    ]
    mark = "the dose chosen" if document["chosen_dose"] else "no dose was chosen"
    return table(columns, rows, WIDTH) + "\n" + filled(f"* {mark}: {document['controller']}", indent=2)


def _groups(document: Mapping[str, Any]) -> str:
    """One line per group of texts: how much more likely the steered model finds them (nats per token)."""
    rows = [
        [name, _figure(found, "gain", 3), _figure(found, "d_gain", 3), _figure(found, "log_perplexity", 2)]
        for name, found in document["groups"].items()
    ]
    return table(["texts", "gain [95%]", "less base's [95%]", "log perplexity [95%]"], rows, WIDTH)


def _figure(found: Mapping[str, Any], quantity: str, digits: int) -> str:
    figure = found.get(quantity)
    if figure is None or figure["value"] is None:
        return "-"
    if figure["low"] is None:
        return f"{figure['value']:+.{digits}f}"
    return f"{figure['value']:+.{digits}f} [{figure['low']:+.{digits}f}, {figure['high']:+.{digits}f}]"


def _checks(document: Mapping[str, Any]) -> str:
    """One line per check that drops something, and the others by name."""
    dropping = [row for row in document["checks"] if row["dropped"] or row["base_dropped"]]
    rows = [
        [
            row["name"],
            f"{row['direction']} {row['threshold']:g}",
            str(row["dropped"]),
            str(row["alone"]),
            f"{row['base_dropped']} of {row['base']}",
        ]
        for row in dropping
    ]
    idle = ", ".join(row["name"] for row in document["checks"] if row not in dropping)
    shown = table(["check", "keeps", "drops", "alone", "of base"], rows, WIDTH)
    return shown + ("\n" + filled(f"nothing dropped by: {idle}", indent=2) if idle else "")
