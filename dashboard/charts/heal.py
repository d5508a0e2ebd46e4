"""Draws how adapters were trained: loss, divergence with its barrier, gradients, epochs, and the plane of a sweep."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import polars

from dashboard.charts import CATEGORIES, MUTED
from dashboard.charts.axis import above, data
from steerkit.pictures.look import STUDENTS

HEIGHT, LINE = 240, 17
"""Of a panel, and of a line of its legend (pixels)."""
BALANCED = 1.0
"""Ratio at which barrier and objective pull alike."""


class Panels:
    """The panels of one training; `names` says what an adapter is called, and fixes its colour in all of them."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names
        free = [
            colour for colour in CATEGORIES if colour not in {STUDENTS[n][0] for n in names.values() if n in STUDENTS}
        ]
        order = list(dict.fromkeys(names.values()))
        taken = iter(free * (1 + len(order) // max(1, len(free))))
        colours = [STUDENTS[name][0] if name in STUDENTS else next(taken) for name in order]
        dashes = [[5, 3] if name == "plain" else [1, 0] for name in order]
        legend = alt.Legend(orient="bottom", columns=1, labelLimit=260, symbolType="stroke")
        # The legend takes its room from the panel.
        self.height = HEIGHT + LINE * len(order)
        self.colour = alt.Color("adapter:N", title=None, scale=alt.Scale(domain=order, range=colours), legend=legend)
        # Plain lies over healed until the barrier fires: its dashes show both.
        self.dash = alt.StrokeDash("adapter:N", title=None, scale=alt.Scale(domain=order, range=dashes), legend=legend)

    def loss(self, curves: polars.DataFrame) -> Any:
        """NLL of the trained texts by step."""
        y = alt.Y("nll:Q", axis=above("NLL of trained texts (nats per token)"), scale=alt.Scale(zero=False))
        return self._by_step(curves, "nll", y)

    def divergence(self, curves: polars.DataFrame) -> Any:
        """What the barrier watches, by step, with a dotted line where it begins."""
        watched = sorted({name for name in curves["aggregate"] if name})
        title = f"divergence from the reference, {'/'.join(watched) or 'rmse'} (nats)"
        line = self._by_step(curves, "divergence", alt.Y("divergence:Q", axis=above(title)))
        begins = [
            {"adapter": self.names[row["adapter_id"]], "tau": row["tau"]}
            for row in curves.unique("adapter_id", maintain_order=True).iter_rows(named=True)
            if row["tau"] is not None
        ]
        if not begins:
            return line
        rule = alt.Chart(data(begins)).mark_rule(strokeDash=[2, 3], strokeWidth=1.6)
        told = ["adapter:N", alt.Tooltip("tau:Q", title="barrier begins (nats)", format=".3g")]
        return alt.layer(line, rule.encode(y="tau:Q", color=self.colour, tooltip=told)).properties(height=self.height)

    def gradients(self, curves: polars.DataFrame) -> Any:
        """The barrier's gradient over the objective's where the two were taken apart; 0 where the barrier is silent."""
        known = curves.filter(polars.col("gradient_ratio").is_not_null() & polars.col("tau").is_not_null())
        scale = alt.Scale(type="symlog", constant=0.02, nice=False)
        axis = above("barrier's gradient / objective's (ratio)", values=[0, 0.03, 0.1, 0.3, 1, 3, 10, 100], format="~g")
        y = alt.Y("gradient_ratio:Q", axis=axis, scale=scale)
        line = self._by_step(known, "gradient_ratio", y, point=True)
        even = alt.Chart(data([{"at": BALANCED, "word": "1: they pull alike"}]))
        rule = even.mark_rule(strokeDash=[4, 4], color=MUTED).encode(y="at:Q")
        word = even.mark_text(align="right", baseline="top", dy=3, color=MUTED, fontSize=11)
        return alt.layer(line, rule, word.encode(y="at:Q", x=alt.value("width"), text="word:N")).properties(
            height=self.height
        )

    def epochs(self, epochs: polars.DataFrame) -> Any:
        """NLL of held-out texts by epoch: where it turns upwards, the texts are being learned by heart."""
        known = epochs.filter(polars.col("validation_nll").is_not_null())
        y = alt.Y("validation_nll:Q", axis=above("NLL of held-out texts (nats per token)"), scale=alt.Scale(zero=False))
        x = alt.X("epoch:Q", title="epoch (0: before training)", axis=alt.Axis(tickMinStep=1, format="d"))
        return self._line(known, x, y, "epoch", "validation_nll", point=True)

    def _by_step(self, curves: polars.DataFrame, column: str, y: Any, *, point: bool = False) -> Any:
        x = alt.X("step:Q", title="optimiser step", axis=alt.Axis(tickMinStep=1, format="d"))
        return self._line(curves, x, y, "step", column, point=point)

    def _line(self, frame: polars.DataFrame, x: Any, y: Any, across: str, column: str, *, point: bool) -> Any:
        rows = [
            {"adapter": self.names[row["adapter_id"]], across: row[across], column: row[column]}
            for row in frame.iter_rows(named=True)
        ]
        told = ["adapter:N", f"{across}:Q", alt.Tooltip(f"{column}:Q", format=".4g")]
        mark = alt.Chart(data(rows)).mark_line(point=alt.OverlayMarkDef(size=22) if point else False, strokeWidth=1.8)
        line = mark.encode(x=x, y=y, color=self.colour, strokeDash=self.dash, tooltip=told)
        return line.properties(height=self.height)


def sweep(points: polars.DataFrame, lowest: float) -> Any:
    """Every setting of a sweep: shift of the target against coherence, with 95% intervals of the shift."""
    rows = points.filter(polars.col("d_target").is_not_null() & polars.col("coherence").is_not_null()).to_dicts()
    regs = sorted({row["reg"] or "none" for row in rows})
    colour = alt.Color("reg:N", title="constraint", scale=alt.Scale(domain=regs, range=[*CATEGORIES][: len(regs)]))
    x = alt.X("d_target:Q", title="shift of the target from base (nats)", axis=alt.Axis(tickCount=8))
    y = alt.Y("coherence:Q", axis=above("coherence: answer mass, relative to base"), scale=alt.Scale(zero=False))
    chart = alt.Chart(data(rows)).encode(y=y)
    spans = chart.mark_rule(opacity=0.4).encode(x="d_target_low:Q", x2="d_target_high:Q", color=colour)
    told: list[Any] = ["reg:N", "agg:N", "ref:N", "lam:Q", "tau:N", "wd:Q", "spectral:Q"]
    told += [
        alt.Tooltip(f"{name}:Q", format=".3g") for name in ("d_target", "coherence", "front_gain", "retain", "over")
    ]
    marks = chart.mark_point(filled=True, size=80, opacity=1).encode(x=x, color=colour, shape="agg:N", tooltip=told)
    floor = alt.Chart(data([{"floor": lowest}])).mark_rule(strokeDash=[4, 4], color=MUTED).encode(y="floor:Q")
    return alt.layer(spans, floor, marks).properties(height=300)
