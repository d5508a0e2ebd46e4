"""Ask the store a question in SQL; the query can read the store and nothing else, and can write nothing.

`steerkit sql "FROM pareto WHERE method = 'svd' ORDER BY coh_cost"`, `steerkit sql "SHOW TABLES"`. Questions that are
asked often have names: see `steerkit show`.
"""

from pathlib import Path

import click

from steerkit.commands._output import echo_frame, stoppable
from steerkit.options import common, form_options


@click.command(help=__doc__)
@click.argument("query")
@form_options
@common("store")
def command(query: str, form: str | None, store: Path) -> None:
    """Print the query's answer."""
    from steerkit.store import Store

    with stoppable():
        answer = Store(store).query(query)
    echo_frame(answer, form)
