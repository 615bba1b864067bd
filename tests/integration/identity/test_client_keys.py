"""A real provider at which our client proves who it is with a key, and which gives it tokens for elements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from joserfc import jws
from joserfc.jwk import RSAKey

from dirac.server.doctor import people
from dirac.server.doctor.model import Patient, examine
from dirac.systems.identity.logic.discovery import EXCHANGE_GRANT
from dirac.systems.identity.logic.exchange import ACCESS_TOKEN
from tests.integration.identity.conftest import ADA, Site, astro
from tests.services.oidc import CLIENT_ID, ELEMENT_SCOPE, OidcProvider

KEY = RSAKey.generate_key(2048, {"kid": "ours"})
SE = "https://se.example.org"


@pytest.fixture(scope="module")
def keyed(site: Site) -> Iterator[OidcProvider]:
    """The provider of astro, which has our public key."""
    with OidcProvider(site.redirect_uri, jwks={"keys": [KEY.as_dict(private=False)]}) as provider:
        provider.change({"sub-ada": ADA})
        vo = astro(site, provider)
        outside = vo["identity_provider"]
        del outside["client_secret_file"]
        outside["client_key"] = {"file": site.secret("key", KEY.as_pem(private=True).decode())}
        outside["client_key_id"] = "ours"
        tokens = {"audiences": [SE], "issued_by": "provider", "groups": {"astro_user": {"read": ["/"]}}}
        site.configure(astro=vo | {"capability_tokens": tokens})
        yield provider


def _exchanged(site: Site, token: str, scope: str) -> httpx.Response:
    subject = {"subject_token": token, "subject_token_type": ACCESS_TOKEN}
    return site.token(grant_type=EXCHANGE_GRANT, scope=scope, audience=SE, **subject)


def test_a_key_logs_people_in_and_gets_tokens_for_elements(site: Site, keyed: OidcProvider) -> None:
    tokens = site.login("astro", "sub-ada")
    tokens = site.refresh(tokens).json()
    assert site.who(tokens)["sub"] == "astro:sub-ada", "each request had an assertion of its own"
    first = _exchanged(site, tokens["access_token"], ELEMENT_SCOPE)
    assert first.status_code == 200, first.text
    assert first.json()["expires_in"] <= 600
    claims = jws.extract_compact(first.json()["access_token"].encode()).payload
    assert json.loads(claims)["aud"] == SE
    again = _exchanged(site, tokens["access_token"], ELEMENT_SCOPE)
    assert again.json()["access_token"] == first.json()["access_token"], "kept, not asked for each time"
    shown = {"Authorization": f"Bearer {first.json()['access_token']}"}
    assert httpx.get(f"{keyed.url}/scim/Users", headers=shown).status_code == 401, "good for what it is for"
    refused = _exchanged(site, tokens["access_token"], "storage.read:/elsewhere")
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable"), refused.text
    assert CLIENT_ID in refused.text, "whom the provider has to allow it"


async def test_the_doctor_says_that_the_key_cannot_be_used(site: Site, keyed: OidcProvider) -> None:
    file = Path(site.vos["astro"]["identity_provider"]["client_key"]["file"])
    content = file.read_text()
    patient = Patient(site.directory / "dirac.toml", site.settings)
    try:
        file.write_text("no key")
        found = [one.detail for one in await examine(patient, people.checks(patient)) if not one.ok]
    finally:
        file.write_text(content)
    assert any("client_key" in detail for detail in found), found


def test_a_token_that_is_for_somebody_else_is_given_to_nobody(site: Site) -> None:
    with OidcProvider(site.redirect_uri, audience="https://account.example.org") as unaware:
        unaware.change({"sub-ada": ADA})
        tokens = {"audiences": [SE], "issued_by": "provider", "groups": {"astro_user": {"read": ["/"]}}}
        site.configure(astro=astro(site, unaware) | {"capability_tokens": tokens})
        user = site.login("astro", "sub-ada")
        refused = _exchanged(site, user["access_token"], ELEMENT_SCOPE)
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable"), refused.text
    assert "it is for https://account.example.org" in refused.text
