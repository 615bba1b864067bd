"""Which ways others can read along."""

from __future__ import annotations

import pytest

from dirac.core.addresses import in_the_clear


@pytest.mark.parametrize(
    "url", ["http://iam.example.org", "HTTP://iam:80/x", "http://127.0.0.1.example.org", "http://[", "x"]
)
def test_what_is_not_encrypted_can_be_read(url: str) -> None:
    assert in_the_clear(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://iam.example.org",
        "HTTPS://iam",
        "http://127.0.0.1:8200",
        "http://[::1]:1/",
        "http://LOCALHOST",
    ],
)
def test_what_is_encrypted_or_stays_here_cannot(url: str) -> None:
    assert not in_the_clear(url)
