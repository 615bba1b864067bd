"""Logins in a browser that have more than one step: at an outside provider, and with something to accept.

A browser that begins gets a cookie, and what it carries from step to step is good with that cookie only:
whoever makes somebody else's browser follow an address gains nothing. Who comes back from a provider is asked
whether the login is theirs, since a provider that knows its people answers without asking.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import timedelta

import msgspec

from dirac.core.entropy import Entropy
from dirac.core.errors import DiracError, InvalidInputError, NotAllowedError, NotFoundError
from dirac.core.unit import Units
from dirac.resources.identity.outside import Begin, Proof
from dirac.systems.identity.logic.access import grant
from dirac.systems.identity.logic.accounts import Accounts
from dirac.systems.identity.logic.authorizations import AuthorizationRequest, Authorizations
from dirac.systems.identity.logic.compact import encoded
from dirac.systems.identity.logic.devices import Devices
from dirac.systems.identity.logic.events import about_user
from dirac.systems.identity.logic.oauth import digest
from dirac.systems.identity.logic.provider_claims import LoginRules, admitted
from dirac.systems.identity.logic.registry import check_subject
from dirac.systems.identity.logic.sealing import subkey
from dirac.systems.identity.models import AcceptableUse
from dirac.systems.identity.ports.logins import LoginRecord, LoginStage, Scope
from dirac.systems.identity.ports.registry import Member
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

RETURN_PATH = "/api/auth/device/complete"
"""Where providers send people back to; to be registered there, behind the address of the installation."""

_RANDOM = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_SHOWN = 10  # values of claims in a message


class Waiting(msgspec.Struct, frozen=True):
    """What waits for a login: a device, by its code, or a program, by what it asked for."""

    vo: str
    user_code: str | None = None
    request: AuthorizationRequest | None = None


class Onward(msgspec.Struct, frozen=True):
    """Where the browser goes, and the cookie that it is to have."""

    address: str
    cookie: str


class Known(msgspec.Struct, frozen=True):
    """Somebody of whom we know who it is, and who is to say whether the login is wanted.

    Attributes:
        state: What the browser carries to the next step.
        cookie: The cookie that it is to have.
        member: Who it is.
        waiting: What waits.
        scope: What is asked for.
        client: The program.
        policy: What has to be accepted.
    """

    state: str
    cookie: str
    member: Member
    waiting: Waiting
    scope: Scope
    client: str
    policy: AcceptableUse | None


class Decided(msgspec.Struct, frozen=True):
    """How a login ended.

    Attributes:
        waiting: What waited.
        allowed: Whether the person wanted it.
        code: The code for the program, if one waited.
    """

    waiting: Waiting
    allowed: bool
    code: str = ""


class Logins:
    """Takes logins from step to step.

    Args:
        units: Where they are kept.
        accounts: Speaks to providers.
        devices: Devices that wait.
        authorizations: Programs that wait.
        entropy: Where states and cookies come from.
        settings: Our own address; how long a login may take.
    """

    def __init__(
        self,
        units: Units[Unit],
        accounts: Accounts,
        devices: Devices,
        authorizations: Authorizations,
        entropy: Entropy,
        settings: IdentitySettings,
    ) -> None:
        self._units = units
        self._accounts = accounts
        self._devices = devices
        self._authorizations = authorizations
        self._entropy = entropy
        self._settings = settings
        self._key = subkey(settings.master_key, "logins of several steps")

    async def outside(self, vo: str) -> str | None:
        """Return the provider at which people of a VO log in, None if they type a password here."""
        provider = (await self._accounts.rules(vo)).provider
        return None if provider is None else provider.issuer

    async def begin(self, waiting: Waiting, cookie: str) -> Onward:
        """Send a browser to the VO's provider.

        Args:
            waiting: What waits for the login.
            cookie: The one that the browser has, empty if it has none.

        Raises:
            UnavailableError: The provider does not answer.
        """
        _, _, provider = await self._accounts.provider(waiting.vo)
        state, cookie = self._random(), cookie if _RANDOM.match(cookie) else self._random()
        address = await provider.begin(self._begin(state))
        async with self._units.write() as unit:
            await unit.logins.add(self._record(unit, waiting, state, cookie, "Begun", None))
        return Onward(address, cookie)

    async def hold(self, member: Member, waiting: Waiting, cookie: str) -> Known | None:
        """Have somebody who typed the right password accept what is to be accepted; None if nothing is."""
        rules = await self._accounts.rules(waiting.vo)
        if rules.policy is None:
            return None
        state, cookie = self._random(), cookie if _RANDOM.match(cookie) else self._random()
        async with self._units.write() as unit:
            policy = await self._accounts.pending_policy(unit, rules, member.vo, member.sub)
            if policy is None:
                return None
            await unit.logins.add(self._record(unit, waiting, state, cookie, "Known", member.sub))
        return await self._known(state, cookie, member, waiting, policy)

    async def returned(self, state: str, cookie: str, code: str, issuer: str, error: str) -> Known:
        """Find out who came back from a provider.

        Args:
            state: What we gave the browser.
            cookie: What only the browser has that began.
            code: What the provider gave it for us.
            issuer: Who says so (RFC 9207).
            error: Why the provider gave it nothing.

        Raises:
            NotFoundError: Nothing like that is waited for.
            UnauthenticatedError: The provider does not stand by it.
            NotAllowedError: The provider refuses, or the person may not log in here.
            UnavailableError: The provider does not answer.
        """
        record = await self._waited_for(state, cookie, "Begun")
        async with self._units.write() as unit:
            if not await unit.logins.move(digest(state), "Begun", "Asked", None):
                raise _nothing_waits()
        if error or not code:
            raise NotAllowedError(
                f"the identity provider refuses: {error[:100] or 'it gave no code'}",
                hint="Start the login again on your device",
            )
        rules, settings, provider = await self._accounts.provider(record.vo)
        proof = await provider.finish(self._begin(state), code, issuer)
        check_subject(record.vo, proof.person.sub)
        async with self._units.write() as unit:
            outcome = await self._admit(unit, record, rules, settings.issuer, proof)
            if isinstance(outcome, Member):
                await unit.logins.move(digest(state), "Asked", "Known", outcome.sub)
                policy = await self._accounts.pending_policy(unit, rules, record.vo, outcome.sub)
        if not isinstance(outcome, Member):
            raise outcome
        return await self._known(state, cookie, outcome, _waiting(record), policy)

    async def decide(self, state: str, cookie: str, *, allow: bool, accepted: str) -> Decided | Known:
        """End a login as the person wants, or return it if something was not accepted.

        Args:
            state: What the browser carries.
            cookie: What only the browser has that began.
            allow: Whether the login is wanted.
            accepted: Version of the policy that the person accepts.

        Raises:
            NotFoundError: Nothing like that is waited for.
            NotAllowedError: The person may not have what was asked for.
        """
        record = await self._waited_for(state, cookie, "Known")
        waiting, sub = _waiting(record), record.sub or ""
        rules = await self._accounts.rules(record.vo)
        async with self._units.write() as unit:
            member = await unit.registry.member(record.vo, sub=sub)
            if member is None:
                raise _nothing_waits()
            policy = await self._accounts.pending_policy(unit, rules, record.vo, sub) if allow else None
            willing = policy is None or accepted == policy.version
            if willing and not await unit.logins.move(digest(state), "Known", "Done", sub):
                raise _nothing_waits()
            if policy is not None and willing:
                await unit.accounts.accept(record.vo, sub, policy.version, unit.now)
                unit.record(
                    about_user("user.policy-accepted", unit.now, record.vo, sub, version=policy.version)
                )
        if not willing:
            return await self._known(state, cookie, member, waiting, policy)
        if waiting.request is not None:
            code = await self._authorizations.approve(waiting.request, member) if allow else ""
            return Decided(waiting, allow, code)
        if allow:
            await self._devices.approve(waiting.user_code or "", member)
        else:
            await self._devices.refuse(waiting.user_code or "")
        return Decided(waiting, allow)

    async def _admit(
        self, unit: Unit, record: LoginRecord, rules: LoginRules, issuer: str, proof: Proof
    ) -> Member | DiracError:
        """Return who somebody is here; a refusal is returned, so that the unit can commit."""
        person = proof.person
        known = await unit.registry.member(record.vo, sub=person.sub)
        if not (known is not None and known.declared) and not admitted(rules, person.values):
            unit.record(about_user("login.refused", unit.now, record.vo, person.sub, actor=issuer))
            said = ", ".join(sorted(person.values)[:_SHOWN])
            return NotAllowedError(
                f"you are not a member of {record.vo!r}: none of its groups is yours",
                hint=f"{issuer} says of you: {said or 'no groups'}. Ask the managers of the VO",
            )
        await self._accounts.keep(unit, record.vo, rules, issuer, proof)
        member = await unit.registry.member(record.vo, sub=person.sub)
        return member if member is not None else _nothing_waits()

    async def _known(
        self, state: str, cookie: str, member: Member, waiting: Waiting, policy: AcceptableUse | None
    ) -> Known:
        """Return a login whose person is known.

        Raises:
            NotFoundError: What waited does not any more.
            NotAllowedError: The person may not have what was asked for.
        """
        if waiting.request is not None:
            scope, client = await self._authorizations.check(waiting.request), waiting.request.client_id
        else:
            device = await self._devices.pending(waiting.user_code or "")
            scope, client = device.scope, device.client_id
        grant(member, scope)
        return Known(state, cookie, member, waiting, scope, client, policy)

    async def _waited_for(self, state: str, cookie: str, stage: LoginStage) -> LoginRecord:
        async with self._units.read() as unit:
            record = await unit.logins.find(digest(state)) if _RANDOM.match(state) else None
            if record is None or record.stage != stage or record.expires <= unit.now:
                raise _nothing_waits()
        if not hmac.compare_digest(record.cookie_digest, digest(cookie)):
            raise InvalidInputError(
                "this login was begun in another browser",
                hint="Allow cookies for this page, and go through the login in one browser",
            )
        return record

    def _record(
        self, unit: Unit, waiting: Waiting, state: str, cookie: str, stage: LoginStage, sub: str | None
    ) -> LoginRecord:
        return LoginRecord(
            state_digest=digest(state),
            cookie_digest=digest(cookie),
            vo=waiting.vo,
            user_code=waiting.user_code,
            request=None if waiting.request is None else msgspec.structs.asdict(waiting.request),
            stage=stage,
            sub=sub,
            expires=unit.now + timedelta(seconds=self._settings.device_seconds),
        )

    def _begin(self, state: str) -> Begin:
        """Return what belongs to a state; only who has the master key can, and nothing of it is kept."""
        return Begin(
            state=state,
            nonce=self._derived("nonce", state),
            verifier=self._derived("verifier", state),
            redirect_uri=self._settings.issuer + RETURN_PATH,
        )

    def _derived(self, what: str, state: str) -> str:
        return _text(hmac.digest(self._key, f"{what} {state}".encode(), hashlib.sha256))

    def _random(self) -> str:
        return _text(self._entropy.bytes(32))


def _waiting(record: LoginRecord) -> Waiting:
    request = record.request
    return Waiting(record.vo, record.user_code, None if request is None else AuthorizationRequest(**request))


def _text(raw: bytes) -> str:
    return encoded(raw).decode()


def _nothing_waits() -> NotFoundError:
    return NotFoundError(
        "no login waits for this answer", hint="It may be too old; start the login again on your device"
    )
