"""What a certificate costs the server: a request with a proxy beside one with a token, on kept connections.

Run ``python -m bench.certificates``. It prints CPU seconds of the server's process for a request that is
answered from memory, and for a new connection, and the ratios; 1.3 is the most that a proxy may cost on a
connection that is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from bench.served import cpu_of

from dirac.db.engine import Database
from dirac.db.schema import migrate
from dirac.formats.x509 import proxy
from dirac.server.control import make_master_key
from dirac.server.schema import LOCATIONS
from dirac.server.settings import load
from tests.acceptance.installation import eventually, free_port
from tests.acceptance.tokens import mint_all
from tests.services.authority import Authority

PATH = "/api/auth/userinfo"
TREE = """\
virtual_organisations:
  astro:
    default_group: astro_user
    groups: {astro_user: {}}
    users: {alice: {groups: [astro_user], dns: [/C=ch/O=DIRAC/CN=alice]}}
"""


async def _migrate(url: str) -> None:
    database = Database(url)
    await migrate(database, LOCATIONS)
    await database.close()


def make(directory: Path) -> tuple[Path, Path, Path]:
    """Make an installation; return its settings, the authority, and a proxy of Alice's with two steps."""
    people = Authority(directory / "certificates")
    certificate, key = people.certificate(stem="host")
    port, settings = free_port(), directory / "dirac.toml"
    settings.write_text(
        f'[http]\nurl = "https://localhost:{port}"\nport = {port}\ntls_certificate = "{certificate}"\n'
        f'tls_key = "{key}"\ntls_client_ca = "{people.ca}"\n'
    )
    loaded = load(settings)
    make_master_key(loaded)
    asyncio.run(_migrate(loaded.database_url()))
    alice, own = people.person("alice")
    keys, now = [proxy.make_key(), proxy.make_key()], datetime.now(UTC)
    chain, signer = proxy.chain([alice]), own
    for number, each in enumerate(keys):
        life = timedelta(hours=1)
        chain = proxy.sign(chain, signer, each.public_key(), serial=number + 1, now=now, life=life)
        signer = each
    file = directory / "proxy.pem"
    file.write_bytes(proxy.to_pem(chain, keys[-1]))
    return settings, people.ca, file


def measured(pid: int, number: int, deed: Callable[[], None]) -> float:
    """Return the CPU seconds of the server for one deed."""
    deed()
    before = cpu_of(pid)
    for _ in range(number):
        deed()
    return (cpu_of(pid) - before) / number


def compare(settings: Path, ca: Path, file: Path, pid: int, requests: int, rounds: int) -> None:
    """Print what requests and connections cost."""
    loaded = load(settings)
    plain, shown = ssl.create_default_context(cafile=ca), ssl.create_default_context(cafile=ca)
    shown.load_cert_chain(file)
    url = loaded.http.url
    operator = {"Authorization": f"Bearer {mint_all(loaded)['operator']}"}
    with httpx.Client(base_url=url, verify=plain) as client:
        eventually(lambda: _ready(client), "the server is ready")
        client.post("/api/config/apply", json={"text": TREE}, headers=operator).raise_for_status()
    with httpx.Client(base_url=url, verify=shown) as with_proxy:
        answer = with_proxy.post("/api/auth/certificate-token")
        answer.raise_for_status()
        bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        with httpx.Client(base_url=url, verify=plain) as with_token:
            kept: dict[str, list[float]] = {"token": [], "proxy": []}
            for _ in range(rounds):  # in turn, since the machine is faster now and then
                kept["token"].append(measured(pid, requests, lambda: _get(with_token, bearer)))
                kept["proxy"].append(measured(pid, requests, lambda: _get(with_proxy, {})))

    def connect(context: ssl.SSLContext, headers: dict[str, str]) -> None:
        with httpx.Client(base_url=url, verify=context) as client:
            _get(client, headers)

    fresh = {
        "token": [measured(pid, 50, lambda: connect(plain, bearer)) for _ in range(rounds)],
        "proxy": [measured(pid, 50, lambda: connect(shown, {})) for _ in range(rounds)],
    }
    print("| what | with a token | with a proxy | ratio |\n|---|---|---|---|")
    for title, costs in (("request on a kept connection", kept), ("new connection and request", fresh)):
        token, proxied = (statistics.median(costs[name]) * 1e3 for name in ("token", "proxy"))
        print(f"| {title} | {token:.3f} ms | {proxied:.3f} ms | {proxied / token:.2f} |")


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/api/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def _get(client: httpx.Client, headers: dict[str, str]) -> None:
    client.get(PATH, headers=headers).raise_for_status()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        settings, ca, file = make(Path(directory))
        command = [sys.executable, "-m", "dirac.server.main", "run", "-s", str(settings)]
        server = subprocess.Popen(command)
        try:
            compare(settings, ca, file, server.pid, given.requests, given.rounds)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
