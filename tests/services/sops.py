"""The programs age, age-keygen and sops, built from their modules."""

from __future__ import annotations

import json
import os
from pathlib import Path

from dirac.core.errors import UnavailableError

from .made import make_once, run
from .packages import Programs

VERSION = "3.13.3"
_MODULES = {
    "filippo.io/age@v1.3.2": (
        "h1:r6RSZLFSMm6rzKepZ7ZAYkKCu14f3/Me8c7uKYh7C8c=",
        ("filippo.io/age/cmd/age@v1.3.2", "filippo.io/age/cmd/age-keygen@v1.3.2"),
    ),
    "github.com/getsops/sops/v3@v3.13.3": (
        "h1:saYczbT88kD1saNChe1cAbFQe5mrRhTIfEw3TaEcmK0=",
        ("github.com/getsops/sops/v3/cmd/sops@v3.13.3",),
    ),
}
_RECIPE = 1  # raised when what is written here changes


def programs() -> Programs:
    """Return the programs, built from their sources if they are not there yet.

    Raises:
        UnavailableError: There is no Go, or no network, or the sources are not those that we know.
    """
    return Programs(make_once(f"sops-{VERSION}-{_RECIPE}", _build), VERSION)


def _build(work: Path) -> Path:
    target = work / "sops"
    target.mkdir()
    for module, (checksum, commands) in _MODULES.items():
        found = json.loads(run("go", "mod", "download", "-json", module, cwd=work))
        if found["Sum"] != checksum:
            raise UnavailableError(f"{module} has the checksum {found['Sum']}, not {checksum}")
        for command in commands:
            environment = {"GOBIN": str(target), "CGO_ENABLED": "0"}
            run("go", "install", "-ldflags=-s -w", command, cwd=work, env=environment)
    return target


def in_path(found: Programs) -> str:
    """Return a PATH that begins with the programs."""
    return f"{found.root}{os.pathsep}{os.environ.get('PATH', '')}"
