"""What a page shows stands in its address: every choice can be sent to somebody else, and a wrong link says so."""

from collections.abc import Callable, Sequence

import streamlit as st

from dashboard.look import plain

PAGES = "_pages"
ADDRESS = "_address_"
"""Before the name of what a widget has put into the address."""


def pick(
    label: str,
    name: str,
    options: Sequence[str],
    default: str | None = None,
    *,
    shown: Callable[[str], str] = str,
    help: str | None = None,  # noqa: A002 - Streamlit's word for it
) -> str | None:
    """One of the options, kept in the address under `name`; None when there are none."""
    if not options:
        return None
    usual = default if default is not None and default in options else options[0]
    _take(label, name, options, usual)
    found = st.selectbox(label, options, format_func=shown, key=name, help=help)
    _put(name, [] if found == usual else [found])
    return found


def picks(
    label: str,
    name: str,
    options: Sequence[str],
    default: Sequence[str] = (),
    *,
    shown: Callable[[str], str] = str,
    help: str | None = None,  # noqa: A002
    placeholder: str = "all",
) -> list[str]:
    """Some of the options, kept in the address under `name`; without any, all of them are meant."""
    _take(label, name, options, [*default])
    found = st.multiselect(label, options, format_func=shown, key=name, help=help, placeholder=placeholder)
    _put(name, [] if found == [*default] else found)
    return [*found] or [*options]


def part(label: str, name: str, options: Sequence[str], *, shown: Callable[[str], str] = str) -> str:
    """One of a few options that stand side by side, kept in the address under `name`; the first unless chosen."""
    _take(label, name, options, options[0])
    found = st.segmented_control(
        label, options, required=True, format_func=shown, key=name, label_visibility="collapsed"
    )
    _put(name, [] if found in (None, options[0]) else [found])
    return found or options[0]


def _take(label: str, name: str, options: Sequence[str], usual: str | list[str]) -> None:
    """Set a widget to what the address asks for, whenever that is not what the widget itself has put there.

    Streamlit's own binding writes what a widget shows, not what it means, so that no link could be made from an id.
    """
    asked = st.query_params.get_all(name)
    if name in st.session_state and asked == st.session_state.get(ADDRESS + name, []):
        held = st.session_state[name]
        known = all(one in options for one in held) if isinstance(held, list) else held in options
        if not known:
            st.session_state[name] = usual
        return
    for one in asked:
        if one not in options:
            wrong(label, one)
    good = [one for one in asked if one in options]
    st.session_state[name] = usual if not good else good if isinstance(usual, list) else good[0]


def _put(name: str, values: Sequence[str]) -> None:
    """Write into the address what a widget holds."""
    if st.query_params.get_all(name) != [*values]:
        if values:
            st.query_params[name] = [*values]
        else:
            del st.query_params[name]
    st.session_state[ADDRESS + name] = [*values]


def switch(label: str, name: str, default: bool = False, help: str | None = None) -> bool:  # noqa: A002
    """Yes or no, kept in the address under `name`."""
    check(name, ("true", "false"), label)
    return bool(st.toggle(label, default, key=name, bind="query-params", help=help))


def number(label: str, name: str, low: float, high: float, default: float, step: float) -> float:
    """A number on a slider, kept in the address under `name`."""
    asked = st.query_params.get(name)
    if asked is not None and not _within(asked, low, high):
        wrong(label, asked)
    return float(st.slider(label, low, high, default, step, key=name, bind="query-params"))


def check(name: str, options: Sequence[str], label: str) -> None:
    """Say which values of the address under `name` are none of the options; Streamlit then takes the default."""
    for asked in st.query_params.get_all(name):
        if asked not in options:
            wrong(label, asked)


def wrong(label: str, asked: str) -> None:
    """Say that the link asks for something that is not here."""
    st.warning(f"The link asks for {label} “{plain(asked[:80])}”, which is not here; the default is shown instead.")


def remember(name: str, value: str | None) -> None:
    """Keep something that no widget holds, for example a clicked point, in the address."""
    if value is None:
        if name in st.query_params:
            del st.query_params[name]
    elif st.query_params.get(name) != value:
        st.query_params[name] = value


def recall(name: str) -> str | None:
    """What the address holds under `name`."""
    found: str | None = st.query_params.get(name)
    return found


def held(name: str) -> str | None:
    """What a choice further down the page will show: what the address newly asks for, else what its widget holds."""
    asked = st.query_params.get_all(name)
    if name in st.session_state and asked == st.session_state.get(ADDRESS + name, []):
        chosen: str | None = st.session_state[name]
        return chosen
    return asked[0] if asked else None


def to(view: str, label: str, icon: str | None = None, **values: str) -> None:
    """A link to another view with its widgets set; `view` is its file's name, `label` ours or made plain."""
    page = st.session_state[PAGES].get(view)
    if page is not None:
        st.page_link(page, label=label, icon=icon, query_params=values)


def _within(asked: str, low: float, high: float) -> bool:
    try:
        return low <= float(asked) <= high
    except ValueError:
        return False
