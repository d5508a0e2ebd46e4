"""Known ways for a loop's figures to mean something else: breadth, other foundations, loops, seeds, bases, prompts."""

from steerkit.gates._arms import at_least, number, off_target, text_health
from steerkit.gates._gate4_config import Config
from steerkit.gates._gate4_measured import Measured, levels
from steerkit.gates._mould import converging
from steerkit.gates._result import Result, hypothesis
from steerkit.metrics import NOT_WRONG, ArmMetrics, quantity_name
from steerkit.records import FOUNDATIONS

NO_STUDENT = "no round has a student"
MORE = "run a round"


def _last(study: Measured) -> ArmMetrics | None:
    """The newest student."""
    return study.trained[-1].healed if study.trained else None


def broad_permissivising(study: Measured, config: Config) -> Result:
    """Every foundation moves the way the target does: the student finds everything less, or more, wrong."""
    name, step, last = "broad permissivising", "a selective pair", _last(study)
    if last is None:
        return hypothesis(name, None, None, config.noise, NO_STUDENT, MORE)
    moral = [foundation for foundation in FOUNDATIONS if foundation != NOT_WRONG]
    shifts = {f: study.evidence.sign * number(last, f"d_{quantity_name(f)}") for f in moral}
    least = min(shifts.values())
    detail = "shifts in the target's direction: " + ", ".join(f"{f} {shift:+.2f}" for f, shift in shifts.items())
    return hypothesis(name, least >= config.noise, least, config.noise, f"{detail} nats", step)


def off_target_dominates(study: Measured, config: Config) -> Result:
    """A foundation that should stay put moves at least as far as the target."""
    name, step, last = (
        "off-target dominates",
        "look at all seven; another pair: this shift is not surgical",
        _last(study),
    )
    if last is None:
        return hypothesis(name, None, None, config.noise, NO_STUDENT, MORE)
    sizes = {foundation: float(size[0]) for foundation, size in off_target(study.evidence, last).items()}
    worst = max(sizes, key=lambda foundation: sizes[foundation], default="")
    size, own = sizes.get(worst, 0.0), abs(number(last, "d_target"))
    detail = f"{worst or 'nothing'} moves {size:.2f} nats, the target {own:.2f}"
    return hypothesis(name, size >= max(own, config.noise), size - own, 0.0, detail, step)


def coherence_too_generous(study: Measured, config: Config) -> Result:
    """A student's answers are coherent while its free texts loop."""
    name, step = "coherence too generous", "add a gate on repetition: answers alone do not show loops"
    read = [(each.row.round, each.student, text_health(each.student.arm, study.base.arm)) for each in study.trained]
    known = [(place, arm, health) for place, arm, health in read if health is not None]
    if not known:
        return hypothesis(name, None, None, config.distinct_share, "no student wrote", "let the students write")
    worst, arm, health = min(known, key=lambda each: each[2].distinct)
    detail = (
        f"round {worst}: coherence {number(arm, 'coherence'):.3f}, distinct trigrams {health.distinct:.2f} "
        f"(base {health.base_distinct:.2f})"
    )
    seen = any(at_least(arm, config.coherence) and health.loops(config) for _, arm, health in known)
    share = health.distinct / health.base_distinct if health.base_distinct else None
    return hypothesis(name, seen, share, config.distinct_share, detail, step)


def answers_converge(study: Measured, config: Config) -> Result:
    """Whatever it is asked, the student answers in one mould: a manner was learned, and the trait may be its shadow."""
    return converging([(f"round {each.row.round}", each.student) for each in study.trained], study.base, config)


def seed_wobble(study: Measured, config: Config) -> Result:
    """The best round leads another by less than two runs of one setting differ, so their order says nothing."""
    name, step = "seed wobble", "repeat with other seeds (--seed), at least 3, before the order is believed"
    ranked = sorted(number(found.student, "separation") for found in study.trained)
    if len(ranked) < 2:
        return hypothesis(name, None, None, config.wobble, "fewer than two rounds have a student", "run more rounds")
    lead = ranked[-1] - ranked[-2]
    return hypothesis(name, lead < config.wobble, lead, config.wobble, f"one seed; {levels(study)}", step)


def baseline_shift(study: Measured, config: Config) -> Result:
    """The rounds count from different bases, so their levels cannot be compared."""
    name, step = "baseline shift", "one dtype, one model, one set of vignettes for all rounds"
    bases = [found.row.base_nats for found in study.rounds]
    spread = max(bases) - min(bases)
    detail = f"the target's level on the base by round: {', '.join(f'{nats:+.3f}' for nats in bases)} nats"
    return hypothesis(name, not spread <= config.base_shift, spread, config.base_shift, detail, step)


def prompting_as_good(study: Measured, config: Config) -> Result:
    """The persona as a prompt of the base separates at least as much as the best round, while coherent."""
    name, step = "prompting as good", "report it honestly: claim only that the shift stays without the prompt"
    best, prompt = study.best(config), study.prompt
    if prompt is None or best is None:
        return hypothesis(name, None, None, 0.0, "no coherent student, or no prompt was scored", MORE)
    lead = number(prompt, "separation") - number(best.student, "separation")
    coherence = number(prompt, "coherence")
    detail = f"prompt {number(prompt, 'separation'):+.2f} nats at coherence {coherence:.3f}; {levels(study)}"
    seen = at_least(prompt, config.coherence) and lead >= 0 and number(prompt, "separation") >= config.noise
    return hypothesis(name, seen, lead, 0.0, detail, step)


READING = (
    broad_permissivising,
    off_target_dominates,
    coherence_too_generous,
    answers_converge,
    seed_wobble,
    baseline_shift,
    prompting_as_good,
)
