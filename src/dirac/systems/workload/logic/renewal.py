"""Renewing the tokens of pilots, for as long as their records live and their queues allow."""

from __future__ import annotations

from datetime import timedelta

from dirac.core.errors import ConflictError, NotAllowedError
from dirac.core.unit import Units
from dirac.systems.identity.models import Identity, TokenResponse
from dirac.systems.workload.logic.matching import find_queue
from dirac.systems.workload.logic.pilots import longest_life, pilot_event
from dirac.systems.workload.models import PilotStatus
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.pilots import PilotTokens
from dirac.systems.workload.ports.running import Configured, RunUnit
from dirac.systems.workload.states import PILOT_LIFE


class PilotRenewal:
    """Gives a pilot another token in exchange for one that is still good.

    Nothing is rotated: a repetition after a lost answer just gets one more token. What limits all of them is
    the pilot's record, which ends with it, and the time of its queue, counted from the first login.

    Args:
        units: Transactions of the workload system, with the pilots' secrets.
        configuration: Tells what queues are.
        tokens: Issues the tokens.
    """

    def __init__(self, units: Units[RunUnit], configuration: Configured, tokens: PilotTokens) -> None:
        self._units = units
        self._configuration = configuration
        self._tokens = tokens

    async def renew(self, identity: Identity) -> TokenResponse:
        """Return a new token for a pilot.

        Raises:
            NotAllowedError: There is no record of this pilot, or its queue's time is over.
            ConflictError: The pilot has ended.
        """
        tree = (await self._configuration.current()).tree
        async with self._units.write() as unit:
            pilot = (await unit.pilots.find(Visibility(vo=identity.vo), [identity.stamp], lock=False)).get(
                identity.stamp
            )
            if pilot is None:
                raise NotAllowedError(f"there is no record of the pilot {identity.stamp!r}")
            if not PILOT_LIFE.successors(PilotStatus(pilot.status)):
                raise ConflictError(f"pilot {identity.stamp!r} is {pilot.status}; it needs no token any more")
            secret = await unit.pilot_secrets.find(identity.stamp)
            begun = (secret.used if secret is not None else None) or pilot.submission_time
            queue = find_queue(tree, pilot.grid_site, pilot.destination_site, pilot.queue)
            life = longest_life(queue, tree)
            left = int((begun + timedelta(seconds=life) - unit.now).total_seconds())
            if left <= 0:
                raise NotAllowedError(
                    f"pilot {identity.stamp!r} has had the {life} seconds that its queue allows",
                    hint="It ends now; the option wall_time of the queue sets another limit",
                )
            seconds = min(left, tree.pilot.token_seconds)
            unit.record(pilot_event(pilot, unit, identity.subject, TokenSeconds=seconds))
        token = await self._tokens.pilot_token(
            stamp=pilot.pilot_stamp, vo=pilot.vo, seconds=seconds, site=pilot.grid_site
        )
        return TokenResponse(token, seconds, "Bearer")
