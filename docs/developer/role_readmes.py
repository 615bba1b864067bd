"""Writes the README.md of every role from its argument specs: ``python docs/developer/role_readmes.py``.

A test compares the pages with what this makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "roles"

# What the task files of a role are for; `main` is the role itself.
VERBS = {
    "validate": "checks the settings; changes nothing",
    "install": "puts software in place; needs no running service",
    "configure": "writes settings",
    "service": "starts what runs, and restarts it if its settings or code changed",
    "verify": "asks the service itself",
    "drain": "lets the work end, and takes no new",
    "backup": "makes a backup while the service runs",
    "restore": "puts a backup in place",
    "remove": "takes everything away, data included",
}


def roles() -> list[Path]:
    """Return the directories of all roles."""
    return sorted(path.parent.parent for path in ROLES.glob("*/meta/argument_specs.yml"))


def spec(role: Path) -> dict[str, Any]:
    """Return the argument spec of a role."""
    found = yaml.safe_load((role / "meta/argument_specs.yml").read_text("utf-8"))
    main: dict[str, Any] = found["argument_specs"]["main"]
    return main


def page(role: Path) -> str:
    """Return the README of a role."""
    said = spec(role)
    lines = [
        f"# {role.name}",
        "",
        "<!-- Made by `python docs/developer/role_readmes.py` from the argument specs; a test compares. -->",
        "",
        said["short_description"] + ". " + said["description"].strip(),
        "",
        "| variable | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, option in said["options"].items():
        kind = option["type"] + (": " + ", ".join(option["choices"]) if "choices" in option else "")
        default = option.get("default")
        shown = default if isinstance(default, str) and default else json.dumps(default)
        lines.append(f"| `{name}` | {kind} | `{shown}` | {option['description'].strip()} |")
    lines += ["", "Parts that can be run alone (`tasks_from`):", "", "| tasks | does |", "|---|---|"]
    lines += [
        f"| `{verb}` | {what} |" for verb, what in VERBS.items() if (role / f"tasks/{verb}.yml").exists()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for each in roles():
        (each / "README.md").write_text(page(each), "utf-8")
