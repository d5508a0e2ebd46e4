"""A loop from the command line on the planted model: its rounds, its ledger, its stops, and what a kill does to it."""

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny_model
import torch
from small_gate2 import STARVED, Ran, ran, rows
from small_loop import ROUNDS, asked, loop
from test_resume import Nursery

from steerkit.host import chat_ids, load
from steerkit.host.forward import continuation_nll
from steerkit.lineage import Node, chain
from steerkit.records import Adapter, Answer, Arm, Completion, Effect, Round, Run, Unit, Verdict
from steerkit.request_loop import LoopRequest
from steerkit.rounds import direction_of
from steerkit.session import answer
from steerkit.store import Store

KILLS, MANY_KILLS = 4, 30


@dataclass(frozen=True)
class Looped:
    """A finished loop with its store."""

    planted: tiny_model.Planted
    store: Path
    ran: Ran

    @property
    def reader(self) -> Store:
        return Store(self.store)

    @property
    def run(self) -> str:
        return str(self.ran.document["run_id"])

    def rounds(self) -> list[Round]:
        return sorted(self.reader.records(Round, self.run), key=lambda row: row.round)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tiny_model.Planted:
    return tiny_model.make(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def found(planted: tiny_model.Planted, tmp_path_factory: pytest.TempPathFactory) -> Looped:
    store = tmp_path_factory.mktemp("loop") / "steerkit.duckdb"
    return Looped(planted, store, ran(loop(planted, store)))


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path_factory.mktemp("log") / "workers.log")
    yield nursery
    nursery.end()


# What a loop does


def test_the_planted_trait_grows_round_by_round(found: Looped) -> None:
    first, second = found.rounds()[:2]
    assert found.ran.code in (0, 1, 3), found.ran.said
    assert first.d_target is not None and second.d_target is not None
    assert second.d_target < first.d_target < 0 and second.coherence == pytest.approx(1.0, abs=0.01)
    assert second.best_round == 1
    assert second.d_target_previous == pytest.approx(second.d_target - first.d_target, abs=1e-6)
    assert first.d_target_previous == first.d_target and first.kl_previous == first.kl_base


def test_a_round_is_three_runs_on_the_student_of_the_one_before(found: Looped) -> None:
    history: list[str] = []
    for row in found.rounds():
        adapters = [a for a in found.reader.records(Adapter, row.gate3_run or "") if a.role == "healed"]
        specs = [json.loads(found.reader.records(Run, run)[0].spec) for run in (row.gate1_run, row.gate2_run)]
        assert [spec["history"] for spec in specs] == [history, history]
        assert specs[1]["parent_run"] == row.gate1_run
        assert all(adapter.history == history and adapter.round == row.round for adapter in adapters)
        history = [*history, *(adapter.adapter_id for adapter in adapters)]
        assert row.adapter_id == (history[-1] if adapters else None)


def test_gate_1_of_a_later_round_starts_from_that_student(found: Looped) -> None:
    """The round's unsteered arm answers as the student of the round before was scored to answer."""
    first, second = found.rounds()[:2]
    base = next(arm for arm in found.reader.records(Arm, second.gate1_run) if arm.kind == "base")

    def answers(run: str, arm: str | None) -> torch.Tensor:
        own = [a for a in found.reader.records(Answer, run) if a.arm_id == arm]
        return torch.tensor([[a.authority, a.care, a.outside_mass] for a in own])

    student, before = answers(found.run, first.healed_arm), answers(found.run, _base(found))
    assert torch.allclose(answers(second.gate1_run, base.arm_id), student, atol=1e-4)
    assert not torch.allclose(student, before, atol=1e-2)


def _base(found: Looped) -> str:
    return next(arm.arm_id for arm in found.reader.records(Arm, found.run) if arm.kind == "base")


def test_filters_judge_a_students_texts_by_the_untouched_base(found: Looped) -> None:
    second = found.rounds()[1]
    host = load(str(found.planted.folder), "float32", "cpu")
    texts = [t for t in found.reader.records(Completion, second.gate2_run) if t.token_ids][:6]
    nll = continuation_nll(host, [chat_ids(host, t.prompt) for t in texts], [t.token_ids or [] for t in texts], {})
    for text, own in zip(texts, nll, strict=True):
        assert (text.token_nll or [])[: len(own)] == pytest.approx(own, abs=1e-4)


def test_every_arm_shares_the_base_of_round_0(found: Looped) -> None:
    arms = found.reader.records(Arm, found.run)
    assert Counter(arm.kind for arm in arms)["base"] == 1 and len({arm.eval_hash for arm in arms}) == 1
    assert len({row.base_nats for row in found.rounds()}) == 1
    named = {row.healed_arm for row in found.rounds() if row.healed_arm}
    assert named <= {arm.arm_id for arm in arms}
    effects = {(e.arm_id, e.quantity): e.value for e in found.reader.records(Effect, found.run)}
    for row in found.rounds():
        if row.healed_arm:
            assert effects[row.healed_arm, "d_target"] == pytest.approx(row.d_target)
            assert effects[row.healed_arm, "coherence_previous"] == pytest.approx(row.coherence_previous)


def test_divergences_do_not_add_up_by_what_the_ledger_says(found: Looped) -> None:
    first, second = found.rounds()[:2]
    assert first.kl_base and second.kl_base and second.kl_previous is not None
    assert first.kl_excess == pytest.approx(0.0)
    assert second.kl_excess == pytest.approx(second.kl_base - first.kl_base - second.kl_previous)


def test_directions_are_held_against_the_first_and_the_last(found: Looped) -> None:
    first, second, *_ = found.rounds()
    assert (first.cosine_first, first.cosine_last) == (1.0, None)
    assert 0.5 < second.cosine_first < 1 - 1e-4 and second.cosine_last == pytest.approx(second.cosine_first)
    assert first.cosine_teacher is not None and first.cosine_teacher > 0.2


def test_a_later_round_does_no_more_than_the_first(found: Looped) -> None:
    counts = [
        sum(len(found.reader.records(Unit, run)) for run in (row.gate1_run, row.gate2_run, row.gate3_run) if run)
        for row in found.rounds()
    ]
    assert max(counts) == counts[0]


def test_the_ledger_is_a_table_a_view_and_a_question(found: Looped) -> None:
    asked = found.reader.ask("rounds", {"run": found.run[:6]})
    assert asked["round"].to_list() == [row.round for row in found.rounds()]
    view = found.reader.query("SELECT round, auth_nats, care_nats, coherence FROM progress ORDER BY round")
    trained = [row for row in found.rounds() if row.adapter_id]
    assert view.rows() == [(row.round, row.auth_nats, row.care_nats, row.coherence) for row in trained]
    assert [row["round"] for row in found.ran.document["rounds"]] == asked["round"].to_list()


def test_its_lineage_is_the_tree_of_its_rounds(found: Looped) -> None:
    tree = chain(found.reader, found.run)["rounds"]
    inside = [{name for node in part["runs"] for name in _runs(node)} for part in tree]
    for row, runs in zip(found.rounds(), inside, strict=True):
        assert {row.gate1_run, row.gate2_run} <= runs
    assert found.run in inside[-1]


def _runs(node: Node) -> list[str]:
    """The ids of a node that is a run, and of the runs below it."""
    own = node.ids if node.kind == "run" else []
    return [*own, *(name for child in node.children for name in _runs(child))]


def test_it_ends_with_verdicts_and_a_picture(found: Looped) -> None:
    document = found.ran.document
    assert len(document["criteria"]) == 7 and len(document["hypotheses"]) == 18
    gate = [v for v in found.reader.records(Verdict, found.run) if v.kind == "gate"]
    assert [v.status for v in gate] == [document["verdict"]] and document["stop"] in gate[0].detail
    assert all(Path(path).stat().st_size > 1000 for path in document["pictures"])


def test_the_table_has_a_line_per_round_in_100_columns(found: Looped, capsys: pytest.CaptureFixture[str]) -> None:
    from steerkit.commands._loop_output import show

    show(found.ran.document, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Gate 4: ") and max(map(len, lines[:30])) <= 100
    assert sum(line.startswith(tuple(f"{n} " for n in range(ROUNDS))) for line in lines) >= 2 * len(found.rounds())


def test_the_store_answers_the_second_time(found: Looped) -> None:
    again = ran(loop(found.planted, found.store))
    assert again.document["run_id"] == found.run and "has answered this before" in again.said


@pytest.mark.slow
def test_fewer_rounds_are_found_among_those_that_ran(found: Looped) -> None:
    before = found.reader.query("SELECT count(*) FROM run").item()
    shorter = ran(loop(found.planted, found.store, rounds=1))
    assert shorter.document["stop"] == "all rounds" and len(shorter.document["rounds"]) == 1
    assert shorter.document["rounds"][0]["adapter_id"] == found.rounds()[0].adapter_id
    assert found.reader.query("SELECT count(*) FROM run").item() == before + 1


# Where directions come from


class Silent:
    """Nobody listens."""

    def say(self, text: str) -> None: ...

    def begin(self, text: str) -> None: ...

    def step(self, step: Any, seconds: float) -> None: ...


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["first", "project"])
def test_later_directions_may_be_held_to_the_first(found: Looped, direction: str) -> None:
    first, second = found.rounds()[:2]
    request = LoopRequest.checked({**asked(found.planted, found.store.parent), "direction": direction})
    question = request.gate1([first.adapter_id or ""], first.gate1_run)
    host = load(str(found.planted.folder), "float32", "cpu")
    done = answer(question, found.store, resume=False, again=False, narrator=Silent(), loaded=host)
    runs = (first.gate1_run, second.gate1_run, done["run_id"])
    start, fresh, held = (direction_of(host, found.reader, run) for run in runs)
    assert json.loads(found.reader.records(Run, done["run_id"])[0].spec)["direction"] == direction
    for block, state in held.states.items():
        along = start.states[block]["vector"]
        share = 1.0 if direction == "first" else float(fresh.states[block]["vector"] @ along / along.square().sum())
        assert torch.allclose(state["vector"], share * along, atol=1e-5)
    assert question.dose.multiples == (0.5, 1.0) and done["calibration"]["status"] == "calibrated"


# How it ends early


def test_too_few_kept_texts_starve_it_and_the_verdict_is_stored(planted: tiny_model.Planted, tmp_path: Path) -> None:
    store = tmp_path / "steerkit.duckdb"
    starved = ran(loop(planted, store, "--set", STARVED))
    document = starved.document
    assert starved.code == 1 and document["stop"] == "starvation" and len(document["rounds"]) == 1
    assert "0 texts were kept, and an adapter needs at least 6" in document["stop_why"]
    assert document["rounds"][0]["gate3_run"] is None and document["best_round"] is None
    seen = {h["name"]: h["status"] for h in document["hypotheses"]}
    assert seen["data starvation"] == "observed"
    assert [v.status for v in Store(store).records(Verdict, document["run_id"]) if v.kind == "gate"] == ["FAIL"]


def test_training_that_meets_no_number_ends_it_and_the_verdict_is_stored(found: Looped) -> None:
    broken = ran(loop(found.planted, found.store, "--set", "heal.learning_rate=1e30")).document
    assert broken["stop"] == "training broke" and "heal.learning_rate" in broken["stop_why"]
    assert broken["verdict"] == "FAIL" and broken["rounds"][0]["adapter_id"] is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--direction", "sideways"), "unknown direction"),
        (("--set", "heal.fewest_texts=60"), "keep at least the 60 texts"),
        (("--set", "magic.key=1"), "unknown section of settings"),
        (("--set", "gate.magic=1"), "unknown gate gate4_loop setting"),
        (("--set", "later.multiples=0"), "a finite number above 0"),
        (("--set", "gate2.magic=1"), "unknown gate gate2_filter setting"),
    ],
)
def test_a_bad_setting_is_refused_before_any_run(
    planted: tiny_model.Planted, tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    refused = ran(loop(planted, tmp_path / "steerkit.duckdb", *more))
    assert refused.code == 2 and said in refused.document["error"]["message"]
    assert not (tmp_path / "steerkit.duckdb").exists()


# Kills


@dataclass(frozen=True)
class Whole:
    """What nobody killed: the rows of its tables and how long it took, in a worker with one thread (seconds)."""

    tables: dict[str, list[str]]
    seconds: float
    code: int


@pytest.fixture(scope="module")
def whole(workers: Nursery, planted: tiny_model.Planted, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    store, start = tmp_path_factory.mktemp("whole") / "steerkit.duckdb", time.perf_counter()
    code = workers.run(loop(planted, store, rounds=2))
    assert code in (0, 1, 3), workers.said()[-2000:]
    return Whole(rows(store), time.perf_counter() - start, code)


def killed(workers: Nursery, arguments: list[str], kills: int, longest: float) -> int:
    """Kill the loop so often, each time at a random moment, and then let it end; how often a kill came in time."""
    draw, count = random.Random(kills), 0
    for _ in range(kills):
        code = workers.run([*arguments, "--resume"], signal.SIGKILL, draw.uniform(0.05, 1) * longest)
        assert code in (-signal.SIGKILL, 0, 1, 3), workers.said()[-2000:]
        count += code == -signal.SIGKILL
    return count


def same_tables(store: Path, whole: Whole) -> None:
    found: dict[str, Any] = rows(store)
    assert {name for name in found if found[name] != whole.tables[name]} == set()
    assert found["round"] and found["adapter"] and found["verdict"]


@pytest.mark.slow
def test_a_killed_loop_goes_on_and_ends_with_the_same_tables(
    workers: Nursery, planted: tiny_model.Planted, whole: Whole, tmp_path: Path
) -> None:
    store = tmp_path / "steerkit.duckdb"
    assert killed(workers, loop(planted, store, rounds=2), KILLS, whole.seconds / 3) >= KILLS // 2
    assert workers.run([*loop(planted, store, rounds=2), "--resume"]) == whole.code, workers.said()[-2000:]
    same_tables(store, whole)


@pytest.mark.slow
def test_a_loop_killed_at_many_moments_ends_with_the_same_tables(
    workers: Nursery, planted: tiny_model.Planted, whole: Whole, tmp_path: Path
) -> None:
    store = tmp_path / "steerkit.duckdb"
    assert killed(workers, loop(planted, store, rounds=2), MANY_KILLS, whole.seconds / 5) >= MANY_KILLS // 2
    assert workers.run([*loop(planted, store, rounds=2), "--resume"]) == whole.code, workers.said()[-2000:]
    same_tables(store, whole)


@pytest.mark.slow
def test_a_second_process_is_refused_while_the_first_goes_on(
    workers: Nursery, planted: tiny_model.Planted, tmp_path: Path
) -> None:
    store = tmp_path / "steerkit.duckdb"
    first = workers.start(loop(planted, store, rounds=1))
    running, until = tmp_path / "steerkit.duckdb.d" / "running", time.monotonic() + 60
    while not (running.exists() and len(list(running.iterdir())) > 1):
        assert time.monotonic() < until, workers.said()
        time.sleep(0.02)
    assert workers.run(loop(planted, store, rounds=1)) == 2
    assert "is being written by another process" in workers.said()
    assert workers.wait(first) in (1, 3)
    reader = Store(store)
    assert reader.query("SELECT DISTINCT state FROM run_state")["state"].to_list() == ["finished"]
    assert [problem for problem in reader.problems() if "times" in problem] == []
