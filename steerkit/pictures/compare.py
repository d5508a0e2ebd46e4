"""Draws methods side by side on the Pareto plane, and where in a model to steer."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from steerkit.pictures.look import INK, PAPER, RAW, finished, fixed, inline, on_column, zero_line
from steerkit.pictures.pareto import Point, front
from steerkit.pictures.plane import Plane
from steerkit.visible import visible

SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#000000")
"""Okabe-Ito colours, told apart also by colour-blind readers; with the shapes, enough for every method on a front."""
PROMPT = RAW["prompt"]
OTHERS = ("others", "#999999", "circle")
"""Methods that are hardly ever on the front share one colour, so that the front can be seen."""
SELDOM = 0.05
"""Probability below which a point is hardly ever on the front (fraction)."""
WIDTH, HEIGHT, ROW = 520, 400, 20
"""Size of the plane, and height of a method's row beside it (pixels)."""


def contest(document: Mapping[str, Any]) -> Any:
    """Every method at every dose on the Pareto plane, beside what its chosen strength does on the test half."""
    points = _points(document)
    whole = alt.hconcat(_plane(document, points), _chosen(document, points), spacing=28)
    whole = whole.resolve_scale(color="independent", shape="independent")
    return finished(whole.properties(title=_title(document)))


def _points(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every point that was read, with its place on the plane; screened ones from the screen's vignettes."""
    found = []
    for method in document["methods"]:
        for row in method["points"]:
            seen = row["all"] or row["screen"]
            if seen is not None and seen["separation"]["value"] is not None:
                found.append(_point(method["method"], row, seen))
    return found


def _point(method: str, row: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, Any]:
    gain, held = seen["separation"], seen["coherence"]

    def cost(value: float | None) -> float | None:
        return None if value is None else max(1 - value, 0.0)

    return {
        "method": visible(method),
        "group": "steered",
        "dose": row["dose"] or 0.0,
        "label": "prompt" if row["dose"] is None else f"{method} {row['dose']:g}",
        "full": row["state"] == "full",
        "chance": seen["front_probability"] or 0.0,
        "gain": gain["value"],
        "gain_low": gain["low"],
        "gain_high": gain["high"],
        "cost": cost(held["value"]),
        "cost_low": cost(held["high"]),
        "cost_high": cost(held["low"]),
    }


def _palette(points: Sequence[Point]) -> dict[str, tuple[str, str]]:
    """Colour and shape of every method that is at times on the front, the likeliest first; the rest share one."""
    best: dict[str, float] = {}
    for point in points:
        best[point["method"]] = max(best.get(point["method"], 0.0), point["chance"] if point["full"] else 0.0)
    ranked = sorted(best, key=lambda name: (-best[name], name))
    named = [name for name in ranked if best[name] >= SELDOM and name != "prompt"]
    most = len(COLOURS) * len(SHAPES)
    palette = {
        name: (COLOURS[place % len(COLOURS)], SHAPES[(place // len(COLOURS) + place) % len(SHAPES)])
        for place, name in enumerate(named[:most])
    }
    return palette | ({"prompt": PROMPT} if "prompt" in best else {})


def _plane(document: Mapping[str, Any], points: Sequence[Point]) -> Any:
    """Cost and gain, as gate 1 draws them; the stair is the front of what was read in full."""
    shown = [point for point in points if point["cost"] is not None]
    full = [point for point in shown if point["full"]]
    floor = 1 - document["broken"]
    inside = [point for point in shown if point["cost"] < 2 * floor]
    ends = [p[k] for p in inside if p["full"] for k in ("gain_low", "gain_high") if p[k] is not None]
    costs = [min(p[k], 2 * floor) for p in inside if p["full"] for k in ("cost_low", "cost_high") if p[k] is not None]
    area = Plane.around(
        [0.0, 1.3 * floor, *(p["cost"] for p in inside), *costs],
        [0.0, *(p["gain"] for p in inside), *ends],
        WIDTH,
        HEIGHT,
    )
    palette = _palette(points)
    rows = [{**p, "name": p["method"] if p["method"] in palette else OTHERS[0]} for p in inside]
    names = {**palette, OTHERS[0]: OTHERS[1:]} if any(r["name"] == OTHERS[0] for r in rows) else palette
    colour, shape = _scales(names)
    x = alt.X("cost:Q", title="coherence cost: answer mass lost, relative to base", scale=fixed(area.x))
    y = alt.Y("gain:Q", title=visible(f"shift of {document['target']} towards the trait (nats)"), scale=fixed(area.y))
    read, faint = [r for r in rows if r["full"]], [r for r in rows if not r["full"]]
    line = (
        alt.Chart(inline(read))
        .mark_line(opacity=0.45)
        .encode(x=x, y=y, color=colour, detail="method:N", order="dose:Q")
    )
    # The front of what is read in full goes on to the right of what is shown.
    stair = alt.Chart(inline(front(full))).mark_line(interpolate="step-after", color=INK, strokeWidth=1.2, clip=True)
    stair = stair.encode(x=x, y=y)
    rule = alt.Chart(inline([r for r in read if None not in (r["gain_low"], r["cost_low"])])).mark_rule(
        opacity=0.4, clip=True
    )
    rule = rule.encode(color=colour)
    spans = [
        rule.encode(x=x, y=on_column(y, "gain_low"), y2="gain_high:Q"),
        rule.encode(x=on_column(x, "cost_low"), x2="cost_high:Q", y=y),
    ]
    hollow = alt.Chart(inline(faint)).mark_point(size=30, opacity=0.6, color=OTHERS[1]).encode(x=x, y=y)
    marks = alt.Chart(inline(read)).mark_point(filled=True, size=75, opacity=1, stroke=PAPER, strokeWidth=0.8)
    marks = marks.encode(x=x, y=y, color=colour, shape=shape)
    layers = [_broken(floor, area, x), zero_line(), hollow, line, stair, *spans, marks, _labels(area, rows, x, y)]
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _scales(names: Mapping[str, Sequence[str]]) -> tuple[Any, Any]:
    legend = alt.Legend(symbolOpacity=1, orient="bottom", columns=5)
    colours, shapes = [how[0] for how in names.values()], [how[1] for how in names.values()]
    colour = alt.Color("name:N", scale=alt.Scale(domain=[*names], range=colours), legend=legend, title="method")
    return colour, alt.Shape("name:N", scale=alt.Scale(domain=[*names], range=shapes), legend=legend, title="method")


def _broken(floor: float, area: Plane, x: Any) -> Any:
    """The region where answers have fallen apart, with its name."""
    chart = alt.Chart(inline([{"from": floor, "to": area.x[1], "name": "broken"}]))
    rect = chart.mark_rect(color="#CC79A7", opacity=0.10).encode(x=on_column(x, "from"), x2="to")
    name = chart.mark_text(align="left", dx=4, color="#9A5580", fontStyle="italic")
    return alt.layer(rect, name.encode(x=on_column(x, "from"), y=alt.value(12), text="name:N"))


def _labels(area: Plane, rows: Sequence[Point], x: Any, y: Any) -> Any:
    """Method and dose of every point that is at times on the front."""
    named = [row for row in rows if row["full"] and row["chance"] >= SELDOM]
    marks = [area.pixel(row["cost"], row["gain"]) for row in rows]
    middles = area.labels([(row["cost"], row["gain"], row["label"]) for row in named], marks, [])
    placed = [
        {"cost": at[0], "gain": at[1], "label": visible(r["label"])} for r, at in zip(named, middles, strict=True)
    ]
    text = alt.Chart(inline(placed)).mark_text(fontSize=9, align="center", baseline="middle")
    return text.encode(x=x, y=y, text="label:N")


def _chosen(document: Mapping[str, Any], points: Sequence[Point]) -> Any:
    """The shift that each method's chosen strength has on the half it was not chosen on, with its interval."""
    palette, rows = _palette(points), []
    for method in document["methods"]:
        if method["chosen"] is None:
            continue
        shift, name = method["chosen"]["test"]["separation"], visible(method["method"])
        dose = "" if method["chosen"]["dose"] is None else f" {method['chosen']['dose']:g}"
        rows.append({**shift, "row": f"{name}{dose}", "name": name if name in palette else OTHERS[0]})
    colour, _ = _scales({**palette, OTHERS[0]: OTHERS[1:]})
    colour.legend = None
    chart = alt.Chart(inline(rows))
    y = alt.Y("row:N", sort=[row["row"] for row in rows], title=None)
    x = alt.X("value:Q", title="shift at the chosen dose, test half (nats)")
    dots = chart.mark_point(filled=True, size=75, opacity=1).encode(x=x, y=y, color=colour)
    spans = chart.mark_rule().encode(x=on_column(x, "low"), x2="high:Q", y=y, color=colour)
    zero = alt.Chart(inline([{"zero": 0.0}])).mark_rule(strokeDash=[2, 3], color="#888888").encode(x="zero:Q")
    return alt.layer(zero, spans, dots).properties(width=220, height=max(2, len(rows)) * ROW)


def _title(document: Mapping[str, Any]) -> alt.TitleParams:
    named = f"Methods at matched {document['scale']}: {document['model']}, {document['trait']}"
    return alt.TitleParams(
        visible(named),
        subtitle=[
            "Up and left is better. Filled: read in full, joined by dose; stair: front; bars: 95% intervals over",
            "vignettes and contexts. Hollow: ruled out by the screen. Right: chosen on one half, read on the other.",
        ],
        anchor="start",
        subtitleColor="#666666",
    )


def heat(document: Mapping[str, Any]) -> Any:
    """The target's shift by first block and width of the band, over each block's norm and half-split cosine."""
    sign = -1 if document["sign"] < 0 else 1
    cells = []
    for band in document["bands"]:
        seen = band["choice"]
        value = None if seen is None else seen["separation"]["value"]
        held = None if seen is None else seen["coherence"]["value"]
        broken = held is not None and held < document["lowest_coherence"]
        text = "-" if value is None else f"{sign * value:+.2f}{'*' if broken else ''}"
        place = {"first": band["first_block"], "width": band["width"], "chosen": band["chosen"]}
        cells.append({**place, "gain": value, "text": text})
    chart = alt.Chart(inline(cells))
    x = alt.X("first:O", title="first block of the band", axis=alt.Axis(labelAngle=0))
    y = alt.Y("width:O", title="width", sort="descending")
    top = max((abs(cell["gain"]) for cell in cells if cell["gain"] is not None), default=1.0) or 1.0
    scale = alt.Scale(domain=[-top, 0, top], range=["#F0A860", "#F7F7F7", "#7FBCE6"])
    shade = alt.Color("gain:Q", scale=scale, title="shift towards the trait (nats)")
    ground = chart.mark_rect().encode(x=x, y=y, color=shade)
    chosen = chart.transform_filter("datum.chosen").mark_rect(fill=None, stroke=INK, strokeWidth=2.5).encode(x=x, y=y)
    letters = chart.mark_text(fontSize=9).encode(x=x, y=y, text="text:N")
    wide = max(360, 46 * len({cell["first"] for cell in cells}))
    size = {"width": wide, "height": 34 * len({cell["width"] for cell in cells}) + 10}
    panels = [alt.layer(ground, letters, chosen).properties(**size), *_by_block(document, wide)]
    return finished(alt.vconcat(*panels).properties(title=_heat_title(document)))


def _by_block(document: Mapping[str, Any], wide: int) -> list[Any]:
    """Norm relative to the residual stream's, and the cosine between directions of two halves of the contexts."""
    chart = alt.Chart(inline(document["blocks"]))
    x = alt.X("block:Q", title="block", axis=alt.Axis(format="d", tickMinStep=1))
    drawn = []
    for field, title, colour in (
        ("relative_norm", "norm / residual", "#0072B2"),
        ("half_split_cosine", "half-split cosine", "#009E73"),
    ):
        line = chart.mark_line(point={"color": colour}, color=colour).encode(x=x, y=alt.Y(f"{field}:Q", title=title))
        drawn.append(line.properties(width=wide, height=90))
    return drawn


def _heat_title(document: Mapping[str, Any]) -> alt.TitleParams:
    named = f"Where to steer: {document['method']} on {document['model']}, {document['trait']}"
    dose = f"{document['dose']:g} of {document['scale']}"
    return alt.TitleParams(
        visible(named),
        subtitle=[
            f"d{visible(document['target'])} (nats) at a matched dose of {dose}; framed: the band chosen, on the half",
            f"it was chosen on; *: coherence below {document['lowest_coherence']:g}; -: the dose is not reached.",
        ],
        anchor="start",
        subtitleColor="#666666",
    )
