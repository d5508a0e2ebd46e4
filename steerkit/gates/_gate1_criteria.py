"""What must hold for gate 1 to pass; each criterion is read at the operating point or what comes nearest to one."""

from itertools import pairwise

import numpy as np

from steerkit.gates._arms import at_least, number, off_target, resolves, surgical_excess
from steerkit.gates._channels import channels_hold
from steerkit.gates._gate1_config import Config
from steerkit.gates._gate1_measured import (
    Measured,
    judged_arm,
    largest_null,
    mirror,
    null_p,
    nulls_at,
)
from steerkit.gates._gate1_validity import diagonal_marginal_disagreement, extraction_bug, log_tail_illusion
from steerkit.gates._result import Result, criterion, figures
from steerkit.metrics import ArmMetrics, picks
from steerkit.records import FOUNDATIONS
from steerkit.stats import informedness, interval

NO_ARM = "no arm with a positive dose could be read"


def separates_while_coherent(study: Measured, config: Config) -> Result:
    """Some coherent dose shifts the target by the threshold in the intended direction."""
    name, step = "separates while coherent", "see which hypothesis is observed; compare methods at equal KL"
    arm = judged_arm(study, config)
    if arm is None:
        return criterion(name, None, None, config.separation, NO_ARM, "score at least two positive doses")
    if not at_least(arm, config.mass_floor()):
        detail = f"no dose is coherent: at dose {arm.arm.dose:g} coherence is {number(arm, 'coherence'):.3f}"
        return criterion(name, False, None, config.separation, detail, "halve the doses")
    found = arm.interval("separation")
    reaches = found is None or found.high >= config.separation
    detail = f"at dose {arm.arm.dose:g} {figures('separation', found)}, coherence {number(arm, 'coherence'):.3f}"
    met = number(arm, "separation") >= config.separation
    return criterion(name, met, arm.value("separation"), config.separation, detail, step, reaches)


def interval_excludes_zero(study: Measured, config: Config) -> Result:
    """The separation's interval lies above zero."""
    name, step = "interval excludes zero", "score more vignettes or seeds before claiming anything"
    arm = judged_arm(study, config)
    found = None if arm is None else arm.interval("separation")
    if arm is None or found is None:
        return criterion(name, None, None, 0.0, NO_ARM, step)
    detail = (
        f"at dose {arm.arm.dose:g} {figures('separation', found)} over {arm.paired_target} vignettes; {resolves(arm)}"
    )
    return criterion(name, found.low > 0, found.low, 0.0, detail, step, found.high >= config.separation)


def surgical(study: Measured, config: Config) -> Result:
    """The target moves more than every foundation that should stay put."""
    name, step = "surgical", "rewrite the persona pair as a conflict of values; use more diverse contexts"
    arm = judged_arm(study, config)
    if arm is None:
        return criterion(name, None, None, 0.0, NO_ARM, step)
    excess = surgical_excess(study.evidence, arm)
    sizes = {foundation: float(size[0]) for foundation, size in off_target(study.evidence, arm).items()}
    worst = max(sizes, key=lambda foundation: sizes[foundation], default="nothing")
    found = interval(excess)
    detail = (
        f"at dose {arm.arm.dose:g} {study.evidence.target} moves {number(arm, 'd_target'):+.2f} nats, "
        f"{worst} {sizes.get(worst, 0.0):.2f}; {figures('the excess', found)}"
    )
    noisy = found is None or found.high > 0
    return criterion(name, bool(excess[0] > 0), float(excess[0]), 0.0, detail, step, noisy)


def _rising(study: Measured, config: Config, judged: ArmMetrics) -> list[ArmMetrics]:
    """The unbroken doses up to the judged one, and the next above where that is the first."""
    whole = [arm for arm in study.positive if at_least(arm, config.broken)]
    upto = [arm for arm in whole if arm.arm.dose <= judged.arm.dose]
    return upto if len(upto) > 1 else whole[:2]


def monotone_in_dose(study: Measured, config: Config) -> Result:
    """Over at least two doses, more dose separates more: no step up loses more than noise."""
    name, step = "monotone in dose", "score a finer grid of doses below the knee"
    arm = judged_arm(study, config)
    doses = [] if arm is None else _rising(study, config, arm)
    if len(doses) < 2:
        return criterion(name, None, None, -config.noise, f"{len(doses)} unbroken doses; two are needed", step)
    steps = [high.draws["separation"] - low.draws["separation"] for low, high in pairwise(doses)]
    worst = min(range(len(steps)), key=lambda index: float(steps[index][0]))
    found, loss = interval(steps[worst]), float(steps[worst][0])
    where = f"from dose {doses[worst].arm.dose:g} to {doses[worst + 1].arm.dose:g}"
    detail = f"over {len(doses)} doses the smallest step is {where}: {figures('its gain', found)}"
    noisy = found is None or found.high >= 0
    rises = number(doses[-1], "separation") > number(doses[0], "separation")
    return criterion(name, loss >= -config.noise and rises, loss, -config.noise, detail, step, noisy)


def minus_dose_differs(study: Measured, config: Config) -> Result:
    """The opposite dose does not shift the target the same way."""
    name, step = "minus dose differs", "the direction encodes disturbance, not the trait: re-extract it"
    arm = judged_arm(study, config)
    other = None if arm is None else mirror(study, arm, config)
    if other is None:
        return criterion(name, None, None, config.noise, "no unbroken negative dose was scored", "score negative doses")
    found, value = other.interval("separation"), number(other, "separation")
    detail = f"at dose {other.arm.dose:g} {figures('separation', found)}"
    noisy = found is None or found.low < config.noise
    return criterion(name, value < config.noise, value, config.noise, detail, step, noisy)


def beats_null_directions(study: Measured, config: Config) -> Result:
    """The separation exceeds the largest movement by a random or label-shuffled direction at the same dose.

    It rests on the paired-bootstrap interval of that difference, not on p, because five nulls cannot give a p below
    1/6; p is reported with its resolution, and too few nulls for `p_null` leave the criterion not measured. That
    interval knows the vignettes' noise but not the chance that all nulls are small: a random direction exceeds the
    largest of five, the right way round, in 8 of 100 cases (normal effects), and twice the largest in 1. So the
    largest null must also stay below half of the separation (`null_ceiling`).
    """
    name, step = "beats null directions", "score more null directions at this dose; if it stays, re-extract"
    arm = judged_arm(study, config)
    nulls = () if arm is None else nulls_at(study, arm.arm.dose)
    largest = None if arm is None else largest_null(study, arm.arm.dose)
    needed = int(np.ceil(1 / config.p_null - 1 - 1e-9)) if config.p_null > 0 else 0
    if arm is None or largest is None or len(nulls) < needed:
        detail = f"{len(nulls)} null directions at this dose or above; {needed} are needed for p <= {config.p_null:g}"
        return criterion(name, None, None, config.null_margin, detail, step)
    found, p = interval(arm.draws["separation"] - largest), null_p(study, arm)
    if found is None or p is None:
        return criterion(name, None, None, config.null_margin, "the difference to the nulls is undefined", step)
    share = float(largest[0]) / max(number(arm, "separation"), 1e-9)
    detail = (
        f"at dose {arm.arm.dose:g} the largest of {len(nulls)} nulls moves {largest[0]:.2f} nats; "
        f"{figures('the difference', found)}; p = {p:.3f}, resolution {1 / (len(nulls) + 1):.3f}"
    )
    if found.low > config.null_margin and share >= config.null_ceiling:
        return criterion(name, False, share, config.null_ceiling, f"{detail}; its share is too large", step, True)
    met = found.low > config.null_margin and p <= config.p_null
    return criterion(name, met, found.low, config.null_margin, detail, step, found.high > config.null_margin)


def instrument_fits(study: Measured, config: Config) -> Result:
    """On the unsteered model the instrument tells the foundations apart better than chance."""
    name, step = (
        "instrument fits the model",
        ("use another instrument or a larger model (steerkit instruments --check): its answers say nothing here"),
    )
    labels = study.evidence.labels
    if len(set(labels)) < 2:
        return criterion(name, None, None, 0.0, "vignettes of one foundation only", "score all foundations")
    found = interval(informedness(picks(study.base.arm), labels, FOUNDATIONS, study.draw))
    if found is None:
        return criterion(name, None, None, 0.0, "the base's informedness is undefined", step)
    detail = figures("the base's informedness", found, "of 1")
    if found.covers(0.0):
        detail += ": the interval covers 0, so its answers cannot be told from guesses and no shift of them is a result"
    return criterion(name, found.low > 0, found.low, 0.0, detail, step, found.high > 0)


def coherence_channels_hold(study: Measured, config: Config) -> Result:
    """At the judged dose every other channel of coherence asked for holds: free texts neither loop nor babble."""
    name, step = "coherence channels hold", "read the texts at this dose; operate at a smaller one"
    arm = judged_arm(study, config)
    where = "the judged dose" if arm is None else f"dose {arm.arm.dose:g}"
    return channels_hold(name, arm, study.base, config, where, step)


def measurement_is_sound(study: Measured, config: Config) -> Result:
    """None of the faults is observed that would make the numbers mean something else."""
    faults = [check(study, config) for check in (extraction_bug, diagonal_marginal_disagreement, log_tail_illusion)]
    found = [fault for fault in faults if fault.status == "observed"]
    unknown = [fault.name for fault in faults if fault.status == "not measured"]
    met = False if found else None if unknown else True
    listed = ", ".join([fault.name for fault in found] or unknown)
    detail = f"{'observed' if found else 'not measured'}: {listed}" if listed else "no such fault is observed"
    noisy = not any(fault.name == "extraction bug" for fault in found)
    step = found[0].next_step if found else "measure what is missing"
    return criterion("measurement is sound", met, float(len(found)), 0.0, detail, step, noisy)


CRITERIA = (
    separates_while_coherent,
    interval_excludes_zero,
    surgical,
    monotone_in_dose,
    minus_dose_differs,
    beats_null_directions,
    instrument_fits,
    coherence_channels_hold,
    measurement_is_sound,
)
