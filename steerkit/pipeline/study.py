"""What every pipeline is made of: units of work that are done once, remembered and reported."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import msgspec
from torch import Tensor

from steerkit.host import Host
from steerkit.inputs import VignetteText
from steerkit.personas import Persona
from steerkit.plugins import load_method
from steerkit.records import Direction, Record
from steerkit.spec import Gate2Spec, RunSpec, run_id, unit_id
from steerkit.spec_heal import Gate3Spec
from steerkit.spec_loop import LoopSpec
from steerkit.stages.fit import states
from steerkit.stages.narrate import Narrator, narrator
from steerkit.stages.steer import Fitted
from steerkit.stages.student import Student


@runtime_checkable
class Memory(Protocol):
    """What earlier, interrupted runs of the same spec left behind."""

    def recall(self, unit: str) -> list[Record] | None:
        """The records of a finished unit of work, or None."""
        ...

    def put_tensors(self, tensors: Mapping[str, Tensor]) -> str:
        """Keep tensors under their hash."""
        ...

    def get_tensors(self, sha256: str) -> dict[str, Tensor]:
        """The tensors of a hash."""
        ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """A spec with what every pipeline needs of it, loaded.

    `student`: where adapters are baked into the host, the way to take them out for a while.
    """

    spec: RunSpec | Gate2Spec | Gate3Spec | LoopSpec
    host: Host
    persona: Persona
    vignettes: tuple[VignetteText, ...]
    gate_config: Any
    student: Student | None = None


@dataclass(frozen=True)
class Step:
    """One finished unit of work. `fresh`: done now rather than remembered. `total`: units of the whole run.

    `headline`: what it showed, in a few words; empty when it showed nothing by itself.
    """

    unit_id: str
    stage: str
    name: str
    records: list[Record]
    fresh: bool
    total: int
    headline: str = ""


Work = Callable[[str], list[Record]]
"""A unit's id to its records."""
Pipeline = Callable[[Any, Memory], Iterator[Step]]
"""A job and what is left of earlier attempts at it, to its steps."""


@dataclass
class Study(ABC):
    """A pipeline under way: the records so far, and the units that made them."""

    job: Any
    memory: Memory
    run: str = ""
    records: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        """The run's id follows from its spec."""
        self.run = run_id(self.job.spec)

    @cached_property
    def reader(self) -> Narrator | None:
        """What reads narration, fitted when it is first asked for; the model must be in its base state then."""
        return narrator(self.job.host)

    def step(self, stage: str, name: str, work: Work) -> Step:
        """Do a unit of work, or remember it."""
        unit = unit_id(self.run, stage, name)
        remembered = self.memory.recall(unit)
        records = work(unit) if remembered is None else remembered
        self.records.extend(records)
        return Step(unit, stage, name, records, remembered is None, self.total(), self.headline(records))

    @abstractmethod
    def total(self) -> int:
        """How many units the run has, as far as is known."""

    @abstractmethod
    def headline(self, records: list[Record]) -> str:
        """What a unit's records show, in a few words."""


def restored(
    host: Host, directions: Sequence[Direction], get_tensors: Callable[[str], Mapping[str, Tensor]]
) -> list[Fitted]:
    """Fitted directions from their records and their tensors, which are had by hash."""
    return [
        Fitted(
            direction.direction_id,
            direction.method,
            direction.kind,
            msgspec.json.decode(direction.config, type=load_method(direction.method).Config),
            {block: on_device(host, state) for block, state in states(dict(get_tensors(direction.artifact))).items()},
        )
        for direction in directions
    ]


def own_columns(value: Any, record: type[Record]) -> dict[str, Any]:
    """The attributes of a result that are columns of a record."""
    given = {name for name in record.__struct_fields__ if name not in ("run_id", "unit_id", "gate")}
    return {name: getattr(value, name) for name in given}


def on_device(host: Host, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state's tensors where the model is."""
    return {name: tensor.to(host.device) for name, tensor in state.items()}
