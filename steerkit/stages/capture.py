"""Read activations of the same contexts under both poles of a persona, at the last token of the generation prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.contrast import Contrast
from steerkit.errors import UsageError
from steerkit.evidence import Extraction
from steerkit.host import Host, chat_ids
from steerkit.host.blocks import module_at
from steerkit.host.chat import doubled_start, generation_token
from steerkit.host.forward import behind_common_prefix, block_outputs, prompt_means
from steerkit.host.places import Place, block_of, places
from steerkit.personas import Persona, Pole
from steerkit.spec import CaptureSpec

POLES: tuple[Pole, Pole] = ("positive", "negative")


@dataclass(frozen=True)
class Captured:
    """One contrast per place, the mean norm there, and the facts an extraction bug would break.

    A method that acts at several places with one direction has one contrast for all of them: the very same object.
    """

    contrasts: dict[Place, Contrast]
    residual_norm: dict[Place, float]
    extraction: Extraction


def band(host: Host, spec: CaptureSpec) -> tuple[int, ...]:
    """The steered blocks: those that were named, else int(low * depth) to int(high * depth) - 1, at least one.

    Raises UsageError for blocks that the model does not have.
    """
    depth = len(host.blocks)
    if spec.blocks is not None:
        first, last = spec.blocks
        if last >= depth:
            raise UsageError(f"blocks must be from 0 to {depth - 1} on {host.name}, but got {first}-{last}")
        return tuple(range(first, last + 1))
    low, high = int(spec.band[0] * depth), int(spec.band[1] * depth)
    if not 0 <= low < depth or high > depth:
        raise UsageError(f"the band must be two fractions of depth from 0 to 1, but got {spec.band}")
    return tuple(range(low, max(high, low + 1)))


def capture(
    host: Host,
    persona: Persona,
    contexts: Sequence[str],
    blocks: Sequence[int],
    site: str = "residual",
    topics: Sequence[str] = (),
) -> Captured:
    """Activations of every context under both poles, `[context dim]` per place of a site; `topics` of the contexts.

    Raises UsageError when a prompt does not fit the model (a truncated prompt has lost the token that is read), or the
    model lacks what the site needs.
    """
    poles = {pole: [chat_ids(host, context, persona.system_prompt(pole)) for context in contexts] for pole in POLES}
    extraction = _facts(host, persona, contexts[0], poles)
    read = places(host, site, blocks)[: 1 if site == "everywhere" else None]
    positive, negative = (block_outputs(host, behind_common_prefix(prompts), read) for prompts in poles.values())
    found = {place: Contrast(positive[place], negative[place]) for place in read}
    if site == "conditional":
        found = _with_prompts(host, found, contexts)
    return completed(host, found, extraction, site, blocks, topics)


def completed(
    host: Host,
    contrasts: Mapping[Place, Contrast],
    extraction: Extraction,
    site: str,
    blocks: Sequence[int],
    topics: Sequence[str] = (),
) -> Captured:
    """Activations with what else their site goes with: the model's own weights, the prompts' topics, more places."""
    found = dict(contrasts)
    if site == "weighted":
        root = gram_root(host, [block_of(place) for place in found])
        found = {place: replace(contrast, weight=root) for place, contrast in found.items()}
    if site == "writers":
        found = {place: _with_linear(contrast, module_at(host, place)[0]) for place, contrast in found.items()}
    if site == "conditional":
        found = {place: replace(contrast, topics=tuple(topics)) for place, contrast in found.items()}
    if site == "everywhere":
        found = dict.fromkeys(places(host, site, blocks), *found.values())
    norms = {place: float(contrast.positive.norm(dim=-1).mean()) for place, contrast in found.items()}
    return Captured(found, norms, extraction)


def _with_linear(contrast: Contrast, linear: nn.Module) -> Contrast:
    assert isinstance(linear, nn.Linear)
    weight, bias = (None if own is None else own.detach().float().cpu() for own in (linear.weight, _bias(linear)))
    return replace(contrast, weight=weight, bias=bias)


def _bias(linear: nn.Linear) -> Tensor | None:
    """A Linear's bias; torch types it as always there."""
    return linear.bias


def gram_root(host: Host, blocks: Sequence[int]) -> Float[Tensor, "dim dim"]:
    """A root R of the blocks' common Gram matrix, float32.

    R'R = sum of W'W over Linears that read the residual stream and of WW' over those that write it. Square Linears are
    left out: nothing tells which of the two they do.
    """
    gram = torch.zeros(host.width, host.width, dtype=torch.float64)
    inside = (module for block in blocks for module in host.blocks[block].modules())
    for weight in (module.weight.detach().double().cpu() for module in inside if isinstance(module, nn.Linear)):
        if weight.shape[0] != weight.shape[1]:
            gram += weight.T @ weight if weight.shape[1] == host.width else 0
            gram += weight @ weight.T if weight.shape[0] == host.width else 0
    values, modes = torch.linalg.eigh(gram)
    root: Tensor = values.clamp(min=0).sqrt()[:, None] * modes.T
    return root.float()


def _with_prompts(host: Host, contrasts: Mapping[Place, Contrast], contexts: Sequence[str]) -> dict[Place, Contrast]:
    """The contrasts with the mean activation of each whole prompt without a persona."""
    rows = behind_common_prefix([chat_ids(host, context) for context in contexts])
    return {
        place: replace(contrast, prompts=prompt_means(host, rows, block_of(place)))
        for place, contrast in contrasts.items()
    }


def _facts(host: Host, persona: Persona, context: str, poles: dict[Pole, list[list[int]]]) -> Extraction:
    prompts = [prompt for pole in poles.values() for prompt in pole]
    limit = host.model.config.get_text_config().max_position_embeddings
    too_long = sum(len(prompt) > limit for prompt in prompts)
    if too_long:
        raise UsageError(
            f"every context must fit the model's {limit} tokens, but {too_long} prompts do not; shorten those contexts"
        )
    read = {host.tokenizer.decode(prompt[-1:]) for prompt in prompts}
    return Extraction(
        contexts=len(poles["positive"]),
        token=" | ".join(sorted(read)),
        expected_token=generation_token(host),
        truncated=too_long,
        doubled_bos=any(doubled_start(host, prompt) for prompt in prompts),
        prompts_shared=_differ_in_persona_alone(host, persona, context),
    )


def _differ_in_persona_alone(host: Host, persona: Persona, context: str) -> bool:
    """Whether the two rendered prompts are the same text once each pole's words are taken out."""
    rendered = {
        host.tokenizer.decode(chat_ids(host, context, persona.system_prompt(pole))).replace(words, "")
        for pole, words in zip(POLES, (persona.positive, persona.negative), strict=True)
    }
    return len(rendered) == 1
