"""What a signed upload or download of a directory store allows: that and nothing else."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError, NotAllowedError
from dirac.resources.storage.directory import DirectoryStore, Grant

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DIGEST = "ab" * 32


class StoppedClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def store(clock: StoppedClock | None = None, key: bytes = b"k" * 32) -> DirectoryStore:
    return DirectoryStore(Path("/nowhere"), "https://dirac.example/", key, clock or StoppedClock())


def signed(of: DirectoryStore) -> dict[str, str]:
    return asyncio.run(of.presign_upload("vo/file", size=5, sha256=DIGEST, expires_in=60)).fields


FIELDS = signed(store())


def test_an_upload_allows_what_was_asked_for() -> None:
    assert store().verify_upload(FIELDS) == Grant("vo/file", 5, DIGEST)


@given(name=st.sampled_from(sorted(FIELDS)), value=st.text())
def test_an_upload_with_any_other_field_is_refused(name: str, value: str) -> None:
    changed = {**FIELDS, name: value}
    if changed == FIELDS:
        return
    with pytest.raises(NotAllowedError):
        store().verify_upload(changed)


@given(taken=st.integers(0, 5), first=st.sampled_from(["key", "size", "sha256", "expires"]))
def test_characters_cannot_move_from_one_field_to_another(taken: int, first: str) -> None:
    names = ["expires", "key", "sha256", "size"]
    second = names[(names.index(first) + 1) % 4]
    cut = FIELDS[first][: len(FIELDS[first]) - taken]
    moved = {**FIELDS, first: cut, second: FIELDS[first][len(cut) :] + FIELDS[second]}
    if moved == FIELDS:
        return
    with pytest.raises(NotAllowedError):
        store().verify_upload(moved)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        store().verify_upload({key: value for key, value in FIELDS.items() if key != name})


def test_another_installation_is_refused() -> None:
    with pytest.raises(NotAllowedError):
        store(key=b"x" * 32).verify_upload(FIELDS)


def test_a_download_is_no_upload() -> None:
    url = asyncio.run(store().presign_download("vo/file", expires_in=60))
    fields = dict(parse_qsl(urlsplit(url).query))
    assert url.startswith("https://dirac.example/api/sandbox-store/download?")
    with pytest.raises(NotAllowedError):
        store().verify_upload({**FIELDS, **fields})


def test_an_upload_expires_and_says_when() -> None:
    clock = StoppedClock()
    clock.moment += timedelta(seconds=60)
    assert store(clock).verify_upload(FIELDS).size == 5
    clock.moment += timedelta(seconds=1)
    with pytest.raises(NotAllowedError, match="expired at 2026-01-02T00:01:00"):
        store(clock).verify_upload(FIELDS)


def test_a_short_signing_key_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="31 bytes"):
        store(key=b"k" * 31)
