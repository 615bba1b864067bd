"""The built-in identity provider."""

from __future__ import annotations

import unicodedata

import pytest

from dirac.resources.identity.password import PasswordProvider
from dirac.resources.identity.testing import check_conformance


def test_it_keeps_the_promises_of_a_provider() -> None:
    check_conformance(PasswordProvider(memory=8))


def test_digests_of_other_costs_stay_good() -> None:
    kept = PasswordProvider(memory=8).keep("a password")
    assert PasswordProvider(memory=16).matches(kept, "a password")


def test_digests_of_scrypt_stay_good_and_are_to_be_replaced() -> None:
    old = "scrypt$2$8$1$YWFhYWFhYWFhYWFhYWFhYQ==$8DtGTuKVcUB9PNxrjdcP/E0UoW9WfsHlZ5TmjKdQAFE="
    provider = PasswordProvider(memory=8)
    assert provider.matches(old, "a password")
    assert not provider.matches(old, "another one")
    assert provider.outdated(old)
    assert not provider.outdated(provider.keep("a password"))
    assert provider.outdated(PasswordProvider(memory=16).keep("a password")), "of other costs"


def test_digests_are_argon2id() -> None:
    assert PasswordProvider(memory=8).keep("a password").startswith("$argon2id$v=19$m=8,t=2,p=1$")


def test_the_same_letters_from_another_keyboard_are_the_same_password() -> None:
    provider = PasswordProvider(memory=8)
    composed, decomposed = (unicodedata.normalize(form, "Ångström") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert provider.matches(provider.keep(composed), decomposed)


@pytest.mark.parametrize(
    "kept", ["", "scrypt$2$8$1$AA==", "scrypt$3$8$1$AA==$AA==", "plain$2$8$1$AA==$AA==", "$argon2id$v=19$m=8"]
)
def test_a_broken_entry_opens_no_door(kept: str) -> None:
    assert PasswordProvider(memory=8).matches(kept, "") is False
