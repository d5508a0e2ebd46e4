"""Does an adapter trained on the kept texts learn different and coherent behaviour? Did it heal, or only undo?"""

from pathlib import Path
from typing import Any

import click

from steerkit.options import common, instrument_options, json_option

EXIT = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}


@click.command("gate3")
@click.option("--from", "from_run", metavar="RUN", help="Go on from this run of gate 2, or of gate 1.")
@click.option("--method", default="svd", show_default=True, help="Without --from: run gates 1 and 2 with this method.")
@click.option("--trait", default="authority", show_default=True, help="Without --from: the persona pair.")
@instrument_options
@click.option("--personas", type=click.Path(path_type=Path), help="Your own persona pairs (TOML).")
@click.option("--dilemmas", type=click.Path(path_type=Path), help="Your own prompts (JSONL).")
@click.option("--keep", type=click.IntRange(min=1), help="How many texts gate 2 is to keep (64).")
@click.option("--reg", "divergence", help="none, reverse-kl, forward-kl or js (reverse-kl).")
@click.option("--agg", "aggregate", help="mean, rmse, p95 or max over a text's positions (rmse).")
@click.option("--ref", "reference", help="base or previous (previous).")
@click.option("--lam", type=float, help="Weight of the barrier (0.3).")
@click.option("--tau", help="Where it begins: nats, or a percentile of what plain training shows, such as q50 (q50).")
@click.option("--wd", "weight_decay", type=float, help="AdamW's weight decay (0).")
@click.option("--spectral", type=float, help="Weight of the spectral penalty (0).")
@click.option("--rank", type=int, help="Rank of the adapter (16).")
@click.option("--epochs", type=int, help="How often each text is seen (3).")
@click.option("--controls", default="all", show_default=True, help="all, none, or some of unsteered,random,persona.")
@click.option("--online", type=int, help="Write so many texts per update while training, not all before (0: off).")
@click.option("--weights", is_flag=True, help="Weight steering as a further arm: adapters of both poles, subtracted.")
@click.option("--quick", is_flag=True, help="Fewer and shorter texts: a first look.")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="A setting, such as heal.batch=4.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run (also the default when one is found).")
@click.option("--again", is_flag=True, help="Run once more although the store has the answer.")
@json_option
@common("store", "model", "dtype", "device", "seed")
@click.option("--trust-remote-code", is_flag=True, help="Let a model folder run its own Python code.")
def command(as_json: bool, store: Path, resume: bool, again: bool, from_run: str | None, **asked: Any) -> int:
    """Train an adapter on the kept texts, and others in the same way on control texts, and score them all.

    Prints one label (HEALED, UNDONE, COPIED, NO-OP, OVERSHOT, NON-SPECIFIC or UNCLEAR), a verdict with its criteria,
    and every known way to fail as observed or not.
    """
    from steerkit.commands._gate3_output import show
    from steerkit.commands._narrator import Narrator
    from steerkit.request_gate3 import Gate3Request

    request = Gate3Request.checked(asked)

    from steerkit.commands._gate3_chain import collected
    from steerkit.session import answer

    found = collected(asked, store, from_run, resume=resume, as_json=as_json)
    with Narrator(store, as_json) as narrator:
        document = answer(request.after(found), store, resume=resume, again=again, narrator=narrator)
    show(document, as_json)
    return EXIT[document["verdict"]]
