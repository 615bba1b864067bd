"""The server keeps what its own description promises, whatever it is sent and whoever sends it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from dirac.db.engine import Database
from dirac.db.schema import migrate
from dirac.server import composition
from dirac.server.control import make_master_key
from dirac.server.schema import LOCATIONS
from dirac.server.serve import make_app
from dirac.server.settings import DatabaseSettings, Http, Settings, load
from tests.acceptance.fuzzing import Fuzzer, chosen_seed
from tests.acceptance.installation import Installation, eventually, free_port
from tests.acceptance.tokens import mint_all

JDL = 'Executable = "/bin/true"; Tags = {"Nowhere"};'
TREE = """\
virtual_organisations:
  astro:
    default_group: astro_user
    groups:
      astro_user: {properties: [NormalUser]}
      astro_admin: {properties: [NormalUser, JobAdministrator]}
    users:
      alice: {groups: [astro_user, astro_admin]}
"""


def fuzz(url: str, settings: Settings, *, examples: int, seconds: float) -> None:
    """Fuzz a server as everybody, with a few jobs there to be aimed at."""
    number = chosen_seed()
    tokens = mint_all(settings)
    alice = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {tokens['user']}"})
    with alice:
        made = alice.post("/api/jobs/jdl", json=[JDL] * 3)
        assert made.status_code == 201, made.text
    fuzzer = Fuzzer(url, {"nobody": None, **tokens}, [job["JobID"] for job in made.json()])
    fuzzer.run(number, examples=examples, seconds=seconds)
    print(f"{fuzzer.requests} requests, answers: {dict(sorted(fuzzer.statuses.items()))}")
    assert not fuzzer.faults, "\n\n".join(
        f"{operation}: {title}\n{text}" for (operation, title), text in sorted(fuzzer.faults.items())
    )
    assert min(fuzzer.statuses) == 200
    assert {400, 401, 403, 404, 422} <= fuzzer.statuses.keys()


def test_nothing_surprises_an_installation(installation: Installation) -> None:
    fuzz(installation.url, load(installation.settings_file), examples=3, seconds=40)


@contextmanager
def serving(settings: Settings) -> Iterator[None]:
    """Serve an installation from a thread of this process."""
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(composition.build(settings)),
            host=settings.http.host,
            port=settings.http.port,
            log_config=None,
            access_log=False,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive(), "the server listens")
        yield
    finally:
        server.should_exit = True
        thread.join()


async def _migrate(url: str) -> None:
    database = Database(url)
    await migrate(database, LOCATIONS)
    await database.close()


@pytest.mark.parametrize("engine", ["mariadb", "postgresql"])
def test_engines_that_refuse_more_are_not_surprised_either(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database = request.getfixturevalue(f"{engine}_server")
    url = database.create_database()
    port = free_port()
    settings = Settings(
        state=str(tmp_path),
        http=Http(url=f"http://127.0.0.1:{port}", port=port),
        database=DatabaseSettings(url=url),
    )
    make_master_key(settings)
    asyncio.run(_migrate(url))
    with serving(settings):
        operator = {"Authorization": f"Bearer {mint_all(settings)['operator']}"}
        applied = httpx.post(f"{settings.http.url}/api/config/apply", json={"text": TREE}, headers=operator)
        assert applied.status_code == 200, applied.text
        fuzz(settings.http.url, settings, examples=2, seconds=15)
    database.drop_database(url)
