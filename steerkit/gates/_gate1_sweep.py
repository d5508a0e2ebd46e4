"""Known ways for a sweep of doses to fail: too little, too much, in the wrong place, or both ways alike."""

from itertools import pairwise

import numpy as np

from steerkit.gates._arms import at_least, number, off_target, readable
from steerkit.gates._gate1_config import Config
from steerkit.gates._gate1_measured import (
    Measured,
    largest_null,
    mirror,
    operating_point,
    strongest_arm,
)
from steerkit.gates._result import Result, figures, hypothesis
from steerkit.metrics import NOT_WRONG, SMALLEST_SHIFT, ArmMetrics, quantity_name
from steerkit.records import FOUNDATIONS
from steerkit.stats import Interval

NO_ARM = "no unbroken arm with a positive dose could be read"


def separating(study: Measured, config: Config) -> list[ArmMetrics]:
    """Positive doses that shift the target enough, coherent or not."""
    return [arm for arm in study.positive if number(arm, "separation") >= config.separation and readable(arm)]


def _kl(study: Measured, arm: ArmMetrics) -> str:
    """The measured 95th-percentile KL nearest to the arm's strength, in words."""
    ladder = [rung for rung in study.evidence.ladder if rung.direction_id == arm.arm.direction_id]
    rungs = [rung for rung in ladder if np.isfinite(rung.kl_p95)]
    if not rungs:
        return "its KL was not measured"
    rung = min(rungs, key=lambda rung: abs(rung.strength - arm.arm.strength))
    return f"p95 KL {rung.kl_p95:.2f} nats at strength {rung.strength:.3g}"


def _drowned(found: Interval | None, config: Config) -> bool:
    """Whether an interval covers zero and is wider than noise, so that neither an effect nor its absence is shown."""
    return found is not None and found.covers(0.0) and found.high - found.low >= 2 * config.noise


def vector_too_weak(study: Measured, config: Config) -> Result:
    """No foundation moves at any dose beyond noise, and every dose is coherent."""
    name, step = (
        "vector too weak",
        "raise the doses, widen the calibration's ladder, steer more layers, use the raw norm",
    )
    arms = [arm for arm in study.positive if readable(arm)]
    if not arms:
        return hypothesis(name, None, None, config.separation, NO_ARM, step)
    moved = max(abs(number(arm, f"d_{quantity_name(f)}")) for arm in arms for f in set(study.evidence.labels))
    still = moved < config.separation and not any(_drowned(arm.interval("separation"), config) for arm in arms)
    seen = still and all(at_least(arm, config.coherence) for arm in arms)
    top = arms[-1]
    detail = (
        f"up to dose {top.arm.dose:g} no foundation moves more than {moved:.2f} nats; "
        f"there coherence is {number(top, 'coherence'):.3f} and {_kl(study, top)}"
    )
    return hypothesis(name, seen, moved, config.separation, detail, step)


def too_strong(study: Measured, config: Config) -> Result:
    """The target moves only where coherence is lost: the first dose that separates, or the first of all, is broken.

    Or that dose is below the coherence floor but cheap per nat, so that a smaller one would do.
    """
    name, step = "too strong", "halve the doses and refine the grid between the last good and the first bad one"
    arms = [arm for arm in study.positive if arm.value("coherence") is not None]
    if not arms:
        return hypothesis(name, None, None, config.broken, NO_ARM, step)
    found = separating(study, config)
    first = (found or arms)[0]
    coherence = number(first, "coherence")
    cheap = bool(found) and number(first, "coh_cost") < config.coh_cost
    lost = not any(at_least(arm, config.coherence) for arm in found)
    seen = lost and (coherence < config.broken or cheap)
    what = "the first dose that separates" if found else "no dose separates; the first"
    detail = f"{what} is {first.arm.dose:g}, with coherence {coherence:.3f}"
    return hypothesis(name, seen, coherence, config.broken, detail, step)


def bad_pareto(study: Measured, config: Config) -> Result:
    """Each unbroken dose that separates costs too much coherence per nat, or coherence goes and the target stays."""
    name, step = "bad Pareto", "try a better pair or contexts, another method at equal KL, or the single best layer"
    if not any(readable(arm) for arm in study.positive):
        return hypothesis(name, None, None, config.coh_cost, NO_ARM, step)
    arms = [arm for arm in separating(study, config) if at_least(arm, config.broken)]
    if not arms:
        return hypothesis(
            name, _spent_for_nothing(study, config), None, config.coh_cost, "no unbroken dose separates", step
        )
    costs = [0.0 if number(arm, "d_coherence") > 0 else number(arm, "coh_cost") for arm in arms]
    best = int(np.argmin(costs))
    detail = (
        f"the cheapest of {len(arms)} separating doses, {arms[best].arm.dose:g}, loses "
        f"{-number(arms[best], 'd_coherence'):.3f} coherence for {number(arms[best], 'separation'):.2f} nats"
    )
    return hypothesis(name, costs[best] >= config.coh_cost, costs[best], config.coh_cost, detail, step)


def _spent_for_nothing(study: Measured, config: Config) -> bool:
    """Whether doses lose coherence, from a first one that is not broken, without moving the target either way."""
    arms = [arm for arm in study.positive if readable(arm)]
    still = all(abs(number(arm, "separation")) < config.separation for arm in arms)
    return still and at_least(arms[0], config.broken) and not all(at_least(arm, config.coherence) for arm in arms)


def wrong_target(study: Measured, config: Config) -> Result:
    """A foundation that should stay put moves at least as much as the target."""
    name, step = "wrong target", "rewrite the pair as a conflict of values, use diverse contexts, or switch axis"
    coherent = [arm for arm in study.positive if at_least(arm, config.coherence)]
    arm = operating_point(study, config) or next(reversed(coherent), None)
    sizes = {} if arm is None else {other: float(size[0]) for other, size in off_target(study.evidence, arm).items()}
    if arm is None or not sizes:
        return hypothesis(name, None, None, None, "no coherent dose: a collapse has no direction", step)
    worst = max(sizes, key=lambda foundation: sizes[foundation])
    found, target = arm.interval(f"d_{quantity_name(worst)}"), abs(number(arm, "d_target"))
    seen = sizes[worst] >= max(target, config.noise) and found is not None and not found.covers(0.0)
    detail = f"at dose {arm.arm.dose:g} {figures(f'the change of {worst}', found)}, the target's {target:.2f}"
    return hypothesis(name, seen, sizes[worst], max(target, config.noise), detail, step)


def general_collapse(study: Measured, config: Config) -> Result:
    """Every foundation and coherence fall together, nothing rises, and the choice flattens."""
    name, step = "general collapse", "discard this dose and every larger one"
    arms = [arm for arm in study.positive if readable(arm)]
    bad = [arm for arm in arms if not at_least(arm, config.coherence)]
    arm = operating_point(study, config) or next(iter(separating(study, config) or bad or arms[-1:]), None)
    base_margin, base_entropy = number(study.base, "margin"), number(study.base, "entropy")
    if arm is None or not base_margin > 0:
        return hypothesis(name, None, None, config.margin_share, NO_ARM, step)
    changes = [number(arm, f"d_{quantity_name(f)}") for f in set(study.evidence.labels)]
    share = number(arm, "margin") / base_margin
    halfway = (base_entropy + np.log(len(FOUNDATIONS))) / 2
    flat = share <= config.margin_share or number(arm, "entropy") >= halfway
    falls = max(changes) <= config.noise and min(changes) < -config.noise
    seen = bool(falls and flat and not at_least(arm, config.coherence))
    detail = (
        f"at dose {arm.arm.dose:g} changes run from {min(changes):+.2f} to {max(changes):+.2f} nats, coherence is "
        f"{number(arm, 'coherence'):.3f}, margin {share:.2f} of the base's, entropy {number(arm, 'entropy'):.2f} nats"
    )
    return hypothesis(name, seen, share, config.margin_share, detail, step)


def _drift_share(arm: ArmMetrics, config: Config, target: str) -> float | None:
    """The rise of p["not wrong"] on other rows over that on target rows; None where it does not rise enough."""
    here = number(arm, "d_not_wrong")
    risen = target != NOT_WRONG and here >= config.not_wrong_rise
    return number(arm, "d_not_wrong_elsewhere") / here if risen else None


def non_specific_drift(study: Measured, config: Config) -> Result:
    """Null directions shift the target nearly as much, or every vignette alike turns "not wrong"."""
    name, step = "non-specific drift", "subtract the null directions' shift; rewrite the pair"
    arm = strongest_arm(study, config)
    if arm is None:
        return hypothesis(name, None, None, config.null_share, NO_ARM, step)
    shift, largest = abs(number(arm, "d_target")), largest_null(study, arm.arm.dose)
    if shift < config.noise:
        detail = f"the target moves {shift:.2f} nats at most: no shift to explain"
        return hypothesis(name, False, None, config.null_share, detail, step)
    null = None if largest is None else float(largest[0]) / shift
    drift = _drift_share(arm, config, study.evidence.target)
    shares = [share for share in (null, drift) if share is not None]
    seen = True if any(share >= config.null_share for share in shares) else None if null is None else False
    detail = (
        f"at dose {arm.arm.dose:g} the largest null moves {_share(null)} of the target's shift; "
        f'p["not wrong"] rises {number(arm, "d_not_wrong"):+.3f} on target rows, '
        f"{number(arm, 'd_not_wrong_elsewhere'):+.3f} on the others"
    )
    return hypothesis(name, seen, max(shares, default=None), config.null_share, detail, step)


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else f"{100 * value:.0f}%"


def wrong_sign(study: Measured, config: Config) -> Result:
    """The target moves against the intention at the positive dose and with it at the negative one."""
    name, step = "wrong sign", "swap the poles, or steer with negative strength"
    arm = strongest_arm(study, config)
    found = None if arm is None else arm.interval("separation")
    if arm is None or found is None:
        return hypothesis(name, None, None, -config.noise, NO_ARM, step)
    against = found.value <= -config.noise and found.high < 0
    other = mirror(study, arm, config)
    seen = False if not against else None if other is None else number(other, "separation") >= config.noise
    detail = f"at dose {arm.arm.dose:g} {figures('separation', found)}; " + _opposite(other)
    return hypothesis(name, seen, found.value, -config.noise, detail, step)


def _opposite(other: ArmMetrics | None) -> str:
    if other is None:
        return "no unbroken negative dose was scored"
    return f"at dose {other.arm.dose:g} {figures('it', other.interval('separation'))}"


def bidirectional_disruption(study: Measured, config: Config) -> Result:
    """Both signs of the dose move the target the same way."""
    name, step = "bidirectional disruption", "the vector encodes disturbance, not the trait: re-extract it"
    arm = strongest_arm(study, config)
    other = None if arm is None else mirror(study, arm, config)
    if arm is None or other is None:
        return hypothesis(name, None, None, config.noise, _opposite(None), step)
    plus, minus = arm.interval("separation"), other.interval("separation")
    if plus is None or minus is None:
        return hypothesis(name, None, None, config.noise, "the shift of one sign is undefined", step)
    smaller = min(abs(plus.value), abs(minus.value)) * (1 if plus.value * minus.value > 0 else -1)
    clear = not plus.covers(0.0) and not minus.covers(0.0)
    detail = f"at dose {arm.arm.dose:g} {figures('separation', plus)}; {_opposite(other)}"
    return hypothesis(name, clear and smaller >= config.noise, smaller, config.noise, detail, step)


def metric_noise(study: Measured, config: Config) -> Result:
    """The best shift cannot be told from zero and is not tight either, or its sign changes between adjacent doses."""
    name, step = "metric noise", "score more vignettes, orders or seeds; never claim this shift"
    arm = strongest_arm(study, config)
    found = None if arm is None else arm.interval("separation")
    if arm is None or found is None:
        return hypothesis(name, None, None, config.noise, NO_ARM, step)
    shifts = [number(other, "separation") for other in study.positive if at_least(other, config.broken)]
    flips = sum(low * high < 0 and min(abs(low), abs(high)) >= SMALLEST_SHIFT for low, high in pairwise(shifts))
    half = (found.high - found.low) / 2
    detail = f"at dose {arm.arm.dose:g} {figures('separation', found)}; its sign changes {flips} times over the doses"
    if flips:
        return hypothesis(name, True, float(flips), 0.0, detail, step)
    return hypothesis(name, _drowned(found, config), half, config.noise, detail, step)


SWEEP = (
    vector_too_weak,
    too_strong,
    bad_pareto,
    wrong_target,
    general_collapse,
    non_specific_drift,
    wrong_sign,
    bidirectional_disruption,
    metric_noise,
)
