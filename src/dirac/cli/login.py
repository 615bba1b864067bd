"""Logging in and out."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, client, print_json, text
from dirac.core.errors import InvalidInputError

if TYPE_CHECKING:
    from dirac.client import Client
    from dirac.systems.identity.models import DeviceFlow, UserInfo

_PASSWORDS = "DIRAC_DEMO_PASSWORDS"


@command(
    "dirac login astro",
    "dirac login astro --group astro_admin",
    "dirac login --server https://dirac.example.org bio",
    "dirac login astro --json  # who you are then, as JSON",
)
def login(
    ctx: typer.Context,
    vo: Annotated[
        str | None,
        typer.Argument(metavar="VO", help="The virtual organisation; needed if there are several."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option("--group", "-g", metavar="GROUP", help="Group to act in; otherwise the default."),
    ] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", "-p", metavar="NAME", help="Ask for a property as well (repeatable)."),
    ] = None,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="The server; otherwise DIRAC_URL.")
    ] = None,
    demo_user: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"Confirm as a demo user, with the passwords in ${_PASSWORDS}."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Log in to a virtual organisation: open the page that is shown, on any device, and confirm.

    The login is kept for later commands and renewed by itself, until you log out.
    """
    shared = ctx.find_root().params
    if server:
        shared["server"] = server
    with client(ctx) as dirac:
        user = device_login(
            dirac, vo or shared.get("vo"), group=group, properties=properties or (), demo_user=demo_user
        )
    if as_json:
        print_json(user)
        return
    print(f"Logged in: {user.preferred_username}, VO {user.vo}, group {user.dirac_group}.")


def device_login(
    dirac: Client,
    vo: str | None,
    *,
    group: str | None = None,
    properties: list[str] | tuple[str, ...] = (),
    demo_user: str | None = None,
) -> UserInfo:
    """Log in by the device flow; with a demo user, play the browser as well."""

    def show(flow: DeviceFlow) -> None:
        # On standard error: standard output is for the result.
        print(f"Open   {flow.verification_uri_complete}", file=sys.stderr)
        print(f"Code   {flow.user_code}", file=sys.stderr)
        if not demo_user:
            print("Waiting for you to confirm there ...", file=sys.stderr, flush=True)

    def confirm(flow: DeviceFlow) -> None:
        vo_name = vo or (dirac.session.vo if dirac.session else None) or ""
        dirac.auth.confirm_device(flow.user_code, str(demo_user), demo_password(vo_name, str(demo_user)))

    return dirac.auth.device_login(vo, group, properties, show=show, confirm=confirm if demo_user else None)


def demo_password(vo: str, user: str) -> str:
    """Return the password of a demo user.

    Raises:
        InvalidInputError: There is no file of passwords, or no such user in it.
    """
    name = os.environ.get(_PASSWORDS)
    if not name:
        raise InvalidInputError(
            "--demo-user needs the demo's passwords",
            hint=f"Set {_PASSWORDS} to their file; bin/demo makes it in .demo/server/secrets/passwords.json",
        )
    try:
        known = json.loads(Path(name).read_text("utf-8"))
        return str(known[vo][user])
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{name} cannot be read: {error}") from None
    except (KeyError, TypeError):
        raise InvalidInputError(f"{name} has no user {user!r} of the VO {vo!r}") from None


@command("dirac logout", "dirac --vo bio logout", "dirac logout --json")
def logout(ctx: typer.Context, as_json: Json = False) -> None:
    """End your login, here and on the server."""
    with client(ctx) as dirac:
        vo = dirac.session.vo if dirac.session else None
        ended = dirac.auth.logout()
    if as_json:
        print_json({"logged_out": ended, "vo": vo})
    else:
        print(f"Logged out of {vo}." if ended else "You were not logged in.")


@command("dirac whoami", "dirac whoami --json  # sub, vo, dirac_group, properties, preferred_username")
def whoami(ctx: typer.Context, as_json: Json = False) -> None:
    """Show who you are to the server, and what you may do."""
    with client(ctx) as dirac:
        user = dirac.auth.userinfo()
        known = dirac.session.login() if dirac.session and not dirac.session.token_file else None
        server = dirac.server
    if as_json:
        print_json(user)
        return
    facts = {
        "user": user.preferred_username,
        "vo": user.vo,
        "group": user.dirac_group,
        "properties": ", ".join(sorted(user.properties)),
        "server": server,
    }
    if known is not None:
        facts["token until"] = text(known.expires) + (
            "" if known.expires > datetime.now(UTC) else " (expired)"
        )
    for name, value in facts.items():
        print(f"{name + ':':<13}{value}")
