"""Can coherent texts that enact the trait be kept, and those that babble or narrate it be dropped?"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from steerkit.options import common, instrument_options, json_option, with_think

EXIT = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}


@click.command("gate2")
@click.option("--from", "from_run", metavar="RUN", help="Go on from this run of gate 1 (the beginning of its id).")
@click.option("--method", default="svd", show_default=True, help="Without --from: run gate 1 first, with this method.")
@click.option("--trait", default="authority", show_default=True, help="Without --from: the persona pair.")
@instrument_options
@click.option("--personas", type=click.Path(path_type=Path), help="Your own persona pairs (TOML).")
@click.option("--dilemmas", type=click.Path(path_type=Path), help="Your own prompts (JSONL).")
@click.option("--keep", type=click.IntRange(min=1), help="How many texts are to be kept (64).")
@click.option("--schedule", metavar="KIND[:NUMBER]", help="constant, linear, exp:40, prompt-only or generated-only.")
@click.option("--backtrack", is_flag=True, help="Rewind texts that break, and replay that stretch with less strength.")
@click.option("--quick", is_flag=True, help="Fewer and shorter texts: a first look.")
@click.option(
    "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="A setting, such as filter.perplexity=80."
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run (also the default when one is found).")
@click.option("--again", is_flag=True, help="Run once more although the store has the answer.")
@json_option
@common("store", "model", "dtype", "device", "seed")
@click.option("--trust-remote-code", is_flag=True, help="Let a model folder run its own Python code.")
def command(
    as_json: bool, store: Path, resume: bool, again: bool, from_run: str | None, method: str, trait: str, **asked: Any
) -> int:
    """Write texts under steering at several doses, judge each with every check, and collect until enough are kept.

    Prints a verdict with its criteria, every known way to fail as observed or not, and what was dropped by what.
    """
    from steerkit.commands._gate2_output import show
    from steerkit.commands._narrator import Narrator
    from steerkit.request_gate2 import Gate2Request

    request = Gate2Request.checked(asked)

    from steerkit.session import answer, parent_run

    continued = from_run is not None
    with Narrator(store, as_json) as narrator:
        if from_run is None:
            first = answer(gate1_request(asked, method, trait), store, resume=resume, again=False, narrator=narrator)
            from_run = first["run_id"]
            narrator.say(f"gate 1 said {first['verdict']} (run {from_run}); going on with gate 2")
    parent = parent_run(store, from_run)
    parent.need_same(typed(("method", "trait", "instrument", "think", "model", "dtype")) if continued else {})
    with Narrator(store, as_json) as narrator:
        whole = request.after(parent)
        document = answer(whole, store, resume=resume, again=again, narrator=narrator)
    show(document, as_json)
    return EXIT[document["verdict"]]


def typed(names: Iterable[str]) -> dict[str, Any]:
    """Those of these options that stand on the command line, with their values."""
    context = click.get_current_context()
    return {n: context.params[n] for n in names if context.get_parameter_source(n) is ParameterSource.COMMANDLINE}


def gate1_request(asked: dict[str, Any], method: str, trait: str) -> Any:
    """Gate 1's question with its defaults; what gate 2 sets does not concern it."""
    from steerkit.request import Gate1Request

    shared = ("personas", "dilemmas", "quick", "model", "dtype", "device", "seed", "trust_remote_code")
    given = {name: asked[name] for name in shared}
    files = dict.fromkeys(("vignettes", "contexts"))
    settings = with_think((), asked["think"])
    fixed = {"instrument": asked["instrument"], "person": "third", "thorough": False, "settings": settings}
    return Gate1Request.checked({**given, **files, **fixed, "method": method, "trait": trait})
