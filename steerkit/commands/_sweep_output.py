"""A sweep on a terminal: one line per point of the grid, in 100 columns."""

from collections.abc import Iterator, Mapping
from typing import Any

from steerkit.commands._output import echo_document, table
from steerkit.commands._verdicts import WIDTH, filled, number

SWEPT = {
    "divergence": "reg",
    "aggregate": "agg",
    "reference": "ref",
    "lam": "lam",
    "tau": "tau",
    "weight_decay": "wd",
    "spectral": "spectral",
}
"""Settings by the options that name them."""
SHORT = {"reverse-kl": "rev-kl", "forward-kl": "fwd-kl", "previous": "prev"}


def show(document: Mapping[str, Any], as_json: bool) -> None:
    """The document as JSON, or as the table a person reads."""
    echo_document(document, _lines, as_json)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    points, run = document["points"], document["run_id"]
    yield filled(
        f"Sweep of {len(points)} ways to train, {document['method']} on {document['model']}, trait "
        f"{document['trait']}: most coherence beyond raw steering first"
    )
    varied = [name for name in SWEPT if len({point[name] for point in points}) > 1 or name == "tau"]
    same = [f"{SWEPT[name]} {points[0][name]}" for name in SWEPT if name not in varied]
    if same:
        yield filled(f"in all: {', '.join(same)}")
    yield ""
    yield _table(document, varied)
    yield ""
    if not all(point["coherent"] for point in points):
        yield filled(f"* coherence below {document['lowest_coherence']:g} of the base's: after all others")
    for alarm in dict.fromkeys(point["alarm"] for point in points if point["alarm"]):
        yield filled(f"! {alarm}")
    source = document["gate3_run"] or document["parent_run"]
    yield f"store    {document['store']}   (steerkit show sweep --param run={run})"
    if points:
        best = points[0]["adapter_id"]
        yield f"bake     steerkit bake {run} --adapter-id {best} -o FOLDER"
    yield f"run      {run} on the texts of {source}, {document['seconds']:.0f} s of work"


def _table(document: Mapping[str, Any], varied: list[str]) -> str:
    """One row per point, intervals below their values; the last row is training without a constraint."""
    points, target = document["points"], document["target"]
    columns = [*(SWEPT[name] for name in varied), f"d{target}\n[95%]", "coher-\nence", "front_gain\n[95%]"]
    columns += ["retain", "last\nNLL", "over\ntau", "alarm"]
    rows = [[*(_setting(point, name) for name in varied), *_measured(point)] for point in points]
    plain = [*("plain" if place == 0 else "" for place in range(len(varied))), *_measured(document["plain"])]
    return table(columns, [*rows, plain], WIDTH)


def _setting(point: Mapping[str, Any], name: str) -> str:
    """A setting's value; blank where it changes nothing."""
    if point["divergence"] == "none" and name in ("aggregate", "reference", "lam", "tau"):
        return ""
    if name == "tau":
        asked = f"\n{point['tau']}" if point["tau"].startswith("q") else ""
        return f"{point['tau_nats']:.3g}{asked}"
    value = point[name]
    return SHORT.get(value, value) if isinstance(value, str) else f"{value:g}"


def _measured(point: Mapping[str, Any]) -> list[str]:
    coherence = number(point["coherence"]["value"], "")
    alarm = (point["alarm"] or "").partition(":")[0]
    return [
        _figure(point["d_target"]),
        coherence if point["coherent"] else f"{coherence}*",
        _figure(point["front_gain"], 3),
        number(point["retain"]["value"], ""),
        number(point["last_nll"], ""),
        "" if point["over"] is None else f"{point['over']:.0%}",
        alarm and f"! {alarm}",
    ]


def _figure(found: Mapping[str, float | None], places: int = 2) -> str:
    value, low, high = ("-" if x is None else f"{x:+.{places}f}" for x in (found["value"], found["low"], found["high"]))
    return f"{value}\n[{low}, {high}]"
