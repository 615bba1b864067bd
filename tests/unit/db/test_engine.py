"""Reading a database's address, and what its errors become."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from dirac.core.errors import ConflictError, InvalidInputError, UnavailableError
from dirac.db.engine import Database, _passes, parse_url


@pytest.mark.parametrize(
    ("given_url", "driver"),
    [
        ("sqlite:///dirac.db", "sqlite+dirac"),
        ("sqlite+aiosqlite:///dirac.db", "sqlite+dirac"),
        ("sqlite+pysqlite:///dirac.db", "sqlite+dirac"),
        ("mysql://u@h/d", "mariadb+dirac"),
        ("mariadb://u@h/d", "mariadb+dirac"),
        ("mysql+pymysql://u@h/d", "mariadb+dirac"),
        ("postgres://u@h/d", "postgresql+asyncpg"),
        ("postgresql://u@h/d", "postgresql+asyncpg"),
        ("postgresql+psycopg2://u@h/d", "postgresql+asyncpg"),
    ],
)
def test_the_driver_is_chosen(given_url: str, driver: str) -> None:
    assert parse_url(given_url).drivername == driver


def test_all_else_of_an_address_is_kept() -> None:
    parsed = parse_url("mysql://alice:p%40ss@db.example.org:3307/dirac?charset=utf8mb4")
    assert (parsed.username, parsed.password) == ("alice", "p@ss")
    assert (parsed.host, parsed.port, parsed.database) == ("db.example.org", 3307, "dirac")
    assert parsed.query == {"charset": "utf8mb4"}


@pytest.mark.parametrize("wrong", ["", "dirac.db", "postgresql://u:secret@h:port/d"])
def test_what_is_no_address_is_refused_without_its_password(wrong: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read") as caught:
        parse_url(wrong)
    assert "secret" not in str(caught.value)


def test_a_database_that_is_not_supported_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"'oracle'.*sqlite:///FILE, mariadb://.*postgresql://"):
        parse_url("oracle://u:secret@h/d")


@given(st.text())
def test_no_text_does_worse_than_to_be_refused(text: str) -> None:
    try:
        parsed = parse_url(text)
    except InvalidInputError:
        return
    assert parsed.get_backend_name() in ("sqlite", "mariadb", "postgresql")


class DriverError(Exception):
    """What a driver raises.

    Args:
        state: SQLSTATE.
    """

    def __init__(self, state: str | None = None) -> None:
        super().__init__("as the driver says it")
        self.sqlstate = state


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03", "57P01"])
def test_who_had_to_give_way_may_try_again(state: str) -> None:
    assert _passes(DBAPIError("SELECT 1", None, DriverError(state)))


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_a_broken_connection_passes(kind: type[DBAPIError]) -> None:
    assert _passes(kind("SELECT 1", None, DriverError()))
    assert _passes(DBAPIError("SELECT 1", None, DriverError(), connection_invalidated=True))


def test_our_own_mistakes_do_not_pass() -> None:
    assert not _passes(DBAPIError("SELEKT 1", None, DriverError("42601")))
    assert not _passes(IntegrityError("INSERT", None, DriverError("23505")))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


async def test_an_error_of_the_body_is_left_alone(file: Path) -> None:
    database = Database(f"sqlite:///{file}")
    try:
        for error in (ConflictError("no"), FileNotFoundError("no"), TimeoutError("no")):
            with pytest.raises(type(error)):
                async with database.write():
                    raise error
    finally:
        await database.close()


async def test_no_connection_in_time_is_unavailable(file: Path) -> None:
    database = Database(f"sqlite:///{file}", pool_size=1)
    database.engine.pool._timeout = 0.01  # type: ignore[attr-defined]
    database.engine.pool._max_overflow = 0  # type: ignore[attr-defined]
    try:
        async with database.read():
            with pytest.raises(UnavailableError, match="TimeoutError"):
                async with database.read():
                    pytest.fail("there is one connection")
    finally:
        await database.close()


async def test_nobody_at_the_address_is_unavailable() -> None:
    for kind in ("mariadb", "postgresql"):
        database = Database(f"{kind}://u:secret@127.0.0.1:1/d")
        try:
            with pytest.raises(UnavailableError) as caught:
                async with database.read():
                    pytest.fail("nobody is there")
            assert "secret" not in str(caught.value)
        finally:
            await database.close()
