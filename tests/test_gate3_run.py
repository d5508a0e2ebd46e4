"""Gate 3 from the command line on the planted model: what it trains, what it stores, and what a kill does to it."""

import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_gate2 import Ran, Ready, ran, ready, rows
from small_gate3 import ROLES, gate3, gathered
from test_resume import Nursery

from steerkit.pipeline.further_texts import watched
from steerkit.plugins import load_filters
from steerkit.records import (
    Adapter,
    AdapterFigure,
    Answer,
    Arm,
    Completion,
    FilterDecision,
    HealEpoch,
    HealStep,
    HealText,
    Prior,
    Verdict,
)
from steerkit.store import Store

KILLS = 3
LABELS = {"HEALED", "UNDONE", "COPIED", "NO-OP", "OVERSHOT", "NON-SPECIFIC", "UNCLEAR"}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """Gate 1 has run."""
    return ready(tmp_path_factory.mktemp("before"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which gate 2 has run too."""
    return gathered(tmp_path_factory.mktemp("texts")).store


@pytest.fixture(scope="module")
def kept_run(texts: Path) -> str:
    """The run of gate 2."""
    return str(Store(texts).query("SELECT run_id FROM run WHERE gate = 'gate2'").item())


@pytest.fixture(scope="module")
def store(before: Ready, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of that store for gate 3."""
    return Ready(before.planted, texts, before.run).copy(tmp_path_factory.mktemp("healed"))


@pytest.fixture(scope="module")
def found(before: Ready, store: Path, kept_run: str) -> Ran:
    """Gate 3's first run."""
    return ran(gate3(before, store, kept_run))


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path_factory.mktemp("log") / "workers.log")
    yield nursery
    nursery.end()


def test_it_ends_with_a_verdict_and_one_label(found: Ran, store: Path) -> None:
    document = found.document
    assert found.code in (0, 1, 3), found.said
    assert document["label"] in LABELS
    labels = [v for v in Store(store).records(Verdict, document["run_id"]) if v.kind == "label"]
    assert [label.status for label in labels] == [document["label"]]
    assert len(document["criteria"]) >= 8 and len(document["hypotheses"]) >= 16


def test_a_relaxed_check_does_not_hide_a_student_that_declines() -> None:
    assert watched({"refusal": 99.0, "loops": 0.5}) == {
        "refusal": load_filters()["refusal"].THRESHOLD,
        "identity": load_filters()["identity"].THRESHOLD,
        "loops": 0.5,
    }


def test_every_adapter_is_trained_the_same_way_on_as_many_texts(found: Ran, store: Path) -> None:
    reader, run = Store(store), found.document["run_id"]
    adapters = {adapter.role: adapter for adapter in reader.records(Adapter, run)}
    assert tuple(sorted(adapters)) == tuple(sorted(ROLES))
    counts = {(a.train_texts + a.validation_texts, a.rank, a.config) for a in adapters.values()}
    assert len(counts) == 1
    taus = {role: adapter.tau for role, adapter in adapters.items()}
    assert taus["plain"] is None and len({tau for role, tau in taus.items() if role != "plain"}) == 1
    parts = Counter((text.adapter_id, text.part) for text in reader.records(HealText, run))
    assert all(parts[a.adapter_id, "train"] == a.train_texts for a in adapters.values())


def test_training_is_logged_step_by_step_and_epoch_by_epoch(found: Ran, store: Path) -> None:
    reader, run = Store(store), found.document["run_id"]
    for adapter in reader.records(Adapter, run):
        steps = [step for step in reader.records(HealStep, run) if step.adapter_id == adapter.adapter_id]
        epochs = [epoch for epoch in reader.records(HealEpoch, run) if epoch.adapter_id == adapter.adapter_id]
        assert [step.step for step in steps] == list(range(1, len(steps) + 1))
        assert [epoch.epoch for epoch in epochs] == [0, 1, 2]
        assert steps[0].d_max == pytest.approx(0, abs=1e-4)
        assert steps[-1].nll < steps[0].nll


def test_controls_are_filtered_by_the_same_checks_but_for_likeness_to_the_base(found: Ran, store: Path) -> None:
    reader, run = Store(store), found.document["run_id"]
    trained = {text.completion_id for text in reader.records(HealText, run)}
    dropped = {d.completion_id for d in reader.records(FilterDecision, run) if not d.keep}
    assert not trained & dropped
    roles = Counter(text.role for text in reader.records(Completion, run))
    assert {"control-random", "control-persona", "greedy"} <= set(roles)
    persona = [text for text in reader.records(Completion, run) if text.role == "control-persona"]
    assert all(text.system_prompt for text in persona)


def test_what_gate_1_measured_stands_in_the_run_unchanged(found: Ran, store: Path, before: Ready) -> None:
    reader, run = Store(store), found.document["run_id"]
    first, own = ({a.kind: a for a in reader.records(Arm, r) if a.kind == "base"}["base"] for r in (before.run, run))
    assert first.eval_hash == own.eval_hash

    def answers(of: str, arm: str) -> list[tuple[object, ...]]:
        return [
            (a.vignette, a.ordering, a.authority, a.outside_mass) for a in reader.records(Answer, of) if a.arm_id == arm
        ]

    assert answers(before.run, first.arm_id) == answers(run, own.arm_id)
    assert len(reader.records(Prior, run)) == len(reader.records(Prior, before.run))


def test_students_are_scored_under_the_evaluation_of_their_base(found: Ran, store: Path) -> None:
    arms = Store(store).records(Arm, found.document["run_id"])
    assert len({arm.eval_hash for arm in arms}) == 1
    students = {arm.kind: arm.adapter_id for arm in arms if arm.adapter_id}
    assert set(students) == set(ROLES) and len(set(students.values())) == len(ROLES)


def test_folding_the_adapters_in_changes_nothing(found: Ran, store: Path) -> None:
    figures = Store(store).records(AdapterFigure, found.document["run_id"])
    gaps = [figure.value for figure in figures if figure.quantity == "kl_hooked_baked"]
    assert len(gaps) == len(ROLES) and max(gaps) < 1e-3


def test_the_store_answers_the_second_time(before: Ready, found: Ran, store: Path, kept_run: str) -> None:
    again = ran(gate3(before, store, kept_run))
    assert again.document["run_id"] == found.document["run_id"]
    assert "has answered this before" in again.said


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_rows(
    before: Ready, texts: Path, found: Ran, kept_run: str, workers: Nursery, tmp_path: Path
) -> None:
    """Both runs are forked workers with one thread: the number of threads changes the last bit of a sum."""
    killed, whole = (Ready(before.planted, texts, before.run).copy(tmp_path / name) for name in ("killed", "whole"))
    assert workers.run(gate3(before, whole, kept_run)) == found.code, workers.said()[-2000:]
    for share in sorted(random.Random(3).sample(range(1, 10), KILLS)):
        code = workers.run([*gate3(before, killed, kept_run), "--resume"], signal.SIGKILL, share * found.seconds / 20)
        assert code in (-signal.SIGKILL, 0, 1, 3)
    assert workers.run([*gate3(before, killed, kept_run), "--resume"]) == found.code, workers.said()[-2000:]
    run = found.document["run_id"]
    left, right = rows(killed, run), rows(whole, run)
    assert {name for name in left if left[name] != right[name]} == set()
    assert left["heal_step"] and left["verdict"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--set", "heal.fewest_texts=60"), "at least 60 kept texts"),
        (("--controls", "unsteered,magic"), "--controls must be all, none or some of"),
        (("--reg", "euclid"), "divergence"),
        (("--tau", "soon"), "heal.tau must be nats"),
        (("--set", "heal.band=0.8,0.2"), "two rising fractions"),
        (("--set", "heal.magic=1"), "unknown heal setting"),
    ],
)
def test_a_bad_setting_is_refused_before_any_training(
    before: Ready, texts: Path, kept_run: str, more: tuple[str, ...], said: str
) -> None:
    was = Store(texts).query("SELECT count(*) FROM run").item()
    refused = ran(gate3(before, texts, kept_run, *more))
    assert refused.code == 2 and said in refused.document["error"]["message"]
    assert Store(texts).query("SELECT count(*) FROM run").item() == was


def test_a_run_that_is_not_there_is_refused(before: Ready, texts: Path) -> None:
    refused = ran(gate3(before, texts, "zzzz"))
    assert refused.code == 2 and "must be named by the beginning of one id" in refused.document["error"]["message"]
