"""A quick look at any two columns of an answer."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import polars

from steerkit.visible import visible

MOST = 5000
"""Rows that are drawn."""
KINDS: Mapping[str, str] = {"points": "point", "lines": "line", "bars": "bar"}


def quick(frame: polars.DataFrame, kind: str, x: str, y: str, colour: str | None) -> Any:
    """Points, lines or bars of two columns; names and values of strangers are shown, never interpreted."""
    chosen = {"x": x, "y": y, **({"colour": colour} if colour else {})}
    rows = [{key: _cell(row[name]) for key, name in chosen.items()} for row in frame.head(MOST).iter_rows(named=True)]
    chart = alt.Chart(alt.Data(values=rows))  # type: ignore[no-untyped-call]
    mark = {"points": chart.mark_point(filled=True), "lines": chart.mark_line(point=True), "bars": chart.mark_bar()}[
        kind
    ]
    across = alt.X(f"x:{'Q' if frame.schema[x].is_numeric() else 'N'}", title=visible(x))
    upright = alt.Y("y:Q", title=visible(y))
    how: dict[str, Any] = {"x": across, "y": upright, "tooltip": [alt.Tooltip(f"{key}:N") for key in chosen]}
    if colour:
        how["color"] = alt.Color("colour:N", title=visible(colour))
    return mark.encode(**how).properties(width="container", height=360)


def _cell(value: Any) -> Any:
    """A value that JSON has."""
    if value is None or isinstance(value, bool | int | str):
        return visible(value) if isinstance(value, str) else value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return visible(str(value))
