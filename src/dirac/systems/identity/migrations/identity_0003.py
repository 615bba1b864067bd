"""Revocations, registered clients, secrets that are issued in bulk, and where a pilot's secret is good."""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import Json, UtcDateTime

revision = "identity_0003"
down_revision = "identity_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identity_revocation",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("before", UtcDateTime, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_identity_revocation"),
    )
    op.create_index("ix_identity_revocation_expires", "identity_revocation", ["expires"], unique=False)
    op.create_table(
        "identity_client",
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("properties", Json, nullable=False),
        sa.Column("secret_digest", sa.String(length=64), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(length=320), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name="pk_identity_client"),
    )
    op.create_table(
        "identity_issued_secret",
        sa.Column("secret_id", sa.String(length=32), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=128), nullable=False),
        sa.Column("ce", sa.String(length=128), nullable=False),
        sa.Column("secret_digest", sa.String(length=64), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("secret_id", name="pk_identity_issued_secret"),
    )
    op.create_index("ix_identity_issued_secret_expires", "identity_issued_secret", ["expires"], unique=False)
    op.create_index(
        "ix_identity_issued_secret_vo_site", "identity_issued_secret", ["vo", "site"], unique=False
    )
    # None in what the version before this one writes.
    op.add_column("identity_pilot_secret", sa.Column("site", sa.String(length=128), nullable=True))
    op.add_column("identity_pilot_secret", sa.Column("ce", sa.String(length=128), nullable=True))
    op.create_index("ix_identity_pilot_secret_vo_site", "identity_pilot_secret", ["vo", "site"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_identity_pilot_secret_vo_site", "identity_pilot_secret")
    op.drop_column("identity_pilot_secret", "ce")
    op.drop_column("identity_pilot_secret", "site")
    for table in ("identity_issued_secret", "identity_client", "identity_revocation"):
        op.drop_table(table)
