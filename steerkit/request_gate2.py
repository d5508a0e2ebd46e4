"""A question for gate 2, checked before any model is loaded: settings, thresholds, prompts, and the run before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from steerkit import __version__, inputs
from steerkit.errors import UsageError
from steerkit.inputs import Dilemma
from steerkit.personas import Persona, load_personas
from steerkit.records import Calibration, Direction, Effect, Record, Run, Verdict
from steerkit.request import as_dict, configured, plugin_config, split
from steerkit.spec import ControlSpec, Gate2Spec, RunSpec, TextSpec, digest
from steerkit.stages.assemble import only
from steerkit.stages.filter import parse, thresholds

SECTIONS = ("texts", "control", "filter", "gate")
QUICK: dict[str, dict[str, Any]] = {
    "texts": {"length": 60, "prompts": 24},
    "control": {"keep": 24, "ladder": (0.5, 1.0, 1.5, 2.0, 3.0), "per_dose": 6, "base": 32, "random": 8, "batches": 3},
}


@dataclass(frozen=True)
class Parent:
    """The finished run of gate 1 that gate 2 goes on from.

    `strengths`: by direction, its strength at dose 1. `operating_dose`: None where gate 1 found none.
    """

    run: Run
    spec: RunSpec
    directions: tuple[Direction, ...]
    strengths: Mapping[str, float]
    operating_dose: float | None
    verdict: str

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Parent":
        """The parent that a run's records describe.

        Raises UsageError for a run that is not a finished run of gate 1.
        """
        run = only(Run, records)[0]
        verdict = next((v.status for v in only(Verdict, records) if v.kind == "gate"), None)
        if run.gate != "gate1" or verdict is None:
            what = f"of {run.gate}" if run.gate != "gate1" else "unfinished"
            raise UsageError(
                f"--from must be a finished run of gate1, but {run.run_id} is {what}; `steerkit show runs` lists all"
            )
        calibrated = {c.direction_id: c.strength for c in only(Calibration, records) if c.strength is not None}
        operating = next((e.value for e in only(Effect, records) if e.quantity == "operating"), None)
        spec = msgspec.json.decode(run.spec, type=RunSpec)
        return cls(run, spec, tuple(only(Direction, records)), calibrated, operating, verdict)

    def need_same(self, given: Mapping[str, Any]) -> None:
        """Raise UsageError where an option that came beside --from says something else than that run."""
        spec = self.spec
        known: dict[str, Any] = {"method": spec.method, "trait": spec.trait, "model": spec.model, "dtype": spec.dtype}
        known |= {"instrument": spec.instrument, "think": spec.instrument_config.get("think")}
        for name, value in given.items():
            if value not in (known[name], "auto"):
                raise UsageError(
                    f"with --from, --{name} must be that of run {self.run.run_id}, {known[name]}, but got {value}; "
                    "leave it out, or leave --from out to run gate 1 anew"
                )

    def direction(self) -> Direction:
        """The run's own direction."""
        return next(direction for direction in self.directions if direction.kind == "real")

    def random_directions(self) -> list[Direction]:
        """The random directions that were calibrated."""
        return [d for d in self.directions if d.kind == "random" and d.direction_id in self.strengths]


@dataclass(frozen=True)
class Gate2Request:
    """A checked question for gate 2; `parent` is known once gate 1 has run."""

    asked: dict[str, Any]
    texts: TextSpec
    control: ControlSpec
    filters: dict[str, float]
    gate_config: Any
    dilemmas: tuple[Dilemma, ...]
    parent: Parent | None = None

    @classmethod
    def checked(cls, asked: dict[str, Any]) -> "Gate2Request":
        """Check everything that can be checked without a model. Raises UsageError."""
        given = split(asked["settings"], SECTIONS)
        preset = QUICK if asked["quick"] else {}
        named = {"schedule": asked["schedule"], "backtrack": asked["backtrack"] or None}
        texts = preset.get("texts", {}) | {k: v for k, v in named.items() if v is not None} | given["texts"]
        keep = {} if asked["keep"] is None else {"keep": asked["keep"]}
        return cls(
            asked=asked,
            texts=configured(TextSpec, texts, "texts"),
            control=configured(ControlSpec, preset.get("control", {}) | keep | given["control"], "control"),
            filters=thresholds(parse(f"{name}={value}" for name, value in given["filter"].items())),
            gate_config=plugin_config("gates", "gate2_filter", given["gate"]),
            dilemmas=_prompts(asked),
        )

    def after(self, parent: Parent) -> "Gate2Request":
        """The same question about a run of gate 1."""
        return replace(self, parent=parent)

    def hash(self) -> str:
        """A hash of the question: an identical one has an identical answer."""
        return digest(self.spec(0), self.asked["device"])

    def persona(self) -> Persona:
        """The pair that gate 1 was asked about.

        Raises UsageError when its file has changed since.
        """
        parent = self.known()
        found = load_personas(self.asked["personas"]).get(parent.spec.trait)
        if found is None or digest(found) != parent.spec.persona:
            raise UsageError(
                f"the trait {parent.spec.trait!r} must be the pair of run {parent.run.run_id}, but it has changed or "
                "is missing; give that file with --personas, or run gate1 again"
            )
        return found

    def model(self) -> tuple[str, str]:
        """Name and dtype of the model: gate 2 goes on with exactly the numbers of gate 1."""
        return self.known().spec.model, self.known().spec.dtype

    def known(self) -> Parent:
        """The run of gate 1 that was named."""
        assert self.parent is not None
        return self.parent

    def spec(self, attempt: int) -> Gate2Spec:
        """The run's spec."""
        parent, persona = self.known(), self.persona()
        return Gate2Spec(
            parent_run=parent.run.run_id,
            method=parent.spec.method,
            trait=persona.name,
            target=persona.target,
            persona_pair=msgspec.to_builtins(persona),
            model=parent.spec.model,
            fingerprint=parent.spec.fingerprint,
            dtype=parent.spec.dtype,
            seed=self.asked["seed"],
            prompts_hash=inputs.text_hash(self.dilemmas),
            operating_dose=parent.operating_dose,
            filters=self.filters,
            gate_config=as_dict(self.gate_config),
            texts=self.texts,
            control=self.control,
            history=parent.spec.history,
            attempt=attempt,
            version=__version__,
        )


def _prompts(asked: Mapping[str, Any]) -> tuple[Dilemma, ...]:
    """The prompts under pressure of the file, of which some are drawn.

    Raises UsageError for a file without any, or with one text twice.
    """
    found = tuple(dilemma for dilemma in inputs.dilemmas(asked["dilemmas"]) if dilemma.kind == "pressure")
    if len(found) < 2:
        raise UsageError(f"--dilemmas must hold at least 2 prompts of kind 'pressure', but it has {len(found)}")
    return found
