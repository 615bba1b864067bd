"""The API's process: binds its socket first, serves, and carries out background work beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import uvicorn
from fastapi import FastAPI

from dirac.server.composition import Installation, build
from dirac.server.control import bind, hold
from dirac.server.settings import Settings
from dirac.server.worker import Executor, InProcessRunner, Relay, Runner
from dirac.transport.server import create_app

_GRACE = 10


def make_runner(installation: Installation) -> Runner:
    """Return the runner that the settings ask for."""
    settings = installation.settings
    if settings.worker.runner == "celery":
        from dirac.server.celery import CeleryRunner, make_celery  # optional, and slow to load

        return CeleryRunner(make_celery(settings.broker_url()))
    executor = Executor(installation.outbox, installation.tasks, installation.provide)
    return InProcessRunner(executor, concurrency=settings.worker.concurrency)


def make_app(installation: Installation) -> FastAPI:
    """Return the application of an installation; background work runs while it is served."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await installation.begin()
        runner = make_runner(installation)
        relay = asyncio.create_task(Relay(installation.database, installation.outbox, runner).run())
        try:
            yield
        finally:
            relay.cancel()
            with suppress(asyncio.CancelledError):
                await relay
            await runner.close()
            await installation.close()

    return create_app(
        installation.routers,
        provided=installation.provided,
        authenticate=installation.authenticate,
        lifespan=lifespan,
        version=installation.version,
        unlimited=installation.unlimited,
    )


def run(settings: Settings) -> None:
    """Serve until told to stop.

    Raises:
        ConflictError: The port is taken, or a server of this state directory is running.
    """
    with hold(settings):
        listener = bind(settings)
        app = make_app(build(settings))
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_GRACE,
            timeout_keep_alive=75,
            server_header=False,
        )
        uvicorn.Server(config).run(sockets=[listener])
