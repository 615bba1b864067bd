"""``dirac``: everything that a user or an operator does, from the command line."""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated, Any

import typer
from typer._completion_classes import completion_init
from typer.main import get_command

from dirac.cli.command import Group
from dirac.cli.output import complain
from dirac.core.errors import (
    DiracError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)

_PROGRAM = "dirac"
_COMPLETION = "_DIRAC_COMPLETE"
_INTERRUPTED = 130
_GARBAGE = 100_000
_EXIT_CODES: tuple[tuple[type[DiracError], int], ...] = (
    (InvalidInputError, 2),
    (NotFoundError, 3),
    (UnauthenticatedError, 4),
    (NotAllowedError, 4),
    (UnavailableError, 5),
)

app = typer.Typer(
    cls=Group,
    name=_PROGRAM,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dirac {version()}")
        raise typer.Exit


def version() -> str:
    """Return the version of this program."""
    try:
        from dirac._version import __version__
    except ImportError:
        # A checkout that was never built has no file with its version.
        return "0.0.0"
    return str(__version__)


@app.callback()
def root(
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="The server; otherwise DIRAC_URL.")
    ] = None,
    vo: Annotated[
        str | None,
        typer.Option(metavar="VO", help="The virtual organisation; otherwise that of the last login."),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from (any place).")
    ] = False,
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Keep what all commands share: it is in the parameters of the root context."""


def exit_code(error: DiracError) -> int:
    """Return the exit code for an error; the help lists them."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1)


def run(arguments: list[str]) -> int:
    """Run a command; returns the exit code."""
    debug = bool(os.environ.get("DIRAC_DEBUG"))
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "--debug" in words:
        # Whoever repeats a failed command appends it, whatever the command is.
        debug, arguments = True, [word for word in arguments if word != "--debug"]
    try:
        return _run(arguments)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, DiracError):
            where = f"{error.where}: " if error.where else ""
            complain(where + error.message, error.hint)
            return exit_code(error)
        complain(f"{type(error).__name__}: {error}", "This is a defect of ours; with --debug it tells more.")
        return 1


def _run(arguments: list[str]) -> int:
    if _COMPLETION in os.environ:
        # A shell asks how a word may go on; Typer answers once it knows the shells.
        completion_init()
    try:
        outcome: Any = get_command(app).main(arguments, prog_name=_PROGRAM, standalone_mode=False)
    except typer.BadParameter as error:
        return _refuse(error)
    except typer.TyperException as error:
        return _refuse(error)
    except typer.Abort:
        complain("given up")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has seen enough; without this, Python complains when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return outcome if isinstance(outcome, int) else 0


def _refuse(error: typer.TyperException) -> int:
    """Say what was wrong with the words that were typed."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        typer.echo(context.get_help(), color=context.color)
        return 2
    path = context.command_path if context is not None else _PROGRAM
    message = error.format_message().rstrip(".")
    complain(message[:1].lower() + message[1:], f"See: {path} --help")
    return 2


def main() -> None:
    """Run the command that the process was given."""
    # Most commands live for a moment: looking for garbage, also at the end, would be a tenth of their time.
    gc.set_threshold(_GARBAGE)
    code = run(sys.argv[1:])
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
