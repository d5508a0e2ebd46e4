"""Questions for a comparison of methods and for a scan over bands of blocks, checked before any model is loaded."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from msgspec.structs import replace

from steerkit import __version__, inputs
from steerkit.errors import UsageError, unknown
from steerkit.inputs import Context, VignetteText, drawn_apart, halves, need, stratified
from steerkit.personas import Persona, load_personas
from steerkit.plugins import clashes, load, load_method, sources, trouble_of
from steerkit.records import DoseScale
from steerkit.request import as_dict, configured, model_identity, plugin_config, split
from steerkit.spec import CaptureSpec, DoseSpec, digest
from steerkit.spec_compare import DOSES, Absent, CompareSpec, Contest, Limits, ScanSpec

QUICK: dict[str, Any] = {
    "vignettes": 70,
    "dose": {"ladder": (0.15, 0.35, 0.8, 1.8, 4.0), "prompts": 3, "tokens": 16},
    "capture": {"contexts": 32},
}
NULLS = {"random_directions": 2, "shuffled_directions": 2}
"""Null directions per draw of contexts."""
SECTIONS = ("method", "instrument", "contest", "limits", "dose", "capture")
NULL, PROMPT = "null", "prompt"
"""What stands in every comparison: directions that all methods are held against, and the persona as a prompt."""
MOST_NAMED = 3
"""A comparison of more methods than this is called after how many they are."""
FEWEST = 4
"""Vignettes of the target's foundation below which a half has fewer than 2."""


@dataclass(frozen=True, kw_only=True)
class ContestRequest(ABC):
    """What a comparison and a scan ask alike: every name resolved, every file read, no model loaded."""

    asked: dict[str, Any]
    persona: Persona
    vignettes: tuple[VignetteText, ...]
    contexts: tuple[Context, ...]
    instrument_config: Any
    gate_config: Limits
    contest: Contest
    dose: DoseSpec
    capture: CaptureSpec
    method_configs: dict[str, Any]
    absent: tuple[Absent, ...] = ()

    def model(self) -> tuple[str, str]:
        """Name and dtype of the model that is asked about."""
        return self.asked["model"], self.asked["dtype"]

    def hash(self) -> str:
        """A hash of the question, the model's files included: an identical one has an identical answer."""
        identity = model_identity(self.asked["model"])
        return digest(self.spec("", "", attempt=0), identity, self.asked["dtype"], self.asked["device"])

    @abstractmethod
    def spec(self, fingerprint: str, dtype: str, attempt: int) -> CompareSpec | ScanSpec:
        """The run's spec, once the model is known."""

    def common(self, fingerprint: str, dtype: str, attempt: int) -> dict[str, Any]:
        """The fields that both specs have."""
        return {
            "trait": self.persona.name,
            "persona": digest(self.persona),
            "target": self.persona.target,
            "sign": self.persona.sign,
            "model": self.asked["model"],
            "fingerprint": fingerprint,
            "dtype": dtype,
            "seed": self.asked["seed"],
            "instrument": self.asked["instrument"],
            "instrument_text": load("instruments", self.asked["instrument"]).identity(),
            "vignettes_hash": inputs.text_hash(self.vignettes),
            "vignettes": len(self.vignettes),
            "instrument_config": as_dict(self.instrument_config),
            "gate_config": as_dict(self.gate_config),
            "capture": replace(self.capture, contexts_hash=inputs.text_hash(self.contexts)),
            "dose": self.dose,
            "contest": self.contest,
            "attempt": attempt,
            "version": __version__,
        }


@dataclass(frozen=True, kw_only=True)
class CompareRequest(ContestRequest):
    """A checked question for a comparison."""

    @classmethod
    def checked(cls, asked: dict[str, Any]) -> "CompareRequest":
        """Check everything that can be checked without a model. Raises UsageError."""
        given = split(asked["settings"], SECTIONS)
        usable, absent = _methods(asked["methods"])
        configs = {name: plugin_config("methods", name, _own(given["method"], name)) for name in usable}
        _need_known(given["method"], usable)
        scale = _scale(asked["dose_scale"])
        doses = DOSES[scale] if asked["doses"] is None else _numbers(asked["doses"], "--doses")
        contest = {"scale": scale, "doses": doses, "seeds": asked["seeds"], "race": asked["race"]} | given["contest"]
        return cls(**_common(asked, given, contest), method_configs=configs, absent=absent)

    def spec(self, fingerprint: str, dtype: str, attempt: int) -> CompareSpec:
        """The run's spec, once the model is known."""
        names = list(self.method_configs)
        return CompareSpec(
            **self.common(fingerprint, dtype, attempt),
            method=f"{len(names)}-methods" if len(names) > MOST_NAMED else "+".join(names),
            methods={name: as_dict(config) for name, config in self.method_configs.items()},
            absent=self.absent,
        )


@dataclass(frozen=True, kw_only=True)
class ScanRequest(ContestRequest):
    """A checked question for a scan over bands of blocks."""

    widths: tuple[int, ...]
    stride: int | None

    @classmethod
    def checked(cls, asked: dict[str, Any]) -> "ScanRequest":
        """Check everything that can be checked without a model. Raises UsageError."""
        given = split(asked["settings"], SECTIONS)
        name, scale = asked["method"], _scale(asked["dose_scale"])
        config = plugin_config("methods", name, given["method"])
        if load_method(name).SITE == "everywhere":
            raise UsageError(f"a scan needs a method that acts at a band of blocks, but {name!r} acts in all of them")
        dose = DOSES[scale][1] if asked["dose"] is None else asked["dose"]
        contest = {"scale": scale, "doses": (dose,), "seeds": 1, "race": False} | given["contest"]
        widths = tuple(int(width) for width in _numbers(asked["widths"], "--widths"))
        if min(widths) < 1 or (asked["stride"] or 1) < 1:
            raise UsageError(f"--widths and --stride must be at least 1 block, but got {asked['widths']}")
        common = _common(asked, given, contest)
        return cls(**common, method_configs={name: config}, widths=widths, stride=asked["stride"])

    def spec(self, fingerprint: str, dtype: str, attempt: int) -> ScanSpec:
        """The run's spec, once the model is known."""
        [(name, config)] = self.method_configs.items()
        return ScanSpec(
            **self.common(fingerprint, dtype, attempt),
            method=name,
            method_config=as_dict(config),
            widths=self.widths,
            stride=self.stride,
        )


def _common(asked: Mapping[str, Any], given: Mapping[str, Any], contest: Mapping[str, Any]) -> dict[str, Any]:
    """What both questions are made of. Raises UsageError."""
    preset = QUICK if asked["quick"] else {}
    traits = load_personas(asked["personas"])
    if asked["trait"] not in traits:
        raise unknown("trait", asked["trait"], traits)
    persona = traits[asked["trait"]]
    vignettes = stratified(inputs.vignettes(asked["vignettes"], asked["person"]), preset.get("vignettes"))
    _need_halves(vignettes, persona.target, asked["seed"])
    contexts = inputs.contexts(asked["contexts"])
    dose = configured(DoseSpec, {**NULLS, **preset.get("dose", {}), **given["dose"]}, "dose")
    capture = configured(CaptureSpec, {**preset.get("capture", {}), **given["capture"]}, "capture")
    checked = configured(Contest, contest, "contest")
    drawn_apart(contexts, capture.contexts, checked.seeds, dose.prompts, asked["seed"])
    return {
        "asked": dict(asked),
        "persona": persona,
        "vignettes": vignettes,
        "contexts": contexts,
        "instrument_config": plugin_config("instruments", asked["instrument"], given["instrument"]),
        "gate_config": configured(Limits, given["limits"], "limits"),
        "contest": checked,
        "dose": dose,
        "capture": capture,
    }


def _need_halves(vignettes: tuple[VignetteText, ...], target: str, seed: int) -> None:
    """Raise UsageError unless both halves have enough of the target's foundation to be averaged."""
    need(vignettes, target)
    for half in halves(vignettes, seed):
        if sum(row.foundation == target for row in half) < FEWEST // 2:
            raise UsageError(
                f"strengths are chosen on one half of the vignettes and reported on the other, so there must be at "
                f"least {FEWEST} of {target}; add some"
            )


def _methods(asked: str) -> tuple[list[str], tuple[Absent, ...]]:
    """Methods that can be used, and those that cannot. Raises UsageError for an unknown name, or when none works."""
    known, troubles = sources("methods"), clashes("methods")
    listed = dict.fromkeys(part.strip() for part in asked.split(",") if part.strip())
    names = [name for name in known if name != NULL] if asked == "all" else [*listed]
    names = [name for name in names if name != PROMPT]
    claimed = {trouble.name for trouble in troubles}
    for name in names:
        if name not in known and name not in claimed:
            raise unknown("method", name, known)
    found = {name: trouble_of(name) for name in names if name in known}
    troubles = [one for one in troubles if asked == "all" or one.name in names]
    troubles += [trouble for trouble in found.values() if trouble is not None]
    usable = [name for name, trouble in found.items() if trouble is None]
    if not usable:
        why = "".join(f"; {trouble.fault}" for trouble in troubles)
        raise UsageError(f"--methods must name at least one method that works, but got {asked!r}{why}")
    return usable, tuple(Absent(method=t.name, distribution=t.distribution, fault=t.fault) for t in troubles)


def _own(given: Mapping[str, str], method: str) -> dict[str, str]:
    """A method's settings: its section's keys begin with its name, which may itself have dots."""
    return {key.rpartition(".")[2]: value for key, value in given.items() if key.rpartition(".")[0] == method}


def _need_known(given: Mapping[str, str], usable: list[str]) -> None:
    """Raise UsageError for a setting of a method that does not take part."""
    for key in given:
        if key.rpartition(".")[0] not in usable:
            raise UsageError(
                f"a method's setting must be method.NAME.KEY=VALUE with one of {', '.join(usable)}, "
                f"but got method.{key}"
            )


def _scale(name: str) -> DoseScale:
    known: tuple[DoseScale, ...] = get_args(DoseScale)
    for scale in known:
        if scale == name:
            return scale
    raise unknown("dose scale", name, known)


def _numbers(text: str, option: str) -> tuple[float, ...]:
    """A comma-separated list of numbers. Raises UsageError for anything else."""
    try:
        found = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        found = ()
    if not found:
        raise UsageError(f"{option} must be numbers, separated by commas, but got {text!r}")
    return found
