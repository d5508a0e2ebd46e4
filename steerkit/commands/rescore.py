"""Score a finished run anew with another version of the metrics, from its raw answers and without a model.

`steerkit rescore 3f2a --metric-version v1-raw`, `steerkit rescore 3f2a --set floor=1e-4`. Several runs that differ in
their seed are scored over the same resamples and their mean is reported. What comes out is added to the store; the
verdict of the run stays the one that was registered.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from steerkit.commands._output import echo_json, echo_table
from steerkit.options import common, json_option

if TYPE_CHECKING:
    from steerkit.metrics import ArmMetrics
    from steerkit.rescoring import Scored
    from steerkit.stats import Interval

SHOWN = ("auth_nats", "d_auth", "d_target", "coherence", "informedness")
"""Quantities on a terminal, each now and as the run stored it; `--json` and table `rescored` have all."""


@click.command("rescore", help=__doc__)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--metric-version", default="v1", show_default=True, help="A row of view metric_version.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="corrected=true|false or floor=PROBABILITY."
)
@click.option("--resamples", type=click.IntRange(min=100), default=2000, show_default=True, help="Of the bootstrap.")
@json_option
@common("store")
def command(
    runs: tuple[str, ...], metric_version: str, settings: tuple[str, ...], resamples: int, as_json: bool, store: Path
) -> None:
    """Print every arm's quantities, and store them."""
    start = time.perf_counter()
    from steerkit.lineage import find_run
    from steerkit.rescoring import rescore, rule
    from steerkit.store import Store

    target = Store(store)
    names = [find_run(target, run) for run in dict.fromkeys(runs)]
    scored = rescore(target, names, rule(target, metric_version, settings), resamples)
    seq = time.time_ns()
    target.append([record for one in scored for record in one.records(seq)])
    target.ingest()
    seconds = time.perf_counter() - start
    if as_json:
        echo_json(_document(scored, seconds))
    else:
        _show(scored, seconds)


def _document(scored: "Sequence[Scored]", seconds: float) -> dict[str, Any]:
    rule = scored[0].rule
    return {
        "version": rule.version,
        "corrected": rule.corrected,
        "floor": rule.floor,
        "target": scored[0].target,
        "seconds": round(seconds, 3),
        "runs": [{"run_id": one.run, "arms": [_arm(one, arm) for arm in one.arms]} for one in scored],
        "over_runs": _over_runs(scored),
    }


def _arm(one: "Scored", arm: "ArmMetrics") -> dict[str, Any]:
    from steerkit.stats import intervals

    return {
        "arm_id": arm.arm.arm_id,
        "kind": arm.arm.kind,
        "method": arm.arm.method,
        "dose": arm.arm.dose,
        "unscorable": arm.unscorable,
        "paired": arm.paired,
        "paired_target": arm.paired_target,
        "resolution": arm.resolution(),
        "quantities": {
            name: {"value": arm.value(name), **_ends(found), "stored": one.stored.get((arm.arm.arm_id, name))}
            for name, found in intervals(arm.draws).items()
        },
    }


def _ends(found: "Interval | None") -> dict[str, float | None]:
    from steerkit.rescoring import ends

    return ends(found)


def _over_runs(scored: "Sequence[Scored]") -> list[dict[str, Any]]:
    """The target's change, mean over runs; empty for a single run."""
    from steerkit.rescoring import ends, pooled

    if len(scored) < 2:
        return []
    return [
        {
            "kind": arm.arm.kind,
            "method": arm.arm.method,
            "dose": arm.arm.dose,
            "runs": len(scored),
            "d_target": None if over is None else over.value,
            **ends(over),
            "low_vignettes": None if within is None else within.low,
            "high_vignettes": None if within is None else within.high,
        }
        for arm, over, within in pooled(scored, "d_target")
    ]


def _show(scored: "Sequence[Scored]", seconds: float) -> None:
    rule = scored[0].rule
    bias = "label bias taken off" if rule.corrected else "label bias left in"
    for one in scored:
        click.echo(f"run {one.run} by {rule.version} ({bias}, floor {rule.floor:g}); in brackets what it stored itself")
        echo_table([_row(one, arm) for arm in one.arms], ("arm", "dose", *SHOWN, "d_target 95%", "unscorable"))
        click.echo(_resolution(one))
    if len(scored) > 1:
        click.echo(f"mean of d_{scored[0].target} over {len(scored)} runs")
        echo_table(
            _over_runs(scored), ("kind", "method", "dose", "d_target", "low", "high", "low_vignettes", "high_vignettes")
        )
    click.echo(f"{seconds:.2f} s")


def _row(one: "Scored", arm: "ArmMetrics") -> dict[str, Any]:
    found = arm.interval("d_target")
    cells = {name: _cell(arm.value(name), one.stored.get((arm.arm.arm_id, name))) for name in SHOWN}
    span = "" if found is None else f"{found.low:+.2f} to {found.high:+.2f}"
    return {"arm": arm.arm.kind, "dose": arm.arm.dose, **cells, "d_target 95%": span, "unscorable": arm.unscorable}


def _cell(now: float | None, stored: float | None) -> str:
    shown = "" if now is None else f"{now:+.3f}"
    return shown if stored is None else f"{shown} ({stored:+.3f})"


def _resolution(one: "Scored") -> str:
    """The smallest effect that the set resolves, at the arm that moves the target most."""
    moved = [arm for arm in one.arms if arm.arm.kind != "base" and arm.resolution() is not None]
    if not moved:
        return "no arm's change has an interval: the set resolves nothing"
    arm = max(moved, key=lambda each: abs(each.value("d_target") or 0.0))
    flip = one.arms[0].value("flip_nats")
    one_flip = "" if flip is None else f"; one {one.target} vignette flipping is {flip:.2f} nats"
    smallest = f"smallest shift of {one.target} this set resolves (at dose {arm.arm.dose:g})"
    return f"{smallest}: {arm.resolution():.2f} nats{one_flip}"
