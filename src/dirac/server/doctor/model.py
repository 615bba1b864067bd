"""What a check is, and how many of them run: at once, each by itself, each with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path

import msgspec

from dirac.core.errors import DiracError, InternalError
from dirac.db.engine import Database
from dirac.db.transaction import Transaction
from dirac.server.database import open_database
from dirac.server.settings import Settings
from dirac.systems.configuration.layout import load
from dirac.systems.configuration.models import Tree
from dirac.systems.configuration.store import ConfigurationUnit

_LIMIT = 15.0  # seconds of one check
_CONNECTIONS = 20  # more than checks: who waits for a connection that fails is not told


class Finding(msgspec.Struct, frozen=True):
    """What a check found.

    Attributes:
        check: Its name, ``concern.what``.
        ok: Whether all is well; with a cause, it is, but should be looked at.
        detail: What was seen.
        cause: Why it is not well.
        mend: The command or step that mends it.
    """

    check: str
    ok: bool
    detail: str
    cause: str | None = None
    mend: str | None = None


class Ailment(Exception):  # noqa: N818 - not an error of the program
    """What a check raises if something is not well.

    Args:
        detail: What was seen.
        cause: Why that is not well.
        mend: The command or step that mends it.
        passable: Whether one can live with it.
    """

    def __init__(self, detail: str, *, cause: str, mend: str, passable: bool = False) -> None:
        super().__init__(detail)
        self.detail, self.cause, self.mend, self.passable = detail, cause, mend, passable


class Patient:
    """What is examined: a server with these settings.

    Args:
        file: Where the settings are.
        settings: What they say.
    """

    def __init__(self, file: Path, settings: Settings) -> None:
        self.file = file
        self.settings = settings
        self._stack = AsyncExitStack()

    @cached_property
    def database(self) -> Database:
        """The database.

        Raises:
            Ailment: It is a file that does not exist; connecting would make an empty one.
        """
        database = open_database(self.settings, pool_size=_CONNECTIONS)
        self._stack.push_async_callback(database.close)
        if database.dialect == "sqlite" and not Path(str(database.url.database)).exists():
            raise Ailment(
                f"{database.url.database} does not exist",
                cause="The database was never made, or the file was moved",
                mend=f"dirac-server migrate --settings {self.file}",
            )
        return database

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """Begin a transaction that only looks; if the database is away, say why."""
        async with self.database.connect():
            pass
        async with self.database.read() as tx:
            yield tx

    async def tree(self) -> Tree:
        """Return the configuration of the installation."""
        async with self.read() as tx:
            unit = ConfigurationUnit(tx)
            number, _ = await unit.versions.head()
            try:
                state = await load(unit, number)
            except InternalError as error:
                raise Ailment(
                    str(error),
                    cause="Servers go on with the last version that they can read",
                    mend=f"dirac config rollback {max(number - 1, 0)}",
                ) from error
        return state.snapshot.tree if state else Tree()

    async def close(self) -> None:
        """Let go of everything."""
        await self._stack.aclose()


class Check(msgspec.Struct, frozen=True):
    """One check.

    Attributes:
        name: What it is about, ``concern.what``.
        examine: Says what it saw if all is well.
    """

    name: str
    examine: Callable[[Patient], Awaitable[str]]


def in_thread(examine: Callable[[Patient], str]) -> Callable[[Patient], Awaitable[str]]:
    """Make a check of a function that waits for files or the network."""

    async def run(patient: Patient) -> str:
        return await asyncio.to_thread(examine, patient)

    return run


async def examine(patient: Patient, checks: Sequence[Check], limit: float = _LIMIT) -> list[Finding]:
    """Run checks at once; whatever happens to one, the others say what they saw.

    Args:
        patient: What is examined.
        checks: What is asked.
        limit: Seconds that each may take.
    """
    return list(await asyncio.gather(*(_one(patient, check, limit) for check in checks)))


async def _one(patient: Patient, check: Check, limit: float) -> Finding:
    try:
        async with asyncio.timeout(limit):
            return Finding(check.name, True, await check.examine(patient))
    except Ailment as found:
        return Finding(check.name, found.passable, found.detail, found.cause, found.mend)
    except TimeoutError:
        return Finding(
            check.name,
            False,
            f"no answer within {limit:g} s",
            "What it asks does not answer, or the host is overloaded",
            "Look at the other findings first; then run dirac-server doctor again",
        )
    except DiracError as error:
        return Finding(
            check.name, False, error.message, "It cannot be used as it is", error.hint or "Mend what it says"
        )
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        return Finding(
            check.name,
            False,
            f"the check itself failed: {type(error).__name__}: {said}",
            "Something is in a state that nobody thought of",
            "Look at the other findings; if they are well, this is a defect of DIRAC to be reported",
        )
