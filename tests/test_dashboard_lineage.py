"""The page of origins: a chain as a drawing, what made an artefact, deleted files, hostile labels."""

import pytest
import test_lineage
from dashboard_page import elements, page, said, trouble
from test_dashboard_texts import ALLOWED, Parsed

from dashboard.charts.lineage import graph
from dashboard.graph import Drawing, drawn
from steerkit.lineage import chain
from steerkit.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("chain") / "runs.duckdb")
    made.append(test_lineage.records())
    made.ingest()
    return made


@pytest.fixture(scope="module")
def drawing(store: Store) -> Drawing:
    return drawn(chain(store, "g1-first"))


def test_every_artefact_of_the_chain_has_a_box(drawing: Drawing) -> None:
    kinds = {name: box.kind for box in drawing.boxes.values() for name in box.ids}
    for number in (0, 1):
        assert kinds[f"direction{number}"] == "direction" and kinds[f"adapter{number}"] == "adapter"
        assert {kinds[f"{arm}{number}"] for arm in ("steered", "student", "adopted")} == {"arm"}
    assert {name for name, kind in kinds.items() if kind == "run"} == {
        run for runs in test_lineage.ROUNDS for run in runs
    }


def test_arrows_lead_from_texts_to_adapter_to_the_next_round(drawing: Drawing) -> None:
    arrows = {(start, end) for start, end, _ in drawing.arrows}
    assert ("texts g2-first collected", "adapter0") in arrows and ("adapter0", "h1-second") in arrows
    assert ("direction0", "texts g2-first collected") in arrows and ("g1-first", "g2-first") in arrows
    assert ("texts g2-first collected", "adapter1") not in arrows, "the second round learns from its own texts"


def test_boxes_do_not_lie_on_each_other_and_rounds_not_in_each_other(drawing: Drawing) -> None:
    places = [(box.column, box.row) for box in drawing.boxes.values()]
    assert len(set(places)) == len(places)
    lowest = max(box.row for box in drawing.boxes.values() if box.round == 0)
    assert lowest < min(box.row for box in drawing.boxes.values() if box.round == 1)


def test_hostile_labels_cannot_command_the_picture(drawing: Drawing) -> None:
    spec = str(graph(drawing).to_dict())
    assert "\x1b" not in spec and "\u202e" not in spec


def test_a_link_asks_what_made_an_artefact(store: Store) -> None:
    app = page(store.path, "lineage", id="adapter1", run="g1-first")
    assert "adapter adapter1" in said(app)
    assert trouble(app) == [text for text in trouble(app) if "file with its tensors is gone" in text] != []
    trees = [Parsed(part) for part in elements(app) if 'class="tree"' in part]
    whole, up, down = trees
    assert {"g1-first", "h3-second", "student1", "adapter0"} <= {*whole.words.split()}
    assert "adapter0" in up.words and "text1a" in up.words and "h3-second" in up.words
    assert "student1" in down.words
    for tree in trees:
        assert set(tree.tags) <= ALLOWED | {"ul", "li", "h4"} and "\x1b" not in tree.words
        assert all(value.startswith("lineage?id=") for name, value in tree.attributes if name == "href")


@pytest.mark.parametrize("asked", ["nothing-begins-so", "text", "<script>"])
def test_an_id_that_is_none_or_many_is_said(store: Store, asked: str) -> None:
    app = page(store.path, "lineage", id=asked)
    (text,) = trouble(app)
    assert "must be named by the beginning" in text and str(store.path.parent) not in text and "<script>" not in text


def test_a_half_written_run_is_drawn(store: Store) -> None:
    app = page(store.path, "lineage", run="alone")
    assert not trouble(app)
