"""Synthetic evidence for gate 4: loops whose course is known, and knobs to break them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from planted_gate3 import ELSE, Planted
from planted_gate3 import World as Arms

from steerkit.evidence import ArmEvidence, LoopEvidence, RoundEvidence
from steerkit.records import ArmKind, Round

ROW: dict[str, Any] = {
    "run_id": "planted",
    "unit_id": "planted",
    "gate1_run": "one",
    "gate2_run": "two",
    "gate3_run": "three",
    "direction_id": "d",
    "adapter_id": "a",
    "label": "UNCLEAR",
    "made": 80,
    "kept": 48,
    "chosen_dose": 1.0,
    "lowest_dose": 0.25,
    "base_nats": -0.9,
    "direction_norm": 2.0,
    "cosine_first": 0.9,
    "cosine_last": 0.9,
    "cosine_teacher": 0.5,
    "reference": "previous",
    "tau": 0.5,
    "over": 0.4,
    "start_divergence": 0.0,
    "kept_distinct": 0.9,
    "base_distinct": 0.95,
    "kept_perplexity": 12.0,
    "stop": "",
    "stop_why": "",
    "seconds": 1.0,
}


@dataclass(frozen=True)
class Turn:
    """One planted round: its arms, None where not scored, and what its row says otherwise than `ROW`."""

    healed: Planted | None
    steered: Planted | None
    plain: Planted | None = None
    row: Mapping[str, Any] = field(default_factory=dict)


def turn(number: int, shift: float, coherence: float, **row: Any) -> Turn:
    """A round whose student stands there; steering took its student 0.7 nats beyond the one before."""
    own = {"kl_base": 0.3 * (number + 1), "kl_previous": 0.3, "cosine_last": 0.95 if number else None}
    own["cosine_first"] = 1 - 0.05 * number
    planted = Planted(shift, coherence, text=ELSE)
    return Turn(planted, Planted(shift + 0.1, coherence - 0.03), replace(planted, shift=shift - 0.1), own | row)


GROWING = tuple(turn(number, 0.6 * (number + 1), 0.995 - 0.004 * number) for number in range(4))


@dataclass
class Loop:
    """A planted loop; replace a knob and build. `noise`: spread over vignettes of each arm's answers (nats)."""

    turns: Sequence[Turn] = GROWING
    prompt: Planted | None = field(default_factory=lambda: Planted(0.4, 0.98))
    wanted: int = 4
    sign: int = -1
    noise: float = 0.05

    def build(self) -> LoopEvidence:
        made = Arms(sign=self.sign, noise=self.noise)

        def arm(kind: ArmKind, planted: Planted | None, number: int) -> ArmEvidence | None:
            return None if planted is None else replace(made.arm(kind, planted), arm_id=f"{kind} {number}")

        return LoopEvidence(
            trait="planted",
            target="Authority",
            sign=self.sign,
            along=(),
            labels=made.labels,
            base=made.arm("base", Planted(0.0)),
            prompt=None if self.prompt is None else made.arm("prompt", self.prompt),
            raw=tuple(made.arm("steered", Planted(dose, 1 - 0.05 * dose), dose) for dose in (0.5, 1.0)),
            rounds=tuple(
                RoundEvidence(
                    row(number, one.row),
                    arm("steered", one.steered, number),
                    arm("healed", one.healed, number),
                    arm("plain", one.plain, number),
                )
                for number, one in enumerate(self.turns)
            ),
            wanted=self.wanted,
            seed=3,
        )


def row(number: int, given: Mapping[str, Any]) -> Round:
    """A row of the ledger; what is not given is that of a healthy round, or missing."""
    empty: dict[str, Any] = dict.fromkeys(Round.__struct_fields__)
    return Round(**empty | ROW | {"round": number} | dict(given))
