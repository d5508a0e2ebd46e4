"""Decide an old run's texts anew with other thresholds, without a model.

`steerkit refilter 3f2a --set perplexity=80 --set "loops>=0.5"`. The decisions are added to the store; the newest count.
"""

import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from steerkit.commands._output import echo_json, echo_table
from steerkit.errors import UsageError
from steerkit.options import common, json_option

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from steerkit.commands._texts import StoredTexts
    from steerkit.records import FilterDecision


@click.command("refilter", help=__doc__)
@click.argument("run")
@click.option("--set", "settings", multiple=True, required=True, metavar="CHECK=VALUE", help="A threshold; repeatable.")
@json_option
@common("store")
def command(run: str, settings: tuple[str, ...], as_json: bool, store: Path) -> None:
    """Store the new decisions, and say what they change."""
    from steerkit.commands._texts import stored_texts
    from steerkit.stages.filter import parse, thresholds

    given = parse(settings)
    chosen = thresholds(given)
    found = stored_texts(store, run)
    old = [decision for text in found.texts for decision in text.decisions]
    before = {decision.name: decision.threshold for decision in old}
    after = before | {name: chosen[name] for name in given}
    _need_checks(found.run, before, chosen)
    new = _decided(found, after) if after != before else old
    _show(found, old, new, as_json)


def _need_checks(run: str, before: "Mapping[str, float]", known: "Mapping[str, float]") -> None:
    """Without one of its checks a run would keep what that check dropped, and nobody would have decided so."""
    if gone := sorted(before.keys() - known.keys()):
        raise UsageError(
            f"every check that decided on run {run} must be installed, but {', '.join(gone)} is not; install the "
            "plugin that it came from"
        )


def _decided(found: "StoredTexts", thresholds: "Mapping[str, float]") -> "list[FilterDecision]":
    """Another round of decisions over all texts of the run, stored."""
    from steerkit.records import Completion, FilterSet
    from steerkit.spec import canonical, digest, unit_id
    from steerkit.stages.assemble import only
    from steerkit.stages.filter import behind, decide

    # The moment is part of the id: going back to earlier thresholds is another round of decisions.
    seq = time.time_ns()
    filter_id = digest(found.run, thresholds, seq)
    unit = unit_id(found.run, "refilter", filter_id)
    texts = only(Completion, found.records)
    decisions = decide(texts, behind(texts, found.spec), thresholds, run=found.run, unit=unit, filter_id=filter_id)
    newest = FilterSet(run_id=found.run, unit_id=unit, filter_id=filter_id, seq=seq, thresholds=canonical(thresholds))
    found.store.append([newest, *decisions])
    found.store.ingest()
    return decisions


def _show(found: "StoredTexts", old: "list[FilterDecision]", new: "list[FilterDecision]", as_json: bool) -> None:
    first, second = _dropped(found, old), _dropped(found, new)
    limits = {d.name: d.threshold for d in old}, {d.name: d.threshold for d in new}
    rows: list[dict[str, Any]] = [
        {
            "check": name,
            "threshold": limits[0].get(name),
            "now": limits[1][name],
            "dropped": len(first[name]),
            "now dropped": len(second[name]),
        }
        for name in sorted(limits[1])
    ]
    texts, changed = len(found.steered()), new is not old
    kept = [texts - len(set[str]().union(*dropped.values())) for dropped in (first, second)]
    if as_json:
        same = {"run_id": found.run, "filter_id": new[0].filter_id, "changed": changed, "texts": texts}
        echo_json({**same, "kept_before": kept[0], "kept_after": kept[1], "checks": rows})
        return
    echo_table(rows, ("check", "threshold", "now", "dropped", "now dropped"))
    click.echo(f"kept {kept[0]} of {texts} steered texts before, {kept[1]} now")
    if not changed:
        click.echo("these are the thresholds in force already; nothing was stored")


def _dropped(found: "StoredTexts", decisions: "Iterable[FilterDecision]") -> defaultdict[str, set[str]]:
    """The steered texts that each check drops."""
    steered = {text.completion.completion_id for text in found.steered()}
    dropped = defaultdict[str, set[str]](set)
    for decision in decisions:
        if decision.completion_id in steered and not decision.keep:
            dropped[decision.name].add(decision.completion_id)
    return dropped
