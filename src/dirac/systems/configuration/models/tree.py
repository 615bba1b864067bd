"""The configuration tree: what an installation is made of, with the meaning of every option.

Defaults, the JSON schema, the documentation and the checks come from these classes. Names of files,
databases and addresses of one server are not here: they are that server's settings. Secrets are not here
either, only where they are: everybody who may read the tree, its history and its backups would have them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from dirac.core.secrets import SecretReference
from dirac.systems.configuration.models.capabilities import CapabilityTokens
from dirac.systems.configuration.models.storage import Data
from dirac.systems.configuration.models.values import (
    ElementName,
    GroupName,
    LimitName,
    Name,
    NotNegative,
    Path,
    PlatformName,
    Positive,
    Processors,
    QueueName,
    Section,
    SiteName,
    Subject,
    Text,
    UserName,
    VOName,
)
from dirac.systems.identity.models import Property

_HostName = Annotated[Name, Meta(title="host")]
_DN = Annotated[
    str,
    Meta(
        pattern=r"^(/[A-Za-z0-9.]+=[ -~]+)+$(?!\n)",
        max_length=1024,
        extra={"accepts": "the name of a certificate: /C=ch/O=Home/CN=Ada Lovelace"},
    ),
]
_ClaimValue = Annotated[
    str,
    Meta(title="value", min_length=1, max_length=1024, extra={"accepts": "a text of 1 to 1024 characters"}),
]


class Admits(StrEnum):
    """Whom an outside provider lets in."""

    DECLARED = "declared"
    MEMBERS = "members"
    EVERYBODY = "everybody"


class Support(Section, frozen=True):
    """Whom the members of a VO may ask."""

    message: Annotated[Text, Meta(description="Shown to members who need help")] = "Please contact your VO"
    webpage: Annotated[Text | None, Meta(description="Address of a page with help")] = None
    email: Annotated[Text | None, Meta(description="Mail address that answers questions")] = None


class Group(Section, frozen=True):
    """A group of users: what they may do and what they get."""

    properties: Annotated[list[Property], Meta(description="What members may do")] = msgspec.field(
        default_factory=lambda: [Property.NORMAL_USER]
    )
    job_share: Annotated[Positive, Meta(description="Share of the VO's resources, in parts")] = 1000
    background: Annotated[bool, Meta(description="Its jobs run only where nobody else's of the VO fit")] = (
        False
    )


class User(Section, frozen=True):
    """A member of a VO."""

    groups: Annotated[list[Name], Meta(min_length=1, description="Groups the user may act in")]
    sub: Annotated[
        Subject | None, Meta(description="Subject at the identity provider; the user name if not given")
    ] = None
    email: Annotated[Text | None, Meta(description="Mail address of the user")] = None
    job_share: Annotated[Positive, Meta(description="Share of the group's resources, in parts")] = 1000
    suspended: Annotated[bool, Meta(description="A suspended user cannot log in or refresh a token")] = False
    dns: Annotated[
        list[_DN],
        Meta(description="Names of the user's certificates, as `openssl x509 -subject` compat has them"),
    ] = []


class IdentityProvider(Section, frozen=True):
    """An outside identity provider at which the members of a VO log in, and what follows from its word."""

    issuer: Annotated[
        str,
        Meta(
            pattern=r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$(?!\n)",
            max_length=255,
            extra={"accepts": "an address without a query: https://..."},
            description="Address of the provider, letter by letter as its discovery document has it",
        ),
    ]
    client_id: Annotated[
        str, Meta(min_length=1, max_length=255, description="Name under which DIRAC is registered there")
    ]
    type: Annotated[str, Meta(description="Plugin of kind dirac.identity_provider")] = "oidc"
    client_secret: Annotated[
        SecretReference | None,
        Meta(description="Where the client's secret is on the servers; none for a public client"),
    ] = None
    client_secret_file: Annotated[
        Path | None, Meta(description="File that holds it: the same as `client_secret: {file: FILE}`")
    ] = None
    client_secret_variable: Annotated[
        Name | None,
        Meta(description="Variable that holds it: the same as `client_secret: {environment: NAME}`"),
    ] = None
    client_key: Annotated[
        SecretReference | None,
        Meta(
            description="Where a private key (PEM: RSA or P-256) is on the servers, which says who DIRAC is "
            "instead of a secret (`private_key_jwt`); the provider has the public half"
        ),
    ] = None
    client_key_id: Annotated[Text | None, Meta(description="Name of that key (`kid`) at the provider")] = None
    scopes: Annotated[
        list[Text],
        Meta(description="What is asked for; without `offline_access` sessions last as long as its tokens"),
    ] = msgspec.field(default_factory=lambda: ["openid", "profile", "email", "offline_access"])
    username_claim: Annotated[Text, Meta(description="Claim that user names are made of")] = (
        "preferred_username"
    )
    group_claims: Annotated[
        list[Text], Meta(description="Claims that may hold groups; dots lead into nested ones")
    ] = msgspec.field(
        default_factory=lambda: ["wlcg.groups", "groups", "eduperson_entitlement", "entitlements"]
    )
    groups: Annotated[
        dict[_ClaimValue, list[Name]],
        Meta(
            description="Groups of the VO by values of these claims; entitlements (AARC-G002) without "
            "`#authority` are good for any authority, without `role=` for members"
        ),
    ] = {}
    admits: Annotated[
        Admits,
        Meta(
            description="Who may log in that `users` does not list: nobody (`declared`), who is in a group "
            "by `groups` (`members`), or everybody, who then is in the default group as well"
        ),
    ] = Admits.MEMBERS
    offline_hours: Annotated[
        NotNegative,
        Meta(description="Hours that what the provider said last is good while it does not answer"),
    ] = 12
    scim_url: Annotated[
        Text | None,
        Meta(
            description="Address of its list of users (SCIM), as https://iam.example.org/scim/Users: who is "
            "inactive or not there is suspended"
        ),
    ] = None
    scim_scopes: Annotated[
        list[Text], Meta(description="Scopes of the client's own token that reads the list")
    ] = msgspec.field(default_factory=lambda: ["scim:read"])
    scim_token: Annotated[
        SecretReference | None,
        Meta(
            description="Where a token is that reads the list instead of the client's own one, if another "
            "server than the provider has it"
        ),
    ] = None
    scim_groups: Annotated[
        bool,
        Meta(
            description="Whether the names and identifiers of a user's groups in that list count for "
            "`groups` as well; asked at each login and refresh"
        ),
    ] = False


class AcceptableUse(Section, frozen=True):
    """What people have to accept before their first token."""

    version: Annotated[Name, Meta(description="Version of the text; who accepted another one is asked again")]
    text: Annotated[
        str, Meta(min_length=1, max_length=65536, description="The text, as it is shown on the login page")
    ]


class VirtualOrganisation(Section, frozen=True):
    """A community: its groups, its users, and where they log in."""

    default_group: Annotated[Name, Meta(description="Group of a login that names none")]
    groups: Annotated[dict[GroupName, Group], Meta(description="The groups of the VO")]
    users: Annotated[dict[UserName, User], Meta(description="The members of the VO, by user name")] = {}
    job_share: Annotated[Positive, Meta(description="Share of the installation's pilots, in parts")] = 1000
    support: Annotated[Support, Meta(description="Whom members may ask")] = Support()
    identity_provider: Annotated[
        str | IdentityProvider,
        Meta(
            description="`password` for the built-in one, a plugin of kind dirac.identity, or a section: an "
            "outside provider"
        ),
    ] = "password"
    acceptable_use: Annotated[
        AcceptableUse | None, Meta(description="What members accept before their first token")
    ] = None
    capability_tokens: Annotated[
        CapabilityTokens | None,
        Meta(description="Tokens for storage and computing elements; none if not given"),
    ] = None
    operations: Annotated[
        dict[str, Any],
        Meta(description="Options that programs of the VO ask for, over those of `operations` of the whole"),
    ] = {}
    extensions: Annotated[
        dict[str, Any], Meta(description="Options of extensions: kept, and read by nobody here")
    ] = {}


class Host(Section, frozen=True):
    """A host that calls with its certificate."""

    dn: Annotated[_DN, Meta(description="Name of its certificate")]
    properties: Annotated[
        list[Property], Meta(description="What it may do; `TrustedHost` to act for users")
    ] = []


class DelegatedOption(StrEnum):
    """Options of a VO that its own administrators may be allowed to change."""

    USERS = "users"
    GROUPS = "groups"
    SUPPORT = "support"
    DEFAULT_GROUP = "default_group"
    OPERATIONS = "operations"
    EXTENSIONS = "extensions"


class Managers(Section, frozen=True):
    """Members of a VO who look after a site or a computing element."""

    users: Annotated[list[Name], Meta(description="Users of the VO, by user name")] = []
    groups: Annotated[list[Name], Meta(description="Groups of the VO: whoever acts in one of them")] = []


class Queue(Section, frozen=True):
    """A queue of a computing element: what one pilot gets there, and how many there may be."""

    max_running: Annotated[Positive, Meta(description="Pilots that may run at a time")] = 10
    max_waiting: Annotated[Positive, Meta(description="Pilots that may wait at a time")] = 10
    cpu_time: Annotated[Positive, Meta(description="Normalised CPU seconds one pilot may use")] = 86400
    wall_time: Annotated[
        NotNegative,
        Meta(
            description="Seconds one pilot may stay; 0 for `cpu_time` or `pilot/token_seconds`, the greater"
        ),
    ] = 0
    processors: Annotated[Processors, Meta(description="Processors one pilot gets")] = 1
    gpus: Annotated[int, Meta(ge=0, le=64, description="Graphics processors one pilot gets")] = 0
    max_ram: Annotated[NotNegative, Meta(description="Memory one pilot may use, in MB; 0 for no limit")] = 0
    tags: Annotated[list[Name], Meta(description="What the queue has that a job may ask for")] = []
    required_tags: Annotated[list[Name], Meta(description="Only jobs that ask for all of these")] = []
    platforms: Annotated[list[Name], Meta(description="Platforms of its machines; none for any")] = []
    groups: Annotated[list[Name], Meta(description="Only jobs of these groups; none for all")] = []
    users: Annotated[
        list[Name], Meta(description="Only jobs of these users, by user name; none for all")
    ] = []


class ComputingElement(Section, frozen=True):
    """A door to computing resources."""

    type: Annotated[str, Meta(description="Plugin of kind dirac.computing")]
    settings: Annotated[
        dict[str, Any],
        Meta(description="Settings of the plugin; never a secret, but where it is: `password: {file: FILE}`"),
    ] = {}
    queues: Annotated[dict[QueueName, Queue], Meta(min_length=1, description="The element's queues")] = (
        msgspec.field(default_factory=lambda: {"default": Queue()})
    )
    managers: Annotated[
        dict[VOName, Managers],
        Meta(description="By VO, who sees the pilots of all VOs there, and may revoke them"),
    ] = {}


class JobLimit(Section, frozen=True):
    """A limit for some jobs at a site: those that fit all that is given here."""

    vo: Annotated[Name | None, Meta(description="Jobs of this VO; if not given, of all")] = None
    group: Annotated[Name | None, Meta(description="Jobs of this group; if not given, of all")] = None
    user: Annotated[Name | None, Meta(description="Jobs of this user; if not given, of all")] = None
    job_type: Annotated[Text | None, Meta(description="Jobs of this type; if not given, of all")] = None
    max_running: Annotated[
        NotNegative | None, Meta(description="Such jobs that may be matched or run at a time")
    ] = None
    delay: Annotated[NotNegative, Meta(description="Seconds between two matches of such jobs")] = 0


class Site(Section, frozen=True):
    """A place with resources, and the communities that may use it."""

    virtual_organisations: Annotated[list[Name], Meta(description="VOs that may use the site")]
    computing_elements: Annotated[
        dict[ElementName, ComputingElement], Meta(description="The site's computing elements")
    ] = {}
    limits: Annotated[dict[LimitName, JobLimit], Meta(description="Limits for jobs at the site")] = {}
    managers: Annotated[
        dict[VOName, Managers],
        Meta(
            description="By VO, who sees pilots and credentials of all VOs at the site, and may revoke them"
        ),
    ] = {}


class Pilot(Section, frozen=True):
    """How pilots find their environment and how long they stay."""

    release: Annotated[Name, Meta(description="Version of the release, or `pro`")] = "pro"
    locations: Annotated[
        list[Path], Meta(min_length=1, description="Where releases are, in order of preference")
    ] = msgspec.field(default_factory=lambda: ["/cvmfs/dirac.egi.eu"])
    idle_seconds: Annotated[NotNegative, Meta(description="A pilot without work ends after this long")] = 60
    max_jobs: Annotated[Positive, Meta(description="Jobs one pilot runs at most")] = 1000
    min_disk: Annotated[NotNegative, Meta(description="Free disk space a pilot needs, in MB")] = 2560
    token_seconds: Annotated[
        Positive, Meta(description="Life of a pilot's token until it is renewed, in seconds")
    ] = 86400


class ShadowShares(Section, frozen=True):
    """Shares of a VO that a candidate would change."""

    groups: Annotated[dict[Name, Positive], Meta(description="Shares of groups")] = {}
    users: Annotated[dict[Name, Positive], Meta(description="Shares of users")] = {}


class Shadow(Section, frozen=True):
    """A candidate for shares, limits and bans: compared with what is in force, and without any effect."""

    percent: Annotated[
        int, Meta(ge=1, le=100, description="Of a hundred decisions, so many are compared")
    ] = 10
    shares: Annotated[
        dict[VOName, ShadowShares], Meta(description="By VO, the shares that would be others")
    ] = {}
    limits: Annotated[
        dict[SiteName, dict[LimitName, JobLimit]],
        Meta(description="By site, the limits that it would have instead of its own"),
    ] = {}
    banned_sites: Annotated[
        dict[VOName, list[SiteName]], Meta(description="By VO, sites that would run none of its jobs")
    ] = {}


class Workload(Section, frozen=True):
    """Rules for jobs."""

    lease_seconds: Annotated[
        Positive, Meta(description="A run without a sign of life for this long is lost")
    ] = 300
    heartbeat_seconds: Annotated[Positive, Meta(description="Time between two signs of life of a job")] = 60
    max_reschedules: Annotated[NotNegative, Meta(description="Runs a lost job gets after its first")] = 3
    max_jobs_per_submission: Annotated[Positive, Meta(description="Jobs one submission may make")] = 100_000
    max_waiting_jobs_of_vo: Annotated[
        Positive | None, Meta(description="Jobs of a VO that may wait; more are refused")
    ] = None
    max_waiting_jobs_of_user: Annotated[
        Positive | None, Meta(description="Jobs of a user that may wait; more are refused")
    ] = None
    reschedule_delays: Annotated[
        list[NotNegative],
        Meta(description="Seconds before a lost job waits again: after its first loss, its second and so on"),
    ] = msgspec.field(default_factory=lambda: [0, 60, 300])
    keep_ended_days: Annotated[
        NotNegative, Meta(description="Days after which an ended job is removed for good; 0: never")
    ] = 90
    keep_deleted_days: Annotated[
        NotNegative, Meta(description="Days after which a deleted job is removed for good")
    ] = 7
    max_parametric_jobs: Annotated[
        Positive, Meta(description="Jobs one parametric description may stand for")
    ] = 100_000
    default_cpu_time: Annotated[
        Positive, Meta(description="Normalised CPU seconds of a job that does not say")
    ] = 86_400
    max_cpu_time: Annotated[Positive, Meta(description="Normalised CPU seconds a job may ask for")] = 500_000
    min_cpu_time: Annotated[Positive, Meta(description="Normalised CPU seconds a job gets at least")] = 100
    max_input_data: Annotated[Positive, Meta(description="Input files a job may name")] = 500
    max_sandbox_bytes: Annotated[Positive, Meta(description="Size of a sandbox, in bytes")] = (
        100 * 1024 * 1024
    )
    max_processors: Annotated[Processors, Meta(description="Processors a job may ask for")] = 1024
    compatible_platforms: Annotated[
        dict[PlatformName, list[Name]],
        Meta(description="By platform of a machine, the other platforms whose programs it runs"),
    ] = {}
    usage_half_life_hours: Annotated[
        NotNegative,
        Meta(
            description="Hours after which what jobs have used counts half against the shares of their "
            "owners; 0: only what runs now counts"
        ),
    ] = 168
    shadow: Annotated[
        Shadow | None, Meta(description="A candidate that is evaluated beside what is in force")
    ] = None
    min_priority: Annotated[NotNegative, Meta(description="Least priority of a job")] = 0
    max_priority: Annotated[NotNegative, Meta(description="Greatest priority of a job")] = 10
    max_retries: Annotated[NotNegative, Meta(description="Runs a job may ask for after one that failed")] = 10
    job_types: Annotated[list[Name], Meta(description="Types of jobs that are accepted; none for any")] = []
    job_path: Annotated[
        list[Name],
        Meta(description="Steps that jobs go through before they wait, plugins of kind dirac.optimiser"),
    ] = msgspec.field(default_factory=lambda: ["JobSanity", "InputData", "JobScheduling"])
    hold_seconds: Annotated[
        Positive, Meta(description="A job that is held is looked at again after this long")
    ] = 300


class Delegation(Section, frozen=True):
    """What administrators of a VO (property `VOAdministrator`) may change of their own VO."""

    options: Annotated[list[DelegatedOption], Meta(description="Options of the VO that they may change")] = (
        msgspec.field(default_factory=lambda: [DelegatedOption.USERS, DelegatedOption.SUPPORT])
    )
    properties: Annotated[
        list[Property], Meta(description="Groups with other properties they may not make, change or fill")
    ] = msgspec.field(default_factory=lambda: [Property.NORMAL_USER, Property.JOB_SHARING])
    max_users: Annotated[Positive | None, Meta(description="Most users that they may give their VO")] = None


class Tree(Section, frozen=True):
    """The whole configuration."""

    virtual_organisations: Annotated[
        dict[VOName, VirtualOrganisation], Meta(description="The communities of the installation")
    ] = {}
    hosts: Annotated[dict[_HostName, Host], Meta(description="Hosts that call with their certificates")] = {}
    sites: Annotated[dict[SiteName, Site], Meta(description="Where jobs can run")] = {}
    data: Annotated[Data, Meta(description="Where files are")] = Data()
    pilot: Annotated[Pilot, Meta(description="Rules for pilots")] = Pilot()
    workload: Annotated[Workload, Meta(description="Rules for jobs")] = Workload()
    operations: Annotated[
        dict[str, Any], Meta(description="Options that programs ask for, for all VOs; a VO's own come before")
    ] = {}
    delegation: Annotated[Delegation, Meta(description="What administrators of VOs may change")] = (
        Delegation()
    )
    extensions: Annotated[
        dict[str, Any],
        Meta(description="Options of extensions: kept, listed as unknown, and read by nobody here"),
    ] = {}
