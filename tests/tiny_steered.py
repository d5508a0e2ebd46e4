"""Tiny random models with a direction to steer them by, and what plain passes without a cache say of their texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tiny_random
import torch
from torch import Tensor

from steerkit.host import Host, edited, load, text_ids
from steerkit.plugins import load_method
from steerkit.stages.steer import Fitted

ARCHITECTURES = sorted(tiny_random.ARCHITECTURES)
TEXTS = ("Once upon a time there was", "A short one", "One that is clearly longer than the other ones", "A short one")
STRENGTHS = (0.5, 1.0, -0.7, 0.25)
BLOCKS = (1, 2)
LOOPING = (200, 201, 202)
"""Tokens of the planted model that follow one another in a ring; every other one below 200 is followed by the next."""


def loaded(folder: Path, architecture: str = "llama") -> Host:
    return load(str(tiny_random.saved(folder, architecture)), "float32", "cpu")


def prompts(host: Host) -> list[list[int]]:
    return [text_ids(host, text) for text in TEXTS]


def fitted(vectors: dict[int, Tensor], name: str = "d") -> Fitted:
    states = {block: {"vector": vector} for block, vector in vectors.items()}
    return Fitted(name, "svd", "real", load_method("svd").Config(), states)


def direction(seed: int = 7, norm: float = 6.0) -> Fitted:
    vectors = torch.randn(4, 32, generator=torch.Generator().manual_seed(seed))
    return fitted({block: norm * vectors[block] / vectors[block].norm() for block in BLOCKS}, f"d{seed}")


def pushed(host: Host, ids: Sequence[int], strengths: Sequence[float], along: Fitted) -> Tensor:
    """log-probabilities `[token vocab]` of one plain pass, the token at each place pushed with its own strength."""
    per_token = torch.tensor(strengths)[None, :, None]

    def at(block: int) -> Any:
        return lambda hidden, _rows, _scale: hidden + per_token * along.states[block]["vector"]

    edits = {block: at(block) for block in along.states} if any(strengths) else {}
    with torch.inference_mode(), edited(host, edits, torch.tensor([0])):
        logits: Tensor = host.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
    return logits.float().log_softmax(-1)


def planted(folder: Path) -> Host:
    """A model whose next token follows from the last one alone: the one behind it, or the next one in the ring.

    The blocks add nothing; what an edit adds to a token's embedding is what its head reads.
    """
    model = tiny_random.model("llama")
    after = torch.arange(259)
    after[:199] += 1
    after[199] = 0
    after[list(LOOPING)] = torch.tensor([*LOOPING[1:], LOOPING[0]])
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        embedding = model.model.embed_tokens.weight
        embedding /= embedding.norm(dim=-1, keepdim=True).clamp(min=1e-3)
        model.lm_head.weight[after] = 20 * embedding
    model.save_pretrained(folder)
    tiny_random.tokenizer().save_pretrained(folder)
    return load(str(folder), "float32", "cpu")
