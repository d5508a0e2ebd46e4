"""A steered model as a folder: what `steerkit bake` does with a run that steers rather than trains."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from steerkit.errors import UsageError

if TYPE_CHECKING:
    from steerkit.records import Run
    from steerkit.store import Store

STEERS = "gate1"
"""The gate whose runs have a calibrated direction and no adapters."""


def bake_steered(store: "Store", run: "Run", dose: float, folder: Path, device: str, trust: bool) -> dict[str, Any]:
    """Fold a run's direction at a dose into the base's weights and write them; what was written.

    Raises UsageError for an uncalibrated direction or a run about a student, NotFoldable where weights cannot hold it.
    """
    from steerkit.export import save_steered
    from steerkit.host import load
    from steerkit.rounds import direction_of
    from steerkit.stages.prove import texts

    _need_base(run)
    host = load(run.model, run.dtype, device, trust_remote_code=trust)
    if host.fingerprint != run.fingerprint:
        raise UsageError(
            f"the model must be the one that run {run.run_id} steered, {run.fingerprint}, but {run.model} is now "
            f"{host.fingerprint}; give back what was changed, or run gate 1 again"
        )
    fitted = direction_of(host, store, run.run_id)
    strength = dose * _unit(store, run, fitted.direction_id)
    made_of = {
        "run_id": run.run_id,
        "method": fitted.method,
        "direction_id": fitted.direction_id,
        "dose": dose,
        "strength": strength,
        "fingerprint": host.fingerprint,
    }
    apart = save_steered(host, fitted, strength, folder, texts(host), made_of)
    written = {**made_of, "base": host.source, "dtype": "float32", "kind": "steered model", "folder": str(folder)}
    return {**written, "logit": apart.logit, "kl_hooked_baked": apart.kl}


def _need_base(run: "Run") -> None:
    import msgspec

    if msgspec.json.decode(run.spec).get("history"):
        raise UsageError(
            f"run {run.run_id} steers a student, whose adapters a folder of the base would lose; bake the student "
            "(steerkit bake RUN_OF_GATE_3), and steer that"
        )


def _unit(store: "Store", run: "Run", direction: str) -> float:
    """The strength at dose 1."""
    from steerkit.records import Calibration

    found = [c.strength for c in store.records(Calibration, run.run_id) if c.direction_id == direction and c.strength]
    if not found:
        raise UsageError(f"run {run.run_id} must have calibrated its direction, but it did not; run gate 1 to its end")
    return found[0]


def line(written: dict[str, Any]) -> str:
    """What a person reads."""
    return (
        f"steered model of run {written['run_id']} in {written['folder']}: {written['method']} at dose "
        f"{written['dose']:g} (strength {written['strength']:.3g}), on {written['base']} in float32\n"
        f"read back by transformers alone: logits off by {written['logit']:.2g}, KL(hooked || baked) "
        f"{written['kl_hooked_baked']:.2g} nats per token"
    )
