"""The built-in identity provider."""

from __future__ import annotations

import unicodedata

import pytest

from dirac.resources.identity.password import PasswordProvider
from dirac.resources.identity.testing import check_conformance


def test_it_keeps_the_promises_of_a_provider() -> None:
    check_conformance(PasswordProvider(cost=2))


def test_digests_of_other_costs_stay_good() -> None:
    kept = PasswordProvider(cost=2).keep("a password")
    assert PasswordProvider(cost=4).matches(kept, "a password")


def test_the_same_letters_from_another_keyboard_are_the_same_password() -> None:
    provider = PasswordProvider(cost=2)
    composed, decomposed = (unicodedata.normalize(form, "Ångström") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert provider.matches(provider.keep(composed), decomposed)


@pytest.mark.parametrize("kept", ["", "scrypt$2$8$1$AA==", "scrypt$3$8$1$AA==$AA==", "plain$2$8$1$AA==$AA=="])
def test_a_broken_entry_opens_no_door(kept: str) -> None:
    assert PasswordProvider(cost=2).matches(kept, "") is False
