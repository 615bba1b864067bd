"""What commands print: JSON or tables on standard output, complaints on standard error."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dirac.core.errors import InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console, RenderableType

    from dirac.client import Client
    from dirac.core.search import Page

Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]

COLOURS = {
    "Waiting": "yellow",
    "Received": "yellow",
    "Checking": "yellow",
    "Staging": "yellow",
    "Rescheduled": "yellow",
    "Submitted": "yellow",
    "Matched": "cyan",
    "Running": "blue",
    "Completing": "cyan",
    "Done": "green",
    "Completed": "green",
    "Stalled": "magenta",
    "Killed": "magenta",
    "Deleted": "magenta",
    "Unknown": "magenta",
    "Failed": "red",
    "Aborted": "red",
    "Parked": "red",
}
# Seconds that a person is kept waiting for a server that does not answer.
_PATIENCE = 10.0
_NEVER_SAID = "Unknown"
_WIDE = 10_000
_DAY_SECONDS = 86400.0


def client(ctx: typer.Context, *, certificate: Path | None = None) -> Client:
    """Make the client for the server and the VO that the command line names, with a certificate to show."""
    from dirac.client import Client

    shared = ctx.find_root().params
    return Client(shared.get("server"), vo=shared.get("vo"), deadline=_PATIENCE, certificate=certificate)


def colourful(stream: Any) -> bool:
    """Tell whether colours are welcome on a stream (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def complain(message: str, hint: str | None = None) -> None:
    """Print an error in one line, and in another one what to do."""
    line = " ".join(f"error: {message}".split()) if "\n" not in message else f"error: {message}"
    if colourful(sys.stderr):
        line = f"\x1b[31m{line}\x1b[0m"
    print(line, file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)


def print_json(value: Any) -> None:
    """Print a value as JSON: one line for programs, indented for people."""
    import msgspec

    content = msgspec.json.encode(value)
    if sys.stdout.isatty():
        content = msgspec.json.format(content, indent=2)
    sys.stdout.flush()
    sys.stdout.buffer.write(content + b"\n")
    sys.stdout.buffer.flush()


def terminal() -> Console:
    """Return the console for standard output; where nobody watches, lines have no end."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() else _WIDE
    return Console(highlight=False, width=wide, soft_wrap=wide is not None)


def print_table(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, nothing: str = "Nothing to show."
) -> None:
    """Print rows as a table.

    Args:
        rows: The rows.
        columns: For each name in a row its title.
        nothing: What is said when there are no rows.
    """
    if not rows:
        print(nothing)
        return
    if not sys.stdout.isatty():
        _print_plain(rows, columns)
        return
    terminal().print(table_of(rows, columns))


def table_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> RenderableType:
    """Return rows as a table for a terminal; arguments as for `print_table`."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name, title in columns.items():
        numbers = all(isinstance(row.get(name), int | float) for row in rows)
        table.add_column(title, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(text(row.get(name)), style=colour(row.get(name))) for name in columns))
    return table


def watched(
    look: Callable[[], Sequence[Mapping[str, Any]]], columns: Mapping[str, str], seconds: float
) -> None:
    """Show rows in place, again and again, until somebody interrupts.

    Args:
        look: Finds the rows.
        columns: For each name in a row its title.
        seconds: Pause between two looks.

    Raises:
        InvalidInputError: Nobody watches.
    """
    if not sys.stdout.isatty():
        raise InvalidInputError(
            "--watch needs a terminal", where="--watch", hint="Leave it out, or use --json"
        )
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    def picture(trouble: str = "") -> RenderableType:
        said = f"{datetime.now():%H:%M:%S}  every {seconds:g} s; Ctrl-C ends"
        note = Text(f"{trouble}; trying again", style="red") if trouble else Text(said, style="dim")
        table = table_of(rows, columns) if rows else Text("Nothing fits.")
        return Group(table, note)

    rows = look()
    with suppress(KeyboardInterrupt), Live(picture(), console=terminal(), auto_refresh=False) as live:
        while True:
            time.sleep(seconds)
            try:
                rows = look()
            except UnavailableError as error:
                live.update(picture(error.message), refresh=True)
            else:
                live.update(picture(), refresh=True)


def print_rest(page: Page, noun: str) -> None:
    """Say on standard error how much of a list was not shown, if any."""
    if page.cursor is not None and (page.total is None or not page.exact):
        least = "" if page.total is None else f" than {page.total}"
        print(f"{len(page.rows)} of more{least} {noun}; --limit shows more.", file=sys.stderr)
    elif page.total is not None and page.total > len(page.rows):
        print(f"{len(page.rows)} of {page.total} {noun}; --limit shows more.", file=sys.stderr)


def _print_plain(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print aligned columns for a file or a pipe: the same table, without the library's start-up."""
    cells = [list(columns.values()), *([text(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def colour(value: Any) -> str:
    """Return the style for a value: states have colours."""
    return COLOURS.get(value, "") if isinstance(value, str) else ""


def text(value: Any) -> str:
    """Return a value as people read it: local times, no None."""
    if value in (None, _NEVER_SAID):
        return ""
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, str) and len(value) > 18 and value[4:5] == "-" and value[10:11] == "T":
        try:
            return moment(datetime.fromisoformat(value))
        except ValueError:
            return value
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value))
    return str(value)


def moment(value: datetime) -> str:
    """Return a moment in local time, without the date if it is less than a day away."""
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    near = abs((datetime.now(UTC) - aware).total_seconds()) < _DAY_SECONDS
    return aware.astimezone().strftime("%H:%M:%S" if near else "%Y-%m-%d %H:%M")


@contextmanager
def progress(label: str, *, quiet: bool = False) -> Iterator[Any]:
    """Show a progress bar on standard error, if that is a terminal.

    Gives a function to call with what is done and what there is in all, or None where nobody watches.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
