"""All checks of a server, and how their findings are shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from dirac.core.errors import DiracError
from dirac.server.doctor import (
    broker,
    certificates,
    database,
    endings,
    files,
    machine,
    network,
    people,
    references,
    sandboxes,
    work,
)
from dirac.server.doctor.model import Check, Finding, Patient, examine
from dirac.server.settings import load

CONCERNS: tuple[ModuleType, ...] = (
    files,
    database,
    broker,
    sandboxes,
    certificates,
    network,
    people,
    references,
    machine,
    work,
    endings,
)
_RED, _GREEN, _YELLOW, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"


async def diagnose(file: Path) -> list[Finding]:
    """Examine the server of a settings file; nothing is changed that stays.

    Args:
        file: The settings.
    """
    try:
        patient = Patient(file, load(file))
    except DiracError as error:
        mend = error.hint or f"Correct it; dirac-server check --settings {file} says when it is right"
        return [Finding("settings.file", False, str(error), "The settings cannot be used", mend)]
    checks: list[Check] = []
    findings: list[Finding] = []
    for concern in CONCERNS:
        try:
            checks += concern.checks(patient)
        except DiracError as error:
            name = concern.__name__.rpartition(".")[2]
            hint = error.hint or "Correct the settings"
            findings.append(Finding(f"{name}.settings", False, error.message, "It cannot be examined", hint))
    try:
        return findings + await examine(patient, checks)
    finally:
        await patient.close()


def show(findings: Sequence[Finding]) -> str:
    """Return the findings for people: a line each, and what to do below those that need it."""
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = max(len(one.check) for one in findings)
    lines: list[str] = []
    for one in findings:
        word, colour = ("bad ", _RED) if not one.ok else ("look", _YELLOW) if one.cause else ("ok  ", _GREEN)
        mark = f"{colour}{word}{_PLAIN}" if colours else word
        lines.append(f"{mark}  {one.check:<{width}}  {one.detail}")
        if one.cause:
            lines += [f"      {'cause':>{width}}: {one.cause}", f"      {'mend':>{width}}: {one.mend}"]
    bad = sum(not one.ok for one in findings)
    lines.append(f"{len(findings)} checks, {bad} failed")
    return "\n".join(lines)
