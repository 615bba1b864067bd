# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements for a MariaDB server through its own client: no secret on a command line, none in a log."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import contextmanager

from ansible.module_utils.database import RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def quoted(value: str) -> str:
    """Return a string literal; backslashes are literal, too, whatever the server's mode."""
    if "\\" in value:
        return "CONVERT(0x" + value.encode().hex() + " USING utf8mb4)"
    return "'" + value.replace("'", "''") + "'"


def name(value: str) -> str:
    """Return a quoted identifier."""
    return "`" + value.replace("`", "``") + "`"


@contextmanager
def options(**given: str) -> Iterator[int]:
    """Hold options of a client in memory only; yields the file descriptor to pass on."""
    file = os.memfd_create("mariadb-client")
    try:
        os.fchmod(file, 0o600)
        lines = [f'{key.replace("_", "-")}="{escaped(value)}"' for key, value in given.items()]
        os.write(file, ("[client]\n" + "\n".join(lines) + "\n").encode())
        yield file
    finally:
        os.close(file)


def escaped(value: str) -> str:
    """Return a value as it stands between double quotes in a file of options."""
    return value.replace("\\", "\\\\").replace('"', '\\"')


def reason(said: str) -> str:
    """Return why the server refused, without the statement: that may have the hash of a password.

    The server repeats the part of a statement that it did not understand; hashes are masked there, too.
    """
    lines = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines()[-1:]
    return re.sub(r"\*[0-9A-F]{16,}", "*", "; ".join(lines))


class Client:
    """A way to a server: as root through its socket, or as a user over the network.

    Args:
        given: Options of the client, by name (`socket`, `user`, `password`, `host`, `ssl_ca`, ...).
    """

    def __init__(self, **given: str) -> None:
        self._given = given

    def ask(self, *statements: str) -> list[list[str]]:
        """Run statements in one session, and return all rows; NULL is the text "NULL".

        Raises:
            RefusedError: One failed; those after it did not run.
        """
        with options(**self._given) as file:
            done = subprocess.run(
                [
                    "mariadb",
                    f"--defaults-file=/dev/fd/{file}",
                    "--batch",
                    "--skip-column-names",
                    "--default-character-set=utf8mb4",
                ],
                input="".join(f"{statement};\n" for statement in statements),
                capture_output=True,
                text=True,
                check=False,
                pass_fds=[file],
            )
        if done.returncode:
            raise RefusedError(reason(done.stderr.strip()) or f"the client ended with {done.returncode}")
        return [line.split("\t") for line in done.stdout.splitlines()]
