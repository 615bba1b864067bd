"""Command line: make images and fleets of test hosts."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from . import images
from .fleet import Fleet, Host, connection, write_inventory
from .podman import HostsError, install, missing, place
from .scenarios import plan


def main() -> int:
    """Run a command."""
    parser = argparse.ArgumentParser(prog="python -m tests.hosts", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="install podman and what it needs (root)")
    commands.add_parser("missing", help="say what keeps this machine from having hosts")
    left = commands.add_parser("left", help="say which scenarios are not run, and why")
    left.add_argument("wanted", nargs="?", default="selection", help="selection, all, or names with commas")
    image = commands.add_parser("image", help="make images")
    image.add_argument("suite", nargs="+", choices=images.SUITES)
    up = commands.add_parser("up", help="make a fleet; prints the variables of its hosts as JSON")
    up.add_argument("fleet")
    up.add_argument("host", nargs="+", help="NAME, NAME:SUITE or NAME:SUITE:ALIAS,ALIAS")
    up.add_argument("--inventory", type=Path, help="write an inventory of the hosts there")
    down = commands.add_parser("down", help="remove a fleet")
    down.add_argument("fleet")
    ssh = commands.add_parser("ssh", help="open a shell on a host, or run a command")
    ssh.add_argument("address")
    ssh.add_argument("words", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    try:
        return _do(arguments)
    except HostsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _do(arguments: argparse.Namespace) -> int:
    if arguments.command == "install":
        install()
    elif arguments.command == "missing":
        reasons = missing()
        sys.stdout.write("".join(f"{reason}\n" for reason in reasons))
        return 1 if reasons else 0
    elif arguments.command == "left":
        for name, reason in plan(arguments.wanted).left_out.items():
            sys.stdout.write(f"{name}: {reason}\n")
    elif arguments.command == "image":
        for suite in arguments.suite:
            sys.stdout.write(f"{images.ensure(suite)}\n")
    elif arguments.command == "up":
        addresses = Fleet(arguments.fleet).up([_host(text) for text in arguments.host])
        if arguments.inventory:
            write_inventory(arguments.inventory, addresses)
        json.dump({name: connection(address) for name, address in addresses.items()}, sys.stdout)
    elif arguments.command == "down":
        Fleet(arguments.fleet).down()
    else:
        options = connection(arguments.address)
        common = options["ansible_ssh_common_args"].split()
        control = f"ControlPath={place()}/%C"
        identity = options["ansible_ssh_private_key_file"]
        command = ["ssh", "-i", identity, *common, "-o", control, f"root@{arguments.address}"]
        os.execvp("ssh", [*command, *arguments.words])
    return 0


def _host(text: str) -> Host:
    name, _, rest = text.partition(":")
    suite, _, aliases = rest.partition(":")
    return Host(name, suite or "bookworm", tuple(filter(None, aliases.split(","))))


if __name__ == "__main__":
    sys.exit(main())
