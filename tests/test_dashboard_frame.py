"""What pages share: one reader that holds nothing, the last good answer, safe failures, empty and strange stores."""

import os
import socket
import time
from pathlib import Path

import duckdb
import polars
import pytest
import stored_plane
from dashboard_page import page, said, trouble
from store_child import child
from stored_plane import HOSTILE
from streamlit.testing.v1 import AppTest

from dashboard import frame, live, look, safe
from dashboard.reading import REST, Reader
from steerkit import resources
from steerkit.errors import StoreLocked
from steerkit.records import RunEvent, Unit
from steerkit.store import Store

VIEWS = [frame.name_of(view) for view in frame.found()]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_plane.make(tmp_path_factory.mktemp("frame") / "steerkit.duckdb")


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    copy = tmp_path / "steerkit.duckdb"
    copy.write_bytes(original.read_bytes())
    return copy


# The reader


def test_an_answer_is_kept_until_the_store_changes(store: Path) -> None:
    reader = Reader(Store(store))
    first = reader.ask("runs")
    assert reader.ask("runs") is first
    Store(store).append([stored_plane.run_of("more", "svd", "gate1", "2026-02-01T00:00:00+00:00")])
    Store(store).ingest()
    assert reader.ask("runs").height == first.height + 1
    assert reader.ask("verdicts", run="run-good").height < reader.ask("verdicts").height


def test_the_reader_holds_nothing_so_that_a_run_can_write(store: Path) -> None:
    reader = Reader(Store(store))
    reader.ask("pareto")
    with duckdb.connect(str(store)) as writer:
        writer.execute("SELECT 1")


def test_answers_take_no_more_room_than_they_may(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.reading.ROOM", 100_000)
    reader = Reader(Store(store))
    for number in range(20):
        reader.query("SELECT range AS a FROM range(5000 + $n)", {"n": number})
    assert sum(answer.frame.estimated_size() for answer in reader.answers.values()) <= 100_000
    assert reader.query("SELECT range AS a FROM range(5000 + $n)", {"n": 19}).height == 5019


def test_while_somebody_holds_the_store_the_last_good_answer_is_shown_with_its_age(store: Path) -> None:
    app = page(store, "gates")
    assert trouble(app) == []
    with child("hold", store, "rw") as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        os.utime(store)
        app.run()
        assert "this is how it was" in said(app) and app.dataframe[0].value["outcome"].tolist()[0] == "✓ PASS"
        with pytest.raises(StoreLocked):
            Reader(Store(store, deadline=0.2)).ask("runs")
        fresh = page(store.parent / "." / store.name, "heal")
        assert "busy" in said(fresh) and str(store.parent) not in said(fresh)
    time.sleep(REST)
    app.run()
    assert "this is how it was" not in said(app)


# Strange stores


@pytest.mark.parametrize("view", VIEWS)
def test_a_page_without_a_store_says_what_makes_one(view: str, tmp_path: Path) -> None:
    app = page(tmp_path / "none.duckdb", view)
    assert not app.exception and "steerkit demo" in said(app) and str(tmp_path) not in said(app)


@pytest.mark.parametrize("view", VIEWS)
def test_a_page_of_an_empty_store_says_what_fills_it(view: str, tmp_store: Store) -> None:
    app = page(tmp_store.path, view)
    assert not app.exception and "steerkit demo" in said(app)


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_of_a_run_that_has_just_begun_stands(view: str, tmp_store: Store) -> None:
    begun = stored_plane.run_of("begun", HOSTILE, "gate1", "2026-01-01T00:00:00+00:00")
    tmp_store.append([begun, stored_plane.plain(RunEvent, run_id="begun", seq=1, state="started")])
    tmp_store.ingest()
    assert not trouble(page(tmp_store.path, view))


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_stands_with_hostile_names(view: str, original: Path) -> None:
    app = page(original, view)
    assert not trouble(app)
    shown = "".join(str(one.value) for kind in (app.markdown, app.caption, app.info, app.subheader) for one in kind)
    assert "<img" not in shown.replace("\\<", "") and "](javascript" not in shown


def test_a_newer_store_is_explained(store: Path) -> None:
    with duckdb.connect(str(store)) as writer:
        newest = max(resources.migrations())
        writer.execute("INSERT INTO schema_version VALUES ($1, 'future.sql', 'hash', '99.0')", [newest + 1])
    app = page(store, "pareto")
    assert not app.exception and "99\\.0" in said(app) and str(store.parent) not in said(app)


def test_a_file_that_is_no_store_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "secret-folder" / "steerkit.duckdb"
    file.parent.mkdir()
    file.write_bytes(b"not a database" * 1000)
    app = page(file, "pareto")
    assert not app.exception and "must be a DuckDB file" in said(app) and "secret-folder" not in said(app)


def test_a_view_that_breaks_shows_neither_path_nor_secret(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise ValueError("password=hunter2 in /home/somebody/secret.txt")

    monkeypatch.setattr("dashboard.views.gates.show", broken)
    app = page(store, "gates")
    assert not app.exception and "hunter2" not in said(app) and "somebody" not in said(app)
    assert "This page broke (ValueError)" in said(app)


# The whole application, as Streamlit runs it


def test_the_application_opens_on_the_plane_and_lists_every_view(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = resources.folder("dashboard") / "app.py"
    monkeypatch.setattr("sys.argv", [str(script), "--store", str(store)])
    app = AppTest.from_file(str(script), default_timeout=60).run()
    assert not app.exception and app.title[0].value == "Pareto"
    assert VIEWS[0] == "pareto" and len(VIEWS) == 8
    for view in frame.found():
        assert view.TITLE and view.SENTENCE and view.ICON.startswith(":material/")
    assert len({view.ORDER for view in frame.found()}) == len(VIEWS)


# Small parts


@pytest.mark.parametrize(
    ("message", "bare"),
    [
        ("the store /home/me/x/a.duckdb is locked", "the store a.duckdb is locked"),
        ("cannot read ~/private/key", "cannot read key"),
        ("3/4 of the texts and either/or are left", "3/4 of the texts and either/or are left"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_a_message_loses_the_folders_of_its_paths(message: str, bare: str) -> None:
    assert safe.bare(message) == bare


@pytest.mark.parametrize(
    "text", [HOSTILE, "a_b*c*", "[x](y)", "<b>", ":red[x]", "$x$", "# h", "1. x", "- x\n- y", "`c`"]
)
def test_plain_text_has_no_markdown_left(text: str) -> None:
    shown = look.plain(text)
    for place, letter in enumerate(shown):
        if letter in "*_[]<>`$#:!|~":
            assert shown[place - 1] == "\\"
    assert "\n" not in shown and "\x1b" not in shown


def test_a_run_under_way_shows_how_far_it_is(tmp_store: Store) -> None:
    row = {"run_id": "begun", "pid": os.getpid(), "host": socket.gethostname()}
    tmp_store.append([stored_plane.run_of("begun", "svd", "gate4", "2026-01-01T00:00:00+00:00")])
    tmp_store.append([stored_plane.plain(RunEvent, seq=1, state="started", **row)])
    tmp_store.append([stored_plane.plain(Unit, run_id="begun", unit_id="u1", name="round 0", seconds=12.0)])
    tmp_store.ingest()
    assert "1 units" in said(page(tmp_store.path, "gates")) and "round 0" in said(page(tmp_store.path, "gates"))


@pytest.mark.parametrize(
    ("run", "gone"),
    [
        ({"host": "elsewhere", "pid": 1}, False),
        ({"host": socket.gethostname(), "pid": os.getpid()}, False),
        ({"host": socket.gethostname(), "pid": 2**22 + 1}, True),
    ],
)
def test_a_run_whose_process_is_gone_is_known(run: dict[str, object], gone: bool) -> None:
    assert live.gone(run) == gone


def test_a_page_that_did_not_change_is_not_drawn_again(store: Path) -> None:
    app = page(store, "gates")
    stamp, at = app.session_state["_drawn"]
    reader = Reader(Store(store))
    assert reader.stamp() == stamp and at > 0
    os.utime(store)
    assert reader.stamp() != stamp


def test_time_left_is_said_in_words() -> None:
    assert (live.left(None), live.left(42.4), live.left(600)) == ("", ", about 42 s left", ", about 10 min left")


def test_frames_are_what_answers_are(store: Path) -> None:
    assert isinstance(Reader(Store(store)).query("SELECT 1 AS one"), polars.DataFrame)
