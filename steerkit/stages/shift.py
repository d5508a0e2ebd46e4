"""Where a student's residual stream moved, beside the vector that taught it.

    shift = mean over prompts of h(student)[last prompt token] - h(before)[same]     one vector per steered block
    cosine of all blocks' shifts with all blocks' teacher steps, each concatenated

Source: student against teacher vector in 2606.00995, there over all prompt tokens of one layer.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from steerkit.host import Host
from steerkit.host.forward import behind_common_prefix, block_outputs
from steerkit.stages.fit import steps
from steerkit.stages.steer import Fitted


def shift(host: Host, prompts: Sequence[Sequence[int]], blocks: Sequence[int]) -> dict[int, Tensor]:
    """Mean residual stream behind each block at the prompts' last token, `[dim]`, float32."""
    outputs = block_outputs(host, behind_common_prefix(prompts), blocks)
    return {block: hidden.mean(0) for block, hidden in outputs.items()}


def cosine(before: Mapping[int, Tensor], after: Mapping[int, Tensor], teacher: Fitted) -> float:
    """Cosine between the change from `before` to `after` and what the teacher adds at strength 1."""
    added = {block: step.float().cpu() for block, step in steps(teacher).items()}
    moved = torch.cat([after[block] - before[block] for block in sorted(added)])
    return float(torch.nn.functional.cosine_similarity(moved, torch.cat([added[b] for b in sorted(added)]), dim=0))
