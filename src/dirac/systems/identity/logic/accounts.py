"""People whom outside providers know: what is kept of them, and asking again at each refresh."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import msgspec

from dirac.core.entropy import Entropy
from dirac.core.errors import DiracError, InvalidInputError, NotAllowedError, UnavailableError
from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.resources.identity.outside import (
    Grant,
    LoginEndedError,
    OutsideProvider,
    Proof,
    ProviderSettings,
)
from dirac.systems.identity.logic.ending import end_sessions
from dirac.systems.identity.logic.events import about_user
from dirac.systems.identity.logic.oauth import OAuthError
from dirac.systems.identity.logic.provider_claims import LoginRules, admitted, username
from dirac.systems.identity.logic.sealing import Seal
from dirac.systems.identity.models import AcceptableUse
from dirac.systems.identity.ports.accounts import AccountRecord
from dirac.systems.identity.ports.registry import Member
from dirac.systems.identity.ports.tokens import RevocationRecord
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

log = logging.getLogger(__name__)

Rules = Callable[[str], Awaitable[LoginRules]]
"""Gives what the configuration says of logins to a VO, at no cost."""
OutsideProviders = Callable[[str, ProviderSettings, Clock], OutsideProvider]
"""Makes the plugin of kind ``dirac.identity_provider`` of a name."""

_AGAIN = "Log in again: dirac login VO"
# Longer than a provider is waited for; then whoever asked is not there any more.
_LEASE = timedelta(seconds=30)


async def no_rules(_vo: str) -> LoginRules:
    """Say that everybody logs in with a password, and nobody has to accept anything."""
    return LoginRules()


class _NotKept(Exception):  # noqa: N818 - it is never seen
    """What a provider gave could not be kept."""


class Accounts:
    """What is known of people from outside providers.

    Args:
        units: Where it is kept.
        clock: For the providers.
        entropy: For what is sealed.
        settings: The master key.
        rules: What the configuration says.
        providers: Makes what speaks to a provider.
    """

    def __init__(
        self,
        units: Units[Unit],
        clock: Clock,
        entropy: Entropy,
        settings: IdentitySettings,
        rules: Rules,
        providers: OutsideProviders,
    ) -> None:
        self._units = units
        self._clock = clock
        self._seal = Seal(settings.master_key, "grants of outside providers", entropy)
        self._seconds = settings.access_token_seconds
        self.rules = rules
        self._make = providers
        self._providers: dict[str, tuple[str, ProviderSettings, OutsideProvider]] = {}

    async def provider(self, vo: str) -> tuple[LoginRules, ProviderSettings, OutsideProvider]:
        """Return the rules of a VO, and what speaks to its provider.

        Raises:
            InvalidInputError: People of this VO log in with a password.
        """
        rules = await self.rules(vo)
        if rules.provider is None:
            raise InvalidInputError(f"the VO {vo!r} has no outside identity provider")
        known = self._providers.get(vo)
        if known is None or known[:2] != (rules.plugin, rules.provider):
            made = self._make(rules.plugin, rules.provider, self._clock)
            self._providers[vo] = rules.plugin, rules.provider, made
            if known is not None:
                await known[2].close()
        return rules, rules.provider, self._providers[vo][2]

    async def close(self) -> None:
        """Let go of connections."""
        while self._providers:
            await self._providers.popitem()[1][2].close()

    async def pending_policy(self, unit: Unit, rules: LoginRules, vo: str, sub: str) -> AcceptableUse | None:
        """Return what somebody has still to accept."""
        policy = rules.policy
        if policy is None or await unit.accounts.accepted(vo, sub, policy.version):
            return None
        return policy

    async def demand_consent(self, unit: Unit, rules: LoginRules, vo: str, sub: str) -> None:
        """Refuse somebody who has still something to accept.

        Raises:
            NotAllowedError: That is so.
        """
        policy = await self.pending_policy(unit, rules, vo, sub)
        if policy is not None:
            raise NotAllowedError(
                f"version {policy.version!r} of the acceptable-use policy of {vo!r} was not accepted",
                hint="Log in with a browser and accept it there",
            )

    async def keep(self, unit: Unit, vo: str, rules: LoginRules, issuer: str, proof: Proof) -> AccountRecord:
        """Keep what a provider has said of a person; what differs from before is recorded."""
        person = proof.person
        old = await unit.accounts.find(vo, person.sub)
        if old is not None and old.issuer != issuer:
            # The same subject at another provider is another person.
            await self._end_sessions(unit, vo, person.sub)
            old = None
        new = AccountRecord(
            vo=vo,
            sub=person.sub,
            issuer=issuer,
            username=username(person),
            email=person.email[:255],
            groups=admitted(rules, person.values),
            suspended=old is not None and old.suspended,
            sealed=self._sealed(vo, person.sub, proof.grant),
            checked=unit.now,
        )
        await unit.accounts.put(new)
        if old is None or (old.username, old.groups) != (new.username, new.groups):
            verb = "registered" if old is None else "changed"
            unit.record(
                about_user(
                    f"user.{verb}",
                    unit.now,
                    vo,
                    new.sub,
                    actor=issuer,
                    username=new.username,
                    groups=list(new.groups),
                )
            )
        return new

    async def confirm(self, member: Member) -> None:
        """Ask the provider again about a person whose session is to go on, and keep what it says.

        Somebody else may be asking at this moment; then what they wrote last is good enough.

        Raises:
            OAuthError: It does not stand by the login any more; all sessions of the person are ended.
            UnavailableError: It has not answered for too long.
        """
        vo, sub = member.vo, member.sub
        rules = await self.rules(vo)
        if rules.provider is None and member.declared:
            return
        async with self._units.write() as unit:
            # First: what is read before may be what somebody else has just used up.
            claimed = await unit.accounts.claim(vo, sub, unit.now, unit.now + _LEASE)
            account = await unit.accounts.find(vo, sub)
            if account is None:
                return
            stands = rules.provider is not None and account.issuer == rules.provider.issuer
            grant = self._opened(account) if stands else None
            if grant is None:
                await self._end(unit, account)
        if grant is None:
            raise OAuthError("invalid_grant", f"the login at {account.issuer} is over", hint=_AGAIN)
        if not claimed:
            self._demand_fresh(account, rules)
            return
        await self._ask(account, grant, rules)

    async def _ask(self, account: AccountRecord, grant: Grant, rules: LoginRules) -> None:
        vo, sub = account.vo, account.sub

        async def kept(given: Grant) -> None:
            try:
                async with self._units.single() as unit:
                    await unit.accounts.regrant(vo, sub, self._sealed(vo, sub, given))
            except DiracError as error:
                raise _NotKept from error

        try:
            _, settings, provider = await self.provider(vo)
            proof = await provider.again(sub, grant, kept)
        except _NotKept as error:
            raise error.__cause__ or error from None  # it is no fault of the provider's
        except LoginEndedError as error:
            async with self._units.write() as unit:
                await self._end(unit, account)
            raise OAuthError("invalid_grant", error.message, hint=_AGAIN) from None
        except DiracError as error:
            log.warning("the identity provider of %s cannot be asked: %s", vo, error)
            async with self._units.write() as unit:
                await unit.accounts.release(vo, sub)
            self._demand_fresh(account, rules)
            return
        async with self._units.write() as unit:
            await self.keep(unit, vo, rules, settings.issuer, proof)

    async def shut_out(self, unit: Unit, vo: str, subs: Sequence[str]) -> None:
        """End the sessions and access tokens of people."""
        ends = unit.now + timedelta(seconds=self._seconds)
        await unit.revocations.put([RevocationRecord("person", vo, sub, unit.now, ends) for sub in subs])
        await unit.sessions.revoke_of(vo, subs)

    async def _end_sessions(self, unit: Unit, vo: str, sub: str) -> int:
        """End what was begun so far: whoever logs in at this moment is not meant."""
        families = {record.family for record in await unit.sessions.active(vo, sub, unit.now)}
        return await end_sessions(unit, families, self._seconds)

    async def _end(self, unit: Unit, account: AccountRecord) -> None:
        await unit.accounts.end(account.vo, account.sub)
        if await self._end_sessions(unit, account.vo, account.sub):
            unit.record(about_user("session.ended", unit.now, account.vo, account.sub, actor=account.issuer))

    def _demand_fresh(self, account: AccountRecord, rules: LoginRules) -> None:
        if self._clock.now() - account.checked > timedelta(seconds=rules.offline_seconds):
            raise UnavailableError(
                f"the identity provider {account.issuer} has not answered since {account.checked:%F %H:%M}",
                hint="Try again later",
                retry_after=60.0,
            )

    def _sealed(self, vo: str, sub: str, grant: Grant) -> bytes:
        return self._seal.close(msgspec.json.encode(grant), f"{vo}\n{sub}")

    def _opened(self, account: AccountRecord) -> Grant | None:
        if account.sealed is None:
            return None
        opened = self._seal.open(account.sealed, f"{account.vo}\n{account.sub}")
        if opened is None:
            log.error("what the provider gave for %s was not sealed with this master key", account.vo)
            return None
        return msgspec.json.decode(opened, type=Grant)
