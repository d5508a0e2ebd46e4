"""Answers a request: from the store when it has the answer, else by loading the model and running the pipeline."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from steerkit.document import document
from steerkit.document_compare import document_compare
from steerkit.document_gate2 import document_gate2
from steerkit.document_gate3 import document_gate3
from steerkit.document_layers import document_layers
from steerkit.document_loop import document_loop
from steerkit.document_sweep import document_sweep
from steerkit.errors import StoreLocked, UsageError
from steerkit.host import Host, load
from steerkit.jobs import compare_job, gate1_job, gate2_job, gate3_job, scan_job
from steerkit.pictures.compare import contest, heat
from steerkit.pictures.gates import healing, pareto, progress, survival
from steerkit.pictures.look import save
from steerkit.pipeline import Step, compare, gate1, gate2, gate3, layers, loop, sweep
from steerkit.records import Picture, Record, Run, Verdict
from steerkit.request import Gate1Request
from steerkit.request_compare import CompareRequest, ScanRequest
from steerkit.request_gate2 import Gate2Request, Parent
from steerkit.request_gate3 import Collected, Gate3Request, need_finished, need_gate2
from steerkit.request_loop import LoopRequest
from steerkit.request_sweep import SweepRequest
from steerkit.rounds import Player
from steerkit.runner import execute, find_run, layered, load_records
from steerkit.spec import Gate2Spec, RunSpec, unit_id
from steerkit.spec_heal import Gate3Spec
from steerkit.stages.assemble import only
from steerkit.stages.bake import stack
from steerkit.stages.student import Student, student
from steerkit.store import Store

Question = Gate1Request | Gate2Request | Gate3Request
Request = Question | LoopRequest | CompareRequest | ScanRequest
Make = Callable[[Sequence[Record], str, Sequence[str]], dict[str, Any]]
SHOWN: dict[str, tuple[Make, Callable[[Mapping[str, Any]], Any] | None]] = {
    "gate1": (document, pareto),
    "gate2": (document_gate2, survival),
    "gate3": (document_gate3, healing),
    "gate4": (document_loop, progress),
    "sweep": (document_sweep, None),
    "compare": (document_compare, contest),
    "layers": (document_layers, heat),
}
"""Each gate's document and picture."""


SCANNED = """
    SELECT first_block, last_block, run_id FROM band
    JOIN run USING (run_id) JOIN run_state USING (run_id)
    WHERE chosen AND state = 'finished' AND method = $method AND trait = $trait AND model = $model
    ORDER BY registered_at DESC, run_id LIMIT 1
"""
"""What the newest finished scan chose."""


@runtime_checkable
class Narrates(Protocol):
    """Whoever tells the user how far it is."""

    def say(self, text: str) -> None:
        """One line."""
        ...

    def begin(self, text: str) -> None:
        """One line, from which on steps are counted anew."""
        ...

    def step(self, step: Step, seconds: float) -> None:
        """A finished unit of work."""
        ...


def answer(
    request: Request, path: Path, *, resume: bool, again: bool, narrator: Narrates, loaded: Host | None = None
) -> dict[str, Any]:
    """The run's document. An identical finished request is answered without a model unless `again`.

    `loaded`: the model, where it is in memory already.
    """
    store = opened(path)
    asked = request.hash()
    attempts = _attempts(store, asked)
    finished = [run for run, (_, state) in attempts.items() if state == "finished"]
    if finished and not again:
        narrator.say(f"run {finished[-1]} has answered this before; --again runs it once more")
        return published(store, finished[-1])
    attempt = _attempt(attempts, resume=resume, again=again)
    return published(store, _run(request, store, asked, attempt, narrator, loaded))


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


def steered_blocks(path: Path, text: str, asked: Mapping[str, Any]) -> tuple[str, str]:
    """Blocks as a setting, and in words where they come from: FIRST-LAST, or those that a stored scan chose.

    Raises UsageError for another text, or where no finished scan of that method, trait and model chose any.
    """
    named = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if named:
        first, last = named[1], named[2] or named[1]
        return f"capture.blocks={first},{last}", f"blocks {first} to {last}, as asked for"
    if text != "stored":
        raise UsageError(f"--blocks must be FIRST-LAST, such as 14-18, or stored, but got {text!r}")
    store = opened(path)
    about = {name: asked[name] for name in ("method", "trait", "model")}
    rows = store.query(SCANNED, about).rows() if store.path.exists() else []
    if not rows:
        raise UsageError(
            f"--blocks stored needs a finished scan, but {path} has none of {about['method']} for {about['trait']} on "
            f"{about['model']} that chose a band; run `steerkit layers --method {about['method']}` first"
        )
    first, last, run = rows[0]
    return f"capture.blocks={first},{last}", f"blocks {first} to {last}, chosen by scan {run}"


def gate_of(path: Path, prefix: str) -> str:
    """Which gate the run whose id begins so serves.

    Raises UsageError when there is none, or more than one.
    """
    store = opened(path)
    return only(Run, store.records(Run, find_run(store, prefix)))[0].gate


def collected_run(path: Path, prefix: str) -> Collected:
    """The finished run of gate 2 whose id begins so, with the runs before it.

    Raises UsageError when there is none, or more than one.
    """
    store = opened(path)
    records = load_records(store, find_run(store, prefix))
    need_gate2(records)
    spec = msgspec.json.decode(only(Run, records)[0].spec, type=Gate2Spec)
    gate1 = load_records(store, spec.parent_run)
    root = msgspec.json.decode(only(Run, gate1)[0].spec, type=RunSpec).root_run
    return Collected.of(records, gate1, load_records(store, root) if root else gate1)


def trained_run(path: Path, prefix: str) -> tuple[Collected, str, Gate3Spec | None]:
    """What a run of gate 3 trained on, its id and its spec; of a run of gate 2, what can be trained on.

    Raises UsageError for any other run, or an unfinished one.
    """
    store = opened(path)
    name = find_run(store, prefix)
    run = only(Run, store.records(Run, name))[0]
    if run.gate != "gate3":
        return collected_run(path, name), "", None
    need_finished(store.records(Verdict, name), run, "gate3")
    spec = msgspec.json.decode(run.spec, type=Gate3Spec)
    return collected_run(path, spec.parent_run), name, spec


def published(store: Store, run: str) -> dict[str, Any]:
    """A stored run as a document, its pictures drawn."""
    records = load_records(store, run)
    make, draw = SHOWN[only(Run, records)[0].gate]
    draft = make(records, str(store.path), [])
    if draw is None:
        return draft
    known = [Path(record.path) for record in records if isinstance(record, Picture)]
    if not known or not all(path.is_file() for path in known):
        drawn = save(draw(draft), store.pictures, f"{draft['gate']}-{draft['method']}-{run}")
        if [str(path) for path in drawn] != [str(path) for path in known]:
            store.append([_picture(run, path) for path in drawn])
            store.ingest()
        known = drawn
    return {**draft, "pictures": [str(path) for path in known]}


def _run(
    request: Request, store: Store, asked: str, attempt: int, narrator: Narrates, loaded: Host | None = None
) -> str:
    host = loaded or model_of(request, narrator)
    if isinstance(request, LoopRequest):
        return _run_loop(request, host, store, asked, attempt, narrator)
    if isinstance(request, CompareRequest):
        return execute(store, compare, compare_job(request, host, attempt, store), asked, narrator.step)
    if isinstance(request, ScanRequest):
        return execute(store, layers, scan_job(request, host, attempt, store), asked, narrator.step)
    if isinstance(request, Gate1Request):
        with as_student(host, store, request.history) as made:
            return execute(store, gate1, gate1_job(request, host, attempt, store, made), asked, narrator.step)
    if isinstance(request, Gate2Request):
        with as_student(host, store, request.known().spec.history) as made:
            return execute(store, gate2, gate2_job(request, host, attempt, store, made), asked, narrator.step)
    # Gate 3 makes its students itself, one after another.
    pipeline = sweep if isinstance(request, SweepRequest) else gate3
    return execute(store, pipeline, gate3_job(request, host, attempt, store), asked, narrator.step)


def _run_loop(request: LoopRequest, host: Host, store: Store, asked: str, attempt: int, narrator: Narrates) -> str:
    """A loop is a run whose units are rounds, and a round is made of runs with the loop's own attempt."""

    def answered(question: Question, named: str) -> str:
        attempts = _attempts(store, question.hash()).items()
        done = [run for run, (number, state) in attempts if number == attempt and state == "finished"]
        narrator.begin(f"{named}: run {done[-1]} has it" if done else named)
        return done[-1] if done else _run(question, store, question.hash(), attempt, narrator, host)

    def said(step: Step, seconds: float) -> None:
        narrator.say(f"{step.stage} {step.name} is done{': ' + step.headline if step.headline else ''}")

    return execute(store, loop, Player(request, store, host, answered).job(attempt), asked, said)


def model_of(request: Request, narrator: Narrates) -> Host:
    """The model a request is about, loaded."""
    name, dtype = request.model()
    host = load(name, dtype, request.asked["device"], trust_remote_code=request.asked["trust_remote_code"])
    narrator.say(f"model {name} from {host.source}, {host.dtype} on {host.device}")
    return host


@contextmanager
def as_student(host: Host, store: Store, history: Sequence[str]) -> Iterator[Student | None]:
    """The model with those adapters baked in; None where there are none."""
    if not history:
        yield None
        return
    with student(host, stack(host, layered(store, history))) as made:
        yield made


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
