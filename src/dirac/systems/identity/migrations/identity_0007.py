"""A refresh token is replaced in its place; clients may have keys instead of a secret.

Servers of the version before go on adding rows of refresh tokens beside those that they replace.
"""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import Json, UtcDateTime

revision = "identity_0007"
down_revision = "identity_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("identity_refresh_token", sa.Column("previous", sa.String(36), nullable=True))
    op.add_column("identity_client", sa.Column("jwks", Json, nullable=True))
    op.create_table(
        "identity_assertion",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_identity_assertion"),
    )
    op.create_index("ix_identity_assertion_expires", "identity_assertion", ["expires"])


def downgrade() -> None:
    op.drop_table("identity_assertion")
    with op.batch_alter_table("identity_client") as table:
        table.drop_column("jwks")
    with op.batch_alter_table("identity_refresh_token") as table:
        table.drop_column("previous")
