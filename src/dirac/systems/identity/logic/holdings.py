"""Who holds what: logins by user, secrets and tokens of pilots by site, the runs that pilots hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from dirac.core.errors import NotAllowedError
from dirac.core.unit import Units
from dirac.systems.identity import policy
from dirac.systems.identity.models import Identity
from dirac.systems.identity.models_tokens import (
    HeldNodes,
    HeldPilot,
    HeldRun,
    HeldSession,
    HeldSite,
    HeldUser,
    HeldVO,
    Holders,
)
from dirac.systems.identity.ports.pilots import (
    IssuedSecretRecord,
    NodeCredentialRecord,
    PilotSecretRecord,
    PilotState,
    SecretCount,
)
from dirac.systems.identity.ports.sessions import RefreshRecord
from dirac.systems.identity.ports.tokens import ClientRecord
from dirac.systems.identity.ports.unit import Unit


class Holdings:
    """Tells who holds credentials.

    Args:
        units: Where everything is.
    """

    def __init__(self, units: Units[Unit]) -> None:
        self._units = units

    async def tree(self, identity: Identity, vo: str | None, site: str | None, limit: int) -> Holders:
        """Return who holds credentials, by VO.

        Counts are of all; of logins and of pilots the newest so many are named. How many questions the
        database is asked does not depend on how many there are.

        Args:
            identity: Who asks: others than operators see their own VO, and a site that they look after.
            vo: Only this VO.
            site: Only pilots at this site, and no logins.
            limit: Logins, and pilots, to name at most.

        Raises:
            NotAllowedError: The VO is not the caller's.
        """
        everything = policy.is_operator(identity)
        if site is not None and identity.looks_after(site):
            everything = True  # of that site: then neither logins nor clients are told
        if not everything:
            policy.sees_people(identity)
        if not everything and vo not in (None, identity.vo):
            raise NotAllowedError(f"what members of {vo!r} hold is not yours to see")
        whose = vo if everything else identity.vo
        async with self._units.read() as unit:
            sessions = [] if site else await unit.sessions.newest(whose, unit.now, limit + 1)
            names = await unit.registry.user_names([(one.vo, one.sub) for one in sessions[:limit]])
            counts = await unit.pilot_secrets.places(whose, site, unit.now)
            issued = await unit.issued_secrets.good(whose, site, unit.now)
            pilots = await unit.pilot_secrets.held(whose, site, unit.now, limit + 1)
            clients = [] if site else await unit.clients.all()
            stamps = [pilot.stamp for pilot in pilots[:limit]]
            nodes = await unit.nodes.good(site) if everything and vo is None else []
            states = await unit.pilot_records.states(stamps) if unit.pilot_records and stamps else {}
        users = _users(sessions[:limit], names)
        sites = _sites(counts, issued, pilots[:limit], states, nodes)
        owned = _clients(clients, whose)
        vos = sorted({*users, *sites, *owned})
        return Holders(
            [HeldVO(name, users.get(name, []), sites.get(name, []), owned.get(name, [])) for name in vos],
            complete=max(len(sessions), len(pilots)) <= limit,
        )


def _users(sessions: Sequence[RefreshRecord], names: dict[tuple[str, str], str]) -> dict[str, list[HeldUser]]:
    found: defaultdict[tuple[str, str], list[HeldSession]] = defaultdict(list)
    for one in sessions:
        held = HeldSession(one.jti, one.client_id, str(one.scope), one.created, one.expires)
        found[one.vo, one.sub].append(held)
    users: defaultdict[str, list[HeldUser]] = defaultdict(list)
    for (vo, sub), held_by in sorted(found.items()):
        users[vo].append(HeldUser(sub, names.get((vo, sub), ""), held_by))
    return users


def _sites(
    counts: Sequence[SecretCount],
    issued: Sequence[IssuedSecretRecord],
    pilots: Sequence[PilotSecretRecord],
    states: dict[str, PilotState],
    nodes: Sequence[NodeCredentialRecord],
) -> dict[str, list[HeldSite]]:
    used: defaultdict[tuple[str, str], int] = defaultdict(int)
    unused, left = used.copy(), used.copy()
    for count in counts:
        used[count.vo, count.site] += count.used
        unused[count.vo, count.site] += count.unused
    for secret in issued:
        left[secret.vo, secret.site] += secret.uses - secret.used
    named: defaultdict[tuple[str, str], list[HeldPilot]] = defaultdict(list)
    for one in pilots:
        if one.used is not None:
            state = states.get(one.stamp) or PilotState("", [])
            held = [HeldRun(job, attempt) for job, attempt in state.runs]
            pilot = HeldPilot(one.stamp, one.ce or "", one.used, state.status, held)
            named[one.vo, one.site or ""].append(pilot)
    sites: defaultdict[str, list[HeldSite]] = defaultdict(list)
    credentials: defaultdict[tuple[str, str], list[HeldNodes]] = defaultdict(list)
    for node in nodes:
        credentials["", node.site].append(HeldNodes(node.credential_id, node.ce, node.created))
    for place in sorted({*used, *left, *credentials}):
        held_there = named.get(place, []), credentials.get(place, [])
        sites[place[0]].append(HeldSite(place[1], unused[place], left[place], used[place], *held_there))
    return sites


def _clients(clients: Sequence[ClientRecord], vo: str | None) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for client in clients:
        if vo is None or client.vo == vo:
            found[client.vo].append(client.client_id)
    return found
