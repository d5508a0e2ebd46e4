"""What Streamlit runs: `streamlit run app.py -- --store FILE`."""

import importlib
import importlib.util
import sys
from pathlib import Path


def find_package() -> None:
    """Make `dashboard` importable wherever this folder lies: beside the package in a checkout, inside it in a wheel."""
    folder = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        "dashboard", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dashboard"] = module
    spec.loader.exec_module(module)


# Streamlit runs this file again for every change on a page; the package stays.
if __name__ == "__main__":
    if "dashboard" not in sys.modules:
        find_package()
    importlib.import_module("dashboard.frame").main(sys.argv[1:])
