"""What one arm's answers say: every quantity of an arm, and its change from the base on the same vignettes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from steerkit.evidence import ArmEvidence
from steerkit.records import FOUNDATIONS
from steerkit.stats import Interval, Resamples, informedness, interval, likeliest

FLOOR = float(np.log(1e-6))
"""Log-probabilities are floored here (nats), so that one vanished answer cannot carry a mean."""
SMALLEST_SHIFT = 0.05
"""Below this shift of the target a cost per shift is blank (nats)."""
NOT_WRONG = "SocialNorms"

Draws = Float[np.ndarray, "resample"]
Column = tuple[Float[np.ndarray, "vignette"], Bool[np.ndarray, "vignette"]]
"""A value per vignette, and the vignettes it is averaged over."""


@dataclass(frozen=True)
class ArmMetrics:
    """Every quantity of one arm with its bootstrap draws; draw 0 is the value as measured.

    `draws`, by name, levels in nats:
    `<foundation>_nats`: the diagonal, mean log p[f] over f's vignettes; `auth_nats`, `target_nats` are two of them.
    `median_target_nats`: the median over the target's vignettes.
    `marginal`, `auth_marginal`: log of the mean p[target], p[Authority] over all vignettes.
    `clr`: log p[target] less the mean of all seven, on target rows.
    `margin`: the best answer's lead over the second. `entropy`: of the choice. `prefill_nll`: per scaffold token.
    `label_nll`: mean -log p of the label.
    `flip_nats`: how far `target_nats` moves when the base's answer to one of the target's vignettes flips: the mean gap
    between log p[target] and the best other answer, over the number of target rows.

    Levels as fractions:
    `marginal_on_target`, `marginal_off_target`: what target rows and other rows contribute to the mean p[target].
    `not_wrong`, `not_wrong_elsewhere`: p[SocialNorms] on target rows, and on the other rows except its own.
    `pick_rate`: target rows answered with the target. `mass`: of the seven answers. `coherence`: mass over the base's.
    `frac_unscorable`: rows without a readable answer. `informedness`: macro recall less false-alarm rate of the picks.

    Changes from the base: `d_<foundation>`, `d_auth`, `d_target` of the diagonals, `d_target_raw` without the label-
    bias prior, and `d_<level>` of the other levels that have one. `separation` is `d_target` times the intended sign.
    `coh_cost` is abs(d_coherence) / abs(d_target), blank below 0.05 nats; both its parts are stored beside it.

    A row that is NaN in an arm is unscorable: counted in `unscorable`, left out of that arm's levels, and out of a
    change when it is NaN in either arm; `paired` and `paired_target` say how many rows the changes rest on.
    """

    arm: ArmEvidence
    draws: dict[str, Draws]
    unscorable: int
    paired: int
    paired_target: int

    def resolution(self) -> float | None:
        """The smallest shift of the target that this set tells from none (nats): half the width of the change's
        interval, and never less than the flip of one vignette; None where the change has no interval.
        """
        found, flip = self.interval("d_target"), self.value("flip_nats")
        return None if found is None else max((found.high - found.low) / 2, flip or 0.0)

    def value(self, quantity: str) -> float | None:
        """The quantity as measured; None where it is undefined."""
        value = float(self.draws[quantity][0])
        return value if np.isfinite(value) else None

    def interval(self, quantity: str) -> Interval | None:
        """Its paired-bootstrap interval over vignettes; None where it is undefined."""
        return interval(self.draws[quantity])


def quantity_name(foundation: str) -> str:
    """A foundation as it is written in a quantity's name: `SocialNorms` is `social_norms`."""
    return "social_norms" if foundation == NOT_WRONG else foundation.lower()


def scorable(arm: ArmEvidence) -> Bool[np.ndarray, "vignette"]:
    """Which rows have a readable answer."""
    return np.asarray(~np.isnan(arm.choice).any(axis=1))


def picks(arm: ArmEvidence) -> Int[np.ndarray, "vignette"]:
    """Index of each row's likeliest answer in `FOUNDATIONS`; -1 where the row is unscorable."""
    return likeliest(arm.choice)


def measure(
    arm: ArmEvidence,
    base: ArmEvidence,
    labels: Sequence[str],
    target: str,
    sign: int,
    draw: Resamples,
    floor: float = FLOOR,
) -> ArmMetrics:
    """All quantities of an arm against its base, per bootstrap resample; log-probabilities are floored (nats)."""
    truth = np.asarray(labels)
    both = scorable(arm) & scorable(base)
    columns = _level_columns(arm, truth, target, floor) | _change_columns(arm, base, truth, target, both, floor)
    values = np.stack([value for value, _ in columns.values()], axis=1)
    rows = np.stack([row for _, row in columns.values()], axis=1)
    draws = dict(zip(columns, draw.means(values, rows).T, strict=True))
    if len(set(labels)) > 1:
        draws["informedness"] = informedness(picks(arm), labels, FOUNDATIONS, draw)
    draws["median_target_nats"] = _median(*columns["target_nats"], draw)
    return ArmMetrics(
        arm=arm,
        draws=_finished(draws, target, sign, floor),
        unscorable=int((~scorable(arm)).sum()),
        paired=int(both.sum()),
        paired_target=int((both & (truth == target)).sum()),
    )


OFF_TARGET_WEIGHT = 0.1
"""How much what moves beside the target counts against a selective method."""


def selectivity(
    plus: ArmEvidence,
    minus: ArmEvidence,
    base: ArmEvidence,
    labels: Sequence[str],
    target: str,
    sign: int,
    draw: Resamples,
) -> dict[str, Draws]:
    """How much of what a direction does it does to the target, from its two opposite doses, per resample.

    on                = sign * mean over rows of (clr_target(plus) - clr_target(minus))     nats
    off               = mean over the other six of |the same|                               nats
    gated_selectivity = (on - 0.1 off) * coh^2, coh = min(1, min(mass(plus), mass(minus)) / mass(base))
    si_flips          = sign * (pick rate of the target (plus) - pick rate (minus)), over the target's rows, -1 to 1

    clr is the log-probability less the mean of all seven. Magnitude is evidence, flips are behaviour.
    """
    both = scorable(plus) & scorable(minus)
    floored = [np.maximum(arm.choice, FLOOR) for arm in (plus, minus)]
    apart = np.subtract(*(side - side.mean(axis=1, keepdims=True) for side in floored))
    moved = draw.means(apart, np.broadcast_to(both[:, None], apart.shape))
    goal, own = FOUNDATIONS.index(target), np.asarray(labels) == target
    on, off = sign * moved[:, goal], np.abs(np.delete(moved, goal, axis=1)).mean(axis=1)
    everywhere = np.ones(len(own), bool)
    masses = [draw.mean(np.nan_to_num(arm.mass, nan=0.0), everywhere) for arm in (plus, minus, base)]
    coherence = np.minimum(1.0, _ratio(np.minimum(masses[0], masses[1]), masses[2]))
    picked = [draw.mean((picks(arm) == goal).astype(float), own) for arm in (plus, minus)]
    return {
        "selectivity_on": on,
        "selectivity_off": off,
        "gated_selectivity": (on - OFF_TARGET_WEIGHT * off) * coherence**2,
        "si_flips": sign * (picked[0] - picked[1]),
    }


def _clr(floored: Float[np.ndarray, "vignette 7"], goal: int) -> Float[np.ndarray, "vignette"]:
    """The centred log-ratio: log p of one answer less the mean log p of all seven (Aitchison 1982)."""
    return np.asarray(floored[:, goal] - floored.mean(axis=1))


def _level_columns(arm: ArmEvidence, truth: np.ndarray, target: str, floor: float) -> dict[str, Column]:
    """What the arm is in itself, averaged over its own scorable rows."""
    read = scorable(arm)
    floored, chance = np.maximum(arm.choice, floor), np.exp(arm.choice)
    ranked = np.sort(floored, axis=1)
    goal, everywhere = FOUNDATIONS.index(target), np.ones(len(truth), bool)
    columns = {
        f"{quantity_name(name)}_nats": (floored[:, column], read & (truth == name))
        for column, name in enumerate(FOUNDATIONS)
    }
    columns |= {
        "target_nats": columns[f"{quantity_name(target)}_nats"],
        "clr": (_clr(floored, goal), read & (truth == target)),
        "margin": (ranked[:, -1] - ranked[:, -2], read),
        "entropy": (-(chance * floored).sum(axis=1), read),
        "mean_target": (chance[:, goal], read),
        "mean_authority": (chance[:, FOUNDATIONS.index("Authority")], read),
        "label_nll": (-_own(floored, truth), read),
        "mass": (np.nan_to_num(arm.mass, nan=0.0), everywhere),
        "frac_unscorable": ((~read).astype(float), everywhere),
        "prefill_nll": _prefill(arm, everywhere),
    }
    return columns


def _gap(floored: Float[np.ndarray, "vignette 7"], goal: int) -> Float[np.ndarray, "vignette"]:
    """How far the target's log p is from the best other answer's: what one row moves by when its answer flips."""
    return np.asarray(np.abs(floored[:, goal] - np.delete(floored, goal, axis=1).max(axis=1)))


def _own(floored: Float[np.ndarray, "vignette 7"], truth: np.ndarray) -> Float[np.ndarray, "vignette"]:
    """Each row's log p of its own label."""
    return np.asarray(np.select([truth == name for name in FOUNDATIONS], list(floored.T), default=np.nan))


def _prefill(arm: ArmEvidence, everywhere: Bool[np.ndarray, "vignette"]) -> Column:
    if arm.prefill_nll is None:
        return np.zeros(len(everywhere)), ~everywhere
    return arm.prefill_nll, np.isfinite(arm.prefill_nll)


def _change_columns(
    arm: ArmEvidence,
    base: ArmEvidence,
    truth: np.ndarray,
    target: str,
    both: Bool[np.ndarray, "vignette"],
    floor: float,
) -> dict[str, Column]:
    """What changes are made of: differences, or both sides (`base_...`), over rows scorable in both arms."""
    raw = ~np.isnan(arm.raw_choice).any(axis=1) & ~np.isnan(base.raw_choice).any(axis=1)
    own, everywhere, goal = truth == target, np.ones(len(truth), bool), FOUNDATIONS.index(target)
    mine, its = np.maximum(arm.choice, floor), np.maximum(base.choice, floor)
    columns = {
        f"d_{quantity_name(name)}": (mine[:, column] - its[:, column], both & (truth == name))
        for column, name in enumerate(FOUNDATIONS)
    }
    columns["d_clr"] = (_clr(mine, goal) - _clr(its, goal), both & own)
    mine_raw, its_raw = (np.maximum(side.raw_choice[:, goal], floor) for side in (arm, base))
    columns["d_target_raw"] = (mine_raw - its_raw, raw & own)
    flips = scorable(base) & own
    columns["flip_nats"] = (_gap(its, goal) / max(1, int(flips.sum())), flips)
    columns["base_mass"] = (np.nan_to_num(base.mass, nan=0.0), everywhere)
    for prefix, side in (("", arm), ("base_", base)):
        chance = np.exp(side.choice)
        excused = chance[:, FOUNDATIONS.index(NOT_WRONG)]
        chosen = chance[:, goal]
        columns |= {
            f"{prefix}paired_target": (chosen, both),
            f"{prefix}paired_authority": (chance[:, FOUNDATIONS.index("Authority")], both),
            f"{prefix}marginal_on_target": (np.where(own, chosen, 0.0), both),
            f"{prefix}marginal_off_target": (np.where(own, 0.0, chosen), both),
            f"{prefix}not_wrong": (excused, both & own),
            f"{prefix}not_wrong_elsewhere": (excused, both & ~own & (truth != NOT_WRONG)),
            f"{prefix}pick_rate": ((picks(side) == goal).astype(float), own),
        }
    return columns


def _finished(draws: dict[str, Draws], target: str, sign: int, floor: float) -> dict[str, Draws]:
    """The ratios, logs and differences that are taken after averaging; helpers are dropped."""
    out = {name: value for name, value in draws.items() if not name.startswith(("base_", "paired_", "mean_"))}
    for name in ("marginal_on_target", "marginal_off_target", "not_wrong", "not_wrong_elsewhere", "pick_rate"):
        out[f"d_{name}"] = draws[name] - draws[f"base_{name}"]
    for name, helper in (("marginal", "target"), ("auth_marginal", "authority")):
        out[name] = _log(draws[f"mean_{helper}"], floor)
        out[f"d_{name}"] = _log(draws[f"paired_{helper}"], floor) - _log(draws[f"base_paired_{helper}"], floor)
    out["auth_nats"], out["d_auth"] = draws["authority_nats"], draws["d_authority"]
    out["d_target"] = draws[f"d_{quantity_name(target)}"]
    out["separation"] = sign * out["d_target"]
    out["coherence"] = _ratio(draws["mass"], draws["base_mass"])
    out["d_coherence"] = out["coherence"] - 1
    shift = np.abs(out["d_target"])
    out["coh_cost"] = _ratio(np.abs(out["d_coherence"]), np.where(shift < SMALLEST_SHIFT, np.nan, shift))
    return out


def _log(chance: Draws, floor: float) -> Draws:
    return np.asarray(np.maximum(np.log(np.maximum(chance, 1e-300)), floor))


def _ratio(top: Draws, bottom: Draws) -> Draws:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(top / bottom)


def _median(values: Float[np.ndarray, "vignette"], rows: Bool[np.ndarray, "vignette"], draw: Resamples) -> Draws:
    """The lower weighted median of each resample; NaN where there is no row."""
    order = np.flatnonzero(rows)[np.argsort(values[rows])]
    if not len(order):
        return np.full(len(draw.weights), np.nan)
    reached = draw.weights[:, order].cumsum(axis=1)
    return np.asarray(values[order][(reached >= reached[:, -1:] / 2).argmax(axis=1)])
