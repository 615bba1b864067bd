"""What only looks like a token, a secret or a form: it never opens a door, and never makes a defect.

Hypothesis makes the examples, the same ones each time; they are tried one after the other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dirac.systems.identity.logic.discovery import EXCHANGE_GRANT
from dirac.systems.identity.logic.exchange import ACCESS_TOKEN, SUBJECT
from tests.contract.systems.identity.test_clients import register

if TYPE_CHECKING:
    from tests.contract.systems.identity.conftest import World

T = TypeVar("T")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_json = st.recursive(
    _scalars, lambda deep: st.lists(deep, max_size=3) | st.dictionaries(st.text(), deep), max_leaves=4
)
_algorithms = st.sampled_from(
    [
        *("none", "None", "nOnE", "HS256", "HS512", "RS256", "ES256", "EdDSA", "Ed25519", "ed25519", ""),
        7,
        None,
        [],
    ]
)
_claims = st.fixed_dictionaries(
    {},
    optional={
        "iss": st.sampled_from(["https://elsewhere.example", "https://dirac.test/", ""]) | _json,
        "aud": st.sampled_from(["dirac:refresh", "elsewhere", ["dirac"], ["dirac", "x"]]) | _json,
        "exp": st.sampled_from([0, -1, 10**30, "tomorrow"]) | _json,
        "nbf": st.just(10**11) | _json,
        "sub": st.sampled_from(["bio:sub-ada", "astro", "", ":"]) | _json,
        "vo": st.sampled_from(["bio", ""]) | _json,
        "kind": st.sampled_from(["service", "root"]) | _json,
        "dirac_properties": st.just(["ServiceAdministrator"]) | _json,
        "jti": _json,
        "extra": _json,
    },
)


def examples(strategy: st.SearchStrategy[T], number: int) -> list[T]:
    """Return so many examples, the same ones in each run."""
    found: list[T] = []

    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: T) -> None:
        found.append(example)

    collect()
    return found


def encoded(value: Any) -> str:
    """Return a value as a part of a token."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(part: str) -> Any:
    """Return the value of a part of a token."""
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def forged(good: str, public: bytes, number: int) -> Iterator[str]:
    """Yield tokens with other headers, claims and signatures than a good one has."""
    head, payload, signature = good.split(".")
    header, claims = decoded(head), decoded(payload)
    kids = st.sampled_from([header["kid"], "refresh", "../../etc/passwd", "", None, 1, ["x"]]) | st.text()
    drawn = examples(st.tuples(_algorithms, kids, _claims, st.integers(0, 4), st.binary(max_size=80)), number)
    for algorithm, kid, changes, how, noise in drawn:
        signed = f"{encoded({**header, 'alg': algorithm, 'kid': kid})}.{encoded({**claims, **changes})}"
        mac = hmac.digest(public, signed.encode(), hashlib.sha256)
        # Without a change in what was signed, its own signature would be right.
        own = signature if changes or algorithm != header["alg"] else ""
        long = hashlib.sha256(noise).digest() * 2
        yield f"{signed}.{(own, '', encoded(mac), encoded(noise), encoded(long))[how]}"


async def _everywhere(world: World, token: str, auth: tuple[str, str]) -> None:
    """Show a token at every door, and demand that none opens."""
    shown = await world.http.get("/api/auth/userinfo", headers={"Authorization": f"Bearer {token}".encode()})
    assert shown.status_code == 401, token
    assert "www-authenticate" in shown.headers
    refreshed = await world.refresh(token)
    assert (refreshed.status_code, refreshed.json()["error"]) in (
        (400, "invalid_grant"),
        (400, "invalid_request"),
    )
    exchanged = await world.token(
        grant_type=EXCHANGE_GRANT, subject_token=token, subject_token_type=ACCESS_TOKEN
    )
    assert (exchanged.status_code, exchanged.json()["error"]) == (400, "invalid_request"), token
    looked = await world.http.post("/api/auth/introspect", data={"token": token}, auth=auth)
    assert looked.json() == {"active": False} or looked.json()["error"] == "invalid_request", token
    revoked = await world.http.post("/api/auth/revoke", data={"token": token})
    assert revoked.status_code in (200, 400)


async def test_forged_tokens_open_no_door(world: World) -> None:
    auth, login = await register(world), await world.login()
    good = login["access_token"]
    kid = decoded(good.split(".")[0])["kid"]
    keys = (await world.http.get("/.well-known/jwks.json")).json()["keys"]
    public = next(key["x"] for key in keys if key["kid"] == kid)
    raw = base64.urlsafe_b64decode(public + "=")
    for secret in (raw, public.encode(), b""):
        for token in forged(good, secret, 40):
            await _everywhere(world, token, auth)
    assert (await world.get("/api/auth/userinfo", good)).status_code == 200, "none was taken for it"


async def test_forged_refresh_tokens_open_no_door(world: World) -> None:
    auth, login = await register(world), await world.login()
    good = login["refresh_token"]
    keys = (await world.http.get("/.well-known/jwks.json")).json()["keys"]
    for secret in (base64.urlsafe_b64decode(keys[0]["x"] + "="), b"refresh", b""):
        for token in forged(good, secret, 40):
            await _everywhere(world, token, auth)
    assert (await world.refresh(good)).status_code == 200


async def test_tokens_with_a_letter_changed_open_no_door(world: World) -> None:
    auth, login = await register(world), await world.login()
    for good in (login["access_token"], login["refresh_token"]):
        places = st.integers(0, len(good) - 2)  # the last letter has bits that no signature has
        for place, letter in examples(st.tuples(places, st.sampled_from("Aa0_-.=+/ ~é")), 150):
            if good[place] != letter:
                await _everywhere(world, f"{good[:place]}{letter}{good[place + 1 :]}", auth)
    assert (await world.refresh(login["refresh_token"])).status_code == 200


@pytest.mark.parametrize("path", ["/api/auth/token", "/api/auth/introspect", "/api/auth/revoke"])
async def test_garbage_instead_of_a_form(world: World, path: str) -> None:
    name, secret = await register(world)
    basic = base64.b64encode(f"{name}:{secret}".encode()).decode()
    for content in examples(st.binary(max_size=200), 100):
        for header in ({}, {"Authorization": f"Basic {basic}"}):
            answer = await world.http.post(path, content=content, headers={**FORM, **header})
            assert answer.status_code in (400, 401), content
            assert answer.json()["error"] in ("invalid_request", "invalid_client", "unsupported_grant_type")


async def test_forms_of_any_values(world: World) -> None:
    auth = await register(world)
    grants = st.sampled_from([EXCHANGE_GRANT, "client_credentials", "refresh_token", "authorization_code"])
    values = st.text(max_size=30) | st.sampled_from(
        [SUBJECT, ACCESS_TOKEN, "astro:sub-ada", "vo:astro", "dirac"]
    )
    names = ("client_id", "client_secret", "subject_token", "subject_token_type", "scope", "code", "resource")
    names += ("refresh_token", "audience", "requested_token_type", "actor_token", "redirect_uri")
    drawn = examples(st.tuples(grants, st.dictionaries(st.sampled_from(names), values)), 300)
    for number, (grant, fields) in enumerate(drawn):
        content = urlencode({"grant_type": grant, **fields}, errors="surrogatepass")
        answer = await world.http.post(
            "/api/auth/token", content=content, headers=FORM, auth=auth if number % 2 else None
        )
        assert answer.status_code < 500, fields
        if answer.status_code == 200:
            assert number % 2, "only who has shown a secret gets anything"
        else:
            assert answer.json()["error"].isidentifier()


async def test_a_parameter_that_is_there_twice(world: World) -> None:
    answer = await world.http.post(
        "/api/auth/token", content="grant_type=client_credentials&grant_type=refresh_token", headers=FORM
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_logins_of_pilots_of_any_form(world: World) -> None:
    text = st.text(max_size=60) | st.builds(lambda a, b: f"dirac-pilot.{a}.{b}", st.text(), st.text())
    logins = st.fixed_dictionaries(
        {"pilot_stamp": text, "pilot_secret": text, "vo": st.text() | st.just("astro")}
    )
    for login in examples(logins, 150):
        content = json.dumps(login).encode()
        headers = {"Content-Type": "application/json"}
        answer = await world.http.post("/api/pilots/token", content=content, headers=headers)
        assert answer.status_code in (400, 401, 422), login
