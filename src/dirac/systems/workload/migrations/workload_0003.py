"""Whose jobs a class holds: shares are per user."""

import sqlalchemy as sa
from alembic import op

revision = "workload_0003"
down_revision = "workload_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Code that does not know it yet makes classes of whole groups; they go on as such.
    op.add_column(
        "workload_class",
        sa.Column("owner_sub", sa.String(length=255), nullable=False, server_default=""),
    )


def downgrade() -> None:
    op.drop_column("workload_class", "owner_sub")
