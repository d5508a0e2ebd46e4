"""What a strength costs: KL(steered || base) per generated token, over a ladder of strengths in one batch.

Every direction at every strength on every prompt is one row; its unedited twin reads the same tokens beside it. The
strength whose 95th percentile meets the target is read off between the two rungs that bracket it, in log-log, because
KL grows about quadratically in the strength (1/2 c^2 v'Fv) until it saturates.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from steerkit.host import Host, generate
from steerkit.records import Calibration, Dose
from steerkit.stages.steer import Fitted, held_open


def ladder(
    host: Host, rungs: Sequence[tuple[Fitted, float]], prompts: Sequence[list[int]], tokens: int, run: str, unit: str
) -> list[Dose]:
    """KL figures (nats) of every (direction, strength) over `tokens` greedy tokens of every prompt, in one batch.

    A direction that steers under a condition is measured as if every prompt met it: the dose is of where it acts.
    """
    plan = []
    for place, (fitted, strength) in enumerate(rungs):
        strengths = torch.zeros(len(rungs) * len(prompts))
        strengths[place * len(prompts) : (place + 1) * len(prompts)] = strength
        plan.append((fitted, strengths))
    written = generate(host, [prompt for _ in rungs for prompt in prompts], held_open(plan), tokens)
    return [
        _figures(
            [kl for row in written[place * len(prompts) : (place + 1) * len(prompts)] for kl in row.kl],
            fitted.direction_id,
            strength,
            run,
            unit,
        )
        for place, (fitted, strength) in enumerate(rungs)
    ]


def calibrate(doses: Sequence[Dose], target: float, run: str, unit: str) -> Calibration:
    """The smallest strength at which the 95th percentile reaches the target, or 'uncalibrated'."""
    rungs = sorted(doses, key=lambda dose: dose.strength)
    strength = crossing([rung.strength for rung in rungs], [rung.kl_p95 for rung in rungs], target)
    return Calibration(
        run_id=run,
        unit_id=unit,
        direction_id=rungs[0].direction_id,
        target=target,
        strength=strength,
        status="calibrated" if strength is not None else "uncalibrated",
    )


def crossing(strengths: Sequence[float], figures: Sequence[float], target: float) -> float | None:
    """Where the figure first crosses the target from below, interpolated in log-log; None when it does not."""
    logs = np.log(np.maximum(figures, 1e-9))
    for low in range(len(strengths) - 1):
        if logs[low] <= np.log(target) <= logs[low + 1]:
            share = (np.log(target) - logs[low]) / max(logs[low + 1] - logs[low], 1e-9)
            return float(np.exp(np.log(strengths[low]) + share * np.log(strengths[low + 1] / strengths[low])))
    return None


def widened(doses: Sequence[Dose], target: float, factor: float) -> list[float]:
    """More strengths when the ladder missed the target: upwards when all were too weak, else downwards."""
    strengths = sorted(dose.strength for dose in doses)
    if max(dose.kl_p95 for dose in doses) < target:
        return [strengths[-1] * factor**step for step in range(1, len(strengths) + 1)]
    return [strengths[0] / factor**step for step in range(1, len(strengths) + 1)]


def missed(figures: Mapping[float, float], amounts: Sequence[float], factor: float) -> list[float]:
    """More strengths where a ladder (strength to figure) does not bracket all amounts: above it, below it, or none."""
    strengths = sorted(figures)
    steps = range(1, len(strengths) // 2 + 1)
    # The first crossing from below counts, so the weakest rung must be below the smallest amount.
    if not figures[strengths[0]] < min(amounts):
        return [strengths[0] / factor**step for step in steps]
    if not max(figures.values()) > max(amounts):
        return [strengths[-1] * factor**step for step in steps]
    return []


def reading(figures: Mapping[float, float], amount: float) -> float | None:
    """The strength at which a ladder (strength to figure) crosses an amount; None when it does not."""
    strengths = sorted(figures)
    return crossing(strengths, [figures[strength] for strength in strengths], amount)


def nearest(figures: Mapping[float, float], amount: float) -> tuple[float, float] | None:
    """Of the two rungs that a ladder (strength to figure) crosses an amount between, the nearer, with its figure.

    Near in the logarithm; None where it does not cross. Rungs beyond the first crossing, where a disturbed model's
    figures go up and down, are not looked at.
    """
    crossed = reading(figures, amount)
    if crossed is None:
        return None
    strengths = sorted(figures)
    above = next(place for place, strength in enumerate(strengths) if strength >= crossed * (1 - 1e-12))
    pair = strengths[max(above - 1, 0) : above + 1]
    strength = min(pair, key=lambda one: abs(np.log(max(figures[one], 1e-9) / amount)))
    return strength, figures[strength]


def _figures(kl: list[float], direction: str, strength: float, run: str, unit: str) -> Dose:
    values = np.array(kl)
    p50, p90, p95 = np.percentile(values, [50, 90, 95])
    return Dose(
        run_id=run,
        unit_id=unit,
        direction_id=direction,
        strength=strength,
        tokens=len(values),
        kl_mean=float(values.mean()),
        kl_rmse=float(np.sqrt((values**2).mean())),
        kl_p50=float(p50),
        kl_p90=float(p90),
        kl_p95=float(p95),
        kl_max=float(values.max()),
    )
