"""Computing elements for tests: one in memory, one that breaks, one that is slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import msgspec

from dirac.core.errors import NotFoundError, UnavailableError
from dirac.core.time import Clock, SystemClock
from dirac.resources.computing.base import (
    OUTPUT_LIMIT,
    Capabilities,
    Capacity,
    ComputingElement,
    Output,
    PilotJob,
    PilotState,
    PilotStatus,
    Submitted,
)
from dirac.resources.settings import read_settings


class FakePilot:
    """A pilot that exists in memory only; a test changes its state and output at will."""

    def __init__(self, job: PilotJob) -> None:
        self.job = job
        self.state = PilotState(PilotStatus.SUBMITTED)
        self.output = ("", "")


class FakeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a fake element: pilots that may run and wait."""

    max_running: Annotated[int, msgspec.Meta(ge=1)] = 10
    max_waiting: Annotated[int, msgspec.Meta(ge=0)] = 100


class FakeComputingElement(ComputingElement):
    """Keeps the promises of a computing element and runs nothing.

    A test drives it: `start` what waits, `finish` a pilot. Everything is in `pilots`; an element made with
    the same mapping is what a restarted server would see.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(live_output=True, reserves_processors=True)

    def __init__(
        self,
        name: str = "fake",
        settings: FakeSettings | None = None,
        pilots: dict[str, FakePilot] | None = None,
    ) -> None:
        self.name = name
        self.settings = settings or FakeSettings()
        self.pilots: dict[str, FakePilot] = {} if pilots is None else pilots

    @classmethod
    def from_settings(cls, name: str, settings: Mapping[str, Any]) -> Self:
        """Make an element without pilots."""
        return cls(name, read_settings(FakeSettings, settings, f"computing element {name!r}"))

    def start(self) -> None:
        """Let pilots run, in order of submission, as many as may."""
        room = self.settings.max_running - self._count(PilotStatus.RUNNING)
        for pilot in self.pilots.values():
            if pilot.state.status in (PilotStatus.SUBMITTED, PilotStatus.WAITING):
                room -= 1
                status = PilotStatus.RUNNING if room >= 0 else PilotStatus.WAITING
                pilot.state = PilotState(status)

    def finish(self, reference: str, exit_code: int = 0, stdout: str = "", stderr: str = "") -> None:
        """Let a pilot end with that status, having printed that."""
        status = PilotStatus.FAILED if exit_code else PilotStatus.DONE
        pilot = self.pilots[reference]
        pilot.state = PilotState(status, exit_code, f"exit status {exit_code}" if exit_code else None)
        pilot.output = (stdout, stderr)

    async def submit(self, jobs: Sequence[PilotJob]) -> list[Submitted]:
        """Remember the pilots."""
        return [self._submit(job) for job in jobs]

    def _submit(self, job: PilotJob) -> Submitted:
        reference = f"fake://{self.name}/{job.stamp}"
        fault = job.fault()
        if fault is None and reference not in self.pilots:
            if self._capacity().free == 0:
                fault = f"computing element {self.name!r} is full"
            else:
                self.pilots[reference] = FakePilot(job)
        return Submitted(job.stamp, error=fault) if fault else Submitted(job.stamp, reference)

    async def status(self, references: Sequence[str]) -> dict[str, PilotState]:
        """Return the state that the test gave each."""
        unknown = PilotState(PilotStatus.UNKNOWN, reason="there is no such pilot here")
        return {
            reference: pilot.state if (pilot := self.pilots.get(reference)) else unknown
            for reference in references
        }

    async def cancel(self, references: Sequence[str]) -> dict[str, str]:
        """Delete pilots at once."""
        for reference in references:
            pilot = self.pilots.get(reference)
            if pilot and not pilot.state.status.is_final:
                pilot.state = PilotState(PilotStatus.DELETED, reason="cancelled")
        return {reference: "not known here" for reference in references if reference not in self.pilots}

    async def output(self, reference: str, limit: int = OUTPUT_LIMIT) -> Output:
        """Return the end of what the test gave as output."""
        if reference not in self.pilots:
            raise NotFoundError(f"computing element {self.name!r} knows no pilot {reference!r}")
        streams = [text.encode() for text in self.pilots[reference].output]
        stdout, stderr = (
            stream[max(0, len(stream) - limit) :].decode(errors="replace") for stream in streams
        )
        return Output(stdout, stderr, any(len(stream) > limit for stream in streams))

    async def cleanup(self, references: Sequence[str]) -> dict[str, str]:
        """Forget pilots that have ended."""
        refused = {}
        for reference in references:
            pilot = self.pilots.get(reference)
            if pilot and not pilot.state.status.is_final:
                refused[reference] = f"the pilot is {pilot.state.status}; cancel it first"
            else:
                self.pilots.pop(reference, None)
        return refused

    async def capacity(self) -> Capacity:
        """Count."""
        return self._capacity()

    def _count(self, *statuses: PilotStatus) -> int:
        return sum(pilot.state.status in statuses for pilot in self.pilots.values())

    def _capacity(self) -> Capacity:
        return Capacity(
            self._count(PilotStatus.RUNNING),
            self._count(PilotStatus.SUBMITTED, PilotStatus.WAITING),
            self.settings.max_running,
            self.settings.max_waiting,
        )


class MisbehavingComputingElement(ComputingElement):
    """Passes every call on to another element; what is wrong with it is said in `before` and `after`."""

    def __init__(self, inner: ComputingElement) -> None:
        self.inner = inner
        self.capabilities = inner.capabilities  # type: ignore[misc]

    @classmethod
    def from_settings(cls, name: str, settings: Mapping[str, Any]) -> Self:
        """Make one around a fake element with those settings."""
        return cls(FakeComputingElement.from_settings(name, settings))

    async def before(self) -> None:
        """Run before each call."""

    async def after(self) -> None:
        """Run after each call, before its answer."""

    async def submit(self, jobs: Sequence[PilotJob]) -> list[Submitted]:
        """Pass on."""
        await self.before()
        answer = await self.inner.submit(jobs)
        await self.after()
        return answer

    async def status(self, references: Sequence[str]) -> dict[str, PilotState]:
        """Pass on."""
        await self.before()
        answer = await self.inner.status(references)
        await self.after()
        return answer

    async def cancel(self, references: Sequence[str]) -> dict[str, str]:
        """Pass on."""
        await self.before()
        answer = await self.inner.cancel(references)
        await self.after()
        return answer

    async def output(self, reference: str, limit: int = OUTPUT_LIMIT) -> Output:
        """Pass on."""
        await self.before()
        answer = await self.inner.output(reference, limit)
        await self.after()
        return answer

    async def cleanup(self, references: Sequence[str]) -> dict[str, str]:
        """Pass on."""
        await self.before()
        answer = await self.inner.cleanup(references)
        await self.after()
        return answer

    async def capacity(self) -> Capacity:
        """Pass on."""
        await self.before()
        answer = await self.inner.capacity()
        await self.after()
        return answer


class BrokenComputingElement(MisbehavingComputingElement):
    """Fails every n-th call, by turns before anything happened and after all has happened.

    Args:
        inner: The element that does the work.
        every: 1 fails all calls, 2 every other one.
    """

    def __init__(self, inner: ComputingElement, every: int = 2) -> None:
        super().__init__(inner)
        self._every = every
        self._calls = 0

    async def before(self) -> None:
        """Count the call; fail the first, third, ... of those that are to fail."""
        self._calls += 1
        self._fail(1)

    async def after(self) -> None:
        """Fail the second, fourth, ... of those that are to fail: the work is done, the answer is lost."""
        self._fail(0)

    def _fail(self, turn: int) -> None:
        count, rest = divmod(self._calls, self._every)
        if rest == 0 and count % 2 == turn:
            raise UnavailableError("the computing element does not answer", retry_after=1.0)


class SlowComputingElement(MisbehavingComputingElement):
    """Answers late.

    Args:
        inner: The element that does the work.
        seconds: What each call takes longer, by the clock.
        clock: A fake one makes it slow in no time.
    """

    def __init__(self, inner: ComputingElement, seconds: float = 1.0, clock: Clock | None = None) -> None:
        super().__init__(inner)
        self._seconds = seconds
        self._clock = clock or SystemClock()

    async def before(self) -> None:
        """Wait."""
        await self._clock.sleep(self._seconds)
