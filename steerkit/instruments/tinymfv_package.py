"""The installed package moral-maps (formerly tinymfv), behind the same interface: what `tinymfv` is checked with.

    read = the package's own evaluation of the model as it now is, steered where an arm is steered

It is slow: nothing is shared between vignettes, orders or arms. The package cannot think for 0 tokens, because
transformers refuses to generate none; it is handed the cache of the question alone then, and does the rest.
It fails where the package is not installed, and degenerates where `tinymfv` does.

Source: https://github.com/wassname/tinymfv.
"""

import importlib
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.errors import UsageError
from steerkit.host import Edits, Host, edited
from steerkit.instruments.tinymfv import on_all_rows
from steerkit.published import need_package
from steerkit.spec import Setting


class Config(Setting, frozen=True, kw_only=True):
    """What the package's evaluation is given."""

    think: int = 64
    """Tokens the model thinks before it is interrupted."""
    samples: int = 1
    """Thoughts sampled per vignette and order."""
    temperature: float = 0.0
    """Of the thoughts."""
    top_p: float = 1.0
    """Nucleus of the thoughts (fraction)."""
    seed: int = 0
    """Of torch's generator, where thoughts are sampled."""
    batch: int = 8
    """Vignettes per batch; what is read depends on it."""
    prior: Literal["none", "set-mean"] = "none"
    """How the answers' label bias is measured on the base arm: not, or as each answer's mean over the set."""

    def __post_init__(self) -> None:
        """Raise UsageError for a number outside its range."""
        for name, low in (("think", 0), ("samples", 1), ("batch", 1), ("temperature", 0)):
            if getattr(self, name) < low:
                raise UsageError(f"instrument setting {name} must be at least {low}, but got {getattr(self, name)}")


@dataclass(frozen=True)
class Prepared:
    """The vignettes, with the system prompt in front where there is one, and the settings."""

    texts: tuple[str, ...]
    config: Config


def identity() -> str:
    """The package's name: its wording is its own."""
    return "moral-maps"


def prepare(host: Host, texts: Sequence[str], config: Config, *, system: str | None, first_block: int) -> Prepared:
    """Keep the vignettes; the package, which knows no system prompt, gets one as the beginning of the user's turn.

    Raises UsageError where the package is not installed, or does not import.
    """
    _imported()
    return Prepared(tuple(f"{system}\n\n{text}" if system else text for text in texts), config)


def read(host: Host, prepared: Prepared, edits: Edits) -> Float[Tensor, "order vignette 10"]:
    """The same numbers as `tinymfv.read`, from the package."""
    config, package = prepared.config, _imported()
    importlib.import_module("loguru").logger.disable(package.__name__)
    vignettes = [
        {"id": str(n), "foundation_coarse": "Care", "other_violate": text} for n, text in enumerate(prepared.texts)
    ]
    model = host.model if config.think else _Unthinking(host.model)
    with edited(host, on_all_rows(edits), _every_row()), torch.random.fork_rng():
        torch.manual_seed(config.seed)
        result = package.evaluate(
            model,
            deepcopy(host.tokenizer),
            vignettes=vignettes,
            max_think_tokens=config.think,
            n_samples=config.samples,
            temperature=config.temperature,
            top_p=config.top_p,
            batch_size=config.batch,
            return_per_row=True,
            verbose=0,
        )
    return torch.stack([_order(result["per_row"], order) for order in ("fwd", "rev")])


def _imported() -> ModuleType:
    """The package. Raises UsageError where it is not installed, or does not import."""
    name = need_package("instrument tinymfv-package")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"instrument tinymfv-package needs the package {name} to import, but it says: {error}; "
            "install it together with its dependencies"
        ) from error


def _order(rows: Sequence[dict[str, Any]], order: str) -> Float[Tensor, "vignette 10"]:
    """One order's answers; the package gives mass and NLL as means over both orders."""
    thought = "think_tokens" if order == "fwd" else "think_tokens_rev"
    samples = torch.tensor([row[f"lp_{order}_samples"] for row in rows], dtype=torch.float64)
    answers = samples.logsumexp(1) - torch.tensor(float(samples.shape[1])).log()
    rest = [[1 - row["pmass_allowed"], row["nll_prefill"], max(row[thought], default=0)] for row in rows]
    return torch.cat([answers, torch.tensor(rest, dtype=torch.float64)], dim=1)


def _every_row() -> Tensor:
    """More row numbers than any batch has rows."""
    return torch.zeros(2**20, dtype=torch.long)


class _Unthinking:
    """A model whose generation of no token is the cache of the prompt."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def parameters(self) -> Iterator[Tensor]:
        """The model's own."""
        parameters: Iterator[Tensor] = self.model.parameters()
        return parameters

    def __call__(self, **given: Any) -> Any:
        """The model's own forward pass."""
        return self.model(**given)

    def generate(self, input_ids: Tensor, attention_mask: Tensor, num_return_sequences: int, **_: Any) -> Any:
        """As if transformers could generate no tokens."""
        ids = input_ids.repeat_interleave(num_return_sequences, dim=0)
        mask = attention_mask.repeat_interleave(num_return_sequences, dim=0)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        done = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1)
        return SimpleNamespace(sequences=ids, past_key_values=done.past_key_values, scores=())
