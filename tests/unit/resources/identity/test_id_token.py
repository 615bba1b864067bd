"""Which ID tokens are believed, and which are not."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from dirac.core.errors import UnauthenticatedError
from dirac.resources.identity.id_token import ALGORITHMS, ProviderKeys, identified
from dirac.testing.time import FakeClock

ISSUER, CLIENT, NONCE, NOW = "https://provider.test", "dirac", "a nonce", 1_800_000_000
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})


class Provider:
    """The keys that a provider has, as it publishes them."""

    def __init__(self, *keys: Key | dict[str, Any]) -> None:
        self.listed: list[dict[str, Any]] = []
        self.fetched = 0
        self.clock = FakeClock()
        self.keys = ProviderKeys(self._fetch, self.clock)
        self.publish(*keys)

    def publish(self, *keys: Key | dict[str, Any]) -> None:
        self.listed = [key if isinstance(key, dict) else key.as_dict(private=False) for key in keys]

    async def _fetch(self) -> dict[str, Any]:
        self.fetched += 1
        return {"keys": self.listed}

    async def believes(self, token: Any, nonce: str | None = NONCE) -> dict[str, Any]:
        return await identified(token, self.keys, issuer=ISSUER, client_id=CLIENT, nonce=nonce, now=NOW)


def signed(key: Key, alg: str, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Return a token; claims that are None are left out."""
    claims = {"iss": ISSUER, "aud": CLIENT, "sub": "ada", "nonce": NONCE, "iat": NOW, "exp": NOW + 300}
    payload = {name: value for name, value in (claims | changes).items() if value is not None}
    protected = {"alg": alg, "kid": key.kid} | (header or {})
    registry = jws.JWSRegistry(algorithms=[alg])
    return jws.serialize_compact(
        {name: value for name, value in protected.items() if value is not None},
        json.dumps(payload),
        key,
        registry=registry,
    )


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("key", "alg"), [(RSA, "RS256"), (RSA, "RS512"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA")]
)
async def test_signatures_that_only_the_provider_can_make_are_believed(key: Key, alg: str) -> None:
    assert (await Provider(RSA, EC, ED).believes(signed(key, alg)))["sub"] == "ada"


async def test_a_token_without_a_signature_is_refused() -> None:
    claims = {"iss": ISSUER, "aud": CLIENT, "sub": "ada", "nonce": NONCE, "iat": NOW, "exp": NOW + 300}
    for alg in ("none", "None", "NONE"):
        for end in ("", "AAAA"):
            with pytest.raises(UnauthenticatedError):
                await Provider(RSA).believes(f"{encoded({'alg': alg})}.{encoded(claims)}.{end}")


async def test_a_public_key_is_no_secret_to_sign_with() -> None:
    """Key confusion: the text of the public key as the secret of an HMAC."""
    claims = {"iss": ISSUER, "aud": CLIENT, "sub": "ada", "nonce": NONCE, "iat": NOW, "exp": NOW + 300}
    text = f"{encoded({'alg': 'HS256', 'kid': 'rsa'})}.{encoded(claims)}"
    for secret in (RSA.as_pem(private=False), json.dumps(RSA.as_dict(private=False)).encode()):
        made = hmac.digest(secret, text.encode(), "sha256")
        with pytest.raises(UnauthenticatedError):
            await Provider(RSA).believes(f"{text}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}")
    assert not [alg for alg in ALGORITHMS if alg.startswith("HS")]


@pytest.mark.filterwarnings("ignore")
async def test_a_secret_among_the_published_keys_is_not_used() -> None:
    secret = OctKey.generate_key(256, {"kid": "oct"})
    with pytest.raises(UnauthenticatedError):
        await Provider(secret.as_dict(private=True), RSA).believes(signed(secret, "HS256"))


async def test_a_key_is_good_for_its_own_algorithm_and_use_only() -> None:
    for limit in ({"alg": "PS256"}, {"use": "enc"}):
        with pytest.raises(UnauthenticatedError):
            await Provider(RSA.as_dict(private=False) | limit).believes(signed(RSA, "RS256"))


@pytest.mark.filterwarnings("ignore")
async def test_keys_that_are_too_small_or_private_are_not_used() -> None:
    small = RSAKey.generate_key(1024, {"kid": "small"})
    with pytest.raises(UnauthenticatedError):
        await Provider(small).believes(signed(small, "RS256"))
    with pytest.raises(UnauthenticatedError):
        await Provider(RSA.as_dict(private=True)).believes(signed(RSA, "RS256"))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://other.test"},
        {"iss": ISSUER + "/"},
        {"iss": None},
        {"aud": "another"},
        {"aud": []},
        {"aud": None},
        {"aud": [CLIENT, "another"]},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"azp": "another"},
        {"exp": NOW - 61},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"iat": NOW + 61},
        {"iat": None},
        {"nbf": NOW + 61},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
    ],
)
async def test_a_token_for_somebody_or_something_else_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnauthenticatedError, match="ID token is not accepted"):
        await Provider(RSA).believes(signed(RSA, "RS256", **changes))


async def test_one_for_several_is_good_if_it_was_issued_to_us() -> None:
    token = signed(RSA, "RS256", aud=["another", CLIENT], azp=CLIENT)
    assert (await Provider(RSA).believes(token))["sub"] == "ada"


async def test_a_token_that_continues_a_login_needs_no_nonce() -> None:
    assert (await Provider(RSA).believes(signed(RSA, "RS256", nonce=None), nonce=None))["sub"] == "ada"


@pytest.mark.parametrize("token", [None, 7, "", "a.b.c", "é.é.é", "a" * 70000, "....", "e30.e30.e30"])
async def test_what_is_no_token_is_refused(token: Any) -> None:
    with pytest.raises(UnauthenticatedError):
        await Provider(RSA).believes(token)


async def test_another_key_is_no_key() -> None:
    other = RSAKey.generate_key(2048, {"kid": "rsa"})
    with pytest.raises(UnauthenticatedError):
        await Provider(RSA).believes(signed(other, "RS256"))


async def test_new_keys_are_fetched_when_they_are_met_and_old_ones_go() -> None:
    provider = Provider(RSA)
    await provider.believes(signed(RSA, "RS256"))
    await provider.believes(signed(RSA, "RS256"))
    assert provider.fetched == 1
    provider.publish(EC)
    await provider.believes(signed(EC, "ES256"))
    assert provider.fetched == 2
    with pytest.raises(UnauthenticatedError):
        await provider.believes(signed(RSA, "RS256"))


async def test_a_key_that_was_withdrawn_is_not_believed_for_long() -> None:
    provider = Provider(RSA)
    await provider.believes(signed(RSA, "RS256"))
    provider.publish(EC)
    provider.clock.advance(3601)
    with pytest.raises(UnauthenticatedError):
        await provider.believes(signed(RSA, "RS256"))


async def test_a_provider_without_names_for_its_keys_is_understood() -> None:
    bare = {name: value for name, value in RSA.as_dict(private=False).items() if name != "kid"}
    assert (await Provider(bare).believes(signed(RSA, "RS256", {"kid": None})))["sub"] == "ada"
