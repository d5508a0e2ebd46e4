"""Known ways for the constraint to fail: too strong, too weak, never there, blind to loops, or spent on the trait."""

import numpy as np

from steerkit.evidence import HealEvidence
from steerkit.gates._arms import at_least, text_health
from steerkit.gates._gate3_conditions import fine, not_recovered, start_kl
from steerkit.gates._gate3_config import Config
from steerkit.gates._gate3_measured import Measured, asked, coherence_of, front_gain, heal_of, moved_by
from steerkit.gates._result import Result, figures, hypothesis
from steerkit.metrics import ArmMetrics
from steerkit.spec_heal import Aggregate
from steerkit.stats import interval

BOTH_NEEDED = "the healed or the plain student was not scored"


def constrained(heal: HealEvidence | None) -> bool | None:
    """Whether a barrier was set; None without an adapter."""
    return None if heal is None else asked(heal).divergence != "none" and heal.adapter.tau is not None


def flat(study: Measured, arm: ArmMetrics | None, config: Config) -> bool:
    """Whether the arm was read and has moved the target by less than the threshold, either way."""
    return abs(moved_by(study, arm)) < config.separation


def _nats(study: Measured, *arms: ArmMetrics | None) -> str:
    """How far each arm moved and how coherent it is, for a sentence."""
    found = [arm for arm in arms if arm is not None]
    return ", ".join(
        f"{arm.arm.kind} moves {moved_by(study, arm):+.2f} nats at coherence {coherence_of(arm):.3f}" for arm in found
    )


def over_regularised(study: Measured, config: Config) -> Result:
    """Under the constraint the student stays where it was, and without it the same texts move it."""
    name, step = "over-regularised", "lower lambda to a third or a tenth, or raise tau"
    healed, plain, barrier = study.healed, study.plain, constrained(heal_of(study))
    if healed is None or plain is None or barrier is None:
        return hypothesis(name, None, None, config.separation, BOTH_NEEDED, "train a plain adapter on the same texts")
    found = moved_by(study, healed)
    if not barrier:
        return hypothesis(name, False, found, config.separation, "no constraint was set", step)
    seen = flat(study, healed, config) and moved_by(study, plain) >= config.separation
    detail = f"{_nats(study, healed, plain)}; {_training(study)}"
    return hypothesis(name, seen and at_least(healed, config.coherence), found, config.separation, detail, step)


def _training(study: Measured) -> str:
    """The balance of gradients, how often the barrier acted, and what training took off the NLL, for a sentence."""
    heal, plain = heal_of(study), heal_of(study, "plain")
    steps = () if heal is None else heal.steps
    split = [step.grad_barrier / step.grad_nll for step in steps if step.grad_barrier is not None and step.grad_nll]
    ratio = f"{np.median(split):.2g}" if split else "unknown"
    last = [f"{each.steps[-1].nll:.2f}" for each in (heal, plain) if each is not None and each.steps]
    over = f"{np.mean([step.over for step in steps]):.2f}" if steps else "unknown"
    return f"barrier's over objective's gradient {ratio}, over tau {over}, last NLL {' and '.join(last) or 'unknown'}"


def undo(study: Measured, config: Config) -> Result:
    """Steering moved the target; the student, coherent and no copy of where it started, keeps too little of it."""
    healed, steered, kl = study.healed, study.steered, start_kl(study)
    name, step = "undo", _undone_by(study, config)
    if healed is None or steered is None or not at_least(steered, config.broken):
        detail = "the student or an unbroken steered arm was not scored"
        return hypothesis(name, None, None, config.retain, detail, "score the steered model at the dose of the texts")
    taught, found = moved_by(study, steered), moved_by(study, healed)
    retained = found / taught if taught >= config.separation else None
    other = kl is None or kl >= config.still_kl
    seen = retained is not None and retained < config.retain and at_least(healed, config.coherence) and other
    said = "not measured" if kl is None else f"{kl:.3f}"
    detail = f"{_nats(study, steered, healed)}; KL to where it started {said}"
    return hypothesis(name, seen, retained, config.retain, detail, step)


def _undone_by(study: Measured, config: Config) -> str:
    """What to do about an undone student: it depends on whether the plain one is undone too."""
    if study.plain is None or study.steered is None:
        return "train a plain adapter: if it keeps the shift the constraint undid it, else the texts did"
    if moved_by(study, study.plain) >= config.retain * moved_by(study, study.steered):
        return "the constraint undid it: lower lambda, raise tau"
    return "the plain adapter is undone too: change the texts"


def copies_incoherence(study: Measured, config: Config) -> Result:
    """The student keeps the steering's shift with its loss of coherence, or its texts loop or babble."""
    name, step = "copies incoherence", "rmse instead of mean, lower tau, a lower dose, a better filter"
    healed, steered = study.healed, study.steered
    health = None if healed is None else text_health(healed.arm, study.base.arm)
    sick = None if health is None else not health.healthy(config)
    read = "unread" if sick is None else "loop or babble" if sick else "are healthy"
    value = None if healed is None else healed.value("coherence")
    if healed is None or (steered is None and sick is None):
        detail = "neither the steered arm nor texts of a student were there to compare"
        return hypothesis(name, None, value, config.coherence, detail, "score the steered model; let the student write")
    lost_more = None if steered is None else interval(not_recovered(healed, steered, config))
    taught = moved_by(study, steered)
    kept = taught >= config.separation and moved_by(study, healed) >= config.retain * taught
    copied = kept and lost_more is not None and lost_more.low > 0
    detail = f"{fine('the loss beyond what may stay of the steering', lost_more)}; texts {read}; {_kept_texts(study)}"
    return hypothesis(name, bool(copied or sick), value, config.coherence, detail, step)


def _kept_texts(study: Measured) -> str:
    """Whether the trained texts themselves repeat, for a sentence."""
    texts = study.evidence.texts.get("healed", ())
    if not texts:
        return "the trained texts are unread"
    return f"the trained texts have {np.median([text.distinct_tail for text in texts]):.2f} distinct trigrams"


def barrier_never_fires(study: Measured, config: Config) -> Result:
    """Hardly any trained sequence diverges beyond tau, so training is the same as without a constraint."""
    name, step = "barrier never fires", "set tau to a percentile of the divergence seen (q50), or change the aggregate"
    heal = heal_of(study)
    if heal is None or not heal.steps:
        return hypothesis(name, None, None, config.fired_share, "no training was recorded", "train an adapter")
    if not constrained(heal):
        return hypothesis(name, False, None, config.fired_share, "no barrier was set", step)
    fired = float(np.mean([each.over for each in heal.steps]))
    middle = float(np.median(_divergences(heal)[asked(heal).aggregate]))
    detail = (
        f"{fired:.2f} of the sequences exceed tau {heal.adapter.tau:.3g} nats, the median divergence is {middle:.3g}; "
        f"{_nats(study, study.healed, study.plain)}"
    )
    return hypothesis(name, fired <= config.fired_share, fired, config.fired_share, detail, step)


def _divergences(heal: HealEvidence) -> dict[Aggregate, list[float]]:
    """Each step's divergence by aggregate (nats)."""
    return {
        "mean": [step.d_mean for step in heal.steps],
        "rmse": [step.d_rmse for step in heal.steps],
        "p95": [step.d_p95 for step in heal.steps],
        "max": [step.d_max for step in heal.steps],
    }


def kl_mean_dilution(study: Measured, config: Config) -> Result:
    """The barrier reads a mean below tau while single tokens lie far above it."""
    name, step, heal = "KL mean dilution", "aggregate by rmse or p95, and set tau anew", heal_of(study)
    if heal is None or not heal.steps:
        return hypothesis(name, None, None, config.dilution, "no training was recorded", "train an adapter")
    tau, found = heal.adapter.tau, _divergences(heal)
    usual, worst = float(np.median(found["mean"])), float(np.median(found["max"]))
    ratio = worst / usual if usual > 0 else None
    bar = "none" if tau is None else f"{tau:.3g} nats"
    detail = f"aggregate {asked(heal).aggregate}, tau {bar}, median D: mean {usual:.3g}, largest {worst:.3g} nats"
    hidden = tau is not None and asked(heal).aggregate == "mean" and usual < tau < worst
    seen = hidden and ratio is not None and ratio > config.dilution
    return hypothesis(name, seen, ratio, config.dilution, detail, step)


def barrier_spends_on_trait(study: Measured, config: Config) -> Result:
    """Without the constraint the student is coherent already; with it it moves less and is no more coherent."""
    name, step = "barrier spends on trait tokens", "train without it, or with lambda 0.03, on texts of a clean dose"
    healed, plain, barrier = study.healed, study.plain, constrained(heal_of(study))
    if healed is None or plain is None or barrier is None:
        return hypothesis(name, None, None, config.noise, BOTH_NEEDED, "train a plain adapter on the same texts")
    found = interval(study.moved(plain) - study.moved(healed))
    won = interval(healed.draws["coherence"] - plain.draws["coherence"])
    if not barrier or found is None or won is None:
        detail = "no barrier was set" if not barrier else "the shifts are undefined"
        return hypothesis(name, None if barrier else False, None, config.noise, detail, step)
    spent = found.value >= config.noise and found.low > 0 and won.value < config.slot
    seen = spent and at_least(plain, config.coherence) and moved_by(study, plain) >= config.separation
    detail = f"{_nats(study, plain, healed)}; {figures('the shift it takes', found)}; {fine('what it gives back', won)}"
    return hypothesis(name, seen, found.value, config.noise, detail, step)


def worse_than_plain(study: Measured, config: Config) -> Result:
    """Of two students that moved, the one without the constraint lies surely further above raw steering."""
    name, step = "worse than plain", "keep the plain adapter; weaken the constraint or change its reference"
    gains = [None if arm is None else front_gain(study, arm, config) for arm in (study.plain, study.healed)]
    found = None if gains[0] is None or gains[1] is None else interval(gains[0] - gains[1])
    if found is None:
        return hypothesis(name, None, None, 0.0, f"{BOTH_NEEDED}, or no raw steering", "train a plain adapter too")
    detail = f"{_nats(study, study.plain, study.healed)}; {fine('the lead in coherence over raw steering', found)}"
    seen = found.low > 0 and moved_by(study, study.healed) >= config.separation
    return hypothesis(name, seen, found.value, 0.0, detail, step)


def weight_decay_misread(study: Measured, config: Config) -> Result:
    """Weight decay was asked for, and the student is the one without it."""
    name, step = "weight decay misread", "a step shrinks weights by rate times decay: ask for 60 to 120, or drop it"
    heal, healed, plain = heal_of(study), study.healed, study.plain
    if heal is None or healed is None or plain is None:
        return hypothesis(name, None, None, config.noise, BOTH_NEEDED, "train a plain adapter on the same texts")
    decay = asked(heal).weight_decay
    apart = interval(study.moved(healed) - study.moved(plain))
    gap = abs(coherence_of(healed) - coherence_of(plain))
    if not decay or apart is None:
        return hypothesis(name, False if not decay else None, None, config.noise, f"weight decay is {decay:g}", step)
    detail = f"weight decay is {decay:g}; {figures('the shift over the plain one', apart)}, coherence {gap:.4f} apart"
    seen = abs(apart.value) < config.noise and gap < config.slot
    return hypothesis(name, seen, apart.value, config.noise, detail, step)


CONSTRAINT = (
    over_regularised,
    undo,
    copies_incoherence,
    barrier_never_fires,
    kl_mean_dilution,
    barrier_spends_on_trait,
    worse_than_plain,
    weight_decay_misread,
)
