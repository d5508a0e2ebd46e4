"""Keys and values of a batch that is read in parts."""

from collections.abc import Sequence
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
