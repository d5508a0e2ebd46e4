"""Finds methods, gates, instruments and filters by name without importing them, and says what each must offer."""

import importlib
import pkgutil
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, runtime_checkable

from steerkit.errors import UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from torch.nn import Module

    from steerkit.contrast import Contrast, State, WeightEdit
    from steerkit.filters import Background, Measurement
    from steerkit.host import Edits, Host
    from steerkit.personas import Persona
    from steerkit.records import Completion
    from steerkit.spec import Setting

Kind = Literal["methods", "gates", "instruments", "filters"]
UNLISTED: dict[Kind, dict[str, str]] = {"methods": {"imported": "steerkit.methods._imported"}}
"""Plugins that are used by name but not chosen from a list."""
LITE = "steering_lite"
"""The package whose methods appear as `lite.NAME`."""
LITE_SITES = (("default_target_submodule", "writers"), ("needs_model", "weighted"))
"""What a class of its may hold, and where that makes it act; every other one acts on the residual stream."""
PARTS = ("SITE", "Config", "fit", "step", "steer")
"""What a method's module must hold."""
TEXT, TEXT_PARTS = "text", ("SITE", "Config", "words")
"""The site of a method that has no vector but words, and what its module must hold."""


@runtime_checkable
class Method(Protocol):
    """A steering method: a module of `steerkit.methods` or of the entry-point group `steerkit.methods`.

    One site at a time; the state lives on `hidden`'s device. Its docstring ends with the source.
    """

    SITE: str
    """Where it acts, one of `steerkit.host.places.SITES`: 'residual' is the residual stream after a block."""
    Config: "type[Setting]"

    def fit(self, contrast: "Contrast", config: Any) -> "State":
        """Named tensors learned from a contrast; RunError where it is degenerate."""
        ...

    def step(self, state: "State", config: Any) -> "Tensor":
        """What strength 1 adds, `[dim]`, in the site's units; where the token decides, the direction it is led in."""
        ...

    def steer(self, hidden: "Tensor", state: "State", strength: "Tensor", config: Any) -> "Tensor":
        """`hidden` `[batch token dim]` steered by `strength` `[batch]`; 0 is the identity, to the bit."""
        ...


@runtime_checkable
class Bakeable(Method, Protocol):
    """A method that static weights can hold exactly; every other one says why not in `NOT_BAKEABLE`."""

    def bake(self, state: "State", strength: float, block: "Module", config: Any) -> "WeightEdit":
        """What to add to the block's weights to do what `steer` does at this strength."""
        ...


@runtime_checkable
class AnswersFreely(Protocol):
    """An instrument that can also let the model answer its question by itself, as text."""

    def free_answers(self, host: "Host", prepared: Any, edits: "Edits") -> "Sequence[tuple[int, int, str, str | None]]":
        """Greedy answers: index of the vignette, ordering, the text, and the foundation it names; None when invalid.

        Valid is a text that parses strictly as what was asked for. A part of the vignettes, every foundation among
        them, is enough; none where the instrument's settings ask for none.
        """
        ...


@runtime_checkable
class Conditional(Method, Protocol):
    """A method that decides once for a whole prompt whether to steer at all; its SITE is 'conditional'."""

    def decide(self, prompts: "Tensor", state: "State", config: Any) -> "Tensor":
        """Prompts' mean activations `[row dim]`, unedited, to whether each row is steered `[row]`."""
        ...


@runtime_checkable
class TextMethod(Protocol):
    """A method without a vector: words for the system prompt, scored as an arm of its own; its SITE is 'text'."""

    SITE: str
    Config: "type[Setting]"

    def words(self, persona: "Persona", pole: Literal["positive", "negative"], config: Any) -> str:
        """The system prompt for a pole."""
        ...


@runtime_checkable
class Filter(Protocol):
    """A check of a text: a module of `steerkit.filters` or of the entry-point group `steerkit.filters`."""

    UNIT: str
    """What its number counts, for example 'nats' or 'fraction'."""
    KEEP: Literal["at most", "at least"]
    """Which side of the threshold is kept."""
    THRESHOLD: float
    """Unless a run sets another."""

    def measure(self, completion: "Completion", background: "Background") -> "Measurement":
        """What it sees in a text; a NaN is never kept."""
        ...


@dataclass(frozen=True)
class Trouble:
    """A plugin that cannot be used: who brought it, what is wrong, and what to do."""

    name: str
    distribution: str
    module: str
    fault: str


def _built_in(kind: Kind) -> dict[str, str]:
    folder = Path(__file__).parent / kind
    return {
        m.name: f"steerkit.{kind}.{m.name}" for m in pkgutil.iter_modules([str(folder)]) if not m.name.startswith("_")
    }


def _bridged(kind: Kind) -> dict[str, str]:
    """The methods of steering-lite, where it is installed, found without importing it."""
    found = find_spec(LITE) if kind == "methods" else None
    if found is None or not found.submodule_search_locations:
        return {}
    folder = Path(found.submodule_search_locations[0]) / "variants"
    return {f"lite.{m.name}": f"{LITE}.variants.{m.name}" for m in pkgutil.iter_modules([str(folder)])}


def _entry_points(kind: Kind) -> tuple[EntryPoint, ...]:
    return _registered(kind, tuple(sys.path))


@cache
def _registered(kind: Kind, _path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Every package's metadata is read for it, which takes longer than loading a plugin: once for each search path."""
    return tuple(entry_points(group=f"steerkit.{kind}"))


def sources(kind: Kind) -> dict[str, str]:
    """Plugin name to the module that holds it; a name that two claim is the built-in's, or nobody's (`clashes`).

    What is installed later in the same process is not seen.
    """
    return dict(_sources(kind, tuple(sys.path)))


@cache
def _sources(kind: Kind, _path: tuple[str, ...]) -> dict[str, str]:
    found, points = _built_in(kind) | _bridged(kind), _entry_points(kind)
    claimed = [point.name for point in points]
    alone = {point.name: point.value for point in points if point.name not in found and claimed.count(point.name) == 1}
    return dict(sorted((found | alone).items()))


def clashes(kind: Kind) -> list[Trouble]:
    """Plugins whose name another one has: those that shadow a built-in, and those that take each other's."""
    found, points = _built_in(kind), _entry_points(kind)
    troubles = []
    for point in points:
        others = [found[point.name]] if point.name in found else []
        others += [other.value for other in points if other.name == point.name and other.value != point.value]
        if others:
            fault = f"two {kind} are named {point.name!r}: {others[0]} and {point.value}; uninstall or rename one"
            troubles.append(Trouble(point.name, distribution(kind, point.value), point.value, fault))
    return troubles


def distribution(kind: Kind, module: str) -> str:
    """Name and version of the package that brought a plugin's module."""
    for point in _entry_points(kind):
        if point.value == module and point.dist is not None:
            return f"{point.dist.name} {point.dist.version}"
    return "steering-lite" if module.startswith(f"{LITE}.") else "steerkit"


def brought_by(name: str) -> str:
    """The package that brought a method, for a message about what it did."""
    return distribution("methods", (sources("methods") | UNLISTED["methods"])[name])


def load(kind: Kind, name: str) -> Any:
    """Import one plugin by its name, of which a hyphen may stand for an underscore.

    What comes back is a module, or what stands for one where a package is bridged. Raises UsageError for an unknown
    name, listing the known ones, one that two plugins claim, or a package's that does not import, naming the package.
    """
    known = sources(kind) | UNLISTED.get(kind, {})
    found = known.get(name) or known.get(name.replace("-", "_"))
    if found is None:
        for trouble in clashes(kind):
            if trouble.name == name:
                raise UsageError(trouble.fault)
        raise unknown(kind.removesuffix("s"), name, sources(kind))
    by = distribution(kind, found)
    if by == "steerkit":
        return importlib.import_module(found)
    try:
        return _imported(name, found)
    except Exception as error:
        raise UsageError(
            f"{found} must be importable, but gave {type(error).__name__}: {error}; mend or uninstall {by}"
        ) from error


def _imported(name: str, module: str) -> Any:
    if not module.startswith(f"{LITE}."):
        return importlib.import_module(module)
    from steerkit.methods import _steering_lite

    return _steering_lite.method(name, LITE_SITES)


def load_method(name: str) -> Method:
    """The steering method of that name.

    Raises UsageError as `load` does, for one that has no vector, and for one that lacks a part.
    """
    found = load("methods", name)
    if vars(found).get("SITE") == TEXT:
        raise UsageError(
            f"a method that steers must have a vector, but {name!r} is a text; gate 1 and compare score it beside "
            "every method without being asked: name a method that has a vector"
        )
    fault = _lacking(name, found)
    if fault:
        raise UsageError(fault)
    return cast(Method, found)


def load_text_method(name: str) -> TextMethod:
    """The method of that name whose means are words."""
    return cast(TextMethod, load("methods", name))


def trouble_of(name: str) -> Trouble | None:
    """What keeps a method from being used, found by importing it; None where nothing does."""
    module = sources("methods")[name]
    try:
        fault = _lacking(name, load("methods", name))
    except UsageError as error:
        fault = str(error)
    return Trouble(name, distribution("methods", module), module, fault) if fault else None


def _lacking(name: str, found: Any) -> str:
    """What a method's module must hold and does not, as a message; empty where it holds all."""
    parts = TEXT_PARTS if vars(found).get("SITE") == TEXT else PARTS
    missing = [part for part in parts if part not in dir(found)]
    if not missing:
        return ""
    module = (sources("methods") | UNLISTED["methods"])[name]
    must = f"{module} must hold {', '.join(parts)}, but lacks {', '.join(missing)}"
    return f"{must}; mend or uninstall {brought_by(name)}"


@cache
def load_filters() -> dict[str, Filter]:
    """Every check there is, by name; looked for once, because that reads the disk."""
    return {name: cast(Filter, load("filters", name)) for name in sources("filters")}
