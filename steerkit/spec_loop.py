"""What a loop was asked to do: the runs of a round, how often, and where directions come from."""

from typing import Any

import msgspec

from steerkit.spec import ControlSpec, DoseSpec, Heading, RunSpec, Setting, TextSpec
from steerkit.spec_heal import Control, HealSpec, HeldOutSpec


class LoopSpec(Setting, frozen=True, kw_only=True):
    """Everything that decides the numbers of a loop."""

    gate: str = "gate4"
    method: str
    trait: str
    target: str
    sign: int
    persona_pair: dict[str, Any]
    model: str
    fingerprint: str
    dtype: str
    seed: int
    rounds: int
    """How many rounds at most, the first included."""
    direction: Heading
    """Where the directions of later rounds come from."""
    first: RunSpec
    """Gate 1 of the first round."""
    later: DoseSpec
    """What is scored in gate 1 of later rounds."""
    texts: TextSpec
    control: ControlSpec
    filters: dict[str, float]
    heal: HealSpec
    held_out: HeldOutSpec
    controls: tuple[Control, ...] = ()
    gate2_config: dict[str, Any] = msgspec.field(default_factory=dict)
    gate3_config: dict[str, Any] = msgspec.field(default_factory=dict)
    gate_config: dict[str, Any] = msgspec.field(default_factory=dict)
    attempt: int = 0
    version: str = ""
