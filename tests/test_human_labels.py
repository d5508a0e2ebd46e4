"""How people answered a vignette: read from a set, refused in words, stored with the run, part of the set's hash."""

import json
from pathlib import Path

import pytest

from steerkit.errors import UsageError
from steerkit.inputs import VignetteText, text_hash, vignettes
from steerkit.records import HumanLabel
from steerkit.runner import vignette_records


def written(folder: Path, **more: object) -> Path:
    file = folder / "v.jsonl"
    file.write_text(json.dumps({"id": "a", "foundation": "care", "text": "A scene.", **more}) + "\n", encoding="utf-8")
    return file


def test_counts_and_shares_become_shares_that_sum_to_one(tmp_path: Path) -> None:
    (found,) = vignettes(written(tmp_path, human={"Care": 30, "Social Norms": 10}))
    assert found.human == {"Care": 0.75, "SocialNorms": 0.25}
    kept = [r for r in vignette_records("run", "unit", "set", (found,)) if isinstance(r, HumanLabel)]
    assert {(r.vignette, r.foundation, r.share) for r in kept} == {("a", "Care", 0.75), ("a", "SocialNorms", 0.25)}


def test_a_set_without_them_keeps_its_hash_and_has_no_rows(tmp_path: Path) -> None:
    (found,) = vignettes(written(tmp_path))
    assert found.human is None
    assert text_hash((found,)) == text_hash((VignetteText(id="a", foundation="Care", text="A scene."),))
    assert text_hash((found,)) != text_hash(vignettes(written(tmp_path, human={"Care": 1})))
    assert not [r for r in vignette_records("run", "unit", "set", (found,)) if isinstance(r, HumanLabel)]


@pytest.mark.parametrize(
    "human",
    [{"Care": -1}, {"Care": 0}, {}, {"Kindness": 1}, {"Care": "many"}, [1, 2], {"Care": 1, "care": 1}],
    ids=str,
)
def test_anything_else_is_refused_with_file_and_line(tmp_path: Path, human: object) -> None:
    with pytest.raises(
        UsageError, match=r"v\.jsonl, line 1: field 'human' must be an object of foundation to a number"
    ):
        vignettes(written(tmp_path, human=human))
