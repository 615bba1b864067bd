# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a DIRAC environment on a host, versions side by side, an atomic switch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

DOCUMENTATION = r"""
module: diracos
short_description: Put a DIRAC environment in place
description:
  - Makes an environment below I(root) from a bundle, an installer, or what is mounted from CVMFS.
  - The directory's name is the digest of what went in, so equal input changes nothing.
  - An environment counts only once it is complete; an interrupted run leaves nothing that is used.
  - The action of the same name brings the bundle; without one, the answer says that it is I(missing).
options:
  root: {description: Where environments are kept, required: true, type: path}
  name: {description: Name of the environment; C(previous) for the last one, required: true, type: str}
  bundle: {description: Bundle or installer on this host, type: path}
  url: {description: Where the host gets it from instead, type: str}
  sha256: {description: Its check sum, type: str}
  kind: {description: What it is, type: str, choices: [url, installer], default: url}
  linked: {description: Environment that is there already, as on CVMFS, type: path}
  release_root: {description: Root of the release tree for pilots; empty for none, type: str, default: ""}
  python: {description: Python to base it on, type: str, default: python3}
  uv: {description: The installer of packages, type: str, default: uv}
  index: {description: Package index to use instead of the usual one, type: str, default: ""}
  keep: {description: Environments kept besides the current one, type: int, default: 1}
  switch: {description: Whether to make it the current one, type: bool, default: true}
"""

COMPLETE = ".complete"
BUNDLE = "bundle.json"
WORK = ".diracos-"
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
        failure=f"{python} is not there or older than {wanted}; set diracos_python",
    )


def is_complete(target: Path) -> bool:
    """Tell whether an environment can be used: all was installed, and its Python is still there."""
    return (target / COMPLETE).exists() and (target / "bin" / "python").exists()


def fetch(given: dict, work: Path) -> Path:
    """Return the bundle or installer, fetched if it has an address, as a file on this host.

    Raises:
        FailedError: It cannot be fetched, or is another one.
    """
    if not given["url"]:
        return Path(given["bundle"])
    target = work / "fetched"
    total = hashlib.sha256()
    try:
        with contextlib.closing(open_url(given["url"], timeout=300)) as answer, target.open("wb") as file:
            while block := answer.read(1 << 20):
                total.update(block)
                file.write(block)
    except (OSError, ValueError) as error:
        raise FailedError(f"{given['url']} cannot be fetched: {error}") from None
    if total.hexdigest() != given["sha256"]:
        raise FailedError(f"{given['url']} has the check sum {total.hexdigest()}, not {given['sha256']}")
    return target


def install(target: Path, given: dict) -> None:
    """Fill a new environment; it is marked complete as the last step.

    Raises:
        FailedError: A step failed; nothing is left of the environment.
    """
    shutil.rmtree(target, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix=WORK, dir=target.parent) as work:
            file = fetch(given, Path(work))
            if given["kind"] == "installer":
                run("sh", str(file), "-b", "-p", str(target), failure="the installer failed")
            else:
                unpack_and_install(file, Path(work), target, uv=given["uv"], python=given["python"])
        (target / COMPLETE).touch()
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def unpack_and_install(bundle: Path, work: Path, target: Path, *, uv: str, python: str) -> None:
    """Make an environment of a bundle: its locked packages, then its own.

    Raises:
        FailedError: A step failed.
    """
    require_python(python)
    unpacked = work / "bundle"
    with tarfile.open(bundle) as tar:
        # Older Pythons know no filters; names are checked in any case.
        if bad := [name for name in tar.getnames() if name.startswith("/") or ".." in name.split("/")]:
            raise FailedError(f"{bundle} is no bundle: it has the file {bad[0]}")
        tar.extractall(unpacked, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # noqa: S202
    facts = json.loads((unpacked / BUNDLE).read_text())
    pip = [uv, "pip", "install", "--quiet", "--python", f"{target}/bin/python", "--compile-bytecode"]
    packages = (
        ["--no-index", "--find-links", f"{unpacked}/wheels"] if facts["complete"] else ["--require-hashes"]
    )
    own = str(next((unpacked / "wheels").glob("dirac_interware-*.whl")))
    for command in (
        [uv, "venv", "--quiet", "--no-project", "--python", python, str(target)],
        [*pip, *packages, "-r", f"{unpacked}/requirements.txt"],
        [*pip, "--no-deps", own],
    ):
        run(
            *command,
            failure=f"the environment could not be made: {' '.join(command[:3])} failed; "
            "is the package index reachable, and is there disk space?",
        )
    shutil.copytree(unpacked / "pilot", target / "share/dirac/pilot")
    shutil.copy(unpacked / BUNDLE, target / "share/dirac")
    for path in (target, *target.rglob("*")):  # whatever the umask: services and pilots run as somebody else
        if not path.is_symlink():
            runs = path.is_dir() or os.access(path, os.X_OK)
            path.chmod(path.stat().st_mode & 0o755 | (0o555 if runs else 0o444))


def put_link(link: Path, target: str) -> None:
    """Make a link: at every moment there is the old one or the new one."""
    fresh = link.with_name(f".{link.name}.fresh")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    fresh.symlink_to(target)
    fresh.replace(link)


def linked_to(link: Path) -> str:
    """Return where a link leads, empty if there is none."""
    return str(link.readlink()) if link.is_symlink() else ""


def clear(root: Path, keep: int) -> None:
    """Remove what is incomplete, and all but the newest environments; what a link names stays."""
    named = {linked_to(root / link) for link in ("current", "previous")}
    others = [
        path
        for path in root.iterdir()
        if path.is_dir()
        and not path.is_symlink()
        and path.name not in named
        and not path.name.startswith(".")
    ]
    for path in root.glob(f"{WORK}*"):  # of a run that was killed
        shutil.rmtree(path, ignore_errors=True)
    usable = sorted(filter(is_complete, others), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others:
        if path not in usable[:keep]:
            shutil.rmtree(path, ignore_errors=True)


def release(target: Path, name: str, root: str, *, check: bool) -> bool:
    """Lay out the release tree for an environment; returns whether anything changed.

    Raises:
        FailedError: It could not be.
    """
    program = target / "share/dirac/pilot/release.py"
    if not root or not program.exists():
        return False
    command = [f"{target}/bin/python", "-B", str(program), "--root", root, "--version", name]
    command += ["--environment", str(target), *(["--check"] if check else [])]
    return bool(json.loads(run(*command, failure="the release tree could not be laid out"))["changed"])


def require_previous(target: Path, name: str) -> None:
    """Check that there is an environment to go back to.

    Raises:
        FailedError: There is none, or it cannot be used.
    """
    if not name:
        raise FailedError(f"{target} has no previous environment to go back to")
    # What is mounted from CVMFS was completed by others.
    usable = (target / "bin/dirac").exists() if target.is_symlink() else is_complete(target)
    if not usable:
        raise FailedError(
            f"the previous environment {target} cannot be used any more; deploy its version by name"
        )


def put(given: dict, *, check: bool) -> dict:
    """Put an environment and its release in place; returns what the module answers.

    Raises:
        FailedError: It could not be; what was current still is.
    """
    root = Path(given["root"])
    name = linked_to(root / "previous") if given["name"] == "previous" else given["name"]
    target = root / name
    if given["name"] == "previous":
        require_previous(target, name)
    answer = {"changed": False, "missing": False, "name": name, "path": str(target), "version": ""}
    answer["machine"] = platform.machine()
    if given["linked"]:
        if not Path(given["linked"], "bin/dirac").exists():
            raise FailedError(f"{given['linked']} has no bin/dirac; is CVMFS mounted?")
        if linked_to(target) != given["linked"]:
            answer["changed"] = True
            if not check:
                root.mkdir(parents=True, exist_ok=True)
                put_link(target, given["linked"])
    elif given["name"] != "previous" and not is_complete(target):
        answer |= {"missing": True, "changed": True}
        if check or not (given["bundle"] or given["url"]):
            return answer
        root.mkdir(parents=True, exist_ok=True)
        install(target, given)
        answer["missing"] = False
    if given["switch"]:
        answer["changed"] |= make_current(root, name, given["keep"], check=check)
        answer["changed"] |= release(target, name, given["release_root"], check=check)
    if not (check and answer["changed"]):
        answer["version"] = version(target)
    return answer


def make_current(root: Path, name: str, keep: int, *, check: bool) -> bool:
    """Make an environment the current one; returns whether it was not."""
    before = linked_to(root / "current")
    if before == name:
        return False
    if not check:
        if before:
            put_link(root / "previous", before)
        put_link(root / "current", name)
        clear(root, keep)
    return True


def version(target: Path) -> str:
    """Return what an environment calls itself.

    Raises:
        FailedError: It does not work.
    """
    note = target / "share/dirac" / BUNDLE
    if note.exists():  # what was left alone need not be started
        return str(json.loads(note.read_text())["version"])
    return run(f"{target}/bin/dirac", "--version", failure="the environment does not work").strip()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "bundle": {"type": "path"},
            "url": {"type": "str"},
            "sha256": {"type": "str"},
            "kind": {"type": "str", "choices": ["url", "installer"], "default": "url"},
            "linked": {"type": "path"},
            "release_root": {"type": "str", "default": ""},
            "python": {"type": "str", "default": "python3"},
            "uv": {"type": "str", "default": "uv"},
            "index": {"type": "str", "default": "", "no_log": False},
            "keep": {"type": "int", "default": 1},
            "switch": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)
    os.environ.setdefault("UV_SYSTEM_CERTS", "true")  # a host trusts what its administrators trust
    if module.params["index"]:
        os.environ["UV_DEFAULT_INDEX"] = module.params["index"]
    try:
        answer = put(dict(module.params), check=module.check_mode)
    except FailedError as error:
        module.fail_json(msg=str(error), stderr=error.output)
    except (OSError, tarfile.TarError, ValueError) as error:
        module.fail_json(msg=f"the environment could not be put in place: {error}")
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
