"""Fill a store to look around in: small and real in a few minutes, or large and synthetic."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from steerkit.commands._output import echo_json
from steerkit.options import common, json_option

if TYPE_CHECKING:
    from steerkit.demo.notebook import Notebook


@click.command("demo")
@click.option(
    "--size",
    type=click.Choice(["small", "large"]),
    default="small",
    show_default=True,
    help="small: real runs of the model, quick ones; large: 1,000 arms and 200,000 texts that are made up.",
)
@json_option
@common("store", "model", "dtype", "device", "seed")
def command(size: str, as_json: bool, store: Path, model: str, dtype: str, device: str, seed: int) -> None:
    """Write runs that fill every page of the dashboard, and print the command that opens it.

    small runs gate 1 with two methods, gate 2 and gate 3, all quick; interrupted, it goes on where it was. large needs
    no model: its numbers follow a planted truth, its texts are put together from sentences, and its runs say
    'synthetic' wherever they show. Real and synthetic runs never share a store.
    """
    runs = _small(store, model, dtype, device, seed, as_json) if size == "small" else _large(store, seed)
    if as_json:
        echo_json({"store": str(store), "size": size, "runs": runs})
    else:
        click.echo(f"{store}: {len(runs)} runs; look at them with: steerkit dashboard --store {store}")


def _small(store: Path, model: str, dtype: str, device: str, seed: int, as_json: bool) -> list[str]:
    """Quick runs of every gate on a real model."""
    from steerkit.commands._demo_runs import quick_runs
    from steerkit.demo.marks import refuse_synthetic
    from steerkit.session import opened

    refuse_synthetic(opened(store))
    return quick_runs(store, {"model": model, "dtype": dtype, "device": device, "seed": seed}, as_json)


def _large(store: Path, seed: int) -> list[str]:
    """A made-up store."""
    from steerkit.demo.synthetic import LARGE, synthetic
    from steerkit.session import opened

    start = time.monotonic()

    def said(book: "Notebook", place: int, total: int, fresh: int) -> None:
        left = (time.monotonic() - start) / fresh * (total - place) if fresh else 0.0
        about = f", about {left:.0f} s left" if place < total else ""
        spec = book.spec
        click.echo(f"[{place}/{total}] {book.run} {spec.gate} {spec.method} {spec.trait}{about}", err=True)

    return synthetic(opened(store), LARGE, seed, said)
