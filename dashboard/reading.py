"""The only way to data: answers of a store, kept until it changes, and the last good ones while somebody holds it."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars
import streamlit as st

from steerkit.errors import StoreLocked
from steerkit.store import Store

PATIENCE = 2.0
"""How long a page waits for a store that somebody holds (seconds)."""
REST = 1.0
"""How long a store that was busy is not tried again: a page asks several times, and should wait once (seconds)."""
ROOM = 256 << 20
"""Size of all answers that are kept (bytes)."""
Stamp = tuple[int, int]


@dataclass(frozen=True)
class Answer:
    """A frame, the store it came from and when that was (seconds, monotonic)."""

    frame: polars.DataFrame
    stamp: Stamp
    at: float


@dataclass
class Reader:
    """Asks one store. It holds no connection: DuckDB lets nobody write while anybody has the file open."""

    store: Store
    answers: "OrderedDict[Any, Answer]" = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    busy: float = float("-inf")
    """When the store was found busy (seconds, monotonic)."""

    def ask(self, question: str, **parameters: Any) -> polars.DataFrame:
        """The answer to a named query of `db/queries`; parameters left out are NULL."""
        return self._kept((question, *_hashable(parameters)), lambda: self.store.ask(question, parameters))

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> polars.DataFrame:
        """The answer to a query with `$name` parameters; for the page's own questions, not for a reader's."""
        key = ("", sql, *_hashable(parameters or {}))
        return self._kept(key, lambda: self.store.query(sql, parameters))

    def stamp(self) -> Stamp:
        """What changes whenever the store does: when its file and its log were written (nanoseconds; 0: no file)."""
        path = self.store.path
        return _written(path), _written(path.with_name(path.name + ".wal"))

    def _kept(self, key: Any, read: Callable[[], polars.DataFrame]) -> polars.DataFrame:
        stamp = self.stamp()
        with self.lock:
            known = self.answers.get(key)
        if known is not None and known.stamp == stamp:
            return known.frame
        try:
            if time.monotonic() - self.busy < REST:
                raise StoreLocked("the store was busy a moment ago")
            answer = Answer(self._tried(read), stamp, time.monotonic())
        except StoreLocked:
            if known is None:
                raise
            late(time.monotonic() - known.at)
            return known.frame
        with self.lock:
            self.answers[key] = answer
            self.answers.move_to_end(key)
            self._make_room()
        return answer.frame

    def _tried(self, read: Callable[[], polars.DataFrame]) -> polars.DataFrame:
        """Read, and remember when the store was busy."""
        try:
            return read()
        except StoreLocked:
            self.busy = time.monotonic()
            raise

    def _make_room(self) -> None:
        size = sum(answer.frame.estimated_size() for answer in self.answers.values())
        while size > ROOM and len(self.answers) > 1:
            _, oldest = self.answers.popitem(last=False)
            size -= oldest.frame.estimated_size()


@st.cache_resource(show_spinner=False)
def reader(path: Path) -> Reader:
    """The one reader of a store, shared by all pages of this server."""
    return Reader(Store(path, deadline=PATIENCE))


def late(age: float) -> None:
    """Note that the page shows data of so many seconds ago."""
    st.session_state["_age"] = max(age, st.session_state.get("_age", 0.0))


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _hashable(parameters: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted((name, str(value), type(value).__name__) for name, value in parameters.items()))
