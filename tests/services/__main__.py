"""Command line: fetch the servers that the tests need, or start each once to see that it works."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from dirac.core.errors import DiracError

from . import dex, mariadb, oidc, pebble, postgresql, rabbitmq, scim, sops, sshd
from .packages import PackageSet, Programs, obtain
from .server import Server

SETS: dict[str, tuple[PackageSet, type[Server]]] = {
    "mariadb": (mariadb.PACKAGES, mariadb.MariaDB),
    "postgresql": (postgresql.PACKAGES, postgresql.PostgreSQL),
    "rabbitmq": (rabbitmq.PACKAGES, rabbitmq.RabbitMQ),
    "sshd": (sshd.PACKAGES, sshd.Sshd),
}

MADE: dict[str, tuple[str, Callable[[], Programs], Callable[[], Server] | None]] = {
    "oidc-provider": ("oidc-provider", oidc.programs, oidc.OidcProvider),
    "dex": ("Dex", dex.programs, dex.Dex),
    "scim2-server": ("scim2-server", scim.programs, scim.ScimServer),
    "sops": ("age and SOPS", sops.programs, None),
    "pebble": ("Pebble", pebble.programs, pebble.Pebble),
}
"""Those that the distribution has no package of; some are no servers."""
NAMES = (*SETS, *MADE)


def say(line: str) -> None:
    """Print at once, also into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def install(name: str) -> None:
    """Make sure that the programs are here."""
    if name in MADE:
        title, make, _ = MADE[name]
        made = make()
        say(f"{title} {made.version}: {made.root}")
        return
    wanted, _ = SETS[name]
    programs = obtain(wanted, say)
    place = "installed on this machine" if programs.installed else programs.root
    say(f"{wanted.title} {programs.version}: {place}")


def check(name: str) -> None:
    """Start and stop a server."""
    if name in MADE:
        start = MADE[name][2]
        if start is None:
            install(name)
            return
        server = start()
    else:
        wanted, make = SETS[name]
        server = make(obtain(wanted, say))
    began = time.monotonic()
    with server:
        ready = time.monotonic()
    say(
        f"{server.title} {server.programs.version}: answered after {ready - began:.1f} s, "
        f"gone after {time.monotonic() - ready:.1f} s"
    )


COMMANDS: dict[str, Callable[[str], None]] = {"install": install, "check": check}


def main() -> int:
    """Run a command for the servers named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.services", description=__doc__)
    parser.add_argument(
        "command", choices=COMMANDS, help="install: fetch what is missing; check: start each once"
    )
    parser.add_argument("server", nargs="*", help=f"some of: {', '.join(NAMES)}; without, all")
    arguments = parser.parse_args()
    if unknown := set(arguments.server) - set(NAMES):
        parser.error(f"no such server: {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
    failures = 0
    for name in arguments.server or NAMES:
        try:
            COMMANDS[arguments.command](name)
        except DiracError as error:
            failures += 1
            sys.stderr.write(f"{error}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
