"""The Pareto plane of one run: regions, fronts, intervals, arrows and marks, with labels that cover nothing."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import altair as alt

from steerkit.pictures.look import GROUPS, INK, PAPER, RAW, STUDENTS, fixed, inline, on_column, zero_line
from steerkit.pictures.plane import Line, Plane
from steerkit.visible import visible

TAUGHT = ("plain", "healed")
"""Students that learned the steered texts."""
ORIGIN = {"group": "base", "dose": 0.0, "cost": 0.0, "gain": 0.0}
"""The base: nothing moved, nothing lost."""
BOUNDS = ("cost", "cost_low", "cost_high", "gain", "gain_low", "gain_high")
WIDTH, HEIGHT = 640, 400
"""Size of the plane (pixels)."""
ASIDE = 4.5
"""How far two arrows to the same place are moved apart, each (pixels)."""
Point = Mapping[str, Any]


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


def front(points: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The arms that nothing beats in both cost and gain, by rising cost; nulls cannot be on it."""
    best, found = float("-inf"), []
    candidates = [p for p in points if p["group"] in ("steered", "opposite", "prompt") and p["gain"] > 0]
    for point in sorted(candidates, key=lambda p: (p["cost"], -p["gain"])):
        if point["gain"] > best:
            best = point["gain"]
            found.append({"cost": point["cost"], "gain": point["gain"]})
    return found


def points_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
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
