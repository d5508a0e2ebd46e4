"""Tiny random chat models with the turn markers of four families: enough context for a long question, single bytes."""

from pathlib import Path
from typing import Any

import tiny_random
import torch

LLAMA = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
CHATML = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
    "{% endif %}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
THINKING = CHATML.replace("assistant\n' }}{% endif %}", "assistant\n<think>\n' }}{% endif %}")
GEMMA = (
    "{{ '<bos>' }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}"
    "{% endif %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' "
    "+ m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
FAMILIES: dict[str, dict[str, Any]] = {
    # Begins twice when a template that writes the begin token is tokenised like any text; pads with its end of turn.
    "llama": {
        "architecture": "llama",
        "template": LLAMA,
        "begin": "<|begin_of_text|>",
        "end": "<|eot_id|>",
        "pad": None,
        "others": ("<|start_header_id|>", "<|end_header_id|>"),
    },
    # Pads with a token of its own, which a random model may well think; knows the mark that ends thoughts.
    "qwen": {
        "architecture": "qwen3",
        "template": CHATML,
        "begin": None,
        "end": "<|im_end|>",
        "pad": "<|endoftext|>",
        "others": ("<|im_start|>", "<think>", "</think>"),
    },
    "gemma": {
        "architecture": "gemma3_text",
        "template": GEMMA,
        "begin": "<bos>",
        "end": "<end_of_turn>",
        "pad": "<pad>",
        "others": ("<start_of_turn>",),
    },
    # Its padding is its end of turn, and the template opens the thoughts by itself.
    "smollm": {
        "architecture": "llama",
        "template": THINKING,
        "begin": None,
        "end": "<|im_end|>",
        "pad": "<|im_end|>",
        "others": ("<|im_start|>",),
    },
}


def tokenizer(family: str) -> Any:
    """One token per byte, and the family's marks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    given = FAMILIES[family]
    marks = [m for m in (given["begin"], given["end"], given["pad"], *given["others"]) if m]
    marks = list(dict.fromkeys(marks))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*letters, *marks])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    if given["begin"]:
        begin = [(given["begin"], vocabulary[given["begin"]])]
        inner.post_processor = processors.TemplateProcessing(single=f"{given['begin']} $A", special_tokens=begin)
    kind: Any = PreTrainedTokenizerFast
    made = kind(tokenizer_object=inner, bos_token=given["begin"], eos_token=given["end"], pad_token=given["pad"])
    made.add_special_tokens({"additional_special_tokens": [m for m in marks if m not in made.all_special_tokens]})
    made.chat_template = given["template"]
    return made


def saved(folder: Path, family: str, seed: int = 0, context: int = 4096) -> Path:
    """A model folder with random weights and the family's tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM

    words = tokenizer(family)
    architecture = FAMILIES[family]["architecture"]
    sizes = {**tiny_random.SIZES, **tiny_random.ARCHITECTURES[architecture]} | {
        "vocab_size": len(words),
        "max_position_embeddings": context,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    auto: Any = AutoModelForCausalLM
    made = auto.from_config(AutoConfig.for_model(architecture, **sizes)).eval()
    draw = torch.Generator().manual_seed(seed)
    for weight in made.parameters():
        # A library's own start may change with its version, and recorded numbers would change with it.
        if weight.dim() > 1:
            weight.data.copy_(0.25 * torch.randn(weight.shape, generator=draw))
    made.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
