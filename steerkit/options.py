"""The options that commands share, so that each has one name, one default and one meaning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorated = Callable[..., Any]
Decorator = Callable[[Decorated], Decorated]

STORE = "steerkit.duckdb"
MODEL = "smollm2-135m"
DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICES = ("auto", "cpu", "cuda")
VIGNETTES = "Your own vignettes (JSONL), or classic, scifi or ai-actor where their package is installed."

COMMON: dict[str, dict[str, Any]] = {
    "store": {
        "type": click.Path(path_type=Path, dir_okay=False),
        "default": STORE,
        "show_default": True,
        "envvar": "STEERKIT_STORE",
        "show_envvar": True,
        "help": "The DuckDB file that holds every record.",
    },
    "model": {
        "default": MODEL,
        "show_default": True,
        "envvar": "STEERKIT_MODEL",
        "show_envvar": True,
        "help": "The embedded model, a Hugging Face id, or a folder.",
    },
    "dtype": {
        "type": click.Choice(DTYPES),
        "default": "auto",
        "show_default": True,
        "help": "Weights' type; 'auto' measures which is fast here.",
    },
    "device": {
        "type": click.Choice(DEVICES),
        "default": "auto",
        "show_default": True,
        "help": "Where the model runs; 'auto' takes a GPU if there is one.",
    },
    "seed": {
        "type": click.IntRange(min=0),
        "default": 0,
        "show_default": True,
        "help": "Decides every random choice of the run.",
    },
}


def common(*names: str) -> Decorator:
    """Give a command these of the common options, in this order: store, model, dtype, device, seed."""

    def decorate(function: Decorated) -> Decorated:
        for name in reversed(names):
            function = click.option(f"--{name}", **COMMON[name])(function)
        return function

    return decorate


def accept_common(command: click.Command) -> None:
    """Let a command (and its subcommands) accept, hidden and unused, the common options it does not declare.

    A script can then pass one set of options to every command.
    """
    if isinstance(command, click.Group):
        for child in command.commands.values():
            accept_common(child)
        return
    declared = {parameter.name for parameter in command.params}
    for name in COMMON.keys() - declared:
        command.params.append(click.Option([f"--{name}"], **COMMON[name] | {"hidden": True, "expose_value": False}))


def instrument_options(function: Decorated) -> Decorated:
    """--instrument, and --think for instruments that let the model think."""
    thinks = "Tokens the model thinks before it answers, where the instrument lets it."
    function = click.option("--think", type=click.IntRange(min=0), help=thinks)(function)
    reads = "How the trait is read (steerkit instruments)."
    return click.option("--instrument", default="fewshot", show_default=True, help=reads)(function)


def with_think(settings: tuple[str, ...], think: int | None, section: str = "instrument.") -> tuple[str, ...]:
    """The settings, `--think` among them where it was given."""
    return settings if think is None else (*settings, f"{section}think={think}")


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


def form_options(function: Decorated) -> Decorated:
    """--csv and --json as one value, `form`; the last one given counts, and without either it is None: a table."""
    function = click.option("--json", "form", flag_value="json", help="A JSON list of one object per row.")(function)
    return click.option("--csv", "form", flag_value="csv", help="Comma-separated values with a header.")(function)


CONTEST: tuple[Decorator, ...] = (
    click.option("--trait", default="authority", show_default=True, help="Persona pair (steerkit personas)."),
    click.option(
        "--dose-scale",
        default="p95-kl",
        show_default=True,
        metavar="p95-kl|rmse-kl|answer-mass",
        help="What doses are amounts of: KL per token (nats), or the fraction of answer mass lost.",
    ),
    click.option(
        "--instrument", default="fewshot", show_default=True, help="How the trait is read (steerkit instruments)."
    ),
    click.option("--personas", type=click.Path(path_type=Path), help="Your own persona pairs (TOML)."),
    click.option("--vignettes", type=click.Path(path_type=Path), help="Your own vignettes (JSONL)."),
    click.option("--contexts", type=click.Path(path_type=Path), help="Your own extraction contexts (JSONL)."),
    click.option(
        "--person", type=click.Choice(["third", "first"]), default="third", show_default=True, help="Who acts."
    ),
    click.option("--quick", is_flag=True, help="A stratified 70 vignettes and shorter measurements of doses."),
    click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="A setting."),
)


def contest_options(function: Decorated) -> Decorated:
    """The options that a comparison of methods and a scan of layers share."""
    for decorate in reversed(CONTEST):
        function = decorate(function)
    return function
