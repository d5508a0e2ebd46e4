"""The views and named queries over gate 2's texts, on a small store whose every answer is known."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_child import plain

from steerkit.evidence import TextEvidence
from steerkit.labelling import ALL, qualities
from steerkit.records import (
    Backtrack,
    Completion,
    ControllerStep,
    Direction,
    FilterDecision,
    FilterSet,
    Label,
    Record,
    Run,
    TextGain,
)
from steerkit.store import Store

QUESTIONS = (
    "backtracks",
    "controller",
    "drop_reasons",
    "filter_quality",
    "kept_figures",
    "kept_texts",
    "labels",
    "redecide",
    "survival",
)
"""The questions that this store answers."""
GATE2 = "gate2"
"""The run of gate 2; it goes on from run `gate1`."""
LIMITS = {"perplexity": 30.0, "loops": 0.5, "length": 4.0}
TEXTS = {
    # role, dose, perplexity, loops (at least), length (at least)
    "b1": ("base", 0.0, 10.0, 0.9, 40.0),
    "b2": ("base", 0.0, 31.0, 0.9, 40.0),
    "p1": ("probe", 1.0, 12.0, 0.9, 20.0),
    "p2": ("probe", 1.0, 35.0, 0.9, 20.0),
    "p3": ("probe", 2.0, 50.0, 0.2, 20.0),
    "c1": ("collected", 1.0, 14.0, 0.9, 30.0),
    "c2": ("collected", 1.0, 16.0, 0.2, 30.0),
    "c3": ("collected", 1.0, float("inf"), 0.9, 0.0),
    "r1": ("random", 1.0, 20.0, 0.9, 25.0),
}
DROPPED = {"b2": ["perplexity"], "p2": ["perplexity"], "p3": ["loops", "perplexity"], "c2": ["loops"]}
DROPPED["c3"] = ["length", "perplexity"]
KL = [float(i) for i in range(11)]
LABELS = [
    # completion, when, labeller, coherent, trait
    ("p1", 1, "ada", False, "neither"),
    ("p1", 2, "ada", True, "enacts"),
    ("p1", 1, "bob", True, "neither"),
    ("p2", 1, "ada", True, "enacts"),
    ("p3", 1, "ada", False, "neither"),
    ("c1", 1, "ada", True, "narrates"),
    ("c2", 1, "ada", True, "enacts"),
    ("c2", 1, "bob", False, "neither"),
    ("c3", 1, "ada", True, "enacts"),
    ("c3", 2, "ada", None, None),
]


def text(name: str) -> Completion:
    role, dose, perplexity, _, length = TEXTS[name]
    given = {"role": role, "dose": dose, "strength": 2 * dose, "perplexity": perplexity, "tokens": int(length)}
    direction = None if role == "base" else "direction"
    return plain(
        Completion, run_id=GATE2, completion_id=name, direction_id=direction, token_kl=KL, text=f"text {name}", **given
    )


def decided(name: str, filter_id: str = "now", loosened: float = 0.0) -> list[FilterDecision]:
    values = dict(zip(LIMITS, TEXTS[name][2:], strict=True))
    return [
        decision(name, check, value, LIMITS[check] + (loosened if check == "perplexity" else 0), filter_id)
        for check, value in values.items()
    ]


def decision(name: str, check: str, value: float, threshold: float, filter_id: str) -> FilterDecision:
    most = check == "perplexity"
    keep = value <= threshold if most else value >= threshold
    given = {"name": check, "value": value, "threshold": threshold, "direction": "at most" if most else "at least"}
    return plain(FilterDecision, run_id=GATE2, completion_id=name, filter_id=filter_id, keep=keep, **given)


def labels() -> list[Label]:
    names = ("completion_id", "seq", "labeller", "coherent", "trait")
    return [plain(Label, run_id=GATE2, **dict(zip(names, row, strict=True))) for row in LABELS]


def round_of(filter_id: str, seq: int) -> FilterSet:
    return plain(FilterSet, run_id=GATE2, filter_id=filter_id, seq=seq)


def records() -> list[Record]:
    """A run of gate 1 with a direction, and one of gate 2 that went on with it and was decided on twice."""
    spec = json.dumps({"texts": {"backtrack": True, "schedule": "exp:40"}})
    rewound = {"run_id": GATE2, "completion_id": "c1", "at_token": 20, "rewound_to": 5, "why": "kl"}
    steps = [("probe", 1.0), ("choose", 1.0), ("collect", 1.0)]
    return [
        plain(Run, run_id="gate1", gate="gate1"),
        plain(Direction, run_id="gate1", direction_id="direction", kind="real"),
        plain(Run, run_id=GATE2, gate="gate2", method="svd", trait="authority", parent_run="gate1", spec=spec),
        *[text(name) for name in TEXTS],
        *[plain(TextGain, run_id=GATE2, completion_id=name, gain=0.1 * i) for i, name in enumerate(("p1", "p2", "c1"))],
        *[plain(Backtrack, **rewound, attempt=number) for number in (1, 2)],
        plain(Backtrack, **rewound | {"completion_id": "r1"}, attempt=1),
        *[plain(ControllerStep, run_id=GATE2, number=i, phase=p, dose=d) for i, (p, d) in enumerate(steps)],
        round_of("then", 0),
        *[one for name in TEXTS for one in decided(name, "then", loosened=100.0)],
        round_of("now", 5),
        *[one for name in TEXTS for one in decided(name)],
        *labels(),
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("texts") / "runs.duckdb")
    made.append(records())
    made.ingest()
    return made


def rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    return store.query(sql).rows()


def test_only_the_newest_round_counts(store: Store) -> None:
    found = store.query("SELECT * FROM decision")
    assert set(found["filter_id"]) == {"now"} and found.height == len(TEXTS) * len(LIMITS)


def test_a_round_that_is_repeated_counts_once(tmp_path: Path) -> None:
    made = Store(tmp_path / "runs.duckdb")
    made.append([*records(), round_of("then", 9), *[one for name in TEXTS for one in decided(name, "then", 100.0)]])
    made.ingest()
    found = made.query("SELECT * FROM decision")
    assert set(found["filter_id"]) == {"then"} and found.height == len(TEXTS) * len(LIMITS)


def test_a_text_is_kept_when_every_check_keeps_it(store: Store) -> None:
    found = {row["completion_id"]: row for row in store.query("FROM text_state").to_dicts()}
    assert found.keys() == TEXTS.keys()
    for name, row in found.items():
        reasons = DROPPED.get(name, [])
        assert (row["kept"], row["dropped_by"]) == (not reasons, reasons), name
        assert row["only_reason"] == (reasons[0] if len(reasons) == 1 else None), name
        assert (row["kl_mean"], row["kl_p95"]) == pytest.approx((5.0, np.percentile(KL, 95)))
    assert found["p2"]["gain"] == pytest.approx(0.1) and found["c2"]["gain"] is None
    assert (found["p3"]["role"], found["p3"]["dose"], found["p3"]["strength"]) == ("probe", 2.0, 4.0)


def test_survival_by_role_and_dose(store: Store) -> None:
    found = rows(store, "SELECT role, dose, made, kept, fraction, median_perplexity FROM survival ORDER BY role, dose")
    assert found == [
        ("base", 0.0, 2, 1, 0.5, 20.5),
        ("collected", 1.0, 3, 1, 1 / 3, 16.0),
        ("probe", 1.0, 2, 1, 0.5, 23.5),
        ("probe", 2.0, 1, 0, 0.0, 50.0),
        ("random", 1.0, 1, 1, 1.0, 20.0),
    ]
    gains = dict(rows(store, "SELECT role, mean_gain FROM survival WHERE dose = 1"))
    assert gains == {"collected": pytest.approx(0.2), "probe": pytest.approx(0.05), "random": None}
    assert {mean for (mean,) in rows(store, "SELECT mean_kl FROM survival")} == {5.0}


def test_drop_reasons(store: Store) -> None:
    assert rows(store, "SELECT * EXCLUDE run_id FROM drop_reason ORDER BY name") == [
        ("length", 4.0, "at least", 1, 0, 1 / 6, 0, 2),
        ("loops", 0.5, "at least", 2, 1, 2 / 6, 0, 2),
        ("perplexity", 30.0, "at most", 3, 1, 3 / 6, 1, 2),
    ]


def test_the_newest_label_of_each_labeller_counts(store: Store) -> None:
    said = rows(store, "SELECT completion_id, labeller, coherent FROM current_label ORDER BY ALL")
    assert said == [
        ("c1", "ada", True),
        ("c2", "ada", True),
        ("c2", "bob", False),
        ("p1", "ada", True),
        ("p1", "bob", True),
        ("p2", "ada", True),
        ("p3", "ada", False),
    ]
    truth = rows(store, "SELECT completion_id, good, labellers FROM label_truth ORDER BY ALL")
    assert truth == [("c1", False, 1), ("p1", True, 2), ("p2", True, 1), ("p3", False, 1)], "ties are left out"


def test_filter_quality(store: Store) -> None:
    found = rows(store, "SELECT name, tp, fp, fn, tn FROM filter_quality ORDER BY name")
    assert found == [
        ("all checks", 1, 1, 1, 1),
        ("length", 0, 0, 2, 2),
        ("loops", 1, 0, 1, 2),
        ("perplexity", 1, 1, 1, 1),
    ]


def test_filter_quality_is_what_python_says(store: Store) -> None:
    texts = [
        TextEvidence(text(name), tuple(decided(name)), labels=tuple(newest(name)))
        for name in TEXTS
        if TEXTS[name][0] in ("probe", "collected")
    ]
    found = {row["name"]: row for row in store.query("FROM filter_quality").to_dicts()}
    said = qualities(texts)
    assert said[0].name == ALL and {quality.name for quality in said} == found.keys()
    for quality in said:
        row = found[quality.name]
        assert (row["tp"] + row["fp"], row["tp"], row["fn"]) == (quality.hits, quality.right, quality.missed)
        for share, value in ((quality.precision, row["precision"]), (quality.recall, row["recall"])):
            assert value == (None if share is None else pytest.approx(share.value)), quality.name


def newest(name: str) -> list[Label]:
    """Each labeller's newest label of a text, without those that were taken back."""
    said = {label.labeller: label for label in sorted(labels(), key=lambda one: one.seq) if label.completion_id == name}
    return [label for label in said.values() if label.coherent is not None]


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_answers_for_a_run(store: Store, question: str) -> None:
    whole = store.ask(question)
    assert not whole.is_empty()
    assert store.ask(question, {"run": "gate"}).equals(whole), "a prefix will do"
    assert store.ask(question, {"run": "gate1"}).is_empty(), "gate 1 has no such texts"


@pytest.mark.parametrize(
    ("threshold", "kept"),
    [(None, "b1 p1 c1 r1"), (13, "b1 p1"), (40.0, "b1 b2 p1 p2 c1 r1"), (1e300, "b1 b2 p1 p2 c1 r1")],
)
def test_redecide_moves_one_threshold(store: Store, threshold: float | None, kept: str) -> None:
    found = store.ask("redecide", {"thresholds": json.dumps({"perplexity": threshold})})
    assert set(found.filter(found["would_be_kept"])["completion_id"]) == set(kept.split())
    assert found.height == len(TEXTS)
    changed = (found["would_be_kept"] != found["kept"]).to_list()
    assert changed == sorted(changed, reverse=True), "what changes comes first"


def test_kept_figures(store: Store) -> None:
    row = store.ask("kept_figures").row(0, named=True)
    assert (row["run_id"], row["method"], row["trait"]) == (GATE2, "svd", "authority")
    assert (row["backtrack"], row["schedule"], row["retries"]) == (True, "exp:40", 2)
    assert (row["made"], row["kept"], row["kept_share"]) == (6, 2, pytest.approx(1 / 3))
    # Three probes of 20 tokens, collected ones of 30, 30 and 0, and 15 that were rewound, twice.
    assert (row["tokens_made"], row["tokens_kept"]) == (60 + 60 + 30, 50)
    assert row["tokens_made_per_kept_token"] == pytest.approx(3.0)
    assert (row["mean_gain_kept"], row["median_perplexity_kept"]) == pytest.approx((0.1, 13.0))


def test_questions_about_single_texts(store: Store) -> None:
    assert store.ask("kept_texts")["completion_id"].to_list() == ["c1", "p1"]
    retries = store.ask("backtracks").select("completion_id", "attempt", "kept", "text").rows()
    assert retries == [("c1", 1, True, "text c1"), ("c1", 2, True, "text c1"), ("r1", 1, True, "text r1")]
    assert store.ask("controller")["phase"].to_list() == ["probe", "choose", "collect"]
    assert store.ask("labels").select("completion_id", "labeller", "kept").row(1) == ("c2", "ada", False)
    assert store.ask("drop_reasons")["name"].to_list() == ["perplexity", "loops", "length"]
    assert store.ask("filter_quality")["name"].to_list() == ["all checks", "length", "loops", "perplexity"]


def test_lineage_goes_on_from_gate_1(store: Store) -> None:
    tree = rows(store, "SELECT depth, kind, id, run_id FROM lineage ORDER BY path")
    assert tree[:3] == [(0, "run", "gate1", "gate1"), (1, "direction", "direction", "gate1"), (1, "run", GATE2, GATE2)]
    assert tree[3:8] == [
        (2, "role", "base", GATE2),
        (3, "completion", "b1", GATE2),
        (4, "decision", "b1", GATE2),
        (3, "completion", "b2", GATE2),
        (4, "decision", "b2", GATE2),
    ]
    assert [name for _, kind, name, _ in tree if kind == "role"] == ["base", "collected", "probe", "random"]
    assert len(tree) == 3 + 4 + 2 * len(TEXTS)
    said = dict(rows(store, "SELECT id, label FROM lineage WHERE kind = 'decision'"))
    assert said == {n: f"dropped by {', '.join(DROPPED[n])}" if n in DROPPED else "kept" for n in TEXTS}
    roots = rows(store, "SELECT DISTINCT path[1] FROM lineage")
    assert roots == [("run:gate1",)]


def test_a_run_whose_parent_is_elsewhere_is_a_root(tmp_path: Path) -> None:
    made = Store(tmp_path / "runs.duckdb")
    made.append([plain(Run, run_id=GATE2, parent_run="elsewhere"), text("p1")])
    made.ingest()
    tree = rows(made, "SELECT depth, kind, id, parent_id FROM lineage ORDER BY path")
    assert tree == [(0, "run", GATE2, "elsewhere"), (1, "role", "probe", GATE2), (2, "completion", "p1", "probe")]


def test_lineage_of_many_texts_is_fast(tmp_path: Path) -> None:
    made = Store(tmp_path / "runs.duckdb")
    for run in ("one", "two", "three"):
        mine = {"run_id": run}
        texts = [plain(Completion, **mine, completion_id=f"{run}{i}", role="collected") for i in range(300)]
        checks = [
            plain(
                FilterDecision, **mine, filter_id="now", completion_id=one.completion_id, name=f"check {n}", keep=True
            )
            for one in texts
            for n in range(15)
        ]
        made.append([plain(Run, **mine), plain(FilterSet, **mine, filter_id="now"), *texts, *checks])
    made.ingest()
    start = time.perf_counter()
    found = made.ask("lineage", {"run": "two"})
    assert found.height == 2 + 2 * 300
    assert time.perf_counter() - start < 1.0
