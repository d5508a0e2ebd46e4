"""How large an adapter's update is, and the penalty on its largest stretch, from its factors alone."""

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.host.adapter import Lora, LoraLayer

ITERATIONS = 3


def update_norm(lora: Lora) -> float:
    """Frobenius norm of the whole update: its square is the sum over Linears of tr(up' up down down') * scale^2."""
    with torch.no_grad():
        squares = [((layer.up.T @ layer.up) * (layer.down @ layer.down.T)).sum() for layer in lora.layers]
    return lora.scale * float(torch.stack(squares).sum().clamp(min=0).sqrt())


def sigma_max(lora: Lora) -> float:
    """Mean over Linears of the update's largest singular value, which is that of a rank x rank matrix."""
    with torch.no_grad():
        largest = [_largest(layer.down, layer.up) for layer in lora.layers]
    return lora.scale * float(torch.stack(largest).mean())


def _largest(down: Float[Tensor, "rank inner"], up: Float[Tensor, "outer rank"]) -> Float[Tensor, ""]:
    left, right = torch.linalg.qr(up, mode="r").R, torch.linalg.qr(down.T, mode="r").R
    largest: Tensor = torch.linalg.matrix_norm(left @ right.T, ord=2)
    return largest


class SpectralPenalty:
    """Mean over Linears of the update's largest singular value, by power iterations that go on from step to step.

    The singular vectors count as constants, so that the gradient is theirs: u v'.
    """

    def __init__(self, lora: Lora, seed: int) -> None:
        self.lora = lora
        draw = torch.Generator().manual_seed(seed)
        self.right = [torch.randn(layer.down.shape[1], generator=draw).to(layer.down) for layer in lora.layers]

    def value(self) -> Tensor:
        """The penalty, to be differentiated by the factors; 0, with gradient 0, while the update is 0."""
        stretches = [self._stretch(place, layer) for place, layer in enumerate(self.lora.layers)]
        return self.lora.scale * torch.stack(stretches).mean()

    def _stretch(self, place: int, layer: LoraLayer) -> Tensor:
        down, up, right = layer.down.detach(), layer.up.detach(), self.right[place]
        for _ in range(ITERATIONS):
            left = _unit(up @ (down @ right))
            if not left.any():
                break
            right = _unit(down.T @ (up.T @ left))
        self.right[place] = right
        return (left @ layer.up) @ (layer.down @ right)


def _unit(vector: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vector, dim=0)
