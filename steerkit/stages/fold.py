"""A steered model as weights: a method's fixed affine maps, put into the Linears and the embedding that hold them.

    residual   y + b                 the MLP's last Linear of the block: bias + b
    writers    M y + b               that Linear: W <- M W, bias <- M bias + b
    norms      M y + b               every Linear that reads the norm: W <- W M, bias <- bias + W b
    everywhere M y + c, M c = 0      all that writes to the stream: W <- M W, bias <- M bias; embedding: E <- E M' + c

Whether the model then says what the steered one says is measured, not assumed: blocks that normalise what they write
make of these an approximation. Source for the ablation: 2406.11717; the bias: common practice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.contrast import WeightEdit
from steerkit.errors import RunError
from steerkit.host import Host, edited
from steerkit.host.biases import biased
from steerkit.host.blocks import module_at
from steerkit.host.places import ENTRANCE, Inside, Place, block_of, block_path, readers, writers
from steerkit.plugins import Bakeable, load_method
from steerkit.stages._fold_model import Swap, carried, entrance_scale, swapped_weights
from steerkit.stages.steer import Fitted, held_open

EXACT = 1e-4
"""Largest difference of a logit, in float32, between steered and folded that is rounding."""
ROUNDING = 1e-5
"""The same, as a share of the largest logit: float32 rounds large logits more coarsely."""


class NotFoldable(RunError):
    """Weights cannot hold what was asked for; the message says why."""


@dataclass
class Folding:
    """What a method changes in a model's weights at one strength.

    `linears`: path to its new weight and bias (None: none). `embedding`: the new embedding `[token dim]`, None: as it
    was. `inexact`: why the folded model is not the steered one, as far as the structure tells.
    """

    linears: dict[str, tuple[Tensor, Tensor | None]] = field(default_factory=dict)
    embedding: Tensor | None = None
    inexact: list[str] = field(default_factory=list)

    def new_biases(self, host: Host) -> list[str]:
        """Linears that get a bias although they have none."""
        known = dict(host.model.named_modules())
        return [path for path, (_, bias) in self.linears.items() if bias is not None and not biased(known[path])]


@dataclass(frozen=True)
class Gap:
    """How far a folded model is from the steered one: largest |difference| of a logit, mean KL(steered || folded) per
    token (nats), and the largest |logit| there was.
    """

    logit: float
    kl: float
    largest: float

    @classmethod
    def between(cls, steered: Sequence[Tensor], other: Sequence[Tensor]) -> "Gap":
        """Of two models' logits on the same texts, `[token vocab]` each."""
        kl = [_divergence(one, two) for one, two in zip(steered, other, strict=True)]
        apart = [float((one - two).abs().max()) for one, two in zip(steered, other, strict=True)]
        return cls(max(apart), max(0.0, float(torch.cat(kl).mean())), max(float(one.abs().max()) for one in steered))

    @property
    def exact(self) -> bool:
        """Whether the two are one model up to float32's rounding."""
        return self.logit <= max(EXACT, ROUNDING * self.largest)


def _divergence(steered: Float[Tensor, "token vocab"], other: Float[Tensor, "token vocab"]) -> Float[Tensor, "token"]:
    """KL(steered || other) of what comes next, per token (nats)."""
    one, two = steered.double().log_softmax(-1), other.double().log_softmax(-1)
    return (one.exp() * (one - two)).sum(-1)


def folding(host: Host, fitted: Fitted, strength: float) -> Folding:
    """The weights that do what a direction does at a strength.

    Raises NotFoldable for a method or a site that no weights hold, UsageError for a model without the modules.
    """
    method = load_method(fitted.method)
    if not isinstance(method, Bakeable):
        raise NotFoldable(f"{fitted.method!r} cannot be folded into weights: {vars(method).get('NOT_BAKEABLE')}")
    if method.SITE not in FOLDS:
        raise NotFoldable(f"what acts at the site {method.SITE!r} cannot be folded, only at {', '.join(FOLDS)}")
    maps = {
        place: method.bake(state, strength, module_at(host, place)[0], fitted.config)
        for place, state in fitted.states.items()
    }
    found = Folding()
    FOLDS[method.SITE](host, maps, found)
    return found


def _residual(host: Host, maps: Mapping[Place, WeightEdit], found: Folding) -> None:
    for place, edit in maps.items():
        block = block_of(place)
        if edit.matrix is not None:
            raise NotFoldable("a map of the residual stream would also change what earlier blocks wrote")
        path, (_, mlp) = block_path(host, block), writers(host, block)
        factor = carried(host, block, mlp)
        if factor is None:
            found.inexact.append(_rescaled(host, block, mlp))
        linear = _linear(host, f"{path}.{mlp}")
        found.linears[f"{path}.{mlp}"] = (linear.weight, _added(linear, edit.bias / (factor or 1.0)))


def _writers(host: Host, maps: Mapping[Place, WeightEdit], found: Folding) -> None:
    for place, edit in maps.items():
        assert isinstance(place, Inside)
        path = f"{block_path(host, place.block)}.{place.module}"
        found.linears[path] = _mapped(_linear(host, path), edit)


def _norms(host: Host, maps: Mapping[Place, WeightEdit], found: Folding) -> None:
    for place, edit in maps.items():
        assert isinstance(place, Inside)
        for name in readers(host, place.block, place.module):
            path = f"{block_path(host, place.block)}.{name}"
            linear = _linear(host, path)
            weight = linear.weight.float()
            turned = weight if edit.matrix is None else weight @ edit.matrix.to(weight)
            found.linears[path] = (turned, _added(linear, weight @ edit.bias.to(weight)))


def _everywhere(host: Host, maps: Mapping[Place, WeightEdit], found: Folding) -> None:
    # The direction is one for all places.
    edit = maps[ENTRANCE]
    only_map = WeightEdit(bias=torch.zeros_like(edit.bias), matrix=edit.matrix)
    for block in range(len(host.blocks)):
        for name in writers(host, block):
            path = f"{block_path(host, block)}.{name}"
            found.linears[path] = _mapped(_linear(host, path), only_map)
            if carried(host, block, name) is None:
                found.inexact.append(_rescaled(host, block, name))
    scale = entrance_scale(host)
    if scale is None:
        found.inexact.append("what enters the first block is not a multiple of the token's embedding")
    embedding = host.model.get_input_embeddings().weight.float()
    found.embedding = (edit.applied(embedding[None] * (scale or 1.0))[0]) / (scale or 1.0)


Fold = Callable[[Host, Mapping[Place, WeightEdit], Folding], None]
FOLDS: dict[str, Fold] = {"residual": _residual, "writers": _writers, "norms": _norms, "everywhere": _everywhere}


def _rescaled(host: Host, block: int, name: str) -> str:
    return (
        f"block {block} ({type(host.blocks[block]).__name__}) normalises what {name} writes before it reaches the "
        "residual stream, so that the same weights add something else at every token; it would take new parameters "
        "behind that norm, which the architecture does not have: heal instead (steerkit gate2, gate3, bake)"
    )


def _linear(host: Host, path: str) -> nn.Linear:
    linear = host.model.get_submodule(path)
    assert isinstance(linear, nn.Linear)
    return linear


def _bias(linear: nn.Linear) -> Tensor:
    """A Linear's bias, zeros where it has none; float32."""
    own: Tensor | None = linear._parameters["bias"]
    return linear.weight.new_zeros(linear.out_features).float() if own is None else own.float()


def _added(linear: nn.Linear, more: Float[Tensor, "dim"]) -> Float[Tensor, "dim"]:
    return _bias(linear) + more.to(linear.weight.device)


def _mapped(linear: nn.Linear, edit: WeightEdit) -> tuple[Tensor, Tensor | None]:
    weight, bias = linear.weight.float(), _bias(linear)
    if edit.matrix is not None:
        matrix = edit.matrix.to(weight)
        weight, bias = matrix @ weight, matrix @ bias
    bias = bias + edit.bias.to(bias)
    # No bias is made up where there is nothing to hold.
    return weight, bias if biased(linear) or bias.any() else None


@contextmanager
def folded(host: Host, found: Folding) -> Iterator[None]:
    """The model with these weights for a while; everything is put back to the bit on leaving, also on error."""
    with swapped_weights(host, Swap(found.linears, found.embedding)):
        yield


def gap(host: Host, fitted: Fitted, strength: float, found: Folding, texts: Sequence[Sequence[int]]) -> Gap:
    """How far the folded model is from the steered one on some texts, in the model's own dtype."""
    steered = steered_logits(host, fitted, strength, texts)
    with folded(host, found):
        return Gap.between(steered, [logits(host, text) for text in texts])


def logits(host: Host, text: Sequence[int]) -> Float[Tensor, "token vocab"]:
    """What the model says after each token of a text, float32."""
    with torch.inference_mode():
        found: Tensor = host.model(input_ids=torch.tensor([[*text]], device=host.device), use_cache=False).logits
    return found[0].float()


def steered_logits(
    host: Host, fitted: Fitted, strength: float, texts: Sequence[Sequence[int]]
) -> list[Float[Tensor, "token vocab"]]:
    """What the steered model says after each token of some texts."""
    with ExitStack() as state:
        plan = held_open([(fitted, torch.tensor([strength]))])
        state.enter_context(edited(host, plan, torch.zeros(1, dtype=torch.long)))
        return [logits(host, text) for text in texts]
