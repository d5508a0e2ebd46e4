"""Text of a model or a stranger, made unable to command a terminal or to turn a page's writing around."""

import re

UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Characters that move the cursor, recolour the terminal or turn the writing direction."""


def visible(text: str) -> str:
    """The text with every character that could command a terminal shown as its code."""
    return UNSAFE.sub(lambda match: f"<{ord(match.group()):02x}>", text)
