"""Who comes next: shares hold, and nobody starves."""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dirac.systems.configuration.models import Tree
from dirac.systems.workload.logic.shares import (
    CREDIT,
    INERTIA,
    MOST_CORRECTION,
    Siblings,
    VoShares,
    most_between,
)
from dirac.systems.workload.ports.running import Front

parts = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 100), min_size=2)


def served(shares: Siblings, names: str, times: int) -> Counter[str]:
    got: Counter[str] = Counter()
    for _ in range(times):
        name = shares.order(names)[0]
        shares.serve(name)
        got[name] += 1
    return got


def test_everybody_gets_their_share() -> None:
    assert served(Siblings({"a": 3, "b": 1}), "ab", 400) == {"a": 300, "b": 100}


def test_who_comes_late_catches_up_a_little_and_takes_not_everything() -> None:
    shares = Siblings({"a": 1, "b": 1})
    served(shares, "a", 1000)
    got = served(shares, "ab", 100)
    assert 50 <= got["b"] <= 50 + CREDIT


@given(parts, st.lists(st.sets(st.sampled_from("abcdef")), min_size=1, max_size=300), st.data())
def test_nobody_starves(given_parts: dict[str, int], rounds: list[set[str]], data: st.DataObject) -> None:
    """Whoever always has something that fits waits no longer than stated, whatever fits of the others."""
    shares = Siblings({name: float(part) for name, part in given_parts.items()})
    steady = data.draw(st.sampled_from(sorted(given_parts)))
    others = [float(part) for name, part in given_parts.items() if name != steady]
    bound = most_between(given_parts[steady], others)
    since = 0
    for fitting in rounds * 3:
        names = (fitting & given_parts.keys()) | {steady}
        name = shares.order(names)[0]
        shares.serve(name)
        since = 0 if name == steady else since + 1
        assert since <= bound


@given(parts, st.dictionaries(st.sampled_from("abcdef"), st.floats(0.1, 1e6)))
def test_a_correction_is_bounded_and_goes_the_right_way(
    given_parts: dict[str, int], usage: dict[str, float]
) -> None:
    shares = Siblings({name: float(part) for name, part in given_parts.items()})
    before = {name: shares.share(name) for name in given_parts}
    used = {name: value for name, value in usage.items() if name in given_parts}
    shares.correct(used, given_parts)
    total, everything = sum(given_parts.values()), sum(used.values())
    for name, part in before.items():
        factor = shares.share(name) / part
        assert 1 / MOST_CORRECTION * 0.999 <= factor <= MOST_CORRECTION * 1.001
        if everything and used.get(name, 0) / everything > part / total * 1.001:
            assert factor < 1


@given(
    st.dictionaries(st.sampled_from("cdef"), st.tuples(st.integers(1, 100), st.floats(0, 1e4))),
    st.integers(1, 100),
    st.floats(0, 1e4),
    st.floats(0.01, 1e4),
)
def test_of_two_with_the_same_share_who_used_more_is_behind(
    others: dict[str, tuple[int, float]], part: int, less: float, more: float
) -> None:
    shares = Siblings({"a": part, "b": part} | {name: given_part for name, (given_part, _) in others.items()})
    shares.correct({"a": less + more, "b": less} | {name: used for name, (_, used) in others.items()}, "ab")
    assert shares.share("a") <= shares.share("b")
    if shares.share("a") < shares.share("b"):  # not where both are corrected as far as that goes
        assert shares.order("ab")[0] == "b"
    got = served(shares, "ab", 200)
    assert got["a"] <= got["b"] + 1


@given(parts, st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1e6)), st.integers(0, 60))
def test_what_was_used_fades_to_the_shares_as_they_were_given(
    given_parts: dict[str, int], usage: dict[str, float], half_lives: int
) -> None:
    shares = Siblings({name: float(part) for name, part in given_parts.items()})
    used = {name: value / 2**half_lives for name, value in usage.items() if name in given_parts}
    shares.correct(used, given_parts)
    everything, total = sum(given_parts.values()), sum(used.values())
    for name, part in given_parts.items():
        due = part / everything
        has = due * part / shares.share(name)  # unless it was cut
        if 1 / MOST_CORRECTION < shares.share(name) / part < MOST_CORRECTION:
            assert abs(has - due) <= total / INERTIA + 1e-9


@given(
    parts,
    st.lists(st.sets(st.sampled_from("abcdef")), min_size=1, max_size=300),
    st.lists(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1e6)), min_size=1, max_size=5),
    st.data(),
)
def test_nobody_starves_whatever_was_used(
    given_parts: dict[str, int],
    rounds: list[set[str]],
    usages: list[dict[str, float]],
    data: st.DataObject,
) -> None:
    """The bound holds by corrected shares as long as these stay, and by given ones while they change."""
    for changing in (False, True):
        shares = Siblings({name: float(part) for name, part in given_parts.items()})
        shares.correct(usages[0], given_parts)
        steady = data.draw(st.sampled_from(sorted(given_parts)))
        others = given_parts.keys() - {steady}
        bound = most_between(shares.share(steady), map(shares.share, others))
        if changing:
            given_others = [float(given_parts[name]) for name in others]
            bound = most_between(given_parts[steady], given_others, change=MOST_CORRECTION)
        since = 0
        for turn, fitting in enumerate(rounds * 3):
            if changing:
                shares.correct(usages[turn % len(usages)], given_parts)
            name = shares.order((fitting & given_parts.keys()) | {steady})[0]
            shares.serve(name)
            since = 0 if name == steady else since + 1
            assert since <= bound + 1e-6


def test_what_runs_already_is_made_up_for() -> None:
    shares = Siblings({"a": 1, "b": 1})
    shares.correct({"a": 300.0, "b": 100.0}, "ab")
    assert served(shares, "ab", 400) == {"a": 100, "b": 300}


@given(st.lists(st.tuples(st.sampled_from("gh"), st.sampled_from("uvw")), min_size=1, max_size=200))
def test_no_user_starves(rounds: list[tuple[str, str]]) -> None:
    """The bound for a user is that of users, times that of groups; other users come and go."""
    tree = {
        "virtual_organisations": {
            "astro": {"default_group": "g", "groups": {"g": {"job_share": 100}, "h": {"job_share": 300}}}
        }
    }
    shares = VoShares(msgspec.convert(tree, Tree), "astro")
    turns = most_between(100, [300]) + 1
    users = most_between(1000, [1000, 1000]) + 1
    since = 0
    for group, user in rounds * 3:
        fronts: dict[str, dict[str, list[Front]]] = {"g": {"u": [Front(1, 1, 1)]}}
        fronts.setdefault(group, {}).setdefault(user, [Front(2, 9, 2)])
        front = shares.choose(fronts)
        assert front is not None
        of = ("g", "u") if front.class_id == 1 else (group, user)
        shares.serve(*of)
        since = 0 if of == ("g", "u") else since + 1
        assert since <= turns * users


def test_of_one_owner_the_highest_priority_comes_first_and_then_the_oldest() -> None:
    shares = VoShares(Tree(), "astro")
    fronts = {"g": {"u": [Front(3, 5, 8), Front(1, 5, 9), Front(2, 1, 1)]}}
    assert shares.choose(fronts) == Front(3, 5, 8)
    assert shares.choose(fronts, {3}) == Front(1, 5, 9)
    assert shares.choose(fronts, {3}, {1}) == Front(2, 1, 1)
    assert shares.choose(fronts, {1, 2, 3}) is None


def test_the_background_gets_what_fits_nobody_else() -> None:
    groups = {"g": {}, "idle": {"background": True, "job_share": 1_000_000}}
    tree = {"virtual_organisations": {"astro": {"default_group": "g", "groups": groups}}}
    shares = VoShares(msgspec.convert(tree, Tree), "astro")
    fronts = {"idle": {"u": [Front(1, 9, 1)]}, "g": {"u": [Front(2, 0, 2)]}}
    assert shares.choose(fronts) == Front(2, 0, 2)
    assert shares.choose(fronts, {2}) == Front(1, 9, 1)
