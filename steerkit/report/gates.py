"""What each gate adds to its page: its tables, and its texts side by side."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from steerkit.document_gate3 import COMPARED
from steerkit.records import Completion, HealEpoch, Record
from steerkit.report.markup import DASH, Child, Markup, element, interval, joined, number, section, table
from steerkit.stages.assemble import only, texts_evidence

MOST = 12
"""Prompts whose texts are shown at once; the others are folded away."""
BESIDE = ("base", "previous", "steered", "plain", "healed")
"""Arms of gate 3 whose texts stand side by side, from what was to what became of it."""
Document = Mapping[str, Any]


def gate1(document: Document, records: Sequence[Record]) -> Iterator[Markup]:
    """Arms, and the texts at every dose."""
    yield section("Arms", _arms(document, document["arms"]))
    doses = sorted({text["dose"] for text in document["texts"]}, key=lambda dose: (dose != 0, dose))
    prompts = {text.prompt_id: text.prompt for text in only(Completion, records)}
    blocks = []
    for prompt_id, prompt in prompts.items():
        mine = [text for text in document["texts"] if text["prompt_id"] == prompt_id]
        ranked = sorted(mine, key=lambda text: doses.index(text["dose"]))
        cells = [_text("base" if t["dose"] == 0 else f"dose {t['dose']:g}", t["text"], _health(t)) for t in ranked]
        blocks.append(_block(prompt, cells))
    if blocks:
        yield section("Texts by dose", _folded(blocks))


def gate2(document: Document, records: Sequence[Record]) -> Iterator[Markup]:
    """Doses, groups, checks, and kept beside dropped texts."""
    columns = ("dose", "strength", "made", "kept", "survival [95%]", "perplexity", "distinct", "KL", "gain")
    rows = [
        (
            f"{row['dose']:g}" + (" (chosen)" if row["dose"] == document["chosen_dose"] else ""),
            number(row["strength"], ""),
            row["made"],
            row["kept"],
            f"{row['survival']:.0%} [{row['survival_low']:.0%}, {row['survival_high']:.0%}]",
            number(row["median_perplexity"], ""),
            number(row["median_distinct"], ""),
            number(row["mean_kl"], ""),
            number(row["mean_gain"], digits=3),
        )
        for row in document["doses"]
    ]
    yield section("Doses", table(columns, rows, columns), element("p", document["controller"], class_="faint"))
    shown = {"gain": "+", "d_gain": "+", "log_perplexity": "", "words": ""}
    groups = [
        (name, *(_figure(found.get(q), sign) for q, sign in shown.items()))
        for name, found in document["groups"].items()
    ]
    titles = ("gain [95%]", "less base's", "log perplexity", "words")
    yield section("Groups of texts", table(("texts", *titles), groups, titles))
    checks = [
        (
            c["name"],
            f"{c['direction']} {c['threshold']:g}",
            c["dropped"],
            c["alone"],
            f"{c['base_dropped']} of {c['base']}",
        )
        for c in document["checks"]
    ]
    counts = ("dropped", "by it alone", "of the base's")
    yield section("Checks", table(("check", "keeps", *counts), checks, counts))
    yield section("Kept and dropped", *_kept_and_dropped(records))


def _kept_and_dropped(records: Sequence[Record]) -> Iterator[Markup]:
    """Prompts with texts of both kinds first: what made the difference is plainest there."""
    steered = [text for text in texts_evidence(records) if text.completion.role in ("probe", "collected")]
    by_prompt: dict[str, list[Any]] = {}
    for text in steered:
        by_prompt.setdefault(text.completion.prompt_id, []).append(text)
    ranked = sorted(by_prompt.values(), key=lambda texts: len({text.kept for text in texts}), reverse=True)
    yield element("p", "The span that a check objects to is marked.", class_="faint")
    blocks = []
    for texts in ranked:
        cells = []
        for text in sorted(texts, key=lambda one: (not one.kept, one.completion.dose)):
            own = text.completion
            gain = "" if text.gain is None else f", gain {text.gain:+.3f}"
            said = f"dose {own.dose:g}, perplexity {own.perplexity:.1f}{gain}"
            title = "kept" if text.kept else f"dropped by {', '.join(text.dropped_by)}"
            cells.append(_text(title, _marked(text), said, dropped=not text.kept))
        blocks.append(_block(texts[0].completion.prompt, cells))
    yield _folded(blocks)


def _marked(text: Any) -> Markup:
    """A text with the first span that a check dropped it for."""
    whole = text.completion.text
    spans = [(d.start, d.stop) for d in text.decisions if not d.keep and d.start is not None and d.stop is not None]
    start, stop = min(spans, default=(0, 0))
    if not 0 <= start < stop <= len(whole):
        return joined(whole)
    return joined(whole[:start], element("mark", whole[start:stop]), whole[stop:])


def gate3(document: Document, records: Sequence[Record]) -> Iterator[Markup]:
    """Arms, what the healed one is beside the others, adapters with their epochs, and texts side by side."""
    shown = [arm for arm in document["arms"] if arm["kind"] not in ("random", "shuffled")]
    yield section("Arms", _arms(document, shown))
    rows = [(COMPARED[name], _figure(found)) for name, found in document["compared"].items()]
    yield section("The healed student", table(("healed arm", "value [95%]"), rows, ("value [95%]",)))
    yield section("Adapters", _adapters(document), *_epochs(document, records))
    yield section("Texts on held-out prompts", _side_by_side(document))


def _adapters(document: Document) -> Markup:
    titles = ("texts", "steps", "NLL", "tau", "over tau", "update", "bake KL", "cosine")
    rows = [
        (
            adapter["role"],
            f"{adapter['texts']}+{adapter['validation_texts']}",
            adapter["steps"],
            f"{number(adapter['first_nll'], '')} to {number(adapter['last_nll'], '')}",
            number(adapter["tau"], "", 3),
            DASH if adapter["over"] is None or adapter["tau"] is None else f"{adapter['over']:.0%}",
            number(adapter["update_norm"], ""),
            f"{adapter['figures']['kl_hooked_baked']:.1e}" if "kl_hooked_baked" in adapter["figures"] else DASH,
            number(adapter["figures"].get("cosine_teacher")),
        )
        for adapter in document["adapters"]
    ]
    return table(("adapter", *titles), rows, titles)


def _epochs(document: Document, records: Sequence[Record]) -> Iterator[Markup]:
    roles = {adapter["adapter_id"]: adapter["role"] for adapter in document["adapters"]}
    titles = ("epoch", "training NLL", "validation NLL", "divergence", "largest singular value")
    rows = [
        (
            roles.get(epoch.adapter_id, ""),
            epoch.epoch,
            number(epoch.train_nll, "", 3),
            number(epoch.validation_nll, "", 3),
            number(epoch.validation_divergence, "", 3),
            number(epoch.sigma_max, "", 3),
        )
        for epoch in only(HealEpoch, records)
    ]
    yield element("h3", "Training by epoch")
    yield table(("adapter", *titles), rows, titles)


def _side_by_side(document: Document) -> Markup:
    pairs: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
    for text in document["texts"]:
        pairs.setdefault((text["prompt"], text["system_prompt"]), []).append(text)
    blocks = []
    for (prompt, system), texts in sorted(pairs.items(), key=lambda pair: pair[0][1] is not None):
        ranked = sorted((t for t in texts if t["kind"] in BESIDE), key=lambda text: BESIDE.index(text["kind"]))
        cells = [_text(text["kind"], text["text"], _health(text)) for text in ranked]
        blocks.append(_block(prompt, cells, system))
    return _folded(blocks)


def gate4(document: Document, records: Sequence[Record]) -> Iterator[Markup]:
    """Where each round's student stands, what taught it, and what students wrote, side by side."""
    target = document["target"]
    titles = (
        f"d{target} [95%]",
        "from the one before [95%]",
        "coherence [95%]",
        "dCare",
        "steered",
        "coherence steered",
    )
    rows = [
        (
            f"{row['round']}" + (" (best)" if row["round"] == document["best_round"] else ""),
            _span(row, "d_target"),
            _span(row, "d_target_previous"),
            _span(row, "coherence", ""),
            number(row["d_care"]),
            number(row["steered_d_target"]),
            number(row["steered_coherence"], ""),
            row["label"] or row["stop"],
        )
        for row in document["rounds"]
    ]
    yield section("Students by round", table(("round", *titles, "label"), rows, titles))
    yield section("Ledger", _ledger(document))
    yield section("Texts by round", _by_round(document))


def _ledger(document: Document) -> Markup:
    figures = {
        "kl_base": "KL to the base",
        "kl_previous": "KL to the one before",
        "kl_excess": "excess",
        "direction_norm": "norm",
        "cosine_first": "cosine with the first",
        "cosine_teacher": "cosine of its own shift",
        "over": "share over tau",
    }
    titles = ("kept", "dose", *figures.values())
    rows = [
        (
            row["round"],
            f"{row['kept']} of {row['made']}",
            number(row["chosen_dose"], ""),
            *(number(row[name], "", 3) for name in figures),
        )
        for row in document["rounds"]
    ]
    return table(("round", *titles), rows, titles)


def _by_round(document: Document) -> Markup:
    """The base's text to each prompt, and every student's."""
    kinds = {arm["arm_id"]: arm["kind"] for arm in document["arms"]}
    pairs: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
    for text in document["texts"]:
        if kinds.get(text["arm_id"]) in ("base", "healed"):
            pairs.setdefault((text["prompt"], text["system_prompt"]), []).append(text)
    blocks = []
    for (prompt, system), texts in sorted(pairs.items(), key=lambda pair: pair[0][1] is not None):
        ranked = sorted(texts, key=lambda text: -1 if text["round"] is None else text["round"])
        named = [("base" if t["round"] is None else f"round {t['round']}", t) for t in ranked]
        blocks.append(_block(prompt, [_text(name, t["text"], _health(t)) for name, t in named], system))
    return _folded(blocks)


def _arms(document: Document, arms: Sequence[Mapping[str, Any]]) -> Markup:
    target = document["target"]
    titles = ("dose", f"d{target} [95%]", "coherence [95%]", "coherence cost", "p")
    rows = [
        (
            arm["kind"],
            f"{arm['dose']:g}" if arm["dose"] else "",
            f"{number(arm['target_nats'])} nats" if arm["kind"] == "base" else _span(arm, "d_target"),
            "1" if arm["kind"] == "base" else _span(arm, "coherence", ""),
            number(arm["coh_cost"], ""),
            number(arm["p_null"], ""),
            _largest_other(arm["shifts"], target),
        )
        for arm in arms
    ]
    return table(("arm", *titles, "largest other"), rows, titles)


def _span(arm: Mapping[str, Any], name: str, sign: str = "+") -> str:
    return interval(arm[name], arm[f"{name}_low"], arm[f"{name}_high"], sign)


def _largest_other(shifts: Mapping[str, float | None], target: str) -> str:
    others = {name: shift for name, shift in shifts.items() if name != target and shift}
    largest = max(others, key=lambda name: abs(others[name]), default=None)
    return "" if largest is None else f"{largest} {number(others[largest])}"


def _figure(found: Mapping[str, float | None] | None, sign: str = "+") -> str:
    return DASH if found is None else interval(found["value"], found["low"], found["high"], sign)


def _health(text: Mapping[str, Any]) -> str:
    return f"perplexity {text['perplexity']:.1f}, distinct {text['distinct_tail']:.2f}"


def _text(title: str, text: Child, said: str, *, dropped: bool = False) -> Markup:
    head = element("h4", title, " ", element("span", said, class_="faint"))
    return element("div", head, element("pre", text), class_="text dropped" if dropped else "text")


def _block(prompt: str, cells: Iterable[Markup], system: str | None = None) -> Markup:
    """One prompt with what was written to it."""
    before = element("p", element("b", "System: "), system, class_="faint") if system else None
    return element(
        "div", before, element("p", prompt, class_="prompt"), element("div", *cells, class_="texts"), class_="pair"
    )


def _folded(blocks: Sequence[Markup]) -> Markup:
    rest = blocks[MOST:]
    more = element("details", element("summary", f"{len(rest)} more prompts"), *rest) if rest else None
    return joined(*blocks[:MOST], more)


PARTS: Mapping[str, Callable[[Document, Sequence[Record]], Iterator[Markup]]] = {
    "gate1": gate1,
    "gate2": gate2,
    "gate3": gate3,
    "gate4": gate4,
}
"""By gate; one that is not here has the common parts."""
