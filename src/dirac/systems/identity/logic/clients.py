"""Confidential clients (RFC 6749, section 2.1): programs with a secret, kept as a digest, or with keys."""

from __future__ import annotations

import hmac
from typing import Protocol

from dirac.core.entropy import Entropy
from dirac.core.errors import ConflictError, InvalidInputError, NotFoundError
from dirac.core.time import Clock
from dirac.core.unit import Event, Units
from dirac.resources.identity.client_key import ASSERTION
from dirac.systems.identity.logic.assertions import check_keys, proved, who_claims
from dirac.systems.identity.logic.compact import encoded
from dirac.systems.identity.logic.oauth import ClientError, OAuthError, digest, known_client, narrowed
from dirac.systems.identity.logic.revocations import Revocations
from dirac.systems.identity.logic.tokens import BEARER, Tokens
from dirac.systems.identity.models import Identity, Property, TokenResponse
from dirac.systems.identity.models_tokens import ClientInfo, ClientRegistration
from dirac.systems.identity.ports.tokens import ClientRecord, RevocationRecord
from dirac.systems.identity.ports.unit import Unit
from dirac.systems.identity.settings import IdentitySettings

# What an operator of the installation may do is not for a client of one VO.
_INSTALLATION = frozenset({Property.SERVICE_ADMINISTRATOR, Property.CS_ADMINISTRATOR, Property.OPERATOR})
_LONGEST_SECRET = 255


class Shown(Protocol):
    """What a request shows of who makes it."""

    @property
    def client_id(self) -> str | None: ...  # noqa: D102 - RFC 6749, 2.3.1

    @property
    def client_secret(self) -> str | None: ...  # noqa: D102

    @property
    def client_assertion_type(self) -> str | None: ...  # noqa: D102 - RFC 7521, 4.2

    @property
    def client_assertion(self) -> str | None: ...  # noqa: D102


class Clients:
    """Registers clients, knows them again, and gives them tokens of their own.

    Args:
        units: Where they are kept.
        tokens: Makes tokens.
        revocations: Is told when a client is removed.
        entropy: Where secrets come from.
        settings: Names that are taken; lengths of lives; for whom assertions are.
        clock: When assertions are good.
    """

    def __init__(
        self,
        units: Units[Unit],
        tokens: Tokens,
        revocations: Revocations,
        entropy: Entropy,
        settings: IdentitySettings,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._units = units
        self._tokens = tokens
        self._revocations = revocations
        self._entropy = entropy
        self._settings = settings

    async def register(self, identity: Identity, wanted: ClientRegistration) -> ClientInfo:
        """Register a client; its secret, if it has no keys, is in the answer, and nowhere else ever.

        Raises:
            InvalidInputError: There is no such VO, or a client of it may not have such a property; or its
                keys are of no use.
            ConflictError: The name is taken.
        """
        secret: str | None = None
        if wanted.jwks is not None:
            check_keys(wanted.jwks)
        else:
            secret = encoded(self._entropy.bytes(32)).decode()
        if wanted.vo and (refused := sorted(_INSTALLATION.intersection(wanted.properties))):
            raise InvalidInputError(
                f"a client of the VO {wanted.vo!r} cannot have the property {refused[0]}",
                where="properties",
                hint="Register one of the installation, without a VO",
            )
        async with self._units.write() as unit:
            if wanted.vo and not await unit.registry.outlines(wanted.vo):
                raise InvalidInputError(f"there is no VO {wanted.vo!r} here", where="vo")
            properties = tuple(sorted(set(map(str, wanted.properties))))
            record = ClientRecord(
                client_id=wanted.client_id,
                vo=wanted.vo,
                properties=properties,
                secret_digest=digest(secret) if secret else "",
                created=unit.now,
                created_by=identity.subject,
                jwks=wanted.jwks,
            )
            taken = wanted.client_id in self._settings.client_ids
            if taken or not await unit.clients.add(record):
                raise ConflictError(
                    f"there is a client {wanted.client_id!r} already", hint="Remove it, or use another name"
                )
            unit.record(_event("registered", unit, record, identity.subject))
        return _info(record, secret)

    async def all(self) -> list[ClientInfo]:
        """Return all clients, in order of names."""
        async with self._units.read() as unit:
            return [_info(record) for record in await unit.clients.all()]

    async def remove(self, identity: Identity, client_id: str) -> None:
        """Remove a client; the tokens that it has are refused from now on.

        Raises:
            NotFoundError: There is none of that name.
        """
        async with self._units.write() as unit:
            record = await unit.clients.find(client_id)
            if record is None or not await unit.clients.remove(client_id):
                raise NotFoundError(f"there is no client {client_id!r}", hint="See: dirac auth clients")
            ends = unit.now + self._tokens.longest
            await unit.revocations.put([RevocationRecord("client", "", client_id, unit.now, ends)])
            unit.record(_event("removed", unit, record, identity.subject))
        self._revocations.expect()

    async def authenticate(self, shown: Shown) -> ClientRecord:
        """Return the client that shows its secret, or an assertion that it has signed.

        Raises:
            ClientError: There is none, or what it shows is not its.
            OAuthError: It shows both.
        """
        if not shown.client_assertion and not shown.client_assertion_type:
            return await self._with_secret(shown.client_id, shown.client_secret)
        if shown.client_secret:
            raise OAuthError("invalid_request", "the client shows who it is in two ways", hint="Use one")
        if shown.client_assertion_type != ASSERTION or not shown.client_assertion:
            raise ClientError(f"the client_assertion_type has to be {ASSERTION}, with a client_assertion")
        return await self._with_assertion(shown.client_id, shown.client_assertion)

    async def _with_assertion(self, client_id: str | None, assertion: str) -> ClientRecord:
        name = who_claims(assertion)
        if client_id and client_id != name:
            raise ClientError("the client_assertion is of another client")
        async with self._units.read() as unit:
            record = await unit.clients.find(name) if len(name) <= _LONGEST_SECRET else None
        if record is None or record.jwks is None:
            raise ClientError("there is no such client, or it has no keys")
        said = await proved(assertion, record, self._settings, self._clock)
        async with self._units.write() as unit:
            if not await unit.clients.use(record.client_id, said.jti, said.expires):
                raise ClientError("the client_assertion was shown before: make a new one for each request")
        return record

    async def _with_secret(self, client_id: str | None, secret: str | None) -> ClientRecord:
        if not client_id or not secret:
            raise ClientError("the client has to show its secret")
        record = None
        if max(len(client_id), len(secret)) <= _LONGEST_SECRET:
            async with self._units.read() as unit:
                record = await unit.clients.find(client_id)
        kept = record.secret_digest if record is not None else ""
        # Compared even if there is no client: how long it takes does not tell.
        if not hmac.compare_digest(digest(secret), kept) or record is None:
            raise ClientError("there is no such client, or the secret is not its")
        return record

    async def known(self, shown: Shown) -> ClientRecord | None:
        """Return the client that proves who it is, None for one of those that cannot.

        Raises:
            OAuthError: It is neither.
        """
        if shown.client_secret or shown.client_assertion or shown.client_assertion_type:
            return await self.authenticate(shown)
        known_client(self._settings, shown.client_id)
        return None

    async def grant(self, client: ClientRecord, scope: str | None) -> TokenResponse:
        """Give a client a token of its own (RFC 6749, section 4.4).

        Raises:
            OAuthError: It asks for more than it may have.
        """
        properties = narrowed(scope, client.vo, "", frozenset(client.properties))
        token, seconds = await self._tokens.client_token(client, properties)
        parts = [f"vo:{client.vo}"] if client.vo else []
        shown = " ".join([*parts, *(f"property:{name}" for name in sorted(properties))])
        return TokenResponse(token, seconds, BEARER, scope=shown or None)


def _info(record: ClientRecord, secret: str | None = None) -> ClientInfo:
    return ClientInfo(
        client_id=record.client_id,
        vo=record.vo,
        properties=list(record.properties),
        created=record.created,
        created_by=record.created_by,
        client_secret=secret,
        jwks=record.jwks,
    )


def _event(verb: str, unit: Unit, record: ClientRecord, actor: str) -> Event:
    return Event(
        kind=f"identity.client.{verb}",
        vo=record.vo,
        subject_kind="client",
        subject_id=record.client_id,
        time=unit.now,
        actor=actor,
        data={"properties": list(record.properties)},
    )
