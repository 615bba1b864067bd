"""Applying, reading and comparing configurations, on every database."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from dirac.core.errors import ConflictError, InvalidInputError, NotFoundError, TooLargeError, UnavailableError
from dirac.core.unit import Event
from dirac.db.engine import Database, DatabaseUnits
from dirac.db.history import history
from dirac.systems.configuration.logic import Configuration
from dirac.systems.configuration.models import Apply, Change, Tree
from dirac.systems.configuration.store import ConfigurationUnit
from dirac.systems.identity.models import Identity
from dirac.testing.faults import FailNth
from dirac.testing.time import FakeClock
from tests.contract.systems.configuration.sample import TEXT

Make = Callable[..., Configuration]


def _members(number: int) -> str:
    """Return a configuration that differs from others in a rule for pilots and in a group."""
    groups = f"{{user: {{job_share: {number}}}}}"
    return (
        f"pilot: {{max_jobs: {number}}}\n"
        f"virtual_organisations: {{astro: {{default_group: user, groups: {groups}}}}}\n"
    )


async def _state(database: Database) -> tuple[int, list[Event], list[Event]]:
    """Return the newest version's number, and all events."""
    async with database.read() as tx:
        number, _ = await ConfigurationUnit(tx).versions.head()
        applied = await history(tx, "configuration", [str(n) for n in range(200)])
        return number, applied, await history(tx, "test", ["registry"])


async def test_a_new_installation_has_defaults(configuration: Configuration, admin: Identity) -> None:
    snapshot = await configuration.current()
    assert (snapshot.version, snapshot.tree) == (0, Tree())
    assert await configuration.log(admin) == []
    content = await configuration.content(admin)
    assert (content.version, content.text, content.tree) == (0, "{}\n", Tree())
    assert await configuration.diff(admin, 0) == []
    assert (await configuration.apply(admin, Apply(text="{}"))).version == 0


async def test_an_application_is_a_version_with_its_event(
    configuration: Configuration, admin: Identity, database: Database, clock: FakeClock
) -> None:
    applied = await configuration.apply(admin, Apply(text=TEXT, comment="the first δ"))
    assert applied.version == 1
    assert [change.path for change in applied.changes] == [
        "sites/LCG.Bio.ch",
        "sites/LCG.Both.ch",
        "virtual_organisations/astro",
        "virtual_organisations/bio",
    ]
    (version,) = await configuration.log(admin)
    assert (version.number, version.author, version.comment) == (1, ":alice", "the first δ")
    assert version.time == clock.now()
    content = await configuration.content(admin, 1)
    assert content.text == TEXT
    _, (event,), (registry,) = await _state(database)
    assert (event.kind, event.subject_id, event.actor) == ("configuration.version.applied", "1", ":alice")
    assert event.data["digest"] == version.digest
    assert event.data["paths"] == [change.path for change in applied.changes]
    assert (registry.actor, registry.data) == (":alice", {"vos": ["astro", "bio"]})


async def test_what_is_current_already_makes_no_version(
    configuration: Configuration, admin: Identity, database: Database
) -> None:
    await configuration.apply(admin, Apply(text=TEXT))
    before = await _state(database)
    again = await configuration.apply(admin, Apply(text=f"# a remark\n{TEXT}pilot: {{max_jobs: 1000}}\n"))
    assert (again.version, again.changes) == (1, [])
    assert await _state(database) == before


async def test_a_dry_run_changes_nothing(
    configuration: Configuration, admin: Identity, database: Database
) -> None:
    dry = await configuration.apply(admin, Apply(text="pilot: {max_jobs: 3}", dry_run=True))
    assert (dry.version, dry.changes) == (1, [Change("pilot/max_jobs", 1000, 3)])
    assert await _state(database) == (0, [], [])
    assert (await configuration.current()).version == 0


async def test_a_fault_changes_nothing_and_all_are_told(
    configuration: Configuration, admin: Identity, database: Database
) -> None:
    text = TEXT.replace("settings: {host: here}", "settings: {hots: here}").replace(
        "{user: {}}\n    us", "{}\n    us"
    )
    with pytest.raises(InvalidInputError) as caught:
        await configuration.apply(admin, Apply(text=f"{text}pilots: {{}}\n", file="site.yaml"))
    assert caught.value.where == "site.yaml:3:20"
    assert [line.split(": ")[0] for line in caught.value.message.splitlines()[1:]] == [
        "site.yaml:3:20",
        "site.yaml:5:30",
        "site.yaml:12:44",
        "site.yaml:15:1",
    ]
    assert await _state(database) == (0, [], [])


@pytest.mark.parametrize("comment", ["x" * 5000, "a\x00b"])
async def test_a_comment_that_no_database_keeps_is_refused(
    configuration: Configuration, admin: Identity, comment: str
) -> None:
    with pytest.raises(InvalidInputError, match="4096"):
        await configuration.apply(admin, Apply(text="{}", comment=comment))


async def test_a_text_that_is_too_large_is_refused(configuration: Configuration, admin: Identity) -> None:
    with pytest.raises(TooLargeError):
        await configuration.apply(admin, Apply(text="#" * (1024 * 1024 + 1)))


async def test_the_largest_text_is_kept_whole(configuration: Configuration, admin: Identity) -> None:
    text = "pilot: {max_jobs: 2}\n#"
    text += "é" * ((1024 * 1024 - len(text)) // 2)
    await configuration.apply(admin, Apply(text=text))
    assert (await configuration.content(admin)).text == text


async def test_an_expected_version_that_is_not_the_present_one_is_a_conflict(
    configuration: Configuration, admin: Identity
) -> None:
    await configuration.apply(admin, Apply(text="pilot: {max_jobs: 1}", expected_version=0))
    with pytest.raises(ConflictError, match="at version 1, not at 0"):
        await configuration.apply(admin, Apply(text="pilot: {max_jobs: 2}", expected_version=0))
    assert (
        await configuration.apply(admin, Apply(text="pilot: {max_jobs: 1}", expected_version=0))
    ).version == 1
    assert (
        await configuration.apply(admin, Apply(text="pilot: {max_jobs: 2}", expected_version=1))
    ).version == 2


class _Meeting:
    """Units that begin to write only when so many have come that far."""

    def __init__(self, units: DatabaseUnits[ConfigurationUnit], parties: int) -> None:
        self._units = units
        self._barrier = asyncio.Barrier(parties)
        self.read = units.read
        self.single = units.single

    @asynccontextmanager
    async def write(self) -> AsyncIterator[ConfigurationUnit]:
        await self._barrier.wait()
        async with self._units.write() as unit:
            yield unit


async def test_of_concurrent_applications_exactly_one_wins(
    make_configuration: Make, admin: Identity, database: Database
) -> None:
    units = _Meeting(DatabaseUnits(database, ConfigurationUnit), 4)
    processes = [make_configuration(units) for _ in range(4)]
    outcomes = await asyncio.gather(
        *(process.apply(admin, Apply(text=_members(number + 2))) for number, process in enumerate(processes)),
        return_exceptions=True,
    )
    winners = [number for number, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, ConflictError)]
    assert (len(winners), len(losers)) == (1, 3)
    snapshot = await make_configuration().current()
    assert (snapshot.version, snapshot.tree.pilot.max_jobs) == (1, winners[0] + 2)
    number, applied, registry = await _state(database)
    assert (number, len(applied), len(registry)) == (1, 1, 1)


async def test_a_rollback_is_a_new_version_with_the_old_text(
    configuration: Configuration, admin: Identity
) -> None:
    await configuration.apply(admin, Apply(text="pilot: {max_jobs: 1}  # one"))
    await configuration.apply(admin, Apply(text="pilot: {max_jobs: 2}"))
    applied = await configuration.rollback(admin, 1)
    assert (applied.version, applied.changes) == (3, [Change("pilot/max_jobs", 2, 1)])
    assert (await configuration.content(admin)).text == "pilot: {max_jobs: 1}  # one"
    assert [version.comment for version in await configuration.log(admin)] == ["Back to version 1", "", ""]
    assert (await configuration.rollback(admin, 0, "all over")).version == 4
    assert (await configuration.current()).tree == Tree()


async def test_versions_that_do_not_exist_are_not_found(
    configuration: Configuration, admin: Identity
) -> None:
    for call in (
        configuration.rollback(admin, 7),
        configuration.content(admin, 7),
        configuration.diff(admin, 0, 7),
    ):
        with pytest.raises(NotFoundError, match="no version 7"):
            await call


async def test_two_versions_are_compared(configuration: Configuration, admin: Identity) -> None:
    for number in (1, 2, 3):
        await configuration.apply(admin, Apply(text=f"pilot: {{max_jobs: {number}}}"))
    assert await configuration.diff(admin, 1, 2) == [Change("pilot/max_jobs", 1, 2)]
    assert await configuration.diff(admin, 1) == [Change("pilot/max_jobs", 1, 3)]
    assert await configuration.diff(admin, 3, 1) == [Change("pilot/max_jobs", 3, 1)]


async def test_the_log_is_read_in_parts(configuration: Configuration, admin: Identity) -> None:
    for number in range(1, 6):
        await configuration.apply(admin, Apply(text=f"pilot: {{max_jobs: {number}}}"))
    first = await configuration.log(admin, 2)
    second = await configuration.log(admin, 2, before=first[-1].number)
    assert [version.number for version in first + second] == [5, 4, 3, 2]


async def test_members_see_the_part_of_their_vo(
    configuration: Configuration, admin: Identity, make_identity: Callable[..., Identity]
) -> None:
    await configuration.apply(admin, Apply(text=TEXT, comment="bio joins"))
    astro = make_identity("astro")
    content = await configuration.content(astro)
    assert list(content.tree.virtual_organisations) == ["astro"]
    assert {name: site.virtual_organisations for name, site in content.tree.sites.items()} == {
        "LCG.Both.ch": ["astro"]
    }
    assert "bio" not in content.text.lower()
    assert [change.path for change in await configuration.diff(astro, 0)] == [
        "sites/LCG.Both.ch",
        "virtual_organisations/astro",
    ]
    (version,) = await configuration.log(astro)
    assert (version.number, version.author, version.comment, version.digest) == (1, "", "", "")
    stranger = await configuration.content(make_identity("chem"))
    assert (stranger.tree.virtual_organisations, stranger.tree.sites) == ({}, {})


async def test_the_current_tree_is_looked_up_once_a_second(
    configuration: Configuration,
    make_configuration: Make,
    admin: Identity,
    database: Database,
    clock: FakeClock,
) -> None:
    faults = FailNth(database)
    other = make_configuration()
    assert (await other.current()).version == 0
    await configuration.apply(admin, Apply(text="pilot: {max_jobs: 1}"))
    with faults.failing(0):
        assert (await configuration.current()).version == 1, "an own application is seen at once"
        assert (await other.current()).version == 0
    assert faults.count == 0
    clock.advance(1.0)
    with faults.failing(0):
        snapshots = await asyncio.gather(*(other.current() for _ in range(10)))
    assert {snapshot.version for snapshot in snapshots} == {1}
    changed = faults.count
    clock.advance(1.0)
    with faults.failing(0):
        assert await other.current() is snapshots[0], "what has not changed is not read again"
    assert 0 < faults.count < changed


async def test_a_process_that_cannot_look_says_so_and_looks_again(
    configuration: Configuration, database: Database
) -> None:
    with FailNth(database).failing(1), pytest.raises(UnavailableError):
        await configuration.current()
    assert (await configuration.current()).version == 0


@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer lost"])
async def test_whatever_operation_fails_nothing_is_half_done_and_a_retry_converges(
    configuration: Configuration, make_configuration: Make, admin: Identity, database: Database, lost: bool
) -> None:
    faults = FailNth(database)
    for n in itertools.count(1):
        request = Apply(text=_members(n), expected_version=n - 1)
        before = await _state(database)
        error: Any = None
        with faults.failing(n, lost=lost):
            try:
                await configuration.apply(admin, request)
            except UnavailableError as caught:
                error = caught
        if not faults.fired:
            break
        assert error is not None
        after = await _state(database)
        last_commit = lost and after[0] == n
        assert last_commit or after == before
        with suppress(UnavailableError):
            assert (await make_configuration().current()).version == after[0]
        assert (await configuration.apply(admin, request)).version == n
        assert (await configuration.current()).tree.pilot.max_jobs == n
        number, applied, registry = await _state(database)
        assert (number, len(applied), len(registry)) == (n, n, n)
    assert n > 5, "the failures were real"
