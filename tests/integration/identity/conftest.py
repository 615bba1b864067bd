"""An installation whose VOs log in at providers of their own, and with a password."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dirac.server.settings import Settings
from tests.acceptance.served import serving
from tests.acceptance.tokens import mint_all
from tests.services.browser import Browser
from tests.services.dex import CLIENT_ID, Dex
from tests.services.oidc import OidcProvider
from tests.services.scim import ScimServer

CALLBACK = "http://127.0.0.1:9/callback"
VERIFIER = "a-code-verifier-that-is-long-enough-for-anybody"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
CLIENT = "myDIRACClientID"
MEMBERS = "urn:mace:example.org:group:stars:role=member#aai.example.org"


def person(*, active: bool = True, **claims: Any) -> dict[str, Any]:
    """Return somebody as the provider knows them."""
    return {"active": active, "claims": claims}


ADA = person(preferred_username="ada", email="ada@example.org", eduperson_entitlement=[MEMBERS])


class Site:
    """The installation, its configuration and its operator."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self.url = settings.http.url
        self.redirect_uri = f"{self.url}/api/auth/device/complete"
        self.directory = directory
        self.settings = settings
        self.operator = {"Authorization": f"Bearer {mint_all(settings)['operator']}"}
        self.vos: dict[str, dict[str, Any]] = {}

    def secret(self, name: str, value: str) -> str:
        """Put a secret where only the server can read it."""
        file = self.directory / f"{name}.secret"
        file.write_text(value)
        file.chmod(0o600)
        return str(file)

    def configure(self, **vos: dict[str, Any]) -> None:
        """Change some VOs of the configuration."""
        self.vos |= vos
        text = json.dumps({"virtual_organisations": self.vos})
        answer = httpx.post(f"{self.url}/api/config/apply", json={"text": text}, headers=self.operator)
        assert answer.status_code == 200, answer.text

    def device(self, scope: str) -> dict[str, Any]:
        """Begin a login on a device."""
        answer = httpx.post(f"{self.url}/api/auth/device", data={"client_id": CLIENT, "scope": scope})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def token(self, **form: str) -> httpx.Response:
        """Ask the token endpoint."""
        return httpx.post(f"{self.url}/api/auth/token", data={"client_id": CLIENT, **form}, timeout=60)

    def redeem(self, flow: dict[str, Any]) -> httpx.Response:
        """Ask for the tokens of a device."""
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        return self.token(grant_type=grant, device_code=flow["device_code"])

    def refresh(self, tokens: dict[str, Any]) -> httpx.Response:
        """Continue a session."""
        return self.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])

    def who(self, tokens: dict[str, Any]) -> dict[str, Any]:
        """Return what our own token says."""
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        found: dict[str, Any] = httpx.get(f"{self.url}/api/auth/userinfo", headers=headers).json()
        return found

    def authorize(self, browser: Browser, scope: str) -> Browser:
        """Begin a login of a program that has a browser."""
        asked = httpx.QueryParams(
            response_type="code", client_id=CLIENT, redirect_uri=CALLBACK, scope=scope, state="its state",
            code_challenge=CHALLENGE, code_challenge_method="S256",
        )  # fmt: skip
        return browser.open(f"{self.url}/api/auth/authorize?{asked}")

    def exchange(self, code: str) -> httpx.Response:
        """Exchange a program's code for tokens."""
        form = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        return self.token(**form, code=code)

    def login(self, vo: str, subject: str) -> dict[str, Any]:
        """Log in on a device, at a provider of the kind `oidc-provider`, and return the tokens."""
        with Browser() as browser:
            flow = self.device(f"vo:{vo}")
            browser.open(flow["verification_uri_complete"]).submit(decision="allow").log_in_there(subject)
            assert "You are" in browser.text, browser.text
            browser.submit(decision="allow")
            assert "logged in" in browser.text, browser.text
        answer = self.redeem(flow)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An installation without anything of its own; tests share it, and have people of their own."""
    directory = tmp_path_factory.mktemp("site")
    with serving(directory / "server", None) as settings:
        yield Site(settings, directory)


@pytest.fixture(scope="module")
def listing() -> Iterator[ScimServer]:
    """The list of users that astro's provider has."""
    with ScimServer() as server:
        yield server


@pytest.fixture(scope="module")
def _stars(site: Site, listing: ScimServer) -> Iterator[OidcProvider]:
    with OidcProvider(site.redirect_uri, listing=listing) as provider:
        yield provider


@pytest.fixture
def stars(site: Site, _stars: OidcProvider) -> OidcProvider:
    """The provider of astro, with which it is configured anew."""
    if not _stars.pids:
        _stars.start()
    site.configure(astro=astro(site, _stars))
    return _stars


@pytest.fixture(scope="module")
def cells(site: Site) -> Iterator[OidcProvider]:
    """The provider of bio, which is of the same kind, and another one."""
    with OidcProvider(site.redirect_uri) as provider:
        site.configure(
            bio={
                "default_group": "bio_user",
                "groups": {"bio_user": {}},
                "identity_provider": outside(site, "bio", provider.url, provider.password)
                | {"admits": "everybody"},
            }
        )
        yield provider


@pytest.fixture(scope="module")
def atoms(site: Site) -> Iterator[Dex]:
    """The provider of chem, which is a Dex."""
    with Dex(site.redirect_uri, {"carol@chem.example.org": "carol"}) as provider:
        site.configure(
            chem={
                "default_group": "chem_user",
                "groups": {"chem_user": {}},
                "identity_provider": outside(site, "chem", provider.url, provider.password)
                | {"admits": "everybody"},
            }
        )
        yield provider


def outside(site: Site, vo: str, issuer: str, secret: str) -> dict[str, Any]:
    """Return what the configuration says of a provider."""
    return {"issuer": issuer, "client_id": CLIENT_ID, "client_secret_file": site.secret(vo, secret)}


def astro(site: Site, provider: OidcProvider, **more: Any) -> dict[str, Any]:
    """Return the VO astro; `more` is added to its provider."""
    return {
        "default_group": "astro_user",
        "groups": {"astro_user": {}, "astro_admin": {"properties": ["NormalUser", "JobAdministrator"]}},
        "users": {"bob": {"sub": "sub-bob", "groups": ["astro_user"]}},
        "identity_provider": outside(site, "astro", provider.url, provider.password)
        | {
            "groups": {
                "urn:mace:example.org:group:stars": ["astro_user"],
                "/stars/production": ["astro_admin"],
            },
            "scim_url": f"{provider.url}/scim/Users",
        }
        | more,
    }
