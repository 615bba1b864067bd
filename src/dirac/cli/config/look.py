"""Looking at the configuration."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dirac.cli.command import command
from dirac.cli.config.changes import print_changes
from dirac.cli.output import Json, client, print_json, print_table
from dirac.core.errors import InvalidInputError

_LOG = {"number": "VERSION", "time": "TIME", "author": "AUTHOR", "comment": "COMMENT"}


@command(
    "dirac config show",
    "dirac config show --version 3 > old.yml",
    "dirac config show --json  # {version, text, tree}",
)
def show(
    ctx: typer.Context,
    version: Annotated[
        int | None,
        typer.Option("--version", "-v", metavar="N", min=0, help="This version; otherwise the current one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the configuration: all of it for administrators, else what concerns your VO."""
    with client(ctx) as dirac:
        content = dirac.config.tree(version=version)
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
