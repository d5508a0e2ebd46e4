"""What a vector from a file is: all that decides which run of a store has brought it."""

from typing import Any

import msgspec

from steerkit.spec import Setting


class ImportSpec(Setting, frozen=True, kw_only=True):
    """A vector that was made elsewhere; the same file has the same run in every store."""

    gate: str = "import"
    method: str
    config: dict[str, Any]
    form: str
    """The file's format."""
    file: str
    """sha256 of the file."""
    tensors: str
    """sha256 of its tensors alone, as the store keeps them."""
    model: str = ""
    model_type: str = ""
    fingerprint: str = ""
    dtype: str = ""
    depth: int | None = None
    """Blocks of the model it was made on; None where the file does not say."""
    origin: dict[str, Any] = msgspec.field(default_factory=dict)
    """What else the file says of where it comes from."""
