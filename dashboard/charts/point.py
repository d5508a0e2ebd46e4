"""What lies behind one point: how its answers moved, and how strongly its strength disturbs the model."""

from typing import Any

import altair as alt
import polars

from steerkit.pictures.look import GROUPS, INK, OTHER
from steerkit.visible import visible

BASE, MOVED = OTHER, GROUPS["steered"][0]
LONGEST = 70
"""Letters of a vignette that stand beside its bar."""


def movers(rows: polars.DataFrame) -> Any:
    """Each vignette's own answer under the base and under the arm, joined by a line; the biggest movers first."""
    known = [_mover(row, place) for place, row in enumerate(rows.iter_rows(named=True))]
    order = [row["shown"] for row in known]
    y = alt.Y("shown:N", sort=order, title=None, axis=alt.Axis(labelLimit=430, labelFontSize=11, ticks=False))
    x = alt.X("base_nats:Q", title="log p of the vignette's own foundation (nats)", scale=alt.Scale(zero=False))
    chart = alt.Chart(alt.Data(values=known))  # type: ignore[no-untyped-call]
    told = [alt.Tooltip("vignette:N"), alt.Tooltip("foundation:N"), alt.Tooltip("moved:Q", format="+.3f")]
    told += [alt.Tooltip("base_pick:N", title="base picks"), alt.Tooltip("arm_pick:N", title="arm picks")]
    line = chart.mark_rule(color=MOVED, opacity=0.5, strokeWidth=2).encode(x=x, x2="arm_nats:Q", y=y)
    palette = alt.Scale(domain=["base", "this arm"], range=[BASE, MOVED])
    ends = [
        chart.transform_calculate(who=f"'{who}'")
        .mark_point(filled=True, size=70, opacity=1)
        .encode(x=f"{field}:Q", y=y, color=alt.Color("who:N", scale=palette, title=None), tooltip=told)
        for who, field in (("base", "base_nats"), ("this arm", "arm_nats"))
    ]
    return alt.layer(line, *ends).properties(width="container", height=alt.Step(22))


def _mover(row: dict[str, Any], place: int) -> dict[str, Any]:
    text = visible(" ".join(str(row["text"] or row["vignette"]).split()))
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return {**row, "text": text, "shown": f"{place + 1}. {short}"}


def disturbance(ladder: polars.DataFrame, strength: float) -> Any:
    """Per-token KL over strength for one direction, with its target and the strength that was chosen."""
    named = {"kl_p95": "95th percentile", "kl_mean": "mean"}
    rows = [
        {"strength": row["strength"], "kl": row[column], "what": name}
        for row in ladder.iter_rows(named=True)
        for column, name in named.items()
    ]
    x = alt.X("strength:Q", title="strength (natural steps)")
    y = alt.Y("kl:Q", title="KL(steered || base) (nats/token)")
    colour = alt.Color("what:N", scale=alt.Scale(domain=[*named.values()], range=[MOVED, BASE]), title=None)
    line = alt.Chart(alt.Data(values=rows)).mark_line(point=True).encode(x=x, y=y, color=colour)  # type: ignore[no-untyped-call]
    marks = []
    for field, value, dash in (("target", _first(ladder, "target"), [2, 3]), ("here", strength, [5, 3])):
        if value is None:
            continue
        rule = alt.Chart(alt.Data(values=[{field: value}])).mark_rule(strokeDash=dash, color=INK)  # type: ignore[no-untyped-call]
        marks.append(rule.encode(y="target:Q") if field == "target" else rule.encode(x="here:Q"))
    return alt.layer(line, *marks).properties(width="container", height=260)


def _first(frame: polars.DataFrame, column: str) -> float | None:
    found: float | None = frame[column][0] if frame.height else None
    return found
