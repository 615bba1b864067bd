"""Submitting jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dirac.cli.command import command
from dirac.cli.job.texts import read_text
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
    "dirac job submit scan.yaml --dry-run  # say what would happen, and where it fits",
    "dirac job submit tool.cwl --inputs values.yaml",
    "dirac job submit hello.jdl --json  # a list of objects: JobID, Status, MinorStatus, TimeStamp",
)
def submit(
    ctx: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILES", help="Files in JDL, YAML, JSON or CWL; - for standard input."),
    ],
    watch: Annotated[bool, typer.Option("--watch", help="Watch the jobs until they have ended.")] = False,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="KEY", help="The same key again submits nothing, and gives the same jobs."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Submit nothing; say what would happen, and where jobs fit.")
    ] = False,
    inputs: Annotated[
        str | None, typer.Option("--inputs", metavar="FILE", help="Values for the inputs of a CWL tool.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Submit jobs from files, with the local files that they name.

    Files of the input sandbox are looked for where the description is (for standard input: here). With
    --watch, the exit code is 6 if a job did not end well; with --dry-run it is 1 if one could not run.
    """
    texts = [read_text(name, inputs) for name in files]
    with client(ctx) as dirac:
        if dry_run:
            _rehearse(dirac, texts, _base_dir(files), as_json=as_json)
            return
        jobs = _submit(dirac, texts, _base_dir(files), key, quiet=as_json)
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


def _base_dir(files: list[str]) -> Path:
    places = {Path(name).parent.resolve() if name != "-" else Path.cwd() for name in files}
    if len(places) == 1:
        return places.pop()
    raise InvalidInputError(
        "the files are in several directories, and the jobs of one call are submitted together",
        hint="Submit them directory by directory",
    )


def _submit(
    dirac: Client, texts: list[str], base_dir: Path, key: str | None, *, quiet: bool
) -> list[InsertedJob]:
    with progress("Uploading", quiet=quiet) as report:
        return dirac.jobs.submit(texts, base_dir=base_dir, key=key, progress=report)


def _rehearse(dirac: Client, texts: list[str], base_dir: Path, *, as_json: bool) -> None:
    from dirac.cli.job.rehearse import print_rehearsal, would_run

    found = dirac.jobs.check(texts, base_dir=base_dir)
    if as_json:
        print_json(found)
    else:
        print_rehearsal(found)
    if not would_run(found):
        raise typer.Exit(1)


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
