"""Jobs that need something before they may wait: the optimisation pipeline, and dependencies."""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import BigId, UtcDateTime

revision = "workload_0005"
down_revision = "workload_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # With a default of the database: code that does not know the column goes on inserting jobs.
    op.add_column(
        "workload_job", sa.Column("handling", sa.SmallInteger(), server_default="0", nullable=False)
    )
    op.create_table(
        "workload_pipeline",
        sa.Column("job_id", BigId, autoincrement=False, nullable=False),
        sa.Column("due", UtcDateTime, nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_workload_pipeline"),
    )
    op.create_index("ix_workload_pipeline_due", "workload_pipeline", ["due"], unique=False)
    op.create_table(
        "workload_dependency",
        sa.Column("job_id", BigId, autoincrement=False, nullable=False),
        sa.Column("needed_id", BigId, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "needed_id", name="pk_workload_dependency"),
    )
    op.create_index("ix_workload_dependency_needed_id", "workload_dependency", ["needed_id"], unique=False)


def downgrade() -> None:
    op.drop_table("workload_dependency")
    op.drop_table("workload_pipeline")
    op.drop_column("workload_job", "handling")
