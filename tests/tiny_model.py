"""A tiny Llama whose right answer in gate 1 is known by construction, with the data files that go with it.

Every token's embedding is a constant, plus noise, plus planted features. Block 0 copies: one head finds a scene's
marker word and writes the foundation it stands for, another finds the persona's marker word and writes `+1` or `-1`
along `PLANTED`, two average everything. Block 1 mixes a little, so that activations vary by context; blocks 2 and 3
add noise. Read out: after the cue all seven answers are far above every other token, a scene's foundation raises its
own answer, and `PLANTED` lowers the target's. Every direction moves the filler words about alike, so that equal KL
means about equal norm.
"""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steerkit.instruments.fewshot import TEXT
from steerkit.records import FOUNDATIONS

ANSWERS = {name: [word.strip() for word in words] for name, words in tomllib.loads(TEXT.read_text())["answers"].items()}
"""The instrument's own words for each foundation."""
MARKERS = tuple(f"mark{number}" for number in range(len(FOUNDATIONS)))
"""One made-up word per foundation, which no example scene holds."""
TARGET, SIGN = "Authority", -1
POLES = ("sunlight", "moonlight")
PERSONA_WORDS = ("You", "are", "a", "person", "who", "follows", ".", *POLES)
SPECIAL = ("<unk>", "<bos>", "<eos>", "<|system|>", "<|user|>", "<|assistant|>")
FILLERS = tuple(f"w{number}" for number in range(280))
VOCABULARY = (
    *SPECIAL,
    *(word for words in ANSWERS.values() for word in words),
    *MARKERS,
    *PERSONA_WORDS,
    "->",
    "see",
    *FILLERS,
)
IDS = {word: number for number, word in enumerate(VOCABULARY)}

WIDTH, HEADS, DEPTH = 64, 4, 4
HEAD = WIDTH // HEADS
CONSTANT, CUE, SCENE_FLAG, PERSONA_FLAG, PERSONA_IN, PLANTED = range(6)
MARKER_IN, FOUNDATION = range(6, 13), range(13, 20)
FREE = [PLANTED, *FOUNDATION, *range(20, WIDTH)]
"""Dimensions that hold noise beside what is planted."""
SLOW = HEAD // 2 - 1
"""The dimension of a head that rotary positions turn least."""
SMALL = (
    "capture.contexts=32",
    "dose.multiples=0.5,1.0,2.0",
    "dose.negative_multiples=0.5,1.0",
    "dose.null_doses=1",
    "dose.tokens=12",
    "gate.resamples=200",
)
"""Settings that make a run small; the gate's thresholds stay as they are."""
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|> ' + message['content'] + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Planted:
    """The model's folder and the data files beside it."""

    folder: Path
    personas: Path
    vignettes: Path
    contexts: Path
    dilemmas: Path

    def gate1(self, store: Path, *more: str, method: str = "svd") -> list[str]:
        """A command line for gate 1 on this model."""
        files = [part for name in ("personas", "vignettes", "contexts", "dilemmas") for part in self._file(name)]
        fixed = ["--trait", "planted", "--dtype", "float32", "--device", "cpu", "--json"]
        settings = [part for setting in SMALL for part in ("--set", setting)]
        return [
            *("gate1", "--model", str(self.folder), "--method", method, "--store", str(store)),
            *files,
            *fixed,
            *settings,
            *more,
        ]

    def _file(self, name: str) -> tuple[str, str]:
        paths = {
            "personas": self.personas,
            "vignettes": self.vignettes,
            "contexts": self.contexts,
            "dilemmas": self.dilemmas,
        }
        return f"--{name}", str(paths[name])


def planted_direction() -> Tensor:
    """The unit vector along which the positive persona lies, `[dim]`."""
    return torch.eye(WIDTH)[PLANTED]


def make(folder: Path, seed: int = 0) -> Planted:
    """Write the model, its tokenizer and the data files into `folder`."""
    model = folder / "model"
    _model(seed).save_pretrained(model)
    _tokenizer().save_pretrained(model)
    planted = Planted(model, *(folder / name for name in ("p.toml", "v.jsonl", "c.jsonl", "d.jsonl")))
    planted.personas.write_text(_persona())
    draw = torch.Generator().manual_seed(seed)
    _write(planted.vignettes, _vignettes(draw))
    _write(planted.contexts, [{"id": f"c{i}", "text": _words(12, draw)} for i in range(40)])
    _write(planted.dilemmas, [{"id": f"d{i}", "text": _words(10, draw)} for i in range(4)])
    return planted


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(IDS, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=words,
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=list(SPECIAL[3:]),
        chat_template=TEMPLATE,
    )


def _model(seed: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=False,
        bos_token_id=IDS["<bos>"],
        eos_token_id=IDS["<eos>"],
    )
    draw = torch.Generator().manual_seed(seed)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        embeddings = _embeddings(draw)
        model.model.embed_tokens.weight.copy_(embeddings)
        model.lm_head.weight.copy_(_unembedding(embeddings, draw))
        for block in model.model.layers:
            # The library's own start is drawn from torch's global generator: another model in every process.
            for weight in (weight for weight in block.parameters() if weight.dim() == 2):
                weight.copy_(0.02 * torch.randn(weight.shape, generator=draw))
            for weight in (block.self_attn.o_proj.weight, block.mlp.down_proj.weight):
                weight.copy_(0.005 * torch.randn(weight.shape, generator=draw))
        _plant_copying(model.model.layers[0].self_attn)
        _plant_mixing(model.model.layers[1].mlp, draw)
    return model


def _embeddings(draw: torch.Generator) -> Tensor:
    """`[vocab dim]`: norms near 8, so that normalising hardly rescales."""
    table = torch.zeros(len(VOCABULARY), WIDTH)
    table[:, FREE] = 0.35 * torch.randn(len(VOCABULARY), len(FREE), generator=draw)
    table[IDS["<unk>"]] = 0.0
    table[:, CONSTANT] = 7.4
    for word, into in zip(MARKERS, MARKER_IN, strict=True):
        table[IDS[word], [SCENE_FLAG, into]] = 2.0
    table[IDS[POLES[1]]] = table[IDS[POLES[0]]]
    for word, sign in zip(POLES, (1.0, -1.0), strict=True):
        table[IDS[word], PERSONA_FLAG], table[IDS[word], PERSONA_IN] = 2.0, sign
    table[IDS["->"], [*FREE, CUE]] = torch.tensor([0.3, *[0.0] * (len(FREE) - 1), 4.0])
    return table


def _unembedding(embeddings: Tensor, draw: torch.Generator) -> Tensor:
    """`[vocab dim]`: fillers move with every free direction; nothing else is likely without the cue.

    A filler is the less likely the more its own embedding stands in the running mean, so that texts do not loop.
    """
    table = torch.zeros(len(VOCABULARY), WIDTH)
    table[:, CONSTANT] = -2.0
    fillers = [IDS[word] for word in FILLERS]
    seen = embeddings[fillers][:, FREE]
    table[fillers, CONSTANT] = 0.0
    table[torch.tensor(fillers)[:, None], torch.tensor(FREE)] = 0.5 * torch.randn(seen.shape, generator=draw) - seen
    for name, foundation in zip(FOUNDATIONS, FOUNDATION, strict=True):
        words = [IDS[word] for word in ANSWERS[name]]
        table[words, CUE], table[words, foundation] = 12.0, 0.5
        table[words, PLANTED] = 0.7 * SIGN * (name == TARGET)
    return table


def _plant_copying(attention: Any) -> None:
    """Head 0 copies a scene's foundation, head 1 the persona's sign, heads 2 and 3 the mean of all tokens' noise."""
    query, key, value = (torch.zeros(WIDTH, WIDTH) for _ in range(3))
    out = torch.zeros(WIDTH, WIDTH)
    for head, flag in enumerate((SCENE_FLAG, PERSONA_FLAG)):
        query[head * HEAD + SLOW, CONSTANT], key[head * HEAD + SLOW, flag] = 1.0, 3.5
    for place, (source, target) in enumerate(zip(MARKER_IN, FOUNDATION, strict=True)):
        value[place, source], out[target, place] = 1.0, 2.0
    value[HEAD, PERSONA_IN], out[PLANTED, HEAD] = 1.0, 1.0
    for head in (2, 3):
        seen, free = torch.arange(head * HEAD, (head + 1) * HEAD), torch.arange(HEAD) + 20 + (head - 2) * HEAD
        value[seen, free], out[free, seen] = 1.0, 3.0
    for projection, weight in (("q_proj", query), ("k_proj", key), ("v_proj", value), ("o_proj", out)):
        getattr(attention, projection).weight.copy_(weight)


def _plant_mixing(mlp: Any, draw: torch.Generator) -> None:
    """A small random network of the free dimensions: what it adds depends on persona and context together."""
    for name, size in (("gate_proj", 0.3), ("up_proj", 0.3), ("down_proj", 0.03)):
        weight = size * torch.randn(WIDTH, WIDTH, generator=draw)
        weight[:, CONSTANT] = 0
        getattr(mlp, name).weight.copy_(weight)


def _persona() -> str:
    positive, negative = (f"a person who follows {pole}" for pole in POLES)
    return f"""[planted]
description = "Following sunlight rather than moonlight."
positive = "{positive}"
negative = "{negative}"
target = "{TARGET}"
sign = {SIGN}
template = "You are {{pole}} ."
"""


def _vignettes(draw: torch.Generator, each: int = 8) -> list[dict[str, str]]:
    return [
        {"id": f"{name}-{i}", "foundation": name, "text": f"You see a {marker} {_words(4, draw)}"}
        for i in range(each)
        for name, marker in zip(FOUNDATIONS, MARKERS, strict=True)
    ]


def _words(count: int, draw: torch.Generator) -> str:
    return " ".join(FILLERS[i] for i in torch.randint(len(FILLERS), (count,), generator=draw).tolist())


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
