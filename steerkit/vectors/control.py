"""Control vectors of llama.cpp and repeng: a gguf file with one float32 tensor `direction.N` per block."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steerkit.errors import UsageError
from steerkit.vectors.base import IMPORTED, Vector, added, vectors_of

MAGIC = b"GGUF"
ARCHITECTURE = "controlvector"
PREFIX = "direction."


def encoded(vector: Vector) -> bytes:
    """The file's bytes.

    Raises UsageError for a vector that does more than add, or steers block 0, which llama.cpp does not.
    """
    from gguf import GGUFWriter

    steps = added(vector)
    if 0 in steps:
        raise UsageError("a control vector begins at block 1, but this one steers block 0; write it --to safetensors")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vector.gguf"
        writer = GGUFWriter(path, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", vector.model_type)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(steps))
        for name, value in vector.origin.items():
            writer.add_string(f"steerkit.{name}", str(value))
        for block, step in steps.items():
            writer.add_tensor(f"{PREFIX}{block}", step.numpy().astype(np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def decoded(path: Path, data: bytes) -> Vector:
    """The vector of a gguf file.

    Raises UsageError for a file that is damaged or no control vector.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        said = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {tensor.name: _tensor(tensor) for tensor in reader.tensors if tensor.name.startswith(PREFIX)}
    except (ValueError, IndexError, KeyError, UnicodeDecodeError, OverflowError) as error:
        raise UsageError(
            f"{path} must be a whole gguf file, but reading its {len(data)} bytes gave: {error}"
        ) from error
    if not tensors:
        raise UsageError(
            f"a control vector must hold tensors named {PREFIX}N, but {path} "
            f"({said.get('general.architecture', 'no architecture')}) holds none; is it a model?"
        )
    steps = {_block(name, path): tensor for name, tensor in tensors.items()}
    hint = str(said.get(f"{ARCHITECTURE}.model_hint", ""))
    own = {name.removeprefix("steerkit."): value for name, value in said.items() if name.startswith("steerkit.")}
    return Vector("gguf", IMPORTED, {}, vectors_of(steps), str(said.get("model.id", "")), hint, origin=own)


def _tensor(tensor: Any) -> Tensor:
    """Raises UsageError for a quantised tensor, which no control vector has."""
    if tensor.data.dtype not in (np.float32, np.float16):
        raise UsageError(f"{tensor.name} must be float32 or float16, but is {tensor.tensor_type.name}")
    return torch.from_numpy(np.array(tensor.data, dtype=np.float32))


def _block(name: str, path: Path) -> int:
    number = name.removeprefix(PREFIX)
    if not number.isdecimal():
        raise UsageError(f"a direction must be named {PREFIX}N with a block number, but {path} has {name!r}")
    return int(number)
