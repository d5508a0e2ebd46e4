"""Synthetic texts by the thousand: words from the library, and figures that rise and fall with the dose as planted.

| dose | what is planted |
| --- | --- |
| rising | KL per token as dose^1.6, NLL per token linearly, sentences of principle in place of deference |
| above the knee | texts break: they loop, or lose their sense |
| any | a few narrate the trait, a few refuse |
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from steerkit.demo.library import Library

if TYPE_CHECKING:
    import polars

SLOTS, FEWEST = 7, 3
"""Sentences of a text at most, and at least."""
NARRATING, REFUSING = 0.03, 0.015
"""Shares of texts (fraction)."""
STEEPNESS = 0.3
"""How many doses it takes from few broken texts to many."""
KL, NLL, NLL_RISE, NLL_BROKEN = 0.22, 1.55, 0.5, 1.6
"""Mean KL at dose 1, mean NLL of the base, its rise per dose, and of a text that lost its sense (nats per token)."""
WINDOW = 8
"""Tokens over which the check of KL takes its mean."""
CLASSES = ("healthy", "narrates", "refuses", "loops", "salad")
SHAPES = {"healthy": (0.97, 0.03, 1.4), "narrates": (0.97, 0.03, 1.4), "refuses": (0.98, 0.02, 1.3)} | {
    "loops": (0.25, 0.12, 2.4),
    "salad": (0.99, 0.01, 1.05),
}
"""Mean share of distinct trigrams, its spread (fraction), and mean compression, by class."""


@dataclass(frozen=True)
class Prose:
    """Texts: what completions hold as a frame, each one's largest KL of a window, and its place in `CLASSES`."""

    columns: "polars.DataFrame"
    kl_spike: Float[np.ndarray, "text"]
    drawn: Int[np.ndarray, "text"]


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths end to end: row i is `[starts[i], starts[i] + lengths[i])`."""

    lengths: Int[np.ndarray, "row"]

    @property
    def starts(self) -> Int[np.ndarray, "row"]:
        """Where each row begins."""
        return np.asarray(np.cumsum(self.lengths) - self.lengths)

    def gathered(self, starts: Int[np.ndarray, "row"]) -> Int[np.ndarray, "item"]:
        """Places of the rows' items in a table where row i begins at `starts[i]`."""
        return np.asarray(np.repeat(starts - self.starts, self.lengths) + np.arange(int(self.lengths.sum())))

    def means(self, values: Float[np.ndarray, "item"]) -> Float[np.ndarray, "row"]:
        """Each row's mean."""
        return np.asarray(np.add.reduceat(values, self.starts) / self.lengths)

    def lists(self, values: Any) -> "polars.Series":
        """The rows as one column of lists."""
        import polars
        import pyarrow

        offsets = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)
        rows = pyarrow.LargeListArray.from_arrays(pyarrow.array(offsets), values)
        return polars.Series(polars.from_arrow(rows))


def prose(
    library: Library, dose: Float[np.ndarray, "text"], knee: float, length: int, chance: np.random.Generator
) -> Prose:
    """One text per dose, of at most `length` tokens; above dose `knee` most of them are broken."""
    drawn = _classes(dose, knee, chance)
    sentences, counts = _sentences(library, drawn, dose, chance)
    tokens, rows, ended = _tokens(library, sentences, counts, length)
    nll, kl = _nll(drawn, dose, rows, chance), _kl(drawn, dose, rows, chance)
    last = Ragged(np.maximum(1, rows.lengths // 4))
    tail = nll[last.gathered(rows.starts + rows.lengths - last.lengths)]
    return Prose(
        columns=_frame(library, tokens, rows, nll, kl).with_columns(
            **_shape(drawn, chance),
            ended=ended,
            perplexity=np.exp(rows.means(nll)),
            tail_perplexity=np.exp(last.means(tail)),
            **_narration(library, sentences, drawn, rows, chance),
        ),
        kl_spike=_spike(kl, rows),
        drawn=drawn,
    )


def _classes(dose: Float[np.ndarray, "text"], knee: float, chance: np.random.Generator) -> Int[np.ndarray, "text"]:
    broken = np.where(dose > 0, 1 / (1 + np.exp((knee - dose) / STEEPNESS)), 0.004)
    draw, kind = chance.random(len(dose)), chance.random(len(dose))
    found = np.where(draw < broken, np.where(kind < 0.5, 3, 4), 0)
    whole = np.where(kind < NARRATING * (dose > 0), 1, np.where(kind > 1 - REFUSING, 2, 0))
    return np.where(found == 0, whole, found)


def _sentences(
    library: Library, drawn: Int[np.ndarray, "text"], dose: Float[np.ndarray, "text"], chance: np.random.Generator
) -> tuple[Int[np.ndarray, "text slot"], Int[np.ndarray, "text"]]:
    """Which sentences each text is made of, and how many of them are used."""
    shape = (len(drawn), SLOTS)
    pick = {kind: library.drawn(kind, shape, chance) for kind in library.ranges}
    mix, lean = chance.random(shape), np.clip(0.2 + 0.4 * dose, 0, 0.8)[:, None]
    chosen = np.where(mix < lean, pick["principle"], np.where(mix < 0.7, pick["plain"], pick["deference"]))
    own = drawn[:, None]
    slot = np.arange(SLOTS)[None, :]
    chosen = np.where((own == 1) & (slot == 1), pick["narration"], chosen)
    chosen = np.where((own == 2) & (slot == 0), pick["refusal"], chosen)
    chosen = np.where((own == 3) & (slot > 0), pick["loop"][:, :1], chosen)
    chosen = np.where(own == 4, pick["salad"], chosen)
    return chosen, chance.integers(FEWEST, SLOTS + 1, len(drawn))


def _tokens(
    library: Library, sentences: Int[np.ndarray, "text slot"], counts: Int[np.ndarray, "text"], length: int
) -> tuple[Int[np.ndarray, "token"], Ragged, Bool[np.ndarray, "text"]]:
    """Every text's tokens end to end, cut at the cap, and which texts ended by themselves."""
    used = np.arange(SLOTS)[None, :] < counts[:, None]
    parts = Ragged(library.lengths[sentences[used]])
    tokens = library.tokens[parts.gathered(library.starts[sentences[used]])]
    whole = Ragged((library.lengths[sentences] * used).sum(axis=1))
    rows = Ragged(np.minimum(whole.lengths, length))
    tokens = tokens[rows.gathered(whole.starts)]
    tokens[rows.starts] = library.bare[tokens[rows.starts]]
    return tokens, rows, whole.lengths <= length


def _nll(
    drawn: Int[np.ndarray, "text"], dose: Float[np.ndarray, "text"], rows: Ragged, chance: np.random.Generator
) -> Float[np.ndarray, "token"]:
    """Negative log-likelihood of each token under the base (nats)."""
    level = NLL + NLL_RISE * dose + chance.normal(0, 0.2, len(dose))
    level = np.where(drawn == 4, level + NLL_BROKEN, np.where(drawn == 3, 0.6 * level, level))
    return np.round(chance.standard_gamma(0.9, int(rows.lengths.sum())) * np.repeat(level / 0.9, rows.lengths), 4)


def _kl(
    drawn: Int[np.ndarray, "text"], dose: Float[np.ndarray, "text"], rows: Ragged, chance: np.random.Generator
) -> Float[np.ndarray, "token"]:
    """KL(steered || base) at each token (nats); 0 where nothing steers."""
    level = KL * dose**1.6 * np.exp(chance.normal(0, 0.2, len(dose))) * np.where(drawn >= 3, 1.8, 1.0)
    return np.round(chance.standard_gamma(0.7, int(rows.lengths.sum())) * np.repeat(level / 0.7, rows.lengths), 4)


def _spike(kl: Float[np.ndarray, "token"], rows: Ragged) -> Float[np.ndarray, "text"]:
    """The largest mean KL of a window of each text."""
    wide = np.minimum(rows.lengths, WINDOW)
    windows = Ragged(rows.lengths - wide + 1)
    summed = np.concatenate([[0.0], np.cumsum(kl)])
    first, size = windows.gathered(rows.starts), np.repeat(wide, windows.lengths)
    return np.asarray(np.maximum.reduceat((summed[first + size] - summed[first]) / size, windows.starts))


def _shape(drawn: Int[np.ndarray, "text"], chance: np.random.Generator) -> dict[str, Any]:
    """How often texts repeat themselves."""
    mean, spread, packed = (np.asarray([SHAPES[name][i] for name in CLASSES])[drawn] for i in range(3))
    return {
        "distinct_tail": np.round(np.clip(mean + spread * chance.normal(size=len(drawn)), 0.02, 1), 3),
        "compression": np.round(packed + 0.1 * chance.normal(size=len(drawn)), 3),
    }


def _narration(
    library: Library,
    sentences: Int[np.ndarray, "text slot"],
    drawn: Int[np.ndarray, "text"],
    rows: Ragged,
    chance: np.random.Generator,
) -> dict[str, Any]:
    """The margin of the most self-describing sentence, and where it stands."""
    import polars

    sizes = np.asarray([len(piece) for piece in library.vocabulary])[library.tokens]
    characters = np.add.reduceat(sizes, library.starts)
    begin = characters[sentences[:, 0]]
    end = begin + characters[sentences[:, 1]] - 1
    narrates = (drawn == 1) & (library.lengths[sentences[:, :2]].sum(axis=1) <= rows.lengths)
    margin = np.where(narrates, chance.normal(0.8, 0.25, len(drawn)), chance.normal(-1.0, 0.25, len(drawn)))
    where = polars.Series(narrates)
    return {
        "narration": np.round(margin, 4),
        "narration_start": polars.when(where).then(polars.Series(begin)),
        "narration_stop": polars.when(where).then(polars.Series(end)),
    }


def _frame(
    library: Library,
    tokens: Int[np.ndarray, "token"],
    rows: Ragged,
    nll: Float[np.ndarray, "token"],
    kl: Float[np.ndarray, "token"],
) -> "polars.DataFrame":
    import polars
    import pyarrow

    pieces = rows.lists(pyarrow.array(library.vocabulary, pyarrow.large_string()).take(pyarrow.array(tokens)))
    return polars.DataFrame(
        {
            "text": pieces.list.join(""),
            "tokens": rows.lengths,
            "token_kl": rows.lists(pyarrow.array(kl)),
            "pieces": pieces,
            "token_ids": rows.lists(pyarrow.array(tokens)),
            "token_nll": rows.lists(pyarrow.array(nll)),
        }
    )
