"""Print the line that makes a shell complete steerkit's commands.

Put it into the shell's start-up file: `steerkit completion bash >> ~/.bashrc`.
"""

import click

LINES = {
    "bash": 'eval "$(_STEERKIT_COMPLETE=bash_source steerkit)"',
    "zsh": 'eval "$(_STEERKIT_COMPLETE=zsh_source steerkit)"',
    "fish": "_STEERKIT_COMPLETE=fish_source steerkit | source",
}


@click.command(help=__doc__)
@click.argument("shell", type=click.Choice(list(LINES)))
def command(shell: str) -> None:
    """Print one shell's line."""
    click.echo(LINES[shell])
