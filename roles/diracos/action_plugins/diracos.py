# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of the module diracos: the controller's half.

Looks first what the host has; only if this version is not there, makes its bundle (once, whatever the number
of hosts), brings it over and lets the module install it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

_CHECKOUT = Path(__file__).resolve().parents[3]
_KEPT = 5
_COMMIT = re.compile(r"[0-9a-f]{40}")
_OWN = ("type", "source", "ref", "sha256", "uv")  # arguments of the action that the module does not know


@dataclass(frozen=True)
class Version:
    """A version that a host should have.

    Attributes:
        name: Name of its environment.
        given: What the module needs to know beside it.
        bundle: Makes the bundle at a path; None if the host gets it by itself.
    """

    name: str
    given: Mapping[str, str]
    bundle: Callable[[Path], None] | None = None


class ActionModule(ActionBase):
    """The action."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Look, and if need be bring and install."""
        super().run(tmp, task_vars)
        given = dict(self._task.args)
        try:
            version = resolve(given)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            raise AnsibleActionFail(f"diracos_source: {said.strip()}") from error
        wanted = {name: value for name, value in given.items() if name not in _OWN}
        wanted |= {"name": version.name, **version.given}
        # Without what to install: the program that installs is brought to where that is needed only.
        look = {name: value for name, value in wanted.items() if name != "url"}
        answer = self._execute_module(module_args=look, task_vars=task_vars)
        if not answer.get("missing") or self._task.check_mode:
            return answer
        return self._install(version, wanted, Path(given["uv"]), answer, task_vars)

    def _install(
        self, version: Version, wanted: dict[str, Any], uv: Path, looked: Mapping[str, Any], task_vars: Any
    ) -> dict[str, Any]:
        self._make_tmp_path()
        place = self._connection._shell.tmpdir
        try:
            if version.bundle is not None:
                wanted["bundle"] = self._bring(bundle_file(version), place, "bundle.tar.gz")
            if looked.get("machine") == platform.machine() and uv.is_file():
                wanted["uv"] = self._bring(uv, place, "uv")
            return self._execute_module(module_args=wanted, task_vars=task_vars)
        except RuntimeError as error:
            raise AnsibleActionFail(str(error)) from error
        finally:
            self._remove_tmp_path(place)

    def _bring(self, local: Path, place: str, name: str) -> str:
        remote = self._connection._shell.join_path(place, name)
        self._transfer_file(str(local), remote)
        self._fixup_perms2((place, remote), execute=True)
        return remote


def resolve(given: Mapping[str, Any]) -> Version:
    """Tell which version the arguments mean.

    Raises:
        OSError, ValueError, subprocess.CalledProcessError: They mean none.
    """
    if given["type"] == "previous":
        return Version("previous", {})
    kind, source = given["type"], given["source"]
    if kind == "cvmfs":
        return Version("cvmfs", {"linked": source})
    if kind in ("url", "installer"):
        name = given["sha256"][:12]
        if kind == "url" or source.startswith(("http://", "https://")):
            return Version(name, {"url": source, "sha256": given["sha256"], "kind": kind})
        if hashlib.sha256(Path(source).read_bytes()).hexdigest() != given["sha256"]:
            raise ValueError(f"{source} has another check sum than diracos_source_sha256")
        return Version(name, {"kind": kind}, lambda target: shutil.copyfile(source, target) and None)
    if kind == "wheels":
        folder = Path(source)
        return Version(_digest_of(folder), {}, lambda target: _pack_wheels(folder, target))
    if kind == "git":
        commit = _commit(source, given["ref"])
        return Version(commit[:12], {}, lambda target: _from_git(source, commit, target, given))
    tree = Path(source)
    name = _bundling().digest(tree)
    return Version(name, {}, lambda target: _build(tree, name, target, given))


def bundle_file(version: Version) -> Path:
    """Return the bundle of a version, made once for all hosts and kept for the next run.

    Raises:
        RuntimeError: It cannot be made.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(base) / "dirac" / "bundles"
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"{version.name}.tar.gz"
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            assert version.bundle is not None
            try:
                version.bundle(target)
            except (OSError, subprocess.CalledProcessError, _bundling().BundleError) as error:
                said = getattr(error, "stderr", "") or error
                raise RuntimeError(f"the environment could not be made, packing it failed: {said}") from error
        target.touch()
        for old in sorted(cache.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            old.unlink()
    return target


def _build(tree: Path, name: str, target: Path, given: Mapping[str, Any]) -> None:
    _bundling().make(tree, target, name=name, uv=given["uv"], python=sys.executable)


def _commit(source: str, ref: str) -> str:
    if _COMMIT.fullmatch(ref):
        return ref
    said = subprocess.run(
        ["git", "ls-remote", "--exit-code", source, ref], capture_output=True, text=True, check=True
    ).stdout
    return said.split()[0]


def _from_git(source: str, commit: str, target: Path, given: Mapping[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="dirac-git-") as work:
        for command in (
            ["clone", "--quiet", "--no-checkout", source, work],
            ["-C", work, "checkout", "--quiet", commit],
        ):
            subprocess.run(["git", *command], capture_output=True, text=True, check=True)
        _build(Path(work), commit[:12], target, given)


def _digest_of(folder: Path) -> str:
    total = hashlib.sha256()
    wheels = sorted(folder.glob("*.whl"))
    if not any(wheel.name.startswith("dirac_interware-") for wheel in wheels):
        raise ValueError(f"{folder} has no wheel of dirac_interware")
    for wheel in wheels:
        total.update(wheel.name.encode() + b"\0" + wheel.read_bytes())
    return total.hexdigest()[:12]


def _pack_wheels(folder: Path, target: Path) -> None:
    _bundling().pack_wheels(_CHECKOUT, folder, target, name=_digest_of(folder))


def _bundling() -> ModuleType:
    """Return the program `diracos/bundle.py` of this checkout as a module."""
    known = sys.modules.get("dirac_bundle")
    if known is None:
        spec = importlib.util.spec_from_file_location("dirac_bundle", _CHECKOUT / "diracos" / "bundle.py")
        assert spec is not None
        assert spec.loader is not None
        known = sys.modules["dirac_bundle"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(known)
    return known
