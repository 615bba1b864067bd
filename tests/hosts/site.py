"""A site on test hosts, operated as people do it: with the commands that the pages show."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import images
from .podman import podman

ROOT = Path(__file__).parents[2]
EXAMPLE = "observatory"  # the site of the pages
_PATIENCE = 1800  # seconds; a verb that takes longer hangs


def documented(page: str, section: str, *needed: str) -> list[str]:
    """Return the words of the first command of the site ``observatory`` that a section of a page shows.

    Args:
        page: The page, from the top of the checkout.
        section: Its heading.
        needed: Words that the command has.

    Raises:
        LookupError: The page shows no such command.
    """
    text = re.split(rf"^#+ {re.escape(section)}$", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE)[1]
    for line in re.split(r"^#+ ", text, flags=re.MULTILINE)[0].splitlines():
        match = re.match(rf"(?: {{4}})?(?:\$ )?((?:bin/)?dirac site \S+ {EXAMPLE}.*)", line)
        words = shlex.split(match[1], comments=True) if match else []
        if words and set(needed) <= set(words):
            return words
    raise LookupError(f"{page}, {section}: no command of {EXAMPLE} with {needed}")


@dataclass
class Run:
    """What came of a verb."""

    code: int
    document: dict[str, Any]
    said: str

    @property
    def findings(self) -> dict[str, dict[str, Any]]:
        """The checks that have something to mend, failed or not, by name."""
        return {one["check"]: one for one in self.document["report"]["checks"] if one["cause"]}

    @property
    def faults(self) -> dict[str, dict[str, Any]]:
        """The failed checks by name."""
        return {one["check"]: one for one in self.document["report"]["checks"] if not one["ok"]}


@dataclass
class Operator:
    """Somebody with a checkout, whose ssh key the hosts know.

    Attributes:
        site: The site's name.
        home: Where keys, caches and the site's files go.
        host: Container of the host.
    """

    site: str
    home: Path
    host: str
    _environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        programs = self.home / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        # Hosts come and go with the same addresses: nobody's list of known hosts is to learn of them.
        ssh = programs / "ssh"
        ssh.write_text(
            f"#!/bin/sh\nexec /usr/bin/ssh -i {images.key()} -o UserKnownHostsFile=/dev/null "
            '-o LogLevel=ERROR "$@"\n'
        )
        ssh.chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
        }

    @property
    def files(self) -> Path:
        """Where the site's files are."""
        return self.home / self.site

    def type(self, words: list[str], *more: str) -> Run:
        """Type a command of a page, for this site, wanting JSON."""
        own = [word.replace(EXAMPLE, self.site) for word in words]
        own[0] = str(ROOT / "bin/dirac")
        done = subprocess.run(
            [*own, *more, "--json"], env=self._environment, cwd=ROOT, capture_output=True, text=True,
            timeout=_PATIENCE, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        document = json.loads(done.stdout) if done.stdout.startswith("{") else {}
        return Run(done.returncode, document, done.stderr)

    def do(self, verb: str, *more: str) -> Run:
        """Type the command that docs/operator/site.md shows for a verb."""
        return self.type(documented("docs/operator/site.md", verb), *more)

    def on_host(self, command: str) -> str:
        """Run a line of shell on the host; returns what it prints."""
        return podman("exec", self.host, "sh", "-c", command, failure=f"{command} failed on the host")
