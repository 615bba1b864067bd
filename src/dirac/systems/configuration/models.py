"""The configuration tree: what an installation is made of, with the meaning of every option.

Defaults, the JSON schema, the documentation and the checks come from these classes. Names of files,
databases and addresses of one server are not here: they are that server's settings.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from dirac.systems.identity.models import Property

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}$")]
SiteName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9-]+\.[A-Za-z0-9_-]+\.[a-z]{2,6}$",
        description="Grid.Name.country, three fields with dots",
    ),
]
Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
NotNegative = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all sections share: immutable, and closed to options that do not exist."""


class Support(_Section, frozen=True):
    """Whom the members of a VO may ask."""

    message: Annotated[str, Meta(description="Shown to members who need help")] = "Please contact your VO"
    webpage: str | None = None
    email: str | None = None


class Group(_Section, frozen=True):
    """A group of users: what they may do and what they get."""

    properties: Annotated[list[Property], Meta(description="What members may do")] = [Property.NORMAL_USER]
    job_share: Annotated[Positive, Meta(description="Share of the VO's resources, in parts")] = 1000


class User(_Section, frozen=True):
    """A member of a VO."""

    groups: Annotated[list[Name], Meta(min_length=1, description="Groups the user may act in")]
    sub: Annotated[
        str | None, Meta(description="Subject at the identity provider; the user name if not given")
    ] = None
    email: str | None = None
    suspended: Annotated[bool, Meta(description="A suspended user cannot log in or refresh a token")] = False


class VirtualOrganisation(_Section, frozen=True):
    """A community: its groups, its users, and where they log in."""

    default_group: Annotated[Name, Meta(description="Group of a login that names none")]
    groups: dict[Name, Group]
    users: dict[Name, User] = {}
    support: Support = Support()
    identity_provider: Annotated[str, Meta(description="Plugin of kind dirac.identity")] = "password"


class Queue(_Section, frozen=True):
    """A queue of a computing element: what one pilot gets there, and how many there may be."""

    max_running: Annotated[Positive, Meta(description="Pilots that may run at a time")] = 10
    max_waiting: Annotated[Positive, Meta(description="Pilots that may wait at a time")] = 10
    cpu_time: Annotated[Positive, Meta(description="Normalised CPU seconds one pilot may use")] = 86400
    processors: Annotated[Positive, Meta(le=1024, description="Processors one pilot gets")] = 1
    max_ram: Annotated[NotNegative, Meta(description="Memory one pilot may use, in MB; 0 for no limit")] = 0
    tags: list[str] = []
    required_tags: Annotated[list[str], Meta(description="Only jobs that ask for all of these")] = []
    platforms: list[str] = []


class ComputingElement(_Section, frozen=True):
    """A door to computing resources."""

    type: Annotated[str, Meta(description="Plugin of kind dirac.computing")]
    settings: Annotated[dict[str, Any], Meta(description="Settings of the plugin")] = {}
    queues: dict[Name, Queue] = {"default": Queue()}


class Site(_Section, frozen=True):
    """A place with resources, and the communities that may use it."""

    virtual_organisations: list[Name]
    computing_elements: dict[Name, ComputingElement] = {}


class Pilot(_Section, frozen=True):
    """How pilots find their environment and how long they stay."""

    release: Annotated[str, Meta(description="Version of the release, or `pro`")] = "pro"
    locations: Annotated[list[str], Meta(description="Where releases are, in order of preference")] = [
        "/cvmfs/dirac.egi.eu"
    ]
    idle_seconds: Annotated[NotNegative, Meta(description="A pilot without work ends after this long")] = 60
    max_jobs: Annotated[Positive, Meta(description="Jobs one pilot runs at most")] = 1000
    min_disk: Annotated[NotNegative, Meta(description="Free disk space a pilot needs, in MB")] = 2560
    token_seconds: Annotated[Positive, Meta(description="Life of a pilot's token")] = 86400


class Workload(_Section, frozen=True):
    """Rules for jobs."""

    lease_seconds: Annotated[
        Positive, Meta(description="A run without a sign of life for this long is lost")
    ] = 300
    heartbeat_seconds: Annotated[Positive, Meta(description="Time between two signs of life of a job")] = 60
    max_reschedules: Annotated[NotNegative, Meta(description="Runs a lost job gets after its first")] = 3
    max_jobs_per_submission: Positive = 10_000
    max_cpu_time: Positive = 500_000
    min_cpu_time: Positive = 100
    max_input_data: Positive = 500
    max_sandbox_bytes: Positive = 100 * 1024 * 1024
    max_processors: Annotated[Positive, Meta(le=1024)] = 1024


class Tree(_Section, frozen=True):
    """The whole configuration."""

    virtual_organisations: dict[Name, VirtualOrganisation] = {}
    sites: dict[SiteName, Site] = {}
    pilot: Pilot = Pilot()
    workload: Workload = Workload()


class Change(msgspec.Struct, frozen=True):
    """One difference between two trees.

    Attributes:
        path: Place in the tree, with slashes.
        old: Value before, as JSON; absent if there was none.
        new: Value after, as JSON; absent if there is none.
    """

    path: str
    old: Any = None
    new: Any = None


class Version(msgspec.Struct, frozen=True):
    """One accepted configuration."""

    number: int
    digest: str
    time: datetime
    author: str
    comment: str


class Apply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to make a text the configuration.

    Attributes:
        text: YAML.
        file: Name of the file it comes from, for messages.
        comment: Why.
        dry_run: Only say what would change.
        expected_version: Refuse if the current version is another one.
    """

    text: str
    file: str = "configuration"
    comment: str = ""
    dry_run: bool = False
    expected_version: int | None = None


class Applied(msgspec.Struct, frozen=True):
    """What an application changed; no changes means that no version was made."""

    version: int
    changes: list[Change]
