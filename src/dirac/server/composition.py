"""The composition root: the only place that knows all systems and puts them together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from fastapi import APIRouter

from dirac.core import plugins
from dirac.core.entropy import SystemEntropy
from dirac.core.errors import UnauthenticatedError
from dirac.core.tasks import Task
from dirac.core.time import SystemClock
from dirac.db.engine import Database, DatabaseUnits
from dirac.db.outbox import Outbox
from dirac.db.revisions import require_current
from dirac.db.transaction import Transaction
from dirac.resources.secrets.resolving import Secrets
from dirac.resources.storage.base import ObjectStore
from dirac.resources.storage.directory import UPLOAD_PATH, DirectoryStore
from dirac.server import doors, health, housekeeping
from dirac.server.database import open_database
from dirac.server.elements import ConfiguredElements, make_element
from dirac.server.git_settings import git_branches
from dirac.server.providers import rules_of
from dirac.server.references import Limits
from dirac.server.schema import LOCATIONS
from dirac.server.settings import Settings
from dirac.systems.configuration import api as configuration_api
from dirac.systems.configuration import tasks as configuration_tasks
from dirac.systems.configuration.checks import Checker
from dirac.systems.configuration.logic import Configuration
from dirac.systems.configuration.managing import Managed, Managing
from dirac.systems.configuration.store import ConfigurationUnit
from dirac.systems.identity import api as identity_api
from dirac.systems.identity import tasks as identity_tasks
from dirac.systems.identity.logic.assembly import IdentitySystem
from dirac.systems.identity.logic.certificates import NO_WISH, Wish
from dirac.systems.identity.logic.provider_claims import LoginRules
from dirac.systems.identity.models import Identity, Property
from dirac.systems.identity.settings import IdentitySettings
from dirac.systems.identity.store.pilots import PilotSecretStore
from dirac.systems.identity.store.registry import RegistryStore
from dirac.systems.identity.store.unit import IdentityUnit
from dirac.systems.workload import api as workload_api
from dirac.systems.workload import tasks as workload_tasks
from dirac.systems.workload.api.jobs import SUBMIT_PATH
from dirac.systems.workload.logic.assembly import WorkloadSystem
from dirac.systems.workload.settings import PilotProgram
from dirac.systems.workload.store.pilot_records import PilotRecordStore
from dirac.systems.workload.store.unit import WorkloadUnit
from dirac.transport.authorities import Authorities, ChainJudge
from dirac.transport.drain import Drain
from dirac.transport.peer import Peer

_OPERATOR = frozenset({Property.SERVICE_ADMINISTRATOR, Property.CS_ADMINISTRATOR, Property.OPERATOR})
_OWN_PAGES = frozenset({"none", "same-origin"})  # of Sec-Fetch-Site
SUBJECT_HEADER, GROUP_HEADER, VO_HEADER = "x-dirac-subject", "x-dirac-group", "x-dirac-vo"
_RENEW_BEFORE = timedelta(days=2)


@dataclass(frozen=True)
class Installation:
    """An installation, put together.

    Attributes:
        provided: What routes and tasks may ask for, by type.
        unlimited: Paths with a limit of their own for the size of a body.
        drain: Announces the end of this process: those who wait for work are answered.
        secrets: Follows the references to secrets.
        authorities: Whose certificates clients may show; None if they are not asked for any.
        managing: Tells who looks after which site, at no cost.
    """

    settings: Settings
    version: str
    database: Database
    outbox: Outbox
    identity: IdentitySystem
    elements: ConfiguredElements
    routers: Sequence[APIRouter]
    tasks: Mapping[str, Task]
    provided: Mapping[type, Any]
    unlimited: frozenset[str]
    drain: Drain
    secrets: Secrets
    managing: Callable[[], Awaitable[Managing]]
    authorities: Authorities | None = None

    def provide(self, kind: type) -> Any:
        """Return the object of a type."""
        return self.provided[kind]

    async def authenticate(self, token: str) -> Identity:
        """Return whose access token this is.

        Raises:
            UnauthenticatedError: It is none of ours, or expired.
        """
        return await self._managing(await self.identity.authenticate(token))

    async def _managing(self, identity: Identity) -> Identity:
        """Say what somebody looks after, by the configuration of this moment."""
        if identity.kind != "user":
            return identity
        places = (await self.managing()).places(identity)
        return msgspec.structs.replace(identity, manages=places) if places else identity

    async def authenticate_peer(self, peer: Peer, headers: Mapping[str, str]) -> Identity:
        """Return who has shown a certificate, or for whom a trusted host acts.

        Raises:
            UnauthenticatedError: Nobody who is known here, or it is not good.
            NotAllowedError: It is not for what was asked for.
        """
        if headers.get("sec-fetch-site", "none") not in _OWN_PAGES:
            # A browser shows its user's certificate also for what a page of somebody else's asks.
            raise UnauthenticatedError("a page of another site asks, and has no token", hint="Log in there")
        wish = NO_WISH
        if SUBJECT_HEADER in headers or GROUP_HEADER in headers or VO_HEADER in headers:
            wish = Wish(headers.get(SUBJECT_HEADER), headers.get(GROUP_HEADER), headers.get(VO_HEADER))
        return await self._managing(await self.identity.certificates.authenticate(peer.certificates, wish))

    async def begin(self) -> None:
        """Prepare for the first request.

        Raises:
            UnavailableError: The database is not at this version.
        """
        await require_current(self.database, LOCATIONS)
        await self.identity.keys.prepare()

    async def close(self) -> None:
        """Let go of everything."""
        await self.elements.close()
        await self.identity.accounts.close()
        await self.database.close()


def build(settings: Settings) -> Installation:
    """Put an installation together from one server's settings."""
    clock, entropy = SystemClock(), SystemEntropy()
    secrets, limits = settings.make_secrets(), Limits(settings)
    database = open_database(settings, clock=clock, entropy=entropy, secrets=secrets)
    master_key = settings.master_key_bytes(secrets)

    async def pilot_life() -> int:
        return (await configuration.current()).tree.pilot.token_seconds

    authorities = settings.client_authorities()

    async def login_rules(vo: str) -> LoginRules:
        return rules_of((await configuration.current()).tree, vo, settings, secrets)

    identity = IdentitySystem(
        units=DatabaseUnits(database, lambda tx: IdentityUnit(tx, PilotRecordStore(tx))),
        clock=clock,
        entropy=entropy,
        settings=IdentitySettings(
            issuer=settings.http.url,
            master_key=master_key,
            access_token_seconds=settings.tokens.user_seconds,
            service_token_seconds=settings.tokens.service_seconds,
        ),
        pilot_life=pilot_life,
        judge=None if authorities is None else ChainJudge(authorities, settings.vomsdir()),
        rules=login_rules,
    )
    configuration = Configuration(
        DatabaseUnits(database, lambda tx: ConfigurationUnit(tx, RegistryStore(tx))),
        clock=clock,
        registry=identity.registry,
        checker=Checker(plugins.names, lambda kind, name, given: _check(settings, kind, name, given), limits),
        issuer=settings.http.url,
    )
    branches = git_branches(settings, secrets)
    git = configuration.beside_git(branches.get("source"), branches.get("mirror"))
    elements = ConfiguredElements(configuration, settings, secrets, limits)
    objects = make_store(settings, secrets, master_key)
    units = DatabaseUnits(database, lambda tx: WorkloadUnit(tx, PilotSecretStore(tx)))
    workload = WorkloadSystem(
        work=units,
        runs=units,
        configuration=configuration,
        tokens=identity.tokens,
        secrets=identity.pilot_secrets,
        elements=elements,
        objects=objects,
        clock=clock,
        entropy=entropy,
        program=PilotProgram(
            url=settings.http.url, program=settings.pilots.program, python=settings.pilots.python
        ),
    )
    configuration.effects.append(workload.change_effects)
    database.committed.append(workload.signals.committed)

    async def audited(transaction: Transaction) -> None:
        await identity.audit.closing(IdentityUnit(transaction), transaction.recorded)

    database.closing.append(audited)
    database.committed.append(lambda _transaction: identity.audit.committed())
    declared = (*identity_tasks.TASKS, *workload_tasks.TASKS, *housekeeping.TASKS)
    if git.used:
        declared = (*declared, *configuration_tasks.GIT_TASKS)
    tasks = {task.name: task for task in declared}
    outbox = Outbox(database, tasks)
    drain = Drain()
    drain.listeners.append(workload.signals.end)
    provided = {Database: database, Outbox: outbox, Configuration: configuration, Drain: drain}
    provided |= identity.provided() | workload.provided()
    routers = [health.health, health.operations]
    routers += [*identity_api.routers, *configuration_api.routers, *workload_api.routers]
    if isinstance(objects, DirectoryStore):
        provided[DirectoryStore] = objects
        routers.append(workload_api.store_router)
    routers.append(doors.router)
    doors.furnish(provided, routers)
    return Installation(
        settings=settings,
        version=version("dirac-interware"),
        database=database,
        outbox=outbox,
        identity=identity,
        elements=elements,
        routers=routers,
        tasks=tasks,
        provided=provided,
        unlimited=frozenset({UPLOAD_PATH, SUBMIT_PATH}),
        drain=drain,
        secrets=secrets,
        managing=Managed(configuration.current).current,
        authorities=authorities,
    )


def make_store(
    settings: Settings, secrets: Secrets | None = None, master_key: bytes | None = None
) -> ObjectStore:
    """Return the store of the sandboxes."""
    secrets = secrets or settings.make_secrets()
    kind, given = settings.sandboxes.type, settings.sandbox_settings(secrets)
    if kind == "directory" and not given:
        master_key = master_key or settings.master_key_bytes(secrets)
        key = HKDF(SHA256(), 32, salt=None, info=b"dirac sandbox store").derive(master_key)
        return DirectoryStore(settings.path("sandboxes"), settings.http.url, key)
    store: ObjectStore = plugins.load("dirac.storage", kind).from_settings(given)
    store.renewed = lambda: settings.sandbox_settings(secrets)
    return store


def _check(settings: Settings, kind: str, name: str, given: Mapping[str, Any]) -> None:
    make_element(settings, kind, name, given)


async def operator_token(settings: Settings, old: str | None, *, seconds: int) -> str | None:
    """Return a token for the operator of this installation, None if the old one is good for days."""
    installation = build(settings)
    try:
        await installation.begin()
        if old is not None:
            try:
                known = await installation.authenticate(old)
            except UnauthenticatedError:
                pass
            else:
                if known.expires - installation.database.clock.now() > _RENEW_BEFORE:
                    return None
        return await installation.identity.tokens.service_token(_OPERATOR, seconds)
    finally:
        await installation.close()


async def set_passwords(settings: Settings, passwords: Mapping[str, Mapping[str, str]]) -> None:
    """Set passwords of the built-in identity provider, by VO and user."""
    installation = build(settings)
    try:
        for vo, users in passwords.items():
            for user, password in users.items():
                await installation.identity.passwords.set(vo, user, password)
    finally:
        await installation.close()
