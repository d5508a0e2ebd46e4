"""Train one LoRA while its texts are written: a few under steering, one update on those that the checks keep, again.

The objective and the constraint are `heal`'s; what differs is who writes. In whole rounds every text comes from the
student that the round started from; here each batch comes from the student so far, so that what it has learned already
stands in what it learns next, and its mistakes do too.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

from steerkit.host import Host
from steerkit.host.adapter import Lora, attached, band_blocks, without
from steerkit.host.training import Head, head
from steerkit.spec_heal import Divergence, HealSpec
from steerkit.stages._heal_data import Example
from steerkit.stages._heal_passes import Pass, entered, reference
from steerkit.stages._heal_training import Batch, Healed, HealStopped, Labels, Training

DRY = 8
"""Batches in a row of which nothing is kept, after which a training gives up."""
State = Callable[[], AbstractContextManager[object]]
Write = Callable[[State], list[Example]]
"""The kept texts of the next batch, given how to be without the new adapter for a while."""


@dataclass
class _Stream:
    """Batches as they are written, each with the reference that its texts are compared with."""

    host: Host
    spec: HealSpec
    lora: Lora
    write: Write
    outside: State | None
    head: Head
    constrained: bool

    def off(self) -> AbstractContextManager[None]:
        return without(self.host, self.lora)

    def losses(self, texts: Sequence[Example]) -> Pass:
        """How these texts' losses are taken: their reference is the model without what is being trained."""
        entry = entered(self.host, texts, band_blocks(self.host, self.spec.band).start, self.spec.row_tokens)
        with ExitStack() as away:
            away.enter_context(self.off())
            if self.outside is not None:
                away.enter_context(self.outside())
            origin = reference(self.host, texts, None if self.outside else entry, self.spec.row_tokens)
        kind: Divergence = "reverse-kl" if self.spec.divergence == "none" else self.spec.divergence
        return Pass(self.host, self.head, origin, kind, entry, self.constrained)

    def batches(self) -> Iterator[Batch]:
        """Until nothing is kept any more."""
        dry = 0
        while dry < DRY:
            kept = self.write(self.off)
            dry = 0 if kept else dry + 1
            if kept:
                yield kept, self.losses(kept)


def heal_online(
    host: Host,
    write: Write,
    validation: Sequence[Example],
    spec: HealSpec,
    *,
    texts: int,
    tau: float | None,
    outside: State | None,
    seed: int,
    adapter_id: str,
    run: str,
    unit: str,
) -> Healed:
    """Train a fresh adapter on so many texts, written while it is trained, and leave the model as it was.

    `tau` (nats) as in `heal`; `outside` puts the model, without the adapter, into the state that D is measured from,
    None for the one it is in. Raises UsageError for too high a rank; HealStopped when a loss is not finite, or when
    nothing is kept of several batches in a row.
    """
    limit = math.inf if tau is None or spec.divergence == "none" else tau
    with attached(host, spec.rank, spec.alpha, spec.band, seed) as lora:
        constrained = spec.lam > 0 and math.isfinite(limit)
        stream = _Stream(host, spec, lora, write, outside, head(host), constrained)
        watched = stream.losses(validation)
        training = Training(host, lora, spec, watched, limit, seed)
        seen = training.stream(stream.batches(), texts, validation, Labels(adapter_id, run, unit))
        made = training.healed()
    if seen < texts:
        raise HealStopped(
            f"an online training must go on finding texts to keep, but {DRY} batches in a row of {spec.online} kept "
            f"none after {seen} of {texts} texts; lower the dose (gate 2), or raise --online",
            made,
        )
    return made
