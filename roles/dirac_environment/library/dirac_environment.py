# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a DIRAC environment from a source tree, versions side by side, an atomic switch."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: dirac_environment
short_description: Put a DIRAC environment in place
description:
  - Makes a Python environment of the locked requirements and the source tree given, below I(root).
  - The directory's name holds a digest of what went in, so equal input changes nothing.
  - An environment counts only once it is complete; an interrupted run leaves nothing that is used.
options:
  root: {description: Where environments are kept, required: true, type: path}
  source: {description: Source tree of the distribution, required: true, type: path}
  python: {description: Python to base it on, type: str, default: python3}
  uv: {description: The installer, type: str, default: uv}
  keep: {description: Environments kept besides the current one, type: int, default: 1}
"""

COMPLETE = ".complete"


def digest(source: Path) -> str:
    """Return a digest of all that goes into an environment."""
    total = hashlib.sha256()
    files = [source / "pyproject.toml", source / "requirements/server.txt", source / "requirements/build.txt"]
    files += sorted(path for path in (source / "src").rglob("*") if path.is_file())
    for path in files:
        if "__pycache__" in path.parts or path.name == "_version.py":
            continue
        total.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:12]


def install(module: AnsibleModule, target: Path, source: Path) -> None:
    """Fill a new environment; it is marked complete as the last step."""
    shutil.rmtree(target, ignore_errors=True)
    uv, python = module.params["uv"], str(target / "bin" / "python")
    locked = str(source / "requirements")
    pip = [uv, "pip", "install", "--quiet", "--python", python, "--compile-bytecode"]
    for command in (
        [uv, "venv", "--quiet", "--no-project", "--python", module.params["python"], str(target)],
        [*pip, "--require-hashes", "-r", locked + "/server.txt"],
        [*pip, "--no-deps", "--build-constraints", locked + "/build.txt", str(source)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(target, ignore_errors=True)
            module.fail_json(
                msg=f"the environment could not be made: {' '.join(command[:3])} failed; "
                "is the package index reachable, and is there disk space?",
                stderr=done.stderr[-4000:],
            )
    (target / COMPLETE).touch()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "source": {"type": "path", "required": True},
            "python": {"type": "str", "default": "python3"},
            "uv": {"type": "str", "default": "uv"},
            "keep": {"type": "int", "default": 1},
        },
        supports_check_mode=True,
    )
    root, source = Path(module.params["root"]), Path(module.params["source"])
    name = digest(source)
    target, current = root / name, root / "current"
    missing = not (target / COMPLETE).exists()
    changed = missing or not current.is_symlink() or current.readlink() != Path(name)
    if changed and not module.check_mode:
        root.mkdir(parents=True, exist_ok=True)
        if missing:
            install(module, target, source)
        fresh = root / ".current"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(name)
        fresh.rename(current)
        others = [path for path in root.iterdir() if path.is_dir() and path not in (target, current)]
        others.sort(key=lambda path: path.stat().st_mtime)
        for old in others[: max(0, len(others) - module.params["keep"])]:
            shutil.rmtree(old, ignore_errors=True)
    module.exit_json(changed=changed, path=str(target), name=name)


if __name__ == "__main__":
    main()
