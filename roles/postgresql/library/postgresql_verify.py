# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: ask a PostgreSQL server whether it is sound, logged in as each of its users."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.database import RefusedError, verify
from ansible.module_utils.postgresql_client import Client, quoted

DOCUMENTATION = r"""
module: postgresql_verify
short_description: Ask a PostgreSQL server whether it is sound, logged in as each of its users
description:
  - Logs in over the network (over TLS if there is a CA, and then not without), looks at isolation level,
    encoding, collation and the archive, and requires that only the owner can make tables. Changes nothing.
options:
  address: {description: Name or address that clients use, required: true, type: str}
  port: {description: Port, required: true, type: int}
  user: {description: The server's user on the system, required: true, type: str}
  tls_ca: {description: Certificates of the CA; empty for no TLS, type: str, default: ""}
  database: {description: The database, required: true, type: str}
  users: {description: Users as for M(postgresql_state), required: true, type: list, elements: dict}
  passwords: {description: Passwords by name, type: dict}
"""

DENIED = "42501"


class Verification:
    """What was found wrong so far."""

    def __init__(self, given: dict[str, object]) -> None:
        self.given = given
        self.problems: list[str] = []

    def _login(self, user: str, password: str, *, tls: bool) -> Client:
        given = {"host": str(self.given["address"]), "port": str(self.given["port"]), "user": user}
        given |= {"dbname": str(self.given["database"]), "connect_timeout": "10"}
        given |= (
            {"sslmode": "verify-full", "sslrootcert": str(self.given["tls_ca"])}
            if tls
            else {"sslmode": "disable"}
        )
        return Client(password=password, **given)

    def check_server(self) -> None:
        """Ask as the server's own user for what holds for everybody.

        Raises:
            RefusedError: It does not answer.
        """
        client = Client(system_user=str(self.given["user"]), port=str(self.given["port"]), dbname="postgres")
        rows = client.ask(
            "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database"
            f" WHERE datname = {quoted(str(self.given['database']))}",
            "SELECT CASE WHEN last_failed_time > coalesce(last_archived_time, '-infinity')"
            " THEN last_failed_wal ELSE '' END"
            " FROM pg_stat_archiver",
            "SHOW default_transaction_isolation",
        )
        if rows[0] != ["UTF8", "C"]:
            self.problems.append(f"the database has encoding and collation {rows[0]}, not UTF8 and C")
        if rows[1] != [""]:
            self.problems.append(f"the log {rows[1][0]} cannot be archived; see the server's log")
        if rows[2] != ["read committed"]:
            self.problems.append(f"sessions begin with {rows[2][0]}, not read committed")

    def check_user(self, user: dict[str, object], password: str) -> None:
        """Log in as a user, and try what it must not be able to do."""
        called, tls = str(user["name"]), bool(self.given["tls_ca"])
        client = self._login(called, password, tls=tls)
        try:
            rows = client.ask("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        except RefusedError as error:
            self.problems.append(f"{called} cannot log in at {self.given['address']}: {error}")
            return
        if rows != [["t" if tls else "f"]]:
            self.problems.append(f"the connection of {called} is not encrypted")
        if tls and self._can(self._login(called, password, tls=False), "SELECT 1"):
            self.problems.append(f"{called} can log in without TLS")
        # In a transaction that is taken back, whatever comes of it.
        if user["access"] != "owner" and self._can(
            client, "BEGIN", "CREATE TABLE dirac_verify (i int)", "ROLLBACK"
        ):
            self.problems.append(f"{called} can make tables, and must not")

    def _can(self, client: Client, *statements: str) -> bool:
        try:
            client.ask(*statements)
        except RefusedError as error:
            if "BEGIN" in statements and DENIED not in str(error):
                self.problems.append(str(error))
            return False
        return True


def main() -> None:
    """Run the module."""
    text = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "address": text,
            "port": {"type": "int", "required": True},
            "user": text,
            "tls_ca": {"type": "str", "default": ""},
            "database": text,
            "users": {"type": "list", "elements": "dict", "required": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    verify(module, Verification(module.params))


if __name__ == "__main__":
    main()
