"""`dirac proxy` against a real server with TLS; OpenSSL looks at what it makes."""

from __future__ import annotations

import io
import json
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

from dirac.cli.main import run
from dirac.formats.x509 import names, proxy
from tests.integration.cli.conftest import Outcome
from tests.integration.server.test_certificates import Grid, grid

__all__ = ["grid"]

Command = Callable[..., Outcome]


@pytest.fixture
def home(grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Alice's, with a certificate and a key that has a password."""
    certificate, key = grid.people["alice"]
    place = tmp_path / ".globus"
    place.mkdir()
    (place / "usercert.pem").write_bytes(names.to_pem([certificate]))
    (place / "userkey.pem").write_bytes(
        key.private_bytes(proxy.Encoding.PEM, proxy.PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    (place / "userkey.pem").chmod(0o600)
    for name, value in {
        "HOME": tmp_path,
        "DIRAC_URL": grid.settings.http.url,
        "DIRAC_CA_FILE": grid.ca,
        "DIRAC_CREDENTIALS": tmp_path / "credentials.json",
        "X509_USER_PROXY": tmp_path / "x509up",
    }.items():
        monkeypatch.setenv(name, str(value))
    for name in (
        "DIRAC_VO",
        "DIRAC_DEBUG",
        "DIRAC_TOKEN_FILE",
        "XDG_CONFIG_HOME",
        "X509_USER_CERT",
        "X509_USER_KEY",
    ):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def command(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Command:
    def call(*words: str, given: str = "") -> Outcome:
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        capsysbinary.readouterr()
        code = run(list(words))
        seen = capsysbinary.readouterr()
        return Outcome(code, seen.out.decode(), seen.err.decode())

    return call


def test_a_proxy_is_made_shown_and_deleted(command: Command, home: Path, grid: Grid) -> None:
    words = ("--group", "astro_admin", "--valid", "2h", "--password-stdin", "--json")
    made = command("proxy", "init", *words, given="secret\n")
    assert made.code == 0, made.err
    file = home / "x509up"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found, _ = proxy.from_pem(file.read_bytes())
    assert found.group == made.json["group"] == "astro_admin"
    assert 7100 < made.json["seconds_left"] <= 7200
    verify = [
        "openssl",
        "verify",
        "-allow_proxy_certs",
        "-CAfile",
        str(grid.authority.ca),
        "-untrusted",
        str(file),
    ]
    told = subprocess.run([*verify, str(file)], capture_output=True, check=False)
    assert told.returncode == 0, told.stderr
    shown = command("proxy", "info").out
    assert "user:       /C=ch/O=DIRAC/CN=alice\n" in shown
    assert "group:      astro_admin\n" in shown
    assert command("proxy", "destroy").out == f"Deleted {file}.\n"
    gone = command("proxy", "info")
    assert (gone.code, "there is no" in gone.err) == (3, True)


def test_what_is_wrong_is_said_and_nothing_written(command: Command, home: Path) -> None:
    for given, expected in (("wrong\n", "the password is wrong"),):
        assert expected in command("proxy", "init", "--password-stdin", given=given).err
    assert "there is nobody to ask" in command("proxy", "init").err
    assert "no length of time" in command("proxy", "init", "--valid", "soon").err
    (home / ".globus" / "userkey.pem").chmod(0o644)
    assert "others may read" in command("proxy", "init", "--password-stdin", given="secret\n").err
    (home / ".globus" / "usercert.pem").unlink()
    assert command("proxy", "init").code == 3
    assert not (home / "x509up").exists()
    (home / "notes").write_text("mine")
    assert "is no proxy, and was not deleted" in command("proxy", "destroy", str(home / "notes")).err
    assert (home / "notes").exists()


def test_the_whole_way_from_a_certificate_to_a_token_and_back(
    command: Command, home: Path, grid: Grid
) -> None:
    secret = {"given": "secret\n"}
    assert command("proxy", "login").code == 3  # there is no proxy yet
    assert command("proxy", "init", "--password-stdin", **secret).code == 0
    login = command("proxy", "login")
    assert login.out == "Logged in: alice, VO astro, group astro_user.\n", login.err
    assert command("whoami", "--json").json["sub"] == "astro:alice"
    kept = command("proxy", "upload", "--valid", "3d", "--password-stdin", "--json", **secret)
    assert kept.code == 0, kept.err
    assert kept.json["subject"] == "/C=ch/O=DIRAC/CN=alice"
    (listed,) = [one for one in command("proxy", "info", "--stored", "--json").json if not one["dirac_group"]]
    assert listed == kept.json
    assert kept.json["proxy_id"] in command("proxy", "info", "--stored").out
    back = command("proxy", "get", "--limited", "--out", str(home / "back.pem"), "--json")
    assert back.code == 0, back.err
    assert (back.json["limited"], back.json["group"]) == (True, "astro_user")
    assert grid.whoami(home / "back.pem").json()["sub"] == "astro:alice"
    refused = command("proxy", "login", "--proxy", str(home / "back.pem"))
    assert (refused.code, "a limited proxy cannot become a token" in refused.err) == (4, True)
    assert command("proxy", "get", "--group", "astro_admin").code == 4
    gone = command("proxy", "destroy", "--stored", kept.json["proxy_id"], "--json")
    assert json.loads(gone.out) == {"file": None, "stored": [kept.json["proxy_id"]]}
    assert command("proxy", "destroy", "--stored", kept.json["proxy_id"]).code == 3
