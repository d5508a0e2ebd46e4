"""Write a run's student to disk, as a model folder or as an adapter; or its steered model, where weights can hold it.

`steerkit bake 3f2a -o student` writes a folder that transformers opens like any model; `--adapter` one that peft opens.
A run of gate 1 has no student: what is written is the model steered at `--dose`, if its weights can hold that exactly.
"""

import math
from contextlib import suppress
from pathlib import Path
from typing import cast, get_args

import click

from steerkit.commands import _bake_steered, _bake_student
from steerkit.commands._bake_steered import STEERS, bake_steered
from steerkit.commands._bake_student import Which, bake_student
from steerkit.commands._output import echo_json
from steerkit.errors import UsageError
from steerkit.options import common, json_option
from steerkit.records import AdapterRole, Run


@click.command("bake", help=__doc__)
@click.argument("run")
@click.option("--round", "round_", type=click.IntRange(min=0), help="The student of this round; else of the last.")
@click.option(
    "--role", type=click.Choice(get_args(AdapterRole)), default="healed", show_default=True, help="Which adapter."
)
@click.option("--adapter-id", metavar="ID", help="That adapter (the beginning of its id), such as a sweep's point.")
@click.option("--dose", type=click.FloatRange(-100, 100), help="Of a run of gate 1: how strongly (1).")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="A folder that is new or empty.")
@click.option("--adapter", "as_adapter", is_flag=True, help="Write one adapter beside the base instead of a model.")
@click.option("--gate", "gates", multiple=True, metavar="ROUND=NUMBER", help="Multiply a round's adapter; repeatable.")
@json_option
@common("store", "device")
@click.option("--trust-remote-code", is_flag=True, help="Let a model folder run its own Python code.")
def command(
    run: str,
    round_: int | None,
    role: str,
    adapter_id: str | None,
    dose: float | None,
    output: Path,
    as_adapter: bool,
    gates: tuple[str, ...],
    as_json: bool,
    store: Path,
    device: str,
    trust_remote_code: bool,
) -> None:
    """Put a run's adapters and those below them, or its direction, into one folder."""
    by_round, which = dict(map(_gate, gates)), Which(cast(AdapterRole, role), round_, adapter_id)

    from steerkit.export import free_folder
    from steerkit.runner import find_run
    from steerkit.session import opened

    folder, place = free_folder(output), opened(store)
    made = place.records(Run, find_run(place, run))[0]
    if made.gate == STEERS:
        if as_adapter or by_round or which.chosen:
            raise UsageError(f"run {made.run_id} ({made.gate}) steers and has no adapter; leave out what is about one")
        written = bake_steered(place, made, 1.0 if dose is None else dose, folder, device, trust_remote_code)
        return echo_json(written) if as_json else click.echo(_bake_steered.line(written))
    if dose is not None:
        raise UsageError(
            f"run {made.run_id} ({made.gate}) has adapters, no dose; to weaken one give --gate ROUND=NUMBER"
        )
    written = bake_student(
        place, run, which, by_round, folder, as_adapter=as_adapter, device=device, trust=trust_remote_code
    )
    return echo_json(written) if as_json else click.echo(_bake_student.line(written))


def _gate(given: str) -> tuple[int, float]:
    """A round and its gate.

    Raises UsageError for a text that is not a round and a finite number.
    """
    number, _, value = given.partition("=")
    with suppress(ValueError):
        if math.isfinite(float(value)):
            return int(number), float(value)
    raise UsageError(f"--gate must be a round and a finite number, such as 0=0.5, but got {given!r}")
