"""The front page: what each method buys, what it costs, and what lies behind each point."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars
import streamlit as st

from dashboard import empty, figure, link
from dashboard.axes import COSTS, FLOOR, GAINS, Axes, points
from dashboard.charts import Drawn
from dashboard.charts.pareto import pareto
from dashboard.point import chosen_point, details
from dashboard.ranking import ranking
from dashboard.reading import Reader

TITLE = "Pareto"
ICON = ":material/scatter_plot:"
ORDER = 0
SENTENCE = (
    "Each point is a model that was steered or healed: how far it moves the trait (up), and how much coherence that "
    "costs (right). Good is up and left, outside the grey cloud of meaningless directions and out of the broken region."
)


def show(reader: Reader) -> None:
    """The plane of the chosen runs, the ranking of methods, and the point that was clicked."""
    with st.sidebar:
        gain = link.pick("Upright", "gain", [*GAINS], shown=lambda name: GAINS[name].label) or "separation"
        cost = link.pick("Across", "cost", [*COSTS], shown=lambda name: COSTS[name].label) or "coherence"
    arms = reader.ask("plane", gain=GAINS[gain].quantity, cost=COSTS[cost].quantity)
    arms = polars.concat([arms, unjudged(reader, arms, gain, cost)], how="vertical_relaxed")
    if COSTS[cost].channel:
        arms = arms.join(
            reader.ask("channels").select("run_id", "arm_id", COSTS[cost].column), ["run_id", "arm_id"], "left"
        )
    if arms.is_empty():
        empty.nothing("No arm has been scored yet.", "steerkit gate1 --method svd")
        return
    chosen = narrowed(arms)
    axes = Axes(GAINS[gain], COSTS[cost], str(chosen["target"][0]) if chosen.height else "the target")
    placed = points(chosen, axes)
    if not placed:
        st.info("No arm of this choice has a place in this plane; choose other axes, runs or methods.")
        return
    ranking(reader, chosen)
    # A click is known before the plane is drawn anew, so that the ring is around the point that it chose.
    ringed = chosen_point(st.session_state.get("chart_plane"), placed)
    chart = plane(int(chosen.hash_rows().sum()), axes, ringed, placed)
    picked = figure.show(chart, chosen, "plane", select=["pick", "brush"])
    st.caption(legend(axes))
    details(reader, chosen, placed, picked)


@st.cache_resource(max_entries=8, show_spinner=False)
def plane(rows: int, axes: Axes, ringed: str | None, _placed: Sequence[Mapping[str, Any]]) -> Drawn:
    """The picture of rows with that hash: what has not changed is not drawn up again."""
    return pareto(_placed, axes, ringed)


def unjudged(reader: Reader, arms: polars.DataFrame, gain: str, cost: str) -> polars.DataFrame:
    """Arms of runs that are under way, which have answers but no intervals yet."""
    found = arms.clear()
    runs = reader.ask("runs")
    judged = {*arms["run_id"].unique()}
    for run in runs.filter(runs["state"] == "started").iter_rows(named=True):
        if (
            run["run_id"] not in judged
            and gain in ("separation", "d_auth")
            and (cost == "coherence" or COSTS[cost].quantity is None)
        ):
            fresh = reader.ask("plane_unjudged", run=run["run_id"], gain=gain)
            found = polars.concat([found, fresh.select(found.columns).cast(found.schema)])
    return found


def narrowed(arms: polars.DataFrame) -> polars.DataFrame:
    """What the sidebar leaves: one trait and one model, and of them methods, runs, seeds and rounds."""
    # In a later round, gate 1 measures from the student before, not from the base.
    arms = arms.filter(~((arms["gate"] == "gate1") & arms["from_student"]))
    with st.sidebar:
        chosen = one(arms, "Trait", "trait")
        chosen = one(chosen, "Model", "model")
        chosen = some(chosen, "Methods", "method")
        chosen = some(chosen, "Runs", "run", "run_id")
        chosen = some(chosen, "Seeds", "seed")
        chosen = rounds(chosen)
        if link.switch("Only whole models", "whole", False, f"Leave out what is broken: coherence below {FLOOR}."):
            chosen = chosen.filter(chosen["coherence"] >= FLOOR)
        if link.switch("Controls and sweeps", "controls", False, "Also adapters trained on control texts, and sweeps."):
            return chosen
    return chosen.filter(~chosen["kind"].str.contains("^control-|^swept$"))


def one(arms: polars.DataFrame, label: str, name: str) -> polars.DataFrame:
    """The rows of one value, the newest run's unless another is chosen; no question where there is only one."""
    newest = [*dict.fromkeys(arms.sort("registered_at", descending=True)[name])]
    if len(newest) < 2:
        return arms
    chosen = link.pick(label, name, newest)
    return arms.filter(arms[name] == chosen)


def some(arms: polars.DataFrame, label: str, name: str, column: str = "") -> polars.DataFrame:
    """The rows of some values; no question where there is only one."""
    values = arms[column or name].cast(polars.String)
    options = values.unique().sort().to_list()
    if len(options) < 2:
        return arms
    names = {run: said(arms, run) for run in options} if name == "run" else {}
    return arms.filter(values.is_in(link.picks(label, name, options, shown=lambda value: names.get(value, value))))


def said(arms: polars.DataFrame, run: str) -> str:
    """A run in words."""
    row = arms.filter(arms["run_id"] == run).row(0, named=True)
    return f"{row['gate']} {row['method']} seed {row['seed']} · {run[:8]}"


def rounds(arms: polars.DataFrame) -> polars.DataFrame:
    """Students of some rounds, with all of raw steering of the untouched model."""
    options = [str(number) for number in arms["round"].drop_nulls().unique().sort()]
    if len(options) < 2:
        return arms
    asked = [int(number) for number in link.picks("Rounds", "round", options)]
    return arms.filter(arms["round"].is_null() | arms["round"].is_in(asked))


def legend(axes: Axes) -> str:
    """How to read what was drawn."""
    start = ", from the base at (0, 0)" if axes.cost.base_at_zero else ""
    parts = [f"Circles of one direction are joined by dose{start}; the numbers are doses."]
    parts += [
        "Bars: 95% paired-bootstrap intervals. Grey: null directions at the same doses, and the cloud around them."
    ]
    if axes.ranked:
        parts.append("Stairs: the front, which nothing beats in both; dashed: the front of healed students.")
    parts.append("Arrows: from the steered model to the students of its texts, with gate 3's label.")
    parts.append("**Click a point, or drag over some, to see what lies behind them.**")
    return " ".join(parts)
