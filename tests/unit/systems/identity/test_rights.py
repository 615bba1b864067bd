"""What is found out about a policy by asking it."""

from __future__ import annotations

import pytest

from dirac.core.errors import NotAllowedError
from dirac.systems.identity.logic.rights import missing, openings, somebody, used
from dirac.systems.identity.models import Identity, Property

ANY = (Property.OPERATOR, Property.JOB_ADMINISTRATOR)


def anybody(identity: Identity) -> None:
    """Open."""


def nobody(identity: Identity) -> None:
    """Closed."""
    raise NotAllowedError("no")


def one_of(identity: Identity) -> None:
    """Open to people with one of two properties."""
    if identity.kind != "user" or identity.properties.isdisjoint(ANY):
        raise NotAllowedError("no")


def both(identity: Identity) -> None:
    """Open to people with both."""
    if identity.kind != "user" or not identity.properties.issuperset(ANY):
        raise NotAllowedError("no")


def test_the_right_that_was_used_is_each_that_would_do() -> None:
    everything = somebody("user", properties=Property)
    assert used(anybody, everything) == []
    assert used(one_of, everything) == ["JobAdministrator", "Operator"]
    assert used(both, everything) == ["JobAdministrator", "Operator"]
    assert used(one_of, somebody("user", properties=[Property.OPERATOR])) == ["Operator"]
    assert used(nobody, everything) == []


@pytest.mark.parametrize(
    ("policy", "identity", "needs"),
    [
        (one_of, somebody("user"), ["JobAdministrator", "Operator"]),
        (both, somebody("user"), ["JobAdministrator with Operator"]),
        (both, somebody("user", properties=[Property.OPERATOR]), ["JobAdministrator"]),
        (one_of, somebody("pilot"), ["people with JobAdministrator or Operator"]),
        (nobody, somebody("user"), []),
    ],
)
def test_what_is_missing_is_the_least_that_would_do(
    policy: object, identity: Identity, needs: list[str]
) -> None:
    assert callable(policy)
    assert missing(policy, identity) == needs


def test_to_whom_a_door_is_open() -> None:
    assert openings(anybody) == ["everybody with a token"]
    assert openings(one_of) == ["people with JobAdministrator or Operator"]
    assert openings(nobody) == []
