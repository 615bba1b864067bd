"""What the doctor says of files, certificates, the host and the network, and how checks are kept apart."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import insert, update

from dirac.core.errors import UnavailableError
from dirac.db.engine import Database
from dirac.db.schema import migrate
from dirac.db.tables import schedules, tasks
from dirac.server.control import make_master_key
from dirac.server.doctor import certificates, machine
from dirac.server.doctor.database import file_system
from dirac.server.doctor.main import diagnose, show
from dirac.server.doctor.model import Ailment, Check, Finding, Patient, examine
from dirac.server.doctor.rights import granted
from dirac.server.schema import LOCATIONS
from dirac.server.settings import load
from dirac.systems.identity.store.tables import keys, proxies
from tests.services.authority import Authority


@pytest.fixture
async def site(tmp_path: Path) -> Path:
    """The settings file of a migrated installation that was never configured and does not run."""
    file = tmp_path / "dirac.toml"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file.write_text(f'[http]\nurl = "http://127.0.0.1:{port}"\nport = {port}\n')
    (tmp_path / "dirac-pilot.py").touch()
    make_master_key(load(file))
    database = Database(load(file).database_url())
    await migrate(database, LOCATIONS)
    await database.close()
    return file


async def findings(file: Path) -> dict[str, Finding]:
    return {one.check: one for one in await diagnose(file)}


async def bad(file: Path, check: str, detail: str, mend: str) -> None:
    found = (await findings(file))[check]
    assert not found.ok
    assert detail in found.detail
    assert found.cause
    assert mend in (found.mend or "")


def add(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


async def test_of_a_sound_host_only_what_is_missing_is_bad(site: Path) -> None:
    found = await findings(site)
    assert {name for name, one in found.items() if not one.ok} == {
        "network.listener",
        "network.url",
        "identity.providers",
        "tasks.periodic",
    }
    assert all(one.mend for one in found.values() if not one.ok)
    assert not list((site.parent / "sandboxes").rglob("*doctor*")), "the probe is gone"


class TestEachByItself:
    """Checks do not disturb one another."""

    async def test_one_that_crashes_is_a_failed_check(self, site: Path) -> None:
        async def crash(_: Patient) -> str:
            raise ZeroDivisionError("so what")

        async def well(_: Patient) -> str:
            return "fine"

        async def refused(_: Patient) -> str:
            raise UnavailableError("it is away", hint="Fetch it")

        checks = [Check("a.a", crash), Check("a.b", well), Check("a.c", refused)]
        first, second, third = await examine(Patient(site, load(site)), checks)
        assert (first.ok, first.detail) == (False, "the check itself failed: ZeroDivisionError: so what")
        assert (second.ok, second.detail) == (True, "fine")
        assert (third.ok, third.detail, third.mend) == (False, "it is away", "Fetch it")

    async def test_one_that_hangs_is_ended(self, site: Path) -> None:
        async def hang(_: Patient) -> str:
            await asyncio.Event().wait()
            return "never"

        (found,) = await examine(Patient(site, load(site)), [Check("a.a", hang)], limit=0.01)
        assert (found.ok, found.detail) == (False, "no answer within 0.01 s")

    async def test_one_can_live_with_some(self, site: Path) -> None:
        async def so_so(_: Patient) -> str:
            raise Ailment("hm", cause="age", mend="rest", passable=True)

        (found,) = await examine(Patient(site, load(site)), [Check("a.a", so_so)])
        assert found == Finding("a.a", True, "hm", "age", "rest")
        assert "look  a.a  hm" in show([found])

    async def test_settings_that_cannot_be_read_are_one_finding(self, tmp_path: Path) -> None:
        await bad(tmp_path / "none.toml", "settings.file", "No such file", "dirac-server check")


class TestFiles:
    """Modes and secrets."""

    async def test_settings_that_others_may_write(self, site: Path) -> None:
        site.chmod(0o666)
        await bad(site, "settings.file", "mode 666", f"chmod go-w {site}")

    async def test_a_master_key_that_others_may_read(self, site: Path) -> None:
        (site.parent / "master.key").chmod(0o644)
        await bad(site, "settings.master_key", "others may read", "chmod 600")

    async def test_an_address_that_is_missing(self, site: Path) -> None:
        add(site, '[database]\nurl_file = "database.url"\n')
        await bad(site, "settings.database", "database.url cannot be read", "")
        await bad(site, "database.settings", "database.url cannot be read", "Correct the settings")

    async def test_a_broker_without_an_address(self, site: Path) -> None:
        add(site, '[worker]\nrunner = "celery"\n')
        await bad(site, "settings.broker", "broker_url_file is not set", "celery")

    async def test_a_sandbox_file_that_is_no_json(self, site: Path) -> None:
        (site.parent / "s3.json").write_text("no")
        (site.parent / "s3.json").chmod(0o600)
        add(site, '[sandboxes]\nsettings_file = "s3.json"\n')
        await bad(site, "settings.sandboxes", "no JSON object", "")


class TestDatabaseFile:
    """SQLite."""

    async def test_a_missing_database_is_not_made(self, site: Path) -> None:
        (site.parent / "dirac.db").unlink()
        await bad(site, "database.connection", "does not exist", "dirac-server migrate")
        assert not (site.parent / "dirac.db").exists()

    async def test_one_without_tables(self, site: Path) -> None:
        (site.parent / "dirac.db").unlink()
        (site.parent / "dirac.db").touch()
        await bad(site, "database.revision", "no revision", "dirac-server migrate")

    def test_the_file_system_is_the_one_mounted_last_above(self) -> None:
        mounts = (
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
            "30 22 0:40 / /srv rw - nfs4 server:/srv rw\n"
            "31 30 0:41 / /srv/my\\040disk rw - xfs /dev/sdb1 rw"
        )
        assert file_system(Path("/srv/dirac/dirac.db"), mounts) == "nfs4"
        assert file_system(Path("/srv/my disk/dirac.db"), mounts) == "xfs"
        assert file_system(Path("/srvother/dirac.db"), mounts) == "ext4"


def test_grants_are_those_on_the_database() -> None:
    lines = [
        "GRANT USAGE ON *.* TO `dirac`@`%` IDENTIFIED BY PASSWORD '*X'",
        "GRANT SELECT, INSERT ON `dirac`.* TO `dirac`@`%`",
        "GRANT ALL PRIVILEGES ON `other`.* TO `dirac`@`%`",
    ]
    assert granted(lines, "dirac") == {"SELECT", "INSERT"}
    assert granted(lines, "other") == {"ALL PRIVILEGES"}


class TestCertificate:
    """What the server shows."""

    @pytest.fixture
    def authority(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
        """One that this machine believes."""
        authority = Authority(tmp_path / "authority")
        monkeypatch.setenv("DIRAC_CA_FILE", str(authority.ca))
        return authority

    def show_certificate(
        self, site: Path, files: tuple[Path, Path], url: str = "https://127.0.0.1:8443"
    ) -> None:
        site.write_text(
            f'[http]\nurl = "{url}"\nport = 1\ntls_certificate = "{files[0]}"\ntls_key = "{files[1]}"\n'
        )

    async def test_a_good_one(self, site: Path, authority: Authority) -> None:
        self.show_certificate(site, authority.certificate("127.0.0.1"))
        found = await findings(site)
        assert [found[f"tls.{name}"].ok for name in ("key", "chain", "expiry")] == [True] * 3

    async def test_the_key_of_another(self, site: Path, authority: Authority) -> None:
        one, other = authority.certificate("127.0.0.1"), authority.certificate("127.0.0.1")
        self.show_certificate(site, (one[0], other[1]))
        await bad(site, "tls.key", "is not the key of the certificate", "made together")

    async def test_one_that_is_missing(self, site: Path, authority: Authority) -> None:
        self.show_certificate(site, (site.parent / "no.pem", site.parent / "no.key"))
        await bad(site, "tls.key", "no.pem cannot be read", "")
        await bad(site, "tls.expiry", "no.pem holds no certificate", "")

    async def test_one_for_another_name(self, site: Path, authority: Authority) -> None:
        self.show_certificate(site, authority.certificate("dirac.example.org"))
        await bad(site, "tls.chain", "IP address mismatch", "Get a certificate for 127.0.0.1")

    async def test_one_of_an_authority_that_nobody_knows(
        self, site: Path, authority: Authority, tmp_path: Path
    ) -> None:
        stranger = Authority(tmp_path / "stranger", "Stranger")
        self.show_certificate(site, stranger.certificate("127.0.0.1"))
        await bad(site, "tls.chain", "unable to get local issuer", "update-ca-certificates")

    async def test_one_that_expires_soon(self, site: Path, authority: Authority) -> None:
        self.show_certificate(site, authority.certificate("127.0.0.1", days=5))
        await bad(site, "tls.expiry", "in 4 days", "Renew it")

    async def test_one_that_has_expired(self, site: Path, authority: Authority) -> None:
        self.show_certificate(site, authority.certificate("127.0.0.1", days=-1))
        await bad(site, "tls.chain", "expired", "certificate")
        await bad(site, "tls.expiry", "expires at", "Renew it")

    async def test_authorities_of_clients(self, site: Path, authority: Authority, tmp_path: Path) -> None:
        self.show_certificate(site, authority.certificate("127.0.0.1"))
        users = Authority(tmp_path / "users")
        site.write_text(site.read_text() + f'tls_client_ca = "{users.directory}"\n')
        assert "no authority has a list" in (await findings(site))["tls.clients"].detail
        users.revoke()
        assert "lists are due" in (await findings(site))["tls.clients"].detail
        users.revoke(days=-1)
        await bad(site, "tls.clients", "was to be renewed at", "fetch-crl")
        users.ca.unlink()
        await bad(site, "tls.clients", "holds no certificate of an authority", "")

    def test_an_authority_can_be_given(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path / "own", "Own")
        files = authority.certificate("node.example.org")
        assert certificates.refused(*files, "node.example.org", authority.ca) is None
        assert certificates.refused(*files, "node.example.org") is not None


class TestHost:
    """Room, names and ports."""

    def test_a_full_disk(self, tmp_path: Path) -> None:
        with pytest.raises(Ailment, match="MB free"):
            machine.room(tmp_path, least_bytes=1 << 60)
        with pytest.raises(Ailment, match="No such file"):
            machine.room(tmp_path / "none")
        assert "GB" in machine.room(tmp_path, least_bytes=1)

    def test_no_inodes(self) -> None:
        with pytest.raises(Ailment, match="inodes free"):
            machine.room(Path("/dev/shm"), least_bytes=0, least_share=1.1)

    async def test_few_file_descriptors(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (256, 256))
        await bad(site, "machine.files", "256 files", "limits.d")

    async def test_no_pilot(self, site: Path) -> None:
        (site.parent / "dirac-pilot.py").unlink()
        await bad(site, "pilots.program", "dirac-pilot.py does not exist", "pilots.program")

    async def test_an_unknown_name(self, site: Path) -> None:
        site.write_text('[http]\nurl = "http://no-such-host.invalid:1"\nport = 1\n')
        await bad(site, "network.name", "no-such-host.invalid is not known", "getent hosts")

    async def test_a_server_that_listens(self, site: Path) -> None:
        with socket.create_server(("127.0.0.1", load(site).http.port)):
            found = await findings(site)
        assert found["network.listener"].ok
        assert found["network.url"].ok

    async def test_sandboxes_without_a_place(self, site: Path) -> None:
        (site.parent / "sandboxes").touch()
        await bad(site, "sandboxes.store", "could not be written", "chown")


class TestWork:
    """Background work, and who can log in."""

    async def fill(self, site: Path, *statements: object) -> None:
        database = Database(load(site).database_url())
        async with database.write() as tx:
            for statement in statements:
                await tx.execute(statement)  # type: ignore[arg-type]
        await database.close()

    async def test_given_up(self, site: Path) -> None:
        now = datetime.now(UTC)
        row = {
            "id": "1",
            "name": "test.work",
            "args": {},
            "state": "Parked",
            "due": now,
            "tries": 9,
            "created": now,
        }
        await self.fill(site, insert(tasks).values(row))
        await bad(site, "tasks.parked", "test.work (1)", "dirac task retry")

    async def test_overdue(self, site: Path) -> None:
        now = datetime.now(UTC)
        await self.fill(site, insert(schedules).values(task="test.often", due=now))
        assert (await findings(site))["tasks.periodic"].ok
        await self.fill(site, update(schedules).values(due=now - timedelta(hours=1)))
        await bad(site, "tasks.periodic", "test.often", "dirac-scheduler")


def test_the_findings_are_json() -> None:
    finding = Finding("a.b", False, "c", "d", "e")
    assert msgspec.json.decode(msgspec.json.encode([finding])) == [
        {"check": "a.b", "ok": False, "detail": "c", "cause": "d", "mend": "e"}
    ]
    assert "1 checks, 1 failed" in show([finding])


async def test_what_ends_in_the_database_is_complained_of_before(site: Path) -> None:
    async def found() -> dict[str, Finding]:
        return {one.check: one for one in await diagnose(site) if one.check.startswith("expiry.")}

    assert all(one.ok and one.cause is None for one in (await found()).values())
    now = datetime.now(UTC)
    key = {"kid": "k", "sealed": b"", "created": now, "signs_from": now - timedelta(days=32)}
    proxy = {
        "vo": "astro",
        "sub": "s",
        "dirac_group": "",
        "proxy_id": "p",
        "subject": "/CN=s",
        "limited": False,
    }
    ends = now + timedelta(days=9)
    content = {"subject": "/CN=s", "chain": b"", "sealed": b"", "created": now, "expires": ends}
    database = Database(load(site).database_url())
    async with database.write() as tx:
        await tx.execute(insert(keys).values(key))
        await tx.execute(insert(proxies).values(proxy | content))
    await database.close()
    late = await found()
    assert (late["expiry.keys"].ok, late["expiry.proxies"].cause) == (False, None)
    site.write_text(f"{site.read_text()}[expiry]\nproxy_days = 10\n")
    soon = (await found())["expiry.proxies"]
    assert (soon.ok, soon.detail) == (True, "proxies end within 10 days: astro 1")
    assert soon.cause is not None
