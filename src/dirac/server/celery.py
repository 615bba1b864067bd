"""The Celery runner: entries of the outbox as messages on RabbitMQ, carried out by worker processes.

A message is the identifier of an entry and nothing else: the truth stays in the database, so that a lost
or doubled message changes nothing.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from amqp.exceptions import AMQPError
from celery import Celery, signals
from kombu.connection import Connection
from kombu.exceptions import KombuError

from dirac.core.errors import UnavailableError
from dirac.server.worker import Executor, InProcessRunner

T = TypeVar("T")

_QUEUE = "dirac"
_NAME = "dirac.execute"
_MOST_WAITING = 1000
_PATIENCE = 10  # seconds for the broker to answer


def make_celery(broker_url: str) -> Celery:
    """Return the Celery application of an installation; results are in the database, not at the broker."""
    app = Celery("dirac", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_default_queue=_QUEUE,
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


class CeleryRunner:
    """Sends entries to the broker.

    Args:
        app: The Celery application.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
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
        queue = self._app.amqp.queues[_QUEUE].bind(connection.default_channel)
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
        url = self._app.conf.broker_url
        return Connection(url, connect_timeout=_PATIENCE, transport_options=options)  # type: ignore[no-untyped-call]

    def _drop(self) -> None:
        with self._one:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.collect(_PATIENCE)  # type: ignore[no-untyped-call]


class _Loop(threading.Thread):
    """An event loop of its own thread: Celery's pool has threads, the systems are coroutines."""

    def __init__(self) -> None:
        super().__init__(name="dirac-loop", daemon=True)
        self._loop = asyncio.new_event_loop()

    def run(self) -> None:
        """Run the loop until it is stopped."""
        self._loop.run_forever()
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine there without waiting for it; may be called by a signal's handler."""
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(work))

    def stop(self) -> None:
        """End the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join()


def work(
    app: Celery,
    concurrency: int,
    begin: Callable[[], Coroutine[Any, Any, Executor]],
    end: Callable[[], Coroutine[Any, Any, None]],
    *,
    patience: float = 10.0,
) -> None:
    """Carry out entries from the broker until the process is told to stop.

    Args:
        app: The Celery application.
        concurrency: Entries carried out at a time.
        begin: Builds the installation inside the worker's event loop; returns what executes an entry.
        end: Closes it.
        patience: Seconds for what then runs to come to an end.
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

        signals.setup_logging.connect(_leave_logging_alone)
        signals.worker_shutting_down.connect(stop)
        worker = app.Worker(
            pool="threads",
            concurrency=concurrency,
            queues=[_QUEUE],
            quiet=True,
            without_gossip=True,
            without_mingle=True,
        )
        worker.start()
    finally:
        loop.call(end())
        loop.stop()


async def _carry_out(runner: InProcessRunner, entry_id: str) -> None:
    await asyncio.wait([runner.start(entry_id)])  # however it ends, the database knows


def _leave_logging_alone(**_: Any) -> None:
    """Celery sets up logging unless somebody else says that they do."""
