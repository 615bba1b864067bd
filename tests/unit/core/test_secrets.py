"""What refers to a secret, and what looks like one."""

from __future__ import annotations

from typing import Any

import pytest

from dirac.core.secrets import (
    SecretReference,
    filled,
    is_reference,
    names_a_secret,
    reference_fault,
    references_in,
    secret_text,
)


@pytest.mark.parametrize(
    "good",
    [
        {"file": "secrets/a"},
        {"file": "a.json", "key": "db/password"},
        {"environment": "A_1"},
        {"age": "a.age"},
        {"sops": "a.yaml", "key": "a/b"},
        {"vault": "dirac/bio", "key": "password"},
        {"vault": "dirac/bio", "key": "password", "file": None},
    ],
)
def test_what_says_one_place_is_a_reference(good: dict[str, Any]) -> None:
    assert reference_fault(good) is None
    assert is_reference(good)


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"key": "a"},
        {"file": "a", "environment": "B"},
        {"value": "hunter2"},
        {"file": "a", "value": "hunter2"},
        {"file": ""},
        {"file": ["hunter2"]},
        {"file": "a\x00b"},
        {"environment": "hunter2!"},
        {"environment": "A", "key": "b"},
        {"sops": "a"},
        {"vault": "a"},
        {"vault": "../sys/hunter2", "key": "a"},
        {"vault": "a/./b", "key": "a"},
        {"vault": "/a", "key": "a"},
        {"vault": "a?list=hunter2", "key": "a"},
        {"vault": "a#b", "key": "a"},
    ],
)
def test_anything_else_is_none_and_is_not_repeated(bad: dict[str, Any]) -> None:
    fault = reference_fault(bad)
    assert fault is not None
    assert "hunter2" not in fault


def test_a_reference_is_shown_by_its_place() -> None:
    assert str(SecretReference(vault="dirac/bio", key="iam")) == "vault:dirac/bio#iam"
    assert str(SecretReference(environment="A")) == "environment:A"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://me:pw@host/", "password"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "private key"),
        ("AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQ", "private key"),
        ("hvs.CAESIABCDEFGHIJKLMNOPQRST", "token"),
        ("eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl", "token"),
        ("https://host:8443/a@b", None),
        ("-----BEGIN CERTIFICATE-----", None),
        ("hvs.short", None),
    ],
)
def test_secrets_are_known_by_their_looks(text: str, said: str | None) -> None:
    found = secret_text(text)
    assert (found is None) if said is None else (found is not None and said in found)


def test_only_references_below_the_name_of_a_secret_are_followed() -> None:
    settings = {
        "password": {"file": "a"},
        "source": {"file": "b"},
        "more": [{"apiKey": {"environment": "C"}}],
    }
    found = dict(references_in(settings))
    assert found == {
        ("password",): SecretReference(file="a"),
        ("more", "0", "apiKey"): SecretReference(environment="C"),
    }
    assert filled(settings, {("password",): "x", ("more", "0", "apiKey"): "y"}) == {
        "password": "x",
        "source": {"file": "b"},
        "more": [{"apiKey": "y"}],
    }


def test_a_space_token_is_none() -> None:
    assert names_a_secret("space_token") is False
    assert names_a_secret("token") is True
