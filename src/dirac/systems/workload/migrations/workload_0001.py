"""Jobs, their runs, pilots, sandboxes."""

import sqlalchemy as sa
from alembic import op

from dirac.db.types import BigId, Json, LongText, UtcDateTime

revision = "workload_0001"
down_revision = None
branch_labels = ("workload",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workload_attempt",
        sa.Column("job_id", BigId, autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("pilot_stamp", sa.String(length=32), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("claimed", UtcDateTime, nullable=False),
        sa.Column("lease_until", UtcDateTime, nullable=True),
        sa.Column("last_report", UtcDateTime, nullable=True),
        sa.Column("ended", UtcDateTime, nullable=True),
        sa.Column("outcome", sa.String(length=64), nullable=True),
        sa.Column("dynamic", Json, nullable=True),
        sa.Column("peek", LongText, nullable=True),
        sa.PrimaryKeyConstraint("job_id", "attempt", name="pk_workload_attempt"),
    )
    op.create_index("ix_workload_attempt_lease_until", "workload_attempt", ["lease_until"], unique=False)
    op.create_index(
        "ix_workload_attempt_pilot_stamp_request_id",
        "workload_attempt",
        ["pilot_stamp", "request_id"],
        unique=True,
    )
    op.create_table(
        "workload_class",
        sa.Column("class_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("owner_group", sa.String(length=64), nullable=False),
        sa.Column("requirements", Json, nullable=False),
        sa.PrimaryKeyConstraint("class_id", name="pk_workload_class"),
        sa.UniqueConstraint("digest", name="uq_workload_class_digest"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "workload_command",
        sa.Column("id", BigId, nullable=False),
        sa.Column("job_id", BigId, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("command", sa.String(length=32), nullable=False),
        sa.Column("arguments", sa.String(length=255), nullable=True),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("sent", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_workload_command"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_workload_command_job_id_sent", "workload_command", ["job_id", "sent"], unique=False)
    op.create_table(
        "workload_description",
        sa.Column("job_id", BigId, autoincrement=False, nullable=False),
        sa.Column("jdl", LongText, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_workload_description"),
    )
    op.create_table(
        "workload_job",
        sa.Column("job_id", BigId, nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("owner_sub", sa.String(length=255), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("owner_group", sa.String(length=64), nullable=False),
        sa.Column("class_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("minor_status", sa.String(length=255), nullable=False),
        sa.Column("application_status", sa.String(length=255), nullable=False),
        sa.Column("site", sa.String(length=128), nullable=False),
        sa.Column("job_name", sa.String(length=255), nullable=False),
        sa.Column("job_group", sa.String(length=255), nullable=False),
        sa.Column("job_type", sa.String(length=64), nullable=False),
        sa.Column("user_priority", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("reschedule_counter", sa.Integer(), nullable=False),
        sa.Column("submission_time", UtcDateTime, nullable=False),
        sa.Column("last_update_time", UtcDateTime, nullable=False),
        sa.Column("reschedule_time", UtcDateTime, nullable=True),
        sa.Column("start_exec_time", UtcDateTime, nullable=True),
        sa.Column("end_exec_time", UtcDateTime, nullable=True),
        sa.Column("heartbeat_time", UtcDateTime, nullable=True),
        sa.Column("verified_flag", sa.Boolean(), nullable=False),
        sa.Column("accounted_flag", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_workload_job"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_workload_job_class_id_status_user_priority_job_id",
        "workload_job",
        ["class_id", "status", "user_priority", "job_id"],
        unique=False,
    )
    op.create_index(
        "ix_workload_job_vo_owner_sub_job_id", "workload_job", ["vo", "owner_sub", "job_id"], unique=False
    )
    op.create_index(
        "ix_workload_job_vo_status_job_id", "workload_job", ["vo", "status", "job_id"], unique=False
    )
    op.create_table(
        "workload_parameter",
        sa.Column("job_id", BigId, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("value", LongText, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "name", name="pk_workload_parameter"),
    )
    op.create_table(
        "workload_pilot",
        sa.Column("pilot_id", BigId, nullable=False),
        sa.Column("pilot_stamp", sa.String(length=32), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("status_reason", sa.String(length=255), nullable=False),
        sa.Column("grid_type", sa.String(length=32), nullable=False),
        sa.Column("grid_site", sa.String(length=128), nullable=False),
        sa.Column("destination_site", sa.String(length=128), nullable=False),
        sa.Column("queue", sa.String(length=128), nullable=False),
        sa.Column("pilot_reference", sa.String(length=255), nullable=False),
        sa.Column("bench_mark", sa.Double(), nullable=True),
        sa.Column("current_job_id", BigId, nullable=True),
        sa.Column("accounting_sent", sa.Boolean(), nullable=False),
        sa.Column("submission_time", UtcDateTime, nullable=False),
        sa.Column("last_update_time", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("pilot_id", name="pk_workload_pilot"),
        sa.UniqueConstraint("pilot_stamp", name="uq_workload_pilot_pilot_stamp"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_workload_pilot_status_last_update_time",
        "workload_pilot",
        ["status", "last_update_time"],
        unique=False,
    )
    op.create_index(
        "ix_workload_pilot_vo_status_pilot_id", "workload_pilot", ["vo", "status", "pilot_id"], unique=False
    )
    op.create_table(
        "workload_sandbox",
        sa.Column("sandbox_id", BigId, nullable=False),
        sa.Column("pfn", sa.String(length=512), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("owner_sub", sa.String(length=255), nullable=False),
        sa.Column("owner_group", sa.String(length=64), nullable=False),
        sa.Column("size", BigId, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("stored", UtcDateTime, nullable=True),
        sa.Column("last_access", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("sandbox_id", name="pk_workload_sandbox"),
        sa.UniqueConstraint("pfn", name="uq_workload_sandbox_pfn"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "workload_sandbox_assignment",
        sa.Column("job_id", BigId, autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=8), nullable=False),
        sa.Column("sandbox_id", BigId, autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "type", "sandbox_id", name="pk_workload_sandbox_assignment"),
    )
    op.create_index(
        "ix_workload_sandbox_assignment_sandbox_id",
        "workload_sandbox_assignment",
        ["sandbox_id"],
        unique=False,
    )


def downgrade() -> None:
    for table in (
        "workload_sandbox_assignment",
        "workload_sandbox",
        "workload_pilot",
        "workload_parameter",
        "workload_job",
        "workload_description",
        "workload_command",
        "workload_class",
        "workload_attempt",
    ):
        op.drop_table(table)
