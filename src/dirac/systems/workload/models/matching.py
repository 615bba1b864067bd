"""Requests of pilots for jobs, and the answers."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from dirac.systems.workload.models.values import Place, Short


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
