"""Running a playbook for a site, in a process of its own, and what came of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dirac.cli.output import complain, print_json
from dirac.cli.site.places import Site, program_name, prune_logs, times_file
from dirac.core.errors import DiracError

OK, FAILED, WRONG, UNREACHABLE = 0, 1, 2, 3
_INTERRUPTED = 130
_FORKS = "20"
# A host that is met for the first time is believed, one whose key has changed is not.
_SSH = "-o ControlMaster=auto -o ControlPersist=300s -o StrictHostKeyChecking=accept-new -o ConnectTimeout=15"


@dataclass(frozen=True)
class Options:
    """What the command line hands on to ``ansible-playbook``."""

    limit: str | None = None
    check: bool = False
    diff: bool = False
    extra: Sequence[str] = ()
    verbose: int = 0
    more: Sequence[str] = ()

    def words(self) -> list[str]:
        """Return them as they are typed."""
        found = [word for value in self.extra for word in ("-e", value)]
        if self.limit:
            found += ["--limit", self.limit]
        if self.check:
            found.append("--check")
        if self.diff:
            found.append("--diff")
        if self.verbose:
            found.append("-" + "v" * self.verbose)
        return [*found, *self.more]


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        code: The exit code of the command.
        document: What ``--json`` prints.
        log: The log of the run.
    """

    code: int
    document: dict[str, Any] = field(default_factory=dict)
    log: Path | None = None


def program() -> str:
    """Return the path of ``ansible-playbook``: the one beside this Python, else the one on the PATH.

    Raises:
        DiracError: There is none.
    """
    beside = Path(sys.executable).parent / "ansible-playbook"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("ansible-playbook")
    if not found:
        raise DiracError(
            "ansible-playbook is not installed here",
            hint="Type bin/dirac in a checkout instead of dirac: it brings Ansible along",
        )
    return found


def command_line(site: Site, name: str, options: Options, arguments: Sequence[str] = ()) -> list[str]:
    """Return the words that run a playbook for a site."""
    words = [program()]
    for inventory in (site.distribution.common, site.directory):
        if inventory.is_dir():
            words += ["-i", str(inventory)]
    if site.secrets_file.is_file():
        words += ["--vault-password-file", str(site.key_file)]
    return [*words, str(site.distribution.playbook(name)), *arguments, *options.words()]


def environment(site: Site, name: str, log: Path) -> dict[str, str]:
    """Return the environment of a run; what the caller has set for Ansible stays."""
    ours = {
        "ANSIBLE_CONFIG": str(site.distribution.root / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "progress",
        "ANSIBLE_LOG_PATH": str(log),
        "DIRAC_SITE": site.name,
        "DIRAC_SITE_VERB": name,
        "DIRAC_SITE_COMMAND": f"{program_name()} site {name} {site.name}",
        "DIRAC_SITE_REPORT": str(log.with_suffix(".json")),
        "DIRAC_SITE_TIMES": str(times_file()),
    }
    defaults = {"ANSIBLE_FORKS": _FORKS, "ANSIBLE_SSH_ARGS": _SSH}
    both = defaults | os.environ | ours
    encoding = both.get("LC_ALL") or both.get("LC_CTYPE") or both.get("LANG", "")
    if "utf" not in encoding.lower():
        both["LC_ALL"] = "C.UTF-8"
    return both


def run(
    site: Site, name: str, options: Options, *, arguments: Sequence[str] = (), quiet: bool = False
) -> Outcome:
    """Run a playbook; what it says goes to standard output, with `quiet` to standard error.

    Raises:
        DiracError: There is no Ansible, or no such playbook.
    """
    words = command_line(site, name, options, arguments)
    begun = datetime.now(UTC)
    site.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = site.logs / f"{begun:%Y%m%dT%H%M%SZ}-{name}.log"
    log.touch(mode=0o600)
    process = subprocess.Popen(
        words,
        cwd=site.distribution.root,
        env=environment(site, name, log),
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if quiet else None,
    )
    code = _wait(process)
    prune_logs(site.logs)
    return _outcome(site, name, code, begun, log)


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end; an interrupt reaches Ansible as well, which then ends by itself."""
    while True:
        with suppress(KeyboardInterrupt):
            return process.wait()


def _outcome(site: Site, name: str, code: int, begun: datetime, log: Path) -> Outcome:
    document: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        document = json.loads(log.with_suffix(".json").read_bytes())
    if not document:
        # Ansible has not come as far as to run anything: an inventory or a playbook it cannot read.
        document = {
            "site": site.name,
            "verb": name,
            "ok": code == 0,
            "started": f"{begun:%Y-%m-%dT%H:%M:%SZ}",
            "hosts": {},
            "roles": [],
            "report": {},
            "failures": []
            if code == 0
            else [{"host": None, "message": "ansible-playbook did not start", "look": str(log)}],
        }
    document["ok"] = document.get("ok", False) and code == 0
    document["log"] = str(log)
    return Outcome(exit_code(code, document), document, log)


def exit_code(code: int, document: dict[str, Any]) -> int:
    """Return the exit code of a command: 3 only if hosts could not be reached and nothing else failed."""
    if code < 0 or code > 100:
        return _INTERRUPTED
    if code == 0:
        return OK
    failures = document.get("failures", [])
    if failures and all(failure.get("unreachable") for failure in failures):
        return UNREACHABLE
    return FAILED


def finish(outcome: Outcome, *, as_json: bool) -> None:
    """Print the document if it is wanted, and end the command with its exit code."""
    import typer

    if as_json:
        print_json(outcome.document)
    elif outcome.code and not outcome.document.get("hosts") and not outcome.document.get("failures"):
        complain("the run was given up")
    if outcome.code:
        raise typer.Exit(outcome.code)
