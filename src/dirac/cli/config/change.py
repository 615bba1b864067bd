"""Changing the configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dirac.cli.command import command
from dirac.cli.config.changes import print_changes
from dirac.cli.output import Json, client, print_json
from dirac.core.errors import InvalidInputError

if TYPE_CHECKING:
    from dirac.systems.configuration.models import Applied

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Comment = Annotated[str, typer.Option("--comment", "-m", metavar="TEXT", help="Why, for the log.")]


@command(
    "dirac config apply site.yml  # shows what would change, and asks",
    "dirac config apply site.yml --dry-run",
    "dirac config apply site.yml --yes --comment 'A second queue'",
    "dirac config apply site.yml --yes --json  # {version, changes: [{path, old, new}]}",
)
def apply(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="YAML; - for standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would change.")] = False,
    yes: Yes = False,
    comment: Comment = "",
    as_json: Json = False,
) -> None:
    """Make a file the configuration. All of it is checked before anything changes."""
    text = _read(file)
    name = Path(file).name if file != "-" else "standard input"
    if file == "-" or not sys.stdin.isatty() or as_json:
        _require(yes or dry_run)
    with client(ctx) as dirac:
        version = None
        if not yes and not dry_run:
            planned = dirac.config.apply(text, file=name, dry_run=True)
            if not planned.changes:
                print(f"No change: version {planned.version} says the same.")
                return
            print_changes(planned.changes)
            typer.confirm("Apply this?", abort=True)
            # What was shown is what is done: a change by somebody else in the meantime is refused.
            version = planned.version - 1
        applied = dirac.config.apply(
            text, file=name, comment=comment, dry_run=dry_run, expected_version=version
        )
    _tell(applied, dry_run=dry_run, shown=version is not None, as_json=as_json)


@command(
    "dirac config rollback 3",
    "dirac config rollback 3 --yes --comment 'The new queue does not work'",
    "dirac config rollback 3 --yes --json  # {version, changes: [{path, old, new}]}",
)
def rollback(
    ctx: typer.Context,
    version: Annotated[
        int, typer.Argument(metavar="VERSION", min=0, help="As `dirac config log` numbers them.")
    ],
    yes: Yes = False,
    comment: Comment = "",
    as_json: Json = False,
) -> None:
    """Go back to an older version: what it says becomes a new version."""
    if not sys.stdin.isatty() or as_json:
        _require(yes)
    with client(ctx) as dirac:
        if not yes:
            current = dirac.config.tree().version
            changes = dirac.config.diff(old=current, new=version)
            if not changes:
                print(f"No change: version {current} says the same.")
                return
            print_changes(changes)
            typer.confirm("Apply this?", abort=True)
        applied = dirac.config.rollback(version, comment=comment)
    _tell(applied, dry_run=False, shown=not yes, as_json=as_json)


def _tell(applied: Applied, *, dry_run: bool, shown: bool, as_json: bool) -> None:
    if as_json:
        print_json(applied)
        return
    if not shown:
        print_changes(applied.changes)
    if not applied.changes:
        print(f"No change: version {applied.version} says the same.")
    elif dry_run:
        number = len(applied.changes)
        print(f"{number} change{'' if number == 1 else 's'}; nothing was applied.")
    else:
        print(f"This is version {applied.version} now.")


def _require(sure: bool) -> None:
    if not sure:
        raise InvalidInputError("there is nobody to ask", hint="Say --yes to apply, or --dry-run to look")


def _read(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{file} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
