"""A student for a while: its adapters folded into float32 weights, or beside weights too coarse to hold them.

Rounding a trained student's weights to bfloat16 moves it by about 2e-4 nats per token on the embedded model, but
what is scored, written from or trained on top of is the student that was trained, so it is folded where that is exact.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

from steerkit.host import Host
from steerkit.stages.bake import Stack, baked, hooked


@runtime_checkable
class Student(Protocol):
    """A model that is a student now."""

    def off(self) -> AbstractContextManager[None]:
        """The base for a while, then the student again, both to the bit."""
        ...


@contextmanager
def student(host: Host, stack: Stack) -> Iterator[Student]:
    """The student that a stack makes, until the context ends; an empty stack is the base.

    Raises as `baked` does.
    """
    if host.dtype == "float32":
        with baked(host, stack) as folded:
            yield folded
        return
    with hooked(host, stack) as beside:
        yield beside
