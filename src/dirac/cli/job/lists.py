"""Jobs in tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from dirac.cli.command import command
from dirac.cli.filters import (
    Columns,
    Ids,
    Order,
    Watch,
    parse_columns,
    parse_ids,
    parse_moment,
    parse_order,
)
from dirac.cli.job.choice import chooses_jobs
from dirac.cli.output import Json, client, complain, print_json, print_rest, print_table, progress, watched
from dirac.core.errors import InvalidInputError
from dirac.core.search import Condition, Page, Sort

if TYPE_CHECKING:
    from dirac.client import Client
    from dirac.formats.rows import RowFormat

_COLUMNS = {
    "JobID": "ID",
    "Status": "STATUS",
    "MinorStatus": "DETAIL",
    "ApplicationStatus": "APPLICATION",
    "Site": "SITE",
    "JobName": "NAME",
    "SubmissionTime": "SUBMITTED",
}
_COLUMNS_AT = {
    "JobID": "ID",
    "Status": "STATUS",
    "MinorStatus": "DETAIL",
    "ApplicationStatus": "APPLICATION",
    "Attempt": "RUN",
    "StatusTime": "SINCE",
}
_MOST_VALUES = 10_000
_NOT_FOUND = 3
_USUAL = 50
_MOST_SHOWN = 10_000
_PART = 1000

At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="TIME", help="At that time: 30m, 12h or 2d ago, or a time such as 2026-01-31T12:00."
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", "-n", metavar="N", min=1, help=f"Rows at most: {_USUAL} in a table, all in a file."
    ),
]


@command(
    "dirac job status 42",
    "dirac job status 42-61 70  # several, by number and range",
    "dirac job status 42 --at 2h  # what it was doing two hours ago",
    "dirac job status 42 --json  # a list of objects: JobID, Status, MinorStatus, ...",
)
def status(
    ctx: typer.Context, ids: Ids, columns: Columns = None, at: At = None, as_json: Json = False
) -> None:
    """Show what jobs are doing, or were at some time. The exit code is 3 if one of them is not there."""
    wanted = parse_ids(ids)
    if at is not None:
        _status_at(ctx, wanted, at, as_json=as_json)
        return
    shown = parse_columns(columns, _COLUMNS)
    found: dict[int, dict[str, Any]] = {}
    with client(ctx) as dirac:
        for start in range(0, len(wanted), _MOST_VALUES):
            part = wanted[start : start + _MOST_VALUES]
            only = Condition("JobID", "in", values=[*part])
            parameters = list({"JobID": None, **shown})
            page = dirac.jobs.search(search=[only], parameters=parameters, per_page=_MOST_VALUES)
            found |= {row["JobID"]: row for row in page.rows}
    rows = [found[job_id] for job_id in wanted if job_id in found]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows, shown)
    _complain_of([job_id for job_id in wanted if job_id not in found])


def _status_at(ctx: typer.Context, wanted: list[int], at: str, *, as_json: bool) -> None:
    """Show what jobs were at some time; those that did not exist yet have no status."""
    with client(ctx) as dirac:
        found = dirac.jobs.at(wanted, parse_moment(at, datetime.now(UTC), "--at"))
    if as_json:
        print_json(found)
    elif found:
        print_table([{name: getattr(job, name) for name in _COLUMNS_AT} for job in found], _COLUMNS_AT)
    there = {job.JobID for job in found}
    _complain_of([job_id for job_id in wanted if job_id not in there])


def _complain_of(missing: list[int]) -> None:
    if missing:
        some = ", ".join(map(str, missing[:5])) + (" ..." if len(missing) > 5 else "")
        complain(f"there is no job {some}, or none that you may see")
        raise typer.Exit(_NOT_FOUND)


@command(
    "dirac job list",
    "dirac job list --status failed,stalled --since 2d",
    "dirac job list --status 'not done' --site CERN --owner alice  # CERN is LCG.CERN.ch, too",
    "dirac job list --group '00012*' --sort Site,LastUpdateTime:desc --columns JobID,Site,HeartBeatTime",
    "dirac job list --where 'UserPriority>=3 and (MinorStatus~*Input* or EndExecTime is null)'",
    "dirac job list --where 'JobParameter.HostName=node7' --status running",
    "dirac job list --status running --watch 5  # a table that is kept up to date",
    "dirac job list --since 7d --format csv >week.csv  # all of them, however many",
    "dirac job list --group demo --json | jq '.[].JobID'",
)
@chooses_jobs
def list_jobs(
    ctx: typer.Context,
    *,
    search: list[Condition],
    order: Order = None,
    columns: Columns = None,
    limit: Limit = None,
    watch: Watch = None,
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="csv|jsonl", help="Write rows for programs, all unless --limit is given."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first: those that you may see and that fit all of the conditions."""
    shown = parse_columns(columns, _COLUMNS)
    sort = parse_order(order) or [Sort("JobID", "desc")]
    if file_format is not None:
        if as_json or watch or file_format not in ("csv", "jsonl"):
            raise InvalidInputError(
                "--format is csv or jsonl, and goes neither with --json nor with --watch", where="--format"
            )
        with client(ctx) as dirac:
            _write(dirac, cast("RowFormat", file_format), search, list(shown), sort, limit)
        return
    if limit is not None and limit > _MOST_SHOWN:
        raise InvalidInputError(
            f"a table has at most {_MOST_SHOWN} rows", where="--limit", hint="Use --format csv or jsonl"
        )
    with client(ctx) as dirac:

        def page() -> Page:
            return dirac.jobs.search(
                search=search, parameters=list(shown), sort=sort, per_page=limit or _USUAL
            )

        if watch is not None and not as_json:
            watched(lambda: page().rows, shown, watch)
            return
        found = page()
    if as_json:
        print_json(found.rows)
        return
    print_table(found.rows, shown, nothing="No jobs fit.")
    print_rest(found, "jobs")


@command(
    "dirac job summary",
    "dirac job summary --by Site,Status --since 1w",
    "dirac job summary --by MinorStatus --status failed --site CERN",
    "dirac job summary --by Site,Status --vo astro --watch 10  # a table that is kept up to date",
    "dirac job summary --by JobGroup --owner alice --json  # rows with these and `count`",
)
@chooses_jobs
def summary(
    ctx: typer.Context,
    by: Annotated[
        str, typer.Option("--by", "-b", metavar="NAMES", help="Attributes to count by.")
    ] = "Status",
    *,
    search: list[Condition],
    order: Order = None,
    watch: Watch = None,
    as_json: Json = False,
) -> None:
    """Count jobs by one or more of their attributes, the most first.

    Numbers by Status, MinorStatus, Site, Owner, OwnerGroup, VO, JobType and JobGroup are kept at hand; others
    are counted by looking at the jobs.
    """
    shown = parse_columns(by, {"JobID": "ID"})
    titles = {**{name: name.upper() for name in shown}, "count": "JOBS"}
    sort = parse_order(order) or [Sort("count", "desc")]
    if unknown := [each.parameter for each in sort if each.parameter not in titles]:
        raise InvalidInputError(
            f"a summary by {', '.join(shown)} cannot be sorted by {unknown[0]!r}",
            where="--sort",
            hint=f"Sort by {' or '.join(titles)}",
        )
    with client(ctx) as dirac:

        def rows() -> list[dict[str, Any]]:
            found = dirac.jobs.summary(list(shown), search=search)
            for each in reversed(sort):
                name = each.parameter
                found.sort(
                    key=lambda row: (row[name] is not None, row[name]),
                    reverse=each.direction == "desc",
                )
            return found

        if watch is not None and not as_json:
            watched(rows, titles, watch)
            return
        found = rows()
    if as_json:
        print_json(found)
        return
    print_table(found, titles, nothing="No jobs fit.")


def _write(
    dirac: Client,
    file_format: RowFormat,
    search: Sequence[Condition],
    names: list[str],
    sort: Sequence[Sort],
    limit: int | None,
) -> None:
    """Write rows on standard output as they come, page by page: each can be asked for again."""
    from dirac.formats.rows import lines

    head, write = lines(file_format, names)
    sys.stdout.flush()
    out = sys.stdout.buffer
    out.write(head)
    with progress("Writing jobs", quiet=sys.stdout.isatty()) as report:
        total = None
        if report is not None:
            total = dirac.jobs.search(search=search, parameters=["JobID"], per_page=1).total
        done = 0
        size = min(_PART, limit or _PART)
        rows = islice(dirac.jobs.iterate(search=search, parameters=names, sort=sort, page_size=size), limit)
        while part := list(islice(rows, size)):
            out.write(write(part))
            done += len(part)
            if report is not None:
                report(done, max(done, total or 0))
    out.flush()
