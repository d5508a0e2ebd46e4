"""steering-lite's format: `layerN.KEY` tensors, and the method's settings as JSON in the header."""

from typing import Any

from safetensors.torch import save

from steerkit.errors import UsageError
from steerkit.spec import canonical
from steerkit.vectors.base import IMPORTED, Vector, added, vectors_of
from steerkit.vectors.own import Header

MARK = "cfg"
ADDING = ("mean_diff", "pca")
"""Methods of steering-lite that add `v` to every token."""
PREFIX = "layer"


def encoded(vector: Vector) -> bytes:
    """The file's bytes: a `mean_diff` whose vector is not normalised, with coefficient 1.

    Raises UsageError for a vector that does more than add.
    """
    steps = added(vector)
    settings = {
        "method": "mean_diff",
        "layers": [*steps],
        "target": "residual",
        "target_submodule": None,
        "coeff": 1.0,
        "dtype": "float32",
        "seed": 0,
        "normalize": False,
        "subtract_corpus_mean": False,
    }
    tensors = {f"{PREFIX}{block}.v": step.contiguous().clone() for block, step in steps.items()}
    return save(
        tensors, metadata={MARK: canonical(settings), "model": vector.model, "origin": canonical(vector.origin)}
    )


def decoded(found: Header) -> Vector:
    """The vector of a file of steering-lite.

    A coefficient below 0 turns it round; its size is left to calibration and kept as a fact. Raises UsageError for a
    method that does more than add.
    """
    said = found.texts(MARK)
    method = str(said.get("method", ""))
    if method not in ADDING or said.get("target_submodule") is not None:
        raise UsageError(
            f"a file of steering-lite must hold a vector to add ({', '.join(ADDING)}), but {found.path} is of "
            f"{method!r}, whose effect depends on the activation; fit lite.{method} here instead"
        )
    coefficient = float(said.get("coeff", 1.0))
    steps = {_block(name): tensor for name, tensor in found.tensors.items()}
    turned = {block: -step if coefficient < 0 else step for block, step in steps.items()}
    origin: dict[str, Any] = {"made_by": f"steering-lite {method}", "coefficient": coefficient}
    return Vector("steering-lite", IMPORTED, {}, vectors_of(turned), found.metadata.get("model", ""), origin=origin)


def _block(name: str) -> int:
    """Raises UsageError for several components, whose sum is not one vector."""
    number, _, key = name.removeprefix(PREFIX).partition(".")
    if not (name.startswith(PREFIX) and number.isdecimal() and key == "v"):
        raise UsageError(f"a vector of steering-lite must be tensors {PREFIX}N.v, but got {name!r}")
    return int(number)
