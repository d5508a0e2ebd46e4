"""Scores model states, steered or trained, on one set of vignettes with one instrument: what makes them comparable."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from steerkit.errors import RunError
from steerkit.host import Host, text_ids
from steerkit.inputs import VignetteText
from steerkit.plugins import AnswersFreely, load
from steerkit.records import Answer, Arm, ArmKind, Record
from steerkit.spec import RunSpec, digest
from steerkit.stages.score import answers, choice, free_answers
from steerkit.stages.steer import Fitted, uniform

NOTHING_SKIPPED = -1
"""As the first edited block: every block runs at every reading, because any of them may have changed."""


@dataclass
class Scorer:
    """How a run's arms are read.

    `spec`: of the run of gate 1 that says what is shown; `run`: whose arms these are. `first_block`: no edit or change
    of weights is before it; what the blocks up to it make of the vignettes is computed once.
    """

    host: Host
    spec: RunSpec
    vignettes: Sequence[VignetteText]
    config: Any
    run: str
    first_block: int
    part: str = ""
    """What tells the arms of one set of vignettes from those of another set in the same run."""
    _prepared: Any = field(default=None, repr=False)

    def score(
        self,
        unit: str,
        kind: ArmKind,
        fitted: Fitted | None = None,
        strength: float = 0.0,
        dose: float = 0.0,
        *,
        system: str | None = None,
        adapter_id: str | None = None,
    ) -> list[Record]:
        """One arm with its raw answers: the model as it now is, steered where `fitted` is given."""
        arm = Arm(
            run_id=self.run,
            unit_id=unit,
            arm_id=arm_id(self.run, kind, fitted, dose, adapter_id, *([self.part] if self.part else [])),
            kind=kind,
            method=fitted.method if fitted else "none",
            direction_id=fitted.direction_id if fitted else None,
            strength=strength,
            dose=dose,
            eval_hash=self.eval_hash(),
            instrument=self.spec.instrument,
            system_prompt=system,
            adapter_id=adapter_id,
        )
        edits = uniform(fitted, strength) if fitted else {}
        instrument, prepared = load("instruments", self.spec.instrument), self._ready(system)
        reading: Tensor = instrument.read(self.host, prepared, edits)
        free = instrument.free_answers(self.host, prepared, edits) if isinstance(instrument, AnswersFreely) else ()
        return [arm, *answers(arm, self.vignettes, reading), *free_answers(arm, self.vignettes, free)]

    def _ready(self, system: str | None) -> Any:
        """The vignettes as the instrument shows them; kept between arms without a system prompt."""
        prepared = self._prepared
        if system is not None or prepared is None or self.first_block == NOTHING_SKIPPED:
            instrument, texts = (
                load("instruments", self.spec.instrument),
                [vignette.text for vignette in self.vignettes],
            )
            prepared = instrument.prepare(self.host, texts, self.config, system=system, first_block=self.first_block)
        if system is None:
            self._prepared = prepared
        return prepared

    def eval_hash(self) -> str:
        """Deltas exist only between arms that share it; a student's is that of the model it was made from."""
        spec = self.spec
        instrument = (spec.instrument, spec.instrument_text, spec.instrument_config)
        return digest(spec.vignettes_hash, spec.vignettes, *instrument, spec.fingerprint, self._tokenizer())

    def _tokenizer(self) -> str:
        """A hash of what the tokenizer makes of every vignette."""
        return digest([text_ids(self.host, vignette.text) for vignette in self.vignettes])


def arm_id(run: str, kind: ArmKind, fitted: Fitted | None, dose: float, adapter_id: str | None, *part: str) -> str:
    """The name of an arm of a run."""
    parts = (run, kind, fitted and fitted.direction_id, dose, *part)
    return digest(*parts) if adapter_id is None else digest(*parts, adapter_id)


def need_readable(base: Sequence[Answer], foundations: Sequence[str], target: str) -> None:
    """Raise RunError where no vignette of the target, or less than half of all, can be read; fewer are counted."""
    read = ~np.isnan(choice(base, ())).any(axis=1)
    if read.mean() < 0.5 or not read[[foundation == target for foundation in foundations]].any():
        raise RunError(
            f"the base's answers must be finite, but the model gave NaN for {int((~read).sum())} of {len(read)} "
            "vignettes; try --dtype float32"
        )
