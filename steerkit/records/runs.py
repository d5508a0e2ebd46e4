"""What was asked, how far it got and what a gate said of it."""

from typing import Literal

from steerkit.records.base import Record

Status = Literal["observed", "not observed", "not measured"]
Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]
SYNTHETIC = "synthetic"
"""The name of a model that does not exist: a run of it was made up (steerkit demo)."""


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
    parent_run: str | None = None
    """The run this one goes on from: gate 2 from gate 1."""


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


class Verdict(Record, frozen=True, kw_only=True):
    """What one check of a gate said."""

    gate: str
    name: str
    kind: Literal["criterion", "hypothesis", "label", "gate"]
    status: str
    """A criterion: 'met', 'not met' or 'not measured'; a hypothesis: a Status; a gate: an Outcome; a label: itself."""
    value: float | None
    threshold: float | None
    detail: str
    next_step: str


class Picture(Record, frozen=True, kw_only=True):
    """A picture written for this run."""

    name: str
    path: str
    sha256: str
