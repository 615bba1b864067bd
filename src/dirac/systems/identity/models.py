"""Who somebody is and what they may do: values shared by client and server."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["user", "pilot", "job", "service", "node"]


class Property(StrEnum):
    """What a group may do; the names are DIRAC's."""

    NORMAL_USER = "NormalUser"
    JOB_ADMINISTRATOR = "JobAdministrator"
    SERVICE_ADMINISTRATOR = "ServiceAdministrator"
    OPERATOR = "Operator"
    CS_ADMINISTRATOR = "CSAdministrator"
    PROXY_MANAGEMENT = "ProxyManagement"
    GENERIC_PILOT = "GenericPilot"
    JOB_SHARING = "JobSharing"
    TRUSTED_HOST = "TrustedHost"
    FULL_DELEGATION = "FullDelegation"
    LIMITED_DELEGATION = "LimitedDelegation"
    VO_ADMINISTRATOR = "VOAdministrator"


class Place(msgspec.Struct, frozen=True, order=True):
    """A site, or one computing element of it.

    Attributes:
        site: Its name.
        ce: Of the computing element; empty for the whole site.
    """

    site: str
    ce: str = ""

    def covers(self, site: str | None, ce: str | None) -> bool:
        """Tell whether a place is this one, or within it."""
        return self.site == site and self.ce in ("", ce)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The bearer of an access token: always a pair of VO and subject, never a name alone.

    Attributes:
        vo: The virtual organisation; empty for the installation's own services, and for worker nodes.
        sub: Subject within the VO, as its identity provider has it.
        username: For people to read; not unique, never compared.
        group: The group the token was issued for.
        properties: What the group may do, plus what was asked for and granted.
        kind: A person, a pilot, one run of one job, a service of the installation, or a worker node that
            starts pilots itself.
        token_id: Identifier (``jti``) of the token.
        expires: End of the token's life.
        stamp: The pilot's stamp, for tokens of pilots and jobs.
        job_id: The one job that a job's token is for.
        attempt: The one run of that job; effects of a token of an older run are refused.
        owner_sub: Subject of the job's owner, for tokens of jobs.
        site: The one site that a node's credential is for.
        ce: The one computing element of that site.
        certificate: Name of the certificate that was shown in place of a token, or of that of the user for
            whom a trusted host acts; empty for tokens.
        limited: Whether that was a limited proxy, which has no properties and is not to become anything else.
        acting: Name of the host that acts for the user with its certificate; empty if none does.
        manages: What the configuration says that this person looks after.
    """

    vo: str
    sub: str
    username: str
    group: str
    properties: frozenset[str]
    kind: Kind
    token_id: str
    expires: datetime
    stamp: str = ""
    job_id: int | None = None
    attempt: int | None = None
    owner_sub: str = ""
    site: str = ""
    ce: str = ""
    certificate: str = ""
    limited: bool = False
    acting: str = ""
    manages: frozenset[Place] = frozenset()

    @property
    def subject(self) -> str:
        """``vo:sub``, the form in tokens and in the history."""
        return f"{self.vo}:{self.sub}"

    def looks_after(self, site: str | None, ce: str | None = None) -> bool:
        """Tell whether this person looks after a site, or after a computing element there."""
        return any(place.covers(site, ce) for place in self.manages)


class TokenResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answer of the token endpoint (RFC 6749, section 5.1; RFC 8693, section 2.2.1)."""

    access_token: str
    expires_in: int
    token_type: str  # not a default: those are omitted, and this must not be
    refresh_token: str | None = None
    issued_token_type: str | None = None
    scope: str | None = None


class DeviceFlow(msgspec.Struct, frozen=True):
    """Answer of the device authorisation endpoint (RFC 8628, section 3.2)."""

    user_code: str
    device_code: str
    verification_uri_complete: str
    verification_uri: str
    expires_in: int
    interval: int = 2


class UserInfo(msgspec.Struct, frozen=True):
    """The claims of an access token."""

    sub: str
    vo: str
    dirac_group: str
    policies: dict[str, Any]
    properties: list[str]
    preferred_username: str


class PilotLogin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a pilot presents once: the secret that was made for its stamp."""

    pilot_stamp: str
    pilot_secret: str
    vo: str


class RegisteredGroup(msgspec.Struct, frozen=True):
    """A group of a VO, as the configuration declares it."""

    name: str
    properties: tuple[str, ...]


class RegisteredUser(msgspec.Struct, frozen=True):
    """A user of a VO, as the configuration declares it."""

    username: str
    sub: str
    groups: tuple[str, ...]
    suspended: bool = False
    dns: tuple[str, ...] = ()


class RegisteredHost(msgspec.Struct, frozen=True):
    """A host that may call with its certificate, as the configuration declares it."""

    name: str
    dn: str
    properties: tuple[str, ...] = ()


class RegisteredVO(msgspec.Struct, frozen=True):
    """A virtual organisation, as the configuration declares it."""

    name: str
    default_group: str
    groups: tuple[RegisteredGroup, ...]
    users: tuple[RegisteredUser, ...]
    support: dict[str, str | None] = {}
    identity_provider: str = "password"


class ProxyRequest(msgspec.Struct, frozen=True):
    """A request that its owner signs: a key that was made on the server, and never leaves it."""

    proxy_id: str
    csr: str
    expires: datetime


class SignedProxy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to it: a proxy of that key, and what leads to its authority (PEM)."""

    chain: str


class ProxyInfo(msgspec.Struct, frozen=True):
    """A proxy that the server keeps for somebody, without its key."""

    proxy_id: str
    vo: str
    sub: str
    dirac_group: str
    subject: str
    limited: bool
    created: datetime
    expires: datetime


class Delegation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request for a proxy of a kept one.

    Attributes:
        csr: Request for a certificate (PKCS #10, PEM) of the key that it is for.
        dirac_group: The group; that of the caller if absent.
        sub: Whose; the caller's own if absent.
        vo: The VO, for hosts, which have none.
        seconds: How long it is to be good.
        limited: Whether it is to be limited.
    """

    csr: str
    dirac_group: str | None = None
    sub: str | None = None
    vo: str | None = None
    seconds: int = 43_200
    limited: bool = False


class DelegatedProxy(msgspec.Struct, frozen=True):
    """A proxy and what leads to its authority (PEM); its key is with who asked."""

    chain: str
    expires: datetime


class AcceptableUse(msgspec.Struct, frozen=True):
    """What the members of a VO have to accept before they get a token.

    Attributes:
        version: Who accepted another one is asked again.
        text: What it says.
    """

    version: str
    text: str


class SessionToken(msgspec.Struct, frozen=True):
    """A refresh token that is in use, without the token itself; names are those of DiracX."""

    jti: str = msgspec.field(name="JTI")
    status: str = msgspec.field(name="Status")
    scope: str = msgspec.field(name="Scope")
    sub: str = msgspec.field(name="Sub")
    client_id: str = msgspec.field(name="ClientID")
    created: datetime = msgspec.field(name="Created")
    expires: datetime = msgspec.field(name="Expires")


class GroupInfo(msgspec.Struct, frozen=True):
    """What members of a group may do."""

    properties: list[str]


class SupportInfo(msgspec.Struct, frozen=True):
    """Whom the members of a VO may ask."""

    message: str
    webpage: str | None
    email: str | None


class VOInfo(msgspec.Struct, frozen=True):
    """What somebody needs to know of a VO to log in."""

    groups: dict[str, GroupInfo]
    support: SupportInfo
    default_group: str


class Metadata(msgspec.Struct, frozen=True):
    """The VOs of an installation (``/.well-known/dirac-metadata``)."""

    virtual_organizations: dict[str, VOInfo]


class OpenIDConfiguration(msgspec.Struct, frozen=True):
    """What a client needs to know of the authorisation server (RFC 8414)."""

    issuer: str
    token_endpoint: str
    userinfo_endpoint: str
    authorization_endpoint: str
    device_authorization_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    grant_types_supported: list[str]
    scopes_supported: list[str]
    response_types_supported: list[str]
    token_endpoint_auth_signing_alg_values_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    code_challenge_methods_supported: list[str]
    introspection_endpoint: str
    introspection_endpoint_auth_methods_supported: list[str]
    revocation_endpoint_auth_methods_supported: list[str]
    introspection_endpoint_auth_signing_alg_values_supported: list[str] = []


class PublicKey(msgspec.Struct, frozen=True):
    """A key that verifies this installation's tokens (RFC 8037)."""

    kid: str
    x: str
    kty: str = "OKP"
    crv: str = "Ed25519"
    alg: str = "EdDSA"
    use: str = "sig"
    key_ops: tuple[str, ...] = ("verify",)


class PublicKeys(msgspec.Struct, frozen=True):
    """All keys that verify this installation's tokens (RFC 7517, section 5)."""

    keys: list[PublicKey]


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the audit log.

    Attributes:
        time: When the transaction began that did it, or that noted that it was not done.
        vo: The VO that was acted on, if it is one; the caller's, if nothing was done.
        actor: Who did it, as ``vo:sub``.
        token_id: The token that was shown.
        properties: The rights that it took, with commas.
        verb: What was done: an operation of the API's description.
        objects: On what, as ``kind:id``, with commas; the first ones, if there is no room for more.
        object_count: How many there were.
        outcome: ``Done``, ``Refused`` or ``Failed``.
        status: Of the answer, 0 if it was done.
        detail: What the answer said, if it was not done.
        needs: What would have opened the door.
        request_id: Also in the answer, and in the logs of the processes.
        source: Address that the request came from.
    """

    time: datetime
    vo: str
    actor: str
    username: str
    actor_kind: str
    actor_group: str
    token_id: str
    properties: str
    verb: str
    method: str
    path: str
    objects: str
    object_count: int
    outcome: str
    status: int
    detail: str
    needs: str
    request_id: str
    source: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was refused.

    Attributes:
        verb: What was asked for, an operation of the API's description.
        request: Its method and path.
        reason: What the answer said.
        needs: Any one of these would have opened the door; empty if the reason is not at the door.
    """

    request_id: str
    time: datetime
    actor: str
    group: str
    verb: str
    request: str
    reason: str
    needs: list[str]


class Able(msgspec.Struct, frozen=True):
    """Members of a group who can do something.

    Attributes:
        properties: Those of the group that open the door; empty if it takes none.
        count: How many members can.
        users: Their names, the first hundred.
    """

    vo: str
    group: str
    properties: list[str]
    count: int
    users: list[str]


class WhoCan(msgspec.Struct, frozen=True):
    """Who can do something.

    Attributes:
        verb: An operation of the API's description.
        request: Its method and path.
        open_to: To whom its policy opens it, in words.
        groups: Those who can, as far as the asker may know them.
    """

    verb: str
    request: str
    open_to: list[str]
    groups: list[Able]
