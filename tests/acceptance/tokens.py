"""Access tokens of every kind, made with an installation's own keys, and what only looks like them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from joserfc import jws
from joserfc.jwk import OctKey, OKPKey

from dirac.core.entropy import SystemEntropy
from dirac.core.time import SystemClock
from dirac.server.composition import build
from dirac.server.settings import Settings
from dirac.systems.identity.logic.access import Grant
from dirac.systems.identity.logic.assembly import IdentitySystem
from dirac.systems.identity.logic.tokens import Tokens
from dirac.systems.identity.models import Property
from dirac.testing.time import FakeClock

T = TypeVar("T")
OPERATOR = (Property.SERVICE_ADMINISTRATOR, Property.CS_ADMINISTRATOR, Property.OPERATOR)
PILOT = "fuzzer"


def _with_identity(settings: Settings, work: Callable[[IdentitySystem], Awaitable[T]]) -> T:
    async def run() -> T:
        installation = build(settings)
        try:
            await installation.begin()
            return await work(installation.identity)
        finally:
            await installation.close()

    return asyncio.run(run())


def mint_all(settings: Settings) -> dict[str, str]:
    """Return tokens of a user, an administrator of the VO astro, the operator and a pilot."""

    async def work(identity: IdentitySystem) -> dict[str, str]:
        tokens, administrator = identity.tokens, (Property.NORMAL_USER, Property.JOB_ADMINISTRATOR)
        return {
            "user": (await tokens.user_token(_user("alice", Property.NORMAL_USER)))[0],
            "colleague": (await tokens.user_token(_user("adam", Property.NORMAL_USER)))[0],
            "administrator": (await tokens.user_token(_user("alice", *administrator)))[0],
            "pilot": await tokens.pilot_token(stamp=PILOT, vo="astro", seconds=3600),
            "another pilot": await tokens.pilot_token(stamp="second", vo="astro", seconds=3600),
            "operator": await tokens.service_token(OPERATOR, 3600),
        }

    return _with_identity(settings, work)


def forge_all(settings: Settings) -> dict[str, str]:
    """Return what no server may take for a token of alice."""

    async def work(identity: IdentitySystem) -> dict[str, str]:
        async def by(clock: Any = None, **claims: str) -> str:
            tokens = Tokens(
                identity.keys, clock or SystemClock(), SystemEntropy(), replace(identity.settings, **claims)
            )
            return (await tokens.user_token(_user("alice", Property.NORMAL_USER)))[0]

        now, good = SystemClock().now(), await by()
        head, payload, signature = good.split(".")
        kid = json.loads(_decoded(head))["kid"]
        claims = _decoded(payload)
        mine = OKPKey.generate_key("Ed25519")
        public = next(key.x for key in await identity.keys.published() if key.kid == kid)
        secret = OctKey.import_key(_decoded(public))
        more = claims.replace(b"NormalUser", b"JobAdministrator")
        return {
            "expired": await by(FakeClock(now - timedelta(hours=1))),
            "of tomorrow": await by(FakeClock(now + timedelta(days=1))),
            "of another audience": await by(audience="elsewhere"),
            "for refreshing": await by(audience=f"{identity.settings.audience}:refresh"),
            "of another issuer": await by(issuer="https://elsewhere.example"),
            "of another key": _signed({"alg": "Ed25519", "kid": kid}, claims, mine),
            "of an unknown key": _signed({"alg": "Ed25519", "kid": "mine"}, claims, mine),
            "with a key of its own": _signed(
                {"alg": "Ed25519", "kid": kid, "jwk": mine.as_dict(private=False)}, claims, mine
            ),
            "signed with the public key": _signed({"alg": "HS256", "kid": kid}, claims, secret),
            "not signed": f"{_encoded(json.dumps({'alg': 'none', 'kid': kid}).encode())}.{payload}.",
            "without its signature": f"{head}.{payload}.",
            "with more rights": f"{head}.{_encoded(more)}.{signature}",
            "without an end": _signed({"alg": "Ed25519", "kid": kid}, b"{}", mine),
            "of two parts": f"{head}.{payload}",
            "of no form": "garbage",
            "too long": "x" * 9000,
        }

    return _with_identity(settings, work)


def _user(name: str, *properties: Property) -> Grant:
    return Grant("astro", name, name, "astro_user", frozenset(properties))


def _signed(header: dict[str, Any], claims: bytes, key: OKPKey | OctKey) -> str:
    return jws.serialize_compact(header, claims, key, algorithms=[header["alg"]])


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
