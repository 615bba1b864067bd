"""History, outbox, schedule and idempotency keys."""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import BigId, Json, LongText, UtcDateTime

revision = "db_0001"
down_revision = None
branch_labels = ("db",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "event",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("recorded", UtcDateTime, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("vo", sa.String(64), nullable=False),
        sa.Column("subject_kind", sa.String(16), nullable=False),
        sa.Column("subject_id", sa.String(64), nullable=False),
        sa.Column("attempt", sa.Integer),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("data", Json, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_event_subject_kind_subject_id_id", "event", ["subject_kind", "subject_id", "id"])
    op.create_table(
        "task",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("args", Json, nullable=False),
        sa.Column("pending_key", sa.String(255)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("due", UtcDateTime, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("finished", UtcDateTime),
        sa.Column("error", LongText),
        sa.UniqueConstraint("pending_key", name="uq_task_pending_key"),
    )
    op.create_index("ix_task_state_due", "task", ["state", "due"])
    op.create_table(
        "schedule",
        sa.Column("task", sa.String(128), primary_key=True),
        sa.Column("due", UtcDateTime, nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("scope", sa.String(255), primary_key=True),
        sa.Column("key", sa.String(128), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("answer", LongText, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
    )
    op.create_index("ix_idempotency_created", "idempotency", ["created"])


def downgrade() -> None:
    for table in ("idempotency", "schedule", "task", "event"):
        op.drop_table(table)
