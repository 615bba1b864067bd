"""Following jobs to their end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from dirac.cli.command import command
from dirac.cli.filters import Ids, parse_ids
from dirac.cli.output import Json, client, complain, print_json, progress
from dirac.core.errors import UnavailableError

JOB_FAILED = 6
TIME_OVER = 7
_GOOD = frozenset({"Done", "Completed"})

Patience = Annotated[
    float | None, typer.Option("--timeout", "-t", metavar="SECONDS", min=0, help="Wait no longer than this.")
]


@command(
    "dirac job wait 42",
    "dirac job wait 42-61 --timeout 3600 && dirac job output 42-61",
    "dirac job wait 42 --timeout 60 || echo $?  # 6: it failed, 7: it goes on",
    "dirac job wait 42 --json  # {JobID: {Status, MinorStatus, ApplicationStatus}}",
)
def wait(ctx: typer.Context, ids: Ids, timeout: Patience = None, as_json: Json = False) -> None:
    """Wait until jobs have ended.

    The exit code is 0 if all ended well, 6 if one of them did not, and 7 if the time was over before all had
    ended.
    """
    wanted = parse_ids(ids)
    began = time.monotonic()
    with client(ctx) as dirac, progress("Waiting", quiet=as_json) as report:
        try:
            rows = dirac.jobs.wait(wanted, timeout=timeout, progress=report)
        except UnavailableError as error:
            if timeout is not None and time.monotonic() - began >= timeout:
                complain(error.message, "They go on; ask again later")
                raise typer.Exit(TIME_OVER) from None
            raise
    if as_json:
        print_json(rows)
    else:
        counts: dict[str, int] = {}
        for row in rows.values():
            counts[row["Status"]] = counts.get(row["Status"], 0) + 1
        print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
    end_with(rows)


@command(
    "dirac job watch 42",
    "dirac job watch 42-61",
    "dirac job watch 42 --json  # in the end, as `wait` prints it",
)
def watch_jobs(ctx: typer.Context, ids: Ids, as_json: Json = False) -> None:
    """Watch jobs until they have ended: progress, states, pilots and what happens."""
    from dirac.cli.live import Watched, watch

    wanted = parse_ids(ids)
    with client(ctx) as dirac:
        rows = watch([Watched(dirac, wanted)], quiet=as_json)
    if as_json:
        print_json(rows)
    end_with(rows)


def end_with(rows: Mapping[int, Mapping[str, Any]]) -> None:
    """End the command with the exit code that tells whether all jobs ended well."""
    if any(row["Status"] not in _GOOD for row in rows.values()):
        raise typer.Exit(JOB_FAILED)
