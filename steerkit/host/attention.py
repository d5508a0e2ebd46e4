"""Attention for many short rows behind one shared prefix, without a copy of the prefix per row.

A first pass over the prefix alone records its keys and values. In a second pass every row holds only its own tokens;
its queries meet the recorded keys in one large matrix product and their own keys in a small one, under one softmax.
This is exact attention over prefix + row. (The idea of splitting attention at a shared prefix: Hydragen, 2402.05099.)
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

NAME = "steerkit"


@dataclass
class SharedPrefix:
    """Keys and values of the prefix by layer, `[1 kv_heads prefix dim]`; filled while `recording`."""

    recording: bool = True
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)


def attention(
    module: nn.Module,
    query: Float[Tensor, "batch heads row dim"],
    key: Float[Tensor, "batch kv_heads seen dim"],
    value: Float[Tensor, "batch kv_heads seen dim"],
    attention_mask: Tensor | None,
    shared_prefix: SharedPrefix | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: its own SDPA, or the split at a shared prefix when one is being read."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if shared_prefix is None or shared_prefix.recording:
        if shared_prefix is not None:
            layer = int(module.layer_idx)  # type: ignore[arg-type]
            shared_prefix.keys[layer], shared_prefix.values[layer] = key, value
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return output, None
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    scaling = kwargs.get("scaling") or query.shape[-1] ** -0.5
    window = kwargs.get("sliding_window")
    mixed = behind_prefix(query, key, value, shared_prefix.keys[layer], shared_prefix.values[layer], scaling, window)
    return mixed.transpose(1, 2).contiguous(), None


def behind_prefix(
    query: Float[Tensor, "batch heads row dim"],
    key: Float[Tensor, "batch kv_heads row dim"],
    value: Float[Tensor, "batch kv_heads row dim"],
    prefix_key: Float[Tensor, "1 kv_heads prefix dim"],
    prefix_value: Float[Tensor, "1 kv_heads prefix dim"],
    scaling: float,
    window: int | None = None,
) -> Float[Tensor, "batch heads row dim"]:
    """Causal attention of each row over the shared prefix and its own earlier tokens, of which a layer with a sliding
    window sees the last `window`, the token itself included.
    """
    batch, heads, row, dim = query.shape
    kv_heads, prefix = prefix_key.shape[1], prefix_key.shape[2]
    group = heads // kv_heads
    grouped = (query * scaling).reshape(batch, kv_heads, group * row, dim)
    flat = grouped.transpose(0, 1).reshape(kv_heads, batch * group * row, dim)
    to_prefix = (flat @ prefix_key[0].transpose(1, 2)).view(kv_heads, batch, group * row, prefix).transpose(0, 1)
    positions = torch.arange(prefix + row, device=query.device)
    back = positions[prefix:, None] - positions[None]
    hidden = (back < 0) if window is None else (back < 0) | (back >= window)
    scores = torch.cat([to_prefix, grouped @ key.transpose(2, 3)], dim=-1)
    weights = (
        scores.masked_fill(hidden.repeat(group, 1), float("-inf")).softmax(-1, dtype=torch.float32).to(query.dtype)
    )
    on_prefix = weights[..., :prefix].transpose(0, 1).reshape(kv_heads, batch * group * row, prefix) @ prefix_value[0]
    mixed = on_prefix.view(kv_heads, batch, group * row, dim).transpose(0, 1) + weights[..., prefix:] @ value
    return mixed.reshape(batch, heads, row, dim)


def register() -> None:
    """Make transformers know this attention by `NAME`, with SDPA's masks; registering twice changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
