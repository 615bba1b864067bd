"""Why waiting jobs do or do not come to pilots and sites."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from dirac.systems.workload.models.reasons import WhyWaiting


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One reason that keeps waiting jobs from a pilot or a site.

    Attributes:
        reason: A requirement, by its name in a description, or a value of `WhyWaiting`.
        jobs: How many it keeps, by itself or with others.
        jobs_alone: How many nothing but it keeps.
        wanted: For a requirement: what they ask for, the most of it.
        offered: For a requirement: what there is, where least is missing.
    """

    reason: str
    jobs: int
    jobs_alone: int
    text: str
    wanted: str | None = None
    offered: str | None = None


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """What jobs find in a place.

    Attributes:
        cpu_time: Normalised CPU seconds.
        max_ram: Memory in MB; 0 for no limit.
        tags: Without those that follow from the processors.
        groups: Only jobs of these groups; none for all.
        users: Only jobs of so many users; 0 for all.
    """

    cpu_time: int
    max_ram: int
    processors: int
    gpus: int
    whole_node: bool
    platforms: list[str]
    tags: list[str]
    required_tags: list[str]
    groups: list[str] = []
    users: int = 0


class PlaceExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why waiting jobs do or do not come to a place.

    Attributes:
        text: All of it in a few sentences.
        own_only: Counted are the caller's own jobs, not all of the VO: they may not see the others.
        waiting: Jobs that wait.
        fitting: Those of them that fit.
        at_least: Of some kind of jobs there are more than were counted.
        reasons: What keeps jobs away: requirements first, the one that keeps most before the others; then
            limits; then whose turn it is.
    """

    vo: str
    text: str
    own_only: bool
    waiting: int
    fitting: int
    at_least: bool
    reasons: list[Held]


class PilotExplanation(PlaceExplanation, frozen=True, kw_only=True):
    """Why a pilot has a job, or none.

    Attributes:
        offer: What it has; None if that is not known.
        measured: When the pilot itself said so; None if it is what the configuration says of its queue.
        job_id: The job that it runs.
    """

    pilot_stamp: str
    pilot_reference: str
    status: str
    status_reason: str
    site: str
    ce: str
    queue: str
    offer: Capability | None = None
    measured: datetime | None = None
    job_id: int | None = None


class QueueExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """A queue of a site, as a VO has it.

    Attributes:
        fitting: Waiting jobs that fit it.
        pilots_waiting: The VO's pilots there that do not run yet.
        pilots_idle: Its pilots that run and have no job.
        pilots_busy: Its pilots that have one.
        takes_pilots: Whether more pilots would be sent at this moment: ``yes``, ``full``, or ``blocked``
            after several that failed.
    """

    ce: str
    queue: str
    offer: Capability
    fitting: int
    pilots_waiting: int
    pilots_idle: int
    pilots_busy: int
    takes_pilots: Literal["yes", "full", "blocked"]


class LimitExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of a site.

    Attributes:
        max_running: Jobs that may run at a time.
        delay: Seconds between two matches.
        running: Jobs that it counts, of those that the caller may see; as counted within the last minute.
        waiting: Waiting jobs that it is for, and that fit.
        closed: Why it takes no job at this moment; None if it does.
    """

    name: str
    max_running: int | None
    delay: int
    running: int
    waiting: int
    closed: WhyWaiting | None


class SiteExplanation(PlaceExplanation, frozen=True, kw_only=True):
    """What a site does for a VO, and what keeps jobs from it.

    Attributes:
        only_here: Waiting jobs that may run at no other site.
        jobs: Jobs at the site by status; those that wait are not at any.
    """

    site: str
    only_here: int
    jobs: dict[str, int]
    queues: list[QueueExplanation]
    limits: list[LimitExplanation]
