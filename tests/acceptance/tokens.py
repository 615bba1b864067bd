"""Access tokens of every kind, made with an installation's own keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from dirac.server.composition import build
from dirac.server.settings import Settings
from dirac.systems.identity.logic.access import Grant
from dirac.systems.identity.logic.tokens import Tokens
from dirac.systems.identity.models import Property

T = TypeVar("T")
OPERATOR = (Property.SERVICE_ADMINISTRATOR, Property.CS_ADMINISTRATOR, Property.OPERATOR)


def minting(settings: Settings, work: Callable[[Tokens], Awaitable[T]]) -> T:
    """Let something be made with the tokens of an installation."""

    async def run() -> T:
        installation = build(settings)
        try:
            await installation.begin()
            return await work(installation.identity.tokens)
        finally:
            await installation.close()

    return asyncio.run(run())


def mint_all(settings: Settings) -> Mapping[str, str]:
    """Return tokens of a user, an administrator of the VO astro, the operator and a pilot."""

    async def work(tokens: Tokens) -> dict[str, str]:
        return {
            "user": (await tokens.user_token(alice(Property.NORMAL_USER)))[0],
            "administrator": (
                await tokens.user_token(alice(Property.NORMAL_USER, Property.JOB_ADMINISTRATOR))
            )[0],
            "pilot": await tokens.pilot_token(stamp="fuzzer", vo="astro", seconds=3600),
            "operator": await tokens.service_token(OPERATOR, 3600),
        }

    return minting(settings, work)


def alice(*properties: Property) -> Grant:
    """Return what alice of astro is granted."""
    return Grant("astro", "alice", "alice", "astro_user", frozenset(properties))
