"""Write a run as one page that needs nothing beside it: verdicts, tables, pictures, texts, and how to make it again."""

from pathlib import Path

import click

from steerkit.commands._output import echo_json
from steerkit.options import common, json_option


@click.command("report")
@click.argument("run")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The file to write; by default, next to the pictures."
)
@json_option
@common("store")
def command(run: str, output: Path | None, as_json: bool, store: Path) -> None:
    """Write one HTML file and print its path.

    RUN is the beginning of a run's id. The page loads nothing: its pictures, tables and texts are inside, and whatever
    a model wrote is shown as text.
    """
    from steerkit.report.page import beside, free_place, page, save
    from steerkit.session import opened

    target = None if output is None else free_place(output)
    found = opened(store)
    made = page(found, run)
    target = target or beside(found, made.name)
    save(made.html, target)
    if as_json:
        echo_json({"path": str(target)})
    else:
        click.echo(str(target))
