"""What tells synthetic runs from real ones, and keeps them apart."""

from steerkit.errors import UsageError
from steerkit.records import SYNTHETIC
from steerkit.store import Store

MARK = f"-{SYNTHETIC}"
"""How every run's id ends."""


def refuse_real(store: Store) -> None:
    """Raise UsageError for a store that holds a run of a real model: made-up runs must never stand beside it."""
    if store.path.exists():
        real = store.query("SELECT run_id, model FROM run WHERE model <> $model LIMIT 1", {"model": SYNTHETIC}).rows()
        if real:
            raise UsageError(
                f"a synthetic store must hold nothing real, but {store.path} has run {real[0][0]} of {real[0][1]}; "
                "give another --store"
            )


def refuse_synthetic(store: Store) -> None:
    """Raise UsageError for a store that holds synthetic runs."""
    sql = "SELECT 1 FROM run WHERE model = $model LIMIT 1"
    if store.path.exists() and store.query(sql, {"model": SYNTHETIC}).height:
        raise UsageError(
            f"real runs must not stand beside synthetic ones, but {store.path} holds some; give another --store"
        )
