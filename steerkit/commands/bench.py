"""Measure speed and memory on this machine, beside the plain way of doing the same."""

from typing import Any

import click

from steerkit.commands._output import echo_json
from steerkit.options import common, json_option


@click.command("bench")
@click.option(
    "--gate1",
    "gates",
    type=click.Choice(["none", "quick", "full", "both"]),
    default="quick",
    show_default=True,
    help="Which whole gates to time.",
)
@click.option("--gate2", "texts", is_flag=True, help="Time a whole gate 2 too, to 64 kept texts.")
@click.option("--tinymfv", "thinks", is_flag=True, help="Time instrument tinymfv too, beside the installed package.")
@json_option
@common("model", "dtype", "device")
def command(gates: str, texts: bool, thinks: bool, as_json: bool, model: str, dtype: str, device: str) -> None:
    """Time scoring, generation and whole gates; quote the ratios, since absolute times drift with the load."""
    from steerkit.bench import bench, bench_gate1, bench_gate2
    from steerkit.host import load

    wanted = {"none": (), "quick": (True,), "full": (False,), "both": (True, False)}[gates]
    runs = [bench_gate1(quick) for quick in wanted]
    host = load(model, dtype, device)
    result = {**bench(host), "gate1": runs, "gate2": bench_gate2() if texts else None}
    if thinks:
        from steerkit.bench_tinymfv import bench_tinymfv

        result["tinymfv"] = bench_tinymfv(host)
    if as_json:
        echo_json(result)
        return
    for line in _lines(result):
        click.echo(line)


def _lines(result: dict[str, Any]) -> list[str]:
    scoring, generation = result["scoring"], result["generation"]
    return [
        f"{result['model']}, {result['dtype']} on {result['device']}, {result['threads']} threads, "
        f"matmul {result['matmul_gflops']:.0f} GFLOP/s",
        f"scoring     {scoring['vignettes_per_second']:.1f} vignettes/s, {scoring['ratio']:.1f} times the plain way, "
        f"{scoring['matmul_share']:.0%} of the matmul rate, off by at most {scoring['largest_difference']:.1e} nats",
        f"generation  {generation['unsteered_tokens_per_second']:.0f} tokens/s with {generation['rows']} unsteered "
        f"rows, transformers {generation['transformers_tokens_per_second']:.0f}: "
        f"overhead {generation['overhead']:+.0%}",
        f"texts       {generation['steered_tokens_per_second']:.0f} tokens/s steered, with per-token KL: "
        f"{generation['ratio']:.1f} times one at a time; all checks take {generation['filter_share']:.1%} of that time",
        f"memory      {result['peak_memory_gib']:.2f} GiB at most",
        *(
            f"gate1{' --quick' if run['quick'] else ''}  {run['seconds']:.0f} s, first number after "
            f"{run['first_number_seconds'] or 0:.0f} s, {run['peak_memory_gib']:.2f} GiB at most: {run['verdict']}"
            for run in result["gate1"]
        ),
        *([_gate2_line(result["gate2"])] if result["gate2"] else []),
        *(_tinymfv_line(run) for run in result.get("tinymfv", ())),
    ]


def _gate2_line(run: dict[str, Any]) -> str:
    return f"gate2  {run['seconds']:.0f} s, {run['kept']} of {run['made']} texts kept: {run['verdict']}"


def _tinymfv_line(run: dict[str, Any]) -> str:
    said = (
        f"tinymfv     think {run['think']}: {run['unsteered_per_second']:.2f} vignettes/s unsteered, "
        f"{run['arm_per_second']:.2f} in a steered arm"
    )
    if run["ratio"] is None:
        return f"{said}; the package is not installed"
    return (
        f"{said}: {run['ratio']:.1f} and {run['arm_ratio']:.1f} times the package, off by at most "
        f"{run['largest_difference']:.1e} nats"
    )
