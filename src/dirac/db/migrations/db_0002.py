"""What the database promises to older code."""

import sqlalchemy as sa
from alembic import op

revision = "db_0002"
down_revision = "db_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "schema_line",
        sa.Column("line", sa.String(64), primary_key=True),
        sa.Column("compatible_from", sa.String(64)),
    )


def downgrade() -> None:
    op.drop_table("schema_line")
