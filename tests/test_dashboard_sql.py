"""The SQL page: answers, the schema with units, and a box that no query gets out of."""

import os
import re
from pathlib import Path

import pytest
import stored_plane
from dashboard_page import page, said, trouble

from dashboard import box, figure
from dashboard.charts import dressed
from dashboard.charts.quick import KINDS, quick
from dashboard.views import sql
from steerkit import resources
from steerkit.errors import UsageError
from steerkit.store import Store

FORBIDDEN = (
    "COPY run TO '{here}/out.csv'",
    "COPY (SELECT 1) TO '{here}/out.parquet' (FORMAT parquet)",
    "EXPORT DATABASE '{here}/out'",
    "ATTACH '{here}/other.duckdb'",
    "ATTACH '{here}/other.duckdb' AS o (READ_ONLY)",
    "SELECT * FROM read_csv('{here}/secret.csv')",
    "FROM '{here}/secret.csv'",
    "SELECT * FROM read_text('{here}/secret.csv')",
    "SELECT * FROM read_blob('{here}/*')",
    "SELECT * FROM glob('{here}/*')",
    "SELECT * FROM read_parquet('http://127.0.0.1:9/x.parquet')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET memory_limit = '100GB'",
    "RESET memory_limit",
    "SET profiling_output = '{here}/out.json'",
    "PRAGMA profiling_output = '{here}/out.json'",
    "PRAGMA enable_profiling; PRAGMA profile_output = '{here}/out.json'; SELECT 1",
    "SET log_query_path = '{here}/out.log'",
    "SET temp_directory = '{here}'",
    "INSERT INTO run SELECT * FROM run",
    "DELETE FROM run",
    "UPDATE run SET method = 'x'",
    "DROP TABLE run",
    "CREATE TABLE mine (a INTEGER)",
    "CREATE OR REPLACE VIEW pareto AS SELECT 1",
    "ALTER TABLE run ADD COLUMN x INTEGER",
    "COMMENT ON TABLE run IS 'x'",
    "IMPORT DATABASE '{here}'",
    "SELECT getenv('STEERKIT_SECRET')",
    "SELECT 1; DROP TABLE run",
    "SELECT 1; COPY run TO '{here}/out.csv'",
    "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "CALL pragma_platform(); DELETE FROM run",
    "SELECT * FROM missing",
    "SELECT",
    "",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_plane.make(tmp_path_factory.mktemp("sql") / "steerkit.duckdb")


def test_no_query_writes_or_reaches_anything_but_the_store(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEERKIT_SECRET", "the secret")
    (tmp_path / "secret.csv").write_text("word\nthe secret\n")
    before = Store(store).query("FROM run").rows()
    # As the box's process does it, but in this one: thirty processes would take a minute.
    inside = Store(store, memory=box.MEMORY)
    for text in FORBIDDEN:
        with pytest.raises(UsageError) as refused:
            inside.query(text.format(here=tmp_path), rows=10)
        assert "the secret" not in str(refused.value), text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.csv"]
    assert Store(store).query("FROM run").rows() == before


def test_the_box_answers_refuses_and_shows_no_path(store: Path) -> None:
    answer, more = box.ask(store, "SELECT method FROM run ORDER BY run_id", box.Limits(rows=2))
    assert answer.height == 2 and more
    with pytest.raises(UsageError) as refused:
        box.ask(store, f"COPY run TO '{store.parent}/x.csv'")
    assert "disabled" in str(refused.value) and str(store.parent) not in str(refused.value)
    assert not (store.parent / "x.csv").exists()


def test_a_query_that_breaks_duckdb_ends_only_its_own_process(store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        box.ask(store, f"CALL enable_logging(storage = 'file', storage_path = '{tmp_path}')")
    assert not [*tmp_path.iterdir()]
    assert Store(store).query("SELECT count(*) FROM run").item() == 3


def test_a_query_that_takes_too_long_is_stopped(store: Path) -> None:
    endless = "SELECT count(*) FROM range(1000000000) a, range(1000000) b WHERE hash(a.range + b.range) % 7 = 8"
    with pytest.raises(UsageError, match="must end within 4 s"):
        box.ask(store, endless, box.Limits(seconds=4))
    # Nobody holds the store afterwards.
    Store(store, deadline=0.5).ingest()


def test_a_query_that_takes_too_much_memory_is_stopped(store: Path) -> None:
    greedy = "SELECT list(range) AS l FROM range(300000000)"
    with pytest.raises(UsageError, match=r"memory|MiB|must end within"):
        box.ask(store, greedy, box.Limits(seconds=30, memory=64))
    assert not list((store.parent / f"{store.name}.d").glob("tmp/*")), "nothing is put aside on the disk"


def test_the_page_asks_only_when_it_is_told_to(store: Path) -> None:
    app = page(store, "sql", q="SELECT 41 + 1 AS answer, '<b>x</b>' AS text")
    assert trouble(app) == []
    assert "SELECT 41 + 1" in app.text_area[0].value and len(app.dataframe) == 1, "only the schema is shown"
    app.button[0].click().run()
    assert trouble(app) == []
    assert app.dataframe[1].value["answer"].tolist() == [42]
    assert "steerkit sql" in said(app)


def test_a_refused_query_is_explained(store: Path) -> None:
    app = page(store, "sql", q="SELECT wrong FROM run")
    app.button[0].click().run()
    assert "wrong" in said(app) and "has no answer" in said(app)
    assert not app.exception


def test_the_schema_says_what_columns_mean(store: Path) -> None:
    app = page(store, "sql", table="effect")
    columns = app.dataframe[0].value
    assert "nats" in columns.set_index("column")["meaning"]["value"]


@pytest.mark.parametrize("question", sorted(resources.questions()))
def test_every_named_query_fills_the_editor_with_one_that_runs(store: Path, question: str) -> None:
    text = sql.text_of(question)
    assert not re.search(r"\$[a-z]", text)
    Store(store, memory=box.MEMORY).query(text, rows=10)


def test_quick_charts_draw_strange_names_and_values() -> None:
    import polars

    frame = polars.DataFrame(
        {"a.b[0]'": [1.0, float("nan"), float("inf")], "n": [1, 2, 3], "t": ["<b>", "\x1b[31m", None]}
    )
    for kind in KINDS:
        drawn = quick(frame, kind, "t", "a.b[0]'", "t")
        assert figure.svg({**dressed(drawn, dark=False), "width": 300}).startswith("<svg")


def test_the_box_leaves_no_process_behind(store: Path) -> None:
    with pytest.raises(UsageError):
        box.ask(store, "SELECT count(*) FROM range(100000000000)", box.Limits(seconds=0.2))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
