"""How a server's settings say where its secrets are, and how it gets them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from dirac.core.errors import InvalidInputError
from dirac.core.secrets import SecretReference, references_in
from dirac.core.time import SystemClock
from dirac.resources.secrets.resolving import ReferredSecret, Secrets, machine_secrets
from dirac.resources.secrets.vault import VaultSettings
from dirac.server.git_settings import git_places

if TYPE_CHECKING:
    from dirac.server.settings import Settings


class SecretsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How references to secrets are followed, those of the configuration as well."""

    seconds: Annotated[
        int,
        Meta(
            ge=1,
            le=86400,
            description="For how long what age, SOPS or Vault gave is believed before they are asked again; "
            "files and variables are read each time",
        ),
    ] = 60
    age_identity_file: Annotated[
        str | None, Meta(description="File with the key of age that opens files of age and SOPS")
    ] = None
    from_configuration: Annotated[
        list[str],
        Meta(
            description="What references of the configuration may lead to, as `KIND:PLACE` with `*`, for "
            "instance `file:/etc/dirac/secrets/identity-*`; never to the server's own secrets"
        ),
    ] = msgspec.field(default_factory=lambda: ["*"])
    vault: VaultSettings = VaultSettings()


def secrets_of(given: SecretsSettings, path: Callable[[str], Path]) -> Secrets:
    """Return what follows references.

    Args:
        given: How.
        path: Makes a path from what is written.
    """
    identity, vault = given.age_identity_file, given.vault
    whole = {
        name: str(path(value))
        for name in ("ca_file", "token_file", "secret_id_file")
        if (value := getattr(vault, name)) is not None
    }
    return machine_secrets(
        path,
        None if identity is None else path(identity),
        msgspec.structs.replace(vault, **whole),
        SystemClock(),
        given.seconds,
    )


def own_references(settings: Settings) -> dict[str, SecretReference]:
    """Return where a server's own secrets are, by the option that says so; also in the old spelling."""
    files = {
        "master_key_file": settings.master_key_file if settings.master_key is None else None,
        "database.url_file": settings.database.url_file,
        "database.migration_url_file": settings.database.migration_url_file,
        "worker.broker_url_file": settings.worker.broker_url_file,
        "sandboxes.settings_file": settings.sandboxes.settings_file,
        "http.tls_key": settings.http.tls_key,
        "metrics.tls_key": settings.metrics.tls_key,
        "secrets.age_identity_file": settings.secrets.age_identity_file,
        "secrets.vault.token_file": settings.secrets.vault.token_file,
        "secrets.vault.secret_id_file": settings.secrets.vault.secret_id_file,
    }
    url = settings.database.url
    given = {
        "master_key": settings.master_key,
        "database.url": url if isinstance(url, SecretReference) else None,
        "database.migration_url": settings.database.migration_url,
        "worker.broker_url": settings.worker.broker_url,
    }
    for role, place in git_places(settings.git).items():
        given |= {f"git.{role}.password": place.password, f"git.{role}.ssh_key": place.ssh_key}
    found = {name: SecretReference(file=file) for name, file in files.items() if file is not None}
    found |= {name: reference for name, reference in given.items() if reference is not None}
    return found | {
        f"sandboxes.settings.{'.'.join(path)}": reference
        for path, reference in references_in(settings.sandboxes.settings)
    }


def either(
    option: str, given: str | SecretReference | None, file: str | None, secrets: Secrets
) -> ReferredSecret | None:
    """Return the secret of an option that may be written in two ways.

    Raises:
        InvalidInputError: It is.
    """
    if given is not None and file is not None:
        raise InvalidInputError(f"{option} and {option}_file are both set", hint="Remove one")
    if file is not None:
        return ReferredSecret(SecretReference(file=file), f"{option}_file", secrets)
    return ReferredSecret(given, option, secrets) if isinstance(given, SecretReference) else None
