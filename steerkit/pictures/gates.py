"""What each gate shows: the Pareto plane, survival by dose, healing, a loop's rounds."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import altair as alt

from steerkit.pictures.look import ENDS, INK, OTHER, RAW, STUDENTS, finished, inline, on_column, zero_line
from steerkit.pictures.pareto import ORIGIN, WIDTH, Shown, points_of
from steerkit.visible import visible


def pareto(document: Mapping[str, Any], broken: float = 0.85) -> Any:
    """One point per arm: shift of the target as intended (nats) over coherence cost (fraction of base)."""
    points = points_of(document)
    shown = Shown(document, points, broken)
    doses = [*(point for point in points if point["group"] in ("steered", "opposite")), ORIGIN]
    return finished(alt.layer(*shown.layers(doses, points, [])).properties(title=_title(document)))


def _title(document: Mapping[str, Any]) -> alt.TitleParams:
    return alt.TitleParams(
        visible(f"Gate 1: {document['method']} on {document['model']}: {document['verdict']}"),
        subtitle=[
            "Up and left is better. Circles joined by dose (multiples of the calibrated strength); stair: front.",
            "Bars: 95% paired-bootstrap intervals. Grey: null directions at the same doses. Diamond: persona prompt.",
        ],
        anchor="start",
        subtitleColor="#666666",
    )


def survival(document: Mapping[str, Any]) -> Any:
    """By dose: the share of texts that every check keeps with its 95% interval, over the median perplexity."""
    rows = document["doses"]
    # A dose whose texts are mostly empty has no perplexity that can be drawn; its survival still can.
    read = [row for row in rows if row["median_perplexity"] is not None and isfinite(row["median_perplexity"])]
    x = alt.X("dose:Q", title="dose (1: 95th percentile of the per-token KL at its target)")
    data = alt.InlineData(values=rows)
    share = alt.Y("survival:Q", title="kept (fraction)", scale=alt.Scale(domain=[0, 1]))
    kept = alt.Chart(data).mark_line(point={"color": RAW["steered"][0]}, color=RAW["steered"][0]).encode(x=x, y=share)
    span = alt.Chart(data).mark_rule(color=RAW["steered"][0], opacity=0.5)
    span = span.encode(x=x, y=alt.Y("survival_low:Q", title="kept (fraction)"), y2="survival_high:Q")
    counts = alt.Chart(data).mark_text(fontSize=10).encode(x=x, y=alt.value(-7), text="made:Q")
    chosen = alt.Chart(alt.InlineData(values=[{"dose": document["chosen_dose"]}] if document["chosen_dose"] else []))
    chosen = chosen.mark_rule(strokeDash=[4, 4], color=RAW["prompt"][0]).encode(x=x)
    hard = alt.Y("median_perplexity:Q", title="median perplexity under the base", scale=alt.Scale(type="log"))
    size = {"width": 640, "height": 200}
    panels = [alt.layer(kept, span, counts, chosen).properties(**size)]
    if read:
        line = alt.Chart(alt.InlineData(values=read)).mark_line(
            point={"color": RAW["random"][0]}, color=RAW["random"][0]
        )
        panels.append(line.encode(x=x, y=hard).properties(**size))
    return alt.vconcat(*panels).resolve_scale(x="shared").properties(title=_survival_title(document))


def _survival_title(document: Mapping[str, Any]) -> Any:
    kept = f"{document['kept']} of {document['made']} texts kept. Dashed: the dose chosen; on top: texts at each dose."
    named = f"Gate 2: {document['verdict']}: {document['method']} on {document['model']}, {document['trait']}"
    return alt.TitleParams(visible(named), subtitle=kept, anchor="start", subtitleColor="#666666")


def healing(document: Mapping[str, Any], broken: float = 0.85) -> Any:
    """The Pareto plane with each student as an arrow from the steered point its texts came from, over its training."""
    points = points_of(document)
    raw = [point for point in points if point["group"] in RAW]
    steered = [point for point in raw if point["group"] == "steered"]
    shown = Shown(document, points, broken)
    origin = next((point for point in steered if point["dose"] == document["dose"]), None)
    plane = alt.layer(*shown.layers([*steered, ORIGIN], raw, shown.arrows(origin)))
    whole = alt.vconcat(plane, *_training(document))
    whole = whole.resolve_scale(color="independent", shape="independent", strokeDash="independent")
    return finished(whole.properties(title=_healing_title(document)))


def _training(document: Mapping[str, Any]) -> list[Any]:
    """NLL by step of every adapter, and its divergence with the line where the barrier begins."""
    # The plain one comes last: its dashes show what lies below.
    adapters = sorted((a for a in document["adapters"] if a["curve"]), key=lambda a: a["role"] == "plain")
    if not adapters:
        return []
    data = inline([{"adapter": adapter["role"], **step} for adapter in adapters for step in adapter["curve"]])
    roles = list(dict.fromkeys(adapter["role"] for adapter in adapters))
    colours = [STUDENTS[role][0] if role in STUDENTS else OTHER for role in roles]
    dashes = [[5, 3] if role == "plain" else [1, 0] for role in roles]
    colour = alt.Color("adapter:N", scale=alt.Scale(domain=roles, range=colours), title="adapter")
    dash = alt.StrokeDash("adapter:N", scale=alt.Scale(domain=roles, range=dashes), title="adapter")
    x = alt.X("step:Q", title="optimiser step", axis=alt.Axis(tickMinStep=1, format="d"))
    line = alt.Chart(data).mark_line().encode(x=x, color=colour, strokeDash=dash)
    nll = line.encode(y=alt.Y("nll:Q", title="NLL (nats per token)", scale=alt.Scale(zero=False)))
    aggregate = document["aggregate"]
    apart = line.encode(y=alt.Y(f"d_{aggregate}:Q", title=f"divergence, {aggregate} (nats)"))
    taus = [{"tau": a["tau"]} for a in adapters if a["role"] == "healed" and a["tau"] is not None]
    begins = alt.Chart(inline(taus)).mark_rule(strokeDash=[2, 3], color=INK).encode(y="tau:Q")
    size = {"width": 280, "height": 160}
    return [alt.hconcat(nll.properties(**size), alt.layer(apart, begins).properties(**size))]


def _healing_title(document: Mapping[str, Any]) -> alt.TitleParams:
    named = f"Gate 3: {document['verdict']}, {document['label']}: {document['method']} on {document['model']}"
    return alt.TitleParams(
        visible(named),
        subtitle=[
            "Up and left is better. Arrows lead from the steered model to the adapters trained on its texts.",
            "Circles: doses; stair: front; bars: 95% paired-bootstrap intervals. Dotted below: the barrier's start.",
        ],
        anchor="start",
        subtitleColor="#666666",
    )


def progress(document: Mapping[str, Any], broken: float = 0.85) -> Any:
    """A loop: its students on the Pareto plane of raw steering, over trait and coherence by round."""
    plane = _loop_plane(document, broken)
    whole = alt.vconcat(plane, *_by_round(document)).resolve_scale(color="independent", shape="independent")
    return finished(whole.properties(title=_loop_title(document)))


def _loop_plane(document: Mapping[str, Any], broken: float) -> Any:
    """Raw steering of the untouched model, and an arrow from each round's steered student to what learned its texts."""
    rounds = {kind: _of_rounds(document, kind) for kind in ("steered", "healed")}
    raw = points_of({**document, "arms": [arm for arm in document["arms"] if arm["round"] is None]})
    ends = [(rounds["steered"][n], point) for n, point in rounds["healed"].items() if n in rounds["steered"]]
    shown = Shown(document, [*raw, *rounds["steered"].values(), *rounds["healed"].values()], broken)
    steered = [point for point in raw if point["group"] == "steered"]
    arrows = [shown.arrow(origin, point, 0.0) for origin, point in ends]
    return alt.layer(*shown.layers([*steered, ORIGIN], raw, arrows))


def _of_rounds(document: Mapping[str, Any], kind: str) -> dict[int, dict[str, Any]]:
    """A kind of arm by round, as points that are labelled with it."""
    arms = [arm for arm in document["arms"] if arm["kind"] == kind and arm["round"] is not None]
    read = {arm["round"]: points_of({**document, "arms": [arm]}) for arm in arms}
    return {number: {**found[0], "label": f"round {number}"} for number, found in read.items() if found}


def _by_round(document: Mapping[str, Any]) -> list[Any]:
    """Authority and Care, and below them coherence, over a shared axis from the untouched base to the last student."""
    base = {"place": "base", "coherence": 1.0, "d_auth": 0.0, "d_care": 0.0}
    rows = [base, *({**row, "place": str(row["round"])} for row in document["rounds"] if row["d_target"] is not None)]
    names = {"d_auth": "Authority", "d_care": "Care"}
    shifts = [
        {"place": row["place"], "foundation": named, "nats": row[key], **{end: row.get(f"{key}_{end}") for end in ENDS}}
        for row in rows
        for key, named in names.items()
    ]
    places = [row["place"] for row in rows]
    x = alt.X("place:O", title="student of round", sort=places, axis=alt.Axis(labelAngle=0))
    palette = alt.Scale(domain=[*names.values()], range=[STUDENTS["healed"][0], RAW["prompt"][0]])
    colour = alt.Color("foundation:N", scale=palette, title="foundation")
    moves = alt.Y("nats:Q", title="shift from base (nats)")
    moving = alt.Chart(inline(shifts)).encode(x=x, color=colour)
    moved = moving.mark_line(point=True).encode(y=moves)
    shift = moving.mark_rule(opacity=0.6).encode(y=on_column(moves, "low"), y2="high:Q")
    held = alt.Y("coherence:Q", title="coherence", scale=alt.Scale(zero=False))
    chart = alt.Chart(inline(rows)).encode(x=x)
    whole = chart.mark_rule(opacity=0.6).encode(y=on_column(held, "coherence_low"), y2="coherence_high:Q")
    line = chart.mark_line(point={"color": INK}, color=INK).encode(y=held)
    floor = alt.Chart(inline([{"floor": document["floor"]}])).mark_rule(strokeDash=[4, 4], color=STUDENTS["plain"][0])
    size = {"width": WIDTH, "height": 150}
    above = alt.layer(shift, moved, zero_line()).properties(**size)
    below = alt.layer(whole, line, floor.encode(y="floor:Q")).properties(**size)
    return [alt.vconcat(above, below).resolve_scale(x="shared")]


def _loop_title(document: Mapping[str, Any]) -> alt.TitleParams:
    named = f"Gate 4: {document['verdict']}: {document['method']} on {document['model']}, {document['trait']}"
    return alt.TitleParams(
        visible(named),
        subtitle=[
            "Up and left is better. Arrows lead from each round's steered student to the one that learned its texts.",
            f"Circles: doses on the untouched model; bars: 95% intervals. Stopped: {document['stop']}. Dashed: floor.",
        ],
        anchor="start",
        subtitleColor="#666666",
    )
