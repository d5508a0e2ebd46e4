"""An instrument whose answers are planted: how much it knows, how it depends on the order, and how it breaks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from steerkit.errors import UsageError
from steerkit.host import Edits, Host
from steerkit.records import FOUNDATIONS
from steerkit.spec import Setting, digest


class Config(Setting, frozen=True, kw_only=True):
    """What is planted."""

    knows: float = 3.0
    """How far the scene's own answer is above the others (nats)."""
    outside: float = 0.1
    """Mass outside the answers (fraction)."""
    turned: float = 0.0
    """How far the second order prefers Care, whatever the scene (nats)."""
    prompted: float = -0.5
    """What a system prompt adds to Authority (nats)."""
    unread: int = 0
    """First rows of the set that are NaN."""
    unsteady: float = 0.0
    """What a second preparation adds to Care (nats)."""
    usable: bool = True
    orders: int = 2
    prior: Literal["set-mean", "none"] = "none"


@dataclass(frozen=True)
class Prepared:
    """The scenes, and what is asked of them."""

    texts: tuple[str, ...]
    config: Config
    system: str | None


def identity() -> str:
    """What it shows."""
    return digest("planted")


def prepare(host: Host, texts: Sequence[str], config: Config, *, system: str | None, first_block: int) -> Prepared:
    """Raises UsageError where it cannot be used."""
    if not config.usable:
        raise UsageError("answers must be single tokens, but 'authority' is two; use another instrument")
    return Prepared(tuple(texts), config, system)


def read(host: Host, prepared: Prepared, edits: Edits) -> Tensor:
    """`[order vignette 9]`: a scene's text ends with its number, and its number modulo 7 is its foundation."""
    config, found = prepared.config, []
    for order in range(config.orders):
        rows = []
        for text in prepared.texts:
            number = int(text.rsplit(" ", 1)[1])
            scores = torch.zeros(9)
            scores[number % 7] += config.knows
            # A scene's own wobble, the same at every reading.
            scores[:7] += 0.3 * torch.sin(torch.arange(7) * (number + 1.0) + order)
            scores[0] += config.turned * (order == 1) + config.unsteady * (not text.endswith(prepared.texts[0][-2:]))
            if prepared.system is not None:
                scores[FOUNDATIONS.index("Authority")] += config.prompted
            scores[:7] = scores[:7].log_softmax(0) + torch.log(torch.tensor(1 - config.outside))
            scores[7], scores[8] = config.outside, 0.2
            if number < config.unread:
                scores[:8] = float("nan")
            rows.append(scores)
        found.append(torch.stack(rows))
    return torch.stack(found)
