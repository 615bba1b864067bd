"""Jobs in tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from dirac.cli.command import command
from dirac.cli.filters import (
    Columns,
    Groups,
    Ids,
    Limit,
    Names,
    Owners,
    Since,
    Sites,
    Statuses,
    Where,
    conditions,
    parse_columns,
    parse_ids,
    parse_moment,
)
from dirac.cli.output import Json, client, complain, print_json, print_table
from dirac.core.search import Condition, Sort

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

At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="TIME", help="At that time: 30m, 12h or 2d ago, or a time such as 2026-01-31T12:00."
    ),
]
OwnerGroups = Annotated[
    list[str] | None,
    typer.Option("--owner-group", metavar="NAME", help="Of this group of users (repeatable)."),
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
    "dirac job list --site 'LCG.*' --columns JobID,Status,HeartBeatTime",
    "dirac job list --where 'MinorStatus~*Input*' --where JobType=User",
    "dirac job list --group demo --json | jq '.[].JobID'",
)
def list_jobs(
    ctx: typer.Context,
    statuses: Statuses = None,
    sites: Sites = None,
    owners: Owners = None,
    owner_groups: OwnerGroups = None,
    groups: Groups = None,
    names: Names = None,
    since: Since = None,
    where: Where = None,
    columns: Columns = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List jobs, newest first: those that you may see and that fit all of the conditions."""
    search = chosen(statuses, sites, owners, owner_groups, groups, names, since, where)
    shown = parse_columns(columns, _COLUMNS)
    with client(ctx) as dirac:
        page = dirac.jobs.search(
            search=search, parameters=list(shown), sort=[Sort("JobID", "desc")], per_page=limit
        )
    if as_json:
        print_json(page.rows)
        return
    print_table(page.rows, shown, nothing="No jobs fit.")
    if page.total > len(page.rows):
        typer.echo(f"{len(page.rows)} of {page.total} jobs; --limit shows more.", err=True)


@command(
    "dirac job summary",
    "dirac job summary --by Site,Status --since 1w",
    "dirac job summary --by JobGroup --owner alice --json  # rows with these and `count`",
)
def summary(
    ctx: typer.Context,
    by: Annotated[
        str, typer.Option("--by", "-b", metavar="NAMES", help="Attributes to count by.")
    ] = "Status",
    statuses: Statuses = None,
    sites: Sites = None,
    owners: Owners = None,
    owner_groups: OwnerGroups = None,
    groups: Groups = None,
    names: Names = None,
    since: Since = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Count jobs by one or more of their attributes."""
    search = chosen(statuses, sites, owners, owner_groups, groups, names, since, where)
    shown = parse_columns(by, {"JobID": "ID"})
    with client(ctx) as dirac:
        rows = dirac.jobs.summary(list(shown), search=search)
    if as_json:
        print_json(rows)
        return
    titles = {name: name.upper() for name in shown}
    rows = sorted(rows, key=lambda row: -row["count"])
    print_table(rows, {**titles, "count": "JOBS"}, nothing="No jobs fit.")


def chosen(
    statuses: list[str] | None,
    sites: list[str] | None,
    owners: list[str] | None,
    owner_groups: list[str] | None,
    groups: list[str] | None,
    names: list[str] | None,
    since: str | None,
    where: list[str] | None,
) -> list[Condition]:
    """Return the conditions that the options of a list of jobs stand for."""
    known = None
    if statuses:
        from dirac.systems.workload.models import JobStatus

        known = JobStatus
    named = {"Site": sites, "Owner": owners, "OwnerGroup": owner_groups, "JobGroup": groups, "JobName": names}
    return conditions(states=statuses, known=known, named=named, since=since, where=where)
