"""An edit of an old version, put on top of what others have changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from dirac.core.errors import ConflictError, InvalidInputError
from dirac.systems.configuration.edits import Edit, Judge, Outcome, place_of
from dirac.systems.configuration.layout import State
from dirac.systems.configuration.merge import merge_text, overlaps
from dirac.systems.configuration.models import Change
from dirac.systems.configuration.trees import diff, normal_form

Told: TypeAlias = tuple[State, Mapping[str, str]]
"""A version, with the texts of the files that an edit is about."""

_SHOWN = 20
_LONGEST = 200


def put_together(judge: Judge, edit: Edit, base: Told, head: Told) -> tuple[Outcome, Edit]:
    """Return what an edit makes of the newest version, and the edit as it is then.

    Args:
        judge: Decides whether an edit may be.
        edit: The edit.
        base: The version that it was made from.
        head: The newest version.

    Raises:
        InvalidInputError: The edit has faults.
        ConflictError: Others have changed the same since.
    """
    (before, old), (now, theirs) = base, head
    if before is now:
        return judge.judge(now, edit, old), edit
    mine = judge.judge(before, edit, old)
    since = diff(before.snapshot.tree, now.snapshot.tree)
    _refuse_overlaps(mine, since, now.snapshot.version)
    merged = _merged(edit, old, theirs, now.snapshot.version)
    try:
        outcome = judge.judge(now, merged, theirs)
    except InvalidInputError as error:  # each of them was sound by itself
        raise ConflictError(
            f"this edit and version {now.snapshot.version} do not fit together: {error}",
            hint="Get the current files, make the change there, and apply again: dirac config pull",
        ) from error
    wanted, made, there = (_said(changes) for changes in (mine.changes, outcome.changes, since))
    if made - wanted or wanted - made - there:
        raise ConflictError(
            f"this edit and version {now.snapshot.version} cannot be put together by comparing lines",
            hint="Get the current files, make the change there, and apply again: dirac config pull",
        )
    return outcome, merged


def _said(changes: Sequence[Change]) -> set[tuple[str, bytes]]:
    return {(change.path, normal_form(change.new)) for change in changes}


def _merged(edit: Edit, old: Mapping[str, str], theirs: Mapping[str, str], version: int) -> Edit:
    changed = {}
    for name, mine in edit.changed.items():
        text = merge_text(old.get(name, ""), mine, theirs.get(name, ""))
        if text is None:
            raise ConflictError(
                f"the same lines of {name} were changed in another way by version {version}",
                where=edit.shown.get(name, name),
                hint="Get the current files, make the change there, and apply again: dirac config pull",
            )
        changed[name] = text
    for name in edit.removed:
        if name in theirs and theirs[name] != old.get(name):
            raise ConflictError(f"{name} was changed by version {version}, and is removed here", where=name)
    return Edit(changed, edit.removed, edit.shown)


def _refuse_overlaps(mine: Outcome, theirs: Sequence[Change], version: int) -> None:
    found = overlaps(mine.changes, theirs)
    if not found:
        return
    lines, first = [], None
    for change, other in found[:_SHOWN]:
        place = place_of(mine, change.path)
        first = first or place
        lines.append(
            f"{place}: {change.path}: here {_short(change.new)}, in version {version} {_short(other.new)}"
            f" at {other.path}, before {_short(change.old)}"
        )
    raise ConflictError(
        "\n".join(["the same was changed by others meanwhile; nothing was applied", *lines]),
        where=first,
        hint="Decide which value is right: dirac config diff",
    )


def _short(value: Any) -> str:
    text = "nothing" if value is None else normal_form(value).decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
