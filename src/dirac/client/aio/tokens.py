"""Access tokens that renew themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

from dirac.client.session import Login, Session
from dirac.core.errors import InvalidInputError, UnauthenticatedError, UnavailableError
from dirac.core.time import Clock
from dirac.systems.identity.models import TokenResponse

Refresh = Callable[[str], Awaitable[TokenResponse]]

# Renewed this long before its end, so that a token does not expire on its way to the server.
_MARGIN = timedelta(seconds=30)
_LOCK_PAUSE = 0.05
_LOCK_SECONDS = 60.0


class FileTokens:
    """The access token in a file, which somebody else keeps fresh."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def token(self) -> str | None:
        """Return what the file holds now.

        Raises:
            InvalidInputError: It cannot be read, or is empty.
        """
        return self._read()

    async def renew(self, refused: str) -> str | None:
        """Return what the file holds now, None if that is the refused one."""
        token = self._read()
        return None if token == refused else token

    def _read(self) -> str:
        try:
            token = self._file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"the token file {self._file} cannot be read: {error}") from None
        if not token:
            raise InvalidInputError(f"the token file {self._file} is empty")
        return token


class MemoryTokens:
    """A login that lives in this process only, such as a pilot's.

    Args:
        login: The login.
        refresh: Exchanges a refresh token for new tokens.
        clock: The time.
    """

    def __init__(self, login: Login, refresh: Refresh, clock: Clock) -> None:
        self._login = login
        self._refresh = refresh
        self._clock = clock

    async def token(self) -> str | None:
        """Return the access token, renewed if it is about to expire."""
        if self._clock.now() + _MARGIN >= self._login.expires:
            await self._renew()
        return self._login.access_token

    async def renew(self, refused: str) -> str | None:
        """Return another token than the refused one, None if there is no other."""
        if self._login.access_token == refused:
            await self._renew()
        return None if self._login.access_token == refused else self._login.access_token

    async def _renew(self) -> None:
        if self._login.refresh_token is not None:
            self._login = as_login(await self._refresh(self._login.refresh_token), self._clock.now())


class SessionTokens:
    """The login of a session, shared with all other processes of the user.

    A refresh token is good once. So only one process renews at a time; the others wait and take what it got.

    Args:
        session: Where the credentials are.
        refresh: Exchanges a refresh token for new tokens.
        clock: The time.
    """

    def __init__(self, session: Session, refresh: Refresh, clock: Clock) -> None:
        self._session = session
        self._refresh = refresh
        self._clock = clock

    async def token(self) -> str | None:
        """Return the access token, renewed if it is about to expire; None if nobody is logged in.

        The file is read each time: another process may have renewed the login, or changed the VO.

        Raises:
            UnauthenticatedError: The login is over.
        """
        login = self._session.login()
        if login is None:
            return None
        if not self._fresh(login):
            login = await self._renewed(login.access_token)
        return login.access_token

    async def renew(self, refused: str) -> str | None:
        """Return another token than the refused one; None if there is no login any more.

        Raises:
            UnauthenticatedError: The login is over.
        """
        return (await self._renewed(refused)).access_token

    def _fresh(self, login: Login) -> bool:
        return self._clock.now() + _MARGIN < login.expires

    async def _renewed(self, stale: str) -> Login:
        session = self._session
        end = self._clock.monotonic() + _LOCK_SECONDS
        while True:
            with session.locked() as mine:
                if mine:
                    vo, login = session.vo, session.login()
                    if vo is None or login is None:
                        raise UnauthenticatedError("you are not logged in", hint="Log in: dirac login")
                    if login.access_token == stale or not self._fresh(login):
                        login = await self._exchanged(vo, login)
                    return login
            if self._clock.monotonic() >= end:
                raise UnavailableError(f"another process holds the lock on {session.credentials}")
            await self._clock.sleep(_LOCK_PAUSE)

    async def _exchanged(self, vo: str, login: Login) -> Login:
        """Renew the stored login; one that cannot be renewed is over, and forgotten."""
        if login.refresh_token is None:
            raise UnauthenticatedError(f"your login to {vo} has expired", hint="Log in again: dirac login")
        try:
            answer = await self._refresh(login.refresh_token)
        except UnauthenticatedError as error:
            self._session.forget(vo)
            raise UnauthenticatedError(
                f"your login to {vo} is over: {error}", hint="Log in again: dirac login"
            ) from error
        renewed = as_login(answer, self._clock.now(), login.refresh_token)
        self._session.renewed(vo, renewed)
        return renewed


def as_login(answer: TokenResponse, now: datetime, refresh_token: str | None = None) -> Login:
    """Make a login of an answer of the token endpoint; the refresh token stays if no other came."""
    return Login(
        access_token=answer.access_token,
        expires=now + timedelta(seconds=answer.expires_in),
        refresh_token=answer.refresh_token or refresh_token,
    )
