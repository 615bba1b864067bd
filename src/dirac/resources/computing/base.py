"""What every computing element promises.

A computing element takes pilots and runs them somewhere: on this machine, behind a batch system, on a grid
site or in a cloud. It knows pilots only, no jobs, no VOs and no database. A plugin is a class below
`ComputingElement`, an entry point of the group ``dirac.computing``, and a subclass of the conformance suite
in `dirac.resources.computing.testing`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar, Self

import msgspec

STAMP_VARIABLE = "DIRAC_PILOT_STAMP"
"""The environment variable in which a pilot finds its stamp, whichever element started it."""

OUTPUT_LIMIT = 1 << 20
"""Bytes of each stream that `ComputingElement.output` returns unless told otherwise."""

_STAMP = re.compile(r"[0-9a-f]{32}")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class PilotStatus(StrEnum):
    """Where a pilot is in its life; the words are those that this community stores and shows."""

    SUBMITTED = "Submitted"
    """The element took it and has not said more yet."""
    WAITING = "Waiting"
    RUNNING = "Running"
    DONE = "Done"
    """The program ended with status 0."""
    FAILED = "Failed"
    """The program ran and ended otherwise: another status, a signal, or nobody knows how."""
    DELETED = "Deleted"
    """It was cancelled, before or after its start."""
    ABORTED = "Aborted"
    """The element gave up on it before the program ran."""
    UNKNOWN = "Unknown"
    """The element does not know the reference, or cannot tell at present."""

    @property
    def is_final(self) -> bool:
        """Whether a pilot stays in this state for good."""
        return self in _FINAL


_FINAL = frozenset({PilotStatus.DONE, PilotStatus.FAILED, PilotStatus.DELETED, PilotStatus.ABORTED})


class PilotJob(msgspec.Struct, frozen=True):
    """A pilot to be started.

    Attributes:
        stamp: 32 lower case hexadecimal digits, chosen by the caller, never used twice.
        executable: Path of a program on the machine that runs the pilot, or a bare name to look up in PATH.
        arguments: What follows the program's name; visible to everybody on that machine.
        environment: Variables for the pilot; no secrets here either.
        files: Small files put into the working directory before the start, readable by the pilot's account
            only (mode 0600). Secrets travel here and nowhere else.
        processors: Cores the pilot is meant to have.
    """

    stamp: str
    executable: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = _NOTHING
    files: Mapping[str, bytes] = _NOTHING
    processors: int = 1

    def __repr__(self) -> str:
        # Files hold secrets, and a representation ends up in logs.
        return f"PilotJob(stamp={self.stamp!r}, executable={self.executable!r}, files={sorted(self.files)})"

    def fault(self) -> str | None:
        """Say what makes the pilot unacceptable for every element, None if nothing does."""
        if not _STAMP.fullmatch(self.stamp):
            return f"stamp {self.stamp!r} is not 32 lower case hexadecimal digits"
        if not self.executable:
            return "the executable is empty"
        if self.processors < 1:
            return f"{self.processors} processors; a pilot needs at least 1"
        for name in self.files:
            if not name or name in (".", "..") or "/" in name or _is_unusable(name) or len(name) > 200:
                return f"file name {name!r} is not a plain name of at most 200 characters"
        for name, value in self.environment.items():
            if not name or "=" in name or _is_unusable(name + value):
                return f"environment variable {name!r} cannot be set"
        if any(_is_unusable(text) for text in (self.executable, *self.arguments)):
            return "the executable or an argument has a character that no program can be given"
        return None


def _is_unusable(text: str) -> bool:
    try:
        return b"\0" in text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return True


class Submitted(msgspec.Struct, frozen=True):
    """What became of one pilot of a submission: it has either a reference or an error.

    Attributes:
        stamp: The pilot's stamp.
        reference: Name of the pilot at the element, unique in the world and stable,
            for instance ``local://<ce>/<stamp>``.
        error: Why this pilot was not taken, for a person.
    """

    stamp: str
    reference: str | None = None
    error: str | None = None


class PilotState(msgspec.Struct, frozen=True):
    """What the element knows about one pilot.

    Attributes:
        status: The state.
        exit_code: What the program ended with, 128 + n when signal n ended it; None as long as it runs and
            when nobody knows.
        reason: Why the pilot is in this state, for a person, if there is more to say.
    """

    status: PilotStatus
    exit_code: int | None = None
    reason: str | None = None


class Output(msgspec.Struct, frozen=True):
    """The last part of what a pilot printed; bytes that are not UTF-8 are replaced.

    Attributes:
        stdout: End of the standard output.
        stderr: End of the standard error.
        truncated: Whether there is more of either.
    """

    stdout: str
    stderr: str
    truncated: bool = False


class Capacity(msgspec.Struct, frozen=True):
    """Numbers of pilots, of this system only.

    Attributes:
        running: Those that run now.
        waiting: Those taken that do not run yet.
        max_running: How many may run; None if the element cannot say.
        max_waiting: How many may wait; None if the element cannot say.
    """

    running: int
    waiting: int
    max_running: int | None = None
    max_waiting: int | None = None

    @property
    def free(self) -> int | None:
        """How many more would be taken now, None if the element cannot say."""
        if self.max_running is None or self.max_waiting is None:
            return None
        return max(0, self.max_running + self.max_waiting - self.running - self.waiting)


class Capabilities(msgspec.Struct, frozen=True):
    """What an element can do beyond the minimum; callers ask here instead of knowing plugins by name.

    Attributes:
        output: `ComputingElement.output` returns what a pilot printed.
        live_output: ... also while it runs.
        exit_code: A pilot that ended has an exit code.
        reserves_processors: `PilotJob.processors` cores are set aside; otherwise the number is a hint.
        pull: Pilots are never submitted here: worker nodes ask for them, and report about them themselves.
    """

    output: bool = True
    live_output: bool = False
    exit_code: bool = True
    reserves_processors: bool = False
    pull: bool = False


class ComputingElement(ABC):
    """Starts pilots and follows them until they are forgotten.

    Order of calls for one pilot: `submit`, any number of `status`, `output` and `cancel`, finally `cleanup`.
    Every call takes many pilots and answers per pilot; a pilot that has a fault never spoils the others.

    The caller may die at any moment, also in the middle of a call. Everything that an element knows therefore
    lives outside the caller, and a new instance with the same name and settings goes on where the last one
    stopped. Every call may be repeated; repeating is also how a caller finds out what became of a call that
    had no answer.

    Several instances, also in several processes, may work on the same element at the same time.

    Raises:
        UnavailableError: (any call) The element does not answer; nothing can be said about any pilot. What
            was asked may have happened or not; repeat it later.
    """

    capabilities: ClassVar[Capabilities] = Capabilities()

    @classmethod
    @abstractmethod
    def from_settings(cls, name: str, settings: Mapping[str, Any]) -> Self:
        """Make an element from its part of the configuration; opens no connection and starts nothing.

        Args:
            name: Name of the element, part of the references.
            settings: As written in the configuration.

        Raises:
            InvalidInputError: A setting is unknown, missing or wrong; the message names it.
        """

    @abstractmethod
    async def submit(self, jobs: Sequence[PilotJob]) -> list[Submitted]:
        """Hand over pilots; one answer per pilot, in the same order.

        A pilot with a reference will be started exactly once or reach a final state that says why not, even
        if the caller or the element's front end dies now. Submitting a stamp that is known returns the same
        reference and starts nothing, whatever else the job says. Until `cleanup` a stamp stays known.
        A pilot is refused with an error of its own if it has a `PilotJob.fault` or does not fit in.
        The pilot finds its stamp in the variable `STAMP_VARIABLE`.
        """

    @abstractmethod
    async def status(self, references: Sequence[str]) -> dict[str, PilotState]:
        """Return the state of each; a reference that is not known here is Unknown, never an error.

        Final states stay until `cleanup`. In a final state nothing that the pilot started is running.
        """

    @abstractmethod
    async def cancel(self, references: Sequence[str]) -> dict[str, str]:
        """Ask pilots to end; return those that could not be asked, with the reason.

        The call returns once the wish is on record, the pilot gets a while to end in order (SIGTERM, then
        SIGKILL to all it started) and then is Deleted. A pilot that waits is never started. One that has
        ended keeps its state. Asking twice is asking once.
        """

    @abstractmethod
    async def output(self, reference: str, limit: int = OUTPUT_LIMIT) -> Output:
        """Return the last `limit` bytes of what a pilot printed on each of its two streams.

        Before the end only with `Capabilities.live_output`; until then both are empty.

        Raises:
            NotFoundError: The reference is not known here.
        """

    @abstractmethod
    async def cleanup(self, references: Sequence[str]) -> dict[str, str]:
        """Forget pilots that have ended, with their output and files; return the others with the reason.

        A reference that is not known here is as good as forgotten. Afterwards it is Unknown and its stamp
        must not be used again.
        """

    @abstractmethod
    async def capacity(self) -> Capacity:
        """Return how many pilots run and wait here, and how many may."""

    async def close(self) -> None:  # noqa: B027 - most elements hold nothing open
        """Let go of connections; pilots are not touched."""
