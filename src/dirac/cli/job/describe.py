"""Jobs and descriptions of jobs: what there is to know of one, and one form into another."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from dirac.cli.command import command
from dirac.cli.job.texts import read_text
from dirac.cli.output import Json, print_json
from dirac.core.errors import InvalidInputError

if TYPE_CHECKING:
    from dirac.formats.conversion import Described
    from dirac.formats.native import Job

_MOST_JOBS = 100_000


class Form(StrEnum):
    """The forms of a description."""

    YAML = "yaml"
    JSON = "json"
    JDL = "jdl"


@command(
    "dirac job describe 42  # all that is known of a job",
    "dirac job describe 42 --json  # {job, log, parameters, sandboxes, pilots, jdl}",
    "dirac job describe hello.jdl  # the same in YAML, after it was checked",
    "dirac job describe hello.yaml --to jdl",
    "dirac job describe scan.yaml --expand --to json  # each job that its parameters make",
    "dirac job describe tool.cwl --inputs values.yaml  # what a CWL CommandLineTool becomes",
    "dirac job describe --schema > job.schema.json  # for editors",
)
def describe(
    ctx: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(metavar="JOB|FILE", help="Number of a job, or a description; - for standard input."),
    ] = None,
    form: Annotated[
        Form | None, typer.Option("--to", help="Print the description in this form; YAML by default.")
    ] = None,
    expand: Annotated[
        bool, typer.Option("--expand", help="Print every job of a parametric description.")
    ] = False,
    inputs: Annotated[
        str | None, typer.Option("--inputs", metavar="FILE", help="Values for the inputs of a CWL tool.")
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of descriptions in YAML and JSON.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show all that is known of a job, or a description in its normal form.

    A description is checked, but for what depends on the site: `dirac job submit --dry-run` asks the server.
    """
    if schema:
        from dirac.formats.native import schema as native_schema

        print_json(native_schema())
    elif what is None:
        raise InvalidInputError("say which job or which file", hint="dirac job describe 42, or hello.jdl")
    elif what.isdigit():
        from dirac.cli.job.one import describe as describe_job

        describe_job(ctx, int(what), as_json)
    else:
        jobs = _checked(read_text(what, inputs), expand=expand)
        _print(jobs, Form.JSON if as_json and form is None else form or Form.YAML)


def _checked(text: str, *, expand: bool) -> list[Job]:
    """Check all jobs of a text; return their descriptions, those of parametric ones if wanted."""
    from dirac.formats import conversion, parametric
    from dirac.formats.description import UNDERSTOOD, from_jdl

    found = []
    for one in conversion.read(text):
        try:
            jobs = parametric.expand(one.jdl, limit=_MOST_JOBS)
        except InvalidInputError as error:
            raise _placed(error, one, "") from None
        for number, job in enumerate(jobs):
            try:
                from_jdl(job, UNDERSTOOD, one.names)
            except InvalidInputError as error:
                raise _placed(error, one, f"job {number}" if len(jobs) > 1 else "") from None
        found += [conversion.from_jdl(job) for job in (jobs if expand else [one.jdl])]
    return found


def _placed(error: InvalidInputError, one: Described, job: str) -> InvalidInputError:
    where = " ".join(part for part in (one.place, job, error.where or "") if part)
    return type(error)(error.message, where=where or None, hint=error.hint)


def _print(jobs: list[Job], form: Form) -> None:
    from dirac.formats import conversion
    from dirac.formats.jdl import dump
    from dirac.formats.native import Jobs

    if form == Form.JDL:
        print("\n".join(dump(conversion.to_jdl(job)) for job in jobs), end="")
        if len(jobs) > 1:
            typer.echo(f"{len(jobs)} jobs; a JDL file holds one, so split this or use --to yaml.", err=True)
        return
    whole = jobs[0] if len(jobs) == 1 else Jobs(jobs=jobs)
    print(conversion.dump_json(whole) if form == Form.JSON else conversion.dump_yaml(whole), end="")
