"""Who may use the installation, and the keys and tokens that prove it."""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import Json, UtcDateTime

revision = "identity_0001"
down_revision = None
branch_labels = ("identity",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identity_code",
        sa.Column("code_digest", sa.String(length=64), nullable=False),
        sa.Column("client_id", sa.String(length=255), nullable=False),
        sa.Column("redirect_uri", sa.String(length=2048), nullable=False),
        sa.Column("state", sa.String(length=2048), nullable=False),
        sa.Column("challenge", sa.String(length=64), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("sub", sa.String(length=255), nullable=False),
        sa.Column("scope", Json, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
        sa.Column("family", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("code_digest", name="pk_identity_code"),
    )
    op.create_index("ix_identity_code_expires", "identity_code", ["expires"], unique=False)
    op.create_table(
        "identity_device",
        sa.Column("device_digest", sa.String(length=64), nullable=False),
        sa.Column("user_code", sa.String(length=8), nullable=False),
        sa.Column("client_id", sa.String(length=255), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("scope", Json, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("sub", sa.String(length=255), nullable=True),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
        sa.Column("interval", sa.Integer(), nullable=False),
        sa.Column("polled", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("device_digest", name="pk_identity_device"),
        sa.UniqueConstraint("user_code", name="uq_identity_device_user_code"),
    )
    op.create_index("ix_identity_device_expires", "identity_device", ["expires"], unique=False)
    op.create_table(
        "identity_failure",
        sa.Column("who", sa.String(length=64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("who", name="pk_identity_failure"),
    )
    op.create_index("ix_identity_failure_last", "identity_failure", ["last"], unique=False)
    op.create_table(
        "identity_group",
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("properties", Json, nullable=False),
        sa.PrimaryKeyConstraint("vo", "name", name="pk_identity_group"),
    )
    op.create_table(
        "identity_key",
        sa.Column("kid", sa.String(length=36), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("signs_from", UtcDateTime, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("kid", name="pk_identity_key"),
    )
    op.create_table(
        "identity_password",
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("sub", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=255), nullable=False),
        sa.Column("changed", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("vo", "sub", name="pk_identity_password"),
    )
    op.create_table(
        "identity_pilot_secret",
        sa.Column("stamp", sa.String(length=32), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("secret_digest", sa.String(length=64), nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
        sa.Column("used", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("stamp", name="pk_identity_pilot_secret"),
    )
    op.create_index("ix_identity_pilot_secret_expires", "identity_pilot_secret", ["expires"], unique=False)
    op.create_table(
        "identity_refresh_token",
        sa.Column("jti", sa.String(length=36), nullable=False),
        sa.Column("family", sa.String(length=36), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("sub", sa.String(length=255), nullable=False),
        sa.Column("client_id", sa.String(length=255), nullable=False),
        sa.Column("scope", Json, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
        sa.Column("session_ends", UtcDateTime, nullable=False),
        sa.Column("rotated", UtcDateTime, nullable=True),
        sa.Column("successor", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("jti", name="pk_identity_refresh_token"),
    )
    op.create_index("ix_identity_refresh_token_expires", "identity_refresh_token", ["expires"], unique=False)
    op.create_index("ix_identity_refresh_token_family", "identity_refresh_token", ["family"], unique=False)
    op.create_index(
        "ix_identity_refresh_token_vo_sub_state",
        "identity_refresh_token",
        ["vo", "sub", "state"],
        unique=False,
    )
    op.create_table(
        "identity_user",
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("sub", sa.String(length=255), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("groups", Json, nullable=False),
        sa.PrimaryKeyConstraint("vo", "sub", name="pk_identity_user"),
    )
    op.create_index("ix_identity_user_vo_username", "identity_user", ["vo", "username"], unique=True)
    op.create_table(
        "identity_vo",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("default_group", sa.String(length=64), nullable=False),
        sa.Column("identity_provider", sa.String(length=64), nullable=False),
        sa.Column("support", Json, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_identity_vo"),
    )


def downgrade() -> None:
    for table in (
        "identity_vo",
        "identity_user",
        "identity_refresh_token",
        "identity_pilot_secret",
        "identity_password",
        "identity_key",
        "identity_group",
        "identity_failure",
        "identity_device",
        "identity_code",
    ):
        op.drop_table(table)
