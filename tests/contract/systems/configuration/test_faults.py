"""Applications of several files: at every failure, and by two at once; nothing is lost, doubled or half."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dirac.core.errors import ConflictError, DiracError, UnavailableError
from dirac.db.engine import Database
from dirac.db.history import history
from dirac.systems.configuration.logic import Configuration
from dirac.systems.configuration.models import Apply, Tree
from dirac.systems.identity.models import Identity
from dirac.testing.faults import FailNth

Make = Callable[..., Configuration]
ASTRO = "virtual_organisations:\n  astro:\n    default_group: user\n    groups: {user: {}}\n    users: {}\n"


def _files(number: int) -> dict[str, str]:
    """Three files that belong together: with one of them missing, something would be seen."""
    users = "".join(f"      user{each}: {{groups: [user]}}\n" for each in range(number + 1))
    return {
        "vo/astro.yml": ASTRO.replace("users: {}", "users:\n" + users.rstrip("\n")),
        "rules.yml": f"workload:\n  max_priority: {number + 20}\n",
        f"pilot{number}.yml": f"pilot:\n  max_jobs: {number + 1}\n",
    }


def _removed(number: int) -> list[str]:
    return [f"pilot{number - 1}.yml"] if number else []


def _says(tree: Tree) -> tuple[int, int, int]:
    """What each of the files says."""
    return (
        len(tree.virtual_organisations["astro"].users) - 1,
        tree.workload.max_priority - 20,
        tree.pilot.max_jobs - 1,
    )


@pytest.mark.parametrize("lost", [False, True])
async def test_an_application_of_several_files_that_fails_anywhere(
    make_configuration: Make, database: Database, admin: Identity, lost: bool
) -> None:
    faults = FailNth(database)
    configuration = make_configuration()
    await configuration.apply(admin, Apply(files=_files(0)))
    for number in itertools.count(1):
        request = Apply(files=_files(number), removed=_removed(number), comment=f"{number}", base=number)
        with faults.failing(number, lost=lost):
            try:
                await configuration.apply(admin, request)
            except UnavailableError:
                assert faults.fired
        seen = await make_configuration().current()  # by another process, which knows nothing yet
        assert _says(seen.tree) in {(number - 1,) * 3, (number,) * 3}, "all files, or none"
        assert seen.version == 1 + _says(seen.tree)[0]
        again = await configuration.apply(admin, request)
        assert again.version == number + 1, "a repetition converges, and makes no version twice"
        assert _says((await make_configuration().current()).tree) == (number,) * 3
        if not faults.fired:
            break
    assert number > 4
    log = await configuration.log(admin)
    assert [each.number for each in log] == list(range(number + 1, 0, -1))
    async with database.read() as tx:
        told = await history(tx, "configuration", [str(each) for each in range(1, number + 2)])
        kept = await history(tx, "test", ["registry"])
    assert len(told) == number + 1, "an event for each version, and for nothing else"
    assert len(kept) == number + 1, "and the registry was told with it"


_PATHS = ("max_priority", "max_retries", "min_cpu_time", "default_cpu_time")
_EDITS = st.dictionaries(st.sampled_from(_PATHS), st.integers(2, 9), min_size=1, max_size=3)
_PLACES = st.fixed_dictionaries({"edits": _EDITS, "new": st.sampled_from(["", "pilot: {idle_seconds: 7}\n"])})


def _text(values: dict[str, int]) -> str:
    return "# rules\nworkload:\n" + "".join(f"  {name}: {values[name]}\n" for name in _PATHS)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=_PLACES, second=_PLACES)
def test_two_who_edit_at_once_never_lose_a_change(
    migrated_url: str, make_identity: Any, first: dict[str, Any], second: dict[str, Any]
) -> None:
    """Each who was told that it is applied finds it there, also when the other one came in between."""
    asyncio.run(_both(migrated_url, first, second))


async def _both(url: str, *edits: dict[str, Any]) -> None:
    from tests.contract.systems.configuration.conftest import ready

    async with ready(url) as (make, admin):
        begin = dict.fromkeys(_PATHS, 1)
        head = await make().apply(admin, Apply(files={"rules.yml": _text(begin), "pilot.yml": "{}\n"}))

        async def edit(what: dict[str, Any]) -> bool:
            files = {"rules.yml": _text(begin | what["edits"])}
            if what["new"]:
                files["pilot.yml"] = what["new"]
            try:
                await make().apply(admin, Apply(files=files, base=head.version))
            except ConflictError:
                return False
            except DiracError as error:
                raise AssertionError(f"neither applied nor a conflict: {error}") from error
            return True

        done = await asyncio.gather(*(edit(each) for each in edits))
        tree = (await make().current()).tree
        for applied, what in zip(done, edits, strict=True):
            for name, value in what["edits"].items() if applied else ():
                assert getattr(tree.workload, name) == value, f"{name} of {what} was lost"
            if applied and what["new"]:
                assert tree.pilot.idle_seconds == 7
        touched = {
            name for applied, what in zip(done, edits, strict=True) if applied for name in what["edits"]
        }
        assert all(getattr(tree.workload, name) == 1 for name in set(_PATHS) - touched)
        assert any(done)
        agree = all(
            edits[0]["edits"][name] == edits[1]["edits"][name]
            for name in edits[0]["edits"].keys() & edits[1]["edits"].keys()
        )
        assert all(done) == agree, "refused only where both changed the same option in two ways"
