"""What a candidate for shares, limits and bans would change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, client, moment, print_json, print_table
from dirac.cli.report import heading

if TYPE_CHECKING:
    from dirac.systems.workload.models import ShadowReport

_KINDS = {
    "Same": "the same",
    "OtherJob": "another job of the same user",
    "OtherUser": "a job of another user of the group",
    "OtherGroup": "a job of another group",
    "Job": "a job instead of none",
    "NoJob": "no job instead of one",
}
_GROUPS = {"group": "GROUP", "present": "JOBS NOW", "candidate": "WITH THE CANDIDATE"}


@command(
    "dirac job shadow",
    "dirac job shadow --json  # [{vo, decisions, differing, kinds: {...}, groups: [...], ...}]",
)
def shadow(ctx: typer.Context, as_json: Json = False) -> None:
    """Show what a candidate policy would change.

    The configuration may hold other shares, limits or bans (`workload/shadow`). They decide nothing: each
    server process compares a part of its decisions with what they would have been, and tells of its own. The
    metric `dirac_shadow_decisions_total` has them all.
    """
    with client(ctx) as dirac:
        reports = dirac.jobs.shadow()
    if as_json:
        print_json(reports)
        return
    if not reports:
        print("Nothing was compared yet: is there a candidate (workload/shadow of the configuration)?")
    for report in reports:
        _print(report)


def _print(report: ShadowReport) -> None:
    since, part = moment(report.since), 100 * report.differing / report.decisions
    print(f"{report.vo}: of {report.decisions} decisions since {since}, {part:.1f} % would differ")
    rows = [
        {"what": _KINDS[kind], "number": number, "part": f"{100 * number / report.decisions:.1f} %"}
        for kind, number in report.kinds.items()
    ]
    print_table(rows, {"what": "THE PILOT WOULD GET", "number": "DECISIONS", "part": "PART"})
    heading("Jobs by group")
    groups = [{name: getattr(each, name) for name in _GROUPS} for each in report.groups]
    print_table(groups, _GROUPS)
