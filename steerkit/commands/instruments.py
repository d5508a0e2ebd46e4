"""List the instruments: the ways in which trait and coherence are read."""

import click

from steerkit.commands._listing import echo_plugins
from steerkit.options import json_option


@click.command(help=__doc__)
@json_option
def command(as_json: bool) -> None:
    """Print one row per instrument, built in or installed."""
    echo_plugins("instruments", as_json)
