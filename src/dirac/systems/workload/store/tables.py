"""The tables of the workload system."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Double, Index, Integer, SmallInteger, String, Table

from dirac.db.tables import new_metadata
from dirac.db.types import BigId, Json, LongText, UtcDateTime

metadata = new_metadata()

jobs = Table(
    "workload_job",
    metadata,
    Column("job_id", BigId, primary_key=True),
    Column("vo", String(64), nullable=False),
    Column("owner_sub", String(255), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("owner_group", String(64), nullable=False),
    Column("class_id", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("minor_status", String(255), nullable=False),
    Column("application_status", String(255), nullable=False),
    Column("site", String(128), nullable=False),
    Column("job_name", String(255), nullable=False),
    Column("job_group", String(255), nullable=False),
    Column("job_type", String(64), nullable=False),
    Column("user_priority", Integer, nullable=False),
    # The number of the present run, 0 before the first; what carries an older one is refused.
    Column("attempt", Integer, nullable=False),
    Column("reschedule_counter", Integer, nullable=False),
    Column("submission_time", UtcDateTime, nullable=False),
    Column("last_update_time", UtcDateTime, nullable=False),
    Column("reschedule_time", UtcDateTime),
    Column("start_exec_time", UtcDateTime),
    Column("end_exec_time", UtcDateTime),
    Column("heartbeat_time", UtcDateTime),
    Column("verified_flag", Boolean, nullable=False),
    Column("accounted_flag", Boolean, nullable=False),
    # What has to be done for this job and not for most others: `ports.pipeline.Handling`.
    Column("handling", SmallInteger, nullable=False, server_default="0"),
    # A claim looks for one waiting job of a class; status first would make all claims meet (DESIGN 4).
    Index(None, "class_id", "status", "user_priority", "job_id"),
    Index(None, "vo", "owner_sub", "job_id"),
    Index(None, "vo", "status", "job_id"),
    Index(None, "vo", "site", "job_id"),
    Index(None, "vo", "job_group", "job_id"),
    sqlite_autoincrement=True,
)

_COUNTED = {
    "vo": 64,
    "owner_sub": 255,
    "owner": 64,
    "owner_group": 64,
    "status": 16,
    "minor_status": 255,
    "site": 128,
    "job_type": 64,
    "job_group": 255,
}
COUNTED = tuple(_COUNTED)
"""The columns of a job by which jobs are counted (decision 0022)."""

# Triggers on the table of jobs append here, in the transaction of each change; nobody else does.
count_changes = Table(
    "workload_count_change",
    metadata,
    Column("id", BigId, primary_key=True),
    *(Column(name, String(length), nullable=False) for name, length in _COUNTED.items()),
    Column("number", Integer, nullable=False),
)

# What these changes have come to, by fewer columns: those that a kind does not have are empty.
counts = Table(
    "workload_count",
    metadata,
    Column("digest", String(32), primary_key=True),
    Column("kind", String(8), nullable=False),
    *(Column(name, String(length), nullable=False) for name, length in _COUNTED.items()),
    Column("number", BigId, nullable=False),
    Index(None, "kind", "vo", "owner_sub"),
)

descriptions = Table(
    "workload_description",
    metadata,
    Column("job_id", BigId, primary_key=True, autoincrement=False),
    Column("jdl", LongText, nullable=False),
)

classes = Table(
    "workload_class",
    metadata,
    Column("class_id", Integer, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("vo", String(64), nullable=False),
    Column("owner_group", String(64), nullable=False),
    # Empty for classes from before there were shares for users: those of a whole group.
    Column("owner_sub", String(255), nullable=False, server_default=""),
    Column("requirements", Json, nullable=False),
    sqlite_autoincrement=True,
)

attempts = Table(
    "workload_attempt",
    metadata,
    Column("job_id", BigId, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("pilot_stamp", String(32), nullable=False),
    # Repetitions of the pilot's request find the run that the first one made.
    Column("request_id", String(64), nullable=False),
    Column("claimed", UtcDateTime, nullable=False),
    # None once the run is over.
    Column("lease_until", UtcDateTime),
    # Time of the newest report, by the worker node's clock: it is compared with that clock's times only.
    Column("last_report", UtcDateTime),
    Column("ended", UtcDateTime),
    Column("outcome", String(64)),
    Column("dynamic", Json),
    Column("peek", LongText),
    # Bytes that the run had printed before what `peek` holds.
    Column("peek_offset", BigId),
    Index(None, "pilot_stamp", "request_id", unique=True),
    Index(None, "lease_until"),
)

parameters = Table(
    "workload_parameter",
    metadata,
    Column("job_id", BigId, primary_key=True, autoincrement=False),
    Column("name", String(128), primary_key=True),
    Column("value", LongText, nullable=False),
)

commands = Table(
    "workload_command",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("job_id", BigId, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("command", String(32), nullable=False),
    Column("arguments", String(255)),
    Column("created", UtcDateTime, nullable=False),
    Column("sent", UtcDateTime),
    # Until when an answer is expected; None if there is none to come, or no more.
    Column("answer_until", UtcDateTime),
    Column("answered", UtcDateTime),
    Index(None, "job_id", "sent"),
    Index(None, "answer_until"),
    sqlite_autoincrement=True,
)

delays = Table(
    "workload_delay",
    metadata,
    Column("job_id", BigId, primary_key=True, autoincrement=False),
    # When a job that is Rescheduled begins to wait again.
    Column("until", UtcDateTime, nullable=False, index=True),
)

heartbeats = Table(
    "workload_heartbeat",
    metadata,
    Column("job_id", BigId, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    # Begin of a span of the run, in seconds; the last sign of life of each span is kept.
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("time", UtcDateTime, nullable=False),
    Column("data", Json, nullable=False),
)

pilots = Table(
    "workload_pilot",
    metadata,
    Column("pilot_id", BigId, primary_key=True),
    Column("pilot_stamp", String(32), nullable=False, unique=True),
    Column("vo", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("status_reason", String(255), nullable=False),
    Column("grid_type", String(32), nullable=False),
    Column("grid_site", String(128), nullable=False),
    Column("destination_site", String(128), nullable=False),
    Column("queue", String(128), nullable=False),
    Column("pilot_reference", String(255), nullable=False, index=True),
    Column("bench_mark", Double),
    Column("current_job_id", BigId),
    Column("accounting_sent", Boolean, nullable=False),
    Column("submission_time", UtcDateTime, nullable=False),
    Column("last_update_time", UtcDateTime, nullable=False),
    Index(None, "vo", "status", "pilot_id"),
    Index(None, "status", "last_update_time"),
    sqlite_autoincrement=True,
)

sandboxes = Table(
    "workload_sandbox",
    metadata,
    Column("sandbox_id", BigId, primary_key=True),
    Column("pfn", String(512), nullable=False, unique=True),
    Column("vo", String(64), nullable=False),
    Column("owner_sub", String(255), nullable=False),
    Column("owner_group", String(64), nullable=False),
    Column("size", BigId, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    # Set when the store was seen to have it; before, a download would fail.
    Column("stored", UtcDateTime),
    Column("last_access", UtcDateTime, nullable=False),
    # Cleaning looks at what was left alone longest, in general and among what is not stored.
    Index(None, "last_access", "sandbox_id"),
    Index(None, "stored", "last_access", "sandbox_id"),
    sqlite_autoincrement=True,
)

assignments = Table(
    "workload_sandbox_assignment",
    metadata,
    Column("job_id", BigId, primary_key=True, autoincrement=False),
    Column("type", String(8), primary_key=True),
    Column("sandbox_id", BigId, primary_key=True, autoincrement=False),
    # The run that wrote an output; outputs of older runs are not shown.
    Column("attempt", Integer),
    Index(None, "sandbox_id"),
)

# Jobs that may not wait yet, with the moment at which they are looked at next.
pipeline = Table(
    "workload_pipeline",
    metadata,
    Column("job_id", BigId, primary_key=True, autoincrement=False),
    Column("due", UtcDateTime, nullable=False, index=True),
    # Raised by whoever decides about the job, so that nobody decides about what has changed meanwhile.
    Column("turn", Integer, nullable=False),
)

dependencies = Table(
    "workload_dependency",
    metadata,
    Column("job_id", BigId, primary_key=True, autoincrement=False),
    Column("needed_id", BigId, primary_key=True, autoincrement=False, index=True),
)

# What runs have used that ended, a row per transaction and class, until it is added up.
usage_changes = Table(
    "workload_usage_change",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("class_id", Integer, nullable=False),
    Column("seconds", BigId, nullable=False),
    Column("ended", UtcDateTime, nullable=False),
)

# What it has come to, with what is older weighing less: so much as of that moment.
usage = Table(
    "workload_usage",
    metadata,
    Column("class_id", Integer, primary_key=True, autoincrement=False),
    Column("seconds", Double, nullable=False),
    Column("moment", UtcDateTime, nullable=False),
)

nodes = Table(
    "workload_node",
    metadata,
    Column("site", String(128), primary_key=True),
    Column("ce", String(128), primary_key=True),
    Column("node", String(128), primary_key=True),
    Column("facts", Json, nullable=False),
    Column("heard", UtcDateTime, nullable=False, index=True),
)
