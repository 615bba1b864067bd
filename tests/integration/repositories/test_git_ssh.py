"""A repository behind OpenSSH's server, with a key, and the host's own key pinned."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dirac.core.errors import InvalidInputError, UnavailableError
from dirac.core.secrets import SecretReference
from dirac.resources.repositories.git import Draft, GitBranch, Place, check_place
from dirac.resources.secrets.resolving import ReferredSecret, machine_secrets
from dirac.resources.secrets.vault import VaultSettings
from dirac.testing.time import FakeClock
from tests.services.packages import obtain
from tests.services.sshd import PACKAGES, Sshd, make_key


@pytest.fixture(scope="module")
def hub() -> Iterator[Sshd]:
    """An SSH server."""
    with Sshd(obtain(PACKAGES)) as server:
        yield server


def _secret(tmp_path: Path, name: str) -> ReferredSecret:
    secrets = machine_secrets(lambda file: tmp_path / file, None, VaultSettings(), FakeClock(), 60)
    return ReferredSecret(SecretReference(file=name), "git.source.ssh_key", secrets)


def _branch(hub: Sshd, tmp_path: Path, known_hosts: Path | None = None) -> GitBranch:
    far = tmp_path / "a repository.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", str(far)], check=True)
    key = tmp_path / "key"
    key.write_text(hub.key.read_text())
    key.chmod(0o600)
    place = Place(
        url=hub.url(tmp_path / "a%20repository.git"),
        ssh_key=_secret(tmp_path, "key"),
        known_hosts=known_hosts or hub.known_hosts,
    )
    check_place(place, "git.source")
    return GitBranch(place, tmp_path / "copies")


def _draft(*parents: str, text: str) -> Draft:
    time = datetime(2026, 1, 1, tzinfo=UTC)
    return Draft(
        parents=parents, changed={"a.yml": text}, removed=[], author="Ada <a@b>", time=time, message="x"
    )


async def test_it_is_read_and_written_with_the_key(
    hub: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "temporary files"
    left.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(left))
    hosts = tmp_path / "known hosts"
    hosts.write_text(hub.known_hosts.read_text())
    branch = _branch(hub, tmp_path, hosts)
    assert await branch.fetch() is None
    commit = await branch.make(_draft(text="x: 1\n"))
    await branch.send(commit)
    assert await branch.fetch() == commit
    assert await branch.texts(commit) == {"a.yml": "x: 1\n"}
    assert list(left.iterdir()) == [], "the key lies in no file afterwards"


@pytest.mark.parametrize("end", ["", "\r\n", "\n\n"])
async def test_a_key_is_good_however_its_lines_end(hub: Sshd, tmp_path: Path, end: str) -> None:
    branch = _branch(hub, tmp_path)
    lines = hub.key.read_text().splitlines()
    (tmp_path / "key").write_bytes(((end or "\n").join(lines) + end).encode())
    assert await branch.fetch() is None


async def test_another_key_is_taken_without_a_restart(hub: Sshd, tmp_path: Path) -> None:
    branch = _branch(hub, tmp_path)
    make_key(tmp_path / "stranger")
    right = (tmp_path / "key").read_text()
    (tmp_path / "key").write_text((tmp_path / "stranger").read_text())
    with pytest.raises(UnavailableError, match=r"git ls-remote of ssh://.*Permission denied") as caught:
        await branch.fetch()
    assert "ssh_key" in str(caught.value.hint)
    assert "PRIVATE KEY" not in str(caught.value)
    (tmp_path / "key").write_text(right)
    assert await branch.fetch() is None


async def test_a_key_with_a_passphrase_is_not_waited_for(hub: Sshd, tmp_path: Path) -> None:
    branch = _branch(hub, tmp_path)
    make_key(tmp_path / "locked", "a passphrase")
    (tmp_path / "key").write_text((tmp_path / "locked").read_text())
    with pytest.raises(UnavailableError, match="Permission denied") as caught:
        await branch.fetch()
    assert "without a passphrase" in str(caught.value.hint)


@pytest.mark.parametrize("known", ["nothing", "another key"])
async def test_a_host_that_is_not_the_pinned_one_is_not_spoken_to(
    hub: Sshd, tmp_path: Path, known: str
) -> None:
    hosts, log = tmp_path / "hosts", hub.log.read_text()
    hosts.touch()
    if known == "another key":
        make_key(tmp_path / "other")
        name = hub.known_hosts.read_text().split(" ", 1)[0]
        hosts.write_text(f"{name} {(tmp_path / 'other.pub').read_text()}")
    with pytest.raises(UnavailableError, match=r"verification failed|HAS CHANGED") as caught:
        await _branch(hub, tmp_path, hosts).fetch()
    assert "known_hosts" in str(caught.value.hint)
    assert "Accepted" not in hub.log.read_text().removeprefix(log), "the key was shown to nobody"
    assert hosts.read_text().count("\n") == (known == "another key"), "nor is anything believed from now on"


async def test_without_a_key_nobody_is_asked_for_one(hub: Sshd, tmp_path: Path) -> None:
    place = Place(url=_branch(hub, tmp_path).place.url, known_hosts=hub.known_hosts)
    with pytest.raises(UnavailableError, match="Permission denied"):
        await GitBranch(place, tmp_path / "copies").fetch()


@pytest.mark.parametrize(
    ("url", "option"),
    [
        ("ssh://git@git.example.org/x.git", "password"),
        ("ssh://git@git.example.org/x.git", "ca_file"),
        ("https://git.example.org/x.git", "ssh_key"),
        ("https://git.example.org/x.git", "known_hosts"),
    ],
)
def test_what_an_address_has_no_use_for_is_refused(url: str, option: str, tmp_path: Path) -> None:
    value = _secret(tmp_path, "key") if option in ("password", "ssh_key") else tmp_path / "file"
    with pytest.raises(InvalidInputError, match=rf"git\.source\.{option}: this is for addresses with"):
        check_place(Place(url=url, **{option: value}), "git.source")


def test_the_short_form_of_an_address_is_translated() -> None:
    with pytest.raises(InvalidInputError, match="ssh://") as caught:
        check_place(Place(url="git@git.example.org:x.git"), "git.source")
    assert "ssh://USER@HOST/PATH" in str(caught.value.hint)
