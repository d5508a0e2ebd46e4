"""What gate 2's document, table and picture say, of planted texts; no model is needed."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from planted_gate2 import RUN, World, each_text, rewritten

from steerkit.commands._gate2_output import _lines, show
from steerkit.document_gate2 import document_gate2
from steerkit.evidence import Gate2Evidence
from steerkit.gates import gate2_filter
from steerkit.pictures.gates import survival
from steerkit.pictures.look import save
from steerkit.records import ControllerStep, Effect, FilterSet, Record, Run, TextGain, Unit, Verdict
from steerkit.spec import Gate2Spec, canonical

MARKUP = "[bold]loud[/bold] <script>alert(1)</script> {{ x }}"
LONG = "an-organisation/a-model-with-a-name-that-goes-on-and-on-instruct"
STARVED = ControllerStep(
    **RUN,
    number=0,
    phase="choose",
    dose=0.125,
    made=0,
    survived=0,
    kept=0,
    note="0 of 144 texts survived: starved; try --set control.ladder=0.03125,0.0625,0.125",
)
CONFIG = gate2_filter.Config(resamples=200)


def records(evidence: Gate2Evidence, model: str = "tiny", extra: Sequence[Record] = ()) -> list[Record]:
    """A run's records with this evidence, judged."""
    spec = Gate2Spec(
        parent_run="0123456789abcdef",
        method="svd",
        trait=evidence.trait,
        target=evidence.target,
        persona_pair={},
        model=model,
        fingerprint="f",
        dtype="float32",
        seed=evidence.seed,
        prompts_hash="p",
        operating_dose=evidence.operating_dose,
        filters={},
    )
    run = Run(
        **RUN,
        gate="gate2",
        method="svd",
        trait=evidence.trait,
        model=model,
        fingerprint="f",
        dtype="float32",
        device="cpu",
        seed=evidence.seed,
        spec=canonical(spec),
        request="q",
        thresholds="{}",
        thresholds_hash="t",
        version="0",
        registered_at="2026-01-01T00:00:00Z",
        parent_run=spec.parent_run,
    )
    texts = [*evidence.base, *evidence.probes, *evidence.collected, *evidence.random]
    judged = gate2_filter.judge(evidence, CONFIG)
    names = {kind: set(kind.__struct_fields__) - {"run_id", "unit_id", "gate"} for kind in (Effect, Verdict)}
    return [
        run,
        Unit(**RUN, stage="write", name="base", seconds=1.25),
        *(text.completion for text in texts),
        FilterSet(**RUN, filter_id="f", seq=0, thresholds="{}"),
        *(decision for text in texts for decision in text.decisions),
        *(
            TextGain(**RUN, completion_id=t.completion.completion_id, strength=2.0, gain=float(t.gain), tokens=80)
            for t in texts
            if t.gain is not None
        ),
        *evidence.controller,
        *(Effect(**RUN, **{name: getattr(e, name) for name in names[Effect]}) for e in judged.effects),
        *(Verdict(**RUN, gate="gate2", **{name: getattr(v, name) for name in names[Verdict]}) for v in judged.verdicts),
        *extra,
    ]


def drawn_up(evidence: Gate2Evidence, **options: Any) -> dict[str, Any]:
    return document_gate2(records(evidence, **options), "steerkit.duckdb", ["pictures/one.png"])


def all_dropped(evidence: Gate2Evidence) -> Gate2Evidence:
    """The evidence of a run in which no steered text survived, as the controller would have left it."""

    def drop(text: Any) -> Any:
        first, *others = text.decisions
        return replace(text, decisions=(msgspec.structs.replace(first, keep=False), *others))

    starved = replace(evidence, collected=(), controller=(STARVED,))
    return replace(starved, probes=tuple(map(drop, starved.probes)))


@pytest.fixture(scope="module")
def healthy() -> Gate2Evidence:
    return World().build()


@pytest.fixture(scope="module")
def starved(healthy: Gate2Evidence) -> Gate2Evidence:
    return all_dropped(healthy)


def lines(document: dict[str, Any]) -> list[str]:
    return "\n".join(_lines(document)).splitlines()


@pytest.mark.parametrize("model", ["tiny", LONG])
@pytest.mark.parametrize("kind", ["healthy", "starved"])
def test_the_text_fits_100_columns(kind: str, model: str, request: pytest.FixtureRequest) -> None:
    told = lines(drawn_up(request.getfixturevalue(kind), model=model))
    assert not [line for line in told if len(line) > 100 and not line.startswith(("picture", "store"))]


def test_the_text_says_verdict_doses_and_checks(healthy: Gate2Evidence) -> None:
    document = drawn_up(healthy)
    told = lines(document)
    assert document["verdict"] == "PASS" and told[0] == "Gate 2: PASS   svd on tiny, trait planted"
    table = [line.split() for line in told if re.match(r"[\d.]+( \*)? +\d+\.\d\d ", line)]
    assert [row[0] for row in table] == ["0.25", "0.5", "0.6", "0.75", "0.8", "1", "1.5", "2"]
    assert [row[0] for row in table if row[1] == "*"] == ["1"]
    text = " ".join(" ".join(told).split())
    assert "* the dose chosen: planted" in text
    assert re.search(r"perplexity at most 15 \d+ \d+ \d+ of 48", text)
    assert "nothing dropped by: " in text and "identity" in text
    assert all(f" {name} " in text for name in ("kept", "dropped", "base", "random"))
    assert text.count("+ ") >= len(document["criteria"])
    assert not [line for line in told if line.startswith("next ")], "after a PASS there is nothing to mend"
    assert "from gate 1's 0123456789abcdef" in text and "steerkit borderline planted" in text


def test_a_starved_run_says_what_to_try_next(starved: Gate2Evidence) -> None:
    document = drawn_up(starved)
    assert (document["verdict"], document["chosen_dose"], document["kept"]) == ("INCONCLUSIVE", None, 0)
    told = lines(document)
    assert told[0].startswith("Gate 2: INCONCLUSIVE")
    text = " ".join(" ".join(told).split())
    assert "* no dose was chosen: 0 of 144 texts survived: starved; try --set control.ladder=0.03125" in text
    assert not [line for line in told if re.match(r"[\d.]+ \*", line)]
    assert "next nothing survives at dose 0.25 or above: probe dose 0.125 next" in text
    ways = "\n".join(told).partition("Known ways to fail")[2]
    marks = re.findall(r"^([!?.]) ", ways, re.MULTILINE)
    assert marks == sorted(marks, key="!?.".index) and marks[0] == "!", "what was observed comes first"


def test_each_dose_is_counted_with_its_interval(healthy: Gate2Evidence) -> None:
    document = drawn_up(healthy)
    steered = [*healthy.probes, *healthy.collected]
    for row in document["doses"]:
        there = [text for text in steered if text.completion.dose == row["dose"]]
        assert (row["made"], row["kept"]) == (len(there), sum(text.kept for text in there))
        assert (row["survival_low"], row["survival_high"]) == pytest.approx(wilson(row["kept"], row["made"]))
        assert row["mean_kl"] == pytest.approx(0.1 * row["dose"]) and row["strength"] == 2 * row["dose"]
        middle = sorted(text.completion.perplexity for text in there)
        assert middle[len(there) // 2 - 1] <= row["median_perplexity"] <= middle[len(there) // 2]
    assert document["made"] == len(steered) and document["kept"] == sum(text.kept for text in steered)


def wilson(count: int, of: int) -> tuple[float, float]:
    """The 95% score interval of a share, as Wilson wrote it."""
    z, share = 1.959963984540054, count / of
    middle = (share + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * math.sqrt(share * (1 - share) / of + z**2 / (4 * of**2))
    return middle - half, middle + half


def test_a_check_is_alone_where_nothing_else_drops_the_text(healthy: Gate2Evidence) -> None:
    """Every text of dose 2 also loops: there perplexity is never the only reason."""

    def looping(text: Any) -> Any:
        own = [d if d.name != "loops" else msgspec.structs.replace(d, keep=False) for d in text.decisions]
        return replace(text, decisions=tuple(own)) if text.completion.dose == 2.0 else text

    plain = {check["name"]: check for check in drawn_up(healthy)["checks"]}
    looped = {check["name"]: check for check in drawn_up(each_text(healthy, looping))["checks"]}
    at_two = sum("perplexity" in text.dropped_by for text in healthy.probes if text.completion.dose == 2.0)
    assert at_two and plain["loops"]["dropped"] == 0 and plain["perplexity"]["alone"] == plain["perplexity"]["dropped"]
    assert looped["loops"]["dropped"] == 24 and looped["loops"]["alone"] == 24 - at_two
    assert looped["perplexity"]["dropped"] == plain["perplexity"]["dropped"]
    assert looped["perplexity"]["alone"] == plain["perplexity"]["alone"] - at_two


def test_the_newest_round_of_decisions_counts(healthy: Gate2Evidence) -> None:
    """A later round with other thresholds, here one that keeps everything, replaces the run's own."""
    steered = [*healthy.probes, *healthy.collected, *healthy.base]
    later = [
        msgspec.structs.replace(decision, filter_id="later", keep=True)
        for text in steered
        for decision in text.decisions
    ]
    first, second = drawn_up(healthy), drawn_up(healthy, extra=[filter_set("later", 1), *later])
    assert first["kept"] < second["kept"] == second["made"]
    assert not any(check["dropped"] for check in second["checks"])
    assert not [line for line in lines(second) if len(line) > 100]


def filter_set(name: str, seq: int) -> FilterSet:
    return FilterSet(**RUN, filter_id=name, seq=seq, thresholds="{}")


def broken(text: Any) -> Any:
    """The strongest dose says nothing."""
    return wordless(text) if text.completion.dose == 2.0 else text


def wordless(text: Any) -> Any:
    """A text of no token, so of no divergence and of infinite perplexity."""
    nothing = {"text": "", "tokens": 0, "token_kl": [], "token_nll": [], "perplexity": math.inf}
    return replace(rewritten(text, **nothing, tail_perplexity=math.inf), gain=None)


def test_texts_without_a_word_are_counted_and_told_in_valid_json(
    healthy: Gate2Evidence, capsys: pytest.CaptureFixture[str]
) -> None:
    document = drawn_up(each_text(healthy, broken))
    show(document, as_json=True)
    back = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    strongest = back["doses"][-1]
    assert (strongest["dose"], strongest["made"]) == (2.0, 24)
    assert strongest["median_perplexity"] is None and strongest["mean_gain"] is None and strongest["mean_kl"] == 0
    assert all(text["gain"] is None and text["text"] == "" for text in back["texts"] if text["dose"] == 2.0)
    assert not [line for line in lines(document) if len(line) > 100]


def test_names_with_markup_stay_text(healthy: Gate2Evidence, tmp_path: Path) -> None:
    document = drawn_up(each_text(healthy, lambda text: rewritten(text, text=MARKUP)), model=MARKUP)
    assert document["texts"][0]["text"] == MARKUP
    assert MARKUP in " ".join(" ".join(lines(document)).split())
    _, svg = save(survival(document), tmp_path, "one")
    assert "<script>" not in svg.read_text()


def shares(svg: str) -> dict[float, float]:
    """Dose to kept share, as the picture's points are labelled."""
    labels = [label for label in re.findall(r'aria-label="([^"]*)"', svg) if "kept (fraction)" in label]
    read = [re.search(r"^dose[^;]*?: ([\d.]+); kept \(fraction\): ([\d.]+)$", label) for label in labels]
    return {float(found[1]): float(found[2]) for found in read if found}


def test_the_picture_shows_every_dose_and_the_chosen_one(healthy: Gate2Evidence, tmp_path: Path) -> None:
    document = drawn_up(healthy)
    png, svg = save(survival(document), tmp_path / "pictures", "one")
    assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and png.stat().st_size > 5000
    drawn = svg.read_text()
    assert drawn.startswith("<svg") and "Gate 2: PASS" in drawn and f"{document['kept']} of {document['made']}" in drawn
    assert shares(drawn) == pytest.approx({row["dose"]: row["survival"] for row in document["doses"]}, abs=1e-6)


@pytest.mark.parametrize("kind", ["starved", "one dose wordless", "all wordless"])
def test_a_picture_of_hardly_anything_is_drawn(
    kind: str, healthy: Gate2Evidence, starved: Gate2Evidence, tmp_path: Path
) -> None:
    evidence = {
        "starved": starved,
        "one dose wordless": each_text(healthy, broken),
        "all wordless": each_text(starved, wordless),
    }[kind]
    document = drawn_up(evidence)
    paths = save(survival(document), tmp_path, kind)
    assert all(path.stat().st_size > 500 for path in paths)
    drawn = paths[1].read_text()
    assert "NaN" not in drawn and "Infinity" not in drawn
    assert set(shares(drawn)) == {row["dose"] for row in document["doses"]}, "a dose that broke is the point of it"
