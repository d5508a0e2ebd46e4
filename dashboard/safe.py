"""Failures as a page may show them: what must hold and what to do, without this machine's paths."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from dashboard.look import plain
from steerkit.errors import StoreLocked, UsageError

PATH = re.compile(r"(?<![\w.])(?:~|\.{1,2})?(?:/[^\s/:;,'\"]+)*/([^\s/:;,'\"]+)")
"""A path with at least one folder; its last part may be shown."""


@contextmanager
def shown() -> Iterator[None]:
    """Show what goes wrong in the body instead of passing it on; the rest of the page stays usable."""
    try:
        yield
    except StoreLocked:
        st.warning(
            "The store is busy: another program has held it for a while. Nothing is lost; this page shows it as soon "
            "as it is free.",
            icon=":material/hourglass_top:",
        )
    except UsageError as error:
        st.warning(plain(bare(str(error))), icon=":material/info:")
    except Exception as error:
        # What nobody foresaw may hold anything: it goes to the terminal of whoever started the dashboard.
        logging.getLogger("steerkit.dashboard").exception("a page broke")
        st.error(
            f"This page broke ({type(error).__name__}); the terminal of `steerkit dashboard` says where. "
            "The other pages still work."
        )


def bare(message: str) -> str:
    """A message whose paths have lost their folders."""
    return PATH.sub(r"\1", message)
