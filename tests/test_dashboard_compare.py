"""The page that compares: specs first, the paired difference with its interval, and the reason where there is none."""

import json
from pathlib import Path

import polars
import pytest
from dashboard_page import page, said, trouble
from msgspec.structs import replace
from store_child import plain
from test_queries import Planted

from dashboard.views.compare import _difference
from steerkit.records import Run
from steerkit.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A run with a base and two arms, and one whose arm was scored in another way."""
    planted = Planted(tmp_path_factory.mktemp("compared"))
    other = {"run_id": "second", "unit_id": "u"}
    stranger = planted.arm("stranger", "steered", "another hash")
    moved = [replace(answer, **other) for answer in planted.answers_as("stranger")]
    planted.store.append([plain(Run, **other, spec=json.dumps({"layers": [3]})), replace(stranger, **other), *moved])
    planted.store.ingest()
    return planted.store


def tables(app: object) -> list[polars.DataFrame]:
    return [polars.from_pandas(frame.value) for frame in app.dataframe]  # type: ignore[attr-defined]


def test_the_difference_of_two_arms_is_paired_and_has_its_interval(store: Store) -> None:
    found = store.ask("compare_vignettes", {"base": "base", "arm": "up"})
    row = _difference(found, "Authority")
    mine = found.filter(found["foundation"] == "Authority")
    assert row["paired"] == mine.height == 3
    assert row["d_nats"] == pytest.approx((mine["arm_nats"] - mine["base_nats"]).mean())
    assert row["low"] <= row["d_nats"] <= row["high"]
    whole = {r["foundation"]: r["d_nats"] for r in store.delta_arms("base", "up").to_dicts()}
    assert row["d_nats"] == pytest.approx(whole["Authority"])


def test_two_arms_of_one_run(store: Store) -> None:
    app = page(store.path, "compare", first="run", second="run", first_arm="base", second_arm="up")
    assert not trouble(app)
    assert "The same run on both sides" in said(app) and "vignettes answered by both" in said(app)


def test_arms_of_other_evaluations_are_refused_with_the_reason(store: Store) -> None:
    app = page(store.path, "compare", first="run", second="second", first_arm="up", second_arm="stranger")
    (text,) = trouble(app)
    assert "No difference can be told" in text and "hash" in text and "another hash" in text
    assert "vignettes answered by both" not in said(app)
    differences = tables(app)[0]
    assert differences.columns[0] == "setting" and "layers[0]" in differences["setting"].to_list(), (
        "the spec comes first"
    )


def test_without_arms_the_command_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path / "steerkit.duckdb")
    store.append([plain(Run)])
    store.ingest()
    app = page(store.path, "compare")
    assert not trouble(app) and any("steerkit gate1" in code.value for code in app.code)
