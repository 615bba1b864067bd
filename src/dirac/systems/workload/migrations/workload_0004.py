"""Numbers of jobs that triggers keep up to date, and indexes for searches by site and by group of jobs."""

import sqlalchemy as sa
from alembic import op

from dirac.core.errors import UnavailableError
from dirac.db.types import BigId

revision = "workload_0004"
down_revision = "workload_0003"
branch_labels = None
depends_on = None

_COLUMNS = {
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
_NAMES = ", ".join(_COLUMNS)
_INTO = f"INSERT INTO workload_count_change ({_NAMES}, number)"
_OLD = ", ".join(f"OLD.{name}" for name in _COLUMNS)
_NEW = ", ".join(f"NEW.{name}" for name in _COLUMNS)
# Of the old and the new row at once: a search between two statements would miss the job, or see it twice.
_MOVE = f"VALUES ({_OLD}, -1), ({_NEW}, 1)"
_DEEDS = ("insert", "update", "delete")


def _sqlite() -> list[str]:
    changed = " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in _COLUMNS)
    make = "CREATE TRIGGER workload_job_count_{} AFTER {} ON workload_job {} BEGIN {} {}; END"
    return [
        make.format("insert", "INSERT", "", _INTO, f"VALUES ({_NEW}, 1)"),
        make.format("update", f"UPDATE OF {_NAMES}", f"WHEN {changed}", _INTO, _MOVE),
        make.format("delete", "DELETE", "", _INTO, f"VALUES ({_OLD}, -1)"),
    ]


def _mariadb() -> list[str]:
    # Numbers of their own: with AUTO_INCREMENT, two updates of several jobs could wait for each other for
    # ever, since a statement with a trigger holds the counter's lock until its end.
    into = _INTO.replace("(vo", "(id, vo")
    number = "UUID_SHORT() & 9223372036854775807"
    same = " AND ".join(f"OLD.{name} = BINARY NEW.{name}" for name in _COLUMNS)
    move = f"VALUES ({number}, {_OLD}, -1), ({number}, {_NEW}, 1)"
    make = "CREATE TRIGGER workload_job_count_{} AFTER {} ON workload_job FOR EACH ROW {}"
    return [
        make.format("insert", "INSERT", f"{into} VALUES ({number}, {_NEW}, 1)"),
        make.format("update", "UPDATE", f"IF NOT ({same}) THEN {into} {move}; END IF"),
        make.format("delete", "DELETE", f"{into} VALUES ({number}, {_OLD}, -1)"),
    ]


def _postgresql() -> list[str]:
    """Count what a statement inserts or deletes at once; look at updates row by row."""
    changed = f"({_OLD}) IS DISTINCT FROM ({_NEW})"
    function = (
        "CREATE FUNCTION workload_job_count_{}() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN {} {}; RETURN NULL; END $$"
    )
    trigger = "CREATE TRIGGER workload_job_count_{0} AFTER {1} ON workload_job {2} {3}"
    run = "EXECUTE FUNCTION workload_job_count_{}()"
    some = f"SELECT {_NAMES}, {{}}count(*) FROM touched GROUP BY {_NAMES}"  # noqa: S608 - constants
    bulk = "REFERENCING {} TABLE AS touched FOR EACH STATEMENT"
    return [
        function.format("insert", _INTO, some.format("")),
        function.format("update", _INTO, _MOVE),
        function.format("delete", _INTO, some.format("-")),
        trigger.format("insert", "INSERT", bulk.format("NEW"), run.format("insert")),
        trigger.format(
            "update", f"UPDATE OF {_NAMES}", f"FOR EACH ROW WHEN ({changed})", run.format("update")
        ),
        trigger.format("delete", "DELETE", bulk.format("OLD"), run.format("delete")),
    ]


def _fill() -> str:
    """Count the jobs that are there, without those that the triggers have counted meanwhile: in one look."""
    return (
        f"{_INTO} SELECT {_NAMES}, SUM(number) FROM ("  # noqa: S608 - constants
        f"SELECT {_NAMES}, COUNT(*) AS number FROM workload_job GROUP BY {_NAMES} UNION ALL "
        f"SELECT {_NAMES}, -number FROM workload_count_change) both_of_them "
        f"GROUP BY {_NAMES} HAVING SUM(number) <> 0"
    )


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    if dialect in ("mysql", "mariadb"):
        _refuse_without_trust()
    op.create_table(
        "workload_count_change",
        sa.Column("id", BigId, autoincrement=dialect in ("sqlite", "postgresql"), nullable=False),
        *(sa.Column(name, sa.String(length), nullable=False) for name, length in _COLUMNS.items()),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workload_count_change"),
    )
    op.create_table(
        "workload_count",
        sa.Column("digest", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        *(sa.Column(name, sa.String(length), nullable=False) for name, length in _COLUMNS.items()),
        sa.Column("number", BigId, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_workload_count"),
    )
    op.create_index("ix_workload_count_kind_vo_owner_sub", "workload_count", ["kind", "vo", "owner_sub"])
    op.create_index("ix_workload_job_vo_site_job_id", "workload_job", ["vo", "site", "job_id"])
    op.create_index("ix_workload_job_vo_job_group_job_id", "workload_job", ["vo", "job_group", "job_id"])
    for statement in {"sqlite": _sqlite, "postgresql": _postgresql}.get(dialect, _mariadb)():
        op.get_bind().exec_driver_sql(statement)
    fill = _fill()
    if dialect in ("mysql", "mariadb"):
        counted = "UUID_SHORT() & 9223372036854775807"
        fill = fill.replace("(vo", "(id, vo", 1).replace("SELECT vo", f"SELECT {counted}, vo", 1)
    op.get_bind().exec_driver_sql(fill)


def _refuse_without_trust() -> None:
    """Refuse what MariaDB would refuse half way: with a binary log it has to be told to trust triggers."""
    row = op.get_bind().exec_driver_sql("SELECT @@log_bin, @@log_bin_trust_function_creators").one()
    if row[0] and not row[1]:
        raise UnavailableError(
            "MariaDB keeps a binary log and does not let this user make triggers",
            hint="Set log_bin_trust_function_creators = 1 (the log is written row by row), and migrate again",
        )


def downgrade() -> None:
    for deed in _DEEDS:
        of_table = " ON workload_job" if op.get_bind().dialect.name == "postgresql" else ""
        op.execute(f"DROP TRIGGER workload_job_count_{deed}{of_table}")
        if of_table:
            op.execute(f"DROP FUNCTION workload_job_count_{deed}()")
    op.drop_index("ix_workload_job_vo_job_group_job_id", "workload_job")
    op.drop_index("ix_workload_job_vo_site_job_id", "workload_job")
    op.drop_table("workload_count")
    op.drop_table("workload_count_change")
