"""Differences between configurations, as lines with signs and colours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dirac.cli.report import paint

if TYPE_CHECKING:
    from dirac.systems.configuration.models import Change


def lines(changes: Sequence[Change]) -> Iterator[tuple[str, str]]:
    """Give for each line of a diff its sign (``+``, ``-``) and its text."""
    for change in changes:
        if change.old is not None:
            yield "-", f"{change.path}: {_short(change.old)}"
        if change.new is not None:
            yield "+", f"{change.path}: {_short(change.new)}"


def print_changes(changes: Sequence[Change]) -> None:
    """Print a diff."""
    for sign, line in lines(changes):
        print(paint(f"{sign} {line}", "green" if sign == "+" else "red"))


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
