"""List the gates and the question that each one answers."""

import click

from steerkit.commands._listing import echo_plugins
from steerkit.options import json_option


@click.command(help=__doc__)
@json_option
def command(as_json: bool) -> None:
    """Print one row per gate, built in or installed."""
    echo_plugins("gates", as_json)
