"""Who gets tokens for storage and computing elements."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from dirac.systems.configuration.models.values import Name, Section, Text

STORAGE_VERBS = ("read", "create", "modify", "stage")

_Path = Annotated[
    str,
    Meta(
        # As of scopes: nothing that could be read in another way.
        pattern=r"^(/|(/(?!\.{1,2}(/|$))[A-Za-z0-9_@:=,+~.-]+)+)$(?!\n)",
        max_length=255,
        extra={"accepts": "an absolute path of plain letters, without `.`, `..` and a slash at its end"},
    ),
]


class IssuedBy(StrEnum):
    """Who makes tokens for storage and computing elements."""

    INSTALLATION = "installation"
    PROVIDER = "provider"


class ComputeVerb(StrEnum):
    """What can be done with jobs of a computing element."""

    READ = "read"
    CREATE = "create"
    MODIFY = "modify"
    CANCEL = "cancel"


class GroupCapabilities(Section, frozen=True):
    """What members of a group get tokens for."""

    read: Annotated[list[_Path], Meta(description="Directories below which they may read")] = []
    create: Annotated[list[_Path], Meta(description="... put new files")] = []
    modify: Annotated[list[_Path], Meta(description="... put, change and remove files")] = []
    stage: Annotated[list[_Path], Meta(description="... read files, and have them fetched from tape")] = []
    compute: Annotated[list[ComputeVerb], Meta(description="What they may do with jobs")] = []


class CapabilityTokens(Section, frozen=True):
    """Tokens of the WLCG profile, which storage and computing elements take: who gets them, and for what."""

    audiences: Annotated[
        list[Text],
        Meta(
            min_length=1,
            description="For whom tokens are: what the elements call themselves, or "
            "`https://wlcg.cern.ch/jwt/v1/any` for all",
        ),
    ]
    groups: Annotated[dict[Name, GroupCapabilities], Meta(description="Who gets what, by group")] = {}
    issued_by: Annotated[
        IssuedBy,
        Meta(
            description="`installation`: signed here, elements trust `<url>/vo/<name>`; `provider`: the VO's "
            "identity provider gives them to DIRAC's client there"
        ),
    ] = IssuedBy.INSTALLATION
    seconds: Annotated[
        int, Meta(ge=60, le=21600, description="Life of a token that is signed here; it cannot be revoked")
    ] = 1200
