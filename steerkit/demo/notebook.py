"""What a run of the synthetic store wrote down: its records in order, with ids and times that follow from its spec."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from steerkit import __version__
from steerkit.demo.marks import MARK
from steerkit.inputs import VignetteText
from steerkit.pipeline.study import own_columns
from steerkit.records import SYNTHETIC, Effect, Record, Run, RunEvent, Unit, Verdict, Vignette
from steerkit.spec import canonical, digest, run_id, unit_id

if TYPE_CHECKING:
    import polars

FIRST = datetime(2026, 1, 5, 8, tzinfo=UTC).timestamp()
"""When the first run began (seconds since the epoch)."""
GAP = 1800.0
"""From one run's beginning to the next one's (seconds)."""


@dataclass
class Notebook:
    """One run under way; `number` says where among the others it stands, `chance` decides everything that varies."""

    spec: Any
    number: int
    chance: np.random.Generator
    vignettes: Sequence[VignetteText] = ()
    parent: str | None = None
    records: list[Record] = field(default_factory=list)
    many: dict[type[Record], list["polars.DataFrame"]] = field(default_factory=dict)
    clock: float = 0.0

    def __post_init__(self) -> None:
        """Register the run with its thresholds, before anything else of it."""
        self.run = run_id(self.spec)[: -len(MARK)] + MARK
        self.began = FIRST + self.number * GAP
        own, spec = self.unit("register", "", 0.0), self.spec
        thresholds = canonical(spec.gate_config)
        registered = Run(
            **own,
            gate=spec.gate,
            method=spec.method,
            trait=spec.trait,
            model=spec.model,
            fingerprint=spec.fingerprint,
            dtype=spec.dtype,
            device="cpu",
            seed=spec.seed,
            spec=canonical(spec),
            request=digest(SYNTHETIC, spec),
            thresholds=thresholds,
            thresholds_hash=digest(thresholds),
            version=__version__,
            registered_at=datetime.fromtimestamp(self.began, UTC).isoformat(timespec="seconds"),
            parent_run=self.parent,
        )
        self.records += [registered, *(_vignette(own, each, spec) for each in self.vignettes), self._event("started")]

    def unit(self, stage: str, name: str, seconds: float) -> dict[str, Any]:
        """A unit of work of about so many seconds: the ids that its records carry."""
        own = {"run_id": self.run, "unit_id": unit_id(self.run, stage, name)}
        took = round(float(seconds * self.chance.uniform(0.8, 1.25)), 3)
        self.records.append(Unit(**own, stage=stage, name=name, seconds=took))
        self.clock += took
        return own

    def add(self, *records: Record) -> None:
        """Write records down."""
        self.records += records

    def add_many(self, kind: type[Record], rows: "polars.DataFrame") -> None:
        """Write thousands of records of a kind down."""
        self.many.setdefault(kind, []).append(rows)

    def judged(self, judgement: Any, gate: str, own: dict[str, Any]) -> None:
        """What a gate's own checks say of all this."""
        self.add(*(Effect(**own, **own_columns(effect, Effect)) for effect in judgement.effects))
        self.add(*(Verdict(**own, gate=gate, **own_columns(said, Verdict)) for said in judgement.verdicts))

    def finish(self) -> None:
        """The run is over."""
        self.add(self._event("finished"))

    def frames(self) -> dict[type[Record], "polars.DataFrame"]:
        """What was written down by the thousand."""
        import polars

        return {kind: polars.concat(parts) for kind, parts in self.many.items()}

    def _event(self, state: Any) -> RunEvent:
        own = {"run_id": self.run, "unit_id": unit_id(self.run, "event")}
        seq = int((self.began + self.clock) * 1e9) + 1
        return RunEvent(**own, seq=seq, state=state, detail="made up, by steerkit demo", pid=0, host=SYNTHETIC)


def moved(records: Sequence[Record], own: dict[str, Any]) -> list[Record]:
    """The records as another run's own."""
    return [replace(record, **own) for record in records]


def _vignette(own: dict[str, Any], vignette: VignetteText, spec: Any) -> Vignette:
    return Vignette(
        **own,
        vignette=vignette.id,
        foundation=vignette.foundation,
        text=vignette.text,
        set_hash=spec.vignettes_hash,
    )
