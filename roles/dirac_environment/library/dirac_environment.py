# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a DIRAC environment from a source tree, versions side by side, an atomic switch."""

from __future__ import annotations

import hashlib
import json
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
  - Everything is in one module because each execution of a module costs more than all of this.
options:
  root: {description: Where environments are kept, required: true, type: path}
  source: {description: Source tree of the distribution, required: true, type: path}
  release_root: {description: Root of the release tree, laid out as on CVMFS, required: true, type: path}
  python: {description: Python to base it on, type: str, default: python3}
  uv: {description: The installer, type: str, default: uv}
  keep: {description: Environments kept besides the current one, type: int, default: 1}
"""

COMPLETE = ".complete"
OLDEST_PYTHON = (3, 11)


class FailedError(Exception):
    """It cannot be done; nothing that is in use was touched."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output[-4000:]


def run(*command: str, failure: str) -> str:
    """Run a program and return its standard output.

    Raises:
        FailedError: It is not there, or failed; with `failure` as the reason.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise FailedError(f"{failure} ({command[0]}: {error.strerror})") from None
    if done.returncode:
        raise FailedError(failure, done.stderr or done.stdout)
    return done.stdout


def require_python(python: str) -> None:
    """Check that a Python is new enough.

    Raises:
        FailedError: It is not, or it is not there.
    """
    wanted = ".".join(map(str, OLDEST_PYTHON))
    run(
        python,
        "-c",
        f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})",
        failure=f"{python} is not there or older than {wanted}; set dirac_environment_python",
    )


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


def is_complete(target: Path) -> bool:
    """Tell whether an environment can be used: all was installed, and its Python is still there."""
    return (target / COMPLETE).exists() and (target / "bin" / "python").exists()


def install(target: Path, source: Path, *, uv: str, python: str) -> None:
    """Fill a new environment; it is marked complete as the last step.

    Raises:
        FailedError: A step failed; nothing is left of the environment.
    """
    shutil.rmtree(target, ignore_errors=True)
    locked = f"{source}/requirements"
    pip = [uv, "pip", "install", "--quiet", "--python", f"{target}/bin/python", "--compile-bytecode"]
    try:
        for command in (
            [uv, "venv", "--quiet", "--no-project", "--python", python, str(target)],
            [*pip, "--require-hashes", "-r", f"{locked}/server.txt"],
            [*pip, "--no-deps", "--build-constraints", f"{locked}/build.txt", str(source)],
        ):
            run(
                *command,
                failure=f"the environment could not be made: {' '.join(command[:3])} failed; "
                "is the package index reachable, and is there disk space?",
            )
        (target / COMPLETE).touch()
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def switch(root: Path, name: str) -> None:
    """Make an environment the current one: at every moment there is an old one or the new one."""
    fresh = root / ".current"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(name)
    fresh.rename(root / "current")


def clear(root: Path, name: str, keep: int) -> list[str]:
    """Remove what is incomplete, and all but the newest environments; returns what was removed."""
    others = [
        path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and path.name != name
    ]
    usable = sorted(filter(is_complete, others), key=lambda path: path.stat().st_mtime, reverse=True)
    removed = [path for path in others if path not in usable[:keep]]
    for path in removed:
        shutil.rmtree(path, ignore_errors=True)
    return sorted(path.name for path in removed)


def release(source: Path, target: Path, *, root: Path, python: str, check: bool) -> bool:
    """Lay out the release tree for an environment; returns whether anything changed.

    Raises:
        FailedError: It could not be.
    """
    command = [python, "-B", f"{source}/pilot/release.py", "--root", str(root), "--version", target.name]
    command += ["--environment", str(target), *(["--check"] if check else [])]
    return bool(json.loads(run(*command, failure="the release tree could not be laid out"))["changed"])


def put(
    root: Path, source: Path, release_root: Path, *, python: str, uv: str, keep: int, check: bool
) -> dict[str, object]:
    """Put an environment and its release in place; returns what the module answers.

    Raises:
        FailedError: It could not be; what was current still is.
    """
    require_python(python)
    name = digest(source)
    target, current = root / name, root / "current"
    missing = not is_complete(target)
    changed = missing or not current.is_symlink() or current.readlink() != Path(name)
    answer: dict[str, object] = {"path": str(target), "name": name}
    if check and missing:
        return answer | {"changed": True, "version": ""}
    if changed and not check:
        root.mkdir(parents=True, exist_ok=True)
        if missing:
            install(target, source, uv=uv, python=python)
        switch(root, name)
        clear(root, name, keep)
    laid_out = release(source, target, root=release_root, python=python, check=check)
    version = run(f"{target}/bin/dirac", "--version", failure="the environment does not work")
    return answer | {"changed": changed or laid_out, "version": version.strip()}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "source": {"type": "path", "required": True},
            "release_root": {"type": "path", "required": True},
            "python": {"type": "str", "default": "python3"},
            "uv": {"type": "str", "default": "uv"},
            "keep": {"type": "int", "default": 1},
        },
        supports_check_mode=True,
    )
    given = dict(module.params)
    root, source, release_root = (Path(given.pop(name)) for name in ("root", "source", "release_root"))
    try:
        answer = put(root, source, release_root, **given, check=module.check_mode)
    except FailedError as error:
        module.fail_json(msg=str(error), stderr=error.output)
    except OSError as error:
        module.fail_json(msg=f"the environment could not be put in place: {error}")
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
