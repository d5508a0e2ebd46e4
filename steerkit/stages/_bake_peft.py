"""Students as peft has them: a model with one adapter per round, and the files that peft loads an adapter from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from steerkit.errors import UsageError
from steerkit.host.load import Host
from steerkit.stages._adapters import DOWN, UP, Layered, Stack, factors, need_base

if TYPE_CHECKING:
    import peft

_WRAPPED = "base_model.model."
"""What peft puts before a module's name."""


def with_peft(host: Host, stack: Stack, gates: Sequence[float] | None = None) -> "peft.PeftModel":
    """The student as a peft model: one adapter per round, 'adapter-0' and so on, all active, each times its gate.

    With all gates 0 its logits are the base's to the bit. peft works inside the host's own model: whatever runs the
    host runs the student, until `.unload()`. Raises UsageError for an empty stack or another model than the stack's,
    RunError when the model is not in its base state.
    """
    from peft import PeftModel, set_peft_model_state_dict

    need_base(host, stack)
    chosen = stack.gated(gates)
    if not stack.layers:
        raise UsageError("a student must have at least one adapter, but the stack is empty; without any it is the base")
    model: Any = None
    # peft draws first weights from torch's global generator, whose state belongs to the caller.
    with torch.random.fork_rng():
        for number, layered in enumerate(stack.layers):
            name, config = _name(number), _config(layered.paths, layered.adapter.rank, layered.adapter.alpha)
            if model is None:
                model = PeftModel(host.model, config, adapter_name=name)
            else:
                model.add_adapter(name, config)
            set_peft_model_state_dict(model, _renamed(layered), adapter_name=name)
    model.base_model.set_adapter([*map(_name, range(len(chosen)))])
    model.requires_grad_(False).eval()
    return regated(model, chosen)


def regated(model: "peft.PeftModel", gates: Sequence[float]) -> "peft.PeftModel":
    """The same peft model with other gates, one per round: between 0 and 1 they dial a round down.

    peft's `add_weighted_adapter` would join the rounds in the base's dtype, where 16 bits round them, and takes
    seconds; scales are exact and turn at once. Raises UsageError for another number of gates than adapters.
    """
    from peft.tuners.lora import LoraLayer

    if len(gates) != len(model.peft_config):
        raise UsageError(f"there must be one gate for each of {len(model.peft_config)} adapters, but got {[*gates]}")
    for module in model.modules():
        if isinstance(module, LoraLayer):
            for number, gate in enumerate(gates):
                module.set_scale(_name(number), gate)
    return model


def adapter_files(
    stack: Stack, base_name: str, gates: Sequence[float] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration and the tensors that peft loads a whole stack from, as one adapter whose scaling is 1.

    Raises UsageError when every gate is 0.
    """
    found = factors(stack, gates)
    if not found:
        raise UsageError("an adapter must change something, but every gate is 0; leave out --gate, or give one above 0")
    rank = max(len(pair.down) for pair in found.values())
    config: Any = _config(list(found), rank, rank, base_model_name_or_path=base_name)
    tensors = {}
    for path, (down, up) in found.items():
        tensors[f"{_WRAPPED}{path}{DOWN}.weight"] = pad(down, (0, 0, 0, rank - len(down)))
        tensors[f"{_WRAPPED}{path}{UP}.weight"] = pad(up, (0, rank - len(down)))
    return {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}, tensors


def _name(place: int) -> str:
    return f"adapter-{place}"


def _config(paths: Sequence[str], rank: int, alpha: int | float, **more: Any) -> "peft.LoraConfig":
    from peft import LoraConfig

    fixed: dict[str, Any] = {"lora_dropout": 0.0, "bias": "none", "task_type": "CAUSAL_LM", "inference_mode": True}
    return LoraConfig(**fixed, r=rank, target_modules=[*paths], **{"lora_alpha": alpha, **more})


def _renamed(layered: Layered) -> dict[str, Tensor]:
    return {f"{_WRAPPED}{name}.weight": tensor for name, tensor in layered.tensors.items()}
