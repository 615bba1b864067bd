"""Indexes for the cleaning of sandboxes."""

from alembic import op

revision = "workload_0007"
down_revision = "workload_0006"
branch_labels = None
depends_on = None

_TABLE = "workload_sandbox"
_INDEXES = {
    "ix_workload_sandbox_last_access_sandbox_id": ["last_access", "sandbox_id"],
    "ix_workload_sandbox_stored_last_access_sandbox_id": ["stored", "last_access", "sandbox_id"],
}


def upgrade() -> None:
    for name, columns in _INDEXES.items():
        op.create_index(name, _TABLE, columns, unique=False)


def downgrade() -> None:
    for name in _INDEXES:
        op.drop_index(name, table_name=_TABLE)
