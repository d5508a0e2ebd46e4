"""What must hold for gate 3 to pass: what HEALED asks for, a surgical shift, sound texts and weights."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from steerkit.gates._arms import number, off_target, resolves, surgical_excess
from steerkit.gates._channels import channels_hold
from steerkit.gates._gate3_conditions import Condition, Conditions, conditions
from steerkit.gates._gate3_config import Config
from steerkit.gates._gate3_measured import Measured, excess, figure, heal_of
from steerkit.gates._gate3_texts import change
from steerkit.gates._result import Result, criterion, figures
from steerkit.metrics import ArmMetrics
from steerkit.stats import interval

NO_STUDENT = "no healed student was scored"


def _decided(name: str, study: Measured, config: Config, which: Callable[[Conditions], Condition], step: str) -> Result:
    """A criterion that is met where a condition of the label surely holds; undecided is noise."""
    if study.healed is None:
        return criterion(name, None, None, None, NO_STUDENT, "train an adapter and score its student")
    condition = which(conditions(study, study.healed, config))
    low = None if condition.found is None else condition.found.low
    met = None if low is None else condition.truth is True
    return criterion(name, met, low, condition.floor, condition.figure, step, condition.truth is None)


def separates(study: Measured, config: Config) -> Result:
    """The student has surely moved the target by the threshold in the intended direction since the round's start."""
    step = "see which hypothesis is observed; train on texts of a higher dose, or for longer"
    result = _decided("student separates", study, config, lambda found: found.moved, step)
    return result if study.healed is None else replace(result, detail=f"{result.detail}; {resolves(study.healed)}")


def retains(study: Measured, config: Config) -> Result:
    """The student surely keeps half of the shift of the steering that wrote its texts."""
    step = "weaken the constraint; if the plain adapter keeps no more, change the texts"
    return _decided("shift is retained", study, config, _retained, step)


def _retained(found: Conditions) -> Condition:
    """Kept, of a shift that is surely there: of nothing, nothing is kept."""
    return found.retained if found.steered_moved.truth is True else found.steered_moved


def stays_coherent(study: Measured, config: Config) -> Result:
    """The student is surely coherent beside the base."""
    step = "strengthen the constraint (rmse, lower tau), lower the dose of the texts, filter them better"
    return _decided("student is coherent", study, config, lambda found: found.coherent, step)


def beats_raw_steering(study: Measured, config: Config) -> Result:
    """The student is surely more coherent than raw steering at the same separation."""
    name, step = (
        "more coherent than raw steering",
        "train on texts of a higher dose, so that there is something to heal",
    )
    result = _decided(name, study, config, lambda found: found.gains, step)
    costs = [f"{arm.arm.kind} {_cost(arm)}" for arm in (study.healed, study.steered) if arm is not None]
    return replace(result, detail=f"{result.detail}; coherence lost: {', '.join(costs)}" if costs else result.detail)


def _cost(arm: ArmMetrics) -> str:
    """Coherence lost, nats moved and their ratio, for a sentence."""
    cost = arm.value("coh_cost")
    parts = f"{-number(arm, 'd_coherence'):.4f} for {number(arm, 'd_target'):+.2f} nats"
    return f"{parts} (no ratio)" if cost is None else f"{parts} ({cost:.3f} per nat)"


def surgical(study: Measured, config: Config) -> Result:
    """The target moves more than every foundation that should stay put."""
    name, step = "surgical", "lower the rank, match the style of base texts, or rewrite the persona pair"
    if study.healed is None:
        return criterion(name, None, None, 0.0, NO_STUDENT, "train an adapter and score its student")
    gap = surgical_excess(study.evidence, study.healed)
    sizes = {foundation: float(size[0]) for foundation, size in off_target(study.evidence, study.healed).items()}
    worst = max(sizes, key=lambda foundation: sizes[foundation], default="nothing")
    found = interval(gap)
    detail = (
        f"{study.evidence.target} moves {number(study.healed, 'd_target'):+.2f} nats, "
        f"{worst} {sizes.get(worst, 0.0):.2f}; {figures('the excess', found)}"
    )
    return criterion(name, bool(gap[0] > 0), float(gap[0]), 0.0, detail, step, found is None or found.high > 0)


def controls_move_less(study: Measured, config: Config) -> Result:
    """No adapter that was trained the same way on texts without the trait reaches the share of the student's shift."""
    name, step = "controls move less", "claim only the excess over the controls; re-extract the direction"
    result = _decided(name, study, config, lambda found: found.specific, step)
    if study.healed is None or result.status == "not measured":
        return replace(result, next_step="train control adapters on unsteered and on random-direction texts")
    over = excess(study, study.healed)
    said = ", ".join(f"{arm.arm.kind} {float(study.moved(arm)[0]):+.2f}" for arm in study.nulls)
    found = None if over is None else interval(over)
    return replace(result, detail=f"{result.detail}; {said} nats; {figures('the excess', found)}")


def coherence_channels_hold(study: Measured, config: Config) -> Result:
    """Every other channel of coherence that is asked for holds: answers to unseen prompts neither loop nor babble."""
    name, step = (
        "coherence channels hold",
        "read the texts; strengthen the constraint or train on texts of a lower dose",
    )
    return channels_hold(name, study.healed, study.base, config, "the student", step)


def texts_are_new(study: Measured, config: Config) -> Result:
    """The student's greedy answers to unseen prompts differ from the base's."""
    name, step = "texts differ from the base's", "the student writes as the base does: see which hypothesis is observed"
    found = None if study.healed is None else change(study, study.healed)
    if found is None:
        return criterion(name, None, None, config.text_change, "no texts of student and base share a prompt", step)
    detail = f"{found:.2f} of the student's word trigrams are not in the base's text of the same prompt"
    return criterion(name, found >= config.text_change, found, config.text_change, detail, step)


def enough_texts(study: Measured, config: Config) -> Result:
    """The adapter was trained on at least as many texts as anything may be trained on."""
    name, step, heal = "enough training texts", "collect more texts with gate 2", heal_of(study)
    needed = float(study.evidence.fewest_texts)
    if heal is None:
        return criterion(name, None, None, needed, "no adapter was trained", step)
    train, held = heal.adapter.train_texts, heal.adapter.validation_texts
    detail = f"{train} texts were trained on and {held} held out; {needed:.0f} are needed"
    return criterion(name, train + held >= needed, float(train + held), needed, detail, step)


def bake_is_exact(study: Measured, config: Config) -> Result:
    """The student with the adapter in its weights is the one with the adapter beside them."""
    name, step = "bake is exact", "sum adapters in fp32 and round once; score the baked student only"
    gap = figure(study, "kl_hooked_baked")
    if gap is None:
        return criterion(name, None, None, config.bake_kl, "hooked and baked student were not compared", step)
    detail = f"mean KL between hooked and baked student is {gap:.2g} nats per token"
    return criterion(name, bool(np.abs(gap) < config.bake_kl), gap, config.bake_kl, detail, step)


CRITERIA = (
    separates,
    retains,
    stays_coherent,
    beats_raw_steering,
    surgical,
    controls_move_less,
    coherence_channels_hold,
    texts_are_new,
    enough_texts,
    bake_is_exact,
)
