"""List the steering methods: where they act, whether weights can hold them (else why not), and their source.

With `--check`, each is folded into a model's weights and run beside the steered model: how much do logits differ?
"""

from collections.abc import Callable
from typing import Any

import click

from steerkit.commands._output import echo_json, echo_table
from steerkit.options import common, json_option
from steerkit.visible import visible


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="Prove on a model which methods its weights can hold.")
@json_option
@common("model", "device")
@click.option("--trust-remote-code", is_flag=True, help="Let a model folder run its own Python code.")
def command(check: bool, as_json: bool, model: str, device: str, trust_remote_code: bool) -> None:
    """Print one row per method, built in or installed."""
    if check:
        return _check(as_json, model, device, trust_remote_code)
    from steerkit.catalogue import methods_table, troubles

    rows, unusable = methods_table(), troubles("methods")
    if as_json:
        return echo_json({"methods": rows, "unusable": unusable})
    for trouble in unusable:
        click.echo(visible(f"not usable: {trouble.name} ({trouble.distribution}): {trouble.fault}"), err=True)
    shown = [{**row, "bakeable": "yes" if row["bakeable"] else f"no: {row['not_bakeable']}"} for row in rows]
    return echo_table(shown, ("name", "site", "bakeable", "source"))


def _check(as_json: bool, model: str, device: str, trust_remote_code: bool) -> None:
    import msgspec

    from steerkit.host import load
    from steerkit.plugins import sources
    from steerkit.stages.prove import checked_contexts, proofs, texts

    host = load(model, "float32", device, trust_remote_code=trust_remote_code)
    found = []
    for proof in proofs(host, list(sources("methods")), checked_contexts(host), texts(host)):
        click.echo(f"{proof.method}: {proof.held}", err=True)
        found.append(msgspec.to_builtins(proof))
    if as_json:
        return echo_json({"model": host.name, "architecture": type(host.model).__name__, "methods": found})
    click.echo(f"{host.name}: {type(host.model).__name__}, float32")
    return echo_table([_row(row) for row in found], ("method", "site", "weights", "logit", "kl", "folder", "why"))


def _row(proof: dict[str, Any]) -> dict[str, str]:
    number: Callable[[float | None], str] = lambda value: "" if value is None else f"{value:.1e}"  # noqa: E731
    return {
        "method": proof["method"],
        "site": proof["site"],
        "weights": proof["held"],
        "logit": number(proof["logit"]),
        "kl": number(proof["kl"]),
        "folder": "yes" if proof["folder"] else "no",
        "why": proof["why"],
    }
