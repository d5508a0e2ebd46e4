"""Scored conditions: raw answers of the instrument, and what was computed from them."""

from typing import Literal

from steerkit.records.base import Record

FOUNDATIONS = ("Care", "Fairness", "Loyalty", "Authority", "Sanctity", "Liberty", "SocialNorms")
ANSWER_FIELDS = ("care", "fairness", "loyalty", "authority", "sanctity", "liberty", "social_norms")

ArmKind = Literal[
    "base",
    "steered",
    "random",
    "shuffled",
    "prompt",
    "previous",
    "healed",
    "plain",
    "control-unsteered",
    "control-random",
    "control-persona",
    "weights",
    "swept",
]
"""What a model state is. From 'previous' on they are students: a round's start, adapters, weight steering, a sweep."""


class Vignette(Record, frozen=True, kw_only=True):
    """One vignette as it was scored in this run."""

    vignette: str
    """Id within its set."""
    foundation: str
    text: str
    set_hash: str


class Arm(Record, frozen=True, kw_only=True):
    """One scored condition: a model state and the instrument's settings."""

    arm_id: str
    kind: ArmKind
    method: str
    """Steering method; 'none' where nothing steers."""
    direction_id: str | None
    strength: float
    """In the method's natural steps."""
    dose: float
    """Signed multiple of the calibrated strength; 0 for base and prompt."""
    eval_hash: str
    """Hash of vignettes, instrument and settings, model fingerprint, dtype, tokenizer: deltas exist only within it."""
    instrument: str
    system_prompt: str | None
    adapter_id: str | None = None
    """The newest adapter that is baked in; None for the base model."""


class Answer(Record, frozen=True, kw_only=True):
    """Raw log-probabilities (nats, full vocabulary) of the seven answers to one vignette in one example order.

    Where an answer has several words, the mean of their log-probabilities.
    """

    arm_id: str
    vignette: str
    foundation: str
    """The vignette's label."""
    ordering: int
    care: float
    fairness: float
    loyalty: float
    authority: float
    sanctity: float
    liberty: float
    social_norms: float
    outside_mass: float
    """Probability of everything but the words of the seven answers (fraction)."""
    prefill_nll: float | None
    """Mean NLL of the scaffold tokens before the answer (nats per token)."""
    think_tokens: int


class Prior(Record, frozen=True, kw_only=True):
    """An answer's label bias, measured on the base arm only; subtract it from raw log-probabilities or do not."""

    eval_hash: str
    kind: str
    """'set-mean' or 'content-free'."""
    ordering: int
    foundation: str
    nats: float


class Effect(Record, frozen=True, kw_only=True):
    """A quantity of an arm, with its paired-bootstrap 95% interval over vignettes."""

    arm_id: str
    quantity: str
    value: float | None
    low: float | None
    high: float | None
    p_null: float | None
    """Share of null directions at the same dose that move at least as much (with the +1 correction)."""


class FreeAnswer(Record, frozen=True, kw_only=True):
    """What an arm writes, greedily, when the instrument's question is not answered for it."""

    arm_id: str
    vignette: str
    ordering: int
    text: str
    valid: bool
    """Whether it parses strictly as the JSON that was asked for, with one of the seven answers."""
    answer: str | None
    """The foundation it names; None when invalid."""


class HumanLabel(Record, frozen=True, kw_only=True):
    """The share of people who gave one answer to a vignette (fraction; the seven of a vignette sum to 1)."""

    vignette: str
    foundation: str
    share: float


class InstrumentCheck(Record, frozen=True, kw_only=True):
    """Whether an instrument is fit for a model; what could not be measured is None."""

    seq: int
    """Nanoseconds since the epoch."""
    instrument: str
    config: str
    """Its settings as canonical JSON."""
    model: str
    fingerprint: str
    dtype: str
    device: str
    vignettes_hash: str
    vignettes: int
    trait: str
    answer_mass: float | None
    """Mean full-vocabulary probability of the seven answers (fraction)."""
    frac_unscorable: float | None
    auc: float | None
    """Mean one-vs-rest area under the ROC curve against the labels (0.5 is chance)."""
    informedness: float | None
    """Mean over foundations of recall less false-alarm rate, label bias taken off (0 is chance)."""
    informedness_low: float | None
    informedness_high: float | None
    order_disagreement: float | None
    """Share of vignettes whose likeliest answer is not the same in every order (fraction)."""
    repeat_nats: float | None
    """Largest change of any answer's log p when the same vignettes are read again in other batches (nats)."""
    repeat_picks: float | None
    """Share of vignettes whose likeliest answer changes then (fraction)."""
    seconds_per_100: float | None
    headroom: float | None
    """Shift of the target in the intended direction by the persona as a system prompt (nats)."""
    headroom_low: float | None
    headroom_high: float | None
    fit: bool
    recommended: bool
    why: str


class Rescored(Record, frozen=True, kw_only=True):
    """A quantity of a finished run's arm by another version of the metrics, with its 95% interval."""

    rescore_id: str
    """The rows of one call."""
    seq: int
    """Nanoseconds since the epoch; the newest counts."""
    version: str
    corrected: bool
    """Whether the label bias was taken off."""
    floor: float
    """Probability below which an answer counts as this much (fraction)."""
    arm_id: str
    quantity: str
    value: float | None
    low: float | None
    high: float | None
