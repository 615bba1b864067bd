"""Proxies on the user's machine."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, client, print_json, print_table, text
from dirac.cli.proxy import files
from dirac.cli.proxy.files import Certificate, Group, Key, Limited, Out, PasswordStdin, Valid

_COLUMNS = {
    "proxy_id": "ID",
    "sub": "USER",
    "dirac_group": "GROUP",
    "subject": "CERTIFICATE",
    "limited": "LIMITED",
    "expires": "EXPIRES",
}
_MINUTE, _HOUR = 60, 3600


@command(
    "dirac proxy init",
    "dirac proxy init --group astro_user --valid 7d",
    "dirac proxy init --cert me.pem --key me.key --out proxy.pem",
    "dirac proxy init --json  # subject, kind, group, limited, expires, seconds_left, voms, file",
)
def init(
    ctx: typer.Context,  # noqa: ARG001 - as all commands have it
    group: Group = None,
    valid: Valid = "24h",
    limited: Limited = False,
    cert: Certificate = None,
    key: Key = None,
    out: Out = None,
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
) -> None:
    """Make a proxy of your certificate, with a key of its own that is not encrypted.

    Programs of grids find it where it is put. Attributes of VOMS come from voms-proxy-init.
    """
    span = files.life(valid)
    of, private = files.own(cert, key, password_stdin=password_stdin)
    from dirac.formats.x509 import proxy

    fresh = proxy.make_key()
    made = files.signed(of, private, fresh.public_key(), span, group=group, limited=limited)
    target = files.proxy_file(out)
    files.write(target, proxy.to_pem(made, fresh))
    show(files.facts(made, target), as_json)


@command(
    "dirac proxy info",
    "dirac proxy info proxy.pem",
    "dirac proxy info --stored  # what the server keeps for you",
    "dirac proxy info --json  # subject, kind, group, limited, expires, seconds_left, voms, file",
)
def info(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The proxy; otherwise yours.")] = None,
    stored: Annotated[bool, typer.Option("--stored", help="Show those that the server keeps.")] = False,
    as_json: Json = False,
) -> None:
    """Show a proxy, or those that the server keeps.

    What VOMS says in it is shown as it is; the server verifies it.
    """
    if stored:
        with client(ctx) as dirac:
            kept = dirac.proxies.list()
        if as_json:
            print_json(kept)
            return
        rows = [{name: getattr(one, name) for name in _COLUMNS} for one in kept]
        print_table(rows, _COLUMNS, nothing="The server keeps no proxy for you.")
        return
    files.need_library()
    from dirac.formats.x509 import names, proxy

    target = files.proxy_file(file)
    show(files.facts(proxy.chain(names.certificates(files.read(target))), target), as_json)


def show(facts: dict[str, Any], as_json: bool) -> None:
    """Print what there is to say about a proxy."""
    if as_json:
        print_json(facts)
        return
    seconds = int(facts["seconds_left"])
    shown = {
        "user": facts["subject"],
        "kind": facts["kind"],
        "group": facts["group"] or "(your default group)",
        "VOMS": ", ".join(facts["voms"]),
        "good until": f"{text(facts['expires'])} ({_left(seconds)})",
        "file": facts["file"],
    }
    for name, value in shown.items():
        if value:
            print(f"{name + ':':<12}{value}")


def _left(seconds: int) -> str:
    if not seconds:
        return "expired"
    span = timedelta(seconds=seconds)
    days, hours, minutes = span.days, span.seconds // _HOUR, span.seconds % _HOUR // _MINUTE
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min"
