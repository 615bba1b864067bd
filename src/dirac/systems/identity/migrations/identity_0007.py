"""A refresh token is replaced in its place; servers of the version before go on adding rows beside it."""

import sqlalchemy as sa
from alembic import op

revision = "identity_0007"
down_revision = "identity_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("identity_refresh_token", sa.Column("previous", sa.String(36), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("identity_refresh_token") as table:
        table.drop_column("previous")
