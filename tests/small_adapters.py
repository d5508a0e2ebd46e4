"""Adapters with random factors for tiny random models, alone, stacked, and as the records of a store."""

from collections.abc import Sequence
from pathlib import Path

import tiny_random
import torch
from msgspec.structs import replace
from store_child import plain
from torch import Tensor

from steerkit.host import Host, load
from steerkit.host.adapter import block_linears
from steerkit.records import Adapter, Record, Run
from steerkit.stages.bake import Layered, Stack, stack
from steerkit.store import Store

IDS = [[256, *range(97, 117)], [256, *range(65, 90)]]
TARGETS = ["mlp.down_proj", "self_attn.o_proj", "self_attn.q_proj"]
NAMES = "abc"


def host_of(folder: Path, architecture: str = "llama", dtype: str = "float32") -> Host:
    """A tiny random model, loaded from a folder of its own."""
    return load(str(tiny_random.saved(folder / architecture, architecture)), dtype, "cpu")


def one(host: Host, name: str, history: Sequence[str] = (), size: float = 0.1, rank: int = 3) -> Layered:
    """An adapter on blocks 1 and 2 whose scaling is 2."""
    draw = torch.Generator().manual_seed(sum(name.encode()))
    tensors = {}
    for path, linear in block_linears(host, range(1, 3)).items():
        if path.endswith(tuple(TARGETS)):
            tensors[f"{path}.lora_A"] = torch.randn(rank, linear.in_features, generator=draw)
            tensors[f"{path}.lora_B"] = size * torch.randn(linear.out_features, rank, generator=draw)
    given = {"adapter_id": name, "history": [*history], "fingerprint": host.fingerprint, "targets": TARGETS}
    return Layered(plain(Adapter, **given, rank=rank, alpha=2.0 * rank, first_block=1, last_block=2), tensors)


def layers(host: Host) -> list[Layered]:
    """Three of them, of ranks 2, 3 and 4, each trained on top of those before it."""
    return [one(host, name, NAMES[:number], rank=number + 2) for number, name in enumerate(NAMES)]


def three(host: Host) -> Stack:
    """The three as a stack."""
    return stack(host, layers(host))


def changed(found: Layered, **fields: object) -> Layered:
    """The same tensors with another record."""
    return Layered(replace(found.adapter, **fields), found.tensors)


def logits(model: Host, ids: Sequence[int] = IDS[0]) -> Tensor:
    """What the host's model says of one text, `[1 token vocab]`."""
    with torch.inference_mode():
        found: Tensor = model.model(input_ids=torch.tensor([[*ids]]), use_cache=False).logits
    return found


def bits(tensor: Tensor) -> Tensor:
    """Equal bits, not just equal values: 0 and -0 are two."""
    return tensor.contiguous().view(torch.uint8)


def stored(path: Path, host: Host) -> Store:
    """A store in which each of the three was trained by a run of its own, 'run-a' to 'run-c', and 'bare' by none."""
    store = Store(path)
    records: list[Record] = [plain(Run, run_id="bare", gate="gate2", model=host.name, dtype=host.dtype)]
    for number, layered in enumerate(layers(host)):
        run = f"run-{NAMES[number]}"
        artifact = store.put_tensors(layered.tensors)
        made = {"run_id": run, "round": number, "role": "healed", "artifact": artifact}
        records += [
            plain(Run, run_id=run, gate="gate3", model=host.name, dtype=host.dtype, fingerprint=host.fingerprint),
            replace(layered.adapter, **made),
        ]
    store.append(records)
    store.ingest()
    return store
