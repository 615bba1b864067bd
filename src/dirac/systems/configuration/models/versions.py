"""Versions of the configuration, and what is asked of them: values shared by client and server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from dirac.systems.configuration.models.tree import Tree


class Change(msgspec.Struct, frozen=True):
    """One difference between two trees.

    Attributes:
        path: Place in the tree, with slashes.
        old: Value before, as JSON; None if there was none.
        new: Value after, as JSON; None if there is none.
    """

    path: str
    old: Any = None
    new: Any = None


class Version(msgspec.Struct, frozen=True):
    """One accepted configuration.

    Attributes:
        number: Counts up from 1; 0 is the configuration of a new installation, nothing but defaults.
        digest: SHA-256 of the tree's normal form, hexadecimal.
        time: When it was accepted.
        author: Who brought it, as ``vo:sub``.
        comment: Why.
    """

    number: int
    digest: str
    time: datetime
    author: str
    comment: str


class Content(msgspec.Struct, frozen=True):
    """What one version says.

    Attributes:
        version: Its number.
        text: YAML as it was given; for those who may not see all of it, YAML of what they may see.
        tree: The same as a tree.
    """

    version: int
    text: str
    tree: Tree


class Snapshot(msgspec.Struct, frozen=True):
    """The configuration at one moment, for use by the systems.

    Attributes:
        version: Its number.
        digest: SHA-256 of the tree's normal form, hexadecimal.
        time: When it was accepted.
        tree: What it says.
    """

    version: int
    digest: str = ""
    time: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    tree: Tree = Tree()


class Apply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to change the configuration: to one text, or in some of its files.

    Attributes:
        text: YAML, which is the whole configuration from then on.
        file: Name of the file it comes from, for messages.
        files: Instead of `text`: files that are new or other than before, by name.
        removed: Files that are no more; with `files`.
        base: Version that these files were made from. What others have changed since is kept, unless both
            changed the same. If not given, the current one.
        comment: Why.
        dry_run: Only say what would change, and what effect that would have.
        expected_version: Refuse if the current version is another one.
    """

    text: str | None = None
    file: str = "configuration"
    files: dict[str, str] = {}
    removed: list[str] = []
    base: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    comment: str = ""
    dry_run: bool = False
    expected_version: int | None = None


class Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to make what an old version said the configuration again.

    Attributes:
        version: Its number.
        comment: Why.
    """

    version: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    comment: str = ""


class Effect(msgspec.Struct, frozen=True):
    """What a change would do to what runs and waits.

    Attributes:
        vo: The VO that it hits; empty for all.
        text: What happens, in words and numbers.
        number: How many are hit: jobs, people or computing elements.
        harm: Somebody loses something by it.
    """

    vo: str
    text: str
    number: int = 0
    harm: bool = True


class Applied(msgspec.Struct, frozen=True):
    """What an application changed.

    Attributes:
        version: Number of the version that is current now; after a dry run the one that would have been made.
        changes: The differences, ordered by path.
        files: Names of the files that the new version has other than the one before; no files means that no
            version was made.
        warnings: What was wrong before and still is, and options that nobody knows.
        effects: After a dry run, what the change would do to what runs and waits.
        merged: Versions of others that came after `base` and were kept.
    """

    version: int
    changes: list[Change]
    files: list[str] = []
    warnings: list[str] = []
    effects: list[Effect] = []
    merged: list[int] = []


class Convert(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to read another system's configuration; nothing is applied.

    Attributes:
        text: That configuration.
        form: `cfg` for DIRAC's, `diracx` for DiracX's YAML.
    """

    text: str
    form: str = "cfg"


class Converted(msgspec.Struct, frozen=True):
    """Another system's configuration as files of ours.

    Attributes:
        files: Texts by name.
        report: What was not understood, or left out, and why; in words.
    """

    files: dict[str, str]
    report: list[str]


class Exported(msgspec.Struct, frozen=True):
    """A version as another system writes it.

    Attributes:
        version: Its number.
        text: What it says.
    """

    version: int
    text: str


class FileText(msgspec.Struct, frozen=True):
    """One file of a version.

    Attributes:
        name: Its name, with slashes.
        digest: SHA-256 of its text, hexadecimal.
        text: What it says; None if that was not asked for.
    """

    name: str
    digest: str
    text: str | None = None


class Files(msgspec.Struct, frozen=True):
    """The files of one version, as far as the caller may change them.

    Attributes:
        version: Its number.
        files: The files, ordered by name.
    """

    version: int
    files: list[FileText]


class Blame(msgspec.Struct, frozen=True):
    """A version in which an option got the value that it had from then on.

    Attributes:
        version: Its number; 0 for the default.
        time: When it was accepted.
        author: Who brought it, as ``vo:sub``; empty if the caller may not know.
        comment: Why; empty if the caller may not know.
        value: What the option was from then on; None if it was not there.
    """

    version: int
    time: datetime
    author: str
    comment: str
    value: Any = None


class Overridden(msgspec.Struct, frozen=True):
    """A value that does not count, because another one comes before it.

    Attributes:
        origin: Where it is: a path, or `default`.
        value: What it is.
    """

    origin: str
    value: Any = None


class Explanation(msgspec.Struct, frozen=True):
    """One option: what it is, where that comes from, and what it means.

    Attributes:
        key: Its path, with slashes.
        value: What it is.
        origin: `file`, `default`, or the path whose value stands in for it.
        meaning: What the option means; empty for one that nobody knows.
        accepts: What is accepted for it.
        file: The file that it is in.
        line: Its line there.
        column: Its column there.
        since: The version that gave it this value; None for a default.
        overrides: What it comes before.
    """

    key: str
    value: Any
    origin: str
    meaning: str
    accepts: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None
    since: Blame | None = None
    overrides: list[Overridden] = []
