"""One exception per exit code; `cli` turns each into one clear message."""

import difflib
from collections.abc import Iterable


class SteerkitError(Exception):
    """A failure with a message for the user and an exit code for the shell."""

    exit_code = 4


class RunError(SteerkitError):
    """The run broke: a non-finite tensor, a full disk, a model that cannot do what was asked."""


class UsageError(SteerkitError):
    """The user asked for something impossible; the message says what must hold, what came and what to do."""

    exit_code = 2


class StoreLocked(SteerkitError):
    """Somebody else held the database longer than the deadline; committed segments are safe in the spool."""

    exit_code = 5


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """A usage error that lists the known names and the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown {kind} {name!r}; {hint}known: {', '.join(names)}")
