"""The commands that make a run again, from its spec and the specs of the runs before it."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from steerkit import inputs
from steerkit.inputs import stratified
from steerkit.personas import load_personas
from steerkit.plugins import load
from steerkit.records import Run
from steerkit.request import QUICK
from steerkit.spec import CaptureSpec, ControlSpec, DoseSpec, Gate2Spec, RunSpec, TextSpec, digest
from steerkit.spec_heal import Gate3Spec, HealSpec, HeldOutSpec

OWN = {"vignettes": "VIGNETTES.jsonl", "contexts": "CONTEXTS.jsonl", "dilemmas": "DILEMMAS.jsonl"}
"""What stands for a file that was not the built-in one: only its hash is known."""


def command(run: Run) -> str | None:
    """The command line that makes a run again, given the run it goes on from; None where its gate is not known here."""
    if run.gate not in MAKERS:
        return None
    words = ["steerkit", run.gate, *MAKERS[run.gate](run), "--device", run.device]
    return shlex.join(word for word in words if word)


def _gate1(run: Run) -> list[str]:
    spec = msgspec.json.decode(run.spec, type=RunSpec)
    preset = QUICK if _quick(spec) else {}
    flag = "--quick" if preset else ""
    along = ["--vector", spec.vector_run] if spec.vector_run else ["--method", spec.method]
    words = [*along, "--trait", spec.trait, "--instrument", spec.instrument, flag]
    words += ["--model", spec.model, "--dtype", spec.dtype, "--seed", str(spec.seed)]
    words += [*_personas(spec), *_files(spec)]
    for section, actual, usual in (
        ("dose", spec.dose, DoseSpec(**preset.get("dose", {}))),
        ("capture", spec.capture, CaptureSpec(**preset.get("capture", {}))),
    ):
        words += _changed(section, msgspec.to_builtins(actual), msgspec.to_builtins(usual))
    for section, plugin, given in (
        ("method", load("methods", spec.method), spec.method_config),
        ("instrument", load("instruments", spec.instrument), spec.instrument_config),
        ("gate", load("gates", "gate1_steer"), spec.gate_config),
    ):
        words += _changed(section, given, msgspec.to_builtins(plugin.Config()))
    return words


def _quick(spec: RunSpec) -> bool:
    """Whether what only the preset decides is as the preset has it; all else can be set."""
    few = spec.vignettes is not None and spec.vignettes <= QUICK["vignettes"]
    return few and (spec.texts, spec.text_tokens) == (QUICK["texts"], QUICK["text_tokens"])


def _personas(spec: RunSpec) -> list[str]:
    built_in = load_personas().get(spec.trait)
    return [] if built_in is not None and digest(built_in) == spec.persona else ["--personas", "PERSONAS.toml"]


def _files(spec: RunSpec) -> Iterator[str]:
    """Options for inputs that are not the built-in ones, and for vignettes in the first person."""
    if not _scored(spec, "third"):
        if _scored(spec, "first"):
            yield from ("--person", "first")
        else:
            yield from ("--vignettes", OWN["vignettes"])
    if spec.capture.contexts_hash != inputs.text_hash(inputs.contexts()):
        yield from ("--contexts", OWN["contexts"])
    if spec.dilemmas_hash != inputs.text_hash(inputs.dilemmas()):
        yield from ("--dilemmas", OWN["dilemmas"])


def _scored(spec: RunSpec, person: inputs.Person) -> bool:
    rows = stratified(inputs.vignettes(None, person), spec.vignettes)
    return inputs.text_hash(rows) == spec.vignettes_hash


def _gate2(run: Run) -> list[str]:
    spec = msgspec.json.decode(run.spec, type=Gate2Spec)
    words = ["--from", spec.parent_run, "--seed", str(spec.seed), *_prompts(spec.prompts_hash)]
    words += _changed("texts", msgspec.to_builtins(spec.texts), msgspec.to_builtins(TextSpec()))
    words += _changed("control", msgspec.to_builtins(spec.control), msgspec.to_builtins(ControlSpec()))
    usual = {name: load("filters", name).THRESHOLD for name in spec.filters}
    words += _changed("filter", spec.filters, usual)
    return words + _changed("gate", spec.gate_config, msgspec.to_builtins(load("gates", "gate2_filter").Config()))


def _gate3(run: Run) -> list[str]:
    spec = msgspec.json.decode(run.spec, type=Gate3Spec)
    words = ["--from", spec.parent_run, "--seed", str(spec.seed), *_prompts(spec.prompts_hash)]
    words += ["--controls", ",".join(spec.controls) or "none", "--weights" if spec.weights else ""]
    words += _changed("heal", msgspec.to_builtins(spec.heal), msgspec.to_builtins(HealSpec()))
    words += _changed("held_out", msgspec.to_builtins(spec.held_out), msgspec.to_builtins(HeldOutSpec()))
    return words + _changed("gate", spec.gate_config, msgspec.to_builtins(load("gates", "gate3_heal").Config()))


def _prompts(known: str) -> list[str]:
    built_in = tuple(dilemma for dilemma in inputs.dilemmas() if dilemma.kind == "pressure")
    return [] if inputs.text_hash(built_in) == known else ["--dilemmas", OWN["dilemmas"]]


def _changed(section: str, actual: Mapping[str, Any], usual: Mapping[str, Any]) -> list[str]:
    """--set for every setting that is not the usual one; what files hash to cannot be set."""
    words: list[str] = []
    for name, value in actual.items():
        known = usual.get(name)
        several = isinstance(value, list | tuple)
        same = list(value) == list(known or ()) if several else value == known
        if not same and not name.endswith("_hash"):
            words += ["--set", f"{section}.{name}={_text(value)}"]
    return words


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value!r}" if isinstance(value, float) else str(value)


MAKERS: Mapping[str, Callable[[Run], list[str]]] = {"gate1": _gate1, "gate2": _gate2, "gate3": _gate3}
