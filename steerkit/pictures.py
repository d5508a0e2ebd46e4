"""Draws what the gates show: the Pareto plane, survival by dose, healing. The only file that draws."""

from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import altair as alt

COLOURS = {"steered": "#0072B2", "opposite": "#56B4E9", "random": "#999999", "shuffled": "#BBBBBB", "prompt": "#D55E00"}
"""Okabe-Ito colours: told apart also by colour-blind readers."""
STUDENTS = {
    "healed": ("#009E73", "square"),
    "plain": ("#CC79A7", "square"),
    "control-unsteered": ("#E69F00", "triangle-down"),
    "control-random": ("#8C6D1F", "triangle-down"),
    "control-persona": ("#D55E00", "triangle-down"),
    "weights": ("#F0E442", "diamond"),
    "previous": ("#000000", "circle"),
}
"""Colour and shape of what was trained."""
ORIGIN = {"group": "base", "dose": 0.0, "cost": 0.0, "gain": 0.0}
"""The base: nothing moved, nothing lost."""
SHAPES = {"steered": "circle", "opposite": "circle", "random": "cross", "shuffled": "triangle-up", "prompt": "diamond"}


def pareto(document: Mapping[str, Any], broken: float = 0.85) -> Any:
    """One point per arm: shift of the target as intended (nats) over coherence cost (fraction of base)."""
    sign = -1 if document["sign"] < 0 else 1
    points = [_point(arm, sign) for arm in document["arms"] if arm["kind"] != "base" and arm["d_target"] is not None]
    points = [point for point in points if point["cost"] is not None]
    steered = [point for point in points if point["group"] == "steered"]
    x = alt.X("cost:Q", title="coherence cost: answer mass lost, relative to base", scale=alt.Scale(zero=False))
    y = alt.Y("gain:Q", title=f"shift of {document['target']} towards the trait (nats)")
    doses = [*(point for point in points if point["group"] in ("steered", "opposite")), ORIGIN]
    reach = max([point["cost"] for point in points] + [1 - broken])
    layers = [_broken(broken, reach), _axis(), _cloud(points), _path(doses, x, y), _front(front(points), x, y)]
    layers += [_intervals(points, x), _marks(points, x, y), _labels(steered, x, y)]
    return (
        alt.layer(*[layer for layer in layers if layer is not None])
        .properties(width=640, height=400, title=_title(document))
        .configure_view(strokeOpacity=0.3)
        .configure_axis(gridOpacity=0.4)
    )


def survival(document: Mapping[str, Any]) -> Any:
    """By dose: the share of texts that every check keeps with its 95% interval, over the median perplexity."""
    rows = document["doses"]
    # A dose whose texts are mostly empty has no perplexity that can be drawn; its survival still can.
    read = [row for row in rows if row["median_perplexity"] is not None and isfinite(row["median_perplexity"])]
    x = alt.X("dose:Q", title="dose (1: 95th percentile of the per-token KL at its target)")
    data = alt.InlineData(values=rows)
    share = alt.Y("survival:Q", title="kept (fraction)", scale=alt.Scale(domain=[0, 1]))
    kept = alt.Chart(data).mark_line(point={"color": COLOURS["steered"]}, color=COLOURS["steered"]).encode(x=x, y=share)
    span = alt.Chart(data).mark_rule(color=COLOURS["steered"], opacity=0.5)
    span = span.encode(x=x, y=alt.Y("survival_low:Q", title="kept (fraction)"), y2="survival_high:Q")
    counts = alt.Chart(data).mark_text(dy=-10, fontSize=10).encode(x=x, y=share, text="made:Q")
    chosen = alt.Chart(alt.InlineData(values=[{"dose": document["chosen_dose"]}] if document["chosen_dose"] else []))
    chosen = chosen.mark_rule(strokeDash=[4, 4], color=COLOURS["prompt"]).encode(x=x)
    hard = alt.Y("median_perplexity:Q", title="median perplexity under the base", scale=alt.Scale(type="log"))
    size = {"width": 640, "height": 200}
    panels = [alt.layer(kept, span, counts, chosen).properties(**size)]
    if read:
        line = alt.Chart(alt.InlineData(values=read)).mark_line(
            point={"color": COLOURS["random"]}, color=COLOURS["random"]
        )
        panels.append(line.encode(x=x, y=hard).properties(**size))
    return alt.vconcat(*panels).resolve_scale(x="shared").properties(title=_survival_title(document))


def _survival_title(document: Mapping[str, Any]) -> Any:
    kept = f"{document['kept']} of {document['made']} texts kept; dashed: the dose chosen; figures: texts at a dose"
    named = f"Gate 2: {document['verdict']}   {document['method']}, {document['trait']}, {document['model']}"
    return alt.TitleParams(named, subtitle=kept, anchor="start")


def healing(document: Mapping[str, Any], broken: float = 0.85) -> Any:
    """The Pareto plane with each student as an arrow from the steered point its texts came from, over its training."""
    sign = -1 if document["sign"] < 0 else 1
    points = [_point(arm, sign) for arm in document["arms"] if arm["kind"] != "base" and arm["d_target"] is not None]
    points = [point for point in points if point["cost"] is not None]
    raw = [point for point in points if point["group"] in COLOURS]
    made = [point for point in points if point["group"] in STUDENTS]
    steered = [point for point in raw if point["group"] == "steered"]
    x = alt.X("cost:Q", title="coherence cost: answer mass lost, relative to base", scale=alt.Scale(zero=False))
    y = alt.Y("gain:Q", title=f"shift of {document['target']} towards the trait (nats)")
    reach = max([point["cost"] for point in points] + [1 - broken])
    layers = [_broken(broken, reach), _axis(), _cloud(raw), _path([*steered, ORIGIN], x, y), _front(front(raw), x, y)]
    layers += [_arrows(made, next((p for p in steered if p["dose"] == document["dose"]), None), x, y)]
    layers += [_intervals(points, x), _marks(points, x, y), _labels(steered, x, y)]
    plane = alt.layer(*[layer for layer in layers if layer is not None])
    return (
        alt.vconcat(plane.properties(width=640, height=400), *_training(document))
        .resolve_scale(color="independent")
        .properties(title=_healing_title(document))
        .configure_view(strokeOpacity=0.3)
        .configure_axis(gridOpacity=0.4)
    )


def _arrows(made: Sequence[Mapping[str, Any]], origin: Mapping[str, Any] | None, x: alt.X, y: alt.Y) -> Any:
    """A line from the steered point to each student trained on its texts."""
    taught = [point for point in made if point["group"] in ("healed", "plain")]
    if origin is None or not taught:
        return None
    ends = [{**p, "from_cost": origin["cost"], "from_gain": origin["gain"]} for p in taught]
    line = alt.Chart(_data(ends)).mark_rule(strokeWidth=1.6, opacity=0.8)
    return line.encode(
        x=alt.X("from_cost:Q", title="coherence cost: answer mass lost, relative to base"),
        y="from_gain:Q",
        x2="cost:Q",
        y2="gain:Q",
        color=_colour(STUDENTS),
    )


def _training(document: Mapping[str, Any]) -> list[Any]:
    """NLL by step of every adapter, and its divergence with the line where the barrier begins."""
    curves = [{"adapter": adapter["role"], **step} for adapter in document["adapters"] for step in adapter["curve"]]
    if not curves:
        return []
    data, colour = (
        _data(curves),
        alt.Color(
            "adapter:N",
            scale=alt.Scale(domain=list(STUDENTS), range=[colour for colour, _ in STUDENTS.values()]),
            title="adapter",
        ),
    )
    x = alt.X("step:Q", title="optimiser step")
    nll = alt.Chart(data).mark_line().encode(x=x, y=alt.Y("nll:Q", title="NLL (nats per token)"), color=colour)
    apart = alt.Chart(data).mark_line().encode(x=x, y=alt.Y("d_rmse:Q", title="divergence, rmse (nats)"), color=colour)
    taus = [{"tau": a["tau"]} for a in document["adapters"] if a["role"] == "healed" and a["tau"] is not None]
    line = alt.Chart(_data(taus)).mark_rule(strokeDash=[4, 4]).encode(y="tau:Q")
    size = {"width": 300, "height": 160}
    return [alt.hconcat(nll.properties(**size), alt.layer(apart, line).properties(**size))]


def _healing_title(document: Mapping[str, Any]) -> alt.TitleParams:
    named = f"Gate 3: {document['verdict']}, {document['label']}   {document['method']} on {document['model']}"
    return alt.TitleParams(
        named,
        subtitle=[
            "Up and left is better. Lines lead from the steered model to the adapters that learned its texts.",
            "Bars: 95% paired-bootstrap intervals. Grey: null directions. Dashed below: where the barrier begins.",
        ],
        anchor="start",
        subtitleColor="#666666",
    )


def save(chart: Any, folder: Path, name: str) -> list[Path]:
    """Write the chart as PNG and SVG; the folder is made when missing."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    chart.save(str(paths[0]), scale_factor=2)
    chart.save(str(paths[1]))
    return paths


def front(points: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The arms that nothing beats in both cost and gain, by rising cost; nulls cannot be on it."""
    best, found = float("-inf"), []
    candidates = [p for p in points if p["group"] in ("steered", "opposite", "prompt") and p["gain"] > 0]
    for point in sorted(candidates, key=lambda p: (p["cost"], -p["gain"])):
        if point["gain"] > best:
            best = point["gain"]
            found.append({"cost": point["cost"], "gain": point["gain"]})
    return found


def _point(arm: Mapping[str, Any], sign: int) -> dict[str, Any]:
    low, high = (arm["d_target_low"], arm["d_target_high"])
    ends = sorted((sign * low, sign * high)) if low is not None and high is not None else (None, None)
    group = "opposite" if arm["kind"] == "steered" and arm["dose"] < 0 else arm["kind"]
    return {
        "group": group,
        "dose": arm["dose"],
        "label": "prompt" if group == "prompt" else f"{arm['dose']:g}",
        "cost": None if arm["coherence"] is None else 1 - arm["coherence"],
        "cost_low": None if arm["coherence_high"] is None else 1 - arm["coherence_high"],
        "cost_high": None if arm["coherence_low"] is None else 1 - arm["coherence_low"],
        "gain": sign * arm["d_target"],
        "gain_low": ends[0],
        "gain_high": ends[1],
    }


def _title(document: Mapping[str, Any]) -> alt.TitleParams:
    return alt.TitleParams(
        f"Gate 1: {document['method']} on {document['model']}: {document['verdict']}",
        subtitle=[
            "Up and left is better. Circles joined by dose (multiples of the calibrated strength); stair: front.",
            "Bars: 95% paired-bootstrap intervals. Grey: null directions at the same doses. Diamond: persona prompt.",
        ],
        anchor="start",
        subtitleColor="#666666",
    )


def _data(values: Sequence[Mapping[str, Any]]) -> alt.Data:
    return alt.Data(values=[dict(value) for value in values])  # type: ignore[no-untyped-call]


def _broken(floor: float, reach: float) -> Any:
    """The region where answers have fallen apart, with its name."""
    chart = alt.Chart(_data([{"from": 1 - floor, "to": reach + 0.02, "name": "broken"}]))
    area = chart.mark_rect(color="#CC79A7", opacity=0.10).encode(x="from:Q", x2="to:Q")
    name = chart.mark_text(align="left", dx=4, color="#9A5580", fontStyle="italic").encode(
        x="from:Q", y=alt.value(12), text="name:N"
    )
    return alt.layer(area, name)


def _axis() -> Any:
    return alt.Chart(_data([{"zero": 0.0}])).mark_rule(strokeDash=[2, 3], color="#888888").encode(y="zero:Q")


def _cloud(points: Sequence[Mapping[str, Any]]) -> Any:
    """The box that all null directions lie in."""
    nulls = [point for point in points if point["group"] in ("random", "shuffled")]
    if not nulls:
        return None
    box = {
        "left": min(p["cost"] for p in nulls),
        "right": max(p["cost"] for p in nulls),
        "bottom": min(p["gain"] for p in nulls),
        "top": max(p["gain"] for p in nulls),
    }
    return (
        alt.Chart(_data([box]))
        .mark_rect(color="#999999", opacity=0.15)
        .encode(x="left:Q", x2="right:Q", y="bottom:Q", y2="top:Q")
    )


def _path(steered: Sequence[Mapping[str, Any]], x: alt.X, y: alt.Y) -> Any:
    return alt.Chart(_data(steered)).mark_line(color=COLOURS["steered"], opacity=0.5).encode(x=x, y=y, order="dose:Q")


def _front(points: Sequence[Mapping[str, Any]], x: alt.X, y: alt.Y) -> Any:
    return (
        alt.Chart(_data(points)).mark_line(interpolate="step-after", color="#000000", strokeWidth=1.2).encode(x=x, y=y)
    )


def _intervals(points: Sequence[Mapping[str, Any]], x: alt.X) -> Any:
    colour = _colour({point["group"] for point in points})
    known = [point for point in points if point["gain_low"] is not None and point["cost_low"] is not None]
    chart = alt.Chart(_data(known))
    upright = chart.mark_rule(opacity=0.45).encode(x=x, y="gain_low:Q", y2="gain_high:Q", color=colour)
    level = chart.mark_rule(opacity=0.45).encode(x="cost_low:Q", x2="cost_high:Q", y="gain:Q", color=colour)
    return alt.layer(upright, level)


def _marks(points: Sequence[Mapping[str, Any]], x: alt.X, y: alt.Y) -> Any:
    known = {point["group"] for point in points}
    shapes = SHAPES | {name: shape for name, (_, shape) in STUDENTS.items() if name in known}
    shape = alt.Shape("group:N", scale=alt.Scale(domain=list(shapes), range=list(shapes.values())), title="arm")
    return (
        alt.Chart(_data(points))
        .mark_point(filled=True, size=70, opacity=0.9)
        .encode(x=x, y=y, color=_colour(known), shape=shape)
    )


def _labels(steered: Sequence[Mapping[str, Any]], x: alt.X, y: alt.Y) -> Any:
    return alt.Chart(_data(steered)).mark_text(dx=10, dy=-8, fontSize=10).encode(x=x, y=y, text="label:N")


def _colour(known: Collection[str] = ()) -> alt.Color:
    """Colours of gate 1's arms and of those students that are in the picture."""
    named = COLOURS | {name: colour for name, (colour, _) in STUDENTS.items() if name in known}
    return alt.Color("group:N", scale=alt.Scale(domain=list(named), range=list(named.values())), title="arm")
