"""Measure speed and memory on this machine, beside the plain way of doing the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from steerkit.commands._output import echo_json
from steerkit.errors import UsageError
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
@click.option("--heal", is_flag=True, help="Time one adapter's training with the constraint, beside one without.")
@click.option("--loop", "rounds", is_flag=True, help="Time a loop of two rounds.")
@click.option("--dashboard", "pages", is_flag=True, help="Time every page of the dashboard on --store, and no model.")
@click.option("--tinymfv", "thinks", is_flag=True, help="Time instrument tinymfv too, beside the installed package.")
@json_option
@common("store", "model", "dtype", "device")
def command(
    gates: str,
    texts: bool,
    heal: bool,
    rounds: bool,
    pages: bool,
    thinks: bool,
    as_json: bool,
    store: Path,
    model: str,
    dtype: str,
    device: str,
) -> None:
    """Time scoring, generation, training and whole gates; quote ratios, since absolute times drift with the load."""
    from steerkit.bench import bench, bench_dashboard, bench_gate1, bench_gate2, bench_heal, bench_loop

    if pages:
        _show(bench_dashboard(_existing(store)), as_json, _page_lines)
        return
    from steerkit.host import load

    wanted = {"none": (), "quick": (True,), "full": (False,), "both": (True, False)}[gates]
    # Whole gates come first: a child process starts with its parent's peak of memory, which a loaded model raises.
    whole = {
        "gate1": [bench_gate1(quick) for quick in wanted],
        "gate2": bench_gate2() if texts else None,
        "loop": bench_loop() if rounds else None,
    }
    host = load(model, dtype, device)
    result = {**bench(host), "heal": bench_heal(host) if heal else None, **whole}
    if thinks:
        from steerkit.bench_tinymfv import bench_tinymfv

        result["tinymfv"] = bench_tinymfv(host)
    _show(result, as_json, _lines)


def _existing(store: Path) -> Path:
    """Raises UsageError for a store that is not there."""
    if not store.exists():
        raise UsageError(
            f"pages are timed on a store, but {store} does not exist; make one with `steerkit demo --size large`, or "
            "name another with --store"
        )
    return store


def _show(result: dict[str, Any], as_json: bool, lines: Callable[[dict[str, Any]], list[str]]) -> None:
    if as_json:
        echo_json(result)
        return
    for line in lines(result):
        click.echo(line)


def _page_lines(result: dict[str, Any]) -> list[str]:
    """Seconds by the clock, and of the processor where other work delays the clock."""
    return [
        *(
            f"{row['view']:<10}  cold {row['cold']:.2f} s (processor {row['cold_cpu']:.2f}), "
            f"warm {row['warm']:.2f} s (processor {row['warm_cpu']:.2f})"
            f"{'; failed: ' + row['failures'][0] if row['failures'] else ''}"
            for row in result["views"]
        ),
        f"memory      {result['peak_memory_gib']:.2f} GiB at most",
    ]


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
        *([_heal_line(result["heal"])] if result["heal"] else []),
        f"memory      {result['peak_memory_gib']:.2f} GiB at most",
        *(
            f"gate1{' --quick' if run['quick'] else ''}  {run['seconds']:.0f} s, first number after "
            f"{run['first_number_seconds'] or 0:.0f} s, {run['peak_memory_gib']:.2f} GiB at most: {run['verdict']}"
            for run in result["gate1"]
        ),
        *([_gate2_line(result["gate2"])] if result["gate2"] else []),
        *([_loop_line(result["loop"])] if result["loop"] else []),
        *(_tinymfv_line(run) for run in result.get("tinymfv", ())),
    ]


def _gate2_line(run: dict[str, Any]) -> str:
    return f"gate2  {run['seconds']:.0f} s, {run['kept']} of {run['made']} texts kept: {run['verdict']}"


def _heal_line(run: dict[str, Any]) -> str:
    return (
        f"heal        {run['seconds']:.0f} s for {run['texts']} texts, {run['steps']} steps: {run['ratio']:.2f} times "
        f"training without the constraint; {run['peak_memory_gib']:.2f} GiB at most"
    )


def _loop_line(run: dict[str, Any]) -> str:
    rounds = ", ".join(f"{seconds:.0f} s" for seconds in run["round_seconds"])
    memory = f"{run['peak_memory_gib']:.2f} GiB at most"
    return f"loop   {run['seconds']:.0f} s, its rounds {rounds}, {memory}: {run['verdict']}"


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
