"""The page of a run: whole, self-contained, harmless whatever a model wrote, and with commands that make it again."""

import importlib
import json
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import stored_texts
import test_output
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from store_child import plain

from steerkit.cli import main
from steerkit.inputs import dilemmas, text_hash
from steerkit.records import Adapter, Arm, Completion, Effect, HealEpoch, HealStep, Record, Run, Verdict
from steerkit.report.markup import Markup, element, interval, joined, table
from steerkit.report.page import page
from steerkit.report.reproduce import command
from steerkit.request import Gate1Request
from steerkit.request_gate2 import Gate2Request
from steerkit.request_gate3 import Gate3Request
from steerkit.request_loop import LoopRequest
from steerkit.spec import canonical
from steerkit.spec_heal import Gate3Spec
from steerkit.spec_loop import LoopSpec
from steerkit.store import Store

HOSTILE = (
    "</pre></section><script>alert(1)</script><img src=x onerror=alert(2)> [a](http://evil.example) **bold** "
    "\"'><svg onload=alert(3)> &lt;b&gt; \u202e\x1b[31m {{ x }} <!-- ]]> http://evil.example/pixel.png"
)
SHOWN_AS_TEXT = HOSTILE.replace("\u202e", "<202e>").replace("\x1b", "<1b>")
GATE3 = "gate3run"
PROMPTS = text_hash(tuple(dilemma for dilemma in dilemmas() if dilemma.kind == "pressure"))
"""Of the built-in prompts."""


class Read(HTMLParser):
    """A page as a browser would read it: its elements with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", list[str]()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "every element ends where it should"

    def handle_data(self, data: str) -> None:
        self.text += data


def harmless(html: str) -> Read:
    """The page read, once nothing on it can run, load or break out."""
    read = Read(html)
    assert not read.open
    names = {tag for tag, _ in read.elements}
    assert not names & {"script", "iframe", "object", "embed", "link", "svg", "form", "base", "a"}
    for tag, attributes in read.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "srcset", "href"):
            assert (attributes.get(name) or "data:image/svg+xml;base64,").startswith("data:image/svg+xml;base64,")
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style
    return read


def spec3(**more: Any) -> Gate3Spec:
    given = {"model": HOSTILE[:30], "fingerprint": "f", "dtype": "float32", "seed": 0, "filter_id": "decided"}
    runs = {"parent_run": "elsewhere", "gate1_run": "elsewhere", "method": "svd", "trait": "authority"}
    return Gate3Spec(**runs, target="Authority", sign=-1, persona_pair={}, **given | more)


def gate3_records() -> list[Record]:
    """A judged run of gate 3, as far as its document looks."""
    own = {"run_id": GATE3}
    run = {"gate": "gate3", "method": "svd", "trait": HOSTILE, "model": HOSTILE, "device": "cpu"}
    made: list[Record] = [
        plain(Run, **own, **run, spec=canonical(spec3()), thresholds='{"a":1}'),
        plain(Verdict, **own, kind="gate", status="FAIL", detail=f"summary {HOSTILE}", next_step=HOSTILE),
        plain(Verdict, **own, kind="label", status="UNDONE", detail="the reason"),
        plain(Verdict, **own, kind="criterion", status="not met", name="shift is retained", value=0.125, threshold=0.5),
        plain(Verdict, **own, kind="hypothesis", status="not observed", name="seldom", next_step="walk on"),
        plain(Verdict, **own, kind="hypothesis", status="observed", name="undo", next_step="change the texts"),
        plain(Adapter, **own, adapter_id="a1", role="healed", artifact="5ea1" * 16, tau=0.3),
        *[plain(HealStep, **own, adapter_id="a1", step=n, nll=2 - n / 9) for n in (1, 2, 3)],
        *[plain(HealEpoch, **own, adapter_id="a1", epoch=n, validation_nll=1.5) for n in (0, 1)],
    ]
    for number, (kind, shift, coherence) in enumerate(
        (
            ("base", 0.0, 1.0),
            ("steered", -0.8, 0.9),
            ("healed", -0.2, 0.99),
            ("plain", -0.3, 0.98),
            ("random", 0.1, 0.99),
        )
    ):
        name = f"arm{number}"
        made.append(plain(Arm, **own, arm_id=name, kind=kind, dose=float(kind == "steered")))
        for quantity, value in (("d_target", shift), ("coherence", coherence), ("retain", 0.25)):
            made.append(plain(Effect, **own, arm_id=name, quantity=quantity, value=value, low=value, high=value))
        for system in (None, "Answer <briefly>."):
            text = {"arm_id": name, "prompt_id": "p1", "prompt": f"What now? {HOSTILE}", "system_prompt": system}
            said = f"{kind} {'in the second context' if system else 'says'} {HOSTILE}"
            made.append(plain(Completion, **own, completion_id=f"{name}{system}", text=said, **text))
    return made


def gate2_records() -> list[Record]:
    """The texts of `stored_texts`, judged; the run it goes on from is in another store."""
    verdict = plain(Verdict, run_id=stored_texts.RUN, kind="gate", status="PASS", detail="kept")
    own = [record for record in stored_texts.records() if record.run_id == stored_texts.RUN]
    return [replace(r, device="cpu", thresholds="{}") if isinstance(r, Run) else r for r in own] + [verdict]


def gate1_records() -> list[Record]:
    return test_output.records(model=HOSTILE, undefined=None)


def unknown_records() -> list[Record]:
    """A run of a gate that this version does not know."""
    own = {"run_id": "gate9run"}
    said = plain(Verdict, **own, kind="criterion", status="met", name="grows")
    gate = plain(Verdict, **own, kind="gate", status="PASS")
    return [plain(Run, **own, gate="gate9", method="svd", spec="{}", thresholds="{}"), gate, said]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("report") / "steerkit.duckdb")
    made.append([*gate1_records(), *gate2_records(), *gate3_records(), *unknown_records()])
    made.append([plain(Run, run_id="unjudged", gate="gate2")])
    made.ingest()
    return made


RUNS = {"gate1": "run", "gate2": stored_texts.RUN, "gate3": GATE3, "gate9": "gate9run"}
pages: dict[str, str] = {}


def html_of(store: Store, gate: str) -> str:
    """The page of a gate's run; made once."""
    if gate not in pages:
        pages[gate] = page(store, RUNS[gate]).html
    return pages[gate]


@pytest.mark.parametrize("gate", RUNS)
def test_nothing_on_a_page_can_run_or_load(store: Store, gate: str) -> None:
    read = harmless(html_of(store, gate))
    policy = next(a["content"] for tag, a in read.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")
    pictures = [tag for tag, _ in read.elements if tag in ("source", "img")]
    assert pictures == ([] if gate == "gate9" else ["source", "img"]), "one for a dark page, one for a light one"
    assert RUNS[gate] in read.text and "Spec and hashes" in read.text and "Lineage" in read.text


def test_gate3_sets_texts_side_by_side(store: Store) -> None:
    read = harmless(html_of(store, "gate3"))
    assert read.text.count(SHOWN_AS_TEXT) >= 8, "hostile text is shown as it is"
    places = [read.text.index(f"{kind} says") for kind in ("base", "steered", "plain", "healed")]
    assert places == sorted(places)
    assert "healed in the second context" in read.text and "System: Answer <briefly>." in read.text
    assert "random says" not in read.text
    assert "UNDONE: the reason" in read.text and "not met" in read.text
    assert read.text.index("undo") < read.text.index("seldom"), "what was observed comes first"
    assert "Next: change the texts" in read.text and "0.125" in read.text
    assert "retained of the steered shift" in read.text and "5ea1" * 16 in read.text


def test_gate2_sets_kept_beside_dropped_texts(store: Store) -> None:
    read = harmless(html_of(store, "gate2"))
    assert "dropped by compression, loops" in read.text and "kept" in read.text
    assert stored_texts.HOSTILE.replace("\x1b", "<1b>").replace("\u202e", "<202e>") in read.text
    html = html_of(store, "gate2")
    assert "<mark> on the desk of the other office, and</mark>" in html, "the span that a check objects to"


def test_gate1_has_texts_by_dose(store: Store) -> None:
    read = harmless(html_of(store, "gate1"))
    assert test_output.MARKUP in read.text and "dose 1" in read.text and "perplexity inf" in read.text


def test_the_file_is_written_whole_and_its_path_printed(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = tmp_path / "page.html"
    assert main(["report", "gate9", "-o", str(named), "--store", str(store.path)]) == 0
    assert capsys.readouterr().out == f"{named}\n"
    assert named.read_text(encoding="utf-8").endswith("</html>\n") and [*tmp_path.iterdir()] == [named]
    assert main(["report", "gate9", "--json", "--store", str(store.path)]) == 0
    path = Path(json.loads(capsys.readouterr().out)["path"])
    assert path == store.pictures / "gate9-svd-gate9run.html" and path.is_file()


@pytest.mark.parametrize(
    ("run", "output", "message"),
    [
        ("unjudged", None, "steerkit gate2 --resume"),
        ("zzz", None, "begins 0 of the 5"),
        ("gate", None, "begins 2 of the 5"),
        ("gate3", ".", "is a folder"),
        ("gate3", "nowhere/page.html", "must lie in a folder that is there"),
    ],
)
def test_what_cannot_be_reported_is_a_usage_error(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], run: str, output: str | None, message: str
) -> None:
    where = [] if output is None else ["-o", str(tmp_path / output)]
    assert main(["report", run, *where, "--store", str(store.path)]) == 2
    assert message in capsys.readouterr().err


def asked(line: str) -> dict[str, Any]:
    """What a command line asks for, read by the command itself."""
    name, *rest = shlex.split(line)[1:]
    module = importlib.import_module(f"steerkit.commands.{name}")
    return dict(module.command.make_context(name, rest).params)


@pytest.mark.parametrize(
    "line",
    [
        "steerkit gate1",
        "steerkit gate1 --quick --method mean_mass --seed 3",
        "steerkit gate1 --thorough --set dose.target=0.5 --person first",
        "steerkit gate1 --set capture.band=0.3,0.6 --set gate.separation=0.25 --set dose.multiples=0.5,1.5",
        "steerkit gate1 --quick --set dose.tokens=9 --set dose.random_directions=5",
    ],
)
def test_the_command_of_gate1_asks_the_same_question(line: str) -> None:
    spec = Gate1Request.checked(asked(line)).spec("f", "float32", 0)
    run = plain(Run, gate="gate1", device="cpu", spec=canonical(spec))
    again = command(run)
    assert again is not None
    assert Gate1Request.checked(asked(again)).spec("f", "float32", 0) == spec, again


def test_a_file_of_ones_own_has_a_name_in_capitals() -> None:
    spec = replace(Gate1Request.checked(asked("steerkit gate1")).spec("f", "float32", 0), vignettes_hash="other")
    run = plain(Run, gate="gate1", device="cpu", spec=canonical(replace(spec, persona="other", model="a; rm -rf b")))
    line = command(run)
    assert line is not None and "--vignettes VIGNETTES.jsonl" in line and "--personas PERSONAS.toml" in line
    assert shlex.split(line).count("a; rm -rf b") == 1


def test_the_command_of_gate2_asks_the_same_question() -> None:
    line = "steerkit gate2 --from abc --quick --backtrack --schedule exp:40 --keep 9 --set filter.perplexity=33.5 "
    request = Gate2Request.checked(asked(line + "--set control.shares=0.5,1 --set texts.prompts=11"))
    given = {"prompts_hash": PROMPTS}
    spec = replace(stored_texts.SPEC, **given, texts=request.texts, control=request.control, filters=request.filters)
    again = command(plain(Run, gate="gate2", device="cpu", spec=canonical(spec)))
    assert again is not None and f"--from {spec.parent_run}" in again
    found = Gate2Request.checked(asked(again))
    assert (found.texts, found.control, found.filters) == (spec.texts, spec.control, spec.filters)


@pytest.mark.parametrize(
    "line", ["--quick --controls none", "--tau 0.5 --reg js --epochs 2 --weights --controls random"]
)
def test_the_command_of_gate3_asks_the_same_question(line: str) -> None:
    request = Gate3Request.checked(asked(f"steerkit gate3 --from abc {line} --set heal.band=0.1,0.9"))
    given = {"heal": request.heal, "held_out": request.held_out, "controls": request.controls}
    spec = spec3(**given, weights=request.asked["weights"], prompts_hash=PROMPTS)
    again = command(plain(Run, gate="gate3", device="cpu", spec=canonical(spec)))
    assert again is not None
    found = Gate3Request.checked(asked(again))
    assert {"heal": found.heal, "held_out": found.held_out, "controls": found.controls} == given
    assert found.asked["weights"] == spec.weights


@pytest.mark.parametrize(
    "line",
    [
        "--rounds 3 --method mean_mass",
        "--rounds 2 --method svd --quick --keep 20 --direction project --controls random --online 4 --seed 2",
        "--rounds 2 --set later.multiples=0.5,2 --set gate1.separation=0.25 --set gate.patience=2 --set texts.length=9",
    ],
)
def test_the_command_of_a_loop_asks_the_same_question(line: str) -> None:
    def spec(words: str) -> LoopSpec:
        fixed = {"person": "third", "thorough": False, "schedule": None, "backtrack": False, "weights": False}
        return LoopRequest.checked({**fixed, **asked(words)}).spec("f", "float32", 0)

    found = spec(f"steerkit loop {line}")
    again = command(plain(Run, gate="gate4", device="cpu", spec=canonical(found)))
    assert again is not None
    assert spec(again) == found, again


def test_an_unknown_gate_has_no_command() -> None:
    assert command(plain(Run, gate="gate9")) is None


@settings(max_examples=60)
@given(st.text(max_size=40), st.text(max_size=20))
def test_no_text_becomes_markup(text: str, value: str) -> None:
    made = element("p", text, element("b", text), title=value)
    names = [tag for tag, _ in Read(made).elements]
    assert names == ["p", "b"]


def test_tables_and_figures() -> None:
    assert interval(0.5, None, None) == "+0.50" and interval(None, 0.1, 0.2) == "-"
    assert interval(0.5, 0.4, 0.6, "") == "0.50 [0.40, 0.60]"
    assert joined("a", None, ["<", Markup("<b>")], 3) == "a&lt;<b>3"
    assert table(("x", "y"), [("1", "2")], ("y",)).count('class="number"') == 2
