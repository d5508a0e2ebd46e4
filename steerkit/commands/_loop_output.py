"""A loop on a terminal: a line per round, in 100 columns."""

from collections.abc import Iterator, Mapping
from typing import Any

from steerkit.commands._output import echo_document, table
from steerkit.commands._verdicts import WIDTH, filled, number, verdict_lines


def show(document: Mapping[str, Any], as_json: bool) -> None:
    """The document as JSON, or as the tables a person reads."""
    echo_document(document, _lines, as_json)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield filled(
        f"Gate 4: {document['verdict']}   {document['method']} on {document['model']}, trait {document['trait']}, "
        f"{len(document['rounds'])} of {document['asked']} rounds, later directions {document['direction']}"
    )
    yield filled(document["summary"])
    yield ""
    yield _students(document)
    yield ""
    yield _ledger(document)
    yield ""
    yield from verdict_lines(document)
    yield ""
    if document["verdict"] != "PASS" and document["next_step"]:
        yield filled(f"next     {document['next_step']}", indent=9)
    yield f"picture  {document['pictures'][0] if document['pictures'] else 'none'}"
    yield f"store    {document['store']}   (steerkit show rounds --param run={document['run_id']})"
    best = next((row for row in document["rounds"] if row["round"] == document["best_round"]), None)
    if best is not None:
        yield f"bake     steerkit bake {best['gate3_run']} -o FOLDER"
    seconds = sum(row["seconds"] for row in document["rounds"])
    yield f"run      {document['run_id']}, {seconds:.0f} s of work"


def _students(document: Mapping[str, Any]) -> str:
    """One line per round: where its student stands."""
    target = document["target"]
    columns = [
        "round",
        f"d{target}\n[95%]",
        "from the one\nbefore [95%]",
        "coherence\n[95%]",
        "steered",
        "dCare",
        "label",
    ]
    return table(columns, [_student(row, document) for row in document["rounds"]], WIDTH)


def _student(row: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    best = " best" if row["round"] == document["best_round"] else ""
    return [
        f"{row['round']}{best}",
        _span(row, "d_target"),
        _span(row, "d_target_previous"),
        _span(row, "coherence", sign="", digits=3),
        f"{number(row['steered_d_target'])} at {number(row['steered_coherence'], '')}",
        number(row["d_care"]),
        row["label"] or row["stop"],
    ]


def _span(row: Mapping[str, Any], name: str, sign: str = "+", digits: int = 2) -> str:
    """A value over its interval."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return "-"
    ends = "" if low is None else f"\n[{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"
    return f"{value:{sign}.{digits}f}{ends}"


def _ledger(document: Mapping[str, Any]) -> str:
    """One line per round: what taught it, and how far it went."""
    columns = [
        "round",
        "kept",
        "dose",
        "KL base",
        "KL before",
        "excess",
        "norm",
        "cos first",
        "cos own",
        "over tau",
        "s",
    ]
    return table(columns, [_taught(row) for row in document["rounds"]], WIDTH)


def _taught(row: Mapping[str, Any]) -> list[str]:
    return [
        str(row["round"]),
        f"{row['kept']}/{row['made']}",
        number(row["chosen_dose"], ""),
        *("-" if row[name] is None else f"{row[name]:.3f}" for name in ("kl_base", "kl_previous", "kl_excess")),
        f"{row['direction_norm']:.2f}",
        number(row["cosine_first"]),
        number(row["cosine_teacher"]),
        "-" if row["over"] is None else f"{row['over']:.0%}",
        f"{row['seconds']:.0f}",
    ]
