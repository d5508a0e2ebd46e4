"""Ask any artefact what made it, up to the root, and what was made from it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from steerkit.commands._output import echo_json
from steerkit.options import common, json_option


@click.command("why")
@click.argument("artefact", metavar="ID")
@json_option
@common("store")
def command(artefact: str, as_json: bool, store: Path) -> None:
    """Say what an artefact is, what made it, and what was made from it.

    ID is the beginning of the id of a run, unit of work, direction, adapter, arm, completion or round of decisions, or
    of the sha256 of a file of tensors or a picture. A beginning that fits several lists them.
    """
    from steerkit.commands._tree import tree_lines
    from steerkit.provenance import why
    from steerkit.store import Store

    found = why(Store(store), artefact)
    if as_json:
        echo_json(found)
        return
    for line in _facts(found):
        click.echo(line)
    for title, part, none in (("Made from", "made_from", "nothing"), ("Made from it", "made", "nothing yet")):
        click.echo(f"\n{title}")
        for line in tree_lines(found[part], 1) if found[part] else [f"  {none}"]:
            click.echo(line)


def _facts(found: Mapping[str, Any]) -> Iterator[str]:
    from steerkit.commands._verdicts import filled
    from steerkit.visible import visible

    yield filled(visible(f"{found['kind']} {found['id']}: {found['label']}"), indent=4)
    margin = max(map(len, found["facts"]), default=0)
    for name, value in found["facts"].items():
        shown = f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
        yield filled(visible(f"{name:<{margin}}  {shown}"), first="  ", indent=margin + 4)
