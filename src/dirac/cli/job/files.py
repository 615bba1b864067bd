"""Getting the files of jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from dirac.cli.command import command
from dirac.cli.filters import Ids, parse_ids
from dirac.cli.output import Json, client, print_json, progress

Directory = Annotated[
    Path,
    typer.Option("--dir", "-d", metavar="DIR", help="Where to; each job gets a directory of its own there."),
]


@command(
    "dirac job output 42  # into ./42",
    "dirac job output 42-61 --dir results  # into results/42, results/43, ...",
    "dirac job output 42 --json  # {JobID: [file, ...]}",
)
def output(ctx: typer.Context, ids: Ids, directory: Directory = Path(), as_json: Json = False) -> None:
    """Download the output sandboxes of jobs."""
    wanted = parse_ids(ids)
    with client(ctx) as dirac, progress("Downloading", quiet=as_json) as report:
        found = dirac.jobs.output(wanted, directory, progress=report)
    _show(found, directory, "output", as_json=as_json)


@command(
    "dirac job input 42  # into ./42",
    "dirac job input 42-61 --dir inputs",
    "dirac job input 42 --json  # {JobID: [file, ...]}",
)
def input_(ctx: typer.Context, ids: Ids, directory: Directory = Path(), as_json: Json = False) -> None:
    """Download the input sandboxes of jobs: the files that were submitted with them."""
    wanted = parse_ids(ids)
    with client(ctx) as dirac, progress("Downloading", quiet=as_json) as report:
        found = dirac.jobs.input(wanted, directory, progress=report)
    _show(found, directory, "input", as_json=as_json)


def _show(found: Mapping[int, Sequence[Path]], directory: Path, kind: str, *, as_json: bool) -> None:
    if as_json:
        print_json({job_id: [str(file) for file in files] for job_id, files in found.items()})
        return
    for job_id, files in found.items():
        names = ", ".join(sorted(file.relative_to(directory / str(job_id)).as_posix() for file in files))
        print(f"{directory / str(job_id)}: {names}" if files else f"job {job_id} has no {kind}")
