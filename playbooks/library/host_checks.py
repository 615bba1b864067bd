# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: is this host ready to be, or still fit to be, part of a site?"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: host_checks
short_description: Examine a host
description:
  - Looks at all that a deployment and the services need of a host. Each finding says what was seen; a
    fault also its cause and what mends it. Changes nothing.
options:
  names: {description: Names of hosts that are to be known here, type: list, elements: str, default: []}
  now: {description: Time on the controller, in seconds of Unix, type: float, required: true}
  memory: {description: Memory that this host should have, in MB, type: int, default: 1024}
  certificates: {description: Certificates in use, type: list, elements: str, default: []}
  certificate_days: {description: Days for which they have to be valid, type: int, default: 14}
"""

_CLOCK = 5.0  # seconds; the way here takes some
_DISK = 2 << 30
_PYTHON = (3, 9)


class FaultError(Exception):
    """Something is wrong.

    Args:
        detail: What was seen.
        cause: Why that is so.
        mend: What mends it.
    """

    def __init__(self, detail: str, cause: str, mend: str) -> None:
        super().__init__(detail)
        self.cause, self.mend = cause, mend


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def check_clock(given: dict) -> str:
    """Compare the clock with the controller's."""
    offset = time.time() - given["now"]
    if abs(offset) > _CLOCK:
        raise FaultError(
            f"{offset:+.1f} s from the controller", "one of the two clocks is not synchronised",
            "chronyc tracking, or timedatectl; role base installs a time service",
        )  # fmt: skip
    return f"within {_CLOCK:.0f} s of the controller"


def check_names(given: dict) -> str:
    """Resolve the names of the site's hosts."""
    missing = []
    for name in given["names"]:
        try:
            socket.getaddrinfo(name, None)
        except OSError:
            missing.append(name)
    if missing:
        raise FaultError(
            f"not known: {', '.join(missing)}", "neither DNS nor /etc/hosts has them",
            "add DNS records, or lines to /etc/hosts (base_hosts of role base)",
        )  # fmt: skip
    return f"{len(given['names'])} names resolve"


def check_disk(_: dict) -> str:
    """Look for room where software and data go."""
    for place in ("/", "/opt", "/var", "/var/lib", tempfile.gettempdir()):
        usage = shutil.disk_usage(place)
        if usage.free < _DISK:
            raise FaultError(
                f"{usage.free >> 20} MB are free in {place}", "the file system is nearly full",
                f"du -xh {place} | sort -h | tail",
            )  # fmt: skip
    return f"at least {_DISK >> 30} GB are free everywhere"


def check_memory(given: dict) -> str:
    """Compare the memory with what the groups of this host need together."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    if total < given["memory"]:
        raise FaultError(
            f"{total} MB, its services need {given['memory']} MB", "too many groups for this machine",
            "move a group to another host in hosts.yml, or give the machine more memory",
        )  # fmt: skip
    return f"{total} MB"


def check_system(_: dict) -> str:
    """Look for what roles rely on."""
    if not Path("/run/systemd/system").is_dir():
        raise FaultError(
            "systemd does not run here", "process 1 is something else", "use a host with systemd"
        )
    if sys.version_info < _PYTHON:
        raise FaultError(
            f"Python {sys.version.split()[0]}", "it is too old", "set ansible_python_interpreter"
        )
    return f"systemd, Python {sys.version.split()[0]}"


def check_packages(_: dict) -> str:
    """Ask whether the package manager is in order."""
    if shutil.which("dpkg") is None:
        return "no dpkg here"
    broken = run("dpkg", "--audit").stdout.strip()
    if broken:
        raise FaultError(
            broken.splitlines()[0],
            "an installation was interrupted",
            "dpkg --configure -a; apt-get -f install",
        )
    return "dpkg is in order"


def check_failed_units(_: dict) -> str:
    """Look for services that have failed."""
    failed = [
        line.split()[0] for line in run("systemctl", "--failed", "--plain", "--no-legend").stdout.splitlines()
    ]
    if failed:
        raise FaultError(
            f"failed: {', '.join(failed)}",
            f"journalctl -u {failed[0]} tells",
            f"systemctl restart {failed[0]}",
        )
    return "no unit has failed"


def check_certificates(given: dict) -> str:
    """Look when certificates expire."""
    there = [path for path in given["certificates"] if Path(path).exists()]
    for path in there:
        done = run(
            "openssl", "x509", "-in", path, "-noout", "-checkend", str(given["certificate_days"] * 86400)
        )
        if done.returncode:
            until = run("openssl", "x509", "-in", path, "-noout", "-enddate").stdout.strip().partition("=")[2]
            raise FaultError(
                f"{path} is valid until {until or 'nobody knows'}",
                "it was not renewed",
                "own CA: dirac site deploy SITE renews it; given: put a new one into certificates/, deploy",
            )
    return f"{len(there)} valid for {given['certificate_days']} days"


CHECKS: dict[str, Callable[[dict], str]] = {
    "clock": check_clock,
    "names": check_names,
    "disk": check_disk,
    "memory": check_memory,
    "system": check_system,
    "packages": check_packages,
    "units": check_failed_units,
    "certificates": check_certificates,
}


def examine(given: dict) -> list[dict]:
    """Make all checks; one that breaks is a fault of its own and stops no other."""
    found = []
    for name, check in CHECKS.items():
        try:
            found.append({"check": name, "ok": True, "detail": check(given), "cause": "", "mend": ""})
        except FaultError as fault:
            found.append(
                {"check": name, "ok": False, "detail": str(fault), "cause": fault.cause, "mend": fault.mend}
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            found.append(
                {"check": name, "ok": False, "detail": str(error), "cause": "the check broke", "mend": ""}
            )
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "default": []},
            "now": {"type": "float", "required": True},
            "memory": {"type": "int", "default": 1024},
            "certificates": {"type": "list", "elements": "str", "default": []},
            "certificate_days": {"type": "int", "default": 14},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, checks=examine(module.params))


if __name__ == "__main__":
    main()
