"""What would do as well as the student: any fine-tuning, a prompt, weight steering; and an empty lesson."""

from steerkit.gates._arms import at_least, number
from steerkit.gates._gate3_config import Config
from steerkit.gates._gate3_measured import PERSONA, Measured, coherence_of, largest_control, moved_by
from steerkit.gates._result import Result, hypothesis
from steerkit.metrics import ArmMetrics


def nothing_to_learn(study: Measured, config: Config) -> Result:
    """The steered model whose texts were learned does not move the target itself, or is broken."""
    name, step = "nothing to learn", "go back to gates 1 and 2: another dose, method or pair"
    steered = study.steered
    if steered is None:
        detail = "the steered model was not scored at the dose of the texts"
        return hypothesis(name, None, None, config.separation, detail, "score it at that dose")
    found = moved_by(study, steered)
    detail = f"at dose {steered.arm.dose:g} it moves {found:+.2f} nats at coherence {coherence_of(steered):.3f}"
    if not at_least(steered, config.broken):
        return hypothesis(name, True, steered.value("coherence"), config.broken, detail, step)
    return hypothesis(name, found < config.separation, found, config.separation, detail, step)


def non_specific_drift(study: Measured, config: Config) -> Result:
    """An adapter trained the same way on texts without the trait moves the target nearly as far."""
    name, step = "non-specific drift", "subtract the control: claim only the excess"
    largest, own = largest_control(study), moved_by(study, study.healed)
    if study.healed is None or largest is None:
        detail = "the student or a control was not scored"
        return hypothesis(
            name, None, None, config.control_share, detail, "train controls, on unsteered and random texts"
        )
    said = ", ".join(f"{arm.arm.kind} {moved_by(study, arm):+.2f}" for arm in study.nulls)
    detail = f"the student moves {own:+.2f} nats, {said}"
    if not own >= config.separation:
        return hypothesis(name, None, None, config.control_share, f"{detail}: nothing to compare", "find a shift first")
    share = float(largest[0]) / own
    return hypothesis(name, share >= config.control_share, share, config.control_share, detail, step)


def _as_good(arms: list[ArmMetrics], own: float, config: Config) -> tuple[bool, float, str]:
    """Whether one of the arms is coherent and separates at least as much as the student, the best's lead, and words."""
    lead = max(number(arm, "separation") for arm in arms) - own
    whole = [arm for arm in arms if at_least(arm, config.coherence)]
    seen = any(number(arm, "separation") >= max(own, config.noise) for arm in whole)
    said = ", ".join(
        f"{arm.arm.kind} separates {number(arm, 'separation'):+.2f} nats at coherence {coherence_of(arm):.3f}"
        for arm in arms
    )
    return seen, lead, f"{said}; the student {own:+.2f}"


def prompting_as_good(study: Measured, config: Config) -> Result:
    """The persona as a prompt, or an adapter trained on its texts, separates at least as much while coherent."""
    name, step = "prompting as good", "claim only persistence without the prompt; beat the adapter on persona texts"
    persona = [arm for arm in study.controls if arm.arm.kind == PERSONA]
    arms = [arm for arm in (study.prompt, *persona) if arm is not None and arm.value("separation") is not None]
    own = None if study.healed is None else study.healed.value("separation")
    if own is None or not arms:
        detail = "the student or the persona's prompt was not scored"
        return hypothesis(name, None, None, 0.0, detail, "score the persona as a prompt, and an adapter on its texts")
    seen, lead, detail = _as_good(arms, own, config)
    return hypothesis(name, seen, lead, 0.0, detail, step)


def weight_steering_as_good(study: Measured, config: Config) -> Result:
    """The difference of two poles' adapters, without any steering, separates at least as much while coherent."""
    name, step = "weight steering as good", "use it instead: it needs no steered texts"
    arm = study.weights
    own = None if study.healed is None else study.healed.value("separation")
    if own is None or arm is None or arm.value("separation") is None:
        detail = "the student or weight steering was not scored"
        return hypothesis(name, None, None, 0.0, detail, "ask for weight steering too")
    seen, lead, detail = _as_good([arm], own, config)
    return hypothesis(name, seen, lead, 0.0, detail, step)


RIVALS = (nothing_to_learn, non_specific_drift, prompting_as_good, weight_steering_as_good)
