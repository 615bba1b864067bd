"""Answers to orders, delays before another run, series of signs of life."""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import BigId, Json, UtcDateTime

revision = "workload_0006"
down_revision = "workload_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workload_attempt", sa.Column("peek_offset", BigId, nullable=True))
    op.add_column("workload_command", sa.Column("answer_until", UtcDateTime, nullable=True))
    op.add_column("workload_command", sa.Column("answered", UtcDateTime, nullable=True))
    op.create_index("ix_workload_command_answer_until", "workload_command", ["answer_until"], unique=False)
    op.create_table(
        "workload_delay",
        sa.Column("job_id", BigId, autoincrement=False, nullable=False),
        sa.Column("until", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_workload_delay"),
    )
    op.create_index("ix_workload_delay_until", "workload_delay", ["until"], unique=False)
    op.create_table(
        "workload_heartbeat",
        sa.Column("job_id", BigId, autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("data", Json, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "attempt", "slot", name="pk_workload_heartbeat"),
    )


def downgrade() -> None:
    op.drop_table("workload_heartbeat")
    op.drop_table("workload_delay")
    op.drop_index("ix_workload_command_answer_until", "workload_command")
    op.drop_column("workload_command", "answered")
    op.drop_column("workload_command", "answer_until")
    op.drop_column("workload_attempt", "peek_offset")
