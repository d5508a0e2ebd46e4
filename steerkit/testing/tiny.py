"""A language model small enough for a unit test, steered by a hook of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from steerkit.testing.planted import DIM


def tiny_llama() -> nn.Module:
    """A random Llama of two blocks and width `DIM`; large initial weights keep its greedy choices apart."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=32,
        hidden_size=DIM,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    return model.eval()


@contextmanager
def steered(model: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Apply `change` to what the first block writes to the residual stream."""
    block = model.get_submodule("model.layers.0")
    handle = block.register_forward_hook(lambda _module, _args, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def generate(
    model: Any, prompt: Int[Tensor, "batch prompt"], use_cache: bool
) -> tuple[Int[Tensor, "batch token"], Float[Tensor, "batch new vocab"]]:
    """Greedy continuation by 8 tokens, and the logits it was chosen by."""
    answer = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=8,
        do_sample=False,
        use_cache=use_cache,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return answer.sequences, torch.stack(answer.logits, dim=1)
