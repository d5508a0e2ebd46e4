"""The commands that make a run again, from its spec and the specs of the runs before it."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import msgspec

from steerkit import inputs
from steerkit.inputs import stratified
from steerkit.personas import load_personas
from steerkit.plugins import Kind, load
from steerkit.records import Run
from steerkit.request import QUICK, as_dict
from steerkit.request_gate2 import QUICK as QUICK_TEXTS
from steerkit.request_gate3 import QUICK as QUICK_HEAL
from steerkit.request_loop import LATER
from steerkit.request_loop import QUICK as QUICK_LATER
from steerkit.spec import CaptureSpec, ControlSpec, DoseSpec, Gate2Spec, RunSpec, TextSpec, digest
from steerkit.spec_heal import Gate3Spec, HealSpec, HeldOutSpec
from steerkit.spec_loop import LoopSpec

OWN = {"vignettes": "VIGNETTES.jsonl", "contexts": "CONTEXTS.jsonl", "dilemmas": "DILEMMAS.jsonl"}
"""What stands for a file that was not the built-in one: only its hash is known."""


def command(run: Run) -> str | None:
    """The command line that makes a run again, given the run it goes on from; None where its gate is not known here."""
    if run.gate not in MAKERS:
        return None
    words = ["steerkit", NAMES.get(run.gate, run.gate), *MAKERS[run.gate](run), "--device", run.device]
    return shlex.join(word for word in words if word)


def _gate1(run: Run) -> list[str]:
    spec = msgspec.json.decode(run.spec, type=RunSpec)
    return [*_first(spec), *_changed("gate", spec.gate_config, _usual("gates", "gate1_steer"))]


def _first(spec: RunSpec) -> list[str]:
    """Gate 1's options, but for its thresholds."""
    preset = QUICK if _quick(spec) else {}
    along = ["--vector", spec.vector_run] if spec.vector_run else ["--method", spec.method]
    words = [*along, "--trait", spec.trait, "--instrument", spec.instrument]
    words += ["--quick" if preset else "", "--model", spec.model, "--dtype", spec.dtype, "--seed", str(spec.seed)]
    words += [*_personas(spec), *_files(spec)]
    words += _changed("dose", as_dict(spec.dose), as_dict(DoseSpec(**preset.get("dose", {}))))
    words += _changed("capture", as_dict(spec.capture), as_dict(CaptureSpec(**preset.get("capture", {}))))
    words += _changed("method", spec.method_config, _usual("methods", spec.method))
    return words + _changed("instrument", spec.instrument_config, _usual("instruments", spec.instrument))


def _usual(kind: Kind, name: str) -> dict[str, Any]:
    return as_dict(load(kind, name).Config())


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
    words += _texts(spec.texts, spec.control, spec.filters, {})
    return words + _changed("gate", spec.gate_config, _usual("gates", "gate2_filter"))


def _texts(
    texts: TextSpec, control: ControlSpec, filters: Mapping[str, float], preset: Mapping[str, dict[str, Any]]
) -> list[str]:
    """Gate 2's settings, but for its thresholds."""
    words = _changed("texts", as_dict(texts), as_dict(TextSpec(**preset.get("texts", {}))))
    words += _changed("control", as_dict(control), as_dict(ControlSpec(**preset.get("control", {}))))
    return words + _changed("filter", filters, {name: load("filters", name).THRESHOLD for name in filters})


def _gate3(run: Run) -> list[str]:
    spec = msgspec.json.decode(run.spec, type=Gate3Spec)
    words = ["--from", spec.parent_run, "--seed", str(spec.seed), *_prompts(spec.prompts_hash)]
    words += ["--controls", ",".join(spec.controls) or "none", "--weights" if spec.weights else ""]
    words += _heal(spec.heal, spec.held_out, {})
    return words + _changed("gate", spec.gate_config, _usual("gates", "gate3_heal"))


def _heal(heal: HealSpec, held_out: HeldOutSpec, preset: Mapping[str, dict[str, Any]]) -> list[str]:
    """Gate 3's settings, but for its thresholds."""
    words = _changed("heal", as_dict(heal), as_dict(HealSpec(**preset.get("heal", {}))))
    return words + _changed("held_out", as_dict(held_out), as_dict(HeldOutSpec(**preset.get("held_out", {}))))


def _gate4(run: Run) -> list[str]:
    spec = msgspec.json.decode(run.spec, type=LoopSpec)
    quick = _quick(spec.first)
    words = ["--rounds", str(spec.rounds), "--direction", spec.direction, *_first(spec.first)]
    words += ["--controls", ",".join(spec.controls) or "none"]
    usual = as_dict(spec.first.dose) | LATER | (QUICK_LATER if quick else {})
    words += _changed("later", as_dict(spec.later), as_dict(msgspec.convert(usual, DoseSpec)))
    words += _texts(spec.texts, spec.control, spec.filters, QUICK_TEXTS if quick else {})
    words += _heal(spec.heal, spec.held_out, QUICK_HEAL if quick else {})
    thresholds = {
        "gate1": (spec.first.gate_config, "gate1_steer"),
        "gate2": (spec.gate2_config, "gate2_filter"),
        "gate3": (spec.gate3_config, "gate3_heal"),
        "gate": (spec.gate_config, "gate4_loop"),
    }
    changed = (_changed(section, given, _usual("gates", gate)) for section, (given, gate) in thresholds.items())
    return [*words, *chain.from_iterable(changed)]


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


MAKERS: Mapping[str, Callable[[Run], list[str]]] = {"gate1": _gate1, "gate2": _gate2, "gate3": _gate3, "gate4": _gate4}
NAMES = {"gate4": "loop"}
"""Commands that are not called as their gate is."""
