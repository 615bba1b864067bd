"""Commands that change jobs, many at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dirac.cli.command import command
from dirac.cli.filters import Ids, parse_ids
from dirac.cli.output import Json, client, complain, print_json

if TYPE_CHECKING:
    from dirac.systems.workload.models import Outcome

_SHOWN = 10


@command(
    "dirac job kill 42",
    "dirac job kill 42-61",
    "dirac job list --group demo --columns JobID --json | jq '.[].JobID' | dirac job kill -",
    "dirac job kill 42 --json  # {success: {ID: ...}, failed: {ID: ...}}",
)
def kill(ctx: typer.Context, ids: Ids, as_json: Json = False) -> None:
    """Stop jobs: those that wait at once, those that run by an order to their pilot."""
    with client(ctx) as dirac:
        _change(dirac.jobs.kill, parse_ids(ids), "killed", as_json=as_json)


@command("dirac job delete 42", "dirac job delete 42-61 --json  # {success: {ID: ...}, failed: {ID: ...}}")
def delete(ctx: typer.Context, ids: Ids, as_json: Json = False) -> None:
    """Delete jobs, stopping those that run."""
    with client(ctx) as dirac:
        _change(dirac.jobs.delete, parse_ids(ids), "deleted", as_json=as_json)


@command(
    "dirac job reschedule 42",
    "dirac job reschedule 42 --reset  # forget how often it was rescheduled",
    "dirac job reschedule 42 --json  # {success: {ID: ...}, failed: {ID: ...}}",
)
def reschedule(
    ctx: typer.Context,
    ids: Ids,
    reset: Annotated[
        bool, typer.Option("--reset", help="Forget how often it was rescheduled before.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let jobs run again from their beginning."""
    with client(ctx) as dirac:
        _change(
            lambda job_ids: dirac.jobs.reschedule(job_ids, reset=reset),
            parse_ids(ids),
            "rescheduled",
            as_json=as_json,
        )


def _change(
    call: Callable[[Sequence[int]], Outcome], job_ids: list[int], done: str, *, as_json: bool
) -> None:
    """Make a change and tell what came of it; exit code 1 if it was refused for a job."""
    outcome = call(job_ids)
    if as_json:
        print_json(outcome)
    elif outcome.success:
        numbers = list(outcome.success)
        what = f"Job {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} jobs"
        print(f"{what} {done}.")
    for job_id, reason in list(outcome.failed.items())[:_SHOWN]:
        complain(f"job {job_id}: {reason.get('detail', 'refused')}")
    if len(outcome.failed) > _SHOWN:
        complain(f"... and {len(outcome.failed) - _SHOWN} more")
    if outcome.failed:
        raise typer.Exit(1)
