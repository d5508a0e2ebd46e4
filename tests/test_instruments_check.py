"""`steerkit instruments --check`: each figure by a planted number, what is fit and recommended, and what is stored."""

import json
from pathlib import Path

import numpy as np
import planted_instruments
import pytest
import tiny_model
from click.testing import CliRunner
from planted_instruments import Config
from sklearn.metrics import recall_score

from steerkit.cli import group
from steerkit.errors import UsageError
from steerkit.fitness import Checked, check, keep
from steerkit.host import Host, load
from steerkit.inputs import VignetteText
from steerkit.personas import load_personas
from steerkit.plugins import sources
from steerkit.records import FOUNDATIONS, InstrumentCheck
from steerkit.store import Store

TEXTS = tuple(VignetteText(id=f"v{i}", foundation=FOUNDATIONS[i % 7], text=f"scene {i}") for i in range(63))
SCENES = len(TEXTS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tiny_model.Planted:
    return tiny_model.make(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def host(model: tiny_model.Planted) -> Host:
    return load(str(model.folder), "float32", "cpu")


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name that starts with 'planted' is the planted instrument."""
    known = sources("instruments")
    names = {f"planted-{name}": planted_instruments.__name__ for name in ("a", "b", "c")}
    monkeypatch.setattr(
        "steerkit.plugins.sources", lambda kind: known | names if kind == "instruments" else sources(kind)
    )


def checked(host: Host, *configs: Config) -> list[Checked]:
    named = dict(zip(("planted-a", "planted-b", "planted-c"), configs, strict=False))
    return check(host, named, TEXTS, load_personas()["authority"], 1)


def row(host: Host, **knobs: float) -> InstrumentCheck:
    return checked(host, Config(**knobs))[0].row  # type: ignore[arg-type]


def test_a_good_instrument_is_fit_recommended_and_said_why(host: Host) -> None:
    found = row(host)
    assert found.fit and found.recommended and found.informedness == 1.0 and found.auc == 1.0
    assert found.answer_mass == pytest.approx(0.9) and found.frac_unscorable == 0
    assert found.order_disagreement == 0 and found.repeat_nats == 0 and found.repeat_picks == 0
    assert found.seconds_per_100 is not None and found.seconds_per_100 > 0
    assert found.headroom is not None and found.headroom_low is not None and found.headroom_low > 0
    assert "the persona prompt moves Authority by" in found.why and "informedness 1.00" in found.why


def test_headroom_is_the_shift_of_the_target_that_the_prompt_makes(host: Host) -> None:
    found = checked(host, Config())[0]
    by_arm: dict[str, list[float]] = {}
    for answer in found.records:
        if type(answer).__name__ == "Answer" and answer.foundation == "Authority":  # type: ignore[attr-defined]
            seven = [getattr(answer, name) for name in planted_fields()]
            by_arm.setdefault(answer.arm_id, []).append(seven)  # type: ignore[attr-defined]
    base, prompted = (np.asarray(rows).reshape(2, -1, 7).mean(axis=0) for rows in by_arm.values())
    logp = [side - np.log(np.exp(side).sum(axis=1, keepdims=True)) for side in (base, prompted)]
    moved = (logp[0] - logp[1])[:, FOUNDATIONS.index("Authority")].mean()
    assert found.row.headroom == pytest.approx(moved, abs=1e-6)


def planted_fields() -> tuple[str, ...]:
    return ("care", "fairness", "loyalty", "authority", "sanctity", "liberty", "social_norms")


def test_guessing_is_not_fit_and_nothing_is_recommended(host: Host) -> None:
    found = row(host, knows=0.0)
    assert (
        not found.fit and not found.recommended and found.informedness_low is not None and found.informedness_low <= 0
    )
    assert "cannot be told from guesses" in found.why


def test_hardly_any_answer_mass_is_not_fit(host: Host) -> None:
    found = row(host, outside=0.95)
    assert not found.fit and "the question is hardly answered at all" in found.why


def test_answers_that_depend_on_the_order_are_counted(host: Host) -> None:
    found = row(host, turned=4.0)
    # In the second order everything is Care: only Care's own vignettes agree.
    assert found.order_disagreement == pytest.approx(6 / 7)
    assert "of answers depend on the order" in found.why


def test_one_order_has_no_disagreement(host: Host) -> None:
    assert row(host, orders=1).order_disagreement is None


def test_a_second_reading_that_differs_is_measured(host: Host) -> None:
    found = row(host, unsteady=0.4)
    assert found.repeat_nats is not None and 0.05 < found.repeat_nats < 0.5
    assert "a second reading moves a log p by" in found.why


def test_without_headroom_it_is_said(host: Host) -> None:
    found = row(host, prompted=0.0)
    assert found.fit and found.headroom == pytest.approx(0, abs=1e-6) and "does not surely move Authority" in found.why


def test_unreadable_rows_are_counted_and_never_averaged_away(host: Host) -> None:
    found, whole = row(host, unread=9), row(host)
    assert found.frac_unscorable == pytest.approx(9 / SCENES)
    assert found.answer_mass == pytest.approx(0.9 * (SCENES - 9) / SCENES)
    # Unreadable rows are misses: informedness falls by their share, not to a number over the others.
    truth = [i % 7 for i in range(SCENES)]
    picks = [-1 if i < 9 else i % 7 for i in range(SCENES)]
    by_hand = np.mean([recall_score(np.equal(truth, k), np.equal(picks, k)) for k in range(7)])
    assert found.informedness == pytest.approx(by_hand) and whole.informedness == 1
    assert found.repeat_nats == 0 and found.order_disagreement == pytest.approx(9 / SCENES)


def test_nothing_readable_is_unfit_and_said(host: Host) -> None:
    found = row(host, unread=SCENES)
    assert not found.fit and found.frac_unscorable == 1 and found.answer_mass == 0


def test_an_instrument_that_cannot_be_used_is_a_row_that_says_why(host: Host) -> None:
    first, second = checked(host, Config(usable=False), Config())
    assert not first.row.fit and first.row.informedness is None and "it cannot be used here" in first.row.why
    assert "single tokens" in first.row.why and not first.records
    assert second.row.recommended and "no other that was checked is fit" in second.row.why


def test_the_more_informed_one_is_recommended_but_headroom_counts_first(host: Host) -> None:
    weak, strong = checked(host, Config(knows=0.3), Config())
    assert weak.row.fit and strong.row.recommended and not weak.row.recommended
    moved, still = checked(host, Config(knows=0.3), Config(prompted=0.0))
    assert moved.row.recommended and not still.row.recommended and "preferred to planted-b" in moved.row.why


def test_figures_and_raw_answers_are_stored_and_sql_says_the_same(host: Host, tmp_path: Path) -> None:
    store, found = Store(tmp_path / "s.duckdb"), checked(host, Config(knows=1.0), Config(usable=False))
    keep(store, found, TEXTS)
    rows = store.query(
        "SELECT c.instrument, c.informedness, c.answer_mass, t.informedness AS again, coherence.p_ans_any "
        "FROM instrument_check c JOIN trait_by_version t USING (run_id) JOIN coherence USING (run_id, arm_id) "
        "WHERE version = 'v1' AND coherence.kind = 'base'"
    ).to_dicts()
    assert [each["instrument"] for each in rows] == ["planted-a"]
    assert rows[0]["again"] == pytest.approx(rows[0]["informedness"])
    assert rows[0]["p_ans_any"] == pytest.approx(rows[0]["answer_mass"])
    kept = store.query("SELECT instrument, fit, recommended FROM instrument_check ORDER BY instrument").rows()
    assert kept == [("planted-a", True, True), ("planted-b", False, False)]
    assert store.problems() == [] and store.query("SELECT count(*) FROM vignette").item() == 2 * SCENES


def test_the_command_recommends_on_the_planted_model(model: tiny_model.Planted, tmp_path: Path) -> None:
    files = ["--personas", str(model.personas), "--vignettes", str(model.vignettes), "--trait", "planted"]
    given = ["instruments", "--check", "--instrument", "fewshot", "--model", str(model.folder), "--dtype", "float32"]
    result = CliRunner().invoke(group, [*given, *files, "--store", str(tmp_path / "s.duckdb"), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["recommended"] == "fewshot"
    assert document["instruments"][0]["informedness"] == 1.0 and document["instruments"][0]["headroom_low"] > 0
    person = CliRunner().invoke(group, [*given, *files, "--count", "14", "--store", str(tmp_path / "s.duckdb")])
    assert "recommended: --instrument fewshot" in person.stdout and "14 vignettes" in person.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--trait", "planets"), "unknown trait 'planets'"),
        (("--instrument", "fewshoot"), "unknown instrument 'fewshoot'; did you mean 'fewshot'"),
        (("--instrument", "fewshot", "--set", "fewshot.orders=99"), "instrument setting orders must be from 1 to 8"),
        (("--instrument", "fewshot", "--set", "orders=2"), "--set must be SECTION.KEY=VALUE"),
    ],
)
def test_bad_questions_are_refused_before_a_model_is_loaded(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    where = ["--store", str(tmp_path / "s.duckdb"), "--model", "/nowhere"]
    result = CliRunner().invoke(group, ["instruments", "--check", *where, *arguments])
    assert isinstance(result.exception, UsageError) and said in str(result.exception)
