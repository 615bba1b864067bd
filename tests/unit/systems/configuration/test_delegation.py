"""What administrators of a VO may not do: become somebody with rights that only the installation gives."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.systems.configuration.delegation import refused
from dirac.systems.configuration.models import (
    DelegatedOption,
    Delegation,
    Group,
    IdentityProvider,
    Managers,
    Site,
    Support,
    Tree,
    User,
    VirtualOrganisation,
)
from dirac.systems.configuration.trees import diff
from dirac.systems.identity.models import Property

VO = VirtualOrganisation(
    default_group="users",
    groups={"users": Group(), "managers": Group(properties=[Property.SERVICE_ADMINISTRATOR])},
    users={"ada": User(groups=["users", "managers"]), "bob": User(groups=["users"])},
)
TREE = Tree(virtual_organisations={"astro": VO}, delegation=Delegation())


def places(**changed: Any) -> list[str]:
    new = msgspec.structs.replace(
        TREE, virtual_organisations={"astro": msgspec.structs.replace(VO, **changed)}
    )
    return ["/".join(path) for path, _ in refused(TREE, new, diff(TREE, new), "astro")]


def user(name: str, **changed: Any) -> dict[str, User]:
    return VO.users | {name: msgspec.structs.replace(VO.users[name], **changed)}


@pytest.mark.parametrize("changed", [{"dns": ["/CN=mallory"]}, {"sub": "mallory"}, {"suspended": True}])
def test_who_has_rights_of_the_installation_stays_who_it_is(changed: dict[str, Any]) -> None:
    assert places(users=user("ada", **changed)) == [
        f"virtual_organisations/astro/users/ada/{next(iter(changed))}"
    ]
    assert places(users=user("bob", **changed)) == []


def test_nobody_is_added_to_a_group_with_rights_of_the_installation() -> None:
    assert places(users=user("bob", groups=["users", "managers"]))


def test_who_looks_after_a_site_is_the_installation_s_to_say() -> None:
    managers = {"astro": Managers(users=["bob"], groups=["operators"])}
    vo = msgspec.structs.replace(VO, groups=VO.groups | {"operators": Group()})
    old = Tree(
        virtual_organisations={"astro": vo},
        sites={"LCG.A.ch": Site(virtual_organisations=["astro"], managers=managers)},
    )

    def refusals(users: dict[str, User]) -> list[str]:
        changed = msgspec.structs.replace(vo, users=users)
        new = msgspec.structs.replace(old, virtual_organisations={"astro": changed})
        return ["/".join(path) for path, _ in refused(old, new, diff(old, new), "astro")]

    prefix = "virtual_organisations/astro/users"
    assert refusals(VO.users | {"eve": User(groups=["users", "operators"])}) == [f"{prefix}/eve/groups"]
    assert refusals(user("bob", sub="mallory")) == [f"{prefix}/bob/sub"]
    assert refusals(user("ada", email="ada@example.org")) == []


def test_a_vo_does_not_choose_who_vouches_for_its_members() -> None:
    provider = IdentityProvider(issuer="https://evil.test", client_id="x", client_secret_file="master.key")
    assert places(identity_provider=provider)


CHANGED = [
    {"users": user("bob", email="bob@example.org")},
    {"users": user("bob", groups=["users", "managers"])},
    {"users": user("ada", suspended=True)},
    {"users": user("bob", suspended=True) | {"eve": User(groups=["users"])}},
    {"groups": VO.groups | {"more": Group()}},
    {"groups": VO.groups | {"more": Group(properties=[Property.JOB_ADMINISTRATOR])}},
    {"groups": VO.groups | {"users": Group(properties=[])}},
    {"support": Support(message="Ask")},
    {"default_group": "managers"},
    {"operations": {"a": 1}},
]
SITES = {"LCG.A.ch": Site(virtual_organisations=["astro"], managers={"astro": Managers(users=["bob"])})}


@given(
    st.sampled_from(CHANGED),
    st.sets(st.sampled_from(DelegatedOption)),
    st.sets(st.sampled_from(Property)),
    st.none() | st.integers(1, 4),
    st.data(),
)
def test_a_limit_more_never_allows_more(
    changed: dict[str, Any],
    options: set[DelegatedOption],
    properties: set[Property],
    most: int | None,
    data: st.DataObject,
) -> None:
    """An option, a property or a user less, or a site to look after, never turn a refusal into an answer."""

    def refusals(limits: Delegation, sites: dict[str, Site]) -> set[tuple[str, ...]]:
        old = msgspec.structs.replace(TREE, delegation=limits, sites=sites)
        vo = msgspec.structs.replace(VO, **changed)
        new = msgspec.structs.replace(old, virtual_organisations={"astro": vo})
        return {path for path, _ in refused(old, new, diff(old, new), "astro")}

    wide = refusals(Delegation(list(options), list(properties), most), {})
    fewer = data.draw(st.sets(st.sampled_from(sorted(options)))) if options else set()
    less = data.draw(st.sets(st.sampled_from(sorted(properties)))) if properties else set()
    fewest = data.draw(st.integers(1, most or 4))
    narrow = refusals(Delegation(list(fewer), list(less), fewest), data.draw(st.sampled_from([{}, SITES])))
    assert wide <= narrow
