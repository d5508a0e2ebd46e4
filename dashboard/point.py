"""What lies behind a point of the plane: figures, answers beside the base's, texts, dose, how to make it again."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars
import streamlit as st

from dashboard import figure, link
from dashboard.charts.pareto import KINDS
from dashboard.charts.point import disturbance, movers
from dashboard.commands import again
from dashboard.look import plain
from dashboard.reading import Reader
from steerkit.visible import visible

MOVERS = 15
"""Vignettes in the picture of the biggest movers."""
EVENT = "_plane_event"


def details(reader: Reader, arms: polars.DataFrame, placed: Sequence[Mapping[str, Any]], picked: Any) -> None:
    """The points that were dragged over, and the sections of the one that is chosen."""
    known = {point["arm_id"]: point for point in placed}
    brushed = dragged(picked, placed)
    if brushed:
        st.subheader(f"{len(brushed)} points in the frame")
        columns = ["kind", "method", "dose", "gain", "gain_low", "gain_high", "cost", "coherence", "p_null", "arm_id"]
        ids = [point["arm_id"] for point in brushed]
        figure.table(arms.filter(polars.col("arm_id").is_in(ids)).select(columns), "brushed")
    names = {"": "Click a point above, or choose it here"} | {arm: said(point) for arm, point in known.items()}
    if arm := link.pick("Point", "arm", [*names], shown=lambda one: names[one]):
        sections(reader, known[arm])


def chosen_point(picked: Any, placed: Sequence[Mapping[str, Any]]) -> str | None:
    """The arm that is chosen: a new click chooses it, an old one leaves what was chosen since."""
    known = {point["arm_id"] for point in placed}
    rows = (picked or {}).get("selection", {}).get("pick") or []
    clicked = rows[0].get("arm_id") if rows else None
    if clicked != st.session_state.get(EVENT):
        st.session_state[EVENT] = clicked
        if clicked in known:
            st.session_state["arm"] = clicked
    return link.held("arm")


def dragged(picked: Any, placed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The points in the frame that was dragged."""
    frame = (picked or {}).get("selection", {}).get("brush") or {}
    if not {"cost", "gain"} <= {*frame}:
        return []
    (left, right), (low, high) = sorted(frame["cost"]), sorted(frame["gain"])
    return [point for point in placed if left <= point["cost"] <= right and low <= point["gain"] <= high]


def said(point: Mapping[str, Any]) -> str:
    """A point in words; its method is a name that somebody gave."""
    parts = [KINDS.get(point["group"], point["group"]), visible(point["method"])]
    if point["kind"] in ("steered", "random", "shuffled"):
        parts.append(f"dose {point['dose']:.3g}")
    if point["round"] is not None:
        parts.append(f"round {point['round']}")
    return f"{', '.join(parts)}: {point['gain']:+.2f} at {point['cost']:.3f} · {point['arm_id'][:8]}"


def sections(reader: Reader, point: Mapping[str, Any]) -> None:
    """Its figures, and the section that is open."""
    st.subheader(plain(said(point).partition(":")[0]))
    figures(point)
    shown = {"Answers": answers, "Texts": texts, "Dose": dose, "Reproduce": reproduce}
    shown[link.part("Part", "part", [*shown])](reader, point)


def figures(point: Mapping[str, Any]) -> None:
    """Its numbers in one row."""
    cells = [
        ("Shift towards the trait", point["separation"], "{:+.3f} nats", None),
        ("Coherence", point["coherence"], "{:.3f}", _span(point, "coherence")),
        ("p against nulls", point["p_null"], "{:.3f}", None),
        ("Resamples on its run's front", point["front_probability"], "{:.0%}", None),
    ]
    with st.container(horizontal=True, gap="large"):
        for name, value, form, span in cells:
            told = "not measured" if value is None else form.format(value)
            st.metric(name, told, span, "off", delta_arrow="off", width="content")


def _span(point: Mapping[str, Any], name: str) -> str | None:
    low, high = point[f"{name}_low"], point[f"{name}_high"]
    return None if low is None else f"95% interval {low:.3f} to {high:.3f}"


def answers(reader: Reader, point: Mapping[str, Any]) -> None:
    """Every vignette under the base and under the arm, the biggest movers drawn."""
    rows = reader.ask("answers", run=point["run_id"], arm=point["arm_id"])
    foundations = rows["foundation"].unique().sort().to_list()
    chosen = link.picks("Foundations of the vignettes", "foundation", foundations)
    rows = rows.filter(rows["foundation"].is_in(chosen))
    moved = rows.filter(rows["moved"].is_finite())
    if moved.is_empty():
        st.info("No vignette of this choice has a readable answer under both the base and this arm.")
        return
    changed = int((rows["base_pick"] != rows["arm_pick"]).sum())
    st.caption(
        f"{rows.height} vignettes; {changed} are answered with another foundation than under the base. "
        f"The {min(MOVERS, moved.height)} that moved most, and below them all of them:"
    )
    figure.show(movers(moved.head(MOVERS)), moved, "movers")
    numbers = {
        name: st.column_config.NumberColumn(label, format="%+.3f")
        for name, label in (("base_nats", "base (nats)"), ("arm_nats", "arm (nats)"), ("moved", "moved (nats)"))
    }
    figure.table(rows, "answers", column_config=numbers, height=320)


def texts(reader: Reader, point: Mapping[str, Any]) -> None:
    """What was written under the arm, letter by letter as it came."""
    along = {"direction": point["direction_id"], "strength": point["strength"]}
    rows = reader.ask("texts_of_arm", run=point["run_id"], arm=point["arm_id"], **along)
    if rows.is_empty():
        st.info("No text was written under this arm, or with its direction at this strength.")
        return
    for row in rows.iter_rows(named=True):
        with st.container(border=True):
            st.caption(
                f"{plain(row['role'])} · {row['tokens']} tokens · perplexity under the base {row['perplexity']:.1f}"
            )
            st.text(visible(row["prompt"]))
            st.text(visible(row["text"]), width="stretch")
            link.to("texts", "Beside base and healed", ":material/compare:", run=row["run_id"], prompt=row["prompt_id"])


def dose(reader: Reader, point: Mapping[str, Any]) -> None:
    """How strongly this strength disturbs the model, on its direction's ladder."""
    rows = reader.ask("doses", run=point["run_id"])
    ladder = rows.filter(rows["direction_id"] == point["direction_id"])
    if ladder.is_empty():
        st.info("This arm has no ladder of strengths: it is not steered, or its direction is another run's.")
        return
    status = plain(ladder["status"][0])
    st.caption(
        f"Strength {point['strength']:.4g} is dose {point['dose']:.3g}. Dashed upright: this strength; dotted across: "
        f"the target that dose 1 meets ({status})."
    )
    figure.show(disturbance(ladder, float(point["strength"])), ladder, "dose")


def reproduce(reader: Reader, point: Mapping[str, Any]) -> None:
    """The commands that make the arm's run again, and those that tell more of the arm."""
    lines = again(reader, point["run_id"])
    st.caption(
        "Into an empty store, these make the run again; a name in capitals stands for a file of your own."
        if lines
        else "The command of this gate is not known here; its specification is in table `run`."
    )
    store = f"--store {reader.store.path.name}"
    asks = [f"steerkit why {point['arm_id']} {store}", f"steerkit report {point['run_id']} {store}"]
    st.code("\n".join([*lines, "", *asks]).strip(), language="bash", wrap_lines=True)
