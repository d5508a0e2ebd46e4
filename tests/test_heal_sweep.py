"""A sweep from the command line on the planted model: a grid of constraints on the same kept texts."""

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from small_gate2 import Ran, Ready, given, ran, rows
from small_gate3 import SMALL, gathered

from steerkit.cli import main
from steerkit.commands._narrator import Narrator
from steerkit.errors import UsageError
from steerkit.pipeline.sweep import named
from steerkit.records import Adapter, Answer, Arm, FilterSet, HealStep, HealText, Run, Verdict
from steerkit.request_sweep import OPTIONS, Axes, SweepRequest
from steerkit.session import trained_run
from steerkit.spec import canonical
from steerkit.spec_heal import Gate3Spec, HealSpec
from steerkit.stages.training import taken
from steerkit.store import Store

HUGE = "1000"
SETTINGS = tuple(setting for setting in SMALL if not setting.startswith("held_out"))
GRID = ("--lam", "0.3", "--tau", f"q20,0,{HUGE}")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """Gates 1 and 2 have run; `run` is gate 2's."""
    return gathered(tmp_path_factory.mktemp("before"))


@pytest.fixture(scope="module")
def store(texts: Ready, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return texts.copy(tmp_path_factory.mktemp("swept"))


@pytest.fixture(scope="module")
def found(texts: Ready, store: Path) -> Ran:
    """The first sweep."""
    return ran(sweep(texts, store, *GRID, "--json"))


def sweep(texts: Ready, store: Path, *more: str, run: str | None = None) -> list[str]:
    return ["heal-sweep", run or texts.run, "--store", str(store), "--device", "cpu", *given(*SETTINGS), *more]


def test_each_point_has_its_adapter_its_arm_and_its_steps(found: Ran, store: Path) -> None:
    assert found.code == 0, found.said
    reader, run = Store(store), found.document["run_id"]
    assert [r.gate for r in reader.records(Run, run)] == ["sweep"]
    adapters = [adapter for adapter in reader.records(Adapter, run) if adapter.role == "swept"]
    arms = [arm for arm in reader.records(Arm, run) if arm.kind == "swept"]
    assert len(adapters) == len({a.adapter_id for a in adapters}) == 3
    assert {arm.adapter_id for arm in arms} == {adapter.adapter_id for adapter in adapters}
    assert len({arm.eval_hash for arm in reader.records(Arm, run)}) == 1
    steps = reader.records(HealStep, run)
    assert all(any(step.adapter_id == adapter.adapter_id for step in steps) for adapter in adapters)
    trained = {a.adapter_id: set() for a in adapters}
    for text in reader.records(HealText, run):
        trained.get(text.adapter_id, set()).add(text.completion_id)
    assert len({frozenset(ids) for ids in trained.values()}) == 1 and all(trained.values())
    assert reader.query("SELECT count(*) FROM pareto WHERE run_id = $run AND kind = 'swept'", {"run": run}).item() == 3


def test_points_are_sorted_by_gain_and_broken_ones_come_last(found: Ran) -> None:
    points = found.document["points"]
    gains = [p["front_gain"]["value"] for p in points if p["coherent"]]
    assert gains == sorted(gains, reverse=True)
    assert [p["coherent"] for p in points] == sorted((p["coherent"] for p in points), reverse=True)
    for point in points:
        assert point["coherent"] == (point["coherence"]["value"] >= 0.95)
        assert point["d_target"]["low"] <= point["d_target"]["value"] <= point["d_target"]["high"]


def test_a_quantile_is_taken_of_one_shared_plain_training(found: Ran, store: Path) -> None:
    reader, run = Store(store), found.document["run_id"]
    (plain,) = (adapter for adapter in reader.records(Adapter, run) if adapter.role == "plain")
    seen = [step.d_rmse for step in reader.records(HealStep, run) if step.adapter_id == plain.adapter_id]
    point = next(p for p in found.document["points"] if p["tau"] == "q20")
    assert point["tau_nats"] == pytest.approx(float(torch.tensor(seen, dtype=torch.float64).quantile(0.2)))
    assert point["over"] > 0 and point["alarm"] is None


def test_a_barrier_that_never_fires_is_plain_to_the_bit_and_says_so(found: Ran, store: Path) -> None:
    reader, run = Store(store), found.document["run_id"]
    silent = next(p for p in found.document["points"] if p["tau"] == HUGE)
    assert silent["alarm"] == "barrier never fires: identical to plain" and silent["over"] == 0
    adapters = {adapter.adapter_id: adapter for adapter in reader.records(Adapter, run)}
    plain = next(adapter for adapter in adapters.values() if adapter.role == "plain")
    own = adapters[silent["adapter_id"]]
    assert own.artifact == plain.artifact and own.adapter_id != plain.adapter_id
    strict = next(p for p in found.document["points"] if p["tau"] == "0")
    assert strict["alarm"] is None and adapters[strict["adapter_id"]].artifact != plain.artifact
    arms = {arm.adapter_id: arm.arm_id for arm in reader.records(Arm, run) if arm.adapter_id}
    answers = reader.records(Answer, run)
    left, right = ([a.authority for a in answers if a.arm_id == arms[x.adapter_id]] for x in (own, plain))
    assert left == right


def test_the_query_says_what_the_document_says(found: Ran, store: Path) -> None:
    asked = Store(store).ask("sweep", {"run": found.document["run_id"]}).rows(named=True)
    assert [row["adapter_id"] for row in asked] == [p["adapter_id"] for p in found.document["points"]]
    for row, point in zip(asked, found.document["points"], strict=True):
        assert (row["tau"], row["tau_nats"], row["lam"]) == (point["tau"], point["tau_nats"], point["lam"])
        assert (row["front_gain"], row["coherent"]) == (point["front_gain"]["value"], point["coherent"])
        assert row["never_fires"] == (point["alarm"] is not None)


def test_the_table_fits_and_the_store_answers_the_second_time(texts: Ready, found: Ran, store: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert main(sweep(texts, store, *GRID)) == 0
    assert "has answered this before" in err.getvalue() and found.document["run_id"] in out.getvalue()
    lines = out.getvalue().splitlines()
    assert max(len(line) for line in lines if not line.startswith("store")) <= 100
    assert "! barrier never fires: identical to plain" in lines
    assert any(line.startswith("in all: reg reverse-kl, agg rmse") for line in lines)


@pytest.mark.slow
def test_a_broken_off_sweep_goes_on_without_redoing(
    texts: Ready, found: Ran, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, run = texts.copy(tmp_path), found.document["run_id"]
    units = "SELECT unit_id, seconds FROM unit WHERE run_id = $run"
    with monkeypatch.context() as patch:
        patch.setattr(Narrator, "step", ends_after(6))
        assert ran(sweep(texts, broken, *GRID, "--json")).code == 130
    done = set(Store(broken).query(units, {"run": run}).rows())
    assert len(done) == 1 + 6, "its registration, and what was stored before the end"
    assert ran(sweep(texts, broken, *GRID, "--json")).code == 0
    after = Store(broken).query(units, {"run": run}).rows()
    assert done <= set(after), "what was done is not done again"
    left, right = rows(broken, run), rows(store, run)
    assert {name for name in left if left[name] != right[name]} == set()


def ends_after(steps: int) -> Callable[..., None]:
    """What is told of each step, until the user presses Ctrl-C."""
    told: list[Any] = []

    def step(*of: Any) -> None:
        told.append(of)
        if len(told) == steps:
            raise KeyboardInterrupt

    return step


def test_without_a_constraint_its_settings_count_once() -> None:
    heal = HealSpec()
    axes = Axes.checked(
        asked(divergence="none,js", lam="0.1,0.3", tau="q50,1", reference="base,previous", spectral="0,1")
    )
    grid = axes.over(heal, first_round=True)
    points = list(grid.points(heal))
    assert len(points) == len({*map(named, points)}) == grid.size() == 2 * (1 + 4)
    assert {point.reference for point in points} == {"base"}, "in a first round both are the untouched base"
    assert axes.over(heal, first_round=False).size() == 2 * (1 + 8)


def asked(**given: str) -> dict[str, Any]:
    return {**dict.fromkeys(OPTIONS), "settings": (), **given}


def test_a_run_of_gate_3_lends_its_settings_and_its_texts(texts: Ready, tmp_path: Path) -> None:
    store = texts.copy(tmp_path)
    before, _, _ = trained_run(store, texts.run)
    heal = HealSpec(rank=3, lam=0.7, fewest_texts=6)
    spec = Gate3Spec(
        **{name: getattr(before.spec, name) for name in ("method", "trait", "target", "persona_pair", "model")},
        **{name: getattr(before.spec, name) for name in ("fingerprint", "dtype")},
        parent_run=texts.run,
        gate1_run=before.parent.run.run_id,
        seed=5,
        sign=-1,
        filter_id=before.filter_id(),
        heal=heal,
    )
    of_run = replace(before.run, run_id="healed", gate="gate3", spec=canonical(spec))
    later = FilterSet(run_id=texts.run, unit_id="later", filter_id="later", seq=99, thresholds="{}")
    Store(store).append([of_run, later])
    with pytest.raises(UsageError, match="healed is unfinished"):
        trained_run(store, "healed")
    Store(store).append([replace(verdict_of(store, texts.run), run_id="healed")])
    request = SweepRequest.of(asked(weight_decay="0,0.1"), *trained_run(store, "healed"))
    made = request.spec(0)
    assert [(p.rank, p.lam, p.weight_decay) for p in made.grid.points(made.heal)] == [(3, 0.7, 0.0), (3, 0.7, 0.1)]
    assert (made.gate3_run, made.parent_run, made.seed) == ("healed", texts.run, 5)
    assert made.filter_id == spec.filter_id, "what was decided since changes nothing"
    assert taken(request.known().records, 64) == taken(before.records, 64)


def verdict_of(store: Path, run: str) -> Verdict:
    return next(verdict for verdict in Store(store).records(Verdict, run) if verdict.kind == "gate")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "a sweep must try something"),
        (("--lam", ","), "--lam must be one value or more"),
        (("--reg", "js,euclid"), "unknown value of --reg 'euclid'"),
        (("--lam", "0.1,much"), "--lam must be numbers from 0"),
        (("--wd", "-1"), "heal.weight_decay must be at least 0"),
        (("--tau", "soon"), "heal.tau must be nats"),
        (("--lam", "1,2,3,4,5,6,7,8", "--wd", "0,1,2,3,4", "--tau", "1,2,3,4,5,6"), "at most 200 points, but this one"),
        (("--lam", "1", "--set", "heal.fewest_texts=60"), "at least 60 kept texts"),
    ],
)
def test_a_bad_grid_is_refused_before_any_model(
    texts: Ready, store: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr("steerkit.session.load", lambda *_, **__: pytest.fail("a model was loaded"))
    refused = ran(sweep(texts, store, *more, "--json"))
    assert refused.code == 2 and said in refused.document["error"]["message"]


def test_only_runs_that_kept_texts_are_swept(texts: Ready, store: Path, found: Ran) -> None:
    gate1 = str(Store(store).query("SELECT run_id FROM run WHERE gate = 'gate1'").item())
    for run, what in ((gate1, "is of gate1"), (found.document["run_id"], "is of sweep")):
        refused = ran(sweep(texts, store, "--lam", "1", "--json", run=run))
        assert refused.code == 2 and what in refused.document["error"]["message"]
