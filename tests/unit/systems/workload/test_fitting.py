"""Whether a class of jobs fits a resource: every dimension, alone and together."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.formats.description import JobDescription, Requirements, requirements
from dirac.systems.configuration.models import Queue, Tree
from dirac.systems.workload.logic.fitting import (
    Dimension,
    JobClass,
    Offer,
    PlaceRules,
    fits,
    less,
    offer_of,
    offer_of_queue,
    rules_of,
    shown,
)
from dirac.systems.workload.models import Resource

D = Dimension


def job_class(vo: str = "astro", **needs: Any) -> JobClass:
    return JobClass(1, vo, "users", Requirements(**({"cpu_time": 3600} | needs)))


def offer(rules: PlaceRules | None = None, **resource: Any) -> Offer:
    values = {"site": "LCG.Here.fr", "ce": "ce1", "queue": "long", "cpu_time": 86400} | resource
    return offer_of(Resource(**values), frozenset({"astro"}), rules)


def test_a_modest_job_fits() -> None:
    assert fits(job_class(), offer()) == []


CASES: list[tuple[Dimension, dict[str, Any], dict[str, Any]]] = [
    (D.VO, {"vo": "bio"}, {}),
    (D.SITE, {"sites": ("LCG.There.fr",)}, {}),
    (D.BANNED_SITE, {"banned_sites": ("LCG.Here.fr",)}, {}),
    (D.CE, {"grid_ces": ("ce2",)}, {}),
    (D.PLATFORM, {"platforms": ("x86_64-el9",)}, {"platforms": ["aarch64-el9"]}),
    (D.PLATFORM, {"platforms": ("x86_64-el9",)}, {"platforms": []}),
    (D.CPU_TIME, {"cpu_time": 172800}, {}),
    (D.RAM, {"min_ram": 4000}, {"max_ram": 2000}),
    (D.PROCESSORS, {"tags": ("4Processors", "MultiProcessor")}, {"processors": 2}),
    (D.WHOLE_NODE, {"tags": ("WholeNode",)}, {}),
    (D.TAGS, {"tags": ("GPU",)}, {"tags": ["SSD"]}),
    (D.GPUS, {"gpus": 2}, {"gpus": 1}),
    (D.REQUIRED_TAGS, {}, {"required_tags": ["GPU"], "tags": ["GPU"]}),
    (D.OWNER_GROUP, {}, {"rules": PlaceRules(groups=frozenset({"production"}))}),
    (D.OWNER, {}, {"rules": PlaceRules(owners=frozenset({"alice"}))}),
]


@pytest.mark.parametrize(("dimension", "wanted", "offered"), CASES)
def test_each_dimension_alone(dimension: Dimension, wanted: dict[str, Any], offered: dict[str, Any]) -> None:
    (reason,) = fits(job_class(**wanted), offer(**offered))
    assert reason.dimension == dimension
    assert shown(reason.wanted)
    assert shown(reason.offered)


def test_no_dimension_is_forgotten() -> None:
    assert {dimension for dimension, _, _ in CASES} == set(Dimension)


def test_a_queue_for_some_groups_and_users_takes_their_jobs() -> None:
    tree = msgspec.convert(
        {
            "virtual_organisations": {
                "astro": {
                    "default_group": "users",
                    "groups": {"users": {}},
                    "users": {"alice": {"groups": ["users"], "sub": "s-1"}, "bob": {"groups": ["users"]}},
                }
            }
        },
        Tree,
    )
    queue = Queue(groups=["users"], users=["alice", "nobody"])
    found = offer(rules_of(tree, "astro", queue))
    assert found.owners == {"s-1", "nobody"}
    alice = msgspec.structs.replace(job_class(), owner_sub="s-1")
    assert fits(alice, found) == []
    assert [reason.dimension for reason in fits(job_class(), found)] == [D.OWNER]


def test_a_machine_runs_what_its_platform_is_compatible_with() -> None:
    rules = PlaceRules(compatible={"x86_64-el9": ["x86_64-el8", "x86_64-el7"]})
    wanted = job_class(platforms=("x86_64-el7",))
    assert fits(wanted, offer(rules, platforms=["x86_64-el9"])) == []
    assert fits(wanted, offer(rules, platforms=["x86_64-el8"])), "not the other way round"


def test_what_is_left_beside_a_job() -> None:
    whole = offer(processors=8, max_ram=8000, tags=["SSD"])
    left = less(whole, Requirements(cpu_time=1, tags=("4Processors", "MultiProcessor"), min_ram=3000))
    assert left is not None
    assert (left.processors, left.max_ram) == (4, 5000)
    assert fits(job_class(tags=("4Processors", "SSD")), left) == []
    assert [r.dimension for r in fits(job_class(tags=("5Processors",)), left)] == [D.PROCESSORS]
    assert less(left, Requirements(cpu_time=1, tags=("4Processors",))) is None
    assert less(offer(processors=8, whole_node=True), Requirements(cpu_time=1, tags=("WholeNode",))) is None


def test_reasons_are_complete() -> None:
    wanted = job_class("bio", sites=("A.b.fr",), cpu_time=999999, tags=("GPU", "2Processors"))
    found = [reason.dimension for reason in fits(wanted, offer())]
    assert found == [D.VO, D.SITE, D.CPU_TIME, D.PROCESSORS, D.TAGS]


def test_what_is_wanted_and_offered_is_said() -> None:
    wanted = job_class(tags=("4Processors", "GPU", "MultiProcessor", "SSD"))
    processors, tags = fits(wanted, offer(processors=2, tags=["SSD"]))
    assert (processors.wanted, processors.offered) == (4, 2)
    assert (tags.wanted, tags.offered) == (("GPU",), ("SSD",))


@pytest.mark.parametrize("processors", [1, 2, 8])
def test_a_resource_of_n_processors_takes_jobs_of_up_to_n(processors: int) -> None:
    for wanted in range(1, 10):
        needs = requirements(JobDescription(executable="x", cpu_time=360, number_of_processors=wanted))
        found = fits(JobClass(1, "astro", "users", needs), offer(processors=processors))
        assert bool(found) == (wanted > processors)


def test_required_tags_admit_only_jobs_that_ask_for_them() -> None:
    special = offer(tags=["GPU"], required_tags=["GPU"])
    assert fits(job_class(tags=("GPU",)), special) == []
    assert fits(job_class(), special)


def test_no_limit_on_memory_fits_everything() -> None:
    assert fits(job_class(min_ram=10**6), offer(max_ram=0)) == []


def test_a_queue_offers_what_its_pilots_will() -> None:
    queue = Queue(processors=4, tags=["GPU", "WholeNode"], required_tags=["GPU"], max_ram=8000, cpu_time=500)
    found = offer_of_queue(queue, site="A.b.fr", ce="ce", name="q", vos=frozenset({"astro"}))
    assert found.tags == {"GPU", "WholeNode", "MultiProcessor", *(f"{n}Processors" for n in (1, 2, 3, 4))}
    assert found.whole_node
    assert found.name == "A.b.fr/ce/q"


def test_long_lists_are_cut_for_people() -> None:
    assert shown(tuple("abcdefg")) == "a, b, c, d, e and 2 more"
    assert shown(()) == "none"


names = st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=3)
needed = st.builds(
    Requirements,
    cpu_time=st.integers(0, 10),
    sites=names.map(tuple),
    banned_sites=names.map(tuple),
    platforms=names.map(tuple),
    tags=names.map(tuple),
    min_ram=st.integers(0, 10),
)
offered = st.builds(
    Resource,
    site=st.sampled_from(["a", "b", "c", "d"]),
    cpu_time=st.integers(0, 10),
    max_ram=st.integers(0, 10),
    platforms=names,
    tags=names,
    required_tags=names,
)


@given(needed, offered)
def test_a_resource_that_has_more_never_fits_less(needs: Requirements, resource: Resource) -> None:
    wanted = JobClass(1, "astro", "users", needs)
    more = msgspec.structs.replace(
        resource,
        cpu_time=resource.cpu_time + 1,
        max_ram=0,
        tags=["a", "b", "c"],
        platforms=["a", "b", "c"],
        required_tags=[],
    )
    vos = frozenset({"astro"})
    before = {reason.dimension for reason in fits(wanted, offer_of(resource, vos))}
    after = {reason.dimension for reason in fits(wanted, offer_of(more, vos))}
    assert after <= before
    assert after <= {D.SITE, D.BANNED_SITE, D.CPU_TIME}
