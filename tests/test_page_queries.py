"""The named queries behind the dashboard: what they find, leave out and count, on stores whose answers are known."""

import json
from pathlib import Path

import polars
import pytest
import stored_texts
from msgspec.structs import replace
from store_child import plain
from stored_texts import DROPPED, HOSTILE, RUN, STEERED, TEXTS, copied

from steerkit.labelling import labelled
from steerkit.records import Adapter, Arm, Completion, HealStep, Round, Run
from steerkit.stages.filter import decide, thresholds
from steerkit.store import Store

QUESTIONS = (
    "beside",
    "borderline",
    "check_ranges",
    "check_values",
    "compare_vignettes",
    "heal_curves",
    "redecide_counts",
    "spec_differences",
    "unread",
)
"""The questions that these stores answer, and the ones of other tests do not."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_texts.make(tmp_path_factory.mktemp("original") / "steerkit.duckdb")


@pytest.fixture(scope="module")
def store(original: Path) -> Store:
    return Store(original)


def test_groups_count_what_is_decided_and_kept(store: Store) -> None:
    rows = {row["writer"]: row for row in store.ask("text_groups", {"run": RUN}).to_dicts()}
    assert {name: row["texts"] for name, row in rows.items()} == {"base": 4, "probe": 6, "collected": 6}
    kept = {name: sum(DROPPED.get(text) is None for text in TEXTS if text.startswith(name)) for name in rows}
    assert {name: row["kept"] for name, row in rows.items()} == kept
    assert all(row["decided"] == row["texts"] for row in rows.values())


def test_a_page_holds_so_many_texts_and_says_how_many_there_are(store: Store) -> None:
    whole = store.ask("text_page", {"run": RUN, "limit": 100})
    assert whole.height == len(TEXTS) and set(whole["found"]) == {len(TEXTS)}
    pages = [store.ask("text_page", {"run": RUN, "limit": 5, "skip": skip}) for skip in (0, 5, 10, 15)]
    assert [page.height for page in pages] == [5, 5, 5, 1]
    assert polars.concat(pages)["completion_id"].to_list() == whole["completion_id"].to_list()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"kept": "dropped"}, set(DROPPED)),
        ({"kept": "kept"}, set(TEXTS) - set(DROPPED)),
        ({"kept": "undecided"}, set()),
        ({"check": "loops"}, {"probe-loop"}),
        ({"writer": "base"}, {name for name in TEXTS if name.startswith("base")}),
        ({"words": "<SCRIPT>"}, {"collected-hostile"}),
        ({"words": "%"}, set()),
        ({"completion": "probe-o"}, {"probe-over"}),
    ],
)
def test_a_page_is_narrowed(store: Store, asked: dict[str, str], expected: set[str]) -> None:
    found = store.ask("text_page", {"run": RUN, "limit": 100, **asked})
    assert set(found["completion_id"]) == expected


def test_a_page_has_every_check_of_its_texts(store: Store) -> None:
    row = store.ask("text_page", {"run": RUN, "completion": "probe-over"}).row(0, named=True)
    said = {decision["name"]: decision for decision in row["decisions"]}
    assert said.keys() == thresholds({}).keys()
    assert not said["perplexity"]["keep"] and (said["perplexity"]["value"], row["dropped_by"]) == (15.5, ["perplexity"])


@pytest.mark.parametrize(("sort", "first"), [("perplexity", "probe-far"), ("kl", "collected-kl"), ("dose", "base")])
def test_a_page_is_sorted(store: Store, sort: str, first: str) -> None:
    assert store.ask("text_page", {"run": RUN, "sort": sort})["completion_id"][0].startswith(first)


def test_the_borderline_is_where_one_check_decides(store: Store) -> None:
    found = store.ask("borderline", {"run": RUN, "limit": 100}).to_dicts()
    names = [row["completion_id"] for row in found]
    assert "probe-loop" not in names, "two checks drop it"
    assert set(names) == set(STEERED) - {"probe-loop"}
    assert names.index("probe-over") < names.index("probe-far")
    only = store.ask("borderline", {"run": RUN, "check": "perplexity", "limit": 100})
    assert set(only["name"]) == {"perplexity"} and "collected-refusal" not in only["completion_id"]
    near = only.filter(only["nearer"] == 1)
    assert dict(near.select("completion_id", "keep").iter_rows()) == {"probe-near": True, "probe-over": False}


def test_what_a_labeller_has_read_leaves_both_queues(original: Path, tmp_path: Path) -> None:
    store = Store(copied(original, tmp_path / "store"))
    store.append([labelled(RUN, "probe-over", "ada", True, "enacts", 1)])
    store.append(
        [labelled(RUN, "probe-near", "ada", True, "enacts", 1), labelled(RUN, "probe-near", "ada", None, None, 2)]
    )
    store.ingest()
    for queue, all_found in (("borderline", len(STEERED) - 1), ("unread", len(STEERED))):
        mine = store.ask(queue, {"run": RUN, "labeller": "ada", "limit": 100})
        theirs = store.ask(queue, {"run": RUN, "labeller": "bob", "limit": 100})
        assert "probe-over" not in mine["completion_id"] and "probe-near" in mine["completion_id"], queue
        assert (mine.height, theirs.height) == (all_found - 1, all_found), queue


def test_the_blind_queue_takes_turns_and_depends_on_its_seed_alone(store: Store) -> None:
    orders = [
        store.ask("unread", {"run": RUN, "seed": seed, "limit": 100})["completion_id"].to_list() for seed in range(8)
    ]
    assert all(set(order) == set(STEERED) for order in orders) and len({tuple(order) for order in orders}) > 4
    for order in orders:
        pairs = [{name in DROPPED for name in order[at : at + 2]} for at in range(0, 2 * len(DROPPED), 2)]
        assert all(pair == {True, False} for pair in pairs), "as long as both last, of each one"
    assert len({order[0] in DROPPED for order in orders}) == 2, "either may come first"
    assert store.ask("unread", {"run": RUN, "limit": 100})["completion_id"].to_list() == orders[0]


@pytest.mark.parametrize("given", [{}, {"perplexity": 14.0}, {"perplexity": 80.0}, {"loops": 0.05, "length": 2.0}])
def test_redecided_counts_are_those_of_the_checks_themselves(store: Store, given: dict[str, float]) -> None:
    asked = {"run": RUN, "thresholds": json.dumps(given)}
    counts = store.ask("redecide_counts", asked)
    rows = store.ask("redecide", asked)
    steered = rows.filter(polars.col("role") != "base")
    assert counts["would_be_kept"].sum() == steered["would_be_kept"].sum()
    texts = store.records(Completion, RUN)
    spec = stored_texts.SPEC
    limits = dict(spec.filters) | given
    said = decide(texts, stored_texts.behind(texts, spec), limits, run=RUN, unit="u", filter_id="f")
    dropped = {d.completion_id for d in said if not d.keep}
    assert set(rows.filter(~polars.col("would_be_kept"))["completion_id"]) == dropped
    changed = store.ask("redecide", {**asked, "changed": True})
    assert set(changed["completion_id"]) == set(
        rows.filter(polars.col("kept") != polars.col("would_be_kept"))["completion_id"]
    )
    assert (counts["added"].sum() - counts["lost"].sum()) == counts["would_be_kept"].sum() - counts["kept"].sum()
    assert store.ask("redecide", {**asked, "limit": 2}).height == 2


def test_ranges_and_bins_hold_every_steered_text(store: Store) -> None:
    ranges = {row["name"]: row for row in store.ask("check_ranges", {"run": RUN}).to_dicts()}
    row = ranges["perplexity"]
    assert (row["lowest"], row["highest"], row["threshold"], row["dropped"], row["alone"]) == (5.0, 60.0, 15.0, 2, 2)
    bins = store.ask("check_values", {"run": RUN, "check": "perplexity", "bins": 11})
    assert bins["texts"].sum() == len(STEERED) and bins["kept"].sum() == len(STEERED) - len(DROPPED)
    assert (bins["low"].min(), bins["high"].max()) == pytest.approx((5.0, 60.0))


def test_prompts_and_what_stands_beside_each_other(tmp_path: Path) -> None:
    store = Store(tmp_path / "steerkit.duckdb")
    kinds = ("healed", "base", "plain", "steered")
    arms = [
        plain(Arm, arm_id=kind, kind=kind, adapter_id=kind if kind in ("healed", "plain") else None) for kind in kinds
    ]
    texts = [
        plain(
            Completion,
            completion_id=f"{kind}{system}",
            arm_id=kind,
            prompt_id="p",
            text=kind,
            role="greedy",
            system_prompt=system,
        )
        for kind in kinds
        for system in (None, "be kind")
    ]
    store.append([plain(Run), *arms, *texts])
    store.ingest()
    prompts = store.ask("prompts", {"run": "run"})
    assert prompts.select("prompt_id", "system_prompt", "texts", "found").rows() == [
        ("p", None, 4, 2),
        ("p", "be kind", 4, 2),
    ]
    beside = store.ask("beside", {"run": "run", "prompt": "p"})
    assert beside["text"].to_list() == ["base", "steered", "plain", "healed"]
    assert set(store.ask("beside", {"run": "run", "prompt": "p", "system": "be kind"})["system_prompt"]) == {"be kind"}
    assert store.ask("beside", {"run": "run", "prompt": "p", "limit": 1}).height == 1


def test_curves_are_thinned_without_losing_their_mean(tmp_path: Path) -> None:
    store = Store(tmp_path / "steerkit.duckdb")
    adapter = plain(Adapter, adapter_id="a", role="healed", tau=0.5, config='{"aggregate": "p95"}')
    steps = [
        plain(
            HealStep, adapter_id="a", step=n, nll=float(n), d_p95=2.0 * n, d_mean=-1.0, grad_nll=2.0, grad_barrier=1.0
        )
        for n in range(1, 1001)
    ]
    store.append([plain(Run), adapter, *steps])
    store.ingest()
    curve = store.ask("heal_curves", {"run": "run"})
    assert curve.height == 200 and curve["nll"].mean() == pytest.approx(500.5)
    assert curve["divergence"].to_list() == pytest.approx((2 * curve["nll"]).to_list()), "the aggregate of its barrier"
    assert curve["step"].is_sorted() and curve["step"][-1] == 1000
    assert set(curve["gradient_ratio"]) == {0.5} and set(curve["tau"]) == {0.5}
    short = store.ask("heal_curves", {"run": "run", "points": 5000})
    assert short.height == 1000 and short["nll"].to_list() == [float(n) for n in range(1, 1001)]


def test_specs_differ_where_they_say_otherwise(tmp_path: Path) -> None:
    store = Store(tmp_path / "steerkit.duckdb")
    one = {"method": "svd", "layers": [1, 2], "filters": {"perplexity": 15.0}, "same": 1, "name": "=1+1"}
    two = {"method": "mean", "layers": [1, 3], "filters": {"perplexity": 15.0}, "same": 1, "more": True}
    store.append([plain(Run, run_id=name, spec=json.dumps(spec)) for name, spec in (("one", one), ("two", two))])
    store.append([plain(Run, run_id="odd", spec="no json")])
    store.ingest()
    found = store.ask("spec_differences", {"first": "one", "second": "two"}).rows()
    assert found == [
        ("layers[1]", "2", "3"),
        ("method", "svd", "mean"),
        ("more", None, "true"),
        ("name", "=1+1", None),
    ]
    assert store.ask("spec_differences", {"first": "one", "second": "one"}).is_empty()
    assert store.ask("spec_differences", {"first": "one", "second": "odd"}).height > 4


def test_texts_of_a_loop_stand_by_round(tmp_path: Path) -> None:
    store = Store(tmp_path / "steerkit.duckdb")
    rounds = [plain(Round, round=n, healed_arm=f"h{n}", steered_arm=f"s{n}", plain_arm=None) for n in (0, 1)]
    arms = [plain(Arm, arm_id=f"{kind[0]}{n}", kind=kind) for n in (0, 1) for kind in ("healed", "steered")]
    base = plain(Arm, arm_id="b", kind="base")
    texts = [
        replace(
            plain(Completion, completion_id=arm.arm_id, prompt_id="p", role="greedy"), arm_id=arm.arm_id, text=HOSTILE
        )
        for arm in (*arms, base)
    ]
    store.append([plain(Run), *rounds, *arms, base, *texts])
    store.ingest()
    found = store.ask("beside", {"run": "run", "prompt": "p"})
    assert found["arm_id"].to_list() == ["b", "s0", "h0", "s1", "h1"]
