"""Captured activations as tensors that can be kept, and their name: the same question has the same one."""

from collections.abc import Mapping, Sequence

import msgspec
from torch import Tensor

from steerkit.contrast import Contrast
from steerkit.evidence import Extraction
from steerkit.host.places import Place, ordered, place_of
from steerkit.personas import Persona
from steerkit.spec import canonical, digest
from steerkit.stages.capture import Captured
from steerkit.stages.fit import distinct


def capture_id(
    fingerprint: str, dtype: str, persona: Persona, texts: Sequence[str], site: str, blocks: Sequence[int]
) -> str:
    """The name of a capture: a hash of all that decides its numbers."""
    poles = (persona.system_prompt("positive"), persona.system_prompt("negative"))
    return digest(fingerprint, dtype, poles, list(texts), site, list(blocks))


def packed(captured: Captured) -> tuple[dict[str, Tensor], str]:
    """The activations as one flat name to tensor mapping, for safetensors, and the facts of the capture as JSON.

    Weights are left out: the model has them.
    """
    flat: dict[str, Tensor] = {}
    for place in distinct(captured.contrasts):
        contrast = captured.contrasts[place]
        flat |= {f"{place}.positive": contrast.positive, f"{place}.negative": contrast.negative}
        if contrast.prompts is not None:
            flat[f"{place}.prompts"] = contrast.prompts
    return flat, canonical(msgspec.to_builtins(captured.extraction))


def unpacked(flat: Mapping[str, Tensor], extraction: str) -> tuple[dict[Place, Contrast], Extraction]:
    """The activations back from their flat form, still to be completed with the model's weights, and the facts."""
    found: dict[Place, Contrast] = {}
    for name, positive in flat.items():
        place, _, what = name.rpartition(".")
        if what == "positive":
            sides = positive, flat[f"{place}.negative"]
            found[place_of(place)] = Contrast(*sides, prompts=flat.get(f"{place}.prompts"))
    return {place: found[place] for place in ordered(found)}, msgspec.json.decode(extraction, type=Extraction)
