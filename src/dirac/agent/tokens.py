"""The pilot's token, which is renewed long before it ends."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from dirac.core.errors import ConflictError, DiracError, NotAllowedError, UnauthenticatedError
from dirac.core.time import Clock
from dirac.systems.identity.models import TokenResponse

log = logging.getLogger(__name__)

# How long to wait after the server could not be asked.
_PAUSE = 60.0
_SHORTEST = 1.0


class PilotTokens:
    """An access token in memory that is replaced at half of its life.

    Args:
        token: The token.
        expires: Its end, None if it has none.
        renew: Asks the server for another one, in exchange for the present one.
        clock: The time.
    """

    def __init__(
        self,
        token: str,
        expires: datetime | None,
        renew: Callable[[str], Awaitable[TokenResponse]],
        clock: Clock,
    ) -> None:
        self._token = token
        self._expires = expires
        self._renew = renew
        self._clock = clock

    async def token(self) -> str | None:
        """Return the token as it is now."""
        return self._token

    async def renew(self, refused: str) -> str | None:
        """Return another token than the refused one, None if there is no other."""
        return None if self._token == refused else self._token

    async def keep(self) -> None:
        """Renew the token again and again, until the server says that this was the last one."""
        while self._expires is not None:
            left = (self._expires - self._clock.now()).total_seconds()
            if left <= 0:
                log.warning("the pilot's token has expired")
                return
            await self._clock.sleep(max(_SHORTEST, left / 2))
            asked = self._clock.now()
            try:
                answer = await self._renew(self._token)
            except (ConflictError, NotAllowedError, UnauthenticatedError) as error:
                log.info("the pilot's token is not renewed any more: %s", error)
                return
            except DiracError as error:
                log.warning("the pilot's token could not be renewed yet: %s", error)
                await self._clock.sleep(min(_PAUSE, max(_SHORTEST, left / 8)))
                continue
            self._token = answer.access_token
            self._expires = asked + timedelta(seconds=answer.expires_in)
