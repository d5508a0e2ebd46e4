"""Files that survive a kill or a power cut: durable writes, advisory locks, and tensors named by their hash."""

import errno
import fcntl
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from steerkit.errors import RunError, StoreLocked

if TYPE_CHECKING:
    import torch

PAUSE = 0.01
"""Between two tries for a lock (seconds)."""


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, data: bytes) -> None:
    """Write a file whose bytes survive a power cut."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def durable_folder(path: Path) -> None:
    """Make a folder and its parents, durably."""
    missing = [p for p in (path, *path.parents) if not p.is_dir()]
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync(made.parent)


@contextmanager
def disk_trouble(path: Path) -> Iterator[None]:
    """Turn the disk's refusal into a RunError that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunError(refusal(path, error.strerror or str(error), error.errno)) from error


def refusal(path: Path, reason: str, number: int | None = None) -> str:
    """What to tell a user whose disk would not take a write."""
    full = number in (errno.ENOSPC, errno.EDQUOT) or "no space" in reason.lower()
    cure = "free some space" if full else "set that right"
    return f"cannot write to {path}: {reason}; {cure} and run again with --resume: what was acknowledged is kept"


class Artifacts:
    """Tensors as safetensors files, named by the hash of their bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where the artifact of that hash is, or would be."""
        return self.folder / f"{sha256}.safetensors"

    def write(self, tensors: Mapping[str, "torch.Tensor"]) -> str:
        """Store the tensors durably and return their file's sha256.

        Raises RunError when the disk is full or refuses.
        """
        from safetensors.torch import save

        # safetensors refuses tensors that share memory or are not contiguous.
        data = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
        sha256 = hashlib.sha256(data).hexdigest()
        aside = self.folder / f".{sha256}-{secrets.token_hex(4)}"
        with disk_trouble(self.folder):
            try:
                durable_folder(self.folder)
                write(aside, data)
                aside.replace(self.path(sha256))
                sync(self.folder)
            finally:
                aside.unlink(missing_ok=True)
        return sha256

    def read(self, sha256: str) -> dict[str, "torch.Tensor"]:
        """The tensors of that hash.

        Raises RunError when the file is missing or its bytes have another hash.
        """
        from safetensors.torch import load

        trouble = self.problem(sha256)
        if trouble:
            raise RunError(f"{trouble}; run again without --resume to make it anew")
        return dict(load(self.path(sha256).read_bytes()))

    def problem(self, sha256: str) -> str | None:
        """What is wrong with an artifact, if anything."""
        path = self.path(sha256)
        if not path.exists():
            return f"artifact {sha256} is missing: {path} must exist"
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        return None if found == sha256 else f"artifact {path} is damaged: its sha256 must be its name, but is {found}"


@contextmanager
def locked(path: Path, deadline: float) -> Iterator[None]:
    """Hold an advisory lock alone.

    Raises StoreLocked after `deadline` seconds.
    """
    until = time.monotonic() + deadline
    with path.open("a") as file:
        while not _take(file.fileno(), fcntl.LOCK_EX):
            if time.monotonic() > until:
                raise StoreLocked(f"{path} stayed locked by another process for {deadline:g} s; try again later")
            time.sleep(PAUSE)
        yield


def pass_gate(path: Path, patience: float) -> None:
    """Wait while a writer holds the gate shut, at most `patience` seconds, and hold nothing afterwards.

    Readers that queue here cannot starve a writer. The gate is a courtesy: DuckDB's own lock keeps the file safe.
    """
    if not path.exists():
        return
    until = time.monotonic() + patience
    handle = os.open(path, os.O_RDONLY)
    try:
        while not _take(handle, fcntl.LOCK_SH) and time.monotonic() < until:
            time.sleep(PAUSE)
    finally:
        os.close(handle)


class Ticker:
    """Does a piece of work now and then in a thread, in one process per lock file; the others stand by."""

    def __init__(self, lock: Path, seconds: float, work: Callable[[], None]) -> None:
        self._lock = lock
        self._seconds = seconds
        self._work = work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, name=lock.name, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _tick(self) -> None:
        with self._lock.open("a") as file:
            mine = False
            while not self._stop.wait(self._seconds):
                mine = mine or _take(file.fileno(), fcntl.LOCK_EX)
                if mine:
                    self._work()


def _take(handle: int, how: int) -> bool:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
