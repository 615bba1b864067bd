"""The jobs of one submission between their descriptions and the database: many of them are kept on disk.

A submission is one transaction, and its descriptions come as slowly as its caller sends them. So nothing is
written before all of them are checked, and what is checked meanwhile does not stay in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from collections.abc import AsyncIterable, Iterator, Sequence
from types import TracebackType
from typing import IO, Self

import msgspec

from dirac.core.errors import InvalidInputError, TooLargeError, TooManyRequestsError
from dirac.systems.configuration.models import Workload
from dirac.systems.workload.logic.preparation import Prepared
from dirac.systems.workload.logic.series import Series
from dirac.systems.workload.ports.work import NewJob, Owner

Descriptions = Sequence[str] | AsyncIterable[Sequence[str]]
"""All at once, or as they come."""

_IN_MEMORY = 8 * 1024 * 1024  # bytes of a submission's jobs
_PAUSE = 2.0  # seconds
_LIGHT = 4096  # characters that are read in less time than it takes to hand them to a thread
_MODERATE = 65_536  # characters that are compared with those before in such a time
_place = re.compile(r"jdl\[(\d+)\]")
_decode = msgspec.msgpack.Decoder(list[NewJob]).decode


class Room:
    """How many large submissions may be received at a time by this process."""

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._inside = 0

    def enter(self) -> None:
        """Let one in; it has to leave.

        Raises:
            TooManyRequestsError: There is no room.
        """
        if self._inside >= self._most:
            raise TooManyRequestsError(
                f"{self._inside} large submissions are being received at this moment",
                hint="Try again in a moment",
                retry_after=_PAUSE,
            )
        self._inside += 1

    def leave(self) -> None:
        """Make room."""
        self._inside -= 1


class Gathered:
    """Checked jobs of one submission, in batches; to be used as a context.

    Attributes:
        digest: What tells a repetition of the submission from another one.
        error: What is wrong with it; found while the rest was still to come.
        number: How many jobs there are.
    """

    def __init__(self, owner: Owner, rules: Workload, room: Room, series: Series) -> None:
        self._owner = owner
        self._series = series
        self._room = room
        self._rules = rules
        self._first: Prepared | None = None
        self._others: list[tuple[Prepared, int]] = []
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256(b"[" + msgspec.json.encode(owner) + b",[")
        self._texts = 0
        self.error: InvalidInputError | None = None
        self.number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._room.leave()

    @property
    def digest(self) -> str:
        """What names this submission's descriptions and their owner."""
        complete = self._hash.copy()
        complete.update(b"]]")
        return complete.hexdigest()

    async def take(self, descriptions: Descriptions) -> None:
        """Read and check all descriptions; what is wrong with one is kept in `error`.

        Raises:
            InvalidInputError: They could not be received.
            TooManyRequestsError: They are many, and others are just coming.
        """
        if isinstance(descriptions, Sequence):
            await self._add(descriptions)
            return
        async for batch in descriptions:
            await self._add(batch)
        if not self._texts:
            await self._add([])

    def batches(self) -> Iterator[Prepared]:
        """Return what was checked, in order; may be asked for again."""
        if self._first is not None:
            yield self._first
        if self._file is not None:
            self._file.seek(0)
            for rest, size in self._others:
                yield msgspec.structs.replace(rest, jobs=_decode(self._file.read(size)))

    async def _add(self, texts: Sequence[str]) -> None:
        if texts:
            self._hash.update((b"," if self._texts else b"") + msgspec.json.encode(list(texts))[1:-1])
        if self.error is None:
            try:
                await self._prepare(texts)
            except InvalidInputError as error:
                self.error = self._placed(error)
        self._texts += len(texts)

    async def _prepare(self, texts: Sequence[str]) -> None:
        most = self._rules.max_jobs_per_submission
        series, owner, rules = self._series, self._owner, self._rules
        size = sum(map(len, texts))
        prepared = series.recall(texts, owner, rules) if size <= _MODERATE else None
        if prepared is None:
            prepared = (
                series.prepare(texts, owner, rules)
                if _is_light(texts, size)
                else await asyncio.to_thread(series.prepare, texts, owner, rules)
            )
        self.number += len(prepared.jobs)
        if self.number > most:
            raise TooLargeError(f"these are more than the {most} jobs that are accepted at once")
        if self._first is None:
            self._first = prepared
            return
        if self._file is None:
            self._room.enter()
            self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, prefix="dirac-")  # noqa: SIM115
        data = msgspec.msgpack.encode(prepared.jobs)
        self._file.write(data)
        self._others.append((msgspec.structs.replace(prepared, jobs=[]), len(data)))

    def _placed(self, error: InvalidInputError) -> InvalidInputError:
        """Count the descriptions of earlier batches, too."""
        where = _place.sub(lambda found: f"jdl[{int(found[1]) + self._texts}]", error.where or "", count=1)
        return type(error)(error.message, where=where or None, hint=error.hint)


def _is_light(texts: Sequence[str], size: int) -> bool:
    """Tell whether reading these takes no longer than handing them to a thread would."""
    return size <= _LIGHT and not any("parameters" in text.lower() for text in texts)
