"""An outside identity provider that a test has in its hands."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from urllib.parse import urlencode

from dirac.core.errors import UnauthenticatedError, UnavailableError
from dirac.core.time import Clock
from dirac.resources.identity.outside import (
    Begin,
    Grant,
    Keep,
    LoginEndedError,
    Person,
    Proof,
    ProviderSettings,
)


class FakeOutsideProvider:
    """Implements `dirac.resources.identity.outside.OutsideProvider`.

    A login is good with the subject as its code. Refresh tokens are good once, as those of careful providers.

    Args:
        settings: Of these only the issuer counts.
        clock: The time.

    Attributes:
        known: Who there is, by subject; None for somebody who is not active.
        away: Whether it does not answer.
        stumbles: Whether it answers when it is asked again, and then no more, with a new token given.
        asked: How often it was asked again about somebody.
        own_tokens: How many tokens of our own it gave.
        own_token_seconds: Their life.
    """

    def __init__(self, settings: ProviderSettings, clock: Clock) -> None:
        self.issuer = settings.issuer
        self.known: dict[str, Person | None] = {}
        self.away = False
        self.stumbles = False
        self.asked = 0
        self.own_tokens = 0
        self.own_token_seconds = 3600
        self._clock = clock
        self._begun: dict[str, Begin] = {}
        self._issued: dict[str, int] = {}

    def add(self, sub: str, *values: str, username: str = "") -> None:
        """Have somebody, with these values of claims."""
        self.known[sub] = Person(sub, username or sub, f"{sub}@example.org", frozenset(values))

    async def own_token(self, scope: str, audience: str) -> tuple[str, datetime]:
        """Return a token that says what it is good for; each is another one."""
        self._answer()
        self.own_tokens += 1
        life = timedelta(seconds=self.own_token_seconds)
        return f"{self.own_tokens}|{scope}|{audience}", self._clock.now() + life

    async def probe(self) -> str:
        """Return where people log in."""
        self._answer()
        return f"{self.issuer}/authorize"

    async def begin(self, begin: Begin) -> str:
        """Return the address that a person is sent to."""
        self._answer()
        self._begun[begin.state] = begin
        return f"{self.issuer}/authorize?{urlencode({'state': begin.state})}"

    async def finish(self, begin: Begin, code: str, issuer: str) -> Proof:
        """Return the person whose subject the code is."""
        self._answer()
        meant = issuer in ("", self.issuer) and self._begun.pop(begin.state, None) == begin
        if not meant or self.known.get(code) is None:
            raise UnauthenticatedError("the identity provider does not stand by this login")
        return self._proof(code)

    async def again(self, sub: str, grant: Grant, keep: Keep) -> Proof:
        """Return what it says of somebody today, if the token is the last one."""
        self.asked += 1
        await asyncio.sleep(0)
        self._answer()
        if self.known.get(sub) is None or grant.refresh_token != f"{sub} {self._issued[sub]}":
            raise LoginEndedError("the identity provider does not stand by this login any more")
        proof = self._proof(sub)
        await keep(proof.grant)
        if self.stumbles:
            raise UnavailableError(f"{self.issuer} does not know what it has just given")
        return proof

    async def people(self) -> dict[str, bool] | None:
        """Return the list of users."""
        self._answer()
        return {sub: person is not None for sub, person in self.known.items()}

    async def close(self) -> None:
        """Have nothing to let go of."""

    def _answer(self) -> None:
        if self.away:
            raise UnavailableError(f"{self.issuer} does not answer")

    def _proof(self, sub: str) -> Proof:
        person = self.known[sub]
        assert person is not None  # noqa: S101 - looked at before
        self._issued[sub] = self._issued.get(sub, 0) + 1
        return Proof(person, Grant(f"{sub} {self._issued[sub]}", "", self._end()))

    def _end(self) -> datetime:
        return self._clock.now() + timedelta(hours=1)
