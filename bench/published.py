"""DiracX's published server, unmodified, in a process and an environment of its own, for comparisons.

It is set up as its own documentation does: settings in environment variables, configuration in a git
repository, tables and signing key made by its own commands, tokens handed out by itself (the exchange that
DIRAC uses). Tracing and the access log are off, uvicorn has uvloop and httptools, as ours. The S3 service it
demands is asked once, at its start; OpenSearch, whether it answers, before a search, at most every ten
seconds; git, for the configuration, at most every five. These are processes of their own, and not counted.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import yaml
from bench.served import Databases, Served, databases, process

from dirac.core.errors import UnavailableError
from tests.acceptance.installation import eventually, free_port
from tests.acceptance.published import SERVER, obtain
from tests.services.opensearch import OpenSearch

_DATABASES = (
    "AuthDB",
    "JobDB",
    "JobLoggingDB",
    "PilotAgentsDB",
    "ResourceStatusDB",
    "SandboxMetadataDB",
    "TaskQueueDB",
)
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "mariadb": "mysql+aiomysql"}
ENGINES = tuple(_DRIVERS)
_USER = "0b0b-alice"
_GROUPS = {
    "astro_user": {"Properties": ["NormalUser"], "Users": [_USER]},
    "astro_admin": {"Properties": ["NormalUser", "JobAdministrator"], "Users": [_USER]},
}
_CONFIGURATION = {
    "DIRAC": {},
    "Operations": {"Defaults": {}},
    "Registry": {
        "astro": {
            "DefaultGroup": "astro_user",
            "IdP": {"ClientID": "bench", "URL": "https://idp.invalid"},
            "Users": {_USER: {"PreferedUsername": "alice"}},
            "Groups": _GROUPS,
        }
    },
}
_S3_KEY = {"aws_access_key_id": "bench", "aws_secret_access_key": "bench"}
_NAMES = {"user": "astro_user", "administrator": "astro_admin"}


class DiracX(Served):
    """An installation of DiracX that runs.

    Attributes:
        no_search: Why it cannot search; empty if it can.
    """

    no_search = ""


@contextlib.contextmanager
def diracx(engine: str) -> Iterator[DiracX]:
    """Run a new installation of DiracX on an engine; its users are ``user`` and ``administrator``.

    Args:
        engine: One of `ENGINES`.
    """
    programs = obtain(SERVER)
    with (
        tempfile.TemporaryDirectory(prefix="dirac-bench-diracx-") as directory,
        databases(engine, Path(directory)) as made,
        _opensearch() as (opensearch, no_search),
    ):
        place, port, s3, key = Path(directory), free_port(), free_port(), secrets.token_bytes(16)
        url, store = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{s3}"
        environment = {
            **_environment(place, url, key),
            **_locations(engine, made),
            "DIRACX_SANDBOX_STORE_S3_CLIENT_KWARGS": json.dumps({"endpoint_url": store, **_S3_KEY}),
            "DIRACX_OS_DB_JOBPARAMETERSDB": json.dumps({"hosts": opensearch}),
        }
        moto = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(s3)]
        uvicorn = [programs / "uvicorn", "--factory", "diracx.routers.factory:create_app", "--no-access-log",
                   "--host", "127.0.0.1", "--port", str(port), "--timeout-keep-alive", "75"]  # fmt: skip
        _prepare(programs, place, environment, ["init-sql"] if no_search else ["init-sql", "init-os"])
        (place / "s3").mkdir()
        with (
            process(moto, store, place / "s3"),
            process(uvicorn, f"{url}/api/health/live", place, environment) as pid,
        ):
            # It refuses what comes before it has read its configuration for the first time.
            eventually(lambda: _exchange(url, key, "user").status_code == 200, "DiracX gives tokens")
            running = DiracX(pid, url, lambda: _log_in(url, key), made.pid)
            running.no_search = no_search
            with running.client:
                running.rest()
                yield running


@contextlib.contextmanager
def _opensearch() -> Iterator[tuple[str, str]]:
    """Yield the address of a private OpenSearch, and why there is none, if it cannot be had."""
    try:
        server = OpenSearch()
    except UnavailableError as error:
        yield (
            "http://127.0.0.1:9",
            f"it refuses to search without OpenSearch, which is not here: {error.message}",
        )
        return
    with server:
        yield server.url, ""


def _environment(place: Path, url: str, key: bytes) -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(place),
        "LANG": "C.UTF-8",
        "DIRACX_CONFIG_BACKEND_URL": f"git+file://{place / 'configuration'}",
        "DIRACX_SERVICE_AUTH_TOKEN_ISSUER": url,
        "DIRACX_SERVICE_AUTH_TOKEN_KEYSTORE": f"file://{place / 'jwks.json'}",
        "DIRACX_SERVICE_AUTH_STATE_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "DIRACX_LEGACY_EXCHANGE_HASHED_API_KEY": hashlib.sha256(key).hexdigest(),
        "DIRACX_SANDBOX_STORE_BUCKET_NAME": "sandboxes",
        "DIRACX_SANDBOX_STORE_AUTO_CREATE_BUCKET": "true",
    }


def _locations(engine: str, made: Databases) -> dict[str, str]:
    """Return the settings that say where its databases are, which are made."""
    driver = _DRIVERS[engine]
    return {
        f"DIRACX_DB_URL_{name.upper()}": f"{driver}://{made.create().partition('://')[2]}"
        for name in _DATABASES
    }


def _prepare(programs: Path, place: Path, environment: dict[str, str], words: list[str]) -> None:
    """Make configuration, signing key and tables."""
    configuration = place / "configuration"
    configuration.mkdir()
    (configuration / "default.yml").write_text(yaml.safe_dump(_CONFIGURATION))
    python = str(programs / "python")
    git = ["git", "-C", str(configuration), "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for command in (
        [*git, "init", "--quiet", "--initial-branch=master"],
        [*git, "add", "default.yml"],
        [*git, "commit", "--quiet", "--message=configuration"],
        [python, "-m", "diracx.logic", "rotate-jwk", "--jwks-path", str(place / "jwks.json")],
        *([python, "-m", "diracx.db", word] for word in words),
    ):
        done = subprocess.run(
            command, env=environment, cwd=place, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def _exchange(url: str, key: bytes, who: str) -> httpx.Response:
    scope = f"vo:astro group:{_NAMES[who]}"
    return httpx.get(
        f"{url}/api/auth/legacy-exchange",
        params={"preferred_username": "alice", "scope": scope},
        headers={"Authorization": f"Bearer diracx:legacy:{base64.urlsafe_b64encode(key).decode()}"},
        timeout=60,
    )


def _log_in(url: str, key: bytes) -> dict[str, str]:
    return {who: _exchange(url, key, who).raise_for_status().json()["access_token"] for who in _NAMES}
