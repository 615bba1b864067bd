"""Settings of the identity system, handed over by the composition root."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from dirac.core.errors import InvalidInputError

_SHORTEST_MASTER_KEY = 32
_MINUTE, _HOUR, _DAY = 60, 3600, 86400

KEY_SECONDS = 30 * _DAY
"""Age at which a signing key is replaced, if nothing else is said."""


def _option(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings:
    """What the identity system needs to know; all lengths of time are in seconds."""

    issuer: str = field(metadata={"help": "Public address of the installation, without a slash at its end"})
    master_key: bytes = field(
        repr=False, metadata={"help": "At least 32 random bytes; all keys come from it"}
    )
    audience: str = _option("dirac", "Claim `aud` of access tokens")
    client_ids: frozenset[str] = _option(
        frozenset({"dirac", "myDIRACClientID"}), "Programs that may ask for tokens; DiracX's is the second"
    )
    redirect_uris: frozenset[str] = _option(
        frozenset(), "Where browsers may be sent back to with a code, compared letter by letter"
    )
    loopback_redirects: bool = _option(
        True, "Whether they may be sent to any port of their own machine (RFC 8252)"
    )
    access_token_seconds: int = _option(20 * _MINUTE, "Life of a user's access token")
    refresh_token_seconds: int = _option(12 * _HOUR, "A session that is not used for this long is over")
    session_seconds: int = _option(7 * _DAY, "A session is over after this long, used or not")
    refresh_grace_seconds: int = _option(
        30, "A client whose answer was lost may repeat its refresh for this long"
    )
    pilot_token_seconds: int = _option(
        _DAY, "Life of a pilot's token, unless the configuration says otherwise"
    )
    pilot_grace_seconds: int = _option(60, "A pilot whose answer was lost may repeat its login for this long")
    service_token_seconds: int = _option(_HOUR, "Life of the token of a registered client")
    payload_token_seconds: int = _option(
        14 * _DAY, "The longest life of a job's token; else it lives as long as its pilot may"
    )
    revocation_refresh_seconds: int = _option(
        5, "How often a server looks for new revocations: so long may a revoked token still be taken"
    )
    longest_token_seconds: int = _option(14 * _DAY, "No token of any kind lives longer")
    key_seconds: int = _option(KEY_SECONDS, "A signing key is replaced at this age")
    key_lead_seconds: int = _option(
        5 * _MINUTE, "A new key is published this long before it signs, so that all servers know it"
    )
    key_refresh_seconds: int = _option(_MINUTE, "How often a server looks for new keys")
    device_seconds: int = _option(10 * _MINUTE, "Time a user has to confirm a login on a device")
    device_interval: int = _option(2, "Time between two questions of a waiting device")
    code_seconds: int = _option(2 * _MINUTE, "Life of an authorisation code")
    free_failures: int = _option(10, "Failed logins of a user before there is a wait between two")
    first_wait_seconds: int = _option(5, "The first such wait; each further failure doubles it")
    longest_wait_seconds: int = _option(15 * _MINUTE, "The longest such wait")
    forget_failures_seconds: int = _option(_HOUR, "Failed logins older than this are forgotten")
    proxy_request_seconds: int = _option(
        10 * _MINUTE, "Time a user has to sign a key that was made for a proxy"
    )
    longest_proxy_seconds: int = _option(_DAY, "No proxy that is handed out lives longer")
    security_contact: str = _option("", "Contact of security.txt, as a URL; security@HOST if empty")

    def __post_init__(self) -> None:
        """Refuse what could not work.

        Raises:
            InvalidInputError: The master key is too short, or the issuer is not an address.
        """
        if len(self.master_key) < _SHORTEST_MASTER_KEY:
            raise InvalidInputError(
                f"the master key has {len(self.master_key)} bytes", hint="It needs 32 random ones at least"
            )
        parts = urlsplit(self.issuer)
        if parts.scheme not in ("http", "https") or not parts.hostname or self.issuer.endswith("/"):
            raise InvalidInputError(
                f"the issuer {self.issuer!r} is no address of a server",
                hint="Example: https://dirac.example.org",
            )

    @property
    def contact(self) -> str:
        """Whom to tell about a weakness (RFC 9116; the address by default is RFC 2142's)."""
        return self.security_contact or f"mailto:security@{urlsplit(self.issuer).hostname}"
