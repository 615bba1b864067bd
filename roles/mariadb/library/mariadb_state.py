# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: bring a MariaDB server's database, users and rights to the wanted state."""

from __future__ import annotations

import hashlib
import json

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.database import RefusedError
from ansible.module_utils.mariadb_client import Client, name, quoted
from ansible.module_utils.systemd_unit import Unit, UnitError, run, want_in_group

DOCUMENTATION = r"""
module: mariadb_state
short_description: Bring the database, users and rights of a MariaDB server to the wanted state
description:
  - Compares what is there with what is wanted, and changes only what differs. Rights that are not wanted are
    taken away, as are accounts of the named users for other hosts, nameless accounts, accounts of root for
    other hosts, and the database C(test).
  - A user with a password logs in from I(client_hosts); one without through the socket, as the system's
    user of that name. Passwords are sent as hashes, through a pipe, and not written to the binary log.
  - Before that it sees to it that the server runs and may read the host's key. It loads a renewed certificate
    without a restart, and says in C(restart) whether the server is older than its settings.
options:
  socket: {description: The server's socket, required: true, type: path}
  service: {description: The server's unit, required: true, type: str}
  user: {description: The server's user, required: true, type: str}
  config: {description: File of the server's settings, required: true, type: path}
  live: {description: "Settings, on or off, that it takes without a restart", type: dict, default: {}}
  tls_certificate: {description: The server's certificate; empty for none, type: str, default: ""}
  tls_group: {description: Group that may read the host's key, required: true, type: str}
  database: {description: The database, required: true, type: str}
  users:
    description: >-
      The users, with C(name), C(privileges) (a list of C(on), C(*.*) or C(DATABASE.*), and C(rights)),
      C(max_connections) (0 for no limit) and C(state) (C(present) or C(absent)).
    required: true
    type: list
    elements: dict
  passwords: {description: Passwords by name, type: dict, default: {}}
  client_hosts: {description: Hosts that users with a password come from, type: list, elements: str}
"""

CHARACTER_SET, COLLATION = "utf8mb4", "utf8mb4_bin"
QUIET = "SET SESSION sql_log_bin = 0"


def native_hash(password: str) -> str:
    """Return what the server keeps of a password (`mysql_native_password`)."""
    return "*" + hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest().upper()  # noqa: S324


def account(user: str, host: str) -> str:
    """Return an account as it stands in statements and in the tables of rights."""
    return f"{quoted(user)}@{quoted(host)}"


def scope(target: str) -> str:
    """Return what rights are for, as GRANT wants it: `_` is a wildcard there."""
    database = target.split(".")[0]
    return "*.*" if database == "*" else name(database.replace("_", "\\_")) + ".*"


class Present:
    """What is there: read in one session."""

    def __init__(self, client: Client, database: str) -> None:
        rows = client.ask(
            "SELECT 'account', User, Host, HEX(Priv) FROM mysql.global_priv",
            "SELECT 'right', GRANTEE, '*.*', PRIVILEGE_TYPE, IS_GRANTABLE"
            " FROM information_schema.USER_PRIVILEGES",
            "SELECT 'right', GRANTEE, HEX(TABLE_SCHEMA), PRIVILEGE_TYPE, IS_GRANTABLE"
            " FROM information_schema.SCHEMA_PRIVILEGES",
            "SELECT 'database', SCHEMA_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA"
            f" WHERE SCHEMA_NAME IN ('test', {quoted(database)})",
        )
        self.accounts = {
            (row[1], row[2]): json.loads(bytes.fromhex(row[3])) for row in rows if row[0] == "account"
        }
        self.databases = {row[1]: row[2] for row in rows if row[0] == "database"}
        self.rights: dict[str, set[tuple[str, str]]] = {}
        for _, grantee, target, right, grantable in (row for row in rows if row[0] == "right"):
            place = target if target == "*.*" else name(bytes.fromhex(target).decode()) + ".*"
            held = self.rights.setdefault(grantee, set())
            if right != "USAGE":
                held.add((place, right))
            if grantable == "YES":
                held.add((place, "GRANT OPTION"))


class Plan:
    """The statements that lead from what is there to what is wanted, and what they do, in words."""

    def __init__(self, present: Present) -> None:
        self.present = present
        self.statements: list[str] = []
        self.did: list[str] = []

    def add(self, said: str, *statements: str) -> None:
        """Note a change."""
        self.did.append(said)
        self.statements += statements

    def want_database(self, database: str) -> None:
        """Plan the database."""
        there = self.present.databases
        how = f"{name(database)} CHARACTER SET {CHARACTER_SET} COLLATE {COLLATION}"
        if database not in there:
            # This belongs into the binary log: it is the database's own history.
            self.add(
                f"made the database {database}",
                "SET SESSION sql_log_bin = 1",
                f"CREATE DATABASE {how}",
                QUIET,
            )
        elif there[database] != COLLATION:
            self.add(f"set the collation of {database} to {COLLATION}", f"ALTER DATABASE {how}")
        if "test" in there and database != "test":
            self.add("removed the database test", "DROP DATABASE test")

    def drop_strangers(self) -> None:
        """Plan to remove nameless accounts, and root from elsewhere."""
        for user, host in self.present.accounts:
            if not user or (user == "root" and host != "localhost"):
                self.add(f"removed the account {account(user, host)}", f"DROP USER {account(user, host)}")

    def want_user(self, user: dict[str, object], password: str, hosts: list[str]) -> None:
        """Plan a user's accounts and rights."""
        called = str(user["name"])
        absent = user.get("state") == "absent"
        wanted = [] if absent else hosts if password else ["localhost"]
        for known, host in self.present.accounts:
            if known == called and host not in wanted:
                self.add(f"removed the account {account(known, host)}", f"DROP USER {account(known, host)}")
        for host in wanted:
            self._want_account(called, host, password, int(str(user.get("max_connections") or 0)))
            self._want_rights(account(called, host), user.get("privileges") or [])

    def _want_account(self, user: str, host: str, password: str, limit: int) -> None:
        plugin = "mysql_native_password" if password else "unix_socket"
        proof = native_hash(password) if password else ""
        who = account(user, host)
        how = f"{who} IDENTIFIED VIA {plugin}" + (f" USING {quoted(proof)}" if proof else "")
        how += f" WITH MAX_USER_CONNECTIONS {limit}"
        there = self.present.accounts.get((user, host))
        if there is None:
            self.add(f"made the account {who}", f"CREATE USER {how}")
            return
        differs = []
        if there.get("plugin") != plugin or (proof and there.get("authentication_string") != proof):
            differs.append("password" if password else "way to log in")
        if "auth_or" in there:
            differs.append("other ways to log in")
        if there.get("max_user_connections", 0) != limit:
            differs.append("limit of connections")
        if there.get("account_locked"):
            differs.append("lock")
            how += " ACCOUNT UNLOCK"
        if differs:
            self.add(f"set the {' and the '.join(differs)} of {who}", f"ALTER USER {how}")

    def _want_rights(self, who: str, privileges: list[dict[str, object]]) -> None:
        wanted = {(scope(str(each["on"])), right.upper()) for each in privileges for right in each["rights"]}
        held = self.present.rights.get(who, set())
        for verb, past, link, rights in (
            ("REVOKE", "took", "FROM", held - wanted),
            ("GRANT", "granted", "TO", wanted - held),
        ):
            for place in sorted({place for place, _ in rights}):
                listed = ", ".join(sorted(right for where, right in rights if where == place))
                self.add(
                    f"{past} {listed} on {place} {link.lower()} {who}",
                    f"{verb} {listed} ON {place} {link} {who}",
                )


def want_live(client: Client, wanted: dict[str, bool], *, check: bool) -> list[str]:
    """Switch settings of the running server that are not as wanted; returns what was done (or would be)."""
    names = sorted(wanted)
    rows = client.ask(*(f"SELECT @@GLOBAL.{each}" for each in names))
    wrong = [each for each, row in zip(names, rows) if row != [str(int(wanted[each]))]]
    if wrong and not check:
        client.ask(*(f"SET GLOBAL {each} = {int(wanted[each])}" for each in wrong))
    return [f"switched {each} {'on' if wanted[each] else 'off'}" for each in wrong]


def certificate_is_old(client: Client, certificate: str) -> bool:
    """Tell whether the server uses another certificate than the file's; their last days tell them apart."""
    shown = client.ask("SHOW STATUS LIKE 'Ssl_server_not_after'")
    said = run("openssl", "x509", "-in", certificate, "-noout", "-enddate").partition("=")[2]
    return bool(said and shown and shown[0][1]) and shown[0][1].split() != said.split()


def bring(module: AnsibleModule) -> dict[str, object]:
    """Do the module's work and return its answer.

    Raises:
        RefusedError: The server refused a statement.
        UnitError: The server could not be started.
    """
    given, check = module.params, module.check_mode
    unit, group = Unit(given["service"]), given["tls_group"] if given["tls_certificate"] else ""
    did = want_in_group(given["user"], group, check=check) if group else []
    did += unit.want_running(check=check)
    client = Client(user="root", socket=given["socket"])
    did += want_live(client, given["live"], check=check)
    plan = Plan(Present(client, given["database"]))
    plan.want_database(given["database"])
    plan.drop_strangers()
    for user in given["users"]:
        plan.want_user(user, given["passwords"].get(user["name"], ""), given["client_hosts"])
    if plan.statements and not check:
        client.ask(QUIET, *plan.statements)
    did += plan.did
    restart = unit.is_stale(given["config"], group=group)
    if group and not restart:
        over_tls = Client(user="root", socket=given["socket"], ssl="1", ssl_verify_server_cert="0")
        if certificate_is_old(over_tls, given["tls_certificate"]):
            did.append("loaded the renewed certificate")
            if not check:
                client.ask("FLUSH SSL")
    return {"changed": bool(did) or restart, "did": did, "restart": restart}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "required": True},
            "service": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "config": {"type": "path", "required": True},
            "live": {"type": "dict", "default": {}},
            "tls_certificate": {"type": "str", "default": ""},
            "tls_group": {"type": "str", "required": True},
            "database": {"type": "str", "required": True},
            "users": {"type": "list", "elements": "dict", "required": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
            "client_hosts": {"type": "list", "elements": "str", "default": ["%"]},
        },
        supports_check_mode=True,
    )
    try:
        answer = bring(module)
    except (RefusedError, UnitError, OSError) as error:
        module.fail_json(msg=f"the server could not be brought to the wanted state: {error}")
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
