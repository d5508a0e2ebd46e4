"""What tests ask of any gate's judgement."""

from typing import Any


def status(judgement: Any, name: str) -> str:
    return next(result.status for result in judgement.verdicts if result.name == name)


def named(judgement: Any, kind: str, wanted: str) -> set[str]:
    return {result.name for result in judgement.verdicts if result.kind == kind and result.status == wanted}


def assert_whole(judgement: Any, gate: str, checks: int, criteria: set[str], hypotheses: set[str]) -> None:
    """Every criterion and hypothesis is there once and in words, and the gate's own verdict comes last."""
    names = [(result.kind, result.name) for result in judgement.verdicts]
    assert names[-1] == ("gate", gate) and judgement.verdicts[-1].status == judgement.outcome
    assert len(names) - 1 == checks == len(set(names[:-1]))
    assert {name for kind, name in names if kind == "criterion"} == criteria
    assert {name for kind, name in names if kind == "hypothesis"} == hypotheses
    assert all(result.detail and result.next_step for result in judgement.verdicts)
