"""Known ways for gate 1's numbers to mean something else: the readout, the extraction, the pair, the axis, the dose."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from steerkit.gates._arms import at_least, number, text_health
from steerkit.gates._gate1_config import Config
from steerkit.gates._gate1_measured import (
    Measured,
    operating_point,
    strongest_arm,
)
from steerkit.gates._gate1_sweep import NO_ARM, bidirectional_disruption, wrong_target
from steerkit.gates._result import Result, figures, hypothesis
from steerkit.metrics import ArmMetrics
from steerkit.records import FOUNDATIONS

Signal = tuple[str, float, float]


def _broken_readout(study: Measured, arm: ArmMetrics, config: Config) -> Iterator[Signal]:
    """The signs of a broken answer format this arm shows: name, value, threshold."""
    coherence, unscorable = number(arm, "coherence"), number(arm, "frac_unscorable")
    most = number(study.base, "frac_unscorable") + config.unscorable
    most_nll = number(study.base, "prefill_nll") + config.prefill_rise
    if unscorable > most:
        yield "share of unreadable rows", unscorable, most
    if not coherence >= config.coherence:
        yield "coherence", coherence, config.coherence
    if number(arm, "prefill_nll") > most_nll:
        yield "scaffold NLL", number(arm, "prefill_nll"), most_nll


def format_break(study: Measured, config: Config) -> Result:
    """The forced answer breaks while free text stays healthy."""
    name, step = "format break", "fix the template or the instrument's scaffold: this is no result about steering"
    operating = operating_point(study, config)
    arms = study.positive if operating is None else (operating,)
    broken = [(arm, signals) for arm in arms if (signals := list(_broken_readout(study, arm, config)))]
    if not arms:
        return hypothesis(name, None, None, config.coherence, NO_ARM, step)
    if not broken:
        lowest = min(number(arm, "coherence") for arm in arms)
        return hypothesis(name, False, lowest, config.coherence, f"coherence stays at {lowest:.3f} or above", step)
    arm, signals = broken[0]
    health = text_health(arm.arm, study.evidence.base)
    seen = None if health is None else health.healthy(config)
    text = "unread (no texts)" if health is None else "healthy" if seen else "broken too"
    listed = ", ".join(f"{signal} {value:.3f} (limit {limit:.3f})" for signal, value, limit in signals)
    return hypothesis(name, seen, *signals[0][1:], f"at dose {arm.arm.dose:g} {listed}; free text is {text}", step)


def vignette_count_artefact(study: Measured, config: Config) -> Result:
    """The target has too few readable vignettes, or a foundation has none, so levels jump with the vignettes chosen."""
    name, step = "vignette-count artefact", "score all vignettes, stratified by foundation; never the first n"
    rows = study.base.paired_target
    missing = [foundation for foundation in FOUNDATIONS if foundation not in study.evidence.labels]
    detail = f"{rows} readable vignettes of {study.evidence.target}; without any: {', '.join(missing) or 'none'}"
    return hypothesis(
        name, rows < config.target_rows or bool(missing), float(rows), float(config.target_rows), detail, step
    )


def diagonal_marginal_disagreement(study: Measured, config: Config) -> Result:
    """One of the two trait metrics moves while the other is flat, or they move opposite ways."""
    name, step = "diagonal/marginal disagreement", "report both with the marginal's split; do not pass on one of them"
    arm = strongest_arm(study, config)
    diagonal = None if arm is None else arm.interval("d_target")
    marginal = None if arm is None else arm.interval("d_marginal")
    if arm is None or diagonal is None or marginal is None:
        return hypothesis(name, None, None, config.separation, NO_ARM, step)
    moves = [abs(metric.value) >= config.separation for metric in (diagonal, marginal)]
    flat = [abs(metric.value) < config.noise and metric.covers(0.0) for metric in (diagonal, marginal)]
    opposed = diagonal.value * marginal.value < 0 and not any(metric.covers(0.0) for metric in (diagonal, marginal))
    apart = opposed and min(abs(diagonal.value), abs(marginal.value)) >= config.noise
    seen = apart or (moves[0] and flat[1]) or (moves[1] and flat[0])
    gap = abs(diagonal.value - marginal.value)
    detail = f"at dose {arm.arm.dose:g} {figures('the diagonal change', diagonal)}, {figures('the marginal', marginal)}"
    here, elsewhere = number(arm, "d_marginal_on_target"), number(arm, "d_marginal_off_target")
    split = f"; of the marginal's probability {here:+.4f} on target rows, {elsewhere:+.4f} on the others"
    return hypothesis(name, seen, gap, config.separation, detail + split, step)


def log_tail_illusion(study: Measured, config: Config) -> Result:
    """The shift happens where the target holds less than a vignette's worth, and no answer changes."""
    name, step = "log-tail illusion", "read nothing into shifts below this level; look at the pick rate"
    arm = strongest_arm(study, config)
    if arm is None:
        return hypothesis(name, None, None, -config.tail, NO_ARM, step)
    level = float(np.fmin(number(arm, "target_nats"), number(arm, "marginal")))
    rows = study.evidence.labels.count(study.evidence.target)
    changed = abs(number(arm, "d_pick_rate")) * rows
    moves = abs(number(arm, "separation")) >= config.noise
    detail = (
        f"at dose {arm.arm.dose:g} the lower of diagonal and marginal is {level:.2f} nats; {changed:.0f} picks change"
    )
    return hypothesis(name, moves and level < -config.tail and changed < 1, level, -config.tail, detail, step)


def persona_pair_improper(study: Measured, config: Config) -> Result:
    """The pair breaks a rule of pair writing, or gives a stable direction along a broad or two-sided axis."""
    name, step = "persona pair improper", "rewrite the pair: one axis, same form, true opposites, a conflict of values"
    findings = study.evidence.pair_findings
    if findings:
        return hypothesis(name, True, float(len(findings)), 0.0, f"the pair's linter says: {'; '.join(findings)}", step)
    broad = [check(study, config) for check in (wrong_target, bidirectional_disruption)]
    shown = [result.name for result in broad if result.status == "observed"]
    cosines = [layer.half_split_cosine for layer in study.evidence.layers if layer.half_split_cosine is not None]
    cosine = float(np.median(cosines)) if cosines else None
    seen = None if shown and cosine is None else bool(shown) and (cosine or 0.0) >= config.half_split_cosine
    steady = "unknown" if cosine is None else f"{cosine:.2f}"
    detail = f"the pair breaks no rule; half-split cosine {steady}; {' and '.join(shown) or 'the axis is not broad'}"
    return hypothesis(name, seen, cosine, config.half_split_cosine, detail, step)


def _extraction_faults(study: Measured, config: Config) -> Iterator[str]:
    facts = study.evidence.extraction
    if facts is not None:
        if facts.token != facts.expected_token:
            yield f"activations were read at {facts.token!r}, not at {facts.expected_token!r}"
        if facts.truncated:
            yield f"{facts.truncated} of {facts.contexts} contexts were truncated"
        if facts.doubled_bos:
            yield "the BOS token is doubled"
        if not facts.prompts_shared:
            yield "the poles' prompts differ in more than the persona"
    layers = sorted(study.evidence.layers, key=lambda layer: (layer.direction_id, layer.block))
    for low, high in pairwise(layers):
        smaller, larger = sorted((low.norm, high.norm))
        if low.direction_id == high.direction_id and not larger <= config.norm_jump * smaller:
            yield f"the norm jumps from {low.norm:.3g} at block {low.block} to {high.norm:.3g} at block {high.block}"


def extraction_bug(study: Measured, config: Config) -> Result:
    """The activations were not read where they should have been."""
    name, step = "extraction bug", "fix the extraction before anything else"
    faults = list(_extraction_faults(study, config))
    if study.evidence.extraction is None and not faults:
        return hypothesis(name, None, None, 0.0, "the capture's facts were not recorded", step)
    return hypothesis(name, bool(faults), float(len(faults)), 0.0, "; ".join(faults) or "the capture is in order", step)


def saturated_axis(study: Measured, config: Config) -> Result:
    """The base already stands at the pole, or neither steering nor the persona as a prompt moves it."""
    name, step = "saturated axis", "use harder vignettes or another trait"
    base = number(study.base, "target_nats")
    headroom = -base if study.evidence.sign > 0 else base + config.tail
    detail = f"the base's target log-probability is {base:.2f} nats, headroom {headroom:.2f}"
    if not np.isfinite(base) or headroom < config.separation:
        return hypothesis(name, None if not np.isfinite(base) else True, headroom, config.separation, detail, step)
    whole = [arm for arm in study.positive if at_least(arm, config.broken)]
    moved = max((abs(number(arm, "separation")) for arm in whole), default=0.0)
    if moved >= config.separation:
        return hypothesis(name, False, headroom, config.separation, f"{detail}; steering moves it {moved:.2f}", step)
    if study.prompt is None:
        return hypothesis(name, None, headroom, config.separation, f"{detail}; no persona prompt was scored", step)
    prompted = abs(number(study.prompt, "separation"))
    detail = f"{detail}; steering moves it {moved:.2f}, the persona prompt {prompted:.2f}"
    return hypothesis(name, prompted < config.noise, prompted, config.noise, detail, step)


def prompting_as_good(study: Measured, config: Config) -> Result:
    """The persona as a system prompt, unsteered, separates at least as much while coherent."""
    name, step = "prompting as good", "claim only what a prompt cannot give: persistence without it, after healing"
    if study.prompt is None or study.prompt.value("separation") is None or not study.positive:
        return hypothesis(name, None, None, 0.0, "no persona prompt or no positive dose was scored", step)
    coherent = [number(arm, "separation") for arm in study.positive if at_least(arm, config.coherence)]
    operating = operating_point(study, config)
    steered = max([0.0, *coherent]) if operating is None else number(operating, "separation")
    prompted, whole = number(study.prompt, "separation"), at_least(study.prompt, config.coherence)
    detail = (
        f"the prompt separates {prompted:+.2f} nats at coherence {number(study.prompt, 'coherence'):.3f}, "
        f"steering {steered:+.2f}"
    )
    seen = whole and prompted >= max(steered, config.noise)
    return hypothesis(name, seen, prompted - steered, 0.0, detail, step)


def instrument_mismatch(study: Measured, config: Config) -> Result:
    """Free text shows the trait and the vignettes do not; only a reader of the texts can tell."""
    detail = (
        f"nobody judged the texts for {study.evidence.trait!r}: vignettes ask about others' acts, texts show one's own"
    )
    step = "let a judge compare texts of the base and of the operating dose on held-out dilemmas"
    return hypothesis("instrument mismatch", None, None, None, detail, step)


def uncalibrated_dose(study: Measured, config: Config) -> Result:
    """No strength met the KL target, so a dose means nothing across methods."""
    name, step = "uncalibrated dose", "widen the ladder of strengths; do not rank this method at equal dose"
    calibration = study.evidence.calibration
    if calibration is None:
        return hypothesis(name, None, None, None, "no calibration was done", step)
    reached = [rung.kl_p95 for rung in study.evidence.ladder if rung.direction_id == calibration.direction_id]
    top = max((kl for kl in reached if np.isfinite(kl)), default=None)
    ladder = "no ladder" if top is None else f"a ladder up to p95 KL {top:.2f} nats"
    detail = f"target {calibration.target:g} nats: {calibration.status}, {ladder}"
    seen = calibration.status == "uncalibrated" or calibration.strength is None
    return hypothesis(name, seen, top, calibration.target, detail, step)


VALIDITY = (
    format_break,
    vignette_count_artefact,
    diagonal_marginal_disagreement,
    log_tail_illusion,
    persona_pair_improper,
    extraction_bug,
    saturated_axis,
    prompting_as_good,
    instrument_mismatch,
    uncalibrated_dose,
)
