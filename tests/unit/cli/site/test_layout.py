"""What a new site is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from dirac.cli.site.layout import ORDER, PURPOSES, Answers, Engine, Host, Hosts, Profile, parse_vo, spread
from dirac.cli.site.places import load_yaml
from dirac.core.errors import InvalidInputError

INVENTORIES = Path(__file__).resolve().parents[4] / "inventories"


def answers(
    profile: Profile, *hosts: str, engine: Engine = Engine.MARIADB, extras: tuple[str, ...] = ()
) -> Answers:
    named = Hosts()
    for text in hosts:
        named.add(text)
    return Answers(
        "lab", profile, spread(profile, named.by_purpose, extras), "a", ["astro"], "ann", engine=engine
    )


def test_a_single_host_gets_every_role_that_jobs_need() -> None:
    groups = answers(Profile.SINGLE, "one@192.0.2.7").groups()
    for group in ("base", "pki", "mariadb", "rabbitmq", "haproxy", "dirac_server", "dirac_vo", "pilot_node"):
        assert groups[group] == ["one"]
    assert not {"postgresql", "opensearch", "object_store", "grafana"} & set(groups)


def test_what_is_wanted_beyond_is_added() -> None:
    groups = answers(Profile.SINGLE, "one", extras=("monitor", "search")).groups()
    assert {"prometheus", "grafana", "opensearch", "log_shipping"} <= set(groups)


def test_the_engine_is_the_chosen_one() -> None:
    groups = answers(Profile.SINGLE, "one", engine=Engine.POSTGRESQL).groups()
    assert "postgresql" in groups
    assert "mariadb" not in groups


def test_a_cluster_puts_what_has_no_host_where_it_can_be() -> None:
    groups = answers(Profile.CLUSTER, "server=s1,s2", "database=d", "node=w1,w2").groups()
    assert groups["dirac_server"] == ["s1", "s2"]
    assert groups["pilot_node"] == ["w1", "w2"]
    assert groups["haproxy"] == ["s1"]
    assert groups["rabbitmq"] == ["d"]
    # Two servers cannot share a directory of sandboxes.
    assert groups["object_store"] == ["d"]
    assert groups["dirac_config"] == ["s1"]
    assert groups["base"] == ["s1", "s2", "d", "w1", "w2"]


def test_everything_with_state_is_saved_and_monitoring_keeps_it() -> None:
    groups = answers(
        Profile.CLUSTER, "server=s1,s2", "database=d", "broker=b", "node=w", "balancer=g", "monitor=m"
    ).groups()
    assert groups["backup"] == ["s1", "s2", "d", "b", "m"]
    assert answers(Profile.SINGLE, "one").groups()["backup"] == ["one"]


def hosts_by_group(name: str) -> dict[str, list[str]]:
    tree = load_yaml(INVENTORIES / name / "hosts.yml")["all"]
    return {group: list(members["hosts"]) for group, members in tree["children"].items()}


def test_the_single_example_is_what_would_be_written_for_one_host() -> None:
    assert hosts_by_group("single") == answers(Profile.SINGLE, "dirac.example.org").groups()


def test_the_example_is_what_would_be_written_for_its_hosts() -> None:
    purposes = {
        "balancer": "gate", "server": "dirac1,dirac2", "database": "db", "broker": "broker",
        "search": "search",
        "objects": "objects", "node": "wn1,wn2", "monitor": "monitor",
    }  # fmt: skip
    named = [
        f"{purpose}={','.join(f'{host}.example.org' for host in hosts.split(','))}"
        for purpose, hosts in purposes.items()
    ]
    wanted = answers(Profile.CLUSTER, *named).groups()
    found = hosts_by_group("example")
    assert list(found) == list(wanted)
    assert {group: set(hosts) for group, hosts in found.items()} == {
        group: set(hosts) for group, hosts in wanted.items()
    }
    # Who is first is who applies the configuration; who is last keeps the backups.
    assert [found["dirac_server"][0], found["backup"][-1]] == ["dirac1.example.org", "monitor.example.org"]
    assert found["dirac_config"] == wanted["dirac_config"]


def test_groups_come_in_the_order_of_the_roles() -> None:
    groups = list(answers(Profile.CLUSTER, "server=s", "database=d", "node=w", "monitor=m").groups())
    assert groups == [name for name in ORDER if name in groups]


def test_every_group_of_a_purpose_has_a_place_in_the_order() -> None:
    assert {group for groups in PURPOSES.values() for group in groups} <= set(ORDER)


def test_the_address_of_a_host_is_kept_wherever_it_was_said() -> None:
    found = answers(Profile.CLUSTER, "server=s", "database=s@192.0.2.1", "node=s").all_hosts()
    assert found == [Host("s", "192.0.2.1")]


@pytest.mark.parametrize(
    ("profile", "hosts", "said"),
    [
        (Profile.SINGLE, ["a", "b"], "has one host, not 2"),
        (Profile.SINGLE, [], "has one host, not 0"),
        (Profile.CLUSTER, ["a"], "what is a for"),
        (Profile.CLUSTER, ["server=a", "node=b"], "needs a host for database"),
        (Profile.CLUSTER, ["kitchen=a"], "no purpose 'kitchen'"),
        (Profile.SINGLE, ["a b"], "'a b' is no host"),
        (Profile.SINGLE, ["a@"], "'a@' is no host"),
        (Profile.SINGLE, ["-oProxyCommand=x"], "no purpose"),
        (Profile.SINGLE, ["a@-oProxyCommand"], "is no host"),
    ],
)
def test_hosts_that_make_no_sense_are_refused(profile: Profile, hosts: list[str], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        answers(profile, *hosts)


@pytest.mark.parametrize("name", ["", "Astro", "a/b", "../x", "1a", "a b"])
def test_a_vo_whose_name_would_not_be_a_file_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="name of a VO"):
        parse_vo(name)
