"""What was used fades by half-lives, whenever it is added up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.systems.workload.logic.usage import added, faded, together
from dirac.systems.workload.ports.usage import Used

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = 86400.0


def ago(seconds: float, used: float = 1000.0, class_id: int = 1) -> Used:
    return Used(class_id, used, NOW - timedelta(seconds=seconds))


def test_it_is_halved_with_each_half_life() -> None:
    assert [faded(ago(DAY * number), NOW, DAY) for number in range(4)] == [1000, 500, 250, 125]
    assert faded(ago(DAY), NOW, 0) == 0, "without a half-life there is no past"
    assert faded(ago(-5), NOW, DAY) == 1000, "another host's clock may be ahead"


ends = st.lists(st.tuples(st.integers(1, 3), st.floats(0, 1e6), st.floats(0, 50 * DAY)), max_size=20)


@given(ends, st.integers(0, 20), st.floats(0, 40 * DAY), st.floats(3600, 30 * DAY))
def test_it_does_not_matter_when_it_is_added_up(
    found: list[tuple[int, float, float]], some: int, before: float, half_life: float
) -> None:
    notes = [ago(age, used, class_id) for class_id, used, age in found]
    early = [note for note in notes[:some] if note.moment <= NOW - timedelta(seconds=before)]
    late = [note for number, note in enumerate(notes) if number >= some or note not in early]
    folded = added(early, NOW - timedelta(seconds=before), half_life)
    at_once = {each.class_id: each.seconds for each in added(notes, NOW, half_life)}
    in_steps = {each.class_id: each.seconds for each in added([*folded, *late], NOW, half_life)}
    assert in_steps == pytest.approx(at_once)


def test_the_sum_of_what_people_use() -> None:
    alice, bob = ("users", "alice"), ("users", "bob")
    assert together({alice: 1.0}, {alice: 0.5, bob: 2.0}, {}) == {alice: 1.5, bob: 2.0}
