"""A walk through the dashboard in a real browser: point, answers, text, label, SQL, lineage, and a run that writes."""

import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import stored_plane
import stored_texts
from store_child import plain
from stored_texts import RUN

from steerkit.records import Label, RunEvent, Unit
from steerkit.store import Store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")
SECONDS = 60_000
"""How long anything may take to show on a busy machine (milliseconds)."""
POINT = "[data-testid=stVegaLiteChart] svg g.mark-symbol path[aria-label*='{label}']"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = stored_texts.make(tmp_path_factory.mktemp("walk") / "steerkit.duckdb")
    return stored_plane.make(path)


@pytest.fixture(scope="module")
def served(store: Path) -> Iterator[str]:
    """The dashboard as a user starts it, and its link."""
    command = [sys.executable, "-P", "-m", "steerkit.cli", "dashboard", "--store", str(store), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        link = process.stdout.readline().strip()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(OSError):
                urllib.request.urlopen(f"{link}/_stcore/health", timeout=2)
                break
            time.sleep(0.2)
        yield link
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: Any, served: str) -> Iterator[Any]:
    """A page of 1280 pixels that notes errors, dialogs and requests to others."""
    context = browser.new_context(viewport={"width": 1280, "height": 1600})
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: (trouble.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: trouble.append(request.url) if foreign(request.url, served) else None)
    yield page
    context.close()
    assert trouble == []


def settled(tab: Any) -> None:
    """Wait until the page has been drawn: what is typed or clicked while it is drawn may be lost."""
    quiet = 0
    while quiet < 3:
        tab.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        tab.wait_for_timeout(250)
        quiet = quiet + 1 if tab.locator("[data-test-script-state=notRunning]").count() else 0


def foreign(url: str, served: str) -> bool:
    return url.startswith("http") and not url.startswith(served)


def test_a_newcomer_walks_from_the_front_to_an_answer_a_text_and_back(tab: Any, served: str) -> None:
    tab.goto(served)
    tab.get_by_text("Of 2 methods,").wait_for()
    tab.get_by_role("heading", name="Pareto").wait_for()
    settled(tab)
    tab.locator(POINT.format(label="method: good; arm: steered; dose: 0.500")).first.click()
    tab.get_by_text("+0.600 nats").wait_for()
    assert "arm=run-good+0.5" in tab.url
    tab.get_by_text("3 vignettes").wait_for()
    tab.locator("[data-testid=stButtonGroup]").get_by_text("Texts").click()
    tab.get_by_text("said <img src=x").first.wait_for()
    tab.reload()
    tab.get_by_text("said <img src=x").first.wait_for()


def test_gates_and_lineage_follow_links(tab: Any, served: str) -> None:
    tab.goto(f"{served}/gates?run=run-poor")
    tab.get_by_role("heading", name=re.compile("gate 1:.*FAIL")).wait_for()
    tab.get_by_text("way that was observed").wait_for()
    tab.goto(f"{served}/lineage")
    tab.get_by_role("heading", name="Lineage").wait_for()
    tab.locator("[data-testid=stVegaLiteChart] .marks, [data-testid=stGraphVizChart] svg").first.wait_for()


def test_a_text_is_labelled_by_a_key(tab: Any, served: str, store: Path) -> None:
    tab.goto(f"{served}/texts?run={RUN}&part=label")
    tab.get_by_role("heading", name="Texts").wait_for()
    settled(tab)
    tab.get_by_role("textbox", name="Labeller").fill("ada")
    tab.keyboard.press("Enter")
    settled(tab)
    tab.get_by_text("coherent").first.wait_for()
    tab.get_by_role("heading", name="Texts").click()
    settled(tab)
    tab.keyboard.press("1")
    until = time.monotonic() + SECONDS / 1000
    while not Store(store).records(Label, RUN) and time.monotonic() < until:
        tab.wait_for_timeout(200)
    assert [label.labeller for label in Store(store).records(Label, RUN)] == ["ada"]


def test_sql_is_run_by_a_button(tab: Any, served: str) -> None:
    tab.goto(f"{served}/sql?q=SELECT+41+%2B+1+AS+answer")
    settled(tab)
    tab.get_by_role("button", name=re.compile("Run")).click()
    tab.get_by_text(re.compile("1 rows in")).wait_for()


@pytest.mark.slow  # a live page rests up to half a minute
def test_a_page_follows_a_run_that_writes(tab: Any, served: str, store: Path) -> None:
    tab.goto(f"{served}/gates")
    tab.get_by_role("heading", name="Gates").wait_for()
    writer = Store(store)
    under_way = stored_plane.run_of("run-live", "live_method", "gate4", "2026-03-01T00:00:00+00:00")
    writer.append([under_way, plain(RunEvent, run_id="run-live", seq=1, state="started", host="elsewhere")])
    writer.append([plain(Unit, run_id="run-live", unit_id="u1", name="round 0", seconds=2.0)])
    with writer.ingesting():
        tab.get_by_text("Last: round 0").wait_for()
        writer.append([plain(Unit, run_id="run-live", unit_id="u2", name="round 1", seconds=2.0)])
        tab.get_by_text("Last: round 1").wait_for()
    assert writer.trouble is None
