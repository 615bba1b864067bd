"""From claims to groups and names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.resources.identity.outside import Person
from dirac.systems.identity.logic.provider_claims import LoginRules, admitted, covers, entitlement, username

STARS = "urn:mace:egi.eu:group:stars.example.org"


@pytest.mark.parametrize(
    ("wanted", "value", "fits"),
    [
        ("/stars", "/stars", True),
        ("/stars", "/stars/production", False),
        ("/stars", "stars", False),
        (STARS, f"{STARS}:role=member#aai.egi.eu", True),
        (STARS, f"{STARS}#aai.egi.eu", True),
        (STARS, STARS, True),
        (STARS, f"{STARS}:role=manager#aai.egi.eu", False),
        (STARS, f"{STARS}:young:role=member#aai.egi.eu", False),
        (f"{STARS}:young", f"{STARS}:young:role=member#aai.egi.eu", True),
        (f"{STARS}:role=manager", f"{STARS}:role=manager#aai.egi.eu", True),
        (f"{STARS}:role=manager", f"{STARS}:role=member#aai.egi.eu", False),
        (f"{STARS}#aai.egi.eu", f"{STARS}:role=member#aai.egi.eu", True),
        (f"{STARS}#aai.egi.eu", f"{STARS}:role=member#evil.test", False),
        (STARS, "urn:mace:evil.test:group:stars.example.org:role=member#aai.egi.eu", False),
        (STARS, "urn:mace:egi.eu:group:stars%2Eexample.org:role=member#aai.egi.eu", True),
        (STARS, "urn:mace:egi.eu:stars.example.org", False),
        ("urn:x", "urn:y", False),
    ],
)
def test_a_value_is_the_one_that_is_meant(wanted: str, value: str, fits: bool) -> None:
    assert covers(wanted, value) is fits


def test_an_entitlement_is_taken_apart() -> None:
    found = entitlement("urn:mace:egi.eu:group:a%20b:c:role=manager#aai.egi.eu")
    assert found == ("urn:mace:egi.eu", ("a b", "c"), "manager", "aai.egi.eu")
    assert entitlement("urn:mace:dir:entitlement:common-lib-terms") is None


RULES = LoginRules(
    admits="members", groups={"/a": ["user"], "/a/b": ["admin", "user"]}, default_group="guest"
)


@pytest.mark.parametrize(
    ("admits", "values", "groups"),
    [
        ("members", {"/a"}, ("user",)),
        ("members", {"/a", "/a/b", "/c"}, ("admin", "user")),
        ("members", {"/c"}, ()),
        ("members", set(), ()),
        ("everybody", set(), ("guest",)),
        ("everybody", {"/a"}, ("guest", "user")),
        ("declared", {"/a"}, ()),
    ],
)
def test_groups_follow_from_values(admits: str, values: set[str], groups: tuple[str, ...]) -> None:
    rules = LoginRules(admits=admits, groups=RULES.groups, default_group="guest")  # type: ignore[arg-type]
    assert admitted(rules, values) == groups


@given(st.sets(st.sampled_from(["/a", "/a/b", "/c", STARS, f"{STARS}:role=member#x"])), st.sampled_from("ab"))
def test_one_value_less_is_never_a_group_more(values: set[str], admits: str) -> None:
    rules = LoginRules(
        admits="members" if admits == "a" else "everybody",
        groups={**RULES.groups, STARS: ["star"]},
        default_group="guest",
    )
    for value in values:
        assert set(admitted(rules, values - {value})) <= set(admitted(rules, values))


@pytest.mark.parametrize(
    ("said", "email", "name"),
    [
        ("ada", "", "ada"),
        ("Ada Lovelace", "", "Ada-Lovelace"),
        ("", "ada@example.org", "ada"),
        ("<b>", "", "b"),
        ("a" * 100, "", "a" * 63),
    ],
)
def test_a_name_can_be_read_everywhere(said: str, email: str, name: str) -> None:
    assert username(Person("a sub", said, email, frozenset())) == name


def test_who_has_no_readable_name_gets_one() -> None:
    names = {username(Person(sub, said, "", frozenset())) for sub in ("a", "b") for said in ("../..", "é")}
    assert len(names) == 2
    assert all(name.startswith("user-") for name in names)
