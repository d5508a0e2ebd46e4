"""A scan over bands of blocks on the planted model: where steering works, what gate 1 may use, and bad questions."""

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import tiny_model
from small_gate2 import Ran, given, ran, rows
from test_compare import SMALL, ends_after

from steerkit.cli import main
from steerkit.commands._narrator import Narrator
from steerkit.inputs import halves, vignettes
from steerkit.records import Answer, Band, Capture, Run
from steerkit.store import Store


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tiny_model.Planted:
    return tiny_model.make(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scanned") / "steerkit.duckdb"


@pytest.fixture(scope="module")
def found(planted: tiny_model.Planted, store: Path) -> Ran:
    """The first scan."""
    return ran(layers(planted, store, "--json"))


def layers(planted: tiny_model.Planted, store: Path, *more: str) -> list[str]:
    """A small scan's command line."""
    files = ("--personas", planted.personas, "--vignettes", planted.vignettes, "--contexts", planted.contexts)
    where = ("--model", str(planted.folder), "--store", str(store), "--method", "mean_mass", "--trait", "planted")
    fixed = ("--dtype", "float32", "--device", "cpu", "--widths", "1,3", *given(*SMALL))
    return ["layers", *where, *map(str, files), *fixed, *more]


def test_every_band_is_steered_at_the_same_dose(found: Ran) -> None:
    assert found.code == 0, found.said
    places = [(band["first_block"], band["last_block"]) for band in found.document["bands"]]
    assert places == [(0, 0), (0, 2), (1, 1), (1, 3), (2, 2), (3, 3)], "a band that does not fit is none"
    for band in found.document["bands"]:
        assert band["reached"] == pytest.approx(1.0, rel=0.25)
        span = band["choice"]["d_target"]
        assert span["low"] <= span["value"] <= span["high"] < 0


def test_the_planted_block_tells_where_not_to_steer(found: Ran) -> None:
    shifts = {band["first_block"]: band["choice"]["separation"]["value"] for band in found.document["bands"]}
    single = {b["first_block"]: b for b in found.document["bands"] if b["width"] == 1}
    # Block 1 mixes what block 0 wrote with the contexts: what is added before that is partly undone.
    assert single[0]["choice"]["separation"]["value"] < 0.9 * single[2]["choice"]["separation"]["value"]
    assert shifts and found.document["chosen"]["first_block"] > 0
    blocks = found.document["blocks"]
    assert [row["block"] for row in blocks] == [0, 1, 2, 3]
    assert all(row["half_split_cosine"] > 0.9 and 0 < row["relative_norm"] < 1 for row in blocks)


def test_the_band_is_chosen_on_one_half_and_reported_on_the_other(
    planted: tiny_model.Planted, found: Ran, store: Path
) -> None:
    reader, run = Store(store), found.document["run_id"]
    bands = reader.records(Band, run)
    best = max(found.document["bands"], key=lambda band: band["choice"]["separation"]["value"])
    assert best["chosen"] and [band.chosen for band in bands].count(True) == 1
    assert {(b["first_block"], b["last_block"]) for b in found.document["bands"] if b["test"]} == {
        (best["first_block"], best["last_block"]),
        (2, 2),
    }, "the chosen band and the default one"
    choice, test = ({vignette.id for vignette in half} for half in halves(vignettes(planted.vignettes), 0))
    read: dict[str, set[str]] = {}
    for answer in reader.records(Answer, run):
        read.setdefault(answer.arm_id, set()).add(answer.vignette)
    assert all(read[band.arm_id] == choice for band in bands if band.arm_id)
    assert all(read[band.test_arm_id] == test for band in bands if band.test_arm_id)
    assert len(reader.records(Capture, run)) == 1, "one capture serves every band"


def test_the_query_says_what_the_document_says(found: Ran, store: Path) -> None:
    asked = Store(store).ask("layers", {"run": found.document["run_id"]}).rows(named=True)
    assert [(row["first_block"], row["d_target"], row["chosen"]) for row in asked] == [
        (band["first_block"], band["choice"]["d_target"]["value"], band["chosen"]) for band in found.document["bands"]
    ]
    assert Store(store).problems() == []


def test_the_map_fits_and_says_what_to_use(planted: tiny_model.Planted, found: Ran, store: Path) -> None:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        assert main(layers(planted, store)) == 0
    lines = out.getvalue().splitlines()
    assert max(len(line) for line in lines if not line.startswith(("store", "picture"))) <= 100
    used = f"use it   steerkit gate1 --method mean_mass {found.document['use']}   (or --blocks stored)"
    assert used in lines
    assert all(Path(path).stat().st_size for path in found.document["pictures"])


@pytest.mark.parametrize("asked", ["stored", "2-3"])
def test_gate_1_steers_where_the_scan_says(
    planted: tiny_model.Planted, found: Ran, store: Path, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = found.document["chosen"]
    first, last = (chosen["first_block"], chosen["last_block"]) if asked == "stored" else (2, 3)
    with monkeypatch.context() as patch:
        patch.setattr(Narrator, "step", ends_after(2))
        broken = ran(planted.gate1(store, "--blocks", asked, "--set", "capture.contexts=8", method="mean_mass"))
    assert broken.code == 130 and f"blocks {first} to {last}, " in broken.said
    if asked == "stored":
        assert f"chosen by scan {found.document['run_id']}" in broken.said
    [run] = Store(store).query("SELECT run_id FROM run WHERE gate = 'gate1' ORDER BY registered_at DESC LIMIT 1").rows()
    spec = Store(store).records(Run, run[0])[0].spec
    assert f'"blocks":[{first},{last}]' in spec


@pytest.mark.slow
def test_a_broken_off_scan_goes_on_to_the_same_rows(
    planted: tiny_model.Planted, found: Ran, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, run = tmp_path / "steerkit.duckdb", found.document["run_id"]
    with monkeypatch.context() as patch:
        patch.setattr(Narrator, "step", ends_after(8))
        assert ran(layers(planted, broken, "--json")).code == 130
    assert ran(layers(planted, broken, "--json")).code == 0
    left, right = rows(broken, run), rows(store, run)
    assert {name for name in left if left[name] != right[name]} == set()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--method", "directional_ablation"), "a scan needs a method that acts at a band of blocks"),
        (("--widths", "0"), "--widths and --stride must be at least 1 block"),
        (("--widths", "wide"), "--widths must be numbers"),
        (("--dose", "0"), "a dose on the scale p95-kl must be finite nats above 0"),
    ],
)
def test_a_bad_question_is_refused_before_any_model(
    planted: tiny_model.Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr("steerkit.session.load", lambda *_, **__: pytest.fail("a model was loaded"))
    refused = ran(layers(planted, tmp_path / "s.duckdb", "--json", *more))
    assert refused.code == 2 and said in refused.document["error"]["message"]


@pytest.mark.parametrize(("asked", "said"), [("stored", "needs a finished scan"), ("middle", "--blocks must be FIRST")])
def test_blocks_that_nothing_names_are_refused(
    planted: tiny_model.Planted, tmp_path: Path, asked: str, said: str
) -> None:
    refused = ran(planted.gate1(tmp_path / "s.duckdb", "--blocks", asked))
    assert refused.code == 2 and said in refused.document["error"]["message"]
