"""The element whose nodes ask for pilots: a server that tries to submit to it is told why not."""

from __future__ import annotations

import pytest

from dirac.core import plugins
from dirac.core.errors import InvalidInputError, NotFoundError
from dirac.resources.computing.base import PilotStatus
from dirac.resources.computing.node import NodeComputingElement
from dirac.resources.computing.testing import sleeper


async def test_nothing_is_ever_submitted() -> None:
    element = NodeComputingElement.from_settings("farm", {})
    assert element.capabilities.pull
    (answer,) = await element.submit([sleeper()])
    assert answer.reference is None
    assert "start the pilots of this computing element themselves" in (answer.error or "")
    assert (await element.status(["node://a/b"]))["node://a/b"].status is PilotStatus.UNKNOWN
    assert set(await element.cancel(["node://a/b"])) == {"node://a/b"}
    assert await element.cleanup(["node://a/b"]) == {}
    assert (await element.capacity()).free == 0
    with pytest.raises(NotFoundError):
        await element.output("node://a/b")


def test_it_has_no_settings() -> None:
    with pytest.raises(InvalidInputError, match="slots"):
        NodeComputingElement.from_settings("farm", {"slots": 3})


def test_the_configuration_finds_it_by_its_name() -> None:
    assert plugins.load("dirac.computing", "node") is NodeComputingElement
