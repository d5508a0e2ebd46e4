"""Which biases a model's architecture can hold: what its configuration has switches for, seen by building it without
weights.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from steerkit.errors import RunError
from steerkit.host.load import Host


def bias_switches(host: Host, needed: Collection[str]) -> dict[str, list[str]]:
    """The configuration's switches that give these Linears a bias, each with all Linears that it gives one.

    Raises RunError, naming the Linear and the switches there are, for one that no switch gives a bias.
    """
    missing = set(needed)
    switches = _switches(host)
    chosen: dict[str, list[str]] = {}
    for name in switches:
        gained = _gained(host, name)
        if missing & set(gained):
            chosen[name] = gained
            missing -= set(gained)
    if missing:
        known = f"its switches are {', '.join(switches)}" if switches else "it has no switch for any"
        raise RunError(
            f"a plain folder must hold a new bias of {_listed(missing)}, but the configuration of "
            f"{type(host.model).__name__} cannot say so: {known}; heal instead (steerkit gate2, gate3, bake)"
        )
    return chosen


def _listed(paths: Collection[str]) -> str:
    first, *rest = sorted(paths)
    return f"{first} and {len(rest)} more" if rest else first


def _switches(host: Host) -> list[str]:
    """Settings of the configuration that are off and speak of a bias."""
    return sorted(name for name, value in _settings(host).items() if "bias" in name and value is False)


def _settings(host: Host) -> dict[str, Any]:
    settings: dict[str, Any] = vars(host.model.config.get_text_config())
    return settings


def _gained(host: Host, switch: str) -> list[str]:
    """Linears that have a bias with this switch on, and none without."""
    from transformers import AutoModelForCausalLM

    config = deepcopy(host.model.config)
    vars(config.get_text_config())[switch] = True
    auto: Any = AutoModelForCausalLM
    with torch.device("meta"):
        built = auto.from_config(config, trust_remote_code=False)
    now = dict(host.model.named_modules())
    return [
        name
        for name, module in built.named_modules()
        if isinstance(module, nn.Linear) and biased(module) and not biased(now[name])
    ]


def biased(module: nn.Module) -> bool:
    """Whether a module has a bias."""
    return module._parameters.get("bias") is not None


@contextmanager
def biases_held(host: Host, needed: Collection[str]) -> Iterator[None]:
    """The configuration says, for a while, that these Linears have a bias; others that its switches mean get zeros.

    Raises RunError for a Linear that no switch gives a bias.
    """
    switches, settings = bias_switches(host, needed), _settings(host)
    was = {name: settings[name] for name in switches}
    empty: list[Any] = [host.model.get_submodule(path) for gained in switches.values() for path in gained]
    empty = [linear for linear in empty if not biased(linear)]
    try:
        settings.update(dict.fromkeys(switches, True))
        for linear in empty:
            linear.bias = nn.Parameter(linear.weight.new_zeros(linear.out_features), requires_grad=False)
        yield
    finally:
        settings.update(was)
        for linear in empty:
            linear.bias = None
