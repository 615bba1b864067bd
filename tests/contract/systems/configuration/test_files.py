"""Files, merging, delegation, explanations: on every database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from dirac.core.errors import ConflictError, InternalError, InvalidInputError, NotAllowedError, NotFoundError
from dirac.db.engine import Database
from dirac.systems.configuration.logic import Configuration
from dirac.systems.configuration.models import Apply, Effect, Overridden, Tree
from dirac.systems.configuration.store import files, versions
from dirac.systems.identity.models import Identity, Property
from dirac.testing.faults import FailNth
from dirac.testing.time import FakeClock

Make = Callable[..., Configuration]
MakeIdentity = Callable[..., Identity]

ASTRO = """\
virtual_organisations:
  astro:
    default_group: user
    groups:
      user: {}
      admin: {properties: [ServiceAdministrator]}
    users:
      alice: {groups: [user]}
      root: {groups: [admin]}
"""
BIO = "virtual_organisations:\n  bio:\n    default_group: user\n    groups: {user: {}}\n"
SITE = """\
sites:
  LCG.Here.ch:
    virtual_organisations: [astro, bio]
    computing_elements:
      ce:
        type: local
"""
RULES = """\
# What jobs may do
workload:
  max_priority: 20
  max_retries: 3
  min_cpu_time: 50
"""
FILES = {"vo/astro.yml": ASTRO, "vo/bio.yml": BIO, "sites/here.yml": SITE, "rules.yml": RULES}


@pytest.fixture
def vo_admin(make_identity: MakeIdentity) -> Identity:
    """An administrator of astro."""
    return make_identity("astro", Property.NORMAL_USER, Property.VO_ADMINISTRATOR)


async def _apply(configuration: Configuration, who: Identity, changed: dict[str, str], **said: Any) -> Any:
    return await configuration.apply(who, Apply(files=changed, **said))


async def _text(configuration: Configuration, who: Identity, name: str) -> str | None:
    return (await configuration.files(who, names=[name])).files[0].text


async def test_files_make_one_tree_and_are_kept(configuration: Configuration, admin: Identity) -> None:
    applied = await _apply(configuration, admin, FILES)
    assert (applied.version, applied.files) == (1, sorted(FILES))
    tree = (await configuration.current()).tree
    assert (list(tree.virtual_organisations), list(tree.sites)) == (["astro", "bio"], ["LCG.Here.ch"])
    assert tree.workload.max_priority == 20
    listed = await configuration.files(admin, names=list(FILES))
    assert {each.name: each.text for each in listed.files} == FILES
    again = await _apply(configuration, admin, {"rules.yml": RULES + "# a remark\n"})
    assert (again.version, again.files) == (1, [])


async def test_one_file_changes_and_others_stay(
    configuration: Configuration, make_configuration: Make, admin: Identity
) -> None:
    other = make_configuration()
    await _apply(configuration, admin, FILES)
    assert (await other.current()).version == 1
    before = await configuration.current()
    applied = await _apply(configuration, admin, {"rules.yml": RULES.replace("20", "30")})
    assert [change.path for change in applied.changes] == ["workload/max_priority"]
    after = await configuration.current()
    assert after.tree.sites["LCG.Here.ch"] is before.tree.sites["LCG.Here.ch"], "memory is shared"
    fresh = await make_configuration().current()
    assert (fresh.tree, fresh.digest) == (after.tree, after.digest)
    gone = await configuration.apply(admin, Apply(removed=["rules.yml"]))
    assert [change.path for change in gone.changes][-1] == "workload/min_cpu_time"
    assert (await make_configuration().current()).tree.workload == Tree().workload


async def test_a_rollback_brings_files_back_and_takes_others_away(
    configuration: Configuration, admin: Identity
) -> None:
    await _apply(configuration, admin, FILES)
    await configuration.apply(admin, Apply(files={"new.yml": "pilot: {max_jobs: 5}"}, removed=["rules.yml"]))
    assert (await configuration.rollback(admin, 1)).version == 3
    assert [each.name for each in (await configuration.files(admin)).files] == sorted(FILES)
    assert await configuration.diff(admin, 1, 3) == []
    assert await _text(configuration, admin, "rules.yml") == RULES


@pytest.mark.parametrize(
    "name",
    ["../x.yml", "/x.yml", ".x.yml", "a/.b.yml", "a//b.yml", "x.txt", "", "x.yml\n", "a" * 250 + ".yml"],
)
async def test_names_that_leave_the_directory_are_refused(
    configuration: Configuration, admin: Identity, name: str
) -> None:
    with pytest.raises(InvalidInputError, match="no name for a file"):
        await _apply(configuration, admin, {name: "{}"})
    with pytest.raises(InvalidInputError, match="no name for a file"):
        await configuration.apply(admin, Apply(removed=[name]))


async def test_what_two_files_say_is_refused_with_its_place(
    configuration: Configuration, admin: Identity
) -> None:
    await _apply(configuration, admin, FILES)
    for text, place in (
        (BIO, "virtual_organisations/bio"),
        ("workload:\n  max_retries: 4\n", "workload/max_retries"),
    ):
        with pytest.raises(InvalidInputError, match=f"{place}: this is in the file .* as well") as caught:
            await _apply(configuration, admin, {"x.yml": text})
        assert caught.value.where == "x.yml:2:3" if "bio" in place else "x.yml:2:16"
    assert (await configuration.current()).version == 1


async def test_what_another_file_needs_cannot_go(configuration: Configuration, admin: Identity) -> None:
    await _apply(configuration, admin, FILES)
    with pytest.raises(InvalidInputError, match=r"virtual_organisations/1: there is no VO `bio`") as caught:
        await configuration.apply(admin, Apply(removed=["vo/bio.yml"]))
    assert caught.value.where == "sites/here.yml"
    both = {"sites/here.yml": SITE.replace(", bio", "")}
    assert (await configuration.apply(admin, Apply(files=both, removed=["vo/bio.yml"]))).version == 2


async def test_edits_of_different_options_are_merged_with_their_comments(
    configuration: Configuration, admin: Identity
) -> None:
    await _apply(configuration, admin, FILES)
    await _apply(
        configuration, admin, {"rules.yml": RULES.replace("max_priority: 20", "max_priority: 21")}, base=1
    )
    mine = RULES.replace("max_retries: 3", "max_retries: 4  # more").replace("# What", "# All that")
    applied = await _apply(configuration, admin, {"rules.yml": mine}, base=1)
    assert (applied.version, applied.merged) == (3, [2])
    assert [change.path for change in applied.changes] == ["workload/max_retries"]
    text = await _text(configuration, admin, "rules.yml")
    assert text == mine.replace("max_priority: 20", "max_priority: 21")


async def test_two_entries_at_the_same_place_are_both_kept(
    configuration: Configuration, admin: Identity
) -> None:
    await _apply(configuration, admin, FILES)
    for name in ("bob", "carol"):
        await _apply(
            configuration, admin, {"vo/astro.yml": f"{ASTRO}      {name}: {{groups: [user]}}\n"}, base=1
        )
    tree = (await configuration.current()).tree
    assert set(tree.virtual_organisations["astro"].users) == {"alice", "root", "bob", "carol"}


async def test_options_in_one_line_are_merged(configuration: Configuration, admin: Identity) -> None:
    text = "pilot: {max_jobs: 1, min_disk: 2}\n"
    await configuration.apply(admin, Apply(text=text))
    await configuration.apply(admin, Apply(text=text.replace("1", "10"), base=1))
    await configuration.apply(admin, Apply(text=text.replace("2", "20"), base=1))
    pilot = (await configuration.current()).tree.pilot
    assert (pilot.max_jobs, pilot.min_disk) == (10, 20)


async def test_the_same_option_in_two_ways_is_refused_with_both_values(
    configuration: Configuration, admin: Identity
) -> None:
    await _apply(configuration, admin, FILES)
    await _apply(configuration, admin, {"rules.yml": RULES.replace("20", "21")})
    with pytest.raises(ConflictError) as caught:
        await _apply(configuration, admin, {"rules.yml": RULES.replace("20", "22")}, base=1)
    assert caught.value.where == "rules.yml:3:17"
    assert "workload/max_priority: here 22, in version 2 21" in caught.value.message
    with pytest.raises(ConflictError, match="workload/max_priority"):
        await configuration.apply(admin, Apply(removed=["rules.yml"], base=1))
    assert (await configuration.current()).version == 2


async def test_many_at_once_lose_nothing(make_configuration: Make, admin: Identity) -> None:
    await _apply(make_configuration(), admin, FILES)
    editors = [make_configuration() for _ in range(4)]
    await asyncio.gather(
        *(
            _apply(editor, admin, {"vo/astro.yml": f"{ASTRO}      u{number}: {{groups: [user]}}\n"}, base=1)
            for number, editor in enumerate(editors)
        )
    )
    users = (await make_configuration().current()).tree.virtual_organisations["astro"].users
    assert set(users) == {"alice", "root", "u0", "u1", "u2", "u3"}


async def test_an_unknown_base_is_not_found(configuration: Configuration, admin: Identity) -> None:
    with pytest.raises(NotFoundError, match="no version 7"):
        await _apply(configuration, admin, FILES, base=7)


async def test_an_old_fault_elsewhere_is_a_warning_and_a_new_one_is_refused(
    configuration: Configuration, make_configuration: Make, admin: Identity, database: Database
) -> None:
    await _apply(configuration, admin, FILES)
    async with database.write() as tx:  # as if the plugin had been there then
        for column in ("text", "part"):
            await tx.execute(
                update(files)
                .where(files.c.name == "sites/here.yml")
                .values(
                    {
                        column: SITE.replace("local", "old")
                        if column == "text"
                        else '{"sites":{"LCG.Here.ch":{"virtual_organisations":["astro","bio"],'
                        '"computing_elements":{"ce":{"type":"old"}}}}}'
                    }
                )
            )
    fresh = make_configuration()
    more = SITE.replace("local", "old").replace(
        "sites:", "sites:\n  LCG.New.ch: {virtual_organisations: [bio]}"
    )
    applied = await _apply(fresh, admin, {"sites/here.yml": more})
    assert [change.path for change in applied.changes] == ["sites/LCG.New.ch"]
    (warning,) = applied.warnings
    assert warning.startswith(
        "sites/here.yml:7:15: sites/LCG.Here.ch/computing_elements/ce/type: there is no"
    )
    with pytest.raises(InvalidInputError, match=r"LCG\.Two\.ch"):
        await _apply(
            fresh, admin, {"x.yml": more.replace("Here", "Two").replace("LCG.New.ch", "LCG.Three.ch")}
        )
    planned = await _apply(fresh, admin, {"rules.yml": RULES.replace("20", "30")}, dry_run=True)
    assert any("no computing plugin `old`" in each for each in planned.warnings), "a plan names old faults"


async def test_what_extensions_say_is_kept_and_flagged(configuration: Configuration, admin: Identity) -> None:
    applied = await _apply(configuration, admin, {"x.yml": "extensions: {lhcb: {Option: [1, two]}}"})
    assert applied.warnings == ["kept for extensions, and read by nobody here: extensions/lhcb"]
    assert (await configuration.current()).tree.extensions == {"lhcb": {"Option": [1, "two"]}}


async def test_an_administrator_of_a_vo_changes_its_members(
    configuration: Configuration, admin: Identity, vo_admin: Identity
) -> None:
    await _apply(configuration, admin, FILES)
    assert [each.name for each in (await configuration.files(vo_admin)).files] == ["vo/astro.yml"]
    applied = await _apply(
        configuration, vo_admin, {"vo/astro.yml": f"{ASTRO}      bob: {{groups: [user]}}\n"}
    )
    assert applied.version == 2


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"vo/bio.yml": BIO + "    job_share: 5\n"}, "vo/bio.yml is not a file of the VO astro alone"),
        ({"rules.yml": RULES.replace("20", "30")}, "rules.yml is not a file of the VO astro alone"),
        ({"x.yml": "pilot: {max_jobs: 7}"}, "pilot: this is not a part of the VO astro"),
        ({"x.yml": BIO.replace("bio", "chem")}, "this is not a part of the VO astro"),
        ({"vo/astro.yml": ASTRO + "    job_share: 5\n"}, "keeps this option for itself"),
        ({"vo/astro.yml": ASTRO.replace("[user]", "[user, admin]")}, "which has ServiceAdministrator"),
        (
            {
                "vo/astro.yml": ASTRO.replace("[admin]", "[admin]\n        sub: me").replace(
                    "{groups: [admin]\n        sub: me}", "{groups: [admin], sub: me}"
                )
            },
            "rights that only the installation gives",
        ),
        ({"vo/astro.yml": ASTRO.replace("user: {}", "user: {properties: [Operator]}")}, "groups/user"),
    ],
)
async def test_an_administrator_of_a_vo_changes_nothing_else(
    configuration: Configuration, admin: Identity, vo_admin: Identity, changed: dict[str, str], why: str
) -> None:
    await _apply(configuration, admin, FILES)
    with pytest.raises(NotAllowedError) as caught:
        await _apply(configuration, vo_admin, changed)
    assert why in caught.value.message
    with pytest.raises(NotAllowedError):
        await configuration.apply(vo_admin, Apply(text=ASTRO))
    assert (await configuration.current()).version == 1


async def test_an_administrator_of_a_vo_is_not_told_what_others_have(
    configuration: Configuration, admin: Identity, vo_admin: Identity
) -> None:
    await _apply(configuration, admin, FILES | {"x.yml": "extensions: {bio: {a: 1}}"})
    await _apply(configuration, admin, {"vo/bio.yml": BIO + "    job_share: 77\n"})
    for changed in ({"vo/bio.yml": BIO + "    job_share: 5\n"}, {"new.yml": BIO + "    job_share: 5\n"}):
        for base in (1, 2):
            with pytest.raises(NotAllowedError) as caught:
                await _apply(configuration, vo_admin, changed, base=base)
            assert "77" not in str(caught.value)
    applied = await _apply(
        configuration, vo_admin, {"vo/astro.yml": f"{ASTRO}      bob: {{groups: [user]}}\n"}, dry_run=True
    )
    assert (applied.warnings, applied.effects[0].vo) == ([], "astro")
    assert applied.effects == [Effect("astro", "1 user of astro can log in now: bob", 1, harm=False)]


async def test_the_history_of_a_shared_site_tells_nothing_of_others(
    configuration: Configuration, admin: Identity, make_identity: MakeIdentity
) -> None:
    await _apply(configuration, admin, FILES)
    await _apply(configuration, admin, {"sites/here.yml": SITE.replace("[astro, bio]", "[astro]")})
    blamed = await configuration.blame(make_identity("astro"), "sites/LCG.Here.ch/virtual_organisations")
    assert [(each.version, each.value) for each in blamed] == [(1, ["astro"])]


async def test_the_installation_sets_the_limits(
    configuration: Configuration, admin: Identity, vo_admin: Identity
) -> None:
    limits = "delegation: {options: [users, groups], properties: [NormalUser, GenericPilot], max_users: 2}"
    await _apply(configuration, admin, FILES | {"limits.yml": limits})
    more = ASTRO.replace("user: {}", "user: {}\n      pilot: {properties: [GenericPilot]}")
    assert (await _apply(configuration, vo_admin, {"vo/astro.yml": more})).version == 2
    with pytest.raises(NotAllowedError, match="there would be 3 users; the installation allows 2"):
        await _apply(configuration, vo_admin, {"vo/astro.yml": f"{more}      bob: {{groups: [user]}}\n"})
    with pytest.raises(NotAllowedError, match="ServiceAdministrator is the installation's to change"):
        await _apply(
            configuration, vo_admin, {"vo/astro.yml": more.replace("admin: {p", "admin: {job_share: 2, p")}
        )


async def test_an_option_is_explained(
    configuration: Configuration, admin: Identity, clock: FakeClock
) -> None:
    await _apply(configuration, admin, FILES, comment="first")
    early = clock.now()
    clock.advance(60)
    await _apply(configuration, admin, {"rules.yml": RULES.replace("20", "30")}, comment="more")
    await _apply(configuration, admin, {"rules.yml": RULES.replace("20", "30").replace("50", "60")})
    found = await configuration.explain(admin, "workload/max_priority")
    assert (found.value, found.origin, found.file, found.line, found.column) == (
        30,
        "file",
        "rules.yml",
        3,
        17,
    )
    assert (found.since.version, found.since.comment) == (2, "more") if found.since else False
    assert (found.meaning, found.accepts) == (
        "Greatest priority of a job",
        "a whole number from 0 to 2147483647",
    )
    assert found.overrides == [Overridden("default", 10)]
    default = await configuration.explain(admin, "workload/min_priority")
    assert (default.value, default.origin, default.file, default.since) == (0, "default", None, None)
    then = await configuration.explain(admin, "workload/max_priority", moment=early + timedelta(seconds=1))
    assert then.value == 20
    assert (await configuration.content(admin, moment=early - timedelta(seconds=1))).version == 0
    blamed = await configuration.blame(admin, "workload/max_priority")
    assert [(each.version, each.value, each.comment) for each in blamed] == [
        (2, 30, "more"),
        (1, 20, "first"),
    ]
    for key in ("workload/max_priorty", "sites/LCG.There.ch", "", "workload/max_priority/x", "a" * 300):
        with pytest.raises(NotFoundError):
            await configuration.explain(admin, key)


async def test_an_option_of_a_provider_is_explained(configuration: Configuration, admin: Identity) -> None:
    provider = "    identity_provider: {issuer: 'https://a.test', client_id: d, client_secret: {file: /x}}\n"
    await _apply(configuration, admin, {"bio.yml": BIO + provider})
    place = "virtual_organisations/bio/identity_provider"
    found = await configuration.explain(admin, f"{place}/client_secret/file")
    assert (found.value, found.file, found.line) == ("/x", "bio.yml", 5)
    assert "not readable by others" in found.meaning
    assert (await configuration.explain(admin, place)).accepts == ""


async def test_options_of_a_vo_come_before_those_of_all(
    configuration: Configuration, admin: Identity
) -> None:
    own = BIO + "    operations: {Job: {MaxCPU: 5}}\n"
    await _apply(
        configuration, admin, FILES | {"vo/bio.yml": own, "o.yml": "operations: {Job: {MaxCPU: 1, Min: 2}}"}
    )
    found = await configuration.explain(admin, "virtual_organisations/bio/operations/Job/MaxCPU")
    assert (found.value, found.overrides) == (5, [Overridden("operations/Job/MaxCPU", 1)])
    other = await configuration.explain(admin, "virtual_organisations/bio/operations/Job/Min")
    assert (other.value, other.origin, other.file) == (2, "operations/Job/Min", "o.yml")


async def test_members_are_explained_their_own_part(
    configuration: Configuration, admin: Identity, make_identity: MakeIdentity
) -> None:
    await _apply(configuration, admin, FILES, comment="about bio")
    astro = make_identity("astro")
    mine = await configuration.explain(astro, "virtual_organisations/astro/default_group")
    assert (mine.file, mine.since.comment if mine.since else None) == ("vo/astro.yml", "about bio")
    shared = await configuration.explain(astro, "workload/max_priority")
    assert (shared.value, shared.file, shared.since.author if shared.since else None) == (20, None, "")
    with pytest.raises(NotFoundError):
        await configuration.explain(astro, "virtual_organisations/bio/default_group")
    with pytest.raises(NotFoundError):
        await configuration.blame(astro, "virtual_organisations/bio/default_group")


async def test_a_plan_says_what_it_does_to_people_and_others(
    configuration: Configuration, admin: Identity
) -> None:
    class Later:
        async def effects(self, old: Tree, new: Tree) -> list[Effect]:
            return [Effect("bio", f"{len(old.sites) - len(new.sites)} sites less", 1)]

    configuration.effects.append(Later())
    await _apply(configuration, admin, FILES)
    changed = {
        "vo/astro.yml": ASTRO.replace("alice: {groups: [user]}", "alice: {groups: [user], suspended: true}")
    }
    planned = await configuration.apply(admin, Apply(files=changed, removed=["sites/here.yml"], dry_run=True))
    assert [effect.text for effect in planned.effects] == [
        "1 user of astro can no longer log in: alice",
        "1 sites less",
    ]
    assert (await configuration.current()).version == 1


async def test_a_version_of_the_release_before_is_read_and_changed(
    make_configuration: Make, admin: Identity, database: Database, clock: FakeClock
) -> None:
    row = {"digest": "d", "time": clock.now(), "author": "a", "comment": ""}
    async with database.write() as tx:
        await tx.execute(
            insert(versions).values(
                number=1, text="pilot: {max_jobs: 5}\n", tree='{"pilot":{"max_jobs":5}}', **row
            )
        )
    configuration = make_configuration()
    assert (await configuration.current()).tree.pilot.max_jobs == 5
    assert (await configuration.content(admin)).text == "pilot: {max_jobs: 5}\n"
    await _apply(configuration, admin, {"rules.yml": RULES})
    assert (await make_configuration().current()).tree.pilot.max_jobs == 5
    async with database.write() as tx:  # it goes on for a while beside us
        await tx.execute(
            insert(versions).values(
                number=3, text="pilot: {max_jobs: 6}\n", tree='{"pilot":{"max_jobs":6}}', **row
            )
        )
    fresh = make_configuration()
    assert (await fresh.current()).tree.workload == Tree().workload
    assert [each.value for each in await fresh.blame(admin, "pilot/max_jobs")] == [6, 5]
    assert (await fresh.rollback(admin, 2)).version == 4
    assert (await fresh.current()).tree.workload.max_priority == 20


async def test_the_release_before_can_read_what_is_made_here(
    configuration: Configuration, admin: Identity, database: Database
) -> None:
    await _apply(configuration, admin, {"rules.yml": RULES, "vo/bio.yml": BIO})
    async with database.read() as tx:
        row = (await tx.execute(select(versions.c.text, versions.c.tree))).one()
    said = {
        "virtual_organisations": {"bio": {"default_group": "user", "groups": {"user": {}}}},
        "workload": {"max_priority": 20, "max_retries": 3, "min_cpu_time": 50},
    }
    assert (json.loads(row.tree), json.loads(row.text)) == (said, said)
    await configuration.apply(admin, Apply(text=RULES))
    async with database.read() as tx:
        texts = (await tx.execute(select(versions.c.text).order_by(versions.c.number))).scalars().all()
    assert texts[-1] == RULES


async def test_the_last_good_version_stays_in_force_when_the_newest_cannot_be_read(
    configuration: Configuration,
    make_configuration: Make,
    admin: Identity,
    database: Database,
    clock: FakeClock,
) -> None:
    await _apply(configuration, admin, FILES)
    row = {
        "number": 2,
        "digest": "d",
        "time": clock.now(),
        "author": "a",
        "comment": "",
        "text": "",
        "files": 1,
    }
    async with database.write() as tx:
        await tx.execute(insert(versions).values(tree="", **row))
        part = '{"of_the_future": 1}'
        await tx.execute(insert(files).values(version=2, name="rules.yml", digest="d", text="", part=part))
    clock.advance(1)
    for each in (configuration, make_configuration()):
        assert (await each.current()).version == 1
        assert each.problem is not None
        assert "version 2 of the configuration is not in force" in each.problem
        with pytest.raises(InternalError):
            await _apply(each, admin, {"pilot.yml": "pilot: {max_jobs: 4}"})
    faults = FailNth(database)
    clock.advance(1)
    with faults.failing(0):
        assert (await configuration.current()).version == 1
    assert faults.count <= 3, "it is not read again and again"
    assert (await configuration.rollback(admin, 1)).version == 3
    assert ((await configuration.current()).version, configuration.problem) == (3, None)
