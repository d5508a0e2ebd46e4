"""What the pictures of gate 3 show: only what is there, one legend, arrows that arrive, labels that cover no mark."""

import re
from math import hypot
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steerkit.pictures.compare import contest
from steerkit.pictures.gates import healing
from steerkit.pictures.look import DARK, LIGHT, svg
from steerkit.pictures.plane import MARK, Box, Pixel, Plane

STEP = {"nll": 1.5, "d_mean": 0.1, "d_rmse": 0.2, "d_p95": 0.3, "d_max": 0.9}


def arm(kind: str, shift: float, coherence: float, dose: float = 0.0) -> dict[str, Any]:
    spans = {"d_target_low": -shift - 0.05, "d_target_high": -shift + 0.05}
    wide = {"coherence_low": coherence - 0.01, "coherence_high": coherence + 0.01}
    return {"kind": kind, "dose": dose, "d_target": -shift, "coherence": coherence, **spans, **wide}


def drawn_up(*more: dict[str, Any]) -> dict[str, Any]:
    """A document of gate 3 as far as its picture looks."""
    raw = [arm("base", 0.0, 1.0), *(arm("steered", dose, 1 - dose / 10, dose) for dose in (0.5, 1.0))]
    adapters = [
        {"role": role, "tau": tau, "curve": [{"step": n, **STEP} for n in (1, 2, 3)]}
        for role, tau in (("plain", None), ("healed", 0.1))
    ]
    head = {"verdict": "PASS", "label": "HEALED", "method": "svd", "model": "tiny", "target": "Authority", "sign": -1}
    students = [arm("healed", 0.8, 0.99), arm("plain", 0.9, 0.94)]
    return {**head, "dose": 1.0, "aggregate": "rmse", "arms": [*raw, *students, *more], "adapters": adapters}


def legends(chart: Any) -> list[str]:
    """The entries of the legends of a drawn chart."""
    found = re.findall(r'aria-label="Symbol legend titled \'(\w+)\' [^"]*with \d+ values?: ([^"]*)"', svg(chart))
    return [f"{title}: {values}" for title, values in found]


def test_the_legend_names_what_is_there_once() -> None:
    assert legends(healing(drawn_up())) == ["arm: steered, healed, plain", "adapter: healed, plain"]
    (first, _) = legends(healing(drawn_up(arm("control-random", 0.1, 0.99))))
    assert first == "arm: steered, healed, plain, control-random"


def test_without_students_there_are_no_arrows() -> None:
    document = drawn_up()
    bare = {**document, "arms": [a for a in document["arms"] if a["kind"] in ("base", "steered")], "adapters": []}
    assert legends(healing(bare)) == ["arm: steered"]
    assert "angle" not in healing(bare).to_json()
    assert "angle" not in healing({**document, "dose": None}).to_json(), "nor where the texts' dose was not scored"


def test_arrows_end_just_outside_the_students_mark() -> None:
    plane = Plane((0.0, 1.0), (0.0, 1.0), 640, 400)
    found = plane.arrow((0.5, 0.5), (0.25, 0.5), 10.0)
    assert found.angle == pytest.approx(-90), "a triangle that points up, turned to the left"
    assert plane.pixel(*found.end) == pytest.approx((170, 200)) and plane.pixel(*found.start) == pytest.approx(
        (310, 200)
    )
    beside = plane.arrow((0.5, 0.5), (0.5, 1.0), 10.0, aside=4.0)
    assert beside.angle == pytest.approx(0) and plane.pixel(*beside.end) == pytest.approx((324, 10))


def test_an_arrow_to_where_it_starts_is_no_error() -> None:
    plane = Plane((0.0, 1.0), (0.0, 1.0), 640, 400)
    assert plane.arrow((0.5, 0.5), (0.5, 0.5), 10.0).end == (0.5, 0.5)


def test_two_students_at_one_place_have_two_arrows() -> None:
    document = drawn_up()
    document["arms"][-1] = arm("plain", 0.8, 0.99)
    names = set(re.findall(r'"to_cost": ([-0-9.e]+)', healing(document).to_json()))
    assert len(names) == 2


places = st.tuples(st.floats(0, 1), st.floats(0, 1))


@settings(max_examples=40)
@given(st.lists(places, min_size=1, max_size=6))
def test_labels_cover_no_mark_and_no_label(points: list[tuple[float, float]]) -> None:
    plane = Plane.around([x for x, _ in points] + [0.0, 1.0], [y for _, y in points] + [0.0, 1.0], 640, 400)
    marks = [plane.pixel(*point) for point in points]
    middles = plane.labels([(x, y, "0.25") for x, y in points], marks, [])
    boxes = [Box(plane.pixel(*middle), 12.0, 6.0) for middle in middles]
    for number, box in enumerate(boxes):
        assert not any(box.meets(Box(mark, MARK - 0.1, MARK - 0.1)) for mark in marks)
        assert not any(Box(box.middle, 11.9, 5.9).meets(other) for other in boxes[:number])
        assert box.middle.x > 0 and 0 < box.middle.y < 400
        assert hypot(box.middle.x - marks[number].x, box.middle.y - marks[number].y) < 50


@given(places)
def test_points_and_pixels_are_each_others_inverse(point: tuple[float, float]) -> None:
    plane = Plane.around((-0.5, 2.0), (0.0, 3.0), 640, 400)
    assert plane.point(plane.pixel(*point)) == pytest.approx(point, abs=1e-9)
    assert isinstance(plane.pixel(*point), Pixel)


def test_a_dark_page_gets_light_letters() -> None:
    light, dark = svg(healing(drawn_up())), svg(healing(drawn_up()), dark=True)
    assert LIGHT not in light and "#000000" not in dark
    assert LIGHT in dark and DARK in dark


def test_a_name_with_control_characters_is_drawn() -> None:
    assert "ti<1b>ny" in svg(healing({**drawn_up(), "model": "ti\x1bny"})).replace("&lt;", "<").replace("&gt;", ">")


def test_a_front_that_goes_on_to_the_right_stays_inside_the_plane() -> None:
    def point(dose: float, shift: float, held: float) -> dict[str, Any]:
        read = {"separation": shift, "coherence": held}
        spans = {name: {"value": value, "low": value - 0.01, "high": value + 0.01} for name, value in read.items()}
        return {"dose": dose, "state": "full", "all": {**spans, "front_probability": 0.9}, "screen": None}

    head = {"scale": "p95-kl", "model": "tiny", "trait": "authority", "target": "Authority", "broken": 0.85}
    method = {"method": "svd", "chosen": None, "points": [point(0.3, 0.5, 0.97), point(2.0, 1.5, 0.2)]}
    svg_of = svg(contest({**head, "methods": [method]}))
    (stair,) = re.findall(r'<g class="mark-line role-mark [^"]*" clip-path="([^"]*)"', svg_of)
    assert stair.startswith("url(#"), "what lies at four fifths of the mass lost is cut off at the plane's edge"
