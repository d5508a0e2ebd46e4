"""Random models of several architectures, small enough to build in a test, with a tokenizer of single bytes."""

from pathlib import Path
from typing import Any

import torch

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
WITHOUT_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% endfor %}"
) + TEMPLATE
SIZES: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.25,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
    "tie_word_embeddings": False,
}
NEOX = {name: value for name, value in SIZES.items() if name not in ("head_dim", "num_key_value_heads")}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {},
    # A window wider than the probe's example and narrower than the tests' prompts.
    "mistral": {"sliding_window": 20},
    # Post-norms, two kinds of attention with their own rotary bases, tied embeddings.
    "gemma3_text": {
        "sliding_window": 20,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "query_pre_attn_scalar": 8,
        "tie_word_embeddings": True,
    },
    # Its head scales the logits, and its decoder scales what it embeds.
    "granite": {"logits_scaling": 3.0, "embedding_multiplier": 2.0, "attention_multiplier": 0.3},
    "gpt_neox": {},
}


def tokenizer(template: str | None = TEMPLATE) -> Any:
    """A fast tokenizer with one token per byte, which puts a begin-of-text token in front."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)} | {BOS: 256, EOS: 257, PAD: 258}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 256)])
    kind: Any = PreTrainedTokenizerFast
    fast = kind(tokenizer_object=inner, bos_token=BOS, eos_token=EOS, pad_token=PAD)
    if template is not None:
        fast.chat_template = template
    return fast


def model(architecture: str, seed: int = 0, **changes: Any) -> Any:
    """A model with random weights, large enough that its logits differ clearly; `changes` of its configuration."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = NEOX if architecture == "gpt_neox" else SIZES
    config = AutoConfig.for_model(architecture, **{**sizes, **ARCHITECTURES[architecture], **changes})
    torch.manual_seed(seed)
    auto: Any = AutoModelForCausalLM
    return auto.from_config(config).eval()


def saved(
    folder: Path, architecture: str = "llama", seed: int = 0, template: str | None = TEMPLATE, **changes: Any
) -> Path:
    """A model folder with weights and tokenizer."""
    model(architecture, seed, **changes).save_pretrained(folder)
    tokenizer(template).save_pretrained(folder)
    return folder
