"""Identity providers: the people of each virtual organisation can log in."""

from __future__ import annotations

import asyncio

from sqlalchemy import select

from dirac.core import plugins
from dirac.core.errors import DiracError
from dirac.core.time import SystemClock
from dirac.server.doctor.model import Ailment, Check, Patient
from dirac.server.providers import provider_settings
from dirac.systems.configuration.models import IdentityProvider
from dirac.systems.identity.logic.assembly import installed_outside_provider
from dirac.systems.identity.store.tables import passwords

_BUILT_IN = "password"


def checks(_patient: Patient) -> list[Check]:
    """Return the checks of the providers."""
    return [Check("identity.providers", _providers), Check("identity.outside", _outside)]


async def _outside(patient: Patient) -> str:
    tree = await patient.tree()
    given = {
        name: vo.identity_provider
        for name, vo in tree.virtual_organisations.items()
        if not isinstance(vo.identity_provider, str)
    }
    if not given:
        return "no virtual organisation has an outside identity provider"
    asked = await asyncio.gather(*(_ask(patient, vo, provider) for vo, provider in given.items()))
    if faults := [fault for fault in asked if fault]:
        raise Ailment(
            "; ".join(faults),
            cause="Members of these cannot log in, and sessions end once what was said last is too old",
            mend="Compare `identity_provider` with ISSUER/.well-known/openid-configuration",
        )
    return "; ".join(f"{vo}: {provider.issuer} answers" for vo, provider in given.items())


async def _ask(patient: Patient, vo: str, given: IdentityProvider) -> str:
    """Return what is wrong with a provider, nothing if it can be used."""
    made = installed_outside_provider(
        given.type, provider_settings(given, patient.settings, patient.settings.make_secrets()), SystemClock()
    )
    try:
        await made.probe()
    except DiracError as error:
        return f"{vo}: {error}"
    finally:
        await made.close()
    return ""


async def _providers(patient: Patient) -> str:
    tree = await patient.tree()
    if not tree.virtual_organisations:
        raise Ailment(
            "there is no virtual organisation",
            cause="No configuration was applied yet",
            mend="dirac config apply FILE",
        )
    async with patient.read() as tx:
        rows = await tx.execute(select(passwords.c.vo, passwords.c.sub))
        known = {(row.vo, row.sub) for row in rows}
    lacking: list[str] = []
    for name, vo in tree.virtual_organisations.items():
        if isinstance(vo.identity_provider, str):
            plugins.load("dirac.identity", vo.identity_provider)
        users = {user.sub or login for login, user in vo.users.items() if not user.suspended}
        if vo.identity_provider == _BUILT_IN and users and not any((name, user) in known for user in users):
            lacking.append(name)
    if lacking:
        raise Ailment(
            f"nobody of {', '.join(lacking)} has a password",
            cause="The users are in the configuration, but their accounts were not made",
            mend=f"""echo '{{"{lacking[0]}": ["USER"]}}' | dirac-server accounts --passwords FILE""",
        )
    return f"{len(tree.virtual_organisations)} virtual organisations, {len(known)} accounts"
