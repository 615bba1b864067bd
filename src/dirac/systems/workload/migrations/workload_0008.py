"""What ended runs have used; pilots by their references."""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import BigId, UtcDateTime

revision = "workload_0008"
down_revision = "workload_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workload_usage_change",
        sa.Column("id", BigId, nullable=False),
        sa.Column("class_id", sa.Integer(), nullable=False),
        sa.Column("seconds", BigId, nullable=False),
        sa.Column("ended", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workload_usage_change"),
    )
    op.create_table(
        "workload_usage",
        sa.Column("class_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("moment", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("class_id", name="pk_workload_usage"),
    )
    op.create_index("ix_workload_pilot_pilot_reference", "workload_pilot", ["pilot_reference"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_workload_pilot_pilot_reference", table_name="workload_pilot")
    op.drop_table("workload_usage")
    op.drop_table("workload_usage_change")
