"""A comparison from the command line on the planted model: who wins, what the race saves, who is missing and why."""

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import tiny_model
from small_gate2 import Ran, given, ran, rows
from test_plugins import install

from steerkit.cli import main
from steerkit.commands._narrator import Narrator
from steerkit.inputs import halves, vignettes
from steerkit.pipeline.scorer import Scorer
from steerkit.plugins import load, sources
from steerkit.records import Answer, Arm, Calibration, Capture, Direction
from steerkit.store import Store

SMALL = (
    "capture.contexts=8",
    "dose.tokens=6",
    "dose.prompts=2",
    "dose.null_prompts=1",
    "dose.random_directions=1",
    "dose.shuffled_directions=1",
    "limits.resamples=200",
)
METHODS = "mean_mass,cosine_gated,null"
BROKEN = {
    "raises": "raise ValueError('no such thing')\n",
    "partial": "SITE = 'residual'\n",
    "bent": "from steerkit.methods.svd import SITE, Config, fit, steer\ndef step(s, c):\n    return s['vector'][:3]\n",
    "void": "from steerkit.methods.svd import SITE, Config, fit, step\nsteer = lambda h, *_: h * float('nan')\n",
}
"""Plugins that break, each in its own way."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tiny_model.Planted:
    return tiny_model.make(tmp_path_factory.mktemp("planted"))


def compare(planted: tiny_model.Planted, store: Path, *more: str, methods: str = METHODS) -> list[str]:
    """A small comparison's command line."""
    files = ("--personas", planted.personas, "--vignettes", planted.vignettes, "--contexts", planted.contexts)
    fixed = ("--trait", "planted", "--dtype", "float32", "--device", "cpu", "--seeds", "2", *given(*SMALL))
    where = ("--model", str(planted.folder), "--store", str(store), "--methods", methods)
    return ["compare", *where, *map(str, files), *fixed, *more]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared") / "steerkit.duckdb"


@pytest.fixture(scope="module")
def work() -> dict[tuple[str, str], int]:
    """Arms that the race's comparison had the model read, by kind and set of vignettes."""
    return {}


@pytest.fixture(scope="module")
def raced(planted: tiny_model.Planted, store: Path, work: dict[tuple[str, str], int]) -> Ran:
    """The comparison with a race."""
    score = Scorer.score

    def counted(self: Scorer, unit: str, kind: Any, *of: Any, **more: Any) -> Any:
        work[kind, self.part] = work.get((kind, self.part), 0) + 1
        return score(self, unit, kind, *of, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scorer, "score", counted)
        return ran(compare(planted, store, "--json"))


@pytest.fixture(scope="module")
def whole(planted: tiny_model.Planted, store: Path, raced: Ran) -> Ran:
    """The same without one, in the same store."""
    return ran(compare(planted, store, "--no-race", "--json"))


def by_name(found: Ran) -> dict[str, Any]:
    return {method["method"]: method for method in found.document["methods"]}


def test_the_planted_direction_wins_over_null_and_prompt(whole: Ran) -> None:
    assert whole.code == 0, whole.said
    methods = by_name(whole)
    assert set(methods) == {"mean_mass", "cosine_gated", "null", "prompt"}
    assert whole.document["methods"][0]["method"] == "mean_mass"
    best, empty = methods["mean_mass"]["chosen"], methods["null"]["chosen"]
    assert best["dose"] == 2 and best["test"]["separation"]["value"] > 1
    assert empty is None or empty["test"]["separation"]["value"] < 0.5 * best["test"]["separation"]["value"]
    assert best["test"]["surgical"] and best["test"]["gated_selectivity"]["value"] > 1
    assert best["test"]["si_flips"]["value"] == pytest.approx(1.0)
    assert best["all"]["p_null"] == pytest.approx(1 / 5), "the best that four null directions can show"
    assert methods["prompt"]["points"][0]["all"]["si_flips"]["value"] is not None, "the prompt is read in both poles"


@pytest.mark.parametrize("which", ["raced", "whole"])
def test_every_method_is_read_at_what_was_measured_to_be_the_same_dose(
    which: str, store: Path, request: pytest.FixtureRequest
) -> None:
    found: Ran = request.getfixturevalue(which)
    reader, run = Store(store), found.document["run_id"]
    for method in found.document["methods"]:
        for point in method["points"]:
            if point["dose"] is not None and point["state"] == "full":
                assert point["reached"] == pytest.approx(point["dose"], rel=0.25), method["method"]
                span = point["all"]["separation"]
                assert span["low"] <= span["value"] <= span["high"] and point["seeds"] == 2
    assert {one.scale for one in reader.records(Calibration, run)} == {"p95-kl"}


def test_cost_grows_linearly_with_methods_and_doses(whole: Ran, store: Path) -> None:
    arms = Store(store).records(Arm, whole.document["run_id"])
    kinds = dict(Store(store).query("SELECT direction_id, method FROM direction").rows())
    count: dict[tuple[str, float], int] = {}
    for arm in arms:
        if arm.kind == "steered" and arm.direction_id is not None:
            key = (kinds[arm.direction_id], abs(arm.dose))
            count[key] = count.get(key, 0) + 1
    assert len(count) == 9 and set(count.values()) == {4}, "two draws of contexts, two signs, for each method and dose"
    nulls = [arm.dose for arm in arms if arm.kind in ("random", "shuffled")]
    assert sorted(nulls) == sorted([0.3, 1.0, 2.0] * 4), "shared by all methods"


def test_the_race_finds_the_same_front_at_less_than_sixty_percent(raced: Ran, whole: Ran) -> None:
    assert raced.document["readings_unraced"] == whole.document["readings"]
    assert raced.document["readings"] < 0.6 * whole.document["readings"]
    fronts = [front(found) for found in (raced, whole)]
    assert fronts[0] and fronts[0].keys() == fronts[1].keys()
    for name, chance in fronts[0].items():
        assert chance == pytest.approx(fronts[1][name], abs=0.1)
    area, other = raced.document["hypervolume"], whole.document["hypervolume"]["value"]
    assert area["low"] - 1e-3 <= other <= area["high"] + 1e-3
    assert by_name(raced)["null"]["standing"] == "raced out"


def test_an_arm_that_was_read_in_two_parts_is_the_arm_read_at_once(raced: Ran, whole: Ran, store: Path) -> None:
    parted, at_once = (read_in_full(found, store) for found in (raced, whole))
    assert parted and parted.keys() <= at_once.keys()
    for key, answers in parted.items():
        assert [a[:2] for a in answers] == [a[:2] for a in at_once[key]], "the same rows in the same order"
        assert [a[2] for a in answers] == pytest.approx([a[2] for a in at_once[key]], abs=1e-4)


def test_what_the_screen_has_read_is_not_read_again(raced: Ran, store: Path, work: dict[tuple[str, str], int]) -> None:
    full = sum(point["state"] == "full" for method in raced.document["methods"] for point in method["points"]) - 1
    assert full > 0, "the prompt is no steered arm"
    assert work["steered", "choice"] == 9, "three methods at three doses"
    assert work["steered", "test"] == full, "the other half, of the first draw at positive doses"
    assert work["steered", "all"] == 3 * full, "the first draw's negative doses, and both signs of the second"


def test_an_instrument_whose_reading_depends_on_the_batch_is_not_read_in_parts() -> None:
    alone = {name for name in sources("instruments") if getattr(load("instruments", name), "READS_ALONE", False)}
    assert alone == {"fewshot"}, "thoughts are sampled and padded by the batch"


def read_in_full(found: Ran, store: Path) -> dict[tuple[str, int, float], list[tuple[int, str, float]]]:
    """Answers of the first draw's steered arms on all vignettes, by method, draw of contexts and dose."""
    reader, run = Store(store), found.document["run_id"]
    places: dict[str, tuple[str, int]] = {}
    for one in reader.records(Direction, run):
        if one.kind == "real":
            places[one.direction_id] = (one.method, sum(method == one.method for method, _ in places.values()))
    arms, answers = reader.records(Arm, run), reader.records(Answer, run)
    full = next(arm.eval_hash for arm in arms if arm.kind == "base")
    return {
        (*places[arm.direction_id], arm.dose): [(a.ordering, a.vignette, a.authority) for a in own]
        for arm in arms
        if arm.kind == "steered" and arm.eval_hash == full and arm.direction_id is not None
        if places[arm.direction_id][1] == 0 and (own := [a for a in answers if a.arm_id == arm.arm_id])
    }


def front(found: Ran) -> dict[tuple[str, float | None], float]:
    """Points that are likelier on the front than not."""
    points = [(m["method"], p["dose"], p["all"]) for m in found.document["methods"] for p in m["points"] if p["all"]]
    return {(m, d): seen["front_probability"] for m, d, seen in points if seen["front_probability"] >= 0.5}


def test_screen_and_choice_read_no_vignette_of_the_test_half(
    planted: tiny_model.Planted, raced: Ran, store: Path
) -> None:
    reader, run = Store(store), raced.document["run_id"]
    choice, _ = halves(vignettes(planted.vignettes), 0)
    screens = "SELECT unit_id FROM unit WHERE run_id = $run AND stage = 'screen'"
    units = {unit for (unit,) in reader.query(screens, {"run": run}).rows()}
    read = {answer.vignette for answer in reader.records(Answer, run) if answer.unit_id in units}
    assert units and read == {vignette.id for vignette in choice}
    hashes = {arm.eval_hash for arm in reader.records(Arm, run)}
    assert len(hashes) == 2, "arms over the choosing half are never compared with arms over all"


def test_activations_are_captured_once_and_found_again(
    planted: tiny_model.Planted, raced: Ran, whole: Ran, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures = Store(store).records(Capture, raced.document["run_id"])
    again = Store(store).records(Capture, whole.document["run_id"])
    assert len(captures) == 2 and not any(one.reused for one in captures)
    assert all(one.reused for one in again) and whole.document["captures_reused"] == 2
    assert [one.artifact for one in again] == [one.artifact for one in captures]
    bases = [arm for arm in Store(store).records(Arm, whole.document["run_id"]) if arm.kind == "base"]
    assert len(bases) == 1, "the base is scored once"


def test_the_queries_say_what_the_document_says(whole: Ran, store: Path) -> None:
    run, methods = whole.document["run_id"], by_name(whole)
    asked = Store(store).ask("methods_compared", {"run": run}).rows(named=True)
    assert [row["method"] for row in asked] == [method["method"] for method in whole.document["methods"]]
    for row in asked:
        chosen = methods[row["method"]]["chosen"]
        assert row["d_target"] == (None if chosen is None else chosen["test"]["d_target"]["value"])
        assert row["surgical"] == (None if chosen is None else chosen["test"]["surgical"])
    response = Store(store).ask("dose_response", {"run": run, "method": "mean_mass"}).rows(named=True)
    assert [row["d_target"] for row in response] == [
        point["all"]["d_target"]["value"] for point in methods["mean_mass"]["points"]
    ]
    assert Store(store).problems() == []


def test_the_tables_fit_and_the_store_answers_the_second_time(
    planted: tiny_model.Planted, raced: Ran, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steerkit.session.load", lambda *_, **__: pytest.fail("a model was loaded"))
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert main(compare(planted, store)) == 0
    assert "has answered this before" in err.getvalue() and raced.document["run_id"] in out.getvalue()
    lines = [line for line in out.getvalue().splitlines() if not line.startswith(("store", "picture"))]
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("Raced out: ") and "null" in line for line in lines)
    assert all(Path(path).stat().st_size for path in raced.document["pictures"])


@pytest.mark.slow
def test_a_broken_off_comparison_goes_on_to_the_same_rows(
    planted: tiny_model.Planted, raced: Ran, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, run = tmp_path / "steerkit.duckdb", raced.document["run_id"]
    for steps in (9, 17, 20):
        with monkeypatch.context() as patch:
            patch.setattr(Narrator, "step", ends_after(steps))
            assert ran(compare(planted, broken, "--json")).code == 130
    assert ran(compare(planted, broken, "--resume", "--json")).code == 0
    left, right = rows(broken, run), rows(store, run)
    assert {name for name in left if left[name] != right[name]} == set()


def ends_after(steps: int) -> Callable[..., None]:
    """What is told of each step, until the user presses Ctrl-C."""
    told: list[Any] = []

    def step(*of: Any) -> None:
        told.append(of)
        if len(told) == steps:
            raise KeyboardInterrupt

    return step


def test_plugins_that_break_are_named_and_the_others_go_on(
    planted: tiny_model.Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in BROKEN.items():
        (tmp_path / name).mkdir()
        install(tmp_path / name, name, f"{name}_code.{name}", code)
        monkeypatch.syspath_prepend(str(tmp_path / name))
    (tmp_path / "shadow").mkdir()
    install(tmp_path / "shadow", "svd", "elsewhere.svd")
    monkeypatch.syspath_prepend(str(tmp_path / "shadow"))
    asked = ("--doses", "1", "--no-race", "--seeds", "1", "--json")
    found = ran(compare(planted, tmp_path / "s.duckdb", *asked, methods=f"svd,{','.join(BROKEN)}"))
    assert found.code == 0, found.said
    methods = [(m["method"], m["standing"], m["distribution"], m["detail"]) for m in found.document["methods"]]
    assert {(name, standing) for name, standing, *_ in methods} == {
        ("svd", "compared"),
        ("prompt", "compared"),
        ("bent", "failed"),
        ("void", "failed"),
        ("raises", "missing"),
        ("partial", "missing"),
        ("svd", "missing"),
    }
    said = {(name, standing): (by, why) for name, standing, by, why in methods}
    assert said["bent", "failed"][0] == "bent-dist 1.0"
    assert "step() of 'bent' (bent-dist 1.0) must return a finite vector of length 64" in said["bent", "failed"][1]
    assert "steer() of 'void' must give finite numbers" in said["void", "failed"][1]
    assert "gave ValueError: no such thing" in said["raises", "missing"][1]
    assert said["svd", "missing"][0] == "svd-dist 1.0" and "two methods are named 'svd'" in said["svd", "missing"][1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--methods", "sdv"), "unknown method 'sdv'; did you mean 'svd'?"),
        (("--methods", ","), "--methods must name at least one method that works"),
        (("--doses", "0,1"), "a dose on the scale p95-kl must be finite nats above 0, but got 0"),
        (("--doses", "1,1"), "doses must be different numbers"),
        (("--doses", "some"), "--doses must be numbers"),
        (("--dose-scale", "answer-mass", "--doses", "1.5"), "must be a fraction above 0 and below 1, but got 1.5"),
        (("--dose-scale", "kl"), "unknown dose scale 'kl'"),
        (("--set", "method.svd.x=1"), "a method's setting must be method.NAME.KEY=VALUE with one of mean_mass"),
        (("--set", "method.mean_mass.whitten=1"), "unknown method mean_mass setting 'whitten'; did you mean 'whiten'?"),
        (("--set", "capture.contexts=400"), "contexts must be between 2 and the 40 there are less"),
        (("--set", "limits.slack=-1"), "slack at least 0"),
        (("--blocks", "3-1"), "blocks must be two rising block numbers from 0"),
        (("--trait", "unknown"), "unknown trait 'unknown'"),
    ],
)
def test_a_bad_question_is_refused_before_any_model(
    planted: tiny_model.Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr("steerkit.session.load", lambda *_, **__: pytest.fail("a model was loaded"))
    refused = ran(compare(planted, tmp_path / "s.duckdb", "--json", *more))
    assert refused.code == 2 and said in refused.document["error"]["message"]


@pytest.mark.parametrize("scale", ["rmse-kl", "answer-mass"])
@pytest.mark.slow
def test_doses_on_other_scales(planted: tiny_model.Planted, tmp_path: Path, scale: str) -> None:
    asked = ("--dose-scale", scale, "--no-race", "--seeds", "1", "--json")
    doses = ("--doses", "0.2" if scale == "rmse-kl" else "0.0005")
    found = ran(compare(planted, tmp_path / "s.duckdb", *asked, *doses, methods="mean_mass"))
    assert found.code == 0, found.said
    [point] = by_name(found)["mean_mass"]["points"]
    assert point["state"] == "full" and point["reached"] == pytest.approx(found.document["doses"][0], rel=0.3)
