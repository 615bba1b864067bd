"""Repositories of git beside the configuration: real ones, on every database."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from dirac.core.errors import ConflictError, UnavailableError
from dirac.db.engine import Database
from dirac.db.history import history
from dirac.db.tables import tasks
from dirac.resources.repositories.git import GitBranch, Place
from dirac.systems.configuration.git import FOLLOW, Git
from dirac.systems.configuration.logic import Configuration
from dirac.systems.configuration.mirroring import version_of
from dirac.systems.configuration.models import Apply, GitState
from dirac.systems.identity.models import Identity
from dirac.testing.faults import FailNth
from dirac.testing.time import FakeClock

ASTRO = """\
virtual_organisations:
  astro:
    default_group: user
    groups: {user: {}}
    users:
      alice: {groups: [user]}
"""
RULES = """\
# What jobs may do
workload:
  max_priority: 20
  max_retries: 3
  min_cpu_time: 50
"""
FILES = {"vo/astro.yml": ASTRO, "rules.yml": RULES}


class Human:
    """Somebody with a clone of a repository."""

    def __init__(self, directory: Path) -> None:
        self.url = f"file://{directory / 'far.git'}"
        self.clone = directory / "clone"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Ada Lovelace",
            "GIT_AUTHOR_EMAIL": "ada@example.org",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.org",
        }
        directory.mkdir(exist_ok=True)
        self._run("init", "--quiet", "--bare", "-b", "main", str(directory / "far.git"), here=False)
        self._run("clone", "--quiet", self.url, str(self.clone), here=False)
        self._run("checkout", "--quiet", "-B", "main")

    def _run(self, *words: str, here: bool = True) -> str:
        where = ["-C", str(self.clone)] if here else []
        done = subprocess.run(
            ["git", *where, *words], env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, files: dict[str, str | None], message: str, *, push: bool = True) -> str:
        for name, text in files.items():
            path = self.clone / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._run("add", "--all")
        self._run("commit", "--quiet", "-m", message)
        if push:
            self._run("push", "--quiet", "origin", "main")
        return self._run("rev-parse", "HEAD")

    def pull(self) -> None:
        self._run("pull", "--quiet", "--ff-only", "origin", "main")

    def force(self, *words: str) -> None:
        self._run(*words)
        self._run("push", "--quiet", "--force", "origin", "main")

    def log(self) -> list[str]:
        """Names of all commits of the branch, also of those that were merged."""
        self._run("fetch", "--quiet", "origin")
        return self._run("log", "--format=%H", "origin/main").split()

    def show(self, form: str) -> str:
        return self._run("log", "-1", f"--format={form}", "origin/main")

    def texts(self) -> dict[str, str]:
        self._run("fetch", "--quiet", "origin")
        names = self._run("ls-tree", "-r", "--name-only", "origin/main").split("\n")
        return {name: self._run("show", f"origin/main:{name}") + "\n" for name in names}

    def versions(self) -> list[int]:
        """The versions that commits were made of, newest first."""
        self._run("fetch", "--quiet", "origin")
        found = self._run("log", "--format=%B%x00", "origin/main").split("\x00")
        return [number for each in found if (number := version_of(each.strip())) is not None]


class World:
    """A configuration with repositories."""

    def __init__(
        self,
        directory: Path,
        database: Database,
        configuration: Configuration,
        clock: FakeClock,
        admin: Identity,
    ) -> None:
        self.directory, self.database, self.configuration = directory, database, configuration
        self.clock, self.admin = clock, admin
        self.human = Human(directory / "human")
        self.git: Git | None = None

    def branch(self, **place: Any) -> GitBranch:
        return GitBranch(Place(url=self.human.url, **place), self.directory / "git")

    def use(self, *roles: str, **place: Any) -> None:
        branches = {role: self.branch(**place) for role in roles}
        self.git = self.configuration.beside_git(branches.get("source"), branches.get("mirror"))

    async def follow(self, *, rewritten: bool = False) -> dict[str, GitState]:
        assert self.git is not None
        self.clock.advance(60)
        async with self.database.write() as tx:
            entry = tx.enqueue(FOLLOW)
        await self.git.follow(entry=entry, rewritten=rewritten)
        return {state.role: state for state in await self.git.states()}

    async def apply(self, files: dict[str, str], **said: Any) -> int:
        return (await self.configuration.apply(self.admin, Apply(files=files, **said))).version

    async def texts(self) -> dict[str, str | None]:
        names = [each.name for each in (await self.configuration.files(self.admin)).files]
        found = await self.configuration.files(self.admin, names=names)
        return {each.name: each.text for each in found.files}

    async def priority(self) -> int:
        return (await self.configuration.current()).tree.workload.max_priority

    async def number(self) -> int:
        return (await self.configuration.current()).version


@pytest.fixture
def world(
    tmp_path: Path, database: Database, configuration: Configuration, clock: FakeClock, admin: Identity
) -> World:
    return World(tmp_path, database, configuration, clock, admin)


async def test_commits_become_versions_with_author_and_message(world: World) -> None:
    world.use("source", directory="conf")
    world.human.commit({f"conf/{name}": text for name, text in FILES.items()} | {"README.md": "x"}, "Begin")
    first = (await world.follow())["source"]
    assert (first.problem, first.version, await world.texts()) == ("", 1, FILES)
    world.human.commit({"conf/rules.yml": RULES.replace("20", "30")}, "More", push=False)
    last = world.human.commit({"conf/rules.yml": RULES.replace("20", "40")}, "Even more\n\nBecause")
    state = (await world.follow())["source"]
    assert (state.problem, state.version, state.commit_id) == ("", 3, last)
    log = await world.configuration.log(world.admin)
    assert [(each.author, each.comment) for each in log] == [
        ("Ada Lovelace <ada@example.org>", "Even more\n\nBecause"),
        ("Ada Lovelace <ada@example.org>", "More"),
        ("Ada Lovelace <ada@example.org>", "Begin"),
    ]
    again = (await world.follow())["source"]
    assert (again.version, await world.number(), again.runs) == (3, 3, 3)


async def test_a_commit_that_is_refused_changes_nothing_and_is_told_with_its_place(world: World) -> None:
    world.use("source")
    world.human.commit(dict(FILES), "Begin")
    await world.follow()
    bad = world.human.commit({"rules.yml": RULES.replace("20", "many")}, "A mistake")
    state = (await world.follow())["source"]
    assert bad[:12] in state.problem
    assert "Ada Lovelace" in state.problem
    assert "rules.yml:3:17: workload/max_priority" in state.problem
    assert (await world.number(), await world.priority()) == (1, 20)
    await world.follow()
    async with world.database.read() as tx:
        events = await history(tx, "configuration", ["source"])
    assert [event.kind for event in events] == ["configuration.source.refused"], "once, not each time"
    world.human.commit({"rules.yml": RULES.replace("20", "25")}, "Mended")
    state = (await world.follow())["source"]
    assert (state.problem, await world.priority(), state.version) == ("", 25, 2)


async def test_a_commit_is_merged_with_what_was_applied_here(world: World) -> None:
    world.use("source")
    world.human.commit(dict(FILES), "Begin")
    await world.follow()
    await world.apply({"rules.yml": RULES.replace("retries: 3", "retries: 5")})
    world.human.commit({"rules.yml": RULES.replace("20", "30").replace("What", "All that")}, "There")
    await world.follow()
    await world.apply({"new.yml": "pilot: {max_jobs: 5}"})
    world.human.commit({"vo/astro.yml": ASTRO + "      bob: {groups: [user]}\n"}, "Bob")
    state = (await world.follow())["source"]
    tree = (await world.configuration.current()).tree
    assert (state.problem, tree.workload.max_priority, tree.workload.max_retries) == ("", 30, 5)
    assert (tree.pilot.max_jobs, sorted(tree.virtual_organisations["astro"].users)) == (5, ["alice", "bob"])
    assert (await world.texts())["rules.yml"] == RULES.replace("20", "30").replace(
        "What", "All that"
    ).replace("retries: 3", "retries: 5")


async def test_the_same_option_in_two_ways_is_refused_until_somebody_decides(world: World) -> None:
    world.use("source", "mirror")
    await world.apply(dict(FILES))
    await world.follow()
    await world.apply({"rules.yml": RULES.replace("20", "30")})
    world.human.pull()
    world.human.commit({"rules.yml": RULES.replace("20", "40")}, "Forty")
    states = await world.follow()
    assert "the same was changed by others" in states["source"].problem
    assert "not taken over" in states["mirror"].problem
    assert await world.priority() == 30
    world.human.commit({"rules.yml": RULES.replace("20", "30")}, "Thirty")
    states = await world.follow()
    assert (states["source"].problem, states["mirror"].problem) == ("", "")
    assert world.human.texts() == await world.texts()


async def test_versions_become_commits_with_who_and_when_and_why(world: World) -> None:
    world.use("mirror", directory="conf")
    await world.apply(dict(FILES), comment="The first\n\nwith a reason")
    world.clock.advance(1000)
    await world.apply({"rules.yml": RULES.replace("20", "30")}, comment="Faster")
    await world.configuration.apply(world.admin, Apply(removed=["rules.yml"]))
    state = (await world.follow())["mirror"]
    assert (state.problem, state.version, len(world.human.log())) == ("", 3, 3)
    assert world.human.texts() == {"conf/vo/astro.yml": ASTRO}
    assert world.human.show("%an|%s") == f"{world.admin.subject}|Version 3"
    moment = (await world.configuration.log(world.admin))[0].time
    assert world.human.show("%at") == str(int(moment.timestamp()))
    await world.follow()
    assert world.human.versions() == [3, 2, 1]


async def test_commits_of_others_in_a_mirror_are_not_lost(world: World) -> None:
    world.use("mirror")
    await world.apply(dict(FILES))
    await world.follow()
    world.human.pull()
    own = world.human.commit({"notes.txt": "mine"}, "Mine")
    await world.apply({"rules.yml": RULES.replace("20", "30")})
    assert "would be lost" in (await world.follow())["mirror"].problem
    assert world.human.log()[0] == own


async def test_both_at_once_meet_in_one_history(world: World) -> None:
    world.use("source", "mirror")
    await world.apply(dict(FILES), comment="Begin")
    assert {state.problem for state in (await world.follow()).values()} == {""}
    world.human.pull()
    theirs = world.human.commit({"rules.yml": RULES.replace("20", "30"), "README.md": "x"}, "There")
    await world.apply({"rules.yml": RULES.replace("retries: 3", "retries: 5")}, comment="Here")
    states = await world.follow()
    assert {state.problem for state in states.values()} == {""}
    assert states["mirror"].version == 3
    assert {name: text for name, text in world.human.texts().items() if name != "README.md"} == (
        await world.texts()
    )
    assert theirs in world.human.log(), "nothing was forced"
    assert sorted(world.human.versions()) == [1, 2, 3]
    assert len(world.human.log()) == 4
    await world.follow()
    assert (await world.number(), len(world.human.log())) == (3, 4), "our own commits are no edits"
    world.human.pull()
    world.human.commit({"README.md": "y"}, "About something else")
    await world.apply({"new.yml": "pilot: {max_jobs: 5}\n"})
    states = await world.follow()
    assert {state.problem for state in states.values()} == {""}
    assert world.human.texts() == await world.texts() | {"README.md": "y\n"}


async def test_a_commit_alone_needs_no_commit_of_ours(world: World) -> None:
    world.use("source", "mirror")
    world.human.commit(dict(FILES), "Begin")
    last = world.human.commit({"rules.yml": RULES + "# only a remark\n"}, "A remark")
    states = await world.follow()
    assert {state.problem for state in states.values()} == {""}
    assert world.human.log()[0] == last
    remark = world.human.commit({"rules.yml": RULES + "# another remark\n"}, "A remark")
    states = await world.follow()
    assert {state.problem for state in states.values()} == {""}
    assert (world.human.log()[0], await world.texts()) == (remark, world.human.texts()), "no remark is lost"


async def test_two_that_know_nothing_of_each_other_are_united_or_refused(world: World) -> None:
    await world.apply({"rules.yml": RULES})
    world.use("source", "mirror")
    world.human.commit({"vo/astro.yml": ASTRO}, "Theirs")
    states = await world.follow()
    assert {state.problem for state in states.values()} == {""}
    assert await world.texts() == FILES == world.human.texts()


async def test_a_rewritten_branch_is_followed_when_somebody_says_so(world: World) -> None:
    world.use("source")
    world.human.commit(dict(FILES), "Begin")
    world.human.commit({"rules.yml": RULES.replace("20", "30")}, "More")
    await world.follow()
    world.human.force("reset", "--quiet", "--hard", "HEAD~1")
    world.human.commit({"rules.yml": RULES.replace("20", "50")}, "Another way")
    state = (await world.follow())["source"]
    assert "the branch was rewritten" in state.problem
    assert await world.priority() == 30
    state = (await world.follow(rewritten=True))["source"]
    assert (state.problem, await world.priority()) == ("", 50)


async def test_a_repository_that_is_away_is_told_and_comes_back(world: World) -> None:
    world.use("source", "mirror")
    await world.apply(dict(FILES))
    far = world.directory / "human" / "far.git"
    far.rename(far.with_suffix(".away"))
    states = await world.follow()
    assert all("ls-remote" in state.problem for state in states.values())
    far.with_suffix(".away").rename(far)
    states = await world.follow()
    assert {state.problem for state in states.values()} == {""}


async def test_a_copy_that_is_lost_is_made_again(world: World) -> None:
    world.use("source", "mirror")
    await world.apply(dict(FILES))
    await world.follow()
    world.use("source", "mirror")
    shutil.rmtree(world.directory / "git")
    world.human.pull()
    world.human.commit({"rules.yml": RULES.replace("20", "30")}, "More")
    states = await world.follow()
    assert {state.problem for state in states.values()} == {""}
    assert await world.priority() == 30


async def test_nobody_asks_where_there_is_no_repository(world: World) -> None:
    world.use()
    assert world.git is not None
    with pytest.raises(ConflictError, match="no repository"):
        await world.git.ask()
    await world.apply(dict(FILES))


async def test_each_version_asks_for_its_commit(world: World) -> None:
    world.use("mirror")
    await world.apply(dict(FILES))
    async with world.database.read() as tx:
        rows = await tx.execute(select(tasks.c.id).where(tasks.c.name == FOLLOW, tasks.c.state == "Pending"))
        pending = len(rows.all())
    assert pending == 1


class Breaking(GitBranch):
    """A branch whose n-th call fails, before or after it had its effect."""

    def __init__(self, branch: GitBranch) -> None:
        self.__dict__ = branch.__dict__
        self.left, self.lost, self.fired = 0, False, False

    def failing(self, n: int, *, lost: bool) -> None:
        self.left, self.lost, self.fired = n, lost, False

    async def _git(self, *words: str, **options: Any) -> bytes:
        self.left -= 1
        if self.left == 0 and not self.lost:
            self.fired = True
            raise UnavailableError("an injected fault")
        found = await super()._git(*words, **options)
        if self.left == 0:
            self.fired = True
            raise UnavailableError("an injected fault")
        return found


async def _round(world: World, number: int) -> None:
    """Change something on both sides."""
    world.human.pull()
    world.human.commit(
        {"rules.yml": RULES.replace("retries: 3", f"retries: {number + 3}")}, f"There {number}"
    )
    await world.apply({"pilot.yml": f"pilot: {{max_jobs: {number + 1}}}\n"}, comment=f"Here {number}")


async def _converges(world: World, number: int) -> None:
    states = await world.follow()
    assert {state.problem for state in states.values()} == {""}
    assert world.human.texts() == await world.texts()
    tree = (await world.configuration.current()).tree
    assert (tree.workload.max_retries, tree.pilot.max_jobs) == (number + 3, number + 1)
    made = world.human.versions()
    assert len(made) == len(set(made)), "nothing is committed twice"
    assert await world.number() == 1 + 2 * number, "nothing is applied twice"


@pytest.mark.parametrize("lost", [False, True])
async def test_a_run_that_fails_at_the_database_converges(world: World, lost: bool) -> None:
    world.use("source", "mirror")
    await world.apply(dict(FILES))
    await world.follow()
    faults = FailNth(world.database)
    assert world.git is not None
    for number in itertools.count(1):
        await _round(world, number)
        async with world.database.write() as tx:
            entry = tx.enqueue(FOLLOW)
        with faults.failing(number * 5, lost=lost):
            try:
                await world.git.follow(entry=entry)
            except UnavailableError:
                assert faults.fired
        await _converges(world, number)
        if not faults.fired:
            break
    assert number > 5


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)  # what git does is the same for all
@pytest.mark.parametrize("lost", [False, True])
async def test_a_run_that_fails_at_git_converges(world: World, lost: bool) -> None:
    breaking = Breaking(world.branch())
    world.git = world.configuration.beside_git(breaking, breaking)
    await world.apply(dict(FILES))
    await world.follow()
    for number in itertools.count(1):
        await _round(world, number)
        breaking.failing(number, lost=lost)
        await world.follow()
        fired = breaking.fired
        breaking.failing(0, lost=False)
        await _converges(world, number)
        if not fired:
            break
    assert number > 10
