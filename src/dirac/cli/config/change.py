"""Changing the configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dirac.cli.command import command
from dirac.cli.config.changes import print_changes, print_consequences
from dirac.cli.output import Json, client, print_json
from dirac.core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dirac.client import Client
    from dirac.systems.configuration.models import Applied

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Comment = Annotated[str, typer.Option("--comment", "-m", metavar="TEXT", help="Why, for the log.")]
Source = Annotated[
    str,
    typer.Argument(metavar="FILE|DIR", help="YAML, or a directory with such files; - for standard input."),
]
Base = Annotated[
    int | None,
    typer.Option(
        "--base",
        metavar="N",
        min=0,
        help="Version that this was made from; what others changed since is kept. A directory knows it.",
    ),
]

As = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="NAME", help="This is one file of the configuration, of that name; the others stay."
    ),
]


@command(
    "dirac config pull conf && vi conf/vo/bio.yml && dirac config apply conf",
    "dirac config apply site.yml  # shows what would change, and asks",
    "dirac config apply site.yml --dry-run",
    "dirac config apply site.yml --yes --comment 'A second queue'",
    "dirac config apply bio.yml --as vo/bio.yml  # other files stay as they are",
    "dirac config apply site.yml --yes --json  # {version, changes: [{path, old, new}], ...}",
)
def apply(
    ctx: typer.Context,
    source: Source,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would change.")] = False,
    yes: Yes = False,
    comment: Comment = "",
    base: Base = None,
    name: As = None,
    as_json: Json = False,
) -> None:
    """Make a file or a directory the configuration. All of it is checked before anything changes."""
    if source == "-" or not sys.stdin.isatty() or as_json:
        _require(yes or dry_run)
    with client(ctx) as dirac:
        send = _sender(dirac, source, base, name)
        version = None
        if not yes and not dry_run:
            planned = send(dry_run=True)
            if not planned.files and not planned.changes:
                print(f"No change: version {planned.version} says the same.")
                return
            print_changes(planned.changes)
            print_consequences(planned)
            typer.confirm("Apply this?", abort=True)
            # What was shown is what is done: a change by somebody else in the meantime is refused.
            version = planned.version - 1
        applied = send(comment=comment, dry_run=dry_run, expected_version=version)
        _tell(applied, dry_run=dry_run, shown=version is not None, as_json=as_json)
        folder = Path(source)
        if not dry_run and source != "-" and folder.is_dir():
            from dirac.cli.config.folder import pull, texts

            pull(dirac, folder, None, applied=list(texts(folder)))


@command(
    "dirac config plan conf",
    "dirac config plan site.yml --json  # {version, changes, warnings, effects: [{vo, text, number}], ...}",
)
def plan(
    ctx: typer.Context, source: Source, base: Base = None, name: As = None, as_json: Json = False
) -> None:
    """Show what a file or a directory would change, and what that does to jobs and people; change nothing."""
    with client(ctx) as dirac:
        planned = _sender(dirac, source, base, name)(dry_run=True)
    _tell(planned, dry_run=True, shown=False, as_json=as_json)


@command(
    "dirac config pull conf  # the current files",
    "dirac config pull old --version 3 --json  # {version, written: [FILE, ...]}",
)
def pull(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Made if it is not there.")],
    version: Annotated[
        int | None,
        typer.Option("--version", "-v", metavar="N", min=0, help="This version, not the current one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring the configuration's files into a directory: those that you may change."""
    from dirac.cli.config.folder import marked_version
    from dirac.cli.config.folder import pull as bring

    with client(ctx) as dirac:
        written = bring(dirac, folder, version)
    number = marked_version(folder)
    if as_json:
        print_json({"version": number, "written": written})
    else:
        print(
            f"{folder} has version {number}; {len(written)} file{'' if len(written) == 1 else 's'} changed."
        )


@command(
    "dirac config rollback 3",
    "dirac config rollback 3 --yes --comment 'The new queue does not work'",
    "dirac config rollback 3 --yes --json  # {version, changes: [{path, old, new}], ...}",
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


def _sender(dirac: Client, source: str, base: int | None, as_file: str | None) -> Callable[..., Applied]:
    """Return what sends a file or a directory, and takes what else is to be said."""
    from dirac.cli.config.folder import edit, read

    if source != "-" and Path(source).is_dir():
        if as_file is not None:
            raise InvalidInputError("--as is for one file, and this is a directory", hint="Leave it out")
        found = edit(dirac, Path(source), base)

        def send_files(**said: Any) -> Applied:
            if not found.changed and not found.removed:
                from dirac.systems.configuration.models import Applied

                return Applied(dirac.config.files().version, [])
            return dirac.config.apply_files(found.changed, found.removed, base=found.base, **said)

        return send_files
    text = sys.stdin.read() if source == "-" else read(Path(source))
    name = "standard input" if source == "-" else Path(source).name

    def send_text(**said: Any) -> Applied:
        if as_file is not None:
            return dirac.config.apply_files({as_file: text}, base=base, **said)
        return dirac.config.apply(text, file=name, base=base, **said)

    return send_text


def _tell(applied: Applied, *, dry_run: bool, shown: bool, as_json: bool) -> None:
    if as_json:
        print_json(applied)
        return
    if not shown:
        print_changes(applied.changes)
        print_consequences(applied)
    if not applied.files and not applied.changes:
        print(f"No change: version {applied.version} says the same.")
    elif dry_run:
        number = len(applied.changes)
        print(f"{number} change{'' if number == 1 else 's'}; nothing was applied.")
    else:
        print(f"This is version {applied.version} now.")


def _require(sure: bool) -> None:
    if not sure:
        raise InvalidInputError("there is nobody to ask", hint="Say --yes to apply, or --dry-run to look")
