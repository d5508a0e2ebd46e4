"""A loop, round by round: does the trait grow while the model stays whole?"""

import json
from collections.abc import Mapping
from typing import Any

import polars
import streamlit as st

from dashboard import empty, figure, link, runs
from dashboard.charts.rounds import budget, coherence, cosines, shifts
from dashboard.look import plain
from dashboard.reading import Reader

TITLE = "Rounds"
ICON = ":material/cached:"
ORDER = 20
SENTENCE = (
    "A loop steers, filters, heals and bakes in, round after round. Good: the target goes further in its intended "
    "direction with every round while Care stays and coherence, beneath, keeps above its floor."
)
LEDGER = (
    "round",
    "kept",
    "made",
    "chosen_dose",
    "d_target",
    "d_target_low",
    "d_target_high",
    "d_target_previous",
    "coherence",
    "coherence_low",
    "coherence_high",
    "steered_d_target",
    "steered_coherence",
    "d_auth",
    "d_care",
    "kl_base",
    "kl_previous",
    "kl_excess",
    "direction_norm",
    "cosine_first",
    "cosine_last",
    "cosine_teacher",
    "tau",
    "over",
    "label",
    "stop",
    "seconds",
)
"""Columns of the ledger; the rest are ids, which the links below it hold."""


def show(reader: Reader) -> None:
    """Choose a loop; its course, its budget, its cosines, its ledger."""
    having = runs.having(reader, "round")
    if not having:
        _none_yet(reader)
        return
    run = runs.pick(reader, having, "Loop")
    assert run is not None, "a loop with rounds is registered"
    runs.state(run)
    rounds = reader.ask("rounds", run=run["run_id"])
    told = reader.query("SELECT spec, thresholds FROM run WHERE run_id = $run LIMIT 1", {"run": run["run_id"]})
    spec, thresholds = (json.loads(text) for text in told.row(0))
    _outcome(rounds, spec)
    figure.show(shifts(rounds), rounds, "shifts")
    figure.show(coherence(rounds, thresholds["coherence"]), rounds, "coherence")
    st.caption(
        f"Bars: 95% paired-bootstrap intervals. The target, {plain(spec['target'])}, is to go "
        f"{'down' if spec['sign'] < 0 else 'up'}. Dashed: the floor a loop stops at."
    )
    left, right = st.columns(2)
    with left:
        st.subheader("KL budget")
        figure.show(budget(rounds), rounds.select("round", "kl_base", "kl_previous", "kl_excess"), "budget")
        st.caption(
            "Steps at right angles add up to the sum. The line from the base lies above it where rounds go on in the "
            "same direction, and below where later ones undo earlier ones."
        )
    with right:
        st.subheader("Cosines")
        figure.show(cosines(rounds), rounds.select("round", "cosine_first", "cosine_last", "cosine_teacher"), "cosines")
        st.caption("Near 1: the same direction again. A falling line with a flat trait: the loop wanders.")
    _ledger(rounds)


def _none_yet(reader: Reader) -> None:
    """Say what there is to wait for, or what to start."""
    known = reader.ask("runs")
    if known.filter((known["gate"] == "gate4") & (known["state"] == "started")).is_empty():
        empty.nothing("No loop has finished a round yet.", "steerkit loop --rounds 3")
    else:
        st.info("A loop is under way; its first round shows here when it is done.", icon=":material/hourglass_top:")


def _outcome(rounds: polars.DataFrame, spec: Mapping[str, Any]) -> None:
    """How far the loop came, which round was best, and why it stopped."""
    last = rounds.row(-1, named=True)
    best = rounds.filter(rounds["round"].eq_missing(last["best_round"]))
    first, second, third = st.columns([2, 3, 4])
    first.metric("rounds", f"{rounds.height} of {spec['rounds']}")
    second.metric("best round", "none" if best.is_empty() else str(last["best_round"]), help="Furthest while coherent.")
    if not best.is_empty():
        row = best.row(0, named=True)
        second.caption(f"{row['d_target']:+.2f} nats at coherence {row['coherence']:.3f}")
    third.metric("stopped by", last["stop"] or "nothing yet")
    if last["stop_why"]:
        third.caption(plain(last["stop_why"]))


def _ledger(rounds: polars.DataFrame) -> None:
    """A row per round, and the way to its runs."""
    st.subheader("Ledger")
    share = st.column_config.NumberColumn("over tau", format="percent")
    figure.table(rounds.select(LEDGER), "ledger", column_config={"over": share, "seconds": _whole("s")})
    st.caption(
        "Shifts in nats, coherence as a fraction of the base's, KL in nats per token; dose 1: the calibrated strength."
    )
    options = [str(number) for number in rounds["round"]]
    chosen = link.pick("Round", "round", options, options[-1])
    row = rounds.filter(rounds["round"] == int(chosen or 0)).row(0, named=True)
    with st.container(horizontal=True):
        link.to("texts", "Its texts", ":material/article:", run=row["gate2_run"])
        if row["gate3_run"]:
            link.to("heal", "Its training", ":material/healing:", run=row["gate3_run"])
            link.to("texts", "Its students' texts", ":material/article:", run=row["gate3_run"], part="beside")
        if row["adapter_id"]:
            link.to("lineage", "What made its adapter", ":material/account_tree:", id=row["adapter_id"])


def _whole(unit: str) -> Any:
    return st.column_config.NumberColumn(f"time ({unit})", format="%.0f")
