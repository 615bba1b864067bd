"""Prints the rows that the reviewed tables lack, and what they say otherwise than the application."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.contract.authorisation.matrix import STATES, TABLE, differences, header, observe_all, read
from tests.contract.authorisation.states import observe_states
from tests.contract.authorisation.world import living


async def _main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with living(Path(directory)) as world:
            seen = {TABLE: await observe_all(world), STATES: await observe_states(world)}
    for table, rows in seen.items():
        reviewed = read(table.read_text("utf-8")) if table.exists() else {}
        print(f"{table.name}:", header(), sep="\n")
        for line in differences(reviewed, rows, table):
            print(line)


asyncio.run(_main())
