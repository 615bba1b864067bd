# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: ask a MariaDB server whether it is sound, logged in as each of its users."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.database import RefusedError, verify
from ansible.module_utils.mariadb_client import Client, name, quoted

DOCUMENTATION = r"""
module: mariadb_verify
short_description: Ask a MariaDB server whether it is sound, logged in as each of its users
description:
  - Logs in over the network (over TLS if there is a CA, and then not without), looks at isolation level and
    collation, and requires that who may not make tables cannot. Changes nothing; says all problems at once.
  - Users without a password are those of the system's socket; they are not tried.
options:
  address: {description: Name or address that clients use, required: true, type: str}
  port: {description: Port, required: true, type: int}
  socket: {description: The server's socket, required: true, type: path}
  tls_ca: {description: Certificates of the CA; empty for no TLS, type: str, default: ""}
  database: {description: The database, required: true, type: str}
  users: {description: The users as for M(mariadb_state), required: true, type: list, elements: dict}
  passwords: {description: Passwords by name, type: dict, default: {}}
  isolation: {description: The isolation level that sessions begin with, required: true, type: str}
"""

COLLATION = "utf8mb4_bin"
# Not these rights, not this database.
DENIED = ("ERROR 1142", "ERROR 1044")
ISOLATION = "SHOW VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')"


def login(given: dict[str, object], user: str, password: str, *, tls: bool) -> Client:
    """Return a client that logs in over the network."""
    options = {"host": str(given["address"]), "port": str(given["port"]), "protocol": "tcp"}
    if tls:
        options |= {"ssl_ca": str(given["tls_ca"]), "ssl_verify_server_cert": "1"}
    else:
        options |= {"skip_ssl": "1"}
    return Client(user=user, password=password, connect_timeout="10", **options)


def refusal(client: Client, *statements: str) -> str:
    """Return why statements are refused; empty if they are not."""
    try:
        client.ask(*statements)
    except RefusedError as error:
        return str(error)
    return ""


def may_create(user: dict[str, object], database: str) -> bool:
    """Tell whether a user is meant to make tables."""
    return any(
        "CREATE" in each["rights"] and each["on"] in ("*.*", f"{database}.*")
        for each in user.get("privileges") or []
    )


class Verification:
    """What was found wrong so far."""

    def __init__(self, given: dict[str, object]) -> None:
        self.given = given
        self.problems: list[str] = []
        self.root = Client(user="root", socket=str(given["socket"]))

    def check_server(self) -> None:
        """Ask as root for what holds for everybody."""
        database, isolation = str(self.given["database"]), self.given["isolation"]
        found = self.root.ask(
            "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA"
            f" WHERE SCHEMA_NAME = {quoted(database)}",
            "SELECT COUNT(*) FROM mysql.global_priv WHERE User = ''",
            ISOLATION,
        )
        if found[0] != [COLLATION]:
            self.problems.append(f"the database {database} has the collation {found[0][0]}, not {COLLATION}")
        if found[1] != ["0"]:
            self.problems.append("there are accounts without a name")
        if found[2][1] != isolation:
            self.problems.append(f"sessions begin with {found[2][1]}, not {isolation}")

    def check_user(self, user: dict[str, object], password: str) -> None:
        """Log in as a user, and try what it must not be able to do."""
        called, tls = str(user["name"]), bool(self.given["tls_ca"])
        client = login(self.given, called, password, tls=tls)
        try:
            rows = client.ask("SHOW STATUS LIKE 'Ssl_cipher'", ISOLATION)
        except RefusedError as error:
            self.problems.append(f"{called} cannot log in at {self.given['address']}: {error}")
            return
        if tls and not rows[0][1]:
            self.problems.append(f"the connection of {called} is not encrypted")
        if rows[1][1] != self.given["isolation"]:
            self.problems.append(f"{called} begins with {rows[1][1]}, not {self.given['isolation']}")
        if tls and not refusal(login(self.given, called, password, tls=False), "SELECT 1"):
            self.problems.append(f"{called} can log in without TLS")
        if not may_create(user, str(self.given["database"])):
            self._check_cannot_create(client, called)

    def _check_cannot_create(self, client: Client, called: str) -> None:
        table = f"{name(str(self.given['database']))}.dirac_verify"
        why = refusal(client, f"CREATE TABLE {table} (i INT)")
        if not why:
            self.root.ask(f"DROP TABLE {table}")
            self.problems.append(f"{called} can make tables, and must not")
        elif not why.startswith(DENIED):
            self.problems.append(f"{called} could not be tried: {why}")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "socket": {"type": "path", "required": True},
            "tls_ca": {"type": "str", "default": ""},
            "database": {"type": "str", "required": True},
            "users": {"type": "list", "elements": "dict", "required": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
            "isolation": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    verify(module, Verification(module.params))


if __name__ == "__main__":
    main()
