"""Show the rounds of a run's chain: runs, directions, texts kept, adapters and the arms scored with each."""

from pathlib import Path

import click

from steerkit.commands._output import echo_json
from steerkit.options import common, json_option


@click.command("lineage")
@click.argument("run")
@json_option
@common("store")
def command(run: str, as_json: bool, store: Path) -> None:
    """Show what a run came from and what came from it, round by round.

    RUN is the beginning of the id of any run of the chain; its line is starred. Below each run stand its directions,
    texts (counted), adapters, and the arms that were scored with each. `steerkit why ID` asks about any of them.
    """
    from steerkit.commands._tree import tree_lines
    from steerkit.lineage import chain
    from steerkit.store import Store

    found = chain(Store(store), run)
    if as_json:
        echo_json(found)
        return
    for part in found["rounds"]:
        click.echo(f"round {part['round']}")
        for line in tree_lines(part["runs"], 1, found["run_id"]):
            click.echo(line)
