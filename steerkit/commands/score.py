"""Score an unsteered model: is this instrument fit for it?"""

from pathlib import Path
from typing import Any

import click

from steerkit.commands._output import echo_json
from steerkit.options import VIGNETTES, common, instrument_options, json_option, with_think


@click.command("score")
@instrument_options
@click.option("--vignettes", type=click.Path(path_type=Path), help=VIGNETTES)
@click.option("--person", type=click.Choice(["third", "first"]), default="third", show_default=True, help="Who acts.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An instrument setting, such as orders=4.")
@json_option
@common("model", "dtype", "device")
def command(
    instrument: str,
    think: int | None,
    vignettes: Path | None,
    person: Any,
    settings: tuple[str, ...],
    as_json: bool,
    **model: str,
) -> None:
    """Score an unsteered model on a vignette set and say how good the instrument is there.

    AUC and informedness compare the answers with the labels; answer mass is the probability of the seven answers.
    """
    from steerkit.inputs import vignettes as read_vignettes
    from steerkit.request import instrument_config

    texts = read_vignettes(vignettes, person)
    config = instrument_config(instrument, with_think(settings, think, section=""))

    from steerkit.host import load
    from steerkit.scoring import score_model

    result = score_model(load(model["model"], model["dtype"], model["device"]), instrument, config, texts)
    echo_json(result) if as_json else click.echo(_table(result))


def _table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['instrument']} on {result['model']} ({result['dtype']}), {len(result['vignettes'])} vignettes",
        f"one-vs-rest AUC         {result['auc']:.3f}",
        f"informedness            {result['informedness']:+.3f}   raw",
        f"informedness corrected  {result['informedness_corrected']:+.3f}   {_span(result['informedness_interval'])}",
        f"answer mass             {result['answer_mass']:.3f}",
        f"seconds                 {result['seconds']:.1f}",
        "recall by foundation    " + ", ".join(f"{name} {value:.2f}" for name, value in result["recall"].items()),
    ]
    return "\n".join(lines)


def _span(interval: list[float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:+.3f}, {interval[1]:+.3f}]"
