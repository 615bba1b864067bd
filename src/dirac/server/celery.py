"""The Celery runner: entries of the outbox as messages on RabbitMQ, carried out by worker processes.

A message is the identifier of an entry and nothing else: the truth stays in the database, so that a lost
or doubled message changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from amqp.exceptions import AMQPError
from celery import Celery, signals
from celery.worker.consumer import Consumer
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import KombuError

from dirac.core.errors import InvalidInputError, UnavailableError
from dirac.server.settings import Settings
from dirac.server.worker import Executor, InProcessRunner
from dirac.transport.tls import load_authorities

log = logging.getLogger(__name__)

T = TypeVar("T")
Watched = Callable[[asyncio.AbstractEventLoop, Callable[[], bool]], AbstractContextManager[None]]

# A queue cannot change its type: each has its own, and what was left in the other is sent again.
_QUEUES = {"classic": "dirac", "quorum": "dirac-quorum"}
_NAME = "dirac.execute"
_MOST_WAITING = 1000
_PATIENCE = 10  # seconds for the broker to answer


class _Consumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer without its twenty-eight queues for delays, which the outbox has instead."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        """The steps of its start."""

        default_steps: ClassVar[list[str]] = [
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in str(step)
        ]


def make_celery(settings: Settings) -> Celery:
    """Return the Celery application of an installation; results are in the database, not at the broker.

    Raises:
        InvalidInputError: The broker's address or authorities cannot be read.
    """
    url, kind = settings.broker_url(), settings.worker.queue_type
    app = Celery("dirac", broker=url, set_as_current=False)
    name = _QUEUES[kind]
    arguments: dict[str, str] | None = {"x-queue-type": kind} if kind != "classic" else None
    app.conf.update(
        task_ignore_result=True,
        task_default_queue=name,
        task_default_queue_type=kind,
        task_queues=[_queue(name, arguments)],
        broker_use_ssl=_tls(settings, url),
        worker_detect_quorum_queues=True,  # they know no limit for all consumers of a channel together
        worker_consumer=f"{__name__}:{_Consumer.__name__}",
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        task_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_prefetch_count_reduction=False,  # on, its threads wait for the broker on one socket
        worker_enable_remote_control=False,
        worker_redirect_stdouts=False,
    )
    return app


def _queue(name: str, arguments: dict[str, str] | None) -> Queue:
    exchange = Exchange(name)  # type: ignore[no-untyped-call]
    return Queue(name, exchange, routing_key=name, queue_arguments=arguments)  # type: ignore[no-untyped-call]


def _tls(settings: Settings, url: str) -> dict[str, Any] | bool:
    """Return what py-amqp needs to know about TLS; the broker is verified, always."""
    parts = urlsplit(url)
    if parts.scheme != "amqps":
        if settings.worker.broker_ca_file is not None:
            raise InvalidInputError(
                "worker.broker_ca_file is set, and the broker's address does not begin with amqps://",
                hint="Change the address, or remove the option",
            )
        return False
    found: dict[str, Any] = {
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": parts.hostname,
        "tls_minimum_version": ssl.TLSVersion.TLSv1_2,
    }
    if settings.worker.broker_ca_file is not None:
        path = settings.path(settings.worker.broker_ca_file)
        load_authorities(ssl.create_default_context(), path, "worker.broker_ca_file")
        found["ca_certs"] = str(path)
    return found


class CeleryRunner:
    """Sends entries to the broker.

    Args:
        app: The Celery application.
        address: Gives the broker's address for each connection; that of the application if not given.
    """

    def __init__(self, app: Celery, address: Callable[[], str] | None = None) -> None:
        self._app = app
        self._address = address or (lambda: str(app.conf.broker_url))
        self._connection: Connection | None = None
        self._one = threading.RLock()  # a thread that was not waited for may still use the connection
        self.on_room = asyncio.Event()

    async def room(self) -> int:
        """Return how many entries may be sent.

        What waits at the broker for long counts as lost and is sent again: little may wait there.
        """
        return await self._at_broker(self._room)

    async def hand_out(self, entry_ids: Sequence[str]) -> None:
        """Send the entries; returns when the broker has confirmed all of them."""
        await self._at_broker(lambda connection: self._send(connection, entry_ids))

    async def close(self) -> None:
        """Close the connection to the broker."""
        await asyncio.to_thread(self._drop)

    def _room(self, connection: Connection) -> int:
        queue = self._app.amqp.queues[self._app.conf.task_default_queue].bind(connection.default_channel)
        return _MOST_WAITING - int(queue.queue_declare().message_count)

    def _send(self, connection: Connection, entry_ids: Sequence[str]) -> None:
        producer = self._app.amqp.Producer(connection.default_channel)
        for entry_id in entry_ids:
            self._app.send_task(
                _NAME, args=[entry_id], producer=producer, retry=False, confirm_timeout=_PATIENCE
            )

    async def _at_broker(self, use: Callable[[Connection], T]) -> T:
        try:
            return await asyncio.to_thread(self._use, use)
        except (AMQPError, KombuError, OSError) as error:
            raise UnavailableError(f"the broker does not answer: {error}", retry_after=1.0) from error

    def _use(self, use: Callable[[Connection], T]) -> T:
        with self._one:
            if self._connection is None:
                self._connection = self._connect()
            try:
                return use(self._connection)
            except BaseException:
                self._drop()  # whatever state it is in: the next use makes its own
                raise

    def _connect(self) -> Connection:
        options = {
            "confirm_publish": True,
            "read_timeout": _PATIENCE,
            "write_timeout": _PATIENCE,
            "max_retries": 0,  # the relay tries again
        }
        url = self._address()  # each time: its password may have been replaced
        tls = self._app.conf.broker_use_ssl
        return Connection(url, ssl=tls, connect_timeout=_PATIENCE, transport_options=options)  # type: ignore[no-untyped-call]

    def _drop(self) -> None:
        with self._one:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.collect(_PATIENCE)  # type: ignore[no-untyped-call]


class _Loop(threading.Thread):
    """An event loop of its own thread: Celery's pool has threads, the systems are coroutines."""

    def __init__(self) -> None:
        super().__init__(name="dirac-loop", daemon=True)
        self.loop = asyncio.new_event_loop()

    def run(self) -> None:
        """Run the loop until it is stopped."""
        self.loop.run_forever()
        self.loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine there without waiting for it; may be called by a signal's handler."""
        self.loop.call_soon_threadsafe(lambda: self.loop.create_task(work))

    def stop(self) -> None:
        """End the loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.join()


def work(
    app: Celery,
    concurrency: int,
    begin: Callable[[], Coroutine[Any, Any, Executor]],
    end: Callable[[], Coroutine[Any, Any, None]],
    *,
    patience: float = 10.0,
    watched: Watched = lambda _loop, _connected: nullcontext(),
) -> None:
    """Carry out entries from the broker until the process is told to stop.

    It ends within twice the patience; what was not finished is carried out by others when its lease is over.

    Args:
        app: The Celery application.
        concurrency: Entries carried out at a time.
        begin: Builds the installation inside the worker's event loop; returns what executes an entry.
        end: Closes it.
        patience: Seconds for what then runs to come to an end.
        watched: Lets others look at the worker while it works; gets its event loop, and what tells whether
            it is connected to the broker.
    """
    loop = _Loop()
    loop.start()
    try:
        runner = InProcessRunner(loop.call(begin()), concurrency=concurrency, patience=patience)

        @app.task(name=_NAME)  # type: ignore[untyped-decorator]  # Celery has no types
        def run(entry_id: str) -> None:
            loop.call(_carry_out(runner, entry_id))

        def stop(**_: Any) -> None:
            loop.begin(runner.close())
            alarm = threading.Timer(2 * patience, _give_up)
            alarm.daemon = True
            alarm.start()

        signals.setup_logging.connect(_leave_logging_alone)
        signals.worker_shutting_down.connect(stop)
        worker = app.Worker(
            pool="threads",
            concurrency=concurrency,
            queues=[app.conf.task_default_queue],
            quiet=True,
            without_gossip=True,
            without_mingle=True,
        )
        with watched(loop.loop, lambda: _connected(worker)):
            worker.start()
    finally:
        loop.call(end())
        loop.stop()


def _connected(worker: Any) -> bool:
    connection = getattr(worker.consumer, "connection", None)
    return connection is not None and bool(connection.connected)


def _give_up() -> None:
    log.error("the worker does not come to an end and is ended")
    os._exit(1)


async def _carry_out(runner: InProcessRunner, entry_id: str) -> None:
    await asyncio.wait([runner.start(entry_id)])  # however it ends, the database knows


def _leave_logging_alone(**_: Any) -> None:
    """Celery sets up logging unless somebody else says that they do."""
