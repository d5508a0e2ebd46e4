"""Directions that travel: files taken into a store, a store's directions given out, and both held against a model."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from steerkit import __version__
from steerkit.errors import UsageError
from steerkit.host import Host
from steerkit.host.load import architecture
from steerkit.host.places import block_of
from steerkit.pipeline.study import on_device
from steerkit.records import Calibration, Direction, Run, Unit
from steerkit.runner import event, find_run
from steerkit.spec import CaptureSpec, canonical, digest, run_id, unit_id
from steerkit.spec_import import ImportSpec
from steerkit.stages.capture import band
from steerkit.stages.fit import states, tensors
from steerkit.stages.steer import Fitted
from steerkit.store import Store
from steerkit.vectors import read
from steerkit.vectors.base import IMPORTED, Vector, added, vectors_of


def brought(store: Store, named: str) -> tuple[Vector, str]:
    """A vector and its run: the file of that name, taken in, or the direction of the run whose id begins so.

    Raises UsageError for a name that is neither.
    """
    path = Path(named)
    if path.is_file():
        vector = read(path)
        return vector, take_in(store, vector, path)
    if not store.path.exists():
        raise UsageError(
            f"a vector must be a file or the beginning of a run's id, but {named!r} is no file, and there is no store "
            f"{store.path}"
        )
    run = find_run(store, named)
    return direction_of_run(store, run), run


def take_in(store: Store, vector: Vector, path: Path) -> str:
    """Keep a file's vector as the direction of a run of its own, once; returns that run's id."""
    spec = ImportSpec(
        method=vector.method,
        config=vector.config,
        form=vector.form,
        file=hashlib.sha256(path.read_bytes()).hexdigest(),
        tensors=store.put_tensors(tensors(vector.fitted(""))),
        model=vector.model,
        model_type=vector.model_type,
        fingerprint=vector.fingerprint,
        dtype=vector.dtype,
        depth=vector.depth,
        origin=vector.origin,
    )
    run = run_id(spec)
    if not store.units(run):
        store.append([*_records(store, spec, run, path.name), event(run, "finished", "")])
    store.ingest()
    return run


def _records(store: Store, spec: ImportSpec, run: str, file: str) -> list[Run | Direction | Unit]:
    unit, origin = unit_id(run, "import"), str(spec.origin.get("run_id", ""))
    registered = Run(
        run_id=run,
        unit_id=unit,
        gate=spec.gate,
        method=spec.method,
        trait=str(spec.origin.get("trait", "")),
        model=spec.model,
        fingerprint=spec.fingerprint,
        dtype=spec.dtype,
        device="",
        seed=0,
        spec=canonical(spec),
        request=digest(spec),
        thresholds="{}",
        thresholds_hash=digest("{}"),
        version=__version__,
        registered_at=datetime.now(UTC).isoformat(timespec="seconds"),
        parent_run=origin if origin and store.path.exists() and store.records(Run, origin) else None,
    )
    direction = Direction(
        run_id=run,
        unit_id=unit,
        direction_id=digest(run, spec.method, "real"),
        method=spec.method,
        kind="real",
        config=canonical(spec.config),
        artifact=spec.tensors,
        extraction="{}",
    )
    return [registered, direction, Unit(run_id=run, unit_id=unit, stage="import", name=file, seconds=0.0)]


def direction_of_run(store: Store, run: str) -> Vector:
    """The direction of a run of gate 1, or of an import, as a vector that knows where it comes from.

    Raises UsageError for a run that has none.
    """
    made = store.records(Run, run)[0]
    found = [direction for direction in store.records(Direction, run) if direction.kind == "real"]
    if not found:
        raise UsageError(
            f"a vector comes from a run of gate 1 or an import, but {run} is of {made.gate}; name its parent"
        )
    direction = found[0]
    origin: dict[str, Any] = {
        "run_id": run,
        "direction_id": direction.direction_id,
        "trait": made.trait,
        "version": made.version,
    }
    calibrated = [c for c in store.records(Calibration, run) if c.direction_id == direction.direction_id and c.strength]
    if calibrated:
        origin |= {"strength_at_dose_1": calibrated[0].strength, "dose_1_nats": calibrated[0].target}
    vector = Vector(
        form="store",
        method=direction.method,
        config=msgspec.json.decode(direction.config),
        states=states(store.get_tensors(direction.artifact)),
        model=made.model,
        fingerprint=made.fingerprint,
        dtype=made.dtype,
        origin=origin,
    )
    if made.gate != "import":
        return vector
    spec = msgspec.json.decode(made.spec, type=ImportSpec)
    return replace(vector, model_type=spec.model_type, depth=spec.depth, origin=spec.origin | {"run_id": run})


def made_for(host: Host, vector: Vector, capture: CaptureSpec) -> Fitted:
    """The vector as a direction on this model.

    Raises UsageError for a vector of another model, as far as can be told, or one without a block inside the band.
    """
    _need_model(host, vector)
    depth, held = len(host.blocks), {block_of(place) for place in vector.states}
    if not held & {*band(host, capture)} or max(held) >= depth:
        raise UsageError(
            f"a vector's blocks must be among the {depth} of {host.name} and inside the steered band, but it has "
            f"{sorted(held)}; give --model, or another capture.band"
        )
    fitted = vector.fitted("")
    return replace(fitted, states={block: on_device(host, state) for block, state in fitted.states.items()})


def _need_model(host: Host, vector: Vector) -> None:
    config, depth = host.model.config, len(host.blocks)
    # A fingerprint covers the dtype, so only those of one dtype can be compared.
    known = vector.fingerprint if vector.dtype == host.dtype else ""
    for what, wanted, found in (
        ("dimension", vector.width(), {host.width}),
        ("number of blocks", vector.depth or depth, {depth}),
        ("architecture", vector.model_type or config.model_type, _architectures(config)),
        ("fingerprint", known or host.fingerprint, {host.fingerprint}),
    ):
        if wanted not in found:
            raise UsageError(
                f"a vector must be steered on the model it was made on ({vector.model or 'unnamed'}), but its {what} "
                f"is {wanted} and that of {host.name} is {' or '.join(map(str, sorted(found)))}; give that --model, or "
                "import the file with --any-model if only its word is wrong"
            )


def _architectures(config: Any) -> set[str]:
    """What programs call this architecture: text-only models have two names."""
    names = {config.model_type, config.get_text_config().model_type}
    return names | {name.removesuffix("_text") for name in names}


def given_out(store: Store, prefix: str, form: str, dose: float | None) -> Vector:
    """A run's direction as a file of that form holds it, at strength 1 or at a dose.

    Raises UsageError for a run without a direction, a dose that the form or the run does not know, or, for a control
    vector, a model that cannot be asked for its architecture.
    """
    vector = direction_of_run(store, find_run(store, prefix))
    if form == "gguf" and vector.model:
        vector = replace(vector, model_type=vector.model_type or architecture(vector.model))
    if dose is None:
        return vector
    strength = vector.origin.get("strength_at_dose_1")
    if form == "safetensors" or strength is None:
        why = "keeps the natural step" if form == "safetensors" else "needs a run that was calibrated"
        raise UsageError(f"--dose scales the vector that is written, but --to {form} {why}; leave --dose out")
    scaled = vectors_of({block: step * (dose * strength) for block, step in added(vector).items()})
    return replace(vector, method=IMPORTED, config={}, states=scaled, origin=vector.origin | {"dose": dose})
