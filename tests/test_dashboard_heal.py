"""The page of training: outcome, curves with their barrier, a sweep's table, and adapters whose file is gone."""

from pathlib import Path

import polars
import pytest
import test_heal_queries
from dashboard_page import page, said, trouble
from store_child import plain

from dashboard.charts.heal import Panels
from steerkit.records import Adapter, Arm, Effect, HealStep, Run
from steerkit.store import Store


def made(path: Path, *records: object) -> Path:
    store = Store(path / "steerkit.duckdb")
    store.append([*records])  # type: ignore[list-item]
    store.ingest()
    return store.path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("trained"), *test_heal_queries.records())


def test_the_outcome_has_its_numbers_and_their_intervals(trained: Path) -> None:
    app = page(trained, "heal")
    assert not trouble(app)
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown == {"retained": "0.75", "recovered": "0.80", "front gain": "0.05", "excess": "0.40"}
    assert "95%: 0.60 to 0.90" in said(app) and "no interval" in said(app)
    assert len(app.get("vega_lite_chart")) + len(app.get("arrow_vega_lite_chart")) >= 4


def test_adapters_that_were_not_trained_have_no_curves(trained: Path) -> None:
    app = page(trained, "heal", adapters="a3")
    assert not trouble(app) and "made of others" in said(app)


def test_a_sweep_is_ranked(tmp_path: Path) -> None:
    config = '{{"divergence": "reverse-kl", "aggregate": "rmse", "reference": "base", "lam": {}, "tau": "q50", '
    config += '"weight_decay": 0.0, "spectral": 0.0}}'
    records: list[object] = [plain(Run, gate="sweep", thresholds='{"coherence": 0.95}')]
    for name, lam, gain in (("weak", 0.03, 0.01), ("strong", 0.3, 0.04)):
        records += [
            plain(Adapter, adapter_id=name, role="swept", tau=0.3, config=config.format(lam)),
            plain(HealStep, adapter_id=name, step=1, nll=1.0, d_rmse=0.2),
            plain(Arm, arm_id=f"arm-{name}", kind="swept", adapter_id=name),
            plain(Effect, arm_id=f"arm-{name}", quantity="front_gain", value=gain, low=0.0, high=0.1),
            plain(Effect, arm_id=f"arm-{name}", quantity="d_target", value=-0.5, low=-0.6, high=-0.4),
            plain(Effect, arm_id=f"arm-{name}", quantity="coherence", value=0.98, low=0.97, high=0.99),
        ]
    app = page(made(tmp_path, *records), "heal")
    assert not trouble(app) and "2 settings" in said(app)
    assert app.multiselect(key="adapters").value == ["strong", "weak"], "the best first"


def test_a_half_written_run_shows_what_there_is(tmp_path: Path) -> None:
    adapter = plain(Adapter, adapter_id="a", role="healed", tau=0.5, config='{"aggregate": "rmse"}')
    assert not trouble(page(made(tmp_path, plain(Run, gate="gate3"), adapter), "heal"))


def test_without_adapters_the_command_is_named(tmp_path: Path) -> None:
    app = page(made(tmp_path, plain(Run)), "heal")
    assert any("steerkit gate3" in code.value for code in app.code)


def test_an_adapter_keeps_its_colour_whatever_is_shown_beside_it() -> None:
    both, one = Panels({"a": "plain", "b": "healed"}), Panels({"b": "healed"})

    def colour(panels: Panels, name: str) -> str:
        scale = panels.colour.to_dict()["scale"]
        return str(dict(zip(scale["domain"], scale["range"], strict=True))[name])

    assert colour(both, "healed") == colour(one, "healed") != colour(both, "plain")


def test_the_barrier_is_a_line_where_it_begins() -> None:
    curve = {
        "adapter_id": ["b"] * 2,
        "step": [1, 2],
        "divergence": [0.1, 0.4],
        "tau": [0.3] * 2,
        "aggregate": ["p95"] * 2,
    }
    spec = Panels({"b": "healed"}).divergence(polars.DataFrame(curve)).to_dict()
    data = [row for rows in spec["datasets"].values() for row in rows] if "datasets" in spec else _inline(spec)
    assert {"adapter": "healed", "tau": 0.3} in data
    assert "p95 (nats)" in str(spec)


def _inline(spec: dict[str, object]) -> list[object]:
    layers = spec["layer"]
    assert isinstance(layers, list)
    return [row for layer in layers for row in layer["data"]["values"]]
