"""Deciding anew: what stays the same, what is refused, and that SQL says the same of the same thresholds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stored_texts
from msgspec.structs import replace
from stored_texts import DROPPED, RUN, SPEC, STEERED, copied

from steerkit.cli import main
from steerkit.records import FilterDecision, FilterSet, Record
from steerkit.spec import digest
from steerkit.store import Store

Capture = pytest.CaptureFixture[str]
FIRST = digest(RUN, SPEC.filters)
"""The run's own round of decisions."""
KEPT = len(STEERED) - len(DROPPED)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_texts.make(tmp_path_factory.mktemp("original") / "steerkit.duckdb")


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    return copied(original, tmp_path / "store")


def changed(folder: Path, change: Callable[[Record], list[Record]]) -> Path:
    """A store of the same run in which every record was changed."""
    made = Store(folder / "steerkit.duckdb")
    made.append([new for record in stored_texts.records() for new in change(record)])
    made.ingest()
    return made.path


def refilter(store: Path, capsys: Capture, setting: str) -> Any:
    capsys.readouterr()
    assert main(["refilter", RUN[:8], "--set", setting, "--json", "--store", str(store)]) == 0
    return json.loads(capsys.readouterr().out)


def decided(store: Path, filter_id: str, but: str) -> list[FilterDecision]:
    """A round's decisions of every check but one, as if they were of the first round."""
    found = [d for d in Store(store).records(FilterDecision, RUN) if d.filter_id == filter_id and d.name != but]
    own = {"unit_id": "unit", "filter_id": FIRST}
    return sorted((replace(d, **own) for d in found), key=lambda d: (d.completion_id, d.name))


def test_what_no_threshold_changed_is_decided_as_before(store: Path, capsys: Capture) -> None:
    found = refilter(store, capsys, "perplexity=10")
    assert decided(store, found["filter_id"], "perplexity") == decided(store, FIRST, "perplexity")


@pytest.mark.parametrize("threshold", [1.0, 14.5, 20.0, 80.0])
def test_sql_says_the_same_of_the_same_threshold(store: Path, capsys: Capture, threshold: float) -> None:
    asked = Store(store).ask("redecide", {"run": RUN, "thresholds": json.dumps({"perplexity": threshold})})
    found = refilter(store, capsys, f"perplexity={threshold}")
    steered = asked.filter(asked["completion_id"].is_in(STEERED))
    assert (steered["kept"].sum(), steered["would_be_kept"].sum()) == (found["kept_before"], found["kept_after"])
    after = Store(store).query("SELECT completion_id, kept FROM text_state ORDER BY ALL")
    assert after.rows() == sorted(asked.select("completion_id", "would_be_kept").rows())
    reasons = Store(store).query("SELECT name, dropped FROM drop_reason ORDER BY name").rows()
    assert reasons == [(row["check"], row["now dropped"]) for row in found["checks"]]


def test_thresholds_in_force_change_nothing_even_where_a_check_would_say_otherwise_today(
    tmp_path: Path, capsys: Capture
) -> None:
    """The stored round dropped a text that its check, as it is now, keeps."""

    def older(record: Record) -> list[Record]:
        ours = isinstance(record, FilterDecision) and (record.completion_id, record.name) == ("probe-clear", "refusal")
        return [replace(record, value=1.0, keep=False)] if ours else [record]  # type: ignore[type-var]

    store = changed(tmp_path, older)
    found = refilter(store, capsys, "perplexity=15")
    assert not found["changed"] and found["filter_id"] == FIRST
    assert found["kept_before"] == found["kept_after"] == KEPT - 1
    assert all(row["dropped"] == row["now dropped"] for row in found["checks"])
    assert len(Store(store).records(FilterSet, RUN)) == 1
    assert refilter(store, capsys, "perplexity=15.1")["kept_after"] == KEPT


def test_a_check_that_is_not_installed_is_not_forgotten(tmp_path: Path, capsys: Capture) -> None:
    """Its drops would be kept without a word."""

    def with_plugin(record: Record) -> list[Record]:
        ours = isinstance(record, FilterDecision) and record.name == "length"
        return [record, replace(record, name="of_a_plugin", keep=False)] if ours else [record]  # type: ignore[type-var]

    store = changed(tmp_path, with_plugin)
    assert main(["refilter", RUN, "--set", "perplexity=80", "--store", str(store)]) == 2
    assert "of_a_plugin is not; install the plugin" in capsys.readouterr().err
    assert len(Store(store).records(FilterSet, RUN)) == 1


def test_the_table_says_before_and_after(store: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert main(["refilter", RUN, "--set", "perplexity=20", "--store", str(store)]) == 0
    printed = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in printed if line.strip()}
    assert rows["perplexity"] == ["15", "20", "2", "1"] and rows["loops"] == ["0.66", "0.66", "1", "1"]
    assert printed[-1] == f"kept {KEPT} of {len(STEERED)} steered texts before, {KEPT + 1} now"
