from __future__ import annotations

from enum import StrEnum

from hypothesis import given
from hypothesis import strategies as st

from dirac.core.states import LifeCycle


class Door(StrEnum):
    OPEN = "Open"
    SHUT = "Shut"
    WALLED_UP = "WalledUp"


DOOR = LifeCycle(
    "door",
    {
        Door.OPEN: frozenset({Door.SHUT}),
        Door.SHUT: frozenset({Door.OPEN, Door.WALLED_UP}),
        Door.WALLED_UP: frozenset(),
    },
)
doors = st.sampled_from(Door)


def test_it_knows_its_states() -> None:
    assert DOOR.states == set(Door)
    assert DOOR.successors(Door.WALLED_UP) == frozenset()


def test_a_refusal_says_what_is_possible() -> None:
    refused = DOOR.refusal(Door.OPEN, Door.WALLED_UP)
    assert refused is not None
    assert refused.reason == "a door that is Open cannot become WalledUp; it may become Shut"
    final = DOOR.refusal(Door.WALLED_UP, Door.OPEN)
    assert final is not None
    assert final.reason.endswith("it may become nothing, it is final")


@given(doors)
def test_staying_is_always_possible(door: Door) -> None:
    assert DOOR.refusal(door, door) is None


@given(doors, doors)
def test_a_move_is_refused_exactly_if_it_is_not_declared(old: Door, new: Door) -> None:
    assert (DOOR.refusal(old, new) is None) == (old == new or new in DOOR.successors(old))


def test_what_is_declared_later_elsewhere_changes_nothing() -> None:
    moves = {Door.OPEN: frozenset({Door.SHUT}), Door.SHUT: frozenset[Door]()}
    cycle = LifeCycle("door", moves)
    moves[Door.SHUT] = frozenset({Door.OPEN})
    assert cycle.refusal(Door.SHUT, Door.OPEN) is not None
