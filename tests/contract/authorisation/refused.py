"""Credentials that were good once, or never: no route may take any of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from dirac.systems.identity.logic.access import Grant
from dirac.systems.identity.logic.discovery import EXCHANGE_GRANT
from dirac.systems.identity.logic.exchange import ACCESS_TOKEN
from tests.contract.authorisation.fresh import login
from tests.contract.authorisation.grid import Grid
from tests.contract.authorisation.roles import NODE_CE, run_token
from tests.contract.authorisation.world import ASTRO, FILES, World

GONE_SITE, GONE_VO = "DIRAC.Gone.org", "chem"


class Shown(NamedTuple):
    """What somebody shows.

    Attributes:
        token: A token; None for a certificate.
        headers: What is sent besides.
        status: What every route has to answer.
        says: A part of the reason.
    """

    token: str | None = None
    headers: dict[str, str] | None = None
    status: int = 401
    says: str = "revoked"


async def user_token(world: World, sub: str, vo: str = "astro") -> str:
    """Return a token of somebody, that is good."""
    granted = Grant(vo, sub, sub, f"{vo}_user", frozenset({"NormalUser", "ServiceAdministrator"}))
    return (await world.installation.identity.tokens.user_token(granted))[0]


async def _form(world: World, path: str, **fields: str) -> Any:
    answer = await world.http.post(path, data=fields)
    return answer.json() if answer.content else None


async def _revoke(world: World, kind: str, name: str, vo: str = "") -> None:
    order = {"kind": kind, "name": name, "vo": vo}
    answer = await world.ask("POST", "/api/auth/revocations", world.tokens["service"], order)
    assert answer.is_success, answer.text


async def _session(world: World) -> dict[str, Any]:
    """Have somebody log in and refresh; the answer is as good as any."""
    record = await login(world, "astro", "alice", "astro_user")
    first = world.installation.identity.tokens.refresh_token(record)
    return {"first": first, **await refreshed(world, first)}


async def refreshed(world: World, token: str) -> Any:
    """Refresh a session."""
    return await _form(
        world, "/api/auth/token", grant_type="refresh_token", client_id="dirac", refresh_token=token
    )


async def _by_its_bearer(world: World) -> Shown:
    token = await user_token(world, "alice")
    await _form(world, "/api/auth/revoke", token=token, client_id="dirac")
    return Shown(token)


async def _exchanged(world: World) -> Shown:
    token = await user_token(world, "alice")
    fields = {
        "grant_type": EXCHANGE_GRANT,
        "subject_token": token,
        "subject_token_type": ACCESS_TOKEN,
        "client_id": "dirac",
    }
    less = await _form(world, "/api/auth/token", **fields)
    await _form(world, "/api/auth/revoke", token=token, client_id="dirac")
    assert "access_token" in less, less
    return Shown(less["access_token"])


async def _logged_out(world: World) -> Shown:
    session = await _session(world)
    await _form(world, "/api/auth/revoke", token=session["refresh_token"], client_id="dirac")
    return Shown(session["access_token"])


async def _replayed(world: World) -> Shown:
    session = await _session(world)
    second = await refreshed(world, session["refresh_token"])
    again = await refreshed(world, session["first"])
    assert again["error"] == "invalid_grant", again
    return Shown(second["access_token"])


async def _client(world: World) -> Shown:
    wanted = {"client_id": "gone", "properties": ["ServiceAdministrator"]}
    made = (await world.ask("POST", "/api/auth/clients", world.tokens["service"], wanted)).json()
    fields = {"client_id": "gone", "client_secret": made["client_secret"]}
    given = await _form(world, "/api/auth/token", grant_type="client_credentials", **fields)
    await world.ask("DELETE", "/api/auth/clients/gone", world.tokens["service"])
    return Shown(given["access_token"])


async def _pilot(world: World) -> Shown:
    token = await world.installation.identity.tokens.pilot_token(stamp="gone1", vo="astro", seconds=3600)
    await _revoke(world, "pilot", "gone1")
    return Shown(token)


async def _run_of_a_pilot(world: World) -> Shown:
    token = await run_token(world.installation, (world.values["job_id"], 1), "gone2")
    await _revoke(world, "pilot", "gone2")
    return Shown(token)


async def _site(world: World) -> Shown:
    made = world.installation.identity.tokens.pilot_token
    token = await made(stamp="gone3", vo="astro", seconds=3600, site=GONE_SITE)
    await _revoke(world, "site", GONE_SITE)
    return Shown(token)


async def _node(world: World) -> Shown:
    credential = await world.installation.identity.nodes.issue(GONE_SITE, NODE_CE)
    await _revoke(world, "site", GONE_SITE)
    return Shown(credential)


async def _vo(world: World) -> Shown:
    token = await user_token(world, "carl", GONE_VO)
    await _revoke(world, "vo", GONE_VO)
    return Shown(token)


async def _user(world: World) -> Shown:
    token = await user_token(world, "zoe")
    await _revoke(world, "user", "zoe", "astro")
    return Shown(token)


WAYS: dict[str, Callable[[World], Awaitable[Shown]]] = {
    "revoked by its bearer": _by_its_bearer,
    "exchanged for one that was revoked": _exchanged,
    "of a session that was ended": _logged_out,
    "of a session whose refresh token came twice": _replayed,
    "of a client that was removed": _client,
    "of a pilot that was revoked": _pilot,
    "of a run of such a pilot": _run_of_a_pilot,
    "of a pilot at a site that was revoked": _site,
    "of a node at such a site": _node,
    "of a VO that was revoked": _vo,
    "of a user who was revoked": _user,
}


async def shut_out(world: World) -> dict[str, Shown]:
    """Have adam suspended and eve removed; return what they had."""
    had = {
        "of a user who is suspended": Shown(await user_token(world, "adam")),
        "of a user who is gone": Shown(await user_token(world, "eve")),
    }
    text = FILES[ASTRO].replace("      eve: {groups: [astro_guest]}\n", "")
    text = text.replace("      adam: {", "      adam: {suspended: true, dns: [/C=ch/O=DIRAC/CN=adam], ")
    request = {"files": {ASTRO: text}}
    applied = await world.ask("POST", "/api/config/apply", world.tokens["service"], request)
    assert len(applied.json()["changes"]) > 1, applied.text
    world.installation.identity.revocations.expect()  # or wait for `revocation_refresh_seconds`
    world.chains["adam"] = world.grid.shown("adam")
    had["a suspended user's certificate"] = Shown(None, {"x-chain": "adam"}, 403, "suspended")
    return had


def certificates(world: World, directory: Path) -> dict[str, Shown]:
    """Return what is shown in place of a token, and is no good."""
    grid, other = world.grid, Grid(directory)
    grid.certificate("late", days=-1)
    world.chains.update(
        late=grid.shown("late"),
        gone=grid.shown("gone"),
        proxy_of_gone=grid.shown("gone", limited=False),
        old_proxy=grid.shown("alice", limited=False, hours=1, age=2),
        proxy=grid.shown("alice", limited=False),
        proxy_of_host=grid.shown("machine", limited=False),
        stranger=grid.shown("nobody"),
        foreign=other.shown("alice"),
    )
    acts = {"X-DIRAC-Subject": grid.dn("alice")}
    return {
        "an expired certificate": Shown(None, {"x-chain": "late"}, says="was good until"),
        "a certificate that its authority has revoked": Shown(None, {"x-chain": "gone"}),
        "a proxy of such a one": Shown(None, {"x-chain": "proxy_of_gone"}),
        "an expired proxy": Shown(None, {"x-chain": "old_proxy"}, says="was good until"),
        "a host's proxy": Shown(None, {"x-chain": "proxy_of_host"}, says="a proxy of the host"),
        "a certificate of nobody": Shown(None, {"x-chain": "stranger"}, says="no user here"),
        "a certificate of a foreign authority": Shown(None, {"x-chain": "foreign"}, says="not trusted"),
        "a host that is not trusted": Shown(None, {"x-chain": "machine", **acts}, 403, "may not act"),
        "a user who acts for another": Shown(None, {"x-chain": "alice", **acts}, 403, "only trusted hosts"),
        "a proxy for another group": Shown(
            None, {"x-chain": "proxy", "X-DIRAC-Group": "astro_admin"}, 403, "the proxy is for"
        ),
        "a group that is not the user's": Shown(
            None, {"x-chain": "alice", "X-DIRAC-Group": "astro_admin"}, 403, "not in the group"
        ),
        "a certificate, for a page of others": Shown(
            None, {"x-chain": "alice", "Sec-Fetch-Site": "cross-site"}, says="another site"
        ),
        "a good certificate and a bad token": Shown("garbage", {"x-chain": "alice"}, says="token"),
        "a good certificate and a password": Shown(
            None, {"x-chain": "alice", "Authorization": "Basic YTpi"}, says="token"
        ),
    }


async def status_of(world: World, route: str, shown: Shown) -> httpx.Response:
    """Ask a route, with nothing but what is shown."""
    method, path = route.split()
    return await world.ask(method, path, shown.token, headers=shown.headers)
