"""A chart or a table on a page, with its files: PNG, SVG and CSV, made when somebody asks for them."""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any, Literal

import polars
import streamlit as st
import vl_convert

from dashboard import charts, look

DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell begins with that a spreadsheet would take for a formula."""


def show(
    chart: Any,
    frame: polars.DataFrame,
    name: str,
    *,
    select: str | Sequence[str] | None = None,
    width: Literal["stretch", "content"] = "stretch",
) -> Any:
    """Show a chart of `charts`, and offer it as files with the rows behind it; `name` is unique on its page.

    `select` names the chart's selections that the page wants to know of; what is selected is returned.
    """
    how: dict[str, Any] = {} if select is None else {"on_select": "rerun", "selection_mode": select}
    spec = charts.dressed(chart, dark=look.dark())
    found: Any = st.vega_lite_chart(spec=spec, width=width, theme=None, key=f"chart_{name}", **how)
    _files(
        name,
        {
            "PNG": ("image/png", lambda: png(charts.printed(chart))),
            "SVG": ("image/svg+xml", lambda: svg(charts.printed(chart))),
            "CSV": ("text/csv", lambda: as_csv(frame)),
        },
    )
    return found


def table(frame: polars.DataFrame, name: str, **how: Any) -> Any:
    """Show a table, and offer its rows as CSV; `how` goes to `st.dataframe`."""
    found = st.dataframe(frame, hide_index=True, key=f"table_{name}", **how)
    files(name, frame)
    return found


def files(name: str, frame: polars.DataFrame) -> None:
    """Offer rows as CSV that the page shows in another way."""
    _files(name, {"CSV": ("text/csv", lambda: as_csv(frame))})


def png(spec: dict[str, Any]) -> bytes:
    """A specification as a picture, twice as fine as on the screen."""
    return bytes(vl_convert.vegalite_to_png(spec, scale=2))


def svg(spec: dict[str, Any]) -> str:
    """A specification as lines."""
    return str(vl_convert.vegalite_to_svg(spec))


def as_csv(frame: polars.DataFrame) -> str:
    """Rows with a header; text that a spreadsheet would run as a formula is quoted with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([tame(name) for name in frame.columns])
    writer.writerows([[tame(cell) for cell in row] for row in frame.iter_rows()])
    return text.getvalue()


def tame(cell: Any) -> Any:
    """A cell as it may stand in a CSV file: numbers as they are, lists and texts made harmless."""
    if cell is None or isinstance(cell, (bool, int, float)):
        return cell
    text = str(cell)
    return f"'{text}" if text.startswith(DANGEROUS) else text


def _files(name: str, files: dict[str, tuple[str, Callable[[], str | bytes]]]) -> None:
    with st.container(horizontal=True, gap="small", horizontal_alignment="right"):
        for form, (mime, made) in files.items():
            st.download_button(
                form,
                made,
                f"steerkit-{name}.{form.lower()}",
                mime,
                key=f"{form}_{name}",
                on_click="ignore",
                type="tertiary",
                icon=":material/download:",
            )
