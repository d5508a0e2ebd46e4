"""List the checks of gate 2's texts: which side of which threshold each one keeps, and what it measures."""

import click

from steerkit.commands._listing import about
from steerkit.commands._output import echo_json, echo_table
from steerkit.options import json_option


@click.command("filters", help=__doc__)
@json_option
def command(as_json: bool) -> None:
    """Print the checks."""
    from steerkit.plugins import load_filters, sources

    modules = sources("filters")
    rows = [
        {
            "name": name,
            "keeps": f"{check.KEEP} {check.THRESHOLD:g}",
            "unit": check.UNIT,
            "module": modules[name],
            "about": about(modules[name]),
        }
        for name, check in load_filters().items()
    ]
    if as_json:
        echo_json({"filters": rows})
    else:
        echo_table(rows, ("name", "keeps", "unit", "about"))
