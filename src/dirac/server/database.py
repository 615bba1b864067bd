"""The database of an installation, as its settings say: opening and migrating it."""

from __future__ import annotations

import ssl

from dirac.core.entropy import Entropy
from dirac.core.time import Clock
from dirac.db.engine import Database
from dirac.db.plan import Outcome, Step, Which, choose, pending_contract, settled, step
from dirac.db.revisions import current, lines
from dirac.resources.secrets.resolving import Secrets
from dirac.server.schema import LOCATIONS
from dirac.server.settings import Settings
from dirac.transport.tls import load_authorities


def open_database(
    settings: Settings,
    *,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
    migrating: bool = False,
    pool_size: int | None = None,
    secrets: Secrets | None = None,
) -> Database:
    """Return the database; connects at its first use.

    Args:
        settings: Where it is.
        clock: Time of its units of work.
        entropy: Source of the identifiers that are made there.
        migrating: Be the user that may change tables.
        pool_size: Connections kept open, if not as many as the settings say.
        secrets: Follows references; made anew if not given.

    Raises:
        InvalidInputError: Its address, or the file of its authority, is missing or of no use.
    """
    secrets = secrets or settings.make_secrets()
    secret = settings.database_secret(secrets, migrating=migrating)
    return Database(
        settings.migration_url(secrets) if migrating else settings.database_url(secrets),
        renewed=None if secret is None else secret.get,
        clock=clock,
        entropy=entropy,
        pool_size=pool_size or settings.database.pool_size,
        tls=_verifying(settings),
    )


def _verifying(settings: Settings) -> ssl.SSLContext | None:
    """Return what believes the one authority that the settings name, and checks the server's name."""
    if settings.database.ca_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_authorities(context, settings.path(settings.database.ca_file), "database.ca_file")
    return context


async def migrate(settings: Settings, which: Which) -> Outcome:
    """Apply the migrations of a phase, as the user that may change tables.

    Raises:
        ConflictError: The phases cannot be kept apart, or the database no longer supports this version.
        UnavailableError: The database cannot be reached, or another migration does not end.
    """
    database = open_database(settings, migrating=True)
    try:
        state, known = await current(database), lines(LOCATIONS)
        if settled(state, known, which):
            return Outcome(changed=False, applied=[], pending_contract=pending_contract(state, known))
        from dirac.db.schema import migrate as bring  # Alembic takes its time to load

        return await bring(database, LOCATIONS, which)
    finally:
        await database.close()


async def plan(settings: Settings, which: Which) -> list[Step]:
    """Return what a migration would do, in order.

    Raises:
        ConflictError: The phases cannot be kept apart, or the database no longer supports this version.
        UnavailableError: The database cannot be reached.
    """
    database = open_database(settings, migrating=True)
    try:
        return [step(one) for one in choose(await current(database), lines(LOCATIONS), which)]
    finally:
        await database.close()
