"""Who may do what, as a table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from dirac.core.errors import NotAllowedError
from dirac.systems.identity.models import Identity, Property
from dirac.systems.workload import policy
from dirac.systems.workload.policy import Visibility


def identity(kind: Any, *properties: Property, vo: str = "astro") -> Identity:
    return Identity(
        vo=vo,
        sub="s",
        username="u",
        group="g",
        properties=frozenset(properties),
        kind=kind,
        token_id="t",
        expires=datetime(2030, 1, 1, tzinfo=UTC),
    )


WHO = {
    "user": identity("user", Property.NORMAL_USER),
    "boss": identity("user", Property.JOB_ADMINISTRATOR),
    "root": identity("user", Property.SERVICE_ADMINISTRATOR),
    "service": identity("service", Property.SERVICE_ADMINISTRATOR, vo=""),
    "plain service": identity("service", Property.NORMAL_USER, Property.JOB_ADMINISTRATOR, vo=""),
    "operator": identity("user", Property.OPERATOR),
    "factory": identity("user", Property.GENERIC_PILOT),
    "nobody": identity("user"),
    "pilot": identity("pilot", *Property),
    "run": identity("job", *Property),
}

TABLE: list[tuple[Callable[[Identity], None], set[str]]] = [
    (policy.submit, {"user"}),
    (policy.read_jobs, {"user", "boss", "root", "service"}),
    (policy.change_jobs, {"user", "boss"}),
    (policy.act_as_run, {"pilot", "run"}),
    (policy.update_jobs, {"user", "boss", "pilot", "run"}),
    (policy.match, {"pilot"}),
    (policy.upload_sandbox, {"user", "run"}),
    (policy.download_sandbox, {"user", "boss", "root", "service", "run"}),
    (policy.register_pilots, {"root", "service", "factory"}),
    (policy.update_pilots, {"root", "service", "factory", "pilot"}),
    (policy.read_pilots, {"user", "boss", "root", "service", "operator"}),
]


@pytest.mark.parametrize(("rule", "allowed"), TABLE, ids=[rule.__name__ for rule, _ in TABLE])
def test_policies(rule: Callable[[Identity], None], allowed: set[str]) -> None:
    found = set()
    for name, who in WHO.items():
        try:
            rule(who)
        except NotAllowedError as error:
            assert "may not" in error.message  # noqa: PT017
        else:
            found.add(name)
    assert found == allowed


def test_sight() -> None:
    assert policy.readable(WHO["user"]) == Visibility(vo="astro", owner_sub="s")
    assert policy.readable(WHO["boss"]) == Visibility(vo="astro")
    assert policy.readable(WHO["root"]) == policy.readable(WHO["service"]) == Visibility()
    assert (
        policy.readable(WHO["pilot"])
        == policy.changeable(WHO["run"])
        == Visibility(vo="astro", owner_sub="s")
    )
    assert policy.changeable(WHO["root"]) == Visibility(vo="astro", owner_sub="s")
    assert policy.readable_pilots(WHO["user"]) == Visibility(vo="astro")
    assert policy.readable_pilots(WHO["service"]) == Visibility()
