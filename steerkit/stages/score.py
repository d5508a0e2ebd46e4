"""Score one model state: an arm and its raw answers; the label-bias prior comes from the base arm alone."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from steerkit.inputs import VignetteText
from steerkit.records import ANSWER_FIELDS, FOUNDATIONS, Answer, Arm, FreeAnswer, Prior
from steerkit.stats import log_softmax


def answers(
    arm: Arm, vignettes: Sequence[VignetteText], reading: Float[Tensor, "order vignette channel"]
) -> list[Answer]:
    """One record per vignette and order: seven raw log-probabilities (nats), outside mass, prefill NLL, and, where the
    instrument lets the model think, a tenth number, the tokens thought.
    """
    return [
        Answer(
            run_id=arm.run_id,
            unit_id=arm.unit_id,
            arm_id=arm.arm_id,
            vignette=vignette.id,
            foundation=vignette.foundation,
            ordering=order,
            outside_mass=float(values[7]),
            prefill_nll=float(values[8]),
            think_tokens=int(values[9]) if len(values) > 9 else 0,
            **dict(zip(ANSWER_FIELDS, (float(value) for value in values[:7]), strict=True)),
        )
        for order, rows in enumerate(reading)
        for vignette, values in zip(vignettes, rows.double(), strict=True)
    ]


def free_answers(
    arm: Arm, vignettes: Sequence[VignetteText], written: Iterable[tuple[int, int, str, str | None]]
) -> list[FreeAnswer]:
    """One record per text of an instrument's `free_answers`: vignette, ordering, text, and the foundation it names."""
    return [
        FreeAnswer(
            run_id=arm.run_id,
            unit_id=arm.unit_id,
            arm_id=arm.arm_id,
            vignette=vignettes[index].id,
            ordering=order,
            text=text,
            valid=named is not None,
            answer=named,
        )
        for index, order, text, named in written
    ]


def set_mean_prior(arm: Arm, base: Sequence[Answer]) -> list[Prior]:
    """Each answer's mean log-probability over the set, every foundation counting the same (nats), per order.

    Rows with an answer that is not finite are left out.
    """
    orders = sorted({answer.ordering for answer in base})
    readable = {order: [a for a in base if a.ordering == order and _readable(a)] for order in orders}
    return [
        Prior(
            run_id=arm.run_id,
            unit_id=arm.unit_id,
            eval_hash=arm.eval_hash,
            kind="set-mean",
            ordering=order,
            foundation=foundation,
            nats=_balanced_mean(readable[order], field),
        )
        for order in orders
        for foundation, field in zip(FOUNDATIONS, ANSWER_FIELDS, strict=True)
    ]


def _balanced_mean(base: Sequence[Answer], field: str) -> float:
    groups = [[getattr(a, field) for a in base if a.foundation == name] for name in FOUNDATIONS]
    return float(np.mean([np.mean(group) for group in groups if group])) if any(groups) else float("nan")


def _readable(answer: Answer) -> bool:
    """Whether all seven log-probabilities are finite."""
    return all(np.isfinite(getattr(answer, field)) for field in ANSWER_FIELDS)


def choice(answers: Sequence[Answer], prior: Sequence[Prior]) -> Float[np.ndarray, "vignette 7"]:
    """log p (nats) over the seven answers per vignette, in order of first appearance: raw less prior, averaged over
    orders, normalised; a row with a NaN, or without a finite answer, is NaN. An empty prior leaves the raw numbers.
    """
    offset = {(p.ordering, p.foundation): p.nats for p in prior}
    scores = _by_vignette(
        answers,
        [
            [getattr(a, f) - offset.get((a.ordering, n), 0.0) for n, f in zip(FOUNDATIONS, ANSWER_FIELDS, strict=True)]
            for a in answers
        ],
    )
    return log_softmax(scores)


def mass(answers: Sequence[Answer]) -> Float[np.ndarray, "vignette"]:
    """Full-vocabulary probability of the seven answers per vignette, mean over orders (fraction)."""
    return _by_vignette(answers, [[1 - a.outside_mass] for a in answers])[:, 0]


def prefill_nll(answers: Sequence[Answer]) -> Float[np.ndarray, "vignette"] | None:
    """Mean NLL of the scaffold tokens per vignette (nats per token), or None when the instrument has none."""
    if any(a.prefill_nll is None for a in answers):
        return None
    return _by_vignette(answers, [[a.prefill_nll] for a in answers])[:, 0]


def level(answers: Sequence[Answer], prior: Sequence[Prior], target: str) -> tuple[float, float]:
    """Mean log p[target] over the target's own vignettes that can be read (nats), and the mean mass on the answers,
    where an unreadable one counts as 0 (fraction).
    """
    labels = [answer.foundation for answer in answers if answer.ordering == 0]
    column = choice(answers, prior)[:, FOUNDATIONS.index(target)]
    own = [value for value, label in zip(column, labels, strict=True) if label == target and not np.isnan(value)]
    return float(np.mean(own)) if own else float("nan"), float(np.nan_to_num(mass(answers)).mean())


def _by_vignette(
    answers: Sequence[Answer], values: Sequence[Sequence[float | None]]
) -> Float[np.ndarray, "vignette n"]:
    """The mean over orders of each vignette's values, `[vignette n]`, vignettes in order of first appearance."""
    place: dict[str, int] = {}
    for answer in answers:
        place.setdefault(answer.vignette, len(place))
    index = np.array([place[answer.vignette] for answer in answers])
    table = np.array(values, dtype=np.float64)
    sums = np.zeros((len(place), table.shape[1]))
    np.add.at(sums, index, table)
    return sums / np.bincount(index)[:, None]
