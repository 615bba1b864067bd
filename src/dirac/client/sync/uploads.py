# Generated from dirac/client/aio/uploads.py by python -m dirac.client._generate; do not edit.
"""Uploading what descriptions name of the submitter's machine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from dirac.client.inputs import local_files, with_reference
from dirac.client.sync.sandboxes import Sandboxes
from dirac.core.errors import InvalidInputError
from dirac.formats.archive import pack_members
from dirac.formats.jdl import Jdl, parse
from dirac.transport.http_client_sync import Progress


def with_uploads(
    texts: Sequence[str], base_dir: Path, sandboxes: Sandboxes, progress: Progress | None
) -> list[str]:
    """Upload the local files of descriptions and return the descriptions that refer to them.

    All are read and all files found before anything is sent; equal sets of files are sent once. A
    description without local files stays as it is, letter by letter.

    Raises:
        InvalidInputError: A description is wrong, or a file is not there; `where` says in which.
    """
    needs = []
    for number, text in enumerate(texts):
        place = f"jdl[{number}]" if len(texts) > 1 else None
        needs.append((text, *_read(text, base_dir, place)))
    references: dict[frozenset[tuple[str, Path]], str] = {}
    ready = []
    for text, parsed, members in needs:
        if not members:
            ready.append(text)
            continue
        files = frozenset(members.items())
        if files not in references:
            references[files] = _upload(members, sandboxes, progress)
        ready.append(with_reference(parsed, references[files]))
    return ready


def _read(text: str, base_dir: Path, place: str | None) -> tuple[Jdl, dict[str, Path]]:
    try:
        parsed = parse(text)
        return parsed, local_files(parsed, base_dir)
    except InvalidInputError as error:
        if place is not None:
            error.where = f"{place} {error.where}" if error.where else place
        raise


def _upload(members: Mapping[str, Path], sandboxes: Sandboxes, progress: Progress | None) -> str:
    with tempfile.TemporaryDirectory(prefix="dirac-") as directory:
        archive = Path(directory, "input.tar.gz")
        pack_members(members, archive)
        return sandboxes.upload(archive, progress=progress)
