"""Look after the store: take in what waits, remake the database from its segments, or look for damage.

Every stage's records are first written as segments in `<store>.d/`; the database can always be remade from them.
"""

from pathlib import Path

import click

from steerkit.commands._output import echo_json
from steerkit.options import common, json_option


@click.group(help=__doc__)
def command() -> None:
    """Group of the store's commands."""


@command.command()
@json_option
@common("store")
def ingest(as_json: bool, store: Path) -> None:
    """Move the segments that wait in the spool into the database, each exactly once."""
    from steerkit.store import Store

    opened = Store(store)
    opened.check()
    _say("ingested", opened.ingest(), as_json)


@command.command()
@json_option
@common("store")
def rebuild(as_json: bool, store: Path) -> None:
    """Remake the database from its segments, aside and then in one step."""
    from steerkit.store import Store

    _say("rebuilt", Store(store).rebuild(), as_json)


@command.command()
@json_option
@common("store")
@click.pass_context
def check(context: click.Context, as_json: bool, store: Path) -> None:
    """Look for lost segments, orphans, duplicates and damaged files; exit code 1 when there are any."""
    from steerkit.store import Store

    problems = Store(store).problems()
    if as_json:
        echo_json({"problems": problems})
    else:
        click.echo("\n".join(problems) if problems else "no problems")
    context.exit(int(bool(problems)))


def _say(done: str, segments: int, as_json: bool) -> None:
    if as_json:
        echo_json({done: segments})
    else:
        click.echo(f"{done} {segments} segment{'' if segments == 1 else 's'}")
