"""Commands that look into a job: its life, its parameters, what it uses and what it prints."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from dirac.cli.command import command
from dirac.cli.filters import Id
from dirac.cli.output import Json, client, print_json, print_table
from dirac.cli.report import print_log, print_parameters
from dirac.core.errors import NotFoundError

Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Go on until the job has ended; the exit code tells how.")
]
_USAGE = {
    "time": "TIME",
    "Attempt": "RUN",
    "WallClockTime": "SECONDS",
    "CPUConsumed": "CPU",
    "MemoryUsed": "MEMORY kB",
    "Vsize": "VIRTUAL kB",
    "LoadAverage": "LOAD",
    "AvailableDiskSpace": "DISK MB",
}


@command(
    "dirac job log 42",
    "dirac job log 42 -f  # as it happens, with what the job prints",
    "dirac job log 42 --json  # a list of objects: Status, MinorStatus, StatusTime, ...",
    "dirac job log 42 -f --json  # an object per line; what it prints as {output: ...}",
)
def log(ctx: typer.Context, job_id: Id, follow: Follow = False, as_json: Json = False) -> None:
    """Show the life of a job: every status it had, when, in which run, and who said so.

    With --follow, what the job prints is shown as well: from the next sign of life on, every two seconds. The
    exit code is then 6 if the job did not end well.
    """
    with client(ctx) as dirac:
        if follow:
            _follow_log(dirac, job_id, as_json=as_json)
        entries = dirac.jobs.logging(job_id)
    if as_json:
        print_json(entries)
    else:
        print_log(entries)


def _follow_log(dirac: Any, job_id: int, *, as_json: bool) -> None:
    from dirac.cli.job.follow import end_with
    from dirac.cli.job.stream import read_along
    from dirac.cli.report import log_line

    def on_output(text: str) -> None:
        if as_json:
            print_json({"output": text})
        else:
            print("".join(f"  | {line}\n" for line in text.splitlines()), end="", flush=True)

    def on_entry(entry: Any) -> None:
        if as_json:
            print_json(entry)
        else:
            print(log_line(entry), flush=True)

    row = read_along(dirac, job_id, on_output=on_output, on_entry=on_entry)
    end_with({job_id: row})
    raise typer.Exit


@command(
    "dirac job peek 42",
    "dirac job peek 42 -f  # all that it prints from now on",
    "dirac job peek 42 --json  # {JobID, attempt, text, time, offset}",
)
def peek(ctx: typer.Context, job_id: Id, follow: Follow = False, as_json: Json = False) -> None:
    """Show the end of a running job's standard output, as of its last sign of life."""
    with client(ctx) as dirac:
        if follow:
            _follow_output(dirac, job_id, as_json=as_json)
        seen = dirac.jobs.peek(job_id)
    if as_json:
        print_json(seen)
        return
    if seen.text:
        print(seen.text.removesuffix("\n"))
    else:
        typer.echo("Nothing yet: the job has not run, or has not printed anything.", err=True)


def _follow_output(dirac: Any, job_id: int, *, as_json: bool) -> None:
    from dirac.cli.job.follow import end_with
    from dirac.cli.job.stream import read_along

    def on_output(text: str) -> None:
        if as_json:
            print_json({"output": text})
        else:
            sys.stdout.write(text)
            sys.stdout.flush()

    end_with({job_id: read_along(dirac, job_id, on_output=on_output)})
    raise typer.Exit


@command(
    "dirac job params 42",
    "dirac job params 42 StandardErrorTail  # one value, as it is",
    "dirac job params 42 --usage  # what its runs used over time",
    "dirac job params 42 --json  # an object: {name: value}",
)
def params(
    ctx: typer.Context,
    job_id: Id,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Print the value of this one only.")
    ] = None,
    usage: Annotated[
        bool, typer.Option("--usage", help="Show CPU time, memory and the like over time instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what is known of a job's run: its host, its memory, its error messages and the like."""
    with client(ctx) as dirac:
        if usage:
            _show_usage(dirac.jobs.heartbeats(job_id), as_json=as_json)
            return
        known = dirac.jobs.parameters(job_id)
    if name is not None:
        if name not in known:
            raise NotFoundError(
                f"job {job_id} has no parameter {name!r}", hint=f"It has {', '.join(known) or 'none'}"
            )
        known = {name: known[name]}
    if as_json:
        print_json(known)
    elif name is not None:
        print(known[name])
    else:
        print_parameters(known)


def _show_usage(signs: list[Any], *, as_json: bool) -> None:
    if as_json:
        print_json(signs)
        return
    rows = [
        {"time": sign.time, "Attempt": sign.Attempt}
        | {name: round(value, 2) for name, value in sign.data.items()}
        for sign in signs
    ]
    shown = {name: title for name, title in _USAGE.items() if any(name in row for row in rows)}
    print_table(rows, shown, nothing="Its runs have given no sign of life yet.")
