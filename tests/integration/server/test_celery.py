"""Background work through crashes: the same promises by the in-process runner and by Celery on RabbitMQ."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from amqp.exceptions import NotFound, PreconditionFailed
from kombu.connection import Connection
from sqlalchemy import select

from dirac.core.errors import UnavailableError
from dirac.db.tables import tasks
from dirac.server.celery import CeleryRunner, make_celery
from dirac.server.settings import load
from dirac.server.worker import InProcessRunner, Relay, Runner
from tests.integration.server import bakery as program
from tests.integration.server.bakery import Bakery
from tests.services.authority import Authority
from tests.services.packages import obtain
from tests.services.rabbitmq import PACKAGES, RabbitMQ

SOURCES = Path(program.__file__).parents[3]
PATIENCE = 60.0
LOOK = 0.01
ANYBODY = ("here", "anna")


class Staff:
    """The worker processes of one bakery.

    Args:
        directory: The bakery's.
        settings: The file that says where their work comes from.
    """

    def __init__(self, directory: Path, settings: Path) -> None:
        self.directory = directory
        self.settings = settings
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def hire(self, name: str, concurrency: int = 4) -> None:
        """Start a worker; it takes work as soon as it can."""
        arguments = [str(self.directory), str(self.settings), str(concurrency), name]
        environment = os.environ | {"PYTHONPATH": f"{SOURCES / 'src'}:{SOURCES}"}
        with (self.directory / f"{name}.log").open("ab") as log:
            self.workers[name] = subprocess.Popen(
                [sys.executable, program.__file__, *arguments], env=environment, stdout=log, stderr=log
            )

    def end(self, name: str, how: signal.Signals) -> int:
        """End a worker and return its exit code."""
        worker = self.workers.pop(name)
        worker.send_signal(how)
        return worker.wait(PATIENCE)

    def dismiss(self) -> None:
        """End all."""
        for name in list(self.workers):
            self.end(name, signal.SIGKILL)

    def log(self) -> str:
        """Return what they said."""
        return "\n".join(log.read_text(errors="replace") for log in self.directory.glob("*.log"))


async def until(condition: Callable[[], Awaitable[bool]], staff: Staff | None = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        if time.monotonic() > deadline:
            pytest.fail("it did not happen" + (f"; the workers said:\n{staff.log()}" if staff else ""))
        await asyncio.sleep(LOOK)


def new(count: int = 1) -> list[str]:
    """Return names that no other test uses."""
    batch = secrets.token_hex(4)
    return [f"{batch}-{number}" for number in range(count)]


class Work:
    """One bakery with a runner, as a test sees it."""

    def __init__(self, bakery: Bakery, runner: Runner, staff: Staff | None = None) -> None:
        self.bakery = bakery
        self.runner = runner
        self.staff = staff
        self.relay = Relay(bakery.database, bakery.outbox, runner, period=0.1)

    async def bakers(self, kinds: list[str]) -> list[str]:
        """Return who baked these, and demand that nothing was baked twice."""
        found = [loaf for loaf in await self.bakery.baked() if loaf[0] in kinds]
        assert len({kind for kind, _ in found}) == len(found), "each at most once"
        return [baker for _, baker in found]

    async def all_baked(self, kinds: list[str]) -> None:
        async def there() -> bool:
            return len(await self.bakers(kinds)) == len(kinds)

        await until(there, self.staff)

    async def states(self, kinds: list[str]) -> list[str]:
        """Return the states of the work on these."""
        async with self.bakery.database.read() as tx:
            rows = await tx.execute(select(tasks.c.state, tasks.c.args))
            return [row.state for row in rows if row.args["kind"] in kinds]

    async def entries(self, kinds: list[str]) -> list[str]:
        """Return the identifiers of the work on these."""
        async with self.bakery.database.read() as tx:
            rows = await tx.execute(select(tasks.c.id, tasks.c.args))
            return [row.id for row in rows if row.args["kind"] in kinds]

    async def all_in(self, state: str, kinds: list[str]) -> None:
        async def there() -> bool:
            return await self.states(kinds) == [state] * len(kinds)

        await until(there, self.staff)

    async def begun(self, kind: str, *bakers: str) -> str:
        """Wait until one of these has begun to bake slowly, and return who."""

        async def seen() -> bool:
            return any(self.bakery.mark(f"{kind}-{baker}").exists() for baker in bakers)

        await until(seen, self.staff)
        return next(baker for baker in bakers if self.bakery.mark(f"{kind}-{baker}").exists())

    def allow(self, kind: str) -> None:
        """Let slow baking come to its end."""
        self.bakery.mark(f"{kind}-done").touch()


@asynccontextmanager
async def relaying(work: Work) -> AsyncIterator[Work]:
    relay = asyncio.create_task(work.relay.run())
    try:
        yield work
        assert not relay.done(), "nothing ends the relay"
    finally:
        relay.cancel()
        with suppress(asyncio.CancelledError):
            await relay
        await work.runner.close()
        await work.bakery.database.close()


@pytest.fixture(scope="module")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A running RabbitMQ that speaks TLS as well."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    with RabbitMQ(obtain(PACKAGES), authority) as server:
        yield server


@pytest.fixture(scope="module")
def staff(tmp_path_factory: pytest.TempPathFactory, rabbitmq_server: RabbitMQ) -> Iterator[Staff]:
    """Worker processes of a bakery that all tests with Celery share."""
    with employed(tmp_path_factory.mktemp("bakery"), rabbitmq_server, tls=False) as staff:
        yield staff


@pytest.fixture(scope="module")
def secure_staff(tmp_path_factory: pytest.TempPathFactory, rabbitmq_server: RabbitMQ) -> Iterator[Staff]:
    """Others, with a quorum queue and TLS."""
    with employed(tmp_path_factory.mktemp("secure"), rabbitmq_server, tls=True) as staff:
        yield staff


@contextmanager
def employed(directory: Path, server: RabbitMQ, *, tls: bool) -> Iterator[Staff]:
    asyncio.run(_create(directory))
    staff = Staff(directory, _settings(directory, server, tls=tls))
    try:
        yield staff
    finally:
        staff.dismiss()


def _settings(directory: Path, server: RabbitMQ, *, tls: bool) -> Path:
    url, file = directory / "broker.url", directory / "dirac.toml"
    url.touch(0o600)
    url.write_text(server.tls_url if tls else server.url)
    text = '[worker]\nrunner = "celery"\nbroker_url_file = "broker.url"\n'
    if tls:
        assert server.certificates is not None
        text += f'queue_type = "quorum"\nbroker_ca_file = "{server.certificates.ca}"\n'
    file.write_text(text)
    return file


async def _create(directory: Path) -> None:
    bakery = Bakery(directory, "owner")
    await bakery.create()
    await bakery.database.close()


@pytest.fixture
async def celery(staff: Staff) -> AsyncIterator[Work]:
    """The bakery with its relay, and workers as the test hires them."""
    async with relaying(sending(staff)) as work:
        yield work


@pytest.fixture
async def secure(secure_staff: Staff) -> AsyncIterator[Work]:
    """The same with a quorum queue and TLS."""
    async with relaying(sending(secure_staff)) as work:
        yield work


def sending(staff: Staff) -> Work:
    """Return the bakery of a staff, whose work goes to the broker."""
    return Work(Bakery(staff.directory, "relay"), CeleryRunner(make_celery(load(staff.settings))), staff)


@pytest.fixture
async def in_process(tmp_path: Path) -> AsyncIterator[Work]:
    """A bakery whose relay bakes itself."""
    bakery = Bakery(tmp_path, "here")
    await bakery.create()
    async with relaying(Work(bakery, InProcessRunner(bakery.executor, concurrency=4))) as work:
        yield work


@pytest.fixture(params=["in_process", "celery", "secure"])
def work(request: pytest.FixtureRequest) -> Work:
    """A bakery with somebody at work, by each runner in turn."""
    work: Work = request.getfixturevalue(request.param)
    if work.staff and "anna" not in work.staff.workers:
        work.staff.dismiss()
        work.staff.hire("anna")
    return work


class TestEveryRunner:
    """What is promised whoever does the work."""

    async def test_committed_work_is_carried_out(self, work: Work) -> None:
        kinds = new(40)
        await work.bakery.order("bakery.bake", *kinds)
        await work.all_baked(kinds)
        assert await work.states(kinds) == ["Done"] * 40

    async def test_work_of_a_transaction_that_was_rolled_back_is_never(self, work: Work) -> None:
        never, later = new(2)

        async def change_of_mind() -> None:
            async with work.bakery.database.write() as tx:
                tx.enqueue("bakery.bake", {"kind": never})
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await change_of_mind()
        await work.bakery.order("bakery.bake", later)
        await work.all_baked([later])
        assert await work.bakers([never]) == []
        assert await work.states([never]) == []

    async def test_messages_that_come_again_do_nothing(self, work: Work) -> None:
        kinds = [*new(5), *new(1)]
        await work.bakery.order("bakery.bake", *kinds)
        await work.all_baked(kinds)
        for _ in range(3):
            await work.runner.hand_out(await work.entries(kinds))
        (last,) = new()
        await work.bakery.order("bakery.bake", last)
        await work.all_baked([last])
        assert len(await work.bakers(kinds)) == 6

    async def test_a_message_that_comes_while_the_work_is_done_does_nothing(self, work: Work) -> None:
        (kind,) = new()
        await work.bakery.order("bakery.bake_slowly", kind)
        await work.begun(kind, *ANYBODY)
        await work.runner.hand_out(await work.entries([kind]) * 2)
        (last,) = new()
        await work.bakery.order("bakery.bake", last)
        await work.all_baked([last])
        work.allow(kind)
        await work.all_baked([kind])
        assert await work.states([kind]) == ["Done"]

    async def test_a_lease_is_kept_as_long_as_the_work_takes(self, work: Work) -> None:
        (kind,) = new()
        await work.bakery.order("bakery.bake_slowly", kind)
        await work.begun(kind, *ANYBODY)
        leases = set[str]()

        async def renewed() -> bool:
            async with work.bakery.database.read() as tx:
                (entry,) = await work.entries([kind])
                row = (await tx.execute(select(tasks).where(tasks.c.id == entry))).one()
                assert (row.state, row.tries) == ("Running", 1)
                leases.add(str(row.due))
            return len(leases) == 5  # four renewals: longer than one lease

        await until(renewed, work.staff)
        work.allow(kind)
        await work.all_baked([kind])

    async def test_failing_work_is_tried_again_then_parked(self, work: Work) -> None:
        (kind,) = new()
        await work.bakery.order("bakery.burn", kind)
        await work.all_in("Parked", [kind])
        parked = {entry.id: entry for entry in await work.bakery.outbox.listed(["Parked"], 100)}
        (entry,) = await work.entries([kind])
        assert parked[entry].tries == 3
        assert f"the {kind} is black" in (parked[entry].error or "")

    async def test_an_effect_that_failed_half_way_is_there_once(self, work: Work) -> None:
        kinds = new(3)
        await work.bakery.order("bakery.stumble", *kinds)
        await work.all_baked(kinds)
        assert "dropped" not in dict(await work.bakery.baked())
        assert await work.states(kinds) == ["Done"] * 3


class TestCelery:
    """What several processes and a broker bring with them."""

    async def test_a_killed_worker_loses_and_doubles_nothing(self, celery: Work, staff: Staff) -> None:
        staff.dismiss()
        staff.hire("bruno")
        slow, kinds = new(), new(20)
        await celery.bakery.order("bakery.bake_slowly", *slow)
        await celery.begun(slow[0], "bruno")
        await celery.bakery.order("bakery.bake", *kinds)
        assert staff.end("bruno", signal.SIGKILL) == -signal.SIGKILL
        assert await celery.bakers(slow) == []
        celery.allow(slow[0])
        staff.hire("carla")
        await celery.all_baked(slow + kinds)
        assert await celery.bakers(slow) == ["carla"]
        assert await celery.states(slow + kinds) == ["Done"] * 21

    async def test_a_worker_that_is_told_to_stop_leaves_its_work_to_others(
        self, celery: Work, staff: Staff
    ) -> None:
        staff.dismiss()
        staff.hire("dario")
        slow = new()
        await celery.bakery.order("bakery.bake_slowly", *slow)
        await celery.begun(slow[0], "dario")
        assert staff.end("dario", signal.SIGTERM) == 0
        assert (await celery.states(slow))[0] in ("Pending", "Sent"), "not Running until a lease is over"
        celery.allow(slow[0])
        staff.hire("emma")
        await celery.all_baked(slow)
        assert await celery.bakers(slow) == ["emma"]

    async def test_two_workers_share_the_work(self, celery: Work, staff: Staff) -> None:
        staff.dismiss()
        for name in ("felix", "greta"):
            staff.hire(name, concurrency=1)
        slow = new(2)
        await celery.bakery.order("bakery.bake_slowly", *slow)
        seen = {await celery.begun(kind, "felix", "greta") for kind in slow}
        assert seen == {"felix", "greta"}, "one each at the same time"
        for kind in slow:
            celery.allow(kind)
        await celery.all_baked(slow)
        assert sorted(await celery.bakers(slow)) == ["felix", "greta"]

    async def test_messages_survive_the_broker(
        self, celery: Work, staff: Staff, rabbitmq_server: RabbitMQ
    ) -> None:
        staff.dismiss()
        kinds = new(20)
        await celery.bakery.order("bakery.bake", *kinds)
        await celery.all_in("Sent", kinds)
        rabbitmq_server.kill()
        rabbitmq_server.start()
        staff.hire("hugo")
        await celery.all_baked(kinds)

    async def test_a_broker_that_is_away_delays_work_only(
        self, celery: Work, staff: Staff, rabbitmq_server: RabbitMQ
    ) -> None:
        if not staff.workers:
            staff.hire("ida")
        first, second = new(3), new(3)
        await celery.bakery.order("bakery.bake", *first)
        await celery.all_baked(first)
        rabbitmq_server.kill()
        await celery.bakery.order("bakery.bake", *second)
        with pytest.raises(UnavailableError, match="broker"):
            await celery.runner.hand_out(await celery.entries(second))
        await celery.all_in("Pending", second)
        rabbitmq_server.start()
        await celery.all_baked(second)

    async def test_little_waits_at_the_broker(self, celery: Work, staff: Staff) -> None:
        staff.dismiss()
        before = await celery.runner.room()
        kinds = new(10)
        await celery.bakery.order("bakery.bake", *kinds)
        await celery.all_in("Sent", kinds)
        assert await celery.runner.room() == before - 10
        staff.hire("jonas")
        await celery.all_baked(kinds)

    async def test_a_broker_that_nobody_vouches_for_gets_nothing(
        self, secure: Work, secure_staff: Staff, tmp_path: Path
    ) -> None:
        text = secure_staff.settings.read_text()
        stranger = Authority(tmp_path, "Somebody else").ca
        file = secure_staff.directory / "other.toml"
        file.write_text(re.sub(r'broker_ca_file = ".*"', f'broker_ca_file = "{stranger}"', text))
        runner = CeleryRunner(make_celery(load(file)))
        with pytest.raises(UnavailableError, match=r"(?i)certificate.verify.failed"):
            await runner.room()
        file.write_text(re.sub("broker_ca_file.*", "", text))
        with pytest.raises(UnavailableError, match=r"(?i)certificate.verify.failed"):
            await CeleryRunner(make_celery(load(file))).room()

    async def test_a_quorum_queue_is_one_and_comes_alone(
        self, secure: Work, secure_staff: Staff, rabbitmq_server: RabbitMQ
    ) -> None:
        secure_staff.dismiss()
        secure_staff.hire("karla")
        kinds = new(3)
        await secure.bakery.order("bakery.bake", *kinds)
        await secure.all_baked(kinds)
        with Connection(rabbitmq_server.url) as connection:
            channel = connection.channel()
            with pytest.raises(PreconditionFailed, match="x-queue-type"):
                channel.queue_declare("dirac-quorum", durable=True, auto_delete=False)
            channel = connection.channel()
            with pytest.raises(NotFound):
                channel.queue_declare("celery_delayed_0", passive=True)
