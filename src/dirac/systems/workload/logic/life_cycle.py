"""What happens to jobs after their submission: reports, signs of life, orders, lost runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from dirac.core.errors import InvalidInputError, NotAllowedError, TooLargeError
from dirac.core.unit import Event, Units
from dirac.systems.configuration.models import Workload
from dirac.systems.identity.models import Identity, Property
from dirac.systems.workload.logic.deeds import Deeds, Found, find, is_run, standing_of
from dirac.systems.workload.logic.pilots import change_pilots
from dirac.systems.workload.logic.verbs import carry_out
from dirac.systems.workload.logic.waiting import Classes
from dirac.systems.workload.models import (
    HeartbeatData,
    JobCommand,
    JobStatus,
    JobStatusUpdate,
    JobVerb,
    Outcome,
    PilotMetadata,
    PilotStatus,
)
from dirac.systems.workload.ports.running import Beat, Configured, JobRow, RunUnit
from dirac.systems.workload.states import HELD, Report, judge, lost, series_slot

Updates = Mapping[int, Mapping[datetime, JobStatusUpdate]]

SYSTEM = ":workload"
"""Who acts when nobody asked for it, in the history."""

MOST_JOBS = 10_000
_BATCH = 200
_MOST_BATCHES = 50
_MOST_PARAMETERS = 100
_NAME_LENGTH = 128
_VALUE_LENGTH = 65_536
_SITE_LENGTH = 128
# What a job is found by; `Site` is the only one of them that a run may set.
_ATTRIBUTES = frozenset(
    (
        *("JobID", "JobType", "JobGroup", "JobName", "Owner", "OwnerGroup", "OwnerDN", "VO"),
        *("SubmissionTime", "RescheduleTime", "LastUpdateTime", "StartExecTime", "HeartBeatTime"),
        *("EndExecTime", "Status", "MinorStatus", "ApplicationStatus", "UserPriority"),
        *("RescheduleCounter", "VerifiedFlag", "AccountedFlag"),
    )
)


class JobLifeCycle:
    """Carries out what is reported of jobs and wanted of them.

    Args:
        units: Transactions of the workload system.
        configuration: Tells how long leases last and how often a job may be rescheduled.
        classes: The classes in memory.
    """

    def __init__(self, units: Units[RunUnit], configuration: Configured, classes: Classes) -> None:
        self._units = units
        self._configuration = configuration
        self._classes = classes

    async def _rules(self) -> Workload:
        return (await self._configuration.current()).tree.workload

    async def set_statuses(self, identity: Identity, updates: Updates, *, force: bool = False) -> Outcome:
        """Apply reports to jobs; what is refused of them is said per job, and the rest counts.

        Args:
            identity: A run, a pilot, or a person who may change the jobs.
            updates: Reports by time, by job.
            force: Let any state follow any other.

        Raises:
            NotAllowedError: `force`, and the caller is no job administrator.
            InvalidInputError: A time has no time zone.
            NotFoundError: There is none of the jobs.
            ConflictError: The caller is a run that is not the present one any more.
        """
        if force and (identity.kind != "user" or Property.JOB_ADMINISTRATOR not in identity.properties):
            raise NotAllowedError("only a job administrator may force a state upon a job")
        _check_number(updates)
        reports = {job_id: _reports(job_id, by_time) for job_id, by_time in updates.items()}
        run, rules = is_run(identity), await self._rules()
        async with self._units.write() as unit:
            found = await find(unit, identity, list(reports))
            found.require_any()
            deeds = Deeds(unit, identity.subject, rules, self._classes)
            for job_id, row in found.rows.items():
                standing = standing_of(row, run=run)
                judgement = judge(standing, reports[job_id], now=unit.now, force=force)
                deeds.add(row, judgement, run=run)
            await deeds.write()
            return deeds.outcome(found)

    async def heartbeat(self, identity: Identity, beats: Mapping[int, HeartbeatData]) -> list[JobCommand]:
        """Take signs of life: they extend the leases of runs, and bring orders back.

        A run that is over, or that the pilot has not any more, is told to end, however often it asks.

        Raises:
            NotFoundError: There is none of the jobs; pilots are told to kill them instead.
            ConflictError: The caller is a run that is not the present one any more.
        """
        _check_number(beats)
        run, rules = is_run(identity), await self._rules()
        async with self._units.write() as unit:
            found = await find(unit, identity, list(beats))
            if identity.kind != "pilot":
                found.require_any()
            deeds = Deeds(unit, identity.subject, rules, self._classes)
            lease = unit.now + timedelta(seconds=rules.lease_seconds)
            signs = []
            for job_id, row in found.rows.items():
                if row.status in (JobStatus.MATCHED, JobStatus.STALLED):
                    alive = JobStatusUpdate(Status=JobStatus.RUNNING, Source="Heartbeat")
                    standing = msgspec.structs.replace(standing_of(row, run=False), newest=None)
                    deeds.add(row, judge(standing, [Report(time=unit.now, update=alive)], now=unit.now))
                signs.append(_beat(row, beats[job_id], lease, unit.now, rules.heartbeat_seconds))
            await deeds.write()
            await unit.runs.beat(signs)
            await unit.control.note(signs)
            orders = await unit.runs.deliver({row.job_id: row.attempt for row in found.rows.values()})
        commands = [JobCommand(order.job_id, order.command, order.arguments) for order in orders]
        told = {command.job_id for command in commands if command.command == "Kill"}
        over = [job_id for job_id, row in found.rows.items() if job_id not in told and _is_over(row, run=run)]
        gone = found.missing if identity.kind == "pilot" else []
        return commands + [JobCommand(job_id, "Kill") for job_id in (*over, *gone)]

    async def set_metadata(self, identity: Identity, updates: Mapping[int, Mapping[str, Any]]) -> None:
        """Set the site and free parameters of jobs: of all of them, or of none.

        Raises:
            InvalidInputError: A value is no plain one, or an attribute may not be set like this.
            NotFoundError: There is no such job among them.
            ConflictError: The caller is a run that is not the present one any more.
        """
        _check_number(updates)
        values = {job_id: _parameters(job_id, given) for job_id, given in updates.items()}
        async with self._units.write() as unit:
            found = await find(unit, identity, list(updates))
            if found.missing:
                Found({}, found.missing).require_any()
            sites = {job_id: named.pop("Site") for job_id, named in values.items() if "Site" in named}
            await unit.runs.set_site(sites)
            await unit.runs.set_parameters(values)
            for job_id, row in found.rows.items():
                names = sorted(updates[job_id])
                unit.record(
                    Event(
                        kind="workload.job.metadata",
                        vo=row.vo,
                        subject_kind="job",
                        subject_id=str(job_id),
                        time=unit.now,
                        actor=identity.subject,
                        attempt=row.attempt or None,
                        data={"names": names} | ({"Site": sites[job_id]} if job_id in sites else {}),
                    )
                )

    async def kill(self, identity: Identity, job_ids: Sequence[int]) -> Outcome:
        """Kill jobs. Those that run are Killed at once and told so with their next sign of life.

        The run confirms it when it has ended; if it does not, the job's log says so (`settle_kills`).

        Raises:
            NotFoundError: There is none of them. The same holds for what follows.
        """
        return await self._do(identity, job_ids, JobVerb.KILL)

    async def delete(self, identity: Identity, job_ids: Sequence[int]) -> Outcome:
        """Delete jobs; those that are not over are killed first."""
        return await self._do(identity, job_ids, JobVerb.DELETE)

    async def hold(self, identity: Identity, job_ids: Sequence[int]) -> Outcome:
        """Keep jobs that wait from pilots."""
        return await self._do(identity, job_ids, JobVerb.HOLD)

    async def release(self, identity: Identity, job_ids: Sequence[int]) -> Outcome:
        """Let jobs wait again that are on hold, or that wait before their next run."""
        return await self._do(identity, job_ids, JobVerb.RELEASE)

    async def reschedule(self, identity: Identity, job_ids: Sequence[int], *, reset: bool = False) -> Outcome:
        """Let jobs wait again for another run, at once; a present one is given up.

        Args:
            identity: Who wants it.
            job_ids: The jobs.
            reset: Count reschedules from zero again, instead of counting one more.
        """
        return await self._do(identity, job_ids, JobVerb.RESET if reset else JobVerb.RESCHEDULE)

    async def _do(self, identity: Identity, job_ids: Sequence[int], verb: JobVerb) -> Outcome:
        _check_number(job_ids)
        rules = await self._rules()
        async with self._units.write() as unit:
            found = await find(unit, identity, list(job_ids))
            found.require_any()
            if verb in (JobVerb.RESCHEDULE, JobVerb.RESET):
                await self._classes.refresh(unit)
            deeds = Deeds(unit, identity.subject, rules, self._classes)
            carry_out(verb, found.rows.values(), deeds, rules, unit.now)
            await deeds.write()
            return deeds.outcome(found)

    async def expire_leases(self, entry: str | None = None) -> int:
        """Give up the runs that have shown no sign of life for too long; return how many there were.

        Args:
            entry: The background task's outbox entry.
        """
        rules = await self._rules()
        count = 0
        for _ in range(_MOST_BATCHES):
            async with self._units.write() as unit:
                rows = await unit.runs.overdue(_BATCH)
                if rows:
                    await self._give_up(unit, rows, rules)
                count += len(rows)
                if entry is not None and len(rows) < _BATCH:
                    unit.complete(entry)
            if len(rows) < _BATCH:
                break
        return count

    async def _give_up(self, unit: RunUnit, rows: Sequence[JobRow], rules: Workload) -> None:
        await self._classes.refresh(unit)
        deeds = Deeds(unit, SYSTEM, rules, self._classes)
        for row in rows:
            standing = standing_of(row, run=False)
            runs_left = row.reschedule_counter < rules.max_reschedules
            delay = _delay(row.reschedule_counter, rules) if runs_left else 0
            if row.status in HELD:
                judgement = lost(
                    standing, runs_left=runs_left, now=unit.now, source="Leases", delayed=delay > 0
                )
                counter = row.reschedule_counter + 1 if runs_left else None
                deeds.add(row, judgement, counter=counter, outcome="Lost", delay=delay)
        await _doubt_pilots(unit, rows)
        await deeds.write()


async def _doubt_pilots(unit: RunUnit, rows: Sequence[JobRow]) -> None:
    """Count no longer on the pilots that have let all their runs be lost; who is alive asks for work again.

    Else a job would wait for one that went down with its host, and that no computing element speaks of.
    """
    stamps = sorted({row.pilot_stamp for row in rows if row.pilot_stamp})
    if stamps and (silent := await unit.pilots.silent(stamps)):
        doubt = PilotMetadata(Status=PilotStatus.UNKNOWN, StatusReason="no sign of life from its last run")
        await change_pilots(unit, silent, dict.fromkeys(silent, doubt), SYSTEM)


def _delay(reschedules: int, rules: Workload) -> int:
    """Return the seconds that a lost job waits before it waits again: what kills its runs may pass."""
    delays = rules.reschedule_delays
    return delays[min(reschedules, len(delays) - 1)] if delays else 0


def _is_over(row: JobRow, *, run: bool) -> bool:
    """Tell whether whoever gives a sign of life for a job must end."""
    return row.status not in HELD if run else row.status in (JobStatus.KILLED, JobStatus.DELETED)


def _check_number(jobs: Mapping[int, Any] | Sequence[int]) -> None:
    if not jobs:
        raise InvalidInputError("no job was named")
    if len(jobs) > MOST_JOBS:
        raise TooLargeError(f"{len(jobs)} jobs; at most {MOST_JOBS} are accepted at once")


def _reports(job_id: int, by_time: Mapping[datetime, JobStatusUpdate]) -> list[Report]:
    if not by_time:
        raise InvalidInputError("there is no update", where=f"job {job_id}")
    return [Report(time=_in_utc(time, job_id), update=update) for time, update in by_time.items()]


def _in_utc(time: datetime, job_id: int) -> datetime:
    where, hint = f"job {job_id}", "Send RFC 3339, for instance 2026-11-20T12:00:00Z"
    if time.tzinfo is None:
        raise InvalidInputError(f"the time {time.isoformat()} has no time zone", where=where, hint=hint)
    try:
        return time.astimezone(UTC)
    except OverflowError:
        text = f"the time {time.isoformat()} is not in the calendar of UTC"
        raise InvalidInputError(text, where=where, hint=hint) from None


def _beat(row: JobRow, data: HeartbeatData, lease: datetime, now: datetime, period: int) -> Beat:
    numbers = msgspec.to_builtins(data)
    return Beat(
        job_id=row.job_id,
        attempt=row.attempt,
        lease_until=lease,
        dynamic={name: value for name, value in numbers.items() if not name.startswith("StandardOutput")},
        peek=data.StandardOutput,
        peek_offset=data.StandardOutputOffset,
        slot=None if row.claimed is None else series_slot((now - row.claimed).total_seconds(), period),
    )


def _parameters(job_id: int, given: Mapping[str, Any]) -> dict[str, str]:
    """Check what is to be set of a job, and return it as texts."""
    where = f"job {job_id}"
    if len(given) > _MOST_PARAMETERS:
        raise TooLargeError(f"{len(given)} parameters; at most {_MOST_PARAMETERS} at once", where=where)
    texts = {}
    for name, value in given.items():
        if name in _ATTRIBUTES:
            raise InvalidInputError(
                f"{name} cannot be set as metadata", where=where, hint="Only Site and free parameters can"
            )
        if not 1 <= len(name) <= _NAME_LENGTH or name != name.strip():
            raise InvalidInputError(
                f"{name[:_NAME_LENGTH]!r} cannot be the name of a parameter",
                where=where,
                hint=f"A name has 1 to {_NAME_LENGTH} characters, and no blanks around it",
            )
        if value is None or (name == "Site" and not isinstance(value, str)):
            raise InvalidInputError(f"{name} has no value that it could have", where=where)
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        if len(text) > (_SITE_LENGTH if name == "Site" else _VALUE_LENGTH):
            raise TooLargeError(f"the value of {name} has {len(text)} characters", where=where)
        texts[name] = text
    return texts
