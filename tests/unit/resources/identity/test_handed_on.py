"""What is looked at in a token of a provider before it is handed to somebody."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from dirac.resources.identity.handed_on import unfit

SE = "https://se.example.org"
SCOPE = "storage.read:/astro"


def token(**claims: Any) -> str:
    """Return a JWT that nobody has signed."""
    return ".".join(("e30", base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("="), ""))


@pytest.mark.parametrize(
    "good",
    [
        token(aud=SE, scope=SCOPE),
        token(aud=[SE], scope=f"{SCOPE} profile email"),
        token(aud=SE),
        "opaque",
        "a.b.c",
        "a..c",
        token(aud=SE, scope=[SCOPE]),
    ],
)
def test_what_was_asked_for_is_fit_and_what_cannot_be_read_is_not_judged(good: str) -> None:
    assert unfit(good, SCOPE, SE) == ""


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (token(scope=SCOPE), "nobody in particular"),
        (token(aud="account", scope=SCOPE), "for account, not for https://se.example.org alone"),
        (token(aud=[SE, "account"], scope=SCOPE), "for https://se.example.org, account"),
        (token(aud="https://wlcg.cern.ch/jwt/v1/any", scope=SCOPE), "jwt/v1/any"),
        (token(aud=SE, scope=f"{SCOPE} storage.modify:/"), "good for storage.modify:/ as well"),
        (token(aud=SE, scope=[SCOPE, "compute.create"]), "good for compute.create as well"),
    ],
)
def test_a_token_that_is_good_for_more_is_unfit(bad: str, why: str) -> None:
    assert why in unfit(bad, SCOPE, SE)
