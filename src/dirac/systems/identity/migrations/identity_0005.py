"""Names of certificates, and proxies that were delegated to this installation."""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import Json, UtcDateTime

revision = "identity_0005"
down_revision = "identity_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identity_certificate",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("sub", sa.String(length=255), nullable=False),
        sa.Column("dn", sa.Text(), nullable=False),
        sa.Column("properties", Json, nullable=False),
        sa.PrimaryKeyConstraint("digest", "vo", name="pk_identity_certificate"),
    )
    op.create_index("ix_identity_certificate_vo_sub", "identity_certificate", ["vo", "sub"], unique=False)
    op.create_table(
        "identity_proxy",
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("sub", sa.String(length=255), nullable=False),
        sa.Column("dirac_group", sa.String(length=64), nullable=False),
        sa.Column("proxy_id", sa.String(length=36), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("limited", sa.Boolean(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("vo", "sub", "dirac_group", name="pk_identity_proxy"),
        sa.UniqueConstraint("proxy_id", name="uq_identity_proxy_proxy_id"),
    )
    op.create_index("ix_identity_proxy_expires", "identity_proxy", ["expires"], unique=False)
    op.create_table(
        "identity_proxy_request",
        sa.Column("proxy_id", sa.String(length=36), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("sub", sa.String(length=255), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("proxy_id", name="pk_identity_proxy_request"),
    )
    op.create_index("ix_identity_proxy_request_vo_sub", "identity_proxy_request", ["vo", "sub"], unique=False)
    op.create_index("ix_identity_proxy_request_expires", "identity_proxy_request", ["expires"], unique=False)


def downgrade() -> None:
    op.drop_table("identity_proxy_request")
    op.drop_table("identity_proxy")
    op.drop_table("identity_certificate")
