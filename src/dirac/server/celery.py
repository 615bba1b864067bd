"""The Celery runner: entries of the outbox as messages on RabbitMQ, carried out by worker processes.

A message is the identifier of an entry and nothing else: the truth stays in the database, so that a lost
or doubled message changes nothing.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from dirac.core.errors import UnavailableError

_QUEUE = "dirac"
_NAME = "dirac.execute"
_ALL = 10_000


def make_celery(broker_url: str) -> Celery:
    """Return the Celery application of an installation; results are in the database, not at the broker."""
    app = Celery("dirac", broker=broker_url)
    app.conf.update(
        task_ignore_result=True,
        task_default_queue=_QUEUE,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_transport_options={"confirm_publish": True},
        worker_hijack_root_logger=False,
    )
    return app


class CeleryRunner:
    """Sends entries to the broker."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def room(self) -> int:
        """Return how many entries may be sent; the broker takes any number."""
        return _ALL

    async def hand_out(self, entry_ids: Sequence[str]) -> None:
        """Send the entries; what the broker does not take is sent again when it counts as lost."""
        try:
            await asyncio.to_thread(self._send, entry_ids)
        except (OperationalError, OSError) as error:
            raise UnavailableError(f"the broker does not take messages: {error}") from error

    def _send(self, entry_ids: Sequence[str]) -> None:
        with self._app.producer_pool.acquire(block=True) as producer:
            for entry_id in entry_ids:
                self._app.send_task(_NAME, args=[entry_id], producer=producer, retry=False)

    async def close(self) -> None:
        """Close the connection to the broker."""
        await asyncio.to_thread(self._app.close)


class _Loop(threading.Thread):
    """An event loop of its own thread: Celery's pool has threads, the systems are coroutines."""

    def __init__(self) -> None:
        super().__init__(name="dirac-loop", daemon=True)
        self.loop = asyncio.new_event_loop()

    def run(self) -> None:
        """Run the loop until it is stopped."""
        self.loop.run_forever()

    def call(self, work: Awaitable[Any]) -> Any:
        """Run a coroutine there and wait for its result."""
        future: Future[Any] = asyncio.run_coroutine_threadsafe(_as_coroutine(work), self.loop)
        return future.result()


async def _as_coroutine(work: Awaitable[Any]) -> Any:
    return await work


def work(
    app: Celery,
    concurrency: int,
    begin: Callable[[], Awaitable[Callable[[str], Awaitable[None]]]],
    end: Callable[[], Awaitable[None]],
) -> None:
    """Carry out entries from the broker until the process is told to stop.

    Args:
        app: The Celery application.
        concurrency: Entries carried out at a time.
        begin: Builds the installation inside the worker's event loop; returns what executes an entry.
        end: Closes it.
    """
    thread = _Loop()
    thread.start()
    execute = thread.call(begin())

    @app.task(name=_NAME)  # type: ignore[untyped-decorator]  # Celery has no types
    def run(entry_id: str) -> None:
        thread.call(execute(entry_id))

    try:
        app.Worker(pool="threads", concurrency=concurrency, loglevel="INFO", queues=[_QUEUE]).start()
    finally:
        thread.call(end())
        thread.loop.call_soon_threadsafe(thread.loop.stop)
