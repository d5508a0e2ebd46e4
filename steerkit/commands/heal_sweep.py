"""Which constraint heals best? Train an adapter for every combination of settings on the same kept texts."""

from pathlib import Path
from typing import Any

import click

from steerkit.options import common, json_option


@click.command("heal-sweep")
@click.argument("run")
@click.option("--reg", "divergence", metavar="LIST", help="Of none, reverse-kl, forward-kl and js.")
@click.option("--agg", "aggregate", metavar="LIST", help="Of mean, rmse, p95 and max over a text's positions.")
@click.option("--ref", "reference", metavar="LIST", help="Of base and previous; the same in a first round.")
@click.option("--lam", metavar="LIST", help="Weights of the barrier.")
@click.option("--tau", metavar="LIST", help="Where it begins: nats, or percentiles of what plain training shows (q50).")
@click.option("--wd", "weight_decay", metavar="LIST", help="AdamW's weight decay.")
@click.option("--spectral", metavar="LIST", help="Weights of the spectral penalty.")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Holds for all points.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted sweep (also the default when one is found).")
@click.option("--again", is_flag=True, help="Sweep once more although the store has the answer.")
@json_option
@common("store", "device")
@click.option("--trust-remote-code", is_flag=True, help="Let a model folder run its own Python code.")
def command(as_json: bool, store: Path, resume: bool, again: bool, run: str, **asked: Any) -> int:
    """Train on what RUN (the beginning of the id of a finished run of gate 3 or gate 2) kept, in several ways.

    A LIST is comma-separated; every combination of the lists is one point. What no list names stays as RUN had it, or
    as gate 3's default. Points come sorted by what the student's coherence is beyond raw steering's at the same shift.
    """
    from steerkit.commands._narrator import Narrator
    from steerkit.commands._sweep_output import show
    from steerkit.request_sweep import Axes, SweepRequest

    Axes.checked(asked)

    from steerkit.session import answer, trained_run

    request = SweepRequest.of(asked, *trained_run(store, run))
    with Narrator(store, as_json) as narrator:
        document = answer(request, store, resume=resume, again=again, narrator=narrator)
    show(document, as_json)
    return 0
