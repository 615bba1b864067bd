"""People whom outside providers know, what they have accepted, and logins of several steps."""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import Json, LongBinary, UtcDateTime

revision = "identity_0004"
down_revision = "identity_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identity_account",
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("sub_digest", sa.String(length=64), nullable=False),
        sa.Column("sub", sa.String(length=255), nullable=False),
        sa.Column("issuer", sa.String(length=255), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("email", sa.String(length=255), nullable=False),
        sa.Column("groups", Json, nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("sealed", LongBinary, nullable=True),
        sa.Column("checked", UtcDateTime, nullable=False),
        sa.Column("asking", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("vo", "sub_digest", name="pk_identity_account"),
    )
    op.create_table(
        "identity_consent",
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("sub_digest", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("sub", sa.String(length=255), nullable=False),
        sa.Column("accepted", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("vo", "sub_digest", "version", name="pk_identity_consent"),
    )
    op.create_table(
        "identity_login",
        sa.Column("state_digest", sa.String(length=64), nullable=False),
        sa.Column("cookie_digest", sa.String(length=64), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("user_code", sa.String(length=8), nullable=True),
        sa.Column("request", Json, nullable=True),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("sub", sa.String(length=255), nullable=True),
        sa.Column("expires", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("state_digest", name="pk_identity_login"),
    )
    op.create_index("ix_identity_login_expires", "identity_login", ["expires"], unique=False)


def downgrade() -> None:
    for table in ("identity_login", "identity_consent", "identity_account"):
        op.drop_table(table)
