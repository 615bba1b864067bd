"""Seeing to it that a run finds all the secrets it needs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from dirac.cli.site.groups import groups_of
from dirac.cli.site.places import Site
from dirac.cli.site.secrets.keep import complete, missing
from dirac.cli.site.secrets.table import Secret
from dirac.cli.site.secrets.vault import make_key, vault_of


def lacking(site: Site) -> list[Secret]:
    """Return the secrets that a site needs and does not have: those that are new in this version, mostly."""
    own_ca = site.settings().get("site_certificates", "own") == "own"
    values = vault_of(site).read() if site.secrets_file.exists() else {}
    return missing(values, groups_of(site), own_ca=own_ca)


def add(site: Site) -> list[str]:
    """Add to a site's secrets those that it lacks; returns their names."""
    wanted = lacking(site)
    if wanted:
        if not site.secrets_file.exists():
            make_key(site)
        vault = vault_of(site)
        vault.write(complete(vault.read(), wanted, site.name, datetime.now(UTC)))
    return [name for secret in wanted for name in secret.names]


@contextmanager
def borrowed(site: Site) -> Iterator[Sequence[str]]:
    """Give the arguments that let Ansible see values for secrets that a site lacks, without keeping them.

    A run that changes nothing must not change the site's secrets either. The values are in a file for a
    moment, encrypted with the site's key.
    """
    wanted = lacking(site) if site.secrets_file.exists() else []
    if not wanted:
        yield ()
        return
    content = vault_of(site).encrypt(complete({}, wanted, site.name, datetime.now(UTC)))
    handle, name = tempfile.mkstemp(suffix=".yml")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        yield ("-e", f"@{name}")
    finally:
        with suppress(OSError):
            Path(name).unlink()
