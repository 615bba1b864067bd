"""A private Dex: the OpenID provider of many clusters, built from its module."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import ClassVar

from dirac.core.errors import UnavailableError

from .made import make_once, run
from .packages import Programs
from .server import LOOPBACK, Server, greeting

CLIENT_ID = "dirac-test"
# The module's tags are none that modules may have: a release goes by its commit. This is 2.30.0.
VERSION = "2.30.0"
_MODULE = "github.com/dexidp/dex"
_COMMIT = "v0.0.0-20210917061239-f0186ff2651e"
_SUM = "h1:W2Spa3acn9mkve/jLBbSu3AyNN39DnsxgZVvx6fDSCE="
_RECIPE = 1  # raised when what is written here changes
# bcrypt of `PASSWORD`; made once, since nothing in the standard library makes one.
PASSWORD = "password"
_HASH = "$2a$10$2b2cU8CPhOTaGrs1HRQuAueS7JTT5ZHsHSzYiFPm1leZck7Mc8T4W"

_WITHOUT_SQLITE = """\
//go:build !cgo

package sql

import (
	"errors"

	"github.com/dexidp/dex/pkg/log"
	"github.com/dexidp/dex/storage"
)

// SQLite3 stands for the storage that needs a C compiler, and refuses.
type SQLite3 struct {
	File string `json:"file"`
}

// Open refuses.
func (s *SQLite3) Open(logger log.Logger) (storage.Storage, error) {
	return nil, errors.New("this program was built without SQLite")
}
"""


def programs() -> Programs:
    """Return the program and its pages, built from its sources if it is not there yet.

    Raises:
        UnavailableError: There is no Go, or no network, or the sources are not those that we know.
    """
    return Programs(make_once(f"dex-{VERSION}-{_RECIPE}", _build), VERSION)


def _build(work: Path) -> Path:
    found = json.loads(run("go", "mod", "download", "-json", f"{_MODULE}@{_COMMIT}", cwd=work))
    if found["Sum"] != _SUM:
        raise UnavailableError(f"{_MODULE} has the checksum {found['Sum']}, not {_SUM}")
    sources, target = work / "sources", work / "dex"
    shutil.copytree(found["Dir"], sources, copy_function=shutil.copy)
    for directory in (sources, *(path for path in sources.rglob("*") if path.is_dir())):
        directory.chmod(0o755)
    (sources / "go.mod").chmod(0o644)
    (sources / "go.sum").chmod(0o644)
    (sources / "storage" / "sql" / "without_cgo.go").write_text(_WITHOUT_SQLITE)
    run("go", "mod", "edit", "-dropreplace", f"{_MODULE}/api/v2", cwd=sources)
    target.mkdir()
    program = ("go", "build", "-mod=mod", "-ldflags=-s -w", "-o", target / "dex", "./cmd/dex")
    run(*program, cwd=sources, env={"CGO_ENABLED": "0"})
    shutil.copytree(sources / "web", target / "web")
    return target


class Dex(Server):
    """One provider with the people of its own list; its client is `CLIENT_ID` with `password` as its secret.

    Args:
        redirect_uri: Where people may be sent back to.
        people: Mail addresses and user names; all have the password `PASSWORD`.
    """

    title: ClassVar[str] = "Dex"

    def __init__(
        self, redirect_uri: str = "http://127.0.0.1/unused", people: dict[str, str] | None = None
    ) -> None:
        super().__init__(programs())
        self.redirect_uri = redirect_uri
        self.people = people or {}

    @property
    def url(self) -> str:
        """Its issuer."""
        return f"http://{LOOPBACK}:{self.port}/dex"

    def _launch(self) -> None:
        settings = {
            "issuer": self.url,
            "storage": {"type": "memory"},
            "web": {"http": f"{LOOPBACK}:{self.port}"},
            "frontend": {"dir": str(self.programs.root / "web")},
            "enablePasswordDB": True,
            "staticClients": [
                {
                    "id": CLIENT_ID,
                    "name": "DIRAC",
                    "secret": self.password,
                    "redirectURIs": [self.redirect_uri],
                }
            ],
            "staticPasswords": [
                {"email": email, "hash": _HASH, "username": name, "userID": f"id-{name}"}
                for email, name in self.people.items()
            ],
        }
        file = self.directory / "dex.json"
        file.write_text(json.dumps(settings))
        self._run(self.programs.root / "dex", "serve", file)

    def _answers(self) -> bool:
        return greeting(self.port, b"GET /dex/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") == b"H"
