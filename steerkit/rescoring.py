"""A finished run's quantities by another version of the metrics: from its stored raw answers, without a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from steerkit.errors import UsageError, unknown
from steerkit.evidence import ArmEvidence
from steerkit.metrics import ArmMetrics, measure
from steerkit.records import ANSWER_FIELDS, Rescored
from steerkit.spec import digest, unit_id
from steerkit.stats import Interval, Resamples, across_seeds, interval, intervals, resample
from steerkit.store import Store, differing

if TYPE_CHECKING:
    import polars

OWN = "own"
"""The version's name where single settings were given."""


@dataclass(frozen=True)
class Rule:
    """How raw answers become metrics: with the label bias taken off or not, floored at a probability."""

    version: str
    corrected: bool
    floor: float


@dataclass(frozen=True)
class Scored:
    """One run's arms by one rule; `stored`: what the run itself says, by arm and quantity."""

    run: str
    rule: Rule
    target: str
    arms: tuple[ArmMetrics, ...]
    stored: Mapping[tuple[str, str], float]

    def records(self, seq: int) -> list[Rescored]:
        """Every quantity of every arm, as it is stored."""
        name = digest(self.run, self.rule.version, self.rule.corrected, self.rule.floor, seq)
        own = {"run_id": self.run, "unit_id": unit_id(self.run, "rescore", name), "rescore_id": name, "seq": seq}
        rule = {"version": self.rule.version, "corrected": self.rule.corrected, "floor": self.rule.floor}
        return [
            Rescored(**own, **rule, arm_id=arm.arm.arm_id, quantity=quantity, value=arm.value(quantity), **ends(found))  # type: ignore[arg-type]
            for arm in self.arms
            for quantity, found in intervals(arm.draws).items()
        ]


def ends(found: Interval | None) -> dict[str, float | None]:
    """An interval's ends; None where there is none."""
    return {"low": None if found is None else found.low, "high": None if found is None else found.high}


def rule(store: Store, version: str, settings: Sequence[str]) -> Rule:
    """The version's rule, with single settings (`floor=1e-4`, `corrected=false`) changed.

    Raises UsageError for an unknown version or setting, or a floor that is no probability.
    """
    known = {
        str(name): Rule(str(name), bool(corrected), float(floor))
        for name, corrected, floor in store.query("SELECT version, corrected, floor FROM metric_version").iter_rows()
    }
    if version not in known:
        raise unknown("version of the metrics", version, known)
    given = dict(_setting(text) for text in settings)
    if not given:
        return known[version]
    changed = msgspec.convert(
        {"version": OWN, "corrected": known[version].corrected, "floor": known[version].floor} | given, Rule
    )
    if not 0 < changed.floor < 1:
        raise UsageError(f"floor must be a probability above 0 and below 1, but got floor={changed.floor:g}")
    return changed


def _setting(text: str) -> tuple[str, bool | float]:
    name, equals, value = text.partition("=")
    kinds: dict[str, Any] = {"corrected": bool, "floor": float}
    if not equals or name not in kinds:
        raise UsageError(f"--set must be corrected=true, corrected=false or floor=PROBABILITY, but got {text!r}")
    try:
        return name, msgspec.convert(value, kinds[name], strict=False)
    except msgspec.ValidationError:
        raise UsageError(
            f"{name} must be {'true or false' if name == 'corrected' else 'a number'}, but got {value!r}"
        ) from None


def rescore(store: Store, runs: Sequence[str], asked: Rule, resamples: int) -> list[Scored]:
    """Every run's arms by that rule, all over the same resamples of the vignettes.

    Raises UsageError for a run without arms, or runs that were not evaluated alike.
    """
    found = [_Read(store, run) for run in runs]
    for other in found[1:]:
        _need_alike(store, found[0], other)
    draw = resample(found[0].labels, found[0].seed, resamples)
    return [read.scored(asked, draw) for read in found]


def pooled(scored: Sequence[Scored], quantity: str) -> list[tuple[ArmMetrics, Interval | None, Interval | None]]:
    """Each arm of the first run that every run has once, with the quantity's mean over runs: in two intervals.

    The first resamples vignettes and runs, the second vignettes alone.
    """
    by_run = [_once(one.arms) for one in scored]
    found = []
    for key, arm in by_run[0].items():
        if all(key in arms for arms in by_run):
            draws = np.stack([arms[key].draws[quantity] for arms in by_run])
            found.append((arm, interval(across_seeds(draws, seed=0)), interval(draws.mean(axis=0))))
    return found


def _once(arms: Sequence[ArmMetrics]) -> dict[tuple[str, str, float], ArmMetrics]:
    """Arms by kind, method and dose, where a run has only one of them."""
    keys = [(arm.arm.kind, arm.arm.method, arm.arm.dose) for arm in arms]
    return {key: arm for key, arm in zip(keys, arms, strict=True) if keys.count(key) == 1}


RUN = "SELECT any_value(spec), any_value(seed) FROM run WHERE run_id = $run"
ARMS = """
    SELECT arm.arm_id, arm.kind, arm.method, arm.direction_id, arm.strength, arm.dose, arm.eval_hash
    FROM arm JOIN base_arm ON base_arm.run_id = arm.run_id AND base_arm.eval_hash = arm.eval_hash
    WHERE arm.run_id = $run AND arm.arm_id IN (SELECT arm_id FROM answer WHERE run_id = $run)
    ORDER BY arm.kind <> 'base', arm.kind, arm.dose, arm.arm_id
"""
"""The arms that share an eval hash with a base of their run, which is first."""
LABELS = "SELECT foundation FROM choice WHERE run_id = $run AND arm_id = $arm ORDER BY vignette"
COLUMNS = [column for name in ANSWER_FIELDS for column in (name, f"{name}_uncorrected")]
CHOICES = (
    f"SELECT arm_id, mass, prefill_nll, {', '.join(COLUMNS)} FROM choice WHERE run_id = $run ORDER BY arm_id, vignette"
)


class _Read:
    """One run's choices, arm by arm, vignettes in one order."""

    def __init__(self, store: Store, run: str) -> None:
        spec, self.seed = store.query(RUN, {"run": run}).row(0)
        self.run, self.spec = run, msgspec.json.decode(spec)
        self.arms = store.query(ARMS, {"run": run}).to_dicts()
        if not self.arms:
            raise UsageError(
                f"a run must have scored arms to be scored anew, but run {run} has none; see `steerkit show arms`"
            )
        self.eval_hash = str(self.arms[0]["eval_hash"])
        self.labels = store.query(LABELS, {"run": run, "arm": self.arms[0]["arm_id"]})["foundation"].to_list()
        self.choices = store.query(CHOICES, {"run": run}).partition_by("arm_id", as_dict=True)
        stored = store.query("SELECT arm_id, quantity, value FROM effect WHERE run_id = $run", {"run": run})
        self.stored = {(arm, quantity): value for arm, quantity, value in stored.iter_rows() if value is not None}

    def scored(self, asked: Rule, draw: Resamples) -> Scored:
        """Every arm measured against the base."""
        arms = [_evidence(arm, self.choices[arm["arm_id"],], asked) for arm in self.arms]
        target, sign, floor = self.spec["target"], int(self.spec["sign"]), float(np.log(asked.floor))
        measured = tuple(measure(arm, arms[0], self.labels, target, sign, draw, floor) for arm in arms)
        return Scored(self.run, asked, target, measured, self.stored)


def _evidence(arm: Mapping[str, Any], rows: "polars.DataFrame", asked: Rule) -> ArmEvidence:
    """One arm's rows as arrays; without the correction, the choice is the raw one."""
    raw = rows.select([f"{name}_uncorrected" for name in ANSWER_FIELDS]).to_numpy()
    known = {name: arm[name] for name in ("arm_id", "kind", "method", "direction_id", "strength", "dose")}
    return ArmEvidence(
        **known,
        choice=rows.select(ANSWER_FIELDS).to_numpy() if asked.corrected else raw,
        raw_choice=raw,
        mass=rows["mass"].to_numpy(),
        prefill_nll=None if rows["prefill_nll"].null_count() else rows["prefill_nll"].to_numpy(),
    )


def _need_alike(store: Store, first: _Read, other: _Read) -> None:
    """Raises UsageError unless both runs share an eval hash, naming the fields that differ."""
    if first.eval_hash == other.eval_hash:
        return
    parameters = {"first": first.eval_hash, "second": other.eval_hash}
    rows = store.query("FROM evaluation WHERE eval_hash IN ($first, $second)", parameters).to_dicts()
    by_hash = {str(row["eval_hash"]): row for row in rows}
    raise UsageError(
        f"runs must be evaluated alike to be taken together, but {first.run} and {other.run} are not"
        f"{differing(by_hash.get(first.eval_hash), by_hash.get(other.eval_hash))}; score one at a time"
    )
