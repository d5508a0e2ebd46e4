# ruff: noqa: N999
"""Take a steering vector from a file into the store, where gate 1 can run it.

`steerkit import FILE` reads vectors of steerkit, steering-lite, llama.cpp and repeng (gguf), and arvkevi's probes.
"""

from pathlib import Path

import click

from steerkit.commands._output import echo_json
from steerkit.options import common, json_option


@click.command("import", help=__doc__)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--direction", help="Which direction of a probe; else the one it steers with.")
@click.option("--any-model", is_flag=True, help="Forget what model the file names; only dimensions are checked then.")
@json_option
@common("store")
def command(file: Path, direction: str | None, any_model: bool, as_json: bool, store: Path) -> None:
    """Print the run that holds it."""
    from steerkit.imports import take_in
    from steerkit.session import opened
    from steerkit.vectors import read
    from steerkit.visible import visible

    vector = read(file, direction)
    vector = vector.anonymous() if any_model else vector
    run = take_in(opened(store), vector, file)
    blocks = sorted(vector.states)
    taken = {
        "run_id": run,
        "form": vector.form,
        "method": vector.method,
        "blocks": blocks,
        "dimension": vector.width(),
        "model": vector.model or vector.model_type,
        "origin": vector.origin,
    }
    if as_json:
        return echo_json(taken)
    of = f", made on {taken['model']}" if taken["model"] else ""
    line = f"{vector.form} vector ({vector.method}), blocks {blocks[0]} to {blocks[-1]}, dimension {vector.width()}{of}"
    return click.echo(f"{visible(line)}: run {run}\nsteerkit gate1 --vector {run}")
