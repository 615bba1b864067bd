"""A private list of users and groups: `scim2-server`, which keeps to RFC 7643 and 7644."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any, ClassVar

import httpx

from .made import make_once, run
from .packages import Programs
from .server import LOOPBACK, Server, greeting

_LOCK = Path(__file__).parents[2] / "requirements" / "scim2-server.txt"
_MAIN = "from scim2_server.testserver.cli import main; main()"
_CORE = "urn:ietf:params:scim:schemas:core:2.0"
_PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def programs() -> Programs:
    """Return the packages, installed in a directory of their own if they are not there yet.

    Raises:
        UnavailableError: There is no network.
    """
    content = _LOCK.read_text()
    state = hashlib.sha256(f"{sys.version}{content}".encode()).hexdigest()[:12]
    version = re.search(r"^scim2-server==(\S+)", content, re.MULTILINE)
    return Programs(make_once(f"scim2-server-{state}", _install), version[1] if version else "")


def _install(work: Path) -> Path:
    uv, target = Path(sys.executable).parent / "uv", work / "packages"
    wanted = ("--require-hashes", "--python", sys.executable, "--target", target, "-r", _LOCK)
    run(uv, "pip", "install", "--quiet", "--compile-bytecode", *wanted, cwd=work)
    return target


class ScimServer(Server):
    """One list, empty at first; `password` is the token that reads and writes it."""

    title: ClassVar[str] = "scim2-server"

    def __init__(self) -> None:
        super().__init__(programs())

    @property
    def url(self) -> str:
        """Address of its users."""
        return f"http://{LOOPBACK}:{self.port}/v2/Users"

    def add(self, name: str) -> str:
        """Have a user of that name, and return the identifier, which the server chooses."""
        return self._made("Users", {"schemas": [f"{_CORE}:User"], "userName": name, "active": True})

    def add_group(self, name: str, *users: str) -> str:
        """Have a group of these users, and return its identifier."""
        members = [{"value": user} for user in users]
        return self._made("Groups", {"schemas": [f"{_CORE}:Group"], "displayName": name, "members": members})

    def activate(self, user: str, *, active: bool) -> None:
        """Make a user active or not."""
        change = {"op": "replace", "path": "active", "value": active}
        self._ask("PATCH", f"Users/{user}", {"schemas": [_PATCH], "Operations": [change]})

    def remove(self, kind: str, identifier: str) -> None:
        """Remove one of the ``Users`` or ``Groups``."""
        self._ask("DELETE", f"{kind}/{identifier}", None)

    def clear(self) -> None:
        """Remove all users and groups."""
        for kind in ("Groups", "Users"):
            while found := self._ask("GET", f"{kind}?attributes=id", None).json().get("Resources"):
                for one in found:
                    self.remove(kind, one["id"])

    def _made(self, kind: str, body: dict[str, Any]) -> str:
        identifier: str = self._ask("POST", kind, body).json()["id"]
        return identifier

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        shown = {"Authorization": f"Bearer {self.password}", "Content-Type": "application/scim+json"}
        address = f"http://{LOOPBACK}:{self.port}/v2/{path}"
        answer = httpx.request(method, address, json=body, headers=shown)
        assert answer.status_code < 300, answer.text
        return answer

    def _launch(self) -> None:
        options = ("--hostname", LOOPBACK, "--port", str(self.port), "--bearer-token", self.password)
        self._run(sys.executable, "-c", _MAIN, *options, env={"PYTHONPATH": str(self.programs.root)})

    def _answers(self) -> bool:
        return greeting(self.port, b"GET /v2/Schemas HTTP/1.1\r\nHost: localhost\r\n\r\n") == b"H"
