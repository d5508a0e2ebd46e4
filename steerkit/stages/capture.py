"""Read activations of the same contexts under both poles of a persona, at the last token of the generation prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

from steerkit.contrast import Contrast
from steerkit.errors import UsageError
from steerkit.evidence import Extraction
from steerkit.host import Host, chat_ids
from steerkit.host.chat import doubled_start, generation_token
from steerkit.host.forward import behind_common_prefix, block_outputs
from steerkit.personas import Persona, Pole

POLES: tuple[Pole, Pole] = ("positive", "negative")


@dataclass(frozen=True)
class Captured:
    """One contrast per block, the mean residual norm there, and the facts an extraction bug would break."""

    contrasts: dict[int, Contrast]
    residual_norm: dict[int, float]
    extraction: Extraction


def band(host: Host, fractions: tuple[float, float]) -> tuple[int, ...]:
    """The blocks int(low * depth) to int(high * depth) - 1, at least one."""
    depth = len(host.blocks)
    low, high = int(fractions[0] * depth), int(fractions[1] * depth)
    if not 0 <= low < depth or high > depth:
        raise UsageError(f"the band must be two fractions of depth from 0 to 1, but got {fractions}")
    return tuple(range(low, max(high, low + 1)))


def capture(host: Host, persona: Persona, contexts: Sequence[str], blocks: Sequence[int]) -> Captured:
    """Activations of every context under both poles, `[context dim]` per block.

    Raises UsageError when a prompt does not fit the model: a truncated prompt has lost the token that is read.
    """
    poles = {pole: [chat_ids(host, context, persona.system_prompt(pole)) for context in contexts] for pole in POLES}
    extraction = _facts(host, persona, contexts[0], poles)
    positive, negative = (block_outputs(host, behind_common_prefix(prompts), blocks) for prompts in poles.values())
    return Captured(
        contrasts={block: Contrast(positive[block], negative[block]) for block in blocks},
        residual_norm={block: float(positive[block].norm(dim=-1).mean()) for block in blocks},
        extraction=extraction,
    )


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
