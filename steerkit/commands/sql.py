"""Ask the store a question in SQL; the query can read the store and nothing else, and can write nothing.

`steerkit sql "FROM pareto WHERE method = 'svd' ORDER BY coh_cost"`, `steerkit sql "SHOW TABLES"`. Questions that are
asked often have names: see `steerkit show`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from steerkit.commands._output import as_csv, echo_frame, stoppable
from steerkit.errors import RunError, UsageError
from steerkit.options import common, form_options

if TYPE_CHECKING:
    import polars

FORMS = (".csv", ".parquet")


@click.command(help=__doc__)
@click.argument("query")
@click.option("--rows", type=click.IntRange(min=1), help="Stop after this many rows.")
@click.option("--memory", type=click.IntRange(min=16), help="Most memory that the query may take (MiB).")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A .csv or .parquet file for the answer."
)
@form_options
@common("store")
def command(
    query: str, rows: int | None, memory: int | None, output: Path | None, form: str | None, store: Path
) -> None:
    """Print the query's answer, or write it to a file."""
    from steerkit.store import Store

    if output is not None and output.suffix not in FORMS:
        raise UsageError(f"the file must end in .csv or .parquet, but got {output}")
    with stoppable():
        answer = Store(store, memory=memory).query(query, rows=rows)
    if output is None:
        echo_frame(answer, form)
    else:
        write(answer, output)


def write(answer: "polars.DataFrame", output: Path) -> None:
    """The answer as a file; a list becomes text in CSV, which has none.

    Raises RunError when the disk is full or refuses.
    """
    try:
        if output.suffix == ".parquet":
            answer.write_parquet(output)
        else:
            output.write_text(as_csv(answer.columns, answer.rows()), encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write to {output}: {error.strerror or error}; name another file with -o") from error
