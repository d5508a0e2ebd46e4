"""What `steerkit doctor` is asked to look at, and what a check found."""

from pathlib import Path
from typing import Literal

import msgspec


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The options that decide what is looked at."""

    store: Path
    model: str
    dtype: str
    device: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found; `advice` is empty where all is well."""

    check: str
    status: Literal["ok", "notice", "trouble"]
    found: str
    advice: str = ""


def ok(found: str) -> Finding:
    """All is well."""
    return Finding(check="", status="ok", found=found)


def notice(found: str, advice: str) -> Finding:
    """Works, but not as well as it could."""
    return Finding(check="", status="notice", found=found, advice=advice)


def trouble(found: str, advice: str) -> Finding:
    """A run would fail, or its numbers could not be trusted."""
    return Finding(check="", status="trouble", found=found, advice=advice)
