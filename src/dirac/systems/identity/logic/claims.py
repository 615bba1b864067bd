"""What tokens say; names are those of DiracX, of RFC 7519, 8693 and 9068, and of OpenID Connect (``sid``)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from dirac.systems.identity.models import Identity, Kind


class Claims(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The claims of an access token.

    Attributes:
        sid: The session that it belongs to: what is revoked with it.
        origin: Identifier of the token that it was exchanged for, the first one if there were several.
        client_id: The confidential client that it was issued to.
        act: The client that acts for the subject (RFC 8693, section 4.1).
        pilot_site: The site of the pilot.
    """

    iss: str
    aud: str
    sub: str
    jti: str
    iat: int
    nbf: int
    exp: int
    kind: Kind
    vo: str
    dirac_group: str
    dirac_properties: list[str]
    preferred_username: str
    dirac_policies: dict[str, Any]
    pilot_stamp: str = ""
    pilot_site: str = ""
    job_id: int | None = None
    attempt: int | None = None
    owner_sub: str = ""
    sid: str = ""
    origin: str = ""
    client_id: str = ""
    act: dict[str, Any] | None = None

    @property
    def scope(self) -> str:
        """What it was issued for, as a scope."""
        parts = [f"vo:{self.vo}"] if self.vo else []
        parts += [f"group:{self.dirac_group}"] if self.dirac_group else []
        return " ".join([*parts, *(f"property:{name}" for name in self.dirac_properties)])

    def identity(self) -> Identity:
        """Return who the bearer is."""
        return Identity(
            vo=self.vo,
            sub=self.sub.partition(":")[2],
            username=self.preferred_username,
            group=self.dirac_group,
            properties=frozenset(self.dirac_properties),
            kind=self.kind,
            token_id=self.jti,
            expires=datetime.fromtimestamp(self.exp, UTC),
            stamp=self.pilot_stamp,
            job_id=self.job_id,
            attempt=self.attempt,
            owner_sub=self.owner_sub,
            site=self.pilot_site,
        )


class RefreshClaims(msgspec.Struct, omit_defaults=True):
    """The claims of a refresh token; what it is good for is in the database.

    Attributes:
        sub: Whose it is, with the VO, so that one question finds the token and its user.
        sid: The session, by which it is known when it has been replaced.

    Those of older versions have neither.
    """

    iss: str
    aud: str
    jti: str
    iat: int
    exp: int
    sub: str = ""
    sid: str = ""
