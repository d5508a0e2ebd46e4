"""Times every page on a store, without a browser: `python timing.py --store FILE` prints one JSON document.

cold: drawn for the first time, every module loaded, no answer known. warm: drawn again, the store unchanged. Processor
seconds stand beside the clock's: on a machine that does other work only they can be compared.
"""

import argparse
import importlib
import json
import resource
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIMEOUT = 120.0
"""How long a page may take before it counts as broken (seconds)."""


def script(store: str, view: str) -> None:
    """One page as the frame draws it, without the navigation, which Streamlit's harness cannot run."""
    import importlib
    from pathlib import Path

    import streamlit as st

    from dashboard import frame, link
    from dashboard.reading import reader

    st.session_state[link.PAGES] = {}
    frame.drawn(importlib.import_module(f"dashboard.views.{view}"), reader(Path(store)))()


def timed(store: Path) -> dict[str, Any]:
    """Every page, cold and warm (seconds), and the peak memory (GiB) of this process."""
    from streamlit.testing.v1 import AppTest

    start = time.perf_counter()
    names = [importlib.import_module("dashboard.frame").name_of(view) for view in _views()]
    loaded = time.perf_counter() - start
    rows = []
    for name in names:
        app = AppTest.from_function(script, default_timeout=TIMEOUT, kwargs={"store": str(store), "view": name})
        cold, warm = _clocked(app.run), _clocked(app.run)
        failures = [str(error.value) for error in (*app.exception, *app.error)]
        rows.append({"view": name, "cold": cold[0], "warm": warm[0], "cold_cpu": cold[1], "warm_cpu": warm[1]})
        rows[-1]["failures"] = failures
    return {"store": str(store), "load_seconds": loaded, "views": rows, "peak_memory_gib": _peak()}


def _peak() -> float:
    """Peak memory of this program (GiB): a process's own counter would start with its parent's peak."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(kilobytes) / 2**20


def _views() -> list[Any]:
    found: list[Any] = importlib.import_module("dashboard.frame").found()
    return found


def _clocked(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    asked = parser.parse_args()
    runpy.run_path(str(Path(__file__).with_name("app.py")), run_name="app")["find_package"]()
    sys.stdout.write(json.dumps(timed(asked.store)) + "\n")
