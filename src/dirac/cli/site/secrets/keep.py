"""Completing and rotating the secrets of a site; what is decided here is free of files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from dirac.cli.site.secrets.make import make
from dirac.cli.site.secrets.table import PREVIOUS, SECRETS, Secret, needed, previous, retired
from dirac.cli.site.secrets.vault import MADE
from dirac.core.errors import InvalidInputError

Values = dict[str, Any]


def missing(values: Mapping[str, Any], groups: Collection[str], *, own_ca: bool) -> list[Secret]:
    """Return the secrets that a site needs and does not have."""
    return [
        secret
        for secret in needed(groups)
        if (own_ca or secret.name != "vault_pki_ca_key")
        and not all(values.get(name) for name in secret.names)
    ]


def complete(values: Mapping[str, Any], wanted: Sequence[Secret], site: str, now: datetime) -> Values:
    """Return the secrets with new ones among them; those that are there stay."""
    found = dict(values)
    for secret in wanted:
        _add(found, make(secret, site), now)
    return found


def choose(values: Mapping[str, Any], names: Sequence[str]) -> list[Secret]:
    """Return the secrets to rotate: those that are named, else all that can be without harm.

    Raises:
        InvalidInputError: There is no such secret, or the site has none of that name.
    """
    if not names:
        return [secret for secret in SECRETS.values() if secret.by_default and values.get(secret.name)]
    chosen: dict[str, Secret] = {}
    for name in names:
        secret = next((one for one in SECRETS.values() if name in one.names), None)
        if secret is None or not values.get(secret.name):
            present = ", ".join(one for one in SECRETS if values.get(one))
            raise InvalidInputError(f"the site has no secret {name!r}", hint=f"It has {present}")
        chosen[secret.name] = secret
    return list(chosen.values())


def begin(values: Mapping[str, Any], chosen: Sequence[Secret], site: str, now: datetime) -> Values:
    """Return the secrets with new values for the chosen ones, the old ones beside them.

    One whose rotation has begun and not ended keeps its new value: services may have taken it over.
    """
    found = dict(values)
    for secret in chosen:
        if any(previous(name) in found for name in secret.names):
            continue
        for name in secret.names:
            found[previous(name)] = found[name]
        _add(found, make(secret, site), now)
    return found


def rotating(values: Mapping[str, Any]) -> list[Secret]:
    """Return the secrets whose rotation has begun and not ended."""
    return [secret for secret in SECRETS.values() if any(previous(name) in values for name in secret.names)]


def end(values: Mapping[str, Any]) -> Values:
    """Return the secrets without the old values, except those that old things can be opened with only."""
    found = {name: value for name, value in values.items() if not name.startswith(PREVIOUS)}
    for secret in rotating(values):
        if secret.is_kept:
            old = [values[previous(name)] for name in secret.names if previous(name) in values]
            found[retired(secret.name)] = [*values.get(retired(secret.name), []), *old]
    return found


def _add(values: Values, new: Mapping[str, str], now: datetime) -> None:
    values.update(new)
    made = dict(values.get(MADE) or {})
    made.update(dict.fromkeys(new, f"{now:%Y-%m-%dT%H:%M:%SZ}"))
    # Always last, where it does not part the secrets.
    values.pop(MADE, None)
    values[MADE] = made
