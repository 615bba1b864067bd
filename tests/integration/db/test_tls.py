"""TLS to real database servers: verified, or refused with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from dirac.core.errors import InvalidInputError, UnavailableError
from dirac.db.engine import Database
from dirac.server.database import open_database
from dirac.server.settings import DatabaseSettings, Settings
from tests.services import mariadb, postgresql
from tests.services.authority import Authority
from tests.services.packages import obtain

_CIPHER = {
    "mariadb": "SELECT variable_value FROM information_schema.session_status "
    "WHERE variable_name = 'Ssl_cipher'",
    "postgresql": "SELECT cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The one that signed the servers' certificates, which are for 127.0.0.1 only."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module", params=["mariadb", "postgresql"])
def url(request: pytest.FixtureRequest, authority: Authority) -> Iterator[str]:
    """A database of a server with TLS, on each engine in turn."""
    tls = authority.certificate("127.0.0.1")
    server: mariadb.MariaDB | postgresql.PostgreSQL
    if request.param == "mariadb":
        server = mariadb.MariaDB(obtain(mariadb.PACKAGES), tls)
    else:
        server = postgresql.PostgreSQL(obtain(postgresql.PACKAGES), tls)
    with server:
        yield server.create_database()


def opened(url: str, ca_file: Path) -> Database:
    return open_database(Settings(state="/", database=DatabaseSettings(url=url, ca_file=str(ca_file))))


async def cipher(url: str, ca_file: Path) -> str:
    """Connect as services do, and ask the server how the connection is encrypted."""
    database = opened(url, ca_file)
    try:
        async with database.connect() as connection:
            found = (await connection.execute(text(_CIPHER[database.dialect]))).scalar_one()
        async with database.read() as tx:
            await tx.ping()
    finally:
        await database.close()
    return str(found)


async def test_the_right_authority_gives_an_encrypted_connection(url: str, authority: Authority) -> None:
    assert "AES" in await cipher(url, authority.ca) or "CHACHA" in await cipher(url, authority.ca)


async def test_a_certificate_of_another_authority_is_refused(url: str, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "other", "Another authority")
    with pytest.raises(UnavailableError, match=r"certificate is not accepted.*database\.ca_file") as caught:
        await cipher(url, stranger.ca)
    assert url.split(":")[2].split("@")[0] not in str(caught.value), "the password"


async def test_a_certificate_for_another_host_is_refused(url: str, authority: Authority) -> None:
    with pytest.raises(UnavailableError, match=r"certificate is not accepted.*name localhost"):
        await cipher(url.replace("127.0.0.1", "localhost"), authority.ca)


async def test_in_a_unit_of_work_it_is_unavailable(url: str, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "other", "Another authority")
    database = opened(url, stranger.ca)
    try:
        with pytest.raises(UnavailableError):
            async with database.read():
                pytest.fail("there is no connection")
    finally:
        await database.close()


@pytest.mark.parametrize("engine", ["mariadb", "postgresql"])
async def test_a_server_without_tls_is_refused(
    engine: str, request: pytest.FixtureRequest, authority: Authority
) -> None:
    server: mariadb.MariaDB | postgresql.PostgreSQL = request.getfixturevalue(f"{engine}_server")
    plain = server.create_database()
    with pytest.raises(UnavailableError, match=r"TLS.*switch it on at the database server"):
        await cipher(plain, authority.ca)
    server.drop_database(plain)


async def test_a_file_without_a_certificate_is_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"missing\.pem cannot be read"):
        opened(url, tmp_path / "missing.pem")
    (tmp_path / "empty.pem").touch()
    with pytest.raises(InvalidInputError, match=r"empty\.pem holds no certificate"):
        opened(url, tmp_path / "empty.pem")


async def test_wrong_passwords_and_missing_databases_are_told_apart(url: str, authority: Authority) -> None:
    user = url.split("//")[1].split(":")[0]
    secret = url.split(":")[2].split("@")[0]
    with pytest.raises(UnavailableError, match=f"refuses the user '{user}'.*url_file"):
        await cipher(url.replace(secret, "wrong"), authority.ca)
    with pytest.raises(UnavailableError, match=r"no database 'nowhere'"):
        await cipher(url.replace("/test_", "/nowhere?").split("?")[0], authority.ca)
    with pytest.raises(UnavailableError, match=r"database server running"):
        await cipher(url.replace(url.split(":")[3].split("/")[0], "1"), authority.ca)
