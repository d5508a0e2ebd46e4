"""Generated texts, what the filters decided about them, and what a person said of them."""

from typing import Literal

from steerkit.records.base import Record

Role = Literal[
    "greedy",
    "base",
    "probe",
    "collected",
    "random",
    "control-unsteered",
    "control-random",
    "control-persona",
    "pole",
    "online",
]
"""Why a text was written: at a dose of gate 1 or by a student; unsteered; to find a dose; to be kept; along a random
direction; to train a control; under one pole of the persona, for weight steering; during an online training."""
Trait = Literal["enacts", "narrates", "neither"]


class Completion(Record, frozen=True, kw_only=True):
    """One generated text with its health figures."""

    completion_id: str
    arm_id: str | None
    direction_id: str | None
    strength: float
    dose: float
    prompt_id: str
    prompt: str
    text: str
    tokens: int
    ended: bool
    """Whether it ended by itself before the cap."""
    token_kl: list[float]
    """KL(steered || base) at each generated token (nats)."""
    perplexity: float
    """Under the untouched base (exp of mean NLL)."""
    tail_perplexity: float
    """The same over the last quarter."""
    distinct_tail: float
    """Smallest share of unique word trigrams in a sliding window (fraction; loops are low)."""
    compression: float
    """Largest zlib compression ratio over a sliding window (loops are high)."""
    role: Role | None = None
    """None in stores older than gate 2."""
    sample_seed: int | None = None
    """Seed of the row's own random numbers; None for greedy texts."""
    schedule: str | None = None
    """How the strength runs over the text, for example 'constant' or 'exp:40'."""
    pieces: list[str] | None = None
    """Text of each generated token; joined they are `text`."""
    token_ids: list[int] | None = None
    """The generated tokens, without the end token."""
    token_nll: list[float] | None = None
    """Negative log-likelihood of each generated token under the untouched base, the end token included (nats)."""
    system_prompt: str | None = None
    """System prompt it was written under; None where there was none."""
    narration: float | None = None
    """Largest margin of a sentence that describes its speaker (stages/narrate.py); None where no model read it."""
    narration_start: int | None = None
    """Where that sentence begins in the text (characters); None where none is in the first person."""
    narration_stop: int | None = None


class TextGain(Record, frozen=True, kw_only=True):
    """How much more likely one text is under the steered model than under the base."""

    completion_id: str
    strength: float
    """Strength of the reference: the same for every text of a run."""
    gain: float
    """Mean log p(steered) - log p(base) (nats per token)."""
    tokens: int


class Backtrack(Record, frozen=True, kw_only=True):
    """A text that broke while it was written: where, why, and with how much less strength it went on."""

    completion_id: str
    attempt: int
    """Counts the retries of one text, from 1."""
    at_token: int
    """How long the text was when it broke (tokens)."""
    rewound_to: int
    """How much of it was kept (tokens)."""
    why: Literal["kl", "loop"]
    value: float
    """What the detector saw: running KL (nats) or share of distinct n-grams."""
    strength_before: float
    strength_after: float
    """Strength of the replayed stretch."""


class ControllerStep(Record, frozen=True, kw_only=True):
    """One move of the dose controller: a probed dose, the choice it led to, or a batch collected."""

    number: int
    phase: Literal["probe", "choose", "collect"]
    dose: float
    made: int
    survived: int
    kept: int
    """Completions kept so far, over all doses."""
    note: str


class FilterSet(Record, frozen=True, kw_only=True):
    """One round of decisions over a run's completions; the newest by `seq` is the one that counts."""

    filter_id: str
    seq: int
    """Nanoseconds since the epoch."""
    thresholds: str
    """Check to threshold, as canonical JSON."""


class FilterDecision(Record, frozen=True, kw_only=True):
    """What one check said of one completion; every check says something of every completion."""

    filter_id: str
    completion_id: str
    name: str
    value: float
    threshold: float
    direction: Literal["at most", "at least"]
    """Which side of the threshold is kept."""
    keep: bool
    reason: str
    start: int | None
    """Where the offending span begins in the text (characters); None where there is none to point at."""
    stop: int | None


class Label(Record, frozen=True, kw_only=True):
    """What a person said of one completion; the newest by `seq` counts."""

    completion_id: str
    seq: int
    """Nanoseconds since the epoch."""
    labeller: str
    coherent: bool | None
    """None, like `trait`, where the label was taken back."""
    trait: Trait | None
