"""What the user of the services may do in the database: read and write rows, and best nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlalchemy import text

from dirac.server.doctor.model import Ailment, Patient

NEEDED = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})

_GRANT = re.compile(r"GRANT (?P<rights>.+?) ON (?P<object>\S+) TO ")
_NOTHING = frozenset({"USAGE"})
_ALL = "ALL PRIVILEGES"


async def examine(patient: Patient) -> str:
    """Compare the rights of the services' user with those it needs."""
    held = await (_on_mariadb(patient) if patient.database.dialect == "mariadb" else _on_postgresql(patient))
    url = patient.database.url
    if lacking := NEEDED - held if _ALL not in held else frozenset():
        raise Ailment(
            f"{url.username} lacks {', '.join(sorted(lacking))}",
            cause="They were never granted, or the user that makes tables does not grant them by default",
            mend=_mend(patient),
        )
    more = held - NEEDED - _NOTHING
    if more and patient.settings.database.migration_url_file is not None:
        raise Ailment(
            f"{url.username} has more than it needs: {', '.join(sorted(more))}",
            cause="Migrations have a user of their own; who takes over a server could change its tables",
            mend=_mend(patient),
            passable=True,
        )
    return f"{url.username}: {', '.join(sorted(held))}"


def granted(grants: Iterable[str], database: str) -> frozenset[str]:
    """Return the rights on a database from what MariaDB's SHOW GRANTS says.

    Args:
        grants: Its lines.
        database: Name of the database.
    """
    held: set[str] = set()
    for line in grants:
        found = _GRANT.match(line)
        if found is None:
            continue
        name = found["object"].partition(".")[0].strip("`").replace("\\_", "_")
        if name in ("*", database):
            held |= {right.strip() for right in found["rights"].split(",")}
    return frozenset(held - _NOTHING)


def _mend(patient: Patient) -> str:
    url = patient.database.url
    if patient.database.dialect == "mariadb":
        return (
            f"mariadb -e \"REVOKE ALL ON `{url.database}`.* FROM '{url.username}'@'HOST'; "
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{url.database}`.* TO '{url.username}'@'HOST'\""
        )
    return (
        f'psql {url.database} -c "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO '
        f"{url.username}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {url.username}; "
        f'REVOKE CREATE ON SCHEMA public FROM {url.username}"; make another user the owner of the tables'
    )


async def _on_mariadb(patient: Patient) -> frozenset[str]:
    async with patient.database.connect() as connection:
        lines = [str(row[0]) for row in await connection.execute(text("SHOW GRANTS"))]
    return granted(lines, str(patient.database.url.database))


_PER_TABLE = text(
    "SELECT p.name, bool_and(has_table_privilege(current_user, c.oid, p.name)), "
    "bool_or(has_table_privilege(current_user, c.oid, p.name)) "
    "FROM pg_class c CROSS JOIN "
    "(VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE'), ('TRUNCATE')) p (name) "
    "WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace "
    "AND c.relname <> 'alembic_version' GROUP BY p.name"
)
_BESIDE = text(
    "SELECT has_schema_privilege(current_user, current_schema(), 'CREATE') AS makes, "
    "(SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS rules"
)


async def _on_postgresql(patient: Patient) -> frozenset[str]:
    async with patient.database.connect() as connection:
        tables = (await connection.execute(_PER_TABLE)).all()
        beside = (await connection.execute(_BESIDE)).one()
    held = {name for name, everywhere, somewhere in tables if (everywhere if name in NEEDED else somewhere)}
    return frozenset(
        held | ({"CREATE"} if beside.makes else set()) | ({"SUPERUSER"} if beside.rules else set())
    )
