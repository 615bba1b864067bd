"""DiracX's published client, command line and API package, unmodified, in an environment of their own.

They are never a dependency of ours: `python -m tests.acceptance.published install` puts what
``requirements/diracx.txt`` locks into ``.test/diracx``, and tests start its programs. DiracX's server, which
is only measured (``bench/diracx.py``), gets its environment in the same way.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_CHECKOUT = Path(__file__).resolve().parents[2]
CLIENT, SERVER = "diracx", "diracx-server"
_PATIENCE = 600.0
_CALL_PATIENCE = 120.0


def obtain(name: str = CLIENT) -> Path:
    """Return the directory of their programs; installs them if that was not done, or with another lock.

    Args:
        name: `CLIENT` or `SERVER`: of the lock in ``requirements`` and of the directory in ``.test``.
    """
    wanted, place = _CHECKOUT / "requirements" / f"{name}.txt", _CHECKOUT / ".test" / name
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        programs, mark = place / "venv" / "bin", place / "venv" / ".complete"
        want = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
        if not mark.exists() or mark.read_text() != want:
            shutil.rmtree(place / "venv", ignore_errors=True)
            uv = Path(sys.executable).parent / "uv"
            _run(str(uv), "venv", "--quiet", "--python", sys.executable, str(place / "venv"))
            _run(str(uv), "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes",
                 "--python", str(programs / "python"), "-r", str(wanted))  # fmt: skip
            mark.write_text(want)
        return programs


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")


class Shell:
    """The shell of somebody who uses DiracX's programs.

    Args:
        home: Their home directory; what they log in with is kept there.
        url: The server.
        ca_file: Whom they believe in TLS.
    """

    def __init__(self, home: Path, url: str, ca_file: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self._programs = obtain()
        self.environment = {
            "HOME": str(home),
            "PATH": f"{self._programs}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "DIRACX_URL": url,
            "DIRACX_CA_PATH": str(ca_file),
            # What sends and fetches archives is told by no setting of theirs whom to believe.
            "SSL_CERT_FILE": str(ca_file),
            "DIRACX_OUTPUT_FORMAT": "JSON",
        }

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start their command ``dirac``; its output is both streams."""
        return subprocess.Popen(
            [self._programs / "dirac", *words],
            env=self.environment | {"PYTHONUNBUFFERED": "1"},
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, code: int = 0) -> str:
        """Run their command ``dirac`` to its end and return what it says."""
        return self._done([str(self._programs / "dirac"), *words], code)

    def python(self, body: str, **given: Any) -> Any:
        """Run statements with their asynchronous client as ``api``; return what these assign to ``answer``.

        Args:
            body: The statements; they may await.
            given: Values that they may use.
        """
        indented = "".join(f"        {line}\n" for line in body.strip().splitlines())
        text = _PROGRAM.format(given=json.dumps(given), body=indented)
        return json.loads(self._done([str(self._programs / "python"), "-c", text], 0).rpartition("\n")[2])

    def _done(self, command: list[str], code: int) -> str:
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=_CALL_PATIENCE,
            check=False,
        )
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()


_PROGRAM = """\
import asyncio, json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from azure.core.exceptions import HttpResponseError
from diracx.api.jobs import create_sandbox, download_sandbox
from diracx.client import models
from diracx.client.aio import AsyncDiracClient

given = json.loads({given!r})
ranges = lambda _, rows, headers: [rows, headers.get("Content-Range")]

async def main():
    answer = None
    async with AsyncDiracClient() as api:
{body}
    print("\\n" + json.dumps(answer, default=str), end="")

asyncio.run(main())
"""


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit("usage: python -m tests.acceptance.published install")
    sys.stdout.write(f"DiracX's client: {obtain()}\n")
