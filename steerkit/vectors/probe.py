"""Probes of the package steerkit by arvkevi: unit directions of three sorts at one place in the residual stream.

Source: https://github.com/arvkevi/steerkit (probe artifact, schema 3).
"""

import re

from steerkit.errors import UsageError, unknown
from steerkit.vectors.base import IMPORTED, Vector, vectors_of
from steerkit.vectors.own import Header

MARK = "hook_site"
PREFIX = "direction."
PLACE = re.compile(r"blocks\.(\d+)\.hook_resid_(post|pre)")


def decoded(found: Header, direction: str | None = None) -> Vector:
    """One direction of a probe: the one it steers with by default, or another one that it holds.

    Raises UsageError for a probe that reads somewhere else than a block's residual stream, or has no such direction.
    """
    said = found.metadata
    directions = {name.removeprefix(PREFIX): t for name, t in found.tensors.items() if name.startswith(PREFIX)}
    chosen = direction or said.get("default_method", "logistic")
    if chosen not in directions:
        raise unknown(f"direction of {found.path}", chosen, directions)
    origin = {name: said.get(name, "") for name in ("hook_name", "auto_alpha", "created_at")} | {"direction": chosen}
    return Vector(
        "probe",
        IMPORTED,
        {},
        vectors_of({_block(found): directions[chosen]}),
        said.get("model_id", ""),
        depth=int(said["n_total_layers"]) if said.get("n_total_layers", "").isdecimal() else None,
        origin=origin,
    )


def _block(found: Header) -> int:
    """The block whose output the probe reads; what enters a block is what the one before it wrote."""
    layer, site = found.metadata.get("layer", ""), found.metadata[MARK]
    name = found.metadata.get("hook_name") or f"blocks.{layer}.hook_{site}"
    place = PLACE.fullmatch(name)
    block = int(place[1]) - (place[2] == "pre") if place else -1
    if block < 0:
        raise UsageError(
            f"a probe must read a block's residual stream (blocks.N.hook_resid_post), but {found.path} reads {name!r}"
        )
    return block
