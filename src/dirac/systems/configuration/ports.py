"""What the configuration's logic needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from dirac.core.unit import UnitOfWork
from dirac.resources.repositories.git import Commit, Draft, Place
from dirac.systems.configuration.models import Effect, GitState, Tree, Version
from dirac.systems.identity.models import RegisteredHost, RegisteredVO

WHOLE: Final = "configuration.yml"
"""Name of the file of a configuration that is one text."""


class KeptPart(NamedTuple):
    """What a file makes of the tree.

    Attributes:
        name: Of the file.
        digest: Of its text.
        tree: Its part of the tree; None if the file was removed.
    """

    name: str
    digest: str
    tree: Tree | None


class KeptFile(NamedTuple):
    """A file as it was given.

    Attributes:
        name: Of the file.
        version: That brought it.
        text: What it says.
    """

    name: str
    version: int
    text: str


class Versions(Protocol):
    """The accepted configurations, by number."""

    async def head(self) -> tuple[int, str]:
        """Return number and digest of the newest one; 0 and nothing if there is none. Cheap."""
        ...

    async def version(self, number: int) -> Version | None:
        """Return what is known of one; None if there is none."""
        ...

    async def at(self, moment: datetime) -> int:
        """Return the number of the one that was current then; 0 if there was none."""
        ...

    async def parts(self, after: int, upto: int) -> tuple[bool, list[KeptPart]]:
        """Return what files say at a version, of those that were changed after another one.

        Returns:
            Whether files that are not among them are gone; and the files.
        """
        ...

    async def names(self, upto: int) -> set[str]:
        """Return the names of files that may be there at a version, read or not."""
        ...

    async def texts(self, number: int, names: Iterable[str]) -> dict[str, KeptFile]:
        """Return the texts of files at a version, of those that are there."""
        ...

    async def changed(self, number: int) -> tuple[bool, dict[str, str | None]]:
        """Return what a version says anew: texts by name of the file, None for those that it removed.

        Returns:
            Whether all other files are gone; and the files.
        """
        ...

    async def history(self, name: str, upto: int, limit: int) -> list[tuple[int, Tree | None]]:
        """Return the versions that changed a file, newest first, with the part of the tree from then on."""
        ...

    async def listed(self, limit: int, before: int | None) -> list[Version]:
        """Return the newest ones, newest first, of those with a number below `before`."""
        ...

    async def add(
        self,
        version: Version,
        changed: Mapping[str, tuple[str, str, bytes] | None],
        whole: tuple[str, str],
    ) -> bool:
        """Keep one; return False if there is one with that number already.

        Args:
            version: What is to be known of it.
            changed: By name, digest, text and part of the files that it changes; None for those it removes.
            whole: Text and tree of all, for the release before.
        """
        ...


class GitStates(Protocol):
    """Where repositories and the configuration stand to each other."""

    async def state(self, role: str) -> GitState | None:
        """Return where a repository stands; None if nobody has looked yet."""
        ...

    async def put(self, state: GitState) -> None:
        """Keep where a repository stands."""
        ...

    async def brought(self, version: int, commit: str, *, exact: bool) -> None:
        """Note the commit that a version came from, and whether its files are those of the commit."""
        ...

    async def origin(self, version: int) -> tuple[str, bool] | None:
        """Return the commit that a version came from, if any, and whether its files are the same."""
        ...


class Branch(Protocol):
    """A branch of a repository; `dirac.resources.repositories.git.GitBranch` says what each call does."""

    @property
    def place(self) -> Place:
        """Where it is."""
        ...

    async def fetch(self) -> str | None:
        """Bring what is new, and return the newest commit."""
        ...

    async def has(self, commit: str) -> bool:
        """Tell whether a commit is known here."""
        ...

    async def follows(self, commit: str, earlier: str) -> bool:
        """Tell whether a commit is another one, or comes after it."""
        ...

    async def commits(self, after: str | None, upto: str) -> list[Commit]:
        """Return the commits after another one, oldest first."""
        ...

    async def texts(self, commit: str) -> dict[str, str]:
        """Return the files of a commit."""
        ...

    async def make(self, draft: Draft) -> str:
        """Make a commit, and return its name."""
        ...

    async def send(self, commit: str) -> None:
        """Make a commit the branch's newest one."""
        ...


class ConfigurationUnit(UnitOfWork, Protocol):
    """A unit of work on the configuration."""

    @property
    def git(self) -> GitStates:
        """Where repositories stand."""
        ...

    @property
    def versions(self) -> Versions:
        """The accepted configurations."""
        ...


class Registry(Protocol):
    """The identity system's list of communities and their members."""

    async def replace(
        self,
        unit: Any,
        vos: Sequence[RegisteredVO],
        *,
        hosts: Sequence[RegisteredHost],
        actor: str,
        scope: Collection[str] | None = None,
    ) -> None:
        """Make this the list, in the caller's unit, which carries what the identity system needs there.

        Args:
            unit: The caller's unit.
            vos: The communities.
            hosts: All hosts, whatever the scope.
            actor: Who wants it so.
            scope: Names of all communities that may differ from what is registered; None if any may.
        """
        ...


class Effects(Protocol):
    """Tells what a change would do to what a later system looks after."""

    async def effects(self, old: Tree, new: Tree) -> list[Effect]:
        """Return what changes for the worse or the better, with numbers from the running installation."""
        ...
