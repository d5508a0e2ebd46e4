"""Matched doses: the strengths at which every direction disturbs the model by the same measured amounts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log

from steerkit.records import Answer, Arm, Calibration, Dose, DoseScale, Record
from steerkit.stages.assemble import only
from steerkit.stages.dose import missed, nearest, reading
from steerkit.stages.score import mass
from steerkit.stages.steer import Fitted

WIDENINGS = 3
"""How often a ladder that does not bracket all amounts is extended, each time about 6-fold."""
FACTOR = 2.5
REFINEMENTS = 4
"""How often the strengths that were read off are measured themselves, to be read off again."""
CLOSE = log(1.05)
"""A measured figure this near to the amount needs no further measurement (log ratio)."""
Rungs = Sequence[tuple[Fitted, float]]
Measure = Callable[[Rungs], list[Record]]
"""Directions at strengths, to the records of what was measured: `Dose`s, or arms with their answers."""


@dataclass
class Ladder:
    """What has been measured of some directions: records, and per direction the figure by strength."""

    scale: DoseScale
    records: list[Record] = field(default_factory=list)
    figures: dict[str, dict[float, float]] = field(default_factory=dict)

    def take(self, measured: Sequence[Record], base_mass: float) -> None:
        """Add what was measured; answer mass lost is a fraction of the base's."""
        self.records += measured
        for dose in only(Dose, measured):
            figure = dose.kl_rmse if self.scale == "rmse-kl" else dose.kl_p95
            self.figures.setdefault(dose.direction_id, {})[dose.strength] = figure
        answers: dict[str, list[Answer]] = {}
        for answer in only(Answer, measured):
            answers.setdefault(answer.arm_id, []).append(answer)
        for arm in only(Arm, measured):
            lost = 1 - float(mass(answers[arm.arm_id]).mean()) / base_mass
            assert arm.direction_id is not None
            self.figures.setdefault(arm.direction_id, {})[arm.strength] = lost


def matched(
    measure: Measure,
    rungs: Rungs,
    amounts: Sequence[float],
    scale: DoseScale,
    base_mass: float,
    run: str,
    unit: str,
) -> list[Record]:
    """Everything that was measured, and a `Calibration` per direction and amount.

    A calibrated strength is one that was measured itself, the nearest to the amount of all that were.
    """
    ladder = Ladder(scale)
    by_id = {fitted.direction_id: fitted for fitted, _ in rungs}
    for _ in range(1 + WIDENINGS):
        ladder.take(measure(rungs), base_mass)
        rungs = [(by_id[n], s) for n, figures in ladder.figures.items() for s in missed(figures, amounts, FACTOR)]
        if not rungs:
            break
    for _ in range(REFINEMENTS):
        rungs = [(by_id[n], s) for n, figures in ladder.figures.items() for s in _open(figures, amounts)]
        if not rungs:
            break
        ladder.take(measure(rungs), base_mass)
    found = [
        _calibration(name, figures, amount, scale, run, unit)
        for name, figures in ladder.figures.items()
        for amount in amounts
    ]
    return [*ladder.records, *found]


def reached(records: Sequence[Record], scale: DoseScale, base_mass: float) -> dict[tuple[str, float], float]:
    """What was measured, by direction and strength, on the scale."""
    ladder = Ladder(scale)
    ladder.take(records, base_mass)
    return {(name, strength): figure for name, own in ladder.figures.items() for strength, figure in own.items()}


def _open(figures: Mapping[float, float], amounts: Sequence[float]) -> list[float]:
    """Strengths that are still to be measured: where an amount is crossed, unless a rung there is close to it."""
    found = []
    for amount in amounts:
        crossed, at = reading(figures, amount), nearest(figures, amount)
        if crossed is not None and at is not None and crossed not in figures and not _close(at[1], amount):
            found.append(crossed)
    return found


def _close(figure: float, amount: float) -> bool:
    return figure > 0 and abs(log(figure / amount)) <= CLOSE


def _calibration(
    name: str, figures: Mapping[float, float], amount: float, scale: DoseScale, run: str, unit: str
) -> Calibration:
    at = nearest(figures, amount)
    strength = None if at is None else at[0]
    return Calibration(
        run_id=run,
        unit_id=unit,
        direction_id=name,
        target=amount,
        strength=strength,
        status="calibrated" if strength is not None else "uncalibrated",
        scale=scale,
    )
