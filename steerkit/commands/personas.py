"""List the traits as pairs of personas, or check the pairs against the rules of pair-writing.

With --check, exit code 1 says that a rule is broken; what is only advice is marked 'warning' and changes no exit code.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from steerkit.commands._output import echo_json, echo_table
from steerkit.options import json_option
from steerkit.personas import Persona, lint, load_personas


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="Say which rules the pairs break, and why.")
@click.option("--file", type=click.Path(path_type=Path), help="Your own TOML file instead of the built-in pairs.")
@json_option
@click.pass_context
def command(context: click.Context, check: bool, file: Path | None, as_json: bool) -> None:
    """Print the pairs, or what is wrong with them."""
    personas = load_personas(file).values()
    if not check:
        _list(personas, as_json)
        return
    findings = _findings(personas)
    if as_json:
        echo_json({"personas": [persona.name for persona in personas], "findings": findings})
    elif findings:
        echo_table(findings, ("persona", "severity", "rule", "why"))
    else:
        click.echo(f"{len(personas)} pairs follow every rule")
    context.exit(int(any(finding["severity"] == "error" for finding in findings)))


def _list(personas: Iterable[Persona], as_json: bool) -> None:
    if as_json:
        return echo_json({"personas": list(personas)})
    rows = [
        {
            "name": persona.name,
            "moves": f"{persona.target} {'up' if persona.sign > 0 else 'down'}",
            "along": ", ".join(persona.along),
            "description": persona.description,
        }
        for persona in personas
    ]
    return echo_table(rows, ("name", "moves", "along", "description"))


def _findings(personas: Iterable[Persona]) -> list[dict[str, Any]]:
    return [
        {"persona": persona.name, "rule": finding.rule, "severity": finding.severity, "why": finding.why}
        for persona in personas
        for finding in lint(persona)
    ]
