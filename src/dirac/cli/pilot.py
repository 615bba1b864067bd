"""Commands about pilots."""

from __future__ import annotations

from typing import Annotated

import typer

from dirac.cli.command import command
from dirac.cli.filters import Columns, Limit, Since, Sites, Statuses, Where, conditions, parse_columns
from dirac.cli.output import Json, client, print_json, print_rest, print_table
from dirac.core.search import Condition, Sort

_COLUMNS = {
    "PilotStamp": "STAMP",
    "Status": "STATUS",
    "DestinationSite": "CE",
    "GridSite": "SITE",
    "CurrentJobID": "JOB",
    "SubmissionTime": "SUBMITTED",
    "StatusReason": "REASON",
}


@command(
    "dirac pilot list",
    "dirac pilot list --status running --site DIRAC.Observatory.org",
    "dirac pilot list --since 1d --columns PilotStamp,Status,Queue --json",
)
def list_pilots(
    ctx: typer.Context,
    statuses: Statuses = None,
    sites: Sites = None,
    since: Since = None,
    where: Where = None,
    columns: Columns = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List pilots, newest first."""
    shown = parse_columns(columns, _COLUMNS)
    search = _search(statuses, sites, since, where)
    with client(ctx) as dirac:
        page = dirac.pilots.search(
            search=search, parameters=list(shown), sort=[Sort("PilotID", "desc")], per_page=limit
        )
    if as_json:
        print_json(page.rows)
        return
    print_table(page.rows, shown, nothing="No pilots fit.")
    print_rest(page, "pilots")


@command(
    "dirac pilot summary", "dirac pilot summary --by GridSite,Status --json  # rows with these and `count`"
)
def summary(
    ctx: typer.Context,
    by: Annotated[
        str, typer.Option("--by", "-b", metavar="NAMES", help="Attributes to count by.")
    ] = "Status",
    statuses: Statuses = None,
    sites: Sites = None,
    since: Since = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Count pilots by one or more of their attributes."""
    shown = parse_columns(by, {})
    search = _search(statuses, sites, since, where)
    with client(ctx) as dirac:
        rows = dirac.pilots.summary(list(shown), search=search)
    if as_json:
        print_json(rows)
        return
    rows = sorted(rows, key=lambda row: -row["count"])
    print_table(rows, {**{name: name.upper() for name in shown}, "count": "PILOTS"}, nothing="No pilots fit.")


@command(
    "dirac pilot explain 5f0c1e9a",
    "dirac pilot explain slurm://cluster/4711 --json  # {text, offer, waiting, fitting, reasons: [...], ...}",
)
def explain(
    ctx: typer.Context,
    pilot: Annotated[
        str,
        typer.Argument(metavar="PILOT", help="Its stamp, or the reference that its computing element gave."),
    ],
    as_json: Json = False,
) -> None:
    """Say why a pilot has a job or none.

    What its node offers, how many of the waiting jobs fit, and which requirement or limit keeps how many of
    the others away. Who may not see the jobs of the whole VO is told of their own ones.
    """
    with client(ctx) as dirac:
        explanation = dirac.pilots.explain(pilot)
    if as_json:
        print_json(explanation)
        return
    from dirac.cli.report import print_pilot_explanation

    print_pilot_explanation(explanation)


def _search(
    statuses: list[str] | None, sites: list[str] | None, since: str | None, where: list[str] | None
) -> list[Condition]:
    known = None
    if statuses:
        from dirac.systems.workload.models import PilotStatus

        known = PilotStatus
    return conditions(states=statuses, known=known, named={"GridSite": sites}, since=since, where=where)
