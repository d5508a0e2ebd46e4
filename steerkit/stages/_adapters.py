"""Trained adapters as low-rank updates of a model's Linears: checked, put in order, and joined into one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.errors import RunError, UsageError
from steerkit.host.adapter import block_linears
from steerkit.host.load import Host, fingerprint
from steerkit.records import Adapter

DOWN, UP = ".lora_A", ".lora_B"
LISTED = 12
"""Mismatches that an error spells out; of more it gives the number."""


@dataclass(frozen=True)
class Layered:
    """One adapter with its tensors: `PATH.lora_A` `[rank in]` and `PATH.lora_B` `[out rank]` per Linear, float32."""

    adapter: Adapter
    tensors: Mapping[str, Tensor]

    @property
    def paths(self) -> list[str]:
        """Names of the Linears it updates, sorted."""
        return sorted({name.removesuffix(DOWN).removesuffix(UP) for name in self.tensors})

    @property
    def scaling(self) -> float:
        """What B A is multiplied by."""
        return self.adapter.alpha / self.adapter.rank


@dataclass(frozen=True)
class Stack:
    """Adapters in the order of their rounds, each trained on top of those before it, checked against a model."""

    fingerprint: str
    layers: tuple[Layered, ...]

    def gated(self, gates: Sequence[float] | None) -> tuple[float, ...]:
        """One multiplier per adapter; None is all 1.

        Raises UsageError for another number of gates than adapters, or one that is not finite.
        """
        if gates is None:
            return (1.0,) * len(self.layers)
        if len(gates) != len(self.layers) or not all(math.isfinite(gate) for gate in gates):
            raise UsageError(
                f"there must be one finite gate for each of {len(self.layers)} adapters, but got {[*gates]}"
            )
        return tuple(float(gate) for gate in gates)


class Factors(NamedTuple):
    """The update of one Linear's weight is `up @ down`."""

    down: Float[Tensor, "rank inputs"]
    up: Float[Tensor, "outputs rank"]


def linears(host: Host) -> dict[str, nn.Linear]:
    """The Linears inside the blocks by their name in the model."""
    return block_linears(host, range(len(host.blocks)))


def stack(host: Host, adapters: Sequence[Layered]) -> Stack:
    """Put adapters on top of one another after checking that each fits the model and follows those before it.

    Raises UsageError for an adapter of another model, naming both fingerprints; for tensors that do not match the
    model's Linears, naming each; or for a history that is not exactly the adapters before it, saying which is missing.
    """
    for place, layered in enumerate(adapters):
        _need_model(host, layered.adapter)
        _need_history(layered.adapter, [below.adapter.adapter_id for below in adapters[:place]])
        if found := _mismatches(host, layered):
            more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
            raise UsageError(
                f"adapter {layered.adapter.adapter_id} must fit the Linears of {host.name!r}, but "
                f"{'; '.join(found[:LISTED])}{more}; its file is another adapter's, or was damaged"
            )
    return Stack(host.fingerprint, tuple(adapters))


def factors(stack: Stack, gates: Sequence[float] | None = None) -> dict[str, Factors]:
    """All adapters of a stack as one per Linear: factors side by side, float32, gate and scaling in `up`.

    Adapters whose gate is 0 are left out, and so are Linears that no other adapter updates.
    """
    open_gates = [(layered, gate) for layered, gate in zip(stack.layers, stack.gated(gates), strict=True) if gate != 0]
    downs: dict[str, list[Tensor]] = {}
    ups: dict[str, list[Tensor]] = {}
    for layered, gate in open_gates:
        for path in layered.paths:
            downs.setdefault(path, []).append(layered.tensors[path + DOWN].detach().float())
            ups.setdefault(path, []).append(layered.tensors[path + UP].detach().float() * (gate * layered.scaling))
    return {path: Factors(torch.cat(downs[path]), torch.cat(ups[path], dim=1)) for path in downs}


def combined(positive: Layered, negative: Layered, scale: float) -> dict[str, Tensor]:
    """The tensors of one adapter whose update is `scale * (positive - negative)`.

    Its rank is the sum of both and its alpha must equal its rank, so that its scaling is 1.
    Raises UsageError when the two are not updates of the same Linears of one model with one history.
    Source: contrastive weight steering, 2511.05408 (theta+ less theta-).
    """
    first, second = positive.adapter, negative.adapter
    if (first.fingerprint, first.history, positive.paths) != (second.fingerprint, second.history, negative.paths):
        raise UsageError(
            "weight steering needs two adapters of one model with the same history and Linears, but "
            f"{first.adapter_id} has {first.fingerprint}, {first.history}, {len(positive.paths)} Linears and "
            f"{second.adapter_id} has {second.fingerprint}, {second.history}, {len(negative.paths)}"
        )
    joined: dict[str, Tensor] = {}
    for path in positive.paths:
        joined[path + DOWN] = torch.cat([pole.tensors[path + DOWN].float() for pole in (positive, negative)])
        ups = [(positive, scale * positive.scaling), (negative, -scale * negative.scaling)]
        joined[path + UP] = torch.cat([pole.tensors[path + UP].float() * factor for pole, factor in ups], dim=1)
    return joined


def need_base(host: Host, stack: Stack) -> None:
    """Refuse a model that is not the stack's or that holds adapters already: they would count twice, unnoticed.

    Raises UsageError for the one, RunError for the other.
    """
    if stack.fingerprint != host.fingerprint:
        raise UsageError(
            f"the stack must be made for this model, {host.fingerprint}, but was made for {stack.fingerprint}; "
            "make it anew"
        )
    if fingerprint(host.model, host.dtype) != host.fingerprint:
        raise RunError(
            f"model {host.name!r} must be as it was loaded when adapters go in, but has been changed; leave the "
            "student that is in force first"
        )


def _need_model(host: Host, adapter: Adapter) -> None:
    if adapter.fingerprint != host.fingerprint:
        raise UsageError(
            f"adapter {adapter.adapter_id} must meet the model it was trained on, fingerprint {adapter.fingerprint}, "
            f"but {host.name!r} in {host.dtype} has {host.fingerprint}; load that model in that dtype, or train anew"
        )


def _need_history(adapter: Adapter, before: list[str]) -> None:
    if adapter.history == before:
        return
    missing = [name for name in adapter.history if name not in before]
    extra = [name for name in before if name not in adapter.history]
    why = [f"{', '.join(missing)} missing" if missing else "", f"{', '.join(extra)} too many" if extra else ""]
    raise UsageError(
        f"adapter {adapter.adapter_id} was trained on top of {_listed(adapter.history)} and must stand on exactly "
        f"those, but before it came {_listed(before)} ({', '.join(filter(None, why)) or 'out of order'})"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


def _mismatches(host: Host, layered: Layered) -> list[str]:
    """Everything about the adapter's tensors that does not fit the model, in sentences."""
    known, adapter = linears(host), layered.adapter
    band = block_linears(host, range(adapter.first_block, min(adapter.last_block + 1, len(host.blocks))))
    wanted = {path for path in band if any(path.endswith(f".{target}") for target in adapter.targets)}
    if not wanted:
        blocks = f"blocks {adapter.first_block} to {adapter.last_block}"
        return [f"{blocks} have no Linear of its targets, {_listed(adapter.targets)}"]
    found = [f"{path} is updated by nothing" for path in sorted(wanted - {*layered.paths})]
    for path in layered.paths:
        if path not in known:
            found.append(f"the model has no Linear {path} in a block")
        elif path not in wanted:
            found.append(f"{path} is none of its targets")
        else:
            found += _misshapen(layered, path, known[path])
    return found


def _misshapen(layered: Layered, path: str, linear: nn.Linear) -> list[str]:
    rank, found = layered.adapter.rank, []
    for suffix, shape in ((DOWN, (rank, linear.in_features)), (UP, (linear.out_features, rank))):
        tensor = layered.tensors.get(path + suffix)
        if tensor is None:
            found.append(f"{path}{suffix} is not there")
        elif tensor.shape != shape:
            found.append(f"{path}{suffix} must be {[*shape]}, but is {[*tensor.shape]}")
        elif not bool(tensor.isfinite().all()):
            found.append(f"{path}{suffix} must be finite, but is not")
    return found
