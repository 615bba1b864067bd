"""A live table of jobs."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dirac.cli.command import command
from dirac.cli.job.choice import chooses_jobs
from dirac.cli.output import COLOURS, Json, client, print_json, print_table, text
from dirac.core.errors import UnavailableError
from dirac.core.search import Condition, Sort, leaves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from dirac.client import Client

_COLUMNS = {
    "JobID": "ID",
    "Status": "STATUS",
    "MinorStatus": "DETAIL",
    "ApplicationStatus": "APPLICATION",
    "Site": "SITE",
    "JobName": "NAME",
    "LastUpdateTime": "CHANGED",
    "HeartBeatTime": "LAST SIGN",
}
_AGES = ("LastUpdateTime", "HeartBeatTime")
_ENDED = ["Done", "Failed", "Killed", "Deleted"]
_HEAD = 5


@command(
    "dirac job top  # until Ctrl-C",
    "dirac job top --site 'LCG.*' --every 10",
    "dirac job top --all --group demo  # those that have ended, too",
    "dirac job top --json  # once: {summary: [...], jobs: [...]}",
)
@chooses_jobs
def top(
    ctx: typer.Context,
    *,
    search: list[Condition],
    ended: Annotated[bool, typer.Option("--all", "-a", help="Jobs that have ended as well.")] = False,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=0.5, help="Time between two looks.")
    ] = 2.0,
    as_json: Json = False,
) -> None:
    """Show jobs as they change: how many are in which state, and those that changed last.

    Where nobody watches (a file, a pipe), it is shown once.
    """
    ended = ended or any(each.parameter == "Status" for each in leaves(search))
    with client(ctx) as dirac:
        if as_json or not sys.stdout.isatty():
            counts, rows = _look(dirac, search, limit=100, ended=ended)
            if as_json:
                print_json({"summary": counts, "jobs": rows})
                return
            print(_line(counts))
            print_table(_aged(rows), _COLUMNS, nothing="Nothing goes on.")
            return
        _show(dirac, search, every=every, ended=ended)


def _look(
    dirac: Client, search: Sequence[Condition], *, limit: int, ended: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    counts = dirac.jobs.summary(["Status"], search=search)
    shown = list(search) if ended else [*search, Condition("Status", "not in", values=[*_ENDED])]
    order = [Sort("LastUpdateTime", "desc"), Sort("JobID", "desc")]
    page = dirac.jobs.search(search=shown, parameters=list(_COLUMNS), sort=order, per_page=limit)
    return counts, page.rows


def _show(dirac: Client, search: Sequence[Condition], *, every: float, ended: bool) -> None:
    """Draw the table again and again, until somebody has seen enough."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    counts: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            trouble = ""
            try:
                limit = max(console.height - _HEAD, 1)
                counts, rows = _look(dirac, search, limit=limit, ended=ended)
            except UnavailableError as error:
                trouble = error.message  # the server may be restarting
            live.update(_picture(counts, rows, trouble), refresh=True)
            time.sleep(every)


def _picture(
    counts: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], trouble: str
) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    head = Text(f"{datetime.now():%H:%M:%S}  ", style="bold")
    for row in sorted(counts, key=lambda row: -row["count"]):
        head.append(f"{row['count']} {row['Status']}  ", style=COLOURS.get(row["Status"], ""))
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    for title in _COLUMNS.values():
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    for row in _aged(rows):
        table.add_row(*(Text(text(row[name]), style=COLOURS.get(row[name], "")) for name in _COLUMNS))
    last = Text(f"{trouble}; trying again", style="red") if trouble else Text("Ctrl-C ends this", style="dim")
    return Group(head, "", table, last)


def _line(counts: Sequence[Mapping[str, Any]]) -> str:
    ordered = sorted(counts, key=lambda row: -row["count"])
    return ", ".join(f"{row['count']} {row['Status']}" for row in ordered) or "No jobs."


def _aged(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows that say how long ago, instead of when."""
    now = datetime.now(UTC)
    return [
        {name: _age(row.get(name), now) if name in _AGES else row.get(name) for name in _COLUMNS}
        for row in rows
    ]


def _age(moment: str | None, now: datetime) -> str:
    if not moment:
        return ""
    seconds = max(int((now - datetime.fromisoformat(moment)).total_seconds()), 0)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
