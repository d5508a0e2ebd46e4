"""Run a pipeline into a store: register, resume, store every step as it comes, and say how far it is."""

import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from torch import Tensor

from steerkit import __version__
from steerkit.errors import SteerkitError, UsageError
from steerkit.inputs import VignetteText
from steerkit.lineage import find_run as find_run
from steerkit.pipeline import Job, Pipeline, Step
from steerkit.records import Adapter, HumanLabel, Record, Run, RunEvent, Unit
from steerkit.records import Vignette as VignetteRecord
from steerkit.spec import Gate2Spec, RunSpec, canonical, digest, run_id, unit_id
from steerkit.spec_heal import Gate3Spec
from steerkit.spec_loop import LoopSpec
from steerkit.stages.bake import Layered
from steerkit.store import Store

AnySpec = RunSpec | Gate2Spec | Gate3Spec | LoopSpec
Report = Callable[[Step, float], None]
"""Called after every step with the seconds it took."""


class StoredMemory:
    """What a store knows of one run, as a pipeline's memory."""

    def __init__(self, store: Store, run: str) -> None:
        self._store = store
        self._units = _by_unit(load_records(store, run))

    def recall(self, unit: str) -> list[Record] | None:
        """The records of a finished unit of work, or None."""
        return self._units.get(unit)

    def put_tensors(self, tensors: Mapping[str, Tensor]) -> str:
        """Keep tensors beside the database under their hash."""
        return self._store.put_tensors(tensors)

    def get_tensors(self, sha256: str) -> dict[str, Tensor]:
        """The tensors of a hash."""
        return self._store.get_tensors(sha256)


def load_records(store: Store, run: str) -> list[Record]:
    """Every record of one run, table by table."""
    return store.everything(run)


def layered(store: Store, adapters: Sequence[str]) -> tuple[Layered, ...]:
    """Stored adapters with their tensors, in the order asked for, whichever runs trained them.

    Raises UsageError for one that is not in the store.
    """
    found = []
    for name in adapters:
        runs = store.query("SELECT DISTINCT run_id FROM adapter WHERE adapter_id = $name", {"name": name}).rows()
        if not runs:
            raise UsageError(f"adapter {name} must be in the store, but {store.path} does not have it")
        adapter = next(a for a in store.records(Adapter, str(runs[0][0])) if a.adapter_id == name)
        found.append(Layered(adapter, store.get_tensors(adapter.artifact)))
    return tuple(found)


def _by_unit(records: list[Record]) -> dict[str, list[Record]]:
    """Finished units only: a unit whose `Unit` record is missing never happened."""
    finished = {record.unit_id for record in records if isinstance(record, Unit)}
    found: dict[str, list[Record]] = {unit: [] for unit in finished}
    for record in records:
        if record.unit_id in finished and not isinstance(record, Unit):
            found[record.unit_id].append(record)
    return found


def execute(store: Store, pipeline: Pipeline, job: Job, request: str, report: Report) -> str:
    """Run a pipeline, storing each step; what an interrupted run finished is not done again. Returns the run's id.

    Raises UsageError when another process is running the same spec into this store.
    """
    run = run_id(job.spec)
    with _alone(store, run), store.ingesting():
        memory = StoredMemory(store, run)
        store.append([*_registration(job, run, request, memory), event(run, "started", "")])
        try:
            for step, seconds in _timed(pipeline(job, memory)):
                if step.fresh:
                    done = Unit(run_id=run, unit_id=step.unit_id, stage=step.stage, name=step.name, seconds=seconds)
                    store.append([*step.records, done])
                report(step, seconds)
        except KeyboardInterrupt:
            store.append([event(run, "interrupted", "")])
            raise
        except SteerkitError as error:
            store.append([event(run, "failed", str(error))])
            raise
        store.append([event(run, "finished", "")])
    return run


def _timed(steps: Iterator[Step]) -> Iterator[tuple[Step, float]]:
    start = time.perf_counter()
    for step in steps:
        yield step, time.perf_counter() - start
        start = time.perf_counter()


def _registration(job: Job, run: str, request: str, memory: StoredMemory) -> list[Record]:
    """The run, its thresholds and its vignettes, before any data exist; nothing when registered before."""
    unit = unit_id(run, "register")
    if memory.recall(unit) is not None:
        return []
    spec = job.spec
    run_record = registered(spec, job.host.device, request, canonical(job.gate_config))
    vignettes: list[Record] = []
    if isinstance(spec, RunSpec):
        vignettes = vignette_records(run, unit, spec.vignettes_hash, job.vignettes)
    return [run_record, *vignettes, Unit(run_id=run, unit_id=unit, stage="register", name="", seconds=0.0)]


def registered(spec: AnySpec, device: str, request: str, thresholds: str) -> Run:
    """A spec as a run, registered now; `request`: hash of what was asked, `thresholds`: canonical JSON."""
    run = run_id(spec)
    return Run(
        run_id=run,
        unit_id=unit_id(run, "register"),
        gate=spec.gate,
        method=spec.method,
        trait=spec.trait,
        model=spec.model,
        fingerprint=spec.fingerprint,
        dtype=spec.dtype,
        device=device,
        seed=spec.seed,
        spec=canonical(spec),
        request=request,
        thresholds=thresholds,
        thresholds_hash=digest(thresholds),
        version=__version__,
        registered_at=datetime.now(UTC).isoformat(timespec="seconds"),
        parent_run=_parent(spec),
    )


def _parent(spec: AnySpec) -> str | None:
    """The run that a run goes on from; a loop goes on from none, its ledger names the runs of its rounds."""
    if isinstance(spec, LoopSpec):
        return None
    if isinstance(spec, Gate2Spec | Gate3Spec):
        return spec.parent_run
    return spec.root_run or spec.vector_run or None


def vignette_records(run: str, unit: str, set_hash: str, vignettes: Sequence[VignetteText]) -> list[Record]:
    """The vignettes as a run shows them, and how people answered them where that is known."""
    own = {"run_id": run, "unit_id": unit}
    return [
        *(
            VignetteRecord(**own, set_hash=set_hash, vignette=v.id, foundation=v.foundation, text=v.text)
            for v in vignettes
        ),
        *(
            HumanLabel(**own, vignette=v.id, foundation=name, share=share)
            for v in vignettes
            for name, share in (v.human or {}).items()
        ),
    ]


def event(run: str, state: str, detail: str) -> RunEvent:
    """A change of a run's state, now."""
    return RunEvent(
        run_id=run,
        unit_id=unit_id(run, "event"),
        seq=time.time_ns(),
        state=state,  # type: ignore[arg-type]
        detail=detail,
        pid=os.getpid(),
        host=platform.node(),
    )


@contextmanager
def _alone(store: Store, run: str) -> Iterator[None]:
    """Hold the run's lock; the kernel drops it when the process dies."""
    folder = store.folder / "running"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / run).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"run {run} is being written by another process into {store.path}; wait for it, or use another --store"
            ) from None
        yield
