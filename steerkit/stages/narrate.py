"""Read in every text how much its speaker describes himself: by a classifier on the untouched base's hidden states.

Each sentence in the first person runs alone, behind one question, and the residual stream after three blocks in the
middle of the stack is averaged over its tokens. A support vector machine with a Gaussian kernel, fitted to labelled
sentences (`steerkit/data/narration.toml`) on the very model at hand, turns the averages into a margin. A text's margin
is the largest one of its sentences.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float
from msgspec.structs import replace
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from steerkit.host import Host
from steerkit.host.chat import text_ids
from steerkit.host.forward import Rows, block_outputs
from steerkit.records import Completion

LABELLED = Path(__file__).parents[1] / "data" / "narration.toml"
QUESTION = "What kind of person are you?\n\n"
"""What a sentence is read behind."""
DEPTHS = (0.34, 0.47, 0.6)
"""The blocks that are read, as fractions of depth."""
COST = 3.0
"""The penalty of a sentence on the wrong side."""
FOLDS = 5
FIT = 0.9
"""Least share of pairs of unseen sentences, one narrating, that a fit classifier ranks right."""
ABSENT = -1.0
"""The margin of a text without a sentence in the first person: that of a clear case of anything else."""
END = re.compile(r"(?<=[.!?…])[\"'”’)\]*_]*(?=\s)|\n+")  # noqa: RUF001
FIRST_PERSON = re.compile(r"\b(?:i|me|my|mine|myself|we|our|ours|us|ourselves)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Narrator:
    """A fitted classifier: the blocks it reads, and how its features are standardised, `[feature]`."""

    blocks: tuple[int, ...]
    centre: Float[np.ndarray, "feature"]
    spread: Float[np.ndarray, "feature"]
    classifier: SVC

    def margins(self, states: Float[np.ndarray, "sentence feature"]) -> Float[np.ndarray, "sentence"]:
        """How far each sentence lies on the narrating side."""
        found: np.ndarray = self.classifier.decision_function((states - self.centre) / self.spread)
        return found


def narrator(host: Host) -> Narrator | None:
    """The classifier for this model, which must be in its base state; None for a model that it is no good on."""
    texts, labels = labelled()
    blocks = tuple(sorted({int(depth * len(host.blocks)) for depth in DEPTHS}))
    states = _states(host, texts, blocks)
    held = np.arange(len(texts)) % FOLDS == 0
    trial = _fitted(blocks, states[~held], labels[~held])
    if roc_auc_score(labels[held], trial.margins(states[held])) < FIT:
        return None
    return _fitted(blocks, states, labels)


def labelled() -> tuple[list[str], Float[np.ndarray, "sentence"]]:
    """The labelled sentences, and 1 for those that narrate, 0 for others."""
    tables = tomllib.loads(LABELLED.read_text(encoding="utf-8"))
    narrating, other = (list(chain(*tables[name].values())) for name in ("narrates", "other"))
    return [*narrating, *other], np.repeat([1.0, 0.0], [len(narrating), len(other)])


def _fitted(
    blocks: tuple[int, ...], states: Float[np.ndarray, "sentence feature"], labels: Float[np.ndarray, "sentence"]
) -> Narrator:
    centre, spread = states.mean(0), states.std(0) + 1e-6
    classifier = SVC(C=COST, class_weight="balanced").fit((states - centre) / spread, labels)
    return Narrator(blocks, centre, spread, classifier)


def _states(host: Host, texts: Sequence[str], blocks: Sequence[int]) -> Float[np.ndarray, "sentence feature"]:
    """The mean over a sentence's tokens of what each block writes, side by side."""
    rows = Rows(tuple(text_ids(host, QUESTION)), tuple(tuple(text_ids(host, text, start=False)) for text in texts))
    means = block_outputs(host, rows, blocks, pool="mean")
    return np.concatenate([means[block].numpy() for block in blocks], axis=1)


def narrated(host: Host, reader: Narrator | None, texts: Sequence[Completion]) -> list[Completion]:
    """The texts with their margins, as they were where there is no classifier; the model must be in its base state."""
    if reader is None:
        return list(texts)
    spans = [(i, start, stop) for i, text in enumerate(texts) for start, stop in sentences(text.text)]
    best: dict[int, tuple[float, int | None, int | None]] = dict.fromkeys(range(len(texts)), (ABSENT, None, None))
    for (i, start, stop), margin in zip(spans, _margins(host, reader, texts, spans), strict=True):
        if best[i][1] is None or margin > best[i][0]:
            best[i] = margin, start, stop
    return [
        replace(text, narration=margin, narration_start=start, narration_stop=stop)
        for text, (margin, start, stop) in zip(texts, best.values(), strict=True)
    ]


def _margins(
    host: Host, reader: Narrator, texts: Sequence[Completion], spans: Sequence[tuple[int, int, int]]
) -> list[float]:
    """The margin of each span, given by its text's number and its first and last character."""
    if not spans:
        return []
    found: list[float] = reader.margins(
        _states(host, [texts[i].text[a:b] for i, a, b in spans], reader.blocks)
    ).tolist()
    return found


def sentences(text: str) -> list[tuple[int, int]]:
    """Where each sentence in the first person begins and ends (characters), without the space around it."""
    edges = [0, *(match.end() for match in END.finditer(text)), len(text)]
    parts = [(text[a:b], a) for a, b in pairwise(edges)]
    return [
        (start + len(part) - len(part.lstrip()), start + len(part.rstrip()))
        for part, start in parts
        if FIRST_PERSON.search(part)
    ]
