"""Known ways for training to fail: too few texts, the wrong ones, an optimiser that learns nothing or all by heart."""

import numpy as np

from steerkit.evidence import HealEvidence
from steerkit.gates._gate3_conditions import start_kl
from steerkit.gates._gate3_config import Config
from steerkit.gates._gate3_constraint import flat
from steerkit.gates._gate3_measured import Measured, figure, heal_of, moved_by
from steerkit.gates._result import Result, hypothesis

NO_TRAINING = "no training was recorded"


def adapter_does_nothing(study: Measured, config: Config) -> Result:
    """The update is tiny beside the plain adapter's, or the student writes as the one it started from does."""
    name, step = "adapter does nothing", "raise the learning rate or the rank, train longer, or weaken the constraint"
    kl, sizes = start_kl(study), [_update(heal_of(study, role)) for role in ("healed", "plain")]
    share = sizes[0] / sizes[1] if sizes[0] is not None and sizes[1] else None
    if kl is None and share is None:
        detail = "neither the size of both updates nor the KL to where it started was measured"
        return hypothesis(name, None, None, config.still_kl, detail, "train a plain adapter; measure the student's KL")
    parts = [] if share is None else [f"the update is {share:.2f} of the plain adapter's"]
    parts += [] if kl is None else [f"mean KL to where it started is {kl:.4f} nats per token"]
    tiny = share is not None and share < config.update_share
    if tiny or kl is None:
        return hypothesis(name, tiny, share, config.update_share, "; ".join(parts), step)
    return hypothesis(name, kl < config.still_kl, kl, config.still_kl, "; ".join(parts), step)


def _update(heal: HealEvidence | None) -> float | None:
    """Norm of the update after training; None where it was not recorded."""
    return None if heal is None or not heal.steps else heal.steps[-1].update_norm


def data_near_base(study: Measured, config: Config) -> Result:
    """No student moves, constrained or not, and before training the texts read as likely as unsteered ones."""
    name, step = "data near base", "new texts: a higher dose, kept by trait margin, with a quota for each dose"
    arms = [arm for arm in (study.healed, study.plain) if arm is not None]
    if len(arms) < 2:
        detail = "the healed or the plain student was not scored"
        return hypothesis(name, None, None, config.near_base, detail, "train a plain adapter on the same texts")
    own, usual = (_untrained(heal_of(study, role)) for role in ("healed", "control-unsteered"))
    gap = None if own is None or usual is None else own - usual
    still = all(flat(study, arm, config) for arm in arms)
    said = "unknown" if gap is None else f"{gap:+.2f} nats per token over unsteered texts"
    moved = ", ".join(f"{arm.arm.kind} {moved_by(study, arm):+.2f}" for arm in arms)
    seen = False if not still else None if gap is None else gap <= config.near_base
    return hypothesis(name, seen, gap, config.near_base, f"{moved} nats; untrained NLL of the texts {said}", step)


def _untrained(heal: HealEvidence | None) -> float | None:
    """Validation NLL before training (nats per token); None where it was not measured."""
    return None if heal is None else next((each.validation_nll for each in heal.epochs if each.epoch == 0), None)


def cannot_express(study: Measured, config: Config) -> Result:
    """One batch cannot be learned by heart or, where nobody tried, the training NLL does not fall."""
    name, step = (
        "cannot express",
        "raise the learning rate or the rank; check that B starts at 0, and beta2 below 0.999",
    )
    for role in ("plain", "healed"):
        first, last = (figure(study, quantity, role) for quantity in ("overfit_first", "overfit_last"))
        if first is not None and last is not None and first > 0:
            detail = f"on one batch the NLL of the {role} adapter goes from {first:.2f} to {last:.2f}"
            return hypothesis(name, last > config.by_heart * first, last / first, config.by_heart, detail, step)
    heal = heal_of(study, "plain") or heal_of(study)
    if heal is None or len(heal.steps) < 2:
        return hypothesis(name, None, None, config.nll_fall, NO_TRAINING, "train an adapter; overfit one batch")
    course = [each.nll for each in heal.steps]
    part = max(1, len(course) // 4)
    before, after = float(np.mean(course[:part])), float(np.mean(course[-part:]))
    fall = 1 - after / before if before > 0 else 0.0
    detail = f"the training NLL of the {heal.adapter.role} adapter goes from {before:.2f} to {after:.2f} nats per token"
    return hypothesis(name, fall < config.nll_fall, fall, config.nll_fall, detail, step)


def over_fitting(study: Measured, config: Config) -> Result:
    """The validation NLL rises after its best epoch while the training NLL goes on falling."""
    name, step = "over-fitting", "stop at the best epoch; fewer epochs, more texts, a lower rank"
    heal = heal_of(study)
    epochs = [] if heal is None else sorted(heal.epochs, key=lambda each: each.epoch)
    course = [each.validation_nll for each in epochs if each.validation_nll is not None]
    if len(course) < 2 or len(course) < len(epochs):
        detail = "no held-out texts were read by epoch"
        return hypothesis(name, None, None, config.validation_rise, detail, "hold texts out, and read them by epoch")
    best, rise = epochs[int(np.argmin(course))], course[-1] - min(course)
    after = epochs[-1].train_nll
    falls = best.train_nll is None or (after is not None and after < best.train_nll)
    listed = ", ".join(f"{nll:.2f}" for nll in course)
    detail = f"validation NLL by epoch {listed}; best at epoch {best.epoch}, {rise:+.3f} nats per token since"
    return hypothesis(name, falls and rise > config.validation_rise, rise, config.validation_rise, detail, step)


def data_starvation(study: Measured, config: Config) -> Result:
    """The adapter was trained on fewer texts than anything may be trained on."""
    name, step, heal = "data starvation", "never train on so few: lower the dose, collect more batches", heal_of(study)
    needed = float(study.evidence.fewest_texts)
    if heal is None:
        return hypothesis(name, None, None, needed, "no adapter was trained", "train an adapter")
    count = heal.adapter.train_texts + heal.adapter.validation_texts
    detail = f"{count} texts were trained on or held out; {needed:.0f} are needed"
    return hypothesis(name, count < needed, float(count), needed, detail, step)


def direction_unlike_teachers(study: Measured, config: Config) -> Result:
    """The student's own shift of the activations does not point where the teaching direction does."""
    name, step = (
        "direction unlike the teacher's",
        "see what the texts share beside the trait; train on mixed prompts",
    )
    cosine = figure(study, "cosine_teacher")
    if cosine is None:
        detail = "the student's own shift was not measured"
        return hypothesis(name, None, None, config.cosine_teacher, detail, "capture the student's activations")
    detail = f"the student's own shift has cosine {cosine:+.2f} with the direction that wrote its texts"
    return hypothesis(name, cosine < config.cosine_teacher, cosine, config.cosine_teacher, detail, step)


TRAINING = (
    adapter_does_nothing,
    data_near_base,
    cannot_express,
    over_fitting,
    data_starvation,
    direction_unlike_teachers,
)
