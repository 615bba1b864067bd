"""The tables of clients, revocations and secrets that are issued in bulk; secrets are there as digests."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, String, Table

from dirac.db.types import Json, UtcDateTime
from dirac.systems.identity.store.tables import metadata

revocations = Table(
    "identity_revocation",
    metadata,
    # Of kind, VO and name, because some engines compare names without regard to case.
    Column("digest", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("vo", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("before", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime, nullable=False, index=True),
)

clients = Table(
    "identity_client",
    metadata,
    Column("client_id", String(64), primary_key=True),
    Column("vo", String(64), nullable=False),
    Column("properties", Json, nullable=False),
    Column("secret_digest", String(64), nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("created_by", String(320), nullable=False),
    Column("jwks", Json),
)

# Assertions of clients that were shown: each is good once.
assertions = Table(
    "identity_assertion",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("expires", UtcDateTime, nullable=False, index=True),
)

issued_secrets = Table(
    "identity_issued_secret",
    metadata,
    Column("secret_id", String(32), primary_key=True),
    Column("vo", String(64), nullable=False),
    Column("site", String(128), nullable=False),
    Column("ce", String(128), nullable=False),
    Column("secret_digest", String(64), nullable=False),
    Column("uses", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime, nullable=False, index=True),
    Index(None, "vo", "site"),
)
