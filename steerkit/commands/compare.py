"""Which steering method, for this model and trait? All at equal doses, against null directions and prompting."""

from pathlib import Path
from typing import Any

import click

from steerkit.options import common, contest_options, json_option


@click.command("compare")
@click.option("--methods", default="all", show_default=True, metavar="LIST", help="Of steerkit methods, or all.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Draws of contexts.")
@click.option("--doses", metavar="LIST", help="Amounts on the dose scale.  [default: 0.3,1,2 nats of p95-kl]")
@click.option("--race/--no-race", default=True, show_default=True, help="Spare points that a cheap screen rules out.")
@click.option("--blocks", metavar="FIRST-LAST", help="Steered blocks.  [default: the middle of the model]")
@contest_options
@click.option("--resume", is_flag=True, help="Go on with an interrupted run (also the default when one is found).")
@click.option("--again", is_flag=True, help="Run once more although the store has the answer.")
@json_option
@common("store", "model", "dtype", "device", "seed")
@click.option("--trust-remote-code", is_flag=True, help="Let a model folder run its own Python code.")
def command(as_json: bool, store: Path, resume: bool, again: bool, blocks: str | None, **asked: Any) -> int:
    """Steer with every method at the same measured doses, on several draws of contexts.

    Prints one line per method: the strength chosen on one half of the vignettes and what it does on the other half,
    its selectivity, the probability that it is on the Pareto front, and p against null directions; then every dose. A
    plugin that breaks is named, and the others go on.
    """
    from steerkit.commands._compare_output import show
    from steerkit.commands._narrator import Narrator
    from steerkit.request_compare import CompareRequest

    if blocks is not None:
        asked["settings"] = (*asked["settings"], f"capture.blocks={blocks.replace('-', ',')}")
    request = CompareRequest.checked(asked)

    from steerkit.session import answer

    with Narrator(store, as_json) as narrator:
        document = answer(request, store, resume=resume, again=again, narrator=narrator)
    show(document, as_json)
    return 0
