"""The audit log, whose rows nobody changes."""

import sqlalchemy as sa
from alembic import op

from dirac.db.triggers import append_only, not_append_only
from dirac.db.types import BigId, UtcDateTime

revision = "identity_0006"
down_revision = "identity_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identity_audit",
        sa.Column("id", BigId, nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("vo", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(320), nullable=False),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("actor_kind", sa.String(16), nullable=False),
        sa.Column("actor_group", sa.String(64), nullable=False),
        sa.Column("token_id", sa.String(64), nullable=False),
        sa.Column("properties", sa.String(255), nullable=False),
        sa.Column("verb", sa.String(128), nullable=False),
        sa.Column("method", sa.String(8), nullable=False),
        sa.Column("path", sa.String(255), nullable=False),
        sa.Column("objects", sa.String(1000), nullable=False),
        sa.Column("object_count", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("detail", sa.String(1000), nullable=False),
        sa.Column("needs", sa.String(1000), nullable=False),
        sa.Column("request_id", sa.String(32), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_identity_audit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_identity_audit_request_id", "identity_audit", ["request_id"])
    op.create_index("ix_identity_audit_actor_id", "identity_audit", ["actor", "id"])
    op.create_index("ix_identity_audit_vo_id", "identity_audit", ["vo", "id"])
    op.create_index("ix_identity_audit_time", "identity_audit", ["time"])
    append_only(op.get_bind(), "identity_audit")


def downgrade() -> None:
    not_append_only(op.get_bind(), "identity_audit")
    op.drop_table("identity_audit")
