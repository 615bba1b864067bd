"""Credentials of worker nodes that start pilots themselves."""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import UtcDateTime

revision = "identity_0002"
down_revision = "identity_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identity_node",
        sa.Column("credential_id", sa.String(length=32), nullable=False),
        sa.Column("site", sa.String(length=128), nullable=False),
        sa.Column("ce", sa.String(length=128), nullable=False),
        sa.Column("secret_digest", sa.String(length=64), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("revoked", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("credential_id", name="pk_identity_node"),
    )
    op.create_index("ix_identity_node_site_ce", "identity_node", ["site", "ce"], unique=False)


def downgrade() -> None:
    op.drop_table("identity_node")
