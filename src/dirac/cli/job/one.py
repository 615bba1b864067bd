"""Commands about one job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from dirac.cli.command import command
from dirac.cli.filters import Id
from dirac.cli.output import Json, client, print_json, print_table, text
from dirac.cli.report import heading, print_explanation, print_log, print_parameters, styled
from dirac.core.errors import DiracError, NotFoundError
from dirac.core.search import Condition

if TYPE_CHECKING:
    from dirac.client import Client

_PILOT = {
    "PilotStamp": "STAMP",
    "Status": "STATUS",
    "DestinationSite": "CE",
    "GridSite": "SITE",
    "StatusReason": "REASON",
}


@command(
    "dirac job explain 42",
    "dirac job explain 42 --json  # {status, text, queues, fitting, requirements: [...], suggestion, ...}",
)
def explain(ctx: typer.Context, job_id: Id, as_json: Json = False) -> None:
    """Say why a job does or does not run.

    For a job that waits: how many queues each of its requirements removes, and the smallest change that would
    make it run.
    """
    with client(ctx) as dirac:
        explanation = dirac.jobs.explain(job_id)
    if as_json:
        print_json(explanation)
    else:
        print_explanation(explanation)


@command(
    "dirac job describe 42",
    "dirac job describe 42 --json  # {job, log, parameters, sandboxes, pilots, jdl}",
)
def describe(ctx: typer.Context, job_id: Id, as_json: Json = False) -> None:
    """Show all that is known of a job: its state, its life, its run, its files and its description."""
    with client(ctx) as dirac:
        known = _known(dirac, job_id)
    if as_json:
        print_json(known)
        return
    job = known["job"]
    heading(f"Job {job_id}")
    width = max(map(len, job)) + 2
    for name, value in job.items():
        if shown := text(value):
            print(f"  {name:<{width}}{styled(shown, value)}")
    heading("Life")
    print_log(known["log"])
    if known["parameters"]:
        heading("Parameters")
        print_parameters(known["parameters"])
    if known["pilots"]:
        heading("Pilots")
        print_table(known["pilots"], _PILOT)
    for kind, pfns in known["sandboxes"].items():
        for pfn in pfns:
            heading(f"{kind.title()} sandbox")
            print(f"  {pfn}")
    heading("Description")
    print(known["jdl"])


def _known(dirac: Client, job_id: int) -> dict[str, Any]:
    """Collect what there is; the job itself has to be there, the rest may be out of sight."""
    only = Condition("JobID", "eq", job_id)
    rows = dirac.jobs.search(search=[only], per_page=1).rows
    if not rows:
        raise NotFoundError(f"there is no job {job_id}, or none that you may see")
    try:
        pilots = dirac.pilots.search(search=[only], parameters=list(_PILOT)).rows
    except DiracError:
        # Who may see a job may not always see who ran it.
        pilots = []
    return {
        "job": rows[0],
        "log": dirac.jobs.logging(job_id),
        "parameters": dirac.jobs.parameters(job_id),
        "sandboxes": dirac.sandboxes.of_job(job_id),
        "pilots": pilots,
        "jdl": dirac.jobs.jdl(job_id),
    }
