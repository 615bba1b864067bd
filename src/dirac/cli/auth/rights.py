"""Who did what, who could, and why somebody could not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from dirac.cli.command import command
from dirac.cli.filters import Columns, Limit, Where, one_of, parse_columns, parse_since
from dirac.cli.output import Json, client, print_json, print_rest, print_table, text
from dirac.cli.where import parse_where
from dirac.core.search import Condition, Sort
from dirac.core.time import to_wire

_COLUMNS = {
    "Time": "TIME",
    "Actor": "ACTOR",
    "Verb": "VERB",
    "Objects": "ON",
    "Outcome": "OUTCOME",
    "Properties": "RIGHT USED",
    "RequestID": "REQUEST",
}
_MOST_OBJECTS = 3
_SEVERAL = "repeatable, or with commas; * stands for anything"


def _named(long: str, short: str, of: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(long, short, metavar="NAME", help=f"{of} ({_SEVERAL}).")
    return option


@command(
    "dirac auth audit  # what was done with a right that most do not have, newest first",
    "dirac auth audit --since 2d --actor astro:ada",
    "dirac auth audit --verb '*kill*' --where 'Objects~*job:42*'",
    "dirac auth audit --outcome refused --columns Time,Actor,Verb,Needs --json",
)
def audit(
    ctx: typer.Context,
    since: Annotated[
        str | None, typer.Option("--since", metavar="AGE", help="Since then: 30m, 12h, 2d, or a date.")
    ] = None,
    actors: Annotated[list[str] | None, _named("--actor", "-a", "By this VO:SUBJECT")] = None,
    verbs: Annotated[list[str] | None, _named("--verb", "-v", "This was done, as the API names it")] = None,
    outcomes: Annotated[list[str] | None, _named("--outcome", "-o", "Done, refused or failed")] = None,
    where: Where = None,
    columns: Columns = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List what was done with a right that most people do not have, and what was refused.

    Administrators of a VO see its part of the log, those of the installation all of it.
    """
    shown = parse_columns(columns, _COLUMNS)
    search = one_of("Actor", actors) + one_of("Verb", verbs)
    search += one_of("Outcome", [word.capitalize() for word in outcomes or ()])
    if since:
        search.append(Condition("Time", "gte", to_wire(parse_since(since, datetime.now(UTC)))))
    search += [parse_where(words) for words in where or ()]
    with client(ctx) as dirac:
        page = dirac.audit.search(
            search=search,
            parameters=None
            if as_json and columns is None
            else [*shown, *(() if as_json else ("ObjectCount",))],
            sort=[Sort("AuditID", "desc")],
            per_page=limit,
        )
    if as_json:
        print_json(page.rows)
        return
    rows = [{**row, "Objects": _first(row)} for row in page.rows]
    print_table(rows, shown, nothing="The log has nothing that fits.")
    print_rest(page, "rows")


def _first(row: Mapping[str, Any]) -> str:
    """Return the first of several objects, and how many there are besides; JSON has more of them."""
    words = str(row.get("Objects", "")).split(", ")
    more = int(row["ObjectCount"]) - _MOST_OBJECTS
    return ", ".join(words[:_MOST_OBJECTS]) + (f" and {more} more" if more > 0 else "")


@command(
    "dirac auth who-can kill job:42",
    "dirac auth who-can apply configuration",
    "dirac auth who-can retry task --json  # {verb, request, open_to: [...], groups: [{group, users, ...}]}",
)
def who_can(
    ctx: typer.Context,
    verb: Annotated[str, typer.Argument(metavar="VERB", help="For instance kill, hold, apply, submit.")],
    thing: Annotated[
        str,
        typer.Argument(metavar="OBJECT", help="job:ID, pilot:STAMP, or a kind: job, configuration, task."),
    ],
    as_json: Json = False,
) -> None:
    """Tell who can do something: to whom it is open, and who of your VO that is."""
    with client(ctx) as dirac:
        found = dirac.audit.who_can(verb, thing)
    if as_json:
        print_json(found)
        return
    print(f"{found.request} ({found.verb})")
    print(f"is open to {'; '.join(found.open_to) or 'nobody'}.")
    rows = [
        {
            "vo": one.vo,
            "group": one.group,
            "right": one.properties,
            "users": ", ".join(one.users) + (" ..." if one.count > len(one.users) else ""),
        }
        for one in found.groups
    ]
    columns = {"vo": "VO", "group": "GROUP", "right": "BY ITS", "users": "USERS"}
    print_table(rows, columns, nothing="Nobody whom you may know is among them.")


@command(
    "dirac auth why-denied 5f0c1e9a5f0c1e9a  # the identifier is in the refusal",
    "dirac auth why-denied 5f0c1e9a5f0c1e9a --json  # {request, actor, group, reason, needs: [...], ...}",
)
def why_denied(
    ctx: typer.Context,
    request: Annotated[str, typer.Argument(metavar="REQUEST-ID", help="The header X-Request-ID.")],
    as_json: Json = False,
) -> None:
    """Say why a request was refused, and which right would have been enough.

    Only whom it was refused may ask, and the administrators of that VO and of the installation.
    """
    with client(ctx) as dirac:
        found = dirac.audit.refusal(request)
    if as_json:
        print_json(found)
        return
    facts = {
        "request": f"{found.request} ({found.verb})",
        "time": text(found.time),
        "asked by": f"{found.actor}, group {found.group or 'none'}",
        "refused since": found.reason,
        "would do": " or ".join(found.needs) or "nothing: what was asked for is refused for what it says",
    }
    for name, value in facts.items():
        print(f"{name + ':':<15}{value}")
