"""What a run was asked to do; the run's id is a hash of it, so an identical question has an identical name."""

import hashlib
import math
from typing import Any, Literal

import msgspec

from steerkit.errors import UsageError
from steerkit.schedule import parse

Heading = Literal["fresh", "first", "project"]
"""Where a student's direction comes from: fitted on it, the first round's again, or the new one projected on that."""


class Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every validated settings class."""


def _at_least(setting: Setting, low: int, *names: str) -> None:
    for name in names:
        if getattr(setting, name) < low:
            raise UsageError(f"{name} must be at least {low}, but got {getattr(setting, name)}")


class CaptureSpec(Setting, frozen=True, kw_only=True):
    """Where activations come from."""

    contexts: int = 64
    """How many context messages, drawn at random with the run's seed."""
    contexts_hash: str = ""
    band: tuple[float, float] = (0.5, 0.67)
    """Steered blocks as fractions of depth: int(low * blocks) to int(high * blocks) - 1."""
    blocks: tuple[int, int] | None = None
    """First and last steered block, in place of the fractions."""

    def __post_init__(self) -> None:
        """Raise UsageError for a band that no model has."""
        if self.blocks is not None and not 0 <= self.blocks[0] <= self.blocks[1]:
            raise UsageError(f"blocks must be two rising block numbers from 0, but got {self.blocks}")
        low, high = self.band
        if not 0 <= low < high <= 1:
            raise UsageError(f"band must be two rising fractions of depth from 0 to 1, but got {low:g},{high:g}")


class DoseSpec(Setting, frozen=True, kw_only=True):
    """What 'dose 1' means and which multiples are scored."""

    target: float = 1.0
    """95th percentile of per-token KL(steered || base), nats."""
    multiples: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
    """Positive doses that are scored."""
    negative_multiples: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
    """Doses scored with the opposite sign."""
    null_doses: int = 3
    """How many doses around the operating point the null directions are scored at."""
    random_directions: int = 3
    shuffled_directions: int = 2
    ladder: tuple[float, ...] = (0.1, 0.18, 0.32, 0.56, 1.0, 1.8, 3.2, 5.6)
    """First rungs of the calibration, in natural steps."""
    prompts: int = 4
    """Contexts held out from extraction, for the calibration."""
    null_prompts: int = 2
    """How many of them calibrate each null direction."""
    tokens: int = 20
    """Greedy tokens per rung and prompt."""

    def __post_init__(self) -> None:
        """Raise UsageError for a dose that cannot be."""
        for value in (self.target, *self.multiples, *self.negative_multiples, *self.ladder):
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"a dose must be a finite number above 0, but got {value}")
        for name in ("tokens", "prompts", "null_prompts"):
            if getattr(self, name) < 1:
                raise UsageError(f"dose setting {name} must be at least 1, but got {getattr(self, name)}")
        if min(self.random_directions, self.shuffled_directions) < 0:
            raise UsageError("random_directions and shuffled_directions must be at least 0")
        if self.random_directions + self.shuffled_directions < 1 or self.null_doses < 1:
            raise UsageError("null controls must be at least one direction at one dose; they are part of the gate")


class RunSpec(Setting, frozen=True, kw_only=True):
    """Everything that decides a run's numbers."""

    gate: str
    method: str
    trait: str
    persona: str
    """Hash of the persona pair."""
    target: str
    """The foundation the trait is read on."""
    sign: int
    """+1 or -1: which way the target should move."""
    model: str
    fingerprint: str
    dtype: str
    seed: int
    instrument: str
    instrument_text: str
    """The instrument's own hash of what it shows the model."""
    vignettes_hash: str
    dilemmas_hash: str = ""
    vignettes: int | None = None
    """Scored vignettes per run (stratified); None is all."""
    method_config: dict[str, Any] = {}
    instrument_config: dict[str, Any] = {}
    gate_config: dict[str, Any] = {}
    capture: CaptureSpec = CaptureSpec()
    dose: DoseSpec = DoseSpec()
    texts: int = 2
    """Fixed dilemmas answered greedily at every dose."""
    text_tokens: int = 64
    """Length of those answers (tokens)."""
    history: tuple[str, ...] = ()
    """Adapters that are baked in, in order: the run is about the student they make."""
    root_run: str = ""
    """Where something is baked in: the run that scored the model without it, whose label bias holds here too."""
    direction: Heading = "fresh"
    """Where something is baked in: where the direction comes from."""
    vector_run: str = ""
    """Where the direction was made elsewhere: the run that brought or fitted it."""
    attempt: int = 0
    """Counts repetitions of one question (`--again`)."""
    version: str = ""


class TextSpec(Setting, frozen=True, kw_only=True):
    """How gate 2's texts are sampled."""

    length: int = 80
    """Cap of a text (tokens)."""
    temperature: float = 0.8
    top_p: float = 0.95
    schedule: str = "constant"
    """How the strength runs over a text (steerkit.schedule)."""
    prompts: int = 40
    """How many prompts, drawn at random with the run's seed; the others stay unseen for later gates."""
    batch: int = 64
    """Texts written together."""
    backtrack: bool = False
    """Rewind texts that break while they are written, and replay that stretch with less strength."""
    backtrack_kl: float = 0.9
    """Highest mean KL over 8 tokens before a text counts as breaking (nats); just below what `kl_spike` keeps."""
    backtrack_distinct: float = 0.5
    """Lowest share of distinct bigrams over 24 tokens (fraction)."""
    backtrack_retries: int = 3
    """Most retries of one text."""

    def __post_init__(self) -> None:
        """Raise UsageError for a setting out of range."""
        parse(self.schedule)
        _at_least(self, 1, "length", "prompts", "batch", "backtrack_retries")
        for name, low, high in (("temperature", 0.0, 5.0), ("top_p", 0.0, 1.0), ("backtrack_distinct", 0.0, 1.0)):
            value = getattr(self, name)
            if not (low < value <= high):
                raise UsageError(f"{name} must be above {low:g} and at most {high:g}, but got {value}")
        if not self.backtrack_kl > 0:
            raise UsageError(f"backtrack_kl must be above 0 nats, but got {self.backtrack_kl}")


class ControlSpec(Setting, frozen=True, kw_only=True):
    """How gate 2 finds its dose and when it gives up."""

    keep: int = 64
    """How many texts are to be kept."""
    survival: float = 0.75
    """Share of a dose's texts that every check must keep for the dose to be chosen (fraction)."""
    ladder: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.5)
    """Doses that are probed, in one batch."""
    per_dose: int = 10
    """Texts per probed dose, to the same prompts at each."""
    shares: tuple[float, ...] = (0.6, 0.8, 1.0)
    """Doses that are collected at, as shares of the chosen one, each with an equal quota of the kept texts."""
    batches: int = 6
    """Most batches collected before giving up."""
    floor: float = 0.25
    """A batch of which less than this survives lowers the dose (fraction)."""
    shrink: float = 0.7
    """By what factor the dose is lowered then."""
    lowest: float = 0.2
    """Smallest share of the chosen dose before giving up."""
    base: int = 64
    """Unsteered texts to the same prompts."""
    random: int = 16
    """Texts along random directions at equal KL."""

    def __post_init__(self) -> None:
        """Raise UsageError for a setting out of range."""
        _at_least(self, 1, "keep", "per_dose", "batches", "base")
        _at_least(self, 0, "random")
        for name in ("survival", "floor", "shrink", "lowest"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"{name} must be a fraction above 0 and at most 1, but got {getattr(self, name)}")
        for name in ("ladder", "shares"):
            values = getattr(self, name)
            if not values or not all(math.isfinite(v) and v > 0 for v in values):
                raise UsageError(f"{name} must be finite numbers above 0, but got {values}")


class Gate2Spec(Setting, frozen=True, kw_only=True):
    """Everything that decides the numbers of a run of gate 2."""

    gate: str = "gate2"
    parent_run: str
    """The run of gate 1 whose direction and dose it goes on with."""
    method: str
    trait: str
    target: str
    persona_pair: dict[str, Any]
    """The persona pair itself: checks of the texts need its words, also later and without its file."""
    model: str
    fingerprint: str
    dtype: str
    seed: int
    prompts_hash: str
    operating_dose: float | None
    """Gate 1's operating dose; None where it found none."""
    filters: dict[str, float]
    """Check to threshold."""
    gate_config: dict[str, Any] = {}
    texts: TextSpec = TextSpec()
    control: ControlSpec = ControlSpec()
    history: tuple[str, ...] = ()
    """Adapters that are baked in, in order: the run is about the student they make."""
    attempt: int = 0
    version: str = ""


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces; equal values give equal text."""
    return msgspec.json.encode(value, order="deterministic").decode()


def digest(*parts: Any) -> str:
    """The first 16 hex digits of the SHA-256 of the parts' canonical JSON."""
    return hashlib.sha256("\x1f".join(canonical(part) for part in parts).encode()).hexdigest()[:16]


def run_id(spec: Setting) -> str:
    """The run's name: a hash of everything that decides its numbers."""
    return digest(spec)


def unit_id(run: str, stage: str, *inputs: Any) -> str:
    """The name of one unit of work of a run."""
    return digest(run, stage, *inputs)
