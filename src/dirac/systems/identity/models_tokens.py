"""Tokens, clients and pilots' secrets: values shared by client and server."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dirac.systems.identity.models import Property


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client sends to the token endpoint (RFC 6749, 7636, 8628, 8693); which of it, the grant says."""

    grant_type: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    client_assertion_type: str | None = None
    client_assertion: str | None = None
    device_code: str | None = None
    code: str | None = None
    redirect_uri: str | None = None
    code_verifier: str | None = None
    refresh_token: str | None = None
    scope: str | None = None
    subject_token: str | None = None
    subject_token_type: str | None = None
    requested_token_type: str | None = None
    actor_token: str | None = None
    audience: str | None = None
    resource: str | None = None


class CapabilityIssuer(msgspec.Struct, frozen=True):
    """What those need to know who verify the tokens of a VO for storage and computing elements (RFC 8414)."""

    issuer: str
    jwks_uri: str
    token_endpoint: str
    scopes_supported: list[str]
    grant_types_supported: tuple[str, ...] = ("urn:ietf:params:oauth:grant-type:token-exchange",)
    response_types_supported: tuple[str, ...] = ("token",)
    subject_types_supported: tuple[str, ...] = ("public",)
    id_token_signing_alg_values_supported: tuple[str, ...] = ("ES256",)


class TokenQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What a client sends to have a token revoked (RFC 7009), or to learn of one (RFC 7662)."""

    token: str | None = None
    token_type_hint: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    client_assertion_type: str | None = None
    client_assertion: str | None = None


class Introspection(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a token is good for (RFC 7662, section 2.2), with the claims of ours."""

    active: bool
    scope: str = ""
    client_id: str = ""
    username: str = ""
    token_type: str = ""
    exp: int | None = None
    iat: int | None = None
    nbf: int | None = None
    sub: str = ""
    aud: str = ""
    iss: str = ""
    jti: str = ""
    vo: str = ""
    kind: str = ""
    dirac_group: str = ""
    dirac_properties: list[str] | None = None
    pilot_stamp: str = ""
    job_id: int | None = None
    attempt: int | None = None
    act: dict[str, Any] | None = None


class ClientRegistration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A confidential client to be registered.

    Attributes:
        client_id: Its name.
        vo: The VO that it belongs to; empty for one of the installation.
        properties: What it may do at most.
        jwks: Its public keys (RFC 7517), if it signs assertions (RFC 7523) instead of showing a secret.
    """

    client_id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)")]
    vo: Annotated[str, Meta(max_length=64)] = ""
    properties: Annotated[list[Property], Meta(max_length=20)] = []
    jwks: dict[str, Any] | None = None


class ClientInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A registered client.

    Attributes:
        client_secret: Its secret, in the answer to its registration only.
        jwks: Its public keys, if it has no secret.
    """

    client_id: str
    vo: str
    properties: list[str]
    created: datetime
    created_by: str
    client_secret: str | None = None
    jwks: dict[str, Any] | None = None


class SecretOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Secrets for pilots that are started elsewhere.

    Attributes:
        site: Where these pilots are.
        ce: Their computing element there.
        vo: Their VO; the caller's if empty.
        count: How many secrets.
        uses: How many pilots may log in with each.
        seconds: For how long.
    """

    site: Annotated[str, Meta(min_length=1, max_length=128)]
    ce: Annotated[str, Meta(min_length=1, max_length=128)]
    vo: Annotated[str, Meta(max_length=64)] = ""
    count: Annotated[int, Meta(ge=1, le=1000)] = 1
    uses: Annotated[int, Meta(ge=1, le=100_000)] = 1
    seconds: Annotated[int, Meta(ge=60, le=30 * 86400)] = 86400


class IssuedSecret(msgspec.Struct, frozen=True):
    """A secret for pilots, which is seen this once."""

    pilot_secret: str
    vo: str
    site: str
    ce: str
    uses: int
    expires: datetime


class RevocationOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose tokens are to be good no longer.

    Attributes:
        kind: What `name` names.
        name: A stamp, a site, a VO, or a user's name or subject.
        vo: The VO, for an operator of the installation; everybody else's is their own.
    """

    kind: Literal["pilot", "site", "vo", "user"]
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    vo: Annotated[str, Meta(max_length=64)] = ""


class RevocationReceipt(msgspec.Struct, frozen=True):
    """What was revoked.

    Attributes:
        kind: As it was asked for.
        name: The name that it has in tokens.
        vo: The VO; empty for all.
        sessions: Logins that were ended.
        secrets: Secrets of pilots that were not used up.
        nodes: Credentials of worker nodes.
        within_seconds: When the last server refuses the tokens.
        proxies: Proxies that were kept; what was made of them opens no door here either.
        certificates: Names of certificates of those whom this is about. They go on opening doors, as do the
            proxies that their owners make of them: suspend the user.
    """

    kind: str
    name: str
    vo: str
    sessions: int
    secrets: int
    nodes: int
    within_seconds: int
    proxies: int = 0
    certificates: int = 0


class HeldSession(msgspec.Struct, frozen=True):
    """A login that can be continued."""

    jti: str
    client_id: str
    scope: str
    created: datetime
    expires: datetime


class HeldUser(msgspec.Struct, frozen=True):
    """A user who is logged in."""

    sub: str
    username: str
    sessions: list[HeldSession]


class HeldRun(msgspec.Struct, frozen=True):
    """A run of a job, which has a token."""

    job_id: int
    attempt: int


class HeldPilot(msgspec.Struct, frozen=True):
    """A pilot that has logged in.

    Attributes:
        stamp: Which.
        ce: Its computing element; empty if that is not known.
        since: When it logged in.
        status: How it is by its record; empty if it has none. What has ended holds a token that ends soon.
        runs: The runs that it holds.
    """

    stamp: str
    ce: str
    since: datetime
    status: str
    runs: list[HeldRun]


class HeldNodes(msgspec.Struct, frozen=True):
    """A credential of the worker nodes of a computing element; its secret is not kept."""

    credential_id: str
    ce: str
    since: datetime


class HeldSite(msgspec.Struct, frozen=True):
    """Who holds what at a site.

    Attributes:
        name: The site; empty where it is not known.
        unused: Pilots' secrets that nobody has used.
        issued: Uses that are left of the secrets that were issued in bulk.
        logged_in: Pilots that have logged in.
        pilots: The latest of them.
        nodes: Credentials of its worker nodes, which are of no VO.
    """

    name: str
    unused: int
    issued: int
    logged_in: int
    pilots: list[HeldPilot]
    nodes: list[HeldNodes] = []


class HeldVO(msgspec.Struct, frozen=True):
    """Who holds what in a VO."""

    name: str
    users: list[HeldUser]
    sites: list[HeldSite]
    clients: list[str]


class Holders(msgspec.Struct, frozen=True):
    """Who holds credentials.

    Attributes:
        vos: By VO; the one without a name is the installation.
        complete: Whether no login or pilot was left out because there were too many.
    """

    vos: list[HeldVO]
    complete: bool
