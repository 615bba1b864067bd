# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements for a PostgreSQL server through its own client: no secret on a command line, none in a log."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ansible.module_utils.database import RefusedError

SEPARATOR = "\x1f"


def program(called: str) -> str:
    """Return a program of the newest version here; Debian's own command looks for it, too, and is slower."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{called}"))
    return str(found[-1]) if found else called


def quoted(value: str) -> str:
    """Return a string literal."""
    return "'" + value.replace("'", "''") + "'"


def name(value: str) -> str:
    """Return a quoted identifier."""
    return '"' + value.replace('"', '""') + '"'


class Client:
    """A way to a server.

    Args:
        system_user: The system's user to be, for a login through the socket; empty for ourselves.
        password: Password, for a login over the network; it is held in memory only.
        given: Parameters of the connection, by name (`host`, `port`, `user`, `dbname`, `sslmode`, ...).
    """

    def __init__(self, *, system_user: str = "", password: str = "", **given: str) -> None:
        self._user, self._password, self._given = system_user, password, given

    def ask(self, *statements: str) -> list[list[str]]:
        """Run statements in one session, and return all rows.

        Raises:
            RefusedError: One failed; those after it did not run.
        """
        file = os.memfd_create("postgresql-client")
        try:
            os.fchmod(file, 0o600)
            proof = self._password.replace("\\", "\\\\").replace(":", "\\:")
            os.write(file, f"*:*:*:*:{proof}\n".encode())
            return self._ask(file, statements)
        finally:
            os.close(file)

    def _ask(self, file: int, statements: tuple[str, ...]) -> list[list[str]]:
        given = self._given | ({"passfile": f"/dev/fd/{file}"} if self._password else {})
        place = " ".join(f"{key}='{value}'" for key, value in given.items())
        become = ["runuser", "-u", self._user, "--"] if self._user else []
        done = subprocess.run(
            [
                *become,
                program("psql"),
                "-XqAt",
                "-F",
                SEPARATOR,
                "-v",
                "ON_ERROR_STOP=1",
                "-v",
                "VERBOSITY=verbose",
                place,
            ],
            input="".join(f"{statement};\n" for statement in statements),
            capture_output=True,
            text=True,
            check=False,
            pass_fds=[file],
            cwd="/",
        )
        if done.returncode:
            lines = [
                line
                for line in done.stderr.splitlines()
                if "ERROR" in line or "FATAL" in line or "error:" in line
            ]
            raise RefusedError("; ".join(lines) or done.stderr.strip())
        return [line.split(SEPARATOR) for line in done.stdout.splitlines()]
