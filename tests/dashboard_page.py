"""A page of the dashboard as Streamlit's own test harness runs it: no browser, no server."""

from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from dashboard.timing import script

PATIENCE = 60


def page(store: Path, view: str, **address: Any) -> AppTest:
    """The page, run once, with that address."""
    app = AppTest.from_function(script, default_timeout=PATIENCE, kwargs={"store": str(store), "view": view})
    for name, value in address.items():
        app.query_params[name] = value
    return app.run()


def trouble(app: AppTest) -> list[str]:
    """Everything that went wrong on a page, as it shows it."""
    return [*(str(error.value) for error in (*app.exception, *app.error, *app.warning))]


def said(app: AppTest) -> str:
    """All that a page says in words of its own, and all that it holds as elements."""
    kinds = (
        app.title,
        app.subheader,
        app.caption,
        app.markdown,
        app.info,
        app.warning,
        app.error,
        app.success,
        app.code,
    )
    texts = [str(element.value) for kind in kinds for element in kind]
    return "\n".join([*texts, *elements(app)])


def elements(app: AppTest) -> list[str]:
    """The HTML of a page."""
    return [str(element.proto.body) for element in app.get("html")]
