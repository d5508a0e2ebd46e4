"""Gate 3's label: the decision table over conditions, and the words for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from steerkit.gates._gate3_conditions import Condition, Conditions, Truth, conditions, every, some
from steerkit.gates._gate3_config import Config
from steerkit.gates._gate3_measured import Measured

Label = Literal["HEALED", "UNDONE", "COPIED", "NO-OP", "OVERSHOT", "NON-SPECIFIC", "UNCLEAR"]


@dataclass(frozen=True)
class Labelled:
    """The label, the figures it rests on, and the labels that the intervals leave: itself, or for UNCLEAR others."""

    label: Label
    why: str
    possible: tuple[Label, ...]


def table(found: Conditions) -> dict[Label, tuple[Condition, ...]]:
    """What must surely hold for each label; no two of them can surely hold at once."""
    new = found.still.no()
    wild = Condition(some(found.coherent.no().truth, found.surgical.no().truth), found.coherent.figure)
    overshot = (new, found.moved, found.further, wild)
    not_too_far = Condition(truth(overshot) is not True, found.further.figure)
    not_better = Condition(found.gains.truth is not True, found.gains.figure)
    kept = (new, found.steered_moved, found.retained, not_too_far)
    better = (*kept, found.moved, found.coherent, found.gains)
    return {
        "NO-OP": (found.still,),
        "OVERSHOT": overshot,
        "NON-SPECIFIC": (*better, found.specific.no()),
        "HEALED": (*better, found.specific),
        "COPIED": (*kept, found.recovered.no(), not_better),
        "UNDONE": (new, found.steered_moved, found.retained.no(), found.coherent),
    }


def truth(row: Sequence[Condition]) -> Truth:
    """Whether a row's conditions all hold."""
    return every(*(condition.truth for condition in row))


def _figures(row: Sequence[Condition]) -> str:
    """What a row rests on, each figure once."""
    return "; ".join(dict.fromkeys(condition.figure for condition in row))


def labelled(study: Measured, config: Config) -> Labelled:
    """The one label whose conditions all surely hold; UNCLEAR where there is none."""
    if study.healed is None:
        return Labelled("UNCLEAR", "no healed student was scored", ())
    rows = table(conditions(study, study.healed, config))
    possible = tuple(name for name, row in rows.items() if truth(row) is not False)
    sure = next((name for name in possible if truth(rows[name]) is True), None)
    if sure is not None:
        return Labelled(sure, _figures(rows[sure]), (sure,))
    if not possible:
        against = [condition for condition in rows["HEALED"] if condition.truth is False]
        return Labelled("UNCLEAR", f"no label fits; against HEALED: {_figures(against)}", ())
    undecided = [condition for name in possible for condition in rows[name] if condition.truth is None]
    return Labelled("UNCLEAR", f"it may be {' or '.join(possible)}; undecided: {_figures(undecided)}", possible)
