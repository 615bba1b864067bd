"""Proxies and the server: logging in with one, leaving one there, getting one back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, client, print_json, text
from dirac.cli.proxy import files
from dirac.cli.proxy.files import Certificate, Group, Key, Limited, Out, PasswordStdin, Valid
from dirac.cli.proxy.local import show
from dirac.core.errors import InvalidInputError


@command(
    "dirac proxy login",
    "dirac --server https://dirac.example.org proxy login --proxy proxy.pem",
    "dirac proxy login --json  # who you are then, as JSON",
)
def login(
    ctx: typer.Context,
    proxy_file: Annotated[
        Path | None, typer.Option("--proxy", metavar="FILE", help="The proxy; otherwise yours.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Log in with a proxy, for those who have a certificate and no other account.

    The login is for the group of the proxy, or your default one. It ends within the hour: nothing renews it.
    """
    target = files.proxy_file(proxy_file)
    files.read(target)
    with client(ctx, certificate=target) as dirac:
        user = dirac.auth.certificate_login()
    if as_json:
        print_json(user)
    else:
        print(f"Logged in: {user.preferred_username}, VO {user.vo}, group {user.dirac_group}.")


@command(
    "dirac proxy upload --group astro_user",
    "dirac proxy upload --valid 30d",
    "dirac proxy upload --json  # proxy_id, vo, sub, dirac_group, subject, limited, created, expires",
)
def upload(
    ctx: typer.Context,
    group: Group = None,
    valid: Valid = "30d",
    limited: Limited = False,
    cert: Certificate = None,
    key: Key = None,
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
) -> None:
    """Leave a proxy with the server, for your jobs; it replaces the older one of the same group.

    The server makes the key, and you sign it: neither your key nor the proxy's goes over the network.
    """
    span = files.life(valid)
    of, private = files.own(cert, key, password_stdin=password_stdin)
    from dirac.formats.x509 import names, proxy

    with client(ctx) as dirac:
        asked = dirac.proxies.request()
        public = proxy.read_request(asked.csr.encode())
        made = files.signed(of, private, public, span, group=group, limited=limited)
        kept = dirac.proxies.store(asked.proxy_id, names.to_pem(made.certificates).decode())
    if as_json:
        print_json(kept)
    else:
        what = f"for the group {kept.dirac_group}" if kept.dirac_group else "for any of your groups"
        print(f"The server keeps a proxy of {kept.subject} {what}, good until {text(kept.expires)}.")


@command(
    "dirac proxy get",
    "dirac proxy get --valid 12h --limited --out proxy.pem",
    "dirac proxy get --user ada --group astro_user  # of another user, if your group may",
    "dirac proxy get --json  # subject, kind, group, limited, expires, seconds_left, voms, file",
)
def get(
    ctx: typer.Context,
    group: Annotated[
        str | None, typer.Option("--group", "-g", metavar="GROUP", help="The group it is for.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="SUBJECT", help="Whose; otherwise yours.")
    ] = None,
    valid: Valid = "12h",
    limited: Limited = False,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Get a proxy of one that the server keeps; the key is made here, and stays here."""
    span = files.life(valid)
    files.need_library()
    from dirac.formats.x509 import names, proxy
    from dirac.systems.identity.models import Delegation

    key = proxy.make_key()
    wanted = Delegation(
        csr=proxy.make_request(key).decode(),
        dirac_group=group,
        sub=user,
        seconds=int(span.total_seconds()),
        limited=limited,
    )
    with client(ctx) as dirac:
        answer = dirac.proxies.delegate(wanted)
    made = proxy.chain(names.certificates(answer.chain.encode()))
    if names.public_key(made.leaf) != key.public_key():
        raise InvalidInputError("the server's answer is a proxy of another key")
    target = files.proxy_file(out)
    files.write(target, proxy.to_pem(made, key))
    show(files.facts(made, target), as_json)


@command(
    "dirac proxy destroy",
    "dirac proxy destroy proxy.pem",
    "dirac proxy destroy --stored 0198c0de-7b1a-7c3e-9f00-000000000001",
    "dirac proxy destroy --json  # {file: FILE or null, stored: [ID, ...]}",
)
def destroy(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The proxy; otherwise yours.")] = None,
    stored: Annotated[
        list[str] | None,
        typer.Option("--stored", metavar="ID", help="One that the server keeps instead (repeatable)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Delete a proxy here, or have the server forget some."""
    if file is not None and stored:
        raise InvalidInputError("a file and --stored at once", hint="Give one of them")
    target = None if stored else files.proxy_file(file)
    if target is not None:
        files.check_is_proxy(target)
        target.unlink()
    else:
        with client(ctx) as dirac:
            for proxy_id in stored or ():
                dirac.proxies.destroy(proxy_id)
    if as_json:
        print_json({"file": None if target is None else str(target), "stored": stored or []})
    elif target is not None:
        print(f"Deleted {target}.")
    else:
        print(f"The server has forgotten {len(stored or ())}.")
