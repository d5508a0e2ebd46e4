"""Students on disk: a model folder that transformers alone opens, or an adapter folder that peft alone opens."""

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from steerkit import __version__
from steerkit.durable import durable_folder, sync, write
from steerkit.errors import RunError, UsageError
from steerkit.host import Host
from steerkit.host.biases import biases_held
from steerkit.host.load import reread
from steerkit.stages.bake import Stack, adapter_files, baked, widened
from steerkit.stages.fold import Gap, NotFoldable, folded, folding, gap, logits, steered_logits
from steerkit.stages.steer import Fitted

LINEAGE = "steerkit.json"
"""The file beside the weights that says what they are made of."""


def save_model(
    host: Host, stack: Stack, folder: Path, gates: Sequence[float] | None = None, *, wide: bool = False
) -> None:
    """Write the student as a plain model folder: safetensors, configuration, tokenizer; in float32 where `wide`.

    Raises UsageError for a folder that holds something, RunError when the disk is full or refuses; either way the
    folder is whole or not there.
    """
    with whole_folder(folder) as aside, widened(host) if wide else nullcontext(), baked(host, stack, gates):
        host.model.save_pretrained(aside)
        host.tokenizer.save_pretrained(aside)
        _write_lineage(host, stack, aside, gates)


def save_steered(
    host: Host,
    fitted: Fitted,
    strength: float,
    folder: Path,
    texts: Sequence[Sequence[int]],
    made_of: Mapping[str, object],
) -> Gap:
    """Write a steered model as a plain model folder in float32, and prove it: read back by transformers alone, it must
    say what the steered one says. Returns how far the two are apart.

    Raises NotFoldable where the weights cannot hold it exactly, RunError where the configuration cannot say so, the
    folder reads back as another model, or the disk refuses; UsageError for a folder that holds something.
    """
    with whole_folder(folder) as aside, widened(host):
        found = folding(host, fitted, strength)
        apart = gap(host, fitted, strength, found, texts)
        if not apart.exact:
            reason = found.inexact[0] if found.inexact else "the method's bake() is at fault"
            raise NotFoldable(
                f"a folder must say what the steered model says, but folded into weights {fitted.method!r} is only an "
                f"approximation here (logits off by {apart.logit:.2g}, KL {apart.kl:.2g} nats per token): {reason}"
            )
        steered = steered_logits(host, fitted, strength, texts)
        fresh = found.new_biases(host)
        with biases_held(host, fresh), folded(host, found):
            host.model.save_pretrained(aside)
            host.tokenizer.save_pretrained(aside)
        write(aside / LINEAGE, json.dumps({"steerkit": __version__, "base": host.name, **made_of}, indent=2).encode())
        read_back = reread(aside, host)
        apart = Gap.between(steered, [logits(read_back, text) for text in texts])
        if not apart.exact:
            raise RunError(
                "the folder must read back as the steered model, but its logits are off by "
                f"{apart.logit:.2g}: {type(host.model).__name__} drops what was written; heal instead (steerkit gate2, "
                "gate3, bake)"
            )
    return apart


def save_adapter(
    host: Host, stack: Stack, folder: Path, gates: Sequence[float] | None = None, base_name: str | None = None
) -> None:
    """Write a whole stack as one adapter, its ranks side by side, that peft puts on the base model.

    `base_name` is where peft looks for the base; None is where the host's came from. Raises as `save_model` does.
    """
    from safetensors.torch import save

    config, tensors = adapter_files(stack, base_name or host.source, gates)
    with whole_folder(folder) as aside:
        write(aside / "adapter_config.json", json.dumps(config, indent=2).encode())
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        write(aside / "adapter_model.safetensors", save(contiguous, metadata={"format": "pt"}))
        _write_lineage(host, stack, aside, gates)


def free_folder(path: Path) -> Path:
    """The folder's real path, if it can be made: not there yet, or empty.

    Raises UsageError otherwise.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        what = "holds something" if target.is_dir() else "is a file"
        raise UsageError(
            f"a student goes into a folder that is new or empty, but {target} {what}; name another with -o"
        )
    nearest = next(parent for parent in target.parents if parent.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise UsageError(f"the folder must be one that can be made, but {nearest} takes no files; name another with -o")
    return target


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, beside `path`; it becomes `path` when the body has ended well, and is gone otherwise.

    Raises UsageError when `path` holds something, RunError when the disk is full or refuses.
    """
    target = free_folder(path)
    aside = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        durable_folder(target.parent)
        aside.mkdir()
        yield aside
        for file in (*aside.rglob("*"), aside):
            sync(file)
        aside.rename(target)
        sync(target.parent)
    except Exception as error:
        # Libraries written in Rust report the disk's refusal in words of their own.
        if not isinstance(error, OSError) and "os error" not in str(error):
            raise
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise RunError(
            f"cannot write to {target}: {reason}; free some space or set that right and run again: nothing was left "
            "there"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_lineage(host: Host, stack: Stack, folder: Path, gates: Sequence[float] | None) -> None:
    lineage = {
        "steerkit": __version__,
        "base": host.name,
        "fingerprint": host.fingerprint,
        "dtype": host.dtype,
        "adapters": [layered.adapter.adapter_id for layered in stack.layers],
        "gates": stack.gated(gates),
    }
    write(folder / LINEAGE, json.dumps(lineage, indent=2).encode())
