"""Looking at the configuration."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from dirac.cli.command import command
from dirac.cli.config.changes import print_changes
from dirac.cli.output import Json, client, print_json, print_table
from dirac.core.errors import InvalidInputError

_WIDTH = 60
_BLAME = {"version": "VERSION", "time": "TIME", "author": "AUTHOR", "comment": "COMMENT", "value": "VALUE"}
_LOG = {"number": "VERSION", "time": "TIME", "author": "AUTHOR", "comment": "COMMENT"}

At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="TIME", help="What was in force then: 12h, 2d or a date such as 2026-01-31."
    ),
]


def _moment(text: str | None) -> datetime | None:
    from dirac.cli.filters import parse_moment

    return None if text is None else parse_moment(text, datetime.now(UTC), "--at")


def _short(value: object) -> str:
    text = "(not there)" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."


@command(
    "dirac config show",
    "dirac config show --version 3 > old.yml",
    "dirac config show --at 2026-01-31  # what was in force then; or 2d: two days ago",
    "dirac config show --json  # {version, text, tree}",
)
def show(
    ctx: typer.Context,
    version: Annotated[
        int | None,
        typer.Option("--version", "-v", metavar="N", min=0, help="This version; otherwise the current one."),
    ] = None,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Print the configuration: all of it for administrators, else what concerns your VO."""
    with client(ctx) as dirac:
        content = dirac.config.tree(version=version, at=_moment(at))
    if as_json:
        print_json(content)
    else:
        print(content.text.rstrip("\n"))


@command(
    "dirac config diff  # what the last change was",
    "dirac config diff 3  # between version 3 and now",
    "dirac config diff 3 5 --json  # a list of objects: path, old, new",
)
def diff(
    ctx: typer.Context,
    old: Annotated[
        int | None, typer.Argument(metavar="OLD", min=0, help="A version; otherwise the last but one.")
    ] = None,
    new: Annotated[
        int | None, typer.Argument(metavar="NEW", min=0, help="A version; otherwise the current one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two versions of the configuration."""
    with client(ctx) as dirac:
        if old is None:
            old = dirac.config.tree().version - 1
            if old < 0:
                raise InvalidInputError("there is no version before the current one")
        changes = dirac.config.diff(old=old, new=new)
    if as_json:
        print_json(changes)
    elif changes:
        print_changes(changes)
    else:
        print("They are the same.")


@command(
    "dirac config log", "dirac config log --json  # a list of objects: number, digest, time, author, comment"
)
def log(ctx: typer.Context, as_json: Json = False) -> None:
    """List the versions of the configuration: who changed it, when and why."""
    with client(ctx) as dirac:
        versions = dirac.config.log()
    if as_json:
        print_json(versions)
        return
    rows = [{name: getattr(version, name) for name in _LOG} for version in versions]
    print_table(rows, _LOG, nothing="There is no configuration yet: dirac config apply FILE")


@command(
    "dirac config explain workload/max_priority",
    "dirac config explain virtual_organisations/bio/operations/JobDescription/MaxCPUTime",
    "dirac config explain sites/LCG.CERN.ch --at 2026-01-31 --json",
)
def explain(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Path of an option, with slashes.")],
    at: At = None,
    as_json: Json = False,
) -> None:
    """Say what an option is, where that comes from, what it overrides, and what the option means."""
    with client(ctx) as dirac:
        found = dirac.config.explain(key, at=_moment(at))
    if as_json:
        print_json(found)
        return
    print(f"{found.key}: {json.dumps(found.value, ensure_ascii=False)}")
    if found.meaning:
        print(f"  means      {found.meaning}")
    if found.accepts:
        print(f"  accepts    {found.accepts}")
    if found.file is not None:
        print(f"  comes from {found.file}:{found.line}:{found.column}")
    else:
        print(f"  comes from {'the configuration' if found.origin == 'file' else found.origin}")
    if (since := found.since) is not None:
        who = f" by {since.author}" if since.author else ""
        why = f": {since.comment}" if since.comment else ""
        print(f"  since      version {since.version}, {since.time:%Y-%m-%d %H:%M:%S} UTC{who}{why}")
    for other in found.overrides:
        print(f"  overrides  {other.origin}: {json.dumps(other.value, ensure_ascii=False)}")


@command(
    "dirac config blame workload/max_priority",
    "dirac config blame sites/LCG.CERN.ch --json  # a list of objects: version, time, author, comment, value",
)
def blame(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Path of an option, with slashes.")],
    as_json: Json = False,
) -> None:
    """List who gave an option its values, newest first."""
    with client(ctx) as dirac:
        found = dirac.config.blame(key)
    if as_json:
        print_json(found)
        return
    rows = [
        {name: getattr(each, name) for name in ("version", "time", "author", "comment")}
        | {"value": _short(each.value)}
        for each in found
    ]
    print_table(rows, _BLAME, nothing="Nobody has set it: this is its default.")


@command("dirac config schema > dirac.schema.json", "dirac config schema --json | jq '.\"$defs\" | keys'")
def schema(ctx: typer.Context, as_json: Json = False) -> None:
    """Print the JSON schema of the configuration, with which an editor completes and checks a file."""
    with client(ctx) as dirac:
        found = dirac.config.schema()
    if as_json:
        print_json(found)
        return
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
