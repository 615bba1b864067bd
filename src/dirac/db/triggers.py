"""Tables whose rows nobody changes or removes: triggers that refuse it, for migrations."""

from __future__ import annotations

from sqlalchemy import Connection

from dirac.core.errors import UnavailableError

_DEEDS = ("update", "delete")


def append_only(connection: Connection, table: str) -> None:
    """Have every UPDATE and DELETE of a table's rows refused, whoever tries.

    Raises:
        UnavailableError: MariaDB lets this user make no triggers.
    """
    dialect, said = connection.dialect.name, f"{table} is append-only"
    if dialect in ("mysql", "mariadb"):
        _refuse_without_trust(connection)
    if dialect == "postgresql":
        connection.exec_driver_sql(
            f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql "
            f"AS $$ BEGIN RAISE EXCEPTION '{said}' USING ERRCODE = 'insufficient_privilege'; END $$"
        )
    for deed in _DEEDS:
        make = f"CREATE TRIGGER {table}_{deed} BEFORE {deed.upper()} ON {table}"
        if dialect == "sqlite":
            connection.exec_driver_sql(f"{make} BEGIN SELECT RAISE(ABORT, '{said}'); END")
        elif dialect == "postgresql":
            connection.exec_driver_sql(f"{make} FOR EACH ROW EXECUTE FUNCTION {table}_refuse()")
        else:
            signal = f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{said}'"
            connection.exec_driver_sql(f"{make} FOR EACH ROW {signal}")


def not_append_only(connection: Connection, table: str) -> None:
    """Take the triggers away again."""
    postgresql = connection.dialect.name == "postgresql"
    for deed in _DEEDS:
        connection.exec_driver_sql(f"DROP TRIGGER {table}_{deed}" + (f" ON {table}" if postgresql else ""))
    if postgresql:
        connection.exec_driver_sql(f"DROP FUNCTION {table}_refuse()")


def _refuse_without_trust(connection: Connection) -> None:
    """Refuse what MariaDB would refuse half way: with a binary log it has to be told to trust triggers."""
    row = connection.exec_driver_sql("SELECT @@log_bin, @@log_bin_trust_function_creators").one()
    if row[0] and not row[1]:
        raise UnavailableError(
            "MariaDB keeps a binary log and does not let this user make triggers",
            hint="Set log_bin_trust_function_creators = 1 (the log is written row by row), and migrate again",
        )
