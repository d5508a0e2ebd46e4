"""How adapters were trained, and whether the barrier did anything."""

import json
from collections.abc import Mapping
from typing import Any

import polars
import streamlit as st

from dashboard import empty, figure, link, runs
from dashboard.charts.heal import Panels, sweep
from dashboard.look import plain
from dashboard.reading import Reader
from dashboard.runs import Run

TITLE = "Heal"
ICON = ":material/healing:"
ORDER = 40
SENTENCE = (
    "How adapters learned the kept texts. Good: the loss falls, on held-out texts too, and the divergence presses "
    "against the barrier (dotted) without either pull drowning the other. A barrier never reached changes nothing."
)
SETTINGS = ("reg", "agg", "ref", "lam", "tau", "wd", "spectral")
MOST = 8
"""Adapters that are drawn together."""
FIRST = ("healed", "plain")
"""Those that are drawn until others are chosen."""
OUTCOMES = {
    "retain": ("retained", "share of the steering's shift; 1: all of it, 0: undone"),
    "recover": ("recovered", "share of the coherence that steering lost; 1: all of it"),
    "front_gain": ("front gain", "coherence beyond raw steering at the same shift; good: above 0"),
    "excess": ("excess", "nats beyond the largest control adapter; good: above 0"),
}


def show(reader: Reader) -> None:
    """Choose a run; its outcome, its curves, its adapters."""
    having = runs.having(reader, "adapter")
    if not having:
        empty.nothing("No adapter has been trained yet.", "steerkit gate3 --from RUN")
        return
    run = runs.pick(reader, having)
    assert run is not None, "a run with adapters is registered"
    runs.state(run)
    _outcome(reader, run)
    points = reader.ask("sweep", run=run["run_id"])
    if not points.is_empty():
        _sweep(reader, run, points)
    names = _names(reader, run, points)
    chosen = _chosen(names, points)
    if len(chosen) > MOST:
        st.caption(f"The first {MOST} of {len(chosen)} adapters are drawn; more lines could not be told apart.")
    _curves(reader, run, {key: names[key] for key in chosen[:MOST]})
    _adapters(reader, run)


def _outcome(reader: Reader, run: Run) -> None:
    """What gate 3 says of the student."""
    for row in reader.ask("heal_or_undo", run=run["run_id"]).iter_rows(named=True):
        st.subheader(plain(f"{row['label'] or 'not judged yet'}"))
        for column, (name, (word, meaning)) in zip(st.columns(len(OUTCOMES)), OUTCOMES.items(), strict=True):
            value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
            column.metric(
                word, "-" if value is None else f"{round(value, 2) + 0:.2f}", help=f"{meaning[0].upper()}{meaning[1:]}."
            )
            column.caption("no interval" if low is None else f"95%: {low:.2f} to {high:.2f}")


def _sweep(reader: Reader, run: Run, points: polars.DataFrame) -> None:
    """The plane of all settings, and their table, the best first."""
    thresholds = reader.query("SELECT thresholds FROM run WHERE run_id = $run LIMIT 1", {"run": run["run_id"]})
    lowest = float(json.loads(thresholds.item())["coherence"])
    st.subheader(f"{points.height} settings")
    figure.show(sweep(points, lowest), points, "plane")
    st.caption(f"Bars: 95% intervals. Dashed: the lowest coherence that counts, {lowest:g}. Best first, by front gain:")
    figure.table(points.drop("arm_id", "run_id"), "sweep", height=320)


def _names(reader: Reader, run: Run, points: polars.DataFrame) -> dict[str, str]:
    """What every adapter is called: its role, or its settings where a sweep trained it; its round if there are more."""
    found = reader.ask("adapters", run=run["run_id"])
    rounds = found["round"].n_unique() > 1
    settings = {row["adapter_id"]: _setting(row) for row in points.iter_rows(named=True)}
    names: dict[str, str] = {}
    for row in found.iter_rows(named=True):
        key = row["adapter_id"]
        name = settings.get(key, row["role"]) + (f", round {row['round']}" if rounds else "")
        names[key] = f"{name} ({key[:6]})" if name in names.values() else name
    return names


def _setting(row: Mapping[str, Any]) -> str:
    parts = [row["reg"], row["agg"], f"lam {row['lam']:g}", f"tau {row['tau']}"]
    parts += [f"wd {row['wd']:g}"] if row["wd"] else []
    return " ".join(str(part) for part in parts + ([f"spectral {row['spectral']:g}"] if row["spectral"] else []))


def _chosen(names: Mapping[str, str], points: polars.DataFrame) -> list[str]:
    """The adapters to draw: healed beside plain, or a sweep's best."""
    first = [key for key, name in names.items() if name.partition(",")[0] in FIRST][:MOST]
    best = [key for key in points["adapter_id"].head(4) if key in names] if not points.is_empty() else []
    usual = [*dict.fromkeys([*best, *first])] or [*names][:MOST]
    return link.picks("Adapters", "adapters", [*names], usual, shown=lambda key: names[key])


def _curves(reader: Reader, run: Run, names: Mapping[str, str]) -> None:
    """Four panels: loss, divergence, gradients, epochs."""
    mine = polars.col("adapter_id").is_in([*names])
    curves = reader.ask("heal_curves", run=run["run_id"]).filter(mine)
    epochs = reader.ask("heal_epochs", run=run["run_id"]).filter(mine)
    if curves.is_empty():
        st.info("These adapters were made of others: there are no steps to show.", icon=":material/info:")
        return
    panels = Panels(names)
    left, right = st.columns(2)
    with left:
        figure.show(panels.loss(curves), curves, "loss")
        if not epochs["validation_nll"].is_null().all():
            figure.show(panels.epochs(epochs), epochs, "epochs")
    with right:
        figure.show(panels.divergence(curves), curves, "divergence")
        apart = curves.filter(polars.col("gradient_ratio").is_not_null() & polars.col("tau").is_not_null())
        if not apart.is_empty():
            figure.show(panels.gradients(curves), apart, "gradients")
            st.caption(
                "At 0 the barrier is silent; far above 1 it drowns the texts, and the student learns to be the base."
            )


def _adapters(reader: Reader, run: Run) -> None:
    """Every adapter with what was measured of it."""
    st.subheader("Adapters")
    found = reader.ask("adapters", run=run["run_id"])
    share = st.column_config.NumberColumn("over tau", format="percent", help="Share of trained sequences beyond tau")
    figure.table(found.drop("artifact", "run_id"), "adapters", column_config={"over": share})
    st.caption(
        "NLL in nats per token, tau in nats, gradient ratio: median over steps. kl_hooked_baked must stay under 1e-3: "
        "what was trained is what is scored."
    )
    for row in found.filter(polars.col("role").is_in(FIRST)).head(2).iter_rows(named=True):
        link.to(
            "lineage",
            f"What made {row['role']} {row['adapter_id'][:8]}",
            ":material/account_tree:",
            id=row["adapter_id"],
        )
