"""A loop's evidence measured once: every student against the base, and against the student its round started from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from steerkit.errors import RunError
from steerkit.evidence import ArmEvidence, LoopEvidence
from steerkit.gates._arms import at_least, number
from steerkit.gates._gate4_config import Config
from steerkit.gates._result import Result
from steerkit.metrics import ArmMetrics, Draws, measure
from steerkit.records import FOUNDATIONS, Round
from steerkit.stats import Interval, Resamples, interval, resample


@dataclass(frozen=True)
class MeasuredRound:
    """One round; `..._since`: against the student it started from, in the first round the base."""

    row: Round
    steered: ArmMetrics | None
    steered_since: ArmMetrics | None
    healed: ArmMetrics | None
    healed_since: ArmMetrics | None
    plain: ArmMetrics | None
    plain_since: ArmMetrics | None

    @property
    def student(self) -> ArmMetrics:
        """The healed student of a round that has one."""
        assert self.healed is not None, self.row.round
        return self.healed

    @property
    def gain(self) -> Interval | None:
        """How far the student went beyond the one before, in the intended direction (nats)."""
        return None if self.healed_since is None else self.healed_since.interval("separation")


@dataclass(frozen=True)
class Measured:
    """Every arm's quantities with the bootstrap draws they share; `trained`: the rounds that have a student."""

    evidence: LoopEvidence
    draw: Resamples
    base: ArmMetrics
    prompt: ArmMetrics | None
    raw: tuple[ArmMetrics, ...]
    rounds: tuple[MeasuredRound, ...]

    @property
    def trained(self) -> tuple[MeasuredRound, ...]:
        """The rounds that have a student."""
        return tuple(found for found in self.rounds if found.healed is not None)

    @property
    def arms(self) -> tuple[ArmMetrics, ...]:
        """All arms, base first."""
        each = [arm for found in self.rounds for arm in (found.steered, found.healed, found.plain)]
        return tuple(arm for arm in (self.base, self.prompt, *self.raw, *each) if arm is not None)

    def best(self, config: Config) -> MeasuredRound | None:
        """The round that separates most of those whose student is coherent; None where none is."""
        whole = [found for found in self.trained if at_least(found.student, config.mass_floor())]
        return max(whole, key=lambda found: number(found.student, "separation"), default=None)


Check = Callable[[Measured, Config], Result]


def measured(evidence: LoopEvidence, resamples: int = 2000) -> Measured:
    """Measure every arm over one set of resamples.

    Raises RunError for an arm that does not have one row per vignette.
    """
    _check_shapes(evidence)
    draw = resample(evidence.labels, evidence.seed, resamples)

    def read(other: ArmEvidence, arm: ArmEvidence) -> ArmMetrics:
        return measure(arm, other, evidence.labels, evidence.target, evidence.sign, draw)

    def against(other: ArmEvidence, arm: ArmEvidence | None) -> ArmMetrics | None:
        return None if arm is None else read(other, arm)

    base, start = evidence.base, evidence.base
    raw, rounds = [read(base, arm) for arm in evidence.raw], []
    for found in evidence.rounds:
        pairs = [(against(base, arm), against(start, arm)) for arm in (found.steered, found.healed, found.plain)]
        rounds.append(MeasuredRound(found.row, *(each for pair in pairs for each in pair)))
        start = found.healed or start
    return Measured(evidence, draw, read(base, base), against(base, evidence.prompt), tuple(raw), tuple(rounds))


def _check_shapes(evidence: LoopEvidence) -> None:
    expected = (len(evidence.labels), len(FOUNDATIONS))
    for arm in _arms(evidence):
        if arm.choice.shape != expected:
            raise RunError(f"arm {arm.arm_id} must have answers of shape {expected}, but got {arm.choice.shape}")


def _arms(evidence: LoopEvidence) -> Iterator[ArmEvidence]:
    each = [arm for found in evidence.rounds for arm in (found.steered, found.healed, found.plain)]
    yield from (arm for arm in (evidence.base, evidence.prompt, *evidence.raw, *each) if arm is not None)


def separation(arm: ArmMetrics) -> Draws:
    """How far the target went from the base in the intended direction, per resample (nats)."""
    return arm.draws["separation"]


def ahead(one: ArmMetrics, other: ArmMetrics) -> Interval | None:
    """How much further one arm separates than another, paired (nats)."""
    return interval(separation(one) - separation(other))


def gains(study: Measured) -> str:
    """Every round's gain with its interval, for a sentence."""
    found = [(each.row.round, each.gain) for each in study.trained]
    return "gains: " + ", ".join(
        f"round {number} {gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]" if gain else f"round {number} undefined"
        for number, gain in found
    )


def levels(study: Measured) -> str:
    """Every round's separation and coherence, for a sentence."""
    return ", ".join(
        f"round {found.row.round} {number(found.student, 'separation'):+.2f} nats at "
        f"{number(found.student, 'coherence'):.3f}"
        for found in study.trained
    )
