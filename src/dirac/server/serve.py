"""The API's process: binds its socket first, serves, and carries out background work beside it."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import uvicorn
from fastapi import FastAPI

from dirac.core.errors import ConflictError
from dirac.server.composition import Installation, build
from dirac.server.control import hold
from dirac.server.settings import Settings
from dirac.server.worker import Executor, InProcessRunner, Relay, Runner
from dirac.transport.server import create_app

_BACKLOG = 2048
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


def _bind(settings: Settings) -> socket.socket:
    """Take the address.

    Raises:
        ConflictError: Somebody else has it.
    """
    family = socket.AF_INET6 if ":" in settings.http.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.http.host, settings.http.port))
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise ConflictError(
            f"port {settings.http.port} of {settings.http.host} is in use by another program",
            hint="Choose another port, or find the program: ss -ltnp",
        ) from None
    listener.listen(_BACKLOG)
    return listener


def run(settings: Settings) -> None:
    """Serve until told to stop.

    Raises:
        ConflictError: The port is taken, or a server of this state directory is running.
    """
    with hold(settings):
        listener = _bind(settings)
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
