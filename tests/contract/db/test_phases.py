"""Upgrades in two phases: what each version of the code accepts, on every engine, with lines of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from dirac.core.errors import ConflictError, UnavailableError
from dirac.db.engine import Database
from dirac.db.plan import Which, choose, step
from dirac.db.revisions import current, lines, require_current
from dirac.db.schema import migrate
from dirac.server.schema import LOCATIONS

_REVISION = '''"""{summary}"""
import sqlalchemy as sa
from alembic import op

revision = "{name}"
down_revision = {down!r}
branch_labels = {labels!r}
depends_on = None
phase = "{phase}"

def upgrade() -> None:
    {work}
'''

STEPS = (
    ("Make the shelf.", "expand", 'op.create_table("shelf", sa.Column("id", sa.Integer, primary_key=True))'),
    ("Number it.", "expand", 'op.add_column("shelf", sa.Column("number", sa.Integer))'),
    ("Name it.", "expand", 'op.add_column("shelf", sa.Column("name", sa.String(20)))'),
    ("Forget the number.", "contract", 'op.drop_column("shelf", "number")'),
    ("Colour it.", "expand", 'op.add_column("shelf", sa.Column("colour", sa.String(20)))'),
)


def release(directory: Path, count: int, steps: Sequence[tuple[str, str, str]] = STEPS) -> list[Path]:
    """Write the code of a release: the first so many revisions of one line."""
    location = directory / f"release{count}"
    location.mkdir(exist_ok=True)
    for number, (summary, phase, work) in enumerate(steps[:count], start=1):
        facts = {
            "summary": summary,
            "name": f"shelf_{number:04}",
            "down": f"shelf_{number - 1:04}" if number > 1 else None,
            "labels": ("shelf",) if number == 1 else None,
        }
        (location / f"shelf_{number:04}.py").write_text(_REVISION.format(**facts, phase=phase, work=work))
    return [location]


@pytest.fixture
async def empty(database_url: str) -> AsyncIterator[Database]:
    """A database without tables, on each engine in turn."""
    database = Database(database_url)
    yield database
    await database.close()


async def columns(database: Database) -> set[str]:
    async with database.connect() as connection:
        found = await connection.run_sync(lambda c: inspect(c).get_columns("shelf"))
    return {column["name"] for column in found}


async def test_old_code_works_until_contract_and_is_refused_after(empty: Database, tmp_path: Path) -> None:
    old, new = release(tmp_path, 2), release(tmp_path, 4)
    await migrate(empty, old)
    with pytest.raises(UnavailableError, match=r"shelf_0003.*dirac-server migrate"):
        await require_current(empty, new)

    outcome = await migrate(empty, new, "expand")
    assert (outcome.applied, outcome.pending_contract) == (["shelf_0003"], ["shelf_0004"])
    await require_current(empty, old)
    await require_current(empty, new)

    outcome = await migrate(empty, new, "contract")
    assert (outcome.applied, outcome.pending_contract) == (["shelf_0004"], [])
    assert await columns(empty) == {"id", "name"}
    await require_current(empty, new)
    with pytest.raises(UnavailableError, match=r"no longer supports.*shelf_0004.*newer version"):
        await require_current(empty, old)
    with pytest.raises(ConflictError, match="no longer supports"):
        await migrate(empty, old)


async def test_before_contract_code_can_be_rolled_back(empty: Database, tmp_path: Path) -> None:
    old, new = release(tmp_path, 2), release(tmp_path, 4)
    await migrate(empty, old)
    await migrate(empty, new, "expand")
    outcome = await migrate(empty, old)  # what the deployment of the old code does
    assert (outcome.changed, outcome.applied) == (False, [])
    await require_current(empty, old)
    assert await columns(empty) == {"id", "number", "name"}
    assert (await migrate(empty, new, "all")).applied == ["shelf_0004"]


async def test_skipped_releases_are_refused_in_phases_and_possible_in_one_go(
    empty: Database, tmp_path: Path
) -> None:
    old, newest = release(tmp_path, 2), release(tmp_path, 5)
    await migrate(empty, old)
    for which in ("expand", "contract"):
        with pytest.raises(ConflictError, match=r"shelf_0005.*after shelf_0004.*release in between"):
            await migrate(empty, newest, which)
    assert await columns(empty) == {"id", "number"}, "nothing was done before it was refused"
    await migrate(empty, newest, "all")
    assert await columns(empty) == {"id", "name", "colour"}
    await require_current(empty, release(tmp_path, 4))


async def test_contract_does_not_come_before_expand(empty: Database, tmp_path: Path) -> None:
    await migrate(empty, release(tmp_path, 2))
    with pytest.raises(ConflictError, match=r"shelf_0003.*--phase expand"):
        await migrate(empty, release(tmp_path, 4), "contract")


async def test_a_system_that_is_new_does_not_disturb_old_code(empty: Database, tmp_path: Path) -> None:
    await migrate(empty, [])
    await migrate(empty, release(tmp_path, 2), "expand")
    await require_current(empty, [])
    assert (await migrate(empty, [])).changed is False


async def test_a_contract_that_fails_keeps_old_code_out_where_half_of_it_may_be_done(
    empty: Database, tmp_path: Path
) -> None:
    old = release(tmp_path, 2)
    await migrate(empty, old)
    steps = (*STEPS[:3], ("Fall down.", "contract", 'op.drop_column("shelf", "number"); op.drop_table("no")'))
    broken = release(tmp_path, 4, steps)
    await migrate(empty, broken, "expand")
    with pytest.raises(Exception, match="no"):
        await migrate(empty, broken, "contract")
    if empty.dialect == "mariadb":  # cannot take back what it did to a table
        assert await columns(empty) == {"id", "name"}
        with pytest.raises(UnavailableError, match="no longer supports"):
            await require_current(empty, old)
    else:
        assert await columns(empty) == {"id", "number", "name"}
        await require_current(empty, old)


async def test_of_many_migrations_at_once_one_works_and_the_others_wait(
    empty: Database, database_url: str, tmp_path: Path
) -> None:
    locations = [*LOCATIONS, *release(tmp_path, 5)]
    databases = [Database(database_url) for _ in range(4)]
    try:
        outcomes = await asyncio.gather(*(migrate(database, locations) for database in databases))
    finally:
        for database in databases:
            await database.close()
    (worked,) = [outcome for outcome in outcomes if outcome.changed]
    assert len(worked.applied) == sum(len(line) for line in lines(locations).values())
    assert [outcome.applied for outcome in outcomes if not outcome.changed] == [[]] * 3
    await require_current(empty, locations)


async def test_a_plan_changes_nothing_and_says_phase_and_risk(empty: Database, tmp_path: Path) -> None:
    await migrate(empty, release(tmp_path, 1))
    before = await current(empty)
    newest = lines(release(tmp_path, 5))
    planned = [step(one) for one in choose(await current(empty), newest, "all")]
    assert [(one.revision, one.phase, one.risk) for one in planned] == [
        ("shelf_0002", "expand", "safe"),
        ("shelf_0003", "expand", "safe"),
        ("shelf_0004", "contract", "breaking"),
        ("shelf_0005", "expand", "safe"),
    ]
    assert planned[2].summary == "Forget the number."
    assert await current(empty) == before


@pytest.mark.parametrize("which", ["expand", "all"])
async def test_a_database_of_before_the_promises_gets_them(empty: Database, which: Which) -> None:
    await migrate(empty, LOCATIONS)
    async with empty.engine.begin() as connection:  # as the first version left it
        await connection.execute(text("DROP TABLE schema_line"))
        await connection.execute(
            text("UPDATE alembic_version SET version_num = 'db_0001' WHERE version_num LIKE 'db_%'")
        )
    assert "db_0002" in (await migrate(empty, LOCATIONS, which)).applied
    state = await current(empty)
    assert set(state.promises) == {"db", "identity", "configuration", "workload"}
    assert set(state.promises.values()) == {None}
