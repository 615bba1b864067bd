"""Pilots by their references."""

from alembic import op

revision = "workload_0008"
down_revision = "workload_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_workload_pilot_pilot_reference", "workload_pilot", ["pilot_reference"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_workload_pilot_pilot_reference", table_name="workload_pilot")
