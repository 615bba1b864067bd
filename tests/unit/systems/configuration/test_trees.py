"""Normal form, differences, visible parts."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError
from dirac.systems.configuration.document import read
from dirac.systems.configuration.models import (
    Change,
    ComputingElement,
    Group,
    IdentityProvider,
    Pilot,
    Queue,
    Site,
    Tree,
    User,
    VirtualOrganisation,
)
from dirac.systems.configuration.trees import (
    diff,
    digest,
    normal_form,
    plain,
    registered,
    registered_hosts,
    visible,
)
from dirac.systems.identity.models import Property, RegisteredHost

NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)
GROUPS = st.builds(
    Group, job_share=st.integers(999, 1001), properties=st.lists(st.sampled_from(Property), max_size=2)
)
USERS = st.builds(User, groups=st.lists(NAMES, min_size=1, max_size=2), email=st.none() | st.just("m"))
VOS = st.builds(
    VirtualOrganisation,
    default_group=NAMES,
    groups=st.dictionaries(NAMES, GROUPS, max_size=2),
    users=st.dictionaries(NAMES, USERS, max_size=2),
)
ELEMENTS = st.builds(
    ComputingElement,
    type=NAMES,
    settings=st.dictionaries(NAMES, VALUES, max_size=3),
    queues=st.dictionaries(NAMES, st.builds(Queue, max_ram=st.integers(0, 1)), min_size=1, max_size=2),
)
SITES = st.builds(
    Site,
    virtual_organisations=st.lists(NAMES, max_size=3, unique=True),
    computing_elements=st.dictionaries(NAMES, ELEMENTS, max_size=2),
)
TREES = st.builds(
    Tree,
    virtual_organisations=st.dictionaries(NAMES, VOS, max_size=2),
    sites=st.dictionaries(st.sampled_from(["LCG.A.ch", "LCG.B.fr"]), SITES, max_size=2),
    pilot=st.builds(Pilot, max_jobs=st.integers(1, 3)),
)


def _full(value: Any) -> Any:
    """Return a value as JSON has it, with all options."""
    if isinstance(value, msgspec.Struct):
        return {name: _full(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: _full(item) for key, item in value.items()}
    return plain(value)


def _patched(tree: Tree, changes: list[Change]) -> Tree:
    value = _full(tree)
    for change in changes:
        *above, last = change.path.split("/")
        section = value
        for name in above:
            section = section[name]
        if change.new is None:
            del section[last]
        else:
            section[last] = change.new
    return msgspec.convert(value, Tree)


@given(TREES, TREES)
def test_the_differences_lead_from_one_tree_to_the_other_and_back(old: Tree, new: Tree) -> None:
    changes = diff(old, new)
    assert normal_form(_patched(old, changes)) == normal_form(new)
    back = [Change(change.path, change.new, change.old) for change in changes]
    assert diff(new, old) == back
    assert normal_form(_patched(new, back)) == normal_form(old)
    assert [change.path.split("/") for change in changes] == sorted(
        change.path.split("/") for change in changes
    )


@given(TREES, TREES)
def test_no_difference_is_the_same_normal_form(old: Tree, new: Tree) -> None:
    assert (diff(old, new) == []) == (digest(normal_form(old)) == digest(normal_form(new)))


@given(TREES)
def test_the_normal_form_is_the_tree(tree: Tree) -> None:
    assert diff(msgspec.json.decode(normal_form(tree), type=Tree), tree) == []


@given(TREES, NAMES)
def test_the_visible_part_tells_nothing_of_other_vos(tree: Tree, vo: str) -> None:
    part = visible(tree, vo)
    assert set(part.virtual_organisations) <= {vo}
    assert all(site.virtual_organisations == [vo] for site in part.sites.values())


def test_neither_limits_of_other_vos_nor_candidates_are_visible() -> None:
    text = """
    virtual_organisations:
      astro: {default_group: users, groups: {users: {}}}
      bio: {default_group: users, groups: {users: {}}}
    sites:
      LCG.A.ch:
        virtual_organisations: [astro, bio]
        limits: {ours: {vo: astro, max_running: 1}, theirs: {vo: bio, max_running: 1}, all: {max_running: 2}}
    workload: {shadow: {banned_sites: {bio: [LCG.A.ch]}}}
    """
    part = visible(read(text).tree(), "astro")
    assert set(part.sites["LCG.A.ch"].limits) == {"ours", "all"}
    assert part.workload.shadow is None


def test_queues_and_limits_tell_no_names_of_other_vos() -> None:
    text = """
    virtual_organisations:
      astro:
        default_group: users
        groups: {users: {}}
        users: {ada: {groups: [users]}, eve: {groups: [users]}}
      bio:
        default_group: lab
        groups: {lab: {}, users: {}}
        users: {bob: {groups: [lab]}, eve: {groups: [lab]}}
    sites:
      LCG.A.ch:
        virtual_organisations: [astro, bio]
        computing_elements:
          ce:
            type: x
            queues: {both: {users: [bob, ada]}, theirs: {users: [bob]}, lab: {groups: [lab]}, all: {}}
            managers: {bio: {users: [bob]}, astro: {users: [ada]}}
          shared: {type: x, queues: {q: {users: [eve, outsider], groups: [users]}}}
          closed: {type: x, queues: {q: {users: [bob]}}}
        managers: {bio: {groups: [lab]}}
        limits: {one: {user: bob}, lab: {group: lab}, eve: {user: eve}, users: {group: users}}
    """
    site = visible(read(text).tree(), "astro").sites["LCG.A.ch"]
    assert set(site.limits) == {"eve", "users"}
    assert set(site.computing_elements) == {"ce", "shared"}
    queues = site.computing_elements["ce"].queues
    assert (set(queues), queues["both"].users) == ({"both", "all"}, ["ada"])
    assert site.computing_elements["shared"].queues["q"].users == ["eve", "outsider"], "from a provider"
    assert (site.managers, set(site.computing_elements["ce"].managers)) == ({}, {"astro"})


def test_hosts_and_names_of_certificates_are_told_to_identity_and_hosts_to_no_vo() -> None:
    tree = read(
        """
        virtual_organisations:
          astro: {default_group: u, groups: {u: {}}, users: {ada: {groups: [u], dns: [/C=ch/CN=Ada L]}}}
        hosts: {node: {dn: /C=ch/CN=node, properties: [TrustedHost]}}
        """
    ).tree()
    assert registered(tree, ["astro"])[0].users[0].dns == ("/C=ch/CN=Ada L",)
    assert registered_hosts(tree) == [RegisteredHost("node", "/C=ch/CN=node", ("TrustedHost",))]
    assert visible(tree, "astro").hosts == {}


@pytest.mark.parametrize("dn", ["CN=ada", "/ada", "ada", "/C=", "/CN=a\nb", "", "/CN=ü"])
def test_what_is_no_name_of_a_certificate_is_refused(dn: str) -> None:
    with pytest.raises(InvalidInputError, match="dn"):
        read(json.dumps({"hosts": {"node": {"dn": dn}}})).tree()


def test_a_default_that_is_written_out_is_no_difference() -> None:
    assert diff(Tree(), read("pilot: {max_jobs: 1000}\nworkload: {}\n").tree()) == []


def test_differences_have_paths_and_values() -> None:
    old = read("pilot: {max_jobs: 5}\n").tree()
    new = read("sites: {LCG.A.ch: {virtual_organisations: [astro]}}\npilot: {min_disk: 1}\n").tree()
    assert diff(old, new) == [
        Change("pilot/max_jobs", 5, 1000),
        Change("pilot/min_disk", 2560, 1),
        Change("sites/LCG.A.ch", None, {"virtual_organisations": ["astro"]}),
    ]


def test_true_and_one_are_different_settings() -> None:
    trees = [
        Tree(
            sites={
                "LCG.A.ch": Site(
                    virtual_organisations=[],
                    computing_elements={"ce": ComputingElement(type="local", settings={"a": value})},
                )
            }
        )
        for value in (1, True)
    ]
    assert [change.path for change in diff(*trees)] == ["sites/LCG.A.ch/computing_elements/ce/settings/a"]


def test_identity_is_told_of_every_member() -> None:
    vo = VirtualOrganisation(
        default_group="user",
        groups={"user": Group()},
        users={"alice": User(groups=["user"]), "bob": User(groups=["user"], sub="b-1", suspended=True)},
    )
    (astro,) = registered(Tree(virtual_organisations={"astro": vo}), ["astro", "gone"])
    assert (astro.name, astro.default_group, astro.identity_provider) == ("astro", "user", "password")
    assert [(group.name, group.properties) for group in astro.groups] == [("user", ("NormalUser",))]
    assert [(user.username, user.sub, user.suspended) for user in astro.users] == [
        ("alice", "alice", False),
        ("bob", "b-1", True),
    ]


def test_identity_is_told_of_the_plugin_of_an_outside_provider() -> None:
    provider = IdentityProvider(issuer="https://iam.test", client_id="dirac")
    vo = VirtualOrganisation(default_group="user", groups={"user": Group()}, identity_provider=provider)
    (astro,) = registered(Tree(virtual_organisations={"astro": vo}), ["astro"])
    assert astro.identity_provider == "oidc"
