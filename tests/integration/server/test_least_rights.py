"""An installation whose user may read and write rows, and nothing else: no statement needs more."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from dirac.db.engine import Database
from dirac.server.composition import operator_token, set_passwords
from tests.acceptance.served import serving
from tests.acceptance.tokens import mint_all

JDL = 'Executable = "/bin/echo"; Arguments = "hello"; StdOutput = "std.out";'

# What docs/operator/database.md grants.
_MIGRATION = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, TRIGGER"


@pytest.fixture(params=["mariadb", "postgresql"])
def urls(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A new database, for the user of the services and for that of the migrations."""
    server: Any = request.getfixturevalue(f"{request.param}_server")
    url = server.create_database()
    if request.param == "mariadb":
        return server.create_user(url), server.create_user(url, _MIGRATION)
    owner = server.create_owner(url)
    return server.create_user(url, owner=owner), owner


def test_an_installation_lives_with_rows_only(urls: tuple[str, str], tmp_path: Path) -> None:
    service, migration = urls
    with serving(tmp_path, service, migration) as settings:
        tokens = mint_all(settings)
        asyncio.run(set_passwords(settings, {"astro": {"alice": "correct horse"}}))
        assert asyncio.run(operator_token(settings, None, seconds=3600))

        def call(method: str, path: str, who: str, **rest: Any) -> Any:
            headers = {"Authorization": f"Bearer {tokens[who]}"}
            answer = httpx.request(method, settings.http.url + path, headers=headers, **rest)
            assert answer.is_success, answer.text
            return answer.json() if answer.content else None

        made = call("POST", "/api/jobs/jdl", "user", json=[JDL] * 3)
        ids = [job["JobID"] for job in made]
        assert len(ids) == 3
        found = call("POST", "/api/jobs/search", "user", json={"parameters": ["JobID", "Status"]})
        assert {job["JobID"] for job in found} == set(ids)
        tree = call("GET", "/api/tasks?state=Parked", "operator")
        assert tree == []


async def test_its_user_cannot_change_tables(urls: tuple[str, str]) -> None:
    database = Database(urls[0])
    try:
        with pytest.raises(DBAPIError, match=r"denied|permission"):
            async with database.engine.begin() as connection:
                await connection.execute(text("CREATE TABLE more (id INTEGER)"))
    finally:
        await database.close()


def test_the_command_migrates_as_the_other_user(urls: tuple[str, str], tmp_path: Path) -> None:
    for name, url in zip(("service", "migration"), urls, strict=True):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(url)
    file = tmp_path / "dirac.toml"
    file.write_text('[database]\nurl_file = "service"\nmigration_url_file = "migration"\n')

    def migrate(*options: str) -> Any:
        command = [sys.executable, "-m", "dirac.server.main", "migrate", "-s", str(file), "--json", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    planned = migrate("--plan")
    assert {step["risk"] for step in planned} <= {"safe", "careful"}
    first = migrate("--phase", "expand")
    assert (first["changed"], first["applied"]) == (True, [step["revision"] for step in planned])
    assert migrate() == {"changed": False, "applied": [], "pending_contract": []}
    assert migrate("--plan") == []
