"""What a gate's checks look at: measured arrays of one run, already paired by vignette, and nothing that computes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from steerkit.records import (
    Adapter,
    ArmKind,
    Calibration,
    Completion,
    ControllerStep,
    DirectionLayer,
    Dose,
    FilterDecision,
    HealEpoch,
    HealStep,
    Label,
    Round,
)


@dataclass(frozen=True)
class ArmEvidence:
    """One scored arm; rows are the run's vignettes in one order, columns are `FOUNDATIONS`.

    `choice`: `[vignette 7]`, log p (nats) over the seven answers: per example order the raw log-probabilities less the
    base's label-bias prior, averaged over orders, then normalised. NaN rows are unscorable.
    `raw_choice`: the same without the prior.
    `mass`: `[vignette]`, full-vocabulary probability of the seven answers (p_ans_any), mean over orders.
    `prefill_nll`: `[vignette]`, nats per scaffold token; None when the instrument has no scaffold.
    `texts`: long greedy generations of this arm, empty when none were made.
    `json_valid`: share of free answers that parse as what was asked for (fraction); None where none were written.
    """

    arm_id: str
    kind: ArmKind
    method: str
    direction_id: str | None
    strength: float
    dose: float
    choice: Float[np.ndarray, "vignette 7"]
    raw_choice: Float[np.ndarray, "vignette 7"]
    mass: Float[np.ndarray, "vignette"]
    prefill_nll: Float[np.ndarray, "vignette"] | None = None
    texts: tuple[Completion, ...] = ()
    json_valid: float | None = None


@dataclass(frozen=True)
class Extraction:
    """Facts about the capture that an extraction bug would break."""

    contexts: int
    token: str
    """The decoded token the activations were read at."""
    expected_token: str
    """The last token of the chat template's generation prompt."""
    truncated: int
    """Contexts that did not fit; must be 0."""
    doubled_bos: bool
    prompts_shared: bool
    """Whether both poles' prompts differ in the persona text alone."""


@dataclass(frozen=True)
class Gate1Evidence:
    """Everything gate 1 measured, for one method and one trait.

    `labels`: the foundation of each vignette. `steered` covers both signs, dose 0 excluded. `nulls` are the random
    and label-shuffled arms (`kind` tells) at positive doses. `prompt` is the persona as system prompt, unsteered.
    `pair_findings`: what the persona linter said of this trait's pair.
    """

    trait: str
    target: str
    sign: int
    along: tuple[str, ...]
    labels: tuple[str, ...]
    base: ArmEvidence
    steered: tuple[ArmEvidence, ...]
    nulls: tuple[ArmEvidence, ...]
    prompt: ArmEvidence | None
    layers: tuple[DirectionLayer, ...]
    ladder: tuple[Dose, ...]
    calibration: Calibration | None
    extraction: Extraction | None
    pair_findings: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class TextEvidence:
    """One completion with everything that was said of it.

    `gain`: mean log p(steered) - log p(base), nats per token, the steered model being the same for all texts of a run;
    None where it was not measured. `labels`: the newest of each labeller.
    """

    completion: Completion
    decisions: tuple[FilterDecision, ...]
    gain: float | None = None
    labels: tuple[Label, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether every check keeps it."""
        return all(decision.keep for decision in self.decisions)

    @property
    def dropped_by(self) -> tuple[str, ...]:
        """Names of the checks that would drop it."""
        return tuple(decision.name for decision in self.decisions if not decision.keep)


@dataclass(frozen=True)
class Gate2Evidence:
    """Everything gate 2 measured, for one direction.

    `probes`: the ladder of doses, as many texts at each, the same prompts at each. `collected`: what was written to be
    kept. `base`: unsteered texts to the same prompts, sampled and filtered in the same way. `random`: the same along
    random directions at equal KL; empty where none were made. `wanted`: how many were to be kept, `target_survival`:
    the share of a dose's texts that must survive. `operating_dose`: gate 1's; None where it found none. `labels` are
    inside the texts. `seed` decides the bootstrap.
    """

    trait: str
    target: str
    probes: tuple[TextEvidence, ...]
    collected: tuple[TextEvidence, ...]
    base: tuple[TextEvidence, ...]
    random: tuple[TextEvidence, ...]
    controller: tuple[ControllerStep, ...]
    wanted: int
    target_survival: float
    operating_dose: float | None
    gate1_verdict: str
    seed: int


@dataclass(frozen=True)
class HealEvidence:
    """One adapter with its training.

    `figures`: what was measured of it, by quantity (`AdapterFigure`); what was not measured is missing.
    """

    adapter: Adapter
    steps: tuple[HealStep, ...]
    epochs: tuple[HealEpoch, ...]
    figures: dict[str, float]


@dataclass(frozen=True)
class Gate3Evidence:
    """Everything gate 3 measured, for one round of one direction.

    Every arm is scored on the same vignettes as `base`. `raw`: the direction's steered arms at positive doses, the raw
    front; `steered`: the one at the dose the kept texts came from, None where it was not scored. `previous`: the
    student the round started from, None in the first round, where it is the base. `healed` and `plain`: with and
    without the constraint. `controls`: arms of kind 'control-...', trained the same way on other texts. `prompt`: the
    persona as a system prompt; `weights`: weight steering. `heals`: each adapter's training, by its role. An arm's
    `texts` are its greedy answers to held-out prompts; those with a `system_prompt` are in the second context.
    `texts`: the completions trained on, by adapter role.
    """

    trait: str
    target: str
    sign: int
    along: tuple[str, ...]
    labels: tuple[str, ...]
    round: int
    base: ArmEvidence
    previous: ArmEvidence | None
    raw: tuple[ArmEvidence, ...]
    steered: ArmEvidence | None
    healed: ArmEvidence | None
    plain: ArmEvidence | None
    controls: tuple[ArmEvidence, ...]
    prompt: ArmEvidence | None
    weights: ArmEvidence | None
    heals: dict[str, HealEvidence]
    texts: dict[str, tuple[Completion, ...]]
    fewest_texts: int
    gate1_verdict: str
    gate2_verdict: str
    seed: int
    swept: tuple[ArmEvidence, ...] = ()
    """Students of a sweep over settings."""


@dataclass(frozen=True)
class RoundEvidence:
    """One round of a loop: its row of the ledger and its arms; an arm that was not scored is None.

    `steered`: the student at the round's start, steered at the dose of the kept texts. `healed`, `plain`: students that
    learned those, with and without the constraint.
    """

    row: Round
    steered: ArmEvidence | None
    healed: ArmEvidence | None
    plain: ArmEvidence | None


@dataclass(frozen=True)
class LoopEvidence:
    """Everything a loop measured; every arm is scored on the same vignettes as `base`, the untouched model.

    `rounds` are in order, each started from the healed student of the one before. `wanted`: how many were asked for.
    `prompt`: the persona as a system prompt of the base. `raw`: the first direction on the base, at rising doses.
    """

    trait: str
    target: str
    sign: int
    along: tuple[str, ...]
    labels: tuple[str, ...]
    base: ArmEvidence
    prompt: ArmEvidence | None
    raw: tuple[ArmEvidence, ...]
    rounds: tuple[RoundEvidence, ...]
    wanted: int
    seed: int


@dataclass(frozen=True)
class ReadingEvidence:
    """One direction at a dose and, where it was read, at the opposite one."""

    plus: ArmEvidence
    minus: ArmEvidence | None


@dataclass(frozen=True)
class PointEvidence:
    """One method at one dose; a reading per seed, or a single one of what has no seeds (`dose` None: the prompt)."""

    point_id: str
    method: str
    dose: float | None
    readings: tuple[ReadingEvidence, ...]


@dataclass(frozen=True)
class PartEvidence:
    """All points over one part of the vignettes, every arm on the same rows as `base`.

    The label bias is measured on the base's answers to this part alone. `nulls`: random and label-shuffled directions,
    which all methods are held against.
    """

    target: str
    sign: int
    along: tuple[str, ...]
    labels: tuple[str, ...]
    base: ArmEvidence
    points: tuple[PointEvidence, ...]
    nulls: tuple[ArmEvidence, ...]
