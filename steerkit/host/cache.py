"""Keys and values of a batch that is read in parts, or whose rows begin alike."""

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch

from steerkit.host.load import Host


def empty_cache(host: Host) -> Any:
    """A cache that grows with what is fed."""
    from transformers import DynamicCache

    return DynamicCache(config=host.model.config)


def stacked(parts: Sequence[Any]) -> Any:
    """One cache of the rows of several; layers that did not run stay empty."""
    for number, layer in enumerate(parts[0].layers):
        if layer.keys is not None:
            layer.keys = torch.cat([part.layers[number].keys for part in parts])
            layer.values = torch.cat([part.layers[number].values for part in parts])
    return parts[0]


def selected(cache: Any, rows: torch.Tensor) -> Any:
    """A cache of some of its rows, each as often as it is named; what is fed to one of the two is not in the other.

    Layers below the first that ran have no keys, but a length, which is asked for.
    """
    chosen = copy(cache)
    chosen.layers = [copy(layer) for layer in cache.layers]
    ran = [number for number, layer in enumerate(chosen.layers) if layer.keys is not None]
    for number in ran:
        layer = chosen.layers[number]
        layer.keys, layer.values = layer.keys[rows], layer.values[rows]
    first = chosen.layers[ran[0]]
    for number in range(ran[0]):
        blank = chosen.layers[number] = copy(first)
        blank.keys = blank.values = first.keys.new_zeros(1, 1, 1, 1).expand(len(rows), 1, first.keys.shape[2], 1)
    return chosen


def alike(cache: Any) -> bool:
    """Whether all layers keep keys in the same way, so that one can stand for another's length."""
    return len({type(layer) for layer in cache.layers}) == 1
