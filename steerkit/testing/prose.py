"""What a plugin's docstring must say, as patterns."""

import re

SOURCE = re.compile(r"Source: .*(\d{4}\.\d{4,5}|https?://|doi)")
FAILURE = re.compile(r"\b(degenerate|fail)s?\b", re.IGNORECASE)
