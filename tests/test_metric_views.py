"""The metric views against numbers that numpy makes anew from the raw answers, and against the metrics in Python."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from scipy.special import log_softmax as scipy_log_softmax
from sklearn.metrics import accuracy_score, recall_score
from store_child import plain
from test_queries import AUTHORITY, LABELS, NAMES, ORDERS, Planted

from steerkit import agreement
from steerkit.metrics import measure
from steerkit.records import ANSWER_FIELDS, FOUNDATIONS, Answer, Completion, FreeAnswer, HumanLabel, Run
from steerkit.spec import canonical
from steerkit.stats import resample
from steerkit.store import Store

ROWS = len(LABELS)
truth_of = np.asarray(LABELS)
VERSIONS = {"v1": (True, 1e-6), "v1-raw": (False, 1e-6), "v1-tail": (True, 1e-12)}


class Sided(Planted):
    """The planted answers, with both signs of one direction, people's answers to some vignettes, and free answers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        chance = np.random.default_rng(11)
        spec = canonical({"target": "Authority", "sign": -1})
        for name, scale in (("plus", 1.0), ("minus", -1.0)):
            self.raw[name] = self.raw["base"] + chance.normal(0, 0.5, (ROWS, ORDERS, 7))
            self.raw[name][..., AUTHORITY] -= scale
            self.outside[name] = chance.uniform(0.1, 0.4, (ROWS, ORDERS))
        self.raw["minus"][4, 0, 6] = np.nan
        self.raw["plus"][5, :, 2] = -np.inf
        shares = chance.dirichlet(np.ones(7), ROWS)
        self.shares = np.where(np.arange(ROWS)[:, None] < 15, shares, np.nan)
        self.kl = {"base": [[0.0, 0.0]], "plus": [[0.1, 0.4, 2.0], [0.3]]}
        arms = [replace(self.arm(name, "steered"), dose=dose) for name, dose in (("plus", 0.5), ("minus", -0.5))]
        self.store.append([plain(Run, run_id="run", spec=spec), *arms, *self.people(), *self.written(), *self.texts()])
        self.store.append(
            [
                self.answer(name, row, order)
                for name in ("plus", "minus")
                for row in range(ROWS)
                for order in range(ORDERS)
            ]
        )
        self.store.ingest()

    def people(self) -> list[HumanLabel]:
        return [
            plain(HumanLabel, vignette=f"v{row}", foundation=name, share=float(self.shares[row, i]))
            for row in range(15)
            for i, name in enumerate(FOUNDATIONS)
        ]

    def written(self) -> list[FreeAnswer]:
        valid = [True, False, True, True]
        return [plain(FreeAnswer, arm_id="plus", vignette=f"v{i}", valid=good) for i, good in enumerate(valid)]

    def texts(self) -> list[Completion]:
        return [
            plain(
                Completion,
                completion_id=f"{arm}{i}",
                arm_id=arm,
                token_kl=kl,
                ended=i == 0,
                distinct_tail=0.5 + i / 4,
                compression=2.0 + i,
                perplexity=3.0 + i,
                tail_perplexity=5.0 + i,
            )
            for arm, lists in self.kl.items()
            for i, kl in enumerate(lists)
        ]

    def logp(self, name: str, corrected: bool) -> np.ndarray:
        """log p over the seven answers, by scipy; NaN rows are unscorable."""
        with np.errstate(invalid="ignore"):
            return scipy_log_softmax((self.raw[name] - (self.prior if corrected else 0.0)).mean(axis=1), axis=1)

    def one(self, view: str, arm: str, version: str) -> dict[str, float]:
        sql = f"FROM {view} WHERE run_id = 'run' AND arm_id = $arm AND version = $version"
        return self.store.query(sql, {"arm": arm, "version": version}).row(0, named=True)


@pytest.fixture(scope="module")
def sided(tmp_path_factory: pytest.TempPathFactory) -> Sided:
    return Sided(tmp_path_factory.mktemp("sided"))


def test_the_versions_are_these(sided: Sided) -> None:
    rows = sided.store.query("SELECT version, corrected, floor FROM metric_version").rows()
    assert {version: (corrected, floor) for version, corrected, floor in rows} == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("arm", ["base", "up", "odd", "plus", "minus"])
def test_the_trait_is_what_numpy_says(sided: Sided, arm: str, version: str) -> None:
    corrected, floor = VERSIONS[version]
    choice, found = sided.logp(arm, corrected), sided.one("trait_by_version", arm, version)
    read = ~np.isnan(choice).any(axis=1)
    floored = np.maximum(choice, np.log(floor))
    own = floored[np.arange(ROWS), [FOUNDATIONS.index(label) for label in LABELS]]
    picks = np.where(read, np.nan_to_num(choice, nan=-9e9).argmax(axis=1), -1)
    assert found["unscorable"] == (~read).sum() and found["vignettes"] == ROWS
    assert found["auth_nats"] == pytest.approx(floored[read & (truth_of == "Authority"), AUTHORITY].mean())
    assert found["auth_marginal_nats"] == pytest.approx(np.log(np.exp(choice[read, AUTHORITY]).mean()))
    for i, name in enumerate(FOUNDATIONS):
        rows = read & (truth_of == name)
        assert found[f"{NAMES[name]}_nats"] == pytest.approx(floored[rows, i].mean())
        assert found[f"{NAMES[name]}_clr"] == pytest.approx((floored[rows, i] - floored[rows].mean(axis=1)).mean())
        assert found[f"{NAMES[name]}_picked"] == pytest.approx((picks == i).mean())
    index = [FOUNDATIONS.index(label) for label in LABELS]
    assert found["accuracy"] == pytest.approx(accuracy_score(index, picks))
    hits = [recall_score(np.equal(index, i), picks == i) for i in range(7)]
    alarms = [(picks == i)[np.not_equal(index, i)].mean() for i in range(7)]
    assert found["informedness"] == pytest.approx(np.mean(np.subtract(hits, alarms)))
    assert found["label_nll"] == pytest.approx(-own[read].mean())
    ranked = np.sort(choice[read], axis=1)
    assert found["margin"] == pytest.approx((ranked[:, -1] - ranked[:, -2]).mean())
    assert found["entropy"] == pytest.approx(-(np.exp(choice[read]) * floored[read]).sum(axis=1).mean())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("arm", ["base", "plus", "minus"])
def test_agreement_is_with_people_and_its_temperature_is_the_best_there_is(
    sided: Sided, arm: str, version: str
) -> None:
    corrected, floor = VERSIONS[version]
    choice = np.maximum(sided.logp(arm, corrected)[:15], np.log(floor))
    rows = ~np.isnan(choice).any(axis=1)
    choice, shares = choice[rows], sided.shares[:15][rows]
    found = sided.one("agreement", arm, version)
    assert found["against"] == "human" and found["vignettes"] == rows.sum()
    assert found["soft_nll"] == pytest.approx(-(shares * choice).sum(axis=1).mean())
    assert found["soft_nll"] == pytest.approx(agreement.soft_nll(choice, shares))
    t, nll = agreement.temperature(choice, shares)
    assert (found["temperature"], found["nll_at_temperature"]) == pytest.approx((t, nll))
    finest = min(
        -(shares * scipy_log_softmax(choice / other, axis=1)).sum(axis=1).mean()
        for other in np.geomspace(0.1, 50, 5000)
    )
    assert nll <= finest + 1e-4 and nll <= found["soft_nll"] + 1e-9


def test_without_people_agreement_is_with_the_labels(tmp_path: Path) -> None:
    planted = Planted(tmp_path)
    found = planted.store.query("FROM agreement WHERE arm_id = 'up' AND version = 'v1'").row(0, named=True)
    choice = np.maximum(planted.evidence("up").choice, np.log(1e-6))
    shares = np.asarray([[float(label == name) for name in FOUNDATIONS] for label in LABELS])
    assert found["against"] == "label" and found["soft_nll"] is None and found["vignettes"] == ROWS
    assert (found["temperature"], found["nll_at_temperature"]) == pytest.approx(agreement.temperature(choice, shares))


@pytest.mark.parametrize("version", VERSIONS)
def test_both_signs_of_a_dose_by_hand(sided: Sided, version: str) -> None:
    corrected, _ = VERSIONS[version]
    found = sided.store.query("FROM two_sided WHERE version = $version", {"version": version}).row(0, named=True)
    plus, minus = sided.logp("plus", corrected), sided.logp("minus", corrected)
    both = np.isfinite(plus).all(axis=1) & np.isfinite(minus).all(axis=1)
    clr = [side[both] - side[both].mean(axis=1, keepdims=True) for side in (plus, minus)]
    shift = (clr[0] - clr[1]).mean(axis=0)
    on, off = -shift[AUTHORITY], np.abs(np.delete(shift, AUTHORITY)).mean()
    mass = {name: (1 - sided.outside[name]).mean() for name in ("base", "plus")}
    # A row that is unreadable in one order is still weighed: its mass was measured.
    mass["minus"] = (1 - sided.outside["minus"]).mean()
    coherence = min(1.0, min(mass["plus"], mass["minus"]) / mass["base"])
    assert (found["paired"], found["vignettes"], found["dose"]) == (both.sum(), ROWS, 0.5)
    assert both.sum() == ROWS - 2 and found["sign"] == -1
    assert found["on_target"] == pytest.approx(on) and found["off_target"] == pytest.approx(off)
    assert found["coherence"] == pytest.approx(coherence)
    assert found["gated_selectivity"] == pytest.approx((on - 0.1 * off) * coherence**2)
    rates = [np.nan_to_num(side, nan=-9e9).argmax(axis=1) == AUTHORITY for side in (plus, minus)]
    read = [~np.isnan(side).any(axis=1) for side in (plus, minus)]
    assert found["si_flips"] == pytest.approx(-((rates[0] & read[0]).mean() - (rates[1] & read[1]).mean()))


def test_every_channel_of_coherence(sided: Sided) -> None:
    found = sided.store.query("FROM coherence WHERE run_id = 'run' AND arm_id = 'plus'").row(0, named=True)
    kl = np.concatenate(sided.kl["plus"])
    assert found["p_ans_any"] == pytest.approx((1 - sided.outside["plus"]).mean())
    assert found["coherence"] == pytest.approx(found["p_ans_any"] / (1 - sided.outside["base"]).mean())
    assert found["prefill_nll"] == pytest.approx(0.5 + np.arange(ROWS).mean())
    assert found["ppx_json"] == pytest.approx(np.exp(found["prefill_nll"]))
    assert (found["json_answers"], found["json_valid"]) == (4, 0.75)
    assert (found["texts"], found["unended"]) == (2, 0.5)
    assert (found["distinct_tail"], found["compression"]) == pytest.approx((0.625, 2.5))
    assert (found["perplexity"], found["tail_perplexity"]) == pytest.approx((3.5, 5.5))
    assert (found["kl_tokens"], found["kl_mean"], found["kl_max"]) == (4, pytest.approx(kl.mean()), 2.0)
    assert found["kl_rmse"] == pytest.approx(np.sqrt((kl**2).mean()))
    assert found["kl_p95"] == pytest.approx(np.quantile(kl, 0.95))


def test_what_was_not_measured_is_null_and_unreadable_rows_are_counted(sided: Sided) -> None:
    odd = sided.store.query("FROM coherence WHERE run_id = 'run' AND arm_id = 'odd'").row(0, named=True)
    assert [odd[name] for name in ("json_valid", "texts", "perplexity", "kl_mean")] == [None] * 4
    assert odd["frac_unscorable"] == pytest.approx(1 / ROWS)


def test_the_python_metrics_say_the_same(sided: Sided) -> None:
    for name in ("up", "odd"):
        said = measure(sided.evidence(name), sided.evidence("base"), LABELS, "Authority", -1, resample(LABELS, 0, 1))
        found = sided.one("trait_by_version", name, "v1")
        assert found["authority_clr"] == pytest.approx(said.value("clr"))
        for quantity in ("auth_nats", "care_nats", "margin", "entropy", "informedness", "label_nll"):
            assert found[quantity] == pytest.approx(said.value(quantity)), quantity
        assert found["auth_marginal_nats"] == pytest.approx(said.value("auth_marginal"))


def test_every_metric_is_defined_once_and_every_definition_is_measured(sided: Sided) -> None:
    defined = sided.store.query("SELECT metric, unit, formula, view FROM metric_definition").rows()
    names = [name for name, *_ in defined]
    assert len(set(names)) == len(names) and all(unit and formula for _, unit, formula, _ in defined)
    measured = sided.store.query("SELECT DISTINCT metric FROM metric WHERE run_id = 'run'")["metric"].to_list()
    assert set(measured) == set(names)
    for name, _, _, view in defined:
        sided.store.query(f"SELECT {name} FROM {view} LIMIT 0")


def test_the_long_view_has_the_wide_views_numbers(sided: Sided) -> None:
    rows = sided.store.query(
        "SELECT metric, version, value FROM metric WHERE run_id = 'run' AND arm_id = 'plus'"
    ).rows()
    long = {(name, version): value for name, version, value in rows}
    assert long["auth_nats", "v1-raw"] == sided.one("trait_by_version", "plus", "v1-raw")["auth_nats"]
    assert long["temperature", "v1"] == sided.one("agreement", "plus", "v1")["temperature"]
    assert long["json_valid", "any"] == 0.75
    assert ("si_flips", "v1") in long and ("si_flips", "v1") not in {
        (name, version)
        for name, version in sided.store.query(
            "SELECT metric, version FROM metric WHERE run_id = 'run' AND arm_id = 'minus'"
        ).rows()
    }


def test_a_set_without_a_foundation_has_no_number_for_it_and_rates_for_the_others(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.duckdb")
    planted = Planted(tmp_path)
    kept = [a for a in planted.answers() if a.foundation != "Authority"]
    store.append([plain(Run), *planted.arm_records(), *kept])
    store.ingest()
    found = store.query("FROM trait_by_version WHERE arm_id = 'up' AND version = 'v1'").row(0, named=True)
    assert found["auth_nats"] is None and found["authority_clr"] is None
    assert found["auth_marginal_nats"] is not None and found["care_nats"] is not None
    assert found["informedness"] is not None and np.isfinite(found["informedness"])


def test_an_arm_with_nothing_readable_has_no_number(tmp_path: Path) -> None:
    planted = Planted(tmp_path)
    blank = dict.fromkeys(ANSWER_FIELDS, float("nan"))
    planted.store.append(
        [planted.arm("blank", "steered"), *planted.answers_as("blank", outside_mass=float("nan"), **blank)]
    )
    planted.store.ingest()
    found = planted.store.query("FROM trait_by_version WHERE arm_id = 'blank' AND version = 'v1'").row(0, named=True)
    assert found["unscorable"] == ROWS and found["auth_nats"] is None and found["margin"] is None
    channel = planted.store.query("FROM coherence WHERE arm_id = 'blank'").row(0, named=True)
    assert channel["p_ans_any"] == 0 and channel["coherence"] == 0 and channel["frac_unscorable"] == 1


def test_an_answer_field_is_in_every_view() -> None:
    assert set(ANSWER_FIELDS) <= set(inspect.get_annotations(Answer))
