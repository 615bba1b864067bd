# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what a deployment would change in database and configuration, and how far that reaches."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: site_plan
short_description: Compare a running service with what would be deployed
options:
  environment: {description: The environment of the service, type: path, required: true}
  migrations: {description: "The new version's migrations: phase and risk", type: dict, required: true}
  url: {description: Address of the service, type: str, required: true}
  token_file: {description: File with the operator's token, type: path, required: true}
  tree: {description: The configuration that would be applied, type: str, required: true}
  file: {description: Name of its file, type: str, default: configuration.yml}
"""


def migrations(environment: Path, new: dict) -> list[dict]:
    """Return the migrations of the new version that the present one does not have: they would be applied."""
    known = {path.stem for path in environment.rglob("migrations/*.py")}
    return [{"revision": name, **facts} for name, facts in sorted(new.items()) if name not in known]


def planned(program: Path, words: list[str], given: dict) -> subprocess.CompletedProcess[str]:
    """Ask the service what the tree would change."""
    return subprocess.run(
        [str(program), "config", "apply", "-", *words, "--dry-run", "--json"],
        env={**os.environ, "DIRAC_URL": given["url"], "DIRAC_TOKEN_FILE": given["token_file"]},
        input=given["tree"], capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def configuration(given: dict) -> tuple[list[dict], str]:
    """Return how the configuration would change, and what kept us from finding out."""
    program = Path(given["environment"], "bin/dirac")
    if not program.exists() or not Path(given["token_file"]).exists():
        return [], "there is no service yet to compare the configuration with"
    one_file = ["--as", given["file"]]
    done = planned(program, one_file, given)
    if done.returncode and "No such option" in done.stderr:  # of the release before, which replaces all files
        done = planned(program, [], given)
    if done.returncode:
        return [], f"the configuration cannot be compared: {done.stderr.strip()}"
    changes = json.loads(done.stdout)["changes"]
    return [
        {"path": change["path"], "old": change.get("old"), "new": change.get("new"), "risk": risk(change)}
        for change in changes
    ], ""


def risk(change: dict) -> str:
    """Return the risk class of a change of the configuration: what is taken away can stop somebody's work."""
    return "careful" if change.get("new") is None else "safe"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "environment": {"type": "path", "required": True},
            "migrations": {"type": "dict", "required": True},
            "url": {"type": "str", "required": True},
            "token_file": {"type": "path", "required": True, "no_log": False},
            "tree": {"type": "str", "required": True},
            "file": {"type": "str", "default": "configuration.yml"},
        },
        supports_check_mode=True,
    )
    given = module.params
    environment = Path(given["environment"])
    changes, trouble = configuration(given)
    due = migrations(environment, given["migrations"]) if environment.exists() else []
    module.exit_json(
        changed=False,
        environment={"current": str(environment.readlink()) if environment.is_symlink() else "none"},
        migrations=due,
        configuration=changes,
        warnings_found=[trouble] if trouble else [],
    )


if __name__ == "__main__":
    main()
