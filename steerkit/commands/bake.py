"""Write a run's student to disk, as a model folder or as an adapter; or its steered model, where weights can hold it.

`steerkit bake 3f2a -o student` writes a folder that transformers opens like any model; `--adapter` one that peft opens.
A run of gate 1 has no student: what is written is the model steered at `--dose`, if its weights can hold that exactly.
"""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import click

from steerkit.commands._bake_steered import STEERS, bake_steered, line
from steerkit.commands._output import echo_json
from steerkit.errors import UsageError
from steerkit.options import common, json_option
from steerkit.records import AdapterRole


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
    by_round = dict(map(_gate, gates))

    from steerkit.export import free_folder, save_adapter, save_model
    from steerkit.records import Run
    from steerkit.runner import find_run
    from steerkit.session import opened
    from steerkit.stages.bake import check_bake, folds, stack
    from steerkit.students import checked_texts, find_student

    folder, place = free_folder(output), opened(store)
    made = place.records(Run, find_run(place, run))[0]
    if made.gate == STEERS:
        if as_adapter or by_round or round_ is not None or adapter_id is not None:
            raise UsageError(f"run {made.run_id} ({made.gate}) steers and has no adapter; leave out what is about one")
        steered = bake_steered(place, made, 1.0 if dose is None else dose, folder, device, trust_remote_code)
        return echo_json(steered) if as_json else click.echo(line(steered))
    if dose is not None:
        raise UsageError(
            f"run {made.run_id} ({made.gate}) has adapters, no dose; to weaken one give --gate ROUND=NUMBER"
        )
    found = find_student(place, run, role, round_, adapter_id)
    chosen = found.gates(by_round)
    host = found.host(device, trust_remote_code=trust_remote_code)
    adapters, texts = stack(host, found.layers), checked_texts(place, host, found.adapter)
    # An adapter stays beside the weights: it is the hooked student, whatever rounding would do to a baked one.
    fold = (folds if as_adapter else check_bake)(host, adapters, texts, chosen)
    if as_adapter:
        save_adapter(host, adapters, folder, chosen)
    else:
        save_model(host, adapters, folder, chosen, wide=fold.dtype != host.dtype)
    written: dict[str, Any] = {
        "run_id": found.run.run_id,
        "role": found.adapter.role,
        "round": found.adapter.round,
        "adapters": [layer.adapter.adapter_id for layer in found.layers],
        "gates": chosen,
        "base": host.source,
        "dtype": host.dtype if as_adapter else fold.dtype,
        "kind": "adapter" if as_adapter else "model",
        "folder": str(folder),
        "kl_hooked_baked": fold.gap,
        "kl_hooked_rounded": fold.rounded,
    }
    return echo_json(written) if as_json else click.echo(_line(written))


def _gate(given: str) -> tuple[int, float]:
    """A round and its gate.

    Raises UsageError for a text that is not a round and a finite number.
    """
    number, _, value = given.partition("=")
    with suppress(ValueError):
        if math.isfinite(float(value)):
            return int(number), float(value)
    raise UsageError(f"--gate must be a round and a finite number, such as 0=0.5, but got {given!r}")


def _line(written: dict[str, Any]) -> str:
    gates = ", ".join(f"{gate:g}" for gate in written["gates"])
    return (
        f"{written['kind']} of run {written['run_id']}, round {written['round']}, in {written['folder']}: "
        f"{len(written['adapters'])} adapter(s), gates {gates}, on {written['base']} in {written['dtype']}\n"
        f"KL(hooked || baked) {written['kl_hooked_baked']:.2g} nats per token"
    )
