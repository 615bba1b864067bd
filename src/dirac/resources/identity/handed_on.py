"""Tokens that a provider gives to our client and that we hand to others: what they say is looked at before.

Whoever gets one may show it anywhere. Providers that do not know the parameter ``audience`` (Keycloak) leave
it unread and give a token for something else, for instance for the client's own account.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

_FOR_ELEMENTS = ("storage.", "compute.")


def unfit(token: str, scope: str, audience: str) -> str:
    """Return why a token is not the one that was asked for, empty if it is.

    A token that is no JWT can be judged only by those who know it.

    Args:
        token: As the provider gave it.
        scope: What was asked for.
        audience: For whom.
    """
    claims = _claims(token)
    if claims is None:
        return ""
    named = claims.get("aud")
    audiences = named if isinstance(named, list) else [] if named is None else [named]
    if audiences != [audience]:
        return (
            f"it is for {', '.join(map(str, audiences)) or 'nobody in particular'}, not for {audience} alone"
        )
    more = _elements(claims.get("scope")) - set(scope.split())
    return f"it is good for {' '.join(sorted(more))} as well" if more else ""


def _elements(scope: Any) -> set[str]:
    """Return the scopes for storage and computing elements; others mean nothing to these."""
    listed = scope.split() if isinstance(scope, str) else scope if isinstance(scope, list) else []
    return {str(one) for one in listed if str(one).startswith(_FOR_ELEMENTS)}


def _claims(token: str) -> dict[str, Any] | None:
    """Return what a JWT says, None for what is none; who verifies it is whom it is shown to."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        said = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    return said if isinstance(said, dict) else None
