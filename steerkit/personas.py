"""Persona pairs: the two opposite system prompts whose difference is a trait, loaded from TOML and linted."""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from steerkit.errors import UsageError
from steerkit.records import FOUNDATIONS

Pole = Literal["positive", "negative"]
Severity = Literal["error", "warning"]

BUILT_IN = Path(__file__).parent / "data" / "personas.toml"


class Persona(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One trait as a pair of opposite poles, and where its effect on the eval is expected."""

    name: str
    description: str
    """What moving along this trait means, in one sentence."""
    positive: str
    """Noun phrase of the pole that strength +1 steers towards."""
    negative: str
    """Noun phrase of the opposite pole."""
    target: str
    """The foundation whose log-probability the trait should move."""
    sign: Literal[-1, 1]
    """Intended sign of the change of log p[target] (nats) at strength +1."""
    along: tuple[str, ...] = ()
    """Foundations that may move too without being called off-target."""
    template: str = "You are {pole}."
    """System prompt of either pole; `{pole}` stands for its noun phrase."""

    def system_prompt(self, pole: Pole) -> str:
        """The system prompt that sets the model to one pole."""
        return self.template.replace("{pole}", self.positive if pole == "positive" else self.negative)


class Finding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule of pair-writing that a persona breaks."""

    rule: str
    severity: Severity
    why: str


def load_personas(path: Path | None = None) -> dict[str, Persona]:
    """The personas of a TOML file by name, the built-in ones when no path is given.

    Raises UsageError naming file, table and field when the file does not hold valid personas.
    """
    source = BUILT_IN if path is None else path
    tables = _read(source)
    if not tables:
        raise UsageError(f"{source}: must hold at least one trait as a [table], but the file has none")
    return {name: _persona(source, name, table) for name, table in tables.items()}


def _read(source: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{source}: the persona file must be readable, but got: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{source}: the persona file must be valid TOML in UTF-8, but got: {error}") from error


def _persona(source: Path, name: str, table: Any) -> Persona:
    where = f"{source}: [{name}]"
    if not isinstance(table, dict):
        raise UsageError(f"{where} must be a table of fields, but got {table!r}; write [{name}] with fields below it")
    _check_field_names(where, table)
    _check_sign(where, table["sign"])
    try:
        persona = msgspec.convert({"name": name, **table}, Persona)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where} has a field of the wrong type: {error}") from error
    _check_texts(where, persona)
    _check_foundations(where, persona)
    return persona


def _check_field_names(where: str, table: dict[str, Any]) -> None:
    fields = [field for field in msgspec.structs.fields(Persona) if field.name != "name"]
    known = [field.name for field in fields]
    for name in table:
        if name not in known:
            raise UsageError(f"{where} must hold known fields only, but got {name!r}; known: {', '.join(known)}")
    for field in fields:
        if field.required and field.name not in table:
            came = ", ".join(table) or "nothing"
            raise UsageError(f"{where} must have the field {field.name!r}, but got only: {came}")


def _check_sign(where: str, sign: Any) -> None:
    if type(sign) is not int or sign not in (-1, 1):
        raise UsageError(f"{where} sign must be -1 or 1 (the intended change of log p[target]), but got {sign!r}")


def _check_texts(where: str, persona: Persona) -> None:
    texts = {"description": persona.description, "positive": persona.positive, "negative": persona.negative}
    for field, text in texts.items():
        if not text.strip():
            raise UsageError(f"{where} {field} must be a non-empty text, but got {text!r}")
    if persona.template.count("{pole}") != 1:
        raise UsageError(f"{where} template must contain {{pole}} exactly once, but got {persona.template!r}")


def _check_foundations(where: str, persona: Persona) -> None:
    for field, names in {"target": (persona.target,), "along": persona.along}.items():
        for name in names:
            if name not in FOUNDATIONS:
                known = ", ".join(FOUNDATIONS)
                raise UsageError(f"{where} {field} must name a foundation, but got {name!r}; known: {known}")
    if persona.target in persona.along:
        raise UsageError(f"{where} along must list foundations other than target, but got {persona.target!r} in both")


def lint(persona: Persona) -> list[Finding]:
    """The rules of pair-writing this persona breaks, in the order of `RULES`."""
    return [
        Finding(rule=rule, severity="warning" if rule in WARNINGS else "error", why=why)
        for rule, check in RULES.items()
        for why in check(persona)
    ]


Check = Callable[[Persona], Iterator[str]]


def _poles(persona: Persona) -> dict[str, str]:
    return {"positive": persona.positive, "negative": persona.negative}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _wording(pattern: str, advice: str, with_template: bool = False) -> Check:
    """A check that neither pole (nor the shared template, if asked) contains the pattern."""

    def check(persona: Persona) -> Iterator[str]:
        texts = _poles(persona) | ({"template": persona.template} if with_template else {})
        for place, text in texts.items():
            if found := re.search(pattern, text, re.IGNORECASE):
                yield f"{place} says {found.group().strip()!r}; {advice}"

    return check


def _prefix_negation(persona: Persona) -> Iterator[str]:
    """A word of one pole that is the other pole's word with a negating prefix, as in honest and dishonest."""
    positive, negative = set(_words(persona.positive)), set(_words(persona.negative))
    for here, there in ((positive, negative), (negative, positive)):
        for word in sorted(here):
            stem = re.sub(r"^(un|dis|non|in|im|ir|il)", "", word)
            if stem != word and len(stem) >= 4 and stem in there:
                yield f"{word!r} only negates {stem!r}; name the opposite with a word of its own"


def _identical(persona: Persona) -> Iterator[str]:
    if _words(persona.positive) == _words(persona.negative):
        yield "the poles must differ, but hold the same words; their vector would be zero"


def _length(persona: Persona) -> Iterator[str]:
    counts = len(_words(persona.positive)), len(_words(persona.negative))
    if max(counts) - min(counts) > 0.4 * max(counts):
        yield f"the poles must be within 40 % of each other's length, but have {counts[0]} and {counts[1]} words"


def _brevity(persona: Persona) -> Iterator[str]:
    for pole, text in _poles(persona).items():
        if (count := len(_words(text))) > 25:
            yield f"{pole} should be a noun phrase of at most 25 words, but has {count}"


def _head(text: str) -> str:
    """The words up to the relative pronoun, or the first word when there is none."""
    words = _words(text)
    ends = [place for place, word in enumerate(words) if word in ("who", "whose", "that", "which")]
    return " ".join(words[: ends[0] + 1] if ends else words[:1])


def _opening(persona: Persona) -> Iterator[str]:
    positive, negative = _head(persona.positive), _head(persona.negative)
    if positive != negative:
        yield f"the poles must open alike, but start with {positive!r} and {negative!r}"


def _punctuation(persona: Persona) -> Iterator[str]:
    positive, negative = ("".join(re.findall(r"[^\w\s'\u2019-]", text)) for text in _poles(persona).values())
    if positive != negative:
        yield f"the poles must be punctuated alike, but have {positive!r} and {negative!r}"


def _tone(persona: Persona) -> Iterator[str]:
    emphatic = r"(?i)\b(very|extremely|utterly|deeply|truly|really|totally|always|absolutely)\b"
    positive, negative = (len(re.findall(emphatic, text)) for text in _poles(persona).values())
    if positive != negative:
        yield f"the poles should be equally emphatic, but have {positive} and {negative} intensifiers"


RULES: dict[str, Check] = {
    "negated-pole": _wording(
        r"\b(not|never|no|none|nothing|nobody|neither|nor|cannot|without|lack(s|ing)?)\b|n['\u2019]t\b|\bnon-",
        "name the opposite instead of negating the pole",
    ),
    "prefix-negation": _prefix_negation,
    "answer-label": _wording(
        r"\b(un|dis|anti)?(care(?!er|ss)|caring|fair(?!y|ies)|loyal|authorit|sanctit|libert|social|norm|wrong)\w*",
        "the eval's answers use this word; describe the behaviour instead",
        with_template=True,
    ),
    "assistant": _wording(
        r"\b(assistants?|chatbots?|AI|language models?)\b",
        "a contrast with an assistant adds style and 'having a persona' to the vector; name a trait on both sides",
    ),
    "first-person": _wording(
        r"\b(I|me|my|mine|myself|we|us|our|ours|ourselves)\b",
        "the template tells the model who it is; write the pole in the third person",
    ),
    "single-clause": _wording(
        r"[.;:!?\u2013\u2014]\s*\w|\b(but|whereas|because|although|while)\b|,\s*(and|or|so|yet|then)\b",
        "use one short noun phrase, with no second sentence or joined clause",
    ),
    "noun-phrase": _wording(
        r"^\s*(you|be|being|is|are|to|always|please|act|behave|respond|answer)\b",
        "start with a noun phrase such as 'a person who ...'; the template supplies the verb",
    ),
    "identical-poles": _identical,
    "length": _length,
    "opening": _opening,
    "punctuation": _punctuation,
    "brevity": _brevity,
    "tone": _tone,
    "caricature": _wording(
        r"\b(evil|cruel|bad|immoral|wicked|rebellious|rebel|villain|monster|saint)\b",
        "a plain verdict drags in other axes; let each pole win at the cost of the other",
    ),
}
"""Every check by name; a pair that follows the rules gets no finding from any."""

WARNINGS = frozenset({"brevity", "tone", "caricature"})
"""Rules whose findings are advice; the others make a pair unusable as a contrast."""
