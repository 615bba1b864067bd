"""A catalog of files in memory."""

from __future__ import annotations

from collections.abc import Sequence

from dirac.core.errors import UnavailableError


class MemoryCatalog:
    """Knows the files that a test gives it.

    Attributes:
        files: Storage elements by logical file name.
        unavailable: It does not answer.
        questions: How many files it was asked for, question by question.
    """

    def __init__(self, files: dict[str, tuple[str, ...]] | None = None) -> None:
        self.files = files or {}
        self.unavailable = False
        self.questions: list[int] = []

    async def locations(self, vo: str, lfns: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the storage elements that have each file; nobody finds files of another VO."""
        self.questions.append(len(lfns))
        if self.unavailable:
            raise UnavailableError("the catalog does not answer")
        mine = [name for name in lfns if name.startswith(f"/{vo}/")]
        return {name: self.files[name] for name in mine if name in self.files}
