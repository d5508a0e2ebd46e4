"""List the steering methods: where they act, whether weights can hold them (else why not), and their source."""

import click

from steerkit.commands._output import echo_json, echo_table
from steerkit.options import json_option


@click.command(help=__doc__)
@json_option
def command(as_json: bool) -> None:
    """Print one row per method, built in or installed."""
    from steerkit.catalogue import methods_table

    rows = methods_table()
    if as_json:
        return echo_json({"methods": rows})
    shown = [{**row, "bakeable": "yes" if row["bakeable"] else f"no: {row['not_bakeable']}"} for row in rows]
    return echo_table(shown, ("name", "site", "bakeable", "source"))
