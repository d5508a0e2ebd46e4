"""Baked in and steered anew, round after round: does the trait grow at held coherence?"""

from pathlib import Path
from typing import Any

import click

from steerkit.options import VIGNETTES, common, instrument_options, json_option, with_think

EXIT = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}


@click.command("loop")
@click.option("--rounds", type=click.IntRange(min=1), default=4, show_default=True, help="How many rounds at most.")
@click.option("--method", default="mean_mass", show_default=True, help="The steering method (see `steerkit methods`).")
@click.option("--trait", default="authority", show_default=True, help="The persona pair (see `steerkit personas`).")
@click.option(
    "--direction",
    default="fresh",
    show_default=True,
    help="Of later rounds: fresh, first, or project (fresh on first).",
)
@instrument_options
@click.option("--personas", type=click.Path(path_type=Path), help="Your own persona pairs (TOML).")
@click.option("--vignettes", type=click.Path(path_type=Path), help=VIGNETTES)
@click.option("--contexts", type=click.Path(path_type=Path), help="Your own context messages (JSONL).")
@click.option("--dilemmas", type=click.Path(path_type=Path), help="Your own prompts (JSONL).")
@click.option("--keep", type=click.IntRange(min=1), help="How many texts each round is to keep (64).")
@click.option("--reg", "divergence", help="none, reverse-kl, forward-kl or js (reverse-kl).")
@click.option("--agg", "aggregate", help="mean, rmse, p95 or max over a text's positions (rmse).")
@click.option("--ref", "reference", help="base or previous (previous).")
@click.option("--lam", type=float, help="Weight of the barrier (0.3).")
@click.option("--tau", help="Where it begins: nats, or a percentile of what plain training shows, such as q50 (q50).")
@click.option("--online", type=int, help="Write so many texts per update while training, not all before (0: off).")
@click.option("--controls", default="none", show_default=True, help="all, none, or some of unsteered,random,persona.")
@click.option("--quick", is_flag=True, help="Fewer and shorter texts: a first look.")
@click.option(
    "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="A setting, such as gate.patience=2."
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted loop (also the default when one is found).")
@click.option("--again", is_flag=True, help="Run once more although the store has the answer.")
@json_option
@common("store", "model", "dtype", "device", "seed")
@click.option("--trust-remote-code", is_flag=True, help="Let a model folder run its own Python code.")
def command(as_json: bool, store: Path, resume: bool, again: bool, think: int | None, **asked: Any) -> int:
    """Repeat gates 1 to 3, each round on the student that the one before made, until a rule says stop.

    Stops below the floor of coherence, when too few texts are kept, when training breaks, or when a round's gain cannot
    be told from 0. Prints a line per round, a verdict, and every known way to fail as observed or not.
    """
    from steerkit.commands._loop_output import show
    from steerkit.commands._narrator import Narrator
    from steerkit.request_loop import LoopRequest

    fixed = {"person": "third", "thorough": False, "schedule": None, "backtrack": False, "weights": False}
    request = LoopRequest.checked({**fixed, **asked, "settings": with_think(asked["settings"], think)})

    from steerkit.session import answer

    with Narrator(store, as_json) as narrator:
        document = answer(request, store, resume=resume, again=again, narrator=narrator)
    show(document, as_json)
    return EXIT[document["verdict"]]
