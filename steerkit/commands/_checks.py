"""What `steerkit doctor` looks at: each check says what it found and, where that is trouble, what to do."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import msgspec

from steerkit import __version__
from steerkit.catalogue import troubles
from steerkit.commands._findings import Asked, Finding, notice, ok, trouble
from steerkit.commands._model_check import model
from steerkit.errors import SteerkitError, StoreLocked
from steerkit.plugins import LITE, Kind, distribution, sources
from steerkit.published import package

DISTRIBUTION = "steerkit-heal"
MEMORY_NEEDED = 4 * 1024**3
DISK_NEEDED = 1024**3
"""Bytes: the converted model takes half of it."""
SIZE = (128, 576, 1536)
"""A matrix product small enough to be measured in a moment even where a dtype is slow."""


def examined(asked: Asked) -> Iterator[Finding]:
    """Every check's findings, in order; a check that something missing stops says so instead of ending the others."""
    for name, check in CHECKS.items():
        try:
            found = list(check(asked))
        except ImportError as error:
            found = [trouble(f"{error}", f"install it: pip install '{DISTRIBUTION}'")]
        except (SteerkitError, OSError) as error:
            found = [trouble(f"{error}", "")]
        yield from (msgspec.structs.replace(finding, check=name) for finding in found)


def _python(asked: Asked) -> Iterator[Finding]:
    yield ok(f"steerkit {__version__}, Python {platform.python_version()}, {platform.machine()}, {sys.executable}")


def _namesake(asked: Asked) -> Iterator[Finding]:
    """PyPI's `steerkit` is another project whose package has our name: one would overwrite the other's files."""
    found = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}
    if "steerkit" in found:
        yield trouble(
            f"another project, PyPI's steerkit {found['steerkit']}, is installed too and has the same package name",
            f"pip uninstall steerkit && pip install --force-reinstall --no-deps {DISTRIBUTION}",
        )
    elif DISTRIBUTION not in found:
        yield notice(f"{DISTRIBUTION} itself is not installed; this is a bare checkout", "make install")
    else:
        yield ok(f"{DISTRIBUTION} {found[DISTRIBUTION]}; no other project of the same package name")


def _versions(asked: Asked) -> Iterator[Finding]:
    wrong = list(_unmet())
    if wrong:
        yield trouble("; ".join(wrong), "make install, or pip install -e . -c constraints.txt")
    different = list(_different())
    if different:
        advice = "pip install -r constraints.txt, if a run misbehaves"
        yield notice(f"other versions than those tested: {'; '.join(different)}", advice)
    if not wrong and not different:
        yield ok("every requirement is met" + (", at the tested version" if _constraints().is_file() else ""))


def _unmet() -> Iterator[str]:
    """The distribution's requirements that are missing or out of bounds."""
    from packaging.requirements import Requirement

    if DISTRIBUTION not in {d.metadata["Name"] for d in importlib.metadata.distributions()}:
        return
    for text in importlib.metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = _installed(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name} must be {requirement.specifier}, but is {version or 'not installed'}"


def _different() -> Iterator[str]:
    """Installed packages whose version is not the pinned one; a local part such as '+cpu' does not count."""
    if not _constraints().is_file():
        return
    for name, pinned in re.findall(r"^([\w.-]+)==(\S+)$", _constraints().read_text(), re.MULTILINE):
        version = _installed(name)
        if version is not None and version.partition("+")[0] != pinned:
            yield f"{name} {version} (tested: {pinned})"


def _constraints() -> Path:
    return Path(__file__).parents[2] / "constraints.txt"


def _installed(name: str) -> str | None:
    found = next(iter(importlib.metadata.distributions(name=name)), None)
    return found.version if found else None


def _numbers(asked: Asked) -> Iterator[Finding]:
    """Device and dtype, as a run would choose them."""
    import torch

    from steerkit.host.load import DTYPES, matmul_rate

    if asked.device == "cuda" and not torch.cuda.is_available():
        yield trouble("--device cuda, but torch sees no GPU", "use --device cpu, or install a torch build for your GPU")
        return
    device = asked.device if asked.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    rates = {name: matmul_rate(DTYPES[name], device, SIZE) / 1e9 for name in ("float32", "bfloat16")}
    measured = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in rates.items())
    yield ok(f"{device}; {measured}")
    if asked.dtype in rates and rates[asked.dtype] < max(rates.values()) / 3:
        yield notice(f"--dtype {asked.dtype} is slow on this {device}", "use --dtype auto")


def _threads(asked: Asked) -> Iterator[Finding]:
    import torch

    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    policy = os.environ.get("OMP_WAIT_POLICY", "")
    found = f"{threads} threads on {cores} cores, OMP_WAIT_POLICY={policy or 'unset'}, load {os.getloadavg()[0]:.1f}"
    if policy.upper() != "PASSIVE":
        yield notice(found, "export OMP_WAIT_POLICY=PASSIVE: waiting threads that spin slow every other process")
    elif threads > cores:
        yield notice(found, f"export OMP_NUM_THREADS={cores}")
    else:
        yield ok(found)


def _room(asked: Asked) -> Iterator[Finding]:
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if Path("/proc/meminfo").is_file():
        memory = int(re.findall(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[0]) * 1024
    disk = shutil.disk_usage(asked.store.expanduser().resolve().parent).free
    found = f"{memory / 1024**3:.1f} GiB of memory and {disk / 1024**3:.1f} GiB of disk are free"
    if memory < MEMORY_NEEDED:
        yield notice(found, "close something: gate 1 on the embedded model wants 4 GiB of memory")
    elif disk < DISK_NEEDED:
        yield notice(found, "free some disk: a converted model and a store want 1 GiB")
    else:
        yield ok(found)


def _store(asked: Asked) -> Iterator[Finding]:
    from steerkit.store import Store

    store = Store(asked.store, deadline=2.0)
    store.check()
    if not store.path.exists():
        yield ok(f"{store.path} does not exist yet; the first run makes it")
        return
    try:
        problems = store.problems()
        runs = store.query("SELECT count(*) FROM run").item()
    except StoreLocked as locked:
        yield notice(str(locked), "wait, or close the program that holds it; runs go on meanwhile")
        return
    yield from (trouble(problem, "steerkit db rebuild, or restore the files from a copy") for problem in problems)
    if not problems:
        yield ok(f"{store.path}: {runs} run(s), no problems")


def _optional(asked: Asked) -> Iterator[Finding]:
    """Packages that add plugins or faces; nothing of the core needs them."""
    find = importlib.util.find_spec
    for extra, found in {"steering-lite": find(LITE), "tinymfv": package(), "dashboard": find("streamlit")}.items():
        if found is None:
            yield ok(f"extra {extra!r} is not installed; nothing of the core needs it")
        else:
            yield ok(f"extra {extra!r} is installed")


def _plugins(asked: Asked) -> Iterator[Finding]:
    """What plugins there are, and those that cannot be used, as far as can be told without importing them."""
    kinds = get_args(Kind)
    for one in (found for kind in kinds for found in troubles(kind)):
        yield notice(
            f"{one.name} of {one.distribution} is not usable: {one.fault}", f"mend or uninstall {one.distribution}"
        )
    counts = ", ".join(f"{len(sources(kind))} {kind}" for kind in kinds)
    others = sorted({by for kind in kinds for module in sources(kind).values() if (by := distribution(kind, module))})
    elsewhere = [name for name in others if name != "steerkit"]
    yield ok(counts + (f", some of them from {', '.join(elsewhere)}" if elsewhere else ", all of them built in"))


CHECKS: dict[str, Callable[[Asked], Iterator[Finding]]] = {
    "python": _python,
    "namesake": _namesake,
    "versions": _versions,
    "model": model,
    "device": _numbers,
    "threads": _threads,
    "room": _room,
    "store": _store,
    "extras": _optional,
    "plugins": _plugins,
}
