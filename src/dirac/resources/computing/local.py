"""Pilots as processes of this machine: for a laptop, a single host, and tests.

State is files and processes only. ``<workdir>/<stamp>/`` is a pilot (`dirac.resources.computing.spool`),
``<workdir>/.active/<order>-<stamp>`` says that it has not ended yet as far as is known, ``.lock`` is held by
whoever changes anything, and what is found in ``.tmp/`` by the holder of the lock was left by a crash.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

import msgspec

from dirac.core.errors import InvalidInputError, NotFoundError, UnavailableError
from dirac.resources.computing import supervisor
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
from dirac.resources.computing.spool import Spool, remove_tree
from dirac.resources.settings import read_settings

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_STAMP = re.compile(r"[0-9a-f]{32}")
_LAUNCH_SECONDS = 60

Result = TypeVar("Result")


class LocalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a local computing element.

    Attributes:
        workdir: Directory for the pilots, absolute, made if missing; of this element only.
        max_running: Pilots that run at the same time.
        max_waiting: Pilots that are kept until there is room.
        grace: Seconds a cancelled pilot has to end in order before it is killed.
    """

    workdir: Annotated[str, msgspec.Meta(pattern="^/")]
    max_running: Annotated[int, msgspec.Meta(ge=1)] = 1
    max_waiting: Annotated[int, msgspec.Meta(ge=0)] = 100
    grace: Annotated[float, msgspec.Meta(ge=0)] = 10.0


class LocalComputingElement(ComputingElement):
    """Runs pilots on this machine, as the account and at the cost of whoever runs the server.

    A pilot that waits for room is started, in order of submission, by the next call that submits or asks for
    states or the capacity: there is no process that watches.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(live_output=True)

    def __init__(self, name: str, settings: LocalSettings) -> None:
        if not _NAME.fullmatch(name):
            raise InvalidInputError(
                f"name {name!r} of a computing element cannot be part of a reference",
                hint="Use letters, digits, '.', '_' and '-'",
            )
        self.name = name
        self._settings = settings
        self._prefix = f"local://{name}/"
        self._root = Path(settings.workdir)
        self._active = self._root / ".active"
        self._temporary = self._root / ".tmp"

    @classmethod
    def from_settings(cls, name: str, settings: Mapping[str, Any]) -> Self:
        """Make an element; touches nothing."""
        return cls(name, read_settings(LocalSettings, settings, f"computing element {name!r}"))

    async def submit(self, jobs: Sequence[PilotJob]) -> list[Submitted]:
        """Record the pilots, then start as many as may run."""
        return await self._in_thread(lambda: self._submit(jobs))

    async def status(self, references: Sequence[str]) -> dict[str, PilotState]:
        """Start what may run, then look at each."""
        return await self._in_thread(lambda: self._status(references))

    async def cancel(self, references: Sequence[str]) -> dict[str, str]:
        """Record the wish and signal the supervisor, which waits out the grace period by itself."""
        return await self._in_thread(lambda: self._cancel(references))

    async def output(self, reference: str, limit: int = OUTPUT_LIMIT) -> Output:
        """Return what the pilot has printed so far."""
        spool = self._spool(reference)
        if spool is None or not await self._in_thread(spool.exists):
            raise NotFoundError(f"computing element {self.name!r} knows no pilot {reference!r}")
        return await self._in_thread(lambda: spool.output(limit))

    async def cleanup(self, references: Sequence[str]) -> dict[str, str]:
        """Remove the directories of ended pilots."""
        return await self._in_thread(lambda: self._cleanup(references))

    async def capacity(self) -> Capacity:
        """Start what may run, then count."""
        return await self._in_thread(self._capacity)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise UnavailableError(
                f"computing element {self.name!r} cannot use {str(self._root)!r}: {error}",
                hint="Look at the permissions and the free space of its workdir",
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        for directory in (self._root, self._active, self._temporary):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for left in self._temporary.iterdir():
                remove_tree(left)
            yield
        finally:
            os.close(descriptor)

    def _spool(self, reference: str) -> Spool | None:
        stamp = reference.removeprefix(self._prefix)
        if not reference.startswith(self._prefix) or not _STAMP.fullmatch(stamp):
            return None
        return Spool(self._root / stamp)

    def _submit(self, jobs: Sequence[PilotJob]) -> list[Submitted]:
        with self._locked():
            running, waiting = self._advance()
            settings = self._settings
            room = settings.max_running + settings.max_waiting - running - waiting
            answers = []
            order = int(marks[-1].split("-")[0]) + 1 if (marks := self._marks()) else 0
            for number, job in enumerate(jobs, start=order):
                spool = Spool(self._root / job.stamp)
                fault = job.fault()
                if fault is None and not spool.exists():
                    if room > 0:
                        fault = self._record(spool, job, number)
                        room -= fault is None
                    else:
                        fault = (
                            f"computing element {self.name!r} is full: {running} run, {waiting} waited before"
                        )
                reference = self._prefix + job.stamp if fault is None else None
                answers.append(Submitted(job.stamp, reference, fault))
            self._advance()
        return answers

    def _marks(self) -> list[str]:
        return sorted(path.name for path in self._active.iterdir())

    def _record(self, spool: Spool, job: PilotJob, number: int) -> str | None:
        # The mark comes first: a mark without a directory is dropped, a directory without one never starts.
        mark = self._active / f"{number:012d}-{job.stamp}"
        try:
            mark.touch(mode=0o600)
            spool.create(job, self._temporary / job.stamp, self._settings.grace)
        except OSError as error:
            mark.unlink(missing_ok=True)
            remove_tree(self._temporary / job.stamp)
            return f"the pilot's directory could not be made: {error}"
        return None

    def _advance(self) -> tuple[int, int]:
        """Act on what is known of the pilots that have not ended; return how many run and how many wait."""
        running, waiting = 0, []
        for mark in self._marks():
            spool = Spool(self._root / mark.split("-")[1])
            status = spool.state().status
            if not status.is_final and status is not PilotStatus.UNKNOWN and spool.is_unwanted():
                spool.act_on_cancel()  # again, in case that the first time was cut short
                status = spool.state().status
            if status is PilotStatus.WAITING:
                waiting.append(spool)
            elif status is PilotStatus.RUNNING:
                running += 1
            else:
                (self._active / mark).unlink()
        starting = waiting[: max(0, self._settings.max_running - running)]
        if starting:
            self._launch(starting)
        return running + len(starting), len(waiting) - len(starting)

    def _launch(self, spools: list[Spool]) -> None:
        command = [
            sys.executable,
            "-I",
            "-S",
            supervisor.__file__,
            *(str(spool.directory) for spool in spools),
        ]
        try:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                timeout=_LAUNCH_SECONDS,
                check=True,
            )
        except subprocess.SubprocessError as error:
            # The pilots stay on record as waiting, and the next call tries again.
            detail = getattr(error, "stderr", None) or b""
            _log.warning(
                "pilots could not be started",
                extra={"ce": self.name, "error": str(error), "stderr": detail.decode(errors="replace")},
            )

    def _status(self, references: Sequence[str]) -> dict[str, PilotState]:
        with self._locked():
            self._advance()
            return {reference: self._state(reference) for reference in references}

    def _state(self, reference: str) -> PilotState:
        spool = self._spool(reference)
        if spool is None:
            reason = f"not a reference of computing element {self.name!r}"
            return PilotState(PilotStatus.UNKNOWN, reason=reason)
        return spool.state()

    def _cancel(self, references: Sequence[str]) -> dict[str, str]:
        refused = {}
        with self._locked():
            for reference in references:
                spool, state = self._spool(reference), self._state(reference)
                if spool is None or state.status is PilotStatus.UNKNOWN:
                    refused[reference] = state.reason or "not known here"
                elif not state.status.is_final:
                    spool.cancel()
            self._advance()
        return refused

    def _cleanup(self, references: Sequence[str]) -> dict[str, str]:
        refused = {}
        with self._locked():
            for reference in references:
                spool, status = self._spool(reference), self._state(reference).status
                if spool is None or status is PilotStatus.UNKNOWN:
                    continue
                if status.is_final:
                    spool.remove(self._temporary / spool.stamp)
                else:
                    refused[reference] = f"the pilot is {status}; cancel it first"
        return refused

    def _capacity(self) -> Capacity:
        with self._locked():
            running, waiting = self._advance()
        return Capacity(running, waiting, self._settings.max_running, self._settings.max_waiting)
