"""What a loop does after a round: which round is the best so far, and whether to stop, and why."""

from dataclasses import dataclass

from steerkit.gates._gate4_config import Config
from steerkit.gates._gate4_measured import Measured, MeasuredRound, gains
from steerkit.records import Stop


@dataclass(frozen=True)
class Course:
    """The best round so far, why the loop stops after the last one (empty where it goes on), and the figures."""

    best: int | None
    stop: Stop
    why: str


def course(study: Measured, config: Config) -> Course:
    """Where the loop stands after its last round; a stop that is known already, such as starvation, stays."""
    last, best = study.rounds[-1], study.best(config)
    number = None if best is None else best.row.round
    if last.row.stop:
        return Course(number, last.row.stop, last.row.stop_why)
    coherence = None if last.healed is None else last.healed.value("coherence")
    if coherence is None or coherence < config.mass_floor():
        said = "is undefined" if coherence is None else f"is {coherence:.3f}"
        return Course(number, "coherence floor", f"coherence {said}, below {config.mass_floor():g}")
    idle = study.rounds[-config.patience :]
    if len(idle) == config.patience and not any(_surely_gains(found) for found in idle):
        return Course(number, "no gain", f"the gain's interval reaches 0; {gains(study)}")
    if len(study.rounds) >= study.evidence.wanted:
        return Course(number, "all rounds", f"{study.evidence.wanted} rounds were asked for")
    return Course(number, "", "")


def _surely_gains(found: MeasuredRound) -> bool:
    """Whether the whole interval of the round's gain lies above 0."""
    return found.gain is not None and found.gain.low > 0
