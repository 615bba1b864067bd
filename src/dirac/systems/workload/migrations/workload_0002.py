"""Worker nodes that start pilots themselves."""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import Json, UtcDateTime

revision = "workload_0002"
down_revision = "workload_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workload_node",
        sa.Column("site", sa.String(length=128), nullable=False),
        sa.Column("ce", sa.String(length=128), nullable=False),
        sa.Column("node", sa.String(length=128), nullable=False),
        sa.Column("facts", Json, nullable=False),
        sa.Column("heard", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("site", "ce", "node", name="pk_workload_node"),
    )
    op.create_index("ix_workload_node_heard", "workload_node", ["heard"], unique=False)


def downgrade() -> None:
    op.drop_table("workload_node")
