"""What each requirement removes, and the smallest change that helps."""

from __future__ import annotations

from typing import Any

from dirac.formats.description import Requirements
from dirac.systems.workload.logic.explain import Comparison, effects, suggest
from dirac.systems.workload.logic.fitting import JobClass, fits, offer_of
from dirac.systems.workload.models import Resource


def compared(wanted: JobClass, *resources: dict[str, Any]) -> list[Comparison]:
    found = []
    for number, resource in enumerate(resources):
        values = {"site": "LCG.A.fr", "ce": "ce", "queue": f"q{number}", "cpu_time": 1000} | resource
        offer = offer_of(Resource(**values), frozenset({"astro"}))
        found.append(Comparison(offer, fits(wanted, offer)))
    return found


def job_class(**needs: Any) -> JobClass:
    return JobClass(1, "astro", "users", Requirements(**({"cpu_time": 100} | needs)))


def test_what_each_requirement_removes() -> None:
    wanted = job_class(cpu_time=5000, tags=("GPU",))
    found = effects(compared(wanted, {"tags": ["GPU"]}, {}, {"cpu_time": 9000, "tags": ["GPU"]}))
    assert [(each.requirement, each.wanted, each.removes, each.removes_alone) for each in found] == [
        ("CPUTime", "5000", 2, 1),
        ("Tags", "GPU", 1, 0),
    ]
    assert found[0].examples[0] == "LCG.A.fr/ce/q0 offers 1000"


def test_nothing_to_suggest_where_something_fits() -> None:
    wanted = job_class()
    assert suggest(wanted, compared(wanted, {}, {"cpu_time": 1})) is None
    assert suggest(wanted, []) is None


def test_a_number_is_lowered_no_further_than_needed() -> None:
    wanted = job_class(cpu_time=5000)
    found = suggest(wanted, compared(wanted, {"cpu_time": 1000}, {"cpu_time": 4000}))
    assert found is not None
    # Lowered to 1000 it fits in both, and that is what opens most.
    assert (found.change, found.queues) == ({"CPUTime": "1000"}, 2)


def test_one_change_is_better_than_two() -> None:
    wanted = job_class(sites=("LCG.Z.fr",), tags=("GPU", "SSD"))
    found = suggest(
        wanted, compared(wanted, {}, {}, {"tags": ["GPU", "SSD"]}, {"site": "LCG.Z.fr", "tags": ["SSD"]})
    )
    assert found is not None
    assert found.change in ({"Site": ""}, {"Tags": "SSD"})
    assert found.queues == 1


def test_two_changes_where_one_is_not_enough() -> None:
    wanted = job_class(cpu_time=5000, tags=("GPU", "4Processors", "MultiProcessor", "SSD"))
    found = suggest(wanted, compared(wanted, {"processors": 4, "tags": ["SSD"]}))
    assert found is not None
    assert found.change == {"CPUTime": "1000", "Tags": "SSD"}
    assert "lower CPUTime from 5000 to 1000 and drop the tag GPU" in found.text


def test_tags_that_a_queue_insists_on_are_suggested() -> None:
    wanted = job_class(tags=("SSD",))
    found = suggest(wanted, compared(wanted, {"required_tags": ["GPU"], "tags": ["GPU"]}))
    assert found is not None
    assert found.change == {"Tags": "GPU"}


def test_a_ban_is_lifted_for_one_site_only() -> None:
    wanted = job_class(banned_sites=("LCG.A.fr", "LCG.B.fr"))
    found = suggest(wanted, compared(wanted, {}))
    assert found is not None
    assert found.change == {"BannedSites": "LCG.B.fr"}


def test_the_suggestion_really_helps() -> None:
    wanted = job_class(cpu_time=5000, tags=("8Processors", "MultiProcessor"))
    found = suggest(wanted, compared(wanted, {"processors": 2}, {"processors": 4, "cpu_time": 9000}))
    assert found is not None
    assert found.change == {"NumberOfProcessors": "4"}
