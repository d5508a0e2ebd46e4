"""Answers a request: from the store when it has the answer, else by loading the model and running the pipeline."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from steerkit.document import document
from steerkit.errors import StoreLocked
from steerkit.pictures import pareto, save
from steerkit.pipeline import Job, Step
from steerkit.records import Picture
from steerkit.request import Gate1Request
from steerkit.runner import execute, load_records
from steerkit.spec import RunSpec, unit_id
from steerkit.store import Store


@runtime_checkable
@runtime_checkable
class Narrates(Protocol):
    """Whoever tells the user how far it is."""

    def say(self, text: str) -> None:
        """One line."""
        ...

    def step(self, step: Step, seconds: float) -> None:
        """A finished unit of work."""
        ...


def answer(request: Gate1Request, path: Path, *, resume: bool, again: bool, narrator: Narrates) -> dict[str, Any]:
    """The run's document. An identical finished request is answered without a model unless `again`."""
    store = Store(path)
    store.check()
    if store.folder.exists():
        with suppress(StoreLocked):
            store.ingest()
    asked = request.hash()
    attempts = _attempts(store, asked)
    finished = [run for run, (_, state) in attempts.items() if state == "finished"]
    if finished and not again:
        narrator.say(f"run {finished[-1]} has answered this before; --again runs it once more")
        return published(store, finished[-1])
    return published(store, _run(request, store, asked, _attempt(attempts, resume=resume, again=again), narrator))


def published(store: Store, run: str) -> dict[str, Any]:
    """A stored run as a document, its pictures drawn."""
    records = load_records(store, run)
    draft = document(records, str(store.path), [])
    known = [Path(record.path) for record in records if isinstance(record, Picture)]
    if not known or not all(path.is_file() for path in known):
        drawn = save(pareto(draft), store.pictures, f"{draft['gate']}-{draft['method']}-{run}")
        if [str(path) for path in drawn] != [str(path) for path in known]:
            store.append([_picture(run, path) for path in drawn])
            store.ingest()
        known = drawn
    return {**draft, "pictures": [str(path) for path in known]}


def _run(request: Gate1Request, store: Store, asked: str, attempt: int, narrator: Narrates) -> str:
    from steerkit.host import load

    name = request.asked["model"]
    host = load(
        name, request.asked["dtype"], request.asked["device"], trust_remote_code=request.asked["trust_remote_code"]
    )
    narrator.say(f"model {name} from {host.source}, {host.dtype} on {host.device}")
    job = Job(
        spec=request.spec(host.fingerprint, host.dtype, attempt),
        host=host,
        persona=request.persona,
        vignettes=request.vignettes,
        contexts=request.contexts,
        dilemmas=request.dilemmas,
        method_config=request.method_config,
        instrument_config=request.instrument_config,
        gate_config=request.gate_config,
    )
    return execute(store, job, asked, narrator.step)


def _attempts(store: Store, request: str) -> dict[str, tuple[int, str]]:
    """Earlier runs of this request, oldest first: run id to (attempt, state)."""
    if not store.path.exists():
        return {}
    sql = """
        SELECT run.run_id, run.spec, run_state.state FROM run JOIN run_state USING (run_id)
        WHERE run.request = $request ORDER BY run.registered_at, run.run_id
    """
    rows = store.query(sql, {"request": request}).iter_rows()
    return {run: (msgspec.json.decode(spec, type=RunSpec).attempt, state) for run, spec, state in rows}


def _attempt(attempts: dict[str, tuple[int, str]], *, resume: bool, again: bool) -> int:
    """Which repetition to run: an unfinished one goes on, a new one counts up."""
    unfinished = [attempt for attempt, state in attempts.values() if state != "finished"]
    if unfinished and (resume or not again):
        return unfinished[-1]
    return max((attempt for attempt, _ in attempts.values()), default=-1) + 1


def _picture(run: str, path: Path) -> Picture:
    import hashlib

    return Picture(
        run_id=run,
        unit_id=unit_id(run, "picture"),
        name=path.name,
        path=str(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
