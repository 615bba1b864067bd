"""What a user may ask for."""

from __future__ import annotations

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
