"""Tell the model in its system prompt to be what the positive persona is.

    words : "You are <the pole's words>.", in front of everything else the model reads

This is the method that needs no vector, and the one that every vector has to beat. It has no contrast to learn from, no
strength and so no dose: it is on or off, for one pole or the other. That is why it does not steer activations but gives
the words of an arm: every run of gate 1 and every comparison scores that arm beside the steered ones, at whatever it
happens to cost, and never as a point of a dose ladder.

Its nearest relatives are all vector methods at once: their contrast is the difference that these very words make. It
fails where a model does not listen to system prompts, and what it moves is broad: everything that belongs to such a
persona, not the trait alone. It degenerates to no method at all on a model without a chat template.

Source: prompting as the baseline of steering: Persona vectors 2507.21509; CAA 2312.06681 (section on system prompts).
"""

from typing import TYPE_CHECKING, Literal

from steerkit.spec import Setting

if TYPE_CHECKING:
    from steerkit.personas import Persona

SITE = "text"
NOT_BAKEABLE = "what it does is done by words in the context, and no fixed weight says them"


class Config(Setting, frozen=True, kw_only=True):
    """`prompt` has no settings."""


def words(persona: "Persona", pole: Literal["positive", "negative"], config: Config) -> str:
    """The system prompt for a pole."""
    return persona.system_prompt(pole)
