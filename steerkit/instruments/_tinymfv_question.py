"""The wording of `tinymfv`'s question in both orders of its options, and the tokens that answer it."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from steerkit.errors import UsageError
from steerkit.host import Host, text_ids
from steerkit.records import FOUNDATIONS

TEXT = Path(__file__).parents[1] / "data" / "tinymfv.toml"
ORDERS = (FOUNDATIONS, FOUNDATIONS[::-1])
"""As the options are listed: forward, and reversed."""


@cache
def material() -> dict[str, Any]:
    """The question's parts."""
    return tomllib.loads(TEXT.read_text(encoding="utf-8"))


def labels(token: str, order: int) -> dict[str, str]:
    """What each foundation is answered with: its place in the listing, or its word."""
    if token == "word":
        return {name: material()["words"][name] for name in FOUNDATIONS}
    return {name: str(place) for place, name in enumerate(ORDERS[order])}


def question(vignette: str, token: str, order: int) -> str:
    """The user's turn about one vignette."""
    given, named = material(), labels(token, order)
    options = [given["option"].format(label=named[n], gloss=given["glosses"][n]) for n in ORDERS[order]]
    text: str = given["question"].removeprefix("\n").format(vignette=vignette, options="\n".join(options))
    return text


def answer_tokens(host: Host, token: str, order: int) -> tuple[int, ...]:
    """The first token of each foundation's answer, as it stands behind the prefilled quotation mark.

    Raises UsageError, naming them, where two answers begin with the same token.
    """
    named = labels(token, order)
    found = {name: text_ids(host, label, start=False)[0] for name, label in named.items()}
    if _collisions(found):
        # Some tokenizers put a mark for a word's beginning in front of a text, but not inside one.
        found = {name: _inside(host, label) for name, label in named.items()}
    if clash := _collisions(found):
        words = " and ".join(repr(named[name]) for name in clash)
        other = "index" if token == "word" else "word"
        raise UsageError(
            f"the answers of tinymfv must begin with seven different tokens, but {words} both begin with "
            f"{host.tokenizer.decode([found[clash[0]]])!r} for {host.name}; use --set instrument.token={other} "
            f"(steerkit score: --set token={other}) or another instrument"
        )
    return tuple(found[name] for name in FOUNDATIONS)


def _inside(host: Host, label: str) -> int:
    prefill = material()["prefill"]
    before = text_ids(host, prefill, start=False)
    return text_ids(host, prefill + label, start=False)[len(before) :][0]


def _collisions(found: dict[str, int]) -> list[str]:
    """Two foundations whose answers begin alike; none where all differ."""
    for name, token in found.items():
        alike = [other for other in found if found[other] == token]
        if len(alike) > 1:
            return [name, next(other for other in alike if other != name)]
    return []


def named_answer(text: str, token: str, order: int) -> str | None:
    """The foundation a free answer names; None unless the whole text is the JSON that was asked for."""
    try:
        said = msgspec.json.decode(text.rpartition("</think>")[2].strip())
    except msgspec.DecodeError:
        return None
    if not isinstance(said, dict) or set(said) != {material()["field"]}:
        return None
    meant = {label: name for name, label in labels(token, order).items()}
    value = said[material()["field"]]
    return meant.get(value) if isinstance(value, str) else None
