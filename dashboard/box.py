"""A reader's own query, asked by a process of its own that is ended when it takes too long or too much.

The process opens the store as `steerkit sql` does: read-only, without files and network, its settings locked.
"""

import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import polars

from dashboard.safe import bare
from steerkit.errors import UsageError

SECONDS = 20
"""How long a query may take."""
MEMORY = 512
"""How much it may take of DuckDB's memory (MiB)."""
SPACE = 4 << 30
"""How much address space its process may have: what DuckDB does not count ends here (bytes)."""
ROWS = 10_000
"""How many rows of its answer are shown."""
LARGEST = 64 << 20
"""How large an answer may be (bytes, as Parquet)."""
HINTS = "\n\nPossible solutions"
"""Where DuckDB begins to advise what a page cannot do."""


@dataclass(frozen=True)
class Limits:
    """What a query may take: time (seconds), memory (MiB), rows."""

    seconds: float = SECONDS
    memory: int = MEMORY
    rows: int = ROWS


def ask(store: Path, sql: str, limits: Limits = Limits()) -> tuple[polars.DataFrame, bool]:
    """The answer's first rows, and whether there are more of them.

    Raises UsageError when DuckDB refuses the query or it takes more than it may.
    """
    with tempfile.TemporaryDirectory(prefix="steerkit-sql-") as folder:
        output = Path(folder) / "answer.parquet"
        _run(store, sql, output, limits)
        if output.stat().st_size > LARGEST:
            raise UsageError(f"the answer must be smaller than {LARGEST >> 20} MiB, but it is not; ask for less")
        answer = polars.read_parquet(output)
    return answer.head(limits.rows), answer.height > limits.rows


def _run(store: Path, sql: str, output: Path, limits: Limits) -> None:
    options = ["--store", str(store), "--rows", str(limits.rows + 1), "--memory", str(limits.memory), "-o", str(output)]
    command = [sys.executable, "-P", "-m", "steerkit.cli", "sql", *options, "--", sql]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _confine(process.pid)
    try:
        _, said = process.communicate(timeout=limits.seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise UsageError(
            f"a query must end within {limits.seconds:g} s, but this one did not and was stopped; ask for fewer rows, "
            "or use `steerkit sql`, which waits"
        ) from None
    if process.returncode != 0 or not output.exists():
        raise UsageError(_reason(said.decode(errors="replace"), process.returncode, limits))


def _confine(pid: int) -> None:
    """Limit the address space of a process, where the system can; elsewhere DuckDB's own limit stands alone."""
    if sys.platform == "linux":
        resource.prlimit(pid, resource.RLIMIT_AS, (SPACE, SPACE))


def _reason(said: str, code: int, limits: Limits) -> str:
    """What the process said of its failure; one that was killed or ran out of space says nothing readable."""
    _, found, message = said.rpartition("error: ")
    if found and code > 0:
        return bare(message.partition(HINTS)[0].strip())
    return (
        f"a query may take {limits.memory} MiB and must not break DuckDB, but this one did one of the two, and its "
        "process ended; nothing else was touched. Ask for less at once"
    )
