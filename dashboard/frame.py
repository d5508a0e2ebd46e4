"""What every page shares: navigation, title, sentence, freshness, and failures that leave the rest usable."""

import argparse
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import streamlit as st
from streamlit.navigation.page import Page

from dashboard import link, live, safe, views
from dashboard.look import plain
from dashboard.reading import Reader, reader
from steerkit.options import STORE
from steerkit.records import SYNTHETIC

ICON = Path(__file__).parent / "icon.svg"
"""A picture of our own: Streamlit would fetch a named one from the network."""


def main(arguments: Sequence[str]) -> None:
    """Show the page that the address names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, default=Path(STORE))
    store = parser.parse_known_args(arguments)[0].store
    st.set_page_config("steerkit", ICON.read_text(encoding="utf-8"), layout="wide")
    source = reader(store)
    pages = {name_of(view): page(view, source) for view in found()}
    st.session_state[link.PAGES] = pages
    st.navigation([*pages.values()]).run()


def found() -> list[ModuleType]:
    """The views, in their order."""
    names = sorted(module.name for module in pkgutil.iter_modules(views.__path__) if not module.name.startswith("_"))
    return sorted((importlib.import_module(f"dashboard.views.{name}") for name in names), key=lambda view: view.ORDER)


def name_of(view: ModuleType) -> str:
    """A view's name in the address."""
    return view.__name__.rpartition(".")[2]


def page(view: ModuleType, source: Reader) -> Page:
    """The view as a page of its own."""
    where = {"url_path": name_of(view), "default": view.ORDER == 0}
    return st.Page(drawn(view, source), title=view.TITLE, icon=view.ICON, **where)


def drawn(view: ModuleType, source: Reader) -> Callable[[], None]:
    """What draws the view with all that pages share."""

    def draw() -> None:
        live.began(source)
        st.session_state["_age"] = 0.0
        st.title(view.TITLE)
        st.caption(view.SENTENCE)
        freshness = st.empty()
        with safe.shown():
            if known(source):
                made_up(source)
                view.show(source)
        age = st.session_state["_age"]
        if age:
            freshness.caption(f":material/hourglass_top: The store is busy; this is how it was {age:.0f} s ago.")
        live.ended(age > 0)
        live.follow(source)

    return draw


def known(source: Reader) -> bool:
    """Whether there is a store with a run in it; says what to do where there is none."""
    if not source.store.path.exists():
        st.info(f"There is no store {plain(source.store.path.name)} yet: a run makes it, and this page then shows it.")
        st.code("steerkit demo\nsteerkit gate1 --method svd", language="bash")
        return False
    if source.ask("runs").is_empty():
        st.info("The store is empty: no run has been registered in it yet.")
        st.code("steerkit demo\nsteerkit gate1 --method svd", language="bash")
        return False
    return True


def made_up(source: Reader) -> None:
    """Say so where nothing on a page was measured; real and synthetic runs never share a store."""
    if (source.ask("runs")["model"] == SYNTHETIC).any():
        st.info(
            "This store is synthetic: its numbers follow a planted truth, its texts are put together from sentences. "
            "No model was measured.",
            icon=":material/science:",
        )
