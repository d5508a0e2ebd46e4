"""Answers a request: from the store when it has the answer, else by loading the model and running the pipeline."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from steerkit.document import document
from steerkit.document_gate2 import document_gate2
from steerkit.errors import StoreLocked, UsageError
from steerkit.host import Host, chat_ids, load
from steerkit.pictures import pareto, save, survival
from steerkit.pipeline import Gate1Job, Gate2Job, Step, gate1, gate2
from steerkit.pipeline.gate2 import drawn_prompts
from steerkit.pipeline.study import restored
from steerkit.records import Picture, Run
from steerkit.request import Gate1Request
from steerkit.request_gate2 import Gate2Request, Parent
from steerkit.runner import execute, find_run, load_records
from steerkit.spec import unit_id
from steerkit.stages.assemble import only
from steerkit.store import Store

Request = Gate1Request | Gate2Request


@runtime_checkable
class Narrates(Protocol):
    """Whoever tells the user how far it is."""

    def say(self, text: str) -> None:
        """One line."""
        ...

    def step(self, step: Step, seconds: float) -> None:
        """A finished unit of work."""
        ...


def answer(request: Request, path: Path, *, resume: bool, again: bool, narrator: Narrates) -> dict[str, Any]:
    """The run's document. An identical finished request is answered without a model unless `again`."""
    store = opened(path)
    asked = request.hash()
    attempts = _attempts(store, asked)
    finished = [run for run, (_, state) in attempts.items() if state == "finished"]
    if finished and not again:
        narrator.say(f"run {finished[-1]} has answered this before; --again runs it once more")
        return published(store, finished[-1])
    return published(store, _run(request, store, asked, _attempt(attempts, resume=resume, again=again), narrator))


def opened(path: Path) -> Store:
    """The store, with what waits in its spool taken in; nothing is made where there is none yet."""
    store = Store(path)
    store.check()
    if store.folder.exists():
        with suppress(StoreLocked):
            store.ingest()
    return store


def parent_run(path: Path, prefix: str) -> Parent:
    """The finished run of gate 1 whose id begins so.

    Raises UsageError when there is none, or more than one.
    """
    store = opened(path)
    return Parent.of(load_records(store, find_run(store, prefix)))


def published(store: Store, run: str) -> dict[str, Any]:
    """A stored run as a document, its pictures drawn."""
    records = load_records(store, run)
    gate = only(Run, records)[0].gate
    draft = document(records, str(store.path), []) if gate == "gate1" else document_gate2(records, str(store.path), [])
    known = [Path(record.path) for record in records if isinstance(record, Picture)]
    if not known or not all(path.is_file() for path in known):
        chart = pareto(draft) if gate == "gate1" else survival(draft)
        drawn = save(chart, store.pictures, f"{draft['gate']}-{draft['method']}-{run}")
        if [str(path) for path in drawn] != [str(path) for path in known]:
            store.append([_picture(run, path) for path in drawn])
            store.ingest()
        known = drawn
    return {**draft, "pictures": [str(path) for path in known]}


def _run(request: Request, store: Store, asked: str, attempt: int, narrator: Narrates) -> str:
    given = request.asked
    name = given["model"] if isinstance(request, Gate1Request) else request.known().spec.model
    # Gate 2 goes on with exactly the numbers of gate 1, so it takes its dtype.
    dtype = given["dtype"] if isinstance(request, Gate1Request) else request.known().spec.dtype
    host = load(name, dtype, given["device"], trust_remote_code=given["trust_remote_code"])
    narrator.say(f"model {name} from {host.source}, {host.dtype} on {host.device}")
    if isinstance(request, Gate1Request):
        return execute(store, gate1, _gate1_job(request, host, attempt), asked, narrator.step)
    return execute(store, gate2, _gate2_job(request, host, attempt, store), asked, narrator.step)


def _gate1_job(request: Gate1Request, host: Host, attempt: int) -> Gate1Job:
    return Gate1Job(
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


def _gate2_job(request: Gate2Request, host: Host, attempt: int, store: Store) -> Gate2Job:
    """Raises UsageError for another model than gate 1's, or a prompt that leaves no room for an answer."""
    parent, spec = request.known(), request.spec(attempt)
    if host.fingerprint != parent.spec.fingerprint:
        raise UsageError(
            f"the model must be the one of run {parent.run.run_id}, but {host.name!r} has changed since: fingerprint "
            f"{host.fingerprint}, then {parent.spec.fingerprint}; run gate1 again"
        )
    _need_room(host, request)
    real, *nulls = restored(host, [parent.direction(), *parent.random_directions()], store.get_tensors)
    return Gate2Job(
        spec=spec,
        host=host,
        persona=request.persona(),
        vignettes=(),
        gate_config=request.gate_config,
        prompts=drawn_prompts(request.dilemmas, spec.texts.prompts, spec.seed),
        direction=real,
        unit_strength=parent.strengths.get(real.direction_id, 1.0),
        nulls=tuple((null, parent.strengths[null.direction_id]) for null in nulls),
        gate1_verdict=parent.verdict,
    )


def _need_room(host: Host, request: Gate2Request) -> None:
    limit = host.model.config.get_text_config().max_position_embeddings
    for prompt in request.dilemmas:
        tokens = len(chat_ids(host, prompt.text)) + request.texts.length
        if tokens > limit:
            raise UsageError(
                f"every prompt with its answer must fit the model's {limit} tokens, but {prompt.id!r} needs {tokens}; "
                "shorten it, or lower texts.length"
            )


def _attempts(store: Store, request: str) -> dict[str, tuple[int, str]]:
    """Earlier runs of this request, oldest first: run id to (attempt, state)."""
    if not store.path.exists():
        return {}
    sql = """
        SELECT run.run_id, run.spec, run_state.state FROM run JOIN run_state USING (run_id)
        WHERE run.request = $request ORDER BY run.registered_at, run.run_id
    """
    rows = store.query(sql, {"request": request}).iter_rows()
    return {run: (int(msgspec.json.decode(spec)["attempt"]), state) for run, spec, state in rows}


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
