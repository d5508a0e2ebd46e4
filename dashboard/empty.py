"""What a page says when there is nothing to show yet."""

import streamlit as st


def nothing(what: str, command: str) -> None:
    """Say what is missing and which command makes it; `what` is a sentence of ours, never text of a stranger."""
    st.info(f"{what} This makes some:", icon=":material/inbox:")
    st.code(command, language="bash")
