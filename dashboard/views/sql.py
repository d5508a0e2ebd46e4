"""A read-only editor: the named queries, the schema with its units, an answer as table, chart and file."""

import io
import re
import time

import polars
import streamlit as st

from dashboard import box, figure, link
from dashboard.charts.quick import KINDS, quick
from dashboard.look import plain
from dashboard.reading import Reader
from steerkit import resources
from steerkit.errors import UsageError
from steerkit.visible import visible

TITLE = "SQL"
ICON = ":material/database_search:"
ORDER = 70
SENTENCE = (
    "Ask the store anything: a query reads the store and nothing else, writes nothing, and is stopped when it takes "
    "too long. Good questions start from a view, which is computed from raw answers; columns say their units."
)
OWN = "your own"
FIRST = "SELECT method, dose, d_target, coherence, band\nFROM pareto\nWHERE kind = 'steered'\nORDER BY method, dose"
LAST = "_sql_answer"
LONGEST = 6000
"""Letters of a query that still fit into an address."""


def show(reader: Reader) -> None:
    """The editor beside the schema, and below them the newest answer."""
    left, right = st.columns([3, 2], gap="large")
    with left:
        sql = editor()
    with right:
        schema(reader)
    if sql is not None:
        st.session_state[LAST] = asked(reader, sql)
    if LAST in st.session_state:
        answer(*st.session_state[LAST])


def editor() -> str | None:
    """The query, if it is to be asked now. A link fills the editor; only a person asks."""
    named = resources.questions()
    question = link.pick("Named query", "question", [OWN, *named], help="Named queries are those of `steerkit show`.")
    text = given(question)
    if question in named:
        st.caption(plain(named[str(question)]))
    with st.form("ask", border=False):
        sql = st.text_area("Query", text, height=230, key=f"sql_{question}_{hash(text)}", max_chars=50_000)
        asked_now = st.form_submit_button("Run", type="primary", icon=":material/play_arrow:", shortcut="Mod+Enter")
    if asked_now:
        link.remember("q", sql if sql != text_of(question) and len(sql) <= LONGEST else None)
    return sql if asked_now and sql.strip() else None


def given(question: str | None) -> str:
    """What the editor starts with: the address's query, or the named one with its parameters left out."""
    held = link.recall("q")
    return held[:50_000] if held else text_of(question)


def text_of(question: str | None) -> str:
    """A named query with NULL for each parameter, which asks about everything."""
    if question in (None, OWN):
        return FIRST
    return re.sub(r"\$[a-z_]+", "NULL", _without_comments(resources.question(str(question))))


def asked(reader: Reader, sql: str) -> tuple[str, polars.DataFrame | None, str]:
    """The query, its answer or None, and what is to be said of it."""
    began = time.monotonic()
    try:
        with st.spinner("Asking…"):
            frame, more = box.ask(reader.store.path, sql)
    except UsageError as refused:
        return sql, None, str(refused)
    cut = f"; these are the first {box.ROWS:,}" if more else ""
    return sql, frame, f"{frame.height:,} rows in {time.monotonic() - began:.1f} s{cut}"


def answer(sql: str, frame: polars.DataFrame | None, said: str) -> None:
    """The answer as a table, a chart and files."""
    st.divider()
    if frame is None:
        st.warning("The query has no answer:", icon=":material/block:")
        st.code(visible(said), language=None, wrap_lines=True)
        return
    st.caption(plain(said))
    flat = frame.with_columns(polars.selectors.binary().map_elements(repr, return_dtype=polars.String))
    figure.table(flat, "answer", height=360)
    parquet = io.BytesIO()
    frame.write_parquet(parquet)
    with st.container(horizontal=True):
        st.download_button(
            "Parquet", parquet.getvalue(), "steerkit-answer.parquet", key="parquet", on_click="ignore", type="tertiary"
        )
    if link.switch("Chart", "chart"):
        charted(frame)
    with st.expander("Copy the query, or the same as a command"):
        st.code(sql, language="sql", wrap_lines=True)
        quoted = sql.replace("'", "'\"'\"'")
        st.code(f"steerkit sql '{quoted}'", language="bash", wrap_lines=True)


def charted(frame: polars.DataFrame) -> None:
    """A quick chart of two columns, coloured by a third."""
    numbers = [name for name, kind in frame.schema.items() if kind.is_numeric()]
    if not numbers:
        st.info("A chart needs a column of numbers.")
        return
    names = [name for name, kind in frame.schema.items() if not kind.is_nested()]
    first, second, third, fourth = st.columns(4)
    with first:
        kind = link.pick("Kind", "kind", [*KINDS]) or "points"
    with second:
        x = link.pick("Across", "x", names) or names[0]
    with third:
        y = link.pick("Upright", "y", numbers, numbers[min(1, len(numbers) - 1)]) or numbers[0]
    with fourth:
        colour = link.pick("Colour", "colour", ["", *names]) or ""
    figure.show(quick(frame, kind, x, y, colour or None), frame, "answer_chart")


def schema(reader: Reader) -> None:
    """Every table and view with what it holds, and the columns of one with their units."""
    tables = reader.ask("relations")
    names = tables["name"].to_list()
    chosen = link.pick("Tables and views", "table", names, "pareto")
    about = tables.filter(tables["name"] == chosen)
    if chosen is None or about.is_empty():
        return
    row = about.row(0, named=True)
    st.caption(f"{plain(row['kind'])}: {plain(row['comment'] or '')}")
    columns = reader.ask("columns", table=chosen)
    wide = st.column_config.TextColumn("meaning", width="large")
    figure.table(columns, "columns", column_config={"meaning": wide}, height=300)


def _without_comments(sql: str) -> str:
    return "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--")).strip()
