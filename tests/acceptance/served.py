"""An installation that is served from a thread of the test's process, on any database engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn

from dirac.db.engine import Database
from dirac.db.schema import migrate
from dirac.server.composition import build
from dirac.server.control import make_master_key
from dirac.server.git_settings import GitSettings
from dirac.server.schema import LOCATIONS
from dirac.server.serve import make_app
from dirac.server.settings import DatabaseSettings, Http, Settings
from tests.acceptance.installation import eventually, free_port
from tests.acceptance.tokens import mint_all

TREE = """\
virtual_organisations:
  astro:
    default_group: astro_user
    groups:
      astro_user: {properties: [NormalUser]}
      astro_admin: {properties: [NormalUser, JobAdministrator]}
    users:
      alice: {groups: [astro_user, astro_admin]}
      adam: {groups: [astro_user]}
  bio:
    default_group: bio_user
    groups:
      bio_user: {properties: [NormalUser]}
    users:
      bob: {groups: [bio_user]}
sites:
  DIRAC.Observatory.org:
    virtual_organisations: [astro]
"""


@contextmanager
def serving(
    state: Path, database_url: str | None, migration_url: str | None = None, git: GitSettings | None = None
) -> Iterator[Settings]:
    """Serve a new installation, configured with `TREE`; there is nothing in it that would start pilots.

    Args:
        state: Its directory.
        database_url: Its database, empty; SQLite if not given.
        migration_url: The same for the user that makes the tables, if that is another one.
        git: Repositories beside its configuration.
    """
    port = free_port()
    settings = Settings(
        state=str(state),
        http=Http(url=f"http://127.0.0.1:{port}", port=port),
        database=DatabaseSettings(url=database_url),
        git=git or GitSettings(),
    )
    make_master_key(settings)
    asyncio.run(_migrate(migration_url or settings.database_url()))
    config = uvicorn.Config(
        make_app(build(settings)), host="127.0.0.1", port=port, log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive(), "the server listens")
        operator = {"Authorization": f"Bearer {mint_all(settings)['operator']}"}
        applied = httpx.post(f"{settings.http.url}/api/config/apply", json={"text": TREE}, headers=operator)
        assert applied.status_code == 200, applied.text
        yield settings
    finally:
        server.should_exit = True
        thread.join()


async def _migrate(url: str) -> None:
    database = Database(url)
    await migrate(database, LOCATIONS)
    await database.close()
