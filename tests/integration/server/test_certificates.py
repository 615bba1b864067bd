"""A server of grids: users with certificates and proxies over real TLS, judged by OpenSSL and by us."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from prometheus_client import generate_latest

from dirac.db.engine import Database
from dirac.db.schema import migrate
from dirac.formats.x509 import der, names, proxy, voms
from dirac.server.composition import Installation, build
from dirac.server.control import make_master_key
from dirac.server.metrics import Metrics
from dirac.server.schema import LOCATIONS
from dirac.server.serve import make_app
from dirac.server.settings import Http, Settings
from dirac.transport import authorities
from dirac.transport.peer import TlsProtocol
from tests.acceptance.installation import eventually, free_port
from tests.acceptance.tokens import mint_all
from tests.services.authority import Authority

HOUR = timedelta(hours=1)
TREE = """\
virtual_organisations:
  astro:
    default_group: astro_user
    groups: {astro_user: {}, astro_admin: {properties: [NormalUser, JobAdministrator]}}
    users:
      alice: {groups: [astro_user, astro_admin], dns: [/C=ch/O=DIRAC/CN=alice]}
      adam: {groups: [astro_user], dns: [/C=ch/O=DIRAC/CN=adam]}
      sam: {groups: [astro_user], suspended: true, dns: [/C=ch/O=DIRAC/CN=sam]}
  bio:
    default_group: bio_user
    groups: {bio_user: {}}
    users: {adam: {groups: [bio_user], dns: [/C=ch/O=DIRAC/CN=adam]}}
hosts:
  portal: {dn: /C=ch/O=DIRAC/CN=portal, properties: [TrustedHost]}
  node: {dn: /C=ch/O=DIRAC/CN=node}
"""


class Grid:
    """A server, and people with certificates of an authority that it believes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority(directory / "certificates")
        hosts = Authority(directory / "hosts", "Authority of servers")
        self.vomsdir = directory / "vomsdir"
        (self.vomsdir / "bio").mkdir(parents=True)
        lsc = "/C=ch/O=DIRAC/CN=voms\n/CN=Test authority\n"
        (self.vomsdir / "bio" / "voms.example.org.lsc").write_text(lsc)
        certificate, key = hosts.certificate()
        port = free_port()
        self.settings = Settings(
            state=str(directory),
            http=Http(
                url=f"https://localhost:{port}",
                port=port,
                tls_certificate=str(certificate),
                tls_key=str(key),
                tls_client_ca=str(self.authority.directory),
                vomsdir=str(self.vomsdir),
            ),
        )
        self.ca = hosts.ca
        self.people = {
            name: self.authority.person(name)
            for name in ("alice", "adam", "sam", "eve", "portal", "node", "voms")
        }
        self.keys = [proxy.make_key(), proxy.make_key()]
        self.installation: Installation
        self.metrics = Metrics("server", "0")
        self._serials = count(1000)

    def metric(self, series: str) -> float:
        lines = generate_latest(self.metrics.registry).decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series))

    def file(self, chain: proxy.Chain, key: proxy.PrivateKey) -> Path:
        path = self.directory / f"proxy-{next(self._serials)}.pem"
        path.write_bytes(proxy.to_pem(chain, key))
        return path

    def certificate(self, name: str) -> Path:
        found, key = self.people[name]
        return self.file(proxy.chain([found]), key)

    def chain(self, name: str = "alice", **options: Any) -> proxy.Chain:
        found, key = self.people[name]
        given = {"serial": next(self._serials), "now": datetime.now(UTC), "life": HOUR, **options}
        return proxy.sign(proxy.chain([found]), key, self.keys[0].public_key(), **given)

    def proxy(self, name: str = "alice", **options: Any) -> Path:
        return self.file(self.chain(name, **options), self.keys[0])

    def voms(self, name: str = "adam", vo: str = "bio", **changes: Any) -> Path:
        server, key = self.people["voms"]
        now = datetime.now(UTC)
        given = {"not_before": now - HOUR, "not_after": now + HOUR, "fqans": [f"/{vo}"], **changes}
        content = voms.make(self.people[name][0], [server], key, vo=vo, server="voms:1", serial=1, **given)
        return self.proxy(name, attributes=content)

    def client(self, file: Path | None = None) -> httpx.Client:
        context = ssl.create_default_context(cafile=self.ca)
        if file is not None:
            context.load_cert_chain(file)
        return httpx.Client(base_url=self.settings.http.url, verify=context)

    def whoami(self, file: Path, **headers: str) -> httpx.Response:
        with self.client(file) as client:
            return client.get(
                "/api/auth/userinfo", headers={k.replace("_", "-"): v for k, v in headers.items()}
            )

    def refused(self, file: Path, status: int = 401, **headers: str) -> str:
        answer = self.whoami(file, **headers)
        assert answer.status_code == status, answer.text
        return str(answer.json()["detail"])


async def _migrate(url: str) -> None:
    database = Database(url)
    await migrate(database, LOCATIONS)
    await database.close()


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    grid = Grid(tmp_path_factory.mktemp("grid"))
    make_master_key(grid.settings)
    asyncio.run(_migrate(grid.settings.database_url()))
    grid.installation = build(grid.settings)
    config = uvicorn.Config(
        make_app(grid.installation, grid.metrics),
        port=grid.settings.http.port,
        http=TlsProtocol,
        log_config=None,
    )
    config.load()
    config.ssl = grid.settings.http_tls(grid.installation.authorities)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive(), "the server listens")
        operator = {"Authorization": f"Bearer {mint_all(grid.settings)['operator']}"}
        with grid.client() as client:
            applied = client.post("/api/config/apply", json={"text": TREE}, headers=operator)
        assert applied.status_code == 200, applied.text
        yield grid
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server look at its files each time."""
    monkeypatch.setattr(authorities, "LOOK_EVERY", 0.0)


def test_a_certificate_and_its_proxies_are_their_user(grid: Grid) -> None:
    for file in (grid.certificate("alice"), grid.proxy(), grid.proxy(limited=True)):
        told = grid.whoami(file).json()
        assert (told["sub"], told["dirac_group"]) == ("astro:alice", "astro_user")
    told = grid.whoami(grid.proxy(group="astro_admin")).json()
    assert told["dirac_group"] == "astro_admin"
    assert told["properties"] == ["JobAdministrator", "NormalUser"]


def test_a_connection_that_lives_on_is_somebody_all_the_time(grid: Grid) -> None:
    with grid.client(grid.proxy()) as client:
        for _ in range(3):
            assert client.get("/api/auth/userinfo").json()["sub"] == "astro:alice"
        # A token counts for more than the certificate, also one that is wrong.
        answer = client.get("/api/auth/userinfo", headers={"Authorization": "Bearer wrong"})
        assert answer.status_code == 401


def test_a_page_of_another_site_does_not_use_a_browser_s_certificate(grid: Grid) -> None:
    file = grid.certificate("alice")
    for site in ("cross-site", "same-site"):
        assert "a page of another site" in grid.refused(file, sec_fetch_site=site)
    assert grid.whoami(file, sec_fetch_site="same-origin").status_code == 200


def test_without_a_certificate_nothing_has_changed(grid: Grid) -> None:
    with grid.client() as client:
        answer = client.get("/api/auth/userinfo")
        assert answer.status_code == 401
        assert "access token" in answer.json()["detail"]


def test_tls_1_2_and_a_resumed_session_keep_the_whole_chain(grid: Grid) -> None:
    context = ssl.create_default_context(cafile=grid.ca)
    context.load_cert_chain(grid.proxy())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    port, session = grid.settings.http.port, None
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as secured,
        ):
            secured.sendall(
                b"GET /api/auth/userinfo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            answer = b"".join(iter(lambda: secured.recv(65536), b""))
            resumed, session = secured.session_reused, secured.session
        assert b'"sub":"astro:alice"' in answer
    assert resumed


def test_openssl_s_client_comes_in_with_a_proxy(grid: Grid) -> None:
    file = grid.proxy(group="astro_admin")
    command = ["openssl", "s_client", "-connect", f"localhost:{grid.settings.http.port}", "-quiet"]
    options = ["-CAfile", str(grid.ca), "-cert", str(file), "-key", str(file), "-cert_chain", str(file)]
    request = b"GET /api/auth/userinfo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    told = subprocess.run([*command, *options, "-ign_eof"], input=request, capture_output=True, check=False)
    assert b'"dirac_group":"astro_admin"' in told.stdout, told.stderr


def test_who_is_not_known_here_is_told_the_name(grid: Grid) -> None:
    assert "no user here has the certificate /C=ch/O=DIRAC/CN=eve" in grid.refused(grid.certificate("eve"))


def test_a_suspended_user_stays_out(grid: Grid) -> None:
    assert "suspended" in grid.refused(grid.proxy("sam"), 403)


def test_a_proxy_for_a_group_that_is_not_the_user_s_is_refused(grid: Grid) -> None:
    assert "is not in the group 'bio_user'" in grid.refused(grid.proxy(group="bio_user"), 403)


def test_who_is_in_two_vos_says_which(grid: Grid) -> None:
    assert "is in several VOs: astro, bio" in grid.refused(grid.proxy("adam"), 403)
    assert grid.whoami(grid.proxy("adam", group="bio_user")).json()["vo"] == "bio"
    assert grid.whoami(grid.voms()).json()["vo"] == "bio"
    assert grid.whoami(grid.certificate("adam"), x_dirac_vo="astro").json()["vo"] == "astro"


def test_attributes_of_voms_that_are_not_good_keep_the_proxy_out(grid: Grid) -> None:
    past = datetime.now(UTC) - HOUR
    assert "VOMS are good from" in grid.refused(grid.voms(not_after=past, not_before=past - HOUR))
    assert "no server of the VO 'astro' here" in grid.refused(grid.voms(vo="astro"))
    assert "no server of the VO '..' here" in grid.refused(grid.voms(vo=".."))


def test_only_who_shows_the_certificate_itself_chooses_the_group(grid: Grid) -> None:
    told = grid.whoami(grid.certificate("alice"), x_dirac_group="astro_admin").json()
    assert told["dirac_group"] == "astro_admin"
    assert "the proxy is for" in grid.refused(grid.proxy(), 403, x_dirac_group="astro_admin")


def test_a_trusted_host_acts_for_a_user_and_no_other_host_does(grid: Grid) -> None:
    alice = "/C=ch/O=DIRAC/CN=alice"
    told = grid.whoami(grid.certificate("portal"), x_dirac_subject=alice, x_dirac_group="astro_admin").json()
    assert (told["sub"], told["dirac_group"]) == ("astro:alice", "astro_admin")
    refusal = grid.refused(grid.certificate("node"), 403, x_dirac_subject=alice)
    assert "the host 'node' may not act for others" in refusal
    assert "only trusted hosts" in grid.refused(grid.certificate("adam"), 403, x_dirac_subject=alice)
    own = grid.whoami(grid.certificate("node")).json()
    assert (own["vo"], own["preferred_username"], own["properties"]) == ("", "node", [])
    assert "a proxy of the host" in grid.refused(grid.proxy("node"))


def test_what_openssl_refuses_does_not_get_through_the_handshake(grid: Grid) -> None:
    other = Authority(grid.directory / "other", "Test authority")
    theirs, key = other.person("alice")
    old = grid.authority.person("alice", days=-1)
    made = grid.chain()
    legacy = _legacy(grid)
    for chain, private in (
        (proxy.chain([theirs]), key),
        (proxy.chain([old[0]]), old[1]),
        (made._replace(end_entity=theirs), grid.keys[0]),
        (legacy, grid.keys[0]),
    ):
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            grid.whoami(grid.file(chain, private))


def _legacy(grid: Grid) -> proxy.Chain:
    found, key = grid.people["alice"]
    cn = proxy.x509.NameAttribute(proxy.NameOID.COMMON_NAME, "proxy")
    now = datetime.now(UTC)
    builder = (
        proxy.x509.CertificateBuilder()
        .subject_name(proxy.x509.Name([*found.subject, cn]))
        .issuer_name(found.subject)
        .public_key(grid.keys[0].public_key())
        .serial_number(77)
        .not_valid_before(now - HOUR)
        .not_valid_after(now + HOUR)
    )
    return proxy.chain([builder.sign(key, proxy.hashes.SHA256()), found])


@pytest.mark.usefixtures("looking")
def test_a_revoked_certificate_ends_at_once_also_on_a_connection_that_is_open(grid: Grid) -> None:
    with grid.client(grid.proxy()) as client:
        assert client.get("/api/auth/userinfo").status_code == 200
        file = grid.authority.revoke(grid.people["alice"][0])
        try:
            answer = client.get("/api/auth/userinfo")
            assert (answer.status_code, "is revoked" in answer.text) == (401, True)
            assert "is revoked" in grid.refused(grid.certificate("alice"))
            assert grid.whoami(grid.proxy("adam", group="bio_user")).status_code == 200
            grid.authority.revoke(days=-1)
            assert "it is not known whether" in grid.refused(grid.proxy())
        finally:
            file.unlink()
        assert client.get("/api/auth/userinfo").status_code == 200


@pytest.mark.usefixtures("looking")
def test_an_authority_that_is_added_is_believed_without_a_restart(grid: Grid) -> None:
    other = Authority(grid.directory / "more", "Another authority")
    theirs, key = other.person("alice")
    file = grid.file(proxy.chain([theirs]), key)
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        grid.whoami(file)
    added = grid.authority.directory / "another.pem"
    added.write_bytes(other.ca.read_bytes())
    try:
        assert grid.whoami(file).json()["sub"] == "astro:alice"
    finally:
        added.unlink()
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        grid.whoami(file)


def test_a_proxy_becomes_a_token_that_ends_with_it(grid: Grid) -> None:
    with grid.client(grid.proxy(group="astro_admin", life=timedelta(minutes=5))) as client:
        answer = client.post("/api/auth/certificate-token")
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert 200 < answer.json()["expires_in"] <= 300
    with grid.client() as client:
        bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        told = client.get("/api/auth/userinfo", headers=bearer).json()
        assert (told["sub"], told["dirac_group"]) == ("astro:alice", "astro_admin")
        again = client.post("/api/auth/certificate-token", headers=bearer)
        assert again.status_code == 403


def test_limited_proxies_and_hosts_get_no_token(grid: Grid) -> None:
    for file in (grid.proxy(limited=True), grid.certificate("node")):
        with grid.client(file) as client:
            assert client.post("/api/auth/certificate-token").status_code == 403


def test_a_proxy_is_delegated_and_comes_back_as_another_one(grid: Grid) -> None:
    alice, key = grid.people["alice"]
    with grid.client(grid.proxy(group="astro_user")) as client:
        asked = client.post("/api/proxies/requests").json()
        public = proxy.read_request(asked["csr"].encode())
        given = {"serial": 5, "now": datetime.now(UTC), "life": 5 * HOUR, "group": "astro_user"}
        signed = proxy.sign(proxy.chain([alice]), key, public, **given)
        text = names.to_pem(signed.certificates).decode()
        kept = client.put(f"/api/proxies/requests/{asked['proxy_id']}", json={"chain": text})
        assert kept.status_code == 200, kept.text
        assert kept.json()["subject"] == "/C=ch/O=DIRAC/CN=alice"
        csr = proxy.make_request(grid.keys[1]).decode()
        back = client.post("/api/proxies/delegations", json={"csr": csr, "seconds": 600, "limited": True})
        assert back.status_code == 201, back.text
    chain = proxy.chain(names.certificates(back.json()["chain"].encode()))
    assert (chain.limited, chain.group, len(chain.proxies)) == (True, "astro_user", 2)
    assert grid.whoami(grid.file(chain, grid.keys[1])).json()["sub"] == "astro:alice"


def test_the_server_says_what_it_knows_of_its_authorities(grid: Grid) -> None:
    assert grid.installation.authorities is not None
    ends, due = grid.installation.authorities.expiries()
    assert ends is not None
    assert due is None
    for what, known in (("authority", True), ("list", False)):
        told = grid.metric(f'dirac_authorities_expiry_timestamp_seconds{{what="{what}"}}')
        assert (told > datetime.now(UTC).timestamp()) is known
    assert der.read(grid.installation.authorities.certificates()).tag == der.SEQUENCE
