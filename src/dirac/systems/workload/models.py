"""Jobs, pilots and sandboxes: values shared by client and server, with their names on the wire."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from dirac.core.search import Condition

JobID: TypeAlias = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Stamp: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}$(?!\n)")]
Short: TypeAlias = Annotated[str, Meta(max_length=255)]
Place: TypeAlias = Annotated[str, Meta(max_length=128)]
SandboxType: TypeAlias = Literal["input", "output"]


FOLLOW = "Follow"
"""The order for a run to send its output every few seconds, for as many seconds as its argument says."""
KILL_CONFIRMED = "Ended as ordered"
"""Minor status with which a run confirms that it has ended because it was told to."""


class JobStatus(StrEnum):
    """The states of a job."""

    SUBMITTING = "Submitting"
    RECEIVED = "Received"
    CHECKING = "Checking"
    SCOUTING = "Scouting"
    STAGING = "Staging"
    WAITING = "Waiting"
    MATCHED = "Matched"
    RUNNING = "Running"
    STALLED = "Stalled"
    COMPLETING = "Completing"
    DONE = "Done"
    COMPLETED = "Completed"
    FAILED = "Failed"
    DELETED = "Deleted"
    KILLED = "Killed"
    RESCHEDULED = "Rescheduled"


class JobVerb(StrEnum):
    """What people do to jobs, one by one or by a filter."""

    KILL = "kill"
    HOLD = "hold"
    RELEASE = "release"
    RESCHEDULE = "reschedule"
    RESET = "reset"
    DELETE = "delete"


class PilotStatus(StrEnum):
    """The states of a pilot."""

    SUBMITTED = "Submitted"
    WAITING = "Waiting"
    RUNNING = "Running"
    DONE = "Done"
    FAILED = "Failed"
    DELETED = "Deleted"
    ABORTED = "Aborted"
    UNKNOWN = "Unknown"


class InsertedJob(msgspec.Struct, frozen=True):
    """A job that was accepted."""

    JobID: int
    Status: str
    MinorStatus: str
    TimeStamp: datetime


class JobStatusUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What happened to a job at one moment; absent fields stay as they are."""

    Status: JobStatus | None = None
    MinorStatus: Short | None = None
    ApplicationStatus: Short | None = None
    Source: Annotated[str, Meta(max_length=32)] = "Unknown"


class StatusChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a status update left of a job."""

    Status: str | None = None
    MinorStatus: str | None = None
    ApplicationStatus: str | None = None
    HeartBeatTime: datetime | None = None
    StartExecTime: datetime | None = None
    EndExecTime: datetime | None = None
    LastUpdateTime: datetime | None = None


class Outcome(msgspec.Struct, frozen=True):
    """The answer to a bulk operation: per job what became of it, or why nothing did.

    Values of `failed` are ``{"detail": text}``.
    """

    success: dict[int, StatusChange]
    failed: dict[int, dict[str, str]]


class HeartbeatData(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A sign of life of a job: what it uses, and the end of its standard output.

    Units: memory in kB, disk in MB, times in seconds. `StandardOutputOffset` is the number of bytes that the
    job has printed before that end.
    """

    LoadAverage: float | None = None
    MemoryUsed: float | None = None
    Vsize: float | None = None
    AvailableDiskSpace: float | None = None
    CPUConsumed: float | None = None
    WallClockTime: float | None = None
    StandardOutput: Annotated[str, Meta(max_length=65536)] | None = None
    StandardOutputOffset: Annotated[int, Meta(ge=0, le=2**62)] | None = None


class JobCommand(msgspec.Struct, frozen=True, omit_defaults=True):
    """An order for a running job."""

    job_id: int
    command: str
    arguments: str | None = None


class LogEntry(msgspec.Struct, frozen=True):
    """One line of a job's life-cycle log."""

    Status: str
    MinorStatus: str
    ApplicationStatus: str
    StatusTime: datetime
    Source: str
    Attempt: int | None = None
    Note: str | None = None


class JobJdl(msgspec.Struct, frozen=True):
    """The description of a job as it is run, with what the server added."""

    JobID: int
    jdl: str


class Peek(msgspec.Struct, frozen=True):
    """The end of a running job's standard output.

    Attributes:
        attempt: The run it comes from, 0 if there was none.
        time: When the run was heard of last.
        offset: Bytes that the run had printed before `text`, None if it did not say.
    """

    JobID: int
    attempt: int
    text: str
    time: datetime | None
    offset: int | None = None


class JobIds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs that something is to be done with."""

    job_ids: Annotated[list[JobID], Meta(min_length=1, max_length=10_000)]


Conditions: TypeAlias = Annotated[list[Condition], Meta(max_length=90)]


class BulkFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which jobs something is to be done with: those that fit all of the conditions."""

    search: Conditions = []


class BulkPreview(msgspec.Struct, frozen=True):
    """What a verb would change at this moment.

    Attributes:
        count: How many jobs.
        last: The greatest of their numbers, 0 if there are none; a bound for what is done then.
    """

    count: int
    last: int


class BulkStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One bounded step of what is to be done with all jobs that fit, in the order of their numbers.

    Attributes:
        search: Conditions, all of which must hold.
        until: Jobs with greater numbers are left alone: those that came after the preview.
        after: Jobs up to this number have been dealt with.
        limit: Jobs in this step.
    """

    until: JobID
    search: Conditions = []
    after: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500


class BulkOutcome(msgspec.Struct, frozen=True):
    """What became of one step.

    Attributes:
        done: How many jobs were changed.
        failed: Why others were not; values are ``{"detail": text}``.
        after: Where the next step begins.
        finished: There is nothing more to do.
    """

    done: int
    failed: dict[int, dict[str, str]]
    after: int
    finished: bool


class Moment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs, and the time at which they are to be shown."""

    job_ids: Annotated[list[JobID], Meta(min_length=1, max_length=1000)]
    time: datetime


class JobAt(msgspec.Struct, frozen=True):
    """What a job was at some time, from its history.

    Attributes:
        StatusTime: Since when; None if there was no such job yet, and then the statuses are empty.
        Attempt: Its run, None before the first.
    """

    JobID: int
    Status: str
    MinorStatus: str
    ApplicationStatus: str
    StatusTime: datetime | None
    Attempt: int | None = None


class VitalSign(msgspec.Struct, frozen=True):
    """What a run used at some time; names and units are those of `HeartbeatData`."""

    Attempt: int
    time: datetime
    data: dict[str, float]


class Following(msgspec.Struct, frozen=True):
    """The present run was asked to send its output often.

    Attributes:
        seconds: For how long it does.
        within: When the next sign of life is due that hears of it, in seconds.
    """

    seconds: int
    within: int


class SandboxInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An archive to be uploaded."""

    checksum: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}$(?!\n)")]
    size: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    format: Literal["tar.bz2", "tar.zst", "tar.gz"]
    checksum_algorithm: Literal["sha256"] = "sha256"


class SandboxUpload(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where and how to upload a sandbox; without `url` it is there already."""

    pfn: str
    url: str | None = None
    fields: dict[str, str] = {}


class JobSandboxes(msgspec.Struct, frozen=True):
    """The archives of a job."""

    Input: list[str]
    Output: list[str]


class SandboxDownload(msgspec.Struct, frozen=True):
    """Where a sandbox can be had, for so many seconds."""

    url: str
    expires_in: int


class Resource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What a pilot offers.

    Units: memory in MB, CPU time in normalised seconds.
    """

    site: Place
    ce: Place = ""
    queue: Place = ""
    processors: Annotated[int, Meta(ge=1, le=1024)] = 1
    max_ram: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    cpu_time: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 86400
    platforms: Annotated[list[Short], Meta(max_length=100)] = []
    tags: Annotated[list[Short], Meta(max_length=1000)] = []
    required_tags: Annotated[list[Short], Meta(max_length=100)] = []
    whole_node: bool = False
    gpus: Annotated[int, Meta(ge=0, le=64)] = 0


class MatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A pilot's request for work.

    Attributes:
        resource: What it offers.
        wait: Seconds the server may hold the request when there is nothing at once.
        request_id: The same for repetitions of one request: they get the same jobs again.
        jobs: How many jobs the pilot would take at once; together they need no more than it offers.
    """

    resource: Resource
    request_id: Annotated[str, Meta(pattern=r"^[!-~]{1,64}$(?!\n)")]
    wait: Annotated[float, Meta(ge=0, le=30)] = 0
    jobs: Annotated[int, Meta(ge=1, le=100)] = 1


class MatchedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that was given to a pilot, with all that is needed to run it.

    Attributes:
        token: Access token for this one run of this one job.
        lease_seconds: The run counts as lost after so long without a heartbeat.
        heartbeat_seconds: How often a heartbeat is expected.
    """

    job_id: int
    attempt: int
    jdl: str
    owner: str
    owner_group: str
    vo: str
    token: str
    token_expires_in: int
    lease_seconds: int
    heartbeat_seconds: int


class MatchAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job, or why there is none.

    Attributes:
        more: Further jobs, if the request was for several.
        reasons: Without a job: by reason, how many of the classes of jobs that wait it keeps away.
    """

    job: MatchedJob | None = None
    more: list[MatchedJob] = []
    reasons: dict[str, int] = {}


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


class ShadowKind(StrEnum):
    """How a decision of a candidate differs from the one that was made."""

    SAME = "Same"
    OTHER_JOB = "OtherJob"
    OTHER_USER = "OtherUser"
    OTHER_GROUP = "OtherGroup"
    JOB = "Job"
    NO_JOB = "NoJob"


class ShadowGroup(msgspec.Struct, frozen=True):
    """Jobs of a group that pilots got in the decisions that were compared.

    Attributes:
        present: With the configuration in force.
        candidate: With the candidate.
    """

    group: str
    present: int
    candidate: int


class ShadowReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a candidate (`workload.shadow`) would change in a VO, as one server process has seen it.

    Attributes:
        since: When it began to compare.
        percent: Of a hundred decisions, so many are compared.
        decisions: Decisions that were compared; those where neither gives a job do not count.
        differing: Those of them that differ.
        kinds: Decisions by how they differ: `OtherJob` of the same user, `OtherUser` of the same group,
            `OtherGroup`; `Job` where there is none as it is, `NoJob` where there would be none; or `Same`.
    """

    vo: str
    since: datetime
    percent: int
    decisions: int
    differing: int
    kinds: dict[ShadowKind, int]
    groups: list[ShadowGroup]


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


class PilotRegistration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A pilot to be registered."""

    pilot_stamp: Stamp
    vo: Annotated[str, Meta(max_length=64)]
    grid_type: Annotated[str, Meta(max_length=32)] = "DIRAC"
    grid_site: Place = "Unknown"
    destination_site: Place = "NotAssigned"
    pilot_reference: Short | None = None
    pilot_status: PilotStatus = PilotStatus.SUBMITTED


class PilotMetadata(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """What may change of a pilot; absent fields stay as they are."""

    Status: PilotStatus | None = None
    StatusReason: Short | None = None
    BenchMark: float | None = None
    DestinationSite: Place | None = None
    Queue: Place | None = None
    GridSite: Place | None = None
    GridType: Annotated[str, Meta(max_length=32)] | None = None
    AccountingSent: bool | None = None
    CurrentJobID: JobID | None = None


NodeName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$(?!\n)")]
Slots: TypeAlias = Annotated[int, Meta(ge=0, le=1024)]
Amount: TypeAlias = Annotated[int, Meta(ge=0, le=2**40)]


class NodeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A worker node asks for pilots to start.

    Attributes:
        node: Name of the node, unique within the computing element.
        request_id: The same for all tries of one request: it gets the same pilots again.
        slots: Pilots that could be started now.
        processors: Processors that are free.
        memory_mb: Memory that is free; 0 if that is not known.
        disk_mb: Free disk space for each pilot.
        running: Stamps of all pilots that the node has at this moment. What the server believes to be there
            and is not among them, is lost.
        wait: Seconds to wait for pilots if there is nothing to start now.
    """

    node: NodeName
    request_id: Annotated[str, Meta(min_length=1, max_length=64)]
    slots: Slots = 0
    processors: Slots = 0
    memory_mb: Amount = 0
    disk_mb: Amount = 0
    running: Annotated[list[Stamp], Meta(max_length=1024)] = []
    wait: Annotated[float, Meta(ge=0, le=30)] = 0


class NodePilot(msgspec.Struct, frozen=True, kw_only=True):
    """A pilot that a node is to start.

    Attributes:
        secret: For the file `pilot.secret`, mode 0600.
        arguments: For the pilot's program.
        settings: For the file `pilot.json`.
        processors: What it may use.
        max_ram_mb: Memory that it may use, 0 for no limit.
        wall_seconds: How long it may run.
    """

    stamp: str
    vo: str
    queue: str
    secret: str
    arguments: list[str]
    settings: dict[str, Any]
    processors: int
    max_ram_mb: int
    wall_seconds: int


class NodeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a node is to do.

    Attributes:
        pilots: To be started now.
        stop: Stamps of pilots that have no record any more which would let them work.
        ask_again: Seconds until the next request, unless something changes on the node before.
    """

    pilots: list[NodePilot]
    stop: list[str]
    ask_again: float


class NodePilotEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a pilot has ended; the exit code is 128 + n after signal n."""

    exit_code: Annotated[int, Meta(ge=0, le=255)]
    reason: Annotated[str, Meta(max_length=200)] = ""


class NodeReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What became of pilots, by stamp."""

    node: NodeName
    ended: Annotated[dict[Stamp, NodePilotEnd], Meta(max_length=1024)]


class NodeReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """Which reports are taken care of, and which stamps are no pilots of this node; none need be repeated."""

    noted: list[str]
    unknown: list[str]


class NodeQueue(msgspec.Struct, frozen=True, kw_only=True):
    """What one pilot of a queue gets, 0 for no limit."""

    name: str
    processors: int
    max_ram_mb: int
    max_running: int


class NodePlace(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's credential is good for."""

    site: str
    ce: str
    queues: list[NodeQueue]
    virtual_organisations: list[str]
    min_disk_mb: int


Row: TypeAlias = dict[str, Any]
