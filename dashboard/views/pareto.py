"""The front page: what each method buys, and what it costs."""

import streamlit as st

from dashboard import figure
from dashboard.reading import Reader

TITLE = "Pareto"
ICON = ":material/scatter_plot:"
ORDER = 0
SENTENCE = (
    "Each point is a steered or healed model: how far it moves the trait (up), and how much coherence that costs "
    "(right). Up and left is better."
)


def show(reader: Reader) -> None:
    """The arms of all runs."""
    frame = reader.ask("pareto")
    figure.table(frame, "arms")
    st.caption(f"{frame.height} arms")
