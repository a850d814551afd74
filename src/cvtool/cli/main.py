"""The command ``cvtool``: all subcommands, and what happens when one fails."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, NoReturn

import typer

from cvtool import __version__
from cvtool.cli import processes
from cvtool.cli.commands import Group, show_help
from cvtool.cli.console import OutputClosed, cost_told, print_error, print_warning
from cvtool.cli.failures import INTERRUPTED, PIPE_CLOSED, explain
from cvtool.cli.interrupts import end_on_terminate, unheard
from cvtool.cli.waiting import wait_as_the_machine_is


class _Commands(Group):
    """Knows commands of two words, such as ``stylize train-instant``, beside a command of the first one."""

    places: ClassVar = {
        "stylize": "stylize:stylize",
        "stylize train-instant": "stylize_train_instant:train_instant",
        "saliency": "saliency:saliency",
        "fool": "fool:fool",
        "visualize-class": "visualize_class:visualize_class",
        "demo": "demo:demo",
        "models": "models:models",
        "classes": "classes:classes",
        "assets": "assets:assets",
        "info": "info:info",
        "caption": "caption:app",
        "gan": "gan:app",
    }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        joined = " ".join(args[:2])
        return super().resolve_command(ctx, [joined, *args[2:]] if joined in self.commands else args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        return [item for item in super().shell_complete(ctx, incomplete) if " " not in item.value]


app = typer.Typer(
    name="cvtool",
    cls=_Commands,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: quick to show, easy to search
    epilog="Exits: 0 done, 1 failed, 2 usage, 3 input, 4 weights, 5 goal; see man cvtool",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cvtool {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def cvtool(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Classic techniques of vision networks, one subcommand each; offline after the install.

    Pictures come from files, folders, globs, tars, '-' (stdin) or 'asset:NAME' (a bundled one).
    """
    show_help(context)


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line and return its exit code; anything wrong is told on stderr.

    Args:
        arguments: the words after ``cvtool``.
    """
    unheard.clear()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name may hold bytes that no encoding knows
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = print_warning
        try:
            processes.enter(arguments)
            with cost_told():
                code = app(args=list(arguments), prog_name="cvtool", standalone_mode=False)
        except SystemExit as exit:  # Typer's completion, and its own answer to a closed pipe
            return exit.code if isinstance(exit.code, int) else 0
        except OutputClosed:
            _discard_stdout()
            return PIPE_CLOSED
        except BaseException as error:
            if _wants_traceback(arguments):
                traceback.print_exc()
            failure = explain(error)
            print_error(failure.message, failure.label)
            processes.linger()
            return failure.exit_code
        if code == INTERRUPTED:  # Typer has made an exit of the KeyboardInterrupt
            failure = explain(KeyboardInterrupt())
            print_error(failure.message, failure.label)
    return code if isinstance(code, int) else 0


def main() -> NoReturn:
    """The entry point of the installed command."""
    wait_as_the_machine_is()
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # fp32 is fp32 on a GPU, too: cuDNN would keep ten bits of it
    end_on_terminate()
    code = run(sys.argv[1:])
    processes.leave(code)
    sys.exit(code)


def _wants_traceback(arguments: Sequence[str]) -> bool:
    """Whether ``--debug`` is among the options; read here because parsing itself may be what fails."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--debug" in options


def _discard_stdout() -> None:
    """Let what is still buffered go nowhere, so that Python's own flush at exit stays quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
