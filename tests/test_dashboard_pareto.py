"""The front page: places, fronts, nulls, arrows, the ranking, and what lies behind a clicked point."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars
import pytest
import stored_plane
from dashboard_page import page, said, trouble
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_plane import GOOD, HOSTILE, POOR, VIGNETTES
from streamlit.testing.v1 import AppTest

from dashboard import axes, charts, figure
from dashboard.axes import COSTS, GAINS, Axes
from dashboard.charts.pareto import NAMED, pareto
from dashboard.charts.point import movers
from steerkit.fronts import hypervolume
from steerkit.store import Store
from steerkit.visible import visible

AXES = Axes(GAINS["separation"], COSTS["coherence"], "Authority")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_plane.make(tmp_path_factory.mktemp("plane") / "steerkit.duckdb")


@pytest.fixture(scope="module")
def arms(store: Path) -> polars.DataFrame:
    return Store(store).ask("plane")


def spec(arms: polars.DataFrame, chosen: Axes = AXES) -> dict[str, Any]:
    return charts.dressed(pareto(axes.points(arms, chosen), chosen), dark=False)


def rows(spec: Mapping[str, Any], *fields: str) -> list[dict[str, Any]]:
    """The rows of the layer that has these fields."""
    sets = [found for found in spec["datasets"].values() if found and set(fields) <= set(found[0])]
    assert len(sets) == 1, f"{len(sets)} layers have {fields}"
    return list(sets[0])


# What is drawn


def test_an_arm_that_a_later_gate_took_over_is_one_arm(arms: polars.DataFrame) -> None:
    assert "adopted" not in arms["arm_id"].to_list()
    assert arms.filter(arms["kind"] == "steered").height == 8
    assert arms.filter(arms["arm_id"] == "student")["label"].to_list() == ["HEALED"]


def test_points_lie_where_they_were_planted_with_their_intervals(arms: polars.DataFrame) -> None:
    point = next(p for p in axes.points(arms, AXES) if p["arm_id"] == "run-good 0.5")
    assert (point["gain"], point["gain_low"], point["gain_high"]) == pytest.approx((0.6, 0.5, 0.7))
    assert (point["cost"], point["cost_low"], point["cost_high"]) == pytest.approx((0.04, 0.03, 0.05))


def test_another_foundation_and_another_cost_move_the_points_and_draw_no_front(store: Path) -> None:
    other = Axes(GAINS["d_care"], COSTS["dose"], "Authority")
    arms = Store(store).ask("plane", {"gain": "d_care"})
    point = next(p for p in axes.points(arms, other) if p["arm_id"] == "run-good 0.5")
    assert (point["gain"], point["cost"]) == pytest.approx((0.3, 0.5))
    drawn = spec(arms, other)
    assert not [found for found in drawn["datasets"].values() if found and "step" in found[0]]
    assert not [found for found in drawn["datasets"].values() if found and "from" in found[0]], "broken region"


def test_the_front_of_each_method_is_a_staircase_that_nothing_beats(arms: polars.DataFrame) -> None:
    stairs = rows(spec(arms), "front", "step")
    good = [(step["cost"], step["gain"]) for step in stairs if step["front"] == f"{GOOD} steering"]
    # The persona as a prompt is the cheapest of all.
    assert [*map(pytest.approx, good)] == [(0.01, 0.12), (0.02, 0.3), (0.04, 0.6), (0.3, 1.2)]
    students = [(step["cost"], step["gain"]) for step in stairs if step["of"] == "students"]
    assert students == [pytest.approx((0.01, 0.5))]


def test_doses_of_a_direction_are_joined_in_order_through_the_base(arms: polars.DataFrame) -> None:
    drawn = spec(arms)
    [layer] = [
        one
        for one in drawn["layer"]
        if one["mark"].get("type") == "line"
        and "detail" in one["encoding"]
        and one["encoding"]["detail"]["field"] == "line"
    ]
    assert layer["encoding"]["order"]["field"] == "dose"
    path = [row for row in drawn["datasets"][layer["data"]["name"]] if "run-good" in row["line"]]
    assert sorted(row["dose"] for row in path) == [-0.5, 0.0, 0.25, 0.5, 1.0]
    assert [(row["cost"], row["gain"]) for row in path if row["dose"] == 0.0] == [(0.0, 0.0)]


def test_nulls_are_a_cloud_and_never_on_a_front(arms: polars.DataFrame) -> None:
    drawn = spec(arms)
    hull = rows(drawn, "order")
    assert hull[0]["cost"] == hull[-1]["cost"] and hull[0]["gain"] == hull[-1]["gain"], "closed"
    nulls = [point for point in axes.points(arms, AXES) if point["kind"] == "random"]
    assert {(round(c["cost"], 6), round(c["gain"], 6)) for c in hull} <= {
        (round(n["cost"], 6), round(n["gain"], 6)) for n in nulls
    }


def test_a_student_is_an_arrow_from_the_model_whose_texts_it_learned(arms: polars.DataFrame) -> None:
    arrows = [found for found in spec(arms)["datasets"].values() if found and "angle" in found[0]]
    [arrow] = arrows[0]
    assert (arrow["end_cost"], arrow["end_gain"]) == pytest.approx((0.01, 0.5))
    assert arrow["label"] == "HEALED"
    # It starts towards the steered model at (0.04, 0.60) and stops short of both marks.
    assert 0.01 < arrow["to_cost"] < arrow["cost"] < 0.04
    assert 0.5 < arrow["to_gain"] < arrow["gain"] < 0.6


def test_the_broken_region_begins_where_coherence_is_below_its_floor(arms: polars.DataFrame) -> None:
    [region] = [found for found in spec(arms)["datasets"].values() if found and "from" in found[0]]
    assert region[0]["from"] == pytest.approx(0.15)


def test_many_points_are_drawn_without_labels_that_cover_one_another(arms: polars.DataFrame) -> None:
    points = axes.points(arms, AXES)
    many = [
        {**points[0], "kind": "steered", "group": "steered", "arm_id": f"a{i}", "dose": i / 100}
        for i in range(NAMED + 1)
    ]
    drawn = charts.dressed(pareto(many, AXES), dark=False)
    assert not [found for found in drawn["datasets"].values() if found and {*found[0]} == {"cost", "gain", "label"}]


@pytest.mark.parametrize("dark", [False, True])
def test_the_picture_renders_and_its_dark_page_has_readable_colours(arms: polars.DataFrame, dark: bool) -> None:
    drawn = charts.dressed(pareto(axes.points(arms, AXES), AXES), dark=dark)
    image = figure.svg({**drawn, "width": 600})
    assert image.startswith("<svg") and "onerror=alert(1)>" not in image
    assert ("#E6E6E6" in image) == dark


def test_files_are_a_picture_and_harmless_rows(arms: polars.DataFrame) -> None:
    assert figure.png(charts.printed(pareto(axes.points(arms, AXES), AXES))).startswith(b"\x89PNG")
    assert figure.as_csv(polars.DataFrame({"=x": ["=1+1", "-2", "@a", "ok"], "n": [-1.5, 2.0, None, 0.0]})) == (
        "'=x,n\n'=1+1,-1.5\n'-2,2.0\n'@a,\nok,0.0\n"
    )


def test_movers_show_the_base_beside_the_arm(store: Path) -> None:
    found = Store(store).ask("answers", {"run": "run-good", "arm": "run-good 0.5"})
    assert found["vignette"].to_list() == [*reversed(VIGNETTES)], "the biggest mover first"
    assert (found["moved"] < 0).all()
    assert figure.svg({**charts.dressed(movers(found), dark=False), "width": 400}).startswith("<svg")


# Hypervolume

PLACES = st.lists(st.tuples(st.floats(-0.1, 0.3), st.floats(-1, 2)), max_size=8)


@settings(max_examples=40, deadline=None)
@given(PLACES)
def test_hypervolume_is_the_mean_of_what_each_budget_buys(places: list[tuple[float, float]]) -> None:
    steps = 400
    budgets = [0.15 * (i + 0.5) / steps for i in range(steps)]
    bought = [max([0.0, *(gain for cost, gain in places if max(cost, 0.0) <= budget)]) for budget in budgets]
    assert hypervolume(places, 0.15) == pytest.approx(sum(bought) / steps, abs=1.5e-2)


@settings(max_examples=40, deadline=None)
@given(PLACES, st.tuples(st.floats(-0.1, 0.3), st.floats(-1, 2)))
def test_one_more_place_never_makes_the_hypervolume_smaller(
    places: list[tuple[float, float]], more: tuple[float, float]
) -> None:
    assert hypervolume([*places, more], 0.15) >= hypervolume(places, 0.15) - 1e-12


# The page


def test_the_page_ranks_methods_and_says_which_to_use(store: Path) -> None:
    app = page(store, "pareto")
    assert trouble(app) == []
    assert "Of 2 methods, **good** offers most: \\+0.60" in said(app).replace("\\.", ".").replace("+0", "\\+0")
    assert "Gate 1 says **PASS**" in said(app)
    table = app.dataframe[0].value
    assert table["method"].tolist() == [GOOD, POOR]
    assert table["hypervolume"].tolist()[0] == pytest.approx((0.3 * 0.02 + 0.6 * 0.11) / 0.15)
    assert table["healed"].tolist() == ["HEALED", ""]


def clicked(store: Path, arm: str, **address: str) -> AppTest:
    app = page(store, "pareto", **address)
    app.session_state["chart_plane"] = {"selection": {"pick": [{"arm_id": arm}], "brush": {}}}
    return app.run()


def test_a_click_opens_the_answers_of_its_arm(store: Path) -> None:
    app = clicked(store, "run-good 0.5")
    assert trouble(app) == []
    assert app.selectbox(key="arm").value == "run-good 0.5"
    assert app.query_params["arm"] == "run-good 0.5"
    assert "3 vignettes" in said(app)
    assert app.dataframe[-1].value["vignette"].tolist() == [*reversed(VIGNETTES)]
    assert [metric.value for metric in app.metric] == ["+0.600 nats", "0.960", "0.250", "50%"]


def test_the_texts_of_a_point_are_shown_letter_by_letter(store: Path) -> None:
    app = clicked(store, "run-good 0.5", part="Texts")
    assert trouble(app) == []
    assert f"said {visible(HOSTILE)}" in [text.value for text in app.text]


def test_the_dose_of_a_point_is_on_its_ladder(store: Path) -> None:
    app = clicked(store, "run-good 0.5", part="Dose")
    assert trouble(app) == []
    assert "Strength 1 is dose 0.5" in said(app) and "calibrated" in said(app)


def test_a_point_says_how_to_make_it_again(store: Path) -> None:
    app = clicked(store, "run-good 0.5", part="Reproduce")
    assert trouble(app) == []
    assert "steerkit why run-good 0.5" in said(app).replace("'", "")


def test_dragging_lists_the_points_in_the_frame(store: Path) -> None:
    app = page(store, "pareto")
    app.session_state["chart_plane"] = {"selection": {"pick": [], "brush": {"cost": [0.0, 0.05], "gain": [0.25, 0.7]}}}
    app.run()
    assert "3 points in the frame" in said(app)
    assert sorted(app.dataframe[-1].value["arm_id"]) == ["run-good 0.25", "run-good 0.5", "student"]


def test_a_link_shows_what_it_was_sent_for(store: Path) -> None:
    app = page(store, "pareto", arm="student", part="Answers", gain="d_care")
    assert trouble(app) == []
    assert app.selectbox(key="arm").value == "student" and app.selectbox(key="gain").value == "d_care"


@pytest.mark.parametrize(
    ("name", "value"), [("gain", "nonsense"), ("cost", HOSTILE), ("arm", "gone"), ("method", "x"), ("part", "Nothing")]
)
def test_a_malformed_link_says_so_and_shows_the_default(store: Path, name: str, value: str) -> None:
    app = page(store, "pareto", **{"arm": "student", name: value})
    [warning] = [w.value for w in app.warning if "link asks for" in w.value]
    assert "<img" not in warning.replace("\\<", "")
    assert not app.exception


def test_choices_narrow_what_is_drawn(store: Path) -> None:
    app = page(store, "pareto", method="good")
    assert app.dataframe[0].value["method"].tolist() == [GOOD]
    whole = page(store, "pareto", whole="true", method="good")
    assert len(whole.selectbox(key="arm").options) == len(app.selectbox(key="arm").options) - 1


def test_a_run_under_way_shows_its_arms_before_its_verdict(tmp_path: Path) -> None:
    path = tmp_path / "live.duckdb"
    store = Store(path)
    under_way = [record for record in stored_plane._gate1("run-live", GOOD) if type(record).__name__ != "Effect"]
    store.append([stored_plane.run_of("run-live", GOOD, "gate1", "2026-01-01T00:00:00+00:00"), *under_way])
    store.append([stored_plane.plain(stored_plane.RunEvent, run_id="run-live", seq=1, state="started")])
    store.ingest()
    app = page(path, "pareto", arm="run-live 0.5")
    assert trouble(app) == []
    # The planted answers of dose 0.5 move by 0.6, 1.2 and 1.8 before they are normalised.
    assert app.metric[0].value.startswith("+") and app.metric[2].value == "not measured"


def test_the_point_of_a_link_has_a_ring(store: Path) -> None:
    arms = axes.points(Store(store).ask("plane", {}), AXES)
    ringed, bare = (charts.dressed(pareto(arms, AXES, arm), dark=False) for arm in ("student", None))
    sets = [[row["arm_id"] for row in rows] for rows in ringed["datasets"].values() if rows and "arm_id" in rows[0]]
    assert ["student"] in sets
    assert ringed["layer"] == bare["layer"], "only the rows differ, so that the page keeps its chart"


def test_a_channel_of_coherence_lies_across(store: Path) -> None:
    app = page(store, "pareto", cost="kl_mean", gain="separation")
    assert trouble(app) == [] and app.selectbox(key="cost").value == "kl_mean"
    chosen = Axes(GAINS["separation"], COSTS["repetition"], "Authority")
    arms = Store(store).ask("plane", {}).with_columns(distinct_tail=0.8)
    drawn = axes.points(arms, chosen)
    assert {round(point["cost"], 6) for point in drawn} == {0.2}, "less is better: what repeats, not what is distinct"
    rows = [row for rows in pareto(drawn, chosen).to_dict()["datasets"].values() for row in rows]
    assert not [row for row in rows if row.get("cost") == 0.0], "the base is not at nought there"


def test_every_axis_draws(store: Path) -> None:
    reader = Store(store)
    for gain, cost in [*((gain, "coherence") for gain in GAINS), *(("d_auth", cost) for cost in COSTS)]:
        chosen = Axes(GAINS[gain], COSTS[cost], "Authority")
        arms = reader.ask("plane", {"gain": GAINS[gain].quantity, "cost": COSTS[cost].quantity})
        if COSTS[cost].channel:
            arms = arms.join(
                reader.ask("channels").select("run_id", "arm_id", COSTS[cost].column), ["run_id", "arm_id"]
            )
        points = axes.points(arms, chosen)
        assert not points or "layer" in charts.dressed(pareto(points, chosen), dark=True)
