"""Private OpenID providers: `oidc-provider`, the certified implementation on Node.js."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from .node import NODE, installed
from .packages import Programs
from .scim import ScimServer
from .server import LOOPBACK, Server, greeting

CLIENT_ID = "dirac-test"
ELEMENT_SCOPE = "storage.read:/astro"
"""A scope for storage elements that its client may have."""
_SOURCES = Path(__file__).with_name("oidc_provider")
_HELLO = b"GET /.well-known/openid-configuration HTTP/1.1\r\nHost: localhost\r\n\r\n"


def programs() -> Programs:
    """Return the program, installed if it is not there yet.

    Raises:
        UnavailableError: There is no network.
    """
    wanted = json.loads((_SOURCES / "package.json").read_text())["dependencies"]["oidc-provider"]
    return Programs(installed("oidc-provider", _SOURCES), wanted)


class OidcProvider(Server):
    """One provider; its client is `CLIENT_ID` with `password` as its secret.

    Args:
        redirect_uri: Where people may be sent back to.
        public: Whether the client has no secret.
        jwks: Public keys of the client, which signs assertions with them instead of having a secret.
        audience: Whom tokens for storage elements are for, whoever is asked for; as asked if not given.
        listing: Whose list of users is at ``/scim/Users``.
        signed: Whether what it says of people at the endpoint for that is signed.
    """

    title: ClassVar[str] = "oidc-provider"

    def __init__(
        self,
        redirect_uri: str = "http://127.0.0.1/unused",
        *,
        public: bool = False,
        jwks: dict[str, Any] | None = None,
        audience: str = "",
        listing: ScimServer | None = None,
        signed: bool = False,
    ) -> None:
        super().__init__(programs())
        self.audience = audience
        self.listing = listing
        self.signed = signed
        self.jwks = jwks
        self.public = public
        self.redirect_uri = redirect_uri
        self.people: dict[str, dict[str, Any]] = {}
        self.change({})

    @property
    def url(self) -> str:
        """Its issuer."""
        return f"http://{LOOPBACK}:{self.port}"

    def change(self, people: dict[str, dict[str, Any]]) -> None:
        """Make these its people, by subject: `claims`, and `active` if that is not so."""
        self.people = people
        new = self.directory / "people.new"
        new.write_text(json.dumps(people))
        new.rename(self.directory / "people.json")

    def _launch(self) -> None:
        client = {
            "client_id": CLIENT_ID,
            "client_secret": self.password,
            "redirect_uris": [self.redirect_uri],
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
            "scope": f"openid profile email offline_access scim:read {ELEMENT_SCOPE}",
        }
        if self.jwks is not None:
            del client["client_secret"]
            client |= {"token_endpoint_auth_method": "private_key_jwt", "jwks": self.jwks}
        if self.signed:
            client["userinfo_signed_response_alg"] = "RS256"
        if self.public:
            del client["client_secret"]
            client |= {
                "token_endpoint_auth_method": "none",
                "grant_types": ["authorization_code", "refresh_token"],
            }
        settings = {
            "ISSUER": self.url,
            "PORT": str(self.port),
            "CLIENT": json.dumps(client),
            "PEOPLE": str(self.directory / "people.json"),
            "AUDIENCE": self.audience,
            "NODE_ENV": "production",
        }
        if self.listing is not None:
            settings["LIST"] = self.listing.url.removesuffix("/Users")
            settings["LIST_TOKEN"] = self.listing.password
        self._run(NODE, self.programs.root / "server.mjs", env=settings)

    def _answers(self) -> bool:
        return greeting(self.port, _HELLO) == b"H"
