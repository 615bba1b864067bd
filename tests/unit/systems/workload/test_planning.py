"""How many pilots are started where."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dirac.formats.description import Requirements
from dirac.systems.configuration.models import Queue, Tree
from dirac.systems.workload.logic.fitting import JobClass, fits, offer_of_queue
from dirac.systems.workload.logic.planning import (
    NodeRoom,
    Place,
    QueueState,
    Wish,
    places,
    plan,
    share_out,
    useful,
)


def tree(**sites: dict[str, Any]) -> Tree:
    return msgspec.convert(
        {
            "sites": {
                f"LCG.{name}.fr": {
                    "virtual_organisations": ["astro"],
                    "computing_elements": {"ce": {"type": "local", "queues": {"q": queue}}},
                }
                for name, queue in sites.items()
            }
        },
        Tree,
    )


def job_class(class_id: int = 1, **needs: Any) -> JobClass:
    return JobClass(class_id, "astro", "users", Requirements(**({"cpu_time": 360} | needs)))


def states(found: list[Place], **more: Any) -> list[QueueState]:
    return [QueueState(place=place, **more) for place in found]


SMALL = {"max_running": 4, "max_waiting": 2}


def test_only_queues_of_sites_that_serve_the_vo() -> None:
    config = tree(A=SMALL, B=SMALL)
    assert [place.site for place in places(config, "astro")] == ["LCG.A.fr", "LCG.B.fr"]
    assert places(config, "bio") == []


def test_one_pilot_for_each_waiting_job() -> None:
    queues = states(places(tree(A={}), "astro"))
    assert plan([(job_class(), 3)], queues) == [3]


def test_no_more_than_may_wait() -> None:
    queues = states(places(tree(A=SMALL), "astro"))
    assert plan([(job_class(), 100)], queues) == [2]


def test_no_more_than_may_run() -> None:
    queues = states(places(tree(A=SMALL), "astro"), running=3)
    assert plan([(job_class(), 100)], queues) == [1]
    assert plan([(job_class(), 100)], states(places(tree(A=SMALL), "astro"), running=9)) == [0]


def test_pilots_on_their_way_take_jobs() -> None:
    queues = states(places(tree(A={}), "astro"), waiting=2, coming=3, running=1)
    assert plan([(job_class(), 5)], queues) == [2]
    assert plan([(job_class(), 3)], queues) == [0]


def test_pilots_on_their_way_to_elsewhere_do_not() -> None:
    config = tree(A={}, B={})
    a, b = places(config, "astro")
    queues = [QueueState(place=a, waiting=5, coming=5), QueueState(place=b)]
    assert plan([(job_class(sites=("LCG.B.fr",)), 2)], queues) == [0, 2]


def test_none_where_nothing_fits() -> None:
    queues = states(places(tree(A={}), "astro"))
    assert plan([(job_class(tags=("GPU",)), 7)], queues) == [0]


def test_none_where_pilots_do_not_start() -> None:
    queues = states(places(tree(A={}), "astro"), blocked=True)
    assert plan([(job_class(), 7)], queues) == [0]


def test_the_load_is_spread() -> None:
    queues = states(places(tree(A={}, B={}), "astro"))
    assert plan([(job_class(), 6)], queues) == [3, 3]


def test_jobs_with_few_places_come_first() -> None:
    queues = states(places(tree(A={"max_running": 1}, B={"max_running": 5}), "astro"))
    picky = job_class(2, sites=("LCG.A.fr",))
    assert plan([(job_class(), 5), (picky, 1)], queues) == [1, 5]


demands = st.lists(
    st.tuples(
        st.builds(
            job_class,
            st.integers(1, 9),
            sites=st.sampled_from([(), ("LCG.A.fr",), ("LCG.B.fr",)]),
            cpu_time=st.sampled_from([100, 1000]),
        ),
        st.integers(0, 30),
    ),
    max_size=5,
)
limits = st.fixed_dictionaries(
    {
        "max_running": st.integers(1, 9),
        "max_waiting": st.integers(1, 9),
        "cpu_time": st.sampled_from([500, 5000]),
    }
)


@given(demands, limits, limits, st.integers(0, 9), st.integers(0, 9))
def test_limits_hold_and_no_pilot_is_for_nothing(
    demand: list[tuple[JobClass, int]], a: dict[str, Any], b: dict[str, Any], waiting: int, running: int
) -> None:
    found = places(tree(A=a, B=b), "astro")
    queues = states(found, waiting=waiting, running=running, coming=waiting)
    start = plan(demand, queues)
    for state, number in zip(queues, start, strict=True):
        assert number == 0 or waiting + number <= state.place.queue.max_waiting
        assert number == 0 or waiting + running + number <= state.place.queue.max_running
        useful = sum(count for wanted, count in demand if not fits(wanted, state.place.offer))
        assert number <= useful
    assert sum(start) <= sum(count for _, count in demand)


# Worker nodes that ask


def test_a_node_is_shared_and_never_overfilled() -> None:
    def wish(vo: str, number: int, **queue: int) -> Wish:
        settings = Queue(**({"max_running": 100, "max_waiting": 100} | queue))
        offer = offer_of_queue(settings, site="S", ce="c", name="q", vos=frozenset({vo}))
        place = Place(site="S", ce="c", ce_type="node", name="q", queue=settings, offer=offer)
        return Wish(vo, QueueState(place=place), number)

    def shared(wishes: list[Wish], present: dict[str, int], **room: int) -> list[str]:
        return [vo for vo, _ in share_out(wishes, present, NodeRoom(**room))]

    both = [wish("a", 9), wish("b", 9)]
    assert shared(both, {}, slots=4, processors=8) == ["a", "b", "a", "b"]
    assert shared(both, {"a": 5}, slots=4, processors=8) == ["b"] * 4
    assert shared([wish("a", 1), wish("b", 9)], {}, slots=4, processors=8) == ["a", "b", "b", "b"]
    assert shared(both, {}, slots=4, processors=3) == ["a", "b", "a"]
    assert shared([wish("a", 9, processors=4)], {}, slots=9, processors=8) == ["a", "a"]
    assert shared([wish("a", 9, max_ram=1000)], {}, slots=9, processors=9, memory_mb=2500) == ["a", "a"]
    assert shared([wish("a", 9, max_ram=1000)], {}, slots=2, processors=9) == ["a", "a"], "unknown memory"
    tight = [wish("a", 9, max_running=3), wish("b", 9, max_running=3)]
    assert shared(tight, {}, slots=9, processors=9) == ["a", "b", "a"], "VOs share the room of a queue"
    assert shared(both, {}, slots=0, processors=9) == []
    room = NodeRoom(slots=8, processors=8)
    parts = Counter(vo for vo, _ in share_out(both, {}, room, {"a": 300, "b": 100}))
    assert parts == {"a": 6, "b": 2}, "by shares"


def test_no_more_demand_is_looked_at_than_there_is_room() -> None:
    assert useful(places(tree(A=SMALL, B=SMALL), "astro")) == 8
    assert useful([]) == 1
    assert useful(places(tree(A={"max_waiting": 10**6}), "astro")) == 2000
