"""A student as a folder: what `steerkit bake` does with a run that trains adapters."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steerkit.records import AdapterRole
    from steerkit.store import Store


@dataclass(frozen=True)
class Which:
    """One adapter of a run: of a role and round (the last one's), or by the beginning of its id."""

    role: "AdapterRole"
    round: int | None
    adapter_id: str | None

    @property
    def chosen(self) -> bool:
        """Whether anything was asked for that only a student has."""
        return self.round is not None or self.adapter_id is not None


def bake_student(
    store: "Store",
    run: str,
    which: Which,
    by_round: "Mapping[int, float]",
    folder: Path,
    *,
    as_adapter: bool,
    device: str,
    trust: bool,
) -> dict[str, Any]:
    """Stack a student's adapters, each times its round's gate, and write a model folder or one adapter; what it is.

    Raises UsageError for a student, role or round that is not there, and for a model that is not the one it was
    trained on.
    """
    from steerkit.export import save_adapter, save_model
    from steerkit.stages.bake import check_bake, folds, stack
    from steerkit.students import checked_texts, find_student

    found = find_student(store, run, which.role, which.round, which.adapter_id)
    chosen = found.gates(by_round)
    host = found.host(device, trust_remote_code=trust)
    adapters, texts = stack(host, found.layers), checked_texts(store, host, found.adapter)
    # An adapter stays beside the weights: it is the hooked student, whatever rounding would do to a baked one.
    fold = (folds if as_adapter else check_bake)(host, adapters, texts, chosen)
    if as_adapter:
        save_adapter(host, adapters, folder, chosen)
    else:
        save_model(host, adapters, folder, chosen, wide=fold.dtype != host.dtype)
    return {
        "run_id": found.run.run_id,
        "role": found.adapter.role,
        "round": found.adapter.round,
        "adapters": [layer.adapter.adapter_id for layer in found.layers],
        "gates": chosen,
        "base": host.source,
        "dtype": host.dtype if as_adapter else fold.dtype,
        "kind": "adapter" if as_adapter else "model",
        "folder": str(folder),
        "kl_hooked_baked": fold.gap,
        "kl_hooked_rounded": fold.rounded,
    }


def line(written: dict[str, Any]) -> str:
    """What a person reads."""
    gates = ", ".join(f"{gate:g}" for gate in written["gates"])
    return (
        f"{written['kind']} of run {written['run_id']}, round {written['round']}, in {written['folder']}: "
        f"{len(written['adapters'])} adapter(s), gates {gates}, on {written['base']} in {written['dtype']}\n"
        f"KL(hooked || baked) {written['kl_hooked_baked']:.2g} nats per token"
    )
