"""All tables of the installation, and where their migrations are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import MetaData, Table

import dirac.systems
from dirac.db.tables import metadata as mechanisms
from dirac.systems.configuration.store import metadata as configuration
from dirac.systems.identity.store import metadata as identity
from dirac.systems.workload.store.tables import metadata as workload

_SYSTEMS = Path(dirac.systems.__path__[0])

LOCATIONS = tuple(_SYSTEMS / name / "migrations" for name in ("identity", "configuration", "workload"))
METADATA: tuple[MetaData, ...] = (mechanisms, identity, configuration, workload)


def all_tables() -> Iterator[Table]:
    """Yield every table, in no particular order."""
    for metadata in METADATA:
        yield from metadata.tables.values()
