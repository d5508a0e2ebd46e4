"""Open the dashboard: fronts, gates, texts, healing and lineage of a store, in the browser; it follows running runs."""

import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from steerkit.errors import StoreLocked, UsageError
from steerkit.options import common

PORT = 8501
TRIES = 20
"""How many ports are looked at for a free one, where the user named none."""
LOOPBACK = "127.0.0.1"


@click.command("dashboard")
@click.option(
    "--port", type=click.IntRange(1, 65535), help=f"Where it listens; by default, the first free port from {PORT}."
)
@click.option(
    "--address",
    default=LOOPBACK,
    show_default=True,
    help="Who may connect: this machine only, or, with 0.0.0.0, everybody who reaches it. There is no password.",
)
@click.option("--browser/--no-browser", default=None, help="Open the browser; by default, where there is a screen.")
@common("store")
def command(port: int | None, address: str, browser: bool | None, store: Path) -> None:
    """Serve the dashboard until Ctrl-C, and print its link."""
    if find_spec("streamlit") is None:
        raise UsageError(
            "the dashboard needs Streamlit, but it is not installed; pip install 'steerkit-heal[dashboard]'"
        )
    check(store)
    chosen = free_port(address, port)
    opens = bool(os.environ.get("DISPLAY") or sys.platform in ("darwin", "win32")) if browser is None else browser
    click.echo(f"http://{LOOPBACK if address == '0.0.0.0' else address}:{chosen}")
    click.echo("The dashboard runs until Ctrl-C.", err=True)
    sys.stdout.flush()
    # The process becomes Streamlit's: whoever ends it ends the dashboard, and no child is left behind.
    os.execv(sys.executable, serving(store, address, chosen, opens))


def check(store: Path) -> None:
    """Find out before anything starts whether there is a store to show.

    Raises UsageError when there is none, or one that this steerkit cannot read. One that somebody holds is fine.
    """
    from steerkit.store import Store

    if not store.exists():
        raise UsageError(
            f"there must be a store to look at, but {store} does not exist; make one with `steerkit demo` or a gate, "
            "or name another with --store"
        )
    try:
        Store(store, deadline=1.0).query("SELECT 1")
    except StoreLocked as busy:
        click.echo(f"note: {busy}; the dashboard waits for it", err=True)


def free_port(address: str, asked: int | None) -> int:
    """The port that was asked for, or the first free one.

    Raises UsageError when it is in use, or when the address is not this machine's.
    """
    candidates = [asked] if asked is not None else range(PORT, PORT + TRIES)
    for port in candidates:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((address, port))
            except OSError as error:
                if error.errno in (98, 48, 10048, 13, 10013):
                    continue
                raise UsageError(f"the address must be one of this machine, but {address} is not: {error}") from error
            return port
    which = f"port {asked}" if asked is not None else f"ports {PORT} to {PORT + TRIES - 1}"
    raise UsageError(f"the port must be free, but {which} cannot be used here; name another with --port")


def serving(store: Path, address: str, port: int, opens: bool) -> list[str]:
    """The command line that serves the pages of a store."""
    from steerkit.resources import folder

    settings = {
        "server.address": address,
        "server.port": str(port),
        "server.headless": "false" if opens else "true",
        "server.showEmailPrompt": "false",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",
        "runner.magicEnabled": "false",
        "logger.hideWelcomeMessage": "true",
        "logger.level": "warning",
    }
    flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
    script = str(folder("dashboard") / "app.py")
    # -P: a file of the current folder must not stand in for a library.
    return [sys.executable, "-P", "-m", "streamlit", "run", script, *flags, "--", "--store", os.path.abspath(store)]
