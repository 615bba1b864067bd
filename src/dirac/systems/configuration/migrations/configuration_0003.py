"""Where git repositories and the configuration stand to each other."""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import LongText, UtcDateTime

revision = "configuration_0003"
down_revision = "configuration_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "configuration_git",
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("place", LongText, nullable=False),
        sa.Column("commit_id", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("problem", LongText, nullable=False),
        sa.Column("notes", LongText, nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("role", name="pk_configuration_git"),
    )
    op.create_table(
        "configuration_commit",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("commit_id", sa.String(64), nullable=False),
        sa.Column("exact", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_configuration_commit"),
    )


def downgrade() -> None:
    op.drop_table("configuration_commit")
    op.drop_table("configuration_git")
