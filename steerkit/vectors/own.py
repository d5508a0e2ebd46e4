"""Our own format: a direction's tensors to the bit, and in the header what is needed to steer with them again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError
from torch import Tensor

from steerkit.errors import UsageError
from steerkit.spec import canonical
from steerkit.stages.fit import states, tensors
from steerkit.vectors.base import Vector

MARK = "steerkit"


@dataclass(frozen=True)
class Header:
    """A safetensors file, read: its tensors and the texts in its header."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    def texts(self, name: str) -> dict[str, Any]:
        """A JSON object in the header.

        Raises UsageError for anything else.
        """
        try:
            return msgspec.json.decode(self.metadata[name], type=dict[str, Any])
        except (KeyError, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise UsageError(f"{name!r} in the header of {self.path} must be a JSON object, but: {error}") from error


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What the header says of a vector of ours."""

    method: str
    config: dict[str, Any]
    model: str = ""
    model_type: str = ""
    fingerprint: str = ""
    dtype: str = ""
    depth: int | None = None
    origin: dict[str, Any] = {}


def header(path: Path, data: bytes) -> Header:
    """The file's tensors and header.

    Raises UsageError for a file that is not safetensors or is damaged.
    """
    from safetensors.torch import load

    try:
        tensors = load(data)
    except SafetensorError as error:
        raise UsageError(f"{path} must be a whole safetensors or gguf file, but: {error}") from error
    size = int.from_bytes(data[:8], "little")
    return Header(path, tensors, msgspec.json.decode(data[8 : 8 + size]).get("__metadata__", {}))


def encoded(vector: Vector) -> bytes:
    """The file's bytes."""
    from safetensors.torch import save

    said = Said(
        method=vector.method,
        config=vector.config,
        model=vector.model,
        model_type=vector.model_type,
        fingerprint=vector.fingerprint,
        dtype=vector.dtype,
        depth=vector.depth,
        origin=vector.origin,
    )
    whole = {name: tensor.contiguous().clone() for name, tensor in tensors(vector.fitted("")).items()}
    return save(whole, metadata={MARK: canonical(said)})


def decoded(found: Header) -> Vector:
    """The vector of a file of ours.

    Raises UsageError for a header that says too little.
    """
    try:
        said = msgspec.json.decode(found.metadata[MARK], type=Said)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"the header of {found.path} must say how its vector acts, but: {error}") from error
    given = {name: getattr(said, name) for name in said.__struct_fields__}
    return Vector(form="safetensors", states=states(found.tensors), **given)
