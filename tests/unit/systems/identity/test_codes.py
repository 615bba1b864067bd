"""Codes, addresses, waits and settings: the small pure parts."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError, NotAllowedError
from dirac.systems.identity import policy
from dirac.systems.identity.logic.authorizations import is_loopback, with_parameters
from dirac.systems.identity.logic.devices import ALPHABET, new_user_code, shown_code, typed_code
from dirac.systems.identity.logic.events import subject_id
from dirac.systems.identity.logic.passwords import wait_after
from dirac.systems.identity.logic.sealing import subkey
from dirac.systems.identity.models import Identity
from dirac.systems.identity.settings import IdentitySettings
from dirac.testing.time import FakeEntropy

SETTINGS = IdentitySettings(issuer="https://dirac.test", master_key=bytes(32))


@given(st.integers(0, 2**32))
def test_a_user_code_survives_being_shown_and_typed(seed: int) -> None:
    code = new_user_code(FakeEntropy(seed))
    assert len(code) == 8
    assert set(code) <= set(ALPHABET)
    assert typed_code(f"  {shown_code(code).lower()} ") == code


@given(st.text())
def test_any_text_can_be_typed(text: str) -> None:
    assert typed_code(text).isalpha() or typed_code(text) == ""


@given(st.integers(0, 10_000))
def test_waits_grow_to_a_limit(count: int) -> None:
    wait, longer = wait_after(count, SETTINGS), wait_after(count + 1, SETTINGS)
    assert 0 <= wait <= longer <= SETTINGS.longest_wait_seconds
    assert (wait == 0) == (count < SETTINGS.free_failures)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://localhost:1234/x", True),
        ("http://127.0.0.1/", True),
        ("http://[::1]:80/", True),
        ("https://localhost/", False),
        ("http://localhost.evil.test/", False),
        ("http://localhost@evil.test/", False),
        ("http://user@localhost/", False),
        ("http://localhost:0/", False),
        ("http://localhost:port/", False),
        ("http:///", False),
    ],
)
def test_loopback_addresses(uri: str, expected: bool) -> None:
    assert is_loopback(urlsplit(uri)) is expected


@given(st.dictionaries(st.sampled_from("abc"), st.text(min_size=1, max_size=20)))
def test_parameters_arrive_as_they_were_sent(parameters: dict[str, str]) -> None:
    uri = with_parameters("http://localhost/back?kept=1", **parameters)
    found = {name: values[0] for name, values in parse_qs(urlsplit(uri).query, strict_parsing=True).items()}
    assert found == {"kept": "1", **parameters}


def test_a_long_name_fits_into_the_history() -> None:
    assert subject_id("short") == "short"
    assert len(subject_id("x" * 255)) == 64
    assert subject_id("x" * 255) != subject_id("x" * 254)


def test_each_purpose_has_its_own_key() -> None:
    keys = {subkey(master, purpose) for master in (b"a" * 32, b"b" * 32) for purpose in ("x", "y")}
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("issuer", "key"),
    [
        ("https://dirac.test", b"short"),
        ("https://dirac.test/", bytes(32)),
        ("dirac.test", bytes(32)),
        ("ftp://dirac.test", bytes(32)),
    ],
)
def test_settings_that_could_not_work_are_refused(issuer: str, key: bytes) -> None:
    with pytest.raises(InvalidInputError):
        IdentitySettings(issuer=issuer, master_key=key)


def test_the_master_key_is_never_printed() -> None:
    assert "master_key" not in repr(SETTINGS)


def test_everything_in_the_settings_has_a_help_text() -> None:
    assert all(field.metadata["help"] for field in IdentitySettings.__dataclass_fields__.values())


def test_the_contact_is_the_hosts_unless_there_is_one() -> None:
    assert SETTINGS.contact == "mailto:security@dirac.test"


@pytest.mark.parametrize("kind", ["pilot", "job"])
def test_pilots_and_jobs_have_no_sessions(kind: str) -> None:
    identity = Identity(
        vo="vo",
        sub="s",
        username="",
        group="",
        properties=frozenset(),
        kind=kind,  # type: ignore[arg-type]  # one of its literals
        token_id="",
        expires=datetime.now(UTC),
    )
    policy.anybody(identity)
    with pytest.raises(NotAllowedError):
        policy.person(identity)
