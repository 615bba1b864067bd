"""Whatever is wrong with a request, it is refused with the right status, in clear words, and changes nothing.

The same tables go to a server on each database engine: what one engine would take, another would not.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from dirac.db.engine import Database
from dirac.server.composition import make_store
from dirac.server.schema import all_tables
from dirac.server.settings import Settings
from tests.acceptance import bad_requests, bad_values
from tests.acceptance.bad_case import Case, World
from tests.acceptance.served import serving
from tests.acceptance.tokens import PILOT, forge_all, mint_all
from tests.services.fixtures import DATABASES

CODES = {
    400: {"invalid_input", "http"},
    401: {"unauthenticated"},
    403: {"not_allowed"},
    404: {"not_found"},
    405: {"http"},
    409: {"conflict"},
    413: {"too_large"},
    415: {"unsupported_media_type"},
    416: {"invalid_input"},
    422: {"invalid_shape"},
}
SITE = {"site": "DIRAC.Observatory.org"}
WAITING = 'Executable = "/bin/true"; Tags = {"Nowhere"};'


TABLES = {
    table.__name__: table
    for table in (
        bad_requests.descriptions,
        bad_requests.media,
        bad_requests.credentials,
        bad_requests.logins,
        bad_requests.proxies,
        bad_requests.addresses,
        bad_values.searches,
        bad_values.reports,
        bad_values.configurations,
        bad_values.archives,
    )
}


class Served:
    """A server with something on it that could be damaged."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.forged = forge_all(settings)
        self.tokens = {**mint_all(settings), **self.forged}
        self.http = httpx.Client(base_url=settings.http.url, timeout=60)

    def ask(self, caller: str, method: str, path: str, **send: Any) -> httpx.Response:
        """Send a request as somebody."""
        headers = dict(send.pop("headers", {}))
        if caller != "nobody":
            headers["Authorization"] = f"Bearer {self.tokens[caller]}"
        return self.http.request(method, path, headers=headers, **send)

    def done(self, caller: str, method: str, path: str, **send: Any) -> Any:
        """Send a request that is in order, and return the answer."""
        answer = self.ask(caller, method, path, **send)
        assert answer.is_success, answer.text
        return answer.json()

    def submit(self, text: str) -> int:
        """Submit a job of alice."""
        job_id: int = self.done("user", "POST", "/api/jobs/jdl", json=[text])[0]["JobID"]
        return job_id

    def match(self, pilot: str, request: str) -> tuple[int, str]:
        """Give a job to a pilot; return it with its token."""
        wanted = {"resource": SITE, "request_id": request}
        job = self.done(pilot, "POST", "/api/jobs/match", json=wanted)["job"]
        return job["job_id"], job["token"]


def furnish(served: Served) -> World:
    """Leave a job that waits, two that run, and an archive that was only announced."""
    for stamp in (PILOT, "second"):
        served.done("operator", "POST", "/api/pilots/", json={"pilot_stamp": stamp, "vo": "astro"})
    waiting, current = served.submit(WAITING), served.submit('Executable = "/bin/true";')
    assert served.match("pilot", "1")[0] == current
    served.tokens["old job"] = served.match("pilot", "1")[1]
    served.done("user", "POST", "/api/jobs/reschedule", json={"job_ids": [current]})
    assert served.match("pilot", "2")[0] == current
    served.tokens["job"] = served.match("pilot", "2")[1]
    other = served.submit('Executable = "/bin/true";')
    found, served.tokens["another job"] = served.match("another pilot", "1")
    assert found == other
    info = {"checksum": hashlib.sha256(b"right size").hexdigest(), "size": 10, "format": "tar.gz"}
    announced = served.done("user", "POST", "/api/jobs/sandbox", json=info)
    return World(
        tokens=served.tokens,
        forged=served.forged,
        waiting=waiting,
        current=current,
        other=other,
        pfn=announced["pfn"],
        form=announced["fields"],
        late=late_form(served.settings, announced["fields"]),
    )


def late_form(settings: Settings, fields: dict[str, str]) -> dict[str, str]:
    """Sign the form of an upload for a time that is over."""
    store = make_store(settings)
    signed = store.presign_upload(fields["key"], size=10, sha256=fields["sha256"], expires_in=-60)
    return asyncio.run(signed).fields


def serve(state: Path, url: str | None) -> Iterator[Served]:
    """Serve an installation, and let go of it."""
    with serving(state, url) as settings:
        served = Served(settings)
        with served.http:
            yield served


@pytest.fixture(scope="module", params=DATABASES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server on each database engine in turn, with jobs of astro on it."""
    state: Path = tmp_path_factory.mktemp("served")
    if request.param == "sqlite":
        yield from serve(state, None)
        return
    server = request.getfixturevalue(f"{request.param}_server")
    url = server.create_database()
    yield from serve(state, url)
    server.drop_database(url)


@pytest.fixture(scope="module")
def world(served: Served) -> World:
    """What there is on the server."""
    return furnish(served)


@pytest.fixture
async def database(served: Served) -> AsyncIterator[Database]:
    """The server's database."""
    database = Database(served.settings.database_url())
    yield database
    await database.close()


async def snapshot(database: Database, state: Path) -> dict[str, list[Any]]:
    """Return everything that a request could change: all rows but those of periodic work, all archives."""
    found: dict[str, list[Any]] = {}
    async with database.read() as tx:
        for table in all_tables():
            if table.name in ("schedule", "workload_count", "workload_count_change", "identity_audit"):
                continue  # periodic work; the numbers of jobs follow from the jobs; refusals are noted
            wanted = select(table).order_by(*table.primary_key.columns)
            if table.name == "task":
                wanted = wanted.where(table.c.name == "workload.start_pilots")
            found[table.name] = [tuple(row) for row in await tx.execute(wanted)]
    found["archives"] = sorted(path.name for path in (state / "sandboxes").rglob("*") if path.is_file())
    return found


async def settled(database: Database, state: Path) -> dict[str, list[Any]]:
    """Return a snapshot after the background work that the preparations have asked for."""
    tasks = next(table for table in all_tables() if table.name == "task")
    open_work = select(tasks.c.id).where(
        tasks.c.name == "workload.start_pilots", tasks.c.state.not_in(["Done", "Parked"])
    )
    deadline = time.monotonic() + 30
    while True:
        async with database.read() as tx:
            if not (await tx.execute(open_work)).all():
                return await snapshot(database, state)
        assert time.monotonic() < deadline, "the background work ends"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("table", TABLES)
async def test_what_is_wrong_is_refused_in_clear_words_and_changes_nothing(
    served: Served, world: World, database: Database, table: str
) -> None:
    state = Path(served.settings.state)
    before = await settled(database, state)
    faults = []
    for case in TABLES[table](world):
        answer = served.ask(case.caller, case.method, case.path, **case.send)
        after = await snapshot(database, state)
        changed = [name for name in after if after[name] != before[name]]
        before = after
        found = fault_of(case, answer) or (f"it changed {changed}" if changed else None)
        if found:
            sent = f"{case.caller}: {case.method} {case.path[:80]} {str(case.send)[:160]}"
            faults.append(f"{sent}\n    {found}")
    assert not faults, "\n".join(faults)


def fault_of(case: Case, answer: httpx.Response) -> str | None:
    """Say what is wrong with an answer."""
    shown = f"{answer.status_code} {answer.text[:300]}"
    if answer.status_code != case.status:
        return f"not {case.status}: {shown}"
    if answer.status_code < 300:
        return None
    body = answer.json()
    codes = {case.oauth} if case.oauth else CODES[case.status]
    if body["error"] not in codes:
        return f"not one of {codes}: {shown}"
    if case.oauth:
        shaped = body["error_description"] == body["detail"] and len(body) == 3
        if not shaped or answer.headers["cache-control"] != "no-store":
            return f"not as RFC 6749 has it: {shown}"
    scheme = "Basic" if case.oauth is not None else "Bearer"  # clients show a secret, all others a token
    if case.status == 401 and not answer.headers["www-authenticate"].startswith(scheme):
        return f"no challenge: {shown}"
    if missing := [words for words in case.says if words not in body["detail"]]:
        return f"does not say {missing}: {shown}"
    return None


def numbers(served: Served, caller: str = "user") -> list[int]:
    """Return the jobs that somebody sees."""
    rows = served.done(caller, "POST", "/api/jobs/search?per_page=10000", json={"parameters": ["JobID"]})
    return [row["JobID"] for row in rows]


def test_a_repeated_submission_is_answered_alike_and_made_once(served: Served, world: World) -> None:
    before = numbers(served)
    key = {"Idempotency-Key": "twice"}
    texts = [WAITING, 'Executable = "a"; Parameters = 3; Tags = {"Nowhere"};']
    first = served.ask("user", "POST", "/api/jobs/jdl", json=texts, headers=key)
    again = served.ask("user", "POST", "/api/jobs/jdl", json=texts, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    made = [job["JobID"] for job in first.json()]
    assert sorted(set(numbers(served)) - set(before)) == made
    assert len(made) == 4
    for texts_now in ([WAITING], texts[::-1], [*texts, WAITING]):
        refused = served.ask("user", "POST", "/api/jobs/jdl", json=texts_now, headers=key)
        assert refused.status_code == 409
        assert "'twice' was used before" in refused.json()["detail"]
        assert "new key" in refused.json()["detail"]
    other = {"Idempotency-Key": "bad"}
    faulty = served.ask("user", "POST", "/api/jobs/jdl", json=["nonsense"], headers=other)
    good = served.ask("user", "POST", "/api/jobs/jdl", json=[WAITING], headers=other)
    assert (faulty.status_code, good.status_code) == (400, 201), "what was refused has not used the key up"
    assert len(numbers(served)) == len(before) + 5
    mine = served.ask("colleague", "POST", "/api/jobs/jdl", json=[WAITING], headers=key)
    assert mine.status_code == 201, "keys belong to their users"
    assert mine.json()[0]["JobID"] not in made


@pytest.mark.parametrize("key", ["", "x" * 129, "tab\there", b"\xff\xfe"])
def test_keys_that_cannot_be_kept_are_refused(served: Served, world: World, key: Any) -> None:
    before = numbers(served)
    answer = served.ask("user", "POST", "/api/jobs/jdl", json=[WAITING], headers={"Idempotency-Key": key})
    assert answer.status_code == 400
    assert "idempotency key" in answer.json()["detail"]
    assert "1 to 128 printable ASCII" in answer.json()["detail"]
    assert numbers(served) == before


def test_one_submission_by_sixteen_at_once_is_made_once(served: Served, world: World) -> None:
    before = numbers(served)
    start = threading.Barrier(16)

    def submit(_: int) -> tuple[int, Any]:
        with httpx.Client(base_url=served.settings.http.url, timeout=60) as client:
            headers = {"Authorization": f"Bearer {served.tokens['user']}", "Idempotency-Key": "at once"}
            start.wait()
            answer = client.post("/api/jobs/jdl", json=[WAITING] * 5, headers=headers)
            return answer.status_code, answer.json()

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(submit, range(16)))
    assert {status for status, _ in answers} == {201}
    assert all(body == answers[0][1] for _, body in answers)
    assert len(numbers(served)) == len(before) + 5
