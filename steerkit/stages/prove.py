"""Whether weights can hold each method on a model: folded, run beside the steered model, and compared."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from steerkit.errors import RunError, UsageError
from steerkit.host import Host, chat_ids
from steerkit.host.biases import bias_switches
from steerkit.inputs import contexts, dilemmas, drawn, drawn_prompts
from steerkit.personas import load_personas
from steerkit.plugins import Bakeable, Method, load, trouble_of
from steerkit.spec import CaptureSpec
from steerkit.stages.capture import Captured, band, capture
from steerkit.stages.fit import fit
from steerkit.stages.fold import Folding, Gap, folding, gap
from steerkit.stages.steer import Fitted

CONTEXTS, TEXTS = 24, 4
STRENGTHS = (1.0, -0.6)
"""Where steered and folded are compared: the natural step, and some of it the other way."""


@dataclass(frozen=True)
class Proof:
    """What was found of one method on one model.

    `held`: 'exact' where steered and folded are one model up to float32's rounding, 'approximate' where they were
    compared and are not, 'no' where there was nothing to compare. `logit`: largest difference of a logit; `kl`: mean
    KL(steered || folded) per token (nats), the largest of all strengths. `folder`: whether a plain model folder holds
    it. `why`: what stands against it, or what the folder needs.
    """

    method: str
    site: str
    held: Literal["exact", "approximate", "no"]
    logit: float | None
    kl: float | None
    folder: bool
    why: str


def texts(host: Host) -> list[list[int]]:
    """Token ids of some prompts to compare on."""
    some = drawn_prompts(dilemmas(), TEXTS, 0)
    return [chat_ids(host, prompt.text) for prompt in some]


def checked_contexts(host: Host) -> Callable[[str], Captured]:
    """A site's activations under the first built-in persona, over a few contexts; each site is captured once."""
    chosen, _ = drawn(contexts(), CONTEXTS, 0)
    persona = next(iter(load_personas().values()))
    blocks = band(host, CaptureSpec())

    @cache
    def captured(site: str) -> Captured:
        return capture(host, persona, [c.text for c in chosen], blocks, site, [c.category for c in chosen])

    return captured


def proofs(
    host: Host, methods: Sequence[str], captured: Callable[[str], Captured], texts: Sequence[Sequence[int]]
) -> Iterator[Proof]:
    """One proof per method, at its default settings; `captured` gives the activations of a site."""
    for name in methods:
        trouble = trouble_of(name)
        if trouble is not None:
            yield Proof(name, "", "no", None, None, False, trouble.fault)
            continue
        method = load("methods", name)
        if not isinstance(method, Bakeable):
            yield Proof(name, method.SITE, "no", None, None, False, str(vars(method).get("NOT_BAKEABLE")))
            continue
        try:
            fitted = fit(captured(method.SITE), name, method.Config(), "check")
            found = [_compared(host, fitted, strength, texts) for strength in STRENGTHS]
        except (UsageError, RunError) as error:
            # What a model lacks is what was asked about.
            yield Proof(name, method.SITE, "no", None, None, False, str(error))
            continue
        yield _proof(host, name, method, found)


def _compared(host: Host, fitted: Fitted, strength: float, texts: Sequence[Sequence[int]]) -> tuple[Folding, Gap]:
    found = folding(host, fitted, strength)
    return found, gap(host, fitted, strength, found, texts)


def _proof(host: Host, name: str, method: Method, found: Sequence[tuple[Folding, Gap]]) -> Proof:
    exact = all(gap.exact for _, gap in found)
    logit, kl = max(gap.logit for _, gap in found), max(gap.kl for _, gap in found)
    folding = found[0][0]
    if not exact:
        why = folding.inexact[0] if folding.inexact else "no reason is known: the method's bake() is at fault"
        return Proof(name, method.SITE, "approximate", logit, kl, False, why)
    try:
        switches = bias_switches(host, folding.new_biases(host))
    except RunError as error:
        return Proof(name, method.SITE, "exact", logit, kl, False, str(error))
    said = f"needs new biases: the folder's configuration says {', '.join(f'{name}=true' for name in switches)}"
    return Proof(name, method.SITE, "exact", logit, kl, True, said if switches else "")
