"""The small demonstration: its parts in order, the time left, what it leaves out; and, slow, the real thing."""

from pathlib import Path
from typing import Any

import pytest

from steerkit.cli import main
from steerkit.commands import _demo_runs
from steerkit.errors import UsageError
from steerkit.store import Store

PARTS = ["gate 1, svd", "gate 1, mean_mass", "gate 2", "gate 3"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that were asked, each answered at once without a model."""
    seen: list[str] = []

    def answer(part: str, path: Path, **_: Any) -> dict[str, Any]:
        seen.append(part)
        return {"run_id": f"run{len(seen)}", "verdict": "INCONCLUSIVE"}

    monkeypatch.setattr(_demo_runs, "_parts", lambda *_: {part: lambda part=part: part for part in PARTS})
    monkeypatch.setattr(_demo_runs, "answer", answer)
    return seen


def test_every_part_in_order_with_the_time_left(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "demo.duckdb"
    assert main(["demo", "--store", str(path)]) == 0
    printed = capsys.readouterr()
    assert asked == PARTS
    assert printed.out == f"{path}: 4 runs; look at them with: steerkit dashboard --store {path}\n"
    assert "part 1 of 4: gate 1, svd; about 5.0 minutes left in all" in printed.err
    assert "part 4 of 4: gate 3; about 0.5 minutes left in all" in printed.err, "the parts so far took no time"
    assert "gate 3 said INCONCLUSIVE: run run4" in printed.err


def test_what_cannot_be_asked_is_left_out(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def short(part: str, path: Path, **_: Any) -> dict[str, Any]:
        if part == "gate 3":
            raise UsageError("an adapter needs at least 12 kept texts, but run run3 has 4")
        return {"run_id": part, "verdict": "FAIL"}

    monkeypatch.setattr(_demo_runs, "answer", short)
    assert main(["demo", "--store", str(tmp_path / "demo.duckdb"), "--json"]) == 0
    printed = capsys.readouterr()
    assert '"gate 2"' in printed.out and '"gate 3"' not in printed.out
    assert "gate 3 is left out: an adapter needs at least 12 kept texts" in printed.err


def test_the_parts_are_questions_of_their_gates(tmp_path: Path) -> None:
    settings = _demo_runs._settings({"model": "smollm2-135m", "dtype": "auto", "device": "cpu", "seed": 3})
    parts = _demo_runs._parts(tmp_path / "none.duckdb", settings, [])
    assert list(parts) == list(_demo_runs.SECONDS) == PARTS
    first = parts["gate 1, mean_mass"]()
    assert (first.asked["method"], first.asked["quick"], first.asked["seed"]) == ("mean_mass", True, 3)


@pytest.mark.slow
def test_the_real_thing_fills_a_store_and_answers_at_once_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "demo.duckdb"
    assert main(["demo", "--store", str(path)]) == 0
    store = Store(path)
    assert store.problems() == []
    assert store.query("SELECT gate FROM run ORDER BY registered_at")["gate"].to_list()[:3] == [
        "gate1",
        "gate1",
        "gate2",
    ]
    before = store.query("SELECT count(*) FROM unit").item()
    assert main(["demo", "--store", str(path)]) == 0
    assert store.query("SELECT count(*) FROM unit").item() == before
