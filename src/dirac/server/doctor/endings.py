"""What ends and is in the database: signing keys that are replaced in time, proxies of users."""

from __future__ import annotations

from datetime import timedelta

from dirac.server.census import proxies_by_end, signing_since
from dirac.server.doctor.model import Ailment, Check, Patient
from dirac.systems.identity.settings import KEY_SECONDS

_LATE = timedelta(days=1)


def checks(_patient: Patient) -> list[Check]:
    """Return the checks of what ends."""
    return [Check("expiry.keys", _keys), Check("expiry.proxies", _proxies)]


async def _keys(patient: Patient) -> str:
    async with patient.read() as tx:
        since, now = await signing_since(tx), tx.now
    if since is None:
        return "there is no signing key yet: the first server makes one"
    due = since + timedelta(seconds=KEY_SECONDS)
    if now > due + _LATE:
        raise Ailment(
            f"the newest signing key was to be replaced at {due:%Y-%m-%d %H:%M} UTC",
            cause="The periodic work identity.rotate_keys does not come, or fails",
            mend="dirac task list; mend what it says; dirac task retry ID",
        )
    return f"replaced at {due:%Y-%m-%d %H:%M} UTC at the latest"


async def _proxies(patient: Patient) -> str:
    days = patient.settings.expiry.proxy_days
    async with patient.read() as tx:
        found = await proxies_by_end(tx, timedelta(days=days))
    ending = {vo: int(number) for (vo, ends), number in found.items() if ends == "soon"}
    if ending:
        raise Ailment(
            f"proxies end within {days} days: " + ", ".join(f"{vo} {ending[vo]}" for vo in sorted(ending)),
            cause="Jobs of their owners will have no access to storage that wants proxies",
            mend="Ask the owners to leave new ones: dirac proxy upload",
            passable=True,
        )
    return f"{int(sum(found.values()))} kept, none ends within {days} days"
