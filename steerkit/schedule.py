"""How the strength of steering runs over a text: the factor at the prompt and at each generated token.

`constant`; `linear` (falls to 0 at the cap; `linear:0.3` falls to 0.3); `exp:40` (halves every 40 tokens);
`prompt-only` and `generated-only`. A long text needs less steering the longer it gets: what is written steers, too.
"""

from dataclasses import dataclass

from steerkit.errors import UsageError, unknown

KINDS = ("constant", "linear", "exp", "prompt-only", "generated-only")
DEFAULT_HALF = 40.0
"""Tokens after which `exp` has halved the strength."""


@dataclass(frozen=True)
class Schedule:
    """A kind with its one number: `linear`'s last factor (fraction), or the tokens after which `exp` halves."""

    kind: str = "constant"
    number: float = 0.0

    def prompt(self) -> float:
        """The factor on every token of the prompt."""
        return 0.0 if self.kind == "generated-only" else 1.0

    def generated(self, position: int, length: int) -> float:
        """The factor on the generated token at `position`, counted from 0, of a text of at most `length` tokens."""
        if self.kind == "linear":
            return 1 - (1 - self.number) * min((position + 1) / length, 1.0)
        if self.kind == "exp":
            return float(0.5 ** ((position + 1) / self.number))
        return 0.0 if self.kind == "prompt-only" else 1.0

    def __str__(self) -> str:
        """The text that `parse` reads back."""
        number = repr(self.number).removesuffix(".0")
        return f"{self.kind}:{number}" if self.kind in ("linear", "exp") else self.kind


def parse(text: str) -> Schedule:
    """The schedule that a text names.

    Raises UsageError for an unknown kind or a number that the kind cannot have.
    """
    kind, colon, number = text.partition(":")
    if kind not in KINDS:
        raise unknown("schedule", kind, KINDS)
    if colon and kind not in ("linear", "exp"):
        raise UsageError(f"schedule {kind!r} takes no number, but got {text!r}; linear and exp do")
    value = _number(text, number) if colon else {"linear": 0.0, "exp": DEFAULT_HALF}.get(kind, 0.0)
    if kind == "linear" and not 0 <= value <= 1:
        raise UsageError(f"linear's last factor must be a fraction from 0 to 1, but got {text!r}")
    if kind == "exp" and not 0 < value < float("inf"):
        raise UsageError(f"exp's half-length must be a number of tokens above 0, but got {text!r}")
    return Schedule(kind, value)


def _number(text: str, number: str) -> float:
    try:
        return float(number)
    except ValueError:
        raise UsageError(f"a schedule must be KIND or KIND:NUMBER, such as exp:40, but got {text!r}") from None
