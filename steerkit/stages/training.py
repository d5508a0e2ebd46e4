"""Which texts an adapter is trained on: the kept ones of a run of gate 2, and texts of other origin as controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from steerkit.inputs import Dilemma
from steerkit.records import Completion, ControllerStep, Record, Role
from steerkit.spec_heal import Control
from steerkit.stages.assemble import only, texts_evidence
from steerkit.stages.steer import Fitted
from steerkit.stages.write import Order

SPARE = 1.25
"""How many more control texts are written than are missing: some will be dropped."""
SAME_DOSE = 1e-6


@dataclass(frozen=True)
class Kept:
    """One kept text; `gain`: how much likelier it is under steering (nats per token), None where not measured."""

    completion: Completion
    gain: float | None


def taken(records: Sequence[Record], most: int) -> list[Kept]:
    """The kept steered texts of a run of gate 2 that are trained on, at most `most`.

    Collected ones first, then probes at doses that were collected at; a weaker probe is nearly a text of the base.
    """
    collected = [step.dose for step in only(ControllerStep, records) if step.phase == "collect"]
    lowest = min(collected, default=0.0) - SAME_DOSE
    found = [
        Kept(text.completion, text.gain)
        for text in texts_evidence(records)
        if text.kept and text.completion.role in ("probe", "collected") and text.completion.dose >= lowest
    ]
    return sorted(found, key=lambda text: (text.completion.role != "collected", -text.completion.dose))[:most]


def gain_over_base(records: Sequence[Record], kept: Sequence[Kept]) -> float | None:
    """How much likelier steering makes the kept texts than it makes the base's; None where not measured (nats)."""
    own = [text.gain for text in kept if text.gain is not None]
    base = [t.gain for t in texts_evidence(records) if t.completion.role == "base" and t.gain is not None]
    return sum(own) / len(own) - sum(base) / len(base) if own and base else None


def control_orders(
    control: Control,
    kept: Sequence[Kept],
    prompts: Mapping[str, Dilemma],
    count: int,
    seed: int,
    nulls: Sequence[tuple[Fitted, float]],
    system: str | None,
    role: Role | None = None,
) -> list[Order]:
    """Orders for texts of another origin to the kept texts' prompts, a few more than `count`.

    Random directions (`nulls`, with their strengths at dose 1) act at the kept texts' own doses.
    """
    wanted = list(islice(cycle(kept), max(8, int(SPARE * count + 0.5))))
    named: Role = role or f"control-{control}"  # type: ignore[assignment]
    along = cycle(nulls) if nulls else None
    orders = []
    for number, text in enumerate(wanted):
        prompt, dose = prompts[text.completion.prompt_id], text.completion.dose
        if along is None:
            orders.append(Order(named, prompt, seed=seed + number, system=system))
        else:
            null, at_one = next(along)
            orders.append(Order(named, prompt, null, dose * at_one, dose, seed + number))
    return orders
