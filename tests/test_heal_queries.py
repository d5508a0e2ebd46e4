"""The views and named queries over gate 3's adapters, on a small store whose every answer is known."""

from pathlib import Path

import pytest
from store_child import plain

from steerkit.records import Adapter, AdapterFigure, Arm, Effect, HealEpoch, HealStep, Record, Run, Verdict
from steerkit.store import Store

QUESTIONS = ("adapters", "heal_epochs", "heal_or_undo", "heal_steps")
"""The questions that this store answers."""
GATE3 = "gate3"
GRADIENTS = ((0.5, 0.1), (0.4, 0.2), (None, None), (0.0, 0.3), (0.2, 0.2))
"""Norms of objective and barrier by step: one step did not take them apart, one objective had come to rest."""
EPOCHS = ((0, None, 2.0), (1, 1.8, 1.7), (2, 1.6, 1.9))
"""Epoch, training NLL and validation NLL (nats per token)."""
COMPARED = {
    "steered_separation": (0.8, 0.7, 0.9),
    "steered_coherence": (0.9, 0.88, 0.92),
    "separation": (0.6, 0.5, 0.7),
    "coherence": (0.98, 0.97, 0.99),
    "retain": (0.75, 0.6, 0.9),
    "recover": (0.8, 0.7, 0.9),
    "front_gain": (0.05, 0.03, 0.07),
    "excess": (0.4, None, None),
}


def of_run(kind: type[Record], /, **fields: object) -> Record:
    return plain(kind, run_id=GATE3, **fields)


def steps(adapter: str) -> list[Record]:
    return [
        of_run(
            HealStep,
            adapter_id=adapter,
            step=number,
            nll=2.0 - 0.1 * number,
            over=0.2 * number,
            grad_nll=objective,
            grad_barrier=barrier,
            update_norm=float(number),
        )
        # Not in order: what comes last is what has the highest number.
        for number, (objective, barrier) in reversed([*enumerate(GRADIENTS, start=1)])
    ]


def epochs(adapter: str) -> list[Record]:
    return [
        of_run(HealEpoch, adapter_id=adapter, epoch=n, train_nll=train, validation_nll=held_out, sigma_max=0.5 * n)
        for n, train, held_out in EPOCHS
    ]


def records() -> list[Record]:
    """A healed adapter, a plain one without a barrier, and one that was made of others and trained on nothing."""
    return [
        of_run(Run, gate="gate3", method="svd", trait="authority"),
        of_run(Adapter, adapter_id="a1", role="healed", round=2, tau=0.3, train_texts=21, validation_texts=3),
        of_run(Adapter, adapter_id="a2", role="plain", train_texts=21),
        of_run(Adapter, adapter_id="a3", role="weights"),
        *[record for name in ("a1", "a2") for record in (*steps(name), *epochs(name))],
        of_run(HealEpoch, adapter_id="a2", epoch=3),
        of_run(AdapterFigure, adapter_id="a1", quantity="kl_hooked_baked", value=1e-5),
        of_run(AdapterFigure, adapter_id="a1", quantity="cosine_teacher", value=0.6),
        of_run(Arm, arm_id="student", kind="healed", adapter_id="a1"),
        of_run(Arm, arm_id="other", kind="plain", adapter_id="a2"),
        of_run(Effect, arm_id="other", quantity="retain", value=9.0),
        *[
            of_run(Effect, arm_id="student", quantity=name, value=value, low=low, high=high)
            for name, (value, low, high) in COMPARED.items()
        ],
        of_run(Verdict, kind="label", name="label", status="HEALED"),
        of_run(Verdict, kind="gate", name="gate 3", status="PASS"),
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("heals") / "runs.duckdb")
    made.append(records())
    made.ingest()
    return made


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_answers_for_a_run(store: Store, question: str) -> None:
    whole = store.ask(question)
    assert not whole.is_empty()
    assert store.ask(question, {"run": "gate"}).equals(whole), "a prefix will do"
    assert store.ask(question, {"run": "gate1"}).is_empty()


def test_adapters_are_told_by_their_training(store: Store) -> None:
    rows = store.ask("adapters").rows(named=True)
    assert [(row["role"], row["steps"]) for row in rows] == [("plain", 5), ("weights", None), ("healed", 5)]
    plain_, weights, healed = rows
    assert (healed["first_nll"], healed["last_nll"], healed["update_norm"]) == pytest.approx((1.9, 1.5, 5.0))
    assert healed["gradient_ratio"] == pytest.approx(0.5), "the median of 0.2, 0.5 and 1"
    assert healed["over"] == pytest.approx(0.6) and healed["validation_nll"] == 1.9
    assert (healed["kl_hooked_baked"], healed["kl_base"], healed["cosine_teacher"]) == (1e-5, None, 0.6)
    assert (plain_["over"], plain_["gradient_ratio"]) == (None, None), "without a barrier there is nothing to be over"
    assert plain_["validation_nll"] is None, "an epoch that was not measured is not the one before it"
    assert weights["last_nll"] is None


def test_the_gradients_ratio_step_by_step(store: Store) -> None:
    rows = store.ask("heal_steps").rows(named=True)
    found = [(row["step"], row["gradient_ratio"]) for row in rows if row["role"] == "healed"]
    assert found == [(1, pytest.approx(0.2)), (2, pytest.approx(0.5)), (3, None), (4, None), (5, pytest.approx(1.0))]


def test_epochs_say_how_far_above_their_best(store: Store) -> None:
    rows = store.ask("heal_epochs").rows(named=True)
    found = [(row["epoch"], row["above_best"]) for row in rows if row["role"] == "healed"]
    assert found == [(0, 0.0), (1, 0.0), (2, pytest.approx(0.2))]


def test_heal_or_undo_is_the_healed_students_row(store: Store) -> None:
    (row,) = store.query("FROM heal_or_undo").rows(named=True)
    assert (row["label"], row["outcome"], row["round"], row["adapter_id"]) == ("HEALED", "PASS", 2, "a1")
    for name, (value, low, high) in COMPARED.items():
        assert (row[name], row[f"{name}_low"], row[f"{name}_high"]) == (value, low, high), name
    assert row["gradient_ratio"] == pytest.approx(0.5) and row["over"] == pytest.approx(0.6)


def test_a_student_that_was_not_judged_has_a_row_without_figures(tmp_path: Path) -> None:
    made = Store(tmp_path / "runs.duckdb")
    made.append([of_run(Run, gate="gate3"), of_run(Arm, arm_id="student", kind="healed", adapter_id="elsewhere")])
    made.ingest()
    (row,) = made.query("FROM heal_or_undo").rows(named=True)
    assert (row["label"], row["retain"], row["round"]) == (None, None, None)
