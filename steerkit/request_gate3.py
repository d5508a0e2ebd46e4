"""A question for gate 3, checked before any model is loaded: how adapters are trained, and the runs before it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from steerkit import __version__, inputs
from steerkit.errors import UsageError
from steerkit.inputs import Dilemma
from steerkit.personas import Persona
from steerkit.records import FilterSet, Record, Run, Verdict
from steerkit.request import as_dict, configured, plugin_config, split
from steerkit.request_gate2 import Parent
from steerkit.spec import Gate2Spec, digest
from steerkit.spec_heal import CONTROLS, Control, Gate3Spec, HealSpec, HeldOutSpec
from steerkit.stages.assemble import only
from steerkit.stages.training import taken

SECTIONS = ("heal", "held_out", "gate")
QUICK: dict[str, dict[str, Any]] = {
    "heal": {"fewest_texts": 12, "most_texts": 24},
    "held_out": {"prompts": 3, "length": 40},
}


@dataclass(frozen=True)
class Collected:
    """The finished run of gate 2 whose kept texts are trained on, and the run of gate 1 before it.

    `root`: records of the run that scored the untouched base, the same as gate 1's where nothing is baked in.
    """

    run: Run
    spec: Gate2Spec
    records: tuple[Record, ...]
    parent: Parent
    gate1: tuple[Record, ...]
    root: tuple[Record, ...]
    verdict: str

    @classmethod
    def of(cls, records: Sequence[Record], gate1: Sequence[Record], root: Sequence[Record]) -> "Collected":
        """The parent that the runs' records describe.

        Raises UsageError for a run that is not a finished run of gate 2.
        """
        run = need_gate2(records)
        verdict = next(verdict.status for verdict in only(Verdict, records) if verdict.kind == "gate")
        spec = msgspec.json.decode(run.spec, type=Gate2Spec)
        return cls(run, spec, tuple(records), Parent.of(gate1), tuple(gate1), tuple(root), verdict)

    def filter_id(self) -> str:
        """The newest round of filter decisions."""
        return max(only(FilterSet, self.records), key=lambda found: found.seq).filter_id


def need_gate2(records: Sequence[Record]) -> Run:
    """The run, if it is a finished run of gate 2.

    Raises UsageError otherwise.
    """
    run = only(Run, records)[0]
    need_finished(only(Verdict, records), run, "gate2")
    return run


def need_finished(verdicts: Sequence[Verdict], run: Run, gate: str) -> None:
    """Raise UsageError for a run of another gate, or one that was not judged."""
    finished = any(verdict.kind == "gate" for verdict in verdicts)
    if run.gate != gate or not finished:
        what = f"of {run.gate}" if run.gate != gate else "unfinished"
        raise UsageError(
            f"training goes on from a finished run of {gate}, but {run.run_id} is {what}; `steerkit show runs` lists "
            "all"
        )


@dataclass(frozen=True)
class Gate3Request:
    """A checked question for gate 3; `collected` is known once gate 2 has run."""

    asked: dict[str, Any]
    heal: HealSpec
    held_out: HeldOutSpec
    controls: tuple[Control, ...]
    gate_config: Any
    dilemmas: tuple[Dilemma, ...]
    mundane: tuple[Dilemma, ...]
    collected: Collected | None = None
    round: int = 0

    @classmethod
    def checked(cls, asked: dict[str, Any]) -> "Gate3Request":
        """Check everything that can be checked without a model. Raises UsageError."""
        given = split(asked["settings"], SECTIONS)
        preset = QUICK if asked["quick"] else {}
        named = {name: asked[name] for name in HealSpec.__struct_fields__ if asked.get(name) is not None}
        heal = configured(HealSpec, preset.get("heal", {}) | named | given["heal"], "heal")
        held_out = configured(HeldOutSpec, preset.get("held_out", {}) | given["held_out"], "held_out")
        read = inputs.dilemmas(asked["dilemmas"])
        pressure, mundane = (tuple(d for d in read if (d.kind == "pressure") is wanted) for wanted in (True, False))
        return cls(
            asked=asked,
            heal=heal,
            held_out=held_out,
            controls=_controls(asked["controls"]),
            gate_config=plugin_config("gates", "gate3_heal", given["gate"]),
            dilemmas=pressure,
            mundane=mundane,
        )

    def after(self, collected: Collected, number: int = 0) -> "Gate3Request":
        """The same question about a run of gate 2, as round `number` of a loop.

        Raises UsageError when too few of its texts were kept, or when no prompt is left to be held out.
        """
        self.need_texts(collected)
        found = replace(self, collected=collected, round=number)
        if not found.unseen():
            raise UsageError(
                f"--dilemmas must hold prompts that no text was collected on, but all {len(self.dilemmas)} were used; "
                "lower texts.prompts of gate 2, or add prompts of kind 'mundane'"
            )
        return found

    def need_texts(self, collected: Collected) -> None:
        """Raise UsageError when too few texts of that run were kept."""
        kept = len(taken(collected.records, self.heal.most_texts))
        if kept < self.heal.fewest_texts:
            raise UsageError(
                f"an adapter needs at least {self.heal.fewest_texts} kept texts, but run {collected.run.run_id} has "
                f"{kept}; collect more with `steerkit gate2 --keep`, relax a check with `steerkit refilter`, or lower "
                "heal.fewest_texts"
            )

    def model(self) -> tuple[str, str]:
        """Name and dtype of the model: gate 3 goes on with exactly the numbers of gate 2."""
        return self.known().spec.model, self.known().spec.dtype

    def known(self) -> Collected:
        """The run of gate 2 that was named."""
        assert self.collected is not None
        return self.collected

    def seen(self) -> tuple[Dilemma, ...]:
        """The prompts that texts were collected on.

        Raises UsageError when the file has changed since.
        """
        spec = self.known().spec
        if inputs.text_hash(self.dilemmas) != spec.prompts_hash:
            raise UsageError(
                f"--dilemmas must be the prompts of run {self.known().run.run_id}, but they have changed since; give "
                "that file again, or run gate2 again"
            )
        return inputs.drawn_prompts(self.dilemmas, spec.texts.prompts, spec.seed)

    def unseen(self) -> tuple[Dilemma, ...]:
        """Prompts that no text was collected on: under pressure where some are left, else mundane ones."""
        used = {prompt.id for prompt in self.seen()}
        left = tuple(prompt for prompt in self.dilemmas if prompt.id not in used)
        return (left or self.mundane)[: self.held_out.prompts]

    def persona(self) -> Persona:
        """The pair that gate 2 was asked about."""
        return msgspec.convert(self.known().spec.persona_pair, Persona)

    def hash(self) -> str:
        """A hash of the question: an identical one has an identical answer."""
        return digest(self.spec(0), self.asked["device"])

    def spec(self, attempt: int) -> Gate3Spec:
        """The run's spec."""
        found, persona = self.known(), self.persona()
        return Gate3Spec(
            parent_run=found.run.run_id,
            gate1_run=found.parent.run.run_id,
            method=found.spec.method,
            trait=persona.name,
            target=persona.target,
            sign=persona.sign,
            persona_pair=found.spec.persona_pair,
            model=found.spec.model,
            fingerprint=found.spec.fingerprint,
            dtype=found.spec.dtype,
            seed=self.asked["seed"],
            filter_id=found.filter_id(),
            history=found.spec.history,
            round=self.round,
            heal=self.heal,
            held_out=self.held_out,
            controls=self.controls,
            weights=bool(self.asked["weights"]),
            prompts_hash=found.spec.prompts_hash,
            gate_config=as_dict(self.gate_config),
            attempt=attempt,
            version=__version__,
        )


def _controls(given: str) -> tuple[Control, ...]:
    """Controls by name.

    Raises UsageError for an unknown one.
    """
    names = CONTROLS if given == "all" else () if given == "none" else tuple(given.split(","))
    for name in names:
        if name not in CONTROLS:
            raise UsageError(f"--controls must be all, none or some of {', '.join(CONTROLS)}, but got {given!r}")
    return tuple(control for control in CONTROLS if control in names)
