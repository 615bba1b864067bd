"""New pilots: their records and secrets, and what their program is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from dirac.resources.computing.base import PilotJob
from dirac.systems.configuration.models import Queue, Tree
from dirac.systems.workload.logic.matching import find_queue
from dirac.systems.workload.logic.pilots import pilot_event
from dirac.systems.workload.logic.planning import Place
from dirac.systems.workload.models import PilotStatus
from dirac.systems.workload.ports.pilots import PilotRow, PilotSecrets
from dirac.systems.workload.ports.running import RunUnit
from dirac.systems.workload.settings import PilotProgram


class PilotMaker:
    """Makes pilots; who starts them, and where, others decide.

    Args:
        secrets: Makes the pilots' secrets.
        program: How a pilot is started.
    """

    def __init__(self, secrets: PilotSecrets, program: PilotProgram) -> None:
        self._secrets = secrets
        self._program = program

    def row(self, place: Place, vo: str, stamp: str, now: datetime, reference: str = "") -> PilotRow:
        """Return the record of a new pilot."""
        return PilotRow(
            pilot_stamp=stamp,
            vo=vo,
            status=PilotStatus.SUBMITTED.value,
            status_reason="",
            grid_type=place.ce_type,
            grid_site=place.site,
            destination_site=place.ce,
            queue=place.name,
            pilot_reference=reference,
            submission_time=now,
            last_update_time=now,
        )

    async def register(self, unit: RunUnit, new: Sequence[PilotRow], actor: str) -> None:
        """Put pilots on record, with their secrets and the beginning of their history."""
        if not new:
            return
        await unit.pilots.add(new)
        expires = unit.now + timedelta(days=self._program.secret_days)
        for pilot in new:
            await unit.pilot_secrets.add(
                pilot.pilot_stamp,
                pilot.vo,
                self._secrets.digest(pilot.pilot_stamp),
                expires,
                site=pilot.grid_site,
                ce=pilot.destination_site,
            )
            place = {"GridSite": pilot.grid_site, "DestinationSite": pilot.destination_site}
            unit.record(pilot_event(pilot, unit, actor, Status=pilot.status, Queue=pilot.queue, **place))

    def secret(self, pilot: PilotRow) -> str:
        """Return the secret of a pilot."""
        return self._secrets.secret(pilot.pilot_stamp)

    def arguments(self, pilot: PilotRow) -> list[str]:
        """Return what follows the name of the pilot's program."""
        return [
            *("-n", pilot.grid_site, "-N", pilot.destination_site, "-Q", pilot.queue),
            *("--wnVO", pilot.vo, "--pilotUUID", pilot.pilot_stamp, "-u", self._program.url),
        ]

    def settings(self, tree: Tree, queue: Queue | None) -> dict[str, object]:
        """Return the content of a pilot's `pilot.json`."""
        settings: dict[str, object] = {
            "cvmfs_locations": tree.pilot.locations,
            "release": tree.pilot.release,
            "idle_limit_seconds": tree.pilot.idle_seconds,
            "max_cycles": tree.pilot.max_jobs,
            "min_disk_mb": tree.pilot.min_disk,
        }
        if self._program.url.startswith("http://"):
            settings["allow_http"] = True
        if queue is not None:
            settings |= {"tags": queue.tags, "cpu_time_left": queue.cpu_time, "processors": queue.processors}
            if queue.max_ram:
                settings["max_ram_mb"] = queue.max_ram
        return settings

    def job(self, pilot: PilotRow, tree: Tree) -> PilotJob:
        """Return a pilot as a computing element takes it."""
        queue = find_queue(tree, pilot.grid_site, pilot.destination_site, pilot.queue)
        settings = self.settings(tree, queue)
        return PilotJob(
            stamp=pilot.pilot_stamp,
            executable=self._program.python,
            arguments=(self._program.program, *self.arguments(pilot)),
            files={
                "pilot.json": json.dumps(settings, indent=1, sort_keys=True).encode(),
                "pilot.secret": self.secret(pilot).encode(),
            },
            processors=queue.processors if queue is not None else 1,
        )
