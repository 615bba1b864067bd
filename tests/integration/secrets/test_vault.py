"""Secrets in a key-value store of version 2, over TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from dirac.core.errors import InvalidInputError, UnavailableError
from dirac.core.secrets import SecretReference
from dirac.resources.secrets.resolving import Secrets, machine_secrets
from dirac.resources.secrets.vault import VaultSettings
from dirac.testing.time import FakeClock
from tests.services.authority import Authority
from tests.services.key_value import KeyValueStore

BIO = SecretReference(vault="dirac/bio", key="iam")


class World:
    """A store, and what reads from it."""

    def __init__(self, directory: Path, store: KeyValueStore, ca_file: Path) -> None:
        self.directory, self.store, self.ca_file = directory, store, ca_file
        self.clock = FakeClock()
        store.secrets["secret", "dirac/bio"] = {"iam": "hunter2", "port": 5432}

    def file(self, name: str, text: str, mode: int = 0o600) -> str:
        path = self.directory / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def secrets(self, **settings: str) -> Secrets:
        vault = VaultSettings(**{"url": self.store.url, "ca_file": str(self.ca_file)} | settings)
        return machine_secrets(lambda name: self.directory / name, None, vault, self.clock, 60)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    authority = Authority(tmp_path)
    certificate, key = authority.certificate("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with KeyValueStore(context) as store:
        yield World(tmp_path, store, authority.ca)


def test_a_token_of_a_file(world: World) -> None:
    world.store.tokens = {"of-the-agent"}
    secrets = world.secrets(token_file=world.file("token", "of-the-agent\n"))
    assert secrets.read(BIO) == b"hunter2"
    assert secrets.read(SecretReference(vault="dirac/bio", key="port")) == b"5432"
    assert world.store.asked[0] == ("GET", "/v1/secret/data/dirac/bio")


def test_a_token_that_the_agent_has_replaced_is_read_again(world: World) -> None:
    world.store.tokens = {"first"}
    secrets = world.secrets(token_file=world.file("token", "first"))
    secrets.read(BIO)
    world.store.tokens = {"second"}
    world.file("token", "second")
    world.store.secrets["secret", "dirac/bio"] = {"iam": "rotated"}
    world.clock.advance(60)
    assert secrets.read(BIO) == b"rotated"


def test_an_approle_logs_in_once_and_again_when_its_token_ends(world: World) -> None:
    world.store.roles = {"role": "secret-id"}
    secrets = world.secrets(role_id="role", secret_id_file=world.file("id", "secret-id"))
    assert secrets.read(BIO) == b"hunter2"
    world.clock.advance(60)
    assert secrets.read(BIO) == b"hunter2"
    logins = [path for method, path in world.store.asked if method == "POST"]
    assert logins == ["/v1/auth/approle/login"]
    world.store.tokens.clear()  # revoked there
    world.clock.advance(60)
    assert secrets.read(BIO) == b"hunter2"
    world.clock.advance(1200)
    world.store.asked.clear()
    assert secrets.read(BIO) == b"hunter2"
    assert [method for method, _ in world.store.asked] == ["POST", "GET"], "before the end, without a refusal"


def test_a_store_that_is_away_leaves_the_last_good_one(world: World) -> None:
    world.store.tokens = {"t"}
    secrets = world.secrets(token_file=world.file("token", "t"))
    secrets.read(BIO)
    world.store.sealed = True
    world.clock.advance(60)
    assert secrets.read(BIO) == b"hunter2"
    (said,) = secrets.problems.values()
    assert "Vault does not answer" in said
    world.store.sealed = False
    world.clock.advance(60)
    assert (secrets.read(BIO), secrets.problems) == (b"hunter2", {})


@pytest.mark.parametrize(
    ("reference", "kind", "said"),
    [
        (
            SecretReference(vault="dirac/none", key="iam"),
            InvalidInputError,
            "Vault has no dirac/none below secret",
        ),
        (
            SecretReference(vault="dirac/bio", key="none"),
            InvalidInputError,
            "dirac/bio of Vault has no text at none",
        ),
        (SecretReference(vault="dirac/gone", key="iam"), InvalidInputError, "Vault has no dirac/gone"),
        (SecretReference(vault="../../sys/x", key="iam"), InvalidInputError, "expected the path of a secret"),
    ],
)
def test_what_is_not_there_is_named(
    world: World, reference: SecretReference, kind: type[Exception], said: str
) -> None:
    world.store.tokens = {"t"}
    world.store.secrets["secret", "dirac/gone"] = None
    with pytest.raises(kind, match=said) as caught:
        world.secrets(token_file=world.file("token", "t")).read(reference)
    assert "hunter2" not in str(caught.value)


def test_who_is_refused_is_told_so_without_the_token(world: World) -> None:
    for settings in (
        {"token_file": world.file("token", "hvs.wrong")},
        {"role_id": "role", "secret_id_file": world.file("id", "hvs.wrong")},
    ):
        with pytest.raises(UnavailableError, match="Vault refuses") as caught:
            world.secrets(**settings).read(BIO)
        assert "hvs.wrong" not in str(caught.value)


def test_a_stranger_is_not_shown_the_token(world: World, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other").ca
    world.store.tokens = {"t"}
    secrets = world.secrets(token_file=world.file("token", "t"), ca_file=str(other))
    with pytest.raises(UnavailableError, match="does not answer"):
        secrets.read(BIO)
    assert world.store.asked == []


def test_secrets_do_not_travel_in_the_clear(world: World) -> None:
    secrets = world.secrets(url="http://vault.example.org:8200", token_file=world.file("token", "t"))
    with pytest.raises(InvalidInputError, match="in the clear"):
        secrets.read(BIO)


def test_a_token_that_others_may_read_is_not_shown(world: World) -> None:
    world.store.tokens = {"t"}
    secrets = world.secrets(token_file=world.file("token", "t", 0o644))
    with pytest.raises(InvalidInputError, match=r"secrets\.vault\.token_file: others may read"):
        secrets.read(BIO)
    assert world.store.asked == []
