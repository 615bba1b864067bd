"""What a change of the configuration would do to jobs, told from what is stored."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from dirac.systems.configuration.models import Tree

from .support import person
from .support_running import SITE, TREE, Hall

ALICE, BIO = person(), person("carol", "bio")


def tree(**site: Any) -> Tree:
    other = copy.deepcopy(TREE)
    other["sites"][SITE] |= site
    return msgspec.convert(other, Tree)


def element(**queue: Any) -> dict[str, Any]:
    return {"type": "scripted", "queues": {"q": queue}}


async def effects(hall: Hall, old: Tree, new: Tree) -> list[tuple[str, str, int, bool]]:
    told = await hall.system.change_effects.effects(old, new)
    return [(each.vo, each.text, each.number, each.harm) for each in told]


async def test_elements_that_go_are_counted_with_the_jobs_that_wait_for_them(hall: Hall) -> None:
    await hall.submitted(ALICE, *['Executable = "x";'] * 3)
    await hall.submitted(BIO, 'Executable = "x";')
    old, new = tree(), tree(virtual_organisations=["bio"])
    assert await effects(hall, old, new) == [
        ("astro", "1 CE becomes unreachable for VO astro (ce), 3 jobs wait on it", 1, True),
        ("astro", "3 jobs of VO astro would fit nowhere any more", 3, True),
    ]
    assert await effects(hall, new, old) == [
        ("astro", "1 CE becomes reachable for VO astro (ce)", 1, False),
        ("astro", "3 jobs of VO astro that fit nowhere now would fit", 3, False),
    ]


async def test_jobs_that_fit_elsewhere_are_not_stranded(hall: Hall) -> None:
    await hall.submitted(ALICE, 'Executable = "x";')
    both = tree(computing_elements={"ce": element(), "ce2": element()}, virtual_organisations=["astro"])
    one = tree(computing_elements={"ce": element()}, virtual_organisations=["astro"])
    assert await effects(hall, both, one) == [
        ("astro", "1 CE becomes unreachable for VO astro (ce2), 1 job waits on it", 1, True)
    ]


async def test_a_queue_that_becomes_too_small_strands_jobs(hall: Hall) -> None:
    await hall.submitted(ALICE, 'Executable = "x"; NumberOfProcessors = 4;')
    large = tree(computing_elements={"ce": element(processors=4)}, virtual_organisations=["astro"])
    small = tree(computing_elements={"ce": element(processors=2)}, virtual_organisations=["astro"])
    assert await effects(hall, large, small) == [
        ("astro", "1 job of VO astro would fit nowhere any more", 1, True)
    ]


async def test_what_jobs_do_not_see_has_no_effect(hall: Hall) -> None:
    await hall.submitted(ALICE, 'Executable = "x";')
    assert await effects(hall, tree(), tree(limits={"few": {"max_running": 1}})) == []
