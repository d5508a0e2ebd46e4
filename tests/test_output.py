import json
import math
import random
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from steerkit.commands._gate1_output import _lines
from steerkit.document import document
from steerkit.pictures.gates import pareto
from steerkit.pictures.look import save
from steerkit.pictures.pareto import front
from steerkit.records import Arm, Calibration, Completion, Effect, Record, Run, Unit, Verdict
from steerkit.spec import RunSpec

MARKUP = "[bold]loud[/bold] <script>alert(1)</script> {{ x }}"
ARMS = [
    ("base", 0.0),
    ("steered", -0.5),
    ("steered", 0.5),
    ("steered", 1.0),
    ("steered", 2.0),
    ("prompt", 0.0),
    ("random", 1.0),
    ("random", 1.0),
    ("shuffled", 1.0),
]


def records(sign: int = 1, model: str = "tiny", undefined: float | None = math.nan) -> list[Record]:
    spec = RunSpec(
        gate="gate1",
        method="svd",
        trait="authority",
        persona="p",
        target="Authority",
        sign=sign,
        model=model,
        fingerprint="f",
        dtype="float32",
        seed=0,
        instrument="fewshot",
        instrument_text="",
        vignettes_hash="v",
    )
    own = {"run_id": "run", "unit_id": "unit"}
    made: list[Record] = [
        Run(
            **own,
            gate="gate1",
            method="svd",
            trait="authority",
            model=model,
            fingerprint="f",
            dtype="float32",
            device="cpu",
            seed=0,
            spec=msgspec.json.encode(spec).decode(),
            request="q",
            thresholds="{}",
            thresholds_hash="t",
            version="0",
            registered_at="2026-01-01T00:00:00Z",
        ),
        Unit(**own, stage="score", name="base", seconds=1.25),
        Calibration(**own, direction_id="d", target=1.0, strength=1.4, status="calibrated"),
    ]
    for number, (kind, dose) in enumerate(ARMS):
        arm = f"{kind}-{number}"
        made.append(
            Arm(
                **own,
                arm_id=arm,
                kind=kind,  # type: ignore[arg-type]
                method="none" if kind in ("base", "prompt") else "svd",
                direction_id=None,
                strength=1.4 * dose,
                dose=dose,
                eval_hash="e",
                instrument="fewshot",
                system_prompt=None,
            )
        )
        gain = 0.4 * dose if kind == "steered" else 0.02 * number
        quantities: dict[str, float | None] = {
            "d_target": gain,
            "d_auth": gain,
            "coherence": 1 - 0.04 * abs(dose),
            "target_nats": -1.0 + gain,
            "coh_cost": undefined,
            "d_care": -0.1,
            "d_social_norms": 0.3,
        }
        made += [
            Effect(**own, arm_id=arm, quantity=q, value=v, low=v and v - 0.05, high=v and v + 0.05, p_null=None)
            for q, v in quantities.items()
        ]
    long = "the shift of the target is compared with every null direction at the same dose " * 3
    made += [
        Verdict(
            **own,
            gate="gate1",
            name=name,
            kind=kind,  # type: ignore[arg-type]
            status=status,
            value=value,
            threshold=0.3,
            detail=long + MARKUP,
            next_step="raise dose.target, or choose another method " * 4,
        )
        for name, kind, status, value in (
            ("gate1", "gate", "FAIL", None),
            ("separation", "criterion", "met", 0.8),
            ("specificity", "criterion", "not met", 0.1),
            ("nulls", "criterion", "not measured", None),
            ("looping", "hypothesis", "observed", 0.2),
            ("tail", "hypothesis", "not observed", 0.0),
            ("format", "hypothesis", "not measured", None),
        )
    ]
    made.append(
        Completion(
            **own,
            completion_id="c",
            arm_id="steered-3",
            direction_id="d",
            strength=1.4,
            dose=1.0,
            prompt_id="one",
            prompt="What now?",
            text=MARKUP,
            tokens=3,
            ended=True,
            token_kl=[0.1],
            perplexity=math.inf,
            tail_perplexity=2.0,
            distinct_tail=1.0,
            compression=1.0,
        )
    )
    return made


def drawn_up(**options: Any) -> dict[str, Any]:
    return document(records(**options), "steerkit.duckdb", ["pictures/one.png"])


@pytest.mark.parametrize("model", ["tiny", "an-organisation/a-model-with-a-name-that-goes-on-and-on-instruct"])
def test_the_table_fits_100_columns(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = "\n".join(_lines(drawn_up(model=model, undefined=None))).splitlines()
    too_long = [line for line in lines if len(line) > 100 and not line.startswith(("picture", "store"))]
    assert not too_long
    text = "\n".join(lines)
    assert text.startswith("Gate 1: FAIL") and "random x2" in text and "shuffled x1" in text
    assert text.count("next:") == 3
    marks = re.findall(r"^([!.?]) (looping|tail|format)", text, re.MULTILINE)
    assert marks == [("!", "looping"), ("?", "format"), (".", "tail")]


def test_model_text_with_markup_stays_text() -> None:
    assert drawn_up()["texts"][0]["text"] == MARKUP
    said = " ".join("\n".join(_lines(drawn_up(undefined=None))).split())
    assert said.count(MARKUP) == 7


def test_the_document_is_valid_json_and_undefined_numbers_are_null() -> None:
    text = msgspec.json.encode(drawn_up()).decode()
    back = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert all(arm["coh_cost"] is None for arm in back["arms"])
    assert back["texts"][0]["perplexity"] is None
    assert back["verdict"] == "FAIL" and back["seconds"] == 1.25 and back["pictures"] == ["pictures/one.png"]
    assert back["calibration"] == {"status": "calibrated", "strength": 1.4, "target_nats": 1.0}
    assert [arm["kind"] for arm in back["arms"]] == [*["base"], *["steered"] * 4, "prompt", *["random"] * 2, "shuffled"]
    assert back["arms"][0]["shifts"]["SocialNorms"] == 0.3
    assert [said["status"] for said in back["criteria"]] == ["met", "not met", "not measured"]


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_what_nothing_beats(seed: int) -> None:
    draw = random.Random(seed)
    groups = ("steered", "opposite", "prompt", "random", "shuffled")
    points: list[dict[str, Any]] = [
        {"group": draw.choice(groups), "cost": draw.randint(-2, 9) / 10, "gain": draw.randint(-5, 9) / 10}
        for _ in range(30)
    ]
    own = {(p["cost"], p["gain"]) for p in points if p["group"] not in ("random", "shuffled") and p["gain"] > 0}
    expected = sorted(a for a in own if not any(b != a and b[0] <= a[0] and b[1] >= a[1] for b in own))
    assert [(p["cost"], p["gain"]) for p in front(points)] == expected


@pytest.mark.parametrize("sign", [1, -1])
def test_the_picture_has_one_mark_per_arm(tmp_path: Path, sign: int) -> None:
    png, svg = save(pareto(drawn_up(sign=sign, undefined=None)), tmp_path / "pictures", "one")
    assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and png.stat().st_size > 5000
    drawn = svg.read_text()
    assert drawn.startswith("<svg") and "Authority" in drawn
    points = [label for label in re.findall(r'aria-label="([^"]*)"', drawn) if "arm: " in label and "shift" in label]
    shown = {group: sum(f"arm: {group}" in label for label in points) for group in ("steered", "opposite", "prompt")}
    assert all(shown.values()), shown
    for dose in ("0.5", "1", "2"):
        assert f">{dose}<" in drawn


def test_names_with_markup_do_not_break_the_picture(tmp_path: Path) -> None:
    _, svg = save(pareto(drawn_up(model=MARKUP, undefined=None)), tmp_path, "one")
    assert "<script>" not in svg.read_text()


def test_a_picture_of_hardly_anything_is_drawn(tmp_path: Path) -> None:
    made = [r for r in records() if not isinstance(r, Effect) and not (isinstance(r, Arm) and r.kind != "base")]
    paths = save(pareto(document(made, "s", [])), tmp_path, "empty")
    assert all(path.stat().st_size > 500 for path in paths)
