"""What a user may ask for."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.core.errors import NotAllowedError
from dirac.systems.identity.logic.access import complete_scope, grant
from dirac.systems.identity.logic.oauth import OAuthError
from dirac.systems.identity.models import RegisteredGroup, RegisteredVO
from dirac.systems.identity.ports.logins import Scope
from dirac.systems.identity.ports.registry import Member

NAMES = st.sampled_from("abcd")
MEMBERS = st.builds(
    lambda suspended, groups: Member("vo", "sub", "name", suspended, groups),
    st.booleans(),
    st.dictionaries(NAMES, st.sets(NAMES).map(tuple), max_size=4),
)
SCOPES = st.builds(
    lambda group, properties: Scope("vo", group, tuple(sorted(properties))), NAMES, st.sets(NAMES)
)
VO = RegisteredVO(
    "vo", "a", (RegisteredGroup("a", ("NormalUser",)), RegisteredGroup("b", ("Operator",))), users=()
)


@given(MEMBERS, SCOPES)
def test_nobody_gets_what_none_of_their_groups_has(member: Member, scope: Scope) -> None:
    try:
        granted = grant(member, scope)
    except NotAllowedError:
        return
    assert not member.suspended
    assert granted.group in member.groups
    possible = {name for properties in member.groups.values() for name in properties}
    assert granted.properties <= possible
    assert granted.properties == set(member.groups[granted.group]) | set(scope.properties)


def test_somebody_who_is_gone_gets_nothing() -> None:
    with pytest.raises(NotAllowedError, match="no such user"):
        grant(None, Scope("vo", "a"))


def test_the_default_group_is_filled_in() -> None:
    assert complete_scope(Scope("vo"), VO) == Scope("vo", "a")
    assert complete_scope(Scope("vo", "b", ("NormalUser",)), VO) == Scope("vo", "b", ("NormalUser",))


@pytest.mark.parametrize("scope", [Scope("vo", "c"), Scope("vo", "a", ("ServiceAdministrator",))])
def test_what_nobody_could_get_is_refused(scope: Scope) -> None:
    with pytest.raises(OAuthError) as raised:
        complete_scope(scope, VO)
    assert raised.value.oauth == "invalid_scope"


def test_an_unknown_vo_is_refused() -> None:
    with pytest.raises(OAuthError, match="there is no VO 'vo'"):
        complete_scope(Scope("vo"), None)


_GROUPS = st.dictionaries(
    st.sampled_from(["users", "admins", "guests"]), st.sets(st.sampled_from(["NormalUser", "Operator", "X"]))
)


@given(
    _GROUPS,
    st.sampled_from(["users", "admins", "guests", None]),
    st.sets(st.sampled_from(["Operator", "X"])),
    st.booleans(),
    st.data(),
)
def test_a_group_or_property_less_never_gives_more(
    groups: dict[str, set[str]], group: str | None, wanted: set[str], suspended: bool, data: st.DataObject
) -> None:
    def given_to(having: dict[str, set[str]], *, stopped: bool) -> frozenset[str] | None:
        known = {name: tuple(sorted(properties)) for name, properties in having.items()}
        member = Member("astro", "ada", "ada", stopped, known)
        try:
            return grant(member, Scope("astro", group, tuple(sorted(wanted)))).properties
        except NotAllowedError:
            return None

    def some(names: Collection[str]) -> set[str]:
        return data.draw(st.sets(st.sampled_from(sorted(names)))) if names else set()

    fewer = {name: some(groups[name]) for name in some(groups)}
    before, after = given_to(groups, stopped=suspended), given_to(fewer, stopped=True)
    assert after is None, "suspended"
    after = given_to(fewer, stopped=suspended)
    assert after is None or (before is not None and after <= before)
