# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: is this host ready to be, or still fit to be, part of a site?"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.runit import look
from ansible.module_utils.systemd_unit import Unit, UnitError

DOCUMENTATION = r"""
module: host_checks
short_description: Examine a host
description:
  - Looks at all that a deployment and the services need of a host, and at services that are there.
    Each finding says what was seen; a fault also its cause and what mends it. Changes nothing.
options:
  site: {description: Name of the site, for commands that mend, type: str, required: true}
  only: {description: The checks to make; all if empty, type: list, elements: str, default: []}
  names: {description: Names to be known here with their addresses or nothing, type: dict, default: {}}
  now: {description: Time on the controller, in seconds of Unix, type: float, default: 0}
  memory: {description: Memory that this host should have, in MB, type: int, default: 1024}
  certificates: {description: Certificates in use, type: list, elements: str, default: []}
  certificate_days: {description: Days for which they have to be valid, type: int, default: 14}
  units: {description: Units of systemd that the site has here, type: list, elements: str, default: []}
  ports: {description: "What is used from here: name, host, port", type: list, elements: dict, default: []}
  server: {description: "The server's own doctor: program, user, settings", type: dict, default: {}}
"""

_BEHIND, _AHEAD = 5.0, 20.0  # seconds; the way here takes some, which makes a clock look ahead
_DISK = 2 << 30
_PYTHON = (3, 9)
_PATIENCE = 5.0  # seconds for a connection
_YOUNG = 3  # seconds; a service that is seen twice that young is started again and again
_RUNIT = Path("/etc/service")


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
    if not -_BEHIND < offset < _AHEAD:
        raise FaultError(
            f"{abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} the controller",
            "one of the two clocks is not synchronised",
            "chronyc tracking, or timedatectl; role base installs a time service",
        )  # fmt: skip
    return "as the controller's"


def check_names(given: dict) -> str:
    """Resolve the site's names."""
    missing, wrong = [], []
    for name, expected in given["names"].items():
        try:
            found = {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
        except OSError:
            missing.append(name)
            continue
        # A host may know itself as a loopback.
        if expected and expected not in found and not all(one.startswith(("127.", "::1")) for one in found):
            wrong.append(f"{name} is {', '.join(sorted(found))}, which should be {expected}")
    if missing or wrong:
        known = [f"not known: {', '.join(missing)}"] if missing else []
        raise FaultError(
            "; ".join(known + wrong), "the DNS or /etc/hosts of this host",
            "correct the DNS records, or add lines to /etc/hosts (base_hosts of role base)",
        )  # fmt: skip
    return f"{len(given['names'])} resolve"


def check_disk(_given: dict) -> str:
    """Look for room where software and data go."""
    for place in ("/", "/opt", "/var", "/var/lib", "/tmp"):  # noqa: S108 - only looked at
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


def check_system(_given: dict) -> str:
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


def check_packages(_given: dict) -> str:
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


def check_units(given: dict) -> str:
    """Look for the site's services that do not run, and for any that have failed."""
    stopped, running = [], []
    for unit in given["units"]:
        facts = Unit(unit).show("LoadState", "ActiveState", "Result")
        if facts.get("LoadState") == "not-found":
            continue  # not deployed yet
        (running if facts.get("ActiveState") in ("active", "reloading") else stopped).append((unit, facts))
    failed = [
        line.split()[0] for line in run("systemctl", "--failed", "--plain", "--no-legend").stdout.splitlines()
    ]
    bad = [unit for unit, _ in stopped] + [unit for unit in failed if unit not in dict(stopped)]
    if bad:
        results = {unit: facts.get("Result", "") for unit, facts in stopped}
        told = [f"{unit} ({'stopped' if results.get(unit) == 'success' else 'failed'})" for unit in bad]
        raise FaultError(
            ", ".join(told), _journal(bad[0]), f"systemctl restart {' '.join(bad)}; journalctl -eu {bad[0]}"
        )
    names = ", ".join(unit.removesuffix(".service") for unit, _ in running)
    return f"{names or 'none yet'}; no other has failed"


def _journal(unit: str) -> str:
    """Return what a unit said last."""
    said = run("journalctl", "--unit", unit, "--lines=1", "--output=cat", "--no-pager").stdout.strip()
    return f"its journal ends: {said[-300:]}" if said else "its journal is empty"


def check_services(_given: dict) -> str:
    """Look for DIRAC's processes that runit should have running and has not, or starts again and again."""
    places = sorted(Path("/etc/sv").glob("dirac-*")) if Path("/etc/sv").is_dir() else []
    bad, names = [], [place.name for place in places]
    for name in names:
        if not (_RUNIT / name).exists():
            bad.append(f"{name} (not enabled)")
            continue
        status = look(str(_RUNIT / name))
        state = "not supervised" if status.state == "unknown" else status.state
        if state == "run" and status.seconds < _YOUNG:
            time.sleep(_YOUNG)
            again = look(str(_RUNIT / name))
            anew = again.seconds < _YOUNG and again.seconds <= status.seconds + 1
            state = "starts again and again" if anew else again.state
        if state != "run":
            bad.append(f"{name} ({'stopped' if state == 'down' else state})")
    if bad:
        first = bad[0].split()[0]
        raise FaultError(
            ", ".join(bad), _log_end(first),
            f"sv start {' '.join(one.split()[0] for one in bad)}; tail /var/log/dirac/{first}/current",
        )  # fmt: skip
    return ", ".join(names) or "none yet"


def _log_end(name: str) -> str:
    """Return what a service under runit said last."""
    log = Path("/var/log/dirac", name, "current")
    try:
        said = log.read_bytes()[-4000:].decode(errors="replace").splitlines()
    except OSError:
        return f"{log} cannot be read"
    if not said:
        return "its log is empty"
    try:
        last = str(json.loads(said[-1])["message"])
    except (ValueError, KeyError, TypeError):
        last = said[-1]
    return f"its log ends: {last[:300]}"


def check_ports(given: dict) -> str:
    """Connect to the services that this host needs."""
    faults = []
    for port in given["ports"]:
        place = f"{port['name']} at {port['host']}:{port['port']}"
        try:
            socket.create_connection((port["host"], int(port["port"])), timeout=_PATIENCE).close()
        except ConnectionRefusedError:
            faults.append(
                (
                    f"{place} refuses",
                    "nobody listens there",
                    f"is {port['name']} up? dirac site status {given['site']}",
                )
            )
        except socket.gaierror as error:
            faults.append(
                (f"{place}: {error.strerror}", "the name is not known here", "correct the DNS or /etc/hosts")
            )
        except OSError as error:
            faults.append((
                f"{place} does not answer: {error.strerror or error}",
                "a firewall in between, on that host or on the way drops this, or the host is down",
                f"dirac site reconfigure {given['site']} sets the firewall; on that host: nft list ruleset",
            ))  # fmt: skip
    if faults:
        raise FaultError("; ".join(detail for detail, _, _ in faults), faults[0][1], faults[0][2])
    return f"{len(given['ports'])} answer"


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
                f"{path} is valid until {until or 'nobody knows'}", "it was not renewed",
                f"dirac site reconfigure {given['site']}; given ones first into certificates/",
            )  # fmt: skip
    return f"{len(there)} valid for {given['certificate_days']} days"


CHECKS: dict[str, Callable[[dict], str]] = {
    "clock": check_clock,
    "names": check_names,
    "disk": check_disk,
    "memory": check_memory,
    "system": check_system,
    "packages": check_packages,
    "units": check_units,
    "services": check_services,
    "ports": check_ports,
    "certificates": check_certificates,
}


def examine(given: dict) -> list[dict]:
    """Make the checks; one that breaks is a fault of its own and stops no other."""
    found = []
    for name, check in CHECKS.items():
        if given.get("only") and name not in given["only"]:
            continue
        try:
            found.append({"check": name, "ok": True, "detail": check(given), "cause": "", "mend": ""})
        except FaultError as fault:
            found.append(
                {"check": name, "ok": False, "detail": str(fault), "cause": fault.cause, "mend": fault.mend}
            )
        except (OSError, ValueError, UnitError, subprocess.SubprocessError) as error:
            found.append(
                {"check": name, "ok": False, "detail": str(error), "cause": "the check broke", "mend": ""}
            )
    return found


def is_deployed(units: list[str]) -> bool:
    """Tell whether any of the site's services has been put on this host."""
    return any(Path("/etc/sv").glob("dirac-*")) or any(
        Unit(unit).show("LoadState") == {"LoadState": "loaded"} for unit in units
    )


def ask_server(server: dict, site: str) -> list[dict]:
    """Let the server examine itself: its settings, database, broker, store, certificates, people and work."""
    program, settings = Path(server["program"]), Path(server["settings"])
    if not program.exists() or not settings.exists():
        detail = f"not deployed yet: dirac site deploy {site}"
        return [{"check": "server", "ok": True, "detail": detail, "cause": "", "mend": ""}]
    words = [
        "runuser",
        "-u",
        server["user"],
        "--",
        str(program),
        "doctor",
        "--settings",
        str(settings),
        "--json",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    try:
        return list(json.loads(done.stdout))
    except ValueError:
        said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        mend = f"dirac site deploy {site}"
        return [
            {
                "check": "server",
                "ok": False,
                "detail": said,
                "cause": "its own doctor cannot run",
                "mend": mend,
            }
        ]


def main() -> None:
    """Run the module."""
    strings = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "only": strings,
            "names": {"type": "dict", "default": {}},
            "now": {"type": "float", "default": 0},
            "memory": {"type": "int", "default": 1024},
            "certificates": strings,
            "certificate_days": {"type": "int", "default": 14},
            "units": strings,
            "ports": {"type": "list", "elements": "dict", "default": []},
            "server": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    given = module.params
    checks = examine(given)
    if given["server"]:
        checks += ask_server(given["server"], given["site"])
    faults = [one["check"] for one in checks if not one["ok"]]
    module.exit_json(changed=False, checks=checks, faults=faults, deployed=is_deployed(given["units"]))


if __name__ == "__main__":
    main()
