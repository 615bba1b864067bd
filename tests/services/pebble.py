"""A private ACME authority (RFC 8555): Pebble, which is strict on purpose, to find clients that are not."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import ClassVar

import httpx

from .authority import Authority
from .made import make_once, run
from .packages import PackageSet, Programs
from .server import LOOPBACK, Server

VERSION = "2.6.0"
_MODULE = "github.com/letsencrypt/pebble/v2/cmd/pebble"


def programs() -> Programs:
    """Return the program, built from its sources if it is not there yet.

    Raises:
        UnavailableError: There is no Go, or no network.
    """
    return Programs(make_once(f"pebble-{VERSION}", _build), VERSION)


def _build(work: Path) -> Path:
    environment = {"GOBIN": str(work / "bin"), "CGO_ENABLED": "0"}
    run("go", "install", "-ldflags=-s -w", f"{_MODULE}@v{VERSION}", cwd=work, env=environment)
    return work / "bin"


def _lego_version(programs: Programs) -> str | None:
    # Debian's says that its version is "dev".
    return "4.5" if (programs.root / "usr/bin/lego").exists() else None


LEGO = PackageSet("lego", "lego", "lego", (4, 5), _lego_version)
"""The client that role `acme` installs."""


class Pebble(Server):
    """One authority; it looks for challenges at the port `challenge` of this machine.

    Args:
        seconds: Life of its certificates.
    """

    title: ClassVar[str] = "Pebble"
    port_names: ClassVar[tuple[str, ...]] = ("main", "management", "challenge", "tls")

    def __init__(self, *, seconds: int = 90 * 86400) -> None:
        super().__init__(programs())
        self.seconds = seconds
        self.authority = Authority(self.directory / "front", "Pebble's own address")
        self.authority.certificate("localhost", LOOPBACK, stem="localhost")

    @property
    def url(self) -> str:
        """Its directory."""
        return f"https://localhost:{self.port}/dir"

    def root(self) -> str:
        """Return the authority that its certificates are of, as PEM; another one after a restart."""
        address = f"https://localhost:{self.ports['management']}/roots/0"
        return httpx.get(address, verify=self._trust()).text

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority.ca))

    def _launch(self) -> None:
        settings = {
            "pebble": {
                "listenAddress": f"{LOOPBACK}:{self.port}",
                "managementListenAddress": f"{LOOPBACK}:{self.ports['management']}",
                "certificate": str(self.directory / "front/localhost.pem"),
                "privateKey": str(self.directory / "front/localhost.key"),
                "httpPort": self.ports["challenge"],
                "tlsPort": self.ports["tls"],
                "ocspResponderURL": "",
                "externalAccountBindingRequired": False,
                "certificateValidityPeriod": self.seconds,
            }
        }
        file = self.directory / "pebble.json"
        file.write_text(json.dumps(settings))
        # Without the pauses by which it finds clients that do not wait.
        environment = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "20"}
        self._run(self.programs.root / "pebble", "-config", file, env=environment)

    def _answers(self) -> bool:
        try:
            return httpx.get(self.url, verify=self._trust()).status_code == 200
        except httpx.HTTPError:
            return False
