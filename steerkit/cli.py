"""The `steerkit` command: finds subcommands by file name, and turns every failure into one line and an exit code."""

import ast
import importlib
import json
import os
import sys
import traceback
from pathlib import Path

import click

from steerkit import __version__
from steerkit.errors import SteerkitError, unknown
from steerkit.options import accept_common

FOLDER = Path(__file__).parent / "commands"
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
INTERRUPTED, BROKEN_PIPE = 130, 141


class ReaderLeft(Exception):
    """Whoever read stdout went away."""


class LazyGroup(click.Group):
    """A group whose subcommands are the files of `steerkit/commands`; one is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the files, sorted."""
        return sorted(file.stem.replace("_", "-") for file in FOLDER.glob("*.py") if not file.stem.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command, and let it accept the options that every command takes."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"steerkit.commands.{cmd_name.replace('-', '_')}").command
        accept_common(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names.

        Raises UsageError for an unknown name, with the nearest one.
        """
        if not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            raise unknown("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the subcommand; click turns a broken pipe into exit code 1, which here means that a gate said FAIL."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderLeft from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each command with the first line of its file's docstring, so that help imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary(name)) for name in self.list_commands(ctx)])


def summary(name: str) -> str:
    """The first line of a command file's docstring."""
    text = (FOLDER / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 pass, 1 a gate said FAIL (or a check found trouble), 2 usage, 3 INCONCLUSIVE, "
    "4 the run broke, 5 the store stayed locked, 130 interrupted.",
)
@click.version_option(__version__, prog_name="steerkit")
def group() -> None:
    """Steer a language model, and tell healing from undoing: coherence and trait, measured, with controls."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = group.main(given, prog_name="steerkit", standalone_mode=False)
        sys.stdout.flush()
    except (ReaderLeft, BrokenPipeError):
        return _reader_left()
    except (KeyboardInterrupt, click.Abort):
        return _fail("Interrupted", "interrupted; what was committed is kept", INTERRUPTED, "--json" in given)
    except Exception as error:
        return _failure(error, "--json" in given)
    return code if isinstance(code, int) else 0


def _failure(error: Exception, as_json: bool) -> int:
    """Say what went wrong; only a failure nobody foresaw shows its traceback."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.message, err=True)
        return 2
    if isinstance(error, click.ClickException):
        message = " ".join(error.format_message().split())
        return _fail("UsageError", message + _see(error), 2, as_json)
    if isinstance(error, SteerkitError):
        return _fail(type(error).__name__, str(error), error.exit_code, as_json)
    if not isinstance(error, OSError):
        traceback.print_exception(error)
    return _fail(type(error).__name__, str(error), SteerkitError.exit_code, as_json)


def _see(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" See '{context.command_path} --help'." if context else ""


def _fail(kind: str, message: str, code: int, as_json: bool) -> int:
    click.echo(f"error: {message}", err=True)
    if as_json:
        click.echo(json.dumps({"error": {"type": kind, "message": message}}))
    return code


def _reader_left() -> int:
    """Say nothing, and keep Python from complaining when it closes the stream."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


if __name__ == "__main__":
    sys.exit(main())
