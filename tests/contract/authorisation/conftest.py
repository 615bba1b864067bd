"""The world of the matrix, which a module furnishes once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.contract.authorisation.world import World, living


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One loop for the world, which is furnished once."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def world(loop: asyncio.AbstractEventLoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The real application, with alice's job that runs."""
    context = living(tmp_path_factory.mktemp("state"))
    yield loop.run_until_complete(context.__aenter__())
    loop.run_until_complete(context.__aexit__(None, None, None))
