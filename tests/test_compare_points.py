"""A comparison's numbers against brute force: fronts, areas, selectivity, halves, matched doses, broken methods."""

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_gate1 import World
from store_child import plain

from steerkit.contrast import Contrast
from steerkit.errors import RunError, UsageError
from steerkit.evidence import PartEvidence, PointEvidence, ReadingEvidence
from steerkit.inputs import contexts, drawn_apart, halves, vignettes
from steerkit.metrics import FLOOR, selectivity
from steerkit.pipeline.matching import Rungs, matched
from steerkit.records import FOUNDATIONS, Calibration, Comparison, Contender, Dose, PointEffect, Record
from steerkit.spec_compare import CompareSpec, Contest, Limits
from steerkit.stages import trial
from steerkit.stages.contest import survivors
from steerkit.stages.points import Weighed, choose, may_be_on_front, null_moves, on_front, weigh
from steerkit.stages.ranking import Parts, Placed, ranked
from steerkit.stages.steer import Fitted
from steerkit.stats import hypervolume, resample, seed_weights

AUTHORITY = FOUNDATIONS.index("Authority")
places = st.lists(st.tuples(st.integers(0, 8), st.integers(-3, 8)), min_size=1, max_size=6)


@given(places)
def test_the_hypervolume_is_the_count_of_beaten_cells(points: list[tuple[int, int]]) -> None:
    limit = 6.0
    beaten = sum(any(cost <= x and gain >= y + 1 for cost, gain in points) for x in range(6) for y in range(8))
    cost, gain = (np.array(side, float) for side in zip(*points, strict=True))
    assert hypervolume(cost, gain, limit) == pytest.approx(beaten)
    assert hypervolume(np.stack([cost, cost]), np.stack([gain, -gain]), limit)[0] == pytest.approx(beaten)


def test_a_nan_dominates_nothing() -> None:
    assert hypervolume(np.array([0.0, np.nan]), np.array([np.nan, 3.0]), 1.0) == 0.0


def drawn(name: str, cost: np.ndarray, gain: np.ndarray) -> Weighed:
    """A point that has these draws."""
    return Weighed(PointEvidence(name, name, 1.0, ()), {"coherence": 1 - cost, "separation": gain}, None)


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_the_front_s_probability_is_that_of_every_resample_by_hand(seed: int) -> None:
    chance = np.random.default_rng(seed)
    cost, gain = chance.integers(-2, 4, (5, 21)) / 100, chance.integers(-2, 4, (5, 21)) / 10
    points = [drawn(f"p{i}", cost[i], gain[i]) for i in range(5)]
    hits, spared = np.zeros(5), np.zeros(5)
    for draw in range(1, 21):
        at = [(max(round(c, 6), 0.0), g) for c, g in zip(cost[:, draw], gain[:, draw], strict=True)]
        rivals = [*at, (0.0, 0.0)]
        for i, (c, g) in enumerate(at):
            hits[i] += not any(rc <= c and rg >= g and (rc < c or rg > g) for rc, rg in rivals)
            spared[i] += not any(rc <= c and rg > g + 0.15 for rc, rg in rivals)
    assert list(on_front(points, 0.01).values()) == pytest.approx(list(hits / 20))
    assert list(may_be_on_front(points, 0.01, 0.15).values()) == pytest.approx(list(spared / 20))


def test_what_cannot_be_on_the_front_is_ruled_out_and_a_near_tie_is_not() -> None:
    chance = np.random.default_rng(0)
    noise = chance.normal(0, 0.02, (3, 201))
    names, middles = ("best", "near", "far"), (1.0, 0.97, 0.5)
    points = [drawn(n, np.full(201, 0.01), m + e) for n, m, e in zip(names, middles, noise, strict=True)]
    chances = may_be_on_front(points, 0.001, 0.05)
    assert chances["far"] == 0 and min(chances["best"], chances["near"]) > 0.5
    seen = [
        plain(PointEffect, point_id=name, part="screen", quantity="may_be_on_front", value=value)
        for name, value in chances.items()
    ]
    assert survivors(seen, 0.02) == {"best", "near"}


def test_selectivity_by_hand() -> None:
    world = World(per_foundation=4)
    base, plus = world.arm("base", 0.0, 0.0, 1.0), world.arm("steered", 1.0, world.intended(3.0), 0.9)
    minus = world.arm("steered", -1.0, -world.intended(3.0), 0.8)
    found = selectivity(plus, minus, base, world.labels, "Authority", -1, resample(world.labels, 0, 100))
    centred = [np.maximum(arm.choice, FLOOR) for arm in (plus, minus)]
    moved = np.subtract(*(c - c.mean(axis=1, keepdims=True) for c in centred)).mean(axis=0)
    on, off = -moved[AUTHORITY], np.abs(np.delete(moved, AUTHORITY)).mean()
    held = min(1.0, min(plus.mass.mean(), minus.mass.mean()) / base.mass.mean())
    assert found["gated_selectivity"][0] == pytest.approx((on - 0.1 * off) * held**2) and on > 0
    own = np.asarray(world.labels) == "Authority"
    picked = [(arm.choice[own].argmax(axis=1) == AUTHORITY).mean() for arm in (plus, minus)]
    assert found["si_flips"][0] == pytest.approx(picked[1] - picked[0]) and found["si_flips"][0] > 0


def part(seeds: int = 3, scale: Mapping[str, float] | None = None, jitter: float = 0.0) -> PartEvidence:
    """Two methods at two doses over some seeds; `scale` weakens a method, `jitter` sets its seeds apart."""
    world = World(per_foundation=6)
    sizes = scale or {"strong": 1.0, "weak": 0.3}
    points = []
    for name, size in sizes.items():
        for dose in (0.5, 1.0):
            by_seed = [size * dose + jitter * (seed - 1) for seed in range(seeds)]
            arms = [
                [world.arm("steered", sign * dose, sign * world.intended(s), 1 - 0.02 * dose) for sign in (1, -1)]
                for s in by_seed
            ]
            readings = tuple(ReadingEvidence(plus, minus) for plus, minus in arms)
            points.append(PointEvidence(f"{name} {dose:g}", name, dose, readings))
    prompt = ReadingEvidence(world.arm("prompt", 0.0, world.intended(0.2), 1.0), None)
    points.append(PointEvidence("prompt", "prompt", None, (prompt,)))
    nulls = tuple(world.arm("random", dose, world.intended(0.05), 1.0) for dose in (0.5, 1.0) for _ in range(4))
    base = world.arm("base", 0.0, 0.0, 1.0)
    return PartEvidence("Authority", -1, ("Care", "SocialNorms"), world.labels, base, tuple(points), nulls)


def test_a_point_is_the_mean_of_its_seeds_and_its_interval_knows_them() -> None:
    quiet, loud = (weigh(part(jitter=jitter), 0, 400) for jitter in (0.0, 0.4))
    strong = next(point for point in loud if point.point.point_id == "strong 1")
    each = [weigh(replaced_seed(part(jitter=0.4), seed), 0, 100) for seed in range(3)]
    alone = [next(p for p in found if p.point.point_id == "strong 1").value("separation") for found in each]
    assert strong.value("separation") == pytest.approx(np.mean(alone))
    widths = [
        span.high - span.low
        for found in (quiet, loud)
        if (span := next(p for p in found if p.point.point_id == "strong 1").interval("separation"))
    ]
    assert widths[1] > 2 * widths[0], "seeds that differ make the interval wide"
    assert strong.p_null == pytest.approx(1 / 5) and loud[-1].p_null is None, "the prompt has no dose to compare at"


def replaced_seed(whole: PartEvidence, seed: int) -> PartEvidence:
    """The part with one seed only."""
    points = tuple(
        PointEvidence(p.point_id, p.method, p.dose, p.readings[seed : seed + 1] if p.dose else p.readings)
        for p in whole.points
    )
    return PartEvidence(whole.target, whole.sign, whole.along, whole.labels, whole.base, points, whole.nulls)


def test_nulls_count_at_their_own_dose_whichever_way_they_move() -> None:
    moved = null_moves(part())
    assert sorted(moved) == [0.5, 1.0] and all(len(sizes) == 4 and min(sizes) >= 0 for sizes in moved.values())


def test_seeds_are_drawn_with_replacement_and_row_0_is_the_data() -> None:
    weights = seed_weights(3, 5, 500)
    assert (weights[0] == 1).all() and (weights.sum(axis=1) == 3).all() and len(np.unique(weights, axis=0)) > 5


def test_the_strength_is_chosen_among_coherent_points_only() -> None:
    strong, broken = np.full(3, 0.02), np.full(3, 0.3)
    points = [drawn("a", strong, np.full(3, 0.5)), drawn("b", broken, np.full(3, 5.0)), drawn("c", strong, -np.ones(3))]
    assert choose(points, 0.95) is points[0]
    assert choose(points[1:], 0.95) is None, "a point that separates the wrong way is no choice"


SPEC = CompareSpec(
    method="two", trait="t", persona="p", target="Authority", sign=-1, model="m", fingerprint="f", dtype="float32",
    seed=0, instrument="fewshot", instrument_text="", vignettes_hash="", methods={"strong": {}, "weak": {}},
    contest=Contest(doses=(0.5, 1.0)),
)  # fmt: skip


def rank(choice: PartEvidence, test: PartEvidence) -> list[Record]:
    """A comparison whose parts are these; the whole is the test half, so that nothing of it can decide."""
    placed = [
        Placed(f"{method} {dose:g}", method, dose, 1.0, dose, True, False)
        for method in ("strong", "weak")
        for dose in (0.5, 1.0)
    ]
    origins = {"strong": "steerkit", "weak": "steerkit"}
    return ranked(Parts(test, choice, test), placed, SPEC, Limits(resamples=100), origins, (10, 20), "r", "u")


def chosen(choice: PartEvidence, test: PartEvidence) -> list[tuple[str, float | None]]:
    return [(one.method, one.dose) for one in rank(choice, test) if isinstance(one, Contender)]


def test_choosing_looks_at_the_choosing_half_alone() -> None:
    straight, turned = part(scale={"strong": 1.0, "weak": 0.3}), part(scale={"strong": -1.0, "weak": -2.0})
    assert chosen(straight, straight) == chosen(straight, turned) == [("strong", 1.0), ("weak", 1.0)]
    assert chosen(turned, straight) == [("strong", None), ("weak", None)], (
        "where nothing separates on the choosing half, none is chosen"
    )


def test_the_whole_front_s_area_is_at_least_each_method_s() -> None:
    found = rank(part(), part())
    whole = next(one for one in found if isinstance(one, Comparison))
    areas = [one.hypervolume for one in found if isinstance(one, Contender)]
    assert whole.hypervolume is not None and all(area is not None and area <= whole.hypervolume for area in areas)


@pytest.mark.parametrize("count", [None, 70])
def test_halves_share_no_vignette_and_have_every_foundation_equally(count: int | None) -> None:
    rows = vignettes()[:count]
    one, other = halves(rows, 3)
    assert {row.id for row in one}.isdisjoint(row.id for row in other) and len(one) + len(other) == len(rows)
    for name in FOUNDATIONS:
        sizes = [sum(row.foundation == name for row in half) for half in (one, other)]
        assert 0 <= sizes[0] - sizes[1] <= 1
    assert halves(rows, 3) == (one, other) and halves(rows, 4) != (one, other)


def test_draws_of_contexts_are_apart_and_none_holds_what_doses_are_matched_on() -> None:
    rows = contexts()
    draws, spare = drawn_apart(rows, 64, 3, 4, 0)
    ids = [{context.id for context in draw} for draw in draws]
    assert [len(own) for own in ids] == [64, 64, 64] and len(spare) == 4
    assert not (ids[0] & ids[1] | ids[0] & ids[2] | ids[1] & ids[2])
    assert not {context.id for context in spare} & (ids[0] | ids[1] | ids[2])
    crowded, spare = drawn_apart(rows[:40], 30, 3, 4, 0)
    assert len({tuple(draw) for draw in crowded}) == 3 and not set(spare) & {c for draw in crowded for c in draw}
    with pytest.raises(UsageError, match="contexts must be between 2 and the 40 there are less the 4"):
        drawn_apart(rows[:40], 37, 3, 4, 0)


def measured(curves: Mapping[str, Any]) -> Any:
    """A ladder whose figures are these functions of the strength."""

    def measure(rungs: Rungs) -> list[Record]:
        return [dose(one.direction_id, strength, curves[one.direction_id](strength)) for one, strength in rungs]

    return measure


def dose(name: str, strength: float, figure: float) -> Dose:
    figures = dict.fromkeys(("kl_mean", "kl_rmse", "kl_p50", "kl_p90", "kl_p95", "kl_max"), figure)
    return Dose(run_id="r", unit_id="u", direction_id=name, strength=strength, tokens=8, **figures)


CURVES = {
    "plain": lambda s: 0.8 * s**2,
    "weak": lambda s: 1e-3 * s**2,
    "strong": lambda s: 500 * s**2,
    "saturates": lambda s: 0.5 * s**2 / (1 + s**2),
    "starts high": lambda s: 1.5 + s,
}


def test_strengths_are_matched_to_amounts_they_were_measured_at() -> None:
    rungs = [(Fitted(name, "svd", "real", None, {}), s) for name in CURVES for s in (0.15, 0.35, 0.8, 1.8, 4.0)]
    found = matched(measured(CURVES), rungs, (0.3, 1.0, 2.0), "p95-kl", 1.0, "r", "u")
    calibrations = [one for one in found if isinstance(one, Calibration)]
    assert len(calibrations) == len(CURVES) * 3
    by = {(one.direction_id, one.target): one.strength for one in calibrations}
    for name in ("plain", "weak", "strong"):
        for amount in (0.3, 1.0, 2.0):
            assert abs(math.log(CURVES[name](by[name, amount]) / amount)) < 0.05
    assert by["saturates", 0.3] is not None and by["saturates", 1.0] is None
    assert {by["starts high", amount] for amount in (0.3, 1.0)} == {None}, "a method that is no small step has no dose"
    measured_at = {(one.direction_id, one.strength) for one in found if isinstance(one, Dose)}
    assert all((name, s) in measured_at for (name, _), s in by.items() if s is not None)


def broken_method(**parts: Any) -> Any:
    """A method that adds its vector, with some part of it replaced."""
    healthy = {
        "step": lambda state, config: state["vector"],
        "steer": lambda hidden, state, strength, config: torch.where(
            strength[:, None, None] == 0, hidden, hidden + strength[:, None, None] * state["vector"]
        ),
    }
    return SimpleNamespace(**healthy | parts)


@pytest.mark.parametrize(
    ("parts", "state", "said"),
    [
        ({}, {"vector": torch.full((8,), float("nan"))}, "fit\\(\\) of 'odd' must give finite tensors, but 'vector'"),
        (
            {"step": lambda state, config: state["vector"][:3]},
            None,
            "step\\(\\) of 'odd' must give .* \\(8,\\), but",
        ),
        ({"steer": lambda h, *_: h[:, :1]}, None, "steer\\(\\) of 'odd' must give a tensor of shape \\(2, 3, 8\\)"),
        ({"steer": lambda h, *_: h * float("nan")}, None, "steer\\(\\) of 'odd' must give finite numbers"),
        ({"steer": lambda h, *_: h.double()}, None, "must give torch.float32, but gave torch.float64"),
        ({"steer": lambda h, *_: h + 1}, None, "must leave a row of strength 0 as it was"),
    ],
)
def test_a_method_that_breaks_its_promises_is_named_before_it_is_measured(
    monkeypatch: pytest.MonkeyPatch, parts: Any, state: Any, said: str
) -> None:
    monkeypatch.setattr(trial, "load_method", lambda name: broken_method(**parts))
    contrast = Contrast(torch.randn(4, 8), torch.randn(4, 8))
    fitted = Fitted("d", "odd", "real", None, {2: state or {"vector": torch.ones(8)}})
    with pytest.raises(RunError, match=said):
        trial.tried(fitted, {2: contrast})


def test_a_healthy_method_passes_its_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "load_method", lambda name: broken_method())
    fitted = Fitted("d", "fine", "real", None, {2: {"vector": torch.ones(8)}})
    trial.tried(fitted, {2: Contrast(torch.randn(4, 8), torch.randn(4, 8))})
