"""Known ways for a student's numbers to mean something else: its texts, its context, the readout, the noise."""

import numpy as np

from steerkit.gates._arms import at_least, number, off_target, text_health
from steerkit.gates._gate3_config import Config
from steerkit.gates._gate3_constraint import flat
from steerkit.gates._gate3_measured import Measured, coherence_of, figure, shift
from steerkit.gates._gate3_texts import change, length_change
from steerkit.gates._mould import converging
from steerkit.gates._result import Result, figures, hypothesis
from steerkit.metrics import SMALLEST_SHIFT, ArmMetrics, quantity_name

NO_STUDENT = "no healed student was scored"


def cannot_see(study: Measured, config: Config) -> Result:
    """The student learned on-trait texts and writes unlike the base, and no student moves on the vignettes."""
    name, step = "cannot see", "let a judge read the texts; score in the context of training; read the marginal"
    found, gain = None if study.healed is None else change(study, study.healed), figure(study, "gain")
    if study.healed is None or found is None:
        detail = "no texts of a student and the base share a prompt"
        return hypothesis(name, None, found, config.text_change, detail, step)
    still = all(flat(study, arm, config) for arm in (study.healed, study.plain) if arm is not None)
    taught = gain is None or gain >= config.gain
    said = "unknown" if gain is None else f"{gain:+.2f} nats per token"
    detail = f"{found:.2f} of the student's trigrams are new, the trained texts' gain is {said}; "
    detail += figures("the student's shift", shift(study, study.healed))
    seen = still and taught and at_least(study.healed, config.coherence) and found >= config.text_change
    return hypothesis(name, seen, found, config.text_change, detail, step)


def context_mismatch(study: Measured, config: Config) -> Result:
    """The student writes unlike the base in the context it was trained in, and far less so in the other one."""
    name, step = "context mismatch", "train without a system prompt, or with several"
    here, there = (None if study.healed is None else change(study, study.healed, each) for each in (True, False))
    if here is None or there is None:
        detail = "texts of the student and the base in both contexts are needed"
        return hypothesis(name, None, None, config.context_share, detail, "let both write with another system prompt")
    share = there / here if here > 0 else None
    seen = here >= config.text_change and there < config.context_share * here
    detail = f"new trigrams: {here:.2f} in the context of training, {there:.2f} in the other"
    return hypothesis(name, seen, share, config.context_share, detail, step)


def style_not_trait(study: Measured, config: Config) -> Result:
    """Texts are much shorter or longer than the base's, or a foundation off target moves as far as the target."""
    name, step = "style not trait", "a lower rank; match the texts' length and style to the base's"
    if study.healed is None:
        return hypothesis(name, None, None, config.length_change, NO_STUDENT, "train an adapter")
    found, worst = length_change(study, study.healed), _off_target(study, study.healed, config)
    said = "unknown" if found is None else f"{found:+.2f}"
    detail = f"relative change of length {said}; {worst or 'nothing off target moves as far as the target'}"
    long = None if found is None else abs(found) > config.length_change
    return hypothesis(name, True if worst else long, found, config.length_change, detail, step)


def _off_target(study: Measured, arm: ArmMetrics, config: Config) -> str:
    """The foundation that moves, beyond its noise, at least as far as the target; empty where none does."""
    sizes = {name: float(size[0]) for name, size in off_target(study.evidence, arm).items()}
    worst = max(sizes, key=lambda name: sizes[name], default=None)
    found = None if worst is None else arm.interval(f"d_{quantity_name(worst)}")
    if worst is None or found is None or found.covers(0.0):
        return ""
    return figures(worst, found) if sizes[worst] >= max(abs(number(arm, "d_target")), config.noise) else ""


def narration_learned(study: Measured, config: Config) -> Result:
    """Many of the student's texts speak of its trait instead of acting by it."""
    name, step = "narration learned", "filter narration from the texts, and train anew"
    share = figure(study, "narrated_share")
    if share is None:
        detail = "nobody looked for narration in the student's texts"
        return hypothesis(name, None, None, config.narrated_share, detail, "let the checks of texts read the student's")
    detail = f"{share:.2f} of the student's texts narrate the trait"
    return hypothesis(name, share > config.narrated_share, share, config.narrated_share, detail, step)


def declining_learned(study: Measured, config: Config) -> Result:
    """Many of the student's texts decline, or speak as an AI, where the base answers."""
    name, step = "declining learned", "drop refusals from the texts; an instrument can take declining for the trait"
    share, usual = figure(study, "declined_share"), figure(study, "declined_share_base")
    if share is None or usual is None:
        detail = "nobody looked for refusals in the student's texts and the base's"
        return hypothesis(name, None, None, config.declined_share, detail, "let the checks of texts read both")
    detail = f"{share:.2f} of the student's texts decline or speak as an AI, of the base's {usual:.2f}"
    return hypothesis(name, share - usual > config.declined_share, share - usual, config.declined_share, detail, step)


def answers_converge(study: Measured, config: Config) -> Result:
    """Whatever it is asked, the student answers in one mould: a manner was learned, and the trait may be its shadow."""
    return converging([] if study.healed is None else [("the student", study.healed)], study.base, config)


def slope_artefact(study: Measured, config: Config) -> Result:
    """Cost per nat rests on a shift or a loss below what can be read, so its order says nothing."""
    name, step = "slope artefact", "compare shifts inside a band of coherence; read both parts of the cost"
    if study.healed is None or study.steered is None:
        detail = "the healed or the steered arm was not scored"
        return hypothesis(name, None, None, config.slot, detail, "score the steered model at the dose of the texts")
    parts = [(abs(number(arm, "d_target")), abs(number(arm, "d_coherence"))) for arm in (study.healed, study.steered)]
    (moved, lost), (taught, paid) = parts
    tiny = min(moved, taught) >= SMALLEST_SHIFT and max(lost, paid) < config.slot
    steep = (moved < SMALLEST_SHIFT and lost >= config.slot) or (taught < SMALLEST_SHIFT and paid >= config.slot)
    detail = f"student: {lost:.4f} for {moved:.2f} nats; steering: {paid:.4f} for {taught:.2f} nats"
    return hypothesis(name, tiny or steep, max(lost, paid), config.slot, detail, step)


def format_break(study: Measured, config: Config) -> Result:
    """The forced answer breaks, scaffold and all, while the student's free text is healthy."""
    name, step = "format break", "fix the template or the instrument's scaffold: this is no result about the student"
    if study.healed is None:
        return hypothesis(name, None, None, config.prefill_rise, NO_STUDENT, "train an adapter")
    rise = number(study.healed, "prefill_nll") - number(study.base, "prefill_nll")
    health = text_health(study.healed.arm, study.base.arm)
    value = rise if np.isfinite(rise) else None
    text = "unread" if health is None else "healthy" if health.healthy(config) else "broken too"
    detail = f"coherence {coherence_of(study.healed):.3f}, scaffold NLL {rise:+.2f} nats per token; free text is {text}"
    if at_least(study.healed, config.coherence):
        return hypothesis(name, False, value, config.prefill_rise, detail, step)
    seen = None if value is None or health is None else value > config.prefill_rise and health.healthy(config)
    return hypothesis(name, seen, value, config.prefill_rise, detail, step)


def metric_noise(study: Measured, config: Config) -> Result:
    """The student's shift cannot be told from zero and is not tight either."""
    name, step, found = "metric noise", "score more vignettes or seeds; claim nothing", shift(study, study.healed)
    if found is None:
        return hypothesis(name, None, None, config.noise, NO_STUDENT, "train an adapter and score its student")
    width = (found.high - found.low) / 2
    detail = figures("the student's shift", found)
    return hypothesis(name, found.covers(0.0) and width >= config.noise, width, config.noise, detail, step)


def bake_mismatch(study: Measured, config: Config) -> Result:
    """The student that was scored is not the one that was trained."""
    name, step, gap = "bake mismatch", "sum adapters in fp32 and round once", figure(study, "kl_hooked_baked")
    if gap is None:
        detail = "hooked and baked student were not compared"
        return hypothesis(name, None, None, config.bake_kl, detail, "compare them on a few texts")
    detail = f"mean KL between hooked and baked student is {gap:.2g} nats per token"
    return hypothesis(name, gap >= config.bake_kl, gap, config.bake_kl, detail, step)


READING = (
    cannot_see,
    context_mismatch,
    style_not_trait,
    narration_learned,
    declining_learned,
    answers_converge,
    slope_artefact,
    format_break,
    metric_noise,
    bake_mismatch,
)
