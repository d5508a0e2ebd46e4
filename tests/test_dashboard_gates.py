"""The page of gates: every verdict and finding with number, threshold and next step, and thresholds with their time."""

from pathlib import Path

import pytest
import stored_plane
from dashboard_page import elements, page, said, trouble
from stored_plane import HOSTILE, STATUSES, THRESHOLDS
from test_dashboard_texts import ALLOWED, Parsed

from steerkit.store import Store
from steerkit.visible import visible


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_plane.make(tmp_path_factory.mktemp("gates") / "steerkit.duckdb")


def test_a_run_shows_its_verdict_its_findings_and_its_thresholds(store: Path) -> None:
    app = page(store, "gates", run="run-good")
    assert trouble(app) == []
    assert app.dataframe[0].value["outcome"].tolist() == ["✓ PASS", "✗ FAIL", "✓ PASS"]
    assert "gate 1: :green[✓ PASS]" in said(app)
    assert "1 observed, 1 not observed, 1 not measured" in said(app)
    [criteria, hypotheses] = [Parsed(html).words for html in elements(app) if "separates" in html or "way that" in html]
    assert "✓ met" in criteria and "0.6" in criteria and "0.3" in criteria and "try this" not in criteria
    assert all(f"way that was {status}" in hypotheses for status in STATUSES)
    assert hypotheses.count("Next: try this") == 2 and hypotheses.count("If it were: try this") == 1
    assert dict(app.dataframe[-1].value.itertuples(index=False)) == THRESHOLDS
    assert "2026\\-01\\-01T00\\:01\\:00\\+00\\:00" in said(app) and "hash\\-of\\-thresholds" in said(app)


def test_ways_to_fail_can_be_narrowed(store: Path) -> None:
    app = page(store, "gates", run="run-good", status="observed")
    assert "way that was observed" in said(app) and "way that was not" not in said(app)


def test_what_a_gate_says_is_text(store: Path) -> None:
    app = page(store, "gates", run="run-poor")
    for html in elements(app):
        parsed = Parsed(html)
        assert {*parsed.tags} <= ALLOWED | {"table", "style"}
        assert not [name for name, _ in parsed.attributes if name not in ("class",)]
    assert visible(HOSTILE) in " ".join(Parsed(html).words for html in elements(app))
    assert "<img" not in "".join(str(one.value) for one in app.markdown).replace("\\<", "")


def test_a_run_without_a_verdict_says_why(tmp_path: Path) -> None:
    path = tmp_path / "steerkit.duckdb"
    store = Store(path)
    when = "2026-01-01T00:00:00+00:00"
    for place, state in enumerate(("started", "interrupted")):
        store.append([stored_plane.run_of(f"run-{state}", "good", "gate1", when)])
        store.append([stored_plane.plain(stored_plane.RunEvent, run_id=f"run-{state}", seq=place, state=state)])
    store.ingest()
    assert "Its verdict comes when it ends" in said(page(path, "gates", run="run-started"))
    stopped = page(path, "gates", run="run-interrupted")
    assert trouble(stopped) == [] and "steerkit gate1 --resume" in said(stopped)
