"""The page of texts: reading, labelling, moving thresholds and side by side, on planted and on hostile texts."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import stored_texts
from dashboard_page import elements, page, said, trouble
from msgspec.structs import replace
from store_child import child, plain
from stored_texts import DROPPED, RUN, STEERED, TEXTS, copied

from dashboard import written
from steerkit.labelling import labelled
from steerkit.records import Arm, Completion, Label, Run
from steerkit.store import Store
from steerkit.testing import planted_completion
from steerkit.visible import visible

PAYLOADS = (
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "</p></div><style>body{display:none}</style>",
    "[link](javascript:alert(1)) **bold** $x^2$ :red[red] :material/home:",
    "' onmouseover='alert(1)",
    '=HYPERLINK("http://127.0.0.1","x")',
    "<!-- <b>",
    "\x1b[31m\u202eevil\u2066",
    "&lt;b&gt; &amp;",
)
ALLOWED = {"div", "p", "b", "i", "span", "a", "details", "summary", "table", "thead", "tbody", "tr", "th", "td"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_texts.make(tmp_path_factory.mktemp("original") / "steerkit.duckdb")


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    return copied(original, tmp_path / "store")


class Parsed(HTMLParser):
    """The tags, attributes and words of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words += data


def cards(html: list[str]) -> Iterator[Parsed]:
    return (Parsed(part) for part in html if "<style>" not in part or 'class="written"' in part)


def test_every_text_of_the_run_can_be_read(original: Path) -> None:
    pages = [page(original, "texts", run=RUN, page=str(number)) for number in (1, 2)]
    assert not any(trouble(app) for app in pages)
    assert f"{len(TEXTS)} texts, page 2 of 2" in said(pages[1])
    shown = [card for app in pages for card in cards(elements(app))]
    words = " ".join(" ".join(card.words for card in shown).split())
    for name, (_, text) in TEXTS.items():
        assert name == "collected-hostile" or " ".join(text.split()) in words, name


def test_a_dropped_text_says_which_checks_drop_it_and_why(original: Path) -> None:
    app = page(original, "texts", run=RUN, check="kl_spike")
    (card,) = [part for part in elements(app) if 'class="head"' in part]
    assert "dropped by kl_spike" in card and "1 of 14 checks drop it" in card
    assert 'class="inside"' in card, "the span it objects to is underlined"
    shades = [float(opacity) for opacity in re.findall(r"rgba\(213, 94, 0, ([\d.]+)\)", card)]
    assert max(shades) == pytest.approx(written.DEEPEST * 1.5 / 2, abs=0.01) and min(shades) < 0.05, "shaded by its KL"


@pytest.mark.parametrize(
    ("address", "count"),
    [({"kept": "dropped", "writer": "probe"}, 3), ({"words": "desk"}, 3), ({"kept": "undecided"}, 0)],
)
def test_texts_are_narrowed_from_the_address(original: Path, address: dict[str, str], count: int) -> None:
    app = page(original, "texts", run=RUN, **address)
    assert not trouble(app)
    assert sum('class="head"' in part for part in elements(app)) == count
    if not count:
        assert "No text of this run fits" in said(app)


def test_a_link_to_one_text_shows_that_text(original: Path) -> None:
    app = page(original, "texts", run=RUN, text="probe-far")
    (card,) = [part for part in elements(app) if 'class="head"' in part]
    assert "dropped by perplexity" in card


def test_a_malformed_link_says_so_and_shows_the_default(original: Path) -> None:
    app = page(original, "texts", run="<script>", part="nothing", kept="7", page="no")
    assert sum("is not here" in text for text in trouble(app)) == 3
    assert all("<script>" not in text for text in trouble(app))
    assert f"{len(TEXTS)} texts" in said(app)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    store = Store(tmp_path / "steerkit.duckdb")
    texts = []
    for number, payload in enumerate(PAYLOADS):
        made = planted_completion(payload, run_id="run", unit_id="u", completion_id=f"c{number}", role="greedy")
        own = {"prompt": payload, "system_prompt": payload, "prompt_id": payload, "arm_id": "a", "pieces": [*payload]}
        texts.append(replace(made, **own, token_kl=[9.0] * len(payload)))
    named = dict.fromkeys(("trait", "method", "gate"), PAYLOADS[0])
    store.append([plain(Run, **named), plain(Arm, arm_id="a", kind="healed"), *texts])
    store.ingest()
    read, beside = (page(store.path, "texts", part=part) for part in ("read", "beside"))
    assert not trouble(read) and not trouble(beside)
    for card in (*cards(elements(read)), *cards(elements(beside))):
        assert set(card.tags) <= ALLOWED and not any(name.startswith("on") for name, _ in card.attributes)
        assert all(value.startswith("lineage?id=") for name, value in card.attributes if name == "href")
        assert "\x1b" not in card.words and "\u202e" not in card.words
    shown = "".join(card.words for card in cards(elements(read)))
    for payload in PAYLOADS:
        assert visible(payload) in shown


def press(app: object, key: str) -> None:
    app.button(key=f"key_{key}").click().run()  # type: ignore[attr-defined]


def labels(store: Path) -> dict[str, tuple[str, bool | None, str | None]]:
    rows = sorted(Store(store).records(Label, RUN), key=lambda label: label.seq)
    return {label.completion_id: (label.labeller, label.coherent, label.trait) for label in rows}


def test_a_key_stores_a_label_that_steerkit_sees(store: Path) -> None:
    app = page(store, "texts", run=RUN, part="label")
    app.text_input(key="labeller").set_value("ada").run()
    for key in ("2", "0"):
        press(app, key)
    assert not trouble(app)
    assert sorted(labels(store).values()) == [("ada", False, "neither"), ("ada", True, "narrates")]
    assert Store(store).ask("labels", {"run": RUN}).height == 2
    assert "2 labels so far" in " ".join(expander.label for expander in app.expander)


def test_what_was_read_does_not_come_again(store: Path) -> None:
    """All but three were read before; one is skipped, and the last label is taken back."""
    read = [labelled(RUN, name, "ada", True, "enacts", 1) for name in STEERED[3:]]
    Store(store).append(read)
    Store(store).ingest()
    app = page(store, "texts", run=RUN, part="label", queue="blind")
    app.text_input(key="labeller").set_value("ada").run()
    first = shown_text(app)
    press(app, "s")
    order = [shown_text(app)]
    for _ in range(2):
        press(app, "3")
        order.append(shown_text(app))
    assert len({*order}) == 3 and order[-1] == first, "what was skipped comes last"
    press(app, "1")
    assert "has read all of these texts" in said(app)
    assert Store(store).ask("labels", {"run": RUN}).height == len(STEERED)
    press(app, "u")
    assert shown_text(app) == first
    assert sum(coherent is None for _, coherent, _ in labels(store).values()) == 1
    assert Store(store).ask("labels", {"run": RUN}).height == len(STEERED) - 1


def test_a_text_is_read_blind(store: Path) -> None:
    app = page(store, "texts", run=RUN, part="label")
    (card,) = [part for part in elements(app) if 'class="body"' in part]
    assert "rgba" not in card and "dropped" not in card and "perplexity" not in card
    press(app, "1")
    assert "The checks" in said(app), "told afterwards"


def shown_text(app: object) -> str:
    (card,) = [part for part in elements(app) if 'class="body"' in part]  # type: ignore[arg-type]
    return card


def test_a_label_is_safe_while_somebody_holds_the_store(store: Path) -> None:
    app = page(store, "texts", run=RUN, part="label")
    app.text_input(key="labeller").set_value("ada").run()
    before = shown_text(app)
    with child("hold", store, "ro") as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        press(app, "1")
        assert "The label is safe" in said(app) or "the label is safe" in said(app)
        assert shown_text(app) != before, "the next one comes all the same"
    assert len(labels(store)) == 1


def test_thresholds_move_and_the_command_is_told(original: Path) -> None:
    app = page(original, "texts", run=RUN, part="redecide", checks="perplexity")
    assert not trouble(app)
    now = {metric.label: metric.value for metric in app.metric}
    assert now["steered texts"] == str(len(STEERED)) and now["kept now"] == now["kept if moved"]
    app.slider(key="at_perplexity").set_value(16.0).run()
    moved = {metric.label: metric.value for metric in app.metric}
    assert moved["kept if moved"].startswith(f"{len(STEERED) - len(DROPPED) + 1} ")
    assert any(f"steerkit refilter {RUN} --set perplexity=16" in code.value for code in app.code)
    assert "1 would come in, 0 would go out" in said(app)
    words = "".join(card.words for card in cards(elements(app)))
    assert TEXTS["probe-over"][1] in words, "the text whose fate changes"


def test_the_borderline_is_told_with_its_value(original: Path) -> None:
    app = page(original, "texts", run=RUN, part="borderline", check="perplexity")
    assert not trouble(app)
    told = [str(text.value).replace("\\", "") for text in app.markdown]
    assert told[:2] == [
        "**perplexity**: just dropped, 15.5 (keeps at most 15)",
        "**perplexity**: just kept, 14.5 (keeps at most 15)",
    ]
    words = [card.words for card in cards(elements(app)) if "written" in str(card.attributes)]
    assert TEXTS["probe-over"][1] in words[0] and TEXTS["probe-near"][1] in words[1]


def test_a_run_without_decisions_gives_way_to_the_one_it_went_on_from(store: Path) -> None:
    later = plain(Run, run_id="later", gate="gate3", parent_run=RUN, registered_at="2030")
    other = plain(Run, run_id="other", gate="gate2", registered_at="2031")
    texts = [plain(Completion, run_id=run, completion_id=f"c-{run}", role="greedy") for run in ("later", "other")]
    Store(store).append([later, other, *texts])
    Store(store).ingest()
    app = page(store, "texts", run="later")
    assert app.selectbox(key="run").value == "later"
    app.button_group(key="part").set_value("redecide").run()
    assert not trouble(app) and app.selectbox(key="run").value == RUN


def test_side_by_side_has_every_writer_of_a_prompt(tmp_path: Path) -> None:
    store = Store(tmp_path / "steerkit.duckdb")
    kinds = ("base", "steered", "plain", "healed")
    arms = [plain(Arm, arm_id=kind, kind=kind) for kind in kinds]
    texts = [
        plain(Completion, completion_id=k, arm_id=k, prompt_id="p", role="greedy", text=f"text of {k}") for k in kinds
    ]
    store.append([plain(Run), *arms, *texts])
    store.ingest()
    app = page(store.path, "texts", part="beside")
    assert not trouble(app)
    (row,) = [part for part in elements(app) if 'class="beside"' in part]
    places = [row.index(f"text of {kind}") for kind in kinds]
    assert places == sorted(places)


def test_a_store_without_texts_names_the_command(tmp_path: Path) -> None:
    store = Store(tmp_path / "steerkit.duckdb")
    store.append([plain(Run)])
    store.ingest()
    app = page(store.path, "texts")
    assert not trouble(app) and any("steerkit gate2" in code.value for code in app.code)


def test_a_run_that_was_not_decided_on_is_half_a_page_and_no_failure(tmp_path: Path) -> None:
    store = Store(tmp_path / "steerkit.duckdb")
    own = {"role": "collected", "completion_id": "c", "text": "half"}
    store.append([plain(Run, gate="gate2"), plain(Completion, **own)])
    store.ingest()
    for part in ("read", "beside"):
        assert not trouble(page(store.path, "texts", part=part)), part
    app = page(store.path, "texts", part="label")
    assert not trouble(app) and any("steerkit gate2" in code.value for code in app.code)
