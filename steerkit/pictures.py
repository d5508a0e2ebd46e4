"""Draws what the gates show: the Pareto plane, survival by dose, healing. The only file that draws.

Names come from users, and the renderer ends the whole process at a control character: they are made visible first.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from steerkit.plane import Line, Plane
from steerkit.visible import visible

RAW = {
    "steered": ("#0072B2", "circle"),
    "opposite": ("#56B4E9", "circle"),
    "random": ("#999999", "cross"),
    "shuffled": ("#BBBBBB", "triangle-up"),
    "prompt": ("#D55E00", "diamond"),
}
"""Colour and shape of what runs the untouched weights; Okabe-Ito colours, told apart also by colour-blind readers."""
STUDENTS = {
    "healed": ("#009E73", "square"),
    "plain": ("#CC79A7", "square"),
    "control-unsteered": ("#E69F00", "triangle-down"),
    "control-random": ("#8C6D1F", "triangle-down"),
    "control-persona": ("#A63D00", "triangle-down"),
    "weights": ("#F0E442", "diamond"),
    "previous": ("#000000", "circle"),
}
"""Colour and shape of what was trained."""
GROUPS = RAW | STUDENTS
TAUGHT = ("plain", "healed")
"""Students that learned the steered texts."""
ORIGIN = {"group": "base", "dose": 0.0, "cost": 0.0, "gain": 0.0}
"""The base: nothing moved, nothing lost."""
INK, PAPER = "#000000", "#FEFEFE"
"""What is drawn in the colour of the letters, and in that of the page."""
LIGHT, DARK = "#E6E6E6", "#16181C"
"""What takes their place on a dark page."""
ON_DARK = {
    INK: LIGHT,
    PAPER: DARK,
    "#666666": "#A2A8B0",
    "#0072B2": "#4AA3DF",
    "#56B4E9": "#A8D8F5",
    "#9A5580": "#D79BC0",
    "#A63D00": "#F08A4B",
    "#8C6D1F": "#C9A64A",
}
"""Colours that a dark page would swallow."""
OTHER = "#777777"
"""Whatever has no colour of its own."""
ENDS = ("low", "high")
BOUNDS = ("cost", "cost_low", "cost_high", "gain", "gain_low", "gain_high")
WIDTH, HEIGHT = 640, 400
"""Size of the plane (pixels)."""
ASIDE = 4.5
"""How far two arrows to the same place are moved apart, each (pixels)."""
Point = Mapping[str, Any]


def pareto(document: Mapping[str, Any], broken: float = 0.85) -> Any:
    """One point per arm: shift of the target as intended (nats) over coherence cost (fraction of base)."""
    points = _points(document)
    shown = Shown(document, points, broken)
    doses = [*(point for point in points if point["group"] in ("steered", "opposite")), ORIGIN]
    return finished(alt.layer(*shown.layers(doses, points, [])).properties(title=_title(document)))


def survival(document: Mapping[str, Any]) -> Any:
    """By dose: the share of texts that every check keeps with its 95% interval, over the median perplexity."""
    rows = document["doses"]
    # A dose whose texts are mostly empty has no perplexity that can be drawn; its survival still can.
    read = [row for row in rows if row["median_perplexity"] is not None and isfinite(row["median_perplexity"])]
    x = alt.X("dose:Q", title="dose (1: 95th percentile of the per-token KL at its target)")
    data = alt.InlineData(values=rows)
    share = alt.Y("survival:Q", title="kept (fraction)", scale=alt.Scale(domain=[0, 1]))
    kept = alt.Chart(data).mark_line(point={"color": RAW["steered"][0]}, color=RAW["steered"][0]).encode(x=x, y=share)
    span = alt.Chart(data).mark_rule(color=RAW["steered"][0], opacity=0.5)
    span = span.encode(x=x, y=alt.Y("survival_low:Q", title="kept (fraction)"), y2="survival_high:Q")
    counts = alt.Chart(data).mark_text(fontSize=10).encode(x=x, y=alt.value(-7), text="made:Q")
    chosen = alt.Chart(alt.InlineData(values=[{"dose": document["chosen_dose"]}] if document["chosen_dose"] else []))
    chosen = chosen.mark_rule(strokeDash=[4, 4], color=RAW["prompt"][0]).encode(x=x)
    hard = alt.Y("median_perplexity:Q", title="median perplexity under the base", scale=alt.Scale(type="log"))
    size = {"width": 640, "height": 200}
    panels = [alt.layer(kept, span, counts, chosen).properties(**size)]
    if read:
        line = alt.Chart(alt.InlineData(values=read)).mark_line(
            point={"color": RAW["random"][0]}, color=RAW["random"][0]
        )
        panels.append(line.encode(x=x, y=hard).properties(**size))
    return alt.vconcat(*panels).resolve_scale(x="shared").properties(title=_survival_title(document))


def _survival_title(document: Mapping[str, Any]) -> Any:
    kept = f"{document['kept']} of {document['made']} texts kept. Dashed: the dose chosen; on top: texts at each dose."
    named = f"Gate 2: {document['verdict']}: {document['method']} on {document['model']}, {document['trait']}"
    return alt.TitleParams(visible(named), subtitle=kept, anchor="start", subtitleColor="#666666")


def healing(document: Mapping[str, Any], broken: float = 0.85) -> Any:
    """The Pareto plane with each student as an arrow from the steered point its texts came from, over its training."""
    points = _points(document)
    raw = [point for point in points if point["group"] in RAW]
    steered = [point for point in raw if point["group"] == "steered"]
    shown = Shown(document, points, broken)
    origin = next((point for point in steered if point["dose"] == document["dose"]), None)
    plane = alt.layer(*shown.layers([*steered, ORIGIN], raw, shown.arrows(origin)))
    whole = alt.vconcat(plane, *_training(document))
    whole = whole.resolve_scale(color="independent", shape="independent", strokeDash="independent")
    return finished(whole.properties(title=_healing_title(document)))


class Shown:
    """The Pareto plane of one run: all layers share its scales, so that there is one legend and nothing is covered."""

    def __init__(self, document: Mapping[str, Any], points: Sequence[Point], broken: float) -> None:
        self.points, self.floor = points, 1 - broken
        known = {key: [p[key] for p in points if p[key] is not None] for key in BOUNDS}
        costs = (*known["cost"], *known["cost_low"], *known["cost_high"], 0.0, self.floor)
        gains = (*known["gain"], *known["gain_low"], *known["gain_high"], 0.0)
        self.plane = Plane.around(costs, gains, WIDTH, HEIGHT)
        self.x = alt.X("cost:Q", title="coherence cost: answer mass lost, relative to base", scale=fixed(self.plane.x))
        gain = visible(f"shift of {document['target']} towards the trait (nats)")
        self.y = alt.Y("gain:Q", title=gain, scale=fixed(self.plane.y))
        present = {point["group"] for point in points}
        named = {name: how for name, how in GROUPS.items() if name in present}
        legend = alt.Legend(symbolOpacity=1)
        colours, shapes = [colour for colour, _ in named.values()], [shape for _, shape in named.values()]
        self.colour = alt.Color("group:N", scale=alt.Scale(domain=[*named], range=colours), legend=legend, title="arm")
        self.shape = alt.Shape("group:N", scale=alt.Scale(domain=[*named], range=shapes), legend=legend, title="arm")

    def layers(self, path: Sequence[Point], raw: Sequence[Point], arrows: Sequence[Point]) -> list[Any]:
        """From the ground up: regions, lines, intervals, arrows, marks and the doses' labels."""
        stairs = front(raw)
        lines = [*self._lines(path, stairs, arrows)]
        drawn = [self._broken(), zero_line(), _cloud(raw), self._path(path), self._front(stairs), self._intervals()]
        drawn += [*self._arrows(arrows), self._marks(), self._labels(arrows, lines)]
        return [layer.properties(width=WIDTH, height=HEIGHT) for layer in drawn if layer is not None]

    def arrows(self, origin: Point | None) -> list[dict[str, Any]]:
        """From the steered point to each student that was trained on its texts."""
        taught = [point for name in TAUGHT for point in self.points if point["group"] == name]
        if origin is None:
            return []
        ends = [self.plane.pixel(point["cost"], point["gain"]) for point in taught]
        close = len(ends) > 1 and abs(ends[0].x - ends[1].x) + abs(ends[0].y - ends[1].y) < 4 * ASIDE
        asides = (ASIDE, -ASIDE) if close else (0.0, 0.0)
        return [self.arrow(origin, point, aside) for point, aside in zip(taught, asides, strict=False)]

    def arrow(self, origin: Point, point: Point, aside: float) -> dict[str, Any]:
        """From one point to another, moved aside by that many pixels."""
        ends = ((origin["cost"], origin["gain"]), (point["cost"], point["gain"]))
        found = self.plane.arrow(*ends, 3 * ASIDE, aside)
        (cost, gain), (to_cost, to_gain) = found.start, found.end
        place = {"cost": cost, "gain": gain, "to_cost": to_cost, "to_gain": to_gain}
        return {"group": point["group"], **place, "angle": found.angle}

    def _arrows(self, arrows: Sequence[Point]) -> list[Any]:
        if not arrows:
            return []
        chart = alt.Chart(inline(arrows)).encode(color=self.colour)
        line = chart.mark_rule(strokeWidth=1.6).encode(x=self.x, y=self.y, x2="to_cost", y2="to_gain")
        head = chart.mark_point(shape="triangle", filled=True, size=75, opacity=1)
        # A scale from degrees to themselves: without one, the largest angle would become a full turn.
        turned = alt.Angle("angle:Q", scale=alt.Scale(domain=[-180, 180], range=[-180, 180]), legend=None)
        return [line, head.encode(x=on_column(self.x, "to_cost"), y=on_column(self.y, "to_gain"), angle=turned)]

    def _broken(self) -> Any:
        """The region where answers have fallen apart, with its name."""
        chart = alt.Chart(inline([{"from": self.floor, "to": self.plane.x[1], "name": "broken"}]))
        area = chart.mark_rect(color="#CC79A7", opacity=0.10).encode(x=on_column(self.x, "from"), x2="to")
        name = chart.mark_text(align="left", dx=4, color="#9A5580", fontStyle="italic")
        return alt.layer(area, name.encode(x=on_column(self.x, "from"), y=alt.value(12), text="name:N"))

    def _path(self, steered: Sequence[Point]) -> Any:
        line = alt.Chart(inline(steered)).mark_line(color=RAW["steered"][0], opacity=0.5)
        return line.encode(x=self.x, y=self.y, order="dose:Q")

    def _front(self, stairs: Sequence[Point]) -> Any:
        line = alt.Chart(inline(stairs)).mark_line(interpolate="step-after", color=INK, strokeWidth=1.2)
        return line.encode(x=self.x, y=self.y)

    def _intervals(self) -> Any:
        known = [p for p in self.points if p["gain_low"] is not None and p["cost_low"] is not None]
        rule = alt.Chart(inline(known)).mark_rule(opacity=0.45).encode(color=self.colour)
        upright = rule.encode(x=self.x, y=on_column(self.y, "gain_low"), y2="gain_high:Q")
        return alt.layer(upright, rule.encode(x=on_column(self.x, "cost_low"), x2="cost_high:Q", y=self.y))

    def _marks(self) -> Any:
        # What was trained lies on top, the healed student topmost.
        ranked = sorted(self.points, key=lambda p: (p["group"] in STUDENTS, p["group"] == "healed"))
        mark = alt.Chart(inline(ranked)).mark_point(filled=True, size=75, opacity=1, stroke=PAPER, strokeWidth=0.8)
        return mark.encode(x=self.x, y=self.y, color=self.colour, shape=self.shape)

    def _labels(self, arrows: Sequence[Point], lines: Sequence[Line]) -> Any:
        """The dose of every steered mark, where it covers neither marks nor, if that can be, lines."""
        named = [point for point in self.points if point["group"] == "steered"]
        marks = [self.plane.pixel(p["cost"], p["gain"]) for p in self.points]
        marks += [self.plane.pixel(arrow["to_cost"], arrow["to_gain"]) for arrow in arrows]
        middles = self.plane.labels([(p["cost"], p["gain"], p["label"]) for p in named], marks, lines)
        placed = [{"cost": x, "gain": y, "label": p["label"]} for p, (x, y) in zip(named, middles, strict=True)]
        text = alt.Chart(inline(placed)).mark_text(fontSize=10, align="center", baseline="middle")
        return text.encode(x=self.x, y=self.y, text="label:N")

    def _lines(self, path: Sequence[Point], stairs: Sequence[Point], arrows: Sequence[Point]) -> Iterator[Line]:
        """Every line of the picture, in pixels."""
        at = self.plane.pixel
        for one, two in pairwise(sorted(path, key=lambda p: p["dose"])):
            yield Line(at(one["cost"], one["gain"]), at(two["cost"], two["gain"]))
        for one, two in pairwise(stairs):
            yield Line(at(one["cost"], one["gain"]), at(two["cost"], one["gain"]))
            yield Line(at(two["cost"], one["gain"]), at(two["cost"], two["gain"]))
        for arrow in arrows:
            yield Line(at(arrow["cost"], arrow["gain"]), at(arrow["to_cost"], arrow["to_gain"]))
        for p in self.points:
            if p["gain_low"] is not None and p["cost_low"] is not None:
                yield Line(at(p["cost"], p["gain_low"]), at(p["cost"], p["gain_high"]))
                yield Line(at(p["cost_low"], p["gain"]), at(p["cost_high"], p["gain"]))


def _training(document: Mapping[str, Any]) -> list[Any]:
    """NLL by step of every adapter, and its divergence with the line where the barrier begins."""
    # The plain one comes last: its dashes show what lies below.
    adapters = sorted((a for a in document["adapters"] if a["curve"]), key=lambda a: a["role"] == "plain")
    if not adapters:
        return []
    data = inline([{"adapter": adapter["role"], **step} for adapter in adapters for step in adapter["curve"]])
    roles = list(dict.fromkeys(adapter["role"] for adapter in adapters))
    colours = [STUDENTS[role][0] if role in STUDENTS else OTHER for role in roles]
    dashes = [[5, 3] if role == "plain" else [1, 0] for role in roles]
    colour = alt.Color("adapter:N", scale=alt.Scale(domain=roles, range=colours), title="adapter")
    dash = alt.StrokeDash("adapter:N", scale=alt.Scale(domain=roles, range=dashes), title="adapter")
    x = alt.X("step:Q", title="optimiser step", axis=alt.Axis(tickMinStep=1, format="d"))
    line = alt.Chart(data).mark_line().encode(x=x, color=colour, strokeDash=dash)
    nll = line.encode(y=alt.Y("nll:Q", title="NLL (nats per token)", scale=alt.Scale(zero=False)))
    aggregate = document["aggregate"]
    apart = line.encode(y=alt.Y(f"d_{aggregate}:Q", title=f"divergence, {aggregate} (nats)"))
    taus = [{"tau": a["tau"]} for a in adapters if a["role"] == "healed" and a["tau"] is not None]
    begins = alt.Chart(inline(taus)).mark_rule(strokeDash=[2, 3], color=INK).encode(y="tau:Q")
    size = {"width": 280, "height": 160}
    return [alt.hconcat(nll.properties(**size), alt.layer(apart, begins).properties(**size))]


def _healing_title(document: Mapping[str, Any]) -> alt.TitleParams:
    named = f"Gate 3: {document['verdict']}, {document['label']}: {document['method']} on {document['model']}"
    return alt.TitleParams(
        visible(named),
        subtitle=[
            "Up and left is better. Arrows lead from the steered model to the adapters trained on its texts.",
            "Circles: doses; stair: front; bars: 95% paired-bootstrap intervals. Dotted below: the barrier's start.",
        ],
        anchor="start",
        subtitleColor="#666666",
    )


def progress(document: Mapping[str, Any], broken: float = 0.85) -> Any:
    """A loop: its students on the Pareto plane of raw steering, over trait and coherence by round."""
    plane = _loop_plane(document, broken)
    whole = alt.vconcat(plane, *_by_round(document)).resolve_scale(color="independent", shape="independent")
    return finished(whole.properties(title=_loop_title(document)))


def _loop_plane(document: Mapping[str, Any], broken: float) -> Any:
    """Raw steering of the untouched model, and an arrow from each round's steered student to what learned its texts."""
    rounds = {kind: _of_rounds(document, kind) for kind in ("steered", "healed")}
    raw = _points({**document, "arms": [arm for arm in document["arms"] if arm["round"] is None]})
    ends = [(rounds["steered"][n], point) for n, point in rounds["healed"].items() if n in rounds["steered"]]
    shown = Shown(document, [*raw, *rounds["steered"].values(), *rounds["healed"].values()], broken)
    steered = [point for point in raw if point["group"] == "steered"]
    arrows = [shown.arrow(origin, point, 0.0) for origin, point in ends]
    return alt.layer(*shown.layers([*steered, ORIGIN], raw, arrows))


def _of_rounds(document: Mapping[str, Any], kind: str) -> dict[int, dict[str, Any]]:
    """A kind of arm by round, as points that are labelled with it."""
    arms = [arm for arm in document["arms"] if arm["kind"] == kind and arm["round"] is not None]
    read = {arm["round"]: _points({**document, "arms": [arm]}) for arm in arms}
    return {number: {**found[0], "label": f"round {number}"} for number, found in read.items() if found}


def _by_round(document: Mapping[str, Any]) -> list[Any]:
    """Authority and Care, and below them coherence, over a shared axis from the untouched base to the last student."""
    base = {"place": "base", "coherence": 1.0, "d_auth": 0.0, "d_care": 0.0}
    rows = [base, *({**row, "place": str(row["round"])} for row in document["rounds"] if row["d_target"] is not None)]
    names = {"d_auth": "Authority", "d_care": "Care"}
    shifts = [
        {"place": row["place"], "foundation": named, "nats": row[key], **{end: row.get(f"{key}_{end}") for end in ENDS}}
        for row in rows
        for key, named in names.items()
    ]
    places = [row["place"] for row in rows]
    x = alt.X("place:O", title="student of round", sort=places, axis=alt.Axis(labelAngle=0))
    palette = alt.Scale(domain=[*names.values()], range=[STUDENTS["healed"][0], RAW["prompt"][0]])
    colour = alt.Color("foundation:N", scale=palette, title="foundation")
    moves = alt.Y("nats:Q", title="shift from base (nats)")
    moving = alt.Chart(inline(shifts)).encode(x=x, color=colour)
    moved = moving.mark_line(point=True).encode(y=moves)
    shift = moving.mark_rule(opacity=0.6).encode(y=on_column(moves, "low"), y2="high:Q")
    held = alt.Y("coherence:Q", title="coherence", scale=alt.Scale(zero=False))
    chart = alt.Chart(inline(rows)).encode(x=x)
    whole = chart.mark_rule(opacity=0.6).encode(y=on_column(held, "coherence_low"), y2="coherence_high:Q")
    line = chart.mark_line(point={"color": INK}, color=INK).encode(y=held)
    floor = alt.Chart(inline([{"floor": document["floor"]}])).mark_rule(strokeDash=[4, 4], color=STUDENTS["plain"][0])
    size = {"width": WIDTH, "height": 150}
    above = alt.layer(shift, moved, zero_line()).properties(**size)
    below = alt.layer(whole, line, floor.encode(y="floor:Q")).properties(**size)
    return [alt.vconcat(above, below).resolve_scale(x="shared")]


def _loop_title(document: Mapping[str, Any]) -> alt.TitleParams:
    named = f"Gate 4: {document['verdict']}: {document['method']} on {document['model']}, {document['trait']}"
    return alt.TitleParams(
        visible(named),
        subtitle=[
            "Up and left is better. Arrows lead from each round's steered student to the one that learned its texts.",
            f"Circles: doses on the untouched model; bars: 95% intervals. Stopped: {document['stop']}. Dashed: floor.",
        ],
        anchor="start",
        subtitleColor="#666666",
    )


def finished(chart: Any) -> Any:
    """A chart in the look that all pictures share."""
    return chart.configure_view(strokeOpacity=0.3).configure_axis(gridOpacity=0.4)


def save(chart: Any, folder: Path, name: str) -> list[Path]:
    """Write the chart as PNG and SVG; the folder is made when missing."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    chart.save(str(paths[0]), scale_factor=2)
    chart.save(str(paths[1]))
    return paths


def svg(chart: Any, *, dark: bool = False) -> str:
    """The chart as an SVG element without a ground of its own, for a light or a dark page."""
    spec = chart.to_dict()
    config = {**spec["config"], "background": None}
    if dark:
        text = json.dumps(spec)
        for light, lighter in ON_DARK.items():
            text = text.replace(f'"{light}"', f'"{lighter}"')
        spec, config = json.loads(text), _on_dark(config)
    return str(vl_convert.vegalite_to_svg({**spec, "config": config}))


def _on_dark(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings with letters and lines that can be read on a dark page."""
    named = {"labelColor": LIGHT, "titleColor": LIGHT}
    lines = {"domainColor": OTHER, "tickColor": OTHER, "gridColor": "#666666", "gridOpacity": 0.4}
    return {
        **config,
        "title": {"color": LIGHT},
        "axis": config.get("axis", {}) | named | lines,
        "legend": named,
        "text": {"color": LIGHT},
        "view": config.get("view", {}) | {"stroke": "#999999"},
    }


def front(points: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The arms that nothing beats in both cost and gain, by rising cost; nulls cannot be on it."""
    best, found = float("-inf"), []
    candidates = [p for p in points if p["group"] in ("steered", "opposite", "prompt") and p["gain"] > 0]
    for point in sorted(candidates, key=lambda p: (p["cost"], -p["gain"])):
        if point["gain"] > best:
            best = point["gain"]
            found.append({"cost": point["cost"], "gain": point["gain"]})
    return found


def _points(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every arm that moved by a known amount at a known cost."""
    sign = -1 if document["sign"] < 0 else 1
    points = [_point(arm, sign) for arm in document["arms"] if arm["kind"] != "base" and arm["d_target"] is not None]
    return [point for point in points if point["cost"] is not None and point["group"] in GROUPS]


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
        visible(f"Gate 1: {document['method']} on {document['model']}: {document['verdict']}"),
        subtitle=[
            "Up and left is better. Circles joined by dose (multiples of the calibrated strength); stair: front.",
            "Bars: 95% paired-bootstrap intervals. Grey: null directions at the same doses. Diamond: persona prompt.",
        ],
        anchor="start",
        subtitleColor="#666666",
    )


def inline(values: Sequence[Mapping[str, Any]]) -> alt.Data:
    """Rows as a chart's data."""
    return alt.Data(values=[dict(value) for value in values])  # type: ignore[no-untyped-call]


def fixed(span: tuple[float, float]) -> alt.Scale:
    """A scale from one edge to the other."""
    return alt.Scale(domain=list(span), nice=False, zero=False)


def on_column(axis: Any, field: str) -> Any:
    """The same axis, read from another column."""
    other = axis.copy()
    other.shorthand = f"{field}:Q"
    return other


def zero_line() -> Any:
    """The line of no shift."""
    return alt.Chart(inline([{"zero": 0.0}])).mark_rule(strokeDash=[2, 3], color="#888888").encode(y="zero:Q")


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
        alt.Chart(inline([box]))
        .mark_rect(color="#999999", opacity=0.15)
        .encode(x="left:Q", x2="right:Q", y="bottom:Q", y2="top:Q")
    )
