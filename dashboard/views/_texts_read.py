"""Texts a page at a time, narrowed as one likes, with every check's decision; and what can be taken away as files."""

import math
from typing import Any

import polars
import streamlit as st

from dashboard import figure, link, written
from dashboard.reading import Reader
from dashboard.runs import Run

PAGE = 10
"""Texts shown at once."""
ALL = "all"
SORTS = {
    "prompt": "prompt",
    "dose": "dose",
    "perplexity": "highest perplexity",
    "kl": "highest KL",
    "gain": "highest gain",
}
Filters = dict[str, Any]


def show(reader: Reader, run: Run) -> None:
    """The one text that a link names; else filters, the texts they leave, and downloads."""
    if (text := link.recall("text")) and _one(reader, run, text):
        return
    groups = reader.ask("text_groups", run=run["run_id"])
    asked = _filters(reader, run, groups)
    # On the first run the bound widget has not spoken yet: the address has.
    at = int(st.session_state.get("page") or _number(link.recall("page")))
    found, pages = _page(reader, run, asked, at)
    if found.is_empty():
        st.info("No text of this run fits all that was chosen; choose less.", icon=":material/search_off:")
        return
    total = int(found["found"][0])
    st.caption(
        f"{total} text{'s' if total != 1 else ''}" + (f", page {min(at, pages)} of {pages}" if pages > 1 else "")
    )
    written.scale()
    for row in found.iter_rows(named=True):
        st.html(written.card(row))
    if pages > 1:
        st.pagination(pages, key="page", bind="query-params")
    _downloads(reader, run, found)


def _number(asked: str | None) -> int:
    return int(asked) if asked is not None and asked.isdecimal() else 1


def _one(reader: Reader, run: Run, text: str) -> bool:
    """Show a single text; False where the run has none of that id."""
    found = reader.ask("text_page", run=run["run_id"], completion=text, limit=1)
    if found.is_empty():
        link.wrong("the text", text)
        return False
    written.scale()
    st.html(written.card(found.row(0, named=True)))
    st.button("All texts of this run", on_click=link.remember, args=("text", None), icon=":material/arrow_back:")
    return True


def _page(reader: Reader, run: Run, asked: Filters, at: int) -> tuple[polars.DataFrame, int]:
    """The texts of a page and how many pages there are; a page beyond the last is the last."""
    found = _asked(reader, run, asked, max(1, at))
    if found.is_empty() and at > 1:
        first = _asked(reader, run, asked, 1)
        pages = _pages(first)
        return first if pages == 1 else _asked(reader, run, asked, pages), pages
    return found, _pages(found)


def _asked(reader: Reader, run: Run, asked: Filters, at: int) -> polars.DataFrame:
    return reader.ask("text_page", run=run["run_id"], limit=PAGE, skip=PAGE * (at - 1), **asked)


def _pages(found: polars.DataFrame) -> int:
    return 1 if found.is_empty() else math.ceil(int(found["found"][0]) / PAGE)


def _filters(reader: Reader, run: Run, groups: polars.DataFrame) -> Filters:
    """What was chosen, as parameters of the query."""
    named = {row["writer"]: row for row in groups.iter_rows(named=True)}
    checks = reader.ask("check_ranges", run=run["run_id"])
    dropping = {row["name"]: row["dropped"] for row in checks.iter_rows(named=True) if row["dropped"]}
    first, second, third, fourth, fifth = st.columns([3, 2, 3, 3, 2])
    with first:
        count = lambda name: f"{name} ({named[name]['texts']})" if name in named else name  # noqa: E731
        writer = link.pick("Written as", "writer", [ALL, *named], shown=count)
    with second:
        kept = link.pick("Checks", "kept", [ALL, "kept", "dropped", "undecided"])
    with third:
        drops = lambda name: f"{name} ({dropping[name]})" if name in dropping else name  # noqa: E731
        check = link.pick("Dropped by", "check", [ALL, *dropping], shown=drops)
    with fourth:
        words = st.text_input("Contains", key="words", bind="query-params", placeholder="any words")
    with fifth:
        sort = link.pick("Sorted by", "sort", [*SORTS], shown=lambda name: SORTS[name])
    chosen = {"writer": writer, "kept": kept, "check": check}
    narrowed = {name: value for name, value in chosen.items() if value != ALL}
    return narrowed | {"sort": sort} | ({"words": words} if words else {})


def _downloads(reader: Reader, run: Run, found: polars.DataFrame) -> None:
    """The page, the kept texts and the labels, made when somebody asks for them."""
    name = run["run_id"][:8]
    flat = found.drop("pieces", "token_kl", "decisions", "found", "place")
    files = {
        "This page, CSV": (lambda: figure.as_csv(flat), f"texts-{name}.csv", "text/csv"),
        "Kept texts, JSONL": (lambda: _kept(reader, run).write_ndjson(), f"kept-{name}.jsonl", "application/x-ndjson"),
        "Kept texts, CSV": (lambda: figure.as_csv(_kept(reader, run)), f"kept-{name}.csv", "text/csv"),
    }
    with st.container(horizontal=True, gap="small", horizontal_alignment="right"):
        for label, (made, file, mime) in files.items():
            icon = ":material/download:"
            st.download_button(label, made, file, mime, key=file, on_click="ignore", type="tertiary", icon=icon)


def _kept(reader: Reader, run: Run) -> polars.DataFrame:
    return reader.ask("kept_texts", run=run["run_id"])
