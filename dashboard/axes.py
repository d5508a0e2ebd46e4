"""What the plane's axes can be: a quantity of table `effect`, a channel of coherence, or the dose; which is better."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars

FLOOR = 0.85
"""Coherence below which a model is broken (fraction of the base's)."""


@dataclass(frozen=True)
class Axis:
    """One choice for an axis. `quantity` is None for what has no interval: `column` of the arm's row, or a channel."""

    label: str
    title: str
    quantity: str | None
    column: str = ""
    inverted: bool = False
    """Whether what is drawn is 1 less the quantity, so that less is better."""
    ranked: bool = True
    """Whether one side of it is better, so that a front can be drawn."""
    base_at_zero: bool = True
    """Whether the base lies at 0."""
    channel: bool = False
    """Whether `column` is one of view coherence, not of the arm's row."""


GAINS: Mapping[str, Axis] = {
    "separation": Axis("towards the trait", "shift of {target} towards the trait (nats)", "separation"),
    **{
        f"d_{name}": Axis(f"{label}, as it is", f"change of {label} from the base (nats)", f"d_{name}", ranked=False)
        for name, label in (
            ("auth", "Authority"),
            ("care", "Care"),
            ("fairness", "Fairness"),
            ("loyalty", "Loyalty"),
            ("sanctity", "Sanctity"),
            ("liberty", "Liberty"),
            ("social_norms", "Social Norms"),
        )
    },
    "d_marginal": Axis(
        "the answer anywhere", "change of log p[{target}] over all vignettes (nats)", "d_marginal", ranked=False
    ),
}
"""What can stand upright. A front is drawn only for the first: no side of a foundation is better in itself."""
COSTS: Mapping[str, Axis] = {
    "coherence": Axis(
        "answer mass lost", "coherence cost: answer mass lost, relative to base (fraction)", "coherence", inverted=True
    ),
    "frac_unscorable": Axis(
        "answers that cannot be read", "unreadable answers (fraction)", "frac_unscorable", base_at_zero=False
    ),
    "prefill_nll": Axis(
        "surprise at the scaffold",
        "NLL of the scaffold before the answer (nats/token)",
        "prefill_nll",
        base_at_zero=False,
    ),
    "entropy": Axis(
        "indecision",
        "entropy of the choice over the seven answers (nats)",
        "entropy",
        ranked=False,
        base_at_zero=False,
    ),
    "kl_mean": Axis(
        "KL per token", "mean KL(arm || base) on its own texts (nats/token)", None, "kl_mean", channel=True
    ),
    "kl_p95": Axis(
        "KL per token, largest", "95th percentile of KL(arm || base) (nats/token)", None, "kl_p95", channel=True
    ),
    "perplexity": Axis(
        "perplexity of its texts",
        "median perplexity of its texts under the base",
        None,
        "perplexity",
        ranked=False,
        base_at_zero=False,
        channel=True,
    ),
    "repetition": Axis(
        "repetition in its texts",
        "repeated trigrams in its texts' worst window, median (fraction)",
        None,
        "distinct_tail",
        inverted=True,
        base_at_zero=False,
        channel=True,
    ),
    "json_valid": Axis(
        "answers that are no JSON",
        "free answers that do not parse (fraction)",
        None,
        "json_valid",
        inverted=True,
        base_at_zero=False,
        channel=True,
    ),
    "dose": Axis("dose", "dose (1: 95th percentile of per-token KL at its target)", None, "dose", ranked=False),
    "strength": Axis("strength", "strength (the method's natural steps)", None, "strength", ranked=False),
}
"""What can lie across."""
NULLS = ("random", "shuffled")
STUDENTS = ("healed", "plain", "weights", "previous")


@dataclass(frozen=True)
class Axes:
    """The two that were chosen."""

    gain: Axis
    cost: Axis
    target: str

    @property
    def ranked(self) -> bool:
        """Whether up and left is better, so that there is a front."""
        return self.gain.ranked and self.cost.ranked

    @property
    def broken(self) -> bool:
        """Whether the region of broken models can be drawn."""
        return self.cost.quantity == "coherence"

    @property
    def titles(self) -> tuple[str, str]:
        """What stands at the axes, across and upright."""
        return self.cost.title, self.gain.title.format(target=self.target)


def points(frame: polars.DataFrame, axes: Axes) -> list[dict[str, Any]]:
    """Every arm that has a place in the plane, as the charts want it; finite places only."""
    rows = [_point(row, axes.cost) for row in frame.iter_rows(named=True)]
    return [row for row in rows if _finite(row["gain"]) and _finite(row["cost"])]


def _point(row: Mapping[str, Any], cost: Axis) -> dict[str, Any]:
    low, high = ("cost_high", "cost_low") if cost.inverted else ("cost_low", "cost_high")
    bounds = [row["cost"], row[low], row[high]] if cost.quantity else [row[cost.column], None, None]
    if cost.inverted:
        bounds = [None if bound is None else 1 - bound for bound in bounds]
    group = "opposite" if row["kind"] == "steered" and row["dose"] < 0 else row["kind"]
    found = dict(zip(("cost", "cost_low", "cost_high"), bounds, strict=True))
    return {**row, **found, "group": group, "line": f"{row['run_id']} {row['direction_id']}"}


def _finite(value: float | None) -> bool:
    return value is not None and abs(value) < float("inf")
