"""`lineage` and `why` on a planted chain of two rounds: every artefact knows its origins and what came of it."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from store_child import plain

from steerkit.cli import main
from steerkit.errors import UsageError
from steerkit.lineage import Node, chain
from steerkit.provenance import why
from steerkit.records import (
    Adapter,
    Arm,
    Completion,
    Direction,
    Effect,
    FilterDecision,
    FilterSet,
    HealText,
    Picture,
    Record,
    Run,
    Unit,
    Verdict,
)
from steerkit.store import Store

SHA = "5ea1" * 16
HOSTILE = "authority\x1b[31m [bold]\u202e"
ROUNDS = (("g1-first", "g2-first", "g3-first"), ("h1-second", "h2-second", "h3-second"))


def gates(names: tuple[str, str, str], number: int) -> list[Record]:
    """One round: a direction, two kept texts and a dropped one, an adapter trained on the kept ones, and its arm."""
    first, second, third = names
    history = [f"adapter{i}" for i in range(number)]
    base = {"method": "svd", "trait": HOSTILE, "model": "tiny"}
    one = {"target": "Authority", "history": history} | ({"root_run": ROUNDS[0][0]} if number else {})
    three = {"target": "Authority", "gate1_run": first, "filter_id": f"filter{number}", "round": number}
    root = ROUNDS[0][0] if number else None
    steered = {"kind": "steered", "dose": 1.0, "direction_id": f"direction{number}"}
    student = {"kind": "healed", "adapter_id": f"adapter{number}"}
    records: list[Record] = [
        plain(Run, run_id=first, gate="gate1", spec=json.dumps(one), parent_run=root, **base),
        plain(Direction, run_id=first, unit_id=f"fit{number}", direction_id=f"direction{number}", artifact=SHA),
        plain(Unit, run_id=first, unit_id=f"fit{number}", stage="fit", name="svd", seconds=2.5),
        plain(Arm, run_id=first, unit_id=f"score{number}", arm_id=f"steered{number}", **steered),
        plain(Unit, run_id=first, unit_id=f"score{number}", stage="score"),
        plain(Run, run_id=second, gate="gate2", spec=json.dumps({"history": history}), parent_run=first, **base),
        plain(Unit, run_id=second, unit_id=f"write{number}", stage="write"),
        plain(Unit, run_id=second, unit_id=f"decide{number}", stage="filter"),
        plain(FilterSet, run_id=second, unit_id=f"decide{number}", filter_id=f"filter{number}"),
        plain(
            Run, run_id=third, gate="gate3", spec=json.dumps(three | {"history": history}), parent_run=second, **base
        ),
        plain(Verdict, run_id=third, kind="gate", status="PASS"),
        plain(Verdict, run_id=third, kind="label", status="HEALED"),
        plain(Unit, run_id=third, unit_id=f"heal{number}", stage="heal", name="healed", seconds=60.0),
        plain(Unit, run_id=third, unit_id=f"adopt{number}", stage="adopt"),
        plain(
            Adapter,
            run_id=third,
            unit_id=f"heal{number}",
            adapter_id=f"adapter{number}",
            artifact=f"{number}" + SHA[1:],
            history=history,
            round=number,
        ),
        plain(Arm, run_id=third, unit_id=f"adopt{number}", arm_id=f"adopted{number}", **steered),
        plain(Arm, run_id=third, unit_id=f"heal{number}", arm_id=f"student{number}", **student),
        plain(Effect, run_id=third, arm_id=f"student{number}", quantity="d_target", value=-0.5, low=-0.6, high=-0.4),
        plain(Effect, run_id=third, arm_id=f"student{number}", quantity="coherence", value=0.98, low=0.97, high=0.99),
    ]
    for name, kept in (("a", True), ("b", True), ("c", False)):
        text = f"text{number}{name}"
        made = {"direction_id": f"direction{number}", "role": "collected", "dose": 0.5, "text": "one\x1b[2Jtwo"}
        records.append(plain(Completion, run_id=second, unit_id=f"write{number}", completion_id=text, **made))
        said = {"filter_id": f"filter{number}", "completion_id": text, "name": "loops", "keep": kept}
        records.append(plain(FilterDecision, run_id=second, unit_id=f"decide{number}", **said))
        if kept:
            records.append(plain(HealText, run_id=third, adapter_id=f"adapter{number}", completion_id=text))
    return records


def records() -> list[Record]:
    """Two rounds, and a run of another chain."""
    alone = plain(Run, run_id="alone", gate="gate1", method="svd", trait="x", model="tiny")
    picture = plain(Picture, run_id="g1-first", name="one.png", sha256="91c7" * 16)
    return [*gates(ROUNDS[0], 0), *gates(ROUNDS[1], 1), alone, picture]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("chain") / "runs.duckdb")
    made.append(records())
    made.ingest()
    return made


def below(nodes: list[Node], depth: int = 0) -> list[tuple[int, str, str, str]]:
    """The tree as (depth, relation, kind, ids)."""
    return [
        row
        for node in nodes
        for row in ((depth, node.relation, node.kind, " ".join(node.ids)), *below(node.children, depth + 1))
    ]


@pytest.mark.parametrize("run", [name for names in ROUNDS for name in names])
def test_every_run_of_a_chain_shows_it_whole(store: Store, run: str) -> None:
    found = chain(store, run[:4])
    assert found["run_id"] == run
    first, second = found["rounds"]
    assert (first["round"], second["round"]) == (0, 1)
    assert below(first["runs"]) == [
        (0, "", "run", "g1-first"),
        (1, "", "direction", "direction0"),
        (2, "", "arm", "steered0"),
        (1, "", "run", "g2-first"),
        (2, "", "texts", ""),
        (2, "", "run", "g3-first"),
        (3, "", "adapter", "adapter0"),
        (4, "", "arm", "student0"),
        (3, "", "arms", "adopted0"),
    ]
    assert [row for row in below(second["runs"]) if row[2] == "run"] == [
        (0, "", "run", "h1-second"),
        (1, "", "run", "h2-second"),
        (2, "", "run", "h3-second"),
    ]


def test_a_run_alone_is_a_chain(store: Store) -> None:
    assert below(chain(store, "alone")["rounds"][0]["runs"]) == [(0, "", "run", "alone")]


def test_texts_are_counted_with_their_dose(store: Store) -> None:
    (run,) = chain(store, "g2")["rounds"][0]["runs"]
    gate2 = next(node for node in run.children if node.kind == "run")
    (texts,) = [node for node in gate2.children if node.kind == "texts"]
    assert texts.label == "collected: 3 made, 2 kept, dose 0.5, along direction0"
    assert (texts.facts["made"], texts.facts["kept"], texts.facts["filter_id"]) == (3, 2, "filter0")


def test_an_adapter_knows_its_texts_its_unit_and_the_adapters_below_it(store: Store) -> None:
    found = why(store, "adapter1")
    up = below(found["made_from"])
    assert {(relation, kind, ids) for depth, relation, kind, ids in up if depth == 0} == {
        ("trained on", "completion", "text1a"),
        ("trained on", "completion", "text1b"),
        ("on top of", "adapter", "adapter0"),
        ("made by", "unit", "heal1"),
    }
    reached = {ids for _, _, _, ids in up}
    assert {"direction1", "fit1", "h3-second", "g1-first", "text0a", "direction0"} <= reached, "up to the root"
    assert "text1c" not in reached, "a text that was dropped trained nothing"
    assert below(found["made"]) == [(0, "is baked into", "arm", "student1")]
    heal = next(node for node in found["made_from"] if node.kind == "unit")
    assert heal.label == "heal healed, 60.0 s"


def test_what_hangs_in_two_places_is_opened_once(store: Store) -> None:
    up = why(store, "adapter0")["made_from"]
    first, second = [node for node in up if node.relation == "trained on"]
    assert first.children[0].ids == second.children[0].ids == ["direction0"]
    assert first.children[0].children and not second.children[0].children and second.children[0].shown_above


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("text0a", {"adapter0", "student0", "filter0", "g3-first"}),
        ("direction0", {"steered0", "adopted0", "text0a", "text0b", "text0c", "adapter0", "student0"}),
        ("g1-first", {"g2-first", "g3-first", "h1-second", "h3-second", "direction0", "fit0", "91c7" * 16}),
        ("filter0", {"g3-first"}),
        ("heal0", {"adapter0", "student0", "h1-second"}),
        ("steered0", {"adopted0"}),
        ("text0c", {"filter0"}),
    ],
)
def test_what_was_made_from_it(store: Store, name: str, expected: set[str]) -> None:
    found = {name for _, _, _, ids in below(why(store, name)["made"]) for name in ids.split()}
    assert expected <= found


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("0ea1", "artifact", {"adapter0", "text0a", "direction0", "g1-first"}),
        ("91c7", "picture", {"g1-first"}),
        ("adopted0", "arm", {"steered0", "direction0", "fit0"}),
        ("filter0", "filter", {"text0a", "text0c", "decide0", "g2-first"}),
        ("h1-", "run", {"g1-first", "adapter0", "text0a"}),
        ("fit0", "unit", {"g1-first"}),
    ],
)
def test_what_it_was_made_from(store: Store, name: str, kind: str, expected: set[str]) -> None:
    found = why(store, name)
    assert found["kind"] == kind and found["facts"]
    assert expected <= {name for _, _, _, ids in below(found["made_from"]) for name in ids.split()}


def test_an_ambiguous_beginning_lists_what_fits(store: Store) -> None:
    with pytest.raises(UsageError, match=r"'adapter' begins 2; .* adapter0 \(adapter\), adapter1 \(adapter\)"):
        why(store, "adapter")
    with pytest.raises(UsageError, match=r"'nothing' begins none"):
        why(store, "nothing")
    with pytest.raises(UsageError, match="empty"):
        why(store, "")


def asked(capsys: pytest.CaptureFixture[str], store: Store, *arguments: str) -> tuple[int, str]:
    code = main([*arguments, "--store", str(store.path)])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("arguments", [("lineage", "h3"), ("why", "adapter1"), ("why", "text0a"), ("why", "g1-")])
def test_lines_fit_and_command_no_terminal(
    store: Store, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, out = asked(capsys, store, *arguments)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    assert not re.search("[\x1b\u202e]", out)
    assert "HEALED" in out if arguments[0] == "lineage" else arguments[1] in out


def test_the_run_that_was_asked_about_is_starred(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    _, out = asked(capsys, store, "lineage", "h3")
    assert out.count("*") == 1
    assert re.search(r"run h3-second gate3 PASS HEALED (?:(?!run)[^*])*\*", out)


def test_json_is_one_document(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = asked(capsys, store, "lineage", "g1-", "--json")
    document: dict[str, Any] = json.loads(out)
    assert code == 0 and [part["round"] for part in document["rounds"]] == [0, 1]
    assert document["rounds"][0]["runs"][0]["children"][0]["artifact"] == SHA
    code, out = asked(capsys, store, "why", "adapter1", "--json")
    assert code == 0 and json.loads(out)["made"][0]["relation"] == "is baked into"


@pytest.mark.parametrize("arguments", [("why", "adapter"), ("why", "zzz"), ("lineage", "zzz"), ("lineage", "")])
def test_what_is_not_one_thing_is_a_usage_error(
    store: Store, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert asked(capsys, store, *arguments)[0] == 2


def test_a_store_of_many_texts_answers_at_once(tmp_path: Path) -> None:
    made = Store(tmp_path / "runs.duckdb")
    texts = [plain(Completion, run_id="g2-first", completion_id=f"many{i}", role="collected") for i in range(2000)]
    said = [
        plain(FilterDecision, run_id="g2-first", filter_id="filter0", completion_id=one.completion_id, name=f"check{n}")
        for one in texts
        for n in range(5)
    ]
    made.append([*gates(ROUNDS[0], 0), *texts, *said])
    made.ingest()
    start = time.perf_counter()
    why(made, "filter0")
    chain(made, "g1-")
    assert time.perf_counter() - start < 5.0
