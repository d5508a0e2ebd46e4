"""What every check says of thousands of synthetic texts at once, from the figures that were planted."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from steerkit.demo.tales import Told, records
from steerkit.filters import Background
from steerkit.personas import load_personas
from steerkit.stages.filter import decide

if TYPE_CHECKING:
    import polars

REASONS = {
    "cap": "cut off after {0} tokens",
    "common_words": "{0} of the words are common",
    "compression": "160 characters compress {0} times",
    "kl_spike": "mean KL {0} nats over 8 tokens",
    "length": "{0} tokens",
    "loops": "{0} of the trigrams of 48 words are distinct",
    "narration": "self-description {0}",
    "near_copy": "like no kept text",
    "base_copy": "{0} of it the base says too",
    "perplexity": "perplexity {0}",
    "persona_words": "the persona's words, {0} times as often as in base texts",
    "tail_perplexity": "perplexity {0} over the last quarter",
}
"""What a check says of a text, by name; {0} is what it measured."""


def decisions(told: Told, filters: Mapping[str, float]) -> tuple["polars.DataFrame", "polars.Series"]:
    """What every check says of every text, a text's checks side by side, and which texts all of them keep."""
    import polars

    values, rows = _values(told), told.rows
    kept = np.ones(rows.height, bool)
    parts = []
    for name, direction in _directions(told, filters).items():
        limit = filters[name]
        keep = values[name] <= limit if direction == "at most" else values[name] >= limit
        kept &= keep
        parts.append(_said(rows, name, values[name], limit, direction, keep))
    side_by_side = np.arange(rows.height * len(parts)).reshape(len(parts), rows.height).T.reshape(-1)
    return polars.concat(parts).select(polars.all().gather(side_by_side)), polars.Series(kept)


def _directions(told: Told, filters: Mapping[str, float]) -> dict[str, Any]:
    """Which side of its threshold each check keeps, as the checks themselves say of one text."""
    text = records(told.rows.head(1))[0]
    background = Background(load_personas()["authority"], {}, (), 80)
    said = decide([text], background, filters, run="", unit="", filter_id="")
    return {decision.name: decision.direction for decision in said}


def _values(told: Told) -> Mapping[str, Float[np.ndarray, "text"]]:
    """What each check measures; a check that is not here measures 0."""
    rows, drawn = told.rows, told.prose.drawn
    chance = np.random.default_rng(int(rows["tokens"].sum()))
    broken = drawn == 4
    known = {
        "cap": 1.0 - rows["ended"].to_numpy(),
        "common_words": np.round(np.where(broken, 0.12, 0.42) + chance.normal(0, 0.03, rows.height), 3),
        "compression": rows["compression"].to_numpy(),
        "kl_spike": told.prose.kl_spike,
        "length": rows["tokens"].to_numpy().astype(float),
        "loops": rows["distinct_tail"].to_numpy(),
        "narration": rows["narration"].to_numpy(),
        "near_copy": np.round(np.abs(chance.normal(0.08, 0.08, rows.height)), 3),
        "base_copy": np.round(np.abs(chance.normal(0.04, 0.05, rows.height)), 3),
        "perplexity": rows["perplexity"].to_numpy(),
        "persona_words": np.round(np.abs(chance.normal(1.0, 0.3, rows.height)), 3),
        "refusal": (drawn == 2).astype(float),
        "identity": ((drawn == 2) & rows["text"].str.contains("As an AI").to_numpy()).astype(float),
        "tail_perplexity": rows["tail_perplexity"].to_numpy(),
    }
    return _WithZeros(rows.height, known)


class _WithZeros(dict[str, Any]):
    """A mapping in which a name that is not there is a column of zeros."""

    def __init__(self, size: int, known: Mapping[str, Any]) -> None:
        super().__init__(known)
        self._size = size

    def __missing__(self, name: str) -> Any:
        return np.zeros(self._size)


def _said(
    rows: "polars.DataFrame",
    name: str,
    value: Float[np.ndarray, "text"],
    limit: float,
    direction: str,
    keep: Bool[np.ndarray, "text"],
) -> "polars.DataFrame":
    """One check's decisions."""
    import polars

    dropped = polars.Series(~keep)
    spans = name in ("narration", "kl_spike", "loops", "compression", "tail_perplexity")
    begin, end = ("narration_start", "narration_stop") if name == "narration" else (None, None)
    start = polars.col(begin) if begin else polars.lit(0, polars.Int64)
    stop = polars.col(end) if end else polars.col("text").str.len_chars().cast(polars.Int64)
    shown = polars.Series(value).round_sig_figs(3).cast(polars.String)
    return rows.select(
        completion_id="completion_id",
        name=polars.lit(name),
        value=polars.Series(value),
        threshold=polars.lit(limit),
        direction=polars.lit(direction),
        keep=polars.Series(keep),
        reason=polars.format(REASONS.get(name, "{0}").replace("{0}", "{}"), shown)
        if "{0}" in REASONS.get(name, "{0}")
        else polars.lit(REASONS[name]),
        start=polars.when(dropped).then(start).otherwise(None) if spans else polars.lit(None, polars.Int64),
        stop=polars.when(dropped).then(stop).otherwise(None) if spans else polars.lit(None, polars.Int64),
    )
