"""Turns a request and a loaded model into a pipeline's job: every name resolved, every earlier record read."""

from collections.abc import Sequence
from typing import Any

from steerkit.errors import UsageError
from steerkit.host import Host, chat_ids
from steerkit.imports import made_for
from steerkit.inputs import VignetteText, drawn_prompts
from steerkit.pipeline import Gate1Job, Gate2Job, Gate3Job
from steerkit.pipeline.compare import CompareJob
from steerkit.pipeline.layers import ScanJob
from steerkit.pipeline.study import restored
from steerkit.plugins import load as plugin
from steerkit.records import Capture, Prior, Record, Vignette
from steerkit.request import Gate1Request, configured
from steerkit.request_compare import CompareRequest, ContestRequest, ScanRequest
from steerkit.request_gate2 import Gate2Request
from steerkit.request_gate3 import Gate3Request
from steerkit.rounds import direction_of
from steerkit.runner import layered
from steerkit.stages.assemble import only
from steerkit.stages.student import Student
from steerkit.store import Store


def gate1_job(request: Gate1Request, host: Host, attempt: int, store: Store, student: Student | None) -> Gate1Job:
    """Of gate 1, on a student where the request names a history."""
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
        prior=tuple(store.records(Prior, request.root)) if student else (),
        vector=made_for(host, request.vector, request.capture) if request.vector else None,
        first=direction_of(host, store, request.root) if student else None,
        student=student,
    )


def compare_job(request: CompareRequest, host: Host, attempt: int, store: Store) -> CompareJob:
    """Of a comparison."""
    spec = request.spec(host.fingerprint, host.dtype, attempt)
    return CompareJob(**_contested(request, host, store), spec=spec, method_configs=request.method_configs)


def scan_job(request: ScanRequest, host: Host, attempt: int, store: Store) -> ScanJob:
    """Of a scan over bands of blocks."""
    spec = request.spec(host.fingerprint, host.dtype, attempt)
    return ScanJob(**_contested(request, host, store), spec=spec, method_config=request.method_configs[spec.method])


def _contested(request: ContestRequest, host: Host, store: Store) -> dict[str, Any]:
    """What a comparison and a scan are given alike."""
    return {
        "host": host,
        "persona": request.persona,
        "vignettes": request.vignettes,
        "contexts": request.contexts,
        "instrument_config": request.instrument_config,
        "gate_config": request.gate_config,
        "captures": _captures(store, host),
    }


def _captures(store: Store, host: Host) -> dict[str, Capture]:
    """Activations of this model that earlier runs captured, by id."""
    if not store.path.exists():
        return {}
    sql = "SELECT DISTINCT run_id FROM capture JOIN run USING (run_id) WHERE fingerprint = $model"
    runs = [str(run) for (run,) in store.query(sql, {"model": host.fingerprint}).iter_rows()]
    return {one.capture_id: one for run in sorted(runs) for one in store.records(Capture, run)}


def gate2_job(request: Gate2Request, host: Host, attempt: int, store: Store, student: Student | None) -> Gate2Job:
    """Of gate 2. Raises UsageError for another model than gate 1's, or a prompt that leaves no room for an answer."""
    parent, spec = request.known(), request.spec(attempt)
    _need_same(host, parent.spec.fingerprint, parent.run.run_id)
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
        student=student,
    )


def gate3_job(request: Gate3Request, host: Host, attempt: int, store: Store) -> Gate3Job:
    """Of gate 3, or of a sweep. Raises UsageError for another model than gate 2's."""
    found, spec = request.known(), request.spec(attempt)
    parent = found.parent
    _need_same(host, found.spec.fingerprint, found.run.run_id)
    real, *nulls = restored(host, [parent.direction(), *parent.random_directions()], store.get_tensors)
    return Gate3Job(
        spec=spec,
        host=host,
        persona=request.persona(),
        vignettes=_scored(found.gate1),
        gate_config=request.gate_config,
        gate1_spec=parent.spec,
        gate2_spec=found.spec,
        root=found.root,
        gate1=found.gate1,
        gate2=found.records,
        instrument_config=configured(
            plugin("instruments", parent.spec.instrument).Config, parent.spec.instrument_config, "instrument"
        ),
        direction=real,
        unit_strength=parent.strengths.get(real.direction_id, 1.0),
        nulls=tuple((null, parent.strengths[null.direction_id]) for null in nulls),
        history=layered(store, spec.history),
        prompts=request.seen(),
        held_out=request.unseen(),
        gate1_verdict=parent.verdict,
        gate2_verdict=found.verdict,
    )


def _scored(records: Sequence[Record]) -> tuple[VignetteText, ...]:
    """The vignettes a run scored, as it scored them."""
    return tuple(VignetteText(id=v.vignette, foundation=v.foundation, text=v.text) for v in only(Vignette, records))


def _need_same(host: Host, fingerprint: str, run: str) -> None:
    if host.fingerprint != fingerprint:
        raise UsageError(
            f"the model must be the one of run {run}, but {host.name!r} has changed since: fingerprint "
            f"{host.fingerprint}, then {fingerprint}; run the gates before this one again"
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
