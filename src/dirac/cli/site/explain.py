"""Why jobs do or do not run at a site of the configuration."""

from __future__ import annotations

from typing import Annotated

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, client, print_json
from dirac.cli.report import print_site_explanation


@command(
    "dirac site explain LCG.CERN.ch",
    "dirac site explain LCG.CERN.ch --json  # {text, waiting, fitting, reasons: [...], queues, ...}",
)
def explain(
    ctx: typer.Context,
    site: Annotated[
        str, typer.Argument(metavar="SITE", help="A site of the configuration, such as LCG.CERN.ch.")
    ],
    vo: Annotated[
        str | None,
        typer.Option("--vo", metavar="VO", help="For this VO, for those who operate the installation."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say why jobs do or do not run at a place where the server sends pilots.

    Its queues, what runs there, how many of the waiting jobs fit, and which requirement or limit keeps how
    many of the others away. It asks the server: SITE is a name of its configuration (`dirac config show`),
    not one of the installations that the other commands of this group are about.
    """
    with client(ctx) as dirac:
        explanation = dirac.sites.explain(site, vo=vo)
    if as_json:
        print_json(explanation)
    else:
        print_site_explanation(explanation)
