"""Draws a loop: Authority against Care over coherence, how far each round went, and where its direction points."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt
import polars

from dashboard.charts import CATEGORIES, MUTED
from dashboard.charts.axis import above, data
from steerkit.pictures.look import ENDS, INK, RAW, STUDENTS

FOUNDATIONS = {"auth": ("Authority", STUDENTS["healed"][0]), "care": ("Care", RAW["prompt"][0])}
BUDGET = {
    "kl_base": ("from the base", CATEGORIES[0]),
    "kl_previous": ("from the round before", CATEGORIES[4]),
    "kl_sum": ("sum of the rounds' own steps", MUTED),
}
COSINES = {
    "cosine_first": ("direction with the first round's", CATEGORIES[0]),
    "cosine_last": ("direction with the round before's", CATEGORIES[4]),
    "cosine_teacher": ("student's own shift with its teacher", CATEGORIES[2]),
}
BASE = "base"
LABELS = 34
"""Room for the labels of both axes, so that the rounds of two panels lie below one another (pixels)."""
LOW = 290
"""Of a panel with its legend below (pixels)."""
Rows = Sequence[Mapping[str, Any]]


def shifts(rounds: polars.DataFrame) -> Any:
    """Shift of Authority and Care by round, with intervals; `coherence` lies beneath, on the same axis."""
    rows = rounds.sort("round").to_dicts()
    moved = [
        {"place": BASE, "foundation": name, "nats": 0.0, **dict.fromkeys(ENDS)} for name, _ in FOUNDATIONS.values()
    ]
    moved += [
        {
            "place": str(row["round"]),
            "foundation": name,
            "nats": row[f"d_{key}"],
            **{end: row[f"d_{key}_{end}"] for end in ENDS},
        }
        for row in rows
        for key, (name, _) in FOUNDATIONS.items()
        if row[f"d_{key}"] is not None
    ]
    x = _places(rows, None)
    colour = alt.Color("foundation:N", title=None, scale=_scale(FOUNDATIONS.values()), legend=_legend(orient="top"))
    told = ["place:O", "foundation:N", alt.Tooltip("nats:Q", format="+.3f")]
    y = alt.Y("nats:Q", axis=above("shift from base (nats)", minExtent=LABELS))
    line = alt.Chart(data(moved)).mark_line(point=True, strokeWidth=2).encode(x=x, y=y, color=colour, tooltip=told)
    known = [row for row in moved if row["low"] is not None]
    spans = alt.Chart(data(known)).mark_rule(opacity=0.55, strokeWidth=3)
    spans = spans.encode(x=x, y="low:Q", y2="high:Q", color=colour)
    return alt.layer(_line_at(0.0), spans, line).properties(height=270)


def _places(rows: Rows, title: str | None) -> Any:
    """The rounds from left to right, the untouched base before the first."""
    return alt.X("place:O", title=title, sort=[BASE, *(str(row["round"]) for row in rows)], axis=alt.Axis(labelAngle=0))


def coherence(rounds: polars.DataFrame, floor: float) -> Any:
    """Coherence of each round's student with its interval, and of the steered model it learned from."""
    rows = rounds.sort("round").to_dicts()
    named = {"coherence": ("student", INK), "steered_coherence": ("steered teacher", RAW["steered"][0])}
    held = [{"place": BASE, "of": "student", "coherence": 1.0}]
    held += [
        {"place": str(row["round"]), "of": name, "coherence": row[key]}
        for row in rows
        for key, (name, _) in named.items()
        if row[key] is not None
    ]
    x = _places(rows, "student of round")
    colour = alt.Color("of:N", title=None, scale=_scale(named.values()), legend=_legend(orient="top"))
    axis = above("coherence: answer mass, relative to base", minExtent=LABELS)
    y = alt.Y("coherence:Q", axis=axis, scale=alt.Scale(zero=False))
    told = ["place:O", "of:N", alt.Tooltip("coherence:Q", format=".3f")]
    line = alt.Chart(data(held)).mark_line(point=True, strokeWidth=2).encode(x=x, y=y, color=colour, tooltip=told)
    known = [{"place": str(row["round"]), **row} for row in rows if row["coherence_low"] is not None]
    spans = alt.Chart(data(known)).mark_rule(opacity=0.5, strokeWidth=3, color=INK)
    spans = spans.encode(x=x, y="coherence_low:Q", y2="coherence_high:Q")
    least = alt.Chart(data([{"at": floor, "word": f"floor {floor:g}"}]))
    rule = least.mark_rule(strokeDash=[4, 4], color=STUDENTS["plain"][0]).encode(y="at:Q")
    word = least.mark_text(align="right", baseline="top", dy=3, dx=-4, color=STUDENTS["plain"][0])
    word = word.encode(y="at:Q", x=alt.value("width"), text="word:N")
    return alt.layer(rule, word, spans, line).properties(height=250)


def budget(rounds: polars.DataFrame) -> Any:
    """How far each student is from the base and from the one before, and what the steps would add up to."""
    rows, total = [], 0.0
    for row in rounds.sort("round").iter_rows(named=True):
        total += row["kl_previous"] or 0.0
        rows.append({**row, "kl_sum": total if row["kl_previous"] is not None else None})
    return _named(rows, BUDGET, "nats", "KL on its own texts (nats per token)", zero=True)


def cosines(rounds: polars.DataFrame) -> Any:
    """Where each round's direction points, and whether the student moved along it."""
    rows = rounds.sort("round").to_dicts()
    return alt.layer(_line_at(0.0), _named(rows, COSINES, "cosine", "cosine", zero=True)).properties(height=LOW)


def _named(rows: Rows, named: Mapping[str, tuple[str, str]], unit: str, title: str, *, zero: bool) -> Any:
    """A line for each of some columns, by round."""
    long = [
        {"round": row["round"], "what": name, unit: row[key]}
        for row in rows
        for key, (name, _) in named.items()
        if row[key] is not None
    ]
    colour = alt.Color("what:N", title=None, scale=_scale(named.values()), legend=_legend(columns=1))
    dashes = alt.Scale(domain=[name for name, _ in named.values()], range=[[1, 0], [6, 3], [2, 3]][: len(named)])
    dash = alt.StrokeDash("what:N", title=None, scale=dashes, legend=_legend(columns=1))
    line = alt.Chart(data(long)).mark_line(point=True, strokeWidth=2)
    return line.encode(
        x=alt.X("round:O", title="round", axis=alt.Axis(labelAngle=0)),
        y=alt.Y(f"{unit}:Q", axis=above(title), scale=alt.Scale(zero=zero)),
        color=colour,
        strokeDash=dash,
        tooltip=["round:O", "what:N", alt.Tooltip(f"{unit}:Q", format=".3f")],
    ).properties(height=LOW)


def _scale(named: Any) -> Any:
    pairs = [*named]
    return alt.Scale(domain=[name for name, _ in pairs], range=[colour for _, colour in pairs])


def _legend(columns: int = 3, orient: Literal["bottom", "top"] = "bottom") -> Any:
    return alt.Legend(orient=orient, columns=columns, labelLimit=300, offset=24 if orient == "top" else 18)


def _line_at(value: float) -> Any:
    return alt.Chart(data([{"zero": value}])).mark_rule(strokeDash=[2, 3], color=MUTED).encode(y="zero:Q")
