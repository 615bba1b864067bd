"""Prints the rows that the reviewed table lacks, and what it says otherwise than the application."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.contract.authorisation.matrix import TABLE, differences, guarded, header, observe, read
from tests.contract.authorisation.world import living


async def _main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with living(Path(directory)) as world:
            seen = {route: await observe(world, route) for route in guarded(world.app)}
    reviewed = read(TABLE.read_text("utf-8")) if TABLE.exists() else {}
    print(header())
    for line in differences(reviewed, seen):
        print(line)


asyncio.run(_main())
