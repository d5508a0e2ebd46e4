"""`steerkit dashboard`: one process, this machine only, a printed link, and friendly exits."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import duckdb
import pytest
import stored_plane

from steerkit import cli, resources
from steerkit.commands import dashboard

Shown = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_plane.make(tmp_path_factory.mktemp("command") / "steerkit.duckdb")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody uses."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def test_no_store_is_a_message(tmp_path: Path, capsys: Shown) -> None:
    assert cli.main(["dashboard", "--store", str(tmp_path / "none.duckdb")]) == 2
    assert "steerkit demo" in capsys.readouterr().err


def test_a_port_in_use_is_a_message(store: Path, taken: int, capsys: Shown) -> None:
    assert cli.main(["dashboard", "--store", str(store), "--port", str(taken)]) == 2
    assert f"port {taken} cannot be used here; name another with --port" in capsys.readouterr().err


def test_without_a_port_the_first_free_one_is_taken(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "PORT", taken)
    assert dashboard.free_port("127.0.0.1", None) > taken


def test_an_address_of_another_machine_is_a_message(store: Path, capsys: Shown) -> None:
    assert cli.main(["dashboard", "--store", str(store), "--address", "203.0.113.7"]) == 2
    assert "must be one of this machine" in capsys.readouterr().err


def test_a_newer_store_is_a_message(store: Path, tmp_path: Path, capsys: Shown) -> None:
    newer = tmp_path / "newer.duckdb"
    newer.write_bytes(store.read_bytes())
    with duckdb.connect(str(newer)) as writer:
        newest = max(resources.migrations())
        writer.execute("INSERT INTO schema_version VALUES ($1, 'future.sql', 'hash', '99.0')", [newest + 1])
    assert cli.main(["dashboard", "--store", str(newer)]) == 2
    assert "99.0" in capsys.readouterr().err


def test_without_streamlit_the_extra_is_named(store: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "find_spec", lambda name: None)
    assert cli.main(["dashboard", "--store", str(store)]) == 2
    assert "steerkit-heal[dashboard]" in capsys.readouterr().err


def test_the_server_talks_to_nobody_and_shows_no_details(store: Path) -> None:
    line = " ".join(dashboard.serving(store, "127.0.0.1", 8501, False))
    for setting in (
        "-P -m streamlit",
        "--server.address 127.0.0.1",
        "--browser.gatherUsageStats false",
        "--client.showErrorDetails none",
        "--server.showEmailPrompt false",
        f"-- --store {store}",
    ):
        assert setting in line
    assert (resources.folder("dashboard") / "app.py").is_file()


def test_one_process_serves_prints_its_link_and_ends(store: Path, tmp_path: Path) -> None:
    # A file of the folder it is started in must not stand in for a library.
    (tmp_path / "click.py").write_text("raise SystemExit('the wrong click')")
    command = [sys.executable, "-P", "-m", "steerkit.cli", "dashboard", "--store", str(store), "--no-browser"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    process = subprocess.Popen(command, start_new_session=True, **pipes)  # type: ignore[call-overload]
    try:
        link = process.stdout.readline().strip()
        assert link.startswith("http://127.0.0.1:")
        assert healthy(f"{link}/_stcore/health")
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen(link, timeout=2)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def healthy(url: str) -> bool:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(OSError):
            return bool(urllib.request.urlopen(url, timeout=2).status == 200)
        time.sleep(0.2)
    return False
