"""Running a job here: from its description, or from the capsule of a job that ran elsewhere."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, print_json
from dirac.core.errors import InvalidInputError

if TYPE_CHECKING:
    from dirac.formats.description import JobDescription
    from dirac.formats.jdl import Jdl
    from dirac.systems.workload.models import JobStatusUpdate, Peek

_JOB_FAILED = 6
_MOST_JOBS = 100_000
_SITE = "DIRAC.Here.local"


class _Ready(NamedTuple):
    """A job that can be run here.

    Attributes:
        inputs: Files by their names in the job's directory.
    """

    description: JobDescription
    inputs: Mapping[str, Path]
    job_id: int


@command(
    "dirac job run-local hello.jdl  # its files are looked for beside it",
    "dirac job run-local squares.jdl --number 2  # the third job of a parametric description",
    "dirac job run-local job-42.tar.gz --dir again  # a capsule, made by `dirac job capsule 42`",
    "dirac job run-local hello.jdl --json  # {good, files: [...], parameters}",
)
def run_local(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A JDL file, or a capsule (a directory or an archive).")
    ],
    number: Annotated[
        int, typer.Option("--number", metavar="N", min=0, help="Which job of a parametric one, from 0.")
    ] = 0,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", "-d", metavar="DIR", help="Where its outputs go; FILE.run if not given."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a job on this machine, by the same code as on a worker node, without a server.

    What it prints is shown as it comes; what happens to it goes to standard error. The exit code is 6 if it
    did not end well. Limits of time and memory, and input data in storage, are not cared for.
    """
    outputs = directory or Path(f"{file.name}.run")
    with tempfile.TemporaryDirectory(prefix="dirac-local-") as scratch:
        ready = _ready(file, number, Path(scratch))
        good, server = _run(ready, Path(scratch, "job"), outputs, quiet=as_json)
        if as_json:
            files = [str(path) for path in server.files]
            print_json({"good": good, "files": files, "parameters": server.parameters})
        elif server.files:
            names = ", ".join(sorted(path.relative_to(outputs).as_posix() for path in server.files))
            typer.echo(f"{outputs}: {names}", err=True)
    if not good:
        raise typer.Exit(_JOB_FAILED)


def _run(ready: _Ready, directory: Path, outputs: Path, *, quiet: bool) -> tuple[bool, Any]:
    from dirac.agent.local import LocalServer, run_here
    from dirac.agent.wrapper import Place
    from dirac.cli.job.stream import OutputStream
    from dirac.core.time import SystemClock

    stream = OutputStream()

    def on_output(peek: Peek) -> None:
        text = stream.news(peek)
        if not quiet:
            sys.stdout.write(text)
            sys.stdout.flush()

    def on_report(moment: datetime, update: JobStatusUpdate) -> None:
        if not quiet:
            parts = (update.Status and str(update.Status), update.MinorStatus, update.ApplicationStatus)
            line = f"{moment.astimezone():%H:%M:%S}  {': '.join(filter(None, parts))}"
            typer.echo(typer.style(line, dim=True), err=True)

    server = LocalServer(ready.inputs, outputs, on_report=on_report, on_output=on_output)
    place = Place(_SITE, len(os.sched_getaffinity(0)))
    work = run_here(
        ready.description,
        server,
        job_id=ready.job_id,
        directory=directory,
        place=place,
        clock=SystemClock(),
    )
    return asyncio.run(work), server


def _ready(file: Path, number: int, scratch: Path) -> _Ready:
    """Read what there is to run.

    Raises:
        InvalidInputError: It is neither a description nor a capsule, or it names what is not here.
    """
    from dirac.formats.archive import unpack
    from dirac.formats.jdl import parse

    if not file.exists():
        raise InvalidInputError(f"there is no file {file}")
    if file.is_dir() or file.name.endswith((".tar.gz", ".tgz")):
        root = file
        if not file.is_dir():
            root = scratch / "capsule"
            unpack(file, root)
        return _of_capsule(root)
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{file} cannot be read: {error}") from None
    return _of_description(parse(text), number, file.parent)


def _of_description(jdl: Jdl, number: int, base_dir: Path) -> _Ready:
    from dirac.agent.local import INPUTS
    from dirac.client.inputs import local_files, with_reference
    from dirac.formats.jdl import parse
    from dirac.formats.parametric import expand

    jobs = expand(jdl, limit=_MOST_JOBS)
    if number >= len(jobs):
        raise InvalidInputError(
            f"it stands for {len(jobs)} jobs: there is no number {number}", where="--number"
        )
    inputs = local_files(jobs[number], base_dir.absolute())
    ready = _describe(parse(with_reference(jobs[number], INPUTS)), 0)
    if remote := [name for name in ready.input_sandbox if name != INPUTS]:
        raise InvalidInputError(
            f"{remote[0]} is not on this machine",
            where="InputSandbox",
            hint="Name local files, or run the capsule of a submitted job: dirac job capsule ID",
        )
    return _Ready(ready, inputs, 0)


def _of_capsule(root: Path) -> _Ready:
    from dirac.cli.job.capsule import DESCRIPTION, INPUT, read_facts
    from dirac.formats.jdl import parse

    facts = read_facts(root)
    inputs = root / INPUT
    files = {path.relative_to(inputs).as_posix(): path for path in inputs.rglob("*") if path.is_file()}
    description = _describe(parse((root / DESCRIPTION).read_text("utf-8")), facts.job_id)
    return _Ready(description, files, facts.job_id)


def _describe(jdl: Jdl, job_id: int) -> JobDescription:
    from dirac.formats.description import UNDERSTOOD, from_jdl
    from dirac.formats.parametric import substitute_job_id

    return from_jdl(substitute_job_id(jdl, job_id), UNDERSTOOD)
