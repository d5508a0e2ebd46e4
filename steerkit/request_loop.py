"""A question for a loop, checked before any model is loaded: the questions of a round, and how they follow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import msgspec

from steerkit import __version__
from steerkit.errors import UsageError, unknown
from steerkit.request import Gate1Request, as_dict, configured, model_identity, plugin_config, split
from steerkit.request_gate2 import Gate2Request
from steerkit.request_gate3 import Gate3Request
from steerkit.spec import DoseSpec, Heading, digest
from steerkit.spec_loop import LoopSpec

SECTIONS = {
    "gate1": ("method", "instrument", "dose", "capture"),
    "gate2": ("texts", "control", "filter"),
    "gate3": ("heal", "held_out"),
}
"""Which gate a section of settings is for; a section named as a gate holds that gate's thresholds."""
LATER: dict[str, Any] = {
    "multiples": (0.5, 1.0, 1.5),
    "negative_multiples": (0.5,),
    "null_doses": 1,
    "random_directions": 1,
    "shuffled_directions": 1,
}
"""Gate 1 of a later round: a short front, and just enough null directions for its controls."""
QUICK: dict[str, Any] = {"multiples": (0.5, 1.0), "negative_multiples": (0.5,)}


@dataclass(frozen=True)
class LoopRequest:
    """A checked question for a loop; the questions of a round stand in the order they are asked."""

    asked: dict[str, Any]
    rounds: int
    direction: Heading
    first: Gate1Request
    later: DoseSpec
    collect: Gate2Request
    train: Gate3Request
    gate_config: Any

    @classmethod
    def checked(cls, asked: dict[str, Any]) -> "LoopRequest":
        """Check everything that can be checked without a model. Raises UsageError."""
        if asked["direction"] not in get_args(Heading):
            raise unknown("direction", asked["direction"], get_args(Heading))
        sections = (*(name for names in SECTIONS.values() for name in names), *SECTIONS, "later", "gate")
        given = split(asked["settings"], sections)
        first = Gate1Request.checked({**asked, "settings": _for("gate1", given)})
        preset = LATER | (QUICK if asked["quick"] else {})
        request = cls(
            asked=asked,
            rounds=asked["rounds"],
            direction=asked["direction"],
            first=first,
            later=configured(DoseSpec, as_dict(first.dose) | preset | given["later"], "later"),
            collect=Gate2Request.checked({**asked, "settings": _for("gate2", given)}),
            train=Gate3Request.checked({**asked, "settings": _for("gate3", given)}),
            gate_config=plugin_config("gates", "gate4_loop", given["gate"]),
        )
        request.need_possible()
        return request

    def need_possible(self) -> None:
        """Raise UsageError for a loop that could not get through its first round."""
        keep, fewest = self.collect.control.keep, self.train.heal.fewest_texts
        if keep < fewest:
            raise UsageError(
                f"a round must keep at least the {fewest} texts that an adapter needs, but got keep={keep}; raise "
                "--keep, or lower heal.fewest_texts"
            )
        drawn, known = self.collect.texts.prompts, len(self.collect.dilemmas)
        if drawn >= known and not self.train.mundane:
            raise UsageError(
                f"--dilemmas must hold prompts that no text is collected on, but all {known} are used; lower "
                "texts.prompts, or add prompts of kind 'mundane'"
            )

    def gate1(self, history: Sequence[str], root: str) -> Gate1Request:
        """Gate 1's question of a round: about the untouched model where nothing is baked in yet."""
        if not history:
            return self.first
        light = {**self.first.preset, "texts": 1}
        return replace(
            self.first, history=tuple(history), root=root, direction=self.direction, dose=self.later, preset=light
        )

    def model(self) -> tuple[str, str]:
        """Name and dtype of the model that is asked about."""
        return self.first.model()

    def hash(self) -> str:
        """A hash of the question, the model's files included: an identical one has an identical answer."""
        identity = model_identity(self.asked["model"])
        return digest(self.spec("", "", attempt=0), identity, self.asked["dtype"], self.asked["device"])

    def spec(self, fingerprint: str, dtype: str, attempt: int) -> LoopSpec:
        """The loop's spec, once the model is known."""
        persona = self.first.persona
        return LoopSpec(
            method=self.asked["method"],
            trait=persona.name,
            target=persona.target,
            sign=persona.sign,
            persona_pair=msgspec.to_builtins(persona),
            model=self.asked["model"],
            fingerprint=fingerprint,
            dtype=dtype,
            seed=self.asked["seed"],
            rounds=self.rounds,
            direction=self.direction,
            first=self.first.spec(fingerprint, dtype, attempt),
            later=self.later,
            texts=self.collect.texts,
            control=self.collect.control,
            filters=self.collect.filters,
            heal=self.train.heal,
            held_out=self.train.held_out,
            controls=self.train.controls,
            gate2_config=as_dict(self.collect.gate_config),
            gate3_config=as_dict(self.train.gate_config),
            gate_config=as_dict(self.gate_config),
            attempt=attempt,
            version=__version__,
        )


def _for(gate: str, given: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The settings that concern one gate, as it reads them."""
    own = [f"{section}.{key}={value}" for section in SECTIONS[gate] for key, value in given[section].items()]
    return [*own, *(f"gate.{key}={value}" for key, value in given[gate].items())]
