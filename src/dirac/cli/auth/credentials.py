"""Commands for those who look after others: who holds what, revocation, clients, secrets of pilots."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO, cast

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, client, print_json, print_table, text
from dirac.core.errors import InvalidInputError

if TYPE_CHECKING:
    from dirac.systems.identity.models import Property
    from dirac.systems.identity.models_tokens import HeldSite, HeldVO, Holders, RevocationReceipt

_KINDS = ("pilot", "site", "user", "vo")
_WIDE_REACH = ("site", "vo")
_HOUR = 3600
_CLIENTS = {"client_id": "CLIENT", "vo": "VO", "properties": "PROPERTIES", "created": "SINCE"}

Vo = Annotated[
    str | None, typer.Option("--of", metavar="VO", help="Of this VO; otherwise yours, or for operators all.")
]


@command(
    "dirac auth tree",
    "dirac auth tree --site LCG.Example.org --limit 20",
    "dirac auth tree --json  # {vos: [{name, users, sites, clients}], complete}",
)
def tree(
    ctx: typer.Context,
    vo: Vo = None,
    site: Annotated[
        str | None, typer.Option("--site", metavar="SITE", help="Only pilots at this site.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, max=1000, help="Logins, and pilots, to name.")
    ] = 100,
    as_json: Json = False,
) -> None:
    """Show who holds what: logins by user, secrets and tokens of pilots by site, the runs of each pilot.

    It takes a group with ProxyManagement; operators of the installation see all VOs. Who looks after a site
    sees all that is held there, with --site.
    """
    with client(ctx) as dirac:
        found = dirac.credentials.holders(vo=vo, site=site, limit=limit)
    if as_json:
        print_json(found)
        return
    for line in lines(found):
        print(line)
    if not found.complete:
        print(f"There are more: the newest {limit} are named; --limit names more.", file=sys.stderr)


@command(
    "dirac auth revoke pilot 5f0c1e9ab7f44d6e8c0d3c1f1a2b3c4d",
    "dirac auth revoke site LCG.Example.org --confirm LCG.Example.org",
    "dirac auth revoke user bob",
    "dirac auth revoke vo astro --confirm astro --json  # {kind, name, vo, sessions, secrets, nodes, ...}",
)
def revoke(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(_KINDS)}.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The stamp, site, user or VO.")],
    vo: Vo = None,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", metavar="NAME", help="The name again, of a site or VO: nobody is asked."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Revoke what a pilot, a site, a user or a VO holds: tokens, logins, secrets that were not used yet.

    Of a user, and of a VO, the proxies end that are kept here; what was made of them is refused here, but not
    elsewhere. What stays good is the person's own certificate, with all proxies made of it.

    Who looks after a site (its `managers` in the configuration) revokes its pilots, whatever their VO.

    Nobody is shut out by that: whoever may log in, or start pilots, gets new ones. To keep a user out,
    suspend the user in the configuration first; to keep a site out, take the VO from it there.
    """
    if kind not in _KINDS:
        raise InvalidInputError(f"there is no kind {kind!r}", where="KIND", hint=f"Use {', '.join(_KINDS)}")
    if kind in _WIDE_REACH:
        _confirm(kind, name, confirm, quiet=as_json)
    with client(ctx) as dirac:
        chosen = cast("Literal['pilot', 'site', 'vo', 'user']", kind)
        receipt = dirac.credentials.revoke(chosen, name, vo=vo or "")
    if as_json:
        print_json(receipt)
    else:
        print(told(receipt))


@command(
    "dirac auth clients",
    "dirac auth clients --json  # a list: client_id, vo, properties, created, created_by",
)
def clients(ctx: typer.Context, as_json: Json = False) -> None:
    """List the registered clients: programs with a secret of their own."""
    with client(ctx) as dirac:
        found = dirac.credentials.clients()
    if as_json:
        print_json(found)
        return
    rows = [{name: getattr(one, name) for name in _CLIENTS} for one in found]
    print_table(rows, _CLIENTS, nothing="No client is registered.")


@command(
    "dirac auth add-client storage --of astro  # may ask what tokens are good for",
    "dirac auth add-client portal --property TrustedHost  # may act for users of all VOs",
    "dirac auth add-client portal --keys portal.jwks.json  # signs what it asks with, and has no secret",
    "dirac auth add-client monitor --json  # {client_id, client_secret, vo, properties, created, created_by}",
)
def add_client(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is to be called.")],
    vo: Annotated[
        str | None, typer.Option("--of", metavar="VO", help="Its VO; otherwise it is the installation's.")
    ] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", "-p", metavar="NAME", help="What it may do; repeat it for several."),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", metavar="FILE", help="Its public keys (a JSON Web Key Set): no secret then."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Register a client that has a secret, which is shown this once, or keys of its own.

    One with keys signs an assertion for each request (`private_key_jwt`, RFC 7523).
    """
    wanted = _properties(properties or [])
    jwks = None if keys is None else _key_set(keys)
    with client(ctx) as dirac:
        made = dirac.credentials.register_client(name, vo=vo or "", properties=wanted, jwks=jwks)
    if as_json:
        print_json(made)
        return
    if made.client_secret is None:
        print(f"{made.client_id} is registered.")
        return
    print(made.client_secret)
    print(f"This is the secret of {made.client_id}; nobody can find it out later.", file=sys.stderr)


@command("dirac auth remove-client portal", "dirac auth remove-client portal --json  # {removed: NAME}")
def remove_client(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The client, as `dirac auth clients` has it.")],
    as_json: Json = False,
) -> None:
    """Remove a client; the tokens that it has are refused from now on."""
    with client(ctx) as dirac:
        dirac.credentials.remove_client(name)
    if as_json:
        print_json({"removed": name})
    else:
        print(f"{name} is removed.")


@command(
    "dirac pilot secrets LCG.Example.org ce01 --uses 50  # for fifty pilots",
    "dirac pilot secrets LCG.Example.org ce01 --count 100 --hours 12 --out pilots.secrets",
    "dirac pilot secrets LCG.Example.org ce01 --json  # a list: pilot_secret, vo, site, ce, uses, expires",
)
def secrets(
    ctx: typer.Context,
    site: Annotated[str, typer.Argument(metavar="SITE", help="Where the pilots will be.")],
    ce: Annotated[str, typer.Argument(metavar="CE", help="Their computing element there.")],
    vo: Annotated[
        str | None, typer.Option("--of", metavar="VO", help="The VO of these pilots; otherwise yours.")
    ] = None,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, max=1000, help="Secrets.")] = 1,
    uses: Annotated[
        int, typer.Option("--uses", metavar="N", min=1, max=100_000, help="Pilots for each secret.")
    ] = 1,
    hours: Annotated[
        float, typer.Option("--hours", metavar="HOURS", min=0.02, max=720, help="How long they are good.")
    ] = 24,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="A new file for them, that only you can read."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Issue secrets for pilots that you start yourself, one a line; they are shown this once.

    Each pilot shows its secret once, and gets a token of its own. A pilot reads its secret from the file
    `pilot.secret` beside it. It takes a group with GenericPilot.
    """
    from dirac.systems.identity.models_tokens import SecretOrder

    order = SecretOrder(site, ce, vo or "", count, uses, int(hours * _HOUR))
    # Opened before they are made: secrets that cannot be written would be lost.
    file = None if out is None else _private(out)
    try:
        with client(ctx) as dirac:
            made = dirac.credentials.issue_pilot_secrets(order)
    except BaseException:
        if out is not None:
            out.unlink(missing_ok=True)
        raise
    if file is not None:
        with file:
            file.writelines(f"{one.pilot_secret}\n" for one in made)
    if as_json:
        print_json(made)
        return
    if file is None:
        for one in made:
            print(one.pilot_secret)
    where = f" in {out}" if out else ""
    print(f"{_number(len(made), 'secret')}{where}, good until {text(made[0].expires)}.", file=sys.stderr)


def _private(file: Path) -> TextIO:
    """Make a file that only its owner can read.

    Raises:
        InvalidInputError: There is one, or it cannot be made.
    """
    try:
        return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be written: {error.strerror}", where="--out") from None


def _key_set(file: Path) -> dict[str, Any]:
    """Return the keys in a file.

    Raises:
        InvalidInputError: It cannot be read, or holds no key set.
    """
    import msgspec

    try:
        found: dict[str, Any] = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error.strerror}", where="--keys") from None
    except msgspec.MsgspecError:
        hint = 'It looks like {"keys": [{"kty": "RSA", "n": ..., "e": ...}]} (RFC 7517)'
        raise InvalidInputError(f"{file} is no key set", where="--keys", hint=hint) from None
    return found if "keys" in found else {"keys": [found]}


def _properties(names: list[str]) -> list[Property]:
    """Return properties by their names.

    Raises:
        InvalidInputError: There is no such property.
    """
    from dirac.systems.identity.models import Property

    known = {str(one): one for one in Property}
    if unknown := [name for name in names if name not in known]:
        raise InvalidInputError(
            f"there is no property {unknown[0]!r}", where="--property", hint=f"Use {', '.join(known)}"
        )
    return [known[name] for name in names]


def _confirm(kind: str, name: str, given: str | None, *, quiet: bool) -> None:
    """Let the name of a site or a VO be typed again.

    Raises:
        InvalidInputError: Another name was typed, or there is nobody to ask.
    """
    if given is None:
        if quiet or not sys.stdin.isatty():
            raise InvalidInputError(
                f"the revocation of a {kind} has to be confirmed, and there is nobody to ask",
                hint=f"If you are sure: --confirm {name}",
            )
        given = typer.prompt(f"All pilots, jobs and logins of it stop. To go on, type {name}", err=True)
    if given != name:
        raise InvalidInputError(
            f"{given!r} is not the name of the {kind}", where="--confirm", hint="Nothing was done"
        )


def told(receipt: RevocationReceipt) -> str:
    """Return what was revoked, in words."""
    numbers = {
        "login": receipt.sessions,
        "unused secret": receipt.secrets,
        "node credential": receipt.nodes,
        "kept proxy": receipt.proxies,
    }
    also = ", ".join(_number(number, noun) for noun, number in numbers.items() if number)
    ended = f" Ended with it: {also}." if also else ""
    of = f" of {receipt.vo}" if receipt.vo and receipt.kind != "vo" else ""
    return (
        f"The tokens of the {receipt.kind} {receipt.name}{of} are revoked; "
        f"the last server refuses them in {receipt.within_seconds} s.{ended}{_staying(receipt)}"
    )


def _staying(receipt: RevocationReceipt) -> str:
    """Return what goes on opening doors, in words."""
    if not receipt.certificates:
        return ""
    own = "own certificate" if receipt.certificates == 1 else "own certificates"
    return (
        f"\nStill good: {_number(receipt.certificates, own, own)}, and proxies that the owner makes. "
        "To end that, suspend the user in the configuration."
    )


def _number(number: int, noun: str, several: str = "") -> str:
    if noun.endswith("proxy"):
        several = several or f"{noun[:-1]}ies"
    return f"{number} {noun if number == 1 else several or f'{noun}s'}"


def lines(found: Holders) -> Iterator[str]:
    """Yield the lines of the tree."""
    if not found.vos:
        yield "Nobody holds anything."
    for vo in found.vos:
        yield vo.name or "the installation"
        branches = list(_branches(vo))
        for number, (head, leaves) in enumerate(branches):
            last = number == len(branches) - 1
            yield ("└─ " if last else "├─ ") + head
            for place, leaf in enumerate(leaves):
                bend = "└─ " if place == len(leaves) - 1 else "├─ "
                yield ("   " if last else "│  ") + bend + leaf


def _branches(vo: HeldVO) -> Iterator[tuple[str, list[str]]]:
    for user in vo.users:
        sessions = [
            f"{one.scope.partition(' ')[2] or one.scope}  by {one.client_id}, since {text(one.created)}, "
            f"until {text(one.expires)}  {one.jti}"
            for one in user.sessions
        ]
        yield f"user {user.username or user.sub}: {_number(len(sessions), 'login')}", sessions
    for site in vo.sites:
        yield (
            _site(site),
            [
                f"pilot {pilot.stamp} on {pilot.ce or '?'}, since {text(pilot.since)}"
                + (f", {pilot.status}" if pilot.status else "")
                + "".join(f", job {run.job_id} attempt {run.attempt}" for run in pilot.runs)
                for pilot in site.pilots
            ]
            + [f"nodes of {one.ce}, since {text(one.since)}  {one.credential_id}" for one in site.nodes],
        )
    for name in vo.clients:
        yield f"client {name}", []


def _site(site: HeldSite) -> str:
    parts = [f"{_number(site.logged_in, 'pilot')} logged in", f"{_number(site.unused, 'secret')} unused"]
    if site.nodes:
        parts.append(_number(len(site.nodes), "node credential"))
    if site.issued:
        parts.append(f"{_number(site.issued, 'use')} left of issued secrets")
    return f"site {site.name or '(not known)'}: {', '.join(parts)}"
