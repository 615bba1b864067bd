"""Why jobs wait, and where they could run."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class RequirementEffect(msgspec.Struct, frozen=True):
    """What one requirement of a job removes.

    Attributes:
        requirement: Its name, as in the JDL.
        wanted: What the job asks for.
        removes: How many queues fail on it.
        removes_alone: How many fail on nothing but it.
        examples: A few of these queues, with what they offer.
    """

    requirement: str
    wanted: str
    removes: int
    removes_alone: int
    examples: list[str]


class Suggestion(msgspec.Struct, frozen=True):
    """A change of a job's description that would make queues fit."""

    change: dict[str, str]
    queues: int
    text: str


class WhyWaiting(StrEnum):
    """All reasons why a job that waits does so; why single queues do not fit is said by requirement."""

    NO_SITE = "NoSite"
    NO_QUEUE_FITS = "NoQueueFits"
    RUNNING_LIMIT = "RunningLimit"
    MATCHING_DELAY = "MatchingDelay"
    OWN_JOBS = "OwnJobs"
    SHARE = "Share"
    BACKGROUND = "Background"
    NO_PILOT = "NoPilot"


class WaitReason(msgspec.Struct, frozen=True):
    """One reason why a job waits.

    Attributes:
        number: Of what the text names: sites, jobs or users.
    """

    reason: WhyWaiting
    number: int
    text: str


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """When a job may start, in seconds from now, if jobs like it go on starting as they did lately.

    Attributes:
        earliest: Of ten such jobs, one starts before.
        likely: Five start before.
        latest: Nine start before.
        before: How many jobs like it come first.
        started: How many starts this is based on.
        within: Seconds in which they were.
    """

    earliest: float
    likely: float
    latest: float
    before: int
    started: int
    within: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job does or does not run.

    Attributes:
        reasons: If it waits: why, what keeps it most first.
        forecast: If it waits, something fits, and enough jobs like it have started: when it may start.
        waiting_before: If it waits: jobs of its owner that come first, by priority and age.
        users_before: If it waits: users whose turn comes first, by the shares of groups and users.
    """

    job_id: int
    status: str
    minor_status: str
    text: str
    queues: int
    fitting: int
    requirements: list[RequirementEffect]
    suggestion: Suggestion | None = None
    waiting_before: int | None = None
    users_before: int | None = None
    reasons: list[WaitReason] = []
    forecast: Forecast | None = None


class RehearsedPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A site where jobs fit.

    Attributes:
        queues: How many of its queues fit.
        slots: Pilots that these may have at a time.
    """

    site: str
    queues: int
    slots: int


class RehearsedClass(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs of a submission with the same needs, and where they fit.

    Attributes:
        name: Of one of the jobs.
        fitting: How many queues fit.
        slots: Pilots that these may have at a time.
        requirements: What each requirement removes.
        suggestion: The smallest change after which some queue fits, if none does.
    """

    jobs: int
    name: str
    fitting: int
    slots: int
    places: list[RehearsedPlace]
    requirements: list[RequirementEffect]
    suggestion: Suggestion | None = None


class Obstacle(msgspec.Struct, frozen=True, kw_only=True):
    """What would keep jobs from waiting: they would be held, or fail."""

    jobs: int
    minor_status: str
    detail: str


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """What a submission would do.

    Attributes:
        jobs: How many jobs it would make.
        at_once: How many of them would wait for a pilot at once.
        prepared_first: How many would go through the pipeline first, for their data or other jobs.
        not_looked_at: How many of these were too many to look at.
        dependencies: How many dependencies there are between the jobs.
        queues: Queues that the VO may use.
        classes: Jobs by their needs, the most frequent first; those they depend on taken as done.
        more_classes: How many classes are not listed.
        obstacles: What would keep jobs from waiting as things are now.
    """

    jobs: int
    at_once: int
    prepared_first: int
    not_looked_at: int
    dependencies: int
    queues: int
    classes: list[RehearsedClass]
    more_classes: int
    obstacles: list[Obstacle]
