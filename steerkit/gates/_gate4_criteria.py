"""What must hold for gate 4 to pass: growth, coherence, one direction, and more than one round or a prompt gives."""

import numpy as np

from steerkit.gates._arms import at_least, number, off_target, resolves, surgical_excess
from steerkit.gates._channels import channels_hold
from steerkit.gates._gate4_config import Config
from steerkit.gates._gate4_measured import Measured, ahead, gains, separation
from steerkit.gates._result import Result, criterion, figures
from steerkit.metrics import ArmMetrics
from steerkit.stats import interval

NO_BEST = "no round has a coherent student"


def _best(study: Measured, config: Config) -> ArmMetrics | None:
    """The student that the loop is for."""
    found = study.best(config)
    return None if found is None else found.healed


def grows(study: Measured, config: Config) -> Result:
    """As many rounds beyond the first as are asked for surely go beyond the student before."""
    name, step = "trait grows round by round", "see why it stopped; `steerkit gate3 --from` a round's run for its own"
    later = [found.gain for found in study.trained if found.row.round]
    grown, needed = float(sum(gain is not None and gain.low > 0 for gain in later)), float(config.growing)
    if study.evidence.wanted - 1 < config.growing and grown == len(later) == study.evidence.wanted - 1:
        detail = f"{study.evidence.wanted} rounds were asked for, and {needed:g} beyond the first are needed"
        step = f"ask for --rounds {config.growing + 1}"
        return criterion(name, None, grown, needed, f"{detail}; {gains(study)}", step)
    failed = [gain for gain in later if gain is None or gain.low <= 0]
    noise = bool(failed) and all(gain is not None and gain.high > 0 for gain in failed)
    set_of = f"; {resolves(study.trained[-1].student)}" if study.trained else ""
    detail = f"{grown:g} of {len(later)} rounds beyond the first; {gains(study)}{set_of}"
    return criterion(name, grown >= needed, grown, needed, detail, step, by_noise=noise)


def stays_coherent(study: Measured, config: Config) -> Result:
    """Every student up to the best one is surely coherent beside the base."""
    name, step = "coherence is held", "stop at the last coherent round; strengthen the constraint or lower the dose"
    best = study.best(config)
    upto = [found for found in study.trained if best is None or found.row.round <= best.row.round]
    known = [found.student.interval("coherence") for found in upto]
    if not known or any(found is None for found in known):
        return criterion(name, False if known else None, None, config.mass_floor(), NO_BEST, step)
    worst = min((found for found in known if found is not None), key=lambda found: found.low)
    detail = f"the least certain of {len(known)} is {worst.value:.3f} [{worst.low:.3f}, {worst.high:.3f}]"
    met = best is not None and worst.low > config.mass_floor()
    return criterion(name, met, worst.low, config.mass_floor(), detail, step, worst.high > config.mass_floor())


def direction_holds(study: Measured, config: Config) -> Result:
    """Up to the best round, every direction still points where the first one did."""
    name, step = "direction holds", "--direction project, or first"
    best = study.best(config)
    cosines = [found.row.cosine_first for found in study.rounds if best is None or found.row.round <= best.row.round]
    worst = min(cosines)
    detail = f"cosines with the first direction: {', '.join(f'{cosine:+.2f}' for cosine in cosines)}"
    return criterion(name, worst > config.cosine_first, worst, config.cosine_first, detail, step)


def beats_one_round(study: Measured, config: Config) -> Result:
    """The best student surely separates more than the first round's, trained with the constraint or without it."""
    name, step = "beats one round", "keep the first round's adapter; more rounds bought nothing that is sure"
    best, first = _best(study, config), study.rounds[0]
    rivals = [arm for arm in (first.healed, first.plain) if arm is not None and at_least(arm, config.coherence)]
    if best is None:
        return criterion(name, False if study.trained else None, None, 0.0, NO_BEST, step)
    if not rivals:
        return criterion(name, True, None, 0.0, "no student of the first round is coherent", step)
    lead = interval(separation(best) - np.max([separation(rival) for rival in rivals], axis=0))
    said = ", ".join(f"{rival.arm.kind} {number(rival, 'separation'):+.2f} nats" for rival in rivals)
    detail = f"{figures('the lead', lead)}; round 0: {said}"
    met = lead is not None and lead.low > 0
    return criterion(name, met, lead.value if lead else None, 0.0, detail, step, lead is not None and lead.high > 0)


def beats_prompting(study: Measured, config: Config) -> Result:
    """The best student surely separates more than the persona as a prompt, where that is coherent."""
    name, step = "beats prompting", "report it honestly: claim only that the shift stays without the prompt"
    best, prompt = _best(study, config), study.prompt
    if best is None:
        return criterion(name, False if study.trained else None, None, 0.0, NO_BEST, step)
    if prompt is None:
        return criterion(name, None, None, 0.0, "the persona was not scored as a prompt", "score it in gate 1")
    if not at_least(prompt, config.coherence):
        detail = f"the prompted base is incoherent, {number(prompt, 'coherence'):.3f}"
        return criterion(name, True, None, 0.0, detail, step)
    lead = ahead(best, prompt)
    met = lead is not None and lead.low > 0
    noise = lead is not None and lead.high > 0
    return criterion(name, met, lead.value if lead else None, 0.0, figures("the lead", lead), step, noise)


def surgical(study: Measured, config: Config) -> Result:
    """In the best student the target moves more than every foundation that should stay put."""
    name, step = "surgical", "a selective pair; alternate pairs between rounds; lower the rank"
    best = _best(study, config)
    if best is None:
        return criterion(name, False if study.trained else None, None, 0.0, NO_BEST, step)
    gap = interval(surgical_excess(study.evidence, best))
    sizes = {foundation: float(size[0]) for foundation, size in off_target(study.evidence, best).items()}
    worst = max(sizes, key=lambda foundation: sizes[foundation], default="nothing")
    detail = f"{figures('the lead over the largest off target', gap)}; that is {worst}"
    met = gap is not None and gap.low > 0
    return criterion(name, met, gap.value if gap else None, 0.0, detail, step, gap is not None and gap.high > 0)


def coherence_channels_hold(study: Measured, config: Config) -> Result:
    """In the best student every other channel of coherence that is asked for holds: texts neither loop nor babble."""
    where, step = "the best student", "stop at an earlier round; filter loops; strengthen the constraint"
    return channels_hold("coherence channels hold", _best(study, config), study.base, config, where, step)


CRITERIA = (
    grows,
    stays_coherent,
    direction_holds,
    beats_one_round,
    beats_prompting,
    surgical,
    coherence_channels_hold,
)
