"""A scan on a terminal: the heat map in numbers, the blocks, and the band to use, in 100 columns."""

from collections.abc import Iterator, Mapping
from typing import Any

from steerkit.commands._compare_output import UNITS, span
from steerkit.commands._output import echo_document, table
from steerkit.commands._verdicts import WIDTH, filled, number


def show(document: Mapping[str, Any], as_json: bool) -> None:
    """The document as JSON, or as the tables a person reads."""
    echo_document(document, _lines, as_json)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield filled(
        f"{document['method']} at {len(document['bands'])} bands of blocks of {document['model']}, trait "
        f"{document['trait']}, each at {document['dose']:g} {UNITS[document['scale']]}"
    )
    yield ""
    yield filled(
        f"d{document['target']} by first block and width, on the half that the band is chosen on; - not reached, "
        f"* coherence below {document['lowest_coherence']:g}"
    )
    yield table(*_map(document), WIDTH)
    yield ""
    yield "Each block's direction"
    yield table(*_blocks(document), WIDTH)
    yield ""
    yield from _chosen(document)
    yield f"picture  {document['pictures'][0] if document['pictures'] else 'none'}"
    yield f"store    {document['store']}   (steerkit show layers --param run={document['run_id']})"
    yield f"run      {document['run_id']}, {document['seconds']:.0f} s of work"


def _map(document: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """One row per first block, one column per width."""
    widths = sorted({band["width"] for band in document["bands"]})
    cells = {(band["first_block"], band["width"]): band for band in document["bands"]}
    rows = [
        [str(first), *(_cell(cells.get((first, width)), document["lowest_coherence"]) for width in widths)]
        for first in sorted({first for first, _ in cells})
    ]
    return ["first block", *(f"width {width}" for width in widths)], rows


def _cell(band: Mapping[str, Any] | None, floor: float) -> str:
    if band is None:
        return ""
    seen = band["choice"]
    if seen is None or seen["coherence"]["value"] is None:
        return "-"
    marks = ("*" if seen["coherence"]["value"] < floor else "") + (" <" if band["chosen"] else "")
    return f"{number(seen['d_target']['value'])}{marks}"


def _blocks(document: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Blocks as columns would not fit; a row each."""
    columns = ["block", "norm", "of the residual's", "half-split cosine"]
    rows = [
        [
            str(row["block"]),
            f"{row['norm']:.3g}",
            f"{row['relative_norm']:.1%}",
            number(row["half_split_cosine"], ""),
        ]
        for row in document["blocks"]
    ]
    return columns, rows


def _chosen(document: Mapping[str, Any]) -> Iterator[str]:
    """What to use, as it is on the half it was not chosen on."""
    chosen, usual = document["chosen"], document["default"]
    if chosen is None:
        yield filled("No band moves the target while it is coherent; give a smaller --dose, or another method")
        return
    yield filled(f"Best: blocks {_named(chosen)}: on the other half {_seen(chosen, document['target'])}")
    if usual is not None and not usual["chosen"] and usual["test"] is not None:
        yield filled(f"Default: blocks {_named(usual)}: on the other half {_seen(usual, document['target'])}")
    yield f"use it   steerkit gate1 --method {document['method']} {document['use']}   (or --blocks stored)"


def _named(band: Mapping[str, Any]) -> str:
    return f"{band['first_block']}-{band['last_block']}"


def _seen(band: Mapping[str, Any], target: str) -> str:
    test = band["test"]
    return f"d{target} {span(test['d_target'], 2, '+', ' ')}, coherence {span(test['coherence'], 2, '', ' ')}"
