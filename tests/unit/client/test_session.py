from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dirac.client.session import Login, Session, find_session
from dirac.core.errors import InvalidInputError, UnavailableError

SERVER = "https://dirac.test"
LOGIN = Login(access_token="secret-a", expires=datetime(2026, 11, 20, tzinfo=UTC), refresh_token="secret-r")


def session(directory: Path, server: str = SERVER, **options: str) -> Session:
    return Session(server, directory / "cache" / "credentials.json", **options)


def test_a_login_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with session(tmp_path).locked() as mine:
            assert mine
            session(tmp_path).store("astro", LOGIN)
    finally:
        os.umask(old)
    assert session(tmp_path).login() == LOGIN
    for path in (tmp_path / "cache").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [
        "credentials.json",
        "credentials.json.lock",
    ]


def test_a_file_that_others_could_read_is_closed_by_the_next_login(tmp_path: Path) -> None:
    first = session(tmp_path)
    first.store("astro", LOGIN)
    first.credentials.chmod(0o644)
    first.store("astro", LOGIN)
    assert stat.S_IMODE(first.credentials.stat().st_mode) == 0o600


def test_logins_are_apart_by_server_and_vo(tmp_path: Path) -> None:
    other = Login(access_token="b", expires=LOGIN.expires)
    session(tmp_path).store("astro", LOGIN)
    session(tmp_path).store("bio", other)
    assert session(tmp_path).vo == "bio"
    assert session(tmp_path, vo="astro").login() == LOGIN
    assert session(tmp_path, vo="chem").login() is None
    assert session(tmp_path, "https://other.test").login() is None
    assert session(tmp_path, "https://other.test", default_vo="x").vo == "x"
    session(tmp_path).renewed("astro", other)
    assert session(tmp_path).vo == "bio"
    session(tmp_path).forget("bio")
    assert session(tmp_path).vo == "astro"
    session(tmp_path).forget("astro")
    assert session(tmp_path).vo is None


def test_tokens_are_never_shown() -> None:
    assert "secret" not in repr(LOGIN) + str(LOGIN) + f"{[LOGIN]}"


def test_only_one_holds_the_lock(tmp_path: Path) -> None:
    with session(tmp_path).locked() as mine, session(tmp_path).locked() as also_mine:
        assert mine
        assert not also_mine
    with session(tmp_path).locked() as mine:
        assert mine


def test_the_lock_holds_between_processes(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from dirac.client.session import Session\n"
        f"with Session({SERVER!r}, Path(sys.argv[1])).locked() as mine: print(mine)"
    )
    command = [sys.executable, "-c", script, str(session(tmp_path).credentials)]
    with session(tmp_path).locked():
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": 2}', b"\xff\xfe", b"null"])
def test_a_damaged_file_is_reported_with_advice(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cache").mkdir()
    session(tmp_path).credentials.write_bytes(content)
    with pytest.raises(InvalidInputError, match="Remove the file"):
        session(tmp_path).login()


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a directory")
    with pytest.raises(UnavailableError, match="DIRAC_CREDENTIALS"):
        session(tmp_path).store("astro", LOGIN)
    with pytest.raises(UnavailableError), session(tmp_path).locked():
        pass


def test_where_the_server_and_the_vo_come_from(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    with pytest.raises(InvalidInputError, match="DIRAC_URL"):
        find_session(environ=environ)
    config = tmp_path / ".config/dirac/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('server = "https://file.test/"\nvo = "astro"\n')
    found = find_session(environ=environ)
    assert (found.server, found.vo) == ("https://file.test", "astro")
    assert found.credentials == tmp_path / ".cache/dirac/credentials.json"
    assert found.token_file is None
    environ |= {"DIRAC_URL": "https://env.test", "DIRAC_VO": "bio", "DIRAC_CREDENTIALS": "/c.json"}
    environ |= {"DIRAC_TOKEN_FILE": "/t"}
    found = find_session(environ=environ)
    assert (found.server, found.vo) == ("https://env.test", "bio")
    assert (found.credentials, found.token_file) == (Path("/c.json"), Path("/t"))
    found = find_session("https://arg.test", vo="chem", environ=environ)
    assert (found.server, found.vo) == ("https://arg.test", "chem")


def test_xdg_directories_are_used_and_relative_ones_ignored(tmp_path: Path) -> None:
    absolute = {"HOME": "/h", "XDG_CACHE_HOME": "/xc", "XDG_CONFIG_HOME": str(tmp_path)}
    assert find_session("https://x.test", environ=absolute).credentials == Path("/xc/dirac/credentials.json")
    relative = {"HOME": "/h", "XDG_CACHE_HOME": "relative"}
    found = find_session("https://x.test", environ=relative).credentials
    assert found == Path("/h/.cache/dirac/credentials.json")


@pytest.mark.parametrize("text", ["server = ", "server = 5", "vo = []"])
def test_a_wrong_configuration_file_is_named(tmp_path: Path, text: str) -> None:
    config = tmp_path / "dirac/config.toml"
    config.parent.mkdir()
    config.write_text(text)
    with pytest.raises(InvalidInputError, match=r"config\.toml"):
        find_session(environ={"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)})


def test_authorities_come_from_the_variable_then_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "dirac").mkdir()
    (tmp_path / "dirac/config.toml").write_text(f'server = "{SERVER}"\nca_file = "/site.pem"')
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    assert find_session(environ=environ).ca_file == Path("/site.pem")
    assert find_session(environ=environ | {"DIRAC_CA_FILE": "/own.pem"}).ca_file == Path("/own.pem")
    (tmp_path / "dirac/config.toml").write_text(f'server = "{SERVER}"')
    assert find_session(environ=environ).ca_file is None
