"""Exchanging configurations with DIRAC and DiracX."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, client, print_json
from dirac.cli.report import paint
from dirac.core.errors import ConflictError


class Form(StrEnum):
    """What a configuration is written in."""

    CFG = "cfg"
    DIRACX = "diracx"
    YAML = "yaml"


@command(
    "dirac config import dirac.cfg --to conf && dirac config plan conf",
    "dirac config import default.yml --to conf  # DiracX's",
    "dirac config import dirac.cfg --json  # {files: {NAME: TEXT}, report: [TEXT, ...]}",
)
def import_(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Configuration of DIRAC (.cfg) or DiracX (.yml).")
    ],
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Write files into this directory, which is empty or new."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Read a configuration of DIRAC or DiracX as files of ours, and tell what was not understood.

    Nothing is applied: look at the files, then `dirac config apply DIR`.
    """
    from dirac.cli.config.folder import read

    if to is not None and to.is_dir() and any(to.iterdir()):
        raise ConflictError(f"{to} is not empty", hint="Name a new directory")
    form = Form.DIRACX if file.suffix in (".yml", ".yaml") else Form.CFG
    with client(ctx) as dirac:
        made = dirac.config.convert(read(file), form=form.value)
    if to is not None:
        for name, text in made.files.items():
            path = to / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    if as_json:
        print_json(made)
        return
    for line in made.report:
        print(paint(f"- {line}", "yellow"))
    number = len(made.files)
    where = f"written to {to}" if to is not None else "not written; say --to DIR"
    print(f"{number} file{'' if number == 1 else 's'} {where}; {len(made.report)} remarks.")


@command(
    "dirac config export --format cfg > dirac.cfg",
    "dirac config export --format diracx --version 3 > default.yml",
    "dirac config export --format cfg --json  # {version, text}",
)
def export(
    ctx: typer.Context,
    form: Annotated[Form, typer.Option("--format", "-f", help="What to write it in.")] = Form.YAML,
    version: Annotated[
        int | None,
        typer.Option("--version", "-v", metavar="N", min=0, help="This version; otherwise the current one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the configuration as DIRAC, DiracX or this program writes it."""
    with client(ctx) as dirac:
        made = dirac.config.export(form.value, version=version)
    if as_json:
        print_json(made)
    else:
        sys.stdout.write(made.text)
