"""Known ways for a loop's growth to go wrong: it drifts, forgets, is held back, idles, fades, or is simply done."""

from steerkit.gates._arms import number
from steerkit.gates._gate4_config import Config
from steerkit.gates._gate4_measured import Measured, MeasuredRound, ahead, gains, levels
from steerkit.gates._result import Result, figures, hypothesis
from steerkit.stats import interval

TWO_NEEDED = "fewer than two rounds have a student"
MORE = "run more rounds"


def _moved(found: MeasuredRound) -> float:
    """How far the round's student went beyond the one before (nats)."""
    return float("nan") if found.healed_since is None else number(found.healed_since, "separation")


def _flat(found: MeasuredRound, config: Config) -> bool:
    """Whether the student neither gained nor lost: a shift below noise, a coherence that did not fall."""
    if found.healed_since is None:
        return False
    return abs(_moved(found)) < config.noise and number(found.healed_since, "coherence") >= 1 - config.slot


def compounding_drift(study: Measured, config: Config) -> Result:
    """Each student is near the one before, but they add up: coherence slides while the trait seems to grow."""
    name, step = "compounding drift", "stop at the last coherent round; rmse, or a barrier from the base with a budget"
    trained = study.trained
    if len(trained) < 2:
        return hypothesis(name, None, None, config.drift, TWO_NEEDED, MORE)
    first, last = trained[0], trained[-1]
    lost = interval(first.student.draws["coherence"] - last.student.draws["coherence"])
    steps = [found.row.kl_previous for found in trained if found.row.kl_previous is not None]
    far = last.row.kl_base
    if lost is None or far is None or not steps:
        return hypothesis(name, None, None, config.drift, "coherence or a KL was not measured", MORE)
    added = far >= config.kl_growth * max(steps)
    still = number(last.student, "separation") >= number(first.student, "separation") - config.noise
    detail = (
        f"coherence lost since round 0 {lost.value:+.4f} [{lost.low:+.4f}, {lost.high:+.4f}]; KL to the base "
        f"{far:.3f}, largest to a student before {max(steps):.3f} nats per token; reference {last.row.reference}"
    )
    seen = lost.low > 0 and lost.value >= config.drift and added and still
    return hypothesis(name, seen, lost.value, config.drift, detail, step)


def history_erasure(study: Measured, config: Config) -> Result:
    """A barrier from the base is exceeded before the first step, and costs more of the trait than training without."""
    name, step = "history erasure", "measure from the student before, or raise tau by what was inherited"
    later = [found for found in study.trained if found.row.round]
    if not later:
        return hypothesis(name, None, None, None, TWO_NEEDED, MORE)
    if all(found.row.reference != "base" for found in later):
        return hypothesis(name, False, None, None, "the barrier measures from the student before", step)
    read = [f for f in later if f.row.tau is not None and f.row.start_divergence is not None]
    if not read:
        return hypothesis(name, None, None, None, "no barrier was set", step)
    worst = max(read, key=lambda found: (found.row.start_divergence or 0) - (found.row.tau or 0))
    over = (worst.row.start_divergence or 0) - (worst.row.tau or 0)
    plain = float("nan") if worst.plain_since is None else number(worst.plain_since, "separation")
    detail = (
        f"round {worst.row.round}: divergence {worst.row.start_divergence:.3g} before training, tau "
        f"{worst.row.tau:.3g} nats; the student moves {_moved(worst):+.2f} nats, the plain one {plain:+.2f}"
    )
    seen = over > 0 and _moved(worst) < 0 and not _moved(worst) >= plain - config.noise
    return hypothesis(name, seen, over, 0.0, detail, step)


def _held(study: Measured, config: Config, name: str, step: str, leashed: bool) -> Result:
    """A flat round, with the barrier firing at most sequences or at few."""
    later = [found for found in study.trained if found.row.round]
    if not later or later[-1].row.over is None:
        return hypothesis(name, None, None, config.fired_share, f"{TWO_NEEDED}, or no barrier was set", MORE)
    last = later[-1]
    over, chosen = last.row.over, last.row.chosen_dose
    detail = f"round {last.row.round}: {over:.2f} of the sequences exceed tau, dose {chosen}; {gains(study)}"
    fires = over is not None and over >= config.fired_share
    healthy = leashed or (chosen is not None and chosen > last.row.lowest_dose)
    seen = _flat(last, config) and fires is leashed and healthy
    return hypothesis(name, seen, over, config.fired_share, detail, step)


def stall(study: Measured, config: Config) -> Result:
    """Trait and coherence stay where they are, and the barrier fires at most sequences: a leash."""
    return _held(study, config, "stall", "raise tau, or a power below 1 (large divergences cost less)", leashed=True)


def saturation(study: Measured, config: Config) -> Result:
    """Trait and coherence stay where they are although the barrier hardly fires and the dose is no floor."""
    return _held(study, config, "saturation", "accept the best round: this is what there is", leashed=False)


def loop_idles(study: Measured, config: Config) -> Result:
    """At the weakest dose steering changes nothing: the steered student is the one it started from."""
    name, step = "loop idles", "raise the lowest dose, or end"
    later = [found for found in study.rounds if found.row.round and found.steered_since is not None]
    if not later or later[-1].steered_since is None:
        return hypothesis(name, None, None, config.noise, "no later round was steered", MORE)
    row, since = later[-1].row, later[-1].steered_since
    moved, whole = number(since, "separation"), number(since, "coherence")
    weakest = row.chosen_dose is None or row.chosen_dose <= row.lowest_dose
    detail = (
        f"round {row.round}: steering moves {moved:+.2f} nats at dose {row.chosen_dose}, weakest {row.lowest_dose:g}"
    )
    seen = abs(moved) < config.noise and abs(1 - whole) < config.slot and weakest
    return hypothesis(name, seen, moved, config.noise, detail, step)


def trait_wash_out(study: Measured, config: Config) -> Result:
    """A later student surely separates less than an earlier one, and is no more coherent for it."""
    name, step = "trait wash-out", "a barrier from the student before; mix in earlier rounds' texts"
    trained = study.trained
    if len(trained) < 2:
        return hypothesis(name, None, None, 0.0, TWO_NEEDED, MORE)
    arms = [found.student for found in trained]
    top = max(arms[:-1], key=lambda arm: number(arm, "separation"))
    fallen = ahead(top, arms[-1])
    whole = number(arms[-1], "coherence") <= number(top, "coherence") + config.slot
    detail = f"{figures('the fall from the best', fallen)}; {levels(study)}"
    seen = fallen is not None and fallen.low > 0 and whole
    return hypothesis(name, seen, fallen.value if fallen else None, 0.0, detail, step)


GROWTH = (compounding_drift, history_erasure, stall, loop_idles, trait_wash_out, saturation)
