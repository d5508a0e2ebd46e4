"""Plays the rounds of a loop: the runs of gates 1 to 3 that each is made of, on one loaded model."""

from collections.abc import Callable
from dataclasses import dataclass

from steerkit.host import Host
from steerkit.pipeline.loop import Gate4Job, Played
from steerkit.pipeline.study import restored
from steerkit.records import Direction, Record
from steerkit.request import Gate1Request
from steerkit.request_gate2 import Gate2Request, Parent
from steerkit.request_gate3 import Collected, Gate3Request
from steerkit.request_loop import LoopRequest
from steerkit.runner import load_records
from steerkit.stages.heal import HealStopped
from steerkit.stages.steer import Fitted
from steerkit.stages.training import taken
from steerkit.store import Store

Answered = Callable[[Gate1Request | Gate2Request | Gate3Request, str], str]
"""A question and what to say of it, to the run that answers it: found finished, gone on with, or run."""


@dataclass(frozen=True)
class Player:
    """Asks a loop's questions round by round."""

    request: LoopRequest
    store: Store
    host: Host
    answered: Answered

    def job(self, attempt: int) -> Gate4Job:
        """The loop's job."""
        request = self.request
        return Gate4Job(
            spec=request.spec(self.host.fingerprint, self.host.dtype, attempt),
            host=self.host,
            persona=request.first.persona,
            vignettes=(),
            gate_config=request.gate_config,
            play=self.play,
            direction_of=lambda run: direction_of(self.host, self.store, run),
        )

    def play(self, number: int, history: tuple[str, ...], root: str) -> Played:
        """One round; where its texts are too few or its training breaks, the loop is told to stop."""
        gate1 = self._records(self.request.gate1(history, root), f"round {number}, gate 1")
        gate2 = self._records(self.request.collect.after(Parent.of(gate1)), f"round {number}, gate 2")
        heal = self.request.train.heal
        kept = len(taken(gate2, heal.most_texts))
        if kept < heal.fewest_texts:
            why = f"{kept} texts were kept, and an adapter needs at least {heal.fewest_texts}"
            return Played(gate1, gate2, None, "starvation", why)
        first = tuple(load_records(self.store, root)) if root else gate1
        question = self.request.train.after(Collected.of(gate2, gate1, first), number)
        try:
            gate3 = self._records(question, f"round {number}, gate 3")
        except HealStopped as error:
            return Played(gate1, gate2, None, "training broke", str(error))
        return Played(gate1, gate2, gate3)

    def _records(self, question: Gate1Request | Gate2Request | Gate3Request, named: str) -> tuple[Record, ...]:
        return tuple(load_records(self.store, self.answered(question, named)))


def direction_of(host: Host, store: Store, run: str) -> Fitted:
    """The direction that a run of gate 1 fitted."""
    real = next(direction for direction in store.records(Direction, run) if direction.kind == "real")
    return restored(host, [real], store.get_tensors)[0]
