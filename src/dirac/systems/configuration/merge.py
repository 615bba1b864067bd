"""Putting two edits of the same text together, so that none of them is lost.

Lines are compared first; where both have changed the same lines, words. Whether the outcome means what both
meant is not decided here: who merges compares the trees.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from dirac.systems.configuration.models import Change

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_WORDS = 5000


class _Hunk(NamedTuple):
    """Lines or words of the base, from `low` up to `high`, that one side has replaced."""

    low: int
    high: int
    new: Sequence[str]


def merge_text(base: str, mine: str, theirs: str) -> str | None:
    """Return the text with both edits; None if they changed the same words in different ways."""
    if mine == theirs or theirs == base:
        return mine
    if mine == base:
        return theirs
    return _merged(*(_lines(text) for text in (base, mine, theirs)), deeper=True)


def overlaps(mine: Sequence[Change], theirs: Sequence[Change]) -> list[tuple[Change, Change]]:
    """Return the pairs of changes at the same place, or one inside the other, that do not agree."""
    by_path = {change.path: change for change in theirs}
    inside: dict[str, list[Change]] = {}
    for change in theirs:
        for ancestor in _ancestors(change.path):
            inside.setdefault(ancestor, []).append(change)
    found = []
    for change in mine:
        other = by_path.get(change.path)
        if other is not None and other.new != change.new:
            found.append((change, other))
        found += [(change, each) for each in inside.get(change.path, ())]
        found += [(change, by_path[each]) for each in _ancestors(change.path) if each in by_path]
    return found


def _ancestors(path: str) -> list[str]:
    names = path.split("/")
    return ["/".join(names[:depth]) for depth in range(1, len(names))]


def _lines(text: str) -> list[str]:
    ended = text if text.endswith("\n") or not text else f"{text}\n"
    return ended.splitlines(keepends=True)


def _merged(base: Sequence[str], mine: Sequence[str], theirs: Sequence[str], *, deeper: bool) -> str | None:
    ours, others = _hunks(base, mine), _hunks(base, theirs)
    merged: list[str] = []
    done = 0
    while ours or others:
        low = min(hunks[0].low for hunks in (ours, others) if hunks)
        left, right, high = _group(ours, others, low)
        merged += base[done:low]
        piece = _piece(base, left, right, low, high, deeper=deeper)
        if piece is None:
            return None
        merged.append(piece)
        done = high
    return "".join([*merged, *base[done:]])


def _hunks(base: Sequence[str], other: Sequence[str]) -> list[_Hunk]:
    codes = SequenceMatcher(None, base, other, autojunk=False).get_opcodes()
    return [_Hunk(low, high, other[a:b]) for tag, low, high, a, b in codes if tag != "equal"]


def _group(ours: list[_Hunk], others: list[_Hunk], low: int) -> tuple[list[_Hunk], list[_Hunk], int]:
    """Take the hunks that overlap, from the first one on."""
    high, taken = low, ([], [])  # type: int, tuple[list[_Hunk], list[_Hunk]]
    grown = True
    while grown:
        grown = False
        for hunks, side in ((ours, taken[0]), (others, taken[1])):
            while hunks and (hunks[0].low < high or (hunks[0].low == low and not side)):
                hunk = hunks.pop(0)
                side.append(hunk)
                high = max(high, hunk.high)
                grown = True
    return taken[0], taken[1], high


def _piece(
    base: Sequence[str], left: list[_Hunk], right: list[_Hunk], low: int, high: int, *, deeper: bool
) -> str | None:
    mine, theirs = _applied(base, left, low, high), _applied(base, right, low, high)
    if not right or mine == theirs:
        return "".join(mine)
    if not left:
        return "".join(theirs)
    if low == high:  # both have put something in at the same place
        return "".join([*theirs, *mine])
    if not deeper:
        return None
    words = [_WORDS.findall("".join(part)) for part in (base[low:high], mine, theirs)]
    if sum(map(len, words)) > _MOST_WORDS:
        return None
    return _merged(*words, deeper=False)


def _applied(base: Sequence[str], hunks: list[_Hunk], low: int, high: int) -> list[str]:
    found: list[str] = []
    for hunk in hunks:
        found += base[low : hunk.low]
        found += hunk.new
        low = hunk.high
    return [*found, *base[low:high]]
