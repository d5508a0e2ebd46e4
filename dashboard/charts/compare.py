"""Draws how far two arms are apart: by foundation with intervals, and vignette by vignette."""

from typing import Any

import altair as alt
import polars

from dashboard.charts import CATEGORIES, MUTED
from dashboard.charts.axis import data


def foundations(rows: polars.DataFrame) -> Any:
    """The paired difference of each foundation's diagonal, with its 95% interval."""
    y = alt.Y("foundation:N", title=None, sort=rows["foundation"].to_list())
    chart = alt.Chart(data(rows.to_dicts())).encode(y=y)
    told = ["foundation:N", alt.Tooltip("d_nats:Q", format="+.3f", title="second less first (nats)"), "paired:Q"]
    told += [alt.Tooltip(f"{end}:Q", format="+.3f") for end in ("low", "high")]
    title = "second less first: mean log p of the vignettes' own foundation (nats)"
    span = chart.mark_rule(strokeWidth=2.5, opacity=0.6, color=CATEGORIES[0]).encode(
        x=alt.X("low:Q", title=title), x2="high:Q"
    )
    mark = chart.mark_point(filled=True, size=80, opacity=1, color=CATEGORIES[0]).encode(x="d_nats:Q", tooltip=told)
    zero = alt.Chart(data([{"zero": 0}])).mark_rule(strokeDash=[3, 3], color=MUTED).encode(x="zero:Q")
    return alt.layer(zero, span, mark).properties(height=36 * rows.height + 20)


def vignettes(rows: polars.DataFrame) -> Any:
    """Every vignette's log p of its own foundation, first against second; off the line is what moved."""
    ends = [*rows["base_nats"], *rows["arm_nats"]]
    low, high = min(ends), max(ends)
    scale = alt.Scale(domain=[low, high], nice=True)
    even = alt.Chart(data([{"a": low}, {"a": high}])).mark_line(strokeDash=[3, 3], color=MUTED)
    even = even.encode(x=alt.X("a:Q", scale=scale), y=alt.Y("a:Q", scale=scale))
    marks = alt.Chart(data(rows.to_dicts())).mark_point(filled=True, size=45, opacity=0.75)
    marks = marks.encode(
        x=alt.X("base_nats:Q", title="first: log p of its own foundation (nats)", scale=scale),
        y=alt.Y("arm_nats:Q", title="second (nats)", scale=scale),
        color=alt.Color("foundation:N", title="foundation"),
        tooltip=["vignette:N", "foundation:N", alt.Tooltip("d_nats:Q", format="+.3f"), "base_pick:N", "arm_pick:N"],
    )
    return alt.layer(even, marks).properties(height=360)
