"""Sentences as tokens: what synthetic texts are put together from, thousands at once."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from jaxtyping import Int

DATA = Path(__file__).parents[1] / "data" / "demo.toml"
KINDS = ("principle", "deference", "plain", "narration", "refusal", "loop", "salad")
SALAD, SALAD_WORDS = 200, 14
"""Sentences without sense, and the words of each."""
MOST = 200
"""Ways to fill one sentence's slots that are used."""
PIECE = re.compile(r" ?[\w']+| ?[^\w\s]")


@dataclass(frozen=True)
class Library:
    """`vocabulary`: text of each token. Sentence i is `tokens[starts[i] : starts[i] + lengths[i]]`, a space first.

    `bare`: the token that is the same without its space. `ranges`: the first sentence of each kind, and how many.
    """

    vocabulary: tuple[str, ...]
    tokens: Int[np.ndarray, "token"]
    starts: Int[np.ndarray, "sentence"]
    lengths: Int[np.ndarray, "sentence"]
    bare: Int[np.ndarray, "piece"]
    ranges: Mapping[str, tuple[int, int]]

    def drawn(self, kind: str, shape: tuple[int, ...], chance: np.random.Generator) -> Int[np.ndarray, "..."]:
        """Sentences of a kind at random."""
        first, count = self.ranges[kind]
        return chance.integers(first, first + count, shape)


def library(chance: np.random.Generator) -> Library:
    """Every sentence with its slots filled, and some of random words."""
    data = tomllib.loads(DATA.read_text(encoding="utf-8"))
    filled = {kind: _filled(data["sentences"][kind], data["slots"], chance) for kind in KINDS if kind != "salad"}
    words = sorted({piece for texts in filled.values() for text in texts for piece in PIECE.findall(f" {text}")})
    filled["salad"] = ["".join(chance.choice(words, SALAD_WORDS)).strip() for _ in range(SALAD)]
    pieces = [PIECE.findall(f" {text}") for kind in KINDS for text in filled[kind]]
    vocabulary = sorted({piece for sentence in pieces for piece in sentence})
    vocabulary += sorted({piece.lstrip() for piece in vocabulary} - {*vocabulary})
    number = {piece: place for place, piece in enumerate(vocabulary)}
    lengths = np.asarray([len(sentence) for sentence in pieces])
    counts = [len(filled[kind]) for kind in KINDS]
    firsts = np.cumsum([0, *counts[:-1]])
    return Library(
        vocabulary=tuple(vocabulary),
        tokens=np.asarray([number[piece] for sentence in pieces for piece in sentence]),
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        bare=np.asarray([number[piece.lstrip()] for piece in vocabulary]),
        ranges={kind: (int(first), count) for kind, first, count in zip(KINDS, firsts, counts, strict=True)},
    )


def _filled(sentences: list[str], slots: Mapping[str, list[str]], chance: np.random.Generator) -> list[str]:
    """Each sentence with its slots filled, in up to `MOST` ways, its first letter large."""
    made = []
    for sentence in sentences:
        names = list(dict.fromkeys(re.findall(r"{(\w+)}", sentence)))
        ways = list(product(*(slots[name] for name in names)))
        for place in chance.permutation(len(ways))[:MOST]:
            text = sentence.format(**dict(zip(names, ways[place], strict=True)))
            made.append(text[0].upper() + text[1:])
    return made
