"""Uploading what descriptions name of the submitter's machine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from dirac.client.aio.sandboxes import Sandboxes
from dirac.client.inputs import local_files, with_reference
from dirac.core.errors import InvalidInputError
from dirac.formats.archive import pack_members
from dirac.formats.conversion import read
from dirac.formats.jdl import Jdl, dump
from dirac.transport.http_client import Progress


async def with_uploads(
    texts: Sequence[str], base_dir: Path, sandboxes: Sandboxes, progress: Progress | None
) -> list[str]:
    """Upload the local files of descriptions and return the descriptions that refer to them.

    All are read and all files found before anything is sent; equal sets of files are sent once. A
    text without local files stays as it is, letter by letter; one of several jobs becomes as many.

    Raises:
        InvalidInputError: A description is wrong, or a file is not there; `where` says in which.
    """
    needs = checked(texts, base_dir)
    references: dict[frozenset[tuple[str, Path]], str] = {}
    ready = []
    for text, described in zip(texts, needs, strict=True):
        if not any(members for _, members in described):
            ready.append(text)
            continue
        for jdl, members in described:
            files = frozenset(members.items())
            if files and files not in references:
                references[files] = await _upload(members, sandboxes, progress)
            ready.append(with_reference(jdl, references[files]) if files else dump(jdl))
    return ready


def checked(texts: Sequence[str], base_dir: Path) -> list[list[tuple[Jdl, dict[str, Path]]]]:
    """Return, text by text, its descriptions, each with the local files that it needs.

    Raises:
        InvalidInputError: A description is wrong, or a file is not there; `where` says in which.
    """
    found = []
    for number, text in enumerate(texts):
        place = [f"jdl[{number}]"] if len(texts) > 1 else []
        part = ""
        try:
            described = []
            for one in read(text):
                part = one.place
                described.append((one.jdl, local_files(one.jdl, base_dir)))
            found.append(described)
        except InvalidInputError as error:
            parts = [*place, part, error.where or ""]
            error.where = " ".join(word for word in parts if word) or None
            raise
    return found


async def _upload(members: Mapping[str, Path], sandboxes: Sandboxes, progress: Progress | None) -> str:
    with tempfile.TemporaryDirectory(prefix="dirac-") as directory:
        archive = Path(directory, "input.tar.gz")
        pack_members(members, archive)
        return await sandboxes.upload(archive, progress=progress)
