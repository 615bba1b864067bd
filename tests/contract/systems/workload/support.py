"""Callers, and the use cases put together on a database."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy import event

from dirac.core.time import Clock
from dirac.db.engine import Database, DatabaseUnits
from dirac.resources.storage.directory import DirectoryStore
from dirac.systems.configuration.models import Workload
from dirac.systems.identity.models import Identity, Property
from dirac.systems.workload.logic.queries import Queries
from dirac.systems.workload.logic.sandboxes import Sandboxes
from dirac.systems.workload.logic.submission import Submission
from dirac.systems.workload.logic.waiting import Signals
from dirac.systems.workload.models import SandboxInfo, SandboxUpload
from dirac.systems.workload.sandbox_names import SandboxName
from dirac.systems.workload.store.unit import WorkloadUnit

ECHO = 'Executable = "/bin/echo"; Arguments = "job %j";'


class FixedRules:
    """Rules that a test sets."""

    def __init__(self, section: Workload | None = None) -> None:
        self.section = section or Workload()

    async def workload(self) -> Workload:
        return self.section


class Room:
    """The first half of the workload system on a database."""

    def __init__(self, database: Database, directory: Path, clock: Clock) -> None:
        self.database = database
        self.units = DatabaseUnits(database, WorkloadUnit)
        self.rules = FixedRules()
        self.objects = DirectoryStore(directory, "http://server", b"k" * 32, clock)
        self.submission = Submission(self.units, self.rules, self.objects, Signals())
        self.sandboxes = Sandboxes(self.units, self.rules, self.objects)
        self.queries = Queries(self.units)

    async def stored_sandbox(self, caller: Identity, content: bytes = b"archive") -> str:
        """Upload an archive; return its name."""
        ticket = await self.sandboxes.initiate(caller, info(content))
        await self.upload(ticket, content)
        return SandboxName.parse(ticket.pfn).pfn

    async def upload(self, ticket: SandboxUpload, content: bytes) -> None:
        """Upload what was announced, unless it is there."""
        if ticket.url is not None:
            await self.objects.receive(self.objects.verify_upload(ticket.fields), _pieces(content))

    async def fetched(self, caller: Identity, pfn: str) -> bytes:
        """Download an archive."""
        url = (await self.sandboxes.download(caller, pfn)).url
        return self.objects.verify_download(dict(parse_qsl(urlsplit(url).query))).read_bytes()

    async def submitted(self, caller: Identity, *jdls: str) -> list[int]:
        """Submit jobs; return their identifiers."""
        return [job.JobID for job in await self.submission.submit(caller, jdls or (ECHO,))]


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


def info(content: bytes) -> SandboxInfo:
    """Announce an archive of this content."""
    return SandboxInfo(checksum=hashlib.sha256(content).hexdigest(), size=len(content), format="tar.gz")


def person(
    sub: str = "alice",
    vo: str = "astro",
    *properties: Property,
    group: str = "users",
    username: str | None = None,
) -> Identity:
    """Return somebody who is logged in, an ordinary user unless told otherwise."""
    return Identity(
        vo=vo,
        sub=sub,
        username=username or sub,
        group=group,
        properties=frozenset(properties or (Property.NORMAL_USER,)),
        kind="user",
        token_id="t",
        expires=datetime(2030, 1, 1, tzinfo=UTC),
    )


def run(job_id: int, attempt: int, vo: str = "astro", stamp: str = "p1") -> Identity:
    """Return one run of a job."""
    return Identity(
        vo=vo,
        sub=f"job:{job_id}:{attempt}",
        username="alice",
        group="users",
        properties=frozenset(),
        kind="job",
        token_id="t",
        expires=datetime(2030, 1, 1, tzinfo=UTC),
        stamp=stamp,
        job_id=job_id,
        attempt=attempt,
    )


def node(site: str = "LCG.Here.fr", ce: str = "farm") -> Identity:
    """Return a worker node that starts pilots itself."""
    return Identity(
        vo="",
        sub=f"node:{site}:{ce}",
        username="node",
        group="",
        properties=frozenset(),
        kind="node",
        token_id="t",
        expires=datetime(2030, 1, 1, tzinfo=UTC),
        site=site,
        ce=ce,
    )


def pilot(stamp: str = "p1", vo: str = "astro") -> Identity:
    """Return a pilot."""
    return Identity(
        vo=vo,
        sub=f"pilot:{stamp}",
        username=stamp,
        group="",
        properties=frozenset({Property.GENERIC_PILOT}),
        kind="pilot",
        token_id="t",
        expires=datetime(2030, 1, 1, tzinfo=UTC),
        stamp=stamp,
    )


@contextmanager
def counting(database: Database) -> Iterator[list[str]]:
    """Collect the statements that a database is sent."""
    seen: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield seen
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)
