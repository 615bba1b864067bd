"""A private S3 store: VersityGW, which checks signatures, policies and checksums as AWS does.

``python -m tests.services.object_store`` prints where the program is, after it was made.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from .made import make_once, run
from .packages import Programs
from .server import LOOPBACK, Server, greeting

VERSION = "1.8.0"
_MODULE = "github.com/versity/versitygw/cmd/versitygw"


def program() -> Path:
    """Return the program, built from its sources if it is not there yet.

    Raises:
        UnavailableError: There is no Go, or no network.
    """
    return make_once(f"versitygw-{VERSION}", _build)


def _build(work: Path) -> Path:
    environment = {"GOBIN": str(work), "CGO_ENABLED": "0"}
    run("go", "install", "-ldflags=-s -w", f"{_MODULE}@v{VERSION}", cwd=work, env=environment)
    return work / "versitygw"


def programs() -> Programs:
    """Return it in the form that servers take."""
    return Programs(program(), VERSION)


class ObjectStore(Server):
    """One store; `user` is its administrator."""

    title: ClassVar[str] = "VersityGW"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"

    def _launch(self) -> None:
        for part in ("data", "accounts", "metadata"):
            (self.directory / part).mkdir(exist_ok=True)
        settings = {
            "ROOT_ACCESS_KEY": self.user,
            "ROOT_SECRET_KEY": self.password,
            "VGW_PORT": f"{LOOPBACK}:{self.port}",
            "VGW_IAM_DIR": f"{self.directory}/accounts",
            "VGW_META_SIDECAR": f"{self.directory}/metadata",
            "VGW_HEALTH": "/health",
        }
        self._run(self.programs.root, "posix", self.directory / "data", env=settings)

    def _answers(self) -> bool:
        return greeting(self.port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n") == b"H"


if __name__ == "__main__":
    sys.stdout.write(f"{program()}\n")
