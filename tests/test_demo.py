"""The synthetic store: nothing wrong with it, what was planted is found in it, and it never mixes with real runs."""

from dataclasses import replace
from pathlib import Path

import pytest
from store_child import plain

from steerkit.cli import main
from steerkit.demo.marks import MARK
from steerkit.demo.synthetic import TINY, synthetic
from steerkit.errors import UsageError
from steerkit.records import SYNTHETIC, Arm, Completion, Direction, Run
from steerkit.report.page import page
from steerkit.store import Store


def made(path: Path, seed: int = 0) -> Store:
    store = Store(path)
    synthetic(store, TINY, seed, lambda book, place, total, fresh: None)
    return store


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return made(tmp_path_factory.mktemp("tiny") / "tiny.duckdb")


def test_a_synthetic_store_has_no_problems_and_says_what_it_is(tiny: Store) -> None:
    assert tiny.problems() == []
    runs = tiny.query("SELECT run_id, model, gate FROM run")
    assert set(runs["model"]) == {SYNTHETIC} and runs["run_id"].str.ends_with(MARK).all()
    assert set(runs["gate"]) == {"gate1", "gate2", "gate3", "gate4", "sweep"}
    assert set(tiny.query("FROM run_state")["state"]) == {"finished"}


def test_what_was_planted_is_found(tiny: Store) -> None:
    """Shifts grow with the dose, coherence falls, null directions and the control method do nothing, texts break."""
    arms = tiny.query(
        "FROM pareto WHERE kind = 'steered' AND dose > 0 AND run_id LIKE $first ORDER BY dose", _first(tiny)
    )
    assert arms["d_target"].is_sorted(descending=True) and arms["coherence"].is_sorted(descending=True)
    assert arms["d_target"][-1] < -0.4
    nulls = tiny.query("FROM pareto WHERE kind IN ('random', 'shuffled')")
    assert nulls["d_target"].abs().max() < 0.25
    inert = tiny.query("FROM pareto WHERE kind = 'steered' AND method = 'null'")
    assert inert["d_target"].abs().max() < 0.1
    survival = tiny.query("SELECT dose, sum(kept) / sum(made) AS kept FROM survival WHERE role = 'probe' GROUP BY ALL")
    shares = dict(survival.sort("dose").iter_rows())
    assert shares[min(shares)] > 0.85 and shares[max(shares)] < 0.15


def _first(store: Store) -> dict[str, str]:
    run = store.query(
        "SELECT run_id FROM run WHERE gate = 'gate1' AND method = 'mean_mass' ORDER BY registered_at LIMIT 1"
    )
    return {"first": run.item()}


def test_the_loop_goes_further_round_by_round(tiny: Store) -> None:
    rounds = tiny.ask("rounds")
    assert rounds["round"].to_list() == [0, 1] and rounds["d_target"].is_sorted(descending=True)
    assert rounds["steered_d_target"].null_count() == 0 and rounds["cosine_first"][1] == pytest.approx(0.93, abs=0.08)
    assert rounds["stop"].to_list() == ["", "all rounds"]


def test_figures_of_a_text_are_those_of_its_tokens(tiny: Store) -> None:
    off = tiny.query("""
        SELECT max(abs(perplexity - exp(list_avg(token_nll)))), bool_and(list_sum(token_kl) = 0 OR role <> 'base'),
            bool_and(array_to_string(pieces, '') = text), bool_and(len(token_kl) = tokens AND len(token_ids) = tokens)
        FROM completion
    """)
    assert off.row(0)[0] < 1e-6 and off.row(0)[1:] == (True, True, True)
    spans = tiny.query("""
        SELECT text[start + 1:stop] AS narrated FROM filter_decision JOIN completion USING (run_id, completion_id)
        WHERE name = 'narration' AND NOT keep
    """)["narrated"]
    assert len(spans) and spans.str.contains(r"I am a person|As someone who|I have always|My conscience").all()


def test_decisions_are_what_their_values_say(tiny: Store) -> None:
    wrong = tiny.query("""
        SELECT count(*) FROM filter_decision
        WHERE keep <> CASE direction WHEN 'at most' THEN value <= threshold ELSE value >= threshold END
    """)
    counts = tiny.query("SELECT count(DISTINCT name) AS checks FROM filter_decision GROUP BY run_id, completion_id")
    assert wrong.item() == 0 and counts["checks"].n_unique() == 1


@pytest.mark.slow
def test_a_kill_is_made_good_and_a_second_time_writes_nothing(tmp_path: Path) -> None:
    few, seen = replace(TINY, loops=(), texts=200), list[int]()
    store, undisturbed = Store(tmp_path / "killed.duckdb"), Store(tmp_path / "undisturbed.duckdb")

    def killed(book: object, place: int, total: int, fresh: int) -> None:
        if place == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthetic(store, few, 0, killed)
    synthetic(store, few, 0, lambda book, place, total, fresh: seen.append(fresh))
    assert seen == [0, 0, 0, 1, 2, 3, 4] and store.problems() == []
    synthetic(undisturbed, few, 0, lambda *said: None)
    same = "SELECT run_id, count(*), sum(perplexity) FROM completion GROUP BY ALL ORDER BY ALL"
    assert store.query(same).equals(undisturbed.query(same))


def test_real_and_synthetic_runs_never_share_a_store(tiny: Store, tmp_path: Path) -> None:
    real = Store(tmp_path / "real.duckdb")
    real.append([plain(Run, run_id="real", model="smollm2-135m")])
    real.ingest()
    with pytest.raises(UsageError, match="must hold nothing real, but .* has run real of smollm2-135m"):
        synthetic(real, TINY, 0, lambda *said: None)
    assert main(["demo", "--store", str(tiny.path)]) == 2


@pytest.mark.parametrize("gate", ["gate2", "gate4"])
def test_a_report_of_a_synthetic_run_says_so(tiny: Store, gate: str) -> None:
    run = tiny.query("SELECT min(run_id) FROM run WHERE gate = $gate", {"gate": gate}).item()
    assert "synthetic" in page(tiny, run).html


def test_orphans_are_found_across_runs(tmp_path: Path) -> None:
    """An arm may go along another run's direction, but not along none."""
    store = Store(tmp_path / "orphans.duckdb")
    store.append([plain(Run), plain(Run, run_id="later"), plain(Direction, direction_id="known")])
    adopted = plain(Arm, run_id="later", arm_id="a", direction_id="known")
    store.append([adopted, plain(Completion, run_id="later", completion_id="c", direction_id="gone")])
    store.ingest()
    assert store.problems()[0].startswith("1 row(s) of completion of run later belong to direction gone")


def test_the_command_makes_a_store_and_says_how_to_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("steerkit.demo.synthetic.LARGE", replace(TINY, loops=(), texts=200))
    path = tmp_path / "large.duckdb"
    assert main(["demo", "--size", "large", "--store", str(path)]) == 0
    printed = capsys.readouterr()
    assert f"steerkit dashboard --store {path}" in printed.out and "left" in printed.err
