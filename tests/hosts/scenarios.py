"""The molecule scenarios: which there are, which are run, and what keeps the others from being run."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .podman import HostsError, environment, missing

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "molecule"
# Run with the acceptance tests, as they need neither root nor containers.
ELSEWHERE = {"embedded"}
# What `bin/test` has time for: supervision and its clean stops, the base of every host, the balancer, and one
# database. `bin/test --all` runs everything, whole sites as well.
SELECTION = ("runit-alternative", "base-default", "haproxy-default", "postgresql-default")
AT_A_TIME = 2  # most of a scenario is waiting for packages and for logins
_PATIENCE = 3600.0
_VARIABLES = {"NO_COLOR": "1", "LC_ALL": "C.UTF-8", "PYTHONPATH": f"{ROOT}/src:{ROOT}"}
# Servers that no package has are made from their sources: by what, and where they then are.
_MADE = {
    "tests.services.object_store": (("go",), "versitygw-*"),
    "tests.services.opensearch": (("mvn", "java"), "opensearch-*"),
    "opensearch_archive.yml": (("mvn", "java"), "opensearch-*"),
}


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        chosen: Names of scenarios.
        left_out: The others, with the reason.
    """

    chosen: tuple[str, ...]
    left_out: dict[str, str]


def names() -> list[str]:
    """Return the names of all scenarios on hosts."""
    found = {path.parent.name for path in FOLDER.glob("*/molecule.yml")}
    return sorted(found - ELSEWHERE)


def plan(wanted: str = "selection") -> Plan:
    """Tell which scenarios are run.

    Args:
        wanted: `selection`, `all`, or names with commas between them.

    Raises:
        HostsError: There is no scenario of that name.
    """
    known = names()
    asked = {"selection": SELECTION, "all": tuple(known)}.get(wanted, tuple(wanted.split(",")))
    if unknown := set(asked) - set(known):
        raise HostsError(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    machine = missing()
    chosen: list[str] = []
    left_out: dict[str, str] = {}
    for name in [*asked, *(each for each in known if each not in asked)]:
        reasons = machine or _lacking(name)
        if reasons:
            left_out[name] = "; ".join(reasons)
        elif name in asked:
            chosen.append(name)
        else:
            left_out[name] = "not in the selection (bin/test --all)"
    return Plan(tuple(chosen), left_out)


def _lacking(name: str) -> list[str]:
    """Return what this machine lacks for the servers that a scenario makes from their sources."""
    text = "\n".join(path.read_text("utf-8") for path in sorted((FOLDER / name).rglob("*.yml")))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dirac-tests/services"
    lacking = {
        program
        for mark, (programs, made) in _MADE.items()
        if mark in text and not any(cache.glob(made))
        for program in programs
        if shutil.which(program) is None
    }
    return [f"{program} is not installed, which builds a server that it needs" for program in sorted(lacking)]


class Runs:
    """Runs scenarios, some at a time; each is asked for when its turn comes."""

    def __init__(self, chosen: tuple[str, ...], logs: Path) -> None:
        self._logs = logs
        self._pool = ThreadPoolExecutor(max_workers=AT_A_TIME)
        self._runs: dict[str, Future[str]] = {name: self._pool.submit(self._run, name) for name in chosen}

    def result(self, name: str) -> str:
        """Return what a scenario said.

        Raises:
            HostsError: It failed.
        """
        return self._runs[name].result()

    def close(self) -> None:
        """Wait for what runs, and start no more."""
        self._pool.shutdown(cancel_futures=True)

    def _run(self, name: str) -> str:
        command = ["molecule", "test", "-s", name]
        variables = environment() | _VARIABLES
        with (self._logs / f"{name}.log").open("w+") as log:
            done = subprocess.run(
                command, cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, timeout=_PATIENCE, check=False,
            )  # fmt: skip
            log.seek(0)
            said = log.read()
        if done.returncode:
            raise HostsError(f"scenario {name} has failed (molecule test -s {name}):\n{said[-20_000:]}")
        return said
