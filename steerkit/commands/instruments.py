"""List the instruments; with --check, say which of them is fit for a model.

`steerkit instruments --check --model M` reads every vignette three times with each: as a run would, once more in other
batches, and with the persona as a prompt. It recommends one, says why, and stores figures and raw answers.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from steerkit.commands._listing import echo_plugins
from steerkit.commands._output import echo_json, echo_table
from steerkit.options import common, json_option

if TYPE_CHECKING:
    from steerkit.records import InstrumentCheck

NONE_FIT = 1
"""Exit code where no instrument is fit."""
COLUMNS = (
    "instrument",
    "fit",
    "answer mass",
    "unscorable",
    "AUC",
    "informedness",
    "order disagrees",
    "repeat nats",
    "repeat picks",
    "s per 100",
    "headroom",
)


@click.command("instruments", help=__doc__)
@click.option("--check", "checks", is_flag=True, help="Check which is fit for the model.")
@click.option("--instrument", "chosen", multiple=True, help="Only this one; repeatable.")
@click.option("--trait", default="authority", show_default=True, help="Whose persona prompt should move its target.")
@click.option("--personas", type=click.Path(path_type=Path), help="Your own persona pairs (TOML).")
@click.option("--vignettes", type=click.Path(path_type=Path), help="Your own vignettes (JSONL).")
@click.option("--person", type=click.Choice(["third", "first"]), default="third", show_default=True, help="Who acts.")
@click.option("--count", type=click.IntRange(min=7), help="Only so many vignettes, every foundation equally often.")
@click.option("--set", "settings", multiple=True, metavar="NAME.KEY=VALUE", help="A setting, such as tinymfv.think=16.")
@json_option
@common("store", "model", "dtype", "device")
@click.option("--trust-remote-code", is_flag=True, help="Let a model folder run its own Python code.")
def command(checks: bool, as_json: bool, **asked: Any) -> int:
    """Print one row per instrument, built in or installed."""
    if not checks:
        echo_plugins("instruments", as_json)
        return 0
    rows = _checked(**asked)
    best = next((row for row in rows if row.recommended), None)
    if as_json:
        echo_json({"recommended": None if best is None else best.instrument, "instruments": rows})
    else:
        _show(rows, best)
    return NONE_FIT if best is None else 0


def _checked(
    chosen: tuple[str, ...],
    settings: tuple[str, ...],
    trait: str,
    personas: Path | None,
    vignettes: Path | None,
    person: Any,
    count: int | None,
    store: Path,
    model: str,
    dtype: str,
    device: str,
    trust_remote_code: bool,
) -> "list[InstrumentCheck]":
    """Everything is checked before the model is loaded. Raises UsageError."""
    from steerkit import inputs
    from steerkit.errors import unknown
    from steerkit.personas import load_personas
    from steerkit.plugins import sources
    from steerkit.request import plugin_config, split
    from steerkit.store import Store

    traits = load_personas(personas)
    if trait not in traits:
        raise unknown("trait", trait, traits)
    texts = inputs.stratified(inputs.vignettes(vignettes, person), count)
    inputs.need(texts, traits[trait].target)
    names = list(dict.fromkeys(chosen or sources("instruments")))
    given = split(settings, names)
    configs = {name: plugin_config("instruments", name, given[name]) for name in names}
    target = Store(store)
    target.check()

    from steerkit.fitness import check, keep
    from steerkit.host import load

    host = load(model, dtype, device, trust_remote_code=trust_remote_code)
    click.echo(f"reading {len(texts)} vignettes three times with each of: {', '.join(names)}", err=True)
    found = check(host, configs, texts, traits[trait], time.time_ns())
    keep(target, found, texts)
    return [each.row for each in found]


def _show(rows: "Sequence[InstrumentCheck]", best: "InstrumentCheck | None") -> None:
    first = rows[0]
    click.echo(f"{first.model} ({first.dtype}, {first.device}), {first.vignettes} vignettes, trait {first.trait}")
    echo_table([dict(zip(COLUMNS, _cells(row), strict=True)) for row in rows], COLUMNS)
    for row in rows:
        click.echo(f"{row.instrument}: {row.why}")
    if best is None:
        click.echo("none is fit for this model: use a larger model, or an instrument made for small ones")
    else:
        click.echo(f"recommended: --instrument {best.instrument}")


def _cells(row: "InstrumentCheck") -> tuple[Any, ...]:
    return (
        row.instrument,
        "yes" if row.fit else "no",
        row.answer_mass,
        row.frac_unscorable,
        row.auc,
        _span(row.informedness, row.informedness_low, row.informedness_high),
        row.order_disagreement,
        row.repeat_nats,
        row.repeat_picks,
        row.seconds_per_100,
        _span(row.headroom, row.headroom_low, row.headroom_high),
    )


def _span(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return ""
    return f"{value:+.2f}" if low is None or high is None else f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
