"""Write a run's direction as a file that other programs steer with.

`--to gguf` is the control-vector format of llama.cpp and repeng, `--to steering-lite` that package's; both hold one
vector per block. `--to safetensors` holds any method to the bit, and `steerkit import` reads it back.
"""

from pathlib import Path
from typing import Any

import click

from steerkit.commands._output import echo_json
from steerkit.options import common, json_option

FORMS = ("safetensors", "steering-lite", "gguf")


@click.command("export", help=__doc__)
@click.argument("run")
@click.option("--to", "form", type=click.Choice(FORMS), required=True, help="The file's format.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="A file that is not there yet.")
@click.option(
    "--dose", type=float, help="Scale it to this dose of the run; else strength 1, the method's natural step."
)
@json_option
@common("store")
def command(run: str, form: str, output: Path, dose: float | None, as_json: bool, store: Path) -> None:
    """Print what was written."""
    from steerkit.imports import given_out
    from steerkit.session import opened
    from steerkit.vectors import write

    vector = given_out(opened(store), run, form, dose)
    write(vector, form, output)
    written: dict[str, Any] = {
        "file": str(output),
        "form": form,
        "method": vector.method,
        "blocks": sorted(vector.states),
        "dimension": vector.width(),
        "model": vector.model,
        "dose": dose,
        "origin": vector.origin,
    }
    blocks = written["blocks"]
    if as_json:
        return echo_json(written)
    return click.echo(
        f"{form} vector of run {vector.origin['run_id']} in {output}: {vector.method}, blocks {blocks[0]} to "
        f"{blocks[-1]}, dimension {written['dimension']}, {'strength 1' if dose is None else f'dose {dose:g}'}"
    )
