"""Results on stdout: a table for a person, JSON or CSV for a program."""

import csv
import io
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    import polars

NARROWEST = 11
"""Terminal columns that a table needs per column to be readable; with less, each row becomes a block of lines."""
UNLIMITED = 100_000


@contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C end the process at once: DuckDB, deep in a query, seldom looks, and a reader leaves nothing behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def echo_frame(frame: "polars.DataFrame", form: str | None) -> None:
    """A query's answer as 'csv', as 'json' (a list of one object per row), or as a table."""
    if form == "csv":
        echo_csv(frame.columns, frame.rows())
    elif form == "json":
        echo_json(frame.to_dicts())
    else:
        echo_table(frame.to_dicts(), frame.columns)


def echo_json(value: Any) -> None:
    """One JSON document; a NaN or infinity, which JSON lacks, becomes null."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def echo_document(
    document: Mapping[str, Any], lines: Callable[[Mapping[str, Any]], Iterable[str]], as_json: bool
) -> None:
    """A finished run's document as JSON, or as the lines a person reads."""
    if as_json:
        echo_json(document)
        return
    for line in lines(document):
        click.echo(line)


def echo_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Comma-separated values with a header; an empty cell is NULL."""
    click.echo(as_csv(columns, rows), nl=False)


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Comma-separated values with a header; an empty cell is NULL."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def echo_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """These columns of the rows: wrapped to fit a terminal, one line per row for a program."""
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED
    click.echo(_blocks(columns, cells) if NARROWEST * len(columns) > width else table(columns, cells, width))


def table(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int = 100) -> str:
    """Aligned columns, wrapped to a width."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for line in cells:
        grid.add_row(*line)
    text = io.StringIO()
    Console(file=text, width=width, markup=False, highlight=False, emoji=False).print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())


def _blocks(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    margin = max(map(len, columns))
    blocks = ("\n".join(f"{c:<{margin}}  {cell}" for c, cell in zip(columns, line, strict=True)) for line in cells)
    return "\n\n".join(blocks)
