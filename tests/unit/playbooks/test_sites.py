"""A site's configuration from its own part and one file for each VO."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError

from tests.loading import load

sites = load("playbooks/filter_plugins/sites.py")


def test_a_vo_is_called_as_its_file(tmp_path: Path) -> None:
    (tmp_path / "bio.yml").write_text("users: {b: {}}")
    (tmp_path / "astro.yml").write_text("users: {a: {}}")
    found = sites.vo_definitions([str(path) for path in tmp_path.glob("*.yml")])
    assert found == {"astro": {"users": {"a": {}}}, "bio": {"users": {"b": {}}}}


@pytest.mark.parametrize(
    ("content", "said"), [("[1", "cannot be read"), ("- a", "does not describe a virtual organisation")]
)
def test_a_file_that_is_none_is_named(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "bio.yml"
    file.write_text(content)
    with pytest.raises(AnsibleFilterError, match=f"bio.yml {said}"):
        sites.vo_definitions([str(file)])
    with pytest.raises(AnsibleFilterError, match="cannot be read"):
        sites.vo_definitions([str(tmp_path / "none.yml")])


def test_a_vo_may_use_the_sites_it_names_or_all() -> None:
    site = {"sites": {"A": {}, "B": {"virtual_organisations": ["old"]}}, "workload": {"x": 1}}
    tree = sites.dirac_tree(site, {"bio": {"users": {"b": {}}, "sites": ["B"], "name": "Bio"}, "astro": {}})
    assert tree["virtual_organisations"] == {"bio": {"users": {"b": {}}}, "astro": {}}
    assert tree["sites"]["A"]["virtual_organisations"] == ["astro"]
    assert tree["sites"]["B"]["virtual_organisations"] == ["old", "bio", "astro"]
    assert tree["workload"] == {"x": 1}
    # What was given is as it was: Ansible evaluates it again and again.
    assert site == {"sites": {"A": {}, "B": {"virtual_organisations": ["old"]}}, "workload": {"x": 1}}


def test_a_site_that_there_is_not_is_named() -> None:
    with pytest.raises(AnsibleFilterError, match="bio: there is no site C; there are: A"):
        sites.dirac_tree({"sites": {"A": {}}}, {"bio": {"sites": ["C"]}})
    with pytest.raises(AnsibleFilterError, match="there are: none"):
        sites.dirac_tree({}, {"bio": {"sites": ["C"]}})


def test_accounts_are_those_of_the_built_in_provider() -> None:
    vos = {"bio": {"users": {"b": {}, "a": {}}}, "astro": {"identity_provider": "iam", "users": {"c": {}}}}
    assert sites.password_accounts({"virtual_organisations": vos}) == {"bio": ["a", "b"]}
    assert sites.password_accounts({}) == {}


def test_a_provider_is_told_where_its_secret_is() -> None:
    iam = {"issuer": "https://iam.test", "client_id": "dirac"}
    vos = {
        "bio": {"identity_provider": iam},
        "astro": {"identity_provider": iam | {"client_secret_file": "/mine"}},
        "phys": {"identity_provider": iam | {"client_secret": {"vault": "dirac/phys", "key": "iam"}}},
        "chem": {"identity_provider": iam},
        "geo": {},
    }
    tree = {"virtual_organisations": vos}
    found = sites.provider_secrets(tree, ["bio", "astro", "phys"], "/etc/dirac/secrets")[
        "virtual_organisations"
    ]
    assert found["bio"]["identity_provider"]["client_secret_file"] == "/etc/dirac/secrets/identity-bio"
    assert found["astro"]["identity_provider"]["client_secret_file"] == "/mine"
    assert found["chem"] == {"identity_provider": iam}
    assert "client_secret_file" not in found["phys"]["identity_provider"]
    assert "client_secret_file" not in iam
    with pytest.raises(AnsibleFilterError, match="geo, which has no identity provider"):
        sites.provider_secrets(tree, ["geo"], "/x")
    assert sites.password_accounts(tree) == {"geo": []}


def test_migrations_are_read_without_being_run(tmp_path: Path) -> None:
    place = tmp_path / "systems/x/migrations"
    place.mkdir(parents=True)
    (place / "x_0001.py").write_text("raise SystemExit\n")
    (place / "x_0002.py").write_text('phase = "contract"\nother = open\n')
    (place / "x_0003.py").write_text('phase = "expand"\nrisk = "slow"\n')
    assert sites.dirac_migrations(str(tmp_path)) == {
        "x_0001": {"phase": "expand", "risk": "safe"},
        "x_0002": {"phase": "contract", "risk": "breaking"},
        "x_0003": {"phase": "expand", "risk": "slow"},
    }


def test_filters_have_their_names() -> None:
    assert set(sites.FilterModule().filters()) == {
        "vo_definitions", "dirac_migrations", "dirac_tree", "password_accounts", "provider_secrets",
        "reachable_ports",
        "host_to_address",
    }  # fmt: skip


def test_ports_are_asked_by_those_who_use_them() -> None:
    ports = [
        {"of": "haproxy", "port": 443},
        {"of": "mariadb", "port": 3306, "groups": ["dirac_server"]},
        {"of": "dirac_server", "port": "8443-8452", "groups": ["haproxy"]},
    ]
    groups = {"haproxy": ["lb"], "mariadb": ["db"], "dirac_server": ["s1", "s2"]}
    everybody = ["lb", "db", "s1", "s2"]
    assert sites.reachable_ports(ports, groups, everybody) == [{"name": "haproxy", "host": "lb", "port": 443}]
    assert sites.reachable_ports(ports, groups, everybody, "s2") == [
        {"name": "mariadb", "host": "db", "port": 3306}
    ]
    assert sites.reachable_ports(ports, groups, ["s1", "s2"], "s2") == []
    assert sites.reachable_ports(ports, groups, everybody, "lb") == []


def test_a_port_is_asked_by_the_address_that_deploys() -> None:
    port = {"name": "haproxy", "host": "lb", "port": 443}
    assert sites.host_to_address(port, {"lb": {"ansible_host": "192.0.2.1"}})["host"] == "192.0.2.1"
    assert sites.host_to_address(port, {"lb": {}})["host"] == "lb"
