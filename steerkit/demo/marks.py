"""What tells synthetic runs from real ones, and keeps them apart."""

from steerkit.errors import UsageError
from steerkit.store import Store

MODEL = "synthetic"
"""The name of a model that does not exist; whatever is about it was made up."""
MARK = "-synthetic"
"""How every run's id ends."""


def refuse_real(store: Store) -> None:
    """Raise UsageError for a store that holds a run of a real model: made-up runs must never stand beside it."""
    if store.path.exists():
        real = store.query("SELECT run_id, model FROM run WHERE model <> $model LIMIT 1", {"model": MODEL}).rows()
        if real:
            raise UsageError(
                f"a synthetic store must hold nothing real, but {store.path} has run {real[0][0]} of {real[0][1]}; "
                "give another --store"
            )


def refuse_synthetic(store: Store) -> None:
    """Raise UsageError for a store that holds synthetic runs."""
    if store.path.exists() and store.query("SELECT 1 FROM run WHERE model = $model LIMIT 1", {"model": MODEL}).height:
        raise UsageError(
            f"real runs must not stand beside synthetic ones, but {store.path} holds some; give another --store"
        )
