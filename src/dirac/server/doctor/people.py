"""Identity providers: the people of each virtual organisation can log in."""

from __future__ import annotations

from sqlalchemy import select

from dirac.core import plugins
from dirac.server.doctor.model import Ailment, Check, Patient
from dirac.systems.identity.store.tables import passwords

_BUILT_IN = "password"


def checks(_patient: Patient) -> list[Check]:
    """Return the check of the providers."""
    return [Check("identity.providers", _providers)]


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
