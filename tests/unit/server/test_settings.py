"""Settings: what is wrong is said with the option's name, and secrets are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from dirac.core.errors import InvalidInputError
from dirac.server.settings import SHORTEST_KEY, Settings, load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dirac.toml"


def secret(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.write_bytes(content)
    path.chmod(mode)


def test_an_empty_file_is_a_server_of_its_directory(file: Path) -> None:
    file.write_text("")
    settings = load(file)
    assert Path(settings.state) == file.parent
    assert settings.database_url() == f"sqlite:///{file.parent / 'dirac.db'}"


def test_paths_start_where_they_are_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('state = "var"\nmaster_key_file = "keys/master"\n[pilots]\ndirectory = "/scratch"')
    (file.parent / "elsewhere").mkdir()
    monkeypatch.chdir(file.parent / "elsewhere")
    settings = load(Path("..") / file.name)
    assert Path(settings.state) == file.parent / "var"
    assert settings.path(settings.master_key_file) == file.parent / "var/keys/master"
    assert settings.path(settings.pilots.directory) == Path("/scratch")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stat = 1", "there is no option `stat`"),
        ("[http]\nprot = 1", "http: there is no option `prot`"),
        ('[http]\nport = "x"', "http.port: expected `int`, got `str`"),
        ("[http]\nport = 99999", "http.port: expected `int` <= 65535"),
        ("http = 8912", "http: expected a table, got `int`"),
        ("[worker]\nconcurrency = 0", "worker.concurrency: expected `int` >= 1"),
        ('[worker]\nrunner = "cellery"', "worker.runner: invalid enum value 'cellery'"),
        ('log_level = "LOUD"', "log_level: invalid enum value 'LOUD'"),
        ("[http\n", "line 1, column 6"),
        ("state = 3", "state: expected `str`, got `int`"),
    ],
)
def test_a_fault_is_said_with_its_place(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        load(file)
    assert str(file) in str(caught.value)
    assert message in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"dirac\.toml cannot be read: No such file"):
        load(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match="no valid TOML"):
        load(file)


def test_of_two_places_of_the_database_none_is_guessed(tmp_path: Path) -> None:
    settings = load_text(tmp_path, '[database]\nurl = "sqlite:///a.db"\nurl_file = "b"')
    with pytest.raises(InvalidInputError, match="both set"):
        settings.database_url()


def load_text(directory: Path, text: str) -> Settings:
    file = directory / "dirac.toml"
    file.write_text(text)
    return load(file)


def test_an_address_with_a_password_is_read_from_its_file(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path, '[database]\nurl_file = "db"\n[worker]\nrunner = "celery"\nbroker_url_file = "broker"'
    )
    secret(tmp_path / "db", b"mariadb://dirac:secret@db/dirac\n")
    secret(tmp_path / "broker", b"amqp://dirac:secret@mq//\n", 0o640)
    assert settings.database_url() == "mariadb://dirac:secret@db/dirac"
    assert settings.broker_url() == "amqp://dirac:secret@mq//"


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (None, 0, "cannot be read: No such file"),
        (b" \n", 0o600, "is empty"),
        (b"\xff\xfe", 0o600, "holds no text"),
        (b"amqp://dirac:secret@mq//", 0o644, "others may read"),
    ],
)
def test_an_unusable_address_is_said(tmp_path: Path, content: bytes | None, mode: int, message: str) -> None:
    settings = load_text(tmp_path, '[worker]\nbroker_url_file = "broker"')
    if content is not None:
        secret(tmp_path / "broker", content, mode)
    with pytest.raises(InvalidInputError, match=f"worker.broker_url_file: .*{message}") as caught:
        settings.broker_url()
    assert "secret@" not in str(caught.value)


def test_celery_needs_a_broker(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"worker\.broker_url_file is not set"):
        Settings(state=str(tmp_path)).broker_url()


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (None, 0, "dirac-server up"),
        (b"k" * (SHORTEST_KEY - 1), 0o600, "shorter than 32 bytes"),
        (b"k" * SHORTEST_KEY, 0o640, "chmod 600"),
        (b"k" * SHORTEST_KEY, 0o604, "chmod 600"),
    ],
)
def test_an_unsafe_master_key_is_refused(
    tmp_path: Path, content: bytes | None, mode: int, message: str
) -> None:
    if content is not None:
        secret(tmp_path / "master.key", content, mode)
    with pytest.raises(InvalidInputError, match=message) as caught:
        Settings(state=str(tmp_path)).master_key_bytes()
    assert "kkk" not in str(caught.value)


def test_a_master_key_is_read_without_the_end_of_its_line(tmp_path: Path) -> None:
    secret(tmp_path / "master.key", b"k" * SHORTEST_KEY + b"\n")
    assert Settings(state=str(tmp_path)).master_key_bytes() == b"k" * SHORTEST_KEY


def test_processes_of_a_host_have_ports_of_their_own(tmp_path: Path) -> None:
    settings = load_text(tmp_path, "[http]\nport = 8443\n[metrics]\nport = 9160")
    assert [settings.server(number).http.port for number in (1, 2, 3)] == [8443, 8444, 8445]
    ports = [settings.server(number).metrics.port for number in range(1, 11)]
    ports += [settings.background(number).metrics.port for number in range(1, 11)]
    ports += [settings.background(None).metrics.port]
    assert ports == list(range(9160, 9181))
    for number in (0, 11):
        with pytest.raises(InvalidInputError, match=f"no instance {number}"):
            settings.server(number)
    with pytest.raises(InvalidInputError, match="beyond 65535"):
        load_text(tmp_path, "[http]\nport = 65535").server(2)
    assert load_text(tmp_path, "").background(None).metrics.port is None


@pytest.mark.parametrize("table", ["http", "metrics"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('tls_key = "k"', "only one of tls_certificate and tls_key"),
        ('tls_certificate = "c"', "only one of tls_certificate and tls_key"),
        ('tls_client_ca = "c"', "tls_client_ca is set, and TLS is off"),
    ],
)
def test_half_of_tls_is_refused(tmp_path: Path, table: str, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{table}.*{message}"):
        load_text(tmp_path, f"[{table}]\n{text}")


def test_a_certificate_that_cannot_be_used_is_said_with_its_option(tmp_path: Path) -> None:
    settings = load_text(tmp_path, '[http]\ntls_certificate = "c.pem"\ntls_key = "k.pem"')
    with pytest.raises(InvalidInputError, match=r"http\.tls_certificate: .*c\.pem cannot be read"):
        settings.http_tls()
    assert settings.metrics_tls() is None


def test_settings_of_the_object_store_may_be_in_a_file_of_their_own(tmp_path: Path) -> None:
    text = '[sandboxes]\ntype = "s3"\nsettings_file = "s3.json"\n'
    settings = load_text(tmp_path, text + 'settings = {bucket = "b", access_key_id = "old"}')
    secret(tmp_path / "s3.json", b'{"access_key_id": "new", "secret_access_key": "s3cr3t"}')
    merged = {"bucket": "b", "access_key_id": "new", "secret_access_key": "s3cr3t"}
    assert settings.sandbox_settings() == merged
    secret(tmp_path / "s3.json", b'["s3cr3t"')
    with pytest.raises(InvalidInputError, match=r"sandboxes\.settings_file: .* no JSON object") as caught:
        settings.sandbox_settings()
    assert "s3cr3t" not in str(caught.value)
    secret(tmp_path / "s3.json", b"{}", 0o644)
    with pytest.raises(InvalidInputError, match="others may read"):
        settings.sandbox_settings()
