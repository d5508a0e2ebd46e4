"""Turns what a user typed into validated settings and a spec, before any model is loaded."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec.structs import replace

from steerkit import __version__, inputs
from steerkit.errors import UsageError, unknown
from steerkit.inputs import Context, Dilemma, VignetteText, drawn, need, stratified
from steerkit.personas import Persona, load_personas
from steerkit.plugins import Kind, load, load_method
from steerkit.spec import CaptureSpec, DoseSpec, Heading, RunSpec, Setting, canonical, digest
from steerkit.vectors.base import IMPORTED, Vector

SECTIONS = ("method", "instrument", "gate", "dose", "capture")


def split(settings: Iterable[str], sections: Iterable[str] = SECTIONS) -> dict[str, dict[str, str]]:
    """`section.key=value` texts as a dict per section.

    Raises UsageError for a text of another form or an unknown section.
    """
    found: dict[str, dict[str, str]] = {section: {} for section in sections}
    for text in settings:
        name, equals, value = text.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot and key):
            raise UsageError(f"--set must be SECTION.KEY=VALUE, such as dose.target=0.5, but got {text!r}")
        if section not in found:
            raise unknown("section of settings", section, found)
        found[section][key] = value
    return found


def configured(kind: type[Setting], given: Mapping[str, Any], what: str) -> Any:
    """A settings class filled from texts.

    Raises UsageError for an unknown key, listing the known ones, or a value of the wrong type.
    """
    known = set(kind.__struct_fields__)
    for key in given:
        if key not in known:
            raise unknown(f"{what} setting", key, known or {"(it has none)"})
    try:
        return msgspec.convert({key: _value(kind, key, value) for key, value in given.items()}, kind, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"{what} settings: {error}; got {', '.join(f'{k}={v}' for k, v in given.items())}") from error


def _value(kind: type[Setting], key: str, value: Any) -> Any:
    """A list where the setting holds several values; everything else stays as it is for msgspec to read."""
    hint = get_type_hints(kind)[key]
    several = tuple in {get_origin(option) for option in (hint, *get_args(hint))}
    return [part for part in value.split(",") if part] if isinstance(value, str) and several else value


def plugin_config(kind: Kind, name: str, given: dict[str, str]) -> Any:
    """The validated Config of a plugin. Raises UsageError for a method without a vector."""
    if kind == "methods":
        load_method(name)
    return configured(load(kind, name).Config, given, f"{kind.removesuffix('s')} {name}")


def instrument_config(name: str, settings: Iterable[str]) -> Any:
    """The validated Config of an instrument from plain KEY=VALUE texts."""
    return plugin_config("instruments", name, split(f"instrument.{text}" for text in settings)["instrument"])


def model_identity(name: str) -> str:
    """What a model's name stands for right now, without loading it: files, sizes and modification times."""
    from steerkit.host import embedded

    gguf = embedded.gguf_file() if name == embedded.NAME else None
    folder = Path(name).expanduser()
    files = [gguf] if gguf else sorted(folder.glob("*")) if folder.is_dir() else []
    return digest(name, [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()])


def as_dict(config: Setting) -> dict[str, Any]:
    """A settings object as plain values."""
    plain: dict[str, Any] = msgspec.json.decode(canonical(config))
    return plain


QUICK: dict[str, Any] = {
    "vignettes": 70,
    "texts": 1,
    "text_tokens": 40,
    "dose": {
        "multiples": (0.25, 0.5, 1.0),
        "negative_multiples": (0.25,),
        "null_doses": 1,
        "random_directions": 2,
        "shuffled_directions": 2,
        "ladder": (0.15, 0.35, 0.8, 1.8, 4.0),
        "prompts": 3,
        "tokens": 16,
    },
    "capture": {"contexts": 32},
}
THOROUGH: dict[str, Any] = {"dose": {"null_doses": 6, "random_directions": 15, "shuffled_directions": 5}}


@dataclass(frozen=True)
class Gate1Request:
    """A checked question for gate 1: every name resolved, every file read, every setting valid; no model loaded."""

    asked: dict[str, Any]
    persona: Persona
    vignettes: tuple[VignetteText, ...]
    contexts: tuple[Context, ...]
    dilemmas: tuple[Dilemma, ...]
    method_config: Any
    instrument_config: Any
    gate_config: Any
    dose: DoseSpec
    capture: CaptureSpec
    preset: dict[str, Any]
    history: tuple[str, ...] = ()
    """Adapters that are baked in: the question is then about the student they make."""
    root: str = ""
    """The run that scored the model those adapters started from."""
    direction: Heading = "fresh"
    """Where the student's direction comes from."""
    vector: Vector | None = None
    """A direction that was made elsewhere, and takes the place of a fitted one."""
    vector_run: str = ""
    """The run that brought or fitted it."""

    @classmethod
    def checked(cls, asked: dict[str, Any], vector: Vector | None = None, vector_run: str = "") -> "Gate1Request":
        """Check everything that can be checked without a model; `asked["method"]` does not count beside a vector.

        Raises UsageError.
        """
        if asked["quick"] and asked["thorough"]:
            raise UsageError("--quick and --thorough exclude each other; give one")
        preset = QUICK if asked["quick"] else THOROUGH if asked["thorough"] else {}
        given = split(asked["settings"])
        if vector is None and asked["method"] == IMPORTED:
            raise UsageError(f"the method {IMPORTED!r} comes with a vector; give --vector FILE in place of --method")
        if vector is not None:
            asked, given = _about(vector, asked, given)
        traits = load_personas(asked["personas"])
        if asked["trait"] not in traits:
            raise unknown("trait", asked["trait"], traits)
        persona = traits[asked["trait"]]
        vignettes = stratified(inputs.vignettes(asked["vignettes"], asked["person"]), preset.get("vignettes"))
        need(vignettes, persona.target)
        request = cls(
            asked=asked,
            persona=persona,
            vignettes=vignettes,
            contexts=inputs.contexts(asked["contexts"]),
            dilemmas=inputs.dilemmas(asked["dilemmas"]),
            method_config=plugin_config("methods", asked["method"], given["method"]),
            instrument_config=plugin_config("instruments", asked["instrument"], given["instrument"]),
            gate_config=_gate_config(given["gate"], vignettes, persona.target),
            dose=configured(DoseSpec, {**preset.get("dose", {}), **given["dose"]}, "dose"),
            capture=configured(CaptureSpec, {**preset.get("capture", {}), **given["capture"]}, "capture"),
            preset=preset,
            vector=vector,
            vector_run=vector_run,
        )
        drawn(request.contexts, request.capture.contexts, asked["seed"])
        return request

    def model(self) -> tuple[str, str]:
        """Name and dtype of the model that is asked about."""
        return self.asked["model"], self.asked["dtype"]

    def hash(self) -> str:
        """A hash of the question, the model's files included: an identical one has an identical answer."""
        identity = model_identity(self.asked["model"])
        return digest(self.spec("", "", attempt=0), identity, self.asked["dtype"], self.asked["device"])

    def spec(self, fingerprint: str, dtype: str, attempt: int) -> RunSpec:
        """The run's spec, once the model is known."""
        return RunSpec(
            gate="gate1",
            method=self.asked["method"],
            trait=self.persona.name,
            persona=digest(self.persona),
            target=self.persona.target,
            sign=self.persona.sign,
            model=self.asked["model"],
            fingerprint=fingerprint,
            dtype=dtype,
            seed=self.asked["seed"],
            instrument=self.asked["instrument"],
            instrument_text=load("instruments", self.asked["instrument"]).identity(),
            vignettes_hash=inputs.text_hash(self.vignettes),
            dilemmas_hash=inputs.text_hash(self.dilemmas),
            vignettes=len(self.vignettes),
            method_config=as_dict(self.method_config),
            instrument_config=as_dict(self.instrument_config),
            gate_config=as_dict(self.gate_config),
            capture=replace(self.capture, contexts_hash=inputs.text_hash(self.contexts)),
            dose=self.dose,
            texts=self.preset.get("texts", 2),
            text_tokens=self.preset.get("text_tokens", 64),
            history=self.history,
            root_run=self.root,
            direction=self.direction,
            vector_run=self.vector_run,
            attempt=attempt,
            version=__version__,
        )


def _about(
    vector: Vector, asked: dict[str, Any], given: dict[str, dict[str, str]]
) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """What was asked, of a vector's own method and settings, at all its blocks unless a band is given."""
    if given["method"]:
        raise UsageError("a vector keeps the settings it was made with, but got --set method.*; leave that out")
    capture = {"band": "0,1", **given["capture"]}
    return {**asked, "method": vector.method}, {**given, "method": vector.config, "capture": capture}


def _gate_config(given: dict[str, str], vignettes: tuple[VignetteText, ...], target: str) -> Any:
    """The gate's thresholds; a smaller vignette set lowers how many of the target's are asked for."""
    config = plugin_config("gates", "gate1_steer", given)
    rows = sum(vignette.foundation == target for vignette in vignettes)
    return config if "target_rows" in given or rows >= config.target_rows else replace(config, target_rows=rows)
