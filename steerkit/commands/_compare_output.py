"""A comparison on a terminal: one line per method, then one per dose, in 100 columns."""

from collections.abc import Iterator, Mapping
from typing import Any

from steerkit.commands._output import echo_document, table
from steerkit.commands._verdicts import WIDTH, filled, number

UNITS = {"p95-kl": "nats of p95 KL", "rmse-kl": "nats of rmse KL", "answer-mass": "of the answer mass lost"}


def show(document: Mapping[str, Any], as_json: bool) -> None:
    """The document as JSON, or as the tables a person reads."""
    echo_document(document, _lines, as_json)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    compared = [method for method in document["methods"] if method["standing"] == "compared"]
    others = [method for method in document["methods"] if method["standing"] != "compared"]
    doses = ", ".join(f"{dose:g}" for dose in document["doses"])
    yield filled(
        f"{len(compared)} of {len(document['methods'])} methods read in full on {document['model']}, trait "
        f"{document['trait']}: doses {doses} {UNITS[document['scale']]}, {document['seeds']} draws of contexts, "
        f"{document['vignettes']} vignettes, {document['nulls']} null directions"
    )
    yield ""
    yield filled(
        "Strength chosen on one half of the vignettes, reported on the other (95%: over vignettes and contexts)"
    )
    yield table(*_chosen(document, compared), WIDTH)
    yield ""
    yield filled("Every dose over all vignettes; * on the screen's vignettes alone, which ruled it out")
    yield table(*_doses(document), WIDTH)
    yield ""
    ruled_out = [method for method in others if method["standing"] == "raced out"]
    if ruled_out:
        yield filled(f"Raced out: {', '.join(one['method'] for one in ruled_out)}: {ruled_out[0]['detail']}", indent=2)
    for method in (method for method in others if method not in ruled_out):
        name = f"{method['method']} ({method['distribution']})"
        yield filled(f"{name}: {method['standing']}: {method['detail']}", indent=2)
    area, spent, whole = document["hypervolume"], document["readings"], document["readings_unraced"]
    yield filled(f"hypervolume of the front {span(area, 4, '')} nats x fraction")
    if document["race"] and whole:
        yield filled(f"read {spent} vignettes, {spent / whole:.0%} of the {whole} that all points in full would take")
    yield f"picture  {document['pictures'][0] if document['pictures'] else 'none'}"
    yield f"store    {document['store']}   (steerkit show methods_compared --param run={document['run_id']})"
    yield f"run      {document['run_id']}, {document['seconds']:.0f} s of work"


def _chosen(document: Mapping[str, Any], compared: list[Any]) -> tuple[list[str], list[list[str]]]:
    """One row per method."""
    columns = ["method", "dose\nstrength", f"d{document['target']}\n[95%]", "coherence\ncost per nat"]
    columns += ["gated sel.\nflips", "surgical", "on front\np nulls", "hyper-\nvolume"]
    return columns, [_chosen_row(method, document["lowest_coherence"]) for method in compared]


def _chosen_row(method: Mapping[str, Any], floor: float) -> list[str]:
    row = method["chosen"]
    if row is None:
        return [method["method"], "", f"none coherent\n({floor:g})", *[""] * 5]
    seen, whole = row["test"], row["all"]
    cost, chance = seen["coh_cost"]["value"], whole["front_probability"]
    return [
        method["method"],
        "" if row["dose"] is None else f"{row['dose']:g}\nx {row['strength']:.3g}",
        span(seen["d_target"]),
        f"{number(seen['coherence']['value'], '')}\n{'-' if cost is None else f'{cost:.3f}'}",
        f"{number(seen['gated_selectivity']['value'])}\n{number(seen['si_flips']['value'])}",
        {True: "yes", False: "no", None: "-"}[seen["surgical"]],
        f"{'-' if chance is None else f'{chance:.0%}'}\n{number(whole['p_null'], '')}",
        "" if method["hypervolume"]["value"] is None else f"{method['hypervolume']['value']:.3f}",
    ]


def _doses(document: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """One row per method and dose."""
    target = document["target"]
    columns = ["method", "dose", "got", f"d{target} [95%]", "coherence [95%]", "gated\nsel.", "on\nfront", "p\nnulls"]
    rows = [_dose_row(method["method"], row) for method in document["methods"] for row in method["points"]]
    return columns, rows


def _dose_row(method: str, row: Mapping[str, Any]) -> list[str]:
    seen = row["all"] or row["screen"]
    if seen is None:
        return [method, f"{row['dose']:g}", "-", f"{row['state']}", *[""] * 4]
    return [
        method,
        ("" if row["dose"] is None else f"{row['dose']:g}") + ("" if row["all"] else "*"),
        "" if row["reached"] is None else f"{row['reached']:.3g}",
        span(seen["d_target"], 2, "+", " "),
        span(seen["coherence"], 2, "", " "),
        number(seen["gated_selectivity"]["value"]),
        "" if seen["front_probability"] is None else f"{seen['front_probability']:.0%}",
        number(seen["p_null"], ""),
    ]


def span(found: Mapping[str, float | None], places: int = 2, sign: str = "+", gap: str = "\n") -> str:
    value, low, high = (
        "-" if x is None else f"{x:{sign}.{places}f}" for x in (found["value"], found["low"], found["high"])
    )
    return f"{value}{gap}[{low},{high}]"
