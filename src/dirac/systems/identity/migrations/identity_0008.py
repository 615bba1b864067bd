"""Names of certificates know since when they are there.

Servers of the version before go on adding some without: these count as older than all others.
"""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import UtcDateTime

revision = "identity_0008"
down_revision = "identity_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("identity_certificate", sa.Column("since", UtcDateTime, nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("identity_certificate") as table:
        table.drop_column("since")
