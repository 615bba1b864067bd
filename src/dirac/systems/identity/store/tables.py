"""The tables of the identity system.

Nothing here opens a door: codes and secrets are kept as digests, passwords as Argon2id digests,
signing keys and what outside providers gave us sealed with keys that are not in the database.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, String, Table, Text

from dirac.db.tables import new_metadata
from dirac.db.types import BigId, Json, LongBinary, UtcDateTime

metadata = new_metadata()

vos = Table(
    "identity_vo",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("default_group", String(64), nullable=False),
    Column("identity_provider", String(64), nullable=False),
    Column("support", Json, nullable=False),
)

groups = Table(
    "identity_group",
    metadata,
    Column("vo", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("properties", Json, nullable=False),
)

users = Table(
    "identity_user",
    metadata,
    Column("vo", String(64), primary_key=True),
    Column("sub", String(255), primary_key=True),
    Column("username", String(64), nullable=False),
    Column("suspended", Boolean, nullable=False),
    Column("groups", Json, nullable=False),
    Index(None, "vo", "username", unique=True),
)

passwords = Table(
    "identity_password",
    metadata,
    Column("vo", String(64), primary_key=True),
    Column("sub", String(255), primary_key=True),
    Column("digest", String(255), nullable=False),
    Column("changed", UtcDateTime, nullable=False),
)

failures = Table(
    "identity_failure",
    metadata,
    # A digest of VO and subject, because what is typed may be longer than any subject.
    Column("who", String(64), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("last", UtcDateTime, nullable=False, index=True),
)

keys = Table(
    "identity_key",
    metadata,
    Column("kid", String(36), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("signs_from", UtcDateTime, nullable=False),
    # None until the key has a successor.
    Column("expires", UtcDateTime),
)

devices = Table(
    "identity_device",
    metadata,
    Column("device_digest", String(64), primary_key=True),
    Column("user_code", String(8), nullable=False, unique=True),
    Column("client_id", String(255), nullable=False),
    Column("vo", String(64), nullable=False),
    Column("scope", Json, nullable=False),
    Column("state", String(16), nullable=False),
    Column("sub", String(255)),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime, nullable=False, index=True),
    Column("interval", Integer, nullable=False),
    Column("polled", UtcDateTime),
)

codes = Table(
    "identity_code",
    metadata,
    Column("code_digest", String(64), primary_key=True),
    Column("client_id", String(255), nullable=False),
    Column("redirect_uri", String(2048), nullable=False),
    Column("state", String(2048), nullable=False),
    Column("challenge", String(64), nullable=False),
    Column("vo", String(64), nullable=False),
    Column("sub", String(255), nullable=False),
    Column("scope", Json, nullable=False),
    Column("expires", UtcDateTime, nullable=False, index=True),
    # The session that the code was exchanged for; a second exchange ends it.
    Column("family", String(36)),
)

refresh_tokens = Table(
    "identity_refresh_token",
    metadata,
    Column("jti", String(36), primary_key=True),
    Column("family", String(36), nullable=False, index=True),
    Column("vo", String(64), nullable=False),
    Column("sub", String(255), nullable=False),
    Column("client_id", String(255), nullable=False),
    Column("scope", Json, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime, nullable=False, index=True),
    Column("session_ends", UtcDateTime, nullable=False),
    Column("rotated", UtcDateTime),
    Column("successor", String(36)),
    Column("previous", String(36)),
    Index(None, "vo", "sub", "state"),
)

pilot_secrets = Table(
    "identity_pilot_secret",
    metadata,
    Column("stamp", String(32), primary_key=True),
    Column("vo", String(64), nullable=False),
    Column("secret_digest", String(64), nullable=False),
    Column("expires", UtcDateTime, nullable=False, index=True),
    Column("used", UtcDateTime),
    # Where the pilot is; None of those that an older version has made.
    Column("site", String(128)),
    Column("ce", String(128)),
    Index(None, "vo", "site"),
)

nodes = Table(
    "identity_node",
    metadata,
    Column("credential_id", String(32), primary_key=True),
    Column("site", String(128), nullable=False),
    Column("ce", String(128), nullable=False),
    Column("secret_digest", String(64), nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("revoked", UtcDateTime),
    Index(None, "site", "ce"),
)

certificates = Table(
    "identity_certificate",
    metadata,
    # A digest, because names of certificates are longer than some engines index.
    Column("digest", String(64), primary_key=True),
    Column("vo", String(64), primary_key=True),  # empty for hosts
    Column("sub", String(255), nullable=False),
    Column("dn", Text, nullable=False),
    Column("properties", Json, nullable=False),  # of hosts; users have those of their groups
    Column("since", UtcDateTime),  # when it was named first; before all others if that is not known
    Index(None, "vo", "sub"),
)

proxies = Table(
    "identity_proxy",
    metadata,
    # A user has one for each group; "" is the one without.
    Column("vo", String(64), primary_key=True),
    Column("sub", String(255), primary_key=True),
    Column("dirac_group", String(64), primary_key=True),
    Column("proxy_id", String(36), nullable=False, unique=True),
    Column("subject", Text, nullable=False),
    Column("limited", Boolean, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime, nullable=False, index=True),
)

proxy_requests = Table(
    "identity_proxy_request",
    metadata,
    Column("proxy_id", String(36), primary_key=True),
    Column("vo", String(64), nullable=False),
    Column("sub", String(255), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime, nullable=False, index=True),
    Index(None, "vo", "sub"),
)

accounts = Table(
    "identity_account",
    metadata,
    Column("vo", String(64), primary_key=True),
    # A digest of the subject: a provider's subjects may differ in case only.
    Column("sub_digest", String(64), primary_key=True),
    Column("sub", String(255), nullable=False),
    Column("issuer", String(255), nullable=False),
    Column("username", String(64), nullable=False),
    Column("email", String(255), nullable=False),
    Column("groups", Json, nullable=False),
    Column("suspended", Boolean, nullable=False),
    # None once the provider does not stand by the login any more.
    Column("sealed", LongBinary),
    Column("checked", UtcDateTime, nullable=False),
    Column("asking", UtcDateTime),
)

consents = Table(
    "identity_consent",
    metadata,
    Column("vo", String(64), primary_key=True),
    Column("sub_digest", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("sub", String(255), nullable=False),
    Column("accepted", UtcDateTime, nullable=False),
)

logins = Table(
    "identity_login",
    metadata,
    Column("state_digest", String(64), primary_key=True),
    Column("cookie_digest", String(64), nullable=False),
    Column("vo", String(64), nullable=False),
    Column("user_code", String(8)),
    Column("request", Json),
    Column("stage", String(16), nullable=False),
    Column("sub", String(255)),
    Column("expires", UtcDateTime, nullable=False, index=True),
)

audit = Table(
    "identity_audit",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("time", UtcDateTime, nullable=False, index=True),
    Column("vo", String(64), nullable=False),
    Column("actor", String(320), nullable=False),
    Column("username", String(64), nullable=False),
    Column("actor_kind", String(16), nullable=False),
    Column("actor_group", String(64), nullable=False),
    Column("token_id", String(64), nullable=False),
    Column("properties", String(255), nullable=False),
    Column("verb", String(128), nullable=False),
    Column("method", String(8), nullable=False),
    Column("path", String(255), nullable=False),
    Column("objects", String(1000), nullable=False),
    Column("object_count", Integer, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("status", Integer, nullable=False),
    Column("detail", String(1000), nullable=False),
    Column("needs", String(1000), nullable=False),
    Column("request_id", String(32), nullable=False, index=True),
    Column("source", String(64), nullable=False),
    Index(None, "actor", "id"),
    Index(None, "vo", "id"),
    sqlite_autoincrement=True,
    info={"append_only": True},
)
