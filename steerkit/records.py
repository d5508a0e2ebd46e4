"""Every record a stage returns; a record's class is its table, its fields are the columns."""

from typing import Literal

import msgspec

FOUNDATIONS = ("Care", "Fairness", "Loyalty", "Authority", "Sanctity", "Liberty", "SocialNorms")

ArmKind = Literal["base", "steered", "random", "shuffled", "prompt"]
Status = Literal["observed", "not observed", "not measured"]
Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every row carries: the run it belongs to and the unit of work that made it."""

    run_id: str
    unit_id: str


class Run(Record, frozen=True, kw_only=True):
    """One pipeline over one spec; written before any data exist, so its thresholds are pre-registered."""

    gate: str
    method: str
    trait: str
    model: str
    fingerprint: str
    """Hash of model config, dtype and sampled weights."""
    dtype: str
    device: str
    seed: int
    spec: str
    """The whole spec as canonical JSON; `run_id` is its hash."""
    request: str
    """Hash of what the user asked for, known before a model is loaded: an identical request is answered from here."""
    thresholds: str
    """The gate's config as canonical JSON."""
    thresholds_hash: str
    version: str
    """steerkit's version."""
    registered_at: str
    """UTC time, ISO 8601."""


class RunEvent(Record, frozen=True, kw_only=True):
    """A change of a run's state; the newest by `seq` is its current one."""

    seq: int
    """Nanoseconds since the epoch."""
    state: Literal["started", "finished", "failed", "interrupted"]
    detail: str
    pid: int
    host: str


class Unit(Record, frozen=True, kw_only=True):
    """A finished unit of work; its records arrived in the same atomic segment."""

    stage: str
    name: str
    seconds: float


class Vignette(Record, frozen=True, kw_only=True):
    """One vignette as it was scored in this run."""

    vignette: str
    """Id within its set."""
    foundation: str
    text: str
    set_hash: str


class Direction(Record, frozen=True, kw_only=True):
    """A fitted steering direction over a band of blocks."""

    direction_id: str
    method: str
    kind: Literal["real", "random", "shuffled"]
    config: str
    """Method config as canonical JSON."""
    artifact: str
    """sha256 of the safetensors file that holds its tensors."""
    extraction: str
    """Facts about the capture as canonical JSON: contexts, the token that was read, truncation, doubled start."""


class DirectionLayer(Record, frozen=True, kw_only=True):
    """Quality of one direction at one block."""

    direction_id: str
    block: int
    norm: float
    """Residual norm of the natural step (strength 1)."""
    relative_norm: float
    """That norm over the mean residual norm at the same token (fraction)."""
    half_split_cosine: float | None
    """Cosine between the directions of two disjoint halves of the contexts."""


class Dose(Record, frozen=True, kw_only=True):
    """Per-token KL(steered || base) over generated tokens at one strength of one direction (nats)."""

    direction_id: str
    strength: float
    tokens: int
    kl_mean: float
    kl_rmse: float
    kl_p50: float
    kl_p90: float
    kl_p95: float
    kl_max: float


class Calibration(Record, frozen=True, kw_only=True):
    """The strength at which a direction's 95th-percentile KL meets the target."""

    direction_id: str
    target: float
    """Nats."""
    strength: float | None
    """None when the ladder never reached the target: uncalibrated."""
    status: Literal["calibrated", "uncalibrated"]


class Arm(Record, frozen=True, kw_only=True):
    """One scored condition: a model state and the instrument's settings."""

    arm_id: str
    kind: ArmKind
    method: str
    """Steering method; 'none' for base and prompt."""
    direction_id: str | None
    strength: float
    """In the method's natural steps."""
    dose: float
    """Signed multiple of the calibrated strength; 0 for base and prompt."""
    eval_hash: str
    """Hash of vignettes, instrument and settings, model fingerprint, dtype, tokenizer: deltas exist only within it."""
    instrument: str
    system_prompt: str | None


class Answer(Record, frozen=True, kw_only=True):
    """Raw log-probabilities (nats, full vocabulary) of the seven answers to one vignette in one example order."""

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
    """Probability of everything but the seven answers (fraction)."""
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


class Effect(Record, frozen=True, kw_only=True):
    """A quantity of an arm, with its paired-bootstrap 95% interval over vignettes."""

    arm_id: str
    quantity: str
    value: float | None
    low: float | None
    high: float | None
    p_null: float | None
    """Share of null directions at the same dose that move at least as much (with the +1 correction)."""


class Verdict(Record, frozen=True, kw_only=True):
    """What one check of a gate said."""

    gate: str
    name: str
    kind: Literal["criterion", "hypothesis", "gate"]
    status: str
    """A criterion: 'met', 'not met' or 'not measured'; a hypothesis: a Status; a gate: an Outcome."""
    value: float | None
    threshold: float | None
    detail: str
    next_step: str


class Picture(Record, frozen=True, kw_only=True):
    """A picture written for this run."""

    name: str
    path: str
    sha256: str


ANSWER_FIELDS = ("care", "fairness", "loyalty", "authority", "sanctity", "liberty", "social_norms")
TABLES: dict[str, type[Record]] = {
    "run": Run,
    "run_event": RunEvent,
    "unit": Unit,
    "vignette": Vignette,
    "direction": Direction,
    "direction_layer": DirectionLayer,
    "dose": Dose,
    "calibration": Calibration,
    "arm": Arm,
    "answer": Answer,
    "prior": Prior,
    "completion": Completion,
    "effect": Effect,
    "verdict": Verdict,
    "picture": Picture,
}
