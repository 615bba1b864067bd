"""What the processes of an installation have in common: runner, relay, counting, health, an orderly end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import timedelta

from dirac.core.errors import UnavailableError
from dirac.server.census import Census
from dirac.server.composition import Installation, build
from dirac.server.listener import listening
from dirac.server.metrics import Metrics
from dirac.server.settings import Settings
from dirac.server.worker import Executor, InProcessRunner, Relay, Runner

log = logging.getLogger(__name__)

_PATIENCE = 1.5  # seconds for the database to answer
_END_PATIENCE = 20.0  # seconds for what runs to come to an end


def make_runner(installation: Installation, metrics: Metrics) -> Runner:
    """Return the runner that the settings ask for."""
    settings = installation.settings
    if settings.worker.runner == "celery":
        from dirac.server.celery import CeleryRunner, make_celery  # optional, and slow to load

        return CeleryRunner(make_celery(settings), lambda: settings.broker_url(installation.secrets))
    executor = Executor(installation.outbox, installation.tasks, installation.provide, metrics.task)
    return InProcessRunner(executor, concurrency=settings.worker.concurrency)


@asynccontextmanager
async def relaying(installation: Installation, metrics: Metrics, *, counting: bool) -> AsyncIterator[Relay]:
    """Hand out background work beside what else is done here; several processes may.

    Args:
        installation: Whose work.
        metrics: Told about it.
        counting: Whether this process also counts what is true of the whole installation.
    """
    runner = make_runner(installation, metrics)
    relay = Relay(installation.database, installation.outbox, runner, on_success=metrics.relayed)
    works = [asyncio.create_task(relay.run())]
    if counting and installation.settings.metrics.port is not None:
        soon = timedelta(days=installation.settings.expiry.proxy_days)
        works.append(asyncio.create_task(Census(installation.database, metrics, soon=soon).run()))
    try:
        yield relay
    finally:
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        await runner.close()


def secrets_health(installation: Installation) -> str:
    """Say in a word how it is about the references to secrets."""
    problems = installation.secrets.problems
    if not problems:
        return "as referred to"
    return "the last good ones are used: " + "; ".join(f"{at}: {why}" for at, why in problems.items())


def follow_installation(installation: Installation, metrics: Metrics) -> None:
    """Have the metrics tell how much of the pool of connections is in use, and which secrets are old."""
    metrics.follow("dirac_secrets_outdated", lambda: float(len(installation.secrets.problems)))
    pool = installation.database.engine.pool
    used, size = getattr(pool, "checkedout", None), getattr(pool, "size", None)
    if used is not None and size is not None:  # a database in memory has a single one
        metrics.follow("dirac_database_connections_in_use", lambda: float(used()))
        more = float(getattr(pool, "_max_overflow", 0))
        metrics.follow("dirac_database_connections_limit", lambda: size() + more)


async def ask_database(installation: Installation) -> None:
    """Ask the database for a sign of life.

    Raises:
        UnavailableError: There was none in time.
    """
    try:
        async with asyncio.timeout(_PATIENCE), installation.database.read() as tx:
            await tx.ping()
    except TimeoutError:
        raise UnavailableError(f"the database did not answer within {_PATIENCE} s", retry_after=1.0) from None


def work(settings: Settings) -> None:
    """Be a worker: carry out background work from the broker until told to stop.

    Args:
        settings: Those of this worker.

    Raises:
        UnavailableError: The database is not at this version.
    """
    from dirac.server.celery import make_celery, work  # optional, and slow to load

    installation = build(settings)
    metrics = Metrics("worker", installation.version)
    follow_installation(installation, metrics)

    async def begin() -> Executor:
        await installation.begin()
        return Executor(installation.outbox, installation.tasks, installation.provide, metrics.task)

    def watched(
        loop: asyncio.AbstractEventLoop, connected: Callable[[], bool]
    ) -> AbstractContextManager[None]:
        async def health() -> dict[str, str]:
            await ask_database(installation)
            if not connected():
                raise UnavailableError("there is no connection to the broker")
            return {
                "database": "answers",
                "broker": "connected",
                "secrets": secrets_health(installation),
            }

        return listening(settings, metrics, health, loop)

    work(make_celery(settings), settings.worker.concurrency, begin, installation.close, watched=watched)


def schedule(settings: Settings) -> None:
    """Be the scheduler: hand out background work, whether any API process runs or not, until told to stop.

    Args:
        settings: Those of the scheduler.

    Raises:
        UnavailableError: The database is not at this version.
    """
    asyncio.run(_schedule(settings))


async def _schedule(settings: Settings) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    installation = build(settings)
    metrics = Metrics("scheduler", installation.version)
    follow_installation(installation, metrics)
    try:
        await installation.begin()
        async with relaying(installation, metrics, counting=True) as relay:

            async def health() -> dict[str, str]:
                await ask_database(installation)
                if relay.trouble is not None:
                    raise UnavailableError(relay.trouble)
                return {
                    "database": "answers",
                    "relay": "hands out",
                    "secrets": secrets_health(installation),
                }

            with listening(settings, metrics, health, loop):
                log.info("the scheduler runs")
                await told.wait()
            log.info("the scheduler ends")
            loop.call_later(_END_PATIENCE, _give_up)
    finally:
        await installation.close()


def _give_up() -> None:
    """End at once: the database gives whatever was being done to others when its lease is over."""
    log.error("the scheduler does not come to an end within %s s and is ended", _END_PATIENCE)
    os._exit(1)
