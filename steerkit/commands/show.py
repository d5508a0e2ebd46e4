"""Answer a named question from the store; without a name, list the questions.

`steerkit show runs`, `steerkit show arms --param run=3f2a`. A parameter that is left out asks about everything.
"""

from pathlib import Path

import click

from steerkit.commands._output import echo_frame, echo_json, echo_table, stoppable
from steerkit.errors import UsageError
from steerkit.options import common, form_options

DEFAULTS: dict[str, str | int] = {"arm": "", "limit": 20}
"""What a parameter is when it is left out: the prefix of every arm, or a screenful; any other is NULL, for all."""


@click.command(help=__doc__)
@click.argument("question", required=False)
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter; repeatable.")
@form_options
@common("store")
def command(question: str | None, parameters: tuple[str, ...], form: str | None, store: Path) -> None:
    """Print the answer, or the questions."""
    if question is None:
        _list(form)
        return
    from steerkit.resources import question as text
    from steerkit.store import Store

    sql = text(question)
    defaults = {name: value for name, value in DEFAULTS.items() if f"${name}" in sql}
    given = dict(map(_parsed, parameters))
    with stoppable():
        answer = Store(store).ask(question, defaults | given)
    echo_frame(answer, form)


def _list(form: str | None) -> None:
    from steerkit.resources import questions

    rows = [{"name": name, "answers": answers} for name, answers in questions().items()]
    if form == "json":
        echo_json({"questions": rows})
    else:
        echo_table(rows, ("name", "answers"))


def _parsed(parameter: str) -> tuple[str, str | int]:
    """Raises UsageError for a text without '=', or a limit that is no whole number."""
    name, equals, value = parameter.partition("=")
    if not equals:
        raise UsageError(f"--param must be NAME=VALUE, but got {parameter!r}; for example --param run=3f2a")
    if name != "limit":
        return name, value
    if not value.isdecimal():
        raise UsageError(f"limit must be a whole number of rows, but got {value!r}")
    return name, int(value)
