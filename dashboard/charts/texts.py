"""Draws what the checks do: how values lie about a threshold, and what is kept at each dose."""

from typing import Any

import altair as alt
import polars

from dashboard.charts import MUTED
from dashboard.charts.axis import data

KEPT, DROPPED, MOVED = "#0072B2", "#D55E00", "#009E73"


def values(bins: polars.DataFrame, unit: str, threshold: float, moved: float) -> Any:
    """A check's values over steered texts: what every check keeps and drops in each bin, and where thresholds lie."""
    x = alt.X("low:Q", title=unit, bin="binned", axis=alt.Axis(tickCount=6))
    rows = [
        {"low": row["low"], "high": row["high"], "texts": count, "fate": fate}
        for row in bins.iter_rows(named=True)
        for fate, count in (("kept", row["kept"]), ("dropped", row["texts"] - row["kept"]))
    ]
    colour = alt.Scale(domain=["kept", "dropped"], range=[KEPT, DROPPED])
    bars = alt.Chart(data(rows)).mark_bar(strokeWidth=0.5)
    bars = bars.encode(
        x=x,
        x2="high:Q",
        y=alt.Y("texts:Q", title="texts", axis=alt.Axis(tickMinStep=1, format="d", tickCount=3)),
        color=alt.Color("fate:N", scale=colour, legend=None),
        order=alt.Order("fate:N", sort="descending"),
        tooltip=[
            alt.Tooltip("low:Q", format=".3g", title="from"),
            alt.Tooltip("high:Q", format=".3g", title="to"),
            "fate:N",
            "texts:Q",
        ],
    )
    lines = [{"at": threshold, "which": "in force"}]
    lines += [{"at": moved, "which": "tried"}] if moved != threshold else []
    rule = (
        alt.Chart(data(lines))
        .mark_rule(strokeWidth=2, color=MUTED)
        .encode(
            x="at:Q",
            strokeDash=alt.StrokeDash(
                "which:N", scale=alt.Scale(domain=["in force", "tried"], range=[[1, 0], [4, 3]]), legend=None
            ),
            tooltip=["which:N", alt.Tooltip("at:Q", format=".4g", title="threshold")],
        )
    )
    return alt.layer(bars, rule).properties(height=150)


def doses(counts: polars.DataFrame) -> Any:
    """By dose: how many texts were written, are kept, and would be kept."""
    named = {"made": "written", "kept": "kept now", "would_be_kept": "kept if moved"}
    rows = [
        {"dose": row["dose"], "texts": row[column], "which": which}
        for row in counts.iter_rows(named=True)
        for column, which in named.items()
    ]
    which = [*named.values()]
    dashes = alt.Scale(domain=which, range=[[2, 3], [1, 0], [6, 3]])
    colours = alt.Scale(domain=which, range=[MUTED, KEPT, MOVED])
    line = alt.Chart(data(rows)).mark_line(point=True)
    return line.encode(
        x=alt.X(
            "dose:Q", title="dose (1: 95th percentile of the per-token KL at its target)", axis=alt.Axis(tickCount=8)
        ),
        y=alt.Y("texts:Q", title="texts", axis=alt.Axis(tickMinStep=1, format="d")),
        color=alt.Color("which:N", scale=colours, title=None),
        strokeDash=alt.StrokeDash("which:N", scale=dashes, title=None),
        tooltip=["which:N", alt.Tooltip("dose:Q", format=".3g"), "texts:Q"],
    ).properties(height=220)
