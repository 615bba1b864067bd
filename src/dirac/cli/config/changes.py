"""Differences between configurations, as lines with signs and colours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dirac.cli.report import paint

if TYPE_CHECKING:
    from dirac.systems.configuration.models import Applied, Change


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


def print_consequences(applied: Applied) -> None:
    """Print what a change would do to jobs and people, what is wrong besides, and what it was merged with."""
    if applied.effects:
        print()
        for effect in applied.effects:
            print(paint(f"{'!' if effect.harm else ' '} {effect.text}", "red" if effect.harm else "green"))
    for warning in applied.warnings:
        print(paint(f"warning: {warning}", "yellow"))
    if applied.merged:
        first, last = applied.merged[0], applied.merged[-1]
        versions = f"version {first}" if first == last else f"versions {first} to {last}"
        print(f"What others changed in {versions} is kept.")


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
