"""Decide an old run's texts anew with other thresholds, without a model.

`steerkit refilter 3f2a --set perplexity=80 --set "loops>=0.5"`. The decisions are added to the store; the newest count.
"""

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from steerkit.commands._output import echo_json, echo_table
from steerkit.options import common, json_option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steerkit.records import FilterDecision


@click.command("refilter", help=__doc__)
@click.argument("run")
@click.option("--set", "settings", multiple=True, required=True, metavar="CHECK=VALUE", help="A threshold; repeatable.")
@json_option
@common("store")
def command(run: str, settings: tuple[str, ...], as_json: bool, store: Path) -> None:
    """Store the new decisions, and say what they change."""
    from steerkit.commands._texts import stored_texts
    from steerkit.records import Completion, FilterSet
    from steerkit.spec import canonical, digest, unit_id
    from steerkit.stages.assemble import only
    from steerkit.stages.filter import behind, decide, parse, thresholds

    given = parse(settings)
    found = stored_texts(store, run)
    before = {d.name: d.threshold for text in found.texts for d in text.decisions}
    after = {**before, **{name: thresholds(given)[name] for name in given}}
    # The moment is part of the id: going back to earlier thresholds is another round of decisions.
    seq = time.time_ns()
    filter_id = digest(found.run, after, seq)
    unit = unit_id(found.run, "refilter", filter_id)
    texts = only(Completion, found.records)
    background = behind(texts, found.spec)
    decisions = decide(texts, background, after, run=found.run, unit=unit, filter_id=filter_id)
    changed = after != before
    if changed:
        newest = FilterSet(run_id=found.run, unit_id=unit, filter_id=filter_id, seq=seq, thresholds=canonical(after))
        found.store.append([newest, *decisions])
        found.store.ingest()
    steered = {text.completion.completion_id for text in found.steered()}
    old = [d for text in found.steered() for d in text.decisions]
    new = [d for d in decisions if d.completion_id in steered]
    _show(found.run, filter_id, changed, old, new, len(steered), as_json)


def _show(
    run: str,
    filter_id: str,
    changed: bool,
    old: "list[FilterDecision]",
    new: "list[FilterDecision]",
    texts: int,
    as_json: bool,
) -> None:
    first, second = _dropped(old), _dropped(new)
    limits = {d.name: d.threshold for d in old}, {d.name: d.threshold for d in new}
    rows: list[dict[str, Any]] = [
        {
            "check": name,
            "threshold": limits[0].get(name),
            "now": limits[1][name],
            "dropped": first[name],
            "now dropped": second[name],
        }
        for name in sorted(limits[1])
    ]
    kept = [texts - len({d.completion_id for d in found if not d.keep}) for found in (old, new)]
    if as_json:
        same = {"run_id": run, "filter_id": filter_id, "changed": changed, "texts": texts}
        echo_json({**same, "kept_before": kept[0], "kept_after": kept[1], "checks": rows})
        return
    echo_table(rows, ("check", "threshold", "now", "dropped", "now dropped"))
    click.echo(f"kept {kept[0]} of {texts} steered texts before, {kept[1]} now")
    if not changed:
        click.echo("these are the thresholds in force already; nothing was stored")


def _dropped(decisions: "Iterable[FilterDecision]") -> Counter[str]:
    return Counter(decision.name for decision in decisions if not decision.keep)
