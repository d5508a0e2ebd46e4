"""Every page of the dashboard on a synthetic store: nothing fails, each says what the store is, and each is timed."""

import json
from pathlib import Path

import pytest
from dashboard_page import page, said, trouble

from dashboard import frame
from steerkit.cli import main
from steerkit.demo.synthetic import TINY, synthetic
from steerkit.store import Store


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(tmp_path_factory.mktemp("pages") / "tiny.duckdb")
    synthetic(store, TINY, 0, lambda *said: None)
    return store.path


@pytest.mark.parametrize("view", [frame.name_of(view) for view in frame.found()])
def test_a_page_of_a_synthetic_store_is_whole_and_says_so(tiny: Path, view: str) -> None:
    shown = page(tiny, view)
    assert trouble(shown) == [] and "This store is synthetic" in said(shown)


@pytest.mark.slow
def test_pages_are_timed(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--dashboard", "--store", str(tiny), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["view"] for row in found["views"]] == [frame.name_of(view) for view in frame.found()]
    assert all(row["cold"] > row["warm"] > 0 and row["failures"] == [] for row in found["views"])
    assert 0 < found["peak_memory_gib"] < 1.5


def test_pages_are_timed_on_a_store_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--dashboard", "--store", str(tmp_path / "none.duckdb")]) == 2
    assert "steerkit demo --size large" in capsys.readouterr().err
