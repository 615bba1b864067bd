"""Following references to secrets: asked for a bounded time only once, and the last good one if need be."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dirac.core.errors import DiracError, InvalidInputError
from dirac.core.secrets import SecretReference, filled, reference_fault, references_in
from dirac.core.time import Clock
from dirac.resources.secrets.sources import AgeSource, EnvironmentSource, FileSource, SopsSource, Source
from dirac.resources.secrets.vault import VaultSettings, VaultSource

log = logging.getLogger(__name__)

_AGAIN = 5.0  # seconds before somebody who did not answer is asked again

Refused = Callable[[SecretReference], str | None]
"""Says why a reference may not be followed."""


@dataclass
class _Known:
    """What is known of one reference."""

    one: threading.Lock = field(default_factory=threading.Lock)
    value: bytes | None = None
    good_until: float = float("-inf")
    error: DiracError | None = None


class Secrets:
    """Follows references. Safe in several threads.

    Args:
        sources: By kind of reference.
        clock: When to ask again.
        seconds: For how long what costs something to find out is believed.
    """

    def __init__(self, sources: Mapping[str, Source], clock: Clock, seconds: float) -> None:
        self._sources = sources
        self._clock = clock
        self._seconds = seconds
        self._known: dict[SecretReference, _Known] = {}

    @property
    def problems(self) -> dict[str, str]:
        """Why references cannot be followed, by reference; the last good secret of each is in use."""
        return {
            str(reference): str(known.error)
            for reference, known in list(self._known.items())
            if known.error is not None and known.value is not None
        }

    def fresh(self, reference: SecretReference) -> bool:
        """Tell whether a secret can be had without waiting."""
        known = self._known.get(reference)
        return self._sources[reference.kind].cheap or (
            known is not None and self._clock.monotonic() < known.good_until
        )

    def read(self, reference: SecretReference) -> bytes:
        """Return what a reference refers to; the last good secret if it cannot be found out.

        Raises:
            InvalidInputError: It is no reference, or the secret is not where or as it should be.
            UnavailableError: Whoever holds it does not answer.
        """
        known = self._known.setdefault(reference, _Known())
        source = self._sources[reference.kind]
        if (
            known.value is not None
            and known.error is None
            and not source.cheap
            and self._clock.monotonic() < known.good_until
        ):
            return known.value
        with known.one:
            if source.cheap or self._clock.monotonic() >= known.good_until:
                self._ask(reference, source, known)
            if known.value is not None:
                return known.value
            raise known.error or InvalidInputError(f"there is nothing at {reference}")

    def _ask(self, reference: SecretReference, source: Source, known: _Known) -> None:
        try:
            if (fault := reference_fault(_options(reference))) is not None:
                raise InvalidInputError(fault)
            value = source.fetch(reference)
        except DiracError as error:
            if known.value is not None and str(error) != str(known.error or ""):
                log.warning("the secret at %s cannot be had, the last good one is used: %s", reference, error)
            known.error = error
            known.good_until = self._clock.monotonic() + min(_AGAIN, self._seconds)
            return
        if known.error is not None and known.value is not None:
            log.info("the secret at %s can be had again", reference)
        known.value, known.error = value, None
        known.good_until = self._clock.monotonic() + self._seconds


@dataclass(frozen=True)
class ReferredSecret:
    """Implements `dirac.core.secrets.Secret` for a reference; equal to others of the same reference.

    Attributes:
        reference: Where it is.
        option: What names it, for messages.
        secrets: Follows the reference.
        refused: Says why it may not be followed.
    """

    reference: SecretReference
    option: str
    secrets: Secrets = field(repr=False)
    refused: Refused | None = field(default=None, repr=False, compare=False)

    def read(self) -> str:
        """Return what it is now; may wait."""
        return self._decoded(self.read_bytes())

    def read_bytes(self) -> bytes:
        """Return what it is now, which need not be text; may wait."""
        try:
            # Each time: what a path leads to may change.
            if self.refused is not None and (why := self.refused(self.reference)) is not None:
                raise InvalidInputError(why)
            return self.secrets.read(self.reference)
        except DiracError as error:
            raise type(error)(f"{self.option}: {error.message}", hint=error.hint) from None

    async def get(self) -> str:
        """Return what it is now."""
        if self.secrets.fresh(self.reference):
            return self.read()
        return await asyncio.to_thread(self.read)

    def _decoded(self, value: bytes) -> str:
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InvalidInputError(f"{self.option}: {self.reference.place} holds no text") from None


def machine_secrets(
    path: Callable[[str], Path],
    age_identity: Path | None,
    vault: VaultSettings,
    clock: Clock,
    seconds: float,
) -> Secrets:
    """Return what follows references on this machine.

    Args:
        path: Makes a path from what is written.
        age_identity: File with the key of age.
        vault: Where Vault is; its paths are whole.
        clock: The time.
        seconds: For how long what costs something to find out is believed.
    """
    sources: dict[str, Source] = {
        "environment": EnvironmentSource(),
        "file": FileSource(path),
        "age": AgeSource(path, age_identity),
        "sops": SopsSource(path, age_identity),
        "vault": VaultSource(vault, clock),
    }
    return Secrets(sources, clock, seconds)


def fill(
    settings: Mapping[str, object], where: str, secrets: Secrets, refused: Refused | None = None
) -> dict[str, object]:
    """Return settings of a plugin with the secrets that they refer to; may wait.

    Raises:
        InvalidInputError: One is not where it should be, or not as it should be.
        UnavailableError: Whoever holds one does not answer.
    """
    found = {
        path: ReferredSecret(reference, f"{where}.{'.'.join(path)}", secrets, refused).read()
        for path, reference in references_in(settings)
    }
    return dict(filled(settings, found)) if found else dict(settings)


def _options(reference: SecretReference) -> dict[str, str]:
    names = reference.__struct_fields__
    return {name: value for name in names if (value := getattr(reference, name)) is not None}
