"""Gets the programs of a server without root: those installed here, or the distribution's own packages.

Packages are fetched by apt with state and cache of its own (so it needs no privilege and touches nothing of
the system's), checked by apt against the system's keys, and unpacked under ``.test/services``. What is there
under its final name is complete: everything is prepared beside it and renamed at the end.
"""

from __future__ import annotations

import fcntl
import fnmatch
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dirac.core.errors import UnavailableError

_CHECKOUT = Path(__file__).resolve().parents[2]
_APT_PATIENCE = 900.0  # seconds; a slow line must fetch 60 MB
_LISTS_FRESH = 3600.0  # seconds for which fetched package lists are believed
# libc belongs to the loader of this machine; libllvm is PostgreSQL's JIT, 100 MB, and switched off.
_NEVER_NEEDED = ("*-dev", "*-perl", "libc6*", "libc-*", "libllvm*", "libperl*")

_APT_CONF = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
Dir::State "{state}";
Dir::State::lists "{state}/lists";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "{state}/cache";
Dir::Log "{state}/log";
Debug::NoLocking "1";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-hidpi::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";
"""


@dataclass(frozen=True)
class Programs:
    """The programs of one server.

    Attributes:
        root: What stands for ``/``: the real one, or the directory that packages were unpacked into.
        version: As the server prints it, for instance ``10.11.19``.
    """

    root: Path
    version: str

    @property
    def installed(self) -> bool:
        """Whether they are the machine's own."""
        return self.root == Path("/")

    def environment(self) -> dict[str, str]:
        """Return the environment that lets them find their own libraries, free of the caller's settings."""
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "GMT"}
        if not self.installed:
            directories = [
                d for pattern in ("usr/lib/*-linux-*", "lib/*-linux-*") for d in self.root.glob(pattern)
            ]
            env["LD_LIBRARY_PATH"] = ":".join(str(d) for d in directories)
        return env


@dataclass(frozen=True)
class PackageSet:
    """What to look for, and what to fetch where it is missing.

    Attributes:
        name: Name of the directory, of the command line argument and of the environment variable.
        title: Name for people.
        package: The distribution's package; a meta-package when `through_meta` is set.
        minimum: Lowest version that serves.
        probe: Given where to look (its `version` is still empty), returns the version there, or None.
        through_meta: Pattern of the package to take out of the dependencies of `package`.
        keep: Patterns of further packages to unpack, beside shared libraries.
    """

    name: str
    title: str
    package: str
    minimum: tuple[int, ...]
    probe: Callable[[Programs], str | None]
    through_meta: str | None = None
    keep: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """Name of the environment variable that points at an installation of one's own."""
        return f"DIRAC_TEST_{self.name.upper()}_ROOT"


def store() -> Path:
    """Return the directory for what was fetched; per distribution, as machines may share a checkout."""
    base = Path(os.environ.get("DIRAC_TEST_SERVICES_DIR") or _CHECKOUT / ".test" / "services")
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    label = f"{release.get('ID', 'linux')}-{release.get('VERSION_ID', 'rolling')}-{platform.machine()}"
    return base.absolute() / re.sub(r"[^\w.-]", "_", label)


def first_version(argv: Sequence[str | Path], env: dict[str, str]) -> str | None:
    """Run a program that prints its version and return the first version number, None if it cannot run."""
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return None
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return found[0] if done.returncode == 0 and found else None


def find(wanted: PackageSet) -> Programs | None:
    """Find programs that are here: named by the environment, installed, or fetched before.

    Raises:
        UnavailableError: The environment names a place where they are not.
    """
    if named := os.environ.get(wanted.variable):
        if programs := _probe(wanted, Path(named).absolute()):
            return programs
        raise UnavailableError(
            f"no {wanted.title} {_dotted(wanted.minimum)} or newer in {named}",
            where=wanted.variable,
            hint="Set it to the directory that holds usr/, or unset it",
        )
    if os.environ.get("DIRAC_TEST_SERVICES") != "private" and (programs := _probe(wanted, Path("/"))):
        return programs
    fetched = sorted(store().glob(f"{wanted.name}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    return next((programs for root in fetched if (programs := _probe(wanted, root))), None)


def obtain(wanted: PackageSet, report: Callable[[str], None] = lambda _: None) -> Programs:
    """Find programs, or fetch them.

    Args:
        wanted: Which.
        report: Gets short lines on the progress, when there is something to wait for.

    Raises:
        UnavailableError: They are not here and cannot be fetched; says why and what to do.
    """
    if programs := find(wanted):
        return programs
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise _unavailable(wanted, "it is not installed, and this machine has no apt-get to fetch it with")
    base = store()
    base.mkdir(parents=True, exist_ok=True)
    with _only_one(base):
        return find(wanted) or _Fetch(wanted, base, report).run()


def _probe(wanted: PackageSet, root: Path) -> Programs | None:
    version = wanted.probe(Programs(root, ""))
    if version is None or tuple(map(int, version.split("."))) < wanted.minimum:
        return None
    return Programs(root, version)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _unavailable(wanted: PackageSet, reason: str) -> UnavailableError:
    return UnavailableError(
        f"the tests need {wanted.title} {_dotted(wanted.minimum)} or newer: {reason}",
        hint=(
            f"Mend that, or install the package {wanted.package} (or your distribution's name for it), "
            f"or set {wanted.variable} to a directory with an installation (the one that holds usr/)"
        ),
    )


@contextmanager
def _only_one(base: Path) -> Iterator[None]:
    """Let one process at a time fetch; clear what an interrupted one left."""
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in base.glob(".new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


class _Fetch:
    """One run of fetching and unpacking."""

    def __init__(self, wanted: PackageSet, base: Path, report: Callable[[str], None]) -> None:
        self.wanted = wanted
        self.base = base
        self.report = report
        self.state = base / "apt"
        self.conf = self.state / "apt.conf"
        self.updated = self.state / "updated"
        self.complaint = ""

    def run(self) -> Programs:
        self.report(f"{self.wanted.title}: reading the package lists")
        self._prepare()
        self._update()
        packages = self._resolve()
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=self.base))
        try:
            self._download(packages, work)
            return self._unpack(work)
        except UnavailableError:
            self.updated.unlink(missing_ok=True)  # the lists may name what the archive no longer has
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _prepare(self) -> None:
        for part in ("lists/partial", "cache/archives/partial", "log"):
            (self.state / part).mkdir(parents=True, exist_ok=True)
        self.conf.write_text(_APT_CONF.format(state=self.state))

    def _update(self) -> None:
        if self.updated.exists() and time.time() - self.updated.stat().st_mtime < _LISTS_FRESH:
            return
        try:
            self._apt("apt-get", "update", "-o", "APT::Update::Error-Mode=any")
        except UnavailableError as error:
            # One bad source among many does no harm when another has the packages: go on, and if that
            # fails, this is what people need to know.
            self.complaint = f"Before that, {error.message.partition(': ')[2]}"
        else:
            self.updated.touch()

    def _resolve(self) -> list[str]:
        """Return the packages to unpack, as ``name=version``."""
        root = self.wanted.package
        if pattern := self.wanted.through_meta:
            shown = self._apt("apt-cache", "depends", "--important", root)
            found = re.search(rf"Depends: ({pattern})$", shown, re.MULTILINE)
            if not found:
                raise _unavailable(self.wanted, f"the package {root} of this distribution names no {pattern}")
            root = found[1]
        planned = self._apt(
            "apt-get", "install", "--simulate", "--reinstall", "--no-install-recommends", "--yes",
            "--allow-change-held-packages", "--allow-downgrades", root,
        )  # fmt: skip
        # Inst NAME [OLD] (NEW SOURCE [ARCH]) ...
        pairs = re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+) ", planned, re.MULTILINE)
        return [f"{name}={version}" for name, version in pairs if name == root or self._needed(name)]

    def _needed(self, name: str) -> bool:
        """Whether a package holds something that runs: not what sets up a service on a system."""
        if any(fnmatch.fnmatch(name, pattern) for pattern in _NEVER_NEEDED):
            return False
        return any(fnmatch.fnmatch(name, pattern) for pattern in ("lib*", *self.wanted.keep))

    def _download(self, packages: list[str], work: Path) -> None:
        began = time.monotonic()
        (work / "debs").mkdir()
        self.report(f"{self.wanted.title}: fetching {len(packages)} packages")
        self._apt("apt-get", "download", *packages, cwd=work / "debs")
        size = sum(path.stat().st_size for path in (work / "debs").iterdir()) / 1e6
        self.report(f"{self.wanted.title}: fetched {size:.0f} MB in {time.monotonic() - began:.1f} s")

    def _unpack(self, work: Path) -> Programs:
        for package in sorted((work / "debs").iterdir()):
            self._run(["dpkg", "--extract", str(package), str(work / "root")])
        programs = _probe(self.wanted, work / "root")
        if programs is None:
            raise _unavailable(self.wanted, "the packages were fetched, but their program does not run here")
        final = self.base / f"{self.wanted.name}-{programs.version}"
        (work / "root").chmod(0o755)
        os.utime(work / "root")
        if final.exists():  # found unfit by `find`, or we were not here
            final.rename(work / "unfit")
        (work / "root").rename(final)
        return Programs(final, programs.version)

    def _apt(self, program: str, *arguments: str, cwd: Path | None = None) -> str:
        return self._run([program, "-c", str(self.conf), "-q", *arguments], cwd)

    def _run(self, argv: list[str], cwd: Path | None = None) -> str:
        env = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        try:
            done = subprocess.run(
                argv, env=env, cwd=cwd, capture_output=True, text=True, timeout=_APT_PATIENCE, check=False
            )
        except subprocess.TimeoutExpired as late:
            raise _unavailable(
                self.wanted, f"`{shlex.join(argv)}` took more than {late.timeout:.0f} s"
            ) from None
        if done.returncode:
            said = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-8:])
            reason = f"`{shlex.join(argv)}` failed and said:\n{said}\n{self.complaint}"
            raise _unavailable(self.wanted, reason)
        return done.stdout
