"""Types of options, with what a message says of them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}$(?!\n)"
Path = Annotated[str, Meta(min_length=1, max_length=4096)]
Text = Annotated[str, Meta(max_length=4096)]

# `accepts` is what a message says instead of the pattern.
Name = Annotated[
    str,
    Meta(
        pattern=_NAME,
        extra={
            "accepts": "a name of at most 63 letters, digits and _ . @ -, the first one a letter or a digit"
        },
    ),
]
Subject = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        pattern=r"^(?!pilot:|job:|node:).+$(?!\n)",
        extra={
            "accepts": "a subject of at most 255 characters that does not begin with pilot:, job: or node:"
        },
    ),
]
SiteName = Annotated[
    str,
    Meta(
        title="site",
        pattern=r"^[A-Za-z0-9-]+\.[A-Za-z0-9_-]+\.[a-z]{2,6}$(?!\n)",
        max_length=128,
        extra={"accepts": "a site's name, three fields with dots: Grid.Name.country"},
    ),
]
Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Processors = Annotated[int, Meta(ge=1, le=1024)]
NotNegative = Annotated[int, Meta(ge=0, le=2**31 - 1)]
# The title is what stands for the key in the reference: `virtual_organisations/<vo>/...`.
VOName = Annotated[Name, Meta(title="vo")]
GroupName = Annotated[Name, Meta(title="group")]
UserName = Annotated[Name, Meta(title="user")]
ElementName = Annotated[Name, Meta(title="element")]
PlatformName = Annotated[Name, Meta(title="platform")]
LimitName = Annotated[Name, Meta(title="limit")]
StorageName = Annotated[Name, Meta(title="element")]
Directory = Annotated[
    str,
    Meta(
        title="directory",
        pattern=r"^(/[^/\s]+)+$(?!\n)",
        max_length=255,
        extra={"accepts": "a directory of logical file names: /<vo>/..., without a slash at its end"},
    ),
]
ProtocolName = Annotated[Name, Meta(title="protocol")]
CatalogName = Annotated[Name, Meta(title="catalog")]
ServerName = Annotated[Name, Meta(title="server")]
QueueName = Annotated[Name, Meta(title="queue")]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all sections share: immutable, and closed to options that do not exist."""
