"""Submitting jobs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, client, print_json, progress
from dirac.core.errors import InvalidInputError

if TYPE_CHECKING:
    from dirac.client import Client
    from dirac.systems.workload.models import InsertedJob

_SHOWN = 10


@command(
    "dirac job submit hello.jdl",
    "dirac job submit *.jdl --watch  # all of them, or none; then watch them",
    """echo 'Executable = "/bin/hostname"; OutputSandbox = "std.out";' | dirac job submit -""",
    "dirac job submit hello.jdl --json  # a list of objects: JobID, Status, MinorStatus, TimeStamp",
)
def submit(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="JDL files; - for standard input.")],
    watch: Annotated[bool, typer.Option("--watch", help="Watch the jobs until they have ended.")] = False,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="KEY", help="The same key again submits nothing, and gives the same jobs."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Submit jobs from JDL files, with the local files that they name.

    Files in InputSandbox are looked for where the JDL file is (for standard input: here). With --watch, the
    exit code is 6 if a job did not end well.
    """
    with client(ctx) as dirac:
        jobs = _submit(dirac, files, key, quiet=as_json)
        ids = [job.JobID for job in jobs]
        if as_json:
            print_json(jobs)
        else:
            _tell(ids)
        if watch:
            from dirac.cli.job.follow import end_with
            from dirac.cli.live import Watched
            from dirac.cli.live import watch as watch_live

            rows = watch_live([Watched(dirac, ids)], quiet=as_json)
            end_with(rows)


def _submit(dirac: Client, files: list[str], key: str | None, *, quiet: bool) -> list[InsertedJob]:
    texts = [_read(name) for name in files]
    places = {Path(name).parent.resolve() if name != "-" else Path.cwd() for name in files}
    with progress("Uploading", quiet=quiet) as report:
        if len(places) == 1:
            return dirac.jobs.submit(texts, base_dir=places.pop(), key=key, progress=report)
        raise InvalidInputError(
            "the files are in several directories, and the jobs of one call are submitted together",
            hint="Submit them directory by directory",
        )


def _read(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{name} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def _tell(ids: list[int]) -> None:
    if not ids:
        print("No job was submitted.")
    elif len(ids) == 1:
        print(f"Job {ids[0]} submitted.")
    elif ids == list(range(ids[0], ids[-1] + 1)):
        print(f"{len(ids)} jobs submitted: {ids[0]}-{ids[-1]}")
    else:
        some = " ".join(map(str, ids[:_SHOWN])) + (" ..." if len(ids) > _SHOWN else "")
        print(f"{len(ids)} jobs submitted: {some}")
