"""The API's process: binds its socket first, serves, and drains before it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from dirac.core.errors import UnavailableError
from dirac.server.composition import Installation, build
from dirac.server.control import bind, hold
from dirac.server.listener import listening, tell_expiry
from dirac.server.metrics import Metrics
from dirac.server.processes import ask_database, follow_installation, relaying, secrets_health
from dirac.server.settings import Settings
from dirac.systems.configuration.logic import Configuration
from dirac.systems.workload.logic.explain import Explain
from dirac.systems.workload.logic.explain_places import ExplainPlaces
from dirac.systems.workload.logic.matching import Matching
from dirac.systems.workload.logic.shadow import ShadowPolicy
from dirac.transport.authorities import Authorities
from dirac.transport.drain import Drain
from dirac.transport.peer import TlsProtocol
from dirac.transport.server import create_app

log = logging.getLogger(__name__)

_GRACE = 10
_GARBAGE = 10_000


def make_app(installation: Installation, metrics: Metrics | None = None) -> FastAPI:
    """Return the application of an installation; background work is handed out while it is served."""
    told = metrics or Metrics("server", installation.version)
    drain = installation.drain
    follow_installation(installation, told)
    installation.provide(Matching).refused.append(told.refused)
    installation.provide(ShadowPolicy).told.append(told.compared)
    installation.provide(Explain).told.append(told.explained)
    installation.provide(ExplainPlaces).told.append(told.explained)
    told.follow("dirac_http_draining", lambda: float(drain.begun))
    configuration = installation.provide(Configuration)
    told.follow("dirac_configuration_outdated", lambda: float(configuration.problem is not None))
    tell_expiry(installation.settings, told, "http")
    told.follow("dirac_expiry_warning_seconds", lambda: installation.settings.expiry.days * 86400.0)
    if installation.authorities is not None:
        _tell_authorities(installation.authorities, told)

    async def health() -> dict[str, str]:
        await ask_database(installation)
        if drain.begun:
            raise UnavailableError("draining: this server is about to end")
        return {"database": "answers", "secrets": secrets_health(installation)}

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await installation.begin()
        alone = installation.settings.worker.runner == "in-process"  # there is no scheduler then
        try:
            with listening(installation.settings, told, health, asyncio.get_running_loop()):
                async with relaying(installation, told, counting=alone):
                    yield
        finally:
            await installation.close()

    return create_app(
        installation.routers,
        provided=installation.provided,
        authenticate=installation.authenticate,
        authenticate_peer=installation.authenticate_peer,
        lifespan=lifespan,
        version=installation.version,
        unlimited=installation.unlimited,
        drain=drain,
        observe=told.request,
        journal=installation.identity.audit,
    )


def _tell_authorities(authorities: Authorities, metrics: Metrics) -> None:
    """Tell until when clients can show certificates."""

    def follow(what: str, place: int) -> None:
        def value() -> float:
            moment = authorities.expiries()[place]
            return math.nan if moment is None else moment.timestamp()

        metrics.follow("dirac_authorities_expiry_timestamp_seconds", value, what)

    follow("authority", 0)
    follow("list", 1)


class Server(uvicorn.Server):
    """uvicorn's server, which drains first.

    Told to stop (SIGTERM), it goes on serving for a while, no longer ready; told again, or by SIGINT, it
    comes to its end at once: it accepts nobody any more and finishes what it has begun.

    Args:
        config: uvicorn's.
        drain: Announces the end.
        seconds: How long it goes on.
    """

    def __init__(self, config: uvicorn.Config, drain: Drain, seconds: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the drain, or the end; called as a signal's handler."""
        first = not self._drain.begun
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._announce, first and sig == signal.SIGTERM)
        if first and sig == signal.SIGTERM and self._seconds > 0 and self.started:
            self._captured_signals.append(sig)
            assert self._loop is not None  # noqa: S101 - it serves
            self._loop.call_soon_threadsafe(self._loop.call_later, self._seconds, self._end)
        else:
            super().handle_exit(sig, frame)

    def _announce(self, slowly: bool) -> None:
        self._drain.begin()
        log.info("told to stop", extra={"drain_seconds": self._seconds if slowly else 0})

    def _end(self) -> None:
        self.should_exit = True


def run(settings: Settings, instance: int = 1) -> None:
    """Serve until told to stop.

    Args:
        settings: Those of this instance.
        instance: Its number.

    Raises:
        ConflictError: A port is taken, or this instance of this state directory is running.
        InvalidInputError: The certificate cannot be used.
    """
    with hold(settings, instance):
        listener = bind(settings)
        installation = build(settings)
        config = uvicorn.Config(
            make_app(installation),
            http=TlsProtocol,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_GRACE,
            timeout_keep_alive=75,
            server_header=False,
        )
        config.load()
        config.ssl = settings.http_tls(installation.authorities)
        # What was built lives as long as the process: it is not looked through for garbage again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GARBAGE)
        Server(config, installation.drain, settings.http.drain_seconds).run(sockets=[listener])
