"""A finished run scored anew: numbers by hand, versions and settings, several seeds, refusals, and no model."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace
from scipy.stats import rankdata
from store_child import plain
from test_paired_base import SPEC
from test_queries import AUTHORITY, LABELS, Planted

from steerkit.cli import group
from steerkit.errors import UsageError
from steerkit.metrics import measure
from steerkit.records import FOUNDATIONS, Answer, Arm, Effect, Record, Rescored, Run
from steerkit.rescoring import Rule, pooled, rescore, rule
from steerkit.spec import canonical
from steerkit.stats import across_seeds, one_vs_rest_auc, resample
from steerkit.store import Store

OWN_ROWS = np.asarray(LABELS) == "Authority"


class Finished(Planted):
    """The planted answers as runs of three seeds: the second moved four nats, the third evaluated otherwise."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        other = replace(self.run("third", 2), spec=canonical(replace(SPEC, dtype="x")))
        said = measure(self.evidence("up"), self.evidence("base"), LABELS, "Authority", -1, resample(LABELS, 0, 1))
        claimed = [plain(Effect, arm_id="up", quantity="d_target", value=said.value("d_target"))]
        self.store.append(
            [
                self.run("second", 1),
                other,
                *claimed,
                *self.as_run("second", 4.0),
                *self.as_run("third", 0.0, "other hash"),
            ]
        )
        self.store.append([plain(Run, run_id="bare", spec=canonical(SPEC))])
        self.store.ingest()

    def registered(self) -> Run:
        return self.run("run", 0)

    def run(self, name: str, seed: int) -> Run:
        return plain(Run, run_id=name, seed=seed, spec=canonical(SPEC), dtype=SPEC.dtype, model="m")

    def as_run(self, name: str, shift: float, eval_hash: str = "hash") -> list[Record]:
        """All arms as another run's, log p[Authority] of 'up' moved."""
        arms = [
            replace(arm, run_id=name, arm_id=f"{name}-{arm.arm_id}", eval_hash=eval_hash) for arm in self.arm_records()
        ]
        answers = [
            replace(a, run_id=name, arm_id=f"{name}-{a.arm_id}", authority=a.authority + shift * (a.arm_id == "up"))
            for a in self.answers()
        ]
        priors = [replace(prior, run_id=name, eval_hash=eval_hash) for prior in self.priors()]
        return [*arms, *answers, *priors]

    def command(self, *arguments: str) -> Result:
        return CliRunner().invoke(group, ["rescore", *arguments, "--store", str(self.store.path)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("finished"))


def change(finished: Finished, corrected: bool, floor: float) -> float:
    """d_target of 'up' by numpy, from the raw answers."""
    scores = [finished.raw[name] - (finished.prior if corrected else 0.0) for name in ("up", "base")]
    means = [side.mean(axis=1) for side in scores]
    logp = [side - np.log(np.exp(side).sum(axis=1, keepdims=True)) for side in means]
    return float(np.diff([np.maximum(side[OWN_ROWS, AUTHORITY], np.log(floor)).mean() for side in reversed(logp)])[0])


@pytest.mark.parametrize(
    ("version", "settings", "expected"),
    [
        ("v1", (), (True, 1e-6)),
        ("v1-raw", (), (False, 1e-6)),
        ("v1-tail", (), (True, 1e-12)),
        ("v1", ("floor=0.05",), (True, 0.05)),
        ("v1", ("corrected=false", "floor=0.1"), (False, 0.1)),
    ],
)
def test_a_changed_metric_gives_what_numpy_gives(
    finished: Finished, version: str, settings: tuple[str, ...], expected: tuple[bool, float]
) -> None:
    asked = rule(finished.store, version, settings)
    assert (asked.corrected, asked.floor) == expected and asked.version == ("own" if settings else version)
    (one,) = rescore(finished.store, ["run"], asked, 200)
    arms = {arm.arm.arm_id: arm for arm in one.arms}
    assert arms["up"].value("d_target") == pytest.approx(change(finished, *expected))
    assert arms["odd"].unscorable == 1 and arms["odd"].paired == len(LABELS) - 1


def test_by_the_first_version_a_run_says_what_it_stored(finished: Finished) -> None:
    (one,) = rescore(finished.store, ["run"], rule(finished.store, "v1", ()), 200)
    arms = {arm.arm.arm_id: arm for arm in one.arms}
    assert one.stored["up", "d_target"] == pytest.approx(arms["up"].value("d_target"))
    trait = finished.trait("up")
    assert arms["up"].value("auth_nats") == pytest.approx(trait["auth_nats"])
    assert arms["up"].value("coherence") == pytest.approx(trait["coherence"])


def test_the_document_has_both_numbers_and_the_store_every_quantity(finished: Finished) -> None:
    result = finished.command("run", "--metric-version", "v1-raw", "--json", "--resamples", "100")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    up = next(arm for arm in document["runs"][0]["arms"] if arm["arm_id"] == "up")
    found = up["quantities"]["d_target"]
    assert (
        found["value"] == pytest.approx(change(finished, False, 1e-6)) and found["low"] < found["value"] < found["high"]
    )
    assert found["stored"] == pytest.approx(change(finished, True, 1e-6))
    assert document["over_runs"] == [] and up["resolution"] > 0
    kept = [r for r in finished.store.records(Rescored, "run") if r.version == "v1-raw" and r.arm_id == "up"]
    assert {r.quantity: r.value for r in kept}["d_target"] == pytest.approx(found["value"])
    assert len({r.rescore_id for r in kept}) == 1 and not kept[0].corrected and kept[0].floor == 1e-6


def test_a_person_reads_the_smallest_effect_beside_the_effects(finished: Finished) -> None:
    result = finished.command("run", "--resamples", "100")
    assert result.exit_code == 0, result.output
    assert "smallest shift of Authority this set resolves" in result.stdout
    assert "one Authority vignette flipping is" in result.stdout


def test_a_flip_is_the_mean_gap_to_the_best_other_answer_per_row(finished: Finished) -> None:
    (one,) = rescore(finished.store, ["run"], rule(finished.store, "v1", ()), 100)
    base = finished.evidence("base").choice[OWN_ROWS]
    others = np.delete(base, AUTHORITY, axis=1).max(axis=1)
    by_hand = np.abs(base[:, AUTHORITY] - others).mean() / OWN_ROWS.sum()
    assert one.arms[0].value("flip_nats") == pytest.approx(by_hand)
    swapped = base.copy()
    swapped[0, AUTHORITY] = others[0]
    moved = abs(base[:, AUTHORITY].mean() - swapped[:, AUTHORITY].mean())
    assert moved == pytest.approx(abs(base[0, AUTHORITY] - others[0]) / OWN_ROWS.sum())
    up = next(arm for arm in one.arms if arm.arm.arm_id == "up")
    found = up.interval("d_target")
    assert found is not None
    assert up.resolution() == pytest.approx(max((found.high - found.low) / 2, up.value("flip_nats")))


def test_several_seeds_are_pooled_over_the_same_resamples(finished: Finished) -> None:
    scored = rescore(finished.store, ["run", "second"], rule(finished.store, "v1", ()), 500)
    single = [next(arm for arm in one.arms if arm.arm.kind == "steered").value("d_target") for one in scored]
    assert single[1] > single[0] + 0.1
    over = {arm.arm.kind: (pair, within) for arm, pair, within in pooled(scored, "d_target")}
    pair, within = over["steered"]
    assert pair is not None and within is not None
    assert pair.value == within.value == pytest.approx(np.mean(single))
    assert pair.high - pair.low > within.high - within.low
    result = finished.command("run", "second", "--json", "--resamples", "100")
    steered = next(row for row in json.loads(result.stdout)["over_runs"] if row["kind"] == "steered")
    assert steered["runs"] == 2 and steered["d_target"] == pytest.approx(np.mean(single))
    assert "over 2 runs" in finished.command("run", "second", "--resamples", "100").stdout


def test_seeds_are_resampled_with_replacement_and_the_first_draw_is_the_mean() -> None:
    draws = np.stack([np.zeros(4001), np.ones(4001)])
    found = across_seeds(draws, seed=0)
    assert found[0] == 0.5 and set(np.unique(found[1:])) == {0.0, 0.5, 1.0}
    assert np.mean(found[1:] == 0.5) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--metric-version", "v9"), "unknown version of the metrics 'v9'"),
        (("run", "--set", "floor=2"), "floor must be a probability above 0 and below 1, but got floor=2"),
        (("run", "--set", "floor=low"), "floor must be a number, but got 'low'"),
        (("run", "--set", "corrected=perhaps"), "corrected must be true or false, but got 'perhaps'"),
        (("run", "--set", "prior=none"), "--set must be corrected=true, corrected=false or floor=PROBABILITY"),
        (("bare",), "a run must have scored arms to be scored anew, but run bare has none"),
        (("run", "third"), "runs must be evaluated alike to be taken together, but run and third are not"),
        (("nobody",), "nobody"),
    ],
)
def test_what_cannot_be_is_refused_in_words(finished: Finished, arguments: tuple[str, ...], said: str) -> None:
    result = finished.command(*arguments)
    assert isinstance(result.exception, UsageError) and said in str(result.exception)


def test_a_real_sized_run_takes_seconds_and_no_model(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    store, labels = Store(tmp_path / "s.duckdb"), np.repeat(FOUNDATIONS, 22)
    arms = [
        plain(Arm, arm_id=f"a{i:02}", kind="base" if i == 0 else "steered", dose=float(i), eval_hash="h")
        for i in range(30)
    ]
    answers = [
        plain(
            Answer,
            arm_id=arm.arm_id,
            vignette=f"v{row:03}",
            foundation=str(label),
            ordering=order,
            **dict(
                zip(
                    ("care", "fairness", "loyalty", "authority", "sanctity", "liberty", "social_norms"),
                    map(float, chance.normal(-3, 1, 7)),
                    strict=True,
                )
            ),
            outside_mass=0.1,
            prefill_nll=1.0,
        )
        for arm in arms
        for row, label in enumerate(labels)
        for order in range(2)
    ]
    store.append([plain(Run, spec=canonical(SPEC)), *arms, *answers])
    store.ingest()
    asked = Rule("v1", True, 1e-6)
    rescore(store, ["run"], asked, 100)
    start = time.process_time()
    (one,) = rescore(store, ["run"], asked, 2000)
    records = one.records(1)
    # The type checks of the tests, and a slow processor, take most of it.
    assert time.process_time() - start < 5 and len(records) > 30 * 40


def test_nothing_heavy_is_imported_for_it() -> None:
    code = "import sys, steerkit.rescoring, steerkit.commands.rescore; print({'torch', 'scipy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_area_is_the_mann_whitney_statistic_with_ties() -> None:
    chance = np.random.default_rng(1)
    scores, labels = chance.integers(0, 4, (60, 7)).astype(float), chance.choice(FOUNDATIONS, 60)
    for column, name in enumerate(FOUNDATIONS):
        inside = labels == name
        ranks, n = rankdata(scores[:, column])[inside], inside.sum()
        by_hand = (ranks.sum() - n * (n + 1) / 2) / (n * (60 - n))
        assert one_vs_rest_auc(scores, labels.tolist(), FOUNDATIONS)[name] == pytest.approx(by_hand)
