"""The plane: what each arm buys over what it costs, with fronts, doses, intervals, nulls, and students as arrows."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import altair as alt
import numpy as np
from scipy.spatial import ConvexHull, QhullError

from dashboard.axes import FLOOR, NULLS, STUDENTS, Axes
from dashboard.charts import CATEGORIES, Drawn
from steerkit.pictures.look import GROUPS, INK, OTHER, PAPER, fixed, on_column
from steerkit.pictures.pareto import front
from steerkit.pictures.plane import Line, Plane
from steerkit.visible import visible

WIDTH, HEIGHT = 800, 380
"""What labels are placed for (pixels); the width follows the page."""
NAMED = 30
"""With more doses than this, their labels would cover one another: they are in the tooltips only."""
LABELLED = 8
"""With more arrows than this, what gate 3 calls the students is in the tooltips only."""
BARRED = 80
"""With more points than this, only those on a front show their intervals."""
BROKEN, BROKEN_INK = "#CC79A7", "#9A5580"
KINDS = {
    "steered": "steered",
    "opposite": "the other way",
    "prompt": "persona prompt",
    "healed": "healed",
    "plain": "healed without constraint",
    "weights": "made of weights",
    "previous": "student before",
    "swept": "swept",
    "control-unsteered": "control: unsteered",
    "control-random": "control: random",
    "control-persona": "control: persona",
}
"""What the kinds of arm are called in the legend."""
UNTOLD = "not measured"
PLACE = ("cost", "cost_low", "cost_high", "gain", "gain_low", "gain_high", "to_cost", "to_gain", "end_cost", "end_gain")
TOLD = ("method", "kind_name", "group", "dose", "coherence", "told", "null", "said", "label")
DRAWN = frozenset(
    (*PLACE, *TOLD, "arm_id", "line", "angle", "zero", "order", "front", "of", "step", "from", "to", "name")
)
"""The columns that layers use."""
Point = Mapping[str, Any]


class Picture:
    """One picture of the plane: all layers share its scales, so that there is one legend and nothing is covered."""

    def __init__(self, points: Sequence[Point], axes: Axes, chosen: str | None = None) -> None:
        self.axes, self.chosen = axes, chosen
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.nulls = [point for point in points if point["group"] in NULLS]
        self.points = [_named(point) for point in points if point["group"] not in NULLS]
        costs = [*_known(points, "cost"), *([0.0] if axes.cost.base_at_zero else [])]
        costs += [1 - FLOOR] if axes.broken else []
        self.plane = Plane.around(costs, [*_known(points, "gain"), 0.0], WIDTH, HEIGHT)
        across, upright = axes.titles
        self.x = alt.X("cost:Q", title=across, scale=fixed(self.plane.x))
        self.y = alt.Y("gain:Q", title=visible(upright), scale=fixed(self.plane.y))
        self.methods = sorted({point["method"] for point in self.points})
        self.colour = self._colour()
        self.shape = self._shape()

    def chart(self) -> Drawn:
        """All of it, with the selections `pick` (a click) and `brush` (a drag)."""
        stairs = [*self._fronts()] if self.axes.ranked else []
        drawn = [*self._ground(), *self._paths(), *self._stairs(stairs), *self._intervals(stairs), *self._arrows()]
        drawn += [*self._labels(), self._ring(), self._marks()]
        # The plane keeps its height whatever the legends below it need.
        fitted = alt.AutoSizeParams(type="fit-x", contains="padding")
        whole = alt.layer(*drawn).properties(width="container", height=HEIGHT, autosize=fitted)
        return Drawn(whole.configure_legend(orient="bottom", columns=2, symbolLimit=24), self.rows)

    def _chart(self, rows: Sequence[Point]) -> Any:
        """A layer over some rows, of which only what is drawn is kept."""
        name = f"layer{len(self.rows)}"
        self.rows[name] = [{key: value for key, value in row.items() if key in DRAWN} for row in rows]
        return alt.Chart(alt.NamedData(name))

    @property
    def by_method(self) -> bool:
        """Whether colour tells methods apart; with one method it tells kinds of arm apart."""
        return len(self.methods) > 1

    def _colour(self) -> Any:
        if self.by_method:
            palette = [CATEGORIES[i % len(CATEGORIES)] for i in range(len(self.methods))]
            scale = alt.Scale(domain=[visible(m) for m in self.methods], range=palette)
            return alt.Color("method:N", scale=scale, title="method")
        kinds = self._kinds()
        palette = [GROUPS[kind][0] if kind in GROUPS else OTHER for kind in kinds]
        return alt.Color("kind_name:N", scale=alt.Scale(domain=_said(kinds), range=palette), title="arm")

    def _shape(self) -> Any:
        kinds = self._kinds()
        shapes = [GROUPS[kind][1] if kind in GROUPS else "circle" for kind in kinds]
        return alt.Shape("kind_name:N", scale=alt.Scale(domain=_said(kinds), range=shapes), title="arm")

    def _kinds(self) -> list[str]:
        present = {point["group"] for point in self.points}
        return [kind for kind in KINDS if kind in present] + sorted(present - {*KINDS})

    def _ground(self) -> Iterator[Any]:
        if self.axes.broken and self.plane.x[1] > 1 - FLOOR:
            yield from self._broken(self.plane.x[1])
        yield self._chart([{"zero": 0.0}]).mark_rule(strokeDash=[2, 3], color=OTHER).encode(y="zero:Q")
        yield from self._cloud()

    def _broken(self, end: float) -> Iterator[Any]:
        """The region where answers have fallen apart, with its name."""
        chart = self._chart([{"from": 1 - FLOOR, "to": end, "name": f"broken: coherence below {FLOOR}"}])
        yield chart.mark_rect(color=BROKEN, opacity=0.10).encode(x=on_column(self.x, "from"), x2="to")
        name = chart.mark_text(align="left", dx=6, color=BROKEN_INK, fontStyle="italic")
        yield name.encode(x=on_column(self.x, "from"), y=alt.value(12), text="name:N")

    def _cloud(self) -> Iterator[Any]:
        """Where the null directions lie: what steering reaches without any meaning."""
        if not self.nulls:
            return
        hull = [{**place, "order": i} for i, place in enumerate(_hull([(p["cost"], p["gain"]) for p in self.nulls]))]
        area = self._chart(hull).mark_line(filled=True, fill="#999999", opacity=0.16, stroke="#999999")
        yield area.encode(x=self.x, y=self.y, order="order:Q")
        told = [alt.Tooltip("group:N", title="null"), alt.Tooltip("dose:Q"), *_numbers()]
        mark = self._chart(self.nulls).mark_point(shape="cross", filled=True, size=28, color="#999999", opacity=0.7)
        yield mark.encode(x=self.x, y=self.y, tooltip=told)

    def _paths(self) -> Iterator[Any]:
        """Doses of one direction joined in order, through the base where it lies at nought."""
        steered = [point for point in self.points if point["group"] in ("steered", "opposite")]
        if not steered:
            return
        lines = {point["line"]: point for point in steered}.values() if self.axes.cost.base_at_zero else ()
        base = [{**one, "dose": 0.0, "cost": 0.0, "gain": 0.0} for one in lines]
        chart = self._chart([*steered, *base]).mark_line(opacity=0.45, strokeWidth=1.5)
        how = {"color": self.colour} if self.by_method else {"color": alt.value(GROUPS["steered"][0])}
        yield chart.encode(x=self.x, y=self.y, order="dose:Q", detail="line:N", **how)

    def _fronts(self) -> Iterator[dict[str, Any]]:
        """The steps of each method's front of raw steering and prompt, and of its students."""
        for method in self.methods:
            own = [point for point in self.points if point["method"] == method]
            for name in ("steering", "students"):
                trained = name == "students"
                kept = [{**p, "group": "steered"} for p in own if (p["group"] in STUDENTS[:1]) == trained]
                raw = [p for p in kept if trained or p["kind"] in ("steered", "prompt")]
                for number, step in enumerate(front(raw)):
                    yield {**step, "method": visible(method), "front": f"{method} {name}", "of": name, "step": number}

    def _stairs(self, stairs: Sequence[Point]) -> Iterator[Any]:
        if not stairs:
            return
        dash = alt.StrokeDash(
            "of:N", scale=alt.Scale(domain=["steering", "students"], range=[[1, 0], [5, 3]]), title="front"
        )
        chart = self._chart(stairs).mark_line(interpolate="step-after", strokeWidth=1.8)
        how = {"color": self.colour} if self.by_method else {"color": alt.value(INK)}
        yield chart.encode(x=self.x, y=self.y, order="step:Q", detail="front:N", strokeDash=dash, **how)

    def _intervals(self, stairs: Sequence[Point]) -> Iterator[Any]:
        best = {(step["cost"], step["gain"]) for step in stairs}
        known = [p for p in self.points if p["gain_low"] is not None]
        if len(known) > BARRED:
            known = [p for p in known if (p["cost"], p["gain"]) in best]
        rule = self._chart(known).mark_rule(opacity=0.55).encode(color=self.colour)
        yield rule.encode(x=self.x, y=on_column(self.y, "gain_low"), y2="gain_high:Q")
        across = [p for p in known if p["cost_low"] is not None]
        rule = self._chart(across).mark_rule(opacity=0.55).encode(color=self.colour)
        yield rule.encode(x=on_column(self.x, "cost_low"), x2="cost_high:Q", y=self.y)

    def _arrows(self) -> Iterator[Any]:
        """From the steered model whose texts a student learned to the student, with what gate 3 calls it."""
        arrows = [*self._arrow_rows()]
        if not arrows:
            return
        chart = self._chart(arrows).encode(color=self.colour)
        yield chart.mark_rule(strokeWidth=1.8).encode(x=self.x, y=self.y, x2="to_cost", y2="to_gain")
        head = chart.mark_point(shape="triangle", filled=True, size=80, opacity=1)
        turned = alt.Angle("angle:Q", scale=alt.Scale(domain=[-180, 180], range=[-180, 180]), legend=None)
        yield head.encode(x=on_column(self.x, "to_cost"), y=on_column(self.y, "to_gain"), angle=turned)
        labelled = self._chart([arrow for arrow in arrows if arrow["label"]] if len(arrows) <= LABELLED else [])
        text = labelled.mark_text(fontSize=11, fontWeight="bold", dy=18)
        yield text.encode(x=on_column(self.x, "end_cost"), y=on_column(self.y, "end_gain"), text="label:N")

    def _arrow_rows(self) -> Iterator[dict[str, Any]]:
        for point in self.points:
            taught = point["group"] in ("healed", "plain") and point["from_separation"] is not None
            start = self._origin(point) if taught else None
            if start is None:
                continue
            end = (point["cost"], point["gain"])
            arrow = self.plane.arrow(start, end, 12.0)
            names = ("cost", "gain", "to_cost", "to_gain", "end_cost", "end_gain")
            place = dict(zip(names, (*arrow.start, *arrow.end, *end), strict=True))
            label = visible(point["label"]) if point["label"] else None
            shown = {key: point[key] for key in ("method", "kind_name")}
            yield {**shown, **place, "angle": arrow.angle, "label": label}

    def _origin(self, student: Point) -> tuple[float, float] | None:
        """Where the steered model lies whose texts the student learned: the arm with its very figures."""
        if self.axes.broken and self.axes.gain.quantity == "separation":
            return 1 - student["from_coherence"], student["from_separation"]
        for point in self.points:
            if point["kind"] == "steered" and point["separation"] == student["from_separation"]:
                return point["cost"], point["gain"]
        return None

    def _labels(self) -> Iterator[Any]:
        """The dose of every steered mark, where it covers neither marks nor, if that can be, lines."""
        named = [point for point in self.points if point["group"] == "steered"]
        if not named or len(named) > NAMED:
            return
        marks = [self.plane.pixel(p["cost"], p["gain"]) for p in self.points]
        texts = [f"{p['dose']:.3g}" for p in named]
        places = [(p["cost"], p["gain"], text) for p, text in zip(named, texts, strict=True)]
        middles = self.plane.labels(places, marks, [*self._lines(named)])
        placed = [{"cost": x, "gain": y, "label": text} for (x, y), text in zip(middles, texts, strict=True)]
        text = self._chart(placed).mark_text(fontSize=11, align="center", baseline="middle")
        yield text.encode(x=self.x, y=self.y, text="label:N")

    def _lines(self, steered: Sequence[Point]) -> Iterator[Line]:
        at = self.plane.pixel
        ordered = sorted(steered, key=lambda p: (p["line"], p["dose"]))
        for _, along in groupby(ordered, key=lambda p: p["line"]):
            for one, two in pairwise(along):
                yield Line(at(one["cost"], one["gain"]), at(two["cost"], two["gain"]))

    def _ring(self) -> Any:
        """Around the point whose details are open; a layer without rows keeps the chart the same while nothing is."""
        mark = self._chart([point for point in (*self.points, *self.nulls) if point["arm_id"] == self.chosen])
        return mark.mark_point(shape="circle", size=330, stroke=INK, strokeWidth=2).encode(x=self.x, y=self.y)

    def _marks(self) -> Any:
        # What was trained lies on top, the healed student topmost.
        ranked = sorted(self.points, key=lambda p: (p["group"] in STUDENTS, p["group"] == "healed"))
        pick = alt.selection_point(name="pick", fields=["arm_id"])
        brush = alt.selection_interval(name="brush")
        mark = self._chart(ranked).mark_point(filled=True, size=90, stroke=PAPER, strokeWidth=0.8)
        told = [alt.Tooltip("kind_name:N", title="arm"), alt.Tooltip("method:N"), alt.Tooltip("dose:Q", format=".3g")]
        told += [*_numbers(), alt.Tooltip("null:N", title="p against nulls")]
        told += [alt.Tooltip("told:N", title="on its run's front in"), alt.Tooltip("said:N", title="gate 3")]
        how = {"color": self.colour, "shape": self.shape, "tooltip": told}
        seen = alt.condition(pick, alt.value(1.0), alt.value(0.45))
        return mark.encode(x=self.x, y=self.y, opacity=seen, **how).add_params(pick, brush)


def pareto(points: Sequence[Point], axes: Axes, chosen: str | None = None) -> Drawn:
    """The plane of these points, with a ring around the chosen arm."""
    return Picture(points, axes, chosen).chart()


def _named(point: Point) -> dict[str, Any]:
    chance = point["front_probability"]
    told = UNTOLD if chance is None else f"{chance:.0%} of resamples"
    null = UNTOLD if point["p_null"] is None else f"{point['p_null']:.3f}"
    named = {"kind_name": KINDS.get(point["group"], point["group"]), "method": visible(point["method"])}
    said = visible(point["label"]) if point["label"] else "none"
    return {**point, **named, "told": told, "null": null, "said": said}


def _said(kinds: Sequence[str]) -> list[str]:
    return [KINDS.get(kind, kind) for kind in kinds]


def _numbers() -> list[Any]:
    return [
        alt.Tooltip("gain:Q", format="+.3f"),
        alt.Tooltip("cost:Q", format=".3f"),
        alt.Tooltip("coherence:Q", format=".3f"),
    ]


def _hull(places: Sequence[tuple[float, float]]) -> list[dict[str, float]]:
    """The corners of the smallest convex shape around the places, closed."""
    try:
        corners = [places[i] for i in ConvexHull(np.asarray(places)).vertices]
    except (QhullError, ValueError):
        # Fewer than three, or all on one line.
        corners = sorted(places)
    return [{"cost": x, "gain": y} for x, y in [*corners, corners[0]]]


def _known(points: Sequence[Point], name: str) -> list[float]:
    found = [point[key] for point in points for key in (name, f"{name}_low", f"{name}_high")]
    return [value for value in found if value is not None and np.isfinite(value)]
