"""Git repositories that the configuration follows, and that follow it: values shared by client and server."""

from __future__ import annotations

from datetime import datetime

import msgspec


class GitState(msgspec.Struct, frozen=True):
    """Where a repository and the configuration stand to each other.

    Attributes:
        role: `source`, whose commits become versions, or `mirror`, whose commits are made of versions.
        place: Address, branch and directory.
        time: When somebody last looked.
        commit_id: The newest commit that was taken over, or made; empty before the first.
        version: The version that was the newest then.
        problem: Why it is not further; empty if it is where it should be.
        notes: What the last commit that was taken over did, in lines.
        runs: How often somebody has looked.
    """

    role: str
    place: str
    time: datetime
    commit_id: str = ""
    version: int = 0
    problem: str = ""
    notes: str = ""
    runs: int = 0


class GitSync(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to look now.

    Attributes:
        rewritten: Take the source as it is, although its branch does not follow what was taken over before.
    """

    rewritten: bool = False
