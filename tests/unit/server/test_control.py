"""Starting and stopping a server's process, with real processes and a small server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dirac.core.errors import ConflictError, InvalidInputError, UnavailableError
from dirac.server import control
from dirac.server.settings import Settings, load
from tests.services.server import free_ports, poll

FAKE = Path(__file__).with_name("fake_server.py")
SOURCES = Path(control.__file__).parents[2]
PATIENCE = 20.0


def program(mode: str = "works") -> list[str]:
    return [sys.executable, str(FAKE), mode]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # must not matter
    file = tmp_path / "dirac.toml"
    file.write_text(f'state = "state"\n[http]\nport = {free_ports(1)[0]}\n')
    return file


@pytest.fixture
def settings(file: Path) -> Iterator[Settings]:
    settings = load(file)
    yield settings
    if found := control.running(settings):
        os.kill(found.pid, signal.SIGKILL)
        os.waitpid(found.pid, 0)


def test_a_server_starts_is_seen_and_stops(settings: Settings, file: Path) -> None:
    assert control.running(settings) is None
    assert control.stop(settings) is False
    control.start(settings, file, program())
    found = control.running(settings)
    assert found is not None
    assert found.origin == control.origin(settings)
    assert found.pid != os.getpid()
    assert control.ready(settings)
    assert control.stop(settings) is True
    assert control.running(settings) is None
    assert not control.ready(settings)
    os.waitpid(found.pid, 0)


def test_a_killed_server_is_not_running_and_starts_again(settings: Settings, file: Path) -> None:
    control.start(settings, file, program())
    killed = control.running(settings)
    assert killed
    os.kill(killed.pid, signal.SIGKILL)
    os.waitpid(killed.pid, 0)
    assert control.running(settings) is None, "although its note is there"
    assert control.stop(settings) is False
    control.start(settings, file, program())
    assert control.running(settings) not in (None, killed)


def test_a_second_server_is_refused(settings: Settings, file: Path) -> None:
    control.start(settings, file, program())
    before = control.running(settings)
    with pytest.raises(UnavailableError, match=r"is running.*dirac-server stop"):
        control.start(settings, file, program())
    assert control.running(settings) == before


def test_who_looks_does_not_get_in_the_way(settings: Settings, file: Path) -> None:
    """A look that took the lock for a moment would now and then let a start fail."""
    control.make_master_key(settings)  # makes the directory
    looker = (
        "import sys, pathlib; from dirac.server import control, settings\n"
        "loaded = settings.load(pathlib.Path(sys.argv[1]))\n"
        "print('looks', flush=True)\n"
        "while True: control.running(loaded)"
    )
    with subprocess.Popen([sys.executable, "-c", looker, str(file)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"looks\n"
            for _ in range(200):
                with control.hold(settings):
                    pass
        finally:
            process.kill()


def test_another_note_is_not_believed(settings: Settings, file: Path) -> None:
    control.start(settings, file, program())
    found = control.running(settings)
    assert found
    note = Path(settings.state) / "server.json"
    for content in ('{"pid": 1, "origin": "x"}', "{", ""):
        note.write_text(content)
        assert control.running(settings) == control.Running(pid=found.pid, origin="")
    note.unlink()
    assert control.running(settings) == control.Running(pid=found.pid, origin="")


def test_the_end_of_the_log_says_why_a_server_ended(settings: Settings, file: Path) -> None:
    with pytest.raises(UnavailableError, match=r"ended with code 1:\nthe oven is cold"):
        control.start(settings, file, program("ends"))
    assert control.running(settings) is None


def test_a_server_that_does_not_answer_is_ended(
    settings: Settings, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_PATIENCE", 1.0)
    with pytest.raises(UnavailableError, match="did not answer within 1"):
        control.start(settings, file, program("mute"))
    assert control.running(settings) is None


def test_a_port_in_use_is_said_with_what_to_do(settings: Settings, file: Path) -> None:
    with socket.create_server((settings.http.host, settings.http.port)):
        with pytest.raises(ConflictError, match=f"port {settings.http.port} .*in use.* ss -ltnp"):
            control.bind(settings)
        with pytest.raises(UnavailableError, match=f"port {settings.http.port} .*in use"):
            control.start(settings, file, program())
    control.start(settings, file, program())


def test_a_stranger_on_the_port_is_not_our_server(settings: Settings) -> None:
    with socket.create_server((settings.http.host, settings.http.port)) as stranger:

        def talk() -> None:
            connection, _ = stranger.accept()
            with connection:
                connection.sendall(b"220 mail.example.org ESMTP\r\n")

        with ThreadPoolExecutor(1) as pool:
            talking = pool.submit(talk)
            assert control.ready(settings) is False
            talking.result(PATIENCE)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_refused(tmp_path: Path, host: str) -> None:
    file = tmp_path / "dirac.toml"
    file.write_text(f'[http]\nhost = "{host}"\n')
    with pytest.raises(InvalidInputError, match=f"cannot listen on port 8912 of {host}"):
        control.bind(load(file))


def test_other_settings_have_another_origin(file: Path, settings: Settings) -> None:
    before = control.origin(settings)
    assert control.origin(load(file)) == before
    file.write_text(file.read_text() + 'url = "http://dirac.example.org"\n')
    assert control.origin(load(file)) != before


def test_the_master_key_is_made_once(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: control.make_master_key(settings), range(8)))
    assert sorted(made) == [False] * 7 + [True]
    key = settings.master_key_bytes()
    assert len(key) == 96
    assert control.make_master_key(settings) is False
    assert settings.master_key_bytes() == key
    assert os.listdir(settings.state) == ["master.key"], "nothing is left over"  # noqa: PTH208


def test_a_secret_is_its_owners_and_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    path.chmod(0o644)
    assert control.write_secret(path, "new") is True
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert control.write_secret(path, "newer", replace=False) is False
    assert path.read_text() == "new"
    with pytest.raises(InvalidInputError, match="cannot be written: No such file"):
        control.write_secret(tmp_path / "nowhere" / "token", "x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["token"]


def test_holding_ends_with_the_process(settings: Settings, file: Path) -> None:
    code = (
        "import sys, pathlib; from dirac.server import control, settings\n"
        "with control.hold(settings.load(pathlib.Path(sys.argv[1]))): print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(ConflictError, match="is running"), control.hold(settings):
            pytest.fail("two hold it")
        found = control.running(settings)
        assert found
        assert found.pid == process.pid
        process.kill()
        process.wait(PATIENCE)
        for _ in poll(PATIENCE):
            if control.running(settings) is None:
                break
        with control.hold(settings):
            pass
