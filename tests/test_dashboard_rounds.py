"""The page of loops: how far, which round was best, why it stopped; half a loop, and a round without a student."""

import json
from pathlib import Path

import msgspec
import polars
import pytest
from dashboard_page import page, said, trouble
from planted_gate4 import ROW
from store_child import plain

from dashboard.charts.rounds import budget, coherence, shifts
from steerkit.records import Round, Run, RunEvent
from steerkit.store import Store

SPEC = json.dumps({"target": "Authority", "sign": -1, "rounds": 5})


def row(number: int, **changes: object) -> Round:
    shift = -0.4 * (number + 1)
    own = {
        "round": number,
        "d_target": shift,
        "d_target_low": shift - 0.1,
        "d_target_high": shift + 0.1,
        "d_auth": shift,
    }
    own |= {"d_auth_low": shift - 0.1, "d_auth_high": shift + 0.1, "d_care_low": -0.02, "d_care_high": 0.04}
    own |= {"d_care": 0.01, "coherence": 0.98, "coherence_low": 0.97, "coherence_high": 0.99, "best_round": number}
    own |= {"steered_d_target": shift, "steered_coherence": 0.9, "kl_base": 0.5, "kl_previous": 0.3}
    return plain(Round, **{**ROW, "run_id": "run", "unit_id": f"u{number}", **own, **changes})


def made(path: Path, *rows: Round, state: str = "finished") -> Path:
    store = Store(path / "steerkit.duckdb")
    run = plain(Run, gate="gate4", spec=SPEC, thresholds='{"coherence": 0.95}')
    store.append([run, *rows, plain(RunEvent, seq=1, state=state)])
    store.ingest()
    return store.path


def test_a_loop_says_how_far_it_came_and_why_it_stopped(tmp_path: Path) -> None:
    last = row(2, best_round=1, coherence=0.9, stop="coherence floor", stop_why="0.9 is under 0.95")
    app = page(made(tmp_path, row(0), row(1), last), "rounds")
    assert not trouble(app)
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown == {"rounds": "3 of 5", "best round": "1", "stopped by": "coherence floor"}
    assert "-0.80 nats at coherence 0.980" in said(app) and "0.9 is under 0.95".replace(".", "\\.") in said(app)
    assert "is to go down" in said(app)


def test_half_a_loop_whose_last_round_has_no_student(tmp_path: Path) -> None:
    gone = (
        "d_target",
        "d_target_low",
        "d_target_high",
        "coherence",
        "coherence_low",
        "coherence_high",
        "d_auth",
        "d_auth_low",
        "d_auth_high",
        "d_care",
        "d_care_low",
        "d_care_high",
    )
    gone += ("adapter_id", "gate3_run", "kl_base", "kl_previous", "cosine_teacher", "best_round", "chosen_dose")
    app = page(made(tmp_path, row(0), row(1, **dict.fromkeys(gone)), state="started"), "rounds")
    assert not trouble(app)
    assert "under way" in said(app)
    assert {metric.label: metric.value for metric in app.metric}["stopped by"] == "nothing yet"


def test_without_a_loop_the_command_is_named(tmp_path: Path) -> None:
    app = page(made(tmp_path), "rounds")
    assert not trouble(app) and any("steerkit loop" in code.value for code in app.code)


def test_a_loop_under_way_is_waited_for(tmp_path: Path) -> None:
    app = page(made(tmp_path, state="started"), "rounds")
    assert not trouble(app) and not app.code and "under way" in said(app)


def test_steps_add_up_round_by_round() -> None:
    rounds = polars.DataFrame({"round": [0, 1, 2], "kl_base": [0.3, 0.4, 0.5], "kl_previous": [0.3, 0.2, 0.1]})
    drawn = budget(rounds).to_dict()["data"]["values"]
    sums = [line["nats"] for line in drawn if line["what"] == "sum of the rounds' own steps"]
    assert [round(value, 6) for value in sums] == [0.3, 0.5, 0.6]


def test_both_foundations_have_their_own_interval() -> None:
    drawn = shifts(polars.DataFrame([msgspec.structs.asdict(row(0))])).to_dict()["layer"][1]["data"]["values"]
    assert [(mark["foundation"], mark["low"], mark["high"]) for mark in drawn] == [
        ("Authority", -0.5, pytest.approx(-0.3)),
        ("Care", -0.02, 0.04),
    ]


def test_coherence_begins_at_the_base_and_shows_the_floor() -> None:
    named = {
        "round": [0],
        "coherence": [0.98],
        "coherence_low": [0.97],
        "coherence_high": [0.99],
        "steered_coherence": [0.9],
    }
    layers = coherence(polars.DataFrame(named), 0.95).to_dict()["layer"]
    drawn = [value for layer in layers for value in layer["data"]["values"]]
    assert {"place": "base", "of": "student", "coherence": 1.0} in drawn
    assert {"at": 0.95, "word": "floor 0.95"} in drawn
