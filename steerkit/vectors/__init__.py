"""Steering vectors as files: our own safetensors, steering-lite's, control vectors of llama.cpp and repeng, and probes.

Blocks are counted from 0, and a vector of block n is added to what block n writes. All four formats agree on that:
repeng counts the same list, llama.cpp adds `direction.n` behind layer n (and knows none for n = 0).
"""

from collections.abc import Callable
from pathlib import Path

from steerkit.errors import RunError, UsageError, unknown
from steerkit.vectors import control, lite, own, probe
from steerkit.vectors.base import Vector

__all__ = ["FORMS", "Vector", "read", "write"]

FORMS: dict[str, Callable[[Vector], bytes]] = {
    "safetensors": own.encoded,
    "steering-lite": lite.encoded,
    "gguf": control.encoded,
}
"""What a vector can be written as."""


def read(path: Path, direction: str | None = None) -> Vector:
    """The vector in a file, whichever of the four formats it has; `direction` picks one of a probe's.

    Raises UsageError for a file that is not there, is damaged, or has another format.
    """
    if not path.is_file():
        raise UsageError(f"a vector must be a file, but {path} is none")
    data = path.read_bytes()
    if data.startswith(control.MAGIC):
        return control.decoded(path, data)
    header = own.header(path, data)
    for form in (own, lite, probe):
        if form.MARK in header.metadata:
            return probe.decoded(header, direction) if form is probe else form.decoded(header)
    raise UsageError(
        f"a vector must be a file of steerkit, steering-lite or arvkevi/steerkit (safetensors), or a control vector "
        f"(gguf), but {path} says none of {own.MARK!r}, {lite.MARK!r}, {probe.MARK!r} in its header"
    )


def write(vector: Vector, form: str, path: Path) -> None:
    """Write a vector as one of `FORMS`, whole or not at all.

    Raises UsageError for an unknown form, a place that is taken, or a vector that the form cannot hold exactly.
    """
    from steerkit.durable import write as durably

    if form not in FORMS:
        raise unknown("form of a vector", form, FORMS)
    if path.exists():
        raise UsageError(f"a vector goes into a new file, but {path} is there; name another with -o, or move it away")
    data = FORMS[form](vector)
    aside = path.with_name(f".{path.name}.part")
    try:
        durably(aside, data)
        aside.rename(path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; nothing was left there") from error
    finally:
        aside.unlink(missing_ok=True)
