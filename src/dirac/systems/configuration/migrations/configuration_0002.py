"""Versions as files: of each version only the files that it changed."""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import LongText

revision = "configuration_0002"
down_revision = "configuration_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Zero says that the version is one text, in its own row, as the release before writes it.
    op.add_column(
        "configuration_version",
        sa.Column("files", sa.Integer(), nullable=False, server_default=sa.text("0")),
    )
    op.create_table(
        "configuration_file",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("text", LongText, nullable=False),
        sa.Column("part", LongText, nullable=False),
        sa.PrimaryKeyConstraint("version", "name", name="pk_configuration_file"),
    )
    op.create_index(
        "ix_configuration_file_name_version", "configuration_file", ["name", "version"], unique=False
    )


def downgrade() -> None:
    op.drop_table("configuration_file")
    op.drop_column("configuration_version", "files")
