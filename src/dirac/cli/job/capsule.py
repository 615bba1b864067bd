"""A capsule: one archive with all that a job needs to run again, and with what is known of its run."""

from __future__ import annotations

import shlex
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from dirac.cli.command import command
from dirac.cli.filters import Id
from dirac.cli.output import Json, client, print_json, progress
from dirac.core.errors import InvalidInputError, NotFoundError
from dirac.core.search import Condition

if TYPE_CHECKING:
    from dirac.client import Client
    from dirac.formats.description import JobDescription

DESCRIPTION = "job.jdl"
INPUT = "input"
_FACTS = "capsule.json"
_FORMAT = 1

_README = """\
# Job {job_id}

Made on {made} from {server}, when the job was {status} ({minor}).

| | |
|---|---|
| `job.jdl` | the job's description, as it was run |
| `input/` | its input sandbox |
| `environment.sh` | the variables that its program found |
| `run.sh` | runs it again with nothing but a shell |
| `output/` | its output sandbox, with what it printed |
| `log.json`, `parameters.json`, `usage.json` | its life, what is known of its runs, what they used |
| `peek.txt` | the end of what it printed, as of its last sign of life |
| `capsule.json` | where this comes from |

With DIRAC's client, `dirac job run-local` on this directory or its archive runs it by the code that worker
nodes use. Without, `./run.sh [DIRECTORY]` does nearly the same. What is not in here: software of the site,
containers, and input data in storage.
"""
_SCRIPT = """\
#!/bin/sh
# Runs job {job_id} again, in the directory that is given or in a new one.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${{1:-$(mktemp -d)}}
mkdir -p "$work"
if [ -d "$here/input" ]; then cp -R "$here/input/." "$work"; fi
cd "$work"
TMPDIR=$PWD
export TMPDIR
. "$here/environment.sh"
program={program}
if [ -f "./$program" ]; then chmod u+x "./$program"; program=./$program; fi
echo "Running in $work" >&2
code=0
"$program" {arguments} >{std_output} 2>{std_error} </dev/null || code=$?
echo "It ended with $code; see {std_output} and {std_error} in $work" >&2
exit "$code"
"""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Where a capsule comes from; the file ``capsule.json``."""

    format: int
    job_id: int
    attempt: int
    server: str
    made: datetime
    job: dict[str, Any]


@command(
    "dirac job capsule 42  # makes job-42.tar.gz",
    "dirac job capsule 42 --file again.tar.gz && dirac job run-local again.tar.gz",
    "dirac job capsule 42 --json  # {file, members: [...]}",
)
def capsule(
    ctx: typer.Context,
    job_id: Id,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", metavar="FILE", help="The archive to write; job-ID.tar.gz if not given."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Pack a job into one archive: description, inputs, environment, outputs, logs, and a script to run it.

    Whoever has it can run the job again, with `dirac job run-local` or with nothing but a shell. It holds the
    job's files: give it to those only who may see them.
    """
    from dirac.formats.archive import pack_members

    target = file or Path(f"job-{job_id}.tar.gz")
    with tempfile.TemporaryDirectory(prefix="dirac-capsule-") as scratch:
        root = Path(scratch)
        with client(ctx) as dirac, progress("Collecting", quiet=as_json) as report:
            _collect(dirac, job_id, root, report)
        members = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
        pack_members(members, target)
    if as_json:
        print_json({"file": str(target), "members": sorted(members)})
    else:
        print(f"{target}: {len(members)} files. Run it here: dirac job run-local {target}")


def read_facts(root: Path) -> Facts:
    """Read where an unpacked capsule comes from.

    Raises:
        InvalidInputError: It is no capsule, or of a kind that is not known here.
    """
    try:
        facts = msgspec.json.decode((root / _FACTS).read_bytes(), type=Facts)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidInputError(
            f"this is no capsule: {error}", hint="Make one with: dirac job capsule ID"
        ) from None
    if facts.format != _FORMAT:
        raise InvalidInputError(f"this capsule is of format {facts.format}, known is {_FORMAT}")
    return facts


def _collect(dirac: Client, job_id: int, root: Path, report: Any) -> None:
    """Write all files of a capsule."""
    from dirac.formats.description import UNDERSTOOD, from_jdl
    from dirac.formats.jdl import parse

    rows = dirac.jobs.search(search=[Condition("JobID", "eq", job_id)], per_page=1).rows
    if not rows:
        raise NotFoundError(f"there is no job {job_id}, or none that you may see")
    jdl = dirac.jobs.jdl(job_id)
    peek = dirac.jobs.peek(job_id)
    _write(root / DESCRIPTION, jdl)
    _write(root / "peek.txt", peek.text)
    for name, value in (
        ("log.json", dirac.jobs.logging(job_id)),
        ("parameters.json", dirac.jobs.parameters(job_id)),
        ("usage.json", dirac.jobs.heartbeats(job_id)),
    ):
        _write(root / name, _pretty(value))
    for step, (kind, fetch) in enumerate(((INPUT, dirac.jobs.input), ("output", dirac.jobs.output)), 1):
        fetch([job_id], root / "fetched")
        if (root / "fetched" / str(job_id)).exists():
            (root / "fetched" / str(job_id)).rename(root / kind)
        if report is not None:
            report(step, 2)
    facts = Facts(
        format=_FORMAT,
        job_id=job_id,
        attempt=peek.attempt,
        server=dirac.server,
        made=datetime.now(UTC),
        job=rows[0],
    )
    _write(root / _FACTS, _pretty(facts))
    _write_guides(root, facts, from_jdl(parse(jdl), UNDERSTOOD))


def _write_guides(root: Path, facts: Facts, description: JobDescription) -> None:
    """Write what lets people run the job, and understand the capsule."""
    _write(
        root / "README.md",
        _README.format(
            job_id=facts.job_id,
            made=f"{facts.made:%Y-%m-%d %H:%M} UTC",
            server=facts.server,
            status=facts.job.get("Status"),
            minor=facts.job.get("MinorStatus"),
        ),
    )
    site = str(facts.job.get("Site") or "Unknown")
    variables = {
        "JOBID": str(facts.job_id),
        "DIRAC_JOB_ATTEMPT": str(facts.attempt),
        "DIRACSITE": site,
        **description.environment,
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    _write(root / "environment.sh", "".join(lines))
    script = root / "run.sh"
    _write(
        script,
        _SCRIPT.format(
            job_id=facts.job_id,
            program=shlex.quote(description.executable.removeprefix("./")),
            arguments=shlex.join(_words(description.arguments)),
            std_output=shlex.quote(description.std_output),
            std_error=shlex.quote(description.std_error),
        ),
    )
    script.chmod(0o755)


def _words(arguments: str) -> list[str]:
    try:
        return shlex.split(arguments)
    except ValueError as error:
        raise InvalidInputError(f"the job's arguments cannot be read: {error}") from None


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def _write(path: Path, content: str) -> None:
    path.write_text(content, "utf-8")
