"""Secrets in the key-value store, version 2, of Vault or OpenBao.

The server shows a token that a file holds (as Vault's own agent writes one), or logs in as an AppRole, whose
secret identifier a file holds. Both are read again when Vault refuses what they have led to.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import Meta

from dirac.core.addresses import in_the_clear
from dirac.core.errors import DiracError, InvalidInputError, UnavailableError
from dirac.core.secrets import SecretReference, read_secret
from dirac.core.time import Clock
from dirac.resources.secrets.sources import FORBIDDEN, picked
from dirac.transport.http_client_sync import Answer, HttpClient
from dirac.transport.retry import BackOff

_SECONDS = 5.0
_ONCE = BackOff(first=4 * _SECONDS, longest=4 * _SECONDS)
_REFUSALS = frozenset(range(400, 500))


class VaultSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where Vault or OpenBao is, and who this server is there: a token, or an AppRole."""

    url: Annotated[
        str | None, Meta(description="Its address: https, or http on this machine; without it there is none")
    ] = None
    ca_file: Annotated[
        str | None, Meta(description="Authorities of its certificate (PEM); else the machine's")
    ] = None
    mount: Annotated[str, Meta(description="Where its key-value store (version 2) is mounted")] = "secret"
    namespace: Annotated[str | None, Meta(description="Namespace, where it has such")] = None
    token_file: Annotated[
        str | None, Meta(description="File with a token, as the agent of Vault writes it")
    ] = None
    role_id: Annotated[str | None, Meta(description="Identifier of an AppRole, instead of a token")] = None
    secret_id_file: Annotated[str | None, Meta(description="File with the AppRole's secret identifier")] = (
        None
    )
    role_mount: Annotated[str, Meta(description="Where the method AppRole is mounted")] = "approle"


class VaultSource:
    """Reads from one Vault.

    Args:
        settings: Where it is; paths are whole.
        clock: When a login has to be made again.
    """

    cheap = False

    def __init__(self, settings: VaultSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._one = threading.Lock()
        self._token: str | None = None
        self._good_until = float("-inf")

    def fetch(self, reference: SecretReference) -> bytes:
        """Return a value of the newest version of a secret."""
        path = f"/v1/{quote(self._settings.mount)}/data/{quote(reference.place)}"
        with self._one:
            answer = self._send("GET", path, token=self._shown())
            if answer.status == 403:  # the token may have been replaced or ended
                self._token = None
                answer = self._send("GET", path, token=self._shown())
        if answer.status == 404:
            raise InvalidInputError(f"Vault has no {reference.place} below {self._settings.mount}")
        said = _object(answer, f"reading {reference.place}")
        data = said.get("data")
        inner = data.get("data") if isinstance(data, Mapping) else None
        if not isinstance(inner, Mapping):
            raise InvalidInputError(
                f"{self._settings.mount} of Vault is no key-value store of version 2, or "
                f"{reference.place} was deleted there"
            )
        return picked(inner, reference.key or "", f"{reference.place} of Vault")

    def _shown(self) -> str:
        """Return the token to show, after a login if need be."""
        settings = self._settings
        if settings.token_file is not None:
            return _text(settings.token_file, "secrets.vault.token_file")
        if self._token is not None and self._clock.monotonic() < self._good_until:
            return self._token
        if settings.role_id is None or settings.secret_id_file is None:
            raise InvalidInputError(
                "it is not said who this server is at Vault",
                hint="Set secrets.vault.token_file, or role_id and secret_id_file",
            )
        body = {
            "role_id": settings.role_id,
            "secret_id": _text(settings.secret_id_file, "secrets.vault.secret_id_file"),
        }
        answer = self._send("POST", f"/v1/auth/{quote(settings.role_mount)}/login", body=body)
        given = _object(answer, "the login as an AppRole").get("auth")
        token = given.get("client_token") if isinstance(given, Mapping) else None
        if not isinstance(given, Mapping) or not isinstance(token, str):
            raise UnavailableError("Vault gives no token for this AppRole")
        lasts = given.get("lease_duration")
        self._token = token
        # A token without an end is asked for again after an hour; others well before their end.
        self._good_until = self._clock.monotonic() + (
            lasts * 0.7 if isinstance(lasts, int) and lasts else 3600
        )
        return token

    def _send(
        self, method: str, path: str, *, token: str | None = None, body: Mapping[str, str] | None = None
    ) -> Answer:
        headers = {"X-Vault-Request": "true"}
        if token is not None:
            headers["X-Vault-Token"] = token
        if self._settings.namespace is not None:
            headers["X-Vault-Namespace"] = self._settings.namespace
        try:
            with self._client() as client:  # once in a while: no connection is kept
                return client.send(
                    method, path, body=body, headers=headers, authorised=False, accepted=_REFUSALS
                )
        except InvalidInputError:  # of the settings
            raise
        except UnavailableError as error:
            raise UnavailableError(f"Vault does not answer: {error.message}") from None
        except DiracError as error:
            raise UnavailableError(f"Vault does not answer as it should: {error.message}") from None

    def _client(self) -> HttpClient:
        url = self._settings.url
        if url is None:
            raise InvalidInputError("it is not said where Vault is", hint="Set secrets.vault.url")
        if in_the_clear(url):
            raise InvalidInputError(
                f"secrets.vault.url: {url} would carry secrets in the clear", hint="Use https"
            )
        ca_file = None if self._settings.ca_file is None else Path(self._settings.ca_file)
        return HttpClient(url, deadline=_SECONDS, timeout=_SECONDS, back_off=_ONCE, ca_file=ca_file)


def _text(file: str, option: str) -> str:
    try:
        return read_secret(Path(file), option, forbidden=FORBIDDEN).decode("ascii")
    except UnicodeDecodeError:
        raise InvalidInputError(f"{option}: {file} holds no token") from None


def _object(answer: Answer, what: str) -> Mapping[str, Any]:
    try:
        said = msgspec.json.decode(answer.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = None
    if answer.status >= 300 or not isinstance(said, Mapping):
        errors = said.get("errors") if isinstance(said, Mapping) else None
        why = (
            "; ".join(" ".join(str(each).split()) for each in errors)[:300]
            if isinstance(errors, list)
            else ""
        )
        raise UnavailableError(f"Vault refuses {what}: status {answer.status} {why}".rstrip())
    return said
