"""The views and named queries: numbers against numpy and against the Python metrics, and every query binds."""

import re
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from store_child import plain
from test_heal_queries import QUESTIONS as OF_ADAPTERS
from test_page_queries import QUESTIONS as OF_PAGES
from test_text_queries import QUESTIONS as OF_TEXTS

from steerkit import resources
from steerkit.errors import UsageError
from steerkit.evidence import ArmEvidence
from steerkit.metrics import measure
from steerkit.records import (
    ANSWER_FIELDS,
    FOUNDATIONS,
    Answer,
    Arm,
    Calibration,
    Completion,
    Direction,
    DirectionLayer,
    Dose,
    Effect,
    Prior,
    Record,
    Run,
    RunEvent,
    Unit,
    Verdict,
    Vignette,
)
from steerkit.stats import resample
from steerkit.store import Store

LABELS = tuple(np.repeat(FOUNDATIONS, 3))
"""Each foundation has three vignettes."""
ORDERS = 2
AUTHORITY = FOUNDATIONS.index("Authority")
NAMES = dict(zip(FOUNDATIONS, ANSWER_FIELDS, strict=True))


def log_softmax(scores: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        shifted = scores - scores.max(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


class Planted:
    """Random answers of a base and two arms, as arrays and as the records a run would store."""

    def __init__(self, tmp_path: Path, with_prior: bool = True) -> None:
        chance = np.random.default_rng(7)
        self.arms = ("base", "up", "odd")
        self.raw = {name: chance.normal(-3, 2, (len(LABELS), ORDERS, 7)) for name in self.arms}
        self.outside = {name: chance.uniform(0, 0.2, (len(LABELS), ORDERS)) for name in self.arms}
        # A vignette that cannot be read, and an answer that vanished.
        self.raw["odd"][10, 1, 2] = np.nan
        self.raw["odd"][11, :, AUTHORITY] = -np.inf
        self.prior = chance.normal(0, 1, (ORDERS, 7)) if with_prior else np.zeros((ORDERS, 7))
        self.store = Store(tmp_path / "runs.duckdb")
        self.store.append([self.registered(), *self.arm_records(), *(self.priors() if with_prior else [])])
        self.store.append(self.answers())
        self.store.ingest()

    def registered(self) -> Run:
        return plain(Run)

    def arm_records(self) -> list[Arm]:
        kinds = {"base": "base", "up": "steered", "odd": "random"}
        return [self.arm(name, kinds[name]) for name in self.arms]

    def arm(self, name: str, kind: str, eval_hash: str = "hash") -> Arm:
        steered = {} if kind == "base" else {"direction_id": "direction", "method": "svd"}
        return plain(Arm, arm_id=name, kind=kind, dose=1.0, eval_hash=eval_hash, **steered)

    def answers(self) -> list[Answer]:
        return [self.answer(name, row, order) for name in self.arms for row in range(21) for order in range(ORDERS)]

    def answer(self, name: str, row: int, order: int) -> Answer:
        raw = dict(zip(ANSWER_FIELDS, map(float, self.raw[name][row, order]), strict=True))
        place = {"arm_id": name, "vignette": f"v{row}", "foundation": LABELS[row], "ordering": order}
        return plain(Answer, **place, **raw, outside_mass=float(self.outside[name][row, order]), prefill_nll=0.5 + row)

    def answers_as(self, arm: str, **fields: float) -> list[Answer]:
        """The answers of arm 'up' under another arm's name, with other fields."""
        return [replace(answer, arm_id=arm, **fields) for answer in self.answers() if answer.arm_id == "up"]

    def priors(self) -> list[Prior]:
        """The prior that counts, and one of the other kind, which does not."""
        return [
            plain(Prior, eval_hash="hash", kind=kind, ordering=order, foundation=FOUNDATIONS[i], nats=float(nats))
            for kind, table in (("content-free", self.prior + 99), ("set-mean", self.prior))
            for (order, i), nats in np.ndenumerate(table)
        ]

    def evidence(self, name: str) -> ArmEvidence:
        return ArmEvidence(
            arm_id=name,
            kind="steered",
            method="svd",
            direction_id=None,
            strength=1.5,
            dose=1.0,
            choice=log_softmax((self.raw[name] - self.prior).mean(axis=1)),
            raw_choice=log_softmax(self.raw[name].mean(axis=1)),
            mass=(1 - self.outside[name]).mean(axis=1),
            prefill_nll=0.5 + np.arange(len(LABELS), dtype=float),
        )

    def trait(self, name: str) -> dict[str, float]:
        return self.store.query("FROM trait WHERE arm_id = $arm", {"arm": name}).row(0, named=True)


@pytest.fixture(scope="module", params=[True, False], ids=["prior", "no prior"])
def planted(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted"), with_prior=request.param)


@pytest.mark.parametrize("name", ["base", "up", "odd"])
def test_trait_is_what_numpy_says(planted: Planted, name: str) -> None:
    arm, found, labels = planted.evidence(name), planted.trait(name), np.asarray(LABELS)
    for suffix, choice in (("", arm.choice), ("_uncorrected", arm.raw_choice)):
        read = ~np.isnan(choice).any(axis=1)
        for i, label in enumerate(FOUNDATIONS):
            diagonal = np.maximum(choice[read & (labels == label), i], np.log(1e-6)).mean()
            assert found[f"{NAMES[label]}_nats{suffix}"] == pytest.approx(diagonal), label
        assert found[f"auth_nats{suffix}"] == found[f"authority_nats{suffix}"]
        assert found[f"auth_marginal{suffix}"] == pytest.approx(np.log(np.exp(choice[read, AUTHORITY]).mean()))
    assert found["auth_mass_on"] + found["auth_mass_off"] == pytest.approx(np.exp(found["auth_marginal"]))
    assert found["coherence"] == pytest.approx(arm.mass.mean() / planted.evidence("base").mass.mean())
    assert found["frac_unscorable"] == pytest.approx((1 if name == "odd" else 0) / len(LABELS))


@pytest.mark.parametrize("name", ["up", "odd"])
def test_views_agree_with_the_python_metrics(planted: Planted, name: str) -> None:
    said = measure(planted.evidence(name), planted.evidence("base"), LABELS, "Authority", -1, resample(LABELS, 0, 1))
    found = planted.trait(name)
    for quantity in ("auth_nats", "auth_marginal", "care_nats", "coherence", "mass", "frac_unscorable", "prefill_nll"):
        assert found[quantity] == pytest.approx(said.value(quantity)), quantity
    deltas = planted.store.query("FROM delta WHERE arm_id = $arm", {"arm": name}).to_dicts()
    for row in deltas:
        assert row["d_nats"] == pytest.approx(said.value(f"d_{NAMES[row['foundation']]}")), row["foundation"]
    assert sum(row["paired"] for row in deltas) == said.paired
    rates = planted.store.query("FROM arm_foundation WHERE arm_id = $arm AND foundation = 'Authority'", {"arm": name})
    assert rates["pick_rate"].item() == pytest.approx(said.value("pick_rate"))
    compared = planted.store.delta_arms("base", name)
    assert compared["d_nats"].to_list() == pytest.approx(
        [row["d_nats"] for row in sorted(deltas, key=lambda r: r["foundation"])]
    )


def test_a_missing_label_bias_is_a_signal(tmp_path: Path) -> None:
    planted = Planted(tmp_path, with_prior=False)
    planted.store.append(planted.priors()[:-1])
    planted.store.ingest()
    found = planted.trait("base")
    assert found["frac_unscorable"] == 1 and found["auth_nats"] is None and found["auth_nats_uncorrected"] is not None


def test_a_change_exists_only_within_one_evaluation(tmp_path: Path) -> None:
    planted = Planted(tmp_path)
    stranger, moved = planted.arm("stranger", "steered", "another hash"), planted.answers_as("stranger")
    claim = _effect("stranger", "d_target", -1.0)
    planted.store.append([stranger, *moved, claim])
    planted.store.ingest()
    assert planted.trait("stranger")["auth_nats"] is not None
    assert planted.trait("stranger")["coherence"] is None
    assert planted.store.query("FROM delta WHERE arm_id = 'stranger'").is_empty()
    assert planted.store.query("SELECT d_auth, coh_cost FROM pareto WHERE arm_id = 'stranger'").row(0) == (None, None)
    assert any("arm stranger of run run claims a change (d_target) but no base" in p for p in planted.store.problems())


def _effect(arm: str, quantity: str, value: float | None, p_null: float | None = None) -> Effect:
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    return plain(Effect, arm_id=arm, quantity=quantity, value=value, low=low, high=high, p_null=p_null)


def surroundings() -> list[Record]:
    """The records that surround the answers of a gate 1."""
    return [
        plain(RunEvent, seq=1_700_000_000_000_000_000, state="started"),
        plain(RunEvent, seq=1_700_000_001_000_000_000, state="finished", detail="done"),
        plain(Unit, stage="score", seconds=2.0),
        *[plain(Vignette, vignette=f"v{i}", foundation=name, text=f"text {i}") for i, name in enumerate(LABELS)],
        plain(Direction, direction_id="direction", method="svd"),
        plain(DirectionLayer, direction_id="direction", block=9),
        plain(Dose, direction_id="direction", strength=1.0),
        plain(Calibration, direction_id="direction", strength=1.5),
        plain(Completion, completion_id="c", arm_id="up", direction_id="direction", text="a\nb", token_kl=[0.1, 0.3]),
        _effect("up", "target_nats", -3.0),
        _effect("up", "d_target", -0.5, p_null=0.2),
        _effect("up", "coherence", 0.99),
        _effect("odd", "target_nats", -2.0),
        _effect("odd", "d_target", None),
        plain(Verdict, name="gate", kind="gate", status="PASS"),
        plain(Verdict, name="separation", kind="criterion", status="met", value=0.5),
        plain(Verdict, name="too weak", kind="hypothesis", status="observed"),
    ]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    planted = Planted(tmp_path_factory.mktemp("full"))
    planted.store.append(surroundings())
    planted.store.ingest()
    return planted


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("empty") / "runs.duckdb")
    store.append([plain(Vignette, run_id="another")])
    store.ingest()
    return store


def test_pareto_puts_the_cheapest_shift_first(full: Planted) -> None:
    rows = full.store.query("FROM pareto WHERE method = 'svd' ORDER BY coh_cost").to_dicts()
    assert [row["arm_id"] for row in rows] == ["up", "odd"]
    up = rows[0]
    assert (up["target_nats"], up["d_target"], up["d_target_low"], up["p_null"]) == (-3.0, -0.5, -0.6, 0.2)
    assert up["coh_cost"] == pytest.approx(abs(up["coherence"] - 1) / 0.5)
    assert up["d_auth"] == pytest.approx(full.store.delta_arms("base", "up").row(0, named=True)["d_nats"])
    assert rows[1]["coh_cost"] is None, "what was not measured is blank, not zero"


def test_a_broken_arm_has_no_cost(tmp_path: Path) -> None:
    planted = Planted(tmp_path)
    collapsed = planted.arm("collapsed", "steered")
    answers = [
        replace(answer, outside_mass=float("nan")) if answer.vignette == "v0" else answer
        for answer in planted.answers_as("collapsed", outside_mass=0.5)
    ]
    planted.store.append([collapsed, *answers, _effect("collapsed", "d_target", -9.0)])
    planted.store.ingest()
    row = planted.store.query("FROM pareto WHERE arm_id = 'collapsed'").row(0, named=True)
    assert row["band"] == "broken" and row["coh_cost"] is None
    assert row["coherence"] == pytest.approx(0.5 * 20 / 21 / planted.evidence("base").mass.mean())


def test_state_progress_and_lineage(full: Planted) -> None:
    state = full.store.query("SELECT state, detail, since::VARCHAR FROM run_state").rows()
    assert state == [("finished", "done", "2023-11-14 22:13:21")]
    assert full.store.query("SELECT stage, units, seconds FROM progress_units").rows() == [("score", 1, 2.0)]
    tree = full.store.query("SELECT depth, kind, id FROM lineage ORDER BY path").rows()
    assert tree == [
        (0, "run", "run"),
        (1, "arm", "base"),
        (2, "score", "base"),
        (1, "direction", "direction"),
        (2, "arm", "odd"),
        (3, "score", "odd"),
        (2, "arm", "up"),
        (3, "completion", "c"),
        (3, "score", "up"),
    ]


ARGUMENTS = {
    "compare": {"arm": "up", "base": "base"},
    "answers": {"run": "run", "arm": "up"},
    "texts_of_arm": {"run": "run", "arm": "up"},
}
"""What a question cannot do without; every other parameter may be left out."""
OF_RUNS = ("plane_unjudged", "thresholds", "underway")
"""Questions about runs in a state that this store's run is not in: asked in tests of the pages that show them."""
OF_SCHEMA = ("columns", "relations")
"""Questions about the schema itself, which every store answers."""


@pytest.mark.parametrize("question", resources.questions())
def test_every_question_binds_and_answers(full: Planted, empty: Store, question: str) -> None:
    sql = resources.question(question)
    first, *rest = sql.splitlines()
    assert first.startswith("-- ") and "?" in first, "the first line says what the query answers"
    for name in set(re.findall(r"\$(\w+)", "\n".join(rest))):
        assert f"${name}" in first, f"the first line explains ${name}"
    # Those about texts, adapters, sweeps and comparisons are asked of stores that have some, in tests of their own.
    compared = ("methods_compared", "dose_response", "layers")
    elsewhere = (*OF_TEXTS, *OF_ADAPTERS, *OF_PAGES, *OF_RUNS, *compared, "sweep", "rounds")
    assert question in elsewhere or not full.store.ask(question, ARGUMENTS.get(question)).is_empty()
    if question == "compare":
        with pytest.raises(UsageError, match="arms must be stored to be compared, but 'base' is not"):
            empty.ask(question, ARGUMENTS[question])
    else:
        assert question in OF_SCHEMA or empty.ask(question, ARGUMENTS.get(question)).is_empty()


def test_questions_filter(full: Planted) -> None:
    assert full.store.ask("pareto", {"method": "svd", "trait": "x"}).height == 2
    assert full.store.ask("pareto", {"method": "none"}).is_empty()
    assert full.store.ask("pareto", {"run": "r"}).height == 2
    assert full.store.ask("pareto", {"run": "n"}).is_empty()
    assert full.store.ask("hypotheses", {"run": "run"})["name"].to_list() == ["too weak"]
    assert full.store.ask("verdicts", {"run": "run"})["name"].to_list() == ["gate", "separation"]
    movers = full.store.ask("biggest_movers", {"arm": "up", "limit": 5})
    assert full.store.ask("biggest_movers", {"arm": "up", "foundation": "Care", "limit": 9}).height == 3
    assert movers.height == 5 and movers["moved"].abs().is_sorted(descending=True)
    assert movers["text"][0] == "text " + movers["vignette"][0].removeprefix("v")


def test_unknown_questions_and_parameters_are_named(full: Planted) -> None:
    with pytest.raises(UsageError, match=r"unknown question 'paretto'; did you mean 'pareto'\?"):
        full.store.ask("paretto")
    with pytest.raises(UsageError, match="unknown parameter of pareto 'methd'"):
        full.store.ask("pareto", {"methd": "svd"})


def test_no_two_migrations_have_one_number() -> None:
    files = list((resources.folder("db") / "schema").glob("*.sql"))
    numbers = list(resources.migrations())
    assert numbers[0] == 1 and numbers == sorted(numbers) and len(numbers) == len(files)


def test_a_view_s_columns_mean_what_the_tables_say_of_them(tmp_store: Store) -> None:
    told = {
        row["column"]: row["meaning"] for row in tmp_store.ask("columns", {"table": "pareto"}).iter_rows(named=True)
    }
    assert not [column for column, meaning in told.items() if meaning is None]
    of_arms = tmp_store.ask("columns", {"table": "arm"})
    assert told["dose"] == of_arms.filter(of_arms["column"] == "dose")["meaning"][0], "not what a dose is elsewhere"
    assert tmp_store.ask("columns", {"table": "heal_or_undo"}).filter(column="front_gain_low")["meaning"][0] is not None
