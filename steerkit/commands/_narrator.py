"""Progress on stderr while a pipeline runs."""

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import click


class Narrator:
    """One line per finished unit of work on stderr, with the time left; on a terminal the line renews itself."""

    def __init__(self, store: Path, as_json: bool) -> None:
        self._start = time.monotonic()
        self._done = 0
        self._fresh_seconds: list[float] = []
        self._live = sys.stderr.isatty()

    def __enter__(self) -> "Narrator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and self._done:
            click.echo(err=True)

    def say(self, text: str) -> None:
        """A line of its own."""
        click.echo(text, err=True)

    def begin(self, text: str) -> None:
        """A line of its own, from which on steps are counted anew."""
        self._done, self._fresh_seconds = 0, []
        self.say(text)

    def step(self, step: Any, seconds: float) -> None:
        """A finished step, what it showed, and how long the rest will take."""
        self._done += 1
        if step.fresh:
            self._fresh_seconds.append(seconds)
        line = f"[{self._done:>2}/{step.total}] {step.stage} {step.name}: {seconds:.1f} s{self._left(step.total)}"
        seen = step.headline
        if self._live and not seen:
            click.echo(f"\r\x1b[2K{line}", nl=False, err=True)
        else:
            click.echo(("\r\x1b[2K" if self._live else "") + f"{line}{'; ' + seen if seen else ''}", err=True)

    def _left(self, total: int) -> str:
        if not self._fresh_seconds or self._done >= total:
            return ""
        seconds = sum(self._fresh_seconds) / len(self._fresh_seconds) * (total - self._done)
        return f", about {seconds:.0f} s left"
