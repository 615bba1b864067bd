"""A candidate for shares, limits and bans is compared with what is in force, and changes nothing."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from typing import Any

import msgspec
import pytest

from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Property
from dirac.systems.workload.models import ShadowKind, ShadowReport

from .support import person
from .support_running import SITE, TREE, Hall

PLAIN = 'Executable = "x";'
ALICE, BOB = person(), person("bob")
CAROL = person("carol", group="crew")
BOSS = person("boss", "astro", Property.JOB_ADMINISTRATOR)
ROOT = person("root", "admin", Property.SERVICE_ADMINISTRATOR)
Kinds = dict[ShadowKind, int]


def configured(hall: Hall, shadow: dict[str, Any] | None, **limits: Any) -> None:
    tree = copy.deepcopy(TREE)
    groups = {"users": {}, "crew": {}}
    tree["virtual_organisations"]["astro"] |= {
        "groups": groups,
        "users": {name: {"groups": ["users"]} for name in ("alice", "bob")},
    }
    tree["sites"][SITE]["limits"] = limits
    tree["workload"]["shadow"] = None if shadow is None else {"percent": 100} | shadow
    hall.configuration.tree = msgspec.convert(tree, Tree)


async def given(hall: Hall, times: int) -> list[str]:
    """Let so many pilots ask; returns whose jobs they got."""
    answers = [await hall.ask(f"p{number}") for number in range(times)]
    return [answer.job.owner for answer in answers if answer.job is not None]


def told(hall: Hall) -> ShadowReport:
    (report,) = hall.system.shadow.report(BOSS)
    return report


async def test_equal_policies_never_differ(hall: Hall) -> None:
    configured(hall, {})
    for who in (ALICE, BOB, CAROL):
        await hall.submitted(who, *[PLAIN] * 10)
    await given(hall, 20)
    report = told(hall)
    assert (report.decisions, report.differing, report.kinds) == (20, 0, {ShadowKind.SAME: 20})
    assert [(each.group, each.present, each.candidate) for each in report.groups] == [
        ("crew", 10, 10),
        ("users", 10, 10),
    ]


@pytest.mark.parametrize(
    ("shares", "kind"),
    [
        ({"users": {"alice": 3000}}, ShadowKind.OTHER_USER),
        ({"groups": {"crew": 3000}}, ShadowKind.OTHER_GROUP),
    ],
)
async def test_other_shares_are_seen_and_decide_nothing(
    hall: Hall, shares: dict[str, Any], kind: ShadowKind
) -> None:
    async def submitted() -> list[int]:
        others = CAROL if "groups" in shares else BOB
        ids = await hall.submitted(ALICE, *[PLAIN] * 40)
        return ids + await hall.submitted(others, *[PLAIN] * 40)

    configured(hall, None)
    ids = await submitted()
    without = await given(hall, 24)
    assert hall.system.shadow.report(BOSS) == []
    await hall.life.kill(BOSS, ids)
    hall.restart()
    configured(hall, {"shares": {"astro": shares}})
    await submitted()
    assert Counter(await given(hall, 24)) == Counter(without)
    report = told(hall)
    assert report.decisions == 24
    assert set(report.kinds) == {ShadowKind.SAME, kind}
    assert report.differing == report.kinds[kind] >= 6
    if "groups" in shares:
        assert [(each.group, each.present, each.candidate) for each in report.groups] == [
            ("crew", 12, 18),
            ("users", 12, 6),
        ]


async def test_limits_and_bans_are_seen_and_decide_nothing(hall: Hall) -> None:
    await hall.submitted(ALICE, *[PLAIN] * 10)
    numbers = itertools.count()

    async def asked(shadow: dict[str, Any], **limits: Any) -> tuple[bool, Kinds]:
        configured(hall, shadow, **limits)
        answer = await hall.ask(f"q{next(numbers)}")
        return answer.job is not None, dict(told(hall).kinds)

    closed = {"all": {"max_running": 0}}
    assert await asked({"limits": {SITE: closed}}) == (True, {ShadowKind.NO_JOB: 1})
    assert await asked({"banned_sites": {"astro": [SITE]}}) == (True, {ShadowKind.NO_JOB: 1})
    assert await asked({"limits": {SITE: {}}}, **closed) == (False, {ShadowKind.JOB: 1})
    only_sim = {"sim": {"job_type": "Simulation", "max_running": 0}}
    await hall.submitted(ALICE, PLAIN + 'Priority = 9; JobType = "Simulation";')
    hall.restart()
    assert await asked({"limits": {SITE: only_sim}}) == (True, {ShadowKind.OTHER_JOB: 1})


async def test_a_part_of_the_decisions_is_compared(hall: Hall) -> None:
    configured(hall, {"percent": 25})
    await hall.submitted(ALICE, *[PLAIN] * 20)
    heard: list[tuple[str, str]] = []
    hall.system.shadow.told.append(lambda vo, kind: heard.append((vo, kind)))
    await given(hall, 20)
    assert (told(hall).decisions, told(hall).percent) == (5, 25)
    assert heard == [("astro", "Same")] * 5
    configured(hall, {"percent": 25, "banned_sites": {"bio": [SITE]}})
    await hall.ask("p99")
    assert hall.system.shadow.report(BOSS) == [], "another candidate begins anew"


async def test_whose_vo_it_is_sees_it(hall: Hall) -> None:
    configured(hall, {})
    for vo in ("astro", "bio"):
        await hall.submitted(person(vo=vo))
        assert (await hall.ask(f"p-{vo}", vo=vo)).job is not None
    assert [report.vo for report in hall.system.shadow.report(ROOT)] == ["astro", "bio"]
    assert [report.vo for report in hall.system.shadow.report(BOSS)] == ["astro"]


async def test_it_costs_no_statement(hall: Hall) -> None:
    await hall.submitted(ALICE, *[PLAIN] * 9)
    counts = []
    for shadow in (None, {"limits": {SITE: {"all": {"max_running": 0}}}}):
        configured(hall, shadow)
        hall.restart()
        await hall.matched(f"warm-{shadow is None}")
        with hall.counted() as statements:
            await hall.matched(f"p-{shadow is None}")
        counts.append(len(statements))
    assert counts[0] == counts[1]
