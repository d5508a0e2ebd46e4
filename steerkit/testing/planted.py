"""What the suites are run on: a contrast with a known answer, activations with awkward tokens, texts of every sort."""

import re
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.contrast import Contrast
from steerkit.filters import Background
from steerkit.personas import Persona
from steerkit.records import Completion
from steerkit.spec import digest

DIM = 16
PAIRS = 512


def planted(
    seed: int = 0, dim: int = DIM, pairs: int = PAIRS, spread: float = 0.3
) -> tuple[Contrast, Float[Tensor, "dim"]]:
    """A contrast whose poles differ by a known shift and a little noise, and that shift `[dim]`.

    Contexts vary by 1 per dimension, the shift has norm 2, the noise of each pair 0.1 per dimension. The shift's size
    varies from pair to pair by the fraction `spread`: a method that looks at what varies must find it, too. With it
    come a weight `[dim dim]` and, in alternation, prompts, half of them about a topic with an axis of its own.
    """
    random = torch.Generator().manual_seed(seed)
    context, noise = torch.randn(2, pairs, dim, generator=random)
    direction = torch.randn(dim, generator=random)
    shift: Tensor = 2 * direction / direction.norm()
    size = 1 + spread * torch.randn(pairs, 1, generator=random)
    weight, scenes = torch.randn(2, dim, dim, generator=random)
    topic = torch.randn(dim, generator=random)
    prompts = scenes + 3 * torch.where(torch.arange(dim)[:, None] % 2 == 0, topic, 0)
    topics = tuple("ethics" if row % 2 == 0 else "code" for row in range(dim))
    return Contrast(context + size * shift + 0.1 * noise, context, weight, prompts=prompts, topics=topics), shift


def activations(rows: int, seed: int = 1, tokens: int = 7, dim: int = DIM) -> Float[Tensor, "rows tokens dim"]:
    """Residual streams to steer, with a zero token and a negative zero among them."""
    hidden = torch.randn(rows, tokens, dim, generator=torch.Generator().manual_seed(seed))
    hidden[:, 0] = 0.0
    hidden[:, 1, ::2] = -0.0
    return hidden


def planted_completion(text: str, **changes: Any) -> Completion:
    """A completion of that text, one token a word, everything about it healthy unless `changes` says otherwise."""
    pieces = re.findall(r"\s*\S+|\s+\Z", text)
    healthy: dict[str, Any] = {
        "run_id": "run",
        "unit_id": "unit",
        "completion_id": f"planted {digest(text)}",
        "arm_id": None,
        "direction_id": None,
        "strength": 1.0,
        "dose": 1.0,
        "prompt_id": "p1",
        "prompt": "What do I do now?",
        "text": text,
        "tokens": len(pieces),
        "ended": True,
        "token_kl": [0.1] * len(pieces),
        "perplexity": 5.0 if pieces else float("inf"),
        "tail_perplexity": 5.0 if pieces else float("inf"),
        "distinct_tail": 1.0,
        "compression": 1.0,
        "role": "probe",
        "sample_seed": 0,
        "pieces": pieces,
        "token_nll": [1.6] * len(pieces),
    }
    return Completion(**healthy | changes)


def planted_background() -> Background:
    """A persona, what the base says to prompt 'p1', and one kept completion."""
    persona = Persona(
        name="planted",
        description="Standing by one's own conscience.",
        positive="a person who trusts private conscience over the wishes of superiors",
        negative="a person who trusts the wishes of superiors over private conscience",
        target="Authority",
        sign=-1,
    )
    base = ("You could ask your manager for a day more, and tell her why the form came late.",)
    return Background(persona=persona, base={"p1": base}, kept=(planted_completion("Give her the parcel today."),))


TEXTS = {
    "empty": "",
    "space": " \n ",
    "one word": "No.",
    "healthy": "Take the form, write today's date on it, and tell your supervisor that the office will hear her case.",
    "loop": "I will not do it again. " * 12,
    "script": "这是一个很长的故事。😀😀😀 Ещё раз, ещё раз.",
    "curly": "I\u2019m sorry \u2014 I can\u2019t help you with that.",
    "broken": "\ufffd\u200b\x00 \u202e",
}
