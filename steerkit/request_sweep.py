"""A question for a sweep, checked before any model is loaded: which settings to try, on the kept data of which run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, get_args

from msgspec.structs import asdict

from steerkit.errors import UsageError, unknown
from steerkit.inputs import Dilemma
from steerkit.plugins import load
from steerkit.records import FilterSet
from steerkit.request import configured, split
from steerkit.request_gate3 import Collected, Gate3Request
from steerkit.spec_heal import Aggregate, Divergence, Gate3Spec, Grid, HealSpec, HeldOutSpec, Reference, SweepSpec

OPTIONS = {
    "divergence": "--reg",
    "aggregate": "--agg",
    "reference": "--ref",
    "lam": "--lam",
    "tau": "--tau",
    "weight_decay": "--wd",
    "spectral": "--spectral",
}
"""Settings that can be swept, by the options that name their values."""
KNOWN: dict[str, tuple[str, ...]] = {
    "divergence": get_args(Divergence),
    "aggregate": get_args(Aggregate),
    "reference": get_args(Reference),
}
SECTIONS = ("heal", "gate")
MOST = 200
"""Points of a grid; more would run for days."""


@dataclass(frozen=True)
class Axes:
    """The lists that were given, by setting, before it is known which run they are about."""

    given: dict[str, tuple[str, ...]]
    settings: dict[str, dict[str, str]]

    @classmethod
    def checked(cls, asked: Mapping[str, Any]) -> "Axes":
        """Read the comma-separated lists.

        Raises UsageError for an unknown name, an empty list, or when nothing is to be tried.
        """
        given = {name: _values(name, asked[name]) for name in OPTIONS if asked[name] is not None}
        if not given:
            raise UsageError(
                f"a sweep must try something, but got no values; give some of {', '.join(OPTIONS.values())}"
            )
        return cls(given, split(asked["settings"], SECTIONS))

    def over(self, heal: HealSpec, *, first_round: bool) -> Grid:
        """The grid, settings that were not named standing at what `heal` has.

        In a first round both references are the untouched base, so only the one named first is trained.
        Raises UsageError for a value out of range or too many points.
        """
        rest = {name: (getattr(heal, name),) for name in OPTIONS if name not in self.given}
        named = {name: tuple(_read(heal, name, value) for value in values) for name, values in self.given.items()}
        axes = {name: tuple(dict.fromkeys(values)) for name, values in (rest | named).items()}
        if first_round:
            axes["reference"] = axes["reference"][:1]
        grid = Grid(**axes)
        if grid.size() > MOST:
            lengths = " x ".join(f"{OPTIONS[name]} {len(axes[name])}" for name in OPTIONS if len(axes[name]) > 1)
            whole = prod(map(len, axes.values()))
            raise UsageError(
                f"a grid must have at most {MOST} points, but this one has {grid.size()} ({lengths} = {whole} "
                "combinations); name fewer values, or sweep one part after another"
            )
        return grid


@dataclass(frozen=True)
class SweepRequest(Gate3Request):
    """A checked question for a sweep: gate 3's, with a grid in place of the controls, and nothing written anew."""

    grid: Grid | None = None
    gate3_run: str = ""

    @classmethod
    def of(cls, asked: Mapping[str, Any], found: Collected, gate3_run: str, healed: Gate3Spec | None) -> "SweepRequest":
        """The question about the kept texts of `found`; settings that were not asked for are those of `healed`.

        Raises UsageError for settings out of range, or too few kept texts.
        """
        axes = Axes.checked(asked)
        heal, gate = (asdict(healed.heal), healed.gate_config) if healed else ({}, {})
        filter_id = healed.filter_id if healed else found.filter_id()
        spec = configured(HealSpec, heal | axes.settings["heal"], "heal")
        whole = cls(
            asked={**asked, "seed": (healed or found.spec).seed, "weights": False},
            heal=spec,
            held_out=HeldOutSpec(),
            controls=(),
            gate_config=configured(load("gates", "gate3_heal").Config, gate | axes.settings["gate"], "gate gate3_heal"),
            dilemmas=(),
            mundane=(),
            grid=axes.over(spec, first_round=not found.spec.history),
            gate3_run=gate3_run,
        )
        whole.need_texts(as_filtered(found, filter_id))
        number = healed.round if healed else len(found.spec.history)
        return replace(whole, collected=as_filtered(found, filter_id), round=number)

    def seen(self) -> tuple[Dilemma, ...]:
        """No prompts: nothing is written."""
        return ()

    def unseen(self) -> tuple[Dilemma, ...]:
        """No prompts: nothing is written."""
        return ()

    def spec(self, attempt: int) -> SweepSpec:
        """The run's spec."""
        assert self.grid is not None
        return SweepSpec(
            **asdict(super().spec(attempt)) | {"gate": "sweep", "grid": self.grid, "gate3_run": self.gate3_run}
        )


def as_filtered(found: Collected, filter_id: str) -> Collected:
    """The run of gate 2 as it was decided in that round, whatever was decided since."""
    kept = [r for r in found.records if not isinstance(r, FilterSet) or r.filter_id == filter_id]
    return replace(found, records=tuple(kept))


def _values(name: str, given: str) -> tuple[str, ...]:
    """A comma-separated list.

    Raises UsageError for an empty one, or an unknown name.
    """
    found = tuple(part.strip() for part in given.split(",") if part.strip())
    if not found:
        raise UsageError(f"{OPTIONS[name]} must be one value or more, separated by commas, but got {given!r}")
    for value in found if name in KNOWN else ():
        if value not in KNOWN[name]:
            raise unknown(f"value of {OPTIONS[name]}", value, KNOWN[name])
    return found


def _read(heal: HealSpec, name: str, value: str) -> Any:
    """One value as the setting has it.

    Raises UsageError for no number, or one out of range.
    """
    if isinstance(getattr(heal, name), float):
        try:
            float(value)
        except ValueError:
            raise UsageError(
                f"{OPTIONS[name]} must be numbers from 0, separated by commas, but got {value!r}"
            ) from None
    return getattr(configured(HealSpec, {name: value}, "heal"), name)
