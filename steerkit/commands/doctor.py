"""Look at everything a run needs (packages, model, processor, store) and say what to do about trouble.

Exit code 1 when a run would fail or its numbers could not be trusted; a notice changes no exit code.
"""

from pathlib import Path

import click

from steerkit.commands._checks import examined
from steerkit.commands._findings import Asked, Finding
from steerkit.commands._output import echo_json
from steerkit.options import common, json_option

MARKS = {"ok": "ok      ", "notice": "notice  ", "trouble": "TROUBLE "}


@click.command(help=__doc__)
@json_option
@common("store", "model", "dtype", "device")
@click.pass_context
def command(context: click.Context, as_json: bool, store: Path, model: str, dtype: str, device: str) -> None:
    """Print each finding, with its cure."""
    findings = list(examined(Asked(store=store, model=model, dtype=dtype, device=device)))
    healthy = all(finding.status != "trouble" for finding in findings)
    if as_json:
        echo_json({"healthy": healthy, "findings": findings})
    else:
        click.echo("\n".join(map(_line, findings)))
    context.exit(0 if healthy else 1)


def _line(finding: Finding) -> str:
    line = f"{MARKS[finding.status]}{finding.check:<9} {finding.found}"
    return f"{line}\n{'':18}-> {finding.advice}" if finding.advice else line
