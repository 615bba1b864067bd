"""The audit log of the real application, on each database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from dirac.db.transaction import Transaction
from dirac.systems.identity.logic import audit as logic
from tests.contract.authorisation.world import World, living

Row = dict[str, Any]


@pytest.fixture
async def world(migrated_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """The real application; the log has rows of tests before."""
    async with living(tmp_path, migrated_url) as world:
        yield world


async def rows(world: World, role: str, parameter: str, value: str) -> list[Row]:
    """Return what somebody finds in the log."""
    search = {"search": [{"parameter": parameter, "operator": "eq", "value": value}]}
    answer = await world.ask("POST", "/api/audit/search", world.tokens[role], search)
    assert answer.is_success, answer.text
    found: list[Row] = answer.json()
    return found


async def about(world: World, answer: httpx.Response, role: str = "service") -> list[Row]:
    """Return what the log says of a request."""
    return await rows(world, role, "RequestID", answer.headers["x-request-id"])


async def kill(world: World, role: str, job: int) -> httpx.Response:
    """Kill a job."""
    return await world.ask("POST", "/api/jobs/kill", world.tokens[role], {"job_ids": [job]})


async def test_a_privileged_action_leaves_a_row(world: World) -> None:
    first, second = await world.submit(2)
    (row,) = await about(world, await kill(world, "voadmin", first))
    assert (row["Actor"], row["Kind"], row["Group"]) == ("astro:ada", "user", "astro_admin")
    assert (row["Verb"], row["Path"]) == ("jobs_kill_jobs", "/api/jobs/kill")
    assert row["Properties"] == "JobAdministrator"
    assert (row["VO"], row["Objects"], row["ObjectCount"]) == ("astro", f"job:{first}", 1)
    assert (row["Outcome"], row["Status"], row["Source"]) == ("Done", 0, "127.0.0.1")
    assert await about(world, await kill(world, "owner", second)) == [], "everybody may kill their own"


async def test_what_only_looks_leaves_none(world: World) -> None:
    for method, path in (("POST", "/api/jobs/search"), ("GET", "/api/config/log"), ("GET", "/api/tasks")):
        answer = await world.ask(method, path, world.tokens["admin"])
        assert answer.is_success, path
        assert await about(world, answer) == []


async def test_a_property_that_widens_what_is_reached_is_named(world: World) -> None:
    answer = await world.ask("DELETE", "/api/auth/refresh-tokens/none", world.tokens["voadmin"])
    assert answer.status_code == 404
    (row,) = await about(world, answer)
    assert (row["Properties"], row["Outcome"], row["Status"]) == ("ProxyManagement", "Failed", 404)


async def test_the_row_commits_with_the_action_or_not_at_all(world: World) -> None:
    (job,) = await world.submit(1)

    async def fail(_transaction: Transaction) -> None:
        if broken:
            broken.clear()
            raise RuntimeError("the server ends here")

    broken = [True]
    world.installation.database.closing.append(fail)
    answer = await kill(world, "voadmin", job)
    assert answer.status_code == 500
    assert [row["Outcome"] for row in await about(world, answer)] == ["Failed"]
    (status,) = (await world.ask("POST", "/api/jobs/search", world.tokens["owner"], _job(job))).json()
    assert status["Status"] == "Waiting"


def _job(job: int) -> dict[str, Any]:
    return {"search": [{"parameter": "JobID", "operator": "eq", "value": job}]}


async def test_a_privileged_attempt_that_fails_says_why(world: World) -> None:
    body = {"text": "pilot: {max_job: 1}"}
    (row,) = await about(world, await world.ask("POST", "/api/config/apply", world.tokens["admin"], body))
    assert (row["Outcome"], row["Status"], row["Needs"]) == ("Failed", 400, "")
    assert "max_jobs" in row["Detail"]


async def test_a_refusal_is_explained_to_whom_it_concerns(world: World) -> None:
    refused = await world.ask("POST", "/api/config/apply", world.tokens["owner"], {"text": "{}"})
    assert refused.status_code == 403
    path = f"/api/audit/refusals/{refused.headers['x-request-id']}"
    for role in ("owner", "voadmin", "admin", "service"):
        said = (await world.ask("GET", path, world.tokens[role])).json()
        assert said["needs"] == ["ServiceAdministrator", "VOAdministrator"]
        assert said["request"] == "POST /api/config/apply"
        assert "may not change the configuration" in said["reason"]
    for role in ("peer", "other", "otheradm", "pilot", "job", "node"):
        assert (await world.ask("GET", path, world.tokens[role])).status_code == 404, role


async def test_a_vo_sees_its_own_part(world: World) -> None:
    refused = await world.ask("GET", "/api/tasks", world.tokens["other"])
    assert [row["VO"] for row in await about(world, refused, "otheradm")] == ["bio"]
    assert await about(world, refused, "voadmin") == []
    assert len(await about(world, refused, "admin")) == 1


async def test_refusals_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def known() -> int:
        return len(await rows(world, "admin", "Actor", "astro:eve"))

    before = await known()
    monkeypatch.setattr(logic, "MOST_FAULTS", before + 3)
    for _ in range(5):
        answer = await world.ask("GET", "/api/tasks", world.tokens["noright"])
        assert answer.status_code == 403
    assert await known() == before + 3


@pytest.mark.parametrize(
    "statement", ["UPDATE identity_audit SET actor = 'me'", "DELETE FROM identity_audit"]
)
async def test_nobody_changes_a_row(world: World, statement: str) -> None:
    refused = await world.ask("GET", "/api/tasks", world.tokens["owner"])
    with pytest.raises(DBAPIError, match="append-only"):
        async with world.installation.database.engine.begin() as connection:
            await connection.execute(text(statement))
    assert len(await about(world, refused)) == 1
