"""Commands that change jobs, many at a time: by number, or all that fit a filter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dirac.cli.command import command
from dirac.cli.filters import (
    parse_ids,
)
from dirac.cli.job.choice import chooses_jobs
from dirac.cli.output import Json, client, complain, print_json, progress
from dirac.core.errors import InvalidInputError, NotFoundError
from dirac.core.search import Condition

if TYPE_CHECKING:
    from dirac.client import Client
    from dirac.systems.workload.models import Outcome

_SHOWN = 10
_AT_ONCE = 1000

MaybeIds = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IDS",
        help="Jobs: numbers, ranges such as 12-15, or - to read them from standard input. Or use a filter.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however many jobs fit the filter.")]
Preview = Annotated[bool, typer.Option("--preview", help="Only count the jobs that it would change.")]


def _command(verb: str, done: str, text: str, *examples: str) -> Callable[..., None]:
    """Make the command of a verb; all of them take the same words."""

    @command(*examples)
    @chooses_jobs
    def change(
        ctx: typer.Context,
        ids: MaybeIds = None,
        *,
        search: list[Condition],
        yes: Yes = False,
        preview: Preview = False,
        as_json: Json = False,
    ) -> None:
        if bool(ids) == bool(search):
            raise InvalidInputError(
                "which jobs?" if not ids else "numbers and a filter do not go together",
                hint=f"Type numbers, or a filter as in: dirac job {verb} --status failed --since 2d",
            )
        with client(ctx) as dirac:
            if search:
                _by_filter(dirac, verb, done, search, yes=yes, preview=preview, as_json=as_json)
            else:
                _by_number(dirac, verb, done, parse_ids(ids or ()), preview=preview, as_json=as_json)

    change.__doc__ = text
    return change


def _by_number(
    dirac: Client, verb: str, done: str, job_ids: list[int], *, preview: bool, as_json: bool
) -> None:
    from dirac.systems.workload.models import JobVerb, Outcome, StatusChange

    if preview:
        counts = [
            dirac.jobs.preview(JobVerb(verb), [Condition("JobID", "in", values=[*part])]).count
            for part in _parts(job_ids)
        ]
        _tell_preview(sum(counts), done, as_json=as_json)
        return
    success: dict[int, StatusChange] = {}
    failed: dict[int, dict[str, str]] = {}
    with progress(done.title(), quiet=as_json or len(job_ids) <= _AT_ONCE) as report:
        for part in _parts(job_ids):
            try:
                outcome = _call(dirac, verb, part)
                success, failed = success | outcome.success, failed | outcome.failed
            except NotFoundError as error:
                if len(job_ids) <= _AT_ONCE:
                    raise
                failed |= {job_id: {"detail": error.message} for job_id in part}
            if report is not None:
                report(len(success) + len(failed), len(job_ids))
    if as_json:
        print_json(Outcome(success=success, failed=failed))
    elif success:
        numbers = list(success)
        print(f"Job {numbers[0]} {done}." if len(numbers) == 1 else f"{len(numbers)} jobs {done}.")
    _tell_failed(failed)


def _call(dirac: Client, verb: str, job_ids: Sequence[int]) -> Outcome:
    calls = {
        "kill": dirac.jobs.kill,
        "hold": dirac.jobs.hold,
        "release": dirac.jobs.release,
        "reschedule": dirac.jobs.reschedule,
        "reset": lambda job_ids: dirac.jobs.reschedule(job_ids, reset=True),
        "delete": dirac.jobs.delete,
    }
    return calls[verb](job_ids)


def _parts(job_ids: Sequence[int]) -> list[Sequence[int]]:
    return [job_ids[start : start + _AT_ONCE] for start in range(0, len(job_ids), _AT_ONCE)]


def _by_filter(
    dirac: Client, verb: str, done: str, search: list[Condition], *, yes: bool, preview: bool, as_json: bool
) -> None:
    from dirac.systems.workload.models import BulkOutcome, JobVerb

    found = dirac.jobs.preview(JobVerb(verb), search)
    if preview:
        _tell_preview(found.count, done, as_json=as_json)
        return
    if not found.count:
        if as_json:
            print_json(BulkOutcome(0, {}, 0, finished=True))
        else:
            print(f"No job that fits can be {done}.")
        return
    if not yes:
        _confirm(found.count, done)
    with progress(done.title(), quiet=as_json) as report:
        outcome = dirac.jobs.change_all(
            JobVerb(verb),
            search,
            until=found.last,
            progress=None if report is None else lambda count: report(count, found.count),
        )
    if as_json:
        print_json(outcome)
    else:
        print(f"{_jobs(outcome.done)} {done}.")
    _tell_failed(outcome.failed)


def _confirm(count: int, done: str) -> None:
    if not sys.stdin.isatty():
        raise InvalidInputError(
            f"{_jobs(count)} would be {done}, and there is nobody to ask", hint="If you are sure: --yes"
        )
    typer.confirm(f"{_jobs(count)} will be {done}. Go on?", abort=True, err=True)


def _tell_preview(count: int, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"count": count})
    else:
        print(f"{_jobs(count)} would be {done}.")


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def _tell_failed(failed: dict[int, dict[str, str]]) -> None:
    """Say what was refused; the exit code is then 1."""
    for job_id, reason in list(failed.items())[:_SHOWN]:
        complain(f"job {job_id}: {reason.get('detail', 'refused')}")
    if len(failed) > _SHOWN:
        complain(f"... and {len(failed) - _SHOWN} more")
    if failed:
        raise typer.Exit(1)


kill = _command(
    "kill",
    "killed",
    """Stop jobs: those that wait at once, those that run by an order to their pilot.

    A run that has ended as it was told says so in the job's log; if it does not, the log says that. With a
    filter, the words are those of `dirac job list`: all jobs that fit are counted first, and you are asked.
    """,
    "dirac job kill 42",
    "dirac job kill 42-61",
    "dirac job kill --status waiting,running --group demo",
    "dirac job kill --site 'LCG.*' --since 2d --preview  # only count them",
    "dirac job list --json | jq '.[].JobID' | dirac job kill -",
    "dirac job kill 42 --json  # {success: {ID: ...}, failed: {ID: ...}}",
)
hold = _command(
    "hold",
    "held",
    """Keep jobs that wait from pilots, until they are released.""",
    "dirac job hold 42-61",
    "dirac job hold --group demo --yes",
    "dirac job hold 42 --json  # {success: {ID: ...}, failed: {ID: ...}}",
)
release = _command(
    "release",
    "released",
    """Let jobs wait for pilots again that are on hold, or that wait before their next run.""",
    "dirac job release 42-61",
    "dirac job release --group demo --yes",
    "dirac job release 42 --json  # {success: {ID: ...}, failed: {ID: ...}}",
)
reschedule = _command(
    "reschedule",
    "rescheduled",
    """Let jobs run again from their beginning; each so many times, as the configuration says.""",
    "dirac job reschedule 42",
    "dirac job reschedule --status failed --since 12h",
    "dirac job reschedule 42 --json  # {success: {ID: ...}, failed: {ID: ...}}",
)
reset = _command(
    "reset",
    "reset",
    """Let jobs run again, and forget how often they were rescheduled before.""",
    "dirac job reset 42",
    "dirac job reset --status failed --where 'MinorStatus~*Input*'",
    "dirac job reset 42 --json  # {success: {ID: ...}, failed: {ID: ...}}",
)
delete = _command(
    "delete",
    "deleted",
    """Delete jobs, stopping those that run; some days later they are removed for good.""",
    "dirac job delete 42",
    "dirac job delete --status done --name 'test-*' --preview",
    "dirac job delete 42-61 --json  # {success: {ID: ...}, failed: {ID: ...}}",
)
