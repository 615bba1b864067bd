"""Scopes and parameters of clients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.systems.identity.logic.oauth import OAuthError, parse_scope, plain
from dirac.systems.identity.ports.logins import Scope

NAMES = st.from_regex(r"[A-Za-z0-9_.@-]{1,64}", fullmatch=True)
SCOPES = st.builds(
    lambda vo, group, properties: Scope(vo, group, tuple(sorted(properties))),
    NAMES,
    st.none() | NAMES,
    st.sets(NAMES, max_size=10),
)


@given(SCOPES)
def test_what_is_printed_is_read_back(scope: Scope) -> None:
    assert parse_scope(str(scope)) == scope


@given(st.text(max_size=200))
def test_any_text_is_a_scope_or_refused(text: str) -> None:
    try:
        scope = parse_scope(text)
    except OAuthError:
        return
    assert parse_scope(str(scope)) == scope


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group:a", "0 VOs"),
        ("vo:a vo:b", "2 VOs"),
        ("vo:a group:b group:c", "2 groups"),
        ("vo:a openid", "'openid'"),
        ("vo:", "'vo:'"),
        ("VO:a", "'VO:a'"),
        ("vo:a " + " ".join(f"property:p{n}" for n in range(51)), "more than 50"),
    ],
)
def test_what_is_no_scope(text: str, message: str) -> None:
    with pytest.raises(OAuthError, match=message):
        parse_scope(text)


def test_the_same_asked_for_twice_is_asked_for_once() -> None:
    assert parse_scope("vo:a vo:a property:p property:p") == Scope("a", None, ("p",))


@pytest.mark.parametrize("value", [None, "", "a\x00b", "a\nb", "x" * 4097])
def test_parameters_that_are_refused(value: str | None) -> None:
    with pytest.raises(OAuthError, match="'name'"):
        plain("name", value)
