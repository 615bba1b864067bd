# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what runs on a host, in which version, and how much room is left."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.runit import look
from ansible.module_utils.systemd_unit import Unit, UnitError

DOCUMENTATION = r"""
module: site_status
short_description: Look at a host of a site
options:
  environments: {description: Directory of the DIRAC environments, type: path, required: true}
  units: {description: Units of systemd that matter here, type: list, elements: str, default: []}
"""

_RUNIT = Path("/etc/service")


def runit_services() -> list[dict]:
    """Return the DIRAC services that runit supervises."""
    names = sorted(path.name for path in _RUNIT.glob("dirac*")) if _RUNIT.is_dir() else []
    found = []
    for name in names:
        status = look(str(_RUNIT / name))
        found.append({"service": name, "state": status.state, "for_seconds": status.seconds})
    return found


def systemd_units(units: list[str]) -> list[dict]:
    """Return the units named, as systemd sees them."""
    now = float(Path("/proc/uptime").read_text().split()[0])
    found = []
    for unit in units:
        try:
            facts = Unit(unit).show("ActiveState", "SubState", "ActiveEnterTimestampMonotonic")
        except UnitError:
            facts = {}
        since = int(facts.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
        running = facts.get("ActiveState") == "active"
        state = facts.get("SubState") if running else facts.get("ActiveState", "unknown")
        found.append({"service": unit, "state": state, "for_seconds": int(now - since) if running else 0})
    return found


def host(environments: Path) -> dict:
    """Return what there is to say of the host itself."""
    current = environments / "current"
    note = current / "share/dirac/bundle.json"
    version = json.loads(note.read_text())["version"] if note.exists() else ""
    disk = shutil.disk_usage("/")
    return {
        "environment": str(current.readlink()) if current.is_symlink() else "",
        "version": version,
        "disk_free_percent": round(100 * disk.free / disk.total),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "environments": {"type": "path", "required": True},
            "units": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    services = runit_services() + systemd_units(module.params["units"])
    module.exit_json(changed=False, host=host(Path(module.params["environments"])), services=services)


if __name__ == "__main__":
    main()
