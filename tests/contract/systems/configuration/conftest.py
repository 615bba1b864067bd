"""A configuration on each database, with what is around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from dirac.core.errors import InvalidInputError
from dirac.core.unit import Event
from dirac.db.engine import Database, DatabaseUnits
from dirac.systems.configuration.checks import Checker
from dirac.systems.configuration.logic import Configuration
from dirac.systems.configuration.ports import ConfigurationUnit as Unit
from dirac.systems.configuration.store import ConfigurationUnit, metadata
from dirac.systems.identity.models import Identity, Property, RegisteredHost, RegisteredVO
from dirac.testing.time import FakeClock

MakeIdentity = Callable[..., Identity]
_PLUGINS = {"dirac.computing": ["local"], "dirac.identity_provider": ["oidc"]}


class RecordingRegistry:
    """Leaves an event in the transaction, as the real one leaves rows."""

    async def replace(
        self,
        unit: Unit,
        vos: Sequence[RegisteredVO],
        *,
        hosts: Sequence[RegisteredHost],
        actor: str,
        scope: Collection[str] | None = None,
    ) -> None:
        unit.record(
            Event(
                kind="test.registry.replaced",
                vo="",
                subject_kind="test",
                subject_id="registry",
                time=unit.now,
                actor=actor,
                data={"vos": [vo.name for vo in vos]},
            )
        )


def _check_computing(plugin: str, name: str, settings: Mapping[str, Any]) -> None:
    if unknown := set(settings) - {"host"}:
        raise InvalidInputError(f"{plugin} {name} has no setting {unknown.pop()!r}")


@asynccontextmanager
async def ready(url: str) -> AsyncIterator[tuple[Callable[[], Configuration], Identity]]:
    """Give what makes configurations on a database that is emptied before, and who may do everything."""
    database = Database(url)
    try:
        async with database.write() as tx:
            for table in reversed(metadata.sorted_tables):
                await tx.execute(table.delete())
        yield (
            lambda: _configuration(DatabaseUnits(database, ConfigurationUnit), FakeClock()),
            _administrator(),
        )
    finally:
        await database.close()


def _configuration(units: Any, clock: FakeClock) -> Configuration:
    return Configuration(
        units,
        clock=clock,
        registry=RecordingRegistry(),
        checker=Checker(lambda kind: _PLUGINS.get(kind, []), _check_computing),
        issuer="https://dirac.example",
    )


def _administrator() -> Identity:
    return Identity(
        vo="",
        sub="alice",
        username="alice",
        group="user",
        properties=frozenset({Property.SERVICE_ADMINISTRATOR}),
        kind="service",
        token_id="t",
        expires=datetime(2027, 1, 1, tzinfo=UTC),
    )


@pytest.fixture
def make_configuration(database: Database, clock: FakeClock) -> Callable[..., Configuration]:
    """Make configurations on one database, as several processes of an installation do."""

    def make(units: Any = None) -> Configuration:
        return _configuration(units or DatabaseUnits(database, ConfigurationUnit), clock)

    return make


@pytest.fixture
def configuration(make_configuration: Callable[..., Configuration]) -> Configuration:
    """A configuration of a new installation."""
    return make_configuration()


@pytest.fixture
def make_identity() -> MakeIdentity:
    """Make identities of all kinds; users of astro without rights unless told otherwise."""

    def make(vo: str = "astro", *properties: Property, kind: Any = "user") -> Identity:
        return Identity(
            vo=vo,
            sub="alice",
            username="alice",
            group="user",
            properties=frozenset(properties or (Property.NORMAL_USER,)),
            kind=kind,
            token_id="t",
            expires=datetime(2027, 1, 1, tzinfo=UTC),
        )

    return make


@pytest.fixture
def admin() -> Identity:
    """Somebody who may do everything here."""
    return _administrator()
