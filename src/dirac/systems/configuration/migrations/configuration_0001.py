"""The accepted configurations."""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import LongText, UtcDateTime

revision = "configuration_0001"
down_revision = None
branch_labels = ("configuration",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "configuration_version",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("author", sa.String(length=400), nullable=False),
        sa.Column("comment", LongText, nullable=False),
        sa.Column("text", LongText, nullable=False),
        sa.Column("tree", LongText, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_configuration_version"),
    )


def downgrade() -> None:
    for table in ("configuration_version",):
        op.drop_table(table)
