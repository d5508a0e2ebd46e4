"""Does this steering vector move the trait while the model stays coherent?"""

from pathlib import Path
from typing import Any

import click

from steerkit.errors import UsageError
from steerkit.options import VIGNETTES, common, instrument_options, json_option, with_think

EXIT = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}


@click.command("gate1")
@click.option("--method", default="svd", show_default=True, help="Steering method (steerkit methods).")
@click.option("--vector", metavar="FILE|RUN", help="Steer along a direction from a file or another run instead.")
@click.option("--trait", default="authority", show_default=True, help="Persona pair (steerkit personas).")
@instrument_options
@click.option("--personas", type=click.Path(path_type=Path), help="Your own persona pairs (TOML).")
@click.option("--vignettes", type=click.Path(path_type=Path), help=VIGNETTES)
@click.option("--contexts", type=click.Path(path_type=Path), help="Your own extraction contexts (JSONL).")
@click.option("--dilemmas", type=click.Path(path_type=Path), help="Your own dilemmas for the texts (JSONL).")
@click.option("--person", type=click.Choice(["third", "first"]), default="third", show_default=True, help="Who acts.")
@click.option("--blocks", metavar="FIRST-LAST|stored", help="Steered blocks; stored: those that `layers` chose.")
@click.option(
    "--quick", is_flag=True, help="A stratified 70 vignettes and fewer arms: a first look in a minute or two."
)
@click.option("--thorough", is_flag=True, help="Null directions at every dose, and 20 of them.")
@click.option(
    "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="A setting, such as dose.target=0.5."
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run (also the default when one is found).")
@click.option("--again", is_flag=True, help="Run once more although the store has the answer.")
@json_option
@common("store", "model", "dtype", "device", "seed")
@click.option("--trust-remote-code", is_flag=True, help="Let a model folder run its own Python code.")
@click.pass_context
def command(
    context: click.Context,
    /,
    as_json: bool,
    store: Path,
    resume: bool,
    again: bool,
    vector: str | None,
    blocks: str | None,
    think: int | None,
    **asked: Any,
) -> int:
    """Steer along a persona contrast, at doses of equal cost, against null directions and the persona as a prompt.

    Prints a verdict with its criteria, every known way to fail as observed or not, and the path of a picture.
    """
    from steerkit.commands._gate1_output import show
    from steerkit.commands._narrator import Narrator
    from steerkit.request import Gate1Request

    asked["settings"] = with_think(asked["settings"], think)
    if blocks is not None:
        from steerkit.session import steered_blocks

        setting, where = steered_blocks(store, blocks, asked)
        asked["settings"] = (*asked["settings"], setting)
        click.echo(where, err=True)
    if vector is None:
        request = Gate1Request.checked(asked)
    else:
        from steerkit.imports import brought
        from steerkit.session import opened

        _need_no_method(context)
        request = Gate1Request.checked(asked, *brought(opened(store), vector))

    from steerkit.session import answer

    with Narrator(store, as_json) as narrator:
        document = answer(request, store, resume=resume, again=again, narrator=narrator)
    show(document, as_json)
    return EXIT[document["verdict"]]


def _need_no_method(context: click.Context) -> None:
    if context.get_parameter_source("method") is not click.core.ParameterSource.DEFAULT:
        raise UsageError("a vector brings its method with it, but got --method too; leave one of them out")
