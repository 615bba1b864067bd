"""What ansible-playbook is given, and what its end means."""

from __future__ import annotations

from typing import Any

import pytest

from dirac.cli.site.groups import populated
from dirac.cli.site.places import check_name
from dirac.cli.site.playbook import Options, exit_code
from dirac.core.errors import InvalidInputError


def test_options_are_handed_on() -> None:
    options = Options("db1", check=True, diff=True, extra=["a=b", "@f.yml"], verbose=2, more=["--tags", "x"])
    assert options.words() == [
        "-e", "a=b", "-e", "@f.yml", "--limit", "db1", "--check", "--diff", "-vv", "--tags", "x",
    ]  # fmt: skip


AWAY: dict[str, Any] = {"host": "a", "unreachable": True}
BAD: dict[str, Any] = {"host": "b", "unreachable": False}


@pytest.mark.parametrize(
    ("code", "failures", "expected"),
    [
        (0, [], 0),
        (4, [AWAY], 3),
        (2, [AWAY, BAD], 1),
        (2, [BAD], 1),
        # Ansible ends with 4 also when it cannot read an inventory.
        (4, [], 1),
        (250, [], 130),
        (-2, [], 130),
    ],
)
def test_the_exit_code_tells_what_happened(code: int, failures: list[Any], expected: int) -> None:
    assert exit_code(code, {"failures": failures}) == expected


def test_a_group_counts_if_a_child_anywhere_has_hosts() -> None:
    common = {
        "all": {"children": {"mariadb": {"hosts": {}}, "grafana": None, "dirac": {"children": {"web": None}}}}
    }
    site = {
        "all": {
            "hosts": {"a": None},
            "children": {"mariadb": {"hosts": {"a": None}}, "web": {"hosts": {"a": {}}}},
        }
    }
    assert populated([common, site]) == {"all", "mariadb", "dirac", "web"}


def test_groups_in_a_circle_come_to_an_end() -> None:
    tree = {"a": {"children": {"b": None}}, "b": {"children": {"a": None}}}
    assert populated([tree]) == set()


@pytest.mark.parametrize("name", ["", "A", "../x", "a/b", "-a", "common", "templates", "x" * 40])
def test_a_name_that_is_no_directory_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be the name of a site"):
        check_name(name)
