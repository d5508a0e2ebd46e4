"""Gate 2 from the command line on the planted model: what it keeps, what it stores, and what a kill does to it."""

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from math import exp, isclose
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from small_gate2 import BASE, KEEP, LADDER, LENGTH, PER_DOSE, RANDOM, STARVED, Ran, Ready, given, ran, ready, rows
from test_resume import Nursery, units

from steerkit.plugins import load_filters
from steerkit.records import Backtrack, Completion, ControllerStep, FilterDecision, FilterSet, TextGain, Verdict
from steerkit.request import configured, split
from steerkit.request_gate2 import SECTIONS
from steerkit.spec import ControlSpec
from steerkit.store import Store

KEYS = {
    *("verdict", "criteria", "hypotheses", "doses", "groups", "checks", "kept", "made", "wanted", "chosen_dose"),
    *("parent_run", "run_id", "store", "pictures", "seconds", "texts"),
}
TEXT_KEYS = {"completion_id", "role", "dose", "prompt_id", "text", "kept", "dropped_by", "perplexity", "gain"}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """Gate 1 has run."""
    return ready(tmp_path_factory.mktemp("before"))


@pytest.fixture(scope="module")
def store(before: Ready, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store in which gate 2 has run once."""
    return before.copy(tmp_path_factory.mktemp("after"))


@pytest.fixture(scope="module")
def found(before: Ready, store: Path) -> Ran:
    """Gate 2's first run."""
    return ran(before.gate2(store))


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path_factory.mktemp("log") / "workers.log")
    yield nursery
    nursery.end()


@pytest.fixture
def own(before: Ready, tmp_path: Path) -> Path:
    """A store of the test's own in which gate 1 has run."""
    return before.copy(tmp_path / "own")


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads a model fails."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("steerkit.session.load", load)


def test_the_planted_direction_passes(found: Ran) -> None:
    document = found.document
    assert (found.code, document["verdict"]) == (0, "PASS"), document["summary"]
    assert {criterion["status"] for criterion in document["criteria"]} == {"met"}
    assert "observed" not in {said["status"] for said in document["hypotheses"]}
    assert document["chosen_dose"] == 1.0


def test_the_stronger_the_dose_the_more_trait_and_the_less_sense(found: Ran) -> None:
    """The planted direction makes its own texts likelier the further it pushes, and the base's less likely."""
    probed = [row for row in found.document["doses"] if row["dose"] in LADDER]
    assert [row["dose"] for row in probed] == list(LADDER)
    for quantity in ("mean_gain", "mean_kl", "median_perplexity"):
        values = [row[quantity] for row in probed]
        assert values == sorted(values) and values[0] < values[-1], quantity
    assert [row["survival"] for row in probed] == [1.0, 1.0, 0.0, 0.0]
    groups = found.document["groups"]
    assert groups["kept"]["d_gain"]["low"] > groups["random"]["d_gain"]["value"] > 0
    assert "survival" not in groups["kept"] and groups["base"]["survival"]["value"] == 1.0


def test_the_document_has_what_it_promises(found: Ran, before: Ready, store: Path) -> None:
    document = found.document
    assert document.keys() >= KEYS
    for said in (*document["criteria"], *document["hypotheses"]):
        assert said.keys() >= {"name", "status", "value", "detail", "next_step"} and said["detail"]
    assert (document["gate"], document["parent_run"], document["wanted"]) == ("gate2", before.run, KEEP)
    assert Path(document["store"]) == store and document["seconds"] > 0
    texts = document["texts"]
    assert all(text.keys() == TEXT_KEYS for text in texts)
    assert document["made"] == len(texts) == sum(row["made"] for row in document["doses"])
    kept = [text for text in texts if text["kept"]]
    assert document["kept"] == len(kept) == sum(row["kept"] for row in document["doses"]) >= KEEP
    assert all(text["kept"] is not bool(text["dropped_by"]) for text in texts)
    suffixes = []
    for path in map(Path, document["pictures"]):
        suffixes.append(path.suffix)
        assert path.stat().st_size > 1000 and document["run_id"] in path.name
    assert suffixes == [".png", ".svg"]


def test_the_checks_add_up(found: Ran) -> None:
    """Every check drops as many texts as name it, and alone those that name nothing else."""
    dropped = [text["dropped_by"] for text in found.document["texts"]]
    assert {check["name"] for check in found.document["checks"]} == set(load_filters())
    for check in found.document["checks"]:
        assert check["dropped"] == sum(check["name"] in names for names in dropped)
        assert check["alone"] == sum(names == [check["name"]] for names in dropped)
        assert check["base"] == BASE
    probed = [text["dropped_by"] for text in found.document["texts"] if text["role"] == "probe"]
    assert sum("perplexity" in names for names in probed) == 2 * PER_DOSE


def stored(store: Path, kind: Any, run: str) -> Any:
    return Store(store).records(kind, run)


def test_every_table_is_filled(found: Ran, before: Ready, store: Path) -> None:
    run = found.document["run_id"]
    texts = stored(store, Completion, run)
    roles = Counter(text.role for text in texts)
    collected = found.document["made"] - len(LADDER) * PER_DOSE
    assert roles == {"base": BASE, "probe": len(LADDER) * PER_DOSE, "collected": collected, "random": RANDOM}
    names = {text.completion_id for text in texts}
    assert len(names) == len(texts)
    [round_] = stored(store, FilterSet, run)
    decisions = stored(store, FilterDecision, run)
    asked = Counter((decision.completion_id, decision.name) for decision in decisions)
    assert asked == Counter((name, check) for name in names for check in load_filters())
    assert {decision.filter_id for decision in decisions} == {round_.filter_id}
    assert json.loads(round_.thresholds)["perplexity"] == 100
    assert Counter(gain.completion_id for gain in stored(store, TextGain, run)) == Counter(names)
    [verdict] = [verdict for verdict in stored(store, Verdict, run) if verdict.kind == "gate"]
    assert (verdict.gate, verdict.status) == ("gate2", "PASS")
    [(parent, gate)] = (
        Store(store).query("SELECT parent_run, gate FROM run WHERE run_id = $run", {"run": run}).iter_rows()
    )
    assert (parent, gate) == (before.run, "gate2")


def test_every_text_is_whole(found: Ran, store: Path) -> None:
    """Its pieces are the text, its figures those of its tokens, and an unsteered text does not differ from the base."""
    texts = stored(store, Completion, found.document["run_id"])
    gains = {gain.completion_id: gain for gain in stored(store, TextGain, found.document["run_id"])}
    for text in texts:
        assert "".join(text.pieces) == text.text and len(text.pieces) == len(text.token_ids) == text.tokens
        assert len(text.token_kl) == len(text.token_nll) == text.tokens + text.ended
        assert isclose(text.perplexity, exp(fmean(text.token_nll)), rel_tol=1e-9)
        assert text.tokens == LENGTH or text.ended
        assert gains[text.completion_id].tokens == text.tokens
        assert text.schedule == "constant" and text.sample_seed is not None
        steered = text.role != "base"
        assert (text.strength > 0) is (text.dose > 0) is (text.direction_id is not None) is steered
        assert steered or set(text.token_kl) == {0.0}
    assert len({text.sample_seed for text in texts}) == len(texts)


def test_the_controller_says_what_it_did(found: Ran, store: Path) -> None:
    run = found.document["run_id"]
    steps = stored(store, ControllerStep, run)
    assert [step.number for step in steps] == list(range(len(steps)))
    assert [step.phase for step in steps[:5]] == ["probe"] * 4 + ["choose"]
    assert [(step.dose, step.made, step.survived) for step in steps[:4]] == [
        (0.5, 4, 4),
        (1.0, 4, 4),
        (2.0, 4, 0),
        (4.0, 4, 0),
    ]
    assert [step.kept for step in steps[:5]] == [4, 8, 8, 8, 8]
    # The probes have filled the quota of dose 1.
    assert [(step.phase, step.dose) for step in steps[5:]] == [("collect", 0.6), ("collect", 0.8)]
    assert steps[-1].kept == found.document["kept"]
    quotas = Counter(text["dose"] for text in found.document["texts"] if text["kept"])
    assert all(quotas[dose] >= KEEP / 3 for dose in (0.6, 0.8, 1.0))


def test_an_identical_question_is_answered_from_the_store(
    found: Ran, before: Ready, store: Path, no_model: None
) -> None:
    again = ran(before.gate2(store))
    assert (again.code, again.document) == (0, found.document)
    assert "has answered this before" in again.said


def test_again_makes_another_run_with_the_same_texts(found: Ran, before: Ready, store: Path) -> None:
    repeated = ran(before.gate2(store, "--again"))
    assert repeated.document["run_id"] != found.document["run_id"]
    assert told(repeated.document) == told(found.document)


def told(document: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Every text and what was decided about it."""
    return [(text["dose"], text["text"], text["kept"], text["gain"]) for text in document["texts"]]


@pytest.mark.slow
def test_with_a_method_gate_1_runs_first_and_once(
    before: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ("--model", str(before.planted.folder), "--dtype", "float32", "--trait", "planted")
    tiny = given("texts.length=8", "control.per_dose=2", "control.base=4")
    asked = before.bare(tmp_path / "steerkit.duckdb", *model, "--method", "svd", "--quick", "--json", *tiny)
    first = ran(asked)
    assert first.code in (0, 1, 3) and "gate 1 said" in first.said
    runs = Store(tmp_path / "steerkit.duckdb").query("SELECT run_id, gate, parent_run FROM run ORDER BY gate").rows()
    [(parent, *_), (run, *_)] = runs
    assert runs == [(parent, "gate1", None), (run, "gate2", parent)]
    assert (first.document["run_id"], first.document["parent_run"]) == (run, parent)
    with monkeypatch.context() as patched:
        patched.setattr("steerkit.session.load", None)
        assert ran(asked).document == first.document
    assert Store(tmp_path / "steerkit.duckdb").query("FROM run").height == 2


def test_starved_it_says_so_names_the_next_dose_and_keeps_its_rows(before: Ready, own: Path) -> None:
    starved = ran(before.gate2(own, *given(STARVED)))
    document = starved.document
    assert (starved.code, document["verdict"]) == (3, "INCONCLUSIVE")
    assert document["summary"].startswith("0 of 16 steered texts are kept") and document["kept"] == 0
    assert "nothing survives at dose 0.5 or above: probe dose 0.25 next" in document["next_step"]
    assert document["chosen_dose"] is None
    assert document["controller"].startswith("0 of 16 texts survived: starved; try --set control.ladder=")
    run = document["run_id"]
    assert {text.role for text in stored(own, Completion, run)} == {"base", "probe", "random"}
    assert len(stored(own, FilterDecision, run)) == (BASE + 16 + RANDOM) * len(load_filters())
    assert "observed" in {said["status"] for said in document["hypotheses"] if said["name"] == "data starvation"}
    # What it says to try is a setting that the command takes.
    advised = split([document["controller"].partition("--set ")[2]], SECTIONS)["control"]
    assert configured(ControlSpec, advised, "control").ladder == (0.0625, 0.125, 0.25)


@pytest.mark.slow
def test_many_small_batches_repeat_no_text(before: Ready, own: Path) -> None:
    """The probes fill one dose's quota, so every batch leaves that dose out."""
    small = ("control.per_dose=8", "control.keep=9", "texts.batch=3", "control.random=0", "control.base=4")
    document = ran(before.gate2(own, *given(*small))).document
    texts = stored(own, Completion, document["run_id"])
    collected = [text for text in texts if text.role == "collected"]
    assert len({text.unit_id for text in collected}) >= 2 and 1.0 not in {text.dose for text in collected}
    assert len({text.completion_id for text in texts}) == len(texts) == len({text.sample_seed for text in texts})
    assert len({text.text for text in collected}) == len(collected)
    assert {text.role for text in texts} == {"base", "probe", "collected"}


def test_a_bad_batch_lowers_the_doses_until_it_gives_up(before: Ready, own: Path) -> None:
    """At a floor of 1 every batch that loses a text is a bad one, and here each does; 0.7 of 0.7 is less than half."""
    hard = ("control.floor=1.0", "control.survival=0.5", "filter.perplexity=30", "control.lowest=0.5")
    document = ran(before.gate2(own, "--seed", "1", *given(*hard))).document
    steps = [step for step in stored(own, ControllerStep, document["run_id"]) if step.phase == "collect"]
    by_batch = {step.unit_id: [s for s in steps if s.unit_id == step.unit_id] for step in steps}
    assert len(by_batch) == 2
    assert all(sum(s.survived for s in batch) < sum(s.made for s in batch) for batch in by_batch.values())
    doses = [max(step.dose for step in batch) for batch in by_batch.values()]
    assert doses == pytest.approx([document["chosen_dose"], 0.7 * document["chosen_dose"]])


def test_a_schedule_that_fades_steers_less_and_is_recorded(found: Ran, before: Ready, own: Path) -> None:
    faded = ran(before.gate2(own, "--schedule", "exp:8", *given("control.batches=1"))).document
    texts = [t for t in stored(own, Completion, faded["run_id"]) if t.role == "probe"]
    assert {text.schedule for text in texts} == {"exp:8"}
    weaker = {row["dose"]: row["mean_kl"] for row in faded["doses"]}
    assert all(weaker[row["dose"]] < row["mean_kl"] for row in found.document["doses"] if row["dose"] in LADDER)
    strong = [text.token_kl for text in texts if text.dose == LADDER[-1]]
    assert fmean(kl[0] for kl in strong) > 2 * fmean(kl[-1] for kl in strong)


def test_backtracking_rewinds_what_breaks_and_records_it(found: Ran, before: Ready, own: Path) -> None:
    rules = given("texts.backtrack_kl=0.2", "control.batches=1")
    careful = ran(before.gate2(own, "--backtrack", *rules))
    run = careful.document["run_id"]
    texts = {text.completion_id: text for text in stored(own, Completion, run)}
    retries = stored(own, Backtrack, run)
    assert {retry.why for retry in retries} == {"kl"} and {1, 2, 3} == {retry.attempt for retry in retries}
    for retry in retries:
        text = texts[retry.completion_id]
        assert text.role != "base" and retry.value > 0.2 and 1 <= retry.rewound_to < retry.at_token <= LENGTH
        assert 0 <= retry.strength_after < retry.strength_before <= text.strength
        assert retry.attempt < 3 or retry.strength_after == 0
    weaker = {row["dose"]: row["mean_kl"] for row in careful.document["doses"]}
    assert all(weaker[row["dose"]] < row["mean_kl"] for row in found.document["doses"] if row["dose"] in LADDER[1:])


def slow(before: Ready, store: Path) -> list[str]:
    """A run of many units, for a kill to fall between."""
    many = ("texts.batch=8", "control.keep=60", "control.batches=8", "control.ladder=0.5,1.0,2.0")
    return before.gate2(store, *given(*many))


@pytest.fixture(scope="module")
def undisturbed(
    workers: Nursery, before: Ready, tmp_path_factory: pytest.TempPathFactory
) -> tuple[float, dict[str, list[str]]]:
    """How long the run takes that nobody kills (seconds), and its rows."""
    whole = before.copy(tmp_path_factory.mktemp("whole"))
    start = time.perf_counter()
    assert workers.run(slow(before, whole)) in (0, 1, 3), workers.said()
    return time.perf_counter() - start, rows(whole)


def killed(workers: Nursery, arguments: list[str], reached: int | None, after: float) -> None:
    """Kill the command so many seconds after it finished that unit, or, for None, after it began."""
    said = len(workers.said())
    worker = workers.start(arguments)
    if reached is not None:
        wait_for(workers, f"[{reached:>2}/", said)
    time.sleep(after)
    os.kill(worker, signal.SIGKILL)
    assert workers.wait(worker) in (-signal.SIGKILL, 0, 1, 3), workers.said()


def wait_for(workers: Nursery, words: str, said: int) -> None:
    """Wait until a worker says these words, after so many characters."""
    until = time.monotonic() + 60
    while words not in workers.said()[said:]:
        assert time.monotonic() < until, workers.said()
        time.sleep(0.002)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_rows(
    workers: Nursery, before: Ready, undisturbed: tuple[float, dict[str, list[str]]], own: Path
) -> None:
    """In another store, so it shows as well that one question has one answer, to the bit."""
    seconds, expected = undisturbed
    draw, done = random.Random(0), set(units(own))
    for reached in (2, 4, 6, None):
        killed(workers, slow(before, own), reached, draw.uniform(0.0, 0.05) if reached else draw.random() * seconds)
        now = units(own)
        assert done <= set(now) and len(now) == len(set(now)), "a finished unit went away or was done twice"
        assert reached is None or len(now) < len(expected["unit"]), "the run was over before the kill"
        done = set(now)
    assert workers.run(slow(before, own)) in (0, 1, 3), workers.said()
    resumed = rows(own)
    for name, expected_rows in expected.items():
        assert resumed[name] == expected_rows, f"table {name} differs"
    assert expected["text_gain"] and expected["verdict"]


@pytest.mark.slow
def test_an_interrupted_run_says_so_and_keeps_what_it_finished(
    workers: Nursery, before: Ready, undisturbed: tuple[float, dict[str, list[str]]], own: Path
) -> None:
    said = len(workers.said())
    worker = workers.start(slow(before, own))
    wait_for(workers, "write batch 0", said)
    os.kill(worker, signal.SIGINT)
    assert workers.wait(worker) == 130, workers.said()
    others = "SELECT run_id, state FROM run_state WHERE run_id <> $gate1"
    [(run, state)] = Store(own).query(others, {"gate1": before.run}).rows()
    assert state == "interrupted"
    kept = stored(own, Completion, run)
    assert {"base", "probe", "collected"} == {text.role for text in kept}
    assert not stored(own, Verdict, run)
    assert workers.run(slow(before, own)) in (0, 1, 3)
    assert rows(own) == undisturbed[1]
