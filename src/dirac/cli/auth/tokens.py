"""Commands about tokens for others than this installation."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, client, print_json, text
from dirac.core.errors import InvalidInputError


@command(
    "dirac auth token --audience https://se.example.org --scope storage.read:/astro/raw",
    "dirac auth token --audience https://wlcg.cern.ch/jwt/v1/any --scope compute.read --scope compute.create",
    'export BEARER_TOKEN=$(dirac auth token -a https://se.example.org -s "storage.create:/astro/out")',
    "dirac auth token -a https://se.example.org -s storage.read:/astro --out /run/user/1000/bt_u1000",
    "dirac auth token -a https://se.example.org -s wlcg.groups --json  # {token, scope, audience, expires}",
)
def token(
    ctx: typer.Context,
    audience: Annotated[
        str, typer.Option("--audience", "-a", metavar="NAME", help="For whom: what the element calls itself.")
    ],
    scopes: Annotated[
        list[str],
        typer.Option("--scope", "-s", metavar="SCOPE", help="What for; repeat it for several."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="A file for it, that only you can read."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Get a token that storage or computing elements take (WLCG profile), for what your group may do there.

    Scopes are storage.read:/PATH, storage.create:/PATH, storage.modify:/PATH, storage.stage:/PATH,
    compute.read, compute.create, compute.modify, compute.cancel and wlcg.groups. It lives some minutes, and
    nobody can revoke it. Programs for grids look for it in the variable BEARER_TOKEN, and in the file that
    BEARER_TOKEN_FILE names.
    """
    with client(ctx) as dirac:
        given = dirac.auth.capability_token(scopes, audience)
    expires = datetime.now(UTC) + timedelta(seconds=given.expires_in)
    if out is not None:
        _write(out, given.access_token)
    if as_json:
        shown = {"scope": given.scope, "audience": audience, "expires": expires}
        print_json(shown | ({"file": str(out)} if out else {"token": given.access_token}))
        return
    if out is None:
        print(given.access_token)
    print(f"Good until {text(expires)}, for {given.scope}.", file=sys.stderr)


def _write(file: Path, token: str) -> None:
    """Put a token in the place of the one that is there: whoever reads finds the one or the other.

    Raises:
        InvalidInputError: It cannot be written.
    """
    new = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(f"{token}\n")
        new.replace(file)
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be written: {error.strerror}", where="--out") from None
