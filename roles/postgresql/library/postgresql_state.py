# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: bring a PostgreSQL server's database, users and rights to the wanted state."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import pwd
import secrets
import unicodedata
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.database import RefusedError
from ansible.module_utils.postgresql_client import Client, name, quoted
from ansible.module_utils.systemd_unit import Unit, UnitError, want_in_group

DOCUMENTATION = r"""
module: postgresql_state
short_description: Bring the database, users and rights of a PostgreSQL server to the wanted state
description:
  - Writes the rules of who may come from where (and takes them back if the server does not understand them),
    starts the server, has it read settings or certificates that are newer, and changes what differs.
  - Passwords are sent as SCRAM-SHA-256 verifiers. Says in C(restart) what the server says itself, that
    settings wait for its restart.
options:
  service: {description: The server's unit, required: true, type: str}
  user: {description: The server's user, required: true, type: str}
  port: {description: Its port, required: true, type: int}
  config: {description: Directory of its settings, required: true, type: path}
  rules: {description: Content of pg_hba.conf, required: true, type: str}
  archive: {description: Directory of the archived log, required: true, type: path}
  tls_certificate: {description: The server's certificate; empty for none, type: str, default: ""}
  tls_group: {description: Group that may read the host's key, required: true, type: str}
  database: {description: The database, required: true, type: str}
  users:
    description: >-
      Users with C(name), C(access) (C(owner) of the database, C(data) for rows of its tables, C(backup),
      C(monitoring)), C(max_connections) and C(state).
    required: true
    type: list
    elements: dict
  passwords: {description: Passwords by name, type: dict}
"""

ITERATIONS = 4096
# What each access means: attributes, and membership in the server's own roles.
REPLICATION = {"backup"}
MEMBER = {"backup": "pg_read_all_data", "monitoring": "pg_monitor"}
TABLES, SEQUENCES = "SELECT, INSERT, UPDATE, DELETE", "SELECT, USAGE, UPDATE"


def verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """Return what the server keeps of a password (RFC 5803)."""
    raw = unicodedata.normalize("NFKC", password).encode()
    salted = hashlib.pbkdf2_hmac("sha256", raw, salt, iterations)
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(part).decode() for part in (salt, client, server)]
    return f"SCRAM-SHA-256${iterations}:{text[0]}${text[1]}:{text[2]}"


def is_password(kept: str, password: str) -> bool:
    """Tell whether what the server keeps is of this password."""
    parts = kept.replace(":", "$").split("$")
    if len(parts) != 5 or parts[0] != "SCRAM-SHA-256":
        return False
    return hmac.compare_digest(kept, verifier(password, base64.b64decode(parts[2]), int(parts[1])))


class Server:
    """The server of a host: files, unit, statements; collects what was done."""

    def __init__(self, given: dict[str, object], *, check: bool) -> None:
        self.given, self.check, self.did = given, check, []
        self.unit, self.user = Unit(str(given["service"])), str(given["user"])
        self.group = str(given["tls_group"]) if given["tls_certificate"] else ""
        self.client = self.to("postgres")

    def to(self, database: str) -> Client:
        """Return a client of the server's own user."""
        return Client(system_user=self.user, port=str(self.given["port"]), dbname=database)

    def do(self, said: str, database: str, *statements: str) -> None:
        """Do something and note it."""
        self.did.append(said)
        if not self.check:
            self.to(database).ask(*statements)

    def want_running(self) -> None:
        """Bring about what the server needs before it can be asked."""
        if self.group:
            self.did += want_in_group(self.user, self.group, check=self.check)
        archive, entry = Path(str(self.given["archive"])), pwd.getpwnam(self.user)
        if not archive.exists():
            self.did.append(f"made {archive}")
            if not self.check:
                archive.mkdir(mode=0o700, parents=True)
                os.chown(archive, entry.pw_uid, entry.pw_gid)
        if self.unit.show()["ActiveState"] != "active":
            self._write_rules()
            self.did += self.unit.want_running(check=self.check)

    def _write_rules(self) -> str | None:
        """Write the rules if they differ; returns those before, None if nothing was written."""
        path, entry = Path(str(self.given["config"])) / "pg_hba.conf", pwd.getpwnam(self.user)
        before = path.read_text() if path.exists() else ""
        if before == self.given["rules"]:
            return None
        self.did.append("set who may come from where")
        if self.check:
            return None
        fresh = path.with_name(path.name + ".part")
        fresh.write_text(str(self.given["rules"]))
        fresh.chmod(0o640)
        os.chown(fresh, entry.pw_uid, entry.pw_gid)
        fresh.rename(path)
        return before

    def want_settings(self) -> bool:
        """Have the server read what is newer than what it knows; tells whether it has to be restarted.

        Raises:
            RefusedError: It does not understand the rules; the old ones are back.
        """
        before = self._write_rules()
        config = Path(str(self.given["config"]))
        files = [config / "conf.d/80-dirac.conf", config / "pg_hba.conf"]
        files += [Path(str(self.given["tls_certificate"]))] if self.group else []
        read = float(self.client.ask("SELECT extract(epoch FROM pg_conf_load_time())")[0][0])
        if any(file.stat().st_mtime > read for file in files if file.exists()):
            self.did.append("had the server read its settings")
            if not self.check:
                self.client.ask("SELECT pg_reload_conf()", "SELECT pg_sleep(0.5)")
        if before is not None:
            self._require_rules(config / "pg_hba.conf", before)
        waiting = self.client.ask("SELECT count(*) FROM pg_settings WHERE pending_restart")
        return waiting != [["0"]] or (bool(self.group) and self.unit.is_stale(group=self.group))

    def _require_rules(self, path: Path, before: str) -> None:
        # A server that cannot read its key yet has TLS off until its restart, and warns of that.
        wrong = self.client.ask(
            "SELECT line_number, error FROM pg_hba_file_rules WHERE error NOT LIKE '%SSL is disabled%'"
        )
        if wrong:
            path.write_text(before)
            self.client.ask("SELECT pg_reload_conf()")
            said = "; ".join(": ".join(row) for row in wrong)
            raise RefusedError(
                f"the rules of who may come from where are wrong, the old ones are back: {said}"
            )


class Users:
    """Users, database and rights, compared with what is wanted."""

    def __init__(self, server: Server) -> None:
        self.server, self.given = server, server.given
        self.database = str(self.given["database"])
        rows = server.client.ask(
            "SELECT rolname, rolcanlogin AND NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolbypassrls),"
            " rolreplication, rolconnlimit, coalesce(rolpassword, '') FROM pg_authid",
        )
        self.roles = {row[0]: row[1:] for row in rows}
        members = server.client.ask(
            "SELECT m.rolname, g.rolname FROM pg_auth_members a"
            " JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid"
        )
        self.members = {(row[0], row[1]) for row in members}

    def want_all(self) -> None:
        """Bring it about."""
        present = [user for user in self.given["users"] if user.get("state") != "absent"]
        for user in present:
            self._want_user(user, self.given["passwords"].get(user["name"], ""))
        owner = next(user["name"] for user in present if user["access"] == "owner")
        if self._want_database(owner):
            self._want_rights(owner, [user for user in present if user["access"] != "owner"])
        for user in self.given["users"]:
            if user.get("state") == "absent" and user["name"] in self.roles:
                gone = name(user["name"])
                statements = (
                    f"REASSIGN OWNED BY {gone} TO {name(owner)}",
                    f"DROP OWNED BY {gone}",
                    f"DROP ROLE {gone}",
                )
                self.server.do(f"removed the user {user['name']}", self.database, *statements)

    def _want_user(self, user: dict[str, object], password: str) -> None:
        called, access = str(user["name"]), str(user["access"])
        limit, copies = str(user.get("max_connections") or -1), access in REPLICATION
        there = self.roles.get(called)
        how = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS"
        how += f" {'' if copies else 'NO'}REPLICATION CONNECTION LIMIT {limit}"
        differs = not there or there[:3] != ["t", "t" if copies else "f", limit]
        if password and not (there and is_password(there[3], password)):
            how += f" PASSWORD {quoted(verifier(password, secrets.token_bytes(16)))}"
            differs = True
        elif there and there[3] and not password:
            how, differs = how + " PASSWORD NULL", True
        if differs:
            said = (
                f"set the password or attributes of the user {called}" if there else f"made the user {called}"
            )
            self.server.do(said, "postgres", f"{'ALTER' if there else 'CREATE'} ROLE {name(called)} {how}")
        wanted = {MEMBER[access]} if access in MEMBER else set()
        held = {group for member, group in self.members if member == called}
        for group in sorted(held - wanted):
            self.server.do(
                f"took {called} out of {group}", "postgres", f"REVOKE {name(group)} FROM {name(called)}"
            )
        for group in sorted(wanted - held):
            self.server.do(f"put {called} into {group}", "postgres", f"GRANT {name(group)} TO {name(called)}")

    def _want_database(self, owner: str) -> bool:
        """Bring the database about; tells whether it can be asked (check mode may lack it)."""
        found = self.server.client.ask(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = " + quoted(self.database)
        )
        if not found:
            # Bytes are compared, as on the other engines; names in UTF-8.
            how = f"OWNER {name(owner)} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' TEMPLATE template0"
            self.server.do(
                f"made the database {self.database}",
                "postgres",
                f"CREATE DATABASE {name(self.database)} {how}",
            )
            return not self.server.check
        if found != [[owner]]:
            said = f"gave the database {self.database} to {owner}"
            self.server.do(said, "postgres", f"ALTER DATABASE {name(self.database)} OWNER TO {name(owner)}")
        return True

    def _want_rights(self, owner: str, others: list[dict[str, object]]) -> None:
        base = name(self.database)
        doors = self.server.client.ask(
            "SELECT a.grantee::regrole::text, a.privilege_type FROM pg_database d,"
            " aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a"
            f" WHERE d.datname = {quoted(self.database)}"
        )
        if any(row[0] == "-" for row in doors):
            self.server.do(
                "closed the database to who is not named",
                "postgres",
                f"REVOKE ALL ON DATABASE {base} FROM PUBLIC",
            )
        for user in others:
            if [name(str(user["name"])).strip('"'), "CONNECT"] not in doors:
                said = f"opened the database to {user['name']}"
                self.server.do(
                    said, "postgres", f"GRANT CONNECT ON DATABASE {base} TO {name(str(user['name']))}"
                )
        for user in others:
            if user["access"] == "data":
                self._want_rows(owner, str(user["name"]))

    def _want_rows(self, owner: str, user: str) -> None:
        """Let a user work on the rows of all tables, those of today and those that the owner will make."""
        inside = self.server.to(self.database)
        holder, every = quoted(user), ("SELECT", "INSERT", "UPDATE", "DELETE")
        rows = " AND ".join(f"has_table_privilege({holder}, oid, {quoted(right)})" for right in every)
        lacking = inside.ask(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            f" AND (relkind IN ('r', 'p', 'v') AND NOT ({rows})"
            f" OR relkind = 'S' AND NOT has_sequence_privilege({holder}, oid, 'USAGE'))",
            "SELECT count(*) FROM pg_default_acl d, aclexplode(d.defaclacl) a"
            f" WHERE d.defaclrole = {quoted(owner)}::regrole AND a.grantee = {holder}::regrole"
            " AND d.defaclnamespace = 'public'::regnamespace",
            "SELECT has_schema_privilege('public', 'public', 'CREATE')",
        )
        if lacking == [["0"], ["7"], ["f"]]:
            return
        who, whose = name(user), name(owner)
        default = f"ALTER DEFAULT PRIVILEGES FOR ROLE {whose} IN SCHEMA public GRANT"
        statements = (
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            f"GRANT USAGE ON SCHEMA public TO {who}",
            f"GRANT {TABLES} ON ALL TABLES IN SCHEMA public TO {who}",
            f"GRANT {SEQUENCES} ON ALL SEQUENCES IN SCHEMA public TO {who}",
            f"{default} {TABLES} ON TABLES TO {who}",
            f"{default} {SEQUENCES} ON SEQUENCES TO {who}",
        )
        self.server.do(f"gave {user} the rows of all tables of {owner}", self.database, *statements)


def bring(module: AnsibleModule) -> dict[str, object]:
    """Do the module's work and return its answer.

    Raises:
        RefusedError: The server refused a statement.
        UnitError: It could not be started.
    """
    server = Server(module.params, check=module.check_mode)
    server.want_running()
    restart = False
    if not module.check_mode or server.unit.show()["ActiveState"] == "active":
        restart = server.want_settings()
        Users(server).want_all()
    return {"changed": bool(server.did) or restart, "did": server.did, "restart": restart}


def main() -> None:
    """Run the module."""
    text = {"type": "str", "required": True}
    path = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "service": text,
            "user": text,
            "port": {"type": "int", "required": True},
            "config": path,
            "rules": text,
            "archive": path,
            "tls_certificate": {"type": "str", "default": ""},
            "tls_group": text,
            "database": text,
            "users": {"type": "list", "elements": "dict", "required": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
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
