"""Where in the model should this method steer? Bands of blocks, each at the same measured dose."""

from pathlib import Path
from typing import Any

import click

from steerkit.options import common, contest_options, json_option


@click.command("layers")
@click.option("--method", default="svd", show_default=True, help="Steering method (steerkit methods).")
@click.option("--widths", default="1,3,5", show_default=True, metavar="LIST", help="How many blocks a band has.")
@click.option("--stride", type=int, help="Blocks between the starts of two bands.  [default: about ten bands a width]")
@click.option("--dose", type=float, help="Amount on the dose scale.  [default: 1 nat of p95-kl]")
@contest_options
@click.option("--resume", is_flag=True, help="Go on with an interrupted run (also the default when one is found).")
@click.option("--again", is_flag=True, help="Run once more although the store has the answer.")
@json_option
@common("store", "model", "dtype", "device", "seed")
@click.option("--trust-remote-code", is_flag=True, help="Let a model folder run its own Python code.")
def command(as_json: bool, store: Path, resume: bool, again: bool, **asked: Any) -> int:
    """Steer at every band of blocks, and draw what each does as a heat map.

    The band is chosen on one half of the vignettes and reported on the other, beside the default band. `steerkit gate1
    --blocks stored` steers there; `--blocks FIRST-LAST` steers wherever you say.
    """
    from steerkit.commands._layers_output import show
    from steerkit.commands._narrator import Narrator
    from steerkit.request_compare import ScanRequest

    request = ScanRequest.checked(asked)

    from steerkit.session import answer

    with Narrator(store, as_json) as narrator:
        document = answer(request, store, resume=resume, again=again, narrator=narrator)
    show(document, as_json)
    return 0
