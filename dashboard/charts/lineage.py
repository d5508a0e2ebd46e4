"""Draws a chain of runs as boxes and arrows, from left to right as the pipeline goes."""

from typing import Any

import altair as alt

from dashboard.charts import CATEGORIES, MUTED
from dashboard.charts.axis import data
from dashboard.graph import COLUMNS, Box, Drawing
from steerkit.pictures.look import INK, PAPER
from steerkit.visible import visible

SORTS = ("run", "direction", "arm", "texts", "adapter")
ROW = 30
"""Height of a row (pixels)."""
HALF = 0.41
"""Half of a box's width (columns)."""


def graph(drawing: Drawing, chosen: str | None = None) -> Any:
    """The drawing; its selection `box` holds the key of the box that was clicked, `chosen` is outlined."""
    rows = [_row(box, chosen) for box in drawing.boxes.values()]
    lowest = max((box.row for box in drawing.boxes.values()), default=0.0)
    y = alt.Scale(domain=[lowest + 0.7, -1.4], nice=False, zero=False)
    x = alt.Scale(domain=[-0.5, len(COLUMNS) - 0.5], nice=False, zero=False)
    across = alt.X("left:Q", scale=x, axis=None)
    click = alt.selection_point(name="box", fields=["key"], on="click", clear="dblclick")
    colour = alt.Color("kind:N", scale=alt.Scale(domain=[*SORTS], range=[*CATEGORIES[: len(SORTS)]]), legend=None)
    base = alt.Chart(data(rows)).encode(y=alt.Y("row:Q", scale=y, axis=None))
    told = [alt.Tooltip("kind:N"), alt.Tooltip("told:N", title="what"), alt.Tooltip("ids:N", title="id")]
    boxes = base.mark_rect(cornerRadius=4, fillOpacity=0.18, strokeWidth=1.2, cursor="pointer").encode(
        x=across,
        x2="right:Q",
        y=alt.Y("top:Q", scale=y, axis=None),
        y2="bottom:Q",
        color=colour,
        stroke=alt.condition("datum.chosen", alt.value(INK), colour),
        strokeWidth=alt.condition("datum.chosen", alt.value(2.5), alt.value(1.2)),
        tooltip=told,
    )
    ground = base.mark_rect(cornerRadius=4, color=PAPER).encode(
        x=across, x2="right:Q", y=alt.Y("top:Q", scale=y, axis=None), y2="bottom:Q"
    )
    fits = alt.ExprRef(f"{2 * HALF / len(COLUMNS)} * width - 10")
    words = base.mark_text(align="left", dx=6, fontSize=11, color=INK, cursor="pointer", limit=fits)
    words = words.encode(x=across, text="title:N", tooltip=told)
    heads = _heads(x, y)
    return alt.layer(_arrows(drawing, x, y), ground, boxes.add_params(click), words, *heads).properties(
        height=int(ROW * (lowest + 2.4)), view=alt.ViewConfig(strokeOpacity=0)
    )


def _row(box: Box, chosen: str | None) -> dict[str, Any]:
    return {
        "key": box.key,
        "kind": box.kind,
        "title": visible(box.title),
        "told": visible(box.told),
        "ids": ", ".join(name[:12] for name in box.ids[:3]) + (" ..." if len(box.ids) > 3 else ""),
        "left": box.column - HALF,
        "right": box.column + HALF,
        "row": box.row,
        "top": box.row - 0.4,
        "bottom": box.row + 0.4,
        "chosen": box.key == chosen,
    }


def _arrows(drawing: Drawing, x: Any, y: Any) -> Any:
    """A line from each box to what came of it, bent at half the way."""
    points = []
    for number, (start, end, relation) in enumerate(drawing.arrows):
        one, two = drawing.boxes[start], drawing.boxes[end]
        for order, (column, row) in enumerate(_path(one, two)):
            place = {"arrow": number, "order": order, "column": column, "row": row}
            points.append({**place, "what": f"{visible(one.title)} {relation} {visible(two.title)}"})
    line = alt.Chart(data(points)).mark_line(interpolate="monotone", strokeWidth=1.1, opacity=0.55, color=MUTED)
    return line.encode(
        x=alt.X("column:Q", scale=x, axis=None),
        y=alt.Y("row:Q", scale=y, axis=None),
        detail="arrow:N",
        order="order:Q",
        tooltip="what:N",
    )


def _path(one: Box, two: Box) -> list[tuple[float, float]]:
    """Where an arrow goes: out at the right and in at the left, or down the left side within a column."""
    if two.column > one.column:
        return [(one.column + HALF, one.row), (two.column - HALF - 0.02, two.row)]
    if two.column == one.column:
        aside = one.column - HALF + 0.04
        return [(aside, one.row + 0.4), (aside, two.row - 0.4)]
    return [(one.column - HALF + 0.1, one.row + 0.4), (two.column + HALF - 0.1, two.row - 0.4)]


def _heads(x: Any, y: Any) -> list[Any]:
    """What stands in each column, and where each round begins."""
    names = [{"left": place - HALF, "row": -1.0, "word": name} for place, name in enumerate(COLUMNS)]
    head = alt.Chart(data(names)).mark_text(align="left", fontSize=11, fontWeight="bold", color=MUTED)
    across = alt.X("left:Q", scale=x, axis=None)
    return [head.encode(x=across, y=alt.Y("row:Q", scale=y, axis=None), text="word:N")]
