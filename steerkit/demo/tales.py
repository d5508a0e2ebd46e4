"""Synthetic texts as completions: a few as records, thousands as a frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from jaxtyping import Float

from steerkit.demo.library import Library
from steerkit.demo.prose import Prose, prose
from steerkit.inputs import Dilemma
from steerkit.records import Arm, Completion
from steerkit.spool import columns

if TYPE_CHECKING:
    import polars


@dataclass(frozen=True)
class Told:
    """Completions as a frame, with what the checks need to know beside it."""

    rows: "polars.DataFrame"
    prose: Prose


@dataclass(frozen=True)
class Teller:
    """Writes texts of at most `length` tokens that mostly break above dose `knee`."""

    library: Library
    knee: float
    length: int
    chance: np.random.Generator

    def told(
        self, own: dict[str, Any], dose: Float[np.ndarray, "text"], prompts: Sequence[Dilemma], **fields: Any
    ) -> Told:
        """One text per dose, to the prompts in turn; `fields` are columns of all, or of each."""
        import polars

        written = prose(self.library, np.abs(dose), self.knee, self.length, self.chance)
        names = self.chance.integers(0, 2**63, len(dose))
        which = np.arange(len(dose)) % len(prompts)
        rows = written.columns.with_columns(
            completion_id=polars.Series([f"{name:016x}" for name in names]),
            dose=dose,
            prompt_id=polars.Series([prompt.id for prompt in prompts]).gather(which),
            prompt=polars.Series([prompt.text for prompt in prompts]).gather(which),
            **{name: polars.lit(value) if not _is_column(value) else value for name, value in (own | fields).items()},
        )
        return Told(_as_table(rows), written)

    def greedy(
        self, own: dict[str, Any], arm: Arm, prompts: Sequence[Dilemma], *, dose: float | None = None, **fields: Any
    ) -> list[Completion]:
        """An arm's answers; `dose`: as what they read, where it is not the arm's own."""
        read = np.full(len(prompts), arm.dose if dose is None else dose)
        named = {"arm_id": arm.arm_id, "direction_id": arm.direction_id, "strength": arm.strength}
        told = self.told(own, read, prompts, role="greedy", schedule="constant", **named, **fields)
        return [msgspec.structs.replace(text, dose=arm.dose) for text in records(told.rows)]


def records(rows: "polars.DataFrame") -> list[Completion]:
    """The rows as records."""
    return msgspec.convert(rows.to_dicts(), list[Completion])


def _is_column(value: Any) -> bool:
    return not (value is None or isinstance(value, str | int | float))


def _as_table(rows: "polars.DataFrame") -> "polars.DataFrame":
    """The rows with every column of a completion, in order and in its type; what is not given is NULL."""
    import polars

    return rows.select(
        (polars.col(name) if name in rows.columns else polars.lit(None)).cast(kind).alias(name)
        for name, kind in columns(Completion).items()
    )
