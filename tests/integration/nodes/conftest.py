"""Farms for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.nodes.farm import Farm, Node
from tests.integration.pilot.conftest import interpreters


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    """A farm with a server, and no node yet; its leases outlast a restart of the server on a busy machine."""
    running = Farm(tmp_path / "farm", idle=1, lease=120, heartbeat=2)
    try:
        running.deploy()
        yield running
    finally:
        running.close()


@pytest.fixture(params=[(2, 7), (3, 0)], ids=["2.7", "3"])
def launcher_python(request: pytest.FixtureRequest) -> str:
    """The oldest Python that there is, and the newest."""
    known = interpreters()
    return known[(2, 7)] if request.param == (2, 7) else known[max(known)]


@pytest.fixture
def make_node(farm: Farm) -> Iterator[Callable[..., Node]]:
    """Make nodes, which end with the test."""
    nodes: list[Node] = []

    def make(python: str, name: str = "wn1", **settings: object) -> Node:
        nodes.append(Node(farm, python, name, **settings))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()
