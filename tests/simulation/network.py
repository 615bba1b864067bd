"""A network, a server process and a database that fail, all decided by one seed."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from dirac.core.errors import ConflictError, UnavailableError
from dirac.testing.faults import FailNth
from dirac.testing.time import FakeClock
from tests.contract.systems.workload.support_running import Hall

T = TypeVar("T")
Call = Callable[[], Awaitable[T]]

_MOST_OPERATIONS = 14  # of a use case on the database: a fault comes at one of them
_LATEST = 400.0  # seconds that a message may stay in the network: longer than a lease


class NoAnswerError(Exception):
    """The caller knows nothing: the call may have been carried out, be carried out later, or never."""


class Timeline:
    """What happens when, in virtual time; ties are resolved by order of entry.

    Args:
        clock: Is moved to the time of whatever happens.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self._due: list[tuple[float, int, Callable[[], Awaitable[None]]]] = []
        self._count = 0

    def after(self, seconds: float, deed: Callable[[], Awaitable[None]]) -> None:
        """Let something happen later."""
        self._count += 1
        heapq.heappush(self._due, (self.clock.monotonic() + seconds, self._count, deed))

    async def run(self, until: float, is_over: Callable[[], Awaitable[bool]] | None = None) -> bool:
        """Let everything happen that is due until a moment; returns whether it was over before.

        Args:
            until: Seconds since the first moment.
            is_over: Asked every ten virtual minutes.
        """
        look = self.clock.monotonic() + 600
        while self._due and self._due[0][0] <= until:
            moment, _, deed = heapq.heappop(self._due)
            self.clock.advance(moment - self.clock.monotonic())
            await deed()
            if is_over is not None and moment >= look:
                if await is_over():
                    return True
                look = moment + 600
        return False


class Network:
    """Brings calls to the server, or loses, delays, doubles and reorders them; the server may crash, too.

    Args:
        hall: The server.
        timeline: Delayed calls are put there.
        dice: Decides.
        traced: Whether all calls are noted.

    Attributes:
        crashes: How often the server has forgotten all that is not in the database.
        cpu: Seconds that the server's code has taken, its database included.
    """

    def __init__(self, hall: Hall, timeline: Timeline, dice: random.Random, *, traced: bool = True) -> None:
        self._hall = hall
        self._timeline = timeline
        self._dice = dice
        self._faults = FailNth(hall.database)
        self.is_good = False
        self.trace: list[str] = []
        self.crashes = 0
        self.cpu = 0.0
        self._traced = traced

    async def call(self, what: str, call: Call[T]) -> T:
        """Call the server.

        Raises:
            NoAnswerError: Whatever became of it.
            DiracError: The server refuses.
        """
        fate = "good" if self.is_good else self._fate()
        self._note(f"{fate:9} {what}")
        if fate == "lost":
            raise NoAnswerError
        if fate in ("late", "twice"):
            self._timeline.after(self._dice.uniform(0.1, _LATEST), lambda: self._arrive_late(what, call))
        if fate == "late":
            raise NoAnswerError
        answer = await self._serve(call, fault=fate == "fault")
        if fate == "unheard":
            raise NoAnswerError
        return answer

    async def serve(self, what: str, call: Call[T]) -> T:
        """Let the server do something of its own accord: no network, but faults."""
        fault = not self.is_good and self._dice.random() < 0.1
        if fault:
            self._note(f"fault     {what}")
        return await self._serve(call, fault=fault)

    def _note(self, what: str) -> None:
        if self._traced:
            self.trace.append(f"{self._timeline.clock.monotonic():8.1f} {what}")

    def _fate(self) -> str:
        return self._dice.choices(("good", "lost", "unheard", "late", "twice", "fault"), (60, 8, 8, 8, 8, 8))[
            0
        ]

    async def _arrive_late(self, what: str, call: Call[Any]) -> None:
        self._note(f"arrives   {what}")
        try:
            await self._serve(call, fault=False)
        except Exception as error:  # nobody hears it
            if not isinstance(error, NoAnswerError | ConflictError) and not hasattr(error, "hint"):
                raise

    async def _serve(self, call: Call[T], *, fault: bool) -> T:
        """Carry a call out, well or badly."""
        begun = time.process_time()
        try:
            return await (self._fail(call) if fault else call())
        finally:
            self.cpu += time.process_time() - begun

    async def _fail(self, call: Call[T]) -> T:
        """Carry a call out while the database fails once, at any operation, heard of or not."""
        crash = self._dice.random() < 0.5
        number, lost = self._dice.randint(1, _MOST_OPERATIONS), self._dice.random() < 0.5
        try:
            with self._faults.failing(number, lost=lost):
                return await call()
        except UnavailableError:
            raise NoAnswerError from None
        finally:
            if crash:
                self.crashes += 1
                self._hall.restart()
