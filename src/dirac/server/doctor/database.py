"""The database: reachable, at a revision that this code can work with, and set up as it has to be."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from dirac.db.plan import pending_contract
from dirac.db.revisions import current, lines, require
from dirac.server.database import open_database
from dirac.server.doctor import rights
from dirac.server.doctor.model import Ailment, Check, Patient, in_thread
from dirac.server.schema import LOCATIONS

_FASTEST_DRIFT = 2.0  # seconds
_PACKET = 16 << 20  # bytes: the largest body that the server accepts
_MARIADB, _POSTGRESQL = (10, 11), 15
_NETWORKED = frozenset(
    (
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.sshfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
    )
)

_Examine = Callable[[Patient], Awaitable[str]]


def checks(patient: Patient) -> list[Check]:
    """Return the checks that make sense for the engine that the settings name."""
    database = open_database(patient.settings)
    found = {"connection": _connection, "revision": _revision}
    if database.dialect != "sqlite":
        found |= {"clock": _clock, "isolation": _isolation, "rights": rights.examine}
    if patient.settings.database.migration_url_file is not None:
        found["migration_user"] = _migration_user
    return [Check(f"database.{name}", each) for name, each in (found | _OF_ENGINE[database.dialect]).items()]


async def scalar(patient: Patient, statement: str) -> Any:
    """Return the one value that a statement gives."""
    async with patient.database.connect() as connection:
        return (await connection.execute(text(statement))).scalar_one()


async def _connection(patient: Patient) -> str:
    await scalar(patient, "SELECT 1")
    url = patient.database.url
    return str(url.database) if url.host is None else f"{url.username} at {url.host}, database {url.database}"


async def _revision(patient: Patient) -> str:
    state, known = await current(patient.database), lines(LOCATIONS)
    require(state, known)
    if pending := pending_contract(state, known):
        raise Ailment(
            f"contract migrations are left: {', '.join(pending)}",
            cause="The last upgrade was not finished; the code before it can still be rolled back to",
            mend=f"dirac-server migrate --phase contract --settings {patient.file}",
            passable=True,
        )
    return ", ".join(sorted(state.versions))


async def _migration_user(patient: Patient) -> str:
    database = open_database(patient.settings, migrating=True, pool_size=1)
    try:
        await current(database)
        return f"{database.url.username} at {database.url.host}"
    finally:
        await database.close()


async def _clock(patient: Patient) -> str:
    statement = {
        "mariadb": "SELECT UTC_TIMESTAMP(6)",
        "postgresql": "SELECT clock_timestamp() AT TIME ZONE 'UTC'",
    }[patient.database.dialect]
    async with patient.database.connect() as connection:
        began = time.time()
        there = (await connection.execute(text(statement))).scalar_one()
        here = datetime.fromtimestamp((began + time.time()) / 2, UTC)
    apart = abs((there.replace(tzinfo=UTC) - here).total_seconds())
    if apart > _FASTEST_DRIFT:
        raise Ailment(
            f"{apart:.1f} s apart from the clock of the database",
            cause="One of the two hosts has a wrong clock: leases and tokens end too early or too late",
            mend="Run a time service on both: apt-get install chrony && chronyc makestep",
        )
    return f"{apart:.3f} s apart"


async def _isolation(patient: Patient) -> str:
    statement = {
        "mariadb": "SELECT variable_value FROM information_schema.session_variables "
        "WHERE variable_name IN ('TX_ISOLATION', 'TRANSACTION_ISOLATION') LIMIT 1",
        "postgresql": "SELECT current_setting('transaction_isolation')",
    }[patient.database.dialect]
    found = str(await scalar(patient, statement)).upper().replace("-", " ")
    if found != "READ COMMITTED":
        raise Ailment(
            found,
            cause="Claims of jobs would block one another; something between here and there changes it",
            mend="Connect to the database directly, without a proxy that shares sessions",
        )
    return found


async def _mariadb_collation(patient: Patient) -> str:
    found = str(await scalar(patient, "SELECT @@collation_database"))
    if found != "utf8mb4_bin":
        name = patient.database.url.database
        raise Ailment(
            f"{found} for new tables",
            cause="Names that differ in case or accents would be the same",
            mend=f"mariadb -e 'ALTER DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin'",
        )
    odd = await scalar(
        patient,
        "SELECT GROUP_CONCAT(table_name) FROM information_schema.tables "
        "WHERE table_schema = DATABASE() AND table_collation <> 'utf8mb4_bin'",
    )
    if odd:
        raise Ailment(
            f"tables with another collation: {odd}",
            cause="They were made before the database's collation was set",
            mend=f"mariadb {patient.database.url.database} -e 'ALTER TABLE "
            f"`{odd.split(',')[0]}` CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin', for each",
        )
    return found


async def _mariadb_mode(patient: Patient) -> str:
    found = str(await scalar(patient, "SELECT @@sql_mode"))
    if not {"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES"} & set(found.split(",")):
        raise Ailment(
            f"sql_mode is {found or 'empty'}",
            cause="Values that do not fit would be cut instead of refused",
            mend="mariadb -e \"SET GLOBAL sql_mode = CONCAT(@@GLOBAL.sql_mode, ',STRICT_TRANS_TABLES')\", "
            "and the same in the server's configuration",
        )
    return found


async def _mariadb_packet(patient: Patient) -> str:
    found = int(await scalar(patient, "SELECT @@max_allowed_packet"))
    if found < _PACKET:
        raise Ailment(
            f"max_allowed_packet is {found >> 20} MB",
            cause=f"Large submissions, of up to {_PACKET >> 20} MB, would break the connection",
            mend=f"mariadb -e 'SET GLOBAL max_allowed_packet = {_PACKET}', "
            "and the same in the server's configuration",
        )
    return f"{found >> 20} MB"


async def _mariadb_version(patient: Patient) -> str:
    found = str(await scalar(patient, "SELECT VERSION()"))
    parts = tuple(int(part) for part in found.split("-")[0].split(".")[:2])
    if "MariaDB" not in found or parts < _MARIADB:
        raise Ailment(found, cause="MariaDB 10.11 or newer is needed", mend="Upgrade the database server")
    return found


async def _postgresql_version(patient: Patient) -> str:
    number = int(await scalar(patient, "SELECT current_setting('server_version_num')"))
    if number // 10000 < _POSTGRESQL:
        raise Ailment(
            f"{number // 10000}", cause="PostgreSQL 15 or newer is needed", mend="Upgrade the database server"
        )
    return f"{number // 10000}.{number % 10000}"


async def _postgresql_encoding(patient: Patient) -> str:
    found = str(await scalar(patient, "SELECT current_setting('server_encoding')"))
    if found != "UTF8":
        raise Ailment(
            found,
            cause="Not every text can be kept; an encoding cannot be changed afterwards",
            mend="Make a new database, createdb --encoding=UTF8 --template=template0 NAME, and load a dump",
        )
    return found


def _sqlite_place(patient: Patient) -> str:
    path = Path(str(patient.database.url.database)).resolve()
    kind = file_system(path, Path("/proc/self/mountinfo").read_text())
    if kind in _NETWORKED:
        raise Ailment(
            f"{path} is on a file system of kind {kind}",
            cause="Its locks cannot be relied upon: the database would be damaged",
            mend="Move `state` to a local disk, or use MariaDB or PostgreSQL",
        )
    return f"{path} on {kind}"


async def _sqlite_writable(patient: Patient) -> str:
    async with patient.database.write():
        pass  # takes the write lock, and gives it back
    return "writable"


def file_system(path: Path, mounts: str) -> str:
    """Return the kind of file system that a path is on.

    Args:
        path: Absolute, without links.
        mounts: What `/proc/self/mountinfo` says (proc(5)).
    """
    best, kind = Path("/"), "unknown"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4].replace("\\040", " "))
        if path.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, after.split()[0]
    return kind


_OF_ENGINE: dict[str, dict[str, _Examine]] = {
    "mariadb": {
        "collation": _mariadb_collation,
        "mode": _mariadb_mode,
        "packet": _mariadb_packet,
        "version": _mariadb_version,
    },
    "postgresql": {"encoding": _postgresql_encoding, "version": _postgresql_version},
    "sqlite": {"place": in_thread(_sqlite_place), "writable": _sqlite_writable},
}
