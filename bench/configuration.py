"""What a large configuration costs: applying a change, reading it, holding it.

    python -m bench.configuration                    # 1 000 VOs, 100 000 users, 5 000 sites on SQLite
    python -m bench.configuration --engine postgresql
    python -m bench.configuration --vos 100 --users 1000 --sites 500

A login is one on a device, with a password that costs next to nothing to check (what Argon2 takes is the same
everywhere and much more); it is measured beside one of an installation of 10 VOs, 100 users and 10 sites.
Each VO and each site is a file of its own. CPU is that of the process that applies, with SQLite also what the
database takes; what a clock says is beside it. Memory is measured in a process that only reads, before and
after.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.served import ENGINES, databases, opened, peak_of

from dirac.core.entropy import SystemEntropy
from dirac.core.time import SystemClock
from dirac.db.engine import Database, DatabaseUnits
from dirac.db.schema import migrate
from dirac.resources.identity.password import PasswordProvider
from dirac.server.providers import rules_of
from dirac.server.schema import LOCATIONS
from dirac.server.settings import Settings
from dirac.systems.configuration.checks import Checker
from dirac.systems.configuration.document import print_yaml
from dirac.systems.configuration.logic import Configuration
from dirac.systems.configuration.models import Apply
from dirac.systems.configuration.store import ConfigurationUnit
from dirac.systems.identity.logic.assembly import IdentitySystem
from dirac.systems.identity.logic.provider_claims import LoginRules
from dirac.systems.identity.logic.registry import Registry
from dirac.systems.identity.models import Identity, Property
from dirac.systems.identity.settings import IdentitySettings
from dirac.systems.identity.store.registry import RegistryStore
from dirac.systems.identity.store.unit import IdentityUnit
from dirac.testing.configurations import names_of_vos, site, site_name, storage, vo

MB = 1024 * 1024
_AT_ONCE = 1000
_SMALL = (10, 100, 10)
_CLIENT = "myDIRACClientID"


def _identity(name: str, *properties: Property) -> Identity:
    return Identity(
        vo=name,
        sub="boss",
        username="boss",
        group="admin",
        properties=frozenset(properties),
        kind="user",
        token_id="t",
        expires=datetime(2100, 1, 1, tzinfo=UTC),
    )


BOSS = _identity("vo0.example.org", Property.SERVICE_ADMINISTRATOR)
MEMBER = _identity("vo0.example.org", Property.NORMAL_USER)


def configuration_in(database: Database) -> Configuration:
    """Return the configuration of a database, with the registry of the identity system."""
    return Configuration(
        DatabaseUnits(database, lambda tx: ConfigurationUnit(tx, RegistryStore(tx))),
        clock=SystemClock(),
        registry=Registry(
            DatabaseUnits(database, IdentityUnit),
            IdentitySettings(issuer="https://dirac.example", master_key=bytes(32)),
        ),
        checker=Checker(
            lambda kind: (
                ["local"] if kind == "dirac.computing" else ["JobSanity", "InputData", "JobScheduling"]
            ),
            lambda *_: None,
        ),
        issuer="https://dirac.example",
    )


def texts(vos: int, users: int, sites: int) -> dict[str, str]:
    """Return the files: one for each VO and each site, and one for the rest."""
    names = names_of_vos(vos)
    files = {
        f"vo/{name}.yml": print_yaml({"virtual_organisations": {name: vo(index, users // vos)}})
        for index, name in enumerate(names)
    }
    files |= {
        f"sites/{site_name(index)}.yml": print_yaml({"sites": {site_name(index): site(index, names)}})
        for index in range(sites)
    }
    files["installation.yml"] = print_yaml(
        {"data": {"storage_elements": storage(min(sites, 50))}, "workload": {"max_priority": 20}}
    )
    return files


async def cost(times: int, work: Callable[[int], Awaitable[Any]]) -> tuple[float, float]:
    """Return the seconds of CPU and of the clock that work takes on the average."""
    cpu, wall = time.process_time(), time.perf_counter()
    for number in range(times):
        await work(number)
    return (time.process_time() - cpu) / times, (time.perf_counter() - wall) / times


async def filled(
    database: Database, vos: int, users: int, sites: int
) -> tuple[Configuration, dict[str, str]]:
    """Make tables and apply a configuration."""
    await migrate(database, LOCATIONS)
    configuration = configuration_in(database)
    files = texts(vos, users, sites)
    names = list(files)
    for start in range(0, len(names), _AT_ONCE):
        some = {name: files[name] for name in names[start : start + _AT_ONCE]}
        await configuration.apply(BOSS, Apply(files=some))
    return configuration, files


async def logins(database: Database, configuration: Configuration) -> tuple[float, float]:
    """Return the seconds of CPU that a login and a refresh take, what is with SQLite the database's too."""
    settings = Settings(state="/nonexistent")
    secrets = settings.make_secrets()

    async def rules(name: str) -> LoginRules:
        return rules_of((await configuration.current()).tree, name, settings, secrets)

    system = IdentitySystem(
        units=DatabaseUnits(database, IdentityUnit),
        clock=SystemClock(),
        entropy=SystemEntropy(),
        settings=IdentitySettings(issuer="https://dirac.example", master_key=bytes(32)),
        providers=lambda _name: PasswordProvider(memory=8),
        rules=rules,
    )
    await system.keys.prepare()
    tree = (await configuration.current()).tree
    name = next(iter(tree.virtual_organisations))
    username, user = next(iter(tree.virtual_organisations[name].users.items()))
    await system.passwords.set(name, user.sub or username, "password")
    tokens: list[str] = []

    async def login(_number: int) -> None:
        flow = await system.devices.start(_CLIENT, f"vo:{name}")
        member = await system.devices.check(flow.user_code, username, "password")
        await system.devices.approve(flow.user_code, member)
        tokens.append((await system.devices.redeem(flow.device_code, _CLIENT)).refresh_token or "")

    async def refresh(_number: int) -> None:
        tokens.append((await system.sessions.refresh(tokens.pop(), _CLIENT)).refresh_token or "")

    await cost(20, login)  # what is loaded and compiled once
    login_cpu, _ = await cost(100, login)
    refresh_cpu, _ = await cost(100, refresh)
    return login_cpu, refresh_cpu


async def small(url: str) -> tuple[float, float]:
    """Return what logins cost in a small installation."""
    async with opened(url) as database:
        configuration, _ = await filled(database, *_SMALL)
        return await logins(database, configuration)


async def measure(url: str, options: argparse.Namespace, beside: tuple[float, float]) -> None:
    """Fill a database and measure."""
    async with opened(url) as database:
        files = texts(options.vos, options.users, options.sites)
        size = sum(map(len, files.values()))
        print(f"{options.vos} VOs, {options.users} users, {options.sites} sites:", end=" ")
        print(f"{len(files)} files, {size / MB:.1f} MB", flush=True)
        begun = time.perf_counter()
        configuration, files = await filled(database, options.vos, options.users, options.sites)
        print(f"  filled in {time.perf_counter() - begun:.1f} s")
        await changes(configuration, files)
        await reads(configuration)
        for what, here, there in zip(
            ("a login", "a refresh"), await logins(database, configuration), beside, strict=True
        ):
            print(f"  {what:<28} {here * 1000:8.2f} ms CPU, {there * 1000:.2f} ms in a small one", end=": ")
            print(f"{here / there:.2f} times")


async def changes(configuration: Configuration, files: dict[str, str]) -> None:
    """Measure applications of one change."""
    member = files["vo/vo0.example.org.yml"]
    name = site_name(1)
    place = files[f"sites/{name}.yml"]
    kinds: dict[str, Callable[[int], Apply]] = {
        "a user more": lambda n: Apply(
            files={
                "vo/vo0.example.org.yml": member.replace(
                    "  support:", f"  job_share: {n + 2}\n    support:", 1
                )
            }
        ),
        "a queue": lambda n: Apply(files={f"sites/{name}.yml": place.replace("10000", str(20000 + n))}),
        "a rule": lambda n: Apply(files={"pilot.yml": f"pilot: {{max_jobs: {n + 1}}}"}),
        "a rule, only planned": lambda n: Apply(
            files={"pilot.yml": f"pilot: {{max_jobs: {n + 100}}}"}, dry_run=True
        ),
    }
    for kind, request in kinds.items():
        cpu, wall = await cost(5, lambda n, request=request: configuration.apply(BOSS, request(n)))
        print(f"  apply {kind:<22} {cpu * 1000:8.1f} ms CPU {wall * 1000:8.1f} ms")


async def reads(configuration: Configuration) -> None:
    """Measure reads of what is in memory."""
    for who, identity in (("a member", MEMBER), ("an administrator", BOSS)):
        first, _ = await cost(1, lambda _, identity=identity: configuration.serve(identity))
        again, _ = await cost(1000, lambda _, identity=identity: configuration.serve(identity))
        print(f"  read as {who:<20} {first * 1000:8.1f} ms CPU the first time", end=", ")
        print(f"{again * 1000:.4f} ms with the ETag known", flush=True)


async def hold(url: str) -> None:
    """Print how much memory a process needs for the configuration."""
    async with opened(url) as database:
        configuration = configuration_in(database)
        before = _memory()
        cpu, wall = await cost(1, lambda _: configuration.current())
        print(f"  load in a new process        {cpu * 1000:8.1f} ms CPU {wall * 1000:8.1f} ms")
        held = _memory()
        await configuration.serve(MEMBER)
        more, most = (held - before) / MB, (peak_of(os.getpid()) - before) / MB
        print(f"  memory of a process          {more:8.1f} MB more, {most:.1f} MB at most while loading")


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vos", type=int, default=1000)
    parser.add_argument("--users", type=int, default=100_000, help="of all VOs together")
    parser.add_argument("--sites", type=int, default=5000)
    parser.add_argument("--engine", choices=ENGINES, default="sqlite")
    parser.add_argument("--hold", metavar="URL", help="only measure the memory that this database's takes")
    options = parser.parse_args()
    if options.hold:
        asyncio.run(hold(options.hold))
        return 0
    with (
        tempfile.TemporaryDirectory(prefix="dirac-bench-") as place,
        databases(options.engine, Path(place)) as made,
    ):
        url = made.create()
        beside = asyncio.run(small(made.create()))
        asyncio.run(measure(url, options, beside))
        subprocess.run([sys.executable, "-m", "bench.configuration", "--hold", url], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
